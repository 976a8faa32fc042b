//! `konverse demo`: what it prints, what it keeps, what a second start finds.

mod running;

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use running::Running;
use serde_json::Value;

const SCREEN: (usize, usize) = (80, 24);

/// A demo and what it printed.
struct Demo {
    running: Running,
    printed: String,
}

impl Demo {
    fn start(folder: &Path, more: &[&str]) -> Self {
        let mut running = Running::start(folder, &[&["demo", "--listen", "127.0.0.1:0"], more].concat());
        let mut printed = String::new();
        let mut out = BufReader::new(running.child.stdout.take().expect("a pipe"));
        // It prints once and then serves for as long as it runs, so the text ends where it says how to stop.
        while !printed.contains("Stop with Ctrl-C") {
            assert_ne!(out.read_line(&mut printed).expect("text"), 0, "{printed}");
        }
        Self { running, printed }
    }

    fn stop(self) {
        self.running.signal("INT");
        let (status, log) = self.running.ended();
        assert_eq!(status, Some(0), "{log}");
    }

    /// The printed command, as it would be pasted.
    fn command(&self) -> String {
        let (_, rest) = self.printed.split_once("  curl ").expect("a command");
        format!("curl {}", rest.split("\n\n").next().expect("a paragraph"))
    }
}

/// What a shell prints that runs this in a folder.
fn shell(folder: &Path, script: &str) -> String {
    let output = Command::new("sh").args(["-c", script]).current_dir(folder).output().expect("a shell");
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// Does what the printed command says and gives the rows. A shell reads it; curl sends it as well where there is one.
fn first_request(folder: &Path, demo: &Demo) -> Vec<Value> {
    let command = demo.command();
    let words = shell(folder, &format!("curl() {{ printf '%s\\n' \"$@\"; }}\n{command}"));
    let words: Vec<&str> = words.lines().collect();
    let ["-G", "-d", query, "-H", authorization, url] = words[..] else { panic!("{words:?}") };
    let token = authorization.strip_prefix("Authorization: Bearer ").expect("a token");
    let place = format!("http://{}", demo.running.address);
    let path = url.strip_prefix(&place).expect("the address it serves on");
    let (status, answer) = demo.running.get(&format!("{path}?{query}"), token);
    assert_eq!(status, 200, "{answer}");
    if Command::new("curl").arg("--version").output().is_ok() {
        assert_eq!(serde_json::from_str::<Value>(&shell(folder, &command)).expect("JSON"), answer);
    }
    answer["data"].as_array().expect("rows").clone()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("the file").permissions().mode() & 0o777
}

#[test]
fn it_prints_a_request_that_works_and_fits_a_screen() {
    let folder = tempfile::tempdir().expect("a folder");
    let demo = Demo::start(folder.path(), &[]);
    let lines: Vec<&str> = demo.printed.lines().collect();
    assert!(lines.len() <= SCREEN.1 && lines.iter().all(|line| line.chars().count() <= SCREEN.0), "{}", demo.printed);
    assert!(demo.printed.contains("konverse-demo.db") && demo.printed.contains("token in konverse-demo.token"));
    let file = folder.path().join("konverse-demo.token");
    let token = fs::read_to_string(&file).expect("the token");
    assert!(!demo.printed.contains(token.trim()) && !demo.running.log.contains(token.trim()));
    assert_eq!(mode(&file), 0o600);
    assert_eq!(first_request(folder.path(), &demo).len(), 3);
    demo.stop();
}

#[test]
fn a_second_start_finds_the_same_records_and_token() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("konverse-demo.token");
    // Left by somebody else, readable by all.
    fs::write(&file, "no token of this demo").expect("it is written");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).expect("it is changed");
    let demo = Demo::start(folder.path(), &[]);
    assert_eq!(mode(&file), 0o600);
    let rows = first_request(folder.path(), &demo);
    let token = fs::read_to_string(&file).expect("the token");
    demo.stop();

    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).expect("it is changed");
    let demo = Demo::start(folder.path(), &[]);
    assert_eq!(mode(&file), 0o600);
    assert_eq!(first_request(folder.path(), &demo), rows);
    assert_eq!(fs::read_to_string(&file).expect("the token"), token);
    demo.stop();

    // Elsewhere, the ids are the same as well.
    let elsewhere = tempfile::tempdir().expect("a folder");
    let demo = Demo::start(elsewhere.path(), &[]);
    let ids = |rows: &[Value]| rows.iter().map(|row| row["id"].clone()).collect::<Vec<_>>();
    assert_eq!(ids(&first_request(elsewhere.path(), &demo)), ids(&rows));
    demo.stop();
}

#[test]
fn a_file_of_any_name_will_do() {
    let names = [
        ("it's a $(demo).db", "it's a $(demo).token"),
        ("-d.db", "-d.token"),
        ("demo.token", "demo.token.token"),
        ("demo", "demo.token"),
    ];
    for (data, token) in names {
        let folder = tempfile::tempdir().expect("a folder");
        let demo = Demo::start(folder.path(), &[&format!("--file={data}")]);
        assert_eq!(first_request(folder.path(), &demo).len(), 3, "{data}");
        demo.stop();
        assert!(fs::read(folder.path().join(data)).expect("the data").starts_with(b"SQLite format 3"), "{data}");
        assert!(fs::read_to_string(folder.path().join(token)).expect("the token").starts_with("eyJ"), "{data}");
    }
}

#[test]
fn it_runs_beside_others() {
    let folder = tempfile::tempdir().expect("a folder");
    let first = Demo::start(folder.path(), &[]);
    // On the same file, and serving it as anything else is served.
    let second = Demo::start(folder.path(), &[]);
    let serve = ["serve", "--database", "sqlite:konverse-demo.db", "--listen", "127.0.0.1:0"];
    let third = Running::start(folder.path(), &serve);
    let rows = first_request(folder.path(), &first);
    assert_eq!(first_request(folder.path(), &second), rows);
    let token = fs::read_to_string(folder.path().join("konverse-demo.token")).expect("the token");
    let id = rows[0]["id"].as_str().expect("an id");
    let (status, row) = third.get(&format!("/v1/conversations/{id}"), token.trim());
    assert_eq!((status, &row["data"]), (200, &rows[0]));
}
