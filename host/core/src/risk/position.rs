//! No position becomes too large a share of all assets.

use qt_market::Side;
use rust_decimal::Decimal;

use super::{Ask, Context, Verdict, defer, deny, value};

pub(super) fn too_large(ask: &Ask<'_>, context: &Context<'_>) -> Option<Verdict> {
    let share = context.settings.gates.max_position_share?;
    if ask.signal.side == Side::Sell {
        return None;
    }
    let exposure = context.exposure;
    let Some(book) = exposure.book() else {
        return defer(
            "BOOK_UNKNOWN",
            "waits for the broker's figures: all assets are not known yet".to_owned(),
        );
    };
    let Some(value) = ask.value(context) else {
        return value::unknown(ask, context, "the position's share cannot be held to its limit");
    };
    let held = exposure.holding(ask.symbol()).map_or(Decimal::ZERO, |holding| {
        let price = holding.last_price.or(ask.limit).unwrap_or_default();
        price.saturating_mul(Decimal::from(holding.total))
    });
    let after = held
        .saturating_add(exposure.bought_value(ask.symbol()))
        .saturating_add(value);
    let most = book.total_asset.saturating_mul(share);
    if after <= most {
        return None;
    }
    // A purchase that ended just now may be in the position already.
    if after.saturating_sub(exposure.doubtful_value(ask.symbol())) <= most {
        return defer(
            "BOOK_UNKNOWN",
            format!(
                "waits for the broker's figures: it is not certain yet that they contain the latest purchase of {}",
                ask.symbol()
            ),
        );
    }
    let [after, most] = [after, most].map(|yuan| yuan.round_dp(2).normalize());
    let percent = share.saturating_mul(Decimal::ONE_HUNDRED).normalize();
    let symbol = ask.symbol();
    deny(
        "POSITION_SHARE",
        format!("{symbol} would come to {after} yuan, and {percent} % of all assets are {most} yuan"),
    )
}
