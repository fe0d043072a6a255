//! What is counted by the broker's figures: shares, cash, positions, turnover and the day's loss.

use qt_core::{BookFact, Event, Gates, Limits, OrderState};

use super::{book, books, d, desk, see, verdict, with};
use crate::support::{Desk, MORNING, buy, sell};

const DAY: i64 = 86_400_000;

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

/// A lot and the odd rest of a holding, whether the broker's figures contain the lot's order already or not yet.
#[test]
fn an_odd_rest_goes_while_the_sale_of_the_other_part_is_open() {
    for (symbol, total, lot, rest) in [("688981.SH", 350, 200, 150), ("920002.BJ", 150, 100, 50)] {
        let of = |name: &str, size| with(sell(name, size), |s| s.symbol = symbol.parse().unwrap());
        let see = |desk: &mut Desk, total, sellable| {
            desk.now = desk.now.plus_ms(1);
            let mut book = book(desk.now);
            book.holdings[0].symbol = symbol.parse().unwrap();
            (book.holdings[0].total, book.holdings[0].sellable) = (total, sellable);
            book.holdings[0].frozen = total - sellable;
            desk.take(Event::BookSeen(Box::new(book)));
        };
        let gates = Gates {
            market_rules: true,
            book_settle_ms: 3_000,
            ..books()
        };
        // Where shares and cash are not counted, the rules of lots still are.
        let mut desk = super::desk(Gates {
            books: false,
            ..gates.clone()
        });
        see(&mut desk, total, total);
        let sent = desk.signals(vec![of("S1", lot), of("S2", rest)]);
        assert_eq!(sent.len(), 2, "{symbol}: {:?}", desk.order("S2").reason);

        let mut desk = super::desk(gates.clone());
        see(&mut desk, total, total);
        let sent = desk.signals(vec![of("S1", lot), of("S2", rest)]);
        assert_eq!(
            sent,
            [desk.order("S1").id, desk.order("S2").id],
            "{symbol}: both of one batch"
        );

        // The rest goes first by its rank, and waits for the figures that follow the lot.
        let mut desk = super::desk(gates.clone());
        see(&mut desk, total, total);
        let sent = desk.signals(vec![of("S1", rest), of("S2", lot)]);
        assert_eq!(sent, [desk.order("S2").id], "{symbol}");
        assert_eq!(desk.order("S1").code.as_deref(), Some("SHARES_HELD"), "{symbol}");
        see(&mut desk, total, total);
        assert_eq!(desk.state("S1"), OrderState::Submitting, "{symbol}");

        // The figures contain the first order already, which is held besides for a while: the rest waits, and goes.
        let mut desk = super::desk(gates.clone());
        see(&mut desk, total, total);
        assert_eq!(verdict(&mut desk, of("S1", lot)), "sent");
        desk.accept("S1", "B1");
        see(&mut desk, total, rest);
        assert_eq!(verdict(&mut desk, of("S2", rest)), "DEFERRED SHARES_HELD");
        desk.now = desk.now.plus_ms(4_000);
        see(&mut desk, total, rest);
        assert_eq!(desk.state("S2"), OrderState::Submitting, "{symbol}");

        // One of two is in the figures and held besides, and the other is not in them.
        let mut desk = super::desk(gates.clone());
        see(&mut desk, total + lot, total + lot);
        assert_eq!(desk.signals(vec![of("S1", lot), of("S2", lot)]).len(), 2);
        desk.accept("S1", "B1");
        see(&mut desk, total + lot, total);
        assert_eq!(verdict(&mut desk, of("S3", rest)), "DEFERRED SHARES_HELD");
        desk.accept("S2", "B2");
        desk.now = desk.now.plus_ms(4_000);
        see(&mut desk, total + lot, rest);
        assert_eq!(desk.state("S3"), OrderState::Submitting, "{symbol}");

        // What is no rest is refused as before.
        let mut desk = super::desk(gates);
        see(&mut desk, total, total);
        assert_eq!(verdict(&mut desk, of("S1", lot)), "sent");
        assert_eq!(verdict(&mut desk, of("S2", rest - 10)), "DENIED LOT", "{symbol}");
    }
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
    // The close has passed.
    desk.now = MORNING.plus_ms(6 * 3_600 * 1_000);
    worth(&mut desk, "195000");
    // The next day begins with what was left, and nothing is known of it before the broker tells.
    desk.now = MORNING.plus_ms(DAY);
    assert_eq!(verdict(&mut desk, buy("S4", 100)), "DEFERRED BOOK_UNKNOWN");
    worth(&mut desk, "190000.01");
    assert_eq!(desk.state("S4"), OrderState::Submitting);
    worth(&mut desk, "190000");
    assert_eq!(verdict(&mut desk, buy("S5", 100)), "DENIED DAY_LOSS");
    // Over a weekend Friday's worth is still the last day's.
    desk.now = MORNING.plus_ms(3 * DAY + 6 * 3_600 * 1_000);
    worth(&mut desk, "180000");
    desk.now = MORNING.plus_ms(6 * DAY);
    worth(&mut desk, "175000");
    assert_eq!(verdict(&mut desk, buy("S6", 100)), "DENIED DAY_LOSS");
    // A day of which only the morning was seen says nothing of its end.
    desk.now = MORNING.plus_ms(7 * DAY);
    worth(&mut desk, "160000");
    assert_eq!(verdict(&mut desk, buy("S7", 100)), "sent");
}

/// Money that was paid out is no loss, and one look at figures that do not tell the day's result makes it none.
#[test]
fn what_the_day_earned_is_told_once_and_holds_for_the_day() {
    let mut desk = desk(Gates {
        max_day_loss: Some(d("5000")),
        ..Gates::default()
    });
    for (total, pnl, expected) in [
        ("200000", Some("-100"), "sent"),
        ("150000", Some("-4999"), "sent"),
        ("100000", None, "sent"),
        ("100000", Some("-5000"), "DENIED DAY_LOSS"),
        ("300000", None, "DENIED DAY_LOSS"),
    ] {
        desk.now = desk.now.plus_ms(1);
        let book = BookFact {
            total_asset: d(total),
            day_pnl: pnl.map(d),
            ..book(desk.now)
        };
        desk.take(Event::BookSeen(Box::new(book)));
        let name = format!("S{}", desk.now.0);
        assert_eq!(verdict(&mut desk, buy(&name, 100)), expected, "{total} {pnl:?}");
    }
}

/// A sale at the market's price has its value from the figures; those of before the loss of the connection are gone.
#[test]
fn a_sale_without_a_limit_waits_for_the_figures_after_a_reconnect() {
    for max_turnover in [None, Some(d("50000"))] {
        let mut desk = desk(Gates {
            account: Limits {
                max_order_value: max_turnover.is_none().then(|| d("50000")),
                max_turnover,
            },
            ..books()
        });
        see(&mut desk);
        let link = |desk: &mut Desk, up| {
            desk.take(Event::Connection {
                up,
                reason: String::new(),
            });
        };
        link(&mut desk, false);
        let sale = with(sell("S1", 100), |s| s.price = None);
        assert_eq!(verdict(&mut desk, sale), "DEFERRED NOT_CONNECTED");
        link(&mut desk, true);
        desk.reconcile();
        assert_eq!(desk.order("S1").code.as_deref(), Some("BOOK_UNKNOWN"));
        see(&mut desk);
        assert_eq!(desk.state("S1"), OrderState::Submitting);
    }
}

/// What a week lost is no day's loss.
#[test]
fn a_day_after_days_that_nobody_saw_begins_with_its_own_first_figures() {
    let mut desk = desk(Gates {
        max_day_loss: Some(d("5000")),
        ..Gates::default()
    });
    see(&mut desk);
    desk.now = desk.now.plus_ms(2 * DAY);
    desk.take(Event::Tick);
    desk.now = desk.now.plus_ms(1);
    let book = BookFact {
        total_asset: d("150000"),
        ..book(desk.now)
    };
    desk.take(Event::BookSeen(Box::new(book)));
    assert_eq!(verdict(&mut desk, buy("S1", 100)), "sent");
}

/// Yesterday's purchase can be sold today, and yesterday's figures do not know that.
#[test]
fn yesterdays_figures_decide_nothing_today() {
    let mut desk = desk(books());
    see(&mut desk);
    assert_eq!(
        verdict(&mut desk, sell("S1", 700)),
        "DENIED NOT_SELLABLE",
        "400 were bought today"
    );
    desk.now = desk.now.plus_ms(DAY);
    assert_eq!(verdict(&mut desk, sell("S2", 700)), "DEFERRED BOOK_UNKNOWN");
    let mut today = book(desk.now.plus_ms(1));
    today.holdings[0].sellable = 1000;
    desk.take(Event::BookSeen(Box::new(today)));
    assert_eq!(desk.state("S2"), OrderState::Submitting);
}

#[test]
fn figures_of_before_a_loss_of_the_connection_decide_nothing_after_it() {
    let mut desk = desk(books());
    see(&mut desk);
    for up in [false, true] {
        desk.take(Event::Connection {
            up,
            reason: String::new(),
        });
    }
    desk.reconcile();
    assert_eq!(verdict(&mut desk, sell("S1", 700)), "DEFERRED BOOK_UNKNOWN");
    see(&mut desk);
    assert_eq!(desk.order("S1").code.as_deref(), Some("NOT_SELLABLE"));
}

fn turnover(most: &str) -> Gates {
    Gates {
        account: Limits {
            max_order_value: None,
            max_turnover: Some(d(most)),
        },
        books: true,
        ..Gates::default()
    }
}

/// An order that has ended and that the broker's figures contain is looked at no more, until something comes late.
#[test]
fn what_is_told_late_of_an_ended_order_is_no_turnover_again() {
    let mut desk = desk(turnover("2500"));
    see(&mut desk);
    assert_eq!(verdict(&mut desk, buy("S1", 100)), "sent");
    desk.accept("S1", "B1");
    desk.fill("S1", "B1", "T1", 100, "10.01");
    see(&mut desk);
    see(&mut desk);
    // The answer to a cancel that crossed the fill, the acceptance again, and a clock that is set back.
    let id = desk.order("S1").id;
    desk.take(Event::CancelAnswered { id, problem: None });
    desk.accept("S1", "B1");
    desk.now = desk.now.plus_ms(-60_000);
    desk.take(Event::ClockJumped);
    see(&mut desk);
    assert_eq!(verdict(&mut desk, buy("S2", 100)), "sent", "1,001 yuan of 2,500");
    assert_eq!(verdict(&mut desk, buy("S3", 100)), "DENIED TURNOVER");
}

/// What yesterday left open takes nothing from today's turnover when somebody decides it.
#[test]
fn an_order_of_yesterday_that_is_decided_today_lowers_no_turnover() {
    let mut desk = desk(turnover("2500"));
    see(&mut desk);
    desk.signals(vec![buy("S1", 100)]);
    let id = desk.order("S1").id;
    desk.lose_answer(id);
    desk.now = desk.now.plus_ms(DAY);
    desk.take(Event::Tick);
    assert_eq!(desk.state("S1"), OrderState::Review);
    see(&mut desk);
    assert_eq!(verdict(&mut desk, buy("S2", 200)), "sent");
    desk.take(Event::Decided {
        id,
        accepted_as: None,
    });
    assert_eq!(
        verdict(&mut desk, buy("S3", 100)),
        "DENIED TURNOVER",
        "2,002 yuan of 2,500 are used"
    );
}
