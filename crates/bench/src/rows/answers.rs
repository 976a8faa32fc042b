//! Answers that are shorter than the page: 304, and compressed ones.

use std::io::{self, Write};
use std::time::Instant;

use anyhow::Result;
use flate2::Compression;
use flate2::write::GzEncoder;
use konverse_harness::Random;

use super::list::path_of;
use crate::load::{self, Ask, Load};
use crate::report::{Aim, Table, median};
use crate::run::{Engine, Run, SMALL_CACHE};
use crate::servers::Server;
use crate::turns::{self, Subject};

/// Customers that are asked for again and again.
const CUSTOMERS: usize = 50;

/// The lists of all customers, in an order by chance.
fn paths(run: &Run<'_>) -> Result<Vec<String>> {
    let customers = run.real(Engine::Sqlite)?.customers()?;
    let order = Random::seeded(0).permutation(customers.len());
    Ok(order.iter().map(|number| path_of(&customers[*number])).collect())
}

fn subject<'a>(run: &Run<'_>, server: &Server, name: &str, asks: &'a [Ask], picks: &'a [usize]) -> Subject<'a> {
    let (port, connections) = (server.port, run.options.connections);
    let load = Load { port, connections, asks, picks: &picks[..asks.len()], pace: None, limit: run.limit };
    Subject { name: name.to_owned(), processes: vec![server.pid()], load }
}

/// A request that ends in 304, against `/healthz`.
pub(super) fn unchanged(run: &Run<'_>) -> Result<Vec<Aim>> {
    let database = run.real(Engine::Sqlite)?;
    let server = run.serve(&database.url, None)?;
    let token = &database.token;
    let mut paths = paths(run)?;
    paths.truncate(CUSTOMERS);
    let lists: Vec<_> = paths.iter().map(|path| Ask::get(path, token)).collect();
    let recorded = load::record(server.port, &lists, run.limit)?;
    let etags: Option<Vec<&str>> = recorded.iter().map(|recorded| recorded.etag.as_deref()).collect();
    let aim = |seen| Aim::at_most(2.0, " ×", "304 ÷ /healthz", seen);
    let Some(etags) = etags else { return Ok(vec![aim(0.0).without("no ETag")]) };

    let ask = |(path, etag): (&String, &str)| Ask::get_with(path, token, &[("If-None-Match", etag)]).expecting(304);
    let unchanged: Vec<_> = paths.iter().zip(etags).map(ask).collect();
    let health = [Ask::get("/healthz", "none")];
    let picks: Vec<usize> = (0..paths.len()).collect();
    let subjects = [
        subject(run, &server, "/healthz", &health, &picks),
        subject(run, &server, "304 of a list", &unchanged, &picks),
        subject(run, &server, "the list itself", &lists, &picks),
    ];
    let costs = turns::in_turns(&subjects, run.options.rounds, run.bounds())?;
    turns::print("Unchanged lists", &costs, &costs[0]);
    Ok(vec![aim(costs[1].over(&costs[0]))])
}

/// Compressed lists, against plain ones; the project has no aim for them.
pub(super) fn compressed(run: &Run<'_>) -> Result<Vec<Aim>> {
    let paths = paths(run)?;
    let few = &paths[..CUSTOMERS.min(paths.len())];
    compare_encodings(run, "customers not asked for lately", &paths, Some(SMALL_CACHE))?;
    compare_encodings(run, "customers asked for again, unchanged", few, None)?;
    compare_levels(run, &paths)?;
    Ok(Vec::new())
}

/// Levels of the encodings, the first of which konverse compresses at.
const LEVELS: [(&str, i32, Compress); 8] = [
    ("gzip", 1, gzip),
    ("gzip", 2, gzip),
    ("gzip", 3, gzip),
    ("gzip", 6, gzip),
    ("zstd", 1, zstd),
    ("zstd", -1, zstd),
    ("zstd", 3, zstd),
    ("zstd", 6, zstd),
];

type Compress = fn(&[u8], i32) -> io::Result<usize>;

fn gzip(body: &[u8], level: i32) -> io::Result<usize> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::new(level.unsigned_abs()));
    encoder.write_all(body)?;
    encoder.finish().map(|bytes| bytes.len())
}

fn zstd(body: &[u8], level: i32) -> io::Result<usize> {
    zstd::bulk::compress(body, level).map(|bytes| bytes.len())
}

/// What compressing each list costs by itself, on one thread of this process, with konverse's libraries.
fn compare_levels(run: &Run<'_>, paths: &[String]) -> Result<()> {
    let database = run.real(Engine::Sqlite)?;
    let server = run.serve(&database.url, None)?;
    let asks: Vec<_> = paths.iter().map(|path| Ask::get(path, &database.token)).collect();
    let bodies: Vec<_> = load::record(server.port, &asks, run.limit)?.into_iter().map(|answer| answer.body).collect();
    let mut micros = vec![Vec::new(); LEVELS.len()];
    let mut bytes = vec![0; LEVELS.len()];
    for _ in 0..run.options.rounds {
        for (n, (_, level, compress)) in LEVELS.iter().enumerate() {
            run.limit.check()?;
            let started = Instant::now();
            bytes[n] = bodies.iter().map(|body| compress(body, *level)).sum::<io::Result<usize>>()?;
            micros[n].push(started.elapsed().as_secs_f64() * 1e6 / bodies.len() as f64);
        }
    }
    let mut table = Table::new(&["level", "µs a list", "kB a list"]);
    for (n, (name, level, _)) in LEVELS.iter().enumerate() {
        let kilobytes = bytes[n] as f64 / 1000.0 / bodies.len() as f64;
        table.row([format!("{name} {level}"), format!("{:.1}", median(&micros[n])), format!("{kilobytes:.2}")]);
    }
    table.print("Levels of compression, by themselves");
    Ok(())
}

fn compare_encodings(run: &Run<'_>, name: &str, paths: &[String], cache: Option<u32>) -> Result<()> {
    let database = run.real(Engine::Sqlite)?;
    let server = run.serve(&database.url, cache)?;
    let picks: Vec<usize> = (0..paths.len()).collect();
    let mut encodings = Vec::new();
    for encoding in ["identity", "gzip", "zstd"] {
        let headers = [("Accept-Encoding", encoding)];
        let asks: Vec<_> = paths.iter().map(|path| Ask::get_with(path, &database.token, &headers)).collect();
        let recorded = load::record(server.port, &asks[..1], run.limit)?;
        let given = recorded[0].content_encoding == encoding || encoding == "identity";
        let name = if given { encoding.to_owned() } else { format!("{encoding}, which is not given") };
        encodings.push((name, asks));
    }
    let subjects: Vec<_> = encodings.iter().map(|(name, asks)| subject(run, &server, name, asks, &picks)).collect();
    let costs = turns::in_turns(&subjects, run.options.rounds, run.bounds())?;
    turns::print(&format!("Compressed lists: {name}"), &costs, &costs[0]);
    Ok(())
}
