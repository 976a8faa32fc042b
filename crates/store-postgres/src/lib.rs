//! The storage contract on PostgreSQL 15 or newer.
//!
//! Changes that wait for the same lane are committed together, and their statements are sent without waiting for each
//! other (pipelined), so a transaction costs three round trips however many rows it writes. Several server processes may share one database. An unbounded read is cancelled
//! when its caller goes away.

mod bind;
mod open;
mod write;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use deadpool_postgres::{Object, Pool};
use futures_util::TryStreamExt;
use futures_util::future::try_join_all;
use konverse_model::{CustomerId, Instant, OrgId, Position};
use konverse_store::{Applied, Conflict, Page, StoreError};
use konverse_store_sql::{Cost, Dialect, Driver, Query, Splice, SqlStore, Value, Work};
use tokio_postgres::Statement;
use tokio_postgres::error::SqlState;

use bind::{Bound, Doc, IdColumn, Param};
use write::Writer;

/// How long the server may take to end a cancelled query. Then the connection is closed all the same.
const CANCEL: Duration = Duration::from_secs(10);

/// How long until a query that has not ended is cancelled again.
const CANCEL_AGAIN: Duration = Duration::from_secs(1);

/// A store in a PostgreSQL database.
pub type PostgresStore = SqlStore<Postgres>;

/// The PostgreSQL driver.
pub struct Postgres {
    pool: Pool,
    writer: Arc<Writer>,
}

impl Postgres {
    /// Connects to the database a `postgres://` URL names and brings its schema up to date. `connections` is how many
    /// this process may hold at once.
    pub async fn open(url: &str, connections: usize) -> Result<PostgresStore, StoreError> {
        let pool = open::pool(url, connections)?;
        let mut client = pool.get().await.map_err(pool_error)?;
        open::migrate(&mut client).await?;
        drop(client);
        let writer = Writer::new(pool.clone(), connections);
        Ok(SqlStore::new(Self { pool, writer }))
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
    let mut stream = pin!(stream);
    let (mut found, mut bytes) = (Vec::new(), 0);
    while let Some(row) = stream.try_next().await.map_err(database)? {
        // What comes after the bytes that may be held is taken from the connection, and dropped.
        if bytes >= query.bytes {
            continue;
        }
        let values = (0..row.len()).map(|n| row.try_get::<_, Bound>(n).map(|bound| bound.0));
        let values: Vec<Value> = values.collect::<Result<_, _>>().map_err(database)?;
        bytes += values.iter().map(Value::bytes).sum::<usize>();
        found.push(values);
    }
    Ok(found)
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

    async fn splice(
        &self,
        query: Query,
        _about: Option<(OrgId, CustomerId)>,
        limit: u32,
        reversed: bool,
        buffer: Vec<u8>,
    ) -> Result<Page, StoreError> {
        let mut reader = self.reader(query.cost).await?;
        let client = reader.client()?;
        let statement = prepare(client, query.cost, &query.sql).await?;
        let stream = client.query_raw(&statement, query.params.iter().map(Param)).await.map_err(database)?;
        let mut stream = pin!(stream);
        let mut page = Splice::new(buffer, limit, query.bytes, reversed);
        while let Some(row) = stream.try_next().await.map_err(database)? {
            let at = Instant::from_millis(row.try_get(0).map_err(database)?);
            let IdColumn(id) = row.try_get(1).map_err(database)?;
            let Doc(doc) = row.try_get(2).map_err(database)?;
            if let Err(error) = page.add(Position { at, id }, doc) {
                // Whoever had the connection next would have to take the rest first.
                reader.cost = Cost::Unbounded;
                return Err(error);
            }
        }
        reader.done();
        Ok(page.page())
    }

    async fn write(&self, work: Work) -> Result<Applied, StoreError> {
        self.writer.write(work).await
    }
}

fn is_contention(code: &SqlState) -> bool {
    [SqlState::T_R_DEADLOCK_DETECTED, SqlState::T_R_SERIALIZATION_FAILURE, SqlState::LOCK_NOT_AVAILABLE].contains(code)
}
