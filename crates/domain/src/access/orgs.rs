//! Orgs: the operator's operations, which no token reaches.

use konverse_model::{Kind, OrgId};
use konverse_store::{Changes, Conflict, NewEvent, Op, Org, StoreError, Verb};

use crate::{Domain, DomainError};

impl Domain {
    /// Creates an org.
    pub async fn create_org(&self, name: &str) -> Result<Org, DomainError> {
        let well_formed = (1..=64).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !name.starts_with('-')
            && !name.ends_with('-');
        if !well_formed {
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
        Ok(self.store.org_named(name).await?)
    }

    /// All orgs, by name.
    pub async fn orgs(&self) -> Result<Vec<Org>, DomainError> {
        Ok(self.store.orgs().await?)
    }
}
