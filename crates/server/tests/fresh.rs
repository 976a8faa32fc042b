//! Answers that are given again: never one that a write, by whatever process, has made old. Tags, and compressed forms.

use std::io::Read;

use axum::http::Method;
use konverse_api::ApiSettings;
use konverse_domain::{ImportKind, Importer, RowOutcome, Settings};
use konverse_testkit::{Actor, Reply, TestApp, on_both_engines};
use serde_json::{Value, json};

/// A process that keeps no answers.
fn forgetful(app: &TestApp, admin: &Actor) -> Actor {
    admin.at(&app.again_with(Settings::default(), ApiSettings { answers: 0, ..ApiSettings::default() }))
}

fn header<'a>(reply: &'a Reply, name: &str) -> Option<&'a str> {
    reply.headers.get(name).map(|value| value.to_str().expect("ASCII"))
}

async fn get_with(actor: &Actor, path: &str, name: &str, value: &str) -> Reply {
    actor.send(Method::GET, path, None, &[(name, value)]).await
}

/// What can be read of a customer's timeline, in several forms each.
fn lists(customer: &str) -> Vec<String> {
    let of = |what: &str| format!("/v1/customers/{customer}{what}");
    ["", "/conversations", "/conversations?pageSize=1", "/conversations?page=2&pageSize=1", "/messages", "/notes"]
        .map(of)
        .to_vec()
}

on_both_engines!(a_write_of_one_process_is_never_missed_by_another, |app| async move {
    let here = app.admin().await;
    let there = here.at(&app.other_process().await);
    let plain = forgetful(&app, &here);
    let (customer, other) = (here.customer().await, here.customer().await);
    let conversation = here.conversation(&customer, json!({ "name": "first" })).await;
    let mut message = String::new();
    let mut note = String::new();
    let mut told = Vec::new();
    for step in 0..14 {
        // Everything is in memory on both sides.
        for path in lists(&customer).iter().chain(&lists(&other)) {
            for process in [&here, &there] {
                process.get(path).await;
                process.get(path).await;
            }
        }
        let writer = if step % 2 == 0 { &there } else { &here };
        let of_conversation = |what: &str| format!("/v1/conversations/{conversation}{what}");
        let done = match step {
            0 => writer.patch(&of_conversation(""), json!({ "name": "second" })).await,
            1 => {
                let body = json!({ "channel": "email", "app": "a", "preview": "hello" });
                let reply = writer.post(&of_conversation("/messages"), body).await;
                message = reply.created_id();
                reply
            }
            2 => writer.patch(&format!("/v1/messages/{message}"), json!({ "preview": "changed" })).await,
            3 => {
                let reply = writer.post("/v1/notes", json!({ "conversation": conversation, "body": "a" })).await;
                note = reply.created_id();
                reply
            }
            4 => writer.patch(&format!("/v1/notes/{note}"), json!({ "body": "b" })).await,
            5 => writer.delete(&format!("/v1/notes/{note}")).await,
            6 => writer.post(&format!("/v1/customers/{customer}/conversations"), json!({ "name": "third" })).await,
            7 => writer.patch(&format!("/v1/customers/{customer}"), json!({ "name": "Jane" })).await,
            8 => writer.post(&of_conversation("/tags"), json!(["urgent"])).await,
            9 => writer.patch(&of_conversation(""), json!({ "customer": other })).await,
            10 => writer.patch(&of_conversation(""), json!({ "customer": customer })).await,
            11 => writer.delete(&of_conversation("")).await,
            12 => {
                let domain = app.other_domain(99).await;
                let line = json!({
                    "externalId": "old", "customer": customer, "name": "old", "createdAt": "2020-01-01T00:00:00.000Z",
                    "importedAt": "2026-10-24T09:00:00.000Z",
                });
                let mut importer = Importer::new(&domain, app.org.id).await.expect("an import");
                let row = ImportKind::Conversations.read(&line.to_string()).expect("a row");
                let outcomes = importer.take(ImportKind::Conversations, vec![row]).await.expect("it is taken");
                assert!(matches!(outcomes[..], [RowOutcome::Created]), "{outcomes:?}");
                writer.get("/healthz").await
            }
            _ => writer.delete(&format!("/v1/customers/{customer}")).await,
        };
        assert!(done.status.is_success(), "step {step}: {}", String::from_utf8_lossy(&done.body));
        for path in lists(&customer).iter().chain(&lists(&other)) {
            let right = plain.get(path).await;
            for (name, process) in [("here", &here), ("there", &there)] {
                for _ in 0..2 {
                    let answer = process.get(path).await;
                    assert_eq!(answer.status, right.status, "step {step}, {name}: {path}");
                    assert_eq!(answer.body, right.body, "step {step}, {name}: {path}");
                }
            }
        }
        told.push(plain.get(&format!("/v1/customers/{customer}/conversations")).await.body);
    }
    told.dedup();
    assert!(told.len() >= 9, "the steps show: {}", told.len());
});

on_both_engines!(writers_and_readers_of_two_processes_agree_at_every_moment, |app| async move {
    let here = app.admin().await;
    let there = here.at(&app.other_process().await);
    let customer = here.customer().await;
    let conversation = here.conversation(&customer, json!({})).await;
    let list = format!("/v1/customers/{customer}/conversations");
    let count = |reply: Reply| reply.ok()["data"][0]["attributes"]["messageCount"].as_u64().expect("a count");
    // Two writers, and readers of both processes that look at what was acknowledged before they began.
    let acknowledged = std::sync::atomic::AtomicU64::new(0);
    let write = async |process: &Actor| {
        for n in 0..40 {
            process.message(&conversation, json!({ "preview": n.to_string() })).await;
            acknowledged.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        }
    };
    let read = async |process: &Actor| {
        let mut seen = 0;
        while seen < 80 {
            let least = acknowledged.load(std::sync::atomic::Ordering::SeqCst);
            let shown = count(process.get(&list).await);
            assert!(shown >= least && shown >= seen, "{shown} shown of {least} acknowledged, {seen} seen before");
            seen = shown;
            tokio::task::yield_now().await;
        }
    };
    tokio::join!(write(&here), write(&there), read(&here), read(&there));
});

on_both_engines!(a_token_revoked_by_one_process_is_refused_by_the_other_at_once, |app| async move {
    let admin = app.admin().await;
    let other = app.other_process().await;
    let customer = admin.customer().await;
    admin.conversation(&customer, json!({})).await;
    let list = format!("/v1/customers/{customer}/conversations");
    for revoker in [admin.at(&other), admin.at(&app.again_with(Settings::default(), ApiSettings::default()))] {
        let here = app.actor(&["org.user.conversation.read", "org.user.token"]).await;
        let there = here.at(&other);
        for process in [&here, &there, &here, &there] {
            assert_eq!(process.get(&list).await.status, 200);
        }
        let token = here.get("/v1/auth/tokens/current").await.ok()["data"]["id"].as_str().expect("an id").to_owned();
        assert_eq!(revoker.delete(&format!("/v1/auth/tokens/{token}")).await.status, 204);
        for process in [&here, &there] {
            assert_eq!(process.get(&list).await.error(), (401, "unauthorized".into(), String::new()));
        }
    }
});

on_both_engines!(an_answer_is_given_again_only_to_those_who_may_see_it, |app| async move {
    let admin = app.admin().await;
    let customer = admin.customer().await;
    admin.conversation(&customer, json!({})).await;
    let stranger = app.actor_of(&app.domain.create_org("other").await.expect("an org"), &["org"]).await;
    let without = app.actor(&["org.user.message.read"]).await;
    let with = app.actor(&["org.permission.conversation.read"]).await;
    let list = format!("/v1/customers/{customer}/conversations");
    for _ in 0..2 {
        assert_eq!(with.get(&list).await.ids().len(), 1);
        assert_eq!(without.get(&list).await.status, 403);
        assert_eq!(stranger.get(&list).await.status, 404);
        assert_eq!(app.nobody().get(&list).await.status, 401);
    }
    let expiring = {
        let expires_at = Some(app.now().plus(1000));
        let roles = vec!["org".parse().expect("a role")];
        let new = konverse_domain::NewToken { name: "short".into(), roles, expires_at, cidr: None };
        app.bearer(&app.domain.create_token(&app.org, new).await.expect("a token").secret)
    };
    assert_eq!(expiring.get(&list).await.status, 200);
    app.clock.advance(1000);
    assert_eq!(expiring.get(&list).await.status, 401);
});

on_both_engines!(who_has_an_answer_is_told_that_it_has_not_changed, |app| async move {
    let admin = app.admin().await;
    let elsewhere = admin.at(&app.other_process().await);
    let customer = admin.customer().await;
    let conversation = admin.conversation(&customer, json!({})).await;
    let list = format!("/v1/customers/{customer}/conversations");
    let record = format!("/v1/conversations/{conversation}");
    for path in [&*list, &record, "/v1/conversations", "/v1/customers", "/v1/messages", "/v1/users"] {
        let first = admin.get(path).await;
        let tag = header(&first, "etag").expect("a tag").to_owned();
        assert!(tag.starts_with('"') && tag.ends_with('"'), "{path}: {tag} is strong");
        for process in [&admin, &elsewhere] {
            for given in [tag.clone(), format!("\"other\", W/{tag}"), "*".to_owned()] {
                let again = get_with(process, path, "if-none-match", &given).await;
                assert_eq!((again.status.as_u16(), again.body.len()), (304, 0), "{path}: {given}");
                assert_eq!(header(&again, "etag"), Some(&*tag));
                assert_eq!(header(&again, "content-type"), None);
                assert!(header(&again, "x-ratelimit-limit").is_some());
            }
        }
        assert_eq!(get_with(&admin, path, "if-none-match", "\"other\"").await.body, first.body);
        let head = admin.send(Method::HEAD, path, None, &[]).await;
        assert_eq!((header(&head, "etag"), head.body.len()), (Some(&*tag), 0));
        assert_eq!(header(&head, "content-length"), Some(&*first.body.len().to_string()), "{path}");
        let head = admin.send(Method::HEAD, path, None, &[("if-none-match", &tag)]).await;
        assert_eq!(head.status, 304);
    }
    let tag = header(&admin.get(&list).await, "etag").expect("a tag").to_owned();
    elsewhere.patch(&record, json!({ "name": "new" })).await.ok();
    let changed = get_with(&admin, &list, "if-none-match", &tag).await;
    assert_eq!(changed.ok()["data"][0]["attributes"]["name"], "new");
    assert_ne!(header(&changed, "etag"), Some(&*tag));
    // What changes something, and what fails, is never "not modified".
    let reply =
        admin.send(Method::PATCH, &record, Some(b"{\"name\":\"newer\"}".to_vec()), &[("if-none-match", "*")]).await;
    assert_eq!((reply.status.as_u16(), header(&reply, "etag")), (200, None));
    let missing = get_with(&admin, "/v1/conversations/ffffffffffffffffffffffff", "if-none-match", "*").await;
    assert_eq!((missing.status.as_u16(), header(&missing, "etag")), (404, None));
});

on_both_engines!(answers_are_compressed_for_those_who_can_read_it, |app| async move {
    let admin = app.admin().await;
    let customer = admin.customer().await;
    let list = format!("/v1/customers/{customer}/conversations");
    let short = get_with(&admin, &list, "accept-encoding", "gzip, zstd").await;
    assert_eq!(header(&short, "content-encoding"), None, "there is nothing to gain");
    for _ in 0..3 {
        admin.conversation(&customer, json!({ "name": "a conversation" })).await;
    }
    let plain = admin.get(&list).await;
    assert_eq!((header(&plain, "content-encoding"), header(&plain, "vary")), (None, Some("accept-encoding")));
    // The second time it comes from memory.
    for _ in 0..2 {
        let gzip = get_with(&admin, &list, "accept-encoding", "gzip").await;
        assert_eq!(header(&gzip, "content-encoding"), Some("gzip"));
        assert_eq!(header(&gzip, "content-length"), Some(&*gzip.body.len().to_string()));
        let mut text = Vec::new();
        flate2::read::GzDecoder::new(&*gzip.body).read_to_end(&mut text).expect("gzip");
        assert!(text == plain.body && gzip.body.len() * 2 < text.len());
        let zstd = get_with(&admin, &list, "accept-encoding", "gzip, br, zstd").await;
        assert_eq!(header(&zstd, "content-encoding"), Some("zstd"));
        assert_eq!(zstd::bulk::decompress(&zstd.body, 1 << 20).expect("zstd"), plain.body);
        // Tags tell the forms apart: who has one form is not told that it has another.
        let tags = [&plain, &gzip, &zstd].map(|reply| header(reply, "etag").expect("a tag").to_owned());
        assert!(tags[0] != tags[1] && tags[1] != tags[2] && tags[0] != tags[2]);
        let codings = ["identity", "gzip", "zstd"];
        for (n, tag) in tags.iter().enumerate() {
            for (m, coding) in codings.iter().enumerate() {
                let headers = [("accept-encoding", *coding), ("if-none-match", tag)];
                let reply = admin.send(Method::GET, &list, None, &headers).await;
                assert_eq!(reply.status.as_u16(), if n == m { 304 } else { 200 }, "{tag} for {coding}");
            }
            let both = [("if-none-match", "\"other\""), ("if-none-match", tag), ("accept-encoding", codings[n])];
            assert_eq!(admin.send(Method::GET, &list, None, &both).await.status, 304, "in the second of two headers");
        }
        let head = admin.send(Method::HEAD, &list, None, &[("accept-encoding", "gzip")]).await;
        assert_eq!(header(&head, "content-length"), header(&gzip, "content-length"));
        assert!(head.body.is_empty());
    }
    let document = get_with(&admin, "/openapi.json", "accept-encoding", "gzip").await;
    assert_eq!(
        (header(&document, "content-encoding"), header(&document, "vary")),
        (Some("gzip"), Some("accept-encoding"))
    );
    let off = admin.at(&app.again_with(Settings::default(), ApiSettings { compress: false, ..ApiSettings::default() }));
    let reply = get_with(&off, &list, "accept-encoding", "gzip").await;
    assert_eq!((header(&reply, "content-encoding"), &reply.body), (None, &plain.body));
    let errors: Value = get_with(&admin, "/v1/nothing", "accept-encoding", "gzip").await.json();
    assert!(errors["errors"].is_array(), "errors are sent as they are");
});
