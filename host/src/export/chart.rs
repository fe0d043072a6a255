//! What the pictures of a book show, on paper and in a terminal: the largest parts, and the rest as one.

use qt_core::portfolio::{PositionFigures, RiskFigures};
use rust_decimal::Decimal;

/// One bar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bar {
    /// Symbol and, where the broker gives one, name.
    pub(crate) label: String,
    /// Yuan.
    pub(crate) amount: Decimal,
    /// Percent: of the book's value, or of the cost; `None` where that means nothing.
    pub(crate) pct: Option<Decimal>,
    /// It stands for all that are too small to be shown; drawn, it would make the others small too.
    pub(crate) others: bool,
}

impl Bar {
    /// What is drawn.
    pub(crate) const fn drawn(&self) -> Decimal {
        if self.others { Decimal::ZERO } else { self.amount }
    }
}

fn label(figures: &PositionFigures<'_>) -> String {
    let position = figures.position;
    match &position.name {
        // What a terminal or a picture would act on is left out.
        Some(name) => {
            let name: String = name.chars().filter(|character| !character.is_control()).collect();
            format!("{} {name}", position.symbol)
        }
        None => position.symbol.to_string(),
    }
}

/// The `most` largest by `size`, and the others as one bar behind them.
fn largest(
    holdings: &[RiskFigures<'_>],
    most: usize,
    amount: fn(&PositionFigures<'_>) -> Decimal,
    pct: impl Fn(&RiskFigures<'_>) -> Option<Decimal>,
) -> Vec<Bar> {
    let mut rows: Vec<_> = holdings.iter().collect();
    let by_size = |a: &&RiskFigures<'_>, b: &&RiskFigures<'_>| {
        let size = |row: &RiskFigures<'_>| amount(&row.figures).abs();
        let symbol = |row: &RiskFigures<'_>| row.figures.position.symbol;
        size(b).cmp(&size(a)).then_with(|| symbol(a).cmp(&symbol(b)))
    };
    // One that stands alone behind the others is shown as itself.
    let shown = if rows.len() == most + 1 { rows.len() } else { most };
    let mut others = None;
    if shown < rows.len() {
        rows.select_nth_unstable_by(shown, by_size);
        let rest = rows.split_off(shown);
        let sum = rest
            .iter()
            .map(|row| amount(&row.figures))
            .fold(Decimal::ZERO, Decimal::saturating_add);
        others = Some(Bar {
            label: format!("{} others", rest.len()),
            amount: sum,
            pct: None,
            others: true,
        });
    }
    rows.sort_by(by_size);
    let bar = |row: &&RiskFigures<'_>| Bar {
        label: label(&row.figures),
        amount: amount(&row.figures),
        pct: pct(row),
        others: false,
    };
    rows.iter().map(bar).chain(others).collect()
}

/// The parts of the book's value, the largest first.
pub(crate) fn allocation(holdings: &[RiskFigures<'_>], most: usize) -> Vec<Bar> {
    let mut bars = largest(holdings, most, |f| f.value, |row| Some(row.concentration_pct));
    let total = holdings
        .iter()
        .map(|row| row.figures.value)
        .fold(Decimal::ZERO, Decimal::saturating_add);
    for bar in &mut bars {
        bar.pct = bar.pct.or_else(|| {
            let part = bar.amount.checked_mul(Decimal::ONE_HUNDRED)?;
            part.checked_div(total)
        });
    }
    bars
}

/// Gains and losses, the largest gain first, of the positions with the largest of either; the rest last.
pub(crate) fn gains(holdings: &[RiskFigures<'_>], most: usize) -> Vec<Bar> {
    let mut bars = largest(holdings, most, |f| f.pnl, |row| row.figures.pnl_pct);
    // Stable: of equal ones the symbol decides.
    bars.sort_by(|a, b| a.others.cmp(&b.others).then(b.amount.cmp(&a.amount)));
    bars
}

/// `amount` / `largest` × `whole`, at least 1 where there is something to see at all; `largest` is not negative.
pub(crate) fn length(amount: Decimal, largest: Decimal, whole: u32) -> u32 {
    if amount.is_zero() || largest.is_zero() {
        return 0;
    }
    let part = amount.abs().checked_div(largest).unwrap_or_default();
    let length = part.saturating_mul(Decimal::from(whole)).round();
    u32::try_from(length).unwrap_or(whole).clamp(1, whole)
}
