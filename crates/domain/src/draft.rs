//! A record being changed: as it was read, and as it shall be.

use konverse_model::resource::{
    ConversationAttributes, ConversationState, CustomerAttributes, MessageAttributes, NoteAttributes,
};
use konverse_model::{Attributes, CustomerId, Document, EventId, Id, Instant, UserId};
use konverse_store::{Changes, Event, Hidden, Row};

use crate::{DomainError, events};

/// Attributes whose revision and instants the server keeps.
pub(crate) trait Tracked: Attributes + PartialEq {
    /// What is kept beside the text.
    type State: Default + Clone + PartialEq + serde::Serialize + serde::de::DeserializeOwned;

    fn created_at(&self) -> Instant;
    fn updated_at(&self) -> Instant;
    fn modified_at(&mut self) -> &mut Instant;
    fn external_id(&self) -> Option<&String>;
    fn rev(&self) -> i64;
    fn stamp(&mut self, rev: i64, updated_at: Instant);
    fn wake_at(&self) -> Option<Instant> {
        None
    }
}

/// Nothing beside the text.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct NoState {}

macro_rules! tracked {
    ($($attributes:ty, $state:ty, $external_id:expr, $wake_at:expr;)*) => {$(
        impl Tracked for $attributes {
            type State = $state;

            fn created_at(&self) -> Instant {
                self.created_at
            }

            fn updated_at(&self) -> Instant {
                self.updated_at
            }

            fn modified_at(&mut self) -> &mut Instant {
                &mut self.modified_at
            }

            fn external_id(&self) -> Option<&String> {
                let external_id: fn(&Self) -> Option<&String> = $external_id;
                external_id(self)
            }

            fn rev(&self) -> i64 {
                self.rev
            }

            fn stamp(&mut self, rev: i64, updated_at: Instant) {
                self.rev = rev;
                self.updated_at = updated_at.max(self.updated_at).max(self.modified_at);
            }

            fn wake_at(&self) -> Option<Instant> {
                let wake_at: fn(&Self) -> Option<Instant> = $wake_at;
                wake_at(self)
            }
        }
    )*};
}

tracked! {
    // A customer has several external ids; they are claimed as names.
    CustomerAttributes, NoState, |_| None, |_| None;
    ConversationAttributes, ConversationState, |this| this.external_id.as_ref(), crate::rules::wake_at;
    MessageAttributes, NoState, |this| this.external_id.as_ref(), |_| None;
    NoteAttributes, NoState, |this| this.external_id.as_ref(), |_| None;
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

/// A record being changed.
#[derive(Clone, Debug)]
pub(crate) struct Draft<A: Tracked> {
    was: Option<(Row, Document<A>)>,
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
        let doc = Document::from_text(&row.doc)?;
        let state = row.state.as_deref().map(serde_json::from_str).transpose()?.unwrap_or_default();
        Ok(Self { hidden: row.hidden, was: Some((row, Document::clone(&doc))), doc, state })
    }

    /// The record as it was read.
    pub(crate) fn before(&self) -> Option<&Document<A>> {
        self.was.as_ref().map(|(_, doc)| doc)
    }

    /// Whether it showed when it was read.
    pub(crate) fn showed(&self) -> bool {
        self.was.as_ref().is_some_and(|(row, _)| row.shows())
    }

    pub(crate) fn shows(&self) -> bool {
        self.hidden == Hidden::No
    }

    /// Checks the revision a caller names against the stored one.
    pub(crate) fn expect_rev(&self, rev: Option<i64>) -> Result<(), DomainError> {
        match rev {
            Some(rev) if rev != self.doc.attributes.rev() => Err(DomainError::conflict(
                "/rev",
                format!(
                    "rev {rev} is stale: {} {} is at rev {}",
                    A::KIND.title(),
                    self.doc.id,
                    self.doc.attributes.rev()
                ),
            )),
            _ => Ok(()),
        }
    }

    /// Whether anything differs from what was read.
    pub(crate) fn is_changed(&self) -> bool {
        self.was.as_ref().is_none_or(|(row, doc)| *doc != self.doc || row.hidden != self.hidden)
    }

    /// Notes who edited it, if the edit changed anything.
    pub(crate) fn edited(&mut self, by: Option<UserId>, at: Instant) {
        if self.is_changed() {
            let modified_at = self.doc.attributes.modified_at();
            *modified_at = at.max(*modified_at);
            if let Some(user) = by {
                self.doc.relationships.set("modifiedBy", konverse_model::Rel::One(konverse_model::Kind::User, user.0));
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
            self.doc.relationships.set("modifiedBy", konverse_model::Rel::One(konverse_model::Kind::User, user.0));
        }
    }

    /// Adds what it takes to store the record as it is now, with the event of it; nothing when nothing changed.
    pub(crate) fn finish(
        mut self,
        at: Instant,
        actor: Option<UserId>,
        event: impl FnOnce() -> EventId,
        changes: &mut Changes,
    ) -> Result<Document<A>, DomainError> {
        let state = serde_json::to_string(&self.state)?;
        let state = (state != "{}").then_some(state);
        let Some((row, before)) = self.was.take() else {
            self.doc.attributes.stamp(1, at);
            changes.events.push(self.event(event(), at, "create", actor, None));
            changes.insert(self.row(state));
            return Ok(self.doc);
        };
        let hidden_changed = row.hidden != self.hidden;
        if before == self.doc && !hidden_changed {
            if row.state != state {
                // Bookkeeping alone is no change anybody can see.
                let mut now = self.row(state);
                now.rev = row.rev + 1;
                self.doc.attributes.stamp(now.rev, before.attributes.updated_at());
                now.doc = self.doc.to_text();
                changes.update(row, now);
            }
            return Ok(self.doc);
        }
        self.doc.attributes.stamp(row.rev + 1, at);
        let verb = if hidden_changed && !self.shows() { "delete" } else { "update" };
        let difference = events::difference(&before, &self.doc)?;
        changes.events.push(self.event(event(), at, verb, actor, Some(difference)));
        changes.update(row, self.row(state));
        Ok(self.doc)
    }

    fn event(
        &self,
        id: EventId,
        at: Instant,
        verb: &'static str,
        actor: Option<UserId>,
        changes: Option<String>,
    ) -> Event {
        Event {
            id,
            at,
            verb,
            kind: A::KIND,
            object: self.doc.id,
            customer: self.customer(),
            actor,
            rev: self.doc.attributes.rev(),
            changes,
        }
    }

    fn customer(&self) -> Option<CustomerId> {
        match A::KIND {
            konverse_model::Kind::Customer => Some(CustomerId(self.doc.id)),
            _ => self.doc.relationships.one("customer").map(CustomerId),
        }
    }

    fn row(&self, state: Option<String>) -> Row {
        let attributes = &self.doc.attributes;
        Row {
            kind: A::KIND,
            id: self.doc.id,
            customer: self.customer(),
            conversation: self.doc.relationships.one("conversation"),
            hidden: self.hidden,
            rev: attributes.rev(),
            created_at: attributes.created_at(),
            updated_at: attributes.updated_at(),
            wake_at: attributes.wake_at().filter(|_| self.shows()),
            external_id: attributes.external_id().cloned(),
            label: None,
            doc: self.doc.to_text(),
            state,
        }
    }
}

/// The id of a to-one relationship every stored record of the kind has.
pub(crate) fn needed(id: Option<Id>, what: &str) -> Result<Id, DomainError> {
    id.ok_or_else(|| DomainError::internal(format!("a stored record has no {what}")))
}
