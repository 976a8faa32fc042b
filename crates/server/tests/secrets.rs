//! What is logged, and what is never.

mod running;

use std::io::Write;
use std::path::Path;
use std::process::Command;

use konverse_testkit::on_both_engines;
use serde_json::{Value, json};

use running::Running;

/// What people said, who they are, and what lets them in.
const SECRETS: [&str; 12] = [
    "jane.secretly",
    "bob.secretly",
    "5550199887",
    "Veryprivate",
    "crm-private-77",
    "words-of-a-message",
    "words-of-a-note",
    "pass-word-of-nobody",
    "signature-of-nobody",
    "csrf-private",
    "words-of-a-query",
    "line-without-json",
];

/// Runs the program, logging all it can; gives what it answers. All it says besides is added to `log`.
fn command(url: &str, args: &[&str], log: &mut String) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_konverse"));
    let output = command.args(["--log", "trace"]).args(args).args(["--database", url]).env_clear().output();
    let output = output.expect("the program runs");
    *log += &String::from_utf8(output.stderr).expect("UTF-8");
    String::from_utf8(output.stdout).expect("UTF-8").trim().to_owned()
}

/// Sends a request with these headers; gives the status and the body.
fn send(server: &Running, method: &str, path: &str, headers: &str, body: &str) -> (u16, Value) {
    let mut stream = server.connect();
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nhost: konverse\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )
    .expect("it is sent");
    let (status, body) = running::answer(&mut stream);
    (status, serde_json::from_str(&body).unwrap_or(Value::String(body)))
}

on_both_engines!(nothing_of_people_and_no_secret_is_logged_however_much_is, |app| async move {
    let folder = tempfile::tempdir().expect("a folder");
    let url = app.store.url().replacen('@', ":pass-word-of-nobody@", 1);
    let mut log = String::new();
    let token = command(&url, &["token", "create", "--org", "acme", "--name", "x", "--role", "org"], &mut log);
    let server =
        Running::start(folder.path(), &["--log", "trace", "serve", "--listen", "127.0.0.1:0", "--database", &url]);
    let bearer = format!("authorization: Bearer {token}\r\n");
    let post = |path: &str, body: Value| {
        let (status, answer) = send(&server, "POST", path, &bearer, &body.to_string());
        (status, answer["data"]["id"].as_str().unwrap_or_default().to_owned())
    };
    let get = |path: &str| server.get(path, &token).0;

    let jane = json!({
        "name": "Jane Veryprivate", "externalId": "crm-private-77", "emails": [{ "email": "jane.secretly@example.com" }],
        "phones": [{ "phone": "+15550199887" }],
    });
    let (status, customer) = post("/v1/customers", jane.clone());
    assert_eq!((status, post("/v1/customers", jane).0), (201, 409));
    assert_eq!(get("/v1/customers/email=jane.secretly%40example.com"), 200);
    assert_eq!(get("/v1/customers/email=bob.secretly@example.com"), 404);
    assert_eq!(get("/v1/customers/phone=%2B15550199887"), 200);
    assert_eq!(get("/v1/customers/externalId=crm-private-77"), 200);
    assert_eq!(get("/v1/nothing/jane.secretly@example.com"), 404);
    assert_eq!(get("/v1/users?email=bob.secretly@example.com"), 200);
    assert_eq!(get("/v1/customers?filter[createdAt][gte]=words-of-a-query&cursor=words-of-a-query"), 400);
    let (status, conversation) =
        post(&format!("/v1/customers/{customer}/conversations"), json!({ "name": "Veryprivate" }));
    assert_eq!(status, 201);
    let said =
        json!({ "channel": "email", "app": "x", "preview": "words-of-a-message", "meta": { "to": "bob.secretly" } });
    let (status, message) = post(&format!("/v1/conversations/{conversation}/messages"), said);
    assert_eq!(status, 201);
    let path = format!("/v1/messages/{message}");
    assert_eq!(send(&server, "PATCH", &path, &bearer, r#"{"subject":"words-of-a-message"}"#).0, 200);
    assert_eq!(send(&server, "PATCH", &path, &bearer, r#"{"words-of-a-message": "#).0, 400);
    assert_eq!(post(&format!("/v1/conversations/{conversation}/notes"), json!({ "body": "words-of-a-note" })).0, 201);
    assert_eq!(get(&format!("/v1/customers/{customer}/conversations")), 200);
    assert_eq!(send(&server, "GET", &path, "authorization: Bearer eyJh.e30.signature-of-nobody\r\n", "").0, 401);
    let cookies =
        format!("cookie: x-kustomer-auth-token={token}; _csrf=csrf-private\r\nx-csrf-token: csrf-private\r\n");
    assert_eq!(send(&server, "GET", &path, &cookies, "").0, 200);
    assert_eq!(send(&server, "PATCH", &path, &cookies, r#"{"preview":"words-of-a-message"}"#).0, 200);
    assert_eq!(send(&server, &token, &path, &bearer, "").0, 405);
    server.signal("TERM");
    let (status, served) = server.ended();
    assert_eq!(status, Some(0));
    for line in [
        format!("method=other path=\"unknown\" id={message} status=405"),
        format!("method=GET path=\"/v1/customers/{{id}}/conversations\" id={customer} status=200"),
        "method=GET path=\"/v1/customers/email={email}\" status=404".into(),
        "method=GET path=\"unknown\" status=404".into(),
    ] {
        assert!(served.contains(&line), "{line} is not in {served}");
    }

    let file = folder.path().join("customers.jsonl");
    let rows = [
        r#"{"id":"58228e05d4e9671100d00001","name":"Bob Veryprivate","emails":[{"email":"jane.secretly@example.com"}]}"#,
        r#"{"id":"58228e05d4e9671100d00002","name":5,"emails":[{"email":"bob.secretly"}]}"#,
        r#"{"id":"58228e05d4e9671100d00003","phones":"+15550199887","birthdayAt":"Veryprivate"}"#,
        r#"{"id":"58228e05d4e9671100d00004","name":"Bob Veryprivate"}"#,
        r#"{"name":"Jane Veryprivate", line-without-json"#,
    ];
    std::fs::write(&file, rows.join("\n")).expect("a file");
    let file = file.to_str().expect("UTF-8");
    let report = command(&url, &["import", "--org", "acme", file], &mut log);
    assert!(report.starts_with("1 created, 0 already there, 4 refused"), "{report}{log}");
    assert!(
        log.contains("customers.jsonl:1: /emails/0/email ") && log.contains("customers.jsonl:5: is not JSON"),
        "{log}"
    );

    let secret = token.rsplit('.').next().expect("a part");
    for text in [&served, &log] {
        for secret in SECRETS.into_iter().chain([secret]) {
            assert!(!text.contains(secret), "{secret} is in {text}");
        }
    }
});

/// Ways to write a database's URL, right and wrong, with its password in it. Nobody listens at port 1.
const URLS: [&str; 35] = [
    "postgres://ada:PW@127.0.0.1:1/x",
    "postgres:/ada:PW@127.0.0.1:1/x",
    "postgres//ada:PW@db/x",
    "Postgres://ada:PW@db/x",
    "POSTGRESQL://ada:PW@db/x",
    "postgresql:ada:PW@db",
    "postgres;//ada:PW@db/x",
    "postgres:\\\\ada:PW@db/x",
    "postgers://ada:PW@db/x",
    "mysql://ada:PW@db/x",
    "sqlite:ada:PW@db/x",
    "sqlite://ada:PW@db/x",
    "sqlite:postgres://ada:PW@db/x",
    "ada:PW@db/x",
    "//ada:PW@db/x",
    "\"postgres://ada:PW@db/x\"",
    "'sqlite:ada:PW@db'",
    " postgres://ada:PW@db/x",
    "postgres://ada:p PW@127.0.0.1:1/x",
    "postgres://ada:p\"PW@127.0.0.1:1/x",
    "postgres://ada:p'PW@127.0.0.1:1/x",
    "postgres://ada:p\nPW@127.0.0.1:1/x",
    "postgres://ada:p@PW@127.0.0.1:1/x",
    "postgres://ada:p:PW@127.0.0.1:1/x",
    "postgres://ada:p/PW@127.0.0.1:1/x",
    "postgres://ada:p?PW@127.0.0.1:1/x",
    "postgres://ada:p,PW@127.0.0.1:1/x",
    "postgres://ada:%ZZPW@127.0.0.1:1/x",
    "postgres://ada:PW%@127.0.0.1:1/x",
    "postgres://ada:PW@[::1/x",
    "postgres://ada:PW",
    "postgres://ada:PW/x",
    "postgres://127.0.0.1:1/x?user=ada&password=PW",
    "host=127.0.0.1 password=PW",
    "127.0.0.0/8,ada:PW@db/x",
];

/// The program, in a folder of its own: what is taken for a file's name stays there.
fn says(folder: &Path, args: &[&str], environment: &[(&str, &str)]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_konverse"));
    command.current_dir(folder).args(args).env_clear().env("KONVERSE_LOG", "trace");
    let output = command.envs(environment.iter().copied()).output().expect("the program runs");
    [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat()
}

#[test]
fn a_password_is_not_repeated_however_wrong_its_url_and_its_place_are() {
    const PASSWORD: &str = "hunter2tail";
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let fine = "sqlite:fine.db";
    assert!(!says(folder, &["org", "create", "acme", "--database", fine], &[]).contains("error"));
    for url in URLS.map(|url| url.replace("PW", PASSWORD)) {
        let url = url.as_str();
        let (joined, misspelt) = (format!("--database={url}"), format!("--databse={url}"));
        // This address is nobody's: serving ends there.
        let listen = ["--listen", "192.0.2.1:1"];
        let told: [&[&str]; 23] = [
            &["serve", "--database", url, listen[0], listen[1]],
            &["check", "--database", url],
            &["backup", "copy.db", "--force", "--database", url],
            &["restore", "nothing.db", "--database", url],
            &["org", "list", &joined],
            &["token", "list", "--org", "acme", "--database", url],
            &["import", "--org", "acme", "--database", url, "nothing"],
            &["conversations", "jane", "--org", "acme", "--database", url],
            // In a place that is not its own.
            &["check", &misspelt],
            &["check", url],
            &["check", "--database", fine, url],
            &[url],
            &["help", url],
            &["org", "create", url, "--database", fine],
            &["token", "list", "--org", url, "--database", fine],
            &["token", "create", "--org", "acme", "--name", "x", "--role", url, "--database", fine],
            &["import", "--org", "acme", "--database", fine, url],
            &["conversations", url, "--org", "acme", "--database", fine],
            &["backup", url, "--force", "--database", fine],
            &["restore", url, "--database", fine],
            &["demo", "--file", url, listen[0], listen[1]],
            &["serve", "--database", fine, "--trusted-proxy", url],
            &["serve", "--database", fine, "--tls-cert", url, "--tls-key", url],
        ];
        for args in told {
            let said = says(folder, args, &[]);
            assert!(!said.contains(PASSWORD), "{args:?}: {said}");
        }
        for (variable, args) in [
            ("KONVERSE_DATABASE", &["check"][..]),
            ("KONVERSE_DATABASE", &["check", "--help"]),
            ("KONVERSE_ORG", &["check", "--database", fine]),
            ("KONVERSE_ORG", &["check", "--help"]),
        ] {
            let said = says(folder, args, &[(variable, url)]);
            assert!(!said.contains(PASSWORD), "{variable} {args:?}: {said}");
        }
    }
}
