//! PostgreSQL ends at once, as after a power cut, while clients write, and is started again; konverse goes on.

use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context, Result};
use konverse_harness::Random;
use rustix::process::Signal;

use crate::audit::audit_against;
use crate::client::Client;
use crate::ground::{Ground, Setting};
use crate::ledger::Ledger;
use crate::load::{Absence, lock, wait_for_writes, write_while, writers};

pub(crate) const CLAIM: &str =
    "PostgreSQL is killed under load: nothing acknowledged is lost, answers are 503, konverse recovers by itself";

/// Clients that write at once.
const WRITERS: usize = 8;

/// Writes before PostgreSQL is killed, and after it is there again.
const LEAST: u64 = 20;

/// How long konverse may take to serve again once PostgreSQL does.
const RECOVERY: Duration = Duration::from_secs(20);

pub(crate) fn run(setting: &Setting) -> Result<String> {
    let mut ground = Ground::new(setting)?;
    let limit = setting.limit;
    let cycles = setting.cycles(2, 50);
    let ledger = Mutex::new(Ledger::default());
    let mut writers = writers(WRITERS);
    let mut random = Random::seeded(11);
    let mut server = ground.serve(&[])?;
    let mut client = ground.client(&server);
    lock(&ledger).share(&mut client, 2)?;
    let (port, token) = (server.port, ground.token.clone());
    let mut looked = 0;
    let mut slowest = Duration::ZERO;
    for cycle in 1..=cycles {
        let recovered = write_while(
            &mut writers,
            &ledger,
            |_| Client::new(port, &token),
            Absence::Breaks,
            limit,
            || {
                wait_for_writes(&ledger, LEAST, Duration::from_secs(60), limit)?;
                limit.rest(Duration::from_millis(random.below(400) as u64))?;
                let cluster = ground.cluster()?;
                cluster.halt(Signal::QUIT)?;
                limit.rest(Duration::from_millis(random.below(500) as u64))?;
                cluster.resume()?;
                wait_for_writes(&ledger, LEAST, RECOVERY, limit).context("PostgreSQL is there again")
            },
        )?;
        slowest = slowest.max(recovered);
        server.expect_alive()?;
        ground.wait_for_quiet()?;
        looked += lock(&ledger).check(&mut client, false).with_context(|| format!("after {cycle} kills"))?;
    }
    let mut ledger = lock(&ledger);
    looked += ledger.check(&mut client, true).with_context(|| format!("after {cycles} kills"))?;
    let counted = audit_against(&mut client, &ledger)?;
    server.stop(Duration::from_secs(40), limit)?;
    ground.expect_sound()?;
    ledger.expect_failures_as_503((cycles * WRITERS) as u64)?;
    Ok(format!(
        "{cycles} kills, {}, {looked} looked at, {counted}; {LEAST} writes {:.1} s after PostgreSQL was back at the latest",
        ledger.figures(),
        slowest.as_secs_f64()
    ))
}
