//! Saved searches (contract `search.md` §1, `endpoints.md`): a search's body under a name. What it finds is asked for in
//! `search`, each time anew.

use konverse_model::input::SearchBody;
use konverse_model::resource::{Object, SavedSearch, SavedSearchAttributes};
use konverse_model::{FieldError, Id, Instant, Patch};
use konverse_search::{Surface, parse};

use super::entry::{Changeable, Creatable, Deletable, Desk, Entry, Name, NoFilter, Only};
use crate::DomainError;
use crate::access::permissions::{CreateSearches, DeleteSearches, ReadSearches, UpdateSearches};
use crate::unit::Draft;

impl Entry for SavedSearchAttributes {
    type Create = SearchBody;
    type Filter = NoFilter;
    type MayRead = ReadSearches;

    fn names(&self) -> Vec<Name> {
        Vec::new()
    }

    fn only(_: NoFilter) -> Only {
        Only::Shown
    }

    fn mark_deleted(&mut self, at: Option<Instant>) {
        (self.deleted, self.deleted_at) = (at.is_some(), at);
    }

    fn id(_: &SearchBody) -> Option<Id> {
        None
    }

    async fn fresh(desk: &mut Desk<'_>, body: SearchBody) -> Result<SavedSearch, DomainError> {
        let attributes = SavedSearchAttributes {
            name: body.name.0.unwrap_or_default(),
            query: checked(body.query.0.unwrap_or_default())?,
            deleted: false,
            deleted_at: None,
            created_at: desk.now(),
            updated_at: desk.now(),
            modified_at: desk.now(),
        };
        Ok(desk.document(None::<Id>, attributes))
    }
}

impl Creatable for SavedSearchAttributes {
    type MayCreate = CreateSearches;
}

impl Changeable for SavedSearchAttributes {
    type MayUpdate = UpdateSearches;
    type Update = SearchBody;

    fn deleted(body: &SearchBody) -> Patch<bool> {
        body.deleted.clone()
    }

    /// Neither the name nor the query has a fresh value to go back to.
    async fn change(_: &mut Desk<'_>, draft: &mut Draft<Self>, body: SearchBody, _: bool) -> Result<(), DomainError> {
        let attributes = &mut draft.doc.attributes;
        body.name.put(&mut attributes.name);
        if let Some(query) = body.query.0 {
            attributes.query = checked(query)?;
        }
        Ok(())
    }
}

impl Deletable for SavedSearchAttributes {
    type MayDelete = DeleteSearches;
}

/// A query that can be run. It is no larger than a body may be.
fn checked(query: Object) -> Result<Object, DomainError> {
    match parse(&query.clone().into(), Surface::Live) {
        Ok(_) => Ok(query),
        Err(errors) => {
            let within = |error: FieldError| FieldError { pointer: format!("/query{}", error.pointer), ..error };
            Err(DomainError::Invalid(errors.into_iter().map(within).collect()))
        }
    }
}
