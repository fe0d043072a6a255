use std::sync::{Mutex, PoisonError};

use qt_plugin_api::*;

/// Fills every order at its limit. `{"panic": "place"}` makes it panic there.
pub struct Exhibit {
    cx: OpenContext,
    rows: Mutex<Vec<(OrderRow, TradeRow)>>,
}

impl Exhibit {
    fn rows<R>(&self, read: impl FnOnce(&mut Vec<(OrderRow, TradeRow)>) -> R) -> R {
        read(&mut self.rows.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Broker for Exhibit {
    fn open(cx: OpenContext) -> Result<Self, OpenError> {
        cx.log.info(format!("open at {}", cx.clock.now_ms()));
        crate::at_open(&cx)?;
        Ok(Self { cx, rows: Mutex::default() })
    }

    fn place_order(&self, order: &OrderRequest) -> PlaceResult {
        if self.cx.config["panic"] == "place" {
            panic!("as configured");
        }
        let Some(price) = order.limit_price else {
            return PlaceResult::Rejected { reason: "limit orders only".into() };
        };
        let (id, now) = (format!("M-{}", order.client_order_id), self.cx.clock.now_ms());
        let row = OrderRow {
            status: OrderStatus::Filled,
            filled_quantity: order.quantity,
            ..OrderRow::working(order, &id, now)
        };
        let trade = TradeRow {
            trade_id: format!("T-{id}"),
            client_order_id: row.client_order_id.clone(),
            broker_order_id: id.clone(),
            symbol: row.symbol.clone(),
            side: row.side,
            quantity: row.quantity,
            price,
            commission: None,
            stamp_tax: None,
            transfer_fee: None,
            traded_ms: now,
            extras: String::new(),
        };
        let fresh = self.rows(|all| {
            let fresh = all.iter().all(|(known, _)| known.broker_order_id != id);
            if fresh {
                all.push((row.clone(), trade.clone()));
            }
            fresh
        });
        if fresh {
            self.cx.sink.trade(trade);
            self.cx.sink.order(row);
        }
        PlaceResult::Accepted { broker_order_id: id }
    }

    fn cancel_order(&self, _: &CancelRequest) -> CancelResult {
        CancelResult::Rejected { reason: "every order is filled at once".into() }
    }

    fn orders_today(&self) -> Result<Vec<OrderRow>, CallError> {
        Ok(self.rows(|all| all.iter().map(|(row, _)| row.clone()).collect()))
    }

    fn trades_today(&self) -> Result<Vec<TradeRow>, CallError> {
        Ok(self.rows(|all| all.iter().map(|(_, trade)| trade.clone()).collect()))
    }

    fn positions(&self) -> Result<Vec<PositionRow>, CallError> {
        Ok(vec![])
    }

    fn account(&self) -> Result<AccountRow, CallError> {
        let cash = Decimal::from(100_000_000);
        Ok(AccountRow { total_asset: cash, cash, available_cash: cash, ..AccountRow::default() })
    }

    fn connection(&self) -> ConnectionState {
        ConnectionState::Connected
    }
}
