//! Notes (contract `resources.md` §3).

use konverse_model::input::{Mention, NoteCreate, NoteUpdate};
use konverse_model::resource::{Note, NoteAttributes};
use konverse_model::{ConversationId, CustomerId, Document, FieldError, Id, Kind, NoteId, Patch, Rel};
use konverse_store::{Hidden, Row};

use crate::access::permissions::{CreateConversationNotes, CreateNotes, DeleteNotes, ReadNotes, UpdateNotes};
use crate::draft::{Draft, Told, needed};
use crate::messages::attachment_ids;
use crate::references::References;
use crate::rules;
use crate::timeline::{Named, Stamps, Timeline};
use crate::{Actor, Authorized, Domain, DomainError};

impl Domain {
    /// One note, as text.
    pub async fn note(&self, auth: &Authorized<ReadNotes>, id: NoteId) -> Result<String, DomainError> {
        Ok(self.row(auth.org(), Kind::Note, id.0).await?.doc)
    }

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
        let row = self.row(org, Kind::Conversation, conversation.0).await?;
        let customer = CustomerId(needed(row.customer.map(Id::from), "customer")?);
        let _lock = self.lock(org, customer).await;
        self.commit(|| async {
            let row = self.row(org, Kind::Conversation, conversation.0).await?;
            let customer = CustomerId(needed(row.customer.map(Id::from), "customer")?);
            let mut references = References::new(self.store.clone(), org);
            let author = self.author(actor, &mut references).await?;
            let mut timeline = Timeline::load(self, org, author, customer).await?;
            timeline.with_conversation(row)?;
            let note = self.new_note(&timeline, &mut references, conversation, body.clone(), admin, true).await?;
            self.put_note(&mut timeline, conversation, note)?;
            let now = timeline.now;
            let (changes, mut finished) = timeline.finish(&mut Stamps::new(now)).await?;
            let note = finished.notes.pop().ok_or_else(|| DomainError::internal("the note is missing"))?;
            Ok((changes, note))
        })
        .await
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
        if !errors.is_empty() {
            return Err(DomainError::Invalid(errors));
        }
        let imported_at = body.imported_at.0;
        let created_at = body.created_at.0.filter(|_| admin || imported_at.is_some()).unwrap_or(now);
        let created_by = body.created_by.0.filter(|_| admin).or(timeline.author.user);
        let modified_by = body.modified_by.0.filter(|_| admin).or(created_by);
        let stamp = now.max(created_at);
        let attributes = NoteAttributes {
            external_id: body.external_id.0,
            body: body.body.0.unwrap_or_default(),
            lang: body.lang.given(),
            created_by_teams: references.teams_of(created_by).await?,
            imported_at,
            created_at,
            updated_at: stamp,
            modified_at: body.modified_at.0.filter(|_| admin).unwrap_or(stamp).max(created_at),
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
            rules::move_restored_closing(&mut draft.doc, &draft.state);
        } else {
            draft.state.restored_done = false;
        }
        timeline.with_note(note);
        Ok(())
    }

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
        let gone = |error| if matches!(error, DomainError::NotFound(..)) { missing() } else { error };
        // The conversation says whose note it is: one that lay deleted did not move along with it.
        let row = self.store.get(org, Kind::Note, id.0).await?.ok_or_else(missing)?;
        let customer =
            self.row(org, Kind::Conversation, needed(row.conversation, "conversation")?).await.map_err(gone)?;
        let customer = CustomerId(needed(customer.customer.map(Id::from), "customer")?);
        let _lock = self.lock(org, customer).await;
        self.commit(|| async {
            let row = self.store.get(org, Kind::Note, id.0).await?.ok_or_else(missing)?;
            // A deleted note can be restored and nothing else.
            if !(row.shows() || restores && row.hidden == Hidden::Deleted) {
                return Err(missing());
            }
            let from = ConversationId(needed(row.conversation, "conversation")?);
            let holder = self.row(org, Kind::Conversation, from.0).await.map_err(gone)?;
            let customer = CustomerId(needed(holder.customer.map(Id::from), "customer")?);
            let mut references = References::new(self.store.clone(), org);
            let author = self.author(actor, &mut references).await?;
            let mut timeline = Timeline::load(self, org, author, customer).await?;
            timeline.with_conversation(holder)?;
            let mut draft = Draft::<NoteAttributes>::read(row)?;
            draft.doc.relationships.set("customer", Rel::One(Kind::Customer, customer.0));
            draft.expect_rev(body.rev.0)?;
            let now = timeline.now;
            self.apply_note_update(&mut draft, &mut references, body.clone(), admin).await?;

            let to = body.conversation.0.unwrap_or(from);
            if to != from {
                let row = self.store.get(org, Kind::Conversation, to.0).await?.filter(Row::shows);
                let row = row.filter(|row| row.customer == Some(customer)).ok_or_else(|| {
                    DomainError::invalid("/conversation", format!("is no conversation of customer {customer}"))
                })?;
                timeline.with_conversation(row)?;
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
            let (changes, mut finished) = timeline.finish(&mut Stamps::new(now)).await?;
            let note = finished.notes.pop().ok_or_else(|| DomainError::internal("the note is missing"))?;
            Ok((changes, note))
        })
        .await
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
        if admin {
            if let Some(at) = body.created_at.0 {
                // Nothing is edited before it was made.
                attributes.created_at = at.min(attributes.modified_at);
            }
            if let Some(user) = body.created_by.0 {
                attributes.created_by_teams = references.teams_of(Some(user)).await?;
                draft.doc.relationships.set("createdBy", Rel::One(Kind::User, user.0));
            }
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

async fn check_mentions(
    references: &mut References,
    mentions: Vec<Mention>,
    errors: &mut Vec<FieldError>,
) -> Result<Vec<(Kind, Id)>, DomainError> {
    let mut found = Vec::with_capacity(mentions.len());
    for (n, mention) in mentions.into_iter().enumerate() {
        let (kind, id) = match (mention.user.0, mention.team.0) {
            (Some(user), _) => (Kind::User, user.0),
            (None, Some(team)) => (Kind::Team, team.0),
            (None, None) => continue,
        };
        let before = errors.len();
        references.check(kind, &[id], "/userMentions", errors).await?;
        for error in &mut errors[before..] {
            error.pointer = format!("/userMentions/{n}");
        }
        found.push((kind, id));
    }
    Ok(found)
}

fn set_mentions(note: &mut Note, data: Vec<(Kind, Id)>) {
    if data.is_empty() {
        note.relationships.remove("userMentions");
    } else {
        note.relationships.set("userMentions", Rel::Many { link: None, data });
    }
}

fn set_attachments(note: &mut Note, ids: Vec<Id>) {
    if ids.is_empty() {
        note.relationships.remove("attachments");
    } else {
        let data = ids.into_iter().map(|id| (Kind::Attachment, id)).collect();
        note.relationships.set("attachments", Rel::Many { link: Some("attachments"), data });
    }
}
