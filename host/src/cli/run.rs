//! Trading: configuration, log and signals in place, then the loop.

use super::{Failure, Options};
use crate::app::{AppError, Way};
use crate::config::Purpose;
use crate::kept::Kept;
use crate::secrets::NoToken;
use crate::{system, telemetry};

/// Trades until a signal asks for the end, or for one round.
pub fn run(
    options: &Options,
    once: bool,
    metrics: Option<String>,
    kept_by: Option<&str>,
) -> Result<(), Failure> {
    crate::failpoint::arm();
    let mut sources = options.sources();
    sources.flags.metrics = metrics;
    let loaded = crate::config::load(&sources, Purpose::Trade)?;
    let config = loaded.config;
    crate::secrets::note_variables(&config);
    let _log = telemetry::init(
        config.log_level,
        config.log_format,
        &config.home_dir()?.join("logs"),
    )?;
    for warning in &loaded.warnings {
        tracing::warn!(target: telemetry::QUANT_TRADER, "{warning}");
    }
    let (asks, end) =
        system::shutdown().map_err(|error| Failure::failed(format!("cannot watch for Ctrl-C: {error}")))?;
    let kept = kept_by.map(Kept::by);
    let way = Way {
        once,
        kept: kept.clone(),
    };
    let result = crate::app::run(&config, way, &asks, end.clone()).map_err(|error| {
        tracing::error!(target: telemetry::QUANT_TRADER, critical = true, "{error}");
        Failure::from(error)
    });
    // One that had not come to trade, or that was stopped while it ended by itself.
    if let Some(kept) = kept {
        kept.stay_ended(end.cause());
    }
    result
}

impl From<NoToken> for Failure {
    fn from(error: NoToken) -> Self {
        match error {
            NoToken::Wrong(why) => Self::usage(why),
            NoToken::NotNow(_) => Self::failed(error.to_string()),
        }
    }
}

impl From<AppError> for Failure {
    fn from(error: AppError) -> Self {
        let message = error.to_string();
        match error {
            // The code says what is the matter, the words which account it is with.
            AppError::OfAccount { source, .. } => Self {
                message,
                ..Self::from(*source)
            },
            AppError::Setting(_) | AppError::Backend(_) | AppError::Folder(_) => Self::usage(message),
            AppError::Plugin(plugin) => plugin.into(),
            AppError::Refused(_) => Self::plugin(message),
            AppError::Journal(journal) => journal.into(),
            AppError::LeftBehind { .. } => Self::left_behind(message),
            AppError::NotNow(_)
            | AppError::Lease(_)
            | AppError::Open { .. }
            | AppError::NoRound { .. }
            | AppError::Panicked(_)
            | AppError::EnginesEnded
            | AppError::Threads(_) => Self::failed(message),
        }
    }
}
