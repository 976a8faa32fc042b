//! Writing: changes that wait for one lane are committed together, on one connection.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use deadpool_postgres::{Object, Pool};
use futures_util::StreamExt;
use futures_util::future::{join, join_all};
use futures_util::stream::FuturesOrdered;
use konverse_model::Id;
use konverse_store::{Applied, Conflict, StoreError};
use konverse_store_sql::{LaneState, Query, Step, Value, Work, together};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::Instant;
use tokio_postgres::error::SqlState;

use crate::bind::Param;
use crate::failure::{database, of_commit, of_pool, unclear, within};
use crate::share::Share;
use crate::{prepare, prepared, rows, statement};

/// How long a commit's answer is waited for. After that nobody knows what became of it.
const COMMIT: Duration = Duration::from_secs(30);

/// How long a change of a request waits until it is begun, and no longer than a statement may take. It is less than a
/// request may take by default, so that whoever waits in vain learns that nothing was done.
const BEGUN: Duration = Duration::from_secs(20);

/// Statements of one commit at most, unless a single change has more: bounds how long the first of a batch waits for the
/// last.
const MOST_STEPS: usize = 500;

/// About how many statements make a change a large one: an import's. A request's has fewer.
const LARGE: usize = 500;

/// Upkeep that locks lanes rests so many times as long as it took: it has a fifth of the time.
const UPKEEP_REST: u32 = 4;

/// How long it rests at most.
const LONGEST_REST: Duration = Duration::from_secs(10);

/// How often upkeep looks whether its lanes are free, and how long a look and the rest after it take. It does not queue for
/// them: while it waited for one it would hold up the writers of those it has already.
const LOOKS: u32 = 10;
const AFTER_LOOK: Duration = Duration::from_secs(1);

/// A lane of an org.
type Lane = (Id, u8);

struct Job {
    number: u64,
    work: Work,
    done: oneshot::Sender<Result<Applied, StoreError>>,
}

/// Changes on their way into the database.
pub(crate) struct Writer {
    pool: Pool,
    /// Transactions that may have a connection. They wait for their lanes with it.
    share: Share,
    /// How long a statement's answer is waited for.
    patience: Option<Duration>,
    /// How long a change waits for its turn.
    begun: Duration,
    /// What waits for each lane that is being served.
    waiting: Mutex<HashMap<Lane, VecDeque<Job>>>,
    /// Changes that have come.
    count: AtomicU64,
}

/// Why a transaction was not committed.
enum Failure {
    /// Something in it was refused, and all of it undone.
    Refused(StoreError),
    /// There was no connection, or it failed, or the commit did.
    Lost(StoreError),
}

impl Failure {
    fn into_error(self) -> StoreError {
        let (Self::Refused(error) | Self::Lost(error)) = self;
        error
    }
}

impl Writer {
    pub(crate) fn new(pool: Pool, connections: usize, patience: Option<Duration>) -> Arc<Self> {
        let begun = patience.map_or(BEGUN, |patience| patience.min(BEGUN));
        let share = Share::of_writes(connections, begun);
        Arc::new(Self { pool, share, patience, begun, waiting: Mutex::default(), count: AtomicU64::new(0) })
    }

    pub(crate) async fn write(self: &Arc<Self>, work: Work) -> Result<Applied, StoreError> {
        if work.is_upkeep() {
            return self.alone_and_rarely(&work).await;
        }
        let Some(lane) = work.lane().filter(|_| work.is_plain()) else {
            return self.alone(&work).await;
        };
        let (done, mut answer) = oneshot::channel();
        let number = self.count.fetch_add(1, Relaxed);
        let waits = work.size() <= LARGE;
        if self.add(lane, Job { number, work, done }) {
            let serving = Serving { writer: Arc::clone(self), lane, is_over: false };
            tokio::spawn(serving.run());
        }
        let answered = match waits {
            true => tokio::time::timeout(self.begun, &mut answer).await.ok(),
            false => None,
        };
        let answered = match answered {
            Some(answered) => answered,
            None if waits && self.give_up(lane, number) => {
                return Err(StoreError::Unavailable("others have written before this change for too long".into()));
            }
            None => answer.await,
        };
        answered.map_err(|_| unclear("the change was not answered"))?
    }

    /// Adds a change to what waits for its lane; true when nobody serves the lane yet.
    fn add(&self, lane: Lane, job: Job) -> bool {
        let mut waiting = self.waiting.lock();
        let is_served = waiting.contains_key(&lane);
        waiting.entry(lane).or_default().push_back(job);
        !is_served
    }

    /// Takes a change back; false when it was begun.
    fn give_up(&self, lane: Lane, number: u64) -> bool {
        let mut waiting = self.waiting.lock();
        let Some(jobs) = waiting.get_mut(&lane) else { return false };
        let before = jobs.len();
        jobs.retain(|job| job.number != number);
        jobs.len() < before
    }

    /// Whether nothing waits for a lane; then it is not served any more.
    fn is_done(&self, lane: Lane) -> bool {
        let mut waiting = self.waiting.lock();
        let is_done = waiting.get(&lane).is_none_or(VecDeque::is_empty);
        if is_done {
            waiting.remove(&lane);
        }
        is_done
    }

    /// The next changes of a lane that somebody waits for. One whose caller went away before its turn is not made.
    fn take(&self, lane: Lane) -> Vec<Job> {
        let mut waiting = self.waiting.lock();
        let (mut batch, mut steps) = (Vec::new(), 0);
        if let Some(jobs) = waiting.get_mut(&lane) {
            while let Some(job) = jobs.pop_front() {
                if job.done.is_closed() {
                    continue;
                }
                steps += job.work.size();
                if steps > MOST_STEPS && !batch.is_empty() {
                    jobs.push_front(job);
                    break;
                }
                batch.push(job);
            }
        }
        batch
    }

    async fn connection(&self) -> Result<Writing, StoreError> {
        let permit = self.share.enter().await?;
        Ok(Writing { client: Some(self.pool.get().await.map_err(of_pool)?), _permit: permit })
    }

    /// Runs changes as one transaction.
    async fn transaction(&self, connection: Writing, works: &[&Work]) -> Result<Vec<Applied>, Failure> {
        let manner = Manner::of(works, self.patience);
        let client = connection.client().map_err(Failure::Lost)?;
        match within(manner.patience, perform(client, works, manner.begin)).await {
            Ok(applied) => {
                let longest = manner.patience.map_or(COMMIT, |patience| patience.min(COMMIT));
                match tokio::time::timeout(longest, client.batch_execute("COMMIT")).await {
                    Ok(Ok(())) => {
                        connection.done();
                        Ok(applied)
                    }
                    // The connection goes with it.
                    Ok(Err(error)) => Err(Failure::Lost(of_commit(error))),
                    Err(_) => Err(Failure::Lost(unclear("PostgreSQL did not answer"))),
                }
            }
            // A server that is silent, or has no room, says no more to each change by itself. What is not ended is closed,
            // and so rolled back by the server.
            Err(error @ StoreError::Unavailable(_)) => Err(Failure::Lost(error)),
            Err(error) => {
                let undone = async { client.batch_execute("ROLLBACK").await.map_err(database) };
                if within(manner.patience, undone).await.is_ok() {
                    connection.done();
                }
                Err(Failure::Refused(error))
            }
        }
    }

    /// One change as one transaction.
    async fn alone(&self, work: &Work) -> Result<Applied, StoreError> {
        let written = self.transaction(self.connection().await?, &[work]).await;
        written.map(|mut applied| applied.pop().unwrap_or_default()).map_err(Failure::into_error)
    }

    /// One change as one transaction, and then time for those who waited meanwhile.
    async fn alone_and_rarely(&self, work: &Work) -> Result<Applied, StoreError> {
        let mut look = 1;
        loop {
            let connection = self.connection().await?;
            let begun = Instant::now();
            let written = self.transaction(connection, &[work]).await;
            let elapsed = begun.elapsed();
            match written.map_err(Failure::into_error) {
                Err(StoreError::Unavailable(_)) if look < LOOKS && elapsed < AFTER_LOOK => {
                    look += 1;
                    tokio::time::sleep(AFTER_LOOK).await;
                }
                written => {
                    tokio::time::sleep((elapsed * UPKEEP_REST).min(LONGEST_REST)).await;
                    return written.map(|mut applied| applied.pop().unwrap_or_default());
                }
            }
        }
    }

    /// Commits a batch: all of it at once if every change goes through, which is nearly always. When one does not, each is
    /// committed by itself, so that the others do not notice.
    async fn commit(&self, connection: Writing, batch: Vec<Job>) {
        let works: Vec<&Work> = batch.iter().map(|job| &job.work).collect();
        match self.transaction(connection, &works).await {
            Ok(applied) => {
                let answers = batch.into_iter().zip(applied);
                answers.for_each(|(job, applied)| drop(job.done.send(Ok(applied))));
            }
            Err(Failure::Refused(_)) if batch.len() > 1 => {
                let mut batch = VecDeque::from(batch);
                while let Some(job) = batch.pop_front() {
                    let written = match self.connection().await {
                        Ok(connection) => self.transaction(connection, &[&job.work]).await,
                        Err(error) => Err(Failure::Lost(error)),
                    };
                    // A server that is away is away for the others: they were not begun.
                    let is_away = matches!(written, Err(Failure::Lost(_)));
                    let written = written.map(|mut applied| applied.pop().unwrap_or_default());
                    drop(job.done.send(written.map_err(Failure::into_error)));
                    if is_away {
                        let away = StoreError::Unavailable("PostgreSQL failed a change before this one".into());
                        return answer_all(batch.into(), &away);
                    }
                }
            }
            Err(failure) => answer_all(batch, &failure.into_error()),
        }
    }
}

fn answer_all(batch: Vec<Job>, error: &StoreError) {
    batch.into_iter().for_each(|job| drop(job.done.send(Err(error.clone()))));
}

/// Whoever commits what waits for a lane, until nothing does.
struct Serving {
    writer: Arc<Writer>,
    lane: Lane,
    is_over: bool,
}

impl Serving {
    async fn run(mut self) {
        while !self.writer.is_done(self.lane) {
            // What comes while there is no connection waits as well, and goes along.
            let connection = self.writer.connection().await;
            let batch = self.writer.take(self.lane);
            match connection {
                Ok(connection) if batch.is_empty() => connection.done(),
                Ok(connection) => self.writer.commit(connection, batch).await,
                Err(error) => answer_all(batch, &error),
            }
        }
        self.is_over = true;
    }
}

impl Drop for Serving {
    /// When it ends before its time, with the runtime for instance, whoever waits is told, and the next change is served.
    fn drop(&mut self) {
        if !self.is_over {
            drop(self.writer.waiting.lock().remove(&self.lane));
        }
    }
}

/// A connection for a transaction. It goes back to the pool with [`Writing::done`]; dropped before that, by a caller who
/// went away for instance, it is closed, and the server rolls back.
struct Writing {
    client: Option<Object>,
    _permit: OwnedSemaphorePermit,
}

impl Writing {
    fn client(&self) -> Result<&Object, StoreError> {
        self.client.as_ref().ok_or_else(|| StoreError::Database("the transaction is over".into()))
    }

    fn done(mut self) {
        self.client = None;
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        if let Some(client) = self.client.take() {
            drop(Object::take(client));
        }
    }
}

/// How patient a transaction is.
struct Manner {
    begin: &'static str,
    /// How long its end is waited for, and then that of its commit; nothing is for ever.
    patience: Option<Duration>,
}

impl Manner {
    fn of(works: &[&Work], patience: Option<Duration>) -> Self {
        // Whatever the server does by itself: after waiting for its lane a change sees what was committed meanwhile.
        const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED";
        // At the other end nobody waits for one answer: it is an import's, which waits for its lane as long as another
        // large one takes.
        const PATIENTLY: &str = "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL lock_timeout = '60s'; SET LOCAL statement_timeout = '10min'";
        // It may have a long list to count, but takes its lanes only when they are free.
        const IN_PASSING: &str = "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL lock_timeout = '250ms'; SET LOCAL statement_timeout = '10min'";
        const LONG: Duration = Duration::from_secs(605);
        match works {
            [work] if work.is_upkeep() => Self { begin: IN_PASSING, patience: Some(LONG) },
            [work] if work.size() > LARGE => Self { begin: PATIENTLY, patience: Some(LONG) },
            _ => Self { begin: BEGIN, patience },
        }
    }
}

/// Begins a transaction, locks the lanes and runs the steps. What does not need an answer before the next is sent with it.
async fn perform(client: &Object, works: &[&Work], begin: &str) -> Result<Vec<Applied>, StoreError> {
    let Some(first) = works.first() else { return Ok(Vec::new()) };
    let lanes = begun(client, first, begin).await?;
    let (steps, applied) = match (works, &*lanes) {
        ([_, _, ..], [lane]) => together(works, *lane)?,
        _ => {
            let (steps, applied) = first.plan(&lanes)?.alone(first);
            (steps, vec![applied])
        }
    };
    let statements = &prepared(client, steps.iter().map(|step| &*step.sql)).await?;
    let run = |step| {
        let step: &Step = step;
        async move {
            let statement = statement(statements, &step.sql)?;
            match client.execute_raw(statement, step.params.iter().map(Param)).await {
                Ok(0) if step.must_change => Err(StoreError::Conflict(step.conflict.clone().unwrap_or(Conflict::Busy))),
                Ok(_) => Ok(()),
                Err(error) => Err(failure(step, error)),
            }
        }
    };
    // All are sent at once and answered in order. After the first failure the engine refuses the rest, so the first
    // error is the one that says why.
    let mut answers: FuturesOrdered<_> = steps.iter().map(run).collect();
    let mut refusal = None;
    while let Some(answer) = answers.next().await {
        refusal = refusal.or(answer.err());
    }
    match refusal {
        Some(error) => Err(error),
        None => Ok(applied),
    }
}

/// Begins a transaction and locks its lanes.
async fn begun(client: &Object, work: &Work, begin: &str) -> Result<Vec<LaneState>, StoreError> {
    let begin = async { client.batch_execute(begin).await.map_err(database) };
    let Some(lane) = work.lanes().first() else {
        begin.await?;
        return Ok(Vec::new());
    };
    // Sent at once, they are locked in their order all the same.
    let locks: Vec<Query> = work.lanes().iter().map(|lane| work.lock(*lane)).collect();
    let statement = prepare(client, &work.lock(*lane).sql).await?;
    let locking = join_all(locks.iter().map(|lock| rows(client, Some(&statement), lock)));
    let (begun, found) = join(begin, locking).await;
    begun?;
    let mut lanes = Vec::with_capacity(locks.len());
    for (lane, found) in work.lanes().iter().zip(found) {
        lanes.push(lane_state(client, work, *lane, found?).await?);
    }
    Ok(lanes)
}

/// The state of a lane that was locked, which is made first when nothing was found of it.
async fn lane_state(
    client: &Object,
    work: &Work,
    lane: u8,
    mut found: Vec<Vec<Value>>,
) -> Result<LaneState, StoreError> {
    if found.is_empty() {
        let (make, lock) = (work.make(lane), work.lock(lane));
        let making = prepare(client, &make.sql).await?;
        client.execute_raw(&making, make.params.iter().map(Param)).await.map_err(database)?;
        let statement = prepare(client, &lock.sql).await?;
        found = rows(client, Some(&statement), &lock).await?;
    }
    work.lane_state(found.pop().unwrap_or_default())
}

fn failure(step: &Step, error: tokio_postgres::Error) -> StoreError {
    match (error.code(), &step.conflict) {
        (Some(&SqlState::UNIQUE_VIOLATION), Some(conflict)) => StoreError::Conflict(conflict.clone()),
        _ => database(error),
    }
}
