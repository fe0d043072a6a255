//! Purchases are paid for, fees with them.

use qt_market::Side;

use super::{Ask, Context, Verdict, defer, value};

pub(super) fn lacking(ask: &Ask<'_>, context: &Context<'_>) -> Option<Verdict> {
    if !context.settings.gates.books || ask.signal.side == Side::Sell {
        return None;
    }
    let exposure = context.exposure;
    let Some(book) = exposure.book() else {
        return defer(
            "BOOK_UNKNOWN",
            "waits for the broker's figures: the cash is not known yet".to_owned(),
        );
    };
    let Some(value) = ask.value(context) else {
        return value::unknown(ask, context, "its cost cannot be held to the cash");
    };
    let day = context.now.trading_date().civil();
    let fees = context
        .market
        .fees_of_amount(ask.symbol(), Side::Buy, value, day)
        .map_or_else(|_| value, |fees| fees.total());
    let need = value.saturating_add(fees);
    let held = exposure.held_cash();
    if need <= book.available_cash.saturating_sub(held) {
        return None;
    }
    let [need, have, held] = [need, book.available_cash, held].map(|yuan| yuan.round_dp(2).normalize());
    let reason = format!(
        "waits for cash: {need} yuan with fees; {have} yuan are available and purchases under way hold {held} of them"
    );
    defer("CASH", reason)
}
