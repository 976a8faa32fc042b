//! `openapi.json`, made from the table of operations: what is served is what is described.

mod examples;
mod operation;
mod shared;

use serde_json::{Map, Value, json};

use crate::operation::Operation;

const DESCRIPTION: &str = "The Kustomer REST API, served from a database its user owns.

Records come as resource objects (`type`, `id`, `attributes`, `relationships`, `links`), lists with `meta` and `links` \
beside them. Request bodies are the attributes alone. What a query says beyond the parameters described here is ignored; \
an empty value counts as none. Every refusal has the same shape, `Error`, and names the field or the parameter it is about.";

/// The OpenAPI 3.1 document of the operations.
pub(crate) fn document(operations: &[Operation]) -> Value {
    let mut paths: Map<String, Value> = Map::new();
    let mut records: Map<String, Value> = Map::new();
    let mut bodies: Map<String, Value> = Map::new();
    for operation in operations {
        let path = paths.entry(operation.path).or_insert_with(|| json!({}));
        path[operation.method.as_str().to_lowercase()] = operation::described(operation, &mut records);
        if let Some((name, schemas)) = &operation.body {
            let mut schema = match schemas.as_slice() {
                [one] => (*one).clone(),
                several => json!({ "oneOf": several }),
            };
            say_more(&mut schema);
            match *name {
                "TagCreate" | "TagUpdate" => schema["properties"]["name"]["pattern"] = json!(shared::TAG),
                "TagNames" => schema["items"] = shared::tag(),
                _ => {}
            }
            bodies.insert((*name).to_owned(), schema);
        }
    }
    let mut schemas = shared::schemas();
    schemas.extend(records);
    schemas.extend(bodies);
    schemas.values_mut().for_each(simplify);
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "konverse",
            "description": DESCRIPTION,
            "version": env!("CARGO_PKG_VERSION"),
            "contact": { "name": "whoever runs this server" },
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "/", "description": "This server" }],
        "tags": tags(operations),
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": shared::refusals(operations),
            "headers": shared::headers(),
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A token, in the header `Authorization: Bearer <token>`.",
                },
                "cookie": {
                    "type": "apiKey",
                    "in": "cookie",
                    "name": "x-kustomer-auth-token",
                    "description": "The token of a browser's session. What changes anything has to repeat the cookie `_csrf` in the \
                                    header `x-csrf-token`.",
                },
            },
        },
        "security": [{ "token": [] }, { "cookie": [] }],
    })
}

/// The tags of the operations, in the table's order.
fn tags(operations: &[Operation]) -> Vec<Value> {
    let mut tags: Vec<Value> = Vec::new();
    for operation in operations {
        let name = operation::tag(operation);
        if tags.iter().all(|tag| tag["name"] != name.as_str()) {
            tags.push(json!({ "name": name, "description": shared::about(&name) }));
        }
    }
    tags
}

/// Says of a body what the domain asks beside its schema: that the ending of a custom attribute's name says what it holds
/// (contract README §10), what tags and attachments are named by, what a saved search may ask. The domain looks after these
/// itself, after a merge as well, so the schemas that bodies are read with have no need to.
fn say_more(schema: &mut Value) {
    if let Some(Value::Array(alternatives)) = schema.get_mut("oneOf") {
        alternatives.iter_mut().for_each(say_more);
    }
    let Some(Value::Object(properties)) = schema.get_mut("properties") else { return };
    if let Some(Value::Object(custom)) = properties.get_mut("custom") {
        custom.extend(shared::custom());
    }
    if let Some(Value::Object(query)) = properties.get_mut("query") {
        query.insert("allOf".to_owned(), json!([shared::reference("Search")]));
    }
    for (name, item) in [("tags", shared::tag()), ("attachments", shared::attachment())] {
        // Attachments that are ids alone say so already.
        let list = properties.get_mut(name).and_then(Value::as_object_mut);
        if let Some(list) = list.filter(|list| list.get("items").is_none_or(|item| item.get("pattern").is_none())) {
            list.insert("items".to_owned(), item);
        }
    }
}

/// A choice of one is no choice: enums of one word are derived as such.
fn simplify(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            object.values_mut().for_each(simplify);
            if let Some([Value::Object(one)]) = object.get("oneOf").and_then(Value::as_array).map(Vec::as_slice) {
                let one = one.clone();
                object.shift_remove("oneOf");
                object.extend(one);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(simplify),
        _ => {}
    }
}
