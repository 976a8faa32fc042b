//! What is taken in has limits, and what is within them can be worked with.

use konverse_domain::{ImportKind, Importer, RowError, RowOutcome};
use konverse_model::limits::{DEEPEST, LONGEST_CUSTOM_NAME, LONGEST_NAME, MOST_KEYS};
use konverse_testkit::{Actor, TestApp, on_both_engines};
use serde_json::{Map, Value, json};

use crate::{MINUTE, at, conversation, customer, message};

/// Objects and arrays, one within the other.
fn nested(levels: usize) -> Value {
    (1..levels).fold(json!({}), |inner, n| if n % 2 == 1 { json!([inner]) } else { json!({ "in": inner }) })
}

fn keys(count: usize, value: &Value) -> Map<String, Value> {
    (0..count).map(|n| (format!("k{n}Str"), value.clone())).collect()
}

/// What becomes of a row of an import.
async fn imported(app: &TestApp, kind: ImportKind, row: &Value) -> Result<RowOutcome, RowError> {
    let row = kind.read(&row.to_string())?;
    let mut importer = Importer::new(&app.domain, app.org.id).await.expect("an import begins");
    Ok(importer.take(kind, vec![row]).await.expect("the database answers").remove(0))
}

#[track_caller]
fn refused(outcome: Result<RowOutcome, RowError>, pointer: &str) {
    let (Err(RowError(text)) | Ok(RowOutcome::Rejected(RowError(text)))) = outcome else {
        panic!("{pointer} was taken: {outcome:?}");
    };
    assert!(text.starts_with(&format!("{pointer} must not ")) && text.len() < 200, "{text}");
}

async fn patched(agent: &Actor, path: &str, custom: Value) -> (u16, String) {
    let reply = agent.patch(path, json!({ "custom": custom })).await;
    if reply.status == 200 { (200, String::new()) } else { (reply.error().0, reply.error().2) }
}

on_both_engines!(what_is_nested_too_deep_is_refused_and_what_is_not_can_be_worked_with, |app| async move {
    let agent = app.admin().await;
    let (who, other) = (agent.customer().await, agent.customer().await);
    let id = agent.conversation(&who, json!({})).await;
    let second = agent.conversation(&who, json!({})).await;
    let here = format!("/v1/conversations/{id}/messages");
    let body = |meta: Value| json!({ "channel": "email", "app": "t", "preview": "Hi", "meta": meta });
    for levels in [DEEPEST, 125] {
        let reply = agent.post(&here, body(json!({ "in": nested(levels - 1) }))).await;
        assert_eq!(reply.error(), (400, "bad_request".into(), "/meta".into()), "{levels}");
    }
    assert_eq!(agent.post(&here, body(nested(200))).await.status, 400);
    let tags = agent.post(&format!("/v1/conversations/{id}/tags"), json!(["a", nested(DEEPEST)])).await;
    assert_eq!(tags.error().2, "/1");

    let deep = json!({ "in": nested(DEEPEST - 2) });
    let first = agent.post(&here, body(deep.clone())).await.created_id();
    app.clock.advance(MINUTE);
    let out = json!({ "channel": "email", "app": "t", "direction": "out", "meta": deep });
    agent.post(&here, out).await.created();
    let path = format!("/v1/conversations/{id}");
    agent.patch(&path, json!({ "name": "Deep" })).await.ok();
    let snooze = json!({ "status": "snoozed", "snooze": { "status": "scheduled", "time": at(9) } });
    agent.patch(&path, snooze).await.ok();
    agent.post(&format!("{path}/notes"), json!({ "body": "n" })).await.created();
    assert_eq!(agent.delete(&format!("/v1/conversations/{second}")).await.status, 204);
    app.clock.advance(10 * MINUTE);
    assert_eq!(app.end_snoozes().await, 1);
    agent.patch(&format!("/v1/messages/{first}"), json!({ "preview": "Ho" })).await.ok();
    agent.patch(&path, json!({ "customer": other })).await.ok();

    let it = conversation(&agent, &id).await;
    assert_eq!((&it["name"], &it["preview"], &it["status"]), (&json!("Deep"), &json!("Ho"), &json!("open")));
    assert_eq!((&it["firstMessageIn"]["meta"], &it["lastMessageIn"]["meta"]), (&deep, &deep));
    assert_eq!(message(&agent, &first).await["meta"], deep);
    assert_eq!(agent.get(&format!("/v1/customers/{other}/conversations")).await.ids(), [id.as_str()]);
    assert_eq!(customer(&agent, &other).await["conversationCounts"]["open"], 1);
    assert_eq!(customer(&agent, &who).await["conversationCounts"]["all"], 0);

    let row = |id: &str, meta: Value| json!({ "id": id, "conversation": second, "channel": "email", "app": "t", "direction": "in", "meta": meta });
    refused(imported(&app, ImportKind::Messages, &row("671a2d10a3f1b20012c4d001", nested(DEEPEST))).await, "/meta");
    let third = agent.conversation(&who, json!({})).await;
    let mut taken = row("671a2d10a3f1b20012c4d002", deep);
    taken["conversation"] = json!(third);
    assert_eq!(imported(&app, ImportKind::Messages, &taken).await, Ok(RowOutcome::Created));
});

on_both_engines!(names_and_keys_have_their_limits, |app| async move {
    let agent = app.admin().await;
    let who = agent.customer().await;
    let id = agent.conversation(&who, json!({})).await;
    let here = format!("/v1/conversations/{id}/messages");
    let body = |name: &str, value: Value| json!({ "channel": "email", "app": "t", name: value });
    let long = |characters: usize| json!({ "to": [{ "ü".repeat(characters): 1 }] });
    let custom = |characters: usize| json!({ format!("{}Str", "ü".repeat(characters - 3)): "x" });
    for (name, within, beyond) in [
        ("meta", long(LONGEST_NAME), long(LONGEST_NAME + 1)),
        ("meta", json!({ "to": keys(MOST_KEYS, &json!(1)) }), json!({ "to": keys(MOST_KEYS + 1, &json!(1)) })),
        ("meta", keys(100, &json!(1)).into(), keys(101, &json!(1)).into()),
        ("reference", long(LONGEST_NAME), long(LONGEST_NAME + 1)),
        ("custom", custom(LONGEST_CUSTOM_NAME), custom(LONGEST_CUSTOM_NAME + 1)),
        ("custom", keys(100, &json!("x")).into(), keys(101, &json!("x")).into()),
    ] {
        let reply = agent.post(&here, body(name, beyond)).await;
        assert_eq!(reply.error(), (400, "bad_request".into(), format!("/{name}")));
        assert!(reply.body.len() < 1000, "what is too long is not repeated");
        agent.post(&here, body(name, within)).await.created();
    }
    for path in [format!("/v1/conversations/{id}"), format!("/v1/customers/{who}")] {
        assert_eq!(patched(&agent, &path, custom(LONGEST_CUSTOM_NAME + 1)).await, (400, "/custom".into()), "{path}");
        assert_eq!(patched(&agent, &path, keys(100, &json!("x")).into()).await.0, 200, "{path}");
        assert_eq!(patched(&agent, &path, json!({ "oneMoreNum": 1 })).await, (400, "/custom".into()), "{path}");
        let instead = json!({ "oneMoreNum": 1, "k7Str": null });
        assert_eq!(patched(&agent, &path, instead).await.0, 200, "{path}");
    }
});

on_both_engines!(custom_attributes_have_a_size_all_in_all, |app| async move {
    let agent = app.admin().await;
    let who = agent.customer().await;
    let id = agent.conversation(&who, json!({})).await;
    let sent = agent.message(&id, json!({})).await;
    let texts = |from: usize| {
        (from..from + 9).map(|n| (format!("text{n}Txt"), json!("x".repeat(10_000)))).collect::<Map<_, _>>()
    };
    let paths = [format!("/v1/conversations/{id}"), format!("/v1/customers/{who}"), format!("/v1/messages/{sent}")];
    for path in &paths {
        for from in [0, 9] {
            assert_eq!(patched(&agent, path, texts(from).into()).await.0, 200, "{path}");
        }
        let (before, more) = (agent.get(path).await.ok(), Value::from(texts(18)));
        assert_eq!(patched(&agent, path, more.clone()).await, (400, "/custom".into()), "{path}");
        assert_eq!(agent.get(path).await.ok(), before, "nothing of it was taken");
        assert_eq!(agent.put(&format!("{path}?replace=true"), json!({ "custom": more })).await.status, 200, "{path}");
    }

    // An imported row may be larger than a body.
    let id = "671a2d10a3f1b20012c4d001";
    let row = |custom: Value| json!({ "id": id, "customer": who, "custom": custom });
    let large: Map<String, Value> = (0..30).map(|n| (format!("text{n}Txt"), json!("x".repeat(10_000)))).collect();
    refused(imported(&app, ImportKind::Conversations, &row(large.into())).await, "/custom");
    let taken = imported(&app, ImportKind::Conversations, &row(texts(0).into())).await;
    assert_eq!(taken, Ok(RowOutcome::Created));
});
