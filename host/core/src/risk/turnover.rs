//! What is bought and sold in a day, of the account and of a strategy.

use rust_decimal::Decimal;

use super::{Ask, Context, Verdict, deny, value};

pub(super) fn used_up(ask: &Ask<'_>, context: &Context<'_>) -> Option<Verdict> {
    let gates = &context.settings.gates;
    let strategy = ask.signal.strategy.as_deref();
    let own = strategy
        .and_then(|name| gates.strategies.get(name))
        .and_then(|limits| limits.max_turnover);
    let bounds = [(strategy, own), (None, gates.account.max_turnover)];
    for (of, most) in bounds.into_iter().filter_map(|(of, most)| Some((of, most?))) {
        let Some(value) = ask.value(context) else {
            return value::unknown(ask, context, "the day's turnover cannot be held to its limit");
        };
        let so_far = context.exposure.turnover(of);
        if so_far.saturating_add(value) > most {
            return refuse(of, so_far, value, most);
        }
    }
    None
}

fn refuse(of: Option<&str>, so_far: Decimal, value: Decimal, most: Decimal) -> Option<Verdict> {
    let whose = of.map_or_else(|| "the account".to_owned(), |name| format!("strategy {name}"));
    let [so_far, value, most] = [so_far, value, most].map(|yuan| yuan.normalize());
    deny(
        "TURNOVER",
        format!("today's turnover of {whose} is {so_far} yuan; {value} more would exceed {most} yuan"),
    )
}
