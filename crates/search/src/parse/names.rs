//! The names of attributes and contexts as bodies have them.

use super::Surface;
use crate::catalogue::{Attribute, Class, attribute as whole_name, of_object};
use crate::context::Object;

/// What the archive's search knows, object by object (contract `search.md` §7).
const ARCHIVE: &[&str] = &[
    "conversation_id",
    "conversation_created_at",
    "conversation_updated_at",
    "conversation_customer_id",
    "conversation_any_text",
    "conversation_deleted",
    "customer_id",
    "customer_companyId",
    "customer_created_at",
    "customer_updated_at",
    "customer_deleted",
    "customer_any_text",
    "message_id",
    "message_created_at",
    "message_updated_at",
    "message_conversation_id",
    "message_any_text",
    "kobject_id",
    "kobject_created_at",
    "kobject_updated_at",
    "kobject_customer_id",
    "kobject_company_id",
    "kobject_any_text",
    "company_created_at",
    "company_updated_at",
];

/// Names that are written in other ways as well.
const ALIASES: &[(&str, &str)] = &[
    ("customer_any_text_new", "customer_any_text"),
    // Scripts ask for it by the name it has elsewhere.
    ("lastDoneAt", "conversation_last_done_created_at"),
];

/// The object a `queryContext` means.
pub(super) fn context(name: &str) -> Option<Object> {
    Some(match name {
        "company" => Object::Company,
        "customer" => Object::Customer,
        "conversation" => Object::Conversation,
        "conversation_time" => Object::ConversationTime,
        "message" => Object::Message,
        "note" => Object::Note,
        "kobject" => Object::Kobject,
        "work_session" | "work_item" => Object::Work,
        klass if klass.starts_with("kobject_") => Object::Kobject,
        _ => return None,
    })
}

/// The attribute a name means where `context` is searched for: by its whole name, or without the object's.
pub(super) fn attribute(name: &str, context: Object, surface: Surface) -> Option<Attribute> {
    let name = ALIASES.iter().find(|(other, _)| *other == name).map_or(name, |(_, name)| name);
    let below_context = |name: &str| whole_name(&format!("{}_{name}", context.prefix()));
    let found = whole_name(name)
        .or_else(|| of_klass(name))
        .or_else(|| below_context(name))
        .or_else(|| below_context(&snake_case(name)))?;
    (surface == Surface::Live || ARCHIVE.contains(&found.name.as_ref())).then_some(found)
}

/// `kobject_<klass>_created_at`: an attribute of one klass's objects.
fn of_klass(name: &str) -> Option<Attribute> {
    let rest = name.strip_prefix("kobject_")?;
    let all = of_object(Object::Kobject).iter();
    let found = all.filter_map(|standard| {
        let tail = standard.name.strip_prefix("kobject")?;
        (rest.len() > tail.len() && rest.ends_with(tail)).then_some(standard.name)
    });
    whole_name(found.max_by_key(|name| name.len())?)
}

/// The attribute with the texts of an object's custom attributes.
pub(super) fn custom_text(object: Object) -> Option<Attribute> {
    whole_name(&format!("{}_any_custom", object.prefix())).filter(|attribute| attribute.class == Class::Any)
}

fn snake_case(name: &str) -> String {
    let mut snake = String::with_capacity(name.len() + 4);
    for c in name.chars() {
        if c.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(c.to_ascii_lowercase());
    }
    snake
}
