//! The price cage of continuous trading, around the last known price.

use qt_market::{Phase, Price, Quotes, Side, Symbol};

use super::{Ask, Context, Verdict, defer};

/// The worst limit that continuous trading takes now and the price that it is measured against, where the cage is held to
/// and the price is known and fresh.
pub(super) fn bound(symbol: &Symbol, side: Side, context: &Context<'_>) -> Option<(Price, Price)> {
    let gates = &context.settings.gates;
    if !gates.cage {
        return None;
    }
    let today = context.now.trading_date();
    let time = context.now.since_ms(today.start());
    let window = context.market.window(symbol, today.civil(), time)?;
    let book = context.exposure.book()?;
    // An old price says nothing of where the market is now.
    if window.phase != Phase::Continuous || context.now.since_ms(book.asked_at) > gates.quote_max_age_ms {
        return None;
    }
    let holding = context.exposure.holding(symbol)?;
    let quotes = Quotes {
        last: holding.last_price,
        previous_close: holding.previous_close,
        ..Quotes::default()
    };
    let base = quotes.base(side)?;
    Some((context.market.cage(symbol, side, base, today.civil())?, base))
}

pub(super) fn outside(ask: &Ask<'_>, context: &Context<'_>) -> Option<Verdict> {
    let limit = ask.limit?;
    let side = ask.signal.side;
    let (bound, base) = bound(ask.symbol(), side, context)?;
    let outside = match side {
        Side::Buy => limit > bound,
        Side::Sell => limit < bound,
    };
    if !outside {
        return None;
    }
    let word = if side == Side::Buy { "above" } else { "below" };
    defer(
        "OUTSIDE_CAGE",
        format!("the limit of {limit} yuan is {word} {bound} yuan, the cage around {base} yuan"),
    )
}
