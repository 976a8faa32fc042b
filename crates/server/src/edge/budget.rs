//! How many bytes of answers may be on their way: of one connection, of one address, and of all. The bodies of requests that
//! are not answered yet are in the last two, too: their bytes count from when they are read. An answer counts from when it
//! is made until the last of it is handed to the system or thrown away, whoever is too slow to read it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use metrics::Gauge;
use tokio::sync::Notify;

use super::places::Place;

/// One connection's part of the whole.
const PARTS: usize = 32;

/// The least a connection may have on its way: more than nearly every answer, so that one does not wait for another.
const LEAST_SHARE: usize = 1 << 20;

/// One address's part of the whole. A trusted proxy has none: everybody behind it comes from there.
const PARTS_BY_ADDRESS: usize = 2;

/// The most of an answer, or of a body, that may be had when all is spent but for the reserve.
const SMALL: usize = 16 << 10;

/// The reserve: this part of the whole, beyond it. Who asks for little goes on being served when others ask for much.
const PARTS_IN_RESERVE: usize = 8;

/// Why there is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spent {
    All,
    Address,
}

/// The bytes of all connections.
pub(super) struct Budget {
    most: usize,
    held: AtomicUsize,
    /// The same as the metrics show it.
    shown: Gauge,
    refused: Refused,
}

/// How many requests were refused for want of room and not told of yet.
#[derive(Default)]
struct Refused {
    of_all: AtomicU64,
    of_address: AtomicU64,
    some: Notify,
}

impl Budget {
    pub(super) fn new(most: usize, shown: Gauge) -> Arc<Self> {
        Arc::new(Self { most, held: AtomicUsize::new(0), shown, refused: Refused::default() })
    }

    fn add(&self, bytes: usize) -> usize {
        self.shown.increment(bytes as f64);
        self.held.fetch_add(bytes, Relaxed)
    }

    fn sub(&self, bytes: usize) {
        self.held.fetch_sub(bytes, Relaxed);
        self.shown.decrement(bytes as f64);
    }

    /// What may be held by whoever asks for so much.
    fn most_for(&self, bytes: usize) -> usize {
        if bytes <= SMALL { self.most + self.most / PARTS_IN_RESERVE } else { self.most }
    }

    /// Takes note that a request was refused.
    pub(super) fn refuses(&self, spent: Spent) {
        let count = match spent {
            Spent::All => &self.refused.of_all,
            Spent::Address => &self.refused.of_address,
        };
        if count.fetch_add(1, Relaxed) == 0 {
            self.refused.some.notify_one();
        }
    }

    /// Waits until requests were refused.
    pub(super) async fn refused(&self) {
        self.refused.some.notified().await;
    }

    /// How many requests were refused since this was asked last.
    pub(super) fn refusals(&self) -> [(Spent, u64); 2] {
        let Refused { of_all, of_address, some: _ } = &self.refused;
        [(Spent::All, of_all), (Spent::Address, of_address)].map(|(spent, count)| (spent, count.swap(0, Relaxed)))
    }

    /// A connection's share.
    pub(super) fn share(self: &Arc<Self>, place: Place) -> Share {
        let most = (self.most / PARTS).max(LEAST_SHARE);
        Share { budget: Arc::clone(self), place, most, held: AtomicUsize::new(0), freed: Notify::new() }
    }
}

/// The bytes of one connection. It has the connection's place until the last of them is given back, so that an address is
/// known as long as it holds any.
pub(super) struct Share {
    budget: Arc<Budget>,
    place: Place,
    most: usize,
    held: AtomicUsize,
    freed: Notify,
}

impl Share {
    /// Whether there is no room for any answer, however small.
    pub(super) fn spent(&self) -> Option<Spent> {
        let budget = &self.budget;
        if self.of_address().is_some_and(|held| held.load(Relaxed) >= budget.most / PARTS_BY_ADDRESS) {
            Some(Spent::Address)
        } else {
            (budget.held.load(Relaxed) >= budget.most_for(0)).then_some(Spent::All)
        }
    }

    fn of_address(&self) -> Option<&AtomicUsize> {
        self.place.bytes()
    }

    pub(super) fn has_room(&self) -> bool {
        self.held.load(Relaxed) < self.most
    }

    /// Waits until some of what the connection asked for has been read.
    pub(super) async fn room(&self) {
        loop {
            let mut freed = std::pin::pin!(self.freed.notified());
            freed.as_mut().enable();
            if self.has_room() {
                return;
            }
            freed.await;
        }
    }

    /// Counts an answer that cannot be taken back.
    pub(super) fn take(&self, bytes: usize) {
        self.held.fetch_add(bytes, Relaxed);
        self.take_for_address(bytes);
        self.budget.add(bytes);
    }

    /// Counts an answer, if there is room for it. The first one always has it: it may be larger than everything.
    pub(super) fn try_take(&self, bytes: usize) -> Result<(), Spent> {
        self.try_take_of(bytes, self.budget.most_for(bytes))?;
        self.held.fetch_add(bytes, Relaxed);
        Ok(())
    }

    /// Counts a piece of a request's body of which so much has come before, if there is room for it. A connection's streams
    /// bound its bodies, so its share does not: those that have begun could all wait for each other's ends.
    pub(super) fn try_take_body(&self, bytes: usize, before: usize) -> Result<(), Spent> {
        self.try_take_of(bytes, self.budget.most_for(before + bytes))
    }

    fn try_take_of(&self, bytes: usize, most: usize) -> Result<(), Spent> {
        let fits = |before: usize, most: usize| before == 0 || before.saturating_add(bytes) <= most;
        if !fits(self.take_for_address(bytes), self.budget.most / PARTS_BY_ADDRESS) {
            self.give_back_for_address(bytes);
            return Err(Spent::Address);
        }
        if !fits(self.budget.add(bytes), most) {
            self.give_back_body(bytes);
            return Err(Spent::All);
        }
        Ok(())
    }

    /// What the address held before; nothing for a proxy, which has no bound.
    fn take_for_address(&self, bytes: usize) -> usize {
        self.of_address().map_or(0, |held| held.fetch_add(bytes, Relaxed))
    }

    fn give_back_for_address(&self, bytes: usize) {
        if let Some(held) = self.of_address() {
            held.fetch_sub(bytes, Relaxed);
        }
    }

    pub(super) fn give_back_body(&self, bytes: usize) {
        self.budget.sub(bytes);
        self.give_back_for_address(bytes);
    }

    pub(super) fn give_back(&self, bytes: usize) {
        self.give_back_body(bytes);
        if self.held.fetch_sub(bytes, Relaxed) >= self.most {
            self.freed.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::super::places::Places;
    use super::*;

    /// A share for each of these addresses, of which 10.0.0.0/8 are proxies.
    fn shares<const N: usize>(most: usize, peers: [&str; N]) -> [Share; N] {
        let places = Places::new(N, N, vec!["10.0.0.0/8".parse().expect("a range")]);
        let budget = Budget::new(most, Gauge::noop());
        peers.map(|peer| {
            let peer: IpAddr = peer.parse().expect("an address");
            budget.share(places.take(peer).expect("a place"))
        })
    }

    #[test]
    fn what_is_taken_is_bounded_in_all_and_given_back() {
        const KIB: usize = 1 << 10;
        let [one, other] = shares(100 * KIB, ["10.0.0.1", "10.0.0.2"]);
        assert_eq!((one.try_take(60 * KIB), other.try_take(40 * KIB)), (Ok(()), Ok(())));
        assert_eq!(other.try_take(20 * KIB), Err(Spent::All));
        other.give_back(40 * KIB);
        assert_eq!((other.try_take(41 * KIB), other.try_take(40 * KIB)), (Err(Spent::All), Ok(())));
        // What is small has the reserve, and that has an end.
        assert_eq!((other.spent(), other.try_take(12 * KIB), other.try_take(KIB)), (None, Ok(()), Err(Spent::All)));
        assert_eq!((other.spent(), other.try_take_body(512, 0)), (None, Ok(())));
        other.give_back_body(512);
        assert_eq!(other.try_take_body(512, 16 * KIB), Err(Spent::All), "the end of a large body is not small");
        other.take(KIB);
        assert_eq!(other.spent(), Some(Spent::All));
        one.give_back(60 * KIB);
        other.give_back(53 * KIB);
        assert_eq!(one.try_take(1000 * KIB), Ok(()), "an answer is larger than all of it");
        assert_eq!(other.try_take(1), Err(Spent::All));
        other.take(1);
        one.give_back(1000 * KIB);
        other.give_back(1);
        assert_eq!((one.try_take_body(90 * KIB, 0), other.try_take(17 * KIB)), (Ok(()), Err(Spent::All)));
        one.give_back_body(90 * KIB);
        assert_eq!(other.try_take(100 * KIB), Ok(()), "bodies and answers have one budget");
        other.give_back(100 * KIB);
        assert_eq!((one.budget.held.load(Relaxed), one.held.load(Relaxed), other.held.load(Relaxed)), (0, 0, 0));
    }

    #[test]
    fn an_address_has_half_and_leaves_the_rest_to_others() {
        let [one, same, other] = shares(100_000, ["2001:db8::1", "2001:db8::2", "192.0.2.1"]);
        assert_eq!((one.try_take(30_000), same.try_take_body(20_000, 0)), (Ok(()), Ok(())));
        assert_eq!((one.spent(), same.spent(), other.spent()), (Some(Spent::Address), Some(Spent::Address), None));
        assert_eq!((one.try_take(1), same.try_take_body(1, 0)), (Err(Spent::Address), Err(Spent::Address)));
        // What is refused to it takes nothing of the others' half.
        assert_eq!((other.try_take(50_000), other.spent()), (Ok(()), Some(Spent::Address)));
        one.give_back(30_000);
        assert_eq!((same.try_take_body(30_000, 20_000), same.spent()), (Ok(()), Some(Spent::Address)));
        // Whoever has a connection open is known by what they held before, however often they come again.
        drop(one);
        same.give_back_body(50_000);
        other.give_back(50_000);
        assert_eq!((same.try_take(90_000), same.try_take(1)), (Ok(()), Err(Spent::Address)), "one answer is too large");
        same.give_back(90_000);
        assert_eq!((same.spent(), same.budget.held.load(Relaxed)), (None, 0));
    }

    #[test]
    fn a_bound_for_one_does_not_hold_for_a_proxy() {
        let [proxy, other] = shares(100_000, ["10.0.0.1", "192.0.2.1"]);
        assert_eq!((proxy.try_take(100_000), proxy.spent()), (Ok(()), None));
        assert_eq!((proxy.try_take(20_000), other.try_take(20_000)), (Err(Spent::All), Err(Spent::All)));
        assert_eq!(other.of_address().map(|held| held.load(Relaxed)), Some(0), "what is refused is not held");
    }

    #[tokio::test]
    async fn refusals_are_told_of() {
        let budget = Budget::new(1, Gauge::noop());
        budget.refuses(Spent::All);
        budget.refuses(Spent::Address);
        budget.refuses(Spent::All);
        budget.refused().await;
        assert_eq!(budget.refusals(), [(Spent::All, 2), (Spent::Address, 1)]);
        assert_eq!(budget.refusals(), [(Spent::All, 0), (Spent::Address, 0)]);
    }

    #[tokio::test]
    async fn a_connection_waits_for_its_own_bytes() {
        let [one, other] = shares(PARTS * LEAST_SHARE, ["192.0.2.1", "192.0.2.1"]);
        let one = Arc::new(one);
        one.take(LEAST_SHARE);
        assert!(!one.has_room() && other.has_room());
        let waiting = tokio::spawn({
            let one = Arc::clone(&one);
            async move { one.room().await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        one.give_back(1);
        waiting.await.expect("it goes on");
    }
}
