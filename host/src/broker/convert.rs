//! The one place where the plugins' words become ours, and ours theirs.

use qt_core::portfolio::{Account, Position};
use qt_core::{
    BrokerFill, BrokerOrder, BrokerOrderId, BrokerOrderStatus, ClientOrderId, FillId, NewOrder, UtcMillis,
};
use qt_market::{Shares, Side, Symbol};
use qt_plugin_api as api;

/// A row that says something impossible: a snapshot that holds it is not complete.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the broker's {row} says {what}")]
pub(crate) struct Unreadable {
    row: String,
    what: String,
}

fn unreadable(row: String, what: impl Into<String>) -> Unreadable {
    Unreadable {
        row,
        what: what.into(),
    }
}

/// An order of ours, for the plugin.
pub(super) fn request(order: &NewOrder) -> api::OrderRequest {
    api::OrderRequest {
        client_order_id: order.id.to_string(),
        symbol: order.symbol.to_string(),
        side: match order.side {
            Side::Buy => api::Side::Buy,
            Side::Sell => api::Side::Sell,
        },
        quantity: order.size.unsigned_abs(),
        limit_price: order.limit,
        price_kind: api::PriceKind::of(order.limit),
        not_after_ms: order.not_after.map(|at| at.0),
        strategy: order.strategy.clone().unwrap_or_default(),
        extras: String::new(),
    }
}

const fn side(side: api::Side) -> Side {
    match side {
        api::Side::Buy => Side::Buy,
        api::Side::Sell => Side::Sell,
    }
}

fn shares(count: u64, row: impl FnOnce() -> String) -> Result<Shares, Unreadable> {
    Shares::try_from(count).map_err(|_| unreadable(row(), format!("{count} shares")))
}

/// Ours, if it is one of ours by its form.
fn our_id(text: Option<&String>) -> Option<ClientOrderId> {
    text.and_then(|text| text.trim().parse().ok())
}

/// The row of an order, or nothing for one that is neither ours nor of this market.
pub(super) fn order(row: api::OrderRow) -> Result<Option<BrokerOrder>, Unreadable> {
    let id = our_id(row.client_order_id.as_ref());
    let name = || format!("order {}", row.broker_order_id);
    let symbol: Symbol = match row.symbol.parse() {
        Ok(symbol) => symbol,
        Err(_) if id.is_none() => return Ok(None),
        Err(e) => return Err(unreadable(name(), e.to_string())),
    };
    if row.broker_order_id.is_empty() {
        return Err(unreadable(format!("order in {symbol}"), "no id of its own"));
    }
    let (size, filled) = (shares(row.quantity, name)?, shares(row.filled_quantity, name)?);
    Ok(Some(BrokerOrder {
        id,
        broker_order_id: BrokerOrderId(row.broker_order_id),
        symbol,
        side: side(row.side),
        size,
        status: match row.status {
            api::OrderStatus::Filled => BrokerOrderStatus::Filled,
            api::OrderStatus::PartiallyCancelled | api::OrderStatus::Cancelled => {
                BrokerOrderStatus::Cancelled
            }
            api::OrderStatus::Rejected => BrokerOrderStatus::Rejected,
            api::OrderStatus::Unknown => BrokerOrderStatus::Unclear,
            api::OrderStatus::Pending
            | api::OrderStatus::Working
            | api::OrderStatus::PartiallyFilled
            | api::OrderStatus::CancelPending => BrokerOrderStatus::Open,
        },
        filled,
        reason: Some(row.reason).filter(|text| !text.is_empty()),
    }))
}

/// The row of a trade, or nothing for one that is neither ours nor of this market.
pub(super) fn fill(row: api::TradeRow) -> Result<Option<BrokerFill>, Unreadable> {
    let id = our_id(row.client_order_id.as_ref());
    let name = || format!("trade {}", row.trade_id);
    let symbol: Symbol = match row.symbol.parse() {
        Ok(symbol) => symbol,
        Err(_) if id.is_none() => return Ok(None),
        Err(e) => return Err(unreadable(name(), e.to_string())),
    };
    let size = shares(row.quantity, name)?;
    if row.trade_id.is_empty() || size == 0 || row.price.is_sign_negative() {
        let what = format!("id `{}`, {} shares at {}", row.trade_id, row.quantity, row.price);
        return Err(unreadable(name(), what));
    }
    Ok(Some(BrokerFill {
        fill_id: FillId(row.trade_id),
        id,
        broker_order_id: BrokerOrderId(row.broker_order_id),
        symbol,
        side: side(row.side),
        size,
        price: row.price,
        commission: row.commission,
        stamp_tax: row.stamp_tax,
        transfer_fee: row.transfer_fee,
        at: UtcMillis(row.traded_ms),
    }))
}

/// A list, complete, or an error. What is neither ours nor of this market is left out.
pub(super) fn all<R, T>(
    rows: Vec<R>,
    read: impl Fn(R) -> Result<Option<T>, Unreadable>,
) -> Result<Vec<T>, Unreadable> {
    rows.into_iter().filter_map(|row| read(row).transpose()).collect()
}

/// A holding.
pub(super) fn position(row: &api::PositionRow) -> Result<Position, Unreadable> {
    let name = format!("holding of {}", row.symbol);
    let symbol = row
        .symbol
        .parse()
        .map_err(|e: qt_market::ParseSymbolError| unreadable(name.clone(), e.to_string()))?;
    Ok(Position {
        symbol,
        name: row.name.clone().filter(|text| !text.is_empty()),
        total: shares(row.quantity, || name.clone())?,
        sellable: shares(row.available_qty, || name.clone())?,
        frozen: shares(row.frozen_qty, || name.clone())?,
        avg_cost: row.avg_cost,
        last_price: row.last_price.filter(|price| !price.is_zero()),
        previous_close: row.previous_close.filter(|price| !price.is_zero()),
    })
}

/// Balances.
pub(super) fn account(row: &api::AccountRow) -> Account {
    Account {
        account_id: row.account_id.clone(),
        total_asset: row.total_asset,
        cash: row.cash,
        available_cash: row.available_cash,
        frozen_cash: row.frozen_cash,
        market_value: row.market_value,
    }
}
