//! What the sequence tells of who was deleted: a column may say so, too, and be wrong.

use std::collections::HashMap;

use konverse_model::{Id, Instant, Kind, OrgId};
use konverse_store::{Hidden, Row};
use tokio::sync::Mutex;

use crate::{Domain, DomainError};

/// Events read at once.
const EVENTS: i64 = 5_000;

/// What is told of the records that were ever deleted by themselves, read as it is asked for. It holds a few ten bytes for
/// each of these; of what hid or showed along with another record nothing is held.
#[derive(Default)]
pub(super) struct Told(Mutex<State>);

#[derive(Default)]
struct State {
    /// Up to where each lane was read.
    read: HashMap<u8, i64>,
    last: HashMap<(Kind, Id), Last>,
    /// What happened before is not told any more.
    since: Option<Instant>,
}

/// The last time a record was deleted or restored.
#[derive(Clone, Copy)]
struct Last {
    rev: i64,
    is_deleted: bool,
}

/// Whether a record was deleted by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Own {
    /// It was, or was not.
    Known(bool),
    /// Its column says that it was, and events of that time are no longer kept.
    Forgotten,
    /// Its column says that it was; no event does, though there would be one.
    Unsaid,
}

impl Own {
    /// Whether only the column says that the record is deleted.
    pub(super) fn is_doubtful(self) -> bool {
        !matches!(self, Self::Known(_))
    }
}

impl Domain {
    /// Whether a record was deleted by itself. Where what was read of the sequence and the column disagree, the sequence is
    /// read on first: the record may have been deleted or restored since.
    pub(super) async fn was_deleted(&self, org: OrgId, told: &Told, row: &Row) -> Result<Own, DomainError> {
        let mut state = told.0.lock().await;
        if state.read.is_empty() {
            self.read_on(org, &mut state).await?;
        }
        for is_fresh in [false, true] {
            let last = state.last.get(&(row.kind, row.id)).map(|last| last.is_deleted);
            match (last, row.hidden) {
                (Some(true), Hidden::No) | (Some(false), Hidden::Deleted) if !is_fresh => {}
                (None, Hidden::Deleted) => {
                    if state.since.is_some_and(|since| row.updated_at < since) {
                        return Ok(Own::Forgotten);
                    }
                    if is_fresh {
                        return Ok(Own::Unsaid);
                    }
                }
                (last, _) => return Ok(Own::Known(last == Some(true))),
            }
            self.read_on(org, &mut state).await?;
        }
        Ok(Own::Unsaid)
    }

    async fn read_on(&self, org: OrgId, state: &mut State) -> Result<(), DomainError> {
        for heads in self.store.heads(org).await? {
            if heads.gone > 0 {
                let first = self.store.found_events(org, heads.lane.into(), heads.gone, 1, 1).await?.pop();
                let first = first.and_then(|event| event.at).unwrap_or(Instant::from_millis(i64::MAX));
                state.since = state.since.max(Some(first));
            }
            let read = state.read.entry(heads.lane).or_default();
            *read = heads.gone.max(*read);
            while *read < heads.newest {
                let upto = heads.newest.min(*read + EVENTS);
                for told in self.store.deletions(org, heads.lane, *read, upto).await? {
                    let key = (told.kind, told.object);
                    let is_known = state.last.get(&key).is_some_and(|last| last.rev <= told.rev);
                    let is_first = told.alone && !state.last.contains_key(&key);
                    if is_known || is_first {
                        state.last.insert(key, Last { rev: told.rev, is_deleted: told.is_deleted });
                    }
                }
                *read = upto;
            }
        }
        Ok(())
    }
}
