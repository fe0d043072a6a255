//! A place for plugins' metrics until something exports them.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use rust_decimal::Decimal;

use super::MetricValue;
use crate::services::MetricKind;

/// Series of one registry at most: a plugin that puts order ids into labels must not eat the memory.
const MAX_SERIES: usize = 1_000;
/// Bytes of a name and its labels at most.
const MAX_KEY: usize = 512;

/// What stands in one series.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Values recorded.
    pub count: u64,
    /// All of them together; for a counter its reading.
    pub sum: Decimal,
    /// The latest; for a gauge its reading.
    pub last: Decimal,
    /// The smallest.
    pub min: Decimal,
    /// The largest.
    pub max: Decimal,
}

/// One series: a name with its labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Series {
    /// How it behaves.
    pub kind: MetricKind,
    /// What is counted, and in which unit.
    pub name: String,
    /// A JSON object of strings, or empty.
    pub labels: String,
    /// What stands in it.
    pub summary: Summary,
}

/// Keeps the latest state of every series, at most a thousand of them.
#[derive(Debug, Default)]
pub struct MetricRegistry(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    series: BTreeMap<(String, String, MetricKind), Summary>,
    dropped: u64,
}

impl MetricRegistry {
    /// Takes one value. A series beyond the bound is counted as dropped, and so is a sum beyond what a number holds.
    pub fn record(&self, metric: MetricValue<'_>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (metric.name.to_owned(), metric.labels.to_owned(), metric.kind);
        let full = kept.series.len() >= MAX_SERIES && !kept.series.contains_key(&key);
        if full || metric.name.len() + metric.labels.len() > MAX_KEY {
            kept.dropped = kept.dropped.saturating_add(1);
            return;
        }
        let value = metric.value;
        let fresh = Summary {
            min: value,
            max: value,
            ..Summary::default()
        };
        let summary = kept.series.entry(key).or_insert(fresh);
        let Some(sum) = summary.sum.checked_add(value) else {
            kept.dropped = kept.dropped.saturating_add(1);
            return;
        };
        *summary = Summary {
            count: summary.count.saturating_add(1),
            sum,
            last: value,
            min: summary.min.min(value),
            max: summary.max.max(value),
        };
    }

    /// Every series, sorted by name.
    #[must_use]
    pub fn snapshot(&self) -> Vec<Series> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let each = kept.series.iter().map(|((name, labels, kind), summary)| Series {
            kind: *kind,
            name: name.clone(),
            labels: labels.clone(),
            summary: *summary,
        });
        each.collect()
    }

    /// Values that found no place.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(name: &str, value: i64) -> MetricValue<'_> {
        MetricValue {
            kind: MetricKind::Counter,
            name,
            labels: "",
            value: Decimal::from(value),
        }
    }

    #[test]
    fn a_series_sums_what_it_gets() {
        let registry = MetricRegistry::default();
        for n in [3, -1, 5] {
            registry.record(value("a", n));
        }
        let [series] = &registry.snapshot()[..] else {
            panic!("one series")
        };
        let figures = [
            series.summary.sum,
            series.summary.last,
            series.summary.min,
            series.summary.max,
        ];
        assert_eq!(figures, [7, 5, -1, 5].map(Decimal::from));
        assert_eq!(series.summary.count, 3);
    }

    #[test]
    fn series_without_end_do_not_eat_the_memory() {
        let registry = MetricRegistry::default();
        for n in 0..MAX_SERIES + 7 {
            registry.record(value(&format!("order_{n}"), 1));
        }
        registry.record(value(&"x".repeat(MAX_KEY + 1), 1));
        registry.record(value("order_0", 1));
        assert_eq!((registry.snapshot().len(), registry.dropped()), (MAX_SERIES, 8));
    }

    #[test]
    fn a_sum_beyond_all_numbers_is_no_panic() {
        let registry = MetricRegistry::default();
        for _ in 0..2 {
            registry.record(MetricValue {
                value: Decimal::MAX,
                ..value("a", 0)
            });
        }
        assert_eq!(registry.dropped(), 1);
    }
}
