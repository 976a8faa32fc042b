//! What a search sees of a stored record.

use std::borrow::Cow;
use std::collections::BTreeMap;

use konverse_model::{Id, Instant, Kind};
use serde::Deserialize;
use serde_json::{Map, Value as Json};

use crate::catalogue::{Class, Source, class_of_custom, of_object};
use crate::context::Object;
use crate::value::{Extracted, Value, cut, fold};

/// A record that cannot be searched.
#[derive(Debug, thiserror::Error)]
pub enum ExtractError {
    /// No search returns this kind.
    #[error("a {} is not searched", .0.name())]
    Kind(Kind),
    /// Its text is no resource object.
    #[error("stored record: {0}")]
    Unreadable(#[from] serde_json::Error),
}

#[derive(Deserialize)]
struct Record {
    id: Id,
    attributes: Map<String, Json>,
    #[serde(default)]
    relationships: Map<String, Json>,
}

/// Reads of a record's stored resource object what can be searched. `hidden` says whether it is deleted, by itself or with
/// what it belongs to.
///
/// # Errors
/// When the text cannot be read, or the kind is none that is searched.
pub fn extract(kind: Kind, text: &str, hidden: bool) -> Result<Extracted, ExtractError> {
    let object = Object::of(kind).ok_or(ExtractError::Kind(kind))?;
    let record: Record = serde_json::from_str(text)?;
    let itself = |own: Kind, name: &str| if kind == own { Some(record.id) } else { record.related(name).next() };
    let (company, customer, conversation) = (
        itself(Kind::Company, "company"),
        itself(Kind::Customer, "customer"),
        itself(Kind::Conversation, "conversation"),
    );
    let mut values = BTreeMap::new();
    for standard in of_object(object) {
        let mut found = Vec::new();
        record.look(object, standard.source, standard.class, hidden, &mut found);
        if !standard.many {
            found.truncate(1);
        }
        if !found.is_empty() {
            values.insert(Cow::Borrowed(standard.name), found);
        }
    }
    for (name, json) in record.custom() {
        let mut found = Vec::new();
        if let Some(class) = class_of_custom(name) {
            gather(json, class, &mut found);
        }
        if !found.is_empty() {
            values.insert(Cow::Owned(format!("{}_custom_{name}", object.prefix())), found);
        }
    }
    Ok(Extracted { kind, id: record.id, company, customer, conversation, deleted: hidden, values })
}

impl Record {
    fn custom(&self) -> impl Iterator<Item = (&String, &Json)> {
        self.attributes.get("custom").and_then(Json::as_object).into_iter().flatten()
    }

    /// What a relationship leads to: type and id.
    fn identifiers(&self, name: &str) -> impl Iterator<Item = (&str, Id)> {
        let data = self.relationships.get(name).and_then(|relationship| relationship.get("data"));
        let identifiers = match data {
            Some(Json::Array(many)) => many.as_slice(),
            Some(one) => std::slice::from_ref(one),
            None => &[],
        };
        identifiers.iter().filter_map(|identifier| {
            Some((identifier.get("type")?.as_str()?, identifier.get("id")?.as_str()?.parse().ok()?))
        })
    }

    fn related(&self, name: &str) -> impl Iterator<Item = Id> {
        self.identifiers(name).map(|(_, id)| id)
    }

    fn look(&self, object: Object, source: Source, class: Class, hidden: bool, found: &mut Vec<Value>) {
        let at = |path: &str, found: &mut Vec<Value>| {
            walk(&self.attributes, path, &mut |json| gather(json, class, found));
        };
        let id = |id: Id| Value::Text(id.to_string());
        match source {
            Source::At(path) => at(path, found),
            Source::Texts(paths) => {
                for path in paths {
                    walk(&self.attributes, path, &mut |json| texts(json, class, found));
                }
            }
            Source::Related(name) => found.extend(self.related(name).map(id)),
            Source::RelatedOf(name, kind) => {
                found.extend(self.identifiers(name).filter(|(of, _)| *of == kind).map(|(_, of)| id(of)));
            }
            Source::CountOf(name) => found.push(Value::Number(self.identifiers(name).count() as f64)),
            Source::Given(path) => {
                let mut given = false;
                walk(&self.attributes, path, &mut |json| given |= !json.is_null());
                found.push(Value::Bool(given));
            }
            Source::Polarity(path) => walk(&self.attributes, &format!("{path}.polarity"), &mut |json| {
                let name = json.as_f64().map(|polarity| match polarity {
                    p if p > 0.0 => "happy",
                    p if p < 0.0 => "unhappy",
                    _ => "indifferent",
                });
                found.extend(name.map(|name| Value::Text(name.to_owned())));
            }),
            Source::Statuses => {
                for status in ["open", "snoozed", "done"] {
                    walk(&self.attributes, &format!("conversationCounts.{status}"), &mut |json| {
                        if json.as_f64().is_some_and(|count| count > 0.0) {
                            found.push(Value::Text(status.to_owned()));
                        }
                    });
                }
            }
            Source::Deleted => found.push(Value::Bool(hidden)),
            Source::Id => found.push(id(self.id)),
            Source::AllText => {
                for standard in of_object(object) {
                    if matches!(standard.class, Class::String | Class::Text) {
                        self.look(object, standard.source, Class::Any, hidden, found);
                    }
                }
                for path in MORE_TEXT {
                    at(path, found);
                }
            }
            Source::CustomText => {
                for (name, json) in self.custom() {
                    if matches!(class_of_custom(name), Some(Class::String | Class::Text | Class::Keyword)) {
                        gather(json, Class::Any, found);
                    }
                }
            }
            Source::Nowhere => {}
        }
    }
}

/// Places with text that full-text search knows beside the attributes of short and running text.
const MORE_TEXT: [&str; 4] = ["externalId", "username", "description", "domains.domain"];

/// Goes to what stands at a path, through lists.
fn walk<'a>(object: &'a Map<String, Json>, path: &str, found: &mut dyn FnMut(&'a Json)) {
    let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
    let Some(json) = object.get(first) else { return };
    let Some(rest) = rest else { return found(json) };
    match json {
        Json::Object(object) => walk(object, rest, found),
        Json::Array(list) => list.iter().filter_map(Json::as_object).for_each(|object| walk(object, rest, found)),
        _ => {}
    }
}

/// The values of a class that stand here, in a list or by themselves.
fn gather(json: &Json, class: Class, found: &mut Vec<Value>) {
    if let Json::Array(list) = json {
        list.iter().filter(|json| !json.is_array()).for_each(|json| gather(json, class, found));
        return;
    }
    let text = || json.as_str().filter(|text| !text.is_empty());
    found.extend(match class {
        Class::Any | Class::Text => text().map(|text| Value::Text(text.to_owned())),
        Class::String => text().map(|text| Value::Text(fold(text))),
        Class::Keyword | Class::List => text().map(|text| Value::Text(cut(text).to_owned())),
        Class::Number => json.as_f64().filter(|number| number.is_finite()).map(|number| Value::Number(number + 0.0)),
        Class::Datetime => text().and_then(|text| text.parse::<Instant>().ok()).map(Value::Instant),
        Class::Boolean => json.as_bool().map(Value::Bool),
    });
}

/// All texts that stand here, at whatever depth. Stored texts are not nested without bound.
fn texts(json: &Json, class: Class, found: &mut Vec<Value>) {
    match json {
        Json::Array(list) => list.iter().for_each(|json| texts(json, class, found)),
        Json::Object(object) => object.values().for_each(|json| texts(json, class, found)),
        Json::String(_) => gather(json, class, found),
        _ => {}
    }
}
