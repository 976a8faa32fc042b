//! A real PostgreSQL for tests: one server per test process, one database per test.
//!
//! The server is started from the installed programs, listens on a free loopback port and is gone when the test
//! process is, however that ends (see `postgres_watchdog.sh`). `KONVERSE_TEST_POSTGRES` names a running server to use
//! instead; `KONVERSE_PG_BIN` names the folder of the programs.
//!
//! Nothing here skips a test: without a server the caller panics with what to install.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use konverse_harness::{PROGRAMS_VARIABLE, programs_with};
use tokio::sync::Mutex;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, NoTls};

const SERVER_VARIABLE: &str = "KONVERSE_TEST_POSTGRES";
const OLDEST_VERSION: u32 = 15;
const START_LIMIT: Duration = Duration::from_secs(60);
/// Another process may take the free port between our finding it and the server's binding it.
const START_ATTEMPTS: u32 = 3;
/// The server itself waits some seconds for the template's users to leave, so each attempt is a patient one.
const CLONE_ATTEMPTS: u32 = 3;
const WATCHDOG: &str = include_str!("postgres_watchdog.sh");

/// The URL of a PostgreSQL server on which tests may create databases. The first call may start it.
///
/// # Panics
///
/// When there is no server and none can be started; the message says what to do.
pub fn server_url() -> &'static str {
    &server().url
}

/// Creates an empty database.
///
/// # Panics
///
/// When there is no server (see [`server_url`]) or it refuses.
pub async fn fresh_database() -> Database {
    let database = Database::named_at_random().await;
    let sql = format!("CREATE DATABASE {}", quoted(&database.name));
    admin().await.batch_execute(&sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    database
}

/// Creates a database with everything that is in the database named `template` (see [`Database::name`]), which nobody
/// may be connected to meanwhile: close its pool first.
///
/// # Panics
///
/// When there is no server (see [`server_url`]), it refuses, or the template stays in use.
pub async fn clone_of(template: &str) -> Database {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

    let database = Database::named_at_random().await;
    let sql = format!("CREATE DATABASE {} TEMPLATE {}", quoted(&database.name), quoted(template));
    let client = admin().await;
    let _turn = ONE_AT_A_TIME.lock().await;
    for attempt in 1.. {
        match client.batch_execute(&sql).await {
            Ok(()) => break,
            Err(error) if error.code() == Some(&SqlState::OBJECT_IN_USE) && attempt < CLONE_ATTEMPTS => {}
            Err(error) => panic!("{sql}: {error:?}"),
        }
    }
    database
}

/// A server of one test that talks TLS only.
pub struct TlsServer {
    /// Where its first database is, for the superuser, by address.
    pub url: String,
    _server: Server,
}

impl TlsServer {
    /// Starts it with this certificate and key, and an authority for those of clients, all in PEM. The user `certified` has
    /// to show one, others are trusted.
    ///
    /// # Panics
    /// When none can be started; the message says what to do.
    pub fn start(certificate: &str, key: &str, authority: &str) -> Self {
        const ACCESS: &str = "hostssl all certified 127.0.0.1/32 cert\nhostssl all all 127.0.0.1/32 trust\n";
        let files =
            [("server.crt", certificate), ("server.key", key), ("root.crt", authority), ("pg_hba.conf", ACCESS)];
        let server = start_with(&files).unwrap_or_else(|report| panic!("{report}"));
        Self { url: server.url.clone(), _server: server }
    }
}

/// A database of one test. On a server named by `KONVERSE_TEST_POSTGRES` it is removed when this value is dropped; a
/// server of our own is thrown away as a whole.
#[derive(Debug)]
pub struct Database {
    /// Where to connect to.
    pub url: String,
    name: String,
}

impl Database {
    /// What the database is called on its server, for [`clone_of`].
    pub fn name(&self) -> &str {
        &self.name
    }

    async fn named_at_random() -> Database {
        // Starting the server takes a second or two, which other tasks of the runtime need not wait for.
        let server = tokio::task::spawn_blocking(server).await.unwrap_or_else(|error| match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(error) => panic!("{error}"),
        });
        let mut random = [0; 8];
        getrandom::fill(&mut random).expect("the system gives random bytes");
        let name = format!("konverse_test_{:016x}", u64::from_ne_bytes(random));
        Database { url: with_database(&server.url, &name), name }
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if server().watchdog.is_some() {
            return;
        }
        let sql = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", quoted(&self.name));
        // A thread of its own, because this may be running on a runtime, where nothing may block on another one.
        let removal = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.map(|runtime| runtime.block_on(async { admin().await.batch_execute(&sql).await }))
        });
        // Best effort: a leftover must not fail a test that passed, nor hide why another one failed.
        drop(removal.join());
    }
}

struct Server {
    url: String,
    /// The process that ends our own server once its standard input, held in here, is closed. None when the server is
    /// somebody else's.
    watchdog: Option<Child>,
}

fn server() -> &'static Server {
    // The failure is kept too: each of a hundred tests would otherwise wait for a server that does not come.
    static SERVER: OnceLock<Result<Server, String>> = OnceLock::new();
    SERVER.get_or_init(find_or_start).as_ref().unwrap_or_else(|report| panic!("{report}"))
}

fn find_or_start() -> Result<Server, String> {
    if let Some(url) = variable(SERVER_VARIABLE) {
        if !url.contains("://") {
            return Err(format!("{SERVER_VARIABLE} is to be a URL like postgres://user@host/db, not {url:?}"));
        }
        return Ok(Server { url, watchdog: None });
    }
    start_with(&[])
}

/// Starts a server with these files in its data folder.
fn start_with(files: &[(&str, &str)]) -> Result<Server, String> {
    let programs = find_programs()?;
    let deadline = Instant::now() + START_LIMIT;
    let mut attempt = 1;
    loop {
        match start(&programs, deadline, files) {
            Err(_) if attempt < START_ATTEMPTS && Instant::now() < deadline => attempt += 1,
            outcome => return outcome,
        }
    }
}

/// The folder with `initdb` and `postgres`.
fn find_programs() -> Result<PathBuf, String> {
    let programs = programs_with(&["initdb", "postgres"])?;
    let programs = programs.ok_or_else(|| {
        format!(
            "these tests need PostgreSQL {OLDEST_VERSION} or newer and found no initdb. Install it (Debian: \
             `apt-get install postgresql`), or name the folder of its programs in {PROGRAMS_VARIABLE}, or a running \
             server: {SERVER_VARIABLE}=postgres://user@host/db"
        )
    })?;
    let version = version_of(&programs)?;
    if version < OLDEST_VERSION {
        return Err(format!(
            "the PostgreSQL in {} is version {version}; konverse needs {OLDEST_VERSION} or newer",
            programs.display()
        ));
    }
    Ok(programs)
}

fn version_of(programs: &Path) -> Result<u32, String> {
    let program = programs.join("postgres");
    let output = Command::new(&program).arg("--version").output();
    let output = output.map_err(|error| format!("{} does not start: {error}", program.display()))?;
    // For example "postgres (PostgreSQL) 15.13 (Debian 15.13-0+deb12u1)", or "... 18beta1".
    let text = String::from_utf8_lossy(&output.stdout);
    let number = text.split_whitespace().nth(2).unwrap_or_default();
    let major = number.split(|character: char| !character.is_ascii_digit()).next().unwrap_or_default();
    major.parse().map_err(|_| format!("{} --version says {text:?}", program.display()))
}

fn start(programs: &Path, deadline: Instant, files: &[(&str, &str)]) -> Result<Server, String> {
    let port = free_port().map_err(|error| format!("no free loopback port: {error}"))?;
    let directory = create_directory().map_err(|error| format!("no temporary directory: {error}"))?;
    if !files.is_empty() {
        let folder = directory.join("tls");
        let written = fs::create_dir(&folder)
            .and_then(|()| files.iter().try_for_each(|(name, text)| fs::write(folder.join(name), text)));
        written.map_err(|error| format!("no file in {}: {error}", folder.display()))?;
    }
    let mut watchdog = Command::new("sh")
        .args(["-c", WATCHDOG, "postgres_watchdog"])
        .args([&directory, programs])
        .arg(port.to_string())
        .current_dir(&directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // Ctrl-C at the terminal is for the tests; the watchdog has to outlive them by a moment.
        .process_group(0)
        .spawn()
        .map_err(|error| format!("sh does not start: {error}"))?;

    let problem = loop {
        if is_ready(&directory) {
            let url = format!("postgres://konverse@127.0.0.1:{port}/postgres");
            return Ok(Server { url, watchdog: Some(watchdog) });
        }
        if directory.join("exited").exists() {
            break "ended while starting";
        }
        if Instant::now() >= deadline {
            break "was not ready in time";
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    let log = fs::read(directory.join("log")).unwrap_or_default();
    // Closes the watchdog's standard input, then waits until it has cleaned up.
    drop(watchdog.wait());
    Err(format!("the PostgreSQL of {} {problem}. Its log:\n{}", programs.display(), String::from_utf8_lossy(&log)))
}

/// The eighth line of the server's lock file is its state: what `pg_ctl start --wait` looks at, too.
fn is_ready(directory: &Path) -> bool {
    let lock = fs::read_to_string(directory.join("data/postmaster.pid")).unwrap_or_default();
    lock.lines().nth(7).is_some_and(|state| state.trim() == "ready")
}

fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// A new directory that the user who runs the server may enter.
fn create_directory() -> std::io::Result<PathBuf> {
    use std::os::unix::fs::PermissionsExt;

    let process = std::process::id();
    for number in 0.. {
        let directory = std::env::temp_dir().join(format!("konverse-postgres-{process}-{number}"));
        match fs::create_dir(&directory) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            outcome => {
                outcome?;
                fs::set_permissions(&directory, fs::Permissions::from_mode(0o755))?;
                return Ok(directory);
            }
        }
    }
    unreachable!("one of the numbers is free")
}

/// A connection for creating and removing databases. It ends when the client is dropped.
async fn admin() -> Client {
    let url = server_url();
    match tokio_postgres::connect(url, NoTls).await {
        Ok((client, connection)) => {
            tokio::spawn(connection);
            client
        }
        // The URL may hold a password; the driver's error does not.
        Err(error) => panic!("no connection to the PostgreSQL server for tests: {error:?}"),
    }
}

/// The URL of another database on the same server.
fn with_database(server: &str, name: &str) -> String {
    let (address, parameters) = match server.split_once('?') {
        Some((address, parameters)) => (address, format!("?{parameters}")),
        None => (server, String::new()),
    };
    let authority_at = address.find("://").map_or(0, |at| at + "://".len());
    let authority_end = address[authority_at..].find('/').map_or(address.len(), |at| authority_at + at);
    format!("{}/{name}{parameters}", &address[..authority_end])
}

fn quoted(identifier: &str) -> String {
    format!("\"{}\"", identifier.replace('"', "\"\""))
}

/// An environment variable; an empty one counts as not set.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn connect(url: &str) -> Client {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("connects");
        tokio::spawn(connection);
        client
    }

    async fn number(client: &Client, sql: &str) -> i32 {
        client.query_one(sql, &[]).await.expect("answers").get(0)
    }

    #[tokio::test]
    async fn the_server_answers() {
        assert_eq!(number(&admin().await, "SELECT 1").await, 1);
    }

    #[tokio::test]
    async fn fresh_databases_are_distinct_and_empty() {
        let (one, other) = tokio::join!(fresh_database(), fresh_database());
        assert_ne!(one.url, other.url);

        let client = connect(&one.url).await;
        client.batch_execute("CREATE TABLE parcel AS SELECT 7 AS id").await.expect("creates");

        let tables = "SELECT count(*)::int FROM pg_tables WHERE schemaname = 'public'";
        assert_eq!(number(&client, tables).await, 1);
        assert_eq!(number(&connect(&other.url).await, tables).await, 0);
    }

    #[tokio::test]
    async fn clones_hold_what_the_template_holds() {
        let template = fresh_database().await;
        let (client, connection) = tokio_postgres::connect(&template.url, NoTls).await.expect("connects");
        let connection = tokio::spawn(connection);
        client.batch_execute("CREATE TABLE parcel AS SELECT 7 AS id").await.expect("creates");
        drop(client);
        connection.await.expect("ends").expect("ends well");

        let (one, other) = tokio::join!(clone_of(template.name()), clone_of(template.name()));
        assert_ne!(one.name(), other.name());
        for database in [&one, &other] {
            assert_eq!(number(&connect(&database.url).await, "SELECT id FROM parcel").await, 7);
        }
    }

    #[test]
    fn another_database_keeps_server_and_parameters() {
        for (server, expected) in [
            ("postgres://ada@host:5433/postgres", "postgres://ada@host:5433/db"),
            ("postgres://ada@host", "postgres://ada@host/db"),
            ("postgres://ada@host/?sslmode=disable", "postgres://ada@host/db?sslmode=disable"),
            ("postgresql://ada@/x?host=/run/postgresql", "postgresql://ada@/db?host=/run/postgresql"),
        ] {
            assert_eq!(with_database(server, "db"), expected);
        }
    }
}
