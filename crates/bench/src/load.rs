//! The load: requests made before the clock starts, and the client that sends them.
//!
//! Blocking sockets, one thread a connection, one request at a time on each.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use konverse_harness::Limit;

/// How long an answer may take before the run is given up.
const PATIENCE: Duration = Duration::from_secs(60);

/// One request, and what has to come back.
pub(crate) struct Ask {
    bytes: Vec<u8>,
    status: u16,
    /// The length of the body, where it is known: another length is a failure.
    length: Option<usize>,
}

impl Ask {
    /// A `GET` that is answered with 200.
    pub(crate) fn get(path: &str, token: &str) -> Self {
        Self::get_with(path, token, &[])
    }

    /// The same with more headers.
    pub(crate) fn get_with(path: &str, token: &str, headers: &[(&str, &str)]) -> Self {
        let more: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let text = format!(
            "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\nAccept: application/json\r\n{more}\r\n"
        );
        Self { bytes: text.into_bytes(), status: 200, length: None }
    }

    /// A `POST` of JSON that is answered with 201.
    pub(crate) fn post(path: &str, token: &str, body: &str) -> Self {
        let text = format!(
            "POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\nAccept: application/json\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        Self { bytes: text.into_bytes(), status: 201, length: None }
    }

    /// Another status is expected.
    pub(crate) fn expecting(self, status: u16) -> Self {
        Self { status, ..self }
    }

    /// Every answer has a body of this length.
    pub(crate) fn of_length(self, length: usize) -> Self {
        Self { length: Some(length), ..self }
    }

    fn line(&self) -> String {
        String::from_utf8_lossy(&self.bytes).lines().next().unwrap_or_default().to_owned()
    }

    fn check(&self, answer: &Answer<'_>) -> Result<()> {
        let as_long = self.length.is_none_or(|length| length == answer.body.len());
        ensure!(
            answer.status == self.status && as_long,
            "status {} with {} bytes where {} with {} were expected, asked for\n{}\nanswered\n{}",
            answer.status,
            answer.body.len(),
            self.status,
            self.length.map_or_else(|| "any".to_owned(), |length| length.to_string()),
            self.line(),
            String::from_utf8_lossy(&answer.body[..answer.body.len().min(500)])
        );
        Ok(())
    }
}

/// Requests for one server.
#[derive(Clone, Copy)]
pub(crate) struct Load<'a> {
    pub(crate) port: u16,
    pub(crate) connections: usize,
    pub(crate) asks: &'a [Ask],
    /// Which of them is sent at each step; after the last the first comes again.
    pub(crate) picks: &'a [usize],
    /// Requests a second, of all connections; otherwise as many as are answered.
    pub(crate) pace: Option<f64>,
    pub(crate) limit: Limit,
}

/// The end of a load: whichever comes first.
#[derive(Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) count: usize,
    pub(crate) time: Duration,
}

impl Bounds {
    /// A quarter of it, sent before anything is measured.
    pub(crate) fn warm_up(self) -> Self {
        Self { count: self.count.div_ceil(4), time: self.time / 4 }
    }
}

/// What a load has moved.
#[derive(Debug)]
pub(crate) struct Moved {
    pub(crate) count: usize,
    pub(crate) body_bytes: u64,
    pub(crate) wall: Duration,
    /// How long each answer took, shortest first.
    latencies: Vec<Duration>,
}

impl Moved {
    /// The time within which this part of the answers came.
    pub(crate) fn quantile(&self, part: f64) -> Duration {
        let last = self.latencies.len().saturating_sub(1);
        self.latencies.get((last as f64 * part).round() as usize).copied().unwrap_or_default()
    }
}

#[derive(Default)]
struct Share {
    body_bytes: u64,
    latencies: Vec<Duration>,
}

impl Load<'_> {
    /// Sends the requests, spread evenly over the connections, and checks every answer.
    pub(crate) fn send(&self, bounds: Bounds) -> Result<Moved> {
        let clients = (0..self.connections).map(|_| Client::connect(self.port)).collect::<Result<Vec<_>>>()?;
        let started = Instant::now();
        let shares: Result<Vec<Share>> = thread::scope(|scope| {
            let threads: Vec<_> = clients
                .into_iter()
                .enumerate()
                .map(|(n, client)| scope.spawn(move || self.send_share(client, n, bounds, started)))
                .collect();
            threads.into_iter().map(|thread| thread.join().expect("a load thread does not panic")).collect()
        });
        let wall = started.elapsed();
        let shares = shares?;
        let body_bytes = shares.iter().map(|share| share.body_bytes).sum();
        let mut latencies: Vec<_> = shares.into_iter().flat_map(|share| share.latencies).collect();
        latencies.sort_unstable();
        Ok(Moved { count: latencies.len(), body_bytes, wall, latencies })
    }

    fn send_share(&self, mut client: Client, first: usize, bounds: Bounds, started: Instant) -> Result<Share> {
        let mut share = Share::default();
        for step in (first..bounds.count).step_by(self.connections) {
            self.limit.check()?;
            if let Some(pace) = self.pace {
                let due = Duration::from_secs_f64(step as f64 / pace);
                if due >= bounds.time {
                    break;
                }
                sleep(due.saturating_sub(started.elapsed()));
            }
            let sent = started.elapsed();
            if sent >= bounds.time {
                break;
            }
            let ask = &self.asks[self.picks[step % self.picks.len()]];
            let answer = client.ask(ask)?;
            ask.check(&answer)?;
            share.body_bytes += answer.body.len() as u64;
            share.latencies.push(started.elapsed() - sent);
        }
        Ok(share)
    }
}

/// An answer that was kept.
pub(crate) struct Recorded {
    pub(crate) content_type: String,
    pub(crate) content_encoding: String,
    pub(crate) etag: Option<String>,
    pub(crate) body: Vec<u8>,
}

/// Sends each request once and keeps the answers.
pub(crate) fn record(port: u16, asks: &[Ask], limit: Limit) -> Result<Vec<Recorded>> {
    let mut client = Client::connect(port)?;
    let mut recorded = Vec::with_capacity(asks.len());
    for ask in asks {
        limit.check()?;
        let answer = client.ask(ask)?;
        ask.check(&answer)?;
        recorded.push(Recorded {
            content_type: answer.head.content_type.clone(),
            content_encoding: answer.head.content_encoding.clone(),
            etag: answer.head.etag.clone(),
            body: answer.body.to_vec(),
        });
    }
    Ok(recorded)
}

/// Whether this port answers this request as it expects.
pub(crate) fn is_served(port: u16, ask: &Ask) -> bool {
    Client::connect(port).is_ok_and(|mut client| client.ask(ask).is_ok_and(|answer| ask.check(&answer).is_ok()))
}

/// One kept connection.
struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
}

struct Answer<'a> {
    status: u16,
    head: Head,
    body: &'a [u8],
}

impl Client {
    fn connect(port: u16) -> Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port)).with_context(|| format!("port {port}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { stream, buffer: vec![0; 256 * 1024] })
    }

    fn ask(&mut self, ask: &Ask) -> Result<Answer<'_>> {
        self.stream.write_all(&ask.bytes)?;
        let mut filled = 0;
        let head_end = loop {
            self.receive(&mut filled)?;
            if let Some(at) = find(&self.buffer[..filled], b"\r\n\r\n") {
                break at;
            }
        };
        let head = parse_head(&self.buffer[..head_end])?;
        let start = head_end + 4;
        let end = match head.length {
            Length::Of(length) => {
                self.receive_to(&mut filled, start + length)?;
                ensure!(filled == start + length, "bytes after the end of an answer");
                filled
            }
            Length::Chunked => self.receive_chunks(&mut filled, start)?,
        };
        Ok(Answer { status: head.status, head, body: &self.buffer[start..end] })
    }

    fn receive(&mut self, filled: &mut usize) -> Result<()> {
        if *filled == self.buffer.len() {
            self.buffer.resize(2 * *filled, 0);
        }
        match self.stream.read(&mut self.buffer[*filled..]).context("reading an answer")? {
            0 => bail!("the server closed a kept connection"),
            count => *filled += count,
        }
        Ok(())
    }

    fn receive_to(&mut self, filled: &mut usize, end: usize) -> Result<()> {
        if self.buffer.len() < end {
            self.buffer.resize(end, 0);
        }
        while *filled < end {
            self.receive(filled)?;
        }
        Ok(())
    }

    /// Moves the chunks together, so that the body begins at `start`; returns its end.
    fn receive_chunks(&mut self, filled: &mut usize, start: usize) -> Result<usize> {
        let (mut read, mut end) = (start, start);
        loop {
            let line = loop {
                match find(&self.buffer[read..*filled], b"\r\n") {
                    Some(length) => break read..read + length,
                    None => self.receive(filled)?,
                }
            };
            let size = std::str::from_utf8(&self.buffer[line.clone()])?.split(';').next().unwrap_or_default();
            let size = usize::from_str_radix(size.trim(), 16).with_context(|| format!("a chunk of {size:?} bytes"))?;
            let data = line.end + 2;
            self.receive_to(filled, data + size + 2)?;
            if size == 0 {
                ensure!(*filled == data + 2, "bytes after the end of an answer");
                return Ok(end);
            }
            self.buffer.copy_within(data..data + size, end);
            end += size;
            read = data + size + 2;
        }
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

enum Length {
    Of(usize),
    Chunked,
}

struct Head {
    status: u16,
    length: Length,
    content_type: String,
    content_encoding: String,
    etag: Option<String>,
}

fn parse_head(bytes: &[u8]) -> Result<Head> {
    let text = std::str::from_utf8(bytes).context("the head of an answer is not text")?;
    let mut lines = text.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|number| number.parse().ok());
    let status = status.with_context(|| format!("no status in {text:?}"))?;
    // These have no body, whatever their headers say.
    let mut length = matches!(status, 204 | 304).then_some(Length::Of(0));
    let (mut content_type, mut content_encoding, mut etag) = (String::new(), String::new(), None);
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        let value = value.trim();
        if name.eq_ignore_ascii_case("content-length") && length.is_none() {
            length = value.parse().ok().map(Length::Of);
        } else if name.eq_ignore_ascii_case("transfer-encoding") && value.eq_ignore_ascii_case("chunked") {
            length = length.or(Some(Length::Chunked));
        } else if name.eq_ignore_ascii_case("content-type") {
            content_type = value.to_owned();
        } else if name.eq_ignore_ascii_case("content-encoding") {
            content_encoding = value.to_owned();
        } else if name.eq_ignore_ascii_case("etag") {
            etag = Some(value.to_owned());
        }
    }
    let length = length.with_context(|| format!("no length in {text:?}"))?;
    Ok(Head { status, length, content_type, content_encoding, etag })
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::servers::tests::memory_server;

    const EVERYTHING: Bounds = Bounds { count: 500, time: Duration::from_secs(60) };

    #[test]
    fn a_head_is_read_whatever_the_case_of_its_names() {
        let head =
            parse_head(b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\ncontent-type: application/json\r\nETag: \"a\"")
                .expect("parses");
        assert_eq!((head.status, &*head.content_type, head.etag.as_deref()), (200, "application/json", Some("\"a\"")));
        assert!(matches!(head.length, Length::Of(12)));
        assert!(matches!(parse_head(b"HTTP/1.1 304 Not Modified").expect("parses").length, Length::Of(0)));
        assert!(parse_head(b"HTTP/1.1 200 OK\r\nserver: none").is_err());
    }

    #[test]
    fn a_load_over_kept_connections_gets_every_page() {
        let bodies = [b"one".to_vec(), vec![b'x'; 300_000], Vec::new()];
        let paths = ["/a", "/b", "/c"];
        let pages = paths.iter().zip(&bodies).map(|(path, body)| ((*path).to_owned(), body.clone()));
        let port = memory_server("application/json", pages.collect());
        let limit = Limit::after(Duration::from_secs(60));
        let asks: Vec<_> = paths.iter().map(|path| Ask::get(path, "secret")).collect();

        let recorded = record(port, &asks, limit).expect("records");
        assert!(recorded.iter().zip(&bodies).all(|(recorded, body)| recorded.body == *body));
        assert_eq!(recorded[0].content_type, "application/json");

        let asks: Vec<_> = asks.into_iter().zip(&bodies).map(|(ask, body)| ask.of_length(body.len())).collect();
        let load = Load { port, connections: 3, asks: &asks, picks: &[0, 1, 0, 2], pace: None, limit };
        let moved = load.send(EVERYTHING).expect("loads");
        assert_eq!(moved.count, 500);
        assert_eq!(moved.body_bytes, 125 * (3 + 300_000 + 3));
        assert!(moved.quantile(0.5) <= moved.quantile(0.99));

        let wrong = [Ask::get("/a", "secret").of_length(1)];
        assert!(Load { asks: &wrong, picks: &[0], ..load }.send(EVERYTHING).is_err());
        assert!(!is_served(port, &Ask::get("/unknown", "secret")));
        assert!(is_served(port, &Ask::get("/unknown", "secret").expecting(404)));
    }

    #[test]
    fn chunks_are_put_together() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a connection");
            let mut request = [0; 1024];
            let _ = stream.read(&mut request).expect("a request");
            let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\ncontent-encoding: gzip\r\n\r\n4\r\nfi";
            stream.write_all(head).expect("writes");
            stream.write_all(b"rs\r\nA;x=y\r\nt, second.\r\n0\r\n\r\n").expect("writes");
        });
        let recorded = record(port, &[Ask::get("/", "none")], Limit::after(Duration::from_secs(60))).expect("records");
        assert_eq!(recorded[0].body, b"first, second.");
        assert_eq!(recorded[0].content_encoding, "gzip");
        server.join().expect("the server ends");
    }
}
