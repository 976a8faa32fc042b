//! A PostgreSQL server of the run's own, with the settings it comes with, and `pgbench` on it.
//!
//! It listens on a free port of the loopback interface, lives in the folder of the run and ends with the value that
//! stands for it. Nothing is made less durable than it is by default.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::limit::Limit;
use crate::proc;
use crate::servers::{self, Process};

/// The account that runs the server when this is the superuser, whom PostgreSQL does not serve.
const ACCOUNT: &str = "postgres";

/// A running PostgreSQL server.
pub(crate) struct Cluster {
    process: Process,
    programs: PathBuf,
    port: u16,
    work: PathBuf,
    limit: Limit,
}

impl Cluster {
    /// Makes a data folder in `work` and starts a server on it.
    pub(crate) fn start(programs: Option<&Path>, work: &Path, limit: Limit) -> Result<Self> {
        let programs = programs.map_or_else(find_programs, |folder| Ok(folder.to_owned()))?;
        let folder = work.join("postgres");
        fs::create_dir(&folder)?;
        let owner = if servers::is_root() { Some(account()?) } else { None };
        if let Some((user, group)) = owner {
            std::os::unix::fs::chown(&folder, Some(user), Some(group))?;
            // The account has to come to its folder through the run's.
            fs::set_permissions(work, fs::Permissions::from_mode(0o711))?;
        }
        let as_owner = |program: &str| {
            let mut command = Command::new(programs.join(program));
            command.current_dir(&folder).arg("-D").arg(folder.join("data"));
            if let Some((user, group)) = owner {
                command.uid(user).gid(group);
            }
            command
        };
        let mut init = as_owner("initdb");
        init.args(["--no-instructions", "-A", "trust", "-U", "konverse", "-E", "UTF8", "--locale=C.UTF-8"]);
        proc::run(&mut init, &work.join("initdb"), limit)?;

        let port = servers::free_port()?;
        let mut serve = as_owner("postgres");
        serve.args(["-p", &port.to_string(), "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="]);
        let lock = folder.join("data/postmaster.pid");
        // The eighth line of the lock file is the server's state. SIGINT ends it without waiting for its clients.
        let process = Process::start(&mut serve, "INT", &work.join("postgres.log"), limit, || {
            let text = fs::read_to_string(&lock).unwrap_or_default();
            text.lines().nth(7).is_some_and(|state| state.trim() == "ready")
        })?;
        Ok(Self { process, programs, port, work: work.to_owned(), limit })
    }

    /// The server's first process, whose children do its work.
    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
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
        Ok(proc::run(&mut command, &self.work.join("psql"), self.limit)?.1)
    }

    /// Transactions a second of this script, prepared, with so many clients.
    pub(crate) fn pgbench(&self, database: &str, script: &str, clients: usize, time: Duration) -> Result<f64> {
        let file = self.work.join("pgbench.sql");
        fs::write(&file, script)?;
        let program = self.programs.join("pgbench");
        let mut command = Command::new(&program);
        let seconds = time.as_secs().max(1).to_string();
        command.args(["-n", "-M", "prepared", "-j", "2", "-T", &seconds, "-c", &clients.to_string(), "-f"]);
        command.arg(&file).arg(self.url(database));
        let (_, text) = proc::run(&mut command, &self.work.join("pgbench"), self.limit)?;
        transactions_a_second(&text).with_context(|| format!("pgbench printed\n{text}"))
    }

    /// The server's version.
    pub(crate) fn version(&self) -> Result<String> {
        Ok(self.sql("postgres", "SHOW server_version")?.trim().to_owned())
    }
}

fn transactions_a_second(text: &str) -> Option<f64> {
    let rest = text.lines().find_map(|line| line.strip_prefix("tps = "))?;
    rest.split(' ').next()?.parse().ok()
}

/// Debian keeps each major version in a folder of its own, none of them on the `PATH`.
fn find_programs() -> Result<PathBuf> {
    let complete =
        |folder: &PathBuf| ["initdb", "postgres", "psql", "pgbench"].iter().all(|name| folder.join(name).is_file());
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
            "no initdb, postgres, psql and pgbench: install them (Debian: apt-get install postgresql), or name their \
             folder with --postgres-programs"
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transactions_a_second_are_read_from_what_pgbench_prints() {
        let text = "number of failed transactions: 0 (0.000%)\nlatency average = 0.5 ms\ntps = 1234.567 (without initial connection time)\n";
        assert_eq!(transactions_a_second(text), Some(1234.567));
        assert_eq!(transactions_a_second("pgbench: error"), None);
    }
}
