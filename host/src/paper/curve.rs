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
        let fallen = (self.peak - total_asset).saturating_mul(Decimal::ONE_HUNDRED);
        let sample = Sample {
            at,
            total_asset,
            drawdown_pct: fallen.checked_div(self.peak).unwrap_or_default().round_dp(6),
        };
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
