//! Answers: stored text in an envelope.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use konverse_domain::DomainError;
use konverse_model::{Attributes, Document};
use serde::Serialize;
use serde_json::Value;

use crate::content::Content;
use crate::error::ApiError;

pub(crate) const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");

/// An extension of answers whose body is held in memory anyway, for as long as the process runs: an answer that nobody
/// reads takes no more of it.
#[derive(Clone, Copy, Debug)]
pub struct Standing;

/// A JSON text as the whole answer. The gate sends it, in the form the caller can take.
#[derive(Clone)]
pub(crate) struct Json {
    status: StatusCode,
    content: Arc<Content>,
}

impl Json {
    pub(crate) fn of(body: impl Into<bytes::Bytes>) -> Self {
        Self { status: StatusCode::OK, content: Arc::new(Content::new(body.into())) }
    }

    /// A document that is there for good and shared by all who read it.
    pub(crate) fn standing(content: &Arc<Content>) -> impl IntoResponse + use<> {
        (Extension(Standing), Self { status: StatusCode::OK, content: Arc::clone(content) })
    }

    #[cfg(test)]
    pub(crate) fn content(&self) -> &Content {
        &self.content
    }
}

impl IntoResponse for Json {
    fn into_response(self) -> Response {
        let mut response = ok(self.content);
        *response.status_mut() = self.status;
        response
    }
}

/// A body as a response. The gate looks at what it is made of and may send it in another form.
pub(crate) fn ok(content: Arc<Content>) -> Response {
    let mut response = Response::new(Body::from(content.body().clone()));
    let headers = response.headers_mut();
    // With room for what the gate adds.
    headers.reserve(14);
    headers.insert(CONTENT_TYPE, JSON);
    response.extensions_mut().insert(content);
    response
}

/// `{"data": …}` around a record's text.
pub(crate) fn one(text: &str) -> Json {
    Json::of(format!("{{\"data\":{text}}}"))
}

/// The same, with records that come along: texts, joined by commas.
pub(crate) fn one_including(text: &str, included: &str) -> Json {
    Json::of(format!("{{\"data\":{text},\"included\":[{included}]}}"))
}

/// `{"data": …}` around a record.
pub(crate) fn record<A: Attributes>(doc: &Document<A>) -> Json {
    one(&doc.to_text())
}

/// The same, for a record that was just created.
pub(crate) fn created<A: Attributes>(doc: &Document<A>) -> Json {
    Json { status: StatusCode::CREATED, ..record(doc) }
}

/// The same, with attributes that are shown this once.
pub(crate) fn created_once<A: Attributes>(doc: &Document<A>, shown: &impl Serialize) -> Result<Json, ApiError> {
    let with = || -> Result<String, serde_json::Error> {
        let mut text: Value = serde_json::from_str(&doc.to_text())?;
        text["attributes"] = serde_json::to_value(shown)?;
        Ok(text.to_string())
    };
    let text = with().map_err(|error| ApiError::from(DomainError::from(error)))?;
    Ok(Json { status: StatusCode::CREATED, ..one(&text) })
}

/// Done, and nothing to say.
pub(crate) fn nothing() -> StatusCode {
    StatusCode::NO_CONTENT
}
