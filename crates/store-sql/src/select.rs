//! The reads of lists.

use std::sync::LazyLock;

use konverse_model::{CustomerId, Id, Instant, Kind, OrgId, RENDERER};
use konverse_store::{Field, Filter, List, Order, Scope, Start, Window};

use crate::table;
use crate::{Cost, Dialect, Query, Value};

const fn column(field: Field) -> &'static str {
    match field {
        Field::CreatedAt => "created_at",
        Field::UpdatedAt => "updated_at",
    }
}

/// The text of a condition under construction, with its parameters.
struct Conditions {
    text: String,
    params: Vec<Value>,
}

impl Conditions {
    fn of(org: OrgId, list: &List) -> Self {
        let mut this = Self { text: "org = $1".to_owned(), params: vec![org.0.into()] };
        if table::is_shared(list.kind) {
            this.compare("kind", "=", Value::Text(list.kind.name().to_owned()));
        }
        match list.scope {
            Scope::Org => {}
            Scope::Customer(id) => this.compare("customer", "=", Id::from(id).into()),
            Scope::Conversation(id) => this.compare("conversation", "=", Id::from(id).into()),
        }
        let deleted = list.filters.contains(&Filter::Deleted);
        this.text.push_str(if deleted { " AND hidden = 1" } else { " AND hidden = 0" });
        for filter in &list.filters {
            match filter {
                Filter::From(field, at) => this.compare(column(*field), ">=", (*at).into()),
                Filter::After(field, at) => this.compare(column(*field), ">", (*at).into()),
                Filter::UpTo(field, at) => this.compare(column(*field), "<=", (*at).into()),
                Filter::Before(field, at) => this.compare(column(*field), "<", (*at).into()),
                Filter::Label(label) => this.compare("label", "=", Value::Text(label.clone())),
                Filter::Labels(labels) => {
                    let slots: Vec<_> = labels.iter().map(|label| this.slot(Value::Text(label.clone()))).collect();
                    this.text.push_str(&format!(" AND label IN ({})", slots.join(", ")));
                }
                Filter::Deleted => {}
            }
        }
        this
    }

    fn slot(&mut self, value: Value) -> String {
        self.params.push(value);
        format!("${}", self.params.len())
    }

    fn compare(&mut self, column: &str, operator: &str, value: Value) {
        let slot = self.slot(value);
        self.text.push_str(&format!(" AND {column} {operator} {slot}"));
    }
}

static AROUND_CONVERSATION: LazyLock<String> = LazyLock::new(|| {
    let [customer, conversation] = [Kind::Customer, Kind::Conversation].map(table::of);
    format!(
        "SELECT {}, {} FROM conversation v JOIN customer c ON c.org = v.org AND c.id = v.customer \
         WHERE v.org = $1 AND v.id = $2",
        customer.columns_of("c"),
        conversation.columns_of("v")
    )
});
static AROUND_MESSAGE: LazyLock<String> = LazyLock::new(|| around_entry(Kind::Message));
static AROUND_NOTE: LazyLock<String> = LazyLock::new(|| around_entry(Kind::Note));

fn around_entry(kind: Kind) -> String {
    let [customer, conversation, entry] = [Kind::Customer, Kind::Conversation, kind].map(table::of);
    format!(
        "SELECT {}, {}, {} FROM {} e JOIN conversation v ON v.org = e.org AND v.id = e.conversation \
         JOIN customer c ON c.org = v.org AND c.id = v.customer WHERE e.org = $1 AND e.id = $2",
        customer.columns_of("c"),
        conversation.columns_of("v"),
        entry.columns_of("e"),
        entry.name
    )
}

/// A conversation, message or note with its customer and conversation: one statement, since a statement sees one moment
/// on both engines. The columns of the customer come first, then those of the conversation.
pub(crate) fn surroundings(org: OrgId, kind: Kind, id: Id) -> Query {
    let sql: &'static str = match kind {
        Kind::Message => &AROUND_MESSAGE,
        Kind::Note => &AROUND_NOTE,
        _ => &AROUND_CONVERSATION,
    };
    Query::bounded(sql, vec![org.0.into(), id.into()])
}

/// Whether the rows of this window arrive backwards: the rows before a position are read from it outwards.
pub(crate) fn is_reversed(window: &Window) -> bool {
    matches!(window.start, Start::Before(_))
}

/// The read of a page: columns `at, id, doc`, one row more than the limit to learn whether the list goes on.
pub(crate) fn page(dialect: Dialect, org: OrgId, list: &List, window: &Window) -> Query {
    match list {
        List { kind: Kind::Conversation, scope: Scope::Customer(customer), filters }
            if filters.is_empty() && window.start == Start::Offset(0) && window.order.field == Field::CreatedAt =>
        {
            let sql = FIRST_PAGE[usize::from(window.order.descending)].as_str();
            Query::bounded(sql, vec![org.0.into(), customer.0.into(), Value::Int(i64::from(window.limit) + 1)])
        }
        _ => any_page(dialect, org, list, window),
    }
}

/// The texts asked for most, the first page of a customer's conversations, in both orders: writing them anew for each
/// request shows in a profile.
static FIRST_PAGE: LazyLock<[String; 2]> = LazyLock::new(|| {
    [false, true].map(|descending| {
        let nobody = Id::from_bytes([0; 12]);
        let list = List::of(Kind::Conversation, Scope::Customer(CustomerId(nobody)));
        let order = Order { field: Field::CreatedAt, descending };
        // The engines differ where there are filters.
        any_page(Dialect::Sqlite, OrgId(nobody), &list, &Window { order, start: Start::Offset(0), limit: 0, bytes: 0 })
            .sql
            .into()
    })
});

fn any_page(dialect: Dialect, org: OrgId, list: &List, window: &Window) -> Query {
    let table = table::of(list.kind).name;
    let at = column(window.order.field);
    let (conditions, tail, cost) = parts(org, list, window);
    let of_customer = list.kind == Kind::Conversation && matches!(list.scope, Scope::Customer(_));
    let sql = if dialect == Dialect::Postgres && of_customer && !list.filters.is_empty() {
        // Rows that are filtered out are looked at in the narrow index only. The others are found by their key and no more:
        // given the customer, a planner that knows nothing of the table yet may look through all that is theirs.
        let direction =
            tail.split(" LIMIT").next().unwrap_or_default().replace(at, &format!("c.{at}")).replace(", id", ", c.id");
        format!(
            "SELECT c.{at}, c.id, c.doc FROM (SELECT created_at, id FROM conversation WHERE {}{tail}) k \
             JOIN conversation c ON c.org = $1 AND c.id = k.id{direction}",
            conditions.text,
        )
    } else {
        format!("SELECT {at}, id, doc FROM {table} WHERE {}{tail}", conditions.text)
    };
    Query { sql: sql.into(), params: conditions.params, cost, bytes: window.bytes }
}

/// The read of full rows.
pub(crate) fn rows(org: OrgId, list: &List, window: &Window) -> Query {
    let table = table::of(list.kind);
    let (conditions, tail, _) = parts(org, list, window);
    Query::unbounded(format!("{} WHERE {}{tail}", table.select, conditions.text), conditions.params)
}

/// The read of rows whose text an older renderer made. The version stands in the text, so that the partial index of such
/// rows is used.
pub(crate) fn outdated(job: &str, kind: Kind, now: Instant, limit: u32) -> Query {
    let table = table::of(kind);
    let mut params = Vec::new();
    let of_kind = if table::is_shared(kind) {
        params.push(Value::Text(kind.name().to_owned()));
        "kind = $1 AND "
    } else {
        ""
    };
    params.extend([Value::Text(job.to_owned()), now.into(), Value::Int(limit.into())]);
    let slot = |back: usize| format!("${}", params.len() - back);
    let sql = format!(
        "{} r WHERE {of_kind}version < {RENDERER} AND NOT EXISTS (SELECT 1 FROM trouble t WHERE t.job = {} \
         AND t.org = r.org AND t.item = r.id AND t.retry_at > {}) ORDER BY org, id LIMIT {}",
        table.select,
        slot(2),
        slot(1),
        slot(0),
    );
    Query::unbounded(sql, params)
}

/// Counts a list.
pub(crate) fn count(org: OrgId, list: &List) -> Query {
    let conditions = Conditions::of(org, list);
    let sql = format!("SELECT count(*) FROM {} WHERE {}", table::of(list.kind).name, conditions.text);
    Query::unbounded(sql, conditions.params)
}

fn parts(org: OrgId, list: &List, window: &Window) -> (Conditions, String, Cost) {
    let mut conditions = Conditions::of(org, list);
    let Order { field, descending } = window.order;
    let at = column(field);
    let beyond = |forward: bool| if forward == descending { "<" } else { ">" };
    let position = match window.start {
        Start::Offset(_) => None,
        Start::After(position) => Some((position, beyond(true))),
        Start::Before(position) => Some((position, beyond(false))),
    };
    if let Some((position, operator)) = position {
        let (at_slot, id_slot) = (conditions.slot(position.at.into()), conditions.slot(position.id.into()));
        conditions.text.push_str(&format!(" AND ({at}, id) {operator} ({at_slot}, {id_slot})"));
    }
    let direction = if descending != is_reversed(window) { "DESC" } else { "ASC" };
    let limit = conditions.slot(Value::Int(i64::from(window.limit) + 1));
    let mut tail = format!(" ORDER BY {at} {direction}, id {direction} LIMIT {limit}");
    let mut cost = if list.filters.is_empty() { Cost::Bounded } else { Cost::Unbounded };
    if let Start::Offset(offset @ 1..) = window.start {
        // Beyond what any table holds, larger numbers mean the same.
        let slot = conditions.slot(Value::Int(i64::try_from(offset).unwrap_or(i64::MAX)));
        tail.push_str(&format!(" OFFSET {slot}"));
        // Skipping up to this many index entries costs about as much as reading the page itself.
        if offset > 1000 {
            cost = Cost::Unbounded;
        }
    }
    (conditions, tail, cost)
}
