//! What a trade costs besides its price.

use jiff::civil::Date;
use rust_decimal::{Decimal, RoundingStrategy};

use crate::board::Board;
use crate::dated::{Since, on};
use crate::symbol::{Side, Symbol};
use crate::{Market, Price, Shares};

/// What is charged, by date. Rates are fractions of the amount: 0.00025 is 0.025 %.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeeSchedule {
    /// The broker's commission, negotiated.
    pub commission_rate: Decimal,
    /// The least commission of an order, in yuan.
    pub commission_min: Decimal,
    /// Stamp duty on sales of shares.
    pub stamp_duty: Vec<Since<Decimal>>,
    /// Transfer fee of shares, both sides.
    pub transfer_fee: Vec<Since<Decimal>>,
    /// Handling fee of shares, both sides.
    pub exchange_fee: Vec<Since<Decimal>>,
    /// Regulatory fee of shares, both sides.
    pub regulatory_fee: Vec<Since<Decimal>>,
    /// True where the commission contains the last two, as is usual.
    pub exchange_fees_included: bool,
}

/// The fees of an order, in yuan, each rounded half up to 0.01.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FeeBreakdown {
    /// The broker's.
    pub commission: Decimal,
    /// The state's, on sales of shares.
    pub stamp_tax: Decimal,
    /// The clearing house's, on shares.
    pub transfer_fee: Decimal,
    /// The exchange's and the regulator's, where the commission does not contain them.
    pub exchange_fee: Decimal,
}

impl FeeBreakdown {
    /// All fees together, in yuan.
    #[must_use]
    pub fn total(&self) -> Decimal {
        // Saturating, since the least commission is a user's setting and may be absurd.
        [self.stamp_tax, self.transfer_fee, self.exchange_fee]
            .into_iter()
            .fold(self.commission, Decimal::saturating_add)
    }
}

/// Why fees cannot be worked out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FeeError {
    /// Fewer than no shares, or a price below zero.
    #[error("{symbol}: fees of {quantity} shares at {price} cannot be worked out: neither may be below zero")]
    Negative {
        /// What was to be traded.
        symbol: Symbol,
        /// How many shares.
        quantity: Shares,
        /// Yuan a share.
        price: Price,
    },
    /// The amount is larger than a decimal holds.
    #[error("{symbol}: the amount or its fees are too large to be worked out: check quantity and price")]
    TooLarge {
        /// What was to be traded.
        symbol: Symbol,
    },
}

impl FeeSchedule {
    fn fees_on_board(
        &self,
        symbol: &Symbol,
        board: Board,
        side: Side,
        amount: Decimal,
        date: Date,
    ) -> Result<FeeBreakdown, FeeError> {
        let symbol = *symbol;
        if amount < Decimal::ZERO {
            return Err(FeeError::Negative {
                symbol,
                quantity: 1,
                price: amount,
            });
        }
        if amount.is_zero() {
            return Ok(FeeBreakdown::default());
        }
        // What is not known is charged like a share: rather too much set aside than too little.
        let share = board.is_a_share() || board == Board::Unknown;
        let stamped = side == Side::Sell && (share || board == Board::BShare);
        let part = |applies: bool, table: &[Since<Decimal>]| {
            if applies {
                on(table, date).unwrap_or_default()
            } else {
                Decimal::ZERO
            }
        };
        let own_exchange_fee = share && !self.exchange_fees_included;
        let of = |rate: Decimal| {
            // A product above this loses its cents, and rounding would hide that.
            const LARGEST: Decimal = Decimal::from_parts(u32::MAX, u32::MAX, 0, false, 0);
            amount
                .checked_mul(rate)
                .filter(|fee| fee.abs() <= LARGEST)
                .map(|fee| fee.round_dp_with_strategy(2, RoundingStrategy::MidpointAwayFromZero))
                .ok_or(FeeError::TooLarge { symbol })
        };
        Ok(FeeBreakdown {
            commission: of(self.commission_rate)?.max(self.commission_min),
            stamp_tax: of(part(stamped, &self.stamp_duty))?,
            transfer_fee: of(part(share, &self.transfer_fee))?,
            exchange_fee: of(part(own_exchange_fee, &self.exchange_fee))?
                + of(part(own_exchange_fee, &self.regulatory_fee))?,
        })
    }
}

impl Market {
    /// The fees of one order that is filled with `quantity` at `price` on `date`.
    ///
    /// # Errors
    /// A quantity or price below zero, or an amount that no decimal holds.
    pub fn fees_at_price(
        &self,
        symbol: &Symbol,
        side: Side,
        quantity: Shares,
        price: Price,
        date: Date,
    ) -> Result<FeeBreakdown, FeeError> {
        let symbol = *symbol;
        if quantity < 0 || price < Decimal::ZERO {
            return Err(FeeError::Negative {
                symbol,
                quantity,
                price,
            });
        }
        let amount = Decimal::from(quantity)
            .checked_mul(price)
            .ok_or(FeeError::TooLarge { symbol })?;
        self.fees_of_amount(&symbol, side, amount, date)
    }

    /// The fees of one order whose fills amount to `amount` yuan: for fills at several prices.
    ///
    /// # Errors
    /// An amount below zero, or one whose fees no decimal holds.
    pub fn fees_of_amount(
        &self,
        symbol: &Symbol,
        side: Side,
        amount: Decimal,
        date: Date,
    ) -> Result<FeeBreakdown, FeeError> {
        self.fees
            .fees_on_board(symbol, self.board(symbol), side, amount, date)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::date;
    use proptest::prelude::*;

    fn d(text: &str) -> Decimal {
        text.parse().unwrap()
    }

    /// The program's tables, with the exchange's fees beside the commission.
    fn all_apart() -> Market {
        let mut market = Market::builtin().clone();
        market.fees.exchange_fees_included = false;
        market
    }

    fn fees(symbol: &str, side: Side, quantity: Shares, price: &str, date: Date) -> [String; 4] {
        let fees = Market::builtin()
            .fees_at_price(&symbol.parse().unwrap(), side, quantity, d(price), date)
            .unwrap();
        [fees.commission, fees.stamp_tax, fees.transfer_fee, fees.total()]
            .map(|fee| fee.normalize().to_string())
    }

    #[test]
    fn each_rate_holds_from_its_day() {
        let now = date(2026, 11, 24);
        for (symbol, side, quantity, price, day, expected) in [
            (
                "000858.SZ",
                Side::Buy,
                1000,
                "42.50",
                now,
                ["10.63", "0", "0.43", "11.06"],
            ),
            (
                "000858.SZ",
                Side::Sell,
                1000,
                "42.50",
                now,
                ["10.63", "21.25", "0.43", "32.31"],
            ),
            (
                "000858.SZ",
                Side::Sell,
                1000,
                "42.50",
                date(2023, 8, 28),
                ["10.63", "21.25", "0.43", "32.31"],
            ),
            (
                "000858.SZ",
                Side::Sell,
                1000,
                "42.50",
                date(2023, 8, 27),
                ["10.63", "42.5", "0.43", "53.56"],
            ),
            (
                "000858.SZ",
                Side::Buy,
                1000,
                "42.50",
                date(2022, 4, 28),
                ["10.63", "0", "0.85", "11.48"],
            ),
            (
                "000858.SZ",
                Side::Buy,
                1000,
                "42.50",
                date(2015, 7, 31),
                ["10.63", "0", "0", "10.63"],
            ),
            ("000858.SZ", Side::Buy, 100, "1.00", now, ["5", "0", "0", "5"]),
            (
                "510300.SH",
                Side::Sell,
                10_000,
                "4.000",
                now,
                ["10", "0", "0", "10"],
            ),
            ("113050.SH", Side::Sell, 1_000, "120", now, ["30", "0", "0", "30"]),
            (
                "920002.BJ",
                Side::Sell,
                1_000,
                "20",
                now,
                ["5", "10", "0.2", "15.2"],
            ),
            ("600519.SH", Side::Sell, 0, "20", now, ["0", "0", "0", "0"]),
        ] {
            assert_eq!(
                fees(symbol, side, quantity, price, day),
                expected,
                "{symbol} {side} {quantity} {day}"
            );
        }
    }

    #[test]
    fn exchange_fees_are_added_only_where_the_commission_does_not_contain_them() {
        let market = all_apart();
        let at = |symbol: &str, day| {
            let fees = market
                .fees_at_price(&symbol.parse().unwrap(), Side::Buy, 10_000, d("100"), day)
                .unwrap();
            fees.exchange_fee
        };
        assert_eq!(at("600519.SH", date(2026, 11, 24)), d("54.10"));
        assert_eq!(at("600519.SH", date(2023, 8, 27)), d("68.70"));
        assert_eq!(at("510300.SH", date(2026, 11, 24)), d("0"));
    }

    #[test]
    fn absurd_orders_are_refused_by_name() {
        let symbol = "600519.SH".parse().unwrap();
        let market = Market::builtin();
        let day = date(2026, 11, 24);
        for (quantity, price) in [(i64::MAX, Decimal::MAX), (i64::MAX, d("1e10")), (1, Decimal::MAX)] {
            let error = market
                .fees_at_price(&symbol, Side::Sell, quantity, price, day)
                .unwrap_err();
            assert_eq!(error, FeeError::TooLarge { symbol });
        }
        for (quantity, price) in [(-1, Decimal::ONE), (1, -Decimal::ONE)] {
            let error = market
                .fees_at_price(&symbol, Side::Sell, quantity, price, day)
                .unwrap_err();
            assert!(error.to_string().contains("600519.SH"), "{error}");
        }
    }

    /// What a user's tables put on another board is charged as that board is.
    #[test]
    fn the_board_is_that_of_the_same_tables() {
        let symbol = "589001.SH".parse().unwrap();
        let day = date(2026, 11, 24);
        let stamp = |market: &Market| {
            let fees = market
                .fees_at_price(&symbol, Side::Sell, 1_000, d("10"), day)
                .unwrap();
            fees.stamp_tax.normalize().to_string()
        };
        assert_eq!(stamp(Market::builtin()), "0");
        let own = Market::with_overrides("[boards.main.codes]\nSH = [\"589\"]\n").unwrap();
        assert_eq!(stamp(&own), "5");
    }

    proptest! {
        #[test]
        fn more_shares_or_a_higher_price_never_cost_less(
            symbol in proptest::sample::select(&["600519.SH", "688981.SH", "510300.SH", "113050.SH"][..]),
            sell in any::<bool>(), quantity in 1i64..1_000_000, more in 0i64..1_000_000,
            cents in 1i64..1_000_000, cents_more in 0i64..1_000_000, day in 0i64..9_000,
        ) {
            let symbol = symbol.parse().unwrap();
            let side = if sell { Side::Sell } else { Side::Buy };
            let day = date(2005, 1, 1) + jiff::Span::new().days(day);
            let market = all_apart();
            let small = market.fees_at_price(&symbol, side, quantity, Decimal::new(cents, 2), day).unwrap();
            let large = market
                .fees_at_price(&symbol, side, quantity + more, Decimal::new(cents + cents_more, 2), day)
                .unwrap();
            prop_assert!(small.commission <= large.commission);
            prop_assert!(small.stamp_tax <= large.stamp_tax);
            prop_assert!(small.transfer_fee <= large.transfer_fee);
            prop_assert!(small.exchange_fee <= large.exchange_fee);
            prop_assert!(small.total() >= market.fees.commission_min);
            prop_assert!(small.total().scale() <= 2);
        }
    }
}
