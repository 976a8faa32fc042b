//! What is large, or much at once, is taken and shown in bounded memory. The memory itself is not measured: the bytes are
//! counted that are read at once, or written, or answered.

use std::sync::Arc;

use konverse_api::ApiSettings;
use konverse_domain::{Domain, Ids, ImportKind, Importer, RowOutcome, Settings};
use konverse_testkit::{Actor, Interposed, Reply, TestApp, on_both_engines, seeded};
use serde_json::{Map, Value, json};

const MIB: usize = 1 << 20;

/// Custom attributes of about so many times ten kilobytes.
fn texts(count: usize) -> Map<String, Value> {
    (0..count).map(|n| (format!("k{n}Txt"), json!("x".repeat(10_000)))).collect()
}

fn id(kind: char, n: usize) -> String {
    format!("58228e05d4e9671100{kind}0{n:04x}")
}

/// Rules over a store that counts, and an import by them.
async fn counted(app: &TestApp) -> (Arc<Interposed>, Importer) {
    let store = Interposed::new(app.store.store());
    let domain = Domain::new(store.clone(), app.clock.clone(), Ids::new(seeded(77)), Settings::default()).shared();
    let importer = Importer::new(&domain, app.org.id).await.expect("an import");
    (store, importer)
}

async fn outcomes(importer: &mut Importer, kind: ImportKind, rows: &[Value]) -> Vec<RowOutcome> {
    let rows = rows.iter().map(|row| kind.read(&row.to_string()).expect("a row")).collect();
    importer.take(kind, rows).await.expect("the rows are taken")
}

async fn import(importer: &mut Importer, kind: ImportKind, rows: &[Value]) {
    let outcomes = outcomes(importer, kind, rows).await;
    assert!(outcomes.iter().all(|outcome| *outcome == RowOutcome::Created), "{outcomes:?}");
}

fn message(n: usize, conversation: &str, meta: Value) -> Value {
    json!({
        "id": id('f', n), "conversation": conversation, "channel": "chat", "app": "x", "direction": "in", "meta": meta,
        "createdAt": format!("2024-01-01T{:02}:{:02}:00.000Z", n / 60 % 24, n % 60),
    })
}

/// The ids of every page, following a link until there are no more.
async fn walk(actor: &Actor, first: &str, link: &str) -> Vec<Vec<String>> {
    let (mut pages, mut next) = (Vec::new(), Some(first.to_owned()));
    while let Some(path) = next {
        let reply = actor.get(&path).await;
        pages.push(reply.ids());
        next = reply.json()["links"][link].as_str().map(str::to_owned);
    }
    pages
}

#[track_caller]
fn too_large(reply: &Reply, place: &str) {
    assert_eq!(reply.error(), (400, "bad_request".into(), place.into()));
    let message = reply.json()["error"].as_str().expect("a message").to_owned();
    assert!(message.contains("1 MiB") && message.contains("ask for fewer"), "{message}");
}

on_both_engines!(an_answer_has_a_bound_and_says_what_to_ask_for_instead, |app| async move {
    let admin = app.admin().await;
    let customer = admin.customer().await;
    let mut ids = Vec::new();
    for _ in 0..20 {
        app.clock.advance(60_000);
        ids.insert(0, admin.conversation(&customer, json!({ "custom": texts(8) })).await);
    }
    let settings = Settings { answer: MIB, ..Settings::default() };
    let small = admin.at(&app.again_with(settings, ApiSettings::default()));
    let path = format!("/v1/customers/{customer}/conversations");
    assert_eq!(admin.get(&path).await.ids(), ids, "by itself, an answer may have more");
    for list in [path.clone(), format!("{path}?fromDate=2001-01-01"), "/v1/conversations?pageSize=20".into()] {
        // Twice, since what was answered may be kept.
        for _ in 0..2 {
            too_large(&small.get(&list).await, "pageSize");
        }
    }
    let pages = walk(&small, &format!("{path}?pageSize=6"), "next").await;
    assert_eq!(pages.concat(), ids);
    let last = small.get(&format!("{path}?pageSize=6&page=4")).await;
    let back = walk(&small, last.ok()["links"]["self"].as_str().expect("a link"), "prev").await;
    assert_eq!(back.into_iter().rev().collect::<Vec<_>>(), pages, "backwards, too");

    let several = |ids: &[String]| format!("/v1/conversations/{}", ids.join(","));
    assert_eq!(admin.get(&several(&ids)).await.ids(), ids);
    too_large(&small.get(&several(&ids)).await, "id");
    assert_eq!(small.get(&several(&ids[3..9])).await.ids(), ids[3..9]);
    assert_eq!(small.get(&several(&vec![ids[0].clone(); 90])).await.ids(), ids[..1], "each counts once");
    let pages = walk(&small, &format!("{}?pageSize=7", several(&ids)), "next").await;
    assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [7, 7, 6]);
    assert_eq!(pages.concat(), ids);

    let run = async |size: usize| {
        let body = json!({ "parameters": { "id": customer, "pageSize": size } });
        small.post("/v1/operations/get-conversations-by-customer/run", body).await
    };
    too_large(&run(20).await, "/parameters/pageSize");
    let found = run(6).await.ok();
    let rows = found["data"].as_array().expect("rows").iter();
    assert_eq!(rows.map(|row| row["id"].as_str().expect("an id")).collect::<Vec<_>>(), ids[..6]);
    assert_eq!(found["links"]["next"].as_str().map(|link| link.contains("page=2")), Some(true));
});

on_both_engines!(few_records_asked_for_by_id_are_read_at_once, |app| async move {
    let (store, mut importer) = counted(&app).await;
    import(&mut importer, ImportKind::Customers, &[json!({ "id": id('d', 1) })]).await;
    let row = |n| json!({ "id": id('e', n), "customer": id('d', 1), "custom": texts(25) });
    import(&mut importer, ImportKind::Conversations, &(0..24).map(row).collect::<Vec<_>>()).await;
    store.most_read();
    let admin = app.admin().await.at(&app.over(store.clone()));
    let ids: Vec<String> = (0..24).map(|n| id('e', n)).collect();
    assert_eq!(admin.get(&format!("/v1/conversations/{}", ids.join(","))).await.ids(), ids);
    let most = store.most_read();
    assert!((250_000..3 * MIB).contains(&most), "{most}");
});

on_both_engines!(an_import_holds_little_of_what_its_rows_belong_to, |app| async move {
    let (store, mut importer) = counted(&app).await;
    let customers: Vec<Value> = (0..5).map(|n| json!({ "id": id('d', n) })).collect();
    import(&mut importer, ImportKind::Customers, &customers).await;
    let row = |n: usize| json!({ "id": id('e', n), "customer": id('d', n % 5), "custom": texts(25) });
    let conversations: Vec<Value> = (0..200).map(row).collect();
    import(&mut importer, ImportKind::Conversations, &conversations).await;
    // Rows of some bytes, each of another conversation of a quarter of a megabyte; and one that names none.
    let mut messages: Vec<Value> = (0..200).map(|n| message(n, &id('e', n), json!({}))).collect();
    import(&mut importer, ImportKind::Messages, &messages).await;
    let most = store.most_written();
    assert!(most < 20 * MIB, "{most}");

    let admin = app.admin().await;
    for n in [0, 99, 199] {
        assert_eq!(admin.attributes(&format!("/v1/conversations/{}", id('e', n))).await["messageCount"], 1);
    }
    // Of what is there, only whether it is there is read; what is new beside it is stored.
    let (store, mut importer) = counted(&app).await;
    store.most_read();
    assert!(
        outcomes(&mut importer, ImportKind::Conversations, &conversations)
            .await
            .iter()
            .all(|row| *row == RowOutcome::Present)
    );
    // But for the definitions of custom attributes, which are of the org.
    assert!(store.most_read() < 8 << 10);
    messages.push(message(200, &id('e', 0), json!({})));
    messages.push(message(201, &id('a', 0), json!({})));
    let outcomes = outcomes(&mut importer, ImportKind::Messages, &messages).await;
    assert!(outcomes[..200].iter().all(|row| *row == RowOutcome::Present));
    assert_eq!(outcomes[200], RowOutcome::Created);
    assert!(matches!(&outcomes[201], RowOutcome::Rejected(error) if error.0.starts_with("/conversation ")));
});

on_both_engines!(few_long_things_are_looked_through_at_once, |app| async move {
    let (store, mut importer) = counted(&app).await;
    let customers: Vec<Value> = (0..6).map(|n| json!({ "id": id('d', n) })).collect();
    import(&mut importer, ImportKind::Customers, &customers).await;
    let row = |n: usize| json!({ "id": id('e', n), "customer": id('d', n), "createdAt": "2024-01-01T00:00:00.000Z" });
    import(&mut importer, ImportKind::Conversations, &(0..5).map(row).collect::<Vec<_>>()).await;
    // Longer than what is read of a list at once.
    let messages: Vec<Value> = (0..5 * 510).map(|n| message(n, &id('e', n / 510), json!({}))).collect();
    import(&mut importer, ImportKind::Messages, &messages).await;
    store.most_reading_on();
    let admin = Arc::new(app.admin().await.at(&app.over(store.clone())));
    let all = async |path: fn(usize) -> String, body: Value| {
        let one = |n| {
            let (admin, body) = (Arc::clone(&admin), body.clone());
            tokio::spawn(async move { admin.patch(&path(n), body).await.ok() })
        };
        for done in (0..5).map(one).collect::<Vec<_>>() {
            done.await.expect("it is done");
        }
        store.most_reading_on()
    };
    let most = all(|n| format!("/v1/messages/{}", id('f', n * 510 + 7)), json!({ "meta": { "to": "changed" } })).await;
    assert!((1..=2).contains(&most), "{most}");
    let most = all(|n| format!("/v1/conversations/{}", id('e', n)), json!({ "customer": id('d', 5) })).await;
    assert_eq!(most, 1, "those that are moved are held until they are stored");
    for n in 0..5 {
        let message = admin.get(&format!("/v1/messages/{}", id('f', n * 510))).await.ok();
        assert_eq!(message["data"]["relationships"]["customer"]["data"]["id"], id('d', 5).as_str());
    }
    let counts = admin.attributes(&format!("/v1/customers/{}", id('d', 5))).await;
    assert_eq!(counts["conversationCounts"]["all"], 5);
});

on_both_engines!(few_messages_are_held_however_large_they_are, |app| async move {
    let (store, mut importer) = counted(&app).await;
    import(&mut importer, ImportKind::Customers, &[json!({ "id": id('d', 1) })]).await;
    let conversation = json!({ "id": id('e', 1), "customer": id('d', 1), "createdAt": "2024-01-01T00:00:00.000Z" });
    import(&mut importer, ImportKind::Conversations, &[conversation]).await;
    for n in 0..12 {
        import(&mut importer, ImportKind::Messages, &[message(n, &id('e', 1), json!({ "text": "x".repeat(MIB) }))])
            .await;
    }
    store.most_read();
    let admin = app.admin().await.at(&app.over(store.clone()));
    admin.patch(&format!("/v1/messages/{}", id('f', 5)), json!({ "meta": { "to": "changed" } })).await.ok();
    let most = store.most_read();
    assert!((MIB..6 * MIB).contains(&most), "{most}");
    let shown = admin.attributes(&format!("/v1/conversations/{}", id('e', 1))).await;
    assert_eq!((&shown["messageCount"], &shown["lastMessageIn"]["id"]), (&json!(12), &json!(id('f', 11))));
});
