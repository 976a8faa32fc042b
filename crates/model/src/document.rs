//! A record as JSON:API shows it: `type`, `id`, `attributes`, `relationships`, `links` (contract README §6).
//!
//! The text made here is what the store keeps and what every answer carries; it is read back only to change a record.
//! The program that wrote a text may be newer than this one: attributes and relationships it does not know are kept as
//! they are and rendered again. What a newer program adds inside an attribute that is known here is not kept.

use std::borrow::Cow;
use std::fmt::Display;
use std::io::Write as _;

use indexmap::IndexMap;
use serde::de::DeserializeOwned;
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_ignored::Path;
use serde_json::value::RawValue;

use crate::resource::Object;
use crate::{Id, Instant, Kind, OrgId};

/// The version of the renderer: raised whenever a stored text would be rendered with more or other members than before.
pub const RENDERER: i64 = 2;

/// The attributes of one kind of record.
///
/// Every kind has an `updatedAt`, and it comes after all members that hold free-form values (`meta`, `custom`, whatever
/// a client may fill as it likes): [`Document::render`] finds it as the last one.
pub trait Attributes: Serialize + DeserializeOwned + Clone {
    /// The kind they belong to.
    const KIND: Kind;

    /// Relationships that are shown while nothing is in them, with the text that is shown then.
    const EMPTY: &'static [(&'static str, &'static str)] = &[];

    /// What the record is found by below its kind's path; nothing where that is its id.
    fn key(&self) -> Option<&str> {
        None
    }

    /// Its custom attributes.
    fn custom(&mut self) -> Option<&mut Object> {
        None
    }

    /// When the record was brought in from elsewhere.
    fn imported_at(&self) -> Option<Instant> {
        None
    }
}

/// Of a record that was brought in, nobody may know who made it; clients read these two all the same (README §15).
const UNKNOWN_AUTHORS: [(&str, &str); 2] = [("createdBy", "null"), ("modifiedBy", "null")];

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
    /// Attributes of a newer program, in the order they were read.
    unknown: Vec<(String, Raw)>,
}

/// A rendered record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// The resource object.
    pub text: String,
    /// Where in `text` the 24 characters of `attributes.updatedAt` begin: the store writes the definitive instant there
    /// when the change is committed.
    pub stamp_at: usize,
}

/// A JSON value kept as the text it was read from.
#[derive(Clone, Debug)]
struct Raw(Box<RawValue>);

impl PartialEq for Raw {
    fn eq(&self, other: &Self) -> bool {
        self.0.get() == other.0.get()
    }
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
pub struct Relationships(IndexMap<Cow<'static, str>, Entry>);

/// A relationship as it is held.
#[derive(Clone, Debug, PartialEq)]
enum Entry {
    /// One this program understands.
    Known(Rel),
    /// One of a newer program, and as much of it as is understood.
    Kept { text: Raw, rel: Option<Rel> },
}

impl Relationships {
    /// Sets a relationship, keeping its place when it was there before.
    pub fn set(&mut self, name: &'static str, rel: Rel) {
        match self.0.get_mut(name) {
            // It says that already, and something more.
            Some(Entry::Kept { rel: Some(kept), .. }) if *kept == rel => {}
            Some(entry) => *entry = Entry::Known(rel),
            None => drop(self.0.insert(Cow::Borrowed(name), Entry::Known(rel))),
        }
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
            Some(Entry::Known(Rel::One(_, id)) | Entry::Kept { rel: Some(Rel::One(_, id)), .. }) => Some(*id),
            _ => None,
        }
    }

    /// The ids behind a to-many relationship.
    pub fn many(&self, name: &str) -> Vec<Id> {
        match self.0.get(name) {
            Some(Entry::Known(Rel::Many { data, .. }) | Entry::Kept { rel: Some(Rel::Many { data, .. }), .. }) => {
                data.iter().map(|(_, id)| *id).collect()
            }
            _ => Vec::new(),
        }
    }

    fn read(stored: IndexMap<Cow<'_, str>, &RawValue>) -> Self {
        let entry = |(name, value): (Cow<'_, str>, &RawValue)| match NAMES.into_iter().find(|known| *known == name) {
            Some(name) => (Cow::Borrowed(name), Entry::read(value)),
            None => (Cow::Owned(name.into_owned()), Entry::Kept { text: Raw(value.to_owned()), rel: None }),
        };
        Self(stored.into_iter().map(entry).collect())
    }
}

impl Entry {
    /// A relationship with a name that is known.
    fn read(value: &RawValue) -> Self {
        let mut more = false;
        let rel = Rel::read(value.get(), &mut |_| more = true);
        match rel {
            Some(rel) if !more => Entry::Known(rel),
            rel => Entry::Kept { text: Raw(value.to_owned()), rel },
        }
    }
}

impl<A: Attributes> Document<A> {
    /// A record of an org, tied to nothing else yet.
    pub fn new(id: Id, org: OrgId, attributes: A) -> Self {
        let mut relationships = Relationships::default();
        relationships.set("org", Rel::One(Kind::Org, org.0));
        Self { id, attributes, relationships, related: None, unknown: Vec::new() }
    }

    /// The record's path: `/v1/conversations/ID`.
    pub fn path(&self) -> String {
        match self.attributes.key() {
            Some(key) => format!("{}/{key}", A::KIND.path()),
            None => format!("{}/{}", A::KIND.path(), self.id),
        }
    }

    /// The resource object as text.
    pub fn to_text(&self) -> String {
        self.render().text
    }

    /// The resource object as text, and where in it the instant of its last change stands.
    ///
    /// # Panics
    /// Never for the types of this crate: their maps have text keys, their numbers come from JSON, and all of them have
    /// an `updatedAt`.
    pub fn render(&self) -> Rendered {
        const STAMP: &str = r#""updatedAt":""#;
        let path = self.path();
        // All of it is written into one text: a message comes to some 1,500 bytes.
        let mut text = Vec::with_capacity(2048);
        push(&mut text, format_args!(r#"{{"type":"{}","id":"{}","attributes":"#, A::KIND.name(), self.id));
        let attributes_at = text.len();
        json(&mut text, &self.attributes);
        // Free-form members may hold an `updatedAt` as well. They all come before the record's own, and unknown members,
        // which may hold anything, are added behind what is searched.
        let stamp = last_of(&text[attributes_at..], STAMP.as_bytes()).expect("every kind has an updatedAt");
        let stamp_at = attributes_at + stamp + STAMP.len();
        // The end of the object; there is an `updatedAt` in it.
        text.pop();
        for (name, value) in &self.unknown {
            text.push(b',');
            json(&mut text, name);
            push(&mut text, format_args!(":{}", value.0.get()));
        }
        text.extend_from_slice(br#"},"relationships":"#);
        let (relationships, empty) = (&self.relationships, empty(&self.attributes));
        json(&mut text, &RelationshipsAt { owner: &path, relationships, empty });
        text.extend_from_slice(br#","links":"#);
        let related = self.related.as_deref();
        let related = (related.is_some() || A::KIND == Kind::Message).then_some(related);
        json(&mut text, &Links { this: &path, related });
        text.push(b'}');
        Rendered { text: String::from_utf8(text).expect("JSON is UTF-8"), stamp_at }
    }

    /// Reads a resource object written by [`Document::to_text`], of this program or a newer one.
    pub fn from_text(text: &str) -> Result<Self, serde_json::Error> {
        let mut names = Vec::new();
        let Stored { id, attributes, mut relationships, links } = read::<Stored<'_, A>>(text, &mut |path| {
            if let Path::Map { parent: Path::Map { parent: Path::Root, key: part }, key } = path
                && part == "attributes"
            {
                names.push(key.clone());
            }
        })?;
        // What is shown of one that is not there does not make it be there.
        for (name, value) in empty(&attributes) {
            if relationships.get(*name).is_some_and(|stored| stored.get() == *value) {
                relationships.shift_remove(*name);
            }
        }
        Ok(Self {
            id,
            attributes,
            relationships: Relationships::read(relationships),
            related: links.related.map(Cow::into_owned),
            unknown: if names.is_empty() { Vec::new() } else { attributes_named(&names, text)? },
        })
    }
}

impl<'de, A: Attributes> Deserialize<'de> for Document<A> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Box::<RawValue>::deserialize(deserializer)?;
        Self::from_text(text.get()).map_err(serde::de::Error::custom)
    }
}

/// The relationships that are shown of such a record while they are not there.
fn empty<A: Attributes>(attributes: &A) -> impl Iterator<Item = &'static (&'static str, &'static str)> + Clone {
    let authors = if attributes.imported_at().is_some() { &UNKNOWN_AUTHORS[..] } else { &[] };
    A::EMPTY.iter().chain(authors)
}

/// Looks at a text again, for what these attributes stand for: rare enough to be simple.
fn attributes_named(names: &[String], text: &str) -> Result<Vec<(String, Raw)>, serde_json::Error> {
    #[derive(Deserialize)]
    struct All<'a> {
        #[serde(borrow)]
        attributes: IndexMap<String, &'a RawValue>,
    }

    let All { attributes } = serde_json::from_str(text)?;
    let named = attributes.into_iter().filter(|(name, _)| names.contains(name));
    Ok(named.map(|(name, value)| (name, Raw(value.to_owned()))).collect())
}

/// Reads JSON and tells of the members that have no place in `T`.
fn read<'de, T: Deserialize<'de>>(text: &'de str, ignored: &mut dyn FnMut(&Path<'_>)) -> Result<T, serde_json::Error> {
    serde_ignored::deserialize(&mut serde_json::Deserializer::from_str(text), |path| ignored(&path))
}

fn json(text: &mut Vec<u8>, value: &impl Serialize) {
    serde_json::to_writer(text, value).expect("attributes are made of JSON values");
}

fn push(text: &mut Vec<u8>, more: std::fmt::Arguments<'_>) {
    text.write_fmt(more).expect("a vector takes what it is given");
}

/// Where the last of some bytes begins.
fn last_of(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).rposition(|window| window == wanted)
}

/// A link, below an owner's path: written where it stands, without a text of its own.
struct Link<'a, T>(&'a str, T);

impl<T: Display> Serialize for Link<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry("self", &Below(self.0, &self.1))?;
        map.end()
    }
}

struct Below<'a, T>(&'a str, &'a T);

impl<T: Display> Serialize for Below<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{}/{}", self.0, self.1))
    }
}

/// Records named by type and id.
struct Identifiers<'a>(&'a [(Kind, Id)]);

impl Serialize for Identifiers<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|(kind, id)| Identifier(*kind, *id)))
    }
}

#[derive(Serialize)]
struct Links<'a> {
    #[serde(rename = "self")]
    this: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    related: Option<Option<&'a str>>,
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
                map.serialize_entry("links", &Link(kind.path(), id))?;
                map.serialize_entry("data", &Identifier(*kind, *id))?;
            }
            Rel::Many { link, data } => {
                if let Some(link) = link {
                    map.serialize_entry("links", &Link(self.owner, link))?;
                }
                map.serialize_entry("data", &Identifiers(data))?;
            }
            Rel::Collection(link) => map.serialize_entry("links", &Link(self.owner, link))?,
        }
        map.end()
    }
}

struct RelationshipsAt<'a, E> {
    owner: &'a str,
    relationships: &'a Relationships,
    /// What is shown of those that are not there.
    empty: E,
}

impl<E> Serialize for RelationshipsAt<'_, E>
where
    E: Iterator<Item = &'static (&'static str, &'static str)> + Clone,
{
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let entries = &self.relationships.0;
        let mut map = serializer.serialize_map(None)?;
        for (name, entry) in entries {
            match entry {
                Entry::Known(rel) => map.serialize_entry(name, &RelAt { owner: self.owner, rel })?,
                Entry::Kept { text, .. } => map.serialize_entry(name, &text.0)?,
            }
        }
        for (name, value) in self.empty.clone().filter(|(name, _)| !entries.contains_key(*name)) {
            let value: &RawValue = serde_json::from_str(value).map_err(serde::ser::Error::custom)?;
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

#[derive(Deserialize)]
#[serde(bound(deserialize = "A: Deserialize<'de>"))]
struct Stored<'a, A> {
    id: Id,
    attributes: A,
    #[serde(borrow)]
    relationships: IndexMap<Cow<'a, str>, &'a RawValue>,
    #[serde(borrow)]
    links: StoredLinks<'a>,
}

#[derive(Deserialize)]
struct StoredIdentifier<'a> {
    #[serde(borrow)]
    r#type: Cow<'a, str>,
    id: Id,
}

#[derive(Deserialize)]
struct StoredLinks<'a> {
    #[serde(borrow, default)]
    related: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct StoredRel<'a> {
    #[serde(borrow, default)]
    links: Option<StoredLink<'a>>,
    #[serde(borrow, default, deserialize_with = "given")]
    data: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct StoredLink<'a> {
    #[serde(borrow, rename = "self")]
    this: Cow<'a, str>,
}

/// A value that is there, be it null.
fn given<'de: 'a, 'a, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// The sub-collections a record can link to. Stored text names them; the code holds them as constants.
const COLLECTIONS: [&str; 4] = ["messages", "attachments", "shortcuts", "kb-articles"];

/// The names a relationship can have.
const NAMES: [&str; 25] = [
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
    "parent",
    "accessUsers",
    "accessTeams",
    "versions",
    "sla",
];

impl Rel {
    /// Reads a stored relationship; none when this program cannot say what it is.
    fn read(text: &str, ignored: &mut dyn FnMut(&Path<'_>)) -> Option<Self> {
        let stored: StoredRel<'_> = read(text, ignored).ok()?;
        let link = |link: StoredLink<'_>| {
            let last = link.this.rsplit('/').next().unwrap_or_default();
            COLLECTIONS.into_iter().find(|name| *name == last)
        };
        let Some(data) = stored.data else {
            return stored.links.and_then(link).map(Rel::Collection);
        };
        if data.get().starts_with('[') {
            let data: Vec<StoredIdentifier<'_>> = read(data.get(), ignored).ok()?;
            let link = match stored.links {
                Some(given) => Some(link(given)?),
                None => None,
            };
            return Some(Rel::Many { link, data: data.iter().map(StoredIdentifier::pair).collect::<Option<_>>()? });
        }
        let (kind, id) = read::<StoredIdentifier<'_>>(data.get(), ignored).ok()?.pair()?;
        Some(Rel::One(kind, id))
    }
}

impl StoredIdentifier<'_> {
    fn pair(&self) -> Option<(Kind, Id)> {
        Some((Kind::from_name(&self.r#type)?, self.id))
    }
}
