//! Numbers that the host keeps for whoever watches it.

use abi_stable::std_types::RStr;
use rust_decimal::Decimal;
use serde_json::{Map, Value};

use super::Service;
use crate::{
    convert,
    interfaces::host_metrics::{HostMetricsV1, kind},
};

/// How a metric behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub enum MetricKind {
    /// Only grows; a value is added.
    Counter,
    /// Goes up and down; a value replaces the last.
    Gauge,
    /// Is spread; a value is one sample.
    Histogram,
}

impl MetricKind {
    fn code(self) -> u8 {
        match self {
            Self::Counter => kind::COUNTER,
            Self::Gauge => kind::GAUGE,
            Self::Histogram => kind::HISTOGRAM,
        }
    }

    #[cfg_attr(not(feature = "host"), allow(dead_code))]
    pub(crate) fn from_code(code: u8) -> Option<Self> {
        match code {
            kind::COUNTER => Some(Self::Counter),
            kind::GAUGE => Some(Self::Gauge),
            kind::HISTOGRAM => Some(Self::Histogram),
            _ => None,
        }
    }
}

/// The host's metrics. Without them (an older host, a test) numbers go nowhere.
///
/// A name says what is counted and in which unit, `requests_total`, `answer_ms`. Labels have few values each: an order's id
/// is none, and neither is an account's number.
#[derive(Clone)]
pub struct HostMetrics(pub(super) Option<Service<HostMetricsV1>>);

impl HostMetrics {
    /// Adds to what only grows.
    pub fn count(&self, name: &str, add: u64) {
        self.record(MetricKind::Counter, name, &[], Decimal::from(add));
    }

    /// Sets what goes up and down.
    pub fn gauge(&self, name: &str, value: impl Into<Decimal>) {
        self.record(MetricKind::Gauge, name, &[], value.into());
    }

    /// Adds a sample of what is spread, such as a duration in milliseconds.
    pub fn observe(&self, name: &str, value: impl Into<Decimal>) {
        self.record(MetricKind::Histogram, name, &[], value.into());
    }

    /// Records one value under labels.
    pub fn record(&self, kind: MetricKind, name: &str, labels: &[(&str, &str)], value: Decimal) {
        let Some(service) = &self.0 else { return };
        let labels = if labels.is_empty() {
            String::new()
        } else {
            let pairs = labels.iter().map(|(k, v)| ((*k).to_owned(), Value::from(*v)));
            Value::Object(pairs.collect::<Map<_, _>>()).to_string()
        };
        let (name, labels) = (RStr::from_str(name), RStr::from_str(&labels));
        // SAFETY: the table was checked, and the context is alive while the service is.
        unsafe {
            (service.table.record)(
                service.context(),
                kind.code(),
                name,
                labels,
                convert::money_out(value),
            );
        }
    }
}
