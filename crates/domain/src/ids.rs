//! New ids and secrets, from randomness that is handed in.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use konverse_model::{Id, Instant};

/// A source of randomness: fills a buffer.
pub type Entropy = Arc<dyn Fn(&mut [u8]) + Send + Sync>;

/// Makes ids in the vendor's own structure: 4 bytes of seconds, 5 of the process, 3 of a counter. Ids of one process
/// therefore sort in the order they were made.
pub struct Ids {
    entropy: Entropy,
    process: [u8; 5],
    counter: AtomicU32,
}

impl Ids {
    /// Ids from this source.
    pub fn new(entropy: Entropy) -> Self {
        let mut seed = [0; 8];
        entropy(&mut seed);
        let mut process = [0; 5];
        process.copy_from_slice(&seed[..5]);
        // The counter's top bits stay clear, so that it does not wrap early.
        let counter = u32::from_be_bytes([0, seed[5] & 0x0f, seed[6], seed[7]]);
        Self { entropy, process, counter: AtomicU32::new(counter) }
    }

    pub(crate) fn next(&self, now: Instant) -> Id {
        let count = self.counter.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        let mut random = [0; 8];
        random[..5].copy_from_slice(&self.process);
        random[5..].copy_from_slice(&count[1..]);
        Id::new(now, random)
    }

    pub(crate) fn secret(&self) -> [u8; 32] {
        let mut secret = [0; 32];
        (self.entropy)(&mut secret);
        secret
    }
}
