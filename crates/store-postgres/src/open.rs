//! Connecting: the pool and the schema.

use std::str::FromStr;

use deadpool_postgres::{Manager, ManagerConfig, Object, Pool, RecyclingMethod, Runtime};
use konverse_store::StoreError;
use konverse_store_sql::migrations;
use tokio_postgres::{Config, NoTls};

use crate::database;

/// The advisory lock held while migrating, so that processes starting together do not both migrate: "konverse" in ASCII.
const MIGRATION_LOCK: i64 = 0x6b6f_6e76_6572_7365;

pub(crate) fn pool(url: &str, connections: usize) -> Result<Pool, StoreError> {
    let mut config = Config::from_str(url).map_err(|error| StoreError::Database(format!("database URL: {error}")))?;
    config.application_name("konverse");
    let manager = Manager::from_config(config, NoTls, ManagerConfig { recycling_method: RecyclingMethod::Fast });
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
    for (n, migration) in migrations::POSTGRES.iter().enumerate().skip(seen as usize) {
        transaction.batch_execute(migration).await.map_err(database)?;
        transaction
            .execute("INSERT INTO konverse_schema (version) VALUES ($1)", &[&(n as i64 + 1)])
            .await
            .map_err(database)?;
    }
    transaction.commit().await.map_err(database)
}
