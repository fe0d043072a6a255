//! Journals, and books and signals in files, under libFuzzer; what must be true of any bytes stands in `house/reads/journal.rs`. Started by
//! `tests/fuzz/run journal SECONDS`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| house::journals(bytes));
