//! What a trade costs.

use rust_decimal::{Decimal, RoundingStrategy};

/// Commission in yuan for everything an order has traded so far: 0.025 %, at least 5, to the fen.
pub(crate) fn commission(turnover: Decimal) -> Decimal {
    if turnover.is_zero() {
        return Decimal::ZERO;
    }
    let rate = Decimal::new(25, 5);
    (turnover * rate)
        .round_dp_with_strategy(2, RoundingStrategy::MidpointAwayFromZero)
        .max(Decimal::from(5))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_minimum_counts_once_for_an_order() {
        assert_eq!(commission(Decimal::ZERO), Decimal::ZERO);
        assert_eq!(commission(Decimal::from(1_000)), Decimal::from(5));
        assert_eq!(commission(Decimal::from(20_000)), Decimal::from(5));
        assert_eq!(commission(Decimal::from(45_150)), Decimal::new(1129, 2));
    }
}
