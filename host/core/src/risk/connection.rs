//! Nothing is sent to a broker that cannot be reached.

use super::{Ask, Context, Verdict, defer};

pub(super) fn down(_: &Ask<'_>, context: &Context<'_>) -> Option<Verdict> {
    if context.connected {
        return None;
    }
    defer(
        "NOT_CONNECTED",
        "the broker is not connected; the order goes when it is".to_owned(),
    )
}
