//! What a trial runs on: a folder, an engine, a database with an org and its tokens.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use konverse_harness::{Cluster, Limit, konverse, output, tail};
use rusqlite::{Connection, OpenFlags};

use crate::client::Client;
use crate::process::{Server, expect_no_panic};

/// The org of every trial.
const ORG: &str = "trials";

/// An engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Engine {
    Sqlite,
    Postgres,
}

impl Engine {
    /// As the command line has it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
        }
    }
}

/// How long a trial is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// For every change.
    Short,
    /// For whoever wants to know.
    Long,
}

/// How a trial is to be run.
#[derive(Clone, Debug)]
pub(crate) struct Setting {
    pub(crate) program: PathBuf,
    pub(crate) postgres_programs: Option<PathBuf>,
    /// A folder of the trial's own.
    pub(crate) work: PathBuf,
    pub(crate) engine: Engine,
    pub(crate) form: Form,
    /// How often what is tried is done; by default as the trial says for the form.
    pub(crate) cycles: Option<usize>,
    pub(crate) limit: Limit,
}

impl Setting {
    /// How often what is tried is done.
    pub(crate) fn cycles(&self, short: usize, long: usize) -> usize {
        self.cycles.unwrap_or_else(|| self.pick(short, long))
    }

    /// One for each form.
    pub(crate) fn pick<T>(&self, short: T, long: T) -> T {
        match self.form {
            Form::Short => short,
            Form::Long => long,
        }
    }
}

/// A database with an org, and what serves it.
#[derive(Debug)]
pub(crate) struct Ground {
    pub(crate) setting: Setting,
    pub(crate) cluster: Option<Cluster>,
    pub(crate) url: String,
    /// A token that may do everything.
    pub(crate) token: String,
}

impl Ground {
    /// An empty database of the setting's engine.
    pub(crate) fn new(setting: &Setting) -> Result<Self> {
        Self::with(setting, &setting.work, &[])
    }

    /// The same; a file in this folder, or a PostgreSQL with these options.
    pub(crate) fn with(setting: &Setting, folder: &Path, postgres: &[&str]) -> Result<Self> {
        let (cluster, url) = match setting.engine {
            Engine::Sqlite => (None, format!("sqlite:{}", folder.join("trial.db").display())),
            Engine::Postgres => {
                let programs = setting.postgres_programs.as_deref();
                let cluster = Cluster::start(programs, &setting.work, postgres, setting.limit)?;
                let url = cluster.create("trial")?;
                (Some(cluster), url)
            }
        };
        let mut ground = Self { setting: setting.clone(), cluster, url, token: String::new() };
        ground.run(&["org", "create", ORG])?;
        ground.token = ground.create_token("all")?;
        Ok(ground)
    }

    /// Runs a command of konverse on the database: what it prints.
    pub(crate) fn run(&self, args: &[&str]) -> Result<String> {
        output(konverse(&self.setting.program).args(args).args(["--database", &self.url]))
    }

    /// Runs a command of konverse for the org.
    pub(crate) fn run_for_org(&self, args: &[&str]) -> Result<String> {
        self.run(&[args, &["--org", ORG]].concat())
    }

    /// Makes a token that may do everything.
    pub(crate) fn create_token(&self, name: &str) -> Result<String> {
        let printed = self.run_for_org(&["token", "create", "--name", name, "--role", "org"])?;
        let token = printed.split_whitespace().last().context("token create printed nothing")?;
        Ok(token.to_owned())
    }

    /// Waits until PostgreSQL has ended what a killed process had asked for: until then, a write whose answer never came
    /// may still be done. SQLite's writes end with their process.
    pub(crate) fn wait_for_leftovers(&self) -> Result<()> {
        self.wait_for_none("true")
    }

    /// Waits until PostgreSQL is at work on nothing: nobody asks for anything, but something may be left of before.
    pub(crate) fn wait_for_quiet(&self) -> Result<()> {
        self.wait_for_none("state <> 'idle'")?;
        // What waits in a connection's buffer is begun within a moment.
        self.setting.limit.rest(Duration::from_millis(200))?;
        self.wait_for_none("state <> 'idle'")
    }

    fn wait_for_none(&self, connections: &str) -> Result<()> {
        let Some(cluster) = &self.cluster else { return Ok(()) };
        let count = format!(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() \
             AND {connections}"
        );
        let gone =
            self.setting.limit.until(Duration::from_secs(60), || Ok(cluster.sql("trial", &count)?.trim() == "0"))?;
        gone.with_context(|| format!("connections do not end: {connections}")).map(drop)
    }

    /// Where servers log.
    pub(crate) fn log(&self) -> PathBuf {
        self.setting.work.join("konverse.log")
    }

    /// Starts `serve`.
    pub(crate) fn serve(&self, options: &[&str]) -> Result<Server> {
        Server::start(&self.setting.program, &self.url, options, &self.log(), self.setting.limit)
    }

    /// Whether `serve` has an option: trials are also for a konverse of before.
    pub(crate) fn serve_knows(&self, option: &str) -> Result<bool> {
        let help = output(konverse(&self.setting.program).args(["serve", "--help"]))?;
        Ok(help.split_ascii_whitespace().any(|word| word == option))
    }

    /// A client of a server.
    pub(crate) fn client(&self, server: &Server) -> Client {
        Client::new(server.port, &self.token)
    }

    /// The PostgreSQL server.
    pub(crate) fn cluster(&mut self) -> Result<&mut Cluster> {
        self.cluster.as_mut().context("this trial needs PostgreSQL")
    }

    /// The SQLite file.
    pub(crate) fn file(&self) -> Result<PathBuf> {
        self.url.strip_prefix("sqlite:").map(PathBuf::from).context("this trial needs SQLite")
    }

    /// Fails when a server has panicked, or a file is damaged. No server may be running on it.
    pub(crate) fn expect_sound(&self) -> Result<()> {
        expect_no_panic(&self.log()).with_context(|| tail(&self.log()))?;
        if self.setting.engine == Engine::Sqlite {
            let flags = OpenFlags::SQLITE_OPEN_READ_WRITE;
            let connection = Connection::open_with_flags(self.file()?, flags)?;
            connection.busy_timeout(Duration::from_secs(10))?;
            let found: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0))?;
            if found != "ok" {
                bail!("the file is damaged: {found}");
            }
        }
        Ok(())
    }
}
