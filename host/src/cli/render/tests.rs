//! The specification's printed examples, to the character but for the widths of columns.

use qt_core::portfolio::{
    GridOptions, Position, RiskThresholds, assess, ladder as ladder_of, suggest_grid, value,
};
use rust_decimal::Decimal;
use unicode_width::UnicodeWidthStr;

use super::cells::Colour;
use super::data::*;
use super::*;

fn d(text: &str) -> Decimal {
    text.parse().unwrap()
}

fn position(symbol: &str, total: i64, cost: &str, last: Option<&str>) -> Position {
    Position {
        symbol: symbol.parse().unwrap(),
        name: None,
        total,
        sellable: total,
        frozen: 0,
        avg_cost: d(cost),
        last_price: last.map(d),
        previous_close: None,
    }
}

fn example() -> Vec<Position> {
    vec![
        position("000858.SZ", 1000, "42.50", Some("43.20")),
        position("002050.SZ", 500, "38.00", Some("37.50")),
        position("600519.SH", 100, "1850", Some("1920")),
    ]
}

const PLAIN: Style = Style {
    colour: Colour::None,
    names: false,
};

/// 2025-12-23 11:45:00 in Shanghai.
const SYNC: UtcMillis = UtcMillis(1_766_461_500_000);

#[test]
fn positions_are_printed_as_in_the_specification() {
    let book = example();
    let expected = "
====================================================================================================
Symbol           Qty    Avail      Cost      Price        Value          P&L      P&L%
====================================================================================================
000858.SZ       1000     1000    ¥42.50     ¥43.20   ¥43,200.00      ¥700.00    +1.65%
002050.SZ        500      500    ¥38.00     ¥37.50   ¥18,750.00     ¥-250.00    -1.32%
600519.SH        100      100  ¥1850.00   ¥1920.00  ¥192,000.00    ¥7,000.00    +3.78%
====================================================================================================
";
    assert_eq!(positions(&value(&book).unwrap(), &PLAIN), expected);
}

#[test]
fn the_summary_is_printed_as_in_the_specification() {
    let book = example();
    let expected = "
============================================================
PORTFOLIO SUMMARY
============================================================
Total Positions:  3
Total Value:      ¥253,950.00
Total Cost:       ¥246,500.00
Total P&L:        ¥+7,450.00
Total P&L %:      +3.02%
Last Sync:        2025-12-23T11:45:00
============================================================

Top Positions by Value:
------------------------------------------------------------
1. 600519.SH      Value=  ¥192,000.00 P&L=  +7000.00 ( +3.78%)
2. 000858.SZ      Value=   ¥43,200.00 P&L=   +700.00 ( +1.65%)
3. 002050.SZ      Value=   ¥18,750.00 P&L=   -250.00 ( -1.32%)
";
    let book = value(&book).unwrap();
    assert_eq!(summary(&book, Some(SYNC), 5, &PLAIN), expected);
    assert!(summary(&book, None, 5, &PLAIN).contains("Last Sync:        never\n"));
    assert_eq!(
        portfolio_line(&book.totals),
        "Portfolio: 3 positions, Value=¥253,950.00, P&L=¥+7,450.00 (+3.02%)"
    );
}

#[test]
fn the_grid_is_printed_as_in_the_specification() {
    let book = example();
    let book = value(&book).unwrap();
    let suggestion = suggest_grid(&book.positions[0], &GridOptions::default()).unwrap();
    let expected = "
================================================================================
GRID STRATEGY SUGGESTION FOR 000858.SZ
================================================================================

Current Position:
  Quantity:        1,000 shares
  Average Cost:    ¥42.50
  Current Price:   ¥43.20
  Unrealized P&L:  +1.65%

Suggested Grid Parameters:
  Number of Grids:     10
  Grid Spacing:        5.0%
  Buy Grid Size:       100 shares
  Sell Grid Size:      100 shares

Expected Outcome:
  Target Cost:         ¥40.38
  Cost Reduction:      5.0%
  Max Position:        1,500 shares
  Estimated Duration:  30 days

Description:
  Grid strategy to reduce cost from ¥42.50 to ¥40.38 by buying 100 shares
  on 5% dips and selling on rallies
================================================================================
";
    assert_eq!(grid(&suggestion, &PLAIN), expected);
}

#[test]
fn risk_is_printed_as_in_the_specification() {
    let book = example();
    let risks = assess(&value(&book).unwrap(), &RiskThresholds::default()).unwrap();
    let expected = "
====================================================================================================
RISK ANALYSIS
====================================================================================================
Symbol       Concentration     Drawdown  Liquidity Risk  Risk Score
====================================================================================================
000858.SZ           17.01%        0.00%           0.00%       0/100
002050.SZ            7.38%        1.32%           0.00%      40/100
600519.SH           75.61%        0.00%           0.00%      30/100
====================================================================================================
";
    assert_eq!(risk(&risks, &PLAIN), expected);
    assert!(risk_legend().contains("31-60:  Medium risk (consider rebalancing)\n"));
}

#[test]
fn the_ladder_reads_from_the_highest_sale_to_the_lowest_purchase() {
    let book = [position("000858.SZ", 200, "42.50", Some("40"))];
    let book = value(&book).unwrap();
    let options = GridOptions {
        grids: 3,
        ..GridOptions::default()
    };
    let suggestion = suggest_grid(&book.positions[0], &options).unwrap();
    let levels = ladder_of(book.positions[0].position, None, &options).unwrap();
    let expected = "
================================================================================
LEVELS AROUND ¥40.00
================================================================================
Level              Price        Size      Position    Average Cost
================================================================================
SELL 2            ¥44.10         100             0               -
SELL 1            ¥42.00         100           100          ¥43.00
BUY 1             ¥38.00         100           300          ¥41.00
BUY 2             ¥36.10         100          400!          ¥39.78
BUY 3             ¥34.30         100          500!          ¥38.68
================================================================================
! above the suggested largest position
";
    assert_eq!(ladder(&suggestion, &levels, &PLAIN), expected);
    assert_eq!(
        ladder_csv(&levels).lines().nth(5).unwrap(),
        "SELL,2,44.1,100,0,,false",
        "{}",
        ladder_csv(&levels)
    );
    let json = grid_json(&suggestion, Some(&levels));
    assert_eq!(json["levels_around"].to_string(), "40");
    assert_eq!(json["buys"][2]["price"].to_string(), "34.3");
    assert_eq!(json["sells"][1]["avg_cost_after"], serde_json::Value::Null);
    assert!(grid_json(&suggestion, None).get("buys").is_none());
}

#[test]
fn a_grid_on_a_holding_without_a_cost_says_that_there_is_none_to_reduce() {
    let book = [position("000858.SZ", 1000, "-3.50", Some("40"))];
    let book = value(&book).unwrap();
    let suggestion = suggest_grid(&book.positions[0], &GridOptions::default()).unwrap();
    let text = grid(&suggestion, &PLAIN);
    for line in [
        "  Target Cost:         n/a\n",
        "  Cost Reduction:      n/a\n",
        "  There is no cost to reduce: the average cost is ¥-3.50, not above zero.\n",
    ] {
        assert!(text.contains(line), "{text}");
    }
    assert!(!text.contains("to reduce cost from"), "{text}");
    let json = grid_json(&suggestion, None);
    assert_eq!(
        (&json["target_cost"], &json["cost_reduction_pct"]),
        (&serde_json::Value::Null, &serde_json::Value::Null)
    );
}

#[test]
fn a_price_that_is_none_is_marked_in_the_grid_and_in_the_summary_too() {
    let mut closed = position("000002.SZ", 100, "10", None);
    closed.previous_close = Some(d("9"));
    let book = [
        position("000001.SZ", 100, "10", None),
        closed,
        position("000858.SZ", 100, "5", Some("5")),
    ];
    let book = value(&book).unwrap();
    for (place, price, note) in [
        (
            0,
            "  Current Price:   ¥10.00*\n",
            "* no price known: valued at cost\n",
        ),
        (
            1,
            "  Current Price:   ¥9.00~\n",
            "~ no last price: valued at the previous close\n",
        ),
    ] {
        let suggestion = suggest_grid(&book.positions[place], &GridOptions::default()).unwrap();
        let text = grid(&suggestion, &PLAIN);
        assert!(text.contains(price) && text.ends_with(note), "{text}");
    }
    let text = summary(&book, None, 5, &PLAIN);
    let rows: Vec<_> = text.lines().filter(|line| line.contains("Value=")).collect();
    assert_eq!(
        rows,
        [
            "1. 000001.SZ      Value=    ¥1,000.00* P&L=     +0.00 ( +0.00%)",
            "2. 000002.SZ      Value=      ¥900.00~ P&L=   -100.00 (-10.00%)",
            "3. 000858.SZ      Value=      ¥500.00  P&L=     +0.00 ( +0.00%)",
        ]
    );
}

#[test]
fn chinese_names_align_and_cannot_act_on_the_terminal() {
    let mut book = example();
    book[0].name = Some("五粮液".to_owned());
    book[1].name = Some("三花\u{1b}[2J智控".to_owned());
    let style = Style { names: true, ..PLAIN };
    let text = positions(&value(&book).unwrap(), &style);
    let rows: Vec<_> = text.lines().filter(|line| line.starts_with(['0', '6'])).collect();
    assert_eq!(rows.len(), 3);
    assert!(rows[0].contains("000858.SZ 五粮液 "), "{text}");
    assert!(rows.iter().all(|row| row.width() == rows[0].width()), "{text}");
    assert!(!text.contains('\u{1b}'));
    // Without the wish for names there are none.
    assert!(!positions(&value(&book).unwrap(), &PLAIN).contains('五'));
}

#[test]
fn gains_are_red_as_chinese_traders_read_it_or_green_and_align_all_the_same() {
    let mut book = example();
    book.push(position("000001.SZ", 100, "10", Some("10")));
    let book = value(&book).unwrap();
    let plain = positions(&book, &PLAIN);
    for (colour, gain, loss) in [
        (Colour::RedUp, "\u{1b}[31m", "\u{1b}[32m"),
        (Colour::GreenUp, "\u{1b}[32m", "\u{1b}[31m"),
    ] {
        let style = Style { colour, names: false };
        let text = positions(&book, &style);
        assert!(text.contains(&format!("{gain}¥700.00\u{1b}[0m")), "{text}");
        assert!(text.contains(&format!("{loss}¥-250.00\u{1b}[0m")), "{text}");
        assert!(text.contains("  ¥0.00    +0.00%\n"), "{text}");
        let bare = text.replace(gain, "").replace(loss, "").replace("\u{1b}[0m", "");
        assert_eq!(bare, plain);
        assert!(summary(&book, None, 1, &style).contains(&format!("{gain}¥+7,450.00\u{1b}[0m")));
    }
}

#[test]
fn what_has_no_price_or_no_percentage_says_so() {
    let mut suspended = position("000002.SZ", 100, "10", None);
    suspended.previous_close = Some(d("9"));
    let book = [
        position("000001.SZ", 100, "10", None),
        suspended,
        position("600519.SH", 100, "-3.5", Some("1920")),
        position("510300.SH", 100, "4.1234", Some("4.125")),
        position("688981.SH", 0, "0", None),
    ];
    let text = positions(&value(&book).unwrap(), &PLAIN);
    let row = |symbol: &str| {
        let line = text.lines().find(|line| line.starts_with(symbol)).unwrap();
        line.split_whitespace().skip(3).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(row("000001.SZ"), "¥10.00 ¥10.00* ¥1,000.00 ¥0.00 +0.00%");
    assert_eq!(row("000002.SZ"), "¥10.00 ¥9.00~ ¥900.00 ¥-100.00 -10.00%");
    assert_eq!(row("600519.SH"), "¥-3.50 ¥1920.00 ¥192,000.00 ¥192,350.00 n/a");
    assert_eq!(row("510300.SH"), "¥4.123 ¥4.125 ¥412.50 ¥0.16 +0.04%");
    assert_eq!(row("688981.SH"), "¥0.00 ¥0.00* ¥0.00 ¥0.00 n/a");
    assert!(text.ends_with(
        "~ no last price: valued at the previous close\n* no price known: valued at cost\n\
             Qty 0: sold out today; no total and no risk counts it\n"
    ));
}

#[test]
fn programs_get_every_digit() {
    let mut odd = position("600519.SH", 3, "0.3333333333333333333333333333", Some("1920.10"));
    odd.name = Some("贵州\"茅台\", A".to_owned());
    let book = [odd];
    let book = value(&book).unwrap();
    let json = positions_json(&book);
    assert_eq!(json[0]["avg_cost"].to_string(), "0.3333333333333333333333333333");
    assert_eq!(json[0]["market_value"].to_string(), "5760.3");
    assert_eq!(json[0]["price_source"], "last");
    let csv = positions_csv(&book);
    let row = csv.lines().nth(1).unwrap();
    assert!(row.starts_with("600519.SH,\"贵州\"\"茅台\"\", A\",3,3,0,0.3333333333333333333333333333,1920.1,last,1,5760.3,5759.3,"), "{row}");
    let summary = summary_json(&book, Some(SYNC), 5);
    assert_eq!(summary["total_value"].to_string(), "5760.3");
    assert_eq!(summary["last_sync"], "2025-12-23T11:45:00");
    assert_eq!(summary["top_positions"][0]["symbol"], "600519.SH");
    let risks = assess(&book, &RiskThresholds::default()).unwrap();
    assert_eq!(
        risk_csv(&risks).lines().nth(1).unwrap(),
        "600519.SH,100,0,0,30,low"
    );
    assert_eq!(risk_json(&risks)[0]["risk_score"], 30);
}

#[test]
fn sizes_are_shown_with_what_they_cost() {
    use qt_core::portfolio::Account;
    let account = Account {
        account_id: "1".to_owned(),
        total_asset: d("353950"),
        cash: d("100000"),
        available_cash: d("100000"),
        frozen_cash: d("0"),
        market_value: d("253950"),
    };
    let book = example();
    let book = value(&book).unwrap();
    let date = SYNC.trading_date().civil();
    let size = qt_core::portfolio::size(
        "000858.SZ".parse().unwrap(),
        d("40"),
        &account,
        &book,
        qt_market::Market::builtin(),
        date,
    );
    let size = size.unwrap();
    let text = sizing(&size, &PLAIN);
    let row = |start: &str| {
        let line = text.lines().find(|line| line.starts_with(start)).unwrap();
        line.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(
        row("All cash"),
        "All cash ¥100,000.00 2,400 1 ¥96,000.00 ¥24.96 ¥96,024.96 39.78% 39.33%"
    );
    assert!(row("30% of cash").ends_with("700 1 ¥28,000.00 ¥7.28 ¥28,007.28 25.25% 20.12%"));
    assert!(text.contains("SIZE OF A PURCHASE OF 000858.SZ AT ¥40.00 (1,000 shares held)\n"));
    let json = sizing_json(&size);
    assert_eq!(json["options"][2]["basis"], "assets_15_pct");
    assert_eq!(json["options"][0]["total"].to_string(), "96024.96");
}

#[test]
fn thousands_are_separated_and_the_fraction_is_not() {
    for (figure, shown) in [
        ("0", "¥0.00"),
        ("999.995", "¥1,000.00"),
        ("-1234567.891", "¥-1,234,567.89"),
        ("-123", "¥-123.00"),
        (
            "79228162514264337593543950335",
            "¥79,228,162,514,264,337,593,543,950,335",
        ),
    ] {
        assert_eq!(money(d(figure)), shown);
    }
    assert_eq!(cells::short_percent(d("2.250")), "2.25%");
    assert_eq!(signed_money(d("-0.004")), "¥+0.00");
}
