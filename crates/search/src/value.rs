//! Values as they are compared: what both the index and the plain evaluator work on.

use std::borrow::Cow;
use std::collections::BTreeMap;

use konverse_model::{Id, Instant, Kind};

/// Bytes of a single text that are compared; what is longer is cut, in records and in queries alike.
pub const LONGEST: usize = 1024;
/// Characters of a word of running text that are compared; what is longer is cut.
pub const LONGEST_WORD: usize = 64;

/// One value of an attribute, in the form in which it is compared.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A text. Of class [`String`](crate::Class::String) it is [`fold`]ed, of the exact classes [`cut`]; of running text it is
    /// as it was written, to be taken apart by [`words`].
    Text(String),
    /// A finite number.
    Number(f64),
    /// A moment.
    Instant(Instant),
    /// Yes or no.
    Bool(bool),
}

/// What a search sees of a record.
#[derive(Clone, Debug, PartialEq)]
pub struct Extracted {
    /// What it is.
    pub kind: Kind,
    /// Its id.
    pub id: Id,
    /// The company it belongs to, or is.
    pub company: Option<Id>,
    /// The customer it belongs to, or is.
    pub customer: Option<Id>,
    /// The conversation it belongs to, or is.
    pub conversation: Option<Id>,
    /// Whether it is deleted, by itself or with what it belongs to.
    pub deleted: bool,
    /// Values by the attribute's whole name (`customer_email`, `customer_custom_loyaltyTierStr`); an attribute without a value
    /// is not there, and no list is empty. Single-valued attributes have one.
    pub values: BTreeMap<Cow<'static, str>, Vec<Value>>,
}

impl Extracted {
    /// The values of an attribute.
    pub fn of(&self, name: &str) -> &[Value] {
        self.values.get(name).map_or(&[], Vec::as_slice)
    }
}

/// At most [`LONGEST`] bytes of a text, cut between characters.
pub fn cut(text: &str) -> &str {
    &text[..boundary(text)]
}

/// A text in the form in which case does not matter, cut.
pub fn fold(text: &str) -> String {
    let mut folded = cut(text).to_lowercase();
    folded.truncate(boundary(&folded));
    folded
}

/// Where a text is cut.
fn boundary(text: &str) -> usize {
    let mut at = text.len().min(LONGEST);
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// The words of running text: letters and digits between anything else, folded and cut.
pub fn words(text: &str) -> impl Iterator<Item = String> {
    let words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    words.map(|word| word.chars().flat_map(char::to_lowercase).take(LONGEST_WORD).collect())
}
