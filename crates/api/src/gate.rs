//! What happens to every request before and after its handler: paths are normalised, the token is looked up, the budget
//! is charged, headers are added, the request is counted.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant as Stopwatch;

use axum::body::Body;
use axum::extract::connect_info::IntoMakeServiceWithConnectInfo;
use axum::extract::{ConnectInfo, MatchedPath, Request, State};
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, AUTHORIZATION, COOKIE, USER_AGENT,
};
use axum::http::uri::PathAndQuery;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use konverse_domain::Access;
use metrics::{Counter, Histogram, counter, histogram};
use tower::util::MapRequest;
use tower::{Layer, Service};

use crate::budget::Left;
use crate::error::ApiError;
use crate::extract::{Presented, Refusal, refusal};
use crate::operation::Operation;
use crate::{App, router};

const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

/// The whole HTTP surface as a service.
pub type Served = MapRequest<axum::Router, fn(Request) -> Request>;

/// The whole HTTP surface, ready to be served with the callers' addresses.
pub fn serve(app: App) -> IntoMakeServiceWithConnectInfo<Served, SocketAddr> {
    axum::ServiceExt::<Request>::into_make_service_with_connect_info(service(app))
}

/// The whole HTTP surface as a service, for callers in this process.
pub(crate) fn service(app: App) -> Served {
    tower::util::MapRequestLayer::new(normalise as fn(Request) -> Request).layer(router(app))
}

impl App {
    /// Answers one request, as if it had come over the network from nowhere in particular.
    pub async fn answer(&self, request: Request) -> Response {
        let result: Result<Response, Infallible> = service(self.clone()).call(request).await;
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
    let token = cookie(headers, "x-kustomer-auth-token").ok_or(Refusal::NoToken)?;
    let changes = !matches!(*request.method(), Method::GET | Method::HEAD);
    let csrf = headers.get("x-csrf-token").and_then(|value| value.to_str().ok());
    if changes && (csrf.is_none() || csrf != cookie(headers, "_csrf")) {
        return Err(Refusal::Invalid("With a cookie, x-csrf-token must repeat the _csrf cookie"));
    }
    Ok(token)
}

fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let cookies = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    cookies.flat_map(|text| text.split(';')).find_map(|pair| {
        let (key, value) = pair.trim().split_once('=')?;
        (key == name && !value.is_empty()).then_some(value)
    })
}

/// The caller's address: the peer's, or what trusted proxies in front of konverse say it is.
fn address(app: &App, request: &Request) -> Option<IpAddr> {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(peer)| peer.ip())?;
    if !app.is_trusted_proxy(peer) {
        return Some(peer);
    }
    // Read from the right: the first address that is not one of ours was seen by one of ours. What lies left of a hop
    // that cannot be read could have been written by anybody.
    let forwarded = request.headers().get_all("x-forwarded-for").iter().filter_map(|value| value.to_str().ok());
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

pub(crate) async fn gate(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let stopwatch = Stopwatch::now();
    let now = app.domain().now();
    if request.method() == Method::OPTIONS {
        return finish(preflight(), app.0.budget.untouched(now));
    }
    let meter = app.0.meters.of(&request);
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let address = address(&app, &request);
    let presented = match token(&request) {
        Ok(token) => app.domain().authenticate(Access { token, address }).await.map_err(refusal),
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
    let org = presented.as_ref().ok().map(|actor| actor.org);
    let response = if left.exceeded {
        ApiError::too_many((left.reset - now.millis().div_euclid(1000)).unsigned_abs().max(1)).into_response()
    } else {
        request.extensions_mut().insert(Presented(presented));
        next.run(request).await
    };
    let elapsed = stopwatch.elapsed();
    let status = response.status();
    meter.count(status, elapsed.as_secs_f64());
    if status.is_server_error() {
        tracing::warn!(%method, path, status = status.as_u16(), ?org, micros = elapsed.as_micros() as u64, "request failed");
    } else {
        tracing::debug!(%method, path, status = status.as_u16(), ?org, micros = elapsed.as_micros() as u64, "request");
    }
    finish(response, left)
}

fn preflight() -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers
        .insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"));
    headers.insert(
        ACCESS_CONTROL_ALLOW_HEADERS,
        HeaderValue::from_static("authorization, content-type, accept, x-csrf-token"),
    );
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400"));
    response
}

/// Headers of every answer. Any origin may ask, since tokens are sent on purpose; cookies are not let through by `*`.
fn finish(mut response: Response, left: Left) -> Response {
    let headers = response.headers_mut();
    headers.insert(LIMIT, HeaderValue::from(left.limit));
    headers.insert(REMAINING, HeaderValue::from(left.remaining));
    headers.insert(RESET, HeaderValue::from(left.reset));
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(
        ACCESS_CONTROL_EXPOSE_HEADERS,
        HeaderValue::from_static("x-ratelimit-limit, x-ratelimit-remaining, x-ratelimit-reset, retry-after"),
    );
    response
}

/// Counters and histograms of each operation, made once.
pub(crate) struct Meters {
    by_route: HashMap<(Method, String), Meter>,
    other: Meter,
}

/// What is counted of an operation.
#[derive(Clone)]
pub(crate) struct Meter {
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

impl Meters {
    pub(crate) fn new(operations: &[Operation]) -> Self {
        let meter = |operation: &Operation| ((operation.method.clone(), operation.route()), Meter::new(operation.key));
        Self { by_route: operations.iter().map(meter).collect(), other: Meter::new("other") }
    }

    fn of(&self, request: &Request) -> Meter {
        let Some(path) = request.extensions().get::<MatchedPath>() else { return self.other.clone() };
        let method = if request.method() == Method::HEAD { Method::GET } else { request.method().clone() };
        self.by_route.get(&(method, path.as_str().to_owned())).unwrap_or(&self.other).clone()
    }
}
