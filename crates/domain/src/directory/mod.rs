//! Users, teams and tags: what the other records refer to (contract `resources.md` §6–8).

mod references;
mod tags;
mod teams;
mod users;

use konverse_model::OrgId;
use konverse_store::Space;

use crate::{Domain, DomainError};

pub(crate) use references::{Author, References};
pub(crate) use tags::is_tag_name;
pub use users::UserFilter;

impl Domain {
    async fn check_name(&self, org: OrgId, space: Space, value: &str, pointer: &str) -> Result<(), DomainError> {
        match self.store.holders(org, &[(space, value.to_owned())]).await?.pop().flatten() {
            Some(holder) => Err(DomainError::conflict(pointer, format!("is already used by {holder}"))),
            None => Ok(()),
        }
    }
}
