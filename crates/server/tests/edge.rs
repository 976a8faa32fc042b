//! The edge: what strangers can make the program hold, in connections, bytes and time. The program itself on loopback, with
//! small limits.

mod running;
#[path = "running/watched.rs"]
mod watched;

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use konverse_testkit::{Actor, Backend, TestApp, on_both_engines};
use running::Running;
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use serde_json::{Value, json};
use watched::{becomes, metric};

/// Starts `serve` on the app's database and a free port.
fn serve(app: &TestApp, more: &[&str]) -> Running {
    let url = app.store.url();
    let args = ["serve", "--database", &url, "--listen", "127.0.0.1:0"];
    Running::start(&std::env::temp_dir(), &[&args, more].concat())
}

/// A connection that lives on from answer to answer.
struct Client {
    stream: TcpStream,
    /// What has come of answers that are not read yet.
    read: Vec<u8>,
}

/// An answer, with its head in lower case.
#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: Value,
}

impl Client {
    fn new(server: &Running) -> Self {
        Self { stream: server.connect(), read: Vec::new() }
    }

    /// One from another address of this machine.
    fn from(address: [u8; 4], server: &Running) -> Self {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
        socket.bind(&std::net::SocketAddr::from((address, 0)).into()).expect("an address of loopback");
        socket.connect(&server.address.into()).expect("it accepts connections");
        socket.set_read_timeout(Some(Duration::from_secs(60))).expect("a setting");
        Self { stream: socket.into(), read: Vec::new() }
    }

    /// One that has been answered once: a slow machine may need more than one try within small limits.
    async fn served(server: &Running) -> Self {
        let mut client = Self::new(server);
        becomes("a client is served", || {
            let asked = client.stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n").is_ok();
            let served = asked && client.try_answer().is_some_and(|answer| answer.status == 200);
            if !served {
                client = Self::new(server);
            }
            served
        })
        .await;
        client
    }

    fn send(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).expect("it is sent");
    }

    fn get(&mut self, path: &str, token: &str) -> Answer {
        self.send(&format!("GET {path} HTTP/1.1\r\nhost: konverse\r\nauthorization: Bearer {token}\r\n\r\n"));
        self.answer()
    }

    /// The next answer.
    fn answer(&mut self) -> Answer {
        self.try_answer().unwrap_or_else(|| panic!("no answer: {:?}", String::from_utf8_lossy(&self.read)))
    }

    /// The next answer; none when the connection ends before it.
    fn try_answer(&mut self) -> Option<Answer> {
        loop {
            let text = String::from_utf8_lossy(&self.read);
            if let Some((head, rest)) = text.split_once("\r\n\r\n") {
                let (head, rest) = (head.to_lowercase(), rest.to_owned());
                let length = head.split("\r\n").find_map(|line| line.strip_prefix("content-length: "));
                let length = length.map_or(0, |length| length.parse().expect("a number"));
                if rest.len() >= length {
                    self.read.drain(..head.len() + 4 + length);
                    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
                    let body = serde_json::from_str(&rest[..length]).unwrap_or(Value::Null);
                    return Some(Answer { status, head, body });
                }
            }
            if !self.read_more() {
                return None;
            }
        }
    }

    /// Whether there was more before the end of the connection.
    fn read_more(&mut self) -> bool {
        let mut bytes = [0; 65536];
        match self.stream.read(&mut bytes) {
            Ok(count) => {
                self.read.extend_from_slice(&bytes[..count]);
                count > 0
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => false,
            Err(error) => panic!("the connection is neither used nor closed: {error}"),
        }
    }

    /// Waits until the connection is closed, and that nothing more is said on it.
    fn ends(mut self) {
        assert!(!self.read_more() && self.read.is_empty(), "{:?}", String::from_utf8_lossy(&self.read));
    }
}

impl Answer {
    fn has(&self, header: &str) -> bool {
        self.head.split("\r\n").any(|line| line == header)
    }
}

/// A customer's body of a bit more than 90 kB.
fn large() -> Value {
    let texts = (0..9).map(|n| (format!("note{n}Txt"), json!("x".repeat(10_000))));
    json!({ "name": "Jane Doe", "custom": texts.collect::<serde_json::Map<_, _>>() })
}

/// The path of such a customer.
async fn large_customer(admin: &Actor) -> String {
    format!("/v1/customers/{}", admin.post("/v1/customers", large()).await.created_id())
}

#[tokio::test]
async fn who_asks_for_nothing_is_not_waited_for() {
    let app = TestApp::new(Backend::Sqlite).await;
    let server = serve(&app, &["--head-seconds", "1", "--idle-seconds", "1"]);
    let silent = Client::new(&server);
    let mut half = Client::new(&server);
    half.send("GET /healthz HTTP/1.1\r\nhost: konv");
    let idle = Client::served(&server).await;
    let mut second_half = Client::served(&server).await;
    // Where it was idle for too long already, that is as good.
    let _ = second_half.stream.write_all(b"G");
    // A header every now and then is no reason to wait longer.
    let mut trickling = Client::new(&server);
    trickling.send("GET /healthz HTTP/1.1\r\n");
    becomes("a head that trickles is given up", || trickling.stream.write_all(b"x: y\r\n").is_err()).await;
    for client in [silent, half, idle, second_half] {
        client.ends();
    }
    Client::served(&server).await;
}

#[tokio::test]
async fn a_body_has_to_come() {
    let app = TestApp::new(Backend::Sqlite).await;
    let admin = app.admin().await;
    let server = serve(&app, &["--body-seconds", "1", "--least-rate", "1000"]);
    let mut client = Client::new(&server);
    let body = json!({ "name": "Jane Doe" }).to_string();
    let head = |length| {
        let token = &admin.token;
        format!(
            "POST /v1/customers HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {token}\r\ncontent-length: {length}\r\n\r\n"
        )
    };
    client.send(&head(body.len()));
    client.send(&body[..5]);
    let answer = client.answer();
    assert_eq!(answer.status, 400, "{answer:?}");
    assert!(answer.has("connection: close"), "{answer:?}");
    client.ends();
    // What has come is worth time: 90 kB at this rate are more than a minute.
    let mut client = Client::new(&server);
    let long = large().to_string();
    let (start, rest) = long.split_at(long.len() - 1);
    client.send(&head(long.len()));
    client.send(start);
    // Longer than the grace; how much longer is all the same.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    client.send(rest);
    assert_eq!(client.answer().status, 201);
    assert_eq!(admin.get("/v1/customers").await.ids().len(), 1);
}

#[tokio::test]
async fn who_does_not_read_is_cut_off() {
    let app = TestApp::new(Backend::Sqlite).await;
    let server = serve(&app, &["--write-seconds", "1"]);
    let mut client = Client::new(&server);
    client.stream.set_nonblocking(true).expect("a socket");
    let ask = b"GET /openapi.json HTTP/1.1\r\nhost: konverse\r\n\r\n".repeat(100);
    // The system's buffers take some of the answers, and then of the requests.
    becomes(
        "a client that asks and does not read is cut off",
        || matches!(client.stream.write(&ask), Err(error) if error.kind() != ErrorKind::WouldBlock),
    )
    .await;
}

#[tokio::test]
async fn who_reads_at_the_rate_gets_all_of_it() {
    let app = TestApp::new(Backend::Sqlite).await;
    let admin = app.admin().await;
    for _ in 0..60 {
        large_customer(&admin).await;
    }
    let server = serve(&app, &["--write-seconds", "1", "--least-rate", "80000"]);
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    socket.set_recv_buffer_size(32 << 10).expect("a small buffer");
    socket.connect(&server.address.into()).expect("it accepts connections");
    let mut stream = TcpStream::from(socket);
    let ask = format!(
        "GET /v1/customers?page%5Bsize%5D=60 HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {}\r\nconnection: close\r\n\r\n",
        admin.token
    );
    stream.write_all(ask.as_bytes()).expect("it is sent");
    let mut text = Vec::new();
    let mut bytes = [0; 16 << 10];
    loop {
        let count = stream.read(&mut bytes).expect("more of it");
        if count == 0 {
            break;
        }
        text.extend_from_slice(&bytes[..count]);
        // Ten times the rate.
        tokio::time::sleep(Duration::from_millis(count as u64 / 800)).await;
    }
    let text = String::from_utf8(text).expect("text");
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    let length = format!("content-length: {}", body.len());
    assert!(body.len() > 5_000_000 && head.to_lowercase().contains(&length), "{head}: {}", body.len());
}

#[tokio::test]
async fn a_signal_to_stop_waits_for_nobody_who_asks_for_nothing() {
    let app = TestApp::new(Backend::Sqlite).await;
    // Longer than any test is waited for.
    let server = serve(&app, &["--drain-seconds", "86400"]);
    let mut clients: Vec<_> = (0..20).map(|_| Client::new(&server)).collect();
    for half in &mut clients[..10] {
        half.send("GET /healthz HTTP/1.1\r\nhost: konv");
    }
    for idle in &mut clients[10..15] {
        assert_eq!(idle.get("/healthz", "").status, 200);
    }
    let (idle, connection) = http2(&server, None).await;
    assert_eq!(get(&idle, "/healthz", "").await.expect("an answer").status(), 200);
    server.signal("TERM");
    let (status, log) = server.ended();
    assert_eq!(status, Some(0), "{log}");
    assert!(log.contains("stopping") && !log.contains("cutting off"), "{log}");
    clients.into_iter().for_each(Client::ends);
    connection.abort();
}

/// An HTTP/2 connection, whose client has room for so many bytes of each answer.
async fn http2(server: &Running, window: Option<u32>) -> (SendRequest<Bytes>, tokio::task::JoinHandle<()>) {
    let stream = tokio::net::TcpStream::connect(server.address).await.expect("it accepts connections");
    let mut builder = h2::client::Builder::new();
    if let Some(window) = window {
        builder.initial_window_size(window);
    }
    let (client, connection) = builder.handshake(stream).await.expect("HTTP/2");
    let connection = tokio::spawn(async move {
        let _ = connection.await;
    });
    (client.ready().await.expect("room for a request"), connection)
}

/// Changes a customer; the answer is all of it.
fn put(client: &SendRequest<Bytes>, path: &str, token: &str) -> ResponseFuture {
    let request = axum::http::Request::put(format!("http://konverse{path}"))
        .header("authorization", format!("Bearer {token}"))
        .body(())
        .expect("a request");
    let (answer, mut stream) = client.clone().send_request(request, false).expect("it is sent");
    stream.send_data(Bytes::from_static(b"{\"name\":\"Joan Doe\"}"), true).expect("it is sent");
    answer
}

/// How many requests were counted.
fn requests(server: &Running, operation: &str, status: &str) -> f64 {
    metric(server, &format!("konverse_requests_total{{operation=\"{operation}\",status=\"{status}\"}}"))
}

fn get(client: &SendRequest<Bytes>, path: &str, token: &str) -> ResponseFuture {
    let request = axum::http::Request::get(format!("http://konverse{path}"))
        .header("authorization", format!("Bearer {token}"))
        .body(())
        .expect("a request");
    client.clone().send_request(request, true).expect("it is sent").0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unread_answers_are_bounded_in_all() {
    let app = TestApp::new(Backend::Sqlite).await;
    let admin = app.admin().await;
    let large = large_customer(&admin).await;
    let mut server =
        serve(&app, &["--unread-answers", "1", "--write-seconds", "86400", "--trusted-proxy", "127.0.0.0/8"]);
    let (reads_nothing, connection) = http2(&server, Some(0)).await;
    // What everybody is given is there anyway, however many do not read it.
    let mut unread = Vec::new();
    for _ in 0..80 {
        let answer = get(&reads_nothing, "/openapi.json", "").await.expect("an answer");
        assert_eq!(answer.status(), 200);
        unread.push(answer);
    }
    let mut other = Client::new(&server);
    assert_eq!(other.get(&large, &admin.token).status, 200);
    unread.clear();
    // Eleven of them are less than a MiB, the twelfth has no room.
    for n in 1..=12 {
        let answer = get(&reads_nothing, &large, &admin.token).await.expect("an answer");
        assert_eq!(answer.status(), if n < 12 { 200 } else { 503 }, "{n}");
        unread.push(answer);
    }
    let refused = other.get(&large, &admin.token);
    assert_eq!((refused.status, refused.has("retry-after: 1")), (503, true), "{refused:?}");
    assert_eq!(refused.body["errors"][0]["code"], "unavailable");
    assert!(refused.head.contains("x-ratelimit-remaining"), "{refused:?}");
    // What is small goes on.
    assert_eq!(other.get("/v1/tags", &admin.token).status, 200);
    // What is done is told: a write is not taken back for want of room.
    let body = json!({ "name": "Jane Doe" }).to_string();
    other.send(&format!(
        "POST /v1/customers HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {}\r\ncontent-length: {}\r\n\r\n{body}",
        admin.token,
        body.len()
    ));
    assert_eq!(other.answer().status, 201);
    // Two answers of this size are more than is kept for what is small: nobody is served any more, and the process is
    // still found to be well.
    let (reads_nothing_either, other_connection) = http2(&server, Some(0)).await;
    for _ in 0..2 {
        let answer = put(&reads_nothing_either, &large, &admin.token).await.expect("an answer");
        assert_eq!(answer.status(), 200);
        unread.push(answer);
    }
    let refused = other.get("/v1/tags", &admin.token);
    assert_eq!((refused.status, refused.has("retry-after: 1")), (503, true), "{refused:?}");
    assert_eq!(["/healthz", "/readyz", "/readyz/"].map(|path| other.get(path, "").status), [200; 3]);
    server.logs("requests to the api were refused: --unread-answers are");
    // Gone is as good as read.
    connection.abort();
    other_connection.abort();
    becomes("there is room again", || other.get(&large, &admin.token).status == 200).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_address_leaves_half_of_what_may_be_unread_to_others() {
    let app = TestApp::new(Backend::Sqlite).await;
    let admin = app.admin().await;
    let large = large_customer(&admin).await;
    let args = ["--unread-answers", "1", "--write-seconds", "86400", "--metrics-listen", "127.0.0.1:0"];
    let mut server = serve(&app, &args);
    let held = |server: &Running| metric(server, "konverse_unread_answer_bytes{listener=\"api\"}");
    assert_eq!(Client::new(&server).get("/healthz", "").status, 200);
    becomes("nothing is held", || held(&server) == 0.0).await;
    // As long as one of its connections is open, an address is known.
    let mut kept = Client::served(&server).await;
    // Five of them are less than half a MiB, however many connections they are asked for on.
    let mut clients = Vec::new();
    let mut unread = Vec::new();
    for n in 1..=8 {
        let (client, connection) = http2(&server, Some(0)).await;
        let answer = get(&client, &large, &admin.token).await.expect("an answer");
        assert_eq!(answer.status(), if n < 6 { 200 } else { 503 }, "{n}");
        assert_eq!(n < 6, !answer.headers().contains_key("retry-after"), "{n}");
        unread.push(answer);
        clients.push((client, connection));
    }
    assert!((450_000.0..524_288.0).contains(&held(&server)), "{}", held(&server));
    // Those thrown away are counted once, as what their callers were told.
    let counted = |operation, status| requests(&server, operation, status);
    assert_eq!(
        [counted("read-customer", "2xx"), counted("read-customer", "5xx"), counted("other", "5xx")],
        [5.0, 3.0, 0.0]
    );
    // When all of its half is spent it is not served at all, but for what says that the process is well.
    let answer = put(&clients[0].0, &large, &admin.token).await.expect("an answer");
    assert_eq!(answer.status(), 200);
    unread.push(answer);
    let mut same = Client::new(&server);
    let refused = same.get("/v1/tags", &admin.token);
    assert_eq!((refused.status, refused.has("retry-after: 1")), (503, true), "{refused:?}");
    assert!(refused.body["error"].as_str().is_some_and(|text| text.contains("this address")), "{refused:?}");
    same.send("POST /v1/customers HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\n{}");
    assert_eq!(same.answer().status, 503, "before anybody asks who it is");
    assert_eq!(["/healthz", "/readyz"].map(|path| Client::new(&server).get(path, "").status), [200; 2]);
    server.logs("requests to the api were refused: half of --unread-answers are");
    // Others are, with what is large as well.
    let mut other = Client::from([127, 0, 0, 2], &server);
    for _ in 0..3 {
        assert_eq!(other.get(&large, &admin.token).status, 200);
    }
    // Gone is as good as read.
    clients.into_iter().for_each(|(_, connection)| connection.abort());
    becomes("nothing is held", || held(&server) == 0.0).await;
    assert_eq!(kept.get(&large, &admin.token).status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_bodies_are_bounded_in_all() {
    let app = TestApp::new(Backend::Sqlite).await;
    let admin = app.admin().await;
    // 23 of them are less than a MiB. Of those that begin at once, more may be left without room.
    half_bodies_are_refused(&app, &admin, &["--trusted-proxy", "127.0.0.0/8"], 23).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_bodies_of_an_address_are_bounded() {
    let app = TestApp::new(Backend::Sqlite).await;
    let admin = app.admin().await;
    // 11 are less than half of it.
    half_bodies_are_refused(&app, &admin, &[], 11).await;
}

/// Sends 50 of them on two connections, of which no more than some find room.
async fn half_bodies_are_refused(app: &TestApp, admin: &Actor, more: &[&str], room: usize) {
    let server = serve(
        app,
        &[&["--unread-answers", "1", "--body-seconds", "86400", "--metrics-listen", "127.0.0.1:0"], more].concat(),
    );
    let body = large().to_string();
    let half = Bytes::from(body.as_bytes()[..body.len() / 2].to_vec());
    let mut connections = Vec::new();
    let mut sending = Vec::new();
    let mut answers = Vec::new();
    for _ in 0..2 {
        let (client, connection) = http2(&server, None).await;
        for _ in 0..25 {
            let request = axum::http::Request::post("http://konverse/v1/customers")
                .header("authorization", format!("Bearer {}", admin.token))
                .body(())
                .expect("a request");
            let mut client = client.clone().ready().await.expect("room for a request");
            let (answer, mut stream) = client.send_request(request, false).expect("it is sent");
            stream.send_data(half.clone(), false).expect("it is sent");
            sending.push(stream);
            answers.push(tokio::spawn(answer));
        }
        connections.push(connection);
    }
    becomes("the others are answered", || answers.iter().filter(|answer| answer.is_finished()).count() >= 50 - room)
        .await;
    let (refused, waiting): (Vec<_>, Vec<_>) = answers.into_iter().partition(tokio::task::JoinHandle::is_finished);
    assert!(!waiting.is_empty(), "some have room");
    // Each is counted once. Who comes while all is spent is not even asked what it wants.
    let [begun, not_begun, misread] = [("create-customer", "5xx"), ("other", "5xx"), ("create-customer", "4xx")]
        .map(|(operation, status)| requests(&server, operation, status));
    assert!(begun > 0.0 && misread == 0.0, "{begun} {misread}");
    assert_eq!(begun + not_begun, refused.len() as f64);
    for answer in refused {
        let answer = answer.await.expect("no panic").expect("an answer");
        assert_eq!((answer.status().as_u16(), &answer.headers()["retry-after"]), (503, &"1".parse().expect("a value")));
    }
    let post = |client: &mut Client| {
        client.send(&format!(
            "POST /v1/customers HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {}\r\ncontent-length: {}\r\n\r\n{body}",
            admin.token,
            body.len()
        ));
        client.answer()
    };
    if more.is_empty() {
        let answer = post(&mut Client::from([127, 0, 0, 2], &server));
        assert_eq!(answer.status, 201, "others have the other half: {answer:?}");
    }
    // Gone is as good as done.
    connections.into_iter().for_each(|connection| connection.abort());
    drop((sending, waiting));
    let mut other = Client::new(&server);
    becomes("there is room again", || {
        let answer = post(&mut other);
        if answer.has("connection: close") {
            other = Client::new(&server);
        }
        answer.status == 201
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_waits_for_what_it_has_not_read() {
    let app = TestApp::new(Backend::Sqlite).await;
    let admin = app.admin().await;
    let large = large_customer(&admin).await;
    // A connection's share is 1 MiB: twelve of these are more.
    let server = serve(&app, &["--unread-answers", "32"]);
    let (client, _connection) = http2(&server, Some(0)).await;
    let mut unread = Vec::new();
    for n in 1..=12 {
        let answer = get(&client, &large, &admin.token).await.unwrap_or_else(|error| panic!("{n}: {error}"));
        assert_eq!(answer.status(), 200);
        unread.push(answer);
    }
    let mut waiting = std::pin::pin!(get(&client, &large, &admin.token));
    // Whoever is slower than this other one would be found out here.
    assert_eq!(Client::new(&server).get(&large, &admin.token).status, 200);
    let polled = std::future::poll_fn(|cx| std::task::Poll::Ready(waiting.as_mut().poll(cx).is_ready())).await;
    assert!(!polled, "it does not wait");
    drop(unread);
    assert_eq!(waiting.await.expect("an answer").status(), 200);
}

#[tokio::test]
async fn connections_are_bounded_and_those_refused_are_told() {
    let app = TestApp::new(Backend::Sqlite).await;
    for (more, option) in [
        (&["--connections", "3", "--connections-per-address", "3"], "--connections are"),
        (&["--connections", "9", "--connections-per-address", "3"], "--connections-per-address are"),
    ] {
        let server = serve(&app, &[&more[..], &["--metrics-listen", "127.0.0.1:0"]].concat());
        let mut clients: Vec<_> = (0..3).map(|_| Client::new(&server)).collect();
        for client in &mut clients {
            assert_eq!(client.get("/healthz", "").status, 200);
        }
        for _ in 0..5 {
            let refused = Client::new(&server).answer();
            assert!(refused.status == 503 && refused.has("retry-after: 1"), "{refused:?}");
            assert_eq!(refused.body["errors"][0]["code"], "unavailable");
        }
        // Those inside are served on; a place that is given back is taken.
        assert_eq!(clients[0].get("/readyz", "").status, 200);
        drop(clients);
        Client::served(&server).await;
        let reason = if option == "--connections are" { "connections" } else { "address" };
        let name = format!("konverse_connections_refused_total{{listener=\"api\",reason=\"{reason}\"}}");
        assert!(metric(&server, &name) >= 5.0);
        server.signal("TERM");
        let (_, log) = server.ended();
        assert!(log.contains("connections to the api were refused") && log.contains(option), "{log}");
    }
}

#[tokio::test]
async fn a_proxy_that_is_trusted_may_have_all_places() {
    let app = TestApp::new(Backend::Sqlite).await;
    let server = serve(&app, &["--connections-per-address", "1", "--trusted-proxy", "127.0.0.0/8"]);
    let mut clients: Vec<_> = (0..5).map(|_| Client::new(&server)).collect();
    for client in &mut clients {
        assert_eq!(client.get("/healthz", "").status, 200);
    }
}

#[tokio::test]
async fn connections_leave_files_for_the_database() {
    let app = TestApp::new(Backend::Sqlite).await;
    let admin = app.admin().await;
    let url = app.store.url();
    let request = format!("GET /v1/customers HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {}\r\n\r\n", admin.token);
    let limited = |limit: &str| {
        let program = env!("CARGO_BIN_EXE_konverse");
        let script = format!(
            "{limit} && exec \"$0\" serve --database \"$1\" --listen 127.0.0.1:0 --connections 100 \
             --connections-per-address 100"
        );
        Running::of(Command::new("sh").args(["-c", &script, program, &url]), &std::env::temp_dir(), &[])
    };
    let ask = |server: &Running| {
        let mut clients: Vec<_> = (0..100).map(|_| Client::new(server)).collect();
        let statuses = clients.iter_mut().map(|client| {
            // Who is refused is told before it asks.
            let _ = client.stream.write_all(request.as_bytes());
            client.try_answer().map(|answer| answer.status)
        });
        let statuses: Vec<_> = statuses.collect();
        assert!(statuses.iter().all(|status| matches!(status, None | Some(200 | 503))), "{statuses:?}");
        statuses.iter().filter(|status| **status == Some(200)).count()
    };
    // The soft limit is no limit.
    let server = limited("ulimit -S -n 64");
    assert_eq!(ask(&server), 100);
    // The hard one is, and three quarters of the files are the database's.
    let server = limited("ulimit -n 64");
    assert!(server.log.contains("leaves 16 connections"), "{}", server.log);
    assert_eq!(ask(&server), 16);
    // Their places come back a moment after they went; until then who comes is refused, perhaps while it asks.
    becomes("those served are gone", || {
        let mut client = Client::new(&server);
        let asked = client.stream.write_all(request.as_bytes()).is_ok();
        asked && client.try_answer().is_some_and(|answer| answer.status == 200)
    })
    .await;
}

#[tokio::test]
async fn the_log_says_when_no_file_is_left_for_a_connection() {
    let app = TestApp::new(Backend::Sqlite).await;
    let mut server = serve(&app, &[]);
    assert_eq!(server.get("/healthz", "").0, 200);
    let process = i32::try_from(server.child.id()).ok().and_then(Pid::from_raw);
    let maximum = getrlimit(Resource::Nofile).maximum;
    let before = prlimit(process, Resource::Nofile, Rlimit { current: Some(3), maximum }).expect("its limits");
    let mut client = Client::new(&server);
    client.send("GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n");
    server.logs("connections to the api cannot be accepted: Too many open files");
    // It goes on as soon as it can.
    prlimit(process, Resource::Nofile, before).expect("its limits");
    assert_eq!(client.answer().status, 200);
}

#[tokio::test]
async fn a_head_has_an_end() {
    let app = TestApp::new(Backend::Sqlite).await;
    let server = serve(&app, &[]);
    let long = |bytes: usize| format!("GET /healthz HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "x".repeat(bytes));
    let mut client = Client::new(&server);
    client.send(&long(30_000));
    assert_eq!(client.answer().status, 200);
    client.send(&long(300_000));
    assert_eq!(client.answer().status, 431);
    client.ends();
}

#[tokio::test]
async fn a_connection_survives_a_refused_write() {
    let app = TestApp::new(Backend::Sqlite).await;
    let server = serve(&app, &[]);
    let mut client = Client::new(&server);
    for _ in 0..20 {
        client.send("POST /v1/customers HTTP/1.1\r\nhost: a\r\ncontent-length: 90000\r\n\r\n");
        // As a second packet: the first was sent off.
        client.send(&"x".repeat(90_000));
        let answer = client.answer();
        assert!(answer.status == 401 && !answer.has("connection: close"), "{answer:?}");
        client.send("POST /v1/customers HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n");
        client.send("0\r\n\r\n");
        assert_eq!(client.answer().status, 401);
    }
    // Who waits to be asked for the body is told that nobody will.
    client.send("POST /v1/customers HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n");
    let answer = client.answer();
    assert!(answer.status == 401 && answer.has("connection: close"), "{answer:?}");
    client.ends();
    // A body that is too long is not read, and its sender can read why all the same.
    let mut client = Client::new(&server);
    client.send("POST /v1/customers HTTP/1.1\r\nhost: a\r\ncontent-length: 900000\r\n\r\n");
    client.send(&"x".repeat(900_000));
    let answer = client.answer();
    assert!(answer.status == 401 && answer.has("connection: close"), "{answer:?}");
    client.ends();
}

#[tokio::test]
async fn a_body_has_one_length() {
    let app = TestApp::new(Backend::Sqlite).await;
    let server = serve(&app, &[]);
    for headers in
        ["content-length: 3\r\ntransfer-encoding: chunked", "Transfer-Encoding: chunked\r\nContent-Length: 3"]
    {
        let mut client = Client::new(&server);
        // Behind another request, in one packet; what follows is not taken for a third.
        client.send(&format!(
            "GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n\
             GET /healthz HTTP/1.1\r\nhost: a\r\n{headers}\r\n\r\n0\r\n\r\nGET /readyz HTTP/1.1\r\nhost: a\r\n\r\n"
        ));
        assert_eq!(client.answer().status, 200);
        let answer = client.answer();
        assert!(answer.status == 400 && answer.has("connection: close"), "{answer:?}");
        assert_eq!(answer.body["error"], "The request must not have both Content-Length and Transfer-Encoding");
        assert!(client.try_answer().is_none());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_that_takes_too_long_is_given_up() {
    let app = TestApp::new(Backend::Postgres).await;
    let admin = app.admin().await;
    let mut server = serve(&app, &["--request-seconds", "1", "--metrics-listen", "127.0.0.1:0"]);
    let customer = admin.customer().await;
    let mut client = Client::new(&server);
    let path = format!("/v1/customers/{customer}");
    becomes("it can be read", || client.get(&path, &admin.token).status == 200).await;
    let failed = |operation: &str| format!("konverse_requests_total{{operation=\"{operation}\",status=\"5xx\"}}");
    let before = metric(&server, &failed("read-customer"));
    let lock = Lock::new(&app).await;
    let answer = client.get(&path, &admin.token);
    assert!(answer.status == 503 && answer.has("retry-after: 1"), "{answer:?}");
    // It is counted and logged as what it was, with the time it took.
    assert_eq!(metric(&server, &failed("read-customer")), before + 1.0);
    assert_eq!(metric(&server, &failed("other")), 0.0);
    assert!(metric(&server, "konverse_request_seconds_sum{operation=\"read-customer\"}") >= 1.0);
    let line = server.logs("request failed");
    let told = format!("method=GET path=\"/v1/customers/{{id}}\" id={customer} status=503");
    assert!(line.contains(&told), "{line}");
    lock.release().await;
    becomes("it can be read again", || client.get(&path, &admin.token).status == 200).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_hangs_up_is_answered_nothing_and_not_counted() {
    let app = TestApp::new(Backend::Postgres).await;
    let admin = app.admin().await;
    let server = serve(&app, &["--request-seconds", "86400", "--metrics-listen", "127.0.0.1:0"]);
    let customer = admin.customer().await;
    let path = format!("/v1/customers/{customer}");
    let mut client = Client::new(&server);
    assert_eq!(client.get(&path, &admin.token).status, 200);
    let lock = Lock::new(&app).await;
    client.send(&format!("GET {path} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {}\r\n\r\n", admin.token));
    lock.is_waited_for().await;
    drop(client);
    becomes("it is gone", || metric(&server, "konverse_connections_open{listener=\"api\"}") == 0.0).await;
    for (status, count) in [("2xx", 1.0), ("4xx", 0.0), ("5xx", 0.0)] {
        assert_eq!(requests(&server, "read-customer", status), count, "{status}");
    }
    lock.release().await;
    assert_eq!(Client::new(&server).get(&path, &admin.token).status, 200);
}

on_both_engines!(a_write_that_takes_too_long_is_not_said_to_have_failed, |app| async move {
    let admin = app.admin().await;
    let args = ["--request-seconds", "1", "--drain-seconds", "86400", "--metrics-listen", "127.0.0.1:0"];
    let server = serve(&app, &args);
    let mut client = Client::new(&server);
    becomes("it is served", || client.get("/v1/customers", &admin.token).status == 200).await;
    let lock = Lock::new(&app).await;
    let body = json!({ "name": "Jane Doe" }).to_string();
    client.send(&format!(
        "POST /v1/customers HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {}\r\ncontent-length: {}\r\n\r\n{body}",
        admin.token,
        body.len()
    ));
    let answer = client.answer();
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(!answer.head.contains("\r\nretry-after:"), "nobody is told to do it twice: {answer:?}");
    assert!(answer.body["error"].as_str().expect("a text").contains("may have been done"), "{answer:?}");
    // It is counted when it ends, once, as what its caller was told.
    let all = |server: &Running| {
        [("create-customer", "2xx"), ("create-customer", "5xx"), ("other", "5xx")]
            .map(|(operation, status)| requests(server, operation, status))
    };
    assert_eq!(all(&server), [0.0; 3]);
    // It is waited for like any other that runs.
    server.signal("TERM");
    client.ends();
    lock.release().await;
    let (status, log) = server.ended();
    assert!(status == Some(0) && !log.contains("cutting off"), "{log}");
    let line = log.lines().find(|line| line.contains("request failed")).expect("it is logged");
    assert!(line.contains("method=POST path=\"/v1/customers\" status=503"), "{line}");
    assert!(log.contains("status=Some(201)"), "{log}");
    let names: Vec<_> = admin.get("/v1/customers").await.ok()["data"].as_array().expect("a list").to_vec();
    assert_eq!(names.iter().map(|row| &row["attributes"]["name"]).collect::<Vec<_>>(), ["Jane Doe"], "{log}");
});

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_whose_caller_cannot_be_looked_up_is_given_up_as_soon() {
    let app = TestApp::new(Backend::Postgres).await;
    let admin = app.admin().await;
    let url = format!("{}?options=-c%20lock_timeout%3D0", app.store.url());
    let args = ["serve", "--database", &url, "--listen", "127.0.0.1:0", "--request-seconds", "1"];
    let server = Running::start(&std::env::temp_dir(), &args);
    let mut client = Client::new(&server);
    becomes("it is served", || client.get("/v1/customers", &admin.token).status == 200).await;
    let (other, connection) =
        tokio_postgres::connect(&app.store.url(), tokio_postgres::NoTls).await.expect("it connects");
    tokio::spawn(connection);
    other.batch_execute("BEGIN; LOCK TABLE credential IN ACCESS EXCLUSIVE MODE").await.expect("it locks");
    let body = json!({ "name": "Jane Doe" }).to_string();
    let head = format!(
        "POST /v1/customers HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {}\r\ncontent-length: {}\r\n\r\n",
        admin.token,
        body.len()
    );
    // The body is there, and nobody asks for it until it is known who sends it. The database would give up the look-up
    // only later, and say so with another text.
    client.send(&format!("{head}{body}"));
    let answer = client.answer();
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(answer.body["error"].as_str().expect("a text").contains("may have been done"), "{answer:?}");
    other.batch_execute("ROLLBACK").await.expect("it ends");
    becomes("it goes on", || {
        let mut client = Client::new(&server);
        client.get("/v1/customers", &admin.token).body["data"].as_array().is_some_and(|rows| rows.len() == 1)
    })
    .await;
    // The connection has not lost its place in what was sent.
    assert_eq!(client.get("/v1/customers", &admin.token).status, 200);
}

/// Somebody else's lock, which keeps customers from being written, and on PostgreSQL from being read.
enum Lock {
    Sqlite(rusqlite::Connection),
    Postgres(tokio_postgres::Client),
}

impl Lock {
    async fn new(app: &TestApp) -> Self {
        let url = app.store.url();
        match app.store.backend() {
            Backend::Sqlite => {
                let file = url.strip_prefix("sqlite:").expect("a file");
                let connection = rusqlite::Connection::open(file).expect("it opens");
                connection.execute_batch("BEGIN IMMEDIATE").expect("it locks");
                Self::Sqlite(connection)
            }
            Backend::Postgres => {
                let (client, connection) =
                    tokio_postgres::connect(&url, tokio_postgres::NoTls).await.expect("it connects");
                tokio::spawn(connection);
                client.batch_execute("BEGIN; LOCK TABLE customer IN ACCESS EXCLUSIVE MODE").await.expect("it locks");
                Self::Postgres(client)
            }
        }
    }

    /// Waits until a statement waits for it.
    async fn is_waited_for(&self) {
        let Self::Postgres(client) = self else { panic!("only PostgreSQL says so") };
        let waiting =
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
        for _ in 0..6000 {
            if client.query_one(waiting, &[]).await.expect("an answer").get::<_, i64>(0) > 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("nobody waits");
    }

    async fn release(self) {
        match self {
            Self::Sqlite(connection) => connection.execute_batch("ROLLBACK").expect("it ends"),
            Self::Postgres(client) => client.batch_execute("ROLLBACK").await.expect("it ends"),
        }
    }
}

#[tokio::test]
async fn no_answer_is_kept_or_guessed_at() {
    let app = TestApp::new(Backend::Sqlite).await;
    let admin = app.admin().await;
    let customer = admin.customer().await;
    for path in [
        format!("/v1/customers/{customer}"),
        format!("/v1/customers/{customer}/conversations"),
        "/v1/customers/nonsense".to_owned(),
        "/openapi.json".to_owned(),
        "/nothing".to_owned(),
    ] {
        let headers = admin.get(&path).await.headers;
        assert_eq!(headers.get_all("cache-control").iter().collect::<Vec<_>>(), ["no-store"], "{path}");
        assert_eq!(headers["x-content-type-options"], "nosniff", "{path}");
    }
    assert_eq!(admin.post("/v1/customers", json!({ "name": "Jane" })).await.headers["cache-control"], "no-store");
    assert_eq!(app.nobody().get("/v1/customers").await.headers["cache-control"], "no-store");
}
