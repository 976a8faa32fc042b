//! TLS by the program itself, with certificates made here.

mod running;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use konverse_testkit::{Backend, TestApp};
use running::Running;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

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
    becomes(&server, &second).await;
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
    becomes(&server, &first).await;
}

/// Looks again until a pair is in use.
async fn becomes(server: &Running, made: &Made) {
    for _ in 0..600 {
        if made.get(server, "/healthz").is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the pair is not taken: {server:?}");
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
