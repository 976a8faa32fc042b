//! The `konverse` program.

use std::process::ExitCode;

// The list answers with large short-lived buffers, which this allocator hands out without asking the system each time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    konverse::cli::main()
}
