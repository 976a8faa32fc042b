//! Checks of the source tree: `cargo run -p xtask -- arch`.

mod arch;

use std::io::Write;

use anyhow::{Result, bail};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let verdict = match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["arch"] => arch::check()?,
        _ => bail!("usage: cargo run -p xtask -- arch"),
    };
    writeln!(std::io::stdout(), "{verdict}")?;
    Ok(())
}
