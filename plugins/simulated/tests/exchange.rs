//! `fill: exchange`: an order meets what an exchange would have for it, and the ledger tells all of it.

mod common;

use std::sync::atomic::Ordering;

use common::*;
use qt_plugin_api::{host::LoadedBroker, *};
use serde_json::{Value, json};

/// 2026-11-24 09:30:30 in Shanghai; files of quotes below are of that day.
const MORNING_MS: i64 = 1_795_485_600_000 - 29 * 60_000 - 30_000;

const BARS: &str = "time,symbol,open,high,low,close,volume,previous_close\n\
    2026-11-24 09:31,000858.SZ,150,150.5,149.5,150,40000,150\n\
    2026-11-24 09:32,000858.SZ,150,150,149,149,8000,150\n\
    2026-11-24 09:33,000858.SZ,149,149,148,148,8000,150\n\
    2026-11-24 15:00,000858.SZ,149,149,149,149,20000,150\n";

fn bench(now_ms: i64) -> Bench {
    let bench = Bench::new();
    bench.now_ms.store(now_ms, Ordering::SeqCst);
    std::fs::write(bench.dir.path().join("bars.csv"), BARS).expect("quotes");
    bench
}

fn options(exchange: Value) -> Value {
    let mut exchange = exchange;
    exchange["quotes"] = json!("bars.csv");
    exchange["participation_pct"] = json!(100);
    json!({"cash": 1_000_000, "positions": held(), "fill": "exchange", "exchange": exchange})
}

fn pass_ms(bench: &Bench, ms: i64) {
    bench.now_ms.fetch_add(ms, Ordering::SeqCst);
}

fn rows(broker: &LoadedBroker) -> Vec<String> {
    let rows = broker.orders_today().expect("orders");
    rows.iter()
        .map(|row| format!("{:?} {}", row.status, row.filled_quantity))
        .collect()
}

#[test]
fn an_order_fills_in_parts_as_the_market_trades_and_the_books_follow() {
    let bench = bench(MORNING_MS);
    let config = options(json!({"session_from": "2026-11-24T09:30:30"}));
    let broker = bench.open(config.clone());
    pass_ms(&bench, 40_000);
    // 40,000 shares of the last bar rest on five levels: 8,000 at 150.01.
    accepted(broker.place_order(&order("A", Side::Buy, 6_000, Some("149.50"))));
    assert_eq!(rows(&broker), ["Working 0"]);
    pass_ms(&bench, 60_000);
    let trades = broker.trades_today().expect("trades");
    assert!(
        trades
            .iter()
            .all(|trade| trade.price == dec("149.50") && trade.transfer_fee.is_some()),
        "{trades:?}"
    );
    let filled: u64 = trades.iter().map(|trade| trade.quantity).sum();
    assert!((1..6_000).contains(&filled), "{filled} of 6000");
    assert_eq!(rows(&broker), [format!("PartiallyFilled {filled}")]);
    let position = &broker.positions().expect("positions")[0];
    assert_eq!(
        (position.quantity, position.available_qty),
        (1_000 + filled, 1_000)
    );
    assert_eq!(
        (position.last_price, position.previous_close),
        (Some(dec("149")), Some(dec("150")))
    );
    let account = broker.account().expect("account");
    let paid: Decimal = trades
        .iter()
        .map(|t| {
            t.price * Decimal::from(t.quantity)
                + t.commission.unwrap_or_default()
                + t.transfer_fee.unwrap_or_default()
        })
        .sum();
    assert_eq!(account.cash, dec("1000000") - paid);
    assert!(account.frozen_cash > dec("0"));
    // Both start again where they were.
    let before = (broker.account().expect("account"), rows(&broker));
    drop(broker);
    let broker = bench.open(config);
    assert_eq!((broker.account().expect("account"), rows(&broker)), before);
    pass_ms(&bench, 60_000);
    assert_eq!(rows(&broker), ["Filled 6000"]);
}

#[test]
fn refusals_read_as_a_counters_and_stand_in_the_ledger() {
    let bench = bench(MORNING_MS + 60_000);
    let broker = bench.open(options(json!({"session_from": "2026-11-24T09:31:30"})));
    for (name, side, quantity, limit, code) in [
        (
            "A",
            Side::Buy,
            100,
            "165.01",
            "[PRICE_LIMIT] 委托价格超过涨跌幅限制",
        ),
        ("B", Side::Buy, 150, "150", "[LOT]"),
        ("C", Side::Buy, 100, "160", "[PRICE_CAGE]"),
        ("D", Side::Sell, 1_100, "150", "[NO_SHARES]"),
        ("E", Side::Buy, 9_900, "150", "[NO_CASH] 资金可用数不足"),
        ("F", Side::Buy, 100, "150.001", "[PRICE_TICK]"),
    ] {
        let said = reason(broker.place_order(&order(name, side, quantity, Some(limit))));
        assert!(said.starts_with(code), "{name}: {said}");
    }
    assert_eq!((bench.count("rejected"), bench.count("accepted")), (6, 0));
}

#[test]
fn an_auction_gathers_takes_no_cancels_at_its_end_and_trades_at_one_price() {
    let bench = bench(MORNING_MS);
    let broker = bench.open(options(json!({"session_from": "2026-11-24T09:19:00"})));
    // The first minute of the file has no result of the auction: the first bar's open is it.
    let text = "time,symbol,last,volume,previous_close\n2026-11-23 15:00,000858.SZ,150,1000,149\n2026-11-24 09:25,000858.SZ,151,5000,150\n";
    drop(broker);
    std::fs::remove_file(bench.ledger_path()).expect("a fresh ledger");
    std::fs::write(bench.dir.path().join("bars.csv"), text).expect("quotes");
    let broker = bench.open(options(json!({"session_from": "2026-11-24T09:19:00"})));
    accepted(broker.place_order(&order("A", Side::Buy, 300, Some("155"))));
    pass_ms(&bench, 90_000);
    match broker.cancel_order(&cancel("A")) {
        CancelResult::Rejected { reason } => assert!(reason.starts_with("[CANCEL_CLOSED]"), "{reason}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(rows(&broker), ["Working 0"]);
    pass_ms(&bench, 300_000);
    let trades = broker.trades_today().expect("trades");
    assert_eq!(
        (trades.len(), trades[0].price, trades[0].quantity),
        (1, dec("151"), 300)
    );
}

#[test]
fn a_session_runs_faster_than_the_host_and_its_orders_lapse_with_its_day() {
    let bench = bench(MONDAY_MS);
    let broker = bench.open(options(
        json!({"session_from": "2026-11-24T09:31:00", "speed": 100}),
    ));
    pass_ms(&bench, 100);
    accepted(broker.place_order(&order("A", Side::Buy, 100, Some("135"))));
    // 205 of the host's seconds are 20,500 of the session's: past 15:05.
    pass_ms(&bench, 205_000);
    assert_eq!(rows(&broker), ["Cancelled 0"]);
    let row = &broker.orders_today().expect("orders")[0];
    assert!(row.reason.contains("the day is over"), "{row:?}");
    assert_eq!(
        row.updated_ms,
        MONDAY_MS + 205_100,
        "the host hears of it in its own time"
    );
    let ended = bench.ledger().pop().expect("a line");
    assert_eq!(ended["event"], "cancelled");
    assert!(
        ended["ts"].as_i64() > Some(1_795_485_600_000) && ended["host_ts"] == MONDAY_MS + 205_100,
        "{ended}"
    );
}

#[test]
fn the_same_seed_gives_the_same_ledger_and_a_fixed_price_stands_still() {
    let ledger = |quotes: &str, seed: u64| {
        let bench = bench(MONDAY_MS);
        let broker = bench.open(json!({
            "positions": held(), "fill": "exchange",
            "exchange": {"quotes": quotes, "seed": seed, "session_from": "2026-11-24T10:00:00", "participation_pct": 5}
        }));
        for n in 0..8 {
            accepted(broker.place_order(&order(&format!("N{n}"), Side::Buy, 500, Some("150.60"))));
            pass_ms(&bench, 3_000);
            drop(broker.account());
        }
        std::fs::read_to_string(bench.ledger_path()).expect("ledger")
    };
    assert_eq!(ledger("walk", 7), ledger("walk", 7));
    assert_ne!(ledger("walk", 7), ledger("walk", 8));
    let fixed = ledger("fixed", 1);
    assert!(
        fixed.contains("\"event\":\"fill\"") && fixed.contains("150.51"),
        "{fixed}"
    );
}

#[test]
fn a_dividend_is_paid_once_and_only_where_one_is_configured() {
    let bench = bench(MORNING_MS);
    let dividends = json!([{"symbol": "000858.SZ", "date": "2026-11-25", "cash": "2.5"}]);
    let config = options(json!({"session_from": "2026-11-24T14:00:00", "dividends": dividends}));
    let broker = bench.open(config.clone());
    assert_eq!(broker.account().expect("account").cash, dec("1000000"));
    pass_ms(&bench, DAY_MS);
    assert_eq!(broker.account().expect("account").cash, dec("1002500.0"));
    drop(broker);
    let broker = bench.open(config);
    assert_eq!(broker.account().expect("account").cash, dec("1002500.0"));
    assert_eq!(bench.count("dividend"), 1);
}

#[test]
fn mistakes_in_the_block_are_named_with_what_to_do() {
    let bench = bench(MORNING_MS);
    std::fs::write(
        bench.dir.path().join("bad.csv"),
        "time,symbol,last,volume\n2026-11-24 09:31,000858.SZ,abc,1\n",
    )
    .expect("quotes");
    for (block, expected) in [
        (json!({"quotes": "none.csv"}), "none.csv: it cannot be read"),
        (
            json!({"quotes": "bad.csv"}),
            "bad.csv: line 2, column last: `abc` is not a price in yuan",
        ),
        (
            json!({"speed": 0}),
            "`exchange.speed` is 0, and must be from 1 to 10000",
        ),
        (
            json!({"participation_pct": 101}),
            "`exchange.participation_pct` is 101",
        ),
        (
            json!({"session_from": "morning"}),
            "`morning` is not a time in Shanghai",
        ),
        (
            json!({"market_tables": "none.toml"}),
            "`exchange.market_tables`: ",
        ),
        (
            json!({"dividends": [{"symbol": "000858.SZ", "date": "soon", "cash": 1}]}),
            "`soon` is not a day",
        ),
        (json!({"special_treatment": ["000001"]}), "000001"),
        (json!({"sped": 2}), "sped"),
    ] {
        let config = json!({"fill": "exchange", "exchange": block});
        let error = bench.try_open(&config).err().expect("refused").to_string();
        assert!(error.contains(expected), "{config}: {error}");
    }
}

#[test]
fn a_users_tables_reach_the_fees_and_the_rules() {
    let bench = bench(MORNING_MS + 60_000);
    let tables = "[fees]\ncommission_rate = \"0.01\"\ncommission_min = \"0\"\n[boards.main]\nlots = [{ since = \"2020-01-01\", minimum = 7, step = 7, largest_limit = 700, largest_market = 700 }]\n";
    std::fs::write(bench.dir.path().join("tables.toml"), tables).expect("tables");
    let broker = bench.open(options(
        json!({"session_from": "2026-11-24T09:31:30", "market_tables": "tables.toml"}),
    ));
    accepted(broker.place_order(&order("A", Side::Buy, 7, Some("150.01"))));
    let trade = &broker.trades_today().expect("trades")[0];
    assert_eq!((trade.quantity, trade.commission), (7, Some(dec("10.50"))));
    assert!(reason(broker.place_order(&order("B", Side::Buy, 100, Some("150")))).starts_with("[LOT]"));
}

fn of_kind(id: &str, kind: PriceKind, quantity: u64, limit: Option<&str>) -> OrderRequest {
    OrderRequest {
        price_kind: kind,
        ..order(id, Side::Buy, quantity, limit)
    }
}

/// The prices of the fills in the ledger, in the order of their lines.
fn fill_prices(bench: &Bench) -> Vec<String> {
    let ledger = bench.ledger();
    let fills = ledger.iter().filter(|line| line["event"] == "fill");
    fills.map(|line| line["price"].to_string()).collect()
}

#[test]
fn the_rest_of_an_order_at_the_markets_price_is_what_it_was_after_a_restart() {
    for (kind, quantity, rests_at) in [
        // Five levels of 8,000 each are taken, and the rest waits at the last of them.
        (PriceKind::BestFiveThenLimit, 41_000, "150.05"),
        (PriceKind::OwnBest, 1_000, "149.99"),
        (PriceKind::OppositeBest, 9_000, "150.01"),
    ] {
        let bench = bench(MORNING_MS);
        let mut config = options(json!({"session_from": "2026-11-24T09:30:30"}));
        config["cash"] = json!(100_000_000);
        let broker = bench.open(config.clone());
        pass_ms(&bench, 40_000);
        accepted(broker.place_order(&of_kind("A", kind, quantity, None)));
        let before = fill_prices(&bench).len();
        drop(broker);
        let broker = bench.open(config);
        pass_ms(&bench, 60_000);
        assert_eq!(rows(&broker), [format!("Filled {quantity}")], "{kind:?}");
        let prices = fill_prices(&bench);
        assert!(
            prices[before..].iter().all(|price| price == rests_at),
            "{kind:?}: {prices:?}"
        );
    }
}

#[test]
fn what_was_for_at_once_does_not_rest_after_a_restart() {
    let bench = bench(MORNING_MS);
    let config = options(json!({"session_from": "2026-11-24T09:30:30"}));
    let broker = bench.open(config.clone());
    pass_ms(&bench, 40_000);
    accepted(broker.place_order(&of_kind("A", PriceKind::ImmediateOrCancel, 100, Some("149.90"))));
    drop(broker);
    // The process ended between the acceptance and the end.
    let text = std::fs::read_to_string(bench.ledger_path()).expect("ledger");
    let first = text.lines().next().expect("a line").to_owned() + "\n";
    std::fs::write(bench.ledger_path(), first).expect("ledger");
    let broker = bench.open(config);
    pass_ms(&bench, 60_000);
    assert_eq!(rows(&broker), ["Cancelled 0"]);
}

#[test]
fn the_exchange_goes_on_while_its_client_is_away() {
    let ledger = |is_away: bool| {
        let bench = bench(MORNING_MS);
        let config = json!({
            "positions": held(), "fill": "exchange", "exchange": {"quotes": "walk", "seed": 3}
        });
        let mut broker = bench.open(config.clone());
        pass_ms(&bench, 60_000);
        let last = broker.positions().expect("positions")[0].last_price;
        let limit = (last.expect("a price") - dec("0.03")).to_string();
        accepted(broker.place_order(&order("A", Side::Buy, 2_000, Some(&limit))));
        if is_away {
            drop(broker);
            pass_ms(&bench, 600_000);
            broker = bench.open(config);
        } else {
            pass_ms(&bench, 600_000);
        }
        drop(broker.account());
        std::fs::read_to_string(bench.ledger_path()).expect("ledger")
    };
    let there = ledger(false);
    assert!(there.contains("\"event\":\"fill\""), "{there}");
    assert_eq!(ledger(true), there);
}

#[test]
fn a_new_listing_of_the_tables_has_no_limits_in_its_first_days() {
    let listed = "[listings]\n\"000858.SZ\" = { listed = \"2026-11-23\" }\n";
    for (tables, refused) in [("", true), (listed, false)] {
        // In the auction no cage holds.
        let bench = bench(MORNING_MS + 15 * 60_000);
        let quote = "time,symbol,last,volume,previous_close\n2026-11-24 09:15,000858.SZ,150,1000,150\n";
        std::fs::write(bench.dir.path().join("bars.csv"), quote).expect("quotes");
        std::fs::write(bench.dir.path().join("tables.toml"), tables).expect("tables");
        let broker = bench.open(options(
            json!({"session_from": "2026-11-24T09:16:00", "market_tables": "tables.toml"}),
        ));
        let answer = broker.place_order(&order("A", Side::Buy, 100, Some("300")));
        if refused {
            let said = reason(answer);
            assert!(said.starts_with("[PRICE_LIMIT]"), "{said}");
        } else {
            accepted(answer);
        }
    }
}
