//! The proof that nothing was written since: one positioned read instead of a transaction.
//!
//! SQLite keeps an index of its log in a file beside the database, which all processes share. Its first 48 bytes, kept
//! twice, change with every commit of every process and before the commit is acknowledged (sqlite.org/walformat.html,
//! "WAL-Index header"). As long as they are the same, everything read since is as it was. Reading them takes no lock.
//!
//! Own commits are told apart from those of other processes: the writing thread knows what it touched and says so, while
//! a foreign commit makes everything old.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use konverse_model::{CustomerId, OrgId};
use konverse_store::Version;
use konverse_store_sql::{Moment, Work};
use parking_lot::Mutex;

/// Bytes of one copy of the header.
const COPY: usize = 48;

/// Where in the header the count of commits is, the size of a page (16 bits), the number of the log's last frame, and that
/// of the database's pages: 32 bits, in the machine's order.
const COMMITS: usize = 8;
const PAGE: usize = 14;
const LAST_FRAME: usize = 16;
const PAGES: usize = 20;

/// Where the log's salt is, which its frames repeat and which changes when it begins anew: eight bytes.
const SALT: usize = 32;

/// Where behind both copies the number of frames is that are copied back.
const COPIED_BACK: usize = 2 * COPY;

/// Bytes of the log from which on it is to begin anew. An import rewrites the same index pages in every transaction, and
/// each copy back that it can skip is saved.
const LOG: u64 = 128 << 20;

/// Customers share this many places: one that is written to makes answers about the others of its place old as well.
const PLACES: usize = 4096;

pub(crate) type Header = [u8; COPY];

/// Databases and index files that were opened, by device and inode. They are never closed: closing any descriptor of a file
/// drops every lock this process holds on it, also those SQLite relies on.
static OPENED: LazyLock<Mutex<HashMap<(u64, u64), &'static File>>> = LazyLock::new(Mutex::default);

/// What is known of the commits to a file.
pub(crate) struct Freshness {
    index: Option<&'static File>,
    known: Mutex<Known>,
    /// The number of the commit that last touched a customer of the place.
    touched: Box<[AtomicU64]>,
}

struct Known {
    header: Header,
    /// This process is between beginning a transaction and having told of its end.
    writing: bool,
    moment: Moment,
}

fn number(bytes: &[u8], at: usize) -> u32 {
    let mut number = [0; 4];
    number.copy_from_slice(&bytes[at..at + 4]);
    u32::from_ne_bytes(number)
}

/// Bytes of a page.
fn page(header: &Header) -> u64 {
    // 65,536 does not fit and is written as 1.
    match u16::from_ne_bytes([header[PAGE], header[PAGE + 1]]) {
        1 => 1 << 16,
        page => u64::from(page),
    }
}

/// Bytes of the log, as its header tells.
fn log(header: &Header) -> u64 {
    u64::from(number(header, LAST_FRAME)) * page(header)
}

/// How large the database is, and what of it is in the log.
pub(crate) struct Extent {
    pub(crate) header: Header,
    /// Bytes of a page.
    pub(crate) page: u64,
    /// Pages as of the last commit; 0 where nobody has committed since the log was made.
    pub(crate) pages: u64,
    /// Frames of the log up to the last commit.
    pub(crate) frames: u64,
    /// What each of them repeats.
    pub(crate) salt: [u8; 8],
    /// How many of these, at least, are in the file as well.
    pub(crate) copied_back: u64,
}

pub(crate) fn opened(path: &Path) -> std::io::Result<&'static File> {
    let data = path.metadata()?;
    let mut known = OPENED.lock();
    if let Some(file) = known.get(&(data.dev(), data.ino())) {
        return Ok(file);
    }
    let file: &'static File = Box::leak(Box::new(File::open(path)?));
    let data = file.metadata()?;
    known.insert((data.dev(), data.ino()), file);
    Ok(file)
}

impl Freshness {
    /// Of a database in which a connection is open that stays open, so that the index stays the same file. Where the
    /// index cannot be read nothing is ever known to be fresh.
    pub(crate) fn of(database: &Path) -> Self {
        let mut index = OsString::from(database);
        index.push("-shm");
        let index = opened(Path::new(&index))
            .inspect_err(
                |error| tracing::warn!(%error, "the log's index cannot be read: nothing will be kept in memory"),
            )
            .ok();
        let known = Known { header: [0; COPY], writing: false, moment: Moment::default() };
        let touched = (0..PLACES).map(|_| AtomicU64::new(0)).collect();
        Self { index, known: Mutex::new(known), touched }
    }

    /// The index's header; none while a commit is being written into it.
    fn header(&self) -> Option<Header> {
        let mut bytes = [0; 2 * COPY];
        self.index?.read_exact_at(&mut bytes, 0).ok()?;
        let (first, second) = bytes.split_at(COPY);
        (first == second).then(|| first.try_into().ok())?
    }

    /// The present, which everything is fresh by that was read at an equal moment. None while it cannot be told whether a
    /// commit is this process's own.
    pub(crate) fn moment(&self) -> Option<Moment> {
        self.present().map(|(moment, _)| moment)
    }

    /// The present, and whether the log waits to begin anew.
    pub(crate) fn present(&self) -> Option<(Moment, bool)> {
        let header = self.header()?;
        let mut known = self.known.lock();
        if header == known.header {
            return Some((known.moment, log(&header) > LOG));
        }
        // The one just read may have become old before the lock was had.
        let header = self.header()?;
        if header != known.header {
            if known.writing {
                return None;
            }
            known.foreign(header);
        }
        Some((known.moment, log(&header) > LOG))
    }

    /// The version of a customer's timeline at this moment.
    pub(crate) fn version(&self, moment: Moment, org: OrgId, customer: CustomerId) -> Version {
        Version::Commit { epoch: moment.epoch, touched: self.touched(org, customer) }
    }

    /// The own commit that last wrote to a customer's timeline, or to one that shares its place; 0 for none yet.
    pub(crate) fn touched(&self, org: OrgId, customer: CustomerId) -> u64 {
        self.place(org, customer).load(Ordering::Acquire)
    }

    fn place(&self, org: OrgId, customer: CustomerId) -> &AtomicU64 {
        let bytes = org.0.bytes().iter().chain(customer.0.bytes());
        let hash = bytes.fold(0u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
        &self.touched[(hash >> 20) as usize % PLACES]
    }

    /// This process holds the write lock: until [`Freshness::ended`] nobody else commits.
    pub(crate) fn begun(&self) {
        let header = self.header();
        let mut known = self.known.lock();
        match header {
            Some(header) if header == known.header => {}
            // What cannot be read is taken for new: nothing matches the zeros.
            header => known.foreign(header.unwrap_or([0; COPY])),
        }
        known.writing = true;
    }

    /// The transaction has ended; `works` is what was committed in it, none if nothing was. To be told before anybody is
    /// answered.
    pub(crate) fn ended<'a>(&self, works: Option<impl Iterator<Item = &'a Work>>) {
        let header = self.header();
        let mut known = self.known.lock();
        let (mut doors, committed) = (false, works.is_some());
        for work in works.into_iter().flatten() {
            doors |= work.moves_doors();
            for (org, customer) in work.customers() {
                self.place(org, customer).store(known.moment.commits + 1, Ordering::Release);
            }
        }
        known.writing = false;
        match header {
            Some(header) if header == known.header => {}
            // The lock was given back with the commit, so another process may have committed right after. Then the count
            // is higher by more than one.
            Some(header) if committed && number(&header, COMMITS) == number(&known.header, COMMITS).wrapping_add(1) => {
                known.header = header;
                known.moment.commits += 1;
                known.moment.doors += u64::from(doors);
            }
            header => known.foreign(header.unwrap_or([0; COPY])),
        }
    }

    /// None while a commit is being written into the index.
    pub(crate) fn extent(&self) -> Option<Extent> {
        let header = self.header()?;
        let mut copied_back = [0; 4];
        self.index?.read_exact_at(&mut copied_back, COPIED_BACK as u64).ok()?;
        let extent = Extent {
            header,
            page: page(&header),
            pages: number(&header, PAGES).into(),
            frames: number(&header, LAST_FRAME).into(),
            salt: header[SALT..SALT + 8].try_into().ok()?,
            copied_back: u32::from_ne_bytes(copied_back).into(),
        };
        // Never without a size of pages, unless there are none.
        (extent.page > 0 || extent.pages == 0).then_some(extent)
    }

    /// Whether the log waits to begin anew. It does so with the next write after all of it was copied back, if then nobody
    /// reads what was there before.
    pub(crate) fn log_is_long(&self) -> bool {
        self.header().is_some_and(|header| log(&header) > LOG)
    }
}

impl Known {
    /// Somebody else has committed: all that was known is old.
    fn foreign(&mut self, header: Header) {
        self.header = header;
        self.moment.commits += 1;
        self.moment.epoch += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Options, open};
    use konverse_model::Id;
    use konverse_store_sql::Dialect;
    use rusqlite::Connection;

    const ORG: OrgId = OrgId(Id::from_bytes([1; 12]));
    const CUSTOMER: CustomerId = CustomerId(Id::from_bytes([2; 12]));

    struct Fixture {
        _folder: tempfile::TempDir,
        own: Connection,
        foreign: Connection,
        fresh: Freshness,
    }

    impl Fixture {
        fn new() -> Self {
            let folder = tempfile::tempdir().expect("a folder");
            let (file, own) =
                open::database_file(&folder.path().join("test.db"), Options::default()).expect("it opens");
            let (_, foreign) = open::database_file(&file, Options::default()).expect("it opens again");
            let fresh = Freshness::of(&file);
            Self { _folder: folder, own, foreign, fresh }
        }

        fn version(&self) -> Option<(Moment, Version)> {
            let moment = self.fresh.moment()?;
            Some((moment, self.fresh.version(moment, ORG, CUSTOMER)))
        }

        fn write(connection: &Connection) {
            let sql = "INSERT INTO tally VALUES (x'00', hex(randomblob(8)), 0, 1)";
            connection.execute(sql, []).expect("a write");
        }

        /// A commit of this process, within which `meanwhile` happens.
        fn commit(&self, works: &[Work], meanwhile: impl FnOnce()) {
            self.own.execute_batch("BEGIN IMMEDIATE").expect("it begins");
            self.fresh.begun();
            Self::write(&self.own);
            self.own.execute_batch("COMMIT").expect("it ends");
            meanwhile();
            self.fresh.ended(Some(works.iter()));
        }
    }

    fn work(customer: CustomerId) -> Work {
        let mut changes = konverse_store::Changes::new(ORG, konverse_model::Instant::from_millis(0));
        changes.ops.push(konverse_store::Op::Guard(customer, 1));
        Work::changes(Dialect::Sqlite, changes)
    }

    #[test]
    fn nothing_changes_while_nobody_commits() {
        let fixture = Fixture::new();
        let before = fixture.version();
        assert!(before.is_some());
        fixture.own.execute_batch("BEGIN IMMEDIATE").expect("it begins");
        assert_eq!(fixture.version(), before, "what is not committed is not there");
        fixture.own.execute_batch("ROLLBACK").expect("it ends");
        assert_eq!(fixture.version(), before);
    }

    #[test]
    fn a_foreign_commit_makes_everything_old() {
        let fixture = Fixture::new();
        let before = fixture.version().expect("a version");
        Fixture::write(&fixture.foreign);
        let after = fixture.version().expect("a version");
        assert_ne!(after.1, before.1);
        assert_ne!(after.0.commits, before.0.commits);
        assert_eq!(fixture.version(), Some(after), "once");
    }

    #[test]
    fn an_own_commit_makes_old_what_it_touched_and_nothing_else() {
        let fixture = Fixture::new();
        let before = fixture.version().expect("a version");
        fixture.commit(&[work(CustomerId(Id::from_bytes([9; 12])))], || {});
        let after = fixture.version().expect("a version");
        assert_eq!(after.1, before.1, "another customer's");
        assert_ne!(after.0.commits, before.0.commits, "but a snapshot is old");
        fixture.commit(&[work(CUSTOMER)], || {});
        assert_ne!(fixture.version().expect("a version").1, before.1);
    }

    #[test]
    fn what_happens_around_an_own_commit_is_not_missed() {
        let fixture = Fixture::new();
        let before = fixture.version().expect("a version");
        let other = [work(CustomerId(Id::from_bytes([9; 12])))];
        // Before it began.
        Fixture::write(&fixture.foreign);
        fixture.commit(&other, || {});
        let after = fixture.version().expect("a version");
        assert_ne!(after.1, before.1);
        // Right after it was committed.
        fixture.commit(&other, || {
            assert_eq!(fixture.version(), None, "whose commit it is cannot be told yet");
            Fixture::write(&fixture.foreign);
        });
        assert_ne!(fixture.version().expect("a version").1, after.1);
    }

    #[test]
    fn the_header_tells_the_size_of_the_log() {
        let fixture = Fixture::new();
        Fixture::write(&fixture.own);
        let page: i64 = fixture.own.pragma_query_value(None, "page_size", |row| row.get(0)).expect("a pragma");
        let frames: i64 =
            fixture.own.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| row.get(1)).expect("a checkpoint");
        assert_eq!(log(&fixture.fresh.header().expect("a header")), (page * frames).unsigned_abs());
        assert!(frames > 0 && !fixture.fresh.log_is_long());
    }
}
