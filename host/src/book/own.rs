//! What the journal knows of how the book came about.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use qt_core::portfolio::{Position, Trade, TradeBook, trades_of};
use qt_core::{BrokerFill, Fill, FillId, Order, TradingDate, UtcMillis};
use qt_market::{Market, Shares, Side, Symbol};

use super::BookError;
use crate::config::Config;
use crate::journal::{self, JournalError};

/// Our orders and the trades that they made.
#[derive(Debug, Default)]
pub(super) struct Own {
    /// Oldest first.
    pub(super) orders: Vec<Order>,
    /// With their fees.
    pub(super) trades: Vec<Trade>,
    /// What is charged where a broker does not say; without a journal by the program's own tables.
    market: Option<Box<Market>>,
}

/// Reads the journal of `data_dir`, which must be that account's where a key is given.
pub(super) fn read(config: &Config, data_dir: &Path, account_key: Option<&str>) -> Result<Own, BookError> {
    let path = data_dir.join(journal::FILE_NAME);
    if !config.journal.enabled {
        // What lies there was written by an earlier configuration, and says nothing of what was traded since.
        return Err(JournalError::Absent { path }.into());
    }
    let orders = journal::every_order(&path, account_key)?;
    let market = config.gates.market().map_err(BookError::Tables)?;
    let mut trades = Vec::new();
    for order in &orders {
        let (symbol, side) = (order.signal.symbol, order.signal.side);
        trades.extend(trades_of(symbol, side, &order.fills, &market)?);
    }
    Ok(Own {
        orders,
        trades,
        market: Some(Box::new(market)),
    })
}

impl Own {
    /// Today's trades as of `now`: ours, and those in the broker's list that are not; how many the latter are.
    pub(super) fn with_strangers(
        &self,
        of_broker: &[BrokerFill],
        now: UtcMillis,
    ) -> Result<(Vec<Trade>, usize), BookError> {
        let market = self.market.as_deref().unwrap_or_else(|| Market::builtin());
        let today = now.trading_date();
        let is_today = |at: UtcMillis| at.trading_date() == today;
        let known: HashSet<(Symbol, &FillId)> = self
            .orders
            .iter()
            .flat_map(|order| order.fills.iter().map(move |fill| (order.signal.symbol, fill)))
            .filter(|(_, fill)| is_today(fill.at))
            .map(|(symbol, fill)| (symbol, &fill.id))
            .collect();
        let mut trades: Vec<Trade> = self
            .trades
            .iter()
            .filter(|trade| is_today(trade.at))
            .copied()
            .collect();
        let mut strangers: BTreeMap<(&str, Symbol, Side), Vec<Fill>> = BTreeMap::new();
        let mut seen = HashSet::new();
        for fill in of_broker {
            // A broker may show a trade twice; it was made once.
            if is_today(fill.at)
                && !known.contains(&(fill.symbol, &fill.fill_id))
                && seen.insert((fill.symbol, &fill.fill_id))
            {
                let order = (fill.broker_order_id.0.as_str(), fill.symbol, fill.side);
                strangers.entry(order).or_default().push(Fill::from(fill));
            }
        }
        for ((_, symbol, side), fills) in strangers {
            trades.extend(trades_of(symbol, side, &fills, market)?);
        }
        Ok((trades, seen.len()))
    }

    /// What the trades leave, by symbol. Shares bought today cannot be sold before tomorrow.
    pub(super) fn positions(&self, book: &TradeBook, now: UtcMillis) -> Vec<Position> {
        let today = now.trading_date();
        book.iter()
            .filter(|(_, figures)| figures.quantity > 0)
            .map(|(symbol, figures)| {
                let frozen = self.in_open_sales(symbol).min(figures.quantity);
                let bound = frozen.saturating_add(self.bought_on(symbol, today));
                Position {
                    symbol,
                    name: None,
                    total: figures.quantity,
                    sellable: figures.quantity.saturating_sub(bound).max(0),
                    frozen,
                    avg_cost: figures.avg_cost().unwrap_or_default(),
                    last_price: None,
                    previous_close: None,
                }
            })
            .collect()
    }

    fn in_open_sales(&self, symbol: Symbol) -> Shares {
        self.orders
            .iter()
            .filter(|order| order.signal.symbol == symbol && order.signal.side == Side::Sell)
            .map(Order::open_size)
            .fold(0, Shares::saturating_add)
    }

    fn bought_on(&self, symbol: Symbol, day: TradingDate) -> Shares {
        self.trades
            .iter()
            .filter(|trade| {
                trade.symbol == symbol && trade.side == Side::Buy && trade.at.trading_date() == day
            })
            .map(|trade| trade.size)
            .fold(0, Shares::saturating_add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(id: &str, symbol: &str, day_ms: i64) -> BrokerFill {
        BrokerFill {
            fill_id: FillId(id.to_owned()),
            id: None,
            broker_order_id: "B1".into(),
            symbol: symbol.parse().unwrap(),
            side: Side::Buy,
            size: 100,
            price: 10.into(),
            commission: None,
            stamp_tax: None,
            transfer_fee: None,
            at: UtcMillis(day_ms),
        }
    }

    #[test]
    fn trades_made_elsewhere_count_once_and_only_today() {
        let now = UtcMillis(1_795_536_000_000);
        let list = [
            fill("F1", "000858.SZ", now.0),
            fill("F1", "000858.SZ", now.0),
            fill("F1", "600519.SH", now.0),
            fill("F2", "000858.SZ", now.0 - 86_400_000),
        ];
        let (trades, strangers) = Own::default().with_strangers(&list, now).unwrap();
        assert_eq!((trades.len(), strangers), (2, 2));
        // The smallest commission of an order, since the broker says nothing of fees, and the transfer fee.
        assert_eq!(trades[0].fees.to_string(), "5.01");
    }
}
