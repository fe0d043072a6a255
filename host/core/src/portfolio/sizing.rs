//! How much of a symbol to buy.

use jiff::civil::Date;
use qt_market::{Market, Price, Shares, Side, Symbol, lot_rule, round_down_to_lot};
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;

use super::exact::{At, HUNDRED};
use super::{Account, PortfolioError, Valuation};

/// What the money to spend is measured by. None is more than the available cash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SizeBasis {
    /// All available cash.
    AllCash,
    /// 30 % of the available cash.
    CashShare,
    /// 15 % of all assets.
    AssetShare,
}

impl SizeBasis {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Self; 3] = [Self::AllCash, Self::CashShare, Self::AssetShare];

    /// The part of cash or assets, in percent.
    #[must_use]
    pub const fn percent(self) -> u32 {
        match self {
            Self::AllCash => 100,
            Self::CashShare => 30,
            Self::AssetShare => 15,
        }
    }

    /// The word in files and on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AllCash => "all_cash",
            Self::CashShare => "cash_30_pct",
            Self::AssetShare => "assets_15_pct",
        }
    }
}

/// What to buy by one basis. Amounts in yuan, percentages in percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SizeOption {
    /// What the money is measured by.
    pub basis: SizeBasis,
    /// The most that may be spent, fees included.
    pub budget: Decimal,
    /// Whole lots; 0 where not even the smallest order fits.
    pub shares: Shares,
    /// Orders that it takes, since one order has a largest size.
    pub orders: u64,
    /// Shares × price.
    pub amount: Decimal,
    /// Of all orders together.
    pub fees: Decimal,
    /// Amount + fees; never more than the budget.
    pub total: Decimal,
    /// The symbol's part of the value of all positions after it, as the risk table counts.
    pub concentration_pct: Decimal,
    /// The symbol's part of all assets after it.
    pub asset_pct: Decimal,
}

/// How much of a symbol to buy, by each basis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizing {
    /// What to buy.
    pub symbol: Symbol,
    /// At which price, in yuan.
    pub price: Price,
    /// Shares already held.
    pub held: Shares,
    /// One for each basis, in the order of [`SizeBasis::ALL`].
    pub options: [SizeOption; 3],
}

struct Sizer<'a> {
    symbol: Symbol,
    price: Price,
    market: &'a Market,
    date: Date,
}

/// How much of `symbol` to buy at `price`, with fees as of `date`, so that cost and fees fit.
///
/// # Errors
/// A price that is not above zero, or a figure that no decimal holds.
pub fn size(
    symbol: Symbol,
    price: Price,
    account: &Account,
    book: &Valuation<'_>,
    market: &Market,
    date: Date,
) -> Result<Sizing, PortfolioError> {
    if price <= Decimal::ZERO {
        return Err(PortfolioError::NoPrice { symbol, price });
    }
    let sizer = Sizer {
        symbol,
        price,
        market,
        date,
    };
    let [all, cash, assets] = SizeBasis::ALL;
    Ok(Sizing {
        symbol,
        price,
        held: book.of(symbol).map_or(0, |figures| figures.position.total),
        options: [
            sizer.option(all, account, book)?,
            sizer.option(cash, account, book)?,
            sizer.option(assets, account, book)?,
        ],
    })
}

impl Sizer<'_> {
    fn option(
        &self,
        basis: SizeBasis,
        account: &Account,
        book: &Valuation<'_>,
    ) -> Result<SizeOption, PortfolioError> {
        let base = match basis {
            SizeBasis::AllCash | SizeBasis::CashShare => account.available_cash,
            SizeBasis::AssetShare => account.total_asset,
        };
        let part = Decimal::from(basis.percent()) / HUNDRED;
        let budget = At(self.symbol, "the money to spend").mul(base, part)?;
        let budget = budget.min(account.available_cash).max(Decimal::ZERO);
        let shares = self.most_for(budget)?;
        let (amount, fees, orders) = self.cost(shares)?;
        let at = At(self.symbol, "the concentration");
        let held_value = book
            .of(self.symbol)
            .map_or(Decimal::ZERO, |figures| figures.value);
        let value_after = at.add(held_value, amount)?;
        let share_of = |whole: Decimal| {
            if whole > Decimal::ZERO {
                at.percent(value_after, whole)
            } else {
                Ok(Decimal::ZERO)
            }
        };
        Ok(SizeOption {
            basis,
            budget,
            shares,
            orders,
            amount,
            fees,
            total: At(self.symbol, "the cost").add(amount, fees)?,
            concentration_pct: share_of(at.add(book.totals.value, amount)?)?,
            asset_pct: share_of(at.sub(account.total_asset, fees)?)?,
        })
    }

    /// The most shares whose amount and fees fit into `budget`.
    fn most_for(&self, budget: Decimal) -> Result<Shares, PortfolioError> {
        let too_large = PortfolioError::TooLarge {
            symbol: self.symbol,
            what: "the number of shares",
        };
        let without_fees = budget
            .checked_div(self.price)
            .and_then(|shares| shares.floor().to_i64())
            .ok_or(too_large)?;
        // Fees only grow with the amount, so what fits lies below what does not. The division may
        // have rounded up by a share, which the first look below takes back.
        let (mut fits, mut too_many) = (0, without_fees.saturating_add(1));
        while too_many - fits > 1 {
            let middle = fits + (too_many - fits) / 2;
            let (amount, fees, _) = self.cost(self.orderable(middle))?;
            let total = At(self.symbol, "the cost").add(amount, fees)?;
            if total <= budget {
                fits = middle;
            } else {
                too_many = middle;
            }
        }
        Ok(self.orderable(fits))
    }

    /// Up to `shares` that can be ordered: whole lots, and no last order below the smallest.
    fn orderable(&self, shares: Shares) -> Shares {
        let largest = lot_rule(&self.symbol).largest_limit;
        let full = shares / largest * largest;
        full + round_down_to_lot(&self.symbol, shares - full)
    }

    /// Amount, fees and number of orders of a purchase that is split at the largest order.
    fn cost(&self, shares: Shares) -> Result<(Decimal, Decimal, u64), PortfolioError> {
        let at = At(self.symbol, "the cost");
        let amount = at.mul(Decimal::from(shares), self.price)?;
        let largest = lot_rule(&self.symbol).largest_limit;
        let (full, rest) = (shares / largest, shares % largest);
        let of = |shares| {
            self.market
                .fees_at_price(&self.symbol, Side::Buy, shares, self.price, self.date)
                .map(|breakdown| breakdown.total())
        };
        let full_fees = if full > 0 {
            at.mul(Decimal::from(full), of(largest)?)?
        } else {
            Decimal::ZERO
        };
        let fees = at.add(full_fees, of(rest)?)?;
        Ok((amount, fees, full.unsigned_abs() + u64::from(rest > 0)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{d, example};
    use super::super::{round2, value};
    use super::*;
    use jiff::civil::date;
    use proptest::prelude::*;

    fn account(total: Decimal, cash: Decimal) -> Account {
        Account {
            account_id: "1".to_owned(),
            total_asset: total,
            cash,
            available_cash: cash,
            frozen_cash: Decimal::ZERO,
            market_value: total - cash,
        }
    }

    const DAY: Date = date(2026, 11, 24);

    fn sizing(symbol: &str, price: &str, account: &Account) -> Result<Sizing, PortfolioError> {
        let book = example();
        let book = value(&book).unwrap();
        size(
            symbol.parse().unwrap(),
            d(price),
            account,
            &book,
            Market::builtin(),
            DAY,
        )
    }

    #[test]
    fn lots_and_fees_fit_the_money() {
        let account = account(d("353950"), d("100000"));
        let sizing = sizing("000858.SZ", "40", &account).unwrap();
        assert_eq!(sizing.held, 1000);
        let shown: Vec<_> = sizing
            .options
            .iter()
            .map(|o| {
                let [budget, amount, fees, total, conc, part] = [
                    o.budget,
                    o.amount,
                    o.fees,
                    o.total,
                    o.concentration_pct,
                    o.asset_pct,
                ]
                .map(|f| round2(f).to_string());
                format!(
                    "{} {budget} {} {amount} {fees} {total} {conc} {part}",
                    o.basis.as_str(),
                    o.shares
                )
            })
            .collect();
        assert_eq!(
            shown,
            [
                // 2500 shares would be 100,000 without fees, so a lot less fits.
                "all_cash 100000.00 2400 96000.00 24.96 96024.96 39.78 39.33",
                "cash_30_pct 30000.00 700 28000.00 7.28 28007.28 25.25 20.12",
                "assets_15_pct 53092.50 1300 52000.00 13.52 52013.52 31.12 26.90",
            ]
        );
    }

    #[test]
    fn too_little_money_buys_nothing_and_much_money_takes_several_orders() {
        let poor = sizing("600519.SH", "1920", &account(d("300000"), d("100"))).unwrap();
        assert!(
            poor.options
                .iter()
                .all(|o| (o.shares, o.orders, o.total) == (0, 0, Decimal::ZERO))
        );
        let owing = sizing("600519.SH", "1920", &account(d("300000"), d("-100"))).unwrap();
        assert!(
            owing
                .options
                .iter()
                .all(|o| (o.shares, o.budget) == (0, Decimal::ZERO))
        );
        // STAR takes 100,000 shares an order, and no order of fewer than 200.
        let rich = account(d("2000000"), d("1000700"));
        let option = sizing("688981.SH", "5", &rich).unwrap().options[0];
        assert_eq!((option.shares, option.orders), (200_000, 2));
        let richer = account(d("2000000"), d("1003000"));
        let option = sizing("688981.SH", "5", &richer).unwrap().options[0];
        assert_eq!(option.orders, 3);
    }

    #[test]
    fn absurd_money_is_refused_by_name() {
        for (price, cash) in [("0", "1"), ("-1", "1"), ("0.01", "79228162514264337593543950335")] {
            let error = sizing("600519.SH", price, &account(d(cash), d(cash))).unwrap_err();
            assert!(error.to_string().starts_with("600519.SH: "), "{error}");
        }
    }

    proptest! {
        #[test]
        fn what_is_suggested_fits_and_one_more_lot_does_not(
            symbol in proptest::sample::select(
                &["600519.SH", "300750.SZ", "688981.SH", "920002.BJ", "510300.SH", "113050.SH"][..]),
            cents in 1i64..500_000, cash in 0i64..1_000_000_000, more in 0i64..1_000_000_000,
        ) {
            let price = Decimal::new(cents, 2);
            let account = account(Decimal::new(cash + more, 2), Decimal::new(cash, 2));
            let sizing = sizing(symbol, &price.to_string(), &account).unwrap();
            let symbol: Symbol = symbol.parse().unwrap();
            let sizer = Sizer { symbol, price, market: Market::builtin(), date: DAY };
            for option in sizing.options {
                prop_assert!(option.total <= option.budget && option.budget <= account.available_cash);
                prop_assert_eq!(option.total, option.amount + option.fees);
                // The next number that can be ordered at all, which is at most a smallest order away.
                let next = (option.shares + 1..=option.shares + 200)
                    .find(|shares| sizer.orderable(*shares) == *shares)
                    .unwrap();
                let (amount, fees, _) = sizer.cost(next).unwrap();
                prop_assert!(amount + fees > option.budget);
            }
        }
    }
}
