//! A book against one that is a plain list: price first, then time; and nobody is left who could trade.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use proptest::prelude::*;
use qt_exchange::{Book, E4, FLOW, Hit, OrderId};
use qt_market::{Shares, Side};

/// Every order in the order in which it came.
#[derive(Default)]
struct List(Vec<(OrderId, Side, E4, Shares)>);

impl List {
    fn take(&mut self, side: Side, worst: E4, mut quantity: Shares) -> (Vec<Hit>, Shares) {
        let mut hits = Vec::new();
        while quantity > 0 {
            let fits = |(_, other, price, _): &(OrderId, Side, E4, Shares)| {
                *other != side
                    && match side {
                        Side::Buy => *price <= worst,
                        Side::Sell => *price >= worst,
                    }
            };
            // The first of equals stays the first, which is the oldest.
            let rank = |price: E4| if side == Side::Buy { price } else { -price };
            let best = self
                .0
                .iter()
                .enumerate()
                .filter(|(_, order)| fits(order))
                .min_by_key(|(place, order)| (rank(order.2), *place));
            let Some((place, _)) = best else { break };
            let (maker, _, price, left) = self.0[place];
            let part = left.min(quantity);
            quantity -= part;
            self.0[place].3 -= part;
            if self.0[place].3 == 0 {
                self.0.remove(place);
            }
            hits.push(Hit {
                maker,
                price,
                quantity: part,
            });
        }
        (hits, quantity)
    }
}

#[derive(Debug, Clone)]
enum Step {
    Come(Side, E4, Shares),
    Leave(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let side = prop_oneof![Just(Side::Buy), Just(Side::Sell)];
    let come =
        (side, 95i64..106, 1i64..500).prop_map(|(side, price, quantity)| Step::Come(side, price, quantity));
    let leave = (0usize..200).prop_map(Step::Leave);
    proptest::collection::vec(prop_oneof![4 => come, 1 => leave], 1..120)
}

proptest! {
    #[test]
    fn orders_meet_by_price_and_then_by_time_and_no_book_stays_crossed(steps in steps()) {
        let (mut book, mut list) = (Book::default(), List::default());
        let mut next = FLOW;
        for step in steps {
            match step {
                Step::Come(side, price, quantity) => {
                    next += 1;
                    let mut hits = Vec::new();
                    let rest = book.take(side, price, quantity, usize::MAX, &mut hits);
                    book.rest(next, side, price, rest);
                    let (expected, left) = list.take(side, price, quantity);
                    if left > 0 {
                        list.0.push((next, side, price, left));
                    }
                    prop_assert_eq!(hits, expected);
                    prop_assert_eq!(rest, left);
                }
                Step::Leave(which) => {
                    let which = list.0.get(which % list.0.len().max(1)).copied();
                    if let Some((order, _, _, quantity)) = which {
                        list.0.retain(|known| known.0 != order);
                        prop_assert_eq!(book.remove(order), Some(quantity));
                        prop_assert_eq!(book.remove(order), None);
                    }
                }
            }
            prop_assert!(!book.is_crossed());
            prop_assert_eq!(book.len(), list.0.len());
            for side in [Side::Buy, Side::Sell] {
                let total: Shares = book.levels(side).map(|(_, quantity)| quantity).sum();
                let expected: Shares = list.0.iter().filter(|order| order.1 == side).map(|order| order.3).sum();
                prop_assert_eq!(total, expected);
            }
        }
    }
}

fn takes(book: &mut Book, quantity: Shares) -> Vec<(OrderId, Shares)> {
    let mut hits = Vec::new();
    book.take(Side::Sell, 1, quantity, usize::MAX, &mut hits);
    hits.iter().map(|hit| (hit.maker, hit.quantity)).collect()
}

#[test]
fn who_rests_behind_the_market_waits_until_it_has_traded_or_left() {
    let mut book = Book::default();
    book.show(Side::Buy, &[(100, 500)]);
    book.rest(1, Side::Buy, 100, 300);
    // More is shown: that came behind the order. Less: it left from behind.
    book.show(Side::Buy, &[(100, 900)]);
    assert_eq!(takes(&mut book, 600), [(FLOW, 500), (1, 100)]);
    book.show(Side::Buy, &[(100, 100)]);
    assert_eq!(takes(&mut book, 250), [(1, 200), (FLOW, 50)]);
    // What is not shown any more is gone, an order here is not.
    book.rest(2, Side::Buy, 99, 100);
    book.show(Side::Buy, &[]);
    assert_eq!((book.best(Side::Buy), book.len()), (Some(99), 1));
}

#[test]
fn only_so_many_levels_are_taken() {
    let mut book = Book::default();
    for price in 1..=7 {
        book.rest(u64::try_from(price).unwrap(), Side::Sell, price, 100);
    }
    let mut hits = Vec::new();
    assert_eq!(book.take(Side::Buy, E4::MAX, 1_000, 5, &mut hits), 500);
    assert_eq!(hits.len(), 5);
    assert_eq!(book.best(Side::Sell), Some(6));
}
