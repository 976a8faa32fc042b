//! Pages by number, shallow and deep, and `fromDate`, against page 1.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::messages;
use crate::load::{self, Ask, Bounds, Load};
use crate::report::Aim;
use crate::run::{Database, Engine, Run, SMALL_CACHE};
use crate::servers::Server;
use crate::turns::{self, Cost, Subject};

/// Few connections: what one page costs is asked for, not how many pages wait.
const CONNECTIONS: usize = 2;

const PAGE_SIZE: usize = 100;

/// Conversations that `fromDate` is to match.
const FEW: usize = 5;

/// A page that costs at most this many times page 1 has settled.
const SETTLED: f64 = 1.3;

pub(super) fn measure(run: &Run<'_>) -> Result<Vec<Aim>> {
    let mut aims = Vec::new();
    for engine in &run.options.engines {
        aims.extend(on(run, *engine)?);
    }
    Ok(aims)
}

/// A list, and the pages of it that are asked for.
struct Pages {
    name: String,
    asks: Vec<Ask>,
}

impl Pages {
    /// The tenth of the pages that ends with this one: a page that happens to begin a block does not stand for all.
    fn up_to(list: &str, page: usize, token: &str) -> Self {
        let first = page - page / 10 + 1;
        let name = if first >= page { format!("page {page}") } else { format!("pages {first} to {page}") };
        let ask = |page| Ask::get(&format!("{list}?page={page}&pageSize={PAGE_SIZE}"), token);
        Self { name, asks: (first.min(page)..=page).map(ask).collect() }
    }
}

fn on(run: &Run<'_>, engine: Engine) -> Result<Vec<Aim>> {
    let database = run.deep(engine)?;
    // A page that lies in a cache would hide what finding it costs.
    let server = run.serve(&database.url, Some(SMALL_CACHE))?;
    let token = &database.token;
    let history = run.history();
    let of_customer = format!("/v1/customers/{}/conversations", history.customer());
    let of_org = "/v1/conversations".to_owned();
    let deepest = (history.of_one / PAGE_SIZE).max(1);

    let mut aims = Vec::new();
    let picks: Vec<usize> = (0..deepest).collect();
    let subjects = |pages: &[Pages]| -> Result<Vec<Cost>> {
        let subjects = pages.iter().map(|pages| subject(run, &server, engine, &pages.name, &pages.asks, &picks));
        let subjects = subjects.collect::<Result<Vec<_>>>()?;
        turns::in_turns(&subjects, run.options.rounds, bounds(run))
    };
    for (title, list) in [("one customer's list", &of_customer), ("the org's list", &of_org)] {
        let pages: Vec<_> = [1, 100.min(deepest), deepest].map(|page| Pages::up_to(list, page, token)).into();
        settle(run, &server, engine, &pages, &picks)?;
        let costs = subjects(&pages)?;
        turns::print(&format!("{}, {title} of {} conversations", engine.name(), history.of_one), &costs, &costs[0]);
        for cost in &costs[1..] {
            let what = format!("{}, {title}, {} ÷ page 1", engine.name(), cost.name);
            aims.push(Aim::at_most(1.3, " ×", what, cost.over(&costs[0])));
        }
    }

    let changed = change_few(run, database, &server)?;
    let from = |name: &str, query: String, rows: usize| -> Result<Pages> {
        let ask = Ask::get(&format!("{of_customer}?pageSize={PAGE_SIZE}{query}"), token);
        let answer = load::record(server.port, std::slice::from_ref(&ask), run.limit)?.remove(0);
        let document: Value = serde_json::from_slice(&answer.body)?;
        let found = document["data"].as_array().map_or(0, Vec::len);
        ensure!(found == rows, "{name}: {found} rows instead of {rows}");
        Ok(Pages { name: name.to_owned(), asks: vec![ask] })
    };
    let pages = [
        from("page 1", String::new(), PAGE_SIZE.min(history.of_one))?,
        from("fromDate, few rows", format!("&fromDate={changed}"), FEW.min(history.of_one))?,
        from("fromDate, no row", "&fromDate=2999-01-01T00:00:00Z".to_owned(), 0)?,
    ];
    let costs = subjects(&pages)?;
    turns::print(&format!("{}, fromDate of one customer's list", engine.name()), &costs, &costs[0]);
    for cost in &costs[1..] {
        let what = format!("{}, {} ÷ page 1", engine.name(), cost.name);
        aims.push(Aim::at_most(1.5, " ×", what, cost.over(&costs[0])));
    }
    Ok(aims)
}

fn bounds(run: &Run<'_>) -> Bounds {
    Bounds { count: run.options.requests.min(4000), time: run.time() }
}

fn subject<'a>(
    run: &Run<'_>,
    server: &Server,
    engine: Engine,
    name: &str,
    asks: &'a [Ask],
    picks: &'a [usize],
) -> Result<Subject<'a>> {
    let (port, limit) = (server.port, run.limit);
    let load = Load { port, connections: CONNECTIONS, asks, picks: &picks[..asks.len()], pace: None, limit };
    Ok(Subject { name: name.to_owned(), processes: run.processes(server, engine)?, load })
}

/// Asks on until two looks in a row see the deepest page settled, or the time for it is over: what makes it cheap can be
/// built in the background.
fn settle(run: &Run<'_>, server: &Server, engine: Engine, pages: &[Pages], picks: &[usize]) -> Result<()> {
    let (Some(first), Some(last)) = (pages.first(), pages.last()) else { return Ok(()) };
    let look = Bounds { count: 200, time: Duration::from_millis(500) };
    let subjects = [first, last].map(|pages| subject(run, server, engine, &pages.name, &pages.asks, picks));
    let [first, last] = subjects;
    let subjects = [first?, last?];
    let started = Instant::now();
    let mut settled = 0;
    while settled < 2 && started.elapsed() < Duration::from_secs(run.options.settle) {
        let costs = turns::in_turns(&subjects, 1, look)?;
        settled = if costs[1].over(&costs[0]) <= SETTLED { settled + 1 } else { 0 };
    }
    Ok(())
}

/// Records a message in a few conversations, far apart; the moment since which they alone have changed.
fn change_few(run: &Run<'_>, database: &Database, server: &Server) -> Result<String> {
    let history = run.history();
    let few = FEW.min(history.of_one);
    let ids: Vec<_> = (0..few).map(|number| history.conversation(number * history.of_one / few)).collect();
    load::record(server.port, &messages::asks_to(&ids, &database.token)?, run.limit)?;
    let asks: Vec<_> = ids.iter().map(|id| Ask::get(&format!("/v1/conversations/{id}"), &database.token)).collect();
    let answers = load::record(server.port, &asks, run.limit)?;
    let moments = answers.iter().map(|answer| {
        let document: Value = serde_json::from_slice(&answer.body)?;
        let moment = document["data"]["attributes"]["updatedAt"].as_str().context("a conversation has updatedAt")?;
        Ok(moment.to_owned())
    });
    // Of one length, so the earliest is the least text.
    let moments = moments.collect::<Result<Vec<_>>>()?;
    moments.into_iter().min().context("a conversation was changed")
}
