//! What one look at a customer or a record finds, and the change that would mend it.

use konverse_model::OrgId;
use konverse_store::{Changes, Op, Row};

use super::report::{Checked, Difference, Finding, Outcome};
use crate::DomainError;
use crate::unit::{Draft, Tracked};

/// Findings kept of one customer. Memory has a bound; what is beyond is counted.
const MOST: usize = 2_000;

/// Parts of a change that mends, and bytes of the texts it holds, before and after: what is left is found and mended by the
/// next one.
const PARTS: usize = 500;
const BYTES: usize = 8 << 20;

/// What can be mended together. What follows from others is worked out when those are right, so only the lowest level that
/// something was found on is mended; then there is another look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    /// A record's columns and its text's form.
    Columns,
    /// What a record says of its place, and whether it shows.
    Place,
    /// What follows for conversations.
    Conversations,
    /// What follows for the customer.
    Customer,
    /// What is kept beside the records.
    Beside,
}

struct Noted {
    finding: Finding,
    /// On which level it can be mended, and whether the change does it.
    mend: Option<(Level, bool)>,
}

/// One look.
pub(super) struct Notes {
    pub(super) checked: Checked,
    noted: Vec<Noted>,
    beyond: u64,
    level: Option<Level>,
    /// Of the change's texts.
    bytes: usize,
    pub(super) changes: Changes,
}

impl Notes {
    pub(super) fn new(changes: Changes) -> Self {
        Self { checked: Checked::default(), noted: Vec::new(), beyond: 0, level: None, bytes: 0, changes }
    }

    pub(super) fn is_clean(&self) -> bool {
        self.noted.is_empty()
    }

    fn note(&mut self, finding: Finding, mend: Option<(Level, bool)>) {
        // What is mended is told in any case: it has a bound of its own.
        if self.noted.len() < MOST || mend.is_some_and(|(_, taken)| taken) {
            self.noted.push(Noted { finding, mend });
        } else {
            self.beyond += 1;
        }
    }

    /// Something that cannot be mended.
    pub(super) fn beyond(&mut self, kind: &'static str, id: impl ToString, found: Difference, why: &str) {
        let Difference(what, stored, expected) = found;
        let outcome = Outcome::Beyond(why.to_owned());
        self.note(Finding { kind, id: id.to_string(), what, stored, expected, outcome }, None);
    }

    /// Something of a record and what mends it.
    pub(super) fn differ(
        &mut self,
        kind: &'static str,
        id: impl ToString,
        found: Vec<Difference>,
        level: Level,
        mend: impl FnOnce(&mut Changes) -> Result<(), DomainError>,
    ) -> Result<(), DomainError> {
        if found.is_empty() {
            return Ok(());
        }
        if self.level.is_none_or(|lowest| level < lowest) {
            self.level = Some(level);
            self.changes.truncate(0);
            self.bytes = 0;
            if self.noted.len() >= MOST {
                // What is above is not mended by this look, and found again by the next.
                let all = self.noted.len();
                self.noted.retain(|noted| noted.mend.is_none());
                self.beyond += (all - self.noted.len()) as u64;
            }
        }
        let parts = self.changes.ops.len();
        let taken = self.level == Some(level) && parts < PARTS && self.bytes < BYTES;
        if taken {
            mend(&mut self.changes)?;
            self.bytes += self.changes.ops[parts..].iter().map(bytes).sum::<usize>();
        }
        let id = id.to_string();
        for Difference(what, stored, expected) in found {
            let finding = Finding { kind, id: id.clone(), what, stored, expected, outcome: Outcome::Found };
            self.note(finding, Some((level, taken)));
        }
        Ok(())
    }

    /// The change was applied: those it mends.
    pub(super) fn mended(self) -> Vec<Finding> {
        let level = self.level;
        let mended =
            self.noted.into_iter().filter(|noted| noted.mend.is_some_and(|(of, taken)| taken && Some(of) == level));
        mended.map(|noted| Finding { outcome: Outcome::Mended, ..noted.finding }).collect()
    }

    /// All of them, left as they are; `why` the mendable ones could not be mended, if that was tried.
    pub(super) fn left(self, why: Option<&str>) -> Vec<Finding> {
        let mut left: Vec<Finding> = Vec::with_capacity(self.noted.len());
        for Noted { mut finding, mend } in self.noted {
            if let (Some(why), Some(_)) = (why, mend) {
                finding.outcome = Outcome::Beyond(why.to_owned());
            }
            left.push(finding);
        }
        if let Some(last) = left.last().filter(|_| self.beyond > 0) {
            let more = Finding {
                what: format!("{} more", self.beyond),
                stored: "not as it should be".to_owned(),
                expected: "found out by mending these first".to_owned(),
                ..last.clone()
            };
            left.push(more);
        }
        left
    }
}

/// Bytes of a part's texts.
fn bytes(op: &Op) -> usize {
    match op {
        Op::Put(put) => put.now.doc.len() + put.was.as_ref().map_or(0, |was| was.doc.len()),
        _ => 0,
    }
}

/// Notes that only a record's column says that it was deleted. What is its own is then left as it is, whatever it says.
pub(super) fn doubt(notes: &mut Notes, kind: konverse_model::Kind, id: konverse_model::Id) {
    let found = Difference("it".into(), "Deleted".into(), "No, or an event there that tells of it".into());
    notes.beyond(kind.name(), id, found, "nothing says which of the two");
}

/// Where a record lies, and so what it should say of that.
pub(super) struct Place {
    pub(super) org: OrgId,
    pub(super) customer: Option<konverse_model::CustomerId>,
    pub(super) conversation: Option<konverse_model::Id>,
    pub(super) hidden: konverse_store::Hidden,
}

/// Looks at one record: whether its text can be read, is of this record, and agrees with what is kept beside it. Gives the
/// record as its text has it.
///
/// Of a text and its columns the text is right: it is written as a whole, it is what everybody was told, and what is broken
/// in it shows. A column is a copy of a part of it, to find or order by. The exception is whose a record is: where it lies is
/// what lists, counts and its neighbours agree with.
pub(super) fn look<A: Tracked>(notes: &mut Notes, row: Row, place: &Place) -> Result<Option<Draft<A>>, DomainError> {
    let (kind, id) = (A::KIND.name(), row.id);
    let unreadable = |what: &str| Difference("the text".into(), what.to_owned(), format!("a {kind}'s"));
    let Ok(draft) = Draft::<A>::read(row.clone()) else {
        notes.beyond(kind, id, unreadable("not readable"), "nothing else has its words");
        return Ok(None);
    };
    if draft.doc.id != id {
        let found = Difference::of("the id in the text", draft.doc.id, id);
        notes.beyond(kind, id, found, "the text is another record's");
        return Ok(None);
    }
    if let Some(laid) = draft.laid() {
        let mut found = Vec::new();
        let mut column = |what: &str, stored: serde_json::Value, expected: serde_json::Value| {
            if stored != expected {
                found.push(Difference::of(what, stored, expected));
            }
        };
        column("the column rev", row.rev.into(), laid.rev.into());
        let at = |at: konverse_model::Instant| serde_json::Value::from(at.to_string());
        column("the column created_at", at(row.created_at), at(laid.created_at));
        column("the column updated_at", at(row.updated_at), at(laid.updated_at));
        column("the column wake_at", row.wake_at.map(at).into(), laid.wake_at.map(at).into());
        column("the column external_id", row.external_id.clone().into(), laid.external_id.clone().into());
        column("the column label", row.label.clone().into(), laid.label.clone().into());
        if row.doc != laid.doc {
            found.push(Difference("the text".into(), "of another form".into(), "as it is rendered".into()));
        }
        notes.differ(kind, id, found, Level::Columns, |changes| {
            draft.clone().lay_anew(changes);
            Ok(())
        })?;
    }

    let mut found = Vec::new();
    let mut placed = draft.clone();
    placed.hidden = place.hidden;
    if place.hidden != row.hidden {
        found.push(Difference("it".into(), format!("{:?}", row.hidden), format!("{:?}", place.hidden)));
    }
    let relations = [
        ("org", konverse_model::Kind::Org, Some(place.org.0)),
        ("customer", konverse_model::Kind::Customer, place.customer.map(konverse_model::Id::from)),
        ("conversation", konverse_model::Kind::Conversation, place.conversation),
    ];
    for (name, of, expected) in relations {
        if let Some(expected) = expected {
            let said = draft.doc.relationships.one(name);
            if said != Some(expected) {
                found.push(Difference::of(name, said, expected));
                placed.doc.relationships.set(name, konverse_model::Rel::One(of, expected));
            }
        }
    }
    if let (Some(customer), false) = (place.customer, row.customer == place.customer) {
        found.push(Difference::of("the column customer", row.customer.map(konverse_model::Id::from), customer.0));
    }
    notes.differ(kind, id, found, Level::Place, |changes| placed.finish_anyway(changes))?;
    Ok(Some(draft))
}

#[cfg(test)]
mod tests {
    use konverse_model::{CustomerId, Id, Instant};

    use super::*;

    #[test]
    fn however_much_is_found_above_what_lies_below_is_mended() {
        let org = OrgId(Id::from_bytes([1; 12]));
        for unmendable in [0, MOST] {
            let mut notes = Notes::new(Changes::new(org, Instant::from_millis(0)));
            let found = || Difference("it".into(), "this".into(), "that".into());
            for n in 0..unmendable {
                notes.beyond("message", n, found(), "nobody knows");
            }
            let mend = |changes: &mut Changes| {
                changes.ops.push(Op::Guard(CustomerId(Id::from_bytes([2; 12])), 1));
                Ok(())
            };
            for n in 0..MOST + 10 {
                notes.differ("message", n, vec![found()], Level::Conversations, mend).expect("a note");
            }
            assert_eq!(notes.changes.ops.len(), PARTS);
            notes.differ("message", "low", vec![found()], Level::Columns, mend).expect("a note");
            assert_eq!(notes.changes.ops.len(), 1);
            let mended = notes.mended();
            assert_eq!(mended.iter().map(|finding| &*finding.id).collect::<Vec<_>>(), ["low"]);
        }
    }
}
