//! Starting and stopping: the program itself on loopback, with signals, beside others of its kind.

mod running;

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;

use konverse_testkit::{Backend, TestApp, on_both_engines};
use running::{Running, answer, connection};
use serde_json::{Value, json};

/// Starts `serve` on the app's database and a free port.
fn serve(app: &TestApp, more: &[&str]) -> Running {
    let url = app.store.url();
    let args = ["serve", "--database", &url, "--listen", "127.0.0.1:0"];
    Running::start(&std::env::temp_dir(), &[&args, more].concat())
}

/// A request the server has begun to answer, since it asks for the body.
struct Begun {
    stream: TcpStream,
    body: String,
}

impl Begun {
    /// Creates a customer, up to half of the body.
    fn new(server: &Running, token: &str, name: &str) -> Self {
        let body = json!({ "name": name }).to_string();
        let mut stream = server.connect();
        write!(
            stream,
            "POST /v1/customers HTTP/1.1\r\nhost: konverse\r\nauthorization: Bearer {token}\r\n\
             connection: close\r\n\
             content-type: application/json\r\ncontent-length: {}\r\nexpect: 100-continue\r\n\r\n",
            body.len()
        )
        .expect("it is sent");
        let mut interim = [0; 25];
        stream.read_exact(&mut interim).expect("it is asked for the body");
        assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
        stream.write_all(&body.as_bytes()[..body.len() / 2]).expect("it is sent");
        Self { stream, body }
    }

    /// Sends the other half: the status and the answer.
    fn finish(mut self) -> (u16, String) {
        self.stream.write_all(&self.body.as_bytes()[self.body.len() / 2..]).expect("it is sent");
        answer(&mut self.stream)
    }

    /// Whether the connection ends without an answer.
    fn ends_unanswered(mut self) -> bool {
        let mut rest = Vec::new();
        match self.stream.read_to_end(&mut rest) {
            Ok(_) => rest.is_empty(),
            Err(error) => error.kind() == ErrorKind::ConnectionReset,
        }
    }
}

/// Waits until nobody listens at an address any more.
fn wait_until_closed(address: SocketAddr) {
    let tries = 60_000;
    for _ in 0..tries {
        match connection(address) {
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => return,
            // The signal has not arrived yet. A listener that is being closed resets what waits to be accepted.
            _ => std::thread::sleep(std::time::Duration::from_millis(1)),
        }
    }
    panic!("{address} still accepts connections");
}

on_both_engines!(a_running_request_is_finished_before_the_end, |app| async move {
    let admin = app.admin().await;
    let server = serve(&app, &[]);
    assert_eq!(server.get("/healthz", "").0, 200);
    assert_eq!(server.get("/readyz", "").0, 200);
    let begun = Begun::new(&server, &admin.token, "Jane Doe");
    server.signal("TERM");
    wait_until_closed(server.address);
    let (status, body) = begun.finish();
    assert_eq!(status, 201, "{body}");
    let (status, log) = server.ended();
    assert_eq!(status, Some(0), "{log}");
    assert!(log.contains("stopping") && !log.contains("cutting off"), "{log}");
    let id = serde_json::from_str::<Value>(&body).expect("JSON")["data"]["id"].clone();
    let stored = admin.attributes(&format!("/v1/customers/{}", id.as_str().expect("an id"))).await;
    assert_eq!(stored["name"], "Jane Doe");
});

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let app = TestApp::new(Backend::Sqlite).await;
    let admin = app.admin().await;
    for (first, second) in [("TERM", "TERM"), ("INT", "INT"), ("TERM", "INT")] {
        // Longer than any test is waited for.
        let server = serve(&app, &["--drain-seconds", "86400"]);
        let begun = Begun::new(&server, &admin.token, "Jane Doe");
        server.signal(first);
        wait_until_closed(server.address);
        server.signal(second);
        let (status, log) = server.ended();
        assert_eq!(status, Some(0), "{log}");
        assert!(log.contains("second signal: cutting off"), "{log}");
        assert!(begun.ends_unanswered());
    }
    assert_eq!(admin.get("/v1/customers").await.ids(), [""; 0]);
}

#[tokio::test]
async fn draining_has_an_end_and_may_be_left_out() {
    let app = TestApp::new(Backend::Sqlite).await;
    let admin = app.admin().await;
    for seconds in ["0", "1"] {
        let server = serve(&app, &["--drain-seconds", seconds]);
        let begun = Begun::new(&server, &admin.token, "Jane Doe");
        server.signal("TERM");
        let (status, log) = server.ended();
        assert_eq!(status, Some(0), "{log}");
        assert!(log.contains(&format!("cutting off requests that still run after {seconds} s")), "{log}");
        assert!(begun.ends_unanswered());
    }
    // Where nothing runs, nothing is cut off.
    let server = serve(&app, &["--drain-seconds", "0"]);
    assert_eq!(server.get("/v1/customers", &admin.token).0, 200);
    server.signal("INT");
    let (status, log) = server.ended();
    assert_eq!(status, Some(0), "{log}");
    assert!(log.contains("stopping") && !log.contains("cutting off"), "{log}");
}

on_both_engines!(several_serve_one_database, |app| async move {
    let admin = app.admin().await;
    let servers = [serve(&app, &[]), serve(&app, &[])];
    for (n, server) in servers.iter().enumerate() {
        let (status, created) = Begun::new(server, &admin.token, "Jane Doe").finish();
        assert_eq!(status, 201, "{created}");
        let created: Value = serde_json::from_str(&created).expect("JSON");
        let id = created["data"]["id"].as_str().expect("an id");
        let (status, read) = servers[1 - n].get(&format!("/v1/customers/{id}"), &admin.token);
        assert_eq!((status, &read["data"]), (200, &created["data"]));
    }
});

#[tokio::test]
async fn metrics_are_served_when_asked_for() {
    let app = TestApp::new(Backend::Sqlite).await;
    for more in [&[][..], &["--metrics-listen", "off"]] {
        let server = serve(&app, more);
        assert!(!server.log.contains("metrics"), "{}", server.log);
    }
    let mut server = serve(&app, &["--metrics-listen", "127.0.0.1:0"]);
    assert_eq!(server.get("/v1/customers", "nobody's").0, 401);
    let told = server.log.split_once("metrics on http://").and_then(|(_, rest)| rest.split('/').next());
    server.address = told.expect("it says where").parse().expect("an address");
    let (status, metrics) = server.get("/metrics", "");
    let metrics = metrics.as_str().expect("text");
    assert!(status == 200 && metrics.contains("konverse_request_seconds_count"), "{metrics}");
}

#[tokio::test]
async fn a_taken_address_is_named_with_the_option_that_changes_it() {
    let app = TestApp::new(Backend::Sqlite).await;
    let url = app.store.url();
    let folder = tempfile::tempdir().expect("a folder");
    let demo = folder.path().join("demo.db");
    let demo = demo.to_str().expect("UTF-8");
    let holder = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let taken = holder.local_addr().expect("an address").to_string();
    for (option, args) in [
        ("--listen", &["serve", "--database", &url, "--listen", &taken][..]),
        ("--metrics-listen", &["serve", "--database", &url, "--listen", "127.0.0.1:0", "--metrics-listen", &taken]),
        ("--listen", &["demo", "--file", demo, "--listen", &taken]),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_konverse")).args(args).env_clear().output().expect("it runs");
        let error = String::from_utf8(output.stderr).expect("UTF-8");
        assert_eq!(output.status.code(), Some(1), "{error}");
        let says = format!("konverse: cannot listen on {taken}; choose another address with {option}: ");
        assert!(error.contains(&says), "{error}");
    }
}

#[tokio::test]
async fn a_log_that_is_no_terminal_has_no_colours() {
    let app = TestApp::new(Backend::Sqlite).await;
    for format in ["text", "json"] {
        let server = serve(&app, &["--log", "debug", "--log-format", format]);
        assert_eq!(server.get("/healthz", "").0, 200);
        server.signal("TERM");
        let (_, log) = server.ended();
        assert!(log.contains("INFO") && log.contains("serving on http://127.0.0.1:"), "{log}");
        assert!(!log.contains('\x1b'), "{log}");
    }
}
