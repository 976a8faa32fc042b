//! The options of the edge.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::bail;
use clap::{Args, value_parser};

use super::tls::TlsFiles;
use super::{Limits, files};

/// Connections where nobody says how many.
const CONNECTIONS: usize = 8192;

/// What one may set of the edge.
#[derive(Debug, Args)]
pub(crate) struct EdgeOptions {
    /// Connections there may be at once: 8192 unless it is set. No more than the limit of open files leaves beside the
    /// database's.
    #[arg(long, env = "KONVERSE_CONNECTIONS", value_name = "NUMBER", value_parser = value_parser!(u32).range(1..))]
    connections: Option<u32>,
    /// Of these, from one address (with IPv6, one /64 network), half at most unless it is set; a --trusted-proxy may have
    /// any number.
    #[arg(long, env = "KONVERSE_CONNECTIONS_PER_ADDRESS", value_name = "NUMBER", value_parser = value_parser!(u32).range(1..))]
    connections_per_address: Option<u32>,
    /// Mebibytes of answers that may be made and not read by their callers yet, and of the bodies of requests that are not
    /// answered yet. Over it, requests are answered 503, but for small ones while an eighth more lasts; over half of it,
    /// those from one address, unless that is a --trusted-proxy; over a thirty-second of it (at least one), a connection's
    /// next requests wait.
    #[arg(long, env = "KONVERSE_UNREAD_ANSWERS", default_value_t = 256, value_name = "MIB", value_parser = value_parser!(u32).range(1..=1_048_576))]
    unread_answers: u32,
    /// Seconds a request's head, or a TLS handshake, may take; a new connection is given them for its first.
    #[arg(long, env = "KONVERSE_HEAD_SECONDS", default_value_t = 10, value_name = "SECONDS", value_parser = seconds())]
    head_seconds: u32,
    /// Seconds a request's body may take; one that came at --least-rate, longer.
    #[arg(long, env = "KONVERSE_BODY_SECONDS", default_value_t = 10, value_name = "SECONDS", value_parser = seconds())]
    body_seconds: u32,
    /// Seconds the answers on a connection may wait to be read; while it reads at --least-rate, longer.
    #[arg(long, env = "KONVERSE_WRITE_SECONDS", default_value_t = 30, value_name = "SECONDS", value_parser = seconds())]
    write_seconds: u32,
    /// Bytes a second at which bodies have to come and answers to be read.
    #[arg(long, env = "KONVERSE_LEAST_RATE", default_value_t = 1024, value_name = "BYTES", value_parser = value_parser!(u32).range(1..=1 << 30))]
    least_rate: u32,
    /// Seconds a connection may be idle between requests.
    #[arg(long, env = "KONVERSE_IDLE_SECONDS", default_value_t = 75, value_name = "SECONDS", value_parser = seconds())]
    idle_seconds: u32,
    /// Seconds a request may take, beside the time in which its body comes. A read is given up then; a write goes on, and
    /// its caller is told that it may have been done.
    #[arg(long, env = "KONVERSE_REQUEST_SECONDS", default_value_t = 30, value_name = "SECONDS", value_parser = seconds())]
    request_seconds: u32,
    /// A PEM file with the certificate to serve HTTPS with, and what leads from it to its issuer. Read anew when it changes.
    #[arg(long, env = "KONVERSE_TLS_CERT", value_name = "FILE")]
    tls_cert: Option<PathBuf>,
    /// A PEM file with the certificate's private key.
    #[arg(long, env = "KONVERSE_TLS_KEY", value_name = "FILE")]
    tls_key: Option<PathBuf>,
}

fn seconds() -> clap::builder::RangedI64ValueParser<u32> {
    value_parser!(u32).range(1..=86_400)
}

impl EdgeOptions {
    /// The limits, with so many connections to a database. Raises the limit of open files as far as it goes.
    pub(crate) fn limits(&self, database: usize) -> Limits {
        let room = files::for_connections(files::raise_limit(), database);
        let wanted = self.connections.map_or(CONNECTIONS, |wanted| wanted as usize);
        let connections = wanted.min(room);
        if connections < wanted {
            let than = self.connections.map_or(String::new(), |wanted| format!(", fewer than --connections {wanted}"));
            tracing::warn!("the limit of open files leaves {connections} connections{than}");
        }
        let seconds = |seconds: u32| Duration::from_secs(seconds.into());
        Limits {
            connections,
            per_address: self.connections_per_address.map_or(connections.div_ceil(2), |most| most as usize),
            unsent: (self.unread_answers as usize) << 20,
            head: seconds(self.head_seconds),
            body: seconds(self.body_seconds),
            write: seconds(self.write_seconds),
            rate: self.least_rate,
            idle: seconds(self.idle_seconds),
            request: seconds(self.request_seconds),
        }
    }

    /// The files of the certificate and its key, if there are to be any.
    pub(crate) fn tls(&self) -> anyhow::Result<Option<TlsFiles>> {
        match (&self.tls_cert, &self.tls_key) {
            (None, None) => Ok(None),
            (Some(certificate), Some(key)) => Ok(Some(TlsFiles { certificate: certificate.clone(), key: key.clone() })),
            (Some(_), None) => bail!("--tls-cert needs --tls-key, the certificate's private key"),
            (None, Some(_)) => bail!("--tls-key needs --tls-cert, the certificate it is for"),
        }
    }
}
