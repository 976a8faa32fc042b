//! The list while messages are recorded, against the list alone.
//!
//! What a message costs depends on what else the machine does: messages that wait for a processor are committed together
//! and are cheaper. So "alone" is not an idle machine: lists and messages go on at the same time in either case, once on
//! the same server and once each on its own, with a copy of the database.

use std::fs;
use std::thread::{self, sleep};

use anyhow::{Context, Result};
use konverse_harness::Random;

use super::list::path_of;
use super::messages;
use crate::load::{Ask, Bounds, Load};
use crate::proc::Reading;
use crate::report::{self, Aim, Table};
use crate::run::{Engine, Run};
use crate::turns::SETTLE;

/// Messages a second.
const MESSAGES: f64 = 200.0;

/// Connections that record them: enough that none waits for another's commit.
const WRITERS: usize = 16;

/// What a round measured, in CPU microseconds.
struct Round {
    alone: f64,
    beside: f64,
    message: f64,
    /// Lists and messages a second on the same server.
    lists: f64,
    messages: f64,
}

pub(super) fn measure(run: &Run<'_>) -> Result<Vec<Aim>> {
    let database = run.real(Engine::Sqlite)?;
    let customers = database.customers()?;
    let lists: Vec<_> = customers.iter().map(|customer| Ask::get(&path_of(customer), &database.token)).collect();
    let posts = messages::asks(database)?;
    let (list_picks, post_picks) =
        (Random::seeded(0).permutation(lists.len()), Random::seeded(0).permutation(posts.len()));
    let copy = run.work.join("copy.db");
    fs::copy(database.file.as_deref().context("SQLite has a file")?, &copy)?;
    let server = run.serve(&database.url, None)?;
    let other = run.serve(&format!("sqlite:{}", copy.display()), None)?;

    let (limit, connections) = (run.limit, run.options.connections);
    let read = |port| Load { port, connections, asks: &lists, picks: &list_picks, pace: None, limit };
    let write =
        Load { port: server.port, connections: WRITERS, asks: &posts, picks: &post_picks, pace: Some(MESSAGES), limit };
    // For the same time, not for a number of requests.
    let bounds = Bounds { count: usize::MAX, time: run.time() };
    // CPU time of the server and of the other, lists and messages, with the lists on this port.
    let measured = |port| {
        let before = (Reading::of(&[server.pid()])?, Reading::of(&[other.pid()])?);
        let (lists, messages) = thread::scope(|scope| {
            let writes = scope.spawn(|| write.send(bounds));
            let reads = read(port).send(bounds);
            let writes = writes.join().ok().context("a load thread does not panic")?;
            anyhow::Ok((reads?, writes?))
        })?;
        sleep(SETTLE);
        let micros = |pid, before: &Reading| anyhow::Ok(Reading::of(&[pid])?.since(before).as_secs_f64() * 1e6);
        let (own, others) = (micros(server.pid(), &before.0)?, micros(other.pid(), &before.1)?);
        anyhow::Ok((own, others, lists, messages))
    };
    for port in [server.port, other.port] {
        read(port).send(bounds.warm_up())?;
    }
    let mut rounds = Vec::new();
    // More than of others: it is a small difference of large figures.
    for _ in 0..run.options.rounds + 2 {
        let (writing, reading, lists, messages) = measured(other.port)?;
        let message = writing / messages.count as f64;
        let alone = reading / lists.count as f64;
        let (together, _, lists, messages) = measured(server.port)?;
        rounds.push(Round {
            alone,
            beside: (together - message * messages.count as f64) / lists.count as f64,
            message,
            lists: lists.count as f64 / lists.wall.as_secs_f64(),
            messages: messages.count as f64 / messages.wall.as_secs_f64(),
        });
    }
    drop(other);
    fs::remove_file(copy)?;
    print(&rounds);
    let ratios: Vec<_> = rounds.iter().map(|round| round.beside / round.alone).collect();
    Ok(vec![Aim::at_most(1.25, " ×", "list while 200 messages/s are recorded ÷ alone", report::median(&ratios))])
}

fn print(rounds: &[Round]) {
    let mut table = Table::new(&[
        "round",
        "list alone, CPU µs",
        "list beside, CPU µs",
        "beside ÷ alone",
        "a message, CPU µs",
        "lists/s beside",
        "messages/s beside",
    ]);
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
}
