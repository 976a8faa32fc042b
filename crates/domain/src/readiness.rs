//! Whether konverse can serve: its database proves it by taking a write. Anybody may ask, so the proof is shared: whoever
//! asks is told what the last one was, and there is at most one a second, and never two at once.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use konverse_model::Instant;
use konverse_store::Unready;
use tokio::sync::watch;
use tokio::time::{Instant as Stopwatch, timeout_at};

use crate::Domain;

/// Milliseconds for which a proof counts.
const FRESH: i64 = 1_000;

/// How long a proof may take. One that takes longer goes on, so that those who ask do not make the database do ever more
/// at once.
const LONGEST: Duration = Duration::from_secs(5);

/// The last proof.
#[derive(Default)]
pub(crate) struct Readiness(Mutex<Option<Proof>>);

#[derive(Clone)]
struct Proof {
    begun: Instant,
    until: Stopwatch,
    outcome: watch::Receiver<Option<Result<(), Unready>>>,
}

impl Proof {
    /// Whether it stands for one that would be begun now.
    fn stands(&self, now: Instant) -> bool {
        let is_running = self.outcome.borrow().is_none() && self.outcome.has_changed().is_ok();
        // A clock that was put back makes it old.
        is_running || (now >= self.begun && now.since(self.begun) < FRESH)
    }
}

impl Domain {
    /// Whether the database can serve.
    pub async fn ready(&self) -> Result<(), Unready> {
        let mut proof = self.proof();
        let late = |_| Unready::NoWrite(format!("a write was not done within {LONGEST:?}"));
        let known = timeout_at(proof.until, proof.outcome.wait_for(Option::is_some)).await.map_err(late)?;
        let outcome = known.ok().and_then(|outcome| outcome.clone());
        outcome.unwrap_or_else(|| Err(Unready::NoAnswer("the proof ended without an outcome".into())))
    }

    /// The last proof, or a new one if that is too old.
    fn proof(&self) -> Proof {
        let now = self.now();
        let mut last = self.readiness.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(proof) = last.as_ref().filter(|proof| proof.stands(now)) {
            return proof.clone();
        }
        let (tell, outcome) = watch::channel(None);
        let store = Arc::clone(&self.store);
        tokio::spawn(async move {
            let proven = store.prove(now).await;
            tell.send_replace(Some(proven));
        });
        last.insert(Proof { begun: now, until: Stopwatch::now() + LONGEST, outcome }).clone()
    }
}
