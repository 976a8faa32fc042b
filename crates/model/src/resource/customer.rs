//! A customer's attributes (contract `resources.md` §4).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Object, Status};
use crate::input::{Email, ExternalId, Phone, Social, Whatsapp};
use crate::{Attributes, ConversationId, Document, Id, Instant, Kind, UserId};

/// A customer.
pub type Customer = Document<CustomerAttributes>;

/// A customer's undeleted conversations by status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub struct ConversationCounts {
    /// All of them: the sum of the others.
    pub all: u64,
    /// Open ones.
    pub open: u64,
    /// Snoozed ones.
    pub snoozed: u64,
    /// Closed ones.
    pub done: u64,
}

/// The newest message over all conversations, in one direction.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub struct CustomerMessageMark {
    /// When it was sent.
    pub sent_at: Instant,
    /// Its channel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
}

/// The conversation with the newest message, else the newest one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub struct LastConversation {
    /// Which one; none for a customer without conversations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<ConversationId>,
    /// Its tags.
    pub tags: Vec<Id>,
    /// Its channels.
    pub channels: Vec<String>,
    /// Its sentiment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sentiment: Option<Object>,
}

/// The newest message in a few words; empty when there is none.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub struct Preview {
    /// `message_in` or `message_out`.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Its text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Its subject.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Its channel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    /// When it was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preview_at: Option<Instant>,
}

/// Where a customer was last seen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub struct RecentLocation {
    /// When that was learnt.
    pub updated_at: Instant,
}

/// A customer's attributes, in the order they are shown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(title = "CustomerAttributes")]
pub struct CustomerAttributes {
    /// The name.
    #[serde(default)]
    pub name: Option<String>,
    /// The name, else the first way to reach them, else colour and icon.
    pub display_name: String,
    /// A colour, fixed by the id.
    pub display_color: String,
    /// An icon, fixed by the id.
    pub display_icon: String,
    /// First word of the name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_name: Option<String>,
    /// The rest of the name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_name: Option<String>,
    /// First of `externalIds`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
    /// Keys of other systems; unique in the org.
    pub external_ids: Vec<ExternalId>,
    /// Keys of other systems that several customers may share.
    pub shared_external_ids: Vec<ExternalId>,
    /// E-mail addresses; unique in the org.
    pub emails: Vec<Email>,
    /// E-mail addresses that several customers may share.
    pub shared_emails: Vec<Email>,
    /// Phone numbers; unique in the org.
    pub phones: Vec<Phone>,
    /// Phone numbers that several customers may share.
    pub shared_phones: Vec<Phone>,
    /// WhatsApp numbers; unique in the org.
    pub whatsapps: Vec<Whatsapp>,
    /// Always empty: no operation takes any.
    #[serde(default)]
    pub shared_whatsapps: Vec<Whatsapp>,
    /// Facebook ids.
    pub facebook_ids: Vec<Value>,
    /// Instagram ids.
    pub instagram_ids: Vec<Value>,
    /// Always empty: no operation takes any.
    #[serde(default)]
    pub smooch_ids: Vec<Value>,
    /// Social accounts; unique in the org.
    pub socials: Vec<Social>,
    /// Social accounts that several customers may share.
    pub shared_socials: Vec<Social>,
    /// Web addresses.
    pub urls: Vec<Value>,
    /// Postal addresses.
    pub locations: Vec<Value>,
    /// Login name.
    #[serde(default)]
    pub username: Option<String>,
    /// Picture.
    #[serde(default)]
    pub avatar_url: Option<String>,
    /// When they signed up.
    #[serde(default)]
    pub signed_up_at: Option<Instant>,
    /// Birthday.
    #[serde(default)]
    pub birthday_at: Option<Instant>,
    /// `m` or `f`.
    #[serde(default)]
    pub gender: Option<String>,
    /// Locale such as `pt_BR`.
    #[serde(default)]
    pub locale: Option<String>,
    /// IANA time zone.
    #[serde(default)]
    pub time_zone: Option<String>,
    /// Language.
    #[serde(default)]
    pub default_lang: Option<String>,
    /// Users who are viewing them.
    pub active_users: Vec<UserId>,
    /// Users who follow them.
    pub watchers: Vec<UserId>,
    /// Always null: konverse does not watch who is online.
    #[serde(default)]
    pub presence: Option<String>,
    /// Where they were last seen.
    pub recent_location: RecentLocation,
    /// When they were last seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_seen_at: Option<Instant>,
    /// The newest of any activity.
    pub last_activity_at: Instant,
    /// The newest activity of their own.
    pub last_customer_activity_at: Instant,
    /// The newest inbound message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_message_in: Option<CustomerMessageMark>,
    /// The newest outbound message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_message_out: Option<CustomerMessageMark>,
    /// When the newest message was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_message_at: Option<Instant>,
    /// The oldest unanswered inbound message of the conversation with the newest message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_message_unresponded_to: Option<CustomerMessageMark>,
    /// The conversation with the newest message.
    pub last_conversation: LastConversation,
    /// Conversations by status.
    pub conversation_counts: ConversationCounts,
    /// `open` if any is open, else `snoozed` if any is, else `done`; null without conversations.
    pub progressive_status: Option<Status>,
    /// The newest message in a few words.
    pub preview: Preview,
    /// `{polarity, confidence}`.
    #[serde(default)]
    pub sentiment: Option<Object>,
    /// Tag ids.
    pub tags: Vec<Id>,
    /// Custom attributes.
    #[serde(default, skip_serializing_if = "Object::is_empty")]
    pub custom: Object,
    /// Always true: konverse makes no anonymous chat customers.
    pub verified: bool,
    /// Always false: a deleted customer is not shown.
    pub deleted: bool,
    /// When they were brought in from elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub imported_at: Option<Instant>,
    /// When they came to be.
    pub created_at: Instant,
    /// When anything about them last changed, derived attributes included.
    pub updated_at: Instant,
    /// When someone last edited them.
    pub modified_at: Instant,
    /// 1 at creation, one more with every stored change.
    pub rev: i64,
}

impl Attributes for CustomerAttributes {
    const KIND: Kind = Kind::Customer;

    fn custom(&mut self) -> Option<&mut Object> {
        Some(&mut self.custom)
    }

    fn imported_at(&self) -> Option<Instant> {
        self.imported_at
    }
}

impl ConversationCounts {
    /// One more (or less) of a status.
    pub fn add(&mut self, status: Status, one: i64) {
        let field = match status {
            Status::Open => &mut self.open,
            Status::Snoozed => &mut self.snoozed,
            Status::Done => &mut self.done,
        };
        *field = field.saturating_add_signed(one);
        self.all = self.open + self.snoozed + self.done;
    }

    /// The status that stands for all of them.
    pub fn progressive(&self) -> Option<Status> {
        match self {
            Self { all: 0, .. } => None,
            Self { open: 1.., .. } => Some(Status::Open),
            Self { snoozed: 1.., .. } => Some(Status::Snoozed),
            _ => Some(Status::Done),
        }
    }
}
