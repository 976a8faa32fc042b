//! A conversation's life: status, snoozes, derived attributes, tags, moves, deletion.

use konverse_testkit::{Backend, TestApp, on_both_engines};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::{MINUTE, at, conversation, customer, id_of, message};

on_both_engines!(a_fresh_conversation_has_exactly_these_members, |app| async move {
    let agent = app.admin().await;
    let who = agent.customer().await;
    let id = agent.conversation(&who, json!({})).await;
    let read = agent.get(&format!("/v1/conversations/{id}")).await.ok();
    insta::assert_json_snapshot!("fresh_conversation", read);
    let listed = agent.get(&format!("/v1/customers/{who}/conversations")).await.ok();
    assert_eq!(listed["data"][0], read["data"], "a row of a list is the same representation");
    assert_eq!(listed["meta"], json!({ "pageSize": 100, "page": 1 }));
});

on_both_engines!(what_a_client_gives_at_creation_is_kept, |app| async move {
    let agent = app.admin().await;
    let who = agent.customer().await;
    let given = json!({
        "customer": who, "id": "671A2D10A3F1B20012C4D0A7", "externalId": "zd-1", "name": "Parcel", "status": "done", "priority": 5,
        "direction": "out", "replyChannel": "email", "defaultLang": null, "custom": { "orderStr": "1", "goneStr": null },
        "queue": { "id": "671a2d10a3f1b20012c4dddd", "external": "amazon-connect" },
        "createdAt": "2025-03-02 08:00:00+00:00", "importedAt": "2026-01-01T00:00:00.000000Z",
    });
    let created = agent.post("/v1/conversations", given).await.created();
    let attributes = &created["data"]["attributes"];
    assert_eq!(created["data"]["id"], "671a2d10a3f1b20012c4d0a7", "ids are lower case");
    for (name, value) in [
        ("externalId", json!("zd-1")),
        ("name", json!("Parcel")),
        ("status", json!("done")),
        ("priority", json!(5)),
        ("direction", json!("out")),
        ("replyChannel", json!("email")),
        ("defaultLang", Value::Null),
        ("custom", json!({ "orderStr": "1" })),
        ("externalQueue", json!("amazon-connect")),
        ("createdAt", json!("2025-03-02T08:00:00.000Z")),
        ("importedAt", json!("2026-01-01T00:00:00.000Z")),
        ("doneCount", json!(1)),
        ("updatedAt", json!(at(0))),
    ] {
        assert_eq!(attributes[name], value, "{name}");
    }
    assert_eq!(attributes["firstDone"], attributes["lastDone"]);
    assert_eq!(created["data"]["relationships"]["queue"]["links"]["self"], "/v1/queues/671a2d10a3f1b20012c4dddd");
    let again = agent.post("/v1/conversations", json!({ "customer": who, "id": "671a2d10a3f1b20012c4d0a7" })).await;
    assert_eq!(again.error(), (409, "conflict".into(), "/id".into()));
    let again = agent.post(&format!("/v1/customers/{who}/conversations"), json!({ "externalId": "zd-1" })).await;
    assert_eq!(again.error(), (409, "conflict".into(), "/externalId".into()));
    let found = agent.get("/v1/conversations/externalId=zd-1").await.ok();
    assert_eq!(found["data"], created["data"]);
});

on_both_engines!(the_first_message_names_a_conversation_and_decides_its_direction, |app| async move {
    let agent = app.admin().await;
    let who = agent.customer().await;
    let id = agent.conversation(&who, json!({})).await;
    let first = json!({ "direction": "out", "subject": "Your order", "preview": "Dear Jane", "sentAt": at(5) });
    agent.message(&id, first).await;
    agent.message(&id, json!({ "channel": "sms", "subject": "Re", "preview": "Thanks", "sentAt": at(6) })).await;
    agent.message(&id, json!({ "channel": "email", "sentAt": at(7) })).await;
    let it = conversation(&agent, &id).await;
    assert_eq!(
        (&it["name"], &it["direction"], &it["preview"]),
        (&json!("Your order"), &json!("out"), &json!("Dear Jane"))
    );
    assert_eq!(it["channels"], json!(["email", "sms"]), "in order of first use");

    // One that was sent earlier and arrives later is the first nevertheless.
    agent.message(&id, json!({ "channel": "chat", "preview": "é".repeat(300), "sentAt": at(1) })).await;
    let it = conversation(&agent, &id).await;
    assert_eq!((&it["name"], &it["direction"]), (&json!("é".repeat(256)), &json!("in")));
    assert_eq!(it["channels"], json!(["chat", "email", "sms"]));

    let id = agent.conversation(&who, json!({ "name": "Mine", "direction": "out" })).await;
    agent.message(&id, json!({ "subject": "Theirs", "direction": "in" })).await;
    let it = conversation(&agent, &id).await;
    assert_eq!((&it["name"], &it["direction"]), (&json!("Mine"), &json!("out")), "a client's word stands");
});

on_both_engines!(every_message_has_its_place_in_the_exchange, |app| async move {
    let agent = app.admin().await;
    let who = agent.customer().await;
    let id = agent.conversation(&who, json!({})).await;
    let mut kinds = Vec::new();
    for (minute, direction, auto) in
        [(1, "out", false), (2, "out", false), (3, "in", false), (4, "in", false), (5, "out", true)]
    {
        let sent = agent.message(&id, json!({ "direction": direction, "auto": auto, "sentAt": at(minute) })).await;
        kinds.push(message(&agent, &sent).await["directionType"].clone());
    }
    assert_eq!(kinds, ["initial-out", "followup-out", "response-in", "followup-in", "response-out"]);
    let it = conversation(&agent, &id).await;
    assert_eq!(it["lastMessageUnrespondedTo"]["sentAt"], at(3), "a machine's own message is no reply");
    assert_eq!(it["firstResponse"], json!({}));
    assert_eq!(it["lastResponse"], Value::Null);

    let reply = agent.message(&id, json!({ "direction": "out", "sentAt": at(7), "source": "bulk" })).await;
    let it = conversation(&agent, &id).await;
    assert_eq!(it["lastMessageUnrespondedTo"], Value::Null);
    let response = &it["firstResponse"];
    assert_eq!(
        (&response["id"], &response["time"], &response["source"]),
        (&json!(reply), &json!(4 * MINUTE), &json!("bulk"))
    );
    assert!(response["createdBy"].is_string());

    agent.message(&id, json!({ "channel": "sms", "sentAt": at(8) })).await;
    let last = agent.message(&id, json!({ "direction": "out", "sentAt": at(10) })).await;
    let said = message(&agent, &last).await;
    assert_eq!(said["directionType"], "response-out");
    assert_eq!((&said["responseTime"], &said["responseBusinessTime"]), (&json!(2 * MINUTE), &json!(2 * MINUTE)));
    let it = conversation(&agent, &id).await;
    assert_eq!(it["lastResponse"]["id"], json!(last));
    assert_eq!(it["lastResponse"]["time"], 2 * MINUTE);
    assert_eq!(it["firstResponse"]["id"], json!(reply), "the first one stays");
    assert_eq!(
        (&it["messageCount"], &it["inboundMessageCount"], &it["outboundMessageCount"]),
        (&json!(8), &json!(3), &json!(5))
    );
    for (mark, minute) in [("firstMessageIn", 3), ("lastMessageIn", 8), ("firstMessageOut", 1), ("lastMessageOut", 10)]
    {
        assert_eq!(it[mark]["sentAt"], at(minute), "{mark}");
    }
    assert_eq!(it["firstMessageIn"]["directionType"], "response-in");
    assert_eq!(it["firstMessageOut"]["directionType"], "initial-out");
    assert_eq!(
        (&it["lastMessageAt"], &it["lastMessageDirection"], &it["lastReceivedAt"]),
        (&json!(at(10)), &json!("out"), &json!(at(8)))
    );

    let other = agent.conversation(&who, json!({})).await;
    let first = agent.message(&other, json!({ "meta": { "from": "jane@example.com" } })).await;
    assert_eq!(message(&agent, &first).await["directionType"], "initial-in");
    let it = conversation(&agent, &other).await;
    assert_eq!(it["firstMessageIn"]["meta"], json!({ "from": "jane@example.com" }));
    assert_eq!(it["lastMessageIn"]["meta"], json!({ "from": "jane@example.com" }));
});

on_both_engines!(closing_takes_a_snapshot_and_a_customer_message_reopens, |app| async move {
    let agent = app.admin().await;
    let who = agent.customer().await;
    let id = agent.conversation(&who, json!({})).await;
    let path = format!("/v1/conversations/{id}");
    app.clock.advance(MINUTE);
    agent.message(&id, json!({})).await;
    app.clock.advance(2 * MINUTE);
    agent.message(&id, json!({ "channel": "sms", "direction": "out" })).await;
    agent.post(&format!("{path}/notes"), json!({ "body": "x" })).await.created();
    app.clock.advance(3 * MINUTE);
    let done = agent.patch(&path, json!({ "status": "done" })).await.ok()["data"]["attributes"].clone();
    let snapshot = &done["lastDone"];
    assert_eq!(&done["firstDone"], snapshot);
    for (name, value) in [
        ("createdAt", json!(at(6))),
        ("time", json!(5 * MINUTE)),
        ("businessTime", json!(5 * MINUTE)),
        ("messageCount", json!(2)),
        ("messageCountByChannel", json!({ "email": 1, "sms": 1 })),
        ("noteCount", json!(1)),
        ("outboundMessageCount", json!(1)),
        ("outboundMessageCountByChannel", json!({ "sms": 1 })),
        ("lastMessageDirection", json!("out")),
        ("lastMessageDirectionType", json!("response-out")),
        ("assignedUsers", json!([])),
        ("createdByTeams", json!([])),
    ] {
        assert_eq!(snapshot[name], value, "{name}");
    }
    assert!(snapshot["createdBy"].is_string());
    assert_eq!((&done["doneCount"], &done["totalOpen"]["time"]), (&json!(1), &json!(6 * MINUTE)));
    assert_eq!(done["totalOpen"]["timeSinceLastDone"], 0);
    assert_eq!(done["modificationHistory"]["statusAt"], at(6));
    assert_eq!(done["firstResponseSinceLastDone"], Value::Null);

    app.clock.advance(MINUTE);
    agent.message(&id, json!({ "direction": "out" })).await;
    agent.message(&id, json!({ "direction": "in", "importedAt": at(0) })).await;
    agent.post(&format!("{path}/notes"), json!({ "body": "y" })).await.created();
    let it = conversation(&agent, &id).await;
    assert_eq!(
        (&it["status"], &it["reopenCount"]),
        (&json!("done"), &Value::Null),
        "neither replies, history nor notes reopen"
    );
    assert_eq!(it["lastDone"], done["lastDone"]);

    app.clock.advance(2 * MINUTE);
    agent.message(&id, json!({ "direction": "in" })).await;
    let it = conversation(&agent, &id).await;
    assert_eq!(it["status"], "open");
    assert_eq!((&it["reopenCount"], &it["reopenFromDoneCount"]), (&json!(1), &json!(1)));
    assert_eq!(it["totalDone"], json!({ "time": 3 * MINUTE, "businessTime": 3 * MINUTE }));
    assert_eq!(it["open"]["statusAt"], at(9));

    app.clock.advance(4 * MINUTE);
    let it = agent.patch(&path, json!({ "status": "done" })).await.ok()["data"]["attributes"].clone();
    assert_eq!((&it["doneCount"], &it["firstDone"]), (&json!(2), &done["firstDone"]));
    assert_eq!((&it["lastDone"]["createdAt"], &it["lastDone"]["noteCount"]), (&json!(at(13)), &json!(2)));
    assert_eq!(it["totalOpen"]["time"], 10 * MINUTE);
});

on_both_engines!(what_counts_since_the_last_closing_begins_anew_there, |app| async move {
    let agent = app.admin().await;
    let who = agent.customer().await;
    let id = agent.conversation(&who, json!({})).await;
    let path = format!("/v1/conversations/{id}");
    let first = agent.message(&id, json!({})).await;
    let it = conversation(&agent, &id).await;
    assert_eq!(it["lastMessageUnrespondedToSinceLastDone"]["id"], json!(first));
    app.clock.advance(MINUTE);
    agent.patch(&path, json!({ "status": "done" })).await.ok();
    let it = conversation(&agent, &id).await;
    assert_eq!(it["lastMessageUnrespondedToSinceLastDone"], Value::Null);
    assert_eq!(it["lastMessageUnrespondedTo"]["id"], json!(first), "still nobody has answered");
    app.clock.advance(MINUTE);
    let second = agent.message(&id, json!({})).await;
    assert_eq!(conversation(&agent, &id).await["lastMessageUnrespondedToSinceLastDone"]["id"], json!(second));
    app.clock.advance(3 * MINUTE);
    agent.message(&id, json!({ "direction": "out" })).await;
    let it = conversation(&agent, &id).await;
    assert_eq!(it["firstResponseSinceLastDone"]["time"], 3 * MINUTE);
    assert_eq!(it["firstResponse"]["time"], 5 * MINUTE);
    assert_eq!(it["lastResponse"]["time"], 5 * MINUTE, "the customer waited since the first message");
    assert_eq!(it["lastMessageUnrespondedToSinceLastDone"], Value::Null);
    app.clock.advance(MINUTE);
    let it = agent.patch(&path, json!({ "status": "done" })).await.ok()["data"]["attributes"].clone();
    assert_eq!(it["firstResponseSinceLastDone"], Value::Null);
    assert_eq!(it["totalOpen"]["time"], 5 * MINUTE);
});

on_both_engines!(a_snooze_ends_by_itself_or_by_the_customer, |app| async move {
    let agent = app.admin().await;
    let who = agent.customer().await;
    let id = agent.conversation(&who, json!({})).await;
    let path = format!("/v1/conversations/{id}");
    app.clock.advance(MINUTE);
    let body = json!({ "status": "snoozed", "snooze": { "status": "scheduled", "time": at(30) } });
    let it = agent.patch(&path, body.clone()).await.ok()["data"]["attributes"].clone();
    assert_eq!(it["snooze"], json!({ "status": "scheduled", "time": at(30), "statusAt": at(1) }));
    assert_eq!(
        (&it["status"], &it["snoozeCount"], &it["totalOpen"]["time"]),
        (&json!("snoozed"), &json!(1), &json!(MINUTE))
    );
    let same = agent.patch(&path, body).await.ok()["data"]["attributes"].clone();
    assert_eq!(same["rev"], it["rev"], "the same again is no change");
    agent.message(&id, json!({ "direction": "out" })).await;
    assert_eq!(app.end_snoozes().await, 0);
    app.clock.advance(29 * MINUTE);
    assert_eq!(app.end_snoozes().await, 1);
    assert_eq!(app.end_snoozes().await, 0);
    let it = conversation(&agent, &id).await;
    assert_eq!(it["snooze"], json!({ "status": "elapsed", "time": at(30), "statusAt": at(30) }));
    assert_eq!(
        (&it["status"], &it["reopenCount"], &it["reopenFromDoneCount"]),
        (&json!("open"), &json!(1), &Value::Null)
    );
    assert_eq!(it["totalSnooze"], json!({ "time": 29 * MINUTE, "businessTime": 29 * MINUTE }));
    assert_eq!((&it["updatedAt"], &it["modifiedAt"]), (&json!(at(30)), &json!(at(1))), "nobody edited it");
    assert_eq!(it["modificationHistory"]["statusAt"], at(30));

    // Without a time it lasts until the customer writes.
    agent.patch(&path, json!({ "status": "snoozed" })).await.ok();
    app.clock.advance(5 * MINUTE);
    assert_eq!(app.end_snoozes().await, 0);
    agent.message(&id, json!({ "importedAt": at(0) })).await;
    assert_eq!(conversation(&agent, &id).await["status"], "snoozed");
    agent.message(&id, json!({})).await;
    let it = conversation(&agent, &id).await;
    assert_eq!(it["snooze"], json!({ "status": "canceled", "statusAt": at(35) }));
    assert_eq!((&it["status"], &it["snoozeCount"], &it["reopenCount"]), (&json!("open"), &json!(2), &json!(2)));

    // Closed, then put off: that comes back from done, too.
    agent.patch(&path, json!({ "snooze": { "status": "scheduled", "time": at(59) } })).await.ok();
    assert_eq!(conversation(&agent, &id).await["status"], "snoozed", "a snooze alone snoozes");
    let it = agent.patch(&path, json!({ "status": "done" })).await.ok()["data"]["attributes"].clone();
    assert_eq!((&it["snooze"]["status"], &it["doneCount"]), (&json!("canceled"), &json!(1)));
    app.clock.advance(30 * MINUTE);
    assert_eq!(app.end_snoozes().await, 0, "a canceled snooze wakes nothing");
    let it = agent.patch(&path, json!({ "status": "snoozed" })).await.ok()["data"]["attributes"].clone();
    assert_eq!((&it["reopenCount"], &it["reopenFromDoneCount"], &it["snoozeCount"]), (&json!(3), &json!(1), &json!(4)));
    let it = agent.patch(&path, json!({ "snooze": { "status": "canceled" } })).await.ok()["data"]["attributes"].clone();
    assert_eq!((&it["status"], &it["snooze"]["status"]), (&json!("open"), &json!("canceled")));
    for body in [
        json!({ "status": "done", "snooze": { "status": "scheduled" } }),
        json!({ "status": "snoozed", "snooze": { "status": "elapsed" } }),
        json!({ "snooze": { "time": at(59) } }),
        json!({ "snooze": null }),
    ] {
        assert_eq!(agent.patch(&path, body.clone()).await.status, 400, "{body}");
    }
});

on_both_engines!(an_update_that_changes_nothing_stores_nothing, |app| async move {
    let agent = app.admin().await;
    let who = agent.customer().await;
    let id = agent.conversation(&who, json!({ "name": "N", "tags": ["vip"] })).await;
    let path = format!("/v1/conversations/{id}");
    let before = agent.get(&path).await.ok();
    app.clock.advance(MINUTE);
    for body in [
        json!({}),
        json!({ "status": "open" }),
        json!({ "name": "N", "priority": 3, "tags": ["VIP"], "deleted": false }),
    ] {
        let answer = agent.patch(&path, body.clone()).await.ok();
        assert_eq!(answer["data"], before["data"], "{body}");
    }
    assert_eq!(agent.get(&path).await.ok(), before);
});

on_both_engines!(a_stale_rev_is_refused_and_nothing_is_stored, |app| async move {
    let agent = app.admin().await;
    let who = agent.customer().await;
    let id = agent.conversation(&who, json!({})).await;
    let sent = agent.message(&id, json!({})).await;
    let note = agent.post(&format!("/v1/conversations/{id}/notes"), json!({ "body": "x" })).await.created_id();
    for (path, edit) in [
        (format!("/v1/conversations/{id}"), json!({ "name": "new" })),
        (format!("/v1/customers/{who}"), json!({ "name": "new" })),
        (format!("/v1/messages/{sent}"), json!({ "subject": "new" })),
        (format!("/v1/notes/{note}"), json!({ "body": "new" })),
    ] {
        let before = agent.get(&path).await.ok();
        let rev = before["data"]["attributes"]["rev"].as_i64().expect("a rev");
        let mut body = edit.clone();
        for wrong in [rev + 1, rev + 7] {
            body["rev"] = json!(wrong);
            assert_eq!(
                agent.patch(&path, body.clone()).await.error(),
                (409, "conflict".into(), "/rev".into()),
                "{path}"
            );
        }
        assert_eq!(agent.get(&path).await.ok(), before);
        body["rev"] = json!(rev);
        let after = agent.patch(&path, body.clone()).await.ok();
        assert_eq!(after["data"]["attributes"]["rev"], rev + 1, "{path}");
        assert_eq!(agent.patch(&path, body).await.status, 409, "{path}: the same rev again is stale");
    }
});

on_both_engines!(twenty_messages_at_once_are_twenty_messages, |app| async move {
    let agent = app.admin().await;
    let who = agent.customer().await;
    let id = agent.conversation(&who, json!({})).await;
    let mut posts = tokio::task::JoinSet::new();
    for n in 0..20 {
        let (agent, path) = (app.bearer(&agent.token), format!("/v1/conversations/{id}/messages"));
        let direction = if n % 2 == 0 { "in" } else { "out" };
        posts.spawn(async move {
            agent.post(&path, json!({ "channel": "chat", "app": "t", "direction": direction })).await.created_id()
        });
    }
    assert_eq!(posts.join_all().await.len(), 20);
    let it = conversation(&agent, &id).await;
    assert_eq!(
        (&it["messageCount"], &it["inboundMessageCount"], &it["outboundMessageCount"]),
        (&json!(20), &json!(10), &json!(10))
    );
    // Those that waited for each other are one change of the conversation.
    assert!((2..=21).contains(&it["rev"].as_i64().expect("a number")), "{}", it["rev"]);
    let listed = agent.get(&format!("/v1/conversations/{id}/messages")).await;
    assert_eq!(listed.ids().len(), 20);
    assert_eq!(customer(&agent, &who).await["conversationCounts"]["all"], 1);
});

on_both_engines!(tags_are_made_once_and_shown_as_ids, |app| async move {
    let agent = app.admin().await;
    let who = agent.customer().await;
    let id = agent.conversation(&who, json!({ "tags": ["VIP", "late order", "vip"] })).await;
    let path = format!("/v1/conversations/{id}");
    let tags = conversation(&agent, &id).await["tags"].clone();
    let known = agent.get("/v1/tags").await.ok();
    assert_eq!(known["data"].as_array().expect("tags").len(), 2, "one tag whatever the case");
    let vip = known["data"][0]["id"].as_str().expect("an id").to_owned();
    assert_eq!(known["data"][0]["attributes"]["name"], "VIP");
    assert_eq!(tags, json!([vip, known["data"][1]["id"]]));

    let it = agent.patch(&path, json!({ "tags": [vip] })).await.ok();
    assert_eq!(it["data"]["attributes"]["tags"], json!([vip]), "PATCH replaces the list");
    assert_eq!(it["data"]["attributes"]["modificationHistory"]["tagsAt"], at(0));
    let it = agent.post(&format!("{path}/tags"), json!(["Late Order", vip, "new/one"])).await.ok();
    assert_eq!(it["data"]["attributes"]["tags"].as_array().expect("tags").len(), 3);
    let it = agent.delete_with(&format!("{path}/tags"), json!(["LATE ORDER", vip, "never seen"])).await.ok();
    assert_eq!(it["data"]["attributes"]["tags"].as_array().expect("tags").len(), 1);
    assert_eq!(agent.get("/v1/tags").await.ids().len(), 3, "taking a tag off makes none");

    let unknown = "671a2d10a3f1b20012c4dead";
    assert_eq!(
        agent.patch(&path, json!({ "tags": ["fine", unknown] })).await.error(),
        (400, "bad_request".into(), "/tags/1".into())
    );
    assert_eq!(agent.get("/v1/tags").await.ids().len(), 3, "a refused body makes no tag");
    for bad in [" vip", "a,b", "日本", ""] {
        assert_eq!(agent.patch(&path, json!({ "tags": [bad] })).await.error().2, "/tags/0", "{bad:?}");
        assert_eq!(agent.post(&format!("{path}/tags"), json!([bad])).await.error().2, "/0", "{bad:?}");
    }
    assert_eq!(agent.patch(&path, json!({ "tags": ["x".repeat(64)] })).await.status, 200);
    assert_eq!(agent.patch(&path, json!({ "tags": ["x".repeat(65)] })).await.status, 400);
    let many: Vec<_> = (0..21).map(|n| format!("t{n}")).collect();
    assert_eq!(agent.patch(&path, json!({ "tags": many })).await.error().2, "/tags");
    assert_eq!(agent.patch(&path, json!({ "tags": many[..20] })).await.status, 200);
    assert_eq!(
        agent.post(&format!("{path}/tags"), json!(["one more"])).await.status,
        400,
        "20 is the most, also in steps"
    );
    assert_eq!(agent.post(&format!("{path}/tags"), json!(["t3"])).await.status, 200);
    assert_eq!(agent.patch(&path, json!({ "tags": ["a", "a"] })).await.error().2, "/tags");
});

on_both_engines!(updates_merge_and_replace_resets, |app| async move {
    let agent = app.admin().await;
    let who = agent.customer().await;
    let user = agent.post("/v1/users", json!({ "name": "Ann", "email": "ann@acme.example" })).await.created_id();
    let id =
        agent.conversation(&who, json!({ "name": "N", "externalId": "e", "custom": { "aStr": "1", "bNum": 2 } })).await;
    let path = format!("/v1/conversations/{id}");
    let body = json!({ "custom": { "bNum": 3, "aStr": null, "cBool": true }, "assignedUsers": [user], "satisfaction": 1,
        "sentiment": { "polarity": -1, "confidence": 0.5 }, "subStatus": "671a2d10a3f1b20012c4dddd", "locked": true });
    let it = agent.put(&path, body).await.ok();
    let attributes = &it["data"]["attributes"];
    assert_eq!(attributes["custom"], json!({ "bNum": 3, "cBool": true }), "PUT merges like PATCH");
    assert_eq!((&attributes["name"], &attributes["externalId"]), (&json!("N"), &json!("e")));
    assert_eq!(id_of(&it["data"]["relationships"]["subStatus"]), "671a2d10a3f1b20012c4dddd");
    let it = agent.patch(&path, json!({ "status": "done", "externalId": null, "satisfaction": null })).await.ok();
    assert_eq!(it["data"]["relationships"]["subStatus"], Value::Null, "a change of status clears the sub-status");
    assert_eq!(
        (&it["data"]["attributes"]["externalId"], &it["data"]["attributes"]["satisfaction"]),
        (&Value::Null, &json!(0))
    );
    assert_eq!(it["data"]["attributes"]["lastDone"]["assignedUsers"], json!([user]));

    let it = agent.put(&format!("{path}?replace=true"), json!({ "priority": 4, "custom": { "dStr": "d" } })).await.ok();
    let attributes = &it["data"]["attributes"];
    assert_eq!(attributes["custom"], json!({ "dStr": "d" }));
    assert_eq!(
        (&attributes["assignedUsers"], &attributes["sentiment"], &attributes["priority"]),
        (&json!([]), &json!({}), &json!(4))
    );
    assert_eq!((&attributes["locked"], &attributes["status"]), (&Value::Null, &json!("done")));
    assert_eq!(agent.put(&format!("{path}?replace=maybe"), json!({})).await.error().2, "replace");
});

on_both_engines!(a_session_ends_once, |app| async move {
    let agent = app.admin().await;
    let who = agent.customer().await;
    let id = agent.conversation(&who, json!({})).await;
    let path = format!("/v1/conversations/{id}");
    app.clock.advance(MINUTE);
    let body = json!({ "ended": true, "endedReason": "left", "endedByType": "customer", "endedBy": who });
    let it = agent.patch(&path, body).await.ok();
    assert_eq!(
        (&it["data"]["attributes"]["endedAt"], &it["data"]["attributes"]["endedReason"]),
        (&json!(at(1)), &json!("left"))
    );
    assert_eq!(it["data"]["relationships"]["endedBy"]["data"], json!({ "type": "customer", "id": who }));
    app.clock.advance(MINUTE);
    let it = agent.patch(&path, json!({ "ended": true })).await.ok();
    assert_eq!(it["data"]["attributes"]["endedAt"], at(1));
    assert_eq!(agent.patch(&path, json!({ "endedBy": "671a2d10a3f1b20012c4dead" })).await.error().2, "/endedBy");
    assert_eq!(agent.patch(&path, json!({ "endedReason": "x".repeat(129) })).await.error().2, "/endedReason");
});

on_both_engines!(wrong_bodies_are_named_field_by_field, |app| async move {
    let agent = app.admin().await;
    let who = agent.customer().await;
    let id = agent.conversation(&who, json!({})).await;
    let path = format!("/v1/conversations/{id}");
    let pointers = |reply: konverse_testkit::Reply| {
        assert_eq!(reply.status, 400);
        let errors = reply.json()["errors"].as_array().expect("errors").clone();
        let mut all: Vec<_> =
            errors.iter().map(|one| one["source"]["pointer"].as_str().unwrap_or_default().to_owned()).collect();
        all.sort();
        all.dedup();
        all
    };
    let reply = agent.patch(&path, json!({ "colour": 1, "a/b~c": 2, "priority": 6 })).await;
    assert_eq!(pointers(reply), ["/a~1b~0c", "/colour", "/priority"]);
    for field in
        ["priority", "tags", "status", "custom", "assignedUsers", "ended", "locked", "rev", "direction", "sentiment"]
    {
        assert_eq!(pointers(agent.patch(&path, json!({ field: null })).await), [format!("/{field}")]);
    }
    for (field, good, bad) in [
        ("name", json!("n".repeat(256)), json!("n".repeat(257))),
        ("externalId", json!("e".repeat(256)), json!("e".repeat(257))),
        ("priority", json!(1), json!(0)),
        ("satisfaction", json!(-1), json!(-2)),
        ("replyChannel", Value::Null, json!(1)),
        ("status", json!("open"), json!("closed")),
        ("sentiment", json!({ "polarity": 1, "confidence": 1 }), json!({ "polarity": 1 })),
        ("suggestedTags", json!([{ "tag": "x", "confidence": -1 }]), json!([{ "tag": "x", "confidence": -1.1 }])),
        ("custom", json!({ "xStr": "s".repeat(1024) }), json!([])),
    ] {
        assert_eq!(agent.patch(&path, json!({ field: good })).await.status, 200, "{field}");
        let wrong = pointers(agent.patch(&path, json!({ field: bad })).await);
        assert!(wrong[0].starts_with(&format!("/{field}")), "{field}: {wrong:?}");
    }
    let custom = json!({ "goodStr": "x", "aStr": 1, "bNum": "2", "cAt": "soon", "dBool": "true", "eUrl": "no url", "fId": "x", "gTree": [], "plain": 1, "hStr": "x".repeat(1025) });
    let wrong = pointers(agent.patch(&path, json!({ "custom": custom })).await);
    let names = [
        "/custom/aStr",
        "/custom/bNum",
        "/custom/cAt",
        "/custom/dBool",
        "/custom/eUrl",
        "/custom/fId",
        "/custom/gTree",
        "/custom/hStr",
        "/custom/plain",
    ];
    assert_eq!(wrong, names);
    let keys = |from: u32, to: u32| -> Value {
        (from..to).map(|n| (format!("k{n}Num"), json!(n))).collect::<serde_json::Map<_, _>>().into()
    };
    let fresh = agent.conversation(&who, json!({ "custom": keys(0, 100) })).await;
    let there = format!("/v1/conversations/{fresh}");
    assert_eq!(pointers(agent.patch(&there, json!({ "custom": keys(99, 101) })).await), ["/custom"], "100 keys in all");
    assert_eq!(pointers(agent.patch(&there, json!({ "custom": keys(0, 101) })).await), ["/custom"]);
    assert_eq!(agent.patch(&there, json!({ "custom": { "k0Num": null, "k100Num": 1 } })).await.status, 200);
    assert_eq!(
        pointers(agent.post("/v1/conversations", json!({ "customer": "671a2d10a3f1b20012c4dead" })).await),
        ["/customer"]
    );
    assert_eq!(pointers(agent.post("/v1/conversations", json!({})).await), ["/customer"]);
    assert_eq!(
        pointers(agent.patch(&path, json!({ "customer": who, "name": "x" })).await),
        ["/name"],
        "a move is nothing else"
    );
    let users: Vec<_> = (0..11).map(|n| format!("671a2d10a3f1b20012c4de{n:02}")).collect();
    assert_eq!(pointers(agent.patch(&path, json!({ "assignedUsers": users })).await), ["/assignedUsers"]);
    assert_eq!(pointers(agent.patch(&path, json!({ "assignedTeams": users[..1] })).await), ["/assignedTeams/0"]);
    for body in ["", "{", "[]", "null", "\"x\"", "{\"name\":\"\\ud800\"}"] {
        let reply = agent
            .send(
                axum::http::Method::PATCH,
                &path,
                Some(body.as_bytes().to_vec()),
                &[("content-type", "application/json")],
            )
            .await;
        assert_eq!(reply.status, 400, "{body}");
    }
});

on_both_engines!(no_text_breaks_the_database, |app| async move {
    let agent = app.admin().await;
    let who = agent.customer().await;
    let odd = "a\u{0}b";
    let id = agent.conversation(&who, json!({})).await;
    for (path, body) in [
        (format!("/v1/customers/{who}/conversations"), json!({ "externalId": odd })),
        (format!("/v1/customers/{who}/conversations"), json!({ "name": odd })),
        (format!("/v1/customers/{who}/conversations"), json!({ "custom": { "aStr": odd } })),
        (format!("/v1/customers/{who}/conversations"), json!({ "tags": [odd] })),
        (format!("/v1/conversations/{id}/messages"), json!({ "channel": "email", "app": "t", "externalId": odd })),
        (format!("/v1/conversations/{id}/messages"), json!({ "channel": "email", "app": odd, "meta": { odd: odd } })),
        (format!("/v1/conversations/{id}/notes"), json!({ "body": odd, "externalId": odd })),
        ("/v1/customers".into(), json!({ "externalId": odd })),
        ("/v1/customers".into(), json!({ "emails": [{ "email": "a\u{0}@b.c" }] })),
        (
            "/v1/customers".into(),
            json!({ "phones": [{ "phone": odd }], "socials": [{ "type": "twitter", "username": odd }] }),
        ),
        ("/v1/users".into(), json!({ "name": "n", "email": "a\u{0}@b.c" })),
        ("/v1/teams".into(), json!({ "name": odd })),
    ] {
        let reply = agent.post(&path, body.clone()).await;
        assert!([201, 400].contains(&reply.status.as_u16()), "{path} {body}: {reply:?}");
    }
    assert_ne!(agent.delete_with(&format!("/v1/conversations/{id}/tags"), json!([odd])).await.status, 500);
    for path in [
        "/v1/users?email=a%00b",
        "/v1/customers/email=a%00b",
        "/v1/customers/phone=%00",
        "/v1/customers/externalId=a%00b",
        "/v1/conversations/externalId=a%00b",
        "/v1/messages/externalid=a%00b",
    ] {
        let reply = agent.get(path).await;
        assert!([200, 400, 404].contains(&reply.status.as_u16()), "{path}: {reply:?}");
    }
});

on_both_engines!(a_moved_conversation_takes_everything_along, |app| async move {
    let agent = app.admin().await;
    let (from, to) = (agent.customer().await, agent.customer().await);
    let stays = agent.conversation(&from, json!({})).await;
    agent.message(&stays, json!({ "preview": "stays", "sentAt": at(1) })).await;
    let id = agent.conversation(&from, json!({})).await;
    let path = format!("/v1/conversations/{id}");
    let asked = agent.message(&id, json!({ "preview": "asked", "sentAt": at(2) })).await;
    agent.message(&id, json!({ "preview": "told", "direction": "out", "sentAt": at(3) })).await;
    let note = agent.post(&format!("{path}/notes"), json!({ "body": "x" })).await.created_id();
    let gone = agent.post(&format!("{path}/notes"), json!({ "body": "y" })).await.created_id();
    agent.delete(&format!("/v1/notes/{gone}")).await;
    agent.patch(&path, json!({ "status": "done" })).await.ok();
    assert_eq!(
        customer(&agent, &from).await["conversationCounts"],
        json!({ "all": 2, "open": 1, "snoozed": 0, "done": 1 })
    );
    assert_eq!(customer(&agent, &from).await["preview"]["text"], "told");

    app.clock.advance(MINUTE);
    let moved = agent.patch(&path, json!({ "customer": to })).await.ok();
    assert_eq!(id_of(&moved["data"]["relationships"]["customer"]), to);
    for path in [format!("/v1/messages/{asked}"), format!("/v1/notes/{note}")] {
        assert_eq!(id_of(&agent.get(&path).await.ok()["data"]["relationships"]["customer"]), to, "{path}");
    }
    assert_eq!(agent.get(&format!("/v1/customers/{from}/conversations")).await.ids(), [stays.as_str()]);
    assert_eq!(agent.get(&format!("/v1/customers/{to}/conversations")).await.ids(), [id.as_str()]);
    assert_eq!(agent.get(&format!("/v1/customers/{to}/messages")).await.ids().len(), 2);
    assert_eq!(agent.get(&format!("/v1/customers/{from}/messages")).await.ids().len(), 1);
    assert_eq!(agent.get(&format!("/v1/customers/{to}/notes")).await.ids(), [note.as_str()]);
    let left = customer(&agent, &from).await;
    assert_eq!(left["conversationCounts"], json!({ "all": 1, "open": 1, "snoozed": 0, "done": 0 }));
    assert_eq!((&left["preview"]["text"], &left["lastConversation"]["id"]), (&json!("stays"), &json!(stays)));
    assert_eq!((&left["lastMessageAt"], &left["lastMessageOut"]), (&json!(at(1)), &Value::Null));
    let now = customer(&agent, &to).await;
    assert_eq!(now["conversationCounts"], json!({ "all": 1, "open": 0, "snoozed": 0, "done": 1 }));
    assert_eq!((&now["progressiveStatus"], &now["preview"]["text"]), (&json!("done"), &json!("told")));
    assert_eq!((&now["lastConversation"]["id"], &now["lastMessageIn"]["sentAt"]), (&json!(id), &json!(at(2))));
    assert_eq!(now["lastCustomerActivityAt"], at(2), "their newest message came along");

    // A note that lay in the bin moved along as well.
    agent.patch(&format!("/v1/notes/{gone}"), json!({ "deleted": null })).await.ok();
    assert_eq!(id_of(&agent.get(&format!("/v1/notes/{gone}")).await.ok()["data"]["relationships"]["customer"]), to);
    assert_eq!(agent.get(&format!("/v1/customers/{to}/notes")).await.ids().len(), 2);
    assert_eq!(customer(&agent, &to).await["conversationCounts"]["all"], 1);

    let rev = conversation(&agent, &id).await["rev"].clone();
    assert_eq!(
        agent.patch(&path, json!({ "customer": to })).await.ok()["data"]["attributes"]["rev"],
        rev,
        "to the same is no move"
    );
    for wrong in [json!("671a2d10a3f1b20012c4dead"), Value::Null, json!("x")] {
        assert_eq!(agent.patch(&path, json!({ "customer": wrong })).await.error().2, "/customer");
    }
    // What comes in afterwards is the new customer's.
    agent.message(&id, json!({ "sentAt": at(9), "preview": "again" })).await;
    assert_eq!(customer(&agent, &to).await["progressiveStatus"], "open");
    assert_eq!(customer(&agent, &from).await["preview"]["text"], "stays");
});

on_both_engines!(a_deleted_conversation_is_gone_and_can_come_back, |app| async move {
    let agent = app.admin().await;
    let who = agent.customer().await;
    let id = agent.conversation(&who, json!({ "externalId": "x" })).await;
    let path = format!("/v1/conversations/{id}");
    let sent = agent.message(&id, json!({ "externalId": "m", "preview": "hello" })).await;
    let note = agent.post(&format!("{path}/notes"), json!({ "body": "n" })).await.created_id();
    assert_eq!(agent.delete(&path).await.status, 204);
    for path in [
        path.clone(),
        format!("{path}/messages"),
        format!("{path}/notes"),
        format!("/v1/messages/{sent}"),
        format!("/v1/notes/{note}"),
        "/v1/conversations/externalId=x".into(),
        "/v1/messages/externalid=m".into(),
    ] {
        assert_eq!(agent.get(&path).await.status, 404, "{path}");
    }
    assert_eq!(agent.delete(&path).await.status, 404);
    assert_eq!(agent.patch(&path, json!({ "name": "x" })).await.status, 404);
    assert_eq!(agent.post(&format!("{path}/messages"), json!({ "channel": "sms", "app": "t" })).await.status, 404);
    for list in ["/v1/conversations", "/v1/messages", "/v1/notes"] {
        assert!(agent.get(list).await.ids().is_empty(), "{list}");
    }
    let it = customer(&agent, &who).await;
    assert_eq!(
        (&it["conversationCounts"]["all"], &it["progressiveStatus"], &it["preview"]),
        (&json!(0), &Value::Null, &json!({}))
    );
    assert_eq!(it["lastConversation"], json!({ "tags": [], "channels": [] }));

    let back = agent.patch(&path, json!({ "deleted": null })).await.ok();
    assert_eq!(back["data"]["attributes"]["messageCount"], 1);
    assert_eq!(agent.get(&format!("{path}/messages")).await.ids(), [sent.as_str()]);
    assert_eq!(agent.get(&format!("/v1/notes/{note}")).await.status, 200);
    let it = customer(&agent, &who).await;
    assert_eq!((&it["conversationCounts"]["open"], &it["preview"]["text"]), (&json!(1), &json!("hello")));

    // Its names may have been taken meanwhile.
    assert_eq!(agent.patch(&path, json!({ "deleted": true })).await.status, 200);
    let other = agent.conversation(&who, json!({ "externalId": "x" })).await;
    assert_eq!(agent.patch(&path, json!({ "deleted": false })).await.error().0, 409);
    agent.message(&other, json!({ "externalId": "m" })).await;
    let refused = agent.patch(&path, json!({ "deleted": false, "externalId": "y" })).await;
    assert_eq!(refused.error().0, 409, "a message's too");
    let why = refused.json()["errors"][0]["message"].to_string();
    assert!(why.contains("externalId or that of a message or note in it"), "{why}");
    assert_eq!(agent.get(&path).await.status, 404);
});

on_both_engines!(several_ids_are_a_list, |app| async move {
    let agent = app.admin().await;
    let who = agent.customer().await;
    let (a, b, gone) = (
        agent.conversation(&who, json!({})).await,
        agent.conversation(&who, json!({})).await,
        agent.conversation(&who, json!({})).await,
    );
    agent.delete(&format!("/v1/conversations/{gone}")).await;
    let reply = agent.get(&format!("/v1/conversations/{b},{a},{gone},671a2d10a3f1b20012c4dead")).await;
    assert_eq!(reply.ids(), [b.as_str(), a.as_str()]);
    let document = reply.json();
    assert!(document["meta"].is_object() && document["links"]["next"].is_null());
    assert_eq!(agent.get(&format!("/v1/conversations/{a},nope")).await.error().0, 400);
    assert_eq!(agent.get("/v1/conversations").await.ids(), [a.as_str(), b.as_str()]);
    assert_eq!(agent.get("/v1/conversations?sort=desc").await.ids(), [b.as_str(), a.as_str()]);
    assert_eq!(
        agent.get(&format!("/v1/customers/{who}/conversations")).await.ids(),
        [b.as_str(), a.as_str()],
        "newest first"
    );
});

on_both_engines!(a_conversation_imported_closed_stays_closed_when_it_was, |app| async move {
    let agent = app.admin().await;
    let who = agent.customer().await;
    let body = json!({ "status": "done", "importedAt": at(0), "createdAt": "2025-01-01T00:00:00Z" });
    let id = agent.conversation(&who, body).await;
    agent.message(&id, json!({ "importedAt": at(0), "sentAt": "2025-01-02T00:00:00Z" })).await;
    let it = conversation(&agent, &id).await;
    assert_eq!(it["lastDone"]["createdAt"], "2025-01-02T00:00:00.000Z", "it was closed after its history");
    assert_eq!((&it["lastDone"]["messageCount"], &it["doneCount"]), (&json!(1), &json!(1)));
    app.clock.advance(MINUTE);
    agent.message(&id, json!({ "direction": "out" })).await;
    agent.post(&format!("/v1/conversations/{id}/notes"), json!({ "body": "n" })).await.created();
    let now = conversation(&agent, &id).await;
    assert_eq!(now["lastDone"], it["lastDone"], "what happens now is no history");
});

/// What a shuffled story leaves behind, less what tells when it was stored.
async fn told(app: &TestApp, messages: &[Value]) -> (Value, Value, Vec<Value>) {
    let agent = app.admin().await;
    let who = agent.post("/v1/customers", json!({ "createdAt": "2026-01-01T00:00:00Z" })).await.created_id();
    let id = agent.conversation(&who, json!({ "id": "671a2d10a3f1b20012c4d0a7" })).await;
    for message in messages {
        agent.message(&id, message.clone()).await;
    }
    let strip = |mut value: Value| {
        for name in ["updatedAt", "modifiedAt", "rev", "createdBy"] {
            value.as_object_mut().expect("attributes").shift_remove(name);
        }
        value
    };
    let mut said: Vec<_> = agent.get("/v1/messages").await.ok()["data"].as_array().expect("messages").clone();
    said.sort_by_key(|one| one["id"].to_string());
    let said = said.into_iter().map(|one| strip(one["attributes"].clone())).collect();
    (strip(conversation(&agent, &id).await), strip(customer(&agent, &who).await), said)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn messages_in_any_order_tell_the_same(
        (story, order) in proptest::collection::vec((any::<bool>(), 0..4u8, 0..3usize, 0..40i64), 1..8)
            .prop_flat_map(|story| {
                let order: Vec<usize> = (0..story.len()).collect();
                (Just(story), Just(order).prop_shuffle())
            })
    ) {
        let mut story = story;
        story.sort_by_key(|one| one.3);
        let messages: Vec<Value> = story.iter().enumerate().map(|(n, (inbound, auto, channel, minute))| json!({
            "id": format!("671a2d10a3f1b20012c4e{n:03x}"), "direction": if *inbound { "in" } else { "out" }, "auto": *auto == 0,
            "channel": (["email", "sms", "chat"][*channel]), "sentAt": at(*minute), "createdAt": at(*minute),
            "subject": format!("s{n}"), "preview": format!("p{n}"), "meta": { "n": n },
        })).collect();
        let shuffled: Vec<Value> = order.iter().map(|n| messages[*n].clone()).collect();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let in_order = told(&TestApp::new(Backend::Sqlite).await, &messages).await;
            let out_of_order = told(&TestApp::new(Backend::Sqlite).await, &shuffled).await;
            prop_assert_eq!(&in_order.0, &out_of_order.0);
            prop_assert_eq!(&in_order.1, &out_of_order.1);
            prop_assert_eq!(&in_order.2, &out_of_order.2);
            Ok(())
        })?;
    }
}
