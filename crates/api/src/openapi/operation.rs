//! One operation of `openapi.json`.

use konverse_model::Kind;
use serde_json::{Map, Value, json};

use super::examples;
use super::shared::{ID, reference};
use crate::operation::{Answer, Operation, Param};

/// Most ids a path may name, as a pattern has it.
const IDS: &str = "^[0-9a-fA-F]{24}(,[0-9a-fA-F]{24}){0,99}$";

pub(super) fn described(operation: &Operation, records: &mut Map<String, Value>) -> Value {
    let mut parameters: Vec<Value> = path_parameters(operation.path).map(|name| of_path(operation, name)).collect();
    parameters.extend(operation.params.iter().map(|param| of_query(operation, param)));
    if operation.is_tagged() {
        parameters.push(json!({
            "name": "If-None-Match",
            "in": "header",
            "description": "The `ETag` of an answer the caller has: when nothing has changed since, the answer is 304.",
            "schema": { "type": "string" },
        }));
    }
    let mut responses = Map::from_iter([(operation.status.to_string(), success(operation, records))]);
    if operation.is_tagged() {
        let unchanged = json!({
            "description": "What the caller has is what there is.",
            "headers": headers(operation),
        });
        responses.insert("304".to_owned(), unchanged);
    }
    for code in operation.codes() {
        responses.insert(code.status().to_string(), json!({ "$ref": format!("#/components/responses/{code:?}") }));
    }
    let mut described = json!({
        "operationId": operation.key,
        "summary": operation.summary,
        "description": description(operation),
        "tags": [tag(operation)],
        "parameters": parameters,
        "responses": responses,
    });
    if let Some((name, _)) = &operation.body {
        let mut content = json!({ "schema": reference(name) });
        if let Some(example) = examples::body(name) {
            content["example"] = example;
        }
        described["requestBody"] = json!({ "required": true, "content": { "application/json": content } });
    }
    if !operation.needs_token {
        described["security"] = json!([]);
    } else if !operation.roles.is_empty() {
        described["x-roles"] = json!(operation.roles);
    }
    described
}

fn description(operation: &Operation) -> String {
    let roles: Vec<String> = operation.roles.iter().map(|role| format!("`{role}`")).collect();
    let who = match (operation.needs_token, roles.as_slice()) {
        (false, _) => "Needs no token.".to_owned(),
        (true, []) => "Any token will do.".to_owned(),
        (true, roles) => format!("Needs any one of the roles {}.", roles.join(", ")),
    };
    let details = operation.details;
    let gap = if details.is_empty() { "" } else { "\n\n" };
    format!("{}.{gap}{details}\n\n{who}", operation.summary.trim_end_matches('.'))
}

/// What an operation is listed under: the first word of its path, or `service` for what is beside the API.
pub(super) fn tag(operation: &Operation) -> String {
    let word = operation.path.strip_prefix("/v1/").and_then(|path| path.split('/').next());
    word.unwrap_or("service").to_owned()
}

fn of_query(operation: &Operation, param: &Param) -> Value {
    let mut description = param.description.to_owned();
    if param.name == "pageSize" {
        description = format!("Rows a page, from 0; what is over {0} is cut to {0}.", operation.most);
    }
    parameter(param, "query", &description)
}

fn parameter(param: &Param, place: &str, description: &str) -> Value {
    let mut limits = param.limits.clone();
    let example = limits.shift_remove("example").or_else(|| examples::parameter(param.name));
    let mut schema = json!({ "type": param.kind });
    if let Some(schema) = schema.as_object_mut() {
        schema.extend(limits);
    }
    let mut parameter = json!({ "name": param.name, "in": place, "description": description, "schema": schema });
    if let Some(example) = example {
        parameter["example"] = example;
    }
    match place {
        "path" => parameter["required"] = json!(true),
        // An empty value counts as none.
        _ => parameter["allowEmptyValue"] = json!(true),
    }
    parameter
}

/// A parameter of the path, known by its name unless the table says more.
fn of_path(operation: &Operation, name: &str) -> Value {
    if let Some(param) = operation.path_params.iter().find(|param| param.name == name) {
        return parameter(param, "path", param.description);
    }
    // The record it is the id of is the word before it.
    let before = operation.path.split(&format!("/{{{name}}}")).next().unwrap_or_default();
    let record = before.rsplit('/').next().unwrap_or_default().trim_end_matches('s').replace('-', " ");
    let several = matches!(operation.answer, Answer::OneOrSeveral(_));
    let is_id = name != "externalId" && (name == "id" || name.ends_with("Id"));
    let (description, limits) = match name {
        _ if is_id && several => {
            (format!("The id of a {record}, or up to a hundred, separated by commas."), json!({ "pattern": IDS }))
        }
        _ if is_id => (format!("The id of a {record}: 24 hex digits."), json!({ "pattern": ID })),
        "email" => ("An e-mail address, percent-encoded.".to_owned(), json!({ "minLength": 1 })),
        "phone" => ("A phone number, percent-encoded.".to_owned(), json!({ "minLength": 1 })),
        "externalId" => ("A key of another system, percent-encoded.".to_owned(), json!({ "minLength": 1 })),
        other => (format!("The {other} of a {record}, percent-encoded."), json!({ "minLength": 1 })),
    };
    let mut schema = json!({ "type": "string" });
    for (keyword, value) in limits.as_object().into_iter().flatten() {
        schema[keyword] = value.clone();
    }
    let mut parameter =
        json!({ "name": name, "in": "path", "required": true, "description": description, "schema": schema });
    let example = if is_id { examples::parameter("id") } else { examples::parameter(name) };
    if let Some(example) = example {
        parameter["example"] = example;
    }
    parameter
}

fn path_parameters(path: &str) -> impl Iterator<Item = &str> {
    path.split('{').skip(1).filter_map(|rest| rest.split('}').next())
}

/// The headers of an answer that is no refusal.
fn headers(operation: &Operation) -> Value {
    let mut headers = super::shared::budget();
    if operation.is_tagged() {
        headers.insert("ETag".to_owned(), json!({ "$ref": "#/components/headers/ETag" }));
    }
    Value::Object(headers)
}

fn success(operation: &Operation, records: &mut Map<String, Value>) -> Value {
    let (description, schema) = match &operation.answer {
        Answer::Nothing => ("Done.", None),
        Answer::One(schema) => ("The record.", Some(one(&record(&schema(), records)))),
        Answer::List(schema) => ("A page of the list.", Some(list(&record(&schema(), records)))),
        Answer::OneOrSeveral(schema) => {
            let record = record(&schema(), records);
            ("The record, or a page of several.", Some(json!({ "oneOf": [one(&record), list(&record)] })))
        }
        Answer::Document(schema) => ("The document.", Some(schema())),
    };
    let mut success = json!({ "description": description, "headers": headers(operation) });
    if let Some(schema) = schema {
        success["content"] = json!({ "application/json": { "schema": schema } });
    }
    success
}

fn one(record: &Value) -> Value {
    json!({ "type": "object", "properties": { "data": record }, "required": ["data"] })
}

fn list(record: &Value) -> Value {
    json!({
        "type": "object",
        "properties": {
            "meta": reference("Meta"), "data": { "type": "array", "items": record }, "links": reference("Links"),
        },
        "required": ["meta", "data", "links"],
    })
}

/// A resource object whose attributes have this schema: both are kept once, under their names.
fn record(schema: &Value, records: &mut Map<String, Value>) -> Value {
    let title = schema["title"].as_str().unwrap_or("Attributes").to_owned();
    let name = title.trim_end_matches("Attributes").to_owned();
    let name = if name.is_empty() || name == title { format!("{title}Record") } else { name };
    if !records.contains_key(&title) {
        let mut kind = json!({ "type": "string" });
        if let Some(word) = kind_of(&name) {
            kind["const"] = json!(word);
        }
        let record = json!({
            "type": "object",
            "properties": {
                "type": kind, "id": { "type": "string", "pattern": ID }, "attributes": reference(&title),
                "relationships": reference("Relationships"), "links": reference("RecordLinks"),
            },
            "required": ["type", "id", "attributes", "relationships", "links"],
        });
        records.insert(name.clone(), record);
        records.insert(title, schema.clone());
    }
    reference(&name)
}

/// The `type` of a record with this name: `Note` is a `note`, `Token` an `auth_token`.
fn kind_of(name: &str) -> Option<&'static str> {
    let mut word = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !word.is_empty() {
            word.push('_');
        }
        word.push(letter.to_ascii_lowercase());
    }
    [word.clone(), format!("auth_{word}")].iter().find_map(|word| Kind::from_name(word)).map(Kind::name)
}
