//! The reads of a look at everything, and what it mends beside the records.

use std::sync::LazyLock;

use async_trait::async_trait;
use konverse_model::{Id, Instant, Kind, OrgId, Position, TeamId, TokenId, UserId};
use konverse_store::{
    Checks, Deletion, Found, FoundEvent, LaneFacts, List, Membership, NewCredential, Part, Space, StoreError, Verb,
    Walk, WrongBlock,
};

use crate::block::{self, Counted};
use crate::store::{EVENTS, SqlStore, event, step, text};
use crate::table::{self, Table};
use crate::{Columns, Dialect, Driver, Query, Step, Value, Work};

/// Before and after every moment and id.
const FIRST: (i64, Id) = (-(1 << 62), Id::from_bytes([0; 12]));
const LAST: (i64, Id) = (1 << 62, Id::from_bytes([0xff; 12]));

/// What SQLite finds wrong is told up to so many lines; it stops there.
const INTEGRITY: &str = "SELECT integrity_check FROM pragma_integrity_check";
const NAMES: &str = "SELECT space, value FROM identifier WHERE org = $1 AND owner = $2 ORDER BY space, value";
/// The next names of a space, each with whether its holder is missing. What is read is bounded by the limit, not by how many
/// are lost.
const LOST_CUSTOMER_NAMES: &str = "SELECT i.value, i.owner, CAST(CASE WHEN EXISTS (SELECT 1 FROM customer c \
    WHERE c.org = $1 AND c.id = i.owner) THEN 0 ELSE 1 END AS bigint) FROM (SELECT value, owner FROM identifier \
    WHERE org = $1 AND space = $2 AND value > $3 ORDER BY value LIMIT $4) i ORDER BY i.value";
const LOST_NAMES: &str = "SELECT i.value, i.owner, CAST(CASE WHEN EXISTS (SELECT 1 FROM record r \
    WHERE r.org = $1 AND r.kind = $2 AND r.id = i.owner) THEN 0 ELSE 1 END AS bigint) FROM (SELECT value, owner \
    FROM identifier WHERE org = $1 AND space = $3 AND value > $4 ORDER BY value LIMIT $5) i ORDER BY i.value";
const FORGET_NAME: &str = "DELETE FROM identifier WHERE org = $1 AND space = $2 AND value = $3";
const NEXT_SPACE: &str = "SELECT space FROM identifier WHERE org = $1 AND space > $2 ORDER BY space LIMIT 1";
const NAMES_OF_SPACE: &str = "SELECT value, owner FROM identifier WHERE org = $1 AND space = $2 AND value > $3 \
    ORDER BY value LIMIT $4";
const IS_ORG: &str = "SELECT id FROM org WHERE id = $1";
/// Every table that has an org. Each has an index that begins with it, but for `follower` and `trouble`, which hold little.
const OF_ORGS: [&str; 20] = [
    "assignment",
    "block",
    "block_change",
    "block_due",
    "conversation",
    "credential",
    "customer",
    "event",
    "follower",
    "holding",
    "identifier",
    "lane",
    "membership",
    "message",
    "network",
    "note",
    "password",
    "record",
    "tally",
    "trouble",
];
const MEMBERSHIPS: &str = "SELECT user_id, team FROM membership WHERE org = $1 AND (user_id, team) > ($2, $3) \
    ORDER BY user_id, team LIMIT $4";
const TALLY_AND_COUNT: &str = "SELECT (SELECT CAST(coalesce(sum(amount), 0) AS bigint) FROM tally \
    WHERE org = $1 AND name = $2), count(*) FROM customer WHERE org = $1 AND hidden = 0";
const NEXT_COUNTED: [&str; 2] = [
    "SELECT list, scope FROM block WHERE org = $1 AND (list, scope) > ($2, $3) ORDER BY list, scope LIMIT 1",
    "SELECT list, scope FROM block_change WHERE org = $1 AND (list, scope) > ($2, $3) ORDER BY list, scope LIMIT 1",
];
/// Lanes of which only events are left are found from one to the next by the key.
const LANES: &str = "SELECT x.n, coalesce(l.seq, 0), coalesce(l.at, 0), coalesce(l.gone, 0), \
    (SELECT min(e.seq) FROM event e WHERE e.org = $1 AND e.lane = x.n), \
    (SELECT max(e.seq) FROM event e WHERE e.org = $1 AND e.lane = x.n), \
    (SELECT count(*) FROM event e WHERE e.org = $1 AND e.lane = x.n AND e.seq = l.gone) FROM (SELECT n FROM lane WHERE org = $1 UNION \
    SELECT t.n FROM (WITH RECURSIVE told(n) AS (SELECT min(lane) FROM event WHERE org = $1 UNION ALL \
    SELECT (SELECT min(e.lane) FROM event e WHERE e.org = $1 AND e.lane > told.n) FROM told WHERE told.n IS NOT NULL) \
    SELECT n FROM told WHERE n IS NOT NULL) t) x LEFT JOIN lane l ON l.org = $1 AND l.n = x.n ORDER BY x.n";
const CHANGES_SIZES: &str = "SELECT CAST(coalesce(octet_length(changes), 0) AS bigint) FROM event \
    WHERE org = $1 AND lane = $2 AND seq > $3 ORDER BY seq LIMIT $4";
/// The columns of [`EVENTS`].
const EVENT_COLUMNS: [&str; 10] =
    ["lane", "seq", "at", "verb", "kind", "object", "customer", "actor", "rev", "changes"];
const DELETIONS: &str = "SELECT kind, object, rev, CAST(CASE WHEN verb = $1 THEN 1 ELSE 0 END AS bigint), \
    CAST(CASE WHEN changes IS NULL THEN 0 ELSE 1 END AS bigint) FROM event WHERE org = $2 AND lane = $3 AND seq > $4 \
    AND seq <= $5 AND (verb = $6 OR verb = $1 AND changes IS NOT NULL) ORDER BY seq";
const MEND_LANE: &str = "UPDATE lane SET seq = (SELECT max(x.n) FROM (SELECT lane.seq AS n UNION ALL SELECT lane.gone \
    UNION ALL SELECT max(e.seq) FROM event e WHERE e.org = $1 AND e.lane = $2) x), at = CASE WHEN at < $3 THEN CAST($3 AS bigint) ELSE at END, used = CASE WHEN at < $3 THEN 0 ELSE used END \
    WHERE org = $1 AND n = $2";
const SET_GONE: &str = "UPDATE lane SET gone = $1 WHERE org = $2 AND n = $3 AND (gone < $1 OR gone = $4)";

/// A hash has more bytes than an id; as hex it is a text to every driver.
const fn credentials(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Sqlite => {
            "SELECT hex(hash), token, user_id, roles, cidr, expires_at FROM credential \
             WHERE org = $1 AND token > $2 ORDER BY token LIMIT $3"
        }
        Dialect::Postgres => {
            "SELECT upper(encode(hash, CAST($1 AS text))), token, user_id, roles, cidr, expires_at FROM credential \
             WHERE org = $2 AND token > $3 ORDER BY token LIMIT $4"
        }
    }
}

/// Between what is known, so that each is a look at the key, however many a customer has.
static MISPLACED: LazyLock<String> = LazyLock::new(|| {
    let mut known = Table::HIDDEN;
    known.sort_unstable();
    let mut places = vec![format!("hidden < {}", known[0]), format!("hidden > {}", known[known.len() - 1])];
    places.extend(known.windows(2).map(|pair| format!("hidden > {} AND hidden < {}", pair[0], pair[1])));
    places.extend(known.map(|code| format!("hidden = {code} AND created_at >= {}", LAST.0)));
    let ids: Vec<_> = places
        .iter()
        .map(|place| format!("SELECT id FROM conversation WHERE org = $1 AND customer = $2 AND {place}"))
        .collect();
    // As a condition of its own the id would be looked up in the index of ids, of all the org has.
    let after = "CASE WHEN id > $3 THEN 1 ELSE 0 END = 1";
    format!(" WHERE org = $1 AND id IN ({}) AND {after} ORDER BY id LIMIT $4", ids.join(" UNION ALL "))
});
static STRAY_CONVERSATIONS: LazyLock<String> = LazyLock::new(|| strays("conversation", "customer"));
static STRAY_MESSAGES: LazyLock<String> = LazyLock::new(|| strays("message", "conversation"));
static STRAY_NOTES: LazyLock<String> = LazyLock::new(|| strays("note", "conversation"));

fn strays(table: &str, of: &str) -> String {
    format!(
        "SELECT x.id, CAST(CASE WHEN EXISTS (SELECT 1 FROM {of} o WHERE o.org = $1 AND o.id = x.{of}) \
         THEN 0 ELSE 1 END AS bigint) FROM (SELECT id, {of} FROM {table} WHERE org = $1 AND id > $2 \
         ORDER BY id LIMIT $3) x ORDER BY x.id"
    )
}

/// A walk from one of its places on: which rows, in which order, with the parameters but for the limit.
fn tail(org: OrgId, walk: Walk, after: Position) -> (&'static str, Vec<Value>) {
    let (at, id) = (Value::from(after.at), Value::from(after.id));
    match walk {
        Walk::All(kind) if table::is_shared(kind) => (
            " WHERE org = $1 AND kind = $2 AND id > $3 ORDER BY id LIMIT $4",
            vec![org.0.into(), text(kind.name()), id],
        ),
        Walk::All(_) => (" WHERE org = $1 AND id > $2 ORDER BY id LIMIT $3", vec![org.0.into(), id]),
        Walk::Conversations(customer, hidden) => (
            " WHERE org = $1 AND customer = $2 AND hidden = $3 AND (created_at, id) < ($4, $5) \
             ORDER BY created_at DESC, id DESC LIMIT $6",
            vec![org.0.into(), customer.0.into(), Value::Int(table::hidden_code(hidden)), at, id],
        ),
        Walk::Misplaced(customer) => (&MISPLACED, vec![org.0.into(), customer.0.into(), id]),
        Walk::Entries(_, conversation) => (
            " WHERE org = $1 AND conversation = $2 AND (created_at, id) > ($3, $4) ORDER BY created_at, id LIMIT $5",
            vec![org.0.into(), conversation.0.into(), at, id],
        ),
    }
}

/// Before the first row of a walk.
fn start(walk: Walk) -> Position {
    let (at, id) = if matches!(walk, Walk::Conversations(..)) { LAST } else { FIRST };
    Position { at: Instant::from_millis(at), id }
}

fn walk(org: OrgId, walk: Walk, after: Position, limit: usize) -> Query {
    let (tail, mut params) = tail(org, walk, after);
    params.push(Value::Int(limit as i64));
    Query::bounded(format!("{}{tail}", table::of(kind_of(walk)).select), params)
}

/// How large the texts of a walk's next rows are. No text is read for that.
fn sizes(org: OrgId, walk: Walk, after: Position, limit: u32) -> Query {
    let (tail, mut params) = tail(org, walk, after);
    params.push(Value::Int(limit.into()));
    let table = table::of(kind_of(walk)).name;
    Query::bounded(format!("SELECT CAST(coalesce(octet_length(doc), 0) AS bigint) FROM {table}{tail}"), params)
}

fn kind_of(walk: Walk) -> Kind {
    match walk {
        Walk::All(kind) | Walk::Entries(kind, _) => kind,
        Walk::Conversations(..) | Walk::Misplaced(_) => Kind::Conversation,
    }
}

/// Rows from a place on, and whether the walk goes on after them.
fn part(walk: Walk, after: Position, rows: Vec<Vec<Value>>, goes_on: bool) -> Part {
    let (kind, table) = (kind_of(walk), table::of(kind_of(walk)));
    let place = |row: &[Value]| match walk {
        Walk::All(_) | Walk::Misplaced(_) => table.id(row).map(|id| Position { id, ..after }),
        _ => table.position(row),
    };
    let mut part = Part::default();
    if goes_on {
        part.next = rows.last().map_or(Some(after), |last| place(last));
        if part.next.is_none() {
            part.rows.push(Found::Unreadable(None, "its place cannot be read, and so not what follows it".into()));
        }
    }
    for row in rows {
        let (id, why) = (table.id(&row), table.unreadable(&row));
        part.rows.push(match table.row(kind, row) {
            Ok(row) if !matches!(walk, Walk::Misplaced(_)) => Found::Row(Box::new(row)),
            _ => Found::Unreadable(id, why),
        });
    }
    part
}

/// Where the next few blocks of a list end, and how many they are.
const SOME_BLOCKS: &str = "SELECT max(x.at), count(*) FROM (SELECT at FROM block WHERE org = $1 AND list = $2 \
    AND scope = $3 AND at > $4 ORDER BY at LIMIT $5) x";

/// Where blocks of a list, after one and up to another, and its rows disagree, in one picture. Each is held against the one
/// before it. Changes of a block that is not there stand alone.
fn wrong_blocks(org: OrgId, list: Counted, after: i64, upto: i64) -> Query {
    let of = |alias: &str| format!("{alias}.org = $1 AND {alias}.list = $2 AND {alias}.scope = $3");
    let (table, condition) = (list.table(), list.condition("$3"));
    let sql = format!(
        "SELECT x.at, x.kept, x.counted, x.off FROM (SELECT b.at, b.n + coalesce((SELECT CAST(sum(m.n) AS bigint) \
         FROM block_change m WHERE {} AND m.at = b.at), 0) AS kept, (SELECT count(*) FROM {table} r WHERE r.org = $1 \
         AND {condition} AND r.created_at >= b.at AND r.created_at < coalesce((SELECT min(a.at) FROM block a WHERE {} \
         AND a.at > b.at), {last})) AS counted, b.rows_before - coalesce((SELECT p.rows_before + p.n FROM block p \
         WHERE {} AND p.at < b.at ORDER BY p.at DESC LIMIT 1), 0) AS off FROM block b WHERE {} AND b.at > $4 \
         AND b.at <= $5 UNION ALL SELECT m.at, m.n, 0, 0 FROM block_change m WHERE {} AND m.at > $4 AND m.at <= $5 \
         AND NOT EXISTS (SELECT 1 FROM block b WHERE {} AND b.at = m.at)) x \
         WHERE x.kept <> x.counted OR x.off <> 0 ORDER BY x.at LIMIT 10",
        of("m"),
        of("a"),
        of("p"),
        of("b"),
        of("m"),
        of("b"),
        last = LAST.0,
    );
    let mut params = list.params(org);
    params.extend([Value::Int(after), Value::Int(upto)]);
    Query::unbounded(sql, params)
}

fn numbers<const N: usize>(row: Vec<Value>) -> Result<[i64; N], StoreError> {
    let mut columns = Columns::new(row);
    let mut numbers = [0; N];
    for number in &mut numbers {
        *number = columns.int()?;
    }
    Ok(numbers)
}

fn hash(hex: &str) -> Option<[u8; 32]> {
    let mut hash = [0; 32];
    if hex.len() != 64 || !hex.is_ascii() {
        return None;
    }
    for (n, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&hex[2 * n..2 * n + 2], 16).ok()?;
    }
    Some(hash)
}

fn credential(row: Vec<Value>) -> Result<NewCredential, StoreError> {
    let mut columns = Columns::new(row);
    Ok(NewCredential {
        hash: hash(&columns.text()?).ok_or_else(|| StoreError::Corrupt("a hash is not 32 bytes".into()))?,
        token: TokenId(columns.id()?),
        user: UserId(columns.id()?),
        roles: columns.text()?,
        cidr: columns.optional_text()?,
        expires_at: columns.optional_int()?.map(Instant::from_millis),
    })
}

/// How many of these rows may be read at once, given how large they are: the row that brings them to the bytes is the last.
fn within(sizes: Vec<Vec<Value>>, held: &mut usize, bytes: usize) -> Result<usize, StoreError> {
    let mut rows = 0;
    for size in sizes {
        if *held >= bytes {
            break;
        }
        *held += usize::try_from(Columns::new(size).int()?).unwrap_or(0);
        rows += 1;
    }
    Ok(rows)
}

fn found_event(row: Vec<Value>) -> Result<FoundEvent, StoreError> {
    let (Some(Value::Int(seq)), at) = (row.get(1), row.get(2)) else {
        return Err(StoreError::Corrupt("an event without a number".into()));
    };
    let at = if let Some(Value::Int(at)) = at { Some(Instant::from_millis(*at)) } else { None };
    let (seq, why) = (*seq, unreadable_event(&row));
    Ok(FoundEvent { seq, at, event: event(row).map_err(|_| why) })
}

/// Which column of an event cannot be read, without what stands in it.
fn unreadable_event(row: &[Value]) -> String {
    let reads = |(column, value): (&str, &Value)| match (column, value) {
        ("verb", Value::Text(verb)) => Verb::ALL.into_iter().any(|known| known.name() == verb),
        ("kind", Value::Text(kind)) => Kind::from_name(kind).is_some(),
        ("lane" | "seq" | "at" | "rev", Value::Int(_)) | ("object", Value::Id(_)) => true,
        ("customer" | "actor", Value::Id(_) | Value::Null) | ("changes", Value::Text(_) | Value::Null) => true,
        _ => false,
    };
    let column = EVENT_COLUMNS.into_iter().zip(row).find(|one| !reads(*one)).map_or("lane", |(column, _)| column);
    format!("its column {column} cannot be read")
}

fn not_counted(list: &List) -> StoreError {
    StoreError::Corrupt(format!("{list:?} is not counted"))
}

#[async_trait]
impl<D: Driver> Checks for SqlStore<D> {
    async fn integrity(&self) -> Result<Vec<String>, StoreError> {
        if D::DIALECT == Dialect::Postgres {
            return Ok(Vec::new());
        }
        let lines = self.one(Query::unbounded(INTEGRITY, Vec::new())).await?;
        let lines: Vec<String> = lines.into_iter().map(|row| Columns::new(row).text()).collect::<Result<_, _>>()?;
        Ok(if lines == ["ok"] { Vec::new() } else { lines })
    }

    async fn lost_orgs(&self) -> Result<Vec<(&'static str, Id)>, StoreError> {
        let mut lost = Vec::new();
        for table in OF_ORGS {
            // From one org to the next by the key, whatever lies between.
            let mut after = None;
            loop {
                let (condition, params) = match after {
                    Some(org) => ("WHERE org > $1 ", vec![Value::Id(org)]),
                    None => ("", Vec::new()),
                };
                let sql = format!("SELECT org FROM {table} {condition}ORDER BY org LIMIT 1");
                let Some(row) = self.one(Query::unbounded(sql, params)).await?.pop() else { break };
                let org = Columns::new(row).id()?;
                if self.one(Query::bounded(IS_ORG, vec![org.into()])).await?.is_empty() {
                    lost.push((table, org));
                }
                after = Some(org);
            }
        }
        Ok(lost)
    }

    async fn walk(
        &self,
        org: OrgId,
        walks: &[(Walk, Option<Position>)],
        limit: u32,
        bytes: usize,
    ) -> Result<Vec<Part>, StoreError> {
        let walks: Vec<_> = walks.iter().map(|(one, after)| (*one, after.unwrap_or_else(|| start(*one)))).collect();
        let queries = walks.iter().map(|(one, after)| sizes(org, *one, *after, limit)).collect();
        let (mut queries_left, mut taken, mut held) = (Vec::new(), Vec::new(), 0);
        for ((one, after), sizes) in walks.iter().zip(self.driver().read(queries).await?) {
            let all = sizes.len();
            let rows = within(sizes, &mut held, bytes)?;
            let is_last = rows == all && all < limit as usize;
            if rows > 0 {
                // One more shows whether others have come since.
                queries_left.push(walk(org, *one, *after, rows + usize::from(is_last)));
            }
            taken.push((rows, is_last));
        }
        let mut found = self.driver().read(queries_left).await?.into_iter();
        let parts = walks.into_iter().zip(taken).map(|((one, after), (taken, is_last))| {
            let rows = if taken > 0 { found.next().unwrap_or_default() } else { Vec::new() };
            let goes_on = !is_last || rows.len() > taken;
            part(one, after, rows, goes_on)
        });
        Ok(parts.collect())
    }

    async fn strays(
        &self,
        org: OrgId,
        kind: Kind,
        after: Option<Id>,
        limit: u32,
    ) -> Result<(Vec<Id>, Option<Id>), StoreError> {
        let sql: &'static str = match kind {
            Kind::Message => &STRAY_MESSAGES,
            Kind::Note => &STRAY_NOTES,
            _ => &STRAY_CONVERSATIONS,
        };
        let params = vec![org.0.into(), after.unwrap_or(FIRST.1).into(), Value::Int(limit.into())];
        let found = self.one(Query::bounded(sql, params)).await?.into_iter().map(|row| {
            let mut columns = Columns::new(row);
            Ok((columns.id()?, columns.int()? == 1))
        });
        let found: Vec<(Id, bool)> = found.collect::<Result<_, StoreError>>()?;
        let next = found.last().map(|last| last.0).filter(|_| found.len() == limit as usize);
        Ok((found.into_iter().filter(|(_, is_stray)| *is_stray).map(|(id, _)| id).collect(), next))
    }

    async fn names(&self, org: OrgId, kind: Kind, owners: &[Id]) -> Result<Vec<Vec<(Space, String)>>, StoreError> {
        let query = |owner: &Id| Query::bounded(NAMES, vec![org.0.into(), (*owner).into()]);
        let found = self.driver().read(owners.iter().map(query).collect()).await?;
        let name = |row| {
            let mut columns = Columns::new(row);
            let (space, value) = (columns.text()?, columns.text()?);
            let space = Space::ALL.into_iter().find(|known| known.name() == space && known.kind() == kind);
            Ok(space.map(|space| (space, value)))
        };
        found.into_iter().map(|rows| rows.into_iter().map(name).filter_map(Result::transpose).collect()).collect()
    }

    async fn lost_names(
        &self,
        org: OrgId,
        space: Space,
        after: &str,
        limit: u32,
    ) -> Result<(Vec<(String, Id)>, Option<String>), StoreError> {
        let mut params = vec![org.0.into(), text(space.name()), text(after), Value::Int(limit.into())];
        let sql = match space.kind() {
            Kind::Customer => LOST_CUSTOMER_NAMES,
            kind => {
                params.insert(1, text(kind.name()));
                LOST_NAMES
            }
        };
        let found = self.one(Query::bounded(sql, params)).await?.into_iter().map(|row| {
            let mut columns = Columns::new(row);
            Ok((columns.text()?, columns.id()?, columns.int()? == 1))
        });
        let found: Vec<(String, Id, bool)> = found.collect::<Result<_, StoreError>>()?;
        let next = found.last().map(|last| last.0.clone()).filter(|_| found.len() == limit as usize);
        let lost = found.into_iter().filter(|(_, _, is_lost)| *is_lost).map(|(value, owner, _)| (value, owner));
        Ok((lost.collect(), next))
    }

    async fn unknown_names(
        &self,
        org: OrgId,
        after: Option<(String, String)>,
        limit: u32,
    ) -> Result<Vec<(String, String, Id)>, StoreError> {
        let (mut space, mut value) = after.unwrap_or_default();
        loop {
            if !space.is_empty() {
                let params = vec![org.0.into(), text(&space), text(&value), Value::Int(limit.into())];
                let found = self.one(Query::bounded(NAMES_OF_SPACE, params)).await?;
                if !found.is_empty() {
                    let name = |row| {
                        let mut columns = Columns::new(row);
                        Ok((space.clone(), columns.text()?, columns.id()?))
                    };
                    return found.into_iter().map(name).collect();
                }
            }
            // From one space to the next by the key, past those that are known.
            loop {
                let next = self.one(Query::bounded(NEXT_SPACE, vec![org.0.into(), text(&space)])).await?;
                let Some(row) = next.into_iter().next() else { return Ok(Vec::new()) };
                space = Columns::new(row).text()?;
                if Space::ALL.into_iter().all(|known| known.name() != space) {
                    break;
                }
            }
            value = String::new();
        }
    }

    async fn forget_name(&self, org: OrgId, space: &str, value: &str) -> Result<(), StoreError> {
        let steps = vec![step(FORGET_NAME, vec![org.0.into(), text(space), text(value)])];
        self.driver().write(Work::of_steps(D::DIALECT, steps)).await.map(drop)
    }

    async fn memberships(
        &self,
        org: OrgId,
        after: Option<Membership>,
        limit: u32,
    ) -> Result<Vec<Membership>, StoreError> {
        let (user, team) = after.map_or((FIRST.1, FIRST.1), |after| (after.user.0, after.team.0));
        let params = vec![org.0.into(), user.into(), team.into(), Value::Int(limit.into())];
        let place = |row| {
            let mut columns = Columns::new(row);
            Ok(Membership { user: UserId(columns.id()?), team: TeamId(columns.id()?) })
        };
        self.one(Query::bounded(MEMBERSHIPS, params)).await?.into_iter().map(place).collect()
    }

    async fn credentials(&self, org: OrgId, after: Option<Id>, limit: u32) -> Result<Vec<NewCredential>, StoreError> {
        let mut params = vec![org.0.into(), after.unwrap_or(FIRST.1).into(), Value::Int(limit.into())];
        if D::DIALECT == Dialect::Postgres {
            params.insert(0, text("hex"));
        }
        let found = self.one(Query::bounded(credentials(D::DIALECT), params)).await?;
        found.into_iter().map(credential).collect()
    }

    async fn tally_and_count(&self, org: OrgId, name: &str) -> Result<(i64, i64), StoreError> {
        let found = self.one(Query::unbounded(TALLY_AND_COUNT, vec![org.0.into(), text(name)])).await?;
        let [kept, counted] = numbers(found.into_iter().next().unwrap_or_default())?;
        Ok((kept, counted))
    }

    async fn next_counted(&self, org: OrgId, after: Option<(i64, Id)>) -> Result<Option<(i64, Id)>, StoreError> {
        let (number, scope) = after.unwrap_or((i64::MIN, FIRST.1));
        let params = vec![org.0.into(), Value::Int(number), scope.into()];
        let queries = NEXT_COUNTED.map(|sql| Query::bounded(sql, params.clone())).into();
        let list = |row| {
            let mut columns = Columns::new(row);
            Ok((columns.int()?, columns.id()?))
        };
        let found = self.driver().read(queries).await?.into_iter().flatten().map(list);
        Ok(found.collect::<Result<Vec<_>, StoreError>>()?.into_iter().min())
    }

    fn counted_list(&self, number: i64, scope: Id) -> Option<List> {
        Counted::list(number, scope)
    }

    async fn wrong_blocks(
        &self,
        org: OrgId,
        list: &List,
        after: Option<i64>,
        limit: u32,
    ) -> Result<(Vec<WrongBlock>, Option<i64>), StoreError> {
        let counted = Counted::of(org, list).ok_or_else(|| not_counted(list))?;
        let after = after.unwrap_or(i64::MIN);
        let mut params = counted.params(org);
        params.extend([Value::Int(after), Value::Int(limit.into())]);
        let mut some = self.one(Query::bounded(SOME_BLOCKS, params)).await?;
        let mut end = Columns::new(some.pop().unwrap_or_default());
        let (last, blocks) = (end.optional_int()?, end.int()?);
        // The last ones come with whatever is left.
        let next = last.filter(|_| blocks == i64::from(limit));
        let wrong = |row| {
            let [at, kept, counted, off] = numbers(row)?;
            Ok(WrongBlock { at, kept, counted, off })
        };
        let found = self.one(wrong_blocks(org, counted, after, next.unwrap_or(i64::MAX))).await?;
        Ok((found.into_iter().map(wrong).collect::<Result<_, StoreError>>()?, next))
    }

    async fn forget_blocks(&self, org: OrgId, list: &List) -> Result<(), StoreError> {
        let counted = Counted::of(org, list).ok_or_else(|| not_counted(list))?;
        let steps = block::begin_anew(org, counted);
        self.driver().write(Work::within_lanes(D::DIALECT, org, counted.lanes(D::DIALECT, None), steps)).await.map(drop)
    }

    async fn lanes(&self, org: OrgId) -> Result<Vec<LaneFacts>, StoreError> {
        let facts = |row| {
            let mut columns = Columns::new(row);
            Ok(LaneFacts {
                lane: columns.int()?,
                seq: columns.int()?,
                at: Instant::from_millis(columns.int()?),
                gone: columns.int()?,
                oldest: columns.optional_int()?,
                newest: columns.optional_int()?,
                has_gone: columns.int()? > 0,
            })
        };
        self.one(Query::bounded(LANES, vec![org.0.into()])).await?.into_iter().map(facts).collect()
    }

    async fn found_events(
        &self,
        org: OrgId,
        lane: i64,
        after: i64,
        limit: u32,
        bytes: usize,
    ) -> Result<Vec<FoundEvent>, StoreError> {
        let params = |limit| vec![org.0.into(), Value::Int(lane), Value::Int(after), Value::Int(limit)];
        let sizes = self.one(Query::unbounded(CHANGES_SIZES, params(limit.into()))).await?;
        let rows = within(sizes, &mut 0, bytes)?;
        let query = Query { bytes, ..Query::unbounded(EVENTS, params(rows as i64)) };
        self.one(query).await?.into_iter().map(found_event).collect()
    }

    async fn deletions(&self, org: OrgId, lane: u8, after: i64, upto: i64) -> Result<Vec<Deletion>, StoreError> {
        let (delete, restore) = (text(Verb::Delete.name()), text(Verb::Restore.name()));
        let params = vec![delete, org.0.into(), Value::Int(lane.into()), Value::Int(after), Value::Int(upto), restore];
        let mut deletions = Vec::new();
        for row in self.one(Query::unbounded(DELETIONS, params)).await? {
            let mut columns = Columns::new(row);
            // A kind nobody knows is no record that is looked at.
            let Some(kind) = Kind::from_name(&columns.text()?) else { continue };
            deletions.push(Deletion {
                kind,
                object: columns.id()?,
                rev: columns.int()?,
                is_deleted: columns.int()? == 1,
                alone: columns.int()? == 1,
            });
        }
        Ok(deletions)
    }

    async fn mend_lane(&self, org: OrgId, seen: &LaneFacts, at: Instant, gone: i64) -> Result<(), StoreError> {
        let n = u8::try_from(seen.lane).map_err(|_| StoreError::Corrupt(format!("lane {}", seen.lane)))?;
        let (id, lane) = (Value::Id(org.0), Value::Int(seen.lane));
        let steps: Vec<Step> = vec![
            step(SET_GONE, vec![Value::Int(gone), id.clone(), lane.clone(), Value::Int(seen.gone)]),
            step(MEND_LANE, vec![id, lane, at.into()]),
        ];
        self.driver().write(Work::within_lanes(D::DIALECT, org, vec![n], steps)).await.map(drop)
    }
}
