//! PostgreSQL is restarted, stopped, out of connections, frozen. konverse is not restarted.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use konverse_harness::Limit;
use rustix::process::Signal;

use crate::audit::audit_against;
use crate::client::Client;
use crate::ground::{Ground, Setting};
use crate::ledger::Ledger;
use crate::load::{Absence, Writer, lock, wait_for_writes, write_while, writers};

pub(crate) const CLAIM: &str =
    "PostgreSQL is restarted, stopped, full, frozen: answers come in time and are 503, and konverse recovers by itself";

const WRITERS: usize = 8;

/// Connections PostgreSQL takes: fewer than konverse would like.
const CONNECTIONS: usize = 20;

/// How long any answer may take: a little longer than a server may take to give up.
const BOUND: Duration = Duration::from_secs(35);

/// How long what needs no database may take.
const HEALTH_BOUND: Duration = Duration::from_secs(5);

/// How long konverse may take to serve again once PostgreSQL does.
const RECOVERY: Duration = Duration::from_secs(30);

/// What happens to PostgreSQL.
#[derive(Clone, Copy, Debug)]
enum Mishap {
    Restarted,
    Stopped,
    Full,
    Frozen,
}

/// All of them, those that are over by themselves first.
const MISHAPS: [Mishap; 4] = [Mishap::Restarted, Mishap::Stopped, Mishap::Full, Mishap::Frozen];

pub(crate) fn run(setting: &Setting) -> Result<String> {
    let connections = format!("max_connections={CONNECTIONS}");
    let mut ground = Ground::with(setting, &setting.work, &[&connections])?;
    let limit = setting.limit;
    let rounds = setting.cycles(1, 10);
    let ledger = Mutex::new(Ledger::default());
    let mut writers = writers(WRITERS);
    let mut server = ground.serve(&[])?;
    let mut client = ground.client(&server);
    lock(&ledger).share(&mut client, 2)?;
    let (over, healthy) = (AtomicBool::new(false), AtomicU64::new(0));
    let port = server.port;
    std::thread::scope(|scope| {
        let watch = scope.spawn(|| watch_health(port, &over, &healthy));
        let done = (0..rounds).try_for_each(|_| {
            for mishap in MISHAPS {
                meet(mishap, &mut ground, port, &mut writers, &ledger, limit).with_context(|| format!("{mishap:?}"))?;
                server.expect_alive()?;
                ground.wait_for_quiet()?;
                lock(&ledger).check(&mut client, false).with_context(|| format!("after {mishap:?}"))?;
            }
            Ok(())
        });
        over.store(true, Ordering::Relaxed);
        let watched = watch.join().expect("it does not panic");
        done.and(watched)
    })?;
    let mut ledger = lock(&ledger);
    ledger.check(&mut client, true)?;
    let counted = audit_against(&mut client, &ledger)?;
    server.stop(Duration::from_secs(40), limit)?;
    ground.expect_sound()?;
    ledger.expect_failures_as_503((rounds * MISHAPS.len() * WRITERS) as u64)?;
    let healthy = healthy.load(Ordering::Relaxed);
    Ok(format!("{rounds} rounds of four mishaps, {healthy} looks at /healthz, {}; {counted}", ledger.figures()))
}

fn meet(
    mishap: Mishap,
    ground: &mut Ground,
    port: u16,
    writers: &mut [Writer],
    ledger: &Mutex<Ledger>,
    limit: Limit,
) -> Result<()> {
    let token = ground.token.clone();
    let clients = |_| Client::new(port, &token).waiting(BOUND);
    write_while(writers, ledger, clients, Absence::Breaks, limit, || {
        wait_for_writes(ledger, 20, RECOVERY, limit)?;
        let cluster = ground.cluster()?;
        match mishap {
            Mishap::Restarted => {
                cluster.halt(Signal::INT)?;
                cluster.resume()?;
            }
            Mishap::Stopped => {
                cluster.halt(Signal::INT)?;
                wait_for_answers(ledger, 3 * WRITERS as u64, limit)?;
                cluster.resume()?;
            }
            Mishap::Full => {
                cluster.halt(Signal::INT)?;
                cluster.resume()?;
                let others = take_connections(cluster.port())?;
                ensure!(!others.is_empty(), "no connection was to be had");
                wait_for_answers(ledger, 3 * WRITERS as u64, limit)?;
                drop(others);
            }
            Mishap::Frozen => {
                cluster.signal_all(Signal::STOP)?;
                let answered = wait_for_answers(ledger, WRITERS as u64, limit);
                cluster.signal_all(Signal::CONT)?;
                answered?;
            }
        }
        wait_for_writes(ledger, 20, RECOVERY, limit).context("PostgreSQL is there again")
    })
    .map(drop)
}

/// Waits until so many more requests were answered, whatever with: whoever waited has been told.
fn wait_for_answers(ledger: &Mutex<Ledger>, more: u64, limit: Limit) -> Result<()> {
    let aim = lock(ledger).answers() + more;
    let told = limit.until(BOUND + HEALTH_BOUND, || {
        let ledger = lock(ledger);
        Ok(ledger.answers() >= aim || !ledger.broken.is_empty())
    })?;
    let ledger = lock(ledger);
    ensure!(ledger.broken.is_empty(), "{}", ledger.broken[0]);
    ensure!(told.is_some(), "answers do not come: {}", ledger.figures());
    Ok(())
}

/// Asks for what needs no database until told to stop.
fn watch_health(port: u16, over: &AtomicBool, healthy: &AtomicU64) -> Result<()> {
    let mut client = Client::new(port, "none").waiting(HEALTH_BOUND);
    while !over.load(Ordering::Relaxed) {
        client.read("/healthz").context("what needs no database")?;
        healthy.fetch_add(1, Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// Takes all connections that are to be had, as other programs would.
fn take_connections(port: u16) -> Result<Vec<TcpStream>> {
    let parameters = b"user\0konverse\0database\0postgres\0\0";
    let mut startup = Vec::new();
    startup.extend_from_slice(&(8 + parameters.len() as u32).to_be_bytes());
    // Version 3.0 of the protocol.
    startup.extend_from_slice(&(3_u32 << 16).to_be_bytes());
    startup.extend_from_slice(parameters);
    let mut taken = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(HEALTH_BOUND))?;
        stream.write_all(&startup)?;
        let mut kind = [0];
        // R lets in, E does not.
        if stream.read_exact(&mut kind).is_err() || kind != *b"R" {
            break;
        }
        taken.push(stream);
    }
    Ok(taken)
}
