//! Every gate refuses and lets pass, with the real binary, the real plugin and the real journal.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use qt_test_support::{Backend, Desk, wait_until};
use serde_json::{Value, json};

fn signal(id: &str, more: &Value) -> Value {
    let mut signal =
        json!({ "order_id": id, "symbol": "000858.SZ", "action": "BUY", "size": 100, "price": 43.5 });
    for (key, value) in more.as_object().unwrap() {
        signal[key] = value.clone();
    }
    signal
}

/// `STATE CODE` of a signal's order, `STATE` where no gate stopped it, nothing where there is none.
fn verdict(desk: &Desk, id: &str) -> String {
    let orders = desk.json(&["orders", "--since", "2000-01-01"]);
    let found = orders
        .as_array()
        .unwrap()
        .iter()
        .find(|order| order["signal"] == id)
        .cloned();
    found.map_or_else(String::new, |order| {
        let words = [&order["state"], &order["code"]];
        words
            .iter()
            .filter_map(|word| word.as_str())
            .collect::<Vec<_>>()
            .join(" ")
    })
}

fn expect(desk: &Desk, id: &str, expected: &str) {
    wait_until(
        &format!(
            "{id} is {expected}, now {}; log: {}",
            verdict(desk, id),
            desk.log()
        ),
        || verdict(desk, id) == expected,
    );
}

/// What the backend was told last of a signal.
fn told(backend: &Backend, id: &str) -> String {
    let state = backend.state();
    let posts = state["signals"][id]["posts"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let last = posts.last().map(|post| post["body"].clone()).unwrap_or_default();
    format!(
        "{}: {}",
        last["status"].as_str().unwrap_or(""),
        last["last_error"].as_str().unwrap_or("")
    )
}

/// Everything about one account on: 500,000 yuan, and 100,000 Wuliangye worth 4,320,000.
fn strict() -> Value {
    json!({
        "gates": {
            "market_rules": true, "count_shares_and_cash": true, "duplicate_window_seconds": 3600,
            "max_reference_deviation_pct": 5, "max_order_value": 1_000_000, "max_position_pct": 95,
            "max_turnover_per_day": 2_000_000, "max_loss_per_day": 100_000, "max_per_second": 100,
            "boards": ["main", "star", "chinext"], "strategies": { "slow": { "max_turnover_per_day": 1000 } },
        },
        "simulated": {
            "cash": 500_000,
            "positions": [{ "symbol": "000858.SZ", "quantity": 100_000, "avg_cost": 40, "last_price": 43.2, "previous_close": 43.2 }],
        },
    })
}

#[test]
fn each_gate_refuses_what_it_should_and_tells_the_backend_why() {
    let backend = Backend::start();
    let desk = Desk::new(&backend, &strict());
    let host = desk.trading();
    backend.add(&signal("PASS", &json!({})));
    expect(&desk, "PASS", "FILLED");
    let cases = [
        (
            "LOT",
            json!({ "size": 150 }),
            "DENIED LOT",
            "failed: 000858.SZ: quantity 150 is not a multiple of 100",
        ),
        (
            "LIMIT",
            json!({ "size": 200, "price": 50 }),
            "DENIED OUTSIDE_PRICE_LIMITS",
            "failed: the limit of 50.00 yuan is outside of 38.88 to 47.52 yuan",
        ),
        (
            "FAR",
            json!({ "size": 200, "price": 46 }),
            "DENIED FAR_FROM_REFERENCE",
            "failed: the limit of 46.00 yuan is more than 5 % away",
        ),
        (
            "BOARD",
            json!({ "symbol": "204001.SH", "size": 10 }),
            "DENIED UNKNOWN_BOARD",
            "failed: 204001.SH is on no board",
        ),
        (
            "FUND",
            json!({ "symbol": "510300.SH" }),
            "DENIED BOARD_NOT_WANTED",
            "failed: 510300.SH is on Fund",
        ),
        (
            "TWIN",
            json!({}),
            "DENIED DUPLICATE",
            "failed: signal PASS was sent",
        ),
        (
            "VALUE",
            json!({ "size": 30_000 }),
            "DENIED ORDER_VALUE",
            "failed: the order comes to 1305000 yuan",
        ),
        (
            "SHARES",
            json!({ "symbol": "002050.SZ", "action": "SELL", "price": 30 }),
            "DENIED NOT_SELLABLE",
            "failed: 100 of 002050.SZ are to be sold, 0 are held",
        ),
        (
            "SHARE",
            json!({ "size": 10_000, "price": 43 }),
            "DENIED POSITION_SHARE",
            "failed: 000858.SZ would come to",
        ),
        (
            "CASH",
            json!({ "symbol": "002050.SZ", "size": 20_000, "price": 30 }),
            "DEFERRED CASH",
            "retry_pending: waits for cash: 600156 yuan with fees",
        ),
        (
            "SLOW",
            json!({ "size": 300, "price": 43, "strategy": "slow" }),
            "DENIED TURNOVER",
            "failed: today's turnover of strategy slow is 0 yuan",
        ),
        (
            "LATE",
            json!({ "size": 400, "valid_until": 1_600_000_000 }),
            "DENIED VALID_UNTIL_PASSED",
            "failed: valid_until passed",
        ),
        (
            "EARLY",
            json!({ "size": 500, "activate_after": 4_000_000_000u32 }),
            "DEFERRED ACTIVATE_AFTER",
            "retry_pending: waits for activate_after",
        ),
    ];
    for (id, more, ..) in &cases {
        backend.add(&signal(id, more));
    }
    for (id, _, expected, words) in &cases {
        expect(&desk, id, expected);
        wait_until(&format!("{id} is told: {}", told(&backend, id)), || {
            told(&backend, id).starts_with(words)
        });
    }
    // And what no gate objects to still goes.
    backend.add(&signal(
        "SOLD",
        &json!({ "action": "SELL", "size": 20_000, "price": 43.1 }),
    ));
    expect(&desk, "SOLD", "FILLED");
    // Its cash came in, and what waited for cash goes.
    expect(&desk, "CASH", "FILLED");
    assert_eq!(host.stop(), Some(0));
    assert_eq!(desk.accepted(), 3, "{:?}", desk.ledger());
    desk.done(&["journal", "verify"]);
}

#[test]
fn a_session_that_is_over_is_waited_for_or_refused() {
    for (more, expected) in [
        (
            json!({ "trading_sessions": ["13:00-14:57"] }),
            "DEFERRED OUTSIDE_SESSION",
        ),
        (
            json!({ "trading_sessions": ["13:00-14:57"], "reject_signals_outside_session": true }),
            "DENIED OUTSIDE_SESSION",
        ),
        (json!({ "trading_sessions": "none" }), "FILLED"),
    ] {
        let backend = Backend::start();
        let desk = Desk::new(&backend, &json!({ "execution": more }));
        let host = desk.trading();
        backend.add(&signal("S1", &json!({})));
        expect(&desk, "S1", expected);
        assert_eq!(host.stop(), Some(0));
    }
}

#[test]
fn purchases_of_a_plan_wait_until_its_sales_have_ended() {
    let backend = Backend::start();
    let desk = Desk::new(
        &backend,
        &json!({ "execution": { "sell_barrier_mode": "hard", "sell_order_timeout_seconds": 3600 },
                 "simulated": { "fill": "never" } }),
    );
    let host = desk.trading();
    backend.add(&json!([
        signal("SALE", &json!({ "action": "SELL", "plan_id": "P" })),
        signal("BUY", &json!({ "plan_id": "P" })),
        signal("OTHER", &json!({ "plan_id": "Q" })),
    ]));
    expect(&desk, "SALE", "WORKING");
    expect(&desk, "OTHER", "WORKING");
    expect(&desk, "BUY", "DEFERRED SELL_BARRIER");
    desk.done(&["cancel", "SALE"]);
    expect(&desk, "SALE", "CANCELLED");
    expect(&desk, "BUY", "WORKING");
    assert_eq!(host.stop(), Some(0));
    desk.done(&["journal", "verify"]);
}

#[test]
fn while_reducing_only_sales_go_over_a_restart_too() {
    let backend = Backend::start();
    let desk = Desk::new(&backend, &json!({}));
    let host = desk.trading();
    assert!(
        desk.done(&["halt", "--sales-only", "--reason", "less risk"])
            .contains("no purchases until")
    );
    backend.add(&json!([
        signal("BUY", &json!({})),
        signal("SALE", &json!({ "action": "SELL", "price": null }))
    ]));
    expect(&desk, "SALE", "FILLED");
    expect(&desk, "BUY", "DEFERRED REDUCING");
    assert_eq!(host.stop(), Some(0));
    let host = desk.trading();
    assert_eq!(verdict(&desk, "BUY"), "DEFERRED REDUCING");
    assert!(desk.done(&["resume"]).contains("it was reducing (less risk)"));
    expect(&desk, "BUY", "FILLED");
    assert_eq!(host.stop(), Some(0));
}

#[test]
fn no_second_sees_more_orders_than_the_governor_lets_go() {
    let backend = Backend::start();
    let desk = Desk::new(
        &backend,
        &json!({ "gates": { "max_per_second": 5, "cancel_reserve_per_second": 0, "max_per_day": 15, "cancel_reserve_per_day": 1 } }),
    );
    let host = desk.trading();
    let all: Vec<Value> = (0..16)
        .map(|n| signal(&format!("S{n:02}"), &json!({ "size": 100 * (n + 1) })))
        .collect();
    backend.add(&Value::Array(all));
    expect(&desk, "S13", "FILLED");
    expect(&desk, "S14", "DENIED RATE_DAY");
    expect(&desk, "S15", "DENIED RATE_DAY");
    assert_eq!(host.stop(), Some(0));
    let sent: Vec<i64> = desk
        .ledger()
        .iter()
        .filter(|line| line["event"] == "accepted")
        .map(|line| line["ts"].as_i64().unwrap())
        .collect();
    assert_eq!(sent.len(), 14);
    for (i, first) in sent.iter().enumerate() {
        let within = sent[i..].iter().filter(|at| **at < first + 1000).count();
        assert!(
            within <= 5,
            "{within} orders within a second from {first} on: {sent:?}"
        );
    }
    let report = desk.json(&["compliance", "report"]);
    assert_eq!(report["orders_sent"], 14);
    assert!(report["highest_per_second"].as_u64().unwrap() <= 5, "{report}");
    assert_eq!(report["highest_per_day"], 14);
    assert_eq!(report["own_limit_per_second"], 5);
    let text = desk.done(&["compliance", "report"]);
    assert!(
        text.contains("high frequency from 300 on") && text.contains("own limit 15"),
        "{text}"
    );
    let csv = desk.done(&["compliance", "report", "--csv"]);
    assert!(
        csv.starts_with("item,value,remark\nSoftware,quantTrader,\n"),
        "{csv}"
    );
    desk.done(&["journal", "verify"]);
}

#[test]
fn the_gates_are_listed_with_their_settings_and_a_real_broker_has_them_shut() {
    let backend = Backend::start();
    let desk = Desk::new(&backend, &json!({}));
    let off = |listed: &Value| -> Vec<String> {
        let gates = listed["gates"].as_array().unwrap().iter();
        gates
            .filter(|gate| gate["on"] == false)
            .map(|gate| gate["gate"].as_str().unwrap().to_owned())
            .collect()
    };
    let listed = desk.json(&["gates"]);
    assert_eq!(listed["paper"], true);
    for name in [
        "session",
        "board",
        "lot",
        "price limits",
        "shares",
        "cash",
        "rate",
        "sell before buy",
    ] {
        assert!(
            off(&listed).contains(&name.to_owned()),
            "{name} is on for the simulator"
        );
    }
    let listed = desk.json(&["gates", "--broker", "miniQMT"]);
    assert_eq!(listed["paper"], false);
    for name in [
        "session",
        "board",
        "lot",
        "price limits",
        "shares",
        "cash",
        "rate",
    ] {
        assert!(
            !off(&listed).contains(&name.to_owned()),
            "{name} is off for a real broker"
        );
    }
    assert!(desk.done(&["gates"]).contains("VALID_UNTIL_PASSED (denied)"));
}

#[test]
fn a_bad_setting_of_a_gate_is_named() {
    let backend = Backend::start();
    let desk = Desk::new(
        &backend,
        &json!({ "execution": { "trading_sessions": "CN_B", "sell_barrier_mode": "har" },
                 "gates": { "max_per_second": 300, "boards": ["moon"], "max_order_value": -1, "max_position_pct": 101 } }),
    );
    let out = desk.run(&["config", "check"]);
    assert_eq!(out.status.code(), Some(2));
    let said = String::from_utf8_lossy(&out.stderr).into_owned() + &String::from_utf8_lossy(&out.stdout);
    for words in [
        "execution.trading_sessions = \"CN_B\": expected \"CN_A\", \"none\"",
        "execution.sell_barrier_mode",
        "gates.max_per_second = 300: expected a whole number from 0 to 299",
        "gates.boards",
        "gates.max_order_value = -1: expected an amount in yuan above 0",
        "gates.max_position_pct = 101: expected a percentage",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    desk.configure(
        &backend,
        &json!({ "gates": { "market_rules": true, "market_tables": desk.path("tables.toml") } }),
    );
    let out = desk.run(&["gates"]);
    assert_eq!(out.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&out.stderr).contains("tables.toml cannot be read"));
    std::fs::write(desk.path("tables.toml"), "[boards.main]\nlots = 5\n").unwrap();
    let out = desk.run(&["gates"]);
    assert!(String::from_utf8_lossy(&out.stderr).contains("tables.toml: the market tables cannot be read"));
}
