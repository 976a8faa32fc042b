//! Several processes on one database: servers, the command line, an import.

use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::audit::audit;
use crate::client::Client;
use crate::ground::{Engine, Ground, Setting};
use crate::ledger::{Kind, Ledger};
use crate::load::{Absence, lock, write_while, writers};
use crate::process::Server;

pub(crate) const CLAIM: &str = "several servers, an import and the command line share a database: what one wrote all see at once, counts are exact";

/// Clients that write meanwhile.
const WRITERS: usize = 6;

/// Customers of an import, each with two conversations of three messages.
const IMPORTED: (usize, usize) = (60, 2_000);

pub(crate) fn run(setting: &Setting) -> Result<String> {
    let ground = Ground::new(setting)?;
    let counts: &[usize] = match setting.engine {
        Engine::Sqlite => &[2],
        Engine::Postgres => &[2, 3],
    };
    let ledger = Mutex::new(Ledger::default());
    let mut writers = writers(WRITERS);
    let rounds = setting.cycles(15, 500);
    let customers = setting.pick(IMPORTED.0, IMPORTED.1);
    let (mut reads, mut tokens) = (0, 0);
    for (n, count) in counts.iter().enumerate() {
        let servers: Vec<Server> = (0..*count).map(|_| ground.serve(&[])).collect::<Result<_>>()?;
        let mut client = ground.client(&servers[0]);
        lock(&ledger).share(&mut client, 2)?;
        let files = write_files(setting, n, customers)?;
        let client_of = |n: usize| Client::new(servers[n % servers.len()].port, &ground.token);
        write_while(&mut writers, &ledger, client_of, Absence::Breaks, setting.limit, || {
            std::thread::scope(|scope| {
                let import = scope.spawn(|| ground.run_for_org(&["import", &files.display().to_string()]));
                for round in 0..rounds {
                    setting.limit.check()?;
                    reads += read_your_writes(&ground, &servers, round)?;
                    // The command line takes a process each.
                    if round % 5 == 0 {
                        tokens += 1;
                        revoke(&ground, &servers, &format!("token-{n}-{round}"))?;
                    }
                }
                import.join().expect("it does not panic").context("the import")
            })
        })?;
        for server in servers {
            server.stop(Duration::from_secs(40), setting.limit)?;
        }
    }
    let server = ground.serve(&[])?;
    let mut client = ground.client(&server);
    let mut ledger = lock(&ledger);
    ledger.check(&mut client, true)?;
    let counted = audit(&mut client)?;
    // Of each round of servers: what was imported, and what was written to be read.
    let imports = customers * counts.len();
    let made = ledger.ids(Kind::Customer).len() + imports + counts.len() * rounds;
    ensure!(counted.customers == made, "{} customers are there, {made} were acknowledged", counted.customers);
    let made = ledger.ids(Kind::Message).len() + imports * 6 + counts.len() * rounds;
    ensure!(counted.messages == made, "{} messages are there, {made} were acknowledged", counted.messages);
    server.stop(Duration::from_secs(40), setting.limit)?;
    ground.expect_sound()?;
    Ok(format!(
        "{counts:?} servers, {reads} reads of what another one had just written, {tokens} tokens made and revoked, {imports} \
         customers imported; {}; {counted}",
        ledger.figures()
    ))
}

/// What is written by one server is there for each of the others at once, in records, lists and counters, also where they
/// have answered the same before. Gives how often that was looked at.
fn read_your_writes(ground: &Ground, servers: &[Server], round: usize) -> Result<usize> {
    let mut clients: Vec<Client> = servers.iter().map(|server| ground.client(server)).collect();
    let one = round % clients.len();
    let others = |n: usize| (0..servers.len()).filter(move |other| *other != n);
    let customer = clients[one].create("/v1/customers", &json!({ "name": "before" }))?;
    let path = format!("/v1/customers/{}", customer["id"].as_str().context("an id")?);
    let list = format!("{path}/conversations");
    let mut looked = 0;
    // Twice, so that the answers are kept.
    for _ in 0..2 {
        for client in &mut clients {
            ensure!(client.read(&path)?["data"] == customer, "{path} is not as it was created");
            ensure!(client.read(&list)?["data"] == json!([]), "{list} is not empty");
            looked += 2;
        }
    }
    let conversation = clients[one].create(&list, &json!({ "name": "new" }))?;
    for other in others(one) {
        let shown = clients[other].read(&list)?;
        ensure!(
            shown["data"] == json!([conversation]),
            "server {other} does not list what server {one} created: {shown}"
        );
        looked += 1;
    }
    // From one to the next, each on what the one before left.
    let talk = format!("/v1/conversations/{}", conversation["id"].as_str().context("an id")?);
    for n in 0..clients.len() {
        let body = json!({ "name": format!("by {n}"), "status": if n % 2 == 0 { "done" } else { "open" } });
        let reply = clients[n].ask("PATCH", &talk, Some(&body))?;
        ensure!(reply.status == 200, "PATCH {talk} was answered {}: {}", reply.status, reply.body);
        for other in others(n) {
            for (path, pointer) in [(&talk, "/data"), (&list, "/data/0")] {
                let shown = clients[other].read(path)?;
                let same = shown.pointer(pointer) == Some(&reply.body["data"]);
                ensure!(same, "server {other} shows {path} as {shown} after server {n} made it {}", reply.body);
                looked += 1;
            }
        }
    }
    let body = json!({ "channel": "chat", "app": "trials", "direction": "in", "preview": "last" });
    clients[one].create(&format!("{talk}/messages"), &body)?;
    for other in others(one) {
        let shown = clients[other].read(&path)?;
        let (text, counts) =
            (&shown["data"]["attributes"]["preview"]["text"], &shown["data"]["attributes"]["conversationCounts"]);
        ensure!(text == "last" && counts["open"] == 1, "server {other} does not show the message: {shown}");
        looked += 1;
    }
    Ok(looked)
}

/// A token that was just made opens every server, and once revoked opens none.
fn revoke(ground: &Ground, servers: &[Server], name: &str) -> Result<()> {
    let token = ground.create_token(name)?;
    let mut clients: Vec<Client> = servers.iter().map(|server| Client::new(server.port, &token)).collect();
    let mut id = None;
    // Twice, so that it is known everywhere.
    for _ in 0..2 {
        for client in &mut clients {
            let shown = client.read("/v1/auth/tokens/current")?;
            id = shown["data"]["id"].as_str().map(str::to_owned);
            client.read("/v1/customers?pageSize=1")?;
        }
    }
    ground.run_for_org(&["token", "revoke", &id.context("an id")?])?;
    for (n, client) in clients.iter_mut().enumerate() {
        match client.get("/v1/customers?pageSize=1")?.status {
            401 => {}
            status => bail!("server {n} answered {status} to a token that was revoked"),
        }
    }
    Ok(())
}

/// Files of an import whose ids no other round has; their folder.
fn write_files(setting: &Setting, round: usize, customers: usize) -> Result<PathBuf> {
    let folder = setting.work.join(format!("import-{round}"));
    std::fs::create_dir(&folder)?;
    let id = |kind: usize, n: usize| format!("5{kind}{round:02}{n:020x}");
    let mut files: [String; 3] = Default::default();
    let mut add = |file: usize, row: Value| files[file] += &format!("{row}\n");
    for n in 0..customers {
        add(0, json!({ "id": id(1, n), "name": format!("imported {n}") }));
        for talk in 2 * n..2 * n + 2 {
            add(1, json!({ "id": id(2, talk), "customer": id(1, n), "importedAt": "2026-01-01T00:00:00Z" }));
            for message in 3 * talk..3 * talk + 3 {
                add(
                    2,
                    json!({
                        "id": id(3, message), "conversation": id(2, talk), "channel": "email", "app": "trials",
                        "direction": if message % 2 == 0 { "in" } else { "out" }, "preview": "imported",
                        "importedAt": "2026-01-01T00:00:00Z",
                    }),
                );
            }
        }
    }
    for (name, text) in ["customers", "conversations", "messages"].iter().zip(files) {
        std::fs::write(folder.join(format!("{name}.jsonl")), text)?;
    }
    Ok(folder)
}
