//! Events: what a change changed (contract `events-and-webhooks.md` §2).

use konverse_model::{Attributes, Document};
use serde_json::{Map, Value, json};

/// The difference of two versions of a record: `{"attributes":{name:{op,before,after}},"relationships":{…}}`.
pub(crate) fn difference<A: Attributes>(
    before: &Document<A>,
    after: &Document<A>,
) -> Result<String, serde_json::Error> {
    let (before, after) = (serde_json::to_value(before)?, serde_json::to_value(after)?);
    let part = |name: &str| {
        let empty = Map::new();
        let of =
            |value: &'_ Value| value.get(name).and_then(Value::as_object).cloned().unwrap_or_else(|| empty.clone());
        Value::Object(compare(&of(&before), &of(&after)))
    };
    serde_json::to_string(&json!({ "attributes": part("attributes"), "relationships": part("relationships") }))
}

fn compare(before: &Map<String, Value>, after: &Map<String, Value>) -> Map<String, Value> {
    let mut changes = Map::new();
    for (name, now) in after {
        match before.get(name) {
            None => drop(changes.insert(name.clone(), json!({ "op": "add", "after": now }))),
            Some(was) if was != now => {
                changes.insert(name.clone(), json!({ "op": "replace", "before": was, "after": now }));
            }
            Some(_) => {}
        }
    }
    for (name, was) in before {
        if !after.contains_key(name) {
            changes.insert(name.clone(), json!({ "op": "remove", "before": was }));
        }
    }
    changes
}
