//! What requests cost their servers: several loads, measured in turns, so that all meet the same machine.

use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result};

use rustix::process::Pid;

use crate::load::{Bounds, Load};
use crate::proc::Reading;
use crate::report::{self, Table};

/// Time for servers to fall silent after a load, so that no work of it is counted later.
pub(crate) const SETTLE: Duration = Duration::from_millis(100);

/// A load, and the processes whose CPU time it is that counts.
pub(crate) struct Subject<'a> {
    pub(crate) name: String,
    /// Their children count as well.
    pub(crate) processes: Vec<Pid>,
    pub(crate) load: Load<'a>,
}

/// What a load's requests cost, each figure of each round.
pub(crate) struct Cost {
    pub(crate) name: String,
    /// Microseconds of CPU time a request.
    pub(crate) micros: Vec<f64>,
    pub(crate) per_second: Vec<f64>,
    /// Milliseconds within which half of the answers came, and all but one of a hundred.
    median_ms: Vec<f64>,
    late_ms: Vec<f64>,
    body_bytes: f64,
}

impl Cost {
    fn new(name: &str) -> Self {
        let (micros, per_second, median_ms, late_ms) = Default::default();
        Self { name: name.to_owned(), micros, per_second, median_ms, late_ms, body_bytes: 0.0 }
    }

    /// How many times the CPU time of `other`: the median of the rounds' ratios, each of neighbours in time.
    pub(crate) fn over(&self, other: &Self) -> f64 {
        ratio(&self.micros, &other.micros)
    }
}

/// The median of the ratios of what was measured in the same round.
pub(crate) fn ratio(values: &[f64], references: &[f64]) -> f64 {
    let ratios: Vec<_> = values.iter().zip(references).map(|(value, reference)| value / reference).collect();
    report::median(&ratios)
}

/// Sends each load once to warm up, a quarter of it, and then in turns, `rounds` times.
pub(crate) fn in_turns(subjects: &[Subject<'_>], rounds: usize, bounds: Bounds) -> Result<Vec<Cost>> {
    for subject in subjects {
        subject.load.send(bounds.warm_up()).with_context(|| subject.name.clone())?;
    }
    sleep(SETTLE);
    let mut costs: Vec<_> = subjects.iter().map(|subject| Cost::new(&subject.name)).collect();
    for _ in 0..rounds {
        for (subject, cost) in subjects.iter().zip(&mut costs) {
            once(subject, bounds, cost).with_context(|| subject.name.clone())?;
        }
    }
    Ok(costs)
}

fn once(subject: &Subject<'_>, bounds: Bounds, cost: &mut Cost) -> Result<()> {
    let before = Reading::of(&subject.processes)?;
    let moved = subject.load.send(bounds)?;
    sleep(SETTLE);
    let cpu = Reading::of(&subject.processes)?.since(&before);
    let count = moved.count as f64;
    cost.micros.push(cpu.as_secs_f64() * 1e6 / count);
    cost.per_second.push(count / moved.wall.as_secs_f64());
    cost.median_ms.push(moved.quantile(0.5).as_secs_f64() * 1e3);
    cost.late_ms.push(moved.quantile(0.99).as_secs_f64() * 1e3);
    cost.body_bytes = moved.body_bytes as f64 / count;
    Ok(())
}

/// Prints the costs; the last column compares each with the one it is named with.
pub(crate) fn print(title: &str, costs: &[Cost], reference: &Cost) {
    let last = format!("CPU ÷ {}", reference.name);
    let mut table = Table::new(&[
        "",
        "CPU µs a request",
        "rounds",
        "requests/s",
        "median ms",
        "99th of 100 ms",
        "kB an answer",
        &last,
    ]);
    for cost in costs {
        table.row([
            cost.name.clone(),
            report::micros(report::median(&cost.micros)),
            cost.micros.iter().map(|micros| report::micros(*micros)).collect::<Vec<_>>().join(" "),
            format!("{:.0}", report::median(&cost.per_second)),
            report::millis(report::median(&cost.median_ms)),
            report::millis(report::median(&cost.late_ms)),
            format!("{:.1}", cost.body_bytes / 1e3),
            format!("{:.2}", cost.over(reference)),
        ]);
    }
    table.print(title);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_compares_neighbours_in_time() {
        // The second round was disturbed for both.
        assert_eq!(ratio(&[20.0, 90.0, 22.0], &[10.0, 30.0, 11.0]), 2.0);
    }
}
