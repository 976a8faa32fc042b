//! The attributes a query can ask about (contract `search.md` §4, §7, §10), and where their values stand in a record.

mod standard;

use std::borrow::Cow;

use konverse_model::limits::LONGEST_CUSTOM_NAME;

use crate::context::Object;

pub(crate) use standard::of_object;

/// How an attribute's values are compared, and with it which operators it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// All text of an object, as running text.
    Any,
    /// Running text.
    Text,
    /// Short text in which case does not matter.
    String,
    /// An exact text.
    Keyword,
    /// Exact texts, of an enumeration or ids; often several.
    List,
    /// Numbers.
    Number,
    /// Moments.
    Datetime,
    /// Yes or no.
    Boolean,
}

/// An attribute of an object.
#[derive(Clone, Debug, PartialEq)]
pub struct Attribute {
    /// Whose.
    pub object: Object,
    /// Its whole name: `conversation_status`.
    pub name: Cow<'static, str>,
    /// How it is compared.
    pub class: Class,
    /// The only values it has, where they are fixed.
    pub one_of: &'static [&'static str],
    /// Whether a record can have several values; an order by it would mean nothing.
    pub many: bool,
}

/// Where values stand in a record: paths below `attributes`, whose parts are divided by dots and pass through lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// What stands there.
    At(&'static str),
    /// All texts below these places.
    Texts(&'static [&'static str]),
    /// The ids of a relationship.
    Related(&'static str),
    /// The ids of a relationship's records of one type.
    RelatedOf(&'static str, &'static str),
    /// How many records a relationship has.
    CountOf(&'static str),
    /// Whether anything stands there.
    Given(&'static str),
    /// `happy`, `unhappy` or `indifferent`, by the `polarity` of what stands there.
    Polarity(&'static str),
    /// The statuses of a customer's conversations.
    Statuses,
    /// Whether the record is deleted.
    Deleted,
    /// The record's id.
    Id,
    /// Every text of the record that people wrote, but in custom attributes.
    AllText,
    /// The texts of all custom attributes.
    CustomText,
    /// Nothing yet.
    Nowhere,
}

/// An attribute every org has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Standard {
    pub(crate) name: &'static str,
    pub(crate) class: Class,
    pub(crate) one_of: &'static [&'static str],
    pub(crate) many: bool,
    pub(crate) source: Source,
}

impl Standard {
    fn attribute(&self, object: Object) -> Attribute {
        Attribute { object, name: Cow::Borrowed(self.name), class: self.class, one_of: self.one_of, many: self.many }
    }
}

/// The attribute of this whole name; custom ones are taken by their suffix, whether or not a record has them.
pub fn attribute(name: &str) -> Option<Attribute> {
    let object = match name {
        "tracking_events" => Object::Customer,
        _ => Object::ALL.into_iter().find(|object| below(name, *object).is_some())?,
    };
    if let Some(standard) = of_object(object).iter().find(|standard| standard.name == name) {
        return Some(standard.attribute(object));
    }
    // `kobject_custom_<klass>_<name>`: the klass only narrows what is searched, and the suffix is at the end all the same.
    let custom = below(name, object)?.strip_prefix("custom_")?;
    if custom.chars().nth(LONGEST_CUSTOM_NAME).is_some() {
        return None;
    }
    let class = class_of_custom(custom)?;
    Some(Attribute { object, name: Cow::Owned(name.to_owned()), class, one_of: &[], many: custom.ends_with("Id") })
}

/// What follows an object's prefix in a name.
fn below(name: &str, object: Object) -> Option<&str> {
    name.strip_prefix(object.prefix())?.strip_prefix('_')
}

/// The class of a custom attribute, by the suffix of its name (contract README §10).
pub(crate) fn class_of_custom(name: &str) -> Option<Class> {
    const SUFFIXES: [(&str, Class); 8] = [
        ("Str", Class::String),
        ("Txt", Class::Text),
        ("Num", Class::Number),
        ("At", Class::Datetime),
        ("Bool", Class::Boolean),
        ("Url", Class::String),
        ("Id", Class::List),
        ("Tree", Class::Keyword),
    ];
    SUFFIXES.into_iter().find(|(suffix, _)| name.ends_with(suffix)).map(|(_, class)| class)
}
