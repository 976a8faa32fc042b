//! TLS by the program itself, with certificates made here.

mod running;
#[path = "running/watched.rs"]
mod watched;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use konverse_testkit::{Actor, Backend, TestApp};
use running::Running;
use serde_json::json;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use watched::{becomes, metric};

/// A certificate for `localhost` and its key.
struct Made {
    certificate: CertificateDer<'static>,
    certificate_pem: String,
    key_pem: String,
}

impl Made {
    fn new() -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        Self {
            certificate: made.cert.der().clone(),
            certificate_pem: made.cert.pem(),
            key_pem: made.signing_key.serialize_pem(),
        }
    }

    /// What a client has that believes this certificate alone.
    fn client(&self, protocols: &[&str]) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).expect("a certificate");
        let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        Arc::new(config)
    }

    /// Asks with HTTP/1.1: the answer, or why there is none.
    fn get(&self, server: &Running, path: &str) -> std::io::Result<String> {
        let name = ServerName::try_from("localhost").expect("a name");
        let client = ClientConnection::new(self.client(&["http/1.1"]), name).expect("a client");
        let mut stream = StreamOwned::new(client, server.connect());
        write!(stream, "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }
}

/// A folder with a certificate and its key.
struct Files {
    folder: tempfile::TempDir,
}

impl Files {
    fn of(made: &Made) -> Self {
        let files = Self { folder: tempfile::tempdir().expect("a folder") };
        files.write(&made.certificate_pem, &made.key_pem);
        files
    }

    fn write(&self, certificate: &str, key: &str) {
        fs::write(self.certificate(), certificate).expect("it is written");
        fs::write(self.key(), key).expect("it is written");
    }

    fn certificate(&self) -> PathBuf {
        self.folder.path().join("cert.pem")
    }

    fn key(&self) -> PathBuf {
        self.folder.path().join("key.pem")
    }
}

fn args<'a>(url: &'a str, files: &'a [PathBuf; 2]) -> Vec<&'a str> {
    let [certificate, key] = files.each_ref().map(|file| file.to_str().expect("UTF-8"));
    vec!["serve", "--database", url, "--listen", "127.0.0.1:0", "--tls-cert", certificate, "--tls-key", key]
}

fn serve(app: &TestApp, files: &Files, more: &[&str]) -> Running {
    let (url, paths) = (app.store.url(), [files.certificate(), files.key()]);
    Running::start(&std::env::temp_dir(), &[&args(&url, &paths)[..], more].concat())
}

#[tokio::test]
async fn both_protocols_are_spoken_encrypted() {
    let app = TestApp::new(Backend::Sqlite).await;
    let made = Made::new();
    let server = serve(&app, &Files::of(&made), &[]);
    assert!(server.log.contains("serving on https://"), "{}", server.log);
    let answer = made.get(&server, "/healthz").expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    let stranger = Made::new().get(&server, "/healthz").expect_err("nobody knows this certificate");
    assert!(stranger.to_string().contains("certificate"), "{stranger}");

    let stream = tokio::net::TcpStream::connect(server.address).await.expect("it accepts connections");
    let name = ServerName::try_from("localhost").expect("a name");
    let connector = TlsConnector::from(made.client(&["h2", "http/1.1"]));
    let stream = connector.connect(name, stream).await.expect("TLS");
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (client, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
    let connection = tokio::spawn(connection);
    let mut client = client.ready().await.expect("room for a request");
    let request = axum::http::Request::get("https://localhost/healthz").body(()).expect("a request");
    let (answer, _) = client.send_request(request, true).expect("it is sent");
    assert_eq!(answer.await.expect("an answer").status(), 200);
    connection.abort();

    // Whoever speaks in plain is not understood, and harms nobody.
    let mut plain = server.connect();
    plain.write_all(b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n").expect("it is sent");
    let mut rest = Vec::new();
    let _ = plain.read_to_end(&mut rest);
    assert!(!rest.starts_with(b"HTTP"), "{rest:?}");
    assert!(made.get(&server, "/readyz").is_ok());
}

#[tokio::test]
async fn a_handshake_that_does_not_come_is_not_waited_for() {
    let app = TestApp::new(Backend::Sqlite).await;
    let made = Made::new();
    let files = Files::of(&made);
    let ends = |mut stream: TcpStream| assert_eq!(stream.read(&mut [0; 64]).expect("it is closed"), 0);
    let mut server = serve(&app, &files, &["--head-seconds", "1", "--metrics-listen", "127.0.0.1:0"]);
    ends(server.connect());
    // Metrics are read in plain, by whoever may reach their address.
    let metrics = server.log.split_once("metrics on http://").and_then(|(_, rest)| rest.split('/').next());
    server.address = metrics.expect("it says where").parse().expect("an address");
    let (status, metrics) = server.get("/metrics", "");
    let cut = "konverse_connections_cut_total{listener=\"api\",limit=\"handshake\"} 1\n";
    assert!(status == 200 && metrics.as_str().is_some_and(|text| text.contains(cut)), "{metrics}");
    // Nor at the end. Longer than any test is waited for:
    let server = serve(&app, &files, &["--head-seconds", "86400", "--drain-seconds", "86400"]);
    let silent = server.connect();
    assert!(made.get(&server, "/healthz").is_ok());
    server.signal("TERM");
    let (status, log) = server.ended();
    assert!(status == Some(0) && !log.contains("cutting off"), "{log}");
    ends(silent);
}

#[tokio::test]
async fn a_new_pair_is_taken_and_a_broken_one_is_not() {
    let app = TestApp::new(Backend::Sqlite).await;
    let (first, second) = (Made::new(), Made::new());
    let files = Files::of(&first);
    let mut server = serve(&app, &files, &[]);
    assert!(second.get(&server, "/healthz").is_err());
    files.write(&second.certificate_pem, &second.key_pem);
    becomes("the second pair is in use", || second.get(&server, "/healthz").is_ok()).await;
    assert!(first.get(&server, "/healthz").is_err());
    // Half of a pair, nothing, and none at all.
    files.write(&first.certificate_pem, &second.key_pem);
    server.logs("the certificate before stays in use");
    files.write("", "");
    server.logs("holds no certificate");
    fs::remove_file(files.key()).expect("it is there");
    server.logs("No such file");
    assert!(second.get(&server, "/healthz").is_ok());
    files.write(&first.certificate_pem, &first.key_pem);
    becomes("the first pair is in use", || first.get(&server, "/healthz").is_ok()).await;
}

#[tokio::test]
async fn files_that_cannot_be_used_are_named() {
    let app = TestApp::new(Backend::Sqlite).await;
    let (made, other) = (Made::new(), Made::new());
    let url = app.store.url();
    let (files, others) = (Files::of(&made), Files::of(&other));
    let nothing = files.folder.path().join("nothing.pem");
    let shown = |path: &Path| path.display().to_string();
    let (certificate, key) = (files.certificate(), files.key());
    for (paths, says) in [
        ([nothing.clone(), key.clone()], format!("--tls-cert {}: No such file", shown(&nothing))),
        ([certificate.clone(), nothing.clone()], format!("--tls-key {}: No such file", shown(&nothing))),
        ([key.clone(), key.clone()], format!("--tls-cert {} holds no certificate", shown(&key))),
        ([certificate.clone(), certificate.clone()], format!("--tls-key {} holds no private key", shown(&certificate))),
        ([certificate.clone(), others.key()], "do not fit each other".to_owned()),
    ] {
        fails(&args(&url, &paths), &says);
    }
    let paths = [certificate, key];
    let all = args(&url, &paths);
    fails(&all[..7], "--tls-cert needs --tls-key");
    fails(&[&all[..5], &all[7..]].concat(), "--tls-key needs --tls-cert");
}

/// Starts the program, which says why it ends.
fn fails(args: &[&str], says: &str) {
    let output = Command::new(env!("CARGO_BIN_EXE_konverse")).args(args).env_clear().output().expect("it runs");
    let error = String::from_utf8(output.stderr).expect("UTF-8");
    assert!(output.status.code() == Some(1) && error.contains(says), "{says}: {error}");
}

/// A client of TLS with HTTP/1.1, as far as it has come.
struct Client(StreamOwned<ClientConnection, TcpStream>);

impl Client {
    /// One whose handshake is done: a slow machine may need more than one try within small limits.
    async fn shaken(made: &Made, server: &Running) -> Self {
        for _ in 0..600 {
            let name = ServerName::try_from("localhost").expect("a name");
            let client = ClientConnection::new(made.client(&["http/1.1"]), name).expect("a client");
            let mut client = Self(StreamOwned::new(client, server.connect()));
            if client.0.conn.complete_io(&mut client.0.sock).is_ok() {
                return client;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("no handshake is done: {server:?}");
    }

    /// One that has been answered once.
    async fn served(made: &Made, server: &Running) -> Self {
        for _ in 0..600 {
            let mut client = Self::shaken(made, server).await;
            if client.get("/healthz", "").is_some_and(|(status, _)| status == 200) {
                return client;
            }
        }
        panic!("nobody is served: {server:?}");
    }

    /// The status and the whole of an answer; none when the connection has ended.
    fn get(&mut self, path: &str, token: &str) -> Option<(u16, String)> {
        let ask = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\n\r\n");
        self.0.write_all(ask.as_bytes()).ok()?;
        let mut read = Vec::new();
        loop {
            let text = String::from_utf8_lossy(&read).into_owned();
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let length = head.to_lowercase();
                let length = length.split("\r\n").find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
                if body.len() >= length.unwrap_or(0_usize) {
                    return Some((head.split(' ').nth(1)?.parse().ok()?, text));
                }
            }
            let mut bytes = [0; 65_536];
            let count = self.0.read(&mut bytes).ok().filter(|count| *count > 0)?;
            read.extend_from_slice(&bytes[..count]);
        }
    }

    /// Waits until the connection is closed, and that nothing is said on it.
    fn ends(mut self) {
        match self.0.read(&mut [0; 64]) {
            Ok(count) => assert_eq!(count, 0),
            Err(error) => assert!(is_end(&error), "it is neither used nor closed: {error}"),
        }
    }
}

/// Whether a connection has ended, also without the word that TLS has for it.
fn is_end(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    [BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof].contains(&error.kind())
}

/// An HTTP/2 connection by ALPN, whose client has room for so many bytes of each answer. The task ends with it.
async fn http2(made: &Made, server: &Running, window: u32) -> (SendRequest<Bytes>, JoinHandle<()>) {
    for _ in 0..600 {
        let stream = tokio::net::TcpStream::connect(server.address).await.expect("it accepts connections");
        let name = ServerName::try_from("localhost").expect("a name");
        let shaken = TlsConnector::from(made.client(&["h2", "http/1.1"])).connect(name, stream).await;
        let Ok(stream) = shaken else { continue };
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let mut builder = h2::client::Builder::new();
        builder.initial_window_size(window);
        let Ok((client, connection)) = builder.handshake(stream).await else { continue };
        let connection = tokio::spawn(async move { drop(connection.await) });
        if let Ok(client) = client.ready().await {
            return (client, connection);
        }
    }
    panic!("no connection: {server:?}");
}

fn get(client: &SendRequest<Bytes>, path: &str, token: &str) -> ResponseFuture {
    let request = axum::http::Request::get(format!("https://localhost{path}"))
        .header("authorization", format!("Bearer {token}"))
        .body(())
        .expect("a request");
    client.clone().send_request(request, true).expect("it is sent").0
}

fn cut(server: &Running, limit: &str) -> f64 {
    metric(server, &format!("konverse_connections_cut_total{{listener=\"api\",limit=\"{limit}\"}}"))
}

const METRICS: [&str; 2] = ["--metrics-listen", "127.0.0.1:0"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_for_nothing_encrypted_is_not_waited_for_either() {
    let app = TestApp::new(Backend::Sqlite).await;
    let made = Made::new();
    let files = Files::of(&made);
    // Each limit by itself, beside others longer than any test is waited for.
    let server = serve(&app, &files, &[&["--head-seconds", "1", "--idle-seconds", "86400"], &METRICS[..]].concat());
    let mut hello = Vec::new();
    let name = ServerName::try_from("localhost").expect("a name");
    let mut client = ClientConnection::new(made.client(&["http/1.1"]), name).expect("a client");
    client.write_tls(&mut hello).expect("it is written");
    let mut half = server.connect();
    half.write_all(&hello[..hello.len() / 2]).expect("it is sent");
    assert_eq!(half.read(&mut [0; 64]).expect("it is closed"), 0);
    // A byte every now and then is no reason to wait longer.
    let mut trickling = server.connect();
    let mut rest = hello[..hello.len() - 1].iter().cycle();
    becomes("a handshake that trickles is given up", || {
        trickling.write_all(&[*rest.next().expect("a byte")]).is_err() || cut(&server, "handshake") >= 2.0
    })
    .await;
    becomes("both are counted", || cut(&server, "handshake") >= 2.0).await;
    assert_eq!(cut(&server, "head"), 0.0);
    let silent = Client::shaken(&made, &server).await;
    let mut half = Client::shaken(&made, &server).await;
    // Where that is too late already, it is as good.
    let _ = half.0.write_all(b"GET /healthz HTTP/1.1\r\nhost: konv");
    let mut second = Client::served(&made, &server).await;
    let _ = second.0.write_all(b"G");
    let heads = [silent, half, second];
    let count = heads.len() as f64;
    heads.into_iter().for_each(Client::ends);
    becomes("they are counted", || cut(&server, "head") >= count).await;
    // HTTP/2 was agreed on, and then nothing is said.
    let stream = tokio::net::TcpStream::connect(server.address).await.expect("it accepts connections");
    let name = ServerName::try_from("localhost").expect("a name");
    if let Ok(mut stream) = TlsConnector::from(made.client(&["h2"])).connect(name, stream).await {
        match tokio::io::AsyncReadExt::read(&mut stream, &mut [0; 64]).await {
            Ok(bytes) => assert!(bytes <= 64, "its settings, at most"),
            Err(error) => assert!(is_end(&error), "{error}"),
        }
    }

    let server = serve(&app, &files, &[&["--head-seconds", "86400", "--idle-seconds", "1"], &METRICS[..]].concat());
    Client::served(&made, &server).await.ends();
    let (client, connection) = http2(&made, &server, 65_535).await;
    // Where it was idle for too long already, that is as good.
    drop(get(&client, "/healthz", "").await);
    connection.await.expect("it ends");
    becomes("both are counted", || cut(&server, "idle") >= 2.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_read_what_is_encrypted_is_cut_off() {
    let app = TestApp::new(Backend::Sqlite).await;
    let admin = app.admin().await;
    let large = large_customer(&admin).await;
    let made = Made::new();
    let server = serve(&app, &Files::of(&made), &[&["--write-seconds", "1"], &METRICS[..]].concat());
    let mut client = Client::served(&made, &server).await;
    client.0.sock.set_write_timeout(Some(Duration::from_secs(60))).expect("a setting");
    let ask = b"GET /openapi.json HTTP/1.1\r\nhost: konverse\r\n\r\n".repeat(100);
    // The system's buffers take some of the answers, and then of the requests.
    let error = loop {
        if let Err(error) = client.0.write_all(&ask) {
            break error;
        }
    };
    assert!(is_end(&error), "{error}");
    becomes("it is counted", || cut(&server, "write") == 1.0).await;
    let (client, connection) = http2(&made, &server, 0).await;
    let unread = get(&client, &large, &admin.token).await;
    connection.await.expect("it ends");
    becomes("it is counted", || cut(&server, "write") == 2.0).await;
    drop(unread);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_are_bounded_before_their_handshake() {
    let app = TestApp::new(Backend::Sqlite).await;
    let made = Made::new();
    let files = Files::of(&made);
    for (reason, all, of_address) in [("connections", "3", "3"), ("address", "9", "3")] {
        let limits = ["--connections", all, "--connections-per-address", of_address, "--head-seconds", "86400"];
        let server = serve(&app, &files, &[&limits, &METRICS[..]].concat());
        // Who has not shaken hands yet has a place like any other.
        let silent = server.connect();
        let mut first = Client::served(&made, &server).await;
        let second = Client::served(&made, &server).await;
        let refused =
            || metric(&server, &format!("konverse_connections_refused_total{{listener=\"api\",reason=\"{reason}\"}}"));
        for n in 1..=3 {
            // Nothing is said in plain to who expects TLS.
            let mut closed = server.connect();
            match closed.read(&mut [0; 64]) {
                Ok(count) => assert_eq!(count, 0),
                Err(error) => assert!(is_end(&error), "{error}"),
            }
            becomes("it is counted", || refused() == f64::from(n)).await;
        }
        assert_eq!(first.get("/readyz", "").map(|(status, _)| status), Some(200), "those inside are served on");
        // A place that is given back is taken.
        drop(silent);
        Client::served(&made, &server).await;
        drop(second);
    }
}

/// The path of a customer of a bit more than 90 kB.
async fn large_customer(admin: &Actor) -> String {
    let texts = (0..9).map(|n| (format!("note{n}Txt"), json!("x".repeat(10_000))));
    let custom = texts.collect::<serde_json::Map<_, _>>();
    let customer = admin.post("/v1/customers", json!({ "name": "Jane Doe", "custom": custom })).await;
    format!("/v1/customers/{}", customer.created_id())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unread_answers_are_bounded_when_encrypted_too() {
    let app = TestApp::new(Backend::Sqlite).await;
    let admin = app.admin().await;
    let large = large_customer(&admin).await;
    let made = Made::new();
    let limits = ["--unread-answers", "1", "--write-seconds", "86400", "--idle-seconds", "86400"];
    let server = serve(&app, &Files::of(&made), &[&limits, &METRICS[..]].concat());
    let held = || metric(&server, "konverse_unread_answer_bytes{listener=\"api\"}");
    let mut unread = Vec::new();
    let mut connections = Vec::new();
    // Five of them are less than the half of a MiB that an address may have, however many connections it has.
    for n in 1..=7 {
        let (client, connection) = http2(&made, &server, 0).await;
        let answer = get(&client, &large, &admin.token).await.expect("an answer");
        assert_eq!(answer.status(), if n < 6 { 200 } else { 503 }, "{n}");
        assert_eq!(client.current_max_send_streams(), 100, "streams are bounded");
        unread.push(answer);
        connections.push((client, connection));
    }
    assert!((450_000.0..524_288.0).contains(&held()), "{}", held());
    let mut other = Client::served(&made, &server).await;
    assert_eq!(other.get(&large, &admin.token).map(|(status, _)| status), Some(503));
    // Gone is as good as read.
    connections.iter().for_each(|(_, connection)| connection.abort());
    becomes("nothing is held", || held() == 0.0).await;
    assert_eq!(other.get(&large, &admin.token).map(|(status, _)| status), Some(200));
}
