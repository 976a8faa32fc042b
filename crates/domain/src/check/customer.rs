//! A customer with all that is theirs.

use std::collections::{HashMap, VecDeque};

use konverse_model::resource::{
    Conversation, ConversationAttributes, CustomerAttributes, Message, MessageAttributes, NoteAttributes,
};
use konverse_model::{ConversationId, CustomerId, Document, Id, Instant, Kind, MessageId, OrgId, Position};
use konverse_store::{Found, Hidden, Op, Part, Put, Row, StoreError, Walk};

use super::directory::names_of_record;
use super::notes::{Level, Notes, Place, doubt, look};
use super::report::{Difference, differences};
use super::told::{Own, Told};
use super::{AT_ONCE, alone, unreadable};
use crate::customers::{name_customer, names_of};
use crate::timeline::{Reassessment, Refold, again, fold_order};
use crate::unit::Draft;
use crate::unit::READ_BYTES;
use crate::{Domain, DomainError};

/// Conversations whose messages and notes are asked for at once, and how many of each come with the first answer.
const ABREAST: usize = 25;
const FIRST: u32 = 30;

/// Messages of a conversation that are held until all of it is read, and bytes of their texts; of longer ones only times,
/// ids and sizes are.
const HELD: usize = 500;
const HELD_BYTES: usize = 2 << 20;

/// How a conversation is hidden, given its customer and whether it was deleted itself.
fn conversation_in(customer: Hidden, stored: Hidden, own: Own) -> Hidden {
    match (customer, stored) {
        (_, Hidden::Deleted) if own != Own::Known(false) => Hidden::Deleted,
        (Hidden::No, _) if own == Own::Known(true) => Hidden::Deleted,
        (Hidden::No, _) => Hidden::No,
        _ => Hidden::WithCustomer,
    }
}

/// How a message or a note is hidden, given its conversation and whether it was deleted itself.
fn entry_in(conversation: Hidden, stored: Hidden, own: Own) -> Hidden {
    match (conversation, stored) {
        (_, Hidden::Deleted) if own != Own::Known(false) => Hidden::Deleted,
        (Hidden::No, _) if own == Own::Known(true) => Hidden::Deleted,
        (Hidden::No, _) => Hidden::No,
        (Hidden::Deleted | Hidden::WithConversation, _) => Hidden::WithConversation,
        (Hidden::WithCustomer, _) => Hidden::WithCustomer,
    }
}

/// The messages of a conversation as they were read.
#[derive(Default)]
struct Messages {
    /// When each was sent, and the bytes of its text.
    keys: Vec<(Instant, Id, usize)>,
    bytes: usize,
    held: Vec<Draft<MessageAttributes>>,
    /// All of them could be read.
    whole: bool,
}

/// Whose conversations are looked at.
#[derive(Clone, Copy)]
struct Holder {
    customer: CustomerId,
    /// As they should be hidden.
    hidden: Hidden,
    /// Only their column says so.
    is_doubtful: bool,
}

/// A conversation that is being looked at.
struct Looked {
    id: ConversationId,
    customer: CustomerId,
    /// As it should be hidden.
    hidden: Hidden,
    /// Only its column, or its customer's, says that it is deleted: what is in it is left as it is.
    is_doubtful: bool,
    /// Something in it shows all the same.
    is_contradicted: bool,
    draft: Option<Draft<ConversationAttributes>>,
}

impl Domain {
    /// Looks at a customer and all that is theirs.
    pub(super) async fn look_at_customer(
        &self,
        org: OrgId,
        row: &Row,
        told: &Told,
        notes: &mut Notes,
    ) -> Result<(), DomainError> {
        let own = self.was_deleted(org, told, row).await?;
        let (id, hidden) = (CustomerId(row.id), alone(row.hidden, own));
        let holder = Holder { customer: id, hidden, is_doubtful: own.is_doubtful() };
        let mut is_contradicted = own == Own::Unsaid;
        let place = Place { org, customer: None, conversation: None, hidden };
        notes.checked.seen(Kind::Customer.name(), 1);
        let draft = look::<CustomerAttributes>(notes, row.clone(), &place)?;
        let mut whole = draft.is_some();
        let mut reassessment = draft.as_ref().map(|draft| Reassessment::begin(&draft.doc.attributes));
        let mut corrected: HashMap<ConversationId, Option<MessageId>> = HashMap::new();
        let mut walks: Vec<(Walk, Option<Position>)> =
            Hidden::ALL.map(|hidden| (Walk::Conversations(id, hidden), None)).into();
        walks.push((Walk::Misplaced(id), None));
        while !walks.is_empty() {
            let parts = self.store.walk(org, &walks, AT_ONCE, READ_BYTES).await?;
            let mut rows = Vec::new();
            let mut further = Vec::new();
            for ((walk, _), part) in walks.iter().zip(parts) {
                further.extend(part.next.map(|next| (*walk, Some(next))));
                for found in part.rows {
                    match found {
                        Found::Row(row) => rows.push(*row),
                        Found::Unreadable(id, why) => {
                            whole = false;
                            note_unreadable(notes, Kind::Conversation, id, &why);
                        }
                    }
                }
            }
            walks = further;
            let mut rows: VecDeque<Row> = rows.into();
            while !rows.is_empty() {
                let some: Vec<Row> = rows.drain(..rows.len().min(ABREAST)).collect();
                for seen in self.look_at_conversations(org, holder, some, told, notes).await? {
                    is_contradicted |= own.is_doubtful() && seen.as_ref().is_some_and(|seen| seen.shows);
                    match (seen, &mut reassessment) {
                        (Some(seen), Some(all)) if seen.shows => {
                            corrected.extend(seen.corrected.map(|last| (seen.doc.conversation_id(), last)));
                            all.see(seen.doc);
                        }
                        (Some(_), _) => {}
                        (None, _) => whole = false,
                    }
                }
            }
        }
        if own.is_doubtful() {
            let holds = self.store.names(org, Kind::Customer, &[id.0]).await?.pop().unwrap_or_default();
            if is_contradicted || !holds.is_empty() {
                doubt(notes, Kind::Customer, id.0);
            }
            return Ok(());
        }
        let Some(draft) = draft else { return Ok(()) };
        if let (true, Hidden::No, Some(reassessment)) = (whole, hidden, reassessment) {
            self.compare_customer(org, &draft, reassessment, &corrected, notes).await?;
        }
        self.compare_names(org, &draft, hidden, notes).await
    }

    /// What follows from a customer's conversations.
    async fn compare_customer(
        &self,
        org: OrgId,
        draft: &Draft<CustomerAttributes>,
        reassessment: Reassessment,
        corrected: &HashMap<ConversationId, Option<MessageId>>,
        notes: &mut Notes,
    ) -> Result<(), DomainError> {
        let newest = match reassessment.last_with_messages() {
            Some(conversation) => self.newest_message_of(org, conversation, corrected).await?,
            None => None,
        };
        let mut expected = reassessment.settle(&draft.doc, newest);
        name_customer(&mut expected);
        let found = differences(&draft.doc.attributes, &expected.attributes);
        let mut mended = draft.clone();
        mended.doc = expected;
        notes.differ(Kind::Customer.name(), draft.doc.id, found, Level::Customer, |changes| {
            mended.finish(None, changes).map(drop)
        })
    }

    async fn newest_message_of(
        &self,
        org: OrgId,
        conversation: ConversationId,
        corrected: &HashMap<ConversationId, Option<MessageId>>,
    ) -> Result<Option<Message>, DomainError> {
        let last = match corrected.get(&conversation) {
            Some(last) => *last,
            None => {
                let row = self.store.get(org, Kind::Conversation, conversation.0).await?;
                let draft = row.and_then(|row| Draft::<ConversationAttributes>::read(row).ok());
                draft.and_then(|draft| draft.state.last_message)
            }
        };
        let Some(id) = last else { return Ok(None) };
        let row = self.store.get(org, Kind::Message, id.0).await?;
        Ok(row.and_then(|row| Document::from_text(&row.doc).ok()))
    }

    /// The names the customer holds: those in the text, none once they are deleted.
    async fn compare_names(
        &self,
        org: OrgId,
        draft: &Draft<CustomerAttributes>,
        hidden: Hidden,
        notes: &mut Notes,
    ) -> Result<(), DomainError> {
        let id = draft.doc.id;
        let expected: Vec<_> = if hidden == Hidden::No { names_of(&draft.doc).collect() } else { Vec::new() };
        self.compare_held(org, Kind::Customer, id, expected, notes).await
    }

    pub(super) async fn compare_held(
        &self,
        org: OrgId,
        kind: Kind,
        id: Id,
        expected: Vec<(konverse_store::Space, String)>,
        notes: &mut Notes,
    ) -> Result<(), DomainError> {
        let held = self.store.names(org, kind, &[id]).await?.pop().unwrap_or_default();
        notes.checked.seen("name", expected.len() as u64);
        let is_held = |stored: &str, wanted: &str, space: konverse_store::Space| {
            vec![Difference(format!("a name ({})", space.name()), stored.to_owned(), wanted.to_owned())]
        };
        for (space, value) in held.iter().filter(|name| !expected.contains(*name)) {
            notes.differ(kind.name(), id, is_held("held", "free", *space), Level::Beside, |changes| {
                changes.release(*space, value.clone(), id);
                Ok(())
            })?;
        }
        let missing: Vec<_> = expected.into_iter().filter(|name| !held.contains(name)).collect();
        let holders = if missing.is_empty() { Vec::new() } else { self.store.holders(org, &missing).await? };
        for ((space, value), holder) in missing.into_iter().zip(holders) {
            match holder.filter(|holder| *holder != id) {
                Some(other) => {
                    let found =
                        Difference(format!("a name ({})", space.name()), format!("held by {other}"), "held".into());
                    let row = match self.store.get(org, kind, other).await {
                        Err(StoreError::Corrupt(_)) => {
                            notes.beyond(kind.name(), id, found, "who holds it cannot be read");
                            continue;
                        }
                        row => row?,
                    };
                    if row.as_ref().is_some_and(|row| claims(row, &(space, value.clone()))) {
                        notes.beyond(kind.name(), id, found, "both say it is theirs: take it away from one of the two");
                        continue;
                    }
                    notes.differ(kind.name(), id, vec![found], Level::Beside, |changes| {
                        changes.release(space, value.clone(), other);
                        changes.claim(space, value, id);
                        // The other one must not have been given it meanwhile.
                        changes.ops.extend(row.and_then(unchanged));
                        Ok(())
                    })?;
                }
                None => notes.differ(kind.name(), id, is_held("free", "held", space), Level::Beside, |changes| {
                    changes.claim(space, value, id);
                    Ok(())
                })?,
            }
        }
        Ok(())
    }

    /// Looks at some conversations with their messages and notes. Gives each as it should be; none of one that cannot be
    /// read.
    async fn look_at_conversations(
        &self,
        org: OrgId,
        holder: Holder,
        rows: Vec<Row>,
        told: &Told,
        notes: &mut Notes,
    ) -> Result<Vec<Option<Seen>>, DomainError> {
        let walks: Vec<_> = rows
            .iter()
            .flat_map(|row| [Kind::Message, Kind::Note].map(|kind| (Walk::Entries(kind, ConversationId(row.id)), None)))
            .collect();
        let mut parts = self.store.walk(org, &walks, FIRST, READ_BYTES).await?.into_iter();
        let mut seen = Vec::with_capacity(rows.len());
        for row in rows {
            let (messages, of_notes) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
            let own = self.was_deleted(org, told, &row).await?;
            seen.push(self.look_at_conversation(org, holder, (row, own), [messages, of_notes], told, notes).await?);
        }
        Ok(seen)
    }

    async fn look_at_conversation(
        &self,
        org: OrgId,
        holder: Holder,
        (row, own): (Row, Own),
        [messages, of_notes]: [Part; 2],
        told: &Told,
        notes: &mut Notes,
    ) -> Result<Option<Seen>, DomainError> {
        notes.checked.seen(Kind::Conversation.name(), 1);
        let (id, customer) = (ConversationId(row.id), holder.customer);
        let hidden = if holder.is_doubtful { row.hidden } else { conversation_in(holder.hidden, row.hidden, own) };
        let place = Place { org, customer: Some(customer), conversation: None, hidden };
        let lacks_state = row.state.is_none();
        let draft = look::<ConversationAttributes>(notes, row, &place)?;
        let is_doubtful = holder.is_doubtful || own.is_doubtful();
        let mut looked = Looked { id, customer, hidden, is_doubtful, is_contradicted: own == Own::Unsaid, draft };
        let messages = self.look_at_messages(org, &mut looked, messages, notes).await?;
        let of_notes = self.look_at_notes(org, &mut looked, of_notes, told, notes).await?;
        if own.is_doubtful() && looked.is_contradicted {
            doubt(notes, Kind::Conversation, id.0);
            // Nor is it known what follows for the customer.
            return Ok(None);
        }
        let Some(draft) = looked.draft else { return Ok(None) };
        let shows = hidden == Hidden::No;
        let (true, Some((count, newest))) = (messages.whole, of_notes) else {
            // What follows from a message nobody can read cannot be told.
            return Ok(Some(Seen { doc: draft.doc, shows, corrected: None }));
        };
        let mut state = draft.state.clone();
        // Whether the name was given was kept there alone; a given one must not be lost.
        state.name_given |= lacks_state && !draft.doc.attributes.name.is_empty();
        let mut refold = Refold::begin(&draft.doc, &state);
        self.fold_all(org, messages, &mut refold, notes).await?;
        refold.with_notes(count, newest);
        let mut found = differences(&draft.doc.attributes, &refold.doc.attributes);
        if draft.state != refold.state {
            found.push(Difference(
                "what is kept beside its text".into(),
                "not what".into(),
                "what its messages say".into(),
            ));
        }
        let doc = refold.doc.clone();
        let corrected = (draft.state.last_message != refold.state.last_message).then_some(refold.state.last_message);
        let mut mended = draft;
        (mended.doc, mended.state) = (refold.doc, refold.state);
        notes.differ(Kind::Conversation.name(), id.0, found, Level::Conversations, |changes| {
            mended.finish(None, changes).map(drop)
        })?;
        Ok(Some(Seen { doc, shows, corrected }))
    }

    async fn look_at_messages(
        &self,
        org: OrgId,
        of: &mut Looked,
        mut part: Part,
        notes: &mut Notes,
    ) -> Result<Messages, DomainError> {
        let mut all = Messages { whole: true, ..Messages::default() };
        loop {
            notes.checked.seen(Kind::Message.name(), part.rows.len() as u64);
            for found in part.rows {
                let (draft, size) = match found {
                    Found::Row(row) => {
                        // A message is never deleted by itself.
                        let (place, size) = (of.place(org, &row, Own::Known(false)), row.doc.len());
                        (look::<MessageAttributes>(notes, *row, &place)?, size)
                    }
                    Found::Unreadable(id, why) => {
                        note_unreadable(notes, Kind::Message, id, &why);
                        (None, 0)
                    }
                };
                let Some(draft) = draft else {
                    all.whole = false;
                    continue;
                };
                let (sent_at, id) = fold_order(&draft.doc);
                all.keys.push((sent_at, id, size));
                all.bytes += size;
                if all.keys.len() <= HELD && all.bytes <= HELD_BYTES {
                    all.held.push(draft);
                } else {
                    all.held.clear();
                }
            }
            let Some(next) = part.next else { return Ok(all) };
            part = self.walk(org, Walk::Entries(Kind::Message, of.id), Some(next)).await?;
        }
    }

    /// How many notes there are, and when the newest was made; none when one cannot be read.
    async fn look_at_notes(
        &self,
        org: OrgId,
        of: &mut Looked,
        mut part: Part,
        told: &Told,
        notes: &mut Notes,
    ) -> Result<Option<(u64, Option<Instant>)>, DomainError> {
        let (mut count, mut newest, mut whole) = (0, None, true);
        loop {
            notes.checked.seen(Kind::Note.name(), part.rows.len() as u64);
            for found in part.rows {
                match found {
                    Found::Row(row) => {
                        let own = self.was_deleted(org, told, &row).await?;
                        if own == Own::Unsaid {
                            doubt(notes, Kind::Note, row.id);
                        }
                        let place = of.place(org, &row, own);
                        if place.hidden != Hidden::Deleted {
                            count += 1;
                            newest = newest.max(Some(row.created_at));
                        }
                        look::<NoteAttributes>(notes, *row, &place)?;
                    }
                    Found::Unreadable(id, why) => {
                        whole = false;
                        note_unreadable(notes, Kind::Note, id, &why);
                    }
                }
            }
            let Some(next) = part.next else { return Ok(whole.then_some((count, newest))) };
            part = self.walk(org, Walk::Entries(Kind::Note, of.id), Some(next)).await?;
        }
    }

    /// Folds all messages in the order they were sent, and notes those of which something follows that they do not say.
    async fn fold_all(
        &self,
        org: OrgId,
        Messages { mut keys, held, .. }: Messages,
        refold: &mut Refold,
        notes: &mut Notes,
    ) -> Result<(), DomainError> {
        keys.sort_unstable();
        let mut held: HashMap<Id, Draft<MessageAttributes>> =
            held.into_iter().map(|message| (message.doc.id, message)).collect();
        let mut rest = &*keys;
        while !rest.is_empty() {
            let (part, later) = rest.split_at(again(rest));
            rest = later;
            let wanted: Vec<Id> = part.iter().map(|(_, id, _)| *id).filter(|id| !held.contains_key(id)).collect();
            for row in self.store.get_many(org, Kind::Message, &wanted).await? {
                held.insert(row.id, Draft::read(row)?);
            }
            for (_, id, _) in part {
                let Some(message) = held.remove(id) else { continue };
                let mut folded = message.clone();
                refold.fold(&mut folded.doc);
                if folded.doc != message.doc {
                    let found = differences(&message.doc.attributes, &folded.doc.attributes);
                    notes.differ(Kind::Message.name(), *id, found, Level::Conversations, |changes| {
                        folded.finish(None, changes).map(drop)
                    })?;
                }
            }
        }
        Ok(())
    }
}

/// A conversation as it should be, and whether it should show.
struct Seen {
    doc: Conversation,
    shows: bool,
    /// Its newest message, if it is another than stored.
    corrected: Option<Option<MessageId>>,
}

impl Looked {
    /// Where a message or note of it lies. One that was deleted stays with the customer the conversation had then.
    fn place(&mut self, org: OrgId, row: &Row, own: Own) -> Place {
        self.is_contradicted |= self.hidden != Hidden::No && row.shows();
        let hidden = if self.is_doubtful { row.hidden } else { entry_in(self.hidden, row.hidden, own) };
        let customer = if hidden == Hidden::Deleted { row.customer } else { Some(self.customer) };
        Place { org, customer, conversation: Some(self.id.0), hidden }
    }
}

/// Whether a record says that a name is its own. One that cannot be read may.
fn claims(row: &Row, name: &(konverse_store::Space, String)) -> bool {
    if !row.shows() {
        return false;
    }
    match row.kind {
        Kind::Customer => Draft::<CustomerAttributes>::read(row.clone())
            .map_or(true, |draft| names_of(&draft.doc).any(|said| said == *name)),
        _ => names_of_record(row).is_none_or(|said| said.contains(name)),
    }
}

/// What fails once a record has changed. Nothing is written to customers that are hidden.
fn unchanged(row: Row) -> Option<Op> {
    match row.kind {
        Kind::Customer => row.shows().then_some(Op::Guard(CustomerId(row.id), row.turn)),
        _ => Some(Op::Put(Put { was: Some(Box::new(row.clone())), now: row, stamp_at: None, event: None })),
    }
}

fn note_unreadable(notes: &mut Notes, kind: Kind, id: Option<Id>, why: &str) {
    let finding = unreadable(kind, id, why);
    let found = Difference(finding.what, finding.stored, finding.expected);
    notes.beyond(kind.name(), finding.id, found, "nothing else has what stood there");
}
