//! Events: what a change changed (contract `events-and-webhooks.md` §2).

use std::borrow::Cow;
use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

const BEFORE: &str = r#"{"attributes":{"updatedAt":{"op":"replace","before":""#;
const AFTER: &str = r#"","after":""#;

/// Where in every difference the 24 characters of the new `updatedAt` begin: the store writes the definitive instant
/// there when the change is committed.
pub(crate) const STAMP_AT: usize = BEFORE.len() + 24 + AFTER.len();

/// Attributes whose members are compared one by one: a small change within must not repeat all of a large object.
const BY_KEY: [&str; 3] = ["custom", "modificationHistory", "properties"];

/// An object as it stands in a text: its members in order, their values unread.
#[derive(Default)]
struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

#[derive(Deserialize)]
struct Parts<'a> {
    #[serde(borrow)]
    attributes: Members<'a>,
    #[serde(borrow)]
    relationships: Members<'a>,
}

/// The difference of two texts of a record, both of this renderer:
/// `{"attributes":{name:{op,before,after}},"relationships":{…}}`.
///
/// `updatedAt` is its first attribute, also when both have the same: the store has yet to stamp the new one. Changes
/// within an attribute that is compared by key are named `custom.NAME`. Values that are the same are compared as texts
/// and never read, which is nearly all of a record.
pub(crate) fn difference(before: &str, after: &str) -> Result<String, serde_json::Error> {
    let mut before: Parts<'_> = serde_json::from_str(before)?;
    let mut after: Parts<'_> = serde_json::from_str(after)?;
    let mut attributes = Difference::default();
    let [was, now] = [&mut before, &mut after].map(|parts| parts.attributes.take("updatedAt"));
    attributes.tell("", "updatedAt", "replace", was, now)?;
    let inner = BY_KEY.map(|name| (name, [&mut before, &mut after].map(|parts| parts.attributes.take(name))));
    attributes.compare("", &before.attributes, &after.attributes)?;
    for (name, [was, now]) in inner {
        let unchanged = was.map(RawValue::get) == now.map(RawValue::get);
        if !unchanged {
            let [was, now] = [was, now].map(Members::of);
            attributes.compare(&format!("{name}."), &was?, &now?)?;
        }
    }
    let mut relationships = Difference::default();
    relationships.compare("", &before.relationships, &after.relationships)?;
    let text = format!(r#"{{"attributes":{{{}}},"relationships":{{{}}}}}"#, attributes.0, relationships.0);
    debug_assert_eq!(text.get(STAMP_AT - 1..STAMP_AT + 25), now.map(RawValue::get));
    Ok(text)
}

impl<'a> Members<'a> {
    /// The members of an attribute that is compared by key; it is not shown while it is empty.
    fn of(value: Option<&'a RawValue>) -> Result<Self, serde_json::Error> {
        value.map_or_else(|| Ok(Self::default()), |value| serde_json::from_str(value.get()))
    }

    fn take(&mut self, name: &str) -> Option<&'a RawValue> {
        let place = self.0.iter().position(|(key, _)| key == name)?;
        Some(self.0.remove(place).1)
    }

    /// A member, which most often is where the other text has it.
    fn get(&self, near: usize, name: &str) -> Option<&'a RawValue> {
        let named = |(key, _): &&(Cow<'a, str>, &'a RawValue)| key == name;
        let near = self.0.get(near).filter(named);
        near.or_else(|| self.0.iter().find(named)).map(|(_, value)| *value)
    }
}

/// `name:{op,before,after}` entries, joined by commas.
#[derive(Default)]
struct Difference(String);

impl Difference {
    fn compare(&mut self, prefix: &str, before: &Members<'_>, after: &Members<'_>) -> Result<(), serde_json::Error> {
        for (n, (name, now)) in after.0.iter().enumerate() {
            match before.get(n, name) {
                None => self.tell(prefix, name, "add", None, Some(now))?,
                Some(was) if was.get() != now.get() => self.tell(prefix, name, "replace", Some(was), Some(now))?,
                Some(_) => {}
            }
        }
        for (n, (name, was)) in before.0.iter().enumerate() {
            if after.get(n, name).is_none() {
                self.tell(prefix, name, "remove", Some(was), None)?;
            }
        }
        Ok(())
    }

    fn tell(
        &mut self,
        prefix: &str,
        name: &str,
        op: &str,
        before: Option<&RawValue>,
        after: Option<&RawValue>,
    ) -> Result<(), serde_json::Error> {
        if !self.0.is_empty() {
            self.0.push(',');
        }
        let name = serde_json::to_string(&format!("{prefix}{name}"))?;
        self.0.push_str(&format!(r#"{name}:{{"op":"{op}""#));
        for (side, value) in [("before", before), ("after", after)] {
            if let Some(value) = value {
                self.0.push_str(&format!(r#","{side}":{}"#, value.get()));
            }
        }
        self.0.push('}');
        Ok(())
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;

        impl<'de> Visitor<'de> for InOrder {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Members<'de>, M::Error> {
                let mut members = Vec::with_capacity(64);
                while let Some(Name(name)) = map.next_key()? {
                    members.push((name, map.next_value()?));
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(InOrder)
    }
}

/// A member's name, borrowed from the text where it has no escapes.
struct Name<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Name<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl<'de> Visitor<'de> for Text {
            type Value = Name<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Owned(text.to_owned())))
            }
        }

        deserializer.deserialize_str(Text)
    }
}

#[cfg(test)]
mod tests {
    use konverse_model::resource::{Conversation, Note};
    use konverse_model::{Attributes, Document};
    use serde_json::{Map, Value, json};

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

    fn difference<A: Attributes>(before: &Document<A>, after: &Document<A>) -> Result<String, serde_json::Error> {
        super::difference(&before.to_text(), &after.to_text())
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
