//! Searches: what the index costs, what they take, what lists notice of them, and walks over everything.

use std::collections::HashSet;
use std::fs;
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use konverse_harness::Random;
use serde_json::{Value, json};

use super::list::path_of;
use super::messages;
use crate::load::{self, Ask, Bounds, Load};
use crate::proc::{self, Reading};
use crate::report::{self, Aim, Table};
use crate::run::{Database, Engine, Run};
use crate::servers::Server;
use crate::turns::SETTLE;

/// Lists a second, about half of what the machine can do beside the load itself.
const LISTS: f64 = 1_000.0;

/// Messages a second while their cost is measured.
const MESSAGES: f64 = 200.0;

/// Times each search is asked.
const TIMES: usize = 50;

fn search(database: &Database, query: &str, body: &Value) -> Ask {
    Ask::post(&format!("/v1/customers/search?{query}"), &database.token, &body.to_string()).expecting(200)
}

fn answered(server: &Server, ask: Ask, run: &Run<'_>) -> Result<Value> {
    let mut answers = load::record(server.port, &[ask], run.limit)?;
    Ok(serde_json::from_slice(&answers.pop().context("one answer")?.body)?)
}

pub(super) fn measure(run: &Run<'_>) -> Result<Vec<Aim>> {
    let database = run.real(Engine::Sqlite)?;
    let folder = format!("{}-search", database.file.as_deref().context("SQLite has a file")?.display());
    let server = run.serve_searching(&database.url)?;
    built(run, database, &server, &folder)?;
    let mut aims = beside(run, database, &server)?;
    asked(run, database, &server)?;
    aims.extend(walks(run, database, &server)?);
    written(run, database, server, &folder)?;
    Ok(aims)
}

/// Waits until the index is built, and says what that took.
fn built(run: &Run<'_>, database: &Database, server: &Server, folder: &str) -> Result<()> {
    let begun = Instant::now();
    let ready = || search(database, "pageSize=0", &json!({ "queryContext": "message" }));
    while !load::is_served(server.port, &ready()) {
        run.limit.check()?;
        sleep(Duration::from_millis(100));
    }
    let wall = begun.elapsed();
    sleep(SETTLE);
    let cpu = proc::cpu(server.pid())?;
    let mut records = 0;
    for context in ["customer", "conversation", "message", "note", "company"] {
        let ask = search(database, "pageSize=0", &json!({ "queryContext": context }));
        records += answered(server, ask, run)?["meta"]["total"].as_u64().context("a total")?;
    }
    let (memory, bytes) = (proc::memory(server.pid())?, folder_bytes(folder)?);
    let mut table = Table::new(&[
        "index of",
        "built in s",
        "CPU µs a record",
        "MB on the disk",
        "resident MB",
        "of it not files MB",
    ]);
    table.row([
        format!("{records} records"),
        report::seconds(wall),
        report::micros(cpu.as_secs_f64() * 1e6 / records as f64),
        report::megabytes(bytes),
        report::megabytes(memory.resident_kib * 1024),
        report::megabytes(memory.anonymous_kib * 1024),
    ]);
    table.print("The search index");
    Ok(())
}

fn folder_bytes(folder: &str) -> Result<u64> {
    let mut bytes = 0;
    let mut folders = vec![folder.into()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir::<std::path::PathBuf>(folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            } else {
                bytes += entry.metadata()?.len();
            }
        }
    }
    Ok(bytes)
}

/// Searches of several kinds.
fn kinds() -> Vec<(&'static str, &'static str, Value)> {
    let walk = |since: &str| {
        json!({ "queryContext": "message", "and": [{ "message_updated_at": { "gte": since } }],
                "sort": [{ "message_updated_at": "asc" }] })
    };
    vec![
        ("page of a walk over messages, of all", "pageSize=100", walk("2000-01-01T00:00:00.000Z")),
        (
            "open conversations, newest first",
            "pageSize=100",
            json!({ "queryContext": "conversation", "and": [{ "conversation_status": { "equals": "open" } }],
                    "sort": [{ "conversation_created_at": "desc" }] }),
        ),
        (
            "messages with a word",
            "pageSize=100",
            json!({ "queryContext": "message", "and": [{ "message_any_text": { "contains": "order" } }] }),
        ),
        (
            "customers by a part of their address",
            "pageSize=100",
            json!({ "queryContext": "customer", "and": [{ "customer_email": { "contains": "@example" } }] }),
        ),
        (
            "customers with a message that came in, by name",
            "pageSize=100",
            json!({ "queryContext": "customer", "and": [{ "message_direction": { "equals": "in" } }],
                    "sort": [{ "customer_name": "asc" }] }),
        ),
        ("count of all messages", "pageSize=0", json!({ "queryContext": "message" })),
    ]
}

fn asked(run: &Run<'_>, database: &Database, server: &Server) -> Result<()> {
    let mut table = Table::new(&["search", "found", "median ms", "99 of 100 ms", "CPU ms"]);
    for (name, query, body) in kinds() {
        let total = answered(server, search(database, query, &body), run)?["meta"]["total"].clone();
        let asks = [search(database, query, &body)];
        let load = Load { port: server.port, connections: 1, asks: &asks, picks: &[0], pace: None, limit: run.limit };
        let before = Reading::of(&[server.pid()])?;
        let moved = load.send(Bounds { count: TIMES, time: 5 * run.time() })?;
        let cpu = Reading::of(&[server.pid()])?.since(&before);
        let millis = |part| report::millis(moved.quantile(part).as_secs_f64() * 1e3);
        table.row([
            name.to_owned(),
            total.to_string(),
            millis(0.5),
            millis(0.99),
            report::millis(cpu.as_secs_f64() * 1e3 / moved.count as f64),
        ]);
    }
    table.print("Searches");
    Ok(())
}

/// Lists at a steady pace while searches run one after the other, and without.
fn beside(run: &Run<'_>, database: &Database, server: &Server) -> Result<Vec<Aim>> {
    let lists: Vec<_> =
        database.customers()?.iter().map(|customer| Ask::get(&path_of(customer), &database.token)).collect();
    let picks = Random::seeded(0).permutation(lists.len());
    let searches: Vec<_> = kinds().into_iter().map(|(_, query, body)| search(database, query, &body)).collect();
    let search_picks: Vec<_> = (0..searches.len()).collect();
    let (limit, connections) = (run.limit, run.options.connections);
    let load = |pace| Load { port: server.port, connections, asks: &lists, picks: &picks, pace, limit };
    let searching =
        Load { port: server.port, connections: 2, asks: &searches, picks: &search_picks, pace: None, limit };
    let bounds = Bounds { count: usize::MAX, time: run.time() };
    let together = |pace| {
        thread::scope(|scope| {
            let searches = scope.spawn(|| searching.send(bounds));
            let lists = load(pace).send(bounds);
            let searches = searches.join().ok().context("a load thread does not panic")?;
            anyhow::Ok((lists?, searches?))
        })
    };
    load(None).send(bounds.warm_up())?;
    let heads = [
        "round",
        "median µs alone",
        "beside",
        "99 of 100 µs alone",
        "beside",
        "lists/s at most alone",
        "beside",
        "searches/s",
    ];
    let mut table = Table::new(&heads);
    let (mut medians, mut most) = (Vec::new(), Vec::new());
    for round in 0..run.options.rounds {
        let alone = load(Some(LISTS)).send(bounds)?;
        let (beside, searches) = together(Some(LISTS))?;
        let (full, (full_beside, _)) = (load(None).send(bounds)?, together(None)?);
        let micros = |moved: &load::Moved, part| moved.quantile(part).as_secs_f64() * 1e6;
        let rate = |moved: &load::Moved| moved.count as f64 / moved.wall.as_secs_f64();
        medians.push(micros(&beside, 0.5) / micros(&alone, 0.5));
        most.push(rate(&full) / rate(&full_beside));
        table.row([
            (round + 1).to_string(),
            report::micros(micros(&alone, 0.5)),
            report::micros(micros(&beside, 0.5)),
            report::micros(micros(&alone, 0.99)),
            report::micros(micros(&beside, 0.99)),
            format!("{:.0}", rate(&full)),
            format!("{:.0}", rate(&full_beside)),
            format!("{:.0}", rate(&searches)),
        ]);
    }
    table.print(&format!("Lists while two clients search without pause, {LISTS} a second and as many as there can be"));
    Ok(vec![
        Aim::at_most(1.1, " ×", "median of a list beside searches ÷ alone", report::median(&medians)),
        Aim::at_most(1.1, " ×", "lists/s alone ÷ beside searches", report::median(&most)),
    ])
}

/// One who never turns a page, and one who turns a hundred and jumps: all messages, each page's time.
fn walks(run: &Run<'_>, database: &Database, server: &Server) -> Result<Vec<Aim>> {
    let total = answered(server, search(database, "pageSize=0", &json!({ "queryContext": "message" })), run)?;
    let total = total["meta"]["total"].as_u64().context("a total")? as usize;
    let mut table =
        Table::new(&["walk", "messages", "pages", "rows", "ms a page, first tenth", "last tenth", "last ÷ first"]);
    let mut aims = Vec::new();
    for (name, size, turns, operator) in [
        ("page 1 again with gte, 500 a page", 500, 1, "gte"),
        ("100 pages and a jump with gt, 100 a page", 100, 100, "gt"),
    ] {
        let (mut since, mut seen, mut rows, mut times) =
            ("2000-01-01T00:00:00.000Z".to_owned(), HashSet::new(), 0, Vec::new());
        'walk: loop {
            let body = json!({ "queryContext": "message", "and": [{ "message_updated_at": { operator: since } }],
                               "sort": [{ "message_updated_at": "asc" }] });
            for page in 1..=turns {
                let begun = Instant::now();
                let answer = answered(server, search(database, &format!("page={page}&pageSize={size}"), &body), run)?;
                times.push(begun.elapsed().as_secs_f64() * 1e3);
                let data = answer["data"].as_array().context("rows")?;
                rows += data.len();
                seen.extend(data.iter().filter_map(|row| row["id"].as_str().map(str::to_owned)));
                if let Some(last) = data.last().and_then(|row| row["attributes"]["updatedAt"].as_str()) {
                    last.clone_into(&mut since);
                }
                if answer["links"]["next"].is_null() {
                    break 'walk;
                }
            }
        }
        ensure!(seen.len() == total, "{name}: {} of {total} messages were seen", seen.len());
        let tenth = (times.len() / 10).max(1);
        let (first, last) = (report::median(&times[..tenth]), report::median(&times[times.len() - tenth..]));
        table.row([
            name.to_owned(),
            seen.len().to_string(),
            times.len().to_string(),
            rows.to_string(),
            report::millis(first),
            report::millis(last),
            format!("{:.2}", last / first),
        ]);
        aims.push(Aim::at_most(1.5, " ×", format!("a page of a walk, last tenth ÷ first ({name})"), last / first));
    }
    table.print("Walks over all messages");
    Ok(aims)
}

/// What messages cost with an index and without.
fn written(run: &Run<'_>, database: &Database, server: Server, folder: &str) -> Result<()> {
    let asks = messages::asks(database)?;
    let picks = Random::seeded(0).permutation(asks.len());
    let bounds = Bounds { count: usize::MAX, time: 2 * run.time() };
    let mut table =
        Table::new(&["messages", "a second", "median ms", "99 of 100 ms", "CPU µs a message", "MB of index"]);
    let mut measured = |name: &str, server: &Server| {
        let load = Load {
            port: server.port,
            connections: 16,
            asks: &asks,
            picks: &picks,
            pace: Some(MESSAGES),
            limit: run.limit,
        };
        load.send(bounds.warm_up())?;
        sleep(Duration::from_secs(3));
        let before = Reading::of(&[server.pid()])?;
        let moved = load.send(bounds)?;
        // What is gathered is indexed within seconds.
        sleep(Duration::from_secs(5));
        let cpu = Reading::of(&[server.pid()])?.since(&before);
        let millis = |part| report::millis(moved.quantile(part).as_secs_f64() * 1e3);
        table.row([
            name.to_owned(),
            format!("{:.0}", moved.count as f64 / moved.wall.as_secs_f64()),
            millis(0.5),
            millis(0.99),
            report::micros(cpu.as_secs_f64() * 1e6 / moved.count as f64),
            report::megabytes(folder_bytes(folder)?),
        ]);
        anyhow::Ok(())
    };
    measured("with a search index", &server)?;
    drop(server);
    let server = run.serve(&database.url, None)?;
    measured("without", &server)?;
    table.print(&format!("Messages recorded, {MESSAGES} a second, one to each conversation"));
    Ok(())
}
