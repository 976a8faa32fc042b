//! Orgs: the operator's operations, which no token reaches, and an org's own record.

use konverse_model::resource::{Object, OrgAttributes, OrgRecord};
use konverse_model::{Document, Kind, OrgId};
use konverse_store::{Changes, Conflict, NewEvent, Op, Org, StoreError, Verb};

use super::permissions::{Anyone, ReadOrgs};
use crate::{Authorized, Domain, DomainError};

impl Domain {
    /// Creates an org.
    pub async fn create_org(&self, name: &str) -> Result<Org, DomainError> {
        if !is_org_name(name) {
            return Err(DomainError::Parameter {
                name: "NAME",
                message: "must be 1 to 64 lower-case letters, digits or dashes, as in a host name".into(),
            });
        }
        let now = self.now();
        let org = Org { id: OrgId(self.new_id()), name: name.to_owned(), created_at: now };
        let mut changes = Changes::new(org.id, now);
        changes.ops.push(Op::Found(org.clone()));
        changes.ops.push(Op::Emit(NewEvent {
            verb: Verb::Create,
            kind: Kind::Org,
            object: org.id.0,
            customer: None,
            actor: None,
            rev: 1,
            changes: None,
            stamp_at: None,
        }));
        match self.apply(changes).await {
            Ok(_) => Ok(org),
            Err(StoreError::Conflict(Conflict::Taken(..))) => {
                Err(DomainError::Conflict { pointer: None, message: format!("org {name} exists already") })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The org of this name.
    pub async fn org_named(&self, name: &str) -> Result<Option<Org>, DomainError> {
        // Not every database would be asked for just any text.
        if !is_org_name(name) {
            return Ok(None);
        }
        Ok(self.store.org_named(name).await?)
    }

    /// The org of the caller.
    pub async fn own_org(&self, auth: &Authorized<Anyone>) -> Result<OrgRecord, DomainError> {
        self.org_record(auth.org()).await
    }

    /// An org by its id: the caller's own, since no other is known to them.
    pub async fn org(&self, auth: &Authorized<ReadOrgs>, id: OrgId) -> Result<OrgRecord, DomainError> {
        if id != auth.org() {
            return Err(DomainError::NotFound(Kind::Org, id.to_string()));
        }
        self.org_record(id).await
    }

    async fn org_record(&self, id: OrgId) -> Result<OrgRecord, DomainError> {
        let org = self.store.org(id).await?;
        let Org { id, name, created_at } = org.ok_or_else(|| DomainError::NotFound(Kind::Org, id.to_string()))?;
        let attributes =
            OrgAttributes { display_name: name.clone(), name, meta: Object::new(), created_at, updated_at: created_at };
        Ok(Document::new(id.0, id, attributes))
    }

    /// All orgs, by name.
    pub async fn orgs(&self) -> Result<Vec<Org>, DomainError> {
        Ok(self.store.orgs().await?)
    }
}

fn is_org_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !name.starts_with('-')
        && !name.ends_with('-')
}
