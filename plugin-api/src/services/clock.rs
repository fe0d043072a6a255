//! The host's clock.

use super::Service;
use crate::interfaces::host_clock::HostClockV1;

/// The host's clock, which a test may hold still.
#[derive(Clone)]
pub struct HostClock(pub(super) Option<Service<HostClockV1>>);

impl HostClock {
    /// Milliseconds since 1970 UTC; the system's clock where the host offers none.
    #[must_use]
    pub fn now_ms(&self) -> i64 {
        if let Some(service) = &self.0 {
            // SAFETY: the table was checked, and the context is alive while the service is.
            return unsafe { (service.table.now_ms)(service.context()) };
        }
        let since = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    }
}
