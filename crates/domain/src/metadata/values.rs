//! What a definition asks of a value, beyond what the name's ending says.

use konverse_model::input::CustomType;
use konverse_model::resource::Definition;
use konverse_model::{Id, Kind};
use serde_json::Value;

use super::is_several;

/// Levels of a multi-level list.
const DEEPEST_TREE: usize = 10;

/// The records a definition's ids can be looked for among; ids of others are kept as they come.
const TARGETS: [Kind; 8] =
    [Kind::Customer, Kind::Conversation, Kind::Message, Kind::Note, Kind::Company, Kind::User, Kind::Team, Kind::Tag];

/// Checks a value that has the type its name says.
pub(crate) fn check_value(definition: &Definition, kind: CustomType, value: &Value) -> Result<(), &'static str> {
    let values = match value {
        Value::Array(values) if is_several(definition) => values.as_slice(),
        Value::Array(_) => return Err("must be one value: its definition is not for several"),
        one => std::slice::from_ref(one),
    };
    for text in values.iter().filter_map(Value::as_str) {
        if let Some(words) = &definition.enumeration
            && !words.iter().any(|word| word == text)
        {
            return Err("must be one of the enumeration of its definition");
        }
        if let (CustomType::Tree, Some(tree)) = (kind, &definition.tree)
            && !is_leaf(tree, text)
        {
            return Err("must be the dotted path of a leaf of its definition's tree");
        }
    }
    Ok(())
}

/// What records the ids of a value are looked for among, and the ids.
pub(crate) fn target(definition: &Definition, value: &Value) -> Option<(Kind, Vec<Id>)> {
    let kind = TARGETS.into_iter().find(|kind| definition.target.as_deref() == Some(kind.name()))?;
    let texts = match value {
        Value::Array(values) => values.as_slice(),
        one => std::slice::from_ref(one),
    };
    Some((kind, texts.iter().filter_map(|text| text.as_str()?.parse().ok()).collect()))
}

fn children(node: &Value) -> &[Value] {
    node.get("children").and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Whether a dotted path leads to a node without children. Values may have dots themselves.
fn is_leaf(nodes: &[Value], path: &str) -> bool {
    nodes.iter().any(|node| {
        let rest = node.get("value").and_then(Value::as_str).and_then(|value| path.strip_prefix(value));
        match (rest, children(node)) {
            (Some(""), []) => true,
            (Some(rest), below @ [_, ..]) => rest.strip_prefix('.').is_some_and(|rest| is_leaf(below, rest)),
            _ => false,
        }
    })
}

/// Checks the options of a multi-level list.
pub(super) fn check_tree(tree: &[Value]) -> Result<(), &'static str> {
    fn check(nodes: &[Value], level: usize) -> Result<(), &'static str> {
        const RULE: &str = "must be a list of nodes: {\"value\": a text, \"children\": a list of nodes, if any}";
        if level > DEEPEST_TREE {
            return Err("must not have more than 10 levels");
        }
        for node in nodes {
            let value = node.get("value").and_then(Value::as_str).ok_or(RULE)?;
            if value.is_empty() || value.chars().count() > 256 {
                return Err("must have values of 1 to 256 characters");
            }
            if node.get("children").is_some_and(|children| !children.is_array()) {
                return Err(RULE);
            }
            check(children(node), level + 1)?;
        }
        Ok(())
    }

    check(tree, 1)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_path_leads_to_a_leaf_or_nowhere() {
        let tree = json!([
            { "value": "Returns", "label": "…", "children": [{ "value": "v2.0" }, { "value": "Late", "children": [] }] },
            { "value": "Returns.Late", "children": [{ "value": "x" }] },
        ]);
        let tree = tree.as_array().unwrap();
        assert_eq!(check_tree(tree), Ok(()));
        for path in ["Returns.v2.0", "Returns.Late", "Returns.Late.x"] {
            assert!(is_leaf(tree, path), "{path}");
        }
        for path in ["", "Returns", "Returns.", "Late", "Returns.v2", "Returns.Late.y", "returns.Late"] {
            assert!(!is_leaf(tree, path), "{path}");
        }
        let mut deep = json!([{ "value": "x" }]);
        for _ in 0..DEEPEST_TREE {
            deep = json!([{ "value": "x", "children": deep }]);
        }
        for wrong in [json!(["x"]), json!([{ "children": [] }]), json!([{ "value": "x", "children": {} }]), deep] {
            assert!(check_tree(wrong.as_array().unwrap()).is_err(), "{wrong}");
        }
    }
}
