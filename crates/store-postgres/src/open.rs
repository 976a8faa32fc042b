//! Connecting: the pool and the schema.

use std::str::FromStr;

use deadpool_postgres::{Manager, ManagerConfig, Object, Pool, RecyclingMethod, Runtime, Transaction};
use konverse_store::StoreError;
use konverse_store_sql::migrations;
use tokio_postgres::{Config, NoTls};

use crate::database;

/// The advisory lock held while migrating, so that processes starting together do not both migrate: "konverse" in ASCII.
const MIGRATION_LOCK: i64 = 0x6b6f_6e76_6572_7365;

/// How every connection to the server is made: those of the pool, and those that only cancel a query.
pub(crate) const TLS: NoTls = NoTls;

pub(crate) fn pool(url: &str, connections: usize) -> Result<Pool, StoreError> {
    let mut config = Config::from_str(url).map_err(|error| StoreError::Database(format!("database URL: {error}")))?;
    config.application_name("konverse");
    let manager = Manager::from_config(config, TLS, ManagerConfig { recycling_method: RecyclingMethod::Fast });
    Pool::builder(manager)
        .max_size(connections)
        .runtime(Runtime::Tokio1)
        .wait_timeout(Some(std::time::Duration::from_secs(10)))
        .create_timeout(Some(std::time::Duration::from_secs(10)))
        .build()
        .map_err(|error| StoreError::Database(error.to_string()))
}

/// Runs the migrations the database has not seen.
pub(crate) async fn migrate(client: &mut Object) -> Result<(), StoreError> {
    let version: String = client.query_one("SHOW server_version_num", &[]).await.map_err(database)?.get(0);
    if version.parse::<u32>().unwrap_or(0) < 150_000 {
        return Err(StoreError::Database("PostgreSQL 15 or newer is needed".into()));
    }
    let transaction = client.transaction().await.map_err(database)?;
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
