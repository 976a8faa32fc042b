//! What writes to the indexes. Used on one thread, so that a process writes to one index at a time; a few writers stay open,
//! since one that is opened costs more than what it writes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use konverse_model::{Id, Kind, OrgId};
use konverse_store::Row;
use tantivy::IndexWriter;

use super::kept::{Kept, Mark, Unusable};
use crate::{Extracted, extract};

/// Writers that stay open. Each has a few threads and, while it gathers documents, some megabytes.
const OPEN: usize = 4;

/// What changed, and how far that brings an index.
#[derive(Debug)]
pub struct Batch {
    /// Records as they are now.
    pub rows: Vec<Row>,
    /// Records that are not there any more, or cannot be read.
    pub gone: Vec<(Kind, Id)>,
    /// How far the index has come with them.
    pub mark: Mark,
}

struct Open {
    org: OrgId,
    kept: Arc<Kept>,
    writer: IndexWriter,
    /// How far it came with what is not committed yet.
    pending: Option<Mark>,
}

/// The writers of a process.
pub(super) struct Writers {
    folder: PathBuf,
    /// The one used last comes last.
    open: Vec<Open>,
    building: Option<Open>,
}

/// A commit that was made: what it was made in is what searches have to look in.
pub(super) struct Committed {
    pub(super) org: OrgId,
    pub(super) kept: Arc<Kept>,
    pub(super) mark: Mark,
}

impl Writers {
    pub(super) fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), open: Vec::new(), building: None }
    }

    /// Where an org's index lies.
    pub(super) fn folder_of(folder: &Path, org: OrgId) -> PathBuf {
        folder.join(org.to_string())
    }

    fn building_folder(&self, org: OrgId) -> PathBuf {
        self.folder.join(format!("{org}.new"))
    }

    /// Opens the index of an org, if there is one that is right.
    pub(super) fn open(&mut self, org: OrgId) -> Result<(Arc<Kept>, Mark), Unusable> {
        self.close(org);
        let (kept, mark) = Kept::open_checked(&Self::folder_of(&self.folder, org))?;
        Ok((Arc::new(kept), mark))
    }

    /// Begins an empty index of an org, beside the one there is. One is built at a time: what was built before is given up.
    pub(super) fn begin(&mut self, org: OrgId) -> Result<(), Unusable> {
        self.close(org);
        self.building = None;
        let kept = Kept::create(&self.building_folder(org))?;
        let writer = kept.writer()?;
        self.building = Some(Open { org, kept: Arc::new(kept), writer, pending: None });
        Ok(())
    }

    /// Writes a batch down; gives how many records could not be read. `kept` is the index where none of its writers is open.
    pub(super) fn write(
        &mut self,
        org: OrgId,
        kept: &Arc<Kept>,
        batch: Batch,
    ) -> Result<(usize, Option<Committed>), Unusable> {
        let committed = self.make_room(org)?;
        let place = self.open.iter().position(|open| open.org == org);
        let mut open = match place {
            Some(place) => self.open.remove(place),
            None => Open { org, kept: Arc::clone(kept), writer: kept.writer()?, pending: None },
        };
        // On failure the writer is dropped, and with it all that is not committed: nobody can say what of it is there.
        let failed = open.write(batch)?;
        self.open.push(open);
        Ok((failed, committed))
    }

    /// Writes a batch down in the index that is being built.
    pub(super) fn build(&mut self, org: OrgId, batch: Batch) -> Result<usize, Unusable> {
        let Some(mut open) = self.building.take().filter(|open| open.org == org) else { return Err(Unusable::Missing) };
        let failed = open.write(batch)?;
        self.building = Some(open);
        Ok(failed)
    }

    /// Commits what was written of an org's index.
    pub(super) fn commit(&mut self, org: OrgId) -> Result<Option<Committed>, Unusable> {
        let Some(place) = self.open.iter().position(|open| open.org == org) else { return Ok(None) };
        let mut open = self.open.remove(place);
        let committed = open.commit()?;
        self.open.push(open);
        Ok(committed)
    }

    /// Puts the index that was built in the place of the one there was.
    pub(super) fn publish(&mut self, org: OrgId) -> Result<(Arc<Kept>, Mark), Unusable> {
        let Some(mut open) = self.building.take().filter(|open| open.org == org) else { return Err(Unusable::Missing) };
        open.commit()?;
        open.writer.wait_merging_threads()?;
        drop(open.kept);
        let (from, to) = (self.building_folder(org), Self::folder_of(&self.folder, org));
        let moved = match std::fs::remove_dir_all(&to) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => std::fs::rename(&from, &to),
        };
        moved.map_err(tantivy::TantivyError::from)?;
        let (kept, mark) = Kept::open_checked(&to)?;
        Ok((Arc::new(kept), mark))
    }

    /// Closes what writes to an org's index; what was not committed is lost.
    pub(super) fn close(&mut self, org: OrgId) {
        self.open.retain(|open| open.org != org);
        self.building.take_if(|open| open.org == org);
    }

    /// Commits and closes all writers; an index that is being built is given up.
    pub(super) fn close_all(&mut self) -> Vec<Committed> {
        self.building = None;
        let closed = std::mem::take(&mut self.open).into_iter().map(|mut open| {
            let committed = open.commit()?;
            open.writer.wait_merging_threads()?;
            Ok::<_, tantivy::TantivyError>(committed)
        });
        // What is not committed is followed again.
        closed
            .filter_map(|closed| {
                closed.inspect_err(|error| tracing::warn!("a search index is left as it was: {error}")).ok()?
            })
            .collect()
    }

    /// Commits and closes the writer that was not used for the longest time, where another one is to be opened.
    fn make_room(&mut self, org: OrgId) -> Result<Option<Committed>, Unusable> {
        if self.open.len() < OPEN || self.open.iter().any(|open| open.org == org) {
            return Ok(None);
        }
        let mut oldest = self.open.remove(0);
        let committed = oldest.commit()?;
        oldest.writer.wait_merging_threads()?;
        Ok(committed)
    }
}

impl Open {
    fn write(&mut self, batch: Batch) -> tantivy::Result<usize> {
        let mut failed = 0;
        for (kind, id) in batch.gone {
            self.writer.delete_term(self.kept.fields.key(kind, id));
        }
        for row in batch.rows {
            self.writer.delete_term(self.kept.fields.key(row.kind, row.id));
            let extracted = std::panic::catch_unwind(|| extract(row.kind, &row.doc, !row.shows()));
            match extracted.ok().and_then(Result::ok) {
                Some(extracted) => {
                    let record = Extracted { id: row.id, ..extracted };
                    self.writer.add_document(self.kept.fields.document(&record))?;
                }
                None => failed += 1,
            }
        }
        self.pending = Some(batch.mark);
        Ok(failed)
    }

    fn commit(&mut self) -> tantivy::Result<Option<Committed>> {
        let Some(mark) = &self.pending else { return Ok(None) };
        self.kept.commit(&mut self.writer, mark)?;
        let kept = Arc::clone(&self.kept);
        Ok(self.pending.take().map(|mark| Committed { org: self.org, kept, mark }))
    }
}
