//! `konverse demo`: a made-up org in a local file, the same every time.
//!
//! Its records go in as an import does, with ids that follow from their number, so that a second start finds them all
//! and an interrupted first one is completed.

use std::fs::{self, OpenOptions, Permissions};
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use konverse_api::ApiSettings;
use konverse_domain::{Access, Domain, Ids, ImportKind, ImportRow, Importer, NewToken, Org, RowOutcome, Settings};
use konverse_model::{Clock, Id, Instant};
use serde_json::{Value, json};

use crate::database::{Sizes, open_file};
use crate::edge::Limits;
use crate::search;
use crate::serve::{self, Serving};
use crate::{SystemClock, orgs, system_entropy};

const ORG: &str = "demo";

/// The demo's history begins here; everything in it is a fixed time later.
const BEGINNING: i64 = 1_735_689_600_000; // 2025-01-01T00:00:00Z

const MINUTE: i64 = 60_000;

/// The mode of a file that only its owner may read and write.
const OWNER_ONLY: u32 = 0o600;

/// Conversations of the first customer: enough for several pages.
const MANY: usize = 250;

struct Fixed;

impl Clock for Fixed {
    fn now(&self) -> Instant {
        Instant::from_millis(BEGINNING)
    }
}

/// Serves the demo; `print` is given what to show.
pub(crate) async fn demo(listen: SocketAddr, file: &Path, print: &(dyn Fn(String) + Sync)) -> anyhow::Result<()> {
    let store = open_file(file, Sizes::default())?;
    let domain = Domain::new(store.clone(), Arc::new(SystemClock), Ids::new(system_entropy()), Settings::default());
    let mut folder = file.as_os_str().to_owned();
    folder.push("-search");
    let domain = match search::open(folder.into(), Duration::from_secs(10))? {
        Some(index) => domain.with_search(index),
        None => domain,
    };
    let domain = domain.shared();
    let org = match domain.org_named(ORG).await? {
        Some(org) => org,
        // The same id every time needs the same randomness every time. Nothing secret is made of it.
        None => {
            Domain::new(store, Arc::new(Fixed), Ids::new(Arc::new(|buffer| buffer.fill(0x64))), Settings::default())
                .create_org(ORG)
                .await
                .context("creating the demo org")?
        }
    };
    seed(&domain, &org).await?;
    let token_file = token_file(file);
    keep_token(&domain, &org, &token_file).await?;
    let serving = Serving {
        listen,
        metrics_listen: None,
        drain: Duration::from_secs(5),
        keep_events: None,
        check: true,
        api: ApiSettings::default(),
        limits: Limits::default(),
        tls: None,
    };
    serve::serve(domain, serving, |address| {
        let list = format!("http://{address}/v1/customers/{}/conversations", id("customer", 0));
        print(format!(
            "konverse demo: org {ORG}, data in {}, token in {}\n\nTry a customer's conversations:\n\n  \
             curl -G -d pageSize=3 \\\n    -H \"Authorization: Bearer $(cat {})\" \\\n    {}\n\n\
             What else there is: http://{address}/openapi.json. Stop with Ctrl-C.",
            file.display(),
            token_file.display(),
            for_shell(&operand(&token_file)),
            for_shell(&list),
        ));
    })
    .await
}

/// Where the token is: beside the data, under the same name.
fn token_file(data: &Path) -> PathBuf {
    let file = data.with_extension("token");
    if file == data { data.with_extension("token.token") } else { file }
}

/// Sees to it that the file holds a token that works. Only its owner may read it, since the database keeps only a hash.
async fn keep_token(domain: &Domain, org: &Org, path: &Path) -> anyhow::Result<()> {
    let about = || format!("the token's file {}", path.display());
    if let Ok(token) = fs::read_to_string(path)
        && domain.authenticate(Access { token: token.trim(), address: None, about: None }).await.is_ok()
    {
        return fs::set_permissions(path, Permissions::from_mode(OWNER_ONLY)).with_context(about);
    }
    let roles = ["org.user", "org.admin", "org.permission"].iter().filter_map(|role| role.parse().ok()).collect();
    let new = NewToken { name: "demo".into(), roles, expires_at: None, cidr: None };
    // Before there is a token to lose: the mode below counts only for a file that is new.
    let open = OpenOptions::new().write(true).create(true).truncate(true).mode(OWNER_ONLY).open(path);
    let mut file = open.with_context(about)?;
    file.set_permissions(Permissions::from_mode(OWNER_ONLY)).with_context(about)?;
    let minted = orgs::create_token(domain, org, new).await?;
    writeln!(file, "{}", minted.secret).with_context(about)
}

/// A file's name as a program takes it that would take a leading dash for an option.
fn operand(path: &Path) -> String {
    let name = path.display().to_string();
    if name.starts_with('-') { format!("./{name}") } else { name }
}

/// A word as a shell reads it back.
fn for_shell(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-:,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

async fn seed(domain: &Arc<Domain>, org: &Org) -> anyhow::Result<()> {
    let mut importer = Importer::new(domain, org.id).await?;
    let rows = rows();
    for kind in ImportKind::ALL {
        let read = |row: &Value| kind.read(&row.to_string()).map_err(|error| anyhow::anyhow!("demo row: {}", error.0));
        let of_kind = rows.iter().filter(|(of, _)| *of == kind).map(|(_, row)| read(row));
        let of_kind: Vec<ImportRow> = of_kind.collect::<Result<_, _>>()?;
        for outcome in importer.take(kind, of_kind).await.context("filling the demo org")? {
            if let RowOutcome::Rejected(error) = outcome {
                tracing::warn!("a demo {} row was not taken: {}", kind.name(), error.0);
            }
        }
    }
    Ok(())
}

/// The n-th record's id of a kind.
fn id(kind: &str, n: usize) -> Id {
    let mut random = [0; 8];
    for (slot, byte) in random.iter_mut().zip(kind.bytes()) {
        *slot = byte;
    }
    random[5..].copy_from_slice(&(n as u32).to_be_bytes()[1..]);
    Id::new(at(n as i64 * MINUTE), random)
}

fn at(offset: i64) -> Instant {
    Instant::from_millis(BEGINNING + offset)
}

/// Every record of the demo, as the rows an import would have.
fn rows() -> Vec<(ImportKind, Value)> {
    const AGENTS: [&str; 4] = ["Ada Quist", "Ben Okafor", "Chiara Lindt", "Dev Patel"];
    const TEAMS: [&str; 2] = ["Orders", "Accounts"];
    const TAGS: [&str; 4] = ["delivery", "refund", "login", "praise"];
    const CUSTOMERS: [&str; 8] =
        ["Mara Jansen", "Tomás Vidal", "Aiko Mori", "Nils Berg", "Zoë Carter", "Omar Haddad", "Lea Novak", "Sam Reyes"];
    const CHANNELS: [&str; 3] = ["email", "chat", "sms"];
    const TOPICS: [(&str, &str, &str); 4] = [
        (
            "Where is my parcel?",
            "The tracking page has not moved for three days.",
            "It is at the depot and comes tomorrow.",
        ),
        (
            "Refund for order",
            "I sent the shoes back last week and saw no refund yet.",
            "It was booked today; allow two days.",
        ),
        ("Cannot sign in", "The reset link says it has expired.", "I sent a new one that lasts an hour."),
        ("Thank you", "The replacement arrived early, great service.", "Lovely to hear, thank you for writing."),
    ];
    let mut rows = Vec::new();
    for (n, name) in AGENTS.iter().enumerate() {
        let email = format!("{}@demo.example", name.split(' ').next().unwrap_or_default().to_lowercase());
        rows.push((
            ImportKind::Users,
            json!({ "id": id("user", n), "name": name, "email": email, "createdAt": at(0) }),
        ));
    }
    for (n, name) in TEAMS.iter().enumerate() {
        let members = [id("user", 2 * n), id("user", 2 * n + 1)];
        rows.push((
            ImportKind::Teams,
            json!({ "id": id("team", n), "name": name, "members": members, "createdAt": at(0) }),
        ));
    }
    for (n, name) in TAGS.iter().enumerate() {
        rows.push((ImportKind::Tags, json!({ "id": id("tag", n), "name": name, "createdAt": at(0) })));
    }
    let mut conversation = 0;
    for (n, name) in CUSTOMERS.iter().enumerate() {
        let created = n as i64 * MINUTE;
        rows.push((
            ImportKind::Customers,
            json!({
                "id": id("customer", n), "externalId": format!("demo-customer-{n}"), "name": name,
                "emails": [{ "type": "home", "email": format!("customer{n}@shop.example"), "verified": true }],
                "createdAt": at(created),
            }),
        ));
        let count = if n == 0 { MANY } else { 3 + n };
        for k in 0..count {
            // Spread over the year, each customer's in order.
            let start = created + (k as i64 * 365 * 24 * 60 / count as i64 + 10) * MINUTE;
            let (topic, question, reply) = TOPICS[(n + k) % TOPICS.len()];
            let (agent, team) = ((n + k) % AGENTS.len(), (n + k) % AGENTS.len() / 2);
            let this = id("conv", conversation);
            let done = k + 2 < count;
            rows.push((
                ImportKind::Conversations,
                json!({
                    "id": this, "externalId": format!("demo-conversation-{conversation}"), "customer": id("customer", n),
                    "name": topic, "direction": "in", "status": if done { "done" } else { "open" },
                    "priority": 1 + (n + k) % 5, "tags": [id("tag", (n + k) % TAGS.len())],
                    "assignedUsers": [id("user", agent)], "assignedTeams": [id("team", team)],
                    "custom": { "orderNumberStr": format!("{}", 4400 + conversation) }, "createdAt": at(start),
                }),
            ));
            let texts = [("in", question), ("out", reply), ("in", "Thanks!")];
            for (m, (direction, text)) in texts.iter().take(if done { 3 } else { 1 }).enumerate() {
                let mut message = json!({
                    "id": id("mess", 3 * conversation + m), "externalId": format!("demo-message-{conversation}-{m}"),
                    "conversation": this, "customer": id("customer", n), "channel": CHANNELS[(n + k) % CHANNELS.len()],
                    "app": "demo", "direction": direction, "preview": text,
                    "sentAt": at(start + m as i64 * 17 * MINUTE), "createdAt": at(start + m as i64 * 17 * MINUTE),
                });
                if *direction == "out" {
                    message["createdBy"] = json!(id("user", agent));
                }
                rows.push((ImportKind::Messages, message));
            }
            if k % 5 == 0 {
                rows.push((
                    ImportKind::Notes,
                    json!({
                        "id": id("note", conversation), "externalId": format!("demo-note-{conversation}"),
                        "conversation": this, "body": "Checked the order with the warehouse.",
                        "createdBy": id("user", agent), "createdAt": at(start + 5 * MINUTE),
                    }),
                ));
            }
            conversation += 1;
        }
    }
    rows
}
