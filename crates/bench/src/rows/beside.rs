//! The list while messages are recorded, against the list alone.

use std::thread::{self, sleep};

use anyhow::{Context, Result};

use super::list::path_of;
use super::messages;
use crate::load::{Ask, Bounds, Load, Moved};
use crate::proc::Reading;
use crate::random::Random;
use crate::report::{self, Aim, Table};
use crate::run::{Engine, Run};
use crate::turns::SETTLE;

/// Messages a second.
const MESSAGES: f64 = 200.0;

/// Connections that record them: enough that none waits for another's commit.
const WRITERS: usize = 16;

/// CPU microseconds of what a round measured.
struct Round {
    alone: f64,
    beside: f64,
    message: f64,
    /// Lists and messages a second while both went on.
    lists: f64,
    messages: f64,
}

pub(super) fn measure(run: &Run<'_>) -> Result<Vec<Aim>> {
    let database = run.real(Engine::Sqlite)?;
    let server = run.serve(database, None)?;
    let customers = database.customers()?;
    let lists: Vec<_> = customers.iter().map(|customer| Ask::get(&path_of(customer), &database.token)).collect();
    let list_picks = Random::seeded().permutation(lists.len());
    let posts = messages::asks(database)?;
    let post_picks = Random::seeded().permutation(posts.len());
    let (port, limit) = (server.port, run.limit);
    let connections = run.options.connections;
    let read = Load { port, connections, asks: &lists, picks: &list_picks, pace: None, limit };
    let write = Load { port, connections: WRITERS, asks: &posts, picks: &post_picks, pace: Some(MESSAGES), limit };
    // Both for the same time, not for a number of requests.
    let bounds = Bounds { count: usize::MAX, time: run.time() };

    let measured = |work: &dyn Fn() -> Result<(Moved, Option<Moved>)>| {
        let before = Reading::of(&[server.pid()])?;
        let moved = work()?;
        sleep(SETTLE);
        let cpu = Reading::of(&[server.pid()])?.since(&before);
        anyhow::Ok((cpu.as_secs_f64() * 1e6, moved))
    };
    let both = || {
        thread::scope(|scope| {
            let writes = scope.spawn(|| write.send(bounds));
            let reads = read.send(bounds);
            let writes = writes.join().ok().context("a load thread does not panic")?;
            Ok((reads?, Some(writes?)))
        })
    };
    read.send(Bounds { time: bounds.time / 4, ..bounds })?;
    let mut rounds = Vec::new();
    for _ in 0..run.options.rounds + 2 {
        let (alone, (reads_alone, _)) = measured(&|| Ok((read.send(bounds)?, None)))?;
        let (together, (reads, writes)) = measured(&both)?;
        let (writing, (writes_alone, _)) = measured(&|| Ok((write.send(bounds)?, None)))?;
        let writes = writes.context("messages were recorded")?;
        let message = writing / writes_alone.count as f64;
        rounds.push(Round {
            alone: alone / reads_alone.count as f64,
            beside: (together - message * writes.count as f64) / reads.count as f64,
            message,
            lists: reads.count as f64 / reads.wall.as_secs_f64(),
            messages: writes.count as f64 / writes.wall.as_secs_f64(),
        });
    }
    let heads = [
        "round",
        "list alone, CPU µs",
        "list beside, CPU µs",
        "beside ÷ alone",
        "message alone, CPU µs",
        "lists/s beside",
        "messages/s beside",
    ];
    let mut table = Table::new(&heads);
    for (number, round) in rounds.iter().enumerate() {
        table.row([
            (number + 1).to_string(),
            report::micros(round.alone),
            report::micros(round.beside),
            format!("{:.2}", round.beside / round.alone),
            report::micros(round.message),
            format!("{:.0}", round.lists),
            format!("{:.0}", round.messages),
        ]);
    }
    table.print("The list while 200 messages a second are recorded");
    let ratios: Vec<_> = rounds.iter().map(|round| round.beside / round.alone).collect();
    Ok(vec![Aim::at_most(1.25, " ×", "list while 200 messages/s are recorded ÷ alone", report::median(&ratios))])
}
