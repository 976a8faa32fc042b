//! The storage contract on PostgreSQL 15 or newer.
//!
//! Changes that wait for the same lane are committed together, and their statements are sent without waiting for each
//! other (pipelined), so a transaction costs three round trips however many rows it writes. Several server processes may share one database. An unbounded read is cancelled
//! when its caller goes away.

mod bind;
mod failure;
mod open;
mod share;
mod tls;
mod write;

use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use deadpool_postgres::{Object, Pool};
use futures_util::TryStreamExt;
use futures_util::future::try_join_all;
use konverse_model::{CustomerId, Instant, OrgId, Position};
use konverse_store::{Applied, Page, StoreError, Unready};
use konverse_store_sql::{Cost, Dialect, Driver, Query, Splice, SqlStore, Value, Work};
use tokio::sync::OwnedSemaphorePermit;
use tokio_postgres::types::Type;
use tokio_postgres::{RowStream, Statement};

use bind::{Bound, Doc, IdColumn, Param};
use failure::{database, of_pool, within};
use share::Share;
use tls::Tls;
use write::Writer;

/// How long the server may take to end a cancelled query. Then the connection is closed all the same.
const CANCEL: Duration = Duration::from_secs(10);

/// How long until a query that has not ended is cancelled again.
const CANCEL_AGAIN: Duration = Duration::from_secs(1);

/// How long a few rows found by key may take. Whatever the server is told to end by itself, one that hangs does not.
const BOUNDED: Duration = Duration::from_secs(10);

/// Statements kept with a connection. Texts of bounded reads and of changes are some hundred; should there ever be more,
/// all are forgotten and what is in use comes back.
const KEPT: usize = 500;

/// How much longer than the server may take for a statement its answer is waited for, at most.
const GRACE: Duration = Duration::from_secs(5);

/// A store in a PostgreSQL database.
pub type PostgresStore = SqlStore<Postgres>;

/// The PostgreSQL driver.
pub struct Postgres {
    pool: Pool,
    tls: Tls,
    dear: Share,
    /// How long a statement's answer is waited for; nothing when the URL says that it may take for ever.
    patience: Option<Duration>,
    writer: Arc<Writer>,
    /// Set once the server found something stored to be damaged.
    damaged: OnceLock<String>,
}

impl Postgres {
    /// Connects to the database a `postgres://` URL names and brings its schema up to date. `connections` is how many
    /// this process may hold at once.
    pub async fn open(url: &str, connections: usize) -> Result<PostgresStore, StoreError> {
        let (pool, tls) = open::pool(url, connections)?;
        let mut client = pool.get().await.map_err(of_pool)?;
        open::migrate(&mut client).await?;
        let patience = open::statement_timeout(&client).await?.map(|longest| longest + longest.min(GRACE));
        drop(client);
        let writer = Writer::new(pool.clone(), connections, patience);
        let (dear, damaged) = (Share::of_dear_reads(connections), OnceLock::new());
        Ok(SqlStore::new(Self { pool, tls, dear, patience, writer, damaged }))
    }

    /// How many texts a connection keeps prepared. The next read is likely to have the same.
    pub async fn prepared(&self) -> Result<usize, StoreError> {
        Ok(self.pool.get().await.map_err(of_pool)?.statement_cache.size())
    }

    async fn reader(&self, cost: Cost) -> Result<Reader, StoreError> {
        // Before it takes a connection, so that those who wait have none.
        let permit = match cost {
            Cost::Bounded => None,
            Cost::Unbounded => Some(self.dear.enter().await?),
        };
        let client = self.pool.get().await.map_err(of_pool)?;
        Ok(Reader { client: Some(client), tls: self.tls.clone(), cost, permit })
    }

    /// Looks at an error for damage, which is said loudly once and remembered.
    fn note(&self, error: &StoreError) {
        if let StoreError::Corrupt(what) = error
            && self.damaged.set(what.clone()).is_ok()
        {
            tracing::error!("the database is DAMAGED: {what}; PostgreSQL's own log says where");
        }
    }

    /// How long an answer is waited for.
    fn limit(&self, cost: Cost) -> Option<Duration> {
        match cost {
            Cost::Bounded => Some(self.patience.map_or(BOUNDED, |patience| patience.min(BOUNDED))),
            Cost::Unbounded => self.patience,
        }
    }
}

/// A connection in use by a read. It goes back to the pool with [`Reader::done`], and after a bounded read in any case, unless
/// the server is silent. When an unbounded one is dropped before that, its query may run for long: it is cancelled and the
/// connection closed, since whoever came next would wait for it.
struct Reader {
    client: Option<Object>,
    tls: Tls,
    cost: Cost,
    /// Of the dear reads' share, until the connection is free or closed.
    permit: Option<OwnedSemaphorePermit>,
}

impl Reader {
    fn client(&self) -> Result<&Object, StoreError> {
        self.client.as_ref().ok_or_else(|| StoreError::Database("the read is over".into()))
    }

    fn done(mut self) {
        self.client = None;
    }

    /// Gives what was read. A connection whose server was silent, or has more to give than is wanted, is not handed on.
    fn end<T>(mut self, outcome: Result<T, StoreError>) -> Result<T, StoreError> {
        match outcome {
            Ok(found) => {
                self.done();
                Ok(found)
            }
            Err(error) => {
                if matches!(error, StoreError::Unavailable(_) | StoreError::TooLarge) {
                    self.cost = Cost::Unbounded;
                }
                Err(error)
            }
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let unfinished = self.client.take().filter(|client| self.cost == Cost::Unbounded && !client.is_closed());
        // Without a runtime the connection has ended with the one it ran on.
        let (Some(client), Ok(runtime)) = (unfinished, tokio::runtime::Handle::try_current()) else { return };
        let (token, tls, permit) = (client.cancel_token(), self.tls.clone(), self.permit.take());
        runtime.spawn(async move {
            let cancel = async {
                loop {
                    // A server that is frozen takes no request either.
                    let _ = tokio::time::timeout(CANCEL_AGAIN, token.cancel_query(tls.clone())).await;
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
            drop(permit);
        });
    }
}

/// A query that was sent.
async fn sent(client: &Object, statement: Option<&Statement>, query: &Query) -> Result<RowStream, StoreError> {
    let params = query.params.iter().map(Param);
    match statement {
        Some(statement) => client.query_raw(statement, params).await,
        // One round trip, after which the server keeps nothing.
        None => client.query_typed_raw(&query.sql, params.map(|param| (param, type_of(param.0)))).await,
    }
    .map_err(database)
}

fn type_of(value: &Value) -> Type {
    match value {
        Value::Int(_) => Type::INT8,
        Value::Id(_) | Value::Hash(_) => Type::BYTEA,
        Value::Text(_) => Type::TEXT,
        // The server takes it from the text.
        Value::Null | Value::Broken(_) => Type::UNKNOWN,
    }
}

async fn rows(client: &Object, statement: Option<&Statement>, query: &Query) -> Result<Vec<Vec<Value>>, StoreError> {
    let mut stream = pin!(sent(client, statement, query).await?);
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

async fn prepared<'a>(client: &Object, texts: impl Iterator<Item = &'a str>) -> Result<Prepared<'a>, StoreError> {
    let mut statements: Prepared<'a> = Vec::new();
    for sql in texts {
        if !statements.iter().any(|(known, _)| *known == sql) {
            statements.push((sql, prepare(client, sql).await?));
        }
    }
    Ok(statements)
}

/// Prepares a statement, which is kept with the connection.
async fn prepare(client: &Object, sql: &str) -> Result<Statement, StoreError> {
    if client.statement_cache.size() >= KEPT {
        client.statement_cache.clear();
    }
    client.prepare_cached(sql).await.map_err(database)
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
        let reading = async {
            // Unbounded ones are made of filters in thousands of combinations, so none of them is kept.
            let bounded = queries.iter().filter(|_| cost == Cost::Bounded);
            let statements = &prepared(client, bounded.map(|query| &*query.sql)).await?;
            let run = |query| {
                let query: &Query = query;
                async move {
                    match cost {
                        Cost::Bounded => rows(client, Some(statement(statements, &query.sql)?), query).await,
                        Cost::Unbounded => rows(client, None, query).await,
                    }
                }
            };
            try_join_all(queries.iter().map(run)).await
        };
        let found = within(self.limit(cost), reading).await;
        reader.end(found).inspect_err(|error| self.note(error))
    }

    async fn splice(
        &self,
        query: Query,
        _about: Option<(OrgId, CustomerId)>,
        limit: u32,
        reversed: bool,
        buffer: Vec<u8>,
    ) -> Result<Page, StoreError> {
        let reader = self.reader(query.cost).await?;
        let client = reader.client()?;
        let reading = async {
            let statement = match query.cost {
                Cost::Bounded => Some(prepare(client, &query.sql).await?),
                Cost::Unbounded => None,
            };
            let mut stream = pin!(sent(client, statement.as_ref(), &query).await?);
            let mut page = Splice::new(buffer, limit, query.bytes, reversed);
            while let Some(row) = stream.try_next().await.map_err(database)? {
                let at = Instant::from_millis(row.try_get(0).map_err(database)?);
                let IdColumn(id) = row.try_get(1).map_err(database)?;
                let Doc(doc) = row.try_get(2).map_err(database)?;
                page.add(Position { at, id }, doc)?;
            }
            Ok(page.page())
        };
        let found = within(self.limit(query.cost), reading).await;
        reader.end(found).inspect_err(|error| self.note(error))
    }

    async fn write(&self, work: Work) -> Result<Applied, StoreError> {
        self.writer.write(work).await.inspect_err(|error| self.note(error))
    }

    fn ready(&self) -> Result<(), Unready> {
        self.damaged.get().map_or(Ok(()), |what| Err(Unready::Damaged(what.clone())))
    }

    fn is_damaged(&self) -> bool {
        self.damaged.get().is_some()
    }
}
