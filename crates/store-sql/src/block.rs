//! Counted blocks: how a page is found by its number without walking to it.
//!
//! A long list is cut into blocks, each of which knows how many rows it has and how many lie before it. A page by number
//! looks up the block its first row lies in and skips only within that. Boundaries are instants, so rows of one instant
//! are never divided, however many they are.
//!
//! What is counted stays as it is until the next count; each write adds what it changes to `block_change`, in its own
//! transaction, and a reader adds that up. So `block` is written by the job that counts alone, and a write costs one
//! statement.

use std::collections::{BTreeMap, BTreeSet};

use konverse_model::{ConversationId, CustomerId, Id, Instant, Kind, OrgId};
use konverse_store::{Field, Filter, List, Row, Scope, Start, Window};

use crate::{Cost, Dialect, Query, Step, Value};

/// Where a list's first block begins: before every moment. The migration that brought the blocks knows it, too.
const FIRST: i64 = -(1 << 62);

/// After every moment.
const LAST: i64 = 1 << 62;

/// Rows that are skipped without a look at the blocks: about as many as within a block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Near(pub(crate) u64);

impl Default for Near {
    fn default() -> Self {
        Self(200)
    }
}

/// Rows that a bounded read may walk over. Blocks of lists that were counted are far smaller.
const WALKED: i64 = 4000;

/// Rows a page has at most, and one more.
const PAGE: i64 = 501;

/// Records changed since some date that are collected and sorted; of more, the list is walked in its order.
const COLLECTED: i64 = 1000;

/// A change that adds so many rows to a list may have made it long.
const MANY: i64 = 64;

/// As many changes of a customer or conversation apart, their lists are looked at: may they have become long?
const TURNS: i64 = 256;

impl Dialect {
    /// Blocks' worth of rows that are divided in one transaction. On PostgreSQL all writers of the org wait for its end; on
    /// SQLite they would wait for the next one as well.
    const fn divided(self) -> i64 {
        match self {
            Dialect::Sqlite => 64,
            Dialect::Postgres => 32,
        }
    }
}

/// Rows moved out of or into blocks that are told to the database at once.
const AT_ONCE: usize = 64;

/// The kinds listed by org, customer and conversation: their place, from 1, is the number stored.
const LISTS: [(Kind, By); 9] = [
    (Kind::Customer, By::Org),
    (Kind::Conversation, By::Org),
    (Kind::Message, By::Org),
    (Kind::Note, By::Org),
    (Kind::Conversation, By::Customer),
    (Kind::Message, By::Customer),
    (Kind::Note, By::Customer),
    (Kind::Message, By::Conversation),
    (Kind::Note, By::Conversation),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Org,
    Customer,
    Conversation,
}

/// A list that may have blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Counted {
    number: i64,
    scope: Id,
}

impl Counted {
    fn new(kind: Kind, by: By, scope: Id) -> Option<Self> {
        let place = LISTS.iter().position(|list| *list == (kind, by))?;
        Some(Self { number: place as i64 + 1, scope })
    }

    pub(crate) fn of(org: OrgId, list: &List) -> Option<Self> {
        if !list.filters.is_empty() {
            return None;
        }
        match list.scope {
            Scope::Org => Self::new(list.kind, By::Org, org.0),
            Scope::Customer(id) => Self::new(list.kind, By::Customer, id.0),
            Scope::Conversation(id) => Self::new(list.kind, By::Conversation, id.0),
        }
    }

    /// The list stored under this number.
    pub(crate) fn list(number: i64, scope: Id) -> Option<List> {
        let place = usize::try_from(number).ok()?.checked_sub(1)?;
        let (kind, by) = *LISTS.get(place)?;
        Some(List::of(
            kind,
            match by {
                By::Org => Scope::Org,
                By::Customer => Scope::Customer(CustomerId(scope)),
                By::Conversation => Scope::Conversation(ConversationId(scope)),
            },
        ))
    }

    /// The lists a row is in when it shows.
    fn with(org: OrgId, row: &Row) -> impl Iterator<Item = Self> {
        let customer = row.customer.map(|id| (By::Customer, id.0));
        let conversation = row.conversation.map(|id| (By::Conversation, id));
        let scopes = [Some((By::Org, org.0)), customer, conversation].into_iter().flatten();
        let kind = row.kind;
        scopes.filter_map(move |(by, scope)| Self::new(kind, by, scope))
    }

    fn kind_and_by(self) -> (Kind, By) {
        // Numbers are made by `new` alone.
        LISTS[(self.number - 1) as usize]
    }

    pub(crate) fn table(self) -> &'static str {
        crate::table::of(self.kind_and_by().0).name
    }

    fn is_of_org(self) -> bool {
        self.kind_and_by().1 == By::Org
    }

    /// The condition its rows have beyond the org's, with the scope in this slot.
    pub(crate) fn condition(self, scope: &str) -> String {
        match self.kind_and_by().1 {
            By::Org => "hidden = 0".to_owned(),
            By::Customer => format!("customer = {scope} AND hidden = 0"),
            By::Conversation => format!("conversation = {scope} AND hidden = 0"),
        }
    }

    /// What SQLite's index of the list's order has of the table's key, beside instant and id; nothing where the table
    /// itself lies in that order.
    fn beside_its_key(self) -> Option<&'static str> {
        match self.kind_and_by() {
            (Kind::Customer, _) => Some("id"),
            (Kind::Conversation, By::Org) => Some("customer"),
            (Kind::Message | Kind::Note, By::Org | By::Customer) => Some("conversation"),
            _ => None,
        }
    }

    /// The lanes to lock so that nobody else changes the list: a customer's, or all. `holder` is whose the conversation is,
    /// if it is a conversation's list: [`even_out`] makes sure that it still is.
    pub(crate) fn lanes(self, dialect: Dialect, holder: Option<CustomerId>) -> Vec<u8> {
        match (self.kind_and_by().1, holder) {
            (By::Customer, _) => vec![dialect.lane_of(Some(CustomerId(self.scope)))],
            (By::Conversation, Some(holder)) => vec![dialect.lane_of(Some(holder))],
            (By::Org | By::Conversation, _) => (0..dialect.lanes()).collect(),
        }
    }

    /// Asks whose the conversation is whose list it is.
    pub(crate) fn holder(self, org: OrgId) -> Option<Query> {
        const HOLDER: &str = "SELECT customer FROM conversation WHERE org = $1 AND id = $2";
        let is_of_conversation = self.kind_and_by().1 == By::Conversation;
        is_of_conversation.then(|| Query::bounded(HOLDER, vec![org.0.into(), self.scope.into()]))
    }

    pub(crate) fn params(self, org: OrgId) -> Vec<Value> {
        vec![org.0.into(), Value::Int(self.number), self.scope.into()]
    }
}

impl Dialect {
    const fn bytes(self) -> &'static str {
        match self {
            Dialect::Sqlite => "BLOB",
            Dialect::Postgres => "bytea",
        }
    }
}

fn step(sql: impl Into<std::borrow::Cow<'static, str>>, params: Vec<Value>) -> Step {
    Step { sql: sql.into(), params, must_change: false, conflict: None }
}

/// What a change does to the lists of its org.
#[derive(Default)]
pub(crate) struct BlockChanges {
    /// Rows gained or lost, by list and instant.
    moved: BTreeMap<(Counted, i64), i64>,
    due: BTreeSet<Counted>,
}

/// Whether storing `now` over `was` changes how many rows any list has.
pub(crate) fn moves(was: Option<&Row>, now: &Row) -> bool {
    let place = |row: &Row| (row.customer, row.conversation, row.created_at);
    match was {
        None => now.shows(),
        Some(was) => was.shows() != now.shows() || now.shows() && place(was) != place(now),
    }
}

impl BlockChanges {
    /// A record is stored.
    pub(crate) fn put(&mut self, org: OrgId, was: Option<&Row>, now: &Row) {
        if moves(was, now) {
            for (row, by) in was.into_iter().map(|was| (was, -1)).chain([(now, 1)]) {
                if row.shows() {
                    for list in Counted::with(org, row) {
                        *self.moved.entry((list, row.created_at.millis())).or_default() += by;
                    }
                }
            }
        }
        match now.kind {
            Kind::Customer if was.is_some_and(|was| was.turn != now.turn) => self.turned(CustomerId(now.id), now.turn),
            Kind::Conversation if now.rev % TURNS == 0 => self.look(By::Conversation, now.id),
            _ => {}
        }
    }

    /// Something of a customer was written, for the so-many-th time.
    pub(crate) fn turned(&mut self, customer: CustomerId, turn: i64) {
        if turn % TURNS == 0 {
            self.look(By::Customer, customer.0);
        }
    }

    fn look(&mut self, by: By, scope: Id) {
        self.due
            .extend(LISTS.iter().filter(|(_, of)| *of == by).filter_map(|(kind, by)| Counted::new(*kind, *by, scope)));
    }

    /// The messages and notes of a conversation show again.
    pub(crate) fn shown_again(&mut self, conversation: Id) {
        self.look(By::Conversation, conversation);
    }

    /// The statements, for a change that has locked `lane`.
    pub(crate) fn steps(mut self, dialect: Dialect, org: OrgId, lane: u8) -> Vec<Step> {
        self.moved.retain(|_, n| *n != 0);
        let mut gained: BTreeMap<Counted, i64> = BTreeMap::new();
        for ((list, _), n) in &self.moved {
            *gained.entry(*list).or_default() += n;
        }
        let grown = gained.into_iter().filter(|(list, n)| *n >= MANY && !list.is_of_org()).map(|(list, _)| list);
        self.due.extend(grown);
        let moved: Vec<_> = self.moved.into_iter().collect();
        let mut steps: Vec<Step> = moved.chunks(AT_ONCE).map(|part| change(dialect, org, lane, part)).collect();
        steps.extend(self.due.into_iter().map(|list| mark(org, list)));
        steps
    }
}

const DUE: &str =
    "INSERT INTO block_due (org, list, scope) VALUES ($1, $2, $3) ON CONFLICT (org, list, scope) DO NOTHING";
const ADD: &str = "ON CONFLICT (org, list, scope, at, lane) DO UPDATE SET n = block_change.n + excluded.n";

/// The block of a list that an instant lies in, if the list has blocks.
fn block_of(org: &str, list: &str, scope: &str, at: &str) -> String {
    format!(
        "(SELECT b.at FROM block b WHERE b.org = {org} AND b.list = {list} AND b.scope = {scope} AND b.at <= {at} \
         ORDER BY b.at DESC LIMIT 1)"
    )
}

/// Adds rows gained and lost to the blocks they lie in; lists without blocks are left alone.
fn change(dialect: Dialect, org: OrgId, lane: u8, moved: &[((Counted, i64), i64)]) -> Step {
    // Few texts, so that they stay prepared: as many rows as there are, or filled up with rows of no list.
    let rows = if moved.len() <= 4 { moved.len() } else { AT_ONCE };
    let bytes = dialect.bytes();
    let mut params = vec![org.0.into(), Value::Int(lane.into())];
    let mut values = Vec::with_capacity(rows);
    for n in 0..rows {
        let first = params.len() + 1;
        let slots = [first, first + 1, first + 2, first + 3];
        // The first row tells PostgreSQL the types.
        values.push(match n {
            0 => format!(
                "(CAST(${} AS bigint), CAST(${} AS {bytes}), CAST(${} AS bigint), CAST(${} AS bigint))",
                slots[0], slots[1], slots[2], slots[3]
            ),
            _ => format!("(${}, ${}, ${}, ${})", slots[0], slots[1], slots[2], slots[3]),
        });
        params.extend(match moved.get(n) {
            Some(((list, at), n)) => [Value::Int(list.number), list.scope.into(), Value::Int(*at), Value::Int(*n)],
            None => [Value::Int(0), org.0.into(), Value::Int(0), Value::Int(0)],
        });
    }
    // Several rows of one list may lie in one block. Where each is of another list, as with a single record, there is
    // nothing to add up, which costs less.
    let mut lists: Vec<Counted> = moved.iter().map(|((list, _), _)| *list).collect();
    lists.dedup();
    let (sum, group) = match lists.len() == rows {
        true => ("x.n", ""),
        false => ("sum(x.n)", " GROUP BY x.list, x.scope, x.at"),
    };
    let sql = format!(
        "INSERT INTO block_change (org, list, scope, at, lane, n) \
         SELECT CAST($1 AS {bytes}), x.list, x.scope, x.at, CAST($2 AS bigint), {sum} FROM \
         (SELECT v.column1 AS list, v.column2 AS scope, v.column4 AS n, {} AS at FROM (VALUES {}) v) x \
         WHERE x.at IS NOT NULL{group} {ADD}",
        block_of("$1", "v.column1", "v.column2", "v.column3"),
        values.join(", "),
    );
    step(sql, params)
}

/// The first blocks of a new org's lists.
pub(crate) fn found(org: OrgId) -> impl Iterator<Item = Step> {
    const FOUND: &str = "INSERT INTO block (org, list, scope, at, n, rows_before) VALUES ($1, $2, $3, $4, $5, $6)";
    let lists = LISTS.iter().filter(|(_, by)| *by == By::Org);
    lists.filter_map(move |(kind, by)| Counted::new(*kind, *by, org.0)).map(move |list| {
        let mut params = list.params(org);
        params.extend([Value::Int(FIRST), Value::Int(0), Value::Int(0)]);
        step(FOUND, params)
    })
}

/// Rows that begin (`sign` 1) or cease (-1) to show all at once, told to the blocks before they do. `condition` makes the
/// condition they have beyond the org's, given the number of its first parameter.
pub(crate) fn along(
    dialect: Dialect,
    org: OrgId,
    lane: u8,
    lists: &[Counted],
    sign: i64,
    condition: impl FnOnce(usize) -> (String, Vec<Value>),
) -> Option<Step> {
    let table = lists.first()?.table();
    let bytes = dialect.bytes();
    let mut params = vec![org.0.into(), Value::Int(lane.into()), Value::Int(sign)];
    let mut values = Vec::new();
    for list in lists {
        let slot = params.len() + 1;
        values.push(format!("(CAST(${slot} AS bigint), CAST(${} AS {bytes}))", slot + 1));
        params.extend([Value::Int(list.number), list.scope.into()]);
    }
    let (condition, of_condition) = condition(params.len() + 1);
    params.extend(of_condition);
    let sql = format!(
        "INSERT INTO block_change (org, list, scope, at, lane, n) \
         SELECT CAST($1 AS {bytes}), x.list, x.scope, x.at, CAST($2 AS bigint), CAST($3 AS bigint) * count(*) FROM \
         (SELECT l.column1 AS list, l.column2 AS scope, {} AS at FROM (VALUES {}) l CROSS JOIN {table} r \
         WHERE r.org = $1 AND {condition}) x WHERE x.at IS NOT NULL GROUP BY x.list, x.scope, x.at {ADD}",
        block_of("$1", "l.column1", "l.column2", "r.created_at"),
        values.join(", "),
    );
    Some(step(sql, params))
}

/// The org's list of a kind.
pub(crate) fn of_org(org: OrgId, kind: Kind) -> Option<Counted> {
    Counted::new(kind, By::Org, org.0)
}

/// A customer's list of a kind.
pub(crate) fn of_customer(customer: CustomerId, kind: Kind) -> Option<Counted> {
    Counted::new(kind, By::Customer, customer.0)
}

/// The tables that know something of a list.
const TABLES: [&str; 3] = ["block", "block_change", "block_due"];

/// Nothing of a customer shows any more: what was counted of it goes.
pub(crate) fn forget_customer(org: OrgId, customer: CustomerId) -> impl Iterator<Item = Step> {
    let of = move |by| {
        LISTS.iter().filter(move |list| list.1 == by).filter_map(move |list| Counted::new(list.0, by, customer.0))
    };
    TABLES.into_iter().flat_map(move |table| {
        let own = of(By::Customer).map(move |list| forget(table, org, list));
        let inner = of(By::Conversation).map(move |list| {
            let sql = format!(
                "DELETE FROM {table} WHERE org = $1 AND list = $2 AND scope IN \
                 (SELECT id FROM conversation WHERE org = $1 AND customer = $3)"
            );
            step(sql, list.params(org))
        });
        own.chain(inner)
    })
}

/// Nothing of a conversation shows any more: what was counted of it goes.
pub(crate) fn forget_conversation(org: OrgId, conversation: Id) -> impl Iterator<Item = Step> {
    let lists = LISTS.iter().filter(|list| list.1 == By::Conversation);
    lists
        .filter_map(move |list| Counted::new(list.0, list.1, conversation))
        .flat_map(move |list| TABLES.into_iter().map(move |table| forget(table, org, list)))
}

/// What a table knows of a list goes.
fn forget(table: &str, org: OrgId, list: Counted) -> Step {
    step(format!("DELETE FROM {table} WHERE org = $1 AND list = $2 AND scope = $3"), list.params(org))
}

/// A page that lies far from where its list begins.
#[derive(Clone, Copy)]
pub(crate) struct Far {
    offset: i64,
    descending: bool,
    limit: u32,
}

impl Far {
    /// Whether the page lies behind a list of so many rows.
    pub(crate) fn is_beyond(self, total: i64) -> bool {
        self.offset >= total
    }

    pub(crate) fn of(window: &Window, near: Near) -> Option<Self> {
        match (window.start, window.order.field) {
            (Start::Offset(offset), Field::CreatedAt) if offset > near.0 => Some(Self {
                // Beyond what any table holds, larger numbers mean the same.
                offset: i64::try_from(offset).unwrap_or(LAST).min(LAST),
                descending: window.order.descending,
                limit: window.limit,
            }),
            _ => None,
        }
    }
}

/// The read of a page by number: columns `at, id, doc`, one row more than the limit to learn whether the list goes on.
///
/// Block and rows are found by one statement and so in one picture of the database. The bounded form finds no row where it
/// would have to walk further than [`WALKED`]: beyond the end, and in lists that were not counted yet; the unbounded form
/// then says what is there. A list without blocks is walked from its beginning.
pub(crate) fn page(dialect: Dialect, org: OrgId, counted: Counted, far: Far, cost: Cost) -> Query {
    let Far { offset, descending, limit: rows_wanted } = far;
    let of_list = |alias: &str| format!("{alias}.org = $2 AND {alias}.list = $3 AND {alias}.scope = $4");
    let changed = |what: &str, condition: &str| {
        format!(
            "(SELECT CAST(coalesce(sum({what}), 0) AS bigint) FROM block_change m WHERE {}{condition})",
            of_list("m")
        )
    };
    let before = changed("m.n", " AND m.at < b.at");
    let lost = changed("CASE WHEN m.n < 0 THEN -m.n ELSE 0 END", "");
    let block = of_list("b");
    // The last block with no more rows before it than wanted. Those counted are a first guess, from above.
    let find = |wanted: &str| {
        format!(
            "{block} AND b.rows_before <= {wanted} + {lost} AND b.rows_before + {before} <= {wanted} \
             ORDER BY b.rows_before DESC, b.at DESC LIMIT 1"
        )
    };
    let place = if descending {
        let all = changed("m.n", "");
        let through = changed("m.n", " AND m.at <= b.at");
        format!(
            "wanted (n) AS (SELECT -1 - CAST($1 AS bigint) + {all} + (SELECT b.rows_before + b.n FROM block b \
             WHERE {block} ORDER BY b.rows_before DESC, b.at DESC LIMIT 1)), \
             place (edge, skipped) AS (SELECT coalesce((SELECT a.at FROM block a WHERE {} AND a.at > b.at \
             ORDER BY a.at LIMIT 1), {LAST}), b.rows_before + b.n + {through} - 1 - (SELECT n FROM wanted) \
             FROM block b WHERE {})",
            of_list("a"),
            find("(SELECT CASE WHEN n < 0 THEN 0 ELSE n END FROM wanted)"),
        )
    } else {
        format!(
            "place (edge, skipped) AS (SELECT b.at, CAST($1 AS bigint) - b.rows_before - {before} FROM block b WHERE {})",
            find("CAST($1 AS bigint)")
        )
    };
    let (table, condition) = (counted.table(), counted.condition("$4"));
    let (direction, edge) = if descending {
        ("DESC", format!("created_at < coalesce((SELECT edge FROM place), {LAST})"))
    } else {
        ("ASC", format!("created_at >= coalesce((SELECT edge FROM place), {FIRST})"))
    };
    let rows = format!(
        "FROM {table} WHERE org = $2 AND {condition} AND {edge} ORDER BY created_at {direction}, id {direction}"
    );
    let skipped = "coalesce((SELECT skipped FROM place), CAST($1 AS bigint))";
    let select = match dialect {
        // The limit inside is one the planner can read: it has to know that few rows are wanted, or it would rather sort
        // them all. It leaves room for a whole page behind as many rows as may be skipped.
        // The one outside is one it cannot read, even when it knows the value: so it sees nothing in planning anew each time.
        Dialect::Postgres => {
            let (most, limit) = match cost {
                Cost::Bounded => (
                    format!(" LIMIT {}", WALKED + PAGE.max(i64::from(rows_wanted) + 1)),
                    format!("CASE WHEN {skipped} > {WALKED} THEN 0 ELSE CAST($5 AS bigint) END"),
                ),
                Cost::Unbounded => (String::new(), "CAST($5 AS bigint)".to_owned()),
            };
            format!(
                "SELECT created_at, id, doc FROM (SELECT created_at, id, doc {rows}{most}) k \
                 ORDER BY created_at {direction}, id {direction} LIMIT (SELECT {limit}) OFFSET {skipped}"
            )
        }
        Dialect::Sqlite => {
            let limit = match cost {
                Cost::Bounded => format!("CASE WHEN {skipped} > {WALKED} THEN 0 ELSE $5 END"),
                Cost::Unbounded => "$5".to_owned(),
            };
            match counted.beside_its_key() {
                // The table lies in the list's order.
                None => format!("SELECT created_at, id, doc {rows} LIMIT {limit} OFFSET {skipped}"),
                // Rows are skipped in an index, which has all of the table's key.
                Some(key) => {
                    let (more, of_key) = match (table, key) {
                        ("customer", _) => (String::new(), String::new()),
                        ("conversation", _) => {
                            (", customer".to_owned(), " AND c.customer = k.customer AND c.hidden = 0".to_owned())
                        }
                        _ => (format!(", {key}"), format!(" AND c.{key} = k.{key}")),
                    };
                    format!(
                        "SELECT c.created_at, c.id, c.doc FROM \
                         (SELECT created_at, id{more} {rows} LIMIT {limit} OFFSET {skipped}) k JOIN {table} c \
                         ON c.org = $2{of_key} AND c.created_at = k.created_at AND c.id = k.id \
                         ORDER BY k.created_at {direction}, k.id {direction}"
                    )
                }
            }
        }
    };
    let mut params = vec![Value::Int(offset)];
    params.extend(counted.params(org));
    params.push(Value::Int(i64::from(rows_wanted) + 1));
    Query { sql: format!("WITH {place} {select}").into(), params, cost, bytes: usize::MAX }
}

/// How many rows a list has, if it has blocks.
pub(crate) fn total(org: OrgId, counted: Counted) -> Query {
    const TOTAL: &str = "SELECT b.rows_before + b.n + (SELECT CAST(coalesce(sum(m.n), 0) AS bigint) FROM block_change m \
        WHERE m.org = $1 AND m.list = $2 AND m.scope = $3) FROM block b WHERE b.org = $1 AND b.list = $2 AND b.scope = $3 \
        ORDER BY b.rows_before DESC, b.at DESC LIMIT 1";
    Query::bounded(TOTAL, counted.params(org))
}

/// A customer's conversations changed since some date, in the order of their creation.
#[derive(Clone, Copy)]
pub(crate) struct Since {
    customer: Id,
    at: i64,
}

impl Since {
    pub(crate) fn of(list: &List, window: &Window) -> Option<Self> {
        match (list.kind, list.scope, list.filters.as_slice(), window.order.field) {
            (Kind::Conversation, Scope::Customer(id), [Filter::From(Field::UpdatedAt, at)], Field::CreatedAt) => {
                Some(Self { customer: id.0, at: at.millis() })
            }
            _ => None,
        }
    }

    /// Finds a row if more match than are collected.
    pub(crate) fn are_many(self, org: OrgId) -> Query {
        let sql = format!(
            "SELECT id FROM conversation WHERE org = $1 AND customer = $2 AND hidden = 0 AND updated_at >= $3 \
             ORDER BY updated_at LIMIT 1 OFFSET {COLLECTED}"
        );
        Query::bounded(sql, vec![org.0.into(), self.customer.into(), Value::Int(self.at)])
    }

    /// Collects those that match and sorts them. They are few, or were a moment ago.
    pub(crate) fn page(self, dialect: Dialect, org: OrgId, window: &Window) -> Query {
        let mut params = vec![org.0.into(), self.customer.into(), Value::Int(self.at)];
        let mut slot = |value: i64| {
            params.push(Value::Int(value));
            format!("${}", params.len())
        };
        let reversed = crate::select::is_reversed(window);
        let direction = if window.order.descending != reversed { "DESC" } else { "ASC" };
        let mut position = String::new();
        let mut offset = String::new();
        match window.start {
            Start::Offset(_) => {}
            Start::After(from) | Start::Before(from) => {
                let operator = if direction == "DESC" { "<" } else { ">" };
                position = format!(" WHERE (created_at, id) {operator} ({}, $5)", slot(from.at.millis()));
                params.push(from.id.into());
            }
        }
        params.push(Value::Int(i64::from(window.limit) + 1));
        let limit = params.len();
        if let Start::Offset(skipped @ 1..) = window.start {
            params.push(Value::Int(i64::try_from(skipped).unwrap_or(LAST).min(LAST)));
            offset = format!(" OFFSET ${}", params.len());
        }
        // PostgreSQL's key, and no more: given the customer, a planner that knows nothing of the table yet may look through
        // all that is theirs for every row.
        let key = match dialect {
            Dialect::Sqlite => {
                "c.org = $1 AND c.customer = $2 AND c.hidden = 0 AND c.created_at = k.created_at AND c.id = k.id"
            }
            Dialect::Postgres => "c.org = $1 AND c.id = k.id",
        };
        // The inner order, though another is wanted, keeps the planner to the index of what is compared.
        let sql = format!(
            "SELECT c.created_at, c.id, c.doc FROM (SELECT created_at, id FROM (SELECT created_at, id FROM conversation \
             WHERE org = $1 AND customer = $2 AND hidden = 0 AND updated_at >= $3 ORDER BY updated_at LIMIT {LAST}) m{position} \
             ORDER BY created_at {direction}, id {direction} LIMIT ${limit}{offset}) k \
             JOIN conversation c ON {key} ORDER BY k.created_at {direction}, k.id {direction}"
        );
        Query::bounded(sql, params)
    }
}

/// Lists that have to be looked at: those marked, and those whose blocks have changed by more than `most` rows or in many
/// places; without what `job` is in trouble with. Columns `org, list, scope`.
pub(crate) fn uneven(job: &str, now: Instant, size: i64, limit: u32) -> Query {
    // Reading a page adds up what has changed, so that is kept short.
    const CHANGES: i64 = 64;
    let sql = format!(
        "SELECT x.org, x.list, x.scope FROM (SELECT org, list, scope FROM block_due UNION SELECT org, list, scope \
         FROM block_change GROUP BY org, list, scope HAVING CAST(sum(abs(n)) AS bigint) > $1 OR count(*) > {CHANGES}) x \
         WHERE NOT EXISTS (SELECT 1 FROM trouble t WHERE t.job = $2 AND t.org = x.org AND t.item = x.scope \
         AND t.retry_at > $3) ORDER BY x.org, x.scope, x.list LIMIT $4"
    );
    let params = vec![Value::Int(size / 4), Value::Text(job.to_owned()), now.into(), Value::Int(limit.into())];
    Query::unbounded(sql, params)
}

/// Counts a list that has no blocks, if it is long.
fn count(dialect: Dialect, org: OrgId, list: Counted, size: i64) -> Step {
    let bytes = dialect.bytes();
    let sql = format!(
        "INSERT INTO block (org, list, scope, at, n, rows_before) SELECT CAST($1 AS {bytes}), CAST($2 AS bigint), \
         CAST($3 AS {bytes}), {FIRST}, count(*), 0 FROM {} WHERE org = $1 AND {} \
         AND NOT EXISTS (SELECT 1 FROM block b WHERE b.org = $1 AND b.list = $2 AND b.scope = $3) HAVING count(*) > $4",
        list.table(),
        list.condition("$3"),
    );
    let mut params = list.params(org);
    params.push(Value::Int(size));
    step(sql, params)
}

/// Adds to the blocks what has changed since they were counted.
fn fold(dialect: Dialect, org: OrgId, list: Counted) -> Vec<Step> {
    const FOLD: &str = "UPDATE block SET n = block.n + CAST(m.n AS bigint) FROM (SELECT at, sum(n) AS n FROM block_change \
        WHERE org = $1 AND list = $2 AND scope = $3 GROUP BY at) m \
        WHERE block.org = $1 AND block.list = $2 AND block.scope = $3 AND block.at = m.at";
    const FIRST_CHANGED: &str =
        "(SELECT min(m.at) FROM block_change m WHERE m.org = $1 AND m.list = $2 AND m.scope = $3)";
    const FOLDED: &str = "DELETE FROM block_change WHERE org = $1 AND list = $2 AND scope = $3";
    match dialect {
        Dialect::Sqlite => {
            let numbered = step(number(FIRST_CHANGED), list.params(org));
            vec![step(FOLD, list.params(org)), numbered, step(FOLDED, list.params(org))]
        }
        Dialect::Postgres => fold_beside_writers(org, list).into(),
    }
}

/// The same on PostgreSQL, without a lane: what is taken away and what is added are of one statement, so every picture has
/// either both or neither. A change that somebody is adding to is left for the next time, since its writer may want another
/// one next. The list's first block, locked before, keeps out others who fold or divide.
fn fold_beside_writers(org: OrgId, list: Counted) -> [Step; 2] {
    const FIRST_BLOCK: &str = "SELECT 1 FROM block WHERE org = $1 AND list = $2 AND scope = $3 AND at = $4 FOR UPDATE";
    const FOLD: &str = "WITH free AS MATERIALIZED (SELECT at, lane FROM block_change \
        WHERE org = $1 AND list = $2 AND scope = $3 FOR UPDATE SKIP LOCKED), \
        gone AS (DELETE FROM block_change c USING free f WHERE c.org = $1 AND c.list = $2 AND c.scope = $3 \
        AND c.at = f.at AND c.lane = f.lane RETURNING c.at, c.n), \
        moved AS (SELECT at, sum(n) AS n FROM gone GROUP BY at) \
        UPDATE block SET n = block.n + CAST(x.n AS bigint), rows_before = block.rows_before + CAST(x.before AS bigint) \
        FROM (SELECT b.at, coalesce(m.n, 0) AS n, coalesce(sum(m.n) OVER \
        (ORDER BY b.at ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS before \
        FROM block b LEFT JOIN moved m ON m.at = b.at WHERE b.org = $1 AND b.list = $2 AND b.scope = $3) x \
        WHERE block.org = $1 AND block.list = $2 AND block.scope = $3 AND block.at = x.at AND (x.n <> 0 OR x.before <> 0)";
    let mut params = list.params(org);
    params.push(Value::Int(FIRST));
    [step(FIRST_BLOCK, params), step(FOLD, list.params(org))]
}

/// Cuts a block that has more rows than `size` into halves of that, at most so many times as are
/// [divided](Dialect::divided) at once: what is left is a block,
/// too, and divided next. `all` takes no notice of that bound. Where the first instant alone has more rows than half a
/// block, the next is cut off as well: so any block of two instants is divided that is looked at as a whole.
fn divide(dialect: Dialect, org: OrgId, list: Counted, at: i64, size: i64, all: bool) -> Step {
    let bytes = dialect.bytes();
    let most = if all { LAST } else { divided_at_once(dialect, size) };
    let sql = format!(
        "INSERT INTO block (org, list, scope, at, n, rows_before) \
         SELECT CAST($1 AS {bytes}), CAST($2 AS bigint), CAST($3 AS {bytes}), p.at, coalesce(p.following, p.whole) - p.place, \
         p.before + p.place FROM (SELECT c.at, c.place, c.whole, c.before, lead(c.place) OVER (ORDER BY c.place) AS following FROM \
         (SELECT DISTINCT CASE WHEN k.place = 0 THEN o.at ELSE k.created_at END AS at, k.place, o.n AS whole, o.rows_before AS before FROM \
         (SELECT at, n, rows_before FROM block WHERE org = $1 AND list = $2 AND scope = $3 AND at = $4 AND n > $5) o CROSS JOIN \
         (SELECT r.created_at, rank() OVER (ORDER BY r.created_at) - 1 AS place, \
         dense_rank() OVER (ORDER BY r.created_at) AS instant, \
         row_number() OVER (ORDER BY r.created_at, r.id) - 1 AS nth FROM \
         (SELECT created_at, id FROM {} WHERE org = $1 AND {} AND created_at >= $4 AND created_at < \
         coalesce((SELECT a.at FROM block a WHERE a.org = $1 AND a.list = $2 AND a.scope = $3 AND a.at > $4 \
         ORDER BY a.at LIMIT 1), {LAST}) ORDER BY created_at, id LIMIT {most}) r) k \
         WHERE k.nth % $6 = 0 OR k.instant = 2 AND k.place > $6) c) p \
         WHERE true ON CONFLICT (org, list, scope, at) DO UPDATE SET n = excluded.n",
        list.table(),
        list.condition("$3"),
    );
    let mut params = list.params(org);
    params.extend([Value::Int(at), Value::Int(size), Value::Int((size / 2).max(1))]);
    step(sql, params)
}

/// Numbers the blocks of a list anew, from the one on that this instant lies in.
fn number(from: &str) -> String {
    format!(
        "UPDATE block SET rows_before = CAST(x.rows_before AS bigint) FROM (SELECT b.at, f.rows_before - b.n + sum(b.n) OVER \
         (ORDER BY b.at ROWS UNBOUNDED PRECEDING) AS rows_before FROM block f CROSS JOIN block b \
         WHERE f.org = $1 AND f.list = $2 AND f.scope = $3 AND f.at = (SELECT max(l.at) FROM block l \
         WHERE l.org = $1 AND l.list = $2 AND l.scope = $3 AND l.at <= {from}) \
         AND b.org = $1 AND b.list = $2 AND b.scope = $3 AND b.at >= f.at) x \
         WHERE block.org = $1 AND block.list = $2 AND block.scope = $3 AND block.at = x.at \
         AND block.rows_before <> x.rows_before"
    )
}

/// What every transaction of the job begins with on PostgreSQL.
fn settings(dialect: Dialect) -> impl Iterator<Item = Step> {
    const SETTINGS: [&str; 2] = [
        // What it knows of a table that grows makes it expect one block, and work out all numbers anew for each of them.
        "SET LOCAL enable_nestloop = off",
        // Counts that a crash undoes are undone as a whole, and made again: nobody waits at a lane for the disk.
        "SET LOCAL synchronous_commit = off",
    ];
    SETTINGS.into_iter().filter(move |_| dialect == Dialect::Postgres).map(|sql| step(sql, Vec::new()))
}

/// One transaction of a job: with the list's lanes locked, counts a list without blocks, folds, divides some blocks (in
/// their order), and takes the list's mark away if no block is too large any more. When `holder` is given, whose lane was
/// locked, and the conversation is theirs no longer, it is a conflict.
pub(crate) fn even_out(
    dialect: Dialect,
    org: OrgId,
    list: Counted,
    holder: Option<CustomerId>,
    size: i64,
    dividing: &[(i64, bool)],
) -> Vec<Step> {
    const HELD: &str = "SELECT 1 FROM conversation WHERE org = $1 AND id = $2 AND customer = $3";
    // What an empty block covers falls to the one before.
    const EMPTY: &str = "DELETE FROM block WHERE org = $1 AND list = $2 AND scope = $3 AND n = 0 AND at > $4";
    let held = holder.map(|holder| {
        let params = vec![org.0.into(), list.scope.into(), holder.0.into()];
        Step { must_change: true, ..step(HELD, params) }
    });
    // An org's lists have blocks from its founding on.
    let counting = (!list.is_of_org()).then(|| count(dialect, org, list, size));
    let mut steps: Vec<Step> = settings(dialect).chain(held).chain(counting).collect();
    steps.extend(fold(dialect, org, list));
    let mut params = list.params(org);
    params.push(Value::Int(FIRST));
    steps.push(step(EMPTY, params));
    steps.extend(dividing.iter().map(|(at, all)| divide(dialect, org, list, *at, size, *all)));
    steps.push(unmark(org, list, size, ""));
    steps
}

/// One transaction of a job beside writers, on PostgreSQL: folds a list that has blocks, and takes its mark away if no block
/// is too large. Whoever marks it meanwhile has added to what is folded next.
pub(crate) fn fold_alone(org: OrgId, list: Counted, size: i64) -> Vec<Step> {
    // One without blocks has to be counted first.
    let has_blocks = format!(
        "AND EXISTS (SELECT 1 FROM block f WHERE f.org = $1 AND f.list = $2 AND f.scope = $3 AND f.at = {FIRST})"
    );
    let unmark = unmark(org, list, size, &has_blocks);
    settings(Dialect::Postgres).chain(fold_beside_writers(org, list)).chain([unmark]).collect()
}

/// Takes a list's mark away if no block is too large, and some condition holds.
fn unmark(org: OrgId, list: Counted, size: i64, condition: &str) -> Step {
    // All blocks are looked at for this only where there is a mark: the count is of the mark's org.
    let (large, params) = large(org, list, size, "block_due.org");
    let sql = format!(
        "DELETE FROM block_due WHERE org = $1 AND list = $2 AND scope = $3 \
         AND (SELECT count(*) FROM (SELECT 1 {large} LIMIT 1) x) = 0 {condition}"
    );
    step(sql, params)
}

/// Finds a row if a list has blocks: how many of them are empty.
pub(crate) fn empty_blocks(org: OrgId, list: Counted) -> Query {
    const EMPTY: &str = "SELECT (SELECT count(*) FROM block e WHERE e.org = $1 AND e.list = $2 AND e.scope = $3 AND e.n = 0 \
        AND e.at > $4) FROM block b WHERE b.org = $1 AND b.list = $2 AND b.scope = $3 AND b.at = $4";
    let mut params = list.params(org);
    params.push(Value::Int(FIRST));
    Query::unbounded(EMPTY, params)
}

/// Rows looked at in one transaction to divide them, unless a single instant has more.
pub(crate) const fn divided_at_once(dialect: Dialect, size: i64) -> i64 {
    size.saturating_mul(dialect.divided())
}

/// Those of a list's blocks that have more rows than `size`, of more than one instant.
fn large(org: OrgId, list: Counted, size: i64, of_org: &str) -> (String, Vec<Value>) {
    let rows = format!("FROM {} r WHERE r.org = $1 AND {} AND r.created_at", list.table(), list.condition("$3"));
    // A day's rows may have one date: such a block is found out by a look at two places of an index.
    let first = format!("(SELECT r.created_at {rows} >= b.at ORDER BY r.created_at LIMIT 1)");
    let second = format!("(SELECT r.created_at {rows} > {first} ORDER BY r.created_at LIMIT 1)");
    let sql = format!(
        "FROM block b WHERE b.org = {of_org} AND b.list = $2 AND b.scope = $3 AND b.n > $4 AND {second} < \
         coalesce((SELECT a.at FROM block a WHERE a.org = $1 AND a.list = $2 AND a.scope = $3 AND a.at > b.at \
         ORDER BY a.at LIMIT 1), {LAST})"
    );
    let mut params = list.params(org);
    params.push(Value::Int(size));
    (sql, params)
}

/// The blocks that have to be divided, because they have more rows than `size`, and can be: columns `at, n`.
pub(crate) fn too_large(org: OrgId, list: Counted, size: i64) -> Query {
    let (large, params) = large(org, list, size, "$1");
    Query::unbounded(format!("SELECT b.at, b.n {large} ORDER BY b.at"), params)
}

/// Forgets what was counted of a list and has it counted anew. An org's list is counted here: it has blocks from its
/// founding on. Nobody else may change the list meanwhile.
pub(crate) fn begin_anew(org: OrgId, list: Counted) -> Vec<Step> {
    let mut steps: Vec<Step> = TABLES.into_iter().map(|table| forget(table, org, list)).collect();
    if list.is_of_org() {
        let sql = format!(
            "INSERT INTO block (org, list, scope, at, n, rows_before) SELECT o.id, $1, o.id, {FIRST}, \
             (SELECT count(*) FROM {} r WHERE r.org = o.id AND r.hidden = 0), 0 FROM org o WHERE o.id = $2",
            list.table()
        );
        steps.push(step(sql, vec![Value::Int(list.number), org.0.into()]));
    }
    steps.push(mark(org, list));
    steps
}

/// Marks a list to be looked at.
pub(crate) fn mark(org: OrgId, list: Counted) -> Step {
    step(DUE, list.params(org))
}

#[cfg(test)]
mod tests {
    use konverse_model::{CustomerId, Id, Kind, OrgId};
    use rusqlite::types::Value as Sqlite;
    use rusqlite::{Connection, params_from_iter};

    use super::{Counted, FIRST, even_out, of_customer, too_large};
    use crate::{Dialect, Value};

    const ORG: OrgId = OrgId(Id::from_bytes([1; 12]));
    const CUSTOMER: CustomerId = CustomerId(Id::from_bytes([2; 12]));
    const SIZE: i64 = 4;

    fn values(params: &[Value]) -> impl rusqlite::Params {
        let value = |param: &Value| match param {
            Value::Null => Sqlite::Null,
            Value::Int(n) => Sqlite::Integer(*n),
            Value::Id(id) => Sqlite::Blob(id.bytes().to_vec()),
            Value::Hash(hash) => Sqlite::Blob(hash.to_vec()),
            Value::Text(text) => Sqlite::Text(text.clone()),
            Value::Broken(what) => panic!("{what}"),
        };
        params_from_iter(params.iter().map(value).collect::<Vec<_>>())
    }

    /// Conversations of one customer, created at these moments.
    fn database(created: impl IntoIterator<Item = i64>) -> (Connection, Counted) {
        let connection = Connection::open_in_memory().expect("a database");
        for migration in crate::migrations::SQLITE {
            connection.execute_batch(migration).expect("a migration");
        }
        for (n, at) in created.into_iter().enumerate() {
            let insert = "INSERT INTO conversation (org, id, customer, hidden, rev, version, created_at, updated_at, doc) \
                VALUES ($1, $2, $3, 0, 1, 1, $4, $4, '')";
            let mut id = [0; 12];
            id[4..].copy_from_slice(&n.to_be_bytes());
            let params = [ORG.0.into(), Id::from_bytes(id).into(), CUSTOMER.0.into(), Value::Int(at)];
            connection.execute(insert, values(&params)).expect("a row");
        }
        (connection, of_customer(CUSTOMER, Kind::Conversation).expect("it is counted"))
    }

    fn run(connection: &Connection, list: Counted, dividing: &[(i64, bool)]) {
        for step in even_out(Dialect::Sqlite, ORG, list, None, SIZE, dividing) {
            connection.execute(&step.sql, values(&step.params)).unwrap_or_else(|error| panic!("{error}: {}", step.sql));
        }
    }

    /// Columns `at, n` or `at, rows_before`.
    fn pairs(connection: &Connection, sql: &str, params: &[Value]) -> Vec<(i64, i64)> {
        let mut statement = connection.prepare(sql).expect("a statement");
        let rows = statement.query_map(values(params), |row| Ok((row.get(0)?, row.get(1)?))).expect("rows");
        rows.collect::<Result<_, _>>().expect("numbers")
    }

    #[test]
    fn a_block_of_one_instant_is_no_candidate() {
        let (connection, list) = database((0..20).map(|n| if n < 10 { 5 } else { n }));
        run(&connection, list, &[]);
        let large = || {
            let query = too_large(ORG, list, SIZE);
            pairs(&connection, &query.sql, &query.params)
        };
        assert_eq!(large(), [(FIRST, 20)]);
        run(&connection, list, &[(FIRST, false)]);
        assert_eq!(large(), [], "ten rows of one instant are a block for good");
        let blocks = "SELECT at, n FROM block WHERE n > 4";
        assert_eq!(pairs(&connection, blocks, &[]), [(FIRST, 10)]);
    }

    /// Another process may empty a block between the look at what is too large and the division of it.
    #[test]
    fn blocks_are_numbered_when_the_first_of_them_is_gone() {
        let (connection, list) = database(0..20);
        run(&connection, list, &[]);
        let two = "UPDATE block SET n = 10; INSERT INTO block SELECT org, list, scope, 10, 10, 10 FROM block";
        connection.execute_batch(two).expect("two blocks");
        // As if there had been a block from 7 on.
        run(&connection, list, &[(7, false), (10, false)]);
        let numbers = pairs(&connection, "SELECT at, rows_before FROM block ORDER BY at", &[]);
        assert_eq!(numbers, [(FIRST, 0), (10, 10), (12, 12), (14, 14), (16, 16), (18, 18)]);
    }
}
