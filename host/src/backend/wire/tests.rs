//! Signals as backends send them, and posts byte for byte.

use proptest::prelude::*;
use qt_core::report::{Chase, Execution, ExecutionStatus, Fees, ReportBody};
use qt_core::{ClientOrderId, Report, Signal, UtcMillis};
use qt_market::Side;
use rust_decimal::Decimal;
use serde_json::{Value, json};

use super::*;

fn good() -> Value {
    json!({
        "order_id": "ORD-20241222-001", "user_id": "user123", "symbol": "000858.SZ", "action": "BUY",
        "size": 100, "price": 15.5, "strategy": "mean_reversion", "strategy_name": "均值回归",
        "status": "pending", "is_executable": true, "mode": "live", "created_at": 1703256000.0,
        "securities_account_id": "SA-001", "account_id": "ACC-001", "broker": "qmt"
    })
}

/// The good signal with one field set, or taken away by `null` under `remove`.
fn with(name: &str, value: Value) -> Value {
    let mut signal = good();
    signal[name] = value;
    signal
}

fn without(name: &str) -> Value {
    let mut signal = good();
    signal.as_object_mut().unwrap().remove(name);
    signal
}

/// Parses from text, as it comes from the network.
fn parse(data: Vec<Value>) -> SignalsAnswer {
    let count = data.len();
    let text = json!({"success": true, "data": data, "count": count}).to_string();
    signals(&serde_json::from_str(&text).unwrap(), View::Pending).unwrap()
}

fn one(signal: Value) -> Signal {
    let mut answer = parse(vec![signal]);
    assert_eq!((answer.invalid.as_slice(), answer.taken.len()), (&[][..], 1));
    answer.taken.remove(0)
}

fn problem(signal: Value) -> String {
    let mut answer = parse(vec![signal]);
    assert!(answer.taken.is_empty(), "taken: {:?}", answer.taken);
    answer.invalid.remove(0).reason
}

fn decimal(text: &str) -> Decimal {
    text.parse().unwrap()
}

#[test]
fn the_signal_of_the_specification_is_understood() {
    let signal = one(good());
    assert_eq!(signal.id.0, "ORD-20241222-001");
    assert_eq!(signal.symbol.to_string(), "000858.SZ");
    assert_eq!(
        (signal.side, signal.size, signal.price),
        (Side::Buy, 100, Some(decimal("15.5")))
    );
    assert_eq!(signal.created_at, Some(UtcMillis(1_703_256_000_000)));
    assert_eq!((signal.retry_count, signal.execution_priority), (0, 1000));
    assert_eq!(signal.strategy_name.as_deref(), Some("均值回归"));
    assert_eq!(signal.account_id.as_deref(), Some("ACC-001"));
    assert_eq!(signal.valid_until, None);
}

#[test]
fn what_newer_backends_add_is_understood() {
    let mut signal = good();
    for (name, value) in [
        ("retry_count", json!(2)),
        ("activate_after", json!(1703256000123_i64)),
        ("valid_until", json!("2023-12-22T14:40:00Z")),
        ("execution_priority", json!("-5")),
        ("reference_price", json!("15.40")),
        ("max_slippage_bps", json!(50.0)),
        ("price_floor", json!(15)),
        ("price_ceiling", json!("1.6e1")),
        ("effective_limit_price", json!(15.55)),
        ("plan_id", json!(7)),
        ("something_unknown", json!({"a": [1, 2, 3]})),
        ("strategy", json!("")),
    ] {
        signal[name] = value;
    }
    let signal = one(signal);
    assert_eq!((signal.retry_count, signal.execution_priority), (2, -5));
    assert_eq!(signal.activate_after, Some(UtcMillis(1_703_256_000_123)));
    assert_eq!(signal.valid_until, Some(UtcMillis(1_703_256_000_000)));
    assert_eq!(signal.reference_price, Some(decimal("15.4")));
    assert_eq!(signal.max_slippage_bps, Some(50));
    assert_eq!(
        (signal.price_floor, signal.price_ceiling),
        (Some(decimal("15")), Some(decimal("16")))
    );
    assert_eq!(signal.effective_limit_price, Some(decimal("15.55")));
    assert_eq!((signal.plan_id.as_deref(), signal.strategy), (Some("7"), None));
}

#[test]
fn forms_that_mean_the_same_are_taken() {
    for (name, value) in [
        ("size", json!("100")),
        ("size", json!(100.0)),
        ("size", json!("1e2")),
        ("price", json!("15.5")),
        ("price", json!("15.50000000000")),
        ("price", json!(15.499999999999998)),
        ("action", json!("buy")),
        ("action", json!("Buy")),
        ("symbol", json!("000858.sz")),
        ("status", json!("retry_pending")),
        ("created_at", json!("2023-12-22 22:40:00")),
        ("created_at", json!("2023-12-22T22:40:00+08:00")),
        ("created_at", json!("1703256000")),
        ("created_at", json!(1703256000000_i64)),
    ] {
        assert_eq!(one(with(name, value.clone())), one(good()), "{name} = {value}");
    }
    assert_eq!(one(with("price", Value::Null)).price, None);
    assert_eq!(one(without("price")).price, None);
    assert_eq!(one(with("size", json!(100_000_000))).size, 100_000_000);
}

#[test]
fn every_fault_names_field_value_and_what_was_expected() {
    let long = "x".repeat(129);
    for (name, value, shown) in [
        (
            "size",
            json!(0),
            "`size` is 0: expected a whole number of shares from 1 to 100000000",
        ),
        ("size", json!(-100), "`size` is -100"),
        ("size", json!(100.5), "`size` is 100.5"),
        ("size", json!(100_000_001), "`size` is 100000001"),
        ("size", json!("viel"), "`size` is \"viel\""),
        ("size", json!(true), "`size` is true"),
        ("size", json!([100]), "`size` is a list of 1"),
        ("size", json!("1_00"), "`size` is \"1_00\""),
        (
            "price",
            json!(0),
            "`price` is 0: expected a price in yuan above 0, at most 10000000",
        ),
        ("price", json!(-1.5), "`price` is -1.5"),
        ("price", json!(10_000_001), "`price` is 10000001"),
        ("price", json!(15.1234567), "`price` is 15.1234567"),
        ("price", json!("NaN"), "`price` is \"NaN\""),
        ("price", json!("Infinity"), "`price` is \"Infinity\""),
        ("price", json!(""), "`price` is \"\""),
        ("price", json!("１５"), "`price` is \"１５\""),
        (
            "action",
            json!("HOLD"),
            "`action` is \"HOLD\": expected BUY or SELL",
        ),
        ("action", json!(1), "`action` is 1"),
        (
            "symbol",
            json!("AAPL"),
            "`symbol` is \"AAPL\": expected six digits and .SH, .SZ or .BJ",
        ),
        ("symbol", json!({}), "`symbol` is an empty object"),
        (
            "order_id",
            json!(""),
            "`order_id` is \"\": expected a text of 1 to 128 characters",
        ),
        ("order_id", json!(long), "`order_id` is \"xxx"),
        ("order_id", json!("a\nb"), "`order_id` is \"a\\nb\""),
        ("order_id", json!(".."), "`order_id` is \"..\""),
        ("order_id", json!(17), "`order_id` is 17"),
        ("valid_until", json!(946_684_799), "`valid_until` is 946684799"),
        (
            "valid_until",
            json!("soon"),
            "`valid_until` is \"soon\": expected Unix seconds",
        ),
        (
            "valid_until",
            json!(1_703_256_000_000_000_i64),
            "`valid_until` is 1703256000000000",
        ),
        ("activate_after", json!(false), "`activate_after` is false"),
        ("retry_count", json!(-1), "`retry_count` is -1"),
        (
            "execution_priority",
            json!("hoch"),
            "`execution_priority` is \"hoch\"",
        ),
        ("max_slippage_bps", json!(10_001), "`max_slippage_bps` is 10001"),
        ("price_floor", json!("x"), "`price_floor` is \"x\""),
        (
            "is_executable",
            json!("yes"),
            "`is_executable` is \"yes\": expected true or false",
        ),
        ("mode", json!(1), "`mode` is 1: expected `live`"),
        ("status", json!(null), "`status` is missing: expected `pending`"),
        ("strategy", json!(["a"]), "`strategy` is a list of 1"),
    ] {
        let said = problem(with(name, value.clone()));
        assert!(said.contains(shown), "{name} = {value}: {said}");
        assert!(said.chars().count() < 260, "{said}");
    }
    for name in [
        "order_id",
        "symbol",
        "action",
        "size",
        "status",
        "is_executable",
        "mode",
    ] {
        let said = problem(without(name));
        assert!(
            said.contains(&format!("`{name}` is missing: expected ")),
            "{said}"
        );
    }
    assert!(problem(json!(5)).contains("signal 1 of the answer is 5: expected an object"));
}

#[test]
fn an_account_number_is_never_repeated() {
    let said = problem(with("account_id", json!(["55000001"])));
    assert!(
        said.contains("`account_id` cannot be used") && !said.contains("55000001"),
        "{said}"
    );
    let said = problem(with("account_id", json!(format!("55000001{}", "0".repeat(300)))));
    assert!(!said.contains("55000001"), "{said}");
}

#[test]
fn a_number_too_large_for_any_type_is_one_fault_of_one_signal() {
    for number in [
        "1e999999999",
        "-1e400",
        "1e-400",
        "123456789012345678901234567890.5",
    ] {
        let text = format!(
            r#"{{"success":true,"count":2,"data":[{},{}]}}"#,
            good().to_string().replace("15.5", number),
            with("order_id", json!("B"))
        );
        let answer = signals(&serde_json::from_str(&text).unwrap(), View::Pending).unwrap();
        assert_eq!((answer.taken.len(), answer.invalid.len()), (1, 1), "{number}");
        assert_eq!(answer.invalid[0].id.as_ref().unwrap().0, "ORD-20241222-001");
    }
}

#[test]
fn one_bad_signal_spoils_no_other_and_keeps_its_name_and_count() {
    let mut bad = with("size", json!("x"));
    bad["retry_count"] = json!(3);
    bad["order_id"] = json!("BAD");
    let answer = parse(vec![json!("nonsense"), bad, good()]);
    assert_eq!(answer.taken.len(), 1);
    assert_eq!(answer.invalid[0].id, None);
    assert_eq!(answer.invalid[1].id.as_ref().unwrap().0, "BAD");
    assert_eq!(answer.invalid[1].retry_count, 3);
}

#[test]
fn what_is_not_ours_is_left_alone_and_counted() {
    let named = |id: &str, name: &str, value: Value| {
        let mut signal = with(name, value);
        signal["order_id"] = json!(id);
        // Other faults do not matter in a signal that is not ours.
        signal["size"] = json!(-1);
        signal
    };
    let answer = parse(vec![
        named("1", "is_executable", json!(false)),
        named("2", "mode", json!("paper")),
        named("3", "mode", json!("LIVE")),
        named("4", "status", json!("submitted")),
        named("5", "status", json!("filled")),
        named("6", "status", json!("PENDING")),
        good(),
    ]);
    assert_eq!(
        (answer.not_executable, answer.not_live, answer.other_status),
        (1, 2, 3)
    );
    assert_eq!(
        (
            answer.taken.len(),
            answer.invalid.len(),
            answer.skipped(),
            answer.entries
        ),
        (1, 0, 6, 7)
    );
}

#[test]
fn submitted_signals_are_read_in_their_own_view_only() {
    let mut submitted = with("status", json!("submitted"));
    submitted["is_executable"] = json!(false);
    let text = json!({"success": true, "data": [submitted, with("order_id", json!("P"))]});
    let held = signals(&text, View::Submitted).unwrap();
    assert_eq!(
        held.taken.iter().map(|s| s.id.0.as_str()).collect::<Vec<_>>(),
        ["ORD-20241222-001"]
    );
    assert_eq!(held.other_status, 1);
    let pending = signals(&text, View::Pending).unwrap();
    assert_eq!(
        pending.taken.iter().map(|s| s.id.0.as_str()).collect::<Vec<_>>(),
        ["P"]
    );
}

#[test]
fn the_first_of_a_name_counts_whatever_the_second_says() {
    let twice = parse(vec![good(), good()]);
    assert_eq!((twice.taken.len(), twice.duplicates.len()), (1, 1));
    let other = parse(vec![
        good(),
        with("action", json!("SELL")),
        with("size", json!(0)),
    ]);
    assert_eq!(
        (other.taken.len(), other.taken[0].side, other.duplicates.len()),
        (1, Side::Buy, 2)
    );
    assert!(other.invalid.is_empty());
    // The first is not ours: the second is not taken in its place.
    let skipped = parse(vec![with("status", json!("filled")), good()]);
    assert_eq!(
        (
            skipped.taken.len(),
            skipped.other_status,
            skipped.duplicates.len()
        ),
        (0, 1, 1)
    );
    let bad = parse(vec![with("size", json!(0)), good()]);
    assert_eq!(
        (bad.taken.len(), bad.invalid.len(), bad.duplicates.len()),
        (0, 1, 1)
    );
}

#[test]
fn more_than_five_hundred_wait_for_the_next_answer() {
    let data: Vec<Value> = (0..501)
        .map(|n| with("order_id", json!(format!("S{n}"))))
        .collect();
    let answer = parse(data);
    assert_eq!(
        (answer.taken.len(), answer.beyond_limit, answer.entries),
        (500, 1, 501)
    );
    assert_eq!(answer.taken[499].id.0, "S499");
}

#[test]
fn answers_that_are_none_are_told_apart() {
    for (answer, expected) in [
        (
            json!({"success": false, "message": "db down"}),
            WireError::NoSuccess("db down".into()),
        ),
        (
            json!({"success": "yes", "data": []}),
            WireError::NoSuccess(r#"{"data":[],"success":"yes"}"#.into()),
        ),
        (json!([1, 2]), WireError::NotAnObject("a list of 2".into())),
        (json!({"success": true}), WireError::NoData),
        (
            json!({"success": true, "data": null}),
            WireError::DataNotAList("null".into()),
        ),
        (
            json!({"success": true, "data": {"a": 1}}),
            WireError::DataNotAList("an object with a".into()),
        ),
    ] {
        assert_eq!(signals(&answer, View::Pending).unwrap_err(), expected);
    }
    assert_eq!(
        signals(&json!({"data": []}), View::Pending).unwrap(),
        SignalsAnswer::default()
    );
    assert_eq!(acknowledged(&json!({"success": true})), Ok(()));
    assert_eq!(
        acknowledged(&json!({"success": false, "detail": [1]})),
        Err("[1]".into())
    );
}

#[test]
fn the_list_is_asked_for_within_the_contract() {
    assert_eq!(
        signals_path(0, View::Pending),
        "trader/signals?limit=1&include_submitted=false"
    );
    assert_eq!(
        signals_path(9999, View::Submitted),
        "trader/signals?limit=500&include_submitted=true"
    );
}

fn report_of(body: ReportBody) -> Report {
    Report {
        order: ClientOrderId::derive("A", &"S/1 买".into(), 0),
        signal: "S/1 买".into(),
        step: "fill-300".into(),
        body,
    }
}

fn body_text(post: &Post) -> &str {
    std::str::from_utf8(&post.body).unwrap()
}

#[test]
fn an_execution_is_posted_byte_for_byte() {
    let order = ClientOrderId::derive("A", &"S/1 买".into(), 0);
    let execution = Execution {
        symbol: "000858.SZ".parse().unwrap(),
        side: Side::Sell,
        size: 300,
        target_price: Some(decimal("15.50")),
        filled_price: decimal("15.5033333333333333333333333"),
        filled_size: 200,
        fees: Fees {
            commission: decimal("5.00"),
            stamp_tax: decimal("1.55"),
            transfer_fee: decimal("0.03"),
            estimated: decimal("0"),
        },
        status: ExecutionStatus::PartialCancelled,
        broker_order_id: Some("QMT-\"1\"".into()),
        broker: Some("qmt".into()),
        securities_account_id: Some("SA-001".into()),
        account_id: None,
        strategy: None,
        strategy_name: Some("均值".into()),
        at: UtcMillis(1_703_256_120_050),
        reason: Some("expired\n".into()),
        chase: Some(Chase {
            remaining_size: 100,
            next_limit_price: Some(decimal("15.45")),
        }),
    };
    let post = report(&report_of(ReportBody::Execution(Box::new(execution.clone()))));
    assert_eq!(
        (post.method.as_str(), post.path.as_str()),
        ("POST", "trader/executions")
    );
    assert_eq!(post.key.as_deref(), Some(format!("{order}-fill-300").as_str()));
    assert_eq!(
        body_text(&post),
        format!(
            "{{\"order_id\":\"S/1 买\",\"execution_id\":\"{order}-fill-300\",\"symbol\":\"000858.SZ\",\
             \"action\":\"SELL\",\"size\":300,\"target_price\":15.5,\
             \"filled_price\":15.5033333333333333333333333,\"filled_size\":200,\"commission\":5,\
             \"stamp_tax\":1.55,\"transfer_fee\":0.03,\"total_fee\":6.58,\"estimated_fee\":0,\
             \"status\":\"partial_cancelled\",\"broker\":\"qmt\",\"qmt_order_id\":\"QMT-\\\"1\\\"\",\
             \"securities_account_id\":\"SA-001\",\"account_id\":null,\"strategy\":null,\
             \"strategy_name\":\"均值\",\"mode\":\"live\",\"timestamp\":1703256120.050,\
             \"reason\":\"expired\\n\",\"chase\":{{\"remaining_size\":100,\"next_limit_price\":15.45}}}}"
        )
    );
    let market = Execution {
        target_price: None,
        reason: None,
        chase: None,
        ..execution
    };
    let post = report(&report_of(ReportBody::Execution(Box::new(market))));
    let value: Value = serde_json::from_slice(&post.body).unwrap();
    assert_eq!(value["target_price"], Value::Null);
    assert!(value.get("reason").is_none() && value.get("chase").is_none());
}

#[test]
fn status_posts_are_posted_byte_for_byte() {
    for (body, expected) in [
        (
            ReportBody::Submitted {
                broker_order_id: "Q1".into(),
                submitted_at: UtcMillis(1_703_256_060_000),
            },
            r#"{"status":"submitted","qmt_order_id":"Q1","submitted_at":1703256060.000}"#,
        ),
        (
            ReportBody::Concluded {
                filled: 300,
                avg_price: decimal("15.50"),
                executed_at: UtcMillis(1_703_256_120_500),
            },
            r#"{"filled_qty":300,"avg_price":15.5,"executed_at":1703256120.500}"#,
        ),
        (
            ReportBody::Failed {
                last_error: "`size` is \"x\"".into(),
            },
            r#"{"status":"failed","last_error":"`size` is \"x\""}"#,
        ),
        (
            ReportBody::RetryPending {
                last_error: "cash".into(),
                retry_count: 2,
            },
            r#"{"status":"retry_pending","last_error":"cash","retry_count":2}"#,
        ),
    ] {
        let post = report(&report_of(body));
        assert_eq!(post.path, "trader/signals/S%2F1%20%E4%B9%B0/status");
        assert_eq!(body_text(&post), expected);
        assert_eq!(
            body_text(&report_with_body(
                &report_of(ReportBody::Failed {
                    last_error: "x".into()
                }),
                "{}".into()
            )),
            "{}"
        );
    }
}

fn row() -> PositionRow {
    PositionRow {
        symbol: "000858.SZ".parse().unwrap(),
        quantity: 1000,
        available_qty: 900,
        frozen_qty: 100,
        avg_cost: decimal("42.50"),
        current_price: Some(decimal("43.20")),
        market_value: Some(decimal("43200.00")),
        unrealized_pnl: Some(decimal("-0.00")),
        unrealized_pnl_pct: None,
    }
}

#[test]
fn the_book_is_posted_byte_for_byte() {
    let at = UtcMillis(1_703_260_800_000);
    let position = "[{\"symbol\":\"000858.SZ\",\"quantity\":1000,\"available_qty\":900,\"frozen_qty\":100,\
                    \"avg_cost\":42.5,\"current_price\":43.2,\"market_value\":43200,\"unrealized_pnl\":0,\
                    \"unrealized_pnl_pct\":null,\"synced_at\":1703260800.000}]";
    let sync = positions(&[row()], at, Some("SA"));
    assert_eq!(
        body_text(&sync),
        format!("{{\"positions\":{position},\"securities_account_id\":\"SA\"}}")
    );
    assert_eq!((sync.path.as_str(), sync.key), ("trader/positions/sync", None));

    let clean = cleanup([row().symbol, "600519.SH".parse().unwrap()].iter(), None);
    assert_eq!(
        (clean.method.as_str(), clean.path.as_str()),
        ("DELETE", "trader/positions/cleanup")
    );
    assert_eq!(
        body_text(&clean),
        r#"{"current_symbols":["000858.SZ","600519.SH"],"securities_account_id":null}"#
    );

    // 1703260800 is midnight in Shanghai plus eight minutes less: the date is Shanghai's.
    let shot = snapshot(&[row()], decimal("43200"), Some(decimal("700.10")), at, None);
    assert_eq!(
        body_text(&shot),
        format!(
            "{{\"snapshot\":{{\"timestamp\":1703260800.000,\"date\":\"2023-12-23\",\"positions\":{position},\
             \"total_value\":43200,\"total_pnl\":700.1}},\"securities_account_id\":null}}"
        )
    );
    let dark = snapshot(&[row()], decimal("43200"), None, at, None);
    assert!(
        body_text(&dark).contains("\"total_pnl\":null"),
        "{}",
        body_text(&dark)
    );

    let row = AccountRow {
        account_id: "55000001".into(),
        total_asset: decimal("100.10"),
        cash: decimal("50"),
        available_cash: decimal("40"),
        frozen_cash: decimal("10"),
        market_value: decimal("50.1"),
    };
    assert_eq!(
        body_text(&account(&row, at, Some("SA"))),
        "{\"account_data\":{\"account_id\":\"55000001\",\"total_asset\":100.1,\"cash\":50,\
         \"available_cash\":40,\"frozen_cash\":10,\"market_value\":50.1,\"synced_at\":1703260800.000},\
         \"securities_account_id\":\"SA\"}"
    );
    assert!(!format!("{row:?}").contains("55000001"));

    let beat = Heartbeat {
        status: "running".into(),
        broker: "simulated".into(),
        pending_execution_count: 3,
        last_signal_poll_at: None,
        account_id: None,
    };
    assert_eq!(
        body_text(&heartbeat(&beat, Some("SA"))),
        "{\"status\":\"running\",\"broker\":\"simulated\",\"pending_execution_count\":3,\
         \"last_signal_poll_at\":null,\"account_id\":null,\"securities_account_id\":\"SA\"}"
    );
}

#[test]
fn shown_values_fit_on_a_line() {
    assert_eq!(cut("a\r\nb", 10), "a  b");
    assert_eq!(cut("买买买", 2), "买买…");
    assert_eq!(
        shown(&json!({"a": 1, "b": 2, "c": 3, "d": 4, "e": 5})),
        "an object with a, b, c, d"
    );
}

proptest! {
    /// What is written as a decimal is read as that decimal, as a number and as a text.
    #[test]
    fn decimals_come_back_exactly(units in -9_999_999_999_999_999_i64..9_999_999_999_999_999, scale in 0_u32..12) {
        let number = Decimal::new(units, scale);
        prop_assert_eq!(number::parse(&number.to_string()), Some(number));
        let json: Value = serde_json::from_str(&number.to_string()).unwrap();
        prop_assert_eq!(number::decimal(&json), Some(number));
        prop_assert_eq!(number::decimal(&Value::String(number.to_string())), Some(number));
    }

    /// An exponent only moves the point.
    #[test]
    fn exponents_move_the_point(units in -999_999_i64..999_999, exponent in -12_i32..12) {
        let read = number::parse(&format!("{units}e{exponent}")).unwrap();
        let ten = Decimal::TEN;
        let mut back = read;
        for _ in 0..exponent.unsigned_abs() {
            back = if exponent < 0 { back * ten } else { back / ten };
        }
        prop_assert_eq!(back, Decimal::from(units));
    }

    /// Nothing makes it panic, and what it takes has digits and no more than a number may have.
    #[test]
    fn no_text_breaks_it(text in "\\PC{0,70}") {
        if number::parse(&text).is_some() {
            prop_assert!(text.bytes().all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b)), "{text:?}");
            prop_assert!(text.bytes().any(|b| b.is_ascii_digit()));
        }
    }

    #[test]
    fn no_number_like_text_breaks_it(text in "-?[0-9]{0,40}\\.?[0-9]{0,40}([eE][+-]?[0-9]{0,12})?") {
        if let Some(read) = number::parse(&text) && let Ok(known) = text.parse::<Decimal>() && known.scale() < 28 {
            prop_assert_eq!(read, known);
        }
    }

    /// No value in any field makes the reading of an answer panic or lose an entry.
    #[test]
    fn every_entry_is_accounted_for(
        field in prop::sample::select(vec!["order_id", "symbol", "action", "size", "price", "status", "mode",
            "is_executable", "valid_until", "created_at", "retry_count", "plan_id", "max_slippage_bps"]),
        value in prop_oneof![
            any::<i64>().prop_map(|n| json!(n)),
            any::<f64>().prop_map(|n| json!(n)),
            any::<bool>().prop_map(|b| json!(b)),
            ".{0,80}".prop_map(|s| json!(s)),
            "[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-9]{2}([+-][0-9]{2}:[0-9]{2}|Z)?".prop_map(|s| json!(s)),
            Just(json!({"a": [null]})),
        ],
    ) {
        let answer = parse(vec![with(field, value), with("order_id", json!("other"))]);
        prop_assert_eq!(answer.taken.len() + answer.invalid.len() + answer.skipped() + answer.duplicates.len(), 2);
    }
}
