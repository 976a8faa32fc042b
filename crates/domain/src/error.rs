//! What can go wrong with an operation, in the terms of the rules. HTTP statuses are given elsewhere.

use konverse_model::{FieldError, Kind};
use konverse_store::{Conflict, StoreError};
use serde_json::error::Category;

/// Why an operation was not done. Nothing of it was stored, unless it is said to be unclear.
#[derive(Debug, thiserror::Error)]
pub enum DomainError {
    /// No valid credential; the text says what was wrong with it.
    #[error("{0}")]
    Unauthorized(&'static str),
    /// The credential holds none of these roles.
    #[error("none of the roles that allow this: {}", .0.join(", "))]
    Forbidden(&'static [&'static str]),
    /// No such record, or not in this org, or deleted.
    #[error("{kind} {1} not found", kind = .0.title())]
    NotFound(Kind, String),
    /// Fields of the body are wrong.
    #[error("invalid body")]
    Invalid(Vec<FieldError>),
    /// A parameter of the path or the query is wrong.
    #[error("{name} {message}")]
    Parameter {
        /// Its name.
        name: &'static str,
        /// What it must be.
        message: String,
    },
    /// The state of things does not allow it: a stale revision, a name that is taken.
    #[error("{message}")]
    Conflict {
        /// The field that clashes, as a JSON pointer, when there is one.
        pointer: Option<String>,
        /// What clashes.
        message: String,
    },
    /// Others write to the same records so often that this change found no turn. It is not the caller's condition that
    /// failed: trying again later helps.
    #[error("the records concerned are being written to without pause; try again")]
    Busy,
    /// Guessing of passwords was slowed down.
    #[error("too many failed attempts to sign in; wait {seconds} s")]
    TooOften {
        /// When to try again.
        seconds: u64,
    },
    /// Too many passwords are being looked at.
    #[error("too many sign in at once; try again")]
    Crowded,
    /// The database cannot do it now. Nothing was stored; trying again later may help.
    #[error("the database cannot take this now; try again")]
    Unavailable(Report),
    /// The database takes no writes until its owner has looked after it. Nothing was stored, and trying again does not help.
    #[error("the database takes no writes until konverse is started anew; its log says why")]
    Stopped(Report),
    /// The database did not say whether it stored it. Done again, it may be done twice.
    #[error("the database did not say whether it was done; it may have been done: look before you try again")]
    Unclear(Report),
    /// What is asked cannot be answered yet; the text says why, for the caller. Trying again later may help.
    #[error("{0}")]
    NotYet(String),
    /// What is asked is not served here at all; the text says what.
    #[error("{0}")]
    NotServed(&'static str),
    /// konverse's own failure.
    #[error("internal error")]
    Internal(Report),
}

/// A failure for the log: where it was noticed and what it was. Never shown to callers.
#[derive(Debug)]
pub struct Report {
    /// Where.
    pub location: &'static std::panic::Location<'static>,
    /// What.
    pub text: String,
}

impl Report {
    #[track_caller]
    fn here(text: impl Into<String>) -> Self {
        Self { location: std::panic::Location::caller(), text: text.into() }
    }
}

impl DomainError {
    pub(crate) fn conflict(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Conflict { pointer: Some(pointer.into()), message: message.into() }
    }

    pub(crate) fn invalid(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Invalid(vec![FieldError::at(pointer, message)])
    }

    /// A change that lost every attempt.
    pub(crate) fn lost(conflict: &Conflict) -> Self {
        let message = match conflict {
            // No look-up could name it: an id or name that is taken all the same.
            Conflict::Taken(Kind::Conversation, id) => {
                format!("Conversation {id}, its externalId or that of a message or note in it exists already")
            }
            Conflict::Taken(kind, id) => format!("{} {id} or its externalId exists already", kind.title()),
            Conflict::Name(space, _) => format!("{} is taken", space.name()),
            Conflict::Stale(..) | Conflict::Busy => return Self::Busy,
        };
        Self::Conflict { pointer: None, message }
    }

    /// What went wrong, for those who may see it.
    pub fn told(self) -> String {
        match self {
            Self::Internal(report) | Self::Unavailable(report) | Self::Stopped(report) => report.text,
            Self::Unclear(report) => StoreError::Unclear(report.text).to_string(),
            other => other.to_string(),
        }
    }

    #[track_caller]
    pub(crate) fn internal(text: impl Into<String>) -> Self {
        Self::Internal(Report::here(text))
    }
}

impl From<StoreError> for DomainError {
    #[track_caller]
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Conflict(conflict) => Self::lost(&conflict),
            StoreError::Unavailable(text) => Self::Unavailable(Report::here(text)),
            StoreError::Stopped(text) => Self::Stopped(Report::here(text)),
            StoreError::Unclear(text) => Self::Unclear(Report::here(text)),
            other => Self::internal(other.to_string()),
        }
    }
}

impl From<serde_json::Error> for DomainError {
    /// Only stored records are read without going through a body's shape, so this is always a damaged record. What is
    /// wrong is said without the words that stand there: they are people's.
    #[track_caller]
    fn from(error: serde_json::Error) -> Self {
        let what = match error.classify() {
            Category::Eof => "cut off",
            Category::Syntax => "not JSON",
            Category::Data | Category::Io => "not of the shape expected",
        };
        Self::internal(format!("stored record: {what} at line {} column {}", error.line(), error.column()))
    }
}
