//! What fuzzing has found and kept (`fuzz/corpus`), and some hundreds of made-up requests, through the real router: no
//! panic, no failure, no answer nobody can read, and what was taken is there afterwards.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use konverse_testkit::probe::{Probe, cursor, document};
use konverse_testkit::{Backend, seeded};

/// Made-up inputs of a kind.
const MADE_UP: usize = 400;

/// The files kept of a target, with their names.
fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let files = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let read = |path: &Path| (path.display().to_string(), fs::read(path).expect("a file"));
    let mut kept: Vec<_> = files.map(|file| read(&file.expect("a file").path())).collect();
    kept.sort();
    assert!(!kept.is_empty(), "nothing is kept of {target}");
    kept
}

/// Bytes by chance, the same every time.
fn made_up(seed: u64, length: usize) -> Vec<Vec<u8>> {
    let chance = seeded(seed);
    let one = |n: usize| {
        let mut bytes = vec![0; length];
        chance(&mut bytes);
        // Each operation has its turn, with a body that is made of the bytes.
        bytes[..2].copy_from_slice(&[n as u8, 0]);
        bytes
    };
    (0..MADE_UP).map(one).collect()
}

/// How often what was made up was refused and taken, by operation: nothing is shown by requests that are all refused.
#[derive(Debug, Default)]
struct Tried(BTreeMap<&'static str, [usize; 2]>);

impl Tried {
    fn note(&mut self, (key, is_taken): (&'static str, bool)) {
        self.0.entry(key).or_default()[usize::from(is_taken)] += 1;
    }

    fn all_were_taken(&self) {
        // Nobody guesses a password.
        let never: Vec<_> = self.0.iter().filter(|(key, [_, taken])| *taken == 0 && **key != "sign-in").collect();
        assert!(never.is_empty(), "never taken: {never:?} of {self:?}");
    }
}

async fn reads(backend: Backend) {
    let (probe, mut tried) = (Probe::new(backend).await, Tried::default());
    for (_, input) in corpus("read") {
        probe.read(&input).await;
    }
    // By chance alone no query comes together.
    let pieces =
        ["page=", "pageSize=", "fromDate=", "sort=", "cursor=", "filter[createdAt][gte]=", "-createdAt", "&", "1"];
    let more =
        ["0", "2026-01-01T00:00:00.000Z", "%zz", "%00", "+", "updatedAt", "deleted=", "true", "email=", "9999999999"];
    let pieces = [&pieces[..], &more[..]].concat();
    for bytes in made_up(1, 16) {
        let query: String = bytes[2..].iter().map(|byte| pieces[usize::from(*byte) % pieces.len()]).collect();
        tried.note(probe.read(&[&bytes[..1], b"?", query.as_bytes()].concat()).await);
    }
    tried.all_were_taken();
}

async fn writes(backend: Backend) {
    let (probe, mut tried) = (Probe::new(backend).await, Tried::default());
    for (_, input) in corpus("write") {
        probe.write(&input).await;
    }
    for bytes in made_up(2, 192) {
        tried.note(probe.write(&bytes).await);
    }
    tried.all_were_taken();
}

async fn rows(backend: Backend) {
    let (probe, mut tried) = (Probe::new(backend).await, Tried::default());
    for (_, input) in corpus("import") {
        probe.import(&input).await;
    }
    for bytes in made_up(3, 192) {
        tried.note(probe.import(&probe.row(&bytes)).await);
    }
    tried.all_were_taken();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_read_is_answered_on_sqlite() {
    reads(Backend::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_read_is_answered_on_postgres() {
    reads(Backend::Postgres).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_write_is_taken_whole_or_refused_on_sqlite() {
    writes(Backend::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_write_is_taken_whole_or_refused_on_postgres() {
    writes(Backend::Postgres).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_row_is_taken_once_or_refused_on_sqlite() {
    rows(Backend::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_row_is_taken_once_or_refused_on_postgres() {
    rows(Backend::Postgres).await;
}

#[test]
fn cursors_and_stored_texts_survive() {
    corpus("cursor").iter().for_each(|(_, input)| cursor(input));
    corpus("document").iter().for_each(|(_, input)| document(input));
}
