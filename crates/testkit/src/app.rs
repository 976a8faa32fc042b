//! The real router over a real store, spoken to by actors.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt;
use konverse_api::{ApiSettings, App};
use konverse_domain::{Domain, Ids, NewToken, Org, Settings};
use konverse_feed::{Feed, Position};
use konverse_jobs::{Job, Round, Runner, Snoozes};
use konverse_model::{Clock, Id, Instant};
use konverse_store::{Event, Store};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::Searching;
use crate::described::Description;
use crate::store::{Backend, TestClock, TestStore, seeded};

/// A running konverse without a network.
pub struct TestApp {
    /// Its store.
    pub store: TestStore,
    /// Its clock.
    pub clock: Arc<TestClock>,
    /// Its rules.
    pub domain: Arc<Domain>,
    /// The org `acme`, which every test begins with.
    pub org: Org,
    app: App,
    /// Other processes made so far: no two make the same ids.
    others: AtomicU64,
    searching: Option<(Searching, TempDir)>,
}

/// Somebody with a token.
#[derive(Clone)]
pub struct Actor {
    app: App,
    clock: Arc<TestClock>,
    /// The token; empty for nobody.
    pub token: String,
    /// Whether answers are held against `openapi.json`.
    is_held: bool,
}

/// An answer.
#[derive(Debug)]
pub struct Reply {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body's bytes.
    pub body: Vec<u8>,
}

impl TestApp {
    /// An app with default settings.
    pub async fn new(backend: Backend) -> Self {
        Self::with(backend, Settings::default(), ApiSettings::default()).await
    }

    /// An app with these settings.
    ///
    /// # Panics
    /// When it cannot be made.
    pub async fn with(backend: Backend, settings: Settings, api: ApiSettings) -> Self {
        let store = TestStore::new(backend).await;
        let clock = Arc::new(TestClock::default());
        let domain = Arc::new(Domain::new(store.store(), clock.clone(), Ids::new(seeded(7)), settings));
        let org = domain.create_org("acme").await.expect("the org is new");
        let app = App::new(Arc::clone(&domain), api);
        Self { store, clock, domain, org, app, others: AtomicU64::new(0), searching: None }
    }

    /// The same with searches: an index of its own follows what is stored.
    ///
    /// # Panics
    /// When there is no room for it.
    #[must_use]
    pub fn with_search(self) -> Self {
        self.with_search_and(ApiSettings::default())
    }

    /// The same with these settings of the routes.
    ///
    /// # Panics
    /// When there is no room for it.
    #[must_use]
    pub fn with_search_and(self, api: ApiSettings) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let searching = Searching::start(self.store.store(), folder.path());
        let settings = *self.domain.settings();
        let domain = Domain::new(self.store.store(), self.clock.clone(), Ids::new(seeded(13)), settings);
        let domain = domain.with_search(Arc::clone(&searching.index)).shared();
        let app = App::new(Arc::clone(&domain), api);
        Self { domain, app, searching: Some((searching, folder)), ..self }
    }

    /// The index of searches and what follows for it.
    ///
    /// # Panics
    /// When the app has no searches.
    pub fn searching(&self) -> &Searching {
        &self.searching.as_ref().expect("an app with searches").0
    }

    /// An app over what is stored already, of which the first org is meant.
    ///
    /// # Panics
    /// When there is no org.
    pub async fn over_stored(store: TestStore, clock: TestClock) -> Self {
        let org = store.store().orgs().await.expect("orgs").into_iter().next().expect("an org");
        let clock = Arc::new(clock);
        let domain = Domain::new(store.store(), clock.clone(), Ids::new(seeded(7)), Settings::default()).shared();
        let app = App::new(Arc::clone(&domain), ApiSettings::default());
        Self { store, clock, domain, org, app, others: AtomicU64::new(0), searching: None }
    }

    /// The same data behind other settings.
    pub fn again_with(&self, settings: Settings, api: ApiSettings) -> App {
        let domain = Domain::new(self.store.store(), self.clock.clone(), Ids::new(seeded(11)), settings);
        App::new(Arc::new(domain), api)
    }

    /// The same data and index behind other settings.
    pub fn searching_again_with(&self, settings: Settings) -> App {
        let domain = Domain::new(self.store.store(), self.clock.clone(), Ids::new(seeded(17)), settings);
        App::new(domain.with_search(Arc::clone(&self.searching().index)).shared(), ApiSettings::default())
    }

    /// The same data as another process has it: a store of its own, ids of its own, rules of its own.
    pub async fn other_process(&self) -> App {
        self.over(self.store.reopened().await)
    }

    /// Rules and routes of another process, over this store.
    pub fn over(&self, store: Arc<dyn Store>) -> App {
        // No two processes of a test may make the same ids.
        let seed = 1_000 + self.others.fetch_add(1, Ordering::Relaxed);
        let domain = Domain::new(store, self.clock.clone(), Ids::new(seeded(seed)), Settings::default());
        App::new(Arc::new(domain), ApiSettings::default())
    }

    /// The rules of another process, over a store and with ids of its own; `seed` is one that no other process has.
    pub async fn other_domain(&self, seed: u64) -> Arc<Domain> {
        let ids = Ids::new(seeded(seed));
        Domain::new(self.store.reopened().await, self.clock.clone(), ids, Settings::default()).shared()
    }

    /// What runs jobs in this process.
    pub fn runner(&self) -> Runner {
        Runner::new(self.store.store(), self.clock.clone(), Id::from_bytes([7; 12]))
    }

    /// One round of a job.
    ///
    /// # Panics
    /// When the round fails.
    pub async fn round<J: Job>(&self, job: &J) -> Round {
        self.runner().round(job, 500).await.expect("a round")
    }

    /// Ends the snoozes whose time has come; gives how many.
    pub async fn end_snoozes(&self) -> usize {
        let round = self.round(&Snoozes(Arc::clone(&self.domain))).await;
        assert_eq!(round.failed, 0);
        round.done
    }

    /// The sequence of `acme`.
    pub fn feed(&self) -> Feed {
        Feed::new(self.store.store(), self.org.id)
    }

    /// What happened in `acme` since a position, each customer's in order; the position moves on.
    ///
    /// # Panics
    /// When the sequence cannot be read.
    pub async fn events(&self, since: &mut Position) -> Vec<Event> {
        let mut events = Vec::new();
        loop {
            let batch = self.feed().after(since, 200).await.expect("the sequence is kept");
            if batch.events.is_empty() {
                return events;
            }
            *since = batch.position;
            events.extend(batch.events);
        }
    }

    /// Now.
    pub fn now(&self) -> Instant {
        self.clock.now()
    }

    /// A token of `acme` with these roles.
    pub async fn actor(&self, roles: &[&str]) -> Actor {
        self.actor_of(&self.org, roles).await
    }

    /// A token of an org with these roles.
    ///
    /// # Panics
    /// When a role is no role.
    pub async fn actor_of(&self, org: &Org, roles: &[&str]) -> Actor {
        let roles = roles.iter().map(|role| role.parse().expect("a role")).collect();
        let new = NewToken { name: "test".into(), roles, expires_at: None, cidr: None };
        let minted = self.domain.create_token(org, new).await.expect("the token is made");
        Actor { app: self.app.clone(), clock: Arc::clone(&self.clock), token: minted.secret, is_held: true }
    }

    /// Somebody who may do everything.
    pub async fn admin(&self) -> Actor {
        self.actor(&["org"]).await
    }

    /// Somebody without a token.
    pub fn nobody(&self) -> Actor {
        self.bearer("")
    }

    /// Somebody with this token.
    pub fn bearer(&self, token: &str) -> Actor {
        Actor { app: self.app.clone(), clock: Arc::clone(&self.clock), token: token.to_owned(), is_held: true }
    }
}

impl Actor {
    /// The same token, spoken to another app.
    pub fn at(&self, app: &App) -> Self {
        Self { app: app.clone(), ..self.clone() }
    }

    /// The same, whose answers are not held against `openapi.json`: texts of another release are answered as they are.
    #[must_use]
    pub fn of_any_release(&self) -> Self {
        Self { is_held: false, ..self.clone() }
    }

    /// Sends a request as it is, with the token.
    ///
    /// # Panics
    /// When the request is malformed, or the answer is not as `openapi.json` describes it.
    pub async fn send(&self, method: Method, path: &str, body: Option<Vec<u8>>, headers: &[(&str, &str)]) -> Reply {
        let mut request = Request::builder().method(method.clone()).uri(path);
        if !self.token.is_empty() {
            request = request.header("authorization", format!("Bearer {}", self.token));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let peer: std::net::SocketAddr = ([127, 0, 0, 1], 40_000).into();
        let request =
            request.extension(ConnectInfo(peer)).body(body.map_or_else(Body::empty, Body::from)).expect("a request");
        let (parts, body) = self.app.answer(request).await.into_parts();
        let body = body.collect().await.expect("a whole body").to_bytes().to_vec();
        let reply = Reply { status: parts.status, headers: parts.headers, body };
        if !self.is_held {
            return reply;
        }
        let complaints = Description::get().complaints(&method, path, &reply);
        let text = String::from_utf8_lossy(&reply.body);
        assert!(complaints.is_empty(), "{method} {path}: {} is not as described: {complaints:?}: {text}", reply.status);
        reply
    }

    async fn send_json(&self, method: Method, path: &str, body: &Value) -> Reply {
        self.send(method, path, Some(body.to_string().into_bytes()), &[("content-type", "application/json")]).await
    }

    /// GET.
    pub async fn get(&self, path: &str) -> Reply {
        self.send(Method::GET, path, None, &[]).await
    }

    /// POST.
    pub async fn post(&self, path: &str, body: Value) -> Reply {
        self.send_json(Method::POST, path, &body).await
    }

    /// PATCH.
    pub async fn patch(&self, path: &str, body: Value) -> Reply {
        self.send_json(Method::PATCH, path, &body).await
    }

    /// PUT.
    pub async fn put(&self, path: &str, body: Value) -> Reply {
        self.send_json(Method::PUT, path, &body).await
    }

    /// DELETE.
    pub async fn delete(&self, path: &str) -> Reply {
        self.send(Method::DELETE, path, None, &[]).await
    }

    /// DELETE with a body.
    pub async fn delete_with(&self, path: &str, body: Value) -> Reply {
        self.send_json(Method::DELETE, path, &body).await
    }

    /// Creates a customer and gives the id.
    pub async fn customer(&self) -> String {
        self.post("/v1/customers", json!({})).await.created_id()
    }

    /// Creates a conversation of a customer and gives the id.
    pub async fn conversation(&self, customer: &str, body: Value) -> String {
        self.post(&format!("/v1/customers/{customer}/conversations"), body).await.created_id()
    }

    /// Records a message and gives the id. One that is sent later than now waits until then: the clock moves on.
    pub async fn message(&self, conversation: &str, body: Value) -> String {
        if let Some(Ok(sent_at)) = body["sentAt"].as_str().map(str::parse::<Instant>) {
            self.clock.advance(sent_at.since(self.clock.now()));
        }
        let mut message = json!({ "channel": "email", "app": "test" });
        for (name, value) in body.as_object().into_iter().flatten() {
            message[name] = value.clone();
        }
        self.post(&format!("/v1/conversations/{conversation}/messages"), message).await.created_id()
    }

    /// The attributes of a record.
    pub async fn attributes(&self, path: &str) -> Value {
        self.get(path).await.ok()["data"]["attributes"].clone()
    }
}

impl Reply {
    /// The body as JSON.
    ///
    /// # Panics
    /// When it is not JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&self.body)))
    }

    /// The body of a 200.
    ///
    /// # Panics
    /// When the status is another.
    #[track_caller]
    pub fn ok(&self) -> Value {
        assert_eq!(self.status, 200, "{}", String::from_utf8_lossy(&self.body));
        self.json()
    }

    /// The body of a 201.
    ///
    /// # Panics
    /// When the status is another.
    #[track_caller]
    pub fn created(&self) -> Value {
        assert_eq!(self.status, 201, "{}", String::from_utf8_lossy(&self.body));
        self.json()
    }

    /// The id of a 201's record.
    ///
    /// # Panics
    /// When the status is another.
    #[track_caller]
    pub fn created_id(&self) -> String {
        self.created()["data"]["id"].as_str().expect("an id").to_owned()
    }

    /// The first error: `(status, code, where)`.
    ///
    /// # Panics
    /// When the answer is no error document.
    #[track_caller]
    pub fn error(&self) -> (u16, String, String) {
        let error = &self.json()["errors"][0];
        let source =
            error["source"].as_object().and_then(|source| source.values().next()?.as_str()).unwrap_or_default();
        assert_eq!(error["status"], self.status.as_u16().to_string(), "the document repeats the status");
        (self.status.as_u16(), error["code"].as_str().expect("a code").to_owned(), source.to_owned())
    }

    /// The ids of a list.
    ///
    /// # Panics
    /// When the answer is no list.
    #[track_caller]
    pub fn ids(&self) -> Vec<String> {
        let rows = self.ok()["data"].as_array().expect("a list").clone();
        rows.iter().map(|row| row["id"].as_str().expect("an id").to_owned()).collect()
    }
}
