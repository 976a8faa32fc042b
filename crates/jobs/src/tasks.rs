//! Loops that run by themselves: named, watched, and begun again when they panic or end before their time.
//!
//! A task says when it has come round: when it has looked for what there is to do, and whether that went well. One that
//! panics in every round never comes round, nor does one that hangs, so how long ago that was is all that has to be asked.
//! A round that fails because the database is away is one all the same: to tell of the database is not the tasks' part.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// How long a task waits before it begins again, the first time. Each time after is twice as long.
pub const SHORTEST_WAIT: Duration = Duration::from_secs(1);

/// How long a task waits at most before it begins again. Once it has run for as long as this, the wait begins small again.
pub const LONGEST_WAIT: Duration = Duration::from_secs(64);

/// The tasks of a process.
#[derive(Clone)]
pub struct Tasks {
    stopped: watch::Receiver<bool>,
    watched: Arc<Mutex<Vec<Watched>>>,
}

struct Watched {
    state: Arc<State>,
    handle: Option<JoinHandle<()>>,
}

struct State {
    name: &'static str,
    patience: Option<Duration>,
    is_up: AtomicBool,
    restarts: AtomicU64,
    last: Mutex<Last>,
}

/// When a task last came round; when it began, as long as it has not.
struct Last {
    round: Instant,
    good_round: Instant,
}

/// A task's own side: it says here that it has come round.
#[derive(Clone, Default)]
pub struct Rounds(Option<Arc<State>>);

impl Rounds {
    /// The task has come round; `well` says whether it could do what there was to do.
    pub fn came_round(&self, well: bool) {
        let Some(state) = &self.0 else { return };
        let now = Instant::now();
        let mut last = state.last.lock();
        last.round = now;
        if well {
            last.good_round = now;
        }
    }
}

impl Tasks {
    /// None yet. They end when `stopped` turns true or its sender is gone.
    pub fn new(stopped: watch::Receiver<bool>) -> Self {
        Self { stopped, watched: Arc::default() }
    }

    /// Runs what `make` makes until told to stop; makes it anew when it panics or ends before that.
    ///
    /// With a `patience`, [`Tasks::ailing`] names the task when it has not come round for so long. That is for tasks
    /// without which answers go wrong.
    pub fn spawn<F, Fut>(&self, name: &'static str, patience: Option<Duration>, make: F)
    where
        F: Fn(Rounds) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let now = Instant::now();
        let state = Arc::new(State {
            name,
            patience,
            is_up: AtomicBool::new(true),
            restarts: AtomicU64::new(0),
            last: Mutex::new(Last { round: now, good_round: now }),
        });
        let handle = tokio::spawn(keep_up(Arc::clone(&state), make, self.stopped.clone()));
        self.watched.lock().push(Watched { state, handle: Some(handle) });
    }

    /// The tasks that matter and have not come round for longer than their patience.
    pub fn ailing(&self) -> Vec<&'static str> {
        let ails = |state: &State| state.patience.is_some_and(|patience| state.last.lock().round.elapsed() > patience);
        let watched = self.watched.lock();
        watched.iter().filter(|task| ails(&task.state)).map(|task| task.state.name).collect()
    }

    /// Writes how the tasks are into the metrics.
    pub fn measure(&self) {
        for Watched { state, .. } in &*self.watched.lock() {
            let is_up = f64::from(u8::from(state.is_up.load(Ordering::Relaxed)));
            let age = state.last.lock().good_round.elapsed().as_secs_f64();
            metrics::gauge!("konverse_task_up", "task" => state.name).set(is_up);
            metrics::counter!("konverse_task_restarts_total", "task" => state.name)
                .absolute(state.restarts.load(Ordering::Relaxed));
            metrics::gauge!("konverse_task_good_round_age_seconds", "task" => state.name).set(age);
        }
    }

    /// Waits until all have ended, once they were told to stop, but no longer than this in all.
    pub async fn ended(&self, within: Duration) {
        let until = Instant::now() + within;
        let handles: Vec<_> =
            self.watched.lock().iter_mut().map(|task| (task.state.name, task.handle.take())).collect();
        for (task, handle) in handles {
            let Some(handle) = handle else { continue };
            if tokio::time::timeout_at(until, handle).await.is_err() {
                tracing::warn!(task, "the task did not end in time; what it was doing is not done, and done later");
            }
        }
    }
}

async fn keep_up<F, Fut>(state: Arc<State>, make: F, mut stopped: watch::Receiver<bool>)
where
    F: Fn(Rounds) -> Fut,
    Fut: Future<Output = ()>,
{
    let mut wait = SHORTEST_WAIT;
    loop {
        let begun = Instant::now();
        state.is_up.store(true, Ordering::Relaxed);
        // Also what `make` itself does is within.
        let run = async { make(Rounds(Some(Arc::clone(&state)))).await };
        let ended = AssertUnwindSafe(run).catch_unwind().await;
        state.is_up.store(false, Ordering::Relaxed);
        let (task, is_told) = (state.name, *stopped.borrow() || stopped.has_changed().is_err());
        if begun.elapsed() >= LONGEST_WAIT {
            wait = SHORTEST_WAIT;
        }
        match ended {
            Ok(()) if is_told => return,
            Ok(()) => tracing::error!(task, "the task ended before its time; it begins again in {} s", wait.as_secs()),
            Err(_) if is_told => return tracing::error!(task, "the task panicked while it was to end"),
            Err(_) => tracing::error!(
                task,
                "the task panicked, standard error says where; it begins again in {} s",
                wait.as_secs()
            ),
        }
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            _ = stopped.wait_for(|stopped| *stopped) => return,
        }
        wait = (wait * 2).min(LONGEST_WAIT);
        state.restarts.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::sync::atomic::AtomicUsize;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    /// Lets time pass until `done`, but not for ever.
    async fn until(mut done: impl FnMut() -> bool) {
        for _ in 0..10_000 {
            if done() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("it never comes");
    }

    async fn told_to_stop(mut stopped: watch::Receiver<bool>) {
        let _ = stopped.wait_for(|stopped| *stopped).await;
    }

    /// A loop that comes round every second.
    async fn steady(rounds: Rounds, stopped: watch::Receiver<bool>) {
        let beat = async {
            loop {
                rounds.came_round(true);
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        };
        tokio::select! {
            () = beat => {}
            () = told_to_stop(stopped) => {}
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_panics_begins_again_and_the_others_never_notice() {
        let (stop, stopped) = watch::channel(false);
        let tasks = Tasks::new(stopped.clone());
        let (begun, others) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (counted, until_told) = (Arc::clone(&begun), stopped.clone());
        tasks.spawn("frail", Some(MINUTE), move |rounds| {
            let (n, until_told) = (counted.fetch_add(1, Ordering::SeqCst), until_told.clone());
            // Once before there is a future at all, once within it, and once it just ends.
            assert_ne!(n, 0, "it panics");
            async move {
                assert_ne!(n, 1, "it panics");
                if n > 2 {
                    steady(rounds, until_told).await;
                }
            }
        });
        let counted = Arc::clone(&others);
        tasks.spawn("steady", Some(MINUTE), move |rounds| {
            counted.fetch_add(1, Ordering::SeqCst);
            steady(rounds, stopped.clone())
        });
        until(|| begun.load(Ordering::SeqCst) == 4).await;
        tokio::time::sleep(2 * MINUTE).await;
        assert_eq!((begun.load(Ordering::SeqCst), others.load(Ordering::SeqCst)), (4, 1));
        assert_eq!(tasks.ailing(), [""; 0]);
        stop.send(true).expect("they listen");
        tasks.ended(MINUTE).await;
        assert!(tasks.watched.lock().iter().all(|task| !task.state.is_up.load(Ordering::SeqCst)));
        assert_eq!(begun.load(Ordering::SeqCst), 4, "nothing begins again after the end");
    }

    #[tokio::test(start_paused = true)]
    async fn the_wait_grows_and_begins_small_again_after_a_long_run() {
        let (_stop, stopped) = watch::channel(false);
        let tasks = Tasks::new(stopped);
        let begun = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&begun);
        tasks.spawn("frail", None, move |_| {
            let n = {
                let mut begun = told.lock();
                begun.push(Instant::now());
                begun.len()
            };
            async move {
                // The ninth lives long.
                if n == 9 {
                    tokio::time::sleep(LONGEST_WAIT).await;
                }
                panic!("it panics");
            }
        });
        until(|| begun.lock().len() == 12).await;
        let waits: Vec<u64> = begun.lock().windows(2).map(|pair| (pair[1] - pair[0]).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 64, 64 + 1, 2, 4]);
    }

    #[tokio::test(start_paused = true)]
    async fn only_what_matters_and_does_not_come_round_ails() {
        let (_stop, stopped) = watch::channel(false);
        let tasks = Tasks::new(stopped.clone());
        tasks.spawn("panics", Some(MINUTE), |_| async { panic!("it panics") });
        tasks.spawn("hangs", Some(MINUTE), |_| pending());
        tasks.spawn("hangs and does not matter", None, |_| pending());
        // The database is away: that is told of elsewhere.
        tasks.spawn("fails", Some(MINUTE), |rounds| async move {
            loop {
                rounds.came_round(false);
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        });
        tasks.spawn("steady", Some(MINUTE), move |rounds| steady(rounds, stopped.clone()));
        tokio::time::sleep(MINUTE).await;
        assert_eq!(tasks.ailing(), [""; 0], "not yet");
        tokio::time::sleep(MINUTE).await;
        assert_eq!(tasks.ailing(), ["panics", "hangs"]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_waits_for_nobody_for_ever() {
        let (stop, stopped) = watch::channel(false);
        let tasks = Tasks::new(stopped);
        tasks.spawn("deaf", None, |_| pending());
        tasks.spawn("waits to begin again", None, |_| async { panic!("it panics") });
        until(|| !tasks.watched.lock()[1].state.is_up.load(Ordering::SeqCst)).await;
        stop.send(true).expect("they listen");
        let begun = Instant::now();
        tasks.ended(MINUTE).await;
        assert_eq!(begun.elapsed(), MINUTE, "time stands still but for waiting");
        assert!(tasks.watched.lock().iter().all(|task| task.handle.is_none()));
    }
}
