//! Notes.

use konverse_testkit::on_both_engines;
use serde_json::json;

use crate::{MINUTE, at, conversation, customer, id_of};

on_both_engines!(a_fresh_note_has_exactly_these_members, |app| async move {
    let agent = app.admin().await;
    let who = agent.customer().await;
    let id = agent.conversation(&who, json!({})).await;
    app.clock.advance(MINUTE);
    let note = agent.post(&format!("/v1/conversations/{id}/notes"), json!({ "body": "Call back" })).await.created_id();
    insta::assert_json_snapshot!("fresh_note", agent.get(&format!("/v1/notes/{note}")).await.ok());
});

on_both_engines!(a_note_counts_while_it_shows, |app| async move {
    let agent = app.admin().await;
    let who = agent.customer().await;
    let id = agent.conversation(&who, json!({})).await;
    app.clock.advance(MINUTE);
    let first = agent
        .post(&format!("/v1/conversations/{id}/notes"), json!({ "body": "a", "externalId": "n" }))
        .await
        .created_id();
    let second =
        agent.post("/v1/notes", json!({ "body": "b", "conversation": id, "customer": who })).await.created_id();
    let it = conversation(&agent, &id).await;
    assert_eq!((&it["noteCount"], &it["messageCount"], &it["lastActivityAt"]), (&json!(2), &json!(0), &json!(at(1))));
    assert!(it["updatedAt"].as_str() >= Some(&at(1)), "{}", it["updatedAt"]);
    assert_eq!((&it["modifiedAt"], &it["status"]), (&json!(at(0)), &json!("open")));
    assert_eq!(customer(&agent, &who).await["lastActivityAt"], at(1));
    assert_eq!(agent.get(&format!("/v1/conversations/{id}/notes")).await.ids(), [first.as_str(), second.as_str()]);
    assert_eq!(agent.get(&format!("/v1/customers/{who}/notes")).await.ids().len(), 2);
    assert_eq!(agent.get("/v1/notes").await.ids().len(), 2);

    app.clock.advance(MINUTE);
    let path = format!("/v1/notes/{first}");
    assert_eq!(agent.delete(&path).await.status, 204);
    assert_eq!(agent.get(&path).await.status, 404);
    assert_eq!(agent.delete(&path).await.status, 404);
    assert_eq!(agent.patch(&path, json!({ "body": "x" })).await.status, 404);
    let it = conversation(&agent, &id).await;
    assert_eq!((&it["noteCount"], &it["lastActivityAt"]), (&json!(1), &json!(at(2))));
    assert_eq!(agent.get("/v1/notes").await.ids(), [second.as_str()]);

    let back = agent.patch(&path, json!({ "deleted": null, "body": "again" })).await.ok();
    assert_eq!(back["data"]["attributes"]["body"], "again");
    assert_eq!(conversation(&agent, &id).await["noteCount"], 2);
    agent.patch(&path, json!({ "deleted": false })).await.ok();
    assert_eq!(conversation(&agent, &id).await["noteCount"], 2, "restoring what shows adds nothing");
    agent.patch(&path, json!({ "deleted": true })).await.ok();
    assert_eq!(agent.get(&path).await.status, 404);
    assert_eq!(conversation(&agent, &id).await["noteCount"], 1);
    let clash = agent.post(&format!("/v1/conversations/{id}/notes"), json!({ "body": "c", "externalId": "n" })).await;
    clash.created();
    assert_eq!(
        agent.patch(&path, json!({ "deleted": null })).await.error(),
        (409, "conflict".into(), "/externalId".into())
    );
    assert_eq!(conversation(&agent, &id).await["noteCount"], 2);
});

on_both_engines!(a_note_changes_and_calls_on_people, |app| async move {
    let agent = app.admin().await;
    let who = agent.customer().await;
    let id = agent.conversation(&who, json!({})).await;
    let user = agent.post("/v1/users", json!({ "name": "Ann", "email": "ann@acme.example" })).await.created_id();
    let team = agent.post("/v1/teams", json!({ "name": "Support", "members": [user] })).await.created_id();
    let body = json!({ "body": "a", "userMentions": [{ "user": user }, { "team": team }], "createdBy": user, "createdAt": "2026-01-01T00:00:00Z" });
    let made = agent.post(&format!("/v1/conversations/{id}/notes"), body).await.created();
    let relationships = &made["data"]["relationships"];
    assert_eq!(
        relationships["userMentions"],
        json!({ "data": [{ "type": "user", "id": user }, { "type": "team", "id": team }] })
    );
    assert_eq!((id_of(&relationships["createdBy"]), id_of(&relationships["customer"])), (user.as_str(), who.as_str()));
    assert_eq!(made["data"]["attributes"]["createdByTeams"], json!([team]));
    assert_eq!(made["data"]["attributes"]["createdAt"], "2026-01-01T00:00:00.000Z");
    let path = format!("/v1/notes/{}", made["data"]["id"].as_str().expect("an id"));
    app.clock.advance(MINUTE);
    let it = agent.patch(&path, json!({ "body": "b", "userMentions": [] })).await.ok();
    assert_eq!(it["data"]["relationships"]["userMentions"], json!({ "data": [] }));
    assert_eq!((&it["data"]["attributes"]["modifiedAt"], &it["data"]["attributes"]["rev"]), (&json!(at(1)), &json!(2)));
    app.clock.advance(9 * MINUTE);
    let it = agent.patch(&path, json!({ "body": "c", "modifiedAt": at(4), "modifiedBy": user })).await.ok();
    assert_eq!(
        (&it["data"]["attributes"]["modifiedAt"], &it["data"]["attributes"]["updatedAt"]),
        (&json!(at(4)), &json!(at(10)))
    );
    assert_eq!(id_of(&it["data"]["relationships"]["modifiedBy"]), user);
    let same = agent.put(&path, json!({ "conversation": id, "body": "c" })).await.ok();
    assert_eq!(same["data"], it["data"], "the same again is no change");
    assert_eq!(agent.put(&path, json!({ "body": "c" })).await.error().2, "/conversation");
    let plain = app.actor(&["org.user.note.write", "org.user.note.read"]).await;
    let mine = plain
        .post(&format!("/v1/conversations/{id}/notes"), json!({ "body": "m", "createdBy": user, "createdAt": at(0) }))
        .await
        .created();
    assert_ne!(id_of(&mine["data"]["relationships"]["createdBy"]), user);
    assert_eq!(mine["data"]["attributes"]["createdAt"], at(10));

    let unknown = "671a2d10a3f1b20012c4dead";
    let here = format!("/v1/conversations/{id}/notes");
    let mentions: Vec<_> = (0..21).map(|_| json!({ "user": user })).collect();
    for (body, pointer) in [
        (json!({}), "/body"),
        (json!({ "body": "" }), "/body"),
        (json!({ "body": "x".repeat(10_241) }), "/body"),
        (json!({ "body": null }), "/body"),
        (json!({ "body": "x", "userMentions": [{ "user": unknown }] }), "/userMentions/0"),
        (json!({ "body": "x", "userMentions": [{ "team": user }] }), "/userMentions/0"),
        (json!({ "body": "x", "userMentions": [{}] }), "/userMentions/0"),
        (json!({ "body": "x", "userMentions": [{ "user": user, "team": team }] }), "/userMentions/0"),
        (json!({ "body": "x", "userMentions": mentions }), "/userMentions"),
        (json!({ "body": "x", "customer": unknown }), "/customer"),
        (json!({ "body": "x", "conversation": unknown }), "/conversation"),
        (json!({ "body": "x", "subject": "y" }), "/subject"),
    ] {
        assert_eq!(
            agent.post(&here, body.clone()).await.error(),
            (400, "bad_request".into(), pointer.into()),
            "{body}"
        );
    }
    agent.post(&here, json!({ "body": "x".repeat(10_240) })).await.created();
    assert_eq!(agent.post(&format!("/v1/conversations/{unknown}/notes"), json!({ "body": "x" })).await.status, 404);
    assert_eq!(
        agent.post("/v1/notes", json!({ "body": "x", "conversation": unknown })).await.error().2,
        "/conversation"
    );
    assert_eq!(agent.post("/v1/notes", json!({ "body": "x" })).await.error().2, "/conversation");
});

on_both_engines!(a_note_moves_between_conversations_of_one_customer, |app| async move {
    let agent = app.admin().await;
    let (who, other) = (agent.customer().await, agent.customer().await);
    let (from, to) = (agent.conversation(&who, json!({})).await, agent.conversation(&who, json!({})).await);
    let foreign = agent.conversation(&other, json!({})).await;
    let note = agent.post(&format!("/v1/conversations/{from}/notes"), json!({ "body": "a" })).await.created_id();
    let path = format!("/v1/notes/{note}");
    let it = agent.patch(&path, json!({ "conversation": to })).await.ok();
    assert_eq!(id_of(&it["data"]["relationships"]["conversation"]), to);
    assert_eq!(
        (&conversation(&agent, &from).await["noteCount"], &conversation(&agent, &to).await["noteCount"]),
        (&json!(0), &json!(1))
    );
    assert_eq!(agent.get(&format!("/v1/conversations/{to}/notes")).await.ids(), [note.as_str()]);
    assert_eq!(agent.patch(&path, json!({ "conversation": foreign })).await.error().2, "/conversation");
    agent.patch(&path, json!({ "conversation": from, "deleted": true })).await.ok();
    assert_eq!(
        (&conversation(&agent, &from).await["noteCount"], &conversation(&agent, &to).await["noteCount"]),
        (&json!(0), &json!(0))
    );
    agent.delete(&format!("/v1/conversations/{from}")).await;
    assert_eq!(agent.patch(&path, json!({ "deleted": null })).await.status, 404, "its conversation is gone");
});
