//! What the gates of an account are set to, by its configuration and its broker.

use qt_core::{Settings, TradingSessions, UtcMillis};
use qt_market::{Market, Phase, Symbol};
use qt_plugin_api::manifest::Manifest;
use tracing::warn;

use crate::clock::Clock;
use crate::config::Config;
use crate::desk::broker_account;

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

/// True while orders for the broker's market may go, as these sessions have it. The main board stands for the market.
pub(crate) fn in_session(sessions: &TradingSessions, now: UtcMillis) -> bool {
    let market = Market::builtin();
    let day = now.trading_date();
    let (date, time) = (day.civil(), now.since_ms(day.start()));
    match sessions {
        TradingSessions::Any => true,
        TradingSessions::CnA => "000001.SZ".parse::<Symbol>().is_ok_and(|symbol| {
            market
                .window(&symbol, date, time)
                .is_some_and(|window| window.phase != Phase::AfterHours)
        }),
        TradingSessions::Windows(windows) => {
            market.calendar().is_trading_day(date)
                && windows.iter().any(|(from, to)| *from <= time && time < *to)
        }
    }
}

/// Says what the calendar lacks, where sessions go by one.
pub(crate) fn warn_of_calendar(settings: &Settings, clock: Clock) {
    let gates = &settings.gates;
    if gates.sessions == TradingSessions::Any {
        return;
    }
    let today = UtcMillis(clock.now_ms()).trading_date().civil();
    let tables = gates.tables.as_deref().and_then(|text| Market::read(text).ok());
    let market = tables.as_ref().unwrap_or_else(|| Market::builtin());
    if let Some(warning) = market.calendar().warning(today) {
        warn!("{warning}");
    }
}
