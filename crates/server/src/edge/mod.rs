//! The edge: everything between the socket and the router. It bounds what strangers can make the process hold, in
//! connections, bytes and time. It knows no token, and no operation but those that say whether the process is well.
//!
//! `accept` takes connections and serves them; `places` says how many there may be, `watch` how long they may do what they
//! do, `budget` how many bytes of answers may wait; `request` is where one request passes, `body` what it consists of, `io`
//! and `framing` the socket below.

mod accept;
mod body;
mod budget;
mod files;
mod framing;
mod io;
mod options;
mod places;
mod request;
mod tls;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use tokio::net::TcpListener;
use tokio::sync::watch as stop;

pub(crate) use options::EdgeOptions;
pub(crate) use request::{Answering, Behind};
pub(crate) use tls::{LOOK as TLS_LOOK, Tls, TlsFiles};

/// What connections are held to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Connections in all.
    pub(crate) connections: usize,
    /// Connections from one address.
    pub(crate) per_address: usize,
    /// Bytes of answers on their way, and of bodies of requests, in all. One address may have half of them.
    pub(crate) unsent: usize,
    /// How long a head may take, or a handshake.
    pub(crate) head: Duration,
    /// How long a body may take without having come at the rate.
    pub(crate) body: Duration,
    /// How long answers may wait without being read at the rate.
    pub(crate) write: Duration,
    /// Bytes a second.
    pub(crate) rate: u32,
    /// How long a connection may do nothing.
    pub(crate) idle: Duration,
    /// How long a request may take.
    pub(crate) request: Duration,
}

impl Default for Limits {
    /// Of a server for one person.
    fn default() -> Self {
        Self {
            connections: 512,
            per_address: 512,
            unsent: 64 << 20,
            head: Duration::from_secs(10),
            body: Duration::from_secs(10),
            write: Duration::from_secs(30),
            rate: 1024,
            idle: Duration::from_secs(75),
            request: Duration::from_secs(30),
        }
    }
}

/// How a listener's connections are served.
pub(crate) struct Edge<B> {
    /// What the log and the metrics call it.
    pub(crate) name: &'static str,
    pub(crate) behind: B,
    pub(crate) limits: Limits,
    pub(crate) trusted_proxies: Vec<IpNet>,
    pub(crate) tls: Option<Arc<Tls>>,
}

impl<B: Behind> Edge<B> {
    /// Serves until told to stop. Then nobody is let in any more, connections on which nothing runs are closed, and this
    /// ends with the last request.
    pub(crate) async fn serve(self, listener: TcpListener, stopped: stop::Receiver<bool>) {
        accept::serve(self, listener, stopped).await;
    }
}
