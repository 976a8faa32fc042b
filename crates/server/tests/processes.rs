//! Several processes on one database, which is the normal case: what one of them computed is never written over what
//! another one wrote meanwhile.
//!
//! Each story lets one process act in the moment after the other one computed its change and before it is applied, and
//! sees the conflict that follows happen.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use konverse_domain::{Domain, Ids, ImportKind, Importer, RowOutcome, Settings};
use konverse_feed::Position;
use konverse_model::Kind;
use konverse_store::Verb;
use konverse_testkit::{Actor, Backend, Interposed, TestApp, on_both_engines, seeded};
use serde_json::{Value, json};
use tokio::sync::oneshot;

/// A process whose changes can be held back, and a token for it.
async fn held_back(app: &TestApp, admin: &Actor) -> (Arc<Interposed>, Actor) {
    let store = Interposed::new(app.store.reopened().await);
    let process = app.over(store.clone());
    (store, admin.at(&process))
}

/// A customer with a conversation of two messages.
async fn talk(admin: &Actor) -> (String, String, Vec<String>) {
    let customer = admin.customer().await;
    let conversation = admin.conversation(&customer, json!({})).await;
    let mut messages = Vec::new();
    for n in 0..2 {
        messages.push(admin.message(&conversation, json!({ "preview": format!("message {n}") })).await);
    }
    (customer, conversation, messages)
}

on_both_engines!(a_message_changed_while_its_conversation_is_deleted_stays_hidden, |app| async move {
    let admin = app.admin().await;
    let (store, slow) = held_back(&app, &admin).await;
    for body in [json!({ "status": "error" }), json!({ "preview": "changed" }), json!({ "custom": { "aStr": "x" } })] {
        let (customer, conversation, messages) = talk(&admin).await;
        let (conflicts, other) = (store.conflicts(), admin.at(&app.other_process().await));
        let path = format!("/v1/conversations/{conversation}");
        store.before_apply(async move { assert_eq!(other.delete(&path).await.status, 204) }).await;
        let reply = slow.patch(&format!("/v1/messages/{}", messages[0]), body).await;
        assert_eq!(reply.error(), (404, "not_found".into(), "id".into()));
        assert_eq!(store.conflicts(), conflicts + 1, "it computed from what was no longer so");
        assert_eq!(admin.get(&format!("/v1/messages/{}", messages[0])).await.status, 404);
        assert!(admin.get(&format!("/v1/customers/{customer}/messages")).await.ids().is_empty());
    }
    assert!(admin.get("/v1/messages").await.ids().is_empty());
});

on_both_engines!(a_note_changed_while_its_customer_is_deleted_stays_hidden, |app| async move {
    let admin = app.admin().await;
    let (store, slow) = held_back(&app, &admin).await;
    let (customer, conversation, _) = talk(&admin).await;
    let note = admin.post("/v1/notes", json!({ "conversation": conversation, "body": "a" })).await.created_id();
    let other = admin.at(&app.other_process().await);
    let path = format!("/v1/customers/{customer}");
    store.before_apply(async move { assert_eq!(other.delete(&path).await.status, 204) }).await;
    assert_eq!(slow.patch(&format!("/v1/notes/{note}"), json!({ "body": "b" })).await.status, 404);
    assert_eq!(store.conflicts(), 1);
    assert!(admin.get("/v1/notes").await.ids().is_empty());
});

on_both_engines!(what_is_added_to_a_deleted_conversation_is_refused, |app| async move {
    let admin = app.admin().await;
    let (store, slow) = held_back(&app, &admin).await;
    let message = json!({ "channel": "email", "app": "x", "direction": "in" });
    for (add, body) in [("messages", message), ("notes", json!({ "body": "n" }))] {
        let (_, conversation, _) = talk(&admin).await;
        let (conflicts, other) = (store.conflicts(), admin.at(&app.other_process().await));
        let path = format!("/v1/conversations/{conversation}");
        store.before_apply(async move { assert_eq!(other.delete(&path).await.status, 204) }).await;
        let reply = slow.post(&format!("/v1/conversations/{conversation}/{add}"), body).await;
        assert_eq!(reply.status, 404);
        assert_eq!(store.conflicts(), conflicts + 1);
    }
    assert!(admin.get("/v1/messages").await.ids().is_empty());
    assert!(admin.get("/v1/notes").await.ids().is_empty());
});

on_both_engines!(derived_attributes_are_made_from_rows_as_they_are, |app| async move {
    let admin = app.admin().await;
    let (store, slow) = held_back(&app, &admin).await;
    let (customer, conversation, messages) = talk(&admin).await;
    // One process folds the conversation anew while the other adds a message: neither loses the other's.
    let other = admin.at(&app.other_process().await);
    let path = format!("/v1/conversations/{conversation}/messages");
    store
        .before_apply(async move {
            let body = json!({ "channel": "sms", "app": "x", "direction": "out", "preview": "reply" });
            other.post(&path, body).await.created();
        })
        .await;
    slow.patch(&format!("/v1/messages/{}", messages[0]), json!({ "preview": "first" })).await.ok();
    assert_eq!(store.conflicts(), 1);
    let it = admin.attributes(&format!("/v1/conversations/{conversation}")).await;
    assert_eq!((&it["messageCount"], &it["preview"], &it["name"]), (&json!(3), &json!("first"), &json!("first")));
    assert_eq!((&it["channels"], &it["lastMessageDirection"]), (&json!(["email", "sms"]), &json!("out")));
    let who = admin.attributes(&format!("/v1/customers/{customer}")).await;
    assert_eq!(who["preview"]["text"], "reply");

    // One process works out what remains of a customer while the other makes another conversation theirs.
    app.clock.advance(1_000);
    let newer = admin.conversation(&customer, json!({ "name": "newer" })).await;
    admin.message(&newer, json!({ "preview": "newest" })).await;
    let (_, elsewhere, _) = talk(&admin).await;
    app.clock.advance(1_000);
    admin.message(&elsewhere, json!({ "preview": "from elsewhere" })).await;
    let other = admin.at(&app.other_process().await);
    let (path, body) = (format!("/v1/conversations/{elsewhere}"), json!({ "customer": customer }));
    store.before_apply(async move { drop(other.patch(&path, body).await.ok()) }).await;
    assert_eq!(slow.delete(&format!("/v1/conversations/{newer}")).await.status, 204);
    assert_eq!(store.conflicts(), 2);
    let who = admin.attributes(&format!("/v1/customers/{customer}")).await;
    assert_eq!(
        (&who["preview"]["text"], &who["lastConversation"]["id"]),
        (&json!("from elsewhere"), &json!(elsewhere))
    );
    assert_eq!(who["conversationCounts"]["all"], 2);
});

on_both_engines!(what_was_only_looked_at_is_guarded_too, |app| async move {
    let admin = app.admin().await;
    let (store, slow) = held_back(&app, &admin).await;
    let customer = admin.customer().await;
    let mut talks = Vec::new();
    for n in 0..2 {
        app.clock.advance(1_000);
        let conversation = admin.conversation(&customer, json!({})).await;
        admin.message(&conversation, json!({ "preview": format!("{n}") })).await;
        talks.push(conversation);
    }
    // One process deletes the newest conversation and looks at the other one for what the customer shows now. Another
    // process tags that one meanwhile: it writes no row the first one writes, nor anything the customer shows.
    let (other, path) = (admin.at(&app.other_process().await), format!("/v1/conversations/{}/tags", talks[0]));
    store.before_apply(async move { drop(other.post(&path, json!(["vip"])).await.ok()) }).await;
    assert_eq!(slow.delete(&format!("/v1/conversations/{}", talks[1])).await.status, 204);
    assert_eq!(store.conflicts(), 1);
    let tags = admin.attributes(&format!("/v1/conversations/{}", talks[0])).await["tags"].clone();
    let who = admin.attributes(&format!("/v1/customers/{customer}")).await;
    assert_eq!((&who["lastConversation"]["id"], &who["lastConversation"]["tags"]), (&json!(talks[0]), &tags));
    assert_eq!(tags.as_array().map(Vec::len), Some(1));
});

on_both_engines!(a_conversation_moved_away_meanwhile_is_changed_where_it_is, |app| async move {
    let admin = app.admin().await;
    let (store, slow) = held_back(&app, &admin).await;
    let (_, conversation, messages) = talk(&admin).await;
    let target = admin.customer().await;
    let other = admin.at(&app.other_process().await);
    let (path, body) = (format!("/v1/conversations/{conversation}"), json!({ "customer": target }));
    store.before_apply(async move { drop(other.patch(&path, body).await.ok()) }).await;
    let it = slow.patch(&format!("/v1/messages/{}", messages[1]), json!({ "preview": "moved along" })).await.ok();
    assert_eq!(it["data"]["relationships"]["customer"]["data"]["id"], json!(target));
    assert_eq!(store.conflicts(), 1);
    let who = admin.attributes(&format!("/v1/customers/{target}")).await;
    assert_eq!(who["preview"]["text"], "moved along");
});

on_both_engines!(a_condition_that_no_longer_holds_is_a_conflict, |app| async move {
    let admin = app.admin().await;
    let (store, slow) = held_back(&app, &admin).await;
    let (customer, ..) = talk(&admin).await;
    let path = format!("/v1/customers/{customer}");
    let rev = admin.attributes(&path).await["rev"].clone();
    let (other, theirs) = (admin.at(&app.other_process().await), path.clone());
    store.before_apply(async move { drop(other.patch(&theirs, json!({ "name": "Ann" })).await.ok()) }).await;
    let reply = slow.patch(&path, json!({ "name": "Bea", "rev": rev })).await;
    assert_eq!(reply.error(), (409, "conflict".into(), "/rev".into()));
    assert_eq!(admin.attributes(&path).await["name"], "Ann");
});

/// Writers of two processes, all of one customer: none of them is refused, none is lost.
async fn writers_wait_their_turn(app: TestApp) {
    const WRITERS: usize = 48;
    let admin = app.admin().await;
    let (customer, conversation, _) = talk(&admin).await;
    let processes = [admin.at(&app.other_process().await), admin.at(&app.other_process().await)];
    let processes: Vec<Arc<Actor>> = processes.into_iter().map(Arc::new).collect();
    let writers: Vec<_> = (0..WRITERS)
        .map(|n| {
            let (actor, conversation) = (Arc::clone(&processes[n % 2]), conversation.clone());
            tokio::spawn(async move {
                let mut written = Vec::new();
                for _ in 0..3 {
                    let body =
                        json!({ "channel": "chat", "app": "x", "direction": if n % 3 == 0 { "out" } else { "in" } });
                    let path = format!("/v1/conversations/{conversation}/messages");
                    written.push(actor.post(&path, body).await.created_id());
                }
                written
            })
        })
        .collect();
    let mut written = Vec::new();
    for writer in writers {
        written.extend(writer.await.expect("the task ends"));
    }
    assert_eq!(written.len(), 3 * WRITERS);
    let it = admin.attributes(&format!("/v1/conversations/{conversation}")).await;
    assert_eq!(it["messageCount"], 2 + 3 * WRITERS);
    assert_eq!(it["outboundMessageCount"], WRITERS);
    let mut position = Position::default();
    let events = app.events(&mut position).await;
    let created = events.iter().filter(|event| event.verb == Verb::Create && event.kind.name() == "message").count();
    assert_eq!(created, 2 + 3 * WRITERS);
    // The customer's events tell one story: each revision of the conversation once, in order.
    let revs: Vec<i64> =
        events.iter().filter(|event| event.object.to_string() == conversation).map(|event| event.rev).collect();
    assert_eq!(revs, (1..=revs.len() as i64).collect::<Vec<_>>());
    assert_eq!(it["rev"], revs.len());
    let _ = customer;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_of_one_customer_wait_their_turn_on_sqlite() {
    writers_wait_their_turn(TestApp::new(Backend::Sqlite).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_of_one_customer_wait_their_turn_on_postgres() {
    writers_wait_their_turn(TestApp::new(Backend::Postgres).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_never_finds_its_turn_is_told_to_come_back() {
    let app = TestApp::new(Backend::Sqlite).await;
    let admin = app.admin().await;
    let (store, slow) = held_back(&app, &admin).await;
    let (customer, ..) = talk(&admin).await;
    store.lose_all();
    let reply = slow.patch(&format!("/v1/customers/{customer}"), json!({ "name": "Jane" })).await;
    assert_eq!(reply.error(), (503, "unavailable".into(), String::new()), "no condition of the caller's failed");
    assert_eq!(reply.headers["retry-after"], "1");
    assert!(store.conflicts() > 100, "it was tried again and again");
}

/// Of one thread: who has looked at the conversation waits for its customer before anybody else does anything.
async fn an_unclear_commit(app: TestApp) {
    let admin = app.admin().await;
    let (store, slow) = held_back(&app, &admin).await;
    let (_, conversation, _) = talk(&admin).await;
    let slow = Arc::new(slow);
    let send = |name: &'static str| {
        let (slow, path) = (Arc::clone(&slow), format!("/v1/conversations/{conversation}/messages"));
        let body = json!({ "channel": "chat", "app": "x", "direction": "in", "preview": name });
        tokio::spawn(async move { slow.post(&path, body).await })
    };
    // The first is held before it is applied, until two more wait for the customer; so is what is applied next.
    let (mut gates, mut arrivals) = (Vec::new(), Vec::new());
    for _ in 0..2 {
        let ((open, gate), (arrive, arrived)) = (oneshot::channel::<()>(), oneshot::channel::<()>());
        gates.push(open);
        arrivals.push(arrived);
        store
            .before_apply(async move {
                arrive.send(()).expect("the test waits");
                gate.await.expect("the test opens");
            })
            .await;
    }
    let (mut gates, mut arrivals) = (gates.into_iter(), arrivals.into_iter());
    let first = send("first");
    arrivals.next().expect("a gate").await.expect("the first is about to be applied");
    let (leader, follower) = {
        let looks = store.looks();
        let leader = send("leader");
        while store.looks() < looks + 1 {
            tokio::task::yield_now().await;
        }
        let follower = send("follower");
        while store.looks() < looks + 2 {
            tokio::task::yield_now().await;
        }
        (leader, follower)
    };
    gates.next().expect("a gate").send(()).expect("it waits");
    first.await.expect("the task ends").created();
    // The caller who took the other's message along goes away, and whether both were recorded stays unclear.
    arrivals.next().expect("a gate").await.expect("both are about to be applied");
    leader.abort();
    assert!(leader.await.is_err(), "it was still waiting");
    store.lose_answer();
    gates.next().expect("a gate").send(()).expect("it waits");
    let told = follower.await.expect("the task ends");
    assert_eq!((told.error().0, &*told.error().1), (500, "internal_error"));
    assert!(!told.headers.contains_key("retry-after"));
    let said = "the database did not say whether it was done; it may have been done: look before you try again";
    assert_eq!((&told.json()["error"], &told.json()["errors"][0]["detail"]), (&json!(said), &json!(said)));
    assert_eq!(admin.attributes(&format!("/v1/conversations/{conversation}")).await["messageCount"], 2 + 3);
}

#[tokio::test]
async fn a_message_is_recorded_once_though_its_commit_is_unclear_on_sqlite() {
    an_unclear_commit(TestApp::new(Backend::Sqlite).await).await;
}

#[tokio::test]
async fn a_message_is_recorded_once_though_its_commit_is_unclear_on_postgres() {
    an_unclear_commit(TestApp::new(Backend::Postgres).await).await;
}

on_both_engines!(a_key_that_stays_taken_is_not_waited_for, |app| async move {
    let admin = app.admin().await;
    let (store, slow) = held_back(&app, &admin).await;
    let customer = admin.customer().await;
    let (deleted, other) =
        (admin.conversation(&customer, json!({})).await, admin.conversation(&customer, json!({})).await);
    admin.message(&deleted, json!({ "externalId": "m" })).await;
    let path = format!("/v1/conversations/{deleted}");
    assert_eq!(admin.delete(&path).await.status, 204);
    admin.message(&other, json!({ "externalId": "m" })).await;
    // No look-up of the conversation finds what clashes.
    assert_eq!(slow.patch(&path, json!({ "deleted": false })).await.status, 409);
    assert!(store.refused() <= 10, "{}", store.refused());
});

on_both_engines!(a_poller_by_from_date_misses_nothing_of_a_customer, |app| async move {
    let admin = app.admin().await;
    let customer = admin.customer().await;
    let mut ids = Vec::new();
    for n in 0..6 {
        ids.push(admin.conversation(&customer, json!({ "name": format!("{n}") })).await);
    }
    let list = format!("/v1/customers/{customer}/conversations?pageSize=100");
    let (mut seen, mut since): (HashMap<String, i64>, Option<String>) = (HashMap::new(), None);
    let mut poll = async |admin: &Actor| {
        let path = since.as_ref().map_or(list.clone(), |since| format!("{list}&fromDate={since}"));
        let rows = admin.get(&path).await.ok()["data"].as_array().expect("rows").clone();
        for row in &rows {
            let attributes = &row["attributes"];
            seen.insert(row["id"].to_string(), attributes["rev"].as_i64().expect("a rev"));
            let at = attributes["updatedAt"].as_str().expect("a moment").to_owned();
            since = since.take().max(Some(at));
        }
        seen.clone()
    };
    let processes = [admin.at(&app.other_process().await), admin.at(&app.other_process().await)];
    poll(&admin).await;
    for round in 0..12usize {
        // The clock stands, moves, and steps back.
        app.clock.advance([0, 0, 7, -5][round % 4]);
        for (n, process) in processes.iter().enumerate() {
            let path = format!("/v1/conversations/{}", ids[(round + n) % 6]);
            process.patch(&path, json!({ "priority": 1 + (round + n) % 5, "name": format!("{round} {n}") })).await.ok();
            poll(&admin).await;
        }
    }
    let seen = poll(&admin).await;
    for id in ids {
        let rev = admin.attributes(&format!("/v1/conversations/{id}")).await["rev"].as_i64();
        assert_eq!(seen.get(&json!(id).to_string()).copied(), rev, "the newest state of each was seen");
    }
});

on_both_engines!(every_kind_of_change_leaves_its_event, |app| async move {
    let admin = app.admin().await;
    let mut position = app.feed().newest().await.expect("a position");
    let mut told = async || {
        let events = app.events(&mut position).await;
        let mut told: BTreeMap<String, usize> = BTreeMap::new();
        for event in &events {
            *told.entry(event.name()).or_default() += 1;
        }
        (told.into_iter().map(|(name, count)| format!("{name} {count}")).collect::<Vec<_>>(), events)
    };
    let user = admin.post("/v1/users", json!({ "name": "Ann", "email": "ann@acme.example" })).await.created_id();
    assert_eq!(told().await.0, ["kustomer.user.create 1"]);
    admin.post("/v1/teams", json!({ "name": "Desk", "members": [user] })).await.created();
    admin.post("/v1/tags", json!({ "name": "vip" })).await.created();
    assert_eq!(told().await.0, ["kustomer.tag.create 1", "kustomer.team.create 1"]);

    let customer = admin.customer().await;
    let path = format!("/v1/customers/{customer}");
    admin.patch(&path, json!({ "name": "Jane", "tags": ["new one"] })).await.ok();
    let (names, events) = told().await;
    assert_eq!(names, ["kustomer.customer.create 1", "kustomer.customer.update 1", "kustomer.tag.create 1"]);
    let update = events.iter().find(|event| event.verb == Verb::Update).expect("an update");
    let shown = admin.attributes(&path).await;
    let changes: Value = serde_json::from_str(update.changes.as_deref().expect("a difference")).expect("JSON");
    assert_eq!(changes["attributes"]["name"], json!({ "op": "replace", "before": null, "after": "Jane" }));
    assert_eq!(changes["attributes"]["updatedAt"]["after"], shown["updatedAt"], "the moment of the commit");
    assert_eq!(update.at.to_string(), shown["updatedAt"]);
    assert_eq!(update.actor.map(|user| user.to_string()), {
        let current = admin.get("/v1/users/current").await.ok();
        current["data"]["id"].as_str().map(str::to_owned)
    });
    admin.patch(&path, json!({ "name": "Jane" })).await.ok();
    assert_eq!(told().await.0, Vec::<String>::new(), "what changes nothing is not told");

    let conversation = admin.conversation(&customer, json!({})).await;
    let first = admin.message(&conversation, json!({ "preview": "hello" })).await;
    let note = admin.post("/v1/notes", json!({ "conversation": conversation, "body": "a" })).await.created_id();
    let (names, events) = told().await;
    assert_eq!(
        names,
        [
            "kustomer.conversation.create 1",
            "kustomer.conversation.update 2",
            "kustomer.customer.update 2",
            "kustomer.message.create 1",
            "kustomer.note.create 1"
        ]
    );
    let order: Vec<String> = events.iter().skip(2).take(3).map(|event| event.name()).collect();
    assert_eq!(order, ["kustomer.message.create", "kustomer.conversation.update", "kustomer.customer.update"]);

    let path = format!("/v1/conversations/{conversation}");
    admin
        .patch(
            &path,
            json!({ "status": "snoozed", "snooze": { "status": "scheduled", "time": app.now().plus(1_000) } }),
        )
        .await
        .ok();
    assert_eq!(told().await.0, ["kustomer.conversation.update 1", "kustomer.customer.update 1"]);
    app.clock.advance(1_000);
    assert_eq!(app.end_snoozes().await, 1);
    let (names, events) = told().await;
    assert_eq!(names, ["kustomer.conversation.update 1", "kustomer.customer.update 1"]);
    assert!(events.iter().all(|event| event.actor.is_none()), "it happened by itself");

    // Deleting and restoring tell of everything that hides and shows along.
    assert_eq!(admin.delete(&path).await.status, 204);
    let hidden = told().await.0;
    assert_eq!(
        hidden,
        [
            "kustomer.conversation.delete 1",
            "kustomer.customer.update 1",
            "kustomer.message.delete 1",
            "kustomer.note.delete 1"
        ]
    );
    admin.patch(&path, json!({ "deleted": false })).await.ok();
    let shown: Vec<String> = hidden.iter().map(|name| name.replace("delete", "restore")).collect();
    assert_eq!(told().await.0, shown, "a restore can be told from an update");
    assert_eq!(admin.delete(&format!("/v1/notes/{note}")).await.status, 204);
    admin.patch(&format!("/v1/notes/{note}"), json!({ "deleted": null })).await.ok();
    let (names, _) = told().await;
    assert!(
        names.contains(&"kustomer.note.delete 1".to_owned()) && names.contains(&"kustomer.note.restore 1".to_owned())
    );
    admin.patch(&format!("/v1/messages/{first}"), json!({ "lang": "en_us" })).await.ok();
    assert_eq!(told().await.0, ["kustomer.message.update 1"]);

    let target = admin.customer().await;
    admin.patch(&path, json!({ "customer": target })).await.ok();
    let (names, events) = told().await;
    assert_eq!(
        names,
        [
            "kustomer.conversation.update 1",
            "kustomer.customer.create 1",
            "kustomer.customer.update 2",
            "kustomer.message.update 1",
            "kustomer.note.update 1"
        ]
    );
    let moved = events.iter().find(|event| event.kind.name() == "conversation").expect("the conversation");
    assert!(moved.changes.as_deref().is_some_and(|changes| changes.contains(&customer) && changes.contains(&target)));

    assert_eq!(admin.delete(&format!("/v1/customers/{target}")).await.status, 204);
    assert_eq!(
        told().await.0,
        [
            "kustomer.conversation.delete 1",
            "kustomer.customer.delete 1",
            "kustomer.message.delete 1",
            "kustomer.note.delete 1"
        ]
    );

    // Tokens: made, used, revoked.
    let token = app.actor(&["org.user"]).await;
    assert_eq!(told().await.0, ["kustomer.auth_token.create 1", "kustomer.user.create 1"]);
    app.domain.store_token_uses().await.expect("it is stored");
    told().await;
    token.get("/v1/users/current").await.ok();
    app.domain.store_token_uses().await.expect("it is stored");
    assert_eq!(told().await.0, ["kustomer.auth_token.update 1"]);
    assert_eq!(token.delete("/v1/auth/tokens/current").await.status, 204);
    assert_eq!(told().await.0, ["kustomer.auth_token.delete 1"]);
    // An org's sequence begins with the org.
    let all = app.events(&mut Position::default()).await;
    assert_eq!(all[0].name(), "kustomer.org.create");
});

on_both_engines!(what_nobody_sees_is_not_worked_out_anew, |app| async move {
    let admin = app.admin().await;
    let (store, counted) = held_back(&app, &admin).await;
    let customer = admin.customer().await;
    let mut talks = Vec::new();
    for n in 0..12 {
        app.clock.advance(1_000);
        let conversation = admin.conversation(&customer, json!({ "name": format!("{n}") })).await;
        let message = admin.message(&conversation, json!({ "preview": format!("text {n}") })).await;
        talks.push((conversation, message));
    }
    let read = |kind| store.rows_read(kind).0;
    let (conversation, message) = &talks[3];
    counted.patch(&format!("/v1/messages/{message}"), json!({ "preview": "another text" })).await.ok();
    assert_eq!((read(Kind::Conversation), read(Kind::Message)), (0, 1), "only the conversation itself is folded anew");
    assert_eq!(counted.delete(&format!("/v1/conversations/{conversation}")).await.status, 204);
    counted.patch(&format!("/v1/conversations/{conversation}"), json!({ "deleted": false })).await.ok();
    counted.patch(&format!("/v1/conversations/{conversation}"), json!({ "deleted": true })).await.ok();
    assert_eq!(read(Kind::Conversation), 0, "the customer shows nothing of it");
    let before = admin.attributes(&format!("/v1/customers/{customer}")).await;
    assert_eq!((&before["preview"]["text"], &before["conversationCounts"]["all"]), (&json!("text 11"), &json!(11)));

    // The newest message's text is what the customer shows; nothing else has to be looked at for it.
    counted.patch(&format!("/v1/messages/{}", talks[11].1), json!({ "preview": "newest" })).await.ok();
    assert_eq!(read(Kind::Conversation), 0);
    let who = admin.attributes(&format!("/v1/customers/{customer}")).await;
    assert_eq!(who["preview"]["text"], "newest");
    // When it goes, the others tell what comes after it.
    assert_eq!(counted.delete(&format!("/v1/conversations/{}", talks[11].0)).await.status, 204);
    assert_eq!(read(Kind::Conversation), 11);
    let who = admin.attributes(&format!("/v1/customers/{customer}")).await;
    assert_eq!((&who["preview"]["text"], &who["lastConversation"]["id"]), (&json!("text 10"), &json!(talks[10].0)));
    // A message that was sent earlier than it was said to be: another one may be the newest now.
    let earlier = app.now().plus(-60_000);
    counted.patch(&format!("/v1/messages/{}", talks[10].1), json!({ "sentAt": earlier })).await.ok();
    let who = admin.attributes(&format!("/v1/customers/{customer}")).await;
    assert_eq!((&who["preview"]["text"], &who["lastConversation"]["id"]), (&json!("text 9"), &json!(talks[9].0)));
});

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_conversation_is_folded_anew_without_being_held() {
    let app = TestApp::new(Backend::Sqlite).await;
    let admin = app.admin().await;
    let customer = admin.customer().await;
    let conversation = admin.conversation(&customer, json!({})).await;
    let mut importer = Importer::new(&app.domain, app.org.id).await.expect("an import");
    // Recorded in another order than sent.
    let rows = (0..1_300i64).map(|n| {
        let sent = app.now().plus(-10_000_000 + (n * 7 % 1_300) * 1_000);
        let direction = if n % 3 == 0 { "out" } else { "in" };
        let row = json!({
            "externalId": format!("m{n}"), "conversation": conversation, "channel": "chat", "app": "x",
            "direction": direction, "sentAt": sent, "createdAt": app.now().plus(-20_000_000 + n), "preview": format!("{n}"),
        });
        ImportKind::Messages.read(&row.to_string()).expect("a row")
    });
    let outcomes = importer.take(ImportKind::Messages, rows.collect()).await.expect("the rows are taken");
    assert!(outcomes.iter().all(|outcome| *outcome == RowOutcome::Created));
    let before = admin.attributes(&format!("/v1/conversations/{conversation}")).await;
    assert_eq!((&before["messageCount"], &before["preview"]), (&json!(1_300), &json!("0")));

    let (store, counted) = held_back(&app, &admin).await;
    let path = format!("/v1/messages/{}", message_named(&admin, "m650").await);
    let text = admin.attributes(&path).await["preview"].clone();
    // What only the first and the last message tell others of is no reason to look at the rest.
    for change in [json!({ "subject": "changed" }), json!({ "preview": "changed" }), json!({ "preview": text })] {
        counted.patch(&path, change).await.ok();
    }
    assert_eq!(store.rows_read(Kind::Message), (0, 0));
    counted.patch(&path, json!({ "meta": { "to": "changed" } })).await.ok();
    let (all, most) = store.rows_read(Kind::Message);
    assert_eq!((all, most), (1_300, 500), "a page at a time");
    let after = admin.attributes(&format!("/v1/conversations/{conversation}")).await;
    for name in [
        "messageCount",
        "outboundMessageCount",
        "firstMessageIn",
        "lastMessageIn",
        "lastMessageOut",
        "name",
        "firstResponse",
        "lastResponse",
        "channels",
        "lastMessageUnrespondedTo",
    ] {
        assert_eq!(after[name], before[name], "{name}");
    }
    assert_eq!(admin.attributes(&path).await["preview"], text);
}

async fn message_named(admin: &Actor, external_id: &str) -> String {
    let found = admin.get(&format!("/v1/messages/externalid={external_id}")).await.ok();
    found["data"]["id"].as_str().expect("an id").to_owned()
}

on_both_engines!(moments_do_not_lie_ahead, |app| async move {
    let admin = app.admin().await;
    let (store, counted) = held_back(&app, &admin).await;
    let (customer, conversation, _) = talk(&admin).await;
    let (ahead, skewed) = (app.now().plus(5 * 60_000 + 1), app.now().plus(5 * 60_000));
    let path = format!("/v1/conversations/{conversation}/messages");
    let body = |more: Value| {
        let mut body = json!({ "channel": "email", "app": "x", "direction": "in" });
        body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        body
    };
    for name in ["sentAt", "createdAt"] {
        for at in [json!(ahead), json!("9999-12-31T23:59:59.999Z")] {
            let reply = admin.post(&path, body(json!({ name: at }))).await;
            assert_eq!(reply.error(), (400, "bad_request".into(), format!("/{name}")));
        }
    }
    let far = json!({ "createdAt": "9999-12-30T00:00:00Z", "importedAt": "2026-01-01T00:00:00Z" });
    let agent = app.actor(&["org.user"]).await;
    let wrong = (400, "bad_request".to_owned(), "/createdAt".to_owned());
    assert_eq!(agent.post("/v1/customers", far.clone()).await.error(), wrong);
    assert_eq!(agent.post(&format!("/v1/customers/{customer}/conversations"), far.clone()).await.error(), wrong);
    let mut note = far.clone();
    note["body"] = json!("n");
    assert_eq!(agent.post(&format!("/v1/conversations/{conversation}/notes"), note).await.error(), wrong);
    for name in ["lastActivityAt", "lastCustomerActivityAt"] {
        let reply = admin.patch(&format!("/v1/customers/{customer}"), json!({ name: ahead })).await;
        assert_eq!(reply.error(), (400, "bad_request".into(), format!("/{name}")));
    }

    // A clock that is a few minutes fast says now.
    let fast = admin.post(&path, body(json!({ "sentAt": skewed, "createdAt": skewed }))).await.created();
    let attributes = &fast["data"]["attributes"];
    for name in ["sentAt", "createdAt", "modifiedAt"] {
        assert_eq!(attributes[name], json!(app.now()), "{name}");
    }
    let reply = admin
        .patch(&format!("/v1/messages/{}", fast["data"]["id"].as_str().expect("an id")), json!({ "sentAt": ahead }))
        .await;
    assert_eq!(reply.error(), (400, "bad_request".into(), "/sentAt".into()));
    // So what is said next comes later, and nothing is folded anew.
    app.clock.advance(1);
    counted.post(&path, body(json!({ "preview": "next" }))).await.created();
    assert_eq!(store.rows_read(Kind::Message).0, 0);
    let who = admin.attributes(&format!("/v1/customers/{customer}")).await;
    assert_eq!((&who["lastActivityAt"], &who["preview"]["text"]), (&json!(app.now()), &json!("next")));
});

on_both_engines!(created_at_is_a_place_in_lists_and_stays, |app| async move {
    let admin = app.admin().await;
    let (_, conversation, messages) = talk(&admin).await;
    let note = admin.post("/v1/notes", json!({ "conversation": conversation, "body": "n" })).await.created_id();
    for path in [format!("/v1/messages/{}", messages[1]), format!("/v1/notes/{note}")] {
        let before = admin.attributes(&path).await["createdAt"].clone();
        let body = json!({ "createdAt": "2020-01-01T00:00:00Z" });
        assert_eq!(admin.patch(&path, body).await.ok()["data"]["attributes"]["createdAt"], before);
    }
    let listed = admin.get(&format!("/v1/conversations/{conversation}/messages")).await.ids();
    assert_eq!(listed, messages);
});

on_both_engines!(an_import_beside_writers_takes_every_good_row, |app| async move {
    let admin = app.admin().await;
    let (customer, conversation, _) = talk(&admin).await;
    let store = Interposed::new(app.store.reopened().await);
    let domain = Domain::new(store.clone(), app.clock.clone(), Ids::new(seeded(17)), Settings::default()).shared();
    let mut importer = Importer::new(&domain, app.org.id).await.expect("an import");
    // Another process writes to the same customer before each of the first attempts, until the import claims its turn.
    for n in 0..5 {
        let (other, path) = (admin.at(&app.other_process().await), format!("/v1/customers/{customer}"));
        store.before_apply(async move { drop(other.patch(&path, json!({ "name": format!("{n}") })).await.ok()) }).await;
    }
    let row = |n: u32| {
        let row = json!({
            "externalId": format!("m{n}"), "conversation": conversation, "channel": "chat", "app": "x",
            "direction": "in", "sentAt": "2026-01-01T00:00:00Z", "createdAt": "2026-01-01T00:00:00Z",
        });
        ImportKind::Messages.read(&row.to_string()).expect("a row")
    };
    let outcomes = importer.take(ImportKind::Messages, (0..3).map(row).collect()).await.expect("rows are taken");
    assert_eq!(outcomes, [RowOutcome::Created, RowOutcome::Created, RowOutcome::Created]);
    assert_eq!(store.conflicts(), 5, "each of the others' writes was in the way once");
    let it = admin.attributes(&format!("/v1/conversations/{conversation}")).await;
    assert_eq!(it["messageCount"], 5);

    // A row that names the id of a row that was refused is taken; one that names a taken one is there already.
    let id = "671a2d10a3f1b20012c4d0aa";
    let rows = [
        json!({ "id": id, "customer": "671a2d10a3f1b20012c4ffff", "name": "of nobody" }),
        json!({ "id": id, "customer": customer, "name": "of the customer" }),
        json!({ "id": id, "customer": customer, "name": "once more" }),
    ];
    let rows = rows.iter().map(|row| ImportKind::Conversations.read(&row.to_string()).expect("a row")).collect();
    let outcomes = importer.take(ImportKind::Conversations, rows).await.expect("rows are taken");
    assert!(matches!(outcomes[0], RowOutcome::Rejected(_)), "{outcomes:?}");
    assert_eq!(outcomes[1..], [RowOutcome::Created, RowOutcome::Present]);
    assert_eq!(admin.attributes(&format!("/v1/conversations/{id}")).await["name"], "of the customer");
});

on_both_engines!(a_names_owner_is_a_kind_and_an_id, |app| async move {
    let admin = app.admin().await;
    let tag = admin.post("/v1/tags", json!({ "name": "vip" })).await.created_id();
    let user = admin.post("/v1/users", json!({ "name": "Ann", "email": "ann@acme.example" })).await.created_id();
    // Files name ids as they like; over HTTP they are given.
    let mut importer = Importer::new(&app.domain, app.org.id).await.expect("an import");
    let kind = ImportKind::Customers;
    let rows = [&tag, &user].map(|id| kind.read(&json!({ "id": id }).to_string()).expect("a row"));
    importer.take(kind, rows.into()).await.expect("the rows are taken");
    for id in [&tag, &user] {
        assert_eq!(admin.delete(&format!("/v1/customers/{id}")).await.status, 204);
    }
    assert_eq!(admin.post("/v1/tags", json!({ "name": "VIP" })).await.error().0, 409, "the tag's name is still taken");
    let again = admin.post("/v1/users", json!({ "name": "Ann", "email": "Ann@acme.example" })).await;
    assert_eq!(again.error().0, 409, "the user's address is still taken");
});
