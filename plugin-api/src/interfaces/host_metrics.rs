//! `host.metrics/1`: numbers that the host keeps for whoever watches it.

use std::ffi::c_void;

use abi_stable::{StableAbi, std_types::RStr};

use crate::v1::money::RMoney;

/// Name of [`HostMetricsV1`].
pub const NAME: &str = "host.metrics/1";

/// What the numbers of a metric's kind mean.
pub mod kind {
    /// Only grows; the value is added.
    pub const COUNTER: u8 = 1;
    /// Goes up and down; the value replaces the last.
    pub const GAUGE: u8 = 2;
    /// Is spread; the value is one sample.
    pub const HISTOGRAM: u8 = 3;
}

/// Metrics by name.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(tag = abi_stable::tag!("host.metrics/1: kind 1=counter 2=gauge 3=histogram"))]
pub struct HostMetricsV1 {
    /// Records one value. `labels` is a JSON object of strings, or empty.
    pub record: unsafe extern "C" fn(
        context: *const c_void,
        kind: u8,
        name: RStr<'_>,
        labels: RStr<'_>,
        value: RMoney,
    ),
}
