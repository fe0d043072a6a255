//! kill -9 for real: the real binary, the real plugin, a backend in another process, and the
//! broker's own ledger as the judge.
//!
//! `QT_KILLS=N` repeats the random part N times as often.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::time::Duration;

use qt_test_support::{Backend, Desk, judge, wait_until};
use serde_json::{Value, json};

/// A point at which the host dies, and at which of its passes.
const POINTS: [(&str, &str); 11] = [
    ("K1 fetched, not in the journal", "before-commit=1*off->return"),
    (
        "K2/K3 in the journal, not handed over",
        "after-commit=1*off->return",
    ),
    ("K3 the call not made", "before-call=return"),
    ("K4 in the plugin, before its ledger", "sim-before-ledger=return"),
    ("K4 in the plugin, in its ledger", "sim-after-ledger=return"),
    ("K5 answered, not in the journal", "after-call=return"),
    (
        "K6 acknowledged, the backend not told",
        "after-commit=2*off->return",
    ),
    ("K7 reported, the answer not in the journal", "after-post=return"),
    ("K8 filled, not in the journal", "fill-seen=return"),
    ("K8 filled in the ledger, nobody told", "sim-after-fill=return"),
    ("K16 in the recovery", "after-snapshot=return"),
];

const BACKENDS: [&str; 4] = ["up", "down", "close_after_processing", "http500"];

fn brokers() -> [(&'static str, Value); 6] {
    [
        ("answers", json!({})),
        ("answers late", json!({ "fault_answer_late_ms": 400 })),
        ("never answers", json!({ "fault_never_answer": true })),
        (
            "accepts and says nothing",
            json!({ "fault_accept_silently": true }),
        ),
        ("lists lag", json!({ "snapshot_lag_ms": 250 })),
        ("lists fail", json!({ "fault_snapshot_fails": 2 })),
    ]
}

fn signals(count: usize) -> Value {
    let one = |n: usize| {
        let (action, price) = if n.is_multiple_of(2) {
            ("BUY", json!(43.5))
        } else {
            ("SELL", Value::Null)
        };
        json!({ "order_id": format!("S{n}"), "symbol": "000858.SZ", "action": action, "size": 100 * (n % 5 + 1), "price": price,
                "status": "pending", "is_executable": true, "mode": "live" })
    };
    Value::Array((0..count).map(one).collect())
}

/// Every signal was executed to its end, as the backend knows it.
fn is_settled(state: &Value) -> bool {
    state["signals"].as_object().is_some_and(|signals| {
        signals.values().all(|signal| {
            signal["posts"]
                .as_array()
                .into_iter()
                .flatten()
                .any(|post| post["kind"] == "execution" && post["body"]["status"] == "filled")
        })
    })
}

fn settle_and_judge(backend: &Backend, desk: &Desk, case: &str) {
    let mut host = desk.host("");
    wait_until(&format!("{case} is settled; log: {}", desk.log()), || {
        assert!(!host.has_ended(), "{case}: the host ended: {}", desk.log());
        is_settled(&backend.state())
    });
    assert_eq!(host.stop(), Some(0), "{case}");
    let verdict = judge(&desk.ledger(), &backend.state());
    assert!(
        verdict.faults.is_empty(),
        "{case}: {:#?}\n{}",
        verdict.faults,
        desk.log()
    );
    let verified = desk.run(&["journal", "verify"]);
    assert!(
        verified.status.success(),
        "{case}: {}",
        String::from_utf8_lossy(&verified.stderr)
    );
}

fn matrix(backend_mode: &str) {
    let (mut kills, mut at_the_point) = (0, 0);
    for (point, failpoint) in POINTS {
        for (broker, faults) in brokers() {
            let case = format!("{point} × backend {backend_mode} × broker {broker}");
            let backend = Backend::start();
            let desk = Desk::new(&backend, &json!({ "simulated": faults }));
            backend.add(&signals(3));
            if backend_mode != "up" {
                // Signals still come: it is the reports that meet the fault.
                backend.fault(&json!({ "mode": backend_mode, "path": "/status" }));
            }
            let mut host = desk.host(failpoint);
            // A point that this broker never passes is made up for by a kill from outside.
            if host.dies_within(Duration::from_millis(1500)) {
                at_the_point += 1;
            } else {
                host.kill();
            }
            kills += 1;
            if broker == "never answers" {
                // A call that hangs for ever is cured by the next process alone.
                desk.configure(&backend, &json!({}));
            }
            backend.fault(&json!({ "mode": "up", "path": "/status" }));
            settle_and_judge(&backend, &desk, &case);
        }
    }
    // Some brokers never pass some points: one that does not answer shows no fill.
    assert!(
        at_the_point * 2 > kills,
        "of {kills} kills {at_the_point} were at their point"
    );
    println!("kills with the backend {backend_mode}: {kills}, of them at the point itself {at_the_point}");
}

#[test]
fn every_point_with_the_backend_up() {
    matrix(BACKENDS[0]);
}

#[test]
fn every_point_with_the_backend_down() {
    matrix(BACKENDS[1]);
}

#[test]
fn every_point_with_answers_lost() {
    matrix(BACKENDS[2]);
}

#[test]
fn every_point_with_the_backend_answering_500() {
    matrix(BACKENDS[3]);
}

/// K9: the cancel is in the journal and not sent, or sent and its answer lost.
#[test]
fn a_cancel_survives_a_kill() {
    for failpoint in ["before-cancel=return", "after-cancel=return"] {
        for mode in BACKENDS {
            let backend = Backend::start();
            let execution = json!({ "buy_order_timeout_seconds": 0.2, "cancel_retry_grace_seconds": 0.2, "cancel_retry_interval_seconds": 0.2 });
            let desk = Desk::new(
                &backend,
                &json!({ "execution": execution, "simulated": { "fill": "never" } }),
            );
            backend.add(&signals(1));
            backend.fault(&json!({ "mode": mode, "path": "/status" }));
            let mut host = desk.host(failpoint);
            assert!(
                host.dies_within(Duration::from_secs(60)),
                "{failpoint}: {}",
                desk.log()
            );
            backend.fault(&json!({ "mode": "up", "path": "/status" }));
            let host = desk.host("");
            wait_until("the cancel is reported", || {
                let state = backend.state();
                state["signals"]["S0"]["posts"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .any(|post| post["body"]["status"] == "cancelled")
            });
            assert_eq!(host.stop(), Some(0));
            let verdict = judge(&desk.ledger(), &backend.state());
            assert!(
                verdict.faults.is_empty(),
                "{failpoint} {mode}: {:#?}",
                verdict.faults
            );
        }
    }
    println!("kills around a cancel: 8");
}

/// K7: the backend has the report, its answer is lost, and so is the host. The same report comes once more by its key.
#[test]
fn a_report_whose_answer_was_lost_comes_again_with_its_key_and_counts_once() {
    for mode in ["up", "close_after_processing"] {
        let backend = Backend::start();
        let desk = Desk::new(&backend, &json!({}));
        backend.add(&signals(1));
        backend.fault(&json!({ "mode": mode, "path": "/status", "requests": 1 }));
        let mut host = desk.host("after-post=return");
        assert!(host.dies_within(Duration::from_secs(20)), "{}", desk.log());
        let posts = |state: &Value| state["signals"]["S0"]["posts"].as_array().cloned().unwrap();
        let before = posts(&backend.state());
        assert_eq!(before.len(), 1, "{before:#?}");
        settle_and_judge(&backend, &desk, &format!("K7 with the backend {mode}"));
        let after = posts(&backend.state());
        assert_eq!(after[0]["key"], before[0]["key"]);
        assert_eq!(
            after[0]["body"], before[0]["body"],
            "the repeat says something else"
        );
        assert!(
            after[0]["arrivals"].as_u64() > before[0]["arrivals"].as_u64(),
            "{after:#?}"
        );
        assert_eq!(after.len(), 3, "{after:#?}");
    }
    println!("kills between a report and its answer: 2");
}

/// K16: recovery is killed at one point after the other, and each time begins anew on what the last one left.
#[test]
fn recovery_may_be_killed_at_every_point_one_after_the_other() {
    const ON_THE_WAY: [&str; 7] = [
        "before-commit=return",
        "after-commit=return",
        "after-snapshot=return",
        "before-commit=1*off->return",
        "after-commit=1*off->return",
        "after-snapshot=1*off->return",
        "after-post=return",
    ];
    let mut kills = 0;
    for first in [
        "sim-before-ledger=return",
        "sim-after-ledger=return",
        "sim-after-fill=return",
    ] {
        let backend = Backend::start();
        let desk = Desk::new(&backend, &json!({ "simulated": { "snapshot_lag_ms": 100 } }));
        backend.add(&signals(3));
        for failpoint in [first].iter().chain(&ON_THE_WAY) {
            let mut host = desk.host(failpoint);
            // Not every recovery has something to commit or to post.
            if !host.dies_within(Duration::from_millis(1500)) {
                host.kill();
            }
            kills += 1;
        }
        settle_and_judge(&backend, &desk, &format!("{first}, then killed in recovery"));
    }
    println!("kills within a recovery: {kills}");
}

/// K4 for reading: the broker has it, nobody was told, kill -9; what the ledger and the backend say before and after.
#[test]
fn a_transcript_of_a_kill_at_k4() {
    let backend = Backend::start();
    let desk = Desk::new(&backend, &json!({}));
    backend.add(&signals(1));
    let mut host = desk.host("sim-after-ledger=return");
    assert!(host.dies_within(Duration::from_secs(20)), "{}", desk.log());
    let before = desk.ledger();
    let accepted = |ledger: &[Value]| ledger.iter().filter(|line| line["event"] == "accepted").count();
    assert_eq!(accepted(&before), 1, "{before:#?}");
    let told = told(&backend.state());
    assert!(
        told.is_empty(),
        "the backend was told before the broker's answer: {told:#?}"
    );
    println!("kill -9 at K4: the order is in the broker's ledger, its answer never reached the host");
    println!("  ledger at the kill:");
    before.iter().for_each(|line| println!("    {line}"));
    println!("  told to the backend at the kill: nothing");
    settle_and_judge(&backend, &desk, "the transcript");
    let ledger = desk.ledger();
    assert_eq!(ledger[..before.len()], before, "the ledger's past changed");
    assert_eq!(accepted(&ledger), 1, "one signal, one order: {ledger:#?}");
    println!("  ledger after the restart:");
    ledger.iter().for_each(|line| println!("    {line}"));
    println!("  told to the backend after the restart:");
    self::told(&backend.state())
        .iter()
        .for_each(|line| println!("    {line}"));
    println!("  orders:");
    for order in desk.json(&["orders"]).as_array().unwrap() {
        println!(
            "    {} {} {} {}/{} {} {}",
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
}

/// What the backend was told, a line each.
fn told(state: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    for (signal, record) in state["signals"].as_object().into_iter().flatten() {
        for post in record["posts"].as_array().into_iter().flatten() {
            lines.push(format!(
                "{signal} {} key={} arrived {} times: {}",
                post["kind"], post["key"], post["arrivals"], post["body"]
            ));
        }
    }
    lines
}

/// Kills from outside at times that no point names, again and again on one journal.
#[test]
fn random_kills() {
    let rounds = std::env::var("QT_KILLS")
        .ok()
        .and_then(|text| text.parse::<u64>().ok())
        .unwrap_or(1)
        * 270;
    let backend = Backend::start();
    let desk = Desk::new(&backend, &json!({}));
    let all = signals(600);
    let mut seed = 0x9E37_79B9_7F4A_7C15_u64;
    for round in 0..rounds {
        let from = usize::try_from(round * 600 / rounds).unwrap();
        let to = usize::try_from((round + 1) * 600 / rounds).unwrap();
        backend.add(&Value::Array(all.as_array().unwrap()[from..to].to_vec()));
        let mut host = desk.host("");
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        host.dies_within(Duration::from_millis(30 + seed % 150));
        host.kill();
    }
    println!("random kills: {rounds}");
    settle_and_judge(&backend, &desk, "random kills");
}
