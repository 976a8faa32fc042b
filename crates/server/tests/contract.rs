//! The table of operations against the contract, and the answers against the description that is made from the table.
//!
//! The roles and statuses below are copied by hand from the contract's list of endpoints. They must not be derived from
//! the table that enforces them, or they would agree with it whatever it says.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use axum::http::Method;
use jsonschema::Validator;
use konverse_api::{Answer, ApiSettings, Operation, operations};
use konverse_domain::Settings;
use konverse_testkit::{Actor, Backend, Reply, TestApp, on_both_engines};
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
# Tokens
GET /v1/auth/tokens | org.admin.security | org.permission.security | 200 | -
DELETE /v1/auth/tokens/{id} | org.admin.security | org.permission.security | 204 | -
GET /v1/auth/tokens/{id} | org.admin | org.permission.security | 200 | -
DELETE /v1/auth/tokens/current | any token | any token | 204 | -
GET /v1/auth/tokens/current | any token | any token | 200 | -
GET /v1/auth/roles | any token | any token | 200 | -
# The published operations are konverse's own paths; running one asks for the roles its page names.
GET /v1/operations | any token | any token | 200 | -
POST /v1/operations/{key}/run | org.user.conversation.read | org.permission.conversation.read | 200 | -
";

/// Paths of konverse's own that need no token.
const OPEN: &[&str] = &["/healthz", "/readyz", "/openapi.json"];

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

/// The schemas of one operation's answers, as the served document has them.
struct Described {
    success: Option<Validator>,
    failure: Validator,
    /// Names of attributes the answer may show; none for documents of their own.
    attributes: Option<Vec<String>>,
}

/// Reads every operation out of the served document; keyed by operation id.
fn described(document: &Value) -> BTreeMap<String, Described> {
    let validator = |schema: &Value| {
        let whole = json!({ "components": document["components"], "allOf": [schema] });
        jsonschema::validator_for(&whole).expect("the description is made of valid schemas")
    };
    let schema_of = |answer: &Value| answer["content"]["application/json"]["schema"].clone();
    let mut found = BTreeMap::new();
    let paths = document["paths"].as_object().expect("paths");
    for operation in paths.values().flat_map(|methods| methods.as_object().expect("methods").values()) {
        let answers = operation["responses"].as_object().expect("responses");
        let (_, success) = answers.iter().find(|(status, _)| status.starts_with('2')).expect("a success");
        let success = schema_of(success);
        let attributes = attribute_names(document, &success);
        let described = Described {
            success: (!success.is_null()).then(|| validator(&success)),
            failure: validator(&schema_of(&answers["default"])),
            attributes,
        };
        let key = operation["operationId"].as_str().expect("an operation id");
        assert!(found.insert(key.to_owned(), described).is_none(), "{key} is described twice");
    }
    found
}

fn attribute_names(document: &Value, schema: &Value) -> Option<Vec<String>> {
    let one = schema["oneOf"].as_array().map_or(schema, |alternatives| &alternatives[0]);
    let data = &one["properties"]["data"];
    let record = data.get("items").unwrap_or(data);
    let pointer = record["properties"]["attributes"]["$ref"].as_str()?.trim_start_matches('#');
    Some(document.pointer(pointer)?["properties"].as_object()?.keys().cloned().collect())
}

impl Described {
    /// What is wrong with a successful answer.
    fn complaints(&self, answer: &Value) -> Vec<String> {
        let validator = self.success.as_ref().expect("the operation answers something");
        let mut complaints: Vec<_> =
            validator.iter_errors(answer).map(|error| format!("{}: {error}", error.instance_path())).collect();
        if let Some(known) = &self.attributes {
            let rows = answer["data"].as_array().map_or(std::slice::from_ref(&answer["data"]), Vec::as_slice);
            let names = rows.iter().filter_map(|row| row["attributes"].as_object()).flat_map(|names| names.keys());
            complaints
                .extend(names.filter(|name| !known.contains(name)).map(|name| format!("{name} is not described")));
        }
        complaints
    }

    #[track_caller]
    fn accepts_error(&self, reply: &Reply) {
        let document = reply.json();
        let complaints: Vec<_> = self.failure.iter_errors(&document).map(|error| error.to_string()).collect();
        assert!(complaints.is_empty(), "{complaints:?}: {document}");
    }
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
        Self { customer, conversation, message, note, user, team, tag, token, role_group, n }
    }

    /// The path of an operation with these records in it.
    fn path(&self, operation: &Operation) -> String {
        let n = self.n;
        let id = match operation.path.trim_start_matches("/v1/").split('/').next() {
            Some("customers") => &self.customer,
            Some("conversations") => &self.conversation,
            Some("messages") => &self.message,
            Some("notes") => &self.note,
            Some("users") => &self.user,
            Some("teams") => &self.team,
            Some("tags") => &self.tag,
            Some("role-groups") => &self.role_group,
            _ => &self.token,
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
            .replace("{key}", "get-conversations-by-customer")
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
            "TeamCreate" => json!({ "name": format!("Other {}", self.n) }),
            "TagUpdate" => json!({ "color": "#000000" }),
            "TagCreate" => json!({ "name": format!("other {}", self.n) }),
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
    let document = app.nobody().get("/openapi.json").await.ok();
    assert_eq!(document, konverse_api::openapi_document());
    let described = described(&document);
    let table = operations();
    assert_eq!(described.len(), table.len());
    let other = app.domain.create_org("umbrella").await.expect("an org");
    for (n, operation) in table.iter().enumerate() {
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
            for word in [format!("jane{n}@acme"), format!("ann{n}@acme"), "Parcel".to_owned(), "Called".to_owned()] {
                assert!(!text.contains(&word), "{key}: {text}");
            }
        }
        let reply = call(&admin, operation, &path, body.as_ref()).await;
        assert_eq!(reply.status.as_u16(), operation.status, "{key}: {}", String::from_utf8_lossy(&reply.body));
        let described = &described[key];
        if described.success.is_none() {
            assert!(reply.body.is_empty(), "{key}");
            continue;
        }
        assert_eq!(described.complaints(&reply.json()), Vec::<String>::new(), "{key}: {}", reply.json());
        if matches!(operation.answer, Answer::List(_)) {
            assert!(!reply.ids().is_empty(), "{key}: a list without rows shows little");
            for query in ["pageSize=0", "pageSize=1&page=3"] {
                let page = call(&admin, operation, &format!("{path}?{query}"), None).await.ok();
                assert_eq!(described.complaints(&page), Vec::<String>::new(), "{key} {query}");
            }
        }
        if matches!(operation.answer, Answer::OneOrSeveral(_)) {
            let several = call(&admin, operation, &format!("{path},{UNKNOWN}"), None).await;
            assert_eq!((several.ids().len(), described.complaints(&several.json())), (1, Vec::new()), "{key}");
        }
    }
});

on_both_engines!(what_is_refused_is_refused_as_described, |app| async move {
    let described = described(&konverse_api::openapi_document());
    let admin = app.admin().await;
    let unrelated = app.actor(&["org.tracking"]).await;
    let records = Records::new(&app, &admin, 1).await;
    for operation in operations() {
        let key = operation.key;
        let described = &described[key];
        let body = records.body(&operation);
        let mut statuses = Vec::new();
        let mut refused = async |actor: &Actor, path: &str, body: Option<&Value>| {
            let reply = call(actor, &operation, path, body).await;
            assert!(!reply.status.is_success(), "{key}: {}", reply.status);
            described.accepts_error(&reply);
            statuses.push(reply.status.as_u16());
        };
        let path = records.path(&operation);
        if operation.needs_token {
            refused(&app.nobody(), &path, body.as_ref()).await;
        }
        if !operation.roles.is_empty() {
            refused(&unrelated, &path, body.as_ref()).await;
        }
        if operation.path.contains("{id}") {
            refused(&admin, &operation.path.replace("{id}", UNKNOWN), body.as_ref()).await;
            refused(&admin, &operation.path.replace("{id}", "x"), body.as_ref()).await;
        }
        if body.is_some() {
            refused(&admin, &path, Some(&json!({ "nothing": 1, "known": 2 }))).await;
            refused(&admin, &path, Some(&json!("x".repeat(200_000)))).await;
        }
        if matches!(operation.answer, Answer::List(_)) {
            refused(&admin, &format!("{path}?page=0"), None).await;
        }
        let mut expected: Vec<u16> = Vec::new();
        expected.extend(operation.needs_token.then_some(401));
        expected.extend((!operation.roles.is_empty()).then_some(403));
        expected.extend(operation.path.contains("{id}").then_some([404, 400]).into_iter().flatten());
        expected.extend(body.is_some().then_some([400, 413]).into_iter().flatten());
        expected.extend(matches!(operation.answer, Answer::List(_)).then_some(400));
        assert_eq!(statuses, expected, "{key}");
    }
    let failure = &described["create-tag"];
    let tag = json!({ "name": "twice" });
    admin.post("/v1/tags", tag.clone()).await.created();
    let limited = app.again_with(Settings::default(), ApiSettings { requests_per_minute: 1, ..ApiSettings::default() });
    let spent = admin.at(&limited);
    spent.get("/v1/tags").await.ok();
    for (reply, status) in [
        (admin.post("/v1/tags", tag).await, 409),
        (admin.send(Method::PUT, "/v1/tags", None, &[]).await, 405),
        (admin.get("/v1/nothing").await, 404),
        (spent.get("/v1/tags").await, 429),
    ] {
        assert_eq!(reply.status, status);
        failure.accepts_error(&reply);
    }
});

/// The two tests above mean something only if a wrong answer is found out.
#[tokio::test]
async fn an_answer_that_is_not_as_described_is_found_out() {
    let app = TestApp::new(Backend::Sqlite).await;
    let described = described(&konverse_api::openapi_document());
    let admin = app.admin().await;
    let records = Records::new(&app, &admin, 1).await;
    let one = admin.get(&format!("/v1/conversations/{}", records.conversation)).await.ok();
    let list = admin.get("/v1/customers").await.ok();
    let run = json!({ "parameters": { "id": records.customer } });
    let run = admin.post("/v1/operations/get-conversations-by-customer/run", run).await.ok();
    let remove = |pointer: &str, name: &str, answer: &Value| {
        let mut wrong = answer.clone();
        let removed = wrong.pointer_mut(pointer).and_then(Value::as_object_mut).expect("an object").shift_remove(name);
        assert!(removed.is_some(), "{pointer} {name}");
        wrong
    };
    let set = |pointer: &str, value: Value, answer: &Value| {
        let mut wrong = answer.clone();
        let place = wrong.pointer_mut(pointer).unwrap_or_else(|| panic!("{pointer}"));
        assert_ne!(*place, value);
        *place = value;
        wrong
    };
    for (key, wrong) in [
        ("read-conversation", remove("/data/attributes", "status", &one)),
        ("read-conversation", set("/data/attributes/status", json!("closed"), &one)),
        ("read-conversation", set("/data/attributes/priority", json!("3"), &one)),
        ("read-conversation", set("/data/attributes/tags/0", json!("vip"), &one)),
        ("read-conversation", set("/data/attributes/createdAt", json!(1), &one)),
        ("read-conversation", set("/data/attributes", json!({ "unheardOf": 1 }), &one)),
        ("read-conversation", remove("/data", "links", &one)),
        ("read-conversation", set("/data", json!([]), &one)),
        ("list-customers", set("/data/0/attributes/emails", json!(["jane@acme.example"]), &list)),
        ("list-customers", remove("", "meta", &list)),
        ("list-customers", set("/meta/page", json!("1"), &list)),
        ("list-customers", remove("/links", "next", &list)),
        ("list-customers", set("/data", json!({}), &list)),
        ("run-operation", set("/meta/page", json!(1), &run)),
    ] {
        assert!(!described[key].complaints(&wrong).is_empty(), "{key}: {wrong}");
    }
    let mut more = one.clone();
    more["data"]["attributes"]["unheardOf"] = json!(1);
    assert_eq!(described["read-conversation"].complaints(&more), ["unheardOf is not described"]);
    let error = admin.get("/v1/conversations/x").await.json();
    for wrong in [
        remove("", "error", &error),
        set("/errors", json!([]), &error),
        set("/errors/0/code", json!("notfound"), &error),
        set("/errors/0/status", json!(400), &error),
        remove("/errors/0", "message", &error),
        one,
    ] {
        assert!(!described["read-conversation"].failure.is_valid(&wrong), "{wrong}");
    }
}
