//! Keeping the search index with the sequence.
//!
//! Every process follows for its own index, so there is no lease, and the position is kept in the index, not in the database.
//! Of each event only the record's name is used: the record is read as it is now and put in place of what the index had of
//! it, so events that come twice or late change nothing. Searches that wait go first; otherwise what comes is gathered for a
//! while, since a commit of the index costs as much as indexing a thousand records.
//!
//! An index that cannot be used, or has a position that is not of this database, is built from the records as they are: the
//! newest position is noted first, so that whatever changes meanwhile is followed afterwards. Other orgs are followed all
//! the while.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use konverse_jobs::Rounds;
use konverse_model::{Id, Kind, OrgId, Position as Place};
use konverse_search::Object;
use konverse_search::index::{Batch, Index, IndexError, Mark};
use konverse_store::{Event, Found, Position, Row, Store, StoreError, Walk};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::{Feed, FeedError};

/// Events taken at once.
const AT_ONCE: u32 = 1_000;

/// Records read at once by their ids. Each may have some megabytes.
const RECORDS: usize = 16;

/// Bytes of records handed over at once.
const BYTES: usize = 4 << 20;

/// Records read at once while an index is built.
const BUILT: u32 = 500;

/// How long what comes is gathered while nobody waits for it.
const GATHER: Duration = Duration::from_secs(2);

/// How often other processes' changes are looked for. A search does not wait for that.
const LOOK: Duration = Duration::from_secs(5);

/// How often this process's own changes are looked for, while there are some.
const OWN_LOOK: Duration = Duration::from_secs(1);

/// How long it is waited after a failure, the first time and at most.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(60)];

/// Records between two lines of the log while an index is built.
const TOLD: u64 = 100_000;

/// Follows for the search index of a process.
pub struct Indexing {
    index: Arc<Index>,
    store: Arc<dyn Store>,
    orgs: BTreeMap<OrgId, Following>,
    /// Those in which more is known to have happened.
    behind: BTreeSet<OrgId>,
}

/// Where following an org stands.
#[derive(Default)]
struct Following {
    stage: Stage,
    /// Since when something is not committed.
    uncommitted: Option<Instant>,
    /// After failures: how many there were, and until when nothing is tried.
    failures: u32,
    paused: Option<Instant>,
}

#[derive(Default)]
enum Stage {
    #[default]
    Closed,
    /// It waits to be built.
    Queued,
    Building(Build),
    /// It has come so far, with what is not committed.
    Open(Mark),
}

struct Build {
    mark: Mark,
    kinds: Vec<Kind>,
    after: Option<Place>,
    begun: Instant,
    done: u64,
    skipped: usize,
}

enum Failure {
    Index(IndexError),
    Store(StoreError),
}

impl From<IndexError> for Failure {
    fn from(error: IndexError) -> Self {
        Self::Index(error)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl Indexing {
    /// Nothing is followed yet.
    pub fn new(index: Arc<Index>, store: Arc<dyn Store>) -> Self {
        Self { index, store, orgs: BTreeMap::new(), behind: BTreeSet::new() }
    }

    /// Follows every org until told to stop. `changed` moves with this process's own changes.
    pub async fn run(
        &mut self,
        mut changed: watch::Receiver<u64>,
        rounds: &Rounds,
        mut stopped: watch::Receiver<bool>,
    ) {
        let mut looked: Option<Instant> = None;
        let mut has_changed = false;
        while !*stopped.borrow() {
            let due = looked.map(|looked| looked + if has_changed { OWN_LOOK } else { LOOK });
            let mut well = true;
            if due.is_none_or(|due| due <= Instant::now()) {
                (looked, has_changed) = (Some(Instant::now()), false);
                changed.borrow_and_update();
                well = self.look().await;
            }
            let more = self.go_on().await;
            rounds.came_round(well && self.orgs.values().all(|org| org.failures == 0));
            if more {
                continue;
            }
            let next = looked.map_or_else(Instant::now, |looked| looked + if has_changed { OWN_LOOK } else { LOOK });
            tokio::select! {
                () = self.index.woken() => {}
                Ok(()) = changed.changed(), if !has_changed => has_changed = true,
                () = tokio::time::sleep_until(self.due().map_or(next, |due| due.min(next))) => {}
                _ = stopped.wait_for(|stopped| *stopped) => break,
            }
        }
        self.index.close().await;
    }

    /// Notes which orgs there are, all of which may have changed.
    async fn look(&mut self) -> bool {
        match self.store.orgs().await {
            Ok(orgs) => {
                self.behind.extend(orgs.into_iter().map(|org| org.id));
                true
            }
            Err(error) => {
                tracing::error!("cannot look for what the search index has to follow: {error}");
                false
            }
        }
    }

    /// When something is to be done that nobody wakes this for.
    fn due(&self) -> Option<Instant> {
        let due = |org: &Following| org.paused.or(org.uncommitted.map(|since| since + GATHER));
        self.orgs.values().filter_map(due).min()
    }

    /// Does a bounded part of what there is to do; whether there is more.
    async fn go_on(&mut self) -> bool {
        let now = Instant::now();
        let wanted: BTreeSet<_> = self.index.wanted().into_iter().collect();
        let due = |org: &Following| {
            org.uncommitted.is_some_and(|since| since + GATHER <= now) || org.paused.is_some_and(|until| until <= now)
        };
        let due: Vec<_> = self.orgs.iter().filter(|(_, org)| due(org)).map(|(org, _)| *org).collect();
        let mut others = std::mem::take(&mut self.behind);
        others.extend(due);
        let mut behind = BTreeSet::new();
        for org in wanted.iter().copied().chain(others.into_iter().filter(|org| !wanted.contains(org))) {
            if self.tried(org, false).await {
                behind.insert(org);
            }
        }
        self.behind.extend(behind);
        // One index at a time is built, and of it a part.
        let is_building = |stage: &Stage| matches!(stage, Stage::Building(_));
        let building = self.orgs.iter().find(|(_, org)| is_building(&org.stage));
        let queued = || self.orgs.iter().find(|(_, org)| matches!(org.stage, Stage::Queued) && org.paused.is_none());
        let built = match building.or_else(queued).map(|(org, _)| *org) {
            Some(org) => self.tried(org, true).await,
            None => false,
        };
        built || !self.behind.is_empty()
    }

    /// Goes on with one org, and sees to what fails: that is no other org's trouble. Gives whether there is more.
    async fn tried(&mut self, org: OrgId, build: bool) -> bool {
        let mut following = self.orgs.remove(&org).unwrap_or_default();
        if following.paused.is_some_and(|until| until > Instant::now()) {
            self.orgs.insert(org, following);
            return false;
        }
        following.paused = None;
        let done = if build { self.build(org, &mut following).await } else { self.follow(org, &mut following).await };
        let more = match done {
            Ok(more) => {
                if matches!(following.stage, Stage::Open(_)) {
                    following.failures = 0;
                }
                more
            }
            Err(failure) => {
                let pause = PAUSES[0].saturating_mul(1 << following.failures.min(6)).min(PAUSES[1]);
                following.failures += 1;
                following.paused = Some(Instant::now() + pause);
                match failure {
                    // The index is as it was; only reading failed.
                    Failure::Store(error) => tracing::error!(%org, "cannot follow for the search index: {error}"),
                    Failure::Index(error) => {
                        tracing::error!(%org, "the search index cannot be written: {error}");
                        self.index.give_up(org).await;
                        following.stage = Stage::Closed;
                        following.uncommitted = None;
                    }
                }
                false
            }
        };
        self.orgs.insert(org, following);
        more
    }

    /// Follows an org for a batch of events.
    async fn follow(&self, org: OrgId, following: &mut Following) -> Result<bool, Failure> {
        if self.index.is_suspect(org) && matches!(following.stage, Stage::Open(_)) {
            following.stage = Stage::Closed;
        }
        if matches!(following.stage, Stage::Closed) {
            following.uncommitted = None;
            following.stage = match self.index.open_org(org).await? {
                Some(mark) if self.is_of_this_database(org, &mark).await? => {
                    self.index.ready(org, &mark);
                    Stage::Open(mark)
                }
                Some(_) => {
                    tracing::warn!(%org, "the search index is of another database and is built anew");
                    self.will_build(org)
                }
                None => self.will_build(org),
            };
        }
        let Stage::Open(mark) = &mut following.stage else { return Ok(false) };
        let batch = match Feed::new(Arc::clone(&self.store), org).after(&mark.position, AT_ONCE).await {
            Ok(batch) => batch,
            Err(FeedError::Gone) => {
                tracing::warn!(%org, "events the search index has not seen are no longer kept: it is built anew");
                following.stage = self.will_build(org);
                return Ok(false);
            }
            // Records tell what an event cannot.
            Err(FeedError::Store(StoreError::Corrupt(why))) => {
                tracing::error!(%org, "an event cannot be read, so the search index is built anew: {why}");
                following.stage = self.will_build(org);
                return Ok(false);
            }
            Err(FeedError::Store(error)) => return Err(error.into()),
        };
        let is_more = !batch.events.is_empty();
        if is_more {
            let before = mark.clone();
            for event in &batch.events {
                mark.ends.insert(event.lane, event.at);
            }
            mark.position = batch.position;
            self.write(org, &batch.events, before, mark.clone()).await?;
            following.uncommitted.get_or_insert_with(Instant::now);
        }
        let is_old = following.uncommitted.is_some_and(|since| since.elapsed() >= GATHER);
        if following.uncommitted.is_some() && (is_old || self.index.is_wanted(org, &mark.position)) {
            self.index.commit(org).await?;
            following.uncommitted = None;
        }
        Ok(is_more)
    }

    fn will_build(&self, org: OrgId) -> Stage {
        self.index.will_build(org);
        Stage::Queued
    }

    /// Whether an index has come this far in this database, and not in one that it was before it was put back from a copy.
    async fn is_of_this_database(&self, org: OrgId, mark: &Mark) -> Result<bool, StoreError> {
        let newest: Position = self.store.heads(org).await?.into_iter().collect();
        if !newest.covers(&mark.position) {
            return Ok(false);
        }
        for (lane, seq) in mark.position.lanes() {
            let Some(at) = mark.ends.get(&lane) else { continue };
            let event = match self.store.events(org, lane, seq - 1, 1).await {
                Ok(events) => events.into_iter().find(|event| event.seq == seq),
                Err(StoreError::Corrupt(_)) => None,
                Err(error) => return Err(error),
            };
            // One that is no longer kept tells nothing.
            if event.is_some_and(|event| event.at != *at) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Writes down the records events tell of, as they are now.
    async fn write(&self, org: OrgId, events: &[Event], before: Mark, after: Mark) -> Result<(), Failure> {
        let mut objects: BTreeMap<Kind, BTreeSet<Id>> = BTreeMap::new();
        for event in events.iter().filter(|event| Object::of(event.kind).is_some()) {
            objects.entry(event.kind).or_default().insert(event.object);
        }
        // Until all of them are written the index has come no further.
        let (mut batch, mut bytes) = (Batch { rows: Vec::new(), gone: Vec::new(), mark: before.clone() }, 0);
        let mut skipped = 0;
        for (kind, ids) in objects {
            let ids: Vec<_> = ids.into_iter().collect();
            for ids in ids.chunks(RECORDS) {
                let (rows, unreadable) = self.rows(org, kind, ids).await?;
                skipped += unreadable;
                let gone = ids.iter().filter(|id| !rows.iter().any(|row| row.id == **id));
                batch.gone.extend(gone.map(|id| (kind, *id)));
                bytes += rows.iter().map(|row| row.doc.len()).sum::<usize>();
                batch.rows.extend(rows);
                if bytes >= BYTES {
                    let full = std::mem::replace(
                        &mut batch,
                        Batch { rows: Vec::new(), gone: Vec::new(), mark: before.clone() },
                    );
                    skipped += self.index.write(org, full).await?;
                    bytes = 0;
                }
            }
        }
        batch.mark = after;
        skipped += self.index.write(org, batch).await?;
        self.left_out(org, skipped);
        Ok(())
    }

    fn left_out(&self, org: OrgId, records: usize) {
        if records > 0 {
            self.index.left_out(records);
            tracing::error!(%org, records, "records that cannot be read are left out of the search index");
        }
    }

    /// Records as they are; and how many of them cannot be read.
    async fn rows(&self, org: OrgId, kind: Kind, ids: &[Id]) -> Result<(Vec<Row>, usize), StoreError> {
        match self.store.get_many(org, kind, ids).await {
            Ok(rows) => Ok((rows, 0)),
            Err(StoreError::Corrupt(_)) => {
                let (mut rows, mut unreadable) = (Vec::new(), 0);
                for id in ids {
                    match self.store.get(org, kind, *id).await {
                        Ok(row) => rows.extend(row),
                        Err(StoreError::Corrupt(_)) => unreadable += 1,
                        Err(error) => return Err(error),
                    }
                }
                Ok((rows, unreadable))
            }
            Err(error) => Err(error),
        }
    }

    /// Builds a part of an org's index.
    async fn build(&self, org: OrgId, following: &mut Following) -> Result<bool, Failure> {
        if matches!(following.stage, Stage::Queued) {
            let position: Position = self.store.heads(org).await?.into_iter().collect();
            let kinds = Object::ALL.into_iter().filter_map(Object::kind).collect();
            self.index.begin(org).await?;
            tracing::info!(%org, "building the search index");
            let mark = Mark { position, ..Mark::default() };
            following.stage =
                Stage::Building(Build { mark, kinds, after: None, begun: Instant::now(), done: 0, skipped: 0 });
        }
        let Stage::Building(build) = &mut following.stage else { return Ok(false) };
        if let Some(kind) = build.kinds.last() {
            let walk = [(Walk::All(*kind), build.after)];
            let part = self.store.walk(org, &walk, BUILT, BYTES).await?.pop().unwrap_or_default();
            let readable = |found| if let Found::Row(row) = found { Some(*row) } else { None };
            let found = part.rows.len();
            let rows: Vec<_> = part.rows.into_iter().filter_map(readable).collect();
            build.skipped += found - rows.len();
            let told = build.done / TOLD;
            build.done += rows.len() as u64;
            build.skipped += self.index.build(org, Batch { rows, gone: Vec::new(), mark: build.mark.clone() }).await?;
            if build.done / TOLD > told {
                tracing::info!(%org, records = build.done, "building the search index");
            }
            build.after = part.next;
            if build.after.is_none() {
                build.kinds.pop();
            }
            return Ok(true);
        }
        // One without any record has to be committed too.
        self.index.build(org, Batch { rows: Vec::new(), gone: Vec::new(), mark: build.mark.clone() }).await?;
        let mark = self.index.publish(org).await?;
        let (records, seconds) = (build.done, build.begun.elapsed().as_secs_f64());
        tracing::info!(%org, records, seconds, "the search index is built");
        self.left_out(org, build.skipped);
        following.stage = Stage::Open(mark);
        Ok(true)
    }
}
