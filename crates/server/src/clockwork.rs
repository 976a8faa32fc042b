//! What happens by itself while a server runs.

use std::sync::Arc;
use std::time::Duration;

use konverse_domain::Domain;
use konverse_feed::Indexing;
use konverse_jobs::{Blocks, Job, Rerender, Runner, Snoozes, Tasks};
use konverse_store::Looked;
use tokio::sync::watch;

/// How often the uses of tokens are stored.
const TOKEN_USE_TICK: Duration = Duration::from_secs(10);

/// How often events are looked for that need not be kept any longer.
const FORGET_TICK: Duration = Duration::from_secs(3600);

/// Waits until it is told to stop.
pub(crate) async fn ended(mut stopped: watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

/// Does `work` every `period` until told to stop.
pub(crate) async fn every<F, Fut>(period: Duration, stopped: watch::Receiver<bool>, mut work: F)
where
    F: FnMut() -> Fut,
    Fut: Future<Output = ()>,
{
    let mut ticks = tokio::time::interval(period);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => work().await,
            () = ended(stopped.clone()) => return,
        }
    }
}

/// Looks through the database for damage, once, until told to stop.
pub(crate) async fn look_through(domain: Arc<Domain>, stopped: watch::Receiver<bool>) {
    let (store, ..) = domain.ground();
    let looked = tokio::select! {
        looked = store.look_through() => looked,
        () = ended(stopped) => return,
    };
    match looked {
        Ok(Looked::Whole) => tracing::info!("the database was looked through: no damage was found"),
        Ok(Looked::Damaged) => tracing::error!("the database was looked through: it is DAMAGED"),
        Ok(Looked::Left) => {}
        Err(error) => tracing::error!(%error, "the database could not be looked through for damage"),
    }
}

/// How long the snooze clock may go without coming round until this process is not ready: without it conversations stay
/// asleep whose time has come. The other tasks only put in order what is answered rightly without them.
const SNOOZES_PATIENCE: Duration = Duration::from_secs(120);

/// Starts what happens by itself: snoozes end, outdated texts are rendered anew, long lists are counted, the search index
/// follows, uses of tokens are stored, old events go.
pub(crate) fn start(tasks: &Tasks, domain: &Arc<Domain>, keep_events: Option<i64>, stopped: &watch::Receiver<bool>) {
    let runner = Runner::of(domain);
    run_job(tasks, Some(SNOOZES_PATIENCE), &runner, Snoozes(Arc::clone(domain)), stopped);
    run_job(tasks, None, &runner, Rerender(Arc::clone(domain)), stopped);
    run_job(tasks, None, &runner, Blocks::new(Arc::clone(runner.store())), stopped);

    if let Some(index) = domain.search_index() {
        let (index, changed, until) = (Arc::clone(index), domain.changes(), stopped.clone());
        let store = Arc::clone(runner.store());
        tasks.spawn("search-index", None, move |rounds| {
            let mut indexing = Indexing::new(Arc::clone(&index), Arc::clone(&store));
            let (changed, until) = (changed.clone(), until.clone());
            async move { indexing.run(changed, &rounds, until).await }
        });
    }

    let (domain, until) = (Arc::clone(domain), stopped.clone());
    tasks.spawn("token-uses", None, move |rounds| {
        let (domain, until) = (Arc::clone(&domain), until.clone());
        async move {
            every(TOKEN_USE_TICK, until, || async {
                let stored = domain.store_token_uses().await;
                rounds.came_round(stored.is_ok());
                if let Err(error) = stored {
                    tracing::error!(?error, "cannot store when tokens were last used");
                }
            })
            .await;
        }
    });

    let Some(keep) = keep_events else { return };
    let until = stopped.clone();
    tasks.spawn("forget-events", None, move |rounds| {
        let (runner, until) = (runner.clone(), until.clone());
        async move {
            every(FORGET_TICK, until, || async {
                let forgotten = konverse_feed::forget_old(&**runner.store(), runner.now().plus(-keep)).await;
                rounds.came_round(forgotten.is_ok());
                match forgotten {
                    Ok(0) => {}
                    Ok(count) => tracing::info!(count, "old events were forgotten"),
                    Err(error) => tracing::error!(%error, "cannot forget old events"),
                }
            })
            .await;
        }
    });
}

fn run_job<J: Job + 'static>(
    tasks: &Tasks,
    patience: Option<Duration>,
    runner: &Runner,
    job: J,
    stopped: &watch::Receiver<bool>,
) {
    let (runner, job, stopped) = (runner.clone(), Arc::new(job), stopped.clone());
    tasks.spawn(J::NAME, patience, move |rounds| {
        let (runner, job, stopped) = (runner.clone(), Arc::clone(&job), stopped.clone());
        async move { runner.run(&*job, &rounds, stopped).await }
    });
}
