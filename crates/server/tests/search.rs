//! Searches: what they find, in which form, and what becomes of those who copy an org out with them.

use std::collections::BTreeMap;

use konverse_api::ApiSettings;
use konverse_domain::{Settings, Walls};
use konverse_testkit::{Actor, Reply, TestApp, on_both_engines};
use serde_json::{Value, json};

const SEARCH: &str = "/v1/customers/search";

/// Asks, and again while the index of a new org is being built, as the answer says.
async fn ask(actor: &Actor, path: &str, body: Value) -> Reply {
    loop {
        let reply = actor.post(path, body.clone()).await;
        if reply.status != 503 || !reply.headers.contains_key("retry-after") {
            return reply;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

/// What a body finds, by name in `names`.
async fn found(actor: &Actor, names: &BTreeMap<String, &'static str>, body: Value) -> Vec<&'static str> {
    let ids = ask(actor, SEARCH, body).await.ids();
    ids.iter().map(|id| names.get(id).copied().unwrap_or("?")).collect()
}

fn sorted(mut names: Vec<&'static str>) -> Vec<&'static str> {
    names.sort_unstable();
    names
}

/// Moves the clock to a time.
fn at(app: &TestApp, time: &str) {
    let wanted: konverse_model::Instant = time.parse().expect("a time");
    assert!(wanted >= app.now(), "the clock only goes forward: {time} is before {}", app.now());
    app.clock.advance(wanted.since(app.now()));
}

on_both_engines!(the_sixteen_examples_of_the_contract, |app| async move {
    let app = app.with_search();
    let admin = app.admin().await;
    let mut names = BTreeMap::new();

    at(&app, "2027-09-01T08:00:00.000Z");
    let jane = json!({ "name": "Jane Doe", "emails": [{ "email": "Jane@ACME.example" }], "lastSeenAt": "2027-09-20T23:59:59.999Z",
        "custom": { "loyaltyTierStr": "Gold" } });
    let jane = admin.post("/v1/customers", jane).await.created_id();
    let john = json!({ "name": "John Roe", "emails": [{ "email": "john@acme.example.org" }],
        "lastSeenAt": "2027-09-21T00:00:00.000Z", "custom": { "loyaltyTierStr": "gold" } });
    let john = admin.post("/v1/customers", john).await.created_id();
    let jill = json!({ "name": "Jill Poe", "emails": [{ "email": "jill@other.example" }], "lastSeenAt": "2027-01-01T00:00:00.000Z",
        "custom": { "loyaltyTierStr": "silver" } });
    let jill = admin.post("/v1/customers", jill).await.created_id();
    names.extend([(jane.clone(), "jane"), (john.clone(), "john"), (jill.clone(), "jill")]);

    let me = admin.get("/v1/users/current").await.ok()["data"]["id"].clone();
    let team = admin.post("/v1/teams", json!({ "name": "Support", "members": [me] })).await.created_id();
    let tags = json!(["late", "lost"]);
    let mut ids = Vec::new();
    for name in tags.as_array().unwrap() {
        ids.push(admin.post("/v1/tags", json!({ "name": name })).await.created_id());
    }
    let [late, lost] = <[String; 2]>::try_from(ids).unwrap();

    // Done before last week, and during it: Amsterdam's midnight is two hours before that of UTC.
    at(&app, "2027-10-11T21:59:59.000Z");
    let early = admin.conversation(&jill, json!({ "name": "early", "status": "done", "tags": [late] })).await;
    at(&app, "2027-10-11T22:00:00.000Z");
    let closed = admin.conversation(&jill, json!({ "name": "closed", "status": "done", "assignedUsers": [me] })).await;
    // New York's 19th of October is from 4 to 4.
    at(&app, "2027-10-19T03:59:59.999Z");
    let before = admin.conversation(&jane, json!({ "name": "before", "priority": 4, "tags": [lost] })).await;
    at(&app, "2027-10-19T04:00:00.000Z");
    let morning = admin.conversation(&jane, json!({ "name": "morning", "priority": 3, "tags": [late] })).await;
    at(&app, "2027-10-20T03:59:59.999Z");
    let night = admin.conversation(&john, json!({ "name": "night", "priority": 5, "assignedUsers": [me] })).await;
    at(&app, "2027-10-20T04:00:00.000Z");
    let snoozed = json!({ "name": "snoozed" });
    let snoozed = admin.conversation(&john, snoozed).await;
    let snooze =
        json!({ "status": "snoozed", "snooze": { "time": "2027-12-01T00:00:00.000Z", "status": "scheduled" } });
    admin.patch(&format!("/v1/conversations/{snoozed}"), snooze).await.ok();
    names.extend([(early.clone(), "early"), (closed.clone(), "closed"), (before.clone(), "before")]);
    names.extend([(morning.clone(), "morning"), (night.clone(), "night"), (snoozed.clone(), "snoozed")]);

    for (n, (conversation, name, direction, text)) in [
        (&night, "asked", "in", "Please REFUND me, now"),
        (&night, "told", "out", "The refund is on its way"),
        (&morning, "other", "in", "Refunded yet? No."),
    ]
    .into_iter()
    .enumerate()
    {
        at(&app, &format!("2027-10-21T0{n}:00:00.000Z"));
        names.insert(admin.message(conversation, json!({ "direction": direction, "preview": text })).await, name);
    }
    at(&app, "2027-10-22T00:00:00.000Z");
    let note =
        admin.post(&format!("/v1/conversations/{night}/notes"), json!({ "body": "called back" })).await.created_id();
    names.insert(note, "note");
    at(&app, "2027-10-23T00:00:00.000Z");
    assert_eq!(admin.delete(&format!("/v1/conversations/{early}")).await.status, 204);

    // 1. Open and urgent
    let body = json!({"queryContext":"conversation","and":[{"conversation_status":{"equals":"open"}},{"conversation_priority":{"gte":4}}]});
    assert_eq!(sorted(found(&admin, &names, body).await), ["before", "night"]);
    // 2. One customer's conversations, newest first
    let body = json!({"queryContext":"conversation","and":[{"conversation_customer_id":{"equals":jane}}],"sort":[{"conversation_created_at":"desc"}]});
    assert_eq!(found(&admin, &names, body).await, ["morning", "before"]);
    // 3. Unassigned backlog
    let body = json!({"queryContext":"conversation","and":[{"conversation_status":{"in":["open","snoozed"]}},{"conversation_assigned_users":{"not_set":""}}]});
    assert_eq!(sorted(found(&admin, &names, body).await), ["before", "morning", "snoozed"]);
    // 4. Local day in New York
    let body = json!({"queryContext":"conversation","and":[{"conversation_created_at":{"gte":"2027-10-19"}},{"conversation_created_at":{"lte":"2027-10-19"}}],"timeZone":"America/New_York"});
    assert_eq!(sorted(found(&admin, &names, body).await), ["morning", "night"]);
    // 5. UTC instant
    let body =
        json!({"queryContext":"conversation","and":[{"conversation_created_at":{"lte":"2027-10-19T03:59:59.999Z"}}]});
    assert_eq!(sorted(found(&admin, &names, body).await), ["before", "closed"]);
    let body =
        json!({"queryContext":"conversation","and":[{"conversation_created_at":{"lte":"2020-11-20T16:34:00.000Z"}}]});
    assert!(found(&admin, &names, body).await.is_empty());
    // 6. ETL window (Singer)
    let body = json!({"and":[{"message_updated_at":{"gte":"2027-10-21T01:00:00.000000Z"}}],"sort":[{"message_updated_at":"asc"}],"queryContext":"message"});
    assert_eq!(found(&admin, &names, body).await, ["told", "other"]);
    // 7. ETL window (Meltano)
    let body = |from| json!({"and":[{"note_updated_at":{"gt":from}}],"sort":[{"note_updated_at":"asc"}],"queryContext":"note"});
    assert_eq!(found(&admin, &names, body("2023-01-01 00:00:00+00:00")).await, ["note"]);
    assert!(found(&admin, &names, body("2027-10-22 00:00:00+00:00")).await.is_empty());
    // 8. Customers of a mail domain
    let body = json!({"queryContext":"customer","and":[{"customer_email":{"contains":"@acme.example"}}]});
    assert_eq!(sorted(found(&admin, &names, body).await), ["jane", "john"]);
    // 9. Customers with an open conversation, latest message first
    let body = json!({"queryContext":"customer","and":[{"conversation_status":{"equals":"open"}}],"sort":{"customer_last_message_at":"desc"}});
    assert_eq!(found(&admin, &names, body).await, ["jane", "john"]);
    // 10. Custom attribute plus inactivity
    let body = json!({"queryContext":"customer","and":[{"customer_custom_loyaltyTierStr":{"equals":"gold"}},{"customer_last_seen_at":{"lt":"2027-09-21"}}]});
    assert_eq!(found(&admin, &names, body).await, ["jane"]);
    // 11. Either of two tags, not done
    let body = json!({"queryContext":"conversation","or":[{"conversation_tags":{"equals":late}},{"conversation_tags":{"equals":lost}}],"not":[{"conversation_status":{"equals":"done"}}]});
    assert_eq!(sorted(found(&admin, &names, body).await), ["before", "morning"]);
    // 12. Inbound messages that mention a refund
    let body = json!({"queryContext":"message","and":[{"message_body":{"contains":"refund"}},{"message_direction":{"equals":"in"}}]});
    assert_eq!(found(&admin, &names, body).await, ["asked"]);
    // 13. KObjects of one klass: there are none yet
    let body = json!({"queryContext":"kobject_ecomm-order","and":[{"kobject_custom_ecomm-order_orderStatusStr":{"equals":"shipped"}}]});
    assert!(found(&admin, &names, body).await.is_empty());
    // 14. Deleted since, for reconciliation
    let body = json!({"queryContext":"conversation","includeDeleted":true,"and":[{"conversation_updated_at":{"gte":"2027-10-23"}}],"sort":[{"conversation_updated_at":"asc"}]});
    let reply = ask(&admin, SEARCH, body).await;
    assert_eq!(reply.ids(), [early.as_str()]);
    assert_eq!(reply.json()["data"][0]["attributes"]["deleted"], true);
    // 15. Object form with empty or
    let acme = admin.post("/v1/companies", json!({ "name": "Acme" })).await.created_id();
    names.insert(acme.clone(), "acme");
    admin.patch(&format!("/v1/customers/{jane}"), json!({ "company": acme })).await.ok();
    let body = json!({"queryContext":"company","and":{"company_updated_at":{"gte":"2016-01-01"}},"or":[]});
    assert_eq!(found(&admin, &names, body).await, ["acme"]);
    let body = json!({"queryContext":"company","and":{"conversation_name":{"equals":"MORNING"}}});
    assert_eq!(found(&admin, &names, body).await, ["acme"], "over its customer");
    // 16. Done last week by a team
    let body = json!({"queryContext":"conversation","and":[{"conversation_last_done_created_at":{"gte":"2027-10-12"}},{"conversation_last_done_created_by_teams":{"equals":team}}],"timeZone":"Europe/Amsterdam"});
    assert_eq!(found(&admin, &names, body).await, ["closed"]);
});

/// Customers named `No. 0` and so on.
async fn numbered(admin: &Actor, count: usize) -> Vec<String> {
    let mut ids = Vec::new();
    for n in 0..count {
        ids.push(admin.post("/v1/customers", json!({ "name": format!("No. {n}") })).await.created_id());
    }
    ids
}

on_both_engines!(an_answer_has_the_envelope_clients_know, |app| async move {
    let app = app.with_search();
    let admin = app.admin().await;
    numbered(&admin, 5).await;
    let body = json!({ "sort": { "customer_created_at": "asc" } });
    let link = |page: u32| format!("/v1/customers/search?page={page}&pageSize=2");
    let reply = ask(&admin, &link(2), body.clone()).await.ok();
    let meta = json!({ "pageSize": 2, "page": 2, "total": 5, "totalPages": 3, "aggregations": {}, "timed_out": false });
    assert_eq!(reply["meta"], meta);
    let links = json!({ "self": link(2), "first": link(1), "prev": link(1), "next": link(3), "last": link(3) });
    assert_eq!(reply["links"], links);
    let id = reply["data"][0]["id"].as_str().unwrap();
    assert_eq!(
        reply["data"][0],
        admin.get(&format!("/v1/customers/{id}")).await.ok()["data"],
        "rows are whole records"
    );

    let last = ask(&admin, &link(3), body.clone()).await.ok();
    assert_eq!((last["data"].as_array().unwrap().len(), &last["links"]["next"]), (1, &Value::Null));
    let first = ask(&admin, SEARCH, body.clone()).await.ok();
    assert_eq!((&first["meta"]["pageSize"], &first["links"]["prev"]), (&json!(100), &Value::Null));
    assert_eq!(first["links"]["self"], "/v1/customers/search?page=1&pageSize=100");
    let cut = ask(&admin, &format!("{SEARCH}?pageSize=9999"), body.clone()).await.ok();
    assert_eq!(cut["meta"]["pageSize"], 500);
    let totals = ask(&admin, &format!("{SEARCH}?pageSize=0"), body.clone()).await.ok();
    assert_eq!(
        (&totals["data"], &totals["meta"]["total"], &totals["links"]["next"]),
        (&json!([]), &json!(5), &Value::Null)
    );
    let capped = ask(&admin, &format!("{SEARCH}?pageSize=2&trackTotalHits=3"), body.clone()).await.ok();
    assert_eq!((&capped["meta"]["total"], &capped["meta"]["totalPages"]), (&json!(3), &json!(2)));
    assert_eq!(ask(&admin, &format!("{SEARCH}?trackTotalHits=true"), body.clone()).await.ok()["meta"]["total"], 5);
    let ids = ask(&admin, &format!("{SEARCH}?idsOnly=true&pageSize=2"), body.clone()).await.ok();
    assert_eq!(ids["data"][0], json!({ "type": "customer", "id": first["data"][0]["id"] }));
    assert_eq!(ids["links"]["next"], "/v1/customers/search?page=2&pageSize=2&idsOnly=true");
    let archive = json!({ "and": [{ "customer_any_text_new": { "contains": "no 3" } }] });
    let archive = ask(&admin, "/v1/customers/archive/search", archive).await.ok();
    assert_eq!(
        (archive["meta"]["total"].clone(), archive["data"][0]["attributes"]["name"].clone()),
        (json!(1), json!("No. 3"))
    );
    assert_eq!(archive["links"]["self"], "/v1/customers/archive/search?page=1&pageSize=100");
    // What is only read may be asked for without a word.
    assert_eq!(ask(&admin, SEARCH, json!({})).await.ok()["meta"]["total"], 5);
});

on_both_engines!(what_is_wrong_is_refused_by_name, |app| async move {
    let app = app.with_search();
    let admin = app.admin().await;
    let error = async |path: &str, body: Value| ask(&admin, path, body).await.error();
    let wrong = |source: &str| (400, "bad_request".to_owned(), source.to_owned());
    for (query, source) in [
        ("page=0", "page"),
        ("page=x", "page"),
        ("pageSize=-1", "pageSize"),
        ("idsOnly=maybe", "idsOnly"),
        ("trackTotalHits=-1", "trackTotalHits"),
        ("cursor=abc", "cursor"),
        ("page=99999999999999999999", "page"),
    ] {
        assert_eq!(error(&format!("{SEARCH}?{query}"), json!({})).await, wrong(source), "{query}");
    }
    assert_eq!(error(SEARCH, json!({ "limit": 10 })).await, wrong("/limit"));
    assert_eq!(
        error(SEARCH, json!({ "and": [{ "customer_nmae": { "equals": "x" } }] })).await,
        wrong("/and/0/customer_nmae")
    );
    let narrow = json!({ "and": [{ "customer_name": { "equals": "x" } }] });
    assert_eq!(error("/v1/customers/archive/search", narrow).await, wrong("/and/0/customer_name"));

    // Behind the walls, pages end with the hundredth; its link to the next one is what walkers look for.
    let walled = Settings { search_walls: Walls::Vendor, ..*app.domain.settings() };
    numbered(&admin, 101).await;
    let behind = admin.at(&app.searching_again_with(walled));
    assert_eq!(ask(&behind, &format!("{SEARCH}?page=101&pageSize=1"), json!({})).await.error(), wrong("page"));
    let hundredth = ask(&behind, &format!("{SEARCH}?page=100&pageSize=1"), json!({})).await.ok();
    assert_eq!(hundredth["links"]["next"], "/v1/customers/search?page=101&pageSize=1");
    assert_eq!(hundredth["meta"]["totalPages"], 101);
    assert_eq!(ask(&admin, &format!("{SEARCH}?page=101&pageSize=1"), json!({})).await.ids().len(), 1);
    // Two years later nothing of it is found but in the archive.
    app.clock.advance(2 * 366 * 24 * 3_600_000);
    let renewed = app.searching_again_with(walled);
    let later = app.admin().await.at(&renewed);
    assert_eq!(ask(&later, SEARCH, json!({})).await.ok()["meta"]["total"], 0);
    assert_eq!(ask(&later, "/v1/customers/archive/search", json!({})).await.ok()["meta"]["total"], 101);
});

on_both_engines!(only_who_may_search_does_and_only_in_their_org, |app| async move {
    let app = app.with_search();
    let admin = app.admin().await;
    admin.post("/v1/customers", json!({ "name": "Secret" })).await.created_id();
    let other = app.domain.create_org("other").await.expect("another org");
    let stranger = app.actor_of(&other, &["org"]).await;
    let body = json!({ "includeDeleted": true });
    let answer = ask(&stranger, SEARCH, body.clone()).await;
    assert_eq!(answer.ok()["meta"]["total"], 0);
    assert!(!String::from_utf8_lossy(&answer.body).contains("Secret"));
    let reader = app.actor(&["org.user.customer.read", "org.permission.customer.read"]).await;
    assert_eq!(ask(&reader, SEARCH, body.clone()).await.status, 403);
    assert_eq!(app.nobody().post(SEARCH, body.clone()).await.status, 401);
    for role in ["org.user.search.read", "org.admin.search.read", "org.permission.search_preview.create"] {
        assert_eq!(ask(&app.actor(&[role]).await, SEARCH, body.clone()).await.ok()["meta"]["total"], 1, "{role}");
    }
    let off = admin.at(&app.again_with(Settings::default(), ApiSettings::default()));
    assert_eq!(ask(&off, SEARCH, body).await.error().0, 503);
});

/// A walker's page: its rows (id and `updatedAt`), and whether there is a next one, and which.
async fn page(actor: &Actor, path: &str, body: &Value) -> (Vec<(String, String)>, Option<String>) {
    let answer = ask(actor, path, body.clone()).await.ok();
    let row = |row: &Value| {
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        (text(&row["id"]), text(&row["attributes"]["updatedAt"]))
    };
    let rows = answer["data"].as_array().expect("rows").iter().map(row).collect();
    (rows, answer["links"]["next"].as_str().map(str::to_owned))
}

fn since(operator: &str, time: &str) -> Value {
    json!({
        "and": [{ "message_updated_at": { operator: time } }],
        "sort": [{ "message_updated_at": "asc" }],
        "queryContext": "message",
    })
}

/// Messages, some of which share a moment: so many, as far as the store lets them.
async fn many_messages(app: &TestApp, admin: &Actor, count: usize, together: usize) -> Vec<String> {
    let mut ids = Vec::new();
    let customer = admin.customer().await;
    let conversation = admin.conversation(&customer, json!({ "name": "long" })).await;
    for n in 0..count {
        if n % together == 0 {
            app.clock.advance(1);
        }
        ids.push(admin.message(&conversation, json!({ "direction": "in", "preview": format!("No. {n}") })).await);
    }
    app.clock.advance(1_000);
    ids
}

/// Writes as long as a walk goes on: every message is changed some time, so that it moves to the end.
async fn change_meanwhile<T>(admin: &Actor, ids: &[String], walk: impl Future<Output = T>) -> T {
    let writes = async {
        for id in ids.iter().cycle().step_by(7) {
            admin.patch(&format!("/v1/messages/{id}"), json!({ "custom": { "seenBool": true } })).await.ok();
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        done = walk => done,
        () = writes => unreachable!("it writes for ever"),
    }
}

on_both_engines!(who_restarts_at_page_one_from_the_last_time_seen_reads_everything, |app| async move {
    let app = app.with_search();
    let admin = app.admin().await;
    let ids = many_messages(&app, &admin, 600, 600).await;
    let walk = async |limit: usize| {
        let mut seen = std::collections::BTreeSet::new();
        let mut from = "2019-01-01T00:00:00.000000Z".to_owned();
        for _ in 0..limit {
            let (rows, next) = page(&admin, &format!("{SEARCH}?pageSize=50"), &since("gte", &from)).await;
            let Some((_, last)) = rows.last() else { panic!("a page with nothing in it, from {from}") };
            from.clone_from(last);
            seen.extend(rows.into_iter().map(|(id, _)| id));
            if next.is_none() {
                return seen;
            }
        }
        panic!("the walk does not end");
    };
    assert_eq!(walk(40).await, ids.iter().cloned().collect());
    let all = change_meanwhile(&admin, &ids[..40], walk(400)).await;
    assert_eq!(all, ids.iter().cloned().collect());
});

on_both_engines!(who_follows_the_links_reads_everything_and_nothing_twice, |app| async move {
    let app = app.with_search();
    let admin = app.admin().await;
    let ids = many_messages(&app, &admin, 600, 600).await;
    let walk = async |size: u32| {
        let mut seen = Vec::new();
        let mut next = Some(format!("{SEARCH}?pageSize={size}"));
        while let Some(path) = next {
            let (rows, link) = page(&admin, &path, &since("gte", "2019-01-01")).await;
            assert!(!rows.is_empty(), "no page in the middle is empty");
            assert!(seen.len() < 100_000, "the links go round in a circle");
            seen.extend(rows);
            next = link;
        }
        seen
    };
    for size in [7, 50] {
        let mut seen: Vec<_> = walk(size).await.into_iter().map(|(id, _)| id).collect();
        seen.sort_unstable();
        let mut expected = ids.clone();
        expected.sort_unstable();
        assert_eq!(seen, expected, "each once, in pages of {size}");
    }
    // While others write: each once in each of its states, and every one of them.
    let mut seen = change_meanwhile(&admin, &ids[..40], walk(25)).await;
    let count = seen.len();
    let all: std::collections::BTreeSet<_> = seen.iter().map(|(id, _)| id.clone()).collect();
    assert_eq!(all, ids.iter().cloned().collect());
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), count, "nothing twice at the same time");
});

on_both_engines!(who_jumps_after_page_a_hundred_reads_everything, |app| async move {
    let app = app.with_search();
    let admin = app.admin().await;
    let ids = many_messages(&app, &admin, 1_300, 4).await;
    let walled = Settings { search_walls: Walls::Vendor, ..*app.domain.settings() };
    let behind = admin.at(&app.searching_again_with(walled));
    let mut seen = std::collections::BTreeSet::new();
    let (mut from, mut jumps) = ("2019-01-01 00:00:00+00:00".to_owned(), 0);
    let first = format!("{SEARCH}?page=1&pageSize=7");
    let mut path = first.clone();
    loop {
        let (rows, next) = page(&behind, &path, &since("gt", &from)).await;
        seen.extend(rows.iter().map(|(id, _)| id.clone()));
        let Some(next) = next else { break };
        path = next;
        if path == format!("{SEARCH}?page=101&pageSize=7") {
            let (_, last) = rows.last().expect("the hundredth page has rows");
            from.clone_from(last);
            path.clone_from(&first);
            jumps += 1;
            assert!(jumps < 10, "it goes round in a circle");
        }
    }
    assert_eq!(seen.len(), ids.len());
    assert!(jumps > 0, "the wall was met");
});

const SAVED: &str = "/v1/customers/searches";

/// Runs a saved search as a client does that polls one: with an empty body, and a query of which not all is for a search.
async fn run(actor: &Actor, id: &str, query: &str) -> Reply {
    let source = "source=current-search-poller&client-request-id=93a57a32-f983-436c-917d-02bc337d9717";
    ask(actor, &format!("{SAVED}/{id}/execution?{query}&{source}"), json!({})).await
}

on_both_engines!(a_saved_search_finds_what_it_asks_for_each_time, |app| async move {
    let app = app.with_search();
    let admin = app.admin().await;
    let ids = numbered(&admin, 3).await;
    let mut conversations = Vec::new();
    for owner in [0, 0, 1] {
        app.clock.advance(1);
        conversations.push(admin.conversation(&ids[owner], json!({ "name": "late" })).await);
    }
    let query = json!({ "queryContext": "conversation", "and": [{ "conversation_status": { "equals": "open" } }],
        "sort": [{ "conversation_created_at": "asc" }] });
    let saved = admin.post(SAVED, json!({ "name": "Open", "query": query })).await.created();
    let id = saved["data"]["id"].as_str().expect("an id").to_owned();
    assert_eq!(saved["data"]["type"], "search");
    assert_eq!(saved["data"]["links"]["self"], format!("{SAVED}/{id}"));
    assert_eq!(admin.get(SAVED).await.ok()["data"][0], saved["data"]);
    assert_eq!(admin.get(&format!("{SAVED}/{id}")).await.ok()["data"]["attributes"]["query"], query);

    // What a poller of totals reads, and what one of rows does.
    let totals =
        run(&admin, &id, "page=1&pageSize=0&include=customers%2CsatisfactionResponse&trackTotalHits=10000").await;
    let totals = totals.ok();
    assert_eq!((&totals["meta"]["total"], &totals["data"], &totals["included"]), (&json!(3), &json!([]), &json!([])));
    let link =
        |page: u32| format!("{SAVED}/{id}/execution?page={page}&pageSize=2&include=customers,satisfactionResponse");
    let first =
        run(&admin, &id, "page=1&pageSize=2&include=customers%2CsatisfactionResponse&trackTotalHits=10000").await;
    assert_eq!(first.ids(), conversations[..2]);
    let first = first.ok();
    assert_eq!(first["included"], json!([admin.get(&format!("/v1/customers/{}", ids[0])).await.ok()["data"]]));
    assert_eq!(first["links"]["next"], link(2));
    let second = ask(&admin, &link(2), json!({})).await;
    assert_eq!((second.ids(), &second.ok()["included"][0]["id"]), (conversations[2..].to_vec(), &json!(ids[1])));
    // Without a body, and without what comes along.
    let plain = admin.send(axum::http::Method::POST, &format!("{SAVED}/{id}/execution"), None, &[]).await;
    assert_eq!(plain.ids(), conversations);
    assert_eq!(plain.ok().get("included"), None);
    assert_eq!(run(&admin, &id, "include=satisfactionResponse").await.ok()["included"], json!([]));
    assert_eq!(
        run(&admin, &id, "include=customer").await.error(),
        (400, "bad_request".to_owned(), "include".to_owned())
    );

    // It asks anew each time, and for what is saved now, in every process.
    admin.patch(&format!("/v1/conversations/{}", conversations[0]), json!({ "status": "done" })).await.ok();
    assert_eq!(run(&admin, &id, "").await.ids(), conversations[1..]);
    let path = format!("{SAVED}/{id}");
    admin.put(&path, json!({ "query": { "queryContext": "conversation", "not": { "conversation_status": { "equals": "open" } } } })).await.ok();
    assert_eq!(admin.attributes(&path).await["name"], "Open");
    assert_eq!(run(&admin, &id, "").await.ids(), conversations[..1]);
    assert_eq!(admin.delete(&path).await.status, 204);
    let gone = (404, "not_found".to_owned(), "id".to_owned());
    assert_eq!(run(&admin, &id, "").await.error(), gone);
    assert_eq!(admin.get(&path).await.error(), gone);
    assert!(admin.get(SAVED).await.ids().is_empty());
    admin.put(&path, json!({ "deleted": false })).await.ok();
    assert_eq!(run(&admin, &id, "").await.ids(), conversations[..1]);
    // A deleted customer comes along where deleted records count, and says so.
    assert_eq!(admin.delete(&format!("/v1/customers/{}", ids[0])).await.status, 204);
    assert!(run(&admin, &id, "include=customers").await.ids().is_empty());
    admin.put(&path, json!({ "query": { "queryContext": "conversation", "includeDeleted": true } })).await.ok();
    let included = run(&admin, &id, "include=customers").await.ok()["included"].clone();
    let deleted = included.as_array().unwrap().iter().map(|customer| customer["attributes"]["deleted"] == true);
    assert_eq!(deleted.filter(|deleted| *deleted).count(), 1);
    assert_eq!(included.as_array().unwrap().len(), 2);
});

on_both_engines!(a_search_that_cannot_be_run_is_not_saved, |app| async move {
    let app = app.with_search();
    let admin = app.admin().await;
    let good = json!({ "name": "Good", "query": { "and": { "customer_name": { "equals": "Jane" } } } });
    let path = format!("{SAVED}/{}", admin.post(SAVED, good.clone()).await.created_id());
    let wrong = |pointer: &str| (400, "bad_request".to_owned(), pointer.to_owned());
    for (query, pointer) in [
        (json!({ "and": [{ "customer_nmae": { "equals": "x" } }] }), "/query/and/0/customer_nmae"),
        (json!({ "limit": 10 }), "/query/limit"),
        (json!({ "queryContext": "parcel" }), "/query/queryContext"),
        (json!([]), "/query"),
        (json!(null), "/query"),
    ] {
        let body = json!({ "name": "Bad", "query": query });
        assert_eq!(admin.post(SAVED, body.clone()).await.error(), wrong(pointer));
        assert_eq!(admin.put(&path, body).await.error(), wrong(pointer));
    }
    for (name, pointer) in [(json!(""), "/name"), (json!("x".repeat(256)), "/name"), (json!(null), "/name")] {
        assert_eq!(admin.post(SAVED, json!({ "name": name, "query": {} })).await.error(), wrong(pointer));
    }
    assert_eq!(admin.post(SAVED, json!({ "name": "x" })).await.error(), wrong("/query"));
    let attributes = admin.attributes(&path).await;
    assert_eq!((&attributes["name"], &attributes["query"]), (&good["name"], &good["query"]), "nothing was changed");
});

on_both_engines!(a_saved_search_tells_nobody_more_than_a_search_would, |app| async move {
    let app = app.with_search();
    let admin = app.admin().await;
    let secret = json!({ "properties": { "ssnStr": { "sensitive": { "enabled": true } } } });
    admin.put("/v1/metadata/customer", secret).await.ok();
    let jane = json!({ "name": "Jane", "custom": { "ssnStr": "078-05-1120" } });
    let jane = admin.post("/v1/customers", jane).await.created_id();
    let conversation = admin.conversation(&jane, json!({ "name": "late" })).await;
    let save = async |query: Value| admin.post(SAVED, json!({ "name": "x", "query": query })).await.created_id();
    let all = save(json!({ "queryContext": "conversation" })).await;
    let asking = save(json!({ "and": { "customer_custom_ssnStr": { "equals": "078-05-1120" } } })).await;

    let runner = app.actor(&["org.permission.search_execution.create"]).await;
    let answer = run(&runner, &all, "include=customers").await;
    assert_eq!((answer.ids(), &answer.ok()["included"][0]["id"]), (vec![conversation], &json!(jane)));
    assert!(!String::from_utf8_lossy(&answer.body).contains("078-05-1120"));
    assert!(String::from_utf8_lossy(&run(&admin, &all, "include=customers").await.body).contains("078-05-1120"));
    assert_eq!(run(&runner, &asking, "").await.status, 400);
    assert_eq!(run(&admin, &asking, "").await.ids(), [jane]);

    // Who runs saved searches may read which there are; searching and saving ask for more.
    assert_eq!(runner.get(SAVED).await.ids().len(), 2);
    assert_eq!(ask(&runner, SEARCH, json!({})).await.status, 403);
    let path = format!("{SAVED}/{all}");
    assert_eq!(runner.post(SAVED, json!({ "name": "x", "query": {} })).await.status, 403);
    assert_eq!(runner.put(&path, json!({ "name": "y" })).await.status, 403);
    assert_eq!(runner.delete(&path).await.status, 403);
    let reader = app.actor(&["org.user.conversation.read", "org.permission.search.read"]).await;
    assert_eq!(run(&reader, &all, "").await.status, 403);
    assert_eq!(run(&app.actor(&["org.user.search.read"]).await, &all, "").await.ids().len(), 1);

    let other = app.domain.create_org("other").await.expect("another org");
    let stranger = app.actor_of(&other, &["org"]).await;
    let unknown = (404, "not_found".to_owned(), "id".to_owned());
    assert_eq!(run(&stranger, &all, "").await.error(), unknown);
    assert_eq!(stranger.put(&path, json!({ "name": "y" })).await.error(), unknown);
    assert!(stranger.get(SAVED).await.ids().is_empty());
});
