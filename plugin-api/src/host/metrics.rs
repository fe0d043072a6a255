//! A place for plugins' metrics until something exports them.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use super::MetricValue;
use crate::services::MetricKind;

/// Series of one registry at most: a plugin that puts order ids into labels must not eat the memory.
const MAX_SERIES: usize = 1_000;
/// Bytes of a name and its labels at most.
const MAX_KEY: usize = 512;

/// What stands in one series.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Values recorded.
    pub count: u64,
    /// All of them together; for a counter its reading.
    #[serde(with = "rust_decimal::serde::str")]
    pub sum: Decimal,
    /// The latest; for a gauge its reading.
    #[serde(with = "rust_decimal::serde::str")]
    pub last: Decimal,
    /// The smallest.
    #[serde(with = "rust_decimal::serde::str")]
    pub min: Decimal,
    /// The largest.
    #[serde(with = "rust_decimal::serde::str")]
    pub max: Decimal,
}

/// One series: a name with its labels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    series: BTreeMap<Key, Summary>,
    dropped: u64,
}

/// Name, labels and kind.
type Key = (String, String, MetricKind);

impl Kept {
    fn add(&mut self, key: Key, more: &Summary) {
        let full = self.series.len() >= MAX_SERIES && !self.series.contains_key(&key);
        if full || key.0.len() + key.1.len() > MAX_KEY {
            return self.drop_values(more.count);
        }
        let fresh = Summary {
            min: more.min,
            max: more.max,
            ..Summary::default()
        };
        let summary = self.series.entry(key).or_insert(fresh);
        let Some(sum) = summary.sum.checked_add(more.sum) else {
            return self.drop_values(more.count);
        };
        *summary = Summary {
            count: summary.count.saturating_add(more.count),
            sum,
            last: more.last,
            min: summary.min.min(more.min),
            max: summary.max.max(more.max),
        };
    }

    const fn drop_values(&mut self, count: u64) {
        self.dropped = self.dropped.saturating_add(count);
    }

    fn rows(&self) -> Vec<Series> {
        let each = self.series.iter().map(|((name, labels, kind), summary)| Series {
            kind: *kind,
            name: name.clone(),
            labels: labels.clone(),
            summary: *summary,
        });
        each.collect()
    }
}

impl MetricRegistry {
    /// Takes one value. A series beyond the bound is counted as dropped, and so is a sum beyond what a number holds.
    pub fn record(&self, metric: MetricValue<'_>) {
        let value = metric.value;
        let one = Summary {
            count: 1,
            sum: value,
            last: value,
            min: value,
            max: value,
        };
        let key = (metric.name.to_owned(), metric.labels.to_owned(), metric.kind);
        self.kept().add(key, &one);
    }

    /// Takes what another registry gave by [`MetricRegistry::take`], as if its values had been recorded here.
    pub fn add(&self, series: &Series) {
        if series.summary.count > 0 {
            let key = (series.name.clone(), series.labels.clone(), series.kind);
            self.kept().add(key, &series.summary);
        }
    }

    /// Takes note of values that found no place elsewhere.
    pub fn add_dropped(&self, values: u64) {
        self.kept().drop_values(values);
    }

    /// Every series with what came into it since the last time, and the values that found no place meanwhile; the
    /// registry is empty again.
    #[must_use]
    pub fn take(&self) -> (Vec<Series>, u64) {
        let kept = std::mem::take(&mut *self.kept());
        (kept.rows(), kept.dropped)
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every series, sorted by name.
    #[must_use]
    pub fn snapshot(&self) -> Vec<Series> {
        self.kept().rows()
    }

    /// Values that found no place.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.kept().dropped
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
    fn what_one_registry_gives_another_is_as_if_it_had_been_recorded_there() {
        let (own, other, both) = <(MetricRegistry, MetricRegistry, MetricRegistry)>::default();
        for (at, n) in [3, -1, 5, 4].into_iter().enumerate() {
            other.record(value("a", n));
            both.record(value("a", n));
            if at % 2 == 1 {
                let (series, dropped) = other.take();
                series.iter().for_each(|series| own.add(series));
                own.add_dropped(dropped);
            }
        }
        assert_eq!(own.snapshot(), both.snapshot());
        assert_eq!(other.take(), (Vec::new(), 0));
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
