//! The equity curve from one snapshot a day, and how far it fell from its peak.
//!
//! A transfer is no gain and no loss: where the day's P&L is known, it alone moves the curve. The
//! curve is an index that starts at 1, as returns of days with other assets cannot be summed up.

use rust_decimal::Decimal;

use super::exact::{HUNDRED, PLACES};
use crate::time::TradingDate;

/// What an account was worth at the end of a day, in yuan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EquityPoint {
    /// The day in Shanghai.
    pub day: TradingDate,
    /// All that the account is worth.
    pub total_asset: Decimal,
    /// What the holdings are worth, a part of it.
    pub market_value: Decimal,
    /// What the day earned, transfers apart; `None` where that is not known.
    pub day_pnl: Option<Decimal>,
    /// What the shares held overnight were worth at the previous close; `None` where that is not known. Where it is what
    /// the holdings of the snapshot before were worth, nothing was traded between the two days.
    pub opening_value: Option<Decimal>,
}

/// A point of the curve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CurvePoint {
    /// The snapshot.
    pub point: EquityPoint,
    /// What one yuan of the first day has become, to ten places.
    pub index: Decimal,
    /// How far the index is below its highest so far, in percent of that; never below 0.
    pub drawdown_pct: Decimal,
}

/// The curve, oldest day first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EquityCurve {
    /// One point a day.
    pub points: Vec<CurvePoint>,
}

impl EquityCurve {
    /// The point of the largest drawdown, the first of them; `None` where nothing was ever lost.
    #[must_use]
    pub fn worst(&self) -> Option<&CurvePoint> {
        let mut worst: Option<&CurvePoint> = None;
        for point in &self.points {
            if point.drawdown_pct > worst.map_or(Decimal::ZERO, |w| w.drawdown_pct) {
                worst = Some(point);
            }
        }
        worst
    }
}

/// Why there is no curve.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EquityError {
    /// A figure that no decimal holds.
    #[error(
        "{day}: the equity curve is too large to be worked out: check the snapshot's total assets ({total_asset})"
    )]
    TooLarge {
        /// The snapshot.
        day: TradingDate,
        /// Its assets.
        total_asset: Decimal,
    },
    /// Two snapshots of one day, or days out of order.
    #[error("{day}: the snapshots are not in the order of their days, one a day")]
    Order {
        /// The day that is out of order.
        day: TradingDate,
    },
}

/// The curve of `points`, which are one a day and in order.
///
/// A day moves the index by its own P&L over what was there before it (so that transfers do not
/// count) where that P&L is known and no trading day is missing before it: the point before is of the
/// weekday before, or its holdings were worth what this day opened with, as after a holiday. After
/// any other gap, and where the P&L is not known, the change of the total assets is all there is to
/// go by, transfers included. A snapshot whose market value and P&L repeat those of the one before
/// is of a day without trading, on which brokers still show the figures of the last one: it moves
/// nothing.
///
/// # Errors
/// Days out of order, or a figure that no decimal holds.
pub fn equity_curve(points: &[EquityPoint]) -> Result<EquityCurve, EquityError> {
    let mut curve = EquityCurve::default();
    let (mut index, mut peak) = (Decimal::ONE, Decimal::ONE);
    let mut before: Option<&EquityPoint> = None;
    for point in points {
        let too_large = || EquityError::TooLarge {
            day: point.day,
            total_asset: point.total_asset,
        };
        if let Some(before) = before {
            if before.day >= point.day {
                return Err(EquityError::Order { day: point.day });
            }
            if let Some((end, start)) = growth(before, point).ok_or_else(too_large)? {
                index = index
                    .checked_mul(end)
                    .and_then(|product| product.checked_div(start))
                    .ok_or_else(too_large)?
                    .round_dp(PLACES);
            }
        }
        peak = peak.max(index);
        // The peak is never below the 1 that the curve starts with.
        let drawdown_pct = (peak - index)
            .checked_mul(HUNDRED)
            .and_then(|part| part.checked_div(peak))
            .ok_or_else(too_large)?;
        curve.points.push(CurvePoint {
            point: *point,
            index,
            drawdown_pct,
        });
        before = Some(point);
    }
    Ok(curve)
}

/// What the assets were at the end and at the start of what moves the index, or nothing where it
/// stays. The outer `None` is a figure that no decimal holds.
#[expect(
    clippy::option_option,
    reason = "one says that it failed, the other that nothing moved"
)]
fn growth(before: &EquityPoint, point: &EquityPoint) -> Option<Option<(Decimal, Decimal)>> {
    if point.day_pnl.is_some() && before.day_pnl == point.day_pnl && before.market_value == point.market_value
    {
        return Some(None);
    }
    if let Some(pnl) = point.day_pnl
        && (next_weekday(before.day) >= point.day || point.opening_value == Some(before.market_value))
    {
        let start = point.total_asset.checked_sub(pnl)?;
        return Some((start > Decimal::ZERO).then_some((point.total_asset.max(Decimal::ZERO), start)));
    }
    // An account that was empty, or in debt, grows by no percentage.
    let start = before.total_asset;
    Some((start > Decimal::ZERO).then_some((point.total_asset.max(Decimal::ZERO), start)))
}

/// The weekday after `day`. Day 0, 1970-01-01, was a Thursday.
const fn next_weekday(day: TradingDate) -> TradingDate {
    TradingDate(day.0.saturating_add(match day.weekday() {
        4 => 3,
        5 => 2,
        _ => 1,
    }))
}

#[cfg(test)]
mod tests {
    use super::super::tests::d;
    use super::*;
    use proptest::prelude::*;

    /// A Monday.
    const MONDAY: i64 = 20_780;

    fn point(day: i64, total: &str, market: &str, pnl: Option<&str>) -> EquityPoint {
        EquityPoint {
            day: TradingDate(MONDAY + day),
            total_asset: d(total),
            market_value: d(market),
            day_pnl: pnl.map(d),
            opening_value: None,
        }
    }

    fn shown(points: &[EquityPoint]) -> Vec<(String, String)> {
        equity_curve(points)
            .unwrap()
            .points
            .iter()
            .map(|p| {
                (
                    p.index.normalize().to_string(),
                    p.drawdown_pct.round_dp(4).normalize().to_string(),
                )
            })
            .collect()
    }

    fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
        expected
            .iter()
            .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))
            .collect()
    }

    #[test]
    fn the_curve_falls_from_its_peak_and_climbs_back() {
        let points = [
            point(0, "100000", "50000", Some("0")),
            point(1, "110000", "60000", Some("10000")),
            point(2, "99000", "49000", Some("-11000")),
            point(3, "104500", "54500", Some("5500")),
            point(4, "110000", "60000", None),
            // Friday to Monday is one step: what came in between does not count.
            point(7, "176000", "76000", Some("16000")),
        ];
        assert_eq!(
            shown(&points),
            pairs(&[
                ("1", "0"),
                ("1.1", "0"),
                ("0.99", "10"),
                ("1.045", "5"),
                ("1.1", "0"),
                ("1.21", "0")
            ])
        );
        let curve = equity_curve(&points).unwrap();
        assert_eq!(curve.worst().unwrap().point.day, TradingDate(MONDAY + 2));
        assert_eq!(equity_curve(&[]).unwrap(), EquityCurve::default());
        assert_eq!(equity_curve(&points[..1]).unwrap().worst(), None);
    }

    #[test]
    fn a_withdrawal_is_no_loss_and_a_holiday_earns_nothing_twice() {
        let points = [
            point(0, "100000", "50000", Some("1000")),
            // Half of it is taken out, and the day earns 10 % of what stays.
            point(1, "55000", "55000", Some("5000")),
            // A holiday: the broker repeats yesterday's figures, and money comes in.
            point(2, "155000", "55000", Some("5000")),
            // The day's P&L is not known: the change of the assets counts.
            point(3, "139500", "39500", None),
            // A gap: what happened in it is seen from the assets alone.
            point(9, "153450", "53450", Some("1")),
        ];
        assert_eq!(
            shown(&points),
            pairs(&[
                ("1", "0"),
                ("1.1", "0"),
                ("1.1", "0"),
                ("0.99", "10"),
                ("1.089", "1")
            ])
        );
    }

    #[test]
    fn a_transfer_during_a_holiday_is_no_gain() {
        let opened = |point: EquityPoint, opening: &str| EquityPoint {
            opening_value: Some(d(opening)),
            ..point
        };
        let before = point(0, "100000", "50000", Some("1000"));
        for (after, index) in [
            // 100000 came in over a week without trading: the 2 % of the first day after it are all that counts.
            (
                opened(point(7, "204000", "54000", Some("4000")), "50000.00"),
                "1.02",
            ),
            // Half was taken out.
            (opened(point(7, "51000", "51000", Some("1000")), "50000"), "1.02"),
            // The holdings were worth something else at the close before: there were days that nobody saw.
            (opened(point(7, "204000", "54000", Some("4000")), "50001"), "2.04"),
            (point(7, "204000", "54000", Some("4000")), "2.04"),
            // A snapshot of a holiday within the gap shows the last trading day again, and money came in.
            (opened(point(2, "200000", "50000", Some("1000")), "49000"), "1"),
        ] {
            assert_eq!(shown(&[before, after])[1].0, index, "{after:?}");
        }
        // Cash alone earns nothing, whatever comes in.
        let cash = [
            point(0, "100", "0", Some("0")),
            opened(point(9, "300", "0", Some("0")), "0"),
        ];
        assert_eq!(shown(&cash)[1].0, "1");
    }

    #[test]
    fn empty_and_ruined_accounts_have_a_curve_too() {
        let points = [
            point(0, "0", "0", Some("0")),
            point(1, "100", "0", None),
            point(2, "-5", "0", None),
            point(3, "10", "0", None),
            point(4, "10", "5", Some("10")),
        ];
        assert_eq!(
            shown(&points),
            pairs(&[("1", "0"), ("1", "0"), ("0", "100"), ("0", "100"), ("0", "100")])
        );
    }

    #[test]
    fn days_out_of_order_and_absurd_assets_are_refused_by_day() {
        let twice = [point(0, "1", "0", None), point(0, "1", "0", None)];
        let error = equity_curve(&twice).unwrap_err();
        assert!(error.to_string().starts_with("2026-11-23: "), "{error}");
        let max = Decimal::MAX.to_string();
        let absurd = [
            point(0, "1", "0", None),
            point(1, &max, "0", None),
            point(2, &max, "0", Some(&format!("-{max}"))),
        ];
        assert!(matches!(
            equity_curve(&absurd).unwrap_err(),
            EquityError::TooLarge { .. }
        ));
    }

    proptest! {
        #[test]
        fn transfers_never_move_the_curve(
            days in proptest::collection::vec((-500i64..500, -50_000i64..50_000), 1..40),
        ) {
            // Beside the account with transfers stands one that is never touched: returns of both are the same.
            let (mut assets, mut apart) = (d("1000000"), d("1000000"));
            let mut points = vec![point(0, "1000000", "0", Some("0"))];
            let mut untouched = points.clone();
            let mut day = TradingDate(MONDAY);
            for (step, (bps, transfer)) in (1..).zip(days) {
                day = next_weekday(day);
                let start = (assets + Decimal::from(transfer)).max(Decimal::ONE);
                let pnl = start * Decimal::new(bps, 4);
                assets = (start + pnl).round_dp(8);
                apart = (apart + apart * Decimal::new(bps, 4)).round_dp(8);
                // Every day has another market value: none is a holiday.
                let market_value = Decimal::from(step);
                points.push(EquityPoint { day, total_asset: assets, market_value, day_pnl: Some(assets - start), opening_value: None });
                untouched.push(EquityPoint { day, total_asset: apart, market_value, day_pnl: None, opening_value: None });
            }
            let (with, without) = (equity_curve(&points).unwrap(), equity_curve(&untouched).unwrap());
            for (a, b) in with.points.iter().zip(&without.points) {
                prop_assert!((a.index - b.index).abs() < d("0.00001"), "{} {}", a.index, b.index);
                prop_assert!(a.drawdown_pct >= Decimal::ZERO && a.drawdown_pct <= HUNDRED);
            }
            let highest = with.points.iter().map(|p| p.index).max().unwrap();
            let top = with.points.iter().find(|p| p.index == highest).unwrap();
            prop_assert_eq!(top.drawdown_pct, Decimal::ZERO);
        }
    }
}
