//! Where the pages of walks ended, so that the next one continues there.
//!
//! A link has the number of its page and nothing else, as clients expect it. By that number alone a page would begin after
//! so many rows, and each record that is changed meanwhile, and so moves to the end, would make another one be passed over.
//! What is kept here may be lost at any time (another process answers, the server was started anew): then the number counts.

use std::hash::{BuildHasher, RandomState};

use konverse_model::Instant;
use konverse_search::Query;
use quick_cache::sync::Cache;

use crate::Actor;

/// Ends of pages that are kept.
const MOST: usize = 10_000;

/// Milliseconds for which they are.
const KEPT_MS: i64 = 15 * 60_000;

/// Somebody's walk: who asks, for what, in pages of which size.
#[derive(Clone, Copy, Debug)]
pub(super) struct Walk(u64);

/// Where pages ended.
pub(crate) struct Walks {
    ends: Cache<(u64, u64), End>,
    hasher: RandomState,
}

#[derive(Clone, Copy)]
struct End {
    time: Instant,
    noted: Instant,
}

impl Default for Walks {
    fn default() -> Self {
        Self { ends: Cache::new(MOST), hasher: RandomState::new() }
    }
}

impl Walks {
    /// The walk that a page is of.
    pub(super) fn walk(&self, actor: &Actor, query: &Query, page_size: u32) -> Walk {
        Walk(self.hasher.hash_one((actor.org, actor.user, actor.token, format!("{query:?}"), page_size)))
    }

    /// The time of the last record of a page, if it was answered not long ago.
    pub(super) fn end_of(&self, walk: Walk, page: u64, now: Instant) -> Option<Instant> {
        self.ends.get(&(walk.0, page)).filter(|end| end.is_kept(now)).map(|end| end.time)
    }

    /// Notes the time of the last record of a page. Two who walk the same way at once are not told apart: the earlier end
    /// counts, so that neither passes anything over.
    pub(super) fn note(&self, walk: Walk, page: u64, time: Instant, now: Instant) {
        let key = (walk.0, page);
        let kept = self.ends.get(&key).filter(|end| end.is_kept(now));
        let time = kept.map_or(time, |end| end.time.min(time));
        self.ends.insert(key, End { time, noted: now });
    }
}

impl End {
    fn is_kept(&self, now: Instant) -> bool {
        now >= self.noted && now.since(self.noted) < KEPT_MS
    }
}
