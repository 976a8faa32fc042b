//! Changing a message (contract `endpoints.md`, `PATCH` and `PUT /v1/messages/{id}`).

use konverse_model::input::MessageUpdate;
use konverse_model::resource::{ConversationAttributes, Message, MessageAttributes, Object};
use konverse_model::{ConversationId, Instant, Kind, MessageId, Patch, Rel, UserId};
use konverse_store::Row;
use serde_json::Value;

use super::{attachment_ids, set_many};
use crate::access::permissions::UpdateMessages;
use crate::directory::References;
use crate::timeline::{Anchor, Timeline, not_ahead};
use crate::unit::{Draft, Told, merge_custom, needed, object};
use crate::{Authorized, Domain, DomainError};

impl Domain {
    /// Changes a message. What its conversation says of it follows; moving it changes both conversations. `createdAt`
    /// is its place in lists and stays, whoever asks.
    pub async fn update_message(
        &self,
        auth: &Authorized<UpdateMessages>,
        id: MessageId,
        body: MessageUpdate,
        replace: bool,
    ) -> Result<Message, DomainError> {
        let body = if replace { replacing(body) } else { body };
        let missing = || DomainError::NotFound(Kind::Message, id.to_string());
        let held = self.hold(auth.actor(), Anchor::Message(id)).await?;
        let (applied, stored) = self
            .commit(|| async {
                let mut references = References::of(self.store.clone(), auth.actor());
                let (mut timeline, row) = Timeline::around(self, auth.actor(), &mut references, &held).await?;
                let row = row.filter(Row::shows).ok_or_else(missing)?;
                let from = ConversationId(needed(row.conversation, "conversation")?);
                let (now, admin) = (timeline.now, auth.is_admin());
                let mut draft = Draft::<MessageAttributes>::read(row)?;
                draft.expect_rev(body.rev.0)?;
                self.apply_message_update(&mut draft, &mut references, body.clone(), now, admin, replace).await?;

                let to = body.conversation.0.unwrap_or(from);
                if to != from {
                    timeline.also_conversation(to).await?;
                    draft.doc.relationships.set("conversation", Rel::One(Kind::Conversation, to.0));
                }
                let told = Told { at: body.modified_at.0, by: body.modified_by.0 };
                draft.edited_as_told(timeline.author.user, now, told.of_admin(admin));
                let before = draft.before();
                let conversation = timeline.conversation(from)?;
                let matters = before.is_none_or(|before| {
                    tells_conversation(before) != tells_conversation(&draft.doc)
                        || (is_first_or_last(conversation, id) && texts(before) != texts(&draft.doc))
                });
                let sent_at = draft.doc.attributes.sent_at;
                let resent = before.is_none_or(|before| before.attributes.sent_at != sent_at);
                if to != from {
                    timeline.refold(from, Vec::new(), Some(id)).await?;
                }
                if matters || to != from {
                    timeline.refold(to, vec![draft], None).await?;
                } else {
                    timeline.with_message(draft);
                }
                if resent || to != from {
                    // What was the newest may be it no longer, and then another conversation's message is.
                    timeline.reassess();
                }
                let (mut changes, finished) = timeline.finish().await?;
                references.define(self, auth.actor().user, &mut changes).await?;
                Ok((changes, finished.message(id)?))
            })
            .await?;
        Ok(auth.actor().shown_record(stored.settle(&applied)))
    }

    async fn apply_message_update(
        &self,
        draft: &mut Draft<MessageAttributes>,
        references: &mut References,
        mut body: MessageUpdate,
        now: Instant,
        admin: bool,
        replace: bool,
    ) -> Result<(), DomainError> {
        let mut errors = Vec::new();
        if let Some(custom) = &mut body.custom.0 {
            references.custom(self, Kind::Message, custom, true, &mut errors).await?;
        }
        let attachments = body.attachments.take().map(|given| attachment_ids(given, &mut errors));
        if admin {
            references.check_one(Kind::User, body.created_by.0, "/createdBy", &mut errors).await?;
            references.check_one(Kind::User, body.modified_by.0, "/modifiedBy", &mut errors).await?;
        }
        if let Patch::Set(external_id) = &body.external_id
            && draft.doc.attributes.external_id.as_ref() != Some(external_id)
        {
            let org = needed(draft.doc.relationships.one("org"), "org")?;
            self.check_free(konverse_model::OrgId(org), Kind::Message, None, Some(external_id)).await?;
        }
        body.sent_at.0 = not_ahead(body.sent_at.0, now, "/sentAt", &mut errors);
        let attributes = &mut draft.doc.attributes;
        if replace {
            references.clear_custom(&mut attributes.custom);
        }
        if let Some(custom) = body.custom.take() {
            merge_custom(&mut attributes.custom, custom, "/custom", &mut errors);
        }
        if !errors.is_empty() {
            return Err(DomainError::Invalid(errors));
        }
        if body.preview.is_sent() && !body.size.is_given() {
            body.size.0 = Some(match &body.preview {
                Patch::Set(text) => text.chars().count() as u64,
                _ => 0,
            });
        }
        body.external_id.put(&mut attributes.external_id);
        body.preview.put(&mut attributes.preview);
        body.subject.put(&mut attributes.subject);
        body.status.put(&mut attributes.status);
        body.error.put(&mut attributes.error);
        body.error_at.put(&mut attributes.error_at);
        body.sent_at.put(&mut attributes.sent_at);
        body.size.put(&mut attributes.size);
        body.meta.put(&mut attributes.meta);
        body.lang.put(&mut attributes.lang);
        body.spam.put(&mut attributes.spam);
        match body.sentiment {
            Patch::Keep => {}
            Patch::Clear => attributes.sentiment = None,
            Patch::Set(sentiment) => attributes.sentiment = Some(object(&sentiment)?),
        }
        if let Some(reactions) = body.reactions.0 {
            attributes.reactions = reactions.into_iter().map(Value::Object).collect();
        }
        body.related.put(&mut draft.doc.related);
        if let Some(attachments) = attachments {
            set_many(&mut draft.doc, "attachments", Kind::Attachment, attachments);
        }
        if admin && let Some(user) = body.created_by.0 {
            draft.doc.relationships.set("createdBy", Rel::One(Kind::User, user.0));
            draft.doc.attributes.created_by_teams = references.teams_of(Some(user)).await?;
        }
        Ok(())
    }
}

/// What of a message its conversation repeats or computes with, wherever it stands.
fn tells_conversation(message: &Message) -> (&Object, Instant, Instant, Option<UserId>) {
    let said = &message.attributes;
    let created_by = message.relationships.one("createdBy").map(UserId);
    (&said.meta, said.sent_at, said.created_at, created_by)
}

/// What its conversation repeats of its first message, and its customer of the last.
fn texts(message: &Message) -> (Option<&String>, Option<&String>) {
    (message.attributes.preview.as_ref(), message.attributes.subject.as_ref())
}

/// Whether a message may be the first or the last of its conversation. The first of all is the first of its direction.
fn is_first_or_last(conversation: &Draft<ConversationAttributes>, id: MessageId) -> bool {
    let attributes = &conversation.doc.attributes;
    let firsts = [&attributes.first_message_in, &attributes.first_message_out];
    firsts.into_iter().flatten().any(|mark| mark.id == id)
        || conversation.state.last_message.is_none_or(|last| last == id)
}

fn replacing(mut body: MessageUpdate) -> MessageUpdate {
    body.external_id.or_clear();
    body.preview.or_clear();
    body.subject.or_clear();
    body.error.or_clear();
    body.error_at.or_clear();
    body.related.or_clear();
    body.sentiment.or_clear();
    body.lang.or_clear();
    body.attachments.0.get_or_insert_default();
    body.meta.0.get_or_insert_default();
    body.spam.0.get_or_insert_default();
    body.reactions.0.get_or_insert_default();
    body
}
