//! Opening the database a URL names.

use std::io::ErrorKind;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use konverse_domain::{Domain, Ids, Settings};
use konverse_search::index::Index;
use konverse_store::Store;
use konverse_store_postgres::Postgres;
use konverse_store_sqlite::{Options, Sqlite};

use crate::{SystemClock, system_entropy};

/// What PostgreSQL knows as parameters of a URL. A name outside this list may be a piece of a password in which `&` and
/// `=` were not encoded, so it is refused without being repeated.
const PARAMETERS: &[&str] = &[
    "application_name",
    "channel_binding",
    "client_encoding",
    "connect_timeout",
    "dbname",
    "fallback_application_name",
    "gssdelegation",
    "gssencmode",
    "gsslib",
    "host",
    "hostaddr",
    "keepalives",
    "keepalives_count",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_retries",
    "krbsrvname",
    "load_balance_hosts",
    "max_protocol_version",
    "min_protocol_version",
    "options",
    "passfile",
    "password",
    "port",
    "replication",
    "require_auth",
    "requirepeer",
    "service",
    "sslcert",
    "sslcertmode",
    "sslcompression",
    "sslcrl",
    "sslcrldir",
    "sslkey",
    "sslmode",
    "sslnegotiation",
    "sslpassword",
    "sslrootcert",
    "sslsni",
    "ssl_max_protocol_version",
    "ssl_min_protocol_version",
    "target_session_attrs",
    "tcp_user_timeout",
    "user",
];

/// Parameters that may be shown.
const SHOWN: &[&str] = &["dbname", "host", "hostaddr", "port"];

/// Where the data is: `sqlite:FILE` or `postgres://…`.
#[derive(Clone, PartialEq, Eq)]
pub enum Database {
    /// A file.
    Sqlite(String),
    /// A server.
    Postgres(PostgresUrl),
}

/// A `postgres://` URL. It may hold a password, so it is shown as hosts, ports and database only.
#[derive(Clone, PartialEq, Eq)]
pub struct PostgresUrl(String);

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
            let url = PostgresUrl(text.to_owned());
            url.check()?;
            return Ok(Self::Postgres(url));
        }
        Err("must be sqlite:FILE or postgres://USER:PASSWORD@HOST/DATABASE".into())
    }
}

/// How much to hold of a database, and how long to wait for it.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Connections to a PostgreSQL server.
    pub connections: usize,
    /// Bytes of memory for pages of a SQLite file that are about to be changed.
    pub cache: usize,
    /// How long a write to a SQLite file, and a long read of it, may wait for its turn.
    pub longest_wait: Duration,
    /// Bytes that must be free beside a SQLite file for it to be ready.
    pub least_free: u64,
    /// Whether a SQLite file is read through a memory map.
    pub map: bool,
}

impl Default for Sizes {
    fn default() -> Self {
        let Options { cache, longest_wait, least_free, map } = Options::default();
        Self { connections: 16, cache, longest_wait, least_free, map }
    }
}

/// The pieces of a URL as written, still encoded.
struct Pieces<'a> {
    hosts: &'a str,
    database: &'a str,
    parameters: Vec<(&'a str, &'a str)>,
}

impl PostgresUrl {
    /// Refuses what cannot be told apart for certain. The driver splits at the first `@`, wherever that is: a password
    /// that is not encoded would become a host's name, and be looked up and shown.
    fn check(&self) -> Result<(), String> {
        const ENCODE: &str = "in a user name or password, write @ / ? & = as %40 %2F %3F %26 %3D";
        let rest = self.0.split_once("://").map_or("", |(_, rest)| rest);
        let authority = rest.split(['/', '?']).next().unwrap_or_default();
        let unencoded = match authority.matches('@').count() {
            0 => rest.contains('@'),
            count => count > 1,
        };
        let pieces = self.pieces();
        if unencoded || pieces.hosts.contains("%40") {
            return Err(format!("cannot be taken apart: {ENCODE}"));
        }
        for host in pieces.hosts.split(',') {
            let after_name = match host.strip_prefix('[') {
                Some(address) => address.split_once(']').ok_or("an address that begins with [ needs a ]")?.1,
                None => host.find(':').map_or("", |colon| &host[colon..]),
            };
            let port = after_name.strip_prefix(':').unwrap_or(after_name);
            if !after_name.is_empty() && port.parse::<u16>().is_err() {
                return Err(
                    "the port must be a number from 0 to 65535: postgres://USER:PASSWORD@HOST:PORT/DATABASE".into()
                );
            }
        }
        if pieces.parameters.iter().any(|(name, _)| !PARAMETERS.contains(name)) {
            return Err(format!("has a parameter PostgreSQL does not know; {ENCODE}"));
        }
        Ok(())
    }

    fn pieces(&self) -> Pieces<'_> {
        let rest = self.0.split_once("://").map_or("", |(_, rest)| rest);
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, database) = place.split_once('/').unwrap_or((place, ""));
        let hosts = authority.rsplit('@').next().unwrap_or_default();
        let parameters = query.split('&').filter(|pair| !pair.is_empty());
        let parameters = parameters.map(|pair| pair.split_once('=').unwrap_or((pair, ""))).collect();
        Pieces { hosts, database, parameters }
    }
}

/// Without user, password and whatever else is nobody's business.
impl std::fmt::Debug for PostgresUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Pieces { hosts, database, parameters } = self.pieces();
        write!(f, "postgres://{hosts}/{database}")?;
        let shown = parameters.iter().filter(|(name, _)| SHOWN.contains(name));
        for (n, (name, value)) in shown.enumerate() {
            write!(f, "{}{name}={value}", if n == 0 { '?' } else { '&' })?;
        }
        Ok(())
    }
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Sqlite(file) => write!(f, "sqlite:{file}"),
            Self::Postgres(url) => write!(f, "{url:?}"),
        }
    }
}

/// Opens a SQLite file, which is created when missing. SQLite's own words for what is wrong with a path say little.
pub(crate) fn open_file(file: &Path, sizes: Sizes) -> anyhow::Result<Arc<dyn Store>> {
    let shown = file.display();
    match file.metadata() {
        Ok(data) if data.is_dir() => bail!("{shown} is a folder; name a file in it"),
        Ok(data) if data.permissions().readonly() => bail!("{shown} is read-only, but konverse has to write to it"),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
            if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
                bail!("{shown} cannot be created: there is no folder {}", folder.display());
            }
        }
        _ => {}
    }
    let Sizes { cache, longest_wait, least_free, map, connections: _ } = sizes;
    let options = Options { cache, longest_wait, least_free, map };
    Ok(Arc::new(Sqlite::open_with(file, options).with_context(|| format!("opening {shown}"))?))
}

impl Database {
    /// Opens it, with its schema brought up to date.
    pub async fn open(&self, sizes: Sizes) -> anyhow::Result<Arc<dyn Store>> {
        match self {
            Self::Sqlite(file) => open_file(Path::new(file), sizes),
            Self::Postgres(url) => {
                let store = Postgres::open(&url.0, sizes.connections).await;
                Ok(Arc::new(store.with_context(|| {
                    format!("opening {self:?}; is the server running and may the user create tables?")
                })?))
            }
        }
    }

    /// Opens it with the rules over it, on the real clock and randomness.
    pub async fn domain(&self, sizes: Sizes, settings: Settings) -> anyhow::Result<Arc<Domain>> {
        self.searched(sizes, settings, || Ok(None)).await
    }

    /// The same, with an index that answers searches. It is opened once the database is: what cannot be a database has no
    /// folder beside it.
    pub async fn searched(
        &self,
        sizes: Sizes,
        settings: Settings,
        index: impl FnOnce() -> anyhow::Result<Option<Arc<Index>>>,
    ) -> anyhow::Result<Arc<Domain>> {
        let store = self.open(sizes).await?;
        let domain = Domain::new(store, Arc::new(SystemClock), Ids::new(system_entropy()), settings);
        Ok(match index()? {
            Some(index) => domain.with_search(index).shared(),
            None => domain.shared(),
        })
    }
}
