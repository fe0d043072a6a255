//! What a day and a holding earned.

use super::*;
use qt_test_support::wait_until;

#[test]
fn todays_pnl_comes_from_prices_and_trades_and_a_deposit_is_none() {
    let backend = Backend::start();
    let desk = Desk::new(&backend, &traded(1_000_000));
    let before = asked(&desk, &["account", "--json"]);
    // Overnight alone: 0.20 × 1000 + 20 × 100.
    assert_eq!(before["today"]["pnl"].to_string(), "2200");
    let host = desk.host("");
    for (id, symbol, action, size, price) in [
        ("B1", "000858.SZ", "BUY", 100, 43.5),
        ("B2", "300750.SZ", "BUY", 200, 201.0),
        ("S1", "000858.SZ", "SELL", 100, 43.0),
        ("S2", "600519.SH", "SELL", 100, 1910.0),
    ] {
        backend.add(&signal(id, symbol, action, size, price));
        wait_until("it is reported", || is_reported(&backend, id));
    }
    let running = asked(&desk, &["account", "--json"]);
    assert_eq!(host.stop(), Some(0));
    let today = asked(&desk, &["account", "--json"])["today"].clone();
    assert_eq!(running["today"], today);
    // Everything was traded at the last price, so that the trades themselves earned nothing.
    assert_eq!(today["overnight"].to_string(), "2200");
    assert_eq!(today["trades"].to_string(), "0");
    // Commissions 5 + 10 + 5 + 48, transfer fees 0.04 + 0.40 + 0.04 + 1.92, stamp duty 2.16 + 96.
    assert_eq!(today["fees"].to_string(), "168.56");
    assert_eq!(today["pnl"].to_string(), "2031.44");
    assert_eq!(today["unknown"], json!([]));
    // A deposit and a withdrawal: cash and assets follow, the day's P&L does not.
    for (cash, change) in [(1_500_000, 500_000), (400_000, -600_000)] {
        desk.configure(&backend, &traded(cash));
        let after = asked(&desk, &["account", "--json"]);
        assert_eq!(after["today"], today, "with {cash} yuan");
        let assets = |account: &Value| account["total_asset"].to_string().parse::<f64>().unwrap();
        assert!((assets(&after) - assets(&running) - f64::from(change)).abs() < 0.005);
    }
    let printed = shown(&desk, &["account"]);
    assert!(printed.contains("Today's P&L:      ¥+2,031.44\n"), "{printed}");
    assert!(printed.contains("ACCOUNT *****ATED\n"), "{printed}");
}

#[test]
fn a_holding_tells_how_it_came_about_and_what_the_journal_does_not_know() {
    let backend = Backend::start();
    let desk = Desk::new(&backend, &traded(1_000_000));
    let host = desk.host("");
    for (id, symbol, action, size, price) in [
        ("B1", "300750.SZ", "BUY", 200, 201.0),
        ("S2", "600519.SH", "SELL", 100, 1910.0),
        ("B2", "000858.SZ", "BUY", 100, 43.5),
    ] {
        backend.add(&signal(id, symbol, action, size, price));
        wait_until("it is reported", || is_reported(&backend, id));
    }
    let rows = asked(&desk, &["positions", "--json"]);
    assert_eq!(host.stop(), Some(0));
    let history = |symbol: &str| {
        let all = rows.as_array().unwrap();
        all.iter().find(|row| row["symbol"] == symbol).unwrap()["history"].clone()
    };
    // All of it was bought here: 200 × 200 and fees of 10.40, which the simulated broker leaves out of its cost.
    let bought = history("300750.SZ");
    assert_eq!(bought["own_avg_cost"].to_string(), "200.052");
    assert_eq!(bought["avg_cost_difference"].to_string(), "0.052");
    assert_eq!(
        (&bought["trades"], &bought["holding_days"]),
        (&json!(1), &json!(0))
    );
    assert_eq!(bought["bought_amount"].to_string(), "40000");
    assert_eq!(bought["known_since"], bought["first_buy"]);
    assert_eq!(bought["last_trade"], bought["first_buy"]);
    // Sold what was bought before anything is known: what it earned cannot be told.
    let sold = history("600519.SH");
    assert_eq!(
        (&sold["sold_without_cost"], sold["sold_amount"].to_string()),
        (&json!(100), "192000".into())
    );
    assert_eq!(
        (&sold["own_avg_cost"], sold["realised_pnl"].to_string()),
        (&Value::Null, "0".into())
    );
    // A part of it was: our cost stands beside the broker's, and no difference is made of the two.
    let partly = history("000858.SZ");
    assert_eq!(
        (&partly["own_quantity"], &partly["avg_cost_difference"]),
        (&json!(100), &Value::Null)
    );
    let printed = shown(&desk, &["positions", "--history"]);
    assert!(
        printed.contains("* not all shares held were bought in trades that are known"),
        "{printed}"
    );
    let csv = shown(&desk, &["positions", "--history", "--csv"]);
    assert_eq!(csv.lines().count(), 4, "{csv}");
    assert!(csv.contains("300750.SZ,,200,200,"), "{csv}");
    // Three days later it was held for three days, its shares can be sold, and the day knows no trade.
    let later = |arguments: &[&str]| -> Value {
        let out = Command::new(qt_host())
            .args(arguments)
            .arg("--config")
            .arg(desk.config())
            .env("QT_TEST_CLOCK_OFFSET_MS", (3 * 86_400_000i64).to_string())
            .output()
            .unwrap();
        serde_json::from_str(&text(&out)).unwrap()
    };
    let rows_later = later(&["positions", "--json"]);
    let bought_later = rows_later
        .as_array()
        .unwrap()
        .iter()
        .find(|row| row["symbol"] == "300750.SZ")
        .unwrap();
    assert_eq!(bought_later["history"]["holding_days"], 3);
    assert_eq!(bought_later["available_qty"], 200);
    assert_eq!(later(&["account", "--json"])["today"]["fees"].to_string(), "0");
    let sold_out = later(&["positions", "--history", "--json"]);
    let sold_out = sold_out.as_array().unwrap().last().unwrap();
    assert_eq!(
        (&sold_out["symbol"], &sold_out["quantity"]),
        (&json!("600519.SH"), &json!(0))
    );
    // The journal alone knows the shares that it bought, and says what it does not know.
    let out = desk.run(&["positions", "--from", "journal", "--json"]);
    let own: Value = serde_json::from_str(&text(&out)).unwrap();
    let quantities: Vec<_> = own
        .as_array()
        .unwrap()
        .iter()
        .map(|row| {
            (
                row["symbol"].as_str().unwrap(),
                row["quantity"].as_i64().unwrap(),
                row["available_qty"].as_i64().unwrap(),
            )
        })
        .collect();
    assert_eq!(quantities, [("000858.SZ", 100, 0), ("300750.SZ", 200, 0)]);
    assert!(said(&out).contains("what was held before"), "{}", said(&out));
}
