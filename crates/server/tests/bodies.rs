//! Request bodies as callers meet them: what is taken, what is refused, and whether a refusal can be understood.

use konverse_domain::{ImportKind, Importer, RowOutcome};
use konverse_testkit::{Reply, on_both_engines};
use serde_json::{Value, json};

const UNKNOWN: &str = "671a2c40a3f1b20012c4dfff";

/// `(pointer, message)` of every error of a 400.
#[track_caller]
fn refused(reply: &Reply) -> Vec<(String, String)> {
    assert_eq!(reply.status, 400, "{}", String::from_utf8_lossy(&reply.body));
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let errors = reply.json()["errors"].as_array().expect("errors").clone();
    errors.iter().map(|error| (text(&error["source"]["pointer"]), text(&error["message"]))).collect()
}

#[track_caller]
fn pointers(reply: &Reply) -> Vec<String> {
    refused(reply).into_iter().map(|(pointer, _)| pointer).collect()
}

on_both_engines!(ids_and_creation_are_chosen_where_the_contract_says, |app| async move {
    let admin = app.admin().await;
    let (id, at) = (UNKNOWN, "2026-01-01T00:00:00.000Z");
    let customer = json!({ "name": "Jane", "createdAt": at, "importedAt": at });
    let user = json!({ "name": "Ann", "email": "ann@acme.example" });
    let team = json!({ "name": "Support", "createdAt": at, "importedAt": at });
    let tag = json!({ "name": "vip", "color": "#26c281" });
    for (path, body, further) in [
        ("/v1/customers", customer, &["id"][..]),
        ("/v1/users", user, &["id", "createdAt"]),
        ("/v1/teams", team, &["id"]),
        ("/v1/tags", tag, &["id", "createdAt"]),
    ] {
        for name in further {
            let mut wrong = body.clone();
            wrong[name] = json!(if *name == "id" { id } else { at });
            let told = refused(&admin.post(path, wrong).await);
            assert_eq!(told, [(format!("/{name}"), format!("{name} is not an attribute of this body"))], "{path}");
        }
        let created = admin.post(path, body.clone()).await.created();
        assert_ne!(created["data"]["id"], id);
        if body.get("createdAt").is_some() {
            assert_eq!(created["data"]["attributes"]["createdAt"], at, "{path}");
        }
    }
    let customer = admin.customer().await;
    let id = "671a2d10a3f1b20012c4d0a7";
    assert_eq!(admin.conversation(&customer, json!({ "id": id })).await, id);
    assert_eq!(admin.message(id, json!({ "id": id })).await, id);
    let note = admin.post(&format!("/v1/conversations/{id}/notes"), json!({ "id": id, "body": "n" })).await;
    assert_eq!(note.created_id(), id);

    // Import files name ids and instants of all of them.
    let mut importer = Importer::new(&app.domain, app.org.id).await.expect("an import");
    for (kind, path, body) in [
        (
            ImportKind::Users,
            "users",
            json!({ "id": UNKNOWN, "name": "Bob", "email": "bob@acme.example", "createdAt": at }),
        ),
        (ImportKind::Teams, "teams", json!({ "id": UNKNOWN, "name": "Sales", "createdAt": at })),
        (ImportKind::Tags, "tags", json!({ "id": UNKNOWN, "name": "late", "createdAt": at })),
        (ImportKind::Customers, "customers", json!({ "id": UNKNOWN, "createdAt": at })),
    ] {
        let row = kind.read(&body.to_string()).unwrap_or_else(|error| panic!("{path}: {error:?}"));
        assert_eq!(importer.take(kind, vec![row]).await.expect("a batch"), [RowOutcome::Created], "{path}");
        assert_eq!(admin.attributes(&format!("/v1/{path}/{UNKNOWN}")).await["createdAt"], at, "{path}");
    }
});

on_both_engines!(a_whole_number_is_one_however_it_is_written, |app| async move {
    let admin = app.admin().await;
    let customer = admin.customer().await;
    let custom = json!({ "totalNum": 3.0 });
    let id = admin.conversation(&customer, json!({ "priority": 4.0, "custom": custom })).await;
    let path = format!("/v1/conversations/{id}");
    let shown = admin.attributes(&path).await;
    assert_eq!(shown["priority"], json!(4));
    assert_eq!(shown["custom"].to_string(), r#"{"totalNum":3.0}"#, "what is free keeps its form");
    let change = json!({ "rev": 1.0, "satisfaction": -1.0, "sentiment": { "polarity": 1.0, "confidence": 1.0 } });
    let changed = admin.patch(&path, change).await.ok()["data"]["attributes"].clone();
    assert_eq!((&changed["satisfaction"], &changed["sentiment"]["polarity"]), (&json!(-1), &json!(1)));
    assert_eq!(admin.patch(&path, json!({ "rev": 1.0, "priority": 5.0 })).await.error().0, 409, "a stale revision");
    let message = admin.message(&id, json!({ "size": 12.0, "meta": { "size": 12.0 } })).await;
    let shown = admin.attributes(&format!("/v1/messages/{message}")).await;
    assert_eq!((&shown["size"], shown["meta"].to_string().as_str()), (&json!(12), r#"{"size":12.0}"#));

    // What is no whole number, or larger than any reader keeps exactly, is refused by name.
    let messages = format!("{path}/messages");
    for (method_path, body, pointer) in [
        (&path, json!({ "priority": 3.5 }), "/priority"),
        (&path, json!({ "priority": 6.0 }), "/priority"),
        (&path, json!({ "satisfaction": 0.5 }), "/satisfaction"),
        (&path, json!({ "satisfaction": 1e300 }), "/satisfaction"),
        (&path, json!({ "rev": 9_223_372_036_854_775_808_u64 }), "/rev"),
        (&path, json!({ "rev": 1e300 }), "/rev"),
        (&path, json!({ "rev": 0.0 }), "/rev"),
        (&path, json!({ "sentiment": { "polarity": 1e300, "confidence": 0 } }), "/sentiment/polarity"),
        (&messages, json!({ "channel": "sms", "app": "x", "size": 1e300 }), "/size"),
        (&messages, json!({ "channel": "sms", "app": "x", "size": u64::MAX }), "/size"),
        (&messages, json!({ "channel": "sms", "app": "x", "size": -1.0 }), "/size"),
    ] {
        let reply = match method_path.ends_with("/messages") {
            true => admin.post(method_path, body.clone()).await,
            false => admin.patch(method_path, body.clone()).await,
        };
        assert_eq!(pointers(&reply), [pointer], "{body}");
    }
});

on_both_engines!(what_names_nothing_is_told_in_one_sentence, |app| async move {
    let admin = app.admin().await;
    let customer = admin.customer().await;
    let id = admin.conversation(&customer, json!({})).await;
    let conversation = format!("/v1/conversations/{id}");
    let of = |pointer: &str, kind: &str| {
        let message = format!("{} names no {kind} of this org: {UNKNOWN}", &pointer[1..]);
        (pointer.to_owned(), message)
    };
    let many = json!({ "assignedUsers": [UNKNOWN], "assignedTeams": [UNKNOWN], "tags": [UNKNOWN] });
    let told = refused(&admin.patch(&conversation, many).await);
    assert_eq!(told, [of("/assignedUsers/0", "user"), of("/assignedTeams/0", "team"), of("/tags/0", "tag")]);
    let moved = admin.patch(&conversation, json!({ "customer": UNKNOWN })).await;
    assert_eq!(refused(&moved), [of("/customer", "customer")]);
    let note = admin.post("/v1/notes", json!({ "conversation": UNKNOWN, "body": "n" })).await;
    assert_eq!(refused(&note), [of("/conversation", "conversation")]);
    let note = json!({ "body": "n", "userMentions": [{ "user": UNKNOWN }] });
    let note = admin.post(&format!("{conversation}/notes"), note).await;
    assert_eq!(refused(&note), [of("/userMentions/0", "user")]);
    let message = json!({ "conversation": UNKNOWN, "channel": "sms", "app": "x", "direction": "in" });
    assert_eq!(refused(&admin.post("/v1/messages", message).await), [of("/conversation", "conversation")]);
    let opened = admin.post("/v1/conversations", json!({ "customer": UNKNOWN })).await;
    assert_eq!(refused(&opened), [of("/customer", "customer")]);
    let team = admin.post("/v1/teams", json!({ "name": "T", "members": [UNKNOWN] })).await;
    assert_eq!(refused(&team), [of("/members/0", "user")]);
    let named = admin.patch(&conversation, json!({ "custom": { "order": "4417" } })).await;
    let expected = "custom/order must end in Str, Txt, Num, At, Bool, Url, Id or Tree: the ending says what it holds";
    assert_eq!(refused(&named), [("/custom/order".to_owned(), expected.to_owned())]);
});
