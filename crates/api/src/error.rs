//! Errors as documents: one table of codes, one shape (contract README §8).

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use konverse_domain::DomainError;
use konverse_model::FieldError;
use serde_json::{Value, json};

macro_rules! codes {
    ($(#[doc = $doc:literal] $code:ident = $name:literal, $status:literal, $title:literal;)*) => {
        /// A code of the one table.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Code {
            $(#[doc = $doc] $code,)*
        }

        /// Every code.
        pub const CODES: &[Code] = &[$(Code::$code,)*];

        impl Code {
            /// The word clients branch on.
            pub const fn name(self) -> &'static str {
                match self { $(Code::$code => $name,)* }
            }

            /// The HTTP status that goes with it.
            pub const fn status(self) -> u16 {
                match self { $(Code::$code => $status,)* }
            }

            /// When it is answered, in a sentence.
            pub const fn description(self) -> &'static str {
                match self { $(Code::$code => $doc.trim_ascii(),)* }
            }

            /// A few words for people.
            pub const fn title(self) -> &'static str {
                match self { $(Code::$code => $title,)* }
            }
        }
    };
}

codes! {
    /// The request cannot be understood or breaks a rule of its shape.
    BadRequest = "bad_request", 400, "Bad request";
    /// No valid token.
    Unauthorized = "unauthorized", 401, "Unauthorized";
    /// A valid token without a role that would do.
    Forbidden = "forbidden", 403, "Forbidden";
    /// No such record, path or operation.
    NotFound = "not_found", 404, "Not found";
    /// The path does not take this method.
    MethodNotAllowed = "method_not_allowed", 405, "Method not allowed";
    /// A stale revision, or a name that is taken.
    Conflict = "conflict", 409, "Conflict";
    /// The body is larger than 100 kB.
    RequestEntityTooLarge = "request_entity_too_large", 413, "Request entity too large";
    /// The org's budget of requests is spent.
    TooManyRequests = "too_many_requests", 429, "Rate Limit Exceeded";
    /// konverse failed; the log says how.
    InternalError = "internal_error", 500, "Internal error";
    /// konverse cannot serve now: its database does not answer, or too many ask.
    Unavailable = "unavailable", 503, "Unavailable";
}

/// Seconds after which a caller may try again what konverse could not do.
const RETRY_SECONDS: u64 = 1;

/// An error on its way out.
#[derive(Debug)]
pub(crate) struct ApiError {
    status: u16,
    entries: Vec<Value>,
    retry_after: Option<u64>,
}

/// Where an error lies.
pub(crate) enum Source<'a> {
    Pointer(&'a str),
    Parameter(&'a str),
    Header(&'a str),
    Nowhere,
}

fn entry(code: Code, status: u16, message: &str, source: Source<'_>) -> Value {
    let mut entry = json!({
        "status": status.to_string(), "code": code.name(), "title": code.title(), "message": message, "detail": message,
    });
    match source {
        Source::Pointer(pointer) => entry["source"] = json!({ "pointer": pointer }),
        Source::Parameter(name) => entry["source"] = json!({ "parameter": name }),
        Source::Header(name) => entry["source"] = json!({ "header": name }),
        Source::Nowhere => {}
    }
    entry["meta"] = json!({});
    entry
}

impl ApiError {
    pub(crate) fn new(code: Code, message: &str, source: Source<'_>) -> Self {
        Self { status: code.status(), entries: vec![entry(code, code.status(), message, source)], retry_after: None }
    }

    /// A parameter of the path or the query is wrong.
    pub(crate) fn parameter(name: &str, message: &str) -> Self {
        Self::new(Code::BadRequest, &format!("{name} {message}"), Source::Parameter(name))
    }

    /// Fields of the body are wrong.
    pub(crate) fn fields(errors: &[FieldError]) -> Self {
        let one = |error: &FieldError| {
            let name = if error.pointer.is_empty() { "the body" } else { &error.pointer[1..] };
            let message = format!("{name} {}", error.message);
            entry(Code::BadRequest, 400, &message, Source::Pointer(&error.pointer))
        };
        Self { status: 400, entries: errors.iter().map(one).collect(), retry_after: None }
    }

    pub(crate) fn too_many(retry_after: u64) -> Self {
        let mut this =
            Self::new(Code::TooManyRequests, "The org's requests of this minute are used up", Source::Nowhere);
        this.retry_after = Some(retry_after);
        this
    }

    /// konverse cannot do it now, and later it may.
    pub(crate) fn unavailable(message: &str) -> Self {
        let mut this = Self::new(Code::Unavailable, message, Source::Nowhere);
        this.retry_after = Some(RETRY_SECONDS);
        this
    }

    /// The error of a look-up, which names what was looked up by.
    pub(crate) fn of_look_up(error: DomainError, parameter: &'static str) -> Self {
        match error {
            DomainError::NotFound(..) => Self::new(Code::NotFound, &error.to_string(), Source::Parameter(parameter)),
            other => other.into(),
        }
    }

    /// The error of the rules, with the status a missing role has here.
    pub(crate) fn of(error: DomainError, missing_role_status: u16) -> Self {
        match error {
            DomainError::Forbidden(_) if missing_role_status == 401 => {
                Self::new(Code::Unauthorized, &error.to_string(), Source::Nowhere)
            }
            other => other.into(),
        }
    }
}

impl From<DomainError> for ApiError {
    fn from(error: DomainError) -> Self {
        let text = error.to_string();
        match error {
            DomainError::Unauthorized(reason) => Self::new(Code::Unauthorized, reason, Source::Nowhere),
            DomainError::Forbidden(_) => {
                Self::new(Code::Forbidden, &format!("The token holds {text}"), Source::Nowhere)
            }
            DomainError::NotFound(..) => Self::new(Code::NotFound, &text, Source::Parameter("id")),
            DomainError::Invalid(errors) => Self::fields(&errors),
            DomainError::Parameter { name, .. } => Self::new(Code::BadRequest, &text, Source::Parameter(name)),
            DomainError::Conflict { pointer, .. } => {
                let source = pointer.as_deref().map_or(Source::Nowhere, Source::Pointer);
                Self::new(Code::Conflict, &text, source)
            }
            DomainError::TooOften { seconds } => {
                Self { retry_after: Some(seconds), ..Self::new(Code::TooManyRequests, &text, Source::Nowhere) }
            }
            DomainError::Busy | DomainError::Crowded | DomainError::NotYet(_) => Self::unavailable(&text),
            DomainError::NotServed(_) => Self::new(Code::Unavailable, &text, Source::Nowhere),
            DomainError::Unavailable(report) => {
                tracing::warn!(location = %report.location, "unavailable: {}", report.text);
                Self::unavailable(&text)
            }
            // Said loudly in the log when it was noticed: not once more for each request.
            DomainError::Stopped(report) => {
                tracing::debug!(location = %report.location, "stopped: {}", report.text);
                Self::new(Code::Unavailable, &text, Source::Nowhere)
            }
            // 503 would invite to try again what may have been done.
            DomainError::Unclear(report) => {
                tracing::warn!(location = %report.location, "a write may or may not have been done: {}", report.text);
                Self::new(Code::InternalError, &text, Source::Nowhere)
            }
            DomainError::Internal(report) => {
                tracing::error!(location = %report.location, "internal error: {}", report.text);
                Self::new(Code::InternalError, "konverse failed; its log says how", Source::Nowhere)
            }
        }
    }
}

impl ApiError {
    /// What is told of it. Some clients read a top-level `error` and nothing else (contract README §15).
    pub(crate) fn document(&self) -> Value {
        let first = self.entries.first().map(|entry| &entry["message"]);
        json!({ "error": first, "errors": self.entries })
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.document().to_string()));
        *response.status_mut() = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        response.headers_mut().insert(CONTENT_TYPE, crate::answer::JSON);
        // RFC 9110 §15.5.2 wants it; browsers ask nobody for a password because of this scheme.
        if response.status() == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

pub(crate) async fn unknown_path() -> ApiError {
    ApiError::new(Code::NotFound, "There is nothing at this path; /openapi.json lists what there is", Source::Nowhere)
}

pub(crate) async fn wrong_method() -> ApiError {
    ApiError::new(Code::MethodNotAllowed, "This path does not take this method; see /openapi.json", Source::Nowhere)
}
