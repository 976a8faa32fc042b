//! The follower's side: opening, building, writing, committing. One follower at a time calls these, one after the other.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use konverse_model::OrgId;
use konverse_store::Position;
use tantivy::TantivyError;

use super::kept::Unusable;
use super::writers::{Batch, Committed, Writers};
use super::{Index, IndexError, Mark, OrgIndex, State};

impl Index {
    /// Waits until a search has to be answered that the index has not seen enough for, or a search failed.
    pub async fn woken(&self) {
        self.woken.notified().await;
    }

    /// Orgs whose index searches wait for, and those whose index may be damaged.
    pub fn wanted(&self) -> Vec<OrgId> {
        let orgs = self.orgs.lock();
        orgs.values().filter(|org| org.is_wanted() || org.suspect.load(Ordering::Relaxed)).map(|org| org.org).collect()
    }

    /// Whether searches wait for what an org's index has not seen yet, and would go on if it had come this far.
    pub fn is_wanted(&self, org: OrgId, position: &Position) -> bool {
        let org = self.org(org);
        org.is_wanted() && position.covers(&org.wanted.lock())
    }

    /// How an org's index stands.
    pub fn state(&self, org: OrgId) -> State {
        self.org(org).standing.borrow().state
    }

    /// Whether a search failed in a way that may be the index's fault; told once.
    pub fn is_suspect(&self, org: OrgId) -> bool {
        self.org(org).suspect.swap(false, Ordering::Relaxed)
    }

    /// Opens an org's index as far as all its checksums are right, and gives how far it came; none where it has to be built.
    /// Searches wait until it is said to be [`Self::ready`].
    pub async fn open_org(&self, org: OrgId) -> Result<Option<Mark>, IndexError> {
        match self.with_writers(move |writers| writers.open(org)).await {
            Ok((kept, mark)) => {
                *self.org(org).kept.lock() = Some(kept);
                Ok(Some(mark))
            }
            Err(Unusable::Missing) => Ok(None),
            Err(unusable) => {
                tracing::warn!(%org, "the search index cannot be used and is built anew: {unusable}");
                Ok(None)
            }
        }
    }

    /// An org's index is going to be built: nothing is found in it until then.
    pub fn will_build(&self, org: OrgId) {
        let shared = self.org(org);
        *shared.kept.lock() = None;
        shared.standing.send_modify(|standing| standing.state = State::Building(0));
    }

    /// Begins to build an org's index.
    pub async fn begin(&self, org: OrgId) -> Result<(), IndexError> {
        self.will_build(org);
        Ok(self.with_writers(move |writers| writers.begin(org)).await?)
    }

    /// Adds records to the index that is being built; gives how many could not be read.
    pub async fn build(&self, org: OrgId, batch: Batch) -> Result<usize, IndexError> {
        let rows = batch.rows.len() as u64;
        let failed = self.with_writers(move |writers| writers.build(org, batch)).await?;
        self.org(org).standing.send_modify(|standing| {
            let done = if let State::Building(done) = standing.state { done } else { 0 };
            standing.state = State::Building(done + rows);
        });
        Ok(failed)
    }

    /// The index is built: it takes the place of the one there was, and searches go on.
    pub async fn publish(&self, org: OrgId) -> Result<Mark, IndexError> {
        let (kept, mark) = self.with_writers(move |writers| writers.publish(org)).await?;
        *self.org(org).kept.lock() = Some(kept);
        self.ready(org, &mark);
        Ok(mark)
    }

    /// Writes down what changed. It is found once it is committed. Gives how many records could not be read.
    ///
    /// # Errors
    /// When it cannot be written. What was not committed is lost then, and the index has to be opened again.
    pub async fn write(&self, org: OrgId, batch: Batch) -> Result<usize, IndexError> {
        let shared = self.org(org);
        let slot = self.slot.folder().to_owned();
        let written = self.with_writers(move |writers| {
            let kept = shared.kept(&slot)?;
            writers.write(org, &kept, batch)
        });
        let (failed, committed) = written.await?;
        self.committed(committed);
        Ok(failed)
    }

    /// Commits what was written of an org.
    pub async fn commit(&self, org: OrgId) -> Result<(), IndexError> {
        let committed = self.with_writers(move |writers| writers.commit(org)).await?;
        self.committed(committed);
        Ok(())
    }

    /// An org's index cannot be kept at present: searches that wait for more are told, others go on. What was not committed is
    /// lost, and the index has to be opened or built again.
    pub async fn give_up(&self, org: OrgId) {
        let closed = self.with_writers(move |writers| {
            writers.close(org);
            Ok(())
        });
        let _ = closed.await;
        self.org(org).standing.send_modify(|standing| {
            standing.failing = true;
            if standing.state != State::Ready {
                standing.state = State::Unopened;
            }
        });
    }

    /// Commits what was written and closes what writes. Nothing of a process goes on in its folder afterwards.
    pub async fn close(&self) {
        let closed = self.with_writers(|writers| Ok(writers.close_all())).await;
        for committed in closed.into_iter().flatten() {
            self.committed(Some(committed));
        }
    }

    async fn with_writers<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Writers) -> Result<T, Unusable> + Send + 'static,
    ) -> Result<T, Unusable> {
        let writers = Arc::clone(&self.writers);
        let failed = |why: &str| Unusable::Failed(TantivyError::InternalError(why.to_owned()));
        let done =
            self.indexing.hand(move || work(&mut writers.lock())).map_err(|_| failed("two followers at once"))?;
        done.await.map_err(|_| failed("it panicked; standard error says where"))?
    }

    /// The index that was opened is the org's, and has come this far.
    pub fn ready(&self, org: OrgId, mark: &Mark) {
        let shared = self.org(org);
        self.used(&shared);
        shared.measure(self.slot.folder());
        shared.standing.send_modify(|standing| {
            standing.state = State::Ready;
            standing.failing = false;
            standing.seen = mark.position.clone();
        });
    }

    fn committed(&self, committed: Option<Committed>) {
        let Some(Committed { org, kept, mark }) = committed else { return };
        let shared = self.org(org);
        // It may have been closed, and opened by a search beside this one.
        *shared.kept.lock() = Some(kept);
        shared.measure(self.slot.folder());
        shared.standing.send_modify(|standing| {
            standing.failing = false;
            standing.seen = mark.position;
        });
    }

    /// Counts records that are left out because they cannot be read.
    pub fn left_out(&self, records: usize) {
        metrics::counter!("konverse_search_left_out_total").increment(records as u64);
    }

    /// Writes how the indexes are into the metrics.
    pub fn measure(&self) {
        let (mut ready, mut building, mut built, mut documents, mut bytes) = (0_u32, 0_u32, 0, 0, 0);
        for org in self.orgs.lock().values() {
            match org.standing.borrow().state {
                State::Unopened => {}
                State::Ready => ready += 1,
                State::Building(done) => {
                    building += 1;
                    built += done;
                }
            }
            documents += org.documents.load(Ordering::Relaxed);
            bytes += org.bytes.load(Ordering::Relaxed);
        }
        metrics::gauge!("konverse_search_indexes", "state" => "ready").set(ready);
        metrics::gauge!("konverse_search_indexes", "state" => "building").set(building);
        metrics::gauge!("konverse_search_building_records").set(built as f64);
        metrics::gauge!("konverse_search_documents").set(documents as f64);
        metrics::gauge!("konverse_search_bytes").set(bytes as f64);
    }
}

impl OrgIndex {
    fn is_wanted(&self) -> bool {
        let standing = self.standing.borrow();
        self.waiting.load(Ordering::Relaxed) > 0
            && (standing.state == State::Unopened || !standing.seen.covers(&self.wanted.lock()))
    }

    /// Looks how large it is.
    fn measure(&self, slot: &std::path::Path) {
        if let Some(kept) = &*self.kept.lock() {
            self.documents.store(kept.reader.searcher().num_docs(), Ordering::Relaxed);
        }
        let files = std::fs::read_dir(Writers::folder_of(slot, self.org)).into_iter().flatten().flatten();
        let bytes = files.filter_map(|file| file.metadata().ok()).map(|data| data.len()).sum();
        self.bytes.store(bytes, Ordering::Relaxed);
    }
}
