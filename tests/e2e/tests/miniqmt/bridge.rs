//! The bridge by itself, spoken to by frames: `tests/xtquant-counter/test_bridge.py`, which runs without cargo as well.

use std::process::Command;

use qt_test_support::{XTQUANT, system_python, xtquant};

const HERE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../xtquant-counter");
const BRIDGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../plugins/miniqmt/src/bridge.py");

#[test]
fn the_bridge_by_itself() {
    let Some(packages) = xtquant(XTQUANT[0]) else {
        return;
    };
    let out = Command::new(system_python())
        .args(["-B", "-W", "ignore", "-m", "unittest", "-v", "test_bridge"])
        .current_dir(HERE)
        .env("QT_BRIDGE", BRIDGE)
        .env("QT_XTQUANT", &packages)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&out.stderr);
    for line in said.lines().filter(|line| line.starts_with("test_")) {
        // The name of the case and what became of it.
        let (name, rest) = line.split_once(' ').unwrap_or((line, ""));
        println!("{name} {}", rest.rsplit("... ").next().unwrap_or_default());
    }
    assert!(out.status.success(), "{said}");
    // A file that is found and holds no test would end well, too.
    assert!(
        said.contains("test_on_a_full_disk_no_order_leaves_without_its_record"),
        "{said}"
    );
}
