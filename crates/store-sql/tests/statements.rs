//! Every statement, as a driver receives it: its parameters are `$1`, `$2` … in the order of first use, one for each value.
//! SQLite numbers them by first use, so any other order would bind wrongly there.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use konverse_model::{ConversationId, CustomerId, Id, Instant, Kind, OrgId, Position, TeamId, TokenId, UserId};
use konverse_store::*;
use konverse_store_sql::{Dialect, Driver, LaneState, Query, SqlStore, Value, Work};

type Seen = Arc<Mutex<Vec<(String, usize)>>>;

/// Notes what it is given and finds nothing.
struct Recorder<const POSTGRES: bool>(Seen);

impl<const POSTGRES: bool> Recorder<POSTGRES> {
    fn note(&self, sql: &str, params: &[Value]) {
        self.0.lock().expect("no test panics here").push((sql.to_owned(), params.len()));
    }
}

#[async_trait]
impl<const POSTGRES: bool> Driver for Recorder<POSTGRES> {
    const DIALECT: Dialect = if POSTGRES { Dialect::Postgres } else { Dialect::Sqlite };

    async fn read(&self, queries: Vec<Query>) -> Result<Vec<Vec<Vec<Value>>>, StoreError> {
        let found = |query: &Query| {
            self.note(&query.sql, &query.params);
            match &*query.sql {
                // A block that has to be divided, and one that is to be looked at.
                sql if sql.starts_with("SELECT at, n FROM block") => vec![vec![Value::Int(5), Value::Int(99)]],
                sql if sql.starts_with("SELECT max(x.at)") => vec![vec![Value::Int(5), Value::Int(1)]],
                sql if sql.starts_with("SELECT (SELECT string_agg") => vec![vec![Value::Text("org".into())]],
                sql if sql.starts_with("SELECT (SELECT") => vec![vec![Value::Int(0), Value::Int(0)]],
                sql if sql.contains("octet_length") => vec![vec![Value::Int(7)]],
                _ => Vec::new(),
            }
        };
        Ok(queries.iter().map(found).collect())
    }

    async fn splice(
        &self,
        query: Query,
        _: Option<(OrgId, CustomerId)>,
        _: u32,
        _: bool,
        buffer: Vec<u8>,
    ) -> Result<Page, StoreError> {
        self.note(&query.sql, &query.params);
        Ok(Page { buffer, count: 0, first: None, last: None, more: false })
    }

    async fn write(&self, work: Work) -> Result<Applied, StoreError> {
        for lane in work.lanes() {
            let (lock, make) = (work.lock(*lane), work.make(*lane));
            self.note(&lock.sql, &lock.params);
            self.note(&make.sql, &make.params);
        }
        let state = LaneState { seq: 0, at: Instant::from_millis(0), used: 0 };
        let (steps, applied) = work.plan(&vec![state; work.lanes().len()])?.alone(&work);
        steps.iter().for_each(|step| self.note(&step.sql, &step.params));
        Ok(applied)
    }

    fn is_damaged(&self) -> bool {
        false
    }
}

const KINDS: [Kind; 8] =
    [Kind::Customer, Kind::Conversation, Kind::Message, Kind::Note, Kind::User, Kind::Team, Kind::Tag, Kind::Token];

/// Which kinds are found by an external id in a column of theirs.
fn has_external_id(kind: Kind) -> bool {
    matches!(kind, Kind::Conversation | Kind::Message | Kind::Note)
}

/// Which lists a kind has: only what belongs to a customer or a conversation is listed by them, and labels are the
/// directory's.
fn has_list(kind: Kind, scope: Scope, filters: &[Filter]) -> bool {
    let labelled = filters.iter().any(|filter| matches!(filter, Filter::Label(_) | Filter::Labels(_)));
    let directory = !matches!(kind, Kind::Customer | Kind::Conversation | Kind::Message | Kind::Note);
    let scoped = match scope {
        Scope::Org => true,
        Scope::Customer(_) => has_external_id(kind),
        Scope::Conversation(_) => matches!(kind, Kind::Message | Kind::Note),
    };
    scoped && (directory || !labelled)
}

/// Which kinds are many, and so have counted lists.
fn has_pages(kind: Kind) -> bool {
    kind == Kind::Customer || has_external_id(kind)
}

const ORDERS: [Order; 4] = [
    Order { field: Field::CreatedAt, descending: true },
    Order { field: Field::CreatedAt, descending: false },
    Order { field: Field::UpdatedAt, descending: true },
    Order { field: Field::UpdatedAt, descending: false },
];

fn id(n: u8) -> Id {
    Id::from_bytes([n; 12])
}

fn row(kind: Kind) -> Row {
    Row {
        kind,
        id: id(1),
        customer: Some(CustomerId(id(2))),
        conversation: Some(id(3)),
        hidden: Hidden::No,
        rev: 1,
        turn: 0,
        version: 1,
        created_at: Instant::from_millis(1),
        updated_at: Instant::from_millis(2),
        wake_at: None,
        external_id: None,
        label: None,
        doc: String::new(),
        state: None,
    }
}

/// What a check reads part by part.
async fn pages_of_a_check(store: &impl Store) -> Result<(), StoreError> {
    let (org, at) = (OrgId(id(9)), Instant::from_millis(5));
    let place = Position { at, id: id(4) };
    let (customer, conversation) = (CustomerId(id(2)), ConversationId(id(3)));
    for walk in [
        Walk::All(Kind::Customer),
        Walk::All(Kind::Tag),
        Walk::Conversations(customer, Hidden::No),
        Walk::Misplaced(customer),
        Walk::Entries(Kind::Message, conversation),
        Walk::Entries(Kind::Note, conversation),
    ] {
        store.walk(org, &[(walk, None), (walk, Some(place))], 5, 100).await?;
    }
    for kind in [Kind::Conversation, Kind::Message, Kind::Note] {
        store.strays(org, kind, Some(id(1)), 5).await?;
    }
    store.names(org, Kind::Customer, &[id(1)]).await?;
    for space in Space::ALL {
        store.lost_names(org, space, "x", 5).await?;
    }
    store.names(org, Kind::Customer, &[id(1)]).await?;
    store.unknown_names(org, Some(("gone".into(), "x".into())), 5).await?;
    store.memberships(org, None, 5).await?;
    store.credentials(org, None, 5).await?;
    store.found_events(org, 0, 0, 5, 100).await?;
    store.deletions(org, 0, 0, 5).await?;
    store.next_counted(org, None).await?;
    for kind in KINDS.into_iter().filter(|kind| has_pages(*kind)) {
        for scope in [Scope::Org, Scope::Customer(customer), Scope::Conversation(conversation)] {
            if has_list(kind, scope, &[]) {
                store.wrong_blocks(org, &List::of(kind, scope), None, 5).await?;
            }
        }
    }
    Ok(())
}

/// Calls everything the contract has, in every form that makes another statement.
async fn everything<const POSTGRES: bool>() -> Vec<(String, usize)> {
    let seen = Seen::default();
    let store = SqlStore::new(Recorder::<POSTGRES>(Arc::clone(&seen)));
    let (org, at) = (OrgId(id(9)), Instant::from_millis(5));
    let name = || (Space::TagName, "blue".to_owned());
    let done = async {
        store.ping().await?;
        store.prove(at).await.map_err(|unready| StoreError::Database(unready.to_string()))?;
        store.holders(org, &[name()]).await?;
        store.tally(org, "customers").await?;
        store.teams_of(org, &[UserId(id(1))]).await?;
        for kind in [Kind::Conversation, Kind::Message, Kind::Note] {
            store.surroundings(org, kind, id(1), Some(UserId(id(1)))).await?;
        }
        store.due("snooze", at, 5).await?;
        store.lease("a", id(1), at, at).await?;
        store.holder("a", at, at).await?;
        store.release("a", id(1)).await?;
        store.troubles("a", 5).await?;
        store.due_troubles("a", org, at, 5).await?;
        store.trouble("a", org, id(1)).await?;
        let (job, reason) = ("a".to_owned(), "b".to_owned());
        store.put_trouble(Trouble { job, org, item: id(1), attempts: 1, retry_at: at, reason }).await?;
        store.clear_trouble("a", org, id(1)).await?;
        store.position("a", org).await?;
        store.put_position("a", org, "p").await?;
        store.heads(org).await?;
        store.forget(org, 0, at, 5).await?;
        store.enter([0; 32], None).await?;
        store.described(org).await?;
        store.orgs().await?;
        store.org(org).await?;
        store.org_named("acme").await?;
        store.events(org, 0, 0, 5).await?;
        store.uneven("a", at, 10, 5).await?;
        pages_of_a_check(&store).await?;
        store.tally_and_count(org, "customers").await?;
        store.password(org, UserId(id(1))).await?;
        store.is_remembered(org, UserId(id(1)), "192.0.2.0/24").await?;
        store.roles_of(org, UserId(id(1))).await?;
        store.tokens_of(org, UserId(id(1))).await?;
        store.holding(org, Kind::User, id(1)).await?;
        store.attempts([0; 32]).await?;
        let attempts = Attempts { failures: 1, since: at, last: at };
        store.put_attempts([0; 32], None, attempts, at).await?;
        store.put_attempts([0; 32], Some(attempts), attempts, at).await?;
        store.forget_attempts(&[[0; 32]]).await?;
        store.forget_name(org, "gone", "x").await?;
        store.lanes(org).await?;
        let lane = LaneFacts { lane: 0, seq: 3, at, gone: 0, oldest: None, newest: None, has_gone: false };
        store.mend_lane(org, &lane, at, 3).await?;
        for kind in KINDS {
            store.get(org, kind, id(1)).await?;
            store.get_many(org, kind, &[id(1), id(2)]).await?;
            store.present(org, kind, &[id(1), id(2)]).await?;
            if has_external_id(kind) {
                store.by_external_id(org, kind, "x").await?;
            }
            store.outdated("a", kind, at, 5).await?;
            for scope in [Scope::Org, Scope::Customer(CustomerId(id(2))), Scope::Conversation(ConversationId(id(3)))] {
                for filters in [
                    vec![],
                    vec![Filter::Deleted],
                    vec![Filter::From(Field::CreatedAt, at), Filter::After(Field::UpdatedAt, at)],
                    vec![Filter::Label("x".into())],
                    vec![Filter::Labels(vec!["x".into(), "y".into()])],
                    vec![Filter::From(Field::UpdatedAt, at)],
                    vec![Filter::UpTo(Field::CreatedAt, at), Filter::Before(Field::UpdatedAt, at)],
                ] {
                    if !has_list(kind, scope, &filters) {
                        continue;
                    }
                    let list = List { kind, scope, filters };
                    if list.filters.is_empty() && has_pages(kind) {
                        store.even_out(org, &list, 10).await?;
                        // That of an org's list looks through the org: it counts.
                        if scope != Scope::Org {
                            store.forget_blocks(org, &list).await?;
                        }
                    }
                    store.count(org, &list).await?;
                    let position = Position { at, id: id(4) };
                    for start in [
                        Start::Offset(0),
                        Start::Offset(7),
                        Start::Offset(u64::MAX),
                        Start::After(position),
                        Start::Before(position),
                    ] {
                        for order in ORDERS {
                            let window = Window { order, start, limit: 3, bytes: usize::MAX };
                            store.page(org, &list, &window, Vec::new()).await?;
                            store.rows(org, &list, &window).await?;
                        }
                    }
                }
            }
            let mut changes = Changes::new(org, at);
            changes.insert(row(kind));
            changes.update(row(kind), row(kind));
            let moved = Row { customer: Some(CustomerId(id(7))), conversation: Some(id(8)), ..row(kind) };
            changes.update(row(kind), moved);
            store.apply(changes).await?;
            let mut many = Changes::new(org, at);
            (0..70).for_each(|n| many.insert(Row { created_at: Instant::from_millis(n), ..row(kind) }));
            store.apply(many).await?;
        }
        let mut changes = Changes::new(org, at);
        let customer = CustomerId(id(1));
        let place = Membership { user: UserId(id(1)), team: TeamId(id(2)) };
        let event = NewEvent {
            verb: Verb::Create,
            kind: Kind::Tag,
            object: id(1),
            customer: None,
            actor: None,
            rev: 1,
            changes: None,
            stamp_at: None,
        };
        changes.ops = vec![
            Op::Found(Org { id: org, name: "acme".into(), created_at: at }),
            Op::Guard(customer, 3),
            Op::ReleaseAll(Kind::Customer, id(1)),
            Op::Release(Space::TagName, "blue".into(), id(1)),
            Op::Claim(Space::TagName, "blue".into(), id(1)),
            Op::Tally("customers", id(1), 1),
            Op::Join(place),
            Op::Leave(place),
            Op::Admit(NewCredential {
                hash: [0; 32],
                token: TokenId(id(1)),
                user: UserId(id(2)),
                roles: "org".into(),
                cidr: None,
                expires_at: None,
            }),
            Op::Revoke(TokenId(id(1))),
            Op::Hold(Holding { kind: Kind::User, owner: id(1), roles: "org".into(), groups: vec![id(2)] }),
            Op::SetPassword(UserId(id(1)), PasswordHash("x".into())),
            Op::Remember(UserId(id(1)), "192.0.2.0/24".into()),
            Op::Describe(3, konverse_model::mask::Masks::default()),
            Op::Emit(event.clone()),
        ];
        store.apply(changes).await?;
        for hide in [Hide::OfCustomer(customer), Hide::OfConversation(customer, id(2)), Hide::Undo(customer, id(2))] {
            let mut changes = Changes::new(org, at);
            changes.ops = vec![Op::Emit(event.clone()), Op::Hide(hide, None)];
            store.apply(changes).await?;
        }
        store.apply(Changes::new(org, at)).await
    };
    done.await.expect("the recorder refuses nothing");
    seen.lock().expect("no test panics here").clone()
}

/// The numbers of a statement's parameters, as they come.
fn slots(sql: &str) -> Vec<usize> {
    let number = |rest: &str| rest.bytes().take_while(u8::is_ascii_digit).count();
    sql.split('$').skip(1).map(|rest| rest[..number(rest)].parse().expect("a number follows")).collect()
}

#[tokio::test]
async fn parameters_come_in_order_and_each_has_a_value() {
    for statements in [everything::<false>().await, everything::<true>().await] {
        let distinct: BTreeSet<&String> = statements.iter().map(|(sql, _)| sql).collect();
        assert!(distinct.len() > 150, "{}", distinct.len());
        for verb in ["SELECT", "WITH", "INSERT", "UPDATE", "DELETE"] {
            assert!(distinct.iter().any(|sql| sql.starts_with(verb)), "{verb}");
        }
        for (sql, values) in &statements {
            let mut most = 0;
            for slot in slots(sql) {
                assert!(slot <= most + 1, "${slot} comes before ${}: {sql}", most + 1);
                most = most.max(slot);
            }
            assert_eq!(most, *values, "{sql}");
            assert!(!sql.contains('?') && !sql.contains('\''), "values are parameters: {sql}");
        }
    }
}

/// A statement that an engine cannot prepare would be found by the first caller who needs it.
#[test]
fn sqlite_prepares_every_statement() {
    let connection = rusqlite::Connection::open_in_memory().expect("a database");
    for migration in konverse_store_sql::migrations::SQLITE {
        connection.execute_batch(migration).expect("a migration");
    }
    let statements = tokio::runtime::Runtime::new().expect("a runtime").block_on(everything::<false>());
    for (sql, values) in statements {
        let statement = connection.prepare(&sql).unwrap_or_else(|error| panic!("{error}: {sql}"));
        assert_eq!(statement.parameter_count(), values, "{sql}");
    }
    assert!(connection.prepare("SELECT nothing FROM nowhere").is_err());
}

/// Two changes of one customer would meet at their rows, in another order each: they meet at the lane.
#[tokio::test]
async fn whoever_relies_on_a_customer_locks_their_lane() {
    let seen = Seen::default();
    let store = SqlStore::new(Recorder::<true>(Arc::clone(&seen)));
    let mut changes = Changes::new(OrgId(id(9)), Instant::from_millis(5));
    changes.ops.push(Op::Guard(CustomerId(id(1)), 3));
    store.apply(changes).await.expect("the recorder refuses nothing");
    let first = seen.lock().expect("no test panics here")[0].0.clone();
    assert!(first.contains("FROM lane") && first.ends_with("FOR UPDATE"), "{first}");
}

/// What a change costs must not grow with its org: the one writer runs it while everybody else waits.
#[test]
fn no_change_looks_through_an_org() {
    let connection = rusqlite::Connection::open_in_memory().expect("a database");
    for migration in konverse_store_sql::migrations::SQLITE {
        connection.execute_batch(migration).expect("a migration");
    }
    let statements = tokio::runtime::Runtime::new().expect("a runtime").block_on(everything::<false>());
    for (sql, values) in
        statements.into_iter().filter(|(sql, _)| !sql.starts_with("SELECT") && !sql.starts_with("WITH"))
    {
        let mut explain = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).expect("a plan");
        let values = rusqlite::params_from_iter(vec![rusqlite::types::Null; values]);
        let plan = explain.query_map(values, |row| row.get::<_, String>(3)).expect("a plan");
        let plan: Vec<String> = plan.collect::<Result<_, _>>().expect("a plan");
        // What a subquery found already may be looked through.
        let found = |name: &str| {
            let made = [format!("MATERIALIZE {name}"), format!("CO-ROUTINE {name}")];
            let is_given = name.contains("CONSTANT ROW") || name.contains("VALUES CLAUSE");
            is_given || name.contains("subquery") || plan.iter().any(|step| made.contains(step))
        };
        let wide = |step: &&String| match step.strip_prefix("SCAN ") {
            Some(name) => !found(name),
            None => step.ends_with("(org=?)"),
        };
        assert_eq!(plan.iter().find(wide), None, "{sql}: {plan:?}");
    }
}

/// However much there is, a part of a check is found by its key and sorts nothing.
#[test]
fn no_part_of_a_check_grows_with_what_there_is() {
    let connection = rusqlite::Connection::open_in_memory().expect("a database");
    for migration in konverse_store_sql::migrations::SQLITE {
        connection.execute_batch(migration).expect("a migration");
    }
    let seen = Seen::default();
    let store = SqlStore::new(Recorder::<false>(Arc::clone(&seen)));
    let asked = tokio::runtime::Runtime::new().expect("a runtime").block_on(pages_of_a_check(&store));
    asked.expect("the recorder refuses nothing");
    let statements = seen.lock().expect("no test panics here");
    assert!(statements.len() > 40, "{}", statements.len());
    for (sql, values) in statements.iter() {
        let mut explain = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).expect("a plan");
        let values = rusqlite::params_from_iter(vec![rusqlite::types::Null; *values]);
        let plan = explain.query_map(values, |row| row.get::<_, String>(3)).expect("a plan");
        let plan: Vec<String> = plan.collect::<Result<_, _>>().expect("a plan");
        // What a subquery found already, a part at most, may be looked through and put in order.
        let is_a_part = |name: &str| ["i", "x"].contains(&name) || plan.contains(&format!("CO-ROUTINE {name}"));
        let wide = |step: &&String| match step.strip_prefix("SCAN ") {
            Some(name) => !is_a_part(name),
            None => step.ends_with("(org=?)"),
        };
        assert_eq!(plan.iter().find(wide), None, "{sql}: {plan:#?}");
    }
}

/// A page by number begins at a block, follows an index from there, and sorts nothing.
#[test]
fn no_page_by_number_walks_from_the_beginning() {
    let connection = rusqlite::Connection::open_in_memory().expect("a database");
    for migration in konverse_store_sql::migrations::SQLITE {
        connection.execute_batch(migration).expect("a migration");
    }
    let statements = tokio::runtime::Runtime::new().expect("a runtime").block_on(everything::<false>());
    let far: Vec<_> = statements.into_iter().filter(|(sql, _)| sql.starts_with("WITH")).collect();
    assert!(!far.is_empty());
    for (sql, values) in far {
        let mut explain = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).expect("a plan");
        let values = rusqlite::params_from_iter(vec![rusqlite::types::Null; values]);
        let plan = explain.query_map(values, |row| row.get::<_, String>(3)).expect("a plan");
        let plan: Vec<String> = plan.collect::<Result<_, _>>().expect("a plan");
        assert_eq!(plan.iter().find(|step| step.contains("TEMP B-TREE")), None, "{sql}: {plan:?}");
        for table in ["customer", "conversation", "message", "note"] {
            let on = format!("SEARCH {table} ");
            let begins = |step: &&String| step.contains("created_at<?") || step.contains("created_at>?");
            assert_eq!(plan.iter().find(|step| step.starts_with(&on) && !begins(step)), None, "{sql}: {plan:?}");
        }
    }
}

/// The pages of every list that can be sorted, in every order, from the beginning and onwards.
async fn sorted_pages<const POSTGRES: bool>() -> Vec<(String, usize)> {
    let seen = Seen::default();
    let store = SqlStore::new(Recorder::<POSTGRES>(Arc::clone(&seen)));
    let scopes = [Scope::Org, Scope::Customer(CustomerId(id(2))), Scope::Conversation(ConversationId(id(3)))];
    let starts =
        [Start::Offset(0), Start::Offset(7), Start::After(Position { at: Instant::from_millis(5), id: id(4) })];
    for kind in [Kind::Customer, Kind::Conversation, Kind::Message] {
        for scope in scopes.into_iter().filter(|scope| has_list(kind, *scope, &[])) {
            for (order, start) in ORDERS.into_iter().flat_map(|order| starts.map(|start| (order, start))) {
                let window = Window { order, start, limit: 3, bytes: usize::MAX };
                let page = store.page(OrgId(id(9)), &List::of(kind, scope), &window, Vec::new()).await;
                page.expect("the recorder refuses nothing");
            }
        }
    }
    seen.lock().expect("no test panics here").clone()
}

/// A list in any order follows an index.
#[tokio::test]
async fn sqlite_sorts_no_list() {
    let connection = rusqlite::Connection::open_in_memory().expect("a database");
    for migration in konverse_store_sql::migrations::SQLITE {
        connection.execute_batch(migration).expect("a migration");
    }
    for (sql, values) in sorted_pages::<false>().await {
        let mut explain = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).expect("a plan");
        let values = rusqlite::params_from_iter(vec![rusqlite::types::Null; values]);
        let plan = explain.query_map(values, |row| row.get::<_, String>(3)).expect("a plan");
        let plan: Vec<String> = plan.collect::<Result<_, _>>().expect("a plan");
        assert_eq!(plan.iter().find(|step| step.contains("TEMP B-TREE")), None, "{sql}: {plan:?}");
    }
}

/// The same on PostgreSQL, which may sort what is little: told not to, it has an index for each.
#[tokio::test]
async fn postgres_need_not_sort_any_list() {
    let database = konverse_testkit::postgres::fresh_database().await;
    let (client, connection) =
        tokio_postgres::connect(&database.url, tokio_postgres::NoTls).await.expect("PostgreSQL answers");
    tokio::spawn(connection);
    for migration in konverse_store_sql::migrations::POSTGRES {
        client.batch_execute(migration).await.expect("a migration");
    }
    let only_indexes = "SET enable_sort = off; SET enable_incremental_sort = off; SET enable_seqscan = off; \
        SET enable_bitmapscan = off; SET plan_cache_mode = force_generic_plan";
    client.batch_execute(only_indexes).await.expect("settings");
    for (sql, values) in sorted_pages::<true>().await {
        client.batch_execute(&format!("PREPARE page AS {sql}")).await.expect("a statement");
        let values = vec!["NULL"; values].join(", ");
        let plan = client.simple_query(&format!("EXPLAIN EXECUTE page({values})")).await.expect("a plan");
        let lines = plan.iter().filter_map(|line| match line {
            tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0),
            _ => None,
        });
        let plan: Vec<&str> = lines.collect();
        assert!(plan.iter().any(|line| line.contains("Index")), "{plan:?}");
        assert_eq!(plan.iter().find(|line| line.contains("Sort")), None, "{sql}: {plan:#?}");
        client.batch_execute("DEALLOCATE page").await.expect("it was there");
    }
}

#[tokio::test]
async fn postgres_prepares_every_statement() {
    let database = konverse_testkit::postgres::fresh_database().await;
    let (client, connection) =
        tokio_postgres::connect(&database.url, tokio_postgres::NoTls).await.expect("PostgreSQL answers");
    tokio::spawn(connection);
    for migration in konverse_store_sql::migrations::POSTGRES {
        client.batch_execute(migration).await.expect("a migration");
    }
    for (sql, values) in everything::<true>().await {
        let statement = client.prepare(&sql).await.unwrap_or_else(|error| panic!("{error:?}: {sql}"));
        assert_eq!(statement.params().len(), values, "{sql}");
    }
    assert!(client.prepare("SELECT nothing FROM nowhere").await.is_err());
}
