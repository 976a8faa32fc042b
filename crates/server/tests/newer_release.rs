//! A document that a newer release wrote, with members this one has never heard of: whatever is changed in it here, they
//! stay as they are.

use std::sync::Arc;

use konverse_jobs::{Rerender, Round};
use konverse_model::RENDERER;
use konverse_testkit::{Place, TestApp, on_both_engines};
use serde_json::{Value, json};

/// An attribute of a later day, in a spelling of its own. It has a member by the name of one of ours.
const ATTRIBUTE: &str =
    r#""mood":{"b":[1.50,12345678901234567890123],"a":"\u00e9\/","updatedAt":"2031-01-01T00:00:00.000Z"}"#;

/// A relationship of a later day: unknown by its name, its type, its members.
const RELATIONSHIP: &str =
    r#""workItem":{"links":{"self":"/v1/work-items/x-1"},"data":{"type":"work_item","id":"x-1"},"meta":{"n":1e2}}"#;

async fn text(place: &Place, table: &str, id: &str) -> (String, i64) {
    let id = place.id(id);
    let row = place.rows(&format!("SELECT doc, version FROM {table} WHERE id = {id}")).await.remove(0);
    (row["doc"].as_str().expect("a text").to_owned(), row["version"].as_i64().expect("a number"))
}

/// Leaves a record as the next release might.
async fn written_by_the_next(app: &TestApp, table: &str, id: &str) -> String {
    let place = app.store.place();
    let (doc, _) = text(place, table, id).await;
    const END: &str = r#"},"relationships":{"#;
    assert_eq!(doc.matches(END).count(), 1);
    let doc = doc.replace(END, &format!(",{ATTRIBUTE}{END}{RELATIONSHIP},"));
    assert!(serde_json::from_str::<Value>(&doc).is_ok());
    let (sql, id) = (doc.replace('\'', "''"), place.id(id));
    place.run(&format!("UPDATE {table} SET doc = '{sql}', version = {} WHERE id = {id}", RENDERER + 1)).await;
    doc
}

on_both_engines!(what_a_newer_release_wrote_survives_changes, |app| async move {
    let admin = app.admin().await.of_any_release();
    let customer = admin.customer().await;
    let conversation = admin.conversation(&customer, json!({})).await;
    let message = admin.message(&conversation, json!({ "preview": "first" })).await;
    let note = admin.post("/v1/notes", json!({ "conversation": conversation, "body": "a" })).await.created_id();
    let records = [
        ("customer", "customers", &customer, json!({ "name": "Ann" })),
        ("conversation", "conversations", &conversation, json!({ "name": "Renamed" })),
        ("message", "messages", &message, json!({ "preview": "changed" })),
        ("note", "notes", &note, json!({ "body": "b" })),
    ];
    let mut left = Vec::new();
    for (table, _, id, _) in &records {
        left.push(written_by_the_next(&app, table, id).await);
    }

    // It is not outdated, and nobody renders it anew.
    assert_eq!(app.round(&Rerender(Arc::clone(&app.domain))).await, Round::default());
    for ((table, path, id, _), left) in records.iter().zip(&left) {
        assert_eq!(text(app.store.place(), table, id).await, (left.clone(), RENDERER + 1));
        let read = admin.get(&format!("/v1/{path}/{id}")).await;
        assert!(String::from_utf8_lossy(&read.body).contains(left.as_str()), "it is answered as it is: {table}");
    }

    for (table, path, id, body) in &records {
        app.clock.advance(1_000);
        let path = format!("/v1/{path}/{id}");
        let reply = admin.patch(&path, body.clone()).await;
        let answer = reply.ok();
        let attributes = &answer["data"]["attributes"];
        let (name, value) = body.as_object().expect("a body").iter().next().expect("an attribute");
        assert_eq!(&attributes[name], value);
        assert_eq!(attributes["updatedAt"], json!(app.now()), "the moment is written where it belongs: {table}");
        let (doc, version) = text(app.store.place(), table, id).await;
        for member in [ATTRIBUTE, RELATIONSHIP] {
            assert!(doc.contains(member), "{table}, byte for byte: {doc}");
            assert!(String::from_utf8_lossy(&reply.body).contains(member), "{table}");
        }
        let stored: Value = serde_json::from_str(&doc).expect("JSON");
        assert_eq!(stored, answer["data"], "{table}");
        assert_eq!(version, RENDERER, "the newer release renders it anew");
        let told = "SELECT changes FROM event WHERE changes LIKE '%mood%' OR changes LIKE '%workItem%'";
        assert_eq!(app.store.place().rows(told).await.len(), 0, "nobody is told that they changed");
    }

    // What follows from another change leaves them, too.
    admin.message(&conversation, json!({ "preview": "another" })).await;
    let other = admin.customer().await;
    admin.patch(&format!("/v1/conversations/{conversation}"), json!({ "customer": other })).await.ok();
    for (table, _, id, _) in &records {
        let (doc, _) = text(app.store.place(), table, id).await;
        assert!(doc.contains(ATTRIBUTE) && doc.contains(RELATIONSHIP), "{table}: {doc}");
    }
});
