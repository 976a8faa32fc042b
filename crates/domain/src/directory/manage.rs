//! The use cases of the directory, the same for every kind.

use konverse_model::{CursorError, Document, Id, Kind, Patch};
use konverse_store::{Changes, Field, Filter, Hidden, Holding, List, Op, Order, Row, Scope, Space};

use super::References;
use super::entry::{Changeable, Creatable, Deletable, Desk, Entry, Name, Only};
use crate::unit::{Draft, Stored};
use crate::{Actor, Authorized, Domain, DomainError, ListPage, ListRequest, WholePage};

/// A page of a kind's list.
#[derive(Debug)]
pub enum Listed {
    /// Of a list that is read part by part.
    Page(ListPage),
    /// Of one that is known whole.
    Whole(WholePage),
}

impl Domain {
    /// One record, as text.
    pub async fn entry<K: Entry>(&self, auth: &Authorized<K::MayRead>, id: Id) -> Result<String, DomainError> {
        auth.actor().shown(K::KIND, self.row(auth.org(), K::KIND, id).await?.doc)
    }

    /// Several records, in the order asked; unknown ids are left out.
    pub async fn entries<K: Entry>(
        &self,
        auth: &Authorized<K::MayRead>,
        ids: &[Id],
        request: ListRequest,
    ) -> Result<WholePage, DomainError> {
        self.page_of(auth.actor(), K::KIND, ids, "id", request).await
    }

    /// The org's records of a kind by creation, oldest first.
    pub async fn list_entries<K: Entry>(
        &self,
        auth: &Authorized<K::MayRead>,
        filter: K::Filter,
        request: ListRequest,
    ) -> Result<Listed, DomainError> {
        let org = auth.org();
        let list = List::of(K::KIND, Scope::Org);
        let list = match K::only(filter) {
            Only::Shown => list,
            Only::Deleted => list.with(Filter::Deleted),
            // Not every database would be asked for a NUL; no record has the empty label.
            Only::Labelled(labels) => {
                let asked = |label: String| if label.contains('\0') { String::new() } else { label };
                list.with(Filter::Labels(labels.into_iter().map(asked).collect()))
            }
            Only::Named(space, value) => {
                if request.cursor.is_some() {
                    // Its pages are found by number alone, so no cursor is one of its own.
                    return Err(DomainError::Parameter { name: "cursor", message: CursorError.to_string() });
                }
                // No name holds a NUL, and not every database would be asked for one.
                let holder = match value.contains('\0') {
                    true => None,
                    false => self.store.holders(org, &[(space, value)]).await?.pop().flatten(),
                };
                return self
                    .page_of(auth.actor(), K::KIND, holder.as_slice(), "pageSize", request)
                    .await
                    .map(Listed::Whole);
            }
        };
        let oldest_first = Order { field: Field::CreatedAt, descending: false };
        self.page(auth.actor(), &list, oldest_first, request).await.map(Listed::Page)
    }

    /// Creates a record.
    pub async fn create_entry<K: Creatable>(
        &self,
        auth: &Authorized<K::MayCreate>,
        body: K::Create,
    ) -> Result<Document<K>, DomainError> {
        let (applied, stored) = self
            .commit(|| async {
                let (mut references, mut changes) = self.blank(auth.actor());
                let mut desk = Desk::at(self, auth.actor(), &mut references, &mut changes);
                let stored = desk.enter::<K>(body.clone()).await?;
                references.define(self, auth.actor().user, &mut changes).await?;
                Ok((changes, stored))
            })
            .await?;
        Ok(auth.actor().shown_record(stored.settle(&applied)))
    }

    /// Changes a record; `deleted` in the body deletes or restores it.
    pub async fn update_entry<K: Changeable>(
        &self,
        auth: &Authorized<K::MayUpdate>,
        id: Id,
        body: K::Update,
        replace: bool,
    ) -> Result<Document<K>, DomainError> {
        let deleted = K::deleted(&body);
        let restores = matches!(deleted, Patch::Clear | Patch::Set(false));
        let (applied, stored) = self
            .commit(|| async {
                let (mut references, mut changes) = self.blank(auth.actor());
                let mut desk = Desk::at(self, auth.actor(), &mut references, &mut changes);
                let mut draft = desk.open::<K>(id, restores).await?;
                draft.expect_rev(K::based_on(&body))?;
                K::change(&mut desk, &mut draft, body.clone(), replace).await?;
                desk.mark(&mut draft, &deleted);
                let stored = desk.keep(draft).await?;
                references.define(self, auth.actor().user, &mut changes).await?;
                Ok((changes, stored))
            })
            .await?;
        Ok(auth.actor().shown_record(stored.settle(&applied)))
    }

    /// Deletes a record.
    pub async fn delete_entry<K: Deletable>(&self, auth: &Authorized<K::MayDelete>, id: Id) -> Result<(), DomainError> {
        self.commit(|| async {
            let (mut references, mut changes) = self.blank(auth.actor());
            let mut desk = Desk::at(self, auth.actor(), &mut references, &mut changes);
            let mut draft = desk.open::<K>(id, false).await?;
            desk.mark(&mut draft, &Patch::Set(true));
            desk.keep(draft).await?;
            Ok((changes, ()))
        })
        .await
        .map(drop)
    }

    pub(super) fn blank(&self, actor: &Actor) -> (References, Changes) {
        (References::of(self.store.clone(), actor), Changes::new(actor.org, self.now()))
    }
}

impl<'a> Desk<'a> {
    pub(super) fn at(
        domain: &'a Domain,
        actor: &'a Actor,
        references: &'a mut References,
        changes: &'a mut Changes,
    ) -> Self {
        Self { domain, org: actor.org, actor: Some(actor), references, changes, look_up: true }
    }

    /// Makes a record of a body.
    pub(crate) async fn enter<K: Entry>(&mut self, body: K::Create) -> Result<Stored<K>, DomainError> {
        if self.look_up {
            self.domain.check_free(self.org, K::KIND, K::id(&body), None).await?;
        }
        let document = K::fresh(self, body).await?;
        self.keep(Draft::new(document)).await
    }

    /// A record to change: one that shows, or one that was deleted if it is to be restored.
    pub(super) async fn open<K: Entry>(&self, id: Id, restores: bool) -> Result<Draft<K>, DomainError> {
        let row = self.domain.store.get(self.org, K::KIND, id).await?;
        let row = row.filter(|row| row.shows() || restores && row.hidden == Hidden::Deleted);
        Draft::read(row.ok_or_else(|| DomainError::NotFound(K::KIND, id.to_string()))?)
    }

    /// Deletes or restores.
    fn mark<K: Entry>(&self, draft: &mut Draft<K>, deleted: &Patch<bool>) {
        let hidden = match deleted {
            Patch::Keep => return,
            Patch::Set(true) => Hidden::Deleted,
            Patch::Set(false) | Patch::Clear => Hidden::No,
        };
        if draft.hidden == hidden {
            return;
        }
        draft.hidden = hidden;
        let is_deleted = hidden == Hidden::Deleted;
        draft.doc.attributes.mark_deleted(is_deleted.then(|| self.now()));
        let by = self.author().filter(|_| is_deleted).map(Id::from);
        draft.doc.relationships.set_one("deletedBy", Kind::User, by);
    }

    /// Stores a record, with the names it holds from now on and what else follows.
    pub(crate) async fn keep<K: Entry>(&mut self, mut draft: Draft<K>) -> Result<Stored<K>, DomainError> {
        K::settle(self, &mut draft).await?;
        let gave =
            draft.before().filter(|_| draft.showed()).map(|before| before.attributes.gives()).unwrap_or_default();
        let (roles, groups) = if draft.shows() { draft.doc.attributes.gives() } else { Default::default() };
        if gave != (roles.clone(), groups.clone()) {
            self.changes.ops.push(Op::Hold(Holding { kind: K::KIND, owner: draft.doc.id, roles, groups }));
        }
        let held = draft.before().filter(|_| draft.showed()).map_or_else(Vec::new, |before| before.attributes.names());
        let wanted = if draft.shows() { draft.doc.attributes.names() } else { Vec::new() };
        let (id, is_new) = (draft.doc.id, draft.before().is_none());
        let has =
            |names: &[Name], one: &Name| names.iter().any(|name| name.space == one.space && name.value == one.value);
        for Name { space, value, .. } in held.iter().filter(|name| !has(&wanted, name)) {
            self.changes.release(*space, value.clone(), id);
        }
        for name in wanted.iter().filter(|name| !has(&held, name)) {
            if self.look_up {
                self.check_name(name).await?;
            }
            self.changes.claim(name.space, name.value.clone(), id);
        }
        let author = self.author();
        if !is_new {
            draft.edited(author, self.now());
        }
        draft.finish(author, self.changes)
    }

    /// Names the clash when a name is taken, unless this change takes it away.
    async fn check_name(&self, name: &Name) -> Result<(), DomainError> {
        let holder = self.domain.store.holders(self.org, &[(name.space, name.value.clone())]).await?.pop().flatten();
        let gives_back = |holder: &Id| {
            self.changes.ops.iter().any(
                |op| matches!(op, Op::Release(space, value, by) if (*space, value, by) == (name.space, &name.value, holder)),
            )
        };
        match holder.filter(|holder| !gives_back(holder)) {
            Some(holder) => Err(DomainError::conflict(name.pointer, format!("is already used by {holder}"))),
            None => Ok(()),
        }
    }
}

impl<K: Entry> Draft<K> {
    /// The names its record holds while it shows.
    pub(crate) fn names(&self) -> Vec<(Space, String)> {
        self.doc.attributes.names().into_iter().map(|name| (name.space, name.value)).collect()
    }
}

/// Rows of a kind, as `check` has to know them: the names a record says are its own; none of one that cannot be read.
pub(crate) fn names_of_row<K: Entry>(row: &Row) -> Option<Vec<(Space, String)>> {
    Draft::<K>::read(row.clone()).ok().map(|draft| draft.names())
}
