//! What the operations of `openapi.json` share: schemas, refusals, headers.

use serde_json::{Map, Value, json};

use super::examples;
use crate::error::{CODES, Code};
use crate::operation::Operation;

/// An id, as requests may write it.
pub(super) const ID: &str = "^[0-9a-fA-F]{24}$";

/// The name of a tag (contract `endpoints.md`), or an id, which looks like one.
pub(super) const TAG: &str = "^[A-Za-z0-9À-ÿ_/<>.-][A-Za-z0-9À-ÿ_/<>. -]{0,63}$";

/// A tag, as bodies name it.
pub(super) fn tag() -> Value {
    json!({ "type": "string", "pattern": TAG, "description": "A tag's id or name." })
}

/// An attachment, as bodies name it.
pub(super) fn attachment() -> Value {
    let id = json!({ "type": "string", "pattern": ID });
    json!({
        "description": "An attachment's id, or an object with it as `_id`.",
        "anyOf": [id, { "type": "object", "properties": { "_id": id }, "required": ["_id"] }],
    })
}

pub(super) fn reference(schema: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{schema}") })
}

fn members(object: Value) -> Map<String, Value> {
    match object {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}

pub(super) fn schemas() -> Map<String, Value> {
    let text = json!({ "type": "string" });
    let nullable = json!({ "type": ["string", "null"] });
    let source = json!({
        "type": "object",
        "description": "Where it lies; absent when it is about no part of the request.",
        "properties": {
            "pointer": { "type": "string", "description": "A JSON pointer into the body; empty for the whole." },
            "parameter": { "type": "string", "description": "A parameter of the path or the query." },
            "header": { "type": "string", "description": "A header." },
        },
        "minProperties": 1,
        "maxProperties": 1,
        "additionalProperties": false,
    });
    let error = json!({
        "type": "object",
        "properties": {
            "status": { "type": "string", "description": "The HTTP status, as a text." },
            "code": {
                "type": "string",
                "description": "What clients branch on; fall back to the status.",
                "enum": CODES.iter().map(|code| code.name()).collect::<Vec<_>>(),
            },
            "title": text, "message": text, "detail": text, "source": source, "meta": { "type": "object" },
        },
        "required": ["status", "code", "title", "message", "detail", "meta"],
        "additionalProperties": false,
    });
    let identifier = json!({
        "type": "object",
        "properties": { "type": text, "id": { "type": "string", "pattern": ID } },
        "required": ["type", "id"],
    });
    let relationship = json!({
        "type": ["object", "null"],
        "description": "One record, several, or a collection below the record, which is a link alone; null where nobody knows.",
        "properties": {
            "links": { "type": "object", "properties": { "self": text }, "required": ["self"] },
            "data": { "anyOf": [
                reference("Identifier"), { "type": "array", "items": reference("Identifier") }, { "type": "null" },
            ] },
        },
        "minProperties": 1,
    });
    members(json!({
        "Error": {
            "type": "object",
            "description": "Every refusal has this shape.",
            "properties": {
                "error": { "type": "string", "description": "The first message again, for clients that read nothing else." },
                "errors": { "type": "array", "items": error, "minItems": 1 },
            },
            "required": ["error", "errors"],
            "additionalProperties": false,
        },
        "Links": {
            "type": "object",
            "description": "Paths below this server. `next` is null on the last page, `prev` on the first; `last` is there where \
                            the total is known.",
            "properties": { "self": text, "first": text, "prev": nullable, "next": nullable, "last": text },
            "required": ["self", "first", "prev", "next"],
        },
        "Meta": {
            "type": "object",
            "properties": {
                "pageSize": { "type": "integer", "minimum": 0, "description": "Rows a page may have." },
                "page": { "type": "integer", "minimum": 1 },
                "total": { "type": "integer", "minimum": 0, "description": "Rows of the whole list, where they are counted." },
                "totalPages": { "type": "integer", "minimum": 1 },
            },
            "required": ["pageSize", "page"],
        },
        "Identifier": identifier,
        "Relationships": { "type": "object", "additionalProperties": relationship },
        "RecordLinks": {
            "type": "object",
            "properties": {
                "self": { "type": "string", "description": "The record's path." },
                "related": { "type": ["string", "null"], "description": "Where its producer keeps it; on messages." },
            },
            "required": ["self"],
        },
    }))
}

/// The refusals that some operation answers, by their codes.
pub(super) fn refusals(operations: &[Operation]) -> Map<String, Value> {
    let codes: Vec<Code> = operations.iter().flat_map(Operation::codes).collect();
    let one = |code: &Code| {
        let mut headers = budget();
        if matches!(code, Code::TooManyRequests | Code::Unavailable) {
            headers.insert("Retry-After".to_owned(), json!({ "$ref": "#/components/headers/Retry-After" }));
        }
        if matches!(code, Code::Unauthorized) {
            headers.insert("WWW-Authenticate".to_owned(), json!({ "$ref": "#/components/headers/WWW-Authenticate" }));
        }
        let refusal = json!({
            "description": code.description(),
            "headers": headers,
            "content": { "application/json": { "schema": reference("Error"), "example": examples::refusal(*code) } },
        });
        (format!("{code:?}"), refusal)
    };
    CODES.iter().filter(|code| codes.contains(code)).map(one).collect()
}

pub(super) fn headers() -> Value {
    let whole = json!({ "type": "integer", "minimum": 0 });
    json!({
        "x-ratelimit-limit": { "description": "Requests the org may make in a minute.", "required": true, "schema": whole },
        "x-ratelimit-remaining": {
            "description": "Requests left in this minute; 0 on a refusal alone.", "required": true, "schema": whole,
        },
        "x-ratelimit-reset": {
            "description": "When the minute ends, in seconds since 1970-01-01T00:00:00Z.", "required": true, "schema": whole,
        },
        "Retry-After": { "description": "Seconds to wait before the request is worth another try.", "schema": whole },
        "WWW-Authenticate": {
            "description": "The scheme of tokens.", "required": true, "schema": { "const": "Bearer" },
        },
        "ETag": {
            "description": "The tag of these bytes in this form, for `If-None-Match`.",
            "required": true,
            "schema": { "type": "string" },
        },
    })
}

/// The headers that every answer has.
pub(super) fn budget() -> Map<String, Value> {
    let one = |name: &str| (name.to_owned(), json!({ "$ref": format!("#/components/headers/{name}") }));
    ["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"].into_iter().map(one).collect()
}

/// What custom attributes may hold, by the ending of their names.
pub(super) fn custom() -> Map<String, Value> {
    let text = |most: u32| json!({ "type": ["string", "null"], "maxLength": most });
    let id = json!({ "type": "string", "pattern": ID });
    members(json!({
        "propertyNames": { "maxLength": 256 },
        "patternProperties": {
            "^.+Str$": text(1024),
            "^.+Txt$": text(10_240),
            "^.+Num$": { "type": ["number", "null"] },
            "^.+At$": { "type": ["string", "null"], "format": "date-time" },
            "^.+Bool$": { "type": ["boolean", "null"] },
            "^.+Url$": { "type": ["string", "null"], "maxLength": 2048, "pattern": r"^[A-Za-z][A-Za-z0-9+.-]*:\S+$" },
            "^.+Id$": { "anyOf": [id, { "type": "array", "items": id }, { "type": "null" }] },
            "^.+Tree$": text(1024),
        },
        "additionalProperties": false,
    }))
}

/// What a tag's operations are about.
pub(super) fn about(tag: &str) -> String {
    let known = match tag {
        "customers" => "Customers, what belongs to one, and their look-ups.",
        "conversations" => "Conversations, what belongs to one, and their look-ups.",
        "messages" => "Messages of all channels.",
        "notes" => "Notes, which customers do not see.",
        "users" => "The people and the machine users of the org.",
        "teams" => "Teams of users.",
        "role-groups" => "Roles under one name, given to users and teams.",
        "tags" => "Tags, which conversations and customers carry.",
        "auth" => "Tokens and roles.",
        "metadata" => "What custom attributes there are, and what they may hold.",
        "operations" => "Operations that are run as their vendor's page describes them.",
        "service" => "The service itself: health and this description.",
        _ => return format!("Operations below `/v1/{tag}`."),
    };
    known.to_owned()
}
