//! A client as a careful program would have it: one kept connection, every wait bounded, and three fates of a request told
//! apart: answered, surely not received, unclear.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

/// How long any answer may take before it counts as one that never comes. A server may give up at thirty seconds, and is
/// then to say so.
pub(crate) const PATIENCE: Duration = Duration::from_secs(45);

/// A connection to a server, made when it is needed, with the token of an org.
#[derive(Debug)]
pub(crate) struct Client {
    port: u16,
    token: String,
    patience: Duration,
    stream: Option<TcpStream>,
    buffer: Vec<u8>,
}

/// What became of a request.
#[derive(Debug)]
pub(crate) enum Fate {
    /// It was answered.
    Answered(Reply),
    /// There was nobody to send it to: nothing can have come of it.
    NotSent,
    /// The connection broke: it was done or not.
    Unclear,
    /// No answer came in time.
    Silence,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Reply {
    /// The status.
    pub(crate) status: u16,
    /// The body: JSON, or null without one.
    pub(crate) body: Value,
    /// Whether it says when to try again: then nothing was done.
    pub(crate) retry: bool,
}

impl Client {
    /// A client of a server on this port.
    pub(crate) fn new(port: u16, token: &str) -> Self {
        Self { port, token: token.to_owned(), patience: PATIENCE, stream: None, buffer: vec![0; 64 * 1024] }
    }

    /// The same, less patient.
    pub(crate) fn waiting(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Sends a request.
    pub(crate) fn send(&mut self, method: &str, path: &str, body: Option<&Value>) -> Fate {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => match self.connect() {
                Ok(stream) => stream,
                Err(_) => return Fate::NotSent,
            },
        };
        let body = body.map(Value::to_string).unwrap_or_default();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            self.token,
            body.len()
        );
        let sent = Instant::now();
        let answer = stream.write_all(request.as_bytes()).map_err(Into::into).and_then(|()| self.receive(&mut stream));
        match answer {
            Ok((reply, kept)) => {
                self.stream = kept.then_some(stream);
                Fate::Answered(reply)
            }
            Err(_) if sent.elapsed() >= self.patience => Fate::Silence,
            Err(_) => Fate::Unclear,
        }
    }

    /// An answer, whatever it says; without one it is an error.
    pub(crate) fn ask(&mut self, method: &str, path: &str, body: Option<&Value>) -> Result<Reply> {
        let mut fate = self.send(method, path, body);
        if matches!(fate, Fate::Unclear) && method == "GET" {
            // The server may close a connection that was kept for long.
            fate = self.send(method, path, body);
        }
        match fate {
            Fate::Answered(reply) => Ok(reply),
            Fate::Silence => bail!("{method} {path} was not answered within {:?}", self.patience),
            fate => bail!("{method} {path} was not answered: {fate:?}"),
        }
    }

    /// GET.
    pub(crate) fn get(&mut self, path: &str) -> Result<Reply> {
        self.ask("GET", path, None)
    }

    /// POST of something new, or of what is done; gives the record.
    pub(crate) fn create(&mut self, path: &str, body: &Value) -> Result<Value> {
        let reply = self.ask("POST", path, Some(body))?;
        ensure!(reply.status == 201, "POST {path} was answered {}: {}", reply.status, reply.body);
        Ok(reply.body["data"].clone())
    }

    /// The body of a 200.
    pub(crate) fn read(&mut self, path: &str) -> Result<Value> {
        let reply = self.get(path)?;
        ensure!(reply.status == 200, "GET {path} was answered {}: {}", reply.status, reply.body);
        Ok(reply.body)
    }

    fn connect(&self) -> std::io::Result<TcpStream> {
        let address = SocketAddr::from(([127, 0, 0, 1], self.port));
        let stream = TcpStream::connect_timeout(&address, self.patience)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(self.patience))?;
        stream.set_write_timeout(Some(self.patience))?;
        Ok(stream)
    }

    /// An answer, and whether the connection may be used again.
    fn receive(&mut self, stream: &mut TcpStream) -> Result<(Reply, bool)> {
        let mut filled = 0;
        let head_end = loop {
            self.fill(stream, &mut filled)?;
            if let Some(at) = self.buffer[..filled].windows(4).position(|window| window == b"\r\n\r\n") {
                break at;
            }
        };
        let head = std::str::from_utf8(&self.buffer[..head_end]).context("a head that is no text")?;
        let status: u16 = head.split(' ').nth(1).and_then(|status| status.parse().ok()).context("no status")?;
        let field = |name: &str| {
            let lines = head.lines().filter_map(|line| line.split_once(':'));
            lines.filter(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim().to_owned()).next()
        };
        let kept = field("connection").as_deref() != Some("close");
        let retry = field("retry-after").is_some();
        let length = match field("content-length") {
            _ if matches!(status, 204 | 304) => 0,
            Some(length) => length.parse().context("a length that is no number")?,
            None => bail!("an answer without a length"),
        };
        let start = head_end + 4;
        if self.buffer.len() < start + length {
            self.buffer.resize(start + length, 0);
        }
        while filled < start + length {
            self.fill(stream, &mut filled)?;
        }
        let body = &self.buffer[start..start + length];
        let body = serde_json::from_slice(body).unwrap_or_else(|_| String::from_utf8_lossy(body).into());
        Ok((Reply { status, body: if length == 0 { Value::Null } else { body }, retry }, kept))
    }

    fn fill(&mut self, stream: &mut TcpStream, filled: &mut usize) -> Result<()> {
        if *filled == self.buffer.len() {
            self.buffer.resize(2 * *filled, 0);
        }
        match stream.read(&mut self.buffer[*filled..])? {
            0 => bail!("the connection was closed"),
            count => *filled += count,
        }
        Ok(())
    }
}
