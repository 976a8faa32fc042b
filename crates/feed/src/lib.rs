//! The org's sequence as those see it who follow it.
//!
//! Everything that follows from a change follows the sequence. A [`Position`] says how far somebody came, in every lane;
//! outside it is one opaque text. [`Feed`] reads on from a position. A [`Follower`] is handed every event once, in the
//! order of each customer, by one process at a time, from where it was left; an event it cannot handle is put aside and
//! tried again, and holds up no other. [`Indexing`] follows for the search index, which has a position of its own in each
//! process.

mod follower;
mod indexing;
mod retention;

use std::sync::Arc;

use konverse_model::OrgId;
use konverse_store::{Event, Store, StoreError};

pub use follower::{Followed, Follower, follow, follow_once};
pub use indexing::Indexing;
pub use konverse_store::{Position, PositionError};
pub use retention::forget_old;

/// Why a feed cannot be read on.
#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    /// Events after this position are no longer kept, or never were in this database: whoever came no further begins
    /// again, from the records as they are now and the position of now.
    #[error("the position is older than what is kept; read the records anew and go on from the newest position")]
    Gone,
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// An org's sequence.
#[derive(Clone)]
pub struct Feed {
    store: Arc<dyn Store>,
    org: OrgId,
}

/// Events read, and where they end.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The events: those of one customer in their order.
    pub events: Vec<Event>,
    /// After them.
    pub position: Position,
}

impl Feed {
    /// The sequence of `org`.
    pub fn new(store: Arc<dyn Store>, org: OrgId) -> Self {
        Self { store, org }
    }

    /// The position after all there is.
    pub async fn newest(&self) -> Result<Position, FeedError> {
        let heads = self.store.heads(self.org).await?;
        Ok(heads.into_iter().collect())
    }

    /// The position before all that is kept.
    pub async fn oldest(&self) -> Result<Position, FeedError> {
        let heads = self.store.heads(self.org).await?;
        Ok(heads.into_iter().map(|head| (head.lane, head.gone)).collect())
    }

    /// The events after a position, at most `most`. None of them means that there are no more now.
    pub async fn after(&self, position: &Position, most: u32) -> Result<Batch, FeedError> {
        let heads = self.store.heads(self.org).await?;
        // A position ahead of a lane was given by a database that is no longer this one: it was put back from a copy.
        let newest = |lane| heads.iter().find(|head| head.lane == lane).map_or(0, |head| head.newest);
        let ahead = position.lanes().any(|(lane, seq)| seq > newest(lane));
        if ahead || heads.iter().any(|head| position.of(head.lane) < head.gone) {
            return Err(FeedError::Gone);
        }
        let mut moved: Vec<_> = heads.into_iter().filter(|head| head.newest > position.of(head.lane)).collect();
        let mut batch = Batch { events: Vec::new(), position: position.clone() };
        if moved.len() > most as usize {
            // Not all have a turn: another one begins every time.
            let seen = position.lanes().fold(0, |sum: u64, (_, seq)| sum.wrapping_add(seq.unsigned_abs()));
            let lanes = moved.len();
            moved.rotate_left(usize::try_from(seen % lanes as u64).unwrap_or_default());
        }
        // Each lane gets its share, so that a busy one does not hold up the others.
        let share = (most / u32::try_from(moved.len()).unwrap_or(u32::MAX).max(1)).max(1);
        for head in moved {
            let from = position.of(head.lane);
            let events = self.store.events(self.org, head.lane, from, share).await?;
            // Forgotten between the two reads.
            if events.first().is_some_and(|first| first.seq != from + 1) {
                return Err(FeedError::Gone);
            }
            if let Some(last) = events.last() {
                batch.position.set(head.lane, last.seq);
            }
            batch.events.extend(events);
            if batch.events.len() >= most as usize {
                break;
            }
        }
        Ok(batch)
    }
}
