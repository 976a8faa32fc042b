//! The bodies themselves.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::parts::*;
use crate::limits::MOST_DEFINED;
use crate::mask::MaskType;
use crate::resource::{Direction, MessageStatus, Object, Priority, Status, UserType};
use crate::{ConversationId, CustomerId, Id, Instant, MessageId, NoteId, Opt, Patch, TagId, TeamId, UserId};

/// `POST /v1/conversations` and `POST /v1/customers/{id}/conversations`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ConversationCreate {
    /// The id to use.
    pub id: Opt<ConversationId>,
    /// The customer; taken from the path when created below one.
    pub customer: Opt<CustomerId>,
    /// The caller's key.
    #[schemars(length(min = 1, max = 256), pattern(NO_NUL))]
    pub external_id: Opt<String>,
    /// The subject.
    #[schemars(length(max = 256))]
    pub name: Opt<String>,
    /// `open` or `done`.
    #[schemars(extend("enum" = ["open", "done"]))]
    pub status: Opt<Status>,
    /// 1 … 5.
    #[schemars(range(min = 1, max = 5))]
    pub priority: Opt<Priority>,
    /// When it came to be.
    pub created_at: Opt<Instant>,
    /// When it was brought in from elsewhere.
    pub imported_at: Opt<Instant>,
    /// Who opened it.
    pub direction: Opt<Direction>,
    /// The channel replies go to.
    #[schemars(length(max = 256))]
    pub reply_channel: Patch<String>,
    /// Tag ids or names.
    #[schemars(length(max = 20), extend("uniqueItems" = true), inner(length(min = 1, max = 64)))]
    pub tags: Opt<Vec<String>>,
    /// User ids.
    #[schemars(length(max = 10), extend("uniqueItems" = true))]
    pub assigned_users: Opt<Vec<UserId>>,
    /// Team ids.
    #[schemars(length(max = 10), extend("uniqueItems" = true))]
    pub assigned_teams: Opt<Vec<TeamId>>,
    /// Custom attributes.
    #[schemars(extend("maxProperties" = 100))]
    pub custom: Opt<Object>,
    /// Its language.
    #[schemars(length(max = 100))]
    pub default_lang: Patch<String>,
    /// Its queue.
    pub queue: Opt<Queue>,
    /// The campaign it belongs to.
    pub campaign: Opt<Id>,
}

/// `PATCH` and `PUT /v1/conversations/{id}`, form A.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ConversationUpdate {
    /// The caller's key.
    #[schemars(length(min = 1, max = 256), pattern(NO_NUL))]
    pub external_id: Patch<String>,
    /// The subject.
    #[schemars(length(max = 256))]
    pub name: Patch<String>,
    /// Who opened it.
    pub direction: Opt<Direction>,
    /// 1 … 5.
    #[schemars(range(min = 1, max = 5))]
    pub priority: Opt<Priority>,
    /// −1 … 1.
    #[schemars(range(min = -1, max = 1))]
    pub satisfaction: Patch<i8>,
    /// The survey behind it.
    pub satisfaction_level: Opt<Satisfaction>,
    /// Proposed shortcuts.
    #[schemars(length(max = 20))]
    pub suggested_shortcuts: Opt<Vec<SuggestedShortcut>>,
    /// Where it stands.
    pub status: Opt<Status>,
    /// The channel replies go to.
    #[schemars(length(max = 256))]
    pub reply_channel: Patch<String>,
    /// A finer status; cleared when the status changes.
    pub sub_status: Opt<Id>,
    /// The snooze to set or to end.
    pub snooze: Opt<SnoozeInput>,
    /// Tag ids or names; replaces the list.
    #[schemars(length(max = 20), extend("uniqueItems" = true), inner(length(min = 1, max = 64)))]
    pub tags: Opt<Vec<String>>,
    /// Proposed tags.
    #[schemars(length(max = 20))]
    pub suggested_tags: Opt<Vec<SuggestedTag>>,
    /// How it feels.
    pub sentiment: Opt<Sentiment>,
    /// User ids.
    #[schemars(length(max = 10), extend("uniqueItems" = true))]
    pub assigned_users: Opt<Vec<UserId>>,
    /// Team ids.
    #[schemars(length(max = 10), extend("uniqueItems" = true))]
    pub assigned_teams: Opt<Vec<TeamId>>,
    /// Custom attributes, merged by name; `null` removes one.
    #[schemars(extend("maxProperties" = 100))]
    pub custom: Opt<Object>,
    /// `true` deletes, `false` or `null` restores.
    pub deleted: Patch<bool>,
    /// Whether its session has ended.
    pub ended: Opt<bool>,
    /// When it ended.
    pub ended_at: Opt<Instant>,
    /// Why it ended.
    #[schemars(length(max = 128))]
    pub ended_reason: Opt<String>,
    /// Who ended it: a user or the customer.
    pub ended_by: Opt<Id>,
    /// Which of the two.
    #[schemars(extend("enum" = ["user", "customer"]))]
    pub ended_by_type: Opt<String>,
    /// Whether it is locked.
    pub locked: Opt<bool>,
    /// The revision this update is based on.
    #[schemars(range(min = 1, max = MAX_INTEGER))]
    pub rev: Opt<i64>,
    /// Its language.
    #[schemars(length(max = 100))]
    pub default_lang: Patch<String>,
    /// Its queue.
    pub queue: Opt<Queue>,
}

/// `PATCH` and `PUT /v1/conversations/{id}`, form B: moving it to another customer.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ConversationMove {
    /// The customer it moves to.
    pub customer: CustomerId,
}

/// `POST /v1/customers`, `PATCH` and `PUT /v1/customers/{id}`, and the customers of import files.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct CustomerBody {
    /// The id to use, in import files.
    pub id: Opt<CustomerId>,
    /// The name.
    #[schemars(length(max = 256))]
    pub name: Patch<String>,
    /// The company; an update without it unlinks the company.
    pub company: Patch<Id>,
    /// The first key of another system.
    #[schemars(length(min = 1, max = 255), pattern(NO_NUL))]
    pub external_id: Patch<String>,
    /// Login name.
    #[schemars(length(max = 256))]
    pub username: Patch<String>,
    /// When they signed up.
    pub signed_up_at: Patch<Instant>,
    /// The newest of any activity.
    pub last_activity_at: Opt<Instant>,
    /// The newest activity of their own.
    pub last_customer_activity_at: Opt<Instant>,
    /// When they were last seen.
    pub last_seen_at: Patch<Instant>,
    /// Picture.
    #[schemars(length(max = 2048), extend("format" = "uri"))]
    pub avatar_url: Patch<String>,
    /// Keys of other systems.
    #[schemars(length(max = 10))]
    pub external_ids: Opt<Vec<ExternalId>>,
    /// Keys several customers may share.
    #[schemars(length(max = 10))]
    pub shared_external_ids: Opt<Vec<ExternalId>>,
    /// E-mail addresses.
    #[schemars(length(max = 10))]
    pub emails: Opt<Vec<Email>>,
    /// E-mail addresses several customers may share.
    #[schemars(length(max = 10))]
    pub shared_emails: Opt<Vec<Email>>,
    /// Phone numbers.
    #[schemars(length(max = 10))]
    pub phones: Opt<Vec<Phone>>,
    /// Phone numbers several customers may share.
    #[schemars(length(max = 10))]
    pub shared_phones: Opt<Vec<Phone>>,
    /// WhatsApp numbers.
    #[schemars(length(max = 10))]
    pub whatsapps: Opt<Vec<Whatsapp>>,
    /// Facebook ids.
    #[schemars(length(max = 10))]
    pub facebook_ids: Opt<Vec<FacebookId>>,
    /// Instagram ids.
    #[schemars(length(max = 10))]
    pub instagram_ids: Opt<Vec<InstagramId>>,
    /// Social accounts.
    #[schemars(length(max = 10))]
    pub socials: Opt<Vec<Social>>,
    /// Social accounts several customers may share.
    #[schemars(length(max = 10))]
    pub shared_socials: Opt<Vec<Social>>,
    /// Web addresses.
    #[schemars(length(max = 10))]
    pub urls: Opt<Vec<Url>>,
    /// Postal addresses.
    #[schemars(length(max = 10))]
    pub locations: Opt<Vec<Location>>,
    /// Locale.
    #[schemars(length(max = 16))]
    pub locale: Patch<String>,
    /// IANA time zone.
    #[schemars(length(max = 64))]
    pub time_zone: Patch<String>,
    /// Tag ids or names.
    #[schemars(length(max = 20), extend("uniqueItems" = true), inner(length(min = 1, max = 64)))]
    pub tags: Opt<Vec<String>>,
    /// How they feel.
    pub sentiment: Patch<Sentiment>,
    /// Custom attributes, merged by name; `null` removes one.
    #[schemars(extend("maxProperties" = 100))]
    pub custom: Opt<Object>,
    /// Birthday.
    pub birthday_at: Patch<Instant>,
    /// Gender.
    pub gender: Patch<Gender>,
    /// When they came to be, at creation.
    pub created_at: Opt<Instant>,
    /// When they were brought in from elsewhere.
    pub imported_at: Opt<Instant>,
    /// The revision this update is based on.
    #[schemars(range(min = 1, max = MAX_INTEGER))]
    pub rev: Opt<i64>,
    /// Language.
    #[schemars(length(max = 100))]
    pub default_lang: Patch<String>,
}

/// The three places a message can be created.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct MessageCreate {
    /// The id to use.
    pub id: Opt<MessageId>,
    /// The caller's key.
    #[schemars(length(min = 1, max = 256), pattern(NO_NUL))]
    pub external_id: Opt<String>,
    /// The customer, when the path or the conversation does not name them.
    pub customer: Opt<CustomerId>,
    /// The conversation; without it, below a customer, a new one is opened.
    pub conversation: Opt<ConversationId>,
    /// The message it answers or forwards.
    pub reference: Opt<Object>,
    /// Its channel.
    #[schemars(extend("enum" = ["email", "sms", "chat", "facebook", "twitter-dm", "twitter-tweet", "voice", "instagram", "whatsapp"]))]
    pub channel: Opt<String>,
    /// The program that produced it.
    #[schemars(length(min = 1, max = 256))]
    pub app: Opt<String>,
    /// Its text.
    #[schemars(length(max = 10_240))]
    pub preview: Opt<String>,
    /// Its subject.
    #[schemars(length(max = 256))]
    pub subject: Opt<String>,
    /// Which way it went.
    pub direction: Opt<Direction>,
    /// Characters of its text.
    #[schemars(range(max = MAX_INTEGER))]
    pub size: Opt<u64>,
    /// The message at its producer.
    #[schemars(length(max = 2048))]
    pub related: Opt<String>,
    /// What became of it.
    pub status: Opt<MessageStatus>,
    /// Why it failed.
    #[schemars(extend("maxProperties" = 7))]
    pub error: Opt<Object>,
    /// When it failed.
    pub error_at: Opt<Instant>,
    /// Whether a machine wrote it by itself.
    pub auto: Opt<bool>,
    /// When it was sent.
    pub sent_at: Opt<Instant>,
    /// Where it came from.
    #[schemars(extend("enum" = ["bulk", "satisfaction"]))]
    pub source: Opt<String>,
    /// Shortcut ids.
    #[schemars(length(max = 100), extend("uniqueItems" = true))]
    pub shortcuts: Opt<Vec<Id>>,
    /// Article ids.
    #[schemars(length(max = 100), extend("uniqueItems" = true))]
    pub kb_articles: Opt<Vec<Id>>,
    /// Attachment ids, or records with an `_id`.
    #[schemars(length(max = 100), extend("uniqueItems" = true))]
    pub attachments: Opt<Vec<Value>>,
    /// Where it was sent from.
    pub location: Opt<Location>,
    /// Channel data.
    #[schemars(extend("maxProperties" = 100))]
    pub meta: Opt<Object>,
    /// Custom attributes.
    #[schemars(extend("maxProperties" = 100))]
    pub custom: Opt<Object>,
    /// How it feels.
    pub sentiment: Opt<Sentiment>,
    /// When it came to be; needs `org.admin`.
    pub created_at: Opt<Instant>,
    /// When it was last edited; needs `org.admin`.
    pub modified_at: Opt<Instant>,
    /// Who wrote it; needs `org.admin`.
    pub created_by: Opt<UserId>,
    /// Who last edited it; needs `org.admin`.
    pub modified_by: Opt<UserId>,
    /// When it was brought in from elsewhere.
    pub imported_at: Opt<Instant>,
    /// Its language.
    #[schemars(length(max = 100))]
    pub lang: Patch<String>,
    /// The queue of the conversation it opens.
    pub queue: Opt<Queue>,
}

/// `PATCH` and `PUT /v1/messages/{id}`; the last two are for `PUT` alone.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct MessageUpdate {
    /// The conversation it moves to.
    pub conversation: Opt<ConversationId>,
    /// The caller's key.
    #[schemars(length(min = 1, max = 256), pattern(NO_NUL))]
    pub external_id: Patch<String>,
    /// Its text.
    #[schemars(length(max = 10_240))]
    pub preview: Patch<String>,
    /// Its subject.
    #[schemars(length(max = 256))]
    pub subject: Patch<String>,
    /// What became of it.
    pub status: Opt<MessageStatus>,
    /// Why it failed.
    #[schemars(extend("maxProperties" = 7))]
    pub error: Patch<Object>,
    /// When it failed.
    pub error_at: Patch<Instant>,
    /// When it was sent.
    pub sent_at: Opt<Instant>,
    /// Characters of its text.
    #[schemars(range(max = MAX_INTEGER))]
    pub size: Opt<u64>,
    /// Attachment ids, or records with an `_id`.
    #[schemars(length(max = 100), extend("uniqueItems" = true))]
    pub attachments: Opt<Vec<Value>>,
    /// Channel data.
    #[schemars(extend("maxProperties" = 100))]
    pub meta: Opt<Object>,
    /// Custom attributes, merged by name; `null` removes one.
    #[schemars(extend("maxProperties" = 100))]
    pub custom: Opt<Object>,
    /// The message at its producer.
    #[schemars(length(max = 2048))]
    pub related: Patch<String>,
    /// How it feels.
    pub sentiment: Patch<Sentiment>,
    /// When it came to be; needs `org.admin`.
    pub created_at: Opt<Instant>,
    /// When it was last edited; needs `org.admin`.
    pub modified_at: Opt<Instant>,
    /// Accepted and ignored: the server keeps this one.
    pub updated_at: Opt<Instant>,
    /// Who wrote it; needs `org.admin`.
    pub created_by: Opt<UserId>,
    /// Who last edited it; needs `org.admin`.
    pub modified_by: Opt<UserId>,
    /// Its language.
    #[schemars(length(max = 100))]
    pub lang: Patch<String>,
    /// The revision this update is based on.
    #[schemars(range(min = 1, max = MAX_INTEGER))]
    pub rev: Opt<i64>,
    /// Whether it is spam.
    pub spam: Opt<bool>,
    /// Reactions to it.
    #[schemars(length(max = 100))]
    pub reactions: Opt<Vec<Object>>,
}

/// `POST /v1/notes` and `POST /v1/conversations/{id}/notes`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct NoteCreate {
    /// The id to use.
    pub id: Opt<NoteId>,
    /// The conversation; taken from the path when created below one.
    pub conversation: Opt<ConversationId>,
    /// The customer, as import files name them; must be the conversation's.
    pub customer: Opt<CustomerId>,
    /// The caller's key.
    #[schemars(length(min = 1, max = 256), pattern(NO_NUL))]
    pub external_id: Opt<String>,
    /// The text.
    #[schemars(length(min = 1, max = 10_240))]
    pub body: Opt<String>,
    /// Users and teams it calls on.
    #[schemars(length(max = 20))]
    pub user_mentions: Opt<Vec<Mention>>,
    /// Attachment ids, or records with an `_id`.
    #[schemars(length(max = 100), extend("uniqueItems" = true))]
    pub attachments: Opt<Vec<Value>>,
    /// When it came to be; needs `org.admin`.
    pub created_at: Opt<Instant>,
    /// When it was last edited; needs `org.admin`.
    pub modified_at: Opt<Instant>,
    /// Who wrote it; needs `org.admin`.
    pub created_by: Opt<UserId>,
    /// Who last edited it; needs `org.admin`.
    pub modified_by: Opt<UserId>,
    /// When it was brought in from elsewhere.
    pub imported_at: Opt<Instant>,
    /// Its language.
    #[schemars(length(max = 100))]
    pub lang: Patch<String>,
}

/// `PATCH` and `PUT /v1/notes/{id}`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct NoteUpdate {
    /// The conversation it moves to.
    pub conversation: Opt<ConversationId>,
    /// The caller's key.
    #[schemars(length(min = 1, max = 256), pattern(NO_NUL))]
    pub external_id: Patch<String>,
    /// The text.
    #[schemars(length(min = 1, max = 10_240))]
    pub body: Opt<String>,
    /// Users and teams it calls on.
    #[schemars(length(max = 20))]
    pub user_mentions: Opt<Vec<Mention>>,
    /// Attachment ids, or records with an `_id`.
    #[schemars(length(max = 100), extend("uniqueItems" = true))]
    pub attachments: Opt<Vec<Value>>,
    /// When it came to be; needs `org.admin`.
    pub created_at: Opt<Instant>,
    /// When it was last edited; needs `org.admin`.
    pub modified_at: Opt<Instant>,
    /// Accepted and ignored: the server keeps this one.
    pub updated_at: Opt<Instant>,
    /// Who wrote it; needs `org.admin`.
    pub created_by: Opt<UserId>,
    /// Who last edited it; needs `org.admin`.
    pub modified_by: Opt<UserId>,
    /// `true` deletes, `false` or `null` restores.
    pub deleted: Patch<bool>,
    /// Its language.
    #[schemars(length(max = 100))]
    pub lang: Patch<String>,
    /// The revision this update is based on.
    #[schemars(range(min = 1, max = MAX_INTEGER))]
    pub rev: Opt<i64>,
}

/// `PUT /v1/metadata/{resource}`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct MetadataUpdate {
    /// Definitions by name, each merged into what there is; `null` deletes one.
    #[schemars(extend("maxProperties" = MOST_DEFINED))]
    pub properties: BTreeMap<String, Option<DefinitionUpdate>>,
}

/// A custom attribute's definition, as far as it changes.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(inline)]
pub struct DefinitionUpdate {
    /// What it holds; the name's ending says it.
    #[schemars(length(max = 64))]
    pub r#type: Opt<String>,
    /// Its name for people; `null` makes it out of the name again.
    #[schemars(length(min = 1, max = 256))]
    pub display_name: Patch<String>,
    /// The only texts it may have.
    #[schemars(length(max = 1000), inner(length(min = 1, max = 1024)), extend("uniqueItems" = true))]
    pub enumeration: Patch<Vec<String>>,
    /// Whether it may have several values.
    pub array: Patch<bool>,
    /// The resource that ids refer to.
    #[schemars(length(min = 1, max = 128))]
    pub target: Patch<String>,
    /// Whether it may refer to several records.
    pub multi: Patch<bool>,
    /// The options of a multi-level list: `[{value, children?}]`.
    #[schemars(length(max = 1000))]
    pub tree: Patch<Vec<Value>>,
    /// Whether it is hidden from those without the right to see it.
    pub sensitive: Patch<SensitiveInput>,
    /// `true` deletes it.
    pub deleted: Patch<bool>,
    /// Accepted as it was read and ignored: the server keeps this one.
    pub modified_by: Patch<UserId>,
    /// Accepted as it was read and ignored: the server keeps this one.
    pub modified_at: Patch<Instant>,
    /// Accepted as it was read and ignored: the server keeps this one.
    pub updated_at: Patch<Instant>,
    /// Accepted as it was read and ignored: the server keeps this one.
    pub deleted_at: Patch<Instant>,
    /// Accepted as it was read and ignored: the server keeps this one.
    pub deleted_by: Patch<UserId>,
}

/// Whether a custom attribute is sensitive.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(inline)]
pub struct SensitiveInput {
    /// Whether it is.
    pub enabled: bool,
    /// How much of it is shown all the same: nothing (`full`) or the last four characters (`last4`).
    #[serde(default)]
    pub mask_type: MaskType,
}

/// `POST /v1/users`, and the users of import files.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct UserCreate {
    /// The id to use, in import files.
    pub id: Opt<UserId>,
    /// The name.
    #[schemars(length(min = 1, max = 256))]
    pub name: Opt<String>,
    /// The address; unique in the org.
    #[schemars(length(min = 3, max = 256), pattern(ADDRESS))]
    pub email: Opt<String>,
    /// The name shown to customers.
    #[schemars(length(max = 256))]
    pub display_name: Patch<String>,
    /// Picture.
    #[schemars(length(max = 2048))]
    pub avatar_url: Patch<String>,
    /// Phone.
    #[schemars(length(max = 64))]
    pub mobile: Patch<String>,
    /// Closing lines of their e-mails.
    #[schemars(length(max = 10_240))]
    pub email_signature: Patch<String>,
    /// What kind of user.
    pub user_type: Opt<UserType>,
    /// Permission-set ids.
    #[schemars(length(max = 100))]
    pub role_groups: Opt<Vec<Id>>,
    /// Role names; cut down to the caller's own.
    #[schemars(length(max = 100), inner(length(min = 1, max = 128)))]
    pub roles: Opt<Vec<String>>,
    /// When they came to be, in import files.
    pub created_at: Opt<Instant>,
}

/// `PUT /v1/users/{id}`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct UserUpdate {
    /// The name.
    #[schemars(length(min = 1, max = 256))]
    pub name: Opt<String>,
    /// The address; unique in the org.
    #[schemars(length(min = 3, max = 256), pattern(ADDRESS))]
    pub email: Opt<String>,
    /// The name shown to customers.
    #[schemars(length(max = 256))]
    pub display_name: Patch<String>,
    /// Picture.
    #[schemars(length(max = 2048))]
    pub avatar_url: Patch<String>,
    /// Phone.
    #[schemars(length(max = 64))]
    pub mobile: Patch<String>,
    /// Closing lines of their e-mails.
    #[schemars(length(max = 10_240))]
    pub email_signature: Patch<String>,
    /// What kind of user; a person stays one, and so does a machine user.
    pub user_type: Opt<UserType>,
    /// Role-group ids; those that are new must hold no role the caller does not.
    #[schemars(length(max = 100), extend("uniqueItems" = true))]
    pub role_groups: Opt<Vec<Id>>,
    /// Role names; new ones are cut down to the caller's own.
    #[schemars(length(max = 100), inner(length(min = 1, max = 128)))]
    pub roles: Opt<Vec<String>>,
    /// `true` deactivates, `false` or `null` restores.
    pub deleted: Patch<bool>,
}

/// `PUT /v1/users/current`.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct OwnUserUpdate {
    /// The name.
    #[schemars(length(min = 1, max = 256))]
    pub name: Opt<String>,
    /// The name shown to customers.
    #[schemars(length(max = 256))]
    pub display_name: Patch<String>,
    /// Picture.
    #[schemars(length(max = 2048))]
    pub avatar_url: Patch<String>,
    /// Phone.
    #[schemars(length(max = 64))]
    pub mobile: Patch<String>,
    /// Closing lines of their e-mails.
    #[schemars(length(max = 10_240))]
    pub email_signature: Patch<String>,
    /// A new password; ends the user's other sessions.
    #[schemars(length(min = 8, max = 256))]
    pub password: Opt<String>,
    /// The password so far, which a new one needs.
    #[schemars(length(min = 1, max = 256))]
    pub current_password: Opt<String>,
}

/// Without what is secret.
impl std::fmt::Debug for OwnUserUpdate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OwnUserUpdate").finish_non_exhaustive()
    }
}

/// `POST /v1/auth/tokens`.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct SignInBody {
    /// The org's name, or a host name that begins with it.
    #[schemars(length(min = 1, max = 256), pattern(NO_NUL))]
    pub domain: Opt<String>,
    /// The person's address.
    #[schemars(length(min = 1, max = 256), pattern(NO_NUL))]
    pub email: Opt<String>,
    /// Their password.
    #[schemars(length(min = 1, max = 256))]
    pub password: Opt<String>,
    /// Whether the session lasts for thirty days instead of twelve hours.
    pub remember: Opt<bool>,
}

/// Without what is secret.
impl std::fmt::Debug for SignInBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SignInBody").finish_non_exhaustive()
    }
}

/// `POST /v1/role-groups` and `PUT /v1/role-groups/{id}`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RoleGroupBody {
    /// The name; unique in the org, whatever the case.
    #[schemars(length(min = 1, max = 256), pattern(NO_NUL))]
    pub name: Opt<String>,
    /// What it is for.
    #[schemars(length(max = 1024))]
    pub description: Patch<String>,
    /// Whether it is offered where people are given role groups.
    pub display: Opt<bool>,
    /// Role names; none that the caller does not hold.
    #[schemars(length(max = 500), extend("uniqueItems" = true), inner(length(min = 1, max = 128)))]
    pub roles: Opt<Vec<String>>,
}

/// `PUT` and `PATCH /v1/teams/{id}`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct TeamUpdate {
    /// The name; unique in the org.
    #[schemars(length(min = 1, max = 256), pattern(NO_NUL))]
    pub name: Opt<String>,
    /// The name shown to customers.
    #[schemars(length(max = 256))]
    pub display_name: Patch<String>,
    /// Its icon.
    #[schemars(length(max = 256))]
    pub icon: Patch<String>,
    /// User ids, in place of those there are.
    #[schemars(length(max = 1000), extend("uniqueItems" = true))]
    pub members: Opt<Vec<UserId>>,
    /// Role-group ids, in place of those there are.
    #[schemars(length(max = 100), extend("uniqueItems" = true))]
    pub role_groups: Opt<Vec<Id>>,
    /// The caller's key.
    #[schemars(length(min = 1, max = 256), pattern(NO_NUL))]
    pub external_id: Patch<String>,
}

/// `POST` and `DELETE /v1/teams/{id}/members`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct TeamMembers {
    /// User ids.
    #[schemars(length(max = 1000))]
    pub members: Opt<Vec<UserId>>,
}

/// `POST /v1/teams`, and the teams of import files.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct TeamCreate {
    /// The id to use, in import files.
    pub id: Opt<TeamId>,
    /// The name; unique in the org.
    #[schemars(length(min = 1, max = 256), pattern(NO_NUL))]
    pub name: Opt<String>,
    /// The name shown to customers.
    #[schemars(length(max = 256))]
    pub display_name: Patch<String>,
    /// Its icon.
    #[schemars(length(max = 256))]
    pub icon: Patch<String>,
    /// User ids.
    #[schemars(length(max = 1000), extend("uniqueItems" = true))]
    pub members: Opt<Vec<UserId>>,
    /// Role-group ids.
    #[schemars(length(max = 100), extend("uniqueItems" = true))]
    pub role_groups: Opt<Vec<Id>>,
    /// The caller's key.
    #[schemars(length(min = 1, max = 256), pattern(NO_NUL))]
    pub external_id: Opt<String>,
    /// When it came to be.
    pub created_at: Opt<Instant>,
    /// When it was brought in from elsewhere.
    pub imported_at: Opt<Instant>,
}

/// `POST /v1/tags`, and the tags of import files.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct TagCreate {
    /// The id to use, in import files.
    pub id: Opt<TagId>,
    /// The name; unique in the org, whatever the case.
    #[schemars(length(min = 1, max = 64))]
    pub name: Opt<String>,
    /// A colour such as `#26c281`.
    #[schemars(length(max = 64))]
    pub color: Patch<String>,
    /// When it came to be, in import files.
    pub created_at: Opt<Instant>,
}

/// `PATCH` and `PUT /v1/tags/{id}`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct TagUpdate {
    /// The name; unique in the org, whatever the case.
    #[schemars(length(min = 1, max = 64))]
    pub name: Opt<String>,
    /// A colour such as `#26c281`.
    #[schemars(length(max = 64))]
    pub color: Patch<String>,
    /// `true` deletes, `false` or `null` restores.
    pub deleted: Patch<bool>,
}

/// `POST /v1/operations/{key}/run`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OperationInput {
    /// The operation's parameters.
    pub parameters: OperationParameters,
}

/// The parameters of *Get Conversations by Customer*. The published input is `id` alone; the rest are the list's own.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(inline)]
pub struct OperationParameters {
    /// The customer's id.
    pub id: String,
    /// Which page, from 1.
    #[serde(default)]
    #[schemars(extend("type" = ["string", "number"]))]
    pub page: Opt<Value>,
    /// Rows a page, up to 100.
    #[serde(default)]
    #[schemars(extend("type" = ["string", "number"]))]
    pub page_size: Opt<Value>,
    /// Only conversations changed at or after this moment.
    #[serde(default)]
    pub from_date: Opt<String>,
}
