//! What a query means, said the plainest way: record by record. The index has to find the same.

use std::cmp::Ordering;

use konverse_model::Id;

use crate::context::Key;
use crate::query::{Bound, Node, Op, Query, Sort, Test};
use crate::value::{Extracted, Value, words};

/// The ids of the records a query finds among these, in its order. What it asks about other objects is looked for among
/// them as well.
pub fn evaluate(query: &Query, records: &[Extracted]) -> Vec<Id> {
    let shown = |record: &&Extracted| query.include_deleted || !record.deleted;
    let all: Vec<&Extracted> = records.iter().filter(shown).collect();
    let wanted = |record: &&&Extracted| Some(record.kind) == query.object.kind();
    let mut found: Vec<&Extracted> =
        all.iter().filter(wanted).filter(|record| holds(&query.filter, record, &all)).copied().collect();
    found.sort_by(|a, b| by_order(&query.sort, a, b));
    found.into_iter().map(|record| record.id).collect()
}

fn holds(node: &Node, record: &Extracted, all: &[&Extracted]) -> bool {
    match node {
        Node::All(nodes) => nodes.iter().all(|node| holds(node, record, all)),
        Node::Any(nodes) => nodes.iter().any(|node| holds(node, record, all)),
        Node::Not(node) => !holds(node, record, all),
        Node::Test(test) => holds_of(test, record.of(&test.attribute.name)),
        Node::Related { by, object, filter } => {
            let Some(shared) = key(*by, record) else { return false };
            let mut others = all.iter().filter(|other| Some(other.kind) == object.kind());
            others.any(|other| key(*by, other) == Some(shared) && holds(filter, other, all))
        }
    }
}

fn key(by: Key, record: &Extracted) -> Option<Id> {
    match by {
        Key::Company => record.company,
        Key::Customer => record.customer,
        Key::Conversation => record.conversation,
    }
}

fn holds_of(test: &Test, values: &[Value]) -> bool {
    let is_so = |value: &Value| match (&test.op, value) {
        (Op::Set, _) => true,
        (Op::In(wanted), value) => wanted.contains(value),
        (Op::Within { from, to }, value) => {
            let above = |bound: &Bound| beyond(value, bound, Ordering::Greater);
            let below = |bound: &Bound| beyond(value, bound, Ordering::Less);
            from.as_ref().is_none_or(above) && to.as_ref().is_none_or(below)
        }
        (Op::Contains(part), Value::Text(text)) => text.contains(part.as_str()),
        (Op::Prefix(part), Value::Text(text)) => text.starts_with(part.as_str()),
        (Op::Words(row), Value::Text(text)) => {
            let words: Vec<String> = words(text).collect();
            !row.is_empty() && words.windows(row.len()).any(|words| words == row)
        }
        (Op::Contains(_) | Op::Prefix(_) | Op::Words(_), _) => false,
    };
    values.iter().any(is_so) != test.negated
}

fn beyond(value: &Value, bound: &Bound, side: Ordering) -> bool {
    let order = compare(value, &bound.value);
    order == side || bound.inclusive && order == Ordering::Equal
}

fn compare(a: &Value, b: &Value) -> Ordering {
    match (a, b) {
        (Value::Text(a), Value::Text(b)) => a.cmp(b),
        (Value::Number(a), Value::Number(b)) => a.partial_cmp(b).unwrap_or(Ordering::Equal),
        (Value::Instant(a), Value::Instant(b)) => a.cmp(b),
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        // The values of an attribute are of one type.
        _ => Ordering::Equal,
    }
}

fn by_order(sorts: &[Sort], a: &Extracted, b: &Extracted) -> Ordering {
    for sort in sorts {
        let (of_a, of_b) = (a.of(&sort.attribute.name).first(), b.of(&sort.attribute.name).first());
        let order = match (of_a, of_b) {
            (Some(a), Some(b)) if sort.descending => compare(b, a),
            (Some(a), Some(b)) => compare(a, b),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => Ordering::Equal,
        };
        if order.is_ne() {
            return order;
        }
    }
    a.id.cmp(&b.id)
}
