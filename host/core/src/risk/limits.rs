//! The day's price limits, where the previous close is known.

use qt_market::{Listing, Price, PriceLimits, Symbol};

use super::{Ask, Context, Verdict, deny};

/// The day's limits and the close that they come from, where they are held to and known.
pub(super) fn of_day(symbol: &Symbol, context: &Context<'_>) -> Option<(PriceLimits, Price)> {
    if !context.settings.gates.market_rules {
        return None;
    }
    let holding = context.exposure.holding(symbol)?;
    let close = holding.previous_close?;
    let listing = Listing {
        special_treatment: holding.special_treatment,
        trading_day: holding.trading_day,
        ..Listing::default()
    };
    let day = context.now.trading_date().civil();
    let limits = context.market.price_limits(symbol, close, listing, day)?;
    Some((limits, close))
}

pub(super) fn outside(ask: &Ask<'_>, context: &Context<'_>) -> Option<Verdict> {
    let limit = ask.limit?;
    let (limits, close) = of_day(ask.symbol(), context)?;
    if limits.contains(limit) {
        return None;
    }
    let reason = format!(
        "the limit of {limit} yuan is outside of {} to {} yuan, the day's limits of {} from its close of {close}",
        limits.lower,
        limits.upper,
        ask.symbol()
    );
    deny("OUTSIDE_PRICE_LIMITS", reason)
}
