//! `pgbench` on a PostgreSQL server of the run's own.

use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use konverse_harness::Cluster;

use crate::proc;
use crate::run::Run;

/// Transactions a second of this script, prepared, with so many clients.
pub(crate) fn pgbench(run: &Run<'_>, database: &str, script: &str, clients: usize, time: Duration) -> Result<f64> {
    let cluster = run.cluster()?;
    let file = run.work.join("pgbench.sql");
    fs::write(&file, script)?;
    let mut command = Command::new(cluster.programs().join("pgbench"));
    let seconds = time.as_secs().max(1).to_string();
    command.args(["-n", "-M", "prepared", "-j", "2", "-T", &seconds, "-c", &clients.to_string(), "-f"]);
    command.arg(&file).arg(cluster.url(database));
    let (_, text) = proc::run(&mut command, &run.work.join("pgbench"), run.limit)?;
    transactions_a_second(&text).with_context(|| format!("pgbench printed\n{text}"))
}

/// The server's version.
pub(crate) fn version(cluster: &Cluster) -> Result<String> {
    Ok(cluster.sql("postgres", "SHOW server_version")?.trim().to_owned())
}

fn transactions_a_second(text: &str) -> Option<f64> {
    let rest = text.lines().find_map(|line| line.strip_prefix("tps = "))?;
    rest.split(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transactions_a_second_are_read_from_what_pgbench_prints() {
        let text = "number of failed transactions: 0 (0.000%)\nlatency average = 0.5 ms\ntps = 1234.567 (without initial connection time)\n";
        assert_eq!(transactions_a_second(text), Some(1234.567));
        assert_eq!(transactions_a_second("pgbench: error"), None);
    }
}
