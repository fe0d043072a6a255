//! What is known of the day's orders and trades: nothing is told twice, and nothing ever goes back.
//!
//! After a reconnection the terminal may push the whole day again, pushes may come twice or behind a list that shows
//! the same, and a list may lag behind a push. Everything is kept by (day, order), and trades by (day, order, trade).

use std::collections::BTreeMap;

use qt_plugin_api::{OrderRow, OrderStatus, TradeRow};

use crate::hours;

/// What of an order was told: its state, its fills, and whether it had a name of ours.
type Told = (OrderStatus, u64, bool);

#[derive(Debug)]
struct Order {
    row: OrderRow,
    told: Option<Told>,
}

impl Order {
    fn state(&self) -> Told {
        let row = &self.row;
        (row.status, row.filled_quantity, row.client_order_id.is_some())
    }

    /// Takes what a row says, unless it goes back behind what is known.
    fn see(&mut self, row: OrderRow) {
        let known = &mut self.row;
        let name = known
            .client_order_id
            .take()
            .or_else(|| row.client_order_id.clone());
        let goes_back = row.filled_quantity < known.filled_quantity
            || (known.status.is_final() && row.filled_quantity == known.filled_quantity);
        if !goes_back {
            *known = row;
        }
        known.client_order_id = name;
    }
}

#[derive(Debug)]
struct Trade {
    row: TradeRow,
    /// Whether it was told, and then whether it had a name of ours.
    told: Option<bool>,
}

/// Rows that must be told, in their order.
#[derive(Debug, Default)]
pub(crate) struct News {
    /// Orders.
    pub(crate) orders: Vec<OrderRow>,
    /// Trades.
    pub(crate) trades: Vec<TradeRow>,
}

/// The day's orders and trades.
#[derive(Debug)]
pub(crate) struct Books {
    day: i64,
    orders: BTreeMap<String, Order>,
    trades: BTreeMap<String, Trade>,
}

impl Books {
    /// Empty books.
    pub(crate) fn new(now_ms: i64) -> Self {
        Self {
            day: hours::day(now_ms),
            orders: BTreeMap::new(),
            trades: BTreeMap::new(),
        }
    }

    /// Begins a new day, where one has begun. The terminal's numbers may come again on another day.
    pub(crate) fn roll(&mut self, now_ms: i64) {
        let today = hours::day(now_ms);
        if today > self.day {
            self.day = today;
            self.orders.clear();
            self.trades.clear();
        }
    }

    fn is_of_today(&self, at_ms: i64) -> bool {
        hours::day(at_ms) == self.day
    }

    fn keep_order(&mut self, row: OrderRow) -> Option<&mut Order> {
        if row.placed_ms.is_some_and(|at| !self.is_of_today(at)) {
            return None;
        }
        let key = row.broker_order_id.clone();
        match self.orders.entry(key) {
            std::collections::btree_map::Entry::Occupied(known) => {
                let known = known.into_mut();
                known.see(row);
                Some(known)
            }
            std::collections::btree_map::Entry::Vacant(place) => {
                Some(place.insert(Order { row, told: None }))
            }
        }
    }

    fn keep_trade(&mut self, mut row: TradeRow) -> Option<&mut Trade> {
        if !self.is_of_today(row.traded_ms) {
            return None;
        }
        let key = row.trade_id.clone();
        if let Some(order) = self.orders.get(&row.broker_order_id)
            && row.client_order_id.is_none()
        {
            row.client_order_id.clone_from(&order.row.client_order_id);
        }
        match self.trades.entry(key) {
            std::collections::btree_map::Entry::Occupied(known) => {
                let known = known.into_mut();
                known.row.client_order_id = known.row.client_order_id.take().or(row.client_order_id);
                Some(known)
            }
            std::collections::btree_map::Entry::Vacant(place) => {
                Some(place.insert(Trade { row, told: None }))
            }
        }
    }

    /// Takes a pushed order; what must be told of it.
    pub(crate) fn order_pushed(&mut self, row: OrderRow) -> Option<OrderRow> {
        let order = self.keep_order(row)?;
        let state = order.state();
        (order.told.replace(state) != Some(state)).then(|| order.row.clone())
    }

    /// Takes a pushed trade; what must be told of it.
    pub(crate) fn trade_pushed(&mut self, row: TradeRow) -> Option<TradeRow> {
        let trade = self.keep_trade(row)?;
        let named = trade.row.client_order_id.is_some();
        (trade.told.replace(named) != Some(named)).then(|| trade.row.clone())
    }

    /// Takes the terminal's list of orders; every order of the day that is known then.
    pub(crate) fn orders_listed(&mut self, rows: Vec<OrderRow>) -> Vec<OrderRow> {
        for row in rows {
            self.keep_order(row);
        }
        self.orders.values().map(|order| order.row.clone()).collect()
    }

    /// Takes the terminal's list of trades; every trade of the day that is known then.
    ///
    /// # Errors
    /// The list lacks a trade that was told of less than `within_ms` ago, or that an order's fill proves.
    pub(crate) fn trades_listed(
        &mut self,
        rows: Vec<TradeRow>,
        within_ms: i64,
        now_ms: i64,
    ) -> Result<Vec<TradeRow>, String> {
        for row in rows {
            self.keep_trade(row);
        }
        let mut sums: BTreeMap<&str, u64> = BTreeMap::new();
        for trade in self.trades.values() {
            *sums.entry(&trade.row.broker_order_id).or_default() += trade.row.quantity;
        }
        let fresh = |order: &&Order| now_ms - order.row.updated_ms < within_ms;
        for order in self.orders.values().filter(fresh) {
            let sum = sums.get(order.row.broker_order_id.as_str()).copied().unwrap_or(0);
            if sum < order.row.filled_quantity {
                return Err(format!(
                    "the terminal's trades lag behind its orders: order {} has {} filled, and {sum} of it are in the \
                     list",
                    order.row.broker_order_id, order.row.filled_quantity
                ));
            }
        }
        Ok(self.trades.values().map(|trade| trade.row.clone()).collect())
    }

    /// Notes which of our orders a number of the terminal's is.
    pub(crate) fn name(&mut self, broker_order_id: &str, client_order_id: &str) {
        let name = || Some(client_order_id.to_owned());
        if let Some(order) = self.orders.get_mut(broker_order_id) {
            order.row.client_order_id = name();
        }
        for trade in self.trades.values_mut() {
            if trade.row.broker_order_id == broker_order_id {
                trade.row.client_order_id = name();
            }
        }
    }

    /// Everything that differs from what was told; it counts as told from now on.
    pub(crate) fn untold(&mut self) -> News {
        let mut news = News::default();
        // Trades first: an order that has ended lacks none then.
        for trade in self.trades.values_mut() {
            let named = trade.row.client_order_id.is_some();
            if trade.told.replace(named) != Some(named) {
                news.trades.push(trade.row.clone());
            }
        }
        for order in self.orders.values_mut() {
            let state = order.state();
            if order.told.replace(state) != Some(state) {
                news.orders.push(order.row.clone());
            }
        }
        news
    }

    /// An order, by our id.
    pub(crate) fn find(&self, client_order_id: &str) -> Option<&OrderRow> {
        let named = |order: &&Order| order.row.client_order_id.as_deref() == Some(client_order_id);
        self.orders.values().find(named).map(|order| &order.row)
    }

    /// An order, by the terminal's number.
    pub(crate) fn order(&self, broker_order_id: &str) -> Option<&OrderRow> {
        self.orders.get(broker_order_id).map(|order| &order.row)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use qt_plugin_api::{OrderRequest, Side};
    use rust_decimal::Decimal;

    const NOW: i64 = 1_795_545_667_000;
    const DAY: i64 = 86_400_000;

    fn order(id: &str, status: OrderStatus, filled: u64) -> OrderRow {
        let request = OrderRequest::new(
            "ABCDEFGHIJKLMNOPQRST",
            "000858.SZ",
            Side::Buy,
            300,
            Some(Decimal::ONE),
        );
        OrderRow {
            status,
            filled_quantity: filled,
            ..OrderRow::working(&request, id, NOW)
        }
    }

    fn trade(id: &str, order: &str, quantity: u64) -> TradeRow {
        TradeRow {
            trade_id: format!("{order}/{id}"),
            client_order_id: None,
            broker_order_id: order.to_owned(),
            symbol: "000858.SZ".to_owned(),
            side: Side::Buy,
            quantity,
            price: Decimal::ONE,
            commission: None,
            stamp_tax: None,
            transfer_fee: None,
            traded_ms: NOW,
            extras: String::new(),
        }
    }

    fn books() -> Books {
        Books::new(NOW)
    }

    #[test]
    fn a_replayed_day_tells_nothing_again() {
        let mut books = books();
        let rows = [
            order("7", OrderStatus::Working, 0),
            order("7", OrderStatus::PartiallyFilled, 100),
            order("7", OrderStatus::Filled, 300),
        ];
        for row in &rows {
            assert!(books.order_pushed(row.clone()).is_some());
        }
        assert!(books.trade_pushed(trade("1", "7", 300)).is_some());
        for row in rows {
            assert_eq!(books.order_pushed(row), None);
        }
        assert_eq!(books.trade_pushed(trade("1", "7", 300)), None);
        let left = books.untold();
        assert!(left.orders.is_empty() && left.trades.is_empty());
    }

    #[test]
    fn the_same_trade_number_of_two_orders_is_two_trades() {
        let mut books = books();
        assert!(books.trade_pushed(trade("1", "7", 100)).is_some());
        assert!(books.trade_pushed(trade("1", "8", 100)).is_some());
    }

    #[test]
    fn what_only_a_list_showed_is_told_when_its_push_comes_or_the_books_are_compared() {
        let mut books = books();
        books.orders_listed(vec![
            order("7", OrderStatus::Working, 0),
            order("8", OrderStatus::Working, 0),
        ]);
        assert!(books.order_pushed(order("7", OrderStatus::Working, 0)).is_some());
        let news = books.untold();
        assert_eq!(news.orders.len(), 1);
        assert_eq!(news.orders[0].broker_order_id, "8");
    }

    #[test]
    fn a_list_that_lags_behind_never_takes_a_fill_back() {
        let mut books = books();
        books.order_pushed(order("7", OrderStatus::Filled, 300));
        let listed = books.orders_listed(vec![order("7", OrderStatus::Working, 0)]);
        assert_eq!(
            (listed[0].status, listed[0].filled_quantity),
            (OrderStatus::Filled, 300)
        );
        let why = books
            .trades_listed(Vec::new(), 30_000, NOW + 1)
            .expect_err("the trade is missing");
        assert!(why.contains("order 7"), "{why}");
        // After a while the list is given as it is: the host's own rules decide then.
        assert_eq!(
            books.trades_listed(Vec::new(), 30_000, NOW + 30_000),
            Ok(Vec::new())
        );
    }

    #[test]
    fn a_name_that_is_learned_late_is_told() {
        let mut books = books();
        let mut cut = order("7", OrderStatus::Working, 0);
        cut.client_order_id = None;
        books.order_pushed(cut.clone());
        books.trade_pushed(trade("1", "7", 100));
        books.name("7", "ABCDEFGHIJKLMNOPQRST");
        let news = books.untold();
        assert_eq!((news.orders.len(), news.trades.len()), (1, 1));
        // A row that lacks it takes it away no more.
        assert_eq!(books.order_pushed(cut), None);
        assert!(books.find("ABCDEFGHIJKLMNOPQRST").is_some());
    }

    #[test]
    fn another_day_begins_with_empty_books_and_takes_no_row_of_the_day_before() {
        let mut books = books();
        books.order_pushed(order("7", OrderStatus::Filled, 300));
        books.roll(NOW + DAY);
        assert_eq!(books.order("7"), None);
        assert_eq!(books.order_pushed(order("7", OrderStatus::Filled, 300)), None);
        assert_eq!(books.trade_pushed(trade("1", "7", 300)), None);
        assert_eq!(books.order("7"), None);
    }

    proptest! {
        /// However pushes and lists of one order come, twice or out of order: its fills never shrink, an end is
        /// final, and each trade is told once.
        #[test]
        fn nothing_goes_back(steps in proptest::collection::vec((0_u64..4, 0_u8..3, any::<bool>()), 1..60)) {
            let mut books = books();
            let (mut filled, mut end, mut told) = (0, None, std::collections::BTreeSet::new());
            for (hundreds, kind, pushed) in steps {
                let status = match (kind, hundreds) {
                    (_, 3) => OrderStatus::Filled,
                    (0, 0) => OrderStatus::Working,
                    (1, 0) => OrderStatus::Cancelled,
                    (1, _) => OrderStatus::PartiallyCancelled,
                    (_, 0) => OrderStatus::CancelPending,
                    _ => OrderStatus::PartiallyFilled,
                };
                let row = order("7", status, hundreds * 100);
                if pushed {
                    books.order_pushed(row);
                    if let Some(told_now) = books.trade_pushed(trade(&hundreds.to_string(), "7", 1)) {
                        prop_assert!(told.insert(told_now.trade_id) , "told twice");
                    }
                } else {
                    books.orders_listed(vec![row]);
                }
                let known = books.order("7").expect("known");
                prop_assert!(known.filled_quantity >= filled);
                if let Some(end) = end.filter(|_| known.filled_quantity == filled) {
                    prop_assert_eq!(known.status, end);
                }
                filled = known.filled_quantity;
                end = known.status.is_final().then_some(known.status);
            }
        }
    }
}
