//! The list of a customer, against the same bytes from memory through the same stack, and from nginx.

use anyhow::Result;
use konverse_harness::Random;

use crate::load::{self, Ask, Load};
use crate::report::Aim;
use crate::run::{Database, Engine, Run, SMALL_CACHE};
use crate::servers::{self, Page, Server};
use crate::turns::{self, Subject};

/// Customers that are asked for again and again.
const FEW: usize = 50;

pub(super) fn measure(run: &Run<'_>) -> Result<Vec<Aim>> {
    let database = run.real(Engine::Sqlite)?;
    let customers = database.customers()?;
    // Each customer once before any comes again, in an order by chance.
    let order = Random::seeded(0).permutation(customers.len());
    let of = |numbers: &[usize]| numbers.iter().map(|number| customers[*number].clone()).collect::<Vec<_>>();
    let mut aims =
        compare(run, database, "customers not asked for lately", &of(&order), Some(SMALL_CACHE), [1.8, 1.2])?;
    let few = of(&order[..FEW.min(order.len())]);
    aims.extend(compare(run, database, "customers asked for again, unchanged", &few, None, [1.2, 0.8])?);
    Ok(aims)
}

/// The path of a customer's list.
pub(super) fn path_of(customer: &str) -> String {
    format!("/v1/customers/{customer}/conversations")
}

fn compare(
    run: &Run<'_>,
    database: &Database,
    name: &str,
    customers: &[String],
    cache: Option<u32>,
    [of_memory, of_nginx]: [f64; 2],
) -> Result<Vec<Aim>> {
    let token = &database.token;
    let konverse = run.serve(&database.url, cache)?;
    let asks: Vec<_> = customers.iter().map(|customer| Ask::get(&path_of(customer), token)).collect();
    let recorded = load::record(konverse.port, &asks, run.limit)?;
    let pages: Vec<_> =
        customers.iter().zip(recorded).map(|(customer, recorded)| Page { path: path_of(customer), recorded }).collect();
    let memory = servers::start_memory(&pages, run.work, run.limit)?;
    let nginx = servers::find_nginx();
    let nginx = nginx.map(|nginx| servers::start_nginx(&nginx, &pages, run.work, run.limit)).transpose()?;

    let servers: Vec<&Server> = [&konverse, &memory].into_iter().chain(&nginx).collect();
    // The answers from every server are as long as the recorded ones, or the run stops.
    let asks: Vec<Vec<Ask>> = servers
        .iter()
        .map(|server| {
            let numbered = pages.iter().enumerate();
            let ask = |(n, page): (usize, &Page)| {
                Ask::get(&server.path_of(n, page), token).of_length(page.recorded.body.len())
            };
            numbered.map(ask).collect()
        })
        .collect();
    let picks: Vec<usize> = (0..pages.len()).collect();
    let subjects: Vec<_> = servers
        .iter()
        .zip(&asks)
        .map(|(server, asks)| Subject {
            name: server.name.clone(),
            processes: vec![server.pid()],
            load: Load {
                port: server.port,
                connections: run.options.connections,
                asks,
                picks: &picks,
                pace: None,
                limit: run.limit,
            },
        })
        .collect();
    let costs = turns::in_turns(&subjects, run.options.rounds, run.bounds())?;
    turns::print(&format!("List: {name} ({} customers)", pages.len()), &costs, &costs[1]);

    let memory = Aim::at_most(of_memory, " ×", format!("list, {name} ÷ bytes from memory"), costs[0].over(&costs[1]));
    let what = format!("list, {name} ÷ nginx");
    let nginx = match costs.get(2) {
        Some(nginx) => Aim::at_most(of_nginx, " ×", what, costs[0].over(nginx)),
        None => Aim::at_most(of_nginx, " ×", what, 0.0).without("no nginx"),
    };
    Ok(vec![memory, nginx])
}
