//! What each position is worth, and all of them together.

use qt_market::Price;
use rust_decimal::Decimal;

use super::exact::At;
use super::{PortfolioError, Position};

/// Where the price of a position comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PriceSource {
    /// The last trade.
    Last,
    /// Yesterday's close, for want of a last price, as for a suspended stock.
    PreviousClose,
    /// Nothing: the position is taken at its cost (at zero where that is negative), so that it
    /// neither vanishes from the total nor shows a loss that nobody has seen. Such a position is
    /// called unpriced, and whoever shows it must say so.
    Cost,
}

/// One position and what follows from it. Amounts in yuan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PositionFigures<'a> {
    /// The position itself.
    pub position: &'a Position,
    /// The price it is valued at.
    pub price: Price,
    /// Where that price comes from.
    pub source: PriceSource,
    /// Shares × price.
    pub value: Decimal,
    /// Shares × average cost; negative where the cost is.
    pub cost: Decimal,
    /// Value − cost.
    pub pnl: Decimal,
    /// P&L in percent of the cost; `None` where that is not above zero, since it would mean nothing.
    pub pnl_pct: Option<Decimal>,
}

impl<'a> PositionFigures<'a> {
    /// The figures of one position.
    ///
    /// # Errors
    /// A negative quantity, or a figure that no decimal holds; the message names the symbol.
    pub fn of(position: &'a Position) -> Result<Self, PortfolioError> {
        let symbol = position.symbol;
        if position.total < 0 {
            return Err(PortfolioError::Negative {
                symbol,
                what: "the quantity",
                quantity: position.total,
            });
        }
        let (price, source) = price_of(position);
        let quantity = Decimal::from(position.total);
        let value = At(symbol, "the value").mul(quantity, price)?;
        let cost = At(symbol, "the cost").mul(quantity, position.avg_cost)?;
        let pnl = At(symbol, "the P&L").sub(value, cost)?;
        let pnl_pct = pnl_pct(At(symbol, "the P&L in percent"), pnl, cost)?;
        Ok(Self {
            position,
            price,
            source,
            value,
            cost,
            pnl,
            pnl_pct,
        })
    }

    /// True where no price is known.
    #[must_use]
    pub const fn unpriced(&self) -> bool {
        matches!(self.source, PriceSource::Cost)
    }
}

/// All positions together. Amounts in yuan; each is the sum of the positions' to the last digit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// How many positions, those with no shares too.
    pub positions: usize,
    /// What they are worth.
    pub value: Decimal,
    /// What they cost.
    pub cost: Decimal,
    /// Value − cost.
    pub pnl: Decimal,
    /// P&L in percent of the cost; `None` where that is not above zero.
    pub pnl_pct: Option<Decimal>,
    /// How many of them have shares and no price, and are taken at their cost.
    pub unpriced: usize,
}

/// A book and its figures.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Valuation<'a> {
    /// One for each position, in the book's order.
    pub positions: Vec<PositionFigures<'a>>,
    /// All together.
    pub totals: Totals,
}

impl<'a> Valuation<'a> {
    /// The `count` positions of most value, the largest first; by symbol where they are equal.
    #[must_use]
    pub fn top(&self, count: usize) -> Vec<PositionFigures<'a>> {
        let by_value = |a: &PositionFigures<'_>, b: &PositionFigures<'_>| {
            b.value
                .cmp(&a.value)
                .then_with(|| a.position.symbol.cmp(&b.position.symbol))
        };
        let mut order = self.positions.clone();
        // Only what is shown gets sorted: a large book stays linear.
        if count < order.len() {
            order.select_nth_unstable_by(count, by_value);
            order.truncate(count);
        }
        order.sort_by(by_value);
        order
    }

    /// The position of a symbol.
    #[must_use]
    pub fn of(&self, symbol: qt_market::Symbol) -> Option<&PositionFigures<'a>> {
        self.positions
            .iter()
            .find(|figures| figures.position.symbol == symbol)
    }
}

impl Totals {
    /// The totals alone, for those who want no list of every position's figures beside the book.
    ///
    /// # Errors
    /// As [`value`].
    pub fn of(positions: &[Position]) -> Result<Self, PortfolioError> {
        summed(positions, |_| ())
    }
}

/// Sums a book up and shows each position's figures on the way.
fn summed<'a>(
    positions: &'a [Position],
    mut each: impl FnMut(PositionFigures<'a>),
) -> Result<Totals, PortfolioError> {
    let mut totals = Totals {
        positions: positions.len(),
        ..Totals::default()
    };
    for position in positions {
        let figures = PositionFigures::of(position)?;
        let symbol = position.symbol;
        totals.value = At(symbol, "the total value").add(totals.value, figures.value)?;
        totals.cost = At(symbol, "the total cost").add(totals.cost, figures.cost)?;
        totals.pnl = At(symbol, "the total P&L").add(totals.pnl, figures.pnl)?;
        totals.unpriced += usize::from(figures.unpriced() && position.total != 0);
        each(figures);
    }
    if let Some(last) = positions.last() {
        totals.pnl_pct = pnl_pct(
            At(last.symbol, "the total P&L in percent"),
            totals.pnl,
            totals.cost,
        )?;
    }
    Ok(totals)
}

/// The figures of a book.
///
/// # Errors
/// A negative quantity, or a figure that no decimal holds; the message names the symbol.
pub fn value(positions: &[Position]) -> Result<Valuation<'_>, PortfolioError> {
    let mut all = Vec::with_capacity(positions.len());
    let totals = summed(positions, |figures| all.push(figures))?;
    Ok(Valuation {
        positions: all,
        totals,
    })
}

/// The price that a position is valued at. Brokers show 0 for a stock without a price.
pub(super) fn price_of(position: &Position) -> (Price, PriceSource) {
    let known = |price: Option<Price>| price.filter(|price| *price > Decimal::ZERO);
    if let Some(price) = known(position.last_price) {
        (price, PriceSource::Last)
    } else if let Some(price) = known(position.previous_close) {
        (price, PriceSource::PreviousClose)
    } else {
        (position.avg_cost.max(Decimal::ZERO), PriceSource::Cost)
    }
}

fn pnl_pct(at: At, pnl: Decimal, cost: Decimal) -> Result<Option<Decimal>, PortfolioError> {
    if cost > Decimal::ZERO {
        at.percent(pnl, cost).map(Some)
    } else {
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::super::round2;
    use super::super::tests::{d, example, position};
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_specifications_holdings_have_its_figures() {
        let book = example();
        let valuation = value(&book).unwrap();
        let shown: Vec<_> = valuation
            .positions
            .iter()
            .map(|f| [f.value, f.pnl, f.pnl_pct.unwrap()].map(|figure| round2(figure).to_string()))
            .collect();
        assert_eq!(shown[0], ["43200.00", "700.00", "1.65"]);
        assert_eq!(shown[1], ["18750.00", "-250.00", "-1.32"]);
        assert_eq!(shown[2], ["192000.00", "7000.00", "3.78"]);
        let totals = valuation.totals;
        assert_eq!((totals.positions, totals.unpriced), (3, 0));
        assert_eq!(
            [totals.value, totals.cost, totals.pnl, totals.pnl_pct.unwrap()].map(|f| round2(f).to_string()),
            ["253950.00", "246500.00", "7450.00", "3.02"]
        );
        let top: Vec<_> = valuation
            .top(2)
            .iter()
            .map(|f| f.position.symbol.to_string())
            .collect();
        assert_eq!(top, ["600519.SH", "000858.SZ"]);
        assert_eq!(valuation.top(99).len(), 3);
        assert_eq!(
            valuation.of("002050.SZ".parse().unwrap()).unwrap().value,
            d("18750")
        );
    }

    #[test]
    fn odd_holdings_are_right_too() {
        let mut suspended = position("000001.SZ", 100, "10", Some("0"));
        suspended.previous_close = Some(d("9"));
        let book = [
            position("600519.SH", 0, "1850", Some("1920")),
            position("600519.SH", 100, "0", Some("1920")),
            position("600519.SH", 100, "-3.5", Some("1920")),
            position("600519.SH", 100, "1850", None),
            position("600519.SH", 100, "-3.5", None),
            suspended,
        ];
        let valuation = value(&book).unwrap();
        let figures = |i: usize| {
            let f = &valuation.positions[i];
            (f.value, f.cost, f.pnl, f.pnl_pct, f.source)
        };
        let last = PriceSource::Last;
        let zero = Decimal::ZERO;
        assert_eq!(figures(0), (zero, zero, zero, None, last));
        assert_eq!(figures(1), (d("192000"), zero, d("192000"), None, last));
        assert_eq!(figures(2), (d("192000"), d("-350"), d("192350"), None, last));
        assert_eq!(
            figures(3),
            (d("185000"), d("185000"), zero, Some(zero), PriceSource::Cost)
        );
        assert_eq!(figures(4), (zero, d("-350"), d("350"), None, PriceSource::Cost));
        assert_eq!(
            figures(5),
            (
                d("900"),
                d("1000"),
                d("-100"),
                Some(d("-10")),
                PriceSource::PreviousClose
            )
        );
        assert_eq!(valuation.totals.unpriced, 2);
        assert_eq!(value(&[]).unwrap(), Valuation::default());
    }

    #[test]
    fn absurd_holdings_are_refused_by_name() {
        let max = Decimal::MAX.to_string();
        for bad in [
            position("002050.SZ", i64::MAX, "1", Some(&max)),
            position("002050.SZ", i64::MAX, &max, Some("1")),
            position("002050.SZ", 1, &format!("-{max}"), Some(&max)),
            position("002050.SZ", -1, "1", Some("1")),
        ] {
            let book = [position("000858.SZ", 1, "1", Some("1")), bad];
            let error = value(&book).unwrap_err();
            assert!(error.to_string().starts_with("002050.SZ: "), "{error}");
        }
        // Each is fine alone, and together they are too much.
        let large = Decimal::MAX.to_string();
        let book = [
            position("000858.SZ", 1, &large, Some(&large)),
            position("002050.SZ", 1, &large, Some(&large)),
        ];
        let error = value(&book).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("002050.SZ: the total value is too large"),
            "{error}"
        );
    }

    prop_compose! {
        fn any_position()(
            code in 0u32..1_000_000, total in 0i64..10_000_000,
            cost in -10_000_000_000i64..100_000_000_000, scale in 0u32..12,
            thirds in any::<bool>(),
            last in proptest::option::of(0i64..10_000_000), close in proptest::option::of(0i64..10_000_000),
        ) -> Position {
            let mut cost = Decimal::new(cost, scale);
            if thirds {
                cost /= Decimal::from(3);
            }
            Position {
                symbol: format!("{code:06}.SH").parse().unwrap(),
                name: None,
                total,
                sellable: total,
                frozen: 0,
                avg_cost: cost,
                last_price: last.map(|price| Decimal::new(price, 3)),
                previous_close: close.map(|price| Decimal::new(price, 2)),
            }
        }
    }

    proptest! {
        #[test]
        fn totals_are_the_sums_of_their_parts_to_the_last_digit(
            book in proptest::collection::vec(any_position(), 0..60), seed in any::<u64>(),
        ) {
            let valuation = value(&book).unwrap();
            // From the other end too: an exact sum does not depend on its order.
            let mut parts = valuation.positions.clone();
            if seed.is_multiple_of(2) {
                parts.reverse();
            }
            let sum = |part: fn(&PositionFigures<'_>) -> Decimal| parts.iter().map(part).sum::<Decimal>();
            let totals = valuation.totals;
            prop_assert_eq!(totals.value, sum(|f| f.value));
            prop_assert_eq!(totals.cost, sum(|f| f.cost));
            prop_assert_eq!(totals.pnl, sum(|f| f.pnl));
            prop_assert_eq!(totals.pnl, totals.value - totals.cost);
            for f in &valuation.positions {
                prop_assert_eq!(f.pnl + f.cost, f.value);
                prop_assert!(f.value >= Decimal::ZERO);
            }
        }
    }
}
