//! What is known of the day's orders and trades: nothing is told twice, and nothing ever goes back.
//!
//! After a reconnection the terminal may push the whole day again, pushes may come twice or behind a list that shows
//! the same, and a list may lag behind a push. Everything is kept by (day, order), and trades by (day, order, trade).

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use qt_plugin_api::{OrderRow, OrderStatus, TradeRow};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::hours;

/// What of an order was told: its state, its fills, and whether it had a name of ours.
type Told = (OrderStatus, u64, bool);

fn state(row: &OrderRow) -> Told {
    (row.status, row.filled_quantity, row.client_order_id.is_some())
}

/// A row as bytes: with its texts it takes some 400, and a day may have hundreds of thousands of them.
#[derive(Debug)]
enum Kept<T> {
    Packed(Box<[u8]>),
    /// One that would come back otherwise stays as it is.
    Whole(Box<T>),
}

impl<T: Clone + PartialEq + Serialize + DeserializeOwned> Kept<T> {
    fn of(row: T) -> Self {
        match postcard::to_stdvec(&row) {
            Ok(bytes) if postcard::from_bytes(&bytes).as_ref() == Ok(&row) => {
                Self::Packed(bytes.into_boxed_slice())
            }
            _ => Self::Whole(Box::new(row)),
        }
    }

    /// The row. That its bytes give it was seen when it was packed.
    fn row(&self) -> Option<T> {
        match self {
            Self::Packed(bytes) => postcard::from_bytes(bytes).ok(),
            Self::Whole(row) => Some((**row).clone()),
        }
    }
}

/// An order; what is asked for often stands beside its row.
#[derive(Debug)]
struct Order {
    kept: Kept<OrderRow>,
    state: Told,
    updated_ms: i64,
    told: Option<Told>,
}

impl Order {
    fn of(row: OrderRow) -> Self {
        Self {
            state: state(&row),
            updated_ms: row.updated_ms,
            told: None,
            kept: Kept::of(row),
        }
    }

    fn put(&mut self, row: OrderRow) {
        *self = Self {
            told: self.told,
            ..Self::of(row)
        };
    }

    /// Takes what a row says, unless it goes back behind what is known.
    fn see(&mut self, mut row: OrderRow) {
        let (status, filled, named) = self.state;
        let goes_back = row.filled_quantity < filled || (status.is_final() && row.filled_quantity == filled);
        if goes_back {
            if let Some(name) = row.client_order_id {
                self.name(&name);
            }
            return;
        }
        // A row that lacks the name takes it away no more, and one that has another does not change it.
        if named && let Some(known) = self.kept.row() {
            row.client_order_id = known.client_order_id;
        }
        self.put(row);
    }

    /// Gives it a name of ours, unless it has one.
    fn name(&mut self, name: &str) {
        let (_, _, named) = self.state;
        if !named {
            self.rename(name);
        }
    }

    /// Gives it this name of ours, whatever its remark said.
    fn rename(&mut self, name: &str) {
        if let Some(mut row) = self.kept.row()
            && row.client_order_id.as_deref() != Some(name)
        {
            row.client_order_id = Some(name.to_owned());
            self.put(row);
        }
    }

    /// The row, where it was not told as it is now; it counts as told from now on.
    fn tell(&mut self) -> Option<OrderRow> {
        let is_news = self.told.replace(self.state) != Some(self.state);
        is_news.then(|| self.kept.row()).flatten()
    }
}

#[derive(Debug)]
struct Trade {
    kept: Kept<TradeRow>,
    quantity: u64,
    /// Whether it has a name of ours.
    named: bool,
    /// Whether it was told, and then whether it had a name of ours.
    told: Option<bool>,
}

impl Trade {
    fn of(row: TradeRow) -> Self {
        Self {
            quantity: row.quantity,
            named: row.client_order_id.is_some(),
            told: None,
            kept: Kept::of(row),
        }
    }

    /// As [`Order::rename`].
    fn rename(&mut self, name: &str) {
        if let Some(mut row) = self.kept.row()
            && row.client_order_id.as_deref() != Some(name)
        {
            row.client_order_id = Some(name.to_owned());
            *self = Self {
                told: self.told,
                ..Self::of(row)
            };
        }
    }

    /// As [`Order::tell`].
    fn tell(&mut self) -> Option<TradeRow> {
        let is_news = self.told.replace(self.named) != Some(self.named);
        is_news.then(|| self.kept.row()).flatten()
    }
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
    orders: BTreeMap<Box<str>, Order>,
    /// By [`trade_key`].
    trades: BTreeMap<Box<str>, Trade>,
    /// The numbers of orders by our ids. Where an order was renamed its old name may still lead to it: who looks here looks
    /// at the order too.
    numbers: HashMap<Box<str>, Box<str>>,
}

/// Those of an order lie side by side: a trade's id begins with its order's number, whose length makes the end of that plain.
fn trade_key(row: &TradeRow) -> Box<str> {
    format!("{} {}", row.broker_order_id.len(), row.trade_id).into()
}

/// From the first key of an order's trades to the first behind them.
fn trades_of(broker_order_id: &str) -> Range<Box<str>> {
    let key = |end: char| format!("{} {broker_order_id}{end}", broker_order_id.len()).into();
    key('/')..key('0')
}

impl Books {
    /// Empty books.
    pub(crate) fn new(now_ms: i64) -> Self {
        Self {
            day: hours::day(now_ms),
            orders: BTreeMap::new(),
            trades: BTreeMap::new(),
            numbers: HashMap::new(),
        }
    }

    /// Begins a new day, where one has begun. The terminal's numbers may come again on another day.
    pub(crate) fn roll(&mut self, now_ms: i64) {
        let today = hours::day(now_ms);
        if today > self.day {
            self.day = today;
            self.orders.clear();
            self.trades.clear();
            self.numbers.clear();
        }
    }

    fn is_of_today(&self, at_ms: i64) -> bool {
        hours::day(at_ms) == self.day
    }

    fn keep_order(&mut self, row: OrderRow) -> Option<&mut Order> {
        if row.placed_ms.is_some_and(|at| !self.is_of_today(at)) {
            return None;
        }
        if let Some(name) = &row.client_order_id {
            self.learn(name, &row.broker_order_id);
        }
        match self.orders.entry(row.broker_order_id.as_str().into()) {
            Entry::Occupied(known) => {
                let known = known.into_mut();
                known.see(row);
                Some(known)
            }
            Entry::Vacant(place) => Some(place.insert(Order::of(row))),
        }
    }

    /// Notes where an id of ours leads, unless it leads to another order that has it.
    fn learn(&mut self, client_order_id: &str, broker_order_id: &str) {
        let known = self.numbers.get(client_order_id);
        if known.is_some_and(|number| **number == *broker_order_id) || self.find(client_order_id).is_some() {
            return;
        }
        self.numbers
            .insert(client_order_id.into(), broker_order_id.into());
    }

    fn keep_trade(&mut self, mut row: TradeRow) -> Option<&mut Trade> {
        if !self.is_of_today(row.traded_ms) {
            return None;
        }
        let name = row.client_order_id.take();
        let name = name.or_else(|| self.order(&row.broker_order_id)?.client_order_id);
        match self.trades.entry(trade_key(&row)) {
            Entry::Occupied(known) => {
                let known = known.into_mut();
                if let Some(name) = name.filter(|_| !known.named) {
                    known.rename(&name);
                }
                Some(known)
            }
            Entry::Vacant(place) => {
                row.client_order_id = name;
                Some(place.insert(Trade::of(row)))
            }
        }
    }

    /// Takes a pushed order; what must be told of it.
    pub(crate) fn order_pushed(&mut self, row: OrderRow) -> Option<OrderRow> {
        self.keep_order(row)?.tell()
    }

    /// Takes a pushed trade; what must be told of it.
    pub(crate) fn trade_pushed(&mut self, row: TradeRow) -> Option<TradeRow> {
        self.keep_trade(row)?.tell()
    }

    /// Takes the terminal's list of orders; every order of the day that is known then.
    pub(crate) fn orders_listed(&mut self, rows: Vec<OrderRow>) -> Vec<OrderRow> {
        self.take_orders(rows);
        self.orders
            .values()
            .filter_map(|order| order.kept.row())
            .collect()
    }

    /// Takes the terminal's list of orders.
    pub(crate) fn take_orders(&mut self, rows: Vec<OrderRow>) {
        for row in rows {
            self.keep_order(row);
        }
    }

    /// Takes the terminal's list of trades; every trade of the day that is known then.
    ///
    /// # Errors
    /// As [`Self::take_trades`].
    pub(crate) fn trades_listed(
        &mut self,
        rows: Vec<TradeRow>,
        within_ms: i64,
        now_ms: i64,
    ) -> Result<Vec<TradeRow>, String> {
        self.take_trades(rows, within_ms, now_ms)?;
        Ok(self
            .trades
            .values()
            .filter_map(|trade| trade.kept.row())
            .collect())
    }

    /// Takes the terminal's list of trades.
    ///
    /// # Errors
    /// The list lacks a trade that was told of less than `within_ms` ago, or that an order's fill proves.
    pub(crate) fn take_trades(
        &mut self,
        rows: Vec<TradeRow>,
        within_ms: i64,
        now_ms: i64,
    ) -> Result<(), String> {
        for row in rows {
            self.keep_trade(row);
        }
        for (number, order) in &self.orders {
            let (_, filled, _) = order.state;
            if now_ms - order.updated_ms >= within_ms {
                continue;
            }
            let sum: u64 = self
                .trades
                .range(trades_of(number))
                .map(|(_, trade)| trade.quantity)
                .sum();
            if sum < filled {
                return Err(format!(
                    "the terminal's trades lag behind its orders: order {number} has {filled} filled, and {sum} of it are in \
                     the list"
                ));
            }
        }
        Ok(())
    }

    /// Notes which of our orders a number of the terminal's is.
    pub(crate) fn name(&mut self, broker_order_id: &str, client_order_id: &str) {
        if self.orders.contains_key(broker_order_id) {
            self.learn(client_order_id, broker_order_id);
        }
        if let Some(order) = self.orders.get_mut(broker_order_id) {
            order.rename(client_order_id);
        }
        for (_, trade) in self.trades.range_mut(trades_of(broker_order_id)) {
            trade.rename(client_order_id);
        }
    }

    /// Everything that differs from what was told; it counts as told from now on.
    pub(crate) fn untold(&mut self) -> News {
        News {
            // Trades first: an order that has ended lacks none then.
            trades: self.trades.values_mut().filter_map(Trade::tell).collect(),
            orders: self.orders.values_mut().filter_map(Order::tell).collect(),
        }
    }

    /// An order, by our id.
    pub(crate) fn find(&self, client_order_id: &str) -> Option<OrderRow> {
        let row = self.order(self.numbers.get(client_order_id)?)?;
        (row.client_order_id.as_deref() == Some(client_order_id)).then_some(row)
    }

    /// An order, by the terminal's number.
    pub(crate) fn order(&self, broker_order_id: &str) -> Option<OrderRow> {
        self.orders.get(broker_order_id)?.kept.row()
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

    #[test]
    fn a_row_is_kept_in_few_bytes_and_comes_back_as_it_was() {
        let mut row = order("1073741825", OrderStatus::Filled, 300);
        row.limit_price = Some("43.50".parse().expect("a price"));
        row.avg_fill_price = Some("79228162514264337593543950335".parse().expect("a price"));
        row.exchange_order_id = Some("S1073741825".to_owned());
        let mut sold = trade("10737418250001", "1073741825", 300);
        sold.price = "-0.0".parse().expect("a price");
        sold.commission = Some("5.00".parse().expect("an amount"));
        let (order, trade) = (Kept::of(row.clone()), Kept::of(sold.clone()));
        let (Kept::Packed(order_bytes), Kept::Packed(trade_bytes)) = (&order, &trade) else {
            panic!("they stay whole");
        };
        assert!(
            order_bytes.len() < 140 && trade_bytes.len() < 100,
            "{} and {}",
            order_bytes.len(),
            trade_bytes.len()
        );
        assert_eq!((order.row(), trade.row()), (Some(row), Some(sold)));
    }

    #[test]
    fn an_order_has_its_own_trades_and_no_others() {
        let mut books = books();
        for (id, number) in [("1", "7"), ("2", "7"), ("1", "70"), ("7/1", "7/7"), ("1", "6")] {
            books.trade_pushed(trade(id, number, 100));
        }
        books.name("7", "ABCDEFGHIJKLMNOPQRST");
        let mut named: Vec<String> = books
            .untold()
            .trades
            .into_iter()
            .map(|row| row.trade_id)
            .collect();
        named.sort();
        assert_eq!(named, ["7/1", "7/2"]);
        assert!(books.trade_pushed(trade("3", "7", 100)).is_some());
        // The three of them make 300.
        books.order_pushed(order("7", OrderStatus::Filled, 300));
        assert_eq!(books.take_trades(Vec::new(), 30_000, NOW), Ok(()));
    }

    /// Each order's number is noted while the terminal's next answer waits: it once took a look at every trade of the day,
    /// and a day's orders took the longer the more there were. As it was, this takes so long that the test runner ends it.
    #[test]
    fn noting_a_number_looks_at_no_other_order_of_a_long_day() {
        const ORDERS: u32 = 200_000;
        let mut books = books();
        for number in 0..ORDERS {
            let number = number.to_string();
            let mut row = order(&number, OrderStatus::Filled, 300);
            row.client_order_id = None;
            books.order_pushed(row);
            books.trade_pushed(trade("1", &number, 300));
            books.name(&number, &format!("C{number}"));
        }
        assert_eq!(books.untold().trades.len(), ORDERS as usize);
    }

    /// A cancel of an order whose number is not known looks for it by our id: it once unpacked every order of the day,
    /// which takes so long that the test runner ends it.
    #[test]
    fn an_id_is_found_without_a_look_at_every_order_of_a_long_day() {
        const ORDERS: u32 = 60_000;
        let mut books = books();
        for number in 0..ORDERS {
            let mut row = order(&number.to_string(), OrderStatus::Working, 0);
            row.client_order_id = Some(format!("C{number}"));
            books.order_pushed(row);
        }
        for number in 0..ORDERS {
            let found = books.find(&format!("C{number}")).expect("found");
            assert_eq!(found.broker_order_id, number.to_string());
        }
    }

    #[test]
    fn an_order_is_found_by_the_name_that_it_has_and_by_no_other() {
        let mut books = books();
        let mut cut = order("7", OrderStatus::Working, 0);
        cut.client_order_id = Some("ABCDE".to_owned());
        books.order_pushed(cut);
        books.name("7", "ABCDEFGHIJKLMNOPQRST");
        assert_eq!(books.find("ABCDE"), None);
        let found = books.find("ABCDEFGHIJKLMNOPQRST").expect("found");
        assert_eq!(found.broker_order_id, "7");
        // Another order that says so takes it from nobody, and takes what nobody has any more.
        books.order_pushed(order("8", OrderStatus::Working, 0));
        assert_eq!(books.find("ABCDEFGHIJKLMNOPQRST"), Some(found));
        let mut other = order("9", OrderStatus::Working, 0);
        other.client_order_id = Some("ABCDE".to_owned());
        books.order_pushed(other);
        let found = books.find("ABCDE").expect("found");
        assert_eq!(found.broker_order_id, "9");
        books.roll(NOW + DAY);
        assert_eq!(books.find("ABCDE"), None);
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
