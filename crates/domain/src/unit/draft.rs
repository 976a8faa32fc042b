//! A record being changed: as it was read, and as it shall be.

use konverse_model::resource::{
    BrandAttributes, CompanyAttributes, ConversationAttributes, ConversationState, CustomerAttributes,
    MessageAttributes, MetadataAttributes, NoteAttributes, QueueAttributes, RoleGroupAttributes, SavedSearchAttributes,
    ShortcutAttributes, SlaAttributes, SlaVersionAttributes, TagAttributes, TeamAttributes, TokenAttributes,
    UserAttributes,
};
use konverse_model::{Attributes, CustomerId, Document, Id, Instant, Kind, RENDERER, Rel, Rendered, UserId};
use konverse_store::{Applied, Changes, Hidden, NewEvent, Op, Put, Row, Verb};

use super::events;
use crate::DomainError;

/// Attributes whose revision and instants the server keeps.
pub trait Tracked: Attributes + PartialEq {
    /// What is kept beside the text.
    type State: Default + Clone + PartialEq + Send + Sync + serde::Serialize + serde::de::DeserializeOwned;

    fn created_at(&self) -> Instant;
    fn updated_at(&mut self) -> &mut Instant;
    fn modified_at(&mut self) -> Option<&mut Instant>;
    /// The revision, where the kind shows one.
    fn rev(&mut self) -> Option<&mut i64>;
    fn external_id(&self) -> Option<&String>;
    fn wake_at(&self) -> Option<Instant>;
    fn label(&self) -> Option<String>;
}

/// Nothing beside the text.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct NoState {}

macro_rules! tracked {
    ($($attributes:ident: $state:ty, $modified_at:expr, $rev:expr, $external_id:expr, $wake_at:expr, $label:expr;)*) => {$(
        impl Tracked for $attributes {
            type State = $state;

            fn created_at(&self) -> Instant {
                self.created_at
            }

            fn updated_at(&mut self) -> &mut Instant {
                &mut self.updated_at
            }

            fn modified_at(&mut self) -> Option<&mut Instant> {
                let modified_at: fn(&mut Self) -> Option<&mut Instant> = $modified_at;
                modified_at(self)
            }

            fn rev(&mut self) -> Option<&mut i64> {
                let rev: fn(&mut Self) -> Option<&mut i64> = $rev;
                rev(self)
            }

            fn external_id(&self) -> Option<&String> {
                let external_id: fn(&Self) -> Option<&String> = $external_id;
                external_id(self)
            }

            fn wake_at(&self) -> Option<Instant> {
                let wake_at: fn(&Self) -> Option<Instant> = $wake_at;
                wake_at(self)
            }

            fn label(&self) -> Option<String> {
                let label: fn(&Self) -> Option<String> = $label;
                label(self)
            }
        }
    )*};
}

tracked! {
    // A customer has several external ids, a team one that is compared otherwise; they are claimed as names.
    CustomerAttributes: NoState, |a| Some(&mut a.modified_at), |a| Some(&mut a.rev), |_| None, |_| None, |_| None;
    ConversationAttributes: ConversationState, |a| Some(&mut a.modified_at), |a| Some(&mut a.rev),
        |a| a.external_id.as_ref(), ConversationAttributes::wakes_at, |_| None;
    MessageAttributes: NoState, |a| Some(&mut a.modified_at), |a| Some(&mut a.rev), |a| a.external_id.as_ref(),
        |_| None, |_| None;
    NoteAttributes: NoState, |a| Some(&mut a.modified_at), |a| Some(&mut a.rev), |a| a.external_id.as_ref(),
        |_| None, |_| None;
    UserAttributes: NoState, |a| Some(&mut a.modified_at), |_| None, |_| None, |_| None,
        |a| Some(a.label().to_owned());
    TeamAttributes: NoState, |a| Some(&mut a.modified_at), |_| None, |_| None, |_| None, |_| None;
    MetadataAttributes: NoState, |a| Some(&mut a.modified_at), |_| None, |_| None, |_| None, |_| None;
    TagAttributes: NoState, |a| Some(&mut a.modified_at), |_| None, |_| None, |_| None, |_| None;
    // Several companies may have one name; their external id is claimed as a name.
    CompanyAttributes: NoState, |a| Some(&mut a.modified_at), |a| Some(&mut a.rev), |_| None, |_| None,
        |a| Some(a.name.to_lowercase());
    ShortcutAttributes: NoState, |a| Some(&mut a.modified_at), |a| Some(&mut a.rev), |_| None, |_| None, |_| None;
    BrandAttributes: NoState, |a| Some(&mut a.modified_at), |_| None, |_| None, |_| None, |_| None;
    SlaAttributes: NoState, |_| None, |_| None, |_| None, |_| None, |_| None;
    SlaVersionAttributes: NoState, |_| None, |_| None, |_| None, |_| None, |_| None;
    QueueAttributes: NoState, |a| Some(&mut a.modified_at), |_| None, |_| None, |_| None, |_| None;
    SavedSearchAttributes: NoState, |a| Some(&mut a.modified_at), |_| None, |_| None, |_| None, |_| None;
    RoleGroupAttributes: NoState, |_| None, |_| None, |_| None, |_| None, |_| None;
    TokenAttributes: NoState, |_| None, |_| None, |_| None, |_| None, |_| None;
}

/// What a body tells of the edit it is: when and by whom.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Told {
    pub(crate) at: Option<Instant>,
    pub(crate) by: Option<UserId>,
}

impl Told {
    /// Only an administrator's word on it counts.
    pub(crate) fn of_admin(self, admin: bool) -> Self {
        if admin { self } else { Self::default() }
    }
}

/// A record as a change leaves it. Its `updatedAt` is known when the change is committed.
#[derive(Clone, Debug)]
pub(crate) struct Stored<A> {
    doc: Document<A>,
    stamp: Option<usize>,
}

impl<A: Tracked> Stored<A> {
    pub(crate) fn id(&self) -> Id {
        self.doc.id
    }

    /// The record as it was committed.
    pub(crate) fn settle(mut self, applied: &Applied) -> Document<A> {
        if let Some(at) = self.stamp.and_then(|stamp| applied.stamps.get(stamp)) {
            *self.doc.attributes.updated_at() = *at;
        }
        self.doc
    }
}

/// A record as it was read.
#[derive(Clone, Debug)]
struct Read<A: Tracked> {
    row: Row,
    doc: Document<A>,
    state: A::State,
}

/// A record being changed.
#[derive(Clone, Debug)]
pub struct Draft<A: Tracked> {
    /// As it was read. In a box, since most drafts are of new records, are moved about, and have none.
    was: Option<Box<Read<A>>>,
    pub(crate) doc: Document<A>,
    pub(crate) state: A::State,
    pub(crate) hidden: Hidden,
}

impl<A: Tracked> Draft<A> {
    /// A new record.
    pub(crate) fn new(doc: Document<A>) -> Self {
        Self { was: None, doc, state: A::State::default(), hidden: Hidden::No }
    }

    /// A stored record.
    pub(crate) fn read(row: Row) -> Result<Self, DomainError> {
        let doc = Document::<A>::from_text(&row.doc)?;
        let state: A::State = row.state.as_deref().map(serde_json::from_str).transpose()?.unwrap_or_default();
        let was = Box::new(Read { row, doc: doc.clone(), state: state.clone() });
        Ok(Self { hidden: was.row.hidden, was: Some(was), doc, state })
    }

    /// The row as it was read.
    pub(crate) fn read_row(&self) -> Option<&Row> {
        self.was.as_ref().map(|was| &was.row)
    }

    /// The record as it was read.
    pub(crate) fn before(&self) -> Option<&Document<A>> {
        self.was.as_ref().map(|was| &was.doc)
    }

    /// Whether it showed when it was read.
    pub(crate) fn showed(&self) -> bool {
        self.read_row().is_some_and(Row::shows)
    }

    pub(crate) fn shows(&self) -> bool {
        self.hidden == Hidden::No
    }

    /// Checks the revision a caller names against the stored one.
    pub(crate) fn expect_rev(&mut self, rev: Option<i64>) -> Result<(), DomainError> {
        let id = self.doc.id;
        match (rev, self.doc.attributes.rev()) {
            (Some(rev), Some(stored)) if rev != *stored => Err(DomainError::conflict(
                "/rev",
                format!("rev {rev} is stale: {} {id} is at rev {stored}", A::KIND.title()),
            )),
            _ => Ok(()),
        }
    }

    /// Whether anything that shows differs from what was read.
    pub(crate) fn is_changed(&self) -> bool {
        self.was.as_ref().is_none_or(|was| was.doc != self.doc || was.row.hidden != self.hidden)
    }

    /// Notes who edited it, if the edit changed anything.
    pub(crate) fn edited(&mut self, by: Option<UserId>, at: Instant) {
        if self.is_changed() {
            if let Some(modified_at) = self.doc.attributes.modified_at() {
                *modified_at = at.max(*modified_at);
            }
            if let Some(user) = by {
                self.doc.relationships.set("modifiedBy", Rel::One(Kind::User, user.0));
            }
        }
    }

    /// The same, with what an administrator tells of the edit: never before the last one, never after now.
    pub(crate) fn edited_as_told(&mut self, by: Option<UserId>, at: Instant, told: Told) {
        let at = match told.at {
            Some(told) => told.min(at),
            None => at,
        };
        self.edited(by, at);
        if let Some(user) = told.by {
            self.doc.relationships.set("modifiedBy", Rel::One(Kind::User, user.0));
        }
    }

    /// Adds what it takes to store the record as it is now, and what is told of it; nothing when nothing changed.
    pub(crate) fn finish(mut self, actor: Option<UserId>, changes: &mut Changes) -> Result<Stored<A>, DomainError> {
        let state = serde_json::to_string(&self.state)?;
        let state = (state != "{}").then_some(state);
        let Some(was) = self.was.take() else {
            self.renew(1, changes.at);
            let stamp = self.put(None, state, Verb::Create, actor, changes)?;
            return Ok(Stored { doc: self.doc, stamp: Some(stamp) });
        };
        let Read { row, doc: before, state: old_state } = *was;
        let hidden_changed = row.hidden != self.hidden;
        if before == self.doc && !hidden_changed {
            if self.state != old_state {
                // Bookkeeping alone is no change anybody can see: its moment stays.
                if let Some(rev) = self.doc.attributes.rev() {
                    *rev = row.rev + 1;
                }
                let Rendered { text, .. } = self.doc.render();
                let now = self.row(row.rev + 1, row.turn + 1, row.updated_at, text, state);
                changes.put(Put { was: Some(Box::new(row)), now, stamp_at: None, event: None });
            }
            return Ok(Stored { doc: self.doc, stamp: None });
        }
        self.renew(row.rev + 1, changes.at);
        let verb = match (hidden_changed, self.shows()) {
            (false, _) => Verb::Update,
            (true, true) => Verb::Restore,
            (true, false) => Verb::Delete,
        };
        let before = if row.version == RENDERER { None } else { Some(before.to_text()) };
        let stamp = self.put(Some((row, before)), state, verb, actor, changes)?;
        Ok(Stored { doc: self.doc, stamp: Some(stamp) })
    }

    /// Renders the record anew, without changing it.
    pub(crate) fn render_anew(mut self, changes: &mut Changes) {
        if let Some(Read { row, .. }) = self.was.take().map(|was| *was) {
            let text = self.doc.render().text;
            let now = Row { doc: text, version: RENDERER, ..row.clone() };
            changes.put(Put { was: Some(Box::new(row)), now, stamp_at: None, event: None });
        }
    }

    /// The row of a stored record as its text says it should be, where it lies.
    pub(crate) fn laid(&self) -> Option<Row> {
        let was = self.read_row()?;
        let mut doc = self.doc.clone();
        let rev = doc.attributes.rev().map_or(was.rev, |rev| *rev);
        let updated_at = *doc.attributes.updated_at();
        // What another renderer made has another form.
        let text = if was.version == RENDERER { doc.to_text() } else { was.doc.clone() };
        let row = self.row(rev, was.turn, updated_at, text, was.state.clone());
        Some(Row { customer: was.customer, conversation: was.conversation, version: was.version, ..row })
    }

    /// Stores the row as it should be. The record does not change by that, so nothing is told.
    pub(crate) fn lay_anew(self, changes: &mut Changes) {
        if let (Some(mut now), Some(was)) = (self.laid(), self.was.map(|was| was.row)) {
            now.turn += i64::from(A::KIND == Kind::Customer);
            changes.put(Put { was: Some(Box::new(was)), now, stamp_at: None, event: None });
        }
    }

    /// The same as [`Draft::finish`] of a record that was changed. One of which only a column is wrong is told of as well.
    pub(crate) fn finish_anyway(mut self, changes: &mut Changes) -> Result<(), DomainError> {
        if self.is_changed() {
            return self.finish(None, changes).map(drop);
        }
        let state = self.read_row().and_then(|row| row.state.clone());
        if let Some(Read { row, .. }) = self.was.take().map(|was| *was) {
            self.renew(row.rev + 1, changes.at);
            self.put(Some((row, None)), state, Verb::Update, None, changes)?;
        }
        Ok(())
    }

    fn renew(&mut self, rev: i64, at: Instant) {
        if let Some(shown) = self.doc.attributes.rev() {
            *shown = rev;
        }
        *self.doc.attributes.updated_at() = at;
    }

    /// Puts the record as it is now. One that was there comes with its text of this renderer, where the stored one is of
    /// another: what only the rendering brought is no change.
    fn put(
        &mut self,
        was: Option<(Row, Option<String>)>,
        state: Option<String>,
        verb: Verb,
        actor: Option<UserId>,
        changes: &mut Changes,
    ) -> Result<usize, DomainError> {
        let (rev, turn) = was.as_ref().map_or((1, 0), |(row, _)| (row.rev + 1, row.turn + 1));
        let Rendered { text, stamp_at } = self.doc.render();
        let difference = match &was {
            Some((row, rendered)) => Some(events::difference(rendered.as_ref().unwrap_or(&row.doc), &text)?),
            None => None,
        };
        let now = self.row(rev, turn, changes.at, text, state);
        let event = NewEvent {
            verb,
            kind: A::KIND,
            object: self.doc.id,
            customer: now.customer.or_else(|| (A::KIND == Kind::Customer).then_some(CustomerId(self.doc.id))),
            actor,
            rev,
            stamp_at: difference.is_some().then_some(events::STAMP_AT),
            changes: difference,
        };
        // Its text is not needed any more, and what is about to be written is held in several forms already.
        let was = was.map(|(row, _)| Box::new(Row { doc: String::new(), ..row }));
        Ok(changes.put(Put { was, now, stamp_at: Some(stamp_at), event: Some(event) }))
    }

    fn row(&self, rev: i64, turn: i64, updated_at: Instant, doc: String, state: Option<String>) -> Row {
        let attributes = &self.doc.attributes;
        Row {
            kind: A::KIND,
            id: self.doc.id,
            customer: self.doc.relationships.one("customer").map(CustomerId),
            conversation: self.doc.relationships.one("conversation"),
            hidden: self.hidden,
            rev,
            turn: if A::KIND == Kind::Customer { turn } else { 0 },
            version: RENDERER,
            created_at: attributes.created_at(),
            updated_at,
            wake_at: attributes.wake_at().filter(|_| self.shows()),
            external_id: attributes.external_id().cloned(),
            label: attributes.label(),
            doc,
            state,
        }
    }
}

/// What a guard of the customer's timeline takes, when the customer itself does not change.
impl Draft<CustomerAttributes> {
    pub(crate) fn guard(&self) -> Option<Op> {
        self.read_row().map(|row| Op::Guard(CustomerId(row.id), row.turn))
    }
}

/// The id of a to-one relationship every stored record of the kind has.
pub(crate) fn needed(id: Option<Id>, what: &str) -> Result<Id, DomainError> {
    id.ok_or_else(|| DomainError::internal(format!("a stored record has no {what}")))
}
