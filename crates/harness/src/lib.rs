//! What programs share that try or measure konverse from outside: child processes that end with the value that stands for
//! them, a PostgreSQL of the run's own, when to give up, and chance that repeats itself.

mod limit;
mod postgres;
mod process;
mod random;

pub use limit::{Limit, watch_signals};
pub use postgres::{Cluster, PROGRAMS_VARIABLE, programs_with};
pub use process::{Process, children, clean, free_port, konverse, output, tail};
pub use random::Random;
