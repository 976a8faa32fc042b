//! What a process remembers of the definitions of its orgs.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use konverse_model::resource::{Definition, MetadataAttributes};
use konverse_model::{Document, Kind, OrgId};

use super::{RESOURCES, id_of};
use crate::{Domain, DomainError};

/// Orgs whose definitions are remembered. Of more, all are forgotten: each may have a few megabytes.
const ORGS: usize = 64;

/// The definitions of an org, at least as new as their version.
#[derive(Debug)]
pub(crate) struct Definitions {
    version: i64,
    by_kind: BTreeMap<Kind, BTreeMap<String, Definition>>,
}

impl Definitions {
    /// The definition of an attribute; none of one that was deleted.
    pub(crate) fn of(&self, kind: Kind, name: &str) -> Option<&Definition> {
        self.by_kind.get(&kind)?.get(name).filter(|definition| definition.deleted_at.is_none())
    }

    /// How many there are, those deleted included.
    pub(crate) fn count(&self, kind: Kind) -> usize {
        self.by_kind.get(&kind).map_or(0, BTreeMap::len)
    }
}

/// What is remembered.
#[derive(Default)]
pub(crate) struct Known(Mutex<HashMap<OrgId, Arc<Definitions>>>);

impl Known {
    fn get(&self, org: OrgId) -> Option<Arc<Definitions>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&org).cloned()
    }

    fn keep(&self, org: OrgId, definitions: &Arc<Definitions>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= ORGS && !known.contains_key(&org) {
            known.clear();
        }
        let kept = known.entry(org).or_insert_with(|| Arc::clone(definitions));
        // Somebody else may have read later ones.
        if kept.version < definitions.version {
            *kept = Arc::clone(definitions);
        }
    }
}

impl Domain {
    /// An org's definitions, as they were at this version or later; as they are now where none is given.
    pub(crate) async fn definitions(&self, org: OrgId, version: Option<i64>) -> Result<Arc<Definitions>, DomainError> {
        let kept = self.known.get(org);
        if let (Some(kept), Some(version)) = (&kept, version)
            && kept.version >= version
        {
            return Ok(Arc::clone(kept));
        }
        let version = self.store.described(org).await?.version;
        if let Some(kept) = kept.filter(|kept| kept.version >= version) {
            return Ok(kept);
        }
        let ids = RESOURCES.map(|kind| id_of(org, kind));
        let mut by_kind = BTreeMap::new();
        for row in self.store.get_many(org, Kind::Metadata, &ids).await? {
            let MetadataAttributes { resource, properties, .. } =
                Document::<MetadataAttributes>::from_text(&row.doc)?.attributes;
            if let Some(kind) = Kind::from_name(&resource) {
                by_kind.insert(kind, properties);
            }
        }
        let definitions = Arc::new(Definitions { version, by_kind });
        self.known.keep(org, &definitions);
        Ok(definitions)
    }
}
