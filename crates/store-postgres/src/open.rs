//! Connecting: the pool and the schema.

use std::str::FromStr;
use std::time::Duration;

use deadpool_postgres::{Hook, HookError, Manager, ManagerConfig, Object, Pool, RecyclingMethod, Runtime, Transaction};
use konverse_store::StoreError;
use konverse_store_sql::migrations;
use tokio_postgres::Config;

use crate::failure::database;
use crate::tls::{self, Tls};

/// The advisory lock held while migrating, so that processes starting together do not both migrate: "konverse" in ASCII.
const MIGRATION_LOCK: i64 = 0x6b6f_6e76_6572_7365;

/// What every connection asks of the server. Our statements are short: compiling one takes longer than any of them. One
/// that waits for somebody's lock gives way to a clear answer; writers wait for their lane, but not for long. What the URL
/// says in its `options` comes later, and counts.
const OPTIONS: &str =
    "-c jit=off -c statement_timeout=60s -c lock_timeout=5s -c idle_in_transaction_session_timeout=60s";

/// How long a connection may take to be made, or to become free.
const CONNECT: Duration = Duration::from_secs(5);

/// A connection's life: what a server process has learnt of tables and statements goes with it.
const LIFE: Duration = Duration::from_secs(3600);

/// The peer is asked after so long a silence, again after each [`KEEP_ALIVE_AGAIN`], and given up after three times.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
const KEEP_ALIVE_AGAIN: Duration = Duration::from_secs(10);

/// How long what was sent may stay unacknowledged.
const UNACKNOWLEDGED: Duration = Duration::from_secs(30);

/// The connections, and how a query is cancelled.
pub(crate) fn pool(url: &str, connections: usize) -> Result<(Pool, Tls), StoreError> {
    let (url, tls) = tls::take_out(url)?;
    let mut config = Config::from_str(&url).map_err(|error| StoreError::Database(format!("database URL: {error}")))?;
    let is_said = |name: &str| url.contains(&format!("{name}="));
    config.application_name("konverse");
    config.options(format!("{OPTIONS} {}", config.get_options().unwrap_or_default()));
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(CONNECT);
    }
    if !is_said("keepalives_idle") {
        config.keepalives_idle(KEEP_ALIVE);
    }
    if config.get_keepalives_interval().is_none() {
        config.keepalives_interval(KEEP_ALIVE_AGAIN);
    }
    if config.get_keepalives_retries().is_none() {
        config.keepalives_retries(3);
    }
    if config.get_tcp_user_timeout().is_none() {
        config.tcp_user_timeout(UNACKNOWLEDGED);
    }
    // With several hosts each may take that long.
    let create =
        config.get_connect_timeout().map(|one| *one * u32::try_from(config.get_hosts().len().max(1)).unwrap_or(1));
    let manager = Manager::from_config(config, tls.clone(), ManagerConfig { recycling_method: RecyclingMethod::Fast });
    let pool = Pool::builder(manager)
        .max_size(connections)
        .runtime(Runtime::Tokio1)
        .wait_timeout(Some(CONNECT))
        .create_timeout(create)
        .pre_recycle(Hook::sync_fn(|_, metrics| match metrics.age() < LIFE {
            true => Ok(()),
            false => Err(HookError::message("it is old")),
        }))
        .build()
        .map_err(|error| StoreError::Database(error.to_string()))?;
    Ok((pool, tls))
}

/// The longest that a statement may run on these connections; `None` is for ever.
pub(crate) async fn statement_timeout(client: &Object) -> Result<Option<Duration>, StoreError> {
    const ASK: &str = "SELECT setting::bigint FROM pg_settings WHERE name = 'statement_timeout'";
    let millis: i64 = client.query_one(ASK, &[]).await.map_err(database)?.try_get(0).map_err(database)?;
    Ok(u64::try_from(millis).ok().filter(|millis| *millis > 0).map(Duration::from_millis))
}

/// Runs the migrations the database has not seen.
pub(crate) async fn migrate(client: &mut Object) -> Result<(), StoreError> {
    let version: String = client.query_one("SHOW server_version_num", &[]).await.map_err(database)?.get(0);
    if version.parse::<u32>().unwrap_or(0) < 150_000 {
        return Err(StoreError::Database("PostgreSQL 15 or newer is needed".into()));
    }
    let transaction = client.transaction().await.map_err(database)?;
    // It may take long, and so may that of another process.
    let patiently = "SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0";
    transaction.batch_execute(patiently).await.map_err(database)?;
    transaction.execute("SELECT pg_advisory_xact_lock($1)", &[&MIGRATION_LOCK]).await.map_err(database)?;
    transaction
        .batch_execute("SET LOCAL client_min_messages = warning; CREATE TABLE IF NOT EXISTS konverse_schema (version bigint NOT NULL)")
        .await
        .map_err(database)?;
    let seen: i64 = transaction
        .query_one("SELECT coalesce(max(version), 0) FROM konverse_schema", &[])
        .await
        .map_err(database)?
        .get(0);
    let known = migrations::POSTGRES.len() as i64;
    if seen > known {
        return Err(StoreError::Database(format!(
            "the database has schema {seen}, this konverse knows up to {known}: use a newer konverse"
        )));
    }
    if seen == 0 {
        refuse_taken_names(&transaction).await?;
    }
    for (n, migration) in migrations::POSTGRES.iter().enumerate().skip(seen as usize) {
        transaction.batch_execute(migration).await.map_err(database)?;
        transaction
            .execute("INSERT INTO konverse_schema (version) VALUES ($1)", &[&(n as i64 + 1)])
            .await
            .map_err(database)?;
    }
    transaction.commit().await.map_err(database)
}

/// A schema of another program may lie beside ours, but not have tables of the same names: the migrations would stop
/// half-way with less to say.
async fn refuse_taken_names(transaction: &Transaction<'_>) -> Result<(), StoreError> {
    let ours: Vec<&str> = migrations::POSTGRES
        .iter()
        .flat_map(|migration| migration.lines())
        .filter_map(|line| line.strip_prefix("CREATE TABLE ")?.split_whitespace().next())
        .collect();
    let taken = "SELECT current_schema()::text, string_agg(relname::text, ', ' ORDER BY relname) FROM pg_class \
        WHERE relnamespace = current_schema()::regnamespace AND relname = ANY($1::text[])";
    let row = transaction.query_one(taken, &[&ours]).await.map_err(database)?;
    match row.get::<_, Option<String>>(1) {
        None => Ok(()),
        Some(names) => Err(StoreError::Database(format!(
            "the schema {} is another program's: it has {names}, but no schema version of konverse; \
             name an empty database",
            row.get::<_, String>(0)
        ))),
    }
}
