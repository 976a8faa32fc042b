//! The storage contract: what can be read, and changes as data.
//!
//! A use case reads what it needs, computes [`Changes`] in pure code, and [`Records::apply`] makes them one transaction:
//! all of it or nothing. No transaction is ever held open by a caller. Both engines execute the same planned steps, and
//! every test of this contract runs on both.
//!
//! The contract is cut by consumer: [`Records`], [`Lists`], [`Credentials`], [`Events`], [`Jobs`], [`Checks`]; [`Store`] is all of
//! them. What is *not* here: rules. The store neither knows what a status means nor computes an attribute; it gives each
//! committed record its `updatedAt`, because only the commit knows the order.

mod blocks;
mod changes;
mod checks;
mod credentials;
mod events;
mod jobs;
mod lists;
mod position;
mod records;

use async_trait::async_trait;
use konverse_model::{Id, Instant, Kind};

pub use blocks::Blocks;
pub use changes::{
    Applied, CLAIM_MS, Changes, Hide, Holding, Membership, NewCredential, NewEvent, Op, PasswordHash, Put, Verb,
    claim_on,
};
pub use checks::{Checks, Deletion, Found, FoundEvent, LaneFacts, Part, Walk, WrongBlock};
pub use credentials::{Attempts, Credential, Credentials, Described, Entrance, Org, Version};
pub use events::{Event, Events, Heads, event_id, lane_and_seq};
pub use jobs::{Due, Jobs, Trouble};
pub use lists::{Field, Filter, List, Lists, Order, Page, Rows, Scope, Start, Window};
pub use position::{Position, PositionError};
pub use records::{Hidden, Records, Row, Space, Surroundings};

/// Why a change could not be applied; nothing of it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Conflict {
    /// The record is no longer as the change was computed from (its revision, or whether it shows): compute it again.
    Stale(Kind, Id),
    /// The id or the external id is taken.
    Taken(Kind, Id),
    /// The name belongs to another record.
    Name(Space, String),
    /// Two transactions stood in each other's way: try again.
    Busy,
}

/// For the log: without the name, which may be somebody's address.
impl std::fmt::Display for Conflict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Stale(kind, id) => write!(f, "{} {id} has changed", kind.name()),
            Self::Taken(kind, id) => write!(f, "the id or external id of {} {id} is taken", kind.name()),
            Self::Name(space, _) => write!(f, "a name is taken: {}", space.name()),
            Self::Busy => f.write_str("another transaction stood in the way"),
        }
    }
}

/// What can go wrong in a store.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// The change lost against another; nothing of it was applied.
    #[error("conflict: {0}")]
    Conflict(Conflict),
    /// The database did not answer or did not take the write. The text is for the log, not for callers.
    #[error("database: {0}")]
    Database(String),
    /// The database cannot do it now: no connection is free in time, somebody holds a lock for too long, there is no room, or
    /// it takes no writes. Nothing of it was applied, and trying again later may help. The text is for the log, not for
    /// callers.
    #[error("unavailable: {0}")]
    Unavailable(String),
    /// The change may have been committed and may not: the database did not say. Whoever makes it again may make it twice. The
    /// text is for the log, not for callers.
    #[error("whether a change was committed is not known: {0}")]
    Unclear(String),
    /// The database cannot be relied upon any more, and only its owner can mend that: nothing is written until konverse is
    /// started anew. The text is for the log, not for callers.
    #[error("stopped: {0}")]
    Stopped(String),
    /// The rows asked for are more bytes than the caller may hold.
    #[error("more bytes than may be held at once")]
    TooLarge,
    /// A stored record cannot be read.
    #[error("stored record: {0}")]
    Corrupt(String),
}

/// Why a database cannot serve. What is shown is for everybody and names no path, address or secret; the text inside is for
/// the log.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Unready {
    /// Nothing can be read, or not in time.
    #[error("The database does not answer")]
    NoAnswer(String),
    /// Nothing can be written, or not in time.
    #[error("The database takes no writes")]
    NoWrite(String),
    /// There is too little room for more.
    #[error("There is too little free space beside the database's file")]
    NoRoom(String),
    /// The file that is open is not the one at its path any more, or not whole.
    #[error("The database's file was moved, replaced, deleted or cut short; konverse has to be started anew")]
    Moved(String),
    /// Something stored was found damaged.
    #[error("The database is damaged")]
    Damaged(String),
}

impl Unready {
    /// Whether waiting may help: a file that is gone and damage need somebody.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::NoAnswer(_) | Self::NoWrite(_) | Self::NoRoom(_) => true,
            Self::Moved(_) | Self::Damaged(_) => false,
        }
    }

    /// What it was, for the log.
    pub fn reason(&self) -> &str {
        let (Self::NoAnswer(text) | Self::NoWrite(text) | Self::NoRoom(text) | Self::Moved(text) | Self::Damaged(text)) =
            self;
        text
    }
}

/// What looking for damage came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Looked {
    /// None was found.
    Whole,
    /// Some was found, now or before.
    Damaged,
    /// The engine leaves it to its owner.
    Left,
}

/// The whole storage contract.
#[async_trait]
pub trait Store: Records + Lists + Blocks + Credentials + Events + Jobs + Checks {
    /// Whether the database answers.
    async fn ping(&self) -> Result<(), StoreError>;

    /// Proves that the database can serve: it is where and what it was, and takes a write. `now` is stored. It ends when the
    /// database does what it is asked, which may be late.
    async fn prove(&self, now: Instant) -> Result<(), Unready>;

    /// Looks through all that is stored for damage, slowly, beside everything else. What is found is remembered by
    /// [`Store::prove`].
    async fn look_through(&self) -> Result<Looked, StoreError>;

    /// Whether damage was found so far, by looking or by any request.
    fn is_damaged(&self) -> bool;
}
