//! Writing: one thread, one connection, one commit for all that is waiting.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use konverse_store::{Applied, Conflict, StoreError};
use konverse_store_sql::{LaneState, Step, Work};
use rusqlite::{Connection, ffi};
use tokio::sync::oneshot;

use crate::read::Readers;
use crate::{bind, database};

/// How long a read transaction may stay open, about: it holds back the log, which other processes may want to begin anew.
const SETTLE: Duration = Duration::from_secs(1);

/// Statements of one commit at most: bounds how long the first of a batch waits for the last.
const MOST_STEPS: usize = 20_000;

struct Job {
    work: Work,
    done: oneshot::Sender<Result<Applied, StoreError>>,
}

/// A handle to the writing thread. When it goes, the thread finishes what is waiting and ends.
pub(crate) struct Writer {
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<thread::JoinHandle<()>>,
    /// The thread that renews the readers' snapshots ends with it.
    _renewing: mpsc::Sender<()>,
}

impl Writer {
    pub(crate) fn start(connection: Connection, readers: Arc<Readers>) -> Result<Self, StoreError> {
        let (jobs, waiting) = mpsc::channel();
        let renewed = Arc::downgrade(&readers);
        let thread = thread::Builder::new()
            .name("sqlite-writer".into())
            .spawn(move || run(&Place { connection, readers }, &waiting, commit))
            .map_err(|error| StoreError::Database(error.to_string()))?;
        // A thread of its own: the writing one may wait for another process.
        let (renewing, ended) = mpsc::channel::<()>();
        thread::Builder::new()
            .name("sqlite-renewer".into())
            .spawn(move || {
                while ended.recv_timeout(SETTLE) == Err(RecvTimeoutError::Timeout) {
                    let Some(readers) = renewed.upgrade() else { break };
                    // Without the next one the log would never begin anew.
                    let _ = catch_unwind(AssertUnwindSafe(|| readers.renew()));
                }
            })
            .map_err(|error| StoreError::Database(error.to_string()))?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread), _renewing: renewing })
    }

    pub(crate) async fn write(&self, work: Work) -> Result<Applied, StoreError> {
        let gone = || StoreError::Database("the change was lost: the writing thread panicked or has ended".into());
        let (done, answer) = oneshot::channel();
        self.jobs.as_ref().ok_or_else(gone)?.send(Job { work, done }).map_err(|_| gone())?;
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

/// Where changes are committed, and who must hear of it.
struct Place {
    readers: Arc<Readers>,
    /// Closed last: a connection for reading alone cannot take the log away.
    connection: Connection,
}

fn run(place: &Place, waiting: &mpsc::Receiver<Job>, commit: impl Fn(&Place, Vec<Job>)) {
    while let Ok(first) = waiting.recv() {
        let mut steps = first.work.size();
        let mut batch = vec![first];
        while steps < MOST_STEPS {
            let Ok(job) = waiting.try_recv() else { break };
            steps += job.work.size();
            batch.push(job);
        }
        // The thread is everybody's: what nobody thought of fails with the batch it is in, and the next one begins anew.
        let committed = catch_unwind(AssertUnwindSafe(|| {
            commit(place, batch);
            if place.readers.fresh.log_is_long() {
                place.copy_back();
            }
        }));
        if committed.is_err() {
            tracing::error!("the writing thread panicked, standard error says where; the changes it was at failed");
            place.give_up();
        }
    }
    place.readers.renew();
    // Leave a file without a log behind, and fresh statistics for the planner. Others who use the file are not waited for:
    // nobody could write meanwhile, and whoever is the last will do it.
    let _ = place.connection.busy_timeout(Duration::ZERO);
    let _ = place.connection.execute_batch("PRAGMA optimize; PRAGMA wal_checkpoint(TRUNCATE)");
}

impl Place {
    /// Copies the log back, so that it begins anew: most of it beside the reads, and the rest while none runs. Without
    /// such a moment the log would grow for as long as there is always somebody who reads.
    fn copy_back(&self) {
        let copy = || match self.connection.execute_batch("PRAGMA wal_checkpoint(PASSIVE)") {
            Ok(()) => {}
            Err(error) => tracing::error!(%error, "cannot copy the log back"),
        };
        copy();
        self.readers.paused(copy);
    }

    /// Leaves nothing open of a batch that panicked. Whether it was committed is not known, so all that was read is old.
    fn give_up(&self) {
        if !self.connection.is_autocommit()
            && let Err(error) = self.connection.execute_batch("ROLLBACK")
        {
            tracing::error!(%error, "cannot roll back");
        }
        self.readers.fresh.ended(None::<std::iter::Empty<&Work>>);
    }

    fn begin(&self) -> Result<(), StoreError> {
        self.connection.execute_batch("BEGIN IMMEDIATE").map_err(|error| {
            tracing::error!(%error, "cannot begin a transaction");
            database(error)
        })?;
        self.readers.fresh.begun();
        Ok(())
    }

    /// Commits what was done well; nothing of it stays when it was not, or when the commit fails.
    fn end<T>(&self, batch: &[Job], result: Result<T, StoreError>) -> Result<T, StoreError> {
        let result = result.and_then(|done| {
            self.connection.execute_batch("COMMIT").map(|()| done).map_err(|error| {
                tracing::error!(%error, "cannot commit");
                database(error)
            })
        });
        self.readers.fresh.ended(result.is_ok().then(|| batch.iter().map(|job| &job.work)));
        if result.is_err() && !self.connection.is_autocommit() {
            self.connection.execute_batch("ROLLBACK").map_err(database)?;
        }
        result
    }
}

/// Commits a batch: all of it at once if every change goes through, which is nearly always. When one does not, the
/// batch begins again with a savepoint around each change, so that the others do not notice. A savepoint makes SQLite
/// keep a copy of every page it touches, which an import's profile showed.
fn commit(place: &Place, batch: Vec<Job>) {
    if let Err(error) = place.begin() {
        return answer_all(batch, &error);
    }
    let connection = &place.connection;
    let performed: Result<Vec<Applied>, StoreError> = batch.iter().map(|job| perform(connection, &job.work)).collect();
    let refused = match place.end(&batch, performed) {
        Ok(applied) => {
            let answers = batch.into_iter().zip(applied);
            return answers.for_each(|(job, applied)| drop(job.done.send(Ok(applied))));
        }
        Err(error) => error,
    };
    if batch.len() == 1 {
        return answer_all(batch, &refused);
    }
    if let Err(error) = place.begin() {
        return answer_all(batch, &error);
    }
    let outcomes: Result<Vec<_>, StoreError> = batch.iter().map(|job| savepoint(connection, &job.work)).collect();
    match place.end(&batch, outcomes) {
        Ok(outcomes) => {
            batch.into_iter().zip(outcomes).for_each(|(job, outcome)| drop(job.done.send(outcome)));
        }
        Err(error) => answer_all(batch, &error),
    }
}

fn answer_all(batch: Vec<Job>, error: &StoreError) {
    batch.into_iter().for_each(|job| drop(job.done.send(Err(error.clone()))));
}

fn perform(connection: &Connection, work: &Work) -> Result<Applied, StoreError> {
    let lanes: Vec<LaneState> =
        work.lanes().iter().map(|lane| lane_state(connection, work, *lane)).collect::<Result<_, _>>()?;
    let (steps, applied) = work.plan(&lanes)?.alone(work);
    steps.iter().try_for_each(|step| execute(connection, step))?;
    Ok(applied)
}

fn lane_state(connection: &Connection, work: &Work, lane: u8) -> Result<LaneState, StoreError> {
    let look = || Ok::<_, StoreError>(crate::read::rows(connection, &work.lock(lane))?.pop());
    let row = match look()? {
        Some(row) => Some(row),
        None => {
            execute(connection, &work.make(lane))?;
            look()?
        }
    };
    work.lane_state(row.unwrap_or_default())
}

/// Runs one change so that nothing of it stays when a step fails. The outer error means that the transaction as a whole
/// is lost: SQLite rolls it back by itself when the disk is full or cannot be read.
fn savepoint(connection: &Connection, work: &Work) -> Result<Result<Applied, StoreError>, StoreError> {
    connection.execute_batch("SAVEPOINT change").map_err(database)?;
    let result = perform(connection, work);
    if let Err(error) = &result {
        if connection.is_autocommit() {
            return Err(error.clone());
        }
        connection.execute_batch("ROLLBACK TO change").map_err(database)?;
    }
    connection.execute_batch("RELEASE change").map_err(database)?;
    Ok(result)
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

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::fresh::Freshness;
    use crate::open;
    use konverse_model::{Id, Kind};
    use konverse_store_sql::{Dialect, Value};

    fn place(folder: &tempfile::TempDir) -> Place {
        let file = folder.path().join("test.db");
        let connection = Connection::open(&file).expect("it opens");
        connection
            .execute_batch("CREATE TABLE IF NOT EXISTS thing (n INTEGER PRIMARY KEY, text TEXT)")
            .expect("a table");
        Place { connection, readers: Arc::new(Readers::new(Freshness::of(&file), file)) }
    }

    type Answer = oneshot::Receiver<Result<Applied, StoreError>>;

    fn inserting(n: i64, bytes: usize) -> (Job, Answer) {
        let step = Step {
            sql: "INSERT INTO thing (n, text) VALUES ($1, $2)".into(),
            params: vec![Value::Int(n), Value::Text("x".repeat(bytes))],
            must_change: true,
            conflict: Some(Conflict::Taken(Kind::Tag, Id::from_bytes([0; 12]))),
        };
        let (done, answer) = oneshot::channel();
        (Job { work: Work::of_steps(Dialect::Sqlite, vec![step]), done }, answer)
    }

    /// Commits a batch and gives what each was told, and what is there.
    fn committed(place: &Place, changes: &[(i64, usize)]) -> (Vec<Result<Applied, StoreError>>, Vec<i64>) {
        let (jobs, answers): (Vec<_>, Vec<_>) = changes.iter().map(|(n, bytes)| inserting(*n, *bytes)).unzip();
        commit(place, jobs);
        let answers = answers.into_iter().map(|mut answer| answer.try_recv().expect("everybody is answered"));
        let mut statement = place.connection.prepare("SELECT n FROM thing ORDER BY n").expect("a statement");
        let there = statement.query_map([], |row| row.get(0)).expect("rows").collect::<Result<_, _>>().expect("rows");
        (answers.collect(), there)
    }

    #[test]
    fn a_refused_change_is_refused_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let place = place(&folder);
        let (answers, there) = committed(&place, &[(1, 10), (1, 10), (2, 10)]);
        assert!(answers[0].is_ok() && matches!(answers[1], Err(StoreError::Conflict(_))) && answers[2].is_ok());
        assert_eq!(there, [1, 2]);
    }

    #[test]
    fn when_sqlite_gives_up_the_transaction_nothing_is_said_to_be_done() {
        let folder = tempfile::tempdir().expect("a folder");
        let place = place(&folder);
        place.connection.pragma_update(None, "max_page_count", 20).expect("a pragma");
        // The second is refused, so each gets a savepoint; the third finds the disk full, and SQLite rolls back all.
        let (answers, there) = committed(&place, &[(1, 10), (1, 10), (2, 500_000), (3, 10)]);
        assert!(answers.iter().all(|answer| matches!(answer, Err(StoreError::Database(_)))), "{answers:?}");
        assert_eq!(there, Vec::<i64>::new());
        let (answers, there) = committed(&place, &[(1, 10), (3, 10)]);
        assert!(answers.iter().all(Result::is_ok), "the next batch begins anew");
        assert_eq!(there, [1, 3]);
    }

    #[test]
    fn a_panic_fails_the_batch_it_is_in_and_no_other() {
        let folder = tempfile::tempdir().expect("a folder");
        let (file, connection) = open::database_file(&folder.path().join("test.db"), 1 << 20).expect("it opens");
        connection.execute_batch("CREATE TABLE thing (n INTEGER PRIMARY KEY, text TEXT)").expect("a table");
        let place = Place { connection, readers: Arc::new(Readers::new(Freshness::of(&file), file)) };
        let (jobs, waiting) = mpsc::channel();
        // The same row twice: the second is refused unless the first was rolled back.
        let ((first, mut lost), (second, mut written)) = (inserting(1, 10), inserting(1, 10));
        jobs.send(first).expect("it is listened to");
        let next = Cell::new(Some((jobs, second)));
        run(&place, &waiting, |place, batch| {
            let Some((jobs, second)) = next.take() else { return commit(place, batch) };
            jobs.send(second).expect("it is listened to");
            place.begin().expect("it begins");
            perform(&place.connection, &batch[0].work).expect("it goes");
            panic!("what nobody thought of");
        });
        lost.try_recv().expect_err("nobody says that it was done");
        written.try_recv().expect("it is answered").expect("it is written");
        assert!(place.readers.fresh.moment().is_some(), "what is committed now can be told apart again");
    }

    #[test]
    fn a_batch_that_cannot_begin_is_told_why() {
        let folder = tempfile::tempdir().expect("a folder");
        let (other, place) = (place(&folder), place(&folder));
        place.connection.busy_timeout(std::time::Duration::ZERO).expect("a setting");
        other.connection.execute_batch("BEGIN IMMEDIATE").expect("it is free");
        let (answers, _) = committed(&place, &[(1, 10), (2, 10)]);
        for answer in answers {
            assert!(matches!(&answer, Err(StoreError::Database(text)) if text.contains("locked")), "{answer:?}");
        }
        other.connection.execute_batch("ROLLBACK").expect("it ends");
        assert_eq!(committed(&place, &[(1, 10), (2, 10)]).1, [1, 2]);
    }
}
