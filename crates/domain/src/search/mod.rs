//! Searches (contract `search.md`): what is asked goes to the index, and what it finds is answered with the records as they
//! are now, in the order found.
//!
//! Clients copy an org out by walking it in the order of `updatedAt`. For that order pages end where the time changes, so
//! that one who restarts from the last time seen neither loses a record nor meets the same ones for ever; a record that
//! changed since the index saw it is left to its new place, since the time it shows would be taken for how far the walk is;
//! and whoever follows the pages continues from where the page before ended ([`walks`]), not from a number of rows, which
//! means other rows as soon as a record moves to the end.

mod hidden;
mod saved;
mod walks;

use konverse_model::{Id, Instant, Kind};
use konverse_search::index::{Index, SearchError, Start, Ties, Window};
use konverse_search::{Bound, Node, Object, Op, Query, Test, Value, attribute, parse};
use konverse_store::Row;
use serde_json::{Value as Json, json};

pub use konverse_search::Surface;
pub(crate) use walks::Walks;

use crate::access::permissions::Search;
use crate::{Actor, Authorized, Domain, DomainError};

/// Rows a page may have.
pub const MOST_FOUND: u32 = 500;

/// Pages there are behind the vendor's walls.
const WALL_PAGES: u64 = 100;

/// Milliseconds after its last change for which a record is found behind the vendor's walls: two years.
const WALL_MS: i64 = 2 * 365 * 24 * 3_600_000;

/// Records read at once: they are looked up whole, and one can be megabytes.
const READ_AT_ONCE: usize = 8;

/// How often an answer looks on when all that a page found has moved on or is gone.
const LOOKS: usize = 8;

/// What bounds searches beside what they ask.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Walls {
    /// Nothing.
    #[default]
    None,
    /// What bounds the vendor's: a hundred pages, and records that changed within two years.
    Vendor,
}

/// A search.
#[derive(Debug)]
pub struct SearchRequest {
    /// Which of the two searches.
    pub surface: Surface,
    /// Its body.
    pub body: Json,
    /// Which page, from 1.
    pub page: u64,
    /// Rows a page, [`MOST_FOUND`] at most; 0 asks for the total alone.
    pub page_size: u32,
    /// What is shown of what it finds.
    pub shown: Shown,
}

/// What is shown of the records found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// Their types and ids.
    Ids,
    /// All of them.
    Records,
    /// All of them, and the customers they belong to.
    WithCustomers,
}

/// What a search found.
#[derive(Debug)]
pub struct SearchPage {
    /// The rows' texts, joined by commas.
    pub rows: Vec<u8>,
    /// The texts of the customers they belong to, each once, joined by commas; none unless they were asked for.
    pub customers: Vec<u8>,
    /// How many records there are in all.
    pub total: u64,
    /// Whether others follow.
    pub more: bool,
}

impl Domain {
    /// Searches the org.
    pub async fn search(&self, auth: &Authorized<Search>, request: SearchRequest) -> Result<SearchPage, DomainError> {
        self.answered(auth.actor(), request).await
    }

    /// The same for someone of whom it is known that they may ask.
    async fn answered(&self, actor: &Actor, request: SearchRequest) -> Result<SearchPage, DomainError> {
        let SearchRequest { surface, body, page, page_size, shown } = request;
        let mut query = parse(&body, surface).map_err(DomainError::Invalid)?;
        hidden::settle(&mut query, actor)?;
        if self.settings.search_walls == Walls::Vendor {
            if page > WALL_PAGES {
                let message = format!("must not be greater than {WALL_PAGES}");
                return Err(DomainError::Parameter { name: "page", message });
            }
            let since = self.now().plus(-WALL_MS);
            if surface == Surface::Live
                && let Some(within) = changed(query.object, since)
            {
                query.restrict(within);
            }
        }
        if query.object.kind().is_none() {
            return Ok(SearchPage { rows: Vec::new(), customers: Vec::new(), total: 0, more: false });
        }
        let Some(index) = &self.search else {
            return Err(DomainError::NotServed("search is switched off here"));
        };
        // All that it takes: an answer may look on several times, and reads records beside.
        match tokio::time::timeout(index.longest(), self.found(index, actor, query, page, page_size, shown)).await {
            Ok(found) => found,
            Err(_) => Err(refusal(SearchError::TooSlow(index.longest()))),
        }
    }

    async fn found(
        &self,
        index: &Index,
        actor: &Actor,
        query: Query,
        page: u64,
        page_size: u32,
        shown: Shown,
    ) -> Result<SearchPage, DomainError> {
        let is_walk = is_walk(&query);
        let walk = is_walk.then(|| self.walks.walk(actor, &query, page_size));
        let limit = page_size as usize;
        let continued = walk.filter(|_| page > 1).and_then(|walk| self.walks.end_of(walk, page - 1, self.now()));
        let mut start = match continued {
            Some(time) => Start::After(time),
            None => Start::Offset(usize::try_from(page - 1).unwrap_or(usize::MAX).saturating_mul(limit)),
        };
        let ties = if is_walk { Ties::Whole } else { Ties::Cut };
        let mut rows = Vec::new();
        for _ in 0..LOOKS {
            let window = Window { start, limit, ties };
            let found = index.search(&*self.store, actor.org, &query, window).await.map_err(refusal)?;
            let owners =
                self.read_found(actor, &query, &found.ids, found.through.filter(|_| is_walk), shown, &mut rows).await?;
            let more = found.more && limit > 0;
            if rows.is_empty() && more {
                // A page in the middle is never empty: who walks would take it for the end.
                start = match (found.through, start) {
                    (Some(through), _) if is_walk => Start::After(through),
                    (_, Start::Offset(offset)) => Start::Offset(offset.saturating_add(limit)),
                    (_, start) => start,
                };
                continue;
            }
            if let Some((walk, through)) = walk.zip(found.through.filter(|_| more)) {
                self.walks.note(walk, page, through, self.now());
            }
            let customers = self.customers_of(actor, &query, &owners, rows.len()).await?;
            return Ok(SearchPage { rows, customers, total: found.total, more });
        }
        Err(DomainError::Busy)
    }

    /// Appends the records with these ids, and says which customers come along, each once. Of a walk, `through` is the time
    /// its page ends with: what shows a later one was changed since, and will be met there.
    async fn read_found(
        &self,
        actor: &Actor,
        query: &Query,
        ids: &[Id],
        through: Option<Instant>,
        shown: Shown,
        rows: &mut Vec<u8>,
    ) -> Result<Vec<Id>, DomainError> {
        let mut owners = Vec::new();
        let Some(kind) = query.object.kind() else { return Ok(owners) };
        let room = self.settings.answer;
        if shown == Shown::Ids {
            for id in ids {
                self.append(rows, &json!({ "type": kind.name(), "id": id }).to_string(), room)?;
            }
            return Ok(owners);
        }
        for ids in ids.chunks(READ_AT_ONCE) {
            for row in self.store.get_many(actor.org, kind, ids).await? {
                if !row.shows() && !query.include_deleted || through.is_some_and(|through| row.updated_at > through) {
                    continue;
                }
                let owner = row.customer.map(Id::from).filter(|_| shown == Shown::WithCustomers);
                owners.extend(owner.filter(|owner| !owners.contains(owner)));
                self.append(rows, &as_found(actor, kind, row)?, room)?;
            }
        }
        Ok(owners)
    }

    /// The texts of the customers that come along with rows of so many bytes.
    async fn customers_of(
        &self,
        actor: &Actor,
        query: &Query,
        ids: &[Id],
        rows: usize,
    ) -> Result<Vec<u8>, DomainError> {
        let mut customers = Vec::new();
        let room = self.settings.answer.saturating_sub(rows);
        for ids in ids.chunks(READ_AT_ONCE) {
            for row in self.store.get_many(actor.org, Kind::Customer, ids).await? {
                if row.shows() || query.include_deleted {
                    self.append(&mut customers, &as_found(actor, Kind::Customer, row)?, room)?;
                }
            }
        }
        Ok(customers)
    }

    /// Appends a text to others, as long as there is room for it.
    fn append(&self, texts: &mut Vec<u8>, text: &str, room: usize) -> Result<(), DomainError> {
        if texts.len() + text.len() > room {
            return Err(self.settings.too_large("pageSize", "ask for fewer rows a page"));
        }
        if !texts.is_empty() {
            texts.push(b',');
        }
        texts.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

/// A record as a searcher sees it.
fn as_found(actor: &Actor, kind: Kind, row: Row) -> Result<String, DomainError> {
    let text = if row.shows() { row.doc } else { deleted(&row)? };
    actor.shown(kind, text)
}

/// Whether pages are what a walker asks for: in the order of the last change, the oldest first.
fn is_walk(query: &Query) -> bool {
    let name = format!("{}_updated_at", query.object.prefix());
    matches!(query.sort.as_slice(), [sort] if !sort.descending && sort.attribute.name == name)
}

/// Records that changed at or after a time.
fn changed(object: Object, since: Instant) -> Option<Node> {
    let attribute = attribute(&format!("{}_updated_at", object.prefix()))?;
    let from = Some(Bound { value: Value::Instant(since), inclusive: true });
    Some(Node::Test(Test { attribute, negated: false, op: Op::Within { from, to: None } }))
}

/// A deleted record's text says so; what was deleted with something else was not written for that.
fn deleted(row: &Row) -> Result<String, DomainError> {
    let mut record: Json = serde_json::from_str(&row.doc)?;
    if let Some(attributes) = record.get_mut("attributes").and_then(Json::as_object_mut) {
        attributes.insert("deleted".to_owned(), Json::Bool(true));
    }
    Ok(record.to_string())
}

/// What the index could not do, in the terms of the rules.
fn refusal(error: SearchError) -> DomainError {
    let text = error.to_string();
    match error {
        SearchError::Building(_) | SearchError::Behind | SearchError::Failing | SearchError::Busy => {
            DomainError::NotYet(text)
        }
        SearchError::TooSlow(_) => DomainError::NotYet(format!("{text}; ask for less, or later")),
        SearchError::TooDeep(_) => DomainError::Parameter { name: "page", message: format!("lies too deep: {text}") },
        SearchError::TooMany(_) => DomainError::invalid("", format!("asks for too much: {text}")),
        SearchError::Failed(text) => DomainError::internal(text),
        SearchError::Store(error) => error.into(),
    }
}
