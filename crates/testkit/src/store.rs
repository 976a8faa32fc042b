//! A store of either engine, empty and its own, with time and randomness under the test's control.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use konverse_domain::Entropy;
use konverse_model::{Clock, Instant};
use konverse_store::Store;

use crate::Place;

/// An engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// Embedded SQLite, in a folder of its own.
    Sqlite,
    /// PostgreSQL, in a database of its own.
    Postgres,
}

/// A clock that stands still until it is moved.
#[derive(Debug)]
pub struct TestClock(AtomicI64);

impl TestClock {
    /// Stands at this moment.
    pub fn at(now: Instant) -> Self {
        Self(AtomicI64::new(now.millis()))
    }

    /// Moves on.
    pub fn advance(&self, millis: i64) {
        self.0.fetch_add(millis, Ordering::SeqCst);
    }
}

impl Default for TestClock {
    /// Stands at 2026-10-24T09:00:00.000Z.
    fn default() -> Self {
        Self(AtomicI64::new(1_792_832_400_000))
    }
}

impl Clock for TestClock {
    fn now(&self) -> Instant {
        Instant::from_millis(self.0.load(Ordering::SeqCst))
    }
}

/// Randomness that is the same every time: a counter, well mixed (splitmix64).
pub fn seeded(seed: u64) -> Entropy {
    let state = AtomicU64::new(seed);
    Arc::new(move |buffer| {
        for byte in buffer {
            let mut z = state.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::SeqCst);
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            *byte = (z >> 56) as u8;
        }
    })
}

/// A store and what it lives in.
pub struct TestStore {
    store: Arc<dyn Store>,
    place: Place,
}

impl TestStore {
    /// An empty store.
    ///
    /// # Panics
    /// When it cannot be made.
    pub async fn new(backend: Backend) -> Self {
        Self::at(Place::empty(backend).await).await
    }

    /// The store of a place.
    ///
    /// # Panics
    /// When it cannot be opened.
    pub async fn at(place: Place) -> Self {
        let store = place.open().await.expect("the store opens");
        Self { store, place }
    }

    /// The store.
    pub fn store(&self) -> Arc<dyn Store> {
        Arc::clone(&self.store)
    }

    /// The engine.
    pub fn backend(&self) -> Backend {
        self.place.backend()
    }

    /// Where it lies: for plain SQL.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// The `--database` value that opens the same data.
    pub fn url(&self) -> String {
        self.place.url()
    }

    /// Another store on the same data, as another process would have it.
    ///
    /// # Panics
    /// When it cannot be opened.
    pub async fn reopened(&self) -> Arc<dyn Store> {
        self.place.open().await.expect("the store opens again")
    }
}
