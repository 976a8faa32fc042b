//! The Kustomer REST API over HTTP.
//!
//! One table of operations ([`operations`]) holds, for each, its path, roles, parameters, body, answer and handler. The
//! router, the role checks, `openapi.json` and `GET /v1/operations` are all made from it. Handlers read the request,
//! call the domain and answer; they decide nothing.

mod answer;
mod answers;
mod browser;
mod budget;
mod content;
mod entry;
mod error;
mod extract;
mod gate;
mod list;
mod openapi;
mod operation;
mod project;
mod routes;

use std::net::IpAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::HeaderMap;
use konverse_domain::Domain;
use serde_json::{Value, json};

pub use answer::Standing;
pub use browser::Https;
pub use error::{CODES, Code};
pub use gate::{Patience, Refused, Served};
pub use operation::{Answer, MakeSchema, Operation, Param};
pub use project::project;

/// Bytes a request body may have (contract README §2).
const BODY_LIMIT: usize = 100 * 1024;

/// What the HTTP surface can be set to.
#[derive(Clone, Debug)]
pub struct ApiSettings {
    /// The status of a missing role: 403, or 401 as the 2025 documentation has it.
    pub missing_role_status: u16,
    /// Requests an org may make in a minute; 0 means any number.
    pub requests_per_minute: u32,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<ipnet::IpNet>,
    /// Origins whose pages may use cookies: `https://desk.example.com`.
    pub allowed_origins: Vec<String>,
    /// Whether answers are compressed for callers who can read that.
    pub compress: bool,
    /// Bytes of answers that are kept to be given again; 0 keeps none.
    pub answers: usize,
}

impl Default for ApiSettings {
    fn default() -> Self {
        Self {
            missing_role_status: 403,
            requests_per_minute: 0,
            trusted_proxies: Vec::new(),
            allowed_origins: Vec::new(),
            compress: true,
            answers: 16 << 20,
        }
    }
}

/// Names what runs by itself in this process and has not come round for long; then the process is not ready.
pub type Ailing = Arc<dyn Fn() -> Vec<&'static str> + Send + Sync>;

/// Begins the span of a request with these headers. What it asks for of `otel.name` (the operation's key),
/// `http.response.status_code`, `otel.status_code` and `org` is recorded before it ends.
pub type BeginSpan = Arc<dyn Fn(&str, &HeaderMap) -> tracing::Span + Send + Sync>;

/// The process around the HTTP surface.
#[derive(Clone, Default)]
pub struct Process {
    /// Nothing runs by itself without.
    pub ailing: Option<Ailing>,
    /// Requests have no spans without.
    pub span: Option<BeginSpan>,
}

/// What handlers share.
#[derive(Clone)]
pub struct App(Arc<Shared>);

struct Shared {
    domain: Arc<Domain>,
    settings: ApiSettings,
    process: Process,
    budget: budget::Budget,
    answers: answers::Answers,
    presses: content::Presses,
    documents: Documents,
}

/// Documents made once from the table of operations, with their tags and compressed forms: whoever reads them is given
/// the same bytes.
struct Documents {
    openapi: Arc<content::Content>,
    published: Arc<content::Content>,
}

impl App {
    /// The HTTP surface of a domain in a process that does nothing else.
    pub fn new(domain: Arc<Domain>, settings: ApiSettings) -> Self {
        Self::within(domain, settings, Process::default())
    }

    /// The HTTP surface of a domain in this process.
    pub fn within(domain: Arc<Domain>, settings: ApiSettings, process: Process) -> Self {
        let operations = routes::operations();
        let document = |document: Value| Arc::new(content::Content::new(document.to_string().into()));
        let documents = Documents {
            openapi: document(openapi::document(&operations)),
            published: document(json!({ "data": routes::published() })),
        };
        let budget = budget::Budget::new(settings.requests_per_minute);
        let answers = answers::Answers::new(settings.answers);
        let presses = content::Presses::new();
        Self(Arc::new(Shared { domain, settings, process, budget, answers, presses, documents }))
    }

    fn domain(&self) -> &Domain {
        &self.0.domain
    }

    fn is_trusted_proxy(&self, address: IpAddr) -> bool {
        self.0.settings.trusted_proxies.iter().any(|range| range.contains(&address.to_canonical()))
    }
}

/// The table of operations.
pub fn operations() -> Vec<Operation> {
    routes::operations()
}

/// The OpenAPI 3.1 description of the operations.
pub fn openapi_document() -> Value {
    openapi::document(&routes::operations())
}

/// The routes of every operation, without what happens to each request before and after: see [`Served`].
fn router(operations: Vec<Operation>, app: App) -> Router {
    let mut router = Router::new();
    for operation in operations {
        router = router.route(&operation.route(), operation.handler);
    }
    router
        .fallback(error::unknown_path)
        .method_not_allowed_fallback(error::wrong_method)
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .with_state(app)
}
