//! The only place that knows everything: configuration, wiring, lifecycle, the command line.

pub mod cli;
mod clock;
mod clockwork;
mod conversations;
pub mod database;
mod demo;
mod import;
mod orgs;
#[cfg(feature = "otel")]
mod otel;
mod serve;
mod systemd;
mod telemetry;

pub use clock::{SystemClock, system_entropy};
