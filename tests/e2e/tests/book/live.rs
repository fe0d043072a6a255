//! Where the book comes from: a broker alone, a running host, and what the backend sees of it.

use super::*;
use qt_test_support::{judge, wait_until};

#[test]
fn a_broker_that_cannot_answer_gives_its_reason_and_never_an_empty_table() {
    let backend = Backend::start();
    let commands = [
        &["positions"][..],
        &["positions", "--json"],
        &["summary"],
        &["grid", "000858.SZ"],
        &["risk"],
        &["account"],
        &["size", "000858.SZ", "40"],
    ];
    for (more, code, part) in [
        (
            json!({ "simulated": { "fault_snapshot_fails": true } }),
            1,
            "the query for positions failed",
        ),
        (json!({ "simulated": { "cash": -1 } }), 1, "`cash` is -1"),
        (json!({ "broker": "miniqmt" }), 1, "`account_id` is missing"),
        (json!({ "broker": "simulatd" }), 3, "simulated"),
    ] {
        let desk = Desk::new(&backend, &more);
        for command in commands {
            let out = desk.run(command);
            assert_eq!(
                out.status.code(),
                Some(code),
                "{command:?} {more}: {}",
                said(&out)
            );
            assert!(said(&out).contains(part), "{command:?} {more}: {}", said(&out));
            assert!(out.stdout.is_empty(), "{command:?} {more} printed something");
        }
    }
    a_running_host_passes_on_every_failure(&backend);
}

/// The same through a running host. Every third question fails there, and the host's own questions count too, so that either
/// the book or the reason may come at any one time; among a few of them there are both, and never anything else.
fn a_running_host_passes_on_every_failure(backend: &Backend) {
    let desk = Desk::new(
        backend,
        &json!({ "simulated": { "fault_snapshot_fails": { "every": 3 } },
                 "execution": { "position_sync_interval_seconds": 0, "reconcile_interval_seconds": 3600 } }),
    );
    let host = desk.host("");
    wait_until("the books were compared", || {
        desk.log().contains("Fetched 0 pending")
    });
    let (mut books, mut reasons) = (0, 0);
    for _ in 0..9 {
        let out = desk.run(&["positions"]);
        if out.status.success() {
            assert_eq!(words(&String::from_utf8_lossy(&out.stdout)).len(), 5);
            books += 1;
        } else {
            assert_eq!(out.status.code(), Some(1), "{}", said(&out));
            assert!(
                said(&out).contains("the query for positions failed"),
                "{}",
                said(&out)
            );
            assert!(out.stdout.is_empty());
            reasons += 1;
        }
    }
    assert!(books > 0 && reasons > 0, "{books} books, {reasons} reasons");
    assert_eq!(host.stop(), Some(0));
}

#[test]
fn a_running_host_is_asked_and_not_disturbed() {
    let backend = Backend::start();
    let desk = Desk::new(&backend, &json!({}));
    let host = desk.host("");
    let ids: Vec<String> = (0..40).map(|n| format!("S{n}")).collect();
    for id in &ids {
        backend.add(&signal(id, "000858.SZ", "BUY", 100, 43.5));
        if id.ends_with('5') {
            let held = asked(&desk, &["positions", "--json"])[0]["quantity"]
                .as_u64()
                .unwrap();
            assert!((100_000..=104_000).contains(&held), "{held}");
        }
    }
    wait_until("all is reported", || {
        ids.iter().all(|id| is_reported(&backend, id))
    });
    let asked_running = asked(&desk, &["positions", "--json"]);
    assert_eq!(asked_running[0]["quantity"], 104_000);
    let left = std::fs::read_dir(desk.path("data/control")).unwrap().count();
    assert_eq!(left, 0, "an answer with holdings stays in the control folder");
    assert_eq!(host.stop(), Some(0));
    let verdict = judge(&desk.ledger(), &backend.state());
    assert!(verdict.faults.is_empty(), "{verdict:?}");
    // By itself it says the same.
    assert_eq!(asked(&desk, &["positions", "--json"]), asked_running);
    // Another broker than the running host's is not passed off as it.
    let _again = desk.host("");
    wait_until("it trades again", || {
        desk.log().matches("quantTrader started").count() == 2
    });
    let out = desk.run(&["positions", "--broker", "miniqmt"]);
    assert_eq!(out.status.code(), Some(1), "{}", said(&out));
    assert!(
        said(&out).contains("trades through `simulated`"),
        "{}",
        said(&out)
    );
}

#[test]
fn a_look_changes_nothing_at_the_broker() {
    let backend = Backend::start();
    let resting = json!({ "simulated": { "fill": "never" } });
    let desk = Desk::new(&backend, &resting);
    let mut host = desk.host("");
    backend.add(&signal("S1", "000858.SZ", "SELL", 100, 43.0));
    wait_until("the order rests", || desk.ledger().len() == 1);
    host.kill();
    // A broker that could fill it now, and would if it were opened to trade.
    desk.configure(&backend, &json!({}));
    let before = std::fs::read(desk.ledger_path()).unwrap();
    let position = asked(&desk, &["positions", "--json"])[0].clone();
    assert_eq!(
        (&position["quantity"], &position["frozen_qty"]),
        (&json!(100_000), &json!(100))
    );
    assert_eq!(position["available_qty"], 99_900);
    for _ in 0..3 {
        shown(&desk, &["account"]);
    }
    assert_eq!(std::fs::read(desk.ledger_path()).unwrap(), before);
}

#[test]
fn the_backend_sees_the_book_and_a_failing_broker_never_cleans_it_up() {
    let backend = Backend::start();
    let desk = Desk::new(
        &backend,
        &json!({ "simulated": { "positions": example(), "fault_snapshot_fails": { "every": 3 } },
                 "execution": { "position_sync_interval_seconds": 0.1, "heartbeat_interval_seconds": 0.1 } }),
    );
    let host = desk.host("");
    let symbols = json!(["000858.SZ", "002050.SZ", "600519.SH"]);
    // Every clean-up stands long enough to be seen here, and each has to name all that is held.
    let count = |name: &str| {
        let syncs = backend.state()["syncs"].clone();
        let cleaned = &syncs["positions/cleanup"]["last"];
        assert!(
            cleaned.is_null() || cleaned["current_symbols"] == symbols,
            "{syncs}"
        );
        syncs[name]["count"].as_u64().unwrap_or(0)
    };
    let failures = || desk.log().matches("positions are not synced").count();
    wait_until("the broker has failed in between", || {
        count("positions/cleanup") >= 2 && failures() >= 2
    });
    let (done, failed) = (count("positions/cleanup"), failures());
    wait_until("the sync goes on and fails again", || {
        count("positions/cleanup") >= done + 2 && failures() > failed
    });
    wait_until("the host lives", || count("heartbeat") >= 2);
    assert_eq!(host.stop(), Some(0));
    let syncs = backend.state()["syncs"].clone();
    assert_eq!(syncs["positions/cleanup"]["last"]["current_symbols"], symbols);
    let rows = syncs["positions/sync"]["last"]["positions"].as_array().unwrap();
    assert_eq!(rows.len(), 3);
    assert_eq!(rows[0]["quantity"], 1000);
    assert_eq!(
        syncs["account/sync"]["last"]["account_data"]["account_id"],
        "SIMULATED"
    );
    assert_eq!(
        syncs["positions/snapshot"]["last"]["snapshot"]["total_value"].to_string(),
        "253950"
    );
    // A clean-up only ever follows a complete list that was taken; the last round may have been cut off.
    let (shown, cleaned) = (
        syncs["positions/sync"]["count"].as_u64(),
        syncs["positions/cleanup"]["count"].as_u64(),
    );
    assert!(shown.unwrap() - cleaned.unwrap() <= 1, "{syncs}");
    let line = "Portfolio: 3 positions, Value=¥253,950.00, P&L=¥+7,450.00 (+3.02%)";
    assert!(desk.log().contains(line), "{}", desk.log());
}

#[test]
fn what_was_sold_out_is_cleaned_up_at_the_backend_the_same_day() {
    let backend = Backend::start();
    let mut more = traded(1_000_000);
    more["execution"] = json!({ "position_sync_interval_seconds": 0.1 });
    let desk = Desk::new(&backend, &more);
    let host = desk.host("");
    backend.add(&signal("S1", "600519.SH", "SELL", 100, 1910.0));
    wait_until("it is sold", || is_reported(&backend, "S1"));
    wait_until("the backend forgets it", || {
        backend.state()["syncs"]["positions/cleanup"]["last"]["current_symbols"] == json!(["000858.SZ"])
    });
    // The broker still shows it, with no shares, since the day's P&L needs its previous close.
    assert_eq!(asked(&desk, &["positions", "--json"])[1]["quantity"], 0);
    assert_eq!(asked(&desk, &["summary", "--json"])["total_positions"], 1);
    assert_eq!(host.stop(), Some(0));
}
