//! What systemd is told, or whoever else listens at `NOTIFY_SOCKET`: that konverse serves, that it stops, that it lives.

use std::net::SocketAddr;
use std::time::Duration;

use konverse_jobs::Tasks;
use sd_notify::NotifyState;
use tokio::sync::watch;

/// It serves.
pub(crate) fn ready(address: SocketAddr) {
    tell(&[NotifyState::Ready, NotifyState::Status(&format!("serving on {address}"))]);
}

/// It lets running requests finish.
pub(crate) fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("finishing the requests that are running")]);
}

/// Says that it lives, twice as often as is asked for, if it is. On this runtime and only while the tasks come round:
/// what is shown is that the process runs, which beginning anew can mend. That the database answers is not shown, since
/// it would not answer sooner to a process that begins anew; `/readyz` tells of it.
///
/// This goes on to the very end, when the tasks have ended already: requests may still be running.
pub(crate) fn say_that_it_lives(tasks: &Tasks, stopped: &watch::Receiver<bool>) {
    let Some(limit) = sd_notify::watchdog_enabled().filter(|limit| !limit.is_zero()) else { return };
    let (tasks, stopped) = (tasks.clone(), stopped.clone());
    let lives = move || {
        let ailing = if *stopped.borrow() { Vec::new() } else { tasks.ailing() };
        if !ailing.is_empty() {
            tracing::error!("what runs by itself has not come round for long: {}", ailing.join(", "));
        }
        ailing.is_empty()
    };
    // Whoever listens notices when this one ends: that needs no watching of its own.
    tokio::spawn(beat(limit / 2, lives, || tell(&[NotifyState::Watchdog])));
}

async fn beat(every: Duration, mut lives: impl FnMut() -> bool, mut tell: impl FnMut()) {
    let mut ticks = tokio::time::interval(every);
    loop {
        ticks.tick().await;
        if lives() {
            tell();
        }
    }
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the service manager cannot be told how things are");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn it_says_that_it_lives_only_while_it_does() {
        let told = AtomicUsize::new(0);
        let (done, end) = tokio::sync::oneshot::channel();
        let (mut script, mut done) = ([true, false, false, true, false].into_iter(), Some(done));
        let lives = || {
            script.next().unwrap_or_else(|| {
                done.take().map(|done| done.send(()));
                false
            })
        };
        let tell = || {
            told.fetch_add(1, Ordering::SeqCst);
        };
        tokio::select! {
            () = beat(Duration::from_micros(1), lives, tell) => {}
            _ = end => {}
        }
        assert_eq!(told.load(Ordering::SeqCst), 2);
    }
}
