//! A store between a domain and its database, in which a test can act at the one moment that matters: after a change was
//! computed and before it is applied.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex as StdMutex, PoisonError};

use async_trait::async_trait;
use konverse_model::{CustomerId, Id, Instant, Kind, OrgId, Position, TeamId, TokenId, UserId};
use konverse_store::{
    Applied, Attempts, Blocks, Changes, Checks, Conflict, Credentials, Deletion, Described, Due, Entrance, Event,
    Events, Found, FoundEvent, Heads, Holding, Jobs, LaneFacts, List, Lists, Looked, Membership, NewCredential, Op,
    Org, Page, Part, Records, Row, Rows, Space, Start, Store, StoreError, Surroundings, Trouble, Unready, Walk, Window,
    WrongBlock,
};
use tokio::sync::Mutex;

type Act = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

/// A store that lets something happen before a change is applied.
pub struct Interposed {
    inner: Arc<dyn Store>,
    before_apply: Mutex<Vec<Act>>,
    before_look: Mutex<Option<Act>>,
    conflicts: AtomicUsize,
    refused: AtomicUsize,
    applied: AtomicUsize,
    taken: AtomicBool,
    answer_lost: AtomicBool,
    away: AtomicUsize,
    looks: AtomicUsize,
    rows: StdMutex<HashMap<Kind, (usize, usize)>>,
    read: AtomicUsize,
    written: AtomicUsize,
    most_written: AtomicUsize,
    reading_on: AtomicUsize,
    most_reading_on: AtomicUsize,
    looked_up: AtomicUsize,
    turns: AtomicUsize,
    restless: AtomicBool,
}

/// Bytes of rows' texts.
fn bytes(rows: &[Row]) -> usize {
    rows.iter().map(|row| row.doc.len()).sum()
}

impl Interposed {
    /// In front of `inner`.
    pub fn new(inner: Arc<dyn Store>) -> Arc<Self> {
        Arc::new(Self {
            inner,
            before_apply: Mutex::default(),
            before_look: Mutex::default(),
            conflicts: AtomicUsize::default(),
            refused: AtomicUsize::default(),
            applied: AtomicUsize::default(),
            taken: AtomicBool::default(),
            answer_lost: AtomicBool::default(),
            away: AtomicUsize::default(),
            looks: AtomicUsize::default(),
            rows: StdMutex::default(),
            read: AtomicUsize::default(),
            written: AtomicUsize::default(),
            most_written: AtomicUsize::default(),
            reading_on: AtomicUsize::default(),
            most_reading_on: AtomicUsize::default(),
            looked_up: AtomicUsize::default(),
            turns: AtomicUsize::default(),
            restless: AtomicBool::default(),
        })
    }

    /// Does this once, before the next change is applied. Several are done one before each.
    pub async fn before_apply(&self, act: impl Future<Output = ()> + Send + 'static) {
        self.before_apply.lock().await.insert(0, Box::pin(act));
    }

    /// Does this once, before what surrounds a record is looked at next: while a change is computed, after its first attempt.
    pub async fn before_look(&self, act: impl Future<Output = ()> + Send + 'static) {
        *self.before_look.lock().await = Some(Box::pin(act));
    }

    /// Lets every change lose from now on, as if others never paused.
    pub fn lose_all(&self) {
        self.taken.store(true, Ordering::SeqCst);
    }

    /// Lets every look-up of a customer find that others wrote to them since the one before.
    pub fn never_rest(&self) {
        self.restless.store(true, Ordering::SeqCst);
    }

    /// Applies the next change and says that it failed, as when the connection breaks at the commit.
    pub fn lose_answer(&self) {
        self.answer_lost.store(true, Ordering::SeqCst);
    }

    /// Is away for so many look-ups of records and changes, as a database that is started anew.
    pub fn go_away(&self, times: usize) {
        self.away.store(times, Ordering::SeqCst);
    }

    fn is_there(&self) -> Result<(), StoreError> {
        let away = self.away.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |times| times.checked_sub(1));
        away.map_or(Ok(()), |_| Err(StoreError::Unavailable("it is away".into())))
    }

    /// Looks at what surrounds a record that were answered so far.
    pub fn looks(&self) -> usize {
        self.looks.load(Ordering::SeqCst)
    }

    /// Full rows of a kind that use cases read from lists since this was last asked: all of them, and most at once.
    pub fn rows_read(&self, kind: Kind) -> (usize, usize) {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner).remove(&kind).unwrap_or_default()
    }

    /// Bytes of texts that one read gave at most since this was last asked.
    pub fn most_read(&self) -> usize {
        self.read.swap(0, Ordering::SeqCst)
    }

    /// Records looked up by several ids at once so far.
    pub fn looked_up(&self) -> usize {
        self.looked_up.load(Ordering::SeqCst)
    }

    /// Bytes of texts, those before and those after, of the changes that were being applied at once, at most.
    pub fn most_written(&self) -> usize {
        self.most_written.load(Ordering::SeqCst)
    }

    /// Lists of which more than the first rows were being read at once, at most, since this was last asked.
    pub fn most_reading_on(&self) -> usize {
        self.most_reading_on.swap(0, Ordering::SeqCst)
    }

    /// Changes that lost against another so far.
    pub fn conflicts(&self) -> usize {
        self.conflicts.load(Ordering::SeqCst)
    }

    /// Changes refused so far because a key was taken.
    pub fn refused(&self) -> usize {
        self.refused.load(Ordering::SeqCst)
    }

    /// Changes that were applied so far.
    pub fn applied(&self) -> usize {
        self.applied.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Store for Interposed {
    async fn ping(&self) -> Result<(), StoreError> {
        self.inner.ping().await
    }

    async fn prove(&self, now: Instant) -> Result<(), Unready> {
        self.inner.prove(now).await
    }

    async fn look_through(&self) -> Result<Looked, StoreError> {
        self.inner.look_through().await
    }

    fn is_damaged(&self) -> bool {
        self.inner.is_damaged()
    }
}

#[async_trait]
impl Blocks for Interposed {
    async fn uneven(&self, job: &str, now: Instant, size: u32, limit: u32) -> Result<Vec<(OrgId, List)>, StoreError> {
        self.inner.uneven(job, now, size, limit).await
    }

    async fn even_out(&self, org: OrgId, list: &List, size: u32) -> Result<(), StoreError> {
        self.inner.even_out(org, list, size).await
    }
}

#[async_trait]
impl Records for Interposed {
    async fn get(&self, org: OrgId, kind: Kind, id: Id) -> Result<Option<Row>, StoreError> {
        let mut row = self.inner.get(org, kind, id).await?;
        if let Some(row) = row.as_mut().filter(|row| row.kind == Kind::Customer && self.restless.load(Ordering::SeqCst))
        {
            row.turn += 1 + self.turns.fetch_add(1, Ordering::SeqCst) as i64;
        }
        Ok(row)
    }

    async fn get_many(&self, org: OrgId, kind: Kind, ids: &[Id]) -> Result<Vec<Row>, StoreError> {
        self.is_there()?;
        let rows = self.inner.get_many(org, kind, ids).await?;
        self.read.fetch_max(bytes(&rows), Ordering::SeqCst);
        self.looked_up.fetch_add(rows.len(), Ordering::SeqCst);
        Ok(rows)
    }

    async fn present(&self, org: OrgId, kind: Kind, ids: &[Id]) -> Result<Vec<Id>, StoreError> {
        self.is_there()?;
        self.inner.present(org, kind, ids).await
    }

    async fn by_external_id(&self, org: OrgId, kind: Kind, external_id: &str) -> Result<Option<Row>, StoreError> {
        self.inner.by_external_id(org, kind, external_id).await
    }

    async fn holders(&self, org: OrgId, names: &[(Space, String)]) -> Result<Vec<Option<Id>>, StoreError> {
        self.inner.holders(org, names).await
    }

    async fn tally(&self, org: OrgId, name: &str) -> Result<u64, StoreError> {
        self.inner.tally(org, name).await
    }

    async fn teams_of(&self, org: OrgId, users: &[UserId]) -> Result<Vec<Vec<TeamId>>, StoreError> {
        self.inner.teams_of(org, users).await
    }

    async fn surroundings(
        &self,
        org: OrgId,
        kind: Kind,
        id: Id,
        user: Option<UserId>,
    ) -> Result<Option<Surroundings>, StoreError> {
        let act = self.before_look.lock().await.take();
        if let Some(act) = act {
            act.await;
        }
        let found = self.inner.surroundings(org, kind, id, user).await;
        self.looks.fetch_add(1, Ordering::SeqCst);
        found
    }

    async fn apply(&self, changes: Changes) -> Result<Applied, StoreError> {
        let act = self.before_apply.lock().await.pop();
        if let Some(act) = act {
            act.await;
        }
        self.is_there()?;
        let texts = changes.ops.iter().map(|op| match op {
            Op::Put(put) => put.now.doc.len() + put.was.as_ref().map_or(0, |row| row.doc.len()),
            _ => 0,
        });
        let size: usize = texts.sum();
        self.most_written.fetch_max(self.written.fetch_add(size, Ordering::SeqCst) + size, Ordering::SeqCst);
        let result = match self.taken.load(Ordering::SeqCst) {
            true => Err(StoreError::Conflict(Conflict::Busy)),
            false => self.inner.apply(changes).await,
        };
        self.written.fetch_sub(size, Ordering::SeqCst);
        let result = match self.answer_lost.swap(false, Ordering::SeqCst) {
            true => result.and(Err(StoreError::Unclear("the connection broke".into()))),
            false => result,
        };
        match &result {
            Ok(_) => self.applied.fetch_add(1, Ordering::SeqCst),
            Err(StoreError::Conflict(Conflict::Stale(..) | Conflict::Busy)) => {
                self.conflicts.fetch_add(1, Ordering::SeqCst)
            }
            Err(StoreError::Conflict(Conflict::Taken(..) | Conflict::Name(..))) => {
                self.refused.fetch_add(1, Ordering::SeqCst)
            }
            Err(_) => 0,
        };
        result
    }
}

#[async_trait]
impl Lists for Interposed {
    async fn page(&self, org: OrgId, list: &List, window: &Window, buffer: Vec<u8>) -> Result<Page, StoreError> {
        self.inner.page(org, list, window, buffer).await
    }

    async fn rows(&self, org: OrgId, list: &List, window: &Window) -> Result<Rows, StoreError> {
        let goes_on = matches!(window.start, Start::After(_));
        if goes_on {
            let reading = self.reading_on.fetch_add(1, Ordering::SeqCst) + 1;
            self.most_reading_on.fetch_max(reading, Ordering::SeqCst);
            // Gives others the chance to do so, too.
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
        }
        let rows = self.inner.rows(org, list, window).await;
        self.reading_on.fetch_sub(usize::from(goes_on), Ordering::SeqCst);
        let rows = rows?;
        self.read.fetch_max(bytes(&rows.rows), Ordering::SeqCst);
        let mut read = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        let (all, most) = read.entry(list.kind).or_default();
        *all += rows.rows.len();
        *most = rows.rows.len().max(*most);
        drop(read);
        Ok(rows)
    }

    async fn count(&self, org: OrgId, list: &List) -> Result<u64, StoreError> {
        self.inner.count(org, list).await
    }
}

#[async_trait]
impl Credentials for Interposed {
    async fn enter(&self, hash: [u8; 32], about: Option<CustomerId>) -> Result<Option<Entrance>, StoreError> {
        self.inner.enter(hash, about).await
    }

    async fn described(&self, org: OrgId) -> Result<Described, StoreError> {
        self.inner.described(org).await
    }

    async fn orgs(&self) -> Result<Vec<Org>, StoreError> {
        self.inner.orgs().await
    }

    async fn org(&self, id: OrgId) -> Result<Option<Org>, StoreError> {
        self.inner.org(id).await
    }

    async fn org_named(&self, name: &str) -> Result<Option<Org>, StoreError> {
        self.inner.org_named(name).await
    }

    async fn password(&self, org: OrgId, user: UserId) -> Result<Option<String>, StoreError> {
        self.inner.password(org, user).await
    }

    async fn is_remembered(&self, org: OrgId, user: UserId, network: &str) -> Result<bool, StoreError> {
        self.inner.is_remembered(org, user, network).await
    }

    async fn roles_of(&self, org: OrgId, user: UserId) -> Result<String, StoreError> {
        self.inner.roles_of(org, user).await
    }

    async fn holding(&self, org: OrgId, kind: Kind, owner: Id) -> Result<Option<Holding>, StoreError> {
        self.inner.holding(org, kind, owner).await
    }

    async fn tokens_of(&self, org: OrgId, user: UserId) -> Result<Vec<TokenId>, StoreError> {
        self.inner.tokens_of(org, user).await
    }

    async fn attempts(&self, hash: [u8; 32]) -> Result<Option<Attempts>, StoreError> {
        self.inner.attempts(hash).await
    }

    async fn put_attempts(
        &self,
        hash: [u8; 32],
        was: Option<Attempts>,
        now: Attempts,
        forget: Instant,
    ) -> Result<bool, StoreError> {
        self.inner.put_attempts(hash, was, now, forget).await
    }

    async fn forget_attempts(&self, hashes: &[[u8; 32]]) -> Result<(), StoreError> {
        self.inner.forget_attempts(hashes).await
    }
}

#[async_trait]
impl Events for Interposed {
    async fn heads(&self, org: OrgId) -> Result<Vec<Heads>, StoreError> {
        self.inner.heads(org).await
    }

    async fn events(&self, org: OrgId, lane: u8, after: i64, limit: u32) -> Result<Vec<Event>, StoreError> {
        self.inner.events(org, lane, after, limit).await
    }

    fn lane_of(&self, customer: Option<CustomerId>) -> u8 {
        self.inner.lane_of(customer)
    }

    async fn forget(&self, org: OrgId, lane: u8, before: Instant, limit: u32) -> Result<u64, StoreError> {
        self.inner.forget(org, lane, before, limit).await
    }
}

#[async_trait]
impl Jobs for Interposed {
    async fn due(&self, job: &str, now: Instant, limit: u32) -> Result<Vec<Due>, StoreError> {
        self.inner.due(job, now, limit).await
    }

    async fn outdated(&self, job: &str, kind: Kind, now: Instant, limit: u32) -> Result<Vec<(OrgId, Row)>, StoreError> {
        self.inner.outdated(job, kind, now, limit).await
    }

    async fn lease(&self, name: &str, holder: Id, now: Instant, until: Instant) -> Result<bool, StoreError> {
        self.inner.lease(name, holder, now, until).await
    }

    async fn holder(&self, name: &str, now: Instant, until: Instant) -> Result<Option<Id>, StoreError> {
        self.inner.holder(name, now, until).await
    }

    async fn release(&self, name: &str, holder: Id) -> Result<(), StoreError> {
        self.inner.release(name, holder).await
    }

    async fn troubles(&self, job: &str, limit: u32) -> Result<Vec<Trouble>, StoreError> {
        self.inner.troubles(job, limit).await
    }

    async fn due_troubles(&self, job: &str, org: OrgId, now: Instant, limit: u32) -> Result<Vec<Trouble>, StoreError> {
        self.inner.due_troubles(job, org, now, limit).await
    }

    async fn trouble(&self, job: &str, org: OrgId, item: Id) -> Result<Option<Trouble>, StoreError> {
        self.inner.trouble(job, org, item).await
    }

    async fn put_trouble(&self, trouble: Trouble) -> Result<(), StoreError> {
        self.inner.put_trouble(trouble).await
    }

    async fn clear_trouble(&self, job: &str, org: OrgId, item: Id) -> Result<(), StoreError> {
        self.inner.clear_trouble(job, org, item).await
    }

    async fn position(&self, follower: &str, org: OrgId) -> Result<Option<String>, StoreError> {
        self.inner.position(follower, org).await
    }

    async fn put_position(&self, follower: &str, org: OrgId, position: &str) -> Result<(), StoreError> {
        self.inner.put_position(follower, org, position).await
    }
}

#[async_trait]
impl Checks for Interposed {
    async fn integrity(&self) -> Result<Vec<String>, StoreError> {
        self.inner.integrity().await
    }

    async fn lost_orgs(&self) -> Result<Vec<(&'static str, Id)>, StoreError> {
        self.inner.lost_orgs().await
    }

    async fn walk(
        &self,
        org: OrgId,
        walks: &[(Walk, Option<Position>)],
        limit: u32,
        bytes: usize,
    ) -> Result<Vec<Part>, StoreError> {
        let parts = self.inner.walk(org, walks, limit, bytes).await?;
        let found = parts.iter().flat_map(|part| &part.rows);
        let texts = found.map(|found| if let Found::Row(row) = found { row.doc.len() } else { 0 });
        self.read.fetch_max(texts.sum(), Ordering::SeqCst);
        Ok(parts)
    }

    async fn strays(
        &self,
        org: OrgId,
        kind: Kind,
        after: Option<Id>,
        limit: u32,
    ) -> Result<(Vec<Id>, Option<Id>), StoreError> {
        self.inner.strays(org, kind, after, limit).await
    }

    async fn names(&self, org: OrgId, kind: Kind, owners: &[Id]) -> Result<Vec<Vec<(Space, String)>>, StoreError> {
        self.inner.names(org, kind, owners).await
    }

    async fn lost_names(
        &self,
        org: OrgId,
        space: Space,
        after: &str,
        limit: u32,
    ) -> Result<(Vec<(String, Id)>, Option<String>), StoreError> {
        self.inner.lost_names(org, space, after, limit).await
    }

    async fn unknown_names(
        &self,
        org: OrgId,
        after: Option<(String, String)>,
        limit: u32,
    ) -> Result<Vec<(String, String, Id)>, StoreError> {
        self.inner.unknown_names(org, after, limit).await
    }

    async fn forget_name(&self, org: OrgId, space: &str, value: &str) -> Result<(), StoreError> {
        self.inner.forget_name(org, space, value).await
    }

    async fn memberships(
        &self,
        org: OrgId,
        after: Option<Membership>,
        limit: u32,
    ) -> Result<Vec<Membership>, StoreError> {
        self.inner.memberships(org, after, limit).await
    }

    async fn credentials(&self, org: OrgId, after: Option<Id>, limit: u32) -> Result<Vec<NewCredential>, StoreError> {
        self.inner.credentials(org, after, limit).await
    }

    async fn tally_and_count(&self, org: OrgId, name: &str) -> Result<(i64, i64), StoreError> {
        self.inner.tally_and_count(org, name).await
    }

    async fn next_counted(&self, org: OrgId, after: Option<(i64, Id)>) -> Result<Option<(i64, Id)>, StoreError> {
        self.inner.next_counted(org, after).await
    }

    fn counted_list(&self, number: i64, scope: Id) -> Option<List> {
        self.inner.counted_list(number, scope)
    }

    async fn wrong_blocks(
        &self,
        org: OrgId,
        list: &List,
        after: Option<i64>,
        limit: u32,
    ) -> Result<(Vec<WrongBlock>, Option<i64>), StoreError> {
        self.inner.wrong_blocks(org, list, after, limit).await
    }

    async fn forget_blocks(&self, org: OrgId, list: &List) -> Result<(), StoreError> {
        self.inner.forget_blocks(org, list).await
    }

    async fn lanes(&self, org: OrgId) -> Result<Vec<LaneFacts>, StoreError> {
        self.inner.lanes(org).await
    }

    async fn found_events(
        &self,
        org: OrgId,
        lane: i64,
        after: i64,
        limit: u32,
        bytes: usize,
    ) -> Result<Vec<FoundEvent>, StoreError> {
        self.inner.found_events(org, lane, after, limit, bytes).await
    }

    async fn deletions(&self, org: OrgId, lane: u8, after: i64, upto: i64) -> Result<Vec<Deletion>, StoreError> {
        self.inner.deletions(org, lane, after, upto).await
    }

    async fn mend_lane(&self, org: OrgId, seen: &LaneFacts, at: Instant, gone: i64) -> Result<(), StoreError> {
        self.inner.mend_lane(org, seen, at, gone).await
    }
}
