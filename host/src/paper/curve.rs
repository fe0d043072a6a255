//! What the account was worth as time passed, in as many points as a picture can show.

use qt_core::UtcMillis;
use rust_decimal::Decimal;

/// More points than these are thinned out.
const MOST: usize = 1_024;

/// What the account was worth at a moment, in yuan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sample {
    /// When.
    pub(crate) at: UtcMillis,
    /// All of it.
    pub(crate) total_asset: Decimal,
    /// How far below its highest so far, in percent.
    pub(crate) drawdown_pct: Decimal,
    /// The highest so far.
    peak: Decimal,
}

impl Sample {
    fn new(at: UtcMillis, total_asset: Decimal, peak: Decimal) -> Self {
        let fallen = (peak - total_asset).saturating_mul(Decimal::ONE_HUNDRED);
        Self {
            at,
            total_asset,
            drawdown_pct: fallen.checked_div(peak).unwrap_or_default().round_dp(6),
            peak,
        }
    }
}

/// The samples, and the largest drawdown of all moments, whether they are kept or not.
#[derive(Debug, Clone, Default)]
pub(crate) struct Curve {
    samples: Vec<Sample>,
    /// Every so many moments one is kept.
    every: usize,
    seen: usize,
    peak: Decimal,
    worst: Option<Sample>,
    last: Option<Sample>,
}

impl Curve {
    /// Takes in a moment; moments come in the order of time.
    pub(crate) fn add(&mut self, at: UtcMillis, total_asset: Decimal) {
        self.peak = self.peak.max(total_asset);
        let sample = Sample::new(at, total_asset, self.peak);
        if sample.drawdown_pct > self.worst.map_or(Decimal::ZERO, |worst| worst.drawdown_pct) {
            self.worst = Some(sample);
        }
        self.every = self.every.max(1);
        if self.seen.is_multiple_of(self.every) {
            self.samples.push(sample);
        }
        self.seen += 1;
        self.last = Some(sample);
        if self.samples.len() > MOST {
            let mut keep = false;
            self.samples.retain(|_| {
                keep = !keep;
                keep
            });
            self.every *= 2;
        }
    }

    /// True before the first moment.
    pub(crate) const fn is_empty(&self) -> bool {
        self.seen == 0
    }

    /// Something that was held all the time turns out to be worth `more` than it was counted for so far: no gain and no loss.
    pub(crate) fn revalue(&mut self, more: Decimal) {
        if self.is_empty() {
            return;
        }
        self.peak = self.peak.saturating_add(more);
        let others = self.worst.iter_mut().chain(self.last.iter_mut());
        for sample in self.samples.iter_mut().chain(others) {
            let total_asset = sample.total_asset.saturating_add(more);
            *sample = Sample::new(sample.at, total_asset, sample.peak.saturating_add(more));
        }
    }

    /// The kept moments, and the last one.
    pub(crate) fn samples(&self) -> Vec<Sample> {
        let mut samples = self.samples.clone();
        if let Some(last) = self.last.filter(|last| samples.last() != Some(last)) {
            samples.push(last);
        }
        samples
    }

    /// Where it was furthest below its highest; `None` where nothing was ever lost.
    pub(crate) const fn worst(&self) -> Option<&Sample> {
        self.worst.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawdown(curve: &Curve) -> String {
        let worst = curve.worst().map(|worst| worst.drawdown_pct);
        worst.unwrap_or_default().normalize().to_string()
    }

    #[test]
    fn what_is_worth_less_from_the_start_on_has_fallen_and_a_later_price_is_no_fall() {
        let mut curve = Curve::default();
        assert!(curve.is_empty());
        curve.add(UtcMillis(0), Decimal::from(1_000));
        curve.add(UtcMillis(1), Decimal::from(900));
        assert_eq!(drawdown(&curve), "10");
        // Half of it was counted at a cost of 500 and is worth 300: 100 of 800 were lost.
        curve.revalue(Decimal::from(-200));
        assert_eq!(drawdown(&curve), "12.5");
        curve.add(UtcMillis(2), Decimal::from(700));
        assert_eq!(drawdown(&curve), "12.5");
        let shown: Vec<_> = curve.samples().iter().map(|sample| sample.total_asset).collect();
        assert_eq!(shown, [800, 700, 700].map(Decimal::from));
        curve.add(UtcMillis(3), Decimal::from(600));
        assert_eq!(drawdown(&curve), "25");
    }

    #[test]
    fn a_long_run_keeps_a_thousand_points_and_its_worst_moment() {
        let mut curve = Curve::default();
        for n in 0..100_000i64 {
            let loss = if n == 77_777 { 50 } else { 0 };
            curve.add(UtcMillis(n), Decimal::from(1_000 + n / 1_000 - loss));
        }
        let samples = curve.samples();
        assert!((512..=1_026).contains(&samples.len()), "{}", samples.len());
        assert_eq!(samples.last().unwrap().at, UtcMillis(99_999));
        let worst = curve.worst().unwrap();
        assert_eq!(
            (worst.at, worst.drawdown_pct),
            (UtcMillis(77_777), "4.642526".parse().unwrap())
        );
        assert!(samples.windows(2).all(|pair| pair[0].at < pair[1].at));
    }
}
