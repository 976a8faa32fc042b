//! A conversation's attributes (contract `resources.md` §1) and the bookkeeping behind them.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Direction, DirectionType, Object, empty_object, is_false, is_zero};
use crate::{Attributes, ConversationId, Document, Id, Instant, Kind, MessageId, TeamId, UserId};

/// A conversation.
pub type Conversation = Document<ConversationAttributes>;

/// Where a conversation stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Status {
    /// Someone should answer it.
    #[default]
    Open,
    /// Put off until a time, or until the customer writes.
    Snoozed,
    /// Closed, until the customer writes again.
    Done,
}

impl Status {
    /// The wire word.
    pub const fn name(self) -> &'static str {
        match self {
            Status::Open => "open",
            Status::Snoozed => "snoozed",
            Status::Done => "done",
        }
    }
}

/// 1 (lowest) to 5 (highest).
pub type Priority = u8;

/// When a state began.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub struct StateSince {
    /// The moment of the change.
    pub status_at: Instant,
}

/// What became of a snooze.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum SnoozeStatus {
    /// It is running.
    Scheduled,
    /// Something ended it before its time.
    Canceled,
    /// Its time came.
    Elapsed,
}

/// A snooze: until `time`, or until the customer replies when it has none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub struct Snooze {
    /// What became of it.
    pub status: SnoozeStatus,
    /// When it ends by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<Instant>,
    /// When `status` last changed.
    pub status_at: Instant,
}

/// The few facts of a message that a conversation repeats.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub struct MessageMark {
    /// The message.
    pub id: MessageId,
    /// When it was sent.
    pub sent_at: Instant,
    /// When it was recorded.
    pub created_at: Instant,
    /// Who wrote it, for outbound messages of a user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_by: Option<UserId>,
    /// That user's teams at the time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_by_teams: Option<Vec<TeamId>>,
    /// Its channel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    /// Its place in the exchange.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub direction_type: Option<DirectionType>,
    /// Its `meta`, for inbound messages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meta: Option<Object>,
}

/// A reply of the team and how long the customer had waited for it, in milliseconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub struct ReplyMark {
    /// The reply.
    pub id: MessageId,
    /// When it was sent.
    pub sent_at: Instant,
    /// When it was recorded.
    pub created_at: Instant,
    /// Who wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_by: Option<UserId>,
    /// That user's teams at the time.
    pub created_by_teams: Vec<TeamId>,
    /// Who the conversation was assigned to.
    pub assigned_users: Vec<UserId>,
    /// Which teams it was assigned to.
    pub assigned_teams: Vec<TeamId>,
    /// From the first unanswered inbound message to the reply.
    pub time: i64,
    /// The same within business hours; without schedules every hour is one.
    pub business_time: i64,
    /// The reply's own response time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_time: Option<i64>,
    /// The reply's `source`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
}

/// The state of a conversation when it was closed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub struct DoneSnapshot {
    /// When it was closed.
    pub created_at: Instant,
    /// Who closed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_by: Option<UserId>,
    /// The closer's teams.
    pub created_by_teams: Vec<TeamId>,
    /// Who it was assigned to.
    pub assigned_users: Vec<UserId>,
    /// Which teams it was assigned to.
    pub assigned_teams: Vec<TeamId>,
    /// From the first inbound message (the creation if none) to the closing, in milliseconds.
    pub time: i64,
    /// The same within business hours.
    pub business_time: i64,
    /// Messages so far.
    pub message_count: u64,
    /// Messages so far by channel.
    pub message_count_by_channel: IndexMap<String, u64>,
    /// Notes so far.
    pub note_count: u64,
    /// Outbound messages so far.
    pub outbound_message_count: u64,
    /// Outbound messages so far by channel.
    pub outbound_message_count_by_channel: IndexMap<String, u64>,
    /// Direction of the last message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_message_direction: Option<Direction>,
    /// Its place in the exchange.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_message_direction_type: Option<DirectionType>,
}

/// Milliseconds spent in a status over the conversation's life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub struct Total {
    /// All hours.
    pub time: i64,
    /// Business hours.
    pub business_time: i64,
}

/// Milliseconds spent open, in all and since it was last done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub struct OpenTotal {
    /// All hours.
    pub time: i64,
    /// Business hours.
    pub business_time: i64,
    /// All hours since it was last done.
    pub time_since_last_done: i64,
    /// Business hours since it was last done.
    pub business_time_since_last_done: i64,
}

/// A conversation's attributes, in the order they are shown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(title = "ConversationAttributes")]
pub struct ConversationAttributes {
    /// The subject; empty until the first message gives one.
    pub name: String,
    /// The text of the first message, shortened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preview: Option<String>,
    /// Channels of its messages in order of first use.
    pub channels: Vec<String>,
    /// Where it stands.
    pub status: Status,
    /// Since when it is or was open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open: Option<StateSince>,
    /// 1 lowest … 5 highest.
    pub priority: Priority,
    /// Who opened it.
    pub direction: Direction,
    /// Messages.
    pub message_count: u64,
    /// Inbound messages.
    pub inbound_message_count: u64,
    /// Outbound messages.
    pub outbound_message_count: u64,
    /// Notes.
    pub note_count: u64,
    /// −1, 0 (none) or 1.
    pub satisfaction: i8,
    /// The survey behind `satisfaction`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub satisfaction_level: Option<Object>,
    /// `{polarity, confidence}`, or `{}`.
    pub sentiment: Object,
    /// Tag ids.
    pub tags: Vec<Id>,
    /// `{tag, confidence}` entries.
    pub suggested_tags: Vec<Value>,
    /// `{shortcutId, confidence}` entries.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub suggested_shortcuts: Vec<Value>,
    /// Always empty: konverse predicts nothing.
    #[serde(default)]
    pub predictions: Vec<Value>,
    /// User ids.
    pub assigned_users: Vec<UserId>,
    /// Team ids.
    pub assigned_teams: Vec<TeamId>,
    /// The oldest inbound message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_message_in: Option<MessageMark>,
    /// The newest inbound message, or `{}`.
    #[serde(with = "empty_object")]
    #[schemars(with = "Object")]
    pub last_message_in: Option<MessageMark>,
    /// The oldest outbound message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_message_out: Option<MessageMark>,
    /// The newest outbound message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_message_out: Option<MessageMark>,
    /// When the newest message was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_message_at: Option<Instant>,
    /// Its direction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_message_direction: Option<Direction>,
    /// When the newest inbound message was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_received_at: Option<Instant>,
    /// The oldest inbound message nobody has answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_message_unresponded_to: Option<MessageMark>,
    /// The same, of those after the last closing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_message_unresponded_to_since_last_done: Option<MessageMark>,
    /// The team's first reply, or `{}`.
    #[serde(with = "empty_object")]
    #[schemars(with = "Object")]
    pub first_response: Option<ReplyMark>,
    /// The team's first reply after the last closing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_response_since_last_done: Option<ReplyMark>,
    /// The team's newest reply.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_response: Option<ReplyMark>,
    /// The latest snooze.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snooze: Option<Snooze>,
    /// Times it was snoozed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub snooze_count: u64,
    /// The first closing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_done: Option<DoneSnapshot>,
    /// The latest closing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_done: Option<DoneSnapshot>,
    /// Times it was closed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub done_count: u64,
    /// Times it came back from snoozed or done.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub reopen_count: u64,
    /// Times it came back from done.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub reopen_from_done_count: u64,
    /// Time spent open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_open: Option<OpenTotal>,
    /// Time spent snoozed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_snooze: Option<Total>,
    /// Time spent done, of closings that did not last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_done: Option<Total>,
    /// The caller's key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
    /// A queue kept outside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_queue: Option<String>,
    /// The channel replies go to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_channel: Option<String>,
    /// Its language.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_lang: Option<String>,
    /// Whether its chat or call session has ended.
    pub ended: bool,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Instant>,
    /// Why it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_reason: Option<String>,
    /// `user` or `customer`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_by_type: Option<String>,
    /// Whether it is locked.
    #[serde(default, skip_serializing_if = "is_false")]
    pub locked: bool,
    /// Whether it is spam.
    pub spam: bool,
    /// Custom attributes.
    #[serde(default, skip_serializing_if = "Object::is_empty")]
    pub custom: Object,
    /// When each of a few attributes last changed: `statusAt`, `tagsAt` …
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub modification_history: IndexMap<String, Instant>,
    /// When it was brought in from elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub imported_at: Option<Instant>,
    /// When it came to be.
    pub created_at: Instant,
    /// When anything about it last changed, derived attributes included.
    pub updated_at: Instant,
    /// When someone last edited it.
    pub modified_at: Instant,
    /// The newest of message, note and status change.
    pub last_activity_at: Instant,
    /// 1 at creation, one more with every stored change.
    pub rev: i64,
}

impl ConversationAttributes {
    /// When it wakes up by itself: the time of a running snooze.
    pub fn wakes_at(&self) -> Option<Instant> {
        let snooze = self.snooze.as_ref()?;
        let running = self.status == Status::Snoozed && snooze.status == SnoozeStatus::Scheduled;
        if running { snooze.time } else { None }
    }
}

impl Attributes for ConversationAttributes {
    const KIND: Kind = Kind::Conversation;

    fn custom(&mut self) -> Option<&mut Object> {
        Some(&mut self.custom)
    }

    fn imported_at(&self) -> Option<Instant> {
        self.imported_at
    }
}

/// Messages of one channel, in and out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelCounts(pub u64, pub u64);

/// What the rules need to know of a conversation and no answer shows. Kept beside the text, in few bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConversationState {
    /// Messages by channel.
    #[serde(rename = "c", default, skip_serializing_if = "IndexMap::is_empty")]
    pub channels: IndexMap<String, ChannelCounts>,
    /// The newest message's place in the exchange.
    #[serde(rename = "t", default, skip_serializing_if = "Option::is_none")]
    pub last_direction_type: Option<DirectionType>,
    /// The newest message, by time then id: what comes before it makes the derived attributes be computed anew.
    #[serde(rename = "l", default, skip_serializing_if = "Option::is_none")]
    pub last_message: Option<MessageId>,
    /// `direction` was given by a client, so no message decides it.
    #[serde(rename = "d", default, skip_serializing_if = "is_false")]
    pub direction_given: bool,
    /// `name` was given by a client, so no message decides it.
    #[serde(rename = "n", default, skip_serializing_if = "is_false")]
    pub name_given: bool,
    /// It was imported already closed: imported messages move the closing behind them.
    #[serde(rename = "r", default, skip_serializing_if = "is_false")]
    pub restored_done: bool,
}

/// Conversation ids are ids of this crate; the alias keeps signatures readable.
impl Conversation {
    /// Its typed id.
    pub fn conversation_id(&self) -> ConversationId {
        ConversationId(self.id)
    }
}
