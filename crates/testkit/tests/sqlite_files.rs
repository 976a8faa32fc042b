//! Opening a SQLite file: whose it is, who may read it, and what is said when it cannot be opened.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use konverse_store::{Credentials, Store};
use konverse_store_sql::migrations;
use konverse_store_sqlite::Sqlite;
use rusqlite::Connection;
use tempfile::TempDir;

const KONV: i64 = 0x6b6f_6e76;

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

fn refusal(path: &Path) -> String {
    let text = Sqlite::open(path).err().unwrap_or_else(|| panic!("{} is refused", path.display())).to_string();
    assert!(text.contains(path.to_str().expect("a text")), "{text}");
    text
}

/// Every file of a folder with its content.
fn content(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let files = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    files.map(|file| (file.clone(), fs::read(&file).expect("a file"))).collect()
}

fn make(path: &Path, sql: &str) -> Connection {
    let connection = Connection::open(path).expect("the file opens");
    connection.execute_batch(sql).expect("statements");
    connection
}

/// A folder with what `from` and its log are at this moment.
fn copied(from: &Path, suffixes: &[&str]) -> (TempDir, PathBuf) {
    let to = folder();
    let path = to.path().join("copy.db");
    for suffix in suffixes {
        fs::copy(format!("{}{suffix}", from.display()), format!("{}{suffix}", path.display())).expect("a copy");
    }
    (to, path)
}

fn number(path: &Path, pragma: &str) -> i64 {
    let connection = Connection::open(path).expect("the file opens");
    connection.pragma_query_value(None, pragma, |row| row.get(0)).expect("a number")
}

/// What 0.1.0 wrote before it marked its files, with the planner's statistics it left and one org.
fn unmarked() -> String {
    format!(
        "{}; PRAGMA user_version = 1; INSERT INTO org VALUES (x'0102030405060708090a0b0c', 'acme', 5); ANALYZE;",
        migrations::SQLITE[0]
    )
}

#[test]
fn a_file_of_another_program_is_refused_and_left_alone() {
    let first = migrations::SQLITE[0];
    for sql in [
        "CREATE TABLE photo (name TEXT); PRAGMA user_version = 1".to_owned(),
        // Names like ours prove nothing by themselves: one table more, one fewer, another mark.
        "CREATE TABLE customer (id INTEGER, name TEXT); PRAGMA user_version = 1".to_owned(),
        format!("{first}; CREATE TABLE photo (name TEXT); PRAGMA user_version = 1"),
        format!("{first}; DROP TABLE tally; PRAGMA user_version = 1"),
        format!("{first}; PRAGMA user_version = 1; PRAGMA application_id = 1196444487"),
        format!("{first}; PRAGMA user_version = 0"),
        "CREATE VIEW seven AS SELECT 7".to_owned(),
        "PRAGMA user_version = 3".to_owned(),
        "PRAGMA application_id = 1196444487".to_owned(),
        "CREATE TABLE photo (name TEXT); PRAGMA user_version = -1".to_owned(),
    ] {
        for mode in ["DELETE", "WAL"] {
            let folder = folder();
            let path = folder.path().join("their #1?.db");
            let connection = make(&path, &format!("PRAGMA journal_mode = {mode}; {sql}"));
            let beside = fs::read_dir(folder.path()).expect("a folder").count();
            assert_eq!(beside, if mode == "WAL" { 3 } else { 1 }, "the log and its index are there");
            let in_use = content(folder.path());
            assert!(refusal(&path).contains("another program"), "{mode} {sql}");
            let after = content(folder.path());
            assert!(after.keys().eq(in_use.keys()), "{mode} {sql}: {:?}", after.keys());
            // The index of the log is shared memory of those who have the file open, whatever they do.
            let kept = |(path, _): &(&PathBuf, &Vec<u8>)| !path.to_string_lossy().ends_with("-shm");
            assert!(after.iter().filter(kept).eq(in_use.iter().filter(kept)), "{mode} {sql}");

            if mode == "WAL" {
                let (folder, path) = copied(&path, &["", "-wal"]);
                let before = content(folder.path());
                assert!(refusal(&path).contains("another program"), "a copy: {sql}");
                assert!(content(folder.path()) == before, "a copy: {sql}: {:?}", content(folder.path()).keys());
            }

            drop(connection);
            let closed = content(folder.path());
            assert_eq!(closed.len(), 1);
            assert!(refusal(&path).contains("another program"), "{mode} {sql}");
            assert!(content(folder.path()) == closed, "{mode} {sql}: {:?}", content(folder.path()).keys());
        }
    }
}

#[test]
fn what_is_no_database_is_refused_and_left_alone() {
    let folder = folder();
    for (name, text) in [("short.txt", "hello\n".to_owned()), ("long.txt", "Not a database at all. ".repeat(500))] {
        let path = folder.path().join(name);
        fs::write(&path, text).expect("a file");
        let before = content(folder.path());
        assert!(refusal(&path).contains("no SQLite database"), "{name}");
        assert!(content(folder.path()) == before, "{name}");
    }
}

#[tokio::test]
async fn a_file_without_the_mark_is_known_by_its_tables_and_marked() {
    let original = folder();
    let path = original.path().join("old.db");
    // Held open without a checkpoint: the file itself is all but empty, what it says is in the log.
    let connection = make(&path, &format!("PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0; {}", unmarked()));
    let mut folders = vec![copied(&path, &["", "-wal", "-shm"]), copied(&path, &["", "-wal"])];
    drop(connection);
    folders.push(copied(&path, &[""]));
    for (n, (_folder, path)) in folders.iter().enumerate() {
        for _ in 0..2 {
            let store = Sqlite::open(path).unwrap_or_else(|error| panic!("{n}: {error}"));
            let names: Vec<_> = store.orgs().await.expect("a read").into_iter().map(|org| org.name).collect();
            assert_eq!(names, ["acme"], "{n}");
            drop(store);
            let newest = migrations::SQLITE.len() as i64;
            assert_eq!((number(path, "application_id"), number(path, "user_version")), (KONV, newest), "{n}");
        }
    }
}

#[test]
fn a_file_with_the_mark_is_ours_whatever_its_tables() {
    let folder = folder();
    let path = folder.path().join("ours.db");
    drop(Sqlite::open(&path).expect("it opens"));
    assert_eq!(number(&path, "application_id"), KONV);
    drop(make(&path, "CREATE TABLE of_the_owner (name TEXT)"));
    drop(Sqlite::open(&path).expect("it opens again"));

    drop(make(&path, "PRAGMA user_version = 999"));
    let before = content(folder.path());
    let text = refusal(&path);
    assert!(text.contains("999") && text.contains("newer konverse"), "{text}");
    assert!(content(folder.path()) == before);
}

#[test]
fn a_new_file_is_for_its_owner_alone() {
    let mode = |path: &Path| fs::metadata(path).expect("a file").permissions().mode() & 0o7777;
    let in_use =
        |path: &Path| ["", "-wal", "-shm"].map(|suffix| mode(Path::new(&format!("{}{suffix}", path.display()))));
    let folder = folder();
    let path = folder.path().join("new.db");
    let store = Sqlite::open(&path).expect("it opens");
    assert_eq!(in_use(&path), [0o600; 3]);
    drop(store);

    // An existing file, empty or not, keeps the mode somebody gave it.
    let given = folder.path().join("given.db");
    fs::write(&given, "").expect("a file");
    for bits in [0o640, 0o660] {
        fs::set_permissions(&given, fs::Permissions::from_mode(bits)).expect("a mode");
        let store = Sqlite::open(&given).expect("it opens");
        assert_eq!(in_use(&given), [bits; 3]);
        drop(store);
    }
}

#[tokio::test]
async fn a_path_is_taken_as_it_stands() {
    let folder = folder();
    let real = folder.path().join("real.db");
    let link = folder.path().join("link.db");
    symlink(&real, &link).expect("a link");
    for path in [link, folder.path().join("a b?mode=memory#x%20&é.db"), folder.path().join("file:y.db")] {
        for _ in 0..2 {
            let store = Sqlite::open(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            store.ping().await.expect("a read");
        }
        assert!(fs::metadata(&path).expect("the file is where the path says").len() > 0);
    }
    assert_eq!(fs::metadata(&real).expect("the link's target").permissions().mode() & 0o777, 0o600);
}

#[test]
fn what_cannot_be_opened_is_named_with_the_reason() {
    let folder = folder();
    let text = refusal(folder.path());
    assert!(text.contains("a directory"), "{text}");

    let text = refusal(&folder.path().join("missing/x.db"));
    assert!(text.contains(&format!("no folder {}", folder.path().join("missing").display())), "{text}");

    let text = refusal(Path::new("/dev/null"));
    assert!(text.contains("no regular file"), "{text}");

    // Nobody, not even root, may create a file there.
    let text = refusal(Path::new("/proc/konverse.db"));
    assert!(text.contains("cannot be created"), "{text}");

    // As in a folder that may only be read: the log can be neither opened nor made.
    let path = folder.path().join("x.db");
    drop(Sqlite::open(&path).expect("it opens"));
    fs::create_dir(folder.path().join("x.db-wal")).expect("a folder");
    let text = refusal(&path);
    assert!(text.contains("create others in its folder"), "{text}");
}

#[test]
fn what_may_only_be_read_is_refused() {
    const FOLDER: &str = "KONVERSE_TEST_READ_ONLY";
    let cases = ["closed/x.db", "copy/x.db", "killed/x.db", "file/x.db", "place/x.db"];
    if let Ok(folder) = std::env::var(FOLDER) {
        for case in cases {
            let text = refusal(&Path::new(&folder).join(case));
            assert!(text.contains("has to read and write the file"), "{case}: {text}");
        }
        return;
    }

    let folder = folder();
    let mode = |path: &Path, bits| fs::set_permissions(path, fs::Permissions::from_mode(bits)).expect("a mode");
    let path = folder.path().join("x.db");
    let store = Sqlite::open(&path).expect("it opens");
    for case in cases {
        let made = folder.path().join(case);
        fs::create_dir(made.parent().expect("a folder")).expect("a folder");
        let suffixes: &[&str] = match case {
            "killed/x.db" => &["", "-wal", "-shm"],
            "copy/x.db" => &["", "-wal"],
            _ => &[""],
        };
        for suffix in suffixes {
            let file = PathBuf::from(format!("{}{suffix}", made.display()));
            fs::copy(format!("{}{suffix}", path.display()), &file).expect("a copy");
            mode(&file, if case == "place/x.db" { 0o666 } else { 0o444 });
        }
        mode(made.parent().expect("a folder"), if case == "file/x.db" { 0o777 } else { 0o555 });
    }
    drop(store);
    mode(folder.path(), 0o755);
    // Root may write everything, so somebody else tries.
    let program = folder.path().join("test");
    fs::copy(std::env::current_exe().expect("a program"), &program).expect("a copy");
    let mut child = Command::new(&program);
    child.args(["--exact", "what_may_only_be_read_is_refused", "--nocapture"]).env(FOLDER, folder.path());
    if fs::metadata("/proc/self").expect("a process").uid() == 0 {
        child.uid(65_534).gid(65_534);
    }
    let output = child.output().expect("the test starts");
    for case in cases {
        mode(folder.path().join(case).parent().expect("a folder"), 0o755);
    }
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"));
}

#[test]
fn several_may_create_one_file_at_once() {
    let folder = folder();
    for n in 0..4 {
        let path = folder.path().join(format!("{n}.db"));
        std::thread::scope(|scope| {
            let opening: Vec<_> = (0..6).map(|_| scope.spawn(|| Sqlite::open(&path).map(drop))).collect();
            for thread in opening {
                thread.join().expect("no panic").expect("it opens");
            }
        });
    }
}

/// An idle server keeps a read transaction open for a moment; whoever wants to begin the log anew gets to it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_has_read_does_not_hold_the_log_for_good() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("test.db");
    let (reading, writing) = (Sqlite::open(&path).expect("it opens"), Sqlite::open(&path).expect("it opens again"));
    let changes = |n: u8| {
        let org = konverse_model::OrgId(konverse_model::Id::from_bytes([n; 12]));
        let at = konverse_model::Instant::from_millis(0);
        let mut changes = konverse_store::Changes::new(org, at);
        changes.ops.push(konverse_store::Op::Found(konverse_store::Org {
            id: org,
            name: n.to_string(),
            created_at: at,
        }));
        changes
    };
    konverse_store::Records::apply(&writing, changes(1)).await.expect("a change");
    konverse_store::Credentials::org_named(&reading, "1").await.expect("a read");
    let foreign = Connection::open(&path).expect("it opens");
    foreign.busy_timeout(std::time::Duration::from_secs(30)).expect("a setting");
    let busy: i64 = foreign.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0)).expect("a checkpoint");
    assert_eq!(busy, 0, "the log was begun anew");
    drop((reading, writing));
}

/// The log begins anew although another process always reads; otherwise it would grow by all that is ever written.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_stays_bounded_beside_a_process_that_always_reads() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("test.db");
    let writing = Sqlite::open(&path).expect("it opens");
    let reading = std::sync::Arc::new(Sqlite::open(&path).expect("it opens again"));
    let ended = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let reader = tokio::spawn({
        let ended = std::sync::Arc::clone(&ended);
        async move {
            while !ended.load(std::sync::atomic::Ordering::Relaxed) {
                Credentials::org_named(&*reading, "nobody").await.expect("a read");
                tokio::task::yield_now().await;
            }
        }
    });
    let (org, at) =
        (konverse_model::OrgId(konverse_model::Id::from_bytes([1; 12])), konverse_model::Instant::from_millis(0));
    for n in 0..300u16 {
        let mut bytes = [0; 12];
        bytes[..2].copy_from_slice(&n.to_be_bytes());
        let mut changes = konverse_store::Changes::new(org, at);
        changes.insert(konverse_store::Row {
            kind: konverse_model::Kind::Tag,
            id: konverse_model::Id::from_bytes(bytes),
            customer: None,
            conversation: None,
            hidden: konverse_store::Hidden::No,
            rev: 1,
            turn: 0,
            version: konverse_model::RENDERER,
            created_at: at,
            updated_at: at,
            wake_at: None,
            external_id: None,
            label: None,
            doc: "x".repeat(1 << 20),
            state: None,
        });
        konverse_store::Records::apply(&writing, changes).await.expect("a change");
    }
    let log = fs::metadata(folder.path().join("test.db-wal")).expect("a log").len();
    assert!(log < 200 << 20, "{log} bytes of log");
    ended.store(true, std::sync::atomic::Ordering::Relaxed);
    reader.await.expect("it reads to the end");
}

/// Whoever closes a file last takes the log and its index away, also after reads.
#[tokio::test]
async fn nothing_lies_beside_a_file_that_is_closed() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("test.db");
    let store = Sqlite::open(&path).expect("it opens");
    Credentials::org_named(&store, "nobody").await.expect("a read");
    assert!(folder.path().join("test.db-shm").exists());
    drop(store);
    let left: Vec<_> =
        fs::read_dir(folder.path()).expect("a folder").map(|entry| entry.expect("a file").file_name()).collect();
    assert_eq!(left, ["test.db"]);
}
