//! Chance that repeats itself: every run and every server gets the same.

/// xorshift64*: good enough to pick customers and words.
pub(crate) struct Random(u64);

impl Random {
    /// The same numbers every time.
    pub(crate) fn seeded() -> Self {
        Self(0x9e37_79b9_7f4a_7c15)
    }

    /// A number below `count`, which is not 0.
    pub(crate) fn below(&mut self, count: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d);
        ((u128::from(number) * count as u128) >> 64) as usize
    }

    /// The numbers below `count` in an order by chance, each once.
    pub(crate) fn permutation(&mut self, count: usize) -> Vec<usize> {
        let mut numbers: Vec<usize> = (0..count).collect();
        for last in (1..count).rev() {
            numbers.swap(last, self.below(last + 1));
        }
        numbers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permutation_holds_each_number_once_and_repeats_itself() {
        let first = Random::seeded().permutation(100);
        assert_eq!(first, Random::seeded().permutation(100));
        assert_ne!(first, (0..100).collect::<Vec<_>>());
        let mut sorted = first;
        sorted.sort_unstable();
        assert_eq!(sorted, (0..100).collect::<Vec<_>>());
    }
}
