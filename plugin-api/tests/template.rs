//! What `qt-host plugins new` writes must build, be tidy and pass its own tests.
#![cfg(feature = "host")]

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use qt_plugin_api::template;

fn workspace() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    root.expect("the workspace").to_path_buf()
}

/// Runs cargo on a crate outside the workspace; what it builds is shared by all tests that do so.
fn cargo(folder: &Path, arguments: &[&str]) {
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from);
    let output = Command::new(env!("CARGO"))
        .args(arguments)
        .current_dir(folder)
        .env("CARGO_TARGET_DIR", target.join("museum"))
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "cargo {arguments:?}:\n{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn a_new_plugin_builds_is_tidy_and_passes_its_tests() {
    let folder = tempfile::tempdir().expect("a folder");
    let api = Path::new(env!("CARGO_MANIFEST_DIR"))
        .display()
        .to_string()
        .replace('\\', "/");
    for (path, text) in template::render("odd-broker", &format!("path = \"{api}\"")) {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        std::fs::write(path, text).expect("written");
    }
    // The versions that the workspace was tested with; cargo drops what the plugin does not need.
    std::fs::copy(workspace().join("Cargo.lock"), folder.path().join("Cargo.lock")).expect("copied");
    cargo(folder.path(), &["fmt", "--check"]);
    cargo(folder.path(), &["test", "--quiet"]);
    cargo(folder.path(), &["build", "--quiet"]);
}
