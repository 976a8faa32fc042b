//! Changing definitions.

use std::collections::BTreeMap;

use konverse_model::input::{CustomType, DefinitionUpdate, custom_type};
use konverse_model::resource::{Definition, Sensitive};
use konverse_model::{FieldError, Instant, Patch, UserId};

use super::values::check_tree;
use super::wrong;
use crate::DomainError;

type Properties = BTreeMap<String, Definition>;

/// Refuses to change how an attribute is hidden, for those from whom it is: nobody shows themselves what they must not see.
pub(super) fn check_hiding(
    properties: &Properties,
    updates: &BTreeMap<String, Option<DefinitionUpdate>>,
) -> Result<(), DomainError> {
    let is_hidden = |name: &str| {
        let sensitive = properties.get(name).and_then(|definition| definition.sensitive.as_ref());
        sensitive.is_some_and(|sensitive| sensitive.enabled)
    };
    let changes = |update: &Option<DefinitionUpdate>| {
        update.as_ref().is_some_and(|update| !matches!(update.sensitive, Patch::Keep))
    };
    let refused = updates.iter().filter(|(name, update)| changes(update) && is_hidden(name));
    let errors: Vec<_> = refused
        .map(|(name, _)| {
            wrong(name, "/sensitive", "can be changed only by those from whom the attribute is not hidden")
        })
        .collect();
    if errors.is_empty() { Ok(()) } else { Err(DomainError::Invalid(errors)) }
}

/// Merges definitions into those there are; null deletes one.
pub(super) fn merge(
    properties: &mut Properties,
    updates: BTreeMap<String, Option<DefinitionUpdate>>,
    by: Option<UserId>,
    at: Instant,
) -> Result<(), DomainError> {
    let mut errors = Vec::new();
    for (name, update) in updates {
        let kind = match custom_type(&name) {
            Ok(kind) => kind,
            Err(message) => {
                // A name that is too long is not repeated.
                let pointer = if name.len() > 1024 { "/properties".to_owned() } else { wrong(&name, "", "").pointer };
                errors.push(FieldError::at(pointer, message));
                continue;
            }
        };
        let is_deleted = match &update {
            None => true,
            // One that comes back as it was read stays deleted.
            Some(update) => match update.deleted {
                Patch::Keep => matches!(update.deleted_at, Patch::Set(_)),
                Patch::Clear | Patch::Set(false) => false,
                Patch::Set(true) => true,
            },
        };
        let stored = properties.get(&name);
        if is_deleted {
            if let Some(definition) = properties.get_mut(&name).filter(|definition| definition.deleted_at.is_none()) {
                (definition.deleted_at, definition.deleted_by) = (Some(at), by);
                (definition.updated_at, definition.modified_at, definition.modified_by) = (at, at, by);
            }
            continue;
        }
        let fresh = fresh(&name, kind, by, at);
        let mut definition = stored.cloned().unwrap_or_else(|| fresh.clone());
        (definition.deleted_at, definition.deleted_by) = (None, None);
        let before = errors.len();
        apply(&mut definition, update.unwrap_or_default(), &name, kind, &fresh, &mut errors);
        if errors.len() == before && stored != Some(&definition) {
            (definition.updated_at, definition.modified_at, definition.modified_by) = (at, at, by);
            properties.insert(name, definition);
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(DomainError::Invalid(errors)) }
}

/// Defines an attribute that somebody writes, unless it is defined; whether it was not. One that was deleted begins anew,
/// and stays as hidden as it was.
pub(super) fn register(properties: &mut Properties, name: &str, by: Option<UserId>, at: Instant) -> bool {
    let stored = properties.get(name);
    let Ok(kind) = custom_type(name) else { return false };
    if stored.is_some_and(|definition| definition.deleted_at.is_none()) {
        return false;
    }
    let sensitive = stored.and_then(|definition| definition.sensitive);
    properties.insert(name.to_owned(), Definition { sensitive, ..fresh(name, kind, by, at) });
    true
}

fn fresh(name: &str, kind: CustomType, by: Option<UserId>, at: Instant) -> Definition {
    Definition {
        r#type: kind.names()[0].to_owned(),
        display_name: title(name.strip_suffix(kind.suffix()).unwrap_or(name)),
        enumeration: None,
        array: None,
        target: None,
        multi: None,
        tree: None,
        sensitive: None,
        modified_by: by,
        modified_at: at,
        updated_at: at,
        deleted_at: None,
        deleted_by: None,
    }
}

fn apply(
    definition: &mut Definition,
    update: DefinitionUpdate,
    name: &str,
    kind: CustomType,
    fresh: &Definition,
    errors: &mut Vec<FieldError>,
) {
    if let Some(given) = update.r#type.0 {
        if kind.names().contains(&given.as_str()) {
            definition.r#type = given;
        } else {
            let message = format!("must be {}, as the name's ending says", kind.names().join(" or "));
            errors.push(wrong(name, "/type", message));
        }
    }
    match update.display_name {
        Patch::Keep => {}
        Patch::Clear => definition.display_name.clone_from(&fresh.display_name),
        Patch::Set(display_name) => definition.display_name = display_name,
    }
    let mut only = |given: bool, member: &str, fits: bool, of: &str| {
        if given && !fits {
            errors.push(wrong(name, member, format!("is for attributes that end in {of}")));
        }
    };
    let is_text = matches!(kind, CustomType::Str | CustomType::Txt);
    only(matches!(update.enumeration, Patch::Set(_)), "/enumeration", is_text, "Str or Txt");
    only(matches!(update.tree, Patch::Set(_)), "/tree", kind == CustomType::Tree, "Tree");
    only(matches!(update.target, Patch::Set(_)), "/target", kind == CustomType::Id, "Id");
    let is_many = kind != CustomType::Bool;
    only(matches!(update.array, Patch::Set(true)), "/array", is_many, "anything but Bool");
    only(matches!(update.multi, Patch::Set(true)), "/multi", is_many, "anything but Bool");
    if let Patch::Set(tree) = &update.tree
        && let Err(message) = check_tree(tree)
    {
        errors.push(wrong(name, "/tree", message));
    }
    update.enumeration.put(&mut definition.enumeration);
    update.array.put(&mut definition.array);
    update.target.put(&mut definition.target);
    update.multi.put(&mut definition.multi);
    update.tree.put(&mut definition.tree);
    match update.sensitive {
        Patch::Keep => {}
        Patch::Clear => definition.sensitive = None,
        Patch::Set(given) => {
            definition.sensitive = Some(Sensitive { enabled: given.enabled, mask_type: given.mask_type });
        }
    }
    if kind == CustomType::Id && definition.target.is_none() {
        errors.push(wrong(name, "/target", "is required: it says what the ids refer to"));
    }
}

/// A name for people: `totalOrders` is `Total Orders`.
fn title(name: &str) -> String {
    let characters: Vec<char> = name.chars().map(|c| if c == '_' || c == '-' { ' ' } else { c }).collect();
    let mut title = String::with_capacity(name.len() + 8);
    for (n, c) in characters.iter().enumerate() {
        let before = n.checked_sub(1).map(|n| characters[n]);
        let follows_small = before.is_some_and(|before| before.is_lowercase() || before.is_ascii_digit());
        let ends_capitals =
            before.is_some_and(char::is_uppercase) && characters.get(n + 1).is_some_and(|after| after.is_lowercase());
        if c.is_uppercase() && (follows_small || ends_capitals) {
            title.push(' ');
        }
        if before.is_none_or(|before| before == ' ') {
            title.extend(c.to_uppercase());
        } else {
            title.push(*c);
        }
    }
    title
}

#[cfg(test)]
mod tests {
    use super::title;

    #[test]
    fn names_for_people_come_from_names() {
        for (name, expected) in [
            ("totalOrders", "Total Orders"),
            ("vip", "Vip"),
            ("orderIDNumber", "Order ID Number"),
            ("line2Address", "Line2 Address"),
            ("snake_case", "Snake Case"),
            ("überFall", "Über Fall"),
            ("", ""),
        ] {
            assert_eq!(title(name), expected, "{name}");
        }
    }
}
