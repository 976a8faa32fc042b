//! Whether a server can serve, and what it does while its database cannot: full, locked, gone, damaged.

mod running;
#[path = "running/watched.rs"]
mod watched;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use konverse_store::{Looked, Store};
use konverse_store_sqlite::{Options, Sqlite};
use konverse_testkit::{Actor, Backend, Reply, TestApp, on_both_engines};
use running::Running;
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde_json::json;
use tokio::task::JoinSet;
use watched::{becomes, metric};

const PROVEN: &str = "SELECT ends_at FROM lease WHERE name = 'ready'";

/// A refusal because of the database; gives what is said.
#[track_caller]
fn unavailable(reply: &Reply) -> String {
    assert_eq!(reply.error().0, 503, "{}", String::from_utf8_lossy(&reply.body));
    assert_eq!(reply.error().1, "unavailable");
    assert_eq!(reply.headers["retry-after"], "1");
    let text = reply.json()["error"].as_str().expect("a text").to_owned();
    assert!(!text.contains('/') && !text.contains("test.db"), "{text}");
    text
}

/// The refusal of `/readyz` that waiting does not help; gives what is said.
#[track_caller]
fn needs_somebody(reply: &Reply) -> String {
    assert_eq!(reply.error().0, 503, "{}", String::from_utf8_lossy(&reply.body));
    assert!(!reply.headers.contains_key("retry-after"));
    reply.json()["error"].as_str().expect("a text").to_owned()
}

/// The refusal of a write that only a restart helps: it invites nobody to try again.
#[track_caller]
fn stopped(reply: &Reply) {
    let (status, code, _) = reply.error();
    assert_eq!((status, &*code), (503, "unavailable"), "{}", String::from_utf8_lossy(&reply.body));
    assert!(!reply.headers.contains_key("retry-after"));
    let said = "the database takes no writes until konverse is started anew; its log says why";
    assert_eq!(reply.json()["error"], said);
}

fn file(app: &TestApp) -> PathBuf {
    app.store.place().file()
}

/// The same file as another process with these options has it.
fn process(app: &TestApp, token: &Actor, options: Options) -> (Actor, Arc<dyn Store>) {
    let store: Arc<dyn Store> = Arc::new(Sqlite::open_with(&file(app), options).expect("it opens"));
    (token.at(&app.over(Arc::clone(&store))), store)
}

on_both_engines!(it_is_proven_by_a_write_once_a_second_whoever_asks, |app| async move {
    let nobody = app.nobody();
    let begun = app.now().millis();
    let ask = async || assert_eq!(nobody.get("/readyz").await.ok(), json!({ "status": "ready" }));
    // On SQLite a commit would make old what other processes keep, so most writes are taken back.
    let kept: [i64; 7] = match app.store.place().backend() {
        Backend::Sqlite => [0, 0, 0, 0, 0, 30_000, 90_000],
        Backend::Postgres => [0, 0, 1_000, 1_000, 28_999, 30_000, 90_000],
    };
    for (passed, kept) in [0, 999, 1, 500, 27_499, 1_001, 60_000].into_iter().zip(kept) {
        app.clock.advance(passed);
        for _ in 0..5 {
            ask().await;
        }
        assert_eq!(app.store.place().number(PROVEN).await, begun + kept, "after {passed} more");
    }
    // A clock that was put back does not make the last proof last.
    app.clock.advance(-10_000);
    ask().await;
    assert_eq!(app.store.place().number(PROVEN).await, begun + 80_000);
});

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_sqlite_a_lock_is_noticed_within_a_second_though_nothing_is_committed() {
    let app = TestApp::new(Backend::Sqlite).await;
    let admin = app.admin().await;
    let options = Options { longest_wait: Duration::from_millis(200), ..Options::default() };
    let (admin, _store) = process(&app, &admin, options);
    admin.get("/readyz").await.ok();
    let other = rusqlite::Connection::open(file(&app)).expect("it opens");
    other.execute_batch("BEGIN IMMEDIATE").expect("the lock");
    admin.get("/readyz").await.ok();
    app.clock.advance(1_000);
    assert_eq!(unavailable(&admin.get("/readyz").await), "The database takes no writes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_sqlite_a_process_that_is_asked_leaves_what_others_keep_alone() {
    let app = TestApp::new(Backend::Sqlite).await;
    let owner = app.admin().await;
    let customer = owner.customer().await;
    let ((here, _), (there, theirs)) =
        (process(&app, &owner, Options::default()), process(&app, &owner, Options::default()));
    there.get("/readyz").await.ok();
    let about = konverse_model::CustomerId(customer.parse().expect("an id"));
    let plain = rusqlite::Connection::open(file(&app)).expect("it opens");
    let hash: [u8; 32] = plain.query_row("SELECT hash FROM credential", [], |row| row.get(0)).expect("a token");
    drop(plain);
    let version = async || {
        let entrance = theirs.enter(hash, Some(about)).await.expect("a read").expect("a token");
        entrance.version.expect("a version")
    };
    let before = version().await;
    for _ in 0..20 {
        app.clock.advance(1_000);
        here.get("/readyz").await.ok();
    }
    assert_eq!(version().await, before, "what it keeps is fresh");
    here.patch(&format!("/v1/customers/{customer}"), json!({ "name": "Jane" })).await.ok();
    assert_ne!(version().await, before);
}

/// Once a write has failed, only one that is committed says that the database takes writes again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_sqlite_a_write_that_failed_is_followed_by_a_proof_that_is_committed() {
    let app = TestApp::new(Backend::Sqlite).await;
    let owner = app.admin().await;
    let (admin, _store) = process(&app, &owner, Options::default());
    let begun = app.now().millis();
    admin.get("/readyz").await.ok();
    let place = app.store.place();
    place.run("CREATE TRIGGER full BEFORE INSERT ON customer BEGIN SELECT RAISE(ABORT, 'as if'); END").await;
    assert_eq!(admin.post("/v1/customers", json!({})).await.status, 500);
    app.clock.advance(1_000);
    admin.get("/readyz").await.ok();
    assert_eq!(place.number(PROVEN).await, begun + 1_000);
    app.clock.advance(1_000);
    admin.get("/readyz").await.ok();
    assert_eq!(place.number(PROVEN).await, begun + 1_000, "it went well, so the next is only tried");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_postgres_damage_that_a_request_meets_is_remembered() {
    let app = TestApp::new(Backend::Postgres).await;
    let admin = app.admin().await;
    for (code, is_damage) in [("XX000", false), ("XX001", true), ("XX002", true)] {
        let store: Arc<dyn Store> =
            Arc::new(konverse_store_postgres::Postgres::open(&app.store.url(), 4).await.expect("it opens"));
        let admin = admin.at(&app.over(Arc::clone(&store)));
        let raise = format!("BEGIN RAISE EXCEPTION 'as if' USING ERRCODE = '{code}'; END");
        app.store
            .place()
            .run(&format!(
                "CREATE OR REPLACE FUNCTION broken() RETURNS trigger LANGUAGE plpgsql AS $$ {raise} $$; \
            CREATE OR REPLACE TRIGGER broken BEFORE INSERT ON customer FOR EACH ROW EXECUTE FUNCTION broken()"
            ))
            .await;
        admin.get("/readyz").await.ok();
        assert_eq!(admin.post("/v1/customers", json!({})).await.error().0, 500);
        assert_eq!(store.is_damaged(), is_damage, "{code}");
        app.clock.advance(1_000);
        let ready = admin.get("/readyz").await;
        match is_damage {
            true => assert_eq!(needs_somebody(&ready), "The database is damaged"),
            false => drop(ready.ok()),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_postgres_a_locked_table_is_noticed_and_asked_for_once() {
    let app = TestApp::new(Backend::Postgres).await;
    let (mut other, connection) =
        tokio_postgres::connect(&app.store.url(), tokio_postgres::NoTls).await.expect("PostgreSQL answers");
    tokio::spawn(connection);
    let admin = app.admin().await;
    for lock in ["lease IN EXCLUSIVE", "message IN SHARE"] {
        let holder = other.transaction().await.expect("a transaction");
        holder.batch_execute(&format!("LOCK TABLE {lock} MODE")).await.expect("a lock");
        for _ in 0..3 {
            assert_eq!(unavailable(&app.nobody().get("/readyz").await), "The database takes no writes", "{lock}");
            app.clock.advance(60_000);
        }
        let waiting =
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
        // One still waits, or the server has ended it by now.
        assert!(holder.query_one(waiting, &[]).await.expect("a row").get::<_, i64>(0) <= 1, "they do not pile up");
        admin.get("/v1/customers").await.ok();
        holder.rollback().await.expect("it ends");
        while app.nobody().get("/readyz").await.status != 200 {
            app.clock.advance(1_000);
        }
        app.clock.advance(60_000);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_sqlite_a_foreign_lock_keeps_nobody_waiting_and_nothing_given_up_is_made() {
    let app = TestApp::new(Backend::Sqlite).await;
    let admin = app.admin().await;
    let customer = admin.customer().await;
    let conversation = admin.conversation(&customer, json!({ "name": "Late parcel" })).await;
    let options = Options { longest_wait: Duration::from_millis(200), ..Options::default() };
    let (admin, _store) = process(&app, &admin, options);
    let admin = Arc::new(admin);
    let other = rusqlite::Connection::open(file(&app)).expect("it opens");
    other.execute_batch("BEGIN IMMEDIATE").expect("the lock");
    let mut writers = JoinSet::new();
    for n in 0..30 {
        let admin = Arc::clone(&admin);
        let (path, body) = match n % 3 {
            0 => ("/v1/customers".to_owned(), json!({})),
            // One after the other waits for the same customer's turn.
            1 => (format!("/v1/customers/{customer}/conversations"), json!({})),
            _ => (format!("/v1/conversations/{conversation}/messages"), json!({ "channel": "email", "app": "test" })),
        };
        writers.spawn(async move { admin.post(&path, body).await });
    }
    while let Some(reply) = writers.join_next().await {
        assert_eq!(unavailable(&reply.expect("no panic")), "the database cannot take this now; try again");
    }
    assert_eq!(unavailable(&admin.get("/readyz").await), "The database takes no writes");
    assert_eq!(admin.get("/v1/customers").await.ids(), [&*customer], "reads go on");
    other.execute_batch("ROLLBACK").expect("it ends");
    // For a moment it is taken to be held still.
    let mut taken = admin.post("/v1/customers", json!({})).await;
    while taken.status != 201 {
        unavailable(&taken);
        tokio::time::sleep(Duration::from_millis(10)).await;
        taken = admin.post("/v1/customers", json!({})).await;
    }
    assert_eq!(admin.get("/v1/customers").await.ids().len(), 2, "nothing but the last was made");
    assert_eq!(admin.get(&format!("/v1/customers/{customer}/conversations")).await.ids(), [&*conversation]);
    assert!(admin.get(&format!("/v1/conversations/{conversation}/messages")).await.ids().is_empty());
    app.clock.advance(1_000);
    admin.get("/readyz").await.ok();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_sqlite_a_file_that_is_not_at_its_place_takes_no_more_writes() {
    let beside = |path: &Path, suffix: &str| PathBuf::from(format!("{}{suffix}", path.display()));
    for suffix in ["", "-wal", "-shm"] {
        for way in ["deleted", "moved", "replaced"] {
            let app = TestApp::new(Backend::Sqlite).await;
            let admin = app.admin().await;
            let customer = admin.customer().await;
            admin.get("/readyz").await.ok();
            let (path, away) = (beside(&file(&app), suffix), beside(&file(&app), ".away"));
            match way {
                "deleted" => fs::remove_file(&path).expect("it is there"),
                "moved" => fs::rename(&path, &away).expect("it is there"),
                _ => {
                    fs::copy(&path, &away).expect("a copy");
                    fs::rename(&away, &path).expect("a copy");
                }
            }
            let refused = admin.post("/v1/customers", json!({})).await;
            stopped(&refused);
            assert_eq!(admin.get("/v1/customers").await.ids(), [&*customer], "reads go on");
            let said = "The database's file was moved, replaced, deleted or cut short; konverse has to be started anew";
            app.clock.advance(1_000);
            assert_eq!(needs_somebody(&admin.get("/readyz").await), said, "{suffix} {way}");
            if way == "moved" {
                // What was done to it meanwhile is not known.
                fs::rename(&away, &path).expect("it is put back");
                stopped(&admin.post("/v1/customers", json!({})).await);
                app.clock.advance(1_000);
                assert_eq!(needs_somebody(&admin.get("/readyz").await), said);
                let there = app.store.place().number("SELECT count(*) FROM customer").await;
                assert_eq!(there, 1, "nothing of what was refused is there");
            }
        }
    }
}

/// Whoever starts konverse anew goes by the name it was given.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_sqlite_a_link_that_leads_elsewhere_takes_no_more_writes() {
    let app = TestApp::new(Backend::Sqlite).await;
    let owner = app.admin().await;
    let folder = tempfile::tempdir().expect("a folder");
    let (link, next) = (folder.path().join("live.db"), folder.path().join("next"));
    std::os::unix::fs::symlink(file(&app), &link).expect("a link");
    let store: Arc<dyn Store> = Arc::new(Sqlite::open(&link).expect("it opens"));
    let admin = owner.at(&app.over(store));
    admin.customer().await;
    admin.get("/readyz").await.ok();
    let other = folder.path().join("other.db");
    drop(copied_back(&file(&app)));
    fs::copy(file(&app), &other).expect("a copy");
    std::os::unix::fs::symlink(&other, &next).and_then(|()| fs::rename(&next, &link)).expect("it leads elsewhere");
    stopped(&admin.post("/v1/customers", json!({})).await);
    app.clock.advance(1_000);
    assert!(needs_somebody(&admin.get("/readyz").await).contains("was moved, replaced"));
}

/// What was acknowledged before is in the file that was moved, and nothing of it comes over another in its place.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_sqlite_the_log_of_a_file_that_was_moved_goes_with_it_at_the_end() {
    let app = TestApp::new(Backend::Sqlite).await;
    let owner = app.admin().await;
    drop(copied_back(&file(&app)));
    for is_replaced in [false, true] {
        let folder = tempfile::tempdir().expect("a folder");
        let [path, away, other] = ["test.db", "away.db", "other.db"].map(|name| folder.path().join(name));
        fs::copy(file(&app), &path).and_then(|_| fs::copy(file(&app), &other)).expect("copies");
        let store: Arc<dyn Store> = Arc::new(Sqlite::open(&path).expect("it opens"));
        let admin = owner.at(&app.over(Arc::clone(&store)));
        for _ in 0..20 {
            admin.customer().await;
        }
        fs::hard_link(&path, &away).expect("a second name");
        if is_replaced {
            fs::rename(&other, &path).expect("it is replaced");
        } else {
            fs::remove_file(&path).expect("it has the other name");
        }
        stopped(&admin.post("/v1/customers", json!({})).await);
        let closed = Arc::downgrade(&store);
        drop((admin, store));
        while closed.strong_count() > 0 {
            tokio::task::yield_now().await;
        }
        // The last thread may still be at it.
        becomes("what was acknowledged is in it", || count(&away) == Some(20)).await;
        if is_replaced {
            assert_eq!(count(&path), Some(0));
        }
    }
}

/// The customers in a file, if it is whole.
fn count(path: &Path) -> Option<i64> {
    let connection = rusqlite::Connection::open(path).expect("it opens");
    let whole = connection.query_row("PRAGMA integrity_check", [], |row| row.get::<_, String>(0)).ok()?;
    assert_eq!(whole, "ok", "{path:?}");
    connection.query_row("SELECT count(*) FROM customer", [], |row| row.get(0)).ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_sqlite_a_log_that_is_cut_short_takes_no_more_writes_and_does_no_harm() {
    let app = TestApp::new(Backend::Sqlite).await;
    let owner = app.admin().await;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("test.db");
    drop(copied_back(&file(&app)));
    fs::copy(file(&app), &path).expect("a copy");
    let store: Arc<dyn Store> = Arc::new(Sqlite::open(&path).expect("it opens"));
    let admin = owner.at(&app.over(Arc::clone(&store)));
    let before = admin.customer().await;
    drop(copied_back(&path));
    for _ in 0..20 {
        admin.customer().await;
    }
    admin.get("/readyz").await.ok();
    let log = folder.path().join("test.db-wal");
    fs::OpenOptions::new().write(true).open(&log).and_then(|log| log.set_len(0)).expect("it is cut");
    app.clock.advance(1_000);
    assert!(needs_somebody(&admin.get("/readyz").await).contains("cut short"));
    stopped(&admin.post("/v1/customers", json!({})).await);
    drop((admin, store));
    // Whoever starts it anew finds what was copied back. Until its last thread has gone the log still seems to be longer.
    becomes("it can be read", || count(&path) == Some(1)).await;
    let store: Arc<dyn Store> = Arc::new(Sqlite::open(&path).expect("it opens"));
    assert_eq!(owner.at(&app.over(store)).get("/v1/customers").await.ids(), [before]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_sqlite_too_little_room_is_said_before_there_is_none() {
    let app = TestApp::new(Backend::Sqlite).await;
    let admin = app.admin().await;
    let (admin, _store) = process(&app, &admin, Options { least_free: u64::MAX, ..Options::default() });
    let said = unavailable(&admin.get("/readyz").await);
    assert_eq!(said, "There is too little free space beside the database's file");
    admin.customer().await;
}

/// A connection beside the others, after the log was copied back.
fn copied_back(path: &Path) -> rusqlite::Connection {
    let connection = rusqlite::Connection::open(path).expect("it opens");
    // Those who have it open hold the log for a moment.
    connection.busy_timeout(Duration::from_secs(30)).expect("a setting");
    let checkpoint = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0));
    assert_eq!(checkpoint, Ok(0));
    connection
}

/// Fills the first page of a table with zeros.
fn damage(path: &Path, table: &str) {
    let connection = copied_back(path);
    let page = "SELECT rootpage FROM sqlite_schema WHERE name = $1";
    let page: u32 = connection.query_row(page, [table], |row| row.get(0)).expect("a table");
    drop(connection);
    let file = fs::OpenOptions::new().write(true).open(path).expect("it opens");
    file.write_all_at(&[0; 32_768], u64::from(page - 1) * 32_768).expect("it is written");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_sqlite_damage_is_found_by_looking_and_by_requests() {
    for by_looking in [true, false] {
        let app = TestApp::new(Backend::Sqlite).await;
        let owner = app.admin().await;
        let customer = owner.customer().await;
        let (admin, store) = process(&app, &owner, Options::default());
        assert_eq!(store.look_through().await.expect("it is looked through"), Looked::Whole);
        admin.get("/readyz").await.ok();
        drop((admin, store));
        damage(&file(&app), "conversation");
        let (admin, store) = process(&app, &owner, Options::default());
        if by_looking {
            assert_eq!(store.look_through().await.expect("it is looked through"), Looked::Damaged);
        } else {
            admin.get("/readyz").await.ok();
            let reply = admin.get(&format!("/v1/customers/{customer}/conversations")).await;
            assert_eq!(reply.error().0, 500);
            app.clock.advance(1_000);
        }
        assert!(store.is_damaged());
        assert_eq!(needs_somebody(&admin.get("/readyz").await), "The database is damaged");
        admin.get(&format!("/v1/customers/{customer}")).await.ok();
    }
}

/// Waits until the metrics say this of damage.
async fn told_by_metrics(server: &Running, wanted: f64) {
    becomes("it is told", || metric(server, "konverse_database_damaged") == wanted).await;
}

#[tokio::test]
async fn on_sqlite_a_served_file_is_looked_through_unless_told_otherwise() {
    let app = TestApp::new(Backend::Sqlite).await;
    let admin = app.admin().await;
    let customer = admin.customer().await;
    let url = app.store.url();
    let serve = |check: &str| {
        let args = ["serve", "--database", &url, "--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0"];
        Running::start(&std::env::temp_dir(), &[&args[..], &["--check-at-start", check]].concat())
    };
    let ended = |server: Running| {
        server.signal("TERM");
        server.ended().1
    };
    let mut server = serve("on");
    told_by_metrics(&server, 0.0).await;
    assert_eq!(server.get("/readyz", "").0, 200);
    if !server.log.contains("looked through") {
        server.logs("looked through");
    }
    assert!(ended(server).contains("looked through: no damage was found"));

    damage(&file(&app), "conversation");
    let server = serve("on");
    told_by_metrics(&server, 1.0).await;
    assert_eq!(server.get("/readyz", "").0, 503);
    assert!(ended(server).contains("it is DAMAGED"));
    // Nobody looks, until a request comes to it.
    let server = serve("off");
    told_by_metrics(&server, 0.0).await;
    assert_eq!(server.get("/readyz", "").0, 200);
    assert_eq!(server.get(&format!("/v1/customers/{customer}/conversations"), &admin.token).0, 500);
    told_by_metrics(&server, 1.0).await;
    assert!(!ended(server).contains("looked through"));
}

/// GET on a connection that is kept: the status and the body.
fn get_on(stream: &mut TcpStream, path: &str, token: &str) -> (u16, String) {
    write!(stream, "GET {path} HTTP/1.1\r\nhost: konverse\r\nauthorization: Bearer {token}\r\n\r\n")
        .expect("it is sent");
    let mut reader = BufReader::new(stream);
    let mut line = || {
        let mut line = String::new();
        reader.read_line(&mut line).expect("a line");
        line
    };
    let status = line().split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    let mut length = 0;
    loop {
        let line = line();
        if line.trim().is_empty() {
            break;
        }
        if let Some(number) = line.strip_prefix("content-length: ") {
            length = number.trim().parse().expect("a length");
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).expect("a body");
    (status, String::from_utf8(body).expect("UTF-8"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_sqlite_a_file_that_vacuum_makes_shorter_is_whole_and_one_cut_short_is_not() {
    let app = TestApp::new(Backend::Sqlite).await;
    let admin = app.admin().await;
    let other = copied_back(&file(&app));
    other
        .execute_batch("CREATE TABLE large AS SELECT randomblob(3000000) AS it; DROP TABLE large")
        .expect("statements");
    drop(copied_back(&file(&app)));
    admin.customer().await;
    let before = fs::metadata(file(&app)).expect("a file").len();
    other.execute_batch("VACUUM").expect("it runs");
    drop(copied_back(&file(&app)));
    let length = fs::metadata(file(&app)).expect("a file").len();
    assert!(length < before);
    admin.customer().await;
    drop(copied_back(&file(&app)));
    app.clock.advance(1_000);
    admin.get("/readyz").await.ok();
    // Of the last page nothing is read meanwhile.
    fs::OpenOptions::new().write(true).open(file(&app)).and_then(|file| file.set_len(length - 1)).expect("it is cut");
    stopped(&admin.post("/v1/tags", json!({ "name": "late" })).await);
    app.clock.advance(1_000);
    assert!(needs_somebody(&admin.get("/readyz").await).contains("cut short"));
}

#[tokio::test]
async fn on_sqlite_a_process_without_a_map_outlives_its_file_being_cut_short() {
    let app = TestApp::new(Backend::Sqlite).await;
    let admin = app.admin().await;
    let customer = admin.customer().await;
    drop(copied_back(&file(&app)));
    // A file that only the server has open.
    let folder = tempfile::tempdir().expect("a folder");
    let copy = folder.path().join("copy.db");
    fs::copy(file(&app), &copy).expect("a copy");
    let args = ["serve", "--database", "sqlite:copy.db", "--listen", "127.0.0.1:0", "--map-file", "off"];
    let server = Running::start(folder.path(), &args);
    let read = || server.get(&format!("/v1/customers/{customer}/conversations?pageSize=7"), &admin.token).0;
    assert_eq!(read(), 200);
    fs::OpenOptions::new().write(true).open(&copy).and_then(|file| file.set_len(32_768)).expect("it is cut");
    assert_eq!(server.get("/v1/customers", &admin.token).0, 500);
    assert_eq!(server.get("/readyz", "").0, 503);
    assert_eq!(server.get("/healthz", "").0, 200);
    server.signal("TERM");
    let (status, log) = server.ended();
    assert!(status.is_some() && log.contains("was cut short while it was open"), "{status:?}: {log}");
}

/// Clients that hold all descriptors do not keep those who are connected from being answered.
#[tokio::test]
async fn on_sqlite_reads_need_no_descriptor_of_their_own() {
    let app = TestApp::new(Backend::Sqlite).await;
    let admin = app.admin().await;
    let customer = admin.customer().await;
    let url = app.store.url();
    let args = ["serve", "--database", &url, "--listen", "127.0.0.1:0"];
    let server = Running::start(&std::env::temp_dir(), &args);
    let mut client = server.connect();
    assert_eq!(get_on(&mut client, "/healthz", "").0, 200);
    // As if all that there are were taken.
    let process = Pid::from_child(&server.child);
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    prlimit(Some(process), Resource::Nofile, none).expect("its limit can be set");
    for path in [
        format!("/v1/customers/{customer}"),
        format!("/v1/customers/{customer}/conversations"),
        "/v1/customers?filter%5BupdatedAt%5D%5Bgt%5D=2020-01-01T00:00:00Z".to_owned(),
        "/readyz".to_owned(),
    ] {
        let (status, body) = get_on(&mut client, &path, &admin.token);
        assert_eq!(status, 200, "{path}: {body}");
    }
}
