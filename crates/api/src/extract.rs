//! What handlers take from a request: the caller with a proof, ids, query values, a checked body.

use std::str::FromStr;

use axum::body::Bytes;
use axum::extract::path::ErrorKind;
use axum::extract::rejection::{BytesRejection, PathRejection};
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use konverse_domain::{Actor, Authorized, DomainError, Permission};
use konverse_model::IdError;
use konverse_model::input::Shape;
use percent_encoding::percent_decode_str;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::App;
use crate::error::{ApiError, Code, Source};

/// The caller, with the proof that they may do `P`. Taken before anything else of the request is looked at.
pub(crate) struct Caller<P>(pub(crate) Authorized<P>);

/// Who the gate found the caller to be, waiting for the handler that asks.
#[derive(Clone)]
pub(crate) struct Presented(pub(crate) Result<Actor, Refusal>);

/// Why there is no caller.
#[derive(Clone, Copy)]
pub(crate) enum Refusal {
    NoToken,
    Invalid(&'static str),
    Failed,
    /// The database cannot say now.
    Unavailable,
}

impl<P: Permission> FromRequestParts<App> for Caller<P> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let refuse = |message: &str| ApiError::new(Code::Unauthorized, message, Source::Nowhere);
        match parts.extensions.remove::<Presented>() {
            Some(Presented(Ok(actor))) => {
                actor.authorize().map(Self).map_err(|error| ApiError::of(error, app.0.settings.missing_role_status))
            }
            Some(Presented(Err(Refusal::Invalid(reason)))) => Err(refuse(reason)),
            Some(Presented(Err(Refusal::Failed))) => {
                Err(ApiError::new(Code::InternalError, "konverse failed; its log says how", Source::Nowhere))
            }
            Some(Presented(Err(Refusal::Unavailable))) => {
                Err(ApiError::unavailable("The database cannot be asked for the token now; try again"))
            }
            Some(Presented(Err(Refusal::NoToken))) | None => {
                Err(refuse("A token is needed: Authorization: Bearer <token>"))
            }
        }
    }
}

/// An id from the path.
pub(crate) struct PathId<I>(pub(crate) I);

impl<I: FromStr<Err = IdError> + Send> FromRequestParts<App> for PathId<I> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let (name, text) = path_param(parts, app).await?;
        text.parse().map(Self).map_err(|error| ApiError::parameter(&name, &error.to_string()))
    }
}

/// Ids from the path, separated by commas; each counts once.
pub(crate) enum PathIds<I> {
    One(I),
    Several(Vec<I>),
}

/// Most ids a path may name.
const MOST_IDS: usize = 100;

impl<I: FromStr<Err = IdError> + PartialEq + Send> FromRequestParts<App> for PathIds<I> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let (name, text) = path_param(parts, app).await?;
        let wrong = |error: IdError| ApiError::parameter(&name, &error.to_string());
        if !text.contains(',') {
            return text.parse().map(Self::One).map_err(wrong);
        }
        let mut ids: Vec<I> = Vec::new();
        for id in text.split(',').map(str::trim).filter(|id| !id.is_empty()) {
            let id = id.parse().map_err(wrong)?;
            if ids.contains(&id) {
                continue;
            }
            if ids.len() == MOST_IDS {
                return Err(ApiError::parameter(&name, &format!("must not name more than {MOST_IDS} ids")));
            }
            ids.push(id);
        }
        Ok(Self::Several(ids))
    }
}

/// The path's parameter as text, decoded.
pub(crate) struct PathText(pub(crate) String);

impl FromRequestParts<App> for PathText {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        path_param(parts, app).await.map(|(_, text)| Self(text))
    }
}

/// The last parameter of the path, with its name.
async fn path_param(parts: &mut Parts, app: &App) -> Result<(String, String), ApiError> {
    path_params(parts, app).await?.pop().ok_or_else(no_parameter)
}

/// The parameters of the path, with their names.
async fn path_params(parts: &mut Parts, app: &App) -> Result<Vec<(String, String)>, ApiError> {
    match Path::<Vec<(String, String)>>::from_request_parts(parts, app).await {
        Ok(Path(params)) => Ok(params),
        Err(PathRejection::FailedToDeserializePathParams(error)) => match error.into_kind() {
            ErrorKind::InvalidUtf8InPathParam { key } => {
                Err(ApiError::parameter(&key, "must be UTF-8, percent-encoded"))
            }
            other => Err(ApiError::new(Code::BadRequest, &other.to_string(), Source::Nowhere)),
        },
        Err(error) => Err(ApiError::new(Code::BadRequest, &error.body_text(), Source::Nowhere)),
    }
}

fn no_parameter() -> ApiError {
    ApiError::new(Code::InternalError, "the path lacks a parameter", Source::Nowhere)
}

/// The two parameters of a path as texts, decoded.
pub(crate) struct PathTexts(pub(crate) [String; 2]);

impl FromRequestParts<App> for PathTexts {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let texts: Vec<String> = path_params(parts, app).await?.into_iter().map(|(_, text)| text).collect();
        texts.try_into().map(Self).map_err(|_| no_parameter())
    }
}

/// Most parameters a query may have. Every one that is known is looked for among all of them.
const MOST_VALUES: usize = 100;

/// The query: the last of repeated values wins, an empty value counts as absent, unknown ones are ignored.
#[derive(Clone, Debug, Default)]
pub(crate) struct Query {
    path: String,
    values: Vec<(String, String)>,
}

impl FromRequestParts<App> for Query {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, ApiError> {
        let query = Self::parse(parts.uri.path(), parts.uri.query().unwrap_or_default());
        let is_text = |value: &str| percent_decode_str(value).decode_utf8().is_ok();
        if let Some((name, _)) = query.values.iter().find(|(_, value)| !is_text(value)) {
            return Err(ApiError::parameter(name, "must be UTF-8, percent-encoded"));
        }
        match query.values.get(MOST_VALUES) {
            None => Ok(query),
            Some((name, _)) => {
                let message =
                    format!("is one too many: a query may have {MOST_VALUES} parameters, repeated ones included");
                Err(ApiError::parameter(name, &message))
            }
        }
    }
}

fn decode(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

impl Query {
    pub(crate) fn parse(path: &str, query: &str) -> Self {
        let pair = |pair: &str| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            // Values stay as sent until they are asked for: `+` is a space in some and itself in others.
            (decode(name), value.to_owned())
        };
        let values = query.split('&').filter(|pair| !pair.is_empty()).map(pair).collect();
        Self { path: path.to_owned(), values }
    }

    /// The request's path.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    fn raw(&self, name: &str) -> Option<&str> {
        self.values.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.as_str()).filter(|v| !v.is_empty())
    }

    /// A value, decoded as a form's are.
    pub(crate) fn get(&self, name: &str) -> Option<String> {
        self.raw(name).map(|value| decode(&value.replace('+', " ")))
    }

    /// A value that must have the form of `T`, with the text it was read from. A `+` may have been meant as itself
    /// (`…T00:00:00+00:00`) or as a space; whichever reads is taken.
    pub(crate) fn read<T: FromStr>(&self, name: &'static str) -> Result<Option<(T, String)>, ApiError>
    where
        T::Err: std::fmt::Display,
    {
        let Some(raw) = self.raw(name) else { return Ok(None) };
        let as_form = decode(&raw.replace('+', " "));
        match as_form.parse() {
            Ok(value) => Ok(Some((value, as_form))),
            Err(error) => {
                let literal = decode(raw);
                match literal.parse() {
                    Ok(value) => Ok(Some((value, literal))),
                    Err(_) => Err(ApiError::parameter(name, &T::Err::to_string(&error))),
                }
            }
        }
    }

    /// A whole number of at least `least`; `2.0` is 2.
    pub(crate) fn number(&self, name: &'static str, least: u64) -> Result<Option<u64>, ApiError> {
        self.get(name)
            .map(|text| whole_from(least, &text).map_err(|message| ApiError::parameter(name, &message)))
            .transpose()
    }

    /// Whether a flag is set to true.
    pub(crate) fn flag(&self, name: &'static str) -> Result<Option<bool>, ApiError> {
        match self.get(name).as_deref() {
            None => Ok(None),
            Some("true" | "1") => Ok(Some(true)),
            Some("false" | "0") => Ok(Some(false)),
            Some(_) => Err(ApiError::parameter(name, "must be true or false")),
        }
    }

    /// The names that have a value, decoded.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.values.iter().filter(|(_, value)| !value.is_empty()).map(|(name, _)| name.as_str())
    }
}

/// A whole number of at least `least`, or what it must be.
pub(crate) fn whole_from(least: u64, text: &str) -> Result<u64, String> {
    whole(text).filter(|number| *number >= least).ok_or_else(|| format!("must be a whole number from {least}"))
}

/// A whole number, also written `2.0`. Numbers too large for a page are as good as the largest.
fn whole(text: &str) -> Option<u64> {
    let whole = match text.split_once('.') {
        Some((whole, zeros)) if zeros.bytes().all(|b| b == b'0') => whole,
        Some(_) => return None,
        None => text,
    };
    if whole.is_empty() || !whole.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some(whole.parse().unwrap_or(u64::MAX))
}

/// Whether a body is said to be JSON, or nothing is said of it. Another type is a mistake, and what a page of any origin
/// can make a browser send without asking first.
fn may_be_json(headers: &HeaderMap) -> bool {
    let Some(kind) = headers.get(CONTENT_TYPE) else { return true };
    let kind = kind.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    kind.is_empty() || kind == "application/json" || kind.starts_with("application/") && kind.ends_with("+json")
}

/// The body as JSON, not yet checked against a shape. Of a member that is named twice the last one counts.
pub(crate) struct JsonBody(pub(crate) Value);

impl FromRequest<App> for JsonBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &App) -> Result<Self, ApiError> {
        if !may_be_json(request.headers()) {
            let message = "The body must be JSON, and content-type application/json";
            return Err(ApiError::new(Code::BadRequest, message, Source::Header("content-type")));
        }
        let bytes = Bytes::from_request(request, app).await.map_err(|error: BytesRejection| match error.status() {
            StatusCode::PAYLOAD_TOO_LARGE => {
                ApiError::new(Code::RequestEntityTooLarge, "The body must not be larger than 100 kB", Source::Nowhere)
            }
            _ => ApiError::new(Code::BadRequest, "The body could not be read to its end", Source::Nowhere),
        })?;
        let malformed = |message: &str| ApiError::new(Code::BadRequest, message, Source::Pointer(""));
        if bytes.is_empty() {
            return Err(malformed("A JSON body is needed"));
        }
        serde_json::from_slice(&bytes).map(Self).map_err(|error| malformed(&format!("The body is not JSON: {error}")))
    }
}

impl JsonBody {
    /// The body in a shape.
    pub(crate) fn read<T: schemars::JsonSchema + DeserializeOwned>(self, shape: &Shape<T>) -> Result<T, ApiError> {
        shape.read(self.0).map_err(|errors| ApiError::fields(&errors))
    }
}

/// Why the domain refused a token.
pub(crate) fn refusal(error: DomainError) -> Refusal {
    match error {
        DomainError::Unauthorized(reason) => Refusal::Invalid(reason),
        other => {
            let is_passing = matches!(other, DomainError::Unavailable(_) | DomainError::Busy);
            // For the log.
            let _ = ApiError::from(other);
            if is_passing { Refusal::Unavailable } else { Refusal::Failed }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_whole() {
        for (text, expected) in [("1", 1), ("2.0", 2), ("100", 100), ("007", 7), ("99999999999999999999999", u64::MAX)]
        {
            assert_eq!(whole_from(1, text), Ok(expected), "{text}");
        }
        assert_eq!((whole_from(0, "0"), whole_from(0, "0.0")), (Ok(0), Ok(0)));
        for text in ["0", "0.0", "-1", "1.5", "one", "", "1e3", " 1", "+1", "."] {
            assert!(whole_from(1, text).is_err(), "{text}");
        }
        for text in ["-1", "-0", "0.5", "none"] {
            assert!(whole_from(0, text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_last_value_wins_and_an_empty_one_is_absent() {
        let query = Query::parse("/v1/x", "page=1&page=2&pageSize=&junk=%zz&a%5Bb%5D=c+d");
        assert_eq!(query.number("page", 1).ok().flatten(), Some(2));
        assert_eq!(query.number("pageSize", 0).ok().flatten(), None);
        assert_eq!(query.get("a[b]").as_deref(), Some("c d"));
    }

    #[test]
    fn a_plus_in_a_date_is_read_either_way() {
        for (raw, decoded) in [
            ("2023-01-01T00:00:00+00:00", "2023-01-01T00:00:00+00:00"),
            ("2023-01-01T00:00:00%2B00:00", "2023-01-01T00:00:00+00:00"),
            ("2023-01-01+00%3A00%3A00%2B00%3A00", "2023-01-01 00:00:00+00:00"),
        ] {
            let query = Query::parse("/v1/x", &format!("fromDate={raw}"));
            let read = query.read::<konverse_model::Instant>("fromDate").ok().flatten();
            assert_eq!(read.map(|(_, text)| text).as_deref(), Some(decoded), "{raw}");
        }
    }
}
