//! Child processes. Each ends with the value that stands for it, also when a run fails or is interrupted.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::limit::Limit;

/// How long a process may take to serve. A new PostgreSQL under load is the slowest.
const STARTING: Duration = Duration::from_secs(60);

/// How long a process that was told to end may take before it is killed.
const GRACE: Duration = Duration::from_secs(5);

/// A child process.
#[derive(Debug)]
pub struct Process {
    child: Child,
    ending: Signal,
}

impl Process {
    /// Starts a process that logs to the end of a file, and waits until it is `ready`, which is shown what it has logged.
    /// `ending` is the signal that asks it to end.
    pub fn start<T>(
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
    pub fn id(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Whether it still runs.
    pub fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill_process(self.id(), signal).context("the process has ended by itself")
    }

    /// Sends a signal that ends it, and waits until it has: how long that took.
    pub fn end(mut self, signal: Signal, within: Duration, limit: Limit) -> Result<Duration> {
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
        // Looked for before: once their parent is gone they are nobody's.
        let children = children(self.id());
        let asked = Instant::now();
        while asked.elapsed() < GRACE {
            if !self.is_alive() {
                return;
            }
            sleep(Duration::from_millis(5));
        }
        for child in children {
            let _ = kill_process(child, Signal::KILL);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The living children of a process.
pub fn children(of: Pid) -> Vec<Pid> {
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

/// A port of the loopback interface that was free a moment ago.
pub fn free_port() -> Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

/// konverse with the settings of a run only, whatever the environment says.
pub fn konverse(program: &Path) -> Command {
    let mut command = Command::new(program);
    clean(&mut command);
    command
}

/// Takes from a command what the environment says of konverse.
pub fn clean(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("KONVERSE_") || name == "RUST_LOG") {
            command.env_remove(name);
        }
    }
}

/// A command that is expected to succeed: what it prints.
pub fn output(command: &mut Command) -> Result<String> {
    let Output { status, stdout, stderr } = command.stdin(Stdio::null()).output()?;
    let text = String::from_utf8_lossy(&stdout).into_owned();
    if !status.success() {
        bail!("{command:?} ended with {status}:\n{text}{}", String::from_utf8_lossy(&stderr));
    }
    Ok(text)
}

/// The last lines of a log, for an error message.
pub fn tail(path: &Path) -> String {
    let bytes = fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(15)..].iter().map(|line| format!("  {line}\n")).collect()
}
