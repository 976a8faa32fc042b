//! Writers of one customer queue in this process, so that they do not compute against each other. That only saves work:
//! the customer's turn decides, also between processes.
//!
//! Each customer has a queue of their own: whoever is first in one may wait long (for another process's claim, for
//! something long that is looked through), and nobody else's writers are to wait for that.

use std::collections::HashMap;
use std::sync::{Arc, Mutex as StdMutex, PoisonError};

use konverse_model::{CustomerId, OrgId};
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::Domain;

type Key = (OrgId, CustomerId);

/// The queues in which anybody stands.
#[derive(Default)]
pub(crate) struct Queues(StdMutex<HashMap<Key, Arc<Mutex<()>>>>);

/// A place in a queue: the first one is the lock.
pub(crate) struct Place<'a> {
    queues: &'a Queues,
    key: Key,
    /// None only while this is dropped.
    queue: Option<Arc<Mutex<()>>>,
    first: Option<OwnedMutexGuard<()>>,
}

impl Queues {
    fn place(&self, key: Key) -> (Place<'_>, Arc<Mutex<()>>) {
        let mut queues = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let queue = Arc::clone(queues.entry(key).or_default());
        (Place { queues: self, key, queue: Some(Arc::clone(&queue)), first: None }, queue)
    }

    async fn lock(&self, key: Key) -> Place<'_> {
        let (mut place, queue) = self.place(key);
        place.first = Some(queue.lock_owned().await);
        place
    }

    fn try_lock(&self, key: Key) -> Option<Place<'_>> {
        let (mut place, queue) = self.place(key);
        place.first = Some(queue.try_lock_owned().ok()?);
        Some(place)
    }
}

impl Drop for Place<'_> {
    /// Nothing is kept of a queue that is empty.
    fn drop(&mut self) {
        self.first = None;
        let mut queues = self.queues.0.lock().unwrap_or_else(PoisonError::into_inner);
        self.queue = None;
        // Others take a place only while they hold the map.
        if queues.get(&self.key).is_some_and(|queue| Arc::strong_count(queue) == 1) {
            queues.remove(&self.key);
        }
    }
}

impl Domain {
    pub(crate) async fn lock(&self, org: OrgId, customer: CustomerId) -> Place<'_> {
        self.queues.lock((org, customer)).await
    }

    /// The same, unless somebody has it.
    pub(crate) fn try_lock(&self, org: OrgId, customer: CustomerId) -> Option<Place<'_>> {
        self.queues.try_lock((org, customer))
    }

    /// Both customers' locks, always in the same order, so that two moves cannot wait for each other.
    pub(crate) async fn lock_both(&self, org: OrgId, a: CustomerId, b: CustomerId) -> (Place<'_>, Option<Place<'_>>) {
        let low = self.lock(org, a.min(b)).await;
        let high = if a == b { None } else { Some(self.lock(org, a.max(b)).await) };
        (low, high)
    }
}

#[cfg(test)]
mod tests {
    use konverse_model::Id;

    use super::*;

    fn key(n: u16) -> Key {
        let mut bytes = [0; 12];
        bytes[10..].copy_from_slice(&n.to_be_bytes());
        (OrgId(Id::from_bytes([1; 12])), CustomerId(Id::from_bytes(bytes)))
    }

    #[tokio::test]
    async fn writers_of_one_customer_queue_and_nobody_else_waits_for_them() {
        let queues = Arc::new(Queues::default());
        let first = queues.lock(key(0)).await;
        assert!(queues.try_lock(key(0)).is_none());
        let others: Vec<_> = (1..10_000).map(|n| queues.try_lock(key(n)).expect("nobody has it")).collect();
        drop(others);
        let next = tokio::spawn({
            let queues = Arc::clone(&queues);
            async move { drop(queues.lock(key(0)).await) }
        });
        let gives_up = tokio::spawn({
            let queues = Arc::clone(&queues);
            async move { drop(queues.lock(key(0)).await) }
        });
        tokio::task::yield_now().await;
        assert!(!next.is_finished());
        gives_up.abort();
        assert!(gives_up.await.is_err());
        drop(first);
        next.await.expect("it has its turn");
        assert!(queues.0.lock().expect("nobody panicked").is_empty(), "nothing is kept of those who were there");

        // Not of one who went away when the first had gone, either.
        let first = queues.lock(key(0)).await;
        let waiting = {
            let mut waiting = Box::pin(queues.lock(key(0)));
            std::future::poll_fn(|cx| std::task::Poll::Ready(waiting.as_mut().poll(cx).is_ready())).await;
            waiting
        };
        drop(first);
        drop(waiting);
        assert!(queues.0.lock().expect("nobody panicked").is_empty());
    }
}
