//! How often a password may be guessed.
//!
//! Ten failures in a quarter of an hour are free, of one account from one network. Then that network waits until the
//! quarter is over. Ten failures of one account from anywhere slow down everybody who tries it, by a wait that doubles up
//! to a minute; but not a network its owner signed in from before. So nobody can lock an owner out for good: from where
//! they usually come they do not meet the wait, unless somebody guesses from the same network. From elsewhere they can be
//! held up for as long as somebody goes on guessing.
//!
//! Failures are kept in the database, so that they count across processes. Each is counted before its password is looked
//! at, under a condition, so that a hundred guesses at once are no more than ten. Accounts that are not there are counted
//! alike, so that nobody can tell. Each row costs a hash of a password and goes after the quarter of an hour: that bounds
//! their number.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use konverse_model::Instant;
use konverse_store::Attempts;
use sha2::{Digest, Sha256};

use crate::{Domain, DomainError};

/// Failures that are free.
const FREE: i64 = 10;

/// How long failures count, in milliseconds.
const WINDOW_MS: i64 = 15 * 60_000;

/// The longest wait for an account's sake, in milliseconds.
const LONGEST_MS: i64 = 60_000;

/// Times an attempt is counted anew when others count at the same moment.
const TRIES: u32 = 40;

/// Where attempts on an account are counted.
pub(super) struct Counted {
    /// Of one network.
    near: [u8; 32],
    /// From everywhere; not asked for a network the owner signed in from.
    everywhere: Option<[u8; 32]>,
}

/// Whose failures they are.
#[derive(Clone, Copy)]
enum Of {
    Network,
    Everybody,
}

/// The network of an address: what one household, office or server is given. IPv6 addresses are handed out by the /64 at
/// least, often by the /56.
pub(super) fn network(address: Option<IpAddr>) -> String {
    let net = match address.map(|address| address.to_canonical()) {
        Some(IpAddr::V4(address)) => Ipv4Net::new(address, 24).map(IpNet::from),
        Some(IpAddr::V6(address)) => Ipv6Net::new(address, 56).map(IpNet::from),
        None => return "nowhere".to_owned(),
    };
    net.map_or_else(|_| "nowhere".to_owned(), |net| net.trunc().to_string())
}

impl Counted {
    pub(super) fn new(org: &str, email: &str, network: &str, remembered: bool) -> Self {
        let hash = |parts: &[&str]| {
            let mut hash = Sha256::new();
            for part in parts {
                hash.update((part.len() as u64).to_be_bytes());
                hash.update(part);
            }
            hash.finalize().into()
        };
        Self { near: hash(&[org, email, network]), everywhere: (!remembered).then(|| hash(&[org, email])) }
    }

    fn each(&self) -> impl Iterator<Item = ([u8; 32], Of)> {
        let everywhere = self.everywhere.map(|hash| (hash, Of::Everybody));
        [(self.near, Of::Network)].into_iter().chain(everywhere)
    }
}

impl Of {
    /// Whether these failures still count. Some of the future were counted before the clock was set back.
    fn counts(self, was: Attempts, now: Instant) -> bool {
        let from = match self {
            Of::Network => was.since,
            Of::Everybody => was.last,
        };
        from <= now && now.since(from) < WINDOW_MS
    }

    /// How many milliseconds to wait after these failures.
    fn wait(self, was: Attempts, now: Instant) -> i64 {
        if was.failures < FREE || !self.counts(was, now) {
            return 0;
        }
        match self {
            Of::Network => WINDOW_MS - now.since(was.since),
            Of::Everybody => {
                let doublings = (was.failures - FREE).clamp(0, 16);
                (1_000_i64 << doublings).min(LONGEST_MS) - now.since(was.last)
            }
        }
    }

    fn next(self, was: Option<Attempts>, now: Instant) -> Attempts {
        match was.filter(|was| self.counts(*was, now)) {
            Some(was) => Attempts { failures: was.failures + 1, last: now.max(was.last), ..was },
            None => Attempts { failures: 1, since: now, last: now },
        }
    }
}

fn after(millis: i64) -> DomainError {
    DomainError::TooOften { seconds: u64::try_from(millis).unwrap_or(1).div_ceil(1_000).max(1) }
}

impl Domain {
    /// Whether an attempt may be made now; nothing is counted.
    pub(super) async fn may_try(&self, counted: &Counted) -> Result<(), DomainError> {
        for (hash, of) in counted.each() {
            let was = self.store.attempts(hash).await?;
            match was.map_or(0, |was| of.wait(was, self.now())) {
                ..=0 => {}
                wait => return Err(after(wait)),
            }
        }
        Ok(())
    }

    /// Counts an attempt as failed before it is made, unless it may not be made.
    pub(super) async fn count_attempt(&self, counted: &Counted) -> Result<(), DomainError> {
        for (hash, of) in counted.each() {
            let mut tries = 0;
            loop {
                let was = self.store.attempts(hash).await?;
                let now = self.now();
                match was.map_or(0, |was| of.wait(was, now)) {
                    ..=0 => {}
                    wait => return Err(after(wait)),
                }
                if self.store.put_attempts(hash, was, of.next(was, now), now.plus(-WINDOW_MS)).await? {
                    break;
                }
                tries += 1;
                if tries == TRIES {
                    return Err(DomainError::Crowded);
                }
                self.wait_turn(tries).await;
            }
        }
        Ok(())
    }

    /// Forgets the failures before a right password. Those from everywhere are forgotten only by whoever they hold up, or each
    /// sign-in of the owner would give ten more to whoever guesses.
    pub(super) async fn forgive(&self, counted: &Counted) -> Result<(), DomainError> {
        let hashes: Vec<_> = counted.each().map(|(hash, _)| hash).collect();
        Ok(self.store.forget_attempts(&hashes).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_minute_and_end() {
        let at = Instant::from_millis(1_000_000_000);
        let failed = |failures| Attempts { failures, since: at, last: at };
        assert_eq!(
            [9, 10, 11, 15, 16, 400].map(|n| Of::Everybody.wait(failed(n), at)),
            [0, 1_000, 2_000, 32_000, 60_000, 60_000]
        );
        assert_eq!([9, 10].map(|n| Of::Network.wait(failed(n), at)), [0, WINDOW_MS]);
        for later in [WINDOW_MS, -1] {
            let then = at.plus(later);
            assert!(Of::Network.wait(failed(50), then) <= 0 && Of::Everybody.wait(failed(50), then) <= 0, "{later}");
            assert_eq!(Of::Network.next(Some(failed(50)), then).failures, 1);
        }
    }

    #[test]
    fn a_network_is_what_one_household_has() {
        let of = |text: &str| network(text.parse().ok());
        assert_eq!(of("203.0.113.7"), "203.0.113.0/24");
        assert_eq!(of("::ffff:203.0.113.7"), "203.0.113.0/24");
        assert_eq!(of("2001:db8:1:2ff::1"), "2001:db8:1:200::/56");
        assert_eq!(of("none"), "nowhere");
    }
}
