//! How a resource's custom attributes are defined (contract README §10).

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::is_false;
use crate::mask::MaskType;
use crate::{Attributes, Document, Instant, Kind, UserId};

/// The definitions of a resource's custom attributes.
pub type Metadata = Document<MetadataAttributes>;

/// What is shown of the definitions of a resource's custom attributes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(title = "MetadataAttributes")]
pub struct MetadataAttributes {
    /// The resource: `customer`, `conversation` …
    pub resource: String,
    /// The definitions by name.
    pub properties: BTreeMap<String, Definition>,
    /// Whether any of them is sensitive.
    #[serde(default, skip_serializing_if = "is_false")]
    pub has_sensitive_attributes: bool,
    /// When the first of them came to be.
    pub created_at: Instant,
    /// When any of them last changed.
    pub updated_at: Instant,
    /// When someone last edited them.
    pub modified_at: Instant,
}

impl Attributes for MetadataAttributes {
    const KIND: Kind = Kind::Metadata;

    fn key(&self) -> Option<&str> {
        Some(&self.resource)
    }
}

/// The definition of a custom attribute.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub struct Definition {
    /// What it holds: the name's ending says it.
    pub r#type: String,
    /// Its name for people.
    pub display_name: String,
    /// The only texts it may have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enumeration: Option<Vec<String>>,
    /// Whether it may have several values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub array: Option<bool>,
    /// The resource that ids refer to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Whether it may refer to several records.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub multi: Option<bool>,
    /// The options of a multi-level list: `[{value, children?}]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tree: Option<Vec<Value>>,
    /// Whether it is hidden from those without the right to see it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sensitive: Option<Sensitive>,
    /// Who last edited it.
    pub modified_by: Option<UserId>,
    /// When someone last edited it.
    pub modified_at: Instant,
    /// When it last changed.
    pub updated_at: Instant,
    /// When it was deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted_at: Option<Instant>,
    /// Who deleted it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted_by: Option<UserId>,
}

/// Whether a custom attribute is sensitive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub struct Sensitive {
    /// Whether it is.
    pub enabled: bool,
    /// How much of it is shown all the same.
    pub mask_type: MaskType,
}
