//! Whether the file has all its pages, or was cut short.
//!
//! Its length alone does not tell. `VACUUM` makes a file shorter, whichever process runs it; and a file may be shorter than
//! the database, for as long as the log has the rest. Nor do its length and the database's size together: a process that
//! copies the log back cuts the file to what the size was when it looked, while another commit may already have added to it.
//!
//! What holds at every moment, also while a process copies the log back or after it died in the middle, is what those who
//! read rely on: a page is in the file, or in a frame of the log that does not count as copied back yet
//! (sqlite.org/walformat.html). How far the log is copied back is written down only after the file was cut and synced, so
//! it is read before the file's length. Frames stay where they are until the log begins anew, which needs the lock to write
//! and moves the header: what was seen under one header belongs together.

use std::collections::HashSet;
use std::fs::File;
use std::io::{ErrorKind, Result};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::fresh::{Extent, Freshness, opened};

/// Where the log's first frame begins, and bytes of a frame before its page: of these the first four are the page's number.
const FRAMES: u64 = 32;
const HEAD: u64 = 24;

/// Where in that the log's salt is.
const SALT: u64 = 8;

/// The page with this byte is for locks: it is never written.
const LOCKS: u64 = 1 << 30;

/// A database's file and its log.
pub(crate) struct Whole {
    database: &'static File,
    log: File,
    fresh: Arc<Freshness>,
    /// Bytes of the file when it was last seen to have all its pages. Only if that has changed are they looked for: it may have
    /// grown and been cut since.
    length: Mutex<u64>,
    /// The last frame that was seen in the log, and the salt it had.
    last: Mutex<(u64, [u8; 8])>,
}

impl Whole {
    /// Of a database in which a connection is open that stays open, so that the log stays the same file.
    pub(crate) fn of(database: &Path, log: &Path, fresh: Arc<Freshness>) -> Result<Self> {
        let database = opened(database)?;
        // Not even the first is taken for right: a log that is not empty hides from SQLite that the file was cut before.
        let length = Mutex::new(u64::MAX);
        Ok(Self { database, log: File::open(log)?, fresh, length, last: Mutex::default() })
    }

    /// Whether pages are missing. While others commit that cannot be told, and then it is not said: whoever holds the lock to
    /// write is always told.
    pub(crate) fn is_cut_short(&self) -> Result<bool> {
        let mut known = self.length.lock();
        let length = self.database.metadata()?.len();
        if length == *known {
            return Ok(false);
        }
        let Some(extent) = self.fresh.extent() else { return Ok(false) };
        let length = self.database.metadata()?.len();
        let is_cut_short = match extent.pages {
            // Nobody has committed since the log was made, so there is nothing in it.
            0 => self.says_more_than(length)?,
            _ => self.lacks_pages(length, &extent)?,
        };
        if self.fresh.extent().is_none_or(|now| now.header != extent.header) {
            return Ok(false);
        }
        if !is_cut_short {
            *known = length;
        }
        Ok(is_cut_short)
    }

    /// Whether frames of the log are missing. Frames are there before the header speaks of them, and it speaks of none before
    /// another process makes the log shorter. Where a log that was cut has grown since, there are zeros in place of the last
    /// one seen before.
    pub(crate) fn is_log_cut_short(&self) -> Result<bool> {
        let mut last = self.last.lock();
        let Some(extent) = self.fresh.extent() else { return Ok(false) };
        let before = Some(last.0).filter(|_| last.1 == extent.salt);
        for frame in before.into_iter().chain([extent.frames]).filter(|frame| *frame > 0) {
            let mut salt = [0; 8];
            let at = FRAMES + (frame - 1) * (HEAD + extent.page);
            let is_there = match self.log.read_exact_at(&mut salt, at + SALT) {
                Ok(()) => salt == extent.salt && self.log.metadata()?.len() >= at + HEAD + extent.page,
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => false,
                Err(error) => return Err(error),
            };
            if !is_there {
                return Ok(self.fresh.extent().is_some_and(|now| now.header == extent.header));
            }
        }
        *last = (extent.frames, extent.salt);
        Ok(false)
    }

    /// Whether a page is neither in so many bytes of the file nor in the log.
    fn lacks_pages(&self, length: u64, extent: &Extent) -> Result<bool> {
        // More than the log can have, the page for locks aside.
        if extent.pages.saturating_sub(length / extent.page) > extent.frames.saturating_sub(extent.copied_back) + 1 {
            return Ok(true);
        }
        let mut missing = beyond(length, extent);
        // As a rule nothing is, and of the log little.
        for frame in extent.copied_back..extent.frames {
            if missing.is_empty() {
                break;
            }
            let mut page = [0; 4];
            match self.log.read_exact_at(&mut page, FRAMES + frame * (HEAD + extent.page)) {
                Ok(()) => drop(missing.remove(&u64::from(u32::from_be_bytes(page)))),
                // The log was cut short, too.
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => break,
                Err(error) => return Err(error),
            }
        }
        Ok(!missing.is_empty())
    }

    /// Whether the database's own header speaks of more than so many bytes (sqlite.org/fileformat.html, "In-header database
    /// size").
    fn says_more_than(&self, length: u64) -> Result<bool> {
        let mut header = [0; 100];
        match self.database.read_exact_at(&mut header, 0) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(true),
            Err(error) => return Err(error),
        }
        let number = |at: usize| header[at..at + 4].iter().fold(0u64, |number, byte| number << 8 | u64::from(*byte));
        // 65,536 does not fit and is written as 1.
        let page = match u16::from_be_bytes([header[16], header[17]]) {
            1 => 1 << 16,
            page => u64::from(page),
        };
        // Programs of before 2010 did not keep the number of pages, which these two tell.
        Ok(number(24) == number(92) && length < number(28) * page)
    }
}

/// The database's pages that do not lie within so many bytes of the file.
fn beyond(length: u64, extent: &Extent) -> HashSet<u64> {
    let locks = LOCKS / extent.page + 1;
    (length / extent.page + 1..=extent.pages).filter(|page| *page != locks).collect()
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;

    use konverse_store::StoreError;
    use rusqlite::Connection;

    use super::*;
    use crate::health::Health;
    use crate::{Options, open};

    /// Bytes of a page.
    const PAGE: u64 = 32_768;

    struct Fixture {
        _folder: tempfile::TempDir,
        path: std::path::PathBuf,
        own: Connection,
        other: Connection,
        health: Health,
    }

    impl Fixture {
        /// A file with many pages, which nobody has written to since its log was made.
        fn new() -> Self {
            let folder = tempfile::tempdir().expect("a folder");
            let path = folder.path().join("test.db");
            {
                let (_, first) = open::database_file(&path, Options::default()).expect("it opens");
                first.execute_batch("CREATE TABLE thing (it BLOB)").expect("a table");
                grow(&first, 40);
            }
            let (path, own) = open::database_file(&path, Options::default()).expect("it opens");
            let fresh = Arc::new(Freshness::of(&path));
            let health = Health::of(&path, &path, fresh, 0).expect("its files are there");
            let (_, other) = open::database_file(&path, Options::default()).expect("it opens again");
            Self { _folder: folder, path, own, other, health }
        }

        fn length(&self) -> u64 {
            self.path.metadata().expect("a file").len()
        }

        fn cut_to(&self, length: u64) {
            let file = OpenOptions::new().write(true).open(&self.path).expect("it opens");
            file.set_len(length).expect("it is cut");
            // Closed, it would drop the locks of this process.
            std::mem::forget(file);
        }

        fn is_cut_short(&self) -> bool {
            match self.health.is_in_place() {
                Ok(()) => false,
                Err(StoreError::Stopped(text)) => text.contains("cut short"),
                Err(error) => panic!("{error}"),
            }
        }

        /// Makes the file shorter by what another process may do to it.
        fn shrink(&self) {
            let before = self.length();
            self.other.execute_batch("DELETE FROM thing; VACUUM").expect("it runs");
            copy_back(&self.other, "TRUNCATE");
            assert!(self.length() < before);
        }
    }

    /// Adds so many pages.
    fn grow(connection: &Connection, pages: i64) {
        connection.execute("INSERT INTO thing VALUES (zeroblob($1))", [pages * 32_768]).expect("a row");
    }

    fn copy_back(connection: &Connection, mode: &str) {
        let sql = format!("PRAGMA wal_checkpoint({mode})");
        assert_eq!(connection.query_row(&sql, [], |row| row.get::<_, i64>(0)), Ok(0));
    }

    #[test]
    fn a_file_that_another_process_makes_shorter_is_whole() {
        let fixture = Fixture::new();
        assert!(!fixture.is_cut_short());
        for round in 0..20 {
            fixture.shrink();
            if round % 2 == 0 {
                // What was added is in the log alone, and the file shorter than the database.
                grow(&fixture.other, 8);
            }
            if round % 3 == 0 {
                grow(&fixture.own, 8);
            }
            assert!(!fixture.is_cut_short(), "round {round}");
            copy_back(&fixture.own, "PASSIVE");
            assert!(!fixture.is_cut_short(), "round {round}, copied back");
            grow(&fixture.own, 20);
            copy_back(&fixture.own, "PASSIVE");
            assert!(!fixture.is_cut_short());
        }
    }

    #[test]
    fn a_file_that_is_cut_is_not() {
        type Before = fn(&Fixture);
        let cases: [(&str, Before); 5] = [
            ("nobody has written since the log was made", |_| {}),
            ("what was written is in the log as well", |it| grow(&it.own, 8)),
            ("what was written is in the log and in the file", |it| {
                grow(&it.own, 8);
                copy_back(&it.own, "PASSIVE");
            }),
            ("the log has begun anew", |it| {
                grow(&it.own, 8);
                copy_back(&it.own, "TRUNCATE");
            }),
            ("after it was made shorter", |it| {
                it.shrink();
                grow(&it.own, 8);
                copy_back(&it.own, "PASSIVE");
            }),
        ];
        for (case, before) in cases {
            for cut in [1, 3 * PAGE, u64::MAX] {
                let fixture = Fixture::new();
                before(&fixture);
                assert!(!fixture.is_cut_short(), "{case}");
                fixture.cut_to(fixture.length().saturating_sub(cut));
                assert!(fixture.is_cut_short(), "{case}: {cut}");
            }
        }
    }

    #[test]
    fn a_file_that_was_cut_before_is_not_whole() {
        let fixture = Fixture::new();
        grow(&fixture.own, 8);
        fixture.cut_to(10 * PAGE);
        let fresh = Arc::new(Freshness::of(&fixture.path));
        let later = Health::of(&fixture.path, &fixture.path, fresh, 0).expect("its files are there");
        assert!(matches!(later.is_in_place(), Err(StoreError::Stopped(_))));
    }

    #[test]
    fn a_file_that_has_grown_and_was_cut_between_two_looks_is_not_whole() {
        let fixture = Fixture::new();
        assert!(!fixture.is_cut_short());
        let before = fixture.length();
        grow(&fixture.own, 40);
        copy_back(&fixture.own, "PASSIVE");
        fixture.cut_to(before + 8 * PAGE);
        assert!(fixture.is_cut_short());
    }

    #[test]
    fn a_log_that_is_cut_is_not_whole() {
        for grows in [false, true] {
            for keep in [0, FRAMES, FRAMES + HEAD + PAGE] {
                let fixture = Fixture::new();
                grow(&fixture.own, 8);
                assert!(!fixture.is_cut_short());
                let log = OpenOptions::new().write(true).open(fixture.path.with_extension("db-wal")).expect("it opens");
                log.set_len(keep).expect("it is cut");
                if grows {
                    // Who has the pages in memory goes on behind what is missing.
                    fixture.own.execute("UPDATE thing SET it = zeroblob(5) WHERE rowid = 2", []).expect("a write");
                    assert!(log.metadata().expect("a file").len() > keep + PAGE);
                }
                assert!(fixture.is_cut_short(), "{keep}, {grows}");
            }
        }
    }

    #[test]
    fn the_page_for_locks_is_never_missing() {
        let locks = LOCKS / PAGE + 1;
        let extent = Extent { header: [0; 48], page: PAGE, pages: locks + 1, frames: 0, salt: [0; 8], copied_back: 0 };
        assert_eq!(beyond(LOCKS, &extent), HashSet::from([locks + 1]));
        assert_eq!(beyond(LOCKS - PAGE, &extent), HashSet::from([locks - 1, locks + 1]));
    }
}
