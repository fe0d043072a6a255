//! Each gate lets pass what it should and stops what it should, with its code and its sentence.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod barrier;
mod books;
mod lag;
mod rate;
mod session;

use qt_core::{BookFact, Event, Gates, Holding, OrderState, Signal, UtcMillis, account_mark};
use qt_market::{Board, Market};
use rust_decimal::Decimal;

use crate::support::{Desk, buy, sell, submitted};

fn d(text: &str) -> Decimal {
    text.parse().unwrap()
}

fn desk(gates: Gates) -> Desk {
    Desk::with(gates)
}

/// 1,000 Wuliangye of which 600 can be sold, 100 Kweichow Moutai, and 20,000 yuan.
fn book(at: UtcMillis) -> BookFact {
    let holding = |symbol: &str, total, sellable, frozen, last: &str, close: &str| Holding {
        symbol: symbol.parse().unwrap(),
        total,
        sellable,
        frozen,
        last_price: Some(d(last)),
        previous_close: Some(d(close)),
        special_treatment: false,
        trading_day: None,
    };
    BookFact {
        asked_at: at,
        total_asset: d("200000"),
        available_cash: d("20000"),
        day_pnl: None,
        holdings: vec![
            holding("000858.SZ", 1000, 600, 0, "10.00", "10.00"),
            holding("600519.SH", 150, 150, 0, "1000.00", "1000.00"),
        ],
    }
}

fn see(desk: &mut Desk) {
    desk.now = desk.now.plus_ms(1);
    let book = book(desk.now);
    desk.take(Event::BookSeen(Box::new(book)));
}

fn with(signal: Signal, change: impl FnOnce(&mut Signal)) -> Signal {
    let mut signal = signal;
    change(&mut signal);
    signal
}

/// What becomes of one signal: `sent`, or the state and the code.
fn verdict(desk: &mut Desk, signal: Signal) -> String {
    let name = signal.id.0.clone();
    desk.signals(vec![signal]);
    let order = desk.order(&name);
    match order.state {
        OrderState::Submitting => "sent".to_owned(),
        state => format!("{state} {}", order.code.clone().unwrap_or_default()),
    }
}

fn rules() -> Gates {
    Gates {
        market_rules: true,
        ..Gates::default()
    }
}

fn books() -> Gates {
    Gates {
        books: true,
        ..Gates::default()
    }
}

#[test]
fn symbols_lots_and_price_limits_are_held_to_the_exchanges_rules() {
    for (what, signal, expected) in [
        ("a round lot", buy("S", 200), "sent"),
        ("no round lot", buy("S", 150), "DENIED LOT"),
        ("fewer than a lot", buy("S", 50), "DENIED LOT"),
        ("more than an order may have", buy("S", 1_000_100), "DENIED LOT"),
        (
            "STAR below 200",
            with(buy("S", 100), |s| s.symbol = "688981.SH".parse().unwrap()),
            "DENIED LOT",
        ),
        (
            "STAR above 200 by one",
            with(buy("S", 201), |s| s.symbol = "688981.SH".parse().unwrap()),
            "sent",
        ),
        (
            "the odd rest",
            with(sell("S", 150), |s| {
                (s.symbol, s.price) = ("600519.SH".parse().unwrap(), None)
            }),
            "sent",
        ),
        (
            "the rest beside a lot",
            with(sell("S", 50), |s| {
                (s.symbol, s.price) = ("600519.SH".parse().unwrap(), None);
            }),
            "sent",
        ),
        (
            "an odd part",
            with(sell("S", 30), |s| s.symbol = "600519.SH".parse().unwrap()),
            "DENIED LOT",
        ),
        (
            "a reverse repo",
            with(buy("S", 10), |s| s.symbol = "204001.SH".parse().unwrap()),
            "DENIED UNKNOWN_BOARD",
        ),
        (
            "at the upper limit",
            with(buy("S", 100), |s| s.price = Some(d("11.00"))),
            "sent",
        ),
        (
            "above it",
            with(buy("S", 100), |s| s.price = Some(d("11.01"))),
            "DENIED OUTSIDE_PRICE_LIMITS",
        ),
        (
            "at the lower limit",
            with(sell("S", 100), |s| s.price = Some(d("9.00"))),
            "sent",
        ),
        (
            "below it",
            with(sell("S", 100), |s| s.price = Some(d("8.99"))),
            "DENIED OUTSIDE_PRICE_LIMITS",
        ),
        (
            "of an unknown close",
            with(buy("S", 100), |s| s.symbol = "002050.SZ".parse().unwrap()),
            "sent",
        ),
    ] {
        let mut desk = desk(rules());
        see(&mut desk);
        assert_eq!(verdict(&mut desk, signal), expected, "{what}");
    }
    let mut open = desk(Gates::default());
    assert_eq!(verdict(&mut open, buy("S", 150)), "sent");
}

#[test]
fn a_refusal_says_the_values() {
    let mut desk = desk(rules());
    see(&mut desk);
    desk.signals(vec![with(buy("S", 100), |s| s.price = Some(d("11.01")))]);
    assert_eq!(
        desk.order("S").reason.as_deref(),
        Some(
            "the limit of 11.01 yuan is outside of 9.00 to 11.00 yuan, the day's limits of 000858.SZ from its close of 10.00"
        )
    );
    assert_eq!(desk.reports.last().unwrap().step, "failed");
}

#[test]
fn only_wanted_boards_are_traded() {
    let mut desk = desk(Gates {
        boards: vec![Board::Star],
        ..Gates::default()
    });
    assert_eq!(verdict(&mut desk, buy("S1", 100)), "DENIED BOARD_NOT_WANTED");
    let star = with(buy("S2", 200), |s| s.symbol = "688981.SH".parse().unwrap());
    assert_eq!(verdict(&mut desk, star), "sent");
}

#[test]
fn a_users_tables_decide_where_the_settings_bring_them() {
    let own = "[boards.main]\nlots = [{ since = \"2026-01-01\", minimum = 1, step = 1, largest_limit = 100, largest_market = 100 }]";
    let tables = Market::with_overrides(own).unwrap().text().to_owned();
    let mut desk = desk(Gates {
        tables: Some(tables),
        ..rules()
    });
    assert_eq!(verdict(&mut desk, buy("S1", 7)), "sent");
    assert_eq!(verdict(&mut desk, buy("S2", 101)), "DENIED LOT");
}

#[test]
fn the_cage_holds_in_continuous_trading_while_the_price_is_fresh() {
    let gates = Gates {
        cage: true,
        quote_max_age_ms: 5_000,
        ..Gates::default()
    };
    let mut desk = desk(gates);
    see(&mut desk);
    let at = |name: &str, price: &str| with(buy(name, 100), |s| s.price = Some(d(price)));
    assert_eq!(verdict(&mut desk, at("S1", "10.20")), "sent");
    assert_eq!(verdict(&mut desk, at("S2", "10.21")), "DEFERRED OUTSIDE_CAGE");
    let low = with(sell("S3", 100), |s| s.price = Some(d("9.79")));
    assert_eq!(verdict(&mut desk, low), "DEFERRED OUTSIDE_CAGE");
    desk.now = desk.now.plus_ms(6_000);
    assert_eq!(
        verdict(&mut desk, at("S4", "10.21")),
        "sent",
        "an old price says nothing"
    );
    // The market comes nearer, and the order goes.
    let mut near = book(desk.now);
    near.holdings[0].last_price = Some(d("10.05"));
    let sent = submitted(&desk.take(Event::BookSeen(Box::new(near))));
    assert_eq!(sent, [desk.order("S2").id]);
}

/// 100 basis points below 9.02 are 8.93, and nobody may sell below 9.00: it is sold at 9.00, and not refused for good.
#[test]
fn a_slippage_bound_beyond_the_days_limits_ends_at_them() {
    struct Case(&'static str, Signal, &'static str, Option<&'static str>);
    let at_market = |signal: Signal, reference: &str| {
        with(signal, |s| {
            (s.price, s.reference_price, s.max_slippage_bps) = (None, Some(d(reference)), Some(100));
        })
    };
    for Case(what, signal, expected, limit) in [
        Case("a sale", at_market(sell("S", 100), "9.02"), "sent", Some("9.00")),
        Case(
            "a purchase",
            at_market(buy("S", 100), "10.95"),
            "sent",
            Some("11.00"),
        ),
        Case(
            "inside of them",
            at_market(sell("S", 100), "9.50"),
            "sent",
            Some("9.41"),
        ),
        Case(
            "a floor below them",
            with(sell("S", 100), |s| {
                (s.price, s.price_floor) = (None, Some(d("5")))
            }),
            "sent",
            Some("9.00"),
        ),
        Case(
            "a floor above them",
            with(sell("S", 100), |s| {
                (s.price, s.price_floor) = (None, Some(d("12")));
            }),
            "DENIED OUTSIDE_PRICE_LIMITS",
            None,
        ),
        Case(
            "a price that was wished",
            with(at_market(sell("S", 100), "9.02"), |s| s.price = Some(d("8.95"))),
            "DENIED OUTSIDE_PRICE_LIMITS",
            None,
        ),
        Case(
            "a reference that is not of this day",
            at_market(buy("S", 100), "20.00"),
            "DENIED OUTSIDE_PRICE_LIMITS",
            None,
        ),
    ] {
        let mut desk = desk(rules());
        see(&mut desk);
        assert_eq!(verdict(&mut desk, signal), expected, "{what}");
        if let Some(limit) = limit {
            assert_eq!(desk.order("S").limit, Some(d(limit)), "{what}");
        }
    }
}

/// The last price is 10.00, so that nobody may bid above 10.20 or ask below 9.80.
#[test]
fn a_slippage_bound_beyond_the_cage_ends_at_it() {
    for (signal, reference, limit) in [
        (buy("S", 100), "10.30", "10.20"),
        (sell("S", 100), "9.70", "9.80"),
        (buy("S", 100), "10.05", "10.15"),
    ] {
        let mut desk = desk(Gates {
            cage: true,
            quote_max_age_ms: 5_000,
            ..rules()
        });
        see(&mut desk);
        let signal = with(signal, |s| {
            (s.price, s.reference_price, s.max_slippage_bps) = (None, Some(d(reference)), Some(100));
        });
        assert_eq!(verdict(&mut desk, signal), "sent", "{reference}");
        assert_eq!(desk.order("S").limit, Some(d(limit)), "{reference}");
    }
}

#[test]
fn a_limit_far_from_the_reference_is_refused() {
    let mut desk = desk(Gates {
        max_reference_deviation: Some(d("0.05")),
        ..Gates::default()
    });
    let at = |name: &str, price: &str| {
        with(sell(name, 100), |s| {
            s.price = Some(d(price));
            s.reference_price = Some(d("10"));
            s.max_slippage_bps = Some(10_000);
        })
    };
    assert_eq!(verdict(&mut desk, at("S1", "10.50")), "sent");
    assert_eq!(verdict(&mut desk, at("S2", "10.51")), "DENIED FAR_FROM_REFERENCE");
}

/// A bound of our own that ends at the cage is far from the reference because the market is, and nobody mistook a price.
#[test]
fn a_bound_that_ends_at_the_cage_is_not_refused_for_being_far_from_the_reference() {
    let mut desk = desk(Gates {
        cage: true,
        quote_max_age_ms: 5_000,
        max_reference_deviation: Some(d("0.01")),
        ..rules()
    });
    see(&mut desk);
    let signal = with(sell("S", 100), |s| {
        (s.price, s.reference_price, s.max_slippage_bps) = (None, Some(d("9.50")), Some(50));
    });
    assert_eq!(verdict(&mut desk, signal), "sent");
    assert_eq!(desk.order("S").limit, Some(d("9.80")));
}

#[test]
fn the_same_wish_twice_in_a_moment_is_one_wish() {
    let mut desk = desk(Gates {
        duplicate_window_ms: 2_000,
        ..Gates::default()
    });
    assert_eq!(verdict(&mut desk, buy("S1", 100)), "sent");
    assert_eq!(verdict(&mut desk, buy("S2", 100)), "DENIED DUPLICATE");
    assert_eq!(verdict(&mut desk, sell("S3", 100)), "sent");
    assert_eq!(verdict(&mut desk, buy("S4", 200)), "sent");
    desk.now = desk.now.plus_ms(2_000);
    assert_eq!(verdict(&mut desk, buy("S5", 100)), "sent");
}

#[test]
fn while_reducing_only_sales_go_and_resume_lets_purchases_go() {
    let mut desk = Desk::open();
    desk.take(Event::Reducing {
        reason: "too much at risk".into(),
    });
    assert_eq!(verdict(&mut desk, buy("S1", 100)), "DEFERRED REDUCING");
    assert_eq!(verdict(&mut desk, sell("S2", 100)), "sent");
    let sent = submitted(&desk.take(Event::HaltLifted));
    assert_eq!(sent, [desk.order("S1").id]);
    assert_eq!(desk.trader.reducing(), None);
}

#[test]
fn a_signal_for_another_account_number_is_left_alone_where_that_is_asked_for() {
    let mut desk = desk(Gates {
        account_mark: Some(account_mark("55000001")),
        ..Gates::default()
    });
    let of = |name: &str, account: &str| with(buy(name, 100), |s| s.account_id = Some(account.into()));
    assert!(desk.signals(vec![of("S1", "55000002")]).is_empty());
    assert!(desk.trader.order_of_signal(&"S1".into()).is_none());
    assert_eq!(verdict(&mut desk, of("S2", "55000001")), "sent");
    assert_eq!(verdict(&mut desk, buy("S3", 100)), "sent");
}

/// Every code that stands in a gate's file is in the entry of that gate; and of each verdict, where it comes from another file
/// too, [`qt_core::risk`] asserts it in a build for tests.
#[test]
fn every_code_that_a_gate_may_say_is_in_its_entry() {
    let files: [(&str, &[&str]); 19] = [
        (include_str!("../../../src/risk/state.rs"), &["trading state"]),
        (
            include_str!("../../../src/risk/validity.rs"),
            &["valid_until", "activate_after"],
        ),
        (include_str!("../../../src/risk/session.rs"), &["session"]),
        (include_str!("../../../src/risk/connection.rs"), &["connection"]),
        (include_str!("../../../src/risk/board.rs"), &["board"]),
        (include_str!("../../../src/risk/day.rs"), &["orders a day"]),
        (include_str!("../../../src/risk/price.rs"), &["price"]),
        (include_str!("../../../src/risk/lot.rs"), &["lot"]),
        (include_str!("../../../src/risk/limits.rs"), &["price limits"]),
        (include_str!("../../../src/risk/cage.rs"), &["price cage"]),
        (include_str!("../../../src/risk/reference.rs"), &["reference"]),
        (include_str!("../../../src/risk/duplicate.rs"), &["duplicate"]),
        (include_str!("../../../src/risk/value.rs"), &["order value"]),
        (include_str!("../../../src/risk/loss.rs"), &["loss a day"]),
        (include_str!("../../../src/risk/turnover.rs"), &["turnover a day"]),
        (include_str!("../../../src/risk/position.rs"), &["position share"]),
        (include_str!("../../../src/risk/shares.rs"), &["shares"]),
        (include_str!("../../../src/risk/barrier.rs"), &["sell before buy"]),
        (include_str!("../../../src/risk/cash.rs"), &["cash"]),
    ];
    let mut found = 0;
    for (text, names) in files {
        let listed: Vec<_> = qt_core::risk::GATES
            .iter()
            .filter(|gate| names.contains(&gate.name))
            .flat_map(|gate| gate.codes)
            .map(|(code, _)| *code)
            .collect();
        for word in text.split('"').filter(|word| {
            word.len() > 2 && word.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_')
        }) {
            assert!(listed.contains(&word), "{names:?}: {word}");
            found += 1;
        }
    }
    assert!(found >= 20, "{found}");
}

#[test]
fn the_default_opens_every_gate_that_can_be_opened() {
    let open = qt_core::Settings::default();
    let on = qt_core::risk::GATES
        .iter()
        .filter(|gate| (gate.setting)(&open).is_some())
        .count();
    assert_eq!(on, 7);
}
