//! Answers: stored text in an envelope.

use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use konverse_model::{Attributes, Document};

pub(crate) const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");

/// A JSON text as the whole answer.
pub(crate) struct Json {
    status: StatusCode,
    body: Vec<u8>,
}

impl Json {
    pub(crate) fn of(body: Vec<u8>) -> Self {
        Self { status: StatusCode::OK, body }
    }
}

impl IntoResponse for Json {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.body));
        *response.status_mut() = self.status;
        response.headers_mut().insert(CONTENT_TYPE, JSON);
        response
    }
}

/// `{"data": …}` around a record's text.
pub(crate) fn one(text: &str) -> Json {
    Json::of(format!("{{\"data\":{text}}}").into_bytes())
}

/// `{"data": …}` around a record.
pub(crate) fn record<A: Attributes>(doc: &Document<A>) -> Json {
    one(&doc.to_text())
}

/// The same, for a record that was just created.
pub(crate) fn created<A: Attributes>(doc: &Document<A>) -> Json {
    Json { status: StatusCode::CREATED, ..record(doc) }
}

/// Done, and nothing to say.
pub(crate) fn nothing() -> StatusCode {
    StatusCode::NO_CONTENT
}
