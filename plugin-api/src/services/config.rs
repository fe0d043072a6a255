//! The plugin's configuration block as it stands now.

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::Service;
use crate::{interfaces::host_config::HostConfigV1, v1::codes::call, values::CallError};

/// The plugin's own block of the configuration, to be read again while running: a user may have changed it.
#[derive(Clone)]
pub struct HostConfig(pub(super) Option<Service<HostConfigV1>>);

impl HostConfig {
    /// The block as it stands now.
    ///
    /// # Errors
    /// When the host offers no such service, or cannot read its configuration; what `open` got stays in force then.
    pub fn read(&self) -> Result<Value, CallError> {
        let Some(service) = &self.0 else {
            return Err(CallError::new(
                "this host does not let plugins read their configuration again",
            ));
        };
        // SAFETY: the table was checked, and the context is alive while the service is.
        let block = unsafe { (service.table.read)(service.context()) };
        if block.code != call::OK {
            return Err(CallError::new(block.error.into_string()));
        }
        serde_json::from_str(block.text.as_str())
            .map_err(|e| CallError::new(format!("the plugin's configuration block is not JSON: {e}")))
    }

    /// The block as it stands now, as a type of the author's.
    ///
    /// # Errors
    /// As [`read`](Self::read), or which key does not fit the type.
    pub fn read_as<T: DeserializeOwned>(&self) -> Result<T, CallError> {
        crate::block::read(&self.read()?).map_err(CallError::new)
    }
}
