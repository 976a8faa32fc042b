//! The attributes every org has, object by object (contract `search.md` §7 and §10).

use super::Source::{
    AllText, At, CountOf, CustomText, Deleted, Given, Id, Nowhere, Polarity, Related, RelatedOf, Statuses, Texts,
};
use super::{Class, Source, Standard};
use crate::context::Object;

const CHANNELS: &[&str] =
    &["sms", "chat", "email", "facebook", "voice", "twitter-dm", "twitter-tweet", "instagram", "whatsapp"];
const PLACES: &[&str] = &["initial-in", "initial-out", "response-in", "response-out", "followup-in", "followup-out"];
const SENTIMENTS: &[&str] = &["happy", "unhappy", "indifferent"];
const NETWORKS: &[&str] = &["facebook", "instagram", "whatsapp", "linkedin", "pinterest", "twitter"];
const STATUSES: &[&str] = &["snoozed", "open", "done"];
const DIRECTIONS: &[&str] = &["in", "out"];
const SURVEYS: &[&str] = &["canceled", "scheduled", "offered", "unresponded", "rated", "commented"];
const METRICS: &[&str] =
    &["firstResponse", "totalCustomerWaitTime", "longestUnrespondedMessage", "totalConversationOpenTime"];

/// The standard attributes of an object.
pub(crate) const fn of_object(object: Object) -> &'static [Standard] {
    match object {
        Object::Customer => CUSTOMER,
        Object::Company => COMPANY,
        Object::Message => MESSAGE,
        Object::Note => NOTE,
        Object::Conversation => CONVERSATION,
        Object::ConversationTime => CONVERSATION_TIME,
        Object::Kobject => KOBJECT,
        Object::Work => &[],
    }
}

const fn single(name: &'static str, class: Class, source: Source) -> Standard {
    Standard { name, class, one_of: &[], many: false, source }
}
const fn any(name: &'static str) -> Standard {
    Standard { many: true, ..single(name, Class::Any, AllText) }
}
/// Beside the other text, since a reader may be kept from custom attributes.
const fn any_custom(name: &'static str) -> Standard {
    Standard { many: true, ..single(name, Class::Any, CustomText) }
}
const fn text(name: &'static str, source: Source) -> Standard {
    single(name, Class::Text, source)
}
const fn string(name: &'static str, source: Source) -> Standard {
    single(name, Class::String, source)
}
const fn keyword(name: &'static str, source: Source) -> Standard {
    single(name, Class::Keyword, source)
}
/// One id or word of many.
const fn word(name: &'static str, source: Source) -> Standard {
    single(name, Class::List, source)
}
const fn words(name: &'static str, source: Source) -> Standard {
    many(word(name, source))
}
const fn one_of(name: &'static str, one_of: &'static [&'static str], source: Source) -> Standard {
    Standard { one_of, ..word(name, source) }
}
const fn some_of(name: &'static str, values: &'static [&'static str], source: Source) -> Standard {
    many(one_of(name, values, source))
}
const fn number(name: &'static str, source: Source) -> Standard {
    single(name, Class::Number, source)
}
const fn datetime(name: &'static str, source: Source) -> Standard {
    single(name, Class::Datetime, source)
}
const fn boolean(name: &'static str, source: Source) -> Standard {
    single(name, Class::Boolean, source)
}
const fn many(standard: Standard) -> Standard {
    Standard { many: true, ..standard }
}

const CUSTOMER: &[Standard] = &[
    keyword("customer_id", Id),
    any("customer_any_text"),
    any_custom("customer_any_custom"),
    string("customer_name", At("name")),
    many(string("customer_email", At("emails.email"))),
    many(string("customer_shared_email", At("sharedEmails.email"))),
    many(string("customer_phone", At("phones.phone"))),
    many(string("customer_shared_phone", At("sharedPhones.phone"))),
    many(string("customer_urls", Texts(&["urls"]))),
    many(string("customer_address", Texts(&["locations"]))),
    string("customer_locale", At("locale")),
    string("customer_lastmessage_preview", At("preview.text")),
    many(keyword("customer_externalId", At("externalIds.externalId"))),
    many(keyword("customer_shared_externalId", At("sharedExternalIds.externalId"))),
    keyword("customer_companyId", Related("company")),
    many(keyword("customer_social_userid", At("socials.userid"))),
    many(keyword("customer_social_username", At("socials.username"))),
    many(keyword("customer_shared_social_userid", At("sharedSocials.userid"))),
    many(keyword("customer_shared_social_username", At("sharedSocials.username"))),
    keyword("customer_default_lang", At("defaultLang")),
    one_of("customer_gender", &["m", "f"], At("gender")),
    one_of("customer_presence", &["online", "offline", "idle"], At("presence")),
    word("customer_created_by", Related("createdBy")),
    word("customer_modified_by", Related("modifiedBy")),
    some_of("customer_status", STATUSES, Statuses),
    one_of("customer_progressive_status", STATUSES, At("progressiveStatus")),
    words("customer_active_users", At("activeUsers")),
    words("customer_watchers", At("watchers")),
    words("customer_tags", At("tags")),
    one_of("customer_sentiment", SENTIMENTS, Polarity("sentiment")),
    some_of("customer_social_type", NETWORKS, At("socials.type")),
    some_of("customer_shared_social_type", NETWORKS, At("sharedSocials.type")),
    number("customer_satisfaction_avg_score", At("satisfactionLevel.avgScore")),
    number("customer_satisfaction_avg_rating", At("satisfactionLevel.avgRating")),
    number("customer_conversations_count", At("conversationCounts.all")),
    number("customer_open", At("conversationCounts.open")),
    number("customer_snoozed", At("conversationCounts.snoozed")),
    number("customer_done", At("conversationCounts.done")),
    number("tracking_events", Nowhere),
    datetime("customer_activity_at", At("lastActivityAt")),
    datetime("customer_last_seen_at", At("lastSeenAt")),
    datetime("customer_signed_up_at", At("signedUpAt")),
    datetime("customer_last_message_sent_at", At("lastMessageIn.sentAt")),
    datetime("customer_last_message_out_sent_at", At("lastMessageOut.sentAt")),
    datetime("customer_last_message_unresponded_to_sent_at", At("lastMessageUnrespondedTo.sentAt")),
    datetime("customer_last_message_at", At("lastMessageAt")),
    datetime("customer_created_at", At("createdAt")),
    datetime("customer_updated_at", At("updatedAt")),
    datetime("customer_modified_at", At("modifiedAt")),
    datetime("customer_imported_at", At("importedAt")),
    boolean("customer_imported", Given("importedAt")),
    boolean("customer_deleted", Deleted),
];

const COMPANY: &[Standard] = &[
    keyword("company_id", Id),
    any("company_any_text"),
    any_custom("company_any_custom"),
    string("company_name", At("name")),
    keyword("company_default_lang", At("defaultLang")),
    keyword("company_externalId", At("externalId")),
    words("company_tags", At("tags")),
    datetime("company_created_at", At("createdAt")),
    datetime("company_updated_at", At("updatedAt")),
    datetime("company_imported_at", At("importedAt")),
    boolean("company_imported", Given("importedAt")),
    boolean("company_deleted", Deleted),
];

const MESSAGE: &[Standard] = &[
    keyword("message_id", Id),
    any("message_any_text"),
    any_custom("message_any_custom"),
    text("message_body", At("preview")),
    text("message_subject", At("subject")),
    string("message_error_title", At("error.title")),
    many(string("message_recipients", Texts(&["meta.to", "meta.cc", "meta.bcc"]))),
    many(string("message_sender", Texts(&["meta.from"]))),
    keyword("message_customer_id", Related("customer")),
    keyword("message_conversation_id", Related("conversation")),
    keyword("message_external_id", At("externalId")),
    many(keyword("message_created_by_teams", At("createdByTeams"))),
    many(keyword("message_shortcuts", Related("shortcuts"))),
    keyword("message_lang", At("lang")),
    one_of("message_channel", CHANNELS, At("channel")),
    word("message_created_by", Related("createdBy")),
    word("message_modified_by", Related("modifiedBy")),
    one_of("message_sentiment", SENTIMENTS, Polarity("sentiment")),
    one_of("message_status", &["sent", "received", "error"], At("status")),
    one_of("message_direction_type", PLACES, At("directionType")),
    // The contract calls it boolean, yet it is compared with these words.
    one_of("message_direction", DIRECTIONS, At("direction")),
    word("message_source", At("source")),
    number("message_size", At("size")),
    number("message_attachment_count", CountOf("attachments")),
    datetime("message_sent_at", At("sentAt")),
    datetime("message_created_at", At("createdAt")),
    datetime("message_updated_at", At("updatedAt")),
    datetime("message_error_at", At("errorAt")),
    datetime("message_redacted_at", At("redactedAt")),
    datetime("message_imported_at", At("importedAt")),
    boolean("message_redacted", At("redacted")),
    boolean("message_imported", Given("importedAt")),
    boolean("message_auto", At("auto")),
    boolean("message_deleted", Deleted),
];

const NOTE: &[Standard] = &[
    keyword("note_id", Id),
    any("note_any_text"),
    text("note_body", At("body")),
    keyword("note_external_id", At("externalId")),
    keyword("note_customer_id", Related("customer")),
    keyword("note_conversation_id", Related("conversation")),
    keyword("note_lang", At("lang")),
    word("note_created_by", Related("createdBy")),
    word("note_modified_by", Related("modifiedBy")),
    words("note_user_mentions", RelatedOf("userMentions", "user")),
    words("note_team_mentions", RelatedOf("userMentions", "team")),
    number("note_attachment_count", CountOf("attachments")),
    datetime("note_created_at", At("createdAt")),
    datetime("note_modified_at", At("modifiedAt")),
    datetime("note_updated_at", At("updatedAt")),
    datetime("note_imported_at", At("importedAt")),
    boolean("note_deleted", Deleted),
    boolean("note_imported", Given("importedAt")),
];

const CONVERSATION: &[Standard] = &[
    keyword("conversation_id", Id),
    any("conversation_any_text"),
    any_custom("conversation_any_custom"),
    string("conversation_name", At("name")),
    many(string("conversation_satisfaction", Texts(&["satisfactionLevel.firstAnswer", "satisfactionLevel.answers"]))),
    string("conversation_ended_reason", At("endedReason")),
    keyword("conversation_sub_status", Related("subStatus")),
    keyword("conversation_customer_id", Related("customer")),
    keyword("conversation_campaign_id", Related("campaign")),
    keyword("conversation_default_lang", At("defaultLang")),
    keyword("conversation_sla_version_id", Related("slaVersion")),
    one_of("conversation_sentiment", SENTIMENTS, Polarity("sentiment")),
    one_of("conversation_status", STATUSES, At("status")),
    word("conversation_modified_by", Related("modifiedBy")),
    word("conversation_satisfaction_survey_id", At("satisfactionLevel.form")),
    word("conversation_satisfaction_sent_by", At("satisfactionLevel.sentBy")),
    words("conversation_satisfaction_sent_by_teams", At("satisfactionLevel.sentByTeams")),
    one_of("conversation_satisfaction_status", SURVEYS, At("satisfactionLevel.status")),
    some_of("conversation_channels", CHANNELS, At("channels")),
    words("conversation_tags", At("tags")),
    words("conversation_assigned_users", At("assignedUsers")),
    words("conversation_assigned_teams", At("assignedTeams")),
    word("conversation_first_response_created_by", At("firstResponse.createdBy")),
    word("conversation_last_response_created_by", At("lastResponse.createdBy")),
    one_of("conversation_last_message_direction", DIRECTIONS, At("lastMessageDirection")),
    one_of("conversation_direction", DIRECTIONS, At("direction")),
    one_of("conversation_first_message_in_direction_type", PLACES, At("firstMessageIn.directionType")),
    one_of("conversation_first_message_in_channel", CHANNELS, At("firstMessageIn.channel")),
    one_of("conversation_first_message_out_direction_type", PLACES, At("firstMessageOut.directionType")),
    one_of("conversation_first_message_out_channel", CHANNELS, At("firstMessageOut.channel")),
    one_of("conversation_sla_status", &["done", "pending", "paused"], At("sla.status")),
    word("conversation_sla_id", Related("sla")),
    one_of("conversation_sla_breach_metric", METRICS, At("sla.breach.metric")),
    word("conversation_first_done_created_by", At("firstDone.createdBy")),
    word("conversation_last_done_created_by", At("lastDone.createdBy")),
    words("conversation_last_done_created_by_teams", At("lastDone.createdByTeams")),
    one_of("conversation_reply_channel", CHANNELS, At("replyChannel")),
    word("conversation_queue", Related("queue")),
    word("conversation_external_queue", At("externalQueue")),
    number("conversation_message_count", At("messageCount")),
    number("conversation_note_count", At("noteCount")),
    number("conversation_satisfaction_score", At("satisfactionLevel.score")),
    number("conversation_satisfaction_rating", At("satisfactionLevel.rating")),
    number("conversation_priority", At("priority")),
    number("conversation_first_response_time", At("firstResponse.time")),
    number("conversation_outbound_message_count", At("outboundMessageCount")),
    datetime("conversation_created_at", At("createdAt")),
    datetime("conversation_updated_at", At("updatedAt")),
    datetime("conversation_modified_at", At("modifiedAt")),
    datetime("conversation_satisfaction_created_at", At("satisfactionLevel.createdAt")),
    datetime("conversation_last_message_sent_at", At("lastMessageIn.sentAt")),
    datetime("conversation_last_message_out_sent_at", At("lastMessageOut.sentAt")),
    datetime("conversation_last_message_unresponded_to_sent_at", At("lastMessageUnrespondedTo.sentAt")),
    datetime("conversation_last_message_at", At("lastMessageAt")),
    datetime("conversation_first_response_sent_at", At("firstResponse.sentAt")),
    datetime("conversation_first_message_in_sent_at", At("firstMessageIn.sentAt")),
    datetime("conversation_first_message_out_sent_at", At("firstMessageOut.sentAt")),
    datetime("conversation_sla_breach_at", At("sla.breach.at")),
    datetime("conversation_sla_satisfied_at", At("sla.summary.satisfiedAt")),
    datetime("conversation_first_done_created_at", At("firstDone.createdAt")),
    datetime("conversation_last_done_created_at", At("lastDone.createdAt")),
    datetime("conversation_ended_at", At("endedAt")),
    datetime("conversation_imported_at", At("importedAt")),
    boolean("conversation_sla_breached", At("sla.breached")),
    boolean("conversation_ended", At("ended")),
    boolean("conversation_imported", Given("importedAt")),
    boolean("conversation_deleted", Deleted),
];

const CONVERSATION_TIME: &[Standard] = &[
    keyword("conversation_time_conversation_id", Nowhere),
    words("conversation_time_created_by_teams", Nowhere),
    words("conversation_time_assigned_users", Nowhere),
    words("conversation_time_assigned_teams", Nowhere),
    some_of("conversation_time_channels", CHANNELS, Nowhere),
    number("conversation_time_message_time", Nowhere),
    number("conversation_time_messages_sent", Nowhere),
    number("conversation_time_note_time", Nowhere),
    number("conversation_time_notes_sent", Nowhere),
    number("conversation_time_handle_time", Nowhere),
    datetime("conversation_time_created_at", Nowhere),
    datetime("conversation_time_message_at", Nowhere),
    datetime("conversation_time_note_at", Nowhere),
    datetime("conversation_time_handle_at", Nowhere),
    boolean("conversation_time_touched", Nowhere),
    boolean("conversation_time_reopened", Nowhere),
    boolean("conversation_time_snoozed", Nowhere),
    boolean("conversation_time_resolved", Nowhere),
];

const KOBJECT: &[Standard] = &[
    keyword("kobject_id", Nowhere),
    Standard { source: Nowhere, ..any("kobject_any_text") },
    keyword("kobject_customer_id", Nowhere),
    keyword("kobject_company_id", Nowhere),
    datetime("kobject_created_at", Nowhere),
    datetime("kobject_updated_at", Nowhere),
    datetime("kobject_imported_at", Nowhere),
    boolean("kobject_imported", Nowhere),
    boolean("kobject_deleted", Nowhere),
];
