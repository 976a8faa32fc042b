//! The attributes of each kind of record, as they are shown (contract `resources.md`).
//!
//! One struct a kind: it renders the stored text and reads it back, and its schema is the answer's part of
//! `openapi.json`. An attribute that has never been set is left out, except the core ones, which are always there.

mod company;
mod conversation;
mod customer;
mod message;
mod metadata;
mod settings;
mod small;

pub use company::{Company, CompanyAttributes};
pub use conversation::{
    ChannelCounts, Conversation, ConversationAttributes, ConversationState, DoneSnapshot, MessageMark, OpenTotal,
    Priority, ReplyMark, Snooze, SnoozeStatus, StateSince, Status, Total,
};
pub use customer::{
    ConversationCounts, Customer, CustomerAttributes, CustomerMessageMark, LastConversation, Preview, RecentLocation,
};
pub use message::{Direction, DirectionType, Message, MessageAttributes, MessageStatus};
pub use metadata::{Definition, Metadata, MetadataAttributes, Sensitive};
pub use settings::{
    Brand, BrandAttributes, OrgAttributes, OrgRecord, Queue, QueueAttributes, SavedSearch, SavedSearchAttributes,
    Shortcut, ShortcutAttributes, Sla, SlaAttributes, SlaVersion, SlaVersionAttributes,
};
pub use small::{
    AttachmentAttributes, Note, NoteAttributes, PasswordPolicy, RoleGroup, RoleGroupAttributes, Tag, TagAttributes,
    Team, TeamAttributes, Token, TokenAttributes, User, UserAttributes, UserType,
};

/// A free-form JSON object.
pub type Object = serde_json::Map<String, serde_json::Value>;

fn is_false(value: &bool) -> bool {
    !value
}

fn is_zero(value: &u64) -> bool {
    *value == 0
}

/// A value that is shown as `{}` while there is none.
mod empty_object {
    use serde::de::{DeserializeOwned, Error as _};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use serde_json::Value;

    use super::Object;

    pub(super) fn serialize<T: Serialize, S: Serializer>(value: &Option<T>, serializer: S) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => value.serialize(serializer),
            None => Object::new().serialize(serializer),
        }
    }

    pub(super) fn deserialize<'de, T: DeserializeOwned, D: Deserializer<'de>>(d: D) -> Result<Option<T>, D::Error> {
        let Some(object) = Option::<Object>::deserialize(d)?.filter(|object| !object.is_empty()) else {
            return Ok(None);
        };
        serde_json::from_value(Value::Object(object)).map(Some).map_err(D::Error::custom)
    }
}
