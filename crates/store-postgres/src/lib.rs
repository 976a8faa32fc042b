//! The storage contract on PostgreSQL 15 or newer.
//!
//! The statements of a change are sent without waiting for each other (pipelined), so a transaction costs three round
//! trips however many rows it writes. Several server processes may share one database. An unbounded read is cancelled
//! when its caller goes away.

mod bind;
mod open;

use std::time::Duration;

use async_trait::async_trait;
use deadpool_postgres::{Object, Pool};
use futures_util::TryStreamExt;
use futures_util::future::{join, join_all, try_join_all};
use konverse_model::{Instant, Position};
use konverse_store::{Applied, Conflict, Page, StoreError};
use konverse_store_sql::{Cost, Dialect, Driver, LaneState, Query, SqlStore, Step, Value, Work};
use tokio::sync::Semaphore;
use tokio_postgres::Statement;
use tokio_postgres::error::SqlState;

use bind::{Bound, Doc, IdColumn, Param};

/// How long the server may take to end a cancelled query. Then the connection is closed all the same.
const CANCEL: Duration = Duration::from_secs(10);

/// How long until a query that has not ended is cancelled again.
const CANCEL_AGAIN: Duration = Duration::from_secs(1);

/// A store in a PostgreSQL database.
pub type PostgresStore = SqlStore<Postgres>;

/// The PostgreSQL driver.
pub struct Postgres {
    pool: Pool,
    /// Changes that may have a connection. They wait for their lanes with it, and a quarter of the pool is for reads.
    writers: Semaphore,
}

impl Postgres {
    /// Connects to the database a `postgres://` URL names and brings its schema up to date. `connections` is how many
    /// this process may hold at once.
    pub async fn open(url: &str, connections: usize) -> Result<PostgresStore, StoreError> {
        let pool = open::pool(url, connections)?;
        let mut client = pool.get().await.map_err(pool_error)?;
        open::migrate(&mut client).await?;
        drop(client);
        let writers = Semaphore::new((connections - connections / 4).max(1));
        Ok(SqlStore::new(Self { pool, writers }))
    }

    async fn client(&self) -> Result<Object, StoreError> {
        self.pool.get().await.map_err(pool_error)
    }

    async fn reader(&self, cost: Cost) -> Result<Reader, StoreError> {
        Ok(Reader { client: Some(self.client().await?), cost })
    }
}

/// A connection in use by a read. It goes back to the pool with [`Reader::done`], and after a bounded read in any case.
/// When an unbounded one is dropped before that, its query may run for long: it is cancelled and the connection closed,
/// since whoever came next would wait for it.
struct Reader {
    client: Option<Object>,
    cost: Cost,
}

impl Reader {
    fn client(&self) -> Result<&Object, StoreError> {
        self.client.as_ref().ok_or_else(|| StoreError::Database("the read is over".into()))
    }

    fn done(mut self) {
        self.client = None;
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let unfinished = self.client.take().filter(|client| self.cost == Cost::Unbounded && !client.is_closed());
        // Without a runtime the connection has ended with the one it ran on.
        let (Some(client), Ok(runtime)) = (unfinished, tokio::runtime::Handle::try_current()) else { return };
        let token = client.cancel_token();
        runtime.spawn(async move {
            let cancel = async {
                loop {
                    let _ = token.cancel_query(open::TLS).await;
                    // The server forgets a cancellation that comes just before the query begins.
                    let is_free = tokio::time::timeout(CANCEL_AGAIN, client.simple_query("")).await.is_ok();
                    if is_free {
                        break;
                    }
                }
            };
            // The connection keeps its place in the pool meanwhile, so that callers who come and go do not make the
            // server run more queries than the pool has places.
            let _ = tokio::time::timeout(CANCEL, cancel).await;
            drop(Object::take(client));
        });
    }
}

fn pool_error(error: deadpool_postgres::PoolError) -> StoreError {
    // The pool's own text hides the reason behind "db error".
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    StoreError::Database(text)
}

fn database(error: tokio_postgres::Error) -> StoreError {
    match error.as_db_error() {
        // Two transactions stood in each other's way, wherever that was noticed.
        Some(db) if is_contention(db.code()) => StoreError::Conflict(Conflict::Busy),
        Some(db) => StoreError::Database(format!("{} {}", db.code().code(), db.message())),
        None => StoreError::Database(error.to_string()),
    }
}

async fn rows(client: &Object, statement: &Statement, query: &Query) -> Result<Vec<Vec<Value>>, StoreError> {
    let stream = client.query_raw(statement, query.params.iter().map(Param)).await.map_err(database)?;
    let rows: Vec<_> = stream.try_collect().await.map_err(database)?;
    let values = |row: &tokio_postgres::Row| {
        (0..row.len()).map(|n| row.try_get::<_, Bound>(n).map(|bound| bound.0)).collect::<Result<_, _>>()
    };
    rows.iter().map(values).collect::<Result<_, _>>().map_err(database)
}

/// Statements by text, prepared before they run side by side: each text once, since reads and changes repeat few texts
/// many times.
type Prepared<'a> = Vec<(&'a str, Statement)>;

async fn prepared<'a>(
    client: &Object,
    cost: Cost,
    texts: impl Iterator<Item = &'a str>,
) -> Result<Prepared<'a>, StoreError> {
    let mut statements: Prepared<'a> = Vec::new();
    for sql in texts {
        if !statements.iter().any(|(known, _)| *known == sql) {
            statements.push((sql, prepare(client, cost, sql).await?));
        }
    }
    Ok(statements)
}

/// Prepares a statement, which is kept with the connection, for ever, when it is bounded. Unbounded ones are made of filters
/// in thousands of combinations; beside what they cost, preparing them each time is little.
async fn prepare(client: &Object, cost: Cost, sql: &str) -> Result<Statement, StoreError> {
    match cost {
        Cost::Bounded => client.prepare_cached(sql).await,
        Cost::Unbounded => client.prepare(sql).await,
    }
    .map_err(database)
}

fn statement<'a>(statements: &'a Prepared<'_>, sql: &str) -> Result<&'a Statement, StoreError> {
    let found = statements.iter().find(|(known, _)| *known == sql).map(|(_, statement)| statement);
    found.ok_or_else(|| StoreError::Database("statement not prepared".into()))
}

#[async_trait]
impl Driver for Postgres {
    const DIALECT: Dialect = Dialect::Postgres;

    async fn read(&self, queries: Vec<Query>) -> Result<Vec<Vec<Vec<Value>>>, StoreError> {
        if queries.is_empty() {
            return Ok(Vec::new());
        }
        let unbounded = queries.iter().any(|query| query.cost == Cost::Unbounded);
        let cost = if unbounded { Cost::Unbounded } else { Cost::Bounded };
        let reader = self.reader(cost).await?;
        let client = reader.client()?;
        let statements = &prepared(client, cost, queries.iter().map(|query| &*query.sql)).await?;
        let run = |query| {
            let query: &Query = query;
            async move { rows(client, statement(statements, &query.sql)?, query).await }
        };
        let found = try_join_all(queries.iter().map(run)).await?;
        reader.done();
        Ok(found)
    }

    async fn splice(&self, query: Query, limit: u32, reversed: bool, mut buffer: Vec<u8>) -> Result<Page, StoreError> {
        let reader = self.reader(query.cost).await?;
        let client = reader.client()?;
        let statement = prepare(client, query.cost, &query.sql).await?;
        let stream = client.query_raw(&statement, query.params.iter().map(Param)).await.map_err(database)?;
        let mut rows: Vec<_> = stream.try_collect().await.map_err(database)?;
        reader.done();
        let more = rows.len() > limit as usize;
        rows.truncate(limit as usize);
        if reversed {
            rows.reverse();
        }
        let mut positions = Vec::with_capacity(rows.len());
        for (n, row) in rows.iter().enumerate() {
            let at = Instant::from_millis(row.try_get(0).map_err(database)?);
            let IdColumn(id) = row.try_get(1).map_err(database)?;
            let Doc(doc) = row.try_get(2).map_err(database)?;
            positions.push(Position { at, id });
            if n > 0 {
                buffer.push(b',');
            }
            buffer.extend_from_slice(doc);
        }
        let count = u32::try_from(positions.len()).unwrap_or(u32::MAX);
        Ok(Page { buffer, count, first: positions.first().copied(), last: positions.last().copied(), more })
    }

    async fn write(&self, work: Work) -> Result<Applied, StoreError> {
        let closed = |_| StoreError::Database("the store is closed".into());
        let _permit = self.writers.acquire().await.map_err(closed)?;
        let writing = Writing(Some(self.client().await?));
        let client = writing.client()?;
        let result = match perform(client, &work).await {
            Ok(applied) => client.batch_execute("COMMIT").await.map(|()| applied).map_err(database),
            Err(error) => client.batch_execute("ROLLBACK").await.map_err(database).and(Err(error)),
        };
        // What could not be ended is closed, and so rolled back by the server.
        if matches!(result, Ok(_) | Err(StoreError::Conflict(_))) {
            writing.done();
        }
        result
    }
}

/// A connection in a transaction. It goes back to the pool with [`Writing::done`]; dropped before that, by a caller who
/// went away for instance, it is closed, and the server rolls back.
struct Writing(Option<Object>);

impl Writing {
    fn client(&self) -> Result<&Object, StoreError> {
        self.0.as_ref().ok_or_else(|| StoreError::Database("the transaction is over".into()))
    }

    fn done(mut self) {
        self.0 = None;
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        if let Some(client) = self.0.take() {
            drop(Object::take(client));
        }
    }
}

/// Begins a transaction, locks the lanes and runs the steps. What does not need an answer before the next is sent with it.
async fn perform(client: &Object, work: &Work) -> Result<Applied, StoreError> {
    let begin = async { client.batch_execute("BEGIN").await.map_err(database) };
    let mut lanes = Vec::with_capacity(work.lanes().len());
    match work.lanes() {
        [] => begin.await?,
        [first, others @ ..] => {
            let lock = work.lock(*first);
            let statement = client.prepare_cached(&lock.sql).await.map_err(database)?;
            let (begun, found) = join(begin, rows(client, &statement, &lock)).await;
            begun?;
            lanes.push(lane_state(client, work, *first, found?).await?);
            for lane in others {
                let found = rows(client, &statement, &work.lock(*lane)).await?;
                lanes.push(lane_state(client, work, *lane, found).await?);
            }
        }
    }
    let (steps, applied) = work.steps(&lanes)?;
    let statements = prepared(client, Cost::Bounded, steps.iter().map(|step| &*step.sql)).await?;
    let run = |step| {
        let step: &Step = step;
        let statements = &statements;
        async move {
            let statement = statement(statements, &step.sql)?;
            match client.execute_raw(statement, step.params.iter().map(Param)).await {
                Ok(0) if step.must_change => Err(StoreError::Conflict(step.conflict.clone().unwrap_or(Conflict::Busy))),
                Ok(_) => Ok(()),
                Err(error) => Err(failure(step, error)),
            }
        }
    };
    // All are sent at once and answered in order. After the first failure the engine refuses the rest, so the first
    // error is the one that says why.
    match join_all(steps.iter().map(run)).await.into_iter().find_map(Result::err) {
        Some(error) => Err(error),
        None => Ok(applied),
    }
}

/// The state of a lane that was locked, which is made first when nothing was found of it.
async fn lane_state(
    client: &Object,
    work: &Work,
    lane: u8,
    mut found: Vec<Vec<Value>>,
) -> Result<LaneState, StoreError> {
    if found.is_empty() {
        let (make, lock) = (work.make(lane), work.lock(lane));
        let making = client.prepare_cached(&make.sql).await.map_err(database)?;
        client.execute_raw(&making, make.params.iter().map(Param)).await.map_err(database)?;
        let statement = client.prepare_cached(&lock.sql).await.map_err(database)?;
        found = rows(client, &statement, &lock).await?;
    }
    work.lane_state(found.pop().unwrap_or_default())
}

fn failure(step: &Step, error: tokio_postgres::Error) -> StoreError {
    match (error.code(), &step.conflict) {
        (Some(&SqlState::UNIQUE_VIOLATION), Some(conflict)) => StoreError::Conflict(conflict.clone()),
        _ => database(error),
    }
}

fn is_contention(code: &SqlState) -> bool {
    [SqlState::T_R_DEADLOCK_DETECTED, SqlState::T_R_SERIALIZATION_FAILURE, SqlState::LOCK_NOT_AVAILABLE].contains(code)
}
