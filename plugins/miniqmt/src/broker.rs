//! The broker: the host's calls, each with a deadline, each with three outcomes kept apart.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use qt_market::{Exchange, Symbol};
use qt_plugin_api::{
    AccountRow, Broker, CallError, CancelRequest, CancelResult, ConnectionState, OpenContext, OpenError,
    OrderRequest, OrderRow, PlaceResult, PositionRow, PriceKind, Side, TradeRow,
};
use rust_decimal::Decimal;
use serde_json::{Value, json};

use crate::convert::{self, LONGEST_ID};
use crate::frame::{Frame, Undecided};
use crate::line::{Line, Lost};
use crate::options::{ChangedRemark, Options, millis};
use crate::remark::Remark;
use crate::session::{Failed, Session, State, lock};

/// How long `open` waits beyond what a connection may take.
const OPEN_BESIDES: Duration = Duration::from_secs(20);
/// How often the terminal's list is asked for it.
const CALIBRATE_STEP: Duration = Duration::from_millis(300);
/// How long `close` waits for the keeper.
const CLOSE_WITHIN: Duration = Duration::from_millis(700);
/// What is said after the end.
const CLOSED: &str = "the broker is closed";
/// The terminal's prices have no more digits.
const PRICE_DIGITS: u32 = 4;

/// The XtQuant terminal as a broker.
pub struct MiniQmt {
    session: Arc<Session>,
    keeper: Mutex<Option<JoinHandle<()>>>,
}

/// Why there is no line: nothing was sent.
enum NoLine {
    Closed,
    Down(String),
}

impl NoLine {
    fn reason(self) -> String {
        match self {
            Self::Closed => CLOSED.to_owned(),
            Self::Down(reason) => reason,
        }
    }
}

impl MiniQmt {
    fn line(&self) -> Result<Arc<Line>, NoLine> {
        let state = lock(&self.session.state);
        if state.closing {
            return Err(NoLine::Closed);
        }
        if let Some(line) = &state.line {
            return Ok(Arc::clone(&line.0));
        }
        Err(NoLine::Down(match &state.connection {
            ConnectionState::Disconnected { reason } => format!("the terminal is not connected: {reason}"),
            ConnectionState::Connected | ConnectionState::Connecting => {
                "the terminal is being connected".to_owned()
            }
        }))
    }

    /// The line, waiting for one that is being made: nothing was sent yet, so waiting costs only time.
    fn line_until(&self, until: Instant) -> Result<Arc<Line>, NoLine> {
        let none = |state: &mut State| state.line.is_none() && !state.closing;
        let left = until.saturating_duration_since(Instant::now());
        let waited = self
            .session
            .changed
            .wait_timeout_while(lock(&self.session.state), left, none);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
        self.line()
    }

    /// Waits until a line that takes nothing is given up, at most so long.
    fn wait_for_another(&self, line: &Arc<Line>, until: Instant) {
        let same = |state: &mut State| {
            !state.closing
                && state
                    .line
                    .as_ref()
                    .is_some_and(|other| Arc::ptr_eq(&other.0, line))
        };
        let left = until.saturating_duration_since(Instant::now());
        let waited = self
            .session
            .changed
            .wait_timeout_while(lock(&self.session.state), left, same);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    /// Asks for rows; what fails is an error and never a part of them.
    fn rows(&self, op: &str) -> Result<Vec<Value>, CallError> {
        self.listed(op, |line| {
            let answer = self.session.question(line, op)?;
            Ok((Vec::new(), answer))
        })
        .map(|(_, answer): (Vec<Value>, Frame)| answer.rows)
    }

    fn listed<T>(
        &self,
        op: &str,
        question: impl FnOnce(&Line) -> Result<(Vec<T>, Frame), Failed>,
    ) -> Result<(Vec<T>, Frame), CallError> {
        let line = self.line().map_err(|no_line| CallError::new(no_line.reason()))?;
        let (rows, answer) =
            question(&line).map_err(|failed| CallError::new(self.session.masked(&failed.reason)))?;
        if answer.count == Some(0) && self.is_fresh() {
            return Err(CallError::new(format!(
                "the terminal's list of {op} is empty, and so soon after a connection that mostly means that it is not \
                 ready"
            )));
        }
        Ok((rows, answer))
    }

    /// Why a list is no proof that an order was never taken: it lacks one that was sent, and lists lag. One that a push has shown
    /// is among the orders of the day all the same.
    fn lacks(&self, undecided: &[Undecided]) -> Option<String> {
        let most = self.session.options.absent_after();
        let fresh = undecided
            .iter()
            .filter(|order| Duration::from_millis(order.age_ms) < most)
            .find(|order| lock(&self.session.books).find(&order.client_order_id).is_none())?;
        Some(format!(
            "the terminal's list of orders does not show {}, which was sent {} s ago; lists lag, so for {} s \
             (`absent_after_seconds`) that proves nothing of any order",
            fresh.client_order_id,
            fresh.age_ms / 1000,
            most.as_secs()
        ))
    }

    /// Whether an empty list does not count yet.
    fn is_fresh(&self) -> bool {
        lock(&self.session.state).since.elapsed() < self.session.options.empty_counts_after()
    }

    /// With the first order of the day it shows whether remarks come back whole; the next one waits for that. Why no
    /// order may be sent, where it may not.
    fn wait_for_calibration(&self, line: &Line, id: &str, until: Instant) -> Option<String> {
        let session = &self.session;
        loop {
            let now_ms = session.clock.now_ms();
            let known = {
                let mut calibration = lock(&session.calibration);
                if calibration.begin(id, now_ms) {
                    return None;
                }
                calibration.now(now_ms).clone()
            };
            match known {
                Remark::Untried | Remark::Whole => continue,
                Remark::Changed(_) if session.options.changed_remark == ChangedRemark::Trade => return None,
                Remark::Changed(how) => {
                    return Some(format!(
                        "{how}; no more orders are sent today. With `changed_remark` set to \"trade\" they would be"
                    ));
                }
                Remark::Awaited(first) if first.is_numbered => {
                    if Instant::now() >= until {
                        session
                            .log
                            .warning("no row of the day's first order has come back yet; orders go on");
                        return None;
                    }
                }
                Remark::Awaited(first) => {
                    if now_ms - first.sent_ms >= session.absent_after_ms() {
                        lock(&session.calibration).forget(&first.id);
                        continue;
                    }
                    if Instant::now() >= until {
                        return Some(format!(
                            "the outcome of the day's first order, {}, is not known, and it shows in no list yet: whether remarks \
                             come back whole is open, and until then no other order is sent, or until `absent_after_seconds` have \
                             passed",
                            first.id
                        ));
                    }
                }
            }
            // Its push wakes this; where none comes, the list shows it.
            let awaited = |_: &mut State| {
                matches!(
                    lock(&session.calibration).now(session.clock.now_ms()),
                    Remark::Awaited(_)
                )
            };
            let waited = session
                .changed
                .wait_timeout_while(lock(&session.state), CALIBRATE_STEP, awaited);
            drop(waited.unwrap_or_else(PoisonError::into_inner));
            let is_awaited = matches!(
                lock(&session.calibration).now(session.clock.now_ms()),
                Remark::Awaited(_)
            );
            if is_awaited {
                // What it shows is held against what was sent as it comes.
                session.orders(line).ok();
            }
        }
    }

    /// Sends an order; `Err` says why nothing was sent, which another line may mend.
    fn send(&self, line: &Line, order: &OrderRequest) -> Result<PlaceResult, String> {
        let session = &self.session;
        let mut request = match wire_order(order) {
            Ok(request) => request,
            Err(reason) => return Ok(self.not_sent(order, &reason)),
        };
        let within = session.options.order_deadline();
        request["within_ms"] = millis(within).into();
        // Before it leaves: its number may come on another thread, too late for this one.
        session.unanswered_adds(order);
        // The bridge gives up first, so that its words arrive.
        let answer = match line.ask("place", request, within + within / 4) {
            Ok(answer) => answer,
            Err(Lost::NotSent(reason)) => return Err(reason),
            Err(Lost::NoAnswer(reason)) => return Ok(self.unknown(&reason)),
        };
        if answer.ok || answer.code != "unknown" {
            lock(&session.unanswered).remove(&order.client_order_id);
        }
        Ok(match (answer.ok, answer.code.as_str()) {
            (true, _) => match answer.order_id.filter(|id| !id.is_empty()) {
                Some(broker_order_id) => {
                    session.named(&broker_order_id, &order.client_order_id);
                    session.metrics.count("miniqmt_orders_accepted_total", 1);
                    PlaceResult::Accepted { broker_order_id }
                }
                None => self.unknown("the bridge accepted it without a number"),
            },
            // The bridge has lost the terminal and has not looked at the order.
            (false, "not_ready") => return Err(answer.error),
            (false, "refused" | "setup") => {
                lock(&session.calibration).forget(&order.client_order_id);
                PlaceResult::Rejected {
                    reason: session.masked(&answer.error),
                }
            }
            (false, _) => self.unknown(&answer.error),
        })
    }

    fn unknown(&self, reason: &str) -> PlaceResult {
        self.session.metrics.count("miniqmt_orders_unknown_total", 1);
        PlaceResult::Unknown {
            reason: self.session.masked(reason),
        }
    }

    /// Nothing left this process now. Whether it did before a restart, only the bridge's record can tell.
    fn not_sent(&self, order: &OrderRequest, reason: &str) -> PlaceResult {
        lock(&self.session.calibration).forget(&order.client_order_id);
        let reason = self.session.masked(reason);
        let is_remote = self.session.options.remote.is_some();
        if is_remote || is_recorded(&self.session.data_dir.join("orders"), &order.client_order_id) {
            return PlaceResult::Unknown {
                reason: format!("{reason}; it may have been sent before"),
            };
        }
        PlaceResult::Rejected { reason }
    }

    fn cancel(
        &self,
        line: &Line,
        cancel: &CancelRequest,
        number: Option<&str>,
    ) -> Result<CancelResult, String> {
        let within = self.session.options.order_deadline();
        let request = json!({ "client_order_id": cancel.client_order_id, "order_id": number, "within_ms": millis(within) });
        let unknown = |reason: &str| CancelResult::Unknown {
            reason: self.session.masked(reason),
        };
        Ok(match line.ask("cancel", request, within + within / 4) {
            Ok(answer) if answer.ok => CancelResult::Sent,
            Ok(answer) if answer.code == "no_order" => return Err(answer.error),
            Ok(answer) if answer.code == "refused" => CancelResult::Rejected {
                reason: self.session.masked(&answer.error),
            },
            Ok(answer) if self.has_ended(cancel, number) => CancelResult::Rejected {
                reason: self.session.masked(&answer.error),
            },
            Ok(answer) => unknown(&answer.error),
            Err(Lost::NotSent(reason) | Lost::NoAnswer(reason)) => unknown(&reason),
        })
    }

    fn has_ended(&self, cancel: &CancelRequest, number: Option<&str>) -> bool {
        let books = lock(&self.session.books);
        let row = number
            .and_then(|number| books.order(number))
            .or_else(|| books.find(&cancel.client_order_id));
        row.is_some_and(|row| row.status.is_final())
    }

    fn number(&self, cancel: &CancelRequest) -> Option<String> {
        cancel.broker_order_id.clone().or_else(|| {
            let known = lock(&self.session.books).find(&cancel.client_order_id)?;
            Some(known.broker_order_id)
        })
    }
}

/// Whether the record of a bridge on this machine holds an id.
fn is_recorded(folder: &Path, client_order_id: &str) -> bool {
    let needle = format!("\"id\":\"{client_order_id}\"");
    let files = match std::fs::read_dir(folder) {
        Ok(files) => files,
        Err(e) => return e.kind() != std::io::ErrorKind::NotFound,
    };
    files.flatten().any(|file| {
        let path = file.path();
        let is_record = path.extension().is_some_and(|ending| ending == "jsonl");
        // What cannot be read may hold it.
        is_record && std::fs::read_to_string(&path).map_or(true, |text| text.contains(&needle))
    })
}

const fn kind(kind: PriceKind) -> &'static str {
    match kind {
        PriceKind::Limit => "limit",
        PriceKind::Market => "market",
        PriceKind::BestFiveThenCancel => "best_five_then_cancel",
        PriceKind::BestFiveThenLimit => "best_five_then_limit",
        PriceKind::OppositeBest => "opposite_best",
        PriceKind::OwnBest => "own_best",
        PriceKind::ImmediateOrCancel => "immediate_or_cancel",
        PriceKind::FillOrKill => "fill_or_kill",
    }
}

/// Whether an exchange has a kind of price.
const fn exists(kind: PriceKind, exchange: Exchange) -> bool {
    match kind {
        PriceKind::BestFiveThenLimit => !matches!(exchange, Exchange::SZ),
        PriceKind::ImmediateOrCancel | PriceKind::FillOrKill => matches!(exchange, Exchange::SZ),
        PriceKind::Limit
        | PriceKind::Market
        | PriceKind::BestFiveThenCancel
        | PriceKind::OppositeBest
        | PriceKind::OwnBest => true,
    }
}

/// An order on the wire.
///
/// # Errors
/// What of it no exchange takes.
fn wire_order(order: &OrderRequest) -> Result<Value, String> {
    let id = &order.client_order_id;
    if id.is_empty() || id.len() > LONGEST_ID || !id.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(format!(
            "a client order id has 1 to {LONGEST_ID} ASCII characters without blanks, since it travels in the order's \
             remark"
        ));
    }
    let symbol: Symbol = order.symbol.parse().map_err(|e| format!("{e}"))?;
    if !exists(order.price_kind, symbol.exchange()) {
        return Err(format!(
            "{symbol}: there is no order of the kind `{}` at this exchange",
            kind(order.price_kind)
        ));
    }
    if order.quantity == 0 || order.quantity > 100_000_000 {
        return Err(format!("{} is no number of shares", order.quantity));
    }
    let price = order.limit_price.map(|price| price.normalize());
    if let Some(price) = price
        && (price <= Decimal::ZERO || price.scale() > PRICE_DIGITS || price > Decimal::from(100_000_000))
    {
        return Err(format!("{price} is no price of a share"));
    }
    if order.price_kind == PriceKind::Limit && price.is_none() {
        return Err("an order with a limit needs a price".to_owned());
    }
    Ok(json!({
        "client_order_id": id,
        "symbol": order.symbol,
        "side": match order.side { Side::Buy => "buy", Side::Sell => "sell" },
        "quantity": order.quantity,
        "price": price.map(|price| price.to_string()),
        "price_kind": kind(order.price_kind),
        "not_after": order.not_after_ms,
        "strategy": order.strategy,
    }))
}

impl Broker for MiniQmt {
    fn open(cx: OpenContext) -> Result<Self, OpenError> {
        let options: Options = cx.config()?;
        options
            .check()
            .map_err(|e| OpenError::new(format!("the block `miniQMT` of the configuration: {e}")))?;
        let within = options.connect_deadline().saturating_mul(2) + OPEN_BESIDES;
        let session = Arc::new(Session::new(options, cx).map_err(OpenError::new)?);
        let own = Arc::clone(&session);
        let keeper = std::thread::Builder::new()
            .name("miniqmt-keeper".into())
            .spawn(move || own.run())
            .map_err(|e| OpenError::new(format!("the system gives no thread: {e}")))?;
        let broker = Self {
            session,
            keeper: Mutex::new(Some(keeper)),
        };
        match broker.session.wait_for_first(within) {
            // What only a person can mend is said at once; a terminal that is not logged in yet is waited for.
            Some(Err(failed)) if failed.is_setup => {
                let reason = broker.session.masked(&failed.reason);
                broker.close();
                Err(OpenError::new(reason))
            }
            _ => Ok(broker),
        }
    }

    fn place_order(&self, order: &OrderRequest) -> PlaceResult {
        // What no exchange takes was not taken before either.
        if let Err(reason) = wire_order(order) {
            return PlaceResult::Rejected { reason };
        }
        // A bridge on another machine is asked: it alone knows whether the order was sent before.
        if self.session.options.read_only && self.session.options.remote.is_none() {
            return self.not_sent(order, "this session only reads (`read_only`)");
        }
        let until = Instant::now() + self.session.options.order_deadline();
        loop {
            let line = match self.line_until(until) {
                Ok(line) => line,
                Err(no_line) => return self.not_sent(order, &no_line.reason()),
            };
            if let Some(reason) = self.wait_for_calibration(&line, &order.client_order_id, until) {
                return self.not_sent(order, &reason);
            }
            // Whether its time has passed is for the bridge to say, which knows whether it was sent before.
            match self.send(&line, order) {
                Ok(result) => return result,
                Err(reason) if Instant::now() >= until => return self.not_sent(order, &reason),
                Err(_) => self.wait_for_another(&line, until),
            }
        }
    }

    fn cancel_order(&self, cancel: &CancelRequest) -> CancelResult {
        let line = match self.line() {
            Ok(line) => line,
            Err(NoLine::Closed) => {
                return CancelResult::Rejected {
                    reason: CLOSED.to_owned(),
                };
            }
            Err(NoLine::Down(reason)) => return CancelResult::Unknown { reason },
        };
        let number = self.number(cancel);
        match self.cancel(&line, cancel, number.as_deref()) {
            Ok(result) => result,
            // The terminal's list may know what neither the books nor the record do.
            Err(why) => {
                let listed = self.orders_today();
                match (self.number(cancel), listed) {
                    (Some(found), _) => self
                        .cancel(&line, cancel, Some(&found))
                        .unwrap_or_else(|reason| CancelResult::Unknown { reason }),
                    (None, Ok(_)) => CancelResult::Rejected { reason: why },
                    (None, Err(e)) => CancelResult::Unknown { reason: e.reason },
                }
            }
        }
    }

    fn orders_today(&self) -> Result<Vec<OrderRow>, CallError> {
        let (rows, answer) = self.listed("orders", |line| self.session.orders(line))?;
        let listed = {
            let mut books = lock(&self.session.books);
            books.roll(self.session.clock.now_ms());
            books.orders_listed(rows)
        };
        match self.lacks(&answer.undecided) {
            None => Ok(listed),
            Some(why) => {
                // What the list does show is told all the same.
                self.trades_today().ok();
                self.session.tell_untold();
                Err(CallError::new(why))
            }
        }
    }

    fn trades_today(&self) -> Result<Vec<TradeRow>, CallError> {
        let (rows, _) = self.listed("trades", |line| self.session.trades(line))?;
        let now_ms = self.session.clock.now_ms();
        let within = i64::try_from(millis(self.session.options.visible_within())).unwrap_or(i64::MAX);
        let mut books = lock(&self.session.books);
        books.roll(now_ms);
        books.trades_listed(rows, within, now_ms).map_err(CallError::new)
    }

    fn positions(&self) -> Result<Vec<PositionRow>, CallError> {
        let rows = self.rows("positions")?;
        if rows.is_empty() && self.account()?.market_value > Decimal::ZERO {
            return Err(CallError::new(
                "the terminal's list of positions is empty although the account holds something: it is not ready",
            ));
        }
        rows.into_iter()
            .map(|row| convert::position(row).map_err(CallError::new))
            .collect()
    }

    fn account(&self) -> Result<AccountRow, CallError> {
        let line = self.line().map_err(|no_line| CallError::new(no_line.reason()))?;
        let answer = self.session.question(&line, "account");
        let answer = answer.map_err(|failed| CallError::new(self.session.masked(&failed.reason)))?;
        match answer.rows.into_iter().next() {
            Some(row) => convert::account(row, &self.session.options).map_err(CallError::new),
            None => Err(CallError::new("the terminal has no balance of this account yet")),
        }
    }

    fn connection(&self) -> ConnectionState {
        let state = lock(&self.session.state);
        if state.closing {
            return ConnectionState::Disconnected {
                reason: CLOSED.to_owned(),
            };
        }
        state.connection.clone()
    }

    fn close(&self) {
        let lines = {
            let mut state = lock(&self.session.state);
            state.closing = true;
            [state.line.take(), state.making.take()]
        };
        self.session.changed.notify_all();
        for line in lines.into_iter().flatten() {
            line.0.end(CLOSED);
        }
        if let Some(keeper) = lock(&self.keeper).take() {
            // Its bridge is dead; only a search for a Python may take longer, and is not waited for.
            let until = Instant::now() + CLOSE_WITHIN;
            while !keeper.is_finished() && Instant::now() < until {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }
}

impl Drop for MiniQmt {
    fn drop(&mut self) {
        self.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(symbol: &str, kind: PriceKind, price: Option<&str>) -> OrderRequest {
        let price = price.map(|price| price.parse().expect("a price"));
        OrderRequest {
            price_kind: kind,
            ..OrderRequest::new("ABCDEFGHIJKLMNOPQRST", symbol, Side::Buy, 100, price)
        }
    }

    #[test]
    fn a_kind_of_price_that_an_exchange_lacks_is_refused_and_never_replaced() {
        use PriceKind as K;
        for (kind, sh, sz, bj) in [
            (K::Market, true, true, true),
            (K::BestFiveThenCancel, true, true, true),
            (K::BestFiveThenLimit, true, false, true),
            (K::OppositeBest, true, true, true),
            (K::OwnBest, true, true, true),
            (K::ImmediateOrCancel, false, true, false),
            (K::FillOrKill, false, true, false),
        ] {
            for (symbol, taken) in [("600000.SH", sh), ("000858.SZ", sz), ("920001.BJ", bj)] {
                let wire = wire_order(&order(symbol, kind, None));
                assert_eq!(wire.is_ok(), taken, "{kind:?} {symbol}: {wire:?}");
            }
        }
    }

    #[test]
    fn a_price_travels_as_its_digits() {
        let wire = wire_order(&order("000858.SZ", PriceKind::Limit, Some("43.50"))).expect("taken");
        assert_eq!(wire["price"], "43.5");
        for (price, symbol) in [
            (Some("0"), "000858.SZ"),
            (Some("1.00001"), "000858.SZ"),
            (None, "000858.SZ"),
            (Some("1"), "x"),
        ] {
            assert!(
                wire_order(&order(symbol, PriceKind::Limit, price)).is_err(),
                "{price:?} {symbol}"
            );
        }
        let mut long = order("000858.SZ", PriceKind::Limit, Some("1"));
        long.client_order_id.push('X');
        assert!(wire_order(&long).expect_err("21 characters").contains("1 to 20"));
    }

    #[test]
    fn an_order_that_is_in_the_record_is_never_called_refused() {
        let folder = tempfile::tempdir().expect("folder");
        assert!(!is_recorded(&folder.path().join("none"), "A"));
        std::fs::write(
            folder.path().join("orders-20261124.jsonl"),
            "{\"ev\":\"intent\",\"id\":\"AB\"}\n",
        )
        .expect("written");
        assert!(is_recorded(folder.path(), "AB") && !is_recorded(folder.path(), "A"));
    }
}
