//! When to give up: after a set time, or when the user asks. Whatever waits asks here, so that guards still end the
//! children and remove the folder.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use tokio::signal::unix::{SignalKind, signal};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// How often a condition is looked at again.
const LOOK: Duration = Duration::from_millis(5);

/// The end of the time that a run may take.
#[derive(Clone, Copy, Debug)]
pub struct Limit(Instant);

impl Limit {
    /// A limit that begins to count now.
    pub fn after(time: Duration) -> Self {
        Self(Instant::now() + time)
    }

    /// Fails when the run has to end.
    pub fn check(self) -> Result<()> {
        if INTERRUPTED.load(Ordering::Relaxed) {
            bail!("interrupted");
        }
        if Instant::now() > self.0 {
            bail!("the run took longer than --timeout allows");
        }
        Ok(())
    }

    /// Does nothing for so long.
    pub fn rest(self, time: Duration) -> Result<()> {
        let end = Instant::now() + time;
        loop {
            self.check()?;
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            sleep(left.min(Duration::from_millis(50)));
        }
    }

    /// Looks again and again until something is so: how long it took, or `None` when it was not so within `time`.
    pub fn until(self, time: Duration, mut so: impl FnMut() -> Result<bool>) -> Result<Option<Duration>> {
        let start = Instant::now();
        loop {
            if so()? {
                return Ok(Some(start.elapsed()));
            }
            self.check()?;
            if start.elapsed() > time {
                return Ok(None);
            }
            sleep(LOOK);
        }
    }
}

/// Turns SIGINT and SIGTERM into a failing [`Limit::check`].
pub fn watch_signals() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut interrupt, mut terminate) = {
        let _inside = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
    };
    std::thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        });
        INTERRUPTED.store(true, Ordering::Relaxed);
    });
    Ok(())
}
