//! Spans of requests for an OpenTelemetry collector: OTLP over HTTP, in batches, beside the requests.
//!
//! Only a request as a whole is a span. Its operation, method, status and org are told, never its path: that may hold
//! somebody's address. The caller's `traceparent` makes it part of the caller's trace, and says whether it is sampled.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};
use async_trait::async_trait;
use axum::body::Bytes;
use axum::http::{HeaderMap, Request, Response, Uri};
use konverse_api::BeginSpan;
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::TracerProvider;
use opentelemetry_http::hyper::HyperClient;
use opentelemetry_http::{HeaderExtractor, HttpClient, HttpError};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tokio::runtime::Handle;
use tracing::field::Empty;
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};

use crate::telemetry::Spans;

/// The target of the spans, by which they are told from what is logged.
const TARGET: &str = "konverse::request";

/// How long the collector may take for a batch.
const PATIENCE: Duration = Duration::from_secs(10);

/// Whether spans are exported by this process.
static EXPORTS: AtomicBool = AtomicBool::new(false);

/// Spans on their way to a collector. When it is dropped, those that wait are sent first.
pub(crate) struct Exported(SdkTracerProvider);

impl Drop for Exported {
    fn drop(&mut self) {
        if let Err(error) = self.0.shutdown() {
            tracing::warn!(%error, "the last spans were not exported");
        }
    }
}

impl Exported {
    /// What takes spans in.
    pub(crate) fn spans(&self) -> Spans {
        let layer = tracing_opentelemetry::layer().with_tracer(self.0.tracer("konverse"));
        // Where in the source and on which thread a span was made says nothing about the request.
        let layer = layer.with_location(false).with_threads(false).with_target(false);
        layer.with_filter(Targets::new().with_target(TARGET, LevelFilter::INFO)).boxed()
    }
}

/// Sends batches on the runtime: they come from a thread of their own, which has none.
#[derive(Debug)]
struct OnRuntime(Handle, Arc<dyn HttpClient>);

#[async_trait]
impl HttpClient for OnRuntime {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let client = Arc::clone(&self.1);
        self.0.spawn(async move { client.send_bytes(request).await }).await?
    }
}

/// Starts exporting spans, if there is somewhere to.
pub(crate) fn export(endpoint: Option<&str>, runtime: &Handle) -> anyhow::Result<Option<Exported>> {
    let Some(endpoint) = endpoint else { return Ok(None) };
    let uri: Uri = endpoint.parse().with_context(|| format!("--otlp-endpoint {endpoint}"))?;
    if uri.scheme_str() != Some("http") {
        bail!("--otlp-endpoint must begin with http://: a collector close by takes spans on to where they go over TLS");
    }
    let client = OnRuntime(runtime.clone(), Arc::new(HyperClient::with_default_connector(PATIENCE, None)));
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(client)
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(format!("{}/v1/traces", endpoint.trim_end_matches('/')))
        .with_timeout(PATIENCE)
        .build()
        .context("cannot export spans")?;
    let resource = Resource::builder().with_service_name("konverse").build();
    EXPORTS.store(true, Ordering::Relaxed);
    Ok(Some(Exported(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build())))
}

/// What begins the spans of requests, if they are exported.
pub(crate) fn begin_span() -> Option<BeginSpan> {
    EXPORTS.load(Ordering::Relaxed).then(|| Arc::new(span) as BeginSpan)
}

fn span(method: &str, headers: &HeaderMap) -> tracing::Span {
    let span = tracing::info_span!(
        target: TARGET,
        "request",
        otel.kind = "server",
        otel.name = Empty,
        otel.status_code = Empty,
        http.request.method = method,
        http.response.status_code = Empty,
        org = Empty
    );
    // It is new, so it has no parent yet.
    let _ = span.set_parent(TraceContextPropagator::new().extract(&HeaderExtractor(headers)));
    span
}
