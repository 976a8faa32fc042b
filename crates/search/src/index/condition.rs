//! What a query asks, in the library's terms.

use std::cell::Cell;
use std::ops::Bound as Edge;

use tantivy::Searcher;
use tantivy::query::{
    AllQuery, BooleanQuery, EmptyQuery, Occur, PhraseQuery, Query, RangeQuery, TermQuery, TermSetQuery,
};
use tantivy::schema::IndexRecordOption;

use super::SearchError;
use super::leaves::{Keys, Settled, Within, id_columns, sharing};
use super::limits::Limits;
use super::run::found;
use super::schema::{Fields, key_name, rank};
use crate::{Bound, Key, Node, Object, Op, Test, Value};

/// Keys of related records that a search holds, of all its conditions together.
const MOST_KEYS: usize = 1_000_000;

/// A search under way.
pub(super) struct Conditions<'a> {
    pub(super) searcher: &'a Searcher,
    pub(super) fields: Fields,
    /// Whether deleted records count.
    pub(super) deleted: bool,
    pub(super) limits: &'a Limits,
    /// Keys of related records it holds so far.
    pub(super) held: Cell<usize>,
}

impl Conditions<'_> {
    /// The records of an object for which a condition holds.
    pub(super) fn of(&self, object: Object, node: &Node) -> Result<Box<dyn Query>, SearchError> {
        self.limits.check()?;
        let object = term(self.fields.object(object, self.deleted));
        Ok(Box::new(BooleanQuery::intersection(vec![object, self.condition(node)?])))
    }

    fn condition(&self, node: &Node) -> Result<Box<dyn Query>, SearchError> {
        match node {
            Node::All(nodes) => {
                let all = nodes.iter().map(|node| self.condition(node)).collect::<Result<Vec<_>, _>>()?;
                Ok(if all.is_empty() { Box::new(AllQuery) } else { Box::new(BooleanQuery::intersection(all)) })
            }
            Node::Any(nodes) => {
                Ok(any(nodes.iter().map(|node| self.condition(node)).collect::<Result<Vec<_>, _>>()?))
            }
            Node::Not(node) => Ok(self.not(self.condition(node)?)),
            Node::Test(test) => {
                let condition = self.test(test);
                Ok(if test.negated { self.not(condition) } else { condition })
            }
            Node::Related { by, object, filter } => {
                let related = self.of(*object, filter)?;
                Ok(sharing(key_name(*by), self.keys(&*related, *by)?))
            }
        }
    }

    fn not(&self, condition: Box<dyn Query>) -> Box<dyn Query> {
        let settled = Box::new(Settled { condition, limits: self.limits.clone() });
        Box::new(BooleanQuery::new(vec![(Occur::Must, Box::new(AllQuery)), (Occur::MustNot, settled)]))
    }

    fn test(&self, test: &Test) -> Box<dyn Query> {
        let (fields, name) = (self.fields, &*test.attribute.name);
        match &test.op {
            Op::Set => term(fields.set(name)),
            Op::In(values) => {
                let texts =
                    values.iter().filter_map(|value| if let Value::Text(text) = value { Some(text) } else { None });
                let texts: Vec<_> = texts.map(|text| fields.whole(name, text)).collect();
                let ranks = values.iter().filter_map(rank).map(|rank| {
                    let rank = fields.rank(name, rank);
                    Box::new(RangeQuery::new(Edge::Included(rank.clone()), Edge::Included(rank))) as Box<dyn Query>
                });
                let mut all: Vec<_> = ranks.collect();
                if !texts.is_empty() {
                    all.push(Box::new(TermSetQuery::new(texts)));
                }
                any(all)
            }
            Op::Within { from, to } => {
                let edge = |bound: &Option<Bound>| {
                    let Some(bound) = bound else { return Some(Edge::Unbounded) };
                    let rank = fields.rank(name, rank(&bound.value)?);
                    Some(if bound.inclusive { Edge::Included(rank) } else { Edge::Excluded(rank) })
                };
                match (edge(from), edge(to)) {
                    (Some(Edge::Unbounded), Some(Edge::Unbounded)) => term(fields.set(name)),
                    (Some(from), Some(to)) => Box::new(RangeQuery::new(from, to)),
                    _ => Box::new(EmptyQuery),
                }
            }
            Op::Contains(part) => self.within(name, "", Some(part.clone())),
            Op::Prefix(start) => self.within(name, start, None),
            Op::Words(words) => {
                let mut terms: Vec<_> = words.iter().map(|word| fields.word(name, word)).collect();
                match terms.len() {
                    0 => Box::new(EmptyQuery),
                    1 => term(terms.remove(0)),
                    _ => Box::new(PhraseQuery::new(terms)),
                }
            }
        }
    }

    fn within(&self, name: &str, start: &str, part: Option<String>) -> Box<dyn Query> {
        let (field, prefix) = self.fields.wholes(name);
        Box::new(Within { field, prefix: prefix + start, part, limits: self.limits.clone() })
    }

    /// The keys of all records a query finds.
    fn keys(&self, query: &dyn Query, by: Key) -> Result<Keys, SearchError> {
        let mut keys = Keys::default();
        for found in found(self.searcher, query, self.limits)? {
            let (segment, documents) = found?;
            let Some([high, low]) = id_columns(segment, key_name(by))? else { continue };
            documents.each(|document| {
                keys.extend(high.first(document).zip(low.first(document)));
                if self.held.get() + keys.len() > MOST_KEYS { Err(SearchError::TooMany(MOST_KEYS)) } else { Ok(()) }
            })?;
        }
        self.held.set(self.held.get() + keys.len());
        Ok(keys)
    }
}

fn term(term: tantivy::Term) -> Box<dyn Query> {
    Box::new(TermQuery::new(term, IndexRecordOption::Basic))
}

fn any(mut of: Vec<Box<dyn Query>>) -> Box<dyn Query> {
    match of.len() {
        0 => Box::new(EmptyQuery),
        1 => of.remove(0),
        _ => Box::new(BooleanQuery::union(of)),
    }
}
