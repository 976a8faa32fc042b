//! Asks the real router whatever bytes say, and holds what no request may do: make konverse fail, be answered in a form
//! nobody can read, or change something without its being there afterwards.
//!
//! The same bytes ask the same, so what was found once is kept as a file and asked again with every test.

use axum::http::{Method, StatusCode, Uri};
use konverse_api::{Answer, Operation};
use konverse_domain::{ImportKind, Importer, RowOutcome};
use konverse_model::input::{QUEUE_IMPORT, SLA_IMPORT};
use konverse_model::resource::{
    ConversationAttributes, CustomerAttributes, MessageAttributes, NoteAttributes, TagAttributes, TeamAttributes,
    TokenAttributes, UserAttributes,
};
use konverse_model::{Attributes, Cursor, Document};
use serde_json::{Map, Value, json};

use crate::{Actor, Backend, Reply, TestApp};

/// A running konverse with a record of each kind, to be asked anything.
pub struct Probe {
    app: TestApp,
    admin: Actor,
    /// The segment of a path below which records of a kind are, with the id of one.
    known: Vec<(&'static str, String)>,
    reads: Vec<Operation>,
    writes: Vec<Operation>,
}

/// The kinds of rows with the words of their operations. What is kept of fuzzing names them by their places here.
const ROWS: [(ImportKind, &str); ImportKind::ALL.len()] = [
    (ImportKind::Users, "user"),
    (ImportKind::Teams, "team"),
    (ImportKind::Tags, "tag"),
    (ImportKind::Customers, "customer"),
    (ImportKind::Conversations, "conversation"),
    (ImportKind::Messages, "message"),
    (ImportKind::Notes, "note"),
    (ImportKind::Companies, "company"),
    (ImportKind::Shortcuts, "shortcut"),
    (ImportKind::Brands, "brand"),
    (ImportKind::Slas, "sla"),
    (ImportKind::Queues, "queue"),
];

/// Decisions made of bytes: 0 when there are no more.
struct Source<'a>(&'a [u8]);

impl Source<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn below(&mut self, most: usize) -> usize {
        usize::from(self.byte()) % most.max(1)
    }

    /// True for one byte of `of`.
    fn seldom(&mut self, of: u8) -> bool {
        self.byte() % of == 1
    }

    fn text(&mut self) -> String {
        let length = self.below(24).min(self.0.len());
        let (text, rest) = self.0.split_at(length);
        self.0 = rest;
        String::from_utf8_lossy(text).into_owned()
    }
}

impl Probe {
    /// With one customer, one conversation and so on.
    ///
    /// # Panics
    /// When a record cannot be made.
    pub async fn new(backend: Backend) -> Self {
        let app = TestApp::new(backend).await.with_search();
        let admin = app.admin().await;
        let customer = json!({ "name": "Jane", "emails": [{ "email": "jane@example.com" }], "externalId": "x-1", "phones": [{ "phone": "+4930123456" }] });
        let customer = admin.post("/v1/customers", customer).await.created_id();
        let conversation = admin.conversation(&customer, json!({ "externalId": "x-1" })).await;
        let message = admin.message(&conversation, json!({ "externalId": "x-1" })).await;
        let note = admin.post(&format!("/v1/conversations/{conversation}/notes"), json!({ "body": "n" })).await;
        let user = admin.post("/v1/users", json!({ "name": "Ann", "email": "ann@acme.example" })).await;
        let team = admin.post("/v1/teams", json!({ "name": "Support" })).await;
        let group = admin.post("/v1/role-groups", json!({ "name": "Readers" })).await;
        let tag = admin.post("/v1/tags", json!({ "name": "vip", "color": "#26c281" })).await;
        let company = admin.post("/v1/companies", json!({ "name": "Acme", "externalId": "x-1" })).await;
        let shortcut = admin.post("/v1/shortcuts", json!({ "name": "Hello" })).await;
        let brand = admin.post("/v1/brands", json!({ "name": "Acme" })).await;
        let search = admin.post("/v1/customers/searches", json!({ "name": "All", "query": {} })).await;
        // No operation creates these two.
        let mut importer = Importer::new(&app.domain, app.org.id).await.expect("an import begins");
        let (sla, queue) = ("671a2c40a3f1b20012c4ff01", "671a2c40a3f1b20012c4ff02");
        for (kind, row) in [
            (ImportKind::Slas, json!({ "id": sla, "versions": [{ "name": "Fast" }] })),
            (ImportKind::Queues, json!({ "id": queue, "name": "Support" })),
        ] {
            importer.take(kind, vec![kind.read(&row.to_string()).expect("a row")]).await.expect("it is taken");
        }
        let known = vec![
            ("companies", company.created_id()),
            ("shortcuts", shortcut.created_id()),
            ("brands", brand.created_id()),
            ("searches", search.created_id()),
            ("slas", sla.to_owned()),
            ("queues", queue.to_owned()),
            ("orgs", app.org.id.to_string()),
            ("domains", app.org.name.clone()),
            ("customers", customer),
            ("conversations", conversation),
            ("messages", message),
            ("notes", note.created_id()),
            ("users", user.created_id()),
            ("teams", team.created_id()),
            ("role-groups", group.ok()["data"]["id"].as_str().expect("an id").to_owned()),
            ("tags", tag.created_id()),
            ("metadata", "customer".to_owned()),
        ];
        let (writes, rest): (Vec<_>, Vec<_>) = konverse_api::operations().into_iter().partition(|it| it.body.is_some());
        // There are no custom objects yet.
        let read = |operation: &Operation| operation.method == Method::GET && operation.key != "read-kobject";
        let reads = rest.into_iter().filter(read).collect();
        Self { app, admin, known, reads, writes }
    }

    /// The path of an operation, of records that are there; `value` stands for what is looked for instead.
    fn path(&self, operation: &Operation, value: &str) -> String {
        let mut path = String::new();
        for segment in operation.path.split('/').skip(1) {
            let (name, is_open) = segment.split_once('{').map_or((segment, false), |(name, _)| (name, true));
            let known = self.known.iter().find(|(kind, _)| path.ends_with(kind)).map_or("current", |(_, id)| id);
            let there = match name {
                _ if !is_open => "",
                _ if !value.is_empty() => value,
                "email=" => "jane%40example.com",
                "phone=" => "%2B4930123456",
                "externalId=" | "externalid=" => "x-1",
                _ if path.ends_with("operations") => "get-conversations-by-customer",
                _ => known,
            };
            path.push_str(&format!("/{name}{there}"));
        }
        path
    }

    /// Reads: the first byte chooses the operation, then comes what stands for an id in its path up to a `?` (nothing for
    /// a record that is there), then the query. Gives the operation's key and whether it was answered.
    ///
    /// # Panics
    /// When the answer is not as it must be.
    pub async fn read(&self, input: &[u8]) -> (&'static str, bool) {
        let mut source = Source(input);
        let operation = &self.reads[source.below(self.reads.len())];
        let rest = String::from_utf8_lossy(source.0);
        let (value, query) = rest.split_once('?').unwrap_or(("", &rest));
        let path = format!("{}?{query}", self.path(operation, value));
        // What is no URI never comes as far as konverse.
        if path.parse::<Uri>().is_err() {
            return (operation.key, false);
        }
        let reply = self.admin.get(&path).await;
        judge(&path, &reply);
        if reply.status == StatusCode::OK && !query.is_empty() {
            assert_eq!(self.admin.get(&path).await.body, reply.body, "{path}: the same is answered again");
        }
        (operation.key, reply.status.is_success())
    }

    /// Writes: the first byte chooses the operation, the second whether the rest is the body or what a body is made of
    /// that has the operation's shape, nearly. Gives the operation's key and whether it was taken.
    ///
    /// # Panics
    /// When the answer is not as it must be, or what was taken is not there.
    pub async fn write(&self, input: &[u8]) -> (&'static str, bool) {
        let mut source = Source(input);
        let operation = &self.writes[source.below(self.writes.len())];
        let schemas = operation.body.as_ref().map(|(_, schemas)| schemas.as_slice()).unwrap_or_default();
        let body = if source.seldom(2) || schemas.is_empty() {
            source.0.to_vec()
        } else {
            let schema = schemas[source.below(schemas.len())];
            let is_plain = !source.seldom(4);
            let mut body = self.made("", schema, &mut source, is_plain, 0);
            if operation.key == "run-operation" && is_plain {
                // Its parameters are those of the operation that is run, which this schema does not know.
                let (page, size) = (source.byte().to_string(), source.byte());
                let customer = self.known.iter().find(|(kind, _)| *kind == "customers").map(|(_, id)| id);
                body = json!({ "parameters": { "id": customer, "page": page, "pageSize": size } });
            }
            body.to_string().into_bytes()
        };
        let path = self.path(operation, "");
        let headers = [("content-type", "application/json")];
        let sent = serde_json::from_slice::<Value>(&body).unwrap_or_default();
        let reply = self.admin.send(operation.method.clone(), &path, Some(body), &headers).await;
        judge(&format!("{} {path} {sent}", operation.method), &reply);
        let is_record = reply.status.is_success() && matches!(operation.answer, Answer::One(_));
        if is_record {
            self.is_there(&sent, &reply).await;
        }
        if reply.status.is_success() && sent["deleted"] == true {
            let restored = json!({ "deleted": false }).to_string().into_bytes();
            let reply = self.admin.send(Method::PATCH, &path, Some(restored.clone()), &headers).await;
            if reply.status == StatusCode::METHOD_NOT_ALLOWED {
                self.admin.send(Method::PUT, &path, Some(restored), &headers).await;
            }
        }
        (operation.key, reply.status.is_success())
    }

    /// What was answered to a write is read back, and what was sent as the client likes is in it as it was sent.
    async fn is_there(&self, sent: &Value, reply: &Reply) {
        let record = reply.json()["data"].clone();
        let kind = record["type"].as_str().unwrap_or_default();
        let path = record["links"]["self"].as_str().expect("a record has a path");
        // A note or conversation can be deleted by a change of it, and a customer with all there is of it.
        let read = self.admin.get(path).await;
        if read.status == StatusCode::NOT_FOUND && sent["deleted"] == true {
            return;
        }
        assert_eq!(read.ok()["data"], record, "{path} after {sent}");
        let names: &[&str] = match kind {
            "message" => &["preview", "subject", "externalId", "app", "lang"],
            "conversation" => &["name", "externalId"],
            "note" => &["body", "externalId"],
            "customer" => &["externalId"],
            "team" | "tag" => &["name"],
            _ => &[],
        };
        for name in names {
            if let Some(text) = sent[name].as_str() {
                assert_eq!(record["attributes"][name], text, "{name} of {path} after {sent}");
            }
        }
        for name in ["custom", "meta"] {
            for (member, value) in sent[name].as_object().into_iter().flatten() {
                let stored = &record["attributes"][name][member];
                assert!(value.is_null() || stored == value, "{name}/{member} of {path} is {stored} after {sent}");
            }
        }
    }

    /// Imports a row: the first byte chooses the kind, the rest is the line. A row that is taken is there the second time.
    /// Gives the kind's name and whether it was taken.
    ///
    /// # Panics
    /// When the import fails, or takes a row twice.
    pub async fn import(&self, input: &[u8]) -> (&'static str, bool) {
        let mut source = Source(input);
        let kind = ROWS[source.below(ROWS.len())].0;
        // What is no UTF-8 is refused before.
        let Ok(line) = std::str::from_utf8(source.0) else { return (kind.name(), false) };
        let mut importer = Importer::new(&self.app.domain, self.app.org.id).await.expect("an import begins");
        let mut take = async || {
            let row = kind.read(line).ok()?;
            importer.take(kind, vec![row]).await.expect("a batch is taken or its rows refused").pop()
        };
        let is_new = take().await == Some(RowOutcome::Created);
        if is_new {
            assert_eq!(take().await, Some(RowOutcome::Present), "{} {line}", kind.name());
        }
        (kind.name(), is_new)
    }

    /// An input of [`Probe::import`]: a row of the shape, nearly, as these bytes say.
    pub fn row(&self, input: &[u8]) -> Vec<u8> {
        let mut source = Source(input);
        let kind = source.byte();
        let (of, name) = ROWS[usize::from(kind) % ROWS.len()];
        let of_kind = |operation: &&Operation| operation.key == format!("create-{name}");
        let schema = match of {
            ImportKind::Slas => Some(SLA_IMPORT.schema()),
            ImportKind::Queues => Some(QUEUE_IMPORT.schema()),
            _ => self.writes.iter().find(of_kind).and_then(|operation| operation.body.as_ref()?.1.first().copied()),
        };
        let mut row = schema.map_or(Value::Null, |schema| self.made("", schema, &mut source, true, 0));
        if let Value::Object(row) = &mut row {
            // It would name a version that the row has, by chance only.
            row.shift_remove("currentVersion");
            row.insert("id".into(), json!(format!("671a2d10a3f1b20012c4{:02x}{:02x}", source.byte(), source.byte())));
        }
        [&[kind], row.to_string().as_bytes()].concat()
    }

    /// A value of a schema's shape, nearly: now and then what the schema does not allow, unless it is to be `plain`.
    fn made(&self, name: &str, schema: &Value, source: &mut Source<'_>, plain: bool, depth: u32) -> Value {
        if (!plain && source.seldom(16)) || depth > 8 {
            return self.anything(source, depth);
        }
        for choice in ["anyOf", "oneOf"] {
            if let Some(choices) = schema[choice].as_array() {
                return self.made(name, &choices[source.below(choices.len())], source, plain, depth + 1);
            }
        }
        if let Some(value) = schema.get("const") {
            return value.clone();
        }
        if let Some(values) = schema["enum"].as_array() {
            return values[source.below(values.len())].clone();
        }
        let types: Vec<&str> = match &schema["type"] {
            Value::String(one) => vec![one],
            Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
            _ if schema.get("properties").is_some() => vec!["object"],
            _ => return self.anything(source, depth),
        };
        match types.get(source.below(types.len())).copied().unwrap_or_default() {
            "object" => {
                let mut object = Map::new();
                let required = schema["required"].as_array().cloned().unwrap_or_default();
                for (name, schema) in schema["properties"].as_object().into_iter().flatten() {
                    // A stale revision is refused, and what is deleted can be asked nothing more.
                    let spoils = plain && matches!(&**name, "rev" | "deleted");
                    if required.contains(&json!(name)) || (!spoils && source.seldom(if plain { 7 } else { 3 })) {
                        object.insert(name.clone(), self.made(name, schema, source, plain, depth + 1));
                    }
                }
                if schema["additionalProperties"] != false {
                    for _ in 0..source.below(3) {
                        let ending = ["Str", "Num", "Bool", "At", "Txt", "Tree"][source.below(6)];
                        object.insert(format!("a{}{ending}", source.below(4)), self.anything(source, depth + 1));
                    }
                }
                Value::Object(object)
            }
            "array" => {
                let count = source.below(3);
                (0..count).map(|_| self.made(name, &schema["items"], source, plain, depth + 1)).collect()
            }
            "string" => self.string(name, schema, source),
            "integer" => json!(i64::from(source.byte()) - 2),
            "number" => json!(f64::from(source.byte()) / 4.0),
            "boolean" => json!(source.seldom(2)),
            _ => Value::Null,
        }
    }

    fn string(&self, name: &str, schema: &Value, source: &mut Source<'_>) -> Value {
        let pattern = schema["pattern"].as_str().unwrap_or_default();
        if pattern.contains("{24}") {
            return json!(self.id(name, source));
        }
        if schema["format"] == "date-time" {
            let (year, month, day) = (source.below(6), source.below(9) + 1, source.below(9));
            return json!(format!("202{year}-0{month}-1{day}T09:00:00.000Z"));
        }
        if pattern.contains('@') {
            return json!(format!("p{}@example.com", source.byte()));
        }
        match source.below(4) {
            0 => json!(format!("+4930{:07}", source.byte())),
            1 | 2 => json!("n".repeat(source.below(8) + 1)),
            _ => json!(source.text()),
        }
    }

    /// The id of a record that a member of this name may name; a new one for the record's own.
    fn id(&self, name: &str, source: &mut Source<'_>) -> String {
        if name == "id" {
            return format!("671a2c40a3f1b20012{:02x}{:02x}{:02x}", source.byte(), source.byte(), source.byte());
        }
        let name = name.to_lowercase();
        let named = self.known.iter().find(|(kind, _)| name.contains(&kind[..kind.len() - 1]));
        let kind = if named.is_none() && name.ends_with("by") { "users" } else { "messages" };
        let (_, id) = named.or_else(|| self.known.iter().find(|(known, _)| *known == kind)).unwrap_or(&self.known[0]);
        id.clone()
    }

    fn anything(&self, source: &mut Source<'_>, depth: u32) -> Value {
        match source.below(if depth > 8 { 7 } else { 9 }) {
            0 => Value::Null,
            1 => json!(true),
            2 => json!(source.byte()),
            3 => json!(f64::from(source.byte()) * 1e300),
            4 => json!("2026-01-01T00:00:00.000Z"),
            5 => json!(self.known[source.below(self.known.len())].1),
            6 => json!(source.text()),
            7 => (0..source.below(3)).map(|_| self.anything(source, depth + 1)).collect(),
            _ => (0..source.below(3)).map(|_| (source.text(), self.anything(source, depth + 1))).collect(),
        }
    }
}

/// What holds for every answer.
fn judge(asked: &str, reply: &Reply) {
    let text = String::from_utf8_lossy(&reply.body);
    assert!(reply.status.as_u16() < 500, "{asked} is answered {} {text}", reply.status);
    if reply.status.is_client_error() {
        let (status, code, _) = reply.error();
        assert!(status == reply.status.as_u16() && !code.is_empty(), "{asked} is answered {text}");
    } else if !reply.body.is_empty() {
        reply.json();
    }
}

/// What is taken for a cursor is written as it was read.
///
/// # Panics
/// When it is not.
pub fn cursor(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Ok(cursor) = text.parse::<Cursor>() {
        assert_eq!(cursor.to_string(), text);
    }
}

/// What is taken for a stored text of a kind, the first byte, is the same record when it is written and read again.
///
/// # Panics
/// When it is not.
pub fn document(input: &[u8]) {
    let mut source = Source(input);
    let kind = source.byte();
    let Ok(text) = std::str::from_utf8(source.0) else { return };
    match kind % 8 {
        0 => survives::<ConversationAttributes>(text),
        1 => survives::<CustomerAttributes>(text),
        2 => survives::<MessageAttributes>(text),
        3 => survives::<NoteAttributes>(text),
        4 => survives::<UserAttributes>(text),
        5 => survives::<TeamAttributes>(text),
        6 => survives::<TagAttributes>(text),
        _ => survives::<TokenAttributes>(text),
    }
}

fn survives<A: Attributes + PartialEq + std::fmt::Debug>(text: &str) {
    let Ok(document) = Document::<A>::from_text(text) else { return };
    let rendered = document.render();
    let again = Document::<A>::from_text(&rendered.text).unwrap_or_else(|error| panic!("{error}: {}", rendered.text));
    assert_eq!(again.render(), rendered, "{text}");
    assert_eq!(again.id, document.id);
    let stamp = &rendered.text[rendered.stamp_at..rendered.stamp_at + 24];
    let shown: Value = serde_json::from_str(&rendered.text).unwrap_or_default();
    assert_eq!(shown["attributes"]["updatedAt"], stamp, "{text}");
    assert_eq!(shown["type"], A::KIND.name());
}
