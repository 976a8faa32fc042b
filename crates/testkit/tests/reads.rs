//! Reads of unknown length: how many run at once, and that they end with whoever asked for them.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use http_body_util::BodyExt;
use konverse_api::{ApiSettings, App, Served};
use konverse_domain::{Domain, Ids, Settings};
use konverse_store::{Store, StoreError};
use konverse_store_postgres::Postgres;
use konverse_store_sql::{Cost, Driver, Query, SqlStore, Value};
use konverse_store_sqlite::{Options, Sqlite};
use konverse_testkit::{Backend, TestApp, TestStore, seeded};
use serde_json::json;
use tokio::task::{JoinHandle, JoinSet};
use tower::ServiceExt;

/// Counts; it looks at a table, so it holds the state it began with.
const COUNTING: &str = "WITH RECURSIVE n (i) AS (SELECT count(*) FROM org UNION ALL SELECT i + 1 FROM n WHERE i < $1) \
    SELECT count(*) AS counted FROM n";

/// Minutes of counting: longer than any test waits, and yet a test that fails comes to its end.
const ENOUGH: i64 = 1_000_000_000;

fn counting_to(most: i64) -> Query {
    Query { sql: COUNTING.into(), params: vec![Value::Int(most)], cost: Cost::Unbounded, bytes: usize::MAX }
}

/// Begins a long read, of rows or of a page, on a task of its own. It stands for a request: aborting it is its
/// caller going away.
fn begin<D: Driver>(store: &Arc<SqlStore<D>>, of_a_page: bool) -> JoinHandle<Result<(), StoreError>> {
    let store = Arc::clone(store);
    tokio::spawn(async move {
        let query = counting_to(ENOUGH);
        if of_a_page {
            store.driver().splice(query, None, 1, false, Vec::new()).await.map(drop)
        } else {
            store.driver().read(vec![query]).await.map(drop)
        }
    })
}

async fn answers<D: Driver>(store: &SqlStore<D>) {
    let read = tokio::time::timeout(Duration::from_secs(60), store.driver().read(vec![counting_to(9)]));
    let rows = read.await.expect("there is room for another read").expect("it succeeds");
    assert_eq!(rows, [[[Value::Int(10)]]]);
}

/// Looks until it is so.
async fn becomes(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    for _ in 0..3_000 {
        if is_so().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{what} for half a minute");
}

/// The connections this process has to a SQLite file.
fn connections(file: &Path) -> usize {
    let file = file.canonicalize().expect("a path");
    let open = std::fs::read_dir("/proc/self/fd").expect("the open files").flatten();
    open.filter(|entry| std::fs::read_link(entry.path()).is_ok_and(|target| target == file)).count()
}

/// Begins long reads until there is no place for another, also not to wait.
async fn fill(store: &Arc<SqlStore<Sqlite>>) -> Vec<JoinHandle<Result<(), StoreError>>> {
    let mut long = Vec::new();
    becomes("there is a place for another", async || {
        long.push(begin(store, false));
        let read = store.driver().read(vec![counting_to(9)]);
        // One that has to wait is given up, and its place is free again.
        let read = tokio::time::timeout(Duration::from_millis(10), read).await;
        matches!(read, Ok(Err(StoreError::Unavailable(_))))
    })
    .await;
    long
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_reads_share_a_few_connections_and_do_not_queue_without_end() {
    let app = TestApp::new(Backend::Sqlite).await;
    let admin = app.admin().await;
    let customer = admin.customer().await;
    let conversation = admin.conversation(&customer, json!({ "name": "Late parcel" })).await;

    let url = app.store.url();
    let path = Path::new(url.strip_prefix("sqlite:").expect("a file"));
    let others = connections(path);
    let store = Arc::new(Sqlite::open(path).expect("it opens"));
    // All are opened at the start: one that writes, and those that read.
    let own = connections(path) - others;
    let domain = Domain::new(store.clone(), app.clock.clone(), Ids::new(seeded(11)), Settings::default());
    // The router is made once, as for a listener: making it costs more than a request.
    let service = Served::new(App::new(Arc::new(domain), ApiSettings::default()));
    let get = |path: &str| {
        let authorization = format!("Bearer {}", admin.token);
        let request = Request::get(path).header("authorization", authorization).body(Body::empty());
        let answer = service.clone().oneshot(request.expect("a request"));
        async move {
            let (head, body) = answer.await.expect("an answer").into_parts();
            let body = body.collect().await.expect("a whole body").to_bytes();
            let body: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
            assert!(head.status == 200 || head.headers["retry-after"] == "1", "{body}");
            (head.status.as_u16(), body)
        }
    };
    const FILTERED: &str = "/v1/customers?filter%5BupdatedAt%5D%5Bgt%5D=2026-01-01T00:00:00Z";

    let long = fill(&store).await;
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let places = 4 + (2 * threads).max(64);
    assert!(long.len() >= places, "{} long reads, some of them refused", long.len());
    for _ in 0..50 {
        let (status, refused) = get(FILTERED).await;
        assert_eq!((status, &refused["errors"][0]["code"]), (503, &json!("unavailable")), "at once");
        // Reads by key do not wait behind them.
        let (status, read) = get(&format!("/v1/conversations/{conversation}")).await;
        assert_eq!((status, &read["data"]["id"]), (200, &json!(conversation)));
        assert_eq!(connections(path), others + own);
    }
    long.iter().for_each(JoinHandle::abort);
    let mut lists = JoinSet::new();
    for _ in 0..600 {
        lists.spawn(get(FILTERED));
    }
    let mut answered = 0;
    while let Some(list) = lists.join_next().await {
        let (status, list) = list.expect("no panic");
        answered += usize::from(status == 200 && list["data"][0]["id"] == *customer);
        assert!(status == 200 || status == 503, "{status}");
        assert_eq!(connections(path), others + own);
    }
    assert!(answered >= 64, "{answered}: those who got a place are answered");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_sqlite_a_long_read_does_not_wait_for_ever() {
    let test = TestStore::new(Backend::Sqlite).await;
    let options = Options { longest_wait: Duration::from_millis(100), ..Options::default() };
    let store = Arc::new(Sqlite::open_with(&test.place().file(), options).expect("it opens"));
    let running: Vec<_> = (0..4).map(|_| begin(&store, false)).collect();
    becomes("it waits", async || {
        matches!(store.driver().read(vec![counting_to(9)]).await, Err(StoreError::Unavailable(text)) if text.contains("within"))
    })
    .await;
    running.iter().for_each(JoinHandle::abort);
    becomes("no thread is free", async || store.driver().read(vec![counting_to(9)]).await.is_ok()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_sqlite_a_read_ends_when_its_caller_goes_away() {
    let test = TestStore::new(Backend::Sqlite).await;
    let url = test.url();
    let path = Path::new(url.strip_prefix("sqlite:").expect("a file"));
    let store = Arc::new(Sqlite::open(path).expect("it opens"));
    // A log cannot be emptied while somebody reads an older state: that shows whether the reading goes on.
    let other = rusqlite::Connection::open(path).expect("the file opens");
    other.busy_timeout(Duration::ZERO).expect("a setting");
    let open = connections(path);
    let is_being_read = || {
        other.execute("INSERT INTO tally VALUES (randomblob(12), '', 0, 0)", []).expect("a row");
        let busy: i64 = other.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0)).expect("an answer");
        busy == 1
    };
    for of_a_page in [false, true] {
        let running: Vec<_> = (0..4).map(|_| begin(&store, of_a_page)).collect();
        becomes("nothing is read", async || is_being_read()).await;
        // Those who wait for their turn give it up as well.
        let waiting: Vec<_> = (0..20).map(|_| begin(&store, of_a_page)).collect();
        tokio::task::yield_now().await;
        assert!(running.iter().chain(&waiting).all(|read| !read.is_finished()));
        running.iter().chain(&waiting).for_each(JoinHandle::abort);
        becomes("the file is being read", async || !is_being_read()).await;
        answers(&store).await;
        assert_eq!(connections(path), open, "none is closed, and none is opened");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_postgres_a_read_ends_when_its_caller_goes_away() {
    let test = TestStore::new(Backend::Postgres).await;
    let store = Arc::new(Postgres::open(&test.url(), 1).await.expect("it opens"));
    let (other, connection) =
        tokio_postgres::connect(&test.url(), tokio_postgres::NoTls).await.expect("PostgreSQL answers");
    tokio::spawn(connection);
    let is_being_read = async || {
        let running = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
            AND pid <> pg_backend_pid() AND state = 'active' AND query LIKE '%counted%'";
        other.query_one(running, &[]).await.expect("an answer").get::<_, i64>(0) > 0
    };
    let pid = async || {
        let sql = "SELECT pg_backend_pid()::bigint";
        let query = |cost| Query { sql: sql.into(), params: Vec::new(), cost, bytes: usize::MAX };
        let read = async |cost| store.driver().read(vec![query(cost)]).await.expect("a read");
        let pid = read(Cost::Bounded).await;
        assert_eq!(read(Cost::Unbounded).await, pid, "a read that ends by itself gives its connection back");
        pid
    };
    for of_a_page in [false, true] {
        let before = pid().await;
        let running = begin(&store, of_a_page);
        becomes("nothing is read", is_being_read).await;
        let waiting: Vec<_> = (0..20).map(|_| begin(&store, of_a_page)).collect();
        tokio::task::yield_now().await;
        assert!(!running.is_finished() && waiting.iter().all(|read| !read.is_finished()));
        running.abort();
        waiting.iter().for_each(JoinHandle::abort);
        becomes("the query runs", async || !is_being_read().await).await;
        answers(&*store).await;
        assert_ne!(pid().await, before, "the connection was not handed on");
    }
}

#[tokio::test]
async fn on_postgres_texts_made_of_filters_are_not_kept() {
    let test = TestStore::new(Backend::Postgres).await;
    let store = Postgres::open(&test.url(), 1).await.expect("it opens");
    let read = async |sql: String, cost| {
        let query = Query { sql: sql.into(), params: Vec::new(), cost, bytes: usize::MAX };
        store.driver().read(vec![query]).await.expect("a read").remove(0).remove(0).remove(0)
    };
    let kept = async || read("SELECT count(*) FROM pg_prepared_statements".into(), Cost::Bounded).await;
    let before = kept().await;
    for n in 0..20 {
        assert_eq!(read(format!("SELECT {n}::bigint"), Cost::Unbounded).await, Value::Int(n));
    }
    assert_eq!(kept().await, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_postgres_writers_that_wait_leave_connections_to_reads() {
    let app = TestApp::new(Backend::Postgres).await;
    let admin = app.admin().await;
    let customer = admin.customer().await;
    let url = app.store.url();
    let (mut other, connection) =
        tokio_postgres::connect(&url, tokio_postgres::NoTls).await.expect("PostgreSQL answers");
    tokio::spawn(connection);
    let holder = other.transaction().await.expect("a transaction");
    holder.batch_execute("LOCK TABLE lane IN ACCESS EXCLUSIVE MODE").await.expect("a lock");
    let process = app.over(Arc::new(Postgres::open(&url, 4).await.expect("it opens")));
    let process = Arc::new(admin.at(&process));
    let mut writers = JoinSet::new();
    for n in 0..8 {
        let process = Arc::clone(&process);
        writers.spawn(async move { process.post("/v1/tags", json!({ "name": format!("{n}") })).await.created_id() });
    }
    becomes("too few writers wait", async || {
        let waiting =
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
        app.store.place().number(waiting).await == 2
    })
    .await;
    process.get(&format!("/v1/customers/{customer}/conversations")).await.ok();
    holder.commit().await.expect("it ends");
    assert_eq!(writers.join_all().await.len(), 8);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_too_large_is_not_read_to_its_end() {
    async fn stops<D: Driver>(store: &SqlStore<D>, id: &str, text: &str) {
        for cost in [Cost::Bounded, Cost::Unbounded] {
            // Rows without end: a read that gathered them first would not come back.
            let sql = format!(
                "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {ENOUGH}) \
                 SELECT CAST(i AS bigint), {id}, {text} FROM n"
            );
            let query = Query { sql: sql.into(), params: Vec::new(), cost, bytes: 10_000_000 };
            let read = store.driver().splice(query, None, u32::MAX, false, Vec::new());
            let page = tokio::time::timeout(Duration::from_secs(60), read).await.expect("it stops");
            assert!(matches!(page, Err(StoreError::TooLarge)));
            answers(store).await;
        }
    }
    let (sqlite, postgres) = tokio::join!(TestStore::new(Backend::Sqlite), TestStore::new(Backend::Postgres));
    let file = sqlite.url();
    let sqlite = Sqlite::open(Path::new(file.strip_prefix("sqlite:").expect("a file"))).expect("it opens");
    stops(&sqlite, "zeroblob(12)", "CAST(zeroblob(100000) AS TEXT)").await;
    let postgres = Postgres::open(&postgres.url(), 1).await.expect("it opens");
    stops(&postgres, "decode(repeat('00', 12), 'hex')", "repeat('x', 100000)").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_read_leaves_room_for_others() {
    async fn fail<D: Driver>(store: &SqlStore<D>) {
        for cost in [Cost::Bounded, Cost::Unbounded] {
            for _ in 0..20 {
                let query =
                    Query { sql: "SELECT nothing FROM nowhere".into(), params: Vec::new(), cost, bytes: usize::MAX };
                store.driver().read(vec![query.clone()]).await.expect_err("no such table");
                store.driver().splice(query, None, 1, false, Vec::new()).await.expect_err("no such table");
            }
        }
        answers(store).await;
        store.ping().await.expect("a read");
    }
    let (sqlite, postgres) = tokio::join!(TestStore::new(Backend::Sqlite), TestStore::new(Backend::Postgres));
    fail(&Sqlite::open(Path::new(sqlite.url().strip_prefix("sqlite:").expect("a file"))).expect("it opens")).await;
    fail(&Postgres::open(&postgres.url(), 1).await.expect("it opens")).await;
}
