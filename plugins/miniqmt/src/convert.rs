//! The bridge's rows as the host wants them.

use std::str::FromStr;

use jiff::Timestamp;
use qt_plugin_api::{
    AccountKind, AccountRow, FailedKind, OrderErrorRow, OrderRow, OrderStatus, PositionRow, Side, TradeRow,
};
use rust_decimal::Decimal;
use serde::{Deserialize, Deserializer, de::Error};
use serde_json::Value;

use crate::hours;
use crate::options::{AccountType, Options};

/// The longest remark that the terminal is known to keep.
pub(crate) const LONGEST_ID: usize = 20;

/// An order on the wire.
#[derive(Debug, Deserialize)]
pub(crate) struct WireOrder {
    pub(crate) order_id: String,
    /// The client order id where the bridge's record knows it by the number.
    #[serde(default)]
    pub(crate) client_order_id: Option<String>,
    pub(crate) remark: String,
    symbol: String,
    side: Option<WireSide>,
    quantity: u64,
    filled: u64,
    #[serde(default, deserialize_with = "amount")]
    price: Option<Decimal>,
    #[serde(default, deserialize_with = "amount")]
    avg_price: Option<Decimal>,
    status: WireStatus,
    reason: String,
    #[serde(default)]
    exchange_id: String,
    placed_ms: Option<i64>,
}

/// A trade on the wire.
#[derive(Debug, Deserialize)]
pub(crate) struct WireTrade {
    trade_id: String,
    pub(crate) order_id: String,
    #[serde(default)]
    pub(crate) client_order_id: Option<String>,
    pub(crate) remark: String,
    symbol: String,
    side: Option<WireSide>,
    quantity: u64,
    #[serde(default, deserialize_with = "amount")]
    price: Option<Decimal>,
    #[serde(default, deserialize_with = "amount")]
    commission: Option<Decimal>,
    traded_ms: Option<i64>,
}

#[derive(Debug, Deserialize)]
struct WirePosition {
    symbol: String,
    name: String,
    quantity: u64,
    sellable: i64,
    frozen: i64,
    on_road: i64,
    yesterday: i64,
    #[serde(default, deserialize_with = "amount")]
    avg_cost: Option<Decimal>,
    #[serde(default, deserialize_with = "amount")]
    last_price: Option<Decimal>,
    #[serde(default, deserialize_with = "amount")]
    market_value: Option<Decimal>,
}

#[derive(Debug, Deserialize)]
struct WireAsset {
    #[serde(default, deserialize_with = "amount")]
    available: Option<Decimal>,
    #[serde(default, deserialize_with = "amount")]
    frozen: Option<Decimal>,
    #[serde(default, deserialize_with = "amount")]
    market_value: Option<Decimal>,
    #[serde(default, deserialize_with = "amount")]
    total: Option<Decimal>,
    #[serde(default, deserialize_with = "amount")]
    withdrawable: Option<Decimal>,
}

#[derive(Debug, Deserialize)]
struct WireError {
    order_id: String,
    #[serde(default)]
    client_order_id: Option<String>,
    remark: String,
    code: Option<i64>,
    reason: String,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum WireSide {
    Buy,
    Sell,
}

impl From<WireSide> for Side {
    fn from(side: WireSide) -> Self {
        match side {
            WireSide::Buy => Self::Buy,
            WireSide::Sell => Self::Sell,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum WireStatus {
    Pending,
    Working,
    CancelPending,
    PartiallyFilled,
    PartiallyCancelled,
    Cancelled,
    Filled,
    Rejected,
    Unknown,
}

/// An amount is text, so that no binary fraction comes in between.
fn amount<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Decimal>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    text.map(|text| {
        Decimal::from_str(&text).map_err(|e| D::Error::custom(format!("{text} is no amount: {e}")))
    })
    .transpose()
}

/// A row of the wire's form.
pub(crate) fn parse<T: for<'de> Deserialize<'de>>(row: Value) -> Result<T, String> {
    serde_json::from_value(row).map_err(|e| format!("a row of the bridge cannot be read: {e}"))
}

/// What a row of orders or trades comes to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Read<T> {
    /// A row for the host.
    Row(T),
    /// A row for the host, and what is odd about it.
    Odd(T, String),
    /// Another program's, of a kind that is neither a buy nor a sale.
    Foreign,
    /// Another program's that cannot be used, and why.
    LeftOut(String),
}

/// Whether a row is of an order that this plugin has sent, as the bridge's record says. A bridge that does not say so leaves the
/// remark alone to tell.
pub(crate) fn is_ours(row: &Value) -> bool {
    let remark = row["remark"].as_str().unwrap_or_default();
    row["client_order_id"].is_string()
        || row["recorded"]
            .as_bool()
            .unwrap_or_else(|| ours(None, remark).is_some())
}

/// Reads one row by `read`; what is wrong with one of ours is an error, and another program's is left out.
fn one<W: for<'de> Deserialize<'de>, T>(
    row: Value,
    read: impl FnOnce(W, bool) -> Result<Read<T>, String>,
) -> Result<Read<T>, String> {
    let ours = is_ours(&row);
    match parse(row).and_then(|wire| read(wire, ours)) {
        Err(why) if !ours => Ok(Read::LeftOut(format!(
            "a row of another program is left out: {why}"
        ))),
        read => read,
    }
}

/// The time of a row in a list of today: of another day only another program's may be.
///
/// # Errors
/// The day is another one, and the row is not ours.
fn today(
    what: &str,
    at: Option<i64>,
    now_ms: i64,
    ours: bool,
) -> Result<(Option<i64>, Option<String>), String> {
    match at {
        Some(at) if hours::day(at) != hours::day(now_ms) => {
            let text = format!(
                "{what} has a time of another day ({})",
                Timestamp::from_millisecond(at).map_or_else(|_| at.to_string(), |at| at.to_string())
            );
            if ours {
                Ok((None, Some(format!("{text}; the present time is taken instead"))))
            } else {
                Err(text)
            }
        }
        at => Ok((at, None)),
    }
}

/// A remark that can be one of our ids; others are not ours, or were changed.
fn ours(record: Option<String>, remark: &str) -> Option<String> {
    let whole =
        !remark.is_empty() && remark.len() <= LONGEST_ID && remark.bytes().all(|b| b.is_ascii_graphic());
    record.or_else(|| whole.then(|| remark.to_owned()))
}

/// What the terminal says of an order's state, held against its fills: words and numbers come a moment apart.
fn status(word: WireStatus, quantity: u64, filled: u64) -> OrderStatus {
    let partly = filled > 0 && filled < quantity;
    match word {
        WireStatus::Pending if filled == 0 => OrderStatus::Pending,
        WireStatus::CancelPending if filled < quantity => OrderStatus::CancelPending,
        // Ended: with fills it was cut short, without it was not.
        WireStatus::PartiallyCancelled | WireStatus::Cancelled if partly => OrderStatus::PartiallyCancelled,
        WireStatus::PartiallyCancelled | WireStatus::Cancelled if filled == 0 => OrderStatus::Cancelled,
        WireStatus::Rejected if filled == 0 => OrderStatus::Rejected,
        WireStatus::Rejected if partly => OrderStatus::PartiallyCancelled,
        WireStatus::Unknown if filled < quantity => OrderStatus::Unknown,
        // Filled to the last share is the end, whatever the word.
        _ if filled >= quantity => OrderStatus::Filled,
        // "Filled" whose number has not arrived yet.
        _ if partly => OrderStatus::PartiallyFilled,
        _ => OrderStatus::Working,
    }
}

/// An order's row.
///
/// # Errors
/// One of ours that says what cannot be.
pub(crate) fn order(row: Value, now_ms: i64) -> Result<Read<OrderRow>, String> {
    one(row, |row, ours| order_row(row, ours, now_ms))
}

fn order_row(row: WireOrder, is_ours: bool, now_ms: i64) -> Result<Read<OrderRow>, String> {
    let client_order_id = ours(row.client_order_id, &row.remark);
    let Some(side) = row.side else {
        return match client_order_id {
            Some(id) if is_ours => Err(format!("order {id} is neither a buy nor a sale")),
            _ => Ok(Read::Foreign),
        };
    };
    if row.order_id.is_empty() {
        return Err(format!(
            "an order in {} has no number of the terminal's yet",
            row.symbol
        ));
    }
    if row.quantity == 0 || row.filled > row.quantity {
        return Err(format!(
            "order {} shows {} filled of {}",
            row.order_id, row.filled, row.quantity
        ));
    }
    let (placed_ms, odd) = today(&format!("order {}", row.order_id), row.placed_ms, now_ms, is_ours)?;
    let status = status(row.status, row.quantity, row.filled);
    let bad = matches!(status, OrderStatus::Rejected);
    Ok(read(
        odd,
        OrderRow {
            client_order_id,
            broker_order_id: row.order_id,
            symbol: row.symbol,
            side: side.into(),
            quantity: row.quantity,
            limit_price: row.price.filter(|price| !price.is_zero()),
            status,
            filled_quantity: row.filled,
            avg_fill_price: row.avg_price.filter(|price| row.filled > 0 && !price.is_zero()),
            exchange_order_id: Some(row.exchange_id).filter(|id| !id.is_empty()),
            reason: if bad && row.reason.trim().is_empty() {
                "the terminal calls it junk (57) and gives no reason".to_owned()
            } else {
                row.reason
            },
            error_code: None,
            placed_ms,
            updated_ms: now_ms,
            extras: String::new(),
        },
    ))
}

fn read<T>(odd: Option<String>, row: T) -> Read<T> {
    match odd {
        Some(odd) => Read::Odd(row, odd),
        None => Read::Row(row),
    }
}

/// A trade's row, with the fees that the terminal tells.
///
/// # Errors
/// One of ours that says what cannot be.
pub(crate) fn trade(row: Value, now_ms: i64) -> Result<Read<TradeRow>, String> {
    one(row, |row, ours| trade_row(row, ours, now_ms))
}

fn trade_row(row: WireTrade, is_ours: bool, now_ms: i64) -> Result<Read<TradeRow>, String> {
    let client_order_id = ours(row.client_order_id, &row.remark);
    let Some(side) = row.side else {
        return match client_order_id {
            Some(id) if is_ours => Err(format!("a trade of order {id} is neither a buy nor a sale")),
            _ => Ok(Read::Foreign),
        };
    };
    let price = row.price.unwrap_or_default();
    if row.order_id.is_empty() || row.trade_id.is_empty() || row.quantity == 0 || price <= Decimal::ZERO {
        return Err(format!(
            "a trade in {} has the id `{}`, the order `{}`, {} shares at {price}",
            row.symbol, row.trade_id, row.order_id, row.quantity
        ));
    }
    let what = format!("trade {} of order {}", row.trade_id, row.order_id);
    let (traded_ms, odd) = today(&what, row.traded_ms, now_ms, is_ours)?;
    Ok(read(
        odd,
        TradeRow {
            // The terminal's ids of trades are unique within an order alone.
            trade_id: format!("{}/{}", row.order_id, row.trade_id),
            client_order_id,
            broker_order_id: row.order_id,
            symbol: row.symbol,
            side: side.into(),
            quantity: row.quantity,
            price,
            commission: row.commission.filter(|commission| *commission > Decimal::ZERO),
            stamp_tax: None,
            transfer_fee: None,
            traded_ms: traded_ms.unwrap_or(now_ms),
            extras: String::new(),
        },
    ))
}

/// A holding.
///
/// # Errors
/// A row that says what cannot be.
pub(crate) fn position(row: Value) -> Result<PositionRow, String> {
    let row: WirePosition = parse(row)?;
    let positive = |count: i64| u64::try_from(count).unwrap_or(0);
    let frozen = positive(row.frozen).min(row.quantity);
    // What is sold out has no cost any more.
    let cost = row.avg_cost.or((row.quantity == 0).then_some(Decimal::ZERO));
    let avg_cost = cost.ok_or_else(|| {
        format!(
            "the terminal tells no cost of the {} shares of {}, and none is not 0",
            row.quantity, row.symbol
        )
    })?;
    Ok(PositionRow {
        symbol: row.symbol,
        name: Some(row.name).filter(|name| !name.is_empty()),
        quantity: row.quantity,
        // Never more than there are: an exit that counts on more is refused when it matters.
        available_qty: positive(row.sellable).min(row.quantity - frozen),
        frozen_qty: frozen,
        on_road_qty: Some(positive(row.on_road).min(row.quantity)),
        yesterday_qty: Some(positive(row.yesterday)),
        avg_cost,
        last_price: row.last_price.filter(|price| *price > Decimal::ZERO),
        previous_close: None,
        market_value: row.market_value,
        extras: String::new(),
    })
}

/// The account's money.
///
/// # Errors
/// A row that lacks an amount.
pub(crate) fn account(row: Value, options: &Options) -> Result<AccountRow, String> {
    let row: WireAsset = parse(row)?;
    let available = row.available.ok_or("the account's row lacks its cash")?;
    let frozen = row.frozen.unwrap_or_default().max(Decimal::ZERO);
    let market_value = row.market_value.unwrap_or_default();
    Ok(AccountRow {
        account_id: options.account_id.clone().unwrap_or_default(),
        kind: match options.account_type {
            AccountType::Stock => AccountKind::Cash,
            AccountType::Credit => AccountKind::Credit,
        },
        total_asset: row.total.unwrap_or(available + frozen + market_value),
        // The terminal's `cash` is what may be used; what is frozen is not in it.
        cash: available.max(Decimal::ZERO) + frozen,
        available_cash: available.max(Decimal::ZERO),
        frozen_cash: frozen,
        withdrawable_cash: row.withdrawable,
        market_value,
        extras: String::new(),
    })
}

/// An order or a cancel that failed.
pub(crate) fn failed(row: Value, kind: FailedKind) -> Result<OrderErrorRow, String> {
    let row: WireError = parse(row)?;
    Ok(OrderErrorRow {
        kind,
        client_order_id: ours(row.client_order_id, &row.remark),
        broker_order_id: Some(row.order_id).filter(|id| !id.is_empty()),
        reason: row.reason,
        error_code: row.code,
        extras: String::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const NOW: i64 = 1_795_545_667_000;

    fn wire_order(more: &Value) -> Result<Option<OrderRow>, String> {
        let mut row = json!({ "order_id": "7", "remark": "ABCDEFGHIJKLMNOPQRST", "symbol": "000858.SZ", "side": "buy",
            "quantity": 300, "filled": 0, "price": "43.5", "avg_price": "0", "status": "working", "reason": "",
            "exchange_id": "", "placed_ms": null });
        for (key, value) in more.as_object().expect("an object") {
            row[key] = value.clone();
        }
        Ok(match order(row, NOW)? {
            Read::Row(row) | Read::Odd(row, _) => Some(row),
            Read::Foreign | Read::LeftOut(_) => None,
        })
    }

    #[test]
    fn every_word_of_the_terminal_becomes_a_state_that_can_be() {
        use OrderStatus as S;
        for (word, filled, state) in [
            ("pending", 0, S::Pending),
            ("working", 0, S::Working),
            ("working", 100, S::PartiallyFilled),
            ("cancel_pending", 100, S::CancelPending),
            ("partially_filled", 100, S::PartiallyFilled),
            ("partially_cancelled", 100, S::PartiallyCancelled),
            ("partially_cancelled", 0, S::Cancelled),
            ("cancelled", 0, S::Cancelled),
            ("cancelled", 100, S::PartiallyCancelled),
            ("cancelled", 300, S::Filled),
            ("filled", 300, S::Filled),
            ("filled", 200, S::PartiallyFilled),
            ("rejected", 0, S::Rejected),
            ("rejected", 100, S::PartiallyCancelled),
            ("unknown", 0, S::Unknown),
        ] {
            let row = wire_order(&json!({ "status": word, "filled": filled }));
            assert_eq!(
                row.expect("read").expect("a row").status,
                state,
                "{word} {filled}"
            );
        }
        assert!(wire_order(&json!({ "status": "odd" })).is_err());
        assert!(wire_order(&json!({ "filled": 301 })).is_err());
        assert!(wire_order(&json!({ "order_id": "" })).is_err());
    }

    /// A row of 0 shares was taken for an order that is filled.
    #[test]
    fn an_order_of_no_shares_is_not_filled() {
        let row = json!({ "quantity": 0, "status": "pending" });
        assert!(wire_order(&row).expect_err("no shares").contains("0 filled of 0"));
    }

    /// One odd row of another program's, whose remark looked like an id of ours, made the whole list an error.
    #[test]
    fn an_odd_row_of_another_program_is_left_out_whatever_its_remark() {
        for odd in [
            json!({ "side": null, "remark": "etf" }),
            json!({ "order_id": "", "remark": "etf" }),
            json!({ "quantity": -1, "remark": "etf" }),
            json!({ "quantity": 0, "remark": "etf" }),
            json!({ "status": "odd", "remark": "etf" }),
        ] {
            let mut row = odd.clone();
            row["recorded"] = json!(false);
            assert_eq!(wire_order(&row), Ok(None), "{odd}");
            row["recorded"] = json!(true);
            assert!(wire_order(&row).is_err(), "{odd}");
        }
    }

    /// Rows with such a time vanished without a word, fills among them.
    #[test]
    fn a_row_of_ours_with_a_time_of_another_day_is_kept_and_told() {
        let trade_at = |ms: Value, recorded: bool| {
            let row = json!({ "trade_id": "1", "order_id": "7", "remark": "A", "symbol": "000858.SZ", "side": "buy",
                "quantity": 100, "price": "43.2", "commission": null, "traded_ms": ms, "recorded": recorded });
            trade(row, NOW)
        };
        let yesterday = json!(NOW - 86_400_000);
        let Ok(Read::Odd(row, told)) = trade_at(yesterday.clone(), true) else {
            panic!("lost")
        };
        assert_eq!(row.traded_ms, NOW);
        assert!(
            told.contains("trade 1 of order 7 has a time of another day"),
            "{told}"
        );
        assert!(matches!(trade_at(yesterday, false), Ok(Read::LeftOut(why)) if why.contains("another day")));
        assert!(matches!(trade_at(Value::Null, false), Ok(Read::Row(row)) if row.traded_ms == NOW));
        let Ok(Read::Odd(row, _)) = order(
            json!({ "order_id": "7", "remark": "A", "recorded": true, "symbol": "000858.SZ", "side": "buy", "quantity": 100,
                    "filled": 0, "status": "working", "reason": "", "placed_ms": 93_015_123 }),
            NOW,
        ) else {
            panic!("lost")
        };
        assert_eq!(row.placed_ms, None);
    }

    #[test]
    fn a_foreign_order_of_an_odd_kind_is_left_out_and_one_of_ours_is_not() {
        assert_eq!(wire_order(&json!({ "side": null, "remark": "申购" })), Ok(None));
        assert!(wire_order(&json!({ "side": null })).is_err());
        let cut = wire_order(&json!({ "remark": "" }))
            .expect("read")
            .expect("a row");
        assert_eq!(cut.client_order_id, None);
        let known = wire_order(&json!({ "remark": "ABC", "client_order_id": "ABCDEFGHIJKLMNOPQRST" }));
        let known = known.expect("read").expect("a row");
        assert_eq!(known.client_order_id.as_deref(), Some("ABCDEFGHIJKLMNOPQRST"));
    }

    #[test]
    fn more_than_is_held_is_never_offered_for_sale() {
        let row = |quantity: u64, sellable: i64, frozen: i64| {
            position(
                json!({ "symbol": "000858.SZ", "name": "五粮液", "quantity": quantity, "sellable": sellable,
                "frozen": frozen, "on_road": 100, "yesterday": 0, "avg_cost": "40.290909", "last_price": "0",
                "market_value": null }),
            )
            .expect("a row")
        };
        let bought_today = row(1100, 1000, 0);
        assert_eq!(
            (bought_today.available_qty, bought_today.on_road_qty),
            (1000, Some(100))
        );
        assert_eq!(bought_today.last_price, None);
        assert_eq!(row(100, 100, 50).available_qty, 50);
        assert_eq!(
            (row(0, 100, 100).available_qty, row(0, -1, -1).frozen_qty),
            (0, 0)
        );
    }

    #[test]
    fn an_unknown_cost_is_never_0() {
        let row = |quantity: u64| {
            position(
                json!({ "symbol": "000858.SZ", "name": "", "quantity": quantity, "sellable": 0, "frozen": 0, "on_road": 0,
                "yesterday": 0, "avg_cost": null, "last_price": null, "market_value": null }),
            )
        };
        assert!(
            row(100)
                .expect_err("no cost")
                .contains("no cost of the 100 shares of 000858.SZ")
        );
        assert_eq!(row(0).expect("sold out").avg_cost, Decimal::ZERO);
    }

    #[test]
    fn frozen_cash_is_not_taken_off_twice() {
        let asset = json!({ "available": "900.5", "frozen": "99.5", "market_value": "10", "total": "1010", "withdrawable": null });
        let row = account(asset, &Options::default()).expect("a row");
        assert_eq!(row.cash, Decimal::from(1000));
        assert_eq!(row.available_cash.to_string(), "900.5");
        assert!(account(json!({}), &Options::default()).is_err());
    }

    #[test]
    fn only_the_fees_that_the_terminal_tells_are_told_and_the_host_estimates_the_rest() {
        let wire = |commission: Value| {
            let row = json!({ "trade_id": "1", "order_id": "7", "remark": "", "symbol": "000858.SZ", "side": "sell",
                "quantity": 100, "price": "43.2", "commission": commission, "traded_ms": NOW });
            match trade(row, NOW) {
                Ok(Read::Row(row)) => row,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(wire(json!("1.08")).commission, Some(Decimal::new(108, 2)));
        for untold in [Value::Null, json!("0")] {
            let row = wire(untold);
            assert_eq!(
                (row.commission, row.stamp_tax, row.transfer_fee),
                (None, None, None)
            );
        }
    }
}
