//! What Linux says about processes: CPU time, memory, children; and short-lived child processes run under its eye.
//!
//! Two clocks are read. `stat` counts a whole process, threads that have ended included, in ticks of mostly 10 ms.
//! `schedstat` counts each living thread in nanoseconds. Servers keep their threads, so they are read by `schedstat`;
//! everything else, and a server whose threads come and go, by `stat`.

use std::collections::HashMap;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use konverse_harness::{Limit, children, tail};
use rustix::process::Pid;

/// How often a running child is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// What a process used from its start to its end.
pub(crate) struct Spent {
    pub(crate) wall: Duration,
    pub(crate) cpu: Duration,
    /// The most memory that was resident at once, as last seen while it ran.
    pub(crate) peak_kib: u64,
    /// The most that was seen of it that was not pages of files, such as those of a mapped database.
    pub(crate) peak_anonymous_kib: u64,
}

/// The fields of `/proc/PID/stat` that matter here.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    state: char,
    ticks: u64,
    /// Of children that have ended and were waited for.
    ticks_of_children: u64,
}

/// The fields of `/proc/PID/status` that matter here; a process that has ended has no memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Memory {
    pub(crate) resident_kib: u64,
    /// The part of it that is not pages of files.
    pub(crate) anonymous_kib: u64,
    pub(crate) peak_kib: u64,
}

fn parse_stat(text: &str) -> Option<Stat> {
    // The name before it may hold spaces and brackets, so the fields are counted from the last bracket.
    let (_, after_name) = text.rsplit_once(')')?;
    let fields: Vec<&str> = after_name.split_ascii_whitespace().collect();
    let number = |field: usize| fields.get(field)?.parse::<u64>().ok();
    Some(Stat {
        state: fields.first()?.chars().next()?,
        ticks: number(11)? + number(12)?,
        ticks_of_children: number(13)? + number(14)?,
    })
}

fn parse_memory(text: &str) -> Memory {
    let kib = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|rest| rest.split_ascii_whitespace().next()).and_then(|number| number.parse().ok()).unwrap_or(0)
    };
    Memory { resident_kib: kib("VmRSS:"), anonymous_kib: kib("RssAnon:"), peak_kib: kib("VmHWM:") }
}

/// Nanoseconds on a processor: the first field.
fn parse_schedstat(text: &str) -> Option<u64> {
    text.split_ascii_whitespace().next()?.parse().ok()
}

fn stat(pid: Pid) -> Result<Stat> {
    let path = format!("/proc/{}/stat", pid.as_raw_pid());
    let text = fs::read_to_string(&path).with_context(|| path.clone())?;
    parse_stat(&text).with_context(|| format!("{path} is not understood"))
}

/// The memory of a process now.
pub(crate) fn memory(pid: Pid) -> Result<Memory> {
    let path = format!("/proc/{}/status", pid.as_raw_pid());
    Ok(parse_memory(&fs::read_to_string(&path).context(path)?))
}

/// CPU time of a process so far, all threads, in ticks.
pub(crate) fn cpu(pid: Pid) -> Result<Duration> {
    Ok(ticks(stat(pid)?.ticks))
}

fn ticks(count: u64) -> Duration {
    static PER_SECOND: OnceLock<u64> = OnceLock::new();
    let per_second = *PER_SECOND.get_or_init(|| {
        let answer = Command::new("getconf").arg("CLK_TCK").output();
        let number = answer.ok().and_then(|output| String::from_utf8(output.stdout).ok());
        // 100 on every Linux that people run; getconf comes with the C library's programs.
        number.and_then(|text| text.trim().parse().ok()).filter(|number| *number > 0).unwrap_or(100)
    });
    Duration::from_nanos(count * 1_000_000_000 / per_second)
}

/// CPU time of processes and their children at one moment, to be compared with a later one.
pub(crate) struct Reading {
    /// Nanoseconds of each living thread; absent where the kernel does not keep `schedstat`.
    threads: Option<HashMap<(Pid, u32), u64>>,
    whole: Duration,
    processes: u32,
}

impl Reading {
    /// Reads the clocks of these processes and of their children.
    pub(crate) fn of(roots: &[Pid]) -> Result<Self> {
        let mut pids = Vec::new();
        let mut count = 0;
        for root in roots {
            let own = stat(*root)?;
            count += own.ticks + own.ticks_of_children;
            pids.push(*root);
            for child in children(*root) {
                // A child that has ended since is counted with its parent the next time.
                let Ok(stat) = stat(child) else { continue };
                count += stat.ticks;
                pids.push(child);
            }
        }
        Ok(Self { threads: threads(&pids), whole: ticks(count), processes: pids.len() as u32 })
    }

    /// CPU time since an earlier reading of the same processes.
    pub(crate) fn since(&self, earlier: &Self) -> Duration {
        let whole = self.whole.saturating_sub(earlier.whole);
        let (Some(before), Some(after)) = (&earlier.threads, &self.threads) else { return whole };
        let nanoseconds =
            after.iter().map(|(thread, now)| now.saturating_sub(before.get(thread).copied().unwrap_or(0)));
        let living = Duration::from_nanos(nanoseconds.sum());
        // Rounding explains two ticks a process, one of user and one of system time. More was done by threads and
        // children that ended.
        if whole > living + ticks(2) * self.processes { whole } else { living }
    }
}

fn threads(pids: &[Pid]) -> Option<HashMap<(Pid, u32), u64>> {
    let mut found = HashMap::new();
    for pid in pids {
        let Ok(tasks) = fs::read_dir(format!("/proc/{}/task", pid.as_raw_pid())) else { continue };
        for entry in tasks.flatten() {
            let thread: u32 = entry.file_name().to_str()?.parse().ok()?;
            // A thread can end between the two.
            let Ok(text) = fs::read_to_string(entry.path().join("schedstat")) else { continue };
            found.insert((*pid, thread), parse_schedstat(&text)?);
        }
    }
    (!found.is_empty()).then_some(found)
}

/// Bytes that a process has caused to be written to a disk so far.
pub(crate) fn written_bytes(pid: Pid) -> Result<u64> {
    let path = format!("/proc/{}/io", pid.as_raw_pid());
    let text = fs::read_to_string(&path).context(path)?;
    let number = text.lines().find_map(|line| line.strip_prefix("write_bytes:"));
    number.and_then(|number| number.trim().parse().ok()).context("no write_bytes")
}

/// Runs a command to its end. Its output goes to `FILES.out` and `FILES.err`; the first is returned.
pub(crate) fn run(command: &mut Command, files: &Path, limit: Limit) -> Result<(Spent, String)> {
    let (out, err) = (files.with_extension("out"), files.with_extension("err"));
    command.stdin(Stdio::null()).stdout(File::create(&out)?).stderr(File::create(&err)?);
    let started = Instant::now();
    let child = command.spawn().with_context(|| format!("{} does not start", command.get_program().display()))?;
    let mut running = Running(child);
    let pid = Pid::from_child(&running.0);
    let (mut peak_kib, mut peak_anonymous_kib) = (0, 0);
    let (wall, cpu) = loop {
        // An ended child stays readable until it is waited for, and then holds the final CPU time.
        let now = stat(pid)?;
        if now.state == 'Z' {
            break (started.elapsed(), ticks(now.ticks));
        }
        let memory = memory(pid)?;
        peak_kib = peak_kib.max(memory.peak_kib);
        peak_anonymous_kib = peak_anonymous_kib.max(memory.anonymous_kib);
        limit.check()?;
        sleep(LOOK);
    };
    let status = running.0.wait()?;
    if !status.success() {
        bail!("{command:?} ended with {status}:\n{}{}", tail(&err), tail(&out));
    }
    Ok((Spent { wall, cpu, peak_kib, peak_anonymous_kib }, fs::read_to_string(&out)?))
}

/// Ends the child when the run is given up.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_is_read_past_a_name_with_brackets_and_spaces() {
        let text =
            "4242 (a) (b c) S 17 4242 4242 0 -1 4194560 100 0 0 0 250 50 3 4 20 0 5 0 1234 999 88 18446744073709551615";
        assert_eq!(parse_stat(text), Some(Stat { state: 'S', ticks: 300, ticks_of_children: 7 }));
        assert_eq!(parse_stat("4242 (cut"), None);
    }

    #[test]
    fn memory_is_read_from_status() {
        let text =
            "Name:\tkonverse\nVmPeak:\t  999 kB\nVmHWM:\t   52000 kB\nVmRSS:\t   41000 kB\nRssAnon:\t   30000 kB\n";
        assert_eq!(parse_memory(text), Memory { resident_kib: 41_000, anonymous_kib: 30_000, peak_kib: 52_000 });
        assert_eq!(parse_memory("Name:\tended\nState:\tZ (zombie)\n"), Memory::default());
    }

    #[test]
    fn schedstat_begins_with_the_time_on_a_processor() {
        assert_eq!(parse_schedstat("49313409 9014313 87\n"), Some(49_313_409));
        assert_eq!(parse_schedstat(""), None);
    }

    fn reading(threads: &[(u32, u64)], whole_ms: u64) -> Reading {
        let threads = threads.iter().map(|(thread, nanoseconds)| ((Pid::INIT, *thread), *nanoseconds)).collect();
        Reading { threads: Some(threads), whole: Duration::from_millis(whole_ms), processes: 1 }
    }

    #[test]
    fn threads_are_summed_unless_some_are_missing() {
        let before = reading(&[(1, 100), (2, 200)], 1000);
        assert_eq!(reading(&[(1, 150), (2, 200), (3, 7)], 1010).since(&before), Duration::from_nanos(57));
        assert_eq!(reading(&[(1, 150)], 2000).since(&before), Duration::from_secs(1));
    }

    #[test]
    fn this_process_can_be_read() {
        let own = rustix::process::getpid();
        assert!(memory(own).expect("status").peak_kib > 0);
        assert!(Reading::of(&[own]).is_ok());
    }
}
