//! What a searcher must not see does not show by what is found either (contract README §10).

use konverse_search::{Node, Object, Query};

use crate::{Actor, DomainError};

/// Refuses a query that asks about, or is ordered by, a custom attribute that is hidden from who asks, and leaves the texts
/// of custom attributes out of what is looked for in all texts, where some of them are hidden.
pub(super) fn settle(query: &mut Query, actor: &Actor) -> Result<(), DomainError> {
    if actor.masks.is_none() {
        return Ok(());
    }
    for sort in &query.sort {
        refuse(sort.attribute.object, &sort.attribute.name, actor)?;
    }
    settle_node(&mut query.filter, actor)
}

fn settle_node(node: &mut Node, actor: &Actor) -> Result<(), DomainError> {
    match node {
        Node::All(nodes) | Node::Any(nodes) => nodes.iter_mut().try_for_each(|node| settle_node(node, actor)),
        Node::Not(node) => settle_node(node, actor),
        Node::Related { filter, .. } => settle_node(filter, actor),
        Node::Test(test) => {
            let object = test.attribute.object;
            refuse(object, &test.attribute.name, actor)?;
            let conceals = |kind| actor.masks.as_ref().is_some_and(|masks| masks.concern(kind));
            if test.attribute.name == format!("{}_any_custom", object.prefix()) && object.kind().is_some_and(conceals) {
                // As of a record without such texts: what is asked is not so, and its opposite is.
                *node = if test.negated { Node::All(Vec::new()) } else { Node::Any(Vec::new()) };
            }
            Ok(())
        }
    }
}

fn refuse(object: Object, name: &str, actor: &Actor) -> Result<(), DomainError> {
    let custom = name.strip_prefix(object.prefix()).and_then(|rest| rest.strip_prefix("_custom_"));
    match custom.zip(object.kind()) {
        Some((custom, kind)) if actor.is_hidden(kind, custom) => {
            Err(DomainError::invalid("", format!("asks about {name}, which is hidden from this token")))
        }
        _ => Ok(()),
    }
}
