//! How many files, and so connections, the system lets the process open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit of open files to the hard one: the soft one is kept low on most systems for the sake of programs
/// that use `select`, which this one does not. How many may be open then.
pub(super) fn raise_limit() -> usize {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            tracing::warn!(%error, "the limit of open files cannot be raised");
        }
    }
    // None means no limit.
    getrlimit(Resource::Nofile).current.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX))
}

/// How many of so many files connections may use: the rest is for the database, whose own connections are known, its
/// readers, the log and what else the process opens. Where there are few, three quarters of them.
pub(super) fn for_connections(files: usize, database: usize) -> usize {
    files - (128 + database).min(files / 4 * 3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn something_is_left_for_the_database() {
        assert_eq!(for_connections(1024, 16), 880);
        assert_eq!(for_connections(64, 16), 16);
        assert_eq!(for_connections(usize::MAX, 1000), usize::MAX - 1128);
    }
}
