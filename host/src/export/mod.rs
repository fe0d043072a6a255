//! The book as files for other programs, and as a picture.
//!
//! What is in them is said once, in [`schema`]; each format only writes it down. Nothing here works
//! anything out that `qt-core` can, and no figure is ever a float on its way into a file with figures.

pub(crate) mod chart;
mod csv;
mod curve;
mod json;
mod paper;
mod parquet;
mod place;
pub(crate) mod schema;
mod svg;
mod table;
#[cfg(test)]
mod tests;

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use qt_core::portfolio::{
    self, EquityError, EquityPoint, PortfolioError, Position, PositionFigures, RiskFigures, RiskThresholds,
    SymbolToday, TodayPnl, Totals, TradeFigures,
};
use qt_core::{Fill, Order, TradingDate, UtcMillis};
use rust_decimal::Decimal;

use crate::book::{BookSource, BookView, OwnCost};
use crate::cli::masked;
use crate::equity::Snapshot;

pub(crate) use paper::picture as paper_picture;
pub(crate) use place::PlaceError;
pub(crate) use svg::Look;
use table::Table;

/// Why there is no export.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExportError {
    /// A figure that cannot be worked out.
    #[error(transparent)]
    Portfolio(#[from] PortfolioError),
    /// The equity curve cannot be worked out.
    #[error(transparent)]
    Equity(#[from] EquityError),
    /// The file cannot be put in its place.
    #[error(transparent)]
    Place(#[from] PlaceError),
}

/// A holding and all that is known of it.
#[derive(Debug)]
pub(crate) struct PositionRow<'a> {
    /// Its figures and its risk.
    pub(crate) risk: RiskFigures<'a>,
    /// Its part of today's P&L.
    pub(crate) today: Option<&'a SymbolToday>,
    /// What the journal's trades say of it.
    pub(crate) trades: Option<&'a TradeFigures>,
    /// Our own average cost of it.
    pub(crate) own: OwnCost,
    /// The day of the export.
    pub(crate) day: TradingDate,
}

/// All holdings together.
#[derive(Debug)]
pub(crate) struct SummaryRow {
    as_of: UtcMillis,
    held: i64,
    unpriced: i64,
    totals: Totals,
    /// `None` where nothing of it is known, which is not a day that earned nothing.
    today: Option<TodayPnl>,
}

/// The balances.
pub(crate) struct AccountRow {
    account_id: String,
    total_asset: Decimal,
    cash: Decimal,
    available_cash: Decimal,
    frozen_cash: Decimal,
    market_value: Decimal,
}

/// A trade and its order.
#[derive(Debug)]
pub(crate) struct FillRow<'a> {
    order: &'a Order,
    fill: &'a Fill,
}

/// A day's snapshot and its place on the curve.
#[derive(Debug, Clone)]
pub(crate) struct EquityRow {
    /// What was stored.
    pub(crate) snapshot: Snapshot,
    /// What one yuan of the first day had become.
    pub(crate) index: Decimal,
    /// How far that was below its highest so far, in percent.
    pub(crate) drawdown_pct: Decimal,
}

/// Where an export comes from.
#[derive(Debug, Clone)]
pub(crate) struct Meta {
    /// When the source was asked.
    pub(crate) as_of: UtcMillis,
    /// The source, such as `broker simulated`.
    pub(crate) source: String,
    /// What a person should know about the figures.
    pub(crate) notes: Vec<String>,
}

/// What the rows of positions are made of.
struct Book<'a> {
    view: &'a BookView,
    thresholds: RiskThresholds,
    total_value: Decimal,
    held: usize,
}

/// Rows that are worked out at a time.
const PIECE: usize = 4096;

/// Says what keeps a file from its place.
///
/// # Errors
///
/// [`PlaceError`].
pub(crate) fn check_file(path: &Path, force: bool) -> Result<(), PlaceError> {
    place::check(path, force, None)
}

/// Puts a file in its place, whole or not at all.
///
/// # Errors
///
/// [`PlaceError`], and what was there before is still there.
pub(crate) fn write_file(path: &Path, force: bool, content: &[u8]) -> Result<(), PlaceError> {
    place::file(path, force, |out| out.write_all(content))
}

/// Everything that an export says.
pub(crate) struct Export<'a> {
    pub(crate) meta: Meta,
    /// The book's positions; what an export says of each is worked out as it is written.
    book: Option<Book<'a>>,
    pub(crate) summary: Vec<SummaryRow>,
    pub(crate) account: Vec<AccountRow>,
    pub(crate) orders: &'a [Order],
    pub(crate) fills: Vec<FillRow<'a>>,
    pub(crate) equity: Vec<EquityRow>,
}

impl<'a> Export<'a> {
    /// What is to be said of a book. The account's number is masked unless `with_number` is set.
    ///
    /// # Errors
    ///
    /// A figure that cannot be worked out.
    pub(crate) fn of(
        view: &'a BookView,
        snapshots: &[Snapshot],
        thresholds: &RiskThresholds,
        with_number: bool,
    ) -> Result<Self, ExportError> {
        let totals = Totals::of(&view.positions)?;
        let today = view.today.as_ref().ok();
        let held = view.positions.iter().filter(|position| position.total != 0);
        let held = held.count();
        let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        let summary = SummaryRow {
            as_of: view.as_of,
            held: count(held),
            unpriced: count(totals.unpriced),
            totals,
            // The parts by symbol stand with the positions.
            today: today.filter(|today| !today.is_unknown()).map(|today| TodayPnl {
                symbols: Vec::new(),
                unknown: Vec::new(),
                ..*today
            }),
        };
        Ok(Self {
            meta: Meta::of(view),
            book: Some(Book {
                view,
                thresholds: *thresholds,
                total_value: totals.value,
                held,
            }),
            summary: vec![summary],
            account: account_rows(view, with_number),
            orders: &view.orders,
            fills: fill_rows(&view.orders),
            equity: equity_rows(snapshots)?,
        })
    }

    /// How many positions the book lists, those with no shares too.
    fn places(&self) -> usize {
        self.book.as_ref().map_or(0, |book| book.view.positions.len())
    }

    /// How many of them have shares.
    fn held(&self) -> usize {
        self.book.as_ref().map_or(0, |book| book.held)
    }

    /// What is to be said of the position at a place.
    fn position(&self, place: usize) -> Result<Option<PositionRow<'a>>, PortfolioError> {
        let Some(book) = &self.book else {
            return Ok(None);
        };
        let row = book.view.positions.get(place).map(|position| book.row(position));
        row.transpose()
    }

    /// The same where it has shares.
    fn holding(&self, place: usize) -> Result<Option<PositionRow<'a>>, PortfolioError> {
        let row = self.position(place)?;
        Ok(row.filter(|row| row.risk.figures.position.total != 0))
    }

    /// The figures of every position with shares.
    ///
    /// # Errors
    ///
    /// A figure that cannot be worked out.
    pub(crate) fn holdings(&self) -> Result<Vec<RiskFigures<'a>>, PortfolioError> {
        (0..self.places())
            .filter_map(|place| self.holding(place).transpose())
            .map(|row| row.map(|row| row.risk))
            .collect()
    }

    /// Every table, in the order of the schema.
    pub(crate) fn tables(&self) -> Vec<Table<'_>> {
        schema::tables(self)
    }

    /// The names and the numbers of rows of the tables that a target holds; none of a picture.
    pub(crate) fn rows_of(&self, target: &Target) -> Vec<(&'static str, usize)> {
        let wanted = match (target.format, &target.table, target.folder) {
            (Format::Svg, _, _) => return Vec::new(),
            (_, Some(table), _) => Some(table.as_str()),
            (Format::Parquet, None, false) => Some(DEFAULT_TABLE),
            _ => None,
        };
        self.tables()
            .iter()
            .filter(|table| wanted.is_none_or(|wanted| wanted == table.name))
            .map(|table| (table.name, table.rows))
            .collect()
    }

    /// The totals.
    pub(crate) fn totals(&self) -> Totals {
        self.summary.first().map(|row| row.totals).unwrap_or_default()
    }
}

impl<'a> Book<'a> {
    fn row(&self, position: &'a Position) -> Result<PositionRow<'a>, PortfolioError> {
        let view = self.view;
        let figures = PositionFigures::of(position)?;
        let risk = RiskFigures::of(figures, self.total_value, &self.thresholds)?;
        let of_symbol = |today: &'a TodayPnl| {
            // Sorted by symbol, see `TodayPnl::symbols`.
            let place = today
                .symbols
                .binary_search_by(|one| one.symbol.cmp(&position.symbol))
                .ok()?;
            today.symbols.get(place)
        };
        Ok(PositionRow {
            risk,
            today: view.today.as_ref().ok().and_then(of_symbol),
            trades: view.history(position.symbol),
            own: view.own_cost(position),
            day: view.as_of.trading_date(),
        })
    }
}

impl Meta {
    fn of(view: &BookView) -> Self {
        let source = match &view.source {
            BookSource::Broker { adapter } => format!("broker {adapter}"),
            BookSource::Journal { .. } => "journal".to_owned(),
            BookSource::File { path } => format!("file {}", crate::system::shown(path)),
        };
        let mut notes = view.notes.clone();
        match &view.today {
            Ok(today) => notes.extend(
                today
                    .unknown
                    .iter()
                    .map(|one| format!("today's P&L is without {}: {}", one.symbol, one.reason)),
            ),
            Err(reason) => notes.push(format!("today's P&L is not known: {reason}")),
        }
        Self {
            as_of: view.as_of,
            source,
            notes,
        }
    }
}

fn account_rows(view: &BookView, with_number: bool) -> Vec<AccountRow> {
    let row = |account: &portfolio::Account| AccountRow {
        account_id: if with_number {
            account.account_id.clone()
        } else {
            masked(&account.account_id)
        },
        total_asset: account.total_asset,
        cash: account.cash,
        available_cash: account.available_cash,
        frozen_cash: account.frozen_cash,
        market_value: account.market_value,
    };
    view.account.iter().map(row).collect()
}

fn fill_rows(orders: &[Order]) -> Vec<FillRow<'_>> {
    let mut fills: Vec<_> = orders
        .iter()
        .flat_map(|order| order.fills.iter().map(move |fill| FillRow { order, fill }))
        .collect();
    fills.sort_by_key(|row| row.fill.at);
    fills
}

fn equity_rows(snapshots: &[Snapshot]) -> Result<Vec<EquityRow>, EquityError> {
    let points: Vec<_> = snapshots
        .iter()
        .map(|snapshot| EquityPoint {
            day: snapshot.day,
            total_asset: snapshot.total_asset,
            market_value: snapshot.market_value,
            day_pnl: snapshot.day_pnl,
            opening_value: snapshot.opening_value,
        })
        .collect();
    let curve = portfolio::equity_curve(&points)?;
    let row = |(snapshot, point): (&Snapshot, &portfolio::CurvePoint)| EquityRow {
        snapshot: snapshot.clone(),
        index: point.index,
        drawdown_pct: point.drawdown_pct,
    };
    Ok(snapshots.iter().zip(&curve.points).map(row).collect())
}

/// What a file may be, by its ending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// One file with every table.
    Json,
    /// A folder with a file a table, or one table as a file.
    Csv,
    /// One table as a file, or a folder with a file a table.
    Parquet,
    /// A picture.
    Svg,
}

/// Where an export goes, and which part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    /// The file or the folder.
    pub(crate) path: PathBuf,
    /// What it is.
    pub(crate) format: Format,
    /// The one table that is wanted; without it all that the format takes.
    pub(crate) table: Option<String>,
    /// True where a folder with a file a table is made.
    pub(crate) folder: bool,
}

impl Target {
    /// Reads what somebody wants from the ending of `path`; `FILE.parquet/` is a folder.
    ///
    /// # Errors
    ///
    /// What is wrong with it, for the person who wrote it.
    pub(crate) fn new(path: &Path, table: Option<&str>) -> Result<Self, String> {
        let text = path.to_string_lossy();
        let wants_folder = text.ends_with(['/', std::path::MAIN_SEPARATOR]);
        let ending = path
            .extension()
            .map(|ending| ending.to_string_lossy().to_ascii_lowercase())
            .unwrap_or_default();
        let format = match ending.as_str() {
            "json" => Format::Json,
            "csv" => Format::Csv,
            "parquet" => Format::Parquet,
            "svg" => Format::Svg,
            _ => {
                return Err(format!(
                    "`{text}` has no ending that says what to write: expected .json, .csv (a folder with a file a table), \
                     .parquet or .svg"
                ));
            }
        };
        let tables = table_names();
        if let Some(table) = table.filter(|table| !tables.contains(table)) {
            return Err(format!(
                "there is no table `{table}`: expected one of {}",
                tables.join(", ")
            ));
        }
        if table.is_some() && matches!(format, Format::Json | Format::Svg) {
            return Err(format!(
                "--table picks a table of a .csv or .parquet file; `{text}` is neither, leave it out"
            ));
        }
        if wants_folder && (table.is_some() || matches!(format, Format::Json | Format::Svg)) {
            return Err(format!(
                "`{text}` ends like a folder, and one file is to be written; take the `/` away"
            ));
        }
        let folder = match format {
            Format::Csv => table.is_none(),
            Format::Parquet => wants_folder,
            Format::Json | Format::Svg => false,
        };
        Ok(Self {
            // Without the `/` at its end.
            path: path.components().collect(),
            format,
            table: table.map(str::to_owned),
            folder,
        })
    }

    fn ending(&self) -> &'static str {
        match self.format {
            Format::Json => "json",
            Format::Csv => "csv",
            Format::Parquet => "parquet",
            Format::Svg => "svg",
        }
    }

    /// The names of the files of a folder.
    fn names(&self) -> Vec<String> {
        let ending = self.ending();
        table_names()
            .iter()
            .map(|table| format!("{table}.{ending}"))
            .chain([SCHEMA_FILE.to_owned()])
            .collect()
    }

    /// Says early what would keep the export from its place, before a broker is asked for anything.
    ///
    /// # Errors
    ///
    /// [`PlaceError`].
    pub(crate) fn check(&self, force: bool) -> Result<(), PlaceError> {
        place::check(&self.path, force, self.folder.then(|| self.names()).as_deref())
    }

    /// Writes an export: all of it, or nothing is changed.
    ///
    /// # Errors
    ///
    /// [`PlaceError`].
    pub(crate) fn write(&self, export: &Export<'_>, look: Look, force: bool) -> Result<(), PlaceError> {
        let tables = export.tables();
        if self.folder {
            let names = self.names();
            return place::folder(&self.path, force, &names, |folder| {
                let schema = described(export, &tables);
                place::inside(folder, SCHEMA_FILE, |out| {
                    serde_json::to_writer_pretty(&mut *out, &schema)?;
                    out.write_all(b"\n")
                })?;
                for (table, name) in tables.iter().zip(&names) {
                    place::inside(folder, name, |out| self.write_table(out, export, table))?;
                }
                Ok(())
            });
        }
        place::file(&self.path, force, |out| match self.format {
            Format::Json => json::write(out, export),
            Format::Svg => out.write_all(svg::picture(export, look).map_err(io::Error::other)?.as_bytes()),
            Format::Csv | Format::Parquet => {
                let wanted = self.table.as_deref().unwrap_or(DEFAULT_TABLE);
                match tables.iter().find(|table| table.name == wanted) {
                    Some(table) => self.write_table(out, export, table),
                    None => Err(io::Error::other(format!("there is no table {wanted}"))),
                }
            }
        })
    }

    fn write_table(
        &self,
        out: &mut place::Out<'_>,
        export: &Export<'_>,
        table: &Table<'_>,
    ) -> io::Result<()> {
        if self.format == Format::Parquet {
            parquet::write(out, table, &export.meta)
        } else {
            csv::write(out, table)
        }
    }
}

/// What a Parquet file holds where no table is named.
const DEFAULT_TABLE: &str = "positions";
/// Beside the tables of a folder.
const SCHEMA_FILE: &str = "schema.json";

/// The schema with where the figures come from.
fn described(export: &Export<'_>, tables: &[Table<'_>]) -> serde_json::Value {
    let mut value = schema::as_json(tables);
    if let Some(fields) = value.as_object_mut() {
        fields.extend(json::meta_fields(&export.meta));
    }
    value
}

/// An export of nothing, for its tables alone.
pub(crate) const fn nothing() -> Export<'static> {
    Export {
        meta: Meta {
            as_of: UtcMillis(0),
            source: String::new(),
            notes: Vec::new(),
        },
        book: None,
        summary: Vec::new(),
        account: Vec::new(),
        orders: &[],
        fills: Vec::new(),
        equity: Vec::new(),
    }
}

/// The names of all tables.
pub(crate) fn table_names() -> Vec<&'static str> {
    nothing().tables().iter().map(|table| table.name).collect()
}
