//! A search index that follows a store while a test runs.

use std::path::Path;
use std::sync::Arc;

use konverse_feed::Indexing;
use konverse_jobs::Rounds;
use konverse_search::index::{Index, Options};
use konverse_store::Store;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// An index and what keeps it with the sequence, as one process has them. It is followed until this is dropped.
pub struct Searching {
    /// The index.
    pub index: Arc<Index>,
    stop: watch::Sender<bool>,
    /// Moves with the changes of the process; there are none.
    _changed: watch::Sender<u64>,
    following: JoinHandle<()>,
}

impl Searching {
    /// In a folder, over what `store` has.
    ///
    /// # Panics
    /// When the folder cannot be written to.
    pub fn start(store: Arc<dyn Store>, folder: &Path) -> Self {
        Self::start_with(store, Options::new(folder.to_owned()))
    }

    /// The same with these options.
    ///
    /// # Panics
    /// When the folder cannot be written to.
    pub fn start_with(store: Arc<dyn Store>, options: Options) -> Self {
        let index = Arc::new(Index::open(options).expect("the folder can be written to"));
        let ((stop, stopped), (changed, changes)) = (watch::channel(false), watch::channel(0));
        let mut indexing = Indexing::new(Arc::clone(&index), store);
        let following = async move { indexing.run(changes, &Rounds::default(), stopped).await };
        Self { index, stop, _changed: changed, following: tokio::spawn(following) }
    }

    /// Ends, so that its place in the folder is free.
    ///
    /// # Panics
    /// When somebody else still has the index.
    pub async fn end(self) {
        self.stop.send(true).expect("it listens");
        self.following.await.expect("it ends");
        assert_eq!(Arc::strong_count(&self.index), 1, "nobody searches any more");
    }
}
