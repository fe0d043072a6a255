//! Every gate refuses and lets pass, with the real binary, the real plugin and the real journal.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use qt_test_support::{Backend, Desk, purchase as signal, to_ten_in_shanghai_ms, wait_until};
use serde_json::{Value, json};

fn expect(desk: &Desk, id: &str, expected: &str) {
    wait_until(
        &format!(
            "{id} is {expected}, now {}; log: {}",
            desk.verdict(id),
            desk.log()
        ),
        || desk.verdict(id) == expected,
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
            "UNPRICED",
            json!({ "symbol": "002050.SZ", "price": null, "size": 700 }),
            "DENIED ORDER_VALUE_UNKNOWN",
            "failed: ",
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

/// How far a desk's clock is off its ten o'clock on 2026-12-01, a Tuesday, at this time in Shanghai.
fn to_tuesday(hour: i64, minute: i64, second: i64) -> i64 {
    let midnight = 1_796_054_400_000;
    let now = std::time::SystemTime::now();
    let now = now.duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
    let of_desk = i64::try_from(now).unwrap() + to_ten_in_shanghai_ms();
    midnight + ((hour * 60 + minute) * 60 + second) * 1_000 - of_desk
}

/// The sessions are those of the tables: night, the opening auction, lunch, and after hours.
#[test]
fn orders_wait_for_the_exchanges_own_sessions() {
    let backend = Backend::start();
    let desk = Desk::new(
        &backend,
        &json!({ "execution": { "trading_sessions": "CN_A" }, "simulated": { "fill": "never" } }),
    );
    desk.set_clock(to_tuesday(9, 14, 30));
    let host = desk.trading();
    backend.add(&signal("NIGHT", &json!({ "action": "SELL", "size": 200 })));
    expect(&desk, "NIGHT", "DEFERRED OUTSIDE_SESSION");
    wait_until(&told(&backend, "NIGHT"), || {
        told(&backend, "NIGHT")
            .starts_with("retry_pending: waits for the session of 000858.SZ that begins at 09:15")
    });
    desk.set_clock(to_tuesday(9, 15, 0));
    expect(&desk, "NIGHT", "WORKING");
    // A sale may rest for 90 seconds by default; for ten minutes of auction it had no chance, and none in the minute after.
    desk.set_clock(to_tuesday(9, 31, 0));
    backend.add(&signal("MORNING", &json!({})));
    expect(&desk, "MORNING", "WORKING");
    assert_eq!(desk.verdict("NIGHT"), "WORKING");
    desk.set_clock(to_tuesday(9, 31, 30));
    expect(&desk, "NIGHT", "CANCELLED");
    desk.set_clock(to_tuesday(11, 30, 0));
    backend.add(&signal("LUNCH", &json!({ "size": 300 })));
    expect(&desk, "LUNCH", "DEFERRED OUTSIDE_SESSION");
    desk.set_clock(to_tuesday(15, 6, 0));
    backend.add(&signal("LATE", &json!({ "size": 400 })));
    expect(&desk, "LATE", "DEFERRED OUTSIDE_SESSION");
    // What waited for the afternoon, which passed in no time here, is not for another day; what came after the close is.
    desk.set_clock(to_tuesday(24, 0, 1));
    expect(&desk, "LUNCH", "DENIED DAY_OVER");
    assert_eq!(desk.verdict("LATE"), "DEFERRED OUTSIDE_SESSION");
    assert_eq!(host.stop(), Some(0));
    desk.done(&["journal", "verify"]);
}

/// The gates that need the market's price, the day's result, or shares that another order holds.
#[test]
fn what_goes_by_the_brokers_figures_refuses_and_lets_pass() {
    let backend = Backend::start();
    let held = json!([{ "symbol": "000858.SZ", "quantity": 1_000, "avg_cost": 40, "last_price": 43.2, "previous_close": 43.2 }]);
    let desk = Desk::new(
        &backend,
        &json!({
            "gates": { "market_rules": true, "price_cage": true, "quote_max_age_seconds": 5, "count_shares_and_cash": true },
            "securities_account_id": "SA-1",
            "simulated": { "fill": "never", "cash": 100_000, "positions": held },
        }),
    );
    desk.set_clock(to_tuesday(10, 0, 0));
    let host = desk.trading();
    backend.add(&json!([
        signal("ELSEWHERE", &json!({ "securities_account_id": "SA-2" })),
        signal("WITHIN", &json!({ "price": 44.06 })),
        signal("ABOVE", &json!({ "price": 44.07, "size": 200 })),
        signal("DUST", &json!({ "price": 0.004, "size": 300 })),
        signal("ALL", &json!({ "action": "SELL", "size": 1_000, "price": 43.5 })),
    ]));
    expect(&desk, "WITHIN", "WORKING");
    expect(&desk, "ABOVE", "DEFERRED OUTSIDE_CAGE");
    expect(&desk, "DUST", "DENIED PRICE_BELOW_TICK");
    expect(&desk, "ALL", "WORKING");
    assert_eq!(desk.verdict("ELSEWHERE"), "");
    backend.add(&signal(
        "AGAIN",
        &json!({ "action": "SELL", "size": 100, "price": 43.4 }),
    ));
    expect(&desk, "AGAIN", "DEFERRED SHARES_HELD");
    desk.done(&["cancel", "ALL"]);
    expect(&desk, "ALL", "CANCELLED");
    expect(&desk, "AGAIN", "WORKING");
    assert_eq!(host.stop(), Some(0));

    // 1,200 yuan were lost today by the close before, whatever all was worth when the host began to look.
    let lost = json!([{ "symbol": "000858.SZ", "quantity": 1_000, "avg_cost": 40, "last_price": 42, "previous_close": 43.2 }]);
    for (most, expected) in [(1_200, "DENIED DAY_LOSS"), (1_201, "FILLED")] {
        let backend = Backend::start();
        let desk = Desk::new(
            &backend,
            &json!({ "gates": { "max_loss_per_day": most }, "simulated": { "cash": 100_000, "positions": lost } }),
        );
        let host = desk.trading();
        backend.add(&signal("BUY", &json!({})));
        expect(&desk, "BUY", expected);
        backend.add(&signal("SELL", &json!({ "action": "SELL", "price": null })));
        expect(&desk, "SELL", "FILLED");
        assert_eq!(host.stop(), Some(0));
    }
}

/// A soft barrier gives the sales their time from when it holds the purchase back, and then lets it go.
#[test]
fn a_soft_barrier_opens_by_time() {
    let backend = Backend::start();
    let desk = Desk::new(
        &backend,
        &json!({ "execution": { "trading_sessions": "CN_A", "sell_barrier_mode": "soft", "sell_barrier_timeout_seconds": 600 },
                 "simulated": { "fill": "never" } }),
    );
    desk.set_clock(to_tuesday(9, 0, 0));
    let host = desk.trading();
    backend.add(&json!([
        signal("SALE", &json!({ "action": "SELL", "plan_id": "P" })),
        signal("BUY", &json!({ "plan_id": "P" })),
    ]));
    expect(&desk, "BUY", "DEFERRED OUTSIDE_SESSION");
    desk.set_clock(to_tuesday(9, 16, 0));
    expect(&desk, "SALE", "WORKING");
    expect(&desk, "BUY", "DEFERRED SELL_BARRIER");
    desk.set_clock(to_tuesday(9, 24, 0));
    backend.add(&signal("OTHER", &json!({ "size": 300 })));
    expect(&desk, "OTHER", "WORKING");
    assert_eq!(desk.verdict("BUY"), "DEFERRED SELL_BARRIER");
    // From 9:25 to 9:30 nothing goes.
    desk.set_clock(to_tuesday(9, 30, 0));
    expect(&desk, "BUY", "WORKING");
    assert_eq!(host.stop(), Some(0));
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

/// A hard barrier waits where it cannot tell: the sale is there, and cannot be taken yet.
#[test]
fn purchases_stay_with_the_backend_while_a_sale_of_their_plan_is_not_executable() {
    let backend = Backend::start();
    let desk = Desk::new(&backend, &json!({ "execution": { "sell_barrier_mode": "hard" } }));
    let host = desk.trading();
    backend.add(&json!([
        signal(
            "SALE",
            &json!({ "action": "SELL", "plan_id": "P", "price": null, "is_executable": false })
        ),
        signal("BUY", &json!({ "plan_id": "P" })),
        signal("OTHER", &json!({ "plan_id": "Q", "size": 200 })),
    ]));
    expect(&desk, "OTHER", "FILLED");
    wait_until("the log says why", || {
        desk.log()
            .contains("Purchases of plan P, such as signal BUY, are left with the backend")
    });
    assert_eq!(
        (desk.verdict("SALE"), desk.verdict("BUY")),
        (String::new(), String::new())
    );
    assert_eq!(host.stop(), Some(0));
    assert_eq!(desk.accepted(), 1, "{:?}", desk.ledger());
    // A soft one has nothing to wait for.
    desk.configure(&backend, &json!({ "execution": { "sell_barrier_mode": "soft" } }));
    let host = desk.trading();
    expect(&desk, "BUY", "FILLED");
    assert_eq!(host.stop(), Some(0));
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
    assert_eq!(desk.verdict("BUY"), "DEFERRED REDUCING");
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

/// Cancels count when they left, each of them, as the answers in the journal tell.
#[test]
fn the_sheet_counts_every_cancel_that_left() {
    let backend = Backend::start();
    let desk = Desk::new(
        &backend,
        &json!({ "execution": { "cancel_retry_interval_seconds": 0.2, "cancel_retry_grace_seconds": 0 },
                 "simulated": { "fill": "never", "fault_refuse_cancels": 2 } }),
    );
    let host = desk.trading();
    backend.add(&signal("S1", &json!({})));
    expect(&desk, "S1", "WORKING");
    desk.done(&["cancel", "S1"]);
    expect(&desk, "S1", "CANCELLED");
    assert_eq!(host.stop(), Some(0));
    let report = desk.json(&["compliance", "report"]);
    assert_eq!(
        (
            &report["orders_sent"],
            &report["cancels_sent"],
            &report["highest_per_day"]
        ),
        (&json!(1), &json!(3), &json!(4)),
        "{report}"
    );
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
