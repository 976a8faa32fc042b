//! konverse on PostgreSQL, against pgbench running the bare statements on the same server.

use std::thread::sleep;

use anyhow::Result;
use konverse_harness::{Cluster, Random};

use super::list::path_of;
use super::messages;
use crate::bare::MESSAGE_BYTES;
use crate::load::{Ask, Bounds, Load};
use crate::postgres;
use crate::proc::Reading;
use crate::report::{self, Aim, Table};
use crate::run::{Database, Engine, REAL, Run, SMALL_CACHE};
use crate::servers::Server;
use crate::turns::{self, SETTLE};

/// Connections that ask for lists, as many as konverse holds to the database by itself.
const READERS: usize = 16;

/// Rows a page of the list reads: one more than it shows.
const ROWS: usize = 101;

/// konverse and pgbench in turns.
struct Turns<'a> {
    run: &'a Run<'a>,
    cluster: &'a Cluster,
    server: &'a Server,
    script: String,
}

impl Turns<'_> {
    /// konverse's requests a second ÷ pgbench's transactions a second.
    fn ratio(&self, title: &str, connections: usize, asks: &[Ask]) -> Result<f64> {
        let run = self.run;
        let picks = Random::seeded(0).permutation(asks.len());
        let load = Load { port: self.server.port, connections, asks, picks: &picks, pace: None, limit: run.limit };
        let bounds = Bounds { count: usize::MAX, time: run.time() };
        load.send(bounds.warm_up())?;
        let heads = [
            "round",
            "konverse requests/s",
            "pgbench transactions/s",
            "konverse ÷ pgbench",
            "CPU µs of konverse",
            "CPU µs of PostgreSQL",
            "median ms",
        ];
        let mut table = Table::new(&heads);
        let (mut own, mut bare) = (Vec::new(), Vec::new());
        for round in 0..run.options.rounds {
            bare.push(postgres::pgbench(run, REAL, &self.script, connections, bounds.time)?);
            // Its server processes are gone then, and do not count.
            sleep(SETTLE);
            let processes = [self.server.pid(), self.cluster.pid()?];
            let before = [Reading::of(&processes[..1])?, Reading::of(&processes[1..])?];
            let moved = load.send(bounds)?;
            let after = [Reading::of(&processes[..1])?, Reading::of(&processes[1..])?];
            let count = moved.count as f64;
            let micros = |n: usize| report::micros(after[n].since(&before[n]).as_secs_f64() * 1e6 / count);
            own.push(count / moved.wall.as_secs_f64());
            table.row([
                (round + 1).to_string(),
                format!("{:.0}", own[round]),
                format!("{:.0}", bare[round]),
                format!("{:.2}", own[round] / bare[round]),
                micros(0),
                micros(1),
                report::millis(moved.quantile(0.5).as_secs_f64() * 1e3),
            ]);
        }
        table.print(&format!("PostgreSQL {}: {title}, {connections} connections", postgres::version(self.cluster)?));
        Ok(turns::ratio(&own, &bare))
    }
}

pub(super) fn measure(run: &Run<'_>) -> Result<Vec<Aim>> {
    let database = run.real(Engine::Postgres)?;
    let cluster = run.cluster()?;
    bare_tables(cluster)?;
    let ids = |sql: &str| anyhow::Ok(cluster.sql(REAL, sql)?.lines().map(str::to_owned).collect::<Vec<_>>());
    let customers = ids("SELECT encode(customer, 'hex') FROM bare.customer ORDER BY number")?;
    let conversations = ids("SELECT encode(id, 'hex') FROM conversation WHERE hidden = 0 ORDER BY id")?;
    let org = ids("SELECT encode(id, 'hex') FROM org")?.remove(0);
    let count = customers.len();

    let server = run.serve(&database.url, Some(SMALL_CACHE))?;
    let lists: Vec<_> = customers.iter().map(|customer| Ask::get(&path_of(customer), &database.token)).collect();
    let script = format!(
        "\\set number random(1, {count})\n\
         SELECT created_at, id, doc FROM conversation WHERE org = decode('{org}', 'hex') \
         AND customer = (SELECT customer FROM bare.customer WHERE number = :number) AND hidden = 0 \
         ORDER BY created_at DESC, id DESC LIMIT {ROWS};\n"
    );
    let list = Turns { run, cluster, server: &server, script };
    let list = list.ratio("the list of a random customer", READERS, &lists)?;
    drop(server);

    let messages = messages_ratio(run, cluster, database, &conversations)?;
    Ok(vec![
        Aim::at_least(0.6, " ×", "PostgreSQL, lists/s ÷ pgbench's bare query", list),
        Aim::at_least(0.25, " ×", "PostgreSQL, messages/s ÷ pgbench's bare insert", messages),
    ])
}

/// What the scripts need besides konverse's tables: the customers by number, and a table to insert into.
fn bare_tables(cluster: &Cluster) -> Result<()> {
    cluster.sql(
        REAL,
        "CREATE SCHEMA bare;
         CREATE TABLE bare.customer AS
             SELECT row_number() OVER () AS number, customer FROM (SELECT DISTINCT customer FROM conversation WHERE hidden = 0) c;
         ALTER TABLE bare.customer ADD PRIMARY KEY (number);
         CREATE TABLE bare.message (id bigserial PRIMARY KEY, doc text NOT NULL);",
    )?;
    cluster.sql(REAL, "VACUUM (ANALYZE) bare.customer")?;
    Ok(())
}

fn messages_ratio(run: &Run<'_>, cluster: &Cluster, database: &Database, conversations: &[String]) -> Result<f64> {
    let server = run.serve(&database.url, None)?;
    let posts = messages::asks_to(conversations, &database.token)?;
    let script = format!("INSERT INTO bare.message (doc) VALUES ('{}');\n", "m".repeat(MESSAGE_BYTES));
    let turns = Turns { run, cluster, server: &server, script };
    turns.ratio("messages recorded", messages::CONNECTIONS, &posts)
}
