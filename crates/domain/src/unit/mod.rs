//! The unit of a write: the one place that locks, retries, guards, stamps and tells.
//!
//! A use case loads what it needs, changes drafts, and hands over [`Changes`]. [`Domain::commit`] gives them their moment
//! as late as can be, applies them, and runs the use case again when another writer came between.

mod custom;
mod draft;
mod events;
mod queue;
mod turn;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use konverse_model::{Id, Kind, OrgId};
use konverse_store::{Applied, Changes, Conflict, List, Order, Row, Rows, Scope, Start, StoreError, Window};
use tokio::sync::SemaphorePermit;
use tokio::task::JoinHandle;

use crate::{Domain, DomainError};

pub(crate) use custom::{merge_custom, object, without_nulls};
pub(crate) use draft::{Draft, Stored, Told, Tracked, needed};
pub(crate) use queue::Queues;
pub(crate) use turn::Turn;

/// How often a change is computed again after losing against others. A write without a condition waits its turn: it is
/// given up only when the database cannot be written to for seconds on end.
pub(crate) const ATTEMPTS: u32 = 300;

/// How often a unique key may turn out to be taken although no look-up finds who has it: waiting does not free it.
pub(crate) const UNEXPLAINED: u32 = 10;

/// Attempts made without waiting or claiming: nearly always the second one wins.
const EAGER: u32 = 3;

/// Milliseconds an attempt waits at most, by chance, so that processes that write to one customer do not march in step.
const LONGEST_WAIT: u64 = 40;

/// Rows read at once when every row of a list must be looked at, and bytes of their texts.
const READ_AT_ONCE: u32 = 500;
pub(crate) const READ_BYTES: usize = 4 << 20;

/// Changes that may look through something long at once (a conversation's messages, a customer's conversations), however
/// many customers they are of: it bounds the memory they take together, and leaves processors to the others.
pub(crate) const LOOKING_THROUGH: usize = 2;

/// Long conversations that may be moved at once.
pub(crate) const MOVING: usize = 1;

impl Domain {
    /// Computes a change and applies it; computes it again when another change came between.
    ///
    /// A unique key that turns out to be taken is met again by the computation's own look-ups, which can name the
    /// field; the constraint decides, the look-up explains.
    pub(crate) async fn commit<T, F, Fut>(&self, mut compute: F) -> Result<(Applied, T), DomainError>
    where
        F: FnMut() -> Fut,
        Fut: Future<Output = Result<(Changes, T), DomainError>>,
    {
        let mut turn = Turn::new(self);
        let mut last = Conflict::Busy;
        let mut unexplained = 0;
        while turn.comes().await? {
            let (mut changes, answer) = turn.holding(compute()).await?;
            turn.sign(&mut changes);
            match self.apply(changes).await {
                Ok(applied) => {
                    turn.won();
                    return Ok((applied, answer));
                }
                Err(StoreError::Conflict(conflict)) => last = conflict,
                Err(error) => return Err(error.into()),
            }
            turn.lost(&last);
            unexplained += u32::from(matches!(last, Conflict::Taken(..) | Conflict::Name(..)));
            if unexplained == UNEXPLAINED {
                break;
            }
        }
        Err(DomainError::lost(&last))
    }

    /// Applies changes at the present moment.
    pub(crate) fn apply(
        &self,
        mut changes: Changes,
    ) -> impl Future<Output = Result<Applied, StoreError>> + Send + use<> {
        let (store, changed) = (Arc::clone(&self.store), self.changed.clone());
        // As late as can be: what is read meanwhile was committed before.
        changes.at = changes.at.max(self.now());
        async move {
            if changes.ops.is_empty() {
                return Ok(Applied::default());
            }
            let applied = store.apply(changes).await?;
            changed.send_modify(|count| *count += 1);
            Ok(applied)
        }
    }

    /// Starts applying changes; the writer works while the next ones are computed. However many have begun, they wait until
    /// their turn comes.
    pub(crate) fn start_applying(&self, changes: Changes) -> JoinHandle<Result<Applied, StoreError>> {
        tokio::spawn(self.apply(changes))
    }

    /// Waits longer the more often a change has lost.
    pub(crate) async fn wait_turn(&self, attempt: u32) {
        if let Some(doublings @ 0..) = attempt.checked_sub(EAGER) {
            self.wait_by_chance((2u64 << doublings.min(8)).min(LONGEST_WAIT)).await;
        }
    }

    /// Waits for so many milliseconds at most.
    async fn wait_by_chance(&self, most: u64) {
        let chance = u64::from(self.ids.secret()[0]);
        tokio::time::sleep(Duration::from_millis(1 + chance % most)).await;
    }

    /// Waits until it may look through something long: few do so at once in a process.
    pub(crate) async fn look_through(&self) -> Result<SemaphorePermit<'_>, DomainError> {
        self.looking_through.acquire().await.map_err(|error| DomainError::internal(error.to_string()))
    }

    /// Waits until it may move a long conversation, all texts of which are held until they are stored. Whoever has this
    /// turn may wait for that of [`Domain::look_through`], and never the other way round.
    pub(crate) async fn move_much(&self) -> Result<SemaphorePermit<'_>, DomainError> {
        self.moving.acquire().await.map_err(|error| DomainError::internal(error.to_string()))
    }

    /// A record that shows.
    pub(crate) async fn row(&self, org: OrgId, kind: Kind, id: Id) -> Result<Row, DomainError> {
        self.store
            .get(org, kind, id)
            .await?
            .filter(Row::shows)
            .ok_or_else(|| DomainError::NotFound(kind, id.to_string()))
    }

    /// The rows of a list, a few hundred at a time or a few megabytes, oldest first.
    pub(crate) fn pages(&self, org: OrgId, kind: Kind, scope: Scope) -> Pages<'_> {
        Pages { domain: self, org, list: List::of(kind, scope), start: Some(Start::Offset(0)) }
    }
}

/// A list being read to its end without being held.
pub(crate) struct Pages<'a> {
    domain: &'a Domain,
    org: OrgId,
    list: List,
    start: Option<Start>,
}

impl Pages<'_> {
    /// The next rows; none after the last.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<Row>>, DomainError> {
        let Some(start) = self.start else { return Ok(None) };
        let order = Order { field: konverse_store::Field::CreatedAt, descending: false };
        let window = Window { order, start, limit: READ_AT_ONCE, bytes: READ_BYTES };
        let Rows { rows, more } = self.domain.store.rows(self.org, &self.list, &window).await?;
        self.start = match rows.last() {
            Some(last) if more => Some(Start::After(konverse_model::Position { at: last.created_at, id: last.id })),
            _ => None,
        };
        Ok(Some(rows))
    }

    /// Whether there is more to read.
    pub(crate) fn goes_on(&self) -> bool {
        self.start.is_some()
    }
}
