//! Customers: names that are theirs alone, what follows from their conversations, lists, the wall between orgs.

use konverse_domain::{ImportKind, Importer, RowOutcome};
use konverse_testkit::on_both_engines;
use serde_json::{Value, json};

use crate::{MINUTE, at, conversation, customer, message};

on_both_engines!(a_fresh_customer_has_exactly_these_members, |app| async move {
    let agent = app.admin().await;
    let id = agent.customer().await;
    insta::assert_json_snapshot!("fresh_customer", agent.get(&format!("/v1/customers/{id}")).await.ok());
});

on_both_engines!(a_customer_follows_their_conversations, |app| async move {
    let agent = app.admin().await;
    let who = agent.customer().await;
    let counts = async |status: Value, all: u64, open: u64, snoozed: u64, done: u64| {
        let it = customer(&agent, &who).await;
        assert_eq!(it["conversationCounts"], json!({ "all": all, "open": open, "snoozed": snoozed, "done": done }));
        assert_eq!(it["progressiveStatus"], status);
        it
    };
    counts(Value::Null, 0, 0, 0, 0).await;
    let a = agent.conversation(&who, json!({ "status": "done" })).await;
    let it = counts(json!("done"), 1, 0, 0, 1).await;
    assert_eq!(it["lastConversation"]["id"], json!(a));
    let b = agent.conversation(&who, json!({})).await;
    let it = counts(json!("open"), 2, 1, 0, 1).await;
    assert_eq!(it["lastConversation"]["id"], json!(b), "without messages the newest one counts");
    agent.message(&a, json!({ "preview": "first", "channel": "sms", "importedAt": at(0), "sentAt": at(1) })).await;
    let it = counts(json!("open"), 2, 1, 0, 1).await;
    assert_eq!(it["lastConversation"], json!({ "id": a, "tags": [], "channels": ["sms"], "sentiment": {} }));
    assert_eq!(it["preview"], json!({ "type": "message_in", "text": "first", "channel": "sms", "previewAt": at(1) }));
    agent.patch(&format!("/v1/conversations/{b}"), json!({ "status": "snoozed" })).await.ok();
    counts(json!("snoozed"), 2, 0, 1, 1).await;
    agent.message(&b, json!({ "preview": "second", "direction": "out", "subject": "Re", "sentAt": at(2) })).await;
    let it = counts(json!("snoozed"), 2, 0, 1, 1).await;
    assert_eq!((&it["preview"]["type"], &it["preview"]["subject"]), (&json!("message_out"), &json!("Re")));
    assert_eq!((&it["lastMessageOut"], &it["lastMessageIn"]["sentAt"]), (&json!({ "sentAt": at(2) }), &json!(at(1))));
    assert_eq!((&it["lastMessageAt"], &it["lastConversation"]["id"]), (&json!(at(2)), &json!(b)));
    assert_eq!((&it["lastActivityAt"], &it["lastCustomerActivityAt"]), (&json!(at(2)), &json!(at(1))));

    // An older message of the other conversation changes nothing here.
    agent.message(&a, json!({ "preview": "older", "direction": "out", "sentAt": at(0) })).await;
    assert_eq!(customer(&agent, &who).await["preview"]["text"], "second");
    agent
        .patch(
            &format!("/v1/conversations/{b}"),
            json!({ "tags": ["vip"], "sentiment": { "polarity": 1, "confidence": 1.0 } }),
        )
        .await
        .ok();
    let it = customer(&agent, &who).await;
    assert_eq!(it["lastConversation"]["tags"].as_array().expect("tags").len(), 1);
    assert_eq!(it["sentiment"]["polarity"], 1);
    agent.patch(&format!("/v1/conversations/{a}"), json!({ "status": "open" })).await.ok();
    counts(json!("open"), 2, 1, 1, 0).await;
    agent.delete(&format!("/v1/conversations/{b}")).await;
    let it = counts(json!("open"), 1, 1, 0, 0).await;
    assert_eq!(
        (&it["lastConversation"]["id"], &it["preview"]["text"], &it["lastMessageAt"]),
        (&json!(a), &json!("first"), &json!(at(1)))
    );
    app.clock.advance(MINUTE);
    agent.post(&format!("/v1/conversations/{a}/notes"), json!({ "body": "n" })).await.created();
    let after = customer(&agent, &who).await;
    assert_eq!(after["modifiedAt"], at(0), "nobody edited the customer");
});

on_both_engines!(the_channel_of_the_unanswered_message_is_its_own, |app| async move {
    let agent = app.admin().await;
    let who = agent.customer().await;
    let id = agent.conversation(&who, json!({})).await;
    agent.message(&id, json!({ "channel": "email", "sentAt": at(1) })).await;
    agent.message(&id, json!({ "channel": "sms", "sentAt": at(2) })).await;
    let it = customer(&agent, &who).await;
    assert_eq!(it["lastMessageUnrespondedTo"], json!({ "sentAt": at(1), "channel": "email" }));
    agent.message(&id, json!({ "direction": "out", "sentAt": at(3) })).await;
    assert_eq!(customer(&agent, &who).await["lastMessageUnrespondedTo"], Value::Null);
});

on_both_engines!(somebody_is_always_called_something, |app| async move {
    let agent = app.admin().await;
    let id = agent.customer().await;
    let path = format!("/v1/customers/{id}");
    let it = customer(&agent, &id).await;
    let title = |word: &Value| {
        let word = word.as_str().expect("a word");
        word[..1].to_uppercase() + &word[1..]
    };
    let nameless = format!("{} {}", title(&it["displayColor"]), title(&it["displayIcon"]));
    assert_eq!(it["displayName"], json!(nameless));
    for (body, name) in [
        (json!({ "socials": [{ "type": "twitter", "username": "jane" }] }), "jane"),
        (json!({ "phones": [{ "phone": "+1 555 0100" }] }), "+1 555 0100"),
        (json!({ "emails": [{ "email": "Jane@Example.com" }] }), "Jane@Example.com"),
        (json!({ "name": "  " }), "Jane@Example.com"),
        (json!({ "name": "Jane van Doe" }), "Jane van Doe"),
        (json!({ "name": null, "emails": [] }), "+1 555 0100"),
        (json!({ "phones": [], "socials": [] }), nameless.as_str()),
    ] {
        let it = agent.patch(&path, body.clone()).await.ok();
        assert_eq!(it["data"]["attributes"]["displayName"], name, "{body}");
    }
    let it = agent.patch(&path, json!({ "name": "Jane van Doe" })).await.ok();
    assert_eq!(
        (&it["data"]["attributes"]["firstName"], &it["data"]["attributes"]["lastName"]),
        (&json!("Jane"), &json!("van Doe"))
    );
    let it = agent.patch(&path, json!({ "name": "Cher" })).await.ok();
    assert_eq!(
        (&it["data"]["attributes"]["firstName"], &it["data"]["attributes"]["lastName"]),
        (&json!("Cher"), &Value::Null)
    );
});

on_both_engines!(a_customer_is_found_by_every_name, |app| async move {
    let agent = app.admin().await;
    let body = json!({
        "emails": [{ "email": "Jane+x@Example.com", "type": "home" }], "phones": [{ "phone": "+1 (555) 010-0200", "type": "mobile" }],
        "externalId": "crm/1 ü", "externalIds": [{ "externalId": "shop-7" }],
    });
    let id = agent.post("/v1/customers", body).await.created_id();
    let it = customer(&agent, &id).await;
    assert_eq!(it["externalId"], "crm/1 ü");
    assert_eq!(it["externalIds"][0], json!({ "externalId": "crm/1 ü", "verified": true, "id": null }));
    assert_eq!(it["emails"], json!([{ "type": "home", "email": "Jane+x@Example.com", "verified": false, "id": null }]));
    for path in [
        "/v1/customers/email=jane+x@example.com",
        "/v1/customers/email=JANE%2Bx%40example.com",
        "/v1/customers/phone=+15550100200",
        "/v1/customers/phone=%2B1%20555%20010%200200",
        "/v1/customers/externalId=crm%2F1%20%C3%BC",
        "/v1/customers/externalId=shop-7",
    ] {
        assert_eq!(agent.get(path).await.ok()["data"]["id"], json!(id), "{path}");
    }
    for path in ["/v1/customers/email=nobody@example.com", "/v1/customers/phone=1", "/v1/customers/externalId=SHOP-7"] {
        assert_eq!(agent.get(path).await.error().0, 404, "{path}");
    }
});

on_both_engines!(names_are_one_customers_alone, |app| async move {
    let agent = app.admin().await;
    let body = json!({
        "emails": [{ "email": "a@b.example" }], "phones": [{ "phone": "+1555" }], "whatsapps": [{ "phone": "+1666" }],
        "socials": [{ "type": "twitter", "username": "jane" }], "externalIds": [{ "externalId": "x" }],
        "sharedEmails": [{ "email": "all@b.example" }], "sharedPhones": [{ "phone": "+1777" }], "sharedExternalIds": [{ "externalId": "s" }],
    });
    let first = agent.post("/v1/customers", body).await.created_id();
    let second = agent.customer().await;
    let path = format!("/v1/customers/{second}");
    for (body, pointer) in [
        (json!({ "emails": [{ "email": "new@b.example" }, { "email": "A@B.example" }] }), "/emails/1/email"),
        (json!({ "phones": [{ "phone": "+1 5-55" }] }), "/phones/0/phone"),
        (json!({ "whatsapps": [{ "phone": "+1666" }] }), "/whatsapps/0/phone"),
        (json!({ "socials": [{ "type": "twitter", "username": "JANE" }] }), "/socials/0/username"),
        (json!({ "externalIds": [{ "externalId": "x" }] }), "/externalIds/0/externalId"),
    ] {
        for reply in [agent.post("/v1/customers", body.clone()).await, agent.patch(&path, body.clone()).await] {
            assert_eq!(reply.error(), (409, "conflict".into(), pointer.into()), "{body}");
        }
    }
    assert_eq!(agent.post("/v1/customers", json!({ "externalId": "x" })).await.error().0, 409);
    let shared = json!({
        "sharedEmails": [{ "email": "all@b.example" }], "sharedPhones": [{ "phone": "+1777" }], "sharedExternalIds": [{ "externalId": "s" }],
        "socials": [{ "type": "instagram", "username": "jane" }], "phones": [{ "phone": "+1666" }],
    });
    agent.patch(&path, shared).await.ok();
    assert_eq!(agent.get("/v1/customers/email=new@b.example").await.status, 404, "a refused body takes no name");
    let twice = json!({ "emails": [{ "email": "q@b.example" }, { "email": "Q@b.example" }] });
    assert_eq!(agent.post("/v1/customers", twice).await.error(), (400, "bad_request".into(), "/emails/1/email".into()));

    // An update gives the old name back.
    agent.patch(&format!("/v1/customers/{first}"), json!({ "emails": [{ "email": "c@b.example" }] })).await.ok();
    assert_eq!(agent.get("/v1/customers/email=a@b.example").await.status, 404);
    agent.patch(&path, json!({ "emails": [{ "email": "a@b.example" }] })).await.ok();
    assert_eq!(agent.get("/v1/customers/email=a@b.example").await.ok()["data"]["id"], json!(second));
    // So does a replacement that does not name it.
    agent.put(&format!("{path}?replace=true"), json!({})).await.ok();
    assert_eq!(agent.get("/v1/customers/email=a@b.example").await.status, 404);
});

on_both_engines!(of_two_with_one_address_only_one_is_made, |app| async move {
    let agent = app.admin().await;
    for round in 0..5 {
        let mut posts = tokio::task::JoinSet::new();
        for _ in 0..2 {
            let agent = app.bearer(&agent.token);
            let body =
                json!({ "emails": [{ "email": format!("same{round}@b.example") }], "tags": [format!("t{round}")] });
            posts.spawn(async move { agent.post("/v1/customers", body).await });
        }
        let mut replies = posts.join_all().await;
        replies.sort_by_key(|reply| reply.status);
        assert_eq!(replies[0].status, 201);
        assert_eq!(replies[1].error(), (409, "conflict".into(), "/emails/0/email".into()));
    }
    assert_eq!(agent.get("/v1/customers").await.ok()["meta"]["total"], 5);
    assert_eq!(agent.get("/v1/tags").await.ids().len(), 5);
});

on_both_engines!(a_deleted_customer_takes_everything_along_but_the_names, |app| async move {
    let agent = app.admin().await;
    let names = json!({ "emails": [{ "email": "a@b.example" }], "phones": [{ "phone": "+1555" }], "externalId": "x" });
    let who = agent.post("/v1/customers", names.clone()).await.created_id();
    let id = agent.conversation(&who, json!({ "externalId": "c" })).await;
    let sent = agent.message(&id, json!({ "externalId": "m" })).await;
    let note = agent.post(&format!("/v1/conversations/{id}/notes"), json!({ "body": "n" })).await.created_id();
    let path = format!("/v1/customers/{who}");
    agent
        .patch(
            &format!("/v1/conversations/{id}"),
            json!({ "status": "snoozed", "snooze": { "status": "scheduled", "time": at(1) } }),
        )
        .await
        .ok();
    assert_eq!(agent.delete(&path).await.status, 204);
    for path in [
        path.clone(),
        format!("{path}/conversations"),
        format!("{path}/messages"),
        format!("{path}/notes"),
        "/v1/customers/email=a@b.example".into(),
        "/v1/customers/externalId=x".into(),
        format!("/v1/conversations/{id}"),
        "/v1/conversations/externalId=c".into(),
        format!("/v1/conversations/{id}/messages"),
        format!("/v1/messages/{sent}"),
        "/v1/messages/externalid=m".into(),
        format!("/v1/notes/{note}"),
    ] {
        assert_eq!(agent.get(&path).await.status, 404, "{path}");
    }
    assert_eq!(agent.delete(&path).await.status, 404);
    assert_eq!(agent.post(&format!("{path}/conversations"), json!({})).await.status, 404);
    assert_eq!(agent.post(&format!("{path}/messages"), json!({ "channel": "sms", "app": "t" })).await.status, 404);
    assert_eq!(agent.post("/v1/conversations", json!({ "customer": who })).await.error().2, "/customer");
    assert_eq!(agent.patch(&format!("/v1/conversations/{id}"), json!({ "deleted": null })).await.status, 404);
    app.clock.advance(2 * MINUTE);
    assert_eq!(app.end_snoozes().await, 0);
    let list = agent.get("/v1/customers").await.ok();
    assert_eq!((&list["meta"]["total"], &list["data"]), (&json!(0), &json!([])));
    let again = agent.post("/v1/customers", names).await.created_id();
    let id = agent.conversation(&again, json!({ "externalId": "c" })).await;
    agent.message(&id, json!({ "externalId": "m" })).await;
});

on_both_engines!(updates_merge_and_replace_resets, |app| async move {
    let agent = app.admin().await;
    let company = "671a2d10a3f1b20012c4cccc";
    let body = json!({ "name": "N", "company": company, "custom": { "aStr": "1", "bNum": 2 }, "tags": ["vip"], "gender": "f",
        "emails": [{ "email": "a@b.example" }], "externalId": "x", "locale": "de", "birthdayAt": "1990-01-01" });
    let id = agent.post("/v1/customers", body).await.created_id();
    let path = format!("/v1/customers/{id}");
    let it = agent
        .put(&path, json!({ "company": company, "custom": { "aStr": null, "cBool": false }, "locale": null }))
        .await
        .ok();
    let attributes = &it["data"]["attributes"];
    assert_eq!(attributes["custom"], json!({ "bNum": 2, "cBool": false }));
    assert_eq!(
        (&attributes["name"], &attributes["gender"], &attributes["locale"]),
        (&json!("N"), &json!("f"), &Value::Null)
    );
    assert_eq!(it["data"]["relationships"]["company"]["data"], json!({ "type": "company", "id": company }));
    let it = agent.patch(&path, json!({ "name": "M" })).await.ok();
    assert_eq!(it["data"]["relationships"]["company"], Value::Null, "an update without the company unlinks it");
    let it = agent.patch(&path, json!({ "externalId": "y" })).await.ok();
    assert_eq!(it["data"]["attributes"]["externalIds"], json!([{ "externalId": "y", "verified": true, "id": null }]));
    let it = agent.patch(&path, json!({ "externalId": null })).await.ok();
    assert_eq!(
        (&it["data"]["attributes"]["externalIds"], &it["data"]["attributes"]["externalId"]),
        (&json!([]), &Value::Null)
    );
    let it = agent.put(&format!("{path}?replace=true"), json!({ "emails": [{ "email": "z@b.example" }] })).await.ok();
    let attributes = &it["data"]["attributes"];
    for (name, value) in [
        ("name", Value::Null),
        ("custom", Value::Null),
        ("tags", json!([])),
        ("gender", Value::Null),
        ("birthdayAt", Value::Null),
        ("displayName", json!("z@b.example")),
        ("emails", json!([{ "email": "z@b.example", "verified": false, "id": null }])),
        ("createdAt", json!(at(0))),
    ] {
        assert_eq!(attributes[name], value, "{name}");
    }
});

on_both_engines!(limits_hold_at_the_edge, |app| async move {
    let agent = app.admin().await;
    let emails = |n: usize| json!((0..n).map(|n| json!({ "email": format!("{n}@b.example") })).collect::<Vec<_>>());
    let ids = |n: usize| json!((0..n).map(|n| json!({ "externalId": format!("{n}") })).collect::<Vec<_>>());
    for (field, good, bad) in [
        ("emails", emails(10), emails(11)),
        ("externalIds", ids(10), ids(11)),
        ("externalId", json!("e".repeat(255)), json!("e".repeat(256))),
        (
            "socials",
            json!([{ "type": "linkedin", "username": "u".repeat(256) }]),
            json!([{ "type": "myspace", "username": "u" }]),
        ),
        ("phones", json!([{ "type": "fax", "phone": "1" }]), json!([{ "type": "car", "phone": "1" }])),
        ("whatsapps", json!([{ "type": "mobile", "phone": "1" }]), json!([{ "type": "fax", "phone": "1" }])),
        ("locations", json!([{ "countryCode": "DE", "address": "x".repeat(256) }]), json!([{ "countryCode": "DEU" }])),
        ("urls", json!([{ "url": "https://a.b", "type": "blog" }]), json!([{ "url": "https://a.b", "type": "shop" }])),
        ("locale", json!("x".repeat(16)), json!("x".repeat(17))),
        ("timeZone", json!("x".repeat(64)), json!("x".repeat(65))),
        ("gender", Value::Null, json!("x")),
        ("avatarUrl", json!("https://a.b/c.png"), json!("no uri")),
        ("lastSeenAt", json!("2026-01-01"), json!("lately")),
        ("facebookIds", json!([{ "pageId": "1", "userId": "2", "name": "n" }]), json!([{ "pageId": "x".repeat(256) }])),
        ("instagramIds", json!([{ "pageId": "1", "threadId": "2" }]), json!([{ "colour": "red" }])),
        ("custom", json!({ "aStr": null }), json!({ "a": 1 })),
        ("tags", json!([]), Value::Null),
    ] {
        let reply = agent.post("/v1/customers", json!({ field: bad })).await;
        assert_eq!(reply.status, 400, "{field}: {}", String::from_utf8_lossy(&reply.body));
        assert!(reply.error().2.starts_with(&format!("/{field}")), "{field}: {:?}", reply.error());
        let id = agent.post("/v1/customers", json!({ field: good })).await.created_id();
        assert_eq!(agent.delete(&format!("/v1/customers/{id}")).await.status, 204);
    }
    let reply = agent.post("/v1/customers", json!({ "externalIds": ids(10), "externalId": "eleventh" })).await;
    assert_eq!(reply.error(), (400, "bad_request".into(), "/externalIds".into()));
    assert_eq!(agent.post("/v1/customers", json!({ "nmae": "x" })).await.error().2, "/nmae");
});

on_both_engines!(the_list_of_customers_counts_filters_and_sorts, |app| async move {
    let agent = app.admin().await;
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(agent.customer().await);
        app.clock.advance(MINUTE);
    }
    let list = agent.get("/v1/customers?pageSize=2").await.ok();
    assert_eq!(list["meta"], json!({ "pageSize": 2, "page": 1, "total": 5, "totalPages": 3 }));
    assert_eq!(list["links"]["last"], "/v1/customers?page=3&pageSize=2");
    assert_eq!(list["links"]["prev"], Value::Null);
    let mut seen = Vec::new();
    let mut next = Some("/v1/customers?pageSize=2".to_owned());
    while let Some(path) = next {
        let page = agent.get(&path).await;
        seen.extend(page.ids());
        next = page.json()["links"]["next"].as_str().map(str::to_owned);
    }
    assert_eq!(seen, ids, "following the links gives all of them, oldest first");
    assert_eq!(agent.get("/v1/customers?page=3&pageSize=2").await.ids(), ids[4..]);
    let descending: Vec<_> = ids.iter().rev().cloned().collect();
    assert_eq!(agent.get("/v1/customers?sort=-createdAt").await.ids(), descending);
    let filtered =
        agent.get(&format!("/v1/customers?filter[createdAt][gte]={}&filter[createdAt][lt]={}", at(1), at(3))).await;
    assert_eq!(filtered.ids(), ids[1..3]);
    assert_eq!(filtered.json()["meta"]["total"], 2);
    agent.patch(&format!("/v1/customers/{}", ids[0]), json!({ "name": "x" })).await.ok();
    assert_eq!(agent.get(&format!("/v1/customers?filter%5BupdatedAt%5D%5Bgt%5D={}", at(4))).await.ids(), ids[..1]);
    assert_eq!(agent.get("/v1/customers?sort=-updatedAt").await.ids()[0], ids[0]);
    agent.delete(&format!("/v1/customers/{}", ids[0])).await;
    assert_eq!(agent.get("/v1/customers").await.ok()["meta"]["total"], 4);
    for wrong in ["sort=name", "filter[name][gte]=x", "filter[createdAt][gte]=x", "page=0", "pageSize=x"] {
        assert_eq!(agent.get(&format!("/v1/customers?{wrong}")).await.status, 400, "{wrong}");
    }
});

on_both_engines!(nothing_of_another_org_shows, |app| async move {
    let owner = app.admin().await;
    let who = owner
        .post("/v1/customers", json!({ "emails": [{ "email": "a@b.example" }], "externalId": "x" }))
        .await
        .created_id();
    let id = owner.conversation(&who, json!({ "externalId": "c", "tags": ["secret tag"] })).await;
    let sent = owner.message(&id, json!({ "externalId": "m" })).await;
    let note = owner
        .post(&format!("/v1/conversations/{id}/notes"), json!({ "body": "n", "externalId": "n" }))
        .await
        .created_id();
    let user = owner.post("/v1/users", json!({ "name": "Ann", "email": "ann@acme.example" })).await.created_id();
    let team = owner.post("/v1/teams", json!({ "name": "Support" })).await.created_id();
    let tag = owner.get("/v1/tags").await.ids().remove(0);

    let globex = app.domain.create_org("globex").await.expect("the org is new");
    let spy = app.actor_of(&globex, &["org"]).await;
    let unknown = "671a2d10a3f1b20012c4dead";
    // Whatever is asked of a stranger's record is answered as of one that does not exist.
    let same = |a: konverse_testkit::Reply, b: konverse_testkit::Reply, id: &str, what: &str| {
        let (a, b) =
            (String::from_utf8_lossy(&a.body).replace(id, unknown), String::from_utf8_lossy(&b.body).into_owned());
        assert_eq!(a, b, "{what}");
    };
    for (id, path) in [
        (&who, "/v1/customers/ID"),
        (&who, "/v1/customers/ID/conversations"),
        (&who, "/v1/customers/ID/messages"),
        (&who, "/v1/customers/ID/notes"),
        (&id, "/v1/conversations/ID"),
        (&id, "/v1/conversations/ID/messages"),
        (&id, "/v1/conversations/ID/notes"),
        (&sent, "/v1/messages/ID"),
        (&note, "/v1/notes/ID"),
        (&user, "/v1/users/ID"),
        (&user, "/v1/users/ID/teams"),
        (&team, "/v1/teams/ID"),
        (&tag, "/v1/tags/ID"),
    ] {
        let (theirs, none) = (path.replace("ID", id), path.replace("ID", unknown));
        let reply = spy.get(&theirs).await;
        assert_eq!(reply.status, 404, "{path}");
        same(reply, spy.get(&none).await, id, path);
        if path.matches('/').count() == 3 && !["users", "teams", "tags"].iter().any(|kind| path.contains(kind)) {
            let body = if path.contains("notes") { json!({ "body": "x" }) } else { json!({ "externalId": "q" }) };
            same(spy.patch(&theirs, body.clone()).await, spy.patch(&none, body.clone()).await, id, path);
            assert_eq!(spy.patch(&theirs, body).await.status, 404, "{path}");
            if !path.contains("messages") {
                assert_eq!(spy.delete(&theirs).await.status, 404, "{path}");
            }
        }
    }
    for path in [
        "/v1/customers/email=a@b.example",
        "/v1/customers/externalId=x",
        "/v1/conversations/externalId=c",
        "/v1/messages/externalid=m",
    ] {
        assert_eq!(spy.get(path).await.status, 404, "{path}");
    }
    for path in ["/v1/customers", "/v1/conversations", "/v1/messages", "/v1/notes", "/v1/tags", "/v1/teams"] {
        assert!(spy.get(path).await.ids().is_empty(), "{path}");
    }
    assert!(spy.get(&format!("/v1/conversations/{id},{id}")).await.ids().is_empty());

    // Ids in bodies. A name or id that another org uses is free here; a customer's is chosen by imports alone.
    let body = json!({ "id": who, "emails": [{ "email": "a@b.example" }], "externalId": "x", "tags": ["secret tag"] });
    let row = ImportKind::Customers.read(&body.to_string()).expect("a row");
    let mut importer = Importer::new(&app.domain, globex.id).await.expect("an import");
    let outcomes = importer.take(ImportKind::Customers, vec![row]).await.expect("a batch");
    assert_eq!(outcomes, [RowOutcome::Created]);
    assert_eq!(spy.get("/v1/customers").await.ids(), [who.as_str()]);
    let own = spy.post("/v1/customers", json!({})).await.created_id();
    let mine = spy.conversation(&own, json!({ "id": id, "externalId": "c" })).await;
    spy.message(&mine, json!({ "id": sent, "externalId": "m" })).await;
    spy.post(&format!("/v1/conversations/{mine}/notes"), json!({ "id": note, "externalId": "n", "body": "x" }))
        .await
        .created();
    let other = owner.customer().await;
    let foreign = owner.conversation(&other, json!({})).await;
    for (path, body, pointer, id) in [
        (format!("/v1/conversations/{mine}"), json!({ "customer": other }), "/customer", &other),
        (format!("/v1/conversations/{mine}"), json!({ "assignedUsers": [user] }), "/assignedUsers/0", &user),
        (format!("/v1/conversations/{mine}"), json!({ "assignedTeams": [team] }), "/assignedTeams/0", &team),
        (format!("/v1/conversations/{mine}"), json!({ "tags": [tag] }), "/tags/0", &tag),
        (format!("/v1/conversations/{mine}"), json!({ "endedBy": user }), "/endedBy", &user),
        (format!("/v1/customers/{own}"), json!({ "tags": [tag] }), "/tags/0", &tag),
        (format!("/v1/messages/{sent}"), json!({ "conversation": foreign }), "/conversation", &foreign),
        (format!("/v1/messages/{sent}"), json!({ "createdBy": user }), "/createdBy", &user),
        (format!("/v1/messages/{sent}"), json!({ "modifiedBy": user }), "/modifiedBy", &user),
        (format!("/v1/notes/{note}"), json!({ "conversation": foreign }), "/conversation", &foreign),
        (format!("/v1/notes/{note}"), json!({ "userMentions": [{ "user": user }] }), "/userMentions/0", &user),
        (format!("/v1/notes/{note}"), json!({ "createdBy": user }), "/createdBy", &user),
    ] {
        let reply = spy.patch(&path, body.clone()).await;
        assert_eq!((reply.error().0, reply.error().2.as_str()), (400, pointer), "{body}");
        let none: Value = serde_json::from_str(&body.to_string().replace(id.as_str(), unknown)).expect("JSON");
        same(reply, spy.patch(&path, none).await, id, pointer);
    }
    for (path, body, pointer) in [
        ("/v1/conversations".to_owned(), json!({ "customer": other }), "/customer"),
        (
            "/v1/messages".to_owned(),
            json!({ "conversation": foreign, "channel": "sms", "app": "t", "direction": "in" }),
            "/conversation",
        ),
        ("/v1/notes".to_owned(), json!({ "conversation": foreign, "body": "x" }), "/conversation"),
        (
            format!("/v1/customers/{own}/messages"),
            json!({ "conversation": foreign, "channel": "sms", "app": "t" }),
            "/conversation",
        ),
        (
            format!("/v1/conversations/{mine}/messages"),
            json!({ "createdBy": user, "channel": "sms", "app": "t" }),
            "/createdBy",
        ),
        (format!("/v1/conversations/{mine}/notes"), json!({ "createdBy": user, "body": "x" }), "/createdBy"),
        ("/v1/teams".to_owned(), json!({ "name": "T", "members": [user] }), "/members/0"),
    ] {
        let reply = spy.post(&path, body.clone()).await;
        assert_eq!((reply.error().0, reply.error().2.as_str()), (400, pointer), "{body}");
    }
    assert_eq!(conversation(&owner, &id).await["externalId"], "c");
    assert_eq!(message(&owner, &sent).await["externalId"], "m");
});
