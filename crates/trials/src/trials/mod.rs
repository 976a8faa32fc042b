//! The trials. Each is a file: what it claims, how it tries it, and what it counts.

mod full_disk;
mod kill_postgres;
mod kill_server;
mod postgres_away;
mod replaced_file;
mod servers;
mod slow_clients;
mod turns;
mod walkers;

use anyhow::Result;
use clap::ValueEnum;

use crate::ground::{Engine, Setting};

/// Something that goes wrong, and what must hold nevertheless.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Trial {
    KillServer,
    KillPostgres,
    Walkers,
    Servers,
    Turns,
    FullDisk,
    PostgresAway,
    SlowClients,
    ReplacedFile,
}

impl Trial {
    /// All of them, in the order in which they are run.
    pub(crate) fn all() -> &'static [Self] {
        Self::value_variants()
    }

    /// As the command line has it.
    pub(crate) fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// What is promised.
    pub(crate) fn claim(self) -> &'static str {
        match self {
            Self::KillServer => kill_server::CLAIM,
            Self::KillPostgres => kill_postgres::CLAIM,
            Self::Walkers => walkers::CLAIM,
            Self::Servers => servers::CLAIM,
            Self::Turns => turns::CLAIM,
            Self::FullDisk => full_disk::CLAIM,
            Self::PostgresAway => postgres_away::CLAIM,
            Self::SlowClients => slow_clients::CLAIM,
            Self::ReplacedFile => replaced_file::CLAIM,
        }
    }

    /// Where it makes sense.
    pub(crate) fn engines(self) -> &'static [Engine] {
        match self {
            Self::KillServer | Self::Walkers | Self::Servers | Self::Turns => &[Engine::Sqlite, Engine::Postgres],
            Self::KillPostgres | Self::PostgresAway => &[Engine::Postgres],
            Self::FullDisk | Self::SlowClients | Self::ReplacedFile => &[Engine::Sqlite],
        }
    }

    /// Tries it: figures when the claim held, an error when not.
    pub(crate) fn run(self, setting: &Setting) -> Result<String> {
        match self {
            Self::KillServer => kill_server::run(setting),
            Self::KillPostgres => kill_postgres::run(setting),
            Self::Walkers => walkers::run(setting),
            Self::Servers => servers::run(setting),
            Self::Turns => turns::run(setting),
            Self::FullDisk => full_disk::run(setting),
            Self::PostgresAway => postgres_away::run(setting),
            Self::SlowClients => slow_clients::run(setting),
            Self::ReplacedFile => replaced_file::run(setting),
        }
    }
}
