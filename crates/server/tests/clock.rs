//! The clock steps an hour forth or back, as it does when somebody sets it, a machine wakes up or a server of time is
//! wrong: what was promised holds nevertheless.

use std::collections::BTreeSet;

use konverse_domain::NewToken;
use konverse_jobs::Runner;
use konverse_model::Id;
use konverse_testkit::{Actor, on_both_engines};
use serde_json::{Value, json};

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;

/// Forth, back beyond where it began, and nearly to where it was.
const STEPS: [i64; 4] = [HOUR, -2 * HOUR, 2 * HOUR, -HOUR];

fn texts(rows: &[Value], pointer: &str) -> Vec<String> {
    rows.iter().map(|row| row.pointer(pointer).and_then(Value::as_str).expect("a text").to_owned()).collect()
}

/// The rows that follow a page's link, and its own.
async fn rows_from(actor: &Actor, first: &str) -> Vec<Value> {
    let (mut rows, mut next) = (Vec::new(), Some(first.to_owned()));
    while let Some(path) = next {
        let page = actor.get(&path).await.ok();
        rows.extend(page["data"].as_array().expect("a list").clone());
        next = page["links"]["next"].as_str().map(str::to_owned);
        assert!(rows.len() < 1000, "the links go round in a circle");
    }
    rows
}

on_both_engines!(a_walk_misses_nothing_and_repeats_nothing, |app| async move {
    let admin = app.admin().await;
    let customer = admin.customer().await;
    let list = format!("/v1/customers/{customer}/conversations");
    let mut there = Vec::new();
    for step in STEPS {
        for _ in 0..4 {
            there.push(admin.conversation(&customer, json!({})).await);
        }
        // Half of the walk before the step, half after it and after what was written then.
        let page = admin.get(&format!("{list}?pageSize=3")).await.ok();
        app.clock.advance(step);
        let new: Vec<String> =
            [admin.conversation(&customer, json!({})).await, admin.conversation(&customer, json!({})).await].into();
        let mut rows = page["data"].as_array().expect("a list").clone();
        rows.extend(rows_from(&admin, page["links"]["next"].as_str().expect("more rows")).await);
        let ids = texts(&rows, "/id");
        let distinct: BTreeSet<&String> = ids.iter().collect();
        assert_eq!(distinct.len(), ids.len(), "none comes twice");
        assert!(there.iter().all(|id| distinct.contains(id)), "none is missed");
        there.extend(new);
    }
    // Afterwards the list is whole, in one order, and the same by page numbers.
    let rows = rows_from(&admin, &format!("{list}?pageSize=5")).await;
    let mut moments = texts(&rows, "/attributes/createdAt");
    assert_eq!(rows.len(), there.len());
    moments.reverse();
    assert!(moments.is_sorted(), "{moments:?}");
    let mut by_number = Vec::new();
    for page in 1..=there.len().div_ceil(5) {
        by_number.extend(admin.get(&format!("{list}?pageSize=5&page={page}")).await.ids());
    }
    assert_eq!(by_number, texts(&rows, "/id"));
    let counts = &admin.attributes(&format!("/v1/customers/{customer}")).await["conversationCounts"];
    assert_eq!(counts["all"], there.len());
});

on_both_engines!(moments_of_a_record_never_go_back, |app| async move {
    let admin = app.admin().await;
    let customer = admin.customer().await;
    let conversation = admin.conversation(&customer, json!({})).await;
    let message = admin.message(&conversation, json!({})).await;
    let records = [
        format!("/v1/customers/{customer}"),
        format!("/v1/conversations/{conversation}"),
        format!("/v1/messages/{message}"),
    ];
    for (n, step) in STEPS.into_iter().enumerate() {
        for path in &records {
            let before = admin.attributes(path).await;
            app.clock.advance(step);
            admin.patch(path, json!({ "custom": { "stepNum": n } })).await.ok();
            let after = admin.attributes(path).await;
            app.clock.advance(-step);
            let moment = |attributes: &Value, name: &str| attributes[name].as_str().unwrap_or_default().to_owned();
            assert!(moment(&after, "updatedAt") >= moment(&before, "updatedAt"), "{path}: {before} {after}");
            assert!(moment(&after, "modifiedAt") >= moment(&before, "modifiedAt"), "{path}: {before} {after}");
            assert!(moment(&after, "updatedAt") >= moment(&after, "modifiedAt"), "{path}: {after}");
            assert!(moment(&after, "modifiedAt") >= moment(&after, "createdAt"), "{path}: {after}");
            assert_eq!(before["createdAt"], after["createdAt"], "{path}");
            assert_eq!(after["rev"].as_i64(), before["rev"].as_i64().map(|rev| rev + 1), "{path}");
        }
        app.clock.advance(step);
    }
});

on_both_engines!(who_polls_by_updated_at_sees_every_change, |app| async move {
    let admin = app.admin().await;
    let customer = admin.customer().await;
    let list = format!("/v1/customers/{customer}/conversations?pageSize=100");
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(admin.conversation(&customer, json!({})).await);
    }
    let mut since = String::new();
    for step in [0].into_iter().chain(STEPS) {
        app.clock.advance(step);
        for (n, id) in ids.iter().enumerate() {
            admin.patch(&format!("/v1/conversations/{id}"), json!({ "name": format!("{step} {n}") })).await.ok();
            let path = if since.is_empty() { list.clone() } else { format!("{list}&fromDate={since}") };
            let rows = admin.get(&path).await.ok()["data"].as_array().expect("a list").clone();
            let seen = rows.iter().find(|row| row["id"] == json!(id)).expect("what just changed is seen");
            assert_eq!(seen["attributes"]["name"], format!("{step} {n}"));
            let newest = texts(&rows, "/attributes/updatedAt").into_iter().max().expect("a row");
            since = since.max(newest);
        }
    }
});

on_both_engines!(messages_are_counted_and_the_newest_is_the_one_that_came_last_by_the_clock, |app| async move {
    let admin = app.admin().await;
    let customer = admin.customer().await;
    let conversation = admin.conversation(&customer, json!({})).await;
    let mut sent = Vec::new();
    for step in [0].into_iter().chain(STEPS) {
        app.clock.advance(step);
        for direction in ["in", "out"] {
            app.clock.advance(1_000);
            let body = json!({ "direction": direction, "preview": format!("{} of {step}", sent.len()) });
            let id = admin.message(&conversation, body).await;
            sent.push((
                admin.attributes(&format!("/v1/messages/{id}")).await["sentAt"].as_str().expect("a moment").to_owned(),
                id,
            ));
        }
    }
    let listed = rows_from(&admin, &format!("/v1/conversations/{conversation}/messages?pageSize=3")).await;
    assert_eq!(listed.len(), sent.len());
    let it = admin.attributes(&format!("/v1/conversations/{conversation}")).await;
    assert_eq!((&it["messageCount"], &it["inboundMessageCount"]), (&json!(sent.len()), &json!(sent.len() / 2)));
    let newest = sent.iter().max().expect("a message");
    assert_eq!(it["lastMessageAt"], json!(newest.0));
    let of = |direction: usize| sent.iter().skip(direction).step_by(2);
    assert_eq!(it["firstMessageIn"]["id"], json!(of(0).min().expect("a message").1));
    assert_eq!(it["lastMessageIn"]["id"], json!(of(0).max().expect("a message").1));
    assert_eq!(it["lastMessageOut"]["id"], json!(of(1).max().expect("a message").1));
    let who = admin.attributes(&format!("/v1/customers/{customer}")).await;
    assert_eq!(who["lastMessageAt"], json!(newest.0));
});

on_both_engines!(a_snooze_ends_once_and_not_before_its_time, |app| async move {
    let admin = app.admin().await;
    let customer = admin.customer().await;
    let path = format!("/v1/conversations/{}", admin.conversation(&customer, json!({})).await);
    let status = async || admin.attributes(&path).await["status"].clone();
    for (n, step) in STEPS.into_iter().enumerate() {
        let time = app.now().plus(30 * MINUTE).to_string();
        let body = json!({ "status": "snoozed", "snooze": { "status": "scheduled", "time": time } });
        assert_eq!(admin.patch(&path, body).await.ok()["data"]["attributes"]["snooze"]["time"], json!(time));
        assert_eq!(app.end_snoozes().await, 0);
        app.clock.advance(step);
        if step < 0 {
            assert_eq!(
                (app.end_snoozes().await, status().await),
                (0, json!("snoozed")),
                "its time is further away now"
            );
            app.clock.advance(30 * MINUTE - step);
        }
        assert_eq!((app.end_snoozes().await, status().await), (1, json!("open")));
        // Gone back to before its time, it does not end again.
        app.clock.advance(-HOUR);
        assert_eq!((app.end_snoozes().await, status().await), (0, json!("open")));
        assert_eq!(admin.attributes(&path).await["snoozeCount"], n + 1);
    }
});

on_both_engines!(a_token_is_expired_as_long_as_the_clock_says_so, |app| async move {
    let new = NewToken {
        name: "short".into(),
        roles: vec!["org".parse().expect("a role")],
        expires_at: Some(app.now().plus(30 * MINUTE)),
        cidr: None,
    };
    let minted = app.domain.create_token(&app.org, new).await.expect("the token is made");
    let actor = app.bearer(&minted.secret);
    for (step, status) in [(0, 200), (HOUR, 401), (-2 * HOUR, 200), (2 * HOUR, 401)] {
        app.clock.advance(step);
        // Twice: what is kept in memory of the token is no other than what is stored.
        for _ in 0..2 {
            assert_eq!(actor.get("/v1/customers").await.status, status, "after a step of {step} ms");
        }
    }
});

on_both_engines!(a_lease_of_a_process_that_is_gone_ends_although_the_clock_was_set_back, |app| async move {
    let (gone, other) = (app.runner(), Runner::new(app.store.store(), app.clock.clone(), Id::from_bytes([9; 12])));
    assert!(gone.holds("work").await.expect("it is taken"));
    assert!(!other.holds("work").await.expect("it is asked for"), "its holder may be at work");
    // A correction by a moment takes nothing from anybody.
    app.clock.advance(-1_000);
    assert!(!other.holds("work").await.expect("it is asked for"));
    app.clock.advance(-HOUR);
    assert!(other.holds("work").await.expect("it is taken"), "no lease lasts an hour");
    assert!(!gone.holds("work").await.expect("it is asked for"));
    app.clock.advance(HOUR);
    assert!(gone.holds("work").await.expect("it is taken"));
});
