//! Orders go while the exchange takes them.

use qt_market::{Market, Phase, Symbol, TimeOfDay, show_time};

use super::{Ask, Context, Verdict, defer, deny};
use crate::time::UtcMillis;
use crate::trader::{Gates, TradingSessions};

fn time_of_day(now: UtcMillis) -> TimeOfDay {
    now.since_ms(now.trading_date().start())
}

/// True while orders of `symbol` may go.
pub(crate) fn is_open(gates: &Gates, market: &Market, symbol: &Symbol, now: UtcMillis) -> bool {
    let (day, time) = (now.trading_date().civil(), time_of_day(now));
    match &gates.sessions {
        TradingSessions::Any => true,
        // After hours an exchange takes orders of another kind alone, at the closing price.
        TradingSessions::CnA => market
            .window(symbol, day, time)
            .is_some_and(|window| window.phase != Phase::AfterHours),
        TradingSessions::Windows(windows) => {
            market.calendar().is_trading_day(day)
                && windows.iter().any(|(from, to)| *from <= time && time < *to)
        }
    }
}

pub(super) fn closed(ask: &Ask<'_>, context: &Context<'_>) -> Option<Verdict> {
    let gates = &context.settings.gates;
    if is_open(gates, context.market, ask.symbol(), context.now) {
        return None;
    }
    let day = context.now.trading_date();
    let (next, at) = next_opening(gates, context, ask.symbol());
    let symbol = ask.symbol();
    if gates.reject_outside_session {
        let reason = format!(
            "{symbol} is not traded now; the next session begins on {next} at {}",
            show_time(at)
        );
        return deny("OUTSIDE_SESSION", reason);
    }
    let when = if next == day.civil() {
        String::new()
    } else {
        format!("{next} ")
    };
    defer(
        "OUTSIDE_SESSION",
        format!(
            "waits for the session of {symbol} that begins at {when}{}",
            show_time(at)
        ),
    )
}

fn next_opening(gates: &Gates, context: &Context<'_>, symbol: &Symbol) -> (jiff::civil::Date, TimeOfDay) {
    let (day, time) = (context.now.trading_date().civil(), time_of_day(context.now));
    match &gates.sessions {
        TradingSessions::Windows(windows) => {
            let calendar = context.market.calendar();
            let first = windows.iter().map(|(from, _)| *from).min().unwrap_or(0);
            let later = windows
                .iter()
                .map(|(from, _)| *from)
                .filter(|from| *from > time)
                .min();
            match later.filter(|_| calendar.is_trading_day(day)) {
                Some(from) => (day, from),
                None => (calendar.next_trading_day(day), first),
            }
        }
        _ => {
            let (date, from) = context.market.next_opening(symbol, day, time);
            let after_hours = context
                .market
                .window(symbol, date, from)
                .is_some_and(|window| window.phase == Phase::AfterHours);
            if after_hours {
                context.market.next_opening(symbol, date, from)
            } else {
                (date, from)
            }
        }
    }
}
