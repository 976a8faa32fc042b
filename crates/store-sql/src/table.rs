//! The tables records lie in: which columns each has, and the statements made from them.

use std::sync::LazyLock;

use konverse_model::{CustomerId, Id, Instant, Kind, OrgId, Position};
use konverse_store::{Hidden, Row, StoreError};

use crate::{Columns, Value};

/// A column of a record table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Column {
    Org,
    Kind,
    Customer,
    Conversation,
    Hidden,
    CreatedAt,
    Id,
    Rev,
    Turn,
    Version,
    UpdatedAt,
    WakeAt,
    ExternalId,
    Label,
    Doc,
    State,
}

impl Column {
    const fn name(self) -> &'static str {
        match self {
            Column::Org => "org",
            Column::Kind => "kind",
            Column::Customer => "customer",
            Column::Conversation => "conversation",
            Column::Hidden => "hidden",
            Column::CreatedAt => "created_at",
            Column::Id => "id",
            Column::Rev => "rev",
            Column::Turn => "turn",
            Column::Version => "version",
            Column::UpdatedAt => "updated_at",
            Column::WakeAt => "wake_at",
            Column::ExternalId => "external_id",
            Column::Label => "label",
            Column::Doc => "doc",
            Column::State => "state",
        }
    }

    fn value(self, org: OrgId, row: &Row) -> Value {
        match self {
            Column::Org => org.0.into(),
            Column::Kind => Value::Text(row.kind.name().to_owned()),
            Column::Customer => row.customer.map(Id::from).into(),
            Column::Conversation => row.conversation.into(),
            Column::Hidden => Value::Int(hidden_code(row.hidden)),
            Column::CreatedAt => row.created_at.into(),
            Column::Id => row.id.into(),
            Column::Rev => row.rev.into(),
            Column::Turn => row.turn.into(),
            Column::Version => row.version.into(),
            Column::UpdatedAt => row.updated_at.into(),
            Column::WakeAt => row.wake_at.into(),
            Column::ExternalId => row.external_id.clone().into(),
            Column::Label => row.label.clone().into(),
            Column::Doc => Value::Text(row.doc.clone()),
            Column::State => row.state.clone().into(),
        }
    }
}

pub(crate) const fn hidden_code(hidden: Hidden) -> i64 {
    match hidden {
        Hidden::No => 0,
        Hidden::Deleted => 1,
        Hidden::WithConversation => 2,
        Hidden::WithCustomer => 4,
    }
}

fn hidden_of(code: i64) -> Result<Hidden, StoreError> {
    match code {
        0 => Ok(Hidden::No),
        1 => Ok(Hidden::Deleted),
        2 => Ok(Hidden::WithConversation),
        4 => Ok(Hidden::WithCustomer),
        other => Err(StoreError::Corrupt(format!("hidden = {other}"))),
    }
}

/// The condition that nobody else claims a customer's turn, whose parameters are from `$first` on the claim's name, its own
/// holder, the present moment, and the latest at which a claim can end: one that ends later was made before the clock was
/// set back, and holds no longer.
pub(crate) fn unclaimed(first: usize) -> String {
    let [holder, now, latest] = [first + 1, first + 2, first + 3];
    format!(
        "NOT EXISTS (SELECT 1 FROM lease WHERE lease.name = ${first} AND lease.holder <> ${holder} \
         AND lease.ends_at > ${now} AND lease.ends_at <= ${latest})"
    )
}

/// Whether an instant can be told by this number.
fn is_moment(millis: i64) -> bool {
    Instant::from_millis(millis).millis() == millis
}

/// A record table.
pub(crate) struct Table {
    pub(crate) name: &'static str,
    columns: &'static [Column],
    /// The columns that say where a row lies; the rest can be changed in place.
    key: &'static [Column],
    /// Where the row lies and what else must still be as it was read.
    condition: Vec<Column>,
    pub(crate) insert: String,
    pub(crate) update: String,
    pub(crate) delete: String,
    pub(crate) select: String,
}

impl Table {
    fn new(name: &'static str, columns: &'static [Column], key: &'static [Column]) -> Self {
        let names: Vec<_> = columns.iter().map(|column| column.name()).collect();
        let slots: Vec<_> = (1..=columns.len()).map(|n| format!("${n}")).collect();
        // A writer with an older picture loses: of the revision, of whether the row shows, of a customer's timeline.
        let guards = [Column::Hidden, Column::Rev, Column::Turn].into_iter();
        let guards = guards.filter(|guard| columns.contains(guard) && !key.contains(guard));
        let condition: Vec<Column> = key.iter().copied().chain(guards).collect();
        let conditions = |first: usize| -> String {
            let one = |(n, column): (usize, &Column)| format!("{} = ${}", column.name(), first + n);
            condition.iter().enumerate().map(one).collect::<Vec<_>>().join(" AND ")
        };
        let changed: Vec<_> = columns.iter().filter(|column| !key.contains(column)).collect();
        let sets: Vec<_> =
            changed.iter().enumerate().map(|(n, column)| format!("{} = ${}", column.name(), n + 1)).collect();
        Self {
            name,
            columns,
            key,
            insert: format!("INSERT INTO {name} ({}) VALUES ({})", names.join(", "), slots.join(", ")),
            update: {
                let first = changed.len() + 1;
                let is_turned = columns.contains(&Column::Turn);
                let claimed = is_turned.then(|| format!(" AND {}", unclaimed(first + condition.len())));
                let claimed = claimed.unwrap_or_default();
                format!("UPDATE {name} SET {} WHERE {}{claimed}", sets.join(", "), conditions(first))
            },
            delete: format!("DELETE FROM {name} WHERE {}", conditions(1)),
            select: format!("SELECT {} FROM {name}", names.join(", ")),
            condition,
        }
    }

    /// How many columns it has.
    pub(crate) fn width(&self) -> usize {
        self.columns.len()
    }

    /// Its columns, of the row that a query calls `alias`.
    pub(crate) fn columns_of(&self, alias: &str) -> String {
        let columns: Vec<_> = self.columns.iter().map(|column| format!("{alias}.{}", column.name())).collect();
        columns.join(", ")
    }

    pub(crate) fn insert_params(&self, org: OrgId, row: Row) -> Vec<Value> {
        Self::values(self.columns, org, row)
    }

    pub(crate) fn update_params(&self, org: OrgId, was: &Row, now: Row) -> Vec<Value> {
        let changed: Vec<_> = self.columns.iter().copied().filter(|column| !self.key.contains(column)).collect();
        let mut params = Self::values(&changed, org, now);
        params.extend(self.delete_params(org, was));
        params
    }

    fn values(columns: &[Column], org: OrgId, mut row: Row) -> Vec<Value> {
        // The text is by far the largest value, so it is moved rather than copied.
        let doc = std::mem::take(&mut row.doc);
        let mut params: Vec<_> = columns.iter().map(|column| column.value(org, &row)).collect();
        if let Some(n) = columns.iter().position(|column| *column == Column::Doc) {
            params[n] = Value::Text(doc);
        }
        params
    }

    pub(crate) fn delete_params(&self, org: OrgId, was: &Row) -> Vec<Value> {
        self.condition.iter().map(|column| column.value(org, was)).collect()
    }

    /// Whether `now` lies where `was` lay.
    pub(crate) fn same_place(&self, org: OrgId, was: &Row, now: &Row) -> bool {
        self.key.iter().all(|column| column.value(org, was) == column.value(org, now))
    }

    /// Every code of what hides a row.
    pub(crate) const HIDDEN: [i64; Hidden::ALL.len()] = {
        let mut codes = [0; Hidden::ALL.len()];
        let mut n = 0;
        while n < codes.len() {
            codes[n] = hidden_code(Hidden::ALL[n]);
            n += 1;
        }
        codes
    };

    /// Where a row lies in a walk, as far as that can be read.
    pub(crate) fn position(&self, values: &[Value]) -> Option<Position> {
        let Some(Value::Int(millis)) = self.column(Column::CreatedAt, values) else { return None };
        is_moment(*millis).then_some(Position { at: Instant::from_millis(*millis), id: self.id(values)? })
    }

    /// A row's id, where that can be read.
    pub(crate) fn id(&self, values: &[Value]) -> Option<Id> {
        if let Some(Value::Id(id)) = self.column(Column::Id, values) { Some(*id) } else { None }
    }

    fn column<'a>(&self, wanted: Column, values: &'a [Value]) -> Option<&'a Value> {
        values.get(self.columns.iter().position(|column| *column == wanted)?)
    }

    /// Which column of a row cannot be read, without what stands in it.
    pub(crate) fn unreadable(&self, values: &[Value]) -> String {
        for (column, value) in self.columns.iter().zip(values) {
            use Column as C;
            let fits = match (column, value) {
                (C::Customer | C::Conversation | C::WakeAt | C::ExternalId | C::Label | C::State, Value::Null)
                | (C::Org | C::Id | C::Customer | C::Conversation, Value::Id(_))
                | (C::Kind | C::ExternalId | C::Label | C::Doc | C::State, Value::Text(_))
                | (C::Rev | C::Turn | C::Version | C::UpdatedAt | C::WakeAt, Value::Int(_)) => true,
                (C::CreatedAt, Value::Int(millis)) => is_moment(*millis),
                (C::Hidden, Value::Int(code)) => Self::HIDDEN.contains(code),
                _ => false,
            };
            if !fits {
                let why = match (column, value) {
                    (C::Kind | C::ExternalId | C::Label | C::Doc | C::State, value) if *value != Value::NOT_UTF8 => {
                        "it is no text"
                    }
                    (_, Value::Broken(why)) => why,
                    _ => "it is nothing that belongs there",
                };
                return format!("its column {} cannot be read: {why}", column.name());
            }
        }
        "it cannot be read".to_owned()
    }

    pub(crate) fn row(&self, kind: Kind, values: Vec<Value>) -> Result<Row, StoreError> {
        let mut columns = Columns::new(values);
        let mut row = Row {
            kind,
            id: Id::from_bytes([0; 12]),
            customer: None,
            conversation: None,
            hidden: Hidden::No,
            rev: 0,
            turn: 0,
            version: 0,
            created_at: Instant::from_millis(0),
            updated_at: Instant::from_millis(0),
            wake_at: None,
            external_id: None,
            label: None,
            doc: String::new(),
            state: None,
        };
        for column in self.columns {
            match column {
                Column::Org => drop(columns.id()?),
                Column::Kind => drop(columns.text()?),
                Column::Customer => row.customer = columns.optional_id()?.map(CustomerId),
                Column::Conversation => row.conversation = columns.optional_id()?,
                Column::Hidden => row.hidden = hidden_of(columns.int()?)?,
                Column::CreatedAt => row.created_at = Instant::from_millis(columns.int()?),
                Column::Id => row.id = columns.id()?,
                Column::Rev => row.rev = columns.int()?,
                Column::Turn => row.turn = columns.int()?,
                Column::Version => row.version = columns.int()?,
                Column::UpdatedAt => row.updated_at = Instant::from_millis(columns.int()?),
                Column::WakeAt => row.wake_at = columns.optional_int()?.map(Instant::from_millis),
                Column::ExternalId => row.external_id = columns.optional_text()?,
                Column::Label => row.label = columns.optional_text()?,
                Column::Doc => row.doc = columns.text()?,
                Column::State => row.state = columns.optional_text()?,
            }
        }
        Ok(row)
    }
}

use Column as C;

static CUSTOMER: LazyLock<Table> = LazyLock::new(|| {
    Table::new(
        "customer",
        &[C::Org, C::Id, C::Hidden, C::Rev, C::Turn, C::Version, C::CreatedAt, C::UpdatedAt, C::Doc],
        &[C::Org, C::Id],
    )
});

static CONVERSATION: LazyLock<Table> = LazyLock::new(|| {
    Table::new(
        "conversation",
        &[
            C::Org,
            C::Customer,
            C::Hidden,
            C::CreatedAt,
            C::Id,
            C::Rev,
            C::Version,
            C::UpdatedAt,
            C::WakeAt,
            C::ExternalId,
            C::Doc,
            C::State,
        ],
        &[C::Org, C::Customer, C::Hidden, C::CreatedAt, C::Id],
    )
});

const TIMELINE: &[Column] = &[
    C::Org,
    C::Conversation,
    C::CreatedAt,
    C::Id,
    C::Customer,
    C::Hidden,
    C::Rev,
    C::Version,
    C::UpdatedAt,
    C::ExternalId,
    C::Doc,
];
const TIMELINE_KEY: &[Column] = &[C::Org, C::Conversation, C::CreatedAt, C::Id];

static MESSAGE: LazyLock<Table> = LazyLock::new(|| Table::new("message", TIMELINE, TIMELINE_KEY));
static NOTE: LazyLock<Table> = LazyLock::new(|| Table::new("note", TIMELINE, TIMELINE_KEY));

static RECORD: LazyLock<Table> = LazyLock::new(|| {
    Table::new(
        "record",
        &[C::Org, C::Kind, C::Id, C::Hidden, C::Rev, C::Version, C::CreatedAt, C::UpdatedAt, C::Label, C::Doc],
        &[C::Org, C::Kind, C::Id],
    )
});

/// The table a kind lies in.
pub(crate) fn of(kind: Kind) -> &'static Table {
    match kind {
        Kind::Customer => &CUSTOMER,
        Kind::Conversation => &CONVERSATION,
        Kind::Message => &MESSAGE,
        Kind::Note => &NOTE,
        _ => &RECORD,
    }
}

/// Whether the kind shares its table with others.
pub(crate) fn is_shared(kind: Kind) -> bool {
    of(kind).name == "record"
}
