//! A query as it is understood: everything in it is checked, typed and in the form in which values are compared.

use crate::catalogue::Attribute;
use crate::context::{Key, Object};
use crate::value::Value;

/// What is looked for, and in which order it is wanted.
#[derive(Clone, Debug, PartialEq)]
pub struct Query {
    /// What is returned.
    pub object: Object,
    /// What has to be so.
    pub filter: Node,
    /// The order; records that are equal in all of it follow by ascending id.
    pub sort: Vec<Sort>,
    /// Whether deleted records count, those that are returned and those that are asked about.
    pub include_deleted: bool,
}

/// A condition on a record.
#[derive(Clone, Debug, PartialEq)]
pub enum Node {
    /// Each of these; without any, everything.
    All(Vec<Node>),
    /// At least one of these; without any, nothing.
    Any(Vec<Node>),
    /// Not this.
    Not(Box<Node>),
    /// A look at one attribute of the record.
    Test(Test),
    /// There is a record of another object that shares a key with this one, and fulfils a condition of its own.
    Related {
        /// What they share; a record without it is related to nothing.
        by: Key,
        /// The other object.
        object: Object,
        /// What has to be so of the other record.
        filter: Box<Node>,
    },
}

/// A look at one attribute.
#[derive(Clone, Debug, PartialEq)]
pub struct Test {
    /// Which one.
    pub attribute: Attribute,
    /// Whether the opposite is asked for: it is so also of a record without a value.
    pub negated: bool,
    /// What is asked of the values; it is enough when one of them is so.
    pub op: Op,
}

/// What is asked of an attribute's values. Operands have the attribute's form: see [`Value`].
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// There is a value.
    Set,
    /// One of these.
    In(Vec<Value>),
    /// Between two bounds, numbers or instants; at least one is there.
    Within {
        /// The lower one.
        from: Option<Bound>,
        /// The upper one.
        to: Option<Bound>,
    },
    /// A text somewhere within it, for short text; folded and not empty.
    Contains(String),
    /// A text it begins with; not empty. Folded where the attribute is.
    Prefix(String),
    /// These words in a row, for running text; nothing contains no words.
    Words(Vec<String>),
}

/// An end of a range.
#[derive(Clone, Debug, PartialEq)]
pub struct Bound {
    /// Where it is.
    pub value: Value,
    /// Whether the value itself counts.
    pub inclusive: bool,
}

/// One step of an order. Records without a value come last in either direction.
#[derive(Clone, Debug, PartialEq)]
pub struct Sort {
    /// A single-valued attribute of the object that is returned.
    pub attribute: Attribute,
    /// The greatest first.
    pub descending: bool,
}

impl Query {
    /// The names of all attributes it asks about, those of its order included.
    pub fn attributes(&self) -> Vec<&str> {
        let mut names = Vec::new();
        self.filter.names(&mut names);
        names.extend(self.sort.iter().map(|sort| sort.attribute.name.as_ref()));
        names
    }

    /// Adds a condition.
    pub fn restrict(&mut self, more: Node) {
        let before = std::mem::replace(&mut self.filter, Node::All(Vec::new()));
        self.filter = Node::All(vec![before, more]);
    }
}

impl Node {
    fn names<'a>(&'a self, names: &mut Vec<&'a str>) {
        match self {
            Node::All(nodes) | Node::Any(nodes) => nodes.iter().for_each(|node| node.names(names)),
            Node::Not(node) => node.names(names),
            Node::Related { filter, .. } => filter.names(names),
            Node::Test(test) => names.push(test.attribute.name.as_ref()),
        }
    }
}
