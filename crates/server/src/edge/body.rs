//! The bodies that pass: a request's, which has to come at a rate, and an answer's, which is counted until it is sent.

use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll, ready};

use axum::body::Body;
use bytes::{Buf, Bytes};
use hyper::body::{Frame, Incoming, SizeHint};
use tokio::time::{Duration, Instant, Sleep};

use super::Limits;
use super::budget::Spent;
use super::watch::Watch;

/// Bytes of a body nobody wanted that are read all the same, so that the connection lives on. A refused request has a body
/// of the size others have; more is not worth the trouble.
const DRAINED: u64 = 256 * 1024;

/// A request's body while it comes.
pub(super) struct Arriving {
    body: Option<Incoming>,
    pace: Pace,
    rest: Arc<Rest>,
}

/// What the handler leaves of a body.
pub(super) struct Rest {
    /// When the body ended, or was given up.
    ended: OnceLock<Instant>,
    /// When the client was first asked for it.
    wanted: OnceLock<Instant>,
    left: Mutex<Option<(Incoming, Pace)>>,
    watch: Arc<Watch>,
    /// Bytes of it that are counted until this is dropped: when the request has ended.
    counted: AtomicUsize,
    /// Why there was no room for it.
    refused: OnceLock<Spent>,
}

impl Drop for Rest {
    fn drop(&mut self) {
        self.watch.share.give_back_body(*self.counted.get_mut());
    }
}

/// A grace, and then a least number of bytes a second. It needs a timer only while something is missing.
struct Pace {
    grace: Duration,
    rate: u32,
    begun: Instant,
    received: u64,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Pace {
    fn deadline(&self) -> Instant {
        let millis = self.received.saturating_mul(1000) / u64::from(self.rate.max(1));
        self.begun + self.grace + Duration::from_millis(millis.min(1 << 40))
    }

    /// Ready when it has been waited for long enough.
    fn poll_over(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let deadline = self.deadline();
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if timer.deadline() != deadline {
            timer.as_mut().reset(deadline);
        }
        timer.as_mut().poll(cx)
    }
}

impl Arriving {
    pub(super) fn new(body: Incoming, limits: &Limits, watch: &Arc<Watch>) -> (Self, Arc<Rest>) {
        let rest = Arc::new(Rest {
            ended: OnceLock::new(),
            wanted: OnceLock::new(),
            left: Mutex::new(None),
            watch: Arc::clone(watch),
            counted: AtomicUsize::new(0),
            refused: OnceLock::new(),
        });
        let pace = Pace { grace: limits.body, rate: limits.rate, begun: Instant::now(), received: 0, timer: None };
        (Self { body: Some(body), pace, rest: Arc::clone(&rest) }, rest)
    }

    fn end(&mut self) {
        self.body = None;
        self.rest.end();
    }
}

impl hyper::body::Body for Arriving {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = self.get_mut();
        let Some(body) = &mut this.body else { return Poll::Ready(None) };
        this.rest.wanted.get_or_init(Instant::now);
        match Pin::new(&mut *body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                let bytes = frame.data_ref().map_or(0, Bytes::len);
                // Nobody else counts this body.
                let before = this.rest.counted.load(Relaxed);
                if let Err(spent) = this.rest.watch.share.try_take_body(bytes, before) {
                    let _ = this.rest.refused.set(spent);
                    this.end();
                    return Poll::Ready(Some(Err(axum::Error::new(std::io::Error::from(
                        std::io::ErrorKind::OutOfMemory,
                    )))));
                }
                this.rest.counted.store(before + bytes, Relaxed);
                this.pace.received += bytes as u64;
                if hyper::body::Body::is_end_stream(body) {
                    this.end();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                this.end();
                Poll::Ready(Some(Err(axum::Error::new(error))))
            }
            Poll::Ready(None) => {
                this.end();
                Poll::Ready(None)
            }
            Poll::Pending => {
                ready!(this.pace.poll_over(cx));
                Poll::Ready(Some(Err(axum::Error::new(std::io::Error::from(std::io::ErrorKind::TimedOut)))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(hyper::body::Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), hyper::body::Body::size_hint)
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        let Some(body) = self.body.take() else { return };
        let pace = Pace { timer: None, ..self.pace };
        *self.rest.left.lock().unwrap_or_else(PoisonError::into_inner) = Some((body, pace));
        self.rest.end();
    }
}

impl Rest {
    /// How long it has been waited for, and whether it still is.
    pub(super) fn coming(&self) -> (Duration, bool) {
        match (self.wanted.get(), self.ended.get()) {
            (Some(wanted), Some(ended)) => (*ended - *wanted, false),
            (Some(wanted), None) => (wanted.elapsed(), true),
            (None, _) => (Duration::ZERO, false),
        }
    }

    /// Why there was no room for the body, so that nobody has seen the whole of it.
    pub(super) fn refused(&self) -> Option<Spent> {
        self.refused.get().copied()
    }

    fn end(&self) {
        let _ = self.ended.set(Instant::now());
    }

    /// Reads what nobody wanted to its end. Not when it is long or comes too slowly, and not when the client waits to be
    /// asked for it (`Expect: 100-continue`): then false.
    pub(super) async fn drained(&self, waits: bool) -> bool {
        let left = self.left.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some((mut body, mut pace)) = left else { return true };
        if waits && self.wanted.get().is_none() {
            return false;
        }
        let mut room = DRAINED;
        if hyper::body::Body::size_hint(&body).lower() > room {
            return false;
        }
        std::future::poll_fn(|cx| {
            loop {
                match hyper::body::Body::poll_frame(Pin::new(&mut body), cx) {
                    Poll::Ready(Some(Ok(frame))) => {
                        let bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
                        let Some(less) = room.checked_sub(bytes) else { return Poll::Ready(false) };
                        room = less;
                        pace.received += bytes;
                    }
                    Poll::Ready(Some(Err(_))) => return Poll::Ready(false),
                    Poll::Ready(None) => return Poll::Ready(true),
                    Poll::Pending => return pace.poll_over(cx).map(|()| false),
                }
            }
        })
        .await
    }
}

/// A request that is not answered yet.
pub(super) struct Open(pub(super) Arc<Watch>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// An answer's body on its way.
pub(super) struct Sending {
    body: Body,
    held: Held,
    /// Until the connection has taken all of it, the request is open.
    _open: Open,
}

/// Bytes that are counted until this is dropped.
struct Held {
    watch: Arc<Watch>,
    unsent: usize,
    counted: usize,
}

impl Held {
    /// The part that belongs to so many bytes.
    fn split(&mut self, bytes: usize) -> Self {
        let (unsent, counted) = (self.unsent.min(bytes), self.counted.min(bytes));
        self.unsent -= unsent;
        self.counted -= counted;
        Self { watch: Arc::clone(&self.watch), unsent, counted }
    }

    fn sent(&mut self, bytes: usize) {
        let bytes = bytes.min(self.unsent);
        self.unsent -= bytes;
        self.watch.sent(bytes);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.sent(self.unsent);
        if self.counted > 0 {
            self.watch.share.give_back(self.counted);
        }
    }
}

impl Sending {
    /// A body of so many bytes, `counted` of which were taken from the budget.
    pub(super) fn new(body: Body, open: Open, bytes: usize, counted: usize) -> Self {
        let watch = Arc::clone(&open.0);
        watch.made(bytes);
        Self { body, held: Held { watch, unsent: bytes, counted }, _open: open }
    }
}

impl hyper::body::Body for Sending {
    type Data = Piece;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Piece>, axum::Error>>> {
        let this = self.get_mut();
        let frame = ready!(Pin::new(&mut this.body).poll_frame(cx));
        Poll::Ready(frame.map(|frame| {
            frame.map(|frame| {
                frame.map_data(|bytes| {
                    let held = this.held.split(bytes.len());
                    Piece { bytes, held }
                })
            })
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Bytes of an answer, counted until the connection has written them or throws them away.
pub(super) struct Piece {
    bytes: Bytes,
    held: Held,
}

impl Buf for Piece {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
        self.held.sent(count);
    }
}
