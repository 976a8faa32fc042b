//! The socket as the edge sees it: what passes is counted, and a client that is still sending when the connection is closed
//! gets to read why.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use super::framing::Framing;
use super::watch::Watch;

/// How long, and how many bytes, a client is listened to after its answer while it is still sending. Closing at once would
/// reset the connection, and with it the answer would be lost.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 1 << 20;

/// A socket that is watched.
pub(super) struct Watched<T> {
    io: T,
    watch: Arc<Watch>,
    framing: Framing,
    closing: Option<Closing>,
}

/// It is shut down in our direction and listened to a little longer.
struct Closing {
    until: Pin<Box<Sleep>>,
    left: usize,
}

impl<T> Watched<T> {
    pub(super) fn new(io: T, watch: Arc<Watch>) -> Self {
        Self { io, watch, framing: Framing::default(), closing: None }
    }

    fn took(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match written {
            Poll::Ready(Ok(bytes)) => self.watch.wrote(bytes),
            Poll::Ready(Err(_)) => {}
            Poll::Pending => self.watch.is_blocked(),
        }
        written
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Watched<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.io).poll_read(cx, buffer))?;
        if let Some(number) = this.framing.read(&buffer.filled()[before..]) {
            this.watch.set_ambiguous(number);
        }
        this.watch.set_in_head(this.framing.in_head());
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Watched<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.io).poll_write(cx, bytes);
        this.took(written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.io).poll_write_vectored(cx, parts);
        this.took(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = Pin::new(&mut this.io).poll_flush(cx);
        if flushed.is_pending() {
            this.watch.is_blocked();
        } else {
            this.watch.wrote(0);
        }
        flushed
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.closing.is_none() {
            ready!(Pin::new(&mut this.io).poll_shutdown(cx))?;
            if !this.framing.in_request() && !this.watch.lingers() {
                return Poll::Ready(Ok(()));
            }
        }
        let closing = this
            .closing
            .get_or_insert_with(|| Closing { until: Box::pin(tokio::time::sleep(LINGER)), left: LINGER_BYTES });
        if closing.until.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Ok(()));
        }
        while closing.left > 0 {
            let mut bytes = [0; 4096];
            let mut buffer = ReadBuf::new(&mut bytes);
            // What the client does is of no interest any more, only that it is done.
            match ready!(Pin::new(&mut this.io).poll_read(cx, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => {
                    closing.left = closing.left.saturating_sub(buffer.filled().len());
                }
                _ => break,
            }
        }
        Poll::Ready(Ok(()))
    }
}
