//! Reading a body into its type and holding it against its schema at the same time.
//!
//! A [`Rule`] is a schema in a form that can be looked after while a value passes from the text into its type: nothing is
//! built but the body, and nothing is read twice. A rule accepts nothing that its schema refuses, and what it accepts is
//! read as it would be after the schema. The other way around it need not hold: what a rule does not understand, or finds
//! wrong, or only odd (`3.0` for a whole number, a member named twice), it leaves to the schema, which also knows how to
//! say what is wrong.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::fmt;

use serde::de::value::BorrowedStrDeserializer;
use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, Error, IntoDeserializer, MapAccess, SeqAccess, Unexpected, Visitor,
};
use serde_json::Value;

use super::parts::{ADDRESS, NO_NUL};
use crate::id::HEX_DIGITS;
use crate::limits;

/// The kinds of values that may stand somewhere, as bits.
mod kind {
    pub(super) const NULL: u8 = 1;
    pub(super) const BOOLEAN: u8 = 2;
    pub(super) const INTEGER: u8 = 4;
    /// A number with a fraction or an exponent, which may be whole all the same.
    pub(super) const FLOAT: u8 = 8;
    pub(super) const STRING: u8 = 16;
    pub(super) const ARRAY: u8 = 32;
    pub(super) const OBJECT: u8 = 64;
    pub(super) const ANY: u8 = 127;

    pub(super) fn named(name: &str) -> Option<u8> {
        Some(match name {
            "null" => NULL,
            "boolean" => BOOLEAN,
            "integer" => INTEGER,
            "number" => INTEGER | FLOAT,
            "string" => STRING,
            "array" => ARRAY,
            "object" => OBJECT,
            _ => return None,
        })
    }
}

/// The patterns that are in use.
#[derive(Clone, Copy, Debug)]
enum Pattern {
    NoNul,
    Id,
    Address,
}

/// What a schema asks of one value.
#[derive(Debug)]
pub(super) struct Rule {
    kinds: u8,
    words: Option<Vec<String>>,
    length: (usize, usize),
    pattern: Option<Pattern>,
    range: (f64, f64),
    items: Option<Box<Rule>>,
    count: (usize, usize),
    unique: bool,
    members: HashMap<String, Member>,
    /// How many members must be there.
    required: usize,
    /// Whether there may be members beside these.
    open: bool,
}

#[derive(Debug)]
struct Member {
    required: bool,
    rule: Rule,
}

impl Rule {
    /// The rule of a schema; one that accepts nothing where it asks what is not understood here.
    pub(super) fn of(schema: &Value) -> Self {
        Self::read(schema).unwrap_or_else(|| Self { kinds: 0, ..Self::anything() })
    }

    fn anything() -> Self {
        Self {
            kinds: kind::ANY,
            words: None,
            length: (0, usize::MAX),
            pattern: None,
            range: (f64::NEG_INFINITY, f64::INFINITY),
            items: None,
            count: (0, usize::MAX),
            unique: false,
            members: HashMap::new(),
            required: 0,
            open: true,
        }
    }

    fn read(schema: &Value) -> Option<Self> {
        let mut rule = Self::anything();
        let asked = match schema {
            Value::Bool(true) => return Some(rule),
            Value::Object(asked) => asked,
            _ => return None,
        };
        let size = |value: &Value| value.as_u64().and_then(|size| usize::try_from(size).ok());
        for (name, value) in asked {
            match name.as_str() {
                "title" | "description" | "default" | "writeOnly" | "required" => {}
                // Said of instants alone, whose type reads nothing else; the others say how wide a number is.
                "format" => match value.as_str()? {
                    "date-time" | "int8" | "int64" | "uint8" | "uint64" | "double" => {}
                    _ => return None,
                },
                "type" => {
                    let names = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
                    let kinds = names.iter().map(|name| kind::named(name.as_str()?));
                    rule.kinds &= kinds.collect::<Option<Vec<u8>>>()?.into_iter().fold(0, |all, one| all | one);
                }
                "enum" => {
                    let words = value.as_array()?;
                    let null = if words.contains(&Value::Null) { kind::NULL } else { 0 };
                    rule.kinds &= kind::STRING | null;
                    let texts = words.iter().filter(|word| !word.is_null());
                    rule.words = Some(texts.map(|word| word.as_str().map(str::to_owned)).collect::<Option<_>>()?);
                }
                "anyOf" => {
                    let [one, null] = value.as_array()?.as_slice() else { return None };
                    if asked.contains_key("type") || null != &serde_json::json!({ "type": "null" }) {
                        return None;
                    }
                    let one = Self::read(one)?;
                    rule = Self { kinds: one.kinds | kind::NULL, ..one };
                }
                "minLength" => rule.length.0 = size(value)?,
                "maxLength" => rule.length.1 = size(value)?,
                "pattern" => {
                    rule.pattern = Some(match value.as_str()? {
                        NO_NUL => Pattern::NoNul,
                        HEX_DIGITS => Pattern::Id,
                        ADDRESS => Pattern::Address,
                        _ => return None,
                    });
                }
                "minimum" => rule.range.0 = value.as_f64()?,
                "maximum" => rule.range.1 = value.as_f64()?,
                "items" => rule.items = Some(Box::new(Self::of(value))),
                // One pair for both: a value is an array or an object.
                "minItems" | "minProperties" => rule.count.0 = size(value)?,
                "maxItems" | "maxProperties" => rule.count.1 = size(value)?,
                "uniqueItems" => rule.unique = value.as_bool()?,
                "properties" => {
                    let member = |(name, schema): (&String, &Value)| {
                        (name.clone(), Member { required: false, rule: Self::of(schema) })
                    };
                    rule.members = value.as_object()?.iter().map(member).collect();
                }
                "additionalProperties" => rule.open = value.as_bool()?,
                _ => return None,
            }
        }
        for name in asked.get("required").and_then(Value::as_array).into_iter().flatten() {
            let member = rule.members.get_mut(name.as_str()?)?;
            rule.required += usize::from(!member.required);
            member.required = true;
        }
        Some(rule)
    }

    fn takes_text(&self, text: &str) -> bool {
        let (least, most) = self.length;
        // Bytes are at least as many as characters, and at most four times as many.
        let is_long_enough = text.len() >= 4 * least || text.chars().count() >= least;
        let is_short_enough = text.len() <= most || text.chars().count() <= most;
        let fits = match self.pattern {
            None => true,
            Some(Pattern::NoNul) => !text.contains('\0'),
            Some(Pattern::Id) => text.len() == 24 && text.bytes().all(|byte| byte.is_ascii_hexdigit()),
            // Any other address is left to the pattern.
            Some(Pattern::Address) => text.split_once('@').is_some_and(|(name, host)| {
                let is_plain = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_graphic() && b != b'@');
                is_plain(name) && is_plain(host)
            }),
        };
        let is_known = self.words.as_ref().is_none_or(|words| words.iter().any(|word| word == text));
        is_long_enough && is_short_enough && fits && is_known
    }
}

/// A value on its way into its type. Its errors say nothing: they are not told.
pub(super) struct Checked<'a, D> {
    inner: D,
    /// None where any value may stand.
    rule: Option<&'a Rule>,
    /// How deep it stands; the body is at level 1.
    level: usize,
    /// Where no text may come twice: those that have come.
    seen: Option<&'a mut HashSet<String>>,
}

impl<'a, D> Checked<'a, D> {
    /// A whole body.
    pub(super) fn body(inner: D, rule: &'a Rule) -> Self {
        Self { inner, rule: Some(rule), level: 1, seen: None }
    }

    fn kind<E: Error>(&self, kind: u8) -> Result<(), E> {
        if self.rule.is_some_and(|rule| rule.kinds & kind == 0) || self.seen.is_some() && kind != kind::STRING {
            return Err(refused());
        }
        Ok(())
    }

    fn number<E: Error>(&self, kind: u8, value: f64) -> Result<(), E> {
        self.kind(kind)?;
        match self.rule {
            Some(rule) if value < rule.range.0 || value > rule.range.1 => Err(refused()),
            _ => Ok(()),
        }
    }

    fn text<E: Error>(&mut self, text: &str) -> Result<(), E> {
        self.kind(kind::STRING)?;
        let is_new = self.seen.as_mut().is_none_or(|seen| seen.insert(text.to_owned()));
        if is_new && self.rule.is_none_or(|rule| rule.takes_text(text)) { Ok(()) } else { Err(refused()) }
    }

    /// An array or object.
    fn level<E: Error>(&self, kind: u8) -> Result<(), E> {
        self.kind(kind)?;
        if self.level > limits::DEEPEST { Err(refused()) } else { Ok(()) }
    }
}

fn refused<E: Error>() -> E {
    E::invalid_value(Unexpected::Other("value"), &"another")
}

macro_rules! forward {
    ($($method:ident($($argument:ident: $type:ty),*);)*) => {$(
        fn $method<V: Visitor<'de>>(self, $($argument: $type,)* visitor: V) -> Result<V::Value, D::Error> {
            let Self { inner, rule, level, seen } = self;
            inner.$method($($argument,)* Checked { inner: visitor, rule, level, seen })
        }
    )*};
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Checked<'_, D> {
    type Error = D::Error;

    forward! {
        deserialize_any();
        deserialize_bool();
        deserialize_i8();
        deserialize_i16();
        deserialize_i32();
        deserialize_i64();
        deserialize_u8();
        deserialize_u16();
        deserialize_u32();
        deserialize_u64();
        deserialize_f32();
        deserialize_f64();
        deserialize_char();
        deserialize_str();
        deserialize_string();
        deserialize_bytes();
        deserialize_byte_buf();
        deserialize_option();
        deserialize_unit();
        deserialize_unit_struct(name: &'static str);
        deserialize_newtype_struct(name: &'static str);
        deserialize_seq();
        deserialize_tuple(len: usize);
        deserialize_tuple_struct(name: &'static str, len: usize);
        deserialize_map();
        deserialize_struct(name: &'static str, fields: &'static [&'static str]);
        deserialize_identifier();
    }

    /// Enums are words.
    fn deserialize_enum<V: Visitor<'de>>(
        mut self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        let Text(word) = Text::deserialize(self.inner)?;
        let mut seen = Checked { inner: (), rule: self.rule, level: self.level, seen: self.seen.take() };
        seen.text(&word)?;
        visitor.visit_enum(word.into_deserializer())
    }

    /// What is not kept is looked at all the same.
    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.deserialize_any(visitor)
    }

    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Checked<'_, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.expecting(f)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<V::Value, E> {
        self.kind(kind::BOOLEAN)?;
        self.inner.visit_bool(value)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<V::Value, E> {
        self.number(kind::INTEGER, value as f64)?;
        self.inner.visit_i64(value)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<V::Value, E> {
        self.number(kind::INTEGER, value as f64)?;
        self.inner.visit_u64(value)
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<V::Value, E> {
        self.number(kind::FLOAT, value)?;
        self.inner.visit_f64(value)
    }

    fn visit_str<E: Error>(mut self, value: &str) -> Result<V::Value, E> {
        self.text(value)?;
        self.inner.visit_str(value)
    }

    fn visit_borrowed_str<E: Error>(mut self, value: &'de str) -> Result<V::Value, E> {
        self.text(value)?;
        self.inner.visit_borrowed_str(value)
    }

    fn visit_string<E: Error>(mut self, value: String) -> Result<V::Value, E> {
        self.text(&value)?;
        self.inner.visit_string(value)
    }

    fn visit_unit<E: Error>(self) -> Result<V::Value, E> {
        self.kind(kind::NULL)?;
        self.inner.visit_unit()
    }

    fn visit_none<E: Error>(self) -> Result<V::Value, E> {
        self.kind(kind::NULL)?;
        self.inner.visit_none()
    }

    fn visit_some<D: Deserializer<'de>>(self, value: D) -> Result<V::Value, D::Error> {
        let Self { inner, rule, level, seen } = self;
        inner.visit_some(Checked { inner: value, rule, level, seen })
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, value: D) -> Result<V::Value, D::Error> {
        let Self { inner, rule, level, seen } = self;
        inner.visit_newtype_struct(Checked { inner: value, rule, level, seen })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, access: A) -> Result<V::Value, A::Error> {
        self.level(kind::ARRAY)?;
        let unique = self.rule.is_some_and(|rule| rule.unique).then(HashSet::new);
        let mut items = Items { access, rule: self.rule, level: self.level + 1, count: 0, seen: unique };
        let value = self.inner.visit_seq(&mut items)?;
        within(self.rule, items.count)?;
        Ok(value)
    }

    fn visit_map<A: MapAccess<'de>>(self, access: A) -> Result<V::Value, A::Error> {
        self.level(kind::OBJECT)?;
        let (rule, level) = (self.rule, self.level + 1);
        let mut members = Members { access, of: rule, rule: None, level, count: 0, required: 0 };
        let value = self.inner.visit_map(&mut members)?;
        within(rule, members.count)?;
        if members.count > limits::MOST_KEYS || rule.is_some_and(|rule| rule.required != members.required) {
            return Err(refused());
        }
        Ok(value)
    }
}

fn within<E: Error>(rule: Option<&Rule>, count: usize) -> Result<(), E> {
    match rule {
        Some(rule) if count < rule.count.0 || count > rule.count.1 => Err(refused()),
        _ => Ok(()),
    }
}

impl<'de, T: DeserializeSeed<'de>> DeserializeSeed<'de> for Checked<'_, T> {
    type Value = T::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<T::Value, D::Error> {
        let Self { inner, rule, level, seen } = self;
        inner.deserialize(Checked { inner: deserializer, rule, level, seen })
    }
}

struct Items<'a, A> {
    access: A,
    rule: Option<&'a Rule>,
    level: usize,
    count: usize,
    seen: Option<HashSet<String>>,
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Items<'_, A> {
    type Error = A::Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, A::Error> {
        let rule = self.rule.and_then(|rule| rule.items.as_deref());
        let item = self.access.next_element_seed(Checked {
            inner: seed,
            rule,
            level: self.level,
            seen: self.seen.as_mut(),
        })?;
        self.count += usize::from(item.is_some());
        Ok(item)
    }

    fn size_hint(&self) -> Option<usize> {
        self.access.size_hint()
    }
}

struct Members<'a, A> {
    access: A,
    of: Option<&'a Rule>,
    /// That of the member whose name was read last.
    rule: Option<&'a Rule>,
    level: usize,
    count: usize,
    required: usize,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Members<'_, A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, A::Error> {
        // Names by which serde_json means something else than an object.
        const PRIVATE: &str = "$serde_json::private::";

        let Some(Text(name)) = self.access.next_key()? else { return Ok(None) };
        self.count += 1;
        let member = self.of.and_then(|rule| rule.members.get(&*name));
        // Of a name that comes twice the type knows, or the count is too high.
        self.required += usize::from(member.is_some_and(|member| member.required));
        self.rule = member.map(|member| &member.rule);
        let is_closed = self.of.is_some_and(|rule| !rule.open);
        if member.is_none() && is_closed || limits::is_too_long(&name) || name.starts_with(PRIVATE) {
            return Err(refused());
        }
        match name {
            Cow::Borrowed(name) => seed.deserialize(BorrowedStrDeserializer::new(name)),
            Cow::Owned(name) => seed.deserialize(name.into_deserializer()),
        }
        .map(Some)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, A::Error> {
        self.access.next_value_seed(Checked { inner: seed, rule: self.rule, level: self.level, seen: None })
    }
}

/// A text, borrowed where it stands without escapes.
struct Text<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reading;

        impl<'de> Visitor<'de> for Reading {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }

            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }

        deserializer.deserialize_str(Reading)
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Debug;
    use std::sync::LazyLock;

    use proptest::prelude::*;
    use proptest::sample::select;
    use schemars::JsonSchema;
    use serde::de::DeserializeOwned;
    use serde_json::{Map, json};

    use super::super::shape::*;
    use super::*;
    use crate::FieldError;

    const ID: &str = "671a2c40A3F1b20012c4d001";

    /// Values that stand where others belong.
    static WRONG: LazyLock<Vec<Value>> = LazyLock::new(|| {
        vec![
            json!(null),
            json!(true),
            json!(1),
            json!(3.0),
            json!(-1.5),
            json!(u64::MAX),
            json!(""),
            json!("x"),
            json!([]),
            json!({}),
            json!([1, [], { "a": null }]),
            json!({ "id": ID }),
            (1..40).fold(json!({}), |inner, n| if n % 2 == 0 { json!([inner]) } else { json!({ "in": inner }) }),
            json!({ "ü".repeat(1025): 1 }),
            json!({ "$serde_json::private::RawValue": "[1]" }),
            json!([{ "$serde_json::private::RawValue": "[1]" }]),
            (0..1001).map(|n| (n.to_string(), json!(n))).collect::<Value>(),
        ]
    });

    /// Values for a place in a body. `good` ones are those the schema takes and the rule is sure about; the others are at
    /// and beyond every limit.
    fn values(schema: &Value, good: bool) -> BoxedStrategy<Value> {
        let right = right(schema, good);
        if good {
            return right;
        }
        prop_oneof![30 => right, 1 => (0..WRONG.len()).prop_map(|n| WRONG[n].clone())].boxed()
    }

    fn right(schema: &Value, good: bool) -> BoxedStrategy<Value> {
        if let Some(words) = schema["enum"].as_array() {
            return select(words.clone()).boxed();
        }
        if let Some(one) = schema["anyOf"].as_array() {
            return prop_oneof![Just(Value::Null), values(&one[0], good)].boxed();
        }
        let kinds = match &schema["type"] {
            Value::Array(kinds) => kinds.clone(),
            Value::Null => vec!["string".into(), "integer".into(), "null".into(), "free".into()],
            one => vec![one.clone()],
        };
        select(kinds)
            .prop_flat_map({
                let schema = schema.clone();
                move |kind| of_kind(&schema, kind.as_str().unwrap_or_default(), good)
            })
            .boxed()
    }

    fn of_kind(schema: &Value, kind: &str, good: bool) -> BoxedStrategy<Value> {
        let number = |name: &str, or: i64| schema[name].as_f64().map_or(or, |limit| limit as i64);
        match kind {
            "null" => Just(Value::Null).boxed(),
            "boolean" => any::<bool>().prop_map(Value::from).boxed(),
            "integer" | "number" => {
                let (least, most) = (number("minimum", 0), number("maximum", 100));
                let mut some = vec![json!(least), json!(most), json!(least.midpoint(most))];
                if kind == "number" {
                    some.extend([json!(least as f64), json!(0.5 + least as f64)]);
                }
                if !good {
                    some.extend([json!(least - 1), json!(most + 1), json!(most as f64), json!(most as f64 + 0.5)]);
                }
                select(some).boxed()
            }
            "string" => texts(schema, good),
            "array" => {
                let (least, most) = (number("minItems", 0) as usize, number("maxItems", 3) as usize);
                let unique = schema["uniqueItems"] == true;
                let free = unique && schema["items"] == true;
                let item = if free && good { Just(json!(ID)).boxed() } else { values(&schema["items"], good) };
                let sizes = if good { vec![least, 1, 2] } else { vec![0, 1, 2, most, most + 1] };
                (select(sizes), prop::collection::vec(item, 3))
                    .prop_map(move |(size, some)| {
                        let mut items: Vec<Value> = Vec::new();
                        for n in 0..size {
                            // Of long lists only the length matters.
                            let next = match &some[n % some.len()] {
                                Value::String(text) if unique && n > 2 => {
                                    json!(format!("{n:03}{}", &text.get(3..).unwrap_or("")))
                                }
                                other => other.clone(),
                            };
                            if !(good && unique && items.contains(&next)) {
                                items.push(next);
                            }
                        }
                        Value::Array(items)
                    })
                    .boxed()
            }
            "object" | "free" if schema["properties"].is_null() => {
                let most = number("maxProperties", 5) as usize;
                let sizes = if good { vec![0, 1, 3] } else { vec![0, 2, most, most + 1] };
                let some = select(vec![json!(1), json!(2.0), json!("t"), json!([{ "a": [null] }]), json!(null)]);
                (select(sizes), some)
                    .prop_map(|(size, value)| (0..size).map(|n| (format!("k{n}Str"), value.clone())).collect::<Value>())
                    .boxed()
            }
            _ => members(schema, good),
        }
    }

    fn texts(schema: &Value, good: bool) -> BoxedStrategy<Value> {
        let length = |name: &str| schema[name].as_u64().map(|length| length as usize);
        let (least, most) = (length("minLength").unwrap_or(0), length("maxLength"));
        let mut some: Vec<String> = Vec::new();
        match (&schema["format"], &schema["pattern"]) {
            (Value::String(format), _) if format == "date-time" => {
                some.push("2026-10-24T09:04:17.201Z".into());
                if !good {
                    some.extend(["2026-10-24".into(), "soon".into(), "2026-10-24T09:04:17+01:00".into()]);
                }
            }
            (Value::String(_), _) if good => return Just(Value::Null).boxed(),
            (Value::String(_), _) => some.extend(["https://a.example/x".into(), "no uri".into()]),
            (_, Value::String(pattern)) if pattern == HEX_DIGITS => {
                some.push(ID.into());
                if !good {
                    some.extend([ID[1..].into(), format!("{ID}0"), ID.replace('A', "g"), ID.replacen("67", "é", 1)]);
                }
            }
            (_, Value::String(pattern)) if pattern == ADDRESS => {
                some.push("ann@b.example".into());
                if !good {
                    some.extend(["é@b", "a@b@c", "@b", "a b@c", "a\u{85}b@c", "a\0@b", "ab"].map(String::from));
                }
            }
            _ => {
                some.extend(["text \"\\\n".to_owned(), "x".repeat(least), "ü".repeat(most.unwrap_or(9))]);
                if !good {
                    let beyond = most.unwrap_or(9) + 1;
                    some.extend(["x".repeat(beyond), "ü".repeat(beyond), "x".repeat(least.max(1) - 1), "\0".into()]);
                    some.extend(["𝄞".repeat(least.max(1) - 1), "𝄞".repeat(least)]);
                }
                some.retain(|text| {
                    let length = text.chars().count();
                    !good || length >= least && most.is_none_or(|most| length <= most)
                });
            }
        }
        select(some).prop_map(Value::from).boxed()
    }

    fn members(schema: &Value, good: bool) -> BoxedStrategy<Value> {
        let required: Vec<&str> =
            schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let mut members: Vec<BoxedStrategy<Option<(String, Value)>>> = Vec::new();
        for (name, member) in schema["properties"].as_object().into_iter().flatten() {
            // The rule leaves addresses of the web to the schema.
            if good && member["format"] == "uri" {
                continue;
            }
            let (name, weight) = (name.clone(), if required.contains(&name.as_str()) { 40 } else { 1 });
            let given = values(member, good).prop_map(move |value| Some((name.clone(), value)));
            members.push(match good && weight > 1 {
                true => given.boxed(),
                false => prop_oneof![1 => Just(None), weight => given].boxed(),
            });
        }
        if !good {
            members.push(prop_oneof![20 => Just(None), 1 => Just(Some(("colour".into(), json!(1))))].boxed());
        }
        let count = |name: &str| schema[name].as_u64().map(|count| count as usize);
        let (least, most) = (count("minProperties").unwrap_or(0), count("maxProperties").unwrap_or(usize::MAX));
        members
            .prop_map(|members| members.into_iter().flatten().collect::<Map<_, _>>())
            .prop_filter("counts", move |members| !good || (least..=most).contains(&members.len()))
            .prop_map(Value::Object)
            .boxed()
    }

    /// What the rule takes, the schema takes, and both read the same.
    fn takes_no_more<T: JsonSchema + DeserializeOwned + Debug>(
        shape: &Shape<T>,
        body: &Value,
    ) -> Result<(), TestCaseError> {
        let text = body.to_string();
        // Some names mean something else in a text than in a value.
        let body: Value = serde_json::from_str(&text).expect("it is JSON");
        let by_schema = shape.explain(body.clone());
        if let Ok(by_rule) = shape.read_checked(&text) {
            match &by_schema {
                Ok(read) => prop_assert_eq!(format!("{:?}", by_rule), format!("{read:?}")),
                Err(errors) => prop_assert!(false, "{} {errors:?}", body),
            }
        }
        // However it comes, the answer is the same.
        let told = |result: Result<T, Vec<FieldError>>| format!("{result:?}");
        let of_text = shape.read_text(&text).map_err(|error| match error {
            Unread::Refused(errors) => errors,
            Unread::NoJson(error) => panic!("{error}"),
        });
        let by_schema = told(by_schema);
        prop_assert_eq!(&told(of_text), &by_schema);
        prop_assert_eq!(&told(shape.read(body.clone())), &by_schema);
        Ok(())
    }

    /// What the schema takes is read by the rule, without the schema.
    fn takes_all<T: JsonSchema + DeserializeOwned + Debug>(
        shape: &Shape<T>,
        body: &Value,
    ) -> Result<(), TestCaseError> {
        prop_assert!(shape.explain(body.clone()).is_ok(), "{} {:?}", body, shape.explain(body.clone()));
        prop_assert!(shape.read_checked(&body.to_string()).is_ok(), "{}", body);
        Ok(())
    }

    macro_rules! rules_agree {
        ($($test:ident: $shape:ident;)*) => {$(
            mod $test {
                use super::*;

                proptest! {
                    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

                    #[test]
                    fn takes_no_more_than_the_schema(body in values($shape.schema(), false)) {
                        takes_no_more(&$shape, &body)?;
                    }

                    #[test]
                    fn takes_what_is_good(body in values($shape.schema(), true)) {
                        takes_all(&$shape, &body)?;
                    }
                }
            }
        )*};
    }

    rules_agree! {
        conversation_create: CONVERSATION_CREATE;
        conversation_create_for_customer: CONVERSATION_CREATE_FOR_CUSTOMER;
        conversation_update: CONVERSATION_UPDATE;
        conversation_move: CONVERSATION_MOVE;
        customer_create: CUSTOMER_CREATE;
        customer_import: CUSTOMER_IMPORT;
        customer_update: CUSTOMER_UPDATE;
        message_create: MESSAGE_CREATE;
        message_create_in_org: MESSAGE_CREATE_IN_ORG;
        message_update: MESSAGE_UPDATE;
        message_replace: MESSAGE_REPLACE;
        note_create: NOTE_CREATE;
        note_create_in_conversation: NOTE_CREATE_IN_CONVERSATION;
        note_update: NOTE_UPDATE;
        note_replace: NOTE_REPLACE;
        user_create: USER_CREATE;
        user_import: USER_IMPORT;
        team_create: TEAM_CREATE;
        team_import: TEAM_IMPORT;
        tag_create: TAG_CREATE;
        tag_import: TAG_IMPORT;
        operation_input: OPERATION_INPUT;
    }
}
