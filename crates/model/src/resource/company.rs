//! A company's attributes (contract `resources.md` §5).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Object;
use crate::input::{CompanyDomain, Email, Phone, Social, Whatsapp};
use crate::{Attributes, Document, Id, Instant, Kind};

/// A company.
pub type Company = Document<CompanyAttributes>;

/// A company's attributes, in the order they are shown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(title = "CompanyAttributes")]
pub struct CompanyAttributes {
    /// The name; several may have the same.
    pub name: String,
    /// The caller's key; unique in the org.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
    /// Picture.
    #[serde(default)]
    pub avatar_url: Option<String>,
    /// E-mail addresses.
    pub emails: Vec<Email>,
    /// Phone numbers.
    pub phones: Vec<Phone>,
    /// WhatsApp numbers.
    pub whatsapps: Vec<Whatsapp>,
    /// Social accounts.
    pub socials: Vec<Social>,
    /// Web addresses.
    pub urls: Vec<Value>,
    /// Postal addresses.
    pub locations: Vec<Value>,
    /// The domains of its addresses.
    pub domains: Vec<CompanyDomain>,
    /// How many people work there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub employee_count: Option<u64>,
    /// Tag ids.
    pub tags: Vec<Id>,
    /// Custom attributes.
    #[serde(default, skip_serializing_if = "Object::is_empty")]
    pub custom: Object,
    /// Language.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_lang: Option<String>,
    /// Always empty: records have no access rules of their own.
    #[serde(default)]
    pub role_group_versions: Vec<Id>,
    /// Whether it has been deleted.
    pub deleted: bool,
    /// When it was deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted_at: Option<Instant>,
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

impl Attributes for CompanyAttributes {
    const KIND: Kind = Kind::Company;

    fn custom(&mut self) -> Option<&mut Object> {
        Some(&mut self.custom)
    }

    fn imported_at(&self) -> Option<Instant> {
        self.imported_at
    }
}
