//! A day that lost too much buys nothing more.

use qt_market::Side;

use super::{Ask, Context, Verdict, defer, deny};

pub(super) fn reached(ask: &Ask<'_>, context: &Context<'_>) -> Option<Verdict> {
    let most = context.settings.gates.max_day_loss?;
    if ask.signal.side == Side::Sell {
        return None;
    }
    let Some(loss) = context.exposure.day_loss() else {
        return defer(
            "BOOK_UNKNOWN",
            "waits for the broker's figures: the day's loss is not known yet".to_owned(),
        );
    };
    if loss < most {
        return None;
    }
    let [loss, most] = [loss, most].map(|yuan| yuan.normalize());
    deny(
        "DAY_LOSS",
        format!("the day lost {loss} yuan, and from {most} yuan on nothing is bought"),
    )
}
