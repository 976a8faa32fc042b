//! Prints how konverse compares, on one machine and in one run, with the limit of its own stack, with nginx serving the
//! same bytes as files, and with a bare SQLite insert of the same rows. `docs/benchmarks.md` says how to read it.
//!
//! It is a command and not a test: nothing fails because something was slow.

#![expect(clippy::print_stdout, reason = "the tables are what this program is for")]

mod import;
mod limit;
mod load;
mod proc;
mod report;
mod servers;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::{Args, Parser, Subcommand};

use import::Filling;
use limit::Limit;
use load::{Load, Mix, Recorded};
use report::{Aim, Table};
use servers::Server;

/// konverse allocates with it as well; the server of bytes from memory must not be slower for the lack of it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The organisation that is made for the run.
const ORG: &str = "bench";

/// The role that the load's token has.
const ROLE: &str = "org.permission.conversation.read";

/// Measured loads of each server, of which the median counts.
const ROUNDS: usize = 3;

/// Time for servers to fall silent after a load, so that no work of it is counted later.
const SETTLE: Duration = Duration::from_millis(100);

/// Measures a konverse binary and prints tables.
#[derive(Parser)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
struct Cli {
    #[command(subcommand)]
    part: Option<Part>,
    #[command(flatten)]
    options: Option<Options>,
}

#[derive(Args)]
struct Options {
    /// The konverse binary to measure.
    #[arg(long)]
    konverse: PathBuf,
    /// The folder of `.jsonl.gz` files to import.
    #[arg(long)]
    data: PathBuf,
    /// Requests of one measured load; each server gets three of each mix.
    #[arg(long, default_value_t = 20_000)]
    requests: usize,
    /// Kept connections, one request at a time on each.
    #[arg(long, default_value_t = 8)]
    connections: usize,
    /// Where to make the temporary folder; the databases in it should be on a real disk.
    #[arg(long)]
    work: Option<PathBuf>,
    /// Measure konverse on this empty PostgreSQL database as well, which is left filled.
    #[arg(long, value_name = "URL")]
    postgres: Option<String>,
    /// Seconds after which the run is given up.
    #[arg(long, default_value_t = 600)]
    timeout: u64,
}

/// The parts of this program that run as processes of their own.
#[derive(Subcommand)]
enum Part {
    #[command(hide = true)]
    BareRows {
        #[arg(long)]
        from: PathBuf,
        #[arg(long)]
        into: PathBuf,
    },
    #[command(hide = true)]
    BareLines {
        #[arg(long)]
        from: PathBuf,
        #[arg(long)]
        into: PathBuf,
    },
    #[command(hide = true)]
    ServeMemory {
        #[arg(long)]
        bodies: PathBuf,
        #[arg(long)]
        content_type: String,
        #[arg(long)]
        listen: String,
    },
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    match cli.part {
        Some(Part::BareRows { from, into }) => println!("{}", import::insert_rows(&from, &into)?),
        Some(Part::BareLines { from, into }) => println!("{}", import::insert_lines(&from, &into)?),
        Some(Part::ServeMemory { bodies, content_type, listen }) => {
            servers::serve_memory(&bodies, &content_type, &listen)?;
        }
        None => measure(&cli.options.context("--konverse and --data are needed")?)?,
    }
    Ok(())
}

/// What every step of a run needs.
struct Run<'a> {
    options: &'a Options,
    work: &'a Path,
    limit: Limit,
}

fn measure(options: &Options) -> Result<()> {
    ensure!(options.requests > 0 && options.connections > 0, "--requests and --connections must not be 0");
    let limit = Limit::after(Duration::from_secs(options.timeout));
    limit::watch_signals()?;
    let parent = options.work.clone().unwrap_or_else(std::env::temp_dir);
    let folder = tempfile::Builder::new().prefix("konverse-bench-").tempdir_in(parent)?;
    // Absolute, since servers may look at paths from elsewhere.
    let work = folder.path().canonicalize()?;
    let run = Run { options, work: &work, limit };

    println!("{}", report::machine(servers::workers()));
    println!("{}", run.version()?);
    let mut aims = run.on_sqlite()?;
    if let Some(url) = &options.postgres {
        run.on_postgres(url)?;
    }
    aims.sort_by_key(|aim| aim.seen.is_none());
    report::print_aims(&aims);
    Ok(())
}

impl Run<'_> {
    fn version(&self) -> Result<String> {
        let mut command = servers::konverse(&self.options.konverse);
        let (_, version) = proc::run(command.arg("--version"), &self.work.join("version"), self.limit)?;
        let nginx = match servers::find_nginx() {
            // nginx prints its version where others print errors.
            Some(nginx) => String::from_utf8_lossy(&Command::new(nginx).arg("-v").output()?.stderr).trim().to_owned(),
            None => {
                "nginx is not installed: its rows are left out. To have them: apt-get install nginx-light".to_owned()
            }
        };
        Ok(format!("{}, {nginx}", version.trim()))
    }

    fn on_sqlite(&self) -> Result<Vec<Aim>> {
        let file = self.work.join("konverse.db");
        let database = format!("sqlite:{}", file.display());
        let imported = self.import(&database, "sqlite")?;
        let imported = Filling { file_bytes: fs::metadata(&file)?.len(), ..imported };
        let bare = import::bare_rows(&file, self.work, self.limit)?;
        let lines = import::bare_lines(&self.options.data, self.work, self.limit)?;
        print_import(&imported, &bare, &lines);

        let token = self.token(&database)?;
        let konverse =
            servers::start_konverse(&self.options.konverse, &database, &self.work.join("konverse.log"), self.limit)?;
        let idle_kib = self.print_idle(&konverse, "SQLite")?;

        let mixes = self.mixes(&file)?;
        let recorded = mixes.iter().map(|mix| self.record(&konverse, mix, &token)).collect::<Result<Vec<_>>>()?;
        let pages: Vec<_> =
            mixes.iter().zip(&recorded).flat_map(|(mix, recorded)| mix.pages.iter().zip(recorded)).collect();
        let memory = servers::start_memory(&pages, self.work, self.limit)?;
        let nginx = servers::find_nginx();
        let nginx = nginx.map(|nginx| servers::start_nginx(&nginx, &pages, self.work, self.limit)).transpose()?;

        let mut aims = vec![
            aim("import, CPU time of a bare insert of the same rows", Some(ratio(imported.cpu, bare.cpu)), 6.0, " ×"),
            aim("import, time of a bare insert of the same rows", Some(ratio(imported.wall, bare.wall)), 6.0, " ×"),
            aim("idle memory", Some(idle_kib as f64 * 1024.0 / 1e6), 60.0, " MB"),
        ];
        for (mix, recorded) in mixes.iter().zip(&recorded) {
            let servers: Vec<&Server> = [&konverse, &memory].into_iter().chain(&nginx).collect();
            let costs = self.compare(&servers, mix, recorded, &token)?;
            print_list(mix, &costs, nginx.is_none());
            let own = costs[0].median();
            let of_nginx = costs.get(2).map(|nginx| own / nginx.median());
            aims.push(aim(
                &format!("{}, CPU time of the same bytes from memory", mix.name),
                Some(own / costs[1].median()),
                2.5,
                " ×",
            ));
            aims.push(aim(&format!("{}, CPU time of nginx", mix.name), of_nginx, 1.0, " ×"));
        }
        print_after_load(&konverse)?;
        Ok(aims)
    }

    fn on_postgres(&self, url: &str) -> Result<()> {
        let imported = self.import(url, "postgres")?;
        let mut table = Table::new(&["PostgreSQL", "time s", "CPU of konverse s", "peak memory MB"]);
        table.row([
            "konverse import".to_owned(),
            report::seconds(imported.wall),
            report::seconds(imported.cpu),
            report::megabytes(imported.peak_kib * 1024),
        ]);
        table.print("Import into PostgreSQL");

        let token = self.token(url)?;
        let log = self.work.join("konverse-postgres.log");
        let konverse = servers::start_konverse(&self.options.konverse, url, &log, self.limit)?;
        self.print_idle(&konverse, "PostgreSQL")?;
        // The same data, so the same customers.
        for mix in self.mixes(&self.work.join("konverse.db"))? {
            let recorded = self.record(&konverse, &mix, &token)?;
            let costs = self.compare(&[&konverse], &mix, &recorded, &token)?;
            let mut table =
                Table::new(&["PostgreSQL, without its own processes", "CPU µs a request", "rounds", "kB a page"]);
            table.row([
                "konverse".to_owned(),
                report::micros(costs[0].median()),
                costs[0].rounds(),
                costs[0].kilobytes(),
            ]);
            table.print(&format!("List: {}", mix.name));
        }
        print_after_load(&konverse)
    }

    /// Makes the organisation and imports the data into it.
    fn import(&self, database: &str, name: &str) -> Result<Filling> {
        let mut create = servers::konverse(&self.options.konverse);
        create.args(["org", "create", ORG, "--database", database]);
        proc::run(&mut create, &self.work.join(format!("{name}-org")), self.limit)?;
        let mut import = servers::konverse(&self.options.konverse);
        import.args(["import", "--org", ORG]).arg(&self.options.data).args(["--database", database]);
        let (spent, _) = proc::run(&mut import, &self.work.join(format!("{name}-import")), self.limit)?;
        Ok(Filling {
            rows: 0,
            wall: spent.wall,
            cpu: spent.cpu,
            peak_kib: spent.peak_kib,
            peak_anonymous_kib: spent.peak_anonymous_kib,
            file_bytes: 0,
        })
    }

    fn token(&self, database: &str) -> Result<String> {
        let mut create = servers::konverse(&self.options.konverse);
        create.args(["token", "create", "--org", ORG, "--name", ORG, "--role", ROLE, "--database", database]);
        let (_, token) = proc::run(&mut create, &self.work.join("token"), self.limit)?;
        Ok(token.trim().to_owned())
    }

    /// Prints the memory of a server that nobody has used yet; returns what it has after a second.
    fn print_idle(&self, server: &Server, engine: &str) -> Result<u64> {
        let at_start = proc::memory(server.pid())?;
        sleep(Duration::from_secs(1));
        let idle = proc::memory(server.pid())?;
        let mut table = Table::new(&["konverse serve", "resident MB", "of it not files MB"]);
        for (when, memory) in [("right after its start", at_start), ("a second later", idle)] {
            table.row([
                when.to_owned(),
                report::megabytes(memory.resident_kib * 1024),
                report::megabytes(memory.anonymous_kib * 1024),
            ]);
        }
        table.print(&format!("Idle memory, {engine}"));
        Ok(idle.resident_kib)
    }

    fn mixes(&self, database: &Path) -> Result<[Mix; 2]> {
        let customers = import::customers(database)?;
        let requests = self.options.requests;
        Ok([Mix::any_customer(&customers, requests)?, Mix::full_pages(&customers, requests)?])
    }

    fn record(&self, konverse: &Server, mix: &Mix, token: &str) -> Result<Vec<Recorded>> {
        let requests: Vec<_> = mix.pages.iter().map(|page| load::request(&page.path, token)).collect();
        load::record(konverse.port, &requests, self.limit)
    }

    /// Puts the same load on each server, in turns, after a warm-up.
    fn compare(&self, servers: &[&Server], mix: &Mix, recorded: &[Recorded], token: &str) -> Result<Vec<Cost>> {
        let lengths: Vec<_> = recorded.iter().map(|recorded| recorded.body.len()).collect();
        let mut costs: Vec<Cost> = servers.iter().map(|server| Cost::of(server)).collect();
        let requests: Vec<Vec<Vec<u8>>> = servers
            .iter()
            .map(|server| mix.pages.iter().map(|page| load::request(&server.path_of(page), token)).collect())
            .collect();
        let load = |n: usize| Load {
            port: servers[n].port,
            connections: self.options.connections,
            requests: &requests[n],
            lengths: &lengths,
            limit: self.limit,
        };
        for n in 0..servers.len() {
            load(n).send(&mix.picks[..mix.picks.len().div_ceil(4)])?;
        }
        sleep(SETTLE);
        for _ in 0..ROUNDS {
            for (n, server) in servers.iter().enumerate() {
                let before = server.cpu()?;
                let moved = load(n).send(&mix.picks).with_context(|| server.name)?;
                sleep(SETTLE);
                let cpu = server.cpu()?.since(&before);
                let count = mix.picks.len() as f64;
                costs[n].micros.push(cpu.as_secs_f64() * 1e6 / count);
                costs[n].per_second.push(count / moved.wall.as_secs_f64());
                costs[n].page_bytes = moved.body_bytes as f64 / count;
            }
        }
        Ok(costs)
    }
}

/// What requests of a mix cost one server.
struct Cost {
    server: &'static str,
    /// Microseconds of CPU time a request, of each round.
    micros: Vec<f64>,
    /// Requests a second, of each round.
    per_second: Vec<f64>,
    page_bytes: f64,
}

impl Cost {
    fn of(server: &Server) -> Self {
        Self { server: server.name, micros: Vec::new(), per_second: Vec::new(), page_bytes: 0.0 }
    }

    fn median(&self) -> f64 {
        report::median(&self.micros)
    }

    fn rounds(&self) -> String {
        self.micros.iter().map(|micros| report::micros(*micros)).collect::<Vec<_>>().join(" ")
    }

    fn kilobytes(&self) -> String {
        format!("{:.1}", self.page_bytes / 1e3)
    }
}

fn aim(what: &str, seen: Option<f64>, at_most: f64, unit: &'static str) -> Aim {
    Aim { what: what.to_owned(), seen, at_most, unit }
}

fn ratio(value: Duration, reference: Duration) -> f64 {
    value.as_secs_f64() / reference.as_secs_f64()
}

fn print_import(imported: &Filling, bare: &Filling, lines: &Filling) {
    let mut table = Table::new(&["", "rows", "time s", "CPU s", "peak memory MB", "of it not files MB", "file MB"]);
    let mut row = |name: &str, filling: &Filling, rows: u64| {
        table.row([
            name.to_owned(),
            rows.to_string(),
            report::seconds(filling.wall),
            report::seconds(filling.cpu),
            report::megabytes(filling.peak_kib * 1024),
            report::megabytes(filling.peak_anonymous_kib * 1024),
            report::megabytes(filling.file_bytes),
        ]);
    };
    row("konverse import", imported, bare.rows);
    row("bare insert of the same rows (which it holds in memory)", bare, bare.rows);
    row("bare insert of the input's lines, decompressed only", lines, lines.rows);
    table.print("Import into SQLite");
    let mut table = Table::new(&["konverse import is … times", "in time", "in CPU time"]);
    for (name, reference) in
        [("the bare insert of the same rows", bare), ("the bare insert of the input's lines", lines)]
    {
        table.row([
            name.to_owned(),
            format!("{:.2}", ratio(imported.wall, reference.wall)),
            format!("{:.2}", ratio(imported.cpu, reference.cpu)),
        ]);
    }
    table.print("Import, ratios");
}

fn print_list(mix: &Mix, costs: &[Cost], without_nginx: bool) {
    let own = costs[0].median();
    let mut table =
        Table::new(&["server", "CPU µs a request", "rounds", "kB a page", "requests/s", "konverse is … times"]);
    for cost in costs {
        table.row([
            cost.server.to_owned(),
            report::micros(cost.median()),
            cost.rounds(),
            cost.kilobytes(),
            format!("{:.0}", report::median(&cost.per_second)),
            report::times(own, cost.median()),
        ]);
    }
    if without_nginx {
        let [none, why] = ["-", "not measured: apt-get install nginx-light"].map(str::to_owned);
        table.row(["nginx, static files".to_owned(), none.clone(), why, none.clone(), none.clone(), none]);
    }
    table.print(&format!("List: {} ({} pages)", mix.name, mix.pages.len()));
}

fn print_after_load(server: &Server) -> Result<()> {
    let memory = proc::memory(server.pid())?;
    println!(
        "\nkonverse after the load: {} MB resident, {} MB of it not files",
        report::megabytes(memory.resident_kib * 1024),
        report::megabytes(memory.anonymous_kib * 1024)
    );
    Ok(())
}
