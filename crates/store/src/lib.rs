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
mod records;

use async_trait::async_trait;
use konverse_model::{Id, Kind};

pub use blocks::Blocks;
pub use changes::{Applied, Changes, Hide, Membership, NewCredential, NewEvent, Op, Put, Verb};
pub use checks::{Checks, EventPlace, Found, LaneFacts, Part, Walk, WrongBlock};
pub use credentials::{Credential, Credentials, Entrance, Org, Version};
pub use events::{Event, Events, Heads, event_id, lane_and_seq};
pub use jobs::{Due, Jobs, Trouble};
pub use lists::{Field, Filter, List, Lists, Order, Page, Scope, Start, Window};
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

/// What can go wrong in a store.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// The change lost against another; nothing of it was applied.
    #[error("conflict: {0:?}")]
    Conflict(Conflict),
    /// The database did not answer or did not take the write. The text is for the log, not for callers.
    #[error("database: {0}")]
    Database(String),
    /// The database cannot do it now: no connection is free in time, somebody holds a lock for too long, there is no room, or
    /// it takes no writes. Nothing of it was applied, and trying again later may help. The text is for the log, not for
    /// callers.
    #[error("unavailable: {0}")]
    Unavailable(String),
    /// A stored record cannot be read.
    #[error("stored record: {0}")]
    Corrupt(String),
}

/// The whole storage contract.
#[async_trait]
pub trait Store: Records + Lists + Blocks + Credentials + Events + Jobs + Checks {
    /// Whether the database answers.
    async fn ping(&self) -> Result<(), StoreError>;
}
