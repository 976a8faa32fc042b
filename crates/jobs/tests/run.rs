//! A job that runs until it is told to stop.

use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use konverse_jobs::{Item, Job, JobError, Runner};
use konverse_model::{Id, Instant, OrgId};
use konverse_testkit::on_both_engines;
use tokio::sync::{Notify, watch};

/// A round of one item each: whether it can be done.
struct Rounds {
    org: OrgId,
    left: Mutex<Vec<bool>>,
    done: Notify,
}

#[async_trait]
impl Job for Rounds {
    type Work = bool;

    const NAME: &'static str = "rounds";
    const PAUSE: Duration = Duration::from_secs(3_600);

    async fn due(&self, _now: Instant, _most: u32) -> Result<Vec<Item<bool>>, JobError> {
        let mut left = self.left.lock().unwrap();
        let item = |work| Item { org: self.org, id: Id::from_bytes([left.len() as u8; 12]), work };
        let found = left.last().copied().map(item);
        left.pop();
        Ok(found.into_iter().collect())
    }

    async fn run(&self, can_be_done: bool) -> Result<(), JobError> {
        if !can_be_done {
            return Err(JobError("it cannot be done".into()));
        }
        self.done.notify_one();
        Ok(())
    }
}

on_both_engines!(a_round_of_failures_holds_up_no_other_round, |app| async move {
    let job = Rounds { org: app.org.id, left: Mutex::new(vec![true, false, false]), done: Notify::new() };
    let (stop, stopped) = watch::channel(false);
    let runner = app.runner();
    let until_done = async {
        // The pause is an hour: it is for when there is nothing to do.
        let done = tokio::time::timeout(Duration::from_secs(60), job.done.notified()).await;
        stop.send(true).expect("it listens");
        done.expect("the next round comes at once");
    };
    let rounds = konverse_jobs::Rounds::default();
    tokio::join!(runner.run(&job, &rounds, stopped), until_done);
    assert_eq!(app.store.store().troubles("rounds", 10).await.expect("a read").len(), 2);
    let other = Runner::of(&*app.other_domain(17).await);
    assert!(other.holds("rounds").await.expect("a write"), "whoever stops gives the lease back");
});
