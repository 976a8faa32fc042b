//! Events: what a change changed (contract `events-and-webhooks.md` §2).

use konverse_model::{Attributes, Document};
use serde::Deserialize;
use serde_json::{Map, Value, json};

const BEFORE: &str = r#"{"attributes":{"updatedAt":{"op":"replace","before":""#;
const AFTER: &str = r#"","after":""#;

/// Where in every difference the 24 characters of the new `updatedAt` begin: the store writes the definitive instant
/// there when the change is committed.
pub(crate) const STAMP_AT: usize = BEFORE.len() + 24 + AFTER.len();

/// Attributes whose members are compared one by one: a small change within must not repeat all of a large object.
const BY_KEY: [&str; 2] = ["custom", "modificationHistory"];

#[derive(Deserialize)]
struct Parts {
    attributes: Map<String, Value>,
    relationships: Map<String, Value>,
}

/// The difference of two versions of a record: `{"attributes":{name:{op,before,after}},"relationships":{…}}`.
///
/// `updatedAt` is its first attribute, also when both versions have the same: the store has yet to stamp the new one.
/// Changes within an attribute that is compared by key are named `custom.NAME`.
pub(crate) fn difference<A: Attributes>(
    before: &Document<A>,
    after: &Document<A>,
) -> Result<String, serde_json::Error> {
    let mut before: Parts = serde_json::from_str(&before.to_text())?;
    let mut after: Parts = serde_json::from_str(&after.to_text())?;
    let mut attributes = Map::new();
    let [was, now] = [&mut before, &mut after].map(|parts| parts.attributes.shift_remove("updatedAt"));
    attributes.insert("updatedAt".to_owned(), json!({ "op": "replace", "before": was, "after": now }));
    let inner: Vec<_> = BY_KEY.map(|name| (name, members(&mut before, name), members(&mut after, name))).into();
    compare("", before.attributes, after.attributes, &mut attributes);
    for (name, was, now) in inner {
        compare(&format!("{name}."), was, now, &mut attributes);
    }
    let mut relationships = Map::new();
    compare("", before.relationships, after.relationships, &mut relationships);
    let text = serde_json::to_string(&json!({ "attributes": attributes, "relationships": relationships }))?;
    debug_assert_eq!(text.get(STAMP_AT..STAMP_AT + 24), now.as_ref().and_then(Value::as_str));
    Ok(text)
}

/// Takes out an attribute that is compared by key; it is not shown while it is empty.
fn members(parts: &mut Parts, name: &str) -> Map<String, Value> {
    match parts.attributes.shift_remove(name) {
        Some(Value::Object(members)) => members,
        _ => Map::new(),
    }
}

fn compare(prefix: &str, mut before: Map<String, Value>, after: Map<String, Value>, changes: &mut Map<String, Value>) {
    for (name, now) in after {
        let change = match before.shift_remove(&name) {
            None => json!({ "op": "add", "after": now }),
            Some(was) if was != now => json!({ "op": "replace", "before": was, "after": now }),
            Some(_) => continue,
        };
        changes.insert(format!("{prefix}{name}"), change);
    }
    for (name, was) in before {
        changes.insert(format!("{prefix}{name}"), json!({ "op": "remove", "before": was }));
    }
}

#[cfg(test)]
mod tests {
    use konverse_model::resource::{Conversation, Note};

    use super::*;

    const ID: &str = "671a2d10a3f1b20012c4d0a7";
    const EARLY: &str = "2026-10-24T09:00:00.000Z";
    const LATE: &str = "2026-10-24T09:01:00.000Z";

    fn text(kind: &str, mut attributes: Value, more: Value, relationships: &Value) -> String {
        for (name, value) in more.as_object().cloned().into_iter().flatten() {
            attributes[name] = value;
        }
        let links = json!({ "self": format!("/v1/{kind}s/{ID}") });
        json!({ "type": kind, "id": ID, "attributes": attributes, "relationships": relationships, "links": links })
            .to_string()
    }

    fn note(more: Value, relationships: &Value) -> Note {
        let attributes = json!({
            "body": "b", "createdByTeams": [], "createdAt": EARLY, "updatedAt": EARLY, "modifiedAt": EARLY, "rev": 1,
        });
        Note::from_text(&text("note", attributes, more, relationships)).expect("a stored note")
    }

    fn conversation(more: Value) -> Conversation {
        let attributes = json!({
            "name": "n", "channels": [], "status": "open", "priority": 3, "direction": "in", "messageCount": 0,
            "inboundMessageCount": 0, "outboundMessageCount": 0, "noteCount": 0, "satisfaction": 0, "sentiment": {},
            "tags": [], "suggestedTags": [], "assignedUsers": [], "assignedTeams": [], "lastMessageIn": {},
            "firstResponse": {}, "ended": false, "spam": false, "createdAt": EARLY, "updatedAt": EARLY,
            "modifiedAt": EARLY, "lastActivityAt": EARLY, "rev": 1,
        });
        Conversation::from_text(&text("conversation", attributes, more, &json!({}))).expect("a stored conversation")
    }

    #[test]
    fn the_new_stamp_is_always_at_the_same_place() {
        let (was, now) = (note(json!({}), &json!({})), note(json!({ "updatedAt": LATE, "body": "c" }), &json!({})));
        let told = difference(&was, &now).expect("a difference");
        assert_eq!(
            told,
            format!(
                r#"{{"attributes":{{"updatedAt":{{"op":"replace","before":"{EARLY}","after":"{LATE}"}},"body":{{"op":"replace","before":"b","after":"c"}}}},"relationships":{{}}}}"#
            )
        );
        assert_eq!(&told[STAMP_AT..STAMP_AT + 24], LATE);
        let same = difference(&was, &was).expect("a difference");
        assert_eq!(&same[STAMP_AT..STAMP_AT + 24], EARLY, "it is told even when it is the same");
    }

    #[test]
    fn custom_attributes_and_history_are_compared_key_by_key() {
        let was = conversation(json!({
            "custom": { "aStr": "a", "bNum": 1, "cBool": true }, "modificationHistory": { "customAt": EARLY },
        }));
        let now = conversation(json!({
            "custom": { "cBool": true, "bNum": 2, "dStr": "d" },
            "modificationHistory": { "customAt": LATE, "nameAt": LATE }, "name": "m",
        }));
        let told: Value = serde_json::from_str(&difference(&was, &now).expect("a difference")).expect("JSON");
        assert_eq!(
            told["attributes"],
            json!({
                "updatedAt": { "op": "replace", "before": EARLY, "after": EARLY },
                "name": { "op": "replace", "before": "n", "after": "m" },
                "custom.aStr": { "op": "remove", "before": "a" },
                "custom.bNum": { "op": "replace", "before": 1, "after": 2 },
                "custom.dStr": { "op": "add", "after": "d" },
                "modificationHistory.customAt": { "op": "replace", "before": EARLY, "after": LATE },
                "modificationHistory.nameAt": { "op": "add", "after": LATE },
            })
        );
        let told: Value =
            serde_json::from_str(&difference(&conversation(json!({})), &now).expect("a difference")).expect("JSON");
        assert_eq!(told["attributes"]["custom.cBool"], json!({ "op": "add", "after": true }), "from none to some");
    }

    #[test]
    fn a_small_change_within_a_large_object_is_a_small_difference() {
        let mut custom: Map<String, Value> =
            (0..99).map(|n| (format!("text{n}Txt"), json!("x".repeat(2500)))).collect();
        custom.insert("seenAt".into(), json!(EARLY));
        let was = conversation(json!({ "custom": custom }));
        custom.insert("seenAt".into(), json!(LATE));
        let now = conversation(json!({ "custom": custom, "modificationHistory": { "customAt": LATE } }));
        let told = difference(&was, &now).expect("a difference");
        assert!(was.to_text().len() > 240_000 && told.len() < 500, "{} {told}", told.len());
    }

    #[test]
    fn what_is_not_known_and_relationships_are_told() {
        let tie =
            |id: &str| json!({ "links": { "self": format!("/v1/slas/{id}") }, "data": { "type": "sla", "id": id } });
        let was = note(json!({ "mood": { "x": 1 }, "stays": [1.5] }), &json!({ "sla": tie("1") }));
        let now = note(json!({ "mood": { "x": 2 }, "stays": [1.5] }), &json!({ "sla": tie("2"), "zone": null }));
        let told: Value = serde_json::from_str(&difference(&was, &now).expect("a difference")).expect("JSON");
        assert_eq!(told["attributes"]["mood"], json!({ "op": "replace", "before": { "x": 1 }, "after": { "x": 2 } }));
        assert_eq!(told["attributes"].as_object().map(Map::len), Some(2));
        assert_eq!(
            told["relationships"],
            json!({
                "sla": { "op": "replace", "before": tie("1"), "after": tie("2") }, "zone": { "op": "add", "after": null },
            })
        );
    }
}
