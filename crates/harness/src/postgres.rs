//! A PostgreSQL of the run's own, as durable as it is by default, that can be stopped, killed, frozen and started again.
//!
//! It listens on a free port of the loopback interface, lives in the folder of the run and ends with its value.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Error, Result};
use rustix::process::{Pid, Signal, kill_process};

use crate::limit::Limit;
use crate::process::{Process, children, free_port, output};

/// The account that runs the server when this is the superuser, whom PostgreSQL does not serve.
const ACCOUNT: &str = "postgres";

/// The environment variable that names the folder of PostgreSQL's programs.
pub const PROGRAMS_VARIABLE: &str = "KONVERSE_PG_BIN";

/// The programs that are needed.
const PROGRAMS: &[&str] = &["initdb", "postgres", "psql"];

/// A PostgreSQL server that runs or not.
#[derive(Debug)]
pub struct Cluster {
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
    pub fn start(programs: Option<&Path>, work: &Path, options: &[&str], limit: Limit) -> Result<Self> {
        let found = || {
            let found = programs_with(PROGRAMS).map_err(Error::msg)?;
            found.with_context(|| {
                format!(
                    "{} are not all here: install them (Debian: apt-get install postgresql), or name their folder with \
                     --postgres-programs",
                    PROGRAMS.join(", ")
                )
            })
        };
        let programs = programs.map_or_else(found, |folder| Ok(folder.to_owned()))?;
        let folder = work.join("postgres");
        fs::create_dir(&folder)?;
        let owner = if rustix::process::geteuid().is_root() { Some(account()?) } else { None };
        if let Some((user, group)) = owner {
            std::os::unix::fs::chown(&folder, Some(user), Some(group))?;
            // The account has to come to its folder through those above it.
            for above in [Some(work), work.parent()].into_iter().flatten() {
                let mode = fs::metadata(above)?.permissions().mode();
                fs::set_permissions(above, fs::Permissions::from_mode(mode | 0o011))?;
            }
        }
        let port = free_port()?;
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
    pub fn resume(&mut self) -> Result<()> {
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
    pub fn halt(&mut self, signal: Signal) -> Result<()> {
        let process = self.process.take().context("the server is not running")?;
        process.end(signal, Duration::from_secs(60), self.limit).map(drop)
    }

    /// Sends a signal to the server's first process and all its children.
    pub fn signal_all(&self, signal: Signal) -> Result<usize> {
        let first = self.pid()?;
        let children = children(first);
        // The first one stops before, and goes on after, the others: it does not miss their ends.
        kill_process(first, signal)?;
        for child in &children {
            let _ = kill_process(*child, signal);
        }
        Ok(children.len())
    }

    /// Its first process, whose children do its work.
    ///
    /// # Errors
    /// When it does not run.
    pub fn pid(&self) -> Result<Pid> {
        self.process.as_ref().map(Process::id).context("the server is not running")
    }

    /// The folder of its programs.
    pub fn programs(&self) -> &Path {
        &self.programs
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where a database is.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://konverse@127.0.0.1:{}/{database}", self.port)
    }

    /// Makes an empty database; its URL.
    pub fn create(&self, database: &str) -> Result<String> {
        self.sql("postgres", &format!("CREATE DATABASE {database}"))?;
        Ok(self.url(database))
    }

    /// Runs statements, and returns what they answer.
    pub fn sql(&self, database: &str, sql: &str) -> Result<String> {
        let mut command = Command::new(self.programs.join("psql"));
        command.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", &self.url(database), "-c", sql]);
        output(&mut command)
    }
}

/// The folder that has all of these programs of PostgreSQL: the one that [`PROGRAMS_VARIABLE`] names; where Debian puts the
/// newest version, which is not on the `PATH`; or on the `PATH`.
///
/// # Errors
/// When the variable names a folder without them.
pub fn programs_with(names: &[&str]) -> Result<Option<PathBuf>, String> {
    let complete = |folder: &PathBuf| names.iter().all(|name| folder.join(name).is_file());
    // An empty variable counts as not set.
    if let Some(folder) = std::env::var_os(PROGRAMS_VARIABLE).filter(|folder| !folder.is_empty()).map(PathBuf::from) {
        return match complete(&folder) {
            true => Ok(Some(folder)),
            false => Err(format!("{PROGRAMS_VARIABLE}={} does not hold {}", folder.display(), names.join(", "))),
        };
    }
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let packaged = versions.filter_map(|entry| {
        let version: u32 = entry.file_name().to_str()?.parse().ok()?;
        Some((version, entry.path().join("bin")))
    });
    if let Some((_, folder)) = packaged.filter(|(_, folder)| complete(folder)).max() {
        return Ok(Some(folder));
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    Ok(std::env::split_paths(&path).find(complete))
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
