//! A record as JSON:API shows it: `type`, `id`, `attributes`, `relationships`, `links` (contract README §6).
//!
//! The text made here is what the store keeps and what every answer carries; it is read back only to change a record.

use std::borrow::Cow;

use indexmap::IndexMap;
use serde::de::DeserializeOwned;
use serde::ser::{SerializeMap, SerializeStruct};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::{Id, Kind, OrgId};

/// The version of the renderer: raised whenever a stored text would be rendered with more or other members than before.
pub const RENDERER: i64 = 2;

/// A record as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// The resource object.
    pub text: String,
    /// Where in it the 24 characters of `attributes.updatedAt` begin.
    pub stamp_at: usize,
}

/// The attributes of one kind of record.
pub trait Attributes: Serialize + DeserializeOwned + Clone {
    /// The kind they belong to.
    const KIND: Kind;
}

/// A record: its id, attributes and relationships.
#[derive(Clone, Debug, PartialEq)]
pub struct Document<A> {
    /// The record's id.
    pub id: Id,
    /// What the record says of itself.
    pub attributes: A,
    /// What it is tied to.
    pub relationships: Relationships,
    /// Where its producer keeps it: `links.related`, on messages.
    pub related: Option<String>,
}

/// A relationship.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rel {
    /// One record, with its link.
    One(Kind, Id),
    /// Several records; `link` is the path below the owning record, when it has one.
    Many {
        /// The path segment below the owner: `attachments`.
        link: Option<&'static str>,
        /// The records.
        data: Vec<(Kind, Id)>,
    },
    /// A collection below the owning record, as a link only.
    Collection(&'static str),
}

/// Relationships by name, in the order they are shown.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Relationships(IndexMap<Cow<'static, str>, Rel>);

impl Relationships {
    /// Sets a relationship, keeping its place when it was there before.
    pub fn set(&mut self, name: &'static str, rel: Rel) {
        self.0.insert(Cow::Borrowed(name), rel);
    }

    /// Sets or removes a to-one relationship.
    pub fn set_one(&mut self, name: &'static str, kind: Kind, id: Option<Id>) {
        match id {
            Some(id) => self.set(name, Rel::One(kind, id)),
            None => self.remove(name),
        }
    }

    /// Removes a relationship.
    pub fn remove(&mut self, name: &str) {
        self.0.shift_remove(name);
    }

    /// The id behind a to-one relationship.
    pub fn one(&self, name: &str) -> Option<Id> {
        match self.0.get(name) {
            Some(Rel::One(_, id)) => Some(*id),
            _ => None,
        }
    }
}

impl<A: Attributes> Document<A> {
    /// A record of an org, tied to nothing else yet.
    pub fn new(id: Id, org: OrgId, attributes: A) -> Self {
        let mut relationships = Relationships::default();
        relationships.set("org", Rel::One(Kind::Org, org.0));
        Self { id, attributes, relationships, related: None }
    }

    /// The record's path: `/v1/conversations/ID`.
    pub fn path(&self) -> String {
        format!("{}/{}", A::KIND.path(), self.id)
    }

    /// The resource object as text.
    ///
    /// # Panics
    /// Never for the types of this crate: their maps have text keys and their numbers come from JSON.
    pub fn to_text(&self) -> String {
        serde_json::to_string(self).expect("attributes are made of JSON values")
    }

    /// The resource object, and where its `updatedAt` is.
    pub fn render(&self) -> Rendered {
        let text = self.to_text();
        let stamp_at = text.rfind("\"updatedAt\":\"").unwrap_or(0) + 13;
        Rendered { text, stamp_at }
    }

    /// Reads a resource object written by [`Document::to_text`].
    pub fn from_text(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }
}

struct Link<'a>(&'a str);

impl Serialize for Link<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry("self", self.0)?;
        map.end()
    }
}

#[derive(Serialize)]
struct Links<'a> {
    #[serde(rename = "self")]
    this: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    related: Option<&'a str>,
}

struct Identifier(Kind, Id);

impl Serialize for Identifier {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("type", self.0.name())?;
        map.serialize_entry("id", &self.1)?;
        map.end()
    }
}

struct RelAt<'a> {
    owner: &'a str,
    rel: &'a Rel,
}

impl Serialize for RelAt<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        match self.rel {
            Rel::One(kind, id) => {
                map.serialize_entry("links", &Link(&format!("{}/{id}", kind.path())))?;
                map.serialize_entry("data", &Identifier(*kind, *id))?;
            }
            Rel::Many { link, data } => {
                if let Some(link) = link {
                    map.serialize_entry("links", &Link(&format!("{}/{link}", self.owner)))?;
                }
                let data: Vec<_> = data.iter().map(|(kind, id)| Identifier(*kind, *id)).collect();
                map.serialize_entry("data", &data)?;
            }
            Rel::Collection(link) => map.serialize_entry("links", &Link(&format!("{}/{link}", self.owner)))?,
        }
        map.end()
    }
}

struct RelationshipsAt<'a> {
    owner: &'a str,
    relationships: &'a Relationships,
}

impl Serialize for RelationshipsAt<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let entries = &self.relationships.0;
        let mut map = serializer.serialize_map(Some(entries.len()))?;
        for (name, rel) in entries {
            map.serialize_entry(name, &RelAt { owner: self.owner, rel })?;
        }
        map.end()
    }
}

impl<A: Attributes> Serialize for Document<A> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let path = self.path();
        let mut object = serializer.serialize_struct("Document", 5)?;
        object.serialize_field("type", A::KIND.name())?;
        object.serialize_field("id", &self.id)?;
        object.serialize_field("attributes", &self.attributes)?;
        object
            .serialize_field("relationships", &RelationshipsAt { owner: &path, relationships: &self.relationships })?;
        object.serialize_field("links", &Links { this: &path, related: self.related.as_deref() })?;
        object.end()
    }
}

#[derive(Deserialize)]
struct StoredIdentifier<'a> {
    #[serde(borrow)]
    r#type: Cow<'a, str>,
    id: Id,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum StoredData<'a> {
    #[serde(borrow)]
    One(StoredIdentifier<'a>),
    Many(Vec<StoredIdentifier<'a>>),
}

#[derive(Deserialize)]
struct StoredLinks<'a> {
    #[serde(borrow, rename = "self")]
    this: Cow<'a, str>,
    #[serde(borrow, default)]
    related: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct StoredRel<'a> {
    #[serde(borrow, default)]
    links: Option<StoredLinks<'a>>,
    #[serde(borrow, default)]
    data: Option<StoredData<'a>>,
}

/// The sub-collections a record can link to. Stored text names them; the code holds them as constants.
const COLLECTIONS: [&str; 4] = ["messages", "attachments", "shortcuts", "kb-articles"];

/// The names a relationship can have.
const NAMES: [&str; 20] = [
    "org",
    "customer",
    "conversation",
    "messages",
    "company",
    "createdBy",
    "modifiedBy",
    "deletedBy",
    "endedBy",
    "pinnedBy",
    "brand",
    "queue",
    "campaign",
    "subStatus",
    "attachments",
    "shortcuts",
    "kbArticles",
    "userMentions",
    "redactedBy",
    "user",
];

fn collection<E: serde::de::Error>(links: &Option<StoredLinks<'_>>) -> Result<Option<&'static str>, E> {
    let Some(links) = links else { return Ok(None) };
    let last = links.this.rsplit('/').next().unwrap_or_default();
    COLLECTIONS.into_iter().find(|name| *name == last).map(Some).ok_or_else(|| E::custom("unknown collection link"))
}

impl StoredIdentifier<'_> {
    fn pair<E: serde::de::Error>(&self) -> Result<(Kind, Id), E> {
        let kind = Kind::from_name(&self.r#type).ok_or_else(|| E::custom("unknown relationship type"))?;
        Ok((kind, self.id))
    }
}

impl<'de, A: Attributes> Deserialize<'de> for Document<A> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(bound(deserialize = "A: Deserialize<'de>"))]
        struct Stored<'a, A> {
            id: Id,
            attributes: A,
            #[serde(borrow)]
            relationships: IndexMap<Cow<'a, str>, StoredRel<'a>>,
            #[serde(borrow)]
            links: StoredLinks<'a>,
        }

        let stored = Stored::<A>::deserialize(deserializer)?;
        let mut relationships = Relationships::default();
        for (name, rel) in stored.relationships {
            let name = NAMES
                .into_iter()
                .find(|known| **known == *name)
                .ok_or_else(|| D::Error::custom("unknown relationship"))?;
            let rel = match rel.data {
                Some(StoredData::One(one)) => {
                    let (kind, id) = one.pair()?;
                    Rel::One(kind, id)
                }
                Some(StoredData::Many(many)) => Rel::Many {
                    link: collection(&rel.links)?,
                    data: many.iter().map(StoredIdentifier::pair).collect::<Result<_, _>>()?,
                },
                None => Rel::Collection(
                    collection(&rel.links)?.ok_or_else(|| D::Error::custom("relationship without links and data"))?,
                ),
            };
            relationships.set(name, rel);
        }
        let related = stored.links.related.map(Cow::into_owned);
        Ok(Self { id: stored.id, attributes: stored.attributes, relationships, related })
    }
}
