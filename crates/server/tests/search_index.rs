//! The search index of running servers: killed in the middle, several on one database, and none at all.

mod running;
#[path = "running/watched.rs"]
mod watched;

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use konverse_domain::{ImportKind, Importer, RowOutcome};
use konverse_testkit::{Actor, TestApp, on_both_engines};
use running::{Running, answer};
use serde_json::{Value, json};
use tempfile::TempDir;
use watched::{becomes, metric};

const MESSAGES: usize = 2_000;

/// A search of messages with these words: the status and the answer.
fn search(server: &Running, token: &str, words: &str) -> (u16, Value) {
    let body = json!({ "queryContext": "message", "and": [{ "message_any_text": { "contains": words } }] }).to_string();
    let mut stream = server.connect();
    write!(
        stream,
        "POST /v1/customers/search?pageSize=500 HTTP/1.1\r\nhost: konverse\r\nauthorization: Bearer {token}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
    .expect("it is sent");
    let (status, body) = answer(&mut stream);
    (status, serde_json::from_str(&body).expect("JSON"))
}

/// How many are found, once the index is built. Until then a search is told to come again.
async fn count(server: &Running, token: &str, words: &str) -> u64 {
    for _ in 0..6_000 {
        let (status, body) = search(server, token, words);
        match status {
            200 => return body["meta"]["total"].as_u64().expect("a total"),
            503 => assert!(
                body["errors"][0]["detail"].as_str().is_some_and(|text| text.contains("search index")),
                "{body}"
            ),
            _ => panic!("{status}: {body}"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the index is never built");
}

fn start(app: &TestApp, folder: &TempDir, more: &[&str]) -> Running {
    let (url, index) = (app.store.url(), folder.path().join("index"));
    let index = index.to_str().expect("a path");
    let usual = ["serve", "--database", &url, "--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0"];
    Running::start(folder.path(), &[&usual, &["--search", index][..], more].concat())
}

fn kill(server: Running) {
    server.signal("KILL");
    let (status, log) = server.ended();
    assert_eq!(status, None, "{log}");
}

/// A conversation with so many messages, and what may add to it.
async fn talk(app: &TestApp, admin: &Actor, messages: usize) -> String {
    let conversation = admin.conversation(&admin.customer().await, json!({})).await;
    let mut importer = Importer::new(&app.domain, app.org.id).await.expect("an import");
    let row = |n: usize| {
        let row = json!({
            "externalId": n.to_string(), "conversation": conversation, "channel": "chat", "app": "x", "direction": "in",
            "preview": format!("hello {n}"), "sentAt": "2026-01-01T00:00:00Z", "createdAt": "2026-01-01T00:00:00Z",
        });
        ImportKind::Messages.read(&row.to_string()).expect("a row")
    };
    let outcomes = importer.take(ImportKind::Messages, (0..messages).map(row).collect()).await.expect("it is taken");
    assert!(outcomes.iter().all(|outcome| !matches!(outcome, RowOutcome::Rejected(_))));
    conversation
}

fn places(folder: &TempDir) -> usize {
    let places = std::fs::read_dir(folder.path().join("index")).expect("a folder");
    places.count()
}

on_both_engines!(a_server_that_is_killed_leaves_an_index_that_is_gone_on_with, |app| async move {
    let folder = TempDir::new().expect("a folder");
    let admin = app.admin().await;
    let conversation = talk(&app, &admin, MESSAGES).await;
    let mut all = MESSAGES as u64;
    // While it is built, which begins before the server serves: at once, and later, by when it may be built.
    for wait in [0, 20, 120, 300] {
        let server = start(&app, &folder, &[]);
        tokio::time::sleep(Duration::from_millis(wait)).await;
        kill(server);
        admin.message(&conversation, json!({ "preview": "hello again" })).await;
        all += 1;
    }
    let server = start(&app, &folder, &[]);
    assert_eq!(count(&server, &admin.token, "hello").await, all);
    // While it follows.
    let mut server = server;
    for wait in [0, 10, 40, 90, 200] {
        for _ in 0..10 {
            admin.message(&conversation, json!({ "preview": "hello again" })).await;
            all += 1;
        }
        // Searches make it commit at once, wherever it is.
        let (status, _) = search(&server, &admin.token, "again");
        assert_eq!(status, 200);
        admin.message(&conversation, json!({ "preview": "hello again" })).await;
        all += 1;
        tokio::time::sleep(Duration::from_millis(wait)).await;
        kill(server);
        server = start(&app, &folder, &[]);
        assert_eq!(count(&server, &admin.token, "hello").await, all);
        assert!(!server.log.contains("built anew"), "{server:?}");
    }
    assert_eq!(places(&folder), 1);
});

on_both_engines!(servers_on_one_database_have_an_index_each, |app| async move {
    let folder = TempDir::new().expect("a folder");
    let admin = app.admin().await;
    let conversation = talk(&app, &admin, 10).await;
    let servers = [start(&app, &folder, &[]), start(&app, &folder, &[])];
    for n in 0..5 {
        for server in &servers {
            assert_eq!(count(server, &admin.token, "hello").await, 10 + n);
        }
        admin.message(&conversation, json!({ "preview": "hello again" })).await;
    }
    for server in &servers {
        assert_eq!(count(server, &admin.token, "hello").await, 15);
    }
    assert_eq!(places(&folder), 2);
    // What a server that is gone had, the next one goes on with.
    let [first, second] = servers;
    first.signal("TERM");
    let (status, log) = first.ended();
    assert_eq!(status, Some(0), "{log}");
    admin.message(&conversation, json!({ "preview": "hello again" })).await;
    let mut third = start(&app, &folder, &[]);
    assert_eq!(count(&third, &admin.token, "hello").await, 16);
    assert_eq!(count(&second, &admin.token, "hello").await, 16);
    assert_eq!(places(&folder), 2);
    assert_eq!(metric(&third, r#"konverse_search_indexes{state="ready"}"#), 1.0);
    // 16 messages, the conversation, the customer.
    assert_eq!(metric(&third, "konverse_search_documents"), 18.0);
    assert!(metric(&third, "konverse_search_bytes") > 0.0);
    becomes("it has come round", || metric(&third, r#"konverse_task_up{task="search-index"}"#) > 0.0).await;
    third.signal("TERM");
    third.logs("stopping");
});

on_both_engines!(a_server_can_do_without, |app| async move {
    let folder = TempDir::new().expect("a folder");
    let admin = app.admin().await;
    talk(&app, &admin, 3).await;
    let url = app.store.url();
    let server =
        Running::start(folder.path(), &["serve", "--database", &url, "--listen", "127.0.0.1:0", "--search", "off"]);
    let (status, body) = search(&server, &admin.token, "hello");
    assert_eq!(status, 503, "{body}");
    assert!(body["errors"][0]["detail"].as_str().is_some_and(|text| text.contains("off")), "{body}");
    assert_eq!(server.get("/v1/messages", &admin.token).0, 200);
    assert_eq!(server.get("/readyz", "").0, 200);
    assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 0, "no index is kept");
    drop(server);
    // A folder that cannot be written to is told at once.
    let file = folder.path().join("a file");
    std::fs::write(&file, "").expect("a file");
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_konverse"))
        .args(["serve", "--database", &url, "--listen", "127.0.0.1:0", "--search"])
        .arg(Path::new(&file))
        .env_clear()
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("--search off"), "{said}");
});
