//! A JSON value in the form another schema asks for: the published operation's, where every leaf is a string.

use serde_json::{Map, Value};

/// The parts of `value` that `schema` names, in the types it names.
///
/// Where the schema says string: texts stay, numbers become decimal strings, null becomes `""`, objects and arrays
/// become their JSON text. Properties `value` does not have are left out.
pub fn project(schema: &Value, value: &Value) -> Value {
    match schema["type"].as_str() {
        Some("object") => {
            let empty = Map::new();
            let properties = schema["properties"].as_object().unwrap_or(&empty);
            let part = |(name, schema): (&String, &Value)| Some((name.clone(), project(schema, value.get(name)?)));
            Value::Object(properties.iter().filter_map(part).collect())
        }
        Some("array") => {
            let items = value.as_array().map(Vec::as_slice).unwrap_or_default();
            Value::Array(items.iter().map(|item| project(&schema["items"], item)).collect())
        }
        _ => Value::String(match value {
            Value::String(text) => text.clone(),
            Value::Null => String::new(),
            other => other.to_string(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn leaves_become_strings() {
        let schema = json!({ "type": "object", "properties": {
            "n": { "type": "string" }, "o": { "type": "string" }, "z": { "type": "string" }, "missing": { "type": "string" },
            "list": { "type": "array", "items": { "type": "string" } },
        }});
        let value = json!({ "n": 3, "o": { "a": [1] }, "z": null, "list": ["x", 1], "extra": true });
        assert_eq!(project(&schema, &value), json!({ "n": "3", "o": "{\"a\":[1]}", "z": "", "list": ["x", "1"] }));
    }
}
