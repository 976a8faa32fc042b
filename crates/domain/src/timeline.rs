//! One customer's timeline being changed: the customer, the conversations concerned, new messages and notes.
//!
//! Use cases and imports load one, change it, and [`Timeline::finish`] turns it into a single `Changes`: whatever
//! follows for the customer from its conversations is worked out there, once.

use indexmap::IndexMap;
use konverse_model::resource::{
    Conversation, ConversationAttributes, Customer, CustomerAttributes, Direction, Message, MessageAttributes,
    NoteAttributes, Status,
};
use konverse_model::{ConversationId, CustomerId, Document, FieldError, Instant, Kind, MessageId, OrgId, UserId};
use konverse_store::{Changes, Field, List, Order, Row, Scope, Start, Window};

use crate::draft::Draft;
use crate::references::References;
use crate::rules::{self, Author, Cause};
use crate::{Domain, DomainError};

/// Rows read at once when a whole conversation or customer must be looked at.
const READ_AT_ONCE: u32 = 500;

/// Records of one kind that may share an `updatedAt`: clients that page by it loop for ever when a page full does.
const SHARED_STAMP: u32 = 20;

/// Hands out `updatedAt` values that only a few records share.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stamps {
    at: Instant,
    used: u32,
}

impl Stamps {
    pub(crate) fn new(now: Instant) -> Self {
        Self { at: now, used: 0 }
    }

    /// Moves on to the present, never back.
    pub(crate) fn advance(&mut self, now: Instant) {
        if now > self.at {
            *self = Self::new(now);
        }
    }

    pub(crate) fn next(&mut self) -> Instant {
        if self.used == SHARED_STAMP {
            *self = Self::new(self.at.plus(1));
        }
        self.used += 1;
        self.at
    }
}

/// A customer's timeline being changed.
pub(crate) struct Timeline<'a> {
    domain: &'a Domain,
    pub(crate) org: OrgId,
    pub(crate) author: Author,
    pub(crate) now: Instant,
    pub(crate) changes: Changes,
    pub(crate) customer: Draft<CustomerAttributes>,
    pub(crate) conversations: IndexMap<ConversationId, Draft<ConversationAttributes>>,
    messages: IndexMap<MessageId, Draft<MessageAttributes>>,
    notes: Vec<Draft<NoteAttributes>>,
    /// A conversation has left the customer: what follows from the rest is worked out anew.
    reassess: bool,
    left: Option<ConversationId>,
}

/// Whom and what the body of a new message or note names beside its content.
pub(crate) struct Named {
    pub(crate) customer: Option<CustomerId>,
    pub(crate) conversation: Option<ConversationId>,
    pub(crate) created_by: Option<UserId>,
    pub(crate) modified_by: Option<UserId>,
}

/// What a finished timeline shows.
#[derive(Default)]
pub(crate) struct Finished {
    pub(crate) customer: Option<Customer>,
    pub(crate) conversations: IndexMap<ConversationId, Conversation>,
    pub(crate) messages: IndexMap<MessageId, Message>,
    pub(crate) notes: Vec<konverse_model::resource::Note>,
}

impl<'a> Timeline<'a> {
    pub(crate) fn new(
        domain: &'a Domain,
        org: OrgId,
        author: Author,
        now: Instant,
        customer: Draft<CustomerAttributes>,
    ) -> Self {
        Self {
            domain,
            org,
            author,
            now,
            changes: Changes::new(org),
            customer,
            conversations: IndexMap::new(),
            messages: IndexMap::new(),
            notes: Vec::new(),
            reassess: false,
            left: None,
        }
    }

    /// The timeline of a stored customer who shows.
    pub(crate) async fn load(
        domain: &'a Domain,
        org: OrgId,
        author: Author,
        customer: CustomerId,
    ) -> Result<Self, DomainError> {
        let customer = Draft::read(domain.row(org, Kind::Customer, customer.0).await?)?;
        Ok(Self::new(domain, org, author, domain.now(), customer))
    }

    pub(crate) fn customer_id(&self) -> CustomerId {
        CustomerId(self.customer.doc.id)
    }

    /// Adds a conversation as it was read.
    pub(crate) fn with_conversation(&mut self, row: Row) -> Result<ConversationId, DomainError> {
        let draft = Draft::<ConversationAttributes>::read(row)?;
        let id = draft.doc.conversation_id();
        self.conversations.insert(id, draft);
        Ok(id)
    }

    pub(crate) fn conversation(
        &mut self,
        id: ConversationId,
    ) -> Result<&mut Draft<ConversationAttributes>, DomainError> {
        self.conversations.get_mut(&id).ok_or_else(|| DomainError::internal("a conversation was not loaded"))
    }

    /// Checks that what a new message or note names is where it goes, and that its authors are there.
    pub(crate) async fn check_named(
        &self,
        named: &Named,
        conversation: ConversationId,
        admin: bool,
        references: &mut References,
        errors: &mut Vec<FieldError>,
    ) -> Result<(), DomainError> {
        let customer = self.customer_id();
        if named.customer.is_some_and(|given| given != customer) {
            errors.push(FieldError::at("/customer", format!("must be the conversation's customer, {customer}")));
        }
        if named.conversation.is_some_and(|given| given != conversation) {
            errors.push(FieldError::at("/conversation", "must be the conversation of the path"));
        }
        // Files name people who left long ago; a caller names people who are there.
        if admin && self.author.user.is_some() {
            references.check_one(Kind::User, named.created_by, "/createdBy", errors).await?;
            references.check_one(Kind::User, named.modified_by, "/modifiedBy", errors).await?;
        }
        Ok(())
    }

    /// Records new messages of one conversation, with all that follows.
    pub(crate) async fn record(
        &mut self,
        id: ConversationId,
        mut new: Vec<Draft<MessageAttributes>>,
    ) -> Result<(), DomainError> {
        new.sort_by_key(|message| (message.doc.attributes.sent_at, message.doc.id));
        let (now, author) = (self.now, self.author.clone());
        let conversation = self.conversation(id)?;
        let (users, teams) =
            (conversation.doc.attributes.assigned_users.clone(), conversation.doc.attributes.assigned_teams.clone());
        for message in &mut new {
            message.doc.attributes.assigned_users.clone_from(&users);
            message.doc.attributes.assigned_teams.clone_from(&teams);
        }
        let reopens = new.iter().any(|message| {
            message.doc.attributes.direction == Direction::In && message.doc.attributes.imported_at.is_none()
        });
        let history = new.iter().all(|message| message.doc.attributes.imported_at.is_some());
        if reopens && conversation.doc.attributes.status != Status::Open {
            rules::change_status(
                &mut conversation.doc,
                &mut conversation.state,
                Status::Open,
                Cause::Request,
                &author,
                now,
            );
        }
        let in_order =
            new.first().is_none_or(|first| rules::follows(&conversation.doc, &conversation.state, &first.doc));
        if in_order {
            for message in new {
                self.fold(id, message)?;
            }
        } else {
            self.refold(id, new, None).await?;
        }
        let conversation = self.conversation(id)?;
        if history {
            rules::move_restored_closing(&mut conversation.doc, &conversation.state);
        } else {
            // Its life here has begun: later history does not move what happens now.
            conversation.state.restored_done = false;
        }
        Ok(())
    }

    fn fold(&mut self, id: ConversationId, mut message: Draft<MessageAttributes>) -> Result<(), DomainError> {
        let conversation =
            self.conversations.get_mut(&id).ok_or_else(|| DomainError::internal("a conversation was not loaded"))?;
        rules::fold_message(&mut conversation.doc, &mut conversation.state, &mut message.doc);
        rules::customer_heard(&mut self.customer.doc.attributes, &conversation.doc, &message.doc);
        self.messages.insert(MessageId(message.doc.id), message);
        Ok(())
    }

    /// Folds all messages of a conversation anew: with `new` ones that come before others (or changed ones), without
    /// one that leaves. Costs as much as the conversation is long; only messages out of order pay it.
    pub(crate) async fn refold(
        &mut self,
        id: ConversationId,
        new: Vec<Draft<MessageAttributes>>,
        without: Option<MessageId>,
    ) -> Result<(), DomainError> {
        let mut all: IndexMap<MessageId, Draft<MessageAttributes>> = IndexMap::new();
        let stored = self.domain.every_row(self.org, Kind::Message, Scope::Conversation(id)).await?;
        for row in stored {
            let draft = Draft::<MessageAttributes>::read(row)?;
            all.insert(MessageId(draft.doc.id), draft);
        }
        let earlier: Vec<_> = self
            .messages
            .iter()
            .filter(|(_, message)| message.doc.relationships.one("conversation") == Some(id.0))
            .map(|(id, _)| *id)
            .collect();
        for message in earlier {
            if let Some(draft) = self.messages.shift_remove(&message) {
                all.insert(message, draft);
            }
        }
        all.extend(new.into_iter().map(|message| (MessageId(message.doc.id), message)));
        if let Some(without) = without {
            all.shift_remove(&without);
        }
        let mut all: Vec<_> = all.into_values().collect();
        all.sort_by_key(|message| (message.doc.attributes.sent_at, message.doc.id));
        let conversation = self.conversation(id)?;
        rules::forget_messages(&mut conversation.doc, &mut conversation.state);
        for message in all {
            self.fold(id, message)?;
        }
        Ok(())
    }

    /// Adds a note that was created or changed.
    pub(crate) fn with_note(&mut self, note: Draft<NoteAttributes>) {
        self.notes.push(note);
    }

    /// Adds a message that was changed without any effect on its conversation.
    pub(crate) fn with_message(&mut self, message: Draft<MessageAttributes>) {
        self.messages.insert(MessageId(message.doc.id), message);
    }

    /// Leaves a conversation that moves away out of what remains.
    pub(crate) fn leave(&mut self, id: ConversationId) {
        self.left = Some(id);
    }

    /// What follows from the customer's conversations is worked out anew from those that remain.
    pub(crate) fn reassess_customer(&mut self) {
        self.reassess = true;
    }

    /// The change all of it amounts to.
    pub(crate) async fn finish(mut self, stamps: &mut Stamps) -> Result<(Changes, Finished), DomainError> {
        let customer_id = self.customer_id();
        let attributes = &mut self.customer.doc.attributes;
        for draft in self.conversations.values() {
            // A conversation that moved in was not this customer's before; one that moved out is not now.
            let belonged = |doc: &Conversation| doc.relationships.one("customer") == Some(customer_id.0);
            if let Some(before) = draft.before().filter(|before| draft.showed() && belonged(before)) {
                attributes.conversation_counts.add(before.attributes.status, -1);
            }
            if draft.shows() && belonged(&draft.doc) {
                attributes.conversation_counts.add(draft.doc.attributes.status, 1);
                if draft.is_changed() {
                    rules::follow_conversation(attributes, &draft.doc);
                }
            }
        }
        attributes.progressive_status = attributes.conversation_counts.progressive();
        if self.reassess {
            self.reassess_now(customer_id).await?;
        }

        let actor: Option<UserId> = self.author.user;
        let (domain, now) = (self.domain, self.now);
        let event = || domain.new_event_id(now);
        let mut finished = Finished::default();
        let changes = &mut self.changes;
        // Events tell the cause before what follows from it: message, conversation, customer.
        for (id, message) in self.messages {
            finished.messages.insert(id, message.finish(stamps.next(), actor, event, changes)?);
        }
        for note in self.notes {
            finished.notes.push(note.finish(stamps.next(), actor, event, changes)?);
        }
        for (id, conversation) in self.conversations {
            finished.conversations.insert(id, conversation.finish(stamps.next(), actor, event, changes)?);
        }
        finished.customer = Some(self.customer.finish(stamps.next(), actor, event, changes)?);
        Ok((self.changes, finished))
    }

    async fn reassess_now(&mut self, customer: CustomerId) -> Result<(), DomainError> {
        let mut remaining = rules::Remaining::default();
        for row in self.domain.every_row(self.org, Kind::Conversation, Scope::Customer(customer)).await? {
            let id = ConversationId(row.id);
            if !self.conversations.contains_key(&id) && self.left != Some(id) {
                remaining.see(Document::from_text(&row.doc)?);
            }
        }
        for draft in self.conversations.values() {
            if draft.shows() && draft.doc.relationships.one("customer") == Some(customer.0) {
                remaining.see(draft.doc.clone());
            }
        }
        let message = match remaining.newest_with_messages() {
            Some(id) => self.newest_message(id).await?,
            None => None,
        };
        remaining.settle(&mut self.customer.doc, message);
        Ok(())
    }

    /// The newest message of a conversation, as this change leaves it.
    async fn newest_message(&self, conversation: ConversationId) -> Result<Option<Message>, DomainError> {
        let id = match self.conversations.get(&conversation) {
            Some(draft) => draft.state.last_message,
            None => match self.domain.store.get(self.org, Kind::Conversation, conversation.0).await? {
                Some(row) => Draft::<ConversationAttributes>::read(row)?.state.last_message,
                None => None,
            },
        };
        let Some(id) = id else { return Ok(None) };
        if let Some(draft) = self.messages.get(&id) {
            return Ok(Some(draft.doc.clone()));
        }
        let row = self.domain.store.get(self.org, Kind::Message, id.0).await?;
        Ok(row.map(|row| Document::from_text(&row.doc)).transpose()?)
    }
}

impl Domain {
    /// Every row of a list, read a few hundred at a time.
    pub(crate) async fn every_row(&self, org: OrgId, kind: Kind, scope: Scope) -> Result<Vec<Row>, DomainError> {
        let list = List::of(kind, scope);
        let order = Order { field: Field::CreatedAt, descending: false };
        let mut start = Start::Offset(0);
        let mut all = Vec::new();
        loop {
            let rows = self.store.rows(org, &list, &Window { order, start, limit: READ_AT_ONCE }).await?;
            let read = rows.len();
            all.extend(rows);
            match all.last() {
                Some(last) if read == READ_AT_ONCE as usize => {
                    start = Start::After(konverse_model::Position { at: last.created_at, id: last.id });
                }
                _ => return Ok(all),
            }
        }
    }
}
