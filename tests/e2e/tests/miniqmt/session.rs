//! A trading session, compressed: orders one after the other with random faults, and nothing that grows.
//!
//! `QT_MINIQMT_HOURS=4` is the whole of it, at 20 orders a second; without it some hundred orders.

use std::path::Path;
use std::time::Duration;

use qt_test_support::{Host, XTQUANT, children, wait_until, xtquant};
use serde_json::{Value, json};

use super::{Lane, Scene};

const ORDERS: usize = 400;
const ORDERS_AN_HOUR: usize = 20 * 3600;
const BATCH: usize = 40;
/// What host, worker and bridge may hold for each order of the day, their books included.
const KIB_AN_ORDER: usize = 24;
/// What they may hold besides, for caches and pools.
const KIB_BESIDES: usize = 48 << 10;
/// Handles may come and go with connections.
const HANDLES: usize = 24;

/// What the host and all that it started hold: KiB and handles.
fn held(host: &Host) -> (usize, usize) {
    let mut all = vec![host.pid()];
    let mut at = 0;
    while at < all.len() {
        all.extend(children(all[at]));
        at += 1;
    }
    let memory = |id: &u32| {
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        line.and_then(|rest| rest.split_whitespace().next()?.parse().ok())
            .unwrap_or(0)
    };
    let handles = |id: &u32| std::fs::read_dir(format!("/proc/{id}/fd")).map_or(0, Iterator::count);
    (all.iter().map(memory).sum(), all.iter().map(handles).sum())
}

/// Files below a folder.
fn files(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| {
            if entry.path().is_dir() {
                files(&entry.path())
            } else {
                1
            }
        })
        .sum()
}

fn batch(scene: &Scene, from: usize) {
    let one = |n: usize| {
        json!({ "order_id": format!("L{n}"), "symbol": "000858.SZ", "action": "BUY", "size": 100, "price": 43.5,
                "status": "pending", "is_executable": true, "mode": "live" })
    };
    scene
        .backend
        .add(&Value::Array((from..from + BATCH).map(one).collect()));
}

#[test]
fn a_session_with_random_faults_grows_by_its_books_alone() {
    let Some(packages) = xtquant(XTQUANT[0]) else {
        return;
    };
    let hours: usize = std::env::var("QT_MINIQMT_HOURS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(0);
    let orders = if hours == 0 {
        ORDERS
    } else {
        hours * ORDERS_AN_HOUR
    };
    let faults = json!({
        "cash": 100_000_000_000_i64, "duplicate_pushes": { "every": 7 }, "push_first": { "every": 5 }, "id_zero": { "every": 97 },
        "minus_one_live": { "every": 131 }, "no_pushes": { "every": 53 }, "disconnect_after_order": { "at": [60, 220] },
        "die_after_order": { "at": [140] }, "replay_day": true,
    });
    let scene = Scene::new(&packages, &faults, &json!({}), Lane::Worker);
    let mut host = scene.desk.host("");
    host.trades();
    batch(&scene, 0);
    wait_until("the first orders are taken", || scene.counter.accepted() >= BATCH);
    let (memory, handles) = held(&host);
    let before = files(&scene.desk.path("data"));
    let mut sent = BATCH;
    while sent < orders {
        batch(&scene, sent);
        sent += BATCH;
        wait_until("the orders are taken", || {
            assert!(!host.has_ended(), "{}", scene.desk.log());
            scene.counter.accepted() + BATCH >= sent
        });
    }
    wait_until("all came to an end", || {
        let ends = scene.outcomes();
        ends.len() == sent && ends.iter().all(|end| end == "filled")
    });
    // A bridge that has just been started again is counted too.
    wait_until("a bridge runs", || !Scene::bridges(&host).is_empty());
    std::thread::sleep(Duration::from_millis(200));
    let (memory_after, handles_after) = held(&host);
    let after = files(&scene.desk.path("data"));
    println!(
        "{sent} orders: memory {memory} -> {memory_after} KiB, handles {handles} -> {handles_after}, files {before} -> {after}"
    );
    assert_eq!(host.stop(), Some(0));
    assert_eq!(scene.faults(), [""; 0]);
    assert_eq!(scene.counter.accepted(), sent);
    assert!(
        memory_after < memory + KIB_BESIDES + sent * KIB_AN_ORDER,
        "memory"
    );
    assert!(handles_after < handles + HANDLES, "handles");
    // Locks of sessions and names of sockets, and nothing for each order.
    assert!(after <= before + 8, "files");
}
