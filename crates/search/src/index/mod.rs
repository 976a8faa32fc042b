//! The index that answers searches: one per org, kept by each process for itself, and never ahead of or without the
//! sequence it follows.
//!
//! The database is the truth. Whoever follows the sequence hands rows over as they are ([`Index::write`]) with how far that
//! brings the index; searches wait until it has seen what was there when they came. An index that is missing, damaged, of
//! another form or of another database is built anew, beside it, and searches are told so meanwhile.
//!
//! Nothing here reads the database but the heads of the sequence, and nothing runs by itself: `konverse-feed` follows.

mod condition;
mod keeping;
mod kept;
mod leaves;
mod limits;
mod run;
mod schema;
mod slot;
mod threads;
mod top;
mod words;
mod writers;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use konverse_model::OrgId;
use konverse_store::{Position, StoreError};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use kept::{Kept, Unusable};
use limits::Limits;
use slot::Slot;
use threads::{Full, Threads};
use writers::Writers;

pub use kept::Mark;
pub use run::{Found, Start, Ties, Window};
pub use writers::Batch;

/// How long a search waits for an index that is being built: that of a small org is built within it, and nobody has to ask
/// again.
const SMALL: Duration = Duration::from_secs(1);

/// How an index is kept and used.
#[derive(Clone, Debug)]
pub struct Options {
    /// The folder. Several processes may share it: each takes a place of its own in it.
    pub folder: PathBuf,
    /// Searches that run at once.
    pub threads: usize,
    /// Searches that may wait for one of those to end.
    pub waiting: usize,
    /// How long a search may take, its waiting included.
    pub longest: Duration,
    /// Indexes that are held open. Others are opened when they are searched.
    pub open: usize,
}

impl Options {
    /// In this folder, on half of the processors.
    pub fn new(folder: PathBuf) -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self { folder, threads: (processors / 2).max(1), waiting: 64, longest: Duration::from_secs(10), open: 64 }
    }
}

/// Why a search was not answered.
#[derive(Debug, thiserror::Error)]
pub enum SearchError {
    /// The index is being built; so many records are in it.
    #[error("the search index is being built: {0} records are in it so far")]
    Building(u64),
    /// The index has not seen in time what was there before the search.
    #[error("the search index has not caught up in time")]
    Behind,
    /// The index cannot be written at present.
    #[error("the search index cannot be kept up at present")]
    Failing,
    /// As many searches wait as may.
    #[error("too many searches wait already")]
    Busy,
    /// The page lies deeper than pages may; so many rows may lie before its end.
    #[error("a page may end {0} rows deep at most")]
    TooDeep(usize),
    /// A condition on other objects holds for more of them than may be held; so many may be.
    #[error("a condition on related objects holds for more than {0} of them")]
    TooMany(usize),
    /// It took longer than a search may.
    #[error("the search took longer than {} s", .0.as_secs_f64())]
    TooSlow(Duration),
    /// It failed; the text is for the log.
    #[error("the search failed")]
    Failed(String),
    /// The database did not say how far its sequence is.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What went wrong in keeping an index, for the log: it holds no word of any record.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct IndexError(String);

impl From<Unusable> for IndexError {
    fn from(error: Unusable) -> Self {
        Self(error.to_string())
    }
}

/// How an org's index stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nobody has opened it yet.
    Unopened,
    /// It is being built; so many records are in it.
    Building(u64),
    /// It can be searched.
    Ready,
}

#[derive(Clone, Debug)]
struct Standing {
    state: State,
    seen: Position,
    failing: bool,
}

/// An org's index as searches and its follower share it.
struct OrgIndex {
    org: OrgId,
    standing: watch::Sender<Standing>,
    kept: Mutex<Option<Arc<Kept>>>,
    used: AtomicU64,
    /// Searches that wait, and what the furthest of them waits for.
    waiting: AtomicUsize,
    wanted: Mutex<Position>,
    /// A search failed in a way that may be the index's fault.
    suspect: std::sync::atomic::AtomicBool,
    documents: AtomicU64,
    bytes: AtomicU64,
}

/// The indexes of a process.
pub struct Index {
    slot: Slot,
    searching: Threads,
    indexing: Threads,
    writers: Arc<Mutex<Writers>>,
    orgs: Mutex<BTreeMap<OrgId, Arc<OrgIndex>>>,
    woken: Notify,
    uses: AtomicU64,
    longest: Duration,
    open: usize,
}

impl Index {
    /// Takes a place in the folder and starts the threads.
    ///
    /// # Errors
    /// When the folder cannot be made or written to, or threads cannot be started.
    pub fn open(options: Options) -> io::Result<Self> {
        let slot = Slot::take(&options.folder)?;
        // What a process that ended in the middle was building is of no use to anybody.
        for entry in std::fs::read_dir(slot.folder())? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "new") {
                std::fs::remove_dir_all(path)?;
            }
        }
        Ok(Self {
            searching: Threads::start("search", options.threads, options.waiting)?,
            // One at work and one that waits: the follower alone hands work over, one piece after the other.
            indexing: Threads::start("search-index", 1, 1)?,
            writers: Arc::new(Mutex::new(Writers::new(slot.folder()))),
            slot,
            orgs: Mutex::default(),
            woken: Notify::new(),
            uses: AtomicU64::new(0),
            longest: options.longest,
            open: options.open,
        })
    }

    /// How long a search may take.
    pub fn longest(&self) -> Duration {
        self.longest
    }

    /// Waits until an org's index has seen everything before `heads`, and not longer than the limits say.
    async fn caught_up(&self, org: &OrgIndex, heads: &Position, limits: &Limits) -> Result<(), SearchError> {
        let mut standing = org.standing.subscribe();
        let answer = |standing: &Standing| match standing.state {
            State::Ready if standing.seen.covers(heads) => Some(Ok(())),
            _ if standing.failing => Some(Err(SearchError::Failing)),
            _ => None,
        };
        if let Some(answer) = answer(&standing.borrow()) {
            return answer;
        }
        let _waiting = org.wait_for(heads);
        self.woken.notify_one();
        let soon = limits.until().min(std::time::Instant::now() + SMALL);
        let met = standing.wait_for(|standing| answer(standing).is_some());
        if let Ok(Ok(standing)) = tokio::time::timeout_at(soon.into(), met).await {
            return answer(&standing).unwrap_or(Ok(()));
        }
        let is_built = |standing: &Standing| matches!(standing.state, State::Building(_));
        let met = standing.wait_for(|standing| answer(standing).is_some() || is_built(standing));
        match tokio::time::timeout_at(limits.until().into(), met).await {
            Ok(Ok(standing)) => match standing.state {
                State::Building(done) => Err(SearchError::Building(done)),
                _ => answer(&standing).unwrap_or(Ok(())),
            },
            Ok(Err(_)) | Err(_) => Err(SearchError::Behind),
        }
    }

    /// An org's index; nothing is opened for it yet.
    fn org(&self, org: OrgId) -> Arc<OrgIndex> {
        Arc::clone(self.orgs.lock().entry(org).or_insert_with(|| Arc::new(OrgIndex::new(org))))
    }

    /// Notes that an index is used, and closes the one that was not used for the longest time when many are open.
    fn used(&self, org: &OrgIndex) {
        org.used.store(self.uses.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
        let orgs = self.orgs.lock();
        let open = || orgs.values().filter(|org| org.kept.lock().is_some());
        if open().count() > self.open
            && let Some(oldest) = open().min_by_key(|org| org.used.load(Ordering::Relaxed))
        {
            *oldest.kept.lock() = None;
        }
    }
}

impl OrgIndex {
    fn new(org: OrgId) -> Self {
        let standing = Standing { state: State::Unopened, seen: Position::default(), failing: false };
        Self {
            org,
            standing: watch::Sender::new(standing),
            kept: Mutex::default(),
            used: AtomicU64::new(0),
            waiting: AtomicUsize::new(0),
            wanted: Mutex::default(),
            suspect: false.into(),
            documents: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        }
    }

    /// The index, opened if it is not.
    fn kept(&self, slot: &std::path::Path) -> Result<Arc<Kept>, Unusable> {
        let mut kept = self.kept.lock();
        match &*kept {
            Some(kept) => Ok(Arc::clone(kept)),
            None => {
                let opened = Arc::new(Kept::open(&Writers::folder_of(slot, self.org))?);
                *kept = Some(Arc::clone(&opened));
                Ok(opened)
            }
        }
    }

    fn wait_for(&self, heads: &Position) -> Waiting<'_> {
        let mut wanted = self.wanted.lock();
        // Under the lock, so that the last one who goes does not take away what a new one wants.
        self.waiting.fetch_add(1, Ordering::Relaxed);
        wanted.advance_to(heads);
        Waiting(self)
    }
}

/// A search that waits.
struct Waiting<'a>(&'a OrgIndex);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut wanted = self.0.wanted.lock();
        if self.0.waiting.fetch_sub(1, Ordering::Relaxed) == 1 {
            *wanted = Position::default();
        }
    }
}

impl From<Full> for SearchError {
    fn from(_: Full) -> Self {
        Self::Busy
    }
}
