//! A limit far from the reference is more likely a mistake than a wish.

use rust_decimal::Decimal;

use super::{Ask, Context, Verdict, deny};

pub(super) fn far_off(ask: &Ask<'_>, context: &Context<'_>) -> Option<Verdict> {
    let most = context.settings.gates.max_reference_deviation?;
    // What was asked for: where that was brought in to what the exchange takes, the market ran away, and nobody mistook a price.
    let wanted = super::price::wanted(ask.signal, context)
        .map(|limit| super::price::rounded(limit, ask.signal, context));
    let limit = wanted.or(ask.limit)?;
    let last = || {
        context
            .exposure
            .holding(ask.symbol())
            .and_then(|holding| holding.last_price)
    };
    let reference = ask
        .signal
        .reference_price
        .or_else(last)
        .filter(|price| *price > Decimal::ZERO)?;
    let off = limit.saturating_sub(reference).abs();
    if off <= reference.saturating_mul(most) {
        return None;
    }
    let percent = most.saturating_mul(Decimal::ONE_HUNDRED).normalize();
    let reason = format!(
        "the limit of {limit} yuan is more than {percent} % away from the reference of {reference} yuan"
    );
    deny("FAR_FROM_REFERENCE", reason)
}
