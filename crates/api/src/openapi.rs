//! `openapi.json`, made from the table of operations: what is served is what is described.

use serde_json::{Map, Value, json};

use crate::error::CODES;
use crate::operation::{Answer, Operation};

/// The OpenAPI 3.1 document of the operations.
pub(crate) fn document(operations: &[Operation]) -> Value {
    let mut paths: Map<String, Value> = Map::new();
    let mut bodies: Map<String, Value> = Map::new();
    let mut attributes: Map<String, Value> = Map::new();
    for operation in operations {
        let path = paths.entry(operation.path).or_insert_with(|| json!({}));
        path[operation.method.as_str().to_lowercase()] = described(operation, &mut attributes);
        if let Some((name, schemas)) = &operation.body {
            let schema = match schemas.as_slice() {
                [one] => (*one).clone(),
                several => json!({ "oneOf": several }),
            };
            bodies.insert((*name).to_owned(), schema);
        }
    }
    let mut schemas = shared_schemas();
    schemas.extend(attributes);
    schemas.extend(bodies);
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "konverse",
            "description": "The Kustomer REST API, served from a database its user owns.",
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
        },
        "security": [{ "token": [] }],
    })
}

fn shared_schemas() -> Map<String, Value> {
    let text = json!({ "type": "string" });
    let nullable = json!({ "type": ["string", "null"] });
    let error = json!({
        "type": "object",
        "properties": {
            "status": text, "code": { "enum": CODES.iter().map(|code| code.name()).collect::<Vec<_>>() },
            "title": text, "message": text, "detail": text,
            "source": { "type": "object", "properties": { "pointer": text, "parameter": text } },
            "meta": { "type": "object" },
        },
        "required": ["status", "code", "title", "message", "detail", "meta"],
    });
    let shared = json!({
        "Error": {
            "type": "object",
            "properties": { "error": text, "errors": { "type": "array", "items": error, "minItems": 1 } },
            "required": ["error", "errors"],
        },
        "Links": {
            "type": "object",
            "properties": { "self": text, "first": text, "prev": nullable, "next": nullable, "last": text },
            "required": ["self", "first", "prev", "next"],
        },
        "Meta": {
            "type": "object",
            "properties": {
                "pageSize": { "type": "integer" }, "page": { "type": "integer" },
                "total": { "type": "integer" }, "totalPages": { "type": "integer" },
            },
            "required": ["pageSize", "page"],
        },
    });
    match shared {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

fn described(operation: &Operation, attributes: &mut Map<String, Value>) -> Value {
    let mut parameters: Vec<Value> = path_parameters(operation.path)
        .map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }))
        .collect();
    parameters.extend(operation.params.iter().map(|param| {
        json!({ "name": param.name, "in": "query", "description": param.description, "schema": { "type": param.kind } })
    }));
    let success = match &operation.answer {
        Answer::Nothing => json!({ "description": "Done" }),
        Answer::One(schema) => content("The record", &one(&resource(&schema(), attributes))),
        Answer::List(schema) => content("A page of the list", &list(&resource(&schema(), attributes))),
        Answer::OneOrSeveral(schema) => {
            let resource = resource(&schema(), attributes);
            content("The record, or a page of several", &json!({ "oneOf": [one(&resource), list(&resource)] }))
        }
        Answer::Document(schema) => content("The document", &schema()),
    };
    let failure = content("What went wrong", &json!({ "$ref": "#/components/schemas/Error" }));
    let mut described = json!({
        "operationId": operation.key,
        "summary": operation.summary,
        "parameters": parameters,
        "responses": { operation.status.to_string(): success, "default": failure },
    });
    if let Some((name, _)) = &operation.body {
        let schema = json!({ "$ref": format!("#/components/schemas/{name}") });
        described["requestBody"] = json!({ "required": true, "content": { "application/json": { "schema": schema } } });
    }
    if !operation.needs_token {
        described["security"] = json!([]);
    } else if !operation.roles.is_empty() {
        described["description"] = json!(format!("Needs any one of the roles {}.", operation.roles.join(", ")));
        described["x-roles"] = json!(operation.roles);
    }
    described
}

fn one(resource: &Value) -> Value {
    json!({ "type": "object", "properties": { "data": resource }, "required": ["data"] })
}

fn list(resource: &Value) -> Value {
    json!({
        "type": "object",
        "properties": {
            "meta": { "$ref": "#/components/schemas/Meta" },
            "data": { "type": "array", "items": resource },
            "links": { "$ref": "#/components/schemas/Links" },
        },
        "required": ["meta", "data", "links"],
    })
}

fn content(description: &str, schema: &Value) -> Value {
    json!({ "description": description, "content": { "application/json": { "schema": schema } } })
}

/// A resource object whose attributes have this schema, which is kept once, under its title.
fn resource(schema: &Value, attributes: &mut Map<String, Value>) -> Value {
    let title = schema["title"].as_str().unwrap_or("Attributes").to_owned();
    let reference = json!({ "$ref": format!("#/components/schemas/{title}") });
    attributes.entry(title).or_insert_with(|| schema.clone());
    json!({
        "type": "object",
        "properties": {
            "type": { "type": "string" }, "id": { "type": "string" }, "attributes": reference,
            "relationships": { "type": "object" },
            "links": { "type": "object", "properties": { "self": { "type": "string" } } },
        },
        "required": ["type", "id", "attributes", "relationships", "links"],
    })
}

fn path_parameters(path: &str) -> impl Iterator<Item = &str> {
    path.split('{').skip(1).filter_map(|rest| rest.split('}').next())
}
