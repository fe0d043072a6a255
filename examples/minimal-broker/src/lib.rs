//! A broker of sixty lines: it fills every order at its limit, and forgets all when it ends.
#![forbid(unsafe_code)]

use std::sync::Mutex;

use qt_plugin_api::*;

/// The books, until the session is closed.
type Books = Option<Vec<(OrderRow, TradeRow)>>;

struct Minimal(EventSink, HostClock, Mutex<Books>);

#[derive(serde::Deserialize)]
#[serde(crate = "qt_plugin_api::serde", deny_unknown_fields)]
struct Options {}

#[rustfmt::skip]
impl Minimal {
    fn read<T>(&self, row: fn(&(OrderRow, TradeRow)) -> T) -> Result<Vec<T>, CallError> {
        let books = self.2.lock().map_err(|_| CallError::new("lost its books"))?;
        let all = books.as_ref().ok_or_else(|| CallError::new("closed"))?;
        Ok(all.iter().map(row).collect())
    }
}

#[rustfmt::skip]
impl Broker for Minimal {
    fn open(cx: OpenContext) -> Result<Self, OpenError> {
        let Options {} = cx.config()?;
        Ok(Self(cx.sink, cx.clock, Mutex::new(Some(vec![]))))
    }
    fn place_order(&self, order: &OrderRequest) -> PlaceResult {
        let rejected = |reason: &str| PlaceResult::Rejected { reason: reason.into() };
        let Some(price) = order.limit_price else { return rejected("limit orders only") };
        let (id, now) = (format!("M-{}", order.client_order_id), self.1.now_ms());
        if order.not_after_ms.is_some_and(|until| now > until) { return rejected("it came too late") }
        let row = OrderRow { status: OrderStatus::Filled, filled_quantity: order.quantity, ..OrderRow::working(order, &id, now) };
        let trade = TradeRow {
            trade_id: format!("T-{id}"), client_order_id: row.client_order_id.clone(), broker_order_id: id.clone(),
            symbol: row.symbol.clone(), side: row.side, quantity: row.quantity, price, commission: None,
            stamp_tax: None, transfer_fee: None, traded_ms: now, extras: String::new(),
        };
        {
            let Ok(mut books) = self.2.lock() else { return PlaceResult::Unknown { reason: "lost its books".into() } };
            let Some(all) = books.as_mut() else { return rejected("closed") };
            if all.iter().any(|(known, _)| known.broker_order_id == id) {
                return PlaceResult::Accepted { broker_order_id: id };
            }
            all.push((row.clone(), trade.clone()));
        }
        self.0.trade(trade);
        self.0.order(row);
        PlaceResult::Accepted { broker_order_id: id }
    }
    fn cancel_order(&self, _: &CancelRequest) -> CancelResult {
        CancelResult::Rejected { reason: "every order is filled at once".into() }
    }
    fn orders_today(&self) -> Result<Vec<OrderRow>, CallError> { self.read(|(order, _)| order.clone()) }
    fn trades_today(&self) -> Result<Vec<TradeRow>, CallError> { self.read(|(_, trade)| trade.clone()) }
    fn positions(&self) -> Result<Vec<PositionRow>, CallError> { Ok(vec![]) }
    fn account(&self) -> Result<AccountRow, CallError> { Ok(AccountRow { cash: Decimal::from(1_000_000), ..Default::default() }) }
    fn connection(&self) -> ConnectionState {
        match self.2.lock() {
            Ok(books) if books.is_some() => ConnectionState::Connected,
            _ => ConnectionState::Disconnected { reason: "closed".into() },
        }
    }
    fn close(&self) {
        if let Ok(mut books) = self.2.lock() { *books = None }
    }
}

export_broker! {
    type: Minimal, name: "minimal", version: env!("CARGO_PKG_VERSION"),
    description: "Fills every order at its limit", capabilities: ["place", "orders", "trades", "events", "paper"],
    licence: "MIT",
}
