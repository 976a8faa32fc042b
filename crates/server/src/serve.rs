//! Serving: listeners, clockwork, start and stop.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use konverse_api::{ApiSettings, App, Served};
use konverse_domain::Domain;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::clockwork::{clockwork, every};
use crate::edge::{Edge, Limits, TLS_LOOK, Tls, TlsFiles};
use crate::telemetry::{self, Metrics};

/// How often old samples of the metrics are folded away.
const METRICS_TICK: Duration = Duration::from_secs(10);

/// Connections to the metrics listener: a few collectors.
const METRICS_CONNECTIONS: usize = 16;

/// What a server in which nothing runs needs to close its connections: asked to drain for no time, it has cut nothing off.
const SHORTEST_DRAIN: Duration = Duration::from_millis(100);

/// How to serve.
#[derive(Clone, Debug)]
pub(crate) struct Serving {
    pub(crate) listen: SocketAddr,
    pub(crate) metrics_listen: Option<SocketAddr>,
    pub(crate) drain: Duration,
    /// How long events are kept, in milliseconds; for good without.
    pub(crate) keep_events: Option<i64>,
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
    let mut tasks = vec![tokio::spawn(clockwork(Arc::clone(&domain), serving.keep_events, stopped.clone()))];
    if let Some(address) = serving.metrics_listen {
        let listener = bind(address, "--metrics-listen").await?;
        let handle = telemetry::metrics()?;
        let upkeep = handle.clone();
        tasks.push(tokio::spawn(every(METRICS_TICK, stopped.clone(), move || {
            upkeep.run_upkeep();
            std::future::ready(())
        })));
        tracing::info!("metrics on http://{}/metrics", listener.local_addr()?);
        let edge = Edge {
            name: "metrics",
            behind: Metrics::new(handle),
            limits: Limits { connections: METRICS_CONNECTIONS, ..Limits::default() },
            trusted_proxies: Vec::new(),
            tls: None,
        };
        tasks.push(tokio::spawn(edge.serve(listener, stopped.clone())));
    }
    let address = listener.local_addr()?;
    let scheme = if tls.is_some() { "https" } else { "http" };
    tracing::info!("serving on {scheme}://{address}");
    ready(address);
    if let Some(tls) = tls.clone() {
        tasks.push(tokio::spawn(every(TLS_LOOK, stopped.clone(), move || {
            tls.look();
            std::future::ready(())
        })));
    }
    let edge = Edge {
        name: "api",
        trusted_proxies: serving.api.trusted_proxies.clone(),
        behind: Served::new(App::new(Arc::clone(&domain), serving.api)),
        limits: serving.limits,
        tls,
    };
    let server = tokio::spawn(edge.serve(listener, stopped));

    signals.next().await;
    tracing::info!("stopping: finishing the requests that are running; a second signal ends them");
    let _ = stop.send(true);
    tokio::select! {
        result = server => result.context("the server failed")?,
        () = tokio::time::sleep(serving.drain.max(SHORTEST_DRAIN)) => {
            tracing::warn!("cutting off requests that still run after {} s", serving.drain.as_secs());
        }
        () = signals.next() => tracing::warn!("a second signal: cutting off requests that still run"),
    }
    for task in tasks {
        let _ = tokio::time::timeout(Duration::from_secs(1), task).await;
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
