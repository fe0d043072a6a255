//! What the host offers a broker: a sink for events, and services that are asked for by name.

mod clock;
mod config;
mod log;
mod metrics;
mod sink;

use std::sync::Arc;

use abi_stable::{StableAbi, std_types::RStr};

pub use clock::HostClock;
pub use config::HostConfig;
#[cfg(feature = "tracing")]
pub(crate) use log::WeakLog;
pub use log::{HostLog, LogLevel};
pub use metrics::{HostMetrics, MetricKind};
pub use sink::EventSink;

use crate::{
    interfaces::{
        self, host_clock, host_config, host_log, host_metrics,
        host_opening::{self, HostOpeningV1},
    },
    v1::host::HostHandle,
};

/// The host's context, counted as used for as long as this lives.
pub(crate) struct HostInner(HostHandle);

// SAFETY: the host's contexts may be used from any thread; that is a part of ABI 1.
unsafe impl Send for HostInner {}
// SAFETY: as above; the table's functions may run at the same time.
unsafe impl Sync for HostInner {}

impl Drop for HostInner {
    fn drop(&mut self) {
        // SAFETY: the constructor counted this user.
        unsafe { (self.0.table.release)(self.0.context) }
    }
}

/// A service of the host's: its checked table together with the context that it works on.
struct Service<T: 'static> {
    host: Arc<HostInner>,
    table: &'static T,
}

impl<T> Clone for Service<T> {
    fn clone(&self) -> Self {
        Self {
            host: Arc::clone(&self.host),
            table: self.table,
        }
    }
}

impl<T: StableAbi> Service<T> {
    /// Asks the host; a host without it, or with another of that name, is no mistake.
    fn ask(host: &Arc<HostInner>, name: &'static str) -> Option<Self> {
        // SAFETY: the context is counted as used while `host` lives.
        let found = unsafe { (host.0.table.query)(host.0.context, RStr::from_str(name)) };
        // SAFETY: the host answers with a table of the layout that it names, which lives as long as the process.
        let table = unsafe { interfaces::checked::<T>(found.into_option()?) }?;
        Some(Self {
            host: Arc::clone(host),
            table,
        })
    }

    fn context(&self) -> *const std::ffi::c_void {
        self.host.0.context
    }
}

/// Tells the host that the failure which `open` is about to answer with may pass. An older host does not listen, and
/// takes the failure for one that stays.
pub(crate) fn tell_temporary(host: &Arc<HostInner>) {
    if let Some(opening) = Service::<HostOpeningV1>::ask(host, host_opening::NAME) {
        // SAFETY: the table was checked, and the context is counted as used while `host` lives.
        unsafe { (opening.table.is_temporary)(opening.context()) }
    }
}

/// Everything that a host of today may offer. What it lacks does nothing.
pub(crate) struct Services {
    pub(crate) host: Arc<HostInner>,
    pub(crate) log: HostLog,
    pub(crate) clock: HostClock,
    pub(crate) config: HostConfig,
    pub(crate) metrics: HostMetrics,
}

impl Services {
    /// Asks the host for its services.
    ///
    /// # Safety
    /// The handle must be alive for the length of this call.
    pub(crate) unsafe fn of(handle: HostHandle) -> Self {
        // SAFETY: the caller vouches for the handle.
        unsafe { (handle.table.retain)(handle.context) };
        let host = Arc::new(HostInner(handle));
        Self {
            log: HostLog(Service::ask(&host, host_log::NAME)),
            clock: HostClock(Service::ask(&host, host_clock::NAME)),
            config: HostConfig(Service::ask(&host, host_config::NAME)),
            metrics: HostMetrics(Service::ask(&host, host_metrics::NAME)),
            host,
        }
    }
}
