//! The disk is full: no room is left for a SQLite file to grow.

use std::ffi::CString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::fs::statvfs;
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_remount, unmount};
use rustix::process::{Resource, Rlimit, prlimit};

use crate::audit::audit_against;
use crate::client::Client;
use crate::ground::{Ground, Setting};
use crate::ledger::Ledger;
use crate::load::{Absence, lock, wait_for_writes, write_while, writers};
use crate::process::Server;

pub(crate) const CLAIM: &str =
    "the disk is full: writes get 503, reads go on, nothing acknowledged is lost, and with room writing goes on";

const WRITERS: usize = 4;

/// What is left when the disk counts as full: a few commits still fit.
const LEFT: u64 = 192 << 10;

/// Room enough, the log at its longest included.
const ROOM: u64 = 1 << 30;

/// How the file system is mounted.
const FLAGS: MountFlags = MountFlags::NODEV.union(MountFlags::NOSUID);

/// Failures after which the disk is full for certain.
const FAILURES: u64 = 40;

/// How long konverse may take to write again once there is room.
const RECOVERY: Duration = Duration::from_secs(20);

/// Where a file finds no more room.
enum Disk {
    /// A small file system of its own, where one may be mounted: it is made smaller and larger.
    Mounted(PathBuf),
    /// Elsewhere a limit on the size of files of the server's process.
    Limited,
}

impl Disk {
    fn new(folder: &Path) -> Result<Self> {
        fs::create_dir(folder)?;
        match mount("none", folder, "tmpfs", FLAGS, c"mode=700") {
            Ok(()) => {
                let disk = Self::Mounted(folder.to_owned());
                resize(folder, ROOM)?;
                Ok(disk)
            }
            Err(_) => Ok(Self::Limited),
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Mounted(_) => "a small file system",
            Self::Limited => "a limit on the size of files",
        }
    }

    fn fill(&self, server: &Server, file: &Path) -> Result<()> {
        let Self::Mounted(folder) = self else {
            let log = file.with_extension("db-wal");
            let sizes = [file, &log].map(|file| fs::metadata(file).map_or(0, |data| data.len()));
            let most = sizes.into_iter().max().unwrap_or_default() + LEFT;
            return limit_files(server, Some(most));
        };
        let now = statvfs(folder)?;
        let used = (now.f_blocks - now.f_bfree) * now.f_frsize;
        resize(folder, used + LEFT)
    }

    fn make_room(&self, server: Option<&Server>) -> Result<()> {
        match (self, server) {
            (Self::Mounted(folder), _) => resize(folder, ROOM),
            (Self::Limited, Some(server)) => limit_files(server, None),
            // The limit was the process's.
            (Self::Limited, None) => Ok(()),
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if let Self::Mounted(folder) = self {
            // By now nobody should use it; if somebody does, it goes with the last who does.
            let _ = unmount(&*folder, UnmountFlags::DETACH);
        }
    }
}

/// Makes the file system so large. What is in it stays.
fn resize(folder: &Path, bytes: u64) -> Result<()> {
    let size = CString::new(format!("size={bytes}"))?;
    mount_remount(folder, FLAGS, size.as_c_str()).context("changing the size of a file system")
}

/// Sets how long files of the server may get. The most that is allowed stays, so that it can be raised again.
fn limit_files(server: &Server, current: Option<u64>) -> Result<()> {
    let id = Some(server.process.id());
    // What it was before does not matter: there was none.
    prlimit(id, Resource::Fsize, Rlimit { current, maximum: None }).context("limiting the size of files").map(drop)
}

/// konverse that is told when a file may not grow, instead of being killed.
fn serve(ground: &Ground) -> Result<Server> {
    let mut shell = Command::new("sh");
    shell.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""]).arg(&ground.setting.program);
    Server::start_as(shell, &ground.url, &[], &ground.log(), ground.setting.limit)
}

pub(crate) fn run(setting: &Setting) -> Result<String> {
    let limit = setting.limit;
    let folder = setting.work.join("disk");
    let disk = Disk::new(&folder)?;
    let ground = Ground::with(setting, &folder, &[])?;
    let file = ground.file()?;
    let cycles = setting.cycles(2, 30);
    let ledger = Mutex::new(Ledger::default());
    let mut writers = writers(WRITERS);
    let mut server = serve(&ground)?;
    lock(&ledger).share(&mut ground.client(&server), 1)?;
    let mut reads = 0;
    for cycle in 0..cycles {
        let (port, token) = (server.port, ground.token.clone());
        let clients = |_| Client::new(port, &token);
        write_while(&mut writers, &ledger, clients, Absence::Breaks, limit, || {
            wait_for_writes(&ledger, 20, RECOVERY, limit)?;
            disk.fill(&server, &file)?;
            let failures = || lock(&ledger).failures();
            let (before, mut client) = (failures(), Client::new(port, &token));
            let full = limit.until(Duration::from_secs(60), || {
                for path in ["/healthz", "/v1/customers?pageSize=5", "/v1/messages?pageSize=5"] {
                    client.read(path).context("a read while the disk is full")?;
                    reads += 1;
                }
                Ok(failures() >= before + FAILURES || !lock(&ledger).broken.is_empty())
            })?;
            ensure!(full.is_some(), "the disk is full, and writes do not fail: {}", lock(&ledger).figures());
            Ok(())
        })?;
        server.expect_alive()?;
        // What was acknowledged while there was no room, too.
        lock(&ledger).check(&mut ground.client(&server), false).context("while the disk is full")?;
        if cycle % 2 == 0 {
            disk.make_room(Some(&server))?;
        } else {
            // As if the operator had not waited.
            server.kill(limit)?;
            disk.make_room(None)?;
            server = serve(&ground)?;
            lock(&ledger).check(&mut ground.client(&server), true).context("after a kill on a full disk")?;
        }
        let port = server.port;
        write_while(
            &mut writers,
            &ledger,
            |_| Client::new(port, &token),
            Absence::Breaks,
            limit,
            || wait_for_writes(&ledger, 50, RECOVERY, limit).context("there is room again"),
        )?;
    }
    let mut client = ground.client(&server);
    let mut ledger = lock(&ledger);
    ledger.check(&mut client, true)?;
    let counted = audit_against(&mut client, &ledger)?;
    server.stop(Duration::from_secs(40), limit)?;
    ground.expect_sound()?;
    ledger.expect_failures_as_503(0)?;
    if ledger.unclear_done > 0 {
        bail!("{} writes failed for lack of room, and were done: {}", ledger.unclear_done, ledger.figures());
    }
    Ok(format!("{cycles} times full ({}), {reads} reads meanwhile, {}; {counted}", disk.name(), ledger.figures()))
}
