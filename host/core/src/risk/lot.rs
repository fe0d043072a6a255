//! Minimum, lot, odd rest and largest order.

use qt_market::{LotError, Shares};

use super::{Ask, Context, Verdict, defer, deny};

pub(super) fn broken(ask: &Ask<'_>, context: &Context<'_>) -> Option<Verdict> {
    let gates = &context.settings.gates;
    if !gates.market_rules {
        return None;
    }
    let (signal, exposure) = (ask.signal, context.exposure);
    // Whether so much can be sold at all is another gate's question; of an odd rest it must be known.
    let sellable = exposure.book().map(|_| {
        exposure
            .holding(ask.symbol())
            .map_or(0, |holding| holding.sellable)
    });
    let day = context.now.trading_date().civil();
    let checked = |held: Shares| {
        let left = sellable.map(|sellable| sellable.saturating_sub(held));
        let at_market = ask.limit.is_none();
        let checked =
            context
                .market
                .check_quantity(ask.symbol(), signal.side, signal.size, left, at_market, day);
        match checked {
            Err(LotError::AboveSellable { .. }) => Ok(()),
            other => other,
        }
    };
    let error = checked(0).err()?;
    // What sales that are open or unclear hold may be in the broker's figures already: the rest is whatever is left of
    // either. Where less is left than is to be sold, the gate of the shares has it wait.
    let sold = exposure.sold(ask.symbol());
    let unsent = context.unsent;
    if checked(sold).is_ok() || checked(sold.saturating_add(unsent.before)).is_ok() {
        return None;
    }
    if unsent.all > 0 && checked(sold.saturating_add(unsent.all)).is_ok() {
        let reason = format!(
            "{error}; it is the rest once other sales of {} that have not been sent yet are",
            ask.symbol()
        );
        return defer("SHARES_HELD", reason);
    }
    deny("LOT", error.to_string())
}
