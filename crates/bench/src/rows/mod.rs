//! The measurements: each prints its tables and returns what it has seen of the project's aims.

mod answers;
mod beside;
mod depth;
mod import;
mod list;
mod memory;
mod messages;
mod postgres;
mod search;

use anyhow::Result;

use crate::report::Aim;
use crate::run::Run;

/// What can be asked for by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Row {
    /// Import, against bare inserts of the same rows
    Import,
    /// A customer's list, against the same bytes from memory and from nginx
    List,
    /// An answer that has not changed (304), against `/healthz`
    Unchanged,
    /// Compressed answers, against plain ones
    Compressed,
    /// The list while messages are recorded, against the list alone
    Beside,
    /// Searches and their index, and what lists and messages notice of them
    Search,
    /// Messages recorded, against a bare loop of inserts
    Messages,
    /// Resident memory, idle and after a load
    Memory,
    /// Deep pages and `fromDate`, against page 1
    Depth,
    /// On PostgreSQL, list and messages, against pgbench
    Postgres,
}

impl Row {
    /// Measures it.
    pub(crate) fn measure(self, run: &Run<'_>) -> Result<Vec<Aim>> {
        match self {
            Self::Import => import::measure(run),
            Self::List => list::measure(run),
            Self::Unchanged => answers::unchanged(run),
            Self::Compressed => answers::compressed(run),
            Self::Beside => beside::measure(run),
            Self::Search => search::measure(run),
            Self::Messages => messages::measure(run),
            Self::Memory => memory::measure(run),
            Self::Depth => depth::measure(run),
            Self::Postgres => postgres::measure(run),
        }
    }
}
