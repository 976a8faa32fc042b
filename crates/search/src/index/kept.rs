//! One org's index in its folder.
//!
//! How far it came is part of each commit: what the index holds and the position it speaks of are one thing, and a process
//! that is killed leaves the last commit.

use std::collections::BTreeMap;
use std::path::Path;

use konverse_model::{Instant, RENDERER};
use konverse_store::Position;
use serde_json::{Value, json};
use tantivy::directory::MmapDirectory;
use tantivy::indexer::{IndexWriterOptions, LogMergePolicy};
use tantivy::{Index, IndexReader, IndexWriter, ReloadPolicy, TantivyError};

use super::schema::Fields;
use super::slot::private_folder;
use super::words::RunningText;

/// The form of what is kept. An index of another form is made anew: raise it with every change of the schema, of what is
/// extracted from records, or of how texts are cut into words.
const FORM: u32 = 1;

/// Bytes of documents that are gathered before they are written down.
const ARENA: usize = 24 << 20;

/// The share of deleted documents from which on a segment is written anew without them.
const DELETED: f32 = 0.25;

/// How far an index came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// After all events it has seen.
    pub position: Position,
    /// When the last event seen in each lane happened, where that is known: a database that was put back from a copy and went
    /// on has another event there.
    pub ends: BTreeMap<u8, Instant>,
}

/// An index that can be searched and written.
pub(super) struct Kept {
    index: Index,
    pub(super) reader: IndexReader,
    pub(super) fields: Fields,
}

/// Why an index cannot be used. Whatever it is, it is made anew.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unusable {
    #[error("there is none")]
    Missing,
    #[error("it has another form than this program's")]
    OtherForm,
    #[error("it is damaged")]
    Damaged,
    #[error("{0}")]
    Failed(#[from] TantivyError),
}

impl Kept {
    /// Opens what is in a folder, as far as its checksums are right.
    pub(super) fn open_checked(folder: &Path) -> Result<(Self, Mark), Unusable> {
        let kept = Self::open(folder)?;
        let mark = kept.mark()?;
        if !kept.index.validate_checksum()?.is_empty() {
            return Err(Unusable::Damaged);
        }
        Ok((kept, mark))
    }

    /// Opens what is in a folder.
    pub(super) fn open(folder: &Path) -> Result<Self, Unusable> {
        if !folder.join("meta.json").exists() {
            return Err(Unusable::Missing);
        }
        let index = Index::open_in_dir(folder)?;
        let (schema, _) = Fields::new();
        if index.schema() != schema {
            return Err(Unusable::OtherForm);
        }
        Ok(Self::of(index)?)
    }

    /// Makes an empty one in a folder, in place of what is there.
    pub(super) fn create(folder: &Path) -> Result<Self, Unusable> {
        let made = match std::fs::remove_dir_all(folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => private_folder(folder),
        };
        made.map_err(TantivyError::from)?;
        let (schema, _) = Fields::new();
        let directory = MmapDirectory::open(folder).map_err(TantivyError::from)?;
        Ok(Self::of(Index::create(directory, schema, tantivy::IndexSettings::default())?)?)
    }

    fn of(index: Index) -> tantivy::Result<Self> {
        index.tokenizers().register(RunningText::NAME, RunningText);
        let reader = index.reader_builder().reload_policy(ReloadPolicy::Manual).try_into()?;
        let (_, fields) = Fields::new();
        Ok(Self { index, reader, fields })
    }

    /// How far it came by its last commit.
    fn mark(&self) -> Result<Mark, Unusable> {
        let payload = self.index.load_metas()?.payload.unwrap_or_default();
        parse_mark(&payload).ok_or(Unusable::OtherForm)
    }

    /// What writes to it; there can be one.
    pub(super) fn writer(&self) -> tantivy::Result<IndexWriter> {
        let options = IndexWriterOptions::builder()
            .num_worker_threads(1)
            .num_merge_threads(1)
            .memory_budget_per_thread(ARENA)
            .build();
        let writer = self.index.writer_with_options(options)?;
        let mut policy = LogMergePolicy::default();
        policy.set_del_docs_ratio_before_merge(DELETED);
        writer.set_merge_policy(Box::new(policy));
        Ok(writer)
    }

    /// Commits what was written, with how far it came, and lets searches see it.
    pub(super) fn commit(&self, writer: &mut IndexWriter, mark: &Mark) -> tantivy::Result<()> {
        let mut commit = writer.prepare_commit()?;
        commit.set_payload(&mark_text(mark));
        commit.commit()?;
        self.reader.reload()
    }
}

fn form() -> String {
    format!("{FORM}.{RENDERER}")
}

fn mark_text(mark: &Mark) -> String {
    let ends: BTreeMap<String, i64> = mark.ends.iter().map(|(lane, at)| (lane.to_string(), at.millis())).collect();
    json!({ "form": form(), "position": mark.position.to_string(), "ends": ends }).to_string()
}

fn parse_mark(text: &str) -> Option<Mark> {
    let mark: Value = serde_json::from_str(text).ok()?;
    if mark["form"] != form().as_str() {
        return None;
    }
    let ends = mark["ends"].as_object()?.iter();
    let ends = ends.map(|(lane, at)| Some((lane.parse().ok()?, Instant::from_millis(at.as_i64()?))));
    Some(Mark { position: mark["position"].as_str()?.parse().ok()?, ends: ends.collect::<Option<_>>()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_survives_its_text_and_one_of_another_form_is_none() {
        let ends = [(0, Instant::from_millis(7)), (63, Instant::from_millis(-9))].into_iter().collect();
        let mark = Mark { position: [(0, 12), (63, 1)].into_iter().collect(), ends };
        let text = mark_text(&mark);
        assert_eq!(parse_mark(&text), Some(mark));
        assert_eq!(parse_mark(&text.replacen(&form(), "0.0", 1)), None);
        assert_eq!(parse_mark(""), None);
    }
}
