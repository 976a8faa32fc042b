//! Answers that were given, kept for whoever asks the same again. They are proven fresh, not hoped: an answer is given
//! again only at the very version of the customer's timeline it was made at.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

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

/// The part of all that is kept that a single answer may take: one that is large is asked for again seldom, and would
/// drive out many that are.
const LARGEST: usize = 8;

/// Requests of which it is known that they were asked before, about.
const ASKED: usize = 16_384;

/// What was answered, by org and request.
pub(crate) struct Answers(Option<Kept>);

struct Kept {
    answers: Cache<Key, Answer, ByBytes>,
    /// By their hash, the requests asked last: an answer is kept when it is asked for a second time. Somebody who reads
    /// everything once, as an export does, neither pays for keeping nor drives out what others ask for again.
    asked: Box<[AtomicU64]>,
    hasher: RandomState,
}

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
struct Answer {
    version: Version,
    content: Arc<Content>,
}

#[derive(Clone)]
struct ByBytes;

impl Weighter<Key, Answer> for ByBytes {
    fn weight(&self, key: &Key, answer: &Answer) -> u64 {
        weight(&key.target, &answer.content) as u64
    }
}

/// What an answer takes. The compressed forms may come later. What is a picture in base64 shrinks by a quarter in either.
fn weight(target: &str, content: &Content) -> usize {
    ENTRY + target.len() + content.body().len() * 5 / 2
}

impl Answers {
    /// Keeps answers of at most so many bytes; none at all when that is 0.
    pub(crate) fn new(bytes: usize) -> Self {
        let typical = 16 * 1024;
        Self((bytes > 0).then(|| Kept {
            answers: Cache::with_weighter((bytes / typical).max(16), bytes as u64, ByBytes),
            asked: (0..ASKED).map(|_| AtomicU64::new(0)).collect(),
            hasher: RandomState::new(),
        }))
    }

    /// The place of the answer to this request, which is about one customer's timeline and depends on nothing else. There
    /// is none for an actor who holds none of the roles, nor for one from whom something is hidden.
    pub(crate) fn place<'a>(
        &'a self,
        actor: &Actor,
        roles: &[&str],
        about: Option<CustomerId>,
        uri: &'a Uri,
    ) -> Option<Place<'a>> {
        let (kept, version) = (self.0.as_ref()?, actor.seen(about?)?);
        let target = uri.path_and_query()?.as_str();
        (actor.holds_any(roles) && actor.masks.is_none()).then_some(Place {
            kept,
            version,
            wanted: Wanted { org: actor.org, target },
        })
    }
}

/// Where an answer is kept, or would be.
pub(crate) struct Place<'a> {
    kept: &'a Kept,
    version: Version,
    wanted: Wanted<'a>,
}

impl Place<'_> {
    /// The answer, if it was given before and is still right.
    pub(crate) fn answer(&self) -> Option<Arc<Content>> {
        let answer = self.kept.answers.get(&self.wanted);
        answer.filter(|answer| answer.version == self.version).map(|answer| answer.content)
    }

    /// Keeps an answer that was made from what was read after the version was, if it was asked for before.
    pub(crate) fn keep(self, content: &mut Arc<Content>) {
        let hash = self.kept.hasher.hash_one(&self.wanted);
        let asked = &self.kept.asked[hash as usize % ASKED];
        let is_too_large = weight(self.wanted.target, content) as u64 > self.kept.answers.capacity() / LARGEST as u64;
        if asked.swap(hash, Ordering::Relaxed) != hash || is_too_large {
            return;
        }
        // It was built in a buffer with room for more.
        *content = Arc::new(Content::new(Bytes::copy_from_slice(content.body())));
        let key = Key { org: self.wanted.org, target: self.wanted.target.into() };
        self.kept.answers.insert(key, Answer { version: self.version, content: Arc::clone(content) });
    }
}
