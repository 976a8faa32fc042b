//! Limits of what is taken in, over those each field has of its own: what a client may fill as it likes must still be
//! readable, storable and showable later, wherever it is repeated.

use serde_json::Value;

use crate::FieldError;

/// Most levels of arrays and objects in a body, the body itself being the first.
///
/// A stored record holds what was sent at most a few levels deeper: a message's `meta` is repeated inside its
/// conversation and inside the events of both. JSON readers, ours among them, give up at 128 levels, so without a limit
/// a message could be taken in that makes its conversation unreadable. 32 leaves them ample room.
pub const DEEPEST: usize = 32;

/// Most characters of a name in an object that clients fill as they like. The vendor names no limit; this is the one of
/// its short texts, since a name is meant to be shorter than what it names.
pub const LONGEST_NAME: usize = 1024;

/// Most keys of an object below the first level of a body. The vendor limits `meta` and `custom` to 100, which their
/// schemas say. Inside `meta` it names no limit; ten times as many leave room for an object used as a table.
pub const MOST_KEYS: usize = 1000;

/// Most custom attributes of a record: the vendor's limit.
pub const MOST_CUSTOM: usize = 100;

/// Most characters of a custom attribute's name: as many as a record's own name may have.
pub const LONGEST_CUSTOM_NAME: usize = 256;

/// Most definitions of custom attributes a resource has, deleted ones included.
pub const MOST_DEFINED: usize = 1000;

/// Most bytes of a resource's definitions, as JSON: they are held in memory while their org writes custom attributes.
pub const LARGEST_DEFINED: usize = 1 << 20;

/// Most values of a custom attribute that may have several.
pub const MOST_VALUES: usize = 100;

/// Most bytes of a record's custom attributes, as JSON. A body has at most 100 kB, but bodies are merged and imported rows
/// may be larger; a hundred texts of the longest kind would make a megabyte or more, which every list row carries.
pub const LARGEST_CUSTOM: usize = 256 * 1024;

/// What of a body goes beyond the limits, with the pointer of the top-level field it is in: an exact one could itself be
/// thousands of characters long.
pub(crate) fn check(body: &Value) -> Vec<FieldError> {
    let one = |name: String, value: &Value| wrong(value, 2).map(|text| FieldError::at(format!("/{name}"), text));
    match body {
        Value::Object(fields) => {
            fields.iter().filter_map(|(name, value)| one(crate::input::escaped(name), value)).collect()
        }
        Value::Array(items) => items.iter().enumerate().filter_map(|(n, item)| one(n.to_string(), item)).collect(),
        _ => Vec::new(),
    }
}

/// What is wrong with a value that stands `level` levels deep, if it is an array or object.
fn wrong(value: &Value, level: usize) -> Option<String> {
    if level > DEEPEST && (value.is_array() || value.is_object()) {
        return Some(format!("must not be nested deeper than {DEEPEST} levels, those of the body included"));
    }
    match value {
        Value::Object(members) => {
            if members.len() > MOST_KEYS {
                return Some(format!("must not hold an object of more than {MOST_KEYS} keys"));
            }
            if members.keys().any(|name| is_too_long(name)) {
                return Some(format!("must not hold a name longer than {LONGEST_NAME} characters"));
            }
            members.values().find_map(|value| wrong(value, level + 1))
        }
        Value::Array(items) => items.iter().find_map(|item| wrong(item, level + 1)),
        _ => None,
    }
}

/// Whether a name is longer than names may be. Bytes are at least as many as characters, and need no counting.
pub(crate) fn is_too_long(name: &str) -> bool {
    name.len() > LONGEST_NAME && name.chars().count() > LONGEST_NAME
}

/// Bytes of a value as JSON text.
pub(crate) fn json_size(value: &impl serde::Serialize) -> usize {
    struct Count(usize);

    impl std::io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    let mut count = Count(0);
    // What could not be written could not be stored either.
    serde_json::to_writer(&mut count, value).map_or(usize::MAX, |()| count.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn nested(levels: usize) -> Value {
        (1..levels).fold(json!({}), |inner, n| if n % 2 == 0 { json!([inner]) } else { json!({ "in": inner }) })
    }

    fn pointers(body: &Value) -> Vec<String> {
        check(body).into_iter().map(|error| error.pointer).collect()
    }

    #[test]
    fn the_body_is_the_first_level() {
        let at_the_limit = json!({ "meta": nested(DEEPEST - 1), "name": "n" });
        assert_eq!(pointers(&at_the_limit), [""; 0]);
        let beyond = json!({ "name": "n", "me/ta": nested(DEEPEST), "custom": nested(DEEPEST - 1), "x": nested(90) });
        assert_eq!(pointers(&beyond), ["/me~1ta", "/x"]);
        assert_eq!(pointers(&json!(["a", nested(DEEPEST)])), ["/1"]);
        // A text at the deepest level is no level of its own.
        let mut full = nested(DEEPEST - 1);
        let mut inner = &mut full;
        while !inner.as_object().is_some_and(serde_json::Map::is_empty) {
            inner = match inner {
                Value::Array(items) => &mut items[0],
                object => &mut object["in"],
            };
        }
        inner["text"] = json!("x");
        assert_eq!(pointers(&json!({ "meta": full })), [""; 0]);
    }

    #[test]
    fn names_and_keys_are_limited_below_the_first_level() {
        let keys = |count: usize| (0..count).map(|n| (n.to_string(), json!(n))).collect::<Value>();
        let named = |length: usize| json!({ "deep": [{ "ü".repeat(length): 1 }] });
        assert_eq!(pointers(&json!({ "a": named(LONGEST_NAME), "b": { "c": keys(MOST_KEYS) } })), [""; 0]);
        assert_eq!(pointers(&json!({ "a": named(LONGEST_NAME + 1), "b": { "c": keys(MOST_KEYS + 1) } })), ["/a", "/b"]);
    }

    #[test]
    fn the_size_is_that_of_the_text() {
        for value in [json!({}), json!({ "aStr": "ü\"\n\u{1}" }), json!({ "bNum": 1.5, "cIds": [null, true] })] {
            assert_eq!(json_size(&value), value.to_string().len());
        }
    }
}
