//! Messages recorded over HTTP, against a bare loop that inserts one row a transaction on the same disk.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use konverse_harness::Random;

use crate::bare;
use crate::generate;
use crate::load::{Ask, Bounds, Load};
use crate::proc::{self, Reading};
use crate::report::{self, Aim, Table};
use crate::run::{Database, Engine, Run};
use crate::turns;

/// Connections that record messages.
pub(super) const CONNECTIONS: usize = 64;

/// Messages of which the log is measured.
const LOGGED: usize = 1000;

/// One message to each conversation.
pub(super) fn asks(database: &Database) -> Result<Vec<Ask>> {
    asks_to(&database.conversations()?, &database.token)
}

/// The same with another server's token.
pub(super) fn asks_to(conversations: &[String], token: &str) -> Result<Vec<Ask>> {
    let mut random = Random::seeded(0);
    let ask = |id: &String| {
        let text = generate::text(&mut random, 15);
        let body = serde_json::json!({"channel": "chat", "app": "chat", "direction": "in", "preview": text});
        Ask::post(&format!("/v1/conversations/{id}/messages"), token, &body.to_string())
    };
    Ok(conversations.iter().map(ask).collect())
}

pub(super) fn measure(run: &Run<'_>) -> Result<Vec<Aim>> {
    let database = run.real(Engine::Sqlite)?;
    let asks = asks(database)?;
    let picks = Random::seeded(0).permutation(asks.len());
    let logged = logged(run, database, &asks, &picks)?;

    let server = run.serve(&database.url, None)?;
    let load =
        Load { port: server.port, connections: CONNECTIONS, asks: &asks, picks: &picks, pace: None, limit: run.limit };
    let bounds = Bounds { count: usize::MAX, time: run.time() };
    load.send(bounds.warm_up())?;
    let heads = [
        "round",
        "konverse messages/s",
        "bare loop rows/s",
        "konverse ÷ bare",
        "CPU µs a message",
        "of the bare loop a row",
        "median ms",
        "kB written a message",
    ];
    let mut table = Table::new(&heads);
    let (mut own, mut bare, mut micros) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..run.options.rounds {
        let filling = bare::messages(bounds.time, run.work, run.limit)?;
        let before = (Reading::of(&[server.pid()])?, proc::written_bytes(server.pid())?);
        let moved = load.send(bounds)?;
        let cpu = Reading::of(&[server.pid()])?.since(&before.0);
        let written = proc::written_bytes(server.pid())? - before.1;
        let count = moved.count as f64;
        own.push(count / moved.wall.as_secs_f64());
        bare.push(filling.rows as f64 / filling.wall.as_secs_f64());
        micros.push(cpu.as_secs_f64() * 1e6 / count);
        table.row([
            (round + 1).to_string(),
            format!("{:.0}", own[round]),
            format!("{:.0}", bare[round]),
            format!("{:.2}", own[round] / bare[round]),
            report::micros(micros[round]),
            report::micros(filling.cpu.as_secs_f64() * 1e6 / filling.rows as f64),
            report::millis(moved.quantile(0.5).as_secs_f64() * 1e3),
            format!("{:.1}", written as f64 / count / 1e3),
        ]);
    }
    table.print("Messages recorded, SQLite, 64 connections");
    println!("\nbytes appended to the log for one message, of {LOGGED} on 64 connections: {logged:.0}");
    Ok(vec![
        Aim::at_least(2.0, " ×", "messages/s ÷ rows/s of a bare loop", turns::ratio(&own, &bare)),
        Aim::at_most(300.0, " µs", "a message, CPU time", report::median(&micros)),
    ])
}

/// Bytes that the write-ahead log grows by for one message. A reader that looks at the past keeps it from being begun
/// anew.
fn logged(run: &Run<'_>, database: &Database, asks: &[Ask], picks: &[usize]) -> Result<f64> {
    let server = run.serve(&database.url, None)?;
    let reader = database.open()?;
    reader.execute_batch("BEGIN")?;
    reader.query_row("SELECT count(*) FROM org", [], |row| row.get::<_, i64>(0))?;
    let file = database.file.as_ref().context("SQLite has a file")?;
    let log = PathBuf::from(format!("{}-wal", file.display()));
    let length = || fs::metadata(&log).map_or(0, |metadata| metadata.len());
    let before = length();
    let load = Load { port: server.port, connections: CONNECTIONS, asks, picks, pace: None, limit: run.limit };
    let moved = load.send(Bounds { count: LOGGED, time: run.time() })?;
    Ok((length() - before) as f64 / moved.count as f64)
}
