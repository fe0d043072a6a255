//! The gates that wait for the broker, with the real binary: while it is away, while it gives no figures, and while the
//! backend hangs, which keeps nothing from them.
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
    let mut orders = orders.as_array().unwrap().iter();
    orders
        .find(|order| order["signal"] == id)
        .map_or_else(String::new, |order| {
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

/// The backend answers neither heartbeats nor what it is shown of the account; the broker answers all along.
#[test]
fn a_backend_that_hangs_keeps_the_brokers_figures_from_no_gate() {
    let backend = Backend::start();
    for path in ["heartbeat", "positions", "account"] {
        backend.fault(&json!({ "mode": "slow", "path": path, "delay_ms": 600_000 }));
    }
    let desk = Desk::new(
        &backend,
        &json!({
            "http": { "read_timeout_seconds": 300, "call_timeout_seconds": 600 },
            "execution": { "heartbeat_interval_seconds": 1 },
            "gates": { "count_shares_and_cash": true },
            "simulated": { "cash": 10_000, "prices": { "002050.SZ": 30 } },
        }),
    );
    let host = desk.trading();
    backend.add(&signal("FIRST", &json!({})));
    expect(&desk, "FIRST", "FILLED");
    // Its cash is there only with the figures after the sale.
    backend.add(&signal(
        "BUY",
        &json!({ "symbol": "002050.SZ", "size": 1_000, "price": 30 }),
    ));
    expect(&desk, "BUY", "DEFERRED CASH");
    backend.add(&signal(
        "SALE",
        &json!({ "action": "SELL", "size": 1_000, "price": 43 }),
    ));
    expect(&desk, "SALE", "FILLED");
    expect(&desk, "BUY", "FILLED");
    assert_eq!(host.stop(), Some(0));
}
