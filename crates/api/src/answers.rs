//! Answers that were given, kept for whoever asks the same again. They are proven fresh, not hoped: an answer is given
//! again only at the very version of the customer's timeline it was made at.

use std::sync::Arc;

use axum::http::Uri;
use bytes::Bytes;
use equivalent::Equivalent;
use konverse_domain::{Actor, Version};
use konverse_model::{CustomerId, OrgId};
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use crate::content::Content;

/// What an entry takes beside its texts, about.
const ENTRY: usize = 512;

/// What was answered, by org and request.
pub(crate) struct Answers(Option<Cache<Key, Kept, ByBytes>>);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    org: OrgId,
    target: Box<str>,
}

#[derive(Hash)]
struct Wanted<'a> {
    org: OrgId,
    target: &'a str,
}

impl Equivalent<Key> for Wanted<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        self.org == key.org && self.target == &*key.target
    }
}

#[derive(Clone)]
struct Kept {
    version: Version,
    content: Arc<Content>,
}

#[derive(Clone)]
struct ByBytes;

impl Weighter<Key, Kept> for ByBytes {
    fn weight(&self, key: &Key, kept: &Kept) -> u64 {
        // The compressed forms may come later. Together they are seldom as much as a half of the text.
        let body = kept.content.body().len();
        (ENTRY + key.target.len() + body + body / 2) as u64
    }
}

impl Answers {
    /// Keeps answers of at most so many bytes; none at all when that is 0.
    pub(crate) fn new(bytes: usize) -> Self {
        let typical = 16 * 1024;
        Self((bytes > 0).then(|| Cache::with_weighter((bytes / typical).max(16), bytes as u64, ByBytes)))
    }

    /// The place of the answer to this request, which is about one customer's timeline and depends on nothing else. There
    /// is none for an actor who holds none of the roles.
    pub(crate) fn place<'a>(
        &'a self,
        actor: &Actor,
        roles: &[&str],
        about: Option<CustomerId>,
        uri: &'a Uri,
    ) -> Option<Place<'a>> {
        let (cache, version) = (self.0.as_ref()?, actor.seen(about?)?);
        let target = uri.path_and_query()?.as_str();
        actor.holds_any(roles).then_some(Place { cache, version, wanted: Wanted { org: actor.org, target } })
    }
}

/// Where an answer is kept, or would be.
pub(crate) struct Place<'a> {
    cache: &'a Cache<Key, Kept, ByBytes>,
    version: Version,
    wanted: Wanted<'a>,
}

impl Place<'_> {
    /// The answer, if it was given before and is still right.
    pub(crate) fn answer(&self) -> Option<Arc<Content>> {
        self.cache.get(&self.wanted).filter(|kept| kept.version == self.version).map(|kept| kept.content)
    }

    /// Keeps an answer that was made from what was read after the version was.
    pub(crate) fn keep(self, content: &mut Arc<Content>) {
        // It was built in a buffer with room for more.
        *content = Arc::new(Content::new(Bytes::copy_from_slice(content.body())));
        let key = Key { org: self.wanted.org, target: self.wanted.target.into() };
        self.cache.insert(key, Kept { version: self.version, content: Arc::clone(content) });
    }
}
