//! What must hold of rows whatever plugin they come from. Pure: rows in, faults out.

use std::collections::BTreeMap;

use qt_market::Symbol;
use qt_plugin_api::{AccountRow, OrderRow, OrderStatus, PositionRow, Quote, TradeRow};
use rust_decimal::Decimal;

/// Digits behind the point of any price or balance; more are the trace of a binary fraction.
const MOST_DIGITS: u32 = 6;

/// Shares of all trades of an order, by the broker's id.
pub(super) fn traded(trades: &[TradeRow], broker_order_id: &str) -> u64 {
    let own = trades
        .iter()
        .filter(|trade| trade.broker_order_id == broker_order_id);
    own.map(|trade| trade.quantity).fold(0, u64::saturating_add)
}

/// What an order's row says that cannot be.
pub(super) fn order_row(row: &OrderRow) -> Result<(), String> {
    let name = || format!("order {} ({:?})", row.broker_order_id, row.status);
    if row.broker_order_id.is_empty() {
        return Err(format!("an order in {} has no id of the broker's", row.symbol));
    }
    if row.symbol.parse::<Symbol>().is_err() {
        return Err(format!(
            "{} has the symbol `{}`, which nobody can read",
            name(),
            row.symbol
        ));
    }
    if row.filled_quantity > row.quantity {
        return Err(format!(
            "{} is filled with {} of {}",
            name(),
            row.filled_quantity,
            row.quantity
        ));
    }
    let fits = match row.status {
        OrderStatus::Filled => row.filled_quantity == row.quantity,
        OrderStatus::PartiallyFilled | OrderStatus::PartiallyCancelled => {
            row.filled_quantity > 0 && row.filled_quantity < row.quantity
        }
        OrderStatus::Cancelled | OrderStatus::Rejected => row.filled_quantity == 0,
        OrderStatus::Pending | OrderStatus::Working | OrderStatus::CancelPending | OrderStatus::Unknown => {
            true
        }
    };
    if fits {
        return Ok(());
    }
    Err(format!(
        "{} shows {} of {} filled",
        name(),
        row.filled_quantity,
        row.quantity
    ))
}

/// Whether the day's lists are whole: no order twice, each trade's order there, fills the sum of the trades. Rows that
/// changed between two readings, `moving`, are left out of the sums.
pub(super) fn lists(
    orders: &[OrderRow],
    trades: Option<&[TradeRow]>,
    moving: &[String],
) -> Result<(), String> {
    let mut seen = BTreeMap::new();
    for row in orders {
        if seen.insert(row.broker_order_id.as_str(), row).is_some() {
            return Err(format!("order {} stands in the list twice", row.broker_order_id));
        }
    }
    let Some(trades) = trades else { return Ok(()) };
    for trade in trades {
        if !seen.contains_key(trade.broker_order_id.as_str()) {
            return Err(format!(
                "trade {} is of order {}, which is not in the day's orders",
                trade.trade_id, trade.broker_order_id
            ));
        }
        if trade.quantity == 0 {
            return Err(format!("trade {} is of no share", trade.trade_id));
        }
    }
    for row in orders {
        let sum = traded(trades, &row.broker_order_id);
        if sum != row.filled_quantity && !moving.contains(&row.broker_order_id) {
            return Err(format!(
                "order {} shows {} filled, and its trades add up to {sum}",
                row.broker_order_id, row.filled_quantity
            ));
        }
    }
    Ok(())
}

/// The trade id that stands twice, or is empty.
pub(super) fn trade_ids(trades: &[TradeRow]) -> Result<(), String> {
    let mut seen = std::collections::BTreeSet::new();
    for trade in trades {
        if trade.trade_id.is_empty() {
            return Err(format!("a trade of order {} has no id", trade.broker_order_id));
        }
        if !seen.insert(&trade.trade_id) {
            return Err(format!("the trade id {} stands for two trades", trade.trade_id));
        }
    }
    Ok(())
}

/// What a holding says that cannot be.
pub(super) fn positions(rows: &[PositionRow]) -> Result<(), String> {
    let mut seen = std::collections::BTreeSet::new();
    for row in rows {
        let name = &row.symbol;
        if name.parse::<Symbol>().is_err() {
            return Err(format!("the holding `{name}` has a symbol that nobody can read"));
        }
        if !seen.insert(name) {
            return Err(format!("{name} is listed twice"));
        }
        if row.available_qty.saturating_add(row.frozen_qty) > row.quantity {
            return Err(format!(
                "of {} {name} held, {} may be sold and {} are bound: more than there are",
                row.quantity, row.available_qty, row.frozen_qty
            ));
        }
    }
    Ok(())
}

/// What prices say that cannot be.
pub(super) fn quotes(rows: &[Quote], asked: &[&str]) -> Result<(), String> {
    let mut seen = std::collections::BTreeSet::new();
    for row in rows {
        let name = row.symbol.as_str();
        if !asked.contains(&name) {
            return Err(format!(
                "it was asked for {} and prices `{name}`",
                asked.join(" and ")
            ));
        }
        if !seen.insert(name) {
            return Err(format!("{name} is priced twice"));
        }
        for (what, price) in [
            ("last price", row.last_price),
            ("previous close", row.previous_close),
        ] {
            if price.is_some_and(|price| price <= Decimal::ZERO) {
                let price = price.unwrap_or_default();
                return Err(format!(
                    "the {what} of {name} is {price}; a price that is not known is absent"
                ));
            }
        }
    }
    Ok(())
}

/// What a balance says that cannot be.
pub(super) fn account(row: &AccountRow) -> Result<(), String> {
    if row.account_id.trim().is_empty() {
        return Err("the account has no number".to_owned());
    }
    for (name, value) in [
        ("available_cash", row.available_cash),
        ("frozen_cash", row.frozen_cash),
    ] {
        if value.is_sign_negative() && !value.is_zero() {
            return Err(format!("`{name}` is {value}"));
        }
    }
    if row.available_cash + row.frozen_cash > row.cash {
        return Err(format!(
            "of {} yuan in cash, {} may be used and {} are bound: more than there are",
            row.cash, row.available_cash, row.frozen_cash
        ));
    }
    Ok(())
}

/// An amount with more digits than money has.
pub(super) fn exact(name: &str, value: Decimal) -> Result<(), String> {
    let digits = value.normalize().scale();
    if digits <= MOST_DIGITS {
        return Ok(());
    }
    Err(format!(
        "{name} is {value}: {digits} digits behind the point come from a binary fraction"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use qt_plugin_api::{OrderRequest, Side};

    fn row(id: &str, status: OrderStatus, filled: u64) -> OrderRow {
        let order = OrderRequest::new("", "000858.SZ", Side::Buy, 300, None);
        OrderRow {
            client_order_id: None,
            status,
            filled_quantity: filled,
            ..OrderRow::working(&order, id, 0)
        }
    }

    fn trade(id: &str, order: &str, quantity: u64) -> TradeRow {
        TradeRow {
            trade_id: id.to_owned(),
            client_order_id: None,
            broker_order_id: order.to_owned(),
            symbol: "000858.SZ".to_owned(),
            side: Side::Buy,
            quantity,
            price: Decimal::ONE,
            commission: None,
            stamp_tax: None,
            transfer_fee: None,
            traded_ms: 0,
            extras: String::new(),
        }
    }

    #[test]
    fn an_order_row_says_only_what_can_be() {
        use OrderStatus::{Cancelled, Filled, PartiallyCancelled, PartiallyFilled, Rejected, Working};
        let fine = [
            (Working, 0),
            (PartiallyFilled, 100),
            (Filled, 300),
            (PartiallyCancelled, 100),
            (Cancelled, 0),
            (Rejected, 0),
        ];
        for (status, filled) in fine {
            assert_eq!(order_row(&row("A", status, filled)), Ok(()), "{status:?}");
        }
        for (status, filled) in [
            (Filled, 100),
            (Cancelled, 100),
            (PartiallyFilled, 0),
            (Working, 400),
            (Rejected, 1),
        ] {
            assert!(
                order_row(&row("A", status, filled)).is_err(),
                "{status:?} {filled}"
            );
        }
        assert!(order_row(&row("", Working, 0)).is_err());
    }

    #[test]
    fn lists_are_whole_or_not() {
        let orders = [
            row("A", OrderStatus::Filled, 300),
            row("B", OrderStatus::Working, 0),
        ];
        let trades = [trade("1", "A", 100), trade("2", "A", 200)];
        assert_eq!(lists(&orders, Some(&trades), &[]), Ok(()));
        assert_eq!(lists(&orders, None, &[]), Ok(()));
        assert!(
            lists(&orders, Some(&trades[..1]), &[])
                .unwrap_err()
                .contains("add up to 100")
        );
        assert_eq!(lists(&orders, Some(&trades[..1]), &["A".to_owned()]), Ok(()));
        assert!(
            lists(&orders[1..], Some(&trades), &[])
                .unwrap_err()
                .contains("not in the day's orders")
        );
        let twice = [orders[0].clone(), orders[0].clone()];
        assert!(lists(&twice, None, &[]).unwrap_err().contains("twice"));
    }

    #[test]
    fn trade_ids_are_there_once() {
        assert_eq!(trade_ids(&[trade("1", "A", 1), trade("2", "A", 1)]), Ok(()));
        assert!(trade_ids(&[trade("1", "A", 1), trade("1", "B", 1)]).is_err());
        assert!(trade_ids(&[trade("", "A", 1)]).is_err());
    }

    #[test]
    fn nobody_sells_or_spends_more_than_there_is() {
        let mut held = PositionRow {
            symbol: "000858.SZ".to_owned(),
            quantity: 300,
            available_qty: 200,
            frozen_qty: 100,
            ..PositionRow::default()
        };
        assert_eq!(positions(std::slice::from_ref(&held)), Ok(()));
        assert!(positions(&[held.clone(), held.clone()]).is_err());
        held.available_qty = 201;
        assert!(positions(&[held]).is_err());
        let mut money = AccountRow {
            account_id: "A".to_owned(),
            cash: Decimal::from(10),
            available_cash: Decimal::from(7),
            frozen_cash: Decimal::from(3),
            ..AccountRow::default()
        };
        assert_eq!(account(&money), Ok(()));
        money.available_cash = Decimal::from(8);
        assert!(account(&money).is_err());
    }

    #[test]
    fn a_binary_fraction_is_seen() {
        assert_eq!(exact("price", Decimal::new(432_000_000, 7)), Ok(()));
        let float: Decimal = "43.20000076293945".parse().unwrap();
        assert!(exact("price", float).unwrap_err().contains("14 digits"));
    }
}
