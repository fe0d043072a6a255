//! The figures themselves: the specification's examples, odd holdings, large books, files.

use super::*;
use unicode_width::UnicodeWidthStr;

#[test]
fn the_specifications_four_examples_are_printed() {
    let backend = Backend::start();
    let desk = example_desk(&backend);
    for (arguments, golden) in [
        (&["positions"][..], include_str!("../../../golden/positions.txt")),
        (&["grid", "000858.SZ"], include_str!("../../../golden/grid.txt")),
        (&["risk"], include_str!("../../../golden/risk.txt")),
    ] {
        let (printed, expected) = (words(&shown(&desk, arguments)), words(golden));
        let more = printed.len() - expected.len();
        assert_eq!(printed[..expected.len()], expected, "{arguments:?}");
        // Only the risk's table is followed by what its scores mean.
        assert_eq!(more, if arguments == ["risk"] { 4 } else { 0 }, "{arguments:?}");
    }
    let mut printed = words(&shown(&desk, &["summary"]));
    let mut expected = words(include_str!("../../../golden/summary.txt"));
    let sync = expected.iter().position(|line| line[0] == "Last").unwrap();
    let (now, then) = (printed.remove(sync), expected.remove(sync));
    assert_eq!(printed, expected);
    // The moment is now and its form is the specification's.
    assert_eq!(
        (&now[..2], now.len(), now[2].len()),
        (&then[..2], then.len(), then[2].len())
    );
    let meaning = shown(&desk, &["risk"]);
    for line in [
        "0-30:   Low risk",
        "31-60:  Medium risk (consider rebalancing)",
        "61-100: High risk",
    ] {
        assert!(meaning.contains(line), "{meaning}");
    }
}

#[test]
fn the_ladder_has_the_specifications_prices_rounded_half_to_even() {
    let backend = Backend::start();
    let positions =
        json!([{ "symbol": "000858.SZ", "quantity": 1000, "avg_cost": 42.50, "last_price": 40.00 }]);
    let desk = Desk::new(&backend, &json!({ "simulated": { "positions": positions } }));
    let grid = asked(&desk, &["grid", "000858.SZ", "--levels", "--json"]);
    let prices = |side: &str| -> Vec<String> {
        let levels = grid[side].as_array().unwrap().iter().take(3);
        levels.map(|level| level["price"].to_string()).collect()
    };
    // 34.295 and 46.305 lie halfway, and 40.375 is the target cost.
    assert_eq!(prices("buys"), ["38", "36.1", "34.3"]);
    assert_eq!(prices("sells"), ["42", "44.1", "46.3"]);
    assert_eq!(grid["target_cost"].to_string(), "40.375");
    let printed = shown(&desk, &["grid", "000858.SZ", "--levels"]);
    assert!(printed.contains("Target Cost:         ¥40.38\n"), "{printed}");
    let lines = words(&printed);
    for line in [
        ["BUY", "1", "¥38.00", "100", "1,100", "¥42.09"],
        ["BUY", "3", "¥34.30", "100", "1,300", "¥41.03"],
        ["SELL", "3", "¥46.30", "100", "700", "¥41.80"],
    ] {
        assert!(
            lines.iter().any(|words| *words == line),
            "{line:?} is not in\n{printed}"
        );
    }
    // Other numbers of levels, distances and sizes, around another price.
    let chosen = "grid 000858.SZ --price 50 --grids 2 --spacing 10% --size 200 --csv";
    let csv = shown(&desk, &chosen.split(' ').collect::<Vec<_>>());
    let rows: Vec<_> = csv.lines().collect();
    assert_eq!(rows.len(), 5, "{csv}");
    assert!(rows[1].starts_with("BUY,1,45,200,1200,42.91"), "{csv}");
    assert!(rows[4].starts_with("SELL,2,60.5,200,600,"), "{csv}");
}

#[test]
fn grids_that_make_no_sense_and_unknown_symbols_are_refused_with_what_may_be_meant() {
    let backend = Backend::start();
    let desk = example_desk(&backend);
    for (line, code, part) in [
        (
            "grid 000585.SZ",
            1,
            "000585.SZ is not held; did you mean 000858.SZ?",
        ),
        ("grid 858", 2, "did you mean 000858.SZ?"),
        ("grid 300750.SZ", 1, "`qt-host positions` lists"),
        ("grid 000858.SZ --size 150", 2, "150"),
        ("grid 000858.SZ --grids 0", 2, "grids is 0"),
        ("grid 000858.SZ --spacing -5", 2, "spacing is -5"),
        ("grid 000858.SZ --price -1", 2, "price -1 is not above zero"),
        ("grid 000858.SZ --price 0", 2, "price 0 is not above zero"),
        ("grid 000858.SZ --price much", 2, "expected a number"),
        ("grid", 2, "SYMBOL"),
        ("size 600519 1920", 2, "did you mean 600519.SH?"),
        ("size 600519.SH 0", 2, "price 0 is not above zero"),
        ("positions --json --csv", 2, "cannot be used with"),
        ("positions --from backend", 2, "use --from broker"),
        ("positions --from /nowhere/book.json", 2, "/nowhere/book.json"),
        ("positions --from journal", 1, "there is no journal"),
    ] {
        let out = desk.run(&line.split(' ').collect::<Vec<_>>());
        assert_eq!(out.status.code(), Some(code), "{line}: {}", said(&out));
        assert!(said(&out).contains(part), "{line}: {}", said(&out));
        assert!(out.stdout.is_empty(), "{line} printed something");
    }
    // Without a journal there is no book in it, while the broker still has one.
    desk.configure(
        &backend,
        &json!({ "simulated": { "positions": example() }, "journal": { "enabled": false } }),
    );
    let out = desk.run(&["positions", "--from", "journal"]);
    assert_eq!(out.status.code(), Some(1), "{}", said(&out));
    assert_eq!(
        asked(&desk, &["positions", "--json"]).as_array().unwrap().len(),
        3
    );
}

#[test]
fn a_book_is_read_back_from_what_was_printed() {
    let backend = Backend::start();
    let desk = example_desk(&backend);
    let (json_file, csv_file) = (desk.path("book.json"), desk.path("book.csv"));
    std::fs::write(&json_file, shown(&desk, &["positions", "--json"])).unwrap();
    std::fs::write(&csv_file, shown(&desk, &["positions", "--csv"])).unwrap();
    for file in [&json_file, &csv_file] {
        for command in [&["positions"][..], &["risk"], &["grid", "000858.SZ", "--levels"]] {
            let out = from_file(&desk.path("other"), file, command);
            assert_eq!(
                text(&out),
                shown(&desk, command),
                "{command:?} from {}",
                file.display()
            );
        }
        let out = from_file(&desk.path("other"), file, &["account"]);
        assert_eq!(out.status.code(), Some(1));
        assert!(said(&out).contains("knows no balances"), "{}", said(&out));
    }
}

#[test]
fn thresholds_of_risk_are_the_configurations() {
    let backend = Backend::start();
    let desk = Desk::new(
        &backend,
        &json!({ "simulated": { "positions": example() },
                 "risk": { "concentration_pct": 80, "drawdown_pct": 1.32, "unsellable_pct": 0 } }),
    );
    let scores: Vec<_> = asked(&desk, &["risk", "--json"])
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["risk_score"].as_u64().unwrap())
        .collect();
    // 75.61 % is not above 80 %, and 1.3157… % not above 1.32 %.
    assert_eq!(scores, [0, 0, 0]);
}

#[test]
fn a_size_is_in_whole_lots_with_fees_and_the_concentration_after_it() {
    let backend = Backend::start();
    let desk = Desk::new(
        &backend,
        &json!({ "simulated": { "cash": 100_000, "positions": example() } }),
    );
    let lines = words(&shown(&desk, &["size", "000858.SZ", "40"]));
    for line in [
        "All cash ¥100,000.00 2,400 1 ¥96,000.00 ¥24.96 ¥96,024.96 39.78% 39.33%",
        "30% of cash ¥30,000.00 700 1 ¥28,000.00 ¥7.28 ¥28,007.28 25.25% 20.12%",
    ] {
        assert!(
            lines.iter().any(|words| words.join(" ") == line),
            "{line} is not in\n{lines:#?}"
        );
    }
    let json = asked(&desk, &["size", "000858.SZ", "40", "--json"]);
    assert_eq!(json["options"][0]["total"].to_string(), "96024.96");
    let csv = shown(&desk, &["size", "000858.SZ", "40", "--csv"]);
    assert!(
        csv.contains("cash_30_pct,30000,700,1,28000,7.28,28007.28,"),
        "{csv}"
    );
}

#[test]
fn odd_holdings_are_right_and_chinese_names_align() {
    let backend = Backend::start();
    let positions = json!([
        { "symbol": "000001.SZ", "name": "平安银行", "quantity": 100, "avg_cost": 0, "last_price": 10 },
        { "symbol": "000002.SZ", "name": "万科A", "quantity": 100, "avg_cost": -3.5, "last_price": 10 },
        { "symbol": "000858.SZ", "name": "五粮液", "quantity": 100, "avg_cost": 42.5 },
        { "symbol": "002050.SZ", "quantity": 100, "avg_cost": 38, "previous_close": 37 },
        { "symbol": "600519.SH", "name": "贵州茅台", "quantity": 0, "avg_cost": 1850, "last_price": 1920 },
    ]);
    let desk = Desk::new(&backend, &json!({ "simulated": { "positions": positions } }));
    let file = desk.path("odd.json");
    let rows: Value = positions
        .as_array()
        .unwrap()
        .iter()
        .map(|row| {
            let mut row = row.clone();
            if let Some(price) = row.get("last_price").cloned() {
                row["current_price"] = price;
            }
            row
        })
        .collect();
    std::fs::write(&file, rows.to_string()).unwrap();
    let from_broker = shown(&desk, &["positions"]);
    let from_file = text(&from_file(&desk.path("other"), &file, &["positions"]));
    let row = |printed: &str, symbol: &str| {
        let line = printed.lines().find(|line| line.starts_with(symbol));
        line.unwrap_or_default()
            .split_whitespace()
            .skip(2)
            .collect::<Vec<_>>()
            .join(" ")
    };
    for printed in [&from_broker, &from_file] {
        assert_eq!(
            row(printed, "000001.SZ"),
            "100 100 ¥0.00 ¥10.00 ¥1,000.00 ¥1,000.00 n/a"
        );
        assert_eq!(
            row(printed, "000002.SZ"),
            "100 100 ¥-3.50 ¥10.00 ¥1,000.00 ¥1,350.00 n/a"
        );
        assert_eq!(
            row(printed, "000858.SZ"),
            "100 100 ¥42.50 ¥42.50* ¥4,250.00 ¥0.00 +0.00%"
        );
        assert_eq!(
            row(printed, "002050.SZ"),
            "100 ¥38.00 ¥37.00~ ¥3,700.00 ¥-100.00 -2.63%"
        );
        assert!(
            printed.contains("* no price known: valued at cost\n"),
            "{printed}"
        );
        let widths: Vec<_> = printed
            .lines()
            .filter(|line| line.starts_with(['0', '6']))
            .map(|line| line.trim_end_matches(['*', '~']).width())
            .collect();
        assert!(widths.windows(2).all(|pair| pair[0] == pair[1]), "{printed}");
        assert!(printed.contains("000858.SZ 五粮液"), "{printed}");
    }
    assert_eq!(
        row(&from_file, "600519.SH"),
        "0 0 ¥1850.00 ¥1920.00 ¥0.00 ¥0.00 n/a"
    );
    let plain = shown(&desk, &["positions", "--no-names"]);
    assert!(!plain.contains('五'), "{plain}");
}

#[test]
fn fifty_thousand_positions_are_summed_to_the_last_digit() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("large.json");
    let rows: Vec<String> = (0..50_000)
        .map(|n| {
            format!(
                r#"{{"symbol":"{n:06}.SZ","quantity":{},"avg_cost":10.001,"current_price":10.003}}"#,
                100 + n % 7
            )
        })
        .collect();
    std::fs::write(&file, format!("[{}]", rows.join(","))).unwrap();
    // Quantities 100 to 106 in turns, the last turn cut short after 6 of 7.
    let shares: u64 = (0..50_000).map(|n| 100 + n % 7).sum();
    let fraction = |mils: u64| format!("{}.{:03}", mils / 1000, mils % 1000);
    let plain = |text: String| text.trim_end_matches('0').trim_end_matches('.').to_owned();
    let summary: Value =
        serde_json::from_str(&text(&from_file(folder.path(), &file, &["summary", "--json"]))).unwrap();
    assert_eq!(summary["total_positions"], 50_000);
    assert_eq!(
        summary["total_value"].to_string(),
        plain(fraction(shares * 10_003))
    );
    assert_eq!(
        summary["total_cost"].to_string(),
        plain(fraction(shares * 10_001))
    );
    assert_eq!(summary["total_pnl"].to_string(), plain(fraction(shares * 2)));
    for command in [&["positions"][..], &["risk"]] {
        let printed = text(&from_file(folder.path(), &file, command));
        let rows = printed.lines().filter(|line| line.contains(".SZ")).count();
        assert_eq!(rows, 50_000, "{command:?}");
    }
}

#[test]
fn a_file_names_its_account_only_masked() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("book.json");
    let book = json!({
        "as_of": "2025-12-23T11:45:00", "positions": [],
        "account": { "account_id": "8881234567", "total_asset": 100, "cash": "99.5", "available_cash": 90,
                     "frozen_cash": 9.5, "market_value": 0.5 },
    });
    std::fs::write(&file, book.to_string()).unwrap();
    let printed = text(&from_file(folder.path(), &file, &["account"]));
    assert!(
        printed.contains("ACCOUNT ******4567\n") && !printed.contains("888123"),
        "{printed}"
    );
    assert!(
        printed.contains("As Of:            2025-12-23T11:45:00\n"),
        "{printed}"
    );
    assert!(printed.contains("Today's P&L:      n/a"), "{printed}");
}
