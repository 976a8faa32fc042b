//! The `konverse` program.

use std::process::ExitCode;

// The list answers with large short-lived buffers; measured against the system's allocator in docs/benchmarks.md.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    konverse::cli::main()
}
