//! The largest value of one order, of the account and of a strategy.

use super::{Ask, Context, Verdict, defer, deny};

pub(super) fn too_large(ask: &Ask<'_>, context: &Context<'_>) -> Option<Verdict> {
    let gates = &context.settings.gates;
    let strategy = ask.signal.strategy.as_ref();
    let own = strategy
        .and_then(|name| gates.strategies.get(name))
        .and_then(|limits| limits.max_order_value);
    let most = [own, gates.account.max_order_value].into_iter().flatten().min()?;
    let Some(value) = ask.value(context) else {
        return unknown(ask, context, "its value cannot be held to the limit");
    };
    if value <= most {
        return None;
    }
    deny(
        "ORDER_VALUE",
        format!(
            "the order comes to {} yuan, and {} yuan is the most",
            value.normalize(),
            most.normalize()
        ),
    )
}

/// Without a price nothing can be held to a limit in yuan.
pub(super) fn unknown(ask: &Ask<'_>, context: &Context<'_>, so: &str) -> Option<Verdict> {
    if context.settings.gates.need_books() && context.exposure.book().is_none() {
        return defer(
            "BOOK_UNKNOWN",
            format!("waits for the broker's figures: without a price {so}"),
        );
    }
    let symbol = ask.symbol();
    let reason =
        format!("{symbol} has neither limit nor reference nor last price, so {so}; give the signal a price");
    deny("ORDER_VALUE_UNKNOWN", reason)
}
