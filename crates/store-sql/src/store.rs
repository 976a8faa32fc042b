//! The storage contract over any driver.

use async_trait::async_trait;
use konverse_model::{CustomerId, EventId, Id, Instant, Kind, OrgId, TeamId, TokenId, UserId};
use konverse_store::{Changes, Credential, Event, List, Org, Page, Row, Space, Store, StoreError, Window};

use crate::{Columns, Dialect, Driver, Query, Value, plan, select, table};

const CREDENTIAL: &str = "SELECT org, token, user_id, roles, cidr, expires_at FROM credential WHERE hash = $1";
const HOLDER: &str = "SELECT owner FROM identifier WHERE org = $1 AND space = $2 AND value = $3";
const TEAMS: &str = "SELECT team FROM membership WHERE org = $1 AND user_id = $2 ORDER BY team";
const TALLY: &str = "SELECT CAST(coalesce(sum(amount), 0) AS bigint) FROM tally WHERE org = $1 AND name = $2";
const DUE: &str =
    "SELECT org, id FROM conversation WHERE wake_at IS NOT NULL AND wake_at <= $1 ORDER BY wake_at LIMIT $2";
const ORGS: &str = "SELECT id, name, created_at FROM org ORDER BY name";
const ORG_NAMED: &str = "SELECT id, name, created_at FROM org WHERE name = $1";
const EVENTS: &str = "SELECT seq, id, at, verb, kind, object, customer, actor, rev, changes FROM event \
    WHERE org = $1 AND seq > $2 ORDER BY seq LIMIT $3";
/// On PostgreSQL a number may commit late; what a running transaction could still precede is held back.
const EVENTS_POSTGRES: &str = "SELECT seq, id, at, verb, kind, object, customer, actor, rev, changes FROM event \
    WHERE org = $1 AND seq > $2 AND xid < pg_snapshot_xmin(pg_current_snapshot()) ORDER BY seq LIMIT $3";

/// PostgreSQL's texts cannot hold it, so no stored name does.
const NUL: char = '\0';

/// The storage contract, run by `D`.
pub struct SqlStore<D>(D);

impl<D: Driver> SqlStore<D> {
    /// A store on this driver, whose schema is up to date.
    pub fn new(driver: D) -> Self {
        Self(driver)
    }

    /// The driver.
    pub fn driver(&self) -> &D {
        &self.0
    }

    async fn one(&self, query: Query) -> Result<Vec<Vec<Value>>, StoreError> {
        Ok(self.0.read(vec![query]).await?.pop().unwrap_or_default())
    }
}

fn by_id(org: OrgId, kind: Kind, id: Id) -> Query {
    let select = &table::of(kind).select;
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

fn verb(text: &str) -> Result<&'static str, StoreError> {
    ["create", "update", "delete"]
        .into_iter()
        .find(|known| *known == text)
        .ok_or_else(|| StoreError::Corrupt(format!("event verb {text}")))
}

#[async_trait]
impl<D: Driver> Store for SqlStore<D> {
    async fn ping(&self) -> Result<(), StoreError> {
        self.one(Query::bounded("SELECT count(*) FROM org", Vec::new())).await.map(drop)
    }

    async fn get(&self, org: OrgId, kind: Kind, id: Id) -> Result<Option<Row>, StoreError> {
        self.one(by_id(org, kind, id)).await?.pop().map(|row| table::of(kind).row(kind, row)).transpose()
    }

    async fn get_many(&self, org: OrgId, kind: Kind, ids: &[Id]) -> Result<Vec<Row>, StoreError> {
        let queries = ids.iter().map(|id| by_id(org, kind, *id)).collect();
        let rows = self.0.read(queries).await?.into_iter().flatten();
        rows.map(|row| table::of(kind).row(kind, row)).collect()
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
        let rows = self.0.read(names.iter().map(query).collect()).await?;
        rows.into_iter().map(|mut rows| rows.pop().map(|row| Columns::new(row).id()).transpose()).collect()
    }

    async fn page(&self, org: OrgId, list: &List, window: &Window, buffer: Vec<u8>) -> Result<Page, StoreError> {
        self.0.splice(select::page(org, list, window), window.limit, select::is_reversed(window), buffer).await
    }

    async fn rows(&self, org: OrgId, list: &List, window: &Window) -> Result<Vec<Row>, StoreError> {
        let mut rows = self.one(select::rows(org, list, window)).await?;
        rows.truncate(window.limit as usize);
        if select::is_reversed(window) {
            rows.reverse();
        }
        rows.into_iter().map(|row| table::of(list.kind).row(list.kind, row)).collect()
    }

    async fn count(&self, org: OrgId, list: &List) -> Result<u64, StoreError> {
        let rows = self.one(select::count(org, list)).await?;
        let count = rows.into_iter().next().map(|row| Columns::new(row).int()).transpose()?;
        Ok(count.unwrap_or(0).unsigned_abs())
    }

    async fn tally(&self, org: OrgId, name: &str) -> Result<u64, StoreError> {
        let rows = self.one(Query::bounded(TALLY, vec![org.0.into(), Value::Text(name.to_owned())])).await?;
        let sum = rows.into_iter().next().map(|row| Columns::new(row).int()).transpose()?.unwrap_or(0);
        u64::try_from(sum).map_err(|_| StoreError::Corrupt(format!("tally {name} = {sum}")))
    }

    async fn teams_of(&self, org: OrgId, users: &[UserId]) -> Result<Vec<Vec<TeamId>>, StoreError> {
        let query = |user: &UserId| Query::bounded(TEAMS, vec![org.0.into(), user.0.into()]);
        let rows = self.0.read(users.iter().map(query).collect()).await?;
        rows.into_iter().map(|rows| rows.into_iter().map(|row| Columns::new(row).id().map(TeamId)).collect()).collect()
    }

    async fn due(&self, now: Instant, limit: u32) -> Result<Vec<(OrgId, Id)>, StoreError> {
        let rows = self.one(Query::bounded(DUE, vec![now.into(), Value::Int(limit.into())])).await?;
        rows.into_iter()
            .map(|row| {
                let mut columns = Columns::new(row);
                Ok((OrgId(columns.id()?), columns.id()?))
            })
            .collect()
    }

    async fn credential(&self, hash: [u8; 32]) -> Result<Option<Credential>, StoreError> {
        let Some(row) = self.one(Query::bounded(CREDENTIAL, vec![Value::Hash(hash)])).await?.pop() else {
            return Ok(None);
        };
        let mut columns = Columns::new(row);
        Ok(Some(Credential {
            org: OrgId(columns.id()?),
            token: TokenId(columns.id()?),
            user: UserId(columns.id()?),
            roles: columns.text()?,
            cidr: columns.optional_text()?,
            expires_at: columns.optional_int()?.map(Instant::from_millis),
        }))
    }

    async fn orgs(&self) -> Result<Vec<Org>, StoreError> {
        self.one(Query::unbounded(ORGS, Vec::new())).await?.into_iter().map(org).collect()
    }

    async fn org_named(&self, name: &str) -> Result<Option<Org>, StoreError> {
        self.one(Query::bounded(ORG_NAMED, vec![Value::Text(name.to_owned())])).await?.pop().map(org).transpose()
    }

    async fn events(&self, org: OrgId, after: i64, limit: u32) -> Result<Vec<(i64, Event)>, StoreError> {
        let sql = match D::DIALECT {
            Dialect::Sqlite => EVENTS,
            Dialect::Postgres => EVENTS_POSTGRES,
        };
        let params = vec![org.0.into(), Value::Int(after), Value::Int(limit.into())];
        let event = |row| {
            let mut columns = Columns::new(row);
            let seq = columns.int()?;
            let (id, at) = (EventId(columns.id()?), Instant::from_millis(columns.int()?));
            let verb = verb(&columns.text()?)?;
            let kind = columns.text()?;
            let kind = Kind::from_name(&kind).ok_or_else(|| StoreError::Corrupt(format!("event kind {kind}")))?;
            let object = columns.id()?;
            let customer = columns.optional_id()?.map(CustomerId);
            let actor = columns.optional_id()?.map(UserId);
            let (rev, changes) = (columns.int()?, columns.optional_text()?);
            Ok((seq, Event { id, at, verb, kind, object, customer, actor, rev, changes }))
        };
        self.one(Query::unbounded(sql, params)).await?.into_iter().map(event).collect()
    }

    async fn apply(&self, changes: Changes) -> Result<(), StoreError> {
        if changes.is_empty() {
            return Ok(());
        }
        self.0.write(plan::steps(D::DIALECT, changes)).await
    }
}
