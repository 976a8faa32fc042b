//! Recording a message, in a conversation or in a new one (contract `endpoints.md`, `POST …/messages`).

use konverse_model::input::MessageCreate;
use konverse_model::resource::{Direction, DirectionType, Message, MessageAttributes, MessageStatus};
use konverse_model::{ConversationId, CustomerId, Document, Id, Kind, MessageId, Rel};
use konverse_store::{Changes, Row};

use super::{attachment_ids, set_many};
use crate::access::permissions::CreateMessages;
use crate::directory::References;
use crate::timeline::{Named, Timeline, not_ahead};
use crate::unit::{Draft, Stored, object, without_nulls};
use crate::{Authorized, Domain, DomainError};

impl Domain {
    /// Records a message in a conversation; its customer is the conversation's.
    pub async fn create_message(
        &self,
        auth: &Authorized<CreateMessages>,
        conversation: ConversationId,
        body: MessageCreate,
    ) -> Result<Message, DomainError> {
        let message = self.record_message(auth.actor(), auth.is_admin(), conversation, body).await?;
        Ok(auth.actor().shown_record(message))
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
        let (applied, stored) = self
            .commit(|| async {
                let mut references = References::of(self.store.clone(), auth.actor());
                let author = self.author(auth.actor(), &mut references).await?;
                let mut timeline = Timeline::load(self, org, author, customer).await?;
                let conversation = konverse_model::input::ConversationCreate {
                    imported_at: body.imported_at,
                    created_at: body.created_at,
                    queue: body.queue.clone(),
                    ..Default::default()
                };
                let admin = auth.is_admin();
                let id = self.add_conversation(&mut timeline, &mut references, conversation, admin, false).await?;
                let message = self.new_message(&timeline, &mut references, id, body.clone(), admin, true).await?;
                let (mut changes, stored) = self.record_one(timeline, id, message).await?;
                references.define(self, auth.actor().user, &mut changes).await?;
                Ok((changes, stored))
            })
            .await?;
        Ok(auth.actor().shown_record(stored.settle(&applied)))
    }

    async fn record_one(
        &self,
        mut timeline: Timeline<'_>,
        conversation: ConversationId,
        message: Draft<MessageAttributes>,
    ) -> Result<(Changes, Stored<MessageAttributes>), DomainError> {
        let id = MessageId(message.doc.id);
        timeline.record(conversation, vec![message]).await?;
        let (changes, finished) = timeline.finish().await?;
        Ok((changes, finished.message(id)?))
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
        let mut custom = body.custom.0.unwrap_or_default();
        references.custom(self, Kind::Message, &mut custom, false, &mut errors).await?;
        let attachments = attachment_ids(body.attachments.0.unwrap_or_default(), &mut errors);
        let imported_at = body.imported_at.0;
        let created_at = body.created_at.0.filter(|_| admin || imported_at.is_some());
        let created_at = not_ahead(created_at, now, "/createdAt", &mut errors).unwrap_or(now);
        let sent_at = not_ahead(body.sent_at.0, now, "/sentAt", &mut errors).unwrap_or(created_at);
        if !errors.is_empty() {
            return Err(DomainError::Invalid(errors));
        }

        let created_by = body.created_by.0.filter(|_| admin).or(timeline.author.user);
        let modified_by = body.modified_by.0.filter(|_| admin);
        let direction = body.direction.0.unwrap_or(Direction::In);
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
            sent_at,
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
            updated_at: now,
            modified_at: body.modified_at.0.filter(|_| admin).unwrap_or(now).clamp(created_at, now),
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
}
