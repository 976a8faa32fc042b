//! Accepting connections, and serving each until it ends, goes over a limit, or everything stops.

use std::convert::Infallible;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use metrics::{Counter, Gauge, counter, gauge};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};

use super::budget::{Budget, Spent};
use super::io::Watched;
use super::places::{Full, Place, Places};
use super::request::{Behind, Front};
use super::tls::Tls;
use super::watch::{Looks, Over, Watch};
use super::{Edge, Limits};
use crate::clockwork::ended;

/// Bytes the head of a request may have, with either protocol.
const HEAD: usize = 32 * 1024;

/// Requests an HTTP/2 connection may have open at once.
const STREAMS: u32 = 100;

/// Bytes of request bodies an HTTP/2 client may send before they are read: a whole one, and few of them.
const STREAM_WINDOW: u32 = 128 * 1024;
const CONNECTION_WINDOW: u32 = 512 * 1024;

/// Bytes of an answer that HTTP/2 takes for a stream before the client has room for them.
const SEND_BUFFER: usize = 64 * 1024;

/// Bytes the system may have of a connection beside what is on its way to the client.
#[cfg(target_os = "linux")]
const UNSENT: u32 = 64 * 1024;

/// Streams that were reset and may still wait to be cleared away, by either side: more, and the connection ends.
const RESETS: usize = 20;
const LOCAL_RESETS: usize = 128;

/// How long to wait before accepting again when the system refused to: what it lacks, others have to give back.
const AFTER_FAILURE: Duration = Duration::from_millis(100);

/// How often the log repeats what goes wrong again and again.
const COMPLAIN: Duration = Duration::from_secs(1);

/// What a client is told for which there is no place. It has sent nothing that was read, so this is a guess at its
/// protocol; the answer is written into the socket's empty buffer or not at all.
const FULL: &str = "HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\nconnection: close\r\n\
    content-type: application/json; charset=utf-8\r\ncache-control: no-store\r\n\
    x-content-type-options: nosniff\r\ncontent-length: 211\r\n\r\n\
    {\"error\":\"Too many connections; try again\",\"errors\":[{\"status\":\"503\",\"code\":\"unavailable\",\
    \"title\":\"Unavailable\",\"message\":\"Too many connections; try again\",\
    \"detail\":\"Too many connections; try again\",\"meta\":{}}]}";

/// What every connection of a listener is served with.
struct Listening<B> {
    http: auto::Builder<TokioExecutor>,
    behind: B,
    limits: Arc<Limits>,
    budget: Arc<Budget>,
    tls: Option<Arc<Tls>>,
    stopped: watch::Receiver<bool>,
    open: Gauge,
    over: [(Over, Counter); 3],
    handshakes: Counter,
}

/// Serves until told to stop, and then until the last request has ended.
pub(super) async fn serve<B: Behind>(edge: Edge<B>, listener: TcpListener, stopped: watch::Receiver<bool>) {
    let name = edge.name;
    let refused =
        |reason: &'static str| counter!("konverse_connections_refused_total", "listener" => name, "reason" => reason);
    let (no_place, no_place_of_address, failed) = (refused("connections"), refused("address"), refused("accept"));
    let cut = |limit: &'static str| counter!("konverse_connections_cut_total", "listener" => name, "limit" => limit);
    let limits = Arc::new(edge.limits);
    let places = Places::new(limits.connections, limits.per_address, edge.trusted_proxies);
    let listening = Arc::new(Listening {
        http: protocols(),
        behind: edge.behind,
        budget: Budget::new(limits.unsent, gauge!("konverse_unread_answer_bytes", "listener" => name)),
        limits,
        tls: edge.tls,
        stopped: stopped.clone(),
        open: gauge!("konverse_connections_open", "listener" => name),
        over: [Over::Head, Over::Write, Over::Idle].map(|over| (over, cut(over.name()))),
        handshakes: cut("handshake"),
    });
    let (running, mut all_ended) = mpsc::channel::<Infallible>(1);
    let mut complaints = Complaints::default();
    let mut end = std::pin::pin!(ended(stopped));
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut end => break,
            () = complaints.due() => {
                complaints.tell();
                continue;
            }
            accepted = listener.accept() => accepted,
            // Last: however many are refused, others are let in.
            () = listening.budget.refused() => {
                complaints.note_refusals(name, &listening.budget);
                continue;
            }
        };
        match accepted {
            Ok((stream, peer)) => match places.take(peer.ip()) {
                Ok(place) => {
                    let (listening, running) = (Arc::clone(&listening), running.clone());
                    tokio::spawn(async move {
                        let _counted = Counted::new(&listening.open);
                        listening.connection(stream, peer, place, running).await;
                    });
                }
                Err(full) => {
                    turn_away(stream, listening.tls.is_some());
                    let (counter, reason) = match full {
                        Full::All => (&no_place, "--connections are open already"),
                        Full::Address => {
                            (&no_place_of_address, "--connections-per-address are open already from there")
                        }
                    };
                    counter.increment(1);
                    complaints.note(&format!("connections to the {name} were refused: {reason}"), 1);
                }
            },
            // The client has gone again.
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset) => {}
            Err(error) => {
                failed.increment(1);
                complaints.note(&format!("connections to the {name} cannot be accepted: {error}"), 1);
                tokio::time::sleep(AFTER_FAILURE).await;
            }
        }
    }
    drop((listener, running));
    complaints.tell();
    all_ended.recv().await;
    complaints.note_refusals(name, &listening.budget);
    complaints.tell();
}

/// A connection in the gauge, also when a handler that panics takes it along.
struct Counted<'a>(&'a Gauge);

impl<'a> Counted<'a> {
    fn new(open: &'a Gauge) -> Self {
        open.increment(1.0);
        Self(open)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

fn protocols() -> auto::Builder<TokioExecutor> {
    let mut http = auto::Builder::new(TokioExecutor::new());
    http.http1().max_buf_size(HEAD);
    http.http2()
        .max_concurrent_streams(STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .max_header_list_size(HEAD as u32)
        .max_pending_accept_reset_streams(RESETS)
        .max_local_error_reset_streams(LOCAL_RESETS);
    http
}

/// Closes a connection there is no place for.
fn turn_away(stream: TcpStream, encrypted: bool) {
    if encrypted {
        return;
    }
    let _ = stream.try_write(FULL.as_bytes());
    // What has come already and is not read would make the system reset the connection, and lose the answer.
    let _ = stream.try_read(&mut [0; 4096]);
}

impl<B: Behind> Listening<B> {
    async fn connection(&self, stream: TcpStream, peer: SocketAddr, place: Place, running: mpsc::Sender<Infallible>) {
        // Answers are written at once and whole.
        let _ = stream.set_nodelay(true);
        // The system would take megabytes at once and then say nothing for as long as a slow client needs for a third of
        // them: it would seem to read nothing.
        #[cfg(target_os = "linux")]
        let _ = socket2::SockRef::from(&stream).set_tcp_notsent_lowat(UNSENT);
        let Some(tls) = &self.tls else { return self.http(stream, peer, place, running).await };
        let handshake = timeout(self.limits.head, tls.acceptor().accept(stream));
        let shaken = tokio::select! {
            biased;
            () = ended(self.stopped.clone()) => return,
            shaken = handshake => shaken,
        };
        match shaken {
            Ok(Ok(stream)) => self.http(stream, peer, place, running).await,
            Ok(Err(error)) => tracing::debug!(%error, "no TLS"),
            Err(_) => self.handshakes.increment(1),
        }
    }

    async fn http<T>(&self, stream: T, peer: SocketAddr, place: Place, running: mpsc::Sender<Infallible>)
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let watch = Arc::new(Watch::new(self.budget.share(place)));
        let front = Arc::new(Front {
            behind: self.behind.clone(),
            peer,
            https: self.tls.is_some(),
            limits: Arc::clone(&self.limits),
            budget: Arc::clone(&self.budget),
            watch: Arc::clone(&watch),
            running,
        });
        let io = TokioIo::new(Watched::new(stream, Arc::clone(&watch)));
        let connection = self.http.serve_connection(io, service_fn(move |request| front.answer(request)));
        let mut connection = std::pin::pin!(connection);
        let mut end = std::pin::pin!(ended(self.stopped.clone()));
        let mut stopping = false;
        let period = Looks::period(&self.limits);
        let mut looks = Looks::new(*self.limits, Instant::now());
        let mut ticks = interval_at(Instant::now() + period, period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                ended = &mut connection => {
                    if let Err(error) = ended {
                        tracing::debug!(error, "a connection failed");
                    }
                    return;
                }
                () = &mut end, if !stopping => {
                    stopping = true;
                    connection.as_mut().graceful_shutdown();
                }
                now = ticks.tick() => {
                    if let Some(over) = looks.look(&watch, now) {
                        self.cut(over);
                        return;
                    }
                }
            }
            // Nobody is owed an answer, whatever the client has begun to send.
            if stopping {
                loop {
                    // A stream that ends between the poll and the question has left something to be flushed: it has to
                    // have been quiet before, too.
                    let was_quiet = watch.is_quiet();
                    let poll = |cx: &mut std::task::Context<'_>| {
                        std::task::Poll::Ready(connection.as_mut().poll(cx).is_ready())
                    };
                    let ended = std::future::poll_fn(poll).await;
                    let is_quiet = watch.is_quiet();
                    if ended || was_quiet && is_quiet {
                        return;
                    }
                    if !is_quiet {
                        break;
                    }
                }
            }
        }
    }

    fn cut(&self, over: Over) {
        if let Some((_, counter)) = self.over.iter().find(|(one, _)| *one == over) {
            counter.increment(1);
        }
        tracing::debug!(limit = over.name(), "a connection went over a limit");
    }
}

/// What goes wrong again and again, told once a second at most.
#[derive(Default)]
struct Complaints {
    told: Option<Instant>,
    waiting: Vec<(String, u64)>,
}

impl Complaints {
    fn note(&mut self, text: &str, times: u64) {
        match self.waiting.iter_mut().find(|(waiting, _)| waiting == text) {
            Some((_, count)) => *count += times,
            None => self.waiting.push((text.to_owned(), times)),
        }
    }

    fn note_refusals(&mut self, name: &str, budget: &Budget) {
        for (spent, count) in budget.refusals().into_iter().filter(|(_, count)| *count > 0) {
            let reason = match spent {
                Spent::All => "--unread-answers are on their way already",
                Spent::Address => "half of --unread-answers are on their way already from and to one address",
            };
            self.note(&format!("requests to the {name} were refused: {reason}"), count);
        }
    }

    /// Waits until there is something to tell.
    async fn due(&self) {
        match self.told {
            _ if self.waiting.is_empty() => std::future::pending().await,
            Some(told) => tokio::time::sleep_until(told + COMPLAIN).await,
            None => {}
        }
    }

    fn tell(&mut self) {
        for (text, count) in self.waiting.drain(..) {
            tracing::warn!(count, "{text}");
            self.told = Some(Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_finds_no_place_is_told_in_whole() {
        let (head, body) = FULL.split_once("\r\n\r\n").expect("a head");
        assert!(head.contains(&format!("content-length: {}", body.len())), "{}", body.len());
        let body: serde_json::Value = serde_json::from_str(body).expect("JSON");
        assert_eq!(body["errors"][0]["message"], body["error"]);
        assert!(head.contains("\r\nx-content-type-options: nosniff\r\n"), "{head}");
    }
}
