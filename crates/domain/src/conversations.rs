//! Conversations: creating, changing, deleting, tagging, snoozing (contract `resources.md` §1).

use konverse_model::input::{ConversationCreate, ConversationUpdate, Queue, check_custom, check_custom_size};
use konverse_model::resource::{
    Conversation, ConversationAttributes, Direction, Object, SnoozeStatus, StateSince, Status,
};
use konverse_model::{ConversationId, CustomerId, Document, FieldError, Id, Instant, Kind, OrgId, Patch, Rel};
use konverse_store::{Changes, Hidden, Row, Space};
use serde_json::Value;

use crate::access::permissions::{
    CreateConversations, DeleteConversations, ReadConversations, UntagConversations, UpdateConversations,
};
use crate::draft::{Draft, needed};
use crate::references::{References, is_tag_name};
use crate::rules::{self, Author, Cause};
use crate::timeline::{Stamps, Timeline};
use crate::{Authorized, Domain, DomainError};

/// Priority of a conversation that was given none.
const PRIORITY: u8 = 3;

/// Most tags a conversation carries.
const MOST_TAGS: usize = 20;

/// A change to a conversation.
#[derive(Clone, Debug)]
pub enum ConversationEdit {
    /// Form A: some of its attributes; `replace` resets those not named.
    Attributes {
        /// What changes.
        body: Box<ConversationUpdate>,
        /// Whether attributes not named go back to their fresh values.
        replace: bool,
    },
    /// Form B: to another customer.
    Move(CustomerId),
}

/// What is done to one conversation.
enum Edit {
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
    /// One conversation, as text.
    pub async fn conversation(
        &self,
        auth: &Authorized<ReadConversations>,
        id: ConversationId,
    ) -> Result<String, DomainError> {
        Ok(self.row(auth.org(), Kind::Conversation, id.0).await?.doc)
    }

    /// Several conversations, as texts, in the order asked; ids that are unknown or deleted are left out.
    pub async fn conversations(
        &self,
        auth: &Authorized<ReadConversations>,
        ids: &[ConversationId],
    ) -> Result<Vec<String>, DomainError> {
        let ids: Vec<Id> = ids.iter().map(|id| id.0).collect();
        let rows = self.store.get_many(auth.org(), Kind::Conversation, &ids).await?;
        Ok(rows.into_iter().filter(Row::shows).map(|row| row.doc).collect())
    }

    /// The conversation with this external id, as text.
    pub async fn conversation_by_external_id(
        &self,
        auth: &Authorized<ReadConversations>,
        external_id: &str,
    ) -> Result<String, DomainError> {
        self.doc_by_external_id(auth.org(), Kind::Conversation, external_id).await
    }

    pub(crate) async fn doc_by_external_id(
        &self,
        org: OrgId,
        kind: Kind,
        external_id: &str,
    ) -> Result<String, DomainError> {
        // No name holds a NUL, and not every database would be asked for one.
        let row = match external_id.contains('\0') {
            true => None,
            false => self.store.by_external_id(org, kind, external_id).await?,
        };
        row.map(|row| row.doc).ok_or_else(|| DomainError::NotFound(kind, format!("externalId={external_id}")))
    }

    /// Creates a conversation of `customer`, without messages.
    pub async fn create_conversation(
        &self,
        auth: &Authorized<CreateConversations>,
        customer: CustomerId,
        body: ConversationCreate,
    ) -> Result<Conversation, DomainError> {
        let org = auth.org();
        let _lock = self.lock(org, customer).await;
        self.commit(|| async {
            let mut references = References::new(self.store.clone(), org);
            let author = self.author(auth.actor(), &mut references).await?;
            let mut timeline = Timeline::load(self, org, author, customer).await?;
            let id = self.add_conversation(&mut timeline, &mut references, body.clone(), auth.is_admin(), true).await?;
            let (changes, finished) = timeline.finish(&mut Stamps::new(self.now())).await?;
            let created = finished.conversations.into_iter().find(|(key, _)| *key == id).map(|(_, doc)| doc);
            Ok((changes, created.ok_or_else(|| DomainError::internal("the new conversation is missing"))?))
        })
        .await
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
        let custom = body.custom.0.unwrap_or_default();
        check_custom("/custom", &custom, &mut errors);
        let author = timeline.author.clone();
        let tag_names = body.tags.0.unwrap_or_default();
        let tags =
            references.tags(self, &tag_names, "/tags", author.user, now, &mut timeline.changes, &mut errors).await?;
        if !errors.is_empty() {
            return Err(DomainError::Invalid(errors));
        }

        let imported_at = body.imported_at.0;
        let created_at = body.created_at.0.filter(|_| admin || imported_at.is_some()).unwrap_or(now);
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
                rules::begin_done(&mut draft.doc, &mut draft.state, &author, created_at);
            }
            _ => draft.doc.attributes.open = Some(StateSince { status_at: created_at }),
        }
        let id = draft.doc.conversation_id();
        timeline.conversations.insert(id, draft);
        Ok(id)
    }

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

    /// Ends the snoozes whose time has come; gives how many. Snoozes of conversations that changed meanwhile are left.
    pub async fn elapse_snoozes(&self, most: u32) -> Result<usize, DomainError> {
        let due = self.store.due(self.now(), most).await?;
        let mut ended = 0;
        for (org, id) in due {
            let actor = crate::Actor::system(org);
            let result = self.edit_conversation(&actor, ConversationId(id), Edit::Elapse).await;
            match result {
                Ok(_) => ended += 1,
                Err(DomainError::NotFound(..) | DomainError::Conflict { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(ended)
    }

    /// Who acts, for what snapshots repeat of them.
    pub(crate) async fn author(
        &self,
        actor: &crate::Actor,
        references: &mut References,
    ) -> Result<Author, DomainError> {
        Ok(Author { user: actor.user, teams: references.teams_of(actor.user).await? })
    }

    /// Loads a conversation with its customer, changes them, stores the outcome.
    async fn edit_conversation(
        &self,
        actor: &crate::Actor,
        id: ConversationId,
        edit: Edit,
    ) -> Result<Conversation, DomainError> {
        let restores = edit.restores();
        let org = actor.org;
        let missing = || DomainError::NotFound(Kind::Conversation, id.to_string());
        let row = self.store.get(org, Kind::Conversation, id.0).await?.ok_or_else(missing)?;
        let customer = CustomerId(needed(row.customer.map(Id::from), "customer")?);
        let _lock = self.lock(org, customer).await;
        self.commit(|| async {
            let row = self.store.get(org, Kind::Conversation, id.0).await?.ok_or_else(missing)?;
            // A deleted conversation can be restored and nothing else.
            if !(row.shows() || restores && row.hidden == Hidden::Deleted) {
                return Err(missing());
            }
            let customer = CustomerId(needed(row.customer.map(Id::from), "customer")?);
            let mut references = References::new(self.store.clone(), org);
            let author = self.author(actor, &mut references).await?;
            let mut timeline = Timeline::load(self, org, author, customer).await?;
            timeline.with_conversation(row)?;
            self.apply_edit(&mut timeline, &mut references, id, &edit).await?;
            let (user, now) = (timeline.author.user, timeline.now);
            if user.is_some() {
                timeline.conversation(id)?.edited(user, now);
            }
            let (changes, mut finished) = timeline.finish(&mut Stamps::new(now)).await?;
            let doc = finished.conversations.shift_remove(&id);
            Ok((changes, doc.ok_or_else(|| DomainError::internal("the conversation is missing"))?))
        })
        .await
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
                let added = references.tags(self, names, "", author, now, &mut timeline.changes, &mut errors).await?;
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
                if rules::wake_at(&draft.doc.attributes).is_some_and(|at| at <= now) {
                    let nobody = Author::default();
                    rules::change_status(&mut draft.doc, &mut draft.state, Status::Open, Cause::Elapsed, &nobody, now);
                }
            }
        }
        Ok(())
    }

    async fn apply_update(
        &self,
        timeline: &mut Timeline<'_>,
        references: &mut References,
        id: ConversationId,
        mut body: ConversationUpdate,
        replace: bool,
    ) -> Result<(), DomainError> {
        let (org, now, author) = (timeline.org, timeline.now, timeline.author.clone());
        timeline.conversation(id)?.expect_rev(body.rev.0)?;
        let mut errors = Vec::new();
        references
            .check(Kind::User, body.assigned_users.0.as_deref().unwrap_or_default(), "/assignedUsers", &mut errors)
            .await?;
        references
            .check(Kind::Team, body.assigned_teams.0.as_deref().unwrap_or_default(), "/assignedTeams", &mut errors)
            .await?;
        let by_customer = match body.ended_by_type.0.as_deref() {
            Some(kind) => kind == "customer",
            None => timeline.conversation(id)?.doc.attributes.ended_by_type.as_deref() == Some("customer"),
        };
        let ended_by = if by_customer { Kind::Customer } else { Kind::User };
        references.check_one(ended_by, body.ended_by.0, "/endedBy", &mut errors).await?;
        if let Some(custom) = &body.custom.0 {
            check_custom("/custom", custom, &mut errors);
        }
        let tags = match body.tags.take() {
            Some(names) => Some(
                references.tags(self, &names, "/tags", author.user, now, &mut timeline.changes, &mut errors).await?,
            ),
            None => None,
        };
        let restoring = !timeline.conversation(id)?.shows();
        if let Patch::Set(external_id) = &body.external_id {
            let own = timeline.conversation(id)?.doc.attributes.external_id.as_ref() == Some(external_id);
            if !own || restoring {
                self.check_free(org, Kind::Conversation, None, Some(external_id)).await?;
            }
        } else if restoring && body.external_id == Patch::Keep {
            let kept = timeline.conversation(id)?.doc.attributes.external_id.clone();
            self.check_free(org, Kind::Conversation, None, kept.as_deref()).await?;
        }

        let restore = matches!(body.deleted, Patch::Clear | Patch::Set(false));
        let delete = body.deleted == Patch::Set(true);
        let draft = timeline.conversation(id)?;
        let before = draft.doc.attributes.clone();
        if replace {
            draft.doc.attributes.custom.clear();
            draft.doc.attributes.sentiment.clear();
            draft.doc.attributes.satisfaction_level = None;
            draft.doc.attributes.external_queue = None;
            draft.doc.relationships.remove("queue");
        }
        if let Some(custom) = body.custom.take() {
            merge_custom(&mut draft.doc.attributes.custom, custom, "/custom", &mut errors);
        }
        if !errors.is_empty() {
            return Err(DomainError::Invalid(errors));
        }
        let attributes = &mut draft.doc.attributes;
        if let Some(tags) = tags {
            attributes.tags = tags;
        }
        match body.name {
            Patch::Keep => {}
            Patch::Clear => {
                attributes.name.clear();
                draft.state.name_given = true;
            }
            Patch::Set(name) => {
                draft.state.name_given = true;
                attributes.name = name;
            }
        }
        if let Some(direction) = body.direction.0 {
            attributes.direction = direction;
            draft.state.direction_given = true;
        }
        match body.satisfaction {
            Patch::Keep => {}
            Patch::Clear => attributes.satisfaction = 0,
            Patch::Set(value) => attributes.satisfaction = value,
        }
        if let Some(level) = body.satisfaction_level.0 {
            attributes.satisfaction_level = Some(object(&level)?);
        }
        if let Some(shortcuts) = body.suggested_shortcuts.0 {
            attributes.suggested_shortcuts = shortcuts.iter().map(serde_json::to_value).collect::<Result<_, _>>()?;
        }
        if let Some(tags) = body.suggested_tags.0 {
            attributes.suggested_tags = tags.iter().map(serde_json::to_value).collect::<Result<_, _>>()?;
        }
        if let Some(sentiment) = body.sentiment.0 {
            attributes.sentiment = object(&sentiment)?;
        }
        body.external_id.put(&mut attributes.external_id);
        body.priority.put(&mut attributes.priority);
        body.reply_channel.put(&mut attributes.reply_channel);
        body.default_lang.put(&mut attributes.default_lang);
        body.assigned_users.put(&mut attributes.assigned_users);
        body.assigned_teams.put(&mut attributes.assigned_teams);
        body.locked.put(&mut attributes.locked);
        if let Some(ended) = body.ended.0 {
            attributes.ended = ended;
            if ended {
                let at = body.ended_at.0.or(attributes.ended_at).unwrap_or(now);
                attributes.ended_at = Some(at);
            } else {
                (attributes.ended_at, attributes.ended_reason, attributes.ended_by_type) = (None, None, None);
                draft.doc.relationships.remove("endedBy");
            }
        } else if let Some(at) = body.ended_at.0 {
            attributes.ended_at = Some(at);
        }
        let attributes = &mut draft.doc.attributes;
        if let Some(reason) = body.ended_reason.0 {
            attributes.ended_reason = Some(reason);
        }
        if let Some(by) = body.ended_by_type.0 {
            attributes.ended_by_type = Some(by);
        }
        if let Some(by) = body.ended_by.0 {
            draft.doc.relationships.set("endedBy", Rel::One(ended_by, by));
        }
        set_queue(&mut draft.doc, body.queue.0);

        // The status last: what it snapshots is the conversation as this very update leaves it.
        let snooze = body.snooze.0;
        let to = match (body.status.0, snooze.as_ref().map(|snooze| snooze.status)) {
            (Some(Status::Open | Status::Done), Some(SnoozeStatus::Scheduled)) => {
                return Err(DomainError::invalid("/snooze", "can be scheduled only with the status snoozed"));
            }
            (Some(Status::Snoozed), Some(SnoozeStatus::Canceled | SnoozeStatus::Elapsed)) => {
                return Err(DomainError::invalid("/snooze", "must be scheduled with the status snoozed"));
            }
            (Some(status), _) => Some(status),
            (None, Some(SnoozeStatus::Scheduled)) => Some(Status::Snoozed),
            (None, Some(_)) if draft.doc.attributes.status == Status::Snoozed => Some(Status::Open),
            (None, _) => None,
        };
        let cause = match snooze.as_ref().map(|snooze| snooze.status) {
            Some(SnoozeStatus::Elapsed) => Cause::Elapsed,
            _ => Cause::Request,
        };
        if let Some(to) = to {
            rules::change_status(&mut draft.doc, &mut draft.state, to, cause, &author, now);
        }
        if let (Some(wanted), Some(running)) = (snooze, draft.doc.attributes.snooze.as_mut())
            && wanted.status == SnoozeStatus::Scheduled
            && running.time != wanted.time.0
        {
            running.time = wanted.time.0;
        }
        if let Some(sub_status) = body.sub_status.0 {
            draft.doc.relationships.set("subStatus", Rel::One(Kind::SubStatus, sub_status));
        }
        note_history(&before, &mut draft.doc.attributes, now);
        if delete {
            hide(timeline, id)?;
        } else if restore && restoring {
            timeline.conversation(id)?.hidden = Hidden::No;
            timeline.changes.hide_conversation = Some((id.0, true));
            timeline.reassess_customer();
        }
        Ok(())
    }

    async fn move_conversation(
        &self,
        auth: &Authorized<UpdateConversations>,
        id: ConversationId,
        target: CustomerId,
    ) -> Result<Conversation, DomainError> {
        let org = auth.org();
        let source =
            CustomerId(needed(self.row(org, Kind::Conversation, id.0).await?.customer.map(Id::from), "customer")?);
        let _locks = self.lock_both(org, source, target).await;
        self.commit(|| async {
            let row = self.row(org, Kind::Conversation, id.0).await?;
            let source = CustomerId(needed(row.customer.map(Id::from), "customer")?);
            if source == target {
                return Ok((Changes::new(org), Document::from_text(&row.doc)?));
            }
            let mut references = References::new(self.store.clone(), org);
            let author = self.author(auth.actor(), &mut references).await?;
            let now = self.now();
            let mut leaving = Timeline::load(self, org, author.clone(), source).await?;
            leaving.now = now;
            let mut arriving = match Timeline::load(self, org, author.clone(), target).await {
                Err(DomainError::NotFound(..)) => {
                    return Err(DomainError::invalid("/customer", format!("Customer {target} not found")));
                }
                other => other?,
            };
            arriving.with_conversation(row.clone())?;
            let draft = arriving.conversation(id)?;
            draft.doc.relationships.set("customer", Rel::One(Kind::Customer, target.0));
            draft.edited(author.user, now);
            for row in self.every_row(org, Kind::Message, konverse_store::Scope::Conversation(id)).await? {
                let mut message = Draft::read(row)?;
                message.doc.relationships.set("customer", Rel::One(Kind::Customer, target.0));
                arriving.with_message(message);
            }
            for row in self.every_row(org, Kind::Note, konverse_store::Scope::Conversation(id)).await? {
                let mut note = Draft::read(row)?;
                note.doc.relationships.set("customer", Rel::One(Kind::Customer, target.0));
                arriving.with_note(note);
            }
            arriving.reassess_customer();
            // The source only looks at what remains: the conversation is stored once, by the target.
            leaving
                .customer
                .doc
                .attributes
                .conversation_counts
                .add(Document::<ConversationAttributes>::from_text(&row.doc)?.attributes.status, -1);
            leaving.leave(id);
            leaving.reassess_customer();
            let mut stamps = Stamps::new(now);
            let (mut changes, mut finished) = arriving.finish(&mut stamps).await?;
            let (left, _) = leaving.finish(&mut stamps).await?;
            changes.puts.extend(left.puts);
            changes.events.extend(left.events);
            let doc = finished.conversations.shift_remove(&id);
            Ok((changes, doc.ok_or_else(|| DomainError::internal("the conversation is missing"))?))
        })
        .await
    }

    /// Names the clash when an id or external id is taken.
    pub(crate) async fn check_free(
        &self,
        org: OrgId,
        kind: Kind,
        id: Option<Id>,
        external_id: Option<&str>,
    ) -> Result<(), DomainError> {
        if let Some(id) = id
            && self.store.get(org, kind, id).await?.is_some()
        {
            return Err(DomainError::conflict("/id", format!("{} {id} exists already", kind.title())));
        }
        if let Some(external_id) = external_id
            && let Some(holder) = self.store.by_external_id(org, kind, external_id).await?
        {
            return Err(DomainError::conflict(
                "/externalId",
                format!("externalId is already used by {} {}", kind.name(), holder.id),
            ));
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

fn hide(timeline: &mut Timeline<'_>, id: ConversationId) -> Result<(), DomainError> {
    timeline.conversation(id)?.hidden = Hidden::Deleted;
    timeline.changes.hide_conversation = Some((id.0, false));
    timeline.reassess_customer();
    Ok(())
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

/// The body that resets what it does not name (`?replace=true`). The status is a state, not an attribute to reset.
fn replacing(mut body: ConversationUpdate) -> ConversationUpdate {
    body.external_id.or_clear();
    body.name.or_clear();
    body.satisfaction.or_clear();
    body.reply_channel.or_clear();
    body.default_lang.or_clear();
    body.priority.0.get_or_insert(PRIORITY);
    body.suggested_shortcuts.0.get_or_insert_default();
    body.suggested_tags.0.get_or_insert_default();
    body.tags.0.get_or_insert_default();
    body.assigned_users.0.get_or_insert_default();
    body.assigned_teams.0.get_or_insert_default();
    body.ended.0.get_or_insert_default();
    body.locked.0.get_or_insert_default();
    body
}

fn set_queue(conversation: &mut Conversation, queue: Option<Queue>) {
    let Some(queue) = queue else { return };
    conversation.relationships.set_one("queue", Kind::Queue, queue.id.0);
    conversation.attributes.external_queue = queue.external.0;
}

pub(crate) fn object(value: &impl serde::Serialize) -> Result<Object, DomainError> {
    match serde_json::to_value(value)? {
        Value::Object(object) => Ok(object),
        _ => Err(DomainError::internal("an object was expected")),
    }
}

/// Custom attributes of a new record: null means not set.
pub(crate) fn without_nulls(mut custom: Object) -> Object {
    custom.retain(|_, value| !value.is_null());
    custom
}

/// Merges custom attributes by name; null removes one. The limits of keys and size hold for the outcome.
pub(crate) fn merge_custom(stored: &mut Object, sent: Object, pointer: &str, errors: &mut Vec<FieldError>) {
    for (name, value) in sent {
        if value.is_null() {
            stored.shift_remove(&name);
        } else {
            stored.insert(name, value);
        }
    }
    // What is wrong with what was sent says enough.
    if !errors.iter().any(|error| error.pointer == pointer) {
        check_custom_size(pointer, stored, errors);
    }
}

/// Notes when each of the attributes the vendor tracks last changed.
fn note_history(before: &ConversationAttributes, after: &mut ConversationAttributes, at: Instant) {
    let changed = [
        ("nameAt", before.name != after.name),
        ("priorityAt", before.priority != after.priority),
        ("assignedTeamsAt", before.assigned_teams != after.assigned_teams),
        ("assignedUsersAt", before.assigned_users != after.assigned_users),
        ("defaultLangAt", before.default_lang != after.default_lang),
        ("tagsAt", before.tags != after.tags),
        ("customAt", before.custom != after.custom),
    ];
    for (name, _) in changed.into_iter().filter(|(_, changed)| *changed) {
        after.modification_history.insert(name.to_owned(), at);
    }
}
