//! What is printed: Markdown tables that are aligned enough to be read as they are.

use std::fs;
use std::time::Duration;

/// A table: the first column holds words, the others figures.
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these heads.
    pub(crate) fn new(heads: &[&str]) -> Self {
        Self { rows: vec![heads.iter().map(|head| (*head).to_owned()).collect()] }
    }

    /// Adds a row.
    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        debug_assert_eq!(N, self.rows[0].len());
        self.rows.push(cells.into());
    }

    /// Prints the table with a title above it.
    pub(crate) fn print(&self, title: &str) {
        print!("\n### {title}\n\n{}", self.render());
    }

    fn render(&self) -> String {
        let columns = self.rows[0].len();
        let width = |column: usize| self.rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut text = String::new();
        for (n, row) in self.rows.iter().enumerate() {
            for (column, cell) in row.iter().enumerate() {
                let width = widths[column];
                text += &if column == 0 { format!("| {cell:<width$} |") } else { format!(" {cell:>width$} |") };
            }
            text.push('\n');
            if n == 0 {
                for (column, width) in widths.iter().enumerate() {
                    let dashes = "-".repeat(width + 1);
                    text += &if column == 0 { format!("|{dashes}-|") } else { format!("{dashes}:|") };
                }
                text.push('\n');
            }
        }
        text
    }
}

/// What the project aims at, and a figure of this run.
pub(crate) struct Aim {
    pub(crate) what: String,
    pub(crate) target: Target,
    /// Or why there is none.
    pub(crate) seen: Result<f64, String>,
    pub(crate) unit: &'static str,
}

#[derive(Clone, Copy)]
pub(crate) enum Target {
    AtMost(f64),
    AtLeast(f64),
}

impl Aim {
    /// A figure that may be no larger.
    pub(crate) fn at_most(most: f64, unit: &'static str, what: impl Into<String>, seen: f64) -> Self {
        Self { what: what.into(), target: Target::AtMost(most), seen: Ok(seen), unit }
    }

    /// A figure that may be no smaller.
    pub(crate) fn at_least(least: f64, unit: &'static str, what: impl Into<String>, seen: f64) -> Self {
        Self { what: what.into(), target: Target::AtLeast(least), seen: Ok(seen), unit }
    }

    /// The same aim without a figure.
    pub(crate) fn without(self, why: impl Into<String>) -> Self {
        Self { seen: Err(why.into()), ..self }
    }

    fn cells(&self) -> [String; 4] {
        let (target, met) = match self.target {
            Target::AtMost(most) => (format!("≤ {most}"), self.seen.as_ref().map(|seen| *seen <= most)),
            Target::AtLeast(least) => (format!("≥ {least}"), self.seen.as_ref().map(|seen| *seen >= least)),
        };
        let verdict = match met {
            Ok(true) => "met".to_owned(),
            Ok(false) => "missed".to_owned(),
            Err(why) => why.clone(),
        };
        let seen = self.seen.as_ref().map_or_else(|_| "-".to_owned(), |seen| format!("{seen:.2}{}", self.unit));
        [self.what.clone(), format!("{target}{}", self.unit), seen, verdict]
    }
}

/// Prints each aim with met or missed.
pub(crate) fn print_aims(aims: &[Aim]) {
    let mut table = Table::new(&["aim", "target", "seen", ""]);
    for aim in aims {
        table.row(aim.cells());
    }
    table.print("Aims");
}

/// Seconds with two digits after the point.
pub(crate) fn seconds(time: Duration) -> String {
    format!("{:.2}", time.as_secs_f64())
}

/// Microseconds with one digit after the point.
pub(crate) fn micros(value: f64) -> String {
    format!("{value:.1}")
}

/// Megabytes, of a million bytes.
pub(crate) fn megabytes(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / 1e6)
}

/// Milliseconds with two digits after the point.
pub(crate) fn millis(value: f64) -> String {
    format!("{value:.2}")
}

/// The middle value; of an even number the mean of the middle two.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 }
}

/// One line on the machine, so that figures are not compared across machines by mistake.
pub(crate) fn machine(workers: usize) -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let after = |text: &str, name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        line.trim_start_matches([' ', '\t', ':']).trim().to_owned()
    };
    let load = read("/proc/loadavg");
    format!(
        "{workers} processors ({}), {} of memory, Linux {}, load average {} at the start",
        after(&read("/proc/cpuinfo"), "model name"),
        after(&read("/proc/meminfo"), "MemTotal:"),
        read("/proc/sys/kernel/osrelease").trim(),
        load.split(' ').next().unwrap_or_default(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_aligned_markdown() {
        let mut table = Table::new(&["server", "µs"]);
        table.row(["konverse".to_owned(), micros(31.25)]);
        table.row(["nginx".to_owned(), micros(7.0)]);
        let lines = ["| server   |   µs |", "|----------|-----:|", "| konverse | 31.2 |", "| nginx    |  7.0 |", ""];
        assert_eq!(table.render(), lines.join("\n"));
    }

    #[test]
    fn an_aim_is_met_or_missed_or_has_no_figure() {
        let verdict = |aim: Aim| aim.cells()[3].clone();
        assert_eq!(verdict(Aim::at_most(1.5, " ×", "depth", 1.5)), "met");
        assert_eq!(verdict(Aim::at_most(1.5, " ×", "depth", 1.51)), "missed");
        assert_eq!(verdict(Aim::at_least(2.0, " ×", "messages", 2.1)), "met");
        assert_eq!(verdict(Aim::at_least(2.0, " ×", "messages", 1.9)), "missed");
        assert_eq!(verdict(Aim::at_most(2.0, " ×", "304", 0.0).without("no ETag")), "no ETag");
    }

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0]), 2.5);
    }
}
