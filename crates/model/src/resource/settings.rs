//! What an org sets up for its work: shortcuts, brands, SLAs with their versions, queues, saved
//! searches (contract `resources.md` §13, §15).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Object;
use crate::{Attributes, Document, Instant, Kind};

/// A shortcut.
pub type Shortcut = Document<ShortcutAttributes>;
/// A brand.
pub type Brand = Document<BrandAttributes>;
/// An SLA.
pub type Sla = Document<SlaAttributes>;
/// A version of an SLA.
pub type SlaVersion = Document<SlaVersionAttributes>;
/// A queue.
pub type Queue = Document<QueueAttributes>;
/// A saved search.
pub type SavedSearch = Document<SavedSearchAttributes>;
/// An org, as its members see it.
pub type OrgRecord = Document<OrgAttributes>;

/// A shortcut's attributes: a text for agents to write, and what it does to the conversation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(title = "ShortcutAttributes")]
pub struct ShortcutAttributes {
    /// The name; several may have the same.
    pub name: String,
    /// The text, plain: `{text}`.
    pub draft: Object,
    /// The text, rich: `{text: {blocks, entityMap}}`.
    pub payload: Object,
    /// What it sets on the conversation: `name`, `tags`, `custom`.
    pub conversation: Object,
    /// Whether it is meant for those it names alone.
    pub is_private: bool,
    /// Whether the app it belongs to is switched off.
    pub app_disabled: bool,
    /// Whether it has been deleted.
    pub deleted: bool,
    /// When it was deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted_at: Option<Instant>,
    /// When it came to be.
    pub created_at: Instant,
    /// When anything about it last changed.
    pub updated_at: Instant,
    /// When someone last edited it.
    pub modified_at: Instant,
    /// 1 at creation, one more with every stored change.
    pub rev: i64,
}

impl Attributes for ShortcutAttributes {
    const KIND: Kind = Kind::Shortcut;
    const EMPTY: &'static [(&'static str, &'static str)] =
        &[("accessUsers", r#"{"data":[]}"#), ("accessTeams", r#"{"data":[]}"#), ("attachments", r#"{"data":[]}"#)];
}

/// A brand's attributes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(title = "BrandAttributes")]
pub struct BrandAttributes {
    /// The name; unique in the org, whatever the case.
    pub name: String,
    /// Picture.
    #[serde(default)]
    pub icon_url: Option<String>,
    /// Whether it is the one that counts where none is named: one of the org's brands is.
    pub default: bool,
    /// When it came to be.
    pub created_at: Instant,
    /// When anything about it last changed.
    pub updated_at: Instant,
    /// When someone last edited it.
    pub modified_at: Instant,
}

impl Attributes for BrandAttributes {
    const KIND: Kind = Kind::Brand;
}

/// An SLA's attributes; what it promises is in its versions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(title = "SlaAttributes")]
pub struct SlaAttributes {
    /// The number of the version in force.
    pub current_version: u64,
    /// When it came to be.
    pub created_at: Instant,
    /// When anything about it last changed.
    pub updated_at: Instant,
}

impl Attributes for SlaAttributes {
    const KIND: Kind = Kind::Sla;
    const EMPTY: &'static [(&'static str, &'static str)] = &[("versions", r#"{"data":[]}"#)];
}

/// The attributes of a version of an SLA.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(title = "SlaVersionAttributes")]
pub struct SlaVersionAttributes {
    /// The name.
    pub name: String,
    /// What it is for.
    #[serde(default)]
    pub description: Option<String>,
    /// Its number, from 1.
    pub version: u64,
    /// Which hours count: `calendar` or `business`.
    #[serde(default)]
    pub hours: Option<String>,
    /// What is promised: `firstResponse`, `nextReply` and others, each with `enabled` and `times` by priority.
    pub metrics: Object,
    /// The conversations it is for.
    pub criteria: Object,
    /// When it came to be.
    pub created_at: Instant,
    /// When anything about it last changed.
    pub updated_at: Instant,
}

impl Attributes for SlaVersionAttributes {
    const KIND: Kind = Kind::SlaVersion;
}

/// A queue's attributes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(title = "QueueAttributes")]
pub struct QueueAttributes {
    /// The name; unique in the org, whatever the case.
    pub name: String,
    /// The name shown to agents.
    #[serde(default)]
    pub display_name: Option<String>,
    /// What it is for.
    #[serde(default)]
    pub description: Option<String>,
    /// Which queue goes first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<u64>,
    /// When it came to be.
    pub created_at: Instant,
    /// When anything about it last changed.
    pub updated_at: Instant,
    /// When someone last edited it.
    pub modified_at: Instant,
}

impl Attributes for QueueAttributes {
    const KIND: Kind = Kind::Queue;
}

/// A saved search's attributes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(title = "SavedSearchAttributes")]
pub struct SavedSearchAttributes {
    /// The name; several may have the same.
    pub name: String,
    /// What it asks for: the body of a search.
    pub query: Object,
    /// Whether it has been deleted.
    pub deleted: bool,
    /// When it was deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted_at: Option<Instant>,
    /// When it came to be.
    pub created_at: Instant,
    /// When anything about it last changed.
    pub updated_at: Instant,
    /// When someone last edited it.
    pub modified_at: Instant,
}

impl Attributes for SavedSearchAttributes {
    const KIND: Kind = Kind::Search;
}

/// An org's attributes. It is set up by its operator and not stored as a text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(title = "OrgAttributes")]
pub struct OrgAttributes {
    /// The name, which host names and sign-ins use.
    pub name: String,
    /// The name for people: the same.
    pub display_name: String,
    /// Always empty.
    pub meta: Object,
    /// When it came to be.
    pub created_at: Instant,
    /// The same: nothing about it changes.
    pub updated_at: Instant,
}

impl Attributes for OrgAttributes {
    const KIND: Kind = Kind::Org;
}
