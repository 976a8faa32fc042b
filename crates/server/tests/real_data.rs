//! A whole data set through the real program: imported into both engines, then every customer's list walked over HTTP
//! and compared with the files. Run by `./test` when `KONVERSE_DATA` names the folder.

#![expect(clippy::print_stdout, reason = "the walk says what it saw")]

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use konverse_testkit::{Backend, TestStore};
use serde_json::Value;

const KONVERSE: &str = env!("CARGO_BIN_EXE_konverse");

fn lines(folder: &Path, kind: &str) -> Vec<Value> {
    let file = File::open(folder.join(format!("{kind}.jsonl.gz"))).unwrap();
    let text = BufReader::new(flate2::read::MultiGzDecoder::new(file));
    text.lines().map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect()
}

fn konverse(arguments: &[&str]) -> String {
    let output = Command::new(KONVERSE).args(arguments).output().unwrap();
    assert!(output.status.success(), "konverse {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

struct Server(Child, u16);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Server {
    fn start(database: &str) -> Self {
        let mut child = Command::new(KONVERSE)
            .args(["serve", "--database", database, "--listen", "127.0.0.1:0", "--metrics-listen", "off"])
            .stderr(Stdio::piped())
            .env("NO_COLOR", "1")
            .spawn()
            .unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        let mut lines = log.lines();
        let port = lines.by_ref().find_map(|line| line.unwrap().split("http://127.0.0.1:").nth(1)?.trim().parse().ok());
        // Keep the pipe drained, so that the server never waits for a reader of its log.
        std::thread::spawn(move || lines.for_each(drop));
        Self(child, port.expect("the server says where it listens"))
    }
}

struct Client {
    stream: BufReader<TcpStream>,
    token: String,
}

impl Client {
    fn get(&mut self, path: &str) -> Value {
        let request = format!("GET {path} HTTP/1.1\r\nhost: konverse\r\nauthorization: Bearer {}\r\n\r\n", self.token);
        self.stream.get_mut().write_all(request.as_bytes()).unwrap();
        let mut status = String::new();
        self.stream.read_line(&mut status).unwrap();
        let mut length = 0;
        loop {
            let mut header = String::new();
            self.stream.read_line(&mut header).unwrap();
            if header.trim().is_empty() {
                break;
            }
            if let Some(value) = header.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).unwrap();
        assert!(status.contains(" 200 "), "{path}: {status}{}", String::from_utf8_lossy(&body));
        serde_json::from_slice(&body).unwrap()
    }
}

#[derive(Default)]
struct Expected {
    messages: Vec<Value>,
    notes: u64,
}

/// How many records of one kind have the same `updatedAt`, at most.
async fn most_that_share_a_moment(backend: Backend, database: &str) -> i64 {
    let sql = |kind: &str| {
        format!("SELECT coalesce(max(n), 0) FROM (SELECT count(*) AS n FROM {kind} GROUP BY org, updated_at) AS shared")
    };
    let mut most = 0;
    for kind in ["customer", "conversation", "message", "note"] {
        let count: i64 = match backend {
            Backend::Sqlite => {
                let path = database.strip_prefix("sqlite:").expect("a file");
                let connection = rusqlite::Connection::open(path).expect("the file opens");
                connection.query_row(&sql(kind), [], |row| row.get(0)).expect("a count")
            }
            Backend::Postgres => {
                let (client, connection) =
                    tokio_postgres::connect(database, tokio_postgres::NoTls).await.expect("PostgreSQL answers");
                tokio::spawn(connection);
                client.query_one(&sql(kind), &[]).await.expect("a count").get(0)
            }
        };
        most = most.max(count);
    }
    most
}

async fn every_list_is_right(backend: Backend) {
    let folder = PathBuf::from(std::env::var("KONVERSE_DATA").expect("KONVERSE_DATA names the folder of the data set"));
    let store = TestStore::new(backend).await;
    let database = store.url();
    konverse(&["org", "create", "real", "--database", &database]);
    let import = |kinds: &[&str]| {
        let files = kinds.iter().map(|kind| folder.join(format!("{kind}.jsonl.gz")).display().to_string());
        let arguments =
            ["import", "--org", "real", "--database", &database].map(str::to_owned).into_iter().chain(files);
        konverse(&arguments.collect::<Vec<_>>().iter().map(String::as_str).collect::<Vec<_>>())
    };
    let first = import(&["users", "teams", "tags", "customers", "conversations"]);
    println!("{backend:?}: {first}");
    assert!(first.contains("0 already there, 0 refused"), "{first}");
    // Messages and notes of the same conversations, by two processes at once.
    std::thread::scope(|scope| {
        let both = [["messages"], ["notes"]].map(|kinds| scope.spawn(move || import(&kinds)));
        for one in both {
            let done = one.join().expect("the import ends");
            println!("{backend:?}: {done}");
            assert!(done.contains("0 already there, 0 refused"), "{done}");
        }
    });
    let shared = most_that_share_a_moment(backend, &database).await;
    println!("{backend:?}: at most {shared} records of a kind share an updatedAt");
    assert!((1..=20).contains(&shared), "clients that page by updatedAt would loop");
    let arguments = ["import", "--org", "real", "--database", &database, folder.to_str().unwrap()];
    let token = konverse(&[
        "token",
        "create",
        "--org",
        "real",
        "--name",
        "walk",
        "--role",
        "org.permission",
        "--database",
        &database,
    ]);

    let customers = lines(&folder, "customers");
    let mut by_customer: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for row in lines(&folder, "conversations") {
        by_customer.entry(row["customer"].as_str().unwrap().to_owned()).or_default().push(row);
    }
    let mut expected: BTreeMap<String, Expected> = BTreeMap::new();
    for mut row in lines(&folder, "messages") {
        let conversation = row["conversation"].as_str().unwrap().to_owned();
        row["preview"] = Value::Null;
        expected.entry(conversation).or_default().messages.push(row);
    }
    for row in lines(&folder, "notes") {
        expected.entry(row["conversation"].as_str().unwrap().to_owned()).or_default().notes += 1;
    }
    for one in expected.values_mut() {
        one.messages.sort_by_key(|row| row["sentAt"].as_str().unwrap().to_owned());
    }

    let server = Server::start(&database);
    let stream = TcpStream::connect(("127.0.0.1", server.1)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut client = Client { stream: BufReader::new(stream), token };
    let mut walked = 0;
    for customer in &customers {
        let id = customer["id"].as_str().unwrap();
        let mut rows = by_customer.remove(id).unwrap_or_default();
        rows.sort_by_key(|row| {
            std::cmp::Reverse((row["createdAt"].as_str().unwrap().to_owned(), row["id"].as_str().unwrap().to_owned()))
        });
        let mut listed = Vec::new();
        let mut next = Some(format!("/v1/customers/{id}/conversations"));
        while let Some(path) = next {
            let page = client.get(&path);
            listed.extend(page["data"].as_array().unwrap().iter().cloned());
            next = page["links"]["next"].as_str().map(str::to_owned);
        }
        let ids = |rows: &[Value]| rows.iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
        assert_eq!(ids(&listed), ids(&rows), "customer {id}: ids and order");
        for (listed, row) in listed.iter().zip(&rows) {
            check(listed, row, expected.remove(row["id"].as_str().unwrap()).unwrap_or_default());
        }
        check_customer(&client.get(&format!("/v1/customers/{id}"))["data"]["attributes"], customer, &rows);
        walked += rows.len();
    }
    println!("{backend:?}: {walked} conversations of {} customers are as in the files", customers.len());
    assert!(by_customer.is_empty() && expected.is_empty(), "the files name nobody else");
    drop(server);

    let again = konverse(&arguments);
    println!("{backend:?}, again: {again}");
    assert!(again.starts_with("0 created") && again.contains("0 refused"), "{again}");
}

fn check(listed: &Value, row: &Value, expected: Expected) {
    let (it, id) = (&listed["attributes"], &row["id"]);
    for name in [
        "name",
        "status",
        "priority",
        "direction",
        "externalId",
        "createdAt",
        "tags",
        "assignedUsers",
        "assignedTeams",
        "custom",
    ] {
        assert_eq!(it[name], row[name], "{id} {name}");
    }
    assert_eq!(listed["relationships"]["customer"]["data"]["id"], row["customer"], "{id}");
    let (inbound, outbound): (Vec<_>, Vec<_>) =
        expected.messages.iter().partition(|message| message["direction"] == "in");
    assert_eq!(it["messageCount"], expected.messages.len(), "{id}");
    assert_eq!(it["inboundMessageCount"], inbound.len(), "{id}");
    assert_eq!(it["outboundMessageCount"], outbound.len(), "{id}");
    assert_eq!(it["noteCount"], expected.notes, "{id}");
    assert!(it["importedAt"].is_string() && it["reopenCount"].is_null(), "{id}: imported, not reopened");
    let mut channels: Vec<_> = Vec::new();
    for message in &expected.messages {
        if !channels.contains(&message["channel"]) {
            channels.push(message["channel"].clone());
        }
    }
    assert_eq!(it["channels"], Value::Array(channels), "{id} channels");
    let last = expected.messages.last();
    assert_eq!(it["lastMessageAt"], last.map_or(Value::Null, |message| message["sentAt"].clone()), "{id}");
    for (attribute, message) in [
        ("firstMessageIn", inbound.first()),
        ("lastMessageIn", inbound.last()),
        ("firstMessageOut", outbound.first()),
        ("lastMessageOut", outbound.last()),
    ] {
        assert_eq!(
            it[attribute]["id"],
            message.map_or(Value::Null, |message| message["id"].clone()),
            "{id} {attribute}"
        );
    }
    if row["status"] == "done" {
        assert_eq!(it["doneCount"], 1, "{id}");
        assert_eq!(it["lastDone"]["messageCount"], expected.messages.len(), "{id}");
    }
}

fn check_customer(shown: &Value, row: &Value, conversations: &[Value]) {
    for name in ["name", "externalId", "createdAt", "locale", "custom"] {
        assert_eq!(shown[name], row[name], "{} {name}", row["id"]);
    }
    let open = conversations.iter().filter(|conversation| conversation["status"] == "open").count();
    let counts = &shown["conversationCounts"];
    assert_eq!(counts["all"], conversations.len(), "{}", row["id"]);
    assert_eq!(counts["open"], open, "{}", row["id"]);
    assert_eq!(counts["done"], conversations.len() - open, "{}", row["id"]);
    let progressive = match (conversations.len(), open) {
        (0, _) => Value::Null,
        (_, 0) => "done".into(),
        _ => "open".into(),
    };
    assert_eq!(shown["progressiveStatus"], progressive, "{}", row["id"]);
}

#[tokio::test]
#[ignore = "needs a data set: KONVERSE_DATA"]
async fn every_list_of_the_data_set_is_right_on_sqlite() {
    every_list_is_right(Backend::Sqlite).await;
}

#[tokio::test]
#[ignore = "needs a data set: KONVERSE_DATA"]
async fn every_list_of_the_data_set_is_right_on_postgres() {
    every_list_is_right(Backend::Postgres).await;
}
