//! miniQMT, from end to end: the real host, the real plugin and its bridge, the real xttrader.py of the package index,
//! and a counter of ours in the place of the native module, whose ledger is the judge.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod bridge;
mod conforms;
mod doctor;
mod faults;
mod kills;
mod remote;
mod scene;
mod session;
mod trading;
mod transcript;

use scene::{Lane, Scene};
