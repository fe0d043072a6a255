//! A broker of forty lines: it fills every order at its limit, and forgets all when it ends.
#![forbid(unsafe_code)]

use std::sync::Mutex;

use qt_plugin_api::*;

struct Minimal(EventSink, HostClock, Mutex<Vec<(OrderRow, TradeRow)>>);

#[rustfmt::skip]
impl Broker for Minimal {
    fn open(cx: OpenContext) -> Result<Self, OpenError> {
        Ok(Self(cx.sink, cx.clock, Mutex::new(vec![])))
    }
    fn place_order(&self, order: &OrderRequest) -> PlaceResult {
        let Some(price) = order.limit_price else {
            return PlaceResult::Rejected { reason: "limit orders only".into() };
        };
        let (id, now) = (format!("M-{}", order.client_order_id), self.1.now_ms());
        let row = OrderRow { status: OrderStatus::Filled, filled_quantity: order.quantity, ..OrderRow::working(order, &id, now) };
        let trade = TradeRow {
            trade_id: format!("T-{id}"), client_order_id: row.client_order_id.clone(), broker_order_id: id.clone(),
            symbol: row.symbol.clone(), side: row.side, quantity: row.quantity, price, commission: None,
            stamp_tax: None, transfer_fee: None, traded_ms: now, extras: String::new(),
        };
        {
            let Ok(mut all) = self.2.lock() else { return PlaceResult::Unknown { reason: "lost its books".into() } };
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
    fn orders_today(&self) -> Result<Vec<OrderRow>, CallError> {
        self.2.lock().map(|all| all.iter().map(|o| o.0.clone()).collect()).map_err(|_| CallError::new("lost its books"))
    }
    fn trades_today(&self) -> Result<Vec<TradeRow>, CallError> {
        self.2.lock().map(|all| all.iter().map(|o| o.1.clone()).collect()).map_err(|_| CallError::new("lost its books"))
    }
    fn positions(&self) -> Result<Vec<PositionRow>, CallError> { Ok(vec![]) }
    fn account(&self) -> Result<AccountRow, CallError> { Ok(AccountRow { cash: Decimal::from(1_000_000), ..Default::default() }) }
    fn connection(&self) -> ConnectionState { ConnectionState::Connected }
}

export_broker! {
    type: Minimal, name: "minimal", version: env!("CARGO_PKG_VERSION"),
    description: "Fills every order at its limit", capabilities: ["place", "orders", "trades"], licence: "MIT",
}
