//! What is sold can be sold today, and is held by no other order.

use qt_market::Side;

use super::{Ask, Context, Verdict, defer, deny};

pub(super) fn lacking(ask: &Ask<'_>, context: &Context<'_>) -> Option<Verdict> {
    if !context.settings.gates.books || ask.signal.side == Side::Buy {
        return None;
    }
    let exposure = context.exposure;
    if exposure.book().is_none() {
        return defer(
            "BOOK_UNKNOWN",
            "waits for the broker's figures: the holdings are not known yet".to_owned(),
        );
    }
    let (total, sellable) = exposure
        .holding(ask.symbol())
        .map_or((0, 0), |holding| (holding.total, holding.sellable));
    let held = exposure.sold(ask.symbol());
    let (size, symbol) = (ask.signal.size, ask.symbol());
    if size <= sellable.saturating_sub(held) {
        return None;
    }
    let frozen = exposure.holding(symbol).map_or(0, |holding| holding.frozen);
    // What was bought today of a kind that may be sold today shows with the broker's next figures.
    let coming = context.market.settlement_days(symbol) == 0 && !exposure.bought_value(symbol).is_zero();
    if size <= sellable.saturating_add(frozen) || coming {
        let held = held.saturating_add(frozen);
        let reason = format!(
            "{size} of {symbol} are to be sold; {sellable} can be now, and orders that are open or unclear hold {held}"
        );
        return defer("SHARES_HELD", reason);
    }
    let why = if size <= total {
        "; the rest was bought today"
    } else {
        ""
    };
    deny(
        "NOT_SELLABLE",
        format!("{size} of {symbol} are to be sold, {total} are held and {sellable} can be sold today{why}"),
    )
}
