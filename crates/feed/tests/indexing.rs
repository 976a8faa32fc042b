//! The search index beside the sequence: what was acknowledged before a search is found by it, in any process; and what goes
//! wrong with an index, a record or an org holds up nothing else.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use konverse_domain::{ImportKind, Importer, RowOutcome};
use konverse_feed::forget_old;
use konverse_model::OrgId;
use konverse_search::index::{Found, Options, SearchError, Start, Ties, Window};
use konverse_search::{Key, Node, Object, Op, Query, Sort, Test, Value as Operand, attribute, words};
use konverse_store::Store;
use konverse_testkit::{Searching, TestApp, on_both_engines};
use serde_json::json;
use tempfile::TempDir;

fn query(object: Object, filter: Node) -> Query {
    let updated = attribute(&format!("{}_updated_at", object.prefix())).expect("an attribute");
    Query { object, filter, sort: vec![Sort { attribute: updated, descending: false }], include_deleted: false }
}

fn all(object: Object) -> Query {
    query(object, Node::All(Vec::new()))
}

fn test(name: &str, op: Op) -> Node {
    Node::Test(Test { attribute: attribute(name).expect("an attribute"), negated: false, op })
}

fn says(text: &str) -> Query {
    query(Object::Message, test("message_any_text", Op::Words(words(text).collect())))
}

fn is(name: &str, value: &str) -> Node {
    test(name, Op::In(vec![Operand::Text(value.to_owned())]))
}

const PAGE: Window = Window { start: Start::Offset(0), limit: 500, ties: Ties::Cut };

/// Searches until the index is there; any other failure is one.
async fn found(searching: &Searching, store: &dyn Store, org: OrgId, query: &Query) -> Found {
    for _ in 0..6_000 {
        match searching.index.search(store, org, query, PAGE).await {
            Ok(found) => return found,
            Err(SearchError::Building(_)) => tokio::time::sleep(Duration::from_millis(10)).await,
            Err(error) => panic!("{error}: {error:?}"),
        }
    }
    panic!("it is never built");
}

/// The ids found in the app's org, in no order.
async fn ids(searching: &Searching, app: &TestApp, query: &Query) -> BTreeSet<String> {
    let found = found(searching, &*app.store.store(), app.org.id, query).await;
    assert_eq!(found.total, found.ids.len() as u64);
    found.ids.iter().map(ToString::to_string).collect()
}

fn set<const N: usize>(ids: [&String; N]) -> BTreeSet<String> {
    ids.into_iter().cloned().collect()
}

fn start(app: &TestApp, folder: &TempDir) -> Searching {
    Searching::start(app.store.store(), folder.path())
}

/// Where the index of the app's org lies for the only process.
fn place(app: &TestApp, folder: &TempDir) -> PathBuf {
    folder.path().join("0").join(app.org.id.to_string())
}

on_both_engines!(what_was_acknowledged_is_found_at_once_by_every_process, |app| async move {
    let folder = TempDir::new().expect("a folder");
    let mine = start(&app, &folder);
    let theirs = Searching::start(app.store.reopened().await, folder.path());
    let store = app.store.reopened().await;
    let admin = app.admin().await;
    let conversation = admin.conversation(&admin.customer().await, json!({})).await;
    let mut sent = Vec::new();
    for n in 0..30 {
        sent.push(admin.message(&conversation, json!({ "preview": format!("the {n}th refund") })).await);
        for (searching, store) in [(&mine, &*app.store.store()), (&theirs, &*store)] {
            let found = found(searching, store, app.org.id, &says("REFUND")).await;
            let ids: Vec<_> = found.ids.iter().map(ToString::to_string).collect();
            assert_eq!((found.total, found.more), (n + 1, false));
            assert_eq!(ids, sent, "in the order in which they were written");
        }
    }
    assert_eq!(ids(&theirs, &app, &says("17th refund")).await, set([&sent[17]]));
    // A page of them, and how many there are.
    let window = Window { start: Start::Offset(10), limit: 5, ties: Ties::Cut };
    let page = mine.index.search(&*store, app.org.id, &says("refund"), window).await.expect("it is answered");
    assert_eq!(page.ids.iter().map(ToString::to_string).collect::<Vec<_>>(), sent[10..15]);
    assert_eq!((page.total, page.more), (30, true));
    let window = Window { limit: 0, ..window };
    let none = mine.index.search(&*store, app.org.id, &says("refund"), window).await.expect("it is answered");
    assert_eq!((none.ids.len(), none.total), (0, 30));
});

on_both_engines!(a_record_is_found_as_it_is_now, |app| async move {
    let folder = TempDir::new().expect("a folder");
    let searching = start(&app, &folder);
    let admin = app.admin().await;
    let (customer, other) = (admin.customer().await, admin.customer().await);
    let first = admin.conversation(&customer, json!({ "name": "Lamp" })).await;
    let second = admin.conversation(&customer, json!({ "name": "Desk" })).await;
    let message = admin.message(&first, json!({ "preview": "it is broken" })).await;
    let broken = says("is broken");
    let is_of = |customer: &str| query(Object::Conversation, is("conversation_customer_id", customer));
    let has_broken = |object, by| {
        let filter = Box::new(says("broken").filter);
        query(object, Node::Related { by, object: Object::Message, filter })
    };
    assert_eq!(ids(&searching, &app, &broken).await, set([&message]));
    assert_eq!(ids(&searching, &app, &is_of(&customer)).await, set([&first, &second]));
    assert_eq!(ids(&searching, &app, &has_broken(Object::Conversation, Key::Conversation)).await, set([&first]));
    assert_eq!(ids(&searching, &app, &has_broken(Object::Customer, Key::Customer)).await, set([&customer]));
    // Changed.
    admin.patch(&format!("/v1/messages/{message}"), json!({ "preview": "it works" })).await.ok();
    assert!(ids(&searching, &app, &broken).await.is_empty());
    assert!(ids(&searching, &app, &has_broken(Object::Customer, Key::Customer)).await.is_empty());
    assert_eq!(ids(&searching, &app, &says("it works")).await, set([&message]));
    // Moved, with its messages.
    admin.patch(&format!("/v1/conversations/{first}"), json!({ "customer": other })).await.ok();
    assert_eq!(ids(&searching, &app, &is_of(&other)).await, set([&first]));
    assert_eq!(
        ids(&searching, &app, &query(Object::Message, is("message_customer_id", &other))).await,
        set([&message])
    );
    // Deleted and restored, with its messages.
    assert_eq!(admin.delete(&format!("/v1/conversations/{first}")).await.status, 204);
    assert!(ids(&searching, &app, &is_of(&other)).await.is_empty());
    assert!(ids(&searching, &app, &says("works")).await.is_empty());
    let deleted = Query { include_deleted: true, ..says("works") };
    assert_eq!(ids(&searching, &app, &deleted).await, set([&message]));
    assert_eq!(ids(&searching, &app, &all(Object::Conversation)).await, set([&second]));
    admin.put(&format!("/v1/conversations/{first}"), json!({ "deleted": false })).await.ok();
    assert_eq!(ids(&searching, &app, &says("works")).await, set([&message]));
    // A customer is deleted with all that is theirs.
    assert_eq!(admin.delete(&format!("/v1/customers/{other}")).await.status, 204);
    assert_eq!(ids(&searching, &app, &all(Object::Conversation)).await, set([&second]));
    assert_eq!(ids(&searching, &app, &all(Object::Customer)).await, set([&customer]));
    assert!(ids(&searching, &app, &says("works")).await.is_empty());
});

on_both_engines!(an_index_goes_on_where_it_was_left_and_one_that_is_not_right_is_built_anew, |app| async move {
    let folder = TempDir::new().expect("a folder");
    let admin = app.admin().await;
    let conversation = admin.conversation(&admin.customer().await, json!({})).await;
    let mut sent = Vec::new();
    let mut say = async |text: &str| {
        sent.push(admin.message(&conversation, json!({ "preview": format!("hello {text}") })).await);
        sent.iter().cloned().collect::<BTreeSet<_>>()
    };
    // Made of what was there before, and gone on with.
    let mut expected = say("first").await;
    let searching = start(&app, &folder);
    assert_eq!(ids(&searching, &app, &says("hello")).await, expected);
    searching.end().await;
    expected = say("while nobody followed").await;
    let searching = start(&app, &folder);
    assert_eq!(ids(&searching, &app, &says("hello")).await, expected);
    searching.end().await;

    let index = place(&app, &folder);
    let largest = |index: &Path| {
        let files = fs::read_dir(index).expect("an index").map(|file| file.expect("a file").path());
        let data = files.filter(|file| file.extension().is_some_and(|of| of == "term" || of == "fast"));
        data.max_by_key(|file| file.metadata().expect("a file").len()).expect("it has files")
    };
    let damages: [(&str, &dyn Fn()); 5] = [
        ("deleted", &|| fs::remove_dir_all(&index).expect("it is deleted")),
        ("other form", &|| {
            let meta = index.join("meta.json");
            let text = fs::read_to_string(&meta).expect("a file");
            assert!(text.contains(r#"form\":\""#), "{text}");
            fs::write(&meta, text.replace(r#"form\":\""#, r#"form\":\"0"#)).expect("it is written");
        }),
        ("no list of what it has", &|| fs::write(index.join("meta.json"), "garbage").expect("it is written")),
        ("garbage within", &|| {
            let file = largest(&index);
            let mut bytes = fs::read(&file).expect("a file");
            bytes[3] ^= 0x55;
            fs::remove_file(&file).expect("it is removed");
            fs::write(&file, bytes).expect("it is written");
        }),
        ("a file is missing", &|| fs::remove_file(largest(&index)).expect("it is removed")),
    ];
    for (what, damage) in damages {
        damage();
        expected = say(what).await;
        let searching = start(&app, &folder);
        assert_eq!(ids(&searching, &app, &says("hello")).await, expected, "{what}");
        searching.end().await;
    }
    // What a process that was killed was building is gone.
    let left = folder.path().join("0").join(format!("{}.new", app.org.id));
    fs::create_dir_all(&left).expect("a folder");
    let searching = start(&app, &folder);
    assert!(!left.exists());
    assert_eq!(ids(&searching, &app, &says("hello")).await, expected);
});

on_both_engines!(an_index_of_another_history_is_not_believed, |app| async move {
    let folder = TempDir::new().expect("a folder");
    let admin = app.admin().await;
    let conversation = admin.conversation(&admin.customer().await, json!({})).await;
    let message = admin.message(&conversation, json!({ "preview": "before the copy" })).await;
    app.clock.advance(5_000);
    admin.message(&conversation, json!({ "preview": "after the copy" })).await;
    let searching = start(&app, &folder);
    assert_eq!(ids(&searching, &app, &says("copy")).await.len(), 2);
    searching.end().await;
    // The index is followed to its end once more, so that it knows when the last event of the lane happened.
    admin.message(&conversation, json!({ "preview": "more" })).await;
    let searching = start(&app, &folder);
    assert_eq!(ids(&searching, &app, &says("more")).await.len(), 1);
    searching.end().await;
    // As a copy that was put back and went on has it: as many events, but others.
    let place = app.store.place();
    place.run("UPDATE event SET at = at + 17 WHERE seq = (SELECT max(seq) FROM event)").await;
    place.run(&format!("UPDATE message SET hidden = 1 WHERE id <> {}", place.id(&message))).await;
    let searching = start(&app, &folder);
    assert_eq!(ids(&searching, &app, &all(Object::Message)).await, set([&message]));
    searching.end().await;
    // Or fewer than the index has seen.
    place.run("UPDATE message SET hidden = 0").await;
    place.run("DELETE FROM event WHERE seq > 1").await;
    place.run("UPDATE lane SET seq = 1 WHERE seq > 1").await;
    let searching = start(&app, &folder);
    assert_eq!(ids(&searching, &app, &all(Object::Message)).await.len(), 3);
});

on_both_engines!(an_index_that_was_away_for_longer_than_events_are_kept_is_built_anew, |app| async move {
    let folder = TempDir::new().expect("a folder");
    let admin = app.admin().await;
    let conversation = admin.conversation(&admin.customer().await, json!({})).await;
    let searching = start(&app, &folder);
    assert!(ids(&searching, &app, &says("hello")).await.is_empty());
    searching.end().await;
    let message = admin.message(&conversation, json!({ "preview": "hello" })).await;
    app.clock.advance(60_000);
    assert!(forget_old(&*app.store.store(), app.now()).await.expect("a write") > 0);
    let searching = start(&app, &folder);
    assert_eq!(ids(&searching, &app, &says("hello")).await, set([&message]));
});

on_both_engines!(a_record_or_event_that_cannot_be_read_holds_up_nothing, |app| async move {
    let folder = TempDir::new().expect("a folder");
    let admin = app.admin().await;
    let mut sent = Vec::new();
    for n in 0..6 {
        let conversation = admin.conversation(&admin.customer().await, json!({})).await;
        sent.push(admin.message(&conversation, json!({ "preview": format!("hello {n}") })).await);
    }
    let place = app.store.place();
    place.run(&format!("UPDATE message SET doc = 'no document' WHERE id = {}", place.id(&sent[0]))).await;
    place.run(&format!("UPDATE message SET hidden = 3 WHERE id = {}", place.id(&sent[1]))).await;
    // By building and by following.
    let searching = start(&app, &folder);
    assert_eq!(ids(&searching, &app, &says("hello")).await, set([&sent[2], &sent[3], &sent[4], &sent[5]]));
    searching.end().await;
    for message in &sent[2..] {
        admin.patch(&format!("/v1/messages/{message}"), json!({ "preview": "goodbye" })).await.ok();
    }
    place.run(&format!("UPDATE message SET doc = '{{}}' WHERE id = {}", place.id(&sent[2]))).await;
    place.run(&format!("UPDATE message SET hidden = 3 WHERE id = {}", place.id(&sent[3]))).await;
    let searching = start(&app, &folder);
    assert_eq!(ids(&searching, &app, &says("goodbye")).await, set([&sent[4], &sent[5]]));
    assert!(ids(&searching, &app, &says("hello")).await.is_empty());
    searching.end().await;
    admin.patch(&format!("/v1/messages/{}", sent[4]), json!({ "preview": "again" })).await.ok();
    place.run("UPDATE event SET verb = 'nonsense' WHERE seq = (SELECT max(seq) FROM event)").await;
    let searching = start(&app, &folder);
    assert_eq!(ids(&searching, &app, &says("again")).await, set([&sent[4]]));
});

on_both_engines!(orgs_are_followed_side_by_side_and_never_meet, |app| async move {
    let folder = TempDir::new().expect("a folder");
    // Fewer are open than there are orgs.
    let options = Options { open: 3, ..Options::new(folder.path().to_owned()) };
    let searching = Searching::start_with(app.store.store(), options);
    let mut orgs = Vec::new();
    for n in 0..12 {
        let org = app.domain.create_org(&format!("org-{n}")).await.expect("it is new");
        let admin = app.actor_of(&org, &["org"]).await;
        let customer = admin.post("/v1/customers", json!({ "name": "Ann", "externalId": "1" })).await.created_id();
        orgs.push((org, admin, customer));
    }
    let ann = query(Object::Customer, is("customer_name", "ann"));
    for round in 0..2 {
        for (org, admin, customer) in &orgs {
            let found = found(&searching, &*app.store.store(), org.id, &ann).await;
            assert_eq!(found.ids.iter().map(ToString::to_string).collect::<Vec<_>>(), [customer.as_str()], "{round}");
            let path = format!("/v1/customers/{customer}");
            admin.patch(&path, json!({ "custom": { "roundNum": round } })).await.ok();
        }
    }
    let round = query(Object::Customer, test("customer_custom_roundNum", Op::In(vec![Operand::Number(1.0)])));
    for (org, ..) in &orgs {
        assert_eq!(found(&searching, &*app.store.store(), org.id, &round).await.total, 1);
    }
});

on_both_engines!(an_import_of_thousands_is_found_as_a_whole, |app| async move {
    const ROWS: usize = 20_000;
    let folder = TempDir::new().expect("a folder");
    let searching = start(&app, &folder);
    let admin = app.admin().await;
    let conversation = admin.conversation(&admin.customer().await, json!({})).await;
    assert!(ids(&searching, &app, &all(Object::Message)).await.is_empty());
    let mut importer = Importer::new(&app.domain, app.org.id).await.expect("an import");
    for from in (0..ROWS).step_by(2_000) {
        let row = |n: usize| {
            let row = json!({
                "externalId": n.to_string(), "conversation": conversation, "channel": "chat", "app": "x", "direction": "in", "preview": format!("number {n}"),
                "sentAt": "2026-01-01T00:00:00Z", "createdAt": "2026-01-01T00:00:00Z",
            });
            ImportKind::Messages.read(&row.to_string()).expect("a row")
        };
        let outcomes = importer.take(ImportKind::Messages, (from..from + 2_000).map(row).collect()).await;
        let outcomes = outcomes.expect("rows are taken");
        assert!(outcomes.iter().all(|outcome| !matches!(outcome, RowOutcome::Rejected(_))));
    }
    let store = app.store.store();
    assert_eq!(found(&searching, &*store, app.org.id, &all(Object::Message)).await.total, ROWS as u64);
    assert_eq!(found(&searching, &*store, app.org.id, &says("number 19999")).await.total, 1);
    // Page by page: each once.
    let mut seen = BTreeSet::new();
    for offset in (0..ROWS).step_by(500) {
        let window = Window { start: Start::Offset(offset), ..PAGE };
        let page = searching.index.search(&*store, app.org.id, &all(Object::Message), window).await.expect("a page");
        assert_eq!((page.ids.len(), page.more), (500, offset + 500 < ROWS));
        seen.extend(page.ids);
    }
    assert_eq!(seen.len(), ROWS);
});

on_both_engines!(a_search_has_an_end_and_a_depth, |app| async move {
    let folder = TempDir::new().expect("a folder");
    let admin = app.admin().await;
    admin.customer().await;
    let searching = start(&app, &folder);
    let store = app.store.store();
    assert_eq!(found(&searching, &*store, app.org.id, &all(Object::Customer)).await.total, 1);
    let deep = Window { start: Start::Offset(1 << 40), ..PAGE };
    let error = searching.index.search(&*store, app.org.id, &all(Object::Customer), deep).await;
    assert!(matches!(error, Err(SearchError::TooDeep(_))), "{error:?}");
    searching.end().await;
    // In no time at all, nothing is answered, and said so.
    let options = Options { longest: Duration::ZERO, ..Options::new(folder.path().to_owned()) };
    let searching = Searching::start_with(store.clone(), options);
    let error = searching.index.search(&*store, app.org.id, &all(Object::Customer), PAGE).await;
    assert!(matches!(error, Err(SearchError::Behind | SearchError::TooSlow(_))), "{error:?}");
});
