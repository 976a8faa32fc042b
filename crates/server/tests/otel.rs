//! Spans of requests as a collector gets them: `cargo test -p konverse --features otel --test otel`.

#![cfg(feature = "otel")]

mod running;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::mpsc::channel;

use konverse_testkit::{Backend, TestApp};
use running::Running;

/// The trace and the span of a caller, as W3C has them.
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex")).collect()
}

fn has(body: &[u8], wanted: &[u8]) -> bool {
    body.windows(wanted.len()).any(|window| window == wanted)
}

#[tokio::test]
async fn a_request_is_a_span_of_its_callers_trace() {
    let app = TestApp::new(Backend::Sqlite).await;
    let admin = app.admin().await;
    let collector = TcpListener::bind("127.0.0.1:0").expect("a port");
    let endpoint = format!("http://{}", collector.local_addr().expect("an address"));
    let (sender, exports) = channel();
    std::thread::spawn(move || {
        for mut stream in collector.incoming().map_while(Result::ok) {
            let (mut taken, mut buffer) = (Vec::new(), [0; 4096]);
            let length = |head: &str| {
                let line = head.lines().find(|line| line.to_lowercase().starts_with("content-length:"))?;
                line.split(':').nth(1)?.trim().parse::<usize>().ok()
            };
            // Until the body is whole, as its length says.
            while let Ok(count @ 1..) = stream.read(&mut buffer) {
                taken.extend_from_slice(&buffer[..count]);
                let Some(end) = taken.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
                let head = String::from_utf8_lossy(&taken[..end]).into_owned();
                if length(&head).is_some_and(|length| taken.len() >= end + 4 + length) {
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                    let _ = sender.send((head, taken[end + 4..].to_vec()));
                    break;
                }
            }
        }
    });
    let url = app.store.url();
    let args = ["serve", "--database", &url, "--listen", "127.0.0.1:0", "--otlp-endpoint", &endpoint];
    let server = Running::start(&std::env::temp_dir(), &args);
    let mut stream = server.connect();
    write!(
        stream,
        "GET /v1/customers/email=jane%40example.com HTTP/1.1\r\nhost: konverse\r\nauthorization: Bearer {}\r\n\
         traceparent: 00-{TRACE}-{CALLER}-01\r\nconnection: close\r\n\r\n",
        admin.token
    )
    .expect("it is sent");
    assert_eq!(running::answer(&mut stream).0, 404);
    assert_eq!(server.get("/healthz", "").0, 200);
    server.signal("TERM");
    let (status, log) = server.ended();
    assert_eq!(status, Some(0), "{log}");

    // What waited was sent before the end.
    let (head, body) = exports.recv().expect("an export");
    assert!(head.starts_with("POST /v1/traces "), "{head}");
    for wanted in [&bytes(TRACE)[..], &bytes(CALLER), b"read-customer-by-email", b"healthz", b"GET", b"konverse"] {
        assert!(has(&body, wanted), "{:?} in {}", wanted, String::from_utf8_lossy(&body));
    }
    assert!(has(&body, app.org.id.to_string().as_bytes()));
    for secret in ["jane", admin.token.as_str()] {
        assert!(!has(&body, secret.as_bytes()), "{secret}");
    }

    // A collector that is away is nobody's trouble but the log's.
    let away = ["serve", "--database", &url, "--listen", "127.0.0.1:0", "--otlp-endpoint", "http://127.0.0.1:9"];
    let server = Running::start(&std::env::temp_dir(), &away);
    assert_eq!(server.get("/readyz", "").0, 200);
    server.signal("TERM");
    assert_eq!(server.ended().0, Some(0));
}
