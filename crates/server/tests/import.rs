//! The program itself, run as people run it: orgs, tokens, imports, the help, on both engines.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use konverse_testkit::{Actor, TestApp, on_both_engines};
use serde_json::{Value, json};

struct Ran {
    status: i32,
    out: String,
    err: String,
}

impl Ran {
    #[track_caller]
    fn ok(self) -> String {
        assert_eq!(self.status, 0, "{}{}", self.out, self.err);
        self.out
    }

    #[track_caller]
    fn failed(self) -> String {
        assert_eq!(self.status, 1, "{}{}", self.out, self.err);
        assert!(self.err.starts_with("konverse: ") && !self.err.contains("panicked"), "{}", self.err);
        self.err
    }
}

fn command(args: &[&str], environment: &[(&str, &str)]) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_konverse"));
    command.args(args).env_clear().envs(environment.iter().copied());
    let Output { status, stdout, stderr } = command.output().expect("the program runs");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    Ran { status: status.code().expect("it ends by itself"), out: text(stdout), err: text(stderr) }
}

/// Runs the program on the app's database.
fn run(app: &TestApp, args: &[&str]) -> Ran {
    let url = app.store.url();
    command(&[args, &["--database", &url]].concat(), &[])
}

fn import(app: &TestApp, paths: &[&Path]) -> Ran {
    let paths: Vec<&str> = paths.iter().map(|path| path.to_str().expect("UTF-8")).collect();
    run(app, &[&["import", "--org", "acme"], &paths[..]].concat())
}

fn write(folder: &Path, name: &str, rows: &[Value]) -> PathBuf {
    let text: String = rows.iter().map(|row| format!("{row}\n")).collect();
    write_text(folder, name, &text)
}

fn write_text(folder: &Path, name: &str, text: &str) -> PathBuf {
    write_bytes(folder, name, text.as_bytes())
}

fn write_bytes(folder: &Path, name: &str, text: &[u8]) -> PathBuf {
    let path = folder.join(name);
    let file = std::fs::File::create(&path).expect("a file");
    if name.ends_with(".gz") {
        let mut file = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
        file.write_all(text).expect("it is written");
        file.finish().expect("it is written");
    } else if name.ends_with(".zst") {
        std::fs::write(&path, zstd::encode_all(text, 1).expect("it is compressed")).expect("it is written");
    } else {
        std::fs::write(&path, text).expect("it is written");
    }
    path
}

fn id(kind: char, n: u32) -> String {
    format!("58228e05d4e9671100{kind}0{n:04x}")
}

const USER: char = 'a';
const TEAM: char = 'b';
const TAG: char = 'c';
const CUSTOMER: char = 'd';
const CONVERSATION: char = 'e';
const MESSAGE: char = 'f';
const NOTE: char = '9';

fn message(n: u32, conversation: u32, direction: &str, at: &str) -> Value {
    let mut row = json!({
        "id": id(MESSAGE, n), "conversation": id(CONVERSATION, conversation), "channel": "email", "app": "postmark",
        "direction": direction, "preview": format!("text {}", n % 100), "createdAt": at,
    });
    if direction == "out" {
        row["createdBy"] = json!(id(USER, 1));
    }
    row
}

/// A small history in a folder, in every form a file may have.
fn history(folder: &Path) {
    write(
        folder,
        "users.jsonl",
        &[
            json!({ "id": id(USER, 1), "name": "Ann Agent", "email": "ann@example.com", "createdAt": "2024-01-01T00:00:00.000Z" }),
            json!({ "id": id(USER, 2), "name": "Bob Agent", "email": "bob@example.com" }),
        ],
    );
    write(folder, "teams.jsonl.gz", &[json!({ "id": id(TEAM, 1), "name": "Support", "members": [id(USER, 1)] })]);
    write(folder, "tags.jsonl.zst", &[json!({ "id": id(TAG, 1), "name": "refund" })]);
    write(
        folder,
        "customers.jsonl.zst",
        &[
            json!({ "id": id(CUSTOMER, 1), "name": "Jane Doe", "externalId": "crm-1", "emails": [{ "email": "jane@example.com", "type": "home" }], "createdAt": "2024-02-01T10:00:00.000Z" }),
            json!({ "id": id(CUSTOMER, 2), "name": "John Roe", "createdAt": "2024-02-02T10:00:00.000Z" }),
        ],
    );
    write(
        folder,
        "conversations.jsonl.gz",
        &[
            json!({ "id": id(CONVERSATION, 1), "customer": id(CUSTOMER, 1), "externalId": "t-1", "name": "Refund", "status": "done", "createdAt": "2024-03-01T10:00:00.000Z", "tags": [id(TAG, 1)], "assignedUsers": [id(USER, 1)] }),
            json!({ "id": id(CONVERSATION, 2), "customer": id(CUSTOMER, 1), "status": "open", "createdAt": "2024-03-02T10:00:00.000Z" }),
            json!({ "id": id(CONVERSATION, 3), "customer": id(CUSTOMER, 2), "status": "done", "createdAt": "2024-03-03T10:00:00.000Z" }),
        ],
    );
    write(
        folder,
        "messages-01.jsonl",
        &[
            message(1, 1, "in", "2024-03-01T10:00:00.000Z"),
            message(2, 1, "out", "2024-03-01T10:05:00.000Z"),
            message(3, 2, "in", "2024-03-02T10:00:00.000Z"),
        ],
    );
    write(
        folder,
        "messages-02.jsonl.zst",
        &[message(4, 1, "in", "2024-03-01T11:00:00.000Z"), message(5, 3, "in", "2024-03-03T10:00:00.000Z")],
    );
    write(
        folder,
        "notes.jsonl",
        &[
            json!({ "id": id(NOTE, 1), "conversation": id(CONVERSATION, 1), "body": "Asked finance.", "createdAt": "2024-03-01T10:30:00.000Z", "createdBy": id(USER, 2) }),
        ],
    );
    write_text(folder, "README.md", "not a file to import");
}

/// Everything the org shows, as sent.
async fn everything(admin: &Actor) -> Vec<String> {
    let mut texts = Vec::new();
    for path in ["customers", "conversations", "messages", "notes", "users", "teams", "tags"] {
        let reply = admin.get(&format!("/v1/{path}")).await;
        reply.ok();
        texts.push(String::from_utf8(reply.body).expect("UTF-8"));
    }
    texts
}

#[track_caller]
fn summary(out: &str, created: u32, present: u32, refused: u32) {
    let expected = format!("{created} created, {present} already there, {refused} refused, in ");
    assert!(out.starts_with(&expected), "{out:?} instead of {expected:?}");
    assert_eq!(out.lines().count(), 1, "{out}");
}

on_both_engines!(orgs_are_made_and_listed, |app| async move {
    let made = run(&app, &["org", "create", "globex"]).ok();
    let made = made.trim();
    assert!(made.len() == 24 && made.bytes().all(|b| b.is_ascii_hexdigit()), "{made}");
    let error = run(&app, &["org", "create", "globex"]).failed();
    assert!(error.contains("globex") && error.contains("exists already"), "{error}");
    for name in ["Globex", "a b", "-x", "", "ü"] {
        let error = run(&app, &["org", "create", "--", name]);
        assert_ne!(error.status, 0, "{name:?}");
    }
    let list = run(&app, &["org", "list"]).ok();
    assert_eq!(
        list.lines().map(|line| line.split(' ').nth(1).unwrap_or_default()).collect::<Vec<_>>(),
        ["acme", "globex"]
    );
    assert!(list.contains(made));
});

on_both_engines!(tokens_are_made_shown_and_revoked, |app| async move {
    let create = [
        "token",
        "create",
        "--org",
        "acme",
        "--name",
        "etl",
        "--role",
        "org.user",
        "--role",
        "org.permission.tag.read",
        "--expires",
        "90d",
        "--cidr",
        "127.0.0.0/8",
    ];
    let ran = run(&app, &create);
    assert_eq!(ran.err, "");
    let secret = ran.ok();
    let secret = secret.trim_end();
    assert!(!secret.contains(char::is_whitespace) && secret.starts_with("eyJ"), "{secret:?}");
    let actor = app.bearer(secret);
    let shown = actor.get("/v1/auth/tokens/current").await.ok();
    assert_eq!(shown["data"]["attributes"]["roles"], json!(["org.user", "org.permission.tag.read"]));
    assert_eq!(shown["data"]["attributes"]["name"], "etl");
    let token = shown["data"]["id"].as_str().expect("an id").to_owned();

    let list = run(&app, &["token", "list", "--org", "acme"]).ok();
    let random = secret.rsplit('.').next().expect("a part");
    assert!(list.contains(&token) && list.contains("etl") && list.contains(&secret[secret.len() - 6..]), "{list}");
    assert!(!list.contains(random) && !list.contains(secret), "{list}");

    run(&app, &["token", "revoke", &token, "--org", "acme"]).ok();
    assert_eq!(actor.get("/v1/auth/tokens/current").await.status, 401);
    assert!(!run(&app, &["token", "list", "--org", "acme"]).ok().contains(&token));
    let error = run(&app, &["token", "revoke", &token, "--org", "acme"]).failed();
    assert!(error.contains(&token), "{error}");
    for (option, value) in [("--expires", "soon"), ("--expires", "0d")] {
        let ran = run(&app, &["token", "create", "--org", "acme", "--name", "x", "--role", "org", option, value]);
        assert_eq!(ran.status, 2, "{}", ran.err);
        assert!(ran.err.contains(option) && ran.err.contains("90d"), "{}", ran.err);
    }
    for args in [["--role", "admin"], ["--cidr", "here"]] {
        let ran =
            run(&app, &[&["token", "create", "--org", "acme", "--name", "x", "--role", "org"], &args[..]].concat());
        assert_eq!(ran.status, 2, "{}", ran.err);
    }
});

on_both_engines!(a_history_is_taken_as_it_was, |app| async move {
    let folder = tempfile::tempdir().expect("a folder");
    history(folder.path());
    let ran = import(&app, &[folder.path()]);
    assert_eq!(ran.err, "");
    summary(&ran.ok(), 15, 0, 0);

    let admin = app.admin().await;
    let of = async |path: &str| admin.get(path).await.ok()["data"].clone();
    let jane = of(&format!("/v1/customers/{}", id(CUSTOMER, 1))).await;
    assert_eq!(jane["attributes"]["createdAt"], "2024-02-01T10:00:00.000Z");
    assert!(jane["attributes"]["importedAt"].is_string());
    assert_eq!(jane["attributes"]["externalId"], "crm-1");
    assert_eq!(jane["attributes"]["conversationCounts"], json!({ "all": 2, "done": 1, "open": 1, "snoozed": 0 }));

    let refund = of(&format!("/v1/conversations/{}", id(CONVERSATION, 1))).await;
    let it = &refund["attributes"];
    assert_eq!((&it["status"], &it["createdAt"]), (&json!("done"), &json!("2024-03-01T10:00:00.000Z")));
    assert_eq!((&it["messageCount"], &it["noteCount"], &it["externalId"]), (&json!(3), &json!(1), &json!("t-1")));
    assert_eq!((&it["reopenCount"], &it["lastMessageAt"]), (&Value::Null, &json!("2024-03-01T11:00:00.000Z")));
    assert!(it["importedAt"].is_string());
    assert_eq!((&it["tags"], &it["assignedUsers"]), (&json!([id(TAG, 1)]), &json!([id(USER, 1)])));
    assert_eq!(of(&format!("/v1/conversations/{}", id(CONVERSATION, 2))).await["attributes"]["status"], "open");
    assert_eq!(of(&format!("/v1/conversations/{}", id(CONVERSATION, 3))).await["attributes"]["status"], "done");

    let messages = admin.get(&format!("/v1/conversations/{}/messages", id(CONVERSATION, 1))).await.ids();
    assert_eq!(messages, [id(MESSAGE, 1), id(MESSAGE, 2), id(MESSAGE, 4)]);
    let sent = of(&format!("/v1/messages/{}", id(MESSAGE, 2))).await;
    assert_eq!(sent["attributes"]["createdAt"], "2024-03-01T10:05:00.000Z");
    assert!(sent["attributes"]["importedAt"].is_string());
    assert_eq!(sent["relationships"]["createdBy"]["data"]["id"], id(USER, 1));
    let note = of(&format!("/v1/notes/{}", id(NOTE, 1))).await;
    assert_eq!(note["relationships"]["createdBy"]["data"]["id"], id(USER, 2));
    assert_eq!(
        admin.get(&format!("/v1/customers/{}/conversations", id(CUSTOMER, 1))).await.ids(),
        [id(CONVERSATION, 2), id(CONVERSATION, 1)]
    );
    assert_eq!(admin.get(&format!("/v1/users/{}/teams", id(USER, 1))).await.ids(), [id(TEAM, 1)]);

    // Again: nothing changes, not a byte.
    let before = everything(&admin).await;
    summary(&import(&app, &[folder.path()]).ok(), 0, 15, 0);
    assert_eq!(everything(&admin).await, before);
});

on_both_engines!(the_order_of_messages_in_a_file_does_not_matter, |app| async move {
    let times = [
        "2024-03-01T10:00:00.000Z",
        "2024-03-01T10:05:00.000Z",
        "2024-03-01T10:20:00.000Z",
        "2024-03-01T11:00:00.000Z",
        "2024-03-01T12:00:00.000Z",
    ];
    let directions = ["in", "out", "in", "in", "out"];
    let folder = tempfile::tempdir().expect("a folder");
    write(folder.path(), "users.jsonl", &[json!({ "id": id(USER, 1), "name": "Ann", "email": "ann@example.com" })]);
    write(
        folder.path(),
        "customers.jsonl",
        &[1, 2].map(|n| json!({ "id": id(CUSTOMER, n), "createdAt": "2024-02-01T10:00:00.000Z" })),
    );
    let conversation = |n: u32| json!({ "id": id(CONVERSATION, n), "customer": id(CUSTOMER, n), "status": "done", "createdAt": times[0] });
    write(folder.path(), "conversations.jsonl", &[conversation(1), conversation(2)]);
    let rows = [0, 1, 2, 3, 4].map(|n| message(n as u32, 1, directions[n], times[n]));
    let mixed = [3, 0, 4, 2, 1].map(|n| message(100 + n as u32, 2, directions[n], times[n]));
    write(folder.path(), "messages-1.jsonl", &rows);
    write(folder.path(), "messages-2.jsonl", &mixed);
    summary(&import(&app, &[folder.path()]).ok(), 15, 0, 0);
    let admin = app.admin().await;
    let mut shown = Vec::new();
    for n in [1, 2] {
        let text = admin.get(&format!("/v1/conversations/{}", id(CONVERSATION, n))).await.ok()["data"].to_string();
        let mut text = text.replace(&id(CONVERSATION, n), "CONVERSATION").replace(&id(CUSTOMER, n), "CUSTOMER");
        for (m, _) in times.iter().enumerate() {
            text = text.replace(&id(MESSAGE, (n - 1) * 100 + m as u32), &format!("MESSAGE {m}"));
        }
        let mut value: Value = serde_json::from_str(&text).expect("JSON");
        // The moment the server wrote it is its own.
        for name in ["updatedAt", "modifiedAt", "importedAt", "rev"] {
            value["attributes"][name] = Value::Null;
        }
        shown.push(value);
    }
    assert_eq!(shown[0], shown[1]);
    assert_eq!(shown[0]["attributes"]["messageCount"], 5);
});

on_both_engines!(bad_rows_are_named_and_good_ones_stored, |app| async move {
    let folder = tempfile::tempdir().expect("a folder");
    history(folder.path());
    summary(&import(&app, &[folder.path()]).ok(), 15, 0, 0);
    let more = tempfile::tempdir().expect("a folder");
    let good = |n: u32| json!({ "id": id(CONVERSATION, n), "customer": id(CUSTOMER, 1), "createdAt": "2024-04-01T10:00:00.000Z" });
    let with = |mut row: Value, name: &str, value: Value| {
        row[name] = value;
        row
    };
    let lines = [
        good(10).to_string(),
        "{\"id\": oops".into(),
        with(good(11), "colour", json!("red")).to_string(),
        String::new(),
        with(good(12), "status", json!("closed")).to_string(),
        with(good(13), "externalId", json!("t-1")).to_string(),
        with(good(14), "customer", json!(id(CUSTOMER, 99))).to_string(),
        json!({ "customer": id(CUSTOMER, 1) }).to_string(),
        "[]".into(),
        good(15).to_string(),
    ];
    let conversations = write_text(more.path(), "conversations.jsonl", &format!("{}\n", lines.join("\n")));
    let at = "2024-04-01T10:00:00.000Z";
    let messages = write(
        more.path(),
        "messages.jsonl",
        &[
            message(20, 10, "in", at),
            message(21, 99, "in", at),
            with(message(22, 10, "in", at), "customer", json!(id(CUSTOMER, 2))),
            with(message(23, 10, "in", at), "channel", json!("pigeon")),
            message(24, 15, "in", at),
        ],
    );
    let ran = import(&app, &[more.path()]);
    assert_eq!(ran.status, 3, "{}{}", ran.out, ran.err);
    summary(&ran.out, 4, 0, 10);
    let complaints: Vec<&str> = ran.err.lines().collect();
    let told = |path: &Path, line: u32, what: &str| {
        let start = format!("{}:{line}: ", path.display());
        let found = complaints.iter().find(|complaint| complaint.starts_with(&start));
        assert!(found.is_some_and(|complaint| complaint.contains(what)), "{start}{what}: {complaints:#?}");
    };
    for (line, what) in [
        (2, "JSON"),
        (3, "colour"),
        (5, "status"),
        (6, "externalId"),
        (7, "customer"),
        (8, "needs an id"),
        (9, "object"),
    ] {
        told(&conversations, line, what);
    }
    for (line, what) in [(2, &*id(CONVERSATION, 99)), (3, "customer"), (4, "channel")] {
        told(&messages, line, what);
    }
    assert_eq!(complaints.len(), 10, "{complaints:#?}");
    let admin = app.admin().await;
    for n in [10, 15] {
        let it = admin.attributes(&format!("/v1/conversations/{}", id(CONVERSATION, n))).await;
        assert_eq!(it["messageCount"], 1, "{n}");
    }
    for n in [11, 12, 13, 14] {
        assert_eq!(admin.get(&format!("/v1/conversations/{}", id(CONVERSATION, n))).await.status, 404);
    }
    let jane = admin.attributes(&format!("/v1/customers/{}", id(CUSTOMER, 1))).await;
    assert_eq!(jane["conversationCounts"]["all"], 4);
    let before = everything(&admin).await;
    let ran = import(&app, &[more.path()]);
    assert_eq!(ran.status, 3);
    summary(&ran.out, 0, 4, 10);
    assert_eq!(everything(&admin).await, before);
});

on_both_engines!(files_that_cannot_be_taken_are_named, |app| async move {
    let folder = tempfile::tempdir().expect("a folder");
    let error = import(&app, &[&folder.path().join("users.jsonl")]).failed();
    assert!(error.contains("users.jsonl") && error.contains("cannot open"), "{error}");
    let error = import(&app, &[folder.path()]).failed();
    assert!(error.contains("no files to import") && error.contains("customers"), "{error}");
    let odd = write_text(folder.path(), "people.csv", "a,b\n");
    let error = import(&app, &[&odd]).failed();
    assert!(error.contains("people.csv") && error.contains("jsonl"), "{error}");

    for name in ["customers.jsonl.gz", "customers.jsonl.zst"] {
        let path = folder.path().join(name);
        std::fs::write(&path, "no archive").expect("it is written");
        let error = import(&app, &[&path]).failed();
        assert!(error.contains(&format!("{name}:1: the file cannot be read on")), "{error}");
        std::fs::remove_file(&path).expect("it is removed");
    }
});

/// How many rows a run says it created.
fn created(ran: &Ran) -> u32 {
    ran.out.split(' ').next().and_then(|count| count.parse().ok()).expect("a number")
}

on_both_engines!(a_file_that_breaks_off_is_taken_up_to_there, |app| async move {
    let folder = tempfile::tempdir().expect("a folder");
    let admin = app.admin().await;
    let mut all = 0;
    for (n, name) in ["customers-1.jsonl.gz", "customers-2.jsonl.zst"].into_iter().enumerate() {
        let first = n as u32 * 10_000;
        // Enough that a packer has written some of it out by the middle.
        let row = |n: u32| json!({ "id": id(CUSTOMER, first + n), "name": format!("{:x}", n.wrapping_mul(2_654_435_761)).repeat(20) });
        let rows: Vec<Value> = (0..4_000).map(row).collect();
        let path = write(folder.path(), name, &rows);
        let whole = std::fs::read(&path).expect("the file");
        std::fs::write(&path, &whole[..whole.len() / 2]).expect("it is written");
        // What follows builds on what is missing, so it is not begun.
        let next = write(folder.path(), "notes.jsonl", &[json!({})]);
        let ran = import(&app, &[&next, &path]);
        let created = created(&ran);
        summary(&ran.out, created, 0, 0);
        assert!(created > 100 && created < 4_000, "{}", ran.out);
        let error = ran.failed();
        assert!(error.contains(&format!("{name}:{}: the file cannot be read on", created + 1)), "{error}");
        all += created as usize;
        assert_eq!(admin.get("/v1/customers?pageSize=1").await.ok()["meta"]["total"], all, "{name}");
        // The rest follows when the file is whole.
        std::fs::write(&path, whole).expect("it is written");
        std::fs::remove_file(next).expect("it is removed");
        summary(&import(&app, &[&path]).ok(), 4_000 - created, created, 0);
        all += 4_000 - created as usize;
    }
});

on_both_engines!(a_line_that_is_no_row_is_refused_alone, |app| async move {
    let folder = tempfile::tempdir().expect("a folder");
    let good = |n: u32| json!({ "id": id(CUSTOMER, n), "name": format!("name {n}") }).to_string().into_bytes();
    let mut text = b"\xef\xbb\xbf".to_vec();
    // An attribute's name that would turn a terminal red.
    let odd = json!({ format!("\x1b[31m{}", "x".repeat(2_000)): 1 }).to_string().into_bytes();
    let lines: [&[u8]; 9] = [
        &good(1),
        b"",
        &good(2),
        &[&b"{\"name\":\""[..], &vec![b'a'; 5 << 20], b"\"}"].concat(),
        &good(3),
        b"{\"name\":\"\xff\"}",
        b"  ",
        &odd,
        &good(4),
    ];
    text.extend(lines.join(&b"\r\n"[..]));
    for (n, name) in ["customers.jsonl", "customers.jsonl.gz", "customers.jsonl.zst"].into_iter().enumerate() {
        let path = write_bytes(folder.path(), name, &text);
        let ran = import(&app, &[&path]);
        assert_eq!(ran.status, 3, "{}", ran.err);
        let taken = if n == 0 { (4, 0) } else { (0, 4) };
        summary(&ran.out, taken.0, taken.1, 3);
        let told: Vec<&str> = ran.err.lines().collect();
        assert_eq!(told.len(), 3, "{told:#?}");
        for (line, (number, what)) in
            told.iter().zip([(4, "longer than 4194304 bytes"), (6, "not UTF-8 from its byte 10 on"), (8, "[31m")])
        {
            assert!(line.starts_with(&format!("{}:{number}: ", path.display())) && line.contains(what), "{line}");
        }
        assert!(told.iter().all(|line| !line.contains(char::is_control) && line.chars().count() < 1_000), "{told:#?}");
    }
});

on_both_engines!(a_file_that_unpacks_without_end_is_given_up, |app| async move {
    let folder = tempfile::tempdir().expect("a folder");
    let row = |n: u32| format!("{}\n", json!({ "id": id(CUSTOMER, n), "name": "Jane Doe" }));
    let gzip = |text: &[u8]| {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        packed.write_all(text).expect("it is packed");
        packed.finish().expect("it is packed")
    };
    let zstandard = |text: &[u8]| zstd::encode_all(text, 1).expect("it is packed");
    let line = vec![b' '; 16 << 20];
    let lines = format!("{{\"name\":\"{}\"}}\n", "a".repeat((1 << 16) - 12)).repeat(256);
    type Pack<'a> = &'a dyn Fn(&[u8]) -> Vec<u8>;
    for (n, (name, pack)) in
        [("customers.jsonl.gz", &gzip as Pack), ("customers.jsonl.zst", &zstandard as Pack)].into_iter().enumerate()
    {
        for (m, bomb) in [&line[..], lines.as_bytes()].into_iter().enumerate() {
            // 512 MiB, as many small archives in one file.
            let packed = [pack(row((2 * n + m) as u32).as_bytes()), pack(bomb).repeat(32)].concat();
            let path = folder.path().join(name);
            std::fs::write(&path, packed).expect("it is written");
            let ran = import(&app, &[&path]);
            assert_eq!((ran.status, created(&ran)), (1, 1), "{}{}", ran.out, ran.err);
            let complaint = ran.err.lines().last().expect("a complaint");
            assert!(
                complaint.starts_with("konverse: ")
                    && complaint.contains(name)
                    && complaint.contains("unpacks to more than"),
                "{}",
                ran.err
            );
        }
    }
    // A frame that asks for a window of 2 GiB to be held: its header, then the row as a block that is not packed.
    let row = row(9);
    let block = (row.len() as u32) << 3 | 1;
    let frame = [&[0x28, 0xb5, 0x2f, 0xfd, 0, 21 << 3][..], &block.to_le_bytes()[..3], row.as_bytes()].concat();
    let path = folder.path().join("customers.jsonl.zst");
    std::fs::write(&path, frame).expect("it is written");
    let error = import(&app, &[&path]).failed();
    assert!(error.contains("customers.jsonl.zst:1: the file cannot be read on"), "{error}");
});

on_both_engines!(a_file_named_twice_is_taken_once, |app| async move {
    let folder = tempfile::tempdir().expect("a folder");
    let path = write_text(folder.path(), "tags.jsonl", "{\"name\":\"refund\"}\n{}\n");
    let link = folder.path().join("tags-again.jsonl");
    std::os::unix::fs::symlink(&path, &link).expect("a link");
    let around = folder.path().join(".").join("tags.jsonl");
    let ran = import(&app, &[&path, &path, folder.path(), &around, &link, folder.path()]);
    assert_eq!(ran.status, 3, "{}", ran.err);
    summary(&ran.out, 1, 0, 1);
    assert_eq!(ran.err.lines().count(), 1, "{}", ran.err);
});

on_both_engines!(conversations_are_shown_to_people_and_programs, |app| async move {
    let folder = tempfile::tempdir().expect("a folder");
    history(folder.path());
    import(&app, &[folder.path()]).ok();
    for who in [id(CUSTOMER, 1), "jane@example.com".into(), "crm-1".into()] {
        let table = run(&app, &["conversations", &who, "--org", "acme"]).ok();
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines.len(), 3, "{table}");
        assert!(
            lines[0].contains("STATUS") && lines[1].contains(&id(CONVERSATION, 2)) && lines[2].contains("Refund"),
            "{table}"
        );
        let rows = run(&app, &["conversations", &who, "--org", "acme", "--json"]).ok();
        let ids: Vec<Value> =
            rows.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON")["id"].clone()).collect();
        assert_eq!(ids, [json!(id(CONVERSATION, 2)), json!(id(CONVERSATION, 1))]);
    }
    for who in ["nobody@example.com", "nobody", &id(CUSTOMER, 99)] {
        let error = run(&app, &["conversations", who, "--org", "acme"]).failed();
        assert!(error.contains(who), "{error}");
    }
});

on_both_engines!(an_unknown_org_is_told_how_to_be_made, |app| async move {
    let folder = tempfile::tempdir().expect("a folder");
    history(folder.path());
    let path = folder.path().to_str().expect("UTF-8").to_owned();
    for args in [
        vec!["token", "list", "--org", "nowhere"],
        vec!["token", "create", "--org", "nowhere", "--name", "x", "--role", "org"],
        vec!["conversations", "x", "--org", "nowhere"],
        vec!["import", "--org", "nowhere", &path],
    ] {
        let error = run(&app, &args).failed();
        assert!(error.contains("no org nowhere") && error.contains("konverse org create nowhere"), "{error}");
    }
});

on_both_engines!(options_come_from_the_environment_too, |app| async move {
    let url = app.store.url();
    let environment = [
        ("KONVERSE_DATABASE", url.as_str()),
        ("KONVERSE_ORG", "acme"),
        ("KONVERSE_TOKEN_NAME", "env"),
        ("KONVERSE_TOKEN_ROLES", "org.user,org.hook"),
    ];
    let secret = command(&["token", "create"], &environment).ok();
    let shown = app.bearer(secret.trim()).attributes("/v1/auth/tokens/current").await;
    assert_eq!((&shown["name"], &shown["roles"]), (&json!("env"), &json!(["org.user", "org.hook"])));
    assert!(command(&["token", "list"], &environment).ok().contains("env"));
    // What is said on the command line goes first.
    let error = command(&["token", "list", "--org", "nowhere"], &environment).failed();
    assert!(error.contains("nowhere"), "{error}");
});

#[test]
fn every_command_has_help() {
    for args in [
        vec![],
        vec!["demo"],
        vec!["serve"],
        vec!["org"],
        vec!["org", "create"],
        vec!["org", "list"],
        vec!["token"],
        vec!["token", "create"],
        vec!["token", "list"],
        vec!["token", "revoke"],
        vec!["import"],
        vec!["conversations"],
    ] {
        let help = command(&[&args[..], &["--help"]].concat(), &[]).ok();
        assert!(help.contains("KONVERSE_LOG"), "{args:?}: {help}");
        if args.len() == 2 || ["serve", "import", "conversations"].iter().any(|name| args == [*name]) {
            assert!(help.contains("KONVERSE_DATABASE"), "{args:?}: {help}");
        }
    }
    // A password in the environment is not shown.
    let help = command(&["serve", "--help"], &[("KONVERSE_DATABASE", "postgres://ada:s3cret@db/x")]).ok();
    assert!(!help.contains("s3cret"), "{help}");
}

/// An address no machine has: what would serve on it ends at once.
const NOWHERE: &str = "192.0.2.1:80";

/// Every command that opens a database, but for `--database` and its value.
const COMMANDS: [&[&str]; 8] = [
    &["serve", "--listen", NOWHERE],
    &["org", "create", "acme"],
    &["org", "list"],
    &["token", "create", "--org", "acme", "--name", "x", "--role", "org"],
    &["token", "list", "--org", "acme"],
    &["token", "revoke", "58228e05d4e9671100a00001", "--org", "acme"],
    &["import", "--org", "acme", "/missing/users.jsonl"],
    &["conversations", "jane@example.com", "--org", "acme"],
];

#[test]
fn a_database_that_cannot_be_opened_is_named_without_its_password() {
    // Each with the exit status: 1 when the server was asked, 2 when the URL itself is refused.
    let urls = [
        ("postgres://ada:s3cret@127.0.0.1:1/shop", 1),
        ("postgres://ada:%40%2Fs3cret%40@127.0.0.1:1/shop", 1),
        ("postgresql://127.0.0.1:1/shop?user=ada&password=s3cret", 1),
        ("postgres://127.0.0.1:1/shop?password=s3cret&user=ada", 1),
        ("postgres://ada@127.0.0.1:1/shop?password=a@s3cret", 1),
        ("postgres:///shop?host=127.0.0.1&port=1&user=ada&password=s3cret", 1),
        ("postgres://127.0.0.1:1/shop?sslpassword=s3cret", 1),
        ("postgres://127.0.0.1:1/shop?passfile=s3cret", 1),
        ("postgres://127.0.0.1:1/shop?sslmode=s3cret", 1),
        ("postgres://127.0.0.1:1/shop?PASSWORD=s3cret", 2),
        ("postgres://127.0.0.1:1/shop?Password=s3cret", 2),
        ("postgres://127.0.0.1:1/shop?password=a&s3cret=b", 2),
        ("postgres://127.0.0.1:1/shop?password=a@s3cret", 2),
        ("postgres://ada:a@s3cret@127.0.0.1:1/shop", 2),
        ("postgres://ada:a/s3cret@127.0.0.1:1/shop", 2),
        ("postgres://ada:a?s3cret@127.0.0.1:1/shop", 2),
        ("postgres://ada:s3cret", 2),
        ("postgres://ada:s3cret/shop", 2),
        ("postgres://ada%3As3cret%40127.0.0.1:1/shop", 2),
        ("postgres://ada:s3cret@[bad", 2),
        ("Postgres://ada:s3cret@127.0.0.1/shop", 2),
        ("postgres:ada:s3cret@127.0.0.1/shop", 2),
        ("mysql://ada:s3cret@127.0.0.1/shop", 2),
    ];
    for (url, status) in urls {
        let ran = command(&["org", "list", "--database", url], &[]);
        assert_eq!(ran.status, status, "{url}: {}", ran.err);
        assert!(!ran.err.contains("s3cret") && !ran.err.contains("panicked"), "{url}: {}", ran.err);
        if status == 1 {
            let place = ["postgres://127.0.0.1:1/shop", "postgres:///shop?host=127.0.0.1&port=1;"];
            assert!(place.iter().any(|place| ran.err.contains(place)), "{url}: {}", ran.err);
        } else {
            assert!(ran.err.contains("--database"), "{url}: {}", ran.err);
        }
    }
    // Whichever command it is, wherever the URL comes from, however much is logged.
    for url in [urls[0].0, urls[2].0, urls[10].0, urls[13].0, urls[22].0] {
        for args in COMMANDS {
            let given = command(&[args, &["--log", "trace", "--database", url]].concat(), &[]);
            let environment = command(args, &[("KONVERSE_DATABASE", url)]);
            let misplaced = command(&[args, &[url]].concat(), &[]);
            for ran in [given, environment, misplaced] {
                assert_ne!(ran.status, 0);
                assert!(!ran.out.contains("s3cret") && !ran.err.contains("s3cret"), "{args:?}: {}{}", ran.out, ran.err);
            }
        }
    }
    for url in ["mysql://x", "sqlite:", "sqlite::memory:", "postgres:s3cret@x"] {
        let ran = command(&["org", "list", "--database", url], &[]);
        assert_eq!(ran.status, 2, "{}", ran.err);
    }
}

#[test]
fn a_file_that_cannot_be_a_database_is_told_apart() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).to_str().expect("UTF-8").to_owned();
    std::fs::create_dir(path("folder")).expect("a folder");
    command(&["org", "create", "acme", "--database", &format!("sqlite:{}", path("ours.db"))], &[]).ok();
    let mut permissions = std::fs::metadata(path("ours.db")).expect("the file").permissions();
    permissions.set_readonly(true);
    std::fs::set_permissions(path("ours.db"), permissions).expect("it is read-only");
    std::fs::write(path("text.db"), "no database, but long enough to be looked at as one".repeat(40)).expect("a file");
    for (name, says) in [
        ("folder", "is a folder"),
        ("missing/x.db", "there is no folder"),
        ("text.db/x.db", "there is no folder"),
        ("ours.db", "is read-only"),
        ("text.db", "no SQLite database"),
    ] {
        let named = path(name);
        let url = format!("sqlite:{named}");
        for args in COMMANDS {
            let error = command(&[args, &["--database", &url]].concat(), &[]).failed();
            assert!(error.contains(&named) && error.contains(says), "{args:?}: {error}");
        }
        let error = command(&["demo", "--listen", NOWHERE, "--file", &named], &[]).failed();
        assert!(error.contains(&named) && error.contains(says), "{error}");
    }
    assert!(!folder.path().join("missing").exists());
}
