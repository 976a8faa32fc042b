//! When a search has to end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::SearchError;

/// Until when a search may go on, and whether somebody still waits for it.
#[derive(Clone, Debug)]
pub(super) struct Limits {
    until: Instant,
    longest: Duration,
    gone: Arc<AtomicBool>,
}

/// The caller's side: when it is dropped, nobody waits any more.
pub(super) struct Caller(Arc<AtomicBool>);

impl Drop for Caller {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Limits {
    /// From now on for so long.
    pub(super) fn new(longest: Duration) -> (Self, Caller) {
        let gone = Arc::new(AtomicBool::new(false));
        (Self { until: Instant::now() + longest, longest, gone: Arc::clone(&gone) }, Caller(gone))
    }

    /// Until when.
    pub(super) fn until(&self) -> Instant {
        self.until
    }

    /// Whether it may go on. Costs a look at the clock.
    pub(super) fn check(&self) -> Result<(), SearchError> {
        if self.gone.load(Ordering::Relaxed) || Instant::now() >= self.until {
            return Err(SearchError::TooSlow(self.longest));
        }
        Ok(())
    }

    /// The same where only the library's errors fit; whoever gets that error looks at [`Self::check`] first.
    pub(super) fn check_within(&self) -> tantivy::Result<()> {
        self.check().map_err(|error| tantivy::TantivyError::InternalError(error.to_string()))
    }
}
