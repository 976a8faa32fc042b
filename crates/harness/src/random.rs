//! Chance that can be repeated: what is done is the same for the same seed; when it is done is up to the machine.

/// xorshift64*: good enough to pick what to write next.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The same numbers every time, others for every seed.
    pub fn seeded(seed: u64) -> Self {
        Self((seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `count`, which is not 0.
    pub fn below(&mut self, count: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d);
        ((u128::from(number) * count as u128) >> 64) as usize
    }

    /// The numbers below `count` in an order by chance, each once.
    pub fn permutation(&mut self, count: usize) -> Vec<usize> {
        let mut numbers: Vec<usize> = (0..count).collect();
        for last in (1..count).rev() {
            numbers.swap(last, self.below(last + 1));
        }
        numbers
    }

    /// One of them.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        if from.is_empty() { None } else { from.get(self.below(from.len())) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permutation_holds_each_number_once_and_repeats_itself() {
        let first = Random::seeded(0).permutation(100);
        assert_eq!(first, Random::seeded(0).permutation(100));
        assert_ne!(first, Random::seeded(1).permutation(100));
        assert_ne!(first, (0..100).collect::<Vec<_>>());
        let mut sorted = first;
        sorted.sort_unstable();
        assert_eq!(sorted, (0..100).collect::<Vec<_>>());
    }
}
