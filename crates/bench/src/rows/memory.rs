//! Resident memory: idle, and after a load over many customers.

use std::thread::sleep;
use std::time::Duration;

use anyhow::Result;
use konverse_harness::Random;

use super::list::path_of;
use crate::load::{Ask, Bounds, Load};
use crate::proc;
use crate::report::{self, Aim, Table};
use crate::run::{Engine, Run};

/// MiB of cache that the server is given.
const CACHE: u32 = 64;

/// The most that an idle server may hold.
const IDLE_MB: f64 = 40.0;

/// Connections of the load.
const CONNECTIONS: usize = 64;

/// Every so many requests one is for a page of the org's list, by number.
const ORG_EVERY: usize = 20;

pub(super) fn measure(run: &Run<'_>) -> Result<Vec<Aim>> {
    let idle = {
        let server = run.serve(&run.new_file(), Some(CACHE))?;
        sleep(Duration::from_secs(1));
        proc::memory(server.pid())?
    };
    let database = run.deep(Engine::Sqlite)?;
    let server = run.serve(&database.url, Some(CACHE))?;
    sleep(Duration::from_secs(1));
    // It counts what was imported, and so has read the file.
    let at_start = proc::memory(server.pid())?;

    let history = run.history();
    let org_pages = (history.of_one + history.of_others) / 100;
    let mut random = Random::seeded(0);
    let ask = |(number, customer): (usize, &String)| {
        let path = if number % ORG_EVERY == 0 {
            format!("/v1/conversations?page={}&pageSize=100", 1 + random.below(org_pages.clamp(1, 100)))
        } else {
            path_of(customer)
        };
        Ask::get(&path, &database.token)
    };
    let asks: Vec<_> = history.others().iter().enumerate().map(ask).collect();
    let picks = Random::seeded(0).permutation(asks.len());
    let load =
        Load { port: server.port, connections: CONNECTIONS, asks: &asks, picks: &picks, pace: None, limit: run.limit };
    let moved = load.send(Bounds { count: 2 * asks.len(), time: 4 * run.time() })?;
    let loaded = proc::memory(server.pid())?;

    let mut table = Table::new(&["konverse serve", "resident MB", "of it not files MB"]);
    for (when, memory) in [
        ("a second after its start on a new file".to_owned(), idle),
        ("a second after its start on the imported file".to_owned(), at_start),
        (format!("after {} requests over {} conversations", moved.count, history.of_one + history.of_others), loaded),
    ] {
        table.row([
            when,
            report::megabytes(memory.resident_kib * 1024),
            report::megabytes(memory.anonymous_kib * 1024),
        ]);
    }
    table.print("Memory, SQLite");
    let cache = if run.knows_cache() { f64::from(CACHE) * 1024.0 * 1024.0 / 1e6 } else { 0.0 };
    let megabytes = |kib: u64| kib as f64 * 1024.0 / 1e6;
    Ok(vec![
        Aim::at_most(IDLE_MB, " MB", "idle memory", megabytes(idle.resident_kib)),
        Aim::at_most(
            IDLE_MB + cache.round(),
            " MB",
            "memory that is not files after a load (idle's aim and the cache)",
            megabytes(loaded.anonymous_kib),
        ),
    ])
}
