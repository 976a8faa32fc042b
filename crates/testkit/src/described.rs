//! Every answer a test gets, held against `openapi.json`: its status, its headers, its body.
//!
//! The operation is found here by the path as the document writes it, and not as konverse's own router finds it.

use std::sync::{LazyLock, OnceLock};

use axum::http::{HeaderMap, Method};
use jsonschema::Validator;
use serde_json::{Value, json};

use crate::Reply;

/// Bodies over this many bytes are not read again: tests of such are about their size.
const LARGEST: usize = 4 << 20;

/// The description, ready to be held against answers.
pub struct Description {
    document: Value,
    operations: Vec<Described>,
    refusal: Validator,
}

/// One operation of it.
struct Described {
    method: Method,
    path: Vec<String>,
    operation: Value,
    /// The schema of what it answers when it succeeds, made when it is first needed.
    success: OnceLock<Option<Validator>>,
}

static DESCRIPTION: LazyLock<Description> = LazyLock::new(|| Description::of(konverse_api::openapi_document()));

impl Described {
    fn status(&self) -> u16 {
        let statuses = self.operation["responses"].as_object().expect("responses").keys();
        let mut successes =
            statuses.filter_map(|status| status.parse().ok()).filter(|status| (200..300).contains(status));
        successes.next().expect("an operation can succeed")
    }

    /// How many segments of the path are as they are written, if the path is one of this operation.
    fn matches(&self, path: &[&str]) -> Option<usize> {
        let mut exact = 0;
        for (n, segment) in self.path.iter().enumerate() {
            let given = path.get(n)?;
            match segment.split_once('{') {
                // The value of a look-up is all the rest of the path.
                Some((before, _)) if before.ends_with('=') => {
                    return given.strip_prefix(before).filter(|value| !value.is_empty()).map(|_| exact + 1);
                }
                Some(_) if given.is_empty() => return None,
                Some(_) => {}
                None if segment == given => exact += 1,
                None => return None,
            }
        }
        (self.path.len() == path.len()).then_some(exact)
    }
}

impl Description {
    /// That of this konverse.
    pub fn get() -> &'static Self {
        &DESCRIPTION
    }

    /// A document ready to be held against answers.
    ///
    /// # Panics
    /// When the document is not made of valid schemas.
    fn of(document: Value) -> Self {
        let mut operations = Vec::new();
        for (path, methods) in document["paths"].as_object().expect("paths") {
            for (method, operation) in methods.as_object().expect("methods") {
                operations.push(Described {
                    method: method.to_uppercase().parse().expect("a method"),
                    path: path.split('/').skip(1).map(str::to_owned).collect(),
                    operation: operation.clone(),
                    success: OnceLock::new(),
                });
            }
        }
        let refusal = validator(&document, &json!({ "$ref": "#/components/schemas/Error" }));
        Self { document, operations, refusal }
    }

    /// The operation of a path and method: of several paths that fit, the one with most of it written out counts,
    /// whatever methods it has.
    fn find(&self, method: &Method, path: &str) -> Option<&Described> {
        let path = path.split('?').next().unwrap_or_default().trim_end_matches('/');
        let segments: Vec<&str> = path.split('/').skip(1).collect();
        let method = if method == Method::HEAD { &Method::GET } else { method };
        let fitting = || self.operations.iter().filter_map(|one| Some((one.matches(&segments)?, one)));
        let most = fitting().map(|(exact, _)| exact).max()?;
        fitting().find(|(exact, one)| *exact == most && one.method == method).map(|(_, one)| one)
    }

    /// What of an answer is not as described. Of a path or method that is not described, only the refusal is.
    ///
    /// # Panics
    /// When the document is not made of valid schemas.
    pub fn complaints(&self, method: &Method, path: &str, reply: &Reply) -> Vec<String> {
        let status = reply.status.as_u16();
        let mut complaints = Vec::new();
        let described = self.find(method, path);
        if let Some(described) = described {
            let response = &described.operation["responses"][status.to_string()];
            if response.is_null() {
                return vec![format!("the status {status} is not described")];
            }
            complaints.extend(self.headers(response, &reply.headers));
        } else if method == Method::OPTIONS {
            return complaints;
        }
        if method == Method::HEAD || reply.headers.contains_key("content-encoding") || reply.body.len() > LARGEST {
            return complaints;
        }
        if status >= 400 {
            complaints.extend(errors(&self.refusal, reply));
            return complaints;
        }
        let Some(described) = described else {
            complaints.push(format!("{method} {path} is not described, and answered"));
            return complaints;
        };
        match self.success(described).filter(|_| status != 304) {
            Some(schema) => complaints.extend(errors(schema, reply)),
            None if reply.body.is_empty() => {}
            None => complaints.push("there is a body".to_owned()),
        }
        complaints
    }

    /// Attributes in a successful answer that are not described. Records keep what a newer program put into them, so
    /// this is asked of fresh ones alone.
    ///
    /// # Panics
    /// When there is no such operation.
    pub fn unknown_attributes(&self, method: &Method, path: &str, answer: &Value) -> Vec<String> {
        let described = self.find(method, path).expect("an operation");
        let response = self.resolved(&described.operation["responses"][described.status().to_string()]);
        let schema = &response["content"]["application/json"]["schema"];
        let one = schema["oneOf"].as_array().map_or(schema, |alternatives| &alternatives[0]);
        let data = &one["properties"]["data"];
        let record = self.resolved(data.get("items").unwrap_or(data));
        let attributes = self.resolved(&record["properties"]["attributes"]);
        let Some(known) = attributes["properties"].as_object() else { return Vec::new() };
        let rows = answer["data"].as_array().map_or(std::slice::from_ref(&answer["data"]), Vec::as_slice);
        let names = rows.iter().filter_map(|row| row["attributes"].as_object()).flat_map(|names| names.keys());
        names.filter(|name| !known.contains_key(*name)).map(|name| format!("{name} is not described")).collect()
    }

    fn success<'a>(&self, described: &'a Described) -> Option<&'a Validator> {
        let make = || {
            let response = &described.operation["responses"][described.status().to_string()];
            let schema = &response["content"]["application/json"]["schema"];
            (!schema.is_null()).then(|| validator(&self.document, schema))
        };
        described.success.get_or_init(make).as_ref()
    }

    fn resolved<'a>(&'a self, value: &'a Value) -> &'a Value {
        let target = value["$ref"].as_str().map(|reference| reference.trim_start_matches('#'));
        target.map_or(value, |pointer| self.document.pointer(pointer).expect("what is referred to is there"))
    }

    fn headers(&self, response: &Value, given: &HeaderMap) -> Vec<String> {
        let described = self.resolved(response)["headers"].as_object().into_iter().flatten();
        let required = described.filter(|(_, header)| self.resolved(header)["required"] == true);
        required.filter(|(name, _)| !given.contains_key(*name)).map(|(name, _)| format!("no header {name}")).collect()
    }
}

fn validator(document: &Value, schema: &Value) -> Validator {
    let whole = json!({ "components": { "schemas": document["components"]["schemas"] }, "allOf": [schema] });
    jsonschema::validator_for(&whole).expect("the description is made of valid schemas")
}

fn errors(schema: &Validator, reply: &Reply) -> Vec<String> {
    let kind = reply.headers.get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if !kind.starts_with("application/json") {
        return vec![format!("the content type is {kind:?}")];
    }
    match serde_json::from_slice(&reply.body) {
        Ok(body) if schema.is_valid(&body) => Vec::new(),
        Ok(body) => schema.iter_errors(&body).map(|error| format!("{}: {error}", error.instance_path())).collect(),
        Err(error) => vec![format!("the body is no JSON: {error}")],
    }
}
