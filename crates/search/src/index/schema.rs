//! What the library keeps of a record, and how values become terms and columns.
//!
//! Names of attributes are made of people's custom ones as well, so no attribute has a field of its own: terms begin with
//! the attribute's name, and columns are found by it.

use std::borrow::Cow;
use std::fmt::Write as _;

use konverse_model::{Id, Kind};
use tantivy::TantivyDocument;
use tantivy::schema::{
    BytesOptions, FAST, Field, INDEXED, IndexRecordOption, JsonObjectOptions, OwnedValue, Schema, TextFieldIndexing,
    TextOptions,
};

use super::words::RunningText;
use crate::{Class, Extracted, Key, Object, Value, attribute};

/// Stands between the name of an attribute and its value. No name has it: see [`escaped`].
pub(super) const BETWEEN: char = '\0';

/// Two columns that hold an id.
#[derive(Clone, Copy, Debug)]
pub(super) struct IdColumns {
    high: Field,
    low: Field,
}

/// The fields of the index.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fields {
    /// Kind and id, by which a record is replaced.
    key: Field,
    /// The object, and once more if it is not deleted.
    object: Field,
    /// Names of the attributes that have a value.
    set: Field,
    /// Short and exact texts as wholes.
    whole: Field,
    /// Words of running text, with their places.
    words: Field,
    /// Numbers, moments and truths, all as [`rank`]s, in a column per attribute.
    ranks: Field,
    /// Short texts to order by, in a column per attribute.
    texts: Field,
    id: IdColumns,
    company: IdColumns,
    customer: IdColumns,
    conversation: IdColumns,
}

const RANKS: &str = "rank";
const TEXTS: &str = "text";

impl IdColumns {
    /// The names of the columns.
    pub(super) fn names(name: &str) -> [String; 2] {
        [format!("{name}_high"), format!("{name}_low")]
    }

    fn add(self, document: &mut TantivyDocument, id: Id) {
        let [high, low] = halves(id);
        document.add_u64(self.high, high);
        document.add_u64(self.low, low);
    }
}

/// An id as two numbers.
fn halves(id: Id) -> [u64; 2] {
    let mut bytes = [0; 16];
    bytes[4..].copy_from_slice(id.bytes());
    let number = u128::from_be_bytes(bytes);
    [(number >> 64) as u64, number as u64]
}

/// Two numbers as an id.
pub(super) fn whole(high: u64, low: u64) -> Id {
    let mut id = [0; 12];
    id[..4].copy_from_slice(&high.to_be_bytes()[4..]);
    id[4..].copy_from_slice(&low.to_be_bytes());
    Id::from_bytes(id)
}

/// The name of the columns of what records share.
pub(super) fn key_name(by: Key) -> &'static str {
    match by {
        Key::Company => "company",
        Key::Customer => "customer",
        Key::Conversation => "conversation",
    }
}

impl Fields {
    /// The schema and its fields.
    pub(super) fn new() -> (Schema, Self) {
        let mut schema = Schema::builder();
        let exact = TextFieldIndexing::default()
            .set_tokenizer("raw")
            .set_fieldnorms(false)
            .set_index_option(IndexRecordOption::Basic);
        let exact = TextOptions::default().set_indexing_options(exact);
        let running = TextFieldIndexing::default()
            .set_tokenizer(RunningText::NAME)
            .set_fieldnorms(false)
            .set_index_option(IndexRecordOption::WithFreqsAndPositions);
        let running = TextOptions::default().set_indexing_options(running);
        let key = schema.add_bytes_field("key", BytesOptions::from(INDEXED));
        let object = schema.add_text_field("object", exact.clone());
        let set = schema.add_text_field("set", exact.clone());
        let whole = schema.add_text_field("whole", exact);
        let words = schema.add_text_field("words", running);
        let ranks = schema.add_json_field(RANKS, JsonObjectOptions::default().set_fast("raw"));
        let texts = schema.add_json_field(TEXTS, JsonObjectOptions::default().set_fast("raw"));
        let mut id_columns = |name| {
            let [high, low] = IdColumns::names(name).map(|name| schema.add_u64_field(&name, FAST));
            IdColumns { high, low }
        };
        let [id, company, customer, conversation] =
            ["id", key_name(Key::Company), key_name(Key::Customer), key_name(Key::Conversation)].map(&mut id_columns);
        let fields = Self { key, object, set, whole, words, ranks, texts, id, company, customer, conversation };
        (schema.build(), fields)
    }

    /// What a record is replaced by.
    pub(super) fn key(&self, kind: Kind, id: Id) -> tantivy::Term {
        tantivy::Term::from_field_bytes(self.key, &key_bytes(kind, id))
    }

    /// The records of an object, deleted ones along with the others or left out.
    pub(super) fn object(&self, object: Object, deleted: bool) -> tantivy::Term {
        tantivy::Term::from_field_text(self.object, &object_text(object, deleted))
    }

    /// The records in which an attribute has a value.
    pub(super) fn set(&self, attribute: &str) -> tantivy::Term {
        tantivy::Term::from_field_text(self.set, attribute)
    }

    /// The records in which an attribute has a text as one of its values.
    pub(super) fn whole(&self, attribute: &str, text: &str) -> tantivy::Term {
        tantivy::Term::from_field_text(self.whole, &term_text(attribute, text))
    }

    /// The field of [`Self::whole`] and what terms of an attribute begin with in it.
    pub(super) fn wholes(&self, attribute: &str) -> (Field, String) {
        (self.whole, term_text(attribute, ""))
    }

    /// The records in which an attribute has a word.
    pub(super) fn word(&self, attribute: &str, word: &str) -> tantivy::Term {
        tantivy::Term::from_field_text(self.words, &term_text(attribute, word))
    }

    /// What is kept of a record.
    pub(super) fn document(&self, record: &Extracted) -> TantivyDocument {
        let mut document = TantivyDocument::default();
        document.add_bytes(self.key, &key_bytes(record.kind, record.id));
        self.id.add(&mut document, record.id);
        let keys = [
            (self.company, record.company),
            (self.customer, record.customer),
            (self.conversation, record.conversation),
        ];
        for (columns, id) in keys {
            if let Some(id) = id {
                columns.add(&mut document, id);
            }
        }
        if let Some(object) = Object::of(record.kind) {
            document.add_text(self.object, object_text(object, true));
            if !record.deleted {
                document.add_text(self.object, object_text(object, false));
            }
        }
        let (mut ranks, mut texts) = (Vec::new(), Vec::new());
        for (name, values) in &record.values {
            document.add_text(self.set, name);
            let Some(attribute) = attribute(name) else { continue };
            let mut ranked = Vec::new();
            for value in values {
                match (value, attribute.class) {
                    (Value::Text(text), Class::Any | Class::Text) => {
                        document.add_text(self.words, term_text(name, text));
                    }
                    (Value::Text(text), _) => {
                        document.add_text(self.whole, term_text(name, text));
                        if !attribute.many {
                            texts.push((escaped(name).into_owned(), OwnedValue::Str(text.clone())));
                        }
                    }
                    (value, _) => ranked.extend(rank(value).map(OwnedValue::I64)),
                }
            }
            if !ranked.is_empty() {
                ranks.push((escaped(name).into_owned(), OwnedValue::Array(ranked)));
            }
        }
        for (field, columns) in [(self.ranks, ranks), (self.texts, texts)] {
            if !columns.is_empty() {
                document.add_field_value(field, &OwnedValue::Object(columns));
            }
        }
        document
    }

    /// A rank of an attribute, as ranges are told.
    pub(super) fn rank(&self, attribute: &str, rank: i64) -> tantivy::Term {
        let mut term = tantivy::Term::from_field_json_path(self.ranks, &escaped(attribute), false);
        term.append_type_and_fast_value(rank);
        term
    }
}

/// The name of the column of an attribute's ranks.
pub(super) fn rank_column(attribute: &str) -> String {
    format!("{RANKS}.{}", escaped(attribute))
}

/// The name of the column of an attribute's short texts.
pub(super) fn text_column(attribute: &str) -> String {
    format!("{TEXTS}.{}", escaped(attribute))
}

/// What is not a text as a number that has its order; every column has the same type that way.
pub(super) fn rank(value: &Value) -> Option<i64> {
    match value {
        Value::Text(_) => None,
        Value::Instant(at) => Some(at.millis()),
        Value::Bool(yes) => Some(i64::from(*yes)),
        // Adding nothing makes one zero of two.
        Value::Number(number) => {
            let bits = (number + 0.0).to_bits().cast_signed();
            Some(if bits < 0 { bits ^ i64::MAX } else { bits })
        }
    }
}

fn key_bytes(kind: Kind, id: Id) -> Vec<u8> {
    let mut bytes = id.bytes().to_vec();
    bytes.extend(kind.name().bytes());
    bytes
}

fn object_text(object: Object, deleted: bool) -> String {
    format!("{}{}", object.prefix(), if deleted { " or deleted" } else { "" })
}

fn term_text(attribute: &str, text: &str) -> String {
    format!("{}{BETWEEN}{text}", escaped(attribute))
}

/// A name of an attribute without what has a meaning in terms and paths.
fn escaped(name: &str) -> Cow<'_, str> {
    let is_special = |c: char| c.is_ascii_control() || matches!(c, '.' | '\\' | '%');
    if !name.contains(is_special) {
        return Cow::Borrowed(name);
    }
    let mut text = String::new();
    for c in name.chars() {
        if is_special(c) {
            let _ = write!(text, "%{:02x}", u32::from(c));
        } else {
            text.push(c);
        }
    }
    Cow::Owned(text)
}

#[cfg(test)]
mod tests {
    use konverse_model::Instant;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn ranks_have_the_order_of_numbers(a in any::<f64>(), b in any::<f64>()) {
            prop_assume!(a.is_finite() && b.is_finite());
            let ranks = (rank(&Value::Number(a)), rank(&Value::Number(b)));
            prop_assert_eq!(Some(ranks.0.cmp(&ranks.1)), a.partial_cmp(&b));
        }

        #[test]
        fn an_id_survives_its_columns(bytes: [u8; 12]) {
            let id = Id::from_bytes(bytes);
            let [high, low] = halves(id);
            prop_assert_eq!(whole(high, low), id);
        }

        #[test]
        fn names_that_differ_do_not_meet(a in "[a%.\\\\\u{0}\u{1}é]{0,4}", b in "[a%.\\\\\u{0}\u{1}é]{0,4}") {
            prop_assert_eq!(escaped(&a) == escaped(&b), a == b);
            let special = ['\0', '\u{1}', '.', '\\'];
            prop_assert!(!escaped(&a).contains(special));
        }
    }

    #[test]
    fn both_zeros_are_one_and_moments_keep_their_millisecond() {
        assert_eq!(rank(&Value::Number(-0.0)), rank(&Value::Number(0.0)));
        assert_eq!(rank(&Value::Instant(Instant::from_millis(1_792_832_400_001))), Some(1_792_832_400_001));
    }
}
