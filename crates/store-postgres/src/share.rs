//! Shares of the connections, so that no kind of work takes all of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use konverse_store::StoreError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How many connections a kind of work may have at once.
pub(crate) struct Share {
    permits: Arc<Semaphore>,
    waiting: AtomicUsize,
    most_waiting: usize,
    patience: Duration,
    what: &'static str,
}

impl Share {
    /// A quarter of the connections, for reads that may read every row of a list. Beyond a full queue they are refused at
    /// once: whoever waits there would be answered late, if at all.
    pub(crate) fn of_dear_reads(connections: usize) -> Self {
        Self {
            permits: Arc::new(Semaphore::new((connections / 4).max(1))),
            waiting: AtomicUsize::new(0),
            most_waiting: (connections * 4).max(32),
            patience: Duration::from_secs(5),
            what: "long reads",
        }
    }

    /// What dear reads leave, but for an eighth, which is for bounded reads alone: the first of every request. In a tiny
    /// pool shares overlap. A transaction waits for its lane with its connection, and an import's for its turn.
    pub(crate) fn of_writes(connections: usize, patience: Duration) -> Self {
        let others = (connections / 4).max(1) + (connections / 8).max(1);
        Self {
            permits: Arc::new(Semaphore::new(connections.saturating_sub(others).max(1))),
            waiting: AtomicUsize::new(0),
            most_waiting: Semaphore::MAX_PERMITS,
            patience,
            what: "writes",
        }
    }

    /// Waits for a place.
    pub(crate) async fn enter(&self) -> Result<OwnedSemaphorePermit, StoreError> {
        if let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() {
            return Ok(permit);
        }
        let _place = Place::take(self).ok_or_else(|| self.refusal())?;
        match tokio::time::timeout(self.patience, Arc::clone(&self.permits).acquire_owned()).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) | Err(_) => Err(self.refusal()),
        }
    }

    fn refusal(&self) -> StoreError {
        StoreError::Unavailable(format!("all connections for {} are in use", self.what))
    }
}

/// A place in the queue.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn take(share: &'a Share) -> Option<Self> {
        let place = Self(&share.waiting);
        // Given back by the drop when there is none.
        (share.waiting.fetch_add(1, Ordering::Relaxed) < share.most_waiting).then_some(place)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
