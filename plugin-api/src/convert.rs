//! Between the plain structs and those of ABI 1, in one place. What comes from the other side is checked.

use abi_stable::std_types::{ROption, RStr, RString};
use rust_decimal::Decimal;

use crate::{
    v1::{
        codes::{account, answer, connection, failed, price, side, status},
        money::RMoney,
        values::{
            RAccountRow, RAnswer, RCancelRequest, RConnection, ROrderError, ROrderRequest, ROrderRow,
            RPositionRow, RTradeRow,
        },
    },
    values::{
        AccountKind, AccountRow, CancelRequest, CancelResult, ConnectionState, FailedKind, OrderErrorRow,
        OrderRequest, OrderRow, OrderStatus, PlaceResult, PositionRow, PriceKind, Side, TradeRow,
    },
};

/// What is wrong with a value from the other side.
pub(crate) type Fault = String;

pub(crate) fn money_out(value: Decimal) -> RMoney {
    let parts = value.unpack();
    RMoney {
        lo: parts.lo,
        mid: parts.mid,
        hi: parts.hi,
        // A scale is 28 at most, so nothing is cut off.
        scale: u8::try_from(parts.scale).unwrap_or(28),
        neg: u8::from(parts.negative),
    }
}

pub(crate) fn money_in(field: &str, value: RMoney) -> Result<Decimal, Fault> {
    if value.scale > 28 || value.neg > 1 {
        return Err(format!(
            "{field} is not a number: scale {} (0 to 28), sign {} (0 or 1)",
            value.scale, value.neg
        ));
    }
    Ok(Decimal::from_parts(
        value.lo,
        value.mid,
        value.hi,
        value.neg == 1,
        u32::from(value.scale),
    ))
}

pub(crate) fn option_out(value: Option<Decimal>) -> ROption<RMoney> {
    value.map(money_out).into()
}

pub(crate) fn option_in(field: &str, value: ROption<RMoney>) -> Result<Option<Decimal>, Fault> {
    value.into_option().map(|v| money_in(field, v)).transpose()
}

fn text_out(value: Option<String>) -> ROption<RString> {
    value.map(RString::from).into()
}

fn text_in(value: ROption<RString>) -> Option<String> {
    value.into_option().map(RString::into_string)
}

fn side_out(value: Side) -> u8 {
    match value {
        Side::Buy => side::BUY,
        Side::Sell => side::SELL,
    }
}

fn side_in(value: u8) -> Result<Side, Fault> {
    match value {
        side::BUY => Ok(Side::Buy),
        side::SELL => Ok(Side::Sell),
        other => Err(format!("side {other} is neither 1 (buy) nor 2 (sell)")),
    }
}

fn price_kind_out(value: PriceKind) -> u8 {
    match value {
        PriceKind::Limit => price::LIMIT,
        PriceKind::Market => price::MARKET,
        PriceKind::BestFiveThenCancel => price::BEST_FIVE_THEN_CANCEL,
        PriceKind::BestFiveThenLimit => price::BEST_FIVE_THEN_LIMIT,
        PriceKind::OppositeBest => price::OPPOSITE_BEST,
        PriceKind::OwnBest => price::OWN_BEST,
        PriceKind::ImmediateOrCancel => price::IMMEDIATE_OR_CANCEL,
        PriceKind::FillOrKill => price::FILL_OR_KILL,
    }
}

fn price_kind_in(value: u8) -> Result<PriceKind, Fault> {
    Ok(match value {
        price::LIMIT => PriceKind::Limit,
        price::MARKET => PriceKind::Market,
        price::BEST_FIVE_THEN_CANCEL => PriceKind::BestFiveThenCancel,
        price::BEST_FIVE_THEN_LIMIT => PriceKind::BestFiveThenLimit,
        price::OPPOSITE_BEST => PriceKind::OppositeBest,
        price::OWN_BEST => PriceKind::OwnBest,
        price::IMMEDIATE_OR_CANCEL => PriceKind::ImmediateOrCancel,
        price::FILL_OR_KILL => PriceKind::FillOrKill,
        other => return Err(format!("price kind {other} is not one of 1 to 8")),
    })
}

fn status_out(value: OrderStatus) -> u8 {
    match value {
        OrderStatus::Pending => status::PENDING,
        OrderStatus::Working => status::WORKING,
        OrderStatus::PartiallyFilled => status::PARTIALLY_FILLED,
        OrderStatus::Filled => status::FILLED,
        OrderStatus::CancelPending => status::CANCEL_PENDING,
        OrderStatus::PartiallyCancelled => status::PARTIALLY_CANCELLED,
        OrderStatus::Cancelled => status::CANCELLED,
        OrderStatus::Rejected => status::REJECTED,
        OrderStatus::Unknown => status::UNKNOWN,
    }
}

fn status_in(value: u8) -> Result<OrderStatus, Fault> {
    Ok(match value {
        status::PENDING => OrderStatus::Pending,
        status::WORKING => OrderStatus::Working,
        status::PARTIALLY_FILLED => OrderStatus::PartiallyFilled,
        status::FILLED => OrderStatus::Filled,
        status::CANCEL_PENDING => OrderStatus::CancelPending,
        status::PARTIALLY_CANCELLED => OrderStatus::PartiallyCancelled,
        status::CANCELLED => OrderStatus::Cancelled,
        status::REJECTED => OrderStatus::Rejected,
        status::UNKNOWN => OrderStatus::Unknown,
        other => return Err(format!("order status {other} is not one of 1 to 9")),
    })
}

/// Lends an order to the other side.
#[cfg_attr(not(feature = "host"), allow(dead_code))]
pub(crate) fn order_out(order: &OrderRequest) -> ROrderRequest<'_> {
    ROrderRequest {
        client_order_id: RStr::from_str(&order.client_order_id),
        symbol: RStr::from_str(&order.symbol),
        side: side_out(order.side),
        quantity: order.quantity,
        limit_price: option_out(order.limit_price),
        price_kind: price_kind_out(order.price_kind),
        not_after_ms: order.not_after_ms.into(),
        strategy: RStr::from_str(&order.strategy),
        extras: RStr::from_str(&order.extras),
    }
}

/// Reads an order into one that was read before, whose memory it takes over.
pub(crate) fn order_into(order: &ROrderRequest<'_>, into: &mut OrderRequest) -> Result<(), Fault> {
    let take = |text: RStr<'_>, into: &mut String| {
        into.clear();
        into.push_str(text.as_str());
    };
    take(order.client_order_id, &mut into.client_order_id);
    take(order.symbol, &mut into.symbol);
    take(order.strategy, &mut into.strategy);
    take(order.extras, &mut into.extras);
    into.side = side_in(order.side)?;
    into.quantity = order.quantity;
    into.limit_price = option_in("limit_price", order.limit_price)?;
    into.price_kind = price_kind_in(order.price_kind)?;
    into.not_after_ms = order.not_after_ms.into_option();
    Ok(())
}

/// Lends a cancel to the other side.
#[cfg_attr(not(feature = "host"), allow(dead_code))]
pub(crate) fn cancel_out(cancel: &CancelRequest) -> RCancelRequest<'_> {
    RCancelRequest {
        client_order_id: RStr::from_str(&cancel.client_order_id),
        broker_order_id: cancel.broker_order_id.as_deref().map(RStr::from_str).into(),
        extras: RStr::from_str(&cancel.extras),
    }
}

pub(crate) fn cancel_in(cancel: &RCancelRequest<'_>) -> CancelRequest {
    CancelRequest {
        client_order_id: cancel.client_order_id.as_str().to_owned(),
        broker_order_id: cancel
            .broker_order_id
            .into_option()
            .map(|id| id.as_str().to_owned()),
        extras: cancel.extras.as_str().to_owned(),
    }
}

fn answer_of(code: u8, text: String) -> RAnswer {
    RAnswer {
        code,
        text: text.into(),
        extras: RString::new(),
    }
}

pub(crate) fn place_out(result: PlaceResult) -> RAnswer {
    match result {
        PlaceResult::Accepted { broker_order_id } => answer_of(answer::DONE, broker_order_id),
        PlaceResult::Rejected { reason } => answer_of(answer::REJECTED, reason),
        PlaceResult::Unknown { reason } => answer_of(answer::UNKNOWN, reason),
    }
}

/// An answer that cannot be read leaves the outcome unknown; it is never taken for a refusal.
#[cfg_attr(not(feature = "host"), allow(dead_code))]
pub(crate) fn place_in(given: RAnswer) -> PlaceResult {
    let text = given.text.into_string();
    match given.code {
        answer::DONE => PlaceResult::Accepted {
            broker_order_id: text,
        },
        answer::REJECTED => PlaceResult::Rejected { reason: text },
        answer::UNKNOWN => PlaceResult::Unknown { reason: text },
        other => PlaceResult::Unknown {
            reason: format!("the plugin answered with the code {other}, which ABI 1 lacks"),
        },
    }
}

pub(crate) fn cancel_result_out(result: CancelResult) -> RAnswer {
    match result {
        CancelResult::Sent => answer_of(answer::DONE, String::new()),
        CancelResult::Rejected { reason } => answer_of(answer::REJECTED, reason),
        CancelResult::Unknown { reason } => answer_of(answer::UNKNOWN, reason),
    }
}

/// An answer that cannot be read leaves the outcome unknown.
#[cfg_attr(not(feature = "host"), allow(dead_code))]
pub(crate) fn cancel_result_in(given: RAnswer) -> CancelResult {
    let reason = given.text.into_string();
    match given.code {
        answer::DONE => CancelResult::Sent,
        answer::REJECTED => CancelResult::Rejected { reason },
        answer::UNKNOWN => CancelResult::Unknown { reason },
        other => CancelResult::Unknown {
            reason: format!("the plugin answered with the code {other}, which ABI 1 lacks"),
        },
    }
}

pub(crate) fn order_row_out(row: OrderRow) -> ROrderRow {
    ROrderRow {
        client_order_id: text_out(row.client_order_id),
        broker_order_id: row.broker_order_id.into(),
        symbol: row.symbol.into(),
        side: side_out(row.side),
        status: status_out(row.status),
        quantity: row.quantity,
        filled_quantity: row.filled_quantity,
        limit_price: option_out(row.limit_price),
        avg_fill_price: option_out(row.avg_fill_price),
        exchange_order_id: text_out(row.exchange_order_id),
        reason: row.reason.into(),
        error_code: row.error_code.into(),
        placed_ms: row.placed_ms.into(),
        updated_ms: row.updated_ms,
        extras: row.extras.into(),
    }
}

#[cfg_attr(not(feature = "host"), allow(dead_code))]
pub(crate) fn order_row_in(row: ROrderRow) -> Result<OrderRow, Fault> {
    Ok(OrderRow {
        client_order_id: text_in(row.client_order_id),
        broker_order_id: row.broker_order_id.into_string(),
        symbol: row.symbol.into_string(),
        side: side_in(row.side)?,
        quantity: row.quantity,
        limit_price: option_in("limit_price", row.limit_price)?,
        status: status_in(row.status)?,
        filled_quantity: row.filled_quantity,
        avg_fill_price: option_in("avg_fill_price", row.avg_fill_price)?,
        exchange_order_id: text_in(row.exchange_order_id),
        reason: row.reason.into_string(),
        error_code: row.error_code.into_option(),
        placed_ms: row.placed_ms.into_option(),
        updated_ms: row.updated_ms,
        extras: row.extras.into_string(),
    })
}

pub(crate) fn trade_out(row: TradeRow) -> RTradeRow {
    RTradeRow {
        trade_id: row.trade_id.into(),
        client_order_id: text_out(row.client_order_id),
        broker_order_id: row.broker_order_id.into(),
        symbol: row.symbol.into(),
        side: side_out(row.side),
        quantity: row.quantity,
        price: money_out(row.price),
        commission: option_out(row.commission),
        stamp_tax: option_out(row.stamp_tax),
        transfer_fee: option_out(row.transfer_fee),
        traded_ms: row.traded_ms,
        extras: row.extras.into(),
    }
}

#[cfg_attr(not(feature = "host"), allow(dead_code))]
pub(crate) fn trade_in(row: RTradeRow) -> Result<TradeRow, Fault> {
    Ok(TradeRow {
        trade_id: row.trade_id.into_string(),
        client_order_id: text_in(row.client_order_id),
        broker_order_id: row.broker_order_id.into_string(),
        symbol: row.symbol.into_string(),
        side: side_in(row.side)?,
        quantity: row.quantity,
        price: money_in("price", row.price)?,
        commission: option_in("commission", row.commission)?,
        stamp_tax: option_in("stamp_tax", row.stamp_tax)?,
        transfer_fee: option_in("transfer_fee", row.transfer_fee)?,
        traded_ms: row.traded_ms,
        extras: row.extras.into_string(),
    })
}

pub(crate) fn position_out(row: PositionRow) -> RPositionRow {
    RPositionRow {
        symbol: row.symbol.into(),
        name: text_out(row.name),
        quantity: row.quantity,
        available_qty: row.available_qty,
        frozen_qty: row.frozen_qty,
        on_road_qty: row.on_road_qty.into(),
        yesterday_qty: row.yesterday_qty.into(),
        avg_cost: money_out(row.avg_cost),
        last_price: option_out(row.last_price),
        previous_close: option_out(row.previous_close),
        market_value: option_out(row.market_value),
        extras: row.extras.into(),
    }
}

#[cfg_attr(not(feature = "host"), allow(dead_code))]
pub(crate) fn position_in(row: RPositionRow) -> Result<PositionRow, Fault> {
    Ok(PositionRow {
        symbol: row.symbol.into_string(),
        name: text_in(row.name),
        quantity: row.quantity,
        available_qty: row.available_qty,
        frozen_qty: row.frozen_qty,
        on_road_qty: row.on_road_qty.into_option(),
        yesterday_qty: row.yesterday_qty.into_option(),
        avg_cost: money_in("avg_cost", row.avg_cost)?,
        last_price: option_in("last_price", row.last_price)?,
        previous_close: option_in("previous_close", row.previous_close)?,
        market_value: option_in("market_value", row.market_value)?,
        extras: row.extras.into_string(),
    })
}

pub(crate) fn account_out(row: AccountRow) -> RAccountRow {
    RAccountRow {
        account_id: row.account_id.into(),
        kind: match row.kind {
            AccountKind::Cash => account::CASH,
            AccountKind::Credit => account::CREDIT,
            AccountKind::Other => account::OTHER,
        },
        total_asset: money_out(row.total_asset),
        cash: money_out(row.cash),
        available_cash: money_out(row.available_cash),
        frozen_cash: money_out(row.frozen_cash),
        withdrawable_cash: option_out(row.withdrawable_cash),
        market_value: money_out(row.market_value),
        extras: row.extras.into(),
    }
}

#[cfg_attr(not(feature = "host"), allow(dead_code))]
pub(crate) fn account_in(row: RAccountRow) -> Result<AccountRow, Fault> {
    Ok(AccountRow {
        account_id: row.account_id.into_string(),
        kind: match row.kind {
            account::CASH => AccountKind::Cash,
            account::CREDIT => AccountKind::Credit,
            account::OTHER => AccountKind::Other,
            other => return Err(format!("account kind {other} is not one of 1 to 3")),
        },
        total_asset: money_in("total_asset", row.total_asset)?,
        cash: money_in("cash", row.cash)?,
        available_cash: money_in("available_cash", row.available_cash)?,
        frozen_cash: money_in("frozen_cash", row.frozen_cash)?,
        withdrawable_cash: option_in("withdrawable_cash", row.withdrawable_cash)?,
        market_value: money_in("market_value", row.market_value)?,
        extras: row.extras.into_string(),
    })
}

pub(crate) fn order_error_out(row: OrderErrorRow) -> ROrderError {
    ROrderError {
        kind: match row.kind {
            FailedKind::Order => failed::ORDER,
            FailedKind::Cancel => failed::CANCEL,
        },
        client_order_id: text_out(row.client_order_id),
        broker_order_id: text_out(row.broker_order_id),
        reason: row.reason.into(),
        error_code: row.error_code.into(),
        extras: row.extras.into(),
    }
}

#[cfg_attr(not(feature = "host"), allow(dead_code))]
pub(crate) fn order_error_in(row: ROrderError) -> Result<OrderErrorRow, Fault> {
    Ok(OrderErrorRow {
        kind: match row.kind {
            failed::ORDER => FailedKind::Order,
            failed::CANCEL => FailedKind::Cancel,
            other => {
                return Err(format!(
                    "{other} is neither a failed order (1) nor a failed cancel (2)"
                ));
            }
        },
        client_order_id: text_in(row.client_order_id),
        broker_order_id: text_in(row.broker_order_id),
        reason: row.reason.into_string(),
        error_code: row.error_code.into_option(),
        extras: row.extras.into_string(),
    })
}

pub(crate) fn connection_out(state: ConnectionState) -> RConnection {
    let (code, reason) = match state {
        ConnectionState::Connected => (connection::CONNECTED, String::new()),
        ConnectionState::Connecting => (connection::CONNECTING, String::new()),
        ConnectionState::Disconnected { reason } => (connection::DISCONNECTED, reason),
    };
    RConnection {
        code,
        reason: reason.into(),
    }
}

/// A state that cannot be read is a broken connection: nothing may be sent over it.
#[cfg_attr(not(feature = "host"), allow(dead_code))]
pub(crate) fn connection_in(state: RConnection) -> ConnectionState {
    match state.code {
        connection::CONNECTED => ConnectionState::Connected,
        connection::CONNECTING => ConnectionState::Connecting,
        connection::DISCONNECTED => ConnectionState::Disconnected {
            reason: state.reason.into_string(),
        },
        other => ConnectionState::Disconnected {
            reason: format!("the plugin told of the connection state {other}, which ABI 1 lacks"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_survives_the_boundary() {
        for text in [
            "0",
            "0.00",
            "-0.01",
            "1234.5600",
            "79228162514264337593543950335",
            "-7.9228162514264337593543950335",
        ] {
            let value: Decimal = text.parse().expect(text);
            let back = money_in("x", money_out(value)).expect(text);
            assert_eq!(back.to_string(), text);
        }
    }

    #[test]
    fn damaged_money_is_refused() {
        let good = money_out(Decimal::ONE);
        assert!(money_in("price", RMoney { scale: 29, ..good }).is_err());
        assert!(money_in("price", RMoney { neg: 2, ..good }).is_err());
    }

    #[test]
    fn an_unreadable_answer_is_unknown_and_never_a_refusal() {
        assert!(matches!(
            place_in(answer_of(9, "x".into())),
            PlaceResult::Unknown { .. }
        ));
        assert!(matches!(
            cancel_result_in(answer_of(0, "x".into())),
            CancelResult::Unknown { .. }
        ));
    }

    #[test]
    fn every_price_kind_has_a_code_of_its_own() {
        let codes: Vec<u8> = (1..=8)
            .map(|c| price_kind_out(price_kind_in(c).expect("known")))
            .collect();
        assert_eq!(codes, (1..=8).collect::<Vec<u8>>());
        assert!(price_kind_in(0).is_err() && price_kind_in(9).is_err());
    }

    #[test]
    fn every_status_has_a_code_of_its_own() {
        let codes: Vec<u8> = (1..=9)
            .map(|c| status_out(status_in(c).expect("known")))
            .collect();
        assert_eq!(codes, (1..=9).collect::<Vec<u8>>());
        assert!(status_in(0).is_err() && status_in(10).is_err());
    }
}
