//! The gates that wait for the broker, with the real binary: while it is away, while it gives no figures, and while the
//! backend hangs, which keeps nothing from them.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::path::PathBuf;

use qt_test_support::{Backend, Desk, purchase as signal, wait_until};
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

const LANES: [&str; 2] = ["worker", "in-process"];

/// A desk whose broker does as `misbehaviour` says for as long as the file that [`there`] names is not there.
fn desk_of(backend: &Backend, lane: &str, misbehaviour: &str, gates: &Value) -> Desk {
    let desk = Desk::new(backend, &json!({}));
    let options = json!({
        "broker": "hostile", "gates": gates,
        "hostile": {
            "misbehaviour": misbehaviour, "cash": 10_000_000, "ledger": desk.ledger_path(),
            "positions": [{ "symbol": "000858.SZ", "quantity": 100_000, "avg_cost": 40, "last_price": 43.2 }],
        },
        "plugin_options": { "hostile": { "lane": lane } },
    });
    desk.configure(backend, &options);
    desk
}

/// What ends and begins the misbehaviour.
fn there(desk: &Desk) -> PathBuf {
    let folder = desk.path("data/plugin-data/hostile");
    std::fs::create_dir_all(&folder).unwrap();
    folder.join("hostile-is-there")
}

/// Every gate that goes by the broker's figures waits for them, in turn, and none refuses.
#[test]
fn orders_wait_while_the_broker_gives_no_figures() {
    for lane in LANES {
        let backend = Backend::start();
        let gates =
            json!({ "count_shares_and_cash": true, "max_loss_per_day": 100_000, "max_position_pct": 95 });
        let desk = desk_of(&backend, lane, "hides-holdings", &gates);
        let is_there = there(&desk);
        let host = desk.trading();
        backend.add(&json!([
            signal("BUY", &json!({})),
            signal("SALE", &json!({ "action": "SELL", "price": 43 })),
        ]));
        expect(&desk, "BUY", "DEFERRED BOOK_UNKNOWN");
        expect(&desk, "SALE", "DEFERRED BOOK_UNKNOWN");
        assert_eq!(desk.accepted(), 0, "{lane}: {:?}", desk.ledger());
        std::fs::write(&is_there, "").unwrap();
        expect(&desk, "BUY", "FILLED");
        expect(&desk, "SALE", "FILLED");
        assert_eq!(host.stop(), Some(0), "{lane}");
        assert_eq!(desk.accepted(), 2, "{lane}: {:?}", desk.ledger());
        desk.done(&["journal", "verify"]);
    }
}

#[test]
fn orders_wait_while_the_broker_is_away() {
    for lane in LANES {
        let backend = Backend::start();
        let desk = desk_of(&backend, lane, "away-in-connection", &json!({}));
        let is_there = there(&desk);
        std::fs::write(&is_there, "").unwrap();
        let host = desk.trading();
        backend.add(&signal("FIRST", &json!({})));
        expect(&desk, "FIRST", "FILLED");
        std::fs::remove_file(&is_there).unwrap();
        wait_until("it is away", || {
            desk.log().contains("the broker is not connected")
        });
        backend.add(&signal("BUY", &json!({ "size": 200 })));
        expect(&desk, "BUY", "DEFERRED NOT_CONNECTED");
        assert_eq!(desk.accepted(), 1, "{lane}: {:?}", desk.ledger());
        std::fs::write(&is_there, "").unwrap();
        expect(&desk, "BUY", "FILLED");
        assert_eq!(host.stop(), Some(0), "{lane}");
        desk.done(&["journal", "verify"]);
    }
}
