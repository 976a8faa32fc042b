//! Writing: one thread, one connection, one commit for all that is waiting.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant as Stopwatch};

use konverse_store::{Applied, Conflict, StoreError};
use konverse_store_sql::{LaneState, Step, Work};
use parking_lot::Mutex;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, ffi};
use tokio::sync::oneshot;

use crate::health::Health;
use crate::read::Readers;
use crate::{bind, database};

/// How long a read transaction may stay open, about: it holds back the log, which other processes may want to begin anew.
const SETTLE: Duration = Duration::from_secs(1);

/// Statements of one commit at most: bounds how long the first of a batch waits for the last.
const MOST_STEPS: usize = 20_000;

/// How long the thread waits for another process's lock before it looks whether anybody still waits for it.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// How long a change waits at least, unless the thread has looked within that time: long enough for a look.
const SHORTEST_WAIT: Duration = Duration::from_millis(300);

/// What becomes of a change that goes through.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Aim {
    Keep,
    /// It is only to be seen that it goes through. It is kept where others are committed with it.
    Rehearse,
}

/// A change on its way.
struct Job {
    work: Work,
    aim: Aim,
    done: oneshot::Sender<Result<Applied, StoreError>>,
    turn: Turn,
    /// When its caller gives it up, unless it has been begun.
    until: Stopwatch,
}

/// Taken once: by the thread, which then makes the change, or by the caller, who has waited long enough, and then it is not
/// made.
#[derive(Clone, Default)]
struct Turn(Arc<AtomicBool>);

impl Turn {
    fn take(&self) -> bool {
        !self.0.swap(true, Ordering::AcqRel)
    }

    fn is_taken(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

impl Job {
    fn is_wanted(&self) -> bool {
        !self.turn.is_taken() && !self.done.is_closed()
    }
}

/// What the thread knows of another process's lock.
#[derive(Default)]
struct Blocked(Mutex<Option<Held>>);

#[derive(Clone, Copy)]
struct Held {
    since: Stopwatch,
    looked: Stopwatch,
}

impl Blocked {
    fn looked(&self, is_held: bool) {
        let mut held = self.0.lock();
        let now = Stopwatch::now();
        *held = is_held.then(|| Held { since: held.map_or(now, |held| held.since), looked: now });
    }

    /// What is left of `longest` for a change that comes now. Whoever comes late, since it waited for somebody who waited
    /// here, does not wait as long again: at most for one more look.
    fn left(&self, longest: Duration) -> Duration {
        let Some(held) = *self.0.lock() else { return longest };
        let left = longest.saturating_sub(held.since.elapsed());
        let is_known = held.looked.elapsed() < SHORTEST_WAIT;
        if is_known { left } else { left.max(SHORTEST_WAIT.min(longest)) }
    }
}

/// A handle to the writing thread. When it goes, the thread finishes what is waiting and ends.
pub(crate) struct Writer {
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<thread::JoinHandle<()>>,
    /// How long a change may wait until it is begun.
    longest_wait: Duration,
    blocked: Arc<Blocked>,
    failing: Arc<AtomicBool>,
    health: Arc<Health>,
    /// The thread that renews the readers' snapshots, and what it ends with.
    renewer: Option<(mpsc::Sender<()>, thread::JoinHandle<()>)>,
}

impl Writer {
    pub(crate) fn start(
        connection: Connection,
        readers: Arc<Readers>,
        longest_wait: Duration,
    ) -> Result<Self, StoreError> {
        connection.busy_timeout(LOOK_AGAIN).map_err(database)?;
        let (jobs, waiting) = mpsc::channel();
        let renewed = Arc::downgrade(&readers);
        let (blocked, health) = (Arc::<Blocked>::default(), Arc::clone(&readers.health));
        let failing = Arc::new(AtomicBool::default());
        // The handle does not keep the readers: they are closed before the connection that writes.
        let place = Place { connection, readers, blocked: Arc::clone(&blocked), failing: Arc::clone(&failing) };
        let thread = thread::Builder::new()
            .name("sqlite-writer".into())
            .spawn(move || run(&place, &waiting, Place::serve))
            .map_err(|error| StoreError::Database(error.to_string()))?;
        // A thread of its own: the writing one may wait for another process.
        let (renewing, ended) = mpsc::channel::<()>();
        let renewer = thread::Builder::new()
            .name("sqlite-renewer".into())
            .spawn(move || {
                while ended.recv_timeout(SETTLE) == Err(RecvTimeoutError::Timeout) {
                    let Some(readers) = renewed.upgrade() else { break };
                    // Without the next round the log would never begin anew.
                    let _ = catch_unwind(AssertUnwindSafe(|| {
                        readers.renew();
                        // Where nobody writes it is to be said, too.
                        let _ = readers.health.is_in_place();
                    }));
                }
            })
            .map_err(|error| StoreError::Database(error.to_string()))?;
        Ok(Self {
            jobs: Some(jobs),
            thread: Some(thread),
            longest_wait,
            blocked,
            failing,
            health,
            renewer: Some((renewing, renewer)),
        })
    }

    pub(crate) async fn write(&self, work: Work) -> Result<Applied, StoreError> {
        self.hand_over(work, Aim::Keep).await
    }

    /// Sees that a change goes through and takes it back: that moves nothing for other processes. After a transaction that
    /// failed only one that is committed says that there is room again, so then it is kept.
    pub(crate) async fn rehearse(&self, work: Work) -> Result<(), StoreError> {
        let aim = if self.failing.load(Ordering::Acquire) { Aim::Keep } else { Aim::Rehearse };
        self.hand_over(work, aim).await.map(drop)
    }

    async fn hand_over(&self, work: Work, aim: Aim) -> Result<Applied, StoreError> {
        let gone = || unclear("the writing thread panicked or has ended");
        self.health.was_in_place()?;
        let (done, mut answer) = oneshot::channel();
        let turn = Turn::default();
        let wait = self.blocked.left(self.longest_wait);
        if wait.is_zero() {
            return Err(late(self.longest_wait));
        }
        let job = Job { work, aim, done, turn: turn.clone(), until: Stopwatch::now() + wait };
        self.jobs.as_ref().ok_or_else(gone)?.send(job).map_err(|_| gone())?;
        match tokio::time::timeout(wait, &mut answer).await {
            Ok(answer) => answer.map_err(|_| gone())?,
            Err(_) if turn.take() => Err(late(self.longest_wait)),
            // It has been begun, so it is as good as done, and what became of it is worth waiting for.
            Err(_) => answer.await.map_err(|_| gone())?,
        }
    }
}

fn late(longest_wait: Duration) -> StoreError {
    StoreError::Unavailable(format!(
        "no turn to write within {longest_wait:?}: another process holds the file's lock, or too many wait"
    ))
}

impl Drop for Writer {
    fn drop(&mut self) {
        // It may have the readers, which have to go before the connection that writes.
        if let Some((renewing, renewer)) = self.renewer.take() {
            drop(renewing);
            let _ = renewer.join();
        }
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Where changes are committed, and who must hear of it.
struct Place {
    readers: Arc<Readers>,
    blocked: Arc<Blocked>,
    /// Whether the last transaction failed, for another reason than a conflict or a lock.
    failing: Arc<AtomicBool>,
    /// Closed last: a connection for reading alone cannot take the log away.
    connection: Connection,
}

fn run(place: &Place, waiting: &mpsc::Receiver<Job>, serve: impl Fn(&Place, &mut VecDeque<Job>, &mpsc::Receiver<Job>)) {
    let mut queue: VecDeque<Job> = VecDeque::new();
    loop {
        if queue.is_empty() {
            // There is no handle any more, and nothing left to do.
            let Ok(first) = waiting.recv() else { break };
            queue.push_back(first);
        }
        // The thread is everybody's: what nobody thought of fails with the batch it is in, and the next one begins anew.
        let served = catch_unwind(AssertUnwindSafe(|| {
            serve(place, &mut queue, waiting);
            if place.readers.fresh.log_is_long() && !place.readers.health.is_cut_short() {
                place.copy_back();
            }
        }));
        if served.is_err() {
            tracing::error!("the writing thread panicked, standard error says where; the changes it was at failed");
            place.give_up();
        }
    }
    place.readers.renew();
    if place.readers.health.is_cut_short() {
        // What is left of a log that was cut would be copied over pages that are whole.
        let _ = place.connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
        return;
    }
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

    /// Commits what waits, as far as it fits into one commit. Where another process holds the lock nothing is done but to
    /// forget what nobody waits for any more: so nobody waits longer than agreed, whatever waits before.
    fn serve(&self, queue: &mut VecDeque<Job>, waiting: &mpsc::Receiver<Job>) {
        queue.extend(waiting.try_iter());
        queue.retain(Job::is_wanted);
        if queue.is_empty() {
            return;
        }
        match self.begin() {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => return answer_all(queue.drain(..), &error),
        }
        // From here on the changes are made, even if their callers go away.
        let (mut batch, mut steps) = (Vec::new(), 0);
        queue.extend(waiting.try_iter());
        while steps < MOST_STEPS {
            let Some(job) = queue.pop_front() else { break };
            if job.is_wanted() && job.turn.take() {
                steps += job.work.size();
                batch.push(job);
            }
        }
        self.commit(batch);
    }

    /// Begins a transaction; false when another process holds the lock.
    fn begin(&self) -> Result<bool, StoreError> {
        let begun = self.connection.execute_batch("BEGIN IMMEDIATE");
        let is_held = |error: &rusqlite::Error| error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy);
        self.blocked.looked(begun.as_ref().is_err_and(is_held));
        match begun {
            Ok(()) => {}
            Err(error) if is_held(&error) => return Ok(false),
            Err(error) => {
                tracing::error!(%error, "cannot begin a transaction");
                self.failing.store(true, Ordering::Release);
                return Err(self.readers.health.of_write(database(error)));
            }
        }
        self.readers.fresh.begun();
        Ok(true)
    }

    /// The same once more for changes that were begun before.
    fn begin_again(&self, until: Stopwatch) -> Result<(), StoreError> {
        while !self.begin()? {
            if Stopwatch::now() >= until {
                return Err(StoreError::Unavailable("another process took the file's lock and keeps it".into()));
            }
        }
        Ok(())
    }

    /// Commits what was done well, if any of it is to be kept; nothing of it stays when it was not, when the file is not at its
    /// place any more, or when the commit fails.
    fn end<T>(&self, batch: &[Job], result: Result<T, StoreError>) -> Result<T, StoreError> {
        let is_kept = batch.iter().any(|job| job.aim == Aim::Keep);
        let result = result.and_then(|done| {
            self.readers.health.is_in_place()?;
            if is_kept {
                self.connection.execute_batch("COMMIT").map_err(|error| {
                    tracing::error!(%error, "cannot commit");
                    of_commit(error)
                })?;
            }
            Ok(done)
        });
        self.readers.fresh.ended((is_kept && result.is_ok()).then(|| batch.iter().map(|job| &job.work)));
        match &result {
            Ok(_) if is_kept => self.failing.store(false, Ordering::Release),
            Ok(_) | Err(StoreError::Conflict(_)) => {}
            Err(_) => self.failing.store(true, Ordering::Release),
        }
        if !self.connection.is_autocommit()
            && let Err(error) = self.connection.execute_batch("ROLLBACK")
        {
            result?;
            return Err(database(error));
        }
        result.map_err(|error| self.readers.health.of_write(error))
    }

    /// Ends the transaction that was begun for a batch: all of it at once if every change goes through, which is nearly
    /// always. When one does not, the batch begins again with a savepoint around each change, so that the others do not
    /// notice. A savepoint makes SQLite keep a copy of every page it touches, which an import's profile showed.
    fn commit(&self, batch: Vec<Job>) {
        let connection = &self.connection;
        let performed: Result<Vec<Applied>, StoreError> =
            batch.iter().map(|job| perform(connection, &job.work)).collect();
        let refused = match self.end(&batch, performed) {
            Ok(applied) => {
                let answers = batch.into_iter().zip(applied);
                return answers.for_each(|(job, applied)| drop(job.done.send(Ok(applied))));
            }
            // Made again, it might be made twice.
            Err(error @ StoreError::Unclear(_)) => return answer_all(batch, &error),
            Err(error) => error,
        };
        let Some(until) = batch.iter().map(|job| job.until).min().filter(|_| batch.len() > 1) else {
            return answer_all(batch, &refused);
        };
        if let Err(error) = self.begin_again(until) {
            return answer_all(batch, &error);
        }
        let outcomes: Result<Vec<_>, StoreError> = batch.iter().map(|job| savepoint(connection, &job.work)).collect();
        match self.end(&batch, outcomes) {
            Ok(outcomes) => {
                batch.into_iter().zip(outcomes).for_each(|(job, outcome)| drop(job.done.send(outcome)));
            }
            Err(error) => answer_all(batch, &error),
        }
    }
}

/// Why a commit failed. Where the log could not be written in full, nothing of it counts; but when what failed came after
/// that (a sync, the log's index), the log holds the commit, and counts again after a crash.
fn of_commit(error: rusqlite::Error) -> StoreError {
    let code = error.sqlite_error().map(|error| (error.code, error.extended_code));
    match code {
        Some((ErrorCode::SystemIoFailure, extended)) if extended != ffi::SQLITE_IOERR_WRITE => {
            unclear(&error.to_string())
        }
        _ => database(error),
    }
}

/// Nobody knows whether a change was applied.
fn unclear(reason: &str) -> StoreError {
    StoreError::Unclear(reason.to_owned())
}

fn answer_all(batch: impl IntoIterator<Item = Job>, error: &StoreError) {
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
    use konverse_model::{Id, Kind};
    use konverse_store_sql::{Dialect, Value};

    fn place(folder: &tempfile::TempDir) -> Place {
        let path = folder.path().join("test.db");
        let (file, connection) = crate::open::database_file(&path, crate::Options::default()).expect("it opens");
        connection
            .execute_batch("CREATE TABLE IF NOT EXISTS thing (n INTEGER PRIMARY KEY, text TEXT)")
            .expect("a table");
        connection.busy_timeout(Duration::ZERO).expect("a setting");
        let fresh = Arc::new(Freshness::of(&file));
        let health = Health::of(&file, &file, Arc::clone(&fresh), 0).expect("its files are there");
        let readers = Readers::open(fresh, file, true, Arc::new(health)).expect("they open");
        Place { connection, readers: Arc::new(readers), blocked: Arc::default(), failing: Arc::default() }
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
        let work = Work::of_steps(Dialect::Sqlite, vec![step]);
        (Job { work, aim: Aim::Keep, done, turn: Turn::default(), until: Stopwatch::now() }, answer)
    }

    fn there(place: &Place) -> Vec<i64> {
        let mut statement = place.connection.prepare("SELECT n FROM thing ORDER BY n").expect("a statement");
        statement.query_map([], |row| row.get(0)).expect("rows").collect::<Result<_, _>>().expect("rows")
    }

    /// Commits a batch and gives what each was told, and what is there.
    fn committed(place: &Place, changes: &[(i64, usize)]) -> (Vec<Result<Applied, StoreError>>, Vec<i64>) {
        let (jobs, answers): (VecDeque<_>, Vec<_>) = changes.iter().map(|(n, bytes)| inserting(*n, *bytes)).unzip();
        serve(place, jobs);
        let answers = answers.into_iter().map(|mut answer| answer.try_recv().expect("everybody is answered"));
        (answers.collect(), there(place))
    }

    /// Serves what waits once; gives what is left waiting.
    fn serve(place: &Place, mut queue: VecDeque<Job>) -> VecDeque<Job> {
        let (_jobs, waiting) = mpsc::channel();
        place.serve(&mut queue, &waiting);
        queue
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
        let pages: i64 = place.connection.pragma_query_value(None, "page_count", |row| row.get(0)).expect("a pragma");
        place.connection.pragma_update(None, "max_page_count", pages + 5).expect("a pragma");
        // The second is refused, so each gets a savepoint; the third finds the disk full, and SQLite rolls back all.
        let (answers, there) = committed(&place, &[(1, 10), (1, 10), (2, 500_000), (3, 10)]);
        assert!(answers.iter().all(|answer| matches!(answer, Err(StoreError::Unavailable(_)))), "{answers:?}");
        assert_eq!(there, Vec::<i64>::new());
        let (answers, there) = committed(&place, &[(1, 10), (3, 10)]);
        assert!(answers.iter().all(Result::is_ok), "the next batch begins anew");
        assert_eq!(there, [1, 3]);
    }

    #[test]
    fn a_panic_fails_the_batch_it_is_in_and_no_other() {
        let folder = tempfile::tempdir().expect("a folder");
        let place = place(&folder);
        let (jobs, waiting) = mpsc::channel();
        // The same row twice: the second is refused unless the first was rolled back.
        let ((first, mut lost), (second, mut written)) = (inserting(1, 10), inserting(1, 10));
        jobs.send(first).expect("it is listened to");
        let next = Cell::new(Some((jobs, second)));
        run(&place, &waiting, |place, queue, waiting| {
            let Some((jobs, second)) = next.take() else { return place.serve(queue, waiting) };
            jobs.send(second).expect("it is listened to");
            let first = queue.pop_front().expect("it waits");
            assert!(place.begin().expect("it begins"));
            perform(&place.connection, &first.work).expect("it goes");
            panic!("what nobody thought of");
        });
        lost.try_recv().expect_err("nobody says that it was done");
        written.try_recv().expect("it is answered").expect("it is written");
        assert!(place.readers.fresh.moment().is_some(), "what is committed now can be told apart again");
    }

    #[test]
    fn beside_a_foreign_lock_what_is_wanted_waits_and_the_rest_is_forgotten() {
        let folder = tempfile::tempdir().expect("a folder");
        let (other, place) = (place(&folder), place(&folder));
        other.connection.execute_batch("BEGIN IMMEDIATE").expect("it is free");
        let ((wanted, mut answer), (given_up, _late), (abandoned, gone)) =
            (inserting(1, 10), inserting(2, 10), inserting(3, 10));
        assert!(given_up.turn.take(), "its caller has waited long enough");
        drop(gone);
        let queue = serve(&place, [given_up, abandoned, wanted].into());
        assert!(queue.len() == 1 && answer.try_recv().is_err(), "it waits");
        other.connection.execute_batch("ROLLBACK").expect("it ends");
        assert!(serve(&place, queue).is_empty());
        answer.try_recv().expect("it is answered").expect("it is done");
        assert_eq!(there(&place), [1]);
    }

    #[test]
    fn who_comes_late_to_a_held_lock_waits_for_what_is_left() {
        let longest = Duration::from_secs(1_000);
        let ago = |seconds| Stopwatch::now().checked_sub(Duration::from_secs(seconds)).expect("a moment");
        let held = |since, looked| Blocked(Mutex::new(Some(Held { since: ago(since), looked: ago(looked) })));
        assert_eq!(Blocked::default().left(longest), longest);
        assert!(held(900, 0).left(longest) <= Duration::from_secs(100));
        assert_eq!(held(2_000, 1_500).left(longest), SHORTEST_WAIT, "the thread looks once more");
        let blocked = held(2_000, 1_500);
        blocked.looked(true);
        assert!(blocked.left(longest) <= SHORTEST_WAIT, "it is held still, and nothing is to be waited for");
        blocked.looked(false);
        assert_eq!(blocked.left(longest), longest);
    }

    #[test]
    fn a_change_is_made_or_given_up_and_never_both() {
        let folder = tempfile::tempdir().expect("a folder");
        let place = place(&folder);
        let (job, mut answer) = inserting(1, 10);
        let turn = job.turn.clone();
        serve(&place, [job].into());
        assert!(!turn.take(), "the thread was first");
        answer.try_recv().expect("it is answered").expect("it is done");
    }
}
