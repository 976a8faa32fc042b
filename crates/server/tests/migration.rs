//! A database that the release before left is opened by this program: nothing of it is lost, all of it is read, and
//! writing goes on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use konverse_model::Instant;
use konverse_testkit::{Actor, Backend, Place, Record, TestApp, TestClock, TestStore, from_schema_1};
use serde_json::{Value, json};

/// The tables with rows that the migration leaves where they are.
const KEPT: [&str; 10] =
    ["org", "credential", "customer", "conversation", "message", "note", "record", "identifier", "membership", "tally"];

/// Those whose rows hold a text.
const RECORDS: [&str; 5] = ["customer", "conversation", "message", "note", "record"];

const NEW: [&str; 4] = ["lane", "lease", "trouble", "follower"];

const EVENTS_OF_1: &str =
    "SELECT org, at, verb, kind, object, customer, actor, rev, changes FROM event ORDER BY org, seq";

const EVENTS: &str =
    "SELECT lane, seq, org, at, verb, kind, object, customer, actor, rev, changes FROM event ORDER BY org, lane, seq";

type Contents = BTreeMap<&'static str, Vec<Record>>;

/// Every row of these tables, in an order of our own.
async fn contents(place: &Place, tables: impl IntoIterator<Item = &'static str>) -> Contents {
    let mut contents = Contents::new();
    for table in tables {
        let mut rows = place.rows(&format!("SELECT * FROM {table}")).await;
        rows.sort_by_cached_key(|row| Value::Object(row.clone()).to_string());
        contents.insert(table, rows);
    }
    contents
}

/// How many migrations there are.
const MIGRATIONS: i64 = 7;

/// What [`schema`] says once all of them have run.
fn migrated(backend: Backend) -> Vec<i64> {
    match backend {
        Backend::Sqlite => vec![MIGRATIONS],
        Backend::Postgres => (1..=MIGRATIONS).collect(),
    }
}

async fn schema(place: &Place) -> Vec<i64> {
    match place.backend() {
        Backend::Sqlite => vec![place.number("PRAGMA user_version").await],
        Backend::Postgres => {
            let rows = place.rows("SELECT version FROM konverse_schema ORDER BY version").await;
            rows.iter().map(|row| row["version"].as_i64().expect("a number")).collect()
        }
    }
}

fn lanes(backend: Backend) -> i64 {
    match backend {
        Backend::Sqlite => 1,
        Backend::Postgres => 16,
    }
}

/// The lane of an event, worked out here anew: the last two bytes of the customer's id, over all lanes but the first.
fn lane_of(backend: Backend, event: &Record) -> i64 {
    match (backend, event["customer"].as_str()) {
        (Backend::Postgres, Some(customer)) => 1 + i64::from_str_radix(&customer[20..], 16).expect("hex") % 15,
        _ => 0,
    }
}

fn number(row: &Record, column: &str) -> i64 {
    row[column].as_i64().unwrap_or_else(|| panic!("{column} of {row:?}"))
}

fn text<'a>(row: &'a Record, column: &str) -> &'a str {
    row[column].as_str().unwrap_or_else(|| panic!("{column} of {row:?}"))
}

fn without(mut row: Record, columns: &[&str]) -> Record {
    for column in columns {
        assert!(row.shift_remove(*column).is_some(), "{column} of {row:?}");
    }
    row
}

/// The newest moment anything has.
fn newest(contents: &Contents, events: &[Record]) -> i64 {
    let records = RECORDS.iter().flat_map(|table| &contents[table]).map(|row| number(row, "updated_at"));
    records.chain(events.iter().map(|event| number(event, "at"))).max().expect("there are rows")
}

/// An app over the migrated database, a second after all that is in it, and whoever has the kept token.
async fn app(place: Place) -> (TestApp, Actor) {
    let events = place.rows("SELECT at FROM event").await;
    let now = newest(&contents(&place, RECORDS).await, &events) + 1_000;
    let token = Place::schema_1_token(place.backend());
    let app = TestApp::over_stored(TestStore::at(place).await, TestClock::at(Instant::from_millis(now))).await;
    let actor = app.bearer(token).of_any_release();
    (app, actor)
}

/// Every resource of a list, page by page.
async fn walk(actor: &Actor, path: &str) -> Vec<Value> {
    let (mut all, mut next) = (Vec::new(), Some(path.to_owned()));
    while let Some(path) = next {
        let page = actor.get(&path).await.ok();
        all.extend(page["data"].as_array().expect("a list").iter().cloned());
        next = page["links"]["next"].as_str().map(str::to_owned);
    }
    all
}

fn doc(row: &Record) -> Value {
    serde_json::from_str(text(row, "doc")).expect("a text is JSON")
}

fn shown(rows: &[Record]) -> impl Iterator<Item = &Record> {
    rows.iter().filter(|row| number(row, "hidden") == 0)
}

/// Sorts resources by id.
fn by_id(resources: impl IntoIterator<Item = Value>) -> BTreeMap<String, Value> {
    let mut sorted = BTreeMap::new();
    for resource in resources {
        let id = resource["id"].as_str().expect("an id").to_owned();
        assert!(sorted.insert(id, resource).is_none(), "no record is listed twice");
    }
    sorted
}

from_schema_1!(nothing_is_lost, |place| async move {
    let backend = place.backend();
    assert_eq!(schema(&place).await, [1]);
    let before = contents(&place, KEPT).await;
    let events_before = place.rows(EVENTS_OF_1).await;
    // What the kept database is kept for.
    assert!(before.iter().all(|(table, rows)| !rows.is_empty() || panic!("no {table}")));
    let hidden = |table: &str| before[table].iter().map(|row| number(row, "hidden")).collect::<BTreeSet<_>>();
    assert!(hidden("conversation").contains(&1) && hidden("conversation").contains(&4));
    assert!(hidden("message").contains(&2) && hidden("message").contains(&4) && hidden("customer").contains(&1));
    assert!(before["conversation"].iter().any(|row| !row["wake_at"].is_null()));
    assert!(events_before.iter().any(|event| event["customer"].is_null()));

    drop(place.open().await.expect("it opens"));

    let mut after = contents(&place, KEPT).await;
    for table in RECORDS {
        for row in after.get_mut(table).expect("the table") {
            let added: &[&str] = if table == "customer" { &["version", "turn"] } else { &["version"] };
            assert_eq!(number(row, "version"), 1, "{table}: to be rendered anew");
            assert!(table != "customer" || number(row, "turn") == 0);
            *row = without(row.clone(), added);
        }
        after.get_mut(table).expect("the table").sort_by_cached_key(|row| Value::Object(row.clone()).to_string());
    }
    for row in after.get_mut("org").expect("the table") {
        *row = without(row.clone(), &["described", "masks"]);
    }
    for table in KEPT {
        assert_eq!(after[table].len(), before[table].len(), "{table}");
        for (now, was) in after[table].iter().zip(&before[table]) {
            assert_eq!(now, was, "{table}");
        }
    }

    let events = place.rows(EVENTS).await;
    assert_eq!(events.len(), events_before.len());
    let at = newest(&before, &events_before) + 1;
    let mut heads = Vec::new();
    for org in &before["org"] {
        for lane in 0..lanes(backend) {
            let of_lane = |event: &&Record| event["org"] == org["id"] && lane_of(backend, event) == lane;
            let expected: Vec<&Record> = events_before.iter().filter(of_lane).collect();
            let got = events.iter().filter(|event| event["org"] == org["id"] && number(event, "lane") == lane);
            let got: Vec<Record> = got.cloned().collect();
            assert_eq!(got.len(), expected.len(), "lane {lane}");
            for (n, (event, expected)) in got.into_iter().zip(expected).enumerate() {
                assert_eq!(number(&event, "seq"), n as i64 + 1, "numbered without gaps, in the old order");
                assert_eq!(&without(event, &["lane", "seq"]), expected, "lane {lane}");
            }
            let newest = events_before.iter().filter(of_lane).count();
            let head = json!({ "org": org["id"], "n": lane, "seq": newest, "at": at, "used": 0, "gone": 0 });
            heads.push(head.as_object().expect("a row").clone());
        }
    }
    assert_eq!(place.rows("SELECT org, n, seq, at, used, gone FROM lane ORDER BY org, n").await, heads);
    if backend == Backend::Postgres {
        assert!(heads.iter().filter(|head| number(head, "seq") > 0).count() > 3, "customers have lanes of their own");
    }

    // What the program before looks at to refuse it.
    assert_eq!(schema(&place).await, migrated(backend));
    if backend == Backend::Sqlite {
        assert_eq!(place.number("PRAGMA application_id").await, i64::from(u32::from_be_bytes(*b"konv")));
    }

    // The lists of every org are counted.
    for (n, table) in ["customer", "conversation", "message", "note"].iter().enumerate() {
        let wrong = format!(
            "SELECT count(*) FROM org o WHERE NOT EXISTS (SELECT 1 FROM block b WHERE b.org = o.id AND b.scope = o.id \
             AND b.list = {} AND b.rows_before = 0 AND b.n = (SELECT count(*) FROM {table} r WHERE r.org = o.id \
             AND r.hidden = 0) AND b.at < (SELECT coalesce(min(created_at), 0) FROM {table}))",
            n + 1
        );
        assert_eq!(place.number(&wrong).await, 0, "{table}");
    }

    let all = || contents(&place, KEPT.into_iter().chain(NEW));
    let once = all().await;
    drop(place.open().await.expect("it opens again"));
    assert_eq!(all().await, once, "a second open migrates nothing");
    assert_eq!(place.rows(EVENTS).await, events);
    assert_eq!(schema(&place).await, migrated(place.backend()));
});

from_schema_1!(all_of_it_is_read, |place| async move {
    let before = contents(&place, KEPT).await;
    let (app, actor) = app(place).await;
    let token = actor.get("/v1/auth/tokens/current").await.ok();
    assert_eq!(token["data"]["id"].as_str(), Some(text(&before["credential"][0], "token")));

    let of_kind = |kind: &'static str| before["record"].iter().filter(move |row| text(row, "kind") == kind);
    let record = |kind| of_kind(kind).cloned().collect::<Vec<_>>();
    let lists = [
        ("/v1/customers", before["customer"].clone()),
        ("/v1/conversations", before["conversation"].clone()),
        ("/v1/messages", before["message"].clone()),
        ("/v1/notes", before["note"].clone()),
        ("/v1/users", record("user")),
        ("/v1/teams", record("team")),
        ("/v1/tags", record("tag")),
        ("/v1/auth/tokens", record("auth_token")),
    ];
    for (path, rows) in &lists {
        let listed = by_id(walk(&actor, path).await);
        assert_eq!(listed, by_id(shown(rows).map(doc)), "{path}");
        assert_eq!(listed.len(), shown(rows).count(), "{path}");
        for row in rows {
            let reply = actor.get(&format!("{path}/{}", text(row, "id"))).await;
            if number(row, "hidden") == 0 {
                assert_eq!(reply.ok()["data"], doc(row));
            } else {
                assert_eq!(reply.error().0, 404, "what was deleted stays so");
            }
        }
    }
    let customers = actor.get("/v1/customers").await.ok();
    assert_eq!(customers["meta"]["total"], shown(&before["customer"]).count());

    for customer in shown(&before["customer"]).map(|row| text(row, "id")) {
        let of_customer = |table: &str| -> Vec<&Record> {
            shown(&before[table]).filter(|row| text(row, "customer") == customer).collect()
        };
        for (table, path) in [("conversation", "conversations"), ("message", "messages"), ("note", "notes")] {
            let listed = walk(&actor, &format!("/v1/customers/{customer}/{path}?pageSize=7")).await;
            assert_eq!(by_id(listed), by_id(of_customer(table).into_iter().map(doc)), "{customer} {path}");
        }
        let mut conversations = of_customer("conversation");
        conversations.sort_by_key(|row| std::cmp::Reverse((number(row, "created_at"), text(row, "id"))));
        let listed = walk(&actor, &format!("/v1/customers/{customer}/conversations")).await;
        assert_eq!(listed, conversations.iter().map(|row| doc(row)).collect::<Vec<_>>(), "newest first");
    }
    for conversation in shown(&before["conversation"]).map(|row| text(row, "id")) {
        for (table, path) in [("message", "messages"), ("note", "notes")] {
            let rows = shown(&before[table]).filter(|row| text(row, "conversation") == conversation);
            let listed = walk(&actor, &format!("/v1/conversations/{conversation}/{path}")).await;
            assert_eq!(by_id(listed), by_id(rows.map(doc)), "{conversation} {path}");
        }
    }

    let mut looked_up = 0;
    for name in &before["identifier"] {
        let by = match text(name, "space") {
            "customer.email" => "email",
            "customer.phone" => "phone",
            "customer.externalId" => "externalId",
            _ => continue,
        };
        let value = text(name, "value").replace('+', "%2B").replace('@', "%40");
        let found = actor.get(&format!("/v1/customers/{by}={value}")).await.ok();
        assert_eq!(found["data"]["id"].as_str(), Some(text(name, "owner")), "{by}={value}");
        looked_up += 1;
    }
    for (table, path) in [("conversation", "/v1/conversations/externalId="), ("message", "/v1/messages/externalid=")] {
        for row in before[table].iter().filter(|row| !row["external_id"].is_null()).take(40) {
            let reply = actor.get(&format!("{path}{}", text(row, "external_id"))).await;
            if number(row, "hidden") == 0 {
                assert_eq!(reply.ok()["data"]["id"].as_str(), Some(text(row, "id")));
                looked_up += 1;
            } else {
                assert_eq!(reply.status, 404);
            }
        }
    }
    assert!(looked_up > 3, "there are names to look up");
    for user in of_kind("user").map(|row| text(row, "id")) {
        let teams = by_id(walk(&actor, &format!("/v1/users/{user}/teams")).await);
        let places = before["membership"].iter().filter(|place| text(place, "user_id") == user);
        let places: BTreeSet<&str> = places.map(|place| text(place, "team")).collect();
        assert_eq!(teams.keys().map(String::as_str).collect::<BTreeSet<_>>(), places, "{user}");
    }
    drop(app);
});

from_schema_1!(writing_goes_on, |place| async move {
    let backend = place.backend();
    let before = contents(&place, KEPT).await;
    let (app, actor) = app(place).await;
    let place = app.store.place();
    let old_events = place.rows(EVENTS).await;
    let old_heads = app.store.store().heads(app.org.id).await.expect("heads");

    let row = shown(&before["conversation"])
        .find(|row| row["wake_at"].is_null() && doc(row)["attributes"]["messageCount"].as_i64() > Some(1))
        .expect("a conversation with messages");
    let (conversation, customer) = (text(row, "id"), text(row, "customer"));
    let path = format!("/v1/conversations/{conversation}");
    app.clock.advance(1_000);
    let changed = actor.patch(&path, json!({ "name": "Renamed later", "rev": row["rev"] })).await.ok();
    let changed = &changed["data"]["attributes"];
    assert_eq!((&changed["name"], changed["rev"].as_i64()), (&json!("Renamed later"), Some(number(row, "rev") + 1)));
    assert!(changed["updatedAt"].as_str() > doc(row)["attributes"]["updatedAt"].as_str());

    let count = changed["messageCount"].as_i64().expect("a count");
    let message = actor.message(conversation, json!({ "preview": "one more" })).await;
    assert_eq!(actor.attributes(&path).await["messageCount"], count + 1);

    let deleted = before["conversation"].iter().find(|row| number(row, "hidden") == 1).expect("a deleted one");
    let deleted_path = format!("/v1/conversations/{}", text(deleted, "id"));
    let along = before["message"].iter().filter(|row| row["conversation"] == deleted["id"]);
    let along: BTreeSet<&str> = along.map(|row| text(row, "id")).collect();
    assert!(!along.is_empty());
    actor.patch(&deleted_path, json!({ "deleted": false })).await.ok();
    let restored = by_id(walk(&actor, &format!("{deleted_path}/messages")).await);
    assert_eq!(restored.keys().map(String::as_str).collect::<BTreeSet<_>>(), along, "its messages are back");

    let snoozed = before["conversation"].iter().find(|row| !row["wake_at"].is_null()).expect("a snoozed one");
    let snoozed_path = format!("/v1/conversations/{}", text(snoozed, "id"));
    assert_eq!(app.end_snoozes().await, 0);
    assert_eq!(actor.attributes(&snoozed_path).await["status"], "snoozed");
    app.clock.advance(number(snoozed, "wake_at") - app.now().millis());
    assert_eq!(app.end_snoozes().await, 1);
    let woken = actor.attributes(&snoozed_path).await;
    assert_eq!((&woken["status"], &woken["snooze"]["status"]), (&json!("open"), &json!("elapsed")));

    assert_eq!(actor.delete(&path).await.status, 204);
    assert_eq!(actor.get(&format!("/v1/messages/{message}")).await.status, 404);
    let gone = shown(&before["customer"]).map(|row| text(row, "id")).find(|id| *id != customer).expect("another one");
    assert_eq!(actor.delete(&format!("/v1/customers/{gone}")).await.status, 204);
    let total = &actor.get("/v1/customers").await.ok()["meta"]["total"];
    assert_eq!(*total, shown(&before["customer"]).count() - 1);
    actor.post("/v1/tags", json!({ "name": "brand new" })).await.created();

    // The old events are what they were; the new ones go on from there, lane by lane.
    let events = place.rows(EVENTS).await;
    for lane in 0..lanes(backend) {
        let of_lane = |events: &[Record]| -> Vec<Record> {
            events.iter().filter(|event| number(event, "lane") == lane).cloned().collect()
        };
        let (was, now) = (of_lane(&old_events), of_lane(&events));
        assert_eq!(now[..was.len()], was[..], "lane {lane}");
        for (n, event) in now.iter().enumerate() {
            assert_eq!(number(event, "seq"), n as i64 + 1, "lane {lane}");
            assert_eq!(lane_of(backend, event), lane, "a customer keeps the lane");
        }
    }
    let heads = app.store.store().heads(app.org.id).await.expect("heads");
    let newest = |heads: &[konverse_store::Heads], lane| {
        heads.iter().find(|head| i64::from(head.lane) == lane).map_or(0, |head| head.newest)
    };
    let of_customer: Vec<&Record> = events.iter().filter(|event| event["customer"] == customer).collect();
    let lane = lane_of(backend, of_customer[0]);
    let (old, new): (Vec<&Record>, Vec<&Record>) =
        of_customer.into_iter().partition(|event| number(event, "seq") <= newest(&old_heads, lane));
    assert!(old.len() > 1 && new.len() > 3, "{} old ones, {} new ones", old.len(), new.len());
    assert!(old.iter().all(|event| old_events.contains(event)) && new.iter().all(|event| !old_events.contains(event)));
    assert!(newest(&heads, lane) > newest(&old_heads, lane) && newest(&heads, 0) > newest(&old_heads, 0));
    let verbs: Vec<(&str, &str)> = new.iter().map(|event| (text(event, "kind"), text(event, "verb"))).collect();
    assert_eq!(verbs[0], ("conversation", "update"));
    assert!(verbs.contains(&("message", "create")) && verbs.contains(&("conversation", "delete")), "{verbs:?}");
});

from_schema_1!(moments_go_on_after_the_newest, |place| async move {
    // A large import gave its records moments ahead of the clock, and of its own events.
    let ahead = newest(&contents(&place, RECORDS).await, &place.rows(EVENTS_OF_1).await) + 60_000;
    let message = place.rows("SELECT id, customer FROM message WHERE hidden = 0 ORDER BY id LIMIT 1").await.remove(0);
    let id = place.id(text(&message, "id"));
    place.run(&format!("UPDATE message SET updated_at = {ahead} WHERE id = {id}")).await;
    let token = Place::schema_1_token(place.backend());
    let clock = TestClock::at(Instant::from_millis(ahead - 30_000));
    let app = TestApp::over_stored(TestStore::at(place).await, clock).await;
    let actor = app.bearer(token);
    let customer = actor.customer().await;
    let conversation = actor.conversation(&customer, json!({})).await;
    for path in [format!("/v1/customers/{customer}"), format!("/v1/conversations/{conversation}")] {
        let updated_at: Instant = actor.attributes(&path).await["updatedAt"].as_str().unwrap().parse().unwrap();
        assert!(updated_at.millis() > ahead, "{path}: whoever reads by updatedAt meets it after what came before");
    }
});

from_schema_1!(a_moment_far_ahead_pins_nothing, |place| async move {
    // Callers could give a record's moments, and one gave the year 9999.
    let now = newest(&contents(&place, RECORDS).await, &place.rows(EVENTS_OF_1).await) + 1_000;
    let message = place.rows("SELECT id, customer FROM message WHERE hidden = 0 ORDER BY id LIMIT 1").await.remove(0);
    let id = place.id(text(&message, "id"));
    let far: Instant = "9999-12-30T00:00:00Z".parse().unwrap();
    place.run(&format!("UPDATE message SET updated_at = {} WHERE id = {id}", far.millis())).await;
    let token = Place::schema_1_token(place.backend());
    let app = TestApp::over_stored(TestStore::at(place).await, TestClock::at(Instant::from_millis(now))).await;
    let actor = app.bearer(token);
    let customer = actor.customer().await;
    let updated_at = actor.attributes(&format!("/v1/customers/{customer}")).await["updatedAt"].clone();
    assert!(updated_at.as_str().unwrap() < "2100", "{updated_at}");
    assert_eq!(
        app.store.place().number(&format!("SELECT updated_at FROM message WHERE id = {id}")).await,
        far.millis()
    );
});

from_schema_1!(an_interrupted_migration_leaves_everything_as_it_was, |place| async move {
    let backend = place.backend();
    let before = contents(&place, KEPT).await;
    let events = place.rows(EVENTS_OF_1).await;
    let definitions = match backend {
        Backend::Sqlite => "SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY type, name",
        Backend::Postgres => {
            "SELECT table_name::text AS t, column_name::text AS c, data_type::text AS d FROM information_schema.columns \
             WHERE table_schema = 'public' ORDER BY 1, 2"
        }
    };
    // The last name the migration makes, after all rows have been moved. On SQLite a table of another program would be
    // seen before anything begins, in a file without the mark.
    let (make, remove) = match backend {
        Backend::Sqlite => ("CREATE VIEW follower AS SELECT 7 AS seven", "DROP VIEW follower"),
        Backend::Postgres => ("CREATE TABLE follower (seven bigint)", "DROP TABLE follower"),
    };
    place.run(make).await;
    let defined = place.rows(definitions).await;
    let bytes = || std::fs::read(place.file()).ok();
    let file = bytes();
    for _ in 0..2 {
        let error = place.open().await.err().expect("the migration fails").to_string();
        assert!(error.contains("follower"), "{error}");
        assert_eq!(schema(&place).await, [1]);
        assert_eq!(place.rows(definitions).await, defined);
        assert_eq!(contents(&place, KEPT).await, before);
        assert_eq!(place.rows(EVENTS_OF_1).await, events);
        assert!(bytes() == file, "not a byte differs");
        if backend == Backend::Sqlite {
            assert_eq!(place.number("PRAGMA application_id").await, 0, "it is not even marked");
        }
    }
    place.run(remove).await;
    let (app, actor) = app(place).await;
    assert_eq!(walk(&actor, "/v1/messages").await.len(), shown(&before["message"]).count());
    assert_eq!(app.store.place().rows(EVENTS).await.len(), events.len());
});

from_schema_1!(several_processes_may_open_it_at_once, |place| async move {
    let place = Arc::new(place);
    let count = place.rows(EVENTS_OF_1).await.len();
    let opening: Vec<_> = (0..4)
        .map(|_| {
            let place = Arc::clone(&place);
            tokio::spawn(async move { place.open().await.map(drop) })
        })
        .collect();
    for task in opening {
        task.await.expect("no panic").expect("it opens");
    }
    assert_eq!(schema(&place).await, migrated(place.backend()));
    assert_eq!(place.rows(EVENTS).await.len(), count);
    assert_eq!(place.number("SELECT count(*) FROM lane").await, lanes(place.backend()));
});
