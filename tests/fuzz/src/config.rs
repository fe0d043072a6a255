//! Configurations under libFuzzer; what must be true of any bytes stands in `house/reads/config.rs`. Started by
//! `tests/fuzz/run config SECONDS`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| house::configuration(bytes));
