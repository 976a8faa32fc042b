//! What is known of a connection, and the limits it is held to by a look now and then: one timer a connection, and nothing
//! but counters where its bytes pass.

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::time::Duration;

use tokio::time::Instant;

use super::Limits;
use super::budget::Share;

/// What is known of a connection. Its requests and its socket write it, its looks read it.
pub(super) struct Watch {
    pub(super) share: Share,
    /// Requests whose answers are not handed over yet.
    open: AtomicUsize,
    /// Requests so far.
    begun: AtomicU64,
    /// Bytes of answers that the connection has not taken yet.
    unsent: AtomicUsize,
    /// Bytes of answers it has taken.
    sent: AtomicU64,
    /// Bytes the socket has taken.
    written: AtomicU64,
    /// Whether the socket takes no more for now.
    blocked: AtomicBool,
    /// Whether a part of a head has come.
    in_head: AtomicBool,
    /// The number of the request whose length is given in two ways.
    ambiguous: AtomicU64,
    /// Whether the client may still be sending when the connection is closed.
    linger: AtomicBool,
}

impl Watch {
    pub(super) fn new(share: Share) -> Self {
        Self {
            share,
            open: AtomicUsize::new(0),
            begun: AtomicU64::new(0),
            unsent: AtomicUsize::new(0),
            sent: AtomicU64::new(0),
            written: AtomicU64::new(0),
            blocked: AtomicBool::new(false),
            in_head: AtomicBool::new(false),
            ambiguous: AtomicU64::new(0),
            linger: AtomicBool::new(false),
        }
    }

    /// A request begins: its number, from 1.
    pub(super) fn begin(&self) -> u64 {
        self.open.fetch_add(1, Relaxed);
        self.begun.fetch_add(1, Relaxed) + 1
    }

    pub(super) fn end(&self) {
        // Whoever sees this sees what was handed over before.
        self.open.fetch_sub(1, Release);
    }

    pub(super) fn made(&self, bytes: usize) {
        self.unsent.fetch_add(bytes, Relaxed);
    }

    pub(super) fn sent(&self, bytes: usize) {
        self.unsent.fetch_sub(bytes, Relaxed);
        self.sent.fetch_add(bytes as u64, Relaxed);
    }

    pub(super) fn wrote(&self, bytes: usize) {
        // Only the connection's own task writes.
        self.written.store(self.written.load(Relaxed).wrapping_add(bytes as u64), Relaxed);
        self.blocked.store(false, Relaxed);
    }

    pub(super) fn is_blocked(&self) {
        self.blocked.store(true, Relaxed);
    }

    pub(super) fn set_in_head(&self, in_head: bool) {
        self.in_head.store(in_head, Relaxed);
    }

    pub(super) fn set_ambiguous(&self, number: u64) {
        self.ambiguous.store(number, Relaxed);
    }

    pub(super) fn ambiguous(&self, number: u64) -> bool {
        self.ambiguous.load(Relaxed) == number
    }

    pub(super) fn linger(&self) {
        self.linger.store(true, Relaxed);
    }

    pub(super) fn lingers(&self) -> bool {
        self.linger.load(Relaxed)
    }

    /// Whether nothing runs and nothing is to be sent: there may be half a head.
    pub(super) fn is_quiet(&self) -> bool {
        self.open.load(Acquire) == 0 && self.unsent.load(Relaxed) == 0 && !self.blocked.load(Relaxed)
    }

    fn doing(&self) -> Doing {
        let begun = self.begun.load(Relaxed);
        if self.unsent.load(Relaxed) > 0 {
            Doing::Answering
        } else if self.blocked.load(Relaxed) {
            Doing::Flushing
        } else if self.open.load(Relaxed) > 0 {
            Doing::Working
        } else if begun == 0 || self.in_head.load(Relaxed) {
            Doing::Asking { begun }
        } else {
            Doing::Nothing { begun }
        }
    }
}

/// What a connection is doing. Two that are equal are the same one, going on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doing {
    /// It is new or has sent half a head.
    Asking {
        begun: u64,
    },
    /// A request runs, or its body is coming: those have limits of their own.
    Working,
    /// Answers wait for the client to read them.
    Answering,
    /// Something else does.
    Flushing,
    Nothing {
        begun: u64,
    },
}

/// The limit a connection went over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Over {
    Head,
    Write,
    Idle,
}

impl Over {
    /// As the metrics have it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Head => "head",
            Self::Write => "write",
            Self::Idle => "idle",
        }
    }
}

/// The looks at a connection.
#[derive(Debug)]
pub(super) struct Looks {
    limits: Limits,
    doing: Doing,
    since: Instant,
    /// The bytes that had been read of what it is sending.
    progress: u64,
}

impl Looks {
    pub(super) fn new(limits: Limits, now: Instant) -> Self {
        Self { limits, doing: Doing::Asking { begun: 0 }, since: now, progress: 0 }
    }

    /// How often to look: a limit is kept to within a quarter of the shortest, or better.
    pub(super) fn period(limits: &Limits) -> Duration {
        let shortest = limits.head.min(limits.write).min(limits.idle);
        (shortest / 4).clamp(Duration::from_millis(10), Duration::from_secs(5))
    }

    /// Whether the connection is over a limit now.
    pub(super) fn look(&mut self, watch: &Watch, now: Instant) -> Option<Over> {
        let doing = watch.doing();
        let progress = match doing {
            Doing::Answering => watch.sent.load(Relaxed),
            Doing::Flushing => watch.written.load(Relaxed),
            _ => 0,
        };
        let least = self.limits.write.as_secs() * u64::from(self.limits.rate);
        let goes_on = doing == self.doing && progress.wrapping_sub(self.progress) < least.max(1);
        if !goes_on {
            (self.doing, self.since, self.progress) = (doing, now, progress);
            return None;
        }
        let (limit, over) = match doing {
            Doing::Working => return None,
            Doing::Asking { .. } => (self.limits.head, Over::Head),
            Doing::Answering | Doing::Flushing => (self.limits.write, Over::Write),
            Doing::Nothing { .. } => (self.limits.idle, Over::Idle),
        };
        (now.duration_since(self.since) >= limit).then_some(over)
    }
}

#[cfg(test)]
mod tests {
    use metrics::Gauge;

    use super::super::budget::Budget;
    use super::super::places::Places;
    use super::*;

    /// A connection, looked at each second from the start on.
    struct Looked {
        watch: Watch,
        looks: Looks,
        now: Instant,
    }

    impl Looked {
        fn new() -> Self {
            let limits = Limits {
                head: Duration::from_secs(3),
                write: Duration::from_secs(5),
                idle: Duration::from_secs(7),
                rate: 100,
                ..Limits::default()
            };
            let now = Instant::now();
            let place = Places::new(1, 1, Vec::new()).take([192, 0, 2, 1].into()).expect("a place");
            let share = Budget::new(1000, Gauge::noop()).share(place);
            Self { watch: Watch::new(share), looks: Looks::new(limits, now), now }
        }

        /// What is found by looking until something is, and after how many seconds.
        fn until_over(&mut self, mut meanwhile: impl FnMut(&Watch)) -> Option<(u64, Over)> {
            (1..=30).find_map(|second| {
                meanwhile(&self.watch);
                self.now += Duration::from_secs(1);
                self.looks.look(&self.watch, self.now).map(|over| (second, over))
            })
        }
    }

    #[test]
    fn each_thing_a_connection_does_has_its_limit() {
        let mut new = Looked::new();
        assert_eq!(new.until_over(|_| {}), Some((3, Over::Head)), "nothing comes at all");

        let mut half = Looked::new();
        half.watch.begin();
        half.watch.end();
        half.watch.set_in_head(true);
        assert_eq!(half.until_over(|watch| watch.wrote(1)), Some((4, Over::Head)), "half a head");
        half.watch.set_in_head(false);
        assert_eq!(half.until_over(|_| {}), Some((8, Over::Idle)), "nothing any more");

        let mut busy = Looked::new();
        busy.watch.begin();
        assert_eq!(busy.until_over(|_| {}), None, "a request runs as long as its own limits let it");
        busy.watch.made(10_000);
        assert_eq!(busy.until_over(|_| {}), Some((6, Over::Write)), "nobody reads the answer");
        let mut slow = Looked::new();
        slow.watch.begin();
        slow.watch.made(10_000);
        assert_eq!(slow.until_over(|watch| watch.sent(99)), Some((6, Over::Write)), "it is read too slowly");
        let mut asks = Looked::new();
        asks.watch.is_blocked();
        assert_eq!(asks.until_over(|_| {}), Some((6, Over::Write)), "the socket takes nothing");
    }

    #[test]
    fn what_goes_on_is_left_alone() {
        let mut reading = Looked::new();
        reading.watch.begin();
        reading.watch.made(1_000_000);
        assert_eq!(reading.until_over(|watch| watch.sent(101)), None, "it reads what it must");
        let mut asking = Looked::new();
        let ask = |watch: &Watch| {
            watch.begin();
            watch.end();
        };
        assert_eq!(asking.until_over(ask), None, "it asks again and again");
    }
}
