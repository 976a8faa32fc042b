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

fn commit(connection: &Connection, batch: Vec<Job>) {
    if let Err(error) = connection.execute_batch("BEGIN IMMEDIATE") {
        answer_all(batch.into_iter().map(|job| job.done), &error);
        return;
    }
    let mut applied = Vec::with_capacity(batch.len());
    for job in batch {
        match apply(connection, &job.steps) {
            Ok(()) => applied.push(job.done),
            Err(error) => drop(job.done.send(Err(error))),
        }
    }
    match connection.execute_batch("COMMIT") {
        Ok(()) => applied.into_iter().for_each(|done| drop(done.send(Ok(())))),
        Err(error) => {
            let _ = connection.execute_batch("ROLLBACK");
            answer_all(applied.into_iter(), &error);
        }
    }
}

fn answer_all(waiting: impl Iterator<Item = oneshot::Sender<Result<(), StoreError>>>, error: &rusqlite::Error) {
    tracing::error!(%error, "cannot commit");
    for done in waiting {
        let _ = done.send(Err(StoreError::Database(error.to_string())));
    }
}

/// Runs one change in a savepoint: when a step fails, nothing of it stays, and the others of the batch do not notice.
fn apply(connection: &Connection, steps: &[Step]) -> Result<(), StoreError> {
    connection.prepare_cached("SAVEPOINT change").and_then(|mut s| s.execute([])).map_err(database)?;
    let result = steps.iter().try_for_each(|step| execute(connection, step));
    if result.is_err() {
        connection.execute_batch("ROLLBACK TO change").map_err(database)?;
    }
    connection.prepare_cached("RELEASE change").and_then(|mut s| s.execute([])).map_err(database)?;
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
