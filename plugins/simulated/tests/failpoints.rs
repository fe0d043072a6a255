//! A process that dies at a point, and what its ledger says afterwards.
#![cfg(all(unix, feature = "failpoints"))]

mod common;

use std::{os::unix::process::ExitStatusExt, path::Path, process::Command};

use common::*;
use qt_plugin_api::{
    Side,
    host::{Callbacks, LoadedBroker, OpenArgs, open_linked},
};
use serde_json::json;
use simulated::Simulated;

const FOLDER: &str = "QT_TEST_LEDGER_FOLDER";

fn open(folder: &Path) -> LoadedBroker {
    let (config, callbacks) = (json!({}), Callbacks::new(|_, _| {}));
    let args = OpenArgs {
        config: &config,
        data_dir: folder,
        account_id: None,
        callbacks,
    };
    open_linked::<Simulated>(args).expect("opens")
}

/// Places one order in a process of its own that dies at `point`; returns the counts of accepted orders and fills
/// before and after the restart with the same order.
fn die_at(point: &str, test: &str) -> [(usize, usize); 2] {
    let wish = order("A", Side::Buy, 100, Some("10"));
    if let Some(folder) = std::env::var_os(FOLDER) {
        let answer = open(Path::new(&folder)).place_order(&wish);
        panic!("{point} let the order through: {answer:?}");
    }
    let bench = Bench::new();
    let child = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", test, "--nocapture"])
        .env(FOLDER, bench.dir.path())
        .env("FAILPOINTS", format!("{point}=return"))
        .output()
        .expect("runs");
    assert_eq!(
        child.status.signal(),
        Some(9),
        "{}",
        String::from_utf8_lossy(&child.stderr)
    );
    let before = (bench.count("accepted"), bench.count("fill"));
    let broker = open(bench.dir.path());
    accepted(broker.place_order(&wish));
    [before, (bench.count("accepted"), bench.count("fill"))]
}

#[test]
fn before_the_ledger_nothing_stands() {
    assert_eq!(
        die_at("sim-before-ledger", "before_the_ledger_nothing_stands"),
        [(0, 0), (1, 1)]
    );
}

#[test]
fn after_the_ledger_the_order_stands_and_is_one() {
    assert_eq!(
        die_at("sim-after-ledger", "after_the_ledger_the_order_stands_and_is_one"),
        [(1, 0), (1, 1)]
    );
}

#[test]
fn after_the_fill_both_stand() {
    assert_eq!(
        die_at("sim-after-fill", "after_the_fill_both_stand"),
        [(1, 1), (1, 1)]
    );
}
