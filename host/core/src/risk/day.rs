//! The number of orders and cancels in a day.

use super::{Ask, Context, Verdict, deny};

pub(super) fn used_up(_: &Ask<'_>, context: &Context<'_>) -> Option<Verdict> {
    let rate = context.settings.gates.rate?;
    if context.day_has_room {
        return None;
    }
    let most = rate.per_day.saturating_sub(rate.cancel_reserve_per_day);
    deny(
        "RATE_DAY",
        format!(
            "{most} orders and cancels left today, and the rest of {} is kept for cancels",
            rate.per_day
        ),
    )
}
