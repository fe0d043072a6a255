//! The reader of plugin files under libFuzzer: whatever the bytes are, it ends, within its bounds, and its two ways of
//! looking agree. Started by `tests/fuzz/run manifest SECONDS`.
#![no_main]

use std::io::Cursor;

use libfuzzer_sys::fuzz_target;

// The host is a program and no library: its reader is taken in by its files, which find here what is beside them there.
#[allow(dead_code)]
#[path = "../../../host/src/plugin/anatomy.rs"]
mod anatomy;
#[allow(dead_code)]
#[path = "../../../host/src/plugin/codes.rs"]
mod codes;
#[allow(dead_code)]
#[path = "../../../host/src/plugin/manifest.rs"]
mod manifest;

use anatomy::Anatomy;

/// What the reader wraps its reasons in; here it only has to be made.
#[derive(Debug)]
struct PluginError;

impl PluginError {
    fn file(_: &'static str, _: &std::path::Path, _: impl Into<String>) -> Self {
        Self
    }
}

fuzz_target!(|bytes: &[u8]| {
    let size = bytes.len() as u64;
    let examined = manifest::examine_content(Cursor::new(bytes), size);
    match manifest::inspect(Cursor::new(bytes), size) {
        Ok(manifest) => {
            assert!(examined.faults.is_empty(), "{:?}", examined.faults);
            assert_eq!(examined.manifest.as_ref(), Some(&manifest));
            // The name becomes a file's name, and the panic strategy decides whether the host survives.
            assert!(!manifest.name.contains(['/', '\\', '.']) && manifest.panic == "unwind");
        }
        Err((code, reason)) => {
            assert!(!examined.faults.is_empty(), "{code} {reason}");
            assert!(codes::explain(code).is_some(), "{code}");
        }
    }
});
