//! Logs and metrics.

use std::convert::Infallible;
use std::io::IsTerminal;
use std::sync::Arc;
use std::task::{Context, Poll};

use anyhow::Context as _;
use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response, StatusCode};
use axum::response::IntoResponse;
use axum::routing::get;
use clap::ValueEnum;
use konverse_api::Refused;
use konverse_jobs::Tasks;
use konverse_search::index::Index;
use konverse_store::Store;
use metrics::{describe_counter, describe_gauge, describe_histogram, gauge};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tower::Service;
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::filter::{FilterExt, filter_fn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry};

use crate::edge::{Answering, Behind};
use crate::redact::redacted;

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
    // The search library tells of each of its steps.
    let most = if of.target().starts_with("tantivy") { Level::WARN } else { Level::INFO };
    *of.level() <= most
        || of.target() == "konverse"
        || of.target().starts_with("konverse_")
        || of.target().starts_with("konverse::")
}

/// Where spans of requests go, beside the log.
pub(crate) type Spans = Box<dyn Layer<Registry> + Send + Sync>;

/// Sends log lines to standard error. `filter` is a level, or levels by module, as `tracing` has them; beyond info, only
/// konverse's own lines are logged. Colours are for people at a terminal who did not ask to be spared them (no-color.org),
/// not for files.
pub(crate) fn log(filter: &str, format: LogFormat, spans: Option<Spans>) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(filter).with_context(|| format!("--log {filter}"))?;
    let harmless = filter_fn(is_harmless);
    let result = match spans {
        None => tracing_subscriber::registry().with(harmless).with(filter).with(lines(format)).try_init(),
        // What the log leaves out may be wanted as a span, and the other way round.
        Some(spans) => {
            let lines = lines(format).with_filter(filter.and(harmless));
            tracing_subscriber::registry().with(spans).with(lines).try_init()
        }
    };
    result.map_err(|error| anyhow::anyhow!("cannot start logging: {error}"))
}

/// Standard error, without what this process was told that may be a password.
struct Redacting;

impl std::io::Write for Redacting {
    /// A line comes as a whole.
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        std::io::stderr().write_all(redacted(&text).as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        std::io::stderr().flush()
    }
}

fn lines<S>(format: LogFormat) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    let spared = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let colours = std::io::stderr().is_terminal() && !spared;
    let lines = tracing_subscriber::fmt::layer().with_writer(|| Redacting).with_ansi(colours);
    match format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    }
}

/// What begins the spans of requests: nothing, unless they are exported.
#[cfg(not(feature = "otel"))]
pub(crate) fn begin_span() -> Option<konverse_api::BeginSpan> {
    None
}

#[cfg(feature = "otel")]
pub(crate) use crate::otel::begin_span;

/// Seconds a request may take, in steps around what a list costs.
const BUCKETS: &[f64] =
    &[0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];

/// Says what each metric means, to whoever scrapes them. `docs/operating.md` has the same metrics.
fn describe() {
    describe_counter!("konverse_requests_total", "Requests answered, by operation and class of status.");
    describe_histogram!("konverse_request_seconds", "Seconds from a request's head to its answer, by operation.");
    describe_counter!("konverse_job_items_total", "Items that jobs have done, or put aside to try them again later.");
    describe_gauge!("konverse_task_up", "Whether a task runs: 0 while it waits to begin again.");
    describe_counter!("konverse_task_restarts_total", "How often a task began again after it panicked or ended.");
    describe_gauge!("konverse_task_good_round_age_seconds", "Seconds since a round of a task last went well.");
    describe_gauge!("konverse_connections_open", "Connections that are open, by listener.");
    describe_counter!("konverse_connections_refused_total", "Connections refused, by listener and reason.");
    describe_counter!("konverse_connections_cut_total", "Connections cut off by a limit, by listener and limit.");
    describe_gauge!(
        "konverse_unread_answer_bytes",
        "Bytes of answers not read yet and of bodies of requests not answered yet, by listener."
    );
    describe_counter!("konverse_searches_total", "Searches, by what became of them.");
    describe_histogram!("konverse_search_seconds", "Seconds from a search's beginning to the ids it found.");
    describe_gauge!("konverse_search_indexes", "Search indexes of orgs, by state: ready or building.");
    describe_gauge!("konverse_search_building_records", "Records in the search indexes that are being built.");
    describe_gauge!("konverse_search_documents", "Records in the search indexes.");
    describe_gauge!("konverse_search_bytes", "Bytes of the search indexes on the disk.");
    describe_counter!(
        "konverse_search_left_out_total",
        "Records left out of a search index because they cannot be read."
    );
    describe_gauge!(
        "konverse_database_damaged",
        "Whether damage was found in the database since the start, by looking or by any request: 1 when it was."
    );
}

/// Starts collecting metrics.
pub(crate) fn metrics() -> anyhow::Result<PrometheusHandle> {
    let builder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), BUCKETS)
        .context("histogram buckets")?;
    let handle = builder.install_recorder().context("cannot start collecting metrics")?;
    describe();
    Ok(handle)
}

/// What the metrics listener serves.
#[derive(Clone)]
pub(crate) struct Metrics(Router);

impl Metrics {
    pub(crate) fn new(
        handle: PrometheusHandle,
        tasks: Tasks,
        store: Arc<dyn Store>,
        index: Option<Arc<Index>>,
    ) -> Self {
        let render = async move || {
            tasks.measure();
            if let Some(index) = &index {
                index.measure();
            }
            gauge!("konverse_database_damaged").set(f64::from(u8::from(store.is_damaged())));
            handle.render()
        };
        Self(Router::new().route("/metrics", get(render)))
    }
}

impl Service<Request<Body>> for Metrics {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answering;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // A router is always ready.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Answering {
        Box::pin(self.0.call(request))
    }
}

impl Behind for Metrics {
    fn refusal(&self, refused: Refused) -> Response<Body> {
        let (status, message) = match refused {
            Refused::Malformed(message) => (StatusCode::BAD_REQUEST, message),
            Refused::Unavailable(message) | Refused::GivenUp(message) | Refused::Unknown(message) => {
                (StatusCode::SERVICE_UNAVAILABLE, message)
            }
        };
        (status, message).into_response()
    }
}
