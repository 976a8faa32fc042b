//! Where a store's data lies, and what plain SQL finds there: for tests of what konverse leaves in a database, and of
//! what others have left.

use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;

use konverse_store::{Store, StoreError};
use konverse_store_postgres::Postgres;
use konverse_store_sqlite::Sqlite;
use rusqlite::types::ValueRef;
use serde_json::{Map, Value};
use tempfile::TempDir;
use tokio_postgres::types::Type;

use crate::Backend;
use crate::postgres::{Database, fresh_database};

const SCHEMA_1_FILE: &[u8] = include_bytes!("../tests/data/schema-1.db.zst");
const SCHEMA_1_DUMP: &[u8] = include_bytes!("../tests/data/schema-1.sql.gz");

/// A row by its columns' names: numbers as they are, ids and hashes in hex.
pub type Record = Map<String, Value>;

/// A database of one engine.
pub struct Place {
    backend: Backend,
    database: Option<Database>,
    folder: TempDir,
}

impl Place {
    /// An empty one.
    ///
    /// # Panics
    /// When it cannot be made.
    pub async fn empty(backend: Backend) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let database = match backend {
            Backend::Sqlite => None,
            Backend::Postgres => Some(fresh_database().await),
        };
        Self { backend, database, folder }
    }

    /// One that the release with schema 1 wrote: see `tests/data`. [`Place::schema_1_token`] opens it.
    ///
    /// # Panics
    /// When it cannot be made.
    pub async fn of_schema_1(backend: Backend) -> Self {
        let place = Self::empty(backend).await;
        match backend {
            Backend::Sqlite => {
                let file = zstd::decode_all(SCHEMA_1_FILE).expect("the kept file is whole");
                std::fs::write(place.file(), file).expect("a file");
            }
            Backend::Postgres => {
                let mut dump = String::new();
                flate2::read::GzDecoder::new(SCHEMA_1_DUMP).read_to_string(&mut dump).expect("the kept dump is whole");
                // What is for `psql` alone, and what would hide the tables from the rest of the session.
                let is_sql = |line: &&str| !line.starts_with('\\') && !line.contains("set_config('search_path'");
                let sql: Vec<&str> = dump.lines().filter(is_sql).collect();
                place.run(&sql.join("\n")).await;
            }
        }
        place
    }

    /// The token that opens the org of [`Place::of_schema_1`].
    pub fn schema_1_token(backend: Backend) -> &'static str {
        match backend {
            Backend::Sqlite => include_str!("../tests/data/schema-1.db.token"),
            Backend::Postgres => include_str!("../tests/data/schema-1.sql.token"),
        }
        .trim()
    }

    /// The engine.
    pub fn backend(&self) -> Backend {
        self.backend
    }

    /// The file, on SQLite.
    pub fn file(&self) -> PathBuf {
        self.folder.path().join("test.db")
    }

    /// The `--database` value that opens it.
    pub fn url(&self) -> String {
        match &self.database {
            Some(database) => database.url.clone(),
            None => format!("sqlite:{}", self.file().display()),
        }
    }

    /// Opens it as the program does, its schema brought up to date.
    pub async fn open(&self) -> Result<Arc<dyn Store>, StoreError> {
        Ok(match &self.database {
            Some(database) => Arc::new(Postgres::open(&database.url, 8).await?),
            None => Arc::new(Sqlite::open(&self.file())?),
        })
    }

    /// Opens it as the program does, but every page by number is found by blocks.
    ///
    /// # Panics
    /// When it does not open.
    pub async fn open_with_blocks(&self) -> Arc<dyn Store> {
        match &self.database {
            Some(database) => Arc::new(Postgres::open(&database.url, 8).await.expect("it opens").near(0)),
            None => Arc::new(Sqlite::open(&self.file()).expect("it opens").near(0)),
        }
    }

    /// An id as SQL writes it.
    pub fn id(&self, id: &str) -> String {
        match self.backend {
            Backend::Sqlite => format!("x'{id}'"),
            Backend::Postgres => format!("'\\x{id}'::bytea"),
        }
    }

    /// Runs plain statements, beside konverse.
    ///
    /// # Panics
    /// When the database refuses.
    pub async fn run(&self, sql: &str) {
        match &self.database {
            None => self.connection().execute_batch(sql).unwrap_or_else(|error| panic!("{sql}: {error}")),
            Some(database) => {
                let client = connect(database).await;
                client.batch_execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
            }
        }
    }

    /// What a plain query finds.
    ///
    /// # Panics
    /// When the database refuses.
    pub async fn rows(&self, sql: &str) -> Vec<Record> {
        match &self.database {
            None => self.file_rows(sql).unwrap_or_else(|error| panic!("{sql}: {error}")),
            Some(database) => {
                let rows = connect(database).await.query(sql, &[]).await;
                rows.unwrap_or_else(|error| panic!("{sql}: {error:?}")).iter().map(record).collect()
            }
        }
    }

    /// The one number a plain query finds.
    ///
    /// # Panics
    /// When it finds something else.
    pub async fn number(&self, sql: &str) -> i64 {
        let rows = self.rows(sql).await;
        rows.first().and_then(|row| row.values().next()?.as_i64()).unwrap_or_else(|| panic!("{sql}: {rows:?}"))
    }

    fn connection(&self) -> rusqlite::Connection {
        let connection = rusqlite::Connection::open(self.file()).expect("the file opens");
        connection.busy_timeout(std::time::Duration::from_secs(30)).expect("a timeout");
        connection
    }

    fn file_rows(&self, sql: &str) -> rusqlite::Result<Vec<Record>> {
        let connection = self.connection();
        let mut statement = connection.prepare(sql)?;
        let names: Vec<String> = statement.column_names().map(str::to_owned).collect();
        let rows = statement.query_map([], |row| {
            names.iter().enumerate().map(|(n, name)| Ok((name.clone(), value(row.get_ref(n)?)))).collect()
        })?;
        rows.collect()
    }
}

fn value(cell: ValueRef<'_>) -> Value {
    match cell {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => number.into(),
        ValueRef::Real(number) => number.into(),
        ValueRef::Text(text) => String::from_utf8_lossy(text).into(),
        ValueRef::Blob(bytes) => hex(bytes).into(),
    }
}

fn record(row: &tokio_postgres::Row) -> Record {
    let cell = |n: usize, of: &Type| match *of {
        Type::BYTEA => row.get::<_, Option<&[u8]>>(n).map(|bytes| Value::from(hex(bytes))),
        Type::INT8 => row.get::<_, Option<i64>>(n).map(Value::from),
        Type::TEXT => row.get::<_, Option<&str>>(n).map(Value::from),
        _ => panic!("column {} is of type {of}", row.columns()[n].name()),
    };
    let columns = row.columns().iter().enumerate();
    columns.map(|(n, column)| (column.name().to_owned(), cell(n, column.type_()).unwrap_or_default())).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn connect(database: &Database) -> tokio_postgres::Client {
    let (client, connection) =
        tokio_postgres::connect(&database.url, tokio_postgres::NoTls).await.expect("PostgreSQL answers");
    tokio::spawn(connection);
    client
}
