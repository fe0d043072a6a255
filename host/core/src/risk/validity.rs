//! Not before `activate_after`, not after `valid_until`.

use super::{Context, Refusal, Verdict};
use crate::signal::Signal;

pub(super) fn expired(signal: &Signal, context: &Context<'_>) -> Option<Verdict> {
    let until = signal.valid_until.filter(|until| *until <= context.now)?;
    let late = context.now.since_ms(until) / 1000;
    let reason = format!("valid_until passed {late} s ago; the order was never sent");
    Some(Verdict::Deny(Refusal {
        code: "VALID_UNTIL_PASSED",
        reason,
    }))
}

pub(super) fn too_early(signal: &Signal, context: &Context<'_>) -> Option<Verdict> {
    let from = signal.activate_after.filter(|from| *from > context.now)?;
    let early = from.since_ms(context.now) / 1000;
    let reason = format!("waits for activate_after, in {early} s");
    Some(Verdict::Defer(Refusal {
        code: "ACTIVATE_AFTER",
        reason,
    }))
}
