//! One customer's timeline being changed: the customer, the conversations concerned, new messages and notes.
//!
//! Use cases and imports load one, change it, and [`Timeline::finish`] turns it into a single `Changes`: whatever
//! follows for the customer from its conversations is worked out there, once.
//!
//! The customer is read first, or with what is read of the timeline in one statement, and so is the turn that stands for
//! everything of theirs. Whatever is read afterwards may be relied upon: if another writer changes any of it before the
//! commit, the turn has moved on and the change is computed again.

mod customer;
mod messages;
mod recount;
mod status;

use std::sync::{Mutex, PoisonError};

use indexmap::IndexMap;
use konverse_model::resource::{
    Conversation, ConversationAttributes, CustomerAttributes, Direction, Message, MessageAttributes, NoteAttributes,
    Status,
};
use konverse_model::{
    ConversationId, CustomerId, Document, FieldError, Id, Instant, Kind, MessageId, NoteId, OrgId, UserId,
};
use konverse_store::{Changes, Hide, Op, Row, Scope, Surroundings};
use tokio::sync::SemaphorePermit;

use crate::directory::{Author, References};
use crate::unit::{Draft, Stored, Tracked};
use crate::{Actor, Domain, DomainError};

pub(crate) use recount::{Reassessment, Refold, fold_order};
pub(crate) use status::{Cause, begin_done, change_status, move_restored_closing};

/// Messages that are read again at once while a long conversation is folded anew, and bytes of their texts.
const READ_AGAIN: usize = 500;
const BYTES_AGAIN: usize = 4 << 20;

/// How many of these messages, each with the bytes of its text, are read again at once.
pub(crate) fn again(messages: &[(Instant, Id, usize)]) -> usize {
    let mut bytes = 0;
    let fits = |(_, _, size): &&(Instant, Id, usize)| {
        bytes += size;
        bytes <= BYTES_AGAIN
    };
    messages.iter().take(READ_AGAIN).take_while(fits).count().max(1)
}

/// How far ahead of this clock a message may say it was sent, in milliseconds: clocks differ by as much.
const SKEW_MS: i64 = 5 * 60_000;

/// A moment a caller tells of, which cannot lie ahead: what a fast clock says is taken as now, what is further ahead is
/// wrong. Any past is history. A moment ahead would make all that follow come "earlier", and pin what a customer shows.
pub(crate) fn not_ahead(
    at: Option<Instant>,
    now: Instant,
    pointer: &str,
    errors: &mut Vec<FieldError>,
) -> Option<Instant> {
    let at = at?;
    if at > now.plus(SKEW_MS) {
        errors.push(FieldError::at(pointer, "must not lie in the future"));
    }
    Some(at.min(now))
}

/// The first characters of a text.
fn shorten(text: &str, characters: usize) -> String {
    match text.char_indices().nth(characters) {
        Some((end, _)) => text[..end].to_owned(),
        None => text.to_owned(),
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
    hides: Vec<Hide>,
    /// A conversation has left the customer or come back: what follows from all of them is worked out anew.
    reassess: bool,
    left: Option<ConversationId>,
    /// Held from where something long is looked through.
    looking_through: Option<SemaphorePermit<'a>>,
}

/// Whom and what the body of a new message or note names beside its content.
pub(crate) struct Named {
    pub(crate) customer: Option<CustomerId>,
    pub(crate) conversation: Option<ConversationId>,
    pub(crate) created_by: Option<UserId>,
    pub(crate) modified_by: Option<UserId>,
}

/// What a finished timeline leaves.
#[derive(Default)]
pub(crate) struct Finished {
    conversations: IndexMap<ConversationId, Stored<ConversationAttributes>>,
    messages: IndexMap<MessageId, Stored<MessageAttributes>>,
    notes: Vec<Stored<NoteAttributes>>,
}

impl Finished {
    pub(crate) fn conversation(mut self, id: ConversationId) -> Result<Stored<ConversationAttributes>, DomainError> {
        self.conversations.swap_remove(&id).ok_or_else(|| DomainError::internal("the conversation is missing"))
    }

    /// A message, if it was stored; once.
    pub(crate) fn take_message(&mut self, id: MessageId) -> Option<Stored<MessageAttributes>> {
        self.messages.swap_remove(&id)
    }

    pub(crate) fn message(mut self, id: MessageId) -> Result<Stored<MessageAttributes>, DomainError> {
        self.take_message(id).ok_or_else(|| DomainError::internal("the message is missing"))
    }

    pub(crate) fn note(mut self) -> Result<Stored<NoteAttributes>, DomainError> {
        self.notes.pop().ok_or_else(|| DomainError::internal("the note is missing"))
    }
}

/// What a use case is about.
#[derive(Clone, Copy)]
pub(crate) enum Anchor {
    Conversation(ConversationId),
    Message(MessageId),
    Note(NoteId),
}

impl Anchor {
    pub(crate) fn missing(self) -> DomainError {
        match self {
            Self::Conversation(id) => DomainError::NotFound(Kind::Conversation, id.to_string()),
            Self::Message(id) => DomainError::NotFound(Kind::Message, id.to_string()),
            Self::Note(id) => DomainError::NotFound(Kind::Note, id.to_string()),
        }
    }
}

/// What a use case is about, as one look found it, with the lock of the customer it was found with.
pub(crate) struct Held<L> {
    anchor: Anchor,
    /// Who acts.
    user: Option<UserId>,
    /// What was found, until the first attempt takes it. Others look anew.
    seen: Mutex<Option<Surroundings>>,
    _lock: L,
}

impl Domain {
    pub(crate) async fn surroundings(
        &self,
        org: OrgId,
        anchor: Anchor,
        user: Option<UserId>,
    ) -> Result<Surroundings, DomainError> {
        let (kind, id) = match anchor {
            Anchor::Conversation(id) => (Kind::Conversation, id.0),
            Anchor::Message(id) => (Kind::Message, id.0),
            Anchor::Note(id) => (Kind::Note, id.0),
        };
        self.store.surroundings(org, kind, id, user).await?.ok_or_else(|| anchor.missing())
    }

    /// Finds something and takes its customer's lock: what [`Timeline::around`] needs.
    pub(crate) async fn hold(&self, actor: &Actor, anchor: Anchor) -> Result<Held<impl Sized + use<'_>>, DomainError> {
        let seen = self.surroundings(actor.org, anchor, actor.user).await?;
        let customer = CustomerId(seen.customer.id);
        let (lock, waited) = match self.try_lock(actor.org, customer) {
            Some(lock) => (lock, false),
            None => (self.lock(actor.org, customer).await, true),
        };
        Ok(Held::new(anchor, actor, seen, waited, lock))
    }

    /// The same, with the lock of another customer as well.
    pub(crate) async fn hold_with(
        &self,
        actor: &Actor,
        anchor: Anchor,
        other: CustomerId,
    ) -> Result<Held<impl Sized + use<'_>>, DomainError> {
        let seen = self.surroundings(actor.org, anchor, actor.user).await?;
        let locks = self.lock_both(actor.org, CustomerId(seen.customer.id), other).await;
        Ok(Held::new(anchor, actor, seen, true, locks))
    }
}

impl<L> Held<L> {
    /// Whoever waited for the lock waited for a change of what was seen, nearly always, and looks again.
    fn new(anchor: Anchor, actor: &Actor, seen: Surroundings, waited: bool, lock: L) -> Self {
        let seen = Mutex::new(Some(seen).filter(|_| !waited));
        Self { anchor, user: actor.user, seen, _lock: lock }
    }

    async fn look(&self, domain: &Domain, org: OrgId) -> Result<Surroundings, DomainError> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner).take();
        match seen {
            Some(seen) => Ok(seen),
            None => domain.surroundings(org, self.anchor, self.user).await,
        }
    }
}

impl<'a> Timeline<'a> {
    pub(crate) fn new(domain: &'a Domain, org: OrgId, author: Author, customer: Draft<CustomerAttributes>) -> Self {
        let now = domain.now();
        Self {
            domain,
            org,
            author,
            now,
            changes: Changes::new(org, now),
            customer,
            conversations: IndexMap::new(),
            messages: IndexMap::new(),
            notes: Vec::new(),
            hides: Vec::new(),
            reassess: false,
            left: None,
            looking_through: None,
        }
    }

    /// Waits until few others look through something long, too: each holds a few megabytes and keeps a processor busy.
    async fn look_through(&mut self) -> Result<(), DomainError> {
        if self.looking_through.is_none() {
            self.looking_through = Some(self.domain.look_through().await?);
        }
        Ok(())
    }

    /// The timeline of a stored customer who shows.
    pub(crate) async fn load(
        domain: &'a Domain,
        org: OrgId,
        author: Author,
        customer: CustomerId,
    ) -> Result<Self, DomainError> {
        let customer = Draft::read(domain.row(org, Kind::Customer, customer.0).await?)?;
        Ok(Self::new(domain, org, author, customer))
    }

    /// The timeline something lies in, with its conversation, and the row itself where it is a message or a note; hidden
    /// ones too.
    pub(crate) async fn around<L>(
        domain: &'a Domain,
        actor: &Actor,
        references: &mut References,
        held: &Held<L>,
    ) -> Result<(Self, Option<Row>), DomainError> {
        let seen = held.look(domain, actor.org).await?;
        Self::of(domain, actor, references, held.anchor, seen).await
    }

    /// The same, of what was seen.
    pub(crate) async fn of(
        domain: &'a Domain,
        actor: &Actor,
        references: &mut References,
        anchor: Anchor,
        seen: Surroundings,
    ) -> Result<(Self, Option<Row>), DomainError> {
        if !seen.customer.shows() {
            return Err(anchor.missing());
        }
        if let Some(user) = actor.user {
            references.know_teams(user, seen.teams);
        }
        let author = domain.author(actor, references).await?;
        let mut timeline = Self::new(domain, actor.org, author, Draft::read(seen.customer)?);
        timeline.with_conversation(seen.conversation)?;
        Ok((timeline, seen.entry))
    }

    pub(crate) fn customer_id(&self) -> CustomerId {
        CustomerId(self.customer.doc.id)
    }

    /// Adds a conversation as it was read, after the customer was.
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

    /// Adds another conversation of this customer, named by a body.
    pub(crate) async fn also_conversation(&mut self, id: ConversationId) -> Result<(), DomainError> {
        if self.conversations.contains_key(&id) {
            return Ok(());
        }
        let customer = self.customer_id();
        let row = self.domain.store.get(self.org, Kind::Conversation, id.0).await?.filter(Row::shows);
        let row = row.filter(|row| row.customer == Some(customer)).ok_or_else(|| {
            DomainError::invalid("/conversation", format!("is no conversation of customer {customer}"))
        })?;
        self.with_conversation(row).map(drop)
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
            change_status(&mut conversation.doc, &mut conversation.state, Status::Open, Cause::Request, &author, now);
        }
        let in_order =
            new.first().is_none_or(|first| messages::follows(&conversation.doc, &conversation.state, &first.doc));
        if in_order {
            for message in new {
                self.fold(id, message)?;
            }
        } else {
            self.refold(id, new, None).await?;
        }
        let conversation = self.conversation(id)?;
        if history {
            move_restored_closing(&mut conversation.doc, &conversation.state);
        } else {
            // Its life here has begun: later history does not move what happens now.
            conversation.state.restored_done = false;
        }
        Ok(())
    }

    /// Folds the next message into its conversation. One that is stored and comes out unchanged is not kept.
    fn fold(&mut self, id: ConversationId, mut message: Draft<MessageAttributes>) -> Result<(), DomainError> {
        let conversation =
            self.conversations.get_mut(&id).ok_or_else(|| DomainError::internal("a conversation was not loaded"))?;
        messages::fold_message(&mut conversation.doc, &mut conversation.state, &mut message.doc);
        customer::customer_heard(&mut self.customer.doc.attributes, &conversation.doc, &message.doc);
        if message.is_changed() {
            self.messages.insert(MessageId(message.doc.id), message);
        }
        Ok(())
    }

    /// Folds all messages of a conversation anew: with `new` ones that come before others (or changed ones), without
    /// one that leaves. Costs as much time as the conversation is long; only messages out of order pay it. Of a long
    /// conversation only times and ids are held, and the messages that come out changed.
    pub(crate) async fn refold(
        &mut self,
        id: ConversationId,
        new: Vec<Draft<MessageAttributes>>,
        without: Option<MessageId>,
    ) -> Result<(), DomainError> {
        // Those of this change, instead of what is stored of them.
        let mut drafts: IndexMap<MessageId, Draft<MessageAttributes>> = IndexMap::new();
        let earlier: Vec<_> = self
            .messages
            .iter()
            .filter(|(_, message)| message.doc.relationships.one("conversation") == Some(id.0))
            .map(|(id, _)| *id)
            .collect();
        for message in earlier {
            if let Some(draft) = self.messages.swap_remove(&message) {
                drafts.insert(message, draft);
            }
        }
        drafts.extend(new.into_iter().map(|message| (MessageId(message.doc.id), message)));
        let mut order: Vec<(Instant, Id, usize)> =
            drafts.values().map(|message| (message.doc.attributes.sent_at, message.doc.id, 0)).collect();
        let mut pages = self.domain.pages(self.org, Kind::Message, Scope::Conversation(id));
        let mut held: IndexMap<MessageId, Draft<MessageAttributes>> = IndexMap::new();
        while let Some(rows) = pages.next().await? {
            if pages.goes_on() {
                self.look_through().await?;
            }
            held.clear();
            for row in rows {
                let message = MessageId(row.id);
                if without == Some(message) || drafts.contains_key(&message) {
                    continue;
                }
                let size = row.doc.len();
                let draft = Draft::<MessageAttributes>::read(row)?;
                order.push((draft.doc.attributes.sent_at, message.0, size));
                if !pages.goes_on() {
                    held.insert(message, draft);
                }
            }
        }
        if order.len() > held.len() + drafts.len() {
            // More than a page: they are read again, in the order they were sent.
            held.clear();
        }
        order.sort_unstable();
        let conversation = self.conversation(id)?;
        messages::forget_messages(&mut conversation.doc, &mut conversation.state);
        let mut rest = &*order;
        while !rest.is_empty() {
            let (part, later) = rest.split_at(again(rest));
            rest = later;
            let wanted: Vec<Id> = part
                .iter()
                .map(|(_, id, _)| *id)
                .filter(|id| !drafts.contains_key(&MessageId(*id)) && !held.contains_key(&MessageId(*id)))
                .collect();
            for row in self.domain.store.get_many(self.org, Kind::Message, &wanted).await? {
                held.insert(MessageId(row.id), Draft::read(row)?);
            }
            for (_, message, _) in part {
                let message = MessageId(*message);
                let draft = drafts.swap_remove(&message).or_else(|| held.swap_remove(&message));
                // Gone meanwhile: the turn has moved and this is computed again.
                if let Some(draft) = draft {
                    self.fold(id, draft)?;
                }
            }
        }
        Ok(())
    }

    /// Stores a message or note of this timeline as it is now, which nothing else of this change looks at. It is held as
    /// the texts that are written, a fraction of the draft.
    pub(crate) fn rewrite<A: Tracked>(&mut self, draft: Draft<A>) -> Result<(), DomainError> {
        draft.finish(self.author.user, &mut self.changes).map(drop)
    }

    /// Adds a note that was created or changed.
    pub(crate) fn with_note(&mut self, note: Draft<NoteAttributes>) {
        self.notes.push(note);
    }

    /// Adds a message that was changed without any effect on its conversation.
    pub(crate) fn with_message(&mut self, message: Draft<MessageAttributes>) {
        self.messages.insert(MessageId(message.doc.id), message);
    }

    /// Hides or shows what belongs to something of this timeline.
    pub(crate) fn hide(&mut self, hide: Hide) {
        self.hides.push(hide);
    }

    /// Leaves a conversation that moves away out of what remains, and out of the counts.
    pub(crate) fn leave(&mut self, conversation: &Conversation) {
        self.left = Some(conversation.conversation_id());
        self.customer.doc.attributes.conversation_counts.add(conversation.attributes.status, -1);
        self.reassess_if_shown(conversation);
    }

    /// What follows from the customer's conversations is worked out anew, if this one has a part in what they show.
    pub(crate) fn reassess_if_shown(&mut self, conversation: &Conversation) {
        self.reassess |= customer::shows_in(&self.customer.doc.attributes, conversation);
    }

    /// What follows from the customer's conversations is worked out anew.
    pub(crate) fn reassess(&mut self) {
        self.reassess = true;
    }

    /// The change all of it amounts to.
    pub(crate) async fn finish(mut self) -> Result<(Changes, Finished), DomainError> {
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
                    customer::follow_conversation(attributes, &draft.doc);
                }
            }
        }
        attributes.progressive_status = attributes.conversation_counts.progressive();
        if self.reassess {
            self.reassess_now(customer_id).await?;
        }

        let actor: Option<UserId> = self.author.user;
        let mut finished = Finished::default();
        let changes = &mut self.changes;
        // Events tell the cause before what follows from it: message, conversation, customer.
        for (id, message) in self.messages {
            finished.messages.insert(id, message.finish(actor, changes)?);
        }
        for note in self.notes {
            finished.notes.push(note.finish(actor, changes)?);
        }
        for (id, conversation) in self.conversations {
            finished.conversations.insert(id, conversation.finish(actor, changes)?);
        }
        changes.ops.extend(self.hides.into_iter().map(|hide| Op::Hide(hide, actor)));
        if self.customer.is_changed() {
            self.customer.finish(actor, changes)?;
        } else if !changes.ops.is_empty() {
            changes.ops.extend(self.customer.guard());
        }
        Ok((self.changes, finished))
    }

    async fn reassess_now(&mut self, of: CustomerId) -> Result<(), DomainError> {
        let mut remaining = customer::Remaining::default();
        let mut pages = self.domain.pages(self.org, Kind::Conversation, Scope::Customer(of));
        while let Some(rows) = pages.next().await? {
            if pages.goes_on() {
                self.look_through().await?;
            }
            for row in rows {
                let id = ConversationId(row.id);
                if !self.conversations.contains_key(&id) && self.left != Some(id) {
                    remaining.see(Document::from_text(&row.doc)?);
                }
            }
        }
        for draft in self.conversations.values() {
            if draft.shows() && draft.doc.relationships.one("customer") == Some(of.0) {
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
