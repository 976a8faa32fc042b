//! Child processes. Each ends with the value that stands for it, also when a trial fails or is interrupted.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::stop::Limit;

/// How long a process may take to serve. A new PostgreSQL under load is the slowest.
const STARTING: Duration = Duration::from_secs(60);

/// How long a process that was told to end may take before it is killed.
const GRACE: Duration = Duration::from_secs(5);

/// A child process.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    ending: Signal,
}

impl Process {
    /// Starts a process that logs to the end of a file, and waits until it is `ready`, which is shown what it has logged.
    /// `ending` is the signal that asks it to end.
    pub(crate) fn start<T>(
        command: &mut Command,
        ending: Signal,
        log: &Path,
        limit: Limit,
        mut ready: impl FnMut(&str) -> Option<T>,
    ) -> Result<(Self, T)> {
        let mut file = File::options().create(true).append(true).read(true).open(log)?;
        let begin = file.seek(SeekFrom::End(0))?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file.try_clone()?);
        let child = command.spawn().with_context(|| format!("{} does not start", command.get_program().display()))?;
        let mut process = Self { child, ending };
        let mut found = None;
        let said = || -> Result<String> {
            let mut bytes = Vec::new();
            let mut reader = File::open(log)?;
            reader.seek(SeekFrom::Start(begin))?;
            reader.read_to_end(&mut bytes)?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        };
        let taken = limit.until(STARTING, || {
            found = ready(&said()?);
            if found.is_none() && !process.is_alive() {
                bail!("{command:?} ended while starting:\n{}", said()?);
            }
            Ok(found.is_some())
        })?;
        match (taken, found) {
            (Some(_), Some(found)) => Ok((process, found)),
            _ => bail!("{command:?} is not ready after {STARTING:?}:\n{}", said()?),
        }
    }

    /// Its id.
    pub(crate) fn id(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Whether it still runs.
    pub(crate) fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        kill_process(self.id(), signal).context("the process has ended by itself")
    }

    /// Sends a signal that ends it, and waits until it has: how long that took.
    pub(crate) fn end(mut self, signal: Signal, within: Duration, limit: Limit) -> Result<Duration> {
        if !self.is_alive() {
            bail!("the process had ended by itself");
        }
        self.signal(signal)?;
        match limit.until(within, || Ok(!self.is_alive()))? {
            Some(taken) => Ok(taken),
            None => bail!("the process had not ended {within:?} after {signal:?}"),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.is_alive() {
            return;
        }
        // One that stands still ends no sooner than it goes on.
        let _ = self.signal(self.ending);
        let _ = self.signal(Signal::CONT);
        let forever = Limit::after(2 * GRACE);
        if !matches!(forever.until(GRACE, || Ok(!self.is_alive())), Ok(Some(_))) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// konverse with the settings of a trial only, whatever the environment says.
pub(crate) fn konverse(program: &Path) -> Command {
    let mut command = Command::new(program);
    clean(&mut command);
    command
}

fn clean(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("KONVERSE_") || name == "RUST_LOG") {
            command.env_remove(name);
        }
    }
}

/// A command that is expected to succeed: what it prints.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let Output { status, stdout, stderr } = command.stdin(Stdio::null()).output()?;
    let text = String::from_utf8_lossy(&stdout).into_owned();
    if !status.success() {
        bail!("{command:?} ended with {status}:\n{text}{}", String::from_utf8_lossy(&stderr));
    }
    Ok(text)
}

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

/// The last lines of a log, for an error message.
pub(crate) fn tail(path: &Path) -> String {
    let bytes = fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(15)..].iter().map(|line| format!("  {line}\n")).collect()
}

/// Kibibytes of memory that a process holds which are not pages of files.
pub(crate) fn anonymous_kib(of: Pid) -> Result<u64> {
    let path = format!("/proc/{}/status", of.as_raw_pid());
    let text = fs::read_to_string(&path).context(path)?;
    let line = text.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    line.and_then(|rest| rest.split_ascii_whitespace().next()?.parse().ok()).context("no RssAnon")
}
