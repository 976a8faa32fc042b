//! What happens by itself while a server runs.

use std::sync::Arc;
use std::time::Duration;

use konverse_domain::Domain;
use konverse_jobs::{Blocks, Rerender, Runner, Snoozes};
use konverse_store::Looked;
use metrics::gauge;
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
    let damaged = gauge!("konverse_database_damaged");
    match looked {
        Ok(Looked::Whole) => {
            damaged.set(0.0);
            tracing::info!("the database was looked through: no damage was found");
        }
        Ok(Looked::Damaged) => {
            damaged.set(1.0);
            tracing::error!("the database was looked through: it is DAMAGED");
        }
        Ok(Looked::Left) => {}
        Err(error) => tracing::error!(%error, "the database could not be looked through for damage"),
    }
}

/// What happens by itself: snoozes end, outdated texts are rendered anew, long lists are counted, uses of tokens are
/// stored, old events go.
pub(crate) async fn clockwork(domain: Arc<Domain>, keep_events: Option<i64>, stopped: watch::Receiver<bool>) {
    let runner = Runner::of(&domain);
    let forgetting = every(FORGET_TICK, stopped.clone(), || async {
        let Some(keep) = keep_events else { return };
        match konverse_feed::forget_old(&**runner.store(), runner.now().plus(-keep)).await {
            Ok(0) => {}
            Ok(count) => tracing::info!(count, "old events were forgotten"),
            Err(error) => tracing::error!(%error, "cannot forget old events"),
        }
    });
    let (snoozes, outdated) = (Snoozes(Arc::clone(&domain)), Rerender(Arc::clone(&domain)));
    let blocks = Blocks::new(Arc::clone(runner.store()));
    let uses = every(TOKEN_USE_TICK, stopped.clone(), || async {
        if let Err(error) = domain.store_token_uses().await {
            tracing::error!(?error, "cannot store when tokens were last used");
        }
    });
    tokio::join!(
        runner.run(&snoozes, stopped.clone()),
        runner.run(&outdated, stopped.clone()),
        runner.run(&blocks, stopped.clone()),
        uses,
        forgetting
    );
}
