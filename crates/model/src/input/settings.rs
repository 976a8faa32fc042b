//! The bodies of companies and of what an org sets up for its work. Those of SLAs and queues are import rows only.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::parts::*;
use crate::resource::Object;
use crate::{Id, Instant, Opt, Patch, TeamId, UserId};

/// A domain of a company's addresses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline, deny_unknown_fields)]
pub struct CompanyDomain {
    /// The domain.
    #[schemars(length(min = 1, max = 253), pattern(NO_NUL))]
    pub domain: String,
}

/// `POST /v1/companies`, `PUT /v1/companies/{id}`, and the companies of import files.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct CompanyBody {
    /// The id to use, in import files.
    pub id: Opt<Id>,
    /// The name.
    #[schemars(length(min = 3, max = 255), pattern(NO_NUL))]
    pub name: Opt<String>,
    /// The caller's key; unique in the org.
    #[schemars(length(min = 1, max = 256), pattern(NO_NUL))]
    pub external_id: Patch<String>,
    /// Picture.
    #[schemars(length(max = 2048), extend("format" = "uri"))]
    pub avatar_url: Patch<String>,
    /// E-mail addresses.
    #[schemars(length(max = 10))]
    pub emails: Opt<Vec<Email>>,
    /// Phone numbers.
    #[schemars(length(max = 10))]
    pub phones: Opt<Vec<Phone>>,
    /// WhatsApp numbers.
    #[schemars(length(max = 10))]
    pub whatsapps: Opt<Vec<Whatsapp>>,
    /// Social accounts.
    #[schemars(length(max = 10))]
    pub socials: Opt<Vec<Social>>,
    /// Web addresses.
    #[schemars(length(max = 10))]
    pub urls: Opt<Vec<Url>>,
    /// Postal addresses.
    #[schemars(length(max = 10))]
    pub locations: Opt<Vec<Location>>,
    /// The domains of its addresses.
    #[schemars(length(max = 100))]
    pub domains: Opt<Vec<CompanyDomain>>,
    /// How many people work there.
    #[schemars(range(max = MAX_INTEGER))]
    pub employee_count: Patch<u64>,
    /// Tag ids or names.
    #[schemars(length(max = 20), extend("uniqueItems" = true), inner(length(min = 1, max = 64)))]
    pub tags: Opt<Vec<String>>,
    /// Custom attributes, merged by name; `null` removes one.
    #[schemars(extend("maxProperties" = 100))]
    pub custom: Opt<Object>,
    /// Language.
    #[schemars(length(max = 100))]
    pub default_lang: Patch<String>,
    /// `true` deletes, `false` or `null` restores.
    pub deleted: Patch<bool>,
    /// When it came to be, at creation.
    pub created_at: Opt<Instant>,
    /// When it was last edited, in import files.
    pub modified_at: Opt<Instant>,
    /// Who made it, in import files.
    pub created_by: Opt<UserId>,
    /// Who last edited it, in import files.
    pub modified_by: Opt<UserId>,
    /// When it was brought in from elsewhere.
    pub imported_at: Opt<Instant>,
    /// The revision this update is based on.
    #[schemars(range(min = 1, max = MAX_INTEGER))]
    pub rev: Opt<i64>,
}

/// `POST /v1/shortcuts`, `PATCH` and `PUT /v1/shortcuts/{id}`, and the shortcuts of import files.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ShortcutBody {
    /// The id to use, in import files.
    pub id: Opt<Id>,
    /// The name.
    #[schemars(length(min = 1, max = 256), pattern(NO_NUL))]
    pub name: Opt<String>,
    /// The text, plain: `{text}`.
    #[schemars(extend("maxProperties" = 100))]
    pub draft: Opt<Object>,
    /// The text, rich: `{text: {blocks, entityMap}}`.
    #[schemars(extend("maxProperties" = 100))]
    pub payload: Opt<Object>,
    /// What it sets on the conversation.
    pub conversation: Opt<ShortcutConversation>,
    /// Whether it is meant for those it names alone.
    pub is_private: Opt<bool>,
    /// Whether the app it belongs to is switched off.
    pub app_disabled: Opt<bool>,
    /// The shortcut it lies below.
    pub parent: Patch<Id>,
    /// User ids it is meant for.
    #[schemars(length(max = 1000), extend("uniqueItems" = true))]
    pub access_users: Opt<Vec<UserId>>,
    /// Team ids it is meant for.
    #[schemars(length(max = 1000), extend("uniqueItems" = true))]
    pub access_teams: Opt<Vec<TeamId>>,
    /// Attachment ids.
    #[schemars(length(max = 100), extend("uniqueItems" = true))]
    pub attachments: Opt<Vec<Id>>,
    /// `true` deletes, `false` or `null` restores.
    pub deleted: Patch<bool>,
    /// When it came to be, in import files.
    pub created_at: Opt<Instant>,
    /// When it was last edited, in import files.
    pub modified_at: Opt<Instant>,
    /// Who made it, in import files.
    pub created_by: Opt<UserId>,
    /// Who last edited it, in import files.
    pub modified_by: Opt<UserId>,
    /// The revision this update is based on.
    #[schemars(range(min = 1, max = MAX_INTEGER))]
    pub rev: Opt<i64>,
}

/// What a shortcut sets on the conversation it is used in.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(inline)]
pub struct ShortcutConversation {
    /// The subject: `{operator, value}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maxProperties" = 100))]
    pub name: Option<Object>,
    /// Tags: `{operator, value: [ids]}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maxProperties" = 100))]
    pub tags: Option<Object>,
    /// Custom attributes, each `{operator, value}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maxProperties" = 100))]
    pub custom: Option<Object>,
}

/// `POST /v1/brands`, `PATCH /v1/brands/{id}`, and the brands of import files.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct BrandBody {
    /// The id to use, in import files.
    pub id: Opt<Id>,
    /// The name; unique in the org, whatever the case.
    #[schemars(length(min = 1, max = 256), pattern(NO_NUL))]
    pub name: Opt<String>,
    /// Picture.
    #[schemars(length(max = 2048), extend("format" = "uri"))]
    pub icon_url: Patch<String>,
    /// `true` makes it the org's default, and the one that was no longer.
    pub default: Opt<bool>,
    /// When it came to be, in import files.
    pub created_at: Opt<Instant>,
    /// When it was last edited, in import files.
    pub modified_at: Opt<Instant>,
    /// Who made it, in import files.
    pub created_by: Opt<UserId>,
    /// Who last edited it, in import files.
    pub modified_by: Opt<UserId>,
}

/// `POST /v1/customers/searches` and `PUT /v1/customers/searches/{id}`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct SearchBody {
    /// The name.
    #[schemars(length(min = 1, max = 255), pattern(NO_NUL))]
    pub name: Opt<String>,
    /// What it asks for: the body of `POST /v1/customers/search`.
    #[schemars(extend("maxProperties" = 100))]
    pub query: Opt<Object>,
    /// `true` deletes, `false` or `null` restores.
    pub deleted: Patch<bool>,
}

/// An SLA of an import file, with its versions.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct SlaRow {
    /// The id to use.
    pub id: Opt<Id>,
    /// The number of the version in force; the highest when not said.
    #[schemars(range(min = 1, max = MAX_INTEGER))]
    pub current_version: Opt<u64>,
    /// Its versions.
    #[schemars(length(min = 1, max = 100))]
    pub versions: Opt<Vec<SlaVersionRow>>,
    /// When it came to be.
    pub created_at: Opt<Instant>,
    /// Who made it.
    pub created_by: Opt<UserId>,
}

/// A version of an SLA of an import file.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(inline)]
pub struct SlaVersionRow {
    /// The id to use.
    pub id: Opt<Id>,
    /// The name.
    #[schemars(length(min = 1, max = 256), pattern(NO_NUL))]
    pub name: Opt<String>,
    /// What it is for.
    #[schemars(length(max = 10_240))]
    pub description: Patch<String>,
    /// Its number, from 1; its place in the list when not said.
    #[schemars(range(min = 1, max = MAX_INTEGER))]
    pub version: Opt<u64>,
    /// Which hours count: `calendar` or `business`.
    #[schemars(length(max = 256))]
    pub hours: Patch<String>,
    /// What is promised.
    #[schemars(extend("maxProperties" = 100))]
    pub metrics: Opt<Object>,
    /// The conversations it is for.
    #[schemars(extend("maxProperties" = 100))]
    pub criteria: Opt<Object>,
    /// When it came to be.
    pub created_at: Opt<Instant>,
}

/// A queue of an import file.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct QueueRow {
    /// The id to use.
    pub id: Opt<Id>,
    /// The name; unique in the org, whatever the case.
    #[schemars(length(min = 1, max = 256), pattern(NO_NUL))]
    pub name: Opt<String>,
    /// The name shown to agents.
    #[schemars(length(max = 256))]
    pub display_name: Patch<String>,
    /// What it is for.
    #[schemars(length(max = 10_240))]
    pub description: Patch<String>,
    /// Which queue goes first.
    #[schemars(range(max = MAX_INTEGER))]
    pub priority: Patch<u64>,
    /// When it came to be.
    pub created_at: Opt<Instant>,
    /// When it was last edited.
    pub modified_at: Opt<Instant>,
    /// Who made it.
    pub created_by: Opt<UserId>,
    /// Who last edited it.
    pub modified_by: Opt<UserId>,
}
