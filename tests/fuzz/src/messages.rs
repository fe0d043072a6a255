//! What the stream of signals brings under libFuzzer; what must be true of any bytes stands in `house/reads/messages.rs`. Started by
//! `tests/fuzz/run messages SECONDS`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| house::messages(bytes));
