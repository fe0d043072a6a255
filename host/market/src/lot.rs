//! How many shares an order may have.

use jiff::civil::Date;

use crate::dated::on;
use crate::symbol::{Side, Symbol};
use crate::{Market, Shares};

/// What an exchange takes in one order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LotRule {
    /// Fewest shares of a purchase, and of a sale that does not empty the holding.
    pub minimum: Shares,
    /// Steps above the minimum.
    pub step: Shares,
    /// Most shares of an order with a limit price.
    pub largest_limit: Shares,
    /// Most shares of an order at the market's price.
    pub largest_market: Shares,
}

/// Nothing is known, so nothing is refused that could be right.
const UNKNOWN: LotRule = LotRule {
    minimum: 1,
    step: 1,
    largest_limit: Shares::MAX,
    largest_market: Shares::MAX,
};

/// Why an exchange would refuse a quantity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LotError {
    /// Zero or less.
    #[error("{symbol}: quantity {quantity} is not above zero: give a number of shares")]
    NotPositive {
        /// What was to be traded.
        symbol: Symbol,
        /// How many shares.
        quantity: Shares,
    },
    /// Fewer than the smallest order.
    #[error("{symbol}: quantity {quantity} is below the smallest order of {minimum}{}", rest_hint(*side, *sellable))]
    BelowMinimum {
        /// What was to be traded.
        symbol: Symbol,
        /// Buy or sell.
        side: Side,
        /// How many shares.
        quantity: Shares,
        /// The smallest order.
        minimum: Shares,
        /// Shares that may be sold now, where known.
        sellable: Option<Shares>,
    },
    /// Not a whole number of lots, and not the odd rest of a holding either.
    #[error("{symbol}: quantity {quantity} is not a multiple of {step}{}", rest_hint(*side, *sellable))]
    NotWholeLots {
        /// What was to be traded.
        symbol: Symbol,
        /// Buy or sell.
        side: Side,
        /// How many shares.
        quantity: Shares,
        /// The lot.
        step: Shares,
        /// Shares that may be sold now, where known.
        sellable: Option<Shares>,
    },
    /// More than one order may have.
    #[error("{symbol}: quantity {quantity} is above the largest order of {largest}: split it")]
    AboveLargest {
        /// What was to be traded.
        symbol: Symbol,
        /// How many shares.
        quantity: Shares,
        /// The largest order.
        largest: Shares,
    },
    /// A sale of more than may be sold.
    #[error("{symbol}: {quantity} shares are to be sold and {sellable} can be sold now")]
    AboveSellable {
        /// What was to be traded.
        symbol: Symbol,
        /// How many shares.
        quantity: Shares,
        /// Shares that may be sold now.
        sellable: Shares,
    },
}

fn rest_hint(side: Side, sellable: Option<Shares>) -> String {
    match (side, sellable) {
        (Side::Sell, Some(sellable)) => {
            format!("; an odd rest is sold in one order, and {sellable} can be sold now")
        }
        _ => String::new(),
    }
}

/// What an exchange takes in one order of this symbol, by the newest rule there is.
#[must_use]
pub fn lot_rule(symbol: &Symbol) -> LotRule {
    Market::builtin().lot_rule(symbol, Date::MAX)
}

impl Market {
    /// What an exchange takes in one order of this symbol on a day.
    #[must_use]
    pub fn lot_rule(&self, symbol: &Symbol, date: Date) -> LotRule {
        self.rules(self.board(symbol))
            .and_then(|rules| on(&rules.lots, date))
            .unwrap_or(UNKNOWN)
    }

    /// Whether an exchange takes `quantity` in one order on a day, at the market's price where `at_market`.
    ///
    /// `sellable` is what of the holding may be sold now, as for [`check_quantity`].
    ///
    /// # Errors
    /// The first rule that the quantity breaks.
    pub fn check_quantity(
        &self,
        symbol: &Symbol,
        side: Side,
        quantity: Shares,
        sellable: Option<Shares>,
        at_market: bool,
        date: Date,
    ) -> Result<(), LotError> {
        let rule = self.lot_rule(symbol, date);
        check(symbol, side, quantity, sellable, &rule, at_market)
    }
}

/// Whether an exchange takes `quantity` in one order with a limit price.
///
/// `sellable` is what of the holding may be sold now; `None`, where it is not known, lets any odd
/// sale pass, since only the broker can judge it then. It plays no part in a purchase.
///
/// # Errors
/// The first rule that the quantity breaks.
pub fn check_quantity(
    symbol: &Symbol,
    side: Side,
    quantity: Shares,
    sellable: Option<Shares>,
) -> Result<(), LotError> {
    check(symbol, side, quantity, sellable, &lot_rule(symbol), false)
}

/// As [`check_quantity`], for an order at the market's price.
///
/// # Errors
/// The first rule that the quantity breaks.
pub fn check_market_quantity(
    symbol: &Symbol,
    side: Side,
    quantity: Shares,
    sellable: Option<Shares>,
) -> Result<(), LotError> {
    check(symbol, side, quantity, sellable, &lot_rule(symbol), true)
}

fn check(
    symbol: &Symbol,
    side: Side,
    quantity: Shares,
    sellable: Option<Shares>,
    rule: &LotRule,
    at_market: bool,
) -> Result<(), LotError> {
    let symbol = *symbol;
    let LotRule { minimum, step, .. } = *rule;
    let largest = if at_market {
        rule.largest_market
    } else {
        rule.largest_limit
    };
    if quantity <= 0 {
        return Err(LotError::NotPositive { symbol, quantity });
    }
    if quantity > largest {
        return Err(LotError::AboveLargest {
            symbol,
            quantity,
            largest,
        });
    }
    if side == Side::Sell {
        match sellable {
            Some(sellable) if quantity > sellable => {
                return Err(LotError::AboveSellable {
                    symbol,
                    quantity,
                    sellable,
                });
            }
            Some(sellable) if sells_the_rest(quantity, sellable, minimum, step) => return Ok(()),
            Some(_) => {}
            None => return Ok(()),
        }
    }
    if quantity < minimum {
        return Err(LotError::BelowMinimum {
            symbol,
            side,
            quantity,
            minimum,
            sellable,
        });
    }
    if quantity % step != 0 {
        return Err(LotError::NotWholeLots {
            symbol,
            side,
            quantity,
            step,
            sellable,
        });
    }
    Ok(())
}

/// True where the sale takes the odd rest of the holding with it, which must not be split.
fn sells_the_rest(quantity: Shares, sellable: Shares, minimum: Shares, step: Shares) -> bool {
    quantity == sellable || (step > 1 && quantity % step == sellable % step && minimum == step)
}

/// The most shares up to `quantity` that may be bought in one order; 0 where that is too few.
///
/// The largest order is not looked at: more than that is split, not cut.
#[must_use]
pub fn round_down_to_lot(symbol: &Symbol, quantity: Shares) -> Shares {
    let LotRule { minimum, step, .. } = lot_rule(symbol);
    if quantity < minimum {
        0
    } else {
        quantity - quantity % step
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Side::{Buy, Sell};
    use proptest::prelude::*;

    fn verdict(symbol: &str, side: Side, quantity: Shares, sellable: Option<Shares>) -> &'static str {
        match check_quantity(&symbol.parse().unwrap(), side, quantity, sellable) {
            Ok(()) => "ok",
            Err(LotError::NotPositive { .. }) => "not positive",
            Err(LotError::BelowMinimum { .. }) => "minimum",
            Err(LotError::NotWholeLots { .. }) => "lots",
            Err(LotError::AboveLargest { .. }) => "largest",
            Err(LotError::AboveSellable { .. }) => "sellable",
        }
    }

    #[test]
    fn the_exchanges_rules_for_each_board() {
        for (symbol, side, quantity, sellable, expected) in [
            ("600519.SH", Buy, 100, None, "ok"),
            ("600519.SH", Buy, 0, None, "not positive"),
            ("600519.SH", Buy, -100, None, "not positive"),
            ("600519.SH", Buy, 99, None, "minimum"),
            ("600519.SH", Buy, 150, None, "lots"),
            ("600519.SH", Buy, 1_000_000, None, "ok"),
            ("600519.SH", Buy, 1_000_100, None, "largest"),
            // The odd rest goes in one order, alone or with whole lots, and is never split.
            ("600519.SH", Sell, 50, Some(250), "ok"),
            ("600519.SH", Sell, 150, Some(250), "ok"),
            ("600519.SH", Sell, 250, Some(250), "ok"),
            ("600519.SH", Sell, 200, Some(250), "ok"),
            ("600519.SH", Sell, 30, Some(250), "minimum"),
            ("600519.SH", Sell, 230, Some(250), "lots"),
            ("600519.SH", Sell, 300, Some(250), "sellable"),
            ("600519.SH", Sell, 30, Some(30), "ok"),
            ("600519.SH", Sell, 30, None, "ok"),
            // A holding is no excuse for an odd purchase.
            ("600519.SH", Buy, 30, Some(30), "minimum"),
            ("300750.SZ", Buy, 300_000, None, "ok"),
            ("300750.SZ", Buy, 300_100, None, "largest"),
            ("688981.SH", Buy, 199, None, "minimum"),
            ("688981.SH", Buy, 200, None, "ok"),
            ("688981.SH", Buy, 201, None, "ok"),
            ("688981.SH", Buy, 100_001, None, "largest"),
            ("688981.SH", Sell, 199, Some(199), "ok"),
            ("688981.SH", Sell, 199, Some(300), "minimum"),
            ("688981.SH", Sell, 201, Some(300), "ok"),
            ("920002.BJ", Buy, 99, None, "minimum"),
            ("920002.BJ", Buy, 101, None, "ok"),
            ("920002.BJ", Sell, 99, Some(99), "ok"),
            ("920002.BJ", Sell, 99, Some(100), "minimum"),
            ("510300.SH", Buy, 100, None, "ok"),
            ("510300.SH", Buy, 110, None, "lots"),
            ("113050.SH", Buy, 10, None, "ok"),
            ("113050.SH", Buy, 15, None, "lots"),
            ("113050.SH", Sell, 5, Some(15), "ok"),
            ("204001.SH", Buy, 1, None, "ok"),
        ] {
            assert_eq!(
                verdict(symbol, side, quantity, sellable),
                expected,
                "{symbol} {side} {quantity}"
            );
        }
    }

    #[test]
    fn an_order_at_the_market_may_be_smaller_still() {
        let star = "688981.SH".parse().unwrap();
        assert!(check_market_quantity(&star, Buy, 50_000, None).is_ok());
        let error = check_market_quantity(&star, Buy, 50_001, None).unwrap_err();
        assert_eq!(
            error.to_string(),
            "688981.SH: quantity 50001 is above the largest order of 50000: split it"
        );
        let chinext = "300750.SZ".parse().unwrap();
        assert!(check_market_quantity(&chinext, Buy, 150_000, None).is_ok());
        assert!(check_market_quantity(&chinext, Buy, 150_100, None).is_err());
    }

    #[test]
    fn a_refused_sale_names_what_can_be_sold() {
        let error = check_quantity(&"600519.SH".parse().unwrap(), Sell, 230, Some(250)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "600519.SH: quantity 230 is not a multiple of 100; \
             an odd rest is sold in one order, and 250 can be sold now"
        );
    }

    const SYMBOLS: [&str; 7] = [
        "600519.SH",
        "300750.SZ",
        "688981.SH",
        "920002.BJ",
        "510300.SH",
        "113050.SH",
        "204001.SH",
    ];

    proptest! {
        #[test]
        fn what_is_rounded_to_lots_may_be_bought(
            symbol in proptest::sample::select(&SYMBOLS[..]), quantity in -500i64..100_000,
        ) {
            let symbol: Symbol = symbol.parse().unwrap();
            let rounded = round_down_to_lot(&symbol, quantity);
            prop_assert!(rounded == 0 || check_quantity(&symbol, Buy, rounded, None).is_ok());
            prop_assert!(rounded <= quantity.max(0));
            // Nothing between it and the quantity could have been bought instead.
            for more in rounded + 1..=quantity.min(rounded + 200) {
                prop_assert!(check_quantity(&symbol, Buy, more, None).is_err());
            }
        }

        #[test]
        fn a_whole_holding_may_always_be_sold(
            symbol in proptest::sample::select(&SYMBOLS[..]), held in 1i64..100_000,
        ) {
            let symbol = symbol.parse().unwrap();
            prop_assert!(check_quantity(&symbol, Sell, held, Some(held)).is_ok());
        }
    }
}
