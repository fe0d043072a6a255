//! What trades earned: moving average cost with fees, from the fills that are known.

use std::collections::BTreeMap;

use qt_market::{Price, Shares, Side, Symbol};
use rust_decimal::Decimal;

use super::PortfolioError;
use super::exact::{At, PLACES};
use crate::time::{TradingDate, UtcMillis};

/// One fill with its fees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trade {
    /// What was traded.
    pub symbol: Symbol,
    /// Buy or sell.
    pub side: Side,
    /// Shares; more than zero.
    pub size: Shares,
    /// Yuan a share.
    pub price: Price,
    /// All fees of it, in yuan.
    pub fees: Decimal,
    /// When it was traded.
    pub at: UtcMillis,
}

impl Trade {
    /// Shares × price, in yuan.
    pub(super) fn amount(&self) -> Result<Decimal, PortfolioError> {
        if self.size <= 0 {
            let what = "the size of a trade";
            return Err(PortfolioError::Negative {
                symbol: self.symbol,
                what,
                quantity: self.size,
            });
        }
        At(self.symbol, "the amount of a trade").mul(Decimal::from(self.size), self.price)
    }
}

/// What is known of one symbol from its trades. Amounts in yuan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TradeFigures {
    /// From when on trades are known; what came before is not in these figures.
    pub known_since: UtcMillis,
    /// Shares that the trades leave, with those of the start.
    pub quantity: Shares,
    /// What they cost by moving average, fees of purchases included.
    pub cost: Decimal,
    /// Sold amount − fees − moving average cost of what was sold.
    pub realised_pnl: Decimal,
    /// The first purchase of the present holding, or of the last one where all is sold.
    pub first_buy: Option<UtcMillis>,
    /// The last trade.
    pub last_trade: Option<UtcMillis>,
    /// How many trades.
    pub trades: u64,
    /// Shares × price of all purchases, without fees.
    pub bought_amount: Decimal,
    /// Shares × price of all sales, without fees.
    pub sold_amount: Decimal,
    /// All fees.
    pub fees: Decimal,
    /// Shares sold that were bought before anything is known: what they earned cannot be told and
    /// is not in the realised P&L.
    pub sold_without_cost: Shares,
}

impl TradeFigures {
    const fn new(known_since: UtcMillis) -> Self {
        Self {
            known_since,
            quantity: 0,
            cost: Decimal::ZERO,
            realised_pnl: Decimal::ZERO,
            first_buy: None,
            last_trade: None,
            trades: 0,
            bought_amount: Decimal::ZERO,
            sold_amount: Decimal::ZERO,
            fees: Decimal::ZERO,
            sold_without_cost: 0,
        }
    }

    /// Moving average cost a share, fees included; `None` where nothing is left.
    #[must_use]
    pub fn avg_cost(&self) -> Option<Price> {
        self.cost.checked_div(Decimal::from(self.quantity))
    }

    /// Calendar days from the first purchase to `today`, or to the last sale where all is sold.
    #[must_use]
    pub fn holding_days(&self, today: TradingDate) -> Option<i64> {
        let end = if self.quantity > 0 {
            today
        } else {
            self.last_trade?.trading_date()
        };
        Some(end.0.saturating_sub(self.first_buy?.trading_date().0).max(0))
    }
}

/// The trades of an account, booked one after the other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TradeBook {
    figures: BTreeMap<Symbol, TradeFigures>,
}

impl TradeBook {
    /// A book of trades, which are put into the order of their times first.
    ///
    /// # Errors
    /// A trade without shares, or a figure that no decimal holds; the message names the symbol.
    pub fn from_trades(trades: impl IntoIterator<Item = Trade>) -> Result<Self, PortfolioError> {
        let mut trades: Vec<_> = trades.into_iter().collect();
        // Stable: within one moment the broker's order stands.
        trades.sort_by_key(|trade| trade.at);
        let mut book = Self::default();
        trades.iter().try_for_each(|trade| book.book(trade))?;
        Ok(book)
    }

    /// Takes up a holding that was there at `since`, before its first known trade, at its cost.
    ///
    /// # Errors
    /// Fewer than no shares, or a figure that no decimal holds.
    pub fn open(
        &mut self,
        symbol: Symbol,
        quantity: Shares,
        avg_cost: Price,
        since: UtcMillis,
    ) -> Result<(), PortfolioError> {
        if quantity < 0 {
            return Err(PortfolioError::Negative {
                symbol,
                what: "the quantity",
                quantity,
            });
        }
        let cost = At(symbol, "the cost").mul(Decimal::from(quantity), avg_cost)?;
        self.figures.insert(
            symbol,
            TradeFigures {
                quantity,
                cost,
                ..TradeFigures::new(since)
            },
        );
        Ok(())
    }

    /// Books one trade; trades of a symbol are to come in the order of their times.
    ///
    /// # Errors
    /// A trade without shares, or a figure that no decimal holds. The book is unchanged then.
    pub fn book(&mut self, trade: &Trade) -> Result<(), PortfolioError> {
        let before = self
            .figures
            .get(&trade.symbol)
            .copied()
            .unwrap_or_else(|| TradeFigures::new(trade.at));
        let at = At(trade.symbol, "the sum of its trades");
        let amount = trade.amount()?;
        let mut after = match trade.side {
            Side::Buy => bought(before, trade, amount)?,
            Side::Sell => sold(before, trade, amount)?,
        };
        after.fees = at.add(before.fees, trade.fees)?;
        after.trades += 1;
        after.last_trade = before.last_trade.max(Some(trade.at));
        self.figures.insert(trade.symbol, after);
        Ok(())
    }

    /// What is known of a symbol.
    #[must_use]
    pub fn get(&self, symbol: Symbol) -> Option<&TradeFigures> {
        self.figures.get(&symbol)
    }

    /// All symbols with trades, in their order.
    pub fn iter(&self) -> impl Iterator<Item = (Symbol, &TradeFigures)> {
        self.figures.iter().map(|(symbol, figures)| (*symbol, figures))
    }
}

fn bought(before: TradeFigures, trade: &Trade, amount: Decimal) -> Result<TradeFigures, PortfolioError> {
    let at = At(trade.symbol, "the cost of its trades");
    let quantity = before.quantity.checked_add(trade.size);
    let quantity = quantity.ok_or(PortfolioError::TooLarge {
        symbol: trade.symbol,
        what: at.1,
    })?;
    Ok(TradeFigures {
        quantity,
        cost: at.add(before.cost, at.add(amount, trade.fees)?)?,
        // A holding that was sold out starts anew; one taken up at the start began before.
        first_buy: if before.quantity == 0 {
            Some(trade.at)
        } else {
            before.first_buy
        },
        bought_amount: at.add(before.bought_amount, amount)?,
        ..before
    })
}

fn sold(before: TradeFigures, trade: &Trade, amount: Decimal) -> Result<TradeFigures, PortfolioError> {
    let at = At(trade.symbol, "the earnings of its trades");
    let known = trade.size.min(before.quantity);
    let size = Decimal::from(trade.size);
    // Of a sale that reaches beyond what is known, only the known part has earned something.
    let part = |whole: Decimal| {
        if known == trade.size {
            Ok(whole)
        } else {
            at.div(at.mul(whole, Decimal::from(known))?, size)
                .map(|part| part.round_dp(PLACES))
        }
    };
    let cost_of_sold = if known == before.quantity {
        before.cost
    } else {
        let held = Decimal::from(before.quantity);
        at.div(at.mul(before.cost, Decimal::from(known))?, held)?
            .round_dp(PLACES)
    };
    let earned = at.sub(at.sub(part(amount)?, part(trade.fees)?)?, cost_of_sold)?;
    let unknown = trade.size - known;
    Ok(TradeFigures {
        quantity: before.quantity - known,
        cost: at.sub(before.cost, cost_of_sold)?,
        realised_pnl: at.add(before.realised_pnl, earned)?,
        sold_amount: at.add(before.sold_amount, amount)?,
        sold_without_cost: before.sold_without_cost.saturating_add(unknown),
        ..before
    })
}

#[cfg(test)]
mod tests {
    use super::super::round2;
    use super::super::tests::d;
    use super::*;
    use proptest::prelude::*;

    const DAY_MS: i64 = 86_400_000;
    const NOON: i64 = 1_795_536_000_000 + DAY_MS / 2;

    fn trade(side: Side, size: Shares, price: &str, fees: &str, day: i64) -> Trade {
        Trade {
            symbol: "000858.SZ".parse().unwrap(),
            side,
            size,
            price: d(price),
            fees: d(fees),
            at: UtcMillis(NOON + day * DAY_MS),
        }
    }

    #[test]
    fn the_average_moves_with_fees_and_sales_realise_against_it() {
        let book = TradeBook::from_trades([
            // Out of order on purpose: times decide.
            trade(Side::Sell, 100, "45", "7.25", 10),
            trade(Side::Buy, 100, "40", "5.04", 0),
            trade(Side::Buy, 100, "42", "5.04", 3),
        ])
        .unwrap();
        let symbol = "000858.SZ".parse().unwrap();
        let figures = book.get(symbol).unwrap();
        // Cost 4005.04 + 4205.04 = 8210.08; half of it is sold: 4500 − 7.25 − 4105.04.
        assert_eq!(figures.realised_pnl, d("387.71"));
        assert_eq!((figures.quantity, figures.cost), (100, d("4105.04")));
        assert_eq!(figures.avg_cost(), Some(d("41.0504")));
        assert_eq!(
            (figures.bought_amount, figures.sold_amount, figures.fees),
            (d("8200"), d("4500"), d("17.33"))
        );
        assert_eq!((figures.trades, figures.sold_without_cost), (3, 0));
        assert_eq!(figures.known_since, UtcMillis(NOON));
        assert_eq!(figures.first_buy, Some(UtcMillis(NOON)));
        assert_eq!(figures.last_trade, Some(UtcMillis(NOON + 10 * DAY_MS)));
        let today = UtcMillis(NOON + 12 * DAY_MS).trading_date();
        assert_eq!(figures.holding_days(today), Some(12));
        assert_eq!(book.iter().count(), 1);
    }

    #[test]
    fn a_sold_out_holding_starts_anew() {
        let mut book = TradeBook::from_trades([
            trade(Side::Buy, 100, "40", "5", 0),
            trade(Side::Sell, 100, "41", "5", 2),
        ])
        .unwrap();
        let symbol = "000858.SZ".parse().unwrap();
        let figures = *book.get(symbol).unwrap();
        assert_eq!(
            (figures.realised_pnl, figures.cost, figures.avg_cost()),
            (d("90"), d("0"), None)
        );
        assert_eq!(
            figures.holding_days(UtcMillis(NOON + 9 * DAY_MS).trading_date()),
            Some(2)
        );
        book.book(&trade(Side::Buy, 100, "39", "5", 9)).unwrap();
        let figures = book.get(symbol).unwrap();
        assert_eq!(figures.first_buy, Some(UtcMillis(NOON + 9 * DAY_MS)));
        assert_eq!(figures.avg_cost(), Some(d("39.05")));
    }

    #[test]
    fn what_was_bought_before_anything_is_known_earns_nothing_that_is_made_up() {
        let mut book = TradeBook::from_trades([
            trade(Side::Buy, 100, "40", "0", 0),
            trade(Side::Sell, 300, "41", "3", 1),
        ])
        .unwrap();
        let symbol = "000858.SZ".parse().unwrap();
        let figures = book.get(symbol).unwrap();
        // A third of the sale is known: 4100 − 1 − 4000.
        assert_eq!((figures.realised_pnl, figures.sold_without_cost), (d("99"), 200));
        assert_eq!((figures.quantity, figures.cost), (0, d("0")));
        // With what was held at the start, all of it is.
        book.open(symbol, 200, d("39"), UtcMillis(NOON - DAY_MS)).unwrap();
        book.book(&trade(Side::Buy, 100, "40", "0", 0)).unwrap();
        book.book(&trade(Side::Sell, 300, "41", "3", 1)).unwrap();
        let figures = book.get(symbol).unwrap();
        assert_eq!((figures.realised_pnl, figures.sold_without_cost), (d("497"), 0));
        assert_eq!(
            (figures.known_since, figures.first_buy),
            (UtcMillis(NOON - DAY_MS), None)
        );
    }

    #[test]
    fn absurd_trades_are_refused_by_name_and_change_nothing() {
        let mut book = TradeBook::from_trades([trade(Side::Buy, 100, "40", "5", 0)]).unwrap();
        let before = book.clone();
        let max = Decimal::MAX.to_string();
        for bad in [
            trade(Side::Buy, 0, "40", "5", 1),
            trade(Side::Buy, -1, "40", "5", 1),
            trade(Side::Buy, i64::MAX, "1", "5", 1),
            trade(Side::Buy, i64::MAX, &max, "5", 1),
            trade(Side::Sell, 1, &max, "0.01", 1),
            trade(Side::Buy, 1, "1", &max, 1),
        ] {
            let error = book.book(&bad).unwrap_err();
            assert!(error.to_string().starts_with("000858.SZ: "), "{error}");
            assert_eq!(book, before);
        }
        assert!(
            book.open(trade(Side::Buy, 1, "1", "0", 0).symbol, -1, d("1"), UtcMillis(0))
                .is_err()
        );
    }

    proptest! {
        #[test]
        fn no_money_appears_or_vanishes(
            trades in proptest::collection::vec((any::<bool>(), 1i64..500, 1i64..10_000, 0i64..2_000), 1..60),
        ) {
            let mut book = TradeBook::default();
            let symbol = "000858.SZ".parse().unwrap();
            book.open(symbol, 100_000, d("33.3333333"), UtcMillis(0)).unwrap();
            let mut cash = -d("3333333.33");
            for (day, (buy, size, cents, fees)) in (0i64..).zip(trades) {
                let side = if buy { Side::Buy } else { Side::Sell };
                let (price, fees) = (Decimal::new(cents, 2), Decimal::new(fees, 2));
                let amount = Decimal::from(size) * price;
                cash += if buy { -amount } else { amount } - fees;
                book.book(&Trade { symbol, side, size, price, fees, at: UtcMillis(day) }).unwrap();
            }
            let figures = book.get(symbol).unwrap();
            // Whatever was paid is either still in the holding's cost or was realised.
            prop_assert_eq!(figures.realised_pnl - figures.cost, cash);
            prop_assert_eq!(figures.sold_without_cost, 0);
            prop_assert!(round2(figures.avg_cost().unwrap()) > Decimal::ZERO);
        }
    }
}
