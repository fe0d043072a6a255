//! Notes which compiler and which target build this crate, for the manifest of the plugin it becomes part of.

use std::{env, process::Command};

fn main() {
    let rustc = env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let version = Command::new(rustc)
        .arg("--version")
        .output()
        .ok()
        .and_then(|out| String::from_utf8(out.stdout).ok())
        .map_or_else(|| "unknown".to_owned(), |text| text.trim().to_owned());
    let target = env::var("TARGET").unwrap_or_else(|_| "unknown".to_owned());
    println!("cargo::rustc-env=QT_PLUGIN_RUSTC={version}");
    println!("cargo::rustc-env=QT_PLUGIN_TARGET={target}");
    println!("cargo::rerun-if-changed=build.rs");
}
