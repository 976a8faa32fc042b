//! How many bytes of answers may be on their way: of one connection, and of all. The bodies of requests that are not answered
//! yet are in all, too: their bytes count from when they are read. An answer counts from when it is made
//! until the last of it is handed to the system or thrown away, whoever is too slow to read it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use tokio::sync::Notify;

/// One connection's part of the whole.
const PARTS: usize = 32;

/// The least a connection may have on its way: more than nearly every answer, so that one does not wait for another.
const LEAST_SHARE: usize = 1 << 20;

/// The bytes of all connections.
#[derive(Debug)]
pub(super) struct Budget {
    most: usize,
    held: AtomicUsize,
}

impl Budget {
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, held: AtomicUsize::new(0) })
    }

    /// Whether all of it is used.
    pub(super) fn is_spent(&self) -> bool {
        self.held.load(Relaxed) >= self.most
    }

    fn try_take(&self, bytes: usize) -> bool {
        let before = self.held.fetch_add(bytes, Relaxed);
        let has_room = before == 0 || before.saturating_add(bytes) <= self.most;
        if !has_room {
            self.held.fetch_sub(bytes, Relaxed);
        }
        has_room
    }

    /// A connection's share.
    pub(super) fn share(self: &Arc<Self>) -> Share {
        let most = (self.most / PARTS).max(LEAST_SHARE);
        Share { budget: Arc::clone(self), most, held: AtomicUsize::new(0), freed: Notify::new() }
    }
}

/// The bytes of one connection.
#[derive(Debug)]
pub(super) struct Share {
    budget: Arc<Budget>,
    most: usize,
    held: AtomicUsize,
    freed: Notify,
}

impl Share {
    pub(super) fn has_room(&self) -> bool {
        self.held.load(Relaxed) < self.most
    }

    /// Waits until some of what the connection asked for has been read.
    pub(super) async fn room(&self) {
        loop {
            let mut freed = std::pin::pin!(self.freed.notified());
            freed.as_mut().enable();
            if self.has_room() {
                return;
            }
            freed.await;
        }
    }

    /// Counts an answer that cannot be taken back.
    pub(super) fn take(&self, bytes: usize) {
        self.held.fetch_add(bytes, Relaxed);
        self.budget.held.fetch_add(bytes, Relaxed);
    }

    /// Counts an answer, if there is room for it in all. The first one always has it: it may be larger than everything.
    pub(super) fn try_take(&self, bytes: usize) -> bool {
        let has_room = self.budget.try_take(bytes);
        if has_room {
            self.held.fetch_add(bytes, Relaxed);
        }
        has_room
    }

    /// Counts a piece of a request's body, if there is room for it in all. A connection's streams bound its bodies, so its
    /// share does not: those that have begun could all wait for each other's ends.
    pub(super) fn try_take_body(&self, bytes: usize) -> bool {
        self.budget.try_take(bytes)
    }

    pub(super) fn give_back_body(&self, bytes: usize) {
        self.budget.held.fetch_sub(bytes, Relaxed);
    }

    pub(super) fn give_back(&self, bytes: usize) {
        self.budget.held.fetch_sub(bytes, Relaxed);
        if self.held.fetch_sub(bytes, Relaxed) >= self.most {
            self.freed.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_is_bounded_in_all_and_given_back() {
        let budget = Budget::new(100);
        let (one, other) = (budget.share(), budget.share());
        assert!(one.try_take(60) && other.try_take(40) && budget.is_spent());
        assert!(!other.try_take(1));
        other.give_back(40);
        assert!(!budget.is_spent() && !other.try_take(41) && other.try_take(40));
        one.give_back(60);
        other.give_back(40);
        assert!(one.try_take(1000), "an answer is larger than all of it");
        assert!(!other.try_take(1));
        other.take(1);
        one.give_back(1000);
        other.give_back(1);
        assert!(!budget.is_spent());
        assert!(one.try_take_body(90) && !other.try_take_body(11) && !other.try_take(11));
        one.give_back_body(90);
        assert!(other.try_take(100) && !one.try_take_body(1), "bodies and answers have one budget");
    }

    #[tokio::test]
    async fn a_connection_waits_for_its_own_bytes() {
        let budget = Budget::new(PARTS * LEAST_SHARE);
        let (one, other) = (Arc::new(budget.share()), budget.share());
        one.take(LEAST_SHARE);
        assert!(!one.has_room() && other.has_room());
        let waiting = tokio::spawn({
            let one = Arc::clone(&one);
            async move { one.room().await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        one.give_back(1);
        waiting.await.expect("it goes on");
    }
}
