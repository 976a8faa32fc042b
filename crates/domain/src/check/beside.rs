//! What is kept beside the records: names, kept counts, counted blocks, the sequence.

use konverse_model::{Kind, OrgId};
use konverse_store::{Changes, Event, FoundEvent, LaneFacts, List, Op, Scope, Space, WrongBlock};
use serde::de::IgnoredAny;

use super::report::Difference;
use super::{Finding, Outcome, Report};
use crate::customers::CUSTOMERS;
use crate::unit::READ_BYTES;
use crate::{Domain, DomainError};

/// Rows read at once.
const MANY: u32 = 1_000;

/// Events read at once.
const EVENTS: u32 = 5_000;

/// Blocks counted at once, of 256 rows each.
const BLOCKS: u32 = 64;

fn finding(
    kind: &'static str,
    id: impl ToString,
    Difference(what, stored, expected): Difference,
    outcome: Outcome,
) -> Finding {
    Finding { kind, id: id.to_string(), what, stored, expected, outcome }
}

/// What of an event's text cannot be read: its changes are a JSON object, or none.
fn broken_text(event: &Event) -> Option<String> {
    let changes = event.changes.as_deref()?;
    let is_object = changes.trim_start().starts_with('{') && serde_json::from_str::<IgnoredAny>(changes).is_ok();
    (!is_object).then(|| "its column changes is no JSON object".to_owned())
}

impl Domain {
    /// Conversations, messages and notes that belong to nothing.
    pub(super) async fn check_strays(&self, org: OrgId, report: &mut Report<'_, '_>) -> Result<(), DomainError> {
        for kind in [Kind::Conversation, Kind::Message, Kind::Note] {
            let mut after = None;
            loop {
                let (some, next) = self.store.strays(org, kind, after, MANY).await?;
                for id in some {
                    let found = Difference("what it belongs to".into(), "missing".into(), "there".into());
                    let why = "nothing says what it belonged to".to_owned();
                    report.found(&finding(kind.name(), id, found, Outcome::Beyond(why)));
                }
                after = next;
                if after.is_none() {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Names whose holder is not there, each found by one statement and so of one moment; and names that nobody looks for.
    /// What those should have been is missing from their holders, and was given back to them before.
    pub(super) async fn check_lost_names(
        &self,
        org: OrgId,
        repair: bool,
        report: &mut Report<'_, '_>,
    ) -> Result<(), DomainError> {
        for space in Space::ALL {
            let mut after = String::new();
            loop {
                let (some, next) = self.store.lost_names(org, space, &after, MANY).await?;
                for (value, owner) in some {
                    let what = format!("a name ({})", space.name());
                    let mend = Op::Release(space, value, owner);
                    self.lost(org, ("name", owner), &what, mend, repair, report).await?;
                }
                let Some(next) = next else { break };
                after = next;
            }
        }
        let mut after = None;
        loop {
            let some = self.store.unknown_names(org, after, MANY).await?;
            for (space, value, owner) in &some {
                let mut outcome = Outcome::Found;
                if repair {
                    self.store.forget_name(org, space, value).await?;
                    outcome = Outcome::Mended;
                }
                let found = Difference("its space".into(), "none there is".into(), "one there is".into());
                report.found(&finding("name", owner, found, outcome));
            }
            after = some.into_iter().next_back().map(|(space, value, _)| (space, value));
            if after.is_none() {
                return Ok(());
            }
        }
    }

    /// The kept count of customers. Both are of one moment, so the difference stays the same whoever writes.
    pub(super) async fn check_tally(
        &self,
        org: OrgId,
        repair: bool,
        report: &mut Report<'_, '_>,
    ) -> Result<(), DomainError> {
        report.checked.seen("tally", 1);
        let (kept, counted) = self.store.tally_and_count(org, CUSTOMERS).await?;
        if kept != counted {
            let mut outcome = Outcome::Found;
            if repair {
                let mut changes = Changes::new(org, self.now());
                changes.tally(CUSTOMERS, org.0, counted - kept);
                self.apply(changes).await?;
                outcome = Outcome::Mended;
            }
            report.found(&finding("tally", CUSTOMERS, Difference::of("it", kept, counted), outcome));
        }
        Ok(())
    }

    /// Counted blocks.
    pub(super) async fn check_blocks(
        &self,
        org: OrgId,
        repair: bool,
        report: &mut Report<'_, '_>,
    ) -> Result<(), DomainError> {
        let mut after = None;
        while let Some((number, scope)) = self.store.next_counted(org, after).await? {
            after = Some((number, scope));
            report.checked.seen("counted list", 1);
            // One of a newer program is not ours to judge.
            let Some(list) = self.store.counted_list(number, scope) else { continue };
            let wrong = self.first_wrong_blocks(org, &list).await?;
            if wrong.is_empty() {
                continue;
            }
            let mut outcome = Outcome::Found;
            if repair {
                self.store.forget_blocks(org, &list).await?;
                outcome = Outcome::Mended;
            }
            let of = match list.scope {
                Scope::Org => "the org",
                Scope::Customer(_) => "customer",
                Scope::Conversation(_) => "conversation",
            };
            let id = format!("of {}s of {of} {scope}", list.kind.name());
            for block in wrong {
                let what = format!("the block from {}", block.at);
                let found = if block.kept == block.counted {
                    Difference(format!("{what}, rows before it"), format!("{} off", block.off), "exact".into())
                } else {
                    Difference::of(&what, block.kept, block.counted)
                };
                report.found(&finding("counted list", &id, found, outcome.clone()));
            }
        }
        Ok(())
    }

    /// The first blocks of a list that are wrong: one is enough to forget what was counted of it.
    async fn first_wrong_blocks(&self, org: OrgId, list: &List) -> Result<Vec<WrongBlock>, DomainError> {
        let mut after = None;
        loop {
            let (wrong, next) = self.store.wrong_blocks(org, list, after, BLOCKS).await?;
            if !wrong.is_empty() || next.is_none() {
                return Ok(wrong);
            }
            after = next;
        }
    }

    /// The sequence: no lane has a gap, its head is right, and it goes on no earlier than it came. Whether moments went back in
    /// what is told already is not asked: the first release, which had no lanes, left such.
    pub(super) async fn check_lanes(
        &self,
        org: OrgId,
        repair: bool,
        report: &mut Report<'_, '_>,
    ) -> Result<(), DomainError> {
        for facts in self.store.lanes(org).await? {
            report.checked.seen("lane", 1);
            self.check_lane(org, facts, repair, report).await?;
        }
        Ok(())
    }

    async fn check_lane(
        &self,
        org: OrgId,
        facts: LaneFacts,
        repair: bool,
        report: &mut Report<'_, '_>,
    ) -> Result<(), DomainError> {
        let lane = facts.lane;
        let mut found = Vec::new();
        // Events that are there are not gone. Where it is not one of them and no number that was given out, neither.
        let is_too_late = facts.has_gone || facts.newest == Some(facts.seq) && facts.gone > facts.seq;
        let first = facts.oldest.filter(|_| is_too_late).map_or(facts.gone, |oldest| oldest - 1);
        if facts.gone != first {
            found.push(Difference::of("the number up to which its events are gone", facts.gone, first));
        }
        let newest = facts.newest.unwrap_or(first).max(first);
        if facts.seq != newest {
            found.push(Difference::of("the number of its newest event", facts.seq, newest));
        }
        let (mut seq, mut gone, mut at) = (first, first, facts.at);
        loop {
            let some = self.store.found_events(org, lane, seq, EVENTS, READ_BYTES).await?;
            if some.is_empty() {
                break;
            }
            report.checked.seen("event", some.len() as u64);
            for FoundEvent { seq: number, at: moment, event } in some {
                if number != seq + 1 && !self.is_gone(org, facts, number - 1).await? {
                    found.push(Difference(
                        format!("what comes before event {number}"),
                        format!("event {seq}"),
                        format!("event {}", number - 1),
                    ));
                    gone = number - 1;
                }
                seq = number;
                // Later ones came after the lane was looked at.
                if number <= newest {
                    at = at.max(moment.unwrap_or(at));
                }
                if let Some(why) = event.map_or_else(Some, |event| broken_text(&event)) {
                    let found = Difference("it".into(), format!("unreadable ({why})"), "an event".into());
                    let outcome = Outcome::Beyond("nothing else has what stood there".to_owned());
                    report.found(&finding("event", format!("{number} of lane {lane}"), found, outcome));
                }
            }
        }
        if at != facts.at {
            found.push(Difference::of("its newest moment", facts.at, at));
        }
        // Numbers that were given out are never given out again: whoever follows begins anew after them.
        if facts.seq > newest {
            gone = gone.max(facts.seq);
        }
        let mut outcome = Outcome::Found;
        if repair && !found.is_empty() {
            // How many records have the newest moment is not known: the next ones get a later one.
            let after = if at > facts.at { at.plus(1) } else { at };
            self.store.mend_lane(org, &facts, after, gone).await?;
            outcome = Outcome::Mended;
        }
        for difference in found {
            report.found(&finding("lane", lane, difference, outcome.clone()));
        }
        Ok(())
    }

    /// Whether events up to a number were forgotten since the lane was seen.
    async fn is_gone(&self, org: OrgId, seen: LaneFacts, number: i64) -> Result<bool, DomainError> {
        let is_it = |now: &LaneFacts| now.lane == seen.lane && now.gone != seen.gone && now.gone >= number;
        Ok(self.store.lanes(org).await?.iter().any(is_it))
    }
}
