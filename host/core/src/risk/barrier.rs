//! Purchases of a plan wait for its sales.

use qt_market::Side;

use super::{Ask, Context, Verdict, defer};
use crate::trader::SellBarrier;

pub(super) fn shut(ask: &Ask<'_>, context: &Context<'_>) -> Option<Verdict> {
    let gates = &context.settings.gates;
    let plan = ask
        .signal
        .plan_id
        .as_deref()
        .filter(|_| ask.signal.side == Side::Buy)?;
    let sales = context.plan;
    match gates.sell_barrier {
        SellBarrier::Off => None,
        SellBarrier::Soft => {
            // From when it was first held back on, and not from when the signal came: it may have waited for the session.
            let waited = context
                .barred_since
                .map_or(0, |since| context.now.since_ms(since));
            if sales.open == 0 || waited >= gates.sell_barrier_timeout_ms {
                return None;
            }
            let most = gates.sell_barrier_timeout_ms / 1000;
            defer(
                "SELL_BARRIER",
                format!("waits for {} sales of plan {plan}, at most {most} s", sales.open),
            )
        }
        SellBarrier::Hard if sales.open + sales.lost == 0 => None,
        SellBarrier::Hard => {
            let lost = if sales.lost == 0 {
                String::new()
            } else {
                format!(
                    ", {} of which did not reach the broker and may be tried again",
                    sales.lost
                )
            };
            let count = sales.open + sales.lost;
            defer(
                "SELL_BARRIER",
                format!("waits until {count} sales of plan {plan} are known to have ended{lost}"),
            )
        }
    }
}
