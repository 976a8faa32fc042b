//! `GET /v1/customers/{id}/conversations`: the main job, rule by rule of `conversation-list.md`.

use konverse_api::{Answer, ApiSettings, operations};
use konverse_domain::{Field, Settings};
use konverse_testkit::{Actor, Backend, TestApp, on_both_engines};
use proptest::prelude::*;
use serde_json::{Value, json};

fn path(customer: &str) -> String {
    format!("/v1/customers/{customer}/conversations")
}

/// A customer with `count` conversations, a minute apart; ids newest first.
async fn filled(app: &TestApp, actor: &Actor, count: usize) -> (String, Vec<String>) {
    let customer = actor.customer().await;
    let mut ids = Vec::new();
    for n in 0..count {
        app.clock.advance(60_000);
        ids.insert(0, actor.conversation(&customer, json!({ "name": format!("No. {n}") })).await);
    }
    (customer, ids)
}

/// The ids of every page, following links until there are none.
async fn walk(actor: &Actor, first: &str, link: &str) -> Vec<Vec<String>> {
    let mut pages = Vec::new();
    let mut next = Some(first.to_owned());
    while let Some(path) = next {
        let reply = actor.get(&path).await;
        pages.push(reply.ids());
        next = reply.json()["links"][link].as_str().map(str::to_owned);
        assert!(pages.len() < 1000, "the links go round in a circle");
    }
    pages
}

on_both_engines!(a_customer_without_conversations_has_an_empty_list, |app| async move {
    let admin = app.admin().await;
    let customer = admin.customer().await;
    let reply = admin.get(&path(&customer)).await;
    let own = format!("{}?page=1&pageSize=100", path(&customer));
    let expected = json!({
        "meta": { "pageSize": 100, "page": 1 },
        "data": [],
        "links": { "self": own, "first": own, "prev": null, "next": null },
    });
    assert_eq!(reply.ok(), expected);
    assert_eq!(reply.headers["content-type"], "application/json; charset=utf-8");
});

on_both_engines!(a_fresh_conversation_shows_every_member_it_must, |app| async move {
    let admin = app.admin().await;
    let customer = admin.customer().await;
    let id = admin.conversation(&customer, json!({ "name": "Parcel" })).await;
    let listed = admin.get(&path(&customer)).await.ok()["data"][0].clone();
    assert_eq!(listed, admin.get(&format!("/v1/conversations/{id}")).await.ok()["data"], "list and read agree");
    insta::assert_json_snapshot!("fresh_conversation", listed, {
        ".id" => "[conversation]", ".links.self" => "[conversation]", ".relationships.*.data.id" => "[id]",
        ".relationships.*.links.self" => "[link]",
    });
});

on_both_engines!(pages_follow_each_other_and_lead_back, |app| async move {
    let admin = app.admin().await;
    let (customer, ids) = filled(&app, &admin, 12).await;
    let first = format!("{}?page=1&pageSize=5", path(&customer));
    let forward = walk(&admin, &format!("{}?pageSize=5", path(&customer)), "next").await;
    assert_eq!(forward.iter().map(Vec::len).collect::<Vec<_>>(), [5, 5, 2]);
    assert_eq!(forward.concat(), ids, "newest first, none twice, none missing");

    let second = admin.get(&first).await.json()["links"]["next"].as_str().unwrap().to_owned();
    let third = admin.get(&second).await.json()["links"]["next"].as_str().unwrap().to_owned();
    assert!(second.starts_with(&format!("{}?page=2&pageSize=5&cursor=", path(&customer))), "{second}");
    let mut back = walk(&admin, &third, "prev").await;
    back.reverse();
    assert_eq!(back.concat(), ids);
    assert_eq!(admin.get(&second).await.json()["links"]["prev"], first);
    assert_eq!(admin.get(&second).await.json()["links"]["self"], second);
    assert_eq!(admin.get(&third).await.json()["links"]["first"], first);

    for (page, expected) in [(1, &ids[..5]), (2, &ids[5..10]), (3, &ids[10..])] {
        assert_eq!(
            admin.get(&format!("{}?page={page}&pageSize=5", path(&customer))).await.ids(),
            expected,
            "by number"
        );
    }
});

on_both_engines!(a_page_that_is_exactly_full_is_the_last, |app| async move {
    let admin = app.admin().await;
    let (customer, ids) = filled(&app, &admin, 4).await;
    let reply = admin.get(&format!("{}?pageSize=4", path(&customer))).await;
    assert_eq!(reply.ids(), ids);
    assert_eq!(reply.json()["links"]["next"], Value::Null);
    let reply = admin.get(&format!("{}?page=9&pageSize=4", path(&customer))).await;
    assert_eq!(reply.ids(), Vec::<String>::new(), "past the end");
    assert_eq!(reply.json()["links"]["next"], Value::Null);
    assert_eq!(reply.json()["links"]["prev"], format!("{}?page=8&pageSize=4", path(&customer)));
});

on_both_engines!(parameters_are_read_kindly_and_refused_clearly, |app| async move {
    let admin = app.admin().await;
    let (customer, _) = filled(&app, &admin, 3).await;
    for (query, page, size) in [
        ("", 1, 100),
        ("?pageSize=500", 1, 100),
        ("?pageSize=2.0&page=1.0", 1, 2),
        ("?page=&pageSize=", 1, 100),
        ("?pageSize=0", 1, 0),
        ("?pageSize=0.0&page=7", 7, 0),
        ("?pageSize=1&pageSize=2", 1, 2),
        ("?order=name&status=open&junk", 1, 100),
        ("?page=99999999999999999999", u64::MAX, 100),
    ] {
        let meta = admin.get(&format!("{}{query}", path(&customer))).await.ok()["meta"].clone();
        assert_eq!(meta, json!({ "pageSize": size, "page": page }), "{query}");
    }
    for (query, name) in [
        ("page=0", "page"),
        ("page=-1", "page"),
        ("page=two", "page"),
        ("page=1.5", "page"),
        ("page=0&pageSize=0", "page"),
        ("pageSize=-1", "pageSize"),
        ("pageSize=0.5", "pageSize"),
        ("pageSize=many", "pageSize"),
        ("fromDate=yesterday", "fromDate"),
        ("fromDate=2026-02-30", "fromDate"),
        ("cursor=abc", "cursor"),
    ] {
        let reply = admin.get(&format!("{}?{query}", path(&customer))).await;
        assert_eq!(reply.error(), (400, "bad_request".into(), name.into()), "{query}");
    }
    for id in [
        "x",
        "671a2c40a3f1b20012c4d00",
        "671a2c40a3f1b20012c4d0011",
        "671a2c40a3f1b20012c4d001,671a2c40a3f1b20012c4d002",
    ] {
        assert_eq!(admin.get(&path(id)).await.error(), (400, "bad_request".into(), "id".into()), "{id}");
    }
    assert_eq!(admin.get(&path(&customer.to_uppercase())).await.ids().len(), 3, "hex is hex");
});

on_both_engines!(a_customer_that_is_not_there_is_404, |app| async move {
    let admin = app.admin().await;
    let (customer, _) = filled(&app, &admin, 2).await;
    let globex = app.domain.create_org("globex").await.unwrap();
    let stranger = app.actor_of(&globex, &["org"]).await;
    let not_found = (404, "not_found".to_owned(), "id".to_owned());
    assert_eq!(admin.get(&path("671a2c40a3f1b20012c4dfff")).await.error(), not_found);
    assert_eq!(stranger.get(&path(&customer)).await.error(), not_found);
    let unknown = stranger.get(&path("671a2c40a3f1b20012c4dfff")).await.json().to_string();
    let foreign = stranger.get(&path(&customer)).await.json().to_string();
    assert_eq!(foreign, unknown.replace("671a2c40a3f1b20012c4dfff", &customer), "nothing tells them apart");
    assert_eq!(admin.delete(&format!("/v1/customers/{customer}")).await.status, 204);
    assert_eq!(admin.get(&path(&customer)).await.error(), not_found, "deleted");
});

on_both_engines!(from_date_keeps_what_changed_since, |app| async move {
    let admin = app.admin().await;
    let (customer, ids) = filled(&app, &admin, 6).await;
    app.clock.advance(3_600_000);
    let changed_at = app.now();
    for id in [&ids[5], &ids[2]] {
        admin.patch(&format!("/v1/conversations/{id}"), json!({ "priority": 5 })).await.ok();
    }
    let changed = vec![ids[2].clone(), ids[5].clone()];
    let at = |text: &str| format!("{}?pageSize=1&fromDate={text}", path(&customer));
    let all = walk(&admin, &at(&changed_at.to_string()), "next").await;
    assert_eq!(all.concat(), changed, "inclusive, in the list's own order");
    assert_eq!(walk(&admin, &at(&changed_at.plus(10).to_string()), "next").await.concat(), Vec::<String>::new());
    let second = admin.get(&format!("{}?page=2&pageSize=1&fromDate={changed_at}", path(&customer))).await;
    assert_eq!(second.ids(), [ids[5].clone()], "by number");
    let links = admin.get(&at(&changed_at.to_string())).await.ok()["links"].clone();
    assert_eq!(links["self"], format!("{}?page=1&pageSize=1&fromDate={changed_at}", path(&customer)), "colons stay");
    let offset = admin.get(&at("2026-10-24T10:00:00%2B01:00")).await.ok()["links"].clone();
    assert_eq!(offset["first"], format!("{}?page=1&pageSize=1&fromDate=2026-10-24T10:00:00%2B01:00", path(&customer)));

    let by_creation = Settings { from_date: Field::CreatedAt, ..Settings::default() };
    let other = admin.at(&app.again_with(by_creation, ApiSettings::default()));
    assert_eq!(other.get(&at(&changed_at.to_string())).await.ids(), Vec::<String>::new(), "by creation, as set");
});

on_both_engines!(the_order_can_be_set, |app| async move {
    let admin = app.admin().await;
    let (customer, mut ids) = filled(&app, &admin, 5).await;
    let settings = Settings { newest_first: false, ..Settings::default() };
    let other = admin.at(&app.again_with(settings, ApiSettings::default()));
    ids.reverse();
    assert_eq!(walk(&other, &format!("{}?pageSize=2", path(&customer)), "next").await.concat(), ids);
    let newest_first = admin.get(&format!("{}?pageSize=2", path(&customer))).await.json()["links"]["next"].clone();
    let reply = other.get(newest_first.as_str().unwrap()).await;
    assert_eq!(reply.error(), (400, "bad_request".into(), "cursor".into()), "a cursor belongs to its order");
});

on_both_engines!(a_cursor_belongs_to_its_list, |app| async move {
    let admin = app.admin().await;
    let (customer, _) = filled(&app, &admin, 3).await;
    let (other, _) = filled(&app, &admin, 3).await;
    let next = admin.get(&format!("{}?pageSize=1", path(&customer))).await.json()["links"]["next"].clone();
    let elsewhere = next.as_str().unwrap().replace(&customer, &other);
    assert_eq!(admin.get(&elsewhere).await.error(), (400, "bad_request".into(), "cursor".into()));
});

on_both_engines!(following_links_while_others_write_repeats_and_loses_nothing, |app| async move {
    let admin = app.admin().await;
    let (customer, ids) = filled(&app, &admin, 20).await;
    let mut seen = Vec::new();
    let mut next = Some(format!("{}?pageSize=3", path(&customer)));
    let mut deleted = None;
    while let Some(link) = next {
        let reply = admin.get(&link).await;
        seen.extend(reply.ids());
        next = reply.json()["links"]["next"].as_str().map(str::to_owned);
        // While the reader pauses: a new one, a changed one, and once a deleted one further down.
        app.clock.advance(1000);
        admin.conversation(&customer, json!({})).await;
        let touched = seen.last().unwrap();
        admin.patch(&format!("/v1/conversations/{touched}"), json!({ "priority": 1 })).await;
        if deleted.is_none() {
            admin.delete(&format!("/v1/conversations/{}", ids[12])).await;
            deleted = Some(ids[12].clone());
        }
    }
    let expected: Vec<_> = ids.into_iter().filter(|id| Some(id) != deleted.as_ref()).collect();
    assert_eq!(seen, expected);
});

on_both_engines!(rows_of_the_same_instant_have_a_fixed_order, |app| async move {
    let admin = app.admin().await;
    let customer = admin.customer().await;
    let mut ids = Vec::new();
    for _ in 0..7 {
        ids.push(admin.conversation(&customer, json!({})).await);
    }
    ids.sort_by(|a, b| b.cmp(a));
    assert_eq!(walk(&admin, &format!("{}?pageSize=2", path(&customer)), "next").await.concat(), ids);
});

on_both_engines!(deleted_conversations_are_never_listed_and_moved_ones_follow_their_customer, |app| async move {
    let admin = app.admin().await;
    let (customer, ids) = filled(&app, &admin, 3).await;
    let other = admin.customer().await;
    assert_eq!(admin.delete(&format!("/v1/conversations/{}", ids[0])).await.status, 204);
    admin.patch(&format!("/v1/conversations/{}", ids[1]), json!({ "customer": other })).await.ok();
    assert_eq!(admin.get(&path(&customer)).await.ids(), [ids[2].clone()]);
    assert_eq!(admin.get(&path(&other)).await.ids(), [ids[1].clone()]);
    admin.patch(&format!("/v1/conversations/{}", ids[0]), json!({ "deleted": null })).await.ok();
    assert_eq!(admin.get(&path(&customer)).await.ids(), [ids[0].clone(), ids[2].clone()], "restored");
});

/// An org in which every list has at least two rows, and the path of every list.
async fn all_lists(app: &TestApp, admin: &Actor) -> Vec<String> {
    let (customer, conversations) = filled(app, admin, 3).await;
    admin.customer().await;
    for _ in 0..2 {
        admin.message(&conversations[0], json!({ "direction": "in" })).await;
        let notes = format!("/v1/conversations/{}/notes", conversations[0]);
        admin.post(&notes, json!({ "body": "Called back" })).await.created();
        app.clock.advance(1);
    }
    let mut users = Vec::new();
    for name in ["ann", "bob"] {
        let user = json!({ "name": name, "email": format!("{name}@acme.example") });
        users.push(admin.post("/v1/users", user).await.created_id());
        app.actor(&["org.user"]).await;
    }
    for name in ["Support", "Sales", "Returns"] {
        admin.post("/v1/teams", json!({ "name": name, "members": users })).await.created();
        admin.post("/v1/tags", json!({ "name": name })).await.created();
    }
    let mut paths = Vec::new();
    for operation in operations() {
        let id = match operation.path.split('/').nth(2) {
            Some("customers") => customer.clone(),
            Some("conversations") => conversations[0].clone(),
            Some("users") => users[0].clone(),
            _ if operation.path.contains('{') => continue,
            _ => String::new(),
        };
        match operation.answer {
            Answer::List(_) => paths.push(operation.path.replace("{id}", &id).replace("{name}", "order")),
            Answer::OneOrSeveral(_) => {
                let several = if operation.path.contains("users") { &users } else { &conversations };
                paths.push(operation.path.replace("{id}", &several.join(",")));
            }
            _ => {}
        }
    }
    // Of some there is nothing here to list.
    let mut filled = Vec::new();
    for path in paths {
        if admin.get(&path).await.ids().len() >= 2 {
            filled.push(path);
        }
    }
    assert!(filled.len() >= 16, "{filled:?}");
    filled
}

on_both_engines!(every_list_can_be_asked_for_nothing, |app| async move {
    let admin = app.admin().await;
    let nobody_in_particular = app.actor(&["org.tracking"]).await;
    let mut paths = all_lists(&app, &admin).await;
    for path in &paths {
        assert!(admin.get(path).await.ids().len() >= 2, "{path}");
    }
    let customer = paths.iter().find(|path| path.ends_with("/conversations") && path.len() > 30).unwrap().clone();
    paths.push(format!("{customer}?fromDate=2020-01-01"));
    for filter in ["email=ann@acme.example", "pending=true", "deleted=true", "userType=user"] {
        paths.push(format!("/v1/users?{filter}"));
    }
    paths.push("/v1/customers?filter[createdAt][gte]=2020-01-01T00:00:00Z&sort=-updatedAt".into());
    for path in &paths {
        let (list, rest) = path.split_once('?').unwrap_or((path, ""));
        let with = |query: &str| format!("{list}?{query}&{rest}");
        let empty = admin.get(&with("pageSize=0")).await.ok();
        assert_eq!(
            (&empty["data"], &empty["meta"]["pageSize"], &empty["meta"]["page"]),
            (&json!([]), &json!(0), &json!(1))
        );
        assert_eq!((&empty["links"]["next"], &empty["links"]["prev"]), (&Value::Null, &Value::Null), "{path}");
        let first = empty["links"]["first"].as_str().unwrap();
        assert!(first.starts_with(&format!("{list}?page=1&pageSize=0")), "{first}");
        assert_eq!(admin.get(first).await.ok(), empty, "{path}");
        let later = admin.get(&with("pageSize=0&page=3")).await.ok();
        assert_eq!(
            (&later["data"], &later["meta"]["page"], &later["links"]["next"]),
            (&json!([]), &json!(3), &Value::Null)
        );
        for (query, name) in [
            ("page=0&pageSize=0", "page"),
            ("pageSize=-1", "pageSize"),
            ("pageSize=x", "pageSize"),
            ("pageSize=0.5", "pageSize"),
            ("pageSize=0&cursor=x", "cursor"),
        ] {
            let reply = admin.get(&with(query)).await;
            assert_eq!(reply.error(), (400, "bad_request".into(), name.into()), "{path} {query}");
        }
        assert_eq!(app.nobody().get(&with("pageSize=0")).await.error().0, 401, "{path}");
        assert_eq!(nobody_in_particular.get(&with("pageSize=0")).await.error().0, 403, "{path}");
    }
    let counted = admin.get("/v1/customers?pageSize=0").await.ok();
    assert_eq!(counted["meta"], json!({ "pageSize": 0, "page": 1, "total": 2, "totalPages": 1 }));
    assert_eq!(counted["links"]["last"], "/v1/customers?page=1&pageSize=0");
    let unknown = "671a2c40a3f1b20012c4dfff";
    for list in ["conversations", "messages", "notes"] {
        let reply = admin.get(&format!("/v1/customers/{unknown}/{list}?pageSize=0")).await;
        assert_eq!(reply.error(), (404, "not_found".into(), "id".into()), "{list}");
    }
    assert_eq!(admin.get(&format!("/v1/users/{unknown}/teams?pageSize=0")).await.error().0, 404);
    for size in [json!(0), json!("0"), json!(0.0)] {
        let run = "/v1/operations/get-conversations-by-customer/run";
        let id = customer.split('/').nth(3).unwrap();
        let empty = admin.post(run, json!({ "parameters": { "id": id, "pageSize": size } })).await.ok();
        assert_eq!((&empty["data"], &empty["links"]["next"]), (&json!([]), &json!("")), "{size}");
        assert_eq!(empty["meta"], json!({ "pageSize": "0", "page": "1" }));
        let wrong = admin.post(run, json!({ "parameters": { "id": id, "pageSize": -1 } })).await;
        assert_eq!(wrong.error(), (400, "bad_request".into(), "/parameters/pageSize".into()));
        let unknown = admin.post(run, json!({ "parameters": { "id": unknown, "pageSize": size } })).await;
        assert_eq!(unknown.error().0, 404);
    }
});

on_both_engines!(what_a_request_says_cannot_break_the_answer, |app| async move {
    let admin = app.admin().await;
    let paths = all_lists(&app, &admin).await;
    let hostile = ["%22,%22x%22:%22", "%5C", "%00%0A%1F", "%C3%BC%F0%9F%A6%80", "%ff", "'%3C&%26%23%2B%3D%3E{}|^`%25"];
    let names = [
        "cursor",
        "page",
        "pageSize",
        "sort",
        "fromDate",
        "email",
        "userType",
        "deleted",
        "pending",
        "filter%5BcreatedAt%5D%5Bgte%5D",
        "filter%5B%22%5D%5B%5C%5D",
        "%22",
    ];
    for path in &paths {
        for value in hostile {
            for name in names {
                let reply = admin.get(&format!("{path}?{name}={value}")).await;
                let document = reply.json();
                if name == "cursor" {
                    assert_eq!(reply.error(), (400, "bad_request".into(), "cursor".into()), "{path} {value}");
                } else if reply.status == 200 {
                    let own = document["links"]["self"].as_str().unwrap();
                    assert_eq!(
                        document["links"].as_object().unwrap().len(),
                        4 + usize::from(document["meta"]["total"].is_number())
                    );
                    assert_eq!(admin.get(own).await.ok()["links"]["self"], own, "{path} {name}={value}");
                } else {
                    assert_eq!(reply.error().0, 400, "{path} {name}={value}");
                }
            }
        }
    }
    // A list that has no further pages has cursors of its own as little as those of another.
    let next = admin.get("/v1/auth/tokens?pageSize=1").await.ok()["links"]["next"].as_str().unwrap().to_owned();
    let cursor = next.split("cursor=").nth(1).unwrap();
    let more = ["/v1/users?pending=true", "/v1/users?email=ann@acme.example", "/v1/users?deleted=true"];
    for path in paths.iter().map(String::as_str).chain(more).filter(|path| *path != "/v1/auth/tokens") {
        let mark = if path.contains('?') { '&' } else { '?' };
        let reply = admin.get(&format!("{path}{mark}cursor={cursor}")).await;
        assert_eq!(reply.error(), (400, "bad_request".into(), "cursor".into()), "{path}");
    }
    // Paths, raw and escaped.
    let id = admin.customer().await;
    for path in [
        "/v1/customers/%22,%22x%22:%22/conversations".to_owned(),
        "/v1/customers/\"}/conversations".into(),
        format!("/v1/customers/{id}%22/conversations"),
        format!("/v1/conversations/{id},%22%5C"),
        format!("/v1/conversations/{id},\",\"x\":\""),
        format!("/v1/users/{id},%0A,{id}"),
        format!("/v1/users/{id},%C2%A0,{id}"),
        "/v1/customers/email=%22%5C%0A".into(),
        "/v1/customers/externalId=\"}{".into(),
        "/v1/conversations/externalId=%F0%9F%A6%80%22".into(),
        "/v1/messages/externalid=%ff".into(),
        "/v1/%22%5C".into(),
        "/%22,%22x%22:%22?%22".into(),
    ] {
        let reply = admin.get(&path).await;
        assert!(reply.json().is_object() && reply.status.as_u16() < 500, "{path}: {}", reply.status);
    }
    let reply = admin.post("/v1/operations/%22%5C%0A/run", json!({ "parameters": { "id": id } })).await;
    assert_eq!(reply.error(), (404, "not_found".into(), "key".into()));
});

on_both_engines!(a_list_known_whole_has_pages_too, |app| async move {
    let admin = app.admin().await;
    let user = admin.post("/v1/users", json!({ "name": "Ann", "email": "ann@acme.example" })).await.created_id();
    let mut teams = Vec::new();
    for n in 0..5 {
        app.clock.advance(1000);
        let team = json!({ "name": format!("Team {n}"), "members": [user] });
        teams.push(admin.post("/v1/teams", team).await.created_id());
    }
    let path = format!("/v1/users/{user}/teams");
    let pages = walk(&admin, &format!("{path}?pageSize=2"), "next").await;
    assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [2, 2, 1]);
    let mut seen = pages.concat();
    assert_eq!(admin.get(&path).await.ids(), seen, "the same order, however it is cut");
    seen.sort();
    teams.sort();
    assert_eq!(seen, teams, "none twice, none missing");
    let third = admin.get(&format!("{path}?page=3&pageSize=2")).await;
    assert_eq!(third.ids(), pages[2]);
    let expected = json!({
        "self": format!("{path}?page=3&pageSize=2"), "first": format!("{path}?page=1&pageSize=2"),
        "prev": format!("{path}?page=2&pageSize=2"), "next": null,
    });
    assert_eq!((&third.json()["links"], &third.json()["meta"]), (&expected, &json!({ "pageSize": 2, "page": 3 })));
    let full = admin.get(&format!("{path}?pageSize=5")).await.ok();
    assert_eq!((full["data"].as_array().unwrap().len(), &full["links"]["next"]), (5, &Value::Null), "exactly full");
    let past = admin.get(&format!("{path}?page=18446744073709551615&pageSize=500")).await.ok();
    assert_eq!((&past["data"], &past["links"]["next"]), (&json!([]), &Value::Null), "past the end");

    let by_email = "/v1/users?email=ANN@acme.example";
    assert_eq!(admin.get(by_email).await.ids(), [user.as_str()]);
    let second = admin.get(&format!("{by_email}&page=2&pageSize=1")).await;
    assert_eq!(second.ids(), Vec::<String>::new());
    assert_eq!(second.json()["links"]["prev"], "/v1/users?page=1&pageSize=1&email=ANN@acme.example");
    assert_eq!(admin.get("/v1/users?email=none@acme.example").await.ids(), Vec::<String>::new());

    // Several records by id: each once, in the order first named.
    let (customer, ids) = filled(&app, &admin, 3).await;
    let path = format!("/v1/conversations/{0},{1},{0},{2},{3}", ids[2], ids[0], ids[1].to_uppercase(), ids[1]);
    let asked = [ids[2].clone(), ids[0].clone(), ids[1].clone()];
    assert_eq!(admin.get(&path).await.ids(), asked);
    assert_eq!(walk(&admin, &format!("{path}?pageSize=2"), "next").await, [asked[..2].to_vec(), asked[2..].to_vec()]);
    assert_eq!(admin.get(&format!("/v1/users/{user},{user}")).await.ids(), [user.as_str()]);
    let same = vec![ids[0].as_str(); 101].join(",");
    assert_eq!(admin.get(&format!("/v1/conversations/{same}")).await.ids(), [ids[0].as_str()]);
    let many: Vec<String> = (0..101).map(|n| format!("{}{n:03x}", &customer[..21])).collect();
    let reply = admin.get(&format!("/v1/conversations/{}", many.join(","))).await;
    assert_eq!(reply.error(), (400, "bad_request".into(), "id".into()), "more than a hundred");
});

on_both_engines!(lists_are_sorted_by_word_or_by_attribute, |app| async move {
    let admin = app.admin().await;
    let (_, ids) = filled(&app, &admin, 3).await;
    for id in &ids {
        app.clock.advance(1000);
        admin.message(id, json!({})).await;
    }
    for list in ["/v1/conversations", "/v1/messages"] {
        let oldest_first = admin.get(list).await.ids();
        let mut newest_first = oldest_first.clone();
        newest_first.reverse();
        for (sort, expected) in [
            ("asc", &oldest_first),
            ("createdAt", &oldest_first),
            ("desc", &newest_first),
            ("-createdAt", &newest_first),
        ] {
            let first = format!("{list}?page=1&pageSize=2&sort={sort}");
            assert_eq!(walk(&admin, &first, "next").await.concat(), *expected, "{sort}");
            let links = admin.get(&first).await.ok()["links"].clone();
            assert_eq!(links["self"], first, "as it was given");
            assert!(links["next"].as_str().unwrap().contains(&format!("&sort={sort}&cursor=")), "{links}");
        }
        for wrong in ["-updated_at", "updatedat", "--createdAt", "-desc", "name"] {
            let reply = admin.get(&format!("{list}?sort={wrong}")).await;
            assert_eq!(reply.error(), (400, "bad_request".into(), "sort".into()), "{wrong}");
        }
    }
});

on_both_engines!(lists_by_change_follow_what_was_changed_last, |app| async move {
    let admin = app.admin().await;
    let (customer, conversations) = filled(&app, &admin, 5).await;
    let mut messages = Vec::new();
    for n in 0..5 {
        app.clock.advance(1000);
        messages.push(admin.message(&conversations[0], json!({ "preview": format!("No. {n}") })).await);
    }
    // Changed in an order that is neither that of creation nor its reverse; of the conversations, the first has the messages.
    let (mut messages_changed, mut changed) = (Vec::new(), vec![conversations[0].clone()]);
    for n in [3, 0, 4, 1, 2] {
        app.clock.advance(1000);
        let meta = json!({ "meta": { "n": n } });
        admin.patch(&format!("/v1/messages/{}", messages[n]), meta).await.ok();
        messages_changed.push(messages[n].clone());
    }
    for n in [2, 4, 1, 3] {
        app.clock.advance(1000);
        admin.patch(&format!("/v1/conversations/{}", conversations[n]), json!({ "name": "again" })).await.ok();
        changed.push(conversations[n].clone());
    }
    let of_conversation = format!("/v1/conversations/{}/messages", conversations[0]);
    let of_customer = format!("/v1/customers/{customer}/messages");
    for (list, changed) in [
        (path(&customer), &changed),
        ("/v1/conversations".into(), &changed),
        ("/v1/messages".into(), &messages_changed),
        (of_conversation, &messages_changed),
        (of_customer, &messages_changed),
    ] {
        let mut newest_first = changed.clone();
        newest_first.reverse();
        for (sort, expected) in [("updatedAt", changed), ("-updatedAt", &newest_first)] {
            let first = format!("{list}?page=1&pageSize=2&sort={sort}");
            let pages = walk(&admin, &first, "next").await;
            assert_eq!(pages.concat(), *expected, "{first}");
            let by_number: Vec<String> = (admin.get(&format!("{list}?page=2&pageSize=2&sort={sort}")).await).ids();
            assert_eq!(by_number, expected[2..4], "{first}");
            // A cursor of one order means nothing in another.
            let next = admin.get(&first).await.json()["links"]["next"].as_str().unwrap().to_owned();
            for other in [next.replace(sort, "createdAt"), next.replace(&format!("&sort={sort}"), "")] {
                assert_eq!(admin.get(&other).await.error(), (400, "bad_request".into(), "cursor".into()), "{other}");
            }
        }
        for wrong in ["-name", "updated_at"] {
            let reply = admin.get(&format!("{list}?sort={wrong}")).await;
            assert_eq!(reply.error(), (400, "bad_request".into(), "sort".into()), "{list} {wrong}");
        }
    }
    let since =
        admin.attributes(&format!("/v1/conversations/{}", changed[3])).await["updatedAt"].as_str().unwrap().to_owned();
    let listed = admin.get(&format!("{}?fromDate={since}&sort=-updatedAt", path(&customer))).await.ids();
    assert_eq!(listed, [changed[4].clone(), changed[3].clone()]);
});

on_both_engines!(a_conversation_has_no_attachments_to_list_yet, |app| async move {
    let admin = app.admin().await;
    let (_, ids) = filled(&app, &admin, 1).await;
    admin.message(&ids[0], json!({ "attachments": ["58228e05d4e96711004eccb7"] })).await;
    let path = format!("/v1/conversations/{}/attachments", ids[0]);
    let own = format!("{path}?page=1&pageSize=100");
    let expected = json!({
        "meta": { "pageSize": 100, "page": 1 }, "data": [],
        "links": { "self": own, "first": own, "prev": null, "next": null },
    });
    assert_eq!(admin.get(&path).await.ok(), expected);
    admin.delete(&format!("/v1/conversations/{}", ids[0])).await;
    assert_eq!(admin.get(&path).await.error(), (404, "not_found".into(), "id".into()));
});

on_both_engines!(a_filter_given_again_counts_as_given_last, |app| async move {
    let admin = app.admin().await;
    let mut ids = Vec::new();
    for _ in 0..4 {
        ids.push(admin.customer().await);
        app.clock.advance(60_000);
    }
    let at = |minute: u32| format!("2026-10-24T09:{minute:02}:00.000Z");
    let gte = |minute: u32| format!("filter[createdAt][gte]={}", at(minute));
    assert_eq!(admin.get(&format!("/v1/customers?{}&{}", gte(3), gte(1))).await.ids(), ids[1..]);
    let emptied = format!("/v1/customers?{}&filter[createdAt][gte]=", gte(3));
    assert_eq!(admin.get(&emptied).await.ids(), ids, "an empty value is none");

    let many = vec!["filter[createdAt][gt]=2027-01-01"; 99].join("&");
    let reply = admin.get(&format!("/v1/customers?{many}&filter[createdAt][gt]={}", at(0))).await;
    assert_eq!(reply.ids(), ids[1..]);
    let link = reply.json()["links"]["self"].as_str().unwrap().to_owned();
    assert_eq!(link.matches("filter").count(), 1, "{link}");
    assert_eq!(admin.get(&link).await.ids(), ids[1..], "the link says the same");

    // However they are ordered it is the same list, and its cursors are the same.
    let all = [
        "createdAt][gte",
        "createdAt][gt",
        "createdAt][lte",
        "createdAt][lt",
        "updatedAt][gte",
        "updatedAt][gt",
        "updatedAt][lte",
        "updatedAt][lt",
    ]
    .map(|name| format!("filter[{name}]={}", if name.contains("][g") { at(0) } else { at(3) }));
    let reversed: Vec<_> = all.iter().rev().cloned().collect();
    let one = admin.get(&format!("/v1/customers?pageSize=1&{}", all.join("&"))).await.ok();
    let other = admin.get(&format!("/v1/customers?pageSize=1&{}", reversed.join("&"))).await.ok();
    assert_eq!(one, other);
    assert_eq!(one["meta"]["total"], 2, "all eight hold");
    assert_eq!(admin.get(one["links"]["next"].as_str().unwrap()).await.ids(), ids[2..3]);

    for (wrong, name) in [
        ("filter[createdAt][gte]=soon", "filter[createdAt][gte]"),
        ("filter[createdAt][gte]=2026-01-01&filter[createdAt][gte]=soon", "filter[createdAt][gte]"),
        ("filter[createdAt][eq]=2026-01-01", "filter[createdAt][eq]"),
        ("filter[name][gte]=x", "filter[name][gte]"),
    ] {
        let reply = admin.get(&format!("/v1/customers?{wrong}")).await;
        assert_eq!(reply.error(), (400, "bad_request".into(), name.into()), "{wrong}");
    }
});

on_both_engines!(the_published_operation_gives_the_same_rows_in_its_own_form, |app| async move {
    let admin = app.admin().await;
    let (customer, ids) = filled(&app, &admin, 5).await;
    admin.message(&ids[1], json!({ "direction": "in", "preview": "Hello", "meta": { "from": "a@b.example" } })).await;
    let reader = app.actor(&["org.user.conversation.read"]).await;

    let operations = reader.get("/v1/operations").await.ok()["data"].clone();
    let operation =
        operations.as_array().unwrap().iter().find(|one| one["key"] == "get-conversations-by-customer").unwrap();
    let validator = jsonschema::validator_for(&operation["output"]).unwrap();
    assert_eq!(operation["roles"]["any"][0]["legacy"], "org.user.conversation.read");

    let run = "/v1/operations/get-conversations-by-customer/run";
    let answer = reader.post(run, json!({ "parameters": { "id": customer } })).await.ok();
    assert!(
        validator.is_valid(&answer),
        "{:?}",
        validator.iter_errors(&answer).map(|e| e.to_string()).collect::<Vec<_>>()
    );
    let rest = reader.get(&path(&customer)).await.ok();
    let listed: Vec<_> = answer["data"].as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap()).collect();
    assert_eq!(listed, ids.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(answer["meta"], json!({ "pageSize": "100", "page": "1" }));
    assert_eq!(answer["links"]["next"], "");
    assert_eq!(answer["links"]["self"], rest["links"]["self"]);
    let (row, rest_row) = (&answer["data"][1]["attributes"], &rest["data"][1]["attributes"]);
    assert_eq!(row["messageCount"], "1");
    assert_eq!(row["channels"], json!(["email"]), "the one real array");
    assert_eq!(row["tags"], "[]");
    let last: Value = serde_json::from_str(row["lastMessageIn"].as_str().unwrap()).unwrap();
    assert_eq!(last, rest_row["lastMessageIn"]);
    assert_eq!(answer["data"][0]["relationships"]["org"], rest["data"][0]["relationships"]["org"]);

    let page = reader.post(run, json!({ "parameters": { "id": customer, "page": "2", "pageSize": 2 } })).await.ok();
    assert!(validator.is_valid(&page));
    assert_eq!(page["data"][0]["id"], ids[2]);
    assert_eq!(page["meta"], json!({ "pageSize": "2", "page": "2" }));
    let since = app.now().to_string();
    let none = reader.post(run, json!({ "parameters": { "id": customer, "fromDate": "2031-01-01" } })).await.ok();
    assert_eq!(none["data"], json!([]), "{since}");

    for (body, place) in [
        (json!({}), "/parameters"),
        (json!({ "parameters": {} }), "/parameters/id"),
        (json!({ "parameters": { "id": "x" } }), "/parameters/id"),
        (json!({ "parameters": { "id": customer, "page": 0 } }), "/parameters/page"),
        (json!({ "parameters": { "id": customer, "fromDate": "soon" } }), "/parameters/fromDate"),
        (json!({ "parameters": { "id": customer, "sort": "x" } }), "/parameters/sort"),
    ] {
        assert_eq!(reader.post(run, body.clone()).await.error(), (400, "bad_request".into(), place.into()), "{body}");
    }
    let unknown = json!({ "parameters": { "id": "671a2c40a3f1b20012c4dfff" } });
    assert_eq!(reader.post(run, unknown.clone()).await.error().0, 404);
    assert_eq!(reader.post("/v1/operations/nothing/run", unknown.clone()).await.error().0, 404);
    let customer_reader = app.actor(&["org.user.customer.read"]).await;
    assert_eq!(customer_reader.post(run, unknown).await.error().0, 403);
});

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// Whatever the instants, page size and reader: the links give every row once, in order, forwards and backwards.
    #[test]
    fn any_list_is_walked_whole(minutes in proptest::collection::vec(0u32..6, 1..25), size in 1usize..7) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let app = TestApp::new(Backend::Sqlite).await;
            let admin = app.admin().await;
            let customer = admin.customer().await;
            let mut rows = Vec::new();
            for minute in &minutes {
                let at = format!("2026-01-01T00:0{minute}:00.000Z");
                rows.push((at.clone(), admin.conversation(&customer, json!({ "createdAt": at })).await));
            }
            rows.sort_by(|a, b| b.cmp(a));
            let expected: Vec<_> = rows.into_iter().map(|(_, id)| id).collect();
            let first = format!("{}?pageSize={size}", path(&customer));
            let pages = walk(&admin, &first, "next").await;
            assert_eq!(pages.concat(), expected);
            assert!(pages.iter().rev().skip(1).all(|page| page.len() == size), "only the last page is short");
            let mut last = first;
            while let Some(next) = admin.get(&last).await.json()["links"]["next"].as_str() {
                last = next.to_owned();
            }
            let mut back = walk(&admin, &last, "prev").await;
            back.reverse();
            assert_eq!(back.concat(), expected);
        });
    }
}
