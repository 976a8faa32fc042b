//! `konverse import`: files of history into an org.
//!
//! A file is read line by line in memory that does not grow with it, whatever it unpacks to. A line that is no row is
//! refused alone. A file that cannot be read on ends the import after the rows before that point: later files build on
//! earlier ones.

use std::cell::Cell;
use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use indicatif::{ProgressBar, ProgressStyle};
use konverse_domain::{Domain, ImportKind, ImportReport, ImportRow, Importer, Org, RowError, RowOutcome};
use konverse_model::Id;
use tokio::sync::mpsc;

/// Rows taken at once: enough that rows of one conversation meet in one transaction, few enough to hold in memory.
const BATCH: usize = 1_500;

/// A batch goes on for as many rows more while they belong together: what a reader sees appear at once is whole then.
const TOGETHER: usize = 2 * BATCH;

/// Bytes of lines after which a batch is full before it has all its rows. What is held of an import is two batches: the
/// one that is written and the one that is computed.
const BATCH_BYTES: usize = 3 * 1024 * 1024;

/// Rows handed on at once by the thread that reads, bytes of lines after which it hands on what it has, and how often it
/// may do so before they are taken.
const PART: usize = 250;
const PART_BYTES: usize = 512 * 1024;
const AHEAD: usize = 4;

/// Bytes of a line at most, its end not counted: far beyond any record's limits.
const LONGEST_LINE: usize = 4 * 1024 * 1024;

/// A file may unpack to this many bytes, and for each byte of its own to `UNPACKED_PER_BYTE` more. Records pack to a
/// tenth or a hundredth; what packs better by far was made to fill memory or time.
const UNPACKED_FREELY: u64 = 64 * 1024 * 1024;
const UNPACKED_PER_BYTE: u64 = 400;

/// How far back a zstd file may refer, as a power of two: what has to be held in memory to unpack it. The zstd program
/// takes no more either, unless it is told to.
const ZSTD_WINDOW: u32 = 27;

/// A byte order mark, which some programs put at the beginning of a text.
const MARK: &[u8] = b"\xef\xbb\xbf";

/// Characters shown of the reason for which a row was refused: it may repeat what the row says.
const REASON: usize = 500;

/// Refused rows told of per file; beyond, only their number.
const TOLD: u64 = 20;

/// A file to import.
#[derive(Debug)]
pub(crate) struct Source {
    kind: ImportKind,
    path: PathBuf,
}

/// A line of a file.
struct Line {
    number: u64,
    bytes: usize,
    row: Result<ImportRow, RowError>,
}

/// Lines until they are a batch.
#[derive(Default)]
struct Gathered {
    lines: Vec<Line>,
    bytes: usize,
    last: Option<Id>,
}

impl Gathered {
    /// Adds the next line; gives the batch that was full without it.
    fn add(&mut self, line: Line) -> Option<Vec<Line>> {
        let belongs_to = line.row.as_ref().ok().and_then(ImportRow::belongs_to);
        let full = self.lines.len() >= BATCH && (belongs_to.is_none() || belongs_to != self.last);
        let full = full || self.lines.len() >= TOGETHER || self.bytes >= BATCH_BYTES;
        let batch = full.then(|| std::mem::take(self).lines);
        self.last = belongs_to;
        self.bytes += line.bytes;
        self.lines.push(line);
        batch
    }
}

/// Imports files; `tell` is given a line for people about each refused row, `report` counts what was done, also when
/// the import fails.
pub(crate) async fn import(
    domain: &Arc<Domain>,
    org: &Org,
    sources: &[Source],
    report: &mut ImportReport,
    tell: &(dyn Fn(String) + Sync),
) -> anyhow::Result<()> {
    let mut importer = Importer::new(domain, org.id).await.context("beginning the import")?;
    let bytes = sources.iter().filter_map(|source| source.path.metadata().ok()).map(|data| data.len()).sum();
    let bar = ProgressBar::new(bytes).with_style(
        ProgressStyle::with_template("{msg:14} {wide_bar} {percent:>3}% {eta} left")
            .unwrap_or_else(|_| ProgressStyle::default_bar()),
    );
    bar.enable_steady_tick(Duration::from_millis(200));
    let mut ended = Ok(());
    for source in sources {
        bar.set_message(source.kind.name());
        ended = take(&mut importer, source, &bar, report, tell).await;
        if ended.is_err() {
            break;
        }
    }
    bar.finish_and_clear();
    ended
}

async fn take(
    importer: &mut Importer,
    source: &Source,
    bar: &ProgressBar,
    report: &mut ImportReport,
    tell: &(dyn Fn(String) + Sync),
) -> anyhow::Result<()> {
    let name = source.path.display().to_string();
    let (sender, mut parts) = mpsc::channel::<Vec<Line>>(AHEAD);
    let reader = {
        let (path, kind, bar) = (source.path.clone(), source.kind, bar.clone());
        tokio::task::spawn_blocking(move || read(&path, kind, &bar, &sender))
    };
    let mut refused = 0;
    let mut refuse = |line: u64, error: &RowError| {
        refused += 1;
        if refused <= TOLD {
            bar.suspend(|| tell(format!("{name}:{line}: {}", shown(&error.0))));
        }
    };
    let mut gathered = Gathered::default();
    let mut waiting = Vec::new().into_iter();
    // The lines that are being written, and those beside them that are no rows: they are told of together, a batch later.
    let (mut written, mut beside): (Vec<u64>, Vec<(u64, RowError)>) = (Vec::new(), Vec::new());
    loop {
        let batch = loop {
            match waiting.next() {
                Some(line) => {
                    if let Some(batch) = gathered.add(line) {
                        break batch;
                    }
                }
                None => match parts.recv().await {
                    Some(part) => waiting = part.into_iter(),
                    None => break std::mem::take(&mut gathered).lines,
                },
            }
        };
        let ended = batch.is_empty();
        let (mut rows, mut lines, mut wrong) = (Vec::new(), Vec::new(), Vec::new());
        for Line { number, row, .. } in batch {
            match row {
                Ok(row) => {
                    rows.push(row);
                    lines.push(number);
                }
                Err(error) => wrong.push((number, error)),
            }
        }
        let outcomes = if ended { importer.end().await } else { importer.begin(source.kind, rows).await };
        let outcomes = match outcomes {
            Ok(outcomes) => outcomes,
            Err(error) => {
                // What is known of them all the same is told and counted.
                let (first, last) = (written.first().or(lines.first()), lines.last().or(written.last()));
                let range = first.zip(last).map_or_else(String::new, |(a, b)| format!(" lines {a} to {b}"));
                let [before, begun] = importer.known();
                let known = written.into_iter().zip(before).chain(lines.into_iter().zip(begun));
                for (line, outcome) in known.filter_map(|(line, outcome)| Some((line, outcome?))) {
                    if let RowOutcome::Rejected(error) = &outcome {
                        refuse(line, error);
                    }
                    report.count(&outcome);
                }
                for (line, error) in beside.into_iter().chain(wrong) {
                    refuse(line, &error);
                    report.rejected += 1;
                }
                let stopped = format!("{name}{range}: the import stopped here; run it again to go on");
                return Err(anyhow::Error::new(error).context(stopped));
            }
        };
        for (line, error) in beside {
            refuse(line, &error);
            report.rejected += 1;
        }
        for (line, outcome) in written.into_iter().zip(outcomes) {
            if let RowOutcome::Rejected(error) = &outcome {
                refuse(line, error);
            }
            report.count(&outcome);
        }
        if ended {
            break;
        }
        (written, beside) = (lines, wrong);
    }
    if refused > TOLD {
        bar.suspend(|| tell(format!("{name}: {} more rows were refused", refused - TOLD)));
    }
    reader.await.context("the reading thread failed")?
}

/// A reason as a line of a terminal: what it repeats of the row neither fills the screen nor steers it.
fn shown(reason: &str) -> String {
    let mut text = String::new();
    for c in reason.chars().take(REASON) {
        if c.is_control() {
            text.extend(c.escape_default());
        } else {
            text.push(c);
        }
    }
    if reason.chars().nth(REASON).is_some() {
        text.push('…');
    }
    text
}

/// Reads a file and sends its lines on.
fn read(path: &Path, kind: ImportKind, bar: &ProgressBar, parts: &mpsc::Sender<Vec<Line>>) -> anyhow::Result<()> {
    let shown = path.display();
    let file = File::open(path).with_context(|| format!("cannot open {shown}"))?;
    let packed = Rc::new(Cell::new(0));
    let file = BufReader::with_capacity(1 << 16, Counted { reader: bar.wrap_read(file), count: Rc::clone(&packed) });
    let text: Box<dyn Read> = match path.extension().and_then(|extension| extension.to_str()) {
        Some("gz") => Box::new(Unpacked { reader: flate2::bufread::MultiGzDecoder::new(file), packed, unpacked: 0 }),
        Some("zst") => {
            let mut reader = zstd::Decoder::with_buffer(file).context("zstd")?;
            reader.window_log_max(ZSTD_WINDOW).context("zstd")?;
            Box::new(Unpacked { reader, packed, unpacked: 0 })
        }
        _ => Box::new(file),
    };
    // Closed when the taking side has given up; it says why.
    let send = |part| parts.blocking_send(part).is_ok();
    read_lines(BufReader::with_capacity(1 << 18, text), kind, send).map_err(|(line, error)| {
        anyhow::Error::new(error).context(format!("{shown}:{line}: the file cannot be read on"))
    })
}

/// Checks the shape of every line and hands them on, some at once, until `send` has had enough. What was read before an
/// error is handed on as well. An error comes with the line it is in.
fn read_lines(
    mut text: impl BufRead,
    kind: ImportKind,
    mut send: impl FnMut(Vec<Line>) -> bool,
) -> Result<(), (u64, io::Error)> {
    let mut part = Vec::new();
    let mut bytes = 0;
    let mut line = Vec::new();
    let mut number = 0;
    let ended = loop {
        number += 1;
        let whole = match next_line(&mut text, &mut line) {
            Ok(None) => break Ok(()),
            Ok(Some(whole)) => whole,
            Err(error) => break Err((number, error)),
        };
        let row = if whole {
            let content = if number == 1 { line.strip_prefix(MARK).unwrap_or(&line) } else { &line };
            if content.trim_ascii().is_empty() {
                continue;
            }
            match str::from_utf8(content) {
                Ok(content) => kind.read(content.trim()).map_err(|error| RowError(shown(&error.0))),
                Err(error) => Err(RowError(format!("is not UTF-8 from its byte {} on", error.valid_up_to() + 1))),
            }
        } else {
            Err(RowError(format!("is longer than {LONGEST_LINE} bytes")))
        };
        bytes += line.len();
        part.push(Line { number, bytes: line.len(), row });
        if part.len() >= PART || bytes >= PART_BYTES {
            bytes = 0;
            if !send(std::mem::take(&mut part)) {
                return Ok(());
            }
        }
    };
    if !part.is_empty() {
        send(part);
    }
    ended
}

/// Reads the next line, whose end may be missing in the last one, and says whether it is whole: of one that is too long
/// only the beginning is kept, the rest is dropped as it is read. `None` is the end of the text.
fn next_line(text: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<Option<bool>> {
    line.clear();
    if text.take(LONGEST_LINE as u64 + 1).read_until(b'\n', line)? == 0 {
        return Ok(None);
    }
    if line.last() == Some(&b'\n') || line.len() <= LONGEST_LINE {
        return Ok(Some(true));
    }
    text.skip_until(b'\n')?;
    Ok(Some(false))
}

/// Counts what is read of a file.
struct Counted<R> {
    reader: R,
    count: Rc<Cell<u64>>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(buffer)?;
        self.count.set(self.count.get() + read as u64);
        Ok(read)
    }
}

/// What comes out of a packed file, until it is more than can be meant.
struct Unpacked<R> {
    reader: R,
    packed: Rc<Cell<u64>>,
    unpacked: u64,
}

impl<R: Read> Read for Unpacked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(buffer)?;
        self.unpacked += read as u64;
        if self.unpacked > UNPACKED_FREELY + UNPACKED_PER_BYTE * self.packed.get() {
            return Err(io::Error::other(format!(
                "it unpacks to more than {UNPACKED_PER_BYTE} times its size; if that is meant, unpack it first"
            )));
        }
        Ok(read)
    }
}

/// The files to import, each once however often it is named, in the order their kinds depend on each other.
pub(crate) fn sources(paths: &[PathBuf]) -> anyhow::Result<Vec<Source>> {
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
            sources.push(Source { kind, path: path.clone() });
        } else {
            bail!("{}: cannot tell what it holds; name it {NAMES}", path.display());
        }
    }
    sources.sort_by(|a, b| (a.kind, &a.path).cmp(&(b.kind, &b.path)));
    let mut known = HashSet::new();
    let mut once = Vec::new();
    for source in sources {
        // All are looked at before anything is taken.
        let cannot = || format!("cannot open {}", source.path.display());
        let file = source.path.canonicalize().with_context(cannot)?;
        if file.is_file() {
            File::open(&file).with_context(cannot)?;
        }
        if known.insert(file) {
            once.push(source);
        }
    }
    Ok(once)
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
    /// The batches made of a text.
    fn batches_of(text: impl Read, kind: ImportKind) -> Vec<Vec<Line>> {
        let mut gathered = Gathered::default();
        let mut batches = Vec::new();
        let text = BufReader::with_capacity(1 << 18, text);
        let ended = read_lines(text, kind, |part| {
            batches.extend(part.into_iter().filter_map(|line| gathered.add(line)));
            true
        });
        ended.expect("it ends");
        batches.push(gathered.lines);
        batches
    }

    /// The same: each row's line, and whether it was taken.
    fn batches(text: impl Read) -> Vec<Vec<(u64, bool)>> {
        let shown = |batch: Vec<Line>| batch.into_iter().map(|line| (line.number, line.row.is_ok())).collect();
        batches_of(text, ImportKind::Tags).into_iter().map(shown).collect()
    }

    /// A row of so many bytes.
    fn row(length: usize) -> String {
        let row = r#"{"name":"x"}"#;
        row.to_owned() + &" ".repeat(length - row.len())
    }

    #[test]
    fn a_line_that_does_not_end_takes_no_memory() {
        let mut text = BufReader::new(io::repeat(b' ').take(100 << 20).chain(&b"\n{}"[..]));
        let mut line = Vec::new();
        assert_eq!(next_line(&mut text, &mut line).unwrap(), Some(false));
        assert!(line.capacity() <= 2 * LONGEST_LINE + 2, "{}", line.capacity());
        assert_eq!(next_line(&mut text, &mut line).unwrap(), Some(true));
        assert_eq!(line, b"{}");
        assert_eq!(next_line(&mut text, &mut line).unwrap(), None);
    }

    #[test]
    fn the_longest_line_is_taken_and_one_byte_more_is_not() {
        for ending in ["\n", ""] {
            let text = format!("{}\n{}{ending}", row(LONGEST_LINE), row(LONGEST_LINE));
            assert_eq!(batches(text.as_bytes()).concat(), [(1, true), (2, true)]);
            let text = format!("{}\n{}{ending}", row(LONGEST_LINE + 1), row(LONGEST_LINE + 1));
            assert_eq!(batches(text.as_bytes()).concat(), [(1, false), (2, false)]);
        }
    }

    #[test]
    fn a_batch_is_full_by_rows_or_by_bytes() {
        let short = format!("{}\n", row(12)).repeat(BATCH + 1);
        assert_eq!(batches(short.as_bytes()).iter().map(Vec::len).collect::<Vec<_>>(), [BATCH, 1]);
        let long = format!("{}\n", row(BATCH_BYTES / 16 - 1)).repeat(20);
        assert_eq!(batches(long.as_bytes()).iter().map(Vec::len).collect::<Vec<_>>(), [16, 4]);
    }

    #[test]
    fn a_batch_goes_on_while_its_rows_belong_together() {
        let row = |n: usize, conversation: usize| {
            let conversation = format!("{conversation:024x}");
            let row = serde_json::json!({
                "id": format!("{n:024x}"), "conversation": conversation, "channel": "chat", "app": "x", "direction": "in",
            });
            format!("{row}\n")
        };
        // One conversation that goes on over the end of a batch, then many of one message.
        let text: String =
            (0..BATCH + 7).map(|n| row(n, 1)).chain((0..BATCH).map(|n| row(BATCH + 7 + n, 2 + n))).collect();
        let sizes = |text: &str| {
            let batches = batches_of(text.as_bytes(), ImportKind::Messages);
            assert!(batches.iter().flatten().all(|line| line.row.is_ok()));
            batches.iter().map(Vec::len).collect::<Vec<_>>()
        };
        assert_eq!(sizes(&text), [BATCH + 7, BATCH]);
        // Not without end.
        let text: String = (0..TOGETHER + 1).map(|n| row(n, 1)).collect();
        assert_eq!(sizes(&text), [TOGETHER, 1]);
    }
}
