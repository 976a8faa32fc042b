//! The lanes of an org's sequence: which one a change takes, and the numbers and moments it gives.
//!
//! A change locks its lanes first, in ascending order, and keeps them until its commit. So the changes of a lane are
//! committed in the order in which they got their numbers and their `updatedAt`, and two changes that lock nothing but
//! lanes before anything else cannot deadlock over what belongs to one customer.

use konverse_model::{CustomerId, Instant};

use crate::Dialect;

/// Records of one kind and org that may share an `updatedAt`: clients that page by it loop for ever when a page full
/// does.
const SHARED_STAMP: i64 = 20;

/// A lane as it was locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaneState {
    /// The newest event's number.
    pub seq: i64,
    /// The newest `updatedAt` given.
    pub at: Instant,
    /// How many records of a kind have it at most.
    pub used: i64,
}

impl Dialect {
    /// How many lanes an org has. SQLite has one writer and so needs no more.
    pub const fn lanes(self) -> u8 {
        match self {
            Dialect::Sqlite => 1,
            Dialect::Postgres => 16,
        }
    }

    /// The lane of a customer. The last bytes of an id count up, so customers spread evenly. The migration that brought
    /// the lanes knows the same rule.
    pub fn lane_of(self, customer: Option<CustomerId>) -> u8 {
        match (self, customer) {
            (Dialect::Sqlite, _) | (_, None) => 0,
            (Dialect::Postgres, Some(customer)) => {
                let bytes = customer.0.bytes();
                let tail = u16::from_be_bytes([bytes[10], bytes[11]]);
                // 15 at most.
                1 + (tail % u16::from(self.lanes() - 1)) as u8
            }
        }
    }

    /// How many records of a kind one lane may give the same `updatedAt`: all lanes together keep [`SHARED_STAMP`].
    const fn share(self) -> i64 {
        SHARED_STAMP / self.lanes() as i64
    }
}

/// Gives out `updatedAt`: never before the present, never before one the lane has given, and to few records at once.
pub(crate) struct Stamps {
    share: i64,
    start: Instant,
    /// Records of a kind that have `start` already.
    used: i64,
}

impl Stamps {
    /// Stamps for a change of at most `most` records of one kind, in these lanes.
    pub(crate) fn new(dialect: Dialect, lanes: &[LaneState], now: Instant, most: i64) -> Self {
        let share = dialect.share();
        let start = lanes.iter().map(|lane| lane.at).max().map_or(now, |at| at.max(now));
        let used = lanes.iter().filter(|lane| lane.at == start).map(|lane| lane.used).max().unwrap_or(0);
        if used > 0 && used + most > share {
            return Self { share, start: start.plus(1), used: 0 };
        }
        Self { share, start, used }
    }

    /// The stamp of the n-th record of its kind, from 0.
    pub(crate) fn nth(&self, n: i64) -> Instant {
        self.start.plus((self.used + n) / self.share)
    }

    /// Where the lanes stand after `most` records of the most frequent kind.
    pub(crate) fn end(&self, most: i64) -> (Instant, i64) {
        if most == 0 {
            return (self.start, self.used);
        }
        let all = self.used + most;
        (self.nth(most - 1), (all - 1) % self.share + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    fn at(millis: i64) -> Instant {
        Instant::from_millis(1_000_000 + millis)
    }

    #[test]
    fn few_records_share_a_stamp_and_no_stamp_goes_back() {
        for dialect in [Dialect::Sqlite, Dialect::Postgres] {
            let mut lanes = vec![LaneState { seq: 0, at: at(-5), used: 0 }; usize::from(dialect.lanes())];
            let mut shared: HashMap<Instant, i64> = HashMap::new();
            // A clock that stands still, jumps and steps back.
            for (n, now) in [0, 0, 0, 7, 7, 3, 3, 3, 3, 0, 0, 0, 500].into_iter().cycle().take(400).enumerate() {
                let n_lane = n % lanes.len();
                let most = [1, 1, 3, 41, 0][n % 5];
                let before = lanes[n_lane];
                let stamps = Stamps::new(dialect, &lanes[n_lane..=n_lane], at(now), most);
                for record in 0..most {
                    let stamp = stamps.nth(record);
                    assert!(stamp >= before.at && stamp >= at(now));
                    *shared.entry(stamp).or_default() += 1;
                }
                let (end, used) = stamps.end(most);
                assert!(end >= before.at);
                lanes[n_lane] = LaneState { seq: 0, at: end, used };
            }
            assert!(shared.values().all(|count| *count <= SHARED_STAMP), "{:?}", shared.values().max());
        }
    }

    #[test]
    fn customers_spread_over_lanes_and_keep_theirs() {
        let id = |n: u32| {
            let mut bytes = [0; 12];
            bytes[8..].copy_from_slice(&n.to_be_bytes());
            CustomerId(konverse_model::Id::from_bytes(bytes))
        };
        let lanes: Vec<u8> = (0..3000).map(|n| Dialect::Postgres.lane_of(Some(id(n)))).collect();
        for lane in 1..16 {
            assert_eq!(lanes.iter().filter(|one| **one == lane).count(), 200);
        }
        assert_eq!(Dialect::Postgres.lane_of(None), 0);
        assert_eq!(Dialect::Sqlite.lane_of(Some(id(7))), 0);
    }
}
