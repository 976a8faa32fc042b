//! Writing: changes that wait for one lane are committed together, on one connection.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use deadpool_postgres::{Object, Pool};
use futures_util::future::{join, join_all};
use konverse_model::Id;
use konverse_store::{Applied, Conflict, StoreError};
use konverse_store_sql::{Cost, LaneState, Step, Value, Work, together};
use parking_lot::Mutex;
use tokio::sync::{Semaphore, SemaphorePermit, oneshot};
use tokio_postgres::error::SqlState;

use crate::bind::Param;
use crate::{database, pool_error, prepared, rows, statement};

/// Statements of one commit at most, unless a single change has more: bounds how long the first of a batch waits for the
/// last.
const MOST_STEPS: usize = 500;

/// A lane of an org.
type Lane = (Id, u8);

struct Job {
    work: Work,
    done: oneshot::Sender<Result<Applied, StoreError>>,
}

/// Changes on their way into the database.
pub(crate) struct Writer {
    pool: Pool,
    /// Transactions that may have a connection. They wait for their lanes with it, and a quarter of the pool is for reads.
    connections: Semaphore,
    /// What waits for each lane that is being served.
    waiting: Mutex<HashMap<Lane, VecDeque<Job>>>,
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
    pub(crate) fn new(pool: Pool, connections: usize) -> Arc<Self> {
        let connections = Semaphore::new((connections * 3 / 4).max(1));
        Arc::new(Self { pool, connections, waiting: Mutex::default() })
    }

    pub(crate) async fn write(self: &Arc<Self>, work: Work) -> Result<Applied, StoreError> {
        let Some(lane) = work.lane().filter(|_| work.is_plain()) else {
            return self.alone(&work).await;
        };
        let (done, answer) = oneshot::channel();
        if self.add(lane, Job { work, done }) {
            let serving = Serving { writer: Arc::clone(self), lane, is_over: false };
            tokio::spawn(serving.run());
        }
        answer.await.map_err(|_| StoreError::Database("the change was not written".into()))?
    }

    /// Adds a change to what waits for its lane; true when nobody serves the lane yet.
    fn add(&self, lane: Lane, job: Job) -> bool {
        let mut waiting = self.waiting.lock();
        let is_served = waiting.contains_key(&lane);
        waiting.entry(lane).or_default().push_back(job);
        !is_served
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

    async fn connection(&self) -> Result<Writing<'_>, StoreError> {
        let closed = |_| StoreError::Database("the store is closed".into());
        let permit = self.connections.acquire().await.map_err(closed)?;
        Ok(Writing { client: Some(self.pool.get().await.map_err(pool_error)?), _permit: permit })
    }

    /// One change as one transaction.
    async fn alone(&self, work: &Work) -> Result<Applied, StoreError> {
        let written = transaction(self.connection().await?, &[work]).await;
        written.map(|mut applied| applied.pop().unwrap_or_default()).map_err(Failure::into_error)
    }

    /// Commits a batch: all of it at once if every change goes through, which is nearly always. When one does not, each is
    /// committed by itself, so that the others do not notice.
    async fn commit(&self, connection: Writing<'_>, batch: Vec<Job>) {
        let works: Vec<&Work> = batch.iter().map(|job| &job.work).collect();
        match transaction(connection, &works).await {
            Ok(applied) => {
                let answers = batch.into_iter().zip(applied);
                answers.for_each(|(job, applied)| drop(job.done.send(Ok(applied))));
            }
            Err(Failure::Refused(_)) if batch.len() > 1 => {
                for job in batch {
                    let written = self.alone(&job.work).await;
                    drop(job.done.send(written));
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
struct Writing<'a> {
    client: Option<Object>,
    _permit: SemaphorePermit<'a>,
}

impl Writing<'_> {
    fn client(&self) -> Result<&Object, StoreError> {
        self.client.as_ref().ok_or_else(|| StoreError::Database("the transaction is over".into()))
    }

    fn done(mut self) {
        self.client = None;
    }
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        if let Some(client) = self.client.take() {
            drop(Object::take(client));
        }
    }
}

/// Runs changes as one transaction.
async fn transaction(connection: Writing<'_>, works: &[&Work]) -> Result<Vec<Applied>, Failure> {
    let client = connection.client().map_err(Failure::Lost)?;
    let performed = perform(client, works).await;
    let ended = client.batch_execute(if performed.is_ok() { "COMMIT" } else { "ROLLBACK" }).await.map_err(database);
    // What could not be ended is closed, and so rolled back by the server.
    if matches!(ended, Ok(()) | Err(StoreError::Conflict(_))) {
        connection.done();
    }
    match (performed, ended) {
        (performed, Ok(())) => performed.map_err(Failure::Refused),
        (_, Err(error)) => Err(Failure::Lost(error)),
    }
}

/// Begins a transaction, locks the lanes and runs the steps. What does not need an answer before the next is sent with it.
async fn perform(client: &Object, works: &[&Work]) -> Result<Vec<Applied>, StoreError> {
    let Some(first) = works.first() else { return Ok(Vec::new()) };
    // Whatever the server does by itself: after waiting for its lane a change sees what was committed meanwhile.
    let begin = async { client.batch_execute("BEGIN ISOLATION LEVEL READ COMMITTED").await.map_err(database) };
    let mut lanes = Vec::with_capacity(first.lanes().len());
    match first.lanes() {
        [] => begin.await?,
        [lane, others @ ..] => {
            let lock = first.lock(*lane);
            let statement = client.prepare_cached(&lock.sql).await.map_err(database)?;
            let (begun, found) = join(begin, rows(client, &statement, &lock)).await;
            begun?;
            lanes.push(lane_state(client, first, *lane, found?).await?);
            for lane in others {
                let found = rows(client, &statement, &first.lock(*lane)).await?;
                lanes.push(lane_state(client, first, *lane, found).await?);
            }
        }
    }
    let (steps, applied) = match (works, &*lanes) {
        ([_, _, ..], [lane]) => together(works, *lane)?,
        _ => {
            let (steps, applied) = first.plan(&lanes)?.alone(first);
            (steps, vec![applied])
        }
    };
    let statements = prepared(client, Cost::Bounded, steps.iter().map(|step| &*step.sql)).await?;
    let run = |step| {
        let step: &Step = step;
        let statements = &statements;
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
    match join_all(steps.iter().map(run)).await.into_iter().find_map(Result::err) {
        Some(error) => Err(error),
        None => Ok(applied),
    }
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
        let making = client.prepare_cached(&make.sql).await.map_err(database)?;
        client.execute_raw(&making, make.params.iter().map(Param)).await.map_err(database)?;
        let statement = client.prepare_cached(&lock.sql).await.map_err(database)?;
        found = rows(client, &statement, &lock).await?;
    }
    work.lane_state(found.pop().unwrap_or_default())
}

fn failure(step: &Step, error: tokio_postgres::Error) -> StoreError {
    match (error.code(), &step.conflict) {
        (Some(&SqlState::UNIQUE_VIOLATION), Some(conflict)) => StoreError::Conflict(conflict.clone()),
        _ => database(error),
    }
}
