//! The lanes of an org's sequence: which one a change takes, and the numbers and moments it gives.
//!
//! A change locks its lanes first, in ascending order, and keeps them until its commit. So the changes of a lane are
//! committed in the order in which they got their numbers and their `updatedAt`, and two changes that lock nothing but
//! lanes before anything else cannot deadlock over what belongs to one customer.

use konverse_model::{CustomerId, Instant, Kind};

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
    /// How many records of each kind have it, as it is stored.
    pub used: i64,
}

/// How many records of each kind have one `updatedAt`; those of kinds that are few together, in the last place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts([i64; COUNTED.len() + 1]);

/// The kinds whose records are counted by themselves. Their order is stored, and there is room for no more.
const COUNTED: [Kind; 9] = [
    Kind::Customer,
    Kind::Conversation,
    Kind::Message,
    Kind::Note,
    Kind::User,
    Kind::Team,
    Kind::Tag,
    Kind::Token,
    Kind::Company,
];

/// Bits of a stored count: enough for [`SHARED_STAMP`].
const COUNT_BITS: usize = 6;

impl Counts {
    fn place(kind: Kind) -> usize {
        COUNTED.iter().position(|one| *one == kind).unwrap_or(COUNTED.len())
    }

    pub(crate) fn of(self, kind: Kind) -> i64 {
        self.0[Self::place(kind)]
    }

    pub(crate) fn add(&mut self, kind: Kind) {
        self.0[Self::place(kind)] += 1;
    }

    pub(crate) fn any(self) -> bool {
        self.0.iter().any(|count| *count > 0)
    }

    fn read(stored: i64) -> Self {
        Self(std::array::from_fn(|place| (stored >> (COUNT_BITS * place)) & ((1 << COUNT_BITS) - 1)))
    }

    fn stored(self) -> i64 {
        self.0.iter().enumerate().fold(0, |stored, (place, count)| stored | (count << (COUNT_BITS * place)))
    }
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

/// Gives out `updatedAt`: never before the moment the change was handed over, never before one the lane has given, and to
/// few records at once.
pub(crate) struct Stamps {
    share: i64,
    start: Instant,
    /// Records that have `start` already.
    used: Counts,
    wanted: Counts,
}

impl Stamps {
    /// Stamps for a change of so many records of each kind, in these lanes.
    pub(crate) fn new(dialect: Dialect, lanes: &[LaneState], now: Instant, wanted: Counts) -> Self {
        let share = dialect.share();
        let start = lanes.iter().map(|lane| lane.at).max().map_or(now, |at| at.max(now));
        let mut used = Counts::default();
        for lane in lanes.iter().filter(|lane| lane.at == start) {
            let counts = Counts::read(lane.used);
            for (most, count) in used.0.iter_mut().zip(counts.0) {
                *most = count.max(*most);
            }
        }
        // A kind for whose records there is no room at the start begins a millisecond later.
        for (used, wanted) in used.0.iter_mut().zip(wanted.0) {
            if *used > 0 && wanted > 0 && *used + wanted > share {
                *used = share;
            }
        }
        Self { share, start, used, wanted }
    }

    /// The first moment of the change.
    pub(crate) const fn start(&self) -> Instant {
        self.start
    }

    /// The stamp of the n-th record of its kind, from 0.
    pub(crate) fn nth(&self, kind: Kind, n: i64) -> Instant {
        self.start.plus((self.used.of(kind) + n) / self.share)
    }

    /// Where the lanes stand after the change: the newest stamp, and what has it, as it is stored.
    pub(crate) fn end(&self) -> (Instant, i64) {
        let all: Vec<i64> = self.used.0.iter().zip(&self.wanted.0).map(|(used, wanted)| used + wanted).collect();
        let steps = all.iter().map(|all| (all - 1).max(0) / self.share).max().unwrap_or(0);
        let left = Counts(std::array::from_fn(|place| (all[place] - steps * self.share).max(0)));
        (self.start.plus(steps), left.stored())
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
            let mut shared: HashMap<(Kind, Instant), i64> = HashMap::new();
            // A clock that stands still, jumps and steps back.
            for (n, now) in [0, 0, 0, 7, 7, 3, 3, 3, 3, 0, 0, 0, 500].into_iter().cycle().take(400).enumerate() {
                let n_lane = n % lanes.len();
                let mut wanted = Counts::default();
                (0..[1, 1, 3, 41, 0][n % 5]).for_each(|_| wanted.add(Kind::Message));
                (0..[1, 0, 2, 1, 25][n % 5]).for_each(|_| wanted.add(Kind::Customer));
                let before = lanes[n_lane];
                let stamps = Stamps::new(dialect, &lanes[n_lane..=n_lane], at(now), wanted);
                for kind in [Kind::Message, Kind::Customer] {
                    for record in 0..wanted.of(kind) {
                        let stamp = stamps.nth(kind, record);
                        assert!(stamp >= before.at && stamp >= at(now) && stamp <= stamps.end().0);
                        *shared.entry((kind, stamp)).or_default() += 1;
                    }
                }
                let (end, used) = stamps.end();
                assert!(end >= before.at);
                lanes[n_lane] = LaneState { seq: 0, at: end, used };
            }
            assert!(shared.values().all(|count| *count <= SHARED_STAMP), "{:?}", shared.values().max());
        }
    }

    #[test]
    fn kinds_do_not_use_up_each_others_moments() {
        let mut lane = LaneState { seq: 0, at: at(0), used: 0 };
        for kind in COUNTED {
            let mut wanted = Counts::default();
            wanted.add(kind);
            let stamps = Stamps::new(Dialect::Postgres, &[lane], at(0), wanted);
            assert_eq!(stamps.nth(kind, 0), at(0), "{kind:?}");
            let (end, used) = stamps.end();
            assert_eq!(Counts::read(used).stored(), used);
            lane = LaneState { seq: 0, at: end, used };
        }
        let mut wanted = Counts::default();
        wanted.add(Kind::Token);
        assert_eq!(Stamps::new(Dialect::Postgres, &[lane], at(0), wanted).nth(Kind::Token, 0), at(1));
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
