//! A broker's figures may lack an order for a while although it accepted it: nothing is sold or spent twice meanwhile.

use super::*;

/// Gates that count, by figures that may be three seconds late.
fn late() -> Gates {
    Gates {
        book_settle_ms: 3_000,
        ..books()
    }
}

/// The broker's figures of so many ms from now, as they were before any order but for `change`.
fn see_after(desk: &mut Desk, ms: i64, change: impl FnOnce(&mut BookFact)) {
    desk.now = desk.now.plus_ms(ms);
    let mut seen = book(desk.now);
    change(&mut seen);
    desk.take(Event::BookSeen(Box::new(seen)));
}

#[test]
fn a_sale_that_the_brokers_figures_still_lack_is_not_taken_to_be_in_them() {
    let mut desk = desk(late());
    see(&mut desk);
    assert_eq!(verdict(&mut desk, sell("S1", 500)), "sent");
    desk.accept("S1", "B1");
    // Asked a moment after the acceptance, the broker still shows all 600 as free.
    see_after(&mut desk, 1, |_| {});
    assert_eq!(verdict(&mut desk, sell("S2", 300)), "DEFERRED SHARES_HELD");
    see_after(&mut desk, 2_900, |_| {});
    assert_eq!(verdict(&mut desk, sell("S3", 200)), "DEFERRED SHARES_HELD");
    // Later it shows the order, and nothing is held twice.
    see_after(&mut desk, 200, |seen| {
        (seen.holdings[0].sellable, seen.holdings[0].frozen) = (100, 500);
    });
    assert_eq!(verdict(&mut desk, sell("S4", 100)), "sent");
    assert_eq!(desk.state("S2"), OrderState::Deferred);
}

#[test]
fn cash_that_the_brokers_figures_still_show_is_not_spent_twice() {
    let mut desk = desk(late());
    see(&mut desk);
    assert_eq!(verdict(&mut desk, buy("S1", 1_200)), "sent");
    desk.accept("S1", "B1");
    see_after(&mut desk, 1, |_| {});
    assert_eq!(verdict(&mut desk, buy("S2", 1_200)), "DEFERRED CASH");
    // It is filled, which the figures may lack as well.
    desk.fill("S1", "B1", "T1", 1_200, "10.01");
    see_after(&mut desk, 2_999, |_| {});
    assert_eq!(
        desk.state("S2"),
        OrderState::Deferred,
        "{:?}",
        desk.order("S2").reason
    );
    see_after(&mut desk, 10, |seen| seen.available_cash = d("7983"));
    assert_eq!(desk.state("S2"), OrderState::Deferred);
    assert_eq!(verdict(&mut desk, buy("S3", 700)), "sent");
}

/// What is filled of an open purchase is in the position, and in the purchase as well.
#[test]
fn a_position_that_an_open_purchase_has_partly_filled_waits_and_is_not_refused() {
    let mut desk = desk(Gates {
        max_position_share: Some(d("0.1")),
        ..late()
    });
    see(&mut desk);
    // 1,000 shares are held, worth 10,000 of 200,000 yuan.
    assert_eq!(verdict(&mut desk, buy("S1", 600)), "sent");
    desk.accept("S1", "B1");
    desk.fill("S1", "B1", "T1", 500, "10.01");
    let filled = |seen: &mut BookFact| {
        seen.holdings[0].total = 1_500;
        seen.available_cash = d("13990");
    };
    see_after(&mut desk, 5_000, filled);
    assert_eq!(verdict(&mut desk, buy("S2", 300)), "DEFERRED BOOK_UNKNOWN");
    assert_eq!(verdict(&mut desk, buy("S3", 900)), "DENIED POSITION_SHARE");
    desk.fill("S1", "B1", "T2", 100, "10.01");
    see_after(&mut desk, 5_000, |seen| {
        seen.holdings[0].total = 1_600;
        seen.available_cash = d("12990");
    });
    assert_eq!(desk.state("S2"), OrderState::Submitting);
}

/// Counted twice for some seconds is no reason to refuse for good.
#[test]
fn a_position_that_may_be_counted_twice_waits_and_is_not_refused() {
    let mut desk = desk(Gates {
        max_position_share: Some(d("0.1")),
        ..late()
    });
    see(&mut desk);
    // 1,000 shares are held, worth 10,000 of 200,000 yuan; each purchase comes to 4,004.
    assert_eq!(verdict(&mut desk, buy("S1", 400)), "sent");
    desk.accept("S1", "B1");
    desk.fill("S1", "B1", "T1", 400, "10.01");
    let filled = |seen: &mut BookFact| {
        seen.holdings[0].total = 1_400;
        seen.available_cash = d("15990");
    };
    see_after(&mut desk, 100, filled);
    assert_eq!(verdict(&mut desk, buy("S2", 400)), "DEFERRED BOOK_UNKNOWN");
    assert!(desk.trader.wants_book(&{
        let mut same = book(desk.now.plus_ms(3_100));
        filled(&mut same);
        same
    }));
    see_after(&mut desk, 3_100, filled);
    assert_eq!(desk.state("S2"), OrderState::Submitting);
    assert_eq!(verdict(&mut desk, buy("S3", 400)), "DENIED POSITION_SHARE");
}
