//! A plugin exchanged for another version of it while the host trades, with orders in flight.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

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

/// A desk whose plugin is installed in its data folder, and the next version's file.
fn installed(backend: &Backend, lane: &str, broker: &str, library: &str, how: &Value) -> (Desk, PathBuf) {
    let desk = Desk::new(backend, &json!({}));
    let mut options = options(&desk, lane, broker, how);
    options["execution"] = json!({ "call_deadline_seconds": 5 });
    let own = format!(
        "data/plugins/{}{broker}{}",
        std::env::consts::DLL_PREFIX,
        std::env::consts::DLL_SUFFIX
    );
    // By its path, since the same name lies beside the program, too.
    options["plugins"] = json!([desk.path(&own)]);
    desk.configure(backend, &options);
    desk.done(&["plugins", "install", plugin(library).to_str().unwrap()]);
    let next = next_version(&desk, library);
    (desk, next)
}

/// The version that the next start takes.
fn current(desk: &Desk, broker: &str) -> String {
    let history = desk.json(&["plugins", "history", broker]);
    let row = history
        .as_array()
        .unwrap()
        .iter()
        .find(|row| row["current"] == true);
    row.unwrap()["version"].as_str().unwrap().to_owned()
}

#[test]
fn an_upgrade_in_the_data_folder_takes_the_running_host_along_and_so_does_the_way_back() {
    for lane in LANES {
        let case = format!("plugins upgrade in the lane {lane}");
        let backend = Backend::start();
        let (desk, next) = installed(
            &backend,
            lane,
            "simulated",
            "simulated",
            &json!({ "latency_ms": 60 }),
        );
        backend.add(&signals(0, 8));
        let mut host = desk.host("");
        wait_until("the first order is at the broker", || !desk.ledger().is_empty());
        let told = desk.json(&["plugins", "upgrade", next.to_str().unwrap()]);
        assert_eq!(told["takes_effect"], "now", "{told:#}");
        assert!(
            told["exchanged"][0].as_str().unwrap().contains("simulated 1.0.9"),
            "{told:#}"
        );
        assert_eq!(current(&desk, "simulated"), "1.0.9");
        let pid = host.pid();
        backend.add(&signals(8, 14));
        wait_until("orders go to the new version", || desk.accepted() > 8);
        let told = desk.done(&["plugins", "rollback", "simulated"]);
        assert!(told.contains("was exchanged for simulated 1.0.0"), "{told}");
        assert_eq!(current(&desk, "simulated"), "1.0.0");
        settle(&backend, &desk, &mut host, 14, &case);
        assert_eq!(host.pid(), pid);
        // What is current is what the next start takes.
        desk.done(&["plugins", "upgrade", next.to_str().unwrap()]);
        host.kill();
        let said_before = desk.log().len();
        host = desk.trading();
        assert!(
            desk.log()[said_before..].contains("Broker plugin: simulated 1.0.9"),
            "{}",
            desk.log()
        );
        backend.add(&signals(14, 16));
        settle(&backend, &desk, &mut host, 16, &case);
        end_and_judge(&backend, &desk, host, &case);
    }
}

#[test]
fn an_upgrade_that_fails_is_taken_back_in_the_host_and_in_the_data_folder() {
    for (lane, name, why) in [
        ("worker", "segfault-in-open", SEGFAULT),
        ("in-process", "panic-in-open", "panic: misbehaviour"),
    ] {
        let case = format!("plugins upgrade to {name} in the lane {lane}");
        let backend = Backend::start();
        let how = json!({ "misbehaviour": name, "changed_file_only": true, "latency_ms": 50 });
        let (desk, next) = installed(&backend, lane, "hostile", "hostile_plugin", &how);
        backend.add(&signals(0, 6));
        let mut host = desk.host("");
        wait_until("the first order is at the broker", || !desk.ledger().is_empty());
        let refused = desk.fails(1, &["plugins", "upgrade", next.to_str().unwrap()]);
        for part in [
            "`hostile` 1.0.9 was not taken up",
            why,
            "hostile 1.0.0",
            "is back",
            "the data folder holds 1.0.0 again",
        ] {
            assert!(refused.contains(part), "{case}: {part}: {refused}");
        }
        assert_eq!(current(&desk, "hostile"), "1.0.0", "{case}");
        backend.add(&signals(6, 8));
        settle(&backend, &desk, &mut host, 8, &case);
        host.kill();
        host = desk.trading();
        backend.add(&signals(8, 9));
        settle(&backend, &desk, &mut host, 9, &case);
        end_and_judge(&backend, &desk, host, &case);
        println!("{case}:\n{refused}");
    }
}

/// A lock file says what may be loaded, by whatever way it comes.
#[test]
fn an_upgrade_that_is_not_pinned_changes_nothing() {
    let backend = Backend::start();
    let (desk, next) = installed(&backend, "worker", "simulated", "simulated", &json!({}));
    desk.done(&["plugins", "trust", "simulated"]);
    let mut host = desk.trading();
    for command in [
        ["plugins", "upgrade", next.to_str().unwrap()],
        ["plugins", "swap", next.to_str().unwrap()],
    ] {
        let refused = desk.fails(1, &command);
        assert!(refused.contains("QT-P021"), "{refused}");
    }
    assert_eq!(current(&desk, "simulated"), "1.0.0");
    assert!(!desk.log().contains("is being exchanged"), "{}", desk.log());
    desk.done(&["plugins", "trust", next.to_str().unwrap()]);
    desk.done(&["plugins", "upgrade", next.to_str().unwrap()]);
    backend.add(&signals(0, 2));
    settle(&backend, &desk, &mut host, 2, "pins");
    end_and_judge(&backend, &desk, host, "pins");
}

#[test]
fn an_upgrade_for_the_next_start_leaves_the_host_alone() {
    let backend = Backend::start();
    let (desk, next) = installed(&backend, "in-process", "simulated", "simulated", &json!({}));
    let host = desk.trading();
    let told = desk.done(&["plugins", "upgrade", next.to_str().unwrap(), "--next-start"]);
    assert!(told.contains("takes effect at its next start"), "{told}");
    let told = desk.done(&["plugins", "rollback", "simulated", "--next-start"]);
    assert!(told.contains("takes effect at its next start"), "{told}");
    desk.done(&["plugins", "upgrade", next.to_str().unwrap(), "--next-start"]);
    assert!(!desk.log().contains("exchanged"), "{}", desk.log());
    assert_eq!(host.stop(), Some(0));
    let mut host = desk.trading();
    assert!(
        desk.log().contains("Broker plugin: simulated 1.0.9"),
        "{}",
        desk.log()
    );
    // What runs is what is there: there is nothing to exchange.
    let told = desk.done(&["plugins", "upgrade", next.to_str().unwrap()]);
    assert!(told.contains("is current already; nothing was changed"), "{told}");
    backend.add(&signals(0, 2));
    settle(&backend, &desk, &mut host, 2, "next start");
    end_and_judge(&backend, &desk, host, "next start");
}

/// With a lock file, the next version is pinned before it is taken up. Whatever becomes of it, the one before stays
/// trusted: an upgrade that fails leaves a data folder from which the host starts, and a rollback goes through live.
#[test]
fn with_a_lock_file_an_upgrade_that_fails_and_a_rollback_find_the_version_before_trusted() {
    for (name, upgrades) in [("panic-in-open", false), ("slow", true)] {
        let case = format!("{name} with a lock file");
        let backend = Backend::start();
        let how = json!({ "misbehaviour": name, "changed_file_only": true, "ms": 10 });
        let (desk, next) = installed(&backend, "worker", "hostile", "hostile_plugin", &how);
        desk.done(&["plugins", "trust", "hostile"]);
        let mut host = desk.trading();
        desk.done(&["plugins", "trust", next.to_str().unwrap()]);
        if upgrades {
            let told = desk.done(&["plugins", "upgrade", next.to_str().unwrap()]);
            assert!(told.contains("was exchanged for hostile 1.0.9"), "{told}");
            let told = desk.done(&["plugins", "rollback", "hostile"]);
            assert!(told.contains("was exchanged for hostile 1.0.0"), "{told}");
        } else {
            let refused = desk.fails(1, &["plugins", "upgrade", next.to_str().unwrap()]);
            assert!(refused.contains("the data folder holds 1.0.0 again"), "{refused}");
        }
        backend.add(&signals(0, 2));
        settle(&backend, &desk, &mut host, 2, &case);
        host.kill();
        let mut host = desk.trading();
        backend.add(&signals(2, 4));
        settle(&backend, &desk, &mut host, 4, &case);
        end_and_judge(&backend, &desk, host, &case);
    }
}

/// A host opens its plugin's copy again whenever it lost it: that copy is not deleted under it.
#[test]
fn what_a_host_runs_with_is_not_purged() {
    let backend = Backend::start();
    let (desk, _) = installed(&backend, "worker", "hostile", "hostile_plugin", &json!({}));
    let mut host = desk.trading();
    let refused = desk.fails(1, &["plugins", "remove", "hostile", "--purge"]);
    for part in [
        "a host runs on this data folder with `hostile` 1.0.0",
        "stop the host first",
    ] {
        assert!(refused.contains(part), "{part}: {refused}");
    }
    assert_eq!(current(&desk, "hostile"), "1.0.0");
    kill_9(children(host.pid())[0]);
    backend.add(&signals(0, 2));
    settle(&backend, &desk, &mut host, 2, "a purge");
    end_and_judge(&backend, &desk, host, "a purge");
    desk.done(&["plugins", "remove", "hostile", "--purge"]);
    desk.fails(3, &["plugins", "history", "hostile"]);
}

/// The simulator comes with the program; a version of it that somebody installs is what the next start takes.
#[test]
fn an_installed_version_of_a_plugin_that_came_with_the_program_is_what_the_next_start_takes() {
    let backend = Backend::start();
    let desk = Desk::new(&backend, &json!({}));
    let next = next_version(&desk, "simulated");
    let told = desk.done(&["plugins", "install", next.to_str().unwrap()]);
    assert!(!told.contains("neither is loaded"), "{told}");
    let mut host = desk.trading();
    assert!(
        desk.log().contains("Broker plugin: simulated 1.0.9"),
        "{}",
        desk.log()
    );
    backend.add(&signals(0, 2));
    settle(&backend, &desk, &mut host, 2, "an installed simulator");
    end_and_judge(&backend, &desk, host, "an installed simulator");
    // Spoilt, it is not quietly replaced by the version that came with the program.
    let file = desk.path("data").join("plugins").join(next.file_name().unwrap());
    assert!(file.exists(), "{}", file.display());
    std::fs::write(&file, b"not a library any more").unwrap();
    let told = desk.fails(3, &["--once"]);
    assert!(told.contains(file.to_str().unwrap()), "{told}");
}

/// For reading: a live upgrade with orders in flight, as the user, the log, the broker's ledger and the backend see it.
#[test]
fn a_transcript_of_a_live_upgrade() {
    let backend = Backend::start();
    let how = json!({ "latency_ms": 150 });
    let (desk, next) = installed(&backend, "worker", "simulated", "simulated", &how);
    backend.add(&signals(0, 6));
    let mut host = desk.trading();
    wait_until("the first order is at the broker", || !desk.ledger().is_empty());
    let at_the_upgrade = desk.accepted();
    let log_before = desk.log().len();
    println!("six signals, {at_the_upgrade} of them accepted by the broker, the others on their way:");
    println!("$ qt-host plugins upgrade next/libsimulated.so");
    let folder = desk.path("").to_string_lossy().into_owned();
    let told = desk.done(&["plugins", "upgrade", next.to_str().unwrap()]);
    told.lines()
        .for_each(|line| println!("  {}", line.replace(&folder, "")));
    backend.add(&signals(6, 8));
    settle(&backend, &desk, &mut host, 8, "the transcript");
    println!("the host's log:");
    let parts = ["supervisor", "exchange", "not connected", "Fetched", "execution"];
    for line in desk.log()[log_before..]
        .lines()
        .filter(|line| parts.iter().any(|part| line.contains(part)))
    {
        println!("  {}", line.replace(&folder, ""));
    }
    println!("the broker's ledger:");
    for line in desk.ledger() {
        println!("  {line}");
    }
    println!("the orders:");
    let orders = desk.json(&["orders"]);
    for order in orders.as_array().unwrap() {
        println!(
            "  {} {} {} {}/{} {} {}",
            order["signal"],
            order["side"],
            order["state"],
            order["filled"],
            order["size"],
            order["order"],
            order["broker_order_id"]
        );
        assert_eq!(order["state"], "FILLED");
    }
    assert_eq!(desk.accepted(), 8, "one signal, one order");
    end_and_judge(&backend, &desk, host, "the transcript");
}
