//! Free-form attributes, and look-ups every kind of record shares.

use konverse_model::input::check_custom_size;
use konverse_model::resource::Object;
use konverse_model::{FieldError, Id, Kind, OrgId};
use serde_json::Value;

use crate::{Actor, Domain, DomainError};

pub(crate) fn object(value: &impl serde::Serialize) -> Result<Object, DomainError> {
    match serde_json::to_value(value)? {
        Value::Object(object) => Ok(object),
        _ => Err(DomainError::internal("an object was expected")),
    }
}

/// Custom attributes of a new record: null means not set.
pub(crate) fn without_nulls(mut custom: Object) -> Object {
    custom.retain(|_, value| !value.is_null());
    custom
}

/// Merges custom attributes by name; null removes one. The limits of keys and size hold for the outcome.
pub(crate) fn merge_custom(stored: &mut Object, sent: Object, pointer: &str, errors: &mut Vec<FieldError>) {
    for (name, value) in sent {
        if value.is_null() {
            stored.shift_remove(&name);
        } else {
            stored.insert(name, value);
        }
    }
    // What is wrong with what was sent says enough.
    if !errors.iter().any(|error| error.pointer == pointer) {
        check_custom_size(pointer, stored, errors);
    }
}

impl Domain {
    pub(crate) async fn doc_by_external_id(
        &self,
        actor: &Actor,
        kind: Kind,
        external_id: &str,
    ) -> Result<String, DomainError> {
        // No name holds a NUL, and not every database would be asked for one.
        let row = match external_id.contains('\0') {
            true => None,
            false => self.store.by_external_id(actor.org, kind, external_id).await?,
        };
        let row = row.ok_or_else(|| DomainError::NotFound(kind, format!("externalId={external_id}")))?;
        actor.shown(kind, row.doc)
    }

    /// Names the clash when an id or external id is taken.
    pub(crate) async fn check_free(
        &self,
        org: OrgId,
        kind: Kind,
        id: Option<Id>,
        external_id: Option<&str>,
    ) -> Result<(), DomainError> {
        if let Some(id) = id
            && self.store.get(org, kind, id).await?.is_some()
        {
            return Err(DomainError::conflict("/id", format!("{} {id} exists already", kind.title())));
        }
        if let Some(external_id) = external_id
            && let Some(holder) = self.store.by_external_id(org, kind, external_id).await?
        {
            return Err(DomainError::conflict(
                "/externalId",
                format!("externalId is already used by {} {}", kind.name(), holder.id),
            ));
        }
        Ok(())
    }
}
