//! The org's sequence, read back lane by lane.
//!
//! A change takes the next numbers of its lane inside its own transaction, and the lane's row stays locked until the
//! commit: a lane has no gaps, and its order is the order of commits. A customer always has the same lane; what belongs
//! to no customer has lane 0. SQLite, which has one writer, has one lane.

use async_trait::async_trait;
use konverse_model::{CustomerId, EventId, Id, Instant, Kind, OrgId, UserId};

use crate::{StoreError, Verb};

/// An event of the org's sequence (contract `events-and-webhooks.md` §2): what happened to which record.
///
/// It carries the change, not the record: the record after event *n* is the record now, with the later changes undone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The lane it lies in.
    pub lane: u8,
    /// Its number there, from 1.
    pub seq: i64,
    /// When it happened: the `updatedAt` its record got.
    pub at: Instant,
    /// What happened.
    pub verb: Verb,
    /// The record's kind.
    pub kind: Kind,
    /// The record.
    pub object: Id,
    /// The customer it belongs to.
    pub customer: Option<CustomerId>,
    /// Who did it; none for what happens by itself.
    pub actor: Option<UserId>,
    /// The record's revision after it.
    pub rev: i64,
    /// `{"attributes":{name:{op,before,after}},"relationships":{…}}`; none for a creation, and for what was hidden or
    /// shown along with another record.
    pub changes: Option<String>,
}

impl Event {
    /// The event's name: `kustomer.conversation.update`.
    pub fn name(&self) -> String {
        format!("kustomer.{}.{}", self.kind.name(), self.verb.name())
    }

    /// The event's id: what receivers know it by.
    pub fn id(&self) -> EventId {
        event_id(self.at, self.lane, self.seq)
    }
}

/// The id of an event: its second, its lane, its number. Unique within an org, sorted by time like every id, and enough
/// to find the event by its key.
pub fn event_id(at: Instant, lane: u8, seq: i64) -> EventId {
    let mut rest = seq.to_be_bytes();
    rest[0] = lane;
    EventId(Id::new(at, rest))
}

/// The lane and the number an event's id tells.
pub fn lane_and_seq(id: EventId) -> (u8, i64) {
    let bytes = id.0.bytes();
    let mut seq = [0; 8];
    seq[1..].copy_from_slice(&bytes[5..]);
    (bytes[4], i64::from_be_bytes(seq))
}

/// Where a lane stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heads {
    /// The lane.
    pub lane: u8,
    /// The number of its newest event; 0 before the first.
    pub newest: i64,
    /// Events up to this number are no longer kept.
    pub gone: i64,
}

/// The sequence.
#[async_trait]
pub trait Events: Send + Sync + 'static {
    /// Where each lane of the org stands, in the lanes' order. Lanes nothing was ever written to are left out.
    async fn heads(&self, org: OrgId) -> Result<Vec<Heads>, StoreError>;

    /// The events of a lane after a number, oldest first.
    async fn events(&self, org: OrgId, lane: u8, after: i64, limit: u32) -> Result<Vec<Event>, StoreError>;

    /// The lane of a customer's events; lane 0 holds what belongs to no customer.
    fn lane_of(&self, customer: Option<CustomerId>) -> u8;

    /// Forgets at most `limit` of a lane's oldest events, those that happened before `before`; gives how many.
    async fn forget(&self, org: OrgId, lane: u8, before: Instant, limit: u32) -> Result<u64, StoreError>;
}
