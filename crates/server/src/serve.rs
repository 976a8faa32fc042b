//! Serving: listeners, clockwork, start and stop.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use konverse_api::{ApiSettings, App, Process, Served};
use konverse_domain::Domain;
use konverse_jobs::Tasks;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::clockwork::{self, every};
use crate::edge::{Edge, Limits, TLS_LOOK, Tls, TlsFiles};
use crate::systemd;
use crate::telemetry::{self, Metrics};

/// How often old samples of the metrics are folded away.
const METRICS_TICK: Duration = Duration::from_secs(10);

/// Connections to the metrics listener: a few collectors.
const METRICS_CONNECTIONS: usize = 16;

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
    /// Whether the database is looked through for damage after the start.
    pub(crate) check: bool,
    pub(crate) api: ApiSettings,
    pub(crate) limits: Limits,
    /// Without them, HTTP in plain.
    pub(crate) tls: Option<TlsFiles>,
}

/// Serves until a signal comes, then lets running requests finish. `ready` is told the address once it is bound.
pub(crate) async fn serve(domain: Arc<Domain>, serving: Serving, ready: impl FnOnce(SocketAddr)) -> anyhow::Result<()> {
    let mut signals = Signals::watch()?;
    let tls = serving.tls.map(Tls::open).transpose()?.map(Arc::new);
    let listener = bind(serving.listen, "--listen").await?;
    let (stop, stopped) = watch::channel(false);
    let tasks = Tasks::new(stopped.clone());
    clockwork::start(&tasks, &domain, serving.keep_events, &stopped);
    let (store, ..) = domain.ground();
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
        let edge = Edge {
            name: "metrics",
            behind: Metrics::new(handle, tasks.clone(), store, domain.search_index().cloned()),
            limits: Limits { connections: METRICS_CONNECTIONS, ..Limits::default() },
            trusted_proxies: Vec::new(),
            tls: None,
        };
        let until = stopped.clone();
        metrics = Some(tokio::spawn(async move {
            edge.serve(listener, until.clone()).await;
            if !*until.borrow() {
                tracing::error!("the metrics listener ended");
            }
        }));
    }
    let mut looking = None;
    if serving.check {
        looking = Some(tokio::spawn(clockwork::look_through(Arc::clone(&domain), stopped.clone())));
    }
    systemd::say_that_it_lives(&tasks, &stopped);
    let address = listener.local_addr()?;
    let scheme = if tls.is_some() { "https" } else { "http" };
    tracing::info!("serving on {scheme}://{address}");
    ready(address);
    systemd::ready(address);
    if let Some(tls) = tls.clone() {
        let until = stopped.clone();
        tasks.spawn("certificates", None, move |rounds| {
            let tls = Arc::clone(&tls);
            every(TLS_LOOK, until.clone(), move || {
                tls.look();
                rounds.came_round(true);
                std::future::ready(())
            })
        });
    }
    let asked = tasks.clone();
    let process = Process { ailing: Some(Arc::new(move || asked.ailing())), span: telemetry::begin_span() };
    let edge = Edge {
        name: "api",
        trusted_proxies: serving.api.trusted_proxies.clone(),
        behind: Served::new(App::within(Arc::clone(&domain), serving.api, process)),
        limits: serving.limits,
        tls,
    };
    let mut server = tokio::spawn(edge.serve(listener, stopped));

    tokio::select! {
        // Without it there is nothing to stay for; whoever runs this starts it again.
        ended = &mut server => {
            ended.context("the server failed")?;
            anyhow::bail!("the server ended before it was told to");
        }
        () = signals.next() => {}
    }
    tracing::info!("stopping: finishing the requests that are running; a second signal ends them");
    systemd::stopping();
    let _ = stop.send(true);
    tokio::select! {
        result = &mut server => result.context("the server failed")?,
        () = tokio::time::sleep(serving.drain.max(SHORTEST_DRAIN)) => {
            tracing::warn!("cutting off requests that still run after {} s", serving.drain.as_secs());
        }
        () = signals.next() => tracing::warn!("a second signal: cutting off requests that still run"),
    }
    tasks.ended(LAST_ROUNDS).await;
    for ending in [metrics, looking].into_iter().flatten() {
        let _ = tokio::time::timeout(Duration::from_secs(1), ending).await;
    }
    // A database that is away or held by others is no reason to end badly: everything that was answered is stored.
    match tokio::time::timeout(LAST_ROUNDS, domain.store_token_uses()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(?error, "when tokens were last used could not be stored"),
        Err(_) => tracing::warn!("when tokens were last used could not be stored in time"),
    }
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
