//! Pages by number, shallow and deep, and `fromDate`, against page 1.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::messages;
use crate::load::{self, Ask, Bounds, Load};
use crate::report::Aim;
use crate::run::{Database, Engine, Run};
use crate::servers::Server;
use crate::turns::{self, Cost, Subject};

/// Few connections: what one page costs is asked for, not how many pages wait.
const CONNECTIONS: usize = 2;

const PAGE_SIZE: usize = 100;

/// Requests for one page before the next is asked for.
const IN_A_ROW: usize = 20;

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
    /// Ten pages (or fewer), the last of them this one, spread over the tenth of the pages that ends with it: a page that
    /// happens to begin a block does not stand for all.
    fn up_to(list: &str, page: usize, token: &str) -> Self {
        let step = (page / 100).max(1);
        let pages: Vec<usize> = (0..10.min(page)).map(|back| page - back * step).collect();
        let name = if page == 1 { "page 1".to_owned() } else { format!("pages to {page}") };
        let ask = |page: usize| Ask::get(&format!("{list}?page={page}&pageSize={PAGE_SIZE}"), token);
        Self { name, asks: pages.into_iter().map(ask).collect() }
    }
}

fn on(run: &Run<'_>, engine: Engine) -> Result<Vec<Aim>> {
    let database = run.deep(engine)?;
    // A page that lies in a cache would hide what finding it costs.
    let server = run.serve(&database.url, Some(0))?;
    let token = &database.token;
    let history = run.history();
    let of_customer = format!("/v1/customers/{}/conversations", history.customer());
    let of_org = "/v1/conversations".to_owned();
    let deepest = (history.of_one / PAGE_SIZE).max(1);

    let mut aims = Vec::new();
    // Each page many times in a row: page 1 lies in the processor's caches, and so may the others.
    let picks: Vec<usize> = (0..10).flat_map(|page| [page; IN_A_ROW]).collect();
    let subjects = |pages: &[Pages]| -> Result<Vec<Cost>> {
        let subjects = pages.iter().map(|pages| subject(run, &server, engine, &pages.name, &pages.asks, &picks));
        let subjects = subjects.collect::<Result<Vec<_>>>()?;
        turns::in_turns(&subjects, run.options.rounds, bounds(run))
    };
    for (title, list) in [("one customer's list", &of_customer), ("the org's list", &of_org)] {
        let mut numbers = vec![1, 100.min(deepest), deepest];
        numbers.dedup();
        let pages: Vec<_> = numbers.into_iter().map(|page| Pages::up_to(list, page, token)).collect();
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
    let picks = &picks[..asks.len() * IN_A_ROW];
    let load = Load { port, connections: CONNECTIONS, asks, picks, pace: None, limit };
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
