//! Lists and windows on them.

use async_trait::async_trait;
use konverse_model::{ConversationId, CustomerId, Instant, Kind, OrgId, Position};

use crate::{Row, StoreError};

/// What a list's rows have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The org's.
    Org,
    /// One customer's.
    Customer(CustomerId),
    /// One conversation's.
    Conversation(ConversationId),
}

/// An instant a list can be ordered or filtered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// `createdAt`: never changes, so pages by it neither repeat nor lose a row.
    CreatedAt,
    /// `updatedAt`: moves with every change.
    UpdatedAt,
}

/// A condition on a list's rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filter {
    /// The instant is this or later.
    From(Field, Instant),
    /// The instant is later.
    After(Field, Instant),
    /// The instant is this or earlier.
    UpTo(Field, Instant),
    /// The instant is earlier.
    Before(Field, Instant),
    /// The label is this.
    Label(String),
    /// The label is one of these.
    Labels(Vec<String>),
    /// Deleted records instead of those that show.
    Deleted,
}

/// A list: records of one kind that show, within a scope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List {
    /// The kind.
    pub kind: Kind,
    /// Whose.
    pub scope: Scope,
    /// Conditions, all of which hold.
    pub filters: Vec<Filter>,
}

/// The order of a list; rows with the same instant are ordered by id, the same way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    /// By which instant.
    pub field: Field,
    /// Newest first.
    pub descending: bool,
}

/// Where a window begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// After so many rows.
    Offset(u64),
    /// After this row.
    After(Position),
    /// Before this row: the `limit` rows that precede it, still in the list's order.
    Before(Position),
}

/// A part of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// The list's order.
    pub order: Order,
    /// Where it begins.
    pub start: Start,
    /// Rows at most.
    pub limit: u32,
    /// Bytes of the rows' texts at most, which bounds the memory a read takes: see [`Lists::page`] and [`Lists::rows`].
    pub bytes: usize,
}

/// A page of a list.
#[derive(Debug)]
pub struct Page {
    /// What the caller handed in, followed by the rows' texts, joined by commas.
    pub buffer: Vec<u8>,
    /// Rows in it.
    pub count: u32,
    /// The first row's position.
    pub first: Option<Position>,
    /// The last row's position.
    pub last: Option<Position>,
    /// Whether another row lies beyond it, in the direction read.
    pub more: bool,
}

/// Full rows of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rows {
    /// The rows.
    pub rows: Vec<Row>,
    /// Whether there may be more beyond them, in the direction read.
    pub more: bool,
}

impl List {
    /// All records of a kind within a scope.
    pub fn of(kind: Kind, scope: Scope) -> Self {
        Self { kind, scope, filters: Vec::new() }
    }

    /// The list with one more condition.
    pub fn with(mut self, filter: Filter) -> Self {
        self.filters.push(filter);
        self
    }
}

/// Lists of records.
#[async_trait]
pub trait Lists: Send + Sync + 'static {
    /// A page of a list: the finished texts, joined by commas, appended to `buffer`. When they are more than the window's
    /// bytes it is [`StoreError::TooLarge`], and the read stops there: no row is left out in silence.
    async fn page(&self, org: OrgId, list: &List, window: &Window, buffer: Vec<u8>) -> Result<Page, StoreError>;

    /// Full rows of a list in its order, for use cases that must look at every one. They are fewer than the limit when
    /// their texts come to the window's bytes; the one that brings them there is the last.
    async fn rows(&self, org: OrgId, list: &List, window: &Window) -> Result<Rows, StoreError>;

    /// How many records a list has, by counting; for filtered lists only.
    async fn count(&self, org: OrgId, list: &List) -> Result<u64, StoreError>;
}
