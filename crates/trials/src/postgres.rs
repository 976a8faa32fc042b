//! A PostgreSQL of the trial's own, as durable as it is by default, that can be stopped, killed, frozen and started again.
//!
//! It listens on a free port of the loopback interface, lives in the folder of the run and ends with its value.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::process::{Process, output};
use crate::stop::Limit;

/// The account that runs the server when this is the superuser, whom PostgreSQL does not serve.
const ACCOUNT: &str = "postgres";

/// A PostgreSQL server that runs or not.
#[derive(Debug)]
pub(crate) struct Cluster {
    programs: PathBuf,
    folder: PathBuf,
    owner: Option<(u32, u32)>,
    port: u16,
    options: Vec<String>,
    limit: Limit,
    process: Option<Process>,
}

impl Cluster {
    /// Makes a data folder in `work` and starts a server on it.
    pub(crate) fn start(programs: Option<&Path>, work: &Path, options: &[&str], limit: Limit) -> Result<Self> {
        let programs = programs.map_or_else(find_programs, |folder| Ok(folder.to_owned()))?;
        let folder = work.join("postgres");
        fs::create_dir(&folder)?;
        let owner = if rustix::process::geteuid().is_root() { Some(account()?) } else { None };
        if let Some((user, group)) = owner {
            std::os::unix::fs::chown(&folder, Some(user), Some(group))?;
            // The account has to come to its folder through the run's and the trial's.
            for above in [Some(work), work.parent()].into_iter().flatten() {
                let mode = fs::metadata(above)?.permissions().mode();
                fs::set_permissions(above, fs::Permissions::from_mode(mode | 0o011))?;
            }
        }
        let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let options = options.iter().map(|option| (*option).to_owned()).collect();
        let mut cluster = Self { programs, folder, owner, port, options, limit, process: None };
        let mut init = cluster.as_owner("initdb");
        init.args(["--no-instructions", "-A", "trust", "-U", "konverse", "-E", "UTF8", "--locale=C.UTF-8"]);
        output(&mut init)?;
        cluster.resume()?;
        Ok(cluster)
    }

    fn as_owner(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        command.current_dir(&self.folder).arg("-D").arg(self.folder.join("data"));
        if let Some((user, group)) = self.owner {
            command.uid(user).gid(group);
        }
        command
    }

    /// Starts the server again where it was.
    pub(crate) fn resume(&mut self) -> Result<()> {
        let mut serve = self.as_owner("postgres");
        serve.args(["-p", &self.port.to_string(), "-c", "listen_addresses=127.0.0.1"]);
        serve.args(["-c", "unix_socket_directories="]);
        for option in &self.options {
            serve.args(["-c", option]);
        }
        let lock = self.folder.join("data/postmaster.pid");
        let log = self.folder.with_extension("log");
        let mut given = None;
        // SIGINT ends it without waiting for its clients. The eighth line of the lock file is the server's state; the
        // first, its id, tells this server's file from one that a killed server left.
        let (process, ()) = Process::start(&mut serve, Signal::INT, &log, self.limit, |_| {
            let text = fs::read_to_string(&lock).unwrap_or_default();
            let mut lines = text.lines();
            given = lines.next().and_then(|line| line.parse::<i32>().ok());
            let ready = lines.nth(6).is_some_and(|state| state.trim() == "ready");
            let alive =
                given.and_then(Pid::from_raw).is_some_and(|pid| rustix::process::test_kill_process(pid).is_ok());
            (ready && alive).then_some(())
        })?;
        self.process = Some(process);
        Ok(())
    }

    /// Ends the server by this signal: QUIT at once, as after a power cut; INT in order, without waiting for clients.
    pub(crate) fn halt(&mut self, signal: Signal) -> Result<()> {
        let process = self.process.take().context("the server is not running")?;
        process.end(signal, Duration::from_secs(60), self.limit).map(drop)
    }

    /// Sends a signal to the server's first process and all its children.
    pub(crate) fn signal_all(&self, signal: Signal) -> Result<usize> {
        let first = self.process.as_ref().context("the server is not running")?.id();
        let children = children(first);
        // The first one stops before, and goes on after, the others: it does not miss their ends.
        kill_process(first, signal)?;
        for child in &children {
            let _ = kill_process(*child, signal);
        }
        Ok(children.len())
    }

    /// Where it listens.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Where a database is.
    pub(crate) fn url(&self, database: &str) -> String {
        format!("postgres://konverse@127.0.0.1:{}/{database}", self.port)
    }

    /// Makes an empty database; its URL.
    pub(crate) fn create(&self, database: &str) -> Result<String> {
        self.sql("postgres", &format!("CREATE DATABASE {database}"))?;
        Ok(self.url(database))
    }

    /// Runs statements, and returns what they answer.
    pub(crate) fn sql(&self, database: &str, sql: &str) -> Result<String> {
        let mut command = Command::new(self.programs.join("psql"));
        command.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", &self.url(database), "-c", sql]);
        output(&mut command)
    }
}

/// The living children of a process.
fn children(of: Pid) -> Vec<Pid> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let is_child = |pid: &i32| {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // The name before may hold spaces and brackets.
        let parent = text.rsplit_once(')').and_then(|(_, rest)| rest.split_ascii_whitespace().nth(1)?.parse().ok());
        parent == Some(of.as_raw_pid())
    };
    pids.filter(is_child).filter_map(Pid::from_raw).collect()
}

/// Debian keeps each major version in a folder of its own, none of them on the `PATH`.
fn find_programs() -> Result<PathBuf> {
    let complete = |folder: &PathBuf| ["initdb", "postgres", "psql"].iter().all(|name| folder.join(name).is_file());
    if let Some(folder) = std::env::var_os("KONVERSE_PG_BIN").map(PathBuf::from).filter(complete) {
        return Ok(folder);
    }
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let packaged = versions.filter_map(|entry| {
        let version: u32 = entry.file_name().to_str()?.parse().ok()?;
        Some((version, entry.path().join("bin")))
    });
    if let Some((_, folder)) = packaged.filter(|(_, folder)| complete(folder)).max() {
        return Ok(folder);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    match std::env::split_paths(&path).find(complete) {
        Some(folder) => Ok(folder),
        None => bail!(
            "no initdb, postgres and psql: install them (Debian: apt-get install postgresql), or name their folder with \
             --postgres-programs"
        ),
    }
}

/// User and group of the account that is to run the server.
fn account() -> Result<(u32, u32)> {
    let accounts = fs::read_to_string("/etc/passwd")?;
    let line = accounts.lines().find(|line| line.starts_with(&format!("{ACCOUNT}:")));
    let mut fields = line
        .with_context(|| format!("PostgreSQL does not run as root, and there is no account {ACCOUNT}"))?
        .split(':')
        .skip(2);
    let mut number = || fields.next().and_then(|field| field.parse().ok()).context("/etc/passwd is not understood");
    Ok((number()?, number()?))
}
