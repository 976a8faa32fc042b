//! A page being put together.

use konverse_model::Position;
use konverse_store::{Page, StoreError};

/// A page of texts, joined by commas, being put together from its rows as they arrive: what is held of them is the page.
#[derive(Debug)]
pub struct Splice {
    buffer: Vec<u8>,
    /// Where the texts begin.
    start: usize,
    /// Where each text ends.
    ends: Vec<usize>,
    limit: u32,
    bytes: usize,
    reversed: bool,
    first: Option<Position>,
    last: Option<Position>,
    more: bool,
}

impl Splice {
    /// A page of at most so many rows, which may be so many bytes, after what the buffer holds. `reversed` means that rows
    /// come in the opposite of the order wanted.
    pub fn new(buffer: Vec<u8>, limit: u32, bytes: usize, reversed: bool) -> Self {
        let start = buffer.len();
        Self { buffer, start, ends: Vec::new(), limit, bytes, reversed, first: None, last: None, more: false }
    }

    /// Adds the next row; whether the page takes more.
    pub fn add(&mut self, position: Position, doc: &[u8]) -> Result<bool, StoreError> {
        if self.ends.len() >= self.limit as usize {
            self.more = true;
            return Ok(false);
        }
        let (held, wanted) = (self.buffer.len() - self.start, doc.len() + usize::from(!self.ends.is_empty()));
        if held + wanted > self.bytes {
            return Err(StoreError::TooLarge);
        }
        if wanted > self.buffer.capacity() - self.buffer.len() && held > wanted {
            // By itself, a vector would take as much again.
            self.buffer.reserve_exact(wanted.max(held / 2));
        }
        if !self.ends.is_empty() {
            self.buffer.push(b',');
        }
        self.buffer.extend_from_slice(doc);
        self.ends.push(self.buffer.len());
        self.first.get_or_insert(position);
        self.last = Some(position);
        Ok(true)
    }

    /// The page.
    pub fn page(mut self) -> Page {
        if self.reversed {
            // All bytes backwards, and then those of each text: nothing is copied elsewhere.
            self.buffer[self.start..].reverse();
            let mirror = self.start + self.buffer.len();
            let mut from = self.start;
            for end in &self.ends {
                self.buffer[mirror - end..mirror - from].reverse();
                from = end + 1;
            }
            (self.first, self.last) = (self.last, self.first);
        }
        let Self { buffer, first, last, more, .. } = self;
        Page { buffer, count: u32::try_from(self.ends.len()).unwrap_or(u32::MAX), first, last, more }
    }
}

#[cfg(test)]
mod tests {
    use konverse_model::{Id, Instant};

    use super::*;

    fn page(texts: &[&str], limit: u32, bytes: usize, reversed: bool) -> Result<Page, StoreError> {
        let mut splice = Splice::new(b"[".to_vec(), limit, bytes, reversed);
        for (n, text) in texts.iter().enumerate() {
            let position = Position { at: Instant::from_millis(n as i64), id: Id::from_bytes([0; 12]) };
            splice.add(position, text.as_bytes())?;
        }
        Ok(splice.page())
    }

    #[test]
    fn texts_come_in_the_order_wanted() {
        for (reversed, joined, ends) in [(false, "[ü,,abc", [0, 2]), (true, "[abc,,ü", [2, 0])] {
            let page = page(&["ü", "", "abc", "one more"], 3, 100, reversed).expect("it fits");
            assert_eq!(String::from_utf8(page.buffer).expect("UTF-8"), joined);
            assert_eq!((page.count, page.more), (3, true));
            assert_eq!([page.first, page.last].map(|end| end.expect("a row").at.millis()), ends);
        }
        let empty = page(&[], 3, 100, true).expect("it fits");
        assert_eq!((&*empty.buffer, empty.count, empty.more, empty.first), (&b"["[..], 0, false, None));
    }

    #[test]
    fn a_page_is_at_most_so_many_bytes() {
        // What the buffer held before does not count, and commas do.
        assert!(page(&["abc", "de"], 9, 6, false).is_ok());
        assert!(matches!(page(&["abc", "def"], 9, 6, false), Err(StoreError::TooLarge)));
        // A row that only tells that there is more is not in the page.
        assert!(page(&["abc", "def"], 1, 3, false).is_ok_and(|page| page.more));
    }

    #[test]
    fn a_large_page_is_held_once() {
        let text = "x".repeat(100_000);
        let page = page(&vec![&*text; 100], 100, 64 << 20, false).expect("it fits");
        assert!(page.buffer.capacity() < page.buffer.len() * 8 / 5, "{}", page.buffer.capacity());
    }
}
