//! Each gate lets pass what it should and stops what it should, with its code and its sentence.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use qt_core::{
    BookFact, Effect, Event, Gates, Holding, Limits, OrderState, Rate, SellBarrier, Signal, TradingSessions,
    UtcMillis, account_mark,
};
use qt_market::{Board, Market};
use rust_decimal::Decimal;

use crate::support::{Desk, MORNING, SECOND, buy, sell, submitted};

fn d(text: &str) -> Decimal {
    text.parse().unwrap()
}

fn desk(gates: Gates) -> Desk {
    let mut desk = Desk::open();
    desk.settings.gates = gates.into();
    desk.restart();
    desk.take(Event::Connection {
        up: true,
        reason: String::new(),
    });
    desk.reconcile();
    desk
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
    };
    BookFact {
        asked_at: at,
        total_asset: d("200000"),
        available_cash: d("20000"),
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

#[test]
fn a_session_is_waited_for_or_insisted_on() {
    for (gates, expected) in [
        (
            Gates {
                sessions: TradingSessions::CnA,
                ..Gates::default()
            },
            "DEFERRED OUTSIDE_SESSION",
        ),
        (
            Gates {
                sessions: TradingSessions::CnA,
                reject_outside_session: true,
                ..Gates::default()
            },
            "DENIED OUTSIDE_SESSION",
        ),
    ] {
        let mut desk = desk(gates);
        assert_eq!(verdict(&mut desk, buy("S1", 100)), "sent");
        // 11:30, and lunch until 13:00.
        desk.now = MORNING.plus_ms(90 * 60 * SECOND);
        assert_eq!(verdict(&mut desk, buy("S2", 100)), expected);
        desk.pass(89 * 60 * SECOND);
        assert_eq!(desk.state("S2").to_string(), expected.split(' ').next().unwrap());
        desk.pass(60 * SECOND);
        let after = if expected.starts_with("DENIED") {
            OrderState::Denied
        } else {
            OrderState::Submitting
        };
        assert_eq!(desk.state("S2"), after);
        // 15:10 is for orders at the closing price alone.
        desk.now = MORNING.plus_ms(310 * 60 * SECOND);
        assert_eq!(verdict(&mut desk, buy("S3", 100)), expected);
        if expected.starts_with("DEFERRED") {
            assert_eq!(
                desk.order("S3").reason.as_deref(),
                Some("waits for the session of 000858.SZ that begins at 2026-11-25 09:15")
            );
        }
    }
    let ten = 10 * 3_600_000;
    let windows = TradingSessions::Windows(vec![(ten, ten + 60_000)]);
    let mut desk = desk(Gates {
        sessions: windows,
        ..Gates::default()
    });
    assert_eq!(verdict(&mut desk, buy("S1", 100)), "sent");
    desk.now = MORNING.plus_ms(60 * SECOND);
    assert_eq!(verdict(&mut desk, buy("S2", 100)), "DEFERRED OUTSIDE_SESSION");
    // 2026-11-21 is a Saturday.
    desk.now = MORNING;
    let mut weekend = Desk::open();
    weekend.settings.gates = desk.settings.gates.clone();
    weekend.now = MORNING.plus_ms(4 * 86_400_000);
    weekend.restart();
    weekend.take(Event::Connection {
        up: true,
        reason: String::new(),
    });
    weekend.reconcile();
    assert_eq!(verdict(&mut weekend, buy("S3", 100)), "DEFERRED OUTSIDE_SESSION");
    assert!(
        weekend
            .order("S3")
            .reason
            .as_deref()
            .unwrap()
            .contains("2026-11-30 10:00")
    );
}

#[test]
fn shares_are_counted_with_what_sales_hold() {
    let mut desk = desk(books());
    assert_eq!(verdict(&mut desk, sell("S1", 500)), "DEFERRED BOOK_UNKNOWN");
    see(&mut desk);
    assert_eq!(desk.state("S1"), OrderState::Submitting, "the figures came");
    assert_eq!(verdict(&mut desk, sell("S2", 100)), "sent");
    assert_eq!(verdict(&mut desk, sell("S3", 100)), "DEFERRED SHARES_HELD");
    assert_eq!(
        verdict(&mut desk, sell("S4", 700)),
        "DENIED NOT_SELLABLE",
        "400 were bought today"
    );
    // An unclear sale holds its shares as well; one that the broker refused holds nothing.
    let id = desk.order("S1").id;
    desk.lose_answer(id);
    assert_eq!(verdict(&mut desk, sell("S5", 600)), "DEFERRED SHARES_HELD");
    let second = desk.order("S2").id;
    desk.take(Event::Rejected {
        id: second,
        reason: "no".into(),
    });
    see(&mut desk);
    assert_eq!(desk.state("S3"), OrderState::Submitting);
    assert_eq!(desk.state("S5"), OrderState::Deferred);
}

#[test]
fn what_the_brokers_figures_contain_is_not_held_twice() {
    let mut desk = desk(books());
    see(&mut desk);
    assert_eq!(verdict(&mut desk, sell("S1", 500)), "sent");
    desk.accept("S1", "B1");
    desk.now = desk.now.plus_ms(10);
    let mut after = book(desk.now);
    after.holdings[0].sellable = 100;
    after.holdings[0].frozen = 500;
    desk.take(Event::BookSeen(Box::new(after)));
    assert_eq!(verdict(&mut desk, sell("S2", 100)), "sent");
    assert_eq!(verdict(&mut desk, sell("S3", 100)), "DEFERRED SHARES_HELD");
}

#[test]
fn cash_is_counted_with_fees_and_with_what_purchases_hold() {
    let mut desk = desk(books());
    see(&mut desk);
    // 1,998 shares at 10.01 are 19,999.98 yuan, and with 5.20 yuan of fees too much.
    assert_eq!(verdict(&mut desk, buy("S1", 1_998)), "DEFERRED CASH");
    assert_eq!(verdict(&mut desk, buy("S2", 1_000)), "sent");
    let id = desk.order("S2").id;
    desk.lose_answer(id);
    assert_eq!(
        verdict(&mut desk, buy("S3", 1_000)),
        "DEFERRED CASH",
        "an unclear purchase holds its cash"
    );
    assert!(
        desk.order("S3")
            .reason
            .as_deref()
            .unwrap()
            .contains("hold 10015.1 of them"),
        "{:?}",
        desk.order("S3").reason
    );
    desk.take(Event::Rejected {
        id,
        reason: "no".into(),
    });
    see(&mut desk);
    assert_eq!(desk.state("S3"), OrderState::Submitting);
    assert_eq!(
        verdict(
            &mut desk,
            with(buy("S4", 100), |s| (s.symbol, s.price) =
                ("002050.SZ".parse().unwrap(), None))
        ),
        "DENIED ORDER_VALUE_UNKNOWN"
    );
}

#[test]
fn purchases_of_one_batch_do_not_spend_the_same_cash() {
    let mut desk = desk(books());
    see(&mut desk);
    let sent = desk.signals((0..5).map(|n| buy(&format!("S{n}"), 600)).collect());
    assert_eq!(sent.len(), 3, "6,006 yuan and fees each, of 20,000");
}

fn barrier(mode: SellBarrier) -> Gates {
    Gates {
        sell_barrier: mode,
        sell_barrier_timeout_ms: 30_000,
        ..Gates::default()
    }
}

fn planned(signal: Signal) -> Signal {
    with(signal, |s| s.plan_id = Some("P".into()))
}

#[test]
fn purchases_of_a_plan_wait_for_its_sales() {
    for (mode, waits) in [
        (SellBarrier::Off, false),
        (SellBarrier::Soft, true),
        (SellBarrier::Hard, true),
    ] {
        let mut desk = desk(barrier(mode));
        let other = with(buy("S3", 100), |s| s.plan_id = Some("Q".into()));
        let sent = desk.signals(vec![planned(buy("S1", 100)), planned(sell("S2", 100)), other]);
        assert_eq!(sent.len(), if waits { 2 } else { 3 }, "{mode:?}");
        if !waits {
            continue;
        }
        assert_eq!(desk.order("S1").code.as_deref(), Some("SELL_BARRIER"));
        desk.accept("S2", "B2");
        assert_eq!(desk.state("S1"), OrderState::Deferred);
        desk.fill("S2", "B2", "T1", 100, "10");
        assert_eq!(
            desk.state("S1"),
            OrderState::Submitting,
            "{mode:?}: the sale has ended"
        );
    }
}

#[test]
fn a_hard_barrier_that_waits_long_tells_a_person_once_and_stays_shut() {
    let mut hard = desk(barrier(SellBarrier::Hard));
    hard.signals(vec![planned(buy("S1", 100)), planned(sell("S2", 100))]);
    hard.accept("S2", "B2");
    hard.pass(29 * SECOND);
    assert!(hard.alarms.is_empty(), "{:?}", hard.alarms);
    hard.now = hard.now.plus_ms(SECOND);
    assert!(hard.trader.is_due(hard.now));
    let effects = hard.take(Event::Tick);
    let said = effects.iter().find_map(|effect| match effect {
        Effect::Alarm(alarm) => Some((alarm.code, alarm.text.clone())),
        _ => None,
    });
    let (code, text) = said.unwrap();
    assert_eq!(code, "SELL_BARRIER_LONG");
    assert!(
        text.contains("the purchase S1 of 000858.SZ has waited for 30 s: it waits until 1 sales of plan P"),
        "{text}"
    );
    // It is said once, over a restart too, and nothing opens by it.
    hard.restart();
    for _ in 0..10 {
        hard.pass(30 * SECOND);
    }
    let said = hard.alarms.iter().filter(|code| **code == "SELL_BARRIER_LONG");
    assert_eq!((said.count(), hard.state("S1")), (1, OrderState::Deferred));
    hard.take(Event::Connection {
        up: true,
        reason: String::new(),
    });
    hard.broker_has("S2", "B2");
    hard.reconcile();
    hard.fill("S2", "B2", "T1", 100, "10");
    assert_eq!(hard.state("S1"), OrderState::Submitting);
    // A soft one tells nobody: it opens.
    let mut soft = desk(barrier(SellBarrier::Soft));
    soft.signals(vec![planned(buy("S1", 100)), planned(sell("S2", 100))]);
    soft.pass(60 * SECOND);
    assert!(!soft.alarms.contains(&"SELL_BARRIER_LONG"), "{:?}", soft.alarms);
}

#[test]
fn a_soft_barrier_opens_by_time_and_a_hard_one_only_by_knowledge() {
    let mut soft = desk(barrier(SellBarrier::Soft));
    soft.signals(vec![planned(buy("S1", 100)), planned(sell("S2", 100))]);
    soft.pass(29 * SECOND);
    assert_eq!(soft.state("S1"), OrderState::Deferred);
    soft.pass(SECOND);
    assert_eq!(soft.state("S1"), OrderState::Submitting);

    let mut hard = desk(barrier(SellBarrier::Hard));
    hard.signals(vec![planned(buy("S1", 100)), planned(sell("S2", 100))]);
    let id = hard.order("S2").id;
    hard.lose_answer(id);
    hard.pass(40 * SECOND);
    assert_eq!(
        hard.state("S1"),
        OrderState::Deferred,
        "nobody knows what became of the sale"
    );
    for _ in 0..3 {
        hard.now = hard.now.plus_ms(30 * SECOND);
        hard.reconcile();
    }
    assert_eq!(hard.state("S2"), OrderState::NotAccepted);
    assert_eq!(hard.state("S1"), OrderState::Deferred, "it may be tried again");
    let again = with(planned(sell("S2", 100)), |s| s.retry_count = 1);
    assert_eq!(hard.signals(vec![again]).len(), 1);
    hard.accept("S2", "B2");
    hard.fill("S2", "B2", "T1", 100, "10");
    assert_eq!(hard.state("S1"), OrderState::Submitting);
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
fn limits_hold_for_the_account_and_for_a_strategy() {
    let limits = |order: &str, day: &str| Limits {
        max_order_value: Some(d(order)),
        max_turnover: Some(d(day)),
    };
    let mut desk = desk(Gates {
        account: limits("3000", "5000"),
        strategies: [("slow".to_owned(), limits("1500", "2500"))].into(),
        ..Gates::default()
    });
    let slow = |name: &str, size| with(buy(name, size), |s| s.strategy = Some("slow".into()));
    assert_eq!(verdict(&mut desk, buy("S1", 300)), "DENIED ORDER_VALUE");
    assert_eq!(verdict(&mut desk, buy("S2", 200)), "sent");
    assert_eq!(verdict(&mut desk, slow("S3", 200)), "DENIED ORDER_VALUE");
    assert_eq!(verdict(&mut desk, slow("S4", 100)), "sent");
    assert_eq!(verdict(&mut desk, slow("S5", 100)), "sent");
    // 2,002 and twice 1,001 yuan: the strategy's day is used up, and so is the account's.
    assert_eq!(verdict(&mut desk, slow("S6", 100)), "DENIED TURNOVER");
    assert_eq!(verdict(&mut desk, buy("S7", 100)), "DENIED TURNOVER");
    // What was not filled is no turnover once its order has ended.
    desk.accept("S2", "B2");
    desk.broker_ended("S2", "B2", 0);
    assert_eq!(verdict(&mut desk, buy("S8", 200)), "sent");
    // A new day.
    desk.now = desk.now.plus_ms(86_400_000);
    assert_eq!(verdict(&mut desk, slow("S9", 100)), "sent");
    let market = with(buy("S10", 100), |s| s.price = None);
    assert_eq!(verdict(&mut desk, market), "DENIED ORDER_VALUE_UNKNOWN");
}

#[test]
fn no_position_grows_too_large() {
    let mut desk = desk(Gates {
        max_position_share: Some(d("0.06")),
        ..Gates::default()
    });
    assert_eq!(verdict(&mut desk, buy("S0", 100)), "DEFERRED BOOK_UNKNOWN");
    see(&mut desk);
    // 10,000 yuan are held and 1,001 under way, of 12,000.
    assert_eq!(desk.state("S0"), OrderState::Submitting);
    assert_eq!(verdict(&mut desk, buy("S1", 100)), "DENIED POSITION_SHARE");
    assert_eq!(verdict(&mut desk, sell("S2", 100)), "sent");
}

#[test]
fn a_day_that_lost_too_much_buys_nothing_more() {
    let mut desk = desk(Gates {
        max_day_loss: Some(d("5000")),
        ..Gates::default()
    });
    see(&mut desk);
    let worth = |desk: &mut Desk, total: &str| {
        desk.now = desk.now.plus_ms(1);
        let book = BookFact {
            total_asset: d(total),
            ..book(desk.now)
        };
        desk.take(Event::BookSeen(Box::new(book)));
    };
    worth(&mut desk, "195000.01");
    assert_eq!(verdict(&mut desk, buy("S1", 100)), "sent");
    worth(&mut desk, "195000");
    assert_eq!(verdict(&mut desk, buy("S2", 100)), "DENIED DAY_LOSS");
    assert_eq!(verdict(&mut desk, sell("S3", 100)), "sent");
    // The next day begins with what was left.
    desk.now = desk.now.plus_ms(86_400_000);
    assert_eq!(verdict(&mut desk, buy("S4", 100)), "sent");
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

fn rate(per_second: u32, reserve: u32) -> Gates {
    let rate = Rate {
        per_second,
        cancel_reserve_per_second: reserve,
        per_day: 20_000,
        cancel_reserve_per_day: 0,
    };
    Gates {
        rate: Some(rate),
        ..Gates::default()
    }
}

/// Answers every call under way, and gives how many there were.
fn answer_all(desk: &mut Desk) -> usize {
    let calls: Vec<_> = desk
        .trader
        .live_orders()
        .filter(|order| order.state == OrderState::Submitting)
        .map(|order| order.id)
        .collect();
    for id in &calls {
        desk.take(Event::Rejected {
            id: *id,
            reason: "no".into(),
        });
    }
    calls.len()
}

#[test]
fn of_299_300_and_301_orders_in_a_second_never_more_than_299_leave() {
    for (count, first) in [(299, 299), (300, 299), (301, 299)] {
        let mut desk = desk(rate(299, 0));
        let sent = desk.signals((0..count).map(|n| buy(&format!("S{n}"), 100)).collect());
        assert_eq!(sent.len(), first, "{count} at once");
        let held = count - first;
        assert_eq!(answer_all(&mut desk), first);
        for _ in 0..9 {
            desk.pass(SECOND / 10);
        }
        desk.pass(99);
        assert_eq!(
            answer_all(&mut desk),
            0,
            "{count}: 999 ms after the answers nothing more left"
        );
        desk.pass(1);
        assert_eq!(
            answer_all(&mut desk),
            held,
            "{count}: the rest left a second after the answers"
        );
        // The rest is told to nobody: it merely keeps its place.
        assert!(
            desk.reports
                .iter()
                .all(|report| !report.step.starts_with("deferred"))
        );
    }
}

#[test]
fn cancels_have_a_reserve_and_wait_beyond_it() {
    let mut desk = desk(rate(10, 4));
    let sent = desk.signals((0..8).map(|n| buy(&format!("S{n}"), 100)).collect());
    assert_eq!(sent.len(), 6);
    let mut cancels = 0;
    for n in 0..6 {
        let name = format!("S{n}");
        desk.accept(&name, &format!("B{n}"));
        let id = desk.order(&name).id;
        let effects = desk.take(Event::CancelWanted {
            id,
            by: "test".into(),
        });
        cancels += effects
            .iter()
            .filter(|effect| matches!(effect, Effect::Cancel { .. }))
            .count();
    }
    assert_eq!(cancels, 4, "six orders and four cancels are ten");
    for n in 0..6 {
        let id = desk.order(&format!("S{n}")).id;
        desk.take(Event::CancelAnswered { id, problem: None });
    }
    assert_eq!(desk.pass(999), 0);
    assert_eq!(desk.pass(1), 2, "the other two go when the second is over");
}

#[test]
fn a_restart_forgets_no_order_of_the_second_and_none_of_the_day() {
    let mut gates = rate(5, 0);
    if let Some(rate) = &mut gates.rate {
        (rate.per_day, rate.cancel_reserve_per_day) = (8, 2);
    }
    let mut desk = desk(gates);
    assert_eq!(
        desk.signals((0..5).map(|n| buy(&format!("S{n}"), 100)).collect())
            .len(),
        5
    );
    assert_eq!(answer_all(&mut desk), 5);
    desk.now = desk.now.plus_ms(10);
    desk.restart();
    desk.take(Event::Connection {
        up: true,
        reason: String::new(),
    });
    desk.reconcile();
    assert_eq!(
        desk.signals(vec![buy("S5", 100)]).len(),
        0,
        "the second is not over"
    );
    assert_eq!(desk.state("S5"), OrderState::Intended);
    desk.pass(SECOND);
    assert_eq!(desk.state("S5"), OrderState::Submitting);
    assert_eq!(verdict(&mut desk, buy("S6", 100)), "DENIED RATE_DAY");
    desk.now = desk.now.plus_ms(86_400_000);
    assert_eq!(verdict(&mut desk, buy("S7", 100)), "sent");
}

#[test]
fn every_code_that_a_gate_may_say_is_in_the_list() {
    let listed: Vec<_> = qt_core::risk::GATES
        .iter()
        .flat_map(|gate| gate.codes)
        .map(|(code, _)| *code)
        .collect();
    let sources = [
        "barrier",
        "board",
        "cage",
        "cash",
        "connection",
        "day",
        "duplicate",
        "limits",
        "lot",
        "loss",
        "position",
        "price",
        "reference",
        "session",
        "shares",
        "state",
        "turnover",
        "validity",
        "value",
    ];
    let mut found = 0;
    for name in sources {
        let path = format!("{}/src/risk/{name}.rs", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(&path).unwrap();
        for word in text.split('"').filter(|word| {
            word.len() > 2 && word.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_')
        }) {
            assert!(listed.contains(&word), "{name}.rs says {word}");
            found += 1;
        }
    }
    assert!(found >= 20, "{found}");
    let open = qt_core::Settings::default();
    let on = qt_core::risk::GATES
        .iter()
        .filter(|gate| (gate.setting)(&open).is_some())
        .count();
    assert_eq!(on, 7, "the default opens every gate that can be opened");
}
