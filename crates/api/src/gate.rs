//! What happens to every request before and after its handler: paths are normalised, the token is looked up, the budget
//! is charged, an answer given before is given again, headers are added, the request is counted.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::{Duration, Instant as Stopwatch};

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, AUTHORIZATION, CACHE_CONTROL, CONTENT_ENCODING,
    CONTENT_LENGTH, CONTENT_TYPE, COOKIE, ETAG, IF_NONE_MATCH, USER_AGENT, VARY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::uri::PathAndQuery;
use axum::http::{Extensions, HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use konverse_domain::Access;
use konverse_model::{CustomerId, Id, OrgId};
use metrics::{Counter, Histogram, counter, histogram};
use parking_lot::Mutex;
use tower::{Service, ServiceExt};
use tracing::Span;

use crate::answer::ok;
use crate::answers::Place;
use crate::browser::{self, CSRF_COOKIE, CSRF_HEADER, Cors, TOKEN_COOKIE};
use crate::budget::Left;
use crate::content::{self, Coding, Content, Presses};
use crate::error::{ApiError, Code, Source};
use crate::extract::{Presented, Refusal, refusal};
use crate::operation::Operation;
use crate::{App, router, routes};

const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

/// The whole HTTP surface as a service: the gate, and the operations behind it.
#[derive(Clone)]
pub struct Served {
    app: App,
    passages: Arc<Passages>,
    operations: Router,
}

impl Served {
    /// The whole HTTP surface of an app. A caller's address is the `ConnectInfo<SocketAddr>` among a request's
    /// extensions; without one, the request comes from nowhere in particular.
    pub fn new(app: App) -> Self {
        let operations = routes::operations();
        let passages = Arc::new(Passages::new(&operations));
        Self { operations: router(operations, app.clone()), app, passages }
    }

    /// The answer to a request that comes no further than the connection: the same document, with the same headers, as
    /// any other refusal has.
    pub fn refusal(&self, refused: Refused) -> Response {
        let now = self.app.domain().now();
        let refusal = match refused {
            Refused::Malformed(message) => ApiError::new(Code::BadRequest, message, Source::Nowhere),
            Refused::Unavailable(message) => ApiError::unavailable(message),
            Refused::GivenUp(message) => ApiError::unavailable(message),
            Refused::Unknown(message) => ApiError::new(Code::Unavailable, message, Source::Nowhere),
        };
        let response = refusal.into_response();
        // What had begun is counted where it ends.
        if matches!(refused, Refused::Malformed(_) | Refused::Unavailable(_)) {
            self.passages.other.meter.count(response.status(), 0.0);
        }
        finish(response, self.app.0.budget.untouched(now))
    }
}

/// Why a request comes no further than the connection.
#[derive(Clone, Copy, Debug)]
pub enum Refused {
    /// It cannot be read in one way only.
    Malformed(&'static str),
    /// It was not done; the same may work in a moment.
    Unavailable(&'static str),
    /// It had begun and was given up; the same may work in a moment. Its [`Patience`] has ended.
    GivenUp(&'static str),
    /// It may have been done, or still be. Nobody is told to try again. Its [`Patience`] has ended.
    Unknown(&'static str),
}

/// How long a request is waited for: among its extensions, where its caller may be answered otherwise than by its handler.
///
/// A request that is dropped before its end was given up by its caller, who gets no answer, and so it is not counted. When
/// this has ended, its caller was answered all the same: 503. It is counted when the last of these is gone.
#[derive(Clone, Debug, Default)]
pub struct Patience(Arc<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    has_ended: AtomicBool,
    /// A request that has ended, and whose caller may still be told something else.
    ended: Mutex<Option<Counted>>,
}

impl Patience {
    /// Its caller is answered now, or will be, whatever becomes of it.
    pub fn end(&self) {
        self.0.has_ended.store(true, Relaxed);
    }

    fn has_ended(&self) -> bool {
        self.0.has_ended.load(Relaxed)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(counted) = self.ended.get_mut()
            && *self.has_ended.get_mut()
        {
            counted.told(StatusCode::SERVICE_UNAVAILABLE);
        }
    }
}

impl Service<Request> for Served {
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // The operations are always ready.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let served = self.clone();
        Box::pin(async move { Ok(served.answer(normalise(request)).await) })
    }
}

impl App {
    /// Answers one request, as if it had come over the network from nowhere in particular.
    pub async fn answer(&self, request: Request) -> Response {
        let result: Result<Response, Infallible> = Served::new(self.clone()).call(request).await;
        result.unwrap_or_else(|never| match never {})
    }
}

/// Look-ups that put the value into the path segment: `/v1/customers/email=jane%40example.com`.
const LOOK_UPS: [&str; 5] = [
    "/v1/customers/email=",
    "/v1/customers/phone=",
    "/v1/customers/externalId=",
    "/v1/conversations/externalId=",
    "/v1/messages/externalid=",
];

/// Brings a path into the form the router knows: no trailing slash, and a look-up's value as one segment of its own.
fn normalise(mut request: Request) -> Request {
    let path = request.uri().path();
    let trimmed = if path.len() > 1 { path.trim_end_matches('/') } else { path };
    // Without a value it is no look-up: what is left is taken for an id, and refused as one.
    let look_up = LOOK_UPS.into_iter().find_map(|prefix| Some((prefix, trimmed.strip_prefix(prefix)?)));
    let look_up = look_up.filter(|(_, value)| !value.is_empty());
    if look_up.is_none() && trimmed.len() == path.len() {
        return request;
    }
    let mut changed = match look_up {
        Some((prefix, value)) => format!("{prefix}/{}", value.replace('/', "%2F")),
        None if trimmed.is_empty() => "/".to_owned(),
        None => trimmed.to_owned(),
    };
    if let Some(query) = request.uri().query() {
        changed.push('?');
        changed.push_str(query);
    }
    // It was a valid path before and got only shorter, or longer by slashes.
    if let Ok(path_and_query) = PathAndQuery::try_from(changed) {
        let mut parts = request.uri().clone().into_parts();
        parts.path_and_query = Some(path_and_query);
        if let Ok(uri) = Uri::from_parts(parts) {
            *request.uri_mut() = uri;
        }
    }
    request
}

/// The token of a request: the bearer header, else the browser session's cookie. A cookie travels without its user
/// knowing, so what changes anything must repeat the `_csrf` cookie in a header, as the vendor's web app does.
fn token(request: &Request) -> Result<&str, Refusal> {
    let headers = request.headers();
    if let Some(value) = headers.get(AUTHORIZATION) {
        let text = value.to_str().map_err(|_| Refusal::Invalid("The Authorization header is not readable"))?;
        let (scheme, token) = text.split_once(' ').unwrap_or((text, ""));
        if !scheme.eq_ignore_ascii_case("bearer") || token.trim().is_empty() {
            return Err(Refusal::Invalid("The Authorization header must be: Bearer <token>"));
        }
        return Ok(token.trim());
    }
    let token = cookie(headers, TOKEN_COOKIE).ok_or(Refusal::NoToken)?;
    let changes = !matches!(*request.method(), Method::GET | Method::HEAD);
    let csrf = headers.get(CSRF_HEADER).and_then(|value| value.to_str().ok());
    if changes && (csrf.is_none() || csrf != cookie(headers, CSRF_COOKIE)) {
        return Err(Refusal::Invalid("With a cookie, x-csrf-token must repeat the _csrf cookie"));
    }
    Ok(token)
}

pub(crate) fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let cookies = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    cookies.flat_map(|text| text.split(';')).find_map(|pair| {
        let (key, value) = pair.trim().split_once('=')?;
        (key == name && !value.is_empty()).then_some(value)
    })
}

/// The caller's address: the peer's, or what trusted proxies in front of konverse say it is.
pub(crate) fn address(app: &App, extensions: &Extensions, headers: &HeaderMap) -> Option<IpAddr> {
    let peer = extensions.get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(peer)| peer.ip())?;
    if !app.is_trusted_proxy(peer) {
        return Some(peer);
    }
    // Read from the right: the first address that is not one of ours was seen by one of ours. What lies left of a hop
    // that cannot be read could have been written by anybody.
    let forwarded = headers.get_all("x-forwarded-for").iter().filter_map(|value| value.to_str().ok());
    let hops: Vec<&str> = forwarded.flat_map(|text| text.split(',')).map(str::trim).collect();
    for hop in hops.into_iter().rev() {
        let hop = hop.parse::<IpAddr>().or_else(|_| hop.parse::<SocketAddr>().map(|hop| hop.ip()));
        match hop {
            Ok(hop) if app.is_trusted_proxy(hop) => {}
            Ok(hop) => return Some(hop),
            Err(_) => return Some(peer),
        }
    }
    Some(peer)
}

/// What the gate knows of the operation behind it.
#[derive(Debug)]
struct Passage {
    key: &'static str,
    meter: Meter,
    /// Its path as the contract writes it: what the log shows of a request. The path itself may be made of somebody's
    /// address, and so may a query.
    path: &'static str,
    /// Any of them opens it; none when any token does.
    roles: &'static [&'static str],
    /// Whether it is asked whose the token is. Where none is needed a request does not wait for the database.
    needs_token: bool,
    /// Whether its answers are made of the timeline of the customer its path names, and of nothing else.
    of_timeline: bool,
    /// Whether its answers have a tag by which a caller can ask whether they have changed.
    tagged: bool,
}

impl Passage {
    fn of(operation: &Operation) -> Self {
        Self {
            key: operation.key,
            meter: Meter::new(operation.key),
            path: operation.path,
            roles: operation.roles,
            needs_token: operation.needs_token,
            of_timeline: operation.of_timeline,
            tagged: operation.is_tagged(),
        }
    }

    /// Tells a request's span what became of it. Its path is not told, since it may hold an address.
    fn tell(&self, span: &Span, status: StatusCode, org: Option<OrgId>) {
        // What the span does not ask for is left out.
        span.record("otel.name", self.key).record("http.response.status_code", status.as_u16());
        if status.is_server_error() {
            span.record("otel.status_code", "ERROR");
        }
        if let Some(org) = org {
            span.record("org", tracing::field::display(org));
        }
    }

    /// The customer whose timeline a request is about. A path that does not name one plainly has none.
    fn about(&self, path: &str) -> Option<CustomerId> {
        let rest = path.strip_prefix(CUSTOMERS).filter(|_| self.of_timeline)?;
        rest.split('/').next()?.parse().ok()
    }
}

/// What stands before the id in the path of an operation that reads a customer's timeline.
const CUSTOMERS: &str = "/v1/customers/";

/// The passages, by route and method.
struct Passages {
    by_route: matchit::Router<Vec<(Method, Arc<Passage>)>>,
    /// Of requests that no operation answers.
    other: Arc<Passage>,
}

impl Passages {
    fn new(operations: &[Operation]) -> Self {
        let mut routes: BTreeMap<String, Vec<(Method, Arc<Passage>)>> = BTreeMap::new();
        for operation in operations {
            routes
                .entry(operation.route())
                .or_default()
                .push((operation.method.clone(), Arc::new(Passage::of(operation))));
        }
        let mut by_route = matchit::Router::new();
        for (route, passages) in routes {
            // The router of the operations, which is of the same kind, takes the same routes.
            if let Err(error) = by_route.insert(route, passages) {
                tracing::error!(%error, "an operation is not counted");
            }
        }
        let other = Arc::new(Passage {
            key: "other",
            meter: Meter::new("other"),
            path: "unknown",
            roles: &[],
            needs_token: true,
            of_timeline: false,
            tagged: false,
        });
        Self { by_route, other }
    }

    fn of(&self, method: &Method, path: &str) -> &Arc<Passage> {
        let method = if method == Method::HEAD { &Method::GET } else { method };
        let found = self.by_route.at(path).ok();
        let found = found.and_then(|found| found.value.iter().find(|(one, _)| one == method));
        found.map_or(&self.other, |(_, passage)| passage)
    }
}

/// How a request wants to be answered.
struct Wish {
    has: Vec<HeaderValue>,
    /// None where nothing is ever compressed.
    coding: Option<Coding>,
    only_head: bool,
}

impl Served {
    async fn answer(&self, mut request: Request) -> Response {
        let app = &self.app;
        let stopwatch = Stopwatch::now();
        let now = app.domain().now();
        if request.method() == Method::OPTIONS {
            let cors = Cors::of(app, request.headers());
            return self.finish(preflight(), app.0.budget.untouched(now), cors);
        }
        let cors = Cors::of(app, request.headers());
        let (method, uri) = (request.method().clone(), request.uri().clone());
        let passage = Arc::clone(self.passages.of(&method, uri.path()));
        let headers = request.headers();
        let span = app.0.process.span.as_ref().map(|begin| begin(name_of(&method), headers));
        let patience = request.extensions().get::<Patience>().cloned();
        let mut counted = Counted {
            passage: Arc::clone(&passage),
            method: method.clone(),
            uri: uri.clone(),
            stopwatch,
            span,
            org: None,
            patience,
            end: None,
        };
        let wish = Wish {
            has: headers.get_all(IF_NONE_MATCH).iter().filter(|_| passage.tagged).cloned().collect(),
            coding: app.0.settings.compress.then(|| Coding::accepted(headers)),
            only_head: method == Method::HEAD,
        };
        let about = passage.about(uri.path());
        let address = address(app, request.extensions(), request.headers());
        let presented = match token(&request) {
            _ if !passage.needs_token => Err(Refusal::NoToken),
            Ok(token) => app.domain().authenticate(Access { token, address, about }).await.map_err(refusal),
            Err(refusal) => Err(refusal),
        };
        let left = match &presented {
            Ok(actor) => {
                app.domain().note_use(actor, address, || {
                    let agent = request.headers().get(USER_AGENT)?.to_str().ok()?;
                    Some(agent.chars().take(256).collect())
                });
                app.0.budget.take(actor.org, now)
            }
            Err(_) => app.0.budget.untouched(now),
        };
        counted.org = presented.as_ref().ok().map(|actor| actor.org);
        let response = if left.exceeded {
            ApiError::too_many((left.reset - now.millis().div_euclid(1000)).unsigned_abs().max(1)).into_response()
        } else {
            let actor = presented.as_ref().ok().filter(|_| method == Method::GET);
            let place = actor.and_then(|actor| app.0.answers.place(actor, passage.roles, about, &uri));
            match place.as_ref().and_then(Place::answer) {
                Some(content) => ok(content),
                None => {
                    request.extensions_mut().insert(Presented(presented));
                    let operations = self.operations.clone();
                    let response = operations.oneshot(request).await.unwrap_or_else(|never| match never {});
                    keep(response, place)
                }
            }
        };
        let response = send(response, &wish, passage.tagged, &app.0.presses).await;
        counted.end(response.status());
        self.finish(response, left, cors)
    }

    /// A response with what every answer carries, and what this one's page needs.
    fn finish(&self, response: Response, left: Left, cors: Option<Cors>) -> Response {
        let mut response = finish(response, left);
        browser::vary(&self.app, response.headers_mut());
        if let Some(cors) = cors {
            cors.put(response.headers_mut());
        }
        response
    }
}

/// A request that is counted and logged once, when it ends or is given up, with the status its caller was told.
#[derive(Debug)]
struct Counted {
    passage: Arc<Passage>,
    method: Method,
    uri: Uri,
    stopwatch: Stopwatch,
    span: Option<Span>,
    org: Option<OrgId>,
    patience: Option<Patience>,
    /// Its status, and how long it took.
    end: Option<(StatusCode, Duration)>,
}

impl Counted {
    /// It has been answered. Where its caller may still be told something else, that decides.
    fn end(mut self, status: StatusCode) {
        self.told(status);
        if let Some(patience) = self.patience.take() {
            *patience.0.ended.lock() = Some(self);
        }
    }

    fn told(&mut self, status: StatusCode) {
        let elapsed = self.end.map_or_else(|| self.stopwatch.elapsed(), |(_, elapsed)| elapsed);
        self.end = Some((status, elapsed));
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if self.patience.as_ref().is_some_and(Patience::has_ended) {
            self.told(StatusCode::SERVICE_UNAVAILABLE);
        }
        // Nobody was told anything when there is none.
        let Some((status, elapsed)) = self.end else { return };
        let Self { passage, org, .. } = self;
        let (method, path) = (name_of(&self.method), passage.path);
        let id = id_in(self.uri.path()).map(tracing::field::display);
        passage.meter.count(status, elapsed.as_secs_f64());
        if let Some(span) = &self.span {
            passage.tell(span, status, *org);
        }
        if status.is_server_error() {
            tracing::warn!(
                %method,
                path,
                id,
                status = status.as_u16(),
                ?org,
                micros = elapsed.as_micros() as u64,
                "request failed"
            );
        } else {
            tracing::debug!(
                %method,
                path,
                id,
                status = status.as_u16(),
                ?org,
                micros = elapsed.as_micros() as u64,
                "request"
            );
        }
    }
}

/// A method as the log may say it: one that HTTP does not know may be anything, a token sent in the wrong place for instance.
fn name_of(method: &Method) -> &str {
    const KNOWN: [Method; 9] = [
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::PUT,
        Method::PATCH,
        Method::DELETE,
        Method::OPTIONS,
        Method::CONNECT,
        Method::TRACE,
    ];
    if KNOWN.contains(method) { method.as_str() } else { "other" }
}

/// The id a path names, which says nothing of anybody.
fn id_in(path: &str) -> Option<Id> {
    path.split('/').find_map(|segment| segment.parse().ok())
}

/// Keeps an answer for whoever asks the same again.
fn keep(mut response: Response, place: Option<Place<'_>>) -> Response {
    if let Some(place) = place.filter(|_| response.status() == StatusCode::OK)
        && let Some(content) = response.extensions_mut().get_mut::<Arc<Content>>()
    {
        place.keep(content);
    }
    response
}

/// Gives an answer its final form: without a body when the caller has it already, compressed when the caller can read
/// that.
async fn send(mut response: Response, wish: &Wish, tagged: bool, presses: &Presses) -> Response {
    let Some(content) = response.extensions_mut().remove::<Arc<Content>>() else { return response };
    let wanted = content.coding(wish.coding.unwrap_or(Coding::Identity));
    let tagged = tagged && response.status() == StatusCode::OK;
    let headers = response.headers_mut();
    if wish.coding.is_some() {
        headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
    }
    if tagged {
        let tag = content.tag(wanted);
        let unchanged = wish.has.iter().any(|has| content::has(has, &tag));
        headers.insert(ETAG, tag);
        if unchanged {
            headers.remove(CONTENT_TYPE);
            headers.remove(CONTENT_LENGTH);
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            *response.body_mut() = Body::empty();
            return response;
        }
    }
    let (coding, turn) = content.turn(wanted, presses);
    if tagged && coding != wanted {
        headers.insert(ETAG, content.tag(coding));
    }
    let Some(name) = coding.name() else { return response };
    match content.coded(coding, turn).await {
        Ok(body) => {
            let headers = response.headers_mut();
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static(name));
            headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
            *response.body_mut() = if wish.only_head { Body::empty() } else { Body::from(body) };
        }
        Err(error) => {
            tracing::error!(%error, "an answer cannot be compressed");
            if tagged {
                response.headers_mut().insert(ETAG, content.tag(Coding::Identity));
            }
        }
    }
    response
}

fn preflight() -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers
        .insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"));
    headers.insert(
        ACCESS_CONTROL_ALLOW_HEADERS,
        HeaderValue::from_static("authorization, content-type, accept, x-csrf-token, if-none-match"),
    );
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400"));
    response
}

/// Headers of every answer. Any origin may ask, since tokens are sent on purpose; cookies are not let through by `*`, but by
/// naming the origin, which is done for those that are allowed.
/// Records are people's, and an error is of one moment: neither is for a cache. Whoever keeps a tag may ask by it all the same.
fn finish(mut response: Response, left: Left) -> Response {
    let headers = response.headers_mut();
    headers.insert(LIMIT, HeaderValue::from(left.limit));
    headers.insert(REMAINING, HeaderValue::from(left.remaining));
    headers.insert(RESET, HeaderValue::from(left.reset));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(
        ACCESS_CONTROL_EXPOSE_HEADERS,
        HeaderValue::from_static("x-ratelimit-limit, x-ratelimit-remaining, x-ratelimit-reset, retry-after, etag"),
    );
    response
}

/// What is counted of an operation.
#[derive(Debug)]
struct Meter {
    by_class: [Counter; 3],
    seconds: Histogram,
}

impl Meter {
    fn new(operation: &str) -> Self {
        let class = |class: &'static str| counter!("konverse_requests_total", "operation" => operation.to_owned(), "status" => class);
        Self {
            by_class: [class("2xx"), class("4xx"), class("5xx")],
            seconds: histogram!("konverse_request_seconds", "operation" => operation.to_owned()),
        }
    }

    fn count(&self, status: StatusCode, seconds: f64) {
        let class = match status.as_u16() {
            500.. => 2,
            400..500 => 1,
            _ => 0,
        };
        self.by_class[class].increment(1);
        self.seconds.record(seconds);
    }
}
