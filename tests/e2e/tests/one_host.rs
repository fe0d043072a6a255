//! One host per account, and the plugin's file under a host that trades.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use qt_test_support::{Backend, Desk};
#[cfg(target_os = "linux")]
use qt_test_support::{Host, judge, plugin, wait_until};
#[cfg(target_os = "linux")]
use serde_json::Value;
use serde_json::json;

#[cfg(target_os = "linux")]
fn signal(id: &str) -> Value {
    json!({ "order_id": id, "symbol": "000858.SZ", "action": "BUY", "size": 100, "price": 43.5 })
}

#[cfg(target_os = "linux")]
fn state_of(desk: &Desk, id: &str) -> String {
    let orders = desk.json(&["orders"]);
    let found = orders
        .as_array()
        .unwrap()
        .iter()
        .find(|order| order["signal"] == id);
    found.map_or_else(String::new, |order| order["state"].as_str().unwrap().to_owned())
}

/// K13: who holds it is said, and nothing is sent; commands go to the one that runs.
#[test]
fn a_second_host_is_refused_with_who_holds_the_lease() {
    let backend = Backend::start();
    let desk = Desk::new(&backend, &json!({ "simulated": { "fill": "never" } }));
    let first = desk.trading();
    for arguments in [&[][..], &["--once"]] {
        let said = desk.fails(1, arguments);
        let who = format!("process {} since ", first.pid());
        assert!(
            said.contains("another qt-host already trades")
                && said.contains(&who)
                && said.contains("`data_dir`"),
            "{said}"
        );
    }
    // Not even with a data folder of its own: the account is the same.
    let other = desk.path("other");
    let said = desk.fails(1, &["--once", "--data-dir", other.to_str().unwrap()]);
    assert!(said.contains("ledger") && said.contains("cannot start"), "{said}");
    assert!(
        desk.done(&["halt", "--reason", "still here"])
            .contains("still here")
    );
    assert_eq!(first.stop(), Some(0));
}

/// K13: the lease of a process that was killed is free at once, however often.
#[test]
fn the_lease_of_a_killed_host_is_free_at_once() {
    let backend = Backend::start();
    let desk = Desk::new(&backend, &json!({}));
    for round in 0..5 {
        let mut host = desk.trading();
        host.kill();
        // Without a host the command goes into the journal itself, which takes the lease.
        desk.done(&["halt", "--reason", &format!("round {round}")]);
        desk.done(&["resume"]);
    }
    assert_eq!(desk.trading().stop(), Some(0));
}

/// What the process has mapped of plugins: the hashes in their private copies' paths.
#[cfg(target_os = "linux")]
fn mapped(host: &Host) -> Vec<String> {
    let maps = std::fs::read_to_string(format!("/proc/{}/maps", host.pid())).unwrap();
    let mut found: Vec<String> = maps
        .lines()
        .filter(|line| line.contains("libsimulated"))
        .filter_map(|line| line.split_whitespace().last())
        .map(|path| path.rsplit('/').nth(1).unwrap().to_owned())
        .collect();
    found.dedup();
    assert!(!found.is_empty(), "the plugin is not mapped:\n{maps}");
    found
}

#[cfg(target_os = "linux")]
fn sha256(desk: &Desk, path: &std::path::Path) -> String {
    let listed = desk.json(&["plugins", "list"]);
    let row = listed
        .as_array()
        .unwrap()
        .iter()
        .find(|row| row["path"] == path.to_str().unwrap());
    row.unwrap()["sha256"].as_str().unwrap().to_owned()
}

/// K14: the running host keeps the code that it loaded, a restart takes the new one, and no order is lost.
#[cfg(target_os = "linux")]
#[test]
fn a_plugin_replaced_while_orders_are_in_flight_changes_nothing_until_the_restart() {
    let backend = Backend::start();
    let desk = Desk::new(&backend, &json!({}));
    let file = desk.path("libsimulated.so");
    let first = std::fs::read(plugin("simulated")).unwrap();
    std::fs::write(&file, &first).unwrap();
    desk.configure(
        &backend,
        &json!({ "plugins": [file], "simulated": { "fill": "never" } }),
    );
    let old = sha256(&desk, &file);
    let mut host = desk.trading();
    backend.add(&json!([signal("A"), signal("B")]));
    wait_until("both rest", || {
        state_of(&desk, "A") == "WORKING" && state_of(&desk, "B") == "WORKING"
    });

    // The worst way first: cut, then written anew within the same file. A mapped file would end the process.
    std::fs::write(&file, b"").unwrap();
    desk.done(&["cancel", "A"]);
    wait_until("A is cancelled", || state_of(&desk, "A") == "CANCELLED");
    std::fs::write(&file, [&first[..], b"a newer build"].concat()).unwrap();
    let new = sha256(&desk, &file);
    assert_ne!(old, new);
    backend.add(&signal("C"));
    wait_until("C rests", || state_of(&desk, "C") == "WORKING");
    assert_eq!(mapped(&host), [old.as_str()]);

    host.kill();
    let host = desk.trading();
    assert_eq!(mapped(&host), [new.as_str()]);
    for id in ["B", "C"] {
        assert_eq!(state_of(&desk, id), "WORKING");
        desk.done(&["cancel", id]);
        wait_until("it is cancelled", || state_of(&desk, id) == "CANCELLED");
    }
    wait_until("all is told", || backend.state()["counts"]["ended"] == 3);
    assert_eq!(host.stop(), Some(0));
    assert_eq!(desk.accepted(), 3);
    let verdict = judge(&desk.ledger(), &backend.state());
    assert!(verdict.faults.is_empty(), "{verdict:?}");
}
