//! The attributes of each kind of record, as they are shown (contract `resources.md`).
//!
//! One struct a kind: it renders the stored text and reads it back, and its schema is the answer's part of
//! `openapi.json`. An attribute that has never been set is left out, except the core ones, which are always there.

mod conversation;
mod customer;
mod message;
mod small;

pub use conversation::{
    ChannelCounts, Conversation, ConversationAttributes, ConversationState, DoneSnapshot, MessageMark, OpenTotal,
    Priority, ReplyMark, Snooze, SnoozeStatus, StateSince, Status, Total,
};
pub use customer::{
    ConversationCounts, Customer, CustomerAttributes, CustomerMessageMark, LastConversation, Preview, RecentLocation,
};
pub use message::{Direction, DirectionType, Message, MessageAttributes, MessageStatus};
pub use small::{
    Note, NoteAttributes, PasswordPolicy, Tag, TagAttributes, Team, TeamAttributes, Token, TokenAttributes, User,
    UserAttributes, UserType,
};

/// A free-form JSON object.
pub type Object = serde_json::Map<String, serde_json::Value>;

fn is_false(value: &bool) -> bool {
    !value
}

fn is_zero(value: &u64) -> bool {
    *value == 0
}
