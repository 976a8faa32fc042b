//! The servers that are compared: konverse, the same bytes from memory, and nginx with the same bytes as files.
//!
//! Each is a child process on a free port of the loopback interface, and ends with the value that stands for it.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::thread;

use anyhow::{Context, Result};
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use konverse_harness::{Limit, Process, free_port, konverse};
use rustix::process::{Pid, Signal};

use crate::load::{self, Ask, Recorded};

/// A running server.
pub(crate) struct Server {
    pub(crate) name: String,
    pub(crate) port: u16,
    process: Process,
    naming: Naming,
}

/// Under which name a server has a page.
#[derive(Clone, Copy)]
enum Naming {
    /// konverse's own path and query.
    Path,
    /// One flat file name.
    File,
}

/// A page of the list, and konverse's answer.
pub(crate) struct Page {
    /// Path and query, as konverse knows it.
    pub(crate) path: String,
    pub(crate) recorded: Recorded,
}

impl Server {
    /// Starts a server and waits until it answers `ready` with 200.
    fn start(
        name: &str,
        naming: Naming,
        command: &mut Command,
        port: u16,
        ready: &str,
        log: &Path,
        limit: Limit,
    ) -> Result<Self> {
        let ask = Ask::get(ready, "none");
        let is_served = |_: &str| load::is_served(port, &ask).then_some(());
        let (process, ()) = Process::start(command, Signal::TERM, log, limit, is_served)?;
        Ok(Self { name: name.to_owned(), port, process, naming })
    }

    /// The process that was started.
    pub(crate) fn pid(&self) -> Pid {
        self.process.id()
    }

    /// Where this server has the page of that number.
    pub(crate) fn path_of(&self, number: usize, page: &Page) -> String {
        match self.naming {
            Naming::Path => page.path.clone(),
            Naming::File => format!("/{number}"),
        }
    }
}

/// konverse serving a database, with these options besides.
pub(crate) fn start_konverse(
    program: &Path,
    database: &str,
    options: &[String],
    log: &Path,
    limit: Limit,
) -> Result<Server> {
    let port = free_port()?;
    let mut command = konverse(program);
    let listen = format!("127.0.0.1:{port}");
    command.args(["serve", "--database", database, "--listen", &listen, "--metrics-listen", "off"]).args(options);
    Server::start("konverse", Naming::Path, &mut command, port, "/healthz", log, limit)
}

/// The recorded answers from memory, through the HTTP stack and the allocator of konverse: the limit of that stack.
pub(crate) fn start_memory(pages: &[Page], work: &Path, limit: Limit) -> Result<Server> {
    let bodies = work.join("recorded");
    fs::write(&bodies, encode(pages))?;
    let port = free_port()?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["serve-memory", "--listen", &format!("127.0.0.1:{port}"), "--content-type", content_type(pages)]);
    command.arg("--bodies").arg(&bodies);
    Server::start(
        "bytes from memory, same stack",
        Naming::Path,
        &mut command,
        port,
        &pages[0].path,
        &work.join("memory.log"),
        limit,
    )
}

/// The recorded answers as static files.
pub(crate) fn start_nginx(program: &Path, pages: &[Page], work: &Path, limit: Limit) -> Result<Server> {
    let folder = work.join("nginx");
    let files = folder.join("files");
    fs::create_dir_all(&files)?;
    for (number, page) in pages.iter().enumerate() {
        fs::write(files.join(number.to_string()), &page.recorded.body)?;
    }
    let port = free_port()?;
    let config = folder.join("nginx.conf");
    fs::write(&config, nginx_config(&folder, port, content_type(pages))?)?;
    let mut command = Command::new(program);
    command.arg("-p").arg(&folder).arg("-c").arg(&config).arg("-e").arg(folder.join("error.log"));
    Server::start("nginx, static files", Naming::File, &mut command, port, "/0", &folder.join("out.log"), limit)
}

fn nginx_config(folder: &Path, port: u16, content_type: &str) -> Result<String> {
    let folder = folder.to_str().context("the working folder's name is not text")?;
    // As root, workers would run as an account that may not read the working folder.
    let user = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
    let workers = workers();
    Ok(format!(
        "{user}
daemon off;
worker_processes {workers};
pid \"{folder}/nginx.pid\";
error_log \"{folder}/error.log\";
events {{ worker_connections 1024; }}
http {{
    sendfile on;
    keepalive_requests 1000000;
    access_log off;
    default_type \"{content_type}\";
    client_body_temp_path \"{folder}/client_body\";
    proxy_temp_path \"{folder}/proxy\";
    fastcgi_temp_path \"{folder}/fastcgi\";
    uwsgi_temp_path \"{folder}/uwsgi\";
    scgi_temp_path \"{folder}/scgi\";
    server {{
        listen 127.0.0.1:{port};
        root \"{folder}/files\";
    }}
}}
"
    ))
}

/// Worker threads and processes: one a processor, as tokio has it.
pub(crate) fn workers() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// nginx on the `PATH`, or where Debian puts it outside the `PATH` of ordinary users.
pub(crate) fn find_nginx() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    folders.map(|folder| folder.join("nginx")).find(|file| file.is_file())
}

fn content_type(pages: &[Page]) -> &str {
    &pages[0].recorded.content_type
}

/// Paths and bodies one after the other, each after its length in four bytes.
fn encode(pages: &[Page]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for page in pages {
        for part in [page.path.as_bytes(), &page.recorded.body] {
            bytes.extend_from_slice(&(part.len() as u32).to_le_bytes());
            bytes.extend_from_slice(part);
        }
    }
    bytes
}

fn decode(bytes: Bytes) -> Result<HashMap<String, Bytes>> {
    let mut pages = HashMap::new();
    let mut rest = bytes;
    let mut part = || -> Option<Bytes> {
        let length = rest.get(..4)?.try_into().ok().map(u32::from_le_bytes)? as usize;
        let part = (rest.len() >= 4 + length).then(|| rest.slice(4..4 + length))?;
        rest = rest.slice(4 + length..);
        Some(part)
    };
    while let Some(path) = part() {
        let body = part().context("the recorded answers are cut off")?;
        pages.insert(String::from_utf8(path.to_vec())?, body);
    }
    Ok(pages)
}

struct Memory {
    content_type: HeaderValue,
    pages: HashMap<String, Bytes>,
}

async fn page(State(memory): State<Arc<Memory>>, uri: Uri) -> Response {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    match memory.pages.get(path) {
        Some(body) => ([(header::CONTENT_TYPE, memory.content_type.clone())], body.clone()).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

fn memory_router(content_type: &str, pages: HashMap<String, Bytes>) -> Result<Router> {
    let memory = Memory { content_type: content_type.parse()?, pages };
    Ok(Router::new().fallback(page).with_state(Arc::new(memory)))
}

/// The child's part of [`start_memory`]: serves until it is ended.
pub(crate) fn serve_memory(bodies: &Path, content_type: &str, listen: &str) -> Result<()> {
    let router = memory_router(content_type, decode(fs::read(bodies)?.into())?)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(workers()).enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(listen).await?;
        axum::serve(listener, router).await?;
        Ok(())
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use std::net::TcpListener;

    use super::*;

    /// The memory server inside the test, for as long as the test runs: its port.
    pub(crate) fn memory_server(content_type: &str, pages: Vec<(String, Vec<u8>)>) -> u16 {
        let pages = pages.into_iter().map(|(path, body)| (path, Bytes::from(body))).collect();
        let router = memory_router(content_type, pages).expect("a router");
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        listener.set_nonblocking(true).expect("a listener");
        let port = listener.local_addr().expect("an address").port();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
                axum::serve(listener, router).await.expect("serves");
            });
        });
        port
    }

    #[test]
    fn recorded_answers_come_back_as_they_were() {
        let pages = [("/a?b=c", "first"), ("/d", "")].map(|(path, body)| {
            let (content_type, content_encoding) = (String::new(), String::new());
            let recorded = Recorded { content_type, content_encoding, etag: None, body: body.into() };
            Page { path: path.to_owned(), recorded }
        });
        let encoded = encode(&pages);
        let decoded = decode(encoded.clone().into()).expect("decodes");
        assert_eq!(decoded.len(), 2);
        assert_eq!(decoded["/a?b=c"], "first");
        assert_eq!(decoded["/d"], "");
        let within_a_body = encoded.len() - 6;
        let cut = Bytes::from(encoded).slice(..within_a_body - 5);
        assert!(decode(cut).is_err());
    }

    #[test]
    fn nginx_is_told_to_keep_to_its_folder_and_the_loopback_interface() {
        let config = nginx_config(Path::new("/tmp/bench"), 8123, "application/json").expect("a config");
        assert!(config.contains("listen 127.0.0.1:8123;"));
        assert!(config.contains("pid \"/tmp/bench/nginx.pid\";"));
        assert_eq!(config.matches("temp_path \"/tmp/bench/").count(), 5);
    }
}
