//! SLAs with their versions (contract `resources.md` §15). They come in by import, an SLA with all of its versions.

use konverse_model::input::{SlaRow, SlaVersionRow};
use konverse_model::resource::{Sla, SlaAttributes, SlaVersion, SlaVersionAttributes};
use konverse_model::{Document, FieldError, Id, Instant, Kind, Rel};
use konverse_store::{Row, Space};

use super::entry::{Desk, Entry, Imported, Name, NoFilter, Only};
use crate::access::permissions::ReadSlas;
use crate::{Authorized, Domain, DomainError};

/// Which versions come along with SLAs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlaVersions {
    /// Those in force.
    Active,
    /// All.
    All,
}

impl Domain {
    /// The versions of some SLAs, which are given as they are answered: texts, joined by commas. So are the versions.
    pub async fn sla_versions(
        &self,
        auth: &Authorized<ReadSlas>,
        slas: &[u8],
        which: SlaVersions,
    ) -> Result<String, DomainError> {
        let slas: Vec<Sla> = serde_json::from_slice(&[b"[", slas, b"]"].concat())?;
        let mut texts = String::new();
        for sla in slas {
            let current = sla.attributes.current_version;
            let ids = sla.relationships.many("versions");
            for row in self.store.get_many(auth.org(), Kind::SlaVersion, &ids).await?.into_iter().filter(Row::shows) {
                let version: SlaVersion = Document::from_text(&row.doc)?;
                if which == SlaVersions::Active && version.attributes.version != current {
                    continue;
                }
                if !texts.is_empty() {
                    texts.push(',');
                }
                texts.push_str(&row.doc);
                if texts.len() > self.settings.answer {
                    return Err(self.settings.too_large("versions", "ask for fewer SLAs a page"));
                }
            }
        }
        Ok(texts)
    }
}

impl Entry for SlaAttributes {
    type Create = SlaRow;
    type Filter = NoFilter;
    type MayRead = ReadSlas;

    fn names(&self) -> Vec<Name> {
        Vec::new()
    }

    fn only(_: NoFilter) -> Only {
        Only::Shown
    }

    fn id(body: &SlaRow) -> Option<Id> {
        body.id.0
    }

    async fn fresh(desk: &mut Desk<'_>, body: SlaRow) -> Result<Sla, DomainError> {
        let created_at = desk.created_at(body.created_at.0);
        let mut rows = body.versions.0.unwrap_or_default();
        let mut errors = Vec::new();
        for n in 0..rows.len() {
            let number = *rows[n].version.0.get_or_insert(n as u64 + 1);
            if rows[..n].iter().any(|earlier| earlier.version.0 == Some(number)) {
                errors.push(FieldError::at(format!("/versions/{n}/version"), "must not name a version twice"));
            }
            if let Some(id) = rows[n].id.0
                && rows[..n].iter().any(|earlier| earlier.id.0 == Some(id))
            {
                errors.push(FieldError::at(format!("/versions/{n}/id"), "must not name an id twice"));
            }
            if rows[n].name.0.is_none() {
                errors.push(FieldError::at(format!("/versions/{n}/name"), "is required"));
            }
        }
        let highest = rows.iter().filter_map(|row| row.version.0).max().unwrap_or(1);
        let current_version = body.current_version.0.unwrap_or(highest);
        if !rows.iter().any(|row| row.version.0 == Some(current_version)) {
            errors.push(FieldError::at("/currentVersion", "names none of the versions"));
        }
        if !errors.is_empty() {
            return Err(DomainError::Invalid(errors));
        }
        let attributes = SlaAttributes { current_version, created_at, updated_at: desk.now() };
        let mut sla = desk.document(body.id.0, attributes);
        desk.sign(&mut sla, body.created_by.0, None).await?;
        let mut versions = Vec::with_capacity(rows.len());
        for row in rows {
            let version = desk.enter::<SlaVersionAttributes>(VersionOf { sla: sla.id, created_at, row }).await?;
            versions.push((Kind::SlaVersion, version.id()));
        }
        sla.relationships.set("versions", Rel::Many { link: None, data: versions });
        Ok(sla)
    }
}

impl Imported for SlaAttributes {
    /// SLAs are known by their ids alone.
    fn known_by(_: &SlaRow) -> Option<(Space, String)> {
        None
    }
}

/// A version comes in with its SLA.
#[derive(Clone)]
pub struct VersionOf {
    sla: Id,
    created_at: Instant,
    row: SlaVersionRow,
}

impl Entry for SlaVersionAttributes {
    type Create = VersionOf;
    type Filter = NoFilter;
    type MayRead = ReadSlas;

    fn names(&self) -> Vec<Name> {
        Vec::new()
    }

    fn only(_: NoFilter) -> Only {
        Only::Shown
    }

    fn id(body: &VersionOf) -> Option<Id> {
        body.row.id.0
    }

    async fn fresh(
        desk: &mut Desk<'_>,
        VersionOf { sla, created_at, row }: VersionOf,
    ) -> Result<SlaVersion, DomainError> {
        let attributes = SlaVersionAttributes {
            name: row.name.0.unwrap_or_default(),
            description: row.description.given(),
            version: row.version.0.unwrap_or(1),
            hours: row.hours.given(),
            metrics: row.metrics.0.unwrap_or_default(),
            criteria: row.criteria.0.unwrap_or_default(),
            created_at: desk.created_at(row.created_at.0.or(Some(created_at))),
            updated_at: desk.now(),
        };
        let mut version = desk.document(row.id.0, attributes);
        version.relationships.set("sla", Rel::One(Kind::Sla, sla));
        Ok(version)
    }
}
