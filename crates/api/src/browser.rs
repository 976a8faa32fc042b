//! Browsers: pages of named origins may sign in and use the session's cookie; all others may use tokens alone.
//!
//! The cookie is not readable by scripts. Since browsers send it along with whatever goes to konverse, what changes
//! anything must repeat the `_csrf` cookie in a header (see the gate). A page on another host than konverse cannot read
//! that cookie: it is told its value by the header `x-csrf-token` of each answer.

use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ORIGIN, SET_COOKIE,
    USER_AGENT, VARY,
};
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap, HeaderName, HeaderValue};
use konverse_domain::Session;
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};

use crate::App;
use crate::gate::cookie;

/// The session's cookie.
pub(crate) const TOKEN_COOKIE: &str = "x-kustomer-auth-token";
/// The cookie that a change must repeat.
pub(crate) const CSRF_COOKIE: &str = "_csrf";
/// The header it is repeated in.
pub(crate) const CSRF_HEADER: HeaderName = HeaderName::from_static("x-csrf-token");

/// Among a request's extensions: it came over TLS.
#[derive(Clone, Copy, Debug)]
pub struct Https;

/// A page of an allowed origin, if the request comes from one.
pub(crate) struct Browser(Option<Page>);

struct Page {
    /// Whether the browser speaks TLS, to konverse or to a proxy in front of it.
    https: bool,
}

impl FromRequestParts<App> for Browser {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Infallible> {
        let page =
            allowed(app, &parts.headers).map(|_| Page { https: is_https(app, &parts.extensions, &parts.headers) });
        Ok(Self(page))
    }
}

fn is_https(app: &App, extensions: &Extensions, headers: &HeaderMap) -> bool {
    if extensions.get::<Https>().is_some() {
        return true;
    }
    let peer = extensions.get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(peer)| peer.ip());
    let said = headers.get("x-forwarded-proto").is_some_and(|proto| proto.as_bytes().eq_ignore_ascii_case(b"https"));
    said && peer.is_some_and(|peer| app.is_trusted_proxy(peer))
}

/// The origin of a request, if it is allowed.
pub(crate) fn allowed<'a>(app: &App, headers: &'a HeaderMap) -> Option<&'a HeaderValue> {
    let origins = &app.0.settings.allowed_origins;
    if origins.is_empty() {
        return None;
    }
    headers.get(ORIGIN).filter(|origin| origins.iter().any(|one| one.as_bytes() == origin.as_bytes()))
}

/// What an answer to a page of an allowed origin carries beside what all carry.
pub(crate) struct Cors {
    origin: HeaderValue,
    csrf: Option<HeaderValue>,
}

impl Cors {
    pub(crate) fn of(app: &App, headers: &HeaderMap) -> Option<Self> {
        let origin = allowed(app, headers)?.clone();
        let csrf = cookie(headers, CSRF_COOKIE).and_then(|value| HeaderValue::from_str(value).ok());
        Some(Self { origin, csrf })
    }

    pub(crate) fn put(self, headers: &mut HeaderMap) {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, self.origin);
        headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        headers.insert(
            ACCESS_CONTROL_EXPOSE_HEADERS,
            HeaderValue::from_static(
                "x-ratelimit-limit, x-ratelimit-remaining, x-ratelimit-reset, retry-after, etag, x-csrf-token",
            ),
        );
        if let Some(csrf) = self.csrf {
            headers.entry(CSRF_HEADER).or_insert(csrf);
        }
    }
}

/// Says that answers differ by origin, where they do.
pub(crate) fn vary(app: &App, headers: &mut HeaderMap) {
    if !app.0.settings.allowed_origins.is_empty() {
        headers.append(VARY, HeaderValue::from_static("origin"));
    }
}

impl Browser {
    /// The headers that hand a session to a page.
    pub(crate) fn open(&self, session: &Session, seconds: i64) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if let Some(page) = &self.0 {
            page.set(&mut headers, TOKEN_COOKIE, &session.secret, seconds, "; HttpOnly");
            page.set(&mut headers, CSRF_COOKIE, &session.csrf, seconds, "");
            if let Ok(csrf) = HeaderValue::from_str(&session.csrf) {
                headers.insert(CSRF_HEADER, csrf);
            }
        }
        headers
    }

    /// The headers that take it away.
    pub(crate) fn close(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if let Some(page) = &self.0 {
            page.set(&mut headers, TOKEN_COOKIE, "", 0, "; HttpOnly");
            page.set(&mut headers, CSRF_COOKIE, "", 0, "");
        }
        headers
    }
}

impl Page {
    /// Over TLS the page may be of another site; in plain, where browsers would refuse that, of another port.
    fn set(&self, headers: &mut HeaderMap, name: &str, value: &str, seconds: i64, more: &str) {
        let site = if self.https { "SameSite=None; Secure" } else { "SameSite=Lax" };
        let cookie = format!("{name}={value}; Path=/; Max-Age={seconds}; {site}{more}");
        if let Ok(mut cookie) = HeaderValue::from_str(&cookie) {
            cookie.set_sensitive(true);
            headers.append(SET_COOKIE, cookie);
        }
    }
}

/// Where a request comes from.
pub(crate) struct Whence {
    pub(crate) address: Option<IpAddr>,
    pub(crate) user_agent: Option<String>,
}

impl FromRequestParts<App> for Whence {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Infallible> {
        let address = crate::gate::address(app, &parts.extensions, &parts.headers);
        let agent = parts.headers.get(USER_AGENT).and_then(|agent| agent.to_str().ok());
        Ok(Self { address, user_agent: agent.map(|agent| agent.chars().take(256).collect()) })
    }
}
