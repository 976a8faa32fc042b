//! The storage contract over any driver.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use konverse_model::mask::Masks;
use konverse_model::{CustomerId, Id, Instant, Kind, OrgId, RENDERER, TeamId, TokenId, UserId};
use konverse_store::{
    Applied, Attempts, Blocks, Changes, Conflict, Credential, Credentials, Described, Due, Entrance, Event, Events,
    Heads, Holding, Jobs, List, Lists, Looked, Org, Page, Records, Row, Rows, Scope, Space, Store, StoreError,
    Surroundings, Trouble, Unready, Verb, Version, Window,
};
use quick_cache::sync::Cache;

use crate::block::{self, Counted, Far, Near, Since};
use crate::plan::holder_code;
use crate::{Columns, Cost, Dialect, Driver, Moment, Query, Step, Value, Work, select, table};

/// The roles of a user, of their role groups and of the role groups of their teams, `$1` between them. What stands for the
/// org and the user is put in.
macro_rules! roles {
    ($org:literal, $user:literal) => {
        concat!(
            "(SELECT string_agg(h.roles, CAST($1 AS text)) FROM (SELECT u.roles FROM holding u WHERE u.org = ",
            $org,
            " AND u.kind = 1 AND u.owner = ",
            $user,
            " UNION ALL SELECT g.roles FROM assignment a JOIN holding g ON g.org = a.org AND g.kind = 3 \
            AND g.owner = a.role_group WHERE a.org = ",
            $org,
            " AND a.kind = 1 AND a.owner = ",
            $user,
            " UNION ALL SELECT g.roles FROM membership m JOIN assignment a ON a.org = m.org AND a.kind = 2 \
            AND a.owner = m.team JOIN holding g ON g.org = a.org AND g.kind = 3 AND g.owner = a.role_group WHERE m.org = ",
            $org,
            " AND m.user_id = ",
            $user,
            ") h)"
        )
    };
}

/// What a token stands for; a session's roles are looked up along.
macro_rules! credential {
    ($more:literal) => {
        concat!(
            "SELECT k.org, k.token, k.user_id, CASE WHEN length(k.roles) > 0 THEN k.roles ELSE ",
            roles!("k.org", "k.user_id"),
            " END, k.cidr, k.expires_at, o.described, o.masks",
            $more
        )
    };
}

const CREDENTIAL: &str = credential!(" FROM credential k LEFT JOIN org o ON o.id = k.org WHERE k.hash = $2");
/// Both in one round trip. A customer without a turn is none of this org.
const CREDENTIAL_AND_TURN: &str = credential!(
    ", c.turn FROM credential k LEFT JOIN org o ON o.id = k.org LEFT JOIN customer c ON c.org = k.org AND c.id = $2 \
     WHERE k.hash = $3"
);
const ROLES: &str = concat!("SELECT ", roles!("$2", "$3"));
/// What stands between role names.
const SPACE: &str = " ";
const PASSWORD: &str = "SELECT hash FROM password WHERE org = $1 AND user_id = $2";
const REMEMBERED: &str = "SELECT at FROM network WHERE org = $1 AND user_id = $2 AND prefix = $3";
const HELD: &str = "SELECT roles FROM holding WHERE org = $1 AND kind = $2 AND owner = $3";
const ASSIGNED: &str =
    "SELECT role_group FROM assignment WHERE org = $1 AND kind = $2 AND owner = $3 ORDER BY role_group";
const TOKENS: &str = "SELECT token FROM credential WHERE org = $1 AND user_id = $2 ORDER BY token";
const ATTEMPTS: &str = "SELECT failures, since, last_at FROM attempt WHERE hash = $1";
const FIRST_ATTEMPT: &str = "INSERT INTO attempt (hash, failures, since, last_at) VALUES ($1, $2, $3, $4) \
    ON CONFLICT (hash) DO NOTHING";
const NEXT_ATTEMPT: &str = "UPDATE attempt SET failures = $1, since = $2, last_at = $3 \
    WHERE hash = $4 AND failures = $5 AND since = $6 AND last_at = $7";
/// Each failure adds two rows at most, so that those which are old become fewer.
const OLD_ATTEMPTS: &str = "DELETE FROM attempt WHERE last_at < $1 AND hash IN \
    (SELECT o.hash FROM attempt o WHERE o.last_at < $2 ORDER BY o.last_at LIMIT 8)";
const FORGET_ATTEMPTS: &str = "DELETE FROM attempt WHERE hash = $1";
const DESCRIBED: &str = "SELECT described, masks FROM org WHERE id = $1";
const HOLDER: &str = "SELECT owner FROM identifier WHERE org = $1 AND space = $2 AND value = $3";
const TEAMS: &str = "SELECT team FROM membership WHERE org = $1 AND user_id = $2 ORDER BY team";
const TALLY: &str = "SELECT CAST(coalesce(sum(amount), 0) AS bigint) FROM tally WHERE org = $1 AND name = $2";
const DUE: &str = "SELECT org, id FROM conversation c WHERE wake_at IS NOT NULL AND wake_at <= $1 AND NOT EXISTS \
    (SELECT 1 FROM trouble t WHERE t.job = $2 AND t.org = c.org AND t.item = c.id AND t.retry_at > $3) \
    ORDER BY wake_at LIMIT $4";
const LEASE: &str = "INSERT INTO lease (name, holder, ends_at) VALUES ($1, $2, $3) ON CONFLICT (name) DO UPDATE \
    SET holder = excluded.holder, ends_at = excluded.ends_at WHERE lease.ends_at <= $4 OR lease.ends_at > $3 + ($3 - $4) \
    OR lease.holder = excluded.holder";
const LEASE_HOLDER: &str = "SELECT holder FROM lease WHERE name = $1 AND ends_at > $2 AND ends_at <= $3 + ($3 - $2)";
/// A write that proves that there can be one: a lease that is over when it is taken, so that it stands in nobody's way.
const PROOF: &str = "INSERT INTO lease (name, holder, ends_at) VALUES ($1, $2, $3) ON CONFLICT (name) DO UPDATE \
    SET holder = excluded.holder, ends_at = excluded.ends_at";
/// The name of that lease, and when it was last committed, by whichever process.
const READY: &str = "ready";
const PROVEN: &str = "SELECT ends_at FROM lease WHERE name = $1";

/// For how many milliseconds a proof that was committed stands for those of all processes, so far as these try to write.
const COMMITTED: i64 = 30_000;

/// What every writer needs of PostgreSQL's tables, and nobody gets while somebody else has locked one against writing. It
/// waits for less than the second after which the server looks for a deadlock, so that a migration, which takes the tables
/// in another order, is never given up because of it.
const LOCK_ALL: [&str; 3] = [
    "SET LOCAL lock_timeout = 500",
    "LOCK TABLE assignment, attempt, block, block_change, block_due, conversation, credential, customer, event, holding, \
     identifier, lane, membership, message, network, note, org, password, record, tally IN ROW EXCLUSIVE MODE",
    "SET LOCAL lock_timeout TO DEFAULT",
];
pub(crate) const END_LEASE: &str = "DELETE FROM lease WHERE name = $1 AND holder = $2";
const TROUBLES: &str = "SELECT job, org, item, attempts, retry_at, reason FROM trouble WHERE job = $1 \
    ORDER BY retry_at, org, item LIMIT $2";
const DUE_TROUBLES: &str = "SELECT job, org, item, attempts, retry_at, reason FROM trouble \
    WHERE job = $1 AND org = $2 AND retry_at <= $3 ORDER BY retry_at, item LIMIT $4";
const TROUBLE: &str = "SELECT job, org, item, attempts, retry_at, reason FROM trouble \
    WHERE job = $1 AND org = $2 AND item = $3";
const PUT_TROUBLE: &str = "INSERT INTO trouble (job, org, item, attempts, retry_at, reason) \
    VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (job, org, item) DO UPDATE \
    SET attempts = excluded.attempts, retry_at = excluded.retry_at, reason = excluded.reason";
const CLEAR_TROUBLE: &str = "DELETE FROM trouble WHERE job = $1 AND org = $2 AND item = $3";
const POSITION: &str = "SELECT position FROM follower WHERE name = $1 AND org = $2";
const PUT_POSITION: &str = "INSERT INTO follower (name, org, position) VALUES ($1, $2, $3) \
    ON CONFLICT (name, org) DO UPDATE SET position = excluded.position";
const ORGS: &str = "SELECT id, name, created_at FROM org ORDER BY name";
const ORG: &str = "SELECT id, name, created_at FROM org WHERE id = $1";
const ORG_NAMED: &str = "SELECT id, name, created_at FROM org WHERE name = $1";
const HEADS: &str = "SELECT n, seq, gone FROM lane WHERE org = $1 AND seq > $2 ORDER BY n";
pub(crate) const EVENTS: &str = "SELECT lane, seq, at, verb, kind, object, customer, actor, rev, changes FROM event \
    WHERE org = $1 AND lane = $2 AND seq > $3 ORDER BY seq LIMIT $4";
const OLDEST: &str = "SELECT seq, at FROM event WHERE org = $1 AND lane = $2 AND seq > $3 ORDER BY seq LIMIT $4";
const FORGET: &str = "DELETE FROM event WHERE org = $1 AND lane = $2 AND seq <= $3";
const RAISE_GONE: &str = "UPDATE lane SET gone = $1 WHERE org = $2 AND n = $3 AND gone < $4";

/// The holder of what nobody holds.
pub(crate) const NOBODY: Id = Id::from_bytes([0; 12]);

/// PostgreSQL's texts cannot hold it, so no stored name does.
const NUL: char = '\0';

/// Tokens that are kept in mind where the driver can prove that they still open what they did.
const DOORS: usize = 4096;

/// A token's credential, and the moment it was read at: `epoch` and `doors` must still be the same.
type Door = (Moment, Arc<Credential>);

/// The storage contract, run by `D`.
pub struct SqlStore<D> {
    driver: D,
    doors: Cache<[u8; 32], Door>,
    near: Near,
}

impl<D: Driver> SqlStore<D> {
    /// A store on this driver, whose schema is up to date.
    pub fn new(driver: D) -> Self {
        Self { driver, doors: Cache::new(DOORS), near: Near::default() }
    }

    /// The same, in which a page is near the beginning of its list up to so many rows: tests see with few rows what others
    /// see with many.
    #[must_use]
    pub fn near(self, rows: u64) -> Self {
        Self { near: Near(rows), ..self }
    }

    /// The driver.
    pub fn driver(&self) -> &D {
        &self.driver
    }

    /// What a request begins with, where no proof of freshness is to be had without asking.
    async fn enter_by_statement(
        &self,
        hash: [u8; 32],
        about: Option<CustomerId>,
    ) -> Result<Option<Entrance>, StoreError> {
        let query = match about {
            Some(customer) => {
                Query::bounded(CREDENTIAL_AND_TURN, vec![text(SPACE), customer.0.into(), Value::Hash(hash)])
            }
            None => Query::bounded(CREDENTIAL, vec![text(SPACE), Value::Hash(hash)]),
        };
        let Some(row) = self.one(query).await?.pop() else { return Ok(None) };
        let mut columns = Columns::new(row);
        let credential = Arc::new(credential(&mut columns)?);
        let turn = about.map(|_| columns.optional_int()).transpose()?.flatten();
        Ok(Some(Entrance { credential, version: turn.map(Version::Turn) }))
    }

    /// When a proof was last committed, by whichever process.
    async fn proven(&self) -> Result<Option<Instant>, StoreError> {
        let row = self.one(Query::bounded(PROVEN, vec![text(READY)])).await?.pop();
        row.map(|row| Columns::new(row).int().map(Instant::from_millis)).transpose()
    }

    /// Runs steps that belong to no org's sequence.
    async fn run(&self, steps: Vec<Step>) -> Result<(), StoreError> {
        self.driver.write(Work::of_steps(D::DIALECT, steps)).await.map(drop)
    }

    pub(crate) async fn one(&self, query: Query) -> Result<Vec<Vec<Value>>, StoreError> {
        Ok(self.driver.read(vec![query]).await?.pop().unwrap_or_default())
    }
}

fn by_id(org: OrgId, kind: Kind, id: Id) -> Query {
    where_id(&table::of(kind).select, org, kind, id)
}

fn where_id(select: &str, org: OrgId, kind: Kind, id: Id) -> Query {
    if table::is_shared(kind) {
        let params = vec![org.0.into(), Value::Text(kind.name().to_owned()), id.into()];
        Query::bounded(format!("{select} WHERE org = $1 AND kind = $2 AND id = $3"), params)
    } else {
        Query::bounded(format!("{select} WHERE org = $1 AND id = $2"), vec![org.0.into(), id.into()])
    }
}

fn org(row: Vec<Value>) -> Result<Org, StoreError> {
    let mut columns = Columns::new(row);
    Ok(Org { id: OrgId(columns.id()?), name: columns.text()?, created_at: Instant::from_millis(columns.int()?) })
}

fn credential(columns: &mut Columns) -> Result<Credential, StoreError> {
    Ok(Credential {
        org: OrgId(columns.id()?),
        token: TokenId(columns.id()?),
        user: UserId(columns.id()?),
        roles: columns.optional_text()?.unwrap_or_default(),
        cidr: columns.optional_text()?,
        expires_at: columns.optional_int()?.map(Instant::from_millis),
        described: described(columns)?,
    })
}

fn described(columns: &mut Columns) -> Result<Described, StoreError> {
    // An org that is gone describes nothing.
    let version = columns.optional_int()?.unwrap_or(0);
    let masks = columns.optional_text()?.map(|text| Masks::from_text(&text)).transpose();
    let masks = masks.map_err(|error| StoreError::Corrupt(format!("what is sensitive in an org: {error}")))?;
    Ok(Described { version, masks: masks.filter(|masks| !masks.is_empty()).map(Arc::new) })
}

pub(crate) fn event(row: Vec<Value>) -> Result<Event, StoreError> {
    let mut columns = Columns::new(row);
    let lane = columns.int()?;
    let (seq, at, verb, kind) = (columns.int()?, columns.int()?, columns.text()?, columns.text()?);
    let corrupt = |what: &str, value: &str| StoreError::Corrupt(format!("event {what} {value}"));
    Ok(Event {
        lane: u8::try_from(lane).map_err(|_| corrupt("lane", &lane.to_string()))?,
        seq,
        at: Instant::from_millis(at),
        verb: Verb::ALL.into_iter().find(|known| known.name() == verb).ok_or_else(|| corrupt("verb", &verb))?,
        kind: Kind::from_name(&kind).ok_or_else(|| corrupt("kind", &kind))?,
        object: columns.id()?,
        customer: columns.optional_id()?.map(CustomerId),
        actor: columns.optional_id()?.map(UserId),
        rev: columns.int()?,
        changes: columns.optional_text()?,
    })
}

fn trouble(row: Vec<Value>) -> Result<Trouble, StoreError> {
    let mut columns = Columns::new(row);
    Ok(Trouble {
        job: columns.text()?,
        org: OrgId(columns.id()?),
        item: columns.id()?,
        attempts: columns.int()?,
        retry_at: Instant::from_millis(columns.int()?),
        reason: columns.text()?,
    })
}

pub(crate) fn step(sql: &'static str, params: Vec<Value>) -> Step {
    Step { sql: sql.into(), params, must_change: false, conflict: None }
}

pub(crate) fn text(value: &str) -> Value {
    Value::Text(value.to_owned())
}

#[async_trait]
impl<D: Driver> Store for SqlStore<D> {
    async fn ping(&self) -> Result<(), StoreError> {
        self.one(Query::bounded("SELECT count(*) FROM org", Vec::new())).await.map(drop)
    }

    async fn prove(&self, now: Instant) -> Result<(), Unready> {
        let ready = || self.driver.ready();
        let no_write = |error: StoreError| Unready::NoWrite(error.to_string());
        ready()?;
        // SQLite has no locks but that of the file, which any write needs.
        let locks = LOCK_ALL.into_iter().filter(|_| D::DIALECT == Dialect::Postgres).map(|sql| step(sql, Vec::new()));
        let proof = step(PROOF, vec![text(READY), Value::Id(NOBODY), now.into()]);
        let work = Work::of_steps(D::DIALECT, locks.chain([proof]).collect());
        let proven = match self.proven().await {
            // A clock that was put back makes it old.
            Ok(Some(at)) if at <= now && now.since(at) < COMMITTED => {
                self.driver.rehearse(work).await.map_err(no_write)
            }
            Ok(_) => self.driver.write(work).await.map(drop).map_err(no_write),
            Err(error) => Err(Unready::NoAnswer(error.to_string())),
        };
        // What it failed by may be known now.
        proven.or_else(|failure| ready().and(Err(failure)))
    }

    async fn look_through(&self) -> Result<Looked, StoreError> {
        self.driver.look_through().await
    }

    fn is_damaged(&self) -> bool {
        self.driver.is_damaged()
    }
}

#[async_trait]
impl<D: Driver> Records for SqlStore<D> {
    async fn get(&self, org: OrgId, kind: Kind, id: Id) -> Result<Option<Row>, StoreError> {
        self.one(by_id(org, kind, id)).await?.pop().map(|row| table::of(kind).row(kind, row)).transpose()
    }

    async fn get_many(&self, org: OrgId, kind: Kind, ids: &[Id]) -> Result<Vec<Row>, StoreError> {
        let queries = ids.iter().map(|id| by_id(org, kind, *id)).collect();
        let rows = self.driver.read(queries).await?.into_iter().flatten();
        rows.map(|row| table::of(kind).row(kind, row)).collect()
    }

    async fn present(&self, org: OrgId, kind: Kind, ids: &[Id]) -> Result<Vec<Id>, StoreError> {
        let select = format!("SELECT id FROM {}", table::of(kind).name);
        let queries = ids.iter().map(|id| where_id(&select, org, kind, *id)).collect();
        self.driver.read(queries).await?.into_iter().flatten().map(|row| Columns::new(row).id()).collect()
    }

    async fn by_external_id(&self, org: OrgId, kind: Kind, external_id: &str) -> Result<Option<Row>, StoreError> {
        if external_id.contains(NUL) {
            return Ok(None);
        }
        let table = table::of(kind);
        let sql =
            format!("{} WHERE org = $1 AND external_id = $2 AND external_id IS NOT NULL AND hidden = 0", table.select);
        let params = vec![org.0.into(), Value::Text(external_id.to_owned())];
        self.one(Query::bounded(sql, params)).await?.pop().map(|row| table.row(kind, row)).transpose()
    }

    async fn holders(&self, org: OrgId, names: &[(Space, String)]) -> Result<Vec<Option<Id>>, StoreError> {
        let query = |(space, value): &(Space, String)| {
            // What cannot be stored is held by nobody, and the empty text is no name.
            let value = if value.contains(NUL) { String::new() } else { value.clone() };
            let params = vec![org.0.into(), Value::Text(space.name().to_owned()), Value::Text(value)];
            Query::bounded(HOLDER, params)
        };
        let rows = self.driver.read(names.iter().map(query).collect()).await?;
        rows.into_iter().map(|mut rows| rows.pop().map(|row| Columns::new(row).id()).transpose()).collect()
    }

    async fn tally(&self, org: OrgId, name: &str) -> Result<u64, StoreError> {
        let rows = self.one(Query::bounded(TALLY, vec![org.0.into(), Value::Text(name.to_owned())])).await?;
        let sum = rows.into_iter().next().map(|row| Columns::new(row).int()).transpose()?.unwrap_or(0);
        u64::try_from(sum).map_err(|_| StoreError::Corrupt(format!("tally {name} = {sum}")))
    }

    async fn teams_of(&self, org: OrgId, users: &[UserId]) -> Result<Vec<Vec<TeamId>>, StoreError> {
        let query = |user: &UserId| Query::bounded(TEAMS, vec![org.0.into(), user.0.into()]);
        let rows = self.driver.read(users.iter().map(query).collect()).await?;
        rows.into_iter().map(|rows| rows.into_iter().map(|row| Columns::new(row).id().map(TeamId)).collect()).collect()
    }

    async fn surroundings(
        &self,
        org: OrgId,
        kind: Kind,
        id: Id,
        user: Option<UserId>,
    ) -> Result<Option<Surroundings>, StoreError> {
        let mut queries = vec![select::surroundings(org, kind, id)];
        queries.extend(user.map(|user| Query::bounded(TEAMS, vec![org.0.into(), user.0.into()])));
        let mut found = self.driver.read(queries).await?.into_iter();
        let rows = found.next().unwrap_or_default();
        let teams = found.next().unwrap_or_default().into_iter();
        let teams = teams.map(|row| Columns::new(row).id().map(TeamId)).collect::<Result<_, _>>()?;
        let Some(mut customer) = rows.into_iter().next() else { return Ok(None) };
        let mut conversation = customer.split_off(table::of(Kind::Customer).width());
        let entry = conversation.split_off(table::of(Kind::Conversation).width());
        Ok(Some(Surroundings {
            customer: table::of(Kind::Customer).row(Kind::Customer, customer)?,
            conversation: table::of(Kind::Conversation).row(Kind::Conversation, conversation)?,
            entry: if kind == Kind::Conversation { None } else { Some(table::of(kind).row(kind, entry)?) },
            teams,
        }))
    }

    async fn apply(&self, changes: Changes) -> Result<Applied, StoreError> {
        if changes.ops.is_empty() {
            return Ok(Applied::default());
        }
        self.driver.write(Work::changes(D::DIALECT, changes)).await
    }
}

#[async_trait]
impl<D: Driver> Lists for SqlStore<D> {
    async fn page(&self, org: OrgId, list: &List, window: &Window, buffer: Vec<u8>) -> Result<Page, StoreError> {
        let about = match list.scope {
            Scope::Customer(customer) => Some((org, customer)),
            Scope::Org | Scope::Conversation(_) => None,
        };
        let splice = |query, buffer| {
            let reversed = select::is_reversed(window);
            self.driver.splice(Query { bytes: window.bytes, ..query }, about, window.limit, reversed, buffer)
        };
        if let (Some(counted), Some(far)) = (Counted::of(org, list), Far::of(window, self.near)) {
            let by_number = |cost| block::page(D::DIALECT, org, counted, far, cost);
            let page = splice(by_number(Cost::Bounded), buffer).await?;
            if page.count > 0 {
                return Ok(page);
            }
            let total =
                self.one(block::total(org, counted)).await?.pop().map(|row| Columns::new(row).int()).transpose()?;
            if total.is_some_and(|total| far.is_beyond(total)) {
                return Ok(page);
            }
            return splice(by_number(Cost::Unbounded), page.buffer).await;
        }
        if let Some(since) = Since::of(list, window)
            && self.one(since.are_many(org)).await?.is_empty()
        {
            return splice(since.page(D::DIALECT, org, window), buffer).await;
        }
        splice(select::page(D::DIALECT, org, list, window), buffer).await
    }

    async fn rows(&self, org: OrgId, list: &List, window: &Window) -> Result<Rows, StoreError> {
        let query = Query { bytes: window.bytes, ..select::rows(org, list, window) };
        let mut found = self.one(query).await?;
        let bytes: usize = found.iter().flatten().map(Value::bytes).sum();
        let more = found.len() > window.limit as usize || bytes >= window.bytes;
        found.truncate(window.limit as usize);
        if select::is_reversed(window) {
            found.reverse();
        }
        let rows = found.into_iter().map(|row| table::of(list.kind).row(list.kind, row)).collect::<Result<_, _>>()?;
        Ok(Rows { rows, more })
    }

    async fn count(&self, org: OrgId, list: &List) -> Result<u64, StoreError> {
        let rows = self.one(select::count(org, list)).await?;
        let count = rows.into_iter().next().map(|row| Columns::new(row).int()).transpose()?;
        Ok(count.unwrap_or(0).unsigned_abs())
    }
}

#[async_trait]
impl<D: Driver> Blocks for SqlStore<D> {
    async fn uneven(&self, job: &str, now: Instant, size: u32, limit: u32) -> Result<Vec<(OrgId, List)>, StoreError> {
        let list = |row| {
            let mut columns = Columns::new(row);
            let (org, number, scope) = (OrgId(columns.id()?), columns.int()?, columns.id()?);
            let list = Counted::list(number, scope);
            if list.is_none() {
                tracing::error!(%org, %scope, number, "a list of an unknown number is to be looked at; it is left alone");
            }
            Ok(list.map(|list| (org, list)))
        };
        let rows = self.one(block::uneven(job, now, size.into(), limit)).await?;
        rows.into_iter().map(list).filter_map(Result::transpose).collect()
    }

    async fn even_out(&self, org: OrgId, list: &List, size: u32) -> Result<(), StoreError> {
        let counted = Counted::of(org, list).ok_or_else(|| StoreError::Corrupt(format!("{list:?} is not counted")))?;
        // Before it is locked, so that only one lane has to be. On SQLite there is only one.
        let holder = match counted.holder(org).filter(|_| D::DIALECT == Dialect::Postgres) {
            Some(query) => self.one(query).await?.pop().map(|row| Columns::new(row).id()).transpose()?.map(CustomerId),
            None => None,
        };
        let transaction = |dividing: &[(i64, bool)]| {
            let steps = block::even_out(D::DIALECT, org, counted, holder, size.into(), dividing);
            self.driver.write(Work::within_lanes(D::DIALECT, org, counted.lanes(D::DIALECT, holder), steps))
        };
        // First what has changed is taken in, then blocks are divided, a few thousand rows in a transaction.
        let fold = match D::DIALECT {
            Dialect::Sqlite => None,
            // On PostgreSQL that locks no lane, which writers would wait at, unless there is more to do.
            Dialect::Postgres => {
                self.run(block::fold_alone(org, counted, size.into())).await?;
                self.one(block::empty_blocks(org, counted))
                    .await?
                    .pop()
                    .map(|row| Columns::new(row).int())
                    .transpose()?
            }
        };
        if fold != Some(0) {
            transaction(&[]).await?;
        }
        let (mut tried, mut looked_through) = (BTreeSet::new(), BTreeSet::new());
        loop {
            let large = self.one(block::too_large(org, counted, size.into())).await?.into_iter().map(|row| {
                let mut columns = Columns::new(row);
                Ok::<_, StoreError>((columns.int()?, columns.int()?))
            });
            let large: Vec<(i64, i64)> = large.collect::<Result<_, _>>()?;
            if let Some((at, n)) = large.iter().find(|block| looked_through.contains(*block)) {
                return Err(StoreError::Corrupt(format!("{list:?}: the block at {at} has not the {n} rows counted")));
            }
            let Some(first) = large.first() else { return Ok(()) };
            if let Some(stuck) = large.iter().find(|block| tried.contains(*block)) {
                // The bounded try divided nothing: very many rows are of one instant. The whole block is looked at.
                transaction(&[(stuck.0, true)]).await?;
                looked_through.insert(*stuck);
                continue;
            }
            let most = block::divided_at_once(D::DIALECT, size.into());
            let mut rows = first.1;
            let more = large.iter().skip(1).take_while(|(_, n)| {
                rows += n;
                rows <= most
            });
            let group: Vec<_> = std::iter::once(first).chain(more).copied().collect();
            transaction(&group.iter().map(|(at, _)| (*at, false)).collect::<Vec<_>>()).await?;
            tried.extend(group);
        }
    }
}

#[async_trait]
impl<D: Driver> Credentials for SqlStore<D> {
    async fn enter(&self, hash: [u8; 32], about: Option<CustomerId>) -> Result<Option<Entrance>, StoreError> {
        let Some(now) = self.driver.moment() else { return self.enter_by_statement(hash, about).await };
        let kept = self.doors.get(&hash);
        let kept = kept.filter(|(then, _)| (then.epoch, then.doors) == (now.epoch, now.doors));
        let credential = match kept {
            Some((_, credential)) => credential,
            None => {
                let Some(row) = self.one(Query::bounded(CREDENTIAL, vec![text(SPACE), Value::Hash(hash)])).await?.pop()
                else {
                    return Ok(None);
                };
                let credential = Arc::new(credential(&mut Columns::new(row))?);
                self.doors.insert(hash, (now, Arc::clone(&credential)));
                credential
            }
        };
        let version = about.and_then(|customer| self.driver.version(now, credential.org, customer));
        Ok(Some(Entrance { credential, version }))
    }

    async fn described(&self, org: OrgId) -> Result<Described, StoreError> {
        let row = self.one(Query::bounded(DESCRIBED, vec![org.0.into()])).await?.pop();
        row.map_or_else(|| Ok(Described::default()), |row| described(&mut Columns::new(row)))
    }

    async fn orgs(&self) -> Result<Vec<Org>, StoreError> {
        self.one(Query::unbounded(ORGS, Vec::new())).await?.into_iter().map(org).collect()
    }

    async fn org(&self, id: OrgId) -> Result<Option<Org>, StoreError> {
        self.one(Query::bounded(ORG, vec![id.0.into()])).await?.pop().map(org).transpose()
    }

    async fn org_named(&self, name: &str) -> Result<Option<Org>, StoreError> {
        self.one(Query::bounded(ORG_NAMED, vec![Value::Text(name.to_owned())])).await?.pop().map(org).transpose()
    }

    async fn password(&self, org: OrgId, user: UserId) -> Result<Option<String>, StoreError> {
        let query = Query::bounded(PASSWORD, vec![org.0.into(), user.0.into()]);
        self.one(query).await?.pop().map(|row| Columns::new(row).text()).transpose()
    }

    async fn is_remembered(&self, org: OrgId, user: UserId, network: &str) -> Result<bool, StoreError> {
        let query = Query::bounded(REMEMBERED, vec![org.0.into(), user.0.into(), text(network)]);
        Ok(!self.one(query).await?.is_empty())
    }

    async fn roles_of(&self, org: OrgId, user: UserId) -> Result<String, StoreError> {
        let query = Query::bounded(ROLES, vec![text(SPACE), org.0.into(), user.0.into()]);
        let roles = self.one(query).await?.pop().map(|row| Columns::new(row).optional_text()).transpose()?;
        Ok(roles.flatten().unwrap_or_default())
    }

    async fn holding(&self, org: OrgId, kind: Kind, owner: Id) -> Result<Option<Holding>, StoreError> {
        let query = |sql| Query::bounded(sql, vec![org.0.into(), Value::Int(holder_code(kind)), owner.into()]);
        let mut found = self.driver.read(vec![query(HELD), query(ASSIGNED)]).await?.into_iter();
        let Some(row) = found.next().unwrap_or_default().pop() else { return Ok(None) };
        let roles = Columns::new(row).text()?;
        let groups = found.next().unwrap_or_default().into_iter().map(|row| Columns::new(row).id());
        Ok(Some(Holding { kind, owner, roles, groups: groups.collect::<Result<_, _>>()? }))
    }

    async fn tokens_of(&self, org: OrgId, user: UserId) -> Result<Vec<TokenId>, StoreError> {
        let query = Query::bounded(TOKENS, vec![org.0.into(), user.0.into()]);
        self.one(query).await?.into_iter().map(|row| Columns::new(row).id().map(TokenId)).collect()
    }

    async fn attempts(&self, hash: [u8; 32]) -> Result<Option<Attempts>, StoreError> {
        let Some(row) = self.one(Query::bounded(ATTEMPTS, vec![Value::Hash(hash)])).await?.pop() else {
            return Ok(None);
        };
        let mut columns = Columns::new(row);
        let (failures, since, last) = (columns.int()?, columns.int()?, columns.int()?);
        Ok(Some(Attempts { failures, since: Instant::from_millis(since), last: Instant::from_millis(last) }))
    }

    async fn put_attempts(
        &self,
        hash: [u8; 32],
        was: Option<Attempts>,
        now: Attempts,
        forget: Instant,
    ) -> Result<bool, StoreError> {
        let values = |of: Attempts| [Value::Int(of.failures), of.since.into(), of.last.into()];
        let put = match was {
            None => {
                let params = [Value::Hash(hash)].into_iter().chain(values(now)).collect();
                step(FIRST_ATTEMPT, params)
            }
            Some(was) => {
                let params = values(now).into_iter().chain([Value::Hash(hash)]).chain(values(was)).collect();
                step(NEXT_ATTEMPT, params)
            }
        };
        let put = Step { must_change: true, ..put };
        match self.run(vec![put, step(OLD_ATTEMPTS, vec![forget.into(), forget.into()])]).await {
            Ok(()) => Ok(true),
            Err(StoreError::Conflict(Conflict::Busy)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn forget_attempts(&self, hashes: &[[u8; 32]]) -> Result<(), StoreError> {
        let forget = |hash: &[u8; 32]| step(FORGET_ATTEMPTS, vec![Value::Hash(*hash)]);
        self.run(hashes.iter().map(forget).collect()).await
    }
}

#[async_trait]
impl<D: Driver> Events for SqlStore<D> {
    async fn heads(&self, org: OrgId) -> Result<Vec<Heads>, StoreError> {
        let head = |row| {
            let mut columns = Columns::new(row);
            let lane = columns.int()?;
            let lane = u8::try_from(lane).map_err(|_| StoreError::Corrupt(format!("lane {lane}")))?;
            Ok(Heads { lane, newest: columns.int()?, gone: columns.int()? })
        };
        self.one(Query::bounded(HEADS, vec![org.0.into(), Value::Int(0)])).await?.into_iter().map(head).collect()
    }

    async fn events(&self, org: OrgId, lane: u8, after: i64, limit: u32) -> Result<Vec<Event>, StoreError> {
        let params = vec![org.0.into(), Value::Int(lane.into()), Value::Int(after), Value::Int(limit.into())];
        self.one(Query::unbounded(EVENTS, params)).await?.into_iter().map(event).collect()
    }

    fn lane_of(&self, customer: Option<CustomerId>) -> u8 {
        D::DIALECT.lane_of(customer)
    }

    async fn forget(&self, org: OrgId, lane: u8, before: Instant, limit: u32) -> Result<u64, StoreError> {
        let heads = self.heads(org).await?;
        let Some(head) = heads.into_iter().find(|head| head.lane == lane) else { return Ok(0) };
        // From one change to the next a lane's moments never go back, so what is old enough is a beginning of it.
        let params = vec![org.0.into(), Value::Int(lane.into()), Value::Int(head.gone), Value::Int(limit.into())];
        let mut last = None;
        for row in self.one(Query::unbounded(OLDEST, params)).await? {
            let mut columns = Columns::new(row);
            let (seq, at) = (columns.int()?, columns.int()?);
            if at >= before.millis() {
                break;
            }
            last = Some(seq);
        }
        let Some(last) = last else { return Ok(0) };
        let (org, n) = (Value::Id(org.0), Value::Int(lane.into()));
        let raise = vec![Value::Int(last), org.clone(), n.clone(), Value::Int(last)];
        // The mark first: a reader who finds events missing finds it raised.
        self.run(vec![step(RAISE_GONE, raise), step(FORGET, vec![org, n, Value::Int(last)])]).await?;
        Ok(last.abs_diff(head.gone))
    }
}

#[async_trait]
impl<D: Driver> Jobs for SqlStore<D> {
    async fn due(&self, job: &str, now: Instant, limit: u32) -> Result<Vec<Due>, StoreError> {
        let params = vec![now.into(), text(job), now.into(), Value::Int(limit.into())];
        let due = |row| {
            let mut columns = Columns::new(row);
            Ok(Due { org: OrgId(columns.id()?), id: columns.id()? })
        };
        self.one(Query::bounded(DUE, params)).await?.into_iter().map(due).collect()
    }

    async fn outdated(&self, job: &str, kind: Kind, now: Instant, limit: u32) -> Result<Vec<(OrgId, Row)>, StoreError> {
        let query = select::outdated(job, kind, now, limit);
        let row = |row: Vec<Value>| {
            let org = match row.first() {
                Some(Value::Id(org)) => OrgId(*org),
                other => return Err(crate::misplaced(other.unwrap_or(&Value::Null), "an org")),
            };
            Ok((org, table::of(kind).row(kind, row)?))
        };
        self.one(query).await?.into_iter().map(row).collect()
    }

    async fn lease(&self, name: &str, holder: Id, now: Instant, until: Instant) -> Result<bool, StoreError> {
        let params = vec![text(name), holder.into(), until.into(), now.into()];
        let taking = Step { must_change: true, ..step(LEASE, params) };
        match self.run(vec![taking]).await {
            Ok(()) => Ok(true),
            Err(StoreError::Conflict(Conflict::Busy)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn holder(&self, name: &str, now: Instant, until: Instant) -> Result<Option<Id>, StoreError> {
        let query = Query::bounded(LEASE_HOLDER, vec![text(name), now.into(), until.into()]);
        self.one(query).await?.pop().map(|row| Columns::new(row).id()).transpose()
    }

    async fn release(&self, name: &str, holder: Id) -> Result<(), StoreError> {
        self.run(vec![step(END_LEASE, vec![text(name), holder.into()])]).await
    }

    async fn troubles(&self, job: &str, limit: u32) -> Result<Vec<Trouble>, StoreError> {
        let query = Query::bounded(TROUBLES, vec![text(job), Value::Int(limit.into())]);
        self.one(query).await?.into_iter().map(trouble).collect()
    }

    async fn due_troubles(&self, job: &str, org: OrgId, now: Instant, limit: u32) -> Result<Vec<Trouble>, StoreError> {
        let params = vec![text(job), org.0.into(), now.into(), Value::Int(limit.into())];
        self.one(Query::bounded(DUE_TROUBLES, params)).await?.into_iter().map(trouble).collect()
    }

    async fn trouble(&self, job: &str, org: OrgId, item: Id) -> Result<Option<Trouble>, StoreError> {
        let query = Query::bounded(TROUBLE, vec![text(job), org.0.into(), item.into()]);
        self.one(query).await?.pop().map(trouble).transpose()
    }

    async fn put_trouble(&self, trouble: Trouble) -> Result<(), StoreError> {
        let Trouble { job, org, item, attempts, retry_at, reason } = trouble;
        // PostgreSQL's texts hold no NUL.
        let reason = reason.replace(NUL, " ");
        let params = vec![job.into(), org.0.into(), item.into(), attempts.into(), retry_at.into(), Value::Text(reason)];
        self.run(vec![step(PUT_TROUBLE, params)]).await
    }

    async fn clear_trouble(&self, job: &str, org: OrgId, item: Id) -> Result<(), StoreError> {
        self.run(vec![step(CLEAR_TROUBLE, vec![text(job), org.0.into(), item.into()])]).await
    }

    async fn position(&self, follower: &str, org: OrgId) -> Result<Option<String>, StoreError> {
        let query = Query::bounded(POSITION, vec![text(follower), org.0.into()]);
        self.one(query).await?.pop().map(|row| Columns::new(row).text()).transpose()
    }

    async fn put_position(&self, follower: &str, org: OrgId, position: &str) -> Result<(), StoreError> {
        self.run(vec![step(PUT_POSITION, vec![text(follower), org.0.into(), text(position)])]).await
    }
}

/// The version of the renderer is part of a statement's text, since that of a partial index is; it is a constant.
const _: () = assert!(RENDERER == 2, "the indexes of outdated rows name the version: bring them along in a migration");
