//! The import into SQLite, against bare inserts.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::bare::{self, Filling};
use crate::report::{self, Aim, Table};
use crate::run::{Engine, Run};

pub(super) fn measure(run: &Run<'_>) -> Result<Vec<Aim>> {
    let database = run.real(Engine::Sqlite)?;
    let file = database.file.as_deref().context("SQLite has a file")?;
    let bare = bare::rows(file, run.work, run.limit)?;
    let lines = bare::lines(run.data()?, run.work, run.limit)?;
    let imported = Filling {
        rows: bare.rows,
        wall: database.imported.wall,
        cpu: database.imported.cpu,
        peak_kib: database.imported.peak_kib,
        peak_anonymous_kib: database.imported.peak_anonymous_kib,
        file_bytes: fs::metadata(file)?.len(),
    };
    print(&imported, &bare, &lines);
    let anonymous = imported.peak_anonymous_kib as f64 * 1024.0 / 1e6;
    Ok(vec![
        Aim::at_most(4.0, " ×", "import ÷ bare insert of the same rows, time", ratio(imported.wall, bare.wall)),
        Aim::at_most(8.0, " ×", "import ÷ bare insert of the same rows, CPU time", ratio(imported.cpu, bare.cpu)),
        Aim::at_most(150.0, " MB", "import, peak memory that is not files", anonymous),
    ])
}

fn ratio(value: Duration, reference: Duration) -> f64 {
    value.as_secs_f64() / reference.as_secs_f64()
}

fn print(imported: &Filling, bare: &Filling, lines: &Filling) {
    let heads = ["", "rows", "time s", "CPU s", "peak memory MB", "of it not files MB", "file MB", "time ÷", "CPU ÷"];
    let mut table = Table::new(&heads);
    for (name, filling) in [
        ("konverse import", imported),
        ("bare insert of the same rows (which it holds in memory)", bare),
        ("bare insert of the input's lines, decompressed only", lines),
    ] {
        table.row([
            name.to_owned(),
            filling.rows.to_string(),
            report::seconds(filling.wall),
            report::seconds(filling.cpu),
            report::megabytes(filling.peak_kib * 1024),
            report::megabytes(filling.peak_anonymous_kib * 1024),
            report::megabytes(filling.file_bytes),
            format!("{:.2}", ratio(imported.wall, filling.wall)),
            format!("{:.2}", ratio(imported.cpu, filling.cpu)),
        ]);
    }
    table.print("Import into SQLite");
}
