//! `konverse check`: whether everything is as it should be, for people.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use comfy_table::{Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use konverse_domain::{CheckTold, Checked, Domain, DomainError};

use crate::orgs;

/// Exit status when differences remain, or some could not be told.
const DIFFERENCES: u8 = 4;

/// Checks an org, or all of them; `print` is given a line for each difference, and at last how much was looked at.
pub(crate) async fn check(
    domain: &Arc<Domain>,
    org: Option<&str>,
    repair: bool,
    print: &(dyn Fn(&str) + Sync),
) -> anyhow::Result<ExitCode> {
    let started = std::time::Instant::now();
    let orgs = match org {
        Some(name) => vec![orgs::org_named(domain, name).await?],
        None => domain.orgs().await?,
    };
    let style =
        ProgressStyle::with_template("{spinner} {elapsed} {msg}").unwrap_or_else(|_| ProgressStyle::default_spinner());
    let bar = ProgressBar::new_spinner().with_style(style);
    bar.enable_steady_tick(Duration::from_millis(200));
    bar.set_message("the database");
    let mut remaining = 0;
    for finding in domain.check_database().await.map_err(told)? {
        remaining += 1;
        bar.suspend(|| print(&finding.to_string()));
    }
    for finding in domain.check_orgs().await.map_err(told)? {
        remaining += 1;
        bar.suspend(|| print(&finding.to_string()));
    }
    let mut all = Checked::default();
    for org in &orgs {
        let mut tell = |told: CheckTold<'_>| match told {
            CheckTold::Finding(finding) => bar.suspend(|| print(&format!("{} {finding}", org.name))),
            CheckTold::Customers(count) => bar.set_message(format!("{}: {count} customers", org.name)),
            CheckTold::Now(what) => bar.set_message(format!("{}: {what}", org.name)),
        };
        all.add(&domain.check(org, repair, &mut tell).await.map_err(told)?);
    }
    bar.finish_and_clear();
    remaining += all.remaining();
    print(&table(&all));
    if all.unsettled > 0 {
        print(&format!("{} customers were written to without pause and could not be told", all.unsettled));
    }
    let seconds = started.elapsed().as_secs_f64();
    print(&match remaining {
        0 if all.unsettled > 0 => format!("nothing else differs, in {seconds:.1} s"),
        0 => format!("all is as it should be, in {seconds:.1} s"),
        count => format!("{count} differences remain, in {seconds:.1} s"),
    });
    Ok(if remaining == 0 && all.unsettled == 0 { ExitCode::SUCCESS } else { ExitCode::from(DIFFERENCES) })
}

/// Whoever checks a database is the one for whom the reason was kept.
fn told(error: DomainError) -> anyhow::Error {
    anyhow::anyhow!(error.told())
}

fn table(checked: &Checked) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["KIND", "CHECKED", "DIFFERENCES", "MENDED"]);
    for (kind, tally) in &checked.kinds {
        table.add_row([
            (*kind).to_owned(),
            tally.checked.to_string(),
            tally.found.to_string(),
            tally.mended.to_string(),
        ]);
    }
    table.trim_fmt()
}
