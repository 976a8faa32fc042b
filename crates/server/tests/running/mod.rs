//! A child process that serves, and what a client needs to speak to it. Every wait has an end.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::Value;

/// How long anything may take before a test gives up: generous, since nothing is concluded from how long it took.
const PATIENCE: Duration = Duration::from_secs(60);

/// The program, serving. It is killed when this is dropped.
pub(crate) struct Running {
    pub(crate) child: Child,
    /// Lines of standard error; the channel ends with the process.
    lines: Receiver<String>,
    /// What was logged until it served.
    pub(crate) log: String,
    /// Where it serves.
    pub(crate) address: SocketAddr,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Running {
    /// Starts the program in a folder and waits until it serves.
    pub(crate) fn start(folder: &Path, args: &[&str]) -> Self {
        Self::start_within(folder, args, &[])
    }

    /// The same with an environment of these variables alone.
    pub(crate) fn start_within(folder: &Path, args: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_konverse"));
        Self::of(command.args(args), folder, environment)
    }

    /// Runs a command that ends up being the program, and waits until it serves.
    pub(crate) fn of(command: &mut Command, folder: &Path, environment: &[(&str, &str)]) -> Self {
        let mut child = command
            .current_dir(folder)
            .env_clear()
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let stderr = BufReader::new(child.stderr.take().expect("a pipe"));
        let (sender, lines) = channel();
        // Reads on to the end, so that the program never waits for a reader of its log.
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut running = Self { child, lines, log: String::new(), address };
        let line = running.logs("serving on ");
        let address = line.split_once("://").map(|(_, address)| address);
        // In JSON, quotes follow.
        let address = address.and_then(|address| address.split('"').next()?.parse().ok());
        running.address = address.unwrap_or_else(|| panic!("no address: {line}"));
        running
    }

    /// Sends a signal by name.
    pub(crate) fn signal(&self, name: &str) {
        // The shell's own kill: not every machine has one as a program.
        let kill = ["-c", "kill -s \"$0\" \"$1\"", name, &self.child.id().to_string()].map(str::to_owned);
        assert!(Command::new("sh").args(kill).status().expect("a shell").success());
    }

    /// Waits until it logs a line with this in it.
    pub(crate) fn logs(&mut self, text: &str) -> String {
        loop {
            let line = self.lines.recv_timeout(PATIENCE);
            let line = line.unwrap_or_else(|_| panic!("{text:?} is never logged: {self:?}"));
            self.log += &format!("{line}\n");
            if line.contains(text) {
                return line;
            }
        }
    }

    /// Waits for its end: the exit status, if it ended by itself, and everything it logged.
    pub(crate) fn ended(mut self) -> (Option<i32>, String) {
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => self.log += &format!("{line}\n"),
                Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => break,
                Err(std::sync::mpsc::RecvTimeoutError::Timeout) => panic!("it does not end: {self:?}"),
            }
        }
        let status = self.child.wait().expect("it has ended").code();
        (status, std::mem::take(&mut self.log))
    }

    /// A connection to it.
    pub(crate) fn connect(&self) -> TcpStream {
        connection(self.address).expect("it accepts connections")
    }

    /// GET: the status and the body.
    pub(crate) fn get(&self, path: &str, token: &str) -> (u16, Value) {
        let mut stream = self.connect();
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nhost: konverse\r\nauthorization: Bearer {token}\r\nconnection: close\r\n\r\n"
        )
        .expect("it is sent");
        let (status, body) = answer(&mut stream);
        (status, serde_json::from_str(&body).unwrap_or(Value::String(body)))
    }
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.log)
    }
}

/// A connection that does not wait for ever.
pub(crate) fn connection(address: SocketAddr) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Reads an answer up to the end of the connection: the status and the body.
pub(crate) fn answer(stream: &mut TcpStream) -> (u16, String) {
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("an answer");
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    (status, body.to_owned())
}
