//! What an operator sees: what the service manager is told, readiness, metrics.

mod running;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use konverse_api::{ApiSettings, App, Process};
use konverse_testkit::{Backend, TestApp, on_both_engines};
use running::Running;

on_both_engines!(a_process_whose_tasks_do_not_come_round_is_not_ready, |app| async move {
    let hangs = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&hangs);
    let ailing = move || if asked.load(Ordering::SeqCst) { vec!["snooze"] } else { Vec::new() };
    let watched = App::within(
        Arc::clone(&app.domain),
        ApiSettings::default(),
        Process { ailing: Some(Arc::new(ailing)), span: None },
    );
    let nobody = app.nobody().at(&watched);
    assert_eq!(nobody.get("/readyz").await.ok()["status"], "ready");
    hangs.store(true, Ordering::SeqCst);
    let reply = nobody.get("/readyz").await;
    assert_eq!(reply.error(), (503, "unavailable".into(), String::new()));
    let message = reply.json()["errors"][0]["message"].clone();
    assert_eq!(message, "What runs by itself has not come round for long: snooze");
    assert_eq!(nobody.get("/healthz").await.ok()["status"], "ok", "it answers all the same");
    hangs.store(false, Ordering::SeqCst);
    assert_eq!(nobody.get("/readyz").await.status, 200);
});

/// The metrics of a server that was asked something.
async fn metrics() -> String {
    let app = TestApp::new(Backend::Sqlite).await;
    let url = app.store.url();
    let args = ["serve", "--database", &url, "--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0"];
    let mut server = Running::start(&std::env::temp_dir(), &[&args[..], &["--keep-events", "90d"]].concat());
    assert_eq!(server.get("/v1/customers", "nobody's").0, 401);
    let told = server.log.split_once("metrics on http://").and_then(|(_, rest)| rest.split('/').next());
    server.address = told.expect("it says where").parse().expect("an address");
    let (status, metrics) = server.get("/metrics", "");
    assert_eq!(status, 200);
    metrics.as_str().expect("text").to_owned()
}

/// What stands in quotes after any of these, in the sources of the product.
fn named_after(macros: &[&str]) -> BTreeSet<String> {
    fn sources(folder: &Path, found: &mut Vec<String>) {
        for entry in fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
            match entry.is_dir() {
                true => sources(&entry, found),
                false => found.push(fs::read_to_string(&entry).unwrap_or_default()),
            }
        }
    }
    let mut texts = Vec::new();
    for package in [
        "model",
        "store",
        "store-sql",
        "store-sqlite",
        "store-postgres",
        "domain",
        "jobs",
        "feed",
        "search",
        "api",
        "server",
    ] {
        sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(package).join("src"), &mut texts);
    }
    let mut names = BTreeSet::new();
    for (text, name) in texts.iter().flat_map(|text| macros.iter().map(move |name| (text, name))) {
        let call = format!("{name}!(");
        for (at, _) in text.match_indices(&call).filter(|(at, _)| !text[..*at].ends_with('_')) {
            let first = text[at + call.len()..].trim_start().strip_prefix('"').and_then(|rest| rest.split('"').next());
            names.extend(first.map(str::to_owned));
        }
    }
    names
}

#[test]
fn every_metric_is_described_to_its_reader_and_in_the_documentation() {
    let counted = named_after(&["counter", "gauge", "histogram"]);
    assert!(counted.contains("konverse_requests_total"), "{counted:?}");
    assert_eq!(named_after(&["describe_counter", "describe_gauge", "describe_histogram"]), counted);
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/operating.md");
    let page = fs::read_to_string(page).expect("the page");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `konverse_")?.split('`').next());
    let rows: BTreeSet<String> = rows.map(|name| format!("konverse_{name}")).collect();
    assert_eq!(rows, counted);
}

#[tokio::test]
async fn every_task_is_seen_in_the_metrics() {
    let metrics = metrics().await;
    for task in ["snooze", "render", "blocks", "token-uses", "forget-events", "metrics"] {
        for line in ["konverse_task_up{task=\"T\"} 1", "konverse_task_restarts_total{task=\"T\"} 0"] {
            let line = line.replace('T', task);
            assert!(metrics.lines().any(|other| other == line), "{line} in\n{metrics}");
        }
        let age = format!("konverse_task_good_round_age_seconds{{task=\"{task}\"}} ");
        assert!(metrics.lines().any(|line| line.starts_with(&age)), "{age} in\n{metrics}");
    }
}

/// The next message about anything but being alive.
fn news(socket: &UnixDatagram) -> String {
    loop {
        let message = message(socket);
        if message != "WATCHDOG=1\n" {
            return message;
        }
    }
}

fn message(socket: &UnixDatagram) -> String {
    let mut buffer = [0; 4096];
    let length = socket.recv(&mut buffer).expect("a message comes");
    String::from_utf8(buffer[..length].to_vec()).expect("UTF-8")
}

#[tokio::test]
async fn the_service_manager_hears_of_start_life_and_stop() {
    let app = TestApp::new(Backend::Sqlite).await;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    socket.set_read_timeout(Some(Duration::from_secs(60))).expect("a setting");
    let url = app.store.url();
    let args = ["serve", "--database", &url, "--listen", "127.0.0.1:0"];
    let told_of = [("NOTIFY_SOCKET", path.to_str().expect("UTF-8")), ("WATCHDOG_USEC", "20000")];
    let server = Running::start_within(folder.path(), &args, &told_of);
    let status = format!("READY=1\nSTATUS=serving on {}\n", server.address);
    assert_eq!(news(&socket), status);
    for _ in 0..3 {
        assert_eq!(message(&socket), "WATCHDOG=1\n");
    }
    server.signal("TERM");
    assert!(news(&socket).starts_with("STOPPING=1\n"));
    let (status, log) = server.ended();
    assert_eq!(status, Some(0), "{log}");

    // Nobody asks for a sign of life, and nobody listens any more: that is no reason not to serve.
    drop(socket);
    let server = Running::start_within(folder.path(), &args, &told_of[..1]);
    assert_eq!(server.get("/readyz", "").0, 200);
    server.signal("TERM");
    let (status, log) = server.ended();
    assert_eq!(status, Some(0), "{log}");
    assert!(log.contains("the service manager cannot be told how things are"), "{log}");

    // Nobody is there to be told.
    let server = Running::start(folder.path(), &args);
    server.signal("TERM");
    let (status, log) = server.ended();
    assert!(status == Some(0) && !log.contains("service manager"), "{log}");
}
