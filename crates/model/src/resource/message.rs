//! A message's attributes (contract `resources.md` §2).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Object, empty_object, is_false};
use crate::{Attributes, Document, Instant, Kind, TeamId, UserId};

/// A message. konverse records messages; it never delivers them.
pub type Message = Document<MessageAttributes>;

/// Which way something went: from the customer, or to them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Direction {
    /// From the customer.
    #[default]
    In,
    /// To the customer.
    Out,
}

/// A message's place in the exchange (§1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(inline)]
pub enum DirectionType {
    /// The first message, from the customer.
    InitialIn,
    /// The first message, to the customer.
    InitialOut,
    /// Inbound after an outbound one.
    ResponseIn,
    /// Outbound after an inbound one.
    ResponseOut,
    /// Inbound after an unanswered inbound one.
    FollowupIn,
    /// Outbound after an outbound one.
    FollowupOut,
}

impl DirectionType {
    /// The place of a message going `direction` after one that went `previous`.
    pub const fn after(previous: Option<Direction>, direction: Direction) -> Self {
        match (previous, direction) {
            (None, Direction::In) => Self::InitialIn,
            (None, Direction::Out) => Self::InitialOut,
            (Some(Direction::Out), Direction::In) => Self::ResponseIn,
            (Some(Direction::In), Direction::Out) => Self::ResponseOut,
            (Some(Direction::In), Direction::In) => Self::FollowupIn,
            (Some(Direction::Out), Direction::Out) => Self::FollowupOut,
        }
    }
}

/// What became of a message at its channel, as its producer reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum MessageStatus {
    /// It went out.
    Sent,
    /// It came in.
    Received,
    /// It failed.
    Error,
}

/// A message's attributes, in the order they are shown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(title = "MessageAttributes")]
pub struct MessageAttributes {
    /// The caller's key.
    #[serde(default)]
    pub external_id: Option<String>,
    /// `email`, `sms`, `chat` …
    pub channel: String,
    /// The program that produced it.
    pub app: String,
    /// Which way it went.
    pub direction: Direction,
    /// Its place in the exchange.
    pub direction_type: DirectionType,
    /// Its text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preview: Option<String>,
    /// Its subject.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Characters of its text.
    pub size: u64,
    /// Channel data: `from`, `to` …
    pub meta: Object,
    /// What became of it.
    pub status: MessageStatus,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Object>,
    /// When it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_at: Option<Instant>,
    /// When it was sent.
    pub sent_at: Instant,
    /// Whether a machine wrote it by itself; such messages do not count as replies.
    pub auto: bool,
    /// `bulk` or `satisfaction`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// `{polarity, confidence}`, or `{}`.
    #[serde(default, with = "empty_object")]
    #[schemars(with = "Object")]
    pub sentiment: Option<Object>,
    /// Milliseconds since the oldest unanswered inbound message, on replies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_time: Option<i64>,
    /// The same within business hours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_business_time: Option<i64>,
    /// Who the conversation was assigned to at the time.
    pub assigned_users: Vec<UserId>,
    /// Which teams it was assigned to at the time.
    pub assigned_teams: Vec<TeamId>,
    /// The author's teams at the time.
    pub created_by_teams: Vec<TeamId>,
    /// Whether parts of it were removed.
    pub redacted: bool,
    /// `{subjectId, subjectType, name, createdAt}` entries.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reactions: Vec<Value>,
    /// Where it was sent from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<Object>,
    /// The message it answers or forwards: `{message, type}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<Object>,
    /// Custom attributes.
    #[serde(default, skip_serializing_if = "Object::is_empty")]
    pub custom: Object,
    /// Its language.
    #[serde(default)]
    pub lang: Option<String>,
    /// Whether it is spam.
    #[serde(default, skip_serializing_if = "is_false")]
    pub spam: bool,
    /// When it was brought in from elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub imported_at: Option<Instant>,
    /// When it came to be.
    pub created_at: Instant,
    /// When anything about it last changed.
    pub updated_at: Instant,
    /// When someone last edited it.
    pub modified_at: Instant,
    /// 1 at creation, one more with every stored change.
    pub rev: i64,
}

impl Attributes for MessageAttributes {
    const KIND: Kind = Kind::Message;

    fn custom(&mut self) -> Option<&mut Object> {
        Some(&mut self.custom)
    }

    fn imported_at(&self) -> Option<Instant> {
        self.imported_at
    }
}

impl Direction {
    /// The wire word.
    pub const fn name(self) -> &'static str {
        match self {
            Direction::In => "in",
            Direction::Out => "out",
        }
    }
}
