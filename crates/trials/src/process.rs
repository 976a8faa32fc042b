//! konverse as a child process.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use konverse_harness::{Limit, Process, clean, konverse, tail};
use rustix::process::{Pid, Signal};

/// How long one that is killed may take to be gone.
const GRACE: Duration = Duration::from_secs(5);

/// A running konverse.
#[derive(Debug)]
pub(crate) struct Server {
    /// Where it serves.
    pub(crate) port: u16,
    /// The process.
    pub(crate) process: Process,
    log: PathBuf,
}

impl Server {
    /// Starts `serve` on a database, with these options besides.
    pub(crate) fn start(program: &Path, database: &str, options: &[&str], log: &Path, limit: Limit) -> Result<Self> {
        Self::start_as(konverse(program), database, options, log, limit)
    }

    /// The same of a command to which `serve` and its options are added.
    pub(crate) fn start_as(
        mut command: Command,
        database: &str,
        options: &[&str],
        log: &Path,
        limit: Limit,
    ) -> Result<Self> {
        clean(&mut command);
        command.args(["serve", "--database", database, "--listen", "127.0.0.1:0"]).args(options);
        let (process, port) = Process::start(&mut command, Signal::TERM, log, limit, |said| {
            let (_, rest) = said.split_once("serving on http://127.0.0.1:")?;
            let (port, _) = rest.split_once('\n')?;
            port.trim().parse().ok()
        })?;
        Ok(Self { port, process, log: log.to_owned() })
    }

    /// Fails when it has ended by itself.
    pub(crate) fn expect_alive(&mut self) -> Result<()> {
        if !self.process.is_alive() {
            bail!("konverse ended by itself:\n{}", tail(&self.log));
        }
        Ok(())
    }

    /// Kills it at once.
    pub(crate) fn kill(mut self, limit: Limit) -> Result<()> {
        self.expect_alive()?;
        self.process.end(Signal::KILL, GRACE, limit).map(drop)
    }

    /// Asks it to end and waits: how long that took.
    pub(crate) fn stop(self, within: Duration, limit: Limit) -> Result<Duration> {
        self.process.end(Signal::TERM, within, limit)
    }
}

/// Fails when a server's log tells of a panic.
pub(crate) fn expect_no_panic(log: &Path) -> Result<()> {
    let text = fs::read_to_string(log).unwrap_or_default();
    match text.lines().find(|line| line.contains("panicked at")) {
        Some(line) => bail!("konverse panicked: {line}"),
        None => Ok(()),
    }
}

/// Kibibytes of memory that a process holds which are not pages of files.
pub(crate) fn anonymous_kib(of: Pid) -> Result<u64> {
    let path = format!("/proc/{}/status", of.as_raw_pid());
    let text = fs::read_to_string(&path).context(path)?;
    let line = text.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    line.and_then(|rest| rest.split_ascii_whitespace().next()?.parse().ok()).context("no RssAnon")
}
