//! Sensitive custom attributes: what of a record is masked, and how (contract README §10).
//!
//! A masked value is shown in the form the vendor documents for its apps
//! (developer.kustomer.com/kustomer-apps-platform/docs/data-masking): `{"isMasked":true,"maskedPresentation":"********"}`.
//! Texts are masked where they stand: everything but the masked values keeps its bytes.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use schemars::JsonSchema;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::Kind;
use crate::resource::Object;

/// What of a sensitive value is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum MaskType {
    /// Nothing.
    #[default]
    Full,
    /// The last four characters, if they are at most half of it.
    Last4,
}

/// What stands for a value of which nothing is shown, however long it is.
const HIDDEN: &str = "********";

/// The sensitive custom attributes of an org, by kind of record and name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Masks(BTreeMap<Kind, BTreeMap<String, MaskType>>);

impl Masks {
    /// Adds an attribute.
    pub fn add(&mut self, kind: Kind, name: String, mask: MaskType) {
        self.0.entry(kind).or_default().insert(name, mask);
    }

    /// Whether nothing is sensitive.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether anything of this kind is sensitive.
    pub fn concern(&self, kind: Kind) -> bool {
        self.0.contains_key(&kind)
    }

    /// How an attribute is masked, if it is sensitive.
    pub fn of(&self, kind: Kind, name: &str) -> Option<MaskType> {
        self.0.get(&kind)?.get(name).copied()
    }

    /// As it is stored: `{"customer":{"ssnStr":"full"}}`.
    pub fn to_text(&self) -> String {
        let by_name: BTreeMap<&str, _> = self.0.iter().map(|(kind, names)| (kind.name(), names)).collect();
        json!(by_name).to_string()
    }

    /// Reads what [`Masks::to_text`] wrote. Kinds of a newer program are left out: this one shows none of their records.
    pub fn from_text(text: &str) -> Result<Self, serde_json::Error> {
        let by_name: BTreeMap<String, BTreeMap<String, MaskType>> = serde_json::from_str(text)?;
        Ok(Self(by_name.into_iter().filter_map(|(kind, names)| Some((Kind::from_name(&kind)?, names))).collect()))
    }

    /// Masks a record's custom attributes.
    pub fn custom(&self, kind: Kind, custom: &mut Object) {
        let Some(names) = self.0.get(&kind) else { return };
        for (name, value) in custom.iter_mut() {
            if let Some(mask) = names.get(name) {
                *value = masked(*mask, value);
            }
        }
    }

    /// A record's text, masked.
    pub fn record<'a>(&self, kind: Kind, text: &'a str) -> Result<Cow<'a, str>, serde_json::Error> {
        let Some(names) = self.0.get(&kind) else { return Ok(Cow::Borrowed(text)) };
        let record: Record<'_> = serde_json::from_str(text)?;
        let Some(custom) = record.attributes.custom else { return Ok(Cow::Borrowed(text)) };
        let Members(custom) = serde_json::from_str(custom.get())?;
        let mut replaced = Vec::new();
        for (name, value) in custom {
            if let Some(mask) = names.get(&*name) {
                replaced.push((place(text, value), masked_text(*mask, value)?));
            }
        }
        Ok(replace(text, replaced))
    }

    /// What an event tells of a record of this kind (`{"attributes":{"custom.NAME":{"op","before","after"}}}`), masked.
    pub fn changes<'a>(&self, kind: Kind, text: &'a str) -> Result<Cow<'a, str>, serde_json::Error> {
        let Some(names) = self.0.get(&kind) else { return Ok(Cow::Borrowed(text)) };
        let changes: Changes<'_> = serde_json::from_str(text)?;
        let Members(attributes) = serde_json::from_str(changes.attributes.get())?;
        let mut replaced = Vec::new();
        for (name, change) in attributes {
            let Some(mask) = name.strip_prefix("custom.").and_then(|name| names.get(name)) else { continue };
            let Members(sides) = serde_json::from_str(change.get())?;
            for (_, value) in sides.into_iter().filter(|(side, _)| side != "op") {
                replaced.push((place(text, value), masked_text(*mask, value)?));
            }
        }
        Ok(replace(text, replaced))
    }
}

/// Whether a value is one that was masked, sent back.
pub fn is_masked(value: &Value) -> bool {
    value.get("isMasked").is_some_and(|is_masked| is_masked == true)
}

fn masked_text(mask: MaskType, value: &RawValue) -> Result<String, serde_json::Error> {
    Ok(masked(mask, &serde_json::from_str(value.get())?).to_string())
}

fn masked(mask: MaskType, value: &Value) -> Value {
    let text = match value {
        Value::Null => return Value::Null,
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => String::new(),
    };
    let last = text.char_indices().rev().nth(3).map(|(at, _)| &text[at..]);
    let presentation = match last {
        Some(last) if mask == MaskType::Last4 && text.chars().count() >= 8 => format!("****{last}"),
        _ => HIDDEN.to_owned(),
    };
    json!({ "isMasked": true, "maskedPresentation": presentation })
}

#[derive(Deserialize)]
struct Record<'a> {
    #[serde(borrow)]
    attributes: Attributes<'a>,
}

#[derive(Deserialize)]
struct Attributes<'a> {
    #[serde(borrow, default)]
    custom: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Changes<'a> {
    #[serde(borrow)]
    attributes: &'a RawValue,
}

/// The members of an object, their values unread.
struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reading;

        impl<'de> Visitor<'de> for Reading {
            type Value = Vec<(Cow<'de, str>, &'de RawValue)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some((Name(name), value)) = access.next_entry()? {
                    members.push((name, value));
                }
                Ok(members)
            }
        }

        deserializer.deserialize_map(Reading).map(Self)
    }
}

#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

/// Where in a text a part of it stands that was read from it without a copy.
fn place(text: &str, part: &RawValue) -> Range<usize> {
    let start = part.get().as_ptr().addr() - text.as_ptr().addr();
    start..start + part.get().len()
}

/// A text with other parts in these places, which come in order.
fn replace(text: &str, parts: Vec<(Range<usize>, String)>) -> Cow<'_, str> {
    if parts.is_empty() {
        return Cow::Borrowed(text);
    }
    let mut replaced = String::with_capacity(text.len() + 64 * parts.len());
    let mut from = 0;
    for (place, part) in parts {
        replaced.push_str(&text[from..place.start]);
        replaced.push_str(&part);
        from = place.end;
    }
    replaced.push_str(&text[from..]);
    Cow::Owned(replaced)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn masks() -> Masks {
        let mut masks = Masks::default();
        masks.add(Kind::Customer, "aStr".into(), MaskType::Full);
        masks.add(Kind::Customer, "b\"\u{7}Str".into(), MaskType::Last4);
        masks
    }

    #[test]
    fn little_is_shown_of_a_value() {
        let shown = |mask, value: Value| masked(mask, &value)["maskedPresentation"].as_str().map(str::to_owned);
        for (mask, value, presentation) in [
            (MaskType::Full, json!("4111111111111111"), HIDDEN),
            (MaskType::Last4, json!("4111111111111234"), "****1234"),
            (MaskType::Last4, json!("1234567"), HIDDEN),
            (MaskType::Last4, json!("日本日本日本日本"), "****日本日本"),
            (MaskType::Last4, json!(12_345_678), "****5678"),
            (MaskType::Last4, json!(true), HIDDEN),
            (MaskType::Last4, json!(["12345678"]), HIDDEN),
        ] {
            assert_eq!(shown(mask, value.clone()).as_deref(), Some(presentation), "{value}");
        }
        assert_eq!(masked(MaskType::Full, &Value::Null), Value::Null);
        assert!(is_masked(&masked(MaskType::Full, &json!(1))) && !is_masked(&json!({ "isMasked": "true" })));
    }

    #[test]
    fn masks_are_stored_and_read() {
        assert_eq!(Masks::from_text(&masks().to_text()).ok(), Some(masks()));
        let newer = r#"{"invention":{"xStr":"full"}}"#;
        assert!(Masks::from_text(newer).is_ok_and(|masks| masks.is_empty()));
        assert!(Masks::from_text("{").is_err());
    }

    #[test]
    fn changes_are_masked_on_both_sides() {
        let text = r#"{"attributes":{"updatedAt":{"op":"replace","before":"x","after":"aStr"},"custom.aStr":{"op":"replace","before":"p","after":"q"},"custom.cStr":{"op":"add","after":"p"}},"relationships":{"custom.aStr":{}}}"#;
        let masked = masks().changes(Kind::Customer, text).unwrap();
        let hidden = r#"{"isMasked":true,"maskedPresentation":"********"}"#;
        let expected = text.replace(r#""before":"p""#, &format!(r#""before":{hidden}"#)).replace(r#""q""#, hidden);
        assert_eq!(masked, expected);
        assert_eq!(masks().changes(Kind::Message, text).unwrap(), text);
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from)
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                object(inner).prop_map(Value::Object)
            ]
        })
    }

    fn object(value: impl Strategy<Value = Value>) -> impl Strategy<Value = Object> {
        let name = prop_oneof![
            Just("aStr".to_owned()),
            Just("b\"\u{7}Str".to_owned()),
            Just("custom".to_owned()),
            Just("attributes".to_owned()),
            any::<String>()
        ];
        proptest::collection::vec((name, value), 0..6).prop_map(|members| members.into_iter().collect())
    }

    proptest! {
        #[test]
        fn masking_changes_nothing_but_the_masked_values(
            custom in object(any_json()), other in any_json(), custom_is_there in any::<bool>(), pretty in any::<bool>(),
        ) {
            let mut record = json!({ "type": "customer", "attributes": { "meta": other, "name": other }, "custom": custom });
            if custom_is_there {
                record["attributes"]["custom"] = Value::Object(custom.clone());
            }
            let text = if pretty { serde_json::to_string_pretty(&record).unwrap() } else { record.to_string() };
            let masked = masks().record(Kind::Customer, &text).unwrap();
            if custom_is_there {
                let mut expected = custom.clone();
                masks().custom(Kind::Customer, &mut expected);
                record["attributes"]["custom"] = Value::Object(expected);
            }
            prop_assert_eq!(&serde_json::from_str::<Value>(&masked).unwrap(), &record);
            let hides = custom.keys().any(|name| masks().of(Kind::Customer, name).is_some());
            if !(custom_is_there && hides) {
                prop_assert_eq!(&*masked, &*text, "not a byte");
            }
            prop_assert_eq!(&*masks().record(Kind::Message, &text).unwrap(), &*text);
        }
    }
}
