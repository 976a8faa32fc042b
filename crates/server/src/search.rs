//! Where a server keeps its search index.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use konverse_domain::Walls;
use konverse_search::index::{Index, Options};

use crate::database::Database;

/// How searches are answered.
#[derive(Clone, Debug, Args)]
pub(crate) struct SearchOptions {
    /// The folder to keep the search index in, or off. Without it: beside a SQLite file, in FILE-search; for PostgreSQL
    /// below STATE_DIRECTORY (which systemd sets), XDG_STATE_HOME or ~/.local/state. Several servers may share a folder:
    /// each takes a place of its own in it. It may be deleted while no server runs; it is built anew.
    #[arg(long, env = "KONVERSE_SEARCH", value_name = "DIR|off")]
    search: Option<String>,
    /// Seconds a search may take, in which it also waits for its turn and for the index to have seen what was written
    /// before it; then 503.
    #[arg(long, env = "KONVERSE_SEARCH_SECONDS", default_value_t = 10, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=3600))]
    search_seconds: u64,
    /// What bounds searches as it does the vendor's: nothing, or `vendor` for a hundred pages, and, but in the archive's
    /// search, records that changed within two years.
    #[arg(long, env = "KONVERSE_SEARCH_WALLS", default_value = "none", value_parser = ["none", "vendor"], value_name = "WALLS")]
    search_walls: String,
}

impl SearchOptions {
    /// What bounds searches.
    pub(crate) fn walls(&self) -> Walls {
        if self.search_walls == "vendor" { Walls::Vendor } else { Walls::None }
    }

    /// Opens the index; none where there shall be none.
    pub(crate) fn open(&self, database: &Database) -> anyhow::Result<Option<Arc<Index>>> {
        let folder = match self.search.as_deref() {
            Some("off") => return Ok(None),
            Some(folder) => PathBuf::from(folder),
            None => usual_folder(database),
        };
        open(folder, Duration::from_secs(self.search_seconds))
    }
}

/// Opens an index in a folder. A full disk is no reason not to serve: then there are no searches.
pub(crate) fn open(folder: PathBuf, longest: Duration) -> anyhow::Result<Option<Arc<Index>>> {
    let shown = folder.display().to_string();
    match Index::open(Options { longest, ..Options::new(folder) }) {
        Ok(index) => Ok(Some(Arc::new(index))),
        Err(error) if matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) => {
            tracing::error!(
                "there is no room for a search index in {shown}: searches are refused until konverse is started anew"
            );
            Ok(None)
        }
        Err(error) => Err(error).with_context(|| {
            format!(
                "cannot keep a search index in {shown}; name another folder with --search, or do without: --search off"
            )
        }),
    }
}

/// Where the index is when nobody says.
fn usual_folder(database: &Database) -> PathBuf {
    match database {
        Database::Sqlite(file) => PathBuf::from(format!("{file}-search")),
        Database::Postgres(url) => {
            let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
            // systemd may name several, of which the first is ours.
            let state = set("STATE_DIRECTORY").and_then(|all| Some(PathBuf::from(all.to_str()?.split(':').next()?)));
            let own = || set("XDG_STATE_HOME").or_else(|| Some(set("HOME")?.join(".local/state")));
            let folder = state.or_else(|| Some(own()?.join("konverse"))).map(|folder| folder.join("search"));
            // Of the URL what may be shown: host, port and name.
            let name =
                format!("{url:?}").trim_start_matches("postgres://").replace(|c: char| !c.is_ascii_alphanumeric(), "-");
            folder.unwrap_or_else(|| PathBuf::from("konverse-search")).join(name)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_folder_lies_beside_a_file_and_names_no_secret() {
        let file: Database = "sqlite:/data/k.db".parse().expect("a database");
        assert_eq!(usual_folder(&file), PathBuf::from("/data/k.db-search"));
        let server: Database = "postgres://ann:s3cret@db.example:5433/help".parse().expect("a database");
        let folder = usual_folder(&server).display().to_string();
        assert!(folder.ends_with("db-example-5433-help"), "{folder}");
    }
}
