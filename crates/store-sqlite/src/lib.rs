//! The storage contract on embedded SQLite.
//!
//! One thread owns the only writing connection and commits what is waiting together (group commit, `synchronous=FULL`:
//! an answered write is on disk). Reads run on read-only connections: bounded ones inline, where the request is, since
//! a hop to another thread costs several times the read; unbounded ones on a few blocking threads, for as long as their
//! caller waits.
//!
//! A bounded read leaves its read transaction open for the next one, for as long as it shows what that wants to see and a
//! second at most: taking and giving back SQLite's shared lock costs as much as finding a page of a list.

mod backup;
mod bind;
mod fresh;
mod open;
mod read;
mod write;

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use konverse_model::{CustomerId, OrgId};
use konverse_store::{Applied, Page, StoreError, Version};
use konverse_store_sql::{Cost, Dialect, Driver, Moment, Query, SqlStore, Value, Work};
use tokio::sync::Semaphore;

pub use backup::{backup, restore};

use fresh::Freshness;
use read::{Caller, Readers};
use write::Writer;

/// A store in one SQLite file.
pub type SqliteStore = SqlStore<Sqlite>;

/// Unbounded reads that may run at once: they compete with requests for the processor, and more would only queue there.
const BLOCKING_READS: usize = 4;

/// Bytes of pages the writing connection may hold unless it is told otherwise.
pub const CACHE: usize = 64 << 20;

/// The SQLite driver.
pub struct Sqlite {
    readers: Arc<Readers>,
    writer: Writer,
    blocking: Arc<Semaphore>,
}

impl Sqlite {
    /// Opens the file, creating it when missing, and brings its schema up to date.
    ///
    /// A file of another program is refused and left as it is. A new file is readable and writable by its owner alone.
    pub fn open(path: &Path) -> Result<SqliteStore, StoreError> {
        Self::open_within(path, CACHE)
    }

    /// The same with so many bytes for pages that the writing connection may hold.
    pub fn open_within(path: &Path, cache: usize) -> Result<SqliteStore, StoreError> {
        let (file, connection) = open::database_file(path, cache)?;
        let readers = Arc::new(Readers::new(Freshness::of(&file), file));
        Ok(SqlStore::new(Self {
            writer: Writer::start(connection, Arc::clone(&readers))?,
            readers,
            blocking: Arc::new(Semaphore::new(BLOCKING_READS)),
        }))
    }

    async fn with_reader<T, F>(&self, cost: Cost, about: Option<(OrgId, CustomerId)>, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&rusqlite::Connection) -> Result<T, StoreError> + Send + 'static,
    {
        if cost == Cost::Bounded {
            return self.readers.run(about, work);
        }
        let blocking = Arc::clone(&self.blocking);
        let permit = blocking.acquire_owned().await.map_err(|_| StoreError::Database("closing".into()))?;
        let readers = Arc::clone(&self.readers);
        let (_caller, wanted) = Caller::new();
        let read = tokio::task::spawn_blocking(move || {
            // Held by the read, not by its caller: a caller who has gone leaves it running for a moment.
            let _permit = permit;
            readers.run_while(wanted, work)
        });
        read.await.map_err(|error| StoreError::Database(error.to_string()))?
    }
}

#[async_trait]
impl Driver for Sqlite {
    const DIALECT: Dialect = Dialect::Sqlite;

    fn moment(&self) -> Option<Moment> {
        self.readers.fresh.moment()
    }

    fn version(&self, moment: Moment, org: OrgId, customer: CustomerId) -> Option<Version> {
        Some(self.readers.fresh.version(moment, org, customer))
    }

    async fn read(&self, queries: Vec<Query>) -> Result<Vec<Vec<Vec<Value>>>, StoreError> {
        let unbounded = queries.iter().any(|query| query.cost == Cost::Unbounded);
        let cost = if unbounded { Cost::Unbounded } else { Cost::Bounded };
        self.with_reader(cost, None, move |connection| {
            queries.iter().map(|query| read::rows(connection, query)).collect()
        })
        .await
    }

    async fn splice(
        &self,
        query: Query,
        about: Option<(OrgId, CustomerId)>,
        limit: u32,
        reversed: bool,
        buffer: Vec<u8>,
    ) -> Result<Page, StoreError> {
        let cost = query.cost;
        self.with_reader(cost, about, move |connection| read::splice(connection, &query, limit, reversed, buffer)).await
    }

    async fn write(&self, work: Work) -> Result<Applied, StoreError> {
        self.writer.write(work).await
    }
}

fn database(error: rusqlite::Error) -> StoreError {
    StoreError::Database(error.to_string())
}
