//! Nothing is sent to a broker that cannot be reached.

use super::{Context, Refusal, Verdict};
use crate::signal::Signal;

pub(super) fn down(_: &Signal, context: &Context<'_>) -> Option<Verdict> {
    if context.connected {
        return None;
    }
    let reason = "the broker is not connected; the order goes when it is".to_owned();
    Some(Verdict::Defer(Refusal {
        code: "NOT_CONNECTED",
        reason,
    }))
}
