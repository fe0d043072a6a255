//! Orders go while the exchange takes them.

use jiff::civil::Date;
use qt_market::{Market, Phase, Symbol, TimeOfDay, Window, show_time};

use super::{Ask, Context, Verdict, defer, deny};
use crate::time::UtcMillis;
use crate::trader::{Gates, TradingSessions};

/// Until the trades of a closing auction are known, a few minutes may pass.
const RESULT_MS: TimeOfDay = 300_000;

fn time_of_day(now: UtcMillis) -> TimeOfDay {
    now.since_ms(now.trading_date().start())
}

/// True while orders of `symbol` may go.
pub(crate) fn is_open(gates: &Gates, market: &Market, symbol: &Symbol, now: UtcMillis) -> bool {
    gates
        .sessions
        .are_open(market, now, |day, time| market.window(symbol, day, time))
}

impl TradingSessions {
    /// True while orders may go for the market as a whole.
    #[must_use]
    pub fn are_open_for_all(&self, market: &Market, now: UtcMillis) -> bool {
        self.are_open(market, now, |day, time| market.main_window(day, time))
    }

    fn are_open(
        &self,
        market: &Market,
        now: UtcMillis,
        window: impl Fn(Date, TimeOfDay) -> Option<Window>,
    ) -> bool {
        let (day, time) = (now.trading_date().civil(), time_of_day(now));
        match self {
            Self::Any => true,
            // After hours an exchange takes orders of another kind alone, at the closing price.
            Self::CnA => window(day, time).is_some_and(|window| window.phase != Phase::AfterHours),
            Self::Windows(windows) => {
                market.calendar().is_trading_day(day)
                    && windows.iter().any(|(from, to)| *from <= time && time < *to)
            }
        }
    }
}

pub(super) fn closed(ask: &Ask<'_>, context: &Context<'_>) -> Option<Verdict> {
    let gates = &context.settings.gates;
    if is_open(gates, context.market, ask.symbol(), context.now) {
        return None;
    }
    let day = context.now.trading_date();
    let (next, at) = next_opening(gates, context.market, ask.symbol(), context.now);
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

/// The next moment at which orders of `symbol` may go, after one at which they may not.
fn next_opening(gates: &Gates, market: &Market, symbol: &Symbol, now: UtcMillis) -> (Date, TimeOfDay) {
    let (day, time) = (now.trading_date().civil(), time_of_day(now));
    match &gates.sessions {
        TradingSessions::Windows(windows) => {
            let calendar = market.calendar();
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
            let (date, from) = market.next_opening(symbol, day, time);
            let after_hours = market
                .window(symbol, date, from)
                .is_some_and(|window| window.phase == Phase::AfterHours);
            if after_hours {
                market.next_opening(symbol, date, from)
            } else {
                (date, from)
            }
        }
    }
}

/// The day of the first session in which an order of `symbol` that was wished for at `from` may go.
pub(crate) fn first_day(gates: &Gates, market: &Market, symbol: &Symbol, from: UtcMillis) -> Date {
    if is_open(gates, market, symbol, from) {
        from.trading_date().civil()
    } else {
        next_opening(gates, market, symbol, from).0
    }
}

/// When an order has rested for `rest_ms` since `from`. Where orders are held to sessions, only continuous trading counts, or
/// the windows that are set: an order that waits for an auction, or over lunch, has had no chance to trade. The end of the
/// day's trading ends every rest.
pub(crate) fn rested(
    gates: &Gates,
    market: &Market,
    symbol: &Symbol,
    from: UtcMillis,
    rest_ms: i64,
) -> UtcMillis {
    let (start, time) = (from.trading_date().start(), time_of_day(from));
    let date = from.trading_date().civil();
    let (at, close) = match &gates.sessions {
        TradingSessions::Any => (None, None),
        TradingSessions::CnA => {
            let windows = market.windows(symbol, date).iter();
            let trading = windows.clone().filter(|window| window.phase == Phase::Continuous);
            let close = windows
                .filter(|window| window.phase != Phase::AfterHours)
                .map(|window| window.to)
                .max();
            let spans = trading.map(|window| (window.from, window.to));
            (
                over(spans, time, rest_ms),
                close.filter(|close| *close > time).map(|close| close + RESULT_MS),
            )
        }
        TradingSessions::Windows(windows) if market.calendar().is_trading_day(date) => {
            let mut spans = windows.clone();
            spans.sort_unstable();
            let close = windows.iter().map(|(_, to)| *to).max();
            (
                over(spans.into_iter(), time, rest_ms),
                close.filter(|close| *close > time),
            )
        }
        TradingSessions::Windows(_) => (None, None),
    };
    at.or(close)
        .map_or_else(|| from.plus_ms(rest_ms), |at| start.plus_ms(at))
}

/// When so much time of these spans, which come in their order, has passed since `time`; `None` where they have not that much.
fn over(
    spans: impl Iterator<Item = (TimeOfDay, TimeOfDay)>,
    time: TimeOfDay,
    rest_ms: i64,
) -> Option<TimeOfDay> {
    let (mut at, mut left) = (time, rest_ms);
    for (open, end) in spans {
        let begins = open.max(at);
        let room = end.saturating_sub(begins).max(0);
        if left <= room {
            return Some(begins.saturating_add(left));
        }
        left = left.saturating_sub(room);
        at = at.max(end);
    }
    None
}
