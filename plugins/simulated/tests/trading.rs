//! What the simulated broker does with orders.

mod common;

use common::*;
use qt_plugin_api::{host::Event, *};
use serde_json::json;

#[test]
fn a_limit_buy_fills_at_the_last_price_and_costs_its_commission() {
    let bench = Bench::new();
    let broker = bench.open(json!({"cash": "100000.00", "positions": held()}));
    assert_eq!(
        accepted(broker.place_order(&order("A", Side::Buy, 300, Some("151")))),
        "S00000001"
    );
    let account = broker.account().expect("account");
    // 300 × 150.50 = 45150.00, commission 11.29.
    assert_eq!(account.cash, dec("54838.71"));
    assert_eq!(
        (account.frozen_cash, account.available_cash),
        (dec("0"), dec("54838.71"))
    );
    assert_eq!(account.total_asset, dec("54838.71") + dec("150.50") * dec("1300"));
    let positions = broker.positions().expect("positions");
    assert_eq!((positions[0].quantity, positions[0].available_qty), (1300, 1000));
    let statuses: Vec<_> = bench
        .events()
        .iter()
        .map(|e| match e {
            Event::Order(row) => format!("{:?} {}", row.status, row.filled_quantity),
            Event::Trade(row) => format!("trade {} {} {:?}", row.quantity, row.price, row.commission),
            other => format!("{other:?}"),
        })
        .collect();
    assert_eq!(
        statuses,
        ["Working 0", "trade 300 150.50 Some(11.29)", "Filled 300"]
    );
}

#[test]
fn the_ledger_holds_exact_numbers_in_the_promised_keys() {
    let bench = Bench::new();
    let broker = bench.open(json!({"positions": held()}));
    accepted(broker.place_order(&order("A", Side::Buy, 300, Some("150.50"))));
    let text = std::fs::read_to_string(bench.ledger_path()).expect("ledger");
    assert_eq!(
        text,
        "{\"event\":\"accepted\",\"ts\":1767578400000,\"client_order_id\":\"A\",\"broker_order_id\":\"S00000001\",\
         \"symbol\":\"000858.SZ\",\"side\":\"buy\",\"quantity\":300,\"price\":150.50}\n\
         {\"event\":\"fill\",\"ts\":1767578400000,\"client_order_id\":\"A\",\"broker_order_id\":\"S00000001\",\
         \"symbol\":\"000858.SZ\",\"side\":\"buy\",\"quantity\":300,\"price\":150.50,\"fill_id\":\"F00000001\",\
         \"commission\":11.29}\n"
    );
}

#[test]
fn what_cannot_be_done_is_rejected_with_its_reason_and_in_the_ledger() {
    let bench = Bench::new();
    let broker = bench.open(json!({"cash": 1000, "positions": held()}));
    let mut unknown = order("M", Side::Buy, 100, None);
    unknown.symbol = "600000.SH".to_owned();
    let mut late = order("L", Side::Sell, 100, None);
    late.not_after_ms = Some(MONDAY_MS - 1);
    let cases = [
        (order("C", Side::Buy, 100, Some("151")), "not enough cash"),
        (
            order("S", Side::Sell, 1100, None),
            "not enough shares: 1000 of 000858.SZ can be sold, 1100 asked",
        ),
        (order("Z", Side::Buy, 0, None), "quantity is 0"),
        (order("P", Side::Buy, 1, Some("-1")), "not above 0"),
        (unknown, "no last price is known for 600000.SH"),
        (late, "after the time it was good for"),
    ];
    for (order, expected) in &cases {
        let reason = reason(broker.place_order(order));
        assert!(reason.contains(expected), "{reason}");
    }
    assert_eq!(bench.count("rejected"), cases.len());
    assert_eq!(
        bench.ledger()[0]["reason"],
        broker.orders_today().expect("orders")[0].reason
    );
    assert!(
        reason(bench_reject().place_order(&order("A", Side::Buy, 100, None))).contains("rejects every order")
    );
}

fn bench_reject() -> qt_plugin_api::host::LoadedBroker {
    Bench::new().open(json!({"fill": "reject"}))
}

#[test]
fn a_limit_below_the_market_rests_and_binds_cash_until_it_is_cancelled() {
    let bench = Bench::new();
    let broker = bench.open(json!({"cash": 100_000, "positions": held()}));
    accepted(broker.place_order(&order("A", Side::Buy, 100, Some("150"))));
    let account = broker.account().expect("account");
    assert_eq!(
        (account.frozen_cash, account.available_cash),
        (dec("15005"), dec("84995"))
    );
    assert_eq!(broker.cancel_order(&cancel("A")), CancelResult::Sent);
    assert_eq!(broker.account().expect("account").frozen_cash, dec("0"));
    assert_eq!(
        broker.orders_today().expect("orders")[0].status,
        OrderStatus::Cancelled
    );
    assert!(matches!(
        broker.cancel_order(&cancel("A")),
        CancelResult::Rejected { .. }
    ));
    assert!(matches!(
        broker.cancel_order(&cancel("never seen")),
        CancelResult::Rejected { .. }
    ));
    assert_eq!(
        (
            bench.count("accepted"),
            bench.count("cancelled"),
            bench.count("fill")
        ),
        (1, 1, 0)
    );
}

#[test]
fn a_limit_sets_the_price_of_a_symbol_without_one() {
    let bench = Bench::new();
    let broker = bench.open(json!({}));
    let mut first = order("A", Side::Buy, 100, Some("10.5"));
    first.symbol = "600000.SH".to_owned();
    accepted(broker.place_order(&first));
    let positions = broker.positions().expect("positions");
    assert_eq!(positions[0].last_price, Some(dec("10.5")));
    assert_eq!(positions[0].avg_cost, dec("10.5"));
}

#[test]
fn partial_fills_half_and_the_commission_of_an_order_is_counted_once() {
    let bench = Bench::new();
    let broker = bench.open(json!({"fill": "partial", "positions": held()}));
    accepted(broker.place_order(&order("A", Side::Sell, 700, None)));
    let row = broker.orders_today().expect("orders").remove(0);
    assert_eq!(
        (row.status, row.filled_quantity),
        (OrderStatus::PartiallyFilled, 300)
    );
    let position = broker.positions().expect("positions").remove(0);
    assert_eq!(
        (position.quantity, position.frozen_qty, position.available_qty),
        (700, 400, 300)
    );
    drop(broker);
    // The same books under another mode: the rest fills, and the whole order has cost 0.025 %.
    let broker = bench.open(json!({"positions": held()}));
    let trades = broker.trades_today().expect("trades");
    let total: Decimal = trades.iter().filter_map(|t| t.commission).sum();
    assert_eq!((trades.len(), total), (2, dec("26.34")));
    assert_eq!(
        broker.orders_today().expect("orders")[0].status,
        OrderStatus::Filled
    );
}

#[test]
fn shares_bought_today_can_be_sold_tomorrow() {
    let bench = Bench::new();
    let broker = bench.open(json!({"prices": {"000858.SZ": 10}}));
    accepted(broker.place_order(&order("A", Side::Buy, 200, None)));
    assert!(reason(broker.place_order(&order("B", Side::Sell, 200, None))).contains("0 of 000858.SZ"));
    bench.pass_days(1);
    accepted(broker.place_order(&order("C", Side::Sell, 200, None)));
    assert_eq!(broker.orders_today().expect("orders").len(), 1);
    assert_eq!(broker.trades_today().expect("trades").len(), 1);
    assert_eq!(broker.positions().expect("positions")[0].quantity, 0);
}

#[test]
fn an_open_order_lapses_with_its_day() {
    let bench = Bench::new();
    let broker = bench.open(json!({"fill": "never", "cash": 100_000, "positions": held()}));
    accepted(broker.place_order(&order("A", Side::Buy, 100, Some("150"))));
    bench.pass_days(1);
    assert_eq!(broker.account().expect("account").frozen_cash, dec("0"));
    assert!(matches!(
        broker.cancel_order(&cancel("A")),
        CancelResult::Rejected { .. }
    ));
    assert_eq!(broker.orders_today().expect("orders"), []);
}

#[test]
fn the_same_id_is_one_order_before_and_after_a_restart() {
    let bench = Bench::new();
    let config = json!({"positions": held()});
    let broker = bench.open(config.clone());
    let wish = order("A", Side::Buy, 300, Some("151"));
    let id = accepted(broker.place_order(&wish));
    assert_eq!(accepted(broker.place_order(&wish)), id);
    drop(broker);
    let broker = bench.open(config);
    assert_eq!(accepted(broker.place_order(&wish)), id);
    let other = order("A", Side::Buy, 200, Some("151"));
    assert!(reason(broker.place_order(&other)).contains("already stands for another order"));
    assert_eq!((bench.count("accepted"), bench.count("fill")), (1, 1));
}

#[test]
fn what_was_sold_out_is_shown_with_no_shares_until_the_day_is_over() {
    let bench = Bench::new();
    let broker = bench.open(json!({"positions": [
        {"symbol": "000858.SZ", "quantity": 1000, "avg_cost": 100, "last_price": 150, "previous_close": 149}]}));
    accepted(broker.place_order(&order("A", Side::Sell, 1000, None)));
    let row = broker.positions().expect("positions")[0].clone();
    assert_eq!(
        (row.quantity, row.available_qty, row.avg_cost),
        (0, 0, Decimal::ZERO)
    );
    assert_eq!(row.previous_close, Some(dec("149")));
    bench.pass_days(1);
    assert_eq!(broker.positions(), Ok(vec![]));
}

#[test]
fn a_suspended_holding_has_no_price_and_no_value() {
    let bench = Bench::new();
    let broker = bench.open(json!({"cash": 5, "positions": [
        {"symbol": "000858.SZ", "quantity": 1000, "avg_cost": 100}]}));
    let row = broker.positions().expect("positions")[0].clone();
    assert_eq!((row.last_price, row.market_value), (None, None));
    assert_eq!(broker.account().expect("account").total_asset, dec("5"));
    assert!(reason(broker.place_order(&order("A", Side::Sell, 100, None))).contains("no last price"));
}
