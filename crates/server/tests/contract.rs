//! The table of operations against the contract, and the answers against the description that is made from the table.
//!
//! The roles and statuses below are copied by hand from the contract's list of endpoints. They must not be derived from
//! the table that enforces them, or they would agree with it whatever it says.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use axum::http::Method;
use konverse_api::{Answer, ApiSettings, Operation, operations};
use konverse_domain::{ImportKind, Importer, Settings};
use konverse_testkit::{Actor, Backend, Description, Reply, TestApp, on_both_engines};
use serde_json::{Value, json};

const UNKNOWN: &str = "58228e05d4e96711004eccb7";
const PASSWORD: &str = "correct horse battery";

/// Rows of the contract: operation | legacy roles | permission-set roles | success status | roles taken in addition.
const CONTRACT: &str = "
# Customers
GET /v1/customers | org.user.customer.read | org.permission.customer.read | 200 | -
POST /v1/customers | org.user.customer.write | org.permission.customer.create | 201 | -
DELETE /v1/customers/{id} | org.user.customer.delete | org.permission.customer.delete | 204 | -
GET /v1/customers/{id} | org.user.customer.read | org.permission.customer.read | 200 | -
PATCH /v1/customers/{id} | org.user.customer.write | org.permission.customer.update | 200 | -
PUT /v1/customers/{id} | org.user.customer.write | org.permission.customer.update | 200 | -
GET /v1/customers/email={email} | org.user.customer.read | org.permission.customer.read | 200 | -
GET /v1/customers/externalId={externalId} | org.user.customer.read | org.permission.customer.read | 200 | -
GET /v1/customers/phone={phone} | org.user.customer.read | org.permission.customer.read | 200 | -
# Conversations
GET /v1/conversations | org.user.conversation.read | org.permission.conversation.read | 200 | -
POST /v1/conversations | org.user.conversation.write | org.permission.conversation.create | 201 | -
DELETE /v1/conversations/{id} | org.user.conversation.delete | org.permission.conversation.delete | 204 | -
GET /v1/conversations/{id} | org.user.conversation.read | org.permission.conversation.read | 200 | -
PATCH /v1/conversations/{id} | org.user.conversation.write | org.permission.conversation.update | 200 | -
PUT /v1/conversations/{id} | org.user.conversation.write | org.permission.conversation.update | 200 | -
GET /v1/conversations/externalId={externalId} | org.user.conversation.read | org.permission.conversation.read | 200 | -
# An oddity of the documentation: taking tags off lists *delete*; whoever may update may as well.
DELETE /v1/conversations/{id}/tags | org.user.conversation.write | org.permission.conversation.delete | 200 | org.permission.conversation.update
POST /v1/conversations/{id}/tags | org.user.conversation.write | org.permission.conversation.update | 200 | -
GET /v1/conversations/{id}/attachments | org.user.attachment.read | org.permission.attachment.read | 200 | -
GET /v1/customers/{id}/conversations | org.user.conversation.read | org.permission.conversation.read | 200 | -
POST /v1/customers/{id}/conversations | org.user.conversation.write | org.permission.conversation.create | 201 | -
# Searches
POST /v1/customers/search | org.user.search.read, org.admin.search.read | org.permission.search.create, org.permission.search.update, org.permission.search_global.create, org.permission.search_preview.create | 200 | -
POST /v1/customers/archive/search | org.user.search.read, org.admin.search.read | org.permission.search.create, org.permission.search.update, org.permission.search_global.create, org.permission.search_preview.create | 200 | -
# Messages
GET /v1/conversations/{id}/messages | org.user.message.read | org.permission.message.read | 200 | -
POST /v1/conversations/{id}/messages | org.user.message.write | org.permission.message.create | 201 | -
GET /v1/customers/{id}/messages | org.user.message.read | org.permission.message.read | 200 | -
POST /v1/customers/{id}/messages | org.user.message.write | org.permission.message.create | 201 | -
GET /v1/messages | org.user.message.read | org.permission.message.read | 200 | -
POST /v1/messages | org.user.message.write | org.permission.message.create | 201 | -
GET /v1/messages/{id} | org.user.message.read | org.permission.message.read | 200 | -
PATCH /v1/messages/{id} | org.user.message.write | org.permission.message.update | 200 | -
PUT /v1/messages/{id} | org.user.message.write | org.permission.message.update | 200 | -
GET /v1/messages/externalid={externalId} | org.user.message.read | org.permission.message.read | 200 | -
# Notes
GET /v1/conversations/{id}/notes | org.user.note.read | org.permission.note.read | 200 | -
# An oddity of the documentation: adding a note below a conversation lists the legacy *read* role.
POST /v1/conversations/{id}/notes | org.user.note.read | org.permission.note.create | 201 | org.user.note.write
GET /v1/customers/{id}/notes | org.user.note.read | org.permission.note.read | 200 | -
GET /v1/notes | org.user.note.read | org.permission.note.read | 200 | -
POST /v1/notes | org.user.note.write | org.permission.note.create | 201 | -
DELETE /v1/notes/{id} | org.user.note.write | org.permission.note.delete | 204 | -
GET /v1/notes/{id} | org.user.note.read | org.permission.note.read | 200 | -
PATCH /v1/notes/{id} | org.user.note.write | org.permission.note.update | 200 | -
PUT /v1/notes/{id} | org.user.note.write | org.permission.note.update | 200 | -
# Metadata
GET /v1/metadata/{resource} | org.user.metadata.read, org.admin.metadata.read | org.permission.metadata.read | 200 | -
PUT /v1/metadata/{resource} | org.admin.metadata.write | org.permission.metadata.update | 200 | -
# Users; the comma list of ids is the same path.
GET /v1/users | org.user.user.read | org.permission.user.read | 200 | -
POST /v1/users | org.admin.user | org.permission.user.create | 201 | -
GET /v1/users/current | any token | any token | 200 | -
PUT /v1/users/current | any token | any token | 200 | -
PUT /v1/users/{id} | org.admin.user | org.permission.user.update | 201 | -
GET /v1/users/{id} | org.user.user.read | org.permission.user.read | 200 | -
# Teams: no legacy role is listed for reading, so that a token with `org.user` alone could not; it may here.
GET /v1/teams | - | org.permission.team.read | 200 | org.user.team.read
POST /v1/teams | org.admin.team.write | org.permission.team.create | 201 | -
GET /v1/users/{id}/teams | - | org.permission.team.read | 200 | org.user.team.read
GET /v1/teams/{id} | - | org.permission.team.read | 200 | org.user.team.read
DELETE /v1/teams/{id} | org.admin.team.write | org.permission.team.delete | 204 | -
PATCH /v1/teams/{id} | org.admin.team.write | org.permission.team.update | 200 | -
PUT /v1/teams/{id} | org.admin.team.write | org.permission.team.update | 200 | -
DELETE /v1/teams/{id}/members | org.admin.team.write | org.permission.team.update | 200 | -
POST /v1/teams/{id}/members | org.admin.team.write | org.permission.team.update | 200 | -
# Role groups
GET /v1/role-groups | org.admin.user | org.permission.role_group.read | 200 | -
POST /v1/role-groups | org.admin.user | org.permission.role_group.create | 200 | -
DELETE /v1/role-groups/{id} | org.admin.user | org.permission.role_group.delete | 204 | -
GET /v1/role-groups/{id} | org.admin.user | org.permission.role_group.read | 200 | -
PUT /v1/role-groups/{id} | org.admin.user | org.permission.role_group.update | 200 | -
# Tags: the legacy role is named for the list alone; reading one and creating follow the pattern of the others.
GET /v1/tags | org.user.tag.read | org.permission.tag.read | 200 | -
POST /v1/tags | - | org.permission.tag.create | 201 | org.user.tag.write
GET /v1/tags/{id} | - | org.permission.tag.read | 200 | org.user.tag.read
PUT /v1/tags/{id} | - | org.permission.tag.update | 200 | org.user.tag.write
PATCH /v1/tags/{id} | - | org.permission.tag.update | 200 | org.user.tag.write
DELETE /v1/tags/{id} | - | org.permission.tag.delete | 204 | org.user.tag.delete
# Companies
GET /v1/companies | org.user.company.read | org.permission.company.read | 200 | -
POST /v1/companies | org.user.company.write | org.permission.company.create | 201 | -
GET /v1/companies/{id} | org.user.company.read | org.permission.company.read | 200 | -
PUT /v1/companies/{id} | org.user.company.write | org.permission.company.update | 200 | -
GET /v1/companies/{id}/klasses/{name} | org.user.company.read | org.permission.company.read | 200 | -
# Shortcuts: the roles are named for the list, the others follow the pattern.
GET /v1/shortcuts | org.user.shortcut.read | org.permission.shortcut.read | 200 | -
POST /v1/shortcuts | - | - | 201 | org.permission.shortcut.create, org.user.shortcut.write
GET /v1/shortcuts/{id} | - | - | 200 | org.permission.shortcut.read, org.user.shortcut.read
PUT /v1/shortcuts/{id} | - | - | 200 | org.permission.shortcut.update, org.user.shortcut.write
PATCH /v1/shortcuts/{id} | - | - | 200 | org.permission.shortcut.update, org.user.shortcut.write
DELETE /v1/shortcuts/{id} | - | - | 204 | org.permission.shortcut.delete, org.user.shortcut.delete
# Brands
GET /v1/brands | org.admin.brand.read, org.user.brand.read | org.permission.brand.read | 200 | -
POST /v1/brands | org.admin.brand.write | org.permission.brand.create | 201 | -
GET /v1/brands/default | org.admin.brand.read, org.user.brand.read | org.permission.brand.read | 200 | -
GET /v1/brands/{id} | org.admin.brand.read, org.user.brand.read | org.permission.brand.read | 200 | -
PATCH /v1/brands/{id} | org.admin.brand.write | org.permission.brand.update | 200 | -
# SLAs
GET /v1/slas | org.user.sla.read | org.permission.sla.read | 200 | -
GET /v1/slas/{id} | org.user.sla.read | org.permission.sla.read | 200 | -
# Queues: no role is published.
GET /v1/queues | - | - | 200 | org.permission.queue.read, org.user.queue.read
GET /v1/queues/{id} | - | - | 200 | org.permission.queue.read, org.user.queue.read
GET /v1/routing/queues | - | - | 200 | org.permission.queue.read, org.user.queue.read
GET /v1/routing/queues/{id} | - | - | 200 | org.permission.queue.read, org.user.queue.read
# Orgs: for admins, says the contract; whose token it is may know its org.
GET /v1/orgs/current | any token | any token | 200 | -
GET /v1/orgs/{id} | org.admin | - | 200 | org.permission.org.read
# Klasses and custom objects: listing asks for the klass's roles, those of the objects do as well.
GET /v1/klasses | org.user.klass.read, org.admin.klass.read | org.permission.klass.read | 200 | -
GET /v1/klasses/{name} | org.user.klass.read, org.admin.klass.read | org.permission.klass.read | 200 | org.permission.kobject.read, org.user.kobject.read
GET /v1/klasses/{name}/{id} | org.user.kobject.read | org.permission.kobject.read | 200 | -
GET /v1/kobjects/{name} | org.user.klass.read, org.admin.klass.read | org.permission.klass.read | 200 | org.permission.kobject.read, org.user.kobject.read
GET /v1/customers/{id}/klasses/{name} | org.user.customer.read | org.permission.customer.read | 200 | -
# Tokens
GET /v1/auth/tokens | org.admin.security | org.permission.security | 200 | -
DELETE /v1/auth/tokens/{id} | org.admin.security | org.permission.security | 204 | -
GET /v1/auth/tokens/{id} | org.admin | org.permission.security | 200 | -
DELETE /v1/auth/tokens/current | any token | any token | 204 | -
GET /v1/auth/tokens/current | any token | any token | 200 | -
GET /v1/auth/roles | any token | any token | 200 | -
# Saved searches: running is named by the contract, the others follow the pattern.
GET /v1/customers/searches | - | - | 200 | org.user.search.read, org.permission.search.read, org.permission.search_execution.create
POST /v1/customers/searches | - | - | 201 | org.user.search.write, org.permission.search.create
GET /v1/customers/searches/{id} | - | - | 200 | org.user.search.read, org.permission.search.read, org.permission.search_execution.create
PUT /v1/customers/searches/{id} | - | - | 200 | org.user.search.write, org.permission.search.update
DELETE /v1/customers/searches/{id} | - | - | 204 | org.user.search.write, org.permission.search.delete
POST /v1/customers/searches/{id}/execution | - | org.permission.search_execution.create | 200 | org.user.search.read, org.admin.search.read, org.permission.search.create, org.permission.search.update, org.permission.search_global.create, org.permission.search_preview.create
# The published operations are konverse's own paths; running one asks for the roles its page names.
GET /v1/operations | any token | any token | 200 | -
POST /v1/operations/{key}/run | org.user.conversation.read | org.permission.conversation.read | 200 | -
";

/// Lists of what there is none of yet.
const EMPTY: &[&str] = &[
    "list-conversation-attachments",
    "list-klasses",
    "list-klass-kobjects",
    "list-kobjects",
    "list-customer-kobjects",
    "list-company-kobjects",
];

/// Paths of konverse's own that need no token.
const OPEN: &[&str] = &["/healthz", "/readyz", "/openapi.json", "/v1/domains/{name}"];

#[test]
fn every_operation_has_the_roles_and_status_of_the_contract() {
    let sorted = |mut roles: Vec<&'static str>| {
        roles.sort_unstable();
        roles
    };
    let mut expected = BTreeMap::new();
    for line in CONTRACT.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let cells: Vec<_> = line.split(" | ").collect();
        let [operation, legacy, permission, status, further] = cells[..] else { panic!("{line}: five cells a row") };
        let (method, path) = operation.split_once(' ').expect("a method and a path");
        let roles = [legacy, permission, further].into_iter().flat_map(|cell| cell.split(", "));
        let roles = roles.filter(|role| !["-", "any token"].contains(role)).collect();
        let row = (sorted(roles), status.parse::<u16>().expect("a status"), true);
        assert!(expected.insert((path, method), row).is_none(), "{operation} is listed twice");
    }
    expected.extend(OPEN.iter().map(|path| ((*path, "GET"), (Vec::new(), 200, false))));
    // Signing in is how one comes to a token.
    expected.insert(("/v1/auth/tokens", "POST"), (Vec::new(), 201, false));
    let mut served = BTreeMap::new();
    let table = operations();
    for operation in &table {
        let row = (sorted(operation.roles.to_vec()), operation.status, operation.needs_token);
        assert!(served.insert((operation.path, operation.method.as_str()), row).is_none(), "{}", operation.key);
    }
    for (operation, row) in &expected {
        assert_eq!(served.get(operation), Some(row), "{operation:?} as served");
    }
    for operation in served.keys() {
        assert!(expected.contains_key(operation), "{operation:?} is not in the contract");
    }
}

/// The record an answer shows.
fn answer_of(operation: &Operation) -> String {
    let name = |schema: &fn() -> Value| schema()["title"].as_str().expect("attributes have a title").to_owned();
    match &operation.answer {
        Answer::One(schema) => name(schema),
        Answer::List(schema) => format!("list of {}", name(schema)),
        Answer::OneOrSeveral(schema) => format!("{0} or list of {0}", name(schema)),
        Answer::Document(_) => "document".to_owned(),
        Answer::Nothing => "nothing".to_owned(),
    }
}

#[test]
fn the_table_of_operations_is_reviewed() {
    let mut lines = String::new();
    for operation in operations() {
        let Operation { key, method, path, needs_token, roles, params, body, status, .. } = &operation;
        let roles = match (needs_token, roles.is_empty()) {
            (false, _) => "no token".to_owned(),
            (true, true) => "any token".to_owned(),
            (true, false) => roles.join(" | "),
        };
        let params: Vec<_> = params.iter().map(|param| param.name).collect();
        let params = if params.is_empty() { "-".to_owned() } else { params.join(" ") };
        let body = body.as_ref().map_or("-", |(name, _)| name);
        let answer = answer_of(&operation);
        let _ = writeln!(lines, "{method} {path}; {key}; {roles}; {params}; {body}; {status} {answer}");
    }
    insta::assert_snapshot!("operations", lines);
}

/// One record of every kind, with as many of its attributes as requests can give it.
struct Records {
    customer: String,
    conversation: String,
    message: String,
    note: String,
    user: String,
    team: String,
    tag: String,
    /// Companies, shortcuts and so on, by the first segment of their path.
    settings: BTreeMap<&'static str, String>,
    token: String,
    role_group: String,
    /// What makes names unique.
    n: usize,
}

impl Records {
    async fn new(app: &TestApp, admin: &Actor, n: usize) -> Self {
        let user =
            json!({ "name": "Ann", "email": format!("ann{n}@acme.example"), "displayName": "Ann", "mobile": "1" });
        let user = admin.post("/v1/users", user).await.created_id();
        let team =
            json!({ "name": format!("Team {n}"), "members": [user], "icon": "x", "externalId": format!("t{n}") });
        let team = admin.post("/v1/teams", team).await.created_id();
        let tag = json!({ "name": format!("tag {n}"), "color": "#26c281" });
        let tag = admin.post("/v1/tags", tag).await.created_id();
        let mut settings = BTreeMap::new();
        let company = json!({
            "name": "Acme", "externalId": format!("f{n}"), "domains": [{ "domain": "acme.example" }], "employeeCount": 3,
            "emails": [{ "email": "info@acme.example" }], "custom": { "tierStr": "a" }, "tags": [tag], "defaultLang": "en_us",
        });
        settings.insert("companies", admin.post("/v1/companies", company).await.created_id());
        let shortcut = json!({
            "name": "Hello", "draft": { "text": "Hello" }, "conversation": { "tags": { "operator": "add", "value": [tag] } },
            "accessUsers": [user], "accessTeams": [team],
        });
        settings.insert("shortcuts", admin.post("/v1/shortcuts", shortcut).await.created_id());
        let brand = json!({ "name": format!("Brand {n}"), "iconUrl": "https://a.example/i.png" });
        settings.insert("brands", admin.post("/v1/brands", brand).await.created_id());
        let search = json!({ "name": "Parcels", "query": { "and": { "customer_name": { "equals": "Jane" } } } });
        settings.insert("searches", admin.post("/v1/customers/searches", search).await.created_id());
        // No operation creates these two.
        let mut importer = Importer::new(&app.domain, app.org.id).await.expect("an import");
        let id = |kind: &str| format!("671a2c40a3f1b200{kind}{n:04x}ff");
        let sla = json!({ "id": id("aa"), "versions": [{ "name": "Fast", "hours": "business", "description": "x" }] });
        let queue = json!({ "id": id("bb"), "name": format!("Queue {n}"), "priority": 1 });
        for (kind, row) in [(ImportKind::Slas, sla), (ImportKind::Queues, queue)] {
            importer.take(kind, vec![kind.read(&row.to_string()).expect("a row")]).await.expect("it is taken");
        }
        settings.extend([("slas", id("aa")), ("queues", id("bb")), ("routing", id("bb"))]);
        settings.insert("orgs", app.org.id.to_string());
        let customer = json!({
            "name": "Jane", "externalId": format!("k{n}"), "emails": [{ "email": format!("jane{n}@acme.example") }],
            "phones": [{ "phone": format!("+1555{n:04}"), "type": "mobile" }], "tags": [tag], "locale": "en_GB",
            "custom": { "vipBool": true }, "sentiment": { "polarity": 1, "confidence": 0.5 }, "company": UNKNOWN,
            "locations": [{ "cityName": "Ulm", "latitude": 48.4 }], "urls": [{ "url": "https://a.example" }],
            "importedAt": "2026-01-01T00:00:00Z", "createdAt": "2026-01-01T00:00:00Z", "gender": "f",
        });
        let customer = admin.post("/v1/customers", customer).await.created_id();
        let conversation = json!({
            "name": "Parcel", "externalId": format!("c{n}"), "tags": [tag], "assignedUsers": [user],
            "assignedTeams": [team], "custom": { "orderNumberStr": "4417" }, "queue": { "external": "amazon-connect" },
        });
        let conversation = admin.conversation(&customer, conversation).await;
        for direction in ["in", "out", "in"] {
            app.clock.advance(60_000);
            admin.message(&conversation, json!({ "direction": direction, "sentAt": app.now().to_string() })).await;
        }
        let change = json!({ "satisfaction": 1, "sentiment": { "polarity": 0, "confidence": 1 },
            "suggestedTags": [{ "tag": "vip", "confidence": 0.5 }], "endedReason": "done", "endedAt": "2026-10-25" });
        admin.patch(&format!("/v1/conversations/{conversation}"), change).await.ok();
        for change in [
            json!({ "status": "done" }),
            json!({ "status": "snoozed", "snooze": { "status": "scheduled", "time": "2030-01-01" } }),
        ] {
            app.clock.advance(60_000);
            admin.patch(&format!("/v1/conversations/{conversation}"), change).await.ok();
        }
        let message = json!({
            "externalId": format!("m{n}"), "subject": "Parcel", "preview": "Where is it?", "direction": "out", "size": 3,
            "meta": { "to": "jane@acme.example" }, "custom": { "aStr": "b" }, "attachments": [UNKNOWN], "lang": "en",
            "shortcuts": [UNKNOWN], "sentiment": { "polarity": 0, "confidence": 1 }, "status": "error", "error": { "code": "x" },
        });
        let message = admin.message(&conversation, message).await;
        let note = json!({ "body": "Called", "externalId": format!("n{n}"), "userMentions": [{ "user": user }], "lang": "en" });
        let note = admin.post(&format!("/v1/conversations/{conversation}/notes"), note).await.created_id();
        let token = app.actor(&["org"]).await;
        let token = token.get("/v1/auth/tokens/current").await.ok()["data"]["id"].as_str().expect("an id").to_owned();
        let role_group = json!({ "name": format!("Group {n}"), "description": "x", "roles": ["org.user"] });
        let role_group = admin.post("/v1/role-groups", role_group).await.ok()["data"]["id"].clone();
        let role_group = role_group.as_str().expect("an id").to_owned();
        Self { customer, conversation, message, note, user, team, tag, settings, token, role_group, n }
    }

    /// The path of an operation with these records in it.
    fn path(&self, operation: &Operation) -> String {
        let n = self.n;
        let id = match operation.path.trim_start_matches("/v1/").split('/').next() {
            Some("customers") if operation.path.starts_with("/v1/customers/searches/") => &self.settings["searches"],
            Some("customers") => &self.customer,
            Some("conversations") => &self.conversation,
            Some("messages") => &self.message,
            Some("notes") => &self.note,
            Some("users") => &self.user,
            Some("teams") => &self.team,
            Some("tags") => &self.tag,
            Some("role-groups") => &self.role_group,
            first => first.and_then(|first| self.settings.get(first)).unwrap_or(&self.token),
        };
        let key = match operation.path.split('/').nth(2) {
            Some("customers") => format!("k{n}"),
            Some("conversations") => format!("c{n}"),
            _ => format!("m{n}"),
        };
        operation
            .path
            .replace("{id}", id)
            .replace("{email}", &format!("jane{n}%40acme.example"))
            .replace("{phone}", &format!("%2B1555{n:04}"))
            .replace("{externalId}", &key)
            .replace("{resource}", "conversation")
            .replace("{key}", "get-conversations-by-customer")
            .replace("{name}", "acme")
    }

    /// A body the operation takes.
    fn body(&self, operation: &Operation) -> Option<Value> {
        let Self { customer, conversation, .. } = self;
        let message = json!({ "channel": "chat", "app": "x", "direction": "in", "conversation": conversation });
        let (name, _) = operation.body.as_ref()?;
        Some(match *name {
            "CustomerCreate" | "CustomerUpdate" => json!({ "name": "Jane Doe" }),
            "ConversationCreate" => json!({ "customer": customer }),
            "ConversationCreateForCustomer" => json!({ "name": "Late" }),
            "ConversationEdit" => json!({ "priority": 2 }),
            "TagNames" => json!([self.tag]),
            "MessageCreate" | "MessageCreateInOrg" => message,
            "MessageUpdate" | "MessageReplace" => json!({ "subject": "Late" }),
            "NoteCreate" | "NoteReplace" => json!({ "conversation": conversation, "body": "n" }),
            "NoteCreateInConversation" | "NoteUpdate" => json!({ "body": "n" }),
            "UserCreate" => json!({ "name": "Bob", "email": format!("bob{}@acme.example", self.n) }),
            "UserUpdate" | "OwnUserUpdate" => json!({ "displayName": "Annie" }),
            "SignIn" => {
                json!({ "domain": "acme", "email": format!("ann{}@acme.example", self.n), "password": PASSWORD })
            }
            "RoleGroupCreate" => json!({ "name": format!("Another {}", self.n) }),
            "RoleGroupUpdate" => json!({ "roles": ["org.user.note"] }),
            "TeamUpdate" | "TeamReplace" => json!({ "name": format!("Renamed {}", self.n) }),
            "TeamMembers" => json!({ "members": [self.user] }),
            "MetadataUpdate" => {
                json!({ "properties": { "orderNumberStr": { "displayName": "Order", "enumeration": ["4417"],
                "array": true, "sensitive": { "enabled": true } }, "goneStr": null } })
            }
            "TeamCreate" => json!({ "name": format!("Other {}", self.n) }),
            "TagUpdate" => json!({ "color": "#000000" }),
            "TagCreate" => json!({ "name": format!("other {}", self.n) }),
            "Search" | "ArchiveSearch" => json!({ "and": { "customer_id": { "equals": customer } } }),
            "CompanyCreate" | "CompanyUpdate" => json!({ "name": "Other" }),
            "ShortcutCreate" | "ShortcutUpdate" => json!({ "name": "Bye" }),
            "SavedSearchCreate" => json!({ "name": "All", "query": { "queryContext": "conversation", "or": [] } }),
            "SavedSearchUpdate" => json!({ "name": "Some" }),
            "BrandCreate" | "BrandUpdate" => json!({ "name": format!("Other {}", self.n) }),
            "OperationInput" => json!({ "parameters": { "id": customer } }),
            other => panic!("no example of the body {other}"),
        })
    }
}

async fn call(actor: &Actor, operation: &Operation, path: &str, body: Option<&Value>) -> Reply {
    let body = body.map(|body| body.to_string().into_bytes());
    actor.send(operation.method.clone(), path, body, &[("content-type", "application/json")]).await
}
on_both_engines!(what_is_answered_is_what_is_described, |app| async move {
    let app = app.with_search();
    let document = app.nobody().get("/openapi.json").await.ok();
    assert_eq!(document, konverse_api::openapi_document());
    let other = app.domain.create_org("umbrella").await.expect("an org");
    for (n, operation) in operations().iter().enumerate() {
        let stranger = app.actor_of(&other, &["org"]).await;
        // Records and a token of its own: some operations delete them.
        let admin = app.admin().await;
        let records = Records::new(&app, &admin, n).await;
        let (path, body) = (records.path(operation), records.body(operation));
        let key = operation.key;
        if key == "sign-in" {
            let email = format!("ann{n}@acme.example");
            app.domain.set_password(&app.org, &email, PASSWORD).await.expect("a password");
        }
        // To another org it is not there, and not a word is said of it.
        if operation.needs_token {
            let theirs = call(&stranger, operation, &path, body.as_ref()).await;
            let text = String::from_utf8_lossy(&theirs.body);
            if operation.path.contains("{id}") {
                assert_eq!(theirs.status, 404, "{key}: {text}");
            }
            // What was asked for is repeated.
            let asked = path.replace("%40", "@");
            for word in [format!("jane{n}@acme"), format!("ann{n}@acme"), "Parcel".to_owned(), "Called".to_owned()] {
                assert!(asked.contains(&word) || !text.contains(&word), "{key}: {text}");
            }
        }
        // Whoever sends holds the answer against its description.
        let reply = call(&admin, operation, &path, body.as_ref()).await;
        if key == "read-kobject" {
            assert_eq!(reply.status, 404, "there are none yet");
            continue;
        }
        assert_eq!(reply.status.as_u16(), operation.status, "{key}: {}", String::from_utf8_lossy(&reply.body));
        if matches!(operation.answer, Answer::Nothing) {
            continue;
        }
        let unknown = Description::get().unknown_attributes(&operation.method, &path, &reply.json());
        assert_eq!(unknown, Vec::<String>::new(), "{key}: {}", reply.json());
        if matches!(operation.answer, Answer::List(_)) {
            let is_kept = !EMPTY.contains(&key);
            assert_eq!(!reply.ids().is_empty(), is_kept, "{key}: a list without rows shows little");
            call(&admin, operation, &format!("{path}?pageSize=0"), None).await.ok();
            call(&admin, operation, &format!("{path}?pageSize=1&page=3"), None).await.ok();
            let largest = call(&admin, operation, &format!("{path}?pageSize=100000"), None).await.ok();
            assert_eq!(largest["meta"]["pageSize"], operation.most, "{key}: its largest page");
        }
        if matches!(operation.answer, Answer::OneOrSeveral(_)) {
            let several = call(&admin, operation, &format!("{path},{UNKNOWN}"), None).await;
            assert_eq!(several.ids().len(), 1, "{key}");
        }
    }
});

/// What a request gets wrong, and what the refusal has to say: status, and where it lies.
struct Mistake {
    what: &'static str,
    path: String,
    body: Option<Vec<u8>>,
    content_type: &'static str,
    status: u16,
    source: Value,
}

/// Every kind of mistake an operation can be asked with.
fn mistakes(operation: &Operation, path: &str, body: Option<&Value>) -> Vec<Mistake> {
    let body = body.map(|body| body.to_string().into_bytes());
    let mut mistakes = Vec::new();
    let mut add = |what, path: String, body: Option<Vec<u8>>, content_type, status, source: Value| {
        mistakes.push(Mistake { what, path, body, content_type, status, source });
    };
    const JSON: &str = "application/json";
    if let Some((before, name)) = operation.path.split_once('{') {
        let (name, after) = name.split_once('}').expect("a whole parameter");
        let after = after.replace("{id}", UNKNOWN).replace("{name}", "order");
        let source = json!({ "parameter": name });
        let with = |value: &str| format!("{before}{value}{after}");
        if name == "id" {
            add("no id", with("x"), body.clone(), JSON, 400, source.clone());
            add("an unknown id", with(UNKNOWN), body.clone(), JSON, 404, source.clone());
        } else if !EMPTY.contains(&operation.key) && !after.contains(UNKNOWN) {
            add("an unknown value", with("nothing-of-this"), body.clone(), JSON, 404, source.clone());
        }
        add("no UTF-8", with("%ff"), body.clone(), JSON, 400, source);
    }
    for param in &operation.params {
        let wrong: &[&str] = match (param.kind, &param.limits) {
            ("integer", _) => &["-1", "1.5", "one", "%ff"],
            ("boolean", _) => &["maybe", "2"],
            (_, limits) if limits.contains_key("enum") => &["nonsense", "%00"],
            (_, limits) if limits.contains_key("format") => &["soon", "2026-13-01T00:00:00Z"],
            _ if param.name == "cursor" => &["x", "%ff"],
            _ => &[],
        };
        for value in wrong {
            let name = param.name.replace('[', "%5B").replace(']', "%5D");
            add(
                "a parameter",
                format!("{path}?{name}={value}"),
                body.clone(),
                JSON,
                400,
                json!({ "parameter": param.name }),
            );
        }
        if param.name == "page" {
            add("page 0", format!("{path}?page=0"), body.clone(), JSON, 400, json!({ "parameter": "page" }));
        }
    }
    if body.is_some() {
        let whole = json!({ "pointer": "" });
        let mut of_body = |what, body: &[u8], content_type, source: &Value| {
            add(what, path.to_owned(), Some(body.to_vec()), content_type, 400, source.clone());
        };
        of_body("no body", b"", JSON, &whole);
        of_body("half a body", b"{\"name\":\n tru}", JSON, &whole);
        of_body("more than a body", b"{} {}", JSON, &whole);
        of_body("no UTF-8", b"{\"name\":\"\xff\"}", JSON, &whole);
        of_body("half a character", br#"{"name":"\ud800"}"#, JSON, &whole);
        of_body("too deep", "[".repeat(200).as_bytes(), JSON, &whole);
        of_body(
            "another type",
            b"name=Jane",
            "application/x-www-form-urlencoded",
            &json!({ "header": "content-type" }),
        );
        of_body(
            "another type",
            body.as_deref().unwrap_or_default(),
            "text/plain",
            &json!({ "header": "content-type" }),
        );
        of_body("no object", b"\"text\"", JSON, &whole);
        of_body("no object", b"null", JSON, &whole);
        add(
            "too much",
            path.to_owned(),
            Some(format!("\"{}\"", "x".repeat(200_000)).into_bytes()),
            JSON,
            413,
            Value::Null,
        );
    }
    mistakes
}

on_both_engines!(every_mistake_is_named, |app| async move {
    let app = app.with_search();
    let admin = app.admin().await;
    let unrelated = app.actor(&["org.tracking"]).await;
    let records = Records::new(&app, &admin, 1).await;
    for operation in operations() {
        let key = operation.key;
        let (path, body) = (records.path(&operation), records.body(&operation));
        let refused = |reply: Reply, what: &str, status: u16, source: &Value| {
            let text = String::from_utf8_lossy(&reply.body).into_owned();
            assert_eq!(reply.status.as_u16(), status, "{key}, {what}: {text}");
            let error = &reply.json()["errors"][0];
            assert_eq!(&error["source"], source, "{key}, {what}: {text}");
            error["message"].as_str().expect("a message").to_owned()
        };
        if operation.needs_token {
            refused(call(&app.nobody(), &operation, &path, body.as_ref()).await, "no token", 401, &Value::Null);
        }
        if !operation.roles.is_empty() {
            refused(call(&unrelated, &operation, &path, body.as_ref()).await, "no role", 403, &Value::Null);
        }
        for Mistake { what, path, body, content_type, status, source } in mistakes(&operation, &path, body.as_ref()) {
            let reply = admin.send(operation.method.clone(), &path, body, &[("content-type", content_type)]).await;
            let what = format!("{what} {path}");
            let message = refused(reply, &what, status, &source);
            if what.starts_with("half a body") {
                assert!(message.contains("line 2 column"), "{key}: {message}");
            }
        }
        if let Some((name, _)) = &operation.body
            && *name != "TagNames"
        {
            let unknown = json!({ "nothing": 1, "kno/wn": 2 }).to_string().into_bytes();
            // Nobody says what a body is when it is JSON: it is read.
            let reply = admin.send(operation.method.clone(), &path, Some(unknown), &[]).await;
            assert_eq!(reply.status, 400, "{key}");
            let pointers: Vec<_> = reply.json()["errors"]
                .as_array()
                .expect("errors")
                .iter()
                .map(|error| error["source"]["pointer"].clone())
                .collect();
            assert!(
                pointers.contains(&json!("/nothing")) && pointers.contains(&json!("/kno~1wn")),
                "{key}: {pointers:?}"
            );
        }
    }
});

on_both_engines!(no_path_answers_what_it_does_not_describe, |app| async move {
    let admin = app.admin().await;
    let records = Records::new(&app, &admin, 1).await;
    let mut methods: BTreeMap<&str, (String, Vec<Method>)> = BTreeMap::new();
    let table = operations();
    for operation in &table {
        let entry = methods.entry(operation.path).or_insert_with(|| (records.path(operation), Vec::new()));
        entry.1.push(operation.method.clone());
    }
    for (template, (path, described)) in &methods {
        for method in [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::TRACE] {
            if described.contains(&method) {
                continue;
            }
            let reply = admin.send(method.clone(), path, None, &[]).await;
            assert_eq!(reply.error().0, 405, "{method} {template}");
            let allowed = reply.headers["allow"].to_str().expect("text").to_owned();
            let mut allowed: Vec<&str> = allowed.split(',').map(str::trim).collect();
            allowed.retain(|method| *method != "HEAD");
            allowed.sort_unstable();
            let mut expected: Vec<&str> = described.iter().map(Method::as_str).collect();
            expected.sort_unstable();
            assert_eq!(allowed, expected, "{template}");
        }
    }
    for path in ["/", "/v1", "/v1/nothing", "/v1/customers/a/b/c", "/v2/conversations", "/v1//customers", "/v1/%ff"] {
        assert_eq!(admin.get(path).await.error().0, 404, "{path}");
        assert_eq!(admin.post(path, json!({})).await.error().0, 404, "{path}");
    }
    // Whatever a caller would like to read, JSON is what there is.
    let reply = admin.send(Method::GET, "/v1/tags", None, &[("accept", "text/plain")]).await;
    reply.ok();
});

on_both_engines!(what_clashes_or_is_too_much_is_refused_as_described, |app| async move {
    let admin = app.admin().await;
    let tag = json!({ "name": "twice" });
    admin.post("/v1/tags", tag.clone()).await.created();
    let limited = app.again_with(Settings::default(), ApiSettings { requests_per_minute: 1, ..ApiSettings::default() });
    let spent = admin.at(&limited);
    spent.get("/v1/tags").await.ok();
    assert_eq!(admin.post("/v1/tags", tag).await.error(), (409, "conflict".to_owned(), "/name".to_owned()));
    assert_eq!(spent.get("/v1/tags").await.error().0, 429);
});

/// The tests above, and every other that asks for anything, mean something only if a wrong answer is found out.
#[tokio::test]
async fn an_answer_that_is_not_as_described_is_found_out() {
    let app = TestApp::new(Backend::Sqlite).await;
    let description = Description::get();
    let admin = app.admin().await;
    let records = Records::new(&app, &admin, 1).await;
    let conversation = format!("/v1/conversations/{}", records.conversation);
    let one = admin.get(&conversation).await;
    let list = admin.get("/v1/customers").await;
    let run_path = "/v1/operations/get-conversations-by-customer/run";
    let run = admin.post(run_path, json!({ "parameters": { "id": records.customer } })).await;
    let error = admin.get("/v1/conversations/x").await;
    let with = |reply: &Reply, body: &Value| Reply {
        status: reply.status,
        headers: reply.headers.clone(),
        body: body.to_string().into_bytes(),
    };
    let remove = |pointer: &str, name: &str, reply: &Reply| {
        let mut wrong = reply.json();
        let removed = wrong.pointer_mut(pointer).and_then(Value::as_object_mut).expect("an object").shift_remove(name);
        assert!(removed.is_some(), "{pointer} {name}");
        with(reply, &wrong)
    };
    let set = |pointer: &str, value: Value, reply: &Reply| {
        let mut wrong = reply.json();
        let place = wrong.pointer_mut(pointer).unwrap_or_else(|| panic!("{pointer}"));
        assert_ne!(*place, value);
        *place = value;
        with(reply, &wrong)
    };
    let other = |status: u16, header: Option<(&'static str, &'static str)>, reply: &Reply| {
        let mut wrong = with(reply, &reply.json());
        wrong.status = status.try_into().expect("a status");
        if let Some((name, value)) = header {
            wrong.headers.insert(name, value.parse().expect("a value"));
        }
        wrong
    };
    let mut unlimited = with(&one, &one.json());
    unlimited.headers.remove("x-ratelimit-limit");
    let (get, post) = (Method::GET, Method::POST);
    let conversation = conversation.as_str();
    for (method, path, wrong) in [
        (&get, conversation, remove("/data/attributes", "status", &one)),
        (&get, conversation, set("/data/attributes/status", json!("closed"), &one)),
        (&get, conversation, set("/data/attributes/priority", json!("3"), &one)),
        (&get, conversation, set("/data/attributes/tags/0", json!("vip"), &one)),
        (&get, conversation, set("/data/attributes/createdAt", json!(1), &one)),
        (&get, conversation, set("/data/attributes", json!({ "unheardOf": 1 }), &one)),
        (&get, conversation, remove("/data", "links", &one)),
        (&get, conversation, set("/data", json!([]), &one)),
        (&get, conversation, set("/data/type", json!("conversations"), &one)),
        (&get, conversation, set("/data/relationships/customer", json!("x"), &one)),
        (&get, conversation, set("/data/relationships/customer/data/id", json!("x"), &one)),
        (&get, conversation, other(202, None, &one)),
        (&get, conversation, other(200, Some(("content-type", "text/html")), &one)),
        (&get, conversation, unlimited),
        (&get, "/v1/customers", set("/data/0/attributes/emails", json!(["jane@acme.example"]), &list)),
        (&get, "/v1/customers", remove("", "meta", &list)),
        (&get, "/v1/customers", set("/meta/page", json!("1"), &list)),
        (&get, "/v1/customers", remove("/links", "next", &list)),
        (&get, "/v1/customers", set("/data", json!({}), &list)),
        (&get, "/v1/nothing", other(200, None, &list)),
        (&post, run_path, set("/meta/page", json!(1), &run)),
        (&get, conversation, remove("", "error", &error)),
        (&get, conversation, set("/errors", json!([]), &error)),
        (&get, conversation, set("/errors/0/code", json!("notfound"), &error)),
        (&get, conversation, set("/errors/0/status", json!(400), &error)),
        (&get, conversation, remove("/errors/0", "message", &error)),
        (&get, conversation, set("/errors/0/source", json!({ "field": "id" }), &error)),
        (&get, "/v1/nothing", set("", json!({}), &other(404, None, &error))),
    ] {
        let complaints = description.complaints(method, path, &wrong);
        assert!(!complaints.is_empty(), "{path}: {}", String::from_utf8_lossy(&wrong.body));
    }
    let mut more = one.json();
    more["data"]["attributes"]["unheardOf"] = json!(1);
    assert_eq!(description.unknown_attributes(&get, conversation, &more), ["unheardOf is not described"]);
}
