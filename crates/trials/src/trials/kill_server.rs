//! konverse is killed while clients write, and started again.

use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context, Result};
use konverse_harness::Random;

use crate::audit::audit_against;
use crate::client::Client;
use crate::ground::{Ground, Setting};
use crate::ledger::Ledger;
use crate::load::{Absence, lock, wait_for_writes, write_while, writers};

pub(crate) const CLAIM: &str =
    "konverse is killed under load: what was acknowledged is there, the rest wholly or not at all";

/// Clients that write at once.
const WRITERS: usize = 8;

/// Writes before a server is killed, so that every cycle has some.
const LEAST: u64 = 20;

pub(crate) fn run(setting: &Setting) -> Result<String> {
    let ground = Ground::new(setting)?;
    let limit = setting.limit;
    let cycles = setting.cycles(3, 200);
    let ledger = Mutex::new(Ledger::default());
    let mut writers = writers(WRITERS);
    let mut random = Random::seeded(7);
    let mut looked = 0;
    for cycle in 0..cycles {
        let mut server = ground.serve(&[])?;
        let mut client = ground.client(&server);
        if cycle == 0 {
            lock(&ledger).share(&mut client, 2)?;
        }
        looked += lock(&ledger).check(&mut client, false).with_context(|| format!("after {cycle} kills"))?;
        server.expect_alive()?;
        let port = server.port;
        write_while(
            &mut writers,
            &ledger,
            |_| Client::new(port, &ground.token),
            Absence::Ends,
            limit,
            || {
                wait_for_writes(&ledger, LEAST, Duration::from_secs(60), limit)?;
                limit.rest(Duration::from_millis(random.below(400) as u64))?;
                server.kill(limit)?;
                ground.wait_for_leftovers()
            },
        )?;
    }
    let server = ground.serve(&[])?;
    let mut client = ground.client(&server);
    let mut ledger = lock(&ledger);
    looked += ledger.check(&mut client, true).with_context(|| format!("after {cycles} kills"))?;
    let counted = audit_against(&mut client, &ledger)?;
    server.stop(Duration::from_secs(40), limit)?;
    ground.expect_sound()?;
    Ok(format!("{cycles} kills, {}, {looked} looked at, {counted}", ledger.figures()))
}
