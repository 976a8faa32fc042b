//! Work that runs by itself.
//!
//! A [`Job`] says what is due and does one item. [`Runner`] does the rest: one process at a time where that matters (a
//! lease), items side by side, and a failing item put aside with a growing delay, so that it never holds up another of
//! any org. What was put aside is in the database, for every process and for people to see.

mod blocks;
mod render;
mod snooze;
mod tasks;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream;
use futures_util::{FutureExt, StreamExt};
use konverse_domain::{Domain, DomainError};
use konverse_model::{Clock, Id, Instant, OrgId};
use konverse_store::{Store, StoreError, Trouble};
use tokio::sync::watch;
use tokio::time::{Instant as Stopwatch, MissedTickBehavior, interval_at};

pub use blocks::{BLOCK, Blocks, Uneven};
pub use render::Rerender;
pub use snooze::Snoozes;
pub use tasks::{LONGEST_WAIT, Rounds, SHORTEST_WAIT, Tasks};

/// How long a lease holds when its process is gone, in milliseconds. It is renewed with every round that has something
/// to do, and while that goes on.
pub const LEASE_MS: i64 = 15_000;

/// How often a lease is renewed while a round goes on.
const RENEWAL: Duration = Duration::from_secs(5);

/// What went wrong with an item or a round, for people and logs; it holds no body and no secret.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct JobError(pub String);

impl From<StoreError> for JobError {
    fn from(error: StoreError) -> Self {
        Self(error.to_string())
    }
}

impl From<DomainError> for JobError {
    fn from(error: DomainError) -> Self {
        match error {
            DomainError::Internal(report) => Self(format!("{} ({})", report.text, report.location)),
            other => Self(other.to_string()),
        }
    }
}

/// One thing to do.
#[derive(Clone, Debug)]
pub struct Item<T> {
    /// Its org.
    pub org: OrgId,
    /// What it is known by.
    pub id: Id,
    /// What there is to do.
    pub work: T,
}

/// Work that runs by itself.
#[async_trait]
pub trait Job: Send + Sync {
    /// What an item is.
    type Work: Send + 'static;

    /// Its name: of its lease and its troubles.
    const NAME: &'static str;

    /// How long to wait before looking again when nothing was found.
    const PAUSE: Duration;

    /// How long to let others go first when something was found.
    const BREATH: Duration = Duration::ZERO;

    /// Items done side by side. On SQLite those that wait together are committed together.
    const ABREAST: usize = 16;

    /// What is due, without what [`Self::NAME`] is in trouble with and shall not try before `now`.
    async fn due(&self, now: Instant, most: u32) -> Result<Vec<Item<Self::Work>>, JobError>;

    /// Does one item. It may be done twice: a process can end between the work and the note of it.
    async fn run(&self, work: Self::Work) -> Result<(), JobError>;
}

/// How long a failing item waits: seconds at first, twice as long each time, at most an hour.
pub fn delay_ms(attempts: i64) -> i64 {
    const LONGEST: i64 = 3_600_000;
    let doublings = u32::try_from(attempts.clamp(1, 12) - 1).unwrap_or(11);
    (5_000 << doublings).min(LONGEST)
}

/// Does an item's work; a panic is a failure of this item like any other.
pub async fn unpanicked(work: impl Future<Output = Result<(), JobError>> + Send) -> Result<(), JobError> {
    let done = AssertUnwindSafe(work).catch_unwind().await;
    done.unwrap_or_else(|_| Err(JobError("it panicked; standard error says where".into())))
}

/// What a round did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Round {
    /// Items done.
    pub done: usize,
    /// Items that failed and were put aside.
    pub failed: usize,
    /// Another process does this job at present.
    pub elsewhere: bool,
}

/// Runs jobs.
#[derive(Clone)]
pub struct Runner {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    /// This process, as leases know it.
    holder: Id,
}

impl Runner {
    /// A runner over `store`; `holder` is an id no other process has.
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>, holder: Id) -> Self {
        Self { store, clock, holder }
    }

    /// A runner on the same ground as the rules.
    pub fn of(domain: &Domain) -> Self {
        let (store, clock, holder) = domain.ground();
        Self { store, clock, holder }
    }

    /// The store.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// The present moment.
    pub fn now(&self) -> Instant {
        self.clock.now()
    }

    /// Takes or renews the lease on `name`; false while another process holds it.
    pub async fn holds(&self, name: &str) -> Result<bool, JobError> {
        let now = self.now();
        Ok(self.store.lease(name, self.holder, now, now.plus(LEASE_MS)).await?)
    }

    /// Gives the lease on `name` back, so that another process need not wait for its end.
    pub async fn let_go(&self, name: &str) -> Result<(), JobError> {
        Ok(self.store.release(name, self.holder).await?)
    }

    /// Looks once for what is due and does it, at most `most` items.
    pub async fn round<J: Job>(&self, job: &J, most: u32) -> Result<Round, JobError> {
        self.round_told(job, most, &Rounds::default()).await
    }

    /// The same, telling after each item: a round of many slow ones takes longer than a task may be silent.
    async fn round_told<J: Job>(&self, job: &J, most: u32, rounds: &Rounds) -> Result<Round, JobError> {
        let items = job.due(self.now(), most).await?;
        // Nothing is written while there is nothing to do.
        if items.is_empty() {
            return Ok(Round::default());
        }
        if !self.holds(J::NAME).await? {
            return Ok(Round { elsewhere: true, ..Round::default() });
        }
        let work = items.into_iter().map(|item| self.one(job, item));
        let mut outcomes = stream::iter(work).buffer_unordered(J::ABREAST);
        let mut renewals = interval_at(Stopwatch::now() + RENEWAL, RENEWAL);
        renewals.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut round = Round::default();
        let mut failure = None;
        loop {
            let outcome = tokio::select! {
                outcome = outcomes.next() => outcome,
                // A round may take longer than the lease holds. Who has lost it leaves the rest to whoever has it.
                _ = renewals.tick() => match self.holds(J::NAME).await {
                    Ok(true) => continue,
                    Ok(false) => break,
                    Err(error) => Some(Err(error)),
                },
            };
            match outcome {
                None => break,
                Some(Ok(true)) => round.done += 1,
                Some(Ok(false)) => round.failed += 1,
                // Not even the note of the failure could be kept: the database is away, for the others as well.
                Some(Err(error)) => {
                    failure = Some(error);
                    break;
                }
            }
            rounds.came_round(true);
        }
        metrics::counter!("konverse_job_items_total", "job" => J::NAME, "outcome" => "done")
            .increment(round.done as u64);
        metrics::counter!("konverse_job_items_total", "job" => J::NAME, "outcome" => "failed")
            .increment(round.failed as u64);
        failure.map_or(Ok(round), Err)
    }

    async fn one<J: Job>(&self, job: &J, item: Item<J::Work>) -> Result<bool, JobError> {
        let Item { org, id, work } = item;
        match unpanicked(job.run(work)).await {
            Ok(()) => {
                self.mended(J::NAME, org, id).await?;
                Ok(true)
            }
            Err(error) => {
                self.put_aside(J::NAME, org, id, &error).await?;
                Ok(false)
            }
        }
    }

    /// The item is done: nothing of an earlier failure stays.
    pub async fn mended(&self, job: &str, org: OrgId, item: Id) -> Result<(), JobError> {
        if self.store.trouble(job, org, item).await?.is_some() {
            self.store.clear_trouble(job, org, item).await?;
        }
        Ok(())
    }

    /// Puts a failing item aside: it is tried again later, each time after a longer wait.
    pub async fn put_aside(&self, job: &str, org: OrgId, item: Id, error: &JobError) -> Result<Trouble, JobError> {
        let attempts = self.store.trouble(job, org, item).await?.map_or(1, |trouble| trouble.attempts + 1);
        let retry_at = self.now().plus(delay_ms(attempts));
        let trouble = Trouble { job: job.to_owned(), org, item, attempts, retry_at, reason: error.0.clone() };
        tracing::error!(job, %org, %item, attempts, %retry_at, "an item failed and was put aside: {error}");
        self.store.put_trouble(trouble.clone()).await?;
        Ok(trouble)
    }

    /// Runs a job until it is told to stop: round after round while there is something to do.
    pub async fn run<J: Job>(&self, job: &J, rounds: &Rounds, mut stopped: watch::Receiver<bool>) {
        loop {
            let round = self.round_told(job, 500, rounds).await;
            rounds.came_round(round.is_ok());
            let pause = match round {
                // What failed was put aside, so there may be others behind it.
                Ok(Round { done, failed, .. }) if done + failed > 0 => J::BREATH,
                Ok(Round { elsewhere: true, .. }) => J::PAUSE.max(Duration::from_secs(1)),
                Ok(_) => J::PAUSE,
                Err(error) => {
                    tracing::error!(job = J::NAME, "a round failed: {error}");
                    J::PAUSE.max(Duration::from_secs(5))
                }
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = stopped.wait_for(|stopped| *stopped) => break,
            }
        }
        if let Err(error) = self.let_go(J::NAME).await {
            tracing::warn!(job = J::NAME, "the lease could not be given back: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{JobError, delay_ms, unpanicked};

    #[tokio::test]
    async fn a_panic_is_a_failure() {
        let work = async || -> Result<(), JobError> { panic!("an item nobody thought of") };
        unpanicked(work()).await.expect_err("it is told");
        unpanicked(async { Ok(()) }).await.expect("work that is done");
    }

    #[test]
    fn the_wait_grows_and_has_an_end() {
        let waits: Vec<i64> = (0..6).map(delay_ms).collect();
        assert_eq!(waits, [5_000, 5_000, 10_000, 20_000, 40_000, 80_000]);
        assert_eq!(delay_ms(i64::MAX), 3_600_000);
    }
}
