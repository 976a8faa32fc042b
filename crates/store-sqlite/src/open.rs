//! Opening the file: whose it is, settings and schema.

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use konverse_store::StoreError;
use konverse_store_sql::migrations;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::{Options, database};

/// How long to wait, while the file is opened, for another process that is writing it, such as an import beside a server
/// that starts.
const BUSY: Duration = Duration::from_secs(30);

/// How long a read waits for another process that changes how the file is read, such as one that puts its log in order after
/// a crash. It waits on a thread that others need as well.
const READ_BUSY: Duration = Duration::from_secs(1);

/// How long to wait before trying again what SQLite does not wait for by itself.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// How long a file that is not ours is looked at again: a new one is ours by then.
const CREATED: Duration = Duration::from_millis(25);

/// Statements kept prepared per connection, those used last: more than the program has without filters.
const STATEMENTS: usize = 256;

/// Bytes of the file that may be mapped; the rest is read the ordinary way. This is SQLite's own ceiling.
const MAPPED: i64 = 0x7fff_0000;

/// What marks a file as konverse's: "konv" in ASCII.
const APPLICATION_ID: i64 = 0x6b6f_6e76;

/// Opens the file for writing, creating it when missing, and brings its schema up to date. Also gives the file's real
/// path, which is where SQLite keeps the log. Every error names the path.
pub(crate) fn database_file(path: &Path, options: Options) -> Result<(PathBuf, Connection), StoreError> {
    let open = || {
        let file = own_file(path)?;
        let connection = for_writing(&file, options)?;
        migrate(&connection)?;
        Ok((file, connection))
    };
    open().map_err(|error| match error {
        StoreError::Database(text) => StoreError::Database(format!("cannot open {}: {text}", path.display())),
        other => other,
    })
}

/// The real path of a file that is konverse's, or empty and so about to be.
fn own_file(path: &Path) -> Result<PathBuf, StoreError> {
    let refused = |text: &str| Err(StoreError::Database(text.into()));
    match fs::metadata(path) {
        Ok(data) if data.is_dir() => return refused("it is a directory; name a file"),
        Ok(data) if !data.is_file() => return refused("it is no regular file"),
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => create(path)?,
        Err(error) => return Err(StoreError::Database(error.to_string())),
    }
    let file = fs::canonicalize(path).map_err(|error| StoreError::Database(error.to_string()))?;
    // Another process may be creating it: half of that looks like another program's.
    again(CREATED, |_| true, || seen(&for_looking(&file)?))?;
    Ok(file)
}

/// Creates the file, empty and for its owner alone: it holds people's conversations. SQLite gives its log the same mode.
fn create(path: &Path) -> Result<(), StoreError> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    if let Some(folder) = folder.filter(|folder| !folder.exists()) {
        return Err(StoreError::Database(format!("there is no folder {}", folder.display())));
    }
    // Not `create_new`: the path may be a link to where the file is to be, and another process may be creating it, too.
    let created = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path);
    created.map(drop).map_err(|error| StoreError::Database(format!("the file cannot be created: {error}")))
}

/// A connection to find out whose a file is. It changes nothing and leaves nothing beside the file, which an ordinary
/// connection, even for reading, would: a file in WAL mode is given a log and an index.
pub(crate) fn for_looking(file: &Path) -> Result<Connection, StoreError> {
    let beside = |suffix: &str| {
        let mut name = OsString::from(file);
        name.push(suffix);
        fs::metadata(name).is_ok_and(|data| data.len() > 0)
    };
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    match (beside("-wal"), beside("-shm")) {
        // Without a log the file says everything.
        (false, _) => {
            let uri = format!("file://{}?immutable=1", escaped(file));
            Connection::open_with_flags(uri, flags | OpenFlags::SQLITE_OPEN_URI).map_err(opening)
        }
        // In use, or left by a program that was killed. Everything there might be is there already.
        (true, true) => {
            let connection = Connection::open_with_flags(file, flags).map_err(opening)?;
            connection.busy_timeout(BUSY).map_err(opening)?;
            Ok(connection)
        }
        // A copy: nobody has it open as it is, so it needs no locks, and then SQLite keeps the index to itself.
        (true, false) => {
            let connection = Connection::open_with_flags_and_vfs(file, flags, "unix-none").map_err(opening)?;
            connection.pragma_update(None, "locking_mode", "EXCLUSIVE").map_err(opening)?;
            connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(opening)?;
            Ok(connection)
        }
    }
}

/// A path as it stands in a `file:` URI.
fn escaped(file: &Path) -> String {
    let mut text = String::new();
    for byte in file.as_os_str().as_bytes() {
        match byte {
            b'/' | b'.' | b'-' | b'_' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => text.push(char::from(*byte)),
            other => text.push_str(&format!("%{other:02X}")),
        }
    }
    text
}

fn for_writing(file: &Path, options: Options) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(file, flags).map_err(opening)?;
    // SQLite takes what it is given; the first change would be the first to fail.
    if connection.is_readonly("main").map_err(opening)? {
        return Err(not_permitted());
    }
    settle(&connection, options.map)?;
    // A page of 32 KiB holds some fifteen conversations, so a page of the list is two or three pages of the file. Smaller
    // pages make the log of a message smaller (16 KiB by a quarter, 8 KiB by half), but a conversation no longer fits beside
    // its key: a list costs a fifth and a third more, and the file grows by as much.
    // It takes effect only on a file without tables.
    connection.pragma_update(None, "page_size", 32_768).map_err(opening)?;
    keep_log(&connection)?;
    connection.pragma_update(None, "synchronous", "FULL").map_err(opening)?;
    // The writer copies the log back by itself, between commits.
    connection.pragma_update(None, "wal_autocheckpoint", 0).map_err(opening)?;
    // The writer changes many pages of one transaction; -n means n KiB. SQLite takes what it needs beyond that.
    let kib = i64::try_from(options.cache / 1024).unwrap_or(i64::MAX);
    connection.pragma_update(None, "cache_size", -kib.max(1024)).map_err(opening)?;
    Ok(connection)
}

/// Has the file keep a log. Of several who do that to a new file at once, SQLite tells all but one that it is locked, without
/// waiting as it otherwise does.
fn keep_log(connection: &Connection) -> Result<(), StoreError> {
    let is_busy = |error: &rusqlite::Error| error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy);
    again(BUSY, is_busy, || connection.pragma_update(None, "journal_mode", "WAL")).map_err(opening)
}

/// Tries again, for so long, what fails because of what another process is doing.
fn again<T, E>(longest: Duration, may_pass: impl Fn(&E) -> bool, work: impl Fn() -> Result<T, E>) -> Result<T, E> {
    let begun = Instant::now();
    loop {
        match work() {
            Err(error) if may_pass(&error) && begun.elapsed() < longest => thread::sleep(LOOK_AGAIN),
            done => return done,
        }
    }
}

pub(crate) fn for_reading(file: &Path, map: bool) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(file, flags).map_err(database)?;
    settle(&connection, map)?;
    connection.busy_timeout(READ_BUSY).map_err(database)?;
    // SQLite opens the log when it reads for the first time. From here on the connection needs no further descriptor.
    connection.pragma_query_value(None, "schema_version", |row| row.get::<_, i64>(0)).map_err(database)?;
    Ok(connection)
}

pub(crate) fn settle(connection: &Connection, map: bool) -> Result<(), StoreError> {
    connection.busy_timeout(BUSY).map_err(opening)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    connection.pragma_update(None, "mmap_size", if map { MAPPED } else { 0 }).map_err(opening)?;
    connection.pragma_update(None, "temp_store", "MEMORY").map_err(opening)?;
    // Without this guarantee SQLite may plan a prepared statement anew for every set of values it is given.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map(drop).map_err(opening)
}

/// Runs the migrations the file has not seen, and marks it.
fn migrate(connection: &Connection) -> Result<(), StoreError> {
    connection.execute_batch("BEGIN IMMEDIATE").map_err(opening)?;
    match migrate_within(connection) {
        Ok(()) => connection.execute_batch("COMMIT").map_err(opening),
        Err(error) => {
            let _ = connection.execute_batch("ROLLBACK");
            Err(error)
        }
    }
}

/// What `user_version` counts: the migrations the file has seen. An error when it is not ours, or newer than this
/// program.
pub(crate) fn seen(connection: &Connection) -> Result<usize, StoreError> {
    let number = |pragma| connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0)).map_err(opening);
    let (id, version) = (number("application_id")?, number("user_version")?);
    // What SQLite makes for itself, such as the planner's statistics, says nothing.
    let mut made = connection
        .prepare("SELECT type, name FROM sqlite_master WHERE name NOT LIKE 'sqlite\\_%' ESCAPE '\\'")
        .map_err(opening)?;
    let made: Vec<(String, String)> =
        made.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).and_then(Iterator::collect).map_err(opening)?;
    let is_new = made.is_empty() && id == 0 && version == 0;
    let is_ours = id == APPLICATION_ID || id == 0 && version > 0 && has_first_tables(&made);
    let known = migrations::SQLITE.len();
    match usize::try_from(version) {
        Ok(version) if (is_new || is_ours) && version <= known => Ok(version),
        Ok(version) if is_ours => Err(StoreError::Database(format!(
            "the file has schema {version}, this konverse knows up to {known}: use a newer konverse"
        ))),
        _ => Err(StoreError::Database("the file is a database of another program; name a new file".into())),
    }
}

/// The schema of a file that is konverse's and no new one.
pub(crate) fn schema(connection: &Connection) -> Result<usize, StoreError> {
    match seen(connection)? {
        0 => Err(StoreError::Database("the file is empty: it holds no data of konverse".into())),
        version => Ok(version),
    }
}

/// Whether the tables are those of the first schema, no more and no fewer: its files bear no mark.
fn has_first_tables(made: &[(String, String)]) -> bool {
    let mut tables: Vec<&str> = made.iter().filter(|(kind, _)| kind == "table").map(|(_, name)| &**name).collect();
    let mut first: Vec<&str> = migrations::SQLITE[0]
        .lines()
        .filter_map(|line| line.strip_prefix("CREATE TABLE ")?.split_whitespace().next())
        .collect();
    tables.sort_unstable();
    first.sort_unstable();
    tables == first
}

fn migrate_within(connection: &Connection) -> Result<(), StoreError> {
    let seen = seen(connection)?;
    for (n, migration) in migrations::SQLITE.iter().enumerate().skip(seen) {
        connection.execute_batch(migration).map_err(opening)?;
        connection.pragma_update(None, "user_version", n as i64 + 1).map_err(opening)?;
    }
    let id: i64 = connection.pragma_query_value(None, "application_id", |row| row.get(0)).map_err(opening)?;
    if id != APPLICATION_ID {
        connection.pragma_update(None, "application_id", APPLICATION_ID).map_err(opening)?;
    }
    Ok(())
}

/// An error of SQLite's while the file is opened, where its own words say too little.
fn opening(error: rusqlite::Error) -> StoreError {
    // Nobody who opens a file can wait: whatever keeps it from opening is said and ends the program.
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => StoreError::Database("the file is no SQLite database".into()),
        Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => not_permitted(),
        _ => StoreError::Database(error.to_string()),
    }
}

fn not_permitted() -> StoreError {
    StoreError::Database("konverse has to read and write the file, and to create others in its folder".into())
}
