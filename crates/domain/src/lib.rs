//! The rules of konverse: who may do what, what follows from a write, which events are raised.
//!
//! Every surface goes through [`Domain`]: HTTP, the command line, imports. Each operation asks for the proof that its
//! caller may perform it ([`Authorized`]), reads what it needs, computes a `Changes` value in pure code
//! ([`timeline`](crate) rules), and applies it as one transaction. No HTTP, no driver, no clock is named here.

mod access;
mod conversations;
mod customers;
mod directory;
mod draft;
mod error;
mod events;
mod ids;
mod import;
mod listing;
mod messages;
mod notes;
mod orgs;
mod references;
mod rules;
mod timeline;
mod tokens;

use std::future::Future;
use std::sync::Arc;

use konverse_model::{Clock, CustomerId, EventId, Id, Instant, Kind, OrgId};
use konverse_store::{Changes, Conflict, Row, Store, StoreError};
use tokio::sync::{Mutex, MutexGuard};

pub use access::{Access, Actor, Authorized, Permission, permissions};
pub use conversations::ConversationEdit;
pub use directory::UserFilter;
pub use error::{DomainError, Report};
pub use ids::{Entropy, Ids};
pub use import::{ImportKind, ImportReport, ImportRow, Importer, RowError, RowOutcome};
pub use konverse_store::{Field, Filter, Order, Org};
pub use listing::{CustomerQuery, ListPage, ListRequest};
pub use tokens::{MintedToken, NewToken};

/// How often a change is computed again after losing against another.
const ATTEMPTS: usize = 12;

/// Locks that keep writers of one customer from computing against each other in this process. They only save work: the
/// revision check decides, also between processes.
const LOCKS: usize = 256;

/// The settings of the open questions of contract `conversation-list.md` §5.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Question 1: what `fromDate` compares.
    pub from_date: konverse_store::Field,
    /// Question 2: whether a customer's conversations are listed newest first.
    pub newest_first: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self { from_date: konverse_store::Field::UpdatedAt, newest_first: true }
    }
}

/// The rules, over a store.
pub struct Domain {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    ids: Ids,
    settings: Settings,
    locks: Vec<Mutex<()>>,
    token_use: access::TokenUses,
}

impl Domain {
    /// The rules over `store`, with time and randomness handed in.
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>, ids: Ids, settings: Settings) -> Self {
        let locks = (0..LOCKS).map(|_| Mutex::new(())).collect();
        Self { store, clock, ids, settings, locks, token_use: access::TokenUses::default() }
    }

    /// Whether the database answers.
    pub async fn ping(&self) -> Result<(), DomainError> {
        Ok(self.store.ping().await?)
    }

    /// The settings in force.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The present moment.
    pub fn now(&self) -> Instant {
        self.clock.now()
    }

    fn new_id(&self) -> Id {
        self.ids.next(self.clock.now())
    }

    fn new_event_id(&self, now: Instant) -> EventId {
        EventId(self.ids.next(now))
    }

    async fn lock(&self, org: OrgId, customer: CustomerId) -> MutexGuard<'_, ()> {
        self.locks[lock_of(org, customer)].lock().await
    }

    /// Both customers' locks, always in the same order, so that two moves cannot wait for each other.
    async fn lock_both(
        &self,
        org: OrgId,
        a: CustomerId,
        b: CustomerId,
    ) -> (MutexGuard<'_, ()>, Option<MutexGuard<'_, ()>>) {
        let (first, second) = (lock_of(org, a), lock_of(org, b));
        let (low, high) = (first.min(second), first.max(second));
        let low_guard = self.locks[low].lock().await;
        let high_guard = if high == low { None } else { Some(self.locks[high].lock().await) };
        (low_guard, high_guard)
    }

    /// Computes a change and applies it; computes it again when another change came between.
    ///
    /// A unique key that turns out to be taken is met again by the computation's own look-ups, which can name the
    /// field; the constraint decides, the look-up explains.
    async fn commit<T, F, Fut>(&self, mut compute: F) -> Result<T, DomainError>
    where
        F: FnMut() -> Fut,
        Fut: Future<Output = Result<(Changes, T), DomainError>>,
    {
        let mut last = Conflict::Busy;
        for _ in 0..ATTEMPTS {
            let (changes, answer) = compute().await?;
            match self.store.apply(changes).await {
                Ok(()) => return Ok(answer),
                Err(StoreError::Conflict(conflict)) => last = conflict,
                Err(error) => return Err(error.into()),
            }
        }
        Err(DomainError::contention(&last))
    }

    async fn row(&self, org: OrgId, kind: Kind, id: Id) -> Result<Row, DomainError> {
        self.store
            .get(org, kind, id)
            .await?
            .filter(Row::shows)
            .ok_or_else(|| DomainError::NotFound(kind, id.to_string()))
    }
}

fn lock_of(org: OrgId, customer: CustomerId) -> usize {
    let bytes = Id::from(org).bytes().iter().chain(Id::from(customer).bytes()).copied().collect::<Vec<u8>>();
    bytes.iter().fold(0usize, |hash, byte| hash.wrapping_mul(31).wrapping_add(usize::from(*byte))) % LOCKS
}
