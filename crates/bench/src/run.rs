//! What the measurements share: the binary, the databases, the servers.

use std::cell::OnceCell;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use konverse_harness::{Cluster, Limit, konverse};
use rusqlite::{Connection, OpenFlags};
use rustix::process::Pid;

use crate::Options;
use crate::generate::History;
use crate::load::Bounds;
use crate::proc::{self, Spent};
use crate::servers::{self, Server};

/// The organisation that is made for the run.
const ORG: &str = "bench";

/// The roles that the load's token has.
const ROLES: [&str; 3] =
    ["org.permission.conversation.read", "org.permission.message.create", "org.permission.search.create"];

/// The database of `--data`.
pub(crate) const REAL: &str = "real";

/// MiB of cache where answers are not to be found in it: room for tokens, and for the fewest pages. A binary without the
/// option gets none.
pub(crate) const SMALL_CACHE: u32 = 1;

/// What every measurement needs. Databases are made when the first asks for them.
pub(crate) struct Run<'a> {
    pub(crate) options: &'a Options,
    pub(crate) work: &'a Path,
    pub(crate) limit: Limit,
    knows_cache: bool,
    knows_search: bool,
    real_sqlite: OnceCell<Database>,
    real_postgres: OnceCell<Database>,
    deep_sqlite: OnceCell<Database>,
    deep_postgres: OnceCell<Database>,
    cluster: OnceCell<Cluster>,
}

/// A database with the organisation and what was imported into it.
pub(crate) struct Database {
    pub(crate) url: String,
    /// The file of SQLite.
    pub(crate) file: Option<PathBuf>,
    pub(crate) token: String,
    /// What the import took.
    pub(crate) imported: Spent,
}

/// Where a database is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Engine {
    Sqlite,
    Postgres,
}

impl Engine {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "SQLite",
            Self::Postgres => "PostgreSQL",
        }
    }
}

impl<'a> Run<'a> {
    pub(crate) fn new(options: &'a Options, work: &'a Path, limit: Limit) -> Result<Self> {
        let mut help = konverse(&options.konverse);
        let (_, help) = proc::run(help.args(["serve", "--help"]), &work.join("help"), limit)?;
        let (real_sqlite, real_postgres, deep_sqlite, deep_postgres, cluster) = Default::default();
        let knows_cache = help.contains("--cache ");
        let knows_search = help.contains("--search ");
        Ok(Self {
            options,
            work,
            limit,
            knows_cache,
            knows_search,
            real_sqlite,
            real_postgres,
            deep_sqlite,
            deep_postgres,
            cluster,
        })
    }

    /// The versions of what is compared.
    pub(crate) fn versions(&self) -> Result<String> {
        let mut command = konverse(&self.options.konverse);
        let (_, version) = proc::run(command.arg("--version"), &self.work.join("version"), self.limit)?;
        let nginx = match servers::find_nginx() {
            // nginx prints its version where others print errors.
            Some(nginx) => String::from_utf8_lossy(&Command::new(nginx).arg("-v").output()?.stderr).trim().to_owned(),
            None => "no nginx (Debian: apt-get install nginx-light)".to_owned(),
        };
        let cache = if self.knows_cache { "" } else { " without --cache" };
        Ok(format!("{}{cache}, {nginx}, SQLite {}", version.trim(), rusqlite::version()))
    }

    /// The end of one measured load.
    pub(crate) fn bounds(&self) -> Bounds {
        Bounds { count: self.options.requests, time: self.time() }
    }

    /// The most time that one measured load takes.
    pub(crate) fn time(&self) -> Duration {
        Duration::from_secs(self.options.seconds)
    }

    /// The folder of files to import.
    pub(crate) fn data(&self) -> Result<&Path> {
        self.options.data.as_deref().context("--data is needed for this")
    }

    /// The generated history's size.
    pub(crate) fn history(&self) -> History {
        History { of_one: self.options.conversations, of_others: self.options.others }
    }

    /// The data of `--data`.
    pub(crate) fn real(&self, engine: Engine) -> Result<&Database> {
        let cell = match engine {
            Engine::Sqlite => &self.real_sqlite,
            Engine::Postgres => &self.real_postgres,
        };
        once(cell, || self.database(engine, REAL, self.data()?))
    }

    /// The generated history.
    pub(crate) fn deep(&self, engine: Engine) -> Result<&Database> {
        let cell = match engine {
            Engine::Sqlite => &self.deep_sqlite,
            Engine::Postgres => &self.deep_postgres,
        };
        once(cell, || {
            let folder = self.work.join("history");
            if !folder.exists() {
                fs::create_dir(&folder)?;
                self.history().write(&folder)?;
            }
            self.database(engine, "deep", &folder)
        })
    }

    /// The run's PostgreSQL server.
    pub(crate) fn cluster(&self) -> Result<&Cluster> {
        once(&self.cluster, || Cluster::start(self.options.postgres_programs.as_deref(), self.work, &[], self.limit))
    }

    fn database(&self, engine: Engine, name: &str, data: &Path) -> Result<Database> {
        let (url, file) = match engine {
            Engine::Sqlite => {
                let file = self.file(name);
                (sqlite_url(&file), Some(file))
            }
            Engine::Postgres => (self.cluster()?.create(name)?, None),
        };
        let files = |step: &str| self.work.join(format!("{name}-{}-{step}", engine.name()));
        let konverse = |arguments: &[&str]| {
            let mut command = konverse(&self.options.konverse);
            command.args(arguments).args(["--database", &url]);
            command
        };
        proc::run(&mut konverse(&["org", "create", ORG]), &files("org"), self.limit)?;
        let mut import = konverse(&["import", "--org", ORG]);
        let (imported, _) = proc::run(import.arg(data), &files("import"), self.limit)?;
        if engine == Engine::Postgres {
            // What its own background work does sooner or later, and otherwise in the middle of a measurement.
            self.cluster()?.sql(name, "VACUUM (ANALYZE)")?;
            self.cluster()?.sql(name, "CHECKPOINT")?;
        }
        let mut create = konverse(&["token", "create", "--org", ORG, "--name", ORG]);
        create.args(ROLES.iter().flat_map(|role| ["--role", role]));
        let (_, token) = proc::run(&mut create, &files("token"), self.limit)?;
        Ok(Database { url, file, token: token.trim().to_owned(), imported })
    }

    fn file(&self, name: &str) -> PathBuf {
        self.work.join(name).with_extension("db")
    }

    /// A SQLite file that is not there yet.
    pub(crate) fn new_file(&self) -> String {
        sqlite_url(&self.file("new"))
    }

    /// konverse serving a database, with so many MiB of cache, or as many as it takes by itself. Without searches: building
    /// an index would be measured with everything else.
    pub(crate) fn serve(&self, url: &str, cache: Option<u32>) -> Result<Server> {
        let cache = cache.filter(|_| self.knows_cache).map(|mib| ["--cache".to_owned(), mib.to_string()]);
        let search = self.knows_search.then(|| ["--search", "off"].map(str::to_owned));
        self.serve_with(url, cache.into_iter().chain(search).flatten().collect())
    }

    /// konverse serving a database and searches of it.
    pub(crate) fn serve_searching(&self, url: &str) -> Result<Server> {
        ensure!(self.knows_search, "the binary has no searches");
        self.serve_with(url, Vec::new())
    }

    fn serve_with(&self, url: &str, options: Vec<String>) -> Result<Server> {
        let log = self.work.join("konverse.log");
        servers::start_konverse(&self.options.konverse, url, &options, &log, self.limit)
    }

    /// Whether the binary's cache has a size that can be set.
    pub(crate) fn knows_cache(&self) -> bool {
        self.knows_cache
    }

    /// The processes that work for konverse on this engine.
    pub(crate) fn processes(&self, server: &Server, engine: Engine) -> Result<Vec<Pid>> {
        Ok(match engine {
            Engine::Sqlite => vec![server.pid()],
            Engine::Postgres => vec![server.pid(), self.cluster()?.pid()?],
        })
    }
}

fn sqlite_url(file: &Path) -> String {
    format!("sqlite:{}", file.display())
}

fn once<T>(cell: &OnceCell<T>, make: impl FnOnce() -> Result<T>) -> Result<&T> {
    if let Some(made) = cell.get() {
        return Ok(made);
    }
    let made = make()?;
    Ok(cell.get_or_init(|| made))
}

impl Database {
    /// A reader of the file besides konverse.
    pub(crate) fn open(&self) -> Result<Connection> {
        let file = self.file.as_deref().context("not a database in a file")?;
        Ok(Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY)?)
    }

    /// Customers that have conversations, in the order of ids.
    pub(crate) fn customers(&self) -> Result<Vec<String>> {
        self.ids("SELECT DISTINCT lower(hex(customer)) FROM conversation WHERE hidden = 0 ORDER BY 1")
    }

    /// All conversations, in the order of ids.
    pub(crate) fn conversations(&self) -> Result<Vec<String>> {
        self.ids("SELECT lower(hex(id)) FROM conversation WHERE hidden = 0 ORDER BY id")
    }

    fn ids(&self, sql: &str) -> Result<Vec<String>> {
        let connection = self.open()?;
        let mut statement = connection.prepare(sql)?;
        let ids = statement.query_map([], |row| row.get(0))?;
        Ok(ids.collect::<Result<_, _>>()?)
    }
}
