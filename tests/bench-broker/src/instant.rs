//! What the broker does where only the way to it is measured. The benchmark calls this very file without a boundary.

use qt_plugin_api::*;

/// Orders of this strategy are answered with as many trades as they have shares.
pub const EVENTS: &str = "events";

/// Takes every order that has a limit.
#[must_use]
pub fn place(order: &OrderRequest) -> PlaceResult {
    if order.limit_price.is_none_or(|limit| limit <= Decimal::ZERO) || !order.symbol.ends_with(".SZ") {
        return PlaceResult::Rejected {
            reason: "only limit orders of Shenzhen".into(),
        };
    }
    let mut broker_order_id = String::with_capacity(1 + order.client_order_id.len());
    broker_order_id.push('N');
    broker_order_id.push_str(&order.client_order_id);
    PlaceResult::Accepted { broker_order_id }
}

/// One of the trades of an order.
#[must_use]
pub fn trade(order: &OrderRequest) -> TradeRow {
    TradeRow {
        trade_id: "T1".into(),
        client_order_id: Some(order.client_order_id.clone()),
        broker_order_id: "N1".into(),
        symbol: order.symbol.clone(),
        side: order.side,
        quantity: 100,
        price: order.limit_price.unwrap_or_default(),
        commission: None,
        stamp_tax: None,
        transfer_fee: None,
        traded_ms: 0,
        extras: String::new(),
    }
}
