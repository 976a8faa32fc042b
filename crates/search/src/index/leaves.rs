//! Conditions that the library has no query for: texts within texts, and records that share a key with others.

use std::collections::HashSet;
use std::sync::Arc;

use memchr::memmem::Finder;
use tantivy::columnar::Column;
use tantivy::query::doc_predicate_query::{DocPredicateQuery, FunctionPredicate};
use tantivy::query::{BitSetDocSet, ConstScorer, EnableScoring, Explanation, Query, Scorer, Weight};
use tantivy::schema::{Field, IndexRecordOption};
use tantivy::{BitSet, COLLECT_BLOCK_BUFFER_LEN, DocId, Score, SegmentReader, TantivyError};

use super::limits::Limits;
use super::schema::IdColumns;

/// Terms between two looks at the clock.
const TERMS: usize = 4096;

/// Records in which one of an attribute's short texts has another within it, or begins with it.
#[derive(Clone, Debug)]
pub(super) struct Within {
    pub(super) field: Field,
    /// What terms of the attribute begin with; with what the texts have to begin with, if they have to.
    pub(super) prefix: String,
    /// What has to be in the text behind the prefix; anything without.
    pub(super) part: Option<String>,
    pub(super) limits: Limits,
}

impl Query for Within {
    fn weight(&self, _: EnableScoring<'_>) -> tantivy::Result<Box<dyn Weight>> {
        Ok(Box::new(self.clone()))
    }
}

impl Weight for Within {
    fn scorer(&self, segment: &SegmentReader, boost: Score) -> tantivy::Result<Box<dyn Scorer>> {
        let inverted = segment.inverted_index(self.field)?;
        let finder = self.part.as_ref().map(Finder::new);
        let mut found = BitSet::with_max_value(segment.max_doc());
        let mut terms = inverted.terms().range().ge(&self.prefix).into_stream()?;
        let mut looked = 0;
        while let Some((term, info)) = terms.next() {
            let Some(text) = term.strip_prefix(self.prefix.as_bytes()) else { break };
            looked += 1;
            if looked % TERMS == 0 {
                self.limits.check_within()?;
            }
            if finder.as_ref().is_some_and(|finder| finder.find(text).is_none()) {
                continue;
            }
            let mut postings = inverted.read_block_postings_from_terminfo(info, IndexRecordOption::Basic)?;
            while !postings.docs().is_empty() {
                for document in postings.docs() {
                    found.insert(*document);
                }
                postings.advance();
            }
        }
        Ok(Box::new(ConstScorer::new(BitSetDocSet::from(found), boost)))
    }

    fn explain(&self, _: &SegmentReader, _: DocId) -> tantivy::Result<Explanation> {
        Err(TantivyError::InvalidArgument("searches are not explained".to_owned()))
    }
}

/// A condition whose documents are all found before anything is asked of them. To leave out what a condition finds, the
/// library asks for documents before the one it stands at, which ranges and phrases do not take (0.27).
#[derive(Debug)]
pub(super) struct Settled {
    pub(super) condition: Box<dyn Query>,
    pub(super) limits: Limits,
}

struct SettledWeight(Box<dyn Weight>, Limits);

impl Clone for Settled {
    fn clone(&self) -> Self {
        Self { condition: self.condition.box_clone(), limits: self.limits.clone() }
    }
}

impl Query for Settled {
    fn weight(&self, scoring: EnableScoring<'_>) -> tantivy::Result<Box<dyn Weight>> {
        Ok(Box::new(SettledWeight(self.condition.weight(scoring)?, self.limits.clone())))
    }
}

impl Weight for SettledWeight {
    fn scorer(&self, segment: &SegmentReader, boost: Score) -> tantivy::Result<Box<dyn Scorer>> {
        let mut found = BitSet::with_max_value(segment.max_doc());
        let mut scorer = self.0.scorer(segment, boost)?;
        let mut block = [0; COLLECT_BLOCK_BUFFER_LEN];
        loop {
            let count = scorer.fill_buffer(&mut block);
            for document in &block[..count] {
                found.insert(*document);
            }
            if count < block.len() {
                return Ok(Box::new(ConstScorer::new(BitSetDocSet::from(found), boost)));
            }
            self.1.check_within()?;
        }
    }

    fn explain(&self, _: &SegmentReader, _: DocId) -> tantivy::Result<Explanation> {
        Err(TantivyError::InvalidArgument("searches are not explained".to_owned()))
    }
}

/// A set of keys records share.
pub(super) type Keys = HashSet<(u64, u64)>;

/// The two columns of an id in a segment; none where no record of it has one.
pub(super) fn id_columns(segment: &SegmentReader, name: &str) -> tantivy::Result<Option<[Column<u64>; 2]>> {
    let [high, low] = IdColumns::names(name);
    let columns = segment.fast_fields();
    Ok(match (columns.column_opt(&high)?, columns.column_opt(&low)?) {
        (Some(high), Some(low)) => Some([high, low]),
        _ => None,
    })
}

/// Records whose key of this name is one of these.
pub(super) fn sharing(name: &'static str, keys: Keys) -> Box<dyn Query> {
    if keys.is_empty() {
        return Box::new(tantivy::query::EmptyQuery);
    }
    let keys = Arc::new(keys);
    let predicate = FunctionPredicate::from(move |segment: &SegmentReader| {
        let (columns, keys) = (id_columns(segment, name)?, Arc::clone(&keys));
        Ok(move |document: DocId| {
            let Some([high, low]) = &columns else { return false };
            high.first(document).zip(low.first(document)).is_some_and(|id| keys.contains(&id))
        })
    });
    Box::new(DocPredicateQuery::from(predicate))
}
