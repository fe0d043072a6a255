//! How holdings came about: what the journal's trades say, and our own average cost beside the broker's.

use qt_core::UtcMillis;
use qt_core::portfolio::TradeFigures;
use qt_market::{Price, Shares, Symbol};
use serde_json::{Value, json};

use super::cells::{
    Cell, Style, decimal_number as number, digits, grouped, money, price, shown_name, signed_money,
};
use super::{WIDE, shanghai};
use crate::book::{BookView, OwnCost};

/// One symbol that is held, or that was sold out since trades are known.
#[derive(Debug)]
pub(crate) struct HistoryRow<'a> {
    symbol: Symbol,
    name: Option<String>,
    label: String,
    quantity: Shares,
    broker_cost: Option<Price>,
    figures: Option<&'a TradeFigures>,
    own: OwnCost,
    holding_days: Option<i64>,
}

/// A row for each holding in the book's order, then for each symbol that was sold out.
pub(crate) fn rows(view: &BookView) -> Vec<HistoryRow<'_>> {
    let today = view.as_of.trading_date();
    let with_names = Style {
        names: true,
        ..Style::default()
    };
    let mut rows: Vec<_> = view
        .positions
        .iter()
        .map(|position| {
            let figures = view.history(position.symbol);
            HistoryRow {
                symbol: position.symbol,
                name: position.name.clone(),
                label: shown_name(position, &with_names),
                quantity: position.total,
                broker_cost: (position.total != 0).then_some(position.avg_cost),
                figures,
                own: view.own_cost(position),
                holding_days: figures.and_then(|figures| figures.holding_days(today)),
            }
        })
        .collect();
    let held: std::collections::HashSet<Symbol> = rows.iter().map(|row| row.symbol).collect();
    for (symbol, figures) in view.trades.iter().filter(|(symbol, _)| !held.contains(symbol)) {
        rows.push(HistoryRow {
            symbol,
            name: None,
            label: symbol.to_string(),
            quantity: 0,
            broker_cost: None,
            figures: Some(figures),
            own: OwnCost {
                avg_cost: figures.avg_cost(),
                difference: None,
            },
            holding_days: figures.holding_days(today),
        });
    }
    rows
}

/// The table for people.
pub(crate) fn table(rows: &[HistoryRow<'_>], style: &Style) -> String {
    let headers = [
        "Symbol",
        "Qty",
        "Known Since",
        "First Buy",
        "Days",
        "Last Trade",
        "Trades",
        "Bought",
        "Sold",
        "Realised P&L",
        "Cost",
        "Own Cost",
        "Difference",
    ];
    let cells: Vec<_> = rows.iter().map(|row| cells(row, style)).collect();
    let mut text = String::from("\n");
    let widths = [12, 8, 13, 12, 6, 12, 8, 13, 13, 14, 11, 11, 12];
    text.push_str(&super::table(WIDE, &headers, &widths, &cells, style));
    if rows.iter().any(|row| row.figures.is_none()) {
        text.push_str("- no trade of it is in the journal\n");
    }
    if rows.iter().any(HistoryRow::is_partly_known) {
        text.push_str("* not all shares held were bought in trades that are known: the costs speak of different shares\n");
    }
    text
}

impl HistoryRow<'_> {
    /// True where our own cost is that of a part of the holding.
    fn is_partly_known(&self) -> bool {
        self.own.avg_cost.is_some() && self.own.difference.is_none() && self.quantity != 0
    }
}

fn cells(row: &HistoryRow<'_>, style: &Style) -> Vec<Cell> {
    let dash = || Cell::plain("-".to_owned());
    let day = |at: Option<UtcMillis>| at.map_or_else(dash, |at| Cell::plain(at.trading_date().to_string()));
    let cost = |cost: Option<Price>, mark: &str| {
        cost.map_or_else(dash, |cost| {
            Cell::plain(format!("{}{mark}", price(row.symbol, cost)))
        })
    };
    let name = if style.names {
        row.label.clone()
    } else {
        row.symbol.to_string()
    };
    let mark = if row.is_partly_known() { "*" } else { "" };
    let mut cells = vec![Cell::plain(name), Cell::plain(row.quantity.to_string())];
    match row.figures {
        Some(figures) => cells.extend([
            day(Some(figures.known_since)),
            day(figures.first_buy),
            row.holding_days
                .map_or_else(dash, |days| Cell::plain(days.to_string())),
            day(figures.last_trade),
            Cell::plain(grouped(figures.trades.into())),
            Cell::plain(money(figures.bought_amount)),
            Cell::plain(money(figures.sold_amount)),
            Cell::signed(signed_money(figures.realised_pnl), figures.realised_pnl),
        ]),
        None => cells.extend(std::iter::repeat_with(dash).take(8)),
    }
    cells.push(cost(row.broker_cost, ""));
    cells.push(cost(row.own.avg_cost, mark));
    cells.push(
        row.own
            .difference
            .map_or_else(dash, |difference| Cell::plain(price(row.symbol, difference))),
    );
    cells
}

/// The history of one symbol for programs; null where no trade of it is known.
fn history_json(row: &HistoryRow<'_>) -> Value {
    let Some(figures) = row.figures else {
        return Value::Null;
    };
    json!({
        "known_since": shanghai(figures.known_since),
        "first_buy": figures.first_buy.map(shanghai),
        "last_trade": figures.last_trade.map(shanghai),
        "holding_days": row.holding_days,
        "trades": figures.trades,
        "bought_amount": number(figures.bought_amount),
        "sold_amount": number(figures.sold_amount),
        "fees": number(figures.fees),
        "realised_pnl": number(figures.realised_pnl),
        "sold_without_cost": figures.sold_without_cost,
        "own_quantity": figures.quantity,
        "own_avg_cost": row.own.avg_cost.map(number),
        "avg_cost_difference": row.own.difference.map(number),
    })
}

/// Puts each position's history into the list of positions.
pub(crate) fn add_to(positions: &mut Value, view: &BookView) {
    let rows = rows(view);
    let list = positions.as_array_mut().into_iter().flatten();
    // The rows begin with the book's positions, in its order.
    for (position, row) in list.zip(&rows) {
        position["history"] = history_json(row);
    }
}

/// The rows for programs, those of what was sold out too.
pub(crate) fn list_json(rows: &[HistoryRow<'_>]) -> Value {
    rows.iter()
        .map(|row| {
            json!({
                "symbol": row.symbol.to_string(),
                "name": row.name,
                "quantity": row.quantity,
                "avg_cost": row.broker_cost.map(number),
                "history": history_json(row),
            })
        })
        .collect()
}

/// The rows as CSV.
pub(crate) fn csv(rows: &[HistoryRow<'_>]) -> String {
    let headers = [
        "symbol",
        "name",
        "quantity",
        "avg_cost",
        "known_since",
        "first_buy",
        "last_trade",
        "holding_days",
        "trades",
        "bought_amount",
        "sold_amount",
        "fees",
        "realised_pnl",
        "sold_without_cost",
        "own_quantity",
        "own_avg_cost",
        "avg_cost_difference",
    ];
    let row = |row: &HistoryRow<'_>| {
        let of = |figure: fn(&TradeFigures) -> String| row.figures.map(figure).unwrap_or_default();
        [
            row.symbol.to_string(),
            row.name.clone().unwrap_or_default(),
            row.quantity.to_string(),
            row.broker_cost.map(digits).unwrap_or_default(),
            of(|f| shanghai(f.known_since)),
            of(|f| f.first_buy.map(shanghai).unwrap_or_default()),
            of(|f| f.last_trade.map(shanghai).unwrap_or_default()),
            row.holding_days.map(|days| days.to_string()).unwrap_or_default(),
            of(|f| f.trades.to_string()),
            of(|f| digits(f.bought_amount)),
            of(|f| digits(f.sold_amount)),
            of(|f| digits(f.fees)),
            of(|f| digits(f.realised_pnl)),
            of(|f| f.sold_without_cost.to_string()),
            of(|f| f.quantity.to_string()),
            row.own.avg_cost.map(digits).unwrap_or_default(),
            row.own.difference.map(digits).unwrap_or_default(),
        ]
    };
    super::data::csv(headers, rows.iter().map(row))
}
