//! Messages: recording and changing them (contract `resources.md` §2).

use konverse_model::input::{MessageCreate, MessageUpdate, check_custom};
use konverse_model::resource::{Direction, DirectionType, Message, MessageAttributes, MessageStatus, Object};
use konverse_model::{
    ConversationId, CustomerId, Document, FieldError, Id, Instant, Kind, MessageId, Patch, Rel, UserId,
};
use konverse_store::Row;
use serde_json::Value;

use crate::access::permissions::{CreateMessages, ReadMessages, UpdateMessages};
use crate::conversations::{merge_custom, object, without_nulls};
use crate::draft::{Draft, Told, needed};
use crate::references::References;
use crate::timeline::{Named, Stamps, Timeline};
use crate::{Authorized, Domain, DomainError};

impl Domain {
    /// One message, as text.
    pub async fn message(&self, auth: &Authorized<ReadMessages>, id: MessageId) -> Result<String, DomainError> {
        Ok(self.row(auth.org(), Kind::Message, id.0).await?.doc)
    }

    /// The message with this external id, as text.
    pub async fn message_by_external_id(
        &self,
        auth: &Authorized<ReadMessages>,
        external_id: &str,
    ) -> Result<String, DomainError> {
        self.doc_by_external_id(auth.org(), Kind::Message, external_id).await
    }

    /// Records a message in a conversation; its customer is the conversation's.
    pub async fn create_message(
        &self,
        auth: &Authorized<CreateMessages>,
        conversation: ConversationId,
        body: MessageCreate,
    ) -> Result<Message, DomainError> {
        let org = auth.org();
        let row = self.row(org, Kind::Conversation, conversation.0).await?;
        let customer = CustomerId(needed(row.customer.map(Id::from), "customer")?);
        let _lock = self.lock(org, customer).await;
        self.commit(|| async {
            let row = self.row(org, Kind::Conversation, conversation.0).await?;
            let customer = CustomerId(needed(row.customer.map(Id::from), "customer")?);
            let mut references = References::new(self.store.clone(), org);
            let author = self.author(auth.actor(), &mut references).await?;
            let mut timeline = Timeline::load(self, org, author, customer).await?;
            timeline.with_conversation(row)?;
            let message =
                self.new_message(&timeline, &mut references, conversation, body.clone(), auth.is_admin(), true).await?;
            self.record_one(timeline, conversation, message).await
        })
        .await
    }

    /// Records a message of a customer: in the conversation the body names, which must be theirs, else in a new one.
    pub async fn create_message_for_customer(
        &self,
        auth: &Authorized<CreateMessages>,
        customer: CustomerId,
        body: MessageCreate,
    ) -> Result<Message, DomainError> {
        let org = auth.org();
        self.row(org, Kind::Customer, customer.0).await?;
        if let Some(conversation) = body.conversation.0 {
            let row = self.store.get(org, Kind::Conversation, conversation.0).await?.filter(Row::shows);
            return match row {
                Some(row) if row.customer == Some(customer) => self.create_message(auth, conversation, body).await,
                _ => Err(DomainError::invalid("/conversation", format!("is no conversation of customer {customer}"))),
            };
        }
        let _lock = self.lock(org, customer).await;
        self.commit(|| async {
            let mut references = References::new(self.store.clone(), org);
            let author = self.author(auth.actor(), &mut references).await?;
            let mut timeline = Timeline::load(self, org, author, customer).await?;
            let conversation = konverse_model::input::ConversationCreate {
                imported_at: body.imported_at,
                created_at: body.created_at,
                queue: body.queue.clone(),
                ..Default::default()
            };
            let id =
                self.add_conversation(&mut timeline, &mut references, conversation, auth.is_admin(), false).await?;
            let message = self.new_message(&timeline, &mut references, id, body.clone(), auth.is_admin(), true).await?;
            self.record_one(timeline, id, message).await
        })
        .await
    }

    async fn record_one(
        &self,
        mut timeline: Timeline<'_>,
        conversation: ConversationId,
        message: Draft<MessageAttributes>,
    ) -> Result<(konverse_store::Changes, Message), DomainError> {
        let id = MessageId(message.doc.id);
        let now = timeline.now;
        timeline.record(conversation, vec![message]).await?;
        let (changes, mut finished) = timeline.finish(&mut Stamps::new(now)).await?;
        let doc = finished.messages.shift_remove(&id);
        Ok((changes, doc.ok_or_else(|| DomainError::internal("the message is missing"))?))
    }

    /// A new message, checked, not yet part of its conversation.
    pub(crate) async fn new_message(
        &self,
        timeline: &Timeline<'_>,
        references: &mut References,
        conversation: ConversationId,
        body: MessageCreate,
        admin: bool,
        look_up: bool,
    ) -> Result<Draft<MessageAttributes>, DomainError> {
        let (org, now) = (timeline.org, timeline.now);
        let customer = timeline.customer_id();
        if look_up {
            self.check_free(org, Kind::Message, body.id.0.map(Id::from), body.external_id.0.as_deref()).await?;
        }
        let mut errors = Vec::new();
        let named = Named {
            customer: body.customer.0,
            conversation: body.conversation.0,
            created_by: body.created_by.0,
            modified_by: body.modified_by.0,
        };
        timeline.check_named(&named, conversation, admin, references, &mut errors).await?;
        let custom = body.custom.0.unwrap_or_default();
        check_custom("/custom", &custom, &mut errors);
        let attachments = attachment_ids(body.attachments.0.unwrap_or_default(), &mut errors);
        if !errors.is_empty() {
            return Err(DomainError::Invalid(errors));
        }

        let imported_at = body.imported_at.0;
        let created_at = body.created_at.0.filter(|_| admin || imported_at.is_some()).unwrap_or(now);
        let created_by = body.created_by.0.filter(|_| admin).or(timeline.author.user);
        let modified_by = body.modified_by.0.filter(|_| admin);
        let direction = body.direction.0.unwrap_or(Direction::In);
        let stamp = now.max(created_at);
        let attributes = MessageAttributes {
            external_id: body.external_id.0,
            channel: body.channel.0.unwrap_or_default(),
            app: body.app.0.unwrap_or_default(),
            direction,
            // Set when it is folded into its conversation.
            direction_type: DirectionType::after(None, direction),
            size: body.size.0.unwrap_or_else(|| body.preview.0.as_ref().map_or(0, |text| text.chars().count() as u64)),
            preview: body.preview.0,
            subject: body.subject.0,
            meta: body.meta.0.unwrap_or_default(),
            status: body.status.0.unwrap_or(match direction {
                Direction::In => MessageStatus::Received,
                Direction::Out => MessageStatus::Sent,
            }),
            error: body.error.0,
            error_at: body.error_at.0,
            sent_at: body.sent_at.0.unwrap_or(created_at),
            auto: body.auto.0.unwrap_or(false),
            source: body.source.0,
            sentiment: body.sentiment.0.as_ref().map(object).transpose()?,
            response_time: None,
            response_business_time: None,
            assigned_users: Vec::new(),
            assigned_teams: Vec::new(),
            created_by_teams: references.teams_of(created_by).await?,
            redacted: false,
            reactions: Vec::new(),
            location: body.location.0.as_ref().map(object).transpose()?,
            reference: body.reference.0,
            custom: without_nulls(custom),
            lang: body.lang.given(),
            spam: false,
            imported_at,
            created_at,
            updated_at: stamp,
            modified_at: body.modified_at.0.filter(|_| admin).unwrap_or(stamp).max(created_at),
            rev: 1,
        };
        let mut message: Message = Document::new(body.id.0.map_or_else(|| self.new_id(), Id::from), org, attributes);
        message.related = body.related.0;
        let relationships = &mut message.relationships;
        relationships.set("customer", Rel::One(Kind::Customer, customer.0));
        relationships.set("conversation", Rel::One(Kind::Conversation, conversation.0));
        relationships.set_one("createdBy", Kind::User, created_by.map(Id::from));
        relationships.set_one("modifiedBy", Kind::User, modified_by.or(created_by).map(Id::from));
        set_many(&mut message, "attachments", Kind::Attachment, attachments);
        set_many(&mut message, "shortcuts", Kind::Shortcut, body.shortcuts.0.unwrap_or_default());
        set_many(&mut message, "kbArticles", Kind::KbArticle, body.kb_articles.0.unwrap_or_default());
        Ok(Draft::new(message))
    }

    /// Changes a message. What its conversation says of it follows; moving it changes both conversations.
    pub async fn update_message(
        &self,
        auth: &Authorized<UpdateMessages>,
        id: MessageId,
        body: MessageUpdate,
        replace: bool,
    ) -> Result<Message, DomainError> {
        let org = auth.org();
        let body = if replace { replacing(body) } else { body };
        let customer =
            CustomerId(needed(self.row(org, Kind::Message, id.0).await?.customer.map(Id::from), "customer")?);
        let _lock = self.lock(org, customer).await;
        self.commit(|| async {
            let row = self.row(org, Kind::Message, id.0).await?;
            let customer = CustomerId(needed(row.customer.map(Id::from), "customer")?);
            let from = ConversationId(needed(row.conversation, "conversation")?);
            let mut references = References::new(self.store.clone(), org);
            let author = self.author(auth.actor(), &mut references).await?;
            let mut timeline = Timeline::load(self, org, author, customer).await?;
            let now = timeline.now;
            timeline.with_conversation(self.row(org, Kind::Conversation, from.0).await?)?;
            let mut draft = Draft::<MessageAttributes>::read(row)?;
            draft.expect_rev(body.rev.0)?;
            self.apply_message_update(&mut draft, &mut references, body.clone(), auth.is_admin(), replace).await?;

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
            draft.edited_as_told(timeline.author.user, now, told.of_admin(auth.is_admin()));
            if to != from {
                timeline.refold(from, Vec::new(), Some(id)).await?;
            }
            let matters =
                draft.before().is_none_or(|before| tells_conversation(before) != tells_conversation(&draft.doc));
            if matters || to != from {
                timeline.refold(to, vec![draft], None).await?;
                timeline.reassess_customer();
            } else {
                timeline.with_message(draft);
            }
            let (changes, mut finished) = timeline.finish(&mut Stamps::new(now)).await?;
            let doc = finished.messages.shift_remove(&id);
            Ok((changes, doc.ok_or_else(|| DomainError::internal("the message is missing"))?))
        })
        .await
    }

    async fn apply_message_update(
        &self,
        draft: &mut Draft<MessageAttributes>,
        references: &mut References,
        mut body: MessageUpdate,
        admin: bool,
        replace: bool,
    ) -> Result<(), DomainError> {
        let mut errors = Vec::new();
        if let Some(custom) = &body.custom.0 {
            check_custom("/custom", custom, &mut errors);
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
        let attributes = &mut draft.doc.attributes;
        if replace {
            attributes.custom.clear();
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
        if admin {
            if let Some(at) = body.created_at.0 {
                // Nothing is edited before it was made.
                draft.doc.attributes.created_at = at.min(draft.doc.attributes.modified_at);
            }
            if let Some(user) = body.created_by.0 {
                draft.doc.relationships.set("createdBy", Rel::One(Kind::User, user.0));
                draft.doc.attributes.created_by_teams = references.teams_of(Some(user)).await?;
            }
        }
        Ok(())
    }
}

/// What of a message its conversation repeats or computes with.
fn tells_conversation(
    message: &Message,
) -> (Option<&String>, Option<&String>, &Object, Instant, Instant, Option<UserId>) {
    let said = &message.attributes;
    let created_by = message.relationships.one("createdBy").map(UserId);
    (said.preview.as_ref(), said.subject.as_ref(), &said.meta, said.sent_at, said.created_at, created_by)
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

/// The ids of attachments, given as ids or as records with an `_id`.
pub(crate) fn attachment_ids(given: Vec<Value>, errors: &mut Vec<FieldError>) -> Vec<Id> {
    let id = |(n, value): (usize, Value)| {
        let text = value.as_str().or_else(|| value.get("_id").and_then(Value::as_str));
        let id = text.and_then(|text| text.parse().ok());
        if id.is_none() {
            errors
                .push(FieldError::at(format!("/attachments/{n}"), "must be an attachment id, or an object with `_id`"));
        }
        id
    };
    given.into_iter().enumerate().filter_map(id).collect()
}

/// Sets a to-many relationship; absent when empty.
fn set_many(message: &mut Message, name: &'static str, kind: Kind, ids: Vec<Id>) {
    if ids.is_empty() {
        message.relationships.remove(name);
    } else {
        let link = match kind {
            Kind::Attachment => "attachments",
            Kind::Shortcut => "shortcuts",
            _ => "kb-articles",
        };
        let data = ids.into_iter().map(|id| (kind, id)).collect();
        message.relationships.set(name, Rel::Many { link: Some(link), data });
    }
}
