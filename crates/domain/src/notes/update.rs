//! Changing, deleting and restoring a note (contract `endpoints.md`, `PATCH`, `PUT` and `DELETE /v1/notes/{id}`).

use konverse_model::input::NoteUpdate;
use konverse_model::resource::{Note, NoteAttributes};
use konverse_model::{ConversationId, Kind, NoteId, Patch, Rel};
use konverse_store::Hidden;

use super::{check_mentions, set_attachments, set_mentions};
use crate::access::permissions::{DeleteNotes, UpdateNotes};
use crate::directory::References;
use crate::messages::attachment_ids;
use crate::timeline::{Anchor, Timeline};
use crate::unit::{Draft, Told, needed};
use crate::{Actor, Authorized, Domain, DomainError};

impl Domain {
    /// Changes a note; `deleted` deletes or restores it.
    pub async fn update_note(
        &self,
        auth: &Authorized<UpdateNotes>,
        id: NoteId,
        body: NoteUpdate,
        replace: bool,
    ) -> Result<Note, DomainError> {
        let restores = matches!(body.deleted, Patch::Clear | Patch::Set(false));
        let mut body = body;
        if replace {
            body.external_id.or_clear();
            body.lang.or_clear();
            body.user_mentions.0.get_or_insert_default();
            body.attachments.0.get_or_insert_default();
        }
        self.edit_note(auth.actor(), auth.is_admin(), id, body, restores).await
    }

    /// Deletes a note.
    pub async fn delete_note(&self, auth: &Authorized<DeleteNotes>, id: NoteId) -> Result<(), DomainError> {
        let body = NoteUpdate { deleted: Patch::Set(true), ..NoteUpdate::default() };
        self.edit_note(auth.actor(), false, id, body, false).await.map(drop)
    }

    async fn edit_note(
        &self,
        actor: &Actor,
        admin: bool,
        id: NoteId,
        body: NoteUpdate,
        restores: bool,
    ) -> Result<Note, DomainError> {
        let org = actor.org;
        let missing = || DomainError::NotFound(Kind::Note, id.to_string());
        // The conversation says whose note it is: one that lay deleted did not move along with it.
        let held = self.hold(actor, Anchor::Note(id)).await?;
        let (applied, stored) = self
            .commit(|| async {
                let mut references = References::new(self.store.clone(), org);
                let (mut timeline, row) = Timeline::around(self, actor, &mut references, &held).await?;
                // A deleted note can be restored and nothing else, and only in a conversation that shows.
                let row = row.filter(|row| row.shows() || restores && row.hidden == Hidden::Deleted);
                let row = row.ok_or_else(missing)?;
                let from = ConversationId(needed(row.conversation, "conversation")?);
                if !timeline.conversation(from)?.shows() {
                    return Err(missing());
                }
                let mut draft = Draft::<NoteAttributes>::read(row)?;
                let customer = timeline.customer_id();
                draft.doc.relationships.set("customer", Rel::One(Kind::Customer, customer.0));
                draft.expect_rev(body.rev.0)?;
                let now = timeline.now;
                self.apply_note_update(&mut draft, &mut references, body.clone(), admin).await?;

                let to = body.conversation.0.unwrap_or(from);
                if to != from {
                    timeline.also_conversation(to).await?;
                    draft.doc.relationships.set("conversation", Rel::One(Kind::Conversation, to.0));
                }
                let told = Told { at: body.modified_at.0, by: body.modified_by.0 };
                draft.edited_as_told(timeline.author.user, now, told.of_admin(admin));
                if draft.showed() {
                    let counted = &mut timeline.conversation(from)?.doc.attributes;
                    counted.note_count = counted.note_count.saturating_sub(1);
                }
                if draft.shows() {
                    timeline.conversation(to)?.doc.attributes.note_count += 1;
                }
                if draft.is_changed() {
                    let attributes = &mut timeline.conversation(to)?.doc.attributes;
                    attributes.last_activity_at = attributes.last_activity_at.max(now);
                }
                timeline.with_note(draft);
                let (changes, finished) = timeline.finish().await?;
                Ok((changes, finished.note()?))
            })
            .await?;
        Ok(stored.settle(&applied))
    }

    async fn apply_note_update(
        &self,
        draft: &mut Draft<NoteAttributes>,
        references: &mut References,
        mut body: NoteUpdate,
        admin: bool,
    ) -> Result<(), DomainError> {
        let mut errors = Vec::new();
        let mentions = match body.user_mentions.take() {
            Some(mentions) => Some(check_mentions(references, mentions, &mut errors).await?),
            None => None,
        };
        let attachments = body.attachments.take().map(|given| attachment_ids(given, &mut errors));
        if admin {
            references.check_one(Kind::User, body.created_by.0, "/createdBy", &mut errors).await?;
            references.check_one(Kind::User, body.modified_by.0, "/modifiedBy", &mut errors).await?;
        }
        if !errors.is_empty() {
            return Err(DomainError::Invalid(errors));
        }
        let restores = !draft.shows();
        let wanted = match &body.external_id {
            Patch::Set(external_id) => Some(external_id.clone()),
            Patch::Keep if restores => draft.doc.attributes.external_id.clone(),
            _ => None,
        };
        if let Some(external_id) = wanted
            && (restores || draft.doc.attributes.external_id.as_ref() != Some(&external_id))
        {
            let org = needed(draft.doc.relationships.one("org"), "org")?;
            self.check_free(konverse_model::OrgId(org), Kind::Note, None, Some(&external_id)).await?;
        }
        let attributes = &mut draft.doc.attributes;
        body.external_id.put(&mut attributes.external_id);
        body.body.put(&mut attributes.body);
        body.lang.put(&mut attributes.lang);
        if admin && let Some(user) = body.created_by.0 {
            attributes.created_by_teams = references.teams_of(Some(user)).await?;
            draft.doc.relationships.set("createdBy", Rel::One(Kind::User, user.0));
        }
        if let Some(mentions) = mentions {
            set_mentions(&mut draft.doc, mentions);
        }
        if let Some(attachments) = attachments {
            set_attachments(&mut draft.doc, attachments);
        }
        match body.deleted {
            Patch::Keep => {}
            Patch::Set(true) => draft.hidden = Hidden::Deleted,
            Patch::Clear | Patch::Set(false) => draft.hidden = Hidden::No,
        }
        Ok(())
    }
}
