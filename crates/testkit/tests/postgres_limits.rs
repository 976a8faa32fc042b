//! What PostgreSQL cannot do now: who waits for it, for how long, and what is told.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use konverse_model::{ConversationId, CustomerId, Id, Instant, Kind, OrgId};
use konverse_store::{
    Changes, Credentials, Field, Filter, Jobs, List, Lists, NewEvent, Op, Order, Records, Scope, Start, Store,
    StoreError, Verb, Window,
};
use konverse_store_postgres::{Postgres, PostgresStore};
use konverse_store_sql::{Cost, Driver, Query, Value};
use konverse_testkit::postgres::{Database, fresh_database};
use konverse_testkit::{Backend, TestApp};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_postgres::{Client, NoTls};

const ORG: OrgId = OrgId(Id::from_bytes([1; 12]));

/// Waits until whoever holds the lock lets it go.
const LOCKED: &str = "SELECT 1::bigint FROM pg_advisory_xact_lock(42)";

async fn client(database: &Database) -> Client {
    let (client, connection) = tokio_postgres::connect(&database.url, NoTls).await.expect("PostgreSQL answers");
    tokio::spawn(connection);
    client
}

/// A store whose connections have these options.
async fn store(database: &Database, connections: usize, options: &str) -> Arc<PostgresStore> {
    store_at(&database.url, connections, options).await
}

async fn store_at(url: &str, connections: usize, options: &str) -> Arc<PostgresStore> {
    let options = options.replace(' ', "%20").replace('=', "%3D");
    let url = format!("{url}?options={options}");
    Arc::new(Postgres::open(&url, connections).await.expect("it opens"))
}

async fn read(store: &PostgresStore, sql: &'static str, cost: Cost) -> Result<Value, StoreError> {
    let query = Query { sql: sql.into(), params: Vec::new(), cost, bytes: usize::MAX };
    Ok(store.driver().read(vec![query]).await?.remove(0).remove(0).remove(0))
}

/// A change of one lane that tells so many events.
fn told(times: usize) -> Changes {
    let event = NewEvent {
        verb: Verb::Update,
        kind: Kind::Customer,
        object: ORG.0,
        customer: Some(CustomerId(ORG.0)),
        actor: None,
        rev: 1,
        changes: None,
        stamp_at: None,
    };
    let mut changes = Changes::new(ORG, Instant::from_millis(0));
    changes.ops.extend(std::iter::repeat_n(Op::Emit(event), times));
    changes
}

async fn write(store: &PostgresStore, name: &str) -> Result<bool, StoreError> {
    store.lease(name, ORG.0, Instant::from_millis(0), Instant::from_millis(1)).await
}

/// Looks until it is so.
async fn becomes(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    for _ in 0..6_000 {
        if is_so().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{what}");
}

fn assert_unavailable<T: std::fmt::Debug>(outcome: Result<T, StoreError>) {
    assert!(matches!(outcome, Err(StoreError::Unavailable(_))), "{outcome:?}");
}

/// Begins reads that wait for the lock.
fn begin(reads: &mut JoinSet<Result<Value, StoreError>>, store: &Arc<PostgresStore>, count: usize) {
    for _ in 0..count {
        let store = Arc::clone(store);
        reads.spawn(async move { read(&store, LOCKED, Cost::Unbounded).await });
    }
}

/// Waits until so many of them run.
async fn run(store: &PostgresStore, count: usize) {
    let waiting =
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let count = Value::Int(i64::try_from(count).expect("it is small"));
    becomes("all of the share is used", async || {
        read(store, waiting, Cost::Bounded).await.expect("a bounded read") == count
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dear_reads_have_a_share_and_a_queue_and_leave_the_rest_alone() {
    let database = fresh_database().await;
    let holder = client(&database).await;
    let store = store(&database, 8, "-c lock_timeout=0").await;
    holder.batch_execute("SELECT pg_advisory_lock(42)").await.expect("a lock");
    // A quarter of eight, and the queue.
    let (running, queue) = (2, 32);
    let mut reads = JoinSet::new();
    begin(&mut reads, &store, running + queue + 5);
    for _ in 0..5 {
        assert_unavailable(reads.join_next().await.expect("one is refused").expect("it does not panic"));
    }
    run(&store, running).await;
    // Nothing else waits for them.
    store.ping().await.expect("a bounded read");
    assert!(write(&store, "a").await.expect("a write"));

    // Callers who hang up, while they wait or while it runs, take nothing of either along.
    reads.shutdown().await;
    begin(&mut reads, &store, running);
    run(&store, running).await;
    begin(&mut reads, &store, queue + 5);
    for _ in 0..5 {
        assert_unavailable(reads.join_next().await.expect("one is refused").expect("it does not panic"));
    }
    holder.batch_execute("SELECT pg_advisory_unlock(42)").await.expect("it was held");
    let outcomes = std::mem::take(&mut reads).join_all().await;
    assert_eq!(outcomes.len(), running + queue);
    let read_at_last = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    assert!(read_at_last > running, "the queue has room again: {outcomes:?}");
    for outcome in outcomes {
        // On a slow machine one may have waited for its turn for too long.
        if let Err(error) = outcome {
            assert_unavailable::<()>(Err(error));
        }
    }

    // Nor does what fails, also where the connection is not used again.
    for _ in 0..running {
        let failed = read(&store, "SELECT 1::bigint / 0", Cost::Unbounded).await;
        assert!(matches!(failed, Err(StoreError::Database(_))), "{failed:?}");
        let cancelled = "SELECT 1::bigint FROM pg_cancel_backend(pg_backend_pid()), pg_sleep(100)";
        assert_unavailable(read(&store, cancelled, Cost::Unbounded).await);
    }
    holder.batch_execute("SELECT pg_advisory_lock(42)").await.expect("a lock");
    begin(&mut reads, &store, running);
    run(&store, running).await;
    holder.batch_execute("SELECT pg_advisory_unlock(42)").await.expect("it was held");
    assert!(reads.join_all().await.iter().all(Result::is_ok));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_leave_connections_to_reads_of_all_kinds() {
    let database = fresh_database().await;
    let mut holder = client(&database).await;
    let store = store(&database, 8, "-c lock_timeout=0").await;
    let lock = holder.transaction().await.expect("a transaction");
    lock.batch_execute("LOCK TABLE lease").await.expect("a lock");
    let mut writes = JoinSet::new();
    for n in 0..20 {
        let store = Arc::clone(&store);
        writes.spawn(async move { write(&store, &n.to_string()).await });
    }
    let waiting =
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    becomes("the writes take their share", async || {
        read(&store, waiting, Cost::Bounded).await.expect("a bounded read") == Value::Int(5)
    })
    .await;
    read(&store, waiting, Cost::Unbounded).await.expect("a dear read");
    lock.commit().await.expect("it ends");
    assert!(writes.join_all().await.into_iter().all(|write| write.expect("it was only late")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_or_two_connections_do_for_everybody() {
    for connections in [1, 2] {
        let database = fresh_database().await;
        let store = store(&database, connections, "").await;
        let mut all = JoinSet::new();
        for n in 0..10 {
            let store = Arc::clone(&store);
            all.spawn(async move {
                read(&store, "SELECT 1::bigint", Cost::Unbounded).await?;
                write(&store, &n.to_string()).await?;
                store.ping().await
            });
        }
        for outcome in all.join_all().await {
            outcome.expect("it has its turn");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_give_up_waiting_and_the_url_says_when() {
    let database = fresh_database().await;
    let setting = async |store: &PostgresStore, name: &str| {
        let sql = format!("SELECT current_setting('{name}')");
        let query = Query { sql: sql.into(), params: Vec::new(), cost: Cost::Unbounded, bytes: usize::MAX };
        match store.driver().read(vec![query]).await.expect("a read").remove(0).remove(0).remove(0) {
            Value::Text(text) => text,
            other => panic!("{other:?}"),
        }
    };
    let usual = Postgres::open(&database.url, 1).await.expect("it opens");
    for (name, value) in
        [("statement_timeout", "1min"), ("lock_timeout", "5s"), ("idle_in_transaction_session_timeout", "1min")]
    {
        assert_eq!(setting(&usual, name).await, value, "{name}");
    }
    let store = store(&database, 4, "-c lock_timeout=50 -c statement_timeout=1000").await;
    assert_eq!(setting(&store, "lock_timeout").await, "50ms");

    let mut holder = client(&database).await;
    let lock = holder.transaction().await.expect("a transaction");
    lock.batch_execute("LOCK TABLE org, lease").await.expect("a lock");
    assert_unavailable(store.ping().await);
    assert_unavailable(store.orgs().await);
    assert_unavailable(write(&store, "a").await);
    lock.rollback().await.expect("it ends");
    store.ping().await.expect("a read");
    assert!(write(&store, "a").await.expect("a write"));
    assert_unavailable(read(&store, "SELECT 1::bigint FROM pg_sleep(100)", Cost::Unbounded).await);
    assert_unavailable(read(&store, "SELECT 1::bigint FROM pg_sleep(100)", Cost::Bounded).await);
    store.ping().await.expect("a read");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_are_told_to_come_back() {
    let app = TestApp::new(Backend::Postgres).await;
    let admin = app.admin().await;
    let customer = admin.customer().await;
    let url = format!("{}?options=-c%20lock_timeout%3D50", app.store.url());
    let process = app.over(Arc::new(Postgres::open(&url, 4).await.expect("it opens")));
    let admin = admin.at(&process);
    let (mut client, connection) = tokio_postgres::connect(&app.store.url(), NoTls).await.expect("PostgreSQL answers");
    tokio::spawn(connection);
    for (table, path) in [("message", "/v1/messages?page=30"), ("credential", "/v1/tags")] {
        let lock = client.transaction().await.expect("a transaction");
        lock.batch_execute(&format!("LOCK TABLE {table}")).await.expect("a lock");
        let reply = admin.get(path).await;
        assert_eq!(reply.status, 503, "{path}");
        assert_eq!(reply.headers["retry-after"], "1", "{path}");
        lock.rollback().await.expect("it ends");
    }
    let lock = client.transaction().await.expect("a transaction");
    lock.batch_execute("LOCK TABLE lane").await.expect("a lock");
    let body = serde_json::json!({ "name": "late" });
    let reply = admin.post(&format!("/v1/customers/{customer}/conversations"), body.clone()).await;
    assert_eq!(reply.status, 503);
    lock.rollback().await.expect("it ends");
    assert!(
        admin.get(&format!("/v1/customers/{customer}/conversations")).await.ids().is_empty(),
        "nothing was applied"
    );
    admin.post(&format!("/v1/customers/{customer}/conversations"), body).await.created();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_to_be_had_is_said_to_be_so() {
    let database = fresh_database().await;
    let admin = client(&database).await;
    // Nobody listens there.
    let port = TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("its number").port();
    assert_unavailable(Postgres::open(&format!("postgres://ada@127.0.0.1:{port}/x"), 1).await.map(drop));

    // As many connections as a user may have.
    let role = format!("ada_{}", database.name());
    let name = database.name();
    let make = format!(
        "CREATE ROLE {role} LOGIN PASSWORD 'x' CONNECTION LIMIT 1; ALTER DATABASE {name} OWNER TO {role}; \
         ALTER SCHEMA public OWNER TO {role}; SELECT pg_advisory_lock(42)"
    );
    admin.batch_execute(&make).await.expect("a role");
    let at = database.url.find("://").expect("a URL") + 3;
    let place = database.url[at..].rsplit('@').next().expect("a place");
    let url = format!("postgres://{role}:x@{place}?options=-c%20lock_timeout%3D0");
    let store = Arc::new(Postgres::open(&url, 2).await.expect("it opens"));
    let holds = {
        let store = Arc::clone(&store);
        tokio::spawn(async move { read(&store, LOCKED, Cost::Unbounded).await })
    };
    let pid = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    becomes("the read waits", async || admin.query_opt(pid, &[]).await.expect("an answer").is_some()).await;
    assert_unavailable(store.ping().await);
    assert_unavailable(write(&store, "a").await);

    // An operator ends it.
    admin.batch_execute(&format!("SELECT pg_terminate_backend(({pid}))")).await.expect("it is ended");
    assert_unavailable(holds.await.expect("it does not panic"));
    becomes("there is room again", async || store.ping().await.is_ok()).await;
    drop(store);
    admin
        .batch_execute(&format!(
            "ALTER DATABASE {name} OWNER TO current_user; DROP OWNED BY {role} CASCADE; DROP ROLE {role}"
        ))
        .await
        .expect("the role goes");
}

/// What a [`Line`] does with the server's answers.
const THROUGH: u8 = 0;
/// They stay away from now on.
const SILENT: u8 = 1;
/// They stay away from the next commit on, which arrives.
const SILENT_AFTER_COMMIT: u8 = 2;
/// The line is cut when the next commit has arrived.
const CUT_AFTER_COMMIT: u8 = 3;

/// A line to a server that can go dead.
struct Line {
    address: SocketAddr,
    state: Arc<AtomicU8>,
}

impl Line {
    async fn to(server: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let state = Arc::new(AtomicU8::new(THROUGH));
        let line = Self { address, state: Arc::clone(&state) };
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let far = TcpStream::connect(&server).await.expect("the server listens");
                tokio::spawn(Self::carry(near, far, Arc::clone(&state)));
            }
        });
        line
    }

    async fn carry(near: TcpStream, far: TcpStream, state: Arc<AtomicU8>) {
        let (mut near_in, mut near_out) = near.into_split();
        let (mut far_in, mut far_out) = far.into_split();
        let there = async {
            let mut buffer = vec![0; 65_536];
            while let Ok(count @ 1..) = near_in.read(&mut buffer).await {
                // As a whole text, which "READ COMMITTED" is not.
                let commits = buffer[..count].windows(7).any(|part| part == b"COMMIT\0");
                let now = state.load(Ordering::SeqCst);
                if commits && now == SILENT_AFTER_COMMIT {
                    state.store(SILENT, Ordering::SeqCst);
                }
                if far_out.write_all(&buffer[..count]).await.is_err() || commits && now == CUT_AFTER_COMMIT {
                    return;
                }
            }
        };
        let back = async {
            let mut buffer = vec![0; 65_536];
            while let Ok(count @ 1..) = far_in.read(&mut buffer).await {
                // A dead line stays dead; a new one is made when the server is back.
                if state.load(Ordering::SeqCst) == SILENT || near_out.write_all(&buffer[..count]).await.is_err() {
                    return std::future::pending().await;
                }
            }
        };
        tokio::select! { () = there => {}, () = back => {} }
    }

    fn turn(&self, state: u8) {
        self.state.store(state, Ordering::SeqCst);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_server_is_not_waited_for_and_a_commit_without_an_answer_is_unclear() {
    let database = fresh_database().await;
    let admin = client(&database).await;
    let at = database.url.find("://").expect("a URL") + 3;
    let (_, place) = database.url[at..].split_once('@').expect("a user");
    let (server, rest) = place.split_once('/').expect("a database");
    let line = Line::to(server.to_owned()).await;
    let url = database.url.replace(server, &line.address.to_string());
    assert!(url.ends_with(rest));
    let store = store_at(&url, 4, "-c statement_timeout=1500").await;
    store.ping().await.expect("a read");

    line.turn(SILENT);
    assert_unavailable(store.ping().await);
    assert_unavailable(read(&store, "SELECT 1::bigint", Cost::Unbounded).await);
    assert_unavailable(write(&store, "a").await);
    line.turn(THROUGH);
    becomes("it recovers", async || store.ping().await.is_ok()).await;
    becomes("it writes again", async || write(&store, "b").await.is_ok()).await;

    for (name, state) in [("c", SILENT_AFTER_COMMIT), ("d", CUT_AFTER_COMMIT)] {
        line.turn(state);
        match write(&store, name).await {
            Err(StoreError::Unclear(_)) => {}
            other => panic!("{name}: {other:?}"),
        }
        line.turn(THROUGH);
        // It was there all the time.
        let sql = format!("SELECT count(*) FROM lease WHERE name = '{name}'");
        becomes("it is stored", async || admin.query_one(&sql, &[]).await.expect("an answer").get::<_, i64>(0) == 1)
            .await;
        becomes("it recovers", async || store.ping().await.is_ok()).await;
    }

    // One that shares its transaction is not said to wait for its turn any more.
    store.apply(told(1)).await.expect("a change");
    line.turn(SILENT_AFTER_COMMIT);
    match store.apply(told(1)).await {
        Err(StoreError::Unclear(_)) => {}
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_is_not_begun_in_time_is_not_made() {
    let database = fresh_database().await;
    let mut holder = client(&database).await;
    let store = store(&database, 4, "-c statement_timeout=1000").await;
    store.apply(told(1)).await.expect("a change");
    let lane = holder.transaction().await.expect("a transaction");
    lane.batch_execute("SELECT FROM lane FOR UPDATE").await.expect("a lock");
    // An import's, which waits for its lane.
    let large = tokio::spawn({
        let (store, large) = (Arc::clone(&store), told(400));
        async move { store.apply(large).await }
    });
    let waiting =
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    becomes("it waits", async || read(&store, waiting, Cost::Bounded).await.expect("a read") == Value::Int(1)).await;
    // A request's, behind it.
    let small = tokio::time::timeout(Duration::from_secs(60), store.apply(told(1))).await.expect("it is answered");
    assert_unavailable(small);
    lane.commit().await.expect("it ends");
    large.await.expect("it does not panic").expect("it was only late");
    store.apply(told(1)).await.expect("a change");
    let events = read(&store, "SELECT count(*) FROM event", Cost::Bounded).await.expect("a read");
    assert_eq!(events, Value::Int(402), "what was refused is not made");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_combinations_leave_few_statements_behind() {
    let database = fresh_database().await;
    let store = Postgres::open(&database.url, 1).await.expect("it opens");
    let filters = [Field::CreatedAt, Field::UpdatedAt].into_iter().flat_map(|field| {
        let at = Instant::from_millis(1);
        [Filter::From(field, at), Filter::After(field, at), Filter::UpTo(field, at), Filter::Before(field, at)]
    });
    let filters: Vec<Filter> = filters.collect();
    let scopes = [Scope::Org, Scope::Customer(CustomerId(ORG.0)), Scope::Conversation(ConversationId(ORG.0))];
    let mut asked = 0;
    for (n, scope) in scopes.into_iter().enumerate() {
        for kind in [Kind::Message, Kind::Note, Kind::Conversation].into_iter().take(if n == 2 { 2 } else { 3 }) {
            for chosen in 0..1_u32 << filters.len() {
                let list = List::of(kind, scope);
                let chosen = filters.iter().enumerate().filter(|(n, _)| chosen & (1 << n) != 0);
                let list = chosen.fold(list, |list, (_, filter)| list.with(filter.clone()));
                let order = Order { field: Field::CreatedAt, descending: asked % 2 == 0 };
                let window = Window { order, start: Start::Offset(asked % 3 * 700), limit: 1, bytes: usize::MAX };
                store.page(ORG, &list, &window, Vec::new()).await.expect("a page");
                asked += 1;
            }
        }
    }
    assert_eq!(asked, 8 * 256);
    let kept = read(&store, "SELECT count(*) FROM pg_prepared_statements", Cost::Unbounded).await.expect("a read");
    let known = store.driver().prepared().await.expect("a connection");
    assert_eq!(kept, Value::Int(i64::try_from(known).expect("it is small")), "what is forgotten is closed");
    assert!(known < 100, "{known}");

    // However many texts there were, their number is bounded.
    for n in 0..1_200 {
        let query = Query {
            sql: format!("SELECT {n}::bigint").into(),
            params: Vec::new(),
            cost: Cost::Bounded,
            bytes: usize::MAX,
        };
        store.driver().read(vec![query]).await.expect("a read");
    }
    let kept = read(&store, "SELECT count(*) FROM pg_prepared_statements", Cost::Unbounded).await.expect("a read");
    assert!(matches!(kept, Value::Int(1..=500)), "{kept:?}");
}
