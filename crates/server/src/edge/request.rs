//! One request at the edge: what is refused before it goes any further, how long it may take, and what becomes of its body.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::header::{CONNECTION, EXPECT};
use axum::http::{HeaderValue, Method, Request, Response, Version};
use hyper::body::{Body as _, Incoming};
use konverse_api::{Https, Patience, Refused, Served, Standing};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};
use tower::Service;

use super::Limits;
use super::body::{Arriving, Open, Rest, Sending};
use super::budget::{Budget, Spent};
use super::watch::Watch;

const AMBIGUOUS: Refused = Refused::Malformed("The request must not have both Content-Length and Transfer-Encoding");
const SPENT: &str = "Too many requests and answers are on their way and not read yet; try again";
const ADDRESS_SPENT: &str =
    "Too many requests and answers from and to this address are on their way and not read yet; try again";
const CONNECTION_SPENT: Refused =
    Refused::Unavailable("Too many answers on this connection are not read yet; read them and try again");
const READ_TOO_LONG: Refused = Refused::GivenUp("The answer took too long to make and was given up; try again");
const WRITE_TOO_LONG: Refused = Refused::Unknown(
    "This takes longer than a request may. It goes on, so it may have been done or may still be: look before you try again",
);

/// What says whether the process is well. The answers are tiny, and whoever asks would end a process that is only busy.
const PROBES: [&str; 2] = ["/healthz", "/readyz"];

/// Whether a POST to this path only reads: then it is dropped like any other read when its time is over or its caller goes
/// away.
fn searches(path: &str) -> bool {
    let is_saved = || path.strip_prefix("/v1/customers/searches/").is_some_and(|rest| rest.ends_with("/execution"));
    ["/v1/customers/search", "/v1/customers/archive/search"].contains(&path) || is_saved()
}

/// How often it is looked whether a body has come, at most.
const LOOK: Duration = Duration::from_millis(100);

/// A request's answer while it is made.
pub(crate) type Answering = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

/// What is behind the edge.
pub(crate) trait Behind:
    Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future = Answering>
    + Clone
    + Send
    + Sync
    + 'static
{
    /// The answer to a request that does not reach it.
    fn refusal(&self, refused: Refused) -> Response<Body>;
}

impl Behind for Served {
    fn refusal(&self, refused: Refused) -> Response<Body> {
        Self::refusal(self, refused)
    }
}

/// What the requests of a connection share.
pub(super) struct Front<B> {
    pub(super) behind: B,
    pub(super) peer: SocketAddr,
    pub(super) https: bool,
    pub(super) limits: Arc<Limits>,
    pub(super) budget: Arc<Budget>,
    pub(super) watch: Arc<Watch>,
    /// Held by whatever runs, so that its end can be waited for.
    pub(super) running: mpsc::Sender<Infallible>,
}

impl<B: Behind> Front<B> {
    /// Answers a request.
    pub(super) fn answer(
        self: &Arc<Self>,
        request: Request<Incoming>,
    ) -> impl Future<Output = Result<Response<Sending>, Infallible>> + Send + use<B> {
        // Counted before anything of it is polled.
        let number = self.watch.begin();
        let open = Open(Arc::clone(&self.watch));
        let front = Arc::clone(self);
        async move {
            let path = request.uri().path().trim_end_matches('/');
            let reads = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS)
                || *request.method() == Method::POST && searches(path);
            let probes = reads && PROBES.contains(&path);
            // Until it is known what the caller is told.
            let patience = Patience::default();
            let response = front.respond(request, &patience, number, reads, probes).await;
            Ok(front.counted(response, open, &patience, reads && !probes))
        }
    }

    async fn respond(
        &self,
        request: Request<Incoming>,
        patience: &Patience,
        number: u64,
        reads: bool,
        probes: bool,
    ) -> Response<Body> {
        if self.watch.ambiguous(number) {
            self.watch.linger();
            return self.behind.refusal(AMBIGUOUS);
        }
        if !probes {
            if let Some(spent) = self.watch.share.spent() {
                let refusal = self.behind.refusal(Refused::Unavailable(self.no_room(spent)));
                return self.closing(&request, refusal);
            }
            if !self.watch.share.has_room() && timeout(self.limits.request, self.watch.share.room()).await.is_err() {
                return self.closing(&request, self.behind.refusal(CONNECTION_SPENT));
            }
        }
        let (mut parts, incoming) = request.into_parts();
        parts.extensions.insert(ConnectInfo(self.peer));
        if self.https {
            parts.extensions.insert(Https);
        }
        parts.extensions.insert(patience.clone());
        let is_http1 = parts.version <= Version::HTTP_11;
        let waits = is_http1 && parts.headers.contains_key(EXPECT);
        let (body, rest) = if incoming.is_end_stream() {
            (Body::empty(), None)
        } else {
            let (arriving, rest) = Arriving::new(incoming, &self.limits, &self.watch);
            (Body::new(arriving), Some(rest))
        };
        let mut answering = self.behind.clone().call(Request::from_parts(parts, body));
        // What does not have to wait for anything needs no timer.
        let now = std::future::poll_fn(|cx| Poll::Ready(answering.as_mut().poll(cx))).await;
        let mut response = match now {
            Poll::Ready(response) => response.unwrap_or_else(|never| match never {}),
            Poll::Pending => self.in_time(answering, rest.as_ref(), patience, reads).await,
        };
        if let Some(spent) = rest.as_ref().and_then(|rest| rest.refused()) {
            response = self.given_up(patience, spent);
            if is_http1 {
                self.close(&mut response);
            }
            return response;
        }
        if let Some(rest) = rest.filter(|_| is_http1)
            && !rest.drained(waits).await
        {
            self.close(&mut response);
        }
        response
    }

    /// Waits for the answer as long as a request may take, beside the time in which its body comes: that has its own limits.
    /// What it waits for before it asks for its body (who is calling) counts.
    ///
    /// A read that takes longer is given up, and with it its query. A write is not: it may have been handed to the
    /// database, so nobody could say truthfully that nothing was done. It goes on without the caller, who is told so.
    async fn in_time(
        &self,
        mut answering: Answering,
        rest: Option<&Arc<Rest>>,
        patience: &Patience,
        reads: bool,
    ) -> Response<Body> {
        let latest = Instant::now() + self.limits.request;
        let mut until = latest;
        loop {
            let answered = timeout_at(until, &mut answering).await;
            if answered.is_err()
                && let Some((coming, still)) = rest.map(|rest| rest.coming())
            {
                // However little is left, it is not looked for more often than this while the body comes.
                let soonest = if still { Instant::now() + LOOK } else { until };
                let later = (latest + coming).max(soonest);
                if later > until {
                    until = later;
                    continue;
                }
            }
            match answered {
                Ok(response) => return response.unwrap_or_else(|never| match never {}),
                Err(_) if reads => {
                    tracing::warn!("a read took longer than a request may and was given up");
                    patience.end();
                    return self.behind.refusal(READ_TOO_LONG);
                }
                Err(_) => {
                    patience.end();
                    // Its body is still held by it.
                    let held = (self.running.clone(), rest.cloned());
                    tokio::spawn(async move {
                        let ended = answering.await.map(|response| response.status());
                        tracing::warn!(status = ?ended.ok(), "a write ended after its caller had been told not to wait");
                        drop(held);
                    });
                    return self.behind.refusal(WRITE_TOO_LONG);
                }
            }
        }
    }

    /// What is said for want of room.
    fn no_room(&self, spent: Spent) -> &'static str {
        self.budget.refuses(spent);
        match spent {
            Spent::All => SPENT,
            Spent::Address => ADDRESS_SPENT,
        }
    }

    /// The same, to a request that has been answered otherwise.
    fn given_up(&self, patience: &Patience, spent: Spent) -> Response<Body> {
        patience.end();
        self.behind.refusal(Refused::GivenUp(self.no_room(spent)))
    }

    /// A refusal before the body was looked at: where one was coming, the connection ends.
    fn closing(&self, request: &Request<Incoming>, mut response: Response<Body>) -> Response<Body> {
        if request.version() <= Version::HTTP_11 && !request.body().is_end_stream() {
            self.close(&mut response);
        }
        response
    }

    fn close(&self, response: &mut Response<Body>) {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        self.watch.linger();
    }

    /// The answer with its bytes counted. One that was read is thrown away when there is no room for it.
    fn counted(&self, response: Response<Body>, open: Open, patience: &Patience, reads: bool) -> Response<Sending> {
        let bytes =
            |response: &Response<Body>| usize::try_from(response.body().size_hint().lower()).unwrap_or(usize::MAX);
        let share = &self.watch.share;
        let mut response = response;
        let mut size = bytes(&response);
        let counted = if response.extensions().get::<Standing>().is_some() {
            0
        } else if !reads {
            share.take(size);
            size
        } else {
            if let Err(spent) = share.try_take(size) {
                response = self.given_up(patience, spent);
                size = bytes(&response);
                share.take(size);
            }
            size
        };
        response.map(|body| Sending::new(body, open, size, counted))
    }
}
