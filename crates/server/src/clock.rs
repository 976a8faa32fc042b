//! The real clock and the real randomness: read here and handed in everywhere else.

use std::sync::Arc;

use konverse_domain::Entropy;
use konverse_model::{Clock, Instant};

/// The system's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the clock")]
    fn now(&self) -> Instant {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Instant::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }
}

/// The system's randomness.
///
/// # Panics
/// When the system has none to give: ids and tokens made without it would not be safe.
pub fn system_entropy() -> Entropy {
    Arc::new(|buffer| getrandom::fill(buffer).expect("the system gives randomness"))
}
