//! Opening the file: settings and schema.

use std::path::Path;
use std::time::Duration;

use konverse_store::StoreError;
use konverse_store_sql::migrations;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use crate::database;

/// How long to wait for another process that is writing the same file, such as an import beside a running server.
const BUSY: Duration = Duration::from_secs(30);

/// Statements kept prepared per connection: more than the program has.
const STATEMENTS: usize = 256;

/// Bytes of the file that may be mapped; the rest is read the ordinary way. This is SQLite's own ceiling.
const MAPPED: i64 = 0x7fff_0000;

pub(crate) fn for_writing(path: &Path) -> Result<Connection, StoreError> {
    let connection = Connection::open(path)
        .map_err(|error| StoreError::Database(format!("cannot open {}: {error}", path.display())))?;
    settle(&connection)?;
    // Before anything is set for good: the file may belong to another program.
    seen(&connection)?;
    // A page of 32 KiB holds some fifteen conversations, so a page of the list is two or three pages of the file.
    // It takes effect only on a file without tables.
    connection.pragma_update(None, "page_size", 32_768).map_err(database)?;
    connection.pragma_update(None, "journal_mode", "WAL").map_err(database)?;
    connection.pragma_update(None, "synchronous", "FULL").map_err(database)?;
    // Pages of the log before it is copied back, 128 MiB: an import rewrites the same index pages in every transaction,
    // and each copy it can skip is saved.
    connection.pragma_update(None, "wal_autocheckpoint", 4000).map_err(database)?;
    // The writer changes many pages of one transaction; -n means n KiB.
    connection.pragma_update(None, "cache_size", -65_536).map_err(database)?;
    Ok(connection)
}

pub(crate) fn for_reading(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(database)?;
    settle(&connection)?;
    Ok(connection)
}

fn settle(connection: &Connection) -> Result<(), StoreError> {
    connection.busy_timeout(BUSY).map_err(database)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    connection.pragma_update(None, "mmap_size", MAPPED).map_err(database)?;
    connection.pragma_update(None, "temp_store", "MEMORY").map_err(database)?;
    // Without this guarantee SQLite may plan a prepared statement anew for every set of values it is given.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map(drop).map_err(database)
}

/// Runs the migrations the file has not seen. `user_version` counts those it has.
pub(crate) fn migrate(connection: &Connection) -> Result<(), StoreError> {
    connection.execute_batch("BEGIN IMMEDIATE").map_err(database)?;
    match migrate_within(connection) {
        Ok(()) => connection.execute_batch("COMMIT").map_err(database),
        Err(error) => {
            let _ = connection.execute_batch("ROLLBACK");
            Err(error)
        }
    }
}

/// How many migrations the file has seen; an error when it is not ours, or newer than this program.
fn seen(connection: &Connection) -> Result<usize, StoreError> {
    let seen: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(database)?;
    let tables: i64 = connection
        .query_row("SELECT count(*) FROM sqlite_master WHERE type = 'table'", [], |row| row.get(0))
        .map_err(database)?;
    let known = migrations::SQLITE.len();
    match usize::try_from(seen) {
        Ok(0) if tables == 0 => Ok(0),
        Ok(seen @ 1..) if seen <= known => Ok(seen),
        Ok(seen @ 1..) => Err(StoreError::Database(format!(
            "the file has schema {seen}, this konverse knows up to {known}: use a newer konverse"
        ))),
        _ => Err(StoreError::Database("the file is a database of another program; name a new file".into())),
    }
}

fn migrate_within(connection: &Connection) -> Result<(), StoreError> {
    let seen = seen(connection)?;
    for (n, migration) in migrations::SQLITE.iter().enumerate().skip(seen) {
        connection.execute_batch(migration).map_err(database)?;
        connection.pragma_update(None, "user_version", n as i64 + 1).map_err(database)?;
    }
    Ok(())
}
