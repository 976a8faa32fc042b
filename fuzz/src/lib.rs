//! What the targets share: a konverse to ask, made anew now and then, so that it does not fill up.

use std::cell::RefCell;

use konverse_testkit::Backend;
use konverse_testkit::probe::Probe;
use tokio::runtime::{Builder, Runtime};

/// Inputs that one konverse is asked.
const INPUTS: u32 = 4_000;

struct Ground {
    runtime: Runtime,
    probe: Option<Probe>,
    left: u32,
}

thread_local! {
    static GROUND: RefCell<Ground> = RefCell::new(Ground {
        runtime: Builder::new_current_thread().enable_all().build().expect("a runtime"),
        probe: None,
        left: 0,
    });
}

/// Asks a konverse over a temporary SQLite file.
pub fn ask<T>(with: impl AsyncFnOnce(&Probe) -> T) {
    GROUND.with_borrow_mut(|Ground { runtime, probe, left }| {
        if *left == 0 {
            *probe = None;
            *left = INPUTS;
        }
        *left -= 1;
        runtime.block_on(async {
            if probe.is_none() {
                *probe = Some(Probe::new(Backend::Sqlite).await);
            }
            if let Some(probe) = probe {
                with(probe).await;
            }
        });
    });
}
