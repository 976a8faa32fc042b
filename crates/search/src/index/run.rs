//! Answering a search from an org's index: all that is found is counted, and the rows of the page are the exact ones.

use std::cell::Cell;
use std::sync::Arc;

use konverse_model::{Id, Instant, OrgId};
use konverse_store::Events;
use tantivy::fastfield::AliveBitSet;
use tantivy::query::{EnableScoring, Query as LibraryQuery, Scorer};
use tantivy::{COLLECT_BLOCK_BUFFER_LEN, DocId, Searcher, SegmentReader};

use super::condition::Conditions;
use super::kept::Kept;
use super::leaves::id_columns;
use super::limits::Limits;
use super::top::{Entry, Placed, Step, Top, merged, rows};
use super::{Index, SearchError};
use crate::{Class, Query, Sort};

/// How deep a page may end: the rows before its end are held while it is looked for.
pub(super) const DEEPEST: usize = 500_000;

/// The same in the order of texts, which take far more room: as deep as the vendor's hundred pages of 500 go.
const DEEPEST_BY_TEXT: usize = 50_000;

/// How far the end of a page goes on for rows that tie. Writes give one moment to fewer of a kind.
const TIES: usize = 64;

/// Blocks of documents between two looks at the clock.
const BLOCKS: usize = 64;

/// Where pages end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ties {
    /// Wherever their rows are full.
    Cut,
    /// Where the order changes: a page goes on to the end of a run of rows that nothing but their ids tells apart, and the
    /// next one begins after it.
    Whole,
}

/// Where a page begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// After so many rows.
    Offset(usize),
    /// In the ascending order of one time: after the rows of this time. They count all the same.
    After(Instant),
}

/// Which of the rows found are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Where the page begins.
    pub start: Start,
    /// So many rows; none where only the count is wanted.
    pub limit: usize,
    /// Where pages end.
    pub ties: Ties,
}

impl Window {
    fn offset(&self) -> usize {
        match self.start {
            Start::Offset(offset) => offset,
            Start::After(_) => 0,
        }
    }
}

/// What a search found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The records of the page, in their order.
    pub ids: Vec<Id>,
    /// How many records there are in all.
    pub total: u64,
    /// Whether others follow after the page.
    pub more: bool,
    /// In the ascending order of one time: that of the page's last row, where no row beyond the page has it as well.
    pub through: Option<Instant>,
}

impl Index {
    /// Searches an org. What was committed before is found; `events` tells how far that is.
    ///
    /// It ends when its time is over, or when this is dropped.
    ///
    /// # Errors
    /// See [`SearchError`].
    pub async fn search(
        &self,
        events: &dyn Events,
        org: OrgId,
        query: &Query,
        window: Window,
    ) -> Result<Found, SearchError> {
        let asked = std::time::Instant::now();
        let found = self.answer(events, org, query, window).await;
        let outcome = match &found {
            Ok(_) => "answered",
            Err(SearchError::TooDeep(_) | SearchError::TooMany(_)) => "refused",
            Err(SearchError::TooSlow(_)) => "too slow",
            Err(SearchError::Busy | SearchError::Behind | SearchError::Building(_) | SearchError::Failing) => "not now",
            Err(SearchError::Failed(_) | SearchError::Store(_)) => "failed",
        };
        metrics::counter!("konverse_searches_total", "outcome" => outcome).increment(1);
        metrics::histogram!("konverse_search_seconds").record(asked.elapsed().as_secs_f64());
        found
    }

    async fn answer(
        &self,
        events: &dyn Events,
        org: OrgId,
        query: &Query,
        window: Window,
    ) -> Result<Found, SearchError> {
        let is_short = |sort: &Sort| matches!(sort.attribute.class, Class::Number | Class::Datetime | Class::Boolean);
        let deepest = if query.sort.iter().all(is_short) { DEEPEST } else { DEEPEST_BY_TEXT };
        if window.offset().saturating_add(window.limit) > deepest {
            return Err(SearchError::TooDeep(deepest));
        }
        let (limits, caller) = Limits::new(self.longest);
        let heads = events.heads(org).await?.into_iter().collect();
        let shared = self.org(org);
        self.caught_up(&shared, &heads, &limits).await?;
        self.used(&shared);
        let (slot, query) = (self.slot.folder().to_owned(), query.clone());
        let (of, within) = (Arc::clone(&shared), limits.clone());
        let work = move || {
            // It may have waited for its turn for as long as it could.
            within.check()?;
            let kept = of.kept(&slot).map_err(|unusable| SearchError::Failed(unusable.to_string()))?;
            search(&kept, &query, window, &within)
        };
        let found = match tokio::time::timeout_at(limits.until().into(), self.searching.hand(work)?).await {
            Ok(Ok(found)) => found,
            Ok(Err(_)) => Err(SearchError::Failed("it panicked; standard error says where".into())),
            // Its turn did not come, or it does not look at the clock where it is.
            Err(_) => Err(SearchError::TooSlow(self.longest)),
        };
        let found = found.map_err(|error| match error {
            // What the library says of a search that was ended.
            SearchError::Failed(_) if limits.check().is_err() => SearchError::TooSlow(self.longest),
            error => error,
        });
        drop(caller);
        if let Err(SearchError::Failed(why)) = &found {
            tracing::error!(%org, "a search failed, and its index is looked at: {why}");
            shared.suspect.store(true, std::sync::atomic::Ordering::Relaxed);
            self.woken.notify_one();
        }
        found
    }
}

/// Answers a query from an index as it is.
pub(super) fn search(kept: &Kept, query: &Query, window: Window, limits: &Limits) -> Result<Found, SearchError> {
    let searcher = kept.reader.searcher();
    let conditions = Conditions {
        searcher: &searcher,
        fields: kept.fields,
        deleted: query.include_deleted,
        limits,
        held: Cell::default(),
    };
    let condition = conditions.of(query.object, &query.filter)?;
    match query.sort.len() {
        0 => ordered::<0>(&searcher, &*condition, &query.sort, window, limits),
        1 => ordered::<1>(&searcher, &*condition, &query.sort, window, limits),
        2 => ordered::<2>(&searcher, &*condition, &query.sort, window, limits),
        3 => ordered::<3>(&searcher, &*condition, &query.sort, window, limits),
        4 => ordered::<4>(&searcher, &*condition, &query.sort, window, limits),
        // There are no more: the parser sees to it.
        _ => ordered::<5>(&searcher, &*condition, &query.sort, window, limits),
    }
}

fn ordered<const N: usize>(
    searcher: &Searcher,
    condition: &dyn LibraryQuery,
    sort: &[Sort],
    window: Window,
    limits: &Limits,
) -> Result<Found, SearchError> {
    let sort: &[Sort; N] = sort.first_chunk().ok_or_else(|| SearchError::Failed("an order of other length".into()))?;
    let is_by_text =
        sort.iter().any(|sort| !matches!(sort.attribute.class, Class::Number | Class::Datetime | Class::Boolean));
    let most = match (window.limit, window.ties) {
        (0, _) => 0,
        (limit, Ties::Cut) => window.offset() + limit,
        (limit, Ties::Whole) => window.offset() + limit + TIES,
    };
    let is_timely =
        matches!(sort.as_slice(), [Sort { attribute, descending: false }] if attribute.class == Class::Datetime);
    let after = match window.start {
        Start::Offset(_) => None,
        Start::After(time) if is_timely => Some(time),
        Start::After(_) => return Err(SearchError::Failed("an order of something else begins after a time".into())),
    };
    let (mut total, mut top, mut by_text) = (0, Top::<N>::of(most, after), Vec::new());
    for found in found(searcher, condition, limits)? {
        let (segment, documents) = found?;
        let steps = sort.iter().map(|sort| Step::open(segment, sort)).collect::<Result<Vec<_>, _>>()?;
        let Ok(steps) = <[Step; N]>::try_from(steps) else { continue };
        let Some(ids) = id_columns(segment, "id")? else { continue };
        documents.each(|document| {
            total += 1;
            top.add(&steps, &ids, document);
            Ok(())
        })?;
        if is_by_text {
            let here = std::mem::replace(&mut top, Top::of(most, after));
            by_text = merged(by_text, rows(here.sorted(), &steps)?, most);
        }
    }
    if is_by_text {
        return Ok(page(&by_text, total, window).0);
    }
    let left = total - top.passed();
    let rows = top.sorted();
    let (mut found, last) = page(&rows, left, window);
    found.total = total;
    if is_timely {
        found.through = last.and_then(Entry::time);
    }
    Ok(found)
}

/// The page, and its last row where that is told from the next one by more than its id.
fn page<R: Placed>(rows: &[R], total: u64, window: Window) -> (Found, Option<&R>) {
    // The same for the end of a page and for the beginning of the next one.
    let edge = |row: usize| {
        let row = row.min(rows.len());
        if window.ties == Ties::Cut || row == 0 {
            return row;
        }
        let ties = rows[row - 1..].windows(2).take(TIES + 1).take_while(|pair| pair[0].ties_with(&pair[1])).count();
        if ties > TIES { row } else { row + ties }
    };
    let (from, to) = (edge(window.offset()), edge(window.offset() + window.limit));
    let ids = rows[from..to].iter().map(Placed::id).collect();
    let last = rows[from..to].last().filter(|last| match rows.get(to) {
        Some(next) => !last.ties_with(next),
        // As many as were looked for are held: what follows is not known unless nothing does.
        None => total == to as u64,
    });
    (Found { ids, total, more: total > to as u64, through: None }, last)
}

/// What a query finds in one segment.
pub(super) struct Documents<'a> {
    scorer: Box<dyn Scorer>,
    alive: Option<&'a AliveBitSet>,
    limits: &'a Limits,
}

impl Documents<'_> {
    /// Does something with each of them.
    pub(super) fn each(mut self, mut work: impl FnMut(DocId) -> Result<(), SearchError>) -> Result<(), SearchError> {
        let mut block = [0; COLLECT_BLOCK_BUFFER_LEN];
        for n in 0_usize.. {
            if n.is_multiple_of(BLOCKS) {
                self.limits.check()?;
            }
            let count = self.scorer.fill_buffer(&mut block);
            for document in &block[..count] {
                if self.alive.is_none_or(|alive| alive.is_alive(*document)) {
                    work(*document)?;
                }
            }
            if count < block.len() {
                break;
            }
        }
        Ok(())
    }
}

/// What a query finds, segment by segment.
pub(super) fn found<'a>(
    searcher: &'a Searcher,
    query: &dyn LibraryQuery,
    limits: &'a Limits,
) -> Result<impl Iterator<Item = Result<(&'a SegmentReader, Documents<'a>), SearchError>>, SearchError> {
    let weight = query.weight(EnableScoring::disabled_from_searcher(searcher))?;
    Ok(searcher.segment_readers().iter().map(move |segment| {
        limits.check()?;
        let scorer = weight.scorer(segment, 1.0)?;
        Ok((segment, Documents { scorer, alive: segment.alive_bitset(), limits }))
    }))
}

impl From<tantivy::TantivyError> for SearchError {
    fn from(error: tantivy::TantivyError) -> Self {
        Self::Failed(error.to_string())
    }
}
