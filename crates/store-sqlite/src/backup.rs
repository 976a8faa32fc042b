//! Copies of a file: made while others read and write it, looked through, and put back.
//!
//! A copy is written under another name beside the one it gets, and gets that only when it is whole, on disk and known to
//! be sound. So a name never stands for half a copy, and whatever goes wrong leaves nothing behind.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::hash::{BuildHasher as _, RandomState};
use std::io::{self, ErrorKind, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use konverse_store::StoreError;
use konverse_store_sql::migrations;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, ErrorCode, OpenFlags, ToSql};

use crate::{database, open};

/// What SQLite keeps beside a file.
const BESIDE: [&str; 3] = ["-wal", "-shm", "-journal"];

/// Instructions of SQLite between two looks at whether the copy is still wanted.
const INSTRUCTIONS_PER_LOOK: i32 = 100_000;

/// Bytes copied between two such looks.
const AT_ONCE: u64 = 64 << 20;

/// What is wrong with a copy is told up to so many lines.
const TOLD: usize = 5;

/// Copies a database that may be in use to a new file, of one moment and without holes; gives its size.
///
/// SQLite writes the copy out of one read transaction (`VACUUM INTO`). Nobody waits for that, but the log cannot begin anew
/// meanwhile: it grows by what is written. Copying the pages as they are takes as long and keeps the holes, and in parts,
/// which would let the log go, it begins again with every commit of another process.
///
/// Ends early when `wanted` does not hold any more.
pub fn backup(path: &Path, copy: &Path, replace: bool, wanted: &Arc<AtomicBool>) -> Result<u64, StoreError> {
    let file = existing(path)?;
    let copy = place_of(copy)?;
    apart(&file, &copy)?;
    let mut source = sound(&file, || {
        open::schema(&open::for_looking(&file)?)?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let source = Connection::open_with_flags(&file, flags).map_err(database)?;
        open::settle(&source, true)?;
        Ok(source)
    })?;
    let vacated = vacate(&copy, replace)?;
    let part = Part::beside(&copy)?;
    while_wanted(&mut source, wanted)?;
    let into = Name(part.path.as_os_str());
    source.execute("VACUUM INTO ?1", [into]).map_err(|error| unfinished(&error, wanted, &copy))?;
    drop(source);
    part.finish(&copy, vacated, wanted)
}

/// Puts a copy in a database's place; gives its size. What a process has open is never replaced.
///
/// Ends early when `wanted` does not hold any more.
pub fn restore(copy: &Path, path: &Path, replace: bool, wanted: &Arc<AtomicBool>) -> Result<u64, StoreError> {
    let copy = existing(copy)?;
    let file = place_of(path)?;
    apart(&copy, &file)?;
    if let Some(log) = beside(&copy).find(|log| fs::metadata(log).is_ok_and(|data| data.len() > 0)) {
        return Err(refused(format!(
            "{} is not whole without {}: it is a database in use, or was copied as one; make a copy of it with \
             konverse backup",
            copy.display(),
            log.display()
        )));
    }
    sound(&copy, || open::schema(&open::for_looking(&copy)?).map(drop))?;
    // Before anything is copied, and until it has taken the name: nobody begins to use what is about to be replaced.
    let vacated = vacate(&file, replace)?;
    let part = Part::beside(&file)?;
    let failed = |error: io::Error| refused(format!("cannot copy to {}: {error}", file.display()));
    let mut from = File::open(&copy).map_err(failed)?;
    let mut to = OpenOptions::new().write(true).open(&part.path).map_err(failed)?;
    while io::copy(&mut (&mut from).take(AT_ONCE), &mut to).map_err(failed)? > 0 {
        if !wanted.load(Ordering::Relaxed) {
            return Err(unwanted());
        }
    }
    drop(to);
    part.finish(&file, vacated, wanted)
}

fn refused(text: String) -> StoreError {
    StoreError::Database(text)
}

fn unwanted() -> StoreError {
    refused("stopped; nothing was changed".to_owned())
}

/// Why SQLite did not finish.
fn unfinished(error: &rusqlite::Error, wanted: &AtomicBool, to: &Path) -> StoreError {
    match error.sqlite_error_code() {
        Some(ErrorCode::OperationInterrupted) if !wanted.load(Ordering::Relaxed) => unwanted(),
        Some(ErrorCode::DiskFull) => refused(format!("there is no room for {}", to.display())),
        // Opening the database writes beside it, too, and SQLite does not say which of the two could not be.
        Some(ErrorCode::SystemIoFailure) => refused(format!(
            "cannot copy to {}: {error}; there may be no room, for it or beside the database",
            to.display()
        )),
        _ => refused(format!("cannot write {}: {error}", to.display())),
    }
}

/// An error names the file it is about.
fn sound<T>(file: &Path, look: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    look().map_err(|error| match error {
        StoreError::Database(text) => refused(format!("{}: {text}", file.display())),
        other => other,
    })
}

/// The real path of a file that is there.
fn existing(path: &Path) -> Result<PathBuf, StoreError> {
    match fs::metadata(path) {
        Ok(data) if data.is_file() => {
            fs::canonicalize(path).map_err(|error| refused(format!("{}: {error}", path.display())))
        }
        Ok(_) => Err(refused(format!("{} is no regular file", path.display()))),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            Err(refused(format!("there is no file {}", path.display())))
        }
        Err(error) => Err(refused(format!("{}: {error}", path.display()))),
    }
}

/// The real path of a file that may be there or not.
fn place_of(path: &Path) -> Result<PathBuf, StoreError> {
    if fs::symlink_metadata(path).is_ok() {
        return existing(path);
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().ok_or_else(|| refused(format!("{} names no file", path.display())))?;
    let folder = fs::canonicalize(folder).map_err(|_| refused(format!("there is no folder {}", folder.display())))?;
    Ok(folder.join(name))
}

fn beside(file: &Path) -> impl Iterator<Item = PathBuf> {
    BESIDE.into_iter().map(move |suffix| {
        let mut name = OsString::from(file);
        name.push(suffix);
        PathBuf::from(name)
    })
}

/// A file is not copied over itself, nor over what SQLite keeps beside it.
fn apart(from: &Path, to: &Path) -> Result<(), StoreError> {
    let place = |file: &Path| fs::metadata(file).map(|data| (data.dev(), data.ino())).ok();
    let is_itself = from == to || place(to).is_some_and(|there| Some(there) == place(from));
    if is_itself || beside(from).any(|log| log == to) || beside(to).any(|log| log == from) {
        return Err(refused(format!(
            "{} and {} belong to one database; name another file",
            from.display(),
            to.display()
        )));
    }
    Ok(())
}

/// A place that is free, or was made so.
struct Vacated {
    /// What is there and will be replaced: nobody else can use it while this is held.
    held: Option<Connection>,
}

/// Sees to it that a place may be taken. What is there is replaced only if it is konverse's and nobody has it open, which
/// SQLite tells when it is to keep no log any more: then nobody else may use the file, and the log goes.
fn vacate(file: &Path, replace: bool) -> Result<Vacated, StoreError> {
    let shown = file.display();
    if !file.exists() {
        let left: Vec<PathBuf> = beside(file).filter(|log| log.exists()).collect();
        match left.first() {
            Some(log) if !replace => {
                return Err(refused(format!(
                    "{} is still there, though {shown} is not: move it away, or have it removed with --force",
                    log.display()
                )));
            }
            // It would be taken for the log of what comes to be here.
            _ => left.iter().try_for_each(fs::remove_file).map_err(|error| refused(format!("{shown}: {error}")))?,
        }
        return Ok(Vacated { held: None });
    }
    if !replace {
        return Err(refused(format!("{shown} exists; name another file, or replace it with --force")));
    }
    let foreign = |error: StoreError| {
        refused(format!("{shown} is not replaced: {error}. Move it away, with its -wal and -shm, if it is to go"))
    };
    open::seen(&open::for_looking(file).map_err(foreign)?).map_err(foreign)?;
    let in_use = |error: rusqlite::Error| match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            refused(format!("{shown} is in use by another process; stop that first"))
        }
        _ => foreign(database(error)),
    };
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let held = Connection::open_with_flags(file, flags).map_err(in_use)?;
    held.busy_timeout(Duration::ZERO).map_err(in_use)?;
    held.pragma_update(None, "journal_mode", "DELETE").map_err(in_use)?;
    held.execute_batch("BEGIN EXCLUSIVE").map_err(in_use)?;
    Ok(Vacated { held: Some(held) })
}

/// A copy in the making, which goes when it is not finished.
struct Part {
    path: PathBuf,
}

impl Drop for Part {
    fn drop(&mut self) {
        // SQLite may have left something beside it.
        for path in beside(&self.path).chain([self.path.clone()]) {
            let _ = fs::remove_file(path);
        }
    }
}

impl Part {
    /// An empty file for its owner alone, in the folder of what it will be.
    fn beside(file: &Path) -> Result<Self, StoreError> {
        let mut name = OsString::from(".");
        name.push(file.file_name().unwrap_or(OsStr::new("copy")));
        // In a container the number of the process is always the same, and what a killed one left has its name.
        let chance = RandomState::new().hash_one(std::process::id());
        name.push(format!(".{chance:016x}.part"));
        let path = file.with_file_name(name);
        let created = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        created.map_err(|error| refused(format!("{} cannot be created: {error}", path.display())))?;
        Ok(Self { path })
    }

    /// Looks the copy through and gives it its name; gives its size.
    fn finish(self, file: &Path, vacated: Vacated, wanted: &Arc<AtomicBool>) -> Result<u64, StoreError> {
        let failed = |error: io::Error| refused(format!("cannot write {}: {error}", file.display()));
        let bytes = File::open(&self.path).and_then(|part| part.sync_all().and_then(|()| part.metadata()));
        let bytes = bytes.map_err(failed)?.len();
        verify(&self.path, wanted)?;
        match vacated.held {
            Some(held) => {
                fs::rename(&self.path, file).map_err(failed)?;
                drop(held);
            }
            None => self.take_free(file).map_err(|error| match error.kind() {
                ErrorKind::AlreadyExists => refused(format!("{} exists by now", file.display())),
                _ => failed(error),
            })?,
        }
        let folder = file.parent().unwrap_or(Path::new("."));
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)?;
        Ok(bytes)
    }

    /// Takes a name that nobody may have taken meanwhile, which a link can and a new name cannot make sure of.
    fn take_free(&self, file: &Path) -> io::Result<()> {
        match fs::hard_link(&self.path, file) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists && !file.exists() => {
                // Not every file system has links.
                fs::rename(&self.path, file)
            }
            linked => linked,
        }
    }
}

/// Whether a file is a whole database of konverse's.
fn verify(file: &Path, wanted: &Arc<AtomicBool>) -> Result<(), StoreError> {
    let mut copy = open::for_looking(file)?;
    while_wanted(&mut copy, wanted)?;
    let version = open::schema(&copy)?;
    let mut check = copy.prepare("SELECT quick_check FROM pragma_quick_check LIMIT 5").map_err(database)?;
    let found = check.query_map([], |row| row.get(0)).and_then(Iterator::collect);
    let found: Vec<String> = found.map_err(|error| unfinished(&error, wanted, file))?;
    if found != ["ok"] {
        return Err(refused(format!("the copy is damaged, and so is what it was made of: {}", found.join("; "))));
    }
    let model = Connection::open_in_memory().map_err(database)?;
    migrations::SQLITE.iter().take(version).try_for_each(|sql| model.execute_batch(sql)).map_err(database)?;
    let there = parts(&copy)?;
    let missing: Vec<String> = parts(&model)?.into_iter().filter(|part| !there.contains(part)).take(TOLD).collect();
    if !missing.is_empty() {
        return Err(refused(format!("the copy lacks {}", missing.join(", "))));
    }
    Ok(())
}

/// What a schema is made of: tables with their columns, and indexes.
fn parts(connection: &Connection) -> Result<Vec<String>, StoreError> {
    const PARTS: &str = "SELECT type || ' ' || name FROM sqlite_master WHERE type IN ('table', 'index') \
        AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' UNION ALL \
        SELECT 'column ' || m.name || '.' || c.name FROM sqlite_master m JOIN pragma_table_info(m.name) c \
        WHERE m.type = 'table'";
    let mut parts = connection.prepare(PARTS).map_err(database)?;
    parts.query_map([], |row| row.get(0)).and_then(Iterator::collect).map_err(database)
}

fn while_wanted(connection: &mut Connection, wanted: &Arc<AtomicBool>) -> Result<(), StoreError> {
    let wanted = Arc::clone(wanted);
    let unwanted = move || !wanted.load(Ordering::Relaxed);
    connection.progress_handler(INSTRUCTIONS_PER_LOOK, Some(unwanted)).map_err(database)
}

/// A file's name as SQLite takes it, which need not be UTF-8.
struct Name<'a>(&'a OsStr);

impl ToSql for Name<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(ValueRef::Text(self.0.as_bytes())))
    }
}
