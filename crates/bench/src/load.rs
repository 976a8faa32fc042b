//! The load: which pages are asked for, and the client that asks for them.
//!
//! Blocking sockets, one thread a connection, one request at a time on each. Everything random is seeded, so that every
//! server and every run gets the same requests in the same order.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::limit::Limit;

/// How long an answer may take before the run is given up.
const PATIENCE: Duration = Duration::from_secs(30);

/// Requests between two looks at the clock.
const LOOK_EVERY: usize = 256;

/// One thing to ask for.
pub(crate) struct Page {
    /// Path and query, as konverse knows it.
    pub(crate) path: String,
    /// The same as one file name, for servers of files.
    pub(crate) file: String,
}

/// A page as konverse answered it.
pub(crate) struct Recorded {
    pub(crate) content_type: String,
    pub(crate) body: Vec<u8>,
}

/// A mix of requests: the pages, and which of them is asked for at each step.
pub(crate) struct Mix {
    pub(crate) name: &'static str,
    pub(crate) pages: Vec<Page>,
    pub(crate) picks: Vec<usize>,
}

impl Mix {
    /// Any customer that has conversations, without a page size.
    pub(crate) fn any_customer(customers: &[(String, u32)], requests: usize) -> Result<Self> {
        let pages = customers
            .iter()
            .map(|(id, _)| Page { path: format!("/v1/customers/{id}/conversations"), file: format!("{id}-default") });
        Self::of("random customers, default page size", pages.collect(), requests)
    }

    /// Customers that fill a page of 20.
    pub(crate) fn full_pages(customers: &[(String, u32)], requests: usize) -> Result<Self> {
        let pages = customers.iter().filter(|(_, conversations)| *conversations >= 20).map(|(id, _)| Page {
            path: format!("/v1/customers/{id}/conversations?pageSize=20"),
            file: format!("{id}-20"),
        });
        Self::of("full pages of 20", pages.collect(), requests)
    }

    fn of(name: &'static str, pages: Vec<Page>, requests: usize) -> Result<Self> {
        ensure!(!pages.is_empty(), "the data has no customer for the mix \"{name}\"");
        let mut random = Random::seeded();
        let picks = (0..requests).map(|_| random.below(pages.len())).collect();
        Ok(Self { name, pages, picks })
    }
}

/// xorshift64*: repeatable, and good enough to pick customers.
struct Random(u64);

impl Random {
    fn seeded() -> Self {
        Self(0x9e37_79b9_7f4a_7c15)
    }

    fn below(&mut self, count: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d);
        ((u128::from(number) * count as u128) >> 64) as usize
    }
}

/// The bytes of a request for this path.
pub(crate) fn request(path: &str, token: &str) -> Vec<u8> {
    format!(
        "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\nAccept: application/json\r\n\r\n"
    )
    .into_bytes()
}

/// What is asked of one server, made before the clock starts.
pub(crate) struct Load<'a> {
    pub(crate) port: u16,
    pub(crate) connections: usize,
    /// The request of each page.
    pub(crate) requests: &'a [Vec<u8>],
    /// The length of each page's body: another length is a failure.
    pub(crate) lengths: &'a [usize],
    pub(crate) limit: Limit,
}

/// What a load has moved.
#[derive(Debug)]
pub(crate) struct Moved {
    pub(crate) body_bytes: u64,
    pub(crate) wall: Duration,
}

impl Load<'_> {
    /// Sends the picked requests, spread evenly over the connections, and checks every answer.
    pub(crate) fn send(&self, picks: &[usize]) -> Result<Moved> {
        let clients = (0..self.connections).map(|_| Client::connect(self.port)).collect::<Result<Vec<_>>>()?;
        let started = Instant::now();
        let bytes: Result<Vec<u64>> = thread::scope(|scope| {
            let threads: Vec<_> = clients
                .into_iter()
                .enumerate()
                .map(|(n, client)| {
                    scope.spawn(move || self.send_share(client, picks.iter().skip(n).step_by(self.connections)))
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().expect("a load thread does not panic")).collect()
        });
        Ok(Moved { body_bytes: bytes?.iter().sum(), wall: started.elapsed() })
    }

    fn send_share<'p>(&self, mut client: Client, picks: impl Iterator<Item = &'p usize>) -> Result<u64> {
        let mut bytes = 0;
        for (n, page) in picks.enumerate() {
            if n % LOOK_EVERY == 0 {
                self.limit.check()?;
            }
            let request = &self.requests[*page];
            let answer = client.ask(request)?;
            if answer.status != 200 || answer.body.len() != self.lengths[*page] {
                bail!(
                    "status {} with {} bytes where 200 with {} were expected, asked for\n{}\nanswered\n{}",
                    answer.status,
                    answer.body.len(),
                    self.lengths[*page],
                    String::from_utf8_lossy(request).lines().next().unwrap_or_default(),
                    String::from_utf8_lossy(&answer.body[..answer.body.len().min(500)])
                );
            }
            bytes += answer.body.len() as u64;
        }
        Ok(bytes)
    }
}

/// Asks for each page once and keeps the answers.
pub(crate) fn record(port: u16, requests: &[Vec<u8>], limit: Limit) -> Result<Vec<Recorded>> {
    let mut client = Client::connect(port)?;
    let mut recorded = Vec::with_capacity(requests.len());
    for request in requests {
        limit.check()?;
        let answer = client.ask(request)?;
        ensure!(
            answer.status == 200,
            "status {} for\n{}\n{}",
            answer.status,
            String::from_utf8_lossy(request).lines().next().unwrap_or_default(),
            String::from_utf8_lossy(answer.body)
        );
        recorded.push(Recorded { content_type: answer.content_type.to_owned(), body: answer.body.to_vec() });
    }
    Ok(recorded)
}

/// Whether this port answers this request with 200.
pub(crate) fn is_served(port: u16, request: &[u8]) -> bool {
    Client::connect(port).is_ok_and(|mut client| client.ask(request).is_ok_and(|answer| answer.status == 200))
}

/// One kept connection.
struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
}

struct Answer<'a> {
    status: u16,
    content_type: &'a str,
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

    fn ask(&mut self, request: &[u8]) -> Result<Answer<'_>> {
        self.stream.write_all(request)?;
        let mut filled = 0;
        let head_end = loop {
            filled += self.receive(filled)?;
            if let Some(at) = self.buffer[..filled].windows(4).position(|window| window == b"\r\n\r\n") {
                break at;
            }
        };
        let length = parse_head(&self.buffer[..head_end])?.length;
        let body_start = head_end + 4;
        let end = body_start + length;
        if self.buffer.len() < end {
            self.buffer.resize(end, 0);
        }
        while filled < end {
            filled += self.receive(filled)?;
        }
        ensure!(filled == end, "bytes after the end of an answer");
        let head = parse_head(&self.buffer[..head_end])?;
        Ok(Answer { status: head.status, content_type: head.content_type, body: &self.buffer[body_start..end] })
    }

    fn receive(&mut self, filled: usize) -> Result<usize> {
        let room = &mut self.buffer[filled..];
        ensure!(!room.is_empty(), "the head of an answer is too long");
        match self.stream.read(room).context("reading an answer")? {
            0 => bail!("the server closed a kept connection"),
            count => Ok(count),
        }
    }
}

struct Head<'a> {
    status: u16,
    length: usize,
    content_type: &'a str,
}

fn parse_head(bytes: &[u8]) -> Result<Head<'_>> {
    let text = std::str::from_utf8(bytes).context("the head of an answer is not text")?;
    let mut lines = text.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|number| number.parse().ok());
    let mut length = None;
    let mut content_type = "";
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().ok();
        } else if name.eq_ignore_ascii_case("content-type") {
            content_type = value.trim();
        }
    }
    Ok(Head {
        status: status.with_context(|| format!("no status in {text:?}"))?,
        length: length.with_context(|| format!("no content-length in {text:?}"))?,
        content_type,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::servers::tests::memory_server;

    fn customers() -> Vec<(String, u32)> {
        [("aa", 1), ("bb", 20), ("cc", 21)].map(|(id, count)| (id.to_owned(), count)).to_vec()
    }

    #[test]
    fn mixes_choose_their_customers_and_repeat_themselves() {
        let any = Mix::any_customer(&customers(), 100).expect("a mix");
        assert_eq!(any.pages.len(), 3);
        assert!((0..3).all(|page| any.picks.contains(&page)));
        assert_eq!(any.picks, Mix::any_customer(&customers(), 100).expect("a mix").picks);
        let full = Mix::full_pages(&customers(), 10).expect("a mix");
        assert_eq!(full.pages[0].path, "/v1/customers/bb/conversations?pageSize=20");
        assert_eq!(full.pages[0].file, "bb-20");
        assert_eq!(full.pages.len(), 2);
        assert!(Mix::full_pages(&customers()[..1], 10).is_err());
    }

    #[test]
    fn a_head_is_read_whatever_the_case_of_its_names() {
        let head =
            parse_head(b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\ncontent-type: application/json").expect("parses");
        assert_eq!((head.status, head.length, head.content_type), (200, 12, "application/json"));
        assert!(parse_head(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked").is_err());
    }

    #[test]
    fn a_load_over_kept_connections_gets_every_page() {
        let mix = Mix::any_customer(&customers(), 500).expect("a mix");
        let bodies = [b"one".to_vec(), vec![b'x'; 300_000], Vec::new()];
        let pages = mix.pages.iter().zip(&bodies).map(|(page, body)| (page.path.clone(), body.clone()));
        let port = memory_server("application/json", pages.collect());
        let requests: Vec<_> = mix.pages.iter().map(|page| request(&page.path, "secret")).collect();
        let limit = Limit::after(Duration::from_secs(60));

        let recorded = record(port, &requests, limit).expect("records");
        assert!(recorded.iter().zip(&bodies).all(|(recorded, body)| recorded.body == *body));
        assert_eq!(recorded[0].content_type, "application/json");

        let lengths: Vec<_> = bodies.iter().map(Vec::len).collect();
        let load = Load { port, connections: 3, requests: &requests, lengths: &lengths, limit };
        let moved = load.send(&mix.picks).expect("loads");
        assert_eq!(moved.body_bytes, mix.picks.iter().map(|page| lengths[*page] as u64).sum::<u64>());

        let wrong = Load { lengths: &[1, 1, 1], ..load };
        assert!(wrong.send(&mix.picks).is_err());
        assert!(!is_served(port, &request("/unknown", "secret")));
    }
}
