//! Serving: listeners, clockwork, start and stop.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use konverse_api::{ApiSettings, App, Process};
use konverse_domain::Domain;
use konverse_jobs::Tasks;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::clockwork::{self, ended, every};
use crate::{systemd, telemetry};

/// How often old samples of the metrics are folded away.
const METRICS_TICK: Duration = Duration::from_secs(10);

/// What a server in which nothing runs needs to close its connections: asked to drain for no time, it has cut nothing off.
const SHORTEST_DRAIN: Duration = Duration::from_millis(100);

/// What the tasks have at the end for the rounds they are in and to give their leases back.
const LAST_ROUNDS: Duration = Duration::from_secs(5);

/// How to serve.
#[derive(Clone, Debug)]
pub(crate) struct Serving {
    pub(crate) listen: SocketAddr,
    pub(crate) metrics_listen: Option<SocketAddr>,
    pub(crate) drain: Duration,
    /// How long events are kept, in milliseconds; for good without.
    pub(crate) keep_events: Option<i64>,
    pub(crate) api: ApiSettings,
}

/// Serves until a signal comes, then lets running requests finish. `ready` is told the address once it is bound.
pub(crate) async fn serve(domain: Arc<Domain>, serving: Serving, ready: impl FnOnce(SocketAddr)) -> anyhow::Result<()> {
    let mut signals = Signals::watch()?;
    let listener = bind(serving.listen, "--listen").await?;
    let (stop, stopped) = watch::channel(false);
    let tasks = Tasks::new(stopped.clone());
    clockwork::start(&tasks, &domain, serving.keep_events, &stopped);
    let mut metrics = None;
    if let Some(address) = serving.metrics_listen {
        let listener = bind(address, "--metrics-listen").await?;
        let handle = telemetry::metrics()?;
        let (upkeep, until) = (handle.clone(), stopped.clone());
        tasks.spawn("metrics", None, move |rounds| {
            let upkeep = upkeep.clone();
            every(METRICS_TICK, until.clone(), move || {
                upkeep.run_upkeep();
                rounds.came_round(true);
                std::future::ready(())
            })
        });
        tracing::info!("metrics on http://{}/metrics", listener.local_addr()?);
        let end = ended(stopped.clone());
        let served = axum::serve(listener, telemetry::routes(handle, tasks.clone())).with_graceful_shutdown(end);
        metrics = Some(tokio::spawn(async move {
            if let Err(error) = served.await {
                tracing::error!(%error, "the metrics listener ended");
            }
        }));
    }
    systemd::say_that_it_lives(&tasks, &stopped);
    let address = listener.local_addr()?;
    tracing::info!("serving on http://{address}");
    ready(address);
    systemd::ready(address);
    let asked = tasks.clone();
    let process = Process { ailing: Some(Arc::new(move || asked.ailing())), span: telemetry::begin_span() };
    let app = App::within(Arc::clone(&domain), serving.api, process);
    let service = konverse_api::serve(app);
    let server = axum::serve(listener, service).with_graceful_shutdown(ended(stopped));
    let server = tokio::spawn(async move { server.await });

    signals.next().await;
    tracing::info!("stopping: finishing the requests that are running; a second signal ends them");
    systemd::stopping();
    let _ = stop.send(true);
    tokio::select! {
        result = server => result.context("the server failed")??,
        () = tokio::time::sleep(serving.drain.max(SHORTEST_DRAIN)) => {
            tracing::warn!("cutting off requests that still run after {} s", serving.drain.as_secs());
        }
        () = signals.next() => tracing::warn!("a second signal: cutting off requests that still run"),
    }
    tasks.ended(LAST_ROUNDS).await;
    if let Some(metrics) = metrics {
        let _ = tokio::time::timeout(Duration::from_secs(1), metrics).await;
    }
    domain.store_token_uses().await.context("storing when tokens were last used")?;
    Ok(())
}

async fn bind(address: SocketAddr, option: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}; choose another address with {option}"))
}

/// The signals that ask to stop. Watched from the start and by one pair of streams, so that none is lost between two.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn watch() -> anyhow::Result<Self> {
        let watched = |kind| signal(kind).context("cannot watch for signals");
        Ok(Self { terminate: watched(SignalKind::terminate())?, interrupt: watched(SignalKind::interrupt())? })
    }

    /// Waits for the next SIGTERM or SIGINT.
    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
