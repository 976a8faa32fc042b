//! What is done to one conversation: loaded with its customer, changed, stored with all that follows.

use konverse_model::input::ConversationUpdate;
use konverse_model::resource::{Conversation, Status};
use konverse_model::{ConversationId, FieldError, Id, Instant, Kind, Patch};
use konverse_store::{Hidden, Space};

use super::update::replacing;
use super::{ConversationEdit, MOST_TAGS, hide};
use crate::access::permissions::{DeleteConversations, UntagConversations, UpdateConversations};
use crate::directory::{Author, References, is_tag_name};
use crate::timeline::{Anchor, Cause, Timeline, change_status};
use crate::{Actor, Authorized, Domain, DomainError};

/// What is done.
pub(super) enum Edit {
    Update { body: Box<ConversationUpdate>, replace: bool },
    Tag(Vec<String>),
    Untag(Vec<String>),
    Delete,
    Elapse,
}

impl Edit {
    /// Whether it brings a deleted conversation back.
    fn restores(&self) -> bool {
        matches!(self, Self::Update { body, .. } if matches!(body.deleted, Patch::Clear | Patch::Set(false)))
    }
}

impl Domain {
    /// Changes a conversation: merges or replaces attributes, or moves it to another customer.
    pub async fn update_conversation(
        &self,
        auth: &Authorized<UpdateConversations>,
        id: ConversationId,
        edit: ConversationEdit,
    ) -> Result<Conversation, DomainError> {
        match edit {
            ConversationEdit::Move(customer) => self.move_conversation(auth, id, customer).await,
            ConversationEdit::Attributes { body, replace } => {
                let body = if replace { replacing(*body) } else { *body };
                self.edit_conversation(auth.actor(), id, Edit::Update { body: Box::new(body), replace }).await
            }
        }
    }

    /// Adds tags to a conversation, by id or name.
    pub async fn add_conversation_tags(
        &self,
        auth: &Authorized<UpdateConversations>,
        id: ConversationId,
        names: Vec<String>,
    ) -> Result<Conversation, DomainError> {
        self.edit_conversation(auth.actor(), id, Edit::Tag(names)).await
    }

    /// Takes tags off a conversation, by id or name; tags it does not carry are no error.
    pub async fn remove_conversation_tags(
        &self,
        auth: &Authorized<UntagConversations>,
        id: ConversationId,
        names: Vec<String>,
    ) -> Result<Conversation, DomainError> {
        self.edit_conversation(auth.actor(), id, Edit::Untag(names)).await
    }

    /// Deletes a conversation: it, its messages and its notes show no longer.
    pub async fn delete_conversation(
        &self,
        auth: &Authorized<DeleteConversations>,
        id: ConversationId,
    ) -> Result<(), DomainError> {
        self.edit_conversation(auth.actor(), id, Edit::Delete).await.map(drop)
    }

    /// Loads a conversation with its customer, changes them, stores the outcome.
    pub(super) async fn edit_conversation(
        &self,
        actor: &Actor,
        id: ConversationId,
        edit: Edit,
    ) -> Result<Conversation, DomainError> {
        let restores = edit.restores();
        let missing = || DomainError::NotFound(Kind::Conversation, id.to_string());
        let held = self.hold(actor, Anchor::Conversation(id)).await?;
        let (applied, stored) = self
            .commit(|| async {
                let mut references = References::of(self.store.clone(), actor);
                let (mut timeline, _) = Timeline::around(self, actor, &mut references, &held).await?;
                // A deleted conversation can be restored and nothing else.
                let hidden = timeline.conversation(id)?.hidden;
                if !(hidden == Hidden::No || restores && hidden == Hidden::Deleted) {
                    return Err(missing());
                }
                self.apply_edit(&mut timeline, &mut references, id, &edit).await?;
                let (user, now) = (timeline.author.user, timeline.now);
                if user.is_some() {
                    timeline.conversation(id)?.edited(user, now);
                }
                let (mut changes, finished) = timeline.finish().await?;
                references.define(self, actor.user, &mut changes).await?;
                Ok((changes, finished.conversation(id)?))
            })
            .await?;
        Ok(actor.shown_record(stored.settle(&applied)))
    }

    async fn apply_edit(
        &self,
        timeline: &mut Timeline<'_>,
        references: &mut References,
        id: ConversationId,
        edit: &Edit,
    ) -> Result<(), DomainError> {
        let (author, now) = (timeline.author.user, timeline.now);
        match edit {
            Edit::Update { body, replace } => {
                self.apply_update(timeline, references, id, (**body).clone(), *replace).await?;
            }
            Edit::Tag(names) => {
                let mut errors = Vec::new();
                let added = references.tags(self, names, "", author, &mut timeline.changes, &mut errors).await?;
                let draft = timeline.conversation(id)?;
                let mut tags = draft.doc.attributes.tags.clone();
                tags.extend(added.into_iter().filter(|tag| !draft.doc.attributes.tags.contains(tag)));
                if tags.len() > MOST_TAGS {
                    errors.push(FieldError::at("", format!("must not lead to more than {MOST_TAGS} tags")));
                }
                if !errors.is_empty() {
                    return Err(DomainError::Invalid(errors));
                }
                set_tags(timeline, id, tags, now)?;
            }
            Edit::Untag(names) => {
                let named = names.iter().filter(|name| is_tag_name(name));
                let named: Vec<_> = named.map(|name| (Space::TagName, name.to_lowercase())).collect();
                let holders = self.store.holders(timeline.org, &named).await?;
                let by_id = names.iter().filter_map(|name| name.parse::<Id>().ok());
                let gone: Vec<Id> = holders.into_iter().flatten().chain(by_id).collect();
                let mut tags = timeline.conversation(id)?.doc.attributes.tags.clone();
                tags.retain(|tag| !gone.contains(tag));
                set_tags(timeline, id, tags, now)?;
            }
            Edit::Delete => hide(timeline, id)?,
            Edit::Elapse => {
                let draft = timeline.conversation(id)?;
                if draft.doc.attributes.wakes_at().is_some_and(|at| at <= now) {
                    let nobody = Author::default();
                    change_status(&mut draft.doc, &mut draft.state, Status::Open, Cause::Elapsed, &nobody, now);
                }
            }
        }
        Ok(())
    }
}

fn set_tags(timeline: &mut Timeline<'_>, id: ConversationId, tags: Vec<Id>, now: Instant) -> Result<(), DomainError> {
    let attributes = &mut timeline.conversation(id)?.doc.attributes;
    if attributes.tags != tags {
        attributes.tags = tags;
        attributes.modification_history.insert("tagsAt".into(), now);
    }
    Ok(())
}
