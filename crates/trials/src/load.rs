//! Clients that write at the same time.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use konverse_harness::{Limit, Random};

use crate::client::{Client, Fate};
use crate::ledger::Ledger;

/// How long a client that got no success waits before its next write.
const PAUSE: Duration = Duration::from_millis(20);

/// A client's state between loads.
#[derive(Debug)]
pub(crate) struct Writer {
    name: String,
    own: Vec<String>,
    random: Random,
}

/// So many of them.
pub(crate) fn writers(count: usize) -> Vec<Writer> {
    (0..count).map(|n| Writer { name: format!("w{n}"), own: Vec::new(), random: Random::seeded(n as u64) }).collect()
}

/// What a client does when the server is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Absence {
    /// It ends.
    Ends,
    /// That breaks a promise: the server was not to go away.
    Breaks,
}

/// Lets clients write, each to the server of its number, while `meanwhile` runs; then waits until all have ended. What
/// `meanwhile` gives is given.
pub(crate) fn write_while<T>(
    writers: &mut [Writer],
    ledger: &Mutex<Ledger>,
    clients: impl Fn(usize) -> Client,
    absence: Absence,
    limit: Limit,
    meanwhile: impl FnOnce() -> Result<T>,
) -> Result<T> {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let threads: Vec<_> = writers
            .iter_mut()
            .enumerate()
            .map(|(n, writer)| {
                let (client, over) = (clients(n), &over);
                scope.spawn(move || write(writer, ledger, client, absence, limit, over))
            })
            .collect();
        let done = meanwhile();
        over.store(true, Ordering::Relaxed);
        for thread in threads {
            thread.join().expect("a writer does not panic")?;
        }
        done
    })
}

fn write(
    writer: &mut Writer,
    ledger: &Mutex<Ledger>,
    mut client: Client,
    absence: Absence,
    limit: Limit,
    over: &AtomicBool,
) -> Result<()> {
    while !over.load(Ordering::Relaxed) {
        limit.check()?;
        let write = lock(ledger).next(&writer.name, &mut writer.own, &mut writer.random)?;
        let fate = client.send(write.method, &write.path, write.body.as_ref());
        let acknowledged = matches!(&fate, Fate::Answered(reply) if reply.status < 300);
        let sent = format!("{} {}", write.method, write.path);
        let mut ledger = lock(ledger);
        let is_there = ledger.settle(write, fate);
        if !is_there {
            if absence == Absence::Ends {
                return Ok(());
            }
            ledger.broken.push(format!("{sent} was cut off although the server did not end"));
        }
        if !ledger.broken.is_empty() {
            return Ok(());
        }
        drop(ledger);
        if !acknowledged {
            limit.rest(PAUSE)?;
        }
    }
    Ok(())
}

/// The ledger, also after a client failed.
pub(crate) fn lock(ledger: &Mutex<Ledger>) -> std::sync::MutexGuard<'_, Ledger> {
    ledger.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Waits until so many more writes were acknowledged. Gives how long that took.
pub(crate) fn wait_for_writes(ledger: &Mutex<Ledger>, more: u64, within: Duration, limit: Limit) -> Result<Duration> {
    let aim = lock(ledger).acknowledged + more;
    let taken = limit.until(within, || {
        let ledger = lock(ledger);
        Ok(ledger.acknowledged >= aim || !ledger.broken.is_empty())
    })?;
    taken.with_context(|| {
        let ledger = lock(ledger);
        format!("{more} writes were not acknowledged within {within:?}; so far {}", ledger.figures())
    })
}
