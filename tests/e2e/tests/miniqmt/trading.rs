//! What an account may do and what it may not: cancels, market orders, shares of today, caps, its type, and a terminal that is
//! slow, down or logged in to late.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use qt_test_support::{Host, XTQUANT, system_python, wait_until, xtquant};
use serde_json::json;

use super::scene::{Lane, Scene};

/// A cancel on its way meets a fill, and one whose answer is lost is asked for again.
#[test]
fn cancels_against_fills() {
    let Some(packages) = xtquant(XTQUANT[0]) else {
        return;
    };
    for (what, knobs, end) in [
        ("a cancel", json!({ "fill": "never" }), "cancelled"),
        ("a cancel of a part", json!({ "fill": "half" }), "cancelled"),
        (
            "a fill during the cancel",
            json!({ "fill": "never", "fill_during_cancel": true }),
            "filled",
        ),
        (
            "a cancel whose request is lost",
            json!({ "fill": "never", "cancel_lost": 1 }),
            "cancelled",
        ),
        (
            "the bridge dies with a cancel unsent",
            json!({ "fill": "never", "die_before_cancel": 1 }),
            "cancelled",
        ),
        (
            "the bridge dies with a cancel done",
            json!({ "fill": "never", "die_after_cancel": 1 }),
            "cancelled",
        ),
    ] {
        let scene = Scene::new(
            &packages,
            &knobs,
            &json!({ "order_deadline_seconds": 0.5 }),
            Lane::Worker,
        );
        let host = scene.desk.host("");
        scene.signal(1);
        wait_until("S0 is submitted", || {
            scene.backend.state()["signals"]["S0"]["posts"]
                .as_array()
                .is_some_and(|posts| !posts.is_empty())
        });
        assert!(scene.desk.run(&["cancel", "S0"]).status.success());
        let mut last = Vec::new();
        wait_until(
            &format!("{what}: {}", scene.desk.path("host.log").display()),
            || {
                last = scene.outcomes();
                last != ["open"]
            },
        );
        println!("{what:<44} {last:?} judge: {:?}", scene.faults());
        assert_eq!(
            last,
            [end],
            "{what}
{}",
            scene.desk.log()
        );
        assert_eq!(host.stop(), Some(0));
        assert_eq!(scene.faults(), [""; 0], "{what}");
    }
}

/// Without a price in the signal the kind is the market's own, and the counter refuses what its exchange lacks.
#[test]
fn market_orders_at_every_exchange() {
    let Some(packages) = xtquant(XTQUANT[0]) else {
        return;
    };
    let knobs = json!({
        "prices": { "600000.SH": 9.9, "000858.SZ": 43.2, "920001.BJ": 20 },
        "positions": [{ "symbol": "600000.SH", "quantity": 1000, "last_price": 9.9 },
                      { "symbol": "000858.SZ", "quantity": 1000, "last_price": 43.2 },
                      { "symbol": "920001.BJ", "quantity": 1000, "last_price": 20 }],
    });
    let scene = Scene::new(&packages, &knobs, &json!({}), Lane::Worker);
    for symbol in ["600000.SH", "000858.SZ", "920001.BJ"] {
        scene.backend.add(
            &json!({ "order_id": symbol, "symbol": symbol, "action": "SELL", "size": 100, "price": null, "status": "pending",
                     "is_executable": true, "mode": "live" }),
        );
    }
    let mut host = scene.desk.host("");
    assert_eq!(scene.settle("market orders", &mut host), ["filled"; 3]);
    assert_eq!(host.stop(), Some(0));
    assert_eq!(scene.faults(), [""; 0]);
    let mut sent: Vec<_> = scene
        .counter
        .ledger()
        .iter()
        .filter(|line| line["event"] == "accepted")
        .map(|line| (line["symbol"].clone(), line["price_type"].clone()))
        .collect();
    sent.sort_by_key(|(symbol, _)| symbol.to_string());
    let expected = [("000858.SZ", 47), ("600000.SH", 42), ("920001.BJ", 42)];
    assert_eq!(sent, expected.map(|(symbol, kind)| (json!(symbol), json!(kind))));
}

/// What was bought today is not sold today, and the terminal's refusal is told.
#[test]
fn shares_of_today_are_held_and_not_offered() {
    let Some(packages) = xtquant(XTQUANT[0]) else {
        return;
    };
    let scene = Scene::new(&packages, &json!({ "positions": [] }), &json!({}), Lane::Worker);
    let mut host = scene.desk.host("");
    scene.signal(1);
    assert_eq!(scene.settle("bought", &mut host), ["filled"]);
    let position = scene.desk.json(&["positions"])[0].clone();
    assert_eq!(
        (&position["quantity"], &position["available_qty"]),
        (&json!(100), &json!(0)),
        "{position}"
    );
    scene.backend.add(
        &json!({ "order_id": "S9", "symbol": "000858.SZ", "action": "SELL", "size": 100, "price": 43.0,
        "status": "pending", "is_executable": true, "mode": "live" }),
    );
    wait_until("the sale is refused", || {
        scene
            .outcomes()
            .iter()
            .any(|end| end != "filled" && end != "open")
    });
    assert_eq!(host.stop(), Some(0));
    assert_eq!(scene.faults(), [""; 0]);
    assert!(
        scene.backend.state().to_string().contains("可用数量不足"),
        "the terminal's words are lost"
    );
}

/// The bridge refuses by itself what goes beyond its caps, and nothing reaches the counter.
#[test]
fn caps_are_kept_by_the_bridge() {
    let Some(packages) = xtquant(XTQUANT[0]) else {
        return;
    };
    for (block, words) in [
        (json!({ "caps": { "max_order_value": 4000 } }), "max_order_value"),
        (json!({ "caps": { "max_order_shares": 99 } }), "max_order_shares"),
        (json!({ "caps": { "max_orders_a_day": 0 } }), "max_orders_a_day"),
        (json!({ "caps": { "symbols": ["600000.SH"] } }), "symbols"),
        (json!({ "dry_run": true }), "a dry run"),
        (json!({ "read_only": true }), "only reads"),
    ] {
        let scene = Scene::new(&packages, &json!({}), &block, Lane::Worker);
        scene.refuses(words);
    }
}

/// A stock account's configuration at a credit account, and the other way round, places nothing and says what to check.
#[test]
fn an_account_of_another_type_is_not_traded() {
    let Some(packages) = xtquant(XTQUANT[0]) else {
        return;
    };
    for (kind, told) in [(3, "STOCK"), (2, "CREDIT")] {
        let knobs = json!({ "account_type": kind });
        let scene = Scene::new(&packages, &knobs, &json!({ "account_type": told }), Lane::Worker);
        scene.signal(1);
        let host = scene.desk.host("");
        wait_until("what to check is said", || {
            scene.desk.log().contains("check `account_id` and `account_type`")
        });
        assert_eq!(scene.counter.accepted(), 0);
        assert!(host.stop().is_some());
        assert_eq!(scene.faults(), Vec::<String>::new());
    }
}

/// A call that takes long and does not hang is waited for: the bridge was once given up after five seconds without a word of it,
/// whatever `hang_after_seconds` allowed, with an order under way.
#[test]
fn a_call_that_is_slow_ends_no_bridge() {
    let Some(packages) = xtquant(XTQUANT[0]) else {
        return;
    };
    let scene = Scene::new(
        &packages,
        &json!({ "slow_order": 1, "slow_seconds": 7 }),
        &json!({ "hang_after_seconds": 60, "order_deadline_seconds": 20 }),
        Lane::Worker,
    );
    scene.signal(2);
    let mut host = scene.desk.host("");
    assert_eq!(scene.settle("a slow call", &mut host), ["filled", "filled"]);
    assert_eq!(host.stop(), Some(0));
    assert_eq!(scene.counter.struck("slow_order"), 1);
    assert_eq!(scene.faults(), [""; 0]);
    let log = scene.desk.log();
    assert_eq!(
        log.matches("connected to the terminal through").count(),
        1,
        "{log}"
    );
}

/// In hours in which the terminal is expected to be down its absence is no warning, and it is tried again all the same.
#[test]
fn a_terminal_that_is_expected_to_be_down_is_no_fault() {
    let Some(packages) = xtquant(XTQUANT[0]) else {
        return;
    };
    for (hours, level) in [
        (json!(["00:00-12:00", "12:00-00:00"]), "[INFO]"),
        (json!([]), "[WARNING]"),
    ] {
        let scene = Scene::new(
            &packages,
            &json!({}),
            &json!({ "expected_down": hours }),
            Lane::Worker,
        );
        scene.counter.down(true);
        scene.signal(1);
        let mut host = scene.desk.host("");
        wait_until("it is tried again", || {
            scene.desk.log().matches("it is tried again in").count() > 1
        });
        let log = scene.desk.log();
        let told: Vec<&str> = log
            .lines()
            .filter(|line| line.contains("it is tried again in"))
            .collect();
        assert!(told.iter().all(|line| line.contains(level)), "{told:#?}");
        assert_eq!(
            told.iter().all(|line| line.contains("`expected_down`")),
            level == "[INFO]",
            "{told:#?}"
        );
        scene.counter.down(false);
        assert_eq!(scene.settle("it is up after all", &mut host), ["filled"]);
        assert_eq!(host.stop(), Some(0));
        assert_eq!(scene.faults(), [""; 0]);
    }
}

/// The terminal is down at the start, and is logged in to later.
#[test]
fn a_terminal_that_is_logged_in_to_late_and_restarted() {
    let Some(packages) = xtquant(XTQUANT[0]) else {
        return;
    };
    let scene = Scene::new(&packages, &json!({}), &json!({}), Lane::Worker);
    scene.counter.down(true);
    scene.signal(2);
    let mut host = scene.desk.host("");
    wait_until("the likely causes are said", || {
        scene
            .desk
            .log()
            .contains("Likely causes: (1) the terminal may not be running or not be logged in")
    });
    assert!(
        !host.dies_within(Duration::from_millis(300)),
        "{}",
        scene.desk.log()
    );
    assert_eq!(scene.counter.ledger().len(), 0);
    scene.counter.down(false);
    assert_eq!(scene.settle("logged in", &mut host), ["filled", "filled"]);
    assert_eq!(host.stop(), Some(0));
    assert_eq!(scene.faults(), [""; 0]);
    assert!(
        !scene.desk.log().contains(qt_test_support::ACCOUNT),
        "the account number is in the log"
    );
    // Its own queue files are cleared away: that of the last session alone is left.
    let queues = std::fs::read_dir(scene.counter.userdata()).unwrap().flatten();
    let queues = queues
        .filter(|file| file.file_name().to_string_lossy().contains("queue"))
        .count();
    assert_eq!(queues, 1);
}

/// A bridge that was refused its record lived on: each try left another one, and one of them might take the record after all.
#[test]
fn a_bridge_that_cannot_have_its_record_is_ended_before_the_next_is_tried() {
    let Some(packages) = xtquant(XTQUANT[0]) else {
        return;
    };
    let scene = Scene::new(&packages, &json!({}), &json!({}), Lane::Worker);
    let orders = scene.desk.path("data/plugin-data/miniQMT/orders");
    std::fs::create_dir_all(&orders).unwrap();
    const HOLD: &str = "import fcntl, sys; file = open(sys.argv[1], 'a+'); fcntl.lockf(file, fcntl.LOCK_EX); print(); \
                        sys.stdout.flush(); sys.stdin.read()";
    let mut holder = Command::new(system_python())
        .args(["-c", HOLD])
        .arg(orders.join("record.lock"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(holder.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    scene.signal(1);
    let mut host = scene.desk.host("");
    // Not the one that says which Python it is.
    let bridges = |host: &Host| -> Vec<u32> {
        let trades = |id: &u32| {
            let words = std::fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&words).contains("--stdio")
        };
        Scene::bridges(host).into_iter().filter(trades).collect()
    };
    let mut first = Vec::new();
    wait_until("a bridge waits for its record", || {
        first = bridges(&host);
        !first.is_empty()
    });
    let mut all = Vec::new();
    wait_until("another one is tried", || {
        all = bridges(&host);
        all.iter().any(|id| !first.contains(id))
    });
    assert!(first.iter().all(|id| !all.contains(id)), "{first:?} {all:?}");
    drop(holder.stdin.take());
    assert!(holder.wait().unwrap().success());
    assert_eq!(scene.settle("the record is free", &mut host), ["filled"]);
    assert_eq!(host.stop(), Some(0));
    assert_eq!(scene.faults(), [""; 0]);
}
