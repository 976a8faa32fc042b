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
mod health;
mod open;
mod read;
mod whole;
mod write;

use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use async_trait::async_trait;
use konverse_model::{CustomerId, OrgId};
use konverse_store::{Applied, Looked, Page, StoreError, Unready, Version};
use konverse_store_sql::{Cost, Dialect, Driver, Moment, Query, Splice, SqlStore, Value, Work};
use rusqlite::{ErrorCode, ffi};
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};

pub use backup::{backup, restore};

use fresh::Freshness;
use health::Health;
use read::{Caller, Readers};
use write::Writer;

/// A store in one SQLite file.
pub type SqliteStore = SqlStore<Sqlite>;

/// Unbounded reads that may run at once: they compete with requests for the processor, and more would only queue there.
const BLOCKING_READS: usize = 4;

/// Unbounded reads that may wait for one of those to end: whoever comes after them would wait for long.
const WAITING_READS: usize = 64;

/// How a SQLite file is used.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Bytes of pages the writing connection may hold.
    pub cache: usize,
    /// How long a write may wait for its turn, also while another process holds the file's lock, and an unbounded read for
    /// a thread.
    pub longest_wait: Duration,
    /// Bytes that must be free beside the file for it to be ready.
    pub least_free: u64,
    /// Whether the file is read through a memory map. Then the system kills the process where the file is cut short.
    pub map: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { cache: 64 << 20, longest_wait: Duration::from_secs(30), least_free: 64 << 20, map: true }
    }
}

/// The SQLite driver.
pub struct Sqlite {
    readers: Arc<Readers>,
    writer: Writer,
    health: Arc<Health>,
    longest_wait: Duration,
    blocking: Arc<Semaphore>,
    /// Unbounded reads that run or wait.
    places: Arc<Semaphore>,
    /// Held while the file is looked through: twice at once would tell nothing more.
    looking: Mutex<()>,
}

impl Sqlite {
    /// Opens the file, creating it when missing, and brings its schema up to date.
    ///
    /// A file of another program is refused and left as it is. A new file is readable and writable by its owner alone.
    pub fn open(path: &Path) -> Result<SqliteStore, StoreError> {
        Self::open_with(path, Options::default())
    }

    /// The same, used in another way.
    pub fn open_with(path: &Path, options: Options) -> Result<SqliteStore, StoreError> {
        let (file, connection) = open::database_file(path, options)?;
        let fresh = Arc::new(Freshness::of(&file));
        let health = Arc::new(Health::of(path, &file, Arc::clone(&fresh), options.least_free)?);
        let readers = Arc::new(Readers::open(fresh, file, options.map, Arc::clone(&health))?);
        // An import computes on every processor, and each of its parts may read.
        let waiting = WAITING_READS.max(2 * threads());
        Ok(SqlStore::new(Self {
            writer: Writer::start(connection, Arc::clone(&readers), options.longest_wait)?,
            readers,
            health,
            longest_wait: options.longest_wait,
            blocking: Arc::new(Semaphore::new(BLOCKING_READS)),
            places: Arc::new(Semaphore::new(BLOCKING_READS + waiting)),
            looking: Mutex::default(),
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
        let turn = self.turn().await?;
        let readers = Arc::clone(&self.readers);
        let (_caller, wanted) = Caller::new();
        let read = tokio::task::spawn_blocking(move || {
            // Held by the read, not by its caller: a caller who has gone leaves it running for a moment.
            let _turn = turn;
            readers.run_while(wanted, work)
        });
        read.await.map_err(|error| StoreError::Database(error.to_string()))?
    }

    /// Waits for one of the threads of unbounded reads, not for ever and not behind too many.
    async fn turn(&self) -> Result<[OwnedSemaphorePermit; 2], StoreError> {
        let many = |_| StoreError::Unavailable("too many long reads wait already".into());
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(many)?;
        let thread = tokio::time::timeout(self.longest_wait, Arc::clone(&self.blocking).acquire_owned()).await;
        let late = |_| StoreError::Unavailable(format!("no thread for a long read within {:?}", self.longest_wait));
        let thread = thread.map_err(late)?.map_err(|_| StoreError::Database("closing".into()))?;
        Ok([place, thread])
    }
}

/// As many as the runtime has threads, unless it was told otherwise.
fn threads() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
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
        let read = self.with_reader(cost, None, move |connection| {
            queries.iter().map(|query| read::rows(connection, query)).collect::<Result<Vec<_>, _>>()
        });
        let found = read.await?;
        let values = found.iter().flatten().flatten();
        let broken = values.filter_map(|value| if let Value::Broken(what) = value { Some(*what) } else { None });
        broken.take(1).for_each(|what| self.health.note(&StoreError::Corrupt(what.into())));
        Ok(found)
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
        let page = Splice::new(buffer, limit, query.bytes, reversed);
        self.with_reader(cost, about, move |connection| read::splice(connection, &query, page)).await
    }

    async fn write(&self, work: Work) -> Result<Applied, StoreError> {
        self.writer.write(work).await
    }

    async fn rehearse(&self, work: Work) -> Result<(), StoreError> {
        self.writer.rehearse(work).await
    }

    fn ready(&self) -> Result<(), Unready> {
        self.health.ready()
    }

    fn is_damaged(&self) -> bool {
        self.health.damage().is_some()
    }

    async fn look_through(&self) -> Result<Looked, StoreError> {
        let _alone = self.looking.lock().await;
        let readers = Arc::clone(&self.readers);
        let (_caller, wanted) = Caller::new();
        let looking = tokio::task::spawn_blocking(move || readers.look_through(wanted));
        looking.await.map_err(|error| StoreError::Database(error.to_string()))??;
        Ok(if self.is_damaged() { Looked::Damaged } else { Looked::Whole })
    }
}

/// What an error of SQLite's means: that it passes, that the file is damaged, or that something is wrong here.
fn database(error: rusqlite::Error) -> StoreError {
    let text = error.to_string();
    let Some(code) = error.sqlite_error() else { return StoreError::Database(text) };
    match code.code {
        ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => StoreError::Corrupt(text),
        // Somebody else holds a lock, or there is no room, no memory, no descriptor left.
        ErrorCode::DatabaseBusy
        | ErrorCode::DatabaseLocked
        | ErrorCode::FileLockingProtocolFailed
        | ErrorCode::DiskFull
        | ErrorCode::OutOfMemory
        | ErrorCode::CannotOpen
        | ErrorCode::ReadOnly => StoreError::Unavailable(text),
        ErrorCode::SystemIoFailure if is_of_writing(code.extended_code) => {
            StoreError::Unavailable(format!("{text} ({})", code.extended_code))
        }
        _ => StoreError::Database(format!("{text} ({})", code.extended_code)),
    }
}

/// Whether an I/O error is one of writing: a full or failing disk.
fn is_of_writing(extended_code: i32) -> bool {
    [
        ffi::SQLITE_IOERR_WRITE,
        ffi::SQLITE_IOERR_FSYNC,
        ffi::SQLITE_IOERR_DIR_FSYNC,
        ffi::SQLITE_IOERR_TRUNCATE,
        ffi::SQLITE_IOERR_LOCK,
        ffi::SQLITE_IOERR_NOMEM,
        ffi::SQLITE_IOERR_SHMOPEN,
        ffi::SQLITE_IOERR_SHMSIZE,
        ffi::SQLITE_IOERR_SHMMAP,
        ffi::SQLITE_IOERR_SHMLOCK,
    ]
    .contains(&extended_code)
}
