//! `konverse backup` and `konverse restore`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use konverse_store_sqlite as sqlite;
use tokio::signal::unix::{SignalKind, signal};

use crate::database::Database;

/// Exit status where another program is to be used.
const ANOTHER_PROGRAM: u8 = 2;

/// Which way a copy goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Task {
    /// From a database to a file.
    Backup,
    /// From a file to a database.
    Restore,
}

/// Makes a copy of a database, or a database of a copy. A signal to stop leaves everything as it was.
pub(crate) async fn run(
    task: Task,
    database: &Database,
    file: &Path,
    force: bool,
    print: &dyn Fn(&str),
) -> anyhow::Result<ExitCode> {
    let path = match database {
        Database::Sqlite(path) => PathBuf::from(path),
        Database::Postgres(_) => {
            print(&instead(task, database, file));
            return Ok(ExitCode::from(ANOTHER_PROGRAM));
        }
    };
    let started = std::time::Instant::now();
    let wanted = Arc::new(AtomicBool::new(true));
    let copying = {
        let (path, file, wanted) = (path.clone(), file.to_owned(), Arc::clone(&wanted));
        tokio::task::spawn_blocking(move || match task {
            Task::Backup => sqlite::backup(&path, &file, force, &wanted),
            Task::Restore => sqlite::restore(&file, &path, force, &wanted),
        })
    };
    let mut terminate = signal(SignalKind::terminate()).context("cannot watch for signals")?;
    tokio::pin!(copying);
    let copied = tokio::select! {
        copied = &mut copying => copied,
        _ = async { tokio::select! { _ = tokio::signal::ctrl_c() => {}, _ = terminate.recv() => {} } } => {
            wanted.store(false, Ordering::Relaxed);
            copying.await
        }
    };
    let bytes = copied.context("the copying failed")??;
    let (from, to) = match task {
        Task::Backup => (path.display().to_string(), file.display().to_string()),
        Task::Restore => (file.display().to_string(), path.display().to_string()),
    };
    let (mebibytes, seconds) = (bytes as f64 / f64::from(1 << 20), started.elapsed().as_secs_f64());
    print(&format!("{from} copied to {to}: {mebibytes:.1} MiB, sound, in {seconds:.1} s"));
    Ok(ExitCode::SUCCESS)
}

/// What to use instead, where the database is a server's.
fn instead(task: Task, database: &Database, file: &Path) -> String {
    let file = file.display();
    match task {
        Task::Backup => format!(
            "PostgreSQL makes copies with its own tools, while konverse serves. This one is of one moment:\n\n  \
             pg_dump --format=custom --no-owner --file='{file}' '{database:?}'\n\n\
             It needs a pg_dump no older than the server, and the user and password in PGUSER and PGPASSWORD or ~/.pgpass. \
             The server's old row versions stay for as long as it runs. For large databases, or to go back to any moment, \
             use pg_basebackup with an archive of the write-ahead log. Put a dump back with: konverse restore --help"
        ),
        Task::Restore => format!(
            "PostgreSQL is put back with its own tools, into a new and empty database, never over one in use:\n\n  \
             createdb NEW\n  \
             pg_restore --no-owner --single-transaction --exit-on-error --dbname=NEW '{file}'\n  \
             vacuumdb --analyze-only NEW\n\n\
             They take host, user and password from PGHOST, PGUSER and PGPASSWORD or ~/.pgpass. Then look it through \
             with konverse check, stop every konverse that uses {database:?}, and start it with --database naming NEW."
        ),
    }
}
