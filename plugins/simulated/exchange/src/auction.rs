//! The one price of a call auction.

use qt_market::{Shares, Side};

use crate::book::Book;
use crate::price::E4;

/// At which price an auction ends, and how many shares change hands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cross {
    /// The price of every trade.
    pub price: E4,
    /// Shares bought, which are as many as are sold.
    pub volume: Shares,
}

/// The price at which most shares change hands; of several, that with the least left over; of these, the one nearest to
/// `reference`, the previous close, and the lower where two are as near. `None` where nobody meets.
#[must_use]
pub fn clear(book: &Book, reference: E4) -> Option<Cross> {
    let (bids, asks): (Vec<_>, Vec<_>) = (
        book.levels(Side::Buy).collect(),
        book.levels(Side::Sell).collect(),
    );
    let mut best: Option<(Cross, Shares)> = None;
    let mut prices: Vec<E4> = bids.iter().chain(&asks).map(|(price, _)| *price).collect();
    prices.sort_unstable();
    prices.dedup();
    for price in prices {
        let demand = bids.iter().filter(|(bid, _)| *bid >= price);
        let supply = asks.iter().filter(|(ask, _)| *ask <= price);
        let demand = demand
            .map(|(_, shares)| shares)
            .fold(0i64, |sum, shares| sum.saturating_add(*shares));
        let supply = supply
            .map(|(_, shares)| shares)
            .fold(0i64, |sum, shares| sum.saturating_add(*shares));
        let volume = demand.min(supply);
        if volume == 0 {
            continue;
        }
        let left = demand.abs_diff(supply);
        let left = Shares::try_from(left).unwrap_or(Shares::MAX);
        let found = Cross { price, volume };
        let is_better = best.is_none_or(|(known, known_left)| {
            let rank = |cross: &Cross, left: Shares| {
                (-cross.volume, left, cross.price.abs_diff(reference), cross.price)
            };
            rank(&found, left) < rank(&known, known_left)
        });
        if is_better {
            best = Some((found, left));
        }
    }
    best.map(|(cross, _)| cross)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn book(bids: &[(E4, Shares)], asks: &[(E4, Shares)]) -> Book {
        let mut book = Book::default();
        let mut order = 0;
        for (side, levels) in [(Side::Buy, bids), (Side::Sell, asks)] {
            for (price, quantity) in levels {
                order += 1;
                book.rest(order, side, *price, *quantity);
            }
        }
        book
    }

    #[test]
    fn most_shares_then_least_left_then_nearest_to_the_close() {
        struct Case(
            &'static str,
            &'static [(E4, Shares)],
            &'static [(E4, Shares)],
            E4,
            Option<(E4, Shares)>,
        );
        for Case(what, bids, asks, reference, expected) in [
            Case("nobody meets", &[(99, 100)], &[(100, 100)], 100, None),
            Case("one price", &[(100, 300)], &[(100, 200)], 100, Some((100, 200))),
            Case(
                "most shares",
                &[(102, 100), (101, 200)],
                &[(100, 200), (101, 100)],
                100,
                Some((101, 300)),
            ),
            // At 10 as at 12 two hundred meet; at 12 a hundred less of the sellers' is left over.
            Case(
                "least left",
                &[(12, 200)],
                &[(10, 200), (12, 100)],
                11,
                Some((10, 200)),
            ),
            Case(
                "nearest to the close",
                &[(12, 200)],
                &[(10, 200)],
                12,
                Some((12, 200)),
            ),
            Case(
                "the lower of two as near",
                &[(12, 200)],
                &[(10, 200)],
                11,
                Some((10, 200)),
            ),
            Case("one side alone", &[(12, 200)], &[], 11, None),
        ] {
            let found = clear(&book(bids, asks), reference).map(|cross| (cross.price, cross.volume));
            assert_eq!(found, expected, "{what}");
        }
    }
}
