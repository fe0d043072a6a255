//! Not before `activate_after`, not after `valid_until`.

use super::{Ask, Context, Verdict, defer, deny};

pub(super) fn expired(ask: &Ask<'_>, context: &Context<'_>) -> Option<Verdict> {
    let until = ask.signal.valid_until.filter(|until| *until <= context.now)?;
    let late = context.now.since_ms(until) / 1000;
    deny(
        "VALID_UNTIL_PASSED",
        format!("valid_until passed {late} s ago; the order was never sent"),
    )
}

pub(super) fn too_early(ask: &Ask<'_>, context: &Context<'_>) -> Option<Verdict> {
    let from = ask.signal.activate_after.filter(|from| *from > context.now)?;
    let early = from.since_ms(context.now) / 1000;
    defer(
        "ACTIVATE_AFTER",
        format!("waits for activate_after, in {early} s"),
    )
}
