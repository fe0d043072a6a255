//! Two signals that wish the same at the same time are more likely one signal sent twice.

use super::{Ask, Context, Verdict, deny};

pub(super) fn sent_already(ask: &Ask<'_>, context: &Context<'_>) -> Option<Verdict> {
    let window = context.settings.gates.duplicate_window_ms;
    if window <= 0 {
        return None;
    }
    let signal = ask.signal;
    let (other, ago) = context.exposure.twin(signal, window, context.now)?;
    let reason = format!(
        "signal {other} was sent {ago} ms ago and is {} {} {} too; within {window} ms that counts as the same order",
        signal.side, signal.size, signal.symbol
    );
    deny("DUPLICATE", reason)
}
