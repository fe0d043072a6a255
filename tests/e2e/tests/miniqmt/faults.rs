//! The matrix of faults: what the terminal does wrong, and what must come of it all the same.

use qt_test_support::{XTQUANT, xtquant};
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
        // The dead one was asked on and on, and no other started, for as long as a connection may take to be made.
        row(
            "the bridge dies while it is asked, patience",
            json!({ "die_in_query": { "at": [3, 9, 14] } }),
            "die_in_query",
        )
        .block(json!({ "connect_deadline_seconds": 600 })),
        // It takes every order and question, and says nothing: no answer, no push, no end of the connection.
        row(
            "the terminal freezes after an order",
            json!({ "silent_after_order": 1 }),
            "silent_after_order",
        )
        .block(json!({ "silent_after_seconds": 2 })),
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
