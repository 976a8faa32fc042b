//! Messages: where they are recorded, what they default to, how they change and move.

use konverse_testkit::on_both_engines;
use serde_json::{Value, json};

use crate::{MINUTE, at, conversation, customer, id_of, message};

on_both_engines!(a_fresh_message_has_exactly_these_members, |app| async move {
    let agent = app.admin().await;
    let who = agent.customer().await;
    let id = agent.conversation(&who, json!({})).await;
    app.clock.advance(MINUTE);
    let sent = agent.message(&id, json!({ "preview": "Hello, wörld" })).await;
    insta::assert_json_snapshot!("fresh_message", agent.get(&format!("/v1/messages/{sent}")).await.ok());
});

on_both_engines!(a_message_has_its_defaults, |app| async move {
    let agent = app.admin().await;
    let who = agent.customer().await;
    let id = agent.conversation(&who, json!({})).await;
    let first = agent.message(&id, json!({ "preview": "wörld", "sentAt": at(3) })).await;
    let it = message(&agent, &first).await;
    for (name, value) in [
        ("direction", json!("in")),
        ("status", json!("received")),
        ("size", json!(5)),
        ("meta", json!({})),
        ("auto", json!(false)),
        ("sentAt", json!(at(3))),
        ("createdAt", json!(at(3))),
        ("rev", json!(1)),
    ] {
        assert_eq!(it[name], value, "{name}");
    }
    let out = agent.message(&id, json!({ "direction": "out", "status": "error", "error": { "code": "bounced" }, "errorAt": at(1), "size": 7 })).await;
    let it = message(&agent, &out).await;
    assert_eq!((&it["status"], &it["error"]["code"], &it["size"]), (&json!("error"), &json!("bounced"), &json!(7)));
    let out = agent.message(&id, json!({ "direction": "out" })).await;
    assert_eq!(message(&agent, &out).await["status"], "sent");

    let attachment = "671a2d10a3f1b20012c4aaaa";
    let meta = json!({ "from": "a@b", "to": [{ "email": "x@y" }], "cc": "z@y", "deep": { "n": 1.5 } });
    let body = json!({
        "meta": meta, "attachments": [{ "_id": attachment, "name": "a.png" }, "671a2d10a3f1b20012c4aaab"], "related": "/v1/postmark/messages/1",
        "reference": { "message": first, "type": "reply" }, "location": { "cityName": "Bonn" }, "lang": null, "shortcuts": [attachment],
    });
    let full = agent.message(&id, body).await;
    let it = agent.get(&format!("/v1/messages/{full}")).await.ok();
    assert_eq!(it["data"]["attributes"]["meta"], meta);
    assert_eq!(
        it["data"]["relationships"]["attachments"],
        json!({
            "links": { "self": format!("/v1/messages/{full}/attachments") },
            "data": [{ "type": "attachment", "id": attachment }, { "type": "attachment", "id": "671a2d10a3f1b20012c4aaab" }],
        })
    );
    assert_eq!(it["data"]["links"]["related"], "/v1/postmark/messages/1");
    let it = agent
        .put(&format!("/v1/messages/{full}"), json!({ "attachments": [], "reactions": [], "spam": true }))
        .await
        .ok();
    assert_eq!(it["data"]["relationships"]["attachments"], Value::Null);
    assert_eq!(it["data"]["attributes"]["meta"], meta);
});

on_both_engines!(of_messages_that_come_at_once_each_is_refused_alone, |app| async move {
    let agent = app.admin().await;
    let (who, other) = (agent.customer().await, agent.customer().await);
    let [first, second, deleted] = [
        agent.conversation(&who, json!({})).await,
        agent.conversation(&who, json!({})).await,
        agent.conversation(&who, json!({})).await,
    ];
    agent.delete(&format!("/v1/conversations/{deleted}")).await;
    let given = "671a2d10a3f1b20012c4bbbb";
    let mut posts = tokio::task::JoinSet::new();
    for n in 0..70 {
        let agent = app.bearer(&agent.token);
        let conversation = match n % 7 {
            6 => &deleted,
            n if n % 2 == 0 => &first,
            _ => &second,
        };
        let path = format!("/v1/conversations/{conversation}/messages");
        let mut body = json!({ "channel": "chat", "app": "t", "preview": n.to_string() });
        match n % 7 {
            3 => body["customer"] = json!(other),
            4 => body["externalId"] = json!("one"),
            5 => body["id"] = json!(given),
            _ => {}
        }
        posts.spawn(async move { (n, agent.post(&path, body).await) });
    }
    let mut recorded = std::collections::BTreeMap::new();
    for (n, reply) in posts.join_all().await {
        match (n % 7, reply.status.as_u16()) {
            (_, 201) => {
                let it = reply.created();
                assert_eq!(it["data"]["attributes"]["preview"], n.to_string(), "everybody is told of their own");
                recorded.insert(it["data"]["id"].as_str().expect("an id").to_owned(), n % 7);
            }
            (3, _) => assert_eq!(reply.error().2, "/customer"),
            (4, _) => assert_eq!(reply.error(), (409, "conflict".into(), "/externalId".into())),
            (5, _) => assert_eq!(reply.error(), (409, "conflict".into(), "/id".into())),
            (6, status) => assert_eq!(status, 404),
            (_, status) => panic!("{n}: {status}"),
        }
    }
    let of = |rest: i32| recorded.values().filter(|of| **of == rest).count();
    assert_eq!([0, 1, 2, 3, 4, 5, 6].map(of), [10, 10, 10, 0, 1, 1, 0]);
    assert_eq!(recorded.get(given), Some(&5));
    let mut found = Vec::new();
    for id in [&first, &second] {
        let listed = agent.get(&format!("/v1/conversations/{id}/messages?pageSize=100")).await.ids();
        assert_eq!(conversation(&agent, id).await["messageCount"], listed.len());
        found.extend(listed);
    }
    found.sort_unstable();
    assert_eq!(found, recorded.into_keys().collect::<Vec<_>>());
});

on_both_engines!(a_message_is_recorded_in_three_places, |app| async move {
    let agent = app.admin().await;
    let (who, other) = (agent.customer().await, agent.customer().await);
    let body = json!({ "channel": "chat", "app": "t", "preview": "Hi" });
    let with = |more: Value| {
        let mut body = body.clone();
        for (name, value) in more.as_object().expect("an object") {
            body[name] = value.clone();
        }
        body
    };
    let opened =
        agent.post(&format!("/v1/customers/{who}/messages"), with(json!({ "subject": "Parcel" }))).await.created();
    let id = id_of(&opened["data"]["relationships"]["conversation"]).to_owned();
    let it = conversation(&agent, &id).await;
    assert_eq!((&it["name"], &it["messageCount"], &it["rev"]), (&json!("Parcel"), &json!(1), &json!(1)));
    assert_eq!(customer(&agent, &who).await["conversationCounts"]["open"], 1);
    let into =
        agent.post(&format!("/v1/customers/{who}/messages"), with(json!({ "conversation": id }))).await.created();
    assert_eq!(id_of(&into["data"]["relationships"]["conversation"]), id);
    let org = agent
        .post("/v1/messages", with(json!({ "conversation": id, "direction": "out", "customer": who })))
        .await
        .created();
    assert_eq!(id_of(&org["data"]["relationships"]["customer"]), who);
    let within = agent
        .post(&format!("/v1/conversations/{id}/messages"), with(json!({ "conversation": id, "customer": who })))
        .await;
    within.created();
    assert_eq!(conversation(&agent, &id).await["messageCount"], 4);

    let unknown = "671a2d10a3f1b20012c4dead";
    for (path, more, pointer) in [
        (format!("/v1/conversations/{id}/messages"), json!({ "customer": other }), "/customer"),
        (format!("/v1/conversations/{id}/messages"), json!({ "conversation": unknown }), "/conversation"),
        (format!("/v1/customers/{other}/messages"), json!({ "conversation": id }), "/conversation"),
        (format!("/v1/customers/{other}/messages"), json!({ "customer": who }), "/customer"),
        ("/v1/messages".into(), json!({ "conversation": id, "direction": "in", "customer": other }), "/customer"),
        ("/v1/messages".into(), json!({ "conversation": unknown, "direction": "in" }), "/conversation"),
        ("/v1/messages".into(), json!({ "direction": "in" }), "/conversation"),
        ("/v1/messages".into(), json!({ "conversation": id }), "/direction"),
        (format!("/v1/conversations/{id}/messages"), json!({ "channel": "fax" }), "/channel"),
        (format!("/v1/conversations/{id}/messages"), json!({ "preview": "x".repeat(10_241) }), "/preview"),
        (format!("/v1/conversations/{id}/messages"), json!({ "subject": "x".repeat(257) }), "/subject"),
        (format!("/v1/conversations/{id}/messages"), json!({ "size": -1 }), "/size"),
        (format!("/v1/conversations/{id}/messages"), json!({ "attachments": ["x"] }), "/attachments/0"),
        (format!("/v1/conversations/{id}/messages"), json!({ "directionType": "initial-in" }), "/directionType"),
        (format!("/v1/conversations/{id}/messages"), json!({ "custom": { "x": 1 } }), "/custom/x"),
        (format!("/v1/conversations/{id}/messages"), json!({ "preview": null }), "/preview"),
    ] {
        assert_eq!(
            agent.post(&path, with(more.clone())).await.error(),
            (400, "bad_request".into(), pointer.into()),
            "{path} {more}"
        );
    }
    assert_eq!(agent.post(&format!("/v1/conversations/{unknown}/messages"), body.clone()).await.status, 404);
    assert_eq!(agent.post(&format!("/v1/customers/{unknown}/messages"), body.clone()).await.status, 404);
    assert_eq!(agent.post(&format!("/v1/conversations/{id}/messages"), json!({})).await.error().0, 400);
    assert_eq!(customer(&agent, &other).await["conversationCounts"]["all"], 0, "a refused message opens nothing");
    agent.message(&id, json!({ "preview": "x".repeat(10_240) })).await;
});

on_both_engines!(only_an_administrator_rewrites_history, |app| async move {
    let admin = app.admin().await;
    let agent = app.actor(&["org.user", "org.permission"]).await;
    let who = admin.customer().await;
    let id = admin.conversation(&who, json!({})).await;
    let user = admin.post("/v1/users", json!({ "name": "Ann", "email": "ann@acme.example" })).await.created_id();
    admin.post("/v1/teams", json!({ "name": "Support", "members": [user] })).await.created();
    let history = json!({ "createdAt": "2026-01-01T00:00:00Z", "modifiedAt": "2026-01-02T00:00:00Z", "createdBy": user, "modifiedBy": user, "direction": "out" });
    let by_agent = agent.message(&id, history.clone()).await;
    app.clock.advance(MINUTE);
    let by_admin = admin.message(&id, history.clone()).await;
    let it = agent.get(&format!("/v1/messages/{by_agent}")).await.ok();
    assert_eq!(
        (&it["data"]["attributes"]["createdAt"], &it["data"]["attributes"]["modifiedAt"]),
        (&json!(at(0)), &json!(at(0)))
    );
    assert_ne!(id_of(&it["data"]["relationships"]["createdBy"]), user);
    let it = agent.get(&format!("/v1/messages/{by_admin}")).await.ok();
    let attributes = &it["data"]["attributes"];
    assert_eq!(attributes["createdAt"], "2026-01-01T00:00:00.000Z");
    assert_eq!(attributes["modifiedAt"], "2026-01-02T00:00:00.000Z");
    assert_eq!((&attributes["sentAt"], &attributes["updatedAt"]), (&attributes["createdAt"], &json!(at(1))));
    assert_eq!(attributes["createdByTeams"].as_array().expect("teams").len(), 1);
    assert_eq!(id_of(&it["data"]["relationships"]["createdBy"]), user);
    assert_eq!(id_of(&it["data"]["relationships"]["modifiedBy"]), user);

    app.clock.advance(9 * MINUTE);
    let path = format!("/v1/messages/{by_admin}");
    let it = admin
        .patch(&path, json!({ "modifiedAt": at(4), "subject": "x", "modifiedBy": user, "updatedAt": at(1) }))
        .await
        .ok();
    assert_eq!(it["data"]["attributes"]["modifiedAt"], at(4), "the given moment stands");
    assert_eq!(it["data"]["attributes"]["updatedAt"], at(10), "this one is the server's");
    assert_eq!(id_of(&it["data"]["relationships"]["modifiedBy"]), user);
    let it = agent
        .patch(&path, json!({ "modifiedAt": at(5), "createdAt": at(5), "subject": "y", "createdBy": user }))
        .await
        .ok();
    assert_eq!(it["data"]["attributes"]["modifiedAt"], at(10), "an agent's word on it does not count");
    assert_eq!(it["data"]["attributes"]["createdAt"], "2026-01-01T00:00:00.000Z");
    let it = admin.patch(&path, json!({ "createdAt": "2030-01-01T00:00:00Z" })).await.ok();
    let attributes = &it["data"]["attributes"];
    assert!(attributes["createdAt"].as_str() <= attributes["modifiedAt"].as_str(), "{attributes}");
    assert!(attributes["modifiedAt"].as_str() <= attributes["updatedAt"].as_str(), "{attributes}");
});

on_both_engines!(a_message_is_found_by_its_external_id, |app| async move {
    let agent = app.admin().await;
    let who = agent.customer().await;
    let id = agent.conversation(&who, json!({})).await;
    let a = agent.message(&id, json!({ "externalId": "<a+b@mail/1>" })).await;
    let b = agent.message(&id, json!({})).await;
    assert_eq!(agent.get("/v1/messages/externalid=%3Ca+b@mail%2F1%3E").await.ok()["data"]["id"], json!(a));
    assert_eq!(agent.get("/v1/messages/externalid=nope").await.error().0, 404);
    let clash = agent.patch(&format!("/v1/messages/{b}"), json!({ "externalId": "<a+b@mail/1>" })).await;
    assert_eq!(clash.error(), (409, "conflict".into(), "/externalId".into()));
    let clash =
        agent.post(&format!("/v1/conversations/{id}/messages"), json!({ "channel": "sms", "app": "t", "id": a })).await;
    assert_eq!(clash.error(), (409, "conflict".into(), "/id".into()));
    assert_eq!(conversation(&agent, &id).await["messageCount"], 2);
    agent.patch(&format!("/v1/messages/{a}"), json!({ "externalId": null })).await.ok();
    agent.patch(&format!("/v1/messages/{b}"), json!({ "externalId": "<a+b@mail/1>" })).await.ok();
});

on_both_engines!(a_changed_message_changes_what_is_told_of_it, |app| async move {
    let agent = app.admin().await;
    let who = agent.customer().await;
    let id = agent.conversation(&who, json!({})).await;
    let first = agent
        .message(
            &id,
            json!({ "preview": "one", "meta": { "n": 1 }, "sentAt": at(1), "custom": { "aStr": "a", "bStr": "b" } }),
        )
        .await;
    let second = agent.message(&id, json!({ "preview": "two", "direction": "out", "sentAt": at(2) })).await;
    let path = format!("/v1/messages/{first}");
    let it = agent.patch(&path, json!({ "preview": "uno", "meta": { "n": 2 }, "custom": { "aStr": null } })).await.ok();
    let attributes = &it["data"]["attributes"];
    assert_eq!(
        (&attributes["size"], &attributes["custom"], &attributes["rev"]),
        (&json!(3), &json!({ "bStr": "b" }), &json!(2))
    );
    let it = conversation(&agent, &id).await;
    assert_eq!(
        (&it["preview"], &it["name"], &it["firstMessageIn"]["meta"]["n"]),
        (&json!("uno"), &json!("uno"), &json!(2))
    );
    assert_eq!(it["messageCount"], 2);
    let rev = it["rev"].clone();
    agent.patch(&path, json!({ "status": "error", "errorAt": at(1) })).await.ok();
    assert_eq!(conversation(&agent, &id).await["rev"], rev, "a delivery report is not the conversation's business");

    // Sent after the other one, as it turns out.
    app.clock.advance(5 * MINUTE);
    agent.patch(&path, json!({ "sentAt": at(5) })).await.ok();
    let it = conversation(&agent, &id).await;
    assert_eq!(
        (&it["preview"], &it["direction"], &it["lastMessageDirection"]),
        (&json!("two"), &json!("out"), &json!("in"))
    );
    assert_eq!(it["firstResponse"], json!({}));
    assert_eq!(message(&agent, &second).await["directionType"], "initial-out");
    assert_eq!(message(&agent, &second).await["responseTime"], Value::Null);
    assert_eq!(message(&agent, &first).await["directionType"], "response-in");
    let theirs = customer(&agent, &who).await;
    assert_eq!((&theirs["preview"]["text"], &theirs["lastMessageAt"]), (&json!("uno"), &json!(at(5))));

    let it = agent.put(&format!("{path}?replace=true"), json!({ "subject": "S" })).await.ok();
    let attributes = &it["data"]["attributes"];
    assert_eq!(
        (&attributes["preview"], &attributes["meta"], &attributes["custom"]),
        (&Value::Null, &json!({}), &Value::Null)
    );
    assert_eq!((&attributes["channel"], &attributes["sentAt"]), (&json!("email"), &json!(at(5))));
    for (body, pointer) in [
        (json!({ "spam": true }), "/spam"),
        (json!({ "channel": "sms" }), "/channel"),
        (json!({ "direction": "in" }), "/direction"),
        (json!({ "sentAt": null }), "/sentAt"),
        (json!({ "meta": null }), "/meta"),
    ] {
        assert_eq!(agent.patch(&path, body.clone()).await.error().2, pointer, "{body}");
    }
});

on_both_engines!(a_message_moves_between_conversations_of_one_customer, |app| async move {
    let agent = app.admin().await;
    let who = agent.customer().await;
    let (from, to) = (agent.conversation(&who, json!({})).await, agent.conversation(&who, json!({})).await);
    let other = agent.customer().await;
    let foreign = agent.conversation(&other, json!({})).await;
    let moving = agent.message(&from, json!({ "preview": "moving", "sentAt": at(1), "channel": "sms" })).await;
    let answer = agent.message(&from, json!({ "direction": "out", "preview": "answer", "sentAt": at(3) })).await;
    agent.message(&to, json!({ "preview": "there", "sentAt": at(2) })).await;
    let path = format!("/v1/messages/{moving}");
    let it = agent.patch(&path, json!({ "conversation": to, "modifiedBy": null }).clone()).await;
    assert_eq!(it.error().2, "/modifiedBy");
    let it = agent.patch(&path, json!({ "conversation": to })).await.ok();
    assert_eq!(id_of(&it["data"]["relationships"]["conversation"]), to);
    let (left, joined) = (conversation(&agent, &from).await, conversation(&agent, &to).await);
    assert_eq!(
        (&left["messageCount"], &left["channels"], &left["preview"]),
        (&json!(1), &json!(["email"]), &json!("answer"))
    );
    assert_eq!(
        (&left["direction"], &left["firstResponse"], &left["lastMessageIn"]),
        (&json!("out"), &json!({}), &json!({}))
    );
    assert_eq!(
        (&joined["messageCount"], &joined["channels"], &joined["preview"]),
        (&json!(2), &json!(["sms", "email"]), &json!("moving"))
    );
    assert_eq!(message(&agent, &answer).await["directionType"], "initial-out");
    assert_eq!(agent.get(&format!("/v1/conversations/{to}/messages")).await.ids().len(), 2);
    assert_eq!(agent.get(&format!("/v1/conversations/{from}/messages")).await.ids(), [answer.as_str()]);
    let it = customer(&agent, &who).await;
    assert_eq!((&it["preview"]["text"], &it["lastConversation"]["id"]), (&json!("answer"), &json!(from)));
    agent.patch(&format!("/v1/messages/{answer}"), json!({ "conversation": to })).await.ok();
    let left = conversation(&agent, &from).await;
    assert_eq!((&left["messageCount"], &left["name"], &left["lastMessageAt"]), (&json!(0), &json!(""), &Value::Null));
    assert_eq!(customer(&agent, &who).await["lastConversation"]["id"], json!(to));
    for wrong in [foreign.as_str(), "671a2d10a3f1b20012c4dead"] {
        assert_eq!(agent.patch(&path, json!({ "conversation": wrong })).await.error().2, "/conversation");
    }
    agent.delete(&format!("/v1/conversations/{from}")).await;
    assert_eq!(agent.patch(&path, json!({ "conversation": from })).await.error().2, "/conversation");
});

on_both_engines!(lists_of_messages_begin_with_the_oldest, |app| async move {
    let agent = app.admin().await;
    let who = agent.customer().await;
    let (a, b) = (agent.conversation(&who, json!({})).await, agent.conversation(&who, json!({})).await);
    let mut sent = Vec::new();
    for conversation in [&a, &b, &a] {
        sent.push(agent.message(conversation, json!({})).await);
        app.clock.advance(1);
    }
    let reversed: Vec<_> = sent.iter().rev().cloned().collect();
    assert_eq!(agent.get(&format!("/v1/conversations/{a}/messages")).await.ids(), [sent[0].as_str(), sent[2].as_str()]);
    assert_eq!(agent.get(&format!("/v1/customers/{who}/messages")).await.ids(), sent);
    assert_eq!(agent.get("/v1/messages").await.ids(), sent);
    assert_eq!(agent.get("/v1/messages?sort=desc").await.ids(), reversed);
    assert_eq!(agent.get("/v1/messages?sort=desc&pageSize=1&page=2&updatedAt=gte:x").await.ids(), [sent[1].as_str()]);
    let page = agent.get("/v1/messages?pageSize=1&page=9").await.ok();
    assert_eq!((&page["data"], &page["links"]["next"]), (&json!([]), &Value::Null));
});
