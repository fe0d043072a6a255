//! How risky each position is, as the specification scores it.

use rust_decimal::Decimal;

use super::exact::At;
use super::{PortfolioError, PositionFigures, PriceSource, Valuation};

/// Score of a position that is too large a part of the book.
const CONCENTRATION_SCORE: u32 = 30;
/// Score of a position that lost too much.
const DRAWDOWN_SCORE: u32 = 40;
/// Score of a position of which too much cannot be sold now.
const LIQUIDITY_SCORE: u32 = 30;
/// No score is higher.
const HIGHEST_SCORE: u32 = 100;

/// What counts as too much, each in percent; only more than it scores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RiskThresholds {
    /// Part of the book's value.
    pub concentration_pct: Decimal,
    /// Loss against the cost.
    pub drawdown_pct: Decimal,
    /// Part of the holding that cannot be sold now.
    pub unsellable_pct: Decimal,
}

impl Default for RiskThresholds {
    fn default() -> Self {
        Self {
            concentration_pct: Decimal::from_parts(30, 0, 0, false, 0),
            drawdown_pct: Decimal::ONE,
            unsellable_pct: Decimal::from_parts(20, 0, 0, false, 0),
        }
    }
}

/// What a score means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RiskLevel {
    /// 0 to 30.
    Low,
    /// 31 to 60: consider rebalancing.
    Medium,
    /// 61 to 100: act now.
    High,
}

impl RiskLevel {
    /// The level of a score.
    #[must_use]
    pub const fn of(score: u32) -> Self {
        match score {
            0..=30 => Self::Low,
            31..=60 => Self::Medium,
            _ => Self::High,
        }
    }

    /// The word in files and on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }
}

/// The risk of one position. Percentages in percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RiskFigures<'a> {
    /// The position and its figures.
    pub figures: PositionFigures<'a>,
    /// Its part of the book's value; 0 where the book is worth nothing.
    pub concentration_pct: Decimal,
    /// Its loss against the cost a share; 0 where there is a gain, no price, or no cost to lose.
    pub drawdown_pct: Decimal,
    /// The part of the holding that cannot be sold now; 0 where nothing is held.
    pub liquidity_pct: Decimal,
    /// 0 to 100.
    pub score: u32,
    /// What the score means.
    pub level: RiskLevel,
}

impl<'a> RiskFigures<'a> {
    /// The risk of one position of a book that is worth `total_value` yuan.
    ///
    /// # Errors
    /// A figure that no decimal holds; the message names the symbol.
    pub fn of(
        figures: PositionFigures<'a>,
        total_value: Decimal,
        thresholds: &RiskThresholds,
    ) -> Result<Self, PortfolioError> {
        let position = figures.position;
        let symbol = position.symbol;
        let concentration_pct = if total_value > Decimal::ZERO {
            At(symbol, "the concentration").percent(figures.value, total_value)?
        } else {
            Decimal::ZERO
        };
        let lost = position.avg_cost > Decimal::ZERO
            && position.total > 0
            && figures.source != PriceSource::Cost
            && figures.price < position.avg_cost;
        let drawdown_pct = if lost {
            At(symbol, "the drawdown").percent(position.avg_cost - figures.price, position.avg_cost)?
        } else {
            Decimal::ZERO
        };
        // A broker may show more as sellable than is held, or less than nothing, between two updates.
        let unsellable = position.total - position.sellable.clamp(0, position.total);
        let liquidity_pct = if position.total > 0 {
            At(symbol, "the liquidity risk")
                .percent(Decimal::from(unsellable), Decimal::from(position.total))?
        } else {
            Decimal::ZERO
        };
        let points = |risk: Decimal, threshold: Decimal, score: u32| if risk > threshold { score } else { 0 };
        let score = (points(
            concentration_pct,
            thresholds.concentration_pct,
            CONCENTRATION_SCORE,
        ) + points(drawdown_pct, thresholds.drawdown_pct, DRAWDOWN_SCORE)
            + points(liquidity_pct, thresholds.unsellable_pct, LIQUIDITY_SCORE))
        .min(HIGHEST_SCORE);
        Ok(Self {
            figures,
            concentration_pct,
            drawdown_pct,
            liquidity_pct,
            score,
            level: RiskLevel::of(score),
        })
    }
}

/// The risk of each position, in the book's order.
///
/// # Errors
/// A figure that no decimal holds; the message names the symbol.
pub fn assess<'a>(
    valuation: &Valuation<'a>,
    thresholds: &RiskThresholds,
) -> Result<Vec<RiskFigures<'a>>, PortfolioError> {
    valuation
        .positions
        .iter()
        .map(|figures| RiskFigures::of(*figures, valuation.totals.value, thresholds))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{d, example, position};
    use super::super::{round2, value};
    use super::*;

    #[test]
    fn the_specifications_holdings_have_its_scores() {
        let book = example();
        let risks = assess(&value(&book).unwrap(), &RiskThresholds::default()).unwrap();
        let shown: Vec<_> = risks
            .iter()
            .map(|r| {
                let [c, d, l] =
                    [r.concentration_pct, r.drawdown_pct, r.liquidity_pct].map(|f| round2(f).to_string());
                format!("{c} {d} {l} {} {}", r.score, r.level.as_str())
            })
            .collect();
        assert_eq!(
            shown,
            [
                "17.01 0.00 0.00 0 low",
                "7.38 1.32 0.00 40 medium",
                "75.61 0.00 0.00 30 low"
            ]
        );
    }

    #[test]
    fn only_more_than_the_threshold_scores_and_all_together_are_a_hundred() {
        let mut worst = position("600519.SH", 1000, "100", Some("98"));
        worst.sellable = 0;
        fn score(book: &[crate::portfolio::Position]) -> RiskFigures<'_> {
            assess(&value(book).unwrap(), &RiskThresholds::default()).unwrap()[0]
        }
        assert_eq!(
            (score(&[worst.clone()]).score, score(&[worst]).level),
            (100, RiskLevel::High)
        );

        let mut edge = position("600519.SH", 1000, "100", Some("99"));
        edge.sellable = 800;
        let rest = position("000858.SZ", 1000, "231", Some("231"));
        let book = [edge.clone(), rest];
        let at_edge = score(&book);
        assert_eq!(at_edge.concentration_pct, d("30"));
        assert_eq!((at_edge.drawdown_pct, at_edge.liquidity_pct), (d("1"), d("20")));
        assert_eq!(at_edge.score, 0);
        edge.sellable = 799;
        assert_eq!(score(&[edge]).score, 30 + 30);
        assert_eq!(RiskLevel::of(60), RiskLevel::Medium);
        assert_eq!(RiskLevel::of(61), RiskLevel::High);
    }

    #[test]
    fn odd_holdings_have_no_made_up_risk() {
        let mut more_sellable = position("600519.SH", 100, "10", None);
        more_sellable.sellable = 200;
        let book = [
            position("600519.SH", 0, "10", Some("5")),
            position("600519.SH", 100, "-10", Some("5")),
            more_sellable,
        ];
        let risks = assess(&value(&book).unwrap(), &RiskThresholds::default()).unwrap();
        for risk in &risks {
            assert_eq!(
                (risk.drawdown_pct, risk.liquidity_pct),
                (Decimal::ZERO, Decimal::ZERO)
            );
        }
        let nothing = [position("600519.SH", 0, "10", Some("5"))];
        let risk = assess(&value(&nothing).unwrap(), &RiskThresholds::default()).unwrap()[0];
        assert_eq!((risk.concentration_pct, risk.score), (Decimal::ZERO, 0));
    }
}
