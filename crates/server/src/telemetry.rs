//! Logs and metrics.

use std::io::IsTerminal;

use anyhow::Context;
use axum::Router;
use axum::routing::get;
use clap::ValueEnum;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing::{Level, Metadata};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Whether a line may be logged, whatever is asked for. From debug on, libraries show what passes through them: the
/// PostgreSQL driver statements with their values, which are people's words and addresses, those for HTTP headers with
/// tokens.
fn is_harmless(of: &Metadata<'_>) -> bool {
    *of.level() <= Level::INFO
        || of.target() == "konverse"
        || of.target().starts_with("konverse_")
        || of.target().starts_with("konverse::")
}

/// Sends log lines to standard error. `filter` is a level, or levels by module, as `tracing` has them; beyond info, only
/// konverse's own lines are logged. Colours are for people at a terminal who did not ask to be spared them (no-color.org),
/// not for files.
pub(crate) fn log(filter: &str, format: LogFormat) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(filter).with_context(|| format!("--log {filter}"))?;
    let spared = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let colours = std::io::stderr().is_terminal() && !spared;
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(colours);
    let registry = tracing_subscriber::registry().with(filter_fn(is_harmless)).with(filter);
    let result = match format {
        LogFormat::Text => registry.with(lines).try_init(),
        LogFormat::Json => registry.with(lines.json().flatten_event(true)).try_init(),
    };
    result.map_err(|error| anyhow::anyhow!("cannot start logging: {error}"))
}

/// Seconds a request may take, in steps around what a list costs.
const BUCKETS: &[f64] =
    &[0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];

/// Starts collecting metrics.
pub(crate) fn metrics() -> anyhow::Result<PrometheusHandle> {
    let builder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Full("konverse_request_seconds".into()), BUCKETS)
        .context("histogram buckets")?;
    builder.install_recorder().context("cannot start collecting metrics")
}

/// The routes of the metrics listener.
pub(crate) fn routes(handle: PrometheusHandle) -> Router {
    Router::new().route("/metrics", get(async move || handle.render()))
}
