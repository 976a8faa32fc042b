//! People: how they sign in, what they may do by their roles, role groups and teams, and what takes that away again.

use axum::http::Method;
use konverse_api::{ApiSettings, App};
use konverse_domain::{NewToken, Settings};
use konverse_testkit::{Actor, Reply, TestApp, on_both_engines};
use serde_json::{Value, json};
use tokio::task::JoinSet;

const PASSWORD: &str = "correct horse battery";
const MINUTE: i64 = 60_000;
const JSON: (&str, &str) = ("content-type", "application/json");

/// An invited person; gives the id.
async fn invited(app: &TestApp, name: &str, roles: &[&str]) -> String {
    let body = json!({ "name": name, "email": format!("{name}@example.com"), "roles": roles });
    app.admin().await.post("/v1/users", body).await.created_id()
}

/// A person with a password; gives the id.
async fn person(app: &TestApp, name: &str, roles: &[&str]) -> String {
    let id = invited(app, name, roles).await;
    let email = format!("{name}@example.com");
    app.domain.set_password(&app.org, &email, PASSWORD).await.expect("a password is set");
    id
}

async fn sign_in(nobody: &Actor, name: &str, password: &str, headers: &[(&str, &str)]) -> Reply {
    let body = json!({ "domain": "acme", "email": format!("{name}@example.com"), "password": password });
    post(nobody, "/v1/auth/tokens", &body, headers).await
}

async fn post(actor: &Actor, path: &str, body: &Value, headers: &[(&str, &str)]) -> Reply {
    let headers: Vec<_> = headers.iter().copied().chain([JSON]).collect();
    actor.send(Method::POST, path, Some(body.to_string().into_bytes()), &headers).await
}

/// A session of somebody.
async fn session(app: &TestApp, name: &str) -> Actor {
    app.bearer(&token_of(&sign_in(&app.nobody(), name, PASSWORD, &[]).await))
}

#[track_caller]
fn token_of(reply: &Reply) -> String {
    reply.created()["data"]["attributes"]["token"].as_str().expect("a token").to_owned()
}

/// The same data behind a proxy that tells where requests come from.
fn behind_proxy(app: &TestApp) -> Actor {
    let trusted_proxies = vec!["127.0.0.1/32".parse().expect("a range")];
    app.nobody().at(&app.again_with(Settings::default(), ApiSettings { trusted_proxies, ..ApiSettings::default() }))
}

on_both_engines!(a_person_signs_in_to_a_session, |app| async move {
    let admin = app.admin().await;
    let ada = person(&app, "ada", &["org.user.customer.read"]).await;
    assert_eq!(admin.get("/v1/users?pending=true").await.ids(), [ada.as_str()]);
    assert!(admin.get("/v1/users").await.ids().contains(&ada));
    assert!(admin.get("/v1/users?userType=user").await.ids().contains(&ada));
    let mut position = konverse_feed::Position::default();

    let body = json!({ "domain": "Acme.example.com", "email": "Ada@Example.com", "password": PASSWORD });
    let reply = app.nobody().post("/v1/auth/tokens", body.clone()).await;
    let opened = reply.created()["data"].clone();
    assert_eq!(opened["type"], "auth_token");
    assert_eq!(opened["relationships"]["user"]["data"]["id"], ada.as_str());
    assert_eq!(opened["attributes"]["roles"], json!(["org.user.customer.read"]));
    assert_eq!(opened["attributes"]["expiresAt"], "2026-10-24T21:00:00.000Z");
    assert!(!reply.headers.contains_key("set-cookie"), "nobody asked for a cookie");
    let mine = app.bearer(opened["attributes"]["token"].as_str().expect("a token"));
    mine.get("/v1/customers").await.ok();
    assert_eq!(mine.get("/v1/conversations").await.status, 403);
    assert_eq!(mine.get("/v1/users/current").await.ok()["data"]["id"], ada.as_str());
    assert_eq!(mine.get("/v1/auth/tokens/current").await.ok()["data"]["id"], opened["id"]);

    let shown = admin.attributes(&format!("/v1/users/{ada}")).await;
    assert_eq!(shown["firstLoginAt"], "2026-10-24T09:00:00.000Z");
    assert_eq!(shown["mostRecentLoginAt"], "2026-10-24T09:00:00.000Z");
    assert_eq!(shown["password"]["updatedAt"], "2026-10-24T09:00:00.000Z");
    assert!(admin.get("/v1/users?pending=true").await.ids().is_empty());

    // Sessions are tokens like others: listed, and revoked by those who may.
    assert!(admin.get("/v1/auth/tokens").await.ids().contains(&opened["id"].as_str().expect("an id").to_owned()));
    let second = session(&app, "ada").await;
    let id = second.get("/v1/auth/tokens/current").await.ok()["data"]["id"].as_str().expect("an id").to_owned();
    assert_eq!(admin.delete(&format!("/v1/auth/tokens/{id}")).await.status, 204);
    assert_eq!(second.get("/v1/customers").await.status, 401);
    let third = session(&app, "ada").await;
    assert_eq!(third.delete("/v1/auth/tokens/current").await.status, 204);
    assert_eq!(third.get("/v1/customers").await.status, 401);

    // It ends by itself, later where it was asked to.
    let mut long = body;
    long["remember"] = json!(true);
    let long = app.bearer(&token_of(&app.nobody().post("/v1/auth/tokens", long).await));
    app.clock.advance(12 * 60 * MINUTE);
    let over = mine.get("/v1/customers").await;
    assert!(over.status == 401 && over.json()["error"].as_str().is_some_and(|text| text.contains("Expired token")));
    long.get("/v1/customers").await.ok();
    app.clock.advance(30 * 24 * 60 * MINUTE);
    assert_eq!(long.get("/v1/customers").await.status, 401);

    // Nothing tells the password or its hash.
    let mut said = format!("{:?}", app.events(&mut position).await);
    for path in ["/v1/users", "/v1/auth/tokens", &format!("/v1/users/{ada}")] {
        said.push_str(&String::from_utf8_lossy(&admin.get(path).await.body));
    }
    assert!(!said.contains(PASSWORD) && !said.contains("argon2"), "{said}");
});

on_both_engines!(whatever_is_wrong_the_answer_is_the_same, |app| async move {
    person(&app, "ada", &["org.user"]).await;
    invited(&app, "unset", &["org.user"]).await;
    let gone = person(&app, "gone", &["org.user"]).await;
    app.admin().await.put(&format!("/v1/users/{gone}"), json!({ "deleted": true })).await.created();
    let machine = app.domain.create_token(
        &app.org,
        NewToken { name: "m".into(), roles: vec!["org".parse().expect("a role")], expires_at: None, cidr: None },
    );
    let machine = format!("{}@machine.invalid", machine.await.expect("a token").user);
    let wrong =
        |domain: &str, email: &str, password: &str| json!({ "domain": domain, "email": email, "password": password });
    let mut told = Vec::new();
    for body in [
        wrong("acme", "ada@example.com", "correct horse batterY"),
        wrong("nowhere", "ada@example.com", PASSWORD),
        wrong("acme", "nobody@example.com", PASSWORD),
        wrong("acme", "unset@example.com", PASSWORD),
        wrong("acme", "gone@example.com", PASSWORD),
        wrong("acme", &machine, PASSWORD),
        wrong("acme", "'; --", PASSWORD),
    ] {
        let reply = app.nobody().post("/v1/auth/tokens", body).await;
        assert_eq!(reply.status, 401);
        told.push(reply.body);
    }
    assert!(told.iter().all(|one| *one == told[0]));
    for way in ["singleAccessToken", "googleAuthToken", "samlAuthToken"] {
        let reply = app.nobody().post("/v1/auth/tokens", json!({ way: "x" })).await;
        assert_eq!(reply.error(), (400, "bad_request".into(), format!("/{way}")));
    }
    for body in [json!({}), json!({ "domain": "acme", "email": "a\u{0}@b", "password": "x" }), json!([])] {
        assert_eq!(app.nobody().post("/v1/auth/tokens", body).await.status, 400);
    }
});

on_both_engines!(roles_of_a_session_are_those_of_its_user_now, |app| async move {
    let admin = app.admin().await;
    let ada = person(&app, "ada", &[]).await;
    let elsewhere = app.other_process().await;
    let mine = session(&app, "ada").await;
    let there = mine.at(&elsewhere);
    let may = async |whether: bool| {
        let expected = if whether { 200 } else { 403 };
        for actor in [&mine, &there] {
            assert_eq!(actor.get("/v1/customers").await.status, expected);
        }
    };
    may(false).await;
    let user = format!("/v1/users/{ada}");
    admin.put(&user, json!({ "roles": ["org.user.customer.read"] })).await.created();
    may(true).await;
    admin.put(&user, json!({ "roles": [] })).await.created();
    may(false).await;

    let body = json!({ "name": "Readers", "roles": ["org.permission.customer.read"] });
    let group = admin.post("/v1/role-groups", body).await.ok()["data"]["id"].as_str().expect("an id").to_owned();
    let by_group = format!("/v1/role-groups/{group}");
    admin.put(&user, json!({ "roleGroups": [group] })).await.created();
    may(true).await;
    admin.put(&by_group, json!({ "roles": ["org.user.note.read"] })).await.ok();
    may(false).await;
    admin.put(&by_group, json!({ "roles": ["org.user.customer"] })).await.ok();
    may(true).await;
    admin.put(&user, json!({ "roleGroups": [] })).await.created();
    may(false).await;

    let team =
        admin.at(&elsewhere).post("/v1/teams", json!({ "name": "Desk", "roleGroups": [group] })).await.created_id();
    let team = format!("/v1/teams/{team}");
    may(false).await;
    admin.at(&elsewhere).post(&format!("{team}/members"), json!({ "members": [ada] })).await.ok();
    may(true).await;
    admin.patch(&team, json!({ "roleGroups": [] })).await.ok();
    may(false).await;
    admin.patch(&team, json!({ "roleGroups": [group] })).await.ok();
    may(true).await;
    admin.delete_with(&format!("{team}/members"), json!({ "members": [ada] })).await.ok();
    may(false).await;
    admin.put(&team, json!({ "name": "Desk", "members": [ada] })).await.ok();
    may(true).await;
    assert_eq!(admin.delete(&by_group).await.status, 204);
    may(false).await;
});

on_both_engines!(deactivation_ends_what_lets_somebody_in, |app| async move {
    let admin = app.admin().await;
    let ada = person(&app, "ada", &["org.user"]).await;
    let user = format!("/v1/users/{ada}");
    let (mine, elsewhere) = (session(&app, "ada").await, app.other_process().await);
    admin.at(&elsewhere).put(&user, json!({ "deleted": true })).await.created();
    assert_eq!(mine.get("/v1/customers").await.status, 401);
    assert_eq!(admin.get(&user).await.status, 404);
    assert_eq!(admin.get("/v1/users?deleted=true").await.ids(), [ada.as_str()]);
    assert!(!admin.get("/v1/users").await.ids().contains(&ada));
    let shown = admin.get("/v1/users?deleted=true").await.ok();
    assert!(shown["data"][0]["attributes"]["deletedAt"].is_string(), "{shown}");
    assert_eq!(sign_in(&app.nobody(), "ada", PASSWORD, &[]).await.status, 401);
    let restored = admin.put(&user, json!({ "deleted": null })).await.created();
    assert!(restored["data"]["attributes"].get("deletedAt").is_none(), "{restored}");
    assert_eq!(mine.get("/v1/customers").await.status, 401, "what ended stays ended");
    session(&app, "ada").await.get("/v1/customers").await.ok();

    // The token of a machine user ends with it.
    let bot = app.actor(&["org.user"]).await;
    let machine = bot.get("/v1/users/current").await.ok()["data"]["id"].as_str().expect("an id").to_owned();
    admin.put(&format!("/v1/users/{machine}"), json!({ "deleted": true })).await.created();
    assert_eq!(bot.get("/v1/customers").await.status, 401);
    assert_eq!(bot.at(&elsewhere).get("/v1/customers").await.status, 401);

    // Another org's people are nobody's business.
    let other = app.domain.create_org("umbrella").await.expect("an org");
    let stranger = app.actor_of(&other, &["org"]).await;
    for body in [json!({ "deleted": true }), json!({ "name": "x" }), json!({ "roles": [] })] {
        assert_eq!(stranger.put(&user, body).await.status, 404);
    }
    assert_eq!(sign_in(&app.nobody(), "ada", PASSWORD, &[]).await.status, 201);
});

on_both_engines!(a_new_password_ends_other_sessions, |app| async move {
    person(&app, "ada", &["org.user"]).await;
    let (here, there) = (session(&app, "ada").await, session(&app, "ada").await);
    let own = "/v1/users/current";
    let change = |current: &str, new: &str| json!({ "password": new, "currentPassword": current });
    for (body, pointer) in [
        (json!({ "password": "a new password" }), "/currentPassword"),
        (json!({ "currentPassword": PASSWORD }), "/password"),
        (change("wrong", "a new password"), "/currentPassword"),
        (change(PASSWORD, "short"), "/password"),
        (json!({ "roles": ["org"] }), "/roles"),
        (json!({ "roleGroups": [] }), "/roleGroups"),
        (json!({ "deleted": true }), "/deleted"),
    ] {
        assert_eq!(here.put(own, body).await.error(), (400, "bad_request".into(), pointer.to_owned()));
    }
    let changed = here.put(own, json!({ "displayName": "Ada", "mobile": null })).await.ok();
    assert_eq!(changed["data"]["attributes"]["displayName"], "Ada");
    there.get(own).await.ok();
    here.put(own, change(PASSWORD, "a new password")).await.ok();
    here.get(own).await.ok();
    assert_eq!(there.get(own).await.status, 401);
    assert_eq!(sign_in(&app.nobody(), "ada", PASSWORD, &[]).await.status, 401);
    assert_eq!(sign_in(&app.nobody(), "ada", "a new password", &[]).await.status, 201);
    // The operator's way ends them all.
    app.domain.set_password(&app.org, "ada@example.com", PASSWORD).await.expect("a password");
    assert_eq!(here.get(own).await.status, 401);
    let bot = app.actor(&["org"]).await;
    assert_eq!(bot.put(own, change("x", "a new password")).await.error().2, "/password");
    assert_eq!(bot.put(own, json!({ "avatarUrl": "https://example.com/a.png" })).await.status, 200);
});

on_both_engines!(old_sessions_make_room_for_new_ones, |app| async move {
    person(&app, "ada", &["org.user"]).await;
    let mut sessions = Vec::new();
    for _ in 0..21 {
        sessions.push(session(&app, "ada").await);
        app.clock.advance(1000);
    }
    assert_eq!(sessions[0].get("/v1/customers").await.status, 401);
    for session in &sessions[1..] {
        session.get("/v1/customers").await.ok();
    }
});

on_both_engines!(guesses_are_slowed_and_owners_are_not_locked_out, |app| async move {
    person(&app, "ada", &["org.user"]).await;
    let first = behind_proxy(&app);
    let second = first.at(&other_behind_proxy(&app).await);
    let home = [("x-forwarded-for", "203.0.113.7")];
    assert_eq!(sign_in(&first, "ada", PASSWORD, &home).await.status, 201, "a network to remember");

    // Ten guesses from one network, whichever process they come to; the right password is held up as well.
    let cafe = [("x-forwarded-for", "198.51.100.9")];
    for n in 0..10 {
        let actor = if n % 2 == 0 { &first } else { &second };
        assert_eq!(sign_in(actor, "ada", "guess", &cafe).await.status, 401, "{n}");
    }
    for password in ["guess", PASSWORD] {
        let reply = sign_in(&second, "ada", password, &[("x-forwarded-for", "198.51.100.200")]).await;
        assert_eq!(
            (reply.status.as_u16(), reply.json()["errors"][0]["code"].clone()),
            (429, json!("too_many_requests"))
        );
        assert_eq!(reply.headers["retry-after"], "900");
    }
    // From elsewhere the account waits for a second, then for longer, and for a minute at most.
    let away = async |n: u8, password: &str| {
        let address = format!("192.0.{n}.1");
        sign_in(&first, "ada", password, &[("x-forwarded-for", &address)]).await
    };
    let reply = away(1, PASSWORD).await;
    assert_eq!((reply.status.as_u16(), &reply.headers["retry-after"]), (429, &"1".parse().expect("a value")));
    for n in 1..20 {
        app.clock.advance(MINUTE);
        assert_eq!(away(n, "guess").await.status, 401, "{n}");
        let reply = away(n + 100, PASSWORD).await;
        assert_eq!(reply.status, 429);
        let wait: u64 = reply.headers["retry-after"].to_str().expect("a text").parse().expect("a number");
        assert_eq!(wait, (1 << n.min(6)).min(60), "{n}");
    }
    // Where its owner comes from they are let in all the while.
    assert_eq!(sign_in(&second, "ada", PASSWORD, &home).await.status, 201);
    app.clock.advance(MINUTE);
    assert_eq!(away(50, PASSWORD).await.status, 201, "a minute is the longest wait");
    // The quarter of the cafe is over by now; its failures count from one again.
    assert_eq!(sign_in(&first, "ada", PASSWORD, &cafe).await.status, 201);

    // People who are not there are slowed alike.
    for n in 0..10 {
        assert_eq!(sign_in(&first, "nobody", "guess", &cafe).await.status, 401, "{n}");
    }
    assert_eq!(sign_in(&first, "nobody", "guess", &cafe).await.status, 429);
});

/// Another process behind that proxy.
async fn other_behind_proxy(app: &TestApp) -> App {
    let trusted_proxies = vec!["127.0.0.1/32".parse().expect("a range")];
    App::new(app.other_domain(4_711).await, ApiSettings { trusted_proxies, ..ApiSettings::default() })
}

on_both_engines!(guesses_at_once_are_no_more_than_ten, |app| async move {
    person(&app, "ada", &["org.user"]).await;
    let elsewhere = app.other_process().await;
    let mut guesses = JoinSet::new();
    for n in 0..30 {
        let actor = if n % 2 == 0 { app.nobody() } else { app.nobody().at(&elsewhere) };
        guesses.spawn(async move { sign_in(&actor, "ada", "guess", &[]).await.status.as_u16() });
    }
    let told = guesses.join_all().await;
    assert!(told.iter().all(|status| [401, 429, 503].contains(status)), "{told:?}");
    assert!(told.iter().filter(|status| **status == 401).count() <= 10, "{told:?}");
    assert_eq!(sign_in(&app.nobody(), "ada", PASSWORD, &[]).await.status, 429);
});

on_both_engines!(nobody_gives_what_they_do_not_hold, |app| async move {
    let admin = app.admin().await;
    let hr = app.actor(&["org.admin.user", "org.admin.team", "org.user.customer"]).await;
    let body =
        json!({ "name": "x", "email": "x@example.com", "roles": ["org", "org.user.customer.read", "org.user", "odd"] });
    let made = hr.post("/v1/users", body).await.created();
    assert_eq!(made["data"]["attributes"]["roles"], json!(["org.user.customer.read"]));
    let user = format!("/v1/users/{}", made["data"]["id"].as_str().expect("an id"));
    let changed = hr.put(&user, json!({ "roles": ["org.admin", "org.user.customer.write"] })).await.created();
    assert_eq!(changed["data"]["attributes"]["roles"], json!(["org.user.customer.write"]));
    // What somebody else gave may stay.
    admin.put(&user, json!({ "roles": ["org.user.note.read"] })).await.created();
    let changed = hr.put(&user, json!({ "roles": ["org.user.note.read", "org.user.note.write"] })).await.created();
    assert_eq!(changed["data"]["attributes"]["roles"], json!(["org.user.note.read"]));

    let group = |reply: Reply| reply.ok()["data"]["id"].as_str().expect("an id").to_owned();
    let refused = |reply: Reply, pointer: &str| {
        assert_eq!(
            reply.error(),
            (400, "bad_request".into(), pointer.to_owned()),
            "{}",
            String::from_utf8_lossy(&reply.body)
        );
    };
    refused(
        hr.post("/v1/role-groups", json!({ "name": "g", "roles": ["org.user.customer.read", "org"] })).await,
        "/roles/1",
    );
    let small =
        group(hr.post("/v1/role-groups", json!({ "name": "small", "roles": ["org.user.customer.read"] })).await);
    let large = group(admin.post("/v1/role-groups", json!({ "name": "large", "roles": ["org"] })).await);
    refused(hr.put(&format!("/v1/role-groups/{small}"), json!({ "roles": ["org.hook"] })).await, "/roles/0");
    hr.put(&format!("/v1/role-groups/{large}"), json!({ "description": "all" })).await.ok();
    refused(hr.put(&user, json!({ "roleGroups": [small, large] })).await, "/roleGroups/1");
    refused(hr.put(&user, json!({ "roleGroups": ["58228e05d4e96711004eccb7"] })).await, "/roleGroups/0");
    refused(
        hr.post("/v1/users", json!({ "name": "y", "email": "y@x.de", "roleGroups": [large] })).await,
        "/roleGroups/0",
    );
    hr.put(&user, json!({ "roleGroups": [small] })).await.created();
    let id = user.rsplit('/').next().expect("an id");
    refused(hr.post("/v1/teams", json!({ "name": "t", "roleGroups": [large] })).await, "/roleGroups/0");
    let team = admin.post("/v1/teams", json!({ "name": "t", "roleGroups": [large] })).await.created_id();
    let members = json!({ "members": [id] });
    refused(hr.post(&format!("/v1/teams/{team}/members"), members.clone()).await, "/members");
    refused(hr.patch(&format!("/v1/teams/{team}"), members.clone()).await, "/members");
    admin.post(&format!("/v1/teams/{team}/members"), members.clone()).await.ok();
    // Taking away is no giving.
    hr.delete_with(&format!("/v1/teams/{team}/members"), members).await.ok();
});

on_both_engines!(teams_change_with_their_members, |app| async move {
    let admin = app.admin().await;
    let (ada, bob) = (invited(&app, "ada", &[]).await, invited(&app, "bob", &[]).await);
    let team = admin.post("/v1/teams", json!({ "name": "Desk", "members": [ada] })).await.created_id();
    let path = format!("/v1/teams/{team}");
    let members = |reply: &Reply| reply.ok()["data"]["attributes"]["members"].clone();
    for _ in 0..2 {
        let reply = admin.post(&format!("{path}/members"), json!({ "members": [bob, ada] })).await;
        assert_eq!(members(&reply), json!([ada, bob]));
    }
    assert_eq!(admin.get(&format!("/v1/users/{bob}/teams")).await.ids(), [team.as_str()]);
    let unknown = json!({ "members": [ada, "58228e05d4e96711004eccb7"] });
    for reply in [
        admin.post(&format!("{path}/members"), unknown.clone()).await,
        admin.delete_with(&format!("{path}/members"), unknown.clone()).await,
        admin.patch(&path, unknown).await,
    ] {
        assert_eq!(reply.error(), (400, "bad_request".into(), "/members/1".into()));
    }
    for _ in 0..2 {
        let reply = admin.delete_with(&format!("{path}/members"), json!({ "members": [ada] })).await;
        assert_eq!(members(&reply), json!([bob]));
    }
    assert!(admin.get(&format!("/v1/users/{ada}/teams")).await.ids().is_empty());
    assert_eq!(admin.put(&path, json!({ "icon": "sun" })).await.error().2, "/name");
    let changed =
        admin.put(&path, json!({ "name": "Front desk", "displayName": "Desk", "externalId": "7" })).await.ok();
    assert_eq!(changed["data"]["attributes"]["name"], "Front desk");
    assert_eq!(changed["data"]["attributes"]["members"], json!([bob]));
    let other = admin.post("/v1/teams", json!({ "name": "Other" })).await.created_id();
    assert_eq!(
        admin.patch(&format!("/v1/teams/{other}"), json!({ "name": "FRONT desk" })).await.error(),
        (409, "conflict".into(), "/name".into())
    );
    assert_eq!(admin.delete(&path).await.status, 204);
    assert_eq!(admin.get(&path).await.status, 404);
    assert!(admin.get(&format!("/v1/users/{bob}/teams")).await.ids().is_empty());
    admin.patch(&format!("/v1/teams/{other}"), json!({ "name": "Front desk", "externalId": "7" })).await.ok();
    let stranger = app.actor_of(&app.domain.create_org("umbrella").await.expect("an org"), &["org"]).await;
    let theirs = format!("/v1/teams/{other}");
    assert_eq!(stranger.patch(&theirs, json!({ "name": "Mine" })).await.status, 404);
    assert_eq!(stranger.delete(&theirs).await.status, 404);
    assert_eq!(stranger.post(&format!("{theirs}/members"), json!({ "members": [] })).await.status, 404);
});

on_both_engines!(role_groups_come_with_konverse_and_with_the_org, |app| async move {
    let admin = app.admin().await;
    let elsewhere = admin.at(&app.other_process().await);
    let (here, there) = tokio::join!(admin.get("/v1/role-groups"), elsewhere.get("/v1/role-groups"));
    assert_eq!(here.ids(), there.ids());
    let list = here.ok();
    let names: Vec<_> = list["data"].as_array().expect("a list").iter().map(|one| &one["attributes"]["name"]).collect();
    for name in ["Owner", "Admin", "Agent", "Read only"] {
        assert!(names.contains(&&json!(name)), "{names:?}");
    }
    for group in list["data"].as_array().expect("a list") {
        let path = format!("/v1/role-groups/{}", group["id"].as_str().expect("an id"));
        assert_eq!(group["attributes"]["system"], true);
        assert!(group["attributes"]["roles"].as_array().is_some_and(|roles| !roles.is_empty()));
        assert_eq!(admin.put(&path, json!({ "description": "mine" })).await.status, 400);
        assert_eq!(admin.delete(&path).await.status, 400);
        assert_eq!(admin.get(&path).await.ok()["data"], *group);
    }
    // Whoever is only to read can.
    let reading = list["data"].as_array().expect("a list").iter().find(|one| one["attributes"]["name"] == "Read only");
    let reading = reading.expect("it is there")["id"].clone();
    person(&app, "ada", &[]).await;
    let ada = admin.get("/v1/users?email=ada@example.com").await.ids();
    admin.put(&format!("/v1/users/{}", ada[0]), json!({ "roleGroups": [reading] })).await.created();
    let mine = session(&app, "ada").await;
    for path in ["/v1/customers", "/v1/conversations", "/v1/messages", "/v1/users", "/v1/teams", "/v1/tags"] {
        mine.get(path).await.ok();
    }
    assert_eq!(mine.post("/v1/customers", json!({})).await.status, 403);

    let made = admin.post("/v1/role-groups", json!({ "name": "Night", "description": "At night" })).await.ok();
    assert_eq!(made["data"]["type"], "role_group");
    assert_eq!(
        (&made["data"]["attributes"]["system"], &made["data"]["attributes"]["display"]),
        (&json!(false), &json!(true))
    );
    for name in ["NIGHT", "owner"] {
        let reply = elsewhere.post("/v1/role-groups", json!({ "name": name })).await;
        assert_eq!(reply.error(), (409, "conflict".into(), "/name".into()));
    }
    assert_eq!(admin.post("/v1/role-groups", json!({ "name": "n", "roles": ["admin"] })).await.error().2, "/roles/0");
    let path = format!("/v1/role-groups/{}", made["data"]["id"].as_str().expect("an id"));
    let changed = admin.put(&path, json!({ "name": "Nights", "display": false, "roles": ["org.user"] })).await.ok();
    assert_eq!(changed["data"]["attributes"]["roles"], json!(["org.user"]));
    let stranger = app.actor_of(&app.domain.create_org("umbrella").await.expect("an org"), &["org"]).await;
    for reply in [stranger.get(&path).await, stranger.put(&path, json!({})).await, stranger.delete(&path).await] {
        assert_eq!(reply.status, 404);
    }
    assert_eq!(admin.delete(&path).await.status, 204);
    admin.post("/v1/role-groups", json!({ "name": "Nights" })).await.ok();
});

on_both_engines!(pages_of_named_origins_use_cookies, |app| async move {
    person(&app, "ada", &["org.user"]).await;
    let allowed_origins = vec!["https://desk.example.com".to_owned()];
    let trusted_proxies = vec!["127.0.0.1/32".parse().expect("a range")];
    let settings = ApiSettings { allowed_origins, trusted_proxies, ..ApiSettings::default() };
    let page = app.nobody().at(&app.again_with(Settings::default(), settings));
    let origin = ("origin", "https://desk.example.com");
    let https = ("x-forwarded-proto", "https");

    let preflight = page.send(Method::OPTIONS, "/v1/auth/tokens", None, &[origin]).await;
    let open = |reply: &Reply| {
        assert_eq!(reply.headers["access-control-allow-origin"], origin.1);
        assert_eq!(reply.headers["access-control-allow-credentials"], "true");
        let vary: Vec<_> = reply.headers.get_all("vary").iter().filter_map(|value| value.to_str().ok()).collect();
        assert!(vary.contains(&"origin"), "{vary:?}");
    };
    open(&preflight);
    assert!(preflight.headers["access-control-allow-headers"].to_str().is_ok_and(|text| text.contains("x-csrf-token")));

    let reply = sign_in(&page, "ada", PASSWORD, &[origin, https]).await;
    open(&reply);
    let token = token_of(&reply);
    let set: Vec<_> = reply.headers.get_all("set-cookie").iter().map(|value| value.to_str().expect("a text")).collect();
    let csrf = reply.headers["x-csrf-token"].to_str().expect("a text");
    assert_eq!(
        set,
        [
            format!("x-kustomer-auth-token={token}; Path=/; Max-Age=43200; SameSite=None; Secure; HttpOnly"),
            format!("_csrf={csrf}; Path=/; Max-Age=43200; SameSite=None; Secure"),
        ]
    );
    let cookies = format!("x-kustomer-auth-token={token}; _csrf={csrf}");
    let current = "/v1/auth/tokens/current";
    let read = page.send(Method::GET, current, None, &[origin, ("cookie", &cookies)]).await;
    read.ok();
    open(&read);
    assert_eq!(read.headers["x-csrf-token"], csrf);
    assert_eq!(page.send(Method::DELETE, current, None, &[origin, ("cookie", &cookies)]).await.status, 401);
    let guarded = [origin, https, ("cookie", cookies.as_str()), ("x-csrf-token", csrf)];
    let reply = page.send(Method::DELETE, current, None, &guarded).await;
    assert_eq!(reply.status, 204);
    let set: Vec<_> = reply.headers.get_all("set-cookie").iter().map(|value| value.to_str().expect("a text")).collect();
    assert!(set.len() == 2 && set.iter().all(|one| one.contains("Max-Age=0")), "{set:?}");
    assert_eq!(page.send(Method::GET, current, None, &[("cookie", &cookies)]).await.status, 401);

    // In plain there is no Secure; others get no cookies, and no credentials.
    let plain = sign_in(&page, "ada", PASSWORD, &[origin]).await;
    let set = plain.headers["set-cookie"].to_str().expect("a text").to_owned();
    assert!(set.contains("SameSite=Lax") && !set.contains("Secure"), "{set}");
    for other in
        ["https://evil.example.com", "https://desk.example.com.evil.example", "http://desk.example.com", "null"]
    {
        let reply = sign_in(&page, "ada", PASSWORD, &[("origin", other), https]).await;
        reply.created();
        assert!(!reply.headers.contains_key("set-cookie") && !reply.headers.contains_key("x-csrf-token"));
        assert_eq!(reply.headers["access-control-allow-origin"], "*");
        assert!(!reply.headers.contains_key("access-control-allow-credentials"));
    }
});
