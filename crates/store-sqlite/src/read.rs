//! Reading: a stack of read-only connections, and the two ways rows leave them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant as Stopwatch};

use konverse_model::{CustomerId, Instant, OrgId, Position};
use konverse_store::{Page, StoreError};
use konverse_store_sql::{Moment, Query, Splice, Value};
use parking_lot::{Mutex, RwLock};
use rusqlite::Connection;
use rusqlite::types::ValueRef;

use crate::fresh::Freshness;
use crate::health::Health;
use crate::{BLOCKING_READS, bind, database, open, threads};

/// Instructions of SQLite between two looks at whether a read is still wanted: some tens of microseconds.
const INSTRUCTIONS_PER_LOOK: i32 = 4096;

/// The same while the file is looked through, where a page counts as an instruction.
const INSTRUCTIONS_PER_REST: i32 = 64;

/// How long the file is looked through without a rest. A rest is as long.
const AT_ONCE: Duration = Duration::from_millis(5);

/// The read-only connections that are not in use. The one used last is taken first: its statements are warm.
/// A read takes one only when it runs, so there are never more than the threads that read: the runtime's own, and
/// those the blocking permits allow. They are opened at the start, when there are descriptors for them, and kept: clients
/// that connect later may take all there are.
pub(crate) struct Readers {
    path: PathBuf,
    map: bool,
    pub(crate) fresh: Arc<Freshness>,
    pub(crate) health: Arc<Health>,
    /// Those that read one customer's timeline: see [`Reader::show`].
    of_timelines: Mutex<Vec<Reader>>,
    others: Mutex<Vec<Reader>>,
    /// How many of either may lie idle; one that comes back to more is closed.
    most_idle: usize,
    /// Held by bounded reads, which are short, and taken by the writer when it must have none beside it for a moment.
    pause: RwLock<()>,
    /// Moves about every second: see [`Readers::renew`].
    round: AtomicU64,
}

/// A read-only connection, with the moment of the read transaction that is open on it.
struct Reader {
    connection: Connection,
    snapshot: Option<Snapshot>,
}

/// What a read transaction shows, and the round it began in.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Snapshot {
    commits: u64,
    epoch: u64,
    round: u64,
}

impl Reader {
    fn open(path: &Path, map: bool) -> Result<Self, StoreError> {
        Ok(Self { connection: open::for_reading(path, map)?, snapshot: None })
    }

    /// Ends the read transaction that is open.
    fn settle(&mut self) -> Result<(), StoreError> {
        if self.snapshot.take().is_some() {
            self.run("COMMIT")?;
        }
        Ok(())
    }

    /// Has a read transaction open that shows what was committed up to `now`, as far as it matters: where nothing was
    /// written since the commit `since` to what will be read, any snapshot from there on will do. After each commit by
    /// anybody, a connection that begins anew maps the whole file anew.
    fn show(&mut self, now: Snapshot, since: u64) -> Result<(), StoreError> {
        let does = |held: Snapshot| (held.epoch, held.round) == (now.epoch, now.round) && held.commits >= since;
        if !self.snapshot.is_some_and(does) {
            self.settle()?;
            self.run("BEGIN")?;
            self.snapshot = Some(now);
        }
        Ok(())
    }

    fn run(&self, sql: &str) -> Result<(), StoreError> {
        self.connection
            .prepare_cached(sql)
            .and_then(|mut statement| statement.raw_execute())
            .map(drop)
            .map_err(database)
    }
}

/// Whoever waits for an unbounded read. When it is dropped, the read ends.
pub(crate) struct Caller(Arc<AtomicBool>);

/// The read's side of a [`Caller`].
pub(crate) struct Wanted(Arc<AtomicBool>);

impl Caller {
    pub(crate) fn new() -> (Self, Wanted) {
        let wanted = Arc::new(AtomicBool::new(true));
        (Self(Arc::clone(&wanted)), Wanted(wanted))
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

impl Readers {
    /// With as many connections as will be used at once.
    pub(crate) fn open(
        fresh: Arc<Freshness>,
        path: PathBuf,
        map: bool,
        health: Arc<Health>,
    ) -> Result<Self, StoreError> {
        let most_idle = threads() + BLOCKING_READS;
        let open = |count| (0..count).map(|_| Reader::open(&path, map)).collect::<Result<_, _>>();
        let (of_timelines, others) = (open(threads())?, open(most_idle)?);
        Ok(Self {
            path,
            map,
            fresh,
            health,
            of_timelines: Mutex::new(of_timelines),
            others: Mutex::new(others),
            most_idle,
            pause: RwLock::default(),
            round: AtomicU64::new(0),
        })
    }

    /// Runs a bounded read on a connection; `about` is the customer whose timeline it reads, and nothing else.
    pub(crate) fn run<T>(
        &self,
        about: Option<(OrgId, CustomerId)>,
        work: impl FnOnce(&Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let _running = self.pause.read();
        let (now, log_is_long) = match self.fresh.present() {
            Some((now, log_is_long)) => (Some(self.snapshot(now)), log_is_long),
            None => (None, false),
        };
        let since = about.map(|(org, customer)| self.fresh.touched(org, customer));
        let idle = if about.is_some() { &self.of_timelines } else { &self.others };
        self.with(idle, |reader| {
            match now {
                Some(now) => reader.show(now, since.unwrap_or(now.commits))?,
                None => reader.settle()?,
            }
            let read = work(&reader.connection)?;
            if log_is_long {
                // Whichever process writes needs a moment in which nobody reads what is in the log.
                reader.settle()?;
            }
            Ok(read)
        })
    }

    /// Runs `work` until it ends or nobody wants it any more.
    ///
    /// The read looks at a flag of its own instead of being interrupted from outside: SQLite forgets an interrupt that
    /// comes just before a statement begins, and one that comes late would hit the connection's next user.
    pub(crate) fn run_while<T>(
        &self,
        wanted: Wanted,
        work: impl FnOnce(&Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let Wanted(wanted) = wanted;
        if !wanted.load(Ordering::Relaxed) {
            return Err(StoreError::Database("the caller has gone".into()));
        }
        self.with(&self.others, |reader| {
            reader.settle()?;
            let connection = &mut reader.connection;
            let unwanted = {
                let wanted = Arc::clone(&wanted);
                move || !wanted.load(Ordering::Relaxed)
            };
            connection.progress_handler(INSTRUCTIONS_PER_LOOK, Some(unwanted)).map_err(database)?;
            let result = work(connection);
            connection.progress_handler(0, None::<fn() -> bool>).map_err(database)?;
            // What was only ended by its caller leaves the connection as it was.
            if wanted.load(Ordering::Relaxed) { result.map(Ok) } else { Ok(result) }
        })?
    }

    /// Looks for damage, table by table, with rests, until the end or until nobody wants it any more. What is found goes to
    /// [`Health`]. The connection is its own, since it fills with pages nobody else needs, and has no map: what
    /// cannot be read is damage, and no reason to be killed.
    ///
    /// A table is one read transaction, which holds back the log: so it is one at a time.
    pub(crate) fn look_through(&self, wanted: Wanted) -> Result<(), StoreError> {
        let Wanted(wanted) = wanted;
        let mut connection = open::for_reading(&self.path, false)?;
        let mut begun = Stopwatch::now();
        let rest = move || {
            if begun.elapsed() >= AT_ONCE {
                thread::sleep(AT_ONCE);
                begun = Stopwatch::now();
            }
            !wanted.load(Ordering::Relaxed)
        };
        connection.progress_handler(INSTRUCTIONS_PER_REST, Some(rest)).map_err(database)?;
        let texts = |sql: &str| {
            let mut statement = connection.prepare(sql)?;
            let texts = statement.query_map([], |row| row.get::<_, String>(0))?;
            texts.collect::<Result<Vec<_>, _>>()
        };
        let tables = texts("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name");
        for table in tables.map_err(database).inspect_err(|error| self.health.note(error))? {
            let found = texts(&format!("PRAGMA quick_check(\"{}\")", table.replace('"', "\"\"")));
            let found = match found.map_err(database) {
                Ok(found) => found,
                // So damaged that it cannot even be looked at.
                Err(StoreError::Corrupt(text)) => vec![text],
                Err(error) => return Err(error),
            };
            for damage in found.iter().filter(|text| *text != "ok") {
                tracing::error!(%table, "damaged: {damage}");
                self.health.note_damage(&format!("table {table}: {damage}"));
            }
        }
        Ok(())
    }

    /// A connection on which something failed is closed: nobody knows in what state it is.
    fn with<T>(
        &self,
        idle: &Mutex<Vec<Reader>>,
        work: impl FnOnce(&mut Reader) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let free = idle.lock().pop();
        let mut reader = match free {
            Some(reader) => reader,
            None => Reader::open(&self.path, self.map)?,
        };
        let result = work(&mut reader);
        // A page that is too large was only ended.
        if let Err(error) = &result
            && !matches!(error, StoreError::TooLarge)
        {
            self.health.note(error);
            return result;
        }
        let mut idle = idle.lock();
        if idle.len() < self.most_idle {
            idle.push(reader);
        }
        result
    }

    fn snapshot(&self, now: Moment) -> Snapshot {
        Snapshot { commits: now.commits, epoch: now.epoch, round: self.round.load(Ordering::Relaxed) }
    }

    /// Ends the idle connections' read transactions: they hold back the log, also where another process wants to begin it
    /// anew. Those in use are ended when they are used again.
    pub(crate) fn renew(&self) {
        self.round.fetch_add(1, Ordering::Relaxed);
        for idle in [&self.of_timelines, &self.others] {
            idle.lock().retain_mut(|reader| reader.settle().is_ok());
        }
    }

    /// Runs `work` while no bounded read runs and no idle connection has a read transaction.
    pub(crate) fn paused<T>(&self, work: impl FnOnce() -> T) -> T {
        let _nobody = self.pause.write();
        self.renew();
        work()
    }
}

pub(crate) fn rows(connection: &Connection, query: &Query) -> Result<Vec<Vec<Value>>, StoreError> {
    let mut statement = connection.prepare_cached(&query.sql).map_err(database)?;
    bind::bind(&mut statement, &query.params).map_err(database)?;
    let columns = statement.column_count();
    let mut rows = statement.raw_query();
    let mut found = Vec::new();
    let mut bytes = 0;
    while let Some(row) = rows.next().map_err(database)? {
        let row: Vec<Value> = (0..columns).map(|column| bind::value(row, column)).collect::<Result<_, _>>()?;
        bytes += row.iter().map(Value::bytes).sum::<usize>();
        found.push(row);
        if bytes >= query.bytes {
            break;
        }
    }
    Ok(found)
}

pub(crate) fn splice(connection: &Connection, query: &Query, mut page: Splice) -> Result<Page, StoreError> {
    let mut statement = connection.prepare_cached(&query.sql).map_err(database)?;
    bind::bind(&mut statement, &query.params).map_err(database)?;
    let mut rows = statement.raw_query();
    while let Some(row) = rows.next().map_err(database)? {
        let at = Instant::from_millis(row.get(0).map_err(database)?);
        let ValueRef::Blob(id) = row.get_ref(1).map_err(database)? else {
            return Err(StoreError::Corrupt("an id is no blob".into()));
        };
        let position = Position { at, id: bind::id(id)? };
        let ValueRef::Text(doc) = row.get_ref(2).map_err(database)? else {
            return Err(StoreError::Corrupt("a record has no text".into()));
        };
        if !page.add(position, doc)? {
            break;
        }
    }
    Ok(page.page())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Options;

    fn readers(folder: &tempfile::TempDir) -> Readers {
        let (file, _open) = open::database_file(&folder.path().join("test.db"), Options::default()).expect("it opens");
        let fresh = Arc::new(Freshness::of(&file));
        let health = Health::of(&file, &file, Arc::clone(&fresh), 0).expect("its files are there");
        Readers::open(fresh, file, true, Arc::new(health)).expect("they open")
    }

    /// Long enough to be looked at many times.
    fn count(connection: &Connection) -> Result<i64, StoreError> {
        let sql =
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000) SELECT sum(i) FROM n";
        connection.query_row(sql, [], |row| row.get(0)).map_err(database)
    }

    #[test]
    fn no_more_lie_idle_than_are_used_again() {
        fn nested(readers: &Readers, depth: usize) {
            let inner = |_: &Connection| {
                if depth > 1 {
                    nested(readers, depth - 1);
                }
                Ok(())
            };
            readers.run(None, inner).expect("a read");
        }
        let folder = tempfile::tempdir().expect("a folder");
        let readers = readers(&folder);
        assert_eq!(readers.others.lock().len(), readers.most_idle);
        nested(&readers, 3);
        assert_eq!(readers.others.lock().len(), readers.most_idle);
        nested(&readers, 3 * readers.most_idle);
        assert_eq!(readers.others.lock().len(), readers.most_idle);
    }

    #[test]
    fn a_connection_that_failed_is_closed() {
        let folder = tempfile::tempdir().expect("a folder");
        let readers = readers(&folder);
        readers.run(None, |_| Ok(())).expect("a read");
        assert_eq!(readers.others.lock().len(), readers.most_idle);
        readers.run(None, |_| Err::<(), _>(StoreError::Database("disk I/O error".into()))).expect_err("the failure");
        assert_eq!(readers.others.lock().len(), readers.most_idle - 1);
    }

    #[test]
    fn a_read_ends_with_its_caller_and_leaves_the_next_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let readers = readers(&folder);
        let (caller, wanted) = Caller::new();
        let mut caller = Some(caller);
        let read = readers.run_while(wanted, |connection| {
            drop(caller.take());
            count(connection)
        });
        assert!(read.expect_err("it ends early").to_string().contains("interrupted"));
        assert_eq!(readers.others.lock().len(), readers.most_idle, "the connection is kept");

        let (caller, wanted) = Caller::new();
        readers.run_while(wanted, count).expect("a read somebody waits for");
        drop(caller);
        assert_eq!(readers.others.lock().len(), readers.most_idle);
        readers.run(None, count).expect("the next read on the same connection");

        let (caller, wanted) = Caller::new();
        drop(caller);
        readers.run_while(wanted, |_| -> Result<(), _> { panic!("it is not begun") }).expect_err("nobody waits");
    }
}
