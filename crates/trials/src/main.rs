//! Holds a running konverse to its promises while things around it go wrong: processes are killed, databases go away, disks
//! fill, clients misbehave. `docs/trials.md` says what is tried and what was seen.
//!
//! It sees konverse from outside only: processes, HTTP, files. Everything it starts ends with it, and everything it writes
//! is in a temporary folder.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the outcomes are what this program is for; why it gave up is told beside them"
)]

mod audit;
mod client;
mod ground;
mod ledger;
mod load;
mod process;
mod trials;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use clap::Parser;
use konverse_harness::{Limit, watch_signals};

use ground::{Engine, Form, Setting};
use trials::Trial;

/// Tries whether konverse keeps its promises while things around it go wrong.
#[derive(Debug, Parser)]
struct Cli {
    /// A few cycles of each trial, as every change has to pass; without it, the long form.
    #[arg(long)]
    short: bool,
    /// What to try, separated by commas; everything by default.
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    only: Vec<Trial>,
    /// The engines to try it on, separated by commas; both by default.
    #[arg(long, value_delimiter = ',', value_name = "ENGINES")]
    engine: Vec<Engine>,
    /// How often each trial does what it does; by default as often as it says for its form.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    cycles: Option<u32>,
    /// Says what is tried, and ends.
    #[arg(long)]
    list: bool,
    /// The konverse binary; by default the one beside this program.
    #[arg(long, value_name = "FILE")]
    konverse: Option<PathBuf>,
    /// Where to make the temporary folder; on a disk, since in memory nothing is slow.
    #[arg(long, value_name = "FOLDER")]
    work: Option<PathBuf>,
    /// The folder of initdb, postgres and psql, when they are in no usual place.
    #[arg(long, value_name = "FOLDER")]
    postgres_programs: Option<PathBuf>,
    /// Leaves the folder of a trial that failed where it is: databases and logs.
    #[arg(long)]
    keep: bool,
    /// Seconds after which the run is given up.
    #[arg(long, default_value_t = 14_400, value_name = "SECONDS")]
    timeout: u64,
}

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("konverse-trials: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> Result<()> {
    if cli.list {
        for trial in Trial::all() {
            println!("{:<14} {:<16} {}", trial.name(), engines(trial.engines()), trial.claim());
        }
        return Ok(());
    }
    let limit = Limit::after(Duration::from_secs(cli.timeout));
    watch_signals()?;
    let program = match &cli.konverse {
        Some(program) => program.clone(),
        None => std::env::current_exe()?.with_file_name("konverse"),
    };
    ensure!(
        program.is_file(),
        "there is no {}: build it (`cargo build -p konverse`) or name it with --konverse",
        program.display()
    );
    let program = program.canonicalize()?;
    let chosen = |trial: &&Trial| match cli.only.as_slice() {
        [] => true,
        only => only.contains(trial),
    };
    let (mut held, mut broken) = (0, Vec::new());
    for trial in Trial::all().iter().filter(chosen) {
        let wanted = |engine: &&Engine| cli.engine.is_empty() || cli.engine.contains(engine);
        for engine in trial.engines().iter().filter(wanted) {
            let parent = cli.work.clone().unwrap_or_else(std::env::temp_dir);
            let folder = tempfile::Builder::new().prefix("konverse-trial-").tempdir_in(parent)?;
            let setting = Setting {
                program: program.clone(),
                postgres_programs: cli.postgres_programs.clone(),
                // Absolute, since servers may look at paths from elsewhere.
                work: folder.path().canonicalize()?,
                engine: *engine,
                form: if cli.short { Form::Short } else { Form::Long },
                cycles: cli.cycles.map(|cycles| cycles as usize),
                limit,
            };
            let start = Instant::now();
            let outcome = trial.run(&setting);
            let (word, text) = match &outcome {
                Ok(figures) => ("held", figures.clone()),
                Err(error) if limit.check().is_err() => ("not finished", format!("{error:#}")),
                Err(error) => ("BROKEN", format!("{error:#}")),
            };
            let seconds = start.elapsed().as_secs_f64();
            println!("{:<14} {:<8} {word}: {text} ({seconds:.0} s)", trial.name(), engine.name());
            match outcome {
                Ok(_) => held += 1,
                Err(_) => broken.push(format!("{} on {}", trial.name(), engine.name())),
            }
            if cli.keep && word != "held" {
                println!("{:<14} {:<8} its folder: {}", trial.name(), engine.name(), folder.keep().display());
            }
            // Interrupted or given up: what has been seen stands above.
            limit.check()?;
        }
    }
    ensure!(held + broken.len() > 0, "nothing was tried: no trial of that name runs on that engine");
    if !broken.is_empty() {
        bail!("promises that were not kept: {}", broken.join(", "));
    }
    println!("all kept: {held} trials");
    Ok(())
}

fn engines(engines: &[Engine]) -> String {
    engines.iter().map(|engine| engine.name()).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }
}
