//! The matrix of faults: what the terminal does wrong, and what must come of it all the same.

use std::time::Duration;

use qt_test_support::{XTQUANT, wait_until, xtquant};
use serde_json::{Value, json};

use super::scene::{Lane, Scene};

/// One row of the matrix.
struct Row {
    what: &'static str,
    knobs: Value,
    /// Laid over the plugin's block.
    block: Value,
    signals: usize,
    /// What the signals come to.
    ends: &'static [(&'static str, usize)],
    /// The fault that must have struck.
    strikes: &'static str,
}

fn row(what: &'static str, knobs: Value, strikes: &'static str) -> Row {
    Row {
        what,
        knobs,
        block: json!({}),
        signals: 3,
        ends: &[("filled", 3)],
        strikes,
    }
}

impl Row {
    fn ends(self, ends: &'static [(&'static str, usize)]) -> Self {
        Self { ends, ..self }
    }

    fn signals(self, signals: usize, ends: &'static [(&'static str, usize)]) -> Self {
        Self {
            signals,
            ends,
            ..self
        }
    }

    fn block(self, block: Value) -> Self {
        Self { block, ..self }
    }
}

/// Runs rows and prints the table; panics with every row that went wrong.
fn matrix(version: &str, lane: Lane, rows: Vec<Row>) {
    let Some(packages) = xtquant(version) else { return };
    let mut wrong = Vec::new();
    for row in rows {
        let scene = Scene::new(&packages, &row.knobs, &row.block, lane);
        scene.signal(row.signals);
        let mut host = scene.desk.host("");
        let ends = scene.settle(row.what, &mut host);
        let struck = scene.counter.struck(row.strikes);
        let code = host.stop();
        let counted = |end: &str| ends.iter().filter(|found| *found == end).count();
        let as_expected = row.ends.iter().all(|(end, count)| counted(end) == *count);
        let mut faults = scene.faults();
        // What a person must decide is not reported before.
        let review: usize = row
            .ends
            .iter()
            .filter(|(end, _)| *end == "review")
            .map(|(_, count)| count)
            .sum();
        let before_a_person = faults
            .iter()
            .filter(|fault| fault.ends_with("and 0 reported"))
            .count();
        if before_a_person == review {
            faults.retain(|fault| !fault.ends_with("and 0 reported"));
        }
        println!(
            "{:<44} {version:<12} {lane:<10?} struck {struck:>3}  accepted {:>2}  {:<34} judge: {}",
            row.what,
            scene.counter.accepted(),
            row.ends
                .iter()
                .map(|(end, count)| format!("{count} {end}"))
                .collect::<Vec<_>>()
                .join(", "),
            if faults.is_empty() { "nothing" } else { "FAULT" }
        );
        if !as_expected || !faults.is_empty() || code != Some(0) || (struck == 0 && !row.strikes.is_empty()) {
            wrong.push(format!(
                "{}: {ends:?}, struck {struck}, exit {code:?}, {faults:#?}\n{}",
                row.what,
                scene.desk.log()
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

fn answers() -> Vec<Row> {
    vec![
        row("all is well", json!({}), ""),
        row("a credit account", json!({ "account_type": 3 }), "").block(json!({ "account_type": "CREDIT" })),
        row(
            "a reply is dropped",
            json!({ "reply_dropped": 1 }),
            "reply_dropped",
        ),
        row("a request is lost", json!({ "request_lost": 1 }), "request_lost"),
        row(
            "-1 for an order that lives",
            json!({ "minus_one_live": 1 }),
            "minus_one_live",
        ),
        row(
            "-1 and no order (illegal price type)",
            json!({ "minus_one_dead": 1 }),
            "minus_one_dead",
        ),
        row(
            "the number 0 for an order that lives",
            json!({ "id_zero": 1 }),
            "id_zero",
        ),
        row(
            "an error under -1 meets a later order",
            json!({ "minus_one_dead": 1, "error_under_minus_one": true }),
            "error_under_minus_one",
        ),
        row("refused in Chinese", json!({ "fill": "reject" }), "").ends(&[("refused", 3)]),
    ]
}

fn pushes() -> Vec<Row> {
    vec![
        row(
            "pushes before the response",
            json!({ "push_first": true }),
            "push_first",
        ),
        row(
            "pushes before a response that is dropped",
            json!({ "push_first": true, "reply_dropped": 1 }),
            "reply_dropped",
        ),
        row(
            "every push twice",
            json!({ "duplicate_pushes": true }),
            "duplicate_pushes",
        ),
        row("no pushes", json!({ "no_pushes": true }), "no_pushes"),
        row("filled in parts", json!({ "fill": "parts", "parts": 4 }), ""),
        row(
            "the whole day again after a reconnection",
            json!({ "replay_day": true, "disconnect_after_order": { "at": [2] } }),
            "replay_day",
        ),
        row("times as HHMMSS", json!({ "times": "clock" }), ""),
        row(
            "times as YYYYMMDDHHMMSS, no commission",
            json!({ "times": "date", "commission": false }),
            "",
        ),
        row("times as HHMMSSmmm", json!({ "times": "millis" }), ""),
        row("times of another day", json!({ "times": "yesterday" }), ""),
    ]
}

/// A subscription of funds, as another program's script places one.
fn odd(more: &Value) -> Value {
    let row = json!({ "order_id": 77, "order_remark": "etf", "stock_code": "510300.SH", "order_type": 134, "order_volume": 100,
                      "order_status": 50, "order_time": 0, "traded_id": "1", "traded_volume": 100, "traded_price": 3.9,
                      "traded_time": 0 });
    super::scene::with(row, more)
}

fn lists() -> Vec<Row> {
    vec![
        row(
            "an order shows late, its reply dropped",
            json!({ "visible_after_ms": 300, "reply_dropped": 1, "no_pushes": true }),
            "reply_dropped",
        ),
        // Longer than the host takes to settle: its absence was taken for proven, and the order was sent a second time.
        row(
            "a list that lags far behind, a reply dropped",
            json!({ "visible_after_ms": 4000, "reply_dropped": 1, "no_pushes": true }),
            "reply_dropped",
        )
        .block(json!({ "absent_after_seconds": 30 }))
        .signals(1, &[("filled", 1)]),
        // The late number took the guard of `absent_after_seconds` away: the order was taken for never sent, and sent again.
        row(
            "a reply comes late, and lists lag far behind",
            // With an order of another program, since an empty list is believed by nobody.
            json!({ "visible_after_ms": 6000, "reply_late": 1, "reply_late_ms": 2000, "no_pushes": true,
                    "foreign_orders": [odd(&json!({}))] }),
            "reply_late",
        )
        .block(
            json!({ "absent_after_seconds": 30, "order_deadline_seconds": 1, "visible_within_seconds": 0.5 }),
        )
        .signals(1, &[("filled", 1)]),
        // Whether remarks come back whole is not known before the first one is found: nothing else is sent until then.
        row(
            "the others wait for a first order without an answer",
            json!({ "visible_after_ms": 4000, "reply_dropped": 1, "no_pushes": true }),
            "reply_dropped",
        )
        .block(json!({ "absent_after_seconds": 30, "order_deadline_seconds": 8 })),
        // Another program's, whose remark could be an id of ours.
        row(
            "odd rows of another program",
            json!({ "reply_dropped": 1,
                    "foreign_orders": [odd(&json!({})), odd(&json!({ "order_id": 0, "order_volume": 0 })),
                                       odd(&json!({ "order_volume": "many" }))],
                    "foreign_trades": [odd(&json!({})), odd(&json!({ "traded_volume": "many" }))] }),
            "reply_dropped",
        ),
        row(
            "every third list is empty",
            json!({ "query_empty": { "every": 3 }, "reply_dropped": 1 }),
            "query_empty",
        )
        .block(json!({ "empty_counts_after_seconds": 1 })),
        row(
            "every third list is None",
            json!({ "query_none": { "every": 3 }, "reply_dropped": 1 }),
            "query_none",
        ),
        row(
            "questions without an answer",
            json!({ "query_lost": { "at": [5, 6] } }),
            "query_lost",
        ),
    ]
}

fn connections() -> Vec<Row> {
    vec![
        row(
            "connect -1, then 0",
            json!({ "connect_minus_one": 1 }),
            "connect_minus_one",
        ),
        row(
            "the bridge dies while it connects",
            json!({ "die_in_connect": 1 }),
            "die_in_connect",
        ),
        row(
            "the bridge dies while it subscribes",
            json!({ "die_in_subscribe": 1 }),
            "die_in_subscribe",
        ),
        row(
            "the bridge dies while it is asked",
            json!({ "die_in_query": { "at": [3, 9, 14] } }),
            "die_in_query",
        ),
        row("connect hangs", json!({ "connect_hangs": 1 }), "connect_hangs")
            .block(json!({ "connect_deadline_seconds": 1.5 })),
        row(
            "disconnected before an order",
            json!({ "disconnect_before_order": 1 }),
            "disconnect_before_order",
        ),
        row(
            "disconnected during an order",
            json!({ "disconnect_during_order": 1 }),
            "disconnect_during_order",
        ),
        row(
            "disconnected after an order",
            json!({ "disconnect_after_order": 1 }),
            "disconnect_after_order",
        ),
    ]
}

fn deaths() -> Vec<Row> {
    vec![
        row(
            "the bridge dies before an order",
            json!({ "die_before_order": 1 }),
            "die_before_order",
        ),
        row(
            "the bridge dies once it is accepted",
            json!({ "die_after_order": 1 }),
            "die_after_order",
        ),
        row(
            "the bridge dies once it has answered",
            json!({ "die_after_reply": 1 }),
            "die_after_reply",
        ),
        row(
            "the bridge dies once it is filled",
            json!({ "die_after_fill": 1 }),
            "die_after_fill",
        ),
        row(
            "a call hangs before the order",
            json!({ "hang_before_order": 1 }),
            "hang_before_order",
        ),
        row(
            "a call hangs with the order accepted",
            json!({ "hang_after_order": 1 }),
            "hang_after_order",
        ),
    ]
}

fn remarks() -> Vec<Row> {
    vec![
        row("the remark is cut", json!({ "remark_cut": 16 }), "").ends(&[("filled", 1), ("refused", 2)]),
        row(
            "the remark is rewritten",
            json!({ "remark_rewritten": "SYS_" }),
            "",
        )
        .ends(&[("filled", 1), ("refused", 2)]),
        row(
            "the remark is cut, and trading goes on",
            json!({ "remark_cut": 16 }),
            "",
        )
        .block(json!({ "changed_remark": "trade" })),
        row(
            "the remark is cut, and the reply dropped",
            json!({ "remark_cut": 16, "reply_dropped": 1 }),
            "reply_dropped",
        )
        .ends(&[("review", 1), ("refused", 2)])
        .block(json!({ "absent_after_seconds": 6 })),
    ]
}

#[test]
fn answers_that_lie_or_never_come() {
    matrix(XTQUANT[0], Lane::Worker, answers());
}

#[test]
fn answers_that_lie_or_never_come_in_process() {
    matrix(XTQUANT[0], Lane::InProcess, answers());
}

#[test]
fn pushes_that_come_early_twice_or_never() {
    matrix(XTQUANT[0], Lane::Worker, pushes());
}

#[test]
fn lists_that_lag_or_are_empty() {
    matrix(XTQUANT[0], Lane::Worker, lists());
}

#[test]
fn connections_that_fail() {
    matrix(XTQUANT[0], Lane::Worker, connections());
}

#[test]
fn bridges_that_die_or_hang() {
    matrix(XTQUANT[0], Lane::Worker, deaths());
}

#[test]
fn bridges_that_die_or_hang_in_process() {
    matrix(XTQUANT[0], Lane::InProcess, deaths());
}

#[test]
fn remarks_that_are_changed() {
    matrix(XTQUANT[0], Lane::Worker, remarks());
}

#[test]
fn pushes_that_come_early_twice_or_never_in_process() {
    matrix(XTQUANT[0], Lane::InProcess, pushes());
}

#[test]
fn lists_that_lag_or_are_empty_in_process() {
    matrix(XTQUANT[0], Lane::InProcess, lists());
}

#[test]
fn connections_that_fail_in_process() {
    matrix(XTQUANT[0], Lane::InProcess, connections());
}

#[test]
fn remarks_that_are_changed_in_process() {
    matrix(XTQUANT[0], Lane::InProcess, remarks());
}

/// The older wheels: one fault of each kind.
#[test]
fn the_older_wheels() {
    for version in &XTQUANT[1..] {
        matrix(
            version,
            Lane::Worker,
            vec![
                row("all is well", json!({}), ""),
                row(
                    "a reply is dropped",
                    json!({ "reply_dropped": 1 }),
                    "reply_dropped",
                ),
                row(
                    "-1 for an order that lives",
                    json!({ "minus_one_live": 1 }),
                    "minus_one_live",
                ),
                row(
                    "pushes before the response",
                    json!({ "push_first": true }),
                    "push_first",
                ),
                row(
                    "disconnected during an order",
                    json!({ "disconnect_during_order": 1 }),
                    "disconnect_during_order",
                ),
                row(
                    "the bridge dies once it is accepted",
                    json!({ "die_after_order": 1 }),
                    "die_after_order",
                ),
                row(
                    "a call hangs with the order accepted",
                    json!({ "hang_after_order": 1 }),
                    "hang_after_order",
                ),
            ],
        );
    }
}

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
