//! Events: what a change changed (contract `events-and-webhooks.md` §2).

use konverse_model::{Attributes, Document};
use serde_json::{Map, Value, json};

/// Where in a difference the 24 characters of the new `updatedAt` are.
pub(crate) const STAMP_AT: usize =
    r#"{"attributes":{"updatedAt":{"op":"replace","before":"0000-00-00T00:00:00.000Z","after":""#.len();

/// The difference of two versions of a record: `{"attributes":{name:{op,before,after}},"relationships":{…}}`.
pub(crate) fn difference<A: Attributes>(
    before: &Document<A>,
    after: &Document<A>,
) -> Result<String, serde_json::Error> {
    let (before, after) = (serde_json::to_value(before)?, serde_json::to_value(after)?);
    let stamp = json!({
        "op": "replace", "before": before["attributes"]["updatedAt"], "after": after["attributes"]["updatedAt"],
    });
    let part = |name: &str| {
        let empty = Map::new();
        let of =
            |value: &'_ Value| value.get(name).and_then(Value::as_object).cloned().unwrap_or_else(|| empty.clone());
        compare(&of(&before), &of(&after))
    };
    let mut attributes = Map::new();
    attributes.insert("updatedAt".into(), stamp.clone());
    attributes.extend(part("attributes"));
    attributes["updatedAt"] = stamp;
    serde_json::to_string(&json!({ "attributes": attributes, "relationships": part("relationships") }))
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
