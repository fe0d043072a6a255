//! Plugins of other times and other compilers, listed and traded by today's `qt-host`.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::path::Path;
use std::process::Command;

use qt_test_support::museum::{self, Exhibit};
use qt_test_support::{Backend, Desk, qt_host, wait_until};
use serde_json::{Value, json};

/// The row of a file in `plugins list`.
fn listed(file: &Path, data_dir: &Path) -> Value {
    let output = Command::new(qt_host())
        .args(["plugins", "list", "--json", "--plugin"])
        .arg(file)
        .arg("--data-dir")
        .arg(data_dir)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let rows: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    let own = |row: &&Value| row["path"].as_str().is_some_and(|path| Path::new(path) == file);
    rows.iter().find(own).unwrap().clone()
}

/// A signal goes in, an execution comes out, in the lane that the user chose.
fn trade(backend: &Backend, exhibit: &Exhibit, lane: &str, id: &str) {
    let name = format!("museum-{}", exhibit.kind.name());
    // None of them says that it trades on paper: what a broker that moves money is held to has tests of its own.
    let desk = Desk::new(
        backend,
        &json!({
            "broker": name, "plugins": [exhibit.file], "plugin_options": { &name: { "lane": lane } },
            "execution": { "trading_sessions": "none" }, "gates": { "market_rules": false, "count_shares_and_cash": false },
        }),
    );
    let host = desk.trading();
    let place = if lane == "worker" {
        "in a worker is open"
    } else {
        "in this process is open"
    };
    assert!(desk.log().contains(place), "{lane}: {}", desk.log());
    backend.add(&json!({
        "order_id": id, "symbol": "000858.SZ", "action": "BUY", "size": 100, "price": 43.5, "status": "pending",
        "is_executable": true, "mode": "live",
    }));
    wait_until(&format!("{id} is reported"), || {
        let state = backend.state();
        let posts = state["signals"][id]["posts"].as_array().map_or(0, Vec::len);
        assert!(posts <= 3, "{state}");
        posts == 3
    });
    assert_eq!(host.stop(), Some(0), "{}", desk.log());
    let log = desk.log();
    assert!(
        log.contains("open at "),
        "the plugin's line is not in the host's log:\n{log}"
    );
    let signal = &backend.state()["signals"][id];
    assert!(signal.to_string().contains("43.5"), "{signal}");
}

#[test]
fn every_plugin_of_the_museum_is_listed_and_trades() {
    let museum = museum::build();
    let backend = Backend::start();
    let folder = tempfile::tempdir().unwrap();
    println!(
        "{:<6} {:<8} {:<4} {:<5} {:<7} TRADED",
        "PLUGIN", "COMPILER", "OPT", "LTO", "LISTED"
    );
    for (i, exhibit) in museum.exhibits.iter().enumerate() {
        let row = listed(&exhibit.file, folder.path());
        assert_eq!(row["state"], "usable", "{row}");
        assert_eq!(
            (&row["abi"], &row["api"]),
            (&json!(1), &json!(exhibit.kind.api()))
        );
        let Exhibit {
            kind,
            compiler,
            opt,
            lto,
            ..
        } = exhibit;
        for lane in ["worker", "in-process"] {
            trade(&backend, exhibit, lane, &format!("M{i}-{}-{lane}", kind.name()));
        }
        println!(
            "{:<6} {compiler:<8} {opt:<4} {lto:<5} {:<7} filled in a worker, filled in process",
            kind.name(),
            "usable"
        );
    }
    assert_eq!(museum.exhibits.len(), 12);
}
