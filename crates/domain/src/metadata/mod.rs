//! Definitions of custom attributes: reading and changing them, and what follows for writers (contract README §10).
//!
//! A resource's definitions are one record. How they are described is counted at the org, and that count comes with every
//! look-up of a token: what a process remembers of an org's definitions is right as long as the count is the same, so a
//! write whose attributes are all defined reads nothing for it.

mod define;
mod known;
mod values;

use std::collections::{BTreeMap, BTreeSet};

use konverse_model::input::MetadataUpdate;
use konverse_model::limits::{LARGEST_DEFINED, MOST_DEFINED};
use konverse_model::mask::Masks;
use konverse_model::resource::{Definition, Metadata, MetadataAttributes};
use konverse_model::{Document, FieldError, Id, Instant, Kind, OrgId, UserId};
use konverse_store::{Changes, Op, Row};
use sha2::{Digest, Sha256};

use crate::access::permissions::{ReadMetadata, ReadSensitive, UpdateMetadata};
use crate::unit::{Draft, Stored};
use crate::{Authorized, Domain, DomainError, Permission};

pub(crate) use known::Known;
pub(crate) use values::{check_value, target};

/// The resources whose custom attributes are defined, by their word in a path.
const RESOURCES: [Kind; 4] = [Kind::Company, Kind::Conversation, Kind::Customer, Kind::Message];

/// Names of custom attributes, by the kind of record that has them.
pub(crate) type Names = BTreeMap<Kind, BTreeSet<String>>;

/// The resource of this name. Custom objects (`kobject.NAME`) have none, since there are none.
fn resource(name: &str) -> Result<Kind, DomainError> {
    let found = RESOURCES.into_iter().find(|kind| kind.name() == name);
    found.ok_or_else(|| DomainError::NotFound(Kind::Metadata, name.to_owned()))
}

impl Domain {
    /// A resource's definitions, as text.
    pub async fn metadata(&self, auth: &Authorized<ReadMetadata>, name: &str) -> Result<String, DomainError> {
        let (org, kind) = (auth.org(), resource(name)?);
        let row = self.store.get(org, Kind::Metadata, id_of(org, kind)).await?;
        Ok(row.map_or_else(|| fresh(org, kind, made_at(org)).to_text(), |row| row.doc))
    }

    /// Changes a resource's definitions: each that is named is merged into what there is.
    pub async fn update_metadata(
        &self,
        auth: &Authorized<UpdateMetadata>,
        name: &str,
        body: MetadataUpdate,
    ) -> Result<Metadata, DomainError> {
        let (org, author) = (auth.org(), auth.actor().user);
        let kind = resource(name)?;
        let sees_all = auth.actor().holds_any(ReadSensitive::ROLES);
        let (applied, stored) = self
            .commit(|| async {
                let mut changes = Changes::new(org, self.now());
                let mut stock = self.stock(org, changes.at).await?;
                let draft = stock.draft(kind)?;
                if !sees_all {
                    define::check_hiding(&draft.doc.attributes.properties, &body.properties)?;
                }
                define::merge(&mut draft.doc.attributes.properties, body.properties.clone(), author, changes.at)?;
                within_limits(&draft.doc.attributes, "/properties")?;
                let stored = stock.finish(&BTreeSet::from([kind]), author, &mut changes)?.pop();
                Ok((changes, stored.ok_or_else(|| DomainError::internal("the definitions are missing"))?))
            })
            .await?;
        Ok(stored.settle(&applied))
    }

    /// Adds what it takes to define the attributes of these names that nobody has defined yet.
    pub(crate) async fn define(
        &self,
        org: OrgId,
        names: &Names,
        author: Option<UserId>,
        changes: &mut Changes,
    ) -> Result<(), DomainError> {
        let mut stock = self.stock(org, changes.at).await?;
        let mut touched = BTreeSet::new();
        for (kind, names) in names {
            let properties = &mut stock.draft(*kind)?.doc.attributes.properties;
            for name in names {
                if define::register(properties, name, author, changes.at) {
                    touched.insert(*kind);
                }
            }
            if touched.contains(kind) {
                within_limits(&stock.draft(*kind)?.doc.attributes, "/custom")?;
            }
        }
        stock.finish(&touched, author, changes).map(drop)
    }

    /// Defines attributes of records that are about to be brought in, by a change of its own. Beyond the limits they stay
    /// undefined.
    pub(crate) async fn define_all(&self, org: OrgId, names: &Names) -> Result<(), DomainError> {
        if names.is_empty() {
            return Ok(());
        }
        let known = self.definitions(org, None).await?;
        let missing = |(kind, names): (&Kind, &BTreeSet<String>)| {
            let room = MOST_DEFINED.saturating_sub(known.count(*kind));
            let names = names.iter().filter(|name| known.of(*kind, name).is_none()).take(room).cloned();
            (*kind, names.collect::<BTreeSet<_>>())
        };
        let names: Names = names.iter().map(missing).filter(|(_, names)| !names.is_empty()).collect();
        if names.is_empty() {
            return Ok(());
        }
        let defined = self.commit(|| async {
            let mut changes = Changes::new(org, self.now());
            self.define(org, &names, None, &mut changes).await?;
            Ok((changes, ()))
        });
        match defined.await {
            Ok(_) | Err(DomainError::Invalid(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn stock(&self, org: OrgId, now: Instant) -> Result<Stock, DomainError> {
        // The version first: whatever else is read is at least as new.
        let version = self.store.described(org).await?.version;
        let ids = RESOURCES.map(|kind| id_of(org, kind));
        let mut rows: BTreeMap<Id, Row> =
            self.store.get_many(org, Kind::Metadata, &ids).await?.into_iter().map(|row| (row.id, row)).collect();
        let draft = |kind: Kind| {
            let draft = match rows.remove(&id_of(org, kind)) {
                Some(row) => Draft::read(row)?,
                None => Draft::new(fresh(org, kind, now)),
            };
            Ok((kind, draft))
        };
        Ok(Stock { version, drafts: RESOURCES.into_iter().map(draft).collect::<Result<_, DomainError>>()? })
    }
}

/// All definitions of an org, being changed.
struct Stock {
    version: i64,
    drafts: BTreeMap<Kind, Draft<MetadataAttributes>>,
}

impl Stock {
    fn draft(&mut self, kind: Kind) -> Result<&mut Draft<MetadataAttributes>, DomainError> {
        self.drafts.get_mut(&kind).ok_or_else(|| DomainError::internal("a kind has no definitions"))
    }

    /// Adds what it takes to store those that were touched. Of two changes that began with the same version one loses,
    /// whichever resources they are of, since both say what in the whole org is sensitive.
    fn finish(
        mut self,
        touched: &BTreeSet<Kind>,
        author: Option<UserId>,
        changes: &mut Changes,
    ) -> Result<Vec<Stored<MetadataAttributes>>, DomainError> {
        let mut masks = Masks::default();
        for (kind, draft) in &mut self.drafts {
            let attributes = &mut draft.doc.attributes;
            attributes.has_sensitive_attributes = false;
            // What was deleted is still in the records: it stays hidden.
            for (name, definition) in &attributes.properties {
                if let Some(sensitive) = definition.sensitive.filter(|sensitive| sensitive.enabled) {
                    masks.add(*kind, name.clone(), sensitive.mask_type);
                    attributes.has_sensitive_attributes |= definition.deleted_at.is_none();
                }
            }
        }
        let (mut stored, before) = (Vec::new(), changes.ops.len());
        for kind in touched {
            if let Some(mut draft) = self.drafts.remove(kind) {
                draft.edited(author, changes.at);
                stored.push(draft.finish(author, changes)?);
            }
        }
        if changes.ops.len() > before {
            changes.ops.push(Op::Describe(self.version, masks));
        }
        Ok(stored)
    }
}

fn within_limits(attributes: &MetadataAttributes, pointer: &str) -> Result<(), DomainError> {
    if attributes.properties.len() > MOST_DEFINED {
        let message = format!("must not lead to more than {MOST_DEFINED} definitions, those deleted included");
        return Err(DomainError::invalid(pointer, message));
    }
    if serde_json::to_string(&attributes.properties)?.len() > LARGEST_DEFINED {
        let message = format!("must not lead to more than {} KiB of definitions", LARGEST_DEFINED / 1024);
        return Err(DomainError::invalid(pointer, message));
    }
    Ok(())
}

/// The id of a resource's definitions: always the same, so that two processes cannot make them twice. It begins with when
/// the org was made, as its own does.
fn id_of(org: OrgId, kind: Kind) -> Id {
    let mut hash = Sha256::new();
    hash.update(org.0.bytes());
    hash.update(kind.name().as_bytes());
    let mut bytes = *org.0.bytes();
    bytes[4..].copy_from_slice(&hash.finalize()[..8]);
    Id::from_bytes(bytes)
}

/// When an org was made, as its id tells.
fn made_at(org: OrgId) -> Instant {
    let [a, b, c, d, ..] = *org.0.bytes();
    Instant::from_millis(i64::from(u32::from_be_bytes([a, b, c, d])) * 1000)
}

fn fresh(org: OrgId, kind: Kind, now: Instant) -> Metadata {
    let attributes = MetadataAttributes {
        resource: kind.name().to_owned(),
        properties: BTreeMap::new(),
        has_sensitive_attributes: false,
        created_at: now,
        updated_at: now,
        modified_at: now,
    };
    Document::new(id_of(org, kind), org, attributes)
}

/// Whether it may have several values.
pub(crate) fn is_several(definition: &Definition) -> bool {
    definition.array == Some(true) || definition.multi == Some(true)
}

fn wrong(name: &str, member: &str, message: impl Into<String>) -> FieldError {
    FieldError::at(format!("/properties/{}{member}", konverse_model::input::escaped(name)), message)
}
