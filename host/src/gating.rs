//! What the gates of an account are set to, by its configuration and its broker.

use std::path::Path;
use std::sync::Arc;

use qt_core::{Settings, TradingSessions, UtcMillis};
use qt_market::Market;
use qt_plugin_api::manifest::Manifest;
use tracing::warn;

use crate::clock::Clock;
use crate::config::Config;
use crate::desk::broker_account;
use crate::plugin;

/// True for a broker that moves no money, by its plugin's word.
pub(crate) fn is_paper(manifest: &Manifest) -> bool {
    manifest.capabilities.iter().any(|word| word == "paper")
}

/// What decisions depend on besides the gates, as the configuration has it.
pub(crate) fn of_execution(config: &Config, account_key: String) -> Settings {
    let execution = &config.execution;
    let millis = |time: std::time::Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
    Settings {
        account_key,
        securities_account_id: config.securities_account_id.clone(),
        buy_timeout_ms: millis(execution.buy_order_timeout),
        sell_timeout_ms: millis(execution.sell_order_timeout),
        cancel_grace_ms: millis(execution.cancel_retry_grace),
        cancel_interval_ms: millis(execution.cancel_retry_interval),
        max_in_flight: execution.max_in_flight,
        unknown_snapshots: execution.unknown_snapshots,
        unknown_settle_ms: millis(execution.unknown_settle),
        chase_bps: execution.chase_bps,
        max_slippage_bps: execution.max_slippage_bps,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..Settings::default()
    }
}

/// Puts the gates into the settings, as the configuration and the kind of the broker have them.
///
/// # Errors
///
/// A sentence about the market tables that the configuration names.
pub(crate) fn set(mut settings: Settings, config: &Config, is_paper: bool) -> Result<Settings, String> {
    let account_id = broker_account(config, &config.broker);
    settings.gates = config.gates.resolve(is_paper, account_id.as_deref())?.into();
    Ok(settings)
}

/// When orders may go, for whoever only wants to know whether there is trading.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sessions {
    sessions: TradingSessions,
    /// The market's rules, where the settings bring their own.
    market: Option<Arc<Market>>,
}

impl Sessions {
    pub(crate) fn of(settings: &Settings) -> Self {
        Self {
            sessions: settings.gates.sessions.clone(),
            market: own_market(settings).map(Arc::new),
        }
    }

    /// True while orders for the broker's market may go.
    pub(crate) fn are_open(&self, now: UtcMillis) -> bool {
        let market = self.market.as_deref().unwrap_or_else(|| Market::builtin());
        self.sessions.are_open_for_all(market, now)
    }
}

fn own_market(settings: &Settings) -> Option<Market> {
    settings
        .gates
        .tables
        .as_deref()
        .and_then(|text| Market::read(text).ok())
}

/// True where the plugin that a configuration means moves no money, by its word; without the plugin caution decides, but for
/// the broker that comes with the program.
pub(crate) fn is_paper_by(config: &Config, data_dir: &Path) -> bool {
    let wanted = config.names_broker.then_some(config.broker.as_str());
    match plugin::keep(&crate::desk::search_plan(config, data_dir), wanted, data_dir) {
        Ok(found) => is_paper(found.manifest()),
        Err(_) => config.broker.eq_ignore_ascii_case(plugin::DEFAULT_BROKER),
    }
}

/// Says what the calendar lacks, where sessions go by one.
pub(crate) fn warn_of_calendar(settings: &Settings, clock: Clock) {
    let gates = &settings.gates;
    if gates.sessions == TradingSessions::Any {
        return;
    }
    let today = UtcMillis(clock.now_ms()).trading_date().civil();
    let tables = own_market(settings);
    let market = tables.as_ref().unwrap_or_else(|| Market::builtin());
    if let Some(warning) = market.calendar().warning(today) {
        warn!("{warning}");
    }
}
