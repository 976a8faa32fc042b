//! Lists over HTTP: page parameters, links, the envelope (contract README §7, `conversation-list.md` §2).

use std::fmt::Write as _;
use std::io::Write as _;

use konverse_domain::{Field, ListPage, ListRequest, Order, SearchPage, WholePage};
use konverse_model::CursorError;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use crate::answer::Json;
use crate::error::ApiError;
use crate::extract::Query;

/// Rows a page when no number is asked for.
const PAGE_SIZE: u32 = 100;

/// Largest page of most lists; larger requests are cut to it, and the answer says so.
pub(crate) const MOST: u32 = 100;

/// Largest page of users and teams.
pub(crate) const MOST_OF_DIRECTORY: u32 = 500;

/// What a query value may not contain as it is. `:` and `.` stay, as in the vendor's links; `+` would read as a space.
const ILLEGAL: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'<')
    .add(b'>')
    .add(b'&')
    .add(b'+')
    .add(b'%')
    .add(b'=')
    .add(b'\\')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// A list being answered: its path, page and further parameters.
pub(crate) struct Paging {
    path: String,
    page: u64,
    page_size: u32,
    cursor: Option<String>,
    /// `&name=value` of the further parameters that take part, in order.
    extra: String,
}

impl Paging {
    /// Reads `page`, `pageSize` and `cursor`; pages are cut to `most` rows.
    pub(crate) fn of(query: &Query, most: u32) -> Result<Self, ApiError> {
        let page = query.number("page", 1)?.unwrap_or(1);
        let page_size = query.number("pageSize", 0)?.unwrap_or(u64::from(PAGE_SIZE));
        let page_size = u32::try_from(page_size).unwrap_or(u32::MAX).min(most);
        Ok(Self { path: query.path().to_owned(), page, page_size, cursor: query.get("cursor"), extra: String::new() })
    }

    /// The same for a list that is known whole. Its pages are found by number alone, so no cursor is one of its own.
    pub(crate) fn of_whole(query: &Query, most: u32) -> Result<Self, ApiError> {
        let paging = Self::of(query, most)?;
        match paging.cursor {
            None => Ok(paging),
            Some(_) => Err(ApiError::parameter("cursor", &CursorError.to_string())),
        }
    }

    /// The paging of a list that is not asked for by a query.
    pub(crate) fn given(path: String, page: u64, page_size: Option<u64>) -> Self {
        let page_size = u32::try_from(page_size.unwrap_or(u64::from(PAGE_SIZE))).unwrap_or(u32::MAX).min(MOST);
        Self { path, page, page_size, cursor: None, extra: String::new() }
    }

    /// Adds a parameter that takes part in the list, so that the links repeat it.
    pub(crate) fn repeat(&mut self, name: &str, value: &str) {
        let _ = write!(self.extra, "&{}={}", utf8_percent_encode(name, ILLEGAL), utf8_percent_encode(value, ILLEGAL));
    }

    /// Reads `sort`, which the links repeat. The words of the vendor's org lists mean the order of creation.
    pub(crate) fn sort(&mut self, query: &Query) -> Result<Option<Order>, ApiError> {
        let Some(sort) = query.get("sort") else { return Ok(None) };
        let (field, descending) = match sort.trim_start_matches([' ', '+']) {
            "createdAt" | "asc" => (Field::CreatedAt, false),
            "-createdAt" | "desc" => (Field::CreatedAt, true),
            "updatedAt" => (Field::UpdatedAt, false),
            "-updatedAt" => (Field::UpdatedAt, true),
            _ => {
                let message =
                    "must be createdAt or updatedAt, with - before it for newest first; asc and desc mean creation";
                return Err(ApiError::parameter("sort", message));
            }
        };
        self.repeat("sort", &sort);
        Ok(Some(Order { field, descending }))
    }

    /// What to ask the domain for. The answer is built in place: it begins with `meta` and the opening of `data`.
    pub(crate) fn request(&self) -> ListRequest {
        // Room for half a dozen ordinary conversations: most answers fit, and none asks for much more than it needs.
        let mut buffer = Vec::with_capacity(1024 + self.page_size.min(6) as usize * 4096);
        self.open(&mut buffer);
        self.request_into(buffer)
    }

    fn open(&self, body: &mut Vec<u8>) {
        // Writing to memory does not fail.
        let _ = write!(body, "{{\"meta\":{{\"pageSize\":{},\"page\":{}}},\"data\":[", self.page_size, self.page);
    }

    /// The same, with the rows' texts appended to `buffer` and nothing else.
    pub(crate) fn request_into(&self, buffer: Vec<u8>) -> ListRequest {
        ListRequest { page: self.page, page_size: self.page_size, cursor: self.cursor.clone(), buffer }
    }

    pub(crate) const fn page(&self) -> u64 {
        self.page
    }

    pub(crate) const fn page_size(&self) -> u32 {
        self.page_size
    }

    fn link(&self, page: u64, cursor: Option<&str>) -> String {
        let mut link = String::with_capacity(192);
        let _ = write!(link, "{}?page={page}&pageSize={}{}", self.path, self.page_size, self.extra);
        if let Some(cursor) = cursor {
            let _ = write!(link, "&cursor={}", utf8_percent_encode(cursor, ILLEGAL));
        }
        link
    }

    /// The links of a page: self, first, prev, next.
    pub(crate) fn links(&self, page: &ListPage) -> [(&'static str, Option<String>); 4] {
        let next = page.next.map(|cursor| self.link(self.page.saturating_add(1), Some(&cursor.to_string())));
        self.links_with(page.prev.map(|cursor| cursor.to_string()).as_deref(), next)
    }

    fn links_with(&self, before: Option<&str>, next: Option<String>) -> [(&'static str, Option<String>); 4] {
        let prev = match self.page {
            1 => None,
            2 => Some(self.link(1, None)),
            number => Some(self.link(number - 1, before)),
        };
        [
            ("self", Some(self.link(self.page, self.cursor.as_deref()))),
            ("first", Some(self.link(1, None))),
            ("prev", prev),
            ("next", next),
        ]
    }

    /// The answer: closes what [`Paging::request`] opened.
    pub(crate) fn answer(&self, mut page: ListPage) -> Json {
        let mut body = std::mem::take(&mut page.buffer);
        close(&mut body, &self.links(&page));
        Json::of(body)
    }

    /// The same, with records that come along: texts, joined by commas.
    pub(crate) fn answer_including(&self, mut page: ListPage, included: &str) -> Json {
        let mut body = std::mem::take(&mut page.buffer);
        close(&mut body, &self.links(&page));
        include(&mut body, included.as_bytes());
        Json::of(body)
    }

    fn pages(&self, total: u64) -> u64 {
        // There is always a first page. Pages of no rows would never end, so they count as that one alone.
        match self.page_size {
            0 => 1,
            size => total.div_ceil(size.into()).max(1),
        }
    }

    /// The answer of a list whose total is known: `total` and `totalPages` in `meta`, and a link to the last page.
    pub(crate) fn answer_with_total(&self, mut page: ListPage, total: u64) -> Json {
        let pages = self.pages(total);
        let head = format!(
            "{{\"meta\":{{\"pageSize\":{},\"page\":{},\"total\":{total},\"totalPages\":{pages}}},\"data\":[",
            self.page_size, self.page
        );
        // In place: the rows may be many megabytes.
        let mut body = std::mem::take(&mut page.buffer);
        body.splice(0..0, head.into_bytes());
        let mut links = self.links(&page).to_vec();
        links.push(("last", Some(self.link(pages, None))));
        close(&mut body, &links);
        Json::of(body)
    }

    /// The answer of a search (contract `search.md` §6), its total counted up to `most`.
    pub(crate) fn answer_found(&self, found: SearchPage, most: u64) -> Json {
        Json::of(self.found(found, most))
    }

    /// The same, with the customers that come along.
    pub(crate) fn answer_found_including(&self, mut found: SearchPage, most: u64) -> Json {
        let customers = std::mem::take(&mut found.customers);
        let mut body = self.found(found, most);
        include(&mut body, &customers);
        Json::of(body)
    }

    fn found(&self, found: SearchPage, most: u64) -> Vec<u8> {
        let total = found.total.min(most);
        let pages = self.pages(total);
        let head = format!(
            "{{\"meta\":{{\"pageSize\":{},\"page\":{},\"total\":{total},\"totalPages\":{pages},\"aggregations\":{{}},\
             \"timed_out\":false}},\"data\":[",
            self.page_size, self.page
        );
        let mut body = found.rows;
        body.splice(0..0, head.into_bytes());
        let next = found.more.then(|| self.link(self.page.saturating_add(1), None));
        let mut links = self.links_with(None, next).to_vec();
        links.push(("last", Some(self.link(pages, None))));
        close(&mut body, &links);
        body
    }

    /// The answer of a list that is known whole: closes what [`Paging::request`] opened.
    pub(crate) fn answer_whole(&self, page: WholePage) -> Json {
        let mut body = page.buffer;
        let next = page.more.then(|| self.link(self.page.saturating_add(1), None));
        close(&mut body, &self.links_with(None, next));
        Json::of(body)
    }
}

fn close(body: &mut Vec<u8>, links: &[(&str, Option<String>)]) {
    body.extend_from_slice(b"],\"links\":{");
    for (n, (name, link)) in links.iter().enumerate() {
        if n > 0 {
            body.push(b',');
        }
        let _ = write!(body, "\"{name}\":");
        // A path is repeated as it was sent, and may hold what JSON has to escape.
        let _ = serde_json::to_writer(&mut *body, link);
    }
    body.extend_from_slice(b"}}");
}

/// Adds records that come along, texts joined by commas, to a closed document.
fn include(body: &mut Vec<u8>, texts: &[u8]) {
    // Before the end of the document.
    body.pop();
    body.extend_from_slice(b",\"included\":[");
    body.extend_from_slice(texts);
    body.extend_from_slice(b"]}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    /// Paths and cursors are checked before they get here. Should a check be forgotten, the answer is still JSON.
    #[test]
    fn links_are_json_whatever_is_in_them() {
        let hostile = "\",\"x\":\"\\\n&page=9";
        let mut paging = Paging::given(format!("/v1/{hostile}"), 1, Some(2));
        paging.cursor = Some(hostile.to_owned());
        paging.repeat(hostile, hostile);
        let page = WholePage { buffer: paging.request().buffer, more: false };
        let document: Value = serde_json::from_slice(paging.answer_whole(page).content().body()).unwrap();
        let links = document["links"].as_object().unwrap();
        assert_eq!(links.len(), 4);
        let (path, query) = links["self"].as_str().unwrap().split_once('?').unwrap();
        assert_eq!(path, format!("/v1/{hostile}"));
        let query = Query::parse(path, query);
        assert_eq!((query.get("cursor").as_deref(), query.get(hostile).as_deref()), (Some(hostile), Some(hostile)));
        assert_eq!(query.get("page").as_deref(), Some("1"));
    }
}
