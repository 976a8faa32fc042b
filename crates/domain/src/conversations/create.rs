//! Creating a conversation (contract `endpoints.md`, `POST /v1/conversations`).

use konverse_model::input::ConversationCreate;
use konverse_model::resource::{Conversation, ConversationAttributes, Direction, Object, StateSince, Status};
use konverse_model::{ConversationId, CustomerId, Document, Id, Instant, Kind, Rel};

use super::{PRIORITY, set_queue};
use crate::access::permissions::CreateConversations;
use crate::directory::References;
use crate::timeline::{Timeline, begin_done, not_ahead};
use crate::unit::{Draft, without_nulls};
use crate::{Authorized, Domain, DomainError};

impl Domain {
    /// Creates a conversation of `customer`, without messages.
    pub async fn create_conversation(
        &self,
        auth: &Authorized<CreateConversations>,
        customer: CustomerId,
        body: ConversationCreate,
    ) -> Result<Conversation, DomainError> {
        let org = auth.org();
        let _lock = self.lock(org, customer).await;
        let (applied, created) = self
            .commit(|| async {
                let mut references = References::of(self.store.clone(), auth.actor());
                let author = self.author(auth.actor(), &mut references).await?;
                let mut timeline = Timeline::load(self, org, author, customer).await?;
                let body = body.clone();
                let id = self.add_conversation(&mut timeline, &mut references, body, auth.is_admin(), true).await?;
                let (mut changes, finished) = timeline.finish().await?;
                references.define(self, auth.actor().user, &mut changes).await?;
                Ok((changes, finished.conversation(id)?))
            })
            .await?;
        Ok(auth.actor().shown_record(created.settle(&applied)))
    }

    /// Adds a new conversation to a timeline. `look_up` asks first whether its id and external id are free, so that a
    /// clash can be named; imports that know they are skip it.
    pub(crate) async fn add_conversation(
        &self,
        timeline: &mut Timeline<'_>,
        references: &mut References,
        body: ConversationCreate,
        admin: bool,
        look_up: bool,
    ) -> Result<ConversationId, DomainError> {
        let (org, now) = (timeline.org, timeline.now);
        let mut errors = Vec::new();
        if look_up {
            self.check_free(org, Kind::Conversation, body.id.0.map(Id::from), body.external_id.0.as_deref()).await?;
        }
        let users = body.assigned_users.0.unwrap_or_default();
        let teams = body.assigned_teams.0.unwrap_or_default();
        references.check(Kind::User, &users, "/assignedUsers", &mut errors).await?;
        references.check(Kind::Team, &teams, "/assignedTeams", &mut errors).await?;
        let mut custom = body.custom.0.unwrap_or_default();
        references.custom(self, Kind::Conversation, &mut custom, false, &mut errors).await?;
        let author = timeline.author.clone();
        let imported_at = body.imported_at.0;
        let created_at = body.created_at.0.filter(|_| admin || imported_at.is_some());
        let created_at = not_ahead(created_at, now, "/createdAt", &mut errors).unwrap_or(now);
        let tag_names = body.tags.0.unwrap_or_default();
        let tags = references.tags(self, &tag_names, "/tags", author.user, &mut timeline.changes, &mut errors).await?;
        if !errors.is_empty() {
            return Err(DomainError::Invalid(errors));
        }

        let attributes = ConversationAttributes {
            priority: body.priority.0.unwrap_or(PRIORITY),
            name: body.name.0.clone().unwrap_or_default(),
            direction: body.direction.0.unwrap_or_default(),
            tags,
            assigned_users: users,
            assigned_teams: teams,
            external_id: body.external_id.0,
            reply_channel: body.reply_channel.given(),
            default_lang: body.default_lang.given(),
            custom: without_nulls(custom),
            imported_at,
            ..fresh(created_at, now)
        };
        let mut conversation = Document::new(body.id.0.map_or_else(|| self.new_id(), Id::from), org, attributes);
        let relationships = &mut conversation.relationships;
        relationships.set("customer", Rel::One(Kind::Customer, timeline.customer_id().0));
        relationships.set("messages", Rel::Collection("messages"));
        relationships.set_one("createdBy", Kind::User, author.user.map(Id::from));
        relationships.set_one("modifiedBy", Kind::User, author.user.map(Id::from));
        relationships.set_one("campaign", Kind::Campaign, body.campaign.0);
        set_queue(&mut conversation, body.queue.0);

        let mut draft = Draft::new(conversation);
        draft.state.name_given = body.name.0.is_some_and(|name| !name.is_empty());
        draft.state.direction_given = body.direction.0.is_some();
        match body.status.0.unwrap_or_default() {
            Status::Done => {
                draft.doc.attributes.status = Status::Done;
                begin_done(&mut draft.doc, &mut draft.state, &author, created_at);
            }
            _ => draft.doc.attributes.open = Some(StateSince { status_at: created_at }),
        }
        let id = draft.doc.conversation_id();
        timeline.conversations.insert(id, draft);
        Ok(id)
    }
}

/// The attributes of a conversation nothing has happened to.
fn fresh(created_at: Instant, now: Instant) -> ConversationAttributes {
    let now = now.max(created_at);
    ConversationAttributes {
        name: String::new(),
        preview: None,
        channels: Vec::new(),
        status: Status::Open,
        open: None,
        priority: PRIORITY,
        direction: Direction::In,
        message_count: 0,
        inbound_message_count: 0,
        outbound_message_count: 0,
        note_count: 0,
        satisfaction: 0,
        satisfaction_level: None,
        sentiment: Object::new(),
        tags: Vec::new(),
        suggested_tags: Vec::new(),
        suggested_shortcuts: Vec::new(),
        predictions: Vec::new(),
        assigned_users: Vec::new(),
        assigned_teams: Vec::new(),
        first_message_in: None,
        last_message_in: None,
        first_message_out: None,
        last_message_out: None,
        last_message_at: None,
        last_message_direction: None,
        last_received_at: None,
        last_message_unresponded_to: None,
        last_message_unresponded_to_since_last_done: None,
        first_response: None,
        first_response_since_last_done: None,
        last_response: None,
        snooze: None,
        snooze_count: 0,
        first_done: None,
        last_done: None,
        done_count: 0,
        reopen_count: 0,
        reopen_from_done_count: 0,
        total_open: None,
        total_snooze: None,
        total_done: None,
        external_id: None,
        external_queue: None,
        reply_channel: None,
        default_lang: None,
        ended: false,
        ended_at: None,
        ended_reason: None,
        ended_by_type: None,
        locked: false,
        spam: false,
        custom: Object::new(),
        modification_history: indexmap::IndexMap::new(),
        imported_at: None,
        created_at,
        updated_at: now,
        modified_at: now,
        last_activity_at: created_at,
        rev: 1,
    }
}
