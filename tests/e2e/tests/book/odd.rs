//! Books that are empty, new, or hold what is not known.

use super::*;

#[test]
fn a_data_folder_with_which_nothing_was_traded_has_no_orders_and_that_is_an_answer() {
    let backend = Backend::start();
    let desk = example_desk(&backend);
    for (command, words) in [
        ("orders", "no orders\n"),
        ("orders --since 2020-01-01", "no orders\n"),
        ("orders --review", "nothing waits for a person\n"),
        ("fills", "no fills\n"),
        ("orders --json", "[]\n"),
        ("fills --json", "[]\n"),
    ] {
        let arguments: Vec<_> = command.split(' ').collect();
        assert_eq!(shown(&desk, &arguments), words, "{command}");
    }
    let csv = shown(&desk, &["fills", "--csv"]);
    assert_eq!(
        csv,
        "time,symbol,side,size,price,commission,stamp_tax,transfer_fee,fill,signal\n"
    );
}

#[test]
fn an_empty_table_says_why_it_is_empty() {
    let backend = Backend::start();
    let desk = Desk::new(&backend, &json!({ "simulated": { "positions": [] } }));
    for command in [
        &["positions"][..],
        &["positions", "--history"],
        &["summary"],
        &["risk"],
    ] {
        let printed = shown(&desk, command);
        assert!(
            printed.contains("no positions: the broker `simulated` answered, and nothing is held\n"),
            "{command:?}: {printed}"
        );
    }
    // A journal without a trade, once a host has been there.
    let host = desk.host("");
    qt_test_support::wait_until("the journal is there", || {
        desk.log().contains("Fetched 0 pending")
    });
    assert_eq!(host.stop(), Some(0));
    let printed = shown(&desk, &["positions", "--from", "journal"]);
    assert!(
        printed.contains("no positions: the journal holds no trade yet\n"),
        "{printed}"
    );
    assert_eq!(
        asked(&desk, &["positions", "--from", "journal", "--json"]),
        json!([])
    );
}

#[test]
fn the_accounts_number_is_shown_whole_nowhere_unless_it_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("book.json");
    let book = json!({
        "positions": [],
        "account": { "account_id": "8881234567", "total_asset": 100, "cash": 100, "available_cash": 100,
                     "frozen_cash": 0, "market_value": 0 },
    });
    std::fs::write(&file, book.to_string()).unwrap();
    let out = folder.path().join("export.json");
    for command in [
        &["account"][..],
        &["account", "--json"],
        &["export", out.to_str().unwrap(), "--force"],
    ] {
        let whole = |more: &[&str]| {
            let arguments: Vec<_> = command.iter().chain(more).copied().collect();
            let mut said = text(&from_file(folder.path(), &file, &arguments));
            if command[0] == "export" {
                said.push_str(&std::fs::read_to_string(&out).unwrap());
            }
            said.contains("8881234567")
        };
        assert!(!whole(&[]), "{command:?}");
        assert!(whole(&["--with-account-number"]), "{command:?}");
    }
}

#[test]
fn a_day_without_a_previous_close_is_not_known_and_not_0() {
    let backend = Backend::start();
    let desk = example_desk(&backend);
    let printed = shown(&desk, &["account"]);
    assert!(printed.contains("Today's P&L:      n/a\n"), "{printed}");
    let today = asked(&desk, &["account", "--json"])["today"].clone();
    for figure in ["pnl", "overnight", "trades", "fees"] {
        assert_eq!(today.get(figure), Some(&Value::Null), "{today}");
    }
    let file = desk.path("book.json");
    shown(&desk, &["export", file.to_str().unwrap()]);
    let book: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert_eq!(book["summary"].get("today_pnl"), Some(&Value::Null));
}

#[test]
fn what_was_sold_out_is_listed_and_counted_nowhere() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("book.json");
    let rows = json!([
        { "symbol": "000858.SZ", "quantity": 1000, "avg_cost": 42.50, "current_price": 43.20 },
        { "symbol": "600519.SH", "quantity": 0, "avg_cost": 1850 },
    ]);
    std::fs::write(&file, rows.to_string()).unwrap();
    let json = |command: &str| -> Value {
        let arguments: Vec<_> = command.split(' ').collect();
        serde_json::from_str(&text(&from_file(folder.path(), &file, &arguments))).unwrap()
    };
    assert_eq!(json("positions --json").as_array().unwrap().len(), 2);
    let summary = json("summary --json");
    assert_eq!(
        (&summary["total_positions"], &summary["unpriced_positions"]),
        (&json!(1), &json!(0))
    );
    assert_eq!(json("risk --json").as_array().unwrap().len(), 1);
    let printed = text(&from_file(folder.path(), &file, &["positions"]));
    assert!(
        printed.contains("Qty 0: sold out today; no total and no risk counts it\n"),
        "{printed}"
    );
}

#[test]
fn a_picture_that_was_written_is_named_and_losses_lie_left_of_the_axis() {
    let backend = Backend::start();
    let desk = example_desk(&backend);
    let (one, two) = (desk.path("one.svg"), desk.path("two.svg"));
    let printed = shown(&desk, &["summary", "--chart", one.to_str().unwrap()]);
    assert!(printed.ends_with("one.svg is written\n"), "{printed}");
    let json = asked(&desk, &["summary", "--json", "--chart", two.to_str().unwrap()]);
    assert_eq!(json["chart"], two.to_str().unwrap());
    assert!(one.is_file() && two.is_file());
    let printed = shown(&desk, &["summary", "--chart"]);
    let (_, gains) = printed.split_once("P&L BY POSITION").unwrap();
    let sides = |symbol: &str| {
        let line = gains.lines().find(|line| line.starts_with(symbol)).unwrap();
        let (left, right) = line.split_once('│').unwrap();
        (left.contains('█'), right.contains('█'))
    };
    assert_eq!(sides("600519.SH"), (false, true));
    assert_eq!(sides("002050.SZ"), (true, false));
    assert!(
        printed
            .lines()
            .skip_while(|line| *line != "ALLOCATION")
            .all(|line| line.chars().count() <= 100)
    );
}

#[test]
fn a_value_of_a_plugins_block_that_does_not_fit_is_named_by_its_key() {
    let backend = Backend::start();
    for (block, key) in [
        (
            json!({ "positions": [{ "symbol": "000858.SZ", "quantity": "x", "avg_cost": 1 }] }),
            "positions[0].quantity",
        ),
        (json!({ "latency_ms": "slow" }), "latency_ms"),
    ] {
        let desk = Desk::new(&backend, &json!({ "simulated": block }));
        let out = desk.run(&["positions"]);
        assert!(!out.status.success() && out.stdout.is_empty());
        assert!(said(&out).contains(key), "{key}: {}", said(&out));
    }
}
