//! The bare inserts that konverse is compared with, as processes of their own.
//!
//! The bare insert of the same rows is what any import on this engine has to do at least: the finished rows lie in
//! memory, and go through prepared statements into tables without any index but the primary key. It gets the page size,
//! the journal, the durability and the page cache of konverse's own file, and rows in the order of their creation, in
//! which such a table grows at its end: the easiest order there is.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use flate2::read::MultiGzDecoder;
use konverse_harness::Limit;
use rusqlite::{Connection, OpenFlags, params};
use serde_json::{Value, json};

use crate::proc;

/// Rows a transaction.
const BATCH: usize = 10_000;

/// What konverse's writer has. Every file gets the same journal and durability besides.
const AS_KONVERSE: &str = "PRAGMA page_size = 32768; PRAGMA mmap_size = 0; PRAGMA cache_size = -65536";

/// As many bytes as a stored message has.
pub(crate) const MESSAGE_BYTES: usize = 1800;

/// What a bare insert took.
pub(crate) struct Filling {
    pub(crate) rows: u64,
    pub(crate) wall: Duration,
    pub(crate) cpu: Duration,
    pub(crate) peak_kib: u64,
    pub(crate) peak_anonymous_kib: u64,
    pub(crate) file_bytes: u64,
}

/// One kind of record with its stored rows.
struct Kind {
    name: String,
    rows: Vec<Row>,
}

struct Row {
    id: Vec<u8>,
    customer: Option<Vec<u8>>,
    conversation: Option<Vec<u8>>,
    created_at: i64,
    doc: String,
}

/// A bare insert of the stored rows of a konverse database.
pub(crate) fn rows(database: &Path, work: &Path, limit: Limit) -> Result<Filling> {
    bare("bare-rows", &["--from".as_ref(), database.as_os_str()], work, limit)
}

/// A bare insert of the input's lines, unparsed.
pub(crate) fn lines(data: &Path, work: &Path, limit: Limit) -> Result<Filling> {
    bare("bare-lines", &["--from".as_ref(), data.as_os_str()], work, limit)
}

/// One row a transaction, for so long.
pub(crate) fn messages(time: Duration, work: &Path, limit: Limit) -> Result<Filling> {
    bare("bare-messages", &["--seconds".as_ref(), time.as_secs().max(1).to_string().as_ref()], work, limit)
}

fn bare(subcommand: &str, arguments: &[&OsStr], work: &Path, limit: Limit) -> Result<Filling> {
    let into = work.join(subcommand).with_extension("db");
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(subcommand).args(arguments).arg("--into").arg(&into);
    let (spent, out) = proc::run(&mut command, &work.join(subcommand), limit)?;
    let answer: Value = serde_json::from_str(&out).with_context(|| format!("{subcommand} printed {out:?}"))?;
    let number = |name: &str| answer[name].as_u64().with_context(|| format!("{subcommand} printed no {name}"));
    let filling = Filling {
        rows: number("rows")?,
        wall: Duration::from_micros(number("wall_us")?),
        cpu: Duration::from_micros(number("cpu_us")?),
        peak_kib: spent.peak_kib,
        peak_anonymous_kib: spent.peak_anonymous_kib,
        file_bytes: fs::metadata(&into)?.len(),
    };
    fs::remove_file(&into)?;
    Ok(filling)
}

/// The child's part of [`rows`]: what it took, as JSON.
pub(crate) fn insert_rows(from: &Path, into: &Path) -> Result<Value> {
    let kinds = stored_rows(from)?;
    measured(into, AS_KONVERSE, |connection| {
        let mut inserted = 0;
        for kind in &kinds {
            let table = &kind.name;
            connection.execute_batch(&format!(
                "CREATE TABLE \"{table}\" (id BLOB PRIMARY KEY, customer BLOB, conversation BLOB, created_at INTEGER, doc TEXT) WITHOUT ROWID"
            ))?;
            let mut insert = connection.prepare(&format!("INSERT INTO \"{table}\" VALUES ($1, $2, $3, $4, $5)"))?;
            for batch in kind.rows.chunks(BATCH) {
                connection.execute_batch("BEGIN IMMEDIATE")?;
                for row in batch {
                    insert.execute(params![row.id, row.customer, row.conversation, row.created_at, row.doc])?;
                }
                connection.execute_batch("COMMIT")?;
            }
            inserted += kind.rows.len() as u64;
        }
        Ok(inserted)
    })
}

/// The child's part of [`lines`]: what it took, as JSON.
pub(crate) fn insert_lines(from: &Path, into: &Path) -> Result<Value> {
    let files = input_files(from)?;
    measured(into, AS_KONVERSE, |connection| {
        let mut inserted = 0;
        for (name, path) in &files {
            connection.execute_batch(&format!("CREATE TABLE \"{name}\" (line TEXT)"))?;
            let mut insert = connection.prepare(&format!("INSERT INTO \"{name}\" VALUES ($1)"))?;
            let mut lines = open_lines(path)?;
            let mut line = String::new();
            let mut in_batch = 0;
            connection.execute_batch("BEGIN IMMEDIATE")?;
            loop {
                line.clear();
                if lines.read_line(&mut line)? == 0 {
                    break;
                }
                if in_batch == BATCH {
                    connection.execute_batch("COMMIT; BEGIN IMMEDIATE")?;
                    in_batch = 0;
                }
                insert.execute([line.trim_end_matches('\n')])?;
                in_batch += 1;
                inserted += 1;
            }
            connection.execute_batch("COMMIT")?;
        }
        Ok(inserted)
    })
}

/// The child's part of [`messages`]: what it took, as JSON.
pub(crate) fn insert_messages(time: Duration, into: &Path) -> Result<Value> {
    let text = "m".repeat(MESSAGE_BYTES);
    measured(into, "", |connection| {
        connection.execute_batch("CREATE TABLE message (id INTEGER PRIMARY KEY, doc TEXT)")?;
        let mut insert = connection.prepare("INSERT INTO message (doc) VALUES ($1)")?;
        let started = Instant::now();
        let mut inserted = 0;
        while started.elapsed() < time {
            insert.execute([&text])?;
            inserted += 1;
        }
        Ok(inserted)
    })
}

/// Opens a fresh file, lets `fill` fill it, closes it, and says what filling and closing took.
fn measured(into: &Path, settings: &str, fill: impl FnOnce(&Connection) -> Result<u64>) -> Result<Value> {
    let own = rustix::process::getpid();
    let connection = Connection::open(into)?;
    connection.execute_batch(settings)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    let cpu = proc::cpu(own)?;
    let started = Instant::now();
    let rows = fill(&connection)?;
    // Closing writes the journal into the file; an import has to do that as well.
    connection.close().map_err(|(_, error)| error)?;
    let wall = started.elapsed();
    let cpu = proc::cpu(own)? - cpu;
    Ok(json!({
        "rows": rows,
        "wall_us": wall.as_micros() as u64,
        "cpu_us": cpu.as_micros() as u64,
    }))
}

/// Every stored row of customers, conversations, messages, notes and small records, in the order of creation.
fn stored_rows(database: &Path) -> Result<Vec<Kind>> {
    let connection = Connection::open_with_flags(database, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let mut kinds = Vec::new();
    for (name, customer, conversation) in [
        ("customer", "NULL", "NULL"),
        ("conversation", "customer", "NULL"),
        ("message", "customer", "conversation"),
        ("note", "customer", "conversation"),
    ] {
        let sql = format!("SELECT id, {customer}, {conversation}, created_at, doc FROM {name} ORDER BY created_at, id");
        kinds.push(Kind { name: name.to_owned(), rows: read(&connection, &sql)? });
    }
    let mut names = connection.prepare("SELECT DISTINCT kind FROM record ORDER BY kind")?;
    let names: Vec<String> = names.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    for name in names {
        let sql = format!(
            "SELECT id, NULL, NULL, created_at, doc FROM record WHERE kind = '{}' ORDER BY created_at, id",
            name.replace('\'', "''")
        );
        kinds.push(Kind { name: format!("record_{}", name.replace('"', "")), rows: read(&connection, &sql)? });
    }
    Ok(kinds)
}

fn read(connection: &Connection, sql: &str) -> Result<Vec<Row>> {
    let mut statement = connection.prepare(sql)?;
    let rows = statement.query_map([], |row| {
        Ok(Row {
            id: row.get(0)?,
            customer: row.get(1)?,
            conversation: row.get(2)?,
            created_at: row.get(3)?,
            doc: row.get(4)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The `NAME.jsonl` and `NAME.jsonl.gz` of a folder, by name.
fn input_files(folder: &Path) -> Result<Vec<(String, PathBuf)>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        let Some(file_name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        if file_name.ends_with(".jsonl.zst") {
            bail!("{} is not read by the benchmark: compress it with gzip", path.display());
        }
        if let Some(name) = file_name.strip_suffix(".gz").unwrap_or(file_name).strip_suffix(".jsonl") {
            files.push((name.replace('"', ""), path.clone()));
        }
    }
    if files.is_empty() {
        bail!("{} holds no .jsonl or .jsonl.gz file", folder.display());
    }
    files.sort();
    Ok(files)
}

fn open_lines(path: &Path) -> Result<BufReader<Box<dyn Read>>> {
    let file = File::open(path).with_context(|| path.display().to_string())?;
    let compressed = path.extension().is_some_and(|extension| extension == "gz");
    let bytes: Box<dyn Read> = if compressed { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) };
    Ok(BufReader::with_capacity(1 << 20, bytes))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    #[test]
    fn lines_of_plain_and_compressed_files_are_inserted() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("tags.jsonl"), "{\"name\":\"a\"}\n{\"name\":\"b\"}\n").expect("a file");
        let mut notes =
            GzEncoder::new(File::create(folder.path().join("notes.jsonl.gz")).expect("a file"), Compression::fast());
        notes.write_all(b"{}\n").expect("a line");
        notes.finish().expect("a file");
        let into = folder.path().join("lines.db");
        let answer = insert_lines(folder.path(), &into).expect("inserts");
        assert_eq!(answer["rows"], 3);
        let connection = Connection::open(&into).expect("opens");
        let line: String =
            connection.query_row("SELECT line FROM tags WHERE rowid = 2", [], |row| row.get(0)).expect("a row");
        assert_eq!(line, "{\"name\":\"b\"}");
    }

    #[test]
    fn stored_rows_are_inserted_kind_by_kind() {
        let folder = tempfile::tempdir().expect("a folder");
        let from = folder.path().join("konverse.db");
        let connection = Connection::open(&from).expect("opens");
        connection
            .execute_batch(
                "CREATE TABLE customer (id BLOB, created_at INTEGER, doc TEXT);
                 CREATE TABLE conversation (id BLOB, customer BLOB, hidden INTEGER, created_at INTEGER, doc TEXT);
                 CREATE TABLE message (id BLOB, customer BLOB, conversation BLOB, created_at INTEGER, doc TEXT);
                 CREATE TABLE note (id BLOB, customer BLOB, conversation BLOB, created_at INTEGER, doc TEXT);
                 CREATE TABLE record (kind TEXT, id BLOB, created_at INTEGER, doc TEXT);
                 INSERT INTO customer VALUES (x'01', 1, '{}'), (x'02', 1, '{}');
                 INSERT INTO conversation VALUES (x'0a', x'01', 0, 2, '{}'), (x'0b', x'01', 0, 3, '{}'), (x'0c', x'02', 1, 3, '{}');
                 INSERT INTO message VALUES (x'0d', x'01', x'0a', 4, '{}');
                 INSERT INTO record VALUES ('user', x'01', 1, '{}'), ('team', x'01', 1, '{}');",
            )
            .expect("fills");
        drop(connection);
        let into = folder.path().join("bare.db");
        assert_eq!(insert_rows(&from, &into).expect("inserts")["rows"], 8);
    }

    #[test]
    fn messages_are_inserted_one_by_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let into = folder.path().join("messages.db");
        // No time at all is enough for none, whatever the machine is doing.
        assert_eq!(insert_messages(Duration::ZERO, &into).expect("inserts")["rows"], 0);
        let connection = Connection::open(&into).expect("opens");
        let mode: String = connection.query_row("PRAGMA journal_mode", [], |row| row.get(0)).expect("a mode");
        assert_eq!(mode, "wal");
    }
}
