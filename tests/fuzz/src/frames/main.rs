//! What host and worker read from each other under libFuzzer, in both directions: whatever the bytes are, the reader
//! ends, keeps to its bounds, and what it takes it would write again in the same way. Started by
//! `tests/fuzz/run frames SECONDS`.
#![no_main]

mod broker;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| broker::worker::read(bytes));
