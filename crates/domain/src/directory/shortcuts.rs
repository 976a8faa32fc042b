//! Shortcuts (contract `resources.md` §13). `isPrivate` and whom a shortcut is meant for are told and not enforced: whoever
//! may read shortcuts reads all of them.

use konverse_model::input::ShortcutBody;
use konverse_model::resource::{Object, Shortcut, ShortcutAttributes};
use konverse_model::{Document, FieldError, Id, Instant, Kind, Patch, Rel};
use konverse_store::Space;

use super::entry::{Changeable, Creatable, Deletable, Desk, Entry, Imported, Name, NoFilter, Only};
use crate::DomainError;
use crate::access::permissions::{CreateShortcuts, DeleteShortcuts, ReadShortcuts, UpdateShortcuts};
use crate::unit::{Draft, object};

impl Entry for ShortcutAttributes {
    type Create = ShortcutBody;
    type Filter = NoFilter;
    type MayRead = ReadShortcuts;

    fn names(&self) -> Vec<Name> {
        Vec::new()
    }

    fn only(_: NoFilter) -> Only {
        Only::Shown
    }

    fn mark_deleted(&mut self, at: Option<Instant>) {
        (self.deleted, self.deleted_at) = (at.is_some(), at);
    }

    fn id(body: &ShortcutBody) -> Option<Id> {
        body.id.0
    }

    async fn fresh(desk: &mut Desk<'_>, body: ShortcutBody) -> Result<Shortcut, DomainError> {
        let created_at = desk.created_at(body.created_at.0);
        let attributes = ShortcutAttributes {
            name: String::new(),
            draft: Object::new(),
            payload: Object::new(),
            conversation: Object::new(),
            is_private: false,
            app_disabled: false,
            deleted: false,
            deleted_at: None,
            created_at,
            updated_at: desk.now(),
            modified_at: desk.modified_at(body.modified_at.0, created_at),
            rev: 1,
        };
        let mut shortcut = desk.document(body.id.0, attributes);
        desk.sign(&mut shortcut, body.created_by.0, body.modified_by.0).await?;
        apply(desk, &mut shortcut, body).await?;
        Ok(shortcut)
    }
}

impl Creatable for ShortcutAttributes {
    type MayCreate = CreateShortcuts;
}

impl Changeable for ShortcutAttributes {
    type MayUpdate = UpdateShortcuts;
    type Update = ShortcutBody;

    fn based_on(body: &ShortcutBody) -> Option<i64> {
        body.rev.0
    }

    fn deleted(body: &ShortcutBody) -> Patch<bool> {
        body.deleted.clone()
    }

    async fn change(
        desk: &mut Desk<'_>,
        draft: &mut Draft<Self>,
        mut body: ShortcutBody,
        replace: bool,
    ) -> Result<(), DomainError> {
        if replace {
            body.draft.0.get_or_insert_default();
            body.payload.0.get_or_insert_default();
            body.conversation.0.get_or_insert_default();
            body.is_private.0.get_or_insert_default();
            body.app_disabled.0.get_or_insert_default();
            body.parent.or_clear();
            body.access_users.0.get_or_insert_default();
            body.access_teams.0.get_or_insert_default();
            body.attachments.0.get_or_insert_default();
        }
        apply(desk, &mut draft.doc, body).await
    }
}

impl Deletable for ShortcutAttributes {
    type MayDelete = DeleteShortcuts;
}

impl Imported for ShortcutAttributes {
    /// Shortcuts are known by their ids alone.
    fn known_by(_: &ShortcutBody) -> Option<(Space, String)> {
        None
    }
}

/// Puts a body's fields into a shortcut.
async fn apply(desk: &mut Desk<'_>, shortcut: &mut Shortcut, body: ShortcutBody) -> Result<(), DomainError> {
    let mut errors: Vec<FieldError> = Vec::new();
    if let Some(users) = &body.access_users.0 {
        desk.references.check(Kind::User, users, "/accessUsers", &mut errors).await?;
    }
    if let Some(teams) = &body.access_teams.0 {
        desk.references.check(Kind::Team, teams, "/accessTeams", &mut errors).await?;
    }
    if body.parent == Patch::Set(shortcut.id) {
        errors.push(FieldError::at("/parent", "must be another shortcut"));
    }
    if !errors.is_empty() {
        return Err(DomainError::Invalid(errors));
    }
    match body.parent {
        Patch::Keep => {}
        // A parent may come later in an import, or not at all.
        parent => shortcut.relationships.set_one("parent", Kind::Shortcut, parent.given()),
    }
    let users = body.access_users.0.map(|ids| ids.into_iter().map(Id::from).collect());
    set_many(shortcut, "accessUsers", Kind::User, users);
    let teams = body.access_teams.0.map(|ids| ids.into_iter().map(Id::from).collect());
    set_many(shortcut, "accessTeams", Kind::Team, teams);
    set_many(shortcut, "attachments", Kind::Attachment, body.attachments.0);
    let attributes = &mut shortcut.attributes;
    body.name.put(&mut attributes.name);
    body.draft.put(&mut attributes.draft);
    body.payload.put(&mut attributes.payload);
    body.is_private.put(&mut attributes.is_private);
    body.app_disabled.put(&mut attributes.app_disabled);
    if let Some(conversation) = body.conversation.0 {
        attributes.conversation = object(&conversation)?;
    }
    Ok(())
}

/// Sets whom or what a shortcut names; none keeps it.
fn set_many(shortcut: &mut Document<ShortcutAttributes>, name: &'static str, kind: Kind, ids: Option<Vec<Id>>) {
    match ids {
        None => {}
        Some(ids) if ids.is_empty() => shortcut.relationships.remove(name),
        Some(ids) => {
            let data = ids.into_iter().map(|id| (kind, id)).collect();
            shortcut.relationships.set(name, Rel::Many { link: None, data });
        }
    }
}
