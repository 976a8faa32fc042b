//! `konverse import`: files of history into an org.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use indicatif::{ProgressBar, ProgressStyle};
use konverse_domain::{Domain, ImportKind, ImportReport, ImportRow, Importer, Org, RowError, RowOutcome};
use tokio::sync::mpsc;

/// Rows taken at once: enough that rows of one conversation meet in one transaction, few enough to hold in memory.
const BATCH: usize = 5_000;

/// Batches read ahead.
const AHEAD: usize = 2;

/// Bytes of a line at most: far beyond any record's limits.
const LONGEST_LINE: u64 = 4 * 1024 * 1024;

/// Refused rows told of per file; beyond, only their number.
const TOLD: u64 = 20;

/// A file to import.
#[derive(Debug)]
struct Source {
    kind: ImportKind,
    path: PathBuf,
}

type Line = (u64, Result<ImportRow, RowError>);

/// Imports files and folders; `tell` is given a line for people about each refused row.
pub(crate) async fn import(
    domain: &Domain,
    org: &Org,
    paths: &[PathBuf],
    tell: &(dyn Fn(String) + Sync),
) -> anyhow::Result<ImportReport> {
    let sources = sources(paths)?;
    let mut importer = Importer::new(domain, org.id).await.context("beginning the import")?;
    let mut report = ImportReport::default();
    let bytes = sources.iter().filter_map(|source| source.path.metadata().ok()).map(|data| data.len()).sum();
    let bar = ProgressBar::new(bytes).with_style(
        ProgressStyle::with_template("{msg:14} {wide_bar} {percent:>3}% {eta} left")
            .unwrap_or_else(|_| ProgressStyle::default_bar()),
    );
    bar.enable_steady_tick(Duration::from_millis(200));
    for source in &sources {
        bar.set_message(source.kind.name());
        take(&mut importer, source, &bar, &mut report, tell).await?;
    }
    bar.finish_and_clear();
    Ok(report)
}

async fn take(
    importer: &mut Importer<'_>,
    source: &Source,
    bar: &ProgressBar,
    report: &mut ImportReport,
    tell: &(dyn Fn(String) + Sync),
) -> anyhow::Result<()> {
    let name = source.path.display().to_string();
    let (sender, mut batches) = mpsc::channel(AHEAD);
    let reader = {
        let (path, kind, bar) = (source.path.clone(), source.kind, bar.clone());
        tokio::task::spawn_blocking(move || read(&path, kind, &bar, &sender))
    };
    let mut refused = 0;
    let mut refuse = |line: u64, error: &RowError| {
        refused += 1;
        if refused <= TOLD {
            bar.suspend(|| tell(format!("{name}:{line}: {}", error.0)));
        }
    };
    while let Some(batch) = batches.recv().await {
        let batch: Vec<Line> = batch;
        let mut rows = Vec::with_capacity(batch.len());
        let mut lines = Vec::with_capacity(batch.len());
        for (line, row) in batch {
            match row {
                Ok(row) => {
                    rows.push(row);
                    lines.push(line);
                }
                Err(error) => {
                    refuse(line, &error);
                    report.rejected += 1;
                }
            }
        }
        let outcomes = importer.take(source.kind, rows).await.with_context(|| {
            let range = lines.first().zip(lines.last()).map_or_else(String::new, |(a, b)| format!(" lines {a} to {b}"));
            format!("{name}{range}: the import stopped here; run it again to go on")
        })?;
        for (line, outcome) in lines.into_iter().zip(outcomes) {
            if let RowOutcome::Rejected(error) = &outcome {
                refuse(line, error);
            }
            report.count(&outcome);
        }
    }
    if refused > TOLD {
        bar.suspend(|| tell(format!("{name}: {} more rows were refused", refused - TOLD)));
    }
    reader.await.context("the reading thread failed")?
}

/// Reads a file line by line, checks the shape of each, and sends them on in batches.
fn read(path: &Path, kind: ImportKind, bar: &ProgressBar, batches: &mpsc::Sender<Vec<Line>>) -> anyhow::Result<()> {
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let file = BufReader::with_capacity(1 << 16, bar.wrap_read(file));
    let text: Box<dyn Read> = match path.extension().and_then(|extension| extension.to_str()) {
        Some("gz") => Box::new(flate2::bufread::MultiGzDecoder::new(file)),
        Some("zst") => Box::new(zstd::Decoder::with_buffer(file).context("zstd")?),
        _ => Box::new(file),
    };
    let mut text = BufReader::with_capacity(1 << 18, text);
    let mut batch = Vec::with_capacity(BATCH);
    let mut line = String::new();
    for number in 1.. {
        line.clear();
        let read = (&mut text).take(LONGEST_LINE).read_line(&mut line);
        let read = read.with_context(|| format!("{}:{number}: the file cannot be read on", path.display()))?;
        if read == 0 {
            break;
        }
        if read as u64 == LONGEST_LINE {
            bail!("{}:{number}: the line is longer than {LONGEST_LINE} bytes", path.display());
        }
        let content = line.trim();
        if content.is_empty() {
            continue;
        }
        batch.push((number, kind.read(content)));
        if batch.len() == BATCH && batches.blocking_send(std::mem::take(&mut batch)).is_err() {
            // The taking side has given up and says why.
            return Ok(());
        }
    }
    if !batch.is_empty() {
        let _ = batches.blocking_send(batch);
    }
    Ok(())
}

/// The files to import, in the order their kinds depend on each other.
fn sources(paths: &[PathBuf]) -> anyhow::Result<Vec<Source>> {
    let mut sources = Vec::new();
    for path in paths {
        if path.is_dir() {
            let before = sources.len();
            for entry in path.read_dir().with_context(|| format!("cannot read {}", path.display()))? {
                let path = entry?.path();
                if let Some(kind) = kind_of(&path) {
                    sources.push(Source { kind, path });
                }
            }
            if sources.len() == before {
                bail!("{} holds no files to import: {NAMES}", path.display());
            }
        } else if let Some(kind) = kind_of(path) {
            File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
            sources.push(Source { kind, path: path.clone() });
        } else {
            bail!("{}: cannot tell what it holds; name it {NAMES}", path.display());
        }
    }
    sources.sort_by(|a, b| (a.kind, &a.path).cmp(&(b.kind, &b.path)));
    Ok(sources)
}

const NAMES: &str = "{users,teams,tags,customers,conversations,messages,notes}.jsonl, .jsonl.gz or .jsonl.zst";

fn kind_of(path: &Path) -> Option<ImportKind> {
    let name = path.file_name()?.to_str()?;
    let stem = [".jsonl", ".jsonl.gz", ".jsonl.zst"].into_iter().find_map(|ending| name.strip_suffix(ending))?;
    ImportKind::ALL.into_iter().find(|kind| {
        stem.strip_prefix(kind.name()).is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', '_', '.']))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_name_says_what_it_holds() {
        for (name, kind) in [
            ("users.jsonl", Some(ImportKind::Users)),
            ("messages-01.jsonl.gz", Some(ImportKind::Messages)),
            ("notes.jsonl.zst", Some(ImportKind::Notes)),
            ("messagesx.jsonl", None),
            ("users.json", None),
            ("README.md", None),
        ] {
            assert_eq!(kind_of(Path::new(name)), kind, "{name}");
        }
    }
}
