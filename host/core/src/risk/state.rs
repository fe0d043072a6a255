//! While trading is being reduced, only sales go.

use qt_market::Side;

use super::{Ask, Context, Verdict, defer};

pub(super) fn reducing(ask: &Ask<'_>, context: &Context<'_>) -> Option<Verdict> {
    let why = context.reducing.filter(|_| ask.signal.side == Side::Buy)?;
    defer(
        "REDUCING",
        format!("only sales go ({why}); the purchase waits for `qt-host resume`"),
    )
}
