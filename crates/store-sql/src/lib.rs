//! The SQL behind the storage contract, for any driver.
//!
//! [`SqlStore`] turns reads into [`Query`]s and a `Changes` into [`Step`]s; a [`Driver`] runs them on one engine. The
//! same text serves both engines (`$1` parameters, first used in order); the few true differences are in [`Dialect`].
//! No driver is named here.

mod block;
mod check;
mod lane;
mod page;
mod plan;
mod select;
mod store;
mod table;

use std::borrow::Cow;

use async_trait::async_trait;
use konverse_model::{CustomerId, Id, Instant, OrgId};
use konverse_store::{Applied, Conflict, Looked, Page, StoreError, Unready, Version};

pub use lane::LaneState;
pub use page::Splice;
pub use plan::{Plan, Work, together};
pub use store::SqlStore;

/// The schema's migrations in order, by engine. A migration is never edited once released.
pub mod migrations {
    /// For SQLite.
    pub const SQLITE: &[&str] = &[
        include_str!("../migrations/sqlite/0001_records.sql"),
        include_str!("../migrations/sqlite/0002_lanes.sql"),
        include_str!("../migrations/sqlite/0003_blocks.sql"),
        include_str!("../migrations/sqlite/0004_orders.sql"),
        include_str!("../migrations/sqlite/0005_sign_in.sql"),
        include_str!("../migrations/sqlite/0006_metadata.sql"),
        include_str!("../migrations/sqlite/0007_labels.sql"),
    ];
    /// For PostgreSQL.
    pub const POSTGRES: &[&str] = &[
        include_str!("../migrations/postgres/0001_records.sql"),
        include_str!("../migrations/postgres/0002_lanes.sql"),
        include_str!("../migrations/postgres/0003_blocks.sql"),
        include_str!("../migrations/postgres/0004_orders.sql"),
        include_str!("../migrations/postgres/0005_sign_in.sql"),
        include_str!("../migrations/postgres/0006_metadata.sql"),
        include_str!("../migrations/postgres/0007_labels.sql"),
    ];
}

/// Where the engines truly differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Embedded SQLite.
    Sqlite,
    /// PostgreSQL.
    Postgres,
}

/// A parameter or a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// SQL NULL.
    Null,
    /// An integer, an instant, a flag.
    Int(i64),
    /// An id.
    Id(Id),
    /// A hash.
    Hash([u8; 32]),
    /// A text.
    Text(String),
    /// A column that holds none of these: the database was written to by somebody else, or is damaged. Never a parameter.
    Broken(&'static str),
}

impl Value {
    /// A text that is none.
    pub const NOT_UTF8: Self = Self::Broken("a text is not UTF-8");

    /// Bytes of a text, which alone can be many.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            _ => 0,
        }
    }
}

/// A read.
#[derive(Clone, Debug)]
pub struct Query {
    /// Its text.
    pub sql: Cow<'static, str>,
    /// Its parameters.
    pub params: Vec<Value>,
    /// How much it may read.
    pub cost: Cost,
    /// Bytes of texts that may be held of what it finds. A page that would be more is refused; of rows, none is read after
    /// the one that brings them there.
    pub bytes: usize,
}

/// How much a read may cost: decides where it runs, so that no caller has to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cost {
    /// A few rows found by key.
    Bounded,
    /// Possibly every row of a list.
    Unbounded,
}

/// One statement of a transaction.
#[derive(Clone, Debug)]
pub struct Step {
    /// Its text.
    pub sql: Cow<'static, str>,
    /// Its parameters.
    pub params: Vec<Value>,
    /// Whether changing no row is a conflict.
    pub must_change: bool,
    /// What that conflict is, and what a broken unique key is. A broken unique key without one is an error.
    pub conflict: Option<Conflict>,
}

/// A moment in a database's history, as one process knows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// Moves with every commit: equal ones are the same snapshot.
    pub commits: u64,
    /// Moves with commits of other processes.
    pub epoch: u64,
    /// Moves with own commits that let a token in, or in no longer.
    pub doors: u64,
}

/// One engine.
#[async_trait]
pub trait Driver: Send + Sync + 'static {
    /// Its dialect.
    const DIALECT: Dialect;

    /// The present, where the engine tells it for less than a statement costs.
    fn moment(&self) -> Option<Moment> {
        None
    }

    /// The version of a customer's timeline at a moment the driver gave.
    fn version(&self, _moment: Moment, _org: OrgId, _customer: CustomerId) -> Option<Version> {
        None
    }

    /// Runs reads and gives their rows, one list a query.
    async fn read(&self, queries: Vec<Query>) -> Result<Vec<Vec<Vec<Value>>>, StoreError>;

    /// Runs a read of the columns `at, id, doc` and appends at most `limit` texts to `buffer`, joined by commas. The rows
    /// go into the buffer as they arrive ([`Splice`]), and the read stops where they are more bytes than the query's.
    /// `reversed` means the rows arrive in the opposite of the order wanted. `about` is the customer whose timeline it
    /// reads, and nothing else: it may be read as of any moment since that was last written.
    async fn splice(
        &self,
        query: Query,
        about: Option<(OrgId, CustomerId)>,
        limit: u32,
        reversed: bool,
        buffer: Vec<u8>,
    ) -> Result<Page, StoreError>;

    /// Runs the work as one transaction: locks its lanes, then runs its steps.
    async fn write(&self, work: Work) -> Result<Applied, StoreError>;

    /// Tries the work, which says that it could be written. It may be kept, and need not be where that tells no more.
    async fn rehearse(&self, work: Work) -> Result<(), StoreError> {
        self.write(work).await.map(drop)
    }

    /// What the engine can tell of its own fitness without reading or writing.
    fn ready(&self) -> Result<(), Unready> {
        Ok(())
    }

    /// See [`konverse_store::Store::is_damaged`].
    fn is_damaged(&self) -> bool;

    /// See [`konverse_store::Store::look_through`].
    async fn look_through(&self) -> Result<Looked, StoreError> {
        Ok(Looked::Left)
    }
}

impl From<Instant> for Value {
    fn from(value: Instant) -> Self {
        Value::Int(value.millis())
    }
}

impl From<Id> for Value {
    fn from(value: Id) -> Self {
        Value::Id(value)
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Value::Int(value)
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Value::Text(value)
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Value::Null, Into::into)
    }
}

/// A value of the wrong kind. It is not repeated: texts are people's.
pub(crate) fn misplaced(value: &Value, wanted: &str) -> StoreError {
    let found = match value {
        Value::Null => "NULL",
        Value::Int(_) => "an integer",
        Value::Id(_) => "an id",
        Value::Hash(_) => "a hash",
        Value::Text(_) => "a text",
        Value::Broken(what) => what,
    };
    StoreError::Corrupt(format!("{found} where {wanted} belongs"))
}

/// Reads the columns of one row from left to right.
pub(crate) struct Columns(std::vec::IntoIter<Value>);

impl Columns {
    pub(crate) fn new(row: Vec<Value>) -> Self {
        Self(row.into_iter())
    }

    fn next(&mut self) -> Result<Value, StoreError> {
        self.0.next().ok_or_else(|| StoreError::Corrupt("fewer columns than asked for".into()))
    }

    pub(crate) fn int(&mut self) -> Result<i64, StoreError> {
        self.optional_int()?.ok_or_else(|| StoreError::Corrupt("NULL where an integer belongs".into()))
    }

    pub(crate) fn optional_int(&mut self) -> Result<Option<i64>, StoreError> {
        match self.next()? {
            Value::Int(value) => Ok(Some(value)),
            Value::Null => Ok(None),
            other => Err(misplaced(&other, "an integer")),
        }
    }

    pub(crate) fn id(&mut self) -> Result<Id, StoreError> {
        self.optional_id()?.ok_or_else(|| StoreError::Corrupt("NULL where an id belongs".into()))
    }

    pub(crate) fn optional_id(&mut self) -> Result<Option<Id>, StoreError> {
        match self.next()? {
            Value::Id(value) => Ok(Some(value)),
            Value::Null => Ok(None),
            other => Err(misplaced(&other, "an id")),
        }
    }

    pub(crate) fn text(&mut self) -> Result<String, StoreError> {
        self.optional_text()?.ok_or_else(|| StoreError::Corrupt("NULL where a text belongs".into()))
    }

    pub(crate) fn optional_text(&mut self) -> Result<Option<String>, StoreError> {
        match self.next()? {
            Value::Text(value) => Ok(Some(value)),
            Value::Null => Ok(None),
            other => Err(misplaced(&other, "a text")),
        }
    }
}

impl Query {
    pub(crate) fn bounded(sql: impl Into<Cow<'static, str>>, params: Vec<Value>) -> Self {
        Self { sql: sql.into(), params, cost: Cost::Bounded, bytes: usize::MAX }
    }

    pub(crate) fn unbounded(sql: impl Into<Cow<'static, str>>, params: Vec<Value>) -> Self {
        Self { sql: sql.into(), params, cost: Cost::Unbounded, bytes: usize::MAX }
    }
}
