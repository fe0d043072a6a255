//! The tables of an export, said once: every format and the documentation are made from this.
//!
//! The promise to readers: within one [`VERSION`] no table or column goes away, changes its type,
//! its unit or its meaning; new ones may come, behind the others. Anything else is a new version.

use qt_core::Order;
use qt_core::portfolio::PriceSource;
use serde_json::{Map, Value, json};

use super::table::{Cell, Column, ColumnInfo, Kind, Table, Unit};
use super::{AccountRow, EquityRow, Export, FillRow, PositionRow, SummaryRow};

/// The name of the format, within every file.
pub(crate) const FORMAT: &str = "quanttrader-export";
/// The version of the tables below.
pub(crate) const VERSION: u32 = 1;

/// Every table, in the order of every format.
pub(crate) fn tables<'a>(export: &'a Export<'_>) -> Vec<Table<'a>> {
    vec![
        Table::made(
            "positions",
            "One row a holding, with its value, P&L, risk, and what the journal's trades say of it; what was sold out today has no shares.",
            positions(),
            (export.places(), export.places()),
            |place| export.position(place),
        ),
        Table::new("summary", "All holdings together.", summary(), &export.summary).single(),
        Table::made(
            "risk",
            "The risk of each holding.",
            risk(),
            (export.places(), export.held()),
            |place| export.holding(place),
        ),
        Table::new(
            "account",
            "Balances, where the source knows any.",
            account(),
            &export.account,
        )
        .single(),
        Table::new(
            "orders",
            "Every order that the journal holds, oldest first.",
            orders(),
            export.orders,
        ),
        Table::new(
            "fills",
            "Every trade of these orders, oldest first.",
            fills(),
            &export.fills,
        ),
        Table::new(
            "equity",
            "One row a day, the last complete snapshot that the running host took on it, oldest first.",
            equity(),
            &export.equity,
        ),
    ]
}

/// The schema as JSON: within CSV folders and Parquet files, and printed by `export --schema --json`.
pub(crate) fn as_json(tables: &[Table<'_>]) -> Value {
    let tables: Map<String, Value> = tables
        .iter()
        .map(|table| {
            let columns: Vec<Value> = table
                .columns
                .iter()
                .map(|column| {
                    json!({
                        "name": column.name, "type": column.kind.as_str(), "unit": column.unit.as_str(),
                        "nullable": column.nullable, "meaning": column.meaning,
                    })
                })
                .collect();
            let value = json!({ "meaning": table.meaning, "single_row": table.single, "columns": columns });
            (table.name.to_owned(), value)
        })
        .collect();
    json!({ "format": FORMAT, "schema_version": VERSION, "tables": tables })
}

/// The units alone, by table and column, for within a JSON export.
pub(crate) fn units(tables: &[Table<'_>]) -> Value {
    tables
        .iter()
        .map(|table| {
            let units: Map<String, Value> = table
                .columns
                .iter()
                .filter_map(|column| Some((column.name.to_owned(), Value::from(column.unit.as_str()?))))
                .collect();
            (table.name.to_owned(), Value::Object(units))
        })
        .collect::<Map<_, _>>()
        .into()
}

/// The schema for people.
pub(crate) fn as_text(tables: &[Table<'_>]) -> String {
    let mut text = format!(
        "{FORMAT}, schema version {VERSION}\n\n\
         Within a version no table or column goes away or changes its type, unit or meaning; new columns come last.\n\
         Decimals are exact, to ten places: JSON numbers with all their digits (Python: json.load(f, parse_float=decimal.Decimal)),\n\
         digits in CSV, Decimal(38, 10) in Parquet. Moments are ISO 8601 with +08:00 in JSON and CSV, UTC milliseconds in Parquet.\n\
         What is not known is null, an empty field in CSV.\n"
    );
    for table in tables {
        text.push_str(&format!("\n{}: {}\n", table.name, table.meaning));
        for column in &table.columns {
            let unit = column.unit.as_str().unwrap_or("");
            let nullable = if column.nullable { "null" } else { "" };
            let line = format!(
                "  {:<26} {:<18} {:<9} {:<4} {}",
                column.name,
                column.kind.as_str(),
                unit,
                nullable,
                column.meaning
            );
            text.push_str(line.trim_end());
            text.push('\n');
        }
    }
    text
}

const fn column<R>(
    name: &'static str,
    kind: Kind,
    unit: Unit,
    meaning: &'static str,
    of: fn(&R) -> Cell<'_>,
) -> Column<R> {
    let info = ColumnInfo {
        name,
        kind,
        unit,
        nullable: false,
        meaning,
    };
    Column { info, of }
}

/// The same for values that may be missing.
const fn optional<R>(
    name: &'static str,
    kind: Kind,
    unit: Unit,
    meaning: &'static str,
    of: fn(&R) -> Cell<'_>,
) -> Column<R> {
    let mut column = column(name, kind, unit, meaning, of);
    column.info.nullable = true;
    column
}

const fn source_word(source: PriceSource) -> &'static str {
    match source {
        PriceSource::Last => "last",
        PriceSource::PreviousClose => "previous_close",
        PriceSource::Cost => "cost",
    }
}

fn positions<'a>() -> Vec<Column<PositionRow<'a>>> {
    use Kind::{Decimal, Integer, Text};
    use Unit::{Cny, CnyPerShare, None, Percent, Shares};
    let mut columns: Vec<Column<PositionRow<'a>>> = vec![
        column(
            "symbol",
            Text,
            None,
            "Code and exchange, such as 000858.SZ.",
            |r| Cell::Symbol(r.risk.figures.position.symbol),
        ),
        optional("name", Text, None, "The broker's name for it.", |r| {
            Cell::or_missing(r.risk.figures.position.name.as_deref(), Cell::text)
        }),
        column("quantity", Integer, Shares, "Shares held.", |r| {
            Cell::Integer(r.risk.figures.position.total)
        }),
        column(
            "available_qty",
            Integer,
            Shares,
            "Shares that may be sold now.",
            |r| Cell::Integer(r.risk.figures.position.sellable),
        ),
        column(
            "frozen_qty",
            Integer,
            Shares,
            "Shares held by open orders.",
            |r| Cell::Integer(r.risk.figures.position.frozen),
        ),
        column(
            "avg_cost",
            Decimal,
            CnyPerShare,
            "The broker's average cost; may be negative.",
            |r| Cell::decimal(r.risk.figures.position.avg_cost),
        ),
        column(
            "current_price",
            Decimal,
            CnyPerShare,
            "The price that the holding is valued at.",
            |r| Cell::decimal(r.risk.figures.price),
        ),
        column(
            "price_source",
            Text,
            None,
            "Where that price comes from: last, previous_close, or cost where none is known.",
            |r| Cell::text(source_word(r.risk.figures.source)),
        ),
        optional(
            "previous_close",
            Decimal,
            CnyPerShare,
            "Yesterday's closing price.",
            |r| Cell::or_missing(r.risk.figures.position.previous_close, Cell::decimal),
        ),
        column("cost", Decimal, Cny, "Shares x average cost.", |r| {
            Cell::decimal(r.risk.figures.cost)
        }),
        column("market_value", Decimal, Cny, "Shares x price.", |r| {
            Cell::decimal(r.risk.figures.value)
        }),
        column("unrealized_pnl", Decimal, Cny, "Market value - cost.", |r| {
            Cell::decimal(r.risk.figures.pnl)
        }),
        optional(
            "unrealized_pnl_pct",
            Decimal,
            Percent,
            "Unrealized P&L over cost; null where the cost is not above zero.",
            |r| Cell::or_missing(r.risk.figures.pnl_pct, Cell::decimal),
        ),
        optional(
            "today_pnl",
            Decimal,
            Cny,
            "What today earned: (price - previous close) x shares held overnight + today's trades against the price - fees.",
            |r| Cell::or_missing(r.today, |today| Cell::decimal(today.total)),
        ),
    ];
    columns.extend(risk_figures());
    columns.extend(history());
    columns
}

fn risk_figures<'a>() -> Vec<Column<PositionRow<'a>>> {
    use Kind::{Decimal, Integer, Text};
    use Unit::{Percent, Points};
    vec![
        column(
            "concentration_pct",
            Decimal,
            Percent,
            "Its part of the book's value.",
            |r| Cell::decimal(r.risk.concentration_pct),
        ),
        column(
            "drawdown_pct",
            Decimal,
            Percent,
            "Its loss against the cost; 0 where there is a gain.",
            |r| Cell::decimal(r.risk.drawdown_pct),
        ),
        column(
            "liquidity_risk_pct",
            Decimal,
            Percent,
            "The part of it that cannot be sold now.",
            |r| Cell::decimal(r.risk.liquidity_pct),
        ),
        column("risk_score", Integer, Points, "0 to 100.", |r| {
            Cell::Integer(r.risk.score.into())
        }),
        column(
            "risk_level",
            Text,
            Unit::None,
            "low (0-30), medium (31-60) or high (61-100).",
            |r| Cell::text(r.risk.level.as_str()),
        ),
    ]
}

/// What the journal's trades say of a holding.
fn history<'a>() -> Vec<Column<PositionRow<'a>>> {
    use Kind::{Decimal, Integer, Timestamp};
    use Unit::{Cny, CnyPerShare, Count, Days, None, Shares};
    vec![
        optional(
            "known_since",
            Timestamp,
            None,
            "From when on its trades are known.",
            |r| Cell::or_missing(r.trades, |t| Cell::Timestamp(t.known_since)),
        ),
        optional(
            "first_buy",
            Timestamp,
            None,
            "The first purchase of the present holding.",
            |r| Cell::or_missing(r.trades.and_then(|t| t.first_buy), Cell::Timestamp),
        ),
        optional("last_trade", Timestamp, None, "The last trade.", |r| {
            Cell::or_missing(r.trades.and_then(|t| t.last_trade), Cell::Timestamp)
        }),
        optional(
            "holding_days",
            Integer,
            Days,
            "Calendar days since the first purchase.",
            |r| Cell::or_missing(r.trades.and_then(|t| t.holding_days(r.day)), Cell::Integer),
        ),
        optional("trades", Integer, Count, "How many trades are known.", |r| {
            Cell::or_missing(r.trades, |t| {
                Cell::Integer(i64::try_from(t.trades).unwrap_or(i64::MAX))
            })
        }),
        optional(
            "bought_amount",
            Decimal,
            Cny,
            "Shares x price of all known purchases.",
            |r| Cell::or_missing(r.trades, |t| Cell::decimal(t.bought_amount)),
        ),
        optional(
            "sold_amount",
            Decimal,
            Cny,
            "Shares x price of all known sales.",
            |r| Cell::or_missing(r.trades, |t| Cell::decimal(t.sold_amount)),
        ),
        optional("fees", Decimal, Cny, "All fees of the known trades.", |r| {
            Cell::or_missing(r.trades, |t| Cell::decimal(t.fees))
        }),
        optional(
            "realised_pnl",
            Decimal,
            Cny,
            "What the known sales earned, fees and moving average cost off.",
            |r| Cell::or_missing(r.trades, |t| Cell::decimal(t.realised_pnl)),
        ),
        optional(
            "sold_without_cost",
            Integer,
            Shares,
            "Shares sold that were bought before anything is known; not in realised_pnl.",
            |r| Cell::or_missing(r.trades, |t| Cell::Integer(t.sold_without_cost)),
        ),
        optional(
            "own_quantity",
            Integer,
            Shares,
            "Shares that the known trades leave.",
            |r| Cell::or_missing(r.trades, |t| Cell::Integer(t.quantity)),
        ),
        optional(
            "own_avg_cost",
            Decimal,
            CnyPerShare,
            "Our moving average cost with fees.",
            |r| Cell::or_missing(r.own.avg_cost, Cell::decimal),
        ),
        optional(
            "avg_cost_difference",
            Decimal,
            CnyPerShare,
            "Ours - the broker's, where all shares held are known from trades.",
            |r| Cell::or_missing(r.own.difference, Cell::decimal),
        ),
    ]
}

fn risk<'a>() -> Vec<Column<PositionRow<'a>>> {
    let mut columns = vec![column(
        "symbol",
        Kind::Text,
        Unit::None,
        "Code and exchange.",
        |r: &PositionRow<'a>| Cell::Symbol(r.risk.figures.position.symbol),
    )];
    columns.extend(risk_figures());
    columns
}

fn summary() -> Vec<Column<SummaryRow>> {
    use Kind::{Decimal, Integer, Timestamp};
    use Unit::{Cny, Count, None, Percent};
    vec![
        column(
            "as_of",
            Timestamp,
            None,
            "When the source was asked.",
            |r: &SummaryRow| Cell::Timestamp(r.as_of),
        ),
        column("total_positions", Integer, Count, "Holdings with shares.", |r| {
            Cell::Integer(r.held)
        }),
        column("total_value", Decimal, Cny, "What all holdings are worth.", |r| {
            Cell::decimal(r.totals.value)
        }),
        column("total_cost", Decimal, Cny, "What they cost.", |r| {
            Cell::decimal(r.totals.cost)
        }),
        column("total_pnl", Decimal, Cny, "Value - cost.", |r| {
            Cell::decimal(r.totals.pnl)
        }),
        optional(
            "total_pnl_pct",
            Decimal,
            Percent,
            "P&L over cost; null where the cost is not above zero.",
            |r| Cell::or_missing(r.totals.pnl_pct, Cell::decimal),
        ),
        column(
            "unpriced_positions",
            Integer,
            Count,
            "Holdings without a price, taken at their cost.",
            |r| Cell::Integer(r.unpriced),
        ),
        optional(
            "today_pnl",
            Decimal,
            Cny,
            "What today earned; overnight + trades - fees.",
            |r| Cell::or_missing(r.today.as_ref(), |today| Cell::decimal(today.total)),
        ),
        optional(
            "today_overnight",
            Decimal,
            Cny,
            "(Price - previous close) x shares held overnight.",
            |r| Cell::or_missing(r.today.as_ref(), |today| Cell::decimal(today.overnight)),
        ),
        optional(
            "today_trades",
            Decimal,
            Cny,
            "Today's trades against the price.",
            |r| Cell::or_missing(r.today.as_ref(), |today| Cell::decimal(today.trades)),
        ),
        optional("today_fees", Decimal, Cny, "Fees of today's trades.", |r| {
            Cell::or_missing(r.today.as_ref(), |today| Cell::decimal(today.fees))
        }),
    ]
}

fn account() -> Vec<Column<AccountRow>> {
    use Kind::{Decimal, Text};
    use Unit::Cny;
    vec![
        column(
            "account_id",
            Text,
            Unit::None,
            "The broker's account number, masked unless asked for with --with-account-number.",
            |r: &AccountRow| Cell::text(&r.account_id),
        ),
        column(
            "total_asset",
            Decimal,
            Cny,
            "All that the account is worth.",
            |r| Cell::decimal(r.total_asset),
        ),
        column("cash", Decimal, Cny, "Cash, frozen or not.", |r| {
            Cell::decimal(r.cash)
        }),
        column(
            "available_cash",
            Decimal,
            Cny,
            "Cash that may be used now.",
            |r| Cell::decimal(r.available_cash),
        ),
        column("frozen_cash", Decimal, Cny, "Cash held by open orders.", |r| {
            Cell::decimal(r.frozen_cash)
        }),
        column(
            "market_value",
            Decimal,
            Cny,
            "What the holdings are worth, as the broker says.",
            |r| Cell::decimal(r.market_value),
        ),
    ]
}

fn orders() -> Vec<Column<Order>> {
    use Kind::{Decimal, Integer, Text, Timestamp};
    use Unit::{Cny, CnyPerShare, None, Shares};
    vec![
        column("order", Text, None, "Our id of the order.", |o: &Order| {
            Cell::shown(o.id)
        }),
        column("signal", Text, None, "The backend's order_id.", |o| {
            Cell::text(&o.signal.id.0)
        }),
        column(
            "attempt",
            Integer,
            Unit::Count,
            "How often the signal was tried before.",
            |o| Cell::Integer(o.signal.retry_count.into()),
        ),
        column("symbol", Text, None, "Code and exchange.", |o| {
            Cell::Symbol(o.signal.symbol)
        }),
        column("side", Text, None, "BUY or SELL.", |o| {
            Cell::text(o.signal.side.as_str())
        }),
        column("size", Integer, Shares, "Shares wanted.", |o| {
            Cell::Integer(o.signal.size)
        }),
        optional(
            "limit",
            Decimal,
            CnyPerShare,
            "Limit price; null for a market order.",
            |o| Cell::or_missing(o.limit, Cell::decimal),
        ),
        column("state", Text, None, "Where it stands, such as FILLED.", |o| {
            Cell::text(o.state.as_str())
        }),
        column("filled", Integer, Shares, "Shares traded.", |o| {
            Cell::Integer(o.filled())
        }),
        column(
            "avg_price",
            Decimal,
            CnyPerShare,
            "Average price of its trades; 0 without any.",
            |o| Cell::decimal(o.avg_price()),
        ),
        column("fees", Decimal, Cny, "All fees of it.", |o| {
            Cell::decimal(o.fees().total())
        }),
        column(
            "fees_estimated",
            Decimal,
            Cny,
            "The part of them that the broker did not say and that is estimated.",
            |o| Cell::decimal(o.fees().estimated),
        ),
        optional("broker_order_id", Text, None, "The broker's id of it.", |o| {
            Cell::or_missing(o.broker_order_id.as_ref(), |id| Cell::text(&id.0))
        }),
        optional(
            "code",
            Text,
            None,
            "Why it ended without success, as a code.",
            |o| Cell::or_missing(o.code.as_deref(), Cell::text),
        ),
        optional("reason", Text, None, "The same for people.", |o| {
            Cell::or_missing(o.reason.as_deref(), Cell::text)
        }),
        optional("strategy", Text, None, "The strategy's key.", |o| {
            Cell::or_missing(o.signal.strategy.as_deref(), Cell::text)
        }),
        column("received", Timestamp, None, "When the signal was taken.", |o| {
            Cell::Timestamp(o.received_at)
        }),
        optional(
            "sent",
            Timestamp,
            None,
            "When it was handed to the broker.",
            |o| Cell::or_missing(o.sent_at, Cell::Timestamp),
        ),
        optional("accepted", Timestamp, None, "When the broker took it.", |o| {
            Cell::or_missing(o.accepted_at, Cell::Timestamp)
        }),
        optional("ended", Timestamp, None, "When it ended.", |o| {
            Cell::or_missing(o.ended_at, Cell::Timestamp)
        }),
    ]
}

fn fills<'a>() -> Vec<Column<FillRow<'a>>> {
    use Kind::{Decimal, Integer, Text, Timestamp};
    use Unit::{Cny, CnyPerShare, None, Shares};
    vec![
        column(
            "fill",
            Text,
            None,
            "The broker's id of the trade.",
            |r: &FillRow<'a>| Cell::text(&r.fill.id.0),
        ),
        column("order", Text, None, "Our id of its order.", |r| {
            Cell::shown(r.order.id)
        }),
        column("signal", Text, None, "The backend's order_id.", |r| {
            Cell::text(&r.order.signal.id.0)
        }),
        column("symbol", Text, None, "Code and exchange.", |r| {
            Cell::Symbol(r.order.signal.symbol)
        }),
        column("side", Text, None, "BUY or SELL.", |r| {
            Cell::text(r.order.signal.side.as_str())
        }),
        column("size", Integer, Shares, "Shares traded.", |r| {
            Cell::Integer(r.fill.size)
        }),
        column("price", Decimal, CnyPerShare, "The price.", |r| {
            Cell::decimal(r.fill.price)
        }),
        optional("commission", Decimal, Cny, "Where the broker said.", |r| {
            Cell::or_missing(r.fill.commission, Cell::decimal)
        }),
        optional("stamp_tax", Decimal, Cny, "Where the broker said.", |r| {
            Cell::or_missing(r.fill.stamp_tax, Cell::decimal)
        }),
        optional("transfer_fee", Decimal, Cny, "Where the broker said.", |r| {
            Cell::or_missing(r.fill.transfer_fee, Cell::decimal)
        }),
        column("at", Timestamp, None, "When it was traded.", |r| {
            Cell::Timestamp(r.fill.at)
        }),
    ]
}

fn equity() -> Vec<Column<EquityRow>> {
    use Kind::{Date, Decimal, Integer, Timestamp};
    use Unit::{Cny, Count, None, Percent, Ratio};
    vec![
        column("day", Date, None, "The day in Shanghai.", |r: &EquityRow| {
            Cell::Date(r.snapshot.day)
        }),
        column("at", Timestamp, None, "When the snapshot was taken.", |r| {
            Cell::Timestamp(r.snapshot.at)
        }),
        column(
            "total_asset",
            Decimal,
            Cny,
            "All that the account was worth.",
            |r| Cell::decimal(r.snapshot.total_asset),
        ),
        column("cash", Decimal, Cny, "Cash, a part of it.", |r| {
            Cell::decimal(r.snapshot.cash)
        }),
        column(
            "market_value",
            Decimal,
            Cny,
            "What the holdings were worth, a part of it.",
            |r| Cell::decimal(r.snapshot.market_value),
        ),
        column("unrealized_pnl", Decimal, Cny, "Market value - cost.", |r| {
            Cell::decimal(r.snapshot.unrealized_pnl)
        }),
        column("positions", Integer, Count, "Holdings.", |r| {
            Cell::Integer(r.snapshot.positions)
        }),
        optional(
            "day_pnl",
            Decimal,
            Cny,
            "What the day earned, transfers apart; null where that is not known.",
            |r| Cell::or_missing(r.snapshot.day_pnl, Cell::decimal),
        ),
        column(
            "index",
            Decimal,
            Ratio,
            "What one yuan of the first day had become; transfers do not count where day_pnl is known.",
            |r| Cell::decimal(r.index),
        ),
        column(
            "drawdown_pct",
            Decimal,
            Percent,
            "How far the index was below its highest so far.",
            |r| Cell::decimal(r.drawdown_pct),
        ),
    ]
}
