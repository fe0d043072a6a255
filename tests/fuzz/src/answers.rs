//! What the backend answers under libFuzzer; what must be true of any bytes stands in `house/reads/answers.rs`. Started by
//! `tests/fuzz/run answers SECONDS`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| house::answers(bytes));
