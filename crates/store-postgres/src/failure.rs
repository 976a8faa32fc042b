//! What went wrong, told apart: what passes by itself, what lost against another transaction, and what is broken.

use std::time::Duration;

use konverse_store::{Conflict, StoreError};
use tokio_postgres::error::{DbError, Severity, SqlState};

/// An error of a statement of which nothing is kept: a read, or a transaction that was not asked to commit.
pub(crate) fn database(error: tokio_postgres::Error) -> StoreError {
    match error.as_db_error() {
        // Two transactions stood in each other's way, wherever that was noticed.
        Some(db) if is_contention(db.code()) => StoreError::Conflict(Conflict::Busy),
        Some(db) if passes(db.code()) => StoreError::Unavailable(text(db)),
        Some(db) if is_damage(db.code()) => StoreError::Corrupt(text(db)),
        Some(db) => StoreError::Database(text(db)),
        None if is_cut_off(&error) => StoreError::Unavailable(with_causes(&error)),
        None => StoreError::Database(with_causes(&error)),
    }
}

/// Why a commit failed. Only the database's own refusal says that nothing was applied: a connection that ends may have
/// carried the commit, but not its answer.
pub(crate) fn of_commit(error: tokio_postgres::Error) -> StoreError {
    match error.as_db_error() {
        Some(db) if db.parsed_severity() == Some(Severity::Error) => database(error),
        _ => unclear(&with_causes(&error)),
    }
}

/// Nobody knows whether a change was applied.
pub(crate) fn unclear(reason: &str) -> StoreError {
    StoreError::Unclear(reason.to_owned())
}

pub(crate) fn of_pool(error: deadpool_postgres::PoolError) -> StoreError {
    match error {
        deadpool_postgres::PoolError::Timeout(_) => StoreError::Unavailable("no connection is free".into()),
        // Whatever it was (a password that changed, a database that is gone), nothing was asked yet.
        deadpool_postgres::PoolError::Backend(error) => {
            let why = error.as_db_error().map_or_else(|| with_causes(&error), text);
            StoreError::Unavailable(format!("no connection could be made: {why}"))
        }
        other => StoreError::Database(with_causes(&other)),
    }
}

/// Waits for an answer no longer than this; `None` is for ever.
pub(crate) async fn within<T>(
    limit: Option<Duration>,
    answer: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    let Some(limit) = limit else { return answer.await };
    tokio::time::timeout(limit, answer).await.unwrap_or_else(|_| Err(silent(limit)))
}

/// The server has not answered for so long.
pub(crate) fn silent(limit: Duration) -> StoreError {
    StoreError::Unavailable(format!("PostgreSQL has not answered for {} s", limit.as_secs_f64()))
}

fn text(db: &DbError) -> String {
    format!("{} {}", db.code().code(), db.message())
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    text
}

fn is_cut_off(error: &tokio_postgres::Error) -> bool {
    let cause = std::error::Error::source(error);
    error.is_closed() || cause.is_some_and(|cause| cause.downcast_ref::<std::io::Error>().is_some())
}

fn is_contention(code: &SqlState) -> bool {
    [SqlState::T_R_DEADLOCK_DETECTED, SqlState::T_R_SERIALIZATION_FAILURE].contains(code)
}

/// Whether a page or an index was found broken. A checksum that is wrong is told as the first.
fn is_damage(code: &SqlState) -> bool {
    [SqlState::DATA_CORRUPTED, SqlState::INDEX_CORRUPTED].contains(code)
}

/// Whether it may be over soon, by itself or by an operator's hand.
fn passes(code: &SqlState) -> bool {
    // The connection; resources: disk, memory, connections; a server that is stopped, starting or recovering.
    const CLASSES: [&str; 2] = ["08", "53"];
    const CODES: [SqlState; 8] = [
        SqlState::QUERY_CANCELED,
        SqlState::LOCK_NOT_AVAILABLE,
        SqlState::READ_ONLY_SQL_TRANSACTION,
        SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
        SqlState::ADMIN_SHUTDOWN,
        SqlState::CRASH_SHUTDOWN,
        SqlState::CANNOT_CONNECT_NOW,
        SqlState::IDLE_SESSION_TIMEOUT,
    ];
    CLASSES.iter().any(|class| code.code().starts_with(class)) || CODES.contains(code)
}
