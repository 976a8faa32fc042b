//! Messages: recording and changing them (contract `resources.md` §2).

mod create;
mod together;
mod update;

use konverse_model::resource::Message;
use konverse_model::{FieldError, Id, Kind, MessageId, Rel};
use serde_json::Value;

use crate::access::permissions::ReadMessages;
use crate::{Authorized, Domain, DomainError};

pub(crate) use together::Waiting;

impl Domain {
    /// One message, as text.
    pub async fn message(&self, auth: &Authorized<ReadMessages>, id: MessageId) -> Result<String, DomainError> {
        auth.actor().shown(Kind::Message, self.row(auth.org(), Kind::Message, id.0).await?.doc)
    }

    /// The message with this external id, as text.
    pub async fn message_by_external_id(
        &self,
        auth: &Authorized<ReadMessages>,
        external_id: &str,
    ) -> Result<String, DomainError> {
        self.doc_by_external_id(auth.actor(), Kind::Message, external_id).await
    }
}

/// The ids of attachments, given as ids or as records with an `_id`.
pub(crate) fn attachment_ids(given: Vec<Value>, errors: &mut Vec<FieldError>) -> Vec<Id> {
    let id = |(n, value): (usize, Value)| {
        let text = value.as_str().or_else(|| value.get("_id").and_then(Value::as_str));
        let id = text.and_then(|text| text.parse().ok());
        if id.is_none() {
            errors
                .push(FieldError::at(format!("/attachments/{n}"), "must be an attachment id, or an object with `_id`"));
        }
        id
    };
    given.into_iter().enumerate().filter_map(id).collect()
}

/// Sets a to-many relationship; absent when empty.
fn set_many(message: &mut Message, name: &'static str, kind: Kind, ids: Vec<Id>) {
    if ids.is_empty() {
        message.relationships.remove(name);
    } else {
        let link = match kind {
            Kind::Attachment => "attachments",
            Kind::Shortcut => "shortcuts",
            _ => "kb-articles",
        };
        let data = ids.into_iter().map(|id| (kind, id)).collect();
        message.relationships.set(name, Rel::Many { link: Some(link), data });
    }
}
