//! The ledger as a file that processes die over.

mod common;

use common::*;
use qt_plugin_api::*;
use serde_json::json;

#[test]
fn a_restart_finds_everything_as_it_was() {
    let bench = Bench::new();
    let config = json!({"cash": 200_000, "positions": held()});
    let broker = bench.open(config.clone());
    accepted(broker.place_order(&order("A", Side::Buy, 300, Some("151"))));
    accepted(broker.place_order(&order("B", Side::Sell, 400, None)));
    accepted(broker.place_order(&order("C", Side::Buy, 100, Some("140"))));
    let before = (
        broker.account(),
        broker.positions(),
        broker.orders_today(),
        broker.trades_today(),
    );
    drop(broker);
    let broker = bench.open(config);
    assert_eq!(
        (
            broker.account(),
            broker.positions(),
            broker.orders_today(),
            broker.trades_today()
        ),
        before
    );
}

#[test]
fn a_torn_last_line_is_dropped_wherever_it_is_torn() {
    let bench = Bench::new();
    let config = json!({"fill": "never", "positions": held()});
    let broker = bench.open(config.clone());
    accepted(broker.place_order(&order("A", Side::Buy, 100, Some("151"))));
    accepted(broker.place_order(&order("B", Side::Buy, 100, Some("151"))));
    drop(broker);
    let whole = std::fs::read(bench.ledger_path()).expect("ledger");
    let first = whole.iter().position(|b| *b == b'\n').expect("a line") + 1;
    for cut in first..whole.len() {
        std::fs::write(bench.ledger_path(), &whole[..cut]).expect("cut");
        let broker = bench.open(config.clone());
        assert_eq!(broker.orders_today().expect("orders").len(), 1, "cut at {cut}");
        drop(broker);
        assert_eq!(
            std::fs::metadata(bench.ledger_path()).expect("ledger").len(),
            first as u64
        );
    }
}

#[test]
fn damage_elsewhere_is_an_error_that_names_the_line() {
    let bench = Bench::new();
    std::fs::write(bench.ledger_path(), "{\"event\":\"accepted\"\n\n").expect("write");
    let error = bench.try_open(&json!({})).err().expect("refused").reason;
    assert!(
        error.contains("damaged in line 1") && error.contains("simulated-ledger.jsonl"),
        "{error}"
    );
}

#[test]
fn a_ledger_that_contradicts_the_configured_start_is_refused() {
    let bench = Bench::new();
    let broker = bench.open(json!({"positions": held()}));
    accepted(broker.place_order(&order("A", Side::Sell, 400, None)));
    drop(broker);
    let error = bench.try_open(&json!({})).err().expect("refused").reason;
    assert!(
        error.contains("line 2 of the ledger") && error.contains("`positions`"),
        "{error}"
    );
}

#[test]
fn a_second_broker_on_one_ledger_is_refused_until_the_first_closes() {
    let bench = Bench::new();
    let first = bench.open(json!({}));
    let error = bench.try_open(&json!({})).err().expect("refused").reason;
    assert!(error.contains("in use by another broker"), "{error}");
    first.close();
    first.close();
    assert!(bench.try_open(&json!({})).is_ok());
    assert!(reason(first.place_order(&order("A", Side::Buy, 100, Some("1")))).contains("closed"));
    assert!(first.orders_today().is_err() && first.account().is_err());
    assert!(matches!(first.connection(), ConnectionState::Disconnected { .. }));
}

#[test]
fn a_ledger_of_its_own_may_lie_elsewhere() {
    let bench = Bench::new();
    let broker = bench.open(json!({"ledger": "deep/er/mine.jsonl"}));
    accepted(broker.place_order(&order("A", Side::Buy, 100, Some("1"))));
    assert_eq!(lines(&bench.dir.path().join("deep/er/mine.jsonl")).len(), 2);
}

#[test]
fn a_wrong_configuration_names_the_key() {
    let bench = Bench::new();
    let error = bench.try_open(&json!({"csah": 1})).err().expect("refused").reason;
    assert!(error.contains("csah") && error.contains("cash"), "{error}");
}

#[test]
fn who_only_looks_sees_the_ledger_beside_its_writer_and_changes_nothing() {
    let bench = Bench::new();
    let writer = bench.open(json!({"fill": "never", "positions": held()}));
    accepted(writer.place_order(&order("A", Side::Sell, 400, Some("150"))));
    // Half a line is a line that is being written.
    let mut torn = std::fs::read(bench.ledger_path()).expect("ledger");
    torn.extend_from_slice(b"{\"event\":\"fi");
    std::fs::write(bench.ledger_path(), &torn).expect("write");
    // This one would fill what rests, were it opened to trade.
    let reader = bench.open(json!({"read_only": true, "fill_after_ms": 1, "positions": held()}));
    let position = reader.positions().expect("positions")[0].clone();
    assert_eq!((position.quantity, position.frozen_qty), (1000, 400));
    assert_eq!(reader.orders_today(), writer.orders_today());
    assert_eq!(reader.account(), writer.account());
    assert_eq!(reader.connection(), ConnectionState::Connected);
    assert!(reason(reader.place_order(&order("B", Side::Buy, 100, None))).contains("read only"));
    assert!(matches!(
        reader.cancel_order(&cancel("A")),
        CancelResult::Rejected { .. }
    ));
    drop(reader);
    assert_eq!(std::fs::read(bench.ledger_path()).expect("ledger"), torn);
    assert!(
        bench
            .events()
            .iter()
            .all(|event| !matches!(event, host::Event::Trade(_)))
    );
}

#[test]
fn a_look_where_nothing_was_traded_makes_no_file() {
    let bench = Bench::new();
    let reader = bench.open(json!({"read_only": true, "positions": held()}));
    assert_eq!(reader.positions().expect("positions").len(), 1);
    drop(reader);
    assert_eq!(std::fs::read_dir(bench.dir.path()).expect("folder").count(), 0);
}

#[test]
fn a_look_at_a_damaged_ledger_is_an_error_too() {
    let bench = Bench::new();
    std::fs::write(bench.ledger_path(), "{\n").expect("write");
    let error = bench
        .try_open(&json!({"read_only": true}))
        .err()
        .expect("refused");
    assert!(error.reason.contains("damaged in line 1"), "{}", error.reason);
}
