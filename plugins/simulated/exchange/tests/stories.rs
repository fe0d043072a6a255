//! What an order meets at the exchange: phases, limits, the cage, lots, T+1, cash, and the market's own flow.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::sync::Arc;

use qt_exchange::{
    Account, Dividend, Event, Exchange, Happened, Kind, Liquidity, Placed, Quote, Shown, Tick, Ticket,
};
use qt_market::{Market, Side};
use rust_decimal::Decimal;
use support::{MOUTAI, WULIANGYE, at, bar, exchange, exchange_with, fills, limit, on, tick, verdict};

fn opened() -> Exchange {
    let mut exchange = exchange();
    exchange.quote(&bar(
        at("09:31"),
        MOUTAI,
        ["100", "101", "99", "100"],
        50_000,
        "100",
    ));
    exchange.quote(&bar(
        at("09:31"),
        WULIANGYE,
        ["10", "10.1", "9.9", "10"],
        50_000,
        "10",
    ));
    exchange.take_facts();
    exchange
}

#[test]
fn every_rule_refuses_what_breaks_it_and_lets_pass_what_does_not() {
    struct Case(&'static str, &'static str, Side, i64, &'static str, &'static str);
    use Side::{Buy, Sell};
    for Case(clock, symbol, side, quantity, price, expected) in [
        Case("09:32", MOUTAI, Buy, 100, "100", "ok"),
        Case("09:32", MOUTAI, Buy, 150, "100", "LOT"),
        Case("09:32", MOUTAI, Buy, 0, "100", "QUANTITY"),
        Case("09:32", MOUTAI, Buy, 50, "100", "BELOW_MINIMUM"),
        Case("09:32", MOUTAI, Buy, 1_000_100, "100", "ABOVE_LARGEST"),
        Case("09:32", MOUTAI, Buy, 100, "100.005", "PRICE_TICK"),
        Case("09:32", MOUTAI, Buy, 100, "110.01", "PRICE_LIMIT"),
        Case("09:32", MOUTAI, Sell, 100, "89.99", "PRICE_LIMIT"),
        // The best offer is one tick above the last price: 102 % of 100.01.
        Case("09:32", MOUTAI, Buy, 100, "102.01", "ok"),
        Case("09:32", MOUTAI, Buy, 100, "102.02", "PRICE_CAGE"),
        Case("09:32", MOUTAI, Sell, 100, "97.98", "PRICE_CAGE"),
        Case("14:58", MOUTAI, Buy, 100, "109", "ok"),
        Case("09:32", MOUTAI, Buy, 10_000, "100", "NO_CASH"),
        Case("09:32", MOUTAI, Sell, 1_100, "100", "NO_SHARES"),
        // The odd rest of 1,050 goes with the last sale, and not by half.
        Case("09:32", WULIANGYE, Sell, 1_050, "10", "ok"),
        Case("09:32", WULIANGYE, Sell, 50, "10", "ok"),
        Case("09:32", WULIANGYE, Sell, 25, "10", "BELOW_MINIMUM"),
        Case("09:27", MOUTAI, Buy, 100, "100", "SESSION"),
        Case("11:30", MOUTAI, Buy, 100, "100", "SESSION"),
        Case("20:00", MOUTAI, Buy, 100, "100", "SESSION"),
        Case("15:10", MOUTAI, Buy, 100, "99.99", "AFTER_HOURS_PRICE"),
        Case("15:10", MOUTAI, Buy, 100, "100.01", "ok"),
        Case("09:34", "300750.SZ", Buy, 100, "100", "ok"),
        Case("09:35", "300750.SZ", Buy, 100, "100", "NO_QUOTE"),
    ] {
        let mut exchange = opened();
        let placed = exchange.submit(at(clock), "A", &limit(symbol, side, quantity, price));
        assert_eq!(
            verdict(&placed),
            expected,
            "{clock} {symbol} {side} {quantity} at {price}: {placed:?}"
        );
        if let Placed::Rejected(rejection) = &placed {
            let facts = exchange.take_facts();
            assert_eq!(facts.len(), 1, "{facts:?}");
            assert!(
                facts[0].reason.contains(rejection.chinese) && rejection.number > 2000,
                "{facts:?}"
            );
        }
    }
}

#[test]
fn an_order_fills_by_the_markets_volume_and_no_faster() {
    let mut exchange = exchange_with(Liquidity {
        participation_pct: 10,
        levels: 1,
    });
    exchange.quote(&bar(
        at("09:31"),
        MOUTAI,
        ["100", "100", "100", "100"],
        10_000,
        "100",
    ));
    // One level of a tenth of the last bar rests at 100.01.
    assert_eq!(
        verdict(&exchange.submit(at("09:31"), "A", &limit(MOUTAI, Side::Buy, 5_000, "100.01"))),
        "ok"
    );
    assert_eq!(fills(&exchange.take_facts()), ["A 1000@100.01"]);
    assert_eq!(
        exchange.account().frozen_cash(),
        Decimal::new(40_014_401, 2),
        "4,000 at 100.01, and the fees of 5,000 less those of 1,000"
    );
    exchange.quote(&bar(
        at("09:32"),
        MOUTAI,
        ["100", "100", "100", "100"],
        4_000,
        "100",
    ));
    // A tenth of 4,000 in four trades, at its own limit since it rests; the levels after it are made of the same shares.
    let filled = fills(&exchange.take_facts());
    assert_eq!(
        filled,
        ["A 100@100.01", "A 100@100.01", "A 100@100.01", "A 100@100.01"]
    );
    exchange.quote(&bar(
        at("09:33"),
        MOUTAI,
        ["101", "101", "101", "101"],
        400_000,
        "100",
    ));
    assert_eq!(
        fills(&exchange.take_facts()),
        Vec::<String>::new(),
        "the market is above the limit"
    );
    exchange.advance(at("15:06"));
    let facts = exchange.take_facts();
    assert_eq!(
        (facts[0].event, facts[0].quantity),
        (Event::Ended, 3_600),
        "{facts:?}"
    );
    assert_eq!(exchange.account().frozen_cash(), Decimal::ZERO);
}

#[test]
fn an_opening_auction_gathers_and_trades_at_one_price() {
    let mut exchange = exchange();
    exchange.quote(&bar(
        on(23, "15:00"),
        MOUTAI,
        ["100", "100", "100", "100"],
        10_000,
        "100",
    ));
    exchange.take_facts();
    for (name, side, quantity, price) in [
        ("HIGH", Side::Buy, 300, "105"),
        ("LOW", Side::Buy, 300, "99"),
        ("ASK", Side::Sell, 200, "98.5"),
    ] {
        let ticket = limit(MOUTAI, side, quantity, price);
        // Its own purchases would meet its sale.
        let expected = if name == "ASK" { "SELF_TRADE" } else { "ok" };
        assert_eq!(verdict(&exchange.submit(at("09:16"), name, &ticket)), expected);
    }
    assert_eq!(fills(&exchange.take_facts()), Vec::<String>::new(), "they gather");
    let refused = exchange.cancel(at("09:21"), "LOW").unwrap_err();
    assert_eq!(refused.code, "CANCEL_CLOSED");
    exchange.quote(&tick(at("09:25"), MOUTAI, "101", 5_000));
    let facts = exchange.take_facts();
    assert_eq!(
        fills(&facts),
        ["HIGH 300@101"],
        "the limit was 105, the price is the auction's"
    );
    assert!(exchange.cancel(at("09:31"), "LOW").is_ok());
    assert_eq!(exchange.account().frozen_cash(), Decimal::ZERO);
}

#[test]
fn an_auction_without_a_tick_of_its_own_ends_with_the_days_first_bar() {
    let mut exchange = exchange();
    exchange.quote(&bar(
        on(23, "15:00"),
        MOUTAI,
        ["100", "100", "100", "100"],
        10_000,
        "100",
    ));
    exchange.submit(at("09:16"), "A", &limit(MOUTAI, Side::Buy, 200, "103"));
    exchange.take_facts();
    exchange.quote(&bar(
        at("09:31"),
        MOUTAI,
        ["102", "104", "101", "103"],
        40_000,
        "100",
    ));
    assert_eq!(fills(&exchange.take_facts()), ["A 200@102"]);
}

/// However many want to buy above it, the auction ends at the market's price.
#[test]
fn a_large_order_does_not_set_the_price_of_an_auction() {
    for (participation_pct, expected) in [(100, "BIG 5000@100"), (20, "BIG 1000@100")] {
        let mut exchange = Exchange::new(
            Arc::new(Market::builtin().clone()),
            Liquidity {
                participation_pct,
                levels: 5,
            },
            Account::new(10_000_000.into(), []),
            Vec::new(),
        );
        exchange.quote(&bar(
            on(23, "15:00"),
            MOUTAI,
            ["100", "100", "100", "100"],
            10_000,
            "100",
        ));
        let ticket = limit(MOUTAI, Side::Buy, 90_000, "101");
        assert_eq!(verdict(&exchange.submit(at("09:16"), "BIG", &ticket)), "ok");
        exchange.quote(&tick(at("09:25"), MOUTAI, "100", 5_000));
        assert_eq!(fills(&exchange.take_facts()), [expected]);
    }
}

/// The first bar tells the auction's price and holds its shares: orders here have their part of the bar once.
#[test]
fn the_part_of_a_bar_that_an_auction_had_is_not_had_again() {
    let mut exchange = exchange_with(Liquidity {
        participation_pct: 25,
        levels: 5,
    });
    exchange.quote(&bar(
        on(23, "15:00"),
        MOUTAI,
        ["100", "100", "100", "100"],
        10_000,
        "100",
    ));
    exchange.submit(at("09:16"), "A", &limit(MOUTAI, Side::Buy, 9_000, "103"));
    exchange.take_facts();
    let first = |volume| bar(at("09:31"), MOUTAI, ["102", "102", "102", "102"], volume, "100");
    let mut other = exchange.clone();
    exchange.quote(&first(16_000));
    assert_eq!(fills(&exchange.take_facts()), ["A 4000@102"]);
    // Where the auction did not take all of the part, the rest of it is there in the bar.
    other.cancel(at("09:17"), "A").unwrap();
    other.submit(at("09:18"), "B", &limit(MOUTAI, Side::Buy, 1_000, "103"));
    other.take_facts();
    other.quote(&first(16_000));
    assert_eq!(fills(&other.take_facts()), ["B 1000@102"]);
    // The next bar is had a part of as any other.
    exchange.quote(&bar(
        at("09:32"),
        MOUTAI,
        ["102", "102", "102", "102"],
        1_600,
        "100",
    ));
    assert_eq!(
        fills(&exchange.take_facts()),
        ["A 100@103", "A 100@103", "A 100@103", "A 100@103"],
        "it rests, and gets its own limit"
    );
}

/// The low of a bar may have been before an order came: what came while the bar lasted meets its close alone.
#[test]
fn an_order_does_not_meet_what_a_bar_did_before_it_came() {
    for (came, close, expected) in [
        ("09:31", "100", vec!["A 500@98.5"]),
        ("09:31:30", "100", vec![]),
        ("09:31:30", "98.4", vec!["A 500@98.5"]),
    ] {
        let mut exchange = opened();
        exchange.submit(at(came), "A", &limit(MOUTAI, Side::Buy, 500, "98.5"));
        exchange.take_facts();
        exchange.quote(&bar(
            at("09:32"),
            MOUTAI,
            ["100", "100", "98", close],
            10_000,
            "100",
        ));
        let found = fills(&exchange.take_facts());
        assert_eq!(found, expected, "came at {came}, close {close}");
        if expected.is_empty() {
            // It was there before the next bar began.
            exchange.quote(&bar(
                at("09:33"),
                MOUTAI,
                ["100", "100", "98", "100"],
                10_000,
                "100",
            ));
            assert_eq!(fills(&exchange.take_facts()), ["A 500@98.5"]);
        }
    }
    // Of two at one price who came first goes first, and one that is cancelled meanwhile is gone.
    let mut exchange = opened();
    for (name, came) in [("OLD", "09:31"), ("GONE", "09:31:10"), ("NEW", "09:31:20")] {
        exchange.submit(at(came), name, &limit(MOUTAI, Side::Buy, 300, "98.5"));
    }
    exchange.cancel(at("09:31:30"), "GONE").unwrap();
    exchange.take_facts();
    exchange.quote(&bar(
        at("09:32"),
        MOUTAI,
        ["100", "100", "98.5", "98.5"],
        1_200,
        "100",
    ));
    assert_eq!(
        fills(&exchange.take_facts()),
        ["OLD 300@98.5", "NEW 300@98.5"],
        "the low, and then the close"
    );
}

/// Who comes after the auction has no part in it, although its price is known later.
#[test]
fn an_order_that_came_after_an_auction_has_no_part_in_it() {
    let mut exchange = exchange();
    exchange.quote(&bar(
        on(23, "15:00"),
        MOUTAI,
        ["100", "100", "100", "100"],
        10_000,
        "100",
    ));
    exchange.submit(at("09:16"), "A", &limit(MOUTAI, Side::Buy, 100, "103"));
    exchange.submit(at("09:30:20"), "B", &limit(MOUTAI, Side::Buy, 100, "102"));
    exchange.take_facts();
    exchange.quote(&bar(
        at("09:31"),
        MOUTAI,
        ["102", "104", "102", "104"],
        40_000,
        "100",
    ));
    assert_eq!(fills(&exchange.take_facts()), ["A 100@102"]);
}

#[test]
fn a_closing_auction_takes_what_rests_and_what_comes() {
    let mut exchange = opened();
    exchange.submit(at("10:00"), "RESTS", &limit(MOUTAI, Side::Sell, 100, "101.5"));
    exchange.quote(&bar(
        at("14:57"),
        MOUTAI,
        ["100", "100", "100", "100"],
        10_000,
        "100",
    ));
    exchange.submit(at("14:58"), "COMES", &limit(MOUTAI, Side::Sell, 100, "99"));
    exchange.quote(&bar(at("14:59"), MOUTAI, ["100", "100", "100", "100"], 0, "100"));
    assert_eq!(fills(&exchange.take_facts()), Vec::<String>::new());
    assert_eq!(
        exchange.cancel(at("14:59"), "COMES").unwrap_err().code,
        "CANCEL_CLOSED"
    );
    exchange.quote(&bar(
        at("15:00"),
        MOUTAI,
        ["102", "102", "102", "102"],
        1_000,
        "100",
    ));
    assert_eq!(fills(&exchange.take_facts()), ["COMES 100@102", "RESTS 100@102"]);
}

/// The bar that ends at 15:30 tells what traded before, and orders of after hours trade with it.
#[test]
fn an_order_of_after_hours_takes_part_in_its_last_bar() {
    let mut exchange = opened();
    exchange.quote(&bar(
        at("15:00"),
        MOUTAI,
        ["100", "100", "100", "100"],
        50_000,
        "100",
    ));
    exchange.advance(at("15:06"));
    exchange.take_facts();
    assert_eq!(
        verdict(&exchange.submit(at("15:06"), "A", &limit(MOUTAI, Side::Buy, 300, "100"))),
        "ok"
    );
    exchange.quote(&bar(
        at("15:30"),
        MOUTAI,
        ["100", "100", "100", "100"],
        200,
        "100",
    ));
    assert_eq!(fills(&exchange.take_facts()), ["A 200@100"]);
    exchange.advance(at("15:35"));
    let facts = exchange.take_facts();
    assert_eq!(
        (facts[0].event, facts[0].quantity),
        (Event::Ended, 100),
        "and what is left lapses: {facts:?}"
    );
}

#[test]
fn what_was_bought_today_is_sold_tomorrow() {
    let mut exchange = opened();
    exchange.submit(at("10:00"), "B", &limit(MOUTAI, Side::Buy, 100, "100.5"));
    exchange.submit(at("10:01"), "S", &limit(MOUTAI, Side::Sell, 1_000, "101"));
    let refused = exchange.submit(at("10:02"), "T", &limit(MOUTAI, Side::Sell, 100, "101"));
    assert_eq!(verdict(&refused), "NO_SHARES");
    exchange.quote(&bar(
        on(25, "09:31"),
        MOUTAI,
        ["100", "101", "99", "100"],
        50_000,
        "100",
    ));
    assert_eq!(
        verdict(&exchange.submit(on(25, "09:32"), "U", &limit(MOUTAI, Side::Sell, 1_100, "101"))),
        "ok"
    );
    // A gold ETF is sold on the day it is bought.
    let gold = "518880.SH";
    exchange.quote(&tick(on(25, "09:33"), gold, "5.000", 100_000));
    exchange.submit(on(25, "09:34"), "G", &limit(gold, Side::Buy, 100, "5.010"));
    assert_eq!(
        verdict(&exchange.submit(on(25, "09:35"), "H", &limit(gold, Side::Sell, 100, "4.990"))),
        "ok"
    );
    let symbol = gold.parse().unwrap();
    assert_eq!(exchange.account().sellable(&symbol), 0, "it was sold");
}

#[test]
fn orders_for_what_is_there_at_once_leave_nothing_behind() {
    let kind = |kind| Ticket {
        kind,
        ..limit(MOUTAI, Side::Buy, 20_000, "100")
    };
    let mut levels = (Shown::default(), Shown::default());
    for place in 0..5i64 {
        let at = usize::try_from(place).unwrap();
        levels.0[at] = (999_900 - place * 100, 1_000);
        levels.1[at] = (1_000_100 + place * 100, 1_000);
    }
    for (asked, fills_of, ended) in [
        (Kind::BestFiveThenCancel, 5, Some(15_000)),
        (Kind::BestFiveThenLimit, 5, None),
        (Kind::ImmediateOrCancel(1_000_200), 2, Some(18_000)),
        (Kind::FillOrKill(1_000_200), 0, Some(20_000)),
        (Kind::OppositeBest, 1, None),
        (Kind::OwnBest, 0, None),
    ] {
        let mut exchange = Exchange::new(
            Arc::new(Market::builtin().clone()),
            Liquidity::default(),
            Account::new(10_000_000.into(), []),
            Vec::new(),
        );
        let quote = Quote {
            what: Happened::Tick(Tick {
                last: 1_000_000,
                volume: 0,
                levels: Some(levels),
            }),
            ..bar(at("10:00"), MOUTAI, ["100"; 4], 0, "100")
        };
        exchange.quote(&quote);
        assert_eq!(
            verdict(&exchange.submit(at("10:00:01"), "A", &kind(asked))),
            "ok",
            "{asked:?}"
        );
        let facts = exchange.take_facts();
        assert_eq!(fills(&facts).len(), fills_of, "{asked:?}: {facts:?}");
        let end = facts
            .iter()
            .find(|fact| fact.event == Event::Ended)
            .map(|fact| fact.quantity);
        assert_eq!(end, ended, "{asked:?}: {facts:?}");
        assert!(!exchange.venue().is_crossed());
    }
    let mut exchange = opened();
    let market_order = kind(Kind::BestFiveThenCancel);
    assert_eq!(
        verdict(&exchange.submit(at("14:58"), "A", &market_order)),
        "MARKET_PHASE"
    );
}

#[test]
fn at_the_upper_limit_nobody_sells_and_purchases_queue() {
    let mut exchange = opened();
    exchange.quote(&bar(
        at("10:00"),
        MOUTAI,
        ["110", "110", "110", "110"],
        8_000,
        "100",
    ));
    exchange.submit(at("10:00:30"), "A", &limit(MOUTAI, Side::Buy, 1_000, "110"));
    assert_eq!(fills(&exchange.take_facts()), Vec::<String>::new());
    let ticket = Ticket {
        kind: Kind::OppositeBest,
        ..limit(MOUTAI, Side::Buy, 100, "110")
    };
    assert_eq!(
        verdict(&exchange.submit(at("10:00:31"), "B", &ticket)),
        "NO_COUNTERPARTY"
    );
    assert_eq!(
        exchange.account().frozen_cash(),
        Decimal::new(110_000 * 100 + 2_750 + 110, 2)
    );
}

#[test]
fn a_name_stands_for_one_order_and_a_dividend_is_paid_only_where_one_is_given() {
    let mut exchange = opened();
    assert_eq!(
        verdict(&exchange.submit(at("10:00"), "A", &limit(MOUTAI, Side::Buy, 100, "98.5"))),
        "ok"
    );
    assert_eq!(
        verdict(&exchange.submit(at("10:00"), "A", &limit(MOUTAI, Side::Buy, 100, "98.5"))),
        "DUPLICATE_ID"
    );
    assert_eq!(
        exchange.cancel(at("10:01"), "B").unwrap_err().code,
        "NO_SUCH_ORDER"
    );
    exchange.cancel(at("10:01"), "A").unwrap();
    assert_eq!(exchange.cancel(at("10:01"), "A").unwrap_err().code, "ORDER_ENDED");

    let dividend = Dividend {
        symbol: MOUTAI.parse().unwrap(),
        date: jiff::civil::date(2026, 11, 25),
        cash: Decimal::new(25, 1),
        shares: Decimal::new(1, 1),
    };
    let account = Account::new(Decimal::ZERO, [(dividend.symbol, 205, Decimal::TEN)]);
    let mut paid = Exchange::new(
        Arc::new(Market::builtin().clone()),
        Liquidity::default(),
        account,
        vec![dividend],
    );
    paid.advance(at("15:00"));
    assert_eq!(paid.account().cash(), Decimal::ZERO);
    paid.advance(on(25, "09:00"));
    assert_eq!(paid.account().cash(), Decimal::new(5125, 1));
    assert_eq!(paid.account().sellable(&MOUTAI.parse().unwrap()), 225);
    exchange.advance(on(25, "09:00"));
    assert_eq!(exchange.account().cash(), Decimal::from(1_000_000));
}
