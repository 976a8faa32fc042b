//! The folder a process keeps its indexes in, which no other process writes to.
//!
//! Several processes on one machine may be told the same folder. Each takes the first place in it that nobody has, for as
//! long as it lives: the lock is the system's and ends with the process, however that ends. Whoever takes a place finds
//! there what its last holder left, and goes on from it.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Places in one folder: more processes than that are a mistake.
const PLACES: usize = 256;

/// A place.
#[derive(Debug)]
pub(super) struct Slot {
    folder: PathBuf,
    /// Locked as long as it is open.
    _lock: File,
}

impl Slot {
    /// Takes the first free place of a folder, which is made when missing. What is made is for its owner alone, since an
    /// index holds people's words.
    pub(super) fn take(folder: &Path) -> io::Result<Self> {
        private_folder(folder)?;
        for n in 0..PLACES {
            let folder = folder.join(n.to_string());
            private_folder(&folder)?;
            let lock = folder.join("lock");
            let lock = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(lock)?;
            match lock.try_lock() {
                Ok(()) => return Ok(Self { folder, _lock: lock }),
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => return Err(error),
            }
        }
        Err(io::Error::other(format!("all {PLACES} places are taken")))
    }

    /// Where it is.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }
}

pub(super) fn private_folder(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_a_place_of_its_own_and_the_next_one_takes_what_is_free() {
        let folder = tempfile::tempdir().expect("a folder");
        let shared = folder.path().join("made when missing");
        let first = Slot::take(&shared).expect("a place");
        let second = Slot::take(&shared).expect("a place");
        assert_ne!(first.folder(), second.folder());
        std::fs::write(first.folder().join("left"), "behind").expect("a file");
        drop(first);
        let third = Slot::take(&shared).expect("a place");
        assert!(third.folder().join("left").exists(), "what the last holder left is found");
        use std::os::unix::fs::PermissionsExt;
        for folder in [&*shared, third.folder(), second.folder()] {
            let mode = folder.metadata().expect("it is there").permissions().mode();
            assert_eq!(mode & 0o077, 0, "{} is for its owner alone", folder.display());
        }
    }
}
