//! Opening the database a URL names.

use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use anyhow::Context;
use konverse_domain::{Domain, Ids, Settings};
use konverse_store::Store;
use konverse_store_postgres::Postgres;
use konverse_store_sqlite::Sqlite;

use crate::{SystemClock, system_entropy};

/// Where the data is: `sqlite:FILE` or `postgres://…`.
#[derive(Clone, PartialEq, Eq)]
pub enum Database {
    /// A file.
    Sqlite(String),
    /// A server; the URL may hold a password.
    Postgres(String),
}

impl FromStr for Database {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(file) = text.strip_prefix("sqlite:") {
            let file = file.strip_prefix("//").unwrap_or(file);
            if file.is_empty() || file == ":memory:" {
                return Err("name a file: sqlite:konverse.db".into());
            }
            return Ok(Self::Sqlite(file.to_owned()));
        }
        if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            return Ok(Self::Postgres(text.to_owned()));
        }
        Err("must be sqlite:FILE or postgres://USER:PASSWORD@HOST/DATABASE".into())
    }
}

/// Without the password.
impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Sqlite(file) => write!(f, "sqlite:{file}"),
            Self::Postgres(url) => {
                let host = url.rsplit('@').next().unwrap_or_default();
                write!(f, "postgres://…@{host}")
            }
        }
    }
}

impl Database {
    /// Opens it, with its schema brought up to date. `connections` is how many to hold to a PostgreSQL server.
    pub async fn open(&self, connections: usize) -> anyhow::Result<Arc<dyn Store>> {
        let store: Arc<dyn Store> = match self {
            Self::Sqlite(file) => Arc::new(Sqlite::open(Path::new(file)).with_context(|| format!("opening {self:?}"))?),
            Self::Postgres(url) => {
                let store = Postgres::open(url, connections).await;
                Arc::new(store.with_context(|| {
                    format!("opening {self:?}; is the server running and may the user create tables?")
                })?)
            }
        };
        Ok(store)
    }

    /// Opens it with the rules over it, on the real clock and randomness.
    pub async fn domain(&self, connections: usize, settings: Settings) -> anyhow::Result<Arc<Domain>> {
        let store = self.open(connections).await?;
        Ok(Domain::new(store, Arc::new(SystemClock), Ids::new(system_entropy()), settings).shared())
    }
}
