//! Writing: one thread, one connection, one commit for all that is waiting.

use std::sync::mpsc;
use std::thread;

use konverse_store::{Conflict, StoreError};
use konverse_store_sql::Step;
use rusqlite::{Connection, ffi};
use tokio::sync::oneshot;

use crate::{bind, database};

/// Statements of one commit at most: bounds how long the first of a batch waits for the last.
const MOST_STEPS: usize = 20_000;

struct Job {
    steps: Vec<Step>,
    done: oneshot::Sender<Result<(), StoreError>>,
}

/// A handle to the writing thread. When it goes, the thread finishes what is waiting and ends.
pub(crate) struct Writer {
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Writer {
    pub(crate) fn start(connection: Connection) -> Result<Self, StoreError> {
        let (jobs, waiting) = mpsc::channel();
        let thread = thread::Builder::new()
            .name("sqlite-writer".into())
            .spawn(move || run(&connection, &waiting))
            .map_err(|error| StoreError::Database(error.to_string()))?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread) })
    }

    pub(crate) async fn write(&self, steps: Vec<Step>) -> Result<(), StoreError> {
        let gone = || StoreError::Database("the writing thread has ended".into());
        let (done, answer) = oneshot::channel();
        self.jobs.as_ref().ok_or_else(gone)?.send(Job { steps, done }).map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn run(connection: &Connection, waiting: &mpsc::Receiver<Job>) {
    while let Ok(first) = waiting.recv() {
        let mut steps = first.steps.len();
        let mut batch = vec![first];
        while steps < MOST_STEPS {
            let Ok(job) = waiting.try_recv() else { break };
            steps += job.steps.len();
            batch.push(job);
        }
        commit(connection, batch);
    }
    // Leave a file without a log behind, and fresh statistics for the planner.
    let _ = connection.execute_batch("PRAGMA optimize; PRAGMA wal_checkpoint(TRUNCATE)");
}

/// Commits a batch: all of it at once if every change goes through, which is nearly always. When one does not, the
/// batch begins again with a savepoint around each change, so that the others do not notice. A savepoint makes SQLite
/// keep a copy of every page it touches, which an import's profile showed.
fn commit(connection: &Connection, batch: Vec<Job>) {
    let refused = match transaction(connection, || batch.iter().try_for_each(|job| run_steps(connection, &job.steps))) {
        Ok(()) => return batch.into_iter().for_each(|job| drop(job.done.send(Ok(())))),
        Err(error) => error,
    };
    if batch.len() == 1 {
        return batch.into_iter().for_each(|job| drop(job.done.send(Err(copy(&refused)))));
    }
    let mut outcomes = Vec::with_capacity(batch.len());
    let committed = transaction(connection, || {
        outcomes = batch.iter().map(|job| savepoint(connection, &job.steps)).collect();
        Ok(())
    });
    for (job, outcome) in batch.into_iter().zip(outcomes) {
        let answer = match &committed {
            Ok(()) => outcome,
            Err(error) => Err(copy(error)),
        };
        let _ = job.done.send(answer);
    }
}

/// Runs `work` in a transaction; nothing of it stays when it or the commit fails.
fn transaction(connection: &Connection, work: impl FnOnce() -> Result<(), StoreError>) -> Result<(), StoreError> {
    connection.execute_batch("BEGIN IMMEDIATE").map_err(|error| {
        tracing::error!(%error, "cannot begin a transaction");
        database(error)
    })?;
    let result = work().and_then(|()| {
        connection.execute_batch("COMMIT").map_err(|error| {
            tracing::error!(%error, "cannot commit");
            database(error)
        })
    });
    if result.is_err() && !connection.is_autocommit() {
        connection.execute_batch("ROLLBACK").map_err(database)?;
    }
    result
}

fn run_steps(connection: &Connection, steps: &[Step]) -> Result<(), StoreError> {
    steps.iter().try_for_each(|step| execute(connection, step))
}

/// Runs one change so that nothing of it stays when a step fails.
fn savepoint(connection: &Connection, steps: &[Step]) -> Result<(), StoreError> {
    connection.execute_batch("SAVEPOINT change").map_err(database)?;
    let result = run_steps(connection, steps);
    if result.is_err() {
        connection.execute_batch("ROLLBACK TO change").map_err(database)?;
    }
    connection.execute_batch("RELEASE change").map_err(database)?;
    result
}

fn execute(connection: &Connection, step: &Step) -> Result<(), StoreError> {
    let mut statement = connection.prepare_cached(&step.sql).map_err(database)?;
    bind::bind(&mut statement, &step.params).map_err(database)?;
    match statement.raw_execute() {
        Ok(0) if step.must_change => Err(conflict(step)),
        Ok(_) => Ok(()),
        Err(error) if is_unique_violation(&error) && step.conflict.is_some() => Err(conflict(step)),
        Err(error) => Err(database(error)),
    }
}

fn conflict(step: &Step) -> StoreError {
    StoreError::Conflict(step.conflict.clone().unwrap_or(Conflict::Busy))
}

fn is_unique_violation(error: &rusqlite::Error) -> bool {
    error.sqlite_error().is_some_and(|error| {
        matches!(error.extended_code, ffi::SQLITE_CONSTRAINT_UNIQUE | ffi::SQLITE_CONSTRAINT_PRIMARYKEY)
    })
}

/// The same error again, for several waiting callers.
fn copy(error: &StoreError) -> StoreError {
    match error {
        StoreError::Conflict(conflict) => StoreError::Conflict(conflict.clone()),
        StoreError::Database(text) => StoreError::Database(text.clone()),
        StoreError::Corrupt(text) => StoreError::Corrupt(text.clone()),
    }
}
