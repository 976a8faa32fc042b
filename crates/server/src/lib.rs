//! The only place that knows everything: configuration, wiring, lifecycle, the command line.

mod backup;
mod check;
pub mod cli;
mod clock;
mod clockwork;
mod conversations;
pub mod database;
mod demo;
mod edge;
mod import;
mod orgs;
#[cfg(feature = "otel")]
mod otel;
mod redact;
mod search;
mod serve;
mod systemd;
mod telemetry;

pub use clock::{SystemClock, system_entropy};
