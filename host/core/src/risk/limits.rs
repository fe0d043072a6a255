//! The day's price limits, where the previous close is known.

use qt_market::Listing;

use super::{Ask, Context, Verdict, deny};

pub(super) fn outside(ask: &Ask<'_>, context: &Context<'_>) -> Option<Verdict> {
    if !context.settings.gates.market_rules {
        return None;
    }
    let limit = ask.limit?;
    let holding = context.exposure.holding(ask.symbol())?;
    let close = holding.previous_close?;
    let listing = Listing {
        special_treatment: holding.special_treatment,
        trading_day: holding.trading_day,
        ..Listing::default()
    };
    let day = context.now.trading_date().civil();
    let limits = context.market.price_limits(ask.symbol(), close, listing, day)?;
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
