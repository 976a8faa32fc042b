//! `konverse backup` and `konverse restore`: a copy is of one moment and whole, or there is none; a restored server answers
//! what the first one answered.

mod running;

use std::fs;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use konverse_testkit::{Backend, TestApp};
use running::Running;
use serde_json::{Value, json};
use tempfile::TempDir;

fn konverse(args: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_konverse")).args(args).env_clear().output().expect("it runs");
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).expect("text")).concat();
    (output.status.code(), text)
}

fn url(file: &Path) -> String {
    format!("sqlite:{}", file.display())
}

#[track_caller]
fn done(args: &[&str]) -> String {
    let (status, text) = konverse(args);
    assert_eq!(status, Some(0), "{args:?}: {text}");
    text
}

/// Refused, with this said and nothing left of it.
#[track_caller]
fn refused(args: &[&str], said: &str) {
    let (status, text) = konverse(args);
    assert_eq!(status, Some(1), "{args:?}: {text}");
    assert!(text.contains(said), "{args:?}: {text}");
}

fn backup(from: &Path, to: &Path, more: &[&str]) {
    let (from, to) = (url(from), to.display().to_string());
    done(&[&["backup", to.as_str(), "--database", from.as_str()], more].concat());
}

fn restore(from: &Path, to: &Path, more: &[&str]) {
    let (from, to) = (from.display().to_string(), url(to));
    done(&[&["restore", from.as_str(), "--database", to.as_str()], more].concat());
}

/// The names of a folder's files.
fn names(folder: &TempDir) -> Vec<String> {
    let entries = fs::read_dir(folder.path()).expect("a folder");
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("a name")).collect();
    names.sort();
    names
}

fn mode(file: &Path) -> u32 {
    fs::metadata(file).expect("a file").permissions().mode() & 0o777
}

/// A file with an org, a token and some conversations.
struct Ground {
    folder: TempDir,
    file: PathBuf,
    token: String,
    customers: Vec<String>,
}

impl Ground {
    async fn new() -> Self {
        let app = TestApp::new(Backend::Sqlite).await;
        let admin = app.admin().await;
        let mut customers = Vec::new();
        for n in 0..6 {
            let customer = admin.customer().await;
            for m in 0..=(3 * n) {
                app.clock.advance(1_000);
                let conversation = admin.conversation(&customer, json!({ "name": format!("Parcel {m}") })).await;
                admin.message(&conversation, json!({ "preview": "hello" })).await;
            }
            customers.push(customer);
        }
        let folder = TempDir::new().expect("a folder");
        let file = folder.path().join("first.db");
        backup(&app.store.place().file(), &file, &[]);
        Self { folder, file, token: admin.token, customers }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn serve(&self, file: &Path) -> Running {
        Running::start(self.folder.path(), &["serve", "--database", &url(file), "--listen", "127.0.0.1:0"])
    }

    /// Every page of every customer's list, each as it came with its tag.
    fn walks(&self, server: &Running) -> Vec<String> {
        let mut pages = Vec::new();
        for customer in &self.customers {
            let mut next = Some(format!("/v1/customers/{customer}/conversations?pageSize=4"));
            while let Some(path) = next {
                let page = whole(server, &path, &self.token);
                let body = page.split("\r\n\r\n").nth(1).expect("a body");
                let body: Value = serde_json::from_str(body).expect("JSON");
                next = body["links"]["next"].as_str().map(str::to_owned);
                pages.push(page);
            }
        }
        pages
    }
}

/// An answer's tag and body.
fn whole(server: &Running, path: &str, token: &str) -> String {
    let mut stream = server.connect();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nhost: konverse\r\nauthorization: Bearer {token}\r\nconnection: close\r\n\r\n"
    )
    .expect("it is sent");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("an answer");
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    assert!(head.starts_with("HTTP/1.1 200"), "{text}");
    let tag = head.lines().find(|line| line.to_lowercase().starts_with("etag:")).expect("a tag");
    format!("{tag}\r\n\r\n{body}")
}

fn post(address: SocketAddr, path: &str, token: &str, body: &Value) -> u16 {
    let mut stream = running::connection(address).expect("it accepts connections");
    let body = body.to_string();
    write!(
        stream,
        "POST {path} HTTP/1.1\r\nhost: konverse\r\nauthorization: Bearer {token}\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .expect("it is sent");
    running::answer(&mut stream).0
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_server_answers_what_the_first_one_did() {
    let ground = Ground::new().await;
    let first = ground.serve(&ground.file);
    let (stop, address) = (AtomicBool::new(false), first.address);
    let written = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut written = 0;
            while !stop.load(Ordering::SeqCst) {
                let customer = &ground.customers[written % 2];
                let body = json!({ "channel": "email", "app": "test", "preview": format!("beside {written}") });
                assert_eq!(post(address, &format!("/v1/customers/{customer}/messages"), &ground.token, &body), 201);
                written += 1;
            }
            written
        });
        for n in 0..3 {
            backup(&ground.file, &ground.at(&format!("beside-{n}.db")), &[]);
        }
        stop.store(true, Ordering::SeqCst);
        writer.join().expect("the writer ends")
    });
    assert!(written > 0, "it was written to meanwhile");

    // A moment of the first: whole in itself, and each later one has what the earlier one had.
    let mut before = 0;
    for n in 0..3 {
        let copy = ground.at(&format!("beside-{n}.db"));
        assert_eq!(mode(&copy), 0o600);
        let said = done(&["check", "--database", &url(&copy)]);
        let messages = said.lines().find(|line| line.trim_start().starts_with("message ")).expect("a line");
        let messages: u64 = messages.split_whitespace().nth(1).expect("a number").parse().expect("a number");
        assert!(messages >= before.max(51), "{said}");
        before = messages;
    }

    // With nobody writing: the same bytes.
    let copy = ground.at("still.db");
    backup(&ground.file, &copy, &[]);
    restore(&copy, &ground.at("second.db"), &[]);
    assert_eq!(mode(&ground.at("second.db")), 0o600);
    let second = ground.serve(&ground.at("second.db"));
    let pages = ground.walks(&first);
    assert!(pages.len() > 12);
    assert_eq!(ground.walks(&second), pages);
    assert_eq!(second.get("/readyz", "").0, 200);
    // It goes on from there.
    let customer = format!("/v1/customers/{}/messages", ground.customers[0]);
    let body = json!({ "channel": "email", "app": "test" });
    assert_eq!(post(second.address, &customer, &ground.token, &body), 201);
    assert_eq!(ground.walks(&first), pages);
    assert_ne!(ground.walks(&second), pages);
    drop(second);
    assert!(names(&ground.folder).iter().all(|name| !name.ends_with(".part")), "{:?}", names(&ground.folder));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_replaced_unasked_and_nothing_in_use_at_all() {
    let ground = Ground::new().await;
    let (file, copy) = (&ground.file, ground.at("copy.db"));
    let (database, shown) = (url(file), copy.display().to_string());
    let backup_to = |to: &str, more: &[&'static str]| -> Vec<String> {
        ["backup", to, "--database", &database].iter().chain(more).map(|arg| (*arg).to_owned()).collect()
    };
    let refuse = |args: &[String], said: &str| refused(&args.iter().map(String::as_str).collect::<Vec<_>>(), said);
    let own = file.display().to_string();
    for more in [&[][..], &["--force"][..]] {
        refuse(&backup_to(&own, more), "belong to one database");
        refuse(&backup_to(&format!("{own}-wal"), more), "belong to one database");
    }
    fs::hard_link(file, ground.at("other-name.db")).expect("a link");
    refuse(&backup_to(&ground.at("other-name.db").display().to_string(), &["--force"]), "belong to one database");
    fs::remove_file(ground.at("other-name.db")).expect("it goes");
    refuse(&backup_to("/nowhere/copy.db", &[]), "there is no folder /nowhere");
    refuse(&backup_to(&ground.folder.path().display().to_string(), &["--force"]), "is no regular file");

    backup(file, &copy, &[]);
    refuse(&backup_to(&shown, &[]), "exists; name another file, or replace it with --force");
    backup(file, &copy, &["--force"]);
    // Not what is no copy, whatever is asked.
    fs::write(ground.at("letter.txt"), "Dear Jane").expect("a file");
    refuse(&backup_to(&ground.at("letter.txt").display().to_string(), &["--force"]), "is not replaced");
    assert_eq!(fs::read_to_string(ground.at("letter.txt")).expect("a file"), "Dear Jane");
    let (status, text) = konverse(&["backup", &shown, "--database", &url(&ground.at("letter.txt"))]);
    assert_eq!(status, Some(1), "{text}");
    refused(&["backup", &shown, "--force", "--database", &url(&ground.at("none.db"))], "there is no file");
    fs::write(ground.at("new.db"), "").expect("a file");
    refused(&["backup", &shown, "--force", "--database", &url(&ground.at("new.db"))], "holds no data of konverse");

    refused(&["restore", &shown, "--database", &database], "exists; name another file, or replace it with --force");
    let server = ground.serve(file);
    let pages = ground.walks(&server);
    refused(&["restore", &shown, "--force", "--database", &database], "is in use by another process");
    assert_eq!(ground.walks(&server), pages);
    server.signal("TERM");
    assert_eq!(server.ended().0, Some(0));

    // One that was killed leaves a log. What is put back must not be taken for what the log belongs to.
    let mut server = ground.serve(file);
    let customer = format!("/v1/customers/{}/messages", ground.customers[0]);
    assert_eq!(post(server.address, &customer, &ground.token, &json!({ "channel": "email", "app": "test" })), 201);
    server.child.kill().expect("it is killed");
    server.child.wait().expect("it ends");
    assert!(fs::metadata(ground.at("first.db-wal")).is_ok_and(|data| data.len() > 0));
    refused(&["restore", &own, "--database", &url(&ground.at("x.db"))], "is not whole without");
    restore(&copy, file, &["--force"]);
    assert!(!ground.at("first.db-wal").exists() && !ground.at("first.db-shm").exists());
    let server = ground.serve(file);
    assert_eq!(ground.walks(&server), pages);
    drop(server);

    // A log whose database was taken away.
    fs::write(ground.at("gone.db-wal"), "of another time").expect("a file");
    refused(&["restore", &shown, "--database", &url(&ground.at("gone.db"))], "is still there, though");
    restore(&copy, &ground.at("gone.db"), &["--force"]);
    assert!(!ground.at("gone.db-wal").exists());
    done(&["check", "--database", &url(&ground.at("gone.db"))]);
    assert!(names(&ground.folder).iter().all(|name| !name.ends_with(".part")), "{:?}", names(&ground.folder));
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_copy_gets_no_name() {
    let ground = Ground::new().await;
    let before = names(&ground.folder);
    // A file may grow to so many blocks of 512 bytes: what is beyond finds no room.
    let full = |args: &str| {
        let script = format!("trap '' XFSZ; ulimit -f 200; exec {} {args}", env!("CARGO_BIN_EXE_konverse"));
        Command::new("sh").args(["-c", &script]).env_clear().output().expect("a shell")
    };
    let (copy, database) = (ground.at("copy.db"), url(&ground.file));
    let output = full(&format!("backup {} --database {database}", copy.display()));
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(names(&ground.folder), before);
    backup(&ground.file, &copy, &[]);
    let output = full(&format!("restore {} --database {}", copy.display(), url(&ground.at("second.db"))));
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(!ground.at("second.db").exists());

    // What is damaged is not put in anything's place.
    let bytes = fs::read(&copy).expect("a file");
    let (cut, changed) = (ground.at("cut.db"), ground.at("changed.db"));
    fs::write(&cut, &bytes[..bytes.len() / 2]).expect("a file");
    let mut other = bytes.clone();
    for page in other.chunks_mut(32_768).skip(1) {
        page[0] ^= 0xff;
    }
    fs::write(&changed, other).expect("a file");
    for damaged in [&cut, &changed] {
        let (status, text) = konverse(&["restore", &damaged.display().to_string(), "--force", "--database", &database]);
        assert_eq!(status, Some(1), "{text}");
    }
    let mut after = names(&ground.folder);
    after.retain(|name| !["copy.db", "cut.db", "changed.db"].contains(&&**name));
    assert_eq!(after, before);
    done(&["check", "--database", &database]);
}

#[test]
fn for_postgres_its_own_tools_are_named() {
    let database = "postgres://jane:s3cret@db.example/support";
    let (status, text) = konverse(&["backup", "/tmp/copy.dump", "--database", database]);
    assert_eq!(status, Some(2), "{text}");
    assert!(text.contains("pg_dump --format=custom --no-owner --file='/tmp/copy.dump'"), "{text}");
    let (status, restoring) = konverse(&["restore", "/tmp/copy.dump", "--database", database]);
    assert_eq!(status, Some(2), "{restoring}");
    assert!(restoring.contains("pg_restore --no-owner --single-transaction"), "{restoring}");
    assert!(!text.contains("s3cret") && !restoring.contains("s3cret"));
}
