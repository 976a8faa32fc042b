//! What a check says: what is stored, what it should be, and never a word of anybody's.

use std::collections::BTreeMap;
use std::fmt;

use konverse_model::{Id, Instant};
use serde::Serialize;
use serde_json::Value;

/// What became of a difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was found, and left as it is.
    Found,
    /// It was mended.
    Mended,
    /// It was found and cannot be mended; says why.
    Beyond(String),
}

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What it is about: a kind of record, or of what is kept beside them.
    pub kind: &'static str,
    /// Which one.
    pub id: String,
    /// What of it.
    pub what: String,
    /// What is stored.
    pub stored: String,
    /// What it should be.
    pub expected: String,
    /// What became of it.
    pub outcome: Outcome,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, id, what, stored, expected, outcome } = self;
        write!(f, "{kind} {id}: {what} is {stored}, should be {expected}")?;
        match outcome {
            Outcome::Found => Ok(()),
            Outcome::Mended => f.write_str(" (mended)"),
            Outcome::Beyond(why) => write!(f, " (cannot be mended: {why})"),
        }
    }
}

/// How many of a kind were looked at, and what was found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Looked at.
    pub checked: u64,
    /// Differences found.
    pub found: u64,
    /// Those of them that were mended.
    pub mended: u64,
}

/// What was looked at, by kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// By kind.
    pub kinds: BTreeMap<&'static str, Tally>,
    /// Customers whose differences could not be told from what is being written: they were written to without pause.
    pub unsettled: u64,
}

impl Checked {
    pub(super) fn seen(&mut self, kind: &'static str, count: u64) {
        self.kinds.entry(kind).or_default().checked += count;
    }

    pub(super) fn count(&mut self, finding: &Finding) {
        let tally = self.kinds.entry(finding.kind).or_default();
        tally.found += 1;
        tally.mended += u64::from(finding.outcome == Outcome::Mended);
    }

    /// Adds what was looked at elsewhere.
    pub fn add(&mut self, other: &Self) {
        for (kind, tally) in &other.kinds {
            let own = self.kinds.entry(kind).or_default();
            own.checked += tally.checked;
            own.found += tally.found;
            own.mended += tally.mended;
        }
        self.unsettled += other.unsettled;
    }

    /// Differences that remain.
    pub fn remaining(&self) -> u64 {
        self.kinds.values().map(|tally| tally.found - tally.mended).sum()
    }
}

/// One difference: what of a record, what is stored, what it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Difference(pub(super) String, pub(super) String, pub(super) String);

impl Difference {
    pub(super) fn of(what: &str, stored: impl Serialize, expected: impl Serialize) -> Self {
        Self(what.to_owned(), shown(&value(stored)), shown(&value(expected)))
    }
}

fn value(of: impl Serialize) -> Value {
    serde_json::to_value(of).unwrap_or_default()
}

/// The attributes in which two records differ.
pub(super) fn differences(stored: impl Serialize, expected: impl Serialize) -> Vec<Difference> {
    let (Value::Object(stored), Value::Object(expected)) = (value(stored), value(expected)) else {
        return Vec::new();
    };
    let names = stored.keys().chain(expected.keys().filter(|name| !stored.contains_key(*name)));
    let differs = names.filter(|name| stored.get(*name) != expected.get(*name));
    differs.map(|name| Difference::of(name, stored.get(name), expected.get(name))).collect()
}

/// Members of objects that may be shown: they hold numbers, moments, ids and konverse's own words.
const MEMBERS: [&str; 11] = [
    "id",
    "sentAt",
    "createdAt",
    "time",
    "responseTime",
    "all",
    "open",
    "snoozed",
    "done",
    "directionType",
    "previewAt",
];

/// Words of konverse's own.
const WORDS: [&str; 11] = [
    "in",
    "out",
    "open",
    "snoozed",
    "done",
    "initial-in",
    "initial-out",
    "response-in",
    "response-out",
    "followup-in",
    "followup-out",
];

/// A value without what people wrote.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::String(text) if WORDS.contains(&&**text) => text.clone(),
        Value::String(text) if text.parse::<Id>().is_ok() || text.parse::<Instant>().is_ok() => text.clone(),
        Value::String(text) => format!("a text of {} characters", text.chars().count()),
        Value::Array(all) if all.len() <= 4 => format!("[{}]", all.iter().map(shown).collect::<Vec<_>>().join(", ")),
        Value::Array(all) => format!("{} entries", all.len()),
        Value::Object(all) => {
            let known = all.iter().filter(|(name, _)| MEMBERS.contains(&&***name));
            let mut members: Vec<String> = known.map(|(name, value)| format!("{name} {}", shown(value))).collect();
            if members.len() < all.len() {
                members.push("…".to_owned());
            }
            format!("{{{}}}", members.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn no_word_is_shown() {
        let stored = json!({ "count": 3, "name": "Jane's parcel", "mark": { "id": "65f000000000000000000001",
            "meta": { "from": "jane@example.com" } }, "same": 1 });
        let expected = json!({ "count": 4, "mark": { "id": "65f000000000000000000002" }, "same": 1, "status": "open" });
        let lines: Vec<String> =
            differences(stored, expected).into_iter().map(|Difference(a, b, c)| format!("{a}: {b} -> {c}")).collect();
        assert_eq!(
            lines,
            [
                "count: 3 -> 4",
                "name: a text of 13 characters -> nothing",
                "mark: {id 65f000000000000000000001, …} -> {id 65f000000000000000000002}",
                "status: nothing -> open",
            ]
        );
    }
}
