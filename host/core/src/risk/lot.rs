//! Minimum, lot, odd rest and largest order.

use qt_market::LotError;

use super::{Ask, Context, Verdict, deny};

pub(super) fn broken(ask: &Ask<'_>, context: &Context<'_>) -> Option<Verdict> {
    let gates = &context.settings.gates;
    if !gates.market_rules {
        return None;
    }
    let signal = ask.signal;
    let exposure = context.exposure;
    // Whether so much can be sold at all is another gate's question; of an odd rest it must be known.
    let sellable = exposure.book().map(|_| {
        exposure
            .holding(ask.symbol())
            .map_or(0, |holding| holding.sellable)
    });
    let day = context.now.trading_date().civil();
    let checked = context.market.check_quantity(
        ask.symbol(),
        signal.side,
        signal.size,
        sellable,
        ask.limit.is_none(),
        day,
    );
    match checked {
        Ok(()) | Err(LotError::AboveSellable { .. }) => None,
        Err(error) => deny("LOT", error.to_string()),
    }
}
