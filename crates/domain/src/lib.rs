//! The rules of konverse: who may do what, what follows from a write, which events are raised.
//!
//! Every surface goes through [`Domain`]: HTTP, the command line, imports. Each operation asks for the proof that its
//! caller may perform it ([`Authorized`]), reads what it needs, computes a `Changes` value in pure code
//! ([`timeline`](crate) rules), and applies it as one transaction. No HTTP, no driver, no clock is named here.

mod access;
mod check;
mod conversations;
mod customers;
mod directory;
mod error;
mod ids;
mod intake;
mod lists;
mod messages;
mod metadata;
mod notes;
mod readiness;
mod render;
mod search;
mod timeline;
mod unit;

use std::sync::Arc;

use konverse_model::{Clock, Id, Instant};
use konverse_search::index::Index;
use konverse_store::Store;
use tokio::sync::{Semaphore, watch};

pub use access::{Access, Actor, Authorized, MintedToken, NewToken, Permission, Session, SignIn, permissions};
pub use check::{Checked, Finding, Outcome, Told as CheckTold};
pub use conversations::ConversationEdit;
pub use directory::{
    Changeable, CompanyFilter, Creatable, Deletable, Entry, Listed, Membership, NoFilter, SlaVersions, TagFilter,
    UserFilter,
};
pub use error::{DomainError, Report};
pub use ids::{Entropy, Ids};
pub use intake::{ImportKind, ImportReport, ImportRow, Importer, RowError, RowOutcome};
pub use konverse_store::{Due, Field, Filter, Order, Org, Unready, Version};
pub use lists::{ConversationQuery, CustomerQuery, ListPage, ListRequest, WholePage};
pub use render::Outdated;
pub use search::{MOST_FOUND, SearchPage, SearchRequest, Shown, Surface, Walls};

/// The settings of the open questions of contract `conversation-list.md` §5.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Question 1: what `fromDate` compares.
    pub from_date: konverse_store::Field,
    /// Question 2: whether a customer's conversations are listed newest first.
    pub newest_first: bool,
    /// Bytes of records an answer may have: what a read holds at most. Beyond it the caller is told to ask for less.
    pub answer: usize,
    /// What bounds searches.
    pub search_walls: Walls,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            from_date: konverse_store::Field::UpdatedAt,
            newest_first: true,
            answer: 64 << 20,
            search_walls: Walls::None,
        }
    }
}

impl Settings {
    /// A parameter asks for more than an answer may have; `what_helps` is said to the caller.
    pub fn too_large(&self, name: &'static str, what_helps: &str) -> DomainError {
        let message = format!("asks for more than the {} MiB an answer may have: {what_helps}", self.answer >> 20);
        DomainError::Parameter { name, message }
    }
}

/// The rules, over a store.
pub struct Domain {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    ids: Ids,
    settings: Settings,
    queues: unit::Queues,
    looking_through: Semaphore,
    moving: Semaphore,
    waiting: messages::Waiting,
    token_use: access::TokenUses,
    known: metadata::Known,
    passwords: access::Passwords,
    readiness: readiness::Readiness,
    walks: search::Walks,
    changed: watch::Sender<u64>,
    search: Option<Arc<Index>>,
}

impl Domain {
    /// The rules over `store`, with time and randomness handed in.
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>, ids: Ids, settings: Settings) -> Self {
        let (changed, _) = watch::channel(0);
        Self {
            store,
            clock,
            ids,
            settings,
            queues: unit::Queues::default(),
            looking_through: Semaphore::new(unit::LOOKING_THROUGH),
            moving: Semaphore::new(unit::MOVING),
            waiting: messages::Waiting::default(),
            token_use: access::TokenUses::default(),
            known: metadata::Known::default(),
            passwords: access::Passwords::default(),
            readiness: readiness::Readiness::default(),
            walks: search::Walks::default(),
            changed,
            search: None,
        }
    }

    /// With an index that answers searches; without one they are refused. Something else has to keep it with the sequence.
    #[must_use]
    pub fn with_search(self, index: Arc<Index>) -> Self {
        Self { search: Some(index), ..self }
    }

    /// The index that answers searches.
    pub fn search_index(&self) -> Option<&Arc<Index>> {
        self.search.as_ref()
    }

    /// The rules, to be shared by surfaces and clockwork.
    pub fn shared(self) -> Arc<Self> {
        Arc::new(self)
    }

    /// The settings in force.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The present moment.
    pub fn now(&self) -> Instant {
        self.clock.now()
    }

    /// Moves whenever this process has changed something: what wakes followers up before their next look.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// What jobs and followers run on: the store, the clock, and an id by which others know this process. Whatever they
    /// change goes through the rules.
    pub fn ground(&self) -> (Arc<dyn Store>, Arc<dyn Clock>, Id) {
        (Arc::clone(&self.store), Arc::clone(&self.clock), self.new_id())
    }

    fn new_id(&self) -> Id {
        self.ids.next(self.clock.now())
    }
}
