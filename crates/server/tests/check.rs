//! `konverse check`: what is as it should be is found so, whatever was done before and is being done meanwhile; what is not
//! is named, mended, and as it should be again.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use konverse_domain::{
    CheckTold, Checked, Domain, Finding, Ids, ImportKind, Importer, Org, Outcome, RowOutcome, Settings,
};
use konverse_jobs::{Blocks, Snoozes};
use konverse_model::{ConversationId, CustomerId, Id, Instant, Kind};
use konverse_store::{Found, FoundEvent, Hidden, List, Part, Scope, Space, Walk};
use konverse_testkit::{Actor, Backend, Interposed, TestApp, from_schema_1, on_both_engines, seeded};
use serde_json::{Value, json};

async fn check(domain: &Arc<Domain>, org: &Org, repair: bool) -> (Checked, Vec<Finding>) {
    let mut findings = Vec::new();
    let mut tell = |told: CheckTold<'_>| {
        if let CheckTold::Finding(finding) = told {
            findings.push(finding.clone());
        }
    };
    let checked = domain.check(org, repair, &mut tell).await.expect("it is done");
    (checked, findings)
}

fn lines(findings: &[Finding]) -> Vec<String> {
    findings.iter().map(ToString::to_string).collect()
}

async fn assert_clean(app: &TestApp, when: &str) -> Checked {
    assert_eq!(app.domain.check_database().await.expect("it is asked"), [], "{when}");
    let (checked, findings) = check(&app.domain, &app.org, false).await;
    assert_eq!(lines(&findings), [""; 0], "{when}");
    checked
}

/// Chance that is the same every time.
struct Dice(konverse_domain::Entropy);

impl Dice {
    fn roll(&self, sides: usize) -> usize {
        let mut bytes = [0; 4];
        (self.0)(&mut bytes);
        u32::from_le_bytes(bytes) as usize % sides
    }

    fn one<'a>(&self, of: &'a [String]) -> &'a str {
        &of[self.roll(of.len())]
    }
}

/// Does a bit of everything that can be done to timelines. What is refused is refused: only what is left counts.
async fn live(app: &TestApp, admin: &Actor, dice: &Dice, steps: usize) {
    let (mut customers, mut conversations, mut messages, mut notes) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for n in 0..4 {
        let body = json!({ "name": format!("Jane {n}"), "emails": [{ "email": format!("Jane{n}@example.com") }],
            "phones": [{ "phone": format!("+49 30 {n}") }], "externalId": format!("c{n}") });
        customers.push(admin.post("/v1/customers", body).await.created_id());
    }
    for step in 0..steps {
        // Often it stands still, so that moments are shared.
        if dice.roll(3) == 0 {
            app.clock.advance(dice.roll(90_000) as i64);
        }
        let sent_at = app.now().plus(-(dice.roll(4) as i64) * 30_000).to_string();
        let customer = dice.one(&customers).to_owned();
        if conversations.len() < 3 || dice.roll(12) == 0 {
            let mut body = json!({ "externalId": format!("v{step}"), "tags": ["late"] });
            if dice.roll(2) == 0 {
                body["name"] = "Parcel".into();
            }
            if dice.roll(4) == 0 {
                body["status"] = "done".into();
                body["importedAt"] = sent_at.clone().into();
            }
            let reply = admin.post(&format!("/v1/customers/{customer}/conversations"), body).await;
            if reply.status == 201 {
                conversations.push(reply.created_id());
            }
            continue;
        }
        let conversation = dice.one(&conversations).to_owned();
        let path = format!("/v1/conversations/{conversation}");
        match dice.roll(14) {
            0..=4 => {
                let mut body = json!({ "channel": (["email", "chat"][dice.roll(2)]), "app": "test", "sentAt": sent_at,
                    "direction": (["in", "out"][dice.roll(2)]), "preview": format!("message {step}"),
                    "meta": { "from": "jane@example.com" }, "externalId": format!("m{step}") });
                if dice.roll(3) == 0 {
                    body["importedAt"] = app.now().to_string().into();
                }
                let reply = admin.post(&format!("{path}/messages"), body).await;
                if reply.status == 201 {
                    messages.push(reply.created_id());
                }
            }
            5 => {
                let body = json!({ "body": "a note", "externalId": format!("n{step}") });
                let reply = admin.post(&format!("{path}/notes"), body).await;
                if reply.status == 201 {
                    notes.push(reply.created_id());
                }
            }
            6 if !notes.is_empty() => {
                let note = format!("/v1/notes/{}", dice.one(&notes));
                let to = dice.one(&conversations);
                let bodies = [json!({ "deleted": true }), json!({ "deleted": false }), json!({ "conversation": to })];
                admin.patch(&note, bodies[dice.roll(3)].clone()).await;
            }
            7 if !messages.is_empty() => {
                let message = format!("/v1/messages/{}", dice.one(&messages));
                let to = dice.one(&conversations);
                let bodies = [
                    json!({ "sentAt": sent_at }),
                    json!({ "preview": "another" }),
                    json!({ "conversation": to }),
                    json!({ "custom": { "aStr": "x" } }),
                ];
                admin.patch(&message, bodies[dice.roll(4)].clone()).await;
            }
            8 => drop(admin.patch(&path, json!({ "status": (["open", "done"][dice.roll(2)]) })).await),
            9 => {
                let until = app.now().plus(60_000).to_string();
                admin.patch(&path, json!({ "snooze": { "status": "scheduled", "time": until } })).await;
            }
            10 => drop(admin.patch(&path, json!({ "customer": customer })).await),
            11 => drop(admin.delete(&path).await),
            12 => drop(admin.patch(&path, json!({ "deleted": false, "name": format!("Back {step}") })).await),
            _ => drop(app.round(&Snoozes(Arc::clone(&app.domain))).await),
        }
        if step == steps / 2 {
            admin.delete(&format!("/v1/customers/{}", customers.swap_remove(0))).await;
        }
    }
}

on_both_engines!(whatever_was_done_is_found_to_be_right, |app| async move {
    let admin = app.admin().await;
    for seed in 0..3 {
        let org = app.domain.create_org(&format!("org-{seed}")).await.expect("it is new");
        let actor = app.actor_of(&org, &["org"]).await;
        live(&app, &actor, &Dice(seeded(seed)), 220).await;
        let (checked, findings) = check(&app.domain, &org, false).await;
        assert_eq!(lines(&findings), [""; 0], "seed {seed}");
        let of = |kind| checked.kinds.get(kind).map_or(0, |tally| tally.checked);
        assert!(of("message") > 30 && of("conversation") > 8 && of("customer") == 4, "{checked:?}");
    }
    // Imports, and more of everything than is read at once.
    let customer = admin.customer().await;
    let long = admin.conversation(&customer, json!({})).await;
    let mut importer = Importer::new(&app.domain, app.org.id).await.expect("it begins");
    let rows = (0..1_203).map(|n| {
        let sent_at = app.now().plus(-7 * (n * 7919 % 1_203) - 1_000);
        let row = json!({ "id": format!("65f0000000000000{n:08x}"), "conversation": long, "channel": "chat", "app": "x",
            "direction": (["in", "out"][(n % 2) as usize]), "preview": "one of many", "sentAt": sent_at,
            "createdAt": app.now().plus(-n) });
        ImportKind::Messages.read(&row.to_string()).expect("a row")
    });
    let outcomes = importer.take(ImportKind::Messages, rows.collect()).await.expect("it is taken");
    assert!(outcomes.iter().all(|outcome| *outcome == RowOutcome::Created), "{:?}", outcomes[0]);
    for n in 0..230 {
        admin.conversation(&customer, json!({ "name": format!("{n}") })).await;
    }
    let blocks = Blocks::of_size(app.store.store(), 16);
    while app.round(&blocks).await.done > 0 {}
    assert_clean(&app, "after an import").await;
});

from_schema_1!(what_an_earlier_release_left_is_right, |place| async move {
    let now = "2026-11-25T00:00:00.000Z".parse().expect("an instant");
    let app =
        TestApp::over_stored(konverse_testkit::TestStore::at(place).await, konverse_testkit::TestClock::at(now)).await;
    assert_clean(&app, "before it is rendered anew").await;
    let rerender = konverse_jobs::Rerender(Arc::clone(&app.domain));
    while app.round(&rerender).await.done > 0 {}
    assert_clean(&app, "after it was rendered anew").await;
});

on_both_engines!(beside_writers_nothing_is_found, |app| async move {
    let admin = app.admin().await;
    let (customer, other) = (admin.customer().await, admin.customer().await);
    let mut conversations = Vec::new();
    for _ in 0..3 {
        conversations.push(admin.conversation(&customer, json!({})).await);
    }
    let stop = Arc::new(AtomicBool::new(false));
    let process = app.other_process().await;
    let writers: Vec<_> = (0..2)
        .map(|n| {
            let (actor, stop) = (if n == 0 { admin.at(&process) } else { app.bearer(&admin.token) }, Arc::clone(&stop));
            let (conversations, customers) = (conversations.clone(), [customer.clone(), other.clone()]);
            tokio::spawn(async move {
                let mut written = 0;
                while !stop.load(Ordering::SeqCst) || written < 40 {
                    let conversation = &conversations[written % 3];
                    let body = json!({ "preview": "hello", "direction": (["in", "out"][written % 2]) });
                    let status = match written % 10 {
                        9 => {
                            let to = &customers[written / 10 % 2];
                            actor
                                .patch(&format!("/v1/conversations/{conversation}"), json!({ "customer": to }))
                                .await
                                .status
                        }
                        4 => {
                            let path = format!("/v1/conversations/{conversation}");
                            let gone = actor.delete(&path).await.status;
                            if gone == 204 {
                                actor.patch(&path, json!({ "deleted": false })).await.status
                            } else {
                                gone
                            }
                        }
                        _ => {
                            let mut message = json!({ "channel": "email", "app": "test" });
                            message.as_object_mut().expect("an object").extend(body.as_object().expect("one").clone());
                            actor.post(&format!("/v1/conversations/{conversation}/messages"), message).await.status
                        }
                    };
                    assert!(status.is_success() || status == 404, "{status}");
                    written += 1;
                }
            })
        })
        .collect();
    let teams = {
        let (actor, stop) = (app.bearer(&admin.token), Arc::clone(&stop));
        let user = admin.post("/v1/users", json!({ "name": "Ada", "email": "ada@example.com" })).await.created_id();
        tokio::spawn(async move {
            let mut made = 0;
            while made < 20 || made < 100 && !stop.load(Ordering::SeqCst) {
                let body = json!({ "name": format!("Team {made}"), "members": [user] });
                actor.post("/v1/teams", body).await.created_id();
                actor.post("/v1/tags", json!({ "name": format!("tag-{made}") })).await.created_id();
                made += 1;
            }
        })
    };
    for _ in 0..5 {
        let (_, findings) = check(&app.domain, &app.org, false).await;
        assert_eq!(lines(&findings), [""; 0]);
        // Where nothing is wrong nothing is mended.
        let (_, findings) = check(&app.domain, &app.org, true).await;
        assert_eq!(lines(&findings), [""; 0]);
    }
    stop.store(true, Ordering::SeqCst);
    for writer in writers.into_iter().chain([teams]) {
        writer.await.expect("it ends");
    }
    assert_clean(&app, "after them").await;
});

/// A small world of which every part is known.
struct World {
    admin: Actor,
    customer: String,
    other: String,
    conversation: String,
    second: String,
    messages: Vec<String>,
    note: String,
    user: String,
    team: String,
    tag: String,
    token: Id,
}

impl World {
    async fn new(app: &TestApp) -> Self {
        let admin = app.admin().await;
        let body = json!({ "name": "Jane Doe", "emails": [{ "email": "jane@example.com" }] });
        let customer = admin.post("/v1/customers", body).await.created_id();
        let other = admin.customer().await;
        let conversation = admin.conversation(&customer, json!({ "externalId": "order-1" })).await;
        let mut messages = Vec::new();
        for n in 0..4 {
            app.clock.advance(1_000);
            let body = json!({ "preview": format!("words {n}"), "direction": (["in", "out"][n % 2]) });
            messages.push(admin.message(&conversation, body).await);
        }
        let body = json!({ "conversation": conversation, "body": "a note" });
        let note = admin.post("/v1/notes", body).await.created_id();
        app.clock.advance(1_000);
        let second = admin.conversation(&customer, json!({ "name": "Second" })).await;
        let until = app.now().plus(3_600_000).to_string();
        let snooze = json!({ "snooze": { "status": "scheduled", "time": until } });
        admin.patch(&format!("/v1/conversations/{second}"), snooze).await.ok();
        let user = admin.post("/v1/users", json!({ "name": "Ada", "email": "ada@example.com" })).await.created_id();
        let team = admin.post("/v1/teams", json!({ "name": "Blue", "members": [user] })).await.created_id();
        let tag = admin.post("/v1/tags", json!({ "name": "late" })).await.created_id();
        let new = konverse_domain::NewToken {
            name: "reader".into(),
            roles: vec!["org.permission.conversation.read".parse().expect("a role")],
            expires_at: None,
            cidr: None,
        };
        let token = app.domain.create_token(&app.org, new).await.expect("a token").id.0;
        // As if it were long.
        let place = app.store.place();
        let (org, scope) = (place.id(&app.org.id.to_string()), place.id(&conversation));
        place.run(&format!("INSERT INTO block_due (org, list, scope) VALUES ({org}, 8, {scope})")).await;
        let blocks = Blocks::of_size(app.store.store(), 2);
        while app.round(&blocks).await.done > 0 {}
        Self { admin, customer, other, conversation, second, messages, note, user, team, tag, token }
    }

    /// What the API answers of it, without what every change moves.
    async fn answers(&self) -> Vec<Value> {
        let mut answers = Vec::new();
        for path in [
            format!("/v1/customers/{}", self.customer),
            "/v1/customers/email=jane%40example.com".to_owned(),
            format!("/v1/customers/{}/conversations", self.customer),
            format!("/v1/customers/{}/conversations?page=3&pageSize=1", self.customer),
            format!("/v1/customers/{}/conversations", self.other),
            "/v1/conversations/externalId=order-1".to_owned(),
            format!("/v1/conversations/{}/messages", self.conversation),
            "/v1/messages?page=4&pageSize=1".to_owned(),
            format!("/v1/messages/{}", self.messages[1]),
            format!("/v1/notes/{}", self.note),
            format!("/v1/users/{}", self.user),
            format!("/v1/users/{}/teams", self.user),
            format!("/v1/teams/{}", self.team),
            format!("/v1/tags/{}", self.tag),
            "/v1/customers?pageSize=1".to_owned(),
        ] {
            let mut answer = self.admin.get(&path).await.json();
            still(&mut answer);
            answers.push(answer);
        }
        answers
    }
}

/// Takes out what moves whenever a record is stored.
fn still(value: &mut Value) {
    match value {
        Value::Object(members) => {
            for name in ["rev", "updatedAt"] {
                members.shift_remove(name);
            }
            members.values_mut().for_each(still);
        }
        Value::Array(all) => all.iter_mut().for_each(still),
        _ => {}
    }
}

/// A damage: what is done, what must be said of it.
struct Damage {
    sql: String,
    named: String,
}

/// What follows from something else, by the attributes that show it.
const DERIVED: [(&str, &[&str]); 3] = [
    (
        "conversation",
        &[
            "name",
            "preview",
            "channels",
            "direction",
            "messageCount",
            "inboundMessageCount",
            "outboundMessageCount",
            "noteCount",
            "firstMessageIn",
            "lastMessageIn",
            "firstMessageOut",
            "lastMessageOut",
            "lastMessageAt",
            "lastMessageDirection",
            "lastReceivedAt",
            "lastMessageUnrespondedTo",
            "lastMessageUnrespondedToSinceLastDone",
            "firstResponse",
            "firstResponseSinceLastDone",
            "lastResponse",
            "lastActivityAt",
        ],
    ),
    (
        "customer",
        &[
            "displayName",
            "displayColor",
            "displayIcon",
            "firstName",
            "lastName",
            "lastMessageIn",
            "lastMessageOut",
            "lastMessageAt",
            "lastMessageUnrespondedTo",
            "lastConversation",
            "conversationCounts/all",
            "conversationCounts/open",
            "conversationCounts/snoozed",
            "conversationCounts/done",
            "progressiveStatus",
            "preview",
        ],
    ),
    ("message", &["directionType", "responseTime", "responseBusinessTime"]),
];

/// Another value than this one of an attribute; where there is none, such as one may be.
fn spoilt(value: &Value, one: &Value) -> Value {
    match value {
        Value::Null => one.clone(),
        Value::Bool(is) => (!is).into(),
        Value::Number(number) => (number.as_i64().expect("an integer") + 7).into(),
        Value::String(text) => match text.as_str() {
            "in" => "out".into(),
            "out" => "in".into(),
            "open" => "done".into(),
            "response-out" => "initial-out".into(),
            text if text.parse::<Instant>().is_ok() => "2001-01-01T00:00:00.000Z".into(),
            _ => "spoilt".into(),
        },
        Value::Array(all) if all.is_empty() => json!(["spoilt"]),
        Value::Array(_) => json!([]),
        Value::Object(members) => {
            let mut members = members.clone();
            let can_be = |(name, value): &(&String, &mut Value)| *name != "id" && **value != json!([]);
            if let Some((_, member)) = members.iter_mut().find(can_be) {
                *member = spoilt(member, one);
            }
            members.into()
        }
    }
}

/// One damage for each attribute that follows from something else.
async fn derived(app: &TestApp, world: &World) -> Vec<Damage> {
    let place = app.store.place();
    let mut damages = Vec::new();
    for (kind, names) in DERIVED {
        let id = match kind {
            "conversation" => &world.conversation,
            "customer" => &world.customer,
            _ => &world.messages[1],
        };
        let row = place.id(id);
        let stored = place.rows(&format!("SELECT doc FROM {kind} WHERE id = {row}")).await.remove(0);
        let doc: Value = serde_json::from_str(stored["doc"].as_str().expect("a text")).expect("a document");
        let mark = match kind {
            "message" => json!(5),
            _ => doc["attributes"]["lastMessageIn"].clone(),
        };
        assert!(!mark.is_null());
        for name in names {
            let mut doc = doc.clone();
            let mut attribute = &mut doc["attributes"];
            for part in name.split('/') {
                attribute = &mut attribute[part];
            }
            *attribute = spoilt(attribute, &mark);
            let sql = format!("UPDATE {kind} SET doc = '{doc}' WHERE id = {row}");
            let attribute = name.split('/').next().expect("a name");
            damages.push(Damage { sql, named: format!("{kind} {id}: {attribute} is ") });
        }
    }
    damages
}

/// One damage for each column beside each kind of text, and for what each text says of its org.
fn columns(app: &TestApp, world: &World) -> Vec<Damage> {
    let place = app.store.place();
    let token = world.token.to_string();
    let mut damages = Vec::new();
    for (kind, id) in [
        ("customer", &world.customer),
        ("conversation", &world.conversation),
        ("message", &world.messages[1]),
        ("note", &world.note),
        ("user", &world.user),
        ("team", &world.team),
        ("tag", &world.tag),
        ("auth_token", &token),
    ] {
        let table = if ["user", "team", "tag", "auth_token"].contains(&kind) { "record" } else { kind };
        let mut changes =
            vec![("created_at", "created_at = created_at - 5"), ("updated_at", "updated_at = updated_at - 5")];
        // The directory's texts show none: there the column is all there is.
        if table != "record" {
            changes.push(("rev", "rev = rev + 7"));
        }
        match kind {
            "conversation" => changes.extend([("external_id", "external_id = 'x'"), ("wake_at", "wake_at = 5")]),
            "message" | "note" => changes.push(("external_id", "external_id = 'x'")),
            _ if table == "record" => changes.push(("label", "label = 'x'")),
            _ => {}
        }
        for (column, change) in changes {
            let sql = format!("UPDATE {table} SET {change} WHERE id = {}", place.id(id));
            damages.push(Damage { sql, named: format!("{kind} {id}: the column {column} is ") });
        }
        let (org, nobody) = (app.org.id.to_string(), "00000000000000000000beef");
        let sql = format!("UPDATE {table} SET doc = replace(doc, '{org}', '{nobody}') WHERE id = {}", place.id(id));
        damages.push(Damage { sql, named: format!("{kind} {id}: org is {nobody}, should be {org}") });
    }
    damages
}

fn damages(app: &TestApp, world: &World) -> Vec<Damage> {
    let place = app.store.place();
    let (customer, other, conversation, second) =
        (place.id(&world.customer), place.id(&world.other), place.id(&world.conversation), place.id(&world.second));
    let message = |n: usize| place.id(&world.messages[n]);
    let (note, org, user) = (place.id(&world.note), place.id(&app.org.id.to_string()), place.id(&world.user));
    let (team, nobody) = (place.id(&world.team), place.id("00000000000000000000beef"));
    let (token, tag) = (place.id(&world.token.to_string()), place.id(&world.tag));
    let replace = |table: &str, id: &str, from: &str, to: &str| {
        format!("UPDATE {table} SET doc = replace(doc, '{from}', '{to}') WHERE id = {id}")
    };
    let damage = |sql: String, named: &str| Damage { sql, named: named.to_owned() };
    vec![
        damage(
            replace("conversation", &conversation, r#""messageCount":4"#, r#""messageCount":9"#),
            "conversation {conversation}: messageCount is 9, should be 4",
        ),
        damage(
            replace("conversation", &conversation, r#""noteCount":1"#, r#""noteCount":0"#),
            "conversation {conversation}: noteCount is 0, should be 1",
        ),
        damage(
            replace("conversation", &conversation, r#""channels":["email"]"#, r#""channels":[]"#),
            "conversation {conversation}: channels is [], should be [a text of 5 characters]",
        ),
        damage(
            format!("UPDATE conversation SET state = NULL WHERE id = {conversation}"),
            "conversation {conversation}: what is kept beside its text is not what",
        ),
        damage(
            format!("UPDATE conversation SET state = NULL WHERE id = {second}"),
            "conversation {second}: what is kept beside its text is not what",
        ),
        damage(
            replace("message", &message(1), r#""directionType":"response-out""#, r#""directionType":"initial-out""#),
            "message {message}: directionType is initial-out, should be response-out",
        ),
        damage(
            replace("customer", &customer, r#""conversationCounts":{"all":2"#, r#""conversationCounts":{"all":5"#),
            "customer {customer}: conversationCounts is {all 5, open 1, snoozed 1, done 0}, should be {all 2,",
        ),
        damage(
            replace("customer", &customer, r#""progressiveStatus":"open""#, r#""progressiveStatus":"done""#),
            "customer {customer}: progressiveStatus is done, should be open",
        ),
        damage(
            replace("customer", &customer, r#""text":"words 3""#, r#""text":"other""#),
            "customer {customer}: preview is {previewAt",
        ),
        damage(
            replace("customer", &customer, r#""firstName":"Jane""#, r#""firstName":"Joan""#),
            "customer {customer}: firstName is a text of 4 characters",
        ),
        damage(
            format!("UPDATE message SET hidden = 2 WHERE id = {}", message(1)),
            "message {message}: it is WithConversation, should be No",
        ),
        damage(
            format!("UPDATE note SET hidden = 4 WHERE id = {note}"),
            "note {note}: it is WithCustomer, should be No",
        ),
        damage(
            format!("UPDATE conversation SET hidden = 4 WHERE id = {second}"),
            "conversation {second}: it is WithCustomer, should be No",
        ),
        damage(
            format!("UPDATE message SET customer = {other} WHERE id = {}", message(1)),
            "message {message}: the column customer is {other}, should be {customer}",
        ),
        damage(
            replace("message", &message(1), &world.customer, &world.other),
            "message {message}: customer is {other}, should be {customer}",
        ),
        damage(
            replace("note", &note, &world.conversation, &world.second),
            "note {note}: conversation is {second}, should be {conversation}",
        ),
        damage(
            format!("UPDATE conversation SET created_at = created_at - 5 WHERE id = {second}"),
            "conversation {second}: the column created_at is",
        ),
        damage(
            format!("UPDATE conversation SET updated_at = updated_at - 5 WHERE id = {second}"),
            "conversation {second}: the column updated_at is",
        ),
        damage(
            format!("UPDATE customer SET rev = rev + 7 WHERE id = {customer}"),
            "customer {customer}: the column rev is",
        ),
        damage(
            format!("UPDATE conversation SET wake_at = NULL WHERE id = {second}"),
            "conversation {second}: the column wake_at is nothing, should be 2026",
        ),
        damage(
            format!("UPDATE conversation SET external_id = NULL WHERE id = {conversation}"),
            "conversation {conversation}: the column external_id is nothing, should be a text of 7 characters",
        ),
        damage(format!("UPDATE record SET label = 'machine' WHERE id = {user}"), "user {user}: the column label is"),
        damage(
            replace("message", &message(1), r#"{"type":"message""#, r#"{"type":"massage""#),
            "message {message}: the text is of another form, should be as it is rendered",
        ),
        damage(
            format!("DELETE FROM identifier WHERE owner = {customer}"),
            "customer {customer}: a name (customer.email) is free, should be held",
        ),
        damage(
            format!(
                "INSERT INTO identifier (org, space, value, owner) VALUES ({org}, 'customer.phone', '+1', {customer})"
            ),
            "customer {customer}: a name (customer.phone) is held, should be free",
        ),
        damage(
            format!("INSERT INTO identifier (org, space, value, owner) VALUES ({org}, 'tag.name', 'gone', {nobody})"),
            "name 00000000000000000000beef: a name (tag.name) is kept of a record that is not there",
        ),
        damage(
            format!("UPDATE identifier SET owner = {other} WHERE owner = {customer}"),
            // Held by the other, or free already: the other is looked at beside.
            "customer {customer}: a name (customer.email) is ",
        ),
        damage(
            format!("UPDATE identifier SET owner = {nobody} WHERE owner = {customer}"),
            "customer {customer}: a name (customer.email) is held by 00000000000000000000beef, should be held",
        ),
        damage(
            format!("UPDATE identifier SET owner = {nobody} WHERE owner = {user}"),
            "user {user}: a name (user.email) is held by 00000000000000000000beef, should be held",
        ),
        damage(
            format!("UPDATE identifier SET space = 'customer.emial' WHERE owner = {customer}"),
            "name {customer}: its space is none there is, should be one there is",
        ),
        damage(
            format!("UPDATE identifier SET space = 'customer.phone' WHERE owner = {customer}"),
            "customer {customer}: a name (customer.phone) is held, should be free",
        ),
        damage(
            format!("UPDATE identifier SET space = 'tag.name' WHERE owner = {customer}"),
            "name {customer}: a name (tag.name) is kept of a record that is not there",
        ),
        damage(
            format!("DELETE FROM identifier WHERE owner = {user}"),
            "user {user}: a name (user.email) is free, should be held",
        ),
        damage(
            format!("DELETE FROM membership WHERE team = {team}"),
            "team {team}: the membership of user {user} is missing, should be kept",
        ),
        damage(
            format!("INSERT INTO membership (org, user_id, team) VALUES ({org}, {nobody}, {team})"),
            "team {team}: the membership of user 00000000000000000000beef is kept, should be gone",
        ),
        damage(
            format!("INSERT INTO membership (org, user_id, team) VALUES ({org}, {user}, {nobody})"),
            "membership 00000000000000000000beef: of user {user} is kept of a record that is not there",
        ),
        damage(
            format!("UPDATE conversation SET state = '{{}}' WHERE id = {conversation}"),
            "conversation {conversation}: what is kept beside its text is not what",
        ),
        damage(
            replace("customer", &customer, &world.conversation, &world.second),
            "customer {customer}: lastConversation is {id {second}",
        ),
        damage(
            replace("conversation", &conversation, &world.customer, &world.other),
            "conversation {conversation}: customer is {other}, should be {customer}",
        ),
        damage(
            format!("UPDATE note SET customer = {other} WHERE id = {note}"),
            "note {note}: the column customer is {other}, should be {customer}",
        ),
        damage(
            format!("UPDATE note SET hidden = 2 WHERE id = {note}"),
            "note {note}: it is WithConversation, should be No",
        ),
        damage(
            format!("UPDATE message SET hidden = 4 WHERE id = {}", message(1)),
            "message {message}: it is WithCustomer, should be No",
        ),
        damage(
            format!("UPDATE identifier SET value = 'elsewhere@example.com' WHERE owner = {customer}"),
            "customer {customer}: a name (customer.email) is held, should be free",
        ),
        damage(
            format!("DELETE FROM identifier WHERE owner = {team}"),
            "team {team}: a name (team.name) is free, should be held",
        ),
        damage(
            format!("DELETE FROM identifier WHERE owner = {tag}"),
            "tag {tag}: a name (tag.name) is free, should be held",
        ),
        damage(
            format!(
                "INSERT INTO identifier (org, space, value, owner) VALUES ({org}, 'customer.email', 'gone', {nobody})"
            ),
            "name 00000000000000000000beef: a name (customer.email) is kept of a record that is not there",
        ),
        damage(
            format!("UPDATE credential SET user_id = {user} WHERE token = {token}"),
            "auth_token {token}: the user it lets in is {user}, should be ",
        ),
        damage(
            format!("UPDATE credential SET cidr = '10.0.0.0/8' WHERE token = {token}"),
            "auth_token {token}: where it lets in from is another, should be as its record says",
        ),
        damage(
            format!("UPDATE credential SET expires_at = 5 WHERE token = {token}"),
            "auth_token {token}: until when it lets in is 1970-01-01T00:00:00.005Z, should be nothing",
        ),
        damage(
            format!(
                "INSERT INTO credential (hash, org, token, user_id, roles, cidr, expires_at) \
                 SELECT {}, {org}, {nobody}, {user}, 'org', NULL, NULL",
                place.id("00000000000000000000beef").replace("beef", &"beef".repeat(11))
            ),
            "credential 00000000000000000000beef: it is kept of a record that is not there",
        ),
        damage(
            format!("UPDATE credential SET roles = 'org' WHERE token = {token}"),
            "auth_token {token}: what it lets do is org, should be org.permission.conversation.read",
        ),
        damage(
            format!("UPDATE tally SET amount = amount + 5 WHERE org = {org} AND slot = (SELECT max(slot) FROM tally)"),
            "tally customers: it is 7, should be 2",
        ),
        damage(
            format!("UPDATE block SET n = n + 3 WHERE org = {org} AND list = 3"),
            "counted list of messages of the org {org}: the block from",
        ),
        damage(
            format!("UPDATE block SET n = n - 1 WHERE scope = {conversation} AND rows_before = 2"),
            "counted list of messages of conversation {conversation}: the block from",
        ),
        damage(
            format!("DELETE FROM block WHERE scope = {conversation} AND rows_before = 0"),
            "counted list of messages of conversation {conversation}: the block from",
        ),
        damage(
            format!(
                "INSERT INTO block (org, list, scope, at, n, rows_before) VALUES ({org}, 8, {conversation}, 7, 1, 0)"
            ),
            "counted list of messages of conversation {conversation}: the block from",
        ),
        damage(
            format!("INSERT INTO block_change (org, list, scope, at, lane, n) VALUES ({org}, 6, {customer}, 7, 0, 1)"),
            "counted list of messages of customer {customer}: the block from 7 is 1, should be 0",
        ),
        damage(
            format!("UPDATE block SET rows_before = rows_before + 1 WHERE scope = {conversation}"),
            "counted list of messages of conversation {conversation}: the block from",
        ),
        damage(
            format!("INSERT INTO block_change (org, list, scope, at, lane, n) VALUES ({org}, 2, {org}, 7, 0, 2)"),
            "counted list of conversations of the org {org}: the block from 7 is 2, should be 0",
        ),
        damage(
            format!(
                "UPDATE lane SET at = (SELECT max(e.at) FROM event e WHERE e.org = lane.org AND e.lane = lane.n) - 500 \
                WHERE org = {org} AND n = (SELECT max(n) FROM lane WHERE seq > 0 AND org = {org})"
            ),
            ": its newest moment is",
        ),
        damage(
            format!("UPDATE lane SET gone = seq WHERE org = {org} AND seq > 0"),
            ": the number up to which its events are gone is",
        ),
        damage(
            format!("UPDATE lane SET gone = seq + 7 WHERE org = {org} AND seq > 0"),
            ": the number up to which its events are gone is",
        ),
        damage(
            format!("DELETE FROM event WHERE object = {} AND verb = 'create'", message(1)),
            ": what comes before event",
        ),
        // What was mended so says that what lies before the gap is gone, though it is there.
        damage(
            format!("UPDATE lane SET gone = seq WHERE org = {org} AND seq > 0"),
            ": the number up to which its events are gone is",
        ),
        damage(
            format!(
                "DELETE FROM lane WHERE org = {org} AND n = (SELECT max(n) FROM lane WHERE seq > 0 AND org = {org})"
            ),
            ": the number of its newest event is 0, should be",
        ),
        // Last, since what is mended then says that no event before is kept.
        damage(
            format!(
                "UPDATE lane SET seq = seq + 3 WHERE org = {org} AND n = (SELECT max(n) FROM lane WHERE seq > 0 AND org = {org})"
            ),
            ": the number of its newest event is",
        ),
    ]
}

impl World {
    fn named(&self, app: &TestApp, named: &str) -> String {
        let mut text = named.to_owned();
        for (name, id) in [
            ("customer", &self.customer),
            ("other", &self.other),
            ("conversation", &self.conversation),
            ("second", &self.second),
            ("message", &self.messages[1]),
            ("note", &self.note),
            ("user", &self.user),
            ("team", &self.team),
            ("tag", &self.tag),
            ("token", &self.token.to_string()),
            ("org", &app.org.id.to_string()),
        ] {
            text = text.replace(&format!("{{{name}}}"), id);
        }
        text
    }
}

on_both_engines!(every_damage_is_named_and_mended, |app| async move {
    let world = World::new(&app).await;
    let (checked, before) = (assert_clean(&app, "at first").await, world.answers().await);
    assert_eq!(checked.remaining(), 0);
    let all = [derived(&app, &world).await, columns(&app, &world), damages(&app, &world)];
    for Damage { sql, named } in all.into_iter().flatten() {
        app.store.place().run(&sql).await;
        let named = world.named(&app, &named);
        let (checked, findings) = check(&app.domain, &app.org, false).await;
        let said = lines(&findings);
        assert!(said.iter().any(|line| line.contains(&named)), "{sql}: {said:#?}");
        assert!(findings.iter().all(|finding| finding.outcome == Outcome::Found), "{sql}: {said:#?}");
        assert_eq!(checked.remaining(), findings.len() as u64);
        for word in ["words", "jane", "a note", "Jane", "Joan"] {
            assert!(!said.iter().any(|line| line.contains(word)), "{said:?}");
        }
        let (checked, findings) = check(&app.domain, &app.org, true).await;
        let said = lines(&findings);
        assert!(said.iter().any(|line| line.contains(&named) && line.ends_with("(mended)")), "{sql}: {said:#?}");
        assert_eq!(checked.remaining(), 0, "{sql}: {said:#?}");
        assert_clean(&app, &sql).await;
        let blocks = Blocks::of_size(app.store.store(), 2);
        while app.round(&blocks).await.done > 0 {}
        assert_eq!(world.answers().await, before, "{sql}");
        assert_clean(&app, &sql).await;
    }
});

on_both_engines!(what_cannot_be_mended_is_said_and_ends_nothing, |app| async move {
    let world = World::new(&app).await;
    let place = app.store.place();
    let (message, lost) = (place.id(&world.messages[2]), place.id("00000000000000000000beef"));
    let unreadable = |table: &str, id: &str| {
        let row = place.id(id);
        (
            format!("UPDATE {table} SET doc = 'x' || doc WHERE id = {row}"),
            format!("UPDATE {table} SET doc = substr(doc, 2) WHERE id = {row}"),
            format!("{table} {id}: the text is not readable"),
        )
    };
    let nowhere = |table: &str, id: &str| {
        let row = place.id(id);
        (
            format!("UPDATE {table} SET hidden = 9 WHERE id = {row}"),
            format!("UPDATE {table} SET hidden = 0 WHERE id = {row}"),
            format!("{table} {id}: the row is unreadable (its column hidden cannot be read"),
        )
    };
    // Only SQLite takes anything into any column.
    let any = |table: &str, id: &str, column: &str, junk: &str, why: &str| {
        let row = place.id(id);
        let kind = if id == world.team { "team" } else { table };
        let column_of = format!("(SELECT {column} FROM kept_{table} k WHERE k.id = {table}.id)");
        (
            format!("UPDATE {table} SET {column} = {junk} WHERE id = {row}"),
            format!("UPDATE {table} SET {column} = {column_of} WHERE id = {row}"),
            format!("{kind} {id}: the row is unreadable (its column {column} cannot be read: {why})"),
        )
    };
    let mut anything = Vec::new();
    if place.backend() == Backend::Sqlite {
        for (table, id) in [
            ("customer", &world.other),
            ("conversation", &world.conversation),
            ("conversation", &world.second),
            ("message", &world.messages[2]),
            ("note", &world.note),
            ("record", &world.team),
        ] {
            place.run(&format!("CREATE TABLE IF NOT EXISTS kept_{table} AS SELECT * FROM {table}")).await;
            for junk in ["'x'", "-1", "3", "0.5", "x'00'"] {
                let why = match junk {
                    "0.5" => "a real number where none is kept",
                    "x'00'" => "an id is not 12 bytes",
                    _ => "it is nothing that belongs there",
                };
                anything.push(any(table, id, "hidden", junk, why));
            }
            anything.push(any(table, id, "created_at", "'x'", "it is nothing that belongs there"));
            anything.push(any(table, id, "doc", "CAST(doc AS BLOB)", "it is no text"));
            anything.push(any(table, id, "doc", "CAST(x'ff' AS TEXT)", "a text is not UTF-8"));
        }
    }
    let another = place.id(&world.messages[1]);
    let seq = place.number(&format!("SELECT seq FROM event WHERE object = {message}")).await;
    let told = |column: &str, junk: &str, was: &str| {
        let set = |value: &str| format!("UPDATE event SET {column} = {value} WHERE object = {message}");
        (set(junk), set(was), format!("event {seq} of lane "), format!("it is unreadable (its column {column} "))
    };
    let mut events = vec![
        told("verb", "'junk'", "'create'"),
        told("kind", "'junk'", "'message'"),
        told("changes", "'{'", "NULL"),
        told("changes", "'junk'", "NULL"),
        told("changes", "'[]'", "NULL"),
        told("changes", "'{} junk'", "NULL"),
    ];
    if place.backend() == Backend::Sqlite {
        events.extend([told("changes", "x'7b7d'", "NULL"), told("actor", "'junk'", "NULL")]);
        let at = place.number(&format!("SELECT at FROM event WHERE object = {message}")).await;
        events.push(told("at", "'junk'", &at.to_string()));
    }
    for (harm, undo, event, named) in events {
        place.run(&harm).await;
        for repair in [false, true] {
            let (checked, findings) = check(&app.domain, &app.org, repair).await;
            let said = lines(&findings);
            assert!(said[0].starts_with(&event) && said[0].contains(&named), "{harm}: {said:#?}");
            assert!(said[0].ends_with("(cannot be mended: nothing else has what stood there)"), "{said:#?}");
            assert!(!said[0].contains("junk"), "{said:#?}");
            assert_eq!((said.len(), checked.remaining()), (1, 1), "{harm}: {said:#?}");
        }
        place.run(&undo).await;
        assert_clean(&app, &harm).await;
    }
    let cases = [
        unreadable("message", &world.messages[2]),
        unreadable("note", &world.note),
        nowhere("message", &world.messages[2]),
        nowhere("note", &world.note),
        unreadable("conversation", &world.second),
        unreadable("conversation", &world.conversation),
        unreadable("customer", &world.other),
        (
            format!(
                "UPDATE message SET doc = replace(doc, '{}', '{}') WHERE id = {another}",
                world.messages[1], world.note
            ),
            format!(
                "UPDATE message SET doc = replace(doc, '{}', '{}') WHERE id = {another}",
                world.note, world.messages[1]
            ),
            format!("message {}: the id in the text is {}, should be", world.messages[1], world.note),
        ),
        (
            format!("UPDATE message SET conversation = {lost} WHERE id = {message}"),
            format!("UPDATE message SET conversation = {} WHERE id = {message}", place.id(&world.conversation)),
            format!("message {}: what it belongs to is missing", world.messages[2]),
        ),
        nowhere("conversation", &world.conversation),
        nowhere("conversation", &world.second),
        nowhere("customer", &world.other),
        (
            format!("UPDATE credential SET token = {lost} WHERE token = {}", place.id(&world.token.to_string())),
            format!("UPDATE credential SET token = token WHERE token = {lost}"),
            format!("auth_token {}: its credential is missing, should be kept", world.token),
        ),
    ];
    let texts = async || {
        let mut texts = Vec::new();
        for table in ["customer", "conversation", "message", "note"] {
            texts.extend(place.rows(&format!("SELECT CAST(doc AS text) AS doc FROM {table} ORDER BY id")).await);
        }
        texts.extend(place.rows("SELECT value FROM identifier ORDER BY value").await);
        texts.extend(place.rows("SELECT count(*) AS n FROM membership").await);
        texts
    };
    for (harm, undo, named) in anything.into_iter().chain(cases) {
        place.run(&harm).await;
        // Something that can be mended, in the same customer.
        place.run("UPDATE tally SET amount = amount + 1 WHERE slot = (SELECT max(slot) FROM tally)").await;
        let before = texts().await;
        let (checked, findings) = check(&app.domain, &app.org, true).await;
        let said = lines(&findings);
        assert!(said.iter().any(|line| line.contains(&named) && line.contains("cannot be mended")), "{said:#?}");
        assert!(said.iter().any(|line| line.starts_with("tally")), "{said:#?}");
        assert!(checked.remaining() > 0, "{checked:?}");
        assert!(!said.iter().any(|line| line.starts_with("database")), "all was looked at: {said:#?}");
        // What belongs to a row that cannot be read is not looked at.
        let is_looked_at = !named.starts_with(&format!("conversation {}: the row", world.conversation));
        assert!(!is_looked_at || checked.kinds["message"].checked >= 3, "the others were looked at: {checked:?}");
        // What follows from something that cannot be read is not known, and so nothing is made of the rest.
        if named.contains("text") || named.contains("unreadable") {
            assert_eq!(texts().await, before, "{harm}");
        }
        if !named.contains("credential") {
            place.run(&undo).await;
            check(&app.domain, &app.org, true).await;
            assert_clean(&app, &harm).await;
        }
    }
});

on_both_engines!(rows_of_an_org_that_is_gone_are_named_and_kept, |app| async move {
    let world = World::new(&app).await;
    let place = app.store.place();
    let (org, lost) = (place.id(&app.org.id.to_string()), place.id("00000000000000000000beef"));
    // Each table that has an org; a table that comes later and is not looked at would be missing here.
    let sql = match place.backend() {
        Backend::Sqlite => {
            "SELECT m.name AS t FROM sqlite_master m, pragma_table_info(m.name) c \
            WHERE m.type = 'table' AND c.name = 'org' ORDER BY m.name"
        }
        Backend::Postgres => {
            "SELECT CAST(table_name AS text) AS t FROM information_schema.columns \
            WHERE column_name = 'org' AND table_schema = current_schema() ORDER BY 1"
        }
    };
    let tables: Vec<String> =
        place.rows(sql).await.iter().map(|row| row["t"].as_str().expect("a name").to_owned()).collect();
    assert!(tables.len() >= 16, "{tables:?}");
    place
        .run(&format!(
            "INSERT INTO trouble (job, org, item, attempts, retry_at, reason) VALUES ('x', {org}, {org}, 1, 1, 'x')"
        ))
        .await;
    place.run(&format!("INSERT INTO follower (name, org, position) VALUES ('x', {org}, '1')")).await;
    place
        .run(&format!("INSERT INTO assignment (org, kind, owner, role_group) VALUES ({org}, 1, {lost}, {lost})"))
        .await;
    place.run(&format!("INSERT INTO password (org, user_id, hash) VALUES ({org}, {lost}, 'x')")).await;
    place.run(&format!("INSERT INTO network (org, user_id, prefix, at) VALUES ({org}, {lost}, 'x', 1)")).await;
    place.run(&format!("INSERT INTO block_due (org, list, scope) VALUES ({org}, 8, {lost})")).await;
    place
        .run(&format!("INSERT INTO block_change (org, list, scope, at, lane, n) VALUES ({org}, 8, {lost}, 1, 0, 1)"))
        .await;
    for table in tables {
        assert_eq!(app.domain.check_orgs().await.expect("it is asked"), [], "{table}");
        let count = format!("SELECT count(*) FROM {table}");
        let rows = place.number(&count).await;
        place.run(&format!("UPDATE {table} SET org = {lost} WHERE org = {org}")).await;
        let said = lines(&app.domain.check_orgs().await.expect("it is asked"));
        let line = format!(
            "org 00000000000000000000beef: its rows in the table {table} is kept of an org that is not there, \
             should be gone, or the org there (cannot be mended: nothing says which of the two)"
        );
        assert_eq!(said, [line], "{table}");
        assert_eq!(place.number(&count).await, rows, "none is deleted");
        place.run(&format!("UPDATE {table} SET org = {org} WHERE org = {lost}")).await;
    }
    drop(world);
    let sql = format!("INSERT INTO tally (org, name, slot, amount) VALUES ({lost}, 'customers', 1, 1)");
    place.run(&sql).await;
    let output = Command::new(env!("CARGO_BIN_EXE_konverse"))
        .args(["check", "--repair", "--database", &app.store.url()])
        .env_clear()
        .output()
        .expect("it runs");
    assert_eq!(output.status.code(), Some(4));
    assert_eq!(place.number(&format!("SELECT count(*) FROM tally WHERE org = {lost}")).await, 1);
});

on_both_engines!(parts_go_on_where_they_end, |app| async move {
    let world = World::new(&app).await;
    let (place, store, org) = (app.store.place(), app.store.store(), app.org.id);
    let (lost, of) = (place.id("00000000000000000000beef"), place.id(&org.to_string()));
    let conversation = ConversationId(world.conversation.parse().expect("an id"));
    let customer = CustomerId(world.customer.parse().expect("an id"));
    let walks = [
        (Walk::Conversations(customer, Hidden::No), None),
        (Walk::Entries(Kind::Message, conversation), None),
        (Walk::Entries(Kind::Note, conversation), None),
        (Walk::All(Kind::Customer), None),
        (Walk::All(Kind::User), None),
    ];
    let whole: Vec<Part> = store.walk(org, &walks, 1_000, usize::MAX).await.expect("they are read");
    assert_eq!(whole.iter().map(|part| part.rows.len()).collect::<Vec<_>>()[..4], [2, 4, 1, 2]);
    assert!(whole.iter().all(|part| part.next.is_none()));
    let length = |found: &Found| if let Found::Row(row) = found { row.doc.len() } else { 0 };
    let of_two = length(&whole[1].rows[0]) + length(&whole[1].rows[1]);
    for (limit, bytes) in [(1, usize::MAX), (3, usize::MAX), (1_000, 1), (1_000, of_two), (1_000, of_two + 1), (2, 1)] {
        let (mut open, mut read) = (walks.to_vec(), vec![Vec::new(); walks.len()]);
        while !open.is_empty() {
            let parts = store.walk(org, &open, limit, bytes).await.expect("they are read");
            let rows: Vec<&Found> = parts.iter().flat_map(|part| &part.rows).collect();
            let held: usize = rows.iter().map(|found| length(found)).sum();
            let last = rows.last().map_or(0, |found| length(found));
            assert!(held - last < bytes, "only the last row may come to the bytes");
            assert!(parts.iter().all(|part| part.rows.len() <= limit as usize));
            let mut further = Vec::new();
            for ((walk, _), part) in open.into_iter().zip(parts) {
                let n = walks.iter().position(|(one, _)| *one == walk).expect("one of them");
                read[n].extend(part.rows);
                further.extend(part.next.map(|next| (walk, Some(next))));
            }
            open = further;
        }
        let rows: Vec<&Vec<Found>> = whole.iter().map(|part| &part.rows).collect();
        assert_eq!(read.iter().collect::<Vec<_>>(), rows, "{limit} rows, {bytes} bytes");
    }

    for n in 0..5 {
        let sql =
            format!("INSERT INTO identifier (org, space, value, owner) VALUES ({of}, 'tag.name', 'n{n}', {lost})");
        place.run(&sql).await;
    }
    let strays = format!(
        "UPDATE message SET conversation = {lost} WHERE id IN ({}, {})",
        place.id(&world.messages[1]),
        place.id(&world.messages[3])
    );
    place.run(&strays).await;
    for limit in [1, 2, 1_000] {
        let (mut names, mut after) = (Vec::new(), Some(String::new()));
        while let Some(from) = after {
            let (some, next) = store.lost_names(org, Space::TagName, &from, limit).await.expect("they are read");
            assert!(some.len() <= limit as usize);
            names.extend(some.into_iter().map(|(value, _)| value));
            after = next;
        }
        assert_eq!(names, ["n0", "n1", "n2", "n3", "n4"], "{limit}");
        let (mut strays, mut after) = (Vec::new(), None);
        loop {
            let (some, next) = store.strays(org, Kind::Message, after, limit).await.expect("they are read");
            strays.extend(some.into_iter().map(|id| id.to_string()));
            after = next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(strays, [&*world.messages[1], &world.messages[3]], "{limit}");
    }

    // Events, of which some have changes.
    let lane = store.lanes(org).await.expect("they are read").into_iter().max_by_key(|lane| lane.seq).expect("one");
    let all = store.found_events(org, lane.lane, 0, 1_000, usize::MAX).await.expect("they are read");
    assert_eq!(all.len() as i64, lane.seq);
    let size =
        |found: &FoundEvent| found.event.as_ref().map_or(0, |event| event.changes.as_ref().map_or(0, String::len));
    assert!(all.iter().any(|found| size(found) > 0));
    for (limit, bytes) in [(1, usize::MAX), (2, 1), (1_000, 1), (1_000, 300), (3, 300)] {
        let mut read = Vec::new();
        loop {
            let after = read.last().map_or(0, |found: &FoundEvent| found.seq);
            let some = store.found_events(org, lane.lane, after, limit, bytes).await.expect("they are read");
            let Some((_, before)) = some.split_last() else { break };
            assert!(some.len() <= limit as usize && before.iter().map(size).sum::<usize>() < bytes, "{limit} {bytes}");
            read.extend(some);
        }
        assert_eq!(read, all, "{limit} events, {bytes} bytes");
    }

    // A list of blocks, one of which is wrong by itself, and so is what the next one says lies before it.
    let list = List::of(Kind::Message, Scope::Conversation(conversation));
    let blocks = format!("SELECT count(*) FROM block WHERE scope = {}", place.id(&world.conversation));
    assert!(place.number(&blocks).await >= 2);
    for limit in [1, 2, 1_000] {
        let (mut wrong, mut after, mut parts) = (Vec::new(), None, 0);
        loop {
            let (some, next) = store.wrong_blocks(org, &list, after, limit).await.expect("they are read");
            wrong.extend(some);
            parts += 1;
            after = next;
            if after.is_none() {
                break;
            }
        }
        // Two messages lie elsewhere by now, one of each block.
        assert_eq!(wrong.iter().map(|block| block.kept - block.counted).sum::<i64>(), 2, "{limit}: {wrong:?}");
        assert!(limit > 2 || parts >= 2, "{parts}");
    }
    let (mut lists, mut after) = (Vec::new(), None);
    while let Some(next) = store.next_counted(org, after).await.expect("they are read") {
        lists.push(next.0);
        after = Some(next);
    }
    assert!(lists.is_sorted() && [1, 2, 3, 4, 8].iter().all(|number| lists.contains(number)), "{lists:?}");
});

on_both_engines!(large_rows_are_held_a_few_at_a_time, |app| async move {
    const MIB: usize = 1 << 20;
    let admin = app.admin().await;
    let customer = admin.customer().await;
    let mut conversations = Vec::new();
    for _ in 0..6 {
        conversations.push(admin.conversation(&customer, json!({})).await);
    }
    let mut importer = Importer::new(&app.domain, app.org.id).await.expect("it begins");
    // A conversation of ten megabytes, and five that have one large message each.
    let rows = (0..45).map(|n: usize| {
        let row = json!({ "id": format!("65f0000000000000{n:08x}"), "conversation": conversations[n.saturating_sub(39)],
            "channel": "chat", "app": "x", "direction": "in", "preview": "hello",
            "sentAt": app.now().plus(-(n as i64 * 7919 % 45) - 1_000), "createdAt": app.now().plus(-(n as i64)),
            "meta": { "body": "x".repeat(if n < 40 { MIB / 4 } else { MIB }) } });
        ImportKind::Messages.read(&row.to_string()).expect("a row")
    });
    let outcomes = importer.take(ImportKind::Messages, rows.collect()).await.expect("they are taken");
    assert!(outcomes.iter().all(|outcome| *outcome == RowOutcome::Created), "{outcomes:?}");
    let store = Interposed::new(app.store.store());
    let domain = Domain::new(store.clone(), app.clock.clone(), Ids::new(seeded(5)), Settings::default()).shared();
    let (checked, findings) = check(&domain, &app.org, false).await;
    assert_eq!(lines(&findings), [""; 0]);
    assert_eq!(checked.kinds["message"].checked, 45);
    let most = store.most_read();
    assert!((3 * MIB..7 * MIB).contains(&most), "{most}");
    // Those of the long conversation are read again, since they were not held.
    assert_eq!(store.looked_up(), 40);
    // All of them are wrong, and mended in several changes.
    app.store.place().run("UPDATE message SET rev = rev + 1").await;
    let (checked, findings) = check(&domain, &app.org, true).await;
    assert_eq!((checked.remaining(), findings.len()), (0, 45), "{:#?}", lines(&findings));
    assert!(store.applied() > 2, "{}", store.applied());
    let (read, written) = (store.most_read(), store.most_written());
    assert!(read < 7 * MIB && written < 13 * MIB, "{read}, {written}");
    assert_clean(&app, "after it was mended").await;
});

on_both_engines!(who_is_written_to_without_pause_is_counted_and_not_accused, |app| async move {
    let world = World::new(&app).await;
    let place = app.store.place();
    let customer = place.id(&world.customer);
    place.run(&format!("UPDATE conversation SET rev = rev + 1 WHERE customer = {customer}")).await;
    for repair in [false, true] {
        let store = Interposed::new(app.store.store());
        let domain = Domain::new(store.clone(), app.clock.clone(), Ids::new(seeded(5)), Settings::default()).shared();
        store.never_rest();
        let (checked, findings) = check(&domain, &app.org, repair).await;
        assert_eq!((checked.unsettled, lines(&findings)), (1, Vec::new()), "{repair}");
        assert_eq!(store.applied(), 0);
    }
    // Others are always faster: the database refuses whatever is written to a customer.
    let (refuse, take) = match place.backend() {
        Backend::Sqlite => (
            "CREATE TRIGGER busy BEFORE UPDATE ON customer BEGIN SELECT RAISE(IGNORE); END".to_owned(),
            "DROP TRIGGER busy",
        ),
        Backend::Postgres => (
            "CREATE FUNCTION busy() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'; \
             CREATE TRIGGER busy BEFORE UPDATE ON customer FOR EACH ROW EXECUTE FUNCTION busy()"
                .to_owned(),
            "DROP TRIGGER busy ON customer; DROP FUNCTION busy()",
        ),
    };
    let run = || {
        Command::new(env!("CARGO_BIN_EXE_konverse"))
            .args(["check", "--repair", "--database", &app.store.url()])
            .env_clear()
            .output()
            .expect("it runs")
    };
    place.run(&refuse).await;
    let (checked, findings) = check(&app.domain, &app.org, true).await;
    assert_eq!(
        (checked.unsettled, lines(&findings)),
        (1, Vec::new()),
        "what is theirs is mended with them or not at all"
    );
    let output = run();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(4), "{said}");
    assert!(
        said.contains("1 customers were written to without pause") && said.contains("nothing else differs"),
        "{said}"
    );
    place.run(take).await;
    let output = run();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stdout));
    assert_clean(&app, "after they rested").await;
});

on_both_engines!(blocks_of_every_list_are_mended_in_one_pass, |app| async move {
    let world = World::new(&app).await;
    let place = app.store.place();
    let mut importer = Importer::new(&app.domain, app.org.id).await.expect("it begins");
    let rows = (0..200).map(|n: i64| {
        let row = json!({ "id": format!("65f0000000000000{n:08x}"), "conversation": world.conversation, "channel": "chat",
            "app": "x", "direction": "in", "preview": "hello", "createdAt": app.now().plus(-n - 1_000) });
        ImportKind::Messages.read(&row.to_string()).expect("a row")
    });
    importer.take(ImportKind::Messages, rows.collect()).await.expect("they are taken");
    let scope = place.id(&world.conversation);
    let of = place.id(&app.org.id.to_string());
    place
        .run(&format!(
            "INSERT INTO block_due (org, list, scope) SELECT {of}, 8, {scope} WHERE NOT EXISTS \
        (SELECT 1 FROM block_due WHERE scope = {scope})"
        ))
        .await;
    let count = async || {
        let blocks = Blocks::of_size(app.store.store(), 2);
        while app.round(&blocks).await.done > 0 {}
        place.number(&format!("SELECT count(*) FROM block WHERE scope = {scope}")).await
    };
    // More than are looked at at once.
    assert!(count().await > 70);
    assert_clean(&app, "counted").await;
    let before = world.answers().await;
    // The newest block of each list alone, which the last part comes to; then all of them.
    for (sql, named) in [
        (
            "UPDATE block SET n = n + 1 WHERE at = (SELECT max(b.at) FROM block b WHERE b.list = block.list AND b.scope = block.scope)",
            5,
        ),
        ("UPDATE block SET n = n + 1, rows_before = rows_before + 3", 5),
        ("UPDATE block_change SET n = n + 1", 0),
        ("DELETE FROM block WHERE rows_before = 2", 3),
    ] {
        place.run(sql).await;
        let lists: std::collections::BTreeSet<String> =
            check(&app.domain, &app.org, false).await.1.into_iter().map(|finding| finding.id).collect();
        assert!(lists.len() >= named, "{sql}: {lists:?}");
        let (checked, _) = check(&app.domain, &app.org, true).await;
        assert_eq!(checked.remaining(), 0, "{sql}");
        assert_clean(&app, sql).await;
        assert!(count().await > 70);
        assert_eq!(world.answers().await, before, "{sql}");
        assert_clean(&app, sql).await;
    }
});

on_both_engines!(what_a_revocation_takes_away_is_not_put_back, |app| async move {
    let world = World::new(&app).await;
    let place = app.store.place();
    let (org, token) = (place.id(&app.org.id.to_string()), place.id(&world.token.to_string()));
    place.run(&format!("UPDATE credential SET roles = 'org' WHERE token = {token}")).await;
    let store = Interposed::new(app.store.store());
    let domain = Domain::new(store.clone(), app.clock.clone(), Ids::new(seeded(5)), Settings::default()).shared();
    let (revoking, of) = (Arc::clone(&app.domain), app.org.clone());
    let id = konverse_model::TokenId(world.token);
    store.before_apply(async move { revoking.revoke_token(&of, id).await.expect("it is revoked") }).await;
    check(&domain, &app.org, true).await;
    assert_eq!(store.conflicts(), 1, "the mend came too late");
    let left = place.number(&format!("SELECT count(*) FROM credential WHERE org = {org} AND token = {token}")).await;
    assert_eq!(left, 0, "nobody is let in by it");
    assert_clean(&app, "after it").await;
});

on_both_engines!(names_of_what_is_hidden_are_nobodys, |app| async move {
    let world = World::new(&app).await;
    world.admin.delete(&format!("/v1/customers/{}", world.customer)).await;
    assert_clean(&app, "a deleted customer holds no name").await;
    // Somebody else has it now, and keeps it.
    let body = json!({ "name": "Jane", "emails": [{ "email": "jane@example.com" }] });
    let heir = world.admin.post("/v1/customers", body).await.created_id();
    let (_, findings) = check(&app.domain, &app.org, true).await;
    assert_eq!(lines(&findings), [""; 0]);
    let found = world.admin.get("/v1/customers/email=jane%40example.com").await.ok();
    assert_eq!(found["data"]["id"], heir.as_str());
    // A name that a deleted one holds is free again.
    let place = app.store.place();
    let (heir, customer) = (place.id(&heir), place.id(&world.customer));
    place.run(&format!("UPDATE identifier SET owner = {customer} WHERE owner = {heir}")).await;
    let (checked, _) = check(&app.domain, &app.org, true).await;
    assert_eq!(checked.remaining(), 0);
    assert_clean(&app, "after it was mended").await;
    assert_eq!(world.admin.get("/v1/customers/email=jane%40example.com").await.ok(), found);
});

on_both_engines!(who_was_deleted_is_what_the_sequence_tells, |app| async move {
    let world = World::new(&app).await;
    let place = app.store.place();
    let before = world.answers().await;
    let hide =
        |table: &str, id: &str, code: u8| format!("UPDATE {table} SET hidden = {code} WHERE id = {}", place.id(id));
    // Only a column says that they were deleted: nothing is hidden along, nothing forgotten.
    for (table, id, part) in [
        ("customer", &world.customer, &world.conversation),
        ("conversation", &world.conversation, &world.messages[0]),
        ("note", &world.note, &world.note),
        ("record", &world.user, &world.user),
    ] {
        place.run(&hide(table, id, 1)).await;
        let (checked, findings) = check(&app.domain, &app.org, true).await;
        let kind = if table == "record" { "user" } else { table };
        let line = format!(
            "{kind} {id}: it is Deleted, should be No, or an event there that tells of it \
             (cannot be mended: nothing says which of the two)"
        );
        assert!(lines(&findings).contains(&line), "{:#?}", lines(&findings));
        assert!(checked.remaining() > 0);
        if id != part {
            assert_eq!(place.number("SELECT count(*) FROM message WHERE hidden <> 0").await, 0, "{table}");
        }
        place.run(&hide(table, id, 0)).await;
        let (checked, findings) = check(&app.domain, &app.org, true).await;
        assert_eq!(checked.remaining(), 0, "{:#?}", lines(&findings));
        let blocks = Blocks::of_size(app.store.store(), 2);
        while app.round(&blocks).await.done > 0 {}
        assert_eq!(world.answers().await, before, "{table}");
        assert_clean(&app, table).await;
    }
    // The sequence says that it was restored, and that they were deleted.
    let path = format!("/v1/conversations/{}", world.conversation);
    world.admin.delete(&path).await;
    world.admin.patch(&path, json!({ "deleted": false })).await.ok();
    assert_clean(&app, "restored").await;
    place.run(&hide("conversation", &world.conversation, 1)).await;
    let (checked, findings) = check(&app.domain, &app.org, true).await;
    let line = format!("conversation {}: it is Deleted, should be No (mended)", world.conversation);
    assert!(lines(&findings).contains(&line) && checked.remaining() == 0, "{:#?}", lines(&findings));
    assert_clean(&app, "shows again").await;
    assert_eq!(world.admin.get(&format!("{path}/messages")).await.ids().len(), 4);
    // Of what was hidden and showed along with it nothing is known.
    place.run(&hide("note", &world.note, 1)).await;
    let (checked, findings) = check(&app.domain, &app.org, true).await;
    let line = format!("note {}: it is Deleted, should be No, or an event there", world.note);
    assert!(lines(&findings).iter().any(|one| one.starts_with(&line)), "{:#?}", lines(&findings));
    assert!(checked.remaining() > 0);
    place.run(&hide("note", &world.note, 0)).await;
    check(&app.domain, &app.org, true).await;
    assert_clean(&app, "as before").await;
    world.admin.delete(&path).await;
    place.run(&hide("conversation", &world.conversation, 0)).await;
    let (checked, findings) = check(&app.domain, &app.org, true).await;
    let line = format!("conversation {}: it is No, should be Deleted (mended)", world.conversation);
    assert!(lines(&findings).contains(&line) && checked.remaining() == 0, "{:#?}", lines(&findings));
    assert_eq!(world.admin.get(&path).await.status, 404);
    world.admin.delete(&format!("/v1/customers/{}", world.customer)).await;
    place.run(&hide("customer", &world.customer, 0)).await;
    let (checked, findings) = check(&app.domain, &app.org, true).await;
    let line = format!("customer {}: it is No, should be Deleted (mended)", world.customer);
    assert!(lines(&findings).contains(&line) && checked.remaining() == 0, "{:#?}", lines(&findings));
    assert_clean(&app, "deleted").await;
    // Events of that time are gone: then what belongs to it says whether it can be.
    for lane in 0..16 {
        app.store
            .store()
            .forget(app.org.id, lane, app.now().plus(1_000_000), 10_000)
            .await
            .expect("they are forgotten");
    }
    assert_clean(&app, "without events").await;
    let id = world.admin.conversation(&world.other, json!({})).await;
    world.admin.message(&id, json!({ "direction": "in" })).await;
    let body = json!({ "emails": [{ "email": "named@example.com" }] });
    let named = world.admin.post("/v1/customers", body).await.created_id();
    for lane in 0..16 {
        app.store
            .store()
            .forget(app.org.id, lane, app.now().plus(1_000_000), 10_000)
            .await
            .expect("they are forgotten");
    }
    place.run(&hide("customer", &world.other, 1)).await;
    let (_, findings) = check(&app.domain, &app.org, true).await;
    let line = format!("customer {}: it is Deleted, should be No, or", world.other);
    assert!(lines(&findings).iter().any(|one| one.starts_with(&line)), "{:#?}", lines(&findings));
    assert_eq!(
        place.number(&format!("SELECT count(*) FROM conversation WHERE id = {} AND hidden = 0", place.id(&id))).await,
        1
    );
    place.run(&hide("customer", &world.other, 0)).await;
    check(&app.domain, &app.org, true).await;
    // So do a message that shows, and a name that is held.
    for (table, id) in [("conversation", &id), ("customer", &named)] {
        place.run(&hide(table, id, 1)).await;
        let (_, findings) = check(&app.domain, &app.org, true).await;
        let line = format!("{table} {id}: it is Deleted, should be No, or");
        assert!(lines(&findings).iter().any(|one| one.starts_with(&line)), "{:#?}", lines(&findings));
        assert_eq!(place.number("SELECT count(*) FROM message WHERE hidden = 0").await, 1, "{table}");
        place.run(&hide(table, id, 0)).await;
        check(&app.domain, &app.org, true).await;
        assert_clean(&app, table).await;
    }
});

// What is moved goes on in another lane, which may be read first.
on_both_engines!(the_last_deletion_counts_in_whichever_lane_it_is, |app| async move {
    let world = World::new(&app).await;
    for (from, to) in [(&world.customer, &world.other), (&world.other, &world.customer)] {
        let path = format!("/v1/conversations/{}", world.admin.conversation(from, json!({})).await);
        world.admin.delete(&path).await;
        world.admin.patch(&path, json!({ "deleted": false })).await.ok();
        world.admin.patch(&path, json!({ "customer": to })).await.ok();
        assert_clean(&app, "restored and moved").await;
        world.admin.delete(&path).await;
        assert_clean(&app, "moved and deleted").await;
    }
});

on_both_engines!(a_deleted_note_stays_with_whom_it_was, |app| async move {
    let world = World::new(&app).await;
    let (note, conversation) =
        (format!("/v1/notes/{}", world.note), format!("/v1/conversations/{}", world.conversation));
    world.admin.patch(&note, json!({ "deleted": true })).await.ok();
    world.admin.patch(&conversation, json!({ "customer": world.other })).await.ok();
    assert_clean(&app, "deleted, and its conversation moved").await;
    world.admin.patch(&note, json!({ "deleted": false })).await.ok();
    assert_clean(&app, "restored").await;
});

on_both_engines!(a_name_that_two_say_is_theirs_is_left_to_people, |app| async move {
    let world = World::new(&app).await;
    let place = app.store.place();
    let (customer, other) = (place.id(&world.customer), place.id(&world.other));
    let sql = format!(
        "UPDATE customer SET doc = (SELECT replace(c.doc, '{}', '{}') FROM customer c WHERE c.id = {customer}) WHERE id = {other}",
        world.customer, world.other
    );
    place.run(&sql).await;
    let (checked, findings) = check(&app.domain, &app.org, true).await;
    let named = format!("customer {}: a name (customer.email) is held by {}", world.other, world.customer);
    assert!(lines(&findings).iter().any(|line| line.starts_with(&named) && line.contains("both say it is theirs")));
    assert_eq!(checked.remaining(), 1, "{:#?}", lines(&findings));
});

// The name is taken from one who does not say it is theirs, unless they say so by then.
on_both_engines!(a_name_that_its_holder_is_given_meanwhile_is_left, |app| async move {
    let app = Arc::new(app);
    let world = World::new(&app).await;
    let place = app.store.place();
    // So many that the last is looked at after the first is mended.
    let mut other = String::new();
    for _ in 0..12 {
        other = world.admin.customer().await;
    }
    let (customer, holder) = (place.id(&world.customer), place.id(&other));
    place.run(&format!("UPDATE identifier SET owner = {holder} WHERE owner = {customer}")).await;
    let store = Interposed::new(app.store.store());
    let domain = Domain::new(store.clone(), app.clock.clone(), Ids::new(seeded(5)), Settings::default()).shared();
    let given = format!(
        "UPDATE customer SET turn = turn + 1, doc = (SELECT replace(c.doc, '{}', '{}') FROM customer c \
         WHERE c.id = {customer}) WHERE id = {holder}",
        world.customer, other
    );
    let beside = Arc::clone(&app);
    store.before_apply(async move { beside.store.place().run(&given).await }).await;
    check(&domain, &app.org, true).await;
    assert!(store.conflicts() >= 1, "the mend came too late");
    let held = format!("SELECT count(*) FROM identifier WHERE owner = {holder}");
    assert_eq!(place.number(&held).await, 1, "who held it says it is theirs");
});

on_both_engines!(a_deleted_record_says_nothing_of_names, |app| async move {
    let world = World::new(&app).await;
    let place = app.store.place();
    // So many that the last is looked at after the first is mended.
    let body = json!({ "name": "Jane", "emails": [{ "email": "jane2@example.com" }] });
    let mut last = String::new();
    for n in 0..12 {
        last = match n {
            11 => world.admin.post("/v1/customers", body.clone()).await.created_id(),
            _ => world.admin.customer().await,
        };
    }
    world.admin.delete(&format!("/v1/customers/{last}")).await;
    let (customer, last) = (place.id(&world.customer), place.id(&last));
    for sql in [
        format!("UPDATE customer SET doc = replace(doc, 'jane2@example.com', 'jane@example.com') WHERE id = {last}"),
        format!("UPDATE identifier SET owner = {last} WHERE owner = {customer}"),
    ] {
        place.run(&sql).await;
    }
    let (checked, findings) = check(&app.domain, &app.org, true).await;
    assert_eq!(checked.remaining(), 0, "{:#?}", lines(&findings));
    let found = world.admin.get("/v1/customers/email=jane%40example.com").await.ok();
    assert_eq!(found["data"]["id"], world.customer.as_str());
    assert_clean(&app, "after it was mended").await;
});

// A difference is told where it is, and not what would follow if it were right.
on_both_engines!(a_hidden_message_is_one_difference, |app| async move {
    let world = World::new(&app).await;
    for hidden in [1, 2, 4] {
        let message = app.store.place().id(&world.messages[1]);
        app.store.place().run(&format!("UPDATE message SET hidden = {hidden} WHERE id = {message}")).await;
        let (_, findings) = check(&app.domain, &app.org, false).await;
        let kinds: Vec<&str> =
            findings.iter().map(|finding| finding.kind).filter(|kind| *kind != "counted list").collect();
        assert_eq!(kinds, ["message"], "{:#?}", lines(&findings));
        let (checked, _) = check(&app.domain, &app.org, true).await;
        assert_eq!(checked.remaining(), 0);
    }
    // The customer shows the newest message, whatever the conversation takes for it.
    let conversation = app.store.place().id(&world.conversation);
    app.store.place().run(&format!("UPDATE conversation SET state = NULL WHERE id = {conversation}")).await;
    let (_, findings) = check(&app.domain, &app.org, false).await;
    let kinds: Vec<&str> = findings.iter().map(|finding| finding.kind).collect();
    assert_eq!(kinds, ["conversation"], "{:#?}", lines(&findings));
    check(&app.domain, &app.org, true).await;
    assert_clean(&app, "after it was mended").await;
});

on_both_engines!(more_than_is_kept_is_counted_and_mended, |app| async move {
    let admin = app.admin().await;
    let customer = admin.customer().await;
    let conversation = admin.conversation(&customer, json!({})).await;
    let mut importer = Importer::new(&app.domain, app.org.id).await.expect("it begins");
    let rows = (0..2_100).map(|n: i64| {
        let row = json!({ "id": format!("65f0000000000000{n:08x}"), "conversation": conversation, "channel": "chat",
            "app": "x", "direction": "in", "createdAt": app.now().plus(-n - 1_000) });
        ImportKind::Messages.read(&row.to_string()).expect("a row")
    });
    importer.take(ImportKind::Messages, rows.collect()).await.expect("they are taken");
    app.store.place().run("UPDATE message SET rev = rev + 1").await;
    let (_, findings) = check(&app.domain, &app.org, false).await;
    assert_eq!(findings.len(), 2_001);
    assert!(lines(&findings)[2_000].contains("100 more is not as it should be"), "{}", lines(&findings)[2_000]);
    let store = Interposed::new(app.store.store());
    let domain = Domain::new(store.clone(), app.clock.clone(), Ids::new(seeded(5)), Settings::default()).shared();
    let (checked, findings) = check(&domain, &app.org, true).await;
    assert_eq!((checked.remaining(), findings.len(), store.applied()), (0, 2_100, 5));
    assert_clean(&app, "after it was mended").await;
});

on_both_engines!(what_does_not_stay_mended_is_said_and_left, |app| async move {
    let world = World::new(&app).await;
    let sql = match app.store.place().backend() {
        Backend::Sqlite => {
            "CREATE TRIGGER spoil AFTER UPDATE ON message BEGIN UPDATE message SET rev = rev + 1 WHERE id = NEW.id; END"
        }
        Backend::Postgres => {
            "CREATE FUNCTION spoil() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.rev = NEW.rev + 1; RETURN NEW; END'; \
             CREATE TRIGGER spoil BEFORE UPDATE ON message FOR EACH ROW EXECUTE FUNCTION spoil()"
        }
    };
    app.store.place().run(sql).await;
    let message = app.store.place().id(&world.messages[1]);
    app.store.place().run(&format!("UPDATE message SET rev = rev WHERE id = {message}")).await;
    let (checked, findings) = check(&app.domain, &app.org, true).await;
    assert_eq!(checked.remaining(), 1, "{:#?}", lines(&findings));
    assert!(lines(&findings).iter().any(|line| line.ends_with("(cannot be mended: it was mended and is wrong again)")));
});

on_both_engines!(a_mended_lane_gives_moments_that_are_not_given_yet, |app| async move {
    let world = World::new(&app).await;
    let place = app.store.place();
    let conversation = format!("/v1/conversations/{}", world.conversation);
    world.admin.patch(&conversation, json!({ "name": "One" })).await.ok();
    let newest = "SELECT max(at) FROM event";
    let (before, of) = (place.number(newest).await, place.id(&app.org.id.to_string()));
    place.run(&format!("UPDATE lane SET at = at - 500 WHERE org = {of} AND seq > 0")).await;
    let (checked, _) = check(&app.domain, &app.org, true).await;
    assert_eq!(checked.remaining(), 0);
    world.admin.patch(&conversation, json!({ "name": "Two" })).await.ok();
    assert!(place.number(newest).await > before);
    assert_clean(&app, "after it").await;
});

on_both_engines!(events_that_are_there_are_not_gone, |app| async move {
    let world = World::new(&app).await;
    let place = app.store.place();
    let message = place.id(&world.messages[1]);
    let lane = place.number(&format!("SELECT lane FROM event WHERE object = {message}")).await;
    let facts = async || {
        let all = app.store.store().lanes(app.org.id).await.expect("they are read");
        all.into_iter().find(|facts| facts.lane == lane).expect("one of them")
    };
    let before = facts().await;
    assert!(before.gone == 0 && before.newest == Some(before.seq) && before.seq > 6, "{before:?}");
    for gone in [5, before.seq, before.seq + 1_000] {
        place.run(&format!("UPDATE lane SET gone = {gone} WHERE n = {lane}")).await;
        let (checked, findings) = check(&app.domain, &app.org, true).await;
        let line = format!("lane {lane}: the number up to which its events are gone is {gone}, should be 0 (mended)");
        assert_eq!((lines(&findings), checked.remaining()), (vec![line], 0));
        assert_eq!(facts().await, before, "{gone}");
    }
    // The first two are gone indeed.
    let lane_of = u8::try_from(lane).expect("a lane");
    let forgotten = app.store.store().forget(app.org.id, lane_of, app.now().plus(1_000), 2).await;
    assert_eq!(forgotten.expect("they are forgotten"), 2);
    place.run(&format!("UPDATE lane SET gone = 5 WHERE n = {lane}")).await;
    // Somebody forgets on while it is mended: that stays.
    let store = app.store.store();
    let seen = facts().await;
    assert_eq!(store.forget(app.org.id, lane_of, app.now().plus(1_000), 1).await.expect("one more"), 1);
    store.mend_lane(app.org.id, &seen, seen.at, 2).await.expect("it is mended");
    assert_eq!(facts().await.gone, 6);
    place.run(&format!("UPDATE lane SET gone = 7 WHERE n = {lane}")).await;
    check(&app.domain, &app.org, true).await;
    assert_eq!(facts().await.gone, 6);
    assert_clean(&app, "after it was mended").await;
});

/// `konverse check | head -1`: who reads along may leave.
#[tokio::test]
async fn a_reader_who_leaves_stops_nothing() {
    let app = TestApp::new(Backend::Sqlite).await;
    let world = World::new(&app).await;
    let conversation = app.store.place().id(&world.conversation);
    let sql = format!("UPDATE conversation SET rev = rev + 1 WHERE id = {conversation}");
    app.store.place().run(&sql).await;
    let mut child = Command::new(env!("CARGO_BIN_EXE_konverse"))
        .args(["check", "--repair", "--database", &app.store.url()])
        .env_clear()
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("it runs");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{errors}");
    assert!(!errors.contains("panicked") && !errors.contains("pipe"), "{errors}");
    assert_clean(&app, "it was mended all the same").await;
}

on_both_engines!(the_command_says_it_in_lines_and_by_its_status, |app| async move {
    let world = World::new(&app).await;
    let url = app.store.url();
    let run = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_konverse"));
        let output = command.args(["check", "--database", &url]).args(more).env_clear().output().expect("it runs");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let (status, said, errors) = run(&[]);
    assert_eq!((status, said.contains("all is as it should be")), (Some(0), true), "{said}{errors}");
    let conversation = app.store.place().id(&world.conversation);
    let sql = format!(
        r#"UPDATE conversation SET doc = replace(doc, '"messageCount":4', '"messageCount":9')
        WHERE id = {conversation}"#
    );
    app.store.place().run(&sql).await;
    let line = format!("acme conversation {}: messageCount is 9, should be 4", world.conversation);
    let (status, said, errors) = run(&["--org", "acme"]);
    assert_eq!(status, Some(4), "{said}{errors}");
    assert!(said.lines().any(|one| one == line) && said.contains("1 differences remain"), "{said}");
    let (status, said, errors) = run(&["--repair"]);
    assert_eq!(status, Some(0), "{said}{errors}");
    assert!(said.lines().any(|one| one == format!("{line} (mended)")), "{said}");
    assert_eq!(run(&["--org", "nobody"]).0, Some(1));
    assert_eq!(run(&[]).0, Some(0));
});

#[test]
fn a_file_that_is_not_there_is_not_found_to_be_right() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("none.db");
    let database = format!("sqlite:{}", file.display());
    let output =
        Command::new(env!("CARGO_BIN_EXE_konverse")).args(["check", "--database", &database]).env_clear().output();
    assert_eq!(output.expect("it runs").status.code(), Some(1));
    assert!(!file.exists());
}

/// A file whose pages are damaged is told of before anything else.
#[tokio::test]
async fn a_damaged_file_is_said_to_be_damaged() {
    let app = TestApp::new(Backend::Sqlite).await;
    let world = World::new(&app).await;
    let index = "SELECT rootpage FROM sqlite_master WHERE name = 'message_by_id'";
    let page = app.store.place().number(index).await;
    let file = app.store.place().file();
    app.store.place().rows("PRAGMA wal_checkpoint(TRUNCATE)").await;
    drop(world);
    let copy = file.with_extension("copy");
    std::fs::copy(&file, &copy).expect("a copy");
    let mut bytes = std::fs::read(&copy).expect("a file");
    let from = (usize::try_from(page).expect("a page") - 1) * 32_768;
    bytes[from + 3] = bytes[from + 3].wrapping_sub(1);
    bytes[from + 4] = bytes[from + 4].wrapping_sub(1);
    std::fs::write(&copy, bytes).expect("a file");
    let database = format!("sqlite:{}", copy.display());
    let output = Command::new(env!("CARGO_BIN_EXE_konverse"))
        .args(["check", "--database", &database])
        .env_clear()
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("database file: it is"), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(4), "{said}");
}
