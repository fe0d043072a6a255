//! The protected limit: how far the price may run before we no longer want the trade.

use qt_market::{Price, Side, Toward, round_to_tick};
use rust_decimal::Decimal;

use super::{Context, Refusal, Verdict, cage, limits};
use crate::signal::Signal;

/// Works out the limit that is sent, rounded to the tick against the trader: a purchase down, a
/// sale up, so that the protection is never exceeded by rounding.
///
/// The backend's `effective_limit_price` goes before `price`. `reference_price` with
/// `max_slippage_bps` bounds either, and makes a limit order of a market order.
///
/// A bound may lie where the exchange takes no limit. No price was wished there, so that the limit goes inward, to what the
/// exchange takes and what is stricter still.
pub(super) fn protect(signal: &Signal, context: &Context<'_>) -> Verdict {
    let Some(limit) = wanted(signal, context) else {
        return Verdict::Pass(None);
    };
    let rounded = rounded(limit, signal, context);
    let taken = if wished(signal).is_none() {
        // The cage may end off the tick, as a last price may lie.
        let taken = stricter(signal.side, rounded, nearest_taken(signal, context, rounded));
        self::rounded(taken, signal, context)
    } else {
        rounded
    };
    if taken <= Decimal::ZERO {
        let reason = format!("the limit of {limit} yuan is below one tick of {}", signal.symbol);
        return Verdict::Deny(Refusal {
            code: "PRICE_BELOW_TICK",
            reason,
        });
    }
    Verdict::Pass(Some(taken))
}

/// The limit that the signal asks for, wherever the exchange may take it: its price and all of its bounds.
pub(super) fn wanted(signal: &Signal, context: &Context<'_>) -> Option<Price> {
    let slipped = signal
        .reference_price
        .map(|reference| slippage_bound(signal, reference, context));
    let bound = match signal.side {
        Side::Buy => signal.price_ceiling,
        Side::Sell => signal.price_floor,
    };
    [wished(signal), slipped, bound]
        .into_iter()
        .flatten()
        .reduce(|a, b| stricter(signal.side, a, b))
}

fn wished(signal: &Signal) -> Option<Price> {
    signal.effective_limit_price.or(signal.price)
}

fn stricter(side: Side, a: Price, b: Price) -> Price {
    match side {
        Side::Buy => a.min(b),
        Side::Sell => a.max(b),
    }
}

/// On the tick, against the trader.
pub(super) fn rounded(limit: Price, signal: &Signal, context: &Context<'_>) -> Price {
    let toward = match signal.side {
        Side::Buy => Toward::Down,
        Side::Sell => Toward::Up,
    };
    let tick = context
        .market
        .tick(&signal.symbol, context.now.trading_date().civil());
    round_to_tick(limit, tick, toward)
}

/// The limit nearest to `limit` that lies within the day's limits and the cage, as far as they are known.
fn nearest_taken(signal: &Signal, context: &Context<'_>, limit: Price) -> Price {
    let mut taken = limit;
    if let Some((day, _)) = limits::of_day(&signal.symbol, context) {
        // A reference that no trade of the day can have is another day's or another symbol's: the gate of the limits
        // refuses what comes of it.
        if signal
            .reference_price
            .is_some_and(|reference| !day.contains(reference))
        {
            return limit;
        }
        taken = match signal.side {
            Side::Buy => taken.min(day.upper),
            Side::Sell => taken.max(day.lower),
        };
    }
    match (cage::bound(&signal.symbol, signal.side, context), signal.side) {
        (Some((bound, _)), Side::Buy) => taken.min(bound),
        (Some((bound, _)), Side::Sell) => taken.max(bound),
        (None, _) => taken,
    }
}

fn slippage_bound(signal: &Signal, reference: Price, context: &Context<'_>) -> Price {
    let bps = signal
        .max_slippage_bps
        .unwrap_or(context.settings.max_slippage_bps);
    let share = Decimal::new(i64::from(bps), 4);
    match signal.side {
        Side::Buy => reference.saturating_mul(Decimal::ONE + share),
        Side::Sell => reference.saturating_mul(Decimal::ONE - share),
    }
}
