//! Whether the file can still be relied upon: it is the one at its path, it has room, and nothing in it was found damaged.
//!
//! SQLite goes on writing to a file that was deleted or replaced: nobody would find those writes again. So the writing
//! thread looks before each commit whether the path still leads to the files it has open. That is a stat of each, some
//! microseconds beside the commit's fsync.

use std::ffi::OsString;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use konverse_store::{StoreError, Unready};

use crate::fresh::Freshness;
use crate::whole::Whole;

/// What is beside the database and belongs to it: its log, and the log's index.
const SUFFIXES: [&str; 3] = ["", "-wal", "-shm"];

/// Device and inode: which file it is, whatever its name. While it is open no other file gets the same.
type Identity = (u64, u64);

/// What is known of a database's files.
pub(crate) struct Health {
    files: Vec<(PathBuf, Identity)>,
    whole: Whole,
    /// Bytes that must be free beside them.
    least_free: u64,
    /// Set once one of the files is no longer at its path. It stays: what others did to the files meanwhile cannot be known.
    lost: OnceLock<String>,
    /// Set once something in the file was found to be damaged.
    damaged: OnceLock<String>,
}

impl Health {
    /// Of a database in which a connection is open that stays open, so that the log and its index stay the same files.
    /// `named` is what its owner calls it, which may be a link: whoever opens it next goes by that.
    pub(crate) fn of(
        named: &Path,
        database: &Path,
        fresh: Arc<Freshness>,
        least_free: u64,
    ) -> Result<Self, StoreError> {
        let beside = |suffix: &str| {
            let mut path = OsString::from(database);
            path.push(suffix);
            PathBuf::from(path)
        };
        let failed = |path: &Path, error| StoreError::Database(format!("cannot look at {}: {error}", path.display()));
        let file = |suffix: &str| {
            let path = beside(suffix);
            let data = fs::metadata(&path).map_err(|error| failed(&path, error))?;
            Ok((path, (data.dev(), data.ino())))
        };
        let mut files = SUFFIXES.into_iter().map(file).collect::<Result<Vec<_>, StoreError>>()?;
        let named = std::path::absolute(named).map_err(|error| failed(named, error))?;
        if let Some((_, identity)) = files.first().filter(|(path, _)| *path != named).cloned() {
            files.push((named, identity));
        }
        let whole = Whole::of(database, &beside("-wal"), fresh).map_err(|error| failed(database, error))?;
        Ok(Self { files, whole, least_free, lost: OnceLock::new(), damaged: OnceLock::new() })
    }

    /// Whether the paths still lead to the files that are open, and the database's is whole. After the first time it is not
    /// so, never again.
    pub(crate) fn is_in_place(&self) -> Result<(), StoreError> {
        self.was_in_place()?;
        for (n, (path, identity)) in self.files.iter().enumerate() {
            let unseen = |error| StoreError::Unavailable(format!("cannot look at {}: {error}", path.display()));
            let what = match fs::metadata(path) {
                Ok(data) if (data.dev(), data.ino()) == *identity => {
                    let is_cut_short = match n {
                        0 => self.whole.is_cut_short(),
                        1 => self.whole.is_log_cut_short(),
                        _ => Ok(false),
                    };
                    match is_cut_short.map_err(unseen)? {
                        true => "was cut short",
                        false => continue,
                    }
                }
                Ok(_) => "was replaced by another file",
                Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                    "was moved or deleted"
                }
                // It may be there all the same, so it is asked for again.
                Err(error) => return Err(unseen(error)),
            };
            let lost = format!("{} {what} while it was open", path.display());
            if self.lost.set(lost.clone()).is_ok() {
                tracing::error!(
                    "{lost}: NOTHING IS WRITTEN ANY MORE, since nobody would find it again; put the file back or name \
                     another one, and start konverse anew"
                );
            }
            return Err(StoreError::Stopped(lost));
        }
        Ok(())
    }

    /// What is known of that without looking: see [`Health::is_in_place`].
    pub(crate) fn was_in_place(&self) -> Result<(), StoreError> {
        self.lost.get().map_or(Ok(()), |lost| Err(StoreError::Stopped(lost.clone())))
    }

    /// Whether the database or its log was cut short, wherever they are: then the log must not be copied back.
    pub(crate) fn is_cut_short(&self) -> bool {
        self.whole.is_cut_short().unwrap_or(false) || self.whole.is_log_cut_short().unwrap_or(false)
    }

    /// Why a write failed: where the file is not whole, SQLite finds it damaged.
    pub(crate) fn of_write(&self, error: StoreError) -> StoreError {
        if !matches!(error, StoreError::Corrupt(_)) {
            return error;
        }
        if let Err(lost @ StoreError::Stopped(_)) = self.is_in_place() {
            return lost;
        }
        self.note(&error);
        error
    }

    /// Looks at an error for damage of the file, which is said loudly once and remembered.
    pub(crate) fn note(&self, error: &StoreError) {
        if let StoreError::Corrupt(what) = error {
            self.note_damage(what);
        }
    }

    pub(crate) fn note_damage(&self, what: &str) {
        if self.damaged.set(what.to_owned()).is_ok() {
            tracing::error!(
                "the database file is DAMAGED: {what}; bring back a copy, or save what can be read with SQLite's .recover"
            );
        }
    }

    /// What was found damaged.
    pub(crate) fn damage(&self) -> Option<&str> {
        self.damaged.get().map(String::as_str)
    }

    /// What can be told without asking the database.
    pub(crate) fn ready(&self) -> Result<(), Unready> {
        self.is_in_place().map_err(|error| Unready::Moved(error.to_string()))?;
        if let Some(what) = self.damage() {
            return Err(Unready::Damaged(what.to_owned()));
        }
        let Some((file, _)) = self.files.first() else { return Ok(()) };
        let place = rustix::fs::statvfs(file).map_err(|error| Unready::NoRoom(error.to_string()))?;
        // What only root may use does not count.
        let free = place.f_bavail.saturating_mul(place.f_frsize);
        if free < self.least_free {
            return Err(Unready::NoRoom(format!("{free} bytes are free, {} are wanted", self.least_free)));
        }
        Ok(())
    }
}
