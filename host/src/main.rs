//! quantTrader's host: takes trading signals from a backend, carries them out through a broker plugin, and reports back.

mod alerts;
mod app;
mod backend;
mod backoff;
mod book;
mod book_sync;
mod broker;
mod cli;
mod clock;
mod config;
mod conformance;
mod control;
mod desk;
mod down;
mod engine;
mod equity;
mod exchange;
mod export;
mod failpoint;
mod gating;
mod hosting;
mod journal;
mod kept;
mod layout;
mod lease;
mod monitor;
mod paper;
mod patience;
mod plugin;
mod round;
mod sandbox;
mod secrets;
mod system;
mod telemetry;
mod tend;

use std::io::Write;

fn main() {
    // What is in memory when a process crashes, the token among it, does not go to the disk.
    system::leave_no_core_dump();
    system::give_large_blocks_back();
    let mut code = 0;
    if let Err(failure) = cli::main(std::env::args_os()) {
        code = failure.code;
        if !failure.message.is_empty() {
            // Nobody may be reading standard error any more; the exit code still tells.
            let _ = writeln!(std::io::stderr(), "error: {}", failure.message);
        }
    }
    let _ = std::io::stdout().flush();
    // Whatever a plugin's libraries put down for the end of this process.
    system::exit(code)
}
