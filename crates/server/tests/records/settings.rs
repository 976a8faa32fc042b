//! Tags, companies, shortcuts, brands, SLAs, queues, the org: what an org keeps beside its customers.

use std::sync::Arc;

use konverse_domain::{ImportKind, Importer, RowOutcome};
use konverse_testkit::{Actor, Interposed, TestApp, on_both_engines};
use serde_json::{Value, json};

use crate::{MINUTE, at, id_of};

/// Two processes on the app's database: changes of the first can be preceded by the other's.
async fn two_processes(app: &TestApp, admin: &Actor) -> (Arc<Interposed>, Actor, Actor) {
    let store = Interposed::new(app.store.reopened().await);
    let slow = admin.at(&app.over(store.clone()));
    (store, slow, admin.at(&app.other_process().await))
}

async fn import(app: &TestApp, rows: &[(ImportKind, Value)]) -> Vec<RowOutcome> {
    let mut importer = Importer::new(&app.domain, app.org.id).await.expect("an import");
    let mut outcomes = Vec::new();
    for (kind, row) in rows {
        let row = match kind.read(&row.to_string()) {
            Ok(row) => row,
            Err(error) => {
                outcomes.push(RowOutcome::Rejected(error));
                continue;
            }
        };
        outcomes.extend(importer.take(*kind, vec![row]).await.expect("rows are taken"));
    }
    outcomes
}

/// Nothing is wrong with what is there.
async fn is_sound(app: &TestApp) {
    let mut found = Vec::new();
    let mut tell = |told: konverse_domain::CheckTold<'_>| {
        if let konverse_domain::CheckTold::Finding(finding) = told {
            found.push(finding.to_string());
        }
    };
    app.domain.check(&app.org, false, &mut tell).await.expect("it is done");
    assert_eq!(found, Vec::<String>::new());
}

on_both_engines!(a_tag_is_renamed_deleted_and_restored, |app| async move {
    let admin = app.admin().await;
    let who = admin.get("/v1/users/current").await.ok()["data"]["id"].clone();
    let tag = admin.post("/v1/tags", json!({ "name": "Émile", "color": "#26c281" })).await.created_id();
    let path = format!("/v1/tags/{tag}");
    app.clock.advance(MINUTE);
    let it = admin.patch(&path, json!({ "name": "vip" })).await.ok();
    let attributes = &it["data"]["attributes"];
    assert_eq!((&attributes["name"], &attributes["color"]), (&json!("vip"), &json!("#26c281")), "PATCH merges");
    assert_eq!((&attributes["createdAt"], &attributes["modifiedAt"]), (&json!(at(0)), &json!(at(1))));
    // The old name is free, the new one is not, whatever the case; renaming to what it is called is no clash.
    let second = admin.post("/v1/tags", json!({ "name": "émile" })).await.created_id();
    let clash = admin.patch(&format!("/v1/tags/{second}"), json!({ "name": "VIP" })).await;
    assert_eq!(clash.error(), (409, "conflict".into(), "/name".into()));
    admin.patch(&path, json!({ "name": "VIP" })).await.ok();
    assert_eq!(admin.patch(&path, json!({ "name": " no" })).await.error(), (400, "bad_request".into(), "/name".into()));
    assert_eq!(
        admin.put(&format!("{path}?replace=true"), json!({})).await.ok()["data"]["attributes"].get("color"),
        None
    );

    assert_eq!(admin.delete(&path).await.status, 204);
    for reply in [admin.get(&path).await, admin.delete(&path).await, admin.patch(&path, json!({ "color": "x" })).await]
    {
        assert_eq!(reply.error(), (404, "not_found".into(), "id".into()));
    }
    let deleted = admin.get("/v1/tags?deleted=true").await.ok()["data"][0].clone();
    assert_eq!((&deleted["id"], &deleted["attributes"]["deleted"]), (&json!(tag), &json!(true)));
    assert_eq!(
        (&deleted["attributes"]["deletedAt"], id_of(&deleted["relationships"]["deletedBy"])),
        (&json!(at(1)), who.as_str().expect("an id"))
    );
    // Its name is free, so it cannot come back while another has it.
    let third = admin.post("/v1/tags", json!({ "name": "vip" })).await.created_id();
    assert_eq!(admin.patch(&path, json!({ "deleted": null })).await.error(), (409, "conflict".into(), "/name".into()));
    let back = admin.put(&path, json!({ "deleted": false, "name": "back" })).await.ok();
    assert_eq!(back["data"]["attributes"]["deleted"], false);
    assert_eq!(
        (back["data"]["attributes"].get("deletedAt"), back["data"]["relationships"].get("deletedBy")),
        (None, None)
    );
    admin.patch(&format!("/v1/tags/{third}"), json!({ "deleted": true })).await.ok();
    assert_eq!(admin.get("/v1/tags").await.ids(), [tag, second]);
    is_sound(&app).await;
});

on_both_engines!(of_two_who_take_a_name_one_wins, |app| async move {
    let admin = app.admin().await;
    let (store, slow, _) = two_processes(&app, &admin).await;
    for (path, body, pointer) in [
        ("/v1/tags", json!({ "name": "a" }), "/name"),
        ("/v1/brands", json!({ "name": "b" }), "/name"),
        ("/v1/companies", json!({ "name": "ccc", "externalId": "c" }), "/externalId"),
    ] {
        let (elsewhere, same) = (admin.at(&app.other_process().await), body.clone());
        store.before_apply(async move { drop(elsewhere.post(path, same).await.created()) }).await;
        assert_eq!(slow.post(path, body).await.error(), (409, "conflict".into(), pointer.into()), "{path}");
        assert_eq!(admin.get(path).await.ids().len(), 1, "{path}");
    }
});

on_both_engines!(one_brand_is_the_default, |app| async move {
    let admin = app.admin().await;
    assert_eq!(admin.get("/v1/brands/default").await.status, 404);
    let first = admin.post("/v1/brands", json!({ "name": "First" })).await.created_id();
    let second = admin.post("/v1/brands", json!({ "name": "Second", "default": false })).await.created_id();
    let default = async || admin.get("/v1/brands/default").await.ok()["data"]["id"].clone();
    assert_eq!(default().await, first, "the first one");
    let path = |id: &str| format!("/v1/brands/{id}");
    let refused = admin.patch(&path(&first), json!({ "default": false })).await;
    assert_eq!(refused.error(), (400, "bad_request".into(), "/default".into()), "one is");
    admin.patch(&path(&second), json!({ "default": true })).await.ok();
    let third = admin.post("/v1/brands", json!({ "name": "Third", "default": true })).await.created_id();
    let defaults = async || {
        let brands = admin.get("/v1/brands").await.ok();
        let all = brands["data"].as_array().expect("rows").clone();
        let mut ids =
            all.iter().filter(|brand| brand["attributes"]["default"] == true).map(|brand| brand["id"].clone());
        (ids.next(), ids.next())
    };
    assert_eq!((default().await, defaults().await), (json!(third), (Some(json!(third)), None)));
    // Two processes make two different ones the default at once.
    let (store, slow, other) = two_processes(&app, &admin).await;
    let elsewhere = path(&first);
    store.before_apply(async move { drop(other.patch(&elsewhere, json!({ "default": true })).await.ok()) }).await;
    slow.patch(&path(&second), json!({ "default": true })).await.ok();
    assert_eq!(store.conflicts(), 1);
    assert_eq!((default().await, defaults().await), (json!(second), (Some(json!(second)), None)));
    is_sound(&app).await;
});

on_both_engines!(companies_merge_and_are_found_by_key_and_name, |app| async move {
    let admin = app.admin().await;
    let body = json!({ "name": "Äcme GmbH", "externalId": "crm/1", "tags": ["vip"], "custom": { "tierStr": "a", "sizeNum": 1 },
        "domains": [{ "domain": "acme.example" }], "employeeCount": 7 });
    let company = admin.post("/v1/companies", body).await.created();
    let (id, attributes) = (company["data"]["id"].as_str().expect("an id").to_owned(), &company["data"]["attributes"]);
    assert_eq!((&attributes["rev"], &attributes["custom"]["sizeNum"]), (&json!(1), &json!(1)));
    assert_eq!(attributes["tags"], json!(admin.get("/v1/tags").await.ids()));
    let path = format!("/v1/companies/{id}");
    let it = admin.put(&path, json!({ "custom": { "sizeNum": null }, "rev": 1 })).await.ok();
    assert_eq!(
        (&it["data"]["attributes"]["custom"], &it["data"]["attributes"]["rev"]),
        (&json!({ "tierStr": "a" }), &json!(2))
    );
    assert_eq!(
        admin.put(&path, json!({ "name": "Late", "rev": 1 })).await.error(),
        (409, "conflict".into(), "/rev".into())
    );
    assert_eq!(admin.put(&path, json!({ "employeeCount": 7 })).await.ok()["data"]["attributes"]["rev"], 2, "no change");
    let other = admin.post("/v1/companies", json!({ "name": "äcme gmbh" })).await.created_id();
    let found = async |query: &str| admin.get(&format!("/v1/companies?{query}")).await.ids();
    assert_eq!(found("externalId=crm%2F1").await, [id.as_str()]);
    assert_eq!(found("filter=%C3%84CME%20gmbh").await, [id.as_str(), other.as_str()]);
    assert_eq!(found("filter=cme").await, Vec::<String>::new(), "the whole name");
    assert_eq!(found("filter=nobody&externalId=nothing").await.len(), 2, "both together are none");
    assert_eq!(found("externalId=none%00").await, Vec::<String>::new());
    let page = admin.get("/v1/companies?filter=%C3%A4cme%20gmbh&pageSize=1").await.ok();
    let next = page["links"]["next"].as_str().expect("another page").to_owned();
    assert!(next.contains("filter="), "{next}");
    assert_eq!(admin.get(&next).await.ids(), [other.as_str()]);
    for (body, pointer) in [
        (json!({ "name": "ab" }), "/name"),
        (json!({ "name": "x".repeat(256) }), "/name"),
        (json!({}), "/name"),
        (json!({ "name": "abc", "customStr": "x" }), "/customStr"),
        (json!({ "name": "abc", "custom": { "tier": "x" } }), "/custom/tier"),
        (json!({ "name": "abc", "createdBy": id }), "/createdBy"),
    ] {
        assert_eq!(admin.post("/v1/companies", body).await.error(), (400, "bad_request".into(), pointer.into()));
    }
    // Customers belong to it by its id.
    let customer = admin.post("/v1/customers", json!({ "name": "Jane", "company": id })).await.created();
    assert_eq!(customer["data"]["relationships"]["company"]["links"]["self"], path);
    assert_eq!(admin.get(&format!("{path}/klasses/order")).await.ids(), Vec::<String>::new());
    admin.put(&path, json!({ "deleted": true })).await.ok();
    assert_eq!(admin.get(&format!("{path}/klasses/order")).await.status, 404);
    assert_eq!(found("externalId=crm%2F1").await, Vec::<String>::new());
    admin.post("/v1/companies", json!({ "name": "New", "externalId": "crm/1" })).await.created();
    assert_eq!(
        admin.put(&path, json!({ "deleted": false })).await.error(),
        (409, "conflict".into(), "/externalId".into())
    );
    let bare = admin.put(&format!("{path}?replace=true"), json!({ "deleted": false })).await.ok();
    let attributes = &bare["data"]["attributes"];
    assert_eq!(
        (&attributes["name"], &attributes["domains"], attributes.get("custom")),
        (&json!("Äcme GmbH"), &json!([]), None)
    );
    is_sound(&app).await;
});

on_both_engines!(a_shortcut_is_kept_as_it_was_sent, |app| async move {
    let admin = app.admin().await;
    let user = admin.post("/v1/users", json!({ "name": "Ann", "email": "ann@acme.example" })).await.created_id();
    let payload = json!({ "text": { "blocks": [{ "text": "Grüße, {{name}}" }], "entityMap": {} } });
    let body = json!({ "name": "Hello", "draft": { "text": "Grüße" }, "payload": payload, "isPrivate": true,
        "conversation": { "name": { "operator": "set", "value": "Hi" } }, "accessUsers": [user] });
    let shortcut = admin.post("/v1/shortcuts", body).await.created();
    let (id, record) = (shortcut["data"]["id"].as_str().expect("an id").to_owned(), &shortcut["data"]);
    assert_eq!((&record["attributes"]["payload"], &record["attributes"]["rev"]), (&payload, &json!(1)));
    assert_eq!(record["relationships"]["accessUsers"], json!({ "data": [{ "type": "user", "id": user }] }));
    assert_eq!(record["relationships"]["accessTeams"], json!({ "data": [] }));
    let path = format!("/v1/shortcuts/{id}");
    assert_eq!(admin.patch(&path, json!({ "accessUsers": [id] })).await.error().2, "/accessUsers/0");
    assert_eq!(admin.patch(&path, json!({ "parent": id })).await.error().2, "/parent");
    assert_eq!(admin.patch(&path, json!({ "conversation": { "status": {} } })).await.error().2, "/conversation/status");
    let it = admin.patch(&path, json!({ "name": "Bye", "accessUsers": [], "rev": 1 })).await.ok();
    assert_eq!(
        (&it["data"]["attributes"]["rev"], &it["data"]["relationships"]["accessUsers"]),
        (&json!(2), &json!({ "data": [] }))
    );
    assert_eq!(admin.patch(&path, json!({ "name": "Hi", "rev": 1 })).await.error().0, 409);
    assert_eq!(admin.delete(&path).await.status, 204);
    assert_eq!(admin.get("/v1/shortcuts?pageSize=500").await.ids(), Vec::<String>::new());
    assert_eq!(admin.patch(&path, json!({ "deleted": false })).await.ok()["data"]["attributes"]["rev"], 4);
    is_sound(&app).await;
});

on_both_engines!(what_no_operation_creates_is_imported, |app| async move {
    let admin = app.admin().await;
    let id = |n: u32| format!("671a2c40a3f1b20012c4{n:04x}");
    let user = json!({ "id": id(1), "name": "Ann", "email": "ann@acme.example" });
    let times = json!({ "firstResponse": { "enabled": true, "times": { "1": 60 } } });
    let version = |n: u32| json!({ "id": id(0x100 + n), "name": format!("Fast {n}"), "version": n, "metrics": times, "criteria": {} });
    let rows = [
        (ImportKind::Users, user),
        (
            ImportKind::Companies,
            json!({ "id": id(2), "name": "Acme", "createdAt": "2020-01-01T00:00:00Z", "modifiedAt": "2021-01-01T00:00:00Z", "createdBy": id(1) }),
        ),
        (ImportKind::Companies, json!({ "name": "Keyed", "externalId": "k" })),
        (ImportKind::Shortcuts, json!({ "id": id(3), "name": "Hello", "createdBy": id(1) })),
        (ImportKind::Brands, json!({ "name": "Acme", "default": false })),
        (ImportKind::Brands, json!({ "id": id(4), "name": "Other", "default": true })),
        (
            ImportKind::Slas,
            json!({ "id": id(5), "currentVersion": 1, "createdAt": "2020-01-01T00:00:00Z", "versions": [version(1), version(2)] }),
        ),
        (ImportKind::Queues, json!({ "id": id(6), "name": "Support" })),
    ];
    let created = import(&app, &rows).await;
    assert!(created.iter().all(|outcome| *outcome == RowOutcome::Created), "{created:?}");
    let before = admin.get("/v1/companies").await.ok();
    let again = import(&app, &rows).await;
    assert!(again.iter().all(|outcome| *outcome == RowOutcome::Present), "{again:?}");
    assert_eq!(admin.get("/v1/companies").await.ok(), before, "nothing changed");
    let company = admin.get(&format!("/v1/companies/{}", id(2))).await.ok()["data"].clone();
    assert_eq!(
        (&company["attributes"]["createdAt"], &company["attributes"]["modifiedAt"]),
        (&json!("2020-01-01T00:00:00.000Z"), &json!("2021-01-01T00:00:00.000Z"))
    );
    assert_eq!(id_of(&company["relationships"]["createdBy"]), id(1));
    assert!(company["attributes"]["importedAt"].is_string());
    assert_eq!(admin.get("/v1/brands/default").await.ok()["data"]["id"], id(4));

    let sla = admin.get("/v1/slas").await.ok();
    assert_eq!((sla["data"][0]["attributes"]["currentVersion"].clone(), sla.get("included")), (json!(1), None));
    let versions = json!([{ "type": "sla_version", "id": id(0x101) }, { "type": "sla_version", "id": id(0x102) }]);
    assert_eq!(sla["data"][0]["relationships"]["versions"]["data"], versions);
    let included = async |query: &str| {
        let document = admin.get(query).await.ok();
        document["included"]
            .as_array()
            .expect("included")
            .iter()
            .map(|one| one["attributes"]["version"].clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(included("/v1/slas?versions=all").await, [1, 2]);
    assert_eq!(included(&format!("/v1/slas/{}?versions=active", id(5))).await, [1]);
    assert_eq!(included("/v1/slas?versions=all&page=2").await, Vec::<Value>::new());
    assert_eq!(admin.get("/v1/slas?versions=some").await.error(), (400, "bad_request".into(), "versions".into()));
    for list in ["/v1/queues", "/v1/routing/queues"] {
        let page = admin.get(list).await.ok();
        assert_eq!(
            (&page["data"][0]["id"], &page["data"][0]["links"]["self"]),
            (&json!(id(6)), &json!(format!("/v1/queues/{}", id(6))))
        );
        assert!(page["links"]["self"].as_str().is_some_and(|link| link.starts_with(&format!("{list}?"))));
        assert_eq!(admin.get(&format!("{list}/{}", id(6))).await.ok()["data"], page["data"][0]);
    }
    let refused = import(
        &app,
        &[
            (ImportKind::Slas, json!({ "id": id(7), "versions": [version(1)] })),
            (ImportKind::Slas, json!({ "id": id(7), "currentVersion": 9, "versions": [{ "name": "x" }] })),
            (ImportKind::Queues, json!({ "id": id(8), "name": "SUPPORT" })),
            (ImportKind::Shortcuts, json!({ "name": "no id" })),
            (ImportKind::Companies, json!({ "id": id(9), "name": "Acme", "createdBy": id(99) })),
        ],
    )
    .await;
    let reasons =
        ["exists already", "/currentVersion", "/name is already used", "needs an id", "/createdBy names no user"];
    for (outcome, reason) in refused.iter().zip(reasons) {
        assert!(matches!(outcome, RowOutcome::Rejected(error) if error.0.contains(reason)), "{outcome:?}: {reason}");
    }
    assert_eq!(admin.get(&format!("/v1/slas/{}", id(7))).await.status, 404, "nothing of it is there");
    is_sound(&app).await;
});

on_both_engines!(nobody_sees_another_orgs_settings, |app| async move {
    let admin = app.admin().await;
    let org = app.domain.create_org("other").await.expect("the org is new");
    let stranger = app.actor_of(&org, &["org"]).await;
    for (path, body) in [
        ("/v1/tags", json!({ "name": "a" })),
        ("/v1/companies", json!({ "name": "abc", "externalId": "k" })),
        ("/v1/shortcuts", json!({ "name": "a" })),
        ("/v1/brands", json!({ "name": "a" })),
    ] {
        let id = admin.post(path, body.clone()).await.created_id();
        let theirs = format!("{path}/{id}");
        let refused = (404, "not_found".to_owned(), "id".to_owned());
        assert_eq!(stranger.get(&theirs).await.error(), refused);
        assert!([404, 405].contains(&stranger.patch(&theirs, json!({ "name": "mine" })).await.status.as_u16()));
        assert_eq!(stranger.get(path).await.ids(), Vec::<String>::new());
        stranger.post(path, body).await.created();
        assert_eq!(admin.get(path).await.ids(), [id]);
    }
    let ours = admin.get("/v1/orgs/current").await.ok()["data"].clone();
    assert_eq!((&ours["type"], &ours["attributes"]["name"]), (&json!("org"), &json!("acme")));
    let path = ours["links"]["self"].as_str().expect("a link").to_owned();
    assert_eq!(admin.get(&path).await.ok()["data"], ours);
    assert_eq!(stranger.get(&path).await.error(), (404, "not_found".into(), "id".into()));
    let known = app.nobody().get("/v1/domains/other").await.ok();
    assert_eq!(known["data"]["attributes"]["orgId"], json!(org.id));
    let names: Vec<_> = known["data"]["attributes"].as_object().expect("attributes").keys().cloned().collect();
    assert_eq!(names, ["name", "orgId", "reservation", "pod", "createdAt", "updatedAt"]);
    for name in ["nobody", "Other", "%00", "x".repeat(200).as_str()] {
        assert_eq!(app.nobody().get(&format!("/v1/domains/{name}")).await.status, 404, "{name}");
    }
});

on_both_engines!(there_are_no_custom_objects_yet, |app| async move {
    let admin = app.admin().await;
    let customer = admin.customer().await;
    for path in
        ["/v1/klasses", "/v1/klasses/order", "/v1/kobjects/order", &format!("/v1/customers/{customer}/klasses/order")]
    {
        let page = admin.get(&format!("{path}?page=2&pageSize=500")).await.ok();
        assert_eq!((&page["data"], &page["meta"]), (&json!([]), &json!({ "pageSize": 100, "page": 2 })), "{path}");
        assert_eq!(page["links"]["next"], Value::Null);
    }
    let unknown = "58228e05d4e96711004eccb7";
    for path in [
        format!("/v1/klasses/{unknown}"),
        format!("/v1/klasses/order/{unknown}"),
        "/v1/klasses/order/externalId=a%2Fb".to_owned(),
        format!("/v1/customers/{unknown}/klasses/order"),
    ] {
        assert_eq!(admin.get(&path).await.status, 404, "{path}");
    }
    assert_eq!(admin.get("/v1/klasses/order?fromDate=soon").await.error().2, "fromDate");
    assert_eq!(admin.get("/v1/klasses?status=gone").await.error().2, "status");
});
