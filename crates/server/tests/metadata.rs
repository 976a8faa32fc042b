//! Definitions of custom attributes, what they ask of writers, and what is hidden from whom (contract README §10).

use std::sync::Arc;

use konverse_domain::{ImportKind, Importer, RowOutcome};
use konverse_model::Kind;
use konverse_testkit::{Actor, TestApp, on_both_engines};
use serde_json::{Value, json};

const UNKNOWN: &str = "58228e05d4e96711004eccb7";

async fn properties(actor: &Actor, resource: &str) -> Value {
    actor.attributes(&format!("/v1/metadata/{resource}")).await["properties"].clone()
}

async fn define(actor: &Actor, resource: &str, properties: Value) -> Value {
    let reply = actor.put(&format!("/v1/metadata/{resource}"), json!({ "properties": properties })).await.ok();
    reply["data"]["attributes"].clone()
}

fn bad(pointer: &str) -> (u16, String, String) {
    (400, "bad_request".into(), pointer.into())
}

fn hidden() -> Value {
    json!({ "isMasked": true, "maskedPresentation": "********" })
}

on_both_engines!(definitions_are_merged_one_by_one, |app| async move {
    let admin = app.admin().await;
    let fresh = admin.get("/v1/metadata/customer").await.ok();
    assert_eq!(fresh["data"]["type"], "metadata");
    assert_eq!(fresh["data"]["links"]["self"], "/v1/metadata/customer");
    assert_eq!(fresh["data"]["attributes"]["properties"], json!({}));

    let given = json!({
        "totalOrdersNum": {}, "planStr": { "displayName": "Tariff", "enumeration": ["gold", "iron"], "type": "string" },
        "ownerId": { "target": "user", "multi": true },
        "causeTree": { "tree": [{ "value": "Late", "children": [{ "value": "Post" }] }] },
    });
    let defined = define(&admin, "customer", given).await["properties"].clone();
    let user = admin.get("/v1/users/current").await.ok()["data"]["id"].clone();
    let at = app.now().to_string();
    let expected = json!({ "type": "number", "displayName": "Total Orders", "modifiedBy": user, "modifiedAt": at, "updatedAt": at });
    assert_eq!(defined["totalOrdersNum"], expected);
    assert_eq!(defined["planStr"]["displayName"], "Tariff");

    app.clock.advance(60_000);
    let changed =
        define(&admin, "customer", json!({ "planStr": { "enumeration": ["gold"] }, "totalOrdersNum": {} })).await;
    assert_eq!(
        changed["properties"]["totalOrdersNum"], defined["totalOrdersNum"],
        "what does not change keeps its moment"
    );
    let plan = &changed["properties"]["planStr"];
    assert_eq!((&plan["displayName"], &plan["enumeration"]), (&json!("Tariff"), &json!(["gold"])), "merged");
    assert_ne!(plan["modifiedAt"], defined["planStr"]["modifiedAt"]);

    // As it was read, it changes nothing; what was deleted stays deleted.
    define(&admin, "customer", json!({ "planStr": null, "causeTree": { "deleted": true }, "neverStr": null })).await;
    let read = properties(&admin, "customer").await;
    assert!(read["planStr"]["deletedAt"].is_string() && read["causeTree"]["deletedBy"].is_string());
    assert_eq!(read["neverStr"], Value::Null);
    app.clock.advance(60_000);
    assert_eq!(define(&admin, "customer", read.clone()).await["properties"], read);
    let back = define(&admin, "customer", json!({ "planStr": { "deleted": false } })).await["properties"].clone();
    assert_eq!((&back["planStr"]["deletedAt"], &back["planStr"]["displayName"]), (&Value::Null, &json!("Tariff")));

    assert_eq!(properties(&admin, "conversation").await, json!({}), "each resource has its own");
    let other = app.domain.create_org("other").await.expect("an org");
    let stranger = app.actor_of(&other, &["org"]).await;
    assert_eq!(properties(&stranger, "customer").await, json!({}), "and each org");
    for resource in ["kobject.order", "user", "Customer", "x%00"] {
        let reply = admin.get(&format!("/v1/metadata/{resource}")).await;
        assert_eq!(reply.error(), (404, "not_found".into(), "resource".into()), "{resource}");
        let reply = admin.put(&format!("/v1/metadata/{resource}"), json!({ "properties": {} })).await;
        assert_eq!(reply.error(), (404, "not_found".into(), "resource".into()), "{resource}");
    }
});

on_both_engines!(a_definition_must_fit_its_name, |app| async move {
    let admin = app.admin().await;
    let long = "x".repeat(300);
    for (name, definition, pointer) in [
        ("plain", json!({}), "/properties/plain"),
        ("a/bStr", json!({ "type": "number" }), "/properties/a~1bStr/type"),
        ("aStr", json!({ "type": "number" }), "/properties/aStr/type"),
        ("aStr", json!({ "displayName": "" }), "/properties/aStr/displayName"),
        ("aStr", json!({ "displayName": long }), "/properties/aStr/displayName"),
        ("aStr", json!({ "enumeration": ["x", "x"] }), "/properties/aStr/enumeration"),
        ("aStr", json!({ "enumeration": [1] }), "/properties/aStr/enumeration/0"),
        ("aStr", json!({ "tree": [] }), "/properties/aStr/tree"),
        ("aStr", json!({ "target": "user" }), "/properties/aStr/target"),
        (
            "aStr",
            json!({ "sensitive": { "enabled": true, "maskType": "half" } }),
            "/properties/aStr/sensitive/maskType",
        ),
        ("aStr", json!({ "sensitive": true }), "/properties/aStr/sensitive"),
        ("aStr", json!({ "unknown": 1 }), "/properties/aStr/unknown"),
        ("aStr", json!([]), "/properties/aStr"),
        ("aBool", json!({ "array": true }), "/properties/aBool/array"),
        ("aNum", json!({ "enumeration": ["1"] }), "/properties/aNum/enumeration"),
        ("aId", json!({}), "/properties/aId/target"),
        ("aTree", json!({ "tree": ["x"] }), "/properties/aTree/tree"),
    ] {
        let reply = admin.put("/v1/metadata/customer", json!({ "properties": { name: definition } })).await;
        assert_eq!(reply.error(), bad(pointer), "{name} {definition}");
    }
    let long = json!({ "properties": { format!("{long}Str"): {} } });
    assert_eq!(admin.put("/v1/metadata/customer", long).await.status, 400);
    assert_eq!(admin.put("/v1/metadata/customer", json!({})).await.error(), bad("/properties"));
    let many: serde_json::Map<String, Value> = (0..1001).map(|n| (format!("a{n}Str"), json!({}))).collect();
    assert_eq!(admin.put("/v1/metadata/customer", json!({ "properties": many })).await.status, 400);
    assert_eq!(properties(&admin, "customer").await, json!({}), "nothing of it was stored");

    for part in 0..10 {
        let many: serde_json::Map<String, Value> = (0..100).map(|n| (format!("a{part}x{n}Str"), json!({}))).collect();
        define(&admin, "customer", Value::Object(many)).await;
    }
    let reply = admin.put("/v1/metadata/customer", json!({ "properties": { "oneStr": {} } })).await;
    assert_eq!(reply.error(), bad("/properties"), "there are enough");
    let reply = admin.post("/v1/customers", json!({ "custom": { "oneStr": "x" } })).await;
    assert_eq!(reply.error(), bad("/custom"));
    admin.post("/v1/customers", json!({ "custom": { "a0x0Str": "x" } })).await.created();
});

on_both_engines!(what_is_written_is_defined_by_it, |app| async move {
    let agent = app.admin().await;
    let customer =
        agent.post("/v1/customers", json!({ "custom": { "aStr": "x", "goneStr": null } })).await.created_id();
    agent.patch(&format!("/v1/customers/{customer}"), json!({ "custom": { "bNum": 1 } })).await.ok();
    let conversation = agent.conversation(&customer, json!({ "custom": { "cBool": true } })).await;
    agent.patch(&format!("/v1/conversations/{conversation}"), json!({ "custom": { "dAt": "2026-01-01" } })).await.ok();
    let message = agent.message(&conversation, json!({ "custom": { "eUrl": "https://a.example" } })).await;
    agent.put(&format!("/v1/messages/{message}"), json!({ "custom": { "fTxt": "x" } })).await.ok();
    let new = json!({ "channel": "email", "app": "x", "custom": { "gTree": "a.b" } });
    agent.post(&format!("/v1/customers/{customer}/messages"), new).await.created();
    let names = async |resource| {
        let properties = properties(&agent, resource).await;
        properties.as_object().map(|all| all.keys().cloned().collect::<Vec<_>>()).unwrap_or_default()
    };
    assert_eq!(names("customer").await, ["aStr", "bNum"]);
    assert_eq!(names("conversation").await, ["cBool", "dAt"]);
    assert_eq!(names("message").await, ["eUrl", "fTxt", "gTree"]);
    let user = agent.get("/v1/users/current").await.ok()["data"]["id"].clone();
    assert_eq!(properties(&agent, "message").await["fTxt"]["modifiedBy"], user);

    // Refused writes define nothing, and what is defined is written to by no later write.
    let wrong = json!({ "custom": { "hStr": "x" }, "priority": 9 });
    assert_eq!(agent.patch(&format!("/v1/conversations/{conversation}"), wrong).await.status, 400);
    let wrong = json!({ "custom": { "hStr": "x" }, "assignedUsers": [UNKNOWN] });
    assert_eq!(agent.patch(&format!("/v1/conversations/{conversation}"), wrong).await.status, 400);
    assert_eq!(names("conversation").await, ["cBool", "dAt"]);
    let described = app.store.store().described(app.org.id).await.expect("an answer").version;
    agent.post("/v1/customers", json!({ "custom": { "aStr": "y", "bNum": 2 } })).await.created();
    assert_eq!(app.store.store().described(app.org.id).await.expect("an answer").version, described);

    // What was deleted is as good as undefined.
    define(&agent, "customer", json!({ "aStr": { "enumeration": ["z"], "deleted": true } })).await;
    agent.patch(&format!("/v1/customers/{customer}"), json!({ "custom": { "aStr": "again" } })).await.ok();
    let again = properties(&agent, "customer").await["aStr"].clone();
    assert_eq!((&again["deletedAt"], &again["enumeration"]), (&Value::Null, &Value::Null));
});

on_both_engines!(definitions_hold_for_what_is_written, |app| async move {
    let agent = app.admin().await;
    let user = agent.get("/v1/users/current").await.ok()["data"]["id"].clone();
    let given = json!({
        "planStr": { "enumeration": ["gold", "iron"] }, "listStr": { "array": true, "enumeration": ["a", "b"] },
        "causeTree": { "tree": [{ "value": "Late", "children": [{ "value": "Post" }] }, { "value": "Lost" }] },
        "ownerId": { "target": "user" }, "ownersId": { "target": "user", "multi": true }, "orderId": { "target": "kobject.order" },
        "numsNum": { "array": true },
    });
    for resource in ["customer", "conversation", "message"] {
        define(&agent, resource, given.clone()).await;
    }
    let customer = agent.customer().await;
    let conversation = agent.conversation(&customer, json!({})).await;
    let message = agent.message(&conversation, json!({})).await;
    let paths = [
        format!("/v1/customers/{customer}"),
        format!("/v1/conversations/{conversation}"),
        format!("/v1/messages/{message}"),
    ];
    for path in &paths {
        for good in [
            json!({ "planStr": "gold", "listStr": ["a", "b"], "causeTree": "Late.Post", "ownerId": user, "orderId": UNKNOWN }),
            json!({ "ownersId": [user], "listStr": "b", "causeTree": "Lost", "numsNum": [1, 2.5], "planStr": null }),
        ] {
            agent.patch(path, json!({ "custom": good })).await.ok();
        }
        let before = agent.attributes(path).await["custom"].clone();
        for (name, wrong) in [
            ("planStr", json!("silver")),
            ("planStr", json!("Gold")),
            ("planStr", json!(["gold"])),
            ("listStr", json!(["a", "c"])),
            ("listStr", json!(["a", null])),
            ("listStr", json!(vec!["a"; 101])),
            ("numsNum", json!([1, "2"])),
            ("causeTree", json!("Late")),
            ("causeTree", json!("Late.Other")),
            ("ownerId", json!(UNKNOWN)),
            ("ownerId", json!([user])),
            ("ownersId", json!([user, UNKNOWN])),
            ("orderId", json!("x")),
            ("otherId", json!(UNKNOWN)),
        ] {
            let reply = agent.patch(path, json!({ "custom": { name: wrong } })).await;
            assert_eq!(reply.error(), bad(&format!("/custom/{name}")), "{path} {wrong}");
        }
        assert_eq!(agent.attributes(path).await["custom"], before);
    }
    let wrong = json!({ "custom": { "planStr": "silver" } });
    assert_eq!(agent.post("/v1/customers", wrong.clone()).await.error(), bad("/custom/planStr"));
    let created = agent.post(&format!("/v1/customers/{customer}/conversations"), wrong.clone()).await;
    assert_eq!(created.error(), bad("/custom/planStr"));
    let sent = json!({ "channel": "email", "app": "x", "custom": { "planStr": "silver" } });
    for path in [format!("/v1/conversations/{conversation}/messages"), format!("/v1/customers/{customer}/messages")] {
        assert_eq!(agent.post(&path, sent.clone()).await.error(), bad("/custom/planStr"), "{path}");
    }
    // As they are defined now, whoever defined them.
    let elsewhere = app.other_process().await;
    let other = agent.at(&elsewhere);
    define(&other, "message", json!({ "planStr": { "enumeration": ["silver"] } })).await;
    agent.post(&format!("/v1/conversations/{conversation}/messages"), sent.clone()).await.created();
    define(&agent, "message", json!({ "planStr": { "enumeration": null }, "freshStr": { "enumeration": ["x"] } }))
        .await;
    let free = json!({ "channel": "email", "app": "x", "custom": { "planStr": "anything", "freshStr": "y" } });
    let reply = other.post(&format!("/v1/conversations/{conversation}/messages"), free).await;
    assert_eq!(reply.error(), bad("/custom/freshStr"));
});

on_both_engines!(no_definition_is_lost_between_processes, |app| async move {
    let agent = app.admin().await;
    let others = [app.other_process().await, app.other_process().await];
    let processes: Vec<Arc<Actor>> = [Arc::new(app.bearer(&agent.token))]
        .into_iter()
        .chain(others.iter().map(|other| Arc::new(agent.at(other))))
        .collect();
    let customers = [agent.customer().await, agent.customer().await, agent.customer().await];
    let mut tasks = Vec::new();
    for (n, process) in processes.iter().enumerate() {
        for round in 0..6 {
            let (process, customer) = (Arc::clone(process), customers[(n + round) % 3].clone());
            tasks.push(tokio::spawn(async move {
                // Some are new in one process, some in all at once.
                let custom = json!({ format!("p{n}r{round}Str"): "x", format!("r{round}Num"): n });
                let reply = process.patch(&format!("/v1/customers/{customer}"), json!({ "custom": custom })).await;
                assert_eq!(reply.status, 200, "{}", String::from_utf8_lossy(&reply.body));
                let message = json!({ "channel": "email", "app": "x", "custom": { format!("m{n}r{round}Str"): "x" } });
                process.post(&format!("/v1/customers/{customer}/messages"), message).await.created();
                let sensitive =
                    json!({ "properties": { format!("s{n}r{round}Str"): { "sensitive": { "enabled": true } } } });
                process.put("/v1/metadata/conversation", sensitive).await.ok();
            }));
        }
    }
    for task in tasks {
        task.await.expect("no panic");
    }
    let count = async |resource| properties(&agent, resource).await.as_object().map_or(0, serde_json::Map::len);
    assert_eq!((count("customer").await, count("message").await, count("conversation").await), (24, 18, 18));
    let described = app.store.store().described(app.org.id).await.expect("an answer");
    let masks = described.masks.expect("something is sensitive");
    for name in properties(&agent, "conversation").await.as_object().expect("an object").keys() {
        assert!(masks.of(Kind::Conversation, name).is_some(), "{name}");
    }
});

on_both_engines!(imports_define_what_they_bring, |app| async move {
    let admin = app.admin().await;
    define(&admin, "customer", json!({ "planStr": { "enumeration": ["gold"] } })).await;
    let mut importer = Importer::new(&app.domain, app.org.id).await.expect("an importer");
    let row = |text: Value| ImportKind::Customers.read(&text.to_string()).expect("a row");
    let rows = (0..30).map(|n| {
        row(json!({ "externalId": format!("c{n}"), "custom": { format!("n{}Str", n % 3): "x", "planStr": "old", "manyStr": ["a", "b"], "orderId": UNKNOWN } }))
    });
    let outcomes = importer.take(ImportKind::Customers, rows.collect()).await.expect("the database answers");
    assert!(outcomes.iter().all(|outcome| *outcome == RowOutcome::Created), "{outcomes:?}");
    let defined = properties(&admin, "customer").await;
    let names: Vec<&String> = defined.as_object().expect("an object").keys().collect();
    assert_eq!(names, ["manyStr", "n0Str", "n1Str", "n2Str", "orderId", "planStr"]);
    // What is as it was elsewhere can be changed in everything else.
    let customer =
        admin.get("/v1/customers/externalId=c0").await.ok()["data"]["id"].as_str().expect("an id").to_owned();
    admin.patch(&format!("/v1/customers/{customer}"), json!({ "name": "Jane", "custom": { "n0Str": "y" } })).await.ok();
});

/// A customer, a conversation and a message of theirs with something secret, and the paths that show them.
async fn secrets(app: &TestApp, admin: &Actor) -> (String, Vec<String>) {
    let secret = json!({ "ssnStr": { "sensitive": { "enabled": true } },
        "cardStr": { "sensitive": { "enabled": true, "maskType": "last4" } }, "openStr": {} });
    for resource in ["customer", "conversation", "message"] {
        define(admin, resource, secret.clone()).await;
    }
    let custom = json!({ "ssnStr": "078-05-1120", "cardStr": "4111111111111234", "openStr": "seen" });
    let customer = json!({ "externalId": "k", "emails": [{ "email": "a@b.example" }], "phones": [{ "phone": "+1555" }], "custom": custom });
    let customer = admin.post("/v1/customers", customer).await.created_id();
    let conversation = admin.conversation(&customer, json!({ "externalId": "c", "custom": custom })).await;
    let message = admin.message(&conversation, json!({ "externalId": "m", "custom": custom })).await;
    app.clock.advance(1000);
    let paths = vec![
        format!("/v1/customers/{customer}"),
        "/v1/customers".into(),
        "/v1/customers/email=a%40b.example".into(),
        "/v1/customers/phone=%2B1555".into(),
        "/v1/customers/externalId=k".into(),
        format!("/v1/conversations/{conversation}"),
        format!("/v1/conversations/{conversation},{UNKNOWN}"),
        "/v1/conversations".into(),
        "/v1/conversations/externalId=c".into(),
        format!("/v1/customers/{customer}/conversations"),
        format!("/v1/customers/{customer}/conversations?sort=-updatedAt"),
        format!("/v1/messages/{message}"),
        "/v1/messages".into(),
        "/v1/messages/externalid=m".into(),
        format!("/v1/conversations/{conversation}/messages"),
        format!("/v1/customers/{customer}/messages"),
    ];
    (customer, paths)
}

const READER: [&str; 2] = ["org.user", "org.permission.conversation"];

fn shows_secrets(text: &str) -> bool {
    text.contains("078-05-1120") || text.contains("41111")
}

on_both_engines!(what_is_sensitive_is_hidden_everywhere, |app| async move {
    let admin = app.admin().await;
    let (customer, paths) = secrets(&app, &admin).await;
    let reader = app.actor(&READER).await;
    for path in &paths {
        let (open, masked) = (admin.get(path).await, reader.get(path).await);
        assert!(shows_secrets(&String::from_utf8_lossy(&open.body)), "{path}");
        let text = String::from_utf8_lossy(&masked.body).into_owned();
        assert!(!shows_secrets(&text) && text.contains("\"maskedPresentation\":\"****1234\""), "{path}: {text}");
        // Nothing else differs.
        let put_back = text
            .replace(&hidden().to_string(), "\"078-05-1120\"")
            .replace(r#"{"isMasked":true,"maskedPresentation":"****1234"}"#, "\"4111111111111234\"");
        assert_eq!(put_back.as_bytes(), open.body, "{path}");
        // A tag tells the one from the other, and the same from the same.
        let tag = |reply: &konverse_testkit::Reply| reply.headers["etag"].to_str().expect("a tag").to_owned();
        let again = async |actor: &Actor, tag: &str| {
            actor.send(axum::http::Method::GET, path, None, &[("if-none-match", tag)]).await.status
        };
        assert_eq!(again(&reader, &tag(&masked)).await, 304, "{path}");
        assert_eq!(again(&reader, &tag(&open)).await, 200, "{path}");
        assert_eq!(again(&admin, &tag(&masked)).await, 200, "{path}");
    }
    let run = json!({ "parameters": { "id": customer } });
    let run = reader.post("/v1/operations/get-conversations-by-customer/run", run).await;
    assert!(!shows_secrets(&String::from_utf8_lossy(&run.body)) && run.status == 200);

    // Whoever has the right by any of its names sees all.
    for role in
        ["org.admin", "org.permission", "org.permission.sensitive_attribute.read", "org.admin.sensitive_attribute"]
    {
        let actor = app.actor(&[role, "org.user.customer.read"]).await;
        assert!(shows_secrets(&String::from_utf8_lossy(&actor.get(&paths[0]).await.body)), "{role}");
    }
    // Definitions are no secret, and deleting one hides no less.
    assert_eq!(reader.attributes("/v1/metadata/customer").await["hasSensitiveAttributes"], true);
    define(&admin, "customer", json!({ "ssnStr": null, "cardStr": null })).await;
    assert!(!shows_secrets(&String::from_utf8_lossy(&reader.get(&paths[0]).await.body)));
    let off = json!({ "sensitive": { "enabled": false }, "deleted": true });
    define(&admin, "customer", json!({ "ssnStr": off, "cardStr": off })).await;
    define(
        &admin,
        "customer",
        json!({ "ssnStr": { "sensitive": { "enabled": false } }, "cardStr": { "sensitive": null } }),
    )
    .await;
    assert!(shows_secrets(&String::from_utf8_lossy(&reader.get(&paths[0]).await.body)), "not sensitive any more");
});

on_both_engines!(an_answer_kept_for_one_is_not_given_to_another, |app| async move {
    let admin = app.admin().await;
    let reader = app.actor(&READER).await;
    let customer = admin.post("/v1/customers", json!({ "custom": { "ssnStr": "078-05-1120" } })).await.created_id();
    let conversation = admin.conversation(&customer, json!({ "custom": { "ssnStr": "078-05-1120" } })).await;
    admin.message(&conversation, json!({ "custom": { "ssnStr": "078-05-1120" } })).await;
    let paths = [
        format!("/v1/customers/{customer}/conversations"),
        format!("/v1/customers/{customer}/messages"),
        format!("/v1/customers/{customer}"),
    ];
    let sees = async |actor: &Actor, path: &str| shows_secrets(&String::from_utf8_lossy(&actor.get(path).await.body));
    for path in &paths {
        for _ in 0..4 {
            assert!(sees(&reader, path).await && sees(&admin, path).await, "nothing is sensitive yet");
        }
    }
    // In another process: what this one keeps is not touched by it.
    let elsewhere = app.other_process().await;
    for resource in ["customer", "conversation", "message"] {
        define(&admin.at(&elsewhere), resource, json!({ "ssnStr": { "sensitive": { "enabled": true } } })).await;
    }
    for path in &paths {
        for _ in 0..4 {
            assert!(!sees(&reader, path).await, "{path}");
            assert!(sees(&admin, path).await, "{path}");
        }
    }
});

on_both_engines!(who_may_not_see_a_value_cannot_spoil_it, |app| async move {
    let admin = app.admin().await;
    let (customer, paths) = secrets(&app, &admin).await;
    let writer = app.actor(&["org.user"]).await;
    for path in [&paths[0], &paths[5], &paths[11]] {
        let shown = writer.attributes(path).await["custom"].clone();
        assert_eq!(shown["ssnStr"], hidden());
        let mut sent = shown.clone();
        sent["openStr"] = json!("changed");
        let answer = writer.patch(path, json!({ "custom": sent })).await.ok();
        assert_eq!(answer["data"]["attributes"]["custom"]["ssnStr"], hidden(), "{path}");
        let stored = admin.attributes(path).await["custom"].clone();
        assert_eq!((&stored["ssnStr"], &stored["openStr"]), (&json!("078-05-1120"), &json!("changed")), "{path}");
        let replaced =
            writer.put(&format!("{path}?replace=true"), json!({ "custom": { "ssnStr": hidden() } })).await.ok();
        assert_eq!(replaced["data"]["attributes"]["custom"], json!({ "ssnStr": hidden() }), "{path}");
        assert_eq!(admin.attributes(path).await["custom"], json!({ "ssnStr": "078-05-1120" }), "{path}");
        // A new value is known to who sends it; a mask is no value.
        writer.patch(path, json!({ "custom": { "cardStr": "5500000000000004" } })).await.ok();
        assert_eq!(admin.attributes(path).await["custom"]["cardStr"], "5500000000000004", "{path}");
        let reply = admin.patch(path, json!({ "custom": { "ssnStr": hidden() } })).await;
        assert_eq!(reply.error(), bad("/custom/ssnStr"), "{path}");
    }
    let new = json!({ "custom": { "ssnStr": hidden() } });
    assert_eq!(writer.post("/v1/customers", new.clone()).await.error(), bad("/custom/ssnStr"));
    let made = writer.post("/v1/customers", json!({ "custom": { "ssnStr": "078-05-1120" } })).await.created();
    assert_eq!(made["data"]["attributes"]["custom"]["ssnStr"], hidden());
    let body = json!({ "custom": { "ssnStr": "078-05-1120" } });
    let made = writer.post(&format!("/v1/customers/{customer}/conversations"), body.clone()).await.created();
    assert_eq!(made["data"]["attributes"]["custom"]["ssnStr"], hidden());
    let id = made["data"]["id"].as_str().expect("an id").to_owned();
    let other = admin.customer().await;
    for answer in [
        writer.post(&format!("/v1/conversations/{id}/tags"), json!(["vip"])).await.ok(),
        writer.delete_with(&format!("/v1/conversations/{id}/tags"), json!(["vip"])).await.ok(),
        writer.patch(&format!("/v1/conversations/{id}"), json!({ "customer": other })).await.ok(),
        writer.patch(&format!("/v1/conversations/{id}"), json!({ "customer": other })).await.ok(),
    ] {
        assert_eq!(answer["data"]["attributes"]["custom"]["ssnStr"], hidden());
    }
    let message = json!({ "channel": "email", "app": "x", "custom": { "ssnStr": "078-05-1120" } });
    for path in [format!("/v1/conversations/{id}/messages"), format!("/v1/customers/{customer}/messages")] {
        let made = writer.post(&path, message.clone()).await.created();
        assert_eq!(made["data"]["attributes"]["custom"]["ssnStr"], hidden(), "{path}");
    }
});

on_both_engines!(what_is_hidden_cannot_be_searched_for, |app| async move {
    let app = app.with_search();
    let admin = app.admin().await;
    let (customer, _) = secrets(&app, &admin).await;
    let reader = app.actor(&["org.user"]).await;
    let search = async |actor: &Actor, query: Value| {
        let body = json!({ "and": [query], "queryContext": "customer" });
        actor.post("/v1/customers/search", body).await
    };
    for query in [
        json!({ "customer_custom_ssnStr": { "equals": "078-05-1120" } }),
        json!({ "customer_custom_ssnStr": { "not_equals": "x" } }),
        json!({ "conversation_custom_ssnStr": { "set": true } }),
        json!({ "message_custom_cardStr": { "prefix": "4111" } }),
    ] {
        assert_eq!(search(&admin, query.clone()).await.ok()["meta"]["total"], 1, "{query}");
        let reply = search(&reader, query.clone()).await;
        assert_eq!(reply.error(), bad(""), "{query}");
        let nested = json!({ "queryContext": "customer", "or": [{ "not": [query] }] });
        assert_eq!(reader.post("/v1/customers/search", nested.clone()).await.status, 400, "{nested}");
    }
    let sorted = json!({ "and": [], "queryContext": "customer", "sort": [{ "customer_custom_ssnStr": "asc" }] });
    admin.post("/v1/customers/search", sorted.clone()).await.ok();
    assert_eq!(reader.post("/v1/customers/search", sorted).await.error(), bad(""));
    for (text, found_by_reader) in [("078", 0), ("a@b.example", 1)] {
        let query = json!({ "customer_any_text_new": { "contains": text } });
        assert_eq!(search(&admin, query.clone()).await.ok()["meta"]["total"], 1, "{text}");
        assert_eq!(search(&reader, query.clone()).await.ok()["meta"]["total"], found_by_reader, "{text}");
        let query = json!({ "customer_any_text_new": { "not_contains": text } });
        assert_eq!(search(&reader, query).await.ok()["meta"]["total"], 1 - found_by_reader, "{text}");
    }
    let found = search(&reader, json!({ "customer_custom_openStr": { "equals": "seen" } })).await;
    assert_eq!(found.ids(), [customer]);
    assert!(!shows_secrets(&String::from_utf8_lossy(&found.body)) && found.json().to_string().contains("****1234"));
});

on_both_engines!(events_can_be_shown_to_who_must_not_see_all, |app| async move {
    let admin = app.admin().await;
    let (customer, _) = secrets(&app, &admin).await;
    let mut position = app.feed().newest().await.expect("a position");
    let change = json!({ "custom": { "ssnStr": "219-09-9999", "openStr": "x" } });
    admin.patch(&format!("/v1/customers/{customer}"), change).await.ok();
    let event = app.events(&mut position).await.pop().expect("an event");
    let changes = event.changes.expect("a difference");
    let actor = async |role: &str| {
        let token = app.actor(&[role]).await.token;
        let access = konverse_domain::Access { token: &token, address: None, about: None };
        app.domain.authenticate(access).await.expect("a token")
    };
    let reader = actor("org.user").await;
    let shown: Value =
        serde_json::from_str(&reader.shown_changes(event.kind, changes.clone()).expect("JSON")).expect("JSON");
    let told = &shown["attributes"];
    assert_eq!(told["custom.ssnStr"], json!({ "op": "replace", "before": hidden(), "after": hidden() }));
    assert_eq!(told["custom.openStr"], json!({ "op": "replace", "before": "seen", "after": "x" }));
    let admin = actor("org").await;
    assert_eq!(admin.shown_changes(event.kind, changes.clone()).expect("JSON"), changes);
    assert!(reader.is_hidden(Kind::Customer, "ssnStr") && !reader.is_hidden(Kind::Customer, "openStr"));
    assert!(!reader.is_hidden(Kind::Note, "ssnStr") && !admin.is_hidden(Kind::Customer, "ssnStr"));
});

on_both_engines!(a_change_of_definitions_is_told_one_by_one, |app| async move {
    let admin = app.admin().await;
    define(&admin, "customer", json!({ "aStr": {}, "bStr": {} })).await;
    let mut position = app.feed().newest().await.expect("a position");
    define(&admin, "customer", json!({ "aStr": { "displayName": "Alpha" }, "bStr": {} })).await;
    let events = app.events(&mut position).await;
    let [event] = &events[..] else { panic!("{events:?}") };
    let changes: Value = serde_json::from_str(event.changes.as_deref().expect("a difference")).expect("JSON");
    let names: Vec<&String> = changes["attributes"].as_object().expect("an object").keys().collect();
    assert_eq!(event.kind, Kind::Metadata);
    assert!(
        names.contains(&&"properties.aStr".to_owned()) && !names.contains(&&"properties.bStr".to_owned()),
        "{names:?}"
    );
    let described = app.store.store().described(app.org.id).await.expect("an answer").version;
    define(&admin, "customer", json!({ "aStr": { "displayName": "Alpha" } })).await;
    assert!(app.events(&mut position).await.is_empty(), "nothing changed");
    assert_eq!(app.store.store().described(app.org.id).await.expect("an answer").version, described);
});

on_both_engines!(who_may_not_see_it_cannot_say_that_it_may_be_seen, |app| async move {
    let admin = app.admin().await;
    define(&admin, "customer", json!({ "ssnStr": { "sensitive": { "enabled": true } } })).await;
    let describer = app.actor(&["org.permission.metadata", "org.permission.customer"]).await;
    for sensitive in [json!(null), json!({ "enabled": false }), json!({ "enabled": true, "maskType": "last4" })] {
        let change = json!({ "properties": { "ssnStr": { "sensitive": sensitive } } });
        let reply = describer.put("/v1/metadata/customer", change).await;
        assert_eq!(reply.error(), bad("/properties/ssnStr/sensitive"), "{sensitive}");
    }
    // The rest is theirs to change, and what hides more.
    define(&describer, "customer", json!({ "ssnStr": { "displayName": "Number" } })).await;
    define(&describer, "customer", json!({ "planStr": { "sensitive": { "enabled": true } } })).await;
    let customer = admin.post("/v1/customers", json!({ "custom": { "ssnStr": "123-45" } })).await.created_id();
    assert_eq!(describer.attributes(&format!("/v1/customers/{customer}")).await["custom"]["ssnStr"], hidden());
    // Nor does reading everything bring it.
    let groups = admin.get("/v1/role-groups").await.ok();
    let group =
        groups["data"].as_array().expect("a list").iter().find(|group| group["attributes"]["name"] == "Read only");
    let roles = group.expect("it comes with konverse")["attributes"]["roles"].to_string();
    assert!(roles.contains("org.permission.customer.read") && !roles.contains("sensitive"), "{roles}");
});
