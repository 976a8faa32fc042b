//! Who may come in, what they may do, and what every answer has: tokens, roles, budgets, errors, methods, headers.

use std::collections::HashMap;

use axum::http::Method;
use konverse_api::{ApiSettings, operations};
use konverse_domain::{Domain, Ids, NewToken, Settings, permissions};
use konverse_model::TokenId;
use konverse_testkit::{Actor, Reply, on_both_engines, seeded};
use serde_json::{Value, json};

const UNKNOWN: &str = "58228e05d4e96711004eccb7";

fn token_for(roles: &[&str]) -> NewToken {
    NewToken {
        name: "desk".into(),
        roles: roles.iter().map(|role| role.parse().expect("a role")).collect(),
        expires_at: None,
        cidr: None,
    }
}

/// The error of an answer, whose document must be complete.
#[track_caller]
fn refused(reply: &Reply, status: u16, code: &str) -> String {
    assert_eq!(reply.status, status, "{}", String::from_utf8_lossy(&reply.body));
    assert_eq!(reply.headers["content-type"], "application/json; charset=utf-8");
    let document = reply.json();
    assert_eq!(document.as_object().expect("an object").len(), 2, "{document}");
    assert_eq!(document["error"], document["errors"][0]["message"], "for clients that read nothing else");
    let errors = document["errors"].as_array().expect("a list of errors");
    assert!(!errors.is_empty());
    for error in errors {
        assert_eq!(error["status"], status.to_string(), "{error}");
        assert_eq!(error["code"], code, "{error}");
        for name in ["title", "message", "detail"] {
            assert!(error[name].as_str().is_some_and(|text| !text.is_empty()), "{name}: {error}");
        }
        assert!(error["meta"].is_object(), "{error}");
        if let Some(source) = error.get("source") {
            let source = source.as_object().expect("an object");
            assert!(
                source.len() == 1 && (source.contains_key("pointer") || source.contains_key("parameter")),
                "{error}"
            );
        }
    }
    every_answer(reply);
    errors[0]["message"].as_str().unwrap_or_default().to_owned()
}

/// What every answer carries.
#[track_caller]
fn every_answer(reply: &Reply) {
    let number = |name: &str| -> i64 {
        let value = reply.headers.get(name).unwrap_or_else(|| panic!("{name} is missing: {:?}", reply.headers));
        value.to_str().expect("a text").parse().expect("a number")
    };
    assert!(number("x-ratelimit-limit") > 0);
    assert!(number("x-ratelimit-reset") > 1_700_000_000);
    if reply.status == 429 {
        assert_eq!(number("x-ratelimit-remaining"), 0);
    } else {
        assert!(number("x-ratelimit-remaining") >= 1);
    }
    assert_eq!(reply.headers["access-control-allow-origin"], "*");
}

async fn get(actor: &Actor, path: &str, headers: &[(&str, &str)]) -> Reply {
    actor.send(Method::GET, path, None, headers).await
}

async fn post_raw(actor: &Actor, path: &str, body: impl Into<Vec<u8>>) -> Reply {
    actor.send(Method::POST, path, Some(body.into()), &[("content-type", "application/json")]).await
}

on_both_engines!(nobody_comes_in_without_a_valid_token, |app| async move {
    let path = "/v1/users/current";
    refused(&app.nobody().get(path).await, 401, "unauthorized");
    let valid = app.admin().await.token;
    for header in
        ["", "Bearer", "Bearer ", "Bearer  ", "Basic dXNlcjpwYXNz", &valid, &format!("Token {valid}"), "Bearer\u{a0}x"]
    {
        refused(&get(&app.nobody(), path, &[("authorization", header)]).await, 401, "unauthorized");
    }
    for token in [
        "x",
        &valid[1..],
        &valid[..valid.len() - 1],
        &format!("{valid}x"),
        &valid.to_lowercase(),
        "a.b.c",
        &"x".repeat(5_000),
    ] {
        refused(&app.bearer(token).get(path).await, 401, "unauthorized");
    }
    app.bearer(&valid).get(path).await.ok();
    for header in [format!("bearer {valid}"), format!("BEARER  {valid} ")] {
        get(&app.nobody(), path, &[("authorization", &header)]).await.ok();
    }
});

on_both_engines!(a_token_ends_when_it_was_said_to, |app| async move {
    let expires_at = Some(app.now().plus(60_000));
    let minted =
        app.domain.create_token(&app.org, NewToken { expires_at, ..token_for(&["org"]) }).await.expect("a token");
    let actor = app.bearer(&minted.secret);
    actor.get("/v1/users/current").await.ok();
    app.clock.advance(59_999);
    let shown = actor.attributes("/v1/auth/tokens/current").await;
    assert_eq!(shown["expiresAt"], "2026-10-24T09:01:00.000Z");
    app.clock.advance(1);
    for path in ["/v1/users/current", "/v1/customers"] {
        let message = refused(&actor.get(path).await, 401, "unauthorized");
        assert!(message.contains("Expired token"), "{message}");
    }
});

on_both_engines!(a_token_may_be_bound_to_addresses, |app| async move {
    let make = async |cidr: &str| {
        let cidr = Some(cidr.parse().expect("a range"));
        let minted =
            app.domain.create_token(&app.org, NewToken { cidr, ..token_for(&["org"]) }).await.expect("a token");
        app.bearer(&minted.secret)
    };
    let path = "/v1/users/current";
    make("127.0.0.0/8").await.get(path).await.ok();
    make("127.0.0.1/32").await.get(path).await.ok();
    for range in ["203.0.113.0/24", "127.0.0.2/32", "::1/128", "10.0.0.0/8"] {
        refused(&make(range).await.get(path).await, 401, "unauthorized");
    }
    // Nobody's word is taken for where they come from, unless they are a proxy of ours.
    let elsewhere = make("203.0.113.0/24").await;
    let claim = [("x-forwarded-for", "203.0.113.7")];
    refused(&get(&elsewhere, path, &claim).await, 401, "unauthorized");
    let trusted_proxies = vec!["127.0.0.1/32".parse().expect("a range"), "10.0.0.0/8".parse().expect("a range")];
    let behind = app.again_with(Settings::default(), ApiSettings { trusted_proxies, ..ApiSettings::default() });
    let elsewhere = elsewhere.at(&behind);
    get(&elsewhere, path, &claim).await.ok();
    get(&elsewhere, path, &[("x-forwarded-for", "198.51.100.1, 203.0.113.7, 10.1.2.3")]).await.ok();
    refused(&get(&elsewhere, path, &[("x-forwarded-for", "203.0.113.7, 198.51.100.1")]).await, 401, "unauthorized");
    refused(&get(&elsewhere, path, &[]).await, 401, "unauthorized");
    // What a proxy of ours wrote but cannot be read is nobody's address; what stands before it is hearsay.
    refused(&get(&elsewhere, path, &[("x-forwarded-for", "203.0.113.7, unknown")]).await, 401, "unauthorized");
});

on_both_engines!(a_revoked_token_is_refused_from_the_next_request_on, |app| async move {
    let admin = app.admin().await;
    let path = "/v1/users/current";
    let make = async || {
        let minted = app.domain.create_token(&app.org, token_for(&["org.user"])).await.expect("a token");
        let actor = app.bearer(&minted.secret);
        actor.get(path).await.ok();
        (minted.id, actor)
    };
    // Over the API by another, by itself, on the command line, and by another process.
    let (id, actor) = make().await;
    assert_eq!(admin.delete(&format!("/v1/auth/tokens/{id}")).await.status, 204);
    refused(&actor.get(path).await, 401, "unauthorized");
    refused(&admin.get(&format!("/v1/auth/tokens/{id}")).await, 404, "not_found");
    refused(&admin.delete(&format!("/v1/auth/tokens/{id}")).await, 404, "not_found");

    let (_, actor) = make().await;
    assert_eq!(actor.delete("/v1/auth/tokens/current").await.status, 204);
    refused(&actor.get(path).await, 401, "unauthorized");
    refused(&actor.delete("/v1/auth/tokens/current").await, 401, "unauthorized");

    let (id, actor) = make().await;
    app.domain.revoke_token(&app.org, id).await.expect("it is there");
    refused(&actor.get(path).await, 401, "unauthorized");

    let (id, actor) = make().await;
    let elsewhere =
        Domain::new(app.store.reopened().await, app.clock.clone(), Ids::new(seeded(23)), Settings::default());
    elsewhere.revoke_token(&app.org, id).await.expect("it is there");
    refused(&actor.get(path).await, 401, "unauthorized");

    // One org's admin reaches no token of another.
    let other = app.domain.create_org("other").await.expect("the org is new");
    let (id, actor) = make().await;
    let stranger = app.actor_of(&other, &["org"]).await;
    refused(&stranger.delete(&format!("/v1/auth/tokens/{id}")).await, 404, "not_found");
    refused(&stranger.get(&format!("/v1/auth/tokens/{id}")).await, 404, "not_found");
    actor.get(path).await.ok();
    assert!(app.domain.revoke_token(&other, id).await.is_err());
    actor.get(path).await.ok();
});

on_both_engines!(a_browser_session_comes_with_a_cookie, |app| async move {
    let token = app.admin().await.token;
    let nobody = app.nobody();
    let cookie = format!("theme=dark; x-kustomer-auth-token={token}; lang=en");
    get(&nobody, "/v1/users/current", &[("cookie", &cookie)]).await.ok();
    get(&nobody, "/v1/users/current", &[("cookie", "theme=dark"), ("cookie", &cookie)]).await.ok();
    for wrong in
        ["x-kustomer-auth-token=", "x-kustomer-auth-token=x", "X-Kustomer-Auth-Tokens=1", "x-kustomer-auth-token"]
    {
        refused(&get(&nobody, "/v1/users/current", &[("cookie", wrong)]).await, 401, "unauthorized");
    }
    let head = nobody.send(Method::HEAD, "/v1/users/current", None, &[("cookie", &cookie)]).await;
    assert_eq!(head.status, 200);

    // What changes anything must repeat the `_csrf` cookie.
    let guarded = format!("{cookie}; _csrf=s3cret");
    let post = async |headers: &[(&str, &str)]| {
        nobody.send(Method::POST, "/v1/customers", Some(b"{}".to_vec()), headers).await
    };
    for headers in [
        vec![("cookie", cookie.as_str())],
        vec![("cookie", cookie.as_str()), ("x-csrf-token", "s3cret")],
        vec![("cookie", guarded.as_str())],
        vec![("cookie", guarded.as_str()), ("x-csrf-token", "other")],
        vec![("cookie", guarded.as_str()), ("x-csrf-token", "")],
    ] {
        refused(&post(&headers).await, 401, "unauthorized");
    }
    let empty = format!("{cookie}; _csrf=");
    refused(&post(&[("cookie", &empty), ("x-csrf-token", "")]).await, 401, "unauthorized");
    post(&[("cookie", &guarded), ("x-csrf-token", "s3cret")]).await.created();
    // The header goes before the cookie.
    refused(
        &get(&nobody, "/v1/users/current", &[("cookie", &cookie), ("authorization", "Bearer x")]).await,
        401,
        "unauthorized",
    );
    let bearer = format!("Bearer {token}");
    post(&[("cookie", &guarded), ("authorization", &bearer)]).await.created();
});

fn path_of(path: &str) -> String {
    let mut made = String::new();
    let mut rest = path;
    while let Some((before, after)) = rest.split_once('{') {
        let (name, after) = after.split_once('}').expect("a parameter ends");
        made.push_str(before);
        made.push_str(match name {
            "email" => "nobody%40example.com",
            "phone" => "%2B15550100",
            "externalId" => "none",
            "key" => "get-conversations-by-customer",
            "name" => "acme",
            _ => UNKNOWN,
        });
        rest = after;
    }
    made + rest
}

on_both_engines!(every_operation_asks_for_its_roles, |app| async move {
    let app = app.with_search();
    let strict =
        app.again_with(Settings::default(), ApiSettings { missing_role_status: 401, ..ApiSettings::default() });
    let mut actors: HashMap<String, Actor> = HashMap::new();
    let unrelated = app.actor(&["org.tracking"]).await;
    let expires_at = Some(app.now().plus(1000));
    let expired = app.domain.create_token(&app.org, NewToken { expires_at, ..token_for(&["org"]) }).await;
    let expired = app.bearer(&expired.expect("a token").secret);
    let cidr = Some("203.0.113.0/24".parse().expect("a range"));
    let elsewhere = app.domain.create_token(&app.org, NewToken { cidr, ..token_for(&["org"]) }).await;
    let elsewhere = app.bearer(&elsewhere.expect("a token").secret);
    let revoked = app.admin().await;
    assert_eq!(revoked.delete("/v1/auth/tokens/current").await.status, 204);
    app.clock.advance(2000);
    assert!(operations().len() > 40);
    for operation in operations() {
        let (method, path) = (operation.method.clone(), path_of(operation.path));
        let body = (operation.body.is_some()).then(|| b"{}".to_vec());
        let call = async |actor: &Actor| {
            let reply = actor.send(method.clone(), &path, body.clone(), &[("content-type", "application/json")]).await;
            assert!(reply.status.as_u16() < 500, "{}: {}", operation.key, String::from_utf8_lossy(&reply.body));
            every_answer(&reply);
            reply
        };
        if !operation.needs_token {
            assert!(operation.roles.is_empty(), "{}", operation.key);
            // Signing in needs its body.
            let status = if operation.key == "sign-in" { 400 } else { operation.status };
            for actor in [app.nobody(), app.bearer("wrong")] {
                assert_eq!(call(&actor).await.status.as_u16(), status, "{}", operation.key);
            }
            continue;
        }
        refused(&call(&app.nobody()).await, 401, "unauthorized");
        refused(&call(&app.bearer("wrong")).await, 401, "unauthorized");
        assert!(refused(&call(&expired).await, 401, "unauthorized").contains("Expired token"), "{}", operation.key);
        for useless in [&revoked, &elsewhere] {
            refused(&call(useless).await, 401, "unauthorized");
        }
        if operation.roles.is_empty() {
            if operation.key == "revoke-current-token" {
                assert_eq!(call(&app.actor(&["org.tracking"]).await).await.status, 204);
            } else {
                assert_eq!(call(&unrelated).await.status.as_u16(), operation.status, "{}", operation.key);
            }
            continue;
        }
        refused(&call(&unrelated).await, 403, "forbidden");
        refused(&call(&unrelated.at(&strict)).await, 401, "unauthorized");
        let grants = |held: &&str| operation.roles.iter().any(|needed| konverse_model::grants(held, needed));
        let others: Vec<&str> = permissions::names().into_iter().filter(|held| !grants(held)).collect();
        assert!(others.len() > 20, "{others:?}");
        refused(&call(&app.actor(&others).await).await, 403, "forbidden");
        for role in operation.roles {
            // The role itself, and each of the prefixes that contain it.
            let held = role.match_indices('.').map(|(end, _)| &role[..end]).chain([*role]);
            for held in held {
                if !actors.contains_key(held) {
                    actors.insert(held.to_owned(), app.actor(&[held]).await);
                }
                let reply = call(&actors[held]).await;
                assert!(
                    ![401, 403].contains(&reply.status.as_u16()),
                    "{} with {held}: {}",
                    operation.key,
                    reply.status
                );
            }
            // What only looks like the role is none.
            for held in [format!("{role}er"), format!("{role}.own")] {
                if !actors.contains_key(&held) {
                    let actor = app.actor(&[&held]).await;
                    actors.insert(held.clone(), actor);
                }
                refused(&call(&actors[&held]).await, 403, "forbidden");
            }
        }
    }
});

on_both_engines!(one_role_opens_one_door, |app| async move {
    let customer = app.admin().await.customer().await;
    let reader = app.actor(&["org.user.conversation.read"]).await;
    reader.get(&format!("/v1/customers/{customer}/conversations")).await.ok();
    for path in [
        format!("/v1/customers/{customer}"),
        "/v1/customers".into(),
        "/v1/auth/tokens".into(),
        format!("/v1/customers/{customer}/messages"),
    ] {
        let message = refused(&reader.get(&path).await, 403, "forbidden");
        assert!(message.contains("org."), "the message names the roles: {message}");
    }
    refused(&reader.post(&format!("/v1/customers/{customer}/conversations"), json!({})).await, 403, "forbidden");
    // The role is asked for before the record is looked for, or the body at.
    refused(&reader.get(&format!("/v1/customers/{UNKNOWN}")).await, 403, "forbidden");
    refused(&post_raw(&reader, "/v1/customers", "not JSON").await, 403, "forbidden");
    refused(&post_raw(&app.nobody(), "/v1/customers", "not JSON").await, 401, "unauthorized");
    // Several roles add up.
    let both = app.actor(&["org.user.conversation.read", "org.permission.customer.read"]).await;
    both.get(&format!("/v1/customers/{customer}")).await.ok();
    both.get(&format!("/v1/customers/{customer}/conversations")).await.ok();
});

on_both_engines!(a_trailing_slash_changes_nothing, |app| async move {
    let admin = app.admin().await;
    let customer = admin.customer().await;
    for path in [
        "/v1/users/current".to_owned(),
        "/v1/auth/tokens/current".into(),
        format!("/v1/customers/{customer}"),
        format!("/v1/customers/{customer}/conversations"),
        "/v1/customers".into(),
    ] {
        let plain = admin.get(&path).await;
        let slashed = admin.get(&format!("{path}/")).await;
        assert_eq!(plain.ok(), slashed.ok(), "{path}");
        admin.get(&format!("{path}/?pageSize=1")).await.ok();
        admin.get(&format!("{path}//")).await.ok();
    }
    admin.post("/v1/customers/", json!({})).await.created();
    refused(&admin.get("/").await, 404, "not_found");
    refused(&admin.get("//").await, 404, "not_found");
    refused(&admin.get("/v1//customers").await, 404, "not_found");
});

on_both_engines!(a_token_shows_itself_without_its_secret, |app| async move {
    let minted = app
        .domain
        .create_token(
            &app.org,
            NewToken { cidr: Some("127.0.0.1/8".parse().expect("a range")), ..token_for(&["org.user", "org.hook"]) },
        )
        .await
        .expect("a token");
    let (secret, id, user) = (minted.secret.clone(), minted.id, minted.user);
    let actor = app.bearer(&secret);
    assert!(secret.starts_with("eyJhbGciOi") && secret.split('.').count() == 3, "tokens look like JWTs");
    for path in ["/v1/auth/tokens/current", "/v1/auth/tokens/current/"] {
        let document = actor.get(path).await.ok();
        let data = &document["data"];
        assert_eq!(data["type"], "auth_token");
        assert_eq!(data["id"], id.to_string());
        assert_eq!(data["attributes"]["lastTokenChars"], secret[secret.len() - 6..]);
        assert_eq!(data["attributes"]["name"], "desk");
        assert_eq!(data["attributes"]["roles"], json!(["org.user", "org.hook"]));
        assert_eq!(data["attributes"]["createdAt"], "2026-10-24T09:00:00.000Z");
        for name in ["ipAddress", "userAgent", "updatedAt", "lastAccessedAt"] {
            assert!(data["attributes"].get(name).is_some(), "{name}: {data}");
        }
        assert_eq!(data["relationships"]["org"]["data"], json!({ "type": "org", "id": app.org.id.to_string() }));
        assert_eq!(data["relationships"]["user"]["data"], json!({ "type": "user", "id": user.to_string() }));
        assert_eq!(data["links"]["self"], format!("/v1/auth/tokens/{id}"));
    }
    for path in ["/v1/users/current", "/v1/users/current/"] {
        let document = actor.get(path).await.ok();
        let data = &document["data"];
        assert_eq!((&data["type"], &data["id"]), (&json!("user"), &json!(user.to_string())));
        assert_eq!(data["attributes"]["userType"], "machine");
        assert_eq!(data["attributes"]["name"], "desk");
        assert_eq!(data["attributes"]["roles"], json!(["org.user", "org.hook"]));
        assert_eq!(data["relationships"]["org"]["data"]["id"], app.org.id.to_string());
    }

    // Uses are stored by the clock's hand, to the minute.
    get(&actor, "/v1/users/current", &[("user-agent", "soap/1.0")]).await.ok();
    app.clock.advance(61_000);
    get(&actor, "/v1/users/current", &[("user-agent", "soap/2.0")]).await.ok();
    app.domain.store_token_uses().await.expect("it is stored");
    let shown = actor.attributes("/v1/auth/tokens/current").await;
    assert_eq!(
        (&shown["lastAccessedAt"], &shown["ipAddress"]),
        (&json!("2026-10-24T09:01:01.000Z"), &json!("127.0.0.1"))
    );
    assert_eq!(shown["userAgent"], "soap/2.0");

    let admin = app.admin().await;
    let mut texts = vec![format!("{minted:?}")];
    for path in [
        "/v1/auth/tokens",
        "/v1/auth/tokens/current",
        "/v1/users",
        "/v1/auth/roles",
        "/openapi.json",
        &format!("/v1/auth/tokens/{id}"),
    ] {
        let reply = admin.get(path).await;
        reply.ok();
        texts.push(String::from_utf8(reply.body).expect("UTF-8"));
    }
    for text in texts {
        for part in [secret.as_str(), secret.rsplit('.').next().expect("a part"), admin.token.as_str()] {
            assert!(!text.contains(part), "{text}");
        }
    }
});

on_both_engines!(tokens_are_managed_by_security_admins, |app| async move {
    let mut made = Vec::new();
    for n in 0..3 {
        app.clock.advance(1);
        made.push(
            app.domain
                .create_token(&app.org, NewToken { name: format!("t{n}"), ..token_for(&["org.user"]) })
                .await
                .expect("a token"),
        );
    }
    app.clock.advance(1);
    let guard = app.actor(&["org.admin.security"]).await;
    let list = guard.get("/v1/auth/tokens?pageSize=2").await.ok();
    assert_eq!(list["meta"]["pageSize"], 2);
    let ids = guard.get("/v1/auth/tokens").await.ids();
    assert_eq!(ids.len(), 4);
    assert_eq!(ids[..3], made.iter().map(|token| token.id.to_string()).collect::<Vec<_>>());
    // Reading one asks for org.admin or the permission set, as documented.
    let first = format!("/v1/auth/tokens/{}", made[0].id);
    refused(&guard.get(&first).await, 403, "forbidden");
    let permitted = app.actor(&["org.permission.security"]).await;
    assert_eq!(permitted.get(&first).await.ok()["data"]["attributes"]["name"], "t0");
    assert_eq!(guard.delete(&first).await.status, 204);
    assert!(!guard.get("/v1/auth/tokens").await.ids().contains(&made[0].id.to_string()));
    refused(&permitted.get(&first).await, 404, "not_found");
    refused(&guard.delete(&format!("/v1/auth/tokens/{UNKNOWN}")).await, 404, "not_found");
    refused(&guard.delete("/v1/auth/tokens/junk").await, 400, "bad_request");
    // The machine user behind it remains: it is the author of what was written.
    app.admin().await.get(&format!("/v1/users/{}", made[0].user)).await.ok();
});

on_both_engines!(a_token_has_a_name_and_roles, |app| async move {
    for new in [
        NewToken { name: String::new(), ..token_for(&["org"]) },
        NewToken { name: "  ".into(), ..token_for(&["org"]) },
        NewToken { name: "x".repeat(257), ..token_for(&["org"]) },
        token_for(&[]),
    ] {
        assert!(app.domain.create_token(&app.org, new).await.is_err());
    }
    assert!(app.domain.revoke_token(&app.org, UNKNOWN.parse::<TokenId>().expect("an id")).await.is_err());
});

on_both_engines!(an_org_has_its_requests_of_a_minute, |app| async move {
    let limited = app.again_with(Settings::default(), ApiSettings { requests_per_minute: 3, ..ApiSettings::default() });
    let one = app.admin().await.at(&limited);
    let two = app.actor(&["org.user"]).await.at(&limited);
    let other = app.domain.create_org("other").await.expect("the org is new");
    let other = app.actor_of(&other, &["org"]).await.at(&limited);
    app.clock.advance(15_500);
    let remaining = |reply: &Reply| {
        every_answer(reply);
        assert_eq!(reply.headers["x-ratelimit-limit"], "3");
        assert_eq!(reply.headers["x-ratelimit-reset"], "1792832460");
        reply.headers["x-ratelimit-remaining"].to_str().expect("a text").to_owned()
    };
    // All tokens of the org draw on one budget, whatever is answered.
    let mut seen = Vec::new();
    for (actor, path, status) in
        [(&one, "/v1/customers", 200), (&two, "/v1/nowhere", 404), (&one, "/v1/users/current", 200)]
    {
        let reply = actor.get(path).await;
        assert_eq!(reply.status, status);
        seen.push(remaining(&reply));
    }
    assert_eq!(seen, ["2", "1", "1"]);
    for actor in [&one, &two] {
        let reply = actor.get("/v1/customers").await;
        refused(&reply, 429, "too_many_requests");
        assert_eq!(remaining(&reply), "0");
        assert_eq!(reply.headers["retry-after"], "45");
    }
    let reply = one.post("/v1/customers", json!({})).await;
    refused(&reply, 429, "too_many_requests");
    // Others are not affected, nor is who is not let in or needs no token.
    assert_eq!(remaining(&other.get("/v1/customers").await), "2");
    let reply = app.nobody().at(&limited).get("/v1/customers").await;
    refused(&reply, 401, "unauthorized");
    remaining(&reply);
    for _ in 0..5 {
        app.nobody().at(&limited).get("/healthz").await.ok();
        // Nor does anybody look for whom a token is where none is needed: the database may be away.
        one.get("/healthz").await.ok();
        app.bearer("nobody's").at(&limited).get("/openapi.json").await.ok();
    }
    app.clock.advance(44_500);
    let reply = one.get("/v1/customers").await;
    assert_eq!(reply.ok()["meta"]["total"], 0, "the refused request did nothing");
    assert_eq!(reply.headers["x-ratelimit-remaining"], "2");
    assert_eq!(reply.headers["x-ratelimit-reset"], "1792832520");
});

on_both_engines!(every_answer_has_the_headers_of_the_budget, |app| async move {
    let admin = app.admin().await;
    for reply in [
        admin.get("/v1/customers").await,
        admin.get("/v1/nowhere").await,
        admin.delete("/v1/customers").await,
        admin.post("/v1/customers", json!({ "unknown": 1 })).await,
        admin.post("/v1/customers", json!({})).await,
        app.nobody().get("/v1/customers").await,
        app.nobody().get("/healthz").await,
        app.nobody().get("/nowhere").await,
        app.nobody().send(Method::OPTIONS, "/v1/customers", None, &[]).await,
    ] {
        every_answer(&reply);
    }
});

on_both_engines!(a_body_has_a_hundred_kilobytes_at_most, |app| async move {
    let admin = app.admin().await;
    let body = |size: usize| {
        let frame = json!({ "name": "" }).to_string().len();
        let mut text = json!({ "name": "Jane" }).to_string();
        text.push_str(&" ".repeat(size.saturating_sub(frame + 4)));
        text
    };
    post_raw(&admin, "/v1/customers", body(100_000)).await.created();
    for size in [102_401, 150_000, 3_000_000] {
        refused(&post_raw(&admin, "/v1/customers", body(size)).await, 413, "request_entity_too_large");
    }
    let customer = admin.customer().await;
    let reply =
        admin.send(Method::PATCH, &format!("/v1/customers/{customer}"), Some(body(200_000).into_bytes()), &[]).await;
    refused(&reply, 413, "request_entity_too_large");
});

on_both_engines!(what_is_no_body_is_a_bad_request, |app| async move {
    let admin = app.admin().await;
    let customer = admin.customer().await;
    let conversation = admin.conversation(&customer, json!({})).await;
    let nested = |depth: usize, open: &str, close: &str| format!("{}1{}", open.repeat(depth), close.repeat(depth));
    let bodies = [
        String::new(),
        " ".into(),
        "{".into(),
        "{}}".into(),
        "{\"name\":}".into(),
        "nothing".into(),
        "{'name':'x'}".into(),
        "null".into(),
        "1".into(),
        "\"text\"".into(),
        "true".into(),
        "[{}]".into(),
        "{\"name\":\"\\ud800\"}".into(),
        "{\"name\":1e999}".into(),
        nested(10_000, "[", "]"),
        nested(5_000, "{\"custom\":", "}"),
        format!("{{\"custom\":{}}}", nested(126, "{\"aObj\":", "}")),
        "{\"custom\":5}".into(),
    ];
    for (method, path) in [
        (Method::POST, "/v1/customers".to_owned()),
        (Method::PATCH, format!("/v1/customers/{customer}")),
        (Method::PUT, format!("/v1/customers/{customer}")),
        (Method::POST, "/v1/conversations".into()),
        (Method::POST, format!("/v1/customers/{customer}/conversations")),
        (Method::PATCH, format!("/v1/conversations/{conversation}")),
        (Method::PUT, format!("/v1/conversations/{conversation}")),
        (Method::POST, format!("/v1/conversations/{conversation}/messages")),
        (Method::POST, "/v1/messages".into()),
        (Method::POST, "/v1/notes".into()),
        (Method::POST, "/v1/users".into()),
        (Method::POST, "/v1/teams".into()),
        (Method::POST, "/v1/tags".into()),
        (Method::POST, format!("/v1/conversations/{conversation}/tags")),
        (Method::POST, "/v1/operations/get-conversations-by-customer/run".into()),
    ] {
        for body in &bodies {
            let shown: String = body.chars().take(40).collect();
            let reply = admin.send(method.clone(), &path, Some(body.clone().into_bytes()), &[]).await;
            assert_eq!(reply.status, 400, "{method} {path} {shown}: {}", String::from_utf8_lossy(&reply.body));
            refused(&reply, 400, "bad_request");
        }
        let reply = admin.send(method.clone(), &path, Some(b"{\"name\":\"\xff\xfe\"}".to_vec()), &[]).await;
        refused(&reply, 400, "bad_request");
        let reply = admin.send(method, &path, None, &[]).await;
        refused(&reply, 400, "bad_request");
    }
});

on_both_engines!(deep_values_are_taken_whole_or_refused, |app| async move {
    let admin = app.admin().await;
    let customer = admin.customer().await;
    let conversation = admin.conversation(&customer, json!({})).await;
    for depth in [2, 20, 90, 100, 110, 118, 120, 121, 122, 123, 124, 125, 126, 127, 128, 200] {
        let mut value = json!(1);
        for _ in 0..depth {
            value = json!({ "a": value });
        }
        let body = json!({ "custom": { "deepObj": value } });
        let created = admin.post("/v1/customers", body.clone()).await;
        if created.status == 400 {
            refused(&created, 400, "bad_request");
        } else {
            // What was taken can be read, listed and changed.
            let path = format!("/v1/customers/{}", created.created_id());
            let got = admin.get(&path).await;
            assert_eq!(got.status, 200, "depth {depth}");
            assert_eq!(admin.patch(&path, json!({ "name": "Deep" })).await.status, 200, "depth {depth}");
        }
        let path = format!("/v1/conversations/{conversation}");
        let patched = admin.patch(&path, body).await.status;
        assert!(patched == 200 || patched == 400, "depth {depth}: {patched}");
        assert_eq!(admin.patch(&path, json!({ "name": "Deep" })).await.status, 200, "depth {depth}");
        admin.message(&conversation, json!({ "direction": "in" })).await;
        let list = admin.get(&format!("/v1/customers/{customer}/conversations")).await;
        assert_eq!(list.status, 200);
        let body = json!({ "parameters": { "id": customer } });
        admin.post("/v1/operations/get-conversations-by-customer/run", body).await.ok();
    }
});

on_both_engines!(unknown_paths_and_methods_are_told_apart, |app| async move {
    let admin = app.admin().await;
    for path in [
        "/",
        "/v1",
        "/v2/customers",
        "/v1/nowhere",
        "/v1/customers/x/y/z",
        "/v1/customers/%2e%2e/users",
        "/V1/customers",
        "/v1/customers%00",
    ] {
        refused(&admin.get(path).await, 404, "not_found");
        refused(&admin.post(path, json!({})).await, 404, "not_found");
    }
    for (method, path) in [
        (Method::DELETE, "/v1/customers"),
        (Method::PUT, "/v1/conversations"),
        (Method::POST, "/v1/auth/tokens/current"),
        (Method::PATCH, "/v1/users/current"),
        (Method::POST, "/healthz"),
        (Method::TRACE, "/v1/customers"),
        (Method::from_bytes(b"PURGE").expect("a method"), "/v1/customers"),
    ] {
        refused(&admin.send(method, path, None, &[]).await, 405, "method_not_allowed");
    }
    let reply = admin.delete("/v1/customers").await;
    let allowed = reply.headers.get("allow").and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    assert!(
        allowed.contains("GET") && allowed.contains("POST"),
        "405 says what is allowed (RFC 9110 §15.5.6): {allowed:?}"
    );

    for id in
        ["junk", "58228e05d4e96711004eccb", "58228e05d4e96711004eccb77", "%ff", "g8228e05d4e96711004eccb7", "%00", "*"]
    {
        for kind in ["customers", "conversations", "messages", "notes", "users", "teams", "tags", "auth/tokens"] {
            let reply = admin.get(&format!("/v1/{kind}/{id}")).await;
            refused(&reply, 400, "bad_request");
        }
    }
    for kind in ["customers", "conversations", "messages", "notes", "users", "teams", "tags", "auth/tokens"] {
        let message = refused(&admin.get(&format!("/v1/{kind}/{UNKNOWN}")).await, 404, "not_found");
        assert!(message.contains(UNKNOWN), "{message}");
    }
    for look_up in [
        "customers/email=",
        "customers/phone=",
        "customers/externalId=",
        "conversations/externalId=",
        "messages/externalid=",
    ] {
        for value in ["none", "a%2Fb", "a%3Fb%26c%3Dd", "%C3%BC", "%27%3B--", "=", "%00"] {
            refused(&admin.get(&format!("/v1/{look_up}{value}")).await, 404, "not_found");
        }
        let status = admin.get(&format!("/v1/{look_up}%ff")).await.status;
        assert!(status == 400 || status == 404, "{look_up}: {status}");
        let status = admin.get(&format!("/v1/{look_up}")).await.status;
        assert!(status == 400 || status == 404, "{look_up}: {status}");
    }
});

on_both_engines!(a_look_up_takes_all_that_follows_its_sign, |app| async move {
    let admin = app.admin().await;
    // A value with a slash, percent-encoded or not, for every look-up; and the name it goes by in errors.
    let email = json!({ "emails": [{ "email": "a/b@acme.example" }] });
    let by_email = admin.post("/v1/customers", email).await.created_id();
    let by_phone = admin.post("/v1/customers", json!({ "phones": [{ "phone": "1/2" }] })).await.created_id();
    let by_key = admin.post("/v1/customers", json!({ "externalId": "a/b" })).await.created_id();
    let conversation = admin.conversation(&by_key, json!({ "externalId": "a//b" })).await;
    let message = admin.message(&conversation, json!({ "externalId": "a/b/c" })).await;
    for (look_up, value, id, name) in [
        ("/v1/customers/email=", "a/b@acme.example", &by_email, "email"),
        ("/v1/customers/phone=", "1/2", &by_phone, "phone"),
        ("/v1/customers/externalId=", "a/b", &by_key, "externalId"),
        ("/v1/conversations/externalId=", "a//b", &conversation, "externalId"),
        ("/v1/messages/externalid=", "a/b/c", &message, "externalId"),
    ] {
        for value in [value.to_owned(), value.replace('/', "%2F"), value.replacen('/', "%2f", 1), format!("{value}/")] {
            let path = format!("{look_up}{value}");
            assert_eq!(admin.get(&path).await.ok()["data"]["id"], id.as_str(), "{path}");
            refused(&app.nobody().get(&path).await, 401, "unauthorized");
            refused(&app.actor(&["org.tracking"]).await.get(&path).await, 403, "forbidden");
        }
        for value in ["none", "x/y", "%2F", "a%2Fb%22%5C", "=", "%00", "..%2F..", "a?b=c"] {
            let path = format!("{look_up}{value}");
            let reply = admin.get(&path).await;
            refused(&reply, 404, "not_found");
            assert_eq!(reply.json()["errors"][0]["source"], json!({ "parameter": name }), "{path}");
            refused(&app.nobody().get(&path).await, 401, "unauthorized");
        }
        // Without a value there is nothing to look up.
        for path in [look_up.to_owned(), format!("{look_up}/"), format!("{look_up}//")] {
            refused(&app.nobody().get(&path).await, 401, "unauthorized");
            let reply = admin.get(&path).await;
            assert_eq!(reply.error(), (400, "bad_request".into(), "id".into()), "{path}");
        }
    }
});

on_both_engines!(head_is_get_without_a_body, |app| async move {
    let admin = app.admin().await;
    let customer = admin.customer().await;
    for path in [
        "/v1/customers".to_owned(),
        format!("/v1/customers/{customer}"),
        format!("/v1/customers/{UNKNOWN}"),
        "/v1/nowhere".into(),
        "/healthz".into(),
    ] {
        let get = admin.get(&path).await;
        let head = admin.send(Method::HEAD, &path, None, &[]).await;
        assert_eq!(head.status, get.status, "{path}");
        assert!(head.body.is_empty(), "{path}");
        for name in ["content-type", "x-ratelimit-limit", "access-control-allow-origin"] {
            assert_eq!(head.headers.get(name), get.headers.get(name), "{path} {name}");
        }
        if let Some(length) = head.headers.get("content-length") {
            assert_eq!(length.to_str().expect("a text"), get.body.len().to_string(), "{path}");
        }
    }
    assert_eq!(app.nobody().send(Method::HEAD, "/v1/customers", None, &[]).await.status, 401);
});

on_both_engines!(a_browser_may_ask_beforehand, |app| async move {
    for path in ["/v1/customers", "/v1/nowhere", "/v1/customers/58228e05d4e96711004eccb7/conversations"] {
        let headers = [
            ("origin", "https://app.example.com"),
            ("access-control-request-method", "POST"),
            ("access-control-request-headers", "authorization"),
        ];
        let reply = app.nobody().send(Method::OPTIONS, path, None, &headers).await;
        assert_eq!(reply.status, 204);
        assert!(reply.body.is_empty());
        every_answer(&reply);
        let text = |name: &str| reply.headers[name].to_str().expect("a text").to_owned();
        for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"] {
            assert!(text("access-control-allow-methods").contains(method));
        }
        for header in ["authorization", "content-type"] {
            assert!(text("access-control-allow-headers").contains(header));
        }
        assert!(text("access-control-expose-headers").contains("x-ratelimit-remaining"));
        assert!(!reply.headers.contains_key("access-control-allow-credentials"), "cookies are not let through");
    }
});

on_both_engines!(headers_nobody_needs_are_ignored, |app| async move {
    let admin = app.admin().await;
    let customer = admin.customer().await;
    let path = format!("/v1/customers/{customer}/conversations");
    let plain = admin.get(&path).await;
    for headers in [
        [("if-none-match", "\"x\"")],
        [("if-modified-since", "Sat, 24 Oct 2026 09:00:00 GMT")],
        [("accept", "text/plain")],
        [("accept", "image/png")],
        [("accept", "nonsense")],
        [("accept-encoding", "gzip, br")],
        [("range", "bytes=0-3")],
        [("content-type", "text/plain")],
    ] {
        let reply = get(&admin, &path, &headers).await;
        assert_eq!(reply.ok(), plain.ok(), "{headers:?}");
        assert_eq!(reply.headers["content-type"], "application/json; charset=utf-8");
    }
    for content_type in ["application/json", "application/vnd.api+json", "application/json; charset=utf-8"] {
        let reply =
            admin.send(Method::POST, "/v1/customers", Some(b"{}".to_vec()), &[("content-type", content_type)]).await;
        reply.created();
    }
    let gone =
        admin.send(Method::DELETE, &format!("/v1/customers/{customer}"), None, &[("accept", "text/plain")]).await;
    assert_eq!((gone.status.as_u16(), gone.body.len()), (204, 0));
    refused(&get(&admin, &path, &[("accept", "text/plain")]).await, 404, "not_found");
});

on_both_engines!(what_is_open_to_all_says_nothing_of_anyone, |app| async move {
    app.admin().await.post("/v1/customers", json!({ "name": "Zebulon Quist" })).await.created();
    for path in ["/healthz", "/readyz", "/openapi.json"] {
        let document: Value = app.nobody().get(path).await.ok();
        assert!(!document.to_string().contains("Zebulon Quist"));
        // A wrong token is no reason to refuse what needs none.
        app.bearer("wrong").get(path).await.ok();
    }
});

on_both_engines!(a_query_has_an_end, |app| async move {
    let admin = app.admin().await;
    let customer = admin.customer().await;
    for path in ["/v1/customers".to_owned(), format!("/v1/customers/{customer}/conversations"), "/v1/users".to_owned()]
    {
        for pair in ["filter%5BupdatedAt%5D%5Bgte%5D=2023-01-01T00:00:00Z&", "unknown&", "pageSize=5&"] {
            let (most, more) = (format!("{path}?{}", pair.repeat(100)), format!("{path}?{}last=1", pair.repeat(1_000)));
            admin.get(&most).await.ok();
            let reply = admin.get(&more).await;
            let name = pair.split(['=', '&']).next().expect("a name").replace("%5B", "[").replace("%5D", "]");
            assert!(refused(&reply, 400, "bad_request").starts_with(&format!("{name} is one too many")));
            assert_eq!(reply.error().2, name);
        }
    }
});
