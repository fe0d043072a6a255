//! A plugin exchanged for another version of it while the host trades, with orders in flight.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod installed;

use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use qt_test_support::{Backend, Desk, Host, SEGFAULT, children, judge, kill_9, plugin, wait_until};
use serde_json::{Value, json};

const LANES: [&str; 2] = ["worker", "in-process"];

fn signals(from: usize, to: usize) -> Value {
    let one = |n: usize| {
        json!({ "order_id": format!("S{n}"), "symbol": "000858.SZ", "action": "BUY", "size": 100, "price": 43.5,
                "status": "pending", "is_executable": true, "mode": "live" })
    };
    Value::Array((from..to).map(one).collect())
}

/// Another version of a plugin: the same code with another number in its manifest, and other bytes therefore.
fn next_version(desk: &Desk, name: &str) -> PathBuf {
    let source = plugin(name);
    let mut bytes = std::fs::read(&source).unwrap();
    let now = env!("CARGO_PKG_VERSION");
    let (from, to) = (
        format!("\"version\":\"{now}\""),
        format!("\"version\":\"{}9\"", &now[..now.len() - 1]),
    );
    assert!(replace(&mut bytes, from.as_bytes(), to.as_bytes()) >= 1, "{from}");
    replace(&mut bytes, b"hostile-file:0", b"hostile-file:1");
    let folder = desk.path("next");
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join(source.file_name().unwrap());
    std::fs::write(&path, bytes).unwrap();
    path
}

fn replace(bytes: &mut [u8], from: &[u8], to: &[u8]) -> usize {
    assert_eq!(from.len(), to.len());
    let mut count = 0;
    let mut at = 0;
    while at + from.len() <= bytes.len() {
        if bytes[at..].starts_with(from) {
            bytes[at..at + to.len()].copy_from_slice(to);
            count += 1;
        }
        at += 1;
    }
    count
}

fn options(desk: &Desk, lane: &str, broker: &str, how: &Value) -> Value {
    let mut block = json!({
        "cash": 10_000_000, "ledger": desk.ledger_path(),
        "positions": [{ "symbol": "000858.SZ", "quantity": 100_000, "avg_cost": 40, "last_price": 43.2 }],
    });
    for (key, value) in how.as_object().unwrap() {
        block[key] = value.clone();
    }
    let mut options = json!({ "broker": broker });
    options[broker] = block;
    options["plugin_options"][broker] = json!({ "lane": lane, "kill_after_seconds": 600,
                                                "respawn_after_seconds": 0.05, "respawn_at_most_seconds": 0.2 });
    options
}

fn settle(backend: &Backend, desk: &Desk, host: &mut Host, count: usize, case: &str) {
    wait_until(&format!("{case} is settled; log: {}", desk.log()), || {
        assert!(!host.has_ended(), "{case}: the host ended: {}", desk.log());
        let state = backend.state();
        let signals = state["signals"].as_object().into_iter().flatten();
        let filled = signals.filter(|(_, signal)| {
            let mut posts = signal["posts"].as_array().into_iter().flatten();
            posts.any(|post| post["kind"] == "execution" && post["body"]["status"] == "filled")
        });
        filled.count() == count
    });
}

fn end_and_judge(backend: &Backend, desk: &Desk, host: Host, case: &str) {
    assert_eq!(host.stop(), Some(0), "{case}: {}", desk.log());
    let verdict = judge(&desk.ledger(), &backend.state());
    assert!(
        verdict.faults.is_empty(),
        "{case}: {:#?}\n{}",
        verdict.faults,
        desk.log()
    );
}

fn swap(desk: &Desk, file: &Path) -> Output {
    desk.run(&["plugins", "swap", file.to_str().unwrap()])
}

fn said(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

#[test]
fn a_live_upgrade_with_orders_in_flight() {
    for lane in LANES {
        let case = format!("an upgrade in the lane {lane}");
        let backend = Backend::start();
        let desk = Desk::new(&backend, &json!({}));
        let mut options = options(&desk, lane, "simulated", &json!({ "latency_ms": 120 }));
        options["execution"] = json!({ "call_deadline_seconds": 5 });
        desk.configure(&backend, &options);
        let next = next_version(&desk, "simulated");
        backend.add(&signals(0, 8));
        let mut host = desk.host("");
        wait_until("the first order is at the broker", || !desk.ledger().is_empty());
        let (swapped, while_swapping) = std::thread::scope(|scope| {
            let swapped = scope.spawn(|| swap(&desk, &next));
            // Signals that come meanwhile wait for the new version.
            std::thread::sleep(Duration::from_millis(100));
            backend.add(&signals(8, 12));
            (swapped.join().unwrap(), desk.ledger().len())
        });
        assert!(
            swapped.status.success(),
            "{case}: {}\n{}",
            said(&swapped),
            desk.log()
        );
        assert!(
            said(&swapped).contains("was exchanged for simulated 1.0.9"),
            "{}",
            said(&swapped)
        );
        assert!(while_swapping >= 2, "{case}: what was in flight came through");
        settle(&backend, &desk, &mut host, 12, &case);
        if lane == "worker" {
            kill_9(children(host.pid())[0]);
            wait_until("the new version is open again", || {
                desk.log().matches("simulated 1.0.9 in a worker is open").count() >= 2
            });
        }
        backend.add(&signals(12, 14));
        settle(&backend, &desk, &mut host, 14, &case);
        end_and_judge(&backend, &desk, host, &case);
        println!(
            "{case}:\n$ qt-host plugins swap next/libsimulated.so\n{}",
            said(&swapped)
        );
        let transcript = desk.log();
        let parts = ["supervisor", "exchange", "not connected", "Fetched", "execution"];
        for line in transcript
            .lines()
            .filter(|line| parts.iter().any(|part| line.contains(part)))
        {
            println!("{line}");
        }
    }
}

/// A call that never comes back: in a worker it becomes unknown and is found at the broker; in the host's process
/// nothing can end it, and the old version stays.
#[test]
fn an_upgrade_over_a_call_that_hangs() {
    for lane in LANES {
        let case = format!("a hang in the lane {lane}");
        let backend = Backend::start();
        let desk = Desk::new(&backend, &json!({}));
        let how = json!({ "misbehaviour": "hang-after-accepting", "at_most": 1 });
        desk.configure(&backend, &options(&desk, lane, "hostile", &how));
        let next = next_version(&desk, "hostile_plugin");
        backend.add(&signals(0, 1));
        let mut host = desk.host("");
        wait_until("the order is at the broker", || !desk.ledger().is_empty());
        let swapped = swap(&desk, &next);
        if lane == "worker" {
            assert!(
                swapped.status.success(),
                "{case}: {}\n{}",
                said(&swapped),
                desk.log()
            );
        } else {
            assert_eq!(swapped.status.code(), Some(1), "{case}: {}", said(&swapped));
            assert!(
                said(&swapped).contains("in this process it cannot be ended"),
                "{}",
                said(&swapped)
            );
            host.kill();
            host = desk.host("");
        }
        backend.add(&signals(1, 3));
        settle(&backend, &desk, &mut host, 3, &case);
        end_and_judge(&backend, &desk, host, &case);
    }
}

#[test]
fn an_upgrade_that_fails_brings_the_old_version_back() {
    for (lane, name, why) in [
        ("worker", "segfault-in-open", SEGFAULT),
        ("worker", "panic-in-open", "panic: misbehaviour"),
        ("in-process", "panic-in-open", "panic: misbehaviour"),
    ] {
        let case = format!("{name} in the lane {lane}");
        let backend = Backend::start();
        let desk = Desk::new(&backend, &json!({}));
        let how = json!({ "misbehaviour": name, "changed_file_only": true, "latency_ms": 50 });
        desk.configure(&backend, &options(&desk, lane, "hostile", &how));
        let next = next_version(&desk, "hostile_plugin");
        backend.add(&signals(0, 6));
        let mut host = desk.host("");
        wait_until("the first order is at the broker", || !desk.ledger().is_empty());
        let swapped = swap(&desk, &next);
        assert_eq!(swapped.status.code(), Some(1), "{case}: {}", said(&swapped));
        for part in [why, "hostile 1.0.0", "is back"] {
            assert!(
                said(&swapped).contains(part),
                "{case}: {part}: {}",
                said(&swapped)
            );
        }
        backend.add(&signals(6, 8));
        settle(&backend, &desk, &mut host, 8, &case);
        end_and_judge(&backend, &desk, host, &case);
        println!("{case}:\n{}", said(&swapped));
    }
}

/// A version that opens and whose lists never come is no version to trade with.
#[test]
fn an_upgrade_that_never_compares_the_books_goes_back() {
    for (lane, name) in [
        ("worker", "fails-in-control"),
        ("in-process", "fails-in-control"),
        ("worker", "hang-in-control"),
    ] {
        let case = format!("{name} in the lane {lane}");
        let backend = Backend::start();
        let desk = Desk::new(&backend, &json!({}));
        let how = json!({ "misbehaviour": name, "changed_file_only": true, "latency_ms": 50 });
        let mut options = options(&desk, lane, "hostile", &how);
        options["execution"]["call_deadline_seconds"] = json!(1);
        desk.configure(&backend, &options);
        let next = next_version(&desk, "hostile_plugin");
        backend.add(&signals(0, 4));
        let mut host = desk.host("");
        wait_until("the first order is at the broker", || !desk.ledger().is_empty());
        let swapped = swap(&desk, &next);
        assert_eq!(swapped.status.code(), Some(1), "{case}: {}", said(&swapped));
        for part in [
            "hostile 1.0.9",
            "had not compared the broker's books within 3 s",
            "hostile 1.0.0",
            "is back",
        ] {
            assert!(
                said(&swapped).contains(part),
                "{case}: {part}: {}",
                said(&swapped)
            );
        }
        backend.add(&signals(4, 6));
        settle(&backend, &desk, &mut host, 6, &case);
        end_and_judge(&backend, &desk, host, &case);
    }
}

/// The same code in a file whose manifest advises the host's own process.
fn advises_in_process(file: &Path) {
    let mut bytes = std::fs::read(file).unwrap();
    let (from, to) = (r#""orders","trades","#, r#""lane:in-process","#);
    assert!(replace(&mut bytes, from.as_bytes(), to.as_bytes()) >= 1);
    std::fs::write(file, bytes).unwrap();
}

/// Where each version runs is its author's advice here, so that the lane changes with the version. The place at the account
/// goes along, and back again where the next version does not open.
#[test]
fn an_upgrade_that_changes_the_lane_keeps_the_account_and_so_does_its_way_back() {
    for (name, next_in_process) in [
        ("none", true),
        ("none", false),
        ("panic-in-open", true),
        ("segfault-in-open", false),
    ] {
        let (from, to) = if next_in_process {
            ("worker", "process")
        } else {
            ("process", "worker")
        };
        let case = format!("{name} on the way from {from} to {to}");
        let backend = Backend::start();
        let desk = Desk::new(&backend, &json!({}));
        let mut how = json!({ "changed_file_only": true, "latency_ms": 50 });
        if name != "none" {
            how["misbehaviour"] = json!(name);
        }
        let mut options = options(&desk, "worker", "hostile", &how);
        options["plugin_options"]["hostile"]
            .as_object_mut()
            .unwrap()
            .remove("lane");
        options["execution"] = json!({ "call_deadline_seconds": 5 });
        let first = desk
            .path("first")
            .join(plugin("hostile_plugin").file_name().unwrap());
        std::fs::create_dir_all(first.parent().unwrap()).unwrap();
        std::fs::copy(plugin("hostile_plugin"), &first).unwrap();
        let next = next_version(&desk, "hostile_plugin");
        advises_in_process(if next_in_process { &next } else { &first });
        options["plugins"] = json!([first]);
        desk.configure(&backend, &options);
        backend.add(&signals(0, 6));
        let mut host = desk.host("");
        wait_until("the first order is at the broker", || !desk.ledger().is_empty());
        let swapped = swap(&desk, &next);
        if name == "none" {
            assert!(
                swapped.status.success(),
                "{case}: {}\n{}",
                said(&swapped),
                desk.log()
            );
            let opened = format!(
                "hostile 1.0.9 in {}",
                if next_in_process {
                    "this process"
                } else {
                    "a worker"
                }
            );
            assert!(desk.log().contains(&opened), "{case}: {}", desk.log());
        } else {
            assert_eq!(swapped.status.code(), Some(1), "{case}: {}", said(&swapped));
            assert!(said(&swapped).contains("is back"), "{case}: {}", said(&swapped));
        }
        backend.add(&signals(6, 8));
        settle(&backend, &desk, &mut host, 8, &case);
        end_and_judge(&backend, &desk, host, &case);
    }
}

/// What hangs in the host's own process can never be ended there: no other version is opened beside it, and the host says
/// what to do.
#[test]
fn nothing_is_opened_beside_a_version_that_hangs_in_this_process() {
    for (name, why) in [
        ("hang-in-control", "in this process it cannot be ended"),
        ("hang-in-close", "nothing is opened beside it"),
    ] {
        let backend = Backend::start();
        let desk = Desk::new(&backend, &json!({}));
        let how = json!({ "misbehaviour": name, "at_most": 1 });
        desk.configure(&backend, &options(&desk, "in-process", "hostile", &how));
        let next = next_version(&desk, "hostile_plugin");
        let mut host = desk.host("");
        if name == "hang-in-control" {
            wait_until("the hang is told", || {
                desk.log().contains("the plugin does not answer")
            });
        } else {
            backend.add(&signals(0, 1));
            settle(&backend, &desk, &mut host, 1, name);
        }
        let refused = swap(&desk, &next);
        assert_eq!(refused.status.code(), Some(1), "{name}: {}", said(&refused));
        for part in [why, "start the host again"] {
            assert!(
                said(&refused).contains(part),
                "{name}: {part}: {}",
                said(&refused)
            );
        }
        assert!(
            !desk.log().contains("hostile 1.0.9 in this process is open"),
            "{}",
            desk.log()
        );
        host.kill();
        let mut host = desk.host("");
        backend.add(&signals(1, 3));
        settle(
            &backend,
            &desk,
            &mut host,
            if name == "hang-in-close" { 3 } else { 2 },
            name,
        );
        end_and_judge(&backend, &desk, host, name);
    }
}

/// The old version panics as it is freed: that is told, and its place is free all the same.
#[test]
fn a_version_that_panics_as_it_is_freed_makes_room() {
    let backend = Backend::start();
    let desk = Desk::new(&backend, &json!({}));
    let how = json!({ "misbehaviour": "panic-in-drop", "at_most": 1 });
    desk.configure(&backend, &options(&desk, "in-process", "hostile", &how));
    let next = next_version(&desk, "hostile_plugin");
    backend.add(&signals(0, 2));
    let mut host = desk.host("");
    settle(&backend, &desk, &mut host, 2, "before");
    let swapped = swap(&desk, &next);
    assert!(swapped.status.success(), "{}\n{}", said(&swapped), desk.log());
    // It was reached, before the next version opened.
    let strikes = std::fs::read(desk.path("data/plugin-data/hostile/hostile-strikes")).unwrap();
    assert_eq!(strikes.len(), 1);
    backend.add(&signals(2, 4));
    settle(&backend, &desk, &mut host, 4, "after");
    end_and_judge(&backend, &desk, host, "a panic in drop");
}

/// The broker is away, as at night: nothing can be said of a new version but that it opens, which is enough.
#[test]
fn an_upgrade_while_the_broker_is_away_stays() {
    for lane in LANES {
        let backend = Backend::start();
        let desk = Desk::new(&backend, &json!({}));
        let how = json!({ "misbehaviour": "away-in-connection" });
        desk.configure(&backend, &options(&desk, lane, "hostile", &how));
        let next = next_version(&desk, "hostile_plugin");
        let mut host = desk.host("");
        wait_until("it runs", || desk.log().contains("quantTrader started"));
        let swapped = swap(&desk, &next);
        assert!(
            swapped.status.success(),
            "{lane}: {}\n{}",
            said(&swapped),
            desk.log()
        );
        let told = said(&swapped);
        assert!(
            told.contains("hostile 1.0.9") && told.contains("the version before did not trade"),
            "{lane}: {told}"
        );
        std::fs::write(desk.path("data/plugin-data/hostile/hostile-is-there"), "").unwrap();
        backend.add(&signals(0, 2));
        settle(&backend, &desk, &mut host, 2, lane);
        assert!(!desk.log().contains("is back"), "{lane}: {}", desk.log());
        end_and_judge(&backend, &desk, host, lane);
    }
}

/// What is no next version of what runs is refused while the old version trades on untouched.
#[test]
fn what_is_no_next_version_is_refused_before_anything_stops() {
    let backend = Backend::start();
    let desk = Desk::new(&backend, &json!({}));
    let nobody = swap(&desk, &plugin("simulated"));
    assert_eq!(nobody.status.code(), Some(1));
    assert!(said(&nobody).contains("no qt-host runs"), "{}", said(&nobody));
    let mut host = desk.host("");
    wait_until("it trades", || desk.log().contains("quantTrader started"));
    let text = desk.path("libtext.so");
    std::fs::write(&text, "no library").unwrap();
    for (file, why) in [
        (plugin("simulated"), "is what runs already"),
        (plugin("miniqmt"), "another broker needs a restart"),
        (text, "QT-P004"),
        (desk.path("libabsent.so"), "libabsent.so"),
    ] {
        let refused = swap(&desk, &file);
        assert_eq!(refused.status.code(), Some(1), "{}", said(&refused));
        assert!(said(&refused).contains(why), "{why}: {}", said(&refused));
    }
    assert!(!desk.log().contains("is being exchanged"), "{}", desk.log());
    backend.add(&signals(0, 2));
    settle(&backend, &desk, &mut host, 2, "refusals");
    end_and_judge(&backend, &desk, host, "refusals");
}
