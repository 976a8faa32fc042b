//! The command line. Every option can also be set by the environment variable its help names.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "commands answer on standard output and complain on standard error"
)]

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::error::{ContextKind, ContextValue};
use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum};
use konverse_api::ApiSettings;
use konverse_domain::{Domain, Field, ImportReport, NewToken, Settings};
use konverse_model::{Role, TokenId};

use crate::database::{Database, Sizes};
use crate::edge::EdgeOptions;
#[cfg(feature = "otel")]
use crate::otel;
use crate::redact::{is_secret, redacted};
use crate::search::SearchOptions;
use crate::serve::Serving;
use crate::telemetry::LogFormat;
use crate::{backup, check, conversations, demo, import, orgs, serve, telemetry};

/// Bytes of a SQLite file's pages that an import holds; the rest of its memory is for two batches of rows.
const IMPORT_CACHE: usize = 24 << 20;

/// Exit status of an import that refused rows.
const ROWS_REFUSED: u8 = 3;

/// The Kustomer REST API, served from a database you own.
///
/// `konverse demo` shows it with made-up data. To serve your own: create an org, create a token, import history if you
/// have any, and serve.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
struct Cli {
    /// What to log: a level (error, warn, info, debug, trace) or levels by module. At debug, each request is a line. Tokens,
    /// passwords and people's addresses and words are never logged; beyond info, libraries are silent for that reason.
    #[arg(long, global = true, env = "KONVERSE_LOG", default_value = "info", value_name = "FILTER")]
    log: String,
    /// How log lines look.
    #[arg(long, global = true, env = "KONVERSE_LOG_FORMAT", default_value = "text")]
    log_format: LogFormat,
    /// Where spans of requests go: an OpenTelemetry collector that speaks OTLP over HTTP, such as http://127.0.0.1:4318.
    #[cfg(feature = "otel")]
    #[arg(long, global = true, env = "KONVERSE_OTLP_ENDPOINT", value_name = "URL")]
    otlp_endpoint: Option<String>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serves a made-up org from a local file, and prints a first request to try.
    ///
    /// The data is the same every time, ids included. What you change stays in the file: a second start finds it again. A
    /// token is kept beside it, in a file that ends in .token and that only its owner may read.
    Demo(DemoOptions),
    /// Serves the API.
    ///
    /// Brings the database's schema up to date first. SIGTERM or SIGINT refuses new connections, lets running requests
    /// finish and then stops; a second signal cuts them off.
    Serve(Box<ServeOptions>),
    /// Manages orgs: the walls between tenants.
    #[command(subcommand)]
    Org(OrgCommand),
    /// Manages access tokens.
    #[command(subcommand)]
    Token(TokenCommand),
    /// Manages people.
    #[command(subcommand)]
    User(UserCommand),
    /// Imports history: files of users, teams, tags, companies, customers, conversations, messages and others.
    ///
    /// Each line of a file is the JSON body of the API's create operation. Ids, instants, status and authors are kept as
    /// given, derived attributes are computed, nothing is reopened. Rows that exist are left alone, so an import can be
    /// run again. Refused rows are reported with file, line and reason; then the exit status is 3.
    ///
    /// A row is at most 4 MiB of UTF-8. A file that cannot be read to its end (cut off, or unpacking to more than 400 times
    /// its size) is taken up to there; the import stops with exit status 1.
    Import(ImportOptions),
    /// Shows a customer's conversations, newest first.
    Conversations(ConversationsOptions),
    /// Counts again whatever is kept as a count and compares every record with what is kept beside it.
    ///
    /// Says a line for each difference: the org, the kind, the id, what is stored and what it should be; words, addresses and
    /// secrets are not shown. May run beside servers. The exit status is 0 when all is as it should be, 4 when there are
    /// differences that remain, and 1 when it could not be done.
    Check(CheckOptions),
    /// Copies a SQLite database to a file, while it is in use.
    ///
    /// The copy is of one moment, compact and looked through before it gets its name. For PostgreSQL, says which of its own
    /// tools to use, and exits with 2.
    Backup(BackupOptions),
    /// Puts a copy that `backup` made in a SQLite database's place.
    ///
    /// A database that is in use is never replaced. For PostgreSQL, says which of its own tools to use, and exits with 2.
    Restore(RestoreOptions),
}

#[derive(Debug, Args)]
struct DatabaseOption {
    /// The database: sqlite:FILE or postgres://USER:PASSWORD@HOST/DATABASE. In a password, write @ / ? & = as %40 %2F
    /// %3F %26 %3D.
    #[arg(long, env = "KONVERSE_DATABASE", value_name = "URL")]
    database: Database,
    /// Connections to hold to a PostgreSQL server.
    #[arg(long, env = "KONVERSE_POSTGRES_CONNECTIONS", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=1000))]
    postgres_connections: u16,
}

impl DatabaseOption {
    async fn domain(&self, settings: Settings) -> anyhow::Result<Arc<Domain>> {
        self.domain_within(Sizes::default(), settings).await
    }

    /// With these sizes of what is held of the database, but for the number of connections.
    async fn domain_within(&self, sizes: Sizes, settings: Settings) -> anyhow::Result<Arc<Domain>> {
        let sizes = Sizes { connections: self.postgres_connections.into(), ..sizes };
        self.database.domain(sizes, settings).await
    }
}

#[derive(Debug, Args)]
struct DemoOptions {
    /// The address to serve on.
    #[arg(long, env = "KONVERSE_LISTEN", default_value = "127.0.0.1:8080", value_name = "ADDR")]
    listen: SocketAddr,
    /// The file to keep the data in; created when missing.
    #[arg(long, env = "KONVERSE_DEMO_FILE", default_value = "konverse-demo.db", value_name = "FILE")]
    file: PathBuf,
}

/// What `fromDate` compares (contract `conversation-list.md` §5, question 1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "camelCase")]
enum FromDateField {
    #[default]
    UpdatedAt,
    CreatedAt,
}

/// The order of a customer's conversations (question 2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum ConversationOrder {
    #[default]
    NewestFirst,
    OldestFirst,
}

#[derive(Debug, Args)]
struct ServeOptions {
    #[command(flatten)]
    database: DatabaseOption,
    /// The address to serve on.
    #[arg(long, env = "KONVERSE_LISTEN", default_value = "127.0.0.1:8080", value_name = "ADDR")]
    listen: SocketAddr,
    /// The address to serve Prometheus metrics on, such as 127.0.0.1:9464. They are not collected without.
    #[arg(long, env = "KONVERSE_METRICS_LISTEN", default_value = "off", value_name = "ADDR", value_parser = address_or_off)]
    metrics_listen: OptionalAddress,
    /// Seconds running requests may still take after a signal to stop; 0 cuts them off.
    #[arg(long, env = "KONVERSE_DRAIN_SECONDS", default_value_t = 30, value_name = "SECONDS")]
    drain_seconds: u64,
    /// How long events are kept: 90d, 12h or 30m. Without it, for good. What follows the events and was away for longer
    /// begins anew.
    #[arg(long, env = "KONVERSE_KEEP_EVENTS", value_name = "SPAN", value_parser = orgs::span)]
    keep_events: Option<i64>,
    /// What the list's `fromDate` compares.
    #[arg(long, env = "KONVERSE_FROM_DATE_FIELD", default_value = "updatedAt", value_name = "FIELD")]
    from_date_field: FromDateField,
    /// The order of a customer's conversations.
    #[arg(long, env = "KONVERSE_CONVERSATION_ORDER", default_value = "newest-first", value_name = "ORDER")]
    conversation_order: ConversationOrder,
    /// The status a missing role is answered with: 403, or 401 as the 2025 documentation has it.
    #[arg(long, env = "KONVERSE_MISSING_ROLE_STATUS", default_value = "403", value_parser = ["401", "403"], value_name = "STATUS")]
    missing_role_status: String,
    /// Requests an org may make in a minute; 0 sets no limit.
    #[arg(long, env = "KONVERSE_REQUESTS_PER_MINUTE", default_value_t = 0, value_name = "NUMBER")]
    requests_per_minute: u32,
    /// Mebibytes of memory for what is kept to be used again: one half for answers, one half for pages of a SQLite file.
    /// Pages a file is mapped by come on top; the system takes them back when it needs to.
    #[arg(long, env = "KONVERSE_CACHE", default_value_t = 64, value_name = "MIB", value_parser = clap::value_parser!(u32).range(0..=1_048_576))]
    cache: u32,
    /// Seconds a write to a SQLite file may wait, while another process holds the file's lock or others are before it, and
    /// a long read for a thread; then 503. Other commands wait 30.
    #[arg(long, env = "KONVERSE_BUSY_SECONDS", default_value_t = 10, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=3600))]
    busy_seconds: u64,
    /// Mebibytes that must be free beside a SQLite file for /readyz to say that the server is ready.
    #[arg(long, env = "KONVERSE_LEAST_FREE_SPACE", default_value_t = 64, value_name = "MIB", value_parser = clap::value_parser!(u64).range(0..=1 << 40))]
    least_free_space: u64,
    /// Whether a SQLite file is read through a memory map. Off costs a list that is not in memory a third more, but where the
    /// file is cut short or its disk fails, the process is not killed by the system: the requests concerned fail.
    #[arg(long, env = "KONVERSE_MAP_FILE", default_value = "on", value_parser = ["on", "off"], value_name = "WHETHER")]
    map_file: String,
    /// Whether a SQLite file is looked through for damage after the start, slowly, beside everything else.
    #[arg(long, env = "KONVERSE_CHECK_AT_START", default_value = "on", value_parser = ["on", "off"], value_name = "WHETHER")]
    check_at_start: String,
    /// Mebibytes of records an answer may have: what a request holds in memory. A request for more is refused, and says what
    /// to ask for less of. Ordinary pages have a hundredth of it.
    #[arg(long, env = "KONVERSE_ANSWER_MIB", default_value_t = 64, value_name = "MIB", value_parser = clap::value_parser!(u32).range(16..=1024))]
    answer_mib: u32,
    /// Whether answers are compressed for clients that accept gzip or zstd.
    #[arg(long, env = "KONVERSE_COMPRESS", default_value = "auto", value_parser = ["auto", "off"], value_name = "WHEN")]
    compress: String,
    /// A proxy whose X-Forwarded-For is believed when a token's address range is checked, and which may have any number of
    /// connections. Can be repeated.
    #[arg(long, env = "KONVERSE_TRUSTED_PROXIES", value_delimiter = ',', value_name = "CIDR")]
    trusted_proxy: Vec<ipnet::IpNet>,
    /// An origin whose pages may sign people in and use the session's cookie: https://desk.example.com. Can be repeated.
    /// Pages of all others may send tokens, and no cookies.
    #[arg(long, env = "KONVERSE_ALLOW_ORIGINS", value_delimiter = ',', value_name = "ORIGIN", value_parser = orgs::origin)]
    allow_origin: Vec<String>,
    #[command(flatten)]
    search: SearchOptions,
    #[command(flatten)]
    edge: EdgeOptions,
}

/// An address, or none.
#[derive(Clone, Copy, Debug)]
struct OptionalAddress(Option<SocketAddr>);

fn address_or_off(text: &str) -> Result<OptionalAddress, String> {
    if text == "off" {
        return Ok(OptionalAddress(None));
    }
    text.parse().map(|address| OptionalAddress(Some(address))).map_err(|_| "must be ADDRESS:PORT or off".to_owned())
}

#[derive(Debug, Subcommand)]
enum OrgCommand {
    /// Creates an org and prints its id.
    Create {
        /// Its name: lower-case letters, digits and dashes.
        name: String,
        #[command(flatten)]
        database: DatabaseOption,
    },
    /// Lists the orgs.
    List {
        #[command(flatten)]
        database: DatabaseOption,
    },
}

#[derive(Debug, Args)]
struct OrgOption {
    /// The org's name.
    #[arg(long, env = "KONVERSE_ORG", value_name = "NAME")]
    org: String,
    #[command(flatten)]
    database: DatabaseOption,
}

#[derive(Debug, Subcommand)]
enum TokenCommand {
    /// Creates a token with its machine user and prints the token, which is never shown again.
    Create {
        #[command(flatten)]
        org: OrgOption,
        /// What the token is for; also the name of its machine user.
        #[arg(long, env = "KONVERSE_TOKEN_NAME", value_name = "LABEL")]
        name: String,
        /// A role it holds: org.permission.conversation.read, org.user, org … Can be repeated; fixed for good.
        #[arg(long, env = "KONVERSE_TOKEN_ROLES", value_delimiter = ',', required = true, value_name = "ROLE")]
        role: Vec<Role>,
        /// When it stops working: 90d, 12h or 30m from now. Without it, never.
        #[arg(long, env = "KONVERSE_TOKEN_EXPIRES", value_name = "SPAN", value_parser = orgs::span)]
        expires: Option<i64>,
        /// The only addresses it may be used from, such as 203.0.113.0/24.
        #[arg(long, env = "KONVERSE_TOKEN_CIDR", value_name = "CIDR")]
        cidr: Option<ipnet::IpNet>,
    },
    /// Lists the org's tokens.
    List {
        #[command(flatten)]
        org: OrgOption,
    },
    /// Revokes a token: from the next request on it is refused.
    Revoke {
        /// The token's id, as `token list` shows it.
        id: TokenId,
        #[command(flatten)]
        org: OrgOption,
    },
}

#[derive(Debug, Subcommand)]
enum UserCommand {
    /// Gives a person a password, read from standard input: its first line. At a terminal it is asked for and not shown.
    ///
    /// Ends the person's sessions. A person is created with POST /v1/users or imported.
    Password {
        #[command(flatten)]
        org: OrgOption,
        /// The person's address.
        #[arg(long, env = "KONVERSE_USER_EMAIL", value_name = "ADDRESS")]
        email: String,
    },
}

#[derive(Debug, Args)]
struct ImportOptions {
    #[command(flatten)]
    org: OrgOption,
    /// Folders or files: {users,teams,tags,companies,shortcuts,brands,slas,queues,customers,conversations,messages,notes}.jsonl, also .gz or .zst.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
}

#[derive(Debug, Args)]
struct ConversationsOptions {
    /// The customer: an id, an e-mail address or an external id.
    customer: String,
    #[command(flatten)]
    org: OrgOption,
    /// One JSON object a line instead of a table.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct CheckOptions {
    #[command(flatten)]
    database: DatabaseOption,
    /// The org to check. Without it, all of them.
    #[arg(long, env = "KONVERSE_ORG", value_name = "NAME")]
    org: Option<String>,
    /// Mends what follows from something else: counts, and what is kept beside a record. What cannot be mended is said.
    #[arg(long)]
    repair: bool,
}

#[derive(Debug, Args)]
struct BackupOptions {
    /// The file to make.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    database: DatabaseOption,
    /// Replaces the file if it is an older copy.
    #[arg(long)]
    force: bool,
}

#[derive(Debug, Args)]
struct RestoreOptions {
    /// The copy.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    database: DatabaseOption,
    /// Replaces the database if there is one.
    #[arg(long)]
    force: bool,
}

/// Runs the program.
pub fn main() -> ExitCode {
    let mut command = without_values(Cli::command());
    let matched = command.try_get_matches_from_mut(std::env::args_os());
    let cli = match matched.and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => cli,
        Err(error) => return complain(&without_secrets(error.format(&mut command))),
    };
    let run = || -> anyhow::Result<ExitCode> {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start threads")?;
        #[cfg(feature = "otel")]
        let exported = otel::export(cli.otlp_endpoint.as_deref(), runtime.handle())?;
        #[cfg(feature = "otel")]
        telemetry::log(&cli.log, cli.log_format, exported.as_ref().map(otel::Exported::spans))?;
        #[cfg(not(feature = "otel"))]
        telemetry::log(&cli.log, cli.log_format, None)?;
        runtime.block_on(run(cli.command))
    };
    run().unwrap_or_else(|error| {
        eprintln!("konverse: {}", redacted(&format!("{error:#}")));
        ExitCode::FAILURE
    })
}

/// The command line, whose help does not repeat what the environment's variables say.
fn without_values(command: clap::Command) -> clap::Command {
    command.mut_args(|option| option.hide_env_values(true)).mut_subcommands(without_values)
}

/// Shows a complaint about the command line, or the help that was asked for.
fn complain(error: &clap::Error) -> ExitCode {
    let text = error.render().to_string();
    let shown = redacted(&text);
    let _ = match (shown == text, error.use_stderr()) {
        (true, _) => error.print(),
        (false, true) => write!(std::io::stderr(), "{shown}"),
        (false, false) => write!(std::io::stdout(), "{shown}"),
    };
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(1))
}

/// Takes out of a complaint about the command line what it repeats of it: a database's URL may hold a password, also when
/// it is misspelt or stands in the wrong place, and lists are taken apart.
fn without_secrets(mut error: clap::Error) -> clap::Error {
    let of_database = matches!(error.get(ContextKind::InvalidArg), Some(ContextValue::String(name)) if name.starts_with("--database"));
    let secret = |kind, value: &ContextValue| match value {
        ContextValue::String(text) => is_secret(text) || (of_database && kind == ContextKind::InvalidValue),
        ContextValue::Strings(texts) => texts.iter().any(|text| is_secret(text)),
        ContextValue::StyledStr(text) => is_secret(&text.to_string()),
        ContextValue::StyledStrs(texts) => texts.iter().any(|text| is_secret(&text.to_string())),
        _ => false,
    };
    let secrets: Vec<_> = error
        .context()
        .filter(|(kind, value)| secret(*kind, value))
        .map(|(kind, value)| (kind, value.clone()))
        .collect();
    for (kind, value) in secrets {
        match value {
            ContextValue::String(_) => drop(error.insert(kind, ContextValue::String("…".to_owned()))),
            _ => drop(error.remove(kind)),
        }
    }
    error
}

/// Tells a line on standard output. Whoever read it may have ended; the work and its exit status do not depend on them.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{}", redacted(line));
}

async fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Demo(options) => demo::demo(options.listen, &options.file, &|text| say(&text)).await?,
        Command::Serve(options) => serve(*options).await?,
        Command::Org(OrgCommand::Create { name, database }) => {
            let org = database.domain(Settings::default()).await?.create_org(&name).await?;
            println!("{}", org.id);
        }
        Command::Org(OrgCommand::List { database }) => {
            for org in database.domain(Settings::default()).await?.orgs().await? {
                println!("{} {}", org.id, org.name);
            }
        }
        Command::Token(command) => token(command).await?,
        Command::User(UserCommand::Password { org, email }) => {
            let domain = org.database.domain(Settings::default()).await?;
            let org = orgs::org_named(&domain, &org.org).await?;
            let password = orgs::read_password()?;
            let user = orgs::set_password(&domain, &org, &email, &password).await?;
            println!("{user}");
        }
        Command::Import(options) => return import_files(options).await,
        Command::Conversations(options) => {
            let domain = options.org.database.domain(Settings::default()).await?;
            let org = orgs::org_named(&domain, &options.org.org).await?;
            // What is stored is shown as it is.
            let say = |line: &str| drop(writeln!(std::io::stdout(), "{line}"));
            conversations::show(&domain, &org, &options.customer, options.json, &say).await?;
        }
        Command::Check(options) => {
            // Other commands make a file that is missing; that one would be found to be right.
            if let Database::Sqlite(file) = &options.database.database {
                anyhow::ensure!(Path::new(file).exists(), "there is no file {file}");
            }
            let domain = options.database.domain(Settings::default()).await?;
            let org = options.org.as_deref();
            return check::check(&domain, org, options.repair, &say).await;
        }
        Command::Backup(BackupOptions { file, database, force }) => {
            let task = backup::Task::Backup;
            return backup::run(task, &database.database, &file, force, &say).await;
        }
        Command::Restore(RestoreOptions { file, database, force }) => {
            let task = backup::Task::Restore;
            return backup::run(task, &database.database, &file, force, &say).await;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn serve(options: ServeOptions) -> anyhow::Result<()> {
    let settings = Settings {
        from_date: match options.from_date_field {
            FromDateField::UpdatedAt => Field::UpdatedAt,
            FromDateField::CreatedAt => Field::CreatedAt,
        },
        newest_first: options.conversation_order == ConversationOrder::NewestFirst,
        answer: (options.answer_mib as usize) << 20,
        search_walls: options.search.walls(),
    };
    let limits = options.edge.limits(options.database.postgres_connections.into());
    let tls = options.edge.tls()?;
    let half = (options.cache as usize) << 19;
    let sizes = Sizes {
        cache: half,
        longest_wait: Duration::from_secs(options.busy_seconds),
        least_free: options.least_free_space << 20,
        map: options.map_file == "on",
        ..Sizes::default()
    };
    let sizes = Sizes { connections: options.database.postgres_connections.into(), ..sizes };
    let index = || options.search.open(&options.database.database);
    let domain = options.database.database.searched(sizes, settings, index).await?;
    let serving = Serving {
        listen: options.listen,
        metrics_listen: options.metrics_listen.0,
        drain: Duration::from_secs(options.drain_seconds),
        keep_events: options.keep_events,
        check: options.check_at_start == "on",
        api: ApiSettings {
            missing_role_status: if options.missing_role_status == "401" { 401 } else { 403 },
            requests_per_minute: options.requests_per_minute,
            trusted_proxies: options.trusted_proxy,
            allowed_origins: options.allow_origin,
            compress: options.compress == "auto",
            answers: half,
        },
        limits,
        tls,
    };
    serve::serve(domain, serving, |_| {}).await
}

async fn token(command: TokenCommand) -> anyhow::Result<()> {
    match command {
        TokenCommand::Create { org, name, role, expires, cidr } => {
            let domain = org.database.domain(Settings::default()).await?;
            let expires_at = expires.map(|span| domain.now().plus(span));
            let org = orgs::org_named(&domain, &org.org).await?;
            let minted = orgs::create_token(&domain, &org, NewToken { name, roles: role, expires_at, cidr }).await?;
            println!("{}", minted.secret);
        }
        TokenCommand::List { org } => {
            let domain = org.database.domain(Settings::default()).await?;
            let org = orgs::org_named(&domain, &org.org).await?;
            println!("{}", orgs::token_table(&domain, &org).await?);
        }
        TokenCommand::Revoke { id, org } => {
            let domain = org.database.domain(Settings::default()).await?;
            let org = orgs::org_named(&domain, &org.org).await?;
            orgs::revoke(&domain, &org, id).await?;
        }
    }
    Ok(())
}

async fn import_files(options: ImportOptions) -> anyhow::Result<ExitCode> {
    let sizes = Sizes { cache: IMPORT_CACHE, ..Sizes::default() };
    let domain = options.org.database.domain_within(sizes, Settings::default()).await?;
    let org = orgs::org_named(&domain, &options.org.org).await?;
    let started = std::time::Instant::now();
    let sources = import::sources(&options.paths)?;
    let mut report = ImportReport::default();
    let ended = import::import(&domain, &org, &sources, &mut report, &|line| eprintln!("{}", redacted(&line))).await;
    println!(
        "{} created, {} already there, {} refused, in {:.1} s",
        report.created,
        report.present,
        report.rejected,
        started.elapsed().as_secs_f64()
    );
    ended?;
    Ok(if report.rejected == 0 { ExitCode::SUCCESS } else { ExitCode::from(ROWS_REFUSED) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent_and_every_option_has_an_environment_variable() {
        let mut command = Cli::command();
        command.build();
        command.clone().debug_assert();
        fn check(command: &clap::Command) {
            for option in command.get_opts().filter(|option| option.get_action().takes_values()) {
                assert!(option.get_env().is_some(), "{} --{}", command.get_name(), option.get_id());
            }
            command.get_subcommands().for_each(check);
        }
        check(&command);
    }
}
