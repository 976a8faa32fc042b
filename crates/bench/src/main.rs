//! Prints how konverse compares, on one machine and in one run, with what its work costs at least: the same bytes from
//! memory, static files, bare inserts, bare queries. `docs/benchmarks.md` says how to read it.
//!
//! It is a command and not a test: nothing fails because something was slow.

#![expect(clippy::print_stdout, reason = "the tables are what this program is for")]

mod bare;
mod generate;
mod load;
mod postgres;
mod proc;
mod report;
mod rows;
mod run;
mod servers;
mod turns;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::{Args, Parser, Subcommand, ValueEnum};
use konverse_harness::{Limit, watch_signals};

use rows::Row;
use run::{Engine, Run};

/// konverse allocates with it as well; the server of bytes from memory must not be slower for the lack of it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

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
    /// The folder of `.jsonl.gz` files to import; without it only `memory` and `depth` can be measured.
    #[arg(long)]
    data: Option<PathBuf>,
    /// What to measure, separated by commas; everything by default.
    #[arg(long, value_delimiter = ',', value_name = "ROWS")]
    only: Vec<Row>,
    /// Requests of one measured load.
    #[arg(long, default_value_t = 20_000)]
    requests: usize,
    /// Seconds of one measured load, at most.
    #[arg(long, default_value_t = 4)]
    seconds: u64,
    /// Measured loads of each kind, in turns, of which the median counts.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Kept connections of the list's load, one request at a time on each.
    #[arg(long, default_value_t = 8)]
    connections: usize,
    /// Generated conversations of one customer, for `depth`: its last page of 100 is the deepest.
    #[arg(long, default_value_t = 300_000)]
    conversations: usize,
    /// Generated conversations of other customers.
    #[arg(long, default_value_t = 100_000)]
    others: usize,
    /// What `depth` is measured on, separated by commas.
    #[arg(long, value_delimiter = ',', default_value = "sqlite,postgres")]
    engines: Vec<Engine>,
    /// Seconds that `depth` waits at most, per list, for deep pages to become as cheap as they will.
    #[arg(long, default_value_t = 45)]
    settle: u64,
    /// Where to make the temporary folder; on a disk, since in memory an fsync costs nothing.
    #[arg(long)]
    work: Option<PathBuf>,
    /// The folder of initdb, postgres, psql and pgbench, when they are in no usual place.
    #[arg(long)]
    postgres_programs: Option<PathBuf>,
    /// Seconds after which the run is given up.
    #[arg(long, default_value_t = 1800)]
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
    BareMessages {
        #[arg(long)]
        seconds: u64,
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
        Some(Part::BareRows { from, into }) => println!("{}", bare::insert_rows(&from, &into)?),
        Some(Part::BareLines { from, into }) => println!("{}", bare::insert_lines(&from, &into)?),
        Some(Part::BareMessages { seconds, into }) => {
            println!("{}", bare::insert_messages(Duration::from_secs(seconds), &into)?);
        }
        Some(Part::ServeMemory { bodies, content_type, listen }) => {
            servers::serve_memory(&bodies, &content_type, &listen)?;
        }
        None => measure(&cli.options.context("--konverse is needed")?)?,
    }
    Ok(())
}

fn measure(options: &Options) -> Result<()> {
    let sizes = [options.requests, options.rounds, options.connections, options.conversations, options.others];
    ensure!(!sizes.contains(&0) && options.seconds > 0, "numbers of requests, rounds and the like must not be 0");
    let limit = Limit::after(Duration::from_secs(options.timeout));
    watch_signals()?;
    let parent = options.work.clone().unwrap_or_else(std::env::temp_dir);
    let folder = tempfile::Builder::new().prefix("konverse-bench-").tempdir_in(parent)?;
    // Absolute, since servers may look at paths from elsewhere.
    let work = folder.path().canonicalize()?;
    let run = Run::new(options, &work, limit)?;

    println!("{}", report::machine(servers::workers()));
    println!("{}", run.versions()?);
    let (mut aims, mut failed) = (Vec::new(), Vec::new());
    // In the order of the rows: those that only read come before those that write.
    for row in Row::value_variants().iter().filter(|row| options.only.is_empty() || options.only.contains(row)) {
        match row.measure(&run) {
            Ok(seen) => aims.extend(seen),
            Err(error) => {
                println!("\n{row:?} could not be measured: {error:#}");
                failed.push(format!("{row:?}"));
                // Given up or interrupted: nothing else is begun, but what has been seen is shown.
                if limit.check().is_err() {
                    break;
                }
            }
        }
    }
    report::print_aims(&aims);
    limit.check()?;
    ensure!(failed.is_empty(), "not measured: {}", failed.join(", "));
    Ok(())
}
