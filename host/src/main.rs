//! quantTrader's host: takes trading signals from a backend, carries them out through a broker plugin, and reports back.

// A binary has no outside: `pub` says here what a room offers to the other rooms.
#![allow(unreachable_pub)]
// The rooms are joined one after the other; until then, what one offers may have no caller.
#![allow(dead_code)]

mod backend;
mod cli;
mod clock;
mod config;
mod engine {
    pub(crate) mod input;
}
#[allow(unused_imports)]
mod plugin;
mod system;
mod telemetry;

use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    let Err(failure) = cli::main(std::env::args_os()) else {
        return ExitCode::SUCCESS;
    };
    if !failure.message.is_empty() {
        // Nobody may be reading standard error any more; the exit code still tells.
        let _ = writeln!(std::io::stderr(), "error: {}", failure.message);
    }
    ExitCode::from(failure.code)
}
