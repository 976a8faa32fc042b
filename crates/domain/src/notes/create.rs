//! Adding a note to a conversation (contract `endpoints.md`, `POST …/notes`).

use konverse_model::input::NoteCreate;
use konverse_model::resource::{Note, NoteAttributes};
use konverse_model::{ConversationId, Document, Id, Kind, Rel};

use super::{check_mentions, set_attachments, set_mentions};
use crate::access::permissions::{CreateConversationNotes, CreateNotes};
use crate::directory::References;
use crate::messages::attachment_ids;
use crate::timeline::{Anchor, Named, Timeline, move_restored_closing, not_ahead};
use crate::unit::Draft;
use crate::{Actor, Authorized, Domain, DomainError};

impl Domain {
    /// Adds a note to the conversation its body names.
    pub async fn create_note(&self, auth: &Authorized<CreateNotes>, body: NoteCreate) -> Result<Note, DomainError> {
        let conversation = body.conversation.0.ok_or_else(|| DomainError::invalid("/conversation", "is required"))?;
        match self.add_note_to(auth.actor(), auth.is_admin(), conversation, body).await {
            Err(DomainError::NotFound(Kind::Conversation, id)) => {
                Err(DomainError::invalid("/conversation", format!("names no conversation of this org: {id}")))
            }
            other => other,
        }
    }

    /// Adds a note to a conversation.
    pub async fn create_conversation_note(
        &self,
        auth: &Authorized<CreateConversationNotes>,
        conversation: ConversationId,
        body: NoteCreate,
    ) -> Result<Note, DomainError> {
        self.add_note_to(auth.actor(), auth.is_admin(), conversation, body).await
    }

    async fn add_note_to(
        &self,
        actor: &Actor,
        admin: bool,
        conversation: ConversationId,
        body: NoteCreate,
    ) -> Result<Note, DomainError> {
        let org = actor.org;
        let held = self.hold(actor, Anchor::Conversation(conversation)).await?;
        let (applied, stored) = self
            .commit(|| async {
                let mut references = References::new(self.store.clone(), org);
                let (mut timeline, _) = Timeline::around(self, actor, &mut references, &held).await?;
                if !timeline.conversation(conversation)?.shows() {
                    return Err(DomainError::NotFound(Kind::Conversation, conversation.to_string()));
                }
                let note = self.new_note(&timeline, &mut references, conversation, body.clone(), admin, true).await?;
                self.put_note(&mut timeline, conversation, note)?;
                let (changes, finished) = timeline.finish().await?;
                Ok((changes, finished.note()?))
            })
            .await?;
        Ok(stored.settle(&applied))
    }

    /// A new note, checked, not yet part of its conversation.
    pub(crate) async fn new_note(
        &self,
        timeline: &Timeline<'_>,
        references: &mut References,
        conversation: ConversationId,
        body: NoteCreate,
        admin: bool,
        look_up: bool,
    ) -> Result<Draft<NoteAttributes>, DomainError> {
        let (org, now, customer) = (timeline.org, timeline.now, timeline.customer_id());
        if look_up {
            self.check_free(org, Kind::Note, body.id.0.map(Id::from), body.external_id.0.as_deref()).await?;
        }
        let mut errors = Vec::new();
        let named = Named {
            customer: body.customer.0,
            conversation: body.conversation.0,
            created_by: body.created_by.0,
            modified_by: body.modified_by.0,
        };
        timeline.check_named(&named, conversation, admin, references, &mut errors).await?;
        let mentions = check_mentions(references, body.user_mentions.0.unwrap_or_default(), &mut errors).await?;
        let attachments = attachment_ids(body.attachments.0.unwrap_or_default(), &mut errors);
        let imported_at = body.imported_at.0;
        let created_at = body.created_at.0.filter(|_| admin || imported_at.is_some());
        let created_at = not_ahead(created_at, now, "/createdAt", &mut errors).unwrap_or(now);
        if !errors.is_empty() {
            return Err(DomainError::Invalid(errors));
        }
        let created_by = body.created_by.0.filter(|_| admin).or(timeline.author.user);
        let modified_by = body.modified_by.0.filter(|_| admin).or(created_by);
        let attributes = NoteAttributes {
            external_id: body.external_id.0,
            body: body.body.0.unwrap_or_default(),
            lang: body.lang.given(),
            created_by_teams: references.teams_of(created_by).await?,
            imported_at,
            created_at,
            updated_at: now,
            modified_at: body.modified_at.0.filter(|_| admin).unwrap_or(now).clamp(created_at, now),
            rev: 1,
        };
        let mut note: Note = Document::new(body.id.0.map_or_else(|| self.new_id(), Id::from), org, attributes);
        note.relationships.set("customer", Rel::One(Kind::Customer, customer.0));
        note.relationships.set("conversation", Rel::One(Kind::Conversation, conversation.0));
        note.relationships.set_one("createdBy", Kind::User, created_by.map(Id::from));
        note.relationships.set_one("modifiedBy", Kind::User, modified_by.map(Id::from));
        set_mentions(&mut note, mentions);
        set_attachments(&mut note, attachments);
        Ok(Draft::new(note))
    }

    /// Makes a new note part of its conversation.
    pub(crate) fn put_note(
        &self,
        timeline: &mut Timeline<'_>,
        conversation: ConversationId,
        note: Draft<NoteAttributes>,
    ) -> Result<(), DomainError> {
        let at = note.doc.attributes.created_at;
        let draft = timeline.conversation(conversation)?;
        draft.doc.attributes.note_count += 1;
        draft.doc.attributes.last_activity_at = draft.doc.attributes.last_activity_at.max(at);
        if note.doc.attributes.imported_at.is_some() {
            move_restored_closing(&mut draft.doc, &draft.state);
        } else {
            draft.state.restored_done = false;
        }
        timeline.with_note(note);
        Ok(())
    }
}
