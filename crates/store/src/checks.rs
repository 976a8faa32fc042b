//! What a look at everything needs: every row as it lies there, readable or not, and what is kept beside the rows.
//!
//! Nothing here is needed to serve, but for building the search index, which walks all records. Reads go on by key, so they take no more memory however much there is.

use async_trait::async_trait;
use konverse_model::{ConversationId, CustomerId, Id, Instant, Kind, OrgId, Position};

use crate::{Event, Hidden, List, Membership, NewCredential, Row, Space, StoreError};

/// Rows that lie together, hidden ones too, in an order that does not change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Walk {
    /// All of a kind, by id.
    All(Kind),
    /// The conversations of a customer that are hidden like this, newest first.
    Conversations(CustomerId, Hidden),
    /// The conversations of a customer that none of the others comes to, since how they are hidden or when they were made
    /// cannot be read; by id. None of these can be read.
    Misplaced(CustomerId),
    /// The messages or notes of a conversation, oldest first.
    Entries(Kind, ConversationId),
}

/// A row as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// It can be read.
    Row(Box<Row>),
    /// It cannot; says why without any word of it.
    Unreadable(Option<Id>, String),
}

/// A part of a walk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// The rows.
    pub rows: Vec<Found>,
    /// Where the next part begins; none after the last.
    pub next: Option<Position>,
}

/// A block that does not say what there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrongBlock {
    /// Where it begins.
    pub at: i64,
    /// The rows it has, as kept.
    pub kept: i64,
    /// The rows there are.
    pub counted: i64,
    /// By how many the rows before it are off.
    pub off: i64,
}

/// A lane as it is kept, beside what its events say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaneFacts {
    /// The lane.
    pub lane: i64,
    /// The number of its newest event, as kept.
    pub seq: i64,
    /// Its newest moment, as kept.
    pub at: Instant,
    /// Up to here events are no longer kept.
    pub gone: i64,
    /// The number of the oldest event there is.
    pub oldest: Option<i64>,
    /// The number of the newest event there is.
    pub newest: Option<i64>,
    /// The event `gone` is there. Older ones may be left of what was mended.
    pub has_gone: bool,
}

/// An event as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundEvent {
    /// Its number in its lane.
    pub seq: i64,
    /// Its moment, where that can be read.
    pub at: Option<Instant>,
    /// The event; or why it cannot be read, without any word of it. Its changes are any text.
    pub event: Result<Event, String>,
}

/// What an event tells of a record that stopped or began to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deletion {
    /// The record's kind.
    pub kind: Kind,
    /// The record.
    pub object: Id,
    /// Its revision then.
    pub rev: i64,
    /// Whether it was deleted; else it was restored.
    pub is_deleted: bool,
    /// Whether that was done to the record itself, and not along with another.
    pub alone: bool,
}

/// Looking at everything, and mending what only the store knows of.
#[async_trait]
pub trait Checks: Send + Sync + 'static {
    /// What the engine finds wrong with the database itself; nothing where it keeps that to itself.
    async fn integrity(&self) -> Result<Vec<String>, StoreError>;

    /// Tables that have rows of an org nobody has founded, each with the org's id.
    async fn lost_orgs(&self) -> Result<Vec<(&'static str, Id)>, StoreError>;

    /// The next part of each of these walks, of at most `limit` rows each. All of them together end when their texts come to
    /// so many bytes: the row that brings them there is the last, and walks after its own go on where they are.
    async fn walk(
        &self,
        org: OrgId,
        walks: &[(Walk, Option<Position>)],
        limit: u32,
        bytes: usize,
    ) -> Result<Vec<Part>, StoreError>;

    /// Of the next `limit` conversations, messages or notes after an id those that no walk comes to, because what they belong
    /// to is not there; and where to go on.
    async fn strays(
        &self,
        org: OrgId,
        kind: Kind,
        after: Option<Id>,
        limit: u32,
    ) -> Result<(Vec<Id>, Option<Id>), StoreError>;

    /// The names each of these records of a kind holds, in the order asked.
    async fn names(&self, org: OrgId, kind: Kind, owners: &[Id]) -> Result<Vec<Vec<(Space, String)>>, StoreError>;

    /// Of the next `limit` names of a space after one those whose holder is not there at all; and where to go on.
    async fn lost_names(
        &self,
        org: OrgId,
        space: Space,
        after: &str,
        limit: u32,
    ) -> Result<(Vec<(String, Id)>, Option<String>), StoreError>;

    /// Names of an org after one, by space and value, of spaces nobody knows; each with its holder.
    async fn unknown_names(
        &self,
        org: OrgId,
        after: Option<(String, String)>,
        limit: u32,
    ) -> Result<Vec<(String, String, Id)>, StoreError>;

    /// Forgets a name of a space nobody knows.
    async fn forget_name(&self, org: OrgId, space: &str, value: &str) -> Result<(), StoreError>;

    /// All places in teams after one, by user and team.
    async fn memberships(
        &self,
        org: OrgId,
        after: Option<Membership>,
        limit: u32,
    ) -> Result<Vec<Membership>, StoreError>;

    /// All that lets somebody in, after a token's id.
    async fn credentials(&self, org: OrgId, after: Option<Id>, limit: u32) -> Result<Vec<NewCredential>, StoreError>;

    /// A kept count, and how many customers show, both of one moment.
    async fn tally_and_count(&self, org: OrgId, name: &str) -> Result<(i64, i64), StoreError>;

    /// The list with counted blocks after the one with this number and scope.
    async fn next_counted(&self, org: OrgId, after: Option<(i64, Id)>) -> Result<Option<(i64, Id)>, StoreError>;

    /// The list behind a number and a scope; none for a number nobody knows.
    fn counted_list(&self, number: i64, scope: Id) -> Option<List>;

    /// Of the next `limit` blocks of a list after one those that do not say what there is, at one moment, a few at most; and
    /// where to go on.
    async fn wrong_blocks(
        &self,
        org: OrgId,
        list: &List,
        after: Option<i64>,
        limit: u32,
    ) -> Result<(Vec<WrongBlock>, Option<i64>), StoreError>;

    /// Forgets what was counted of a list and marks it to be counted anew.
    async fn forget_blocks(&self, org: OrgId, list: &List) -> Result<(), StoreError>;

    /// The org's lanes.
    async fn lanes(&self, org: OrgId) -> Result<Vec<LaneFacts>, StoreError>;

    /// The events of a lane after a number, `limit` at most. They end when their changes come to so many bytes: the event that
    /// brings them there is the last. None says that there are no more.
    async fn found_events(
        &self,
        org: OrgId,
        lane: i64,
        after: i64,
        limit: u32,
        bytes: usize,
    ) -> Result<Vec<FoundEvent>, StoreError>;

    /// What a lane's events after a number, up to another, tell of deleted and restored records; in their order. Of what was
    /// hidden along with another record nothing is told.
    async fn deletions(&self, org: OrgId, lane: u8, after: i64, upto: i64) -> Result<Vec<Deletion>, StoreError>;

    /// Has a lane go on after its newest event and moment, and says that events up to `gone` are no longer kept. What it says
    /// of that is raised, and lowered only from what it was seen to be: events may be forgotten meanwhile.
    async fn mend_lane(&self, org: OrgId, seen: &LaneFacts, at: Instant, gone: i64) -> Result<(), StoreError>;
}
