//! Trading: configuration, log and signals in place, then the loop.

use super::{Failure, Options};
use crate::config::Purpose;
use crate::{system, telemetry};

/// Trades until a signal asks for the end, or for one round.
pub fn run(options: &Options, _once: bool) -> Result<(), Failure> {
    let loaded = crate::config::load(&options.sources(), Purpose::Trade)?;
    let config = loaded.config;
    let _log = telemetry::init(config.log_level, &config.data_dir()?.join("logs"))?;
    for warning in &loaded.warnings {
        tracing::warn!(target: telemetry::QUANT_TRADER, "{warning}");
    }
    let (_sender, _shutdown) =
        system::shutdown().map_err(|error| Failure::failed(format!("cannot watch for Ctrl-C: {error}")))?;
    let (url, _token) = config.backend()?;
    Err(Failure::failed(format!(
        "this build has no trading engine, so {url} was not asked for signals"
    )))
}
