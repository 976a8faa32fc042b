//! An org's budget of requests in a fixed minute (contract README §9).

use std::collections::HashMap;

use konverse_model::{Instant, OrgId};
use parking_lot::Mutex;

/// What the headers say where there is no limit: a number no client ever meets.
const UNLIMITED: u32 = 1_000_000_000;

const WINDOW_MS: i64 = 60_000;

/// Budgets of all orgs.
pub(crate) struct Budget {
    limit: u32,
    spent: Mutex<HashMap<OrgId, (i64, u32)>>,
}

/// What is left of a budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Left {
    pub(crate) limit: u32,
    pub(crate) remaining: u32,
    /// When the window ends, in seconds since the Unix epoch.
    pub(crate) reset: i64,
    /// This request came after the budget was spent.
    pub(crate) exceeded: bool,
}

impl Budget {
    pub(crate) fn new(limit: u32) -> Self {
        Self { limit, spent: Mutex::default() }
    }

    /// Takes one request from the org's budget.
    pub(crate) fn take(&self, org: OrgId, now: Instant) -> Left {
        let window = now.millis().div_euclid(WINDOW_MS);
        let reset = (window + 1) * WINDOW_MS / 1000;
        if self.limit == 0 {
            return Left { limit: UNLIMITED, remaining: UNLIMITED, reset, exceeded: false };
        }
        let mut spent = self.spent.lock();
        let entry = spent.entry(org).or_insert((window, 0));
        if entry.0 != window {
            *entry = (window, 0);
        }
        let exceeded = entry.1 >= self.limit;
        if !exceeded {
            entry.1 += 1;
        }
        // A client that reads 0 on a success stops for good (§9), so the last request of a budget still reads 1.
        let remaining = if exceeded { 0 } else { (self.limit - entry.1).max(1) };
        Left { limit: self.limit, remaining, reset, exceeded }
    }

    /// The budget as it stands for a caller who is not known.
    pub(crate) fn untouched(&self, now: Instant) -> Left {
        let limit = if self.limit == 0 { UNLIMITED } else { self.limit };
        let reset = (now.millis().div_euclid(WINDOW_MS) + 1) * WINDOW_MS / 1000;
        Left { limit, remaining: limit, reset, exceeded: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use konverse_model::Id;

    #[test]
    fn a_minute_has_its_budget_and_the_next_a_new_one() {
        let budget = Budget::new(3);
        let org = OrgId(Id::from_bytes([1; 12]));
        let other = OrgId(Id::from_bytes([2; 12]));
        let at = Instant::from_millis(120_000);
        let remaining: Vec<_> = (0..4).map(|_| budget.take(org, at)).collect();
        assert_eq!(remaining.iter().map(|left| left.remaining).collect::<Vec<_>>(), [2, 1, 1, 0]);
        assert_eq!(remaining.iter().map(|left| left.exceeded).collect::<Vec<_>>(), [false, false, false, true]);
        assert_eq!(remaining[0].reset, 180);
        assert!(!budget.take(other, at).exceeded);
        assert!(!budget.take(org, at.plus(60_000)).exceeded);
    }
}
