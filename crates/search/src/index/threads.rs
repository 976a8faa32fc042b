//! Threads of the index's own: requests never wait behind what they do, and what they do never takes a request's thread.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::{io, thread};

use parking_lot::Mutex;
use tokio::sync::oneshot;

/// How much less than requests they count for the processor, from 0 to 19. The system may forbid to say so.
const LESS: i32 = 10;

type Work = Box<dyn FnOnce() + Send>;

/// A few threads with a bounded queue.
#[derive(Debug)]
pub(super) struct Threads(SyncSender<Work>);

/// As much waits as may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full;

impl Threads {
    /// So many threads of a name; as much work may wait for them. They end when this is dropped.
    pub(super) fn start(name: &str, count: usize, waiting: usize) -> io::Result<Self> {
        let (sender, queue) = sync_channel(waiting);
        let queue = Arc::new(Mutex::new(queue));
        for _ in 0..count {
            let queue = Arc::clone(&queue);
            thread::Builder::new().name(name.to_owned()).spawn(move || work_through(&queue))?;
        }
        Ok(Self(sender))
    }

    /// Hands work over. The answer never comes when the work panics.
    pub(super) fn hand<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<oneshot::Receiver<T>, Full> {
        let (answer, receiver) = oneshot::channel();
        let work = move || drop(answer.send(work()));
        match self.0.try_send(Box::new(work)) {
            Ok(()) => Ok(receiver),
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => Err(Full),
        }
    }
}

fn work_through(queue: &Mutex<Receiver<Work>>) {
    #[cfg(target_os = "linux")]
    let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), LESS);
    loop {
        let next = queue.lock().recv();
        let Ok(work) = next else { return };
        if catch_unwind(AssertUnwindSafe(work)).is_err() {
            tracing::error!("work on a search index panicked; standard error says where");
        }
    }
}
