//! The book as it stands, gathered for the commands that show or export it: what the broker holds,
//! and beside it what the journal knows of how it came about. Works nothing out that `qt-core` can.

mod broker;
mod file;
mod own;

use std::path::PathBuf;
use std::str::FromStr;

use qt_core::portfolio::{self, Account, PortfolioError, Position, TodayPnl, TradeBook, TradeFigures};
use qt_core::{Order, UtcMillis};
use qt_market::{Price, Symbol};
use rust_decimal::Decimal;

use crate::clock::Clock;
use crate::config::Config;
use crate::control::ControlError;
use crate::journal::JournalError;
use crate::lease::LeaseError;
use crate::plugin::PluginError;
use crate::system::SystemError;

/// Where a book is asked for: `--from broker|backend|journal|FILE`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum BookFrom {
    /// The configured broker plugin: through the host that runs on the data folder, else by itself.
    #[default]
    Broker,
    /// The backend, which has no call to give a book back.
    Backend,
    /// What the fills in the journal leave.
    Journal,
    /// A file: the product's own export, or a list of positions, as JSON or CSV.
    File(PathBuf),
}

impl FromStr for BookFrom {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "broker" => Self::Broker,
            "backend" => Self::Backend,
            "journal" => Self::Journal,
            path => Self::File(PathBuf::from(path)),
        })
    }
}

/// Where a book came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum BookSource {
    /// A broker plugin, by its name.
    Broker {
        /// The plugin's name, such as `simulated`.
        adapter: String,
    },
    /// The journal's fills.
    Journal {
        /// The first fill that is known; `None` where there is none.
        known_since: Option<UtcMillis>,
    },
    /// A file.
    File {
        /// The file as it was named.
        path: PathBuf,
    },
}

/// A complete book: a source that cannot answer gives an error and never an empty one.
#[derive(Debug, Clone)]
pub(crate) struct BookView {
    /// Where it came from.
    pub(crate) source: BookSource,
    /// When the source was asked; for a file, the moment that it names, else when it was written.
    pub(crate) as_of: UtcMillis,
    /// Every holding, in the source's order; what was sold out today may stand here with no shares.
    pub(crate) positions: Vec<Position>,
    /// The balances; only a broker, or an export that holds them, has any.
    pub(crate) account: Option<Account>,
    /// Every order that the journal holds with its fills, oldest first; none beside a file.
    pub(crate) orders: Vec<Order>,
    /// What the journal's fills say of each symbol, fees included; none beside a file.
    pub(crate) trades: TradeBook,
    /// Today's P&L from prices and trades, or why it cannot be told.
    pub(crate) today: Result<TodayPnl, String>,
    /// What a person should know about these figures, a sentence each.
    pub(crate) notes: Vec<String>,
}

/// The broker's average cost of a holding beside our own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct OwnCost {
    /// Our moving average a share with fees, in yuan; `None` where no purchase of it is known.
    pub(crate) avg_cost: Option<Price>,
    /// Ours − the broker's, in yuan a share; `None` where not all shares held are known from trades,
    /// since the two then speak of different shares.
    pub(crate) difference: Option<Decimal>,
}

impl BookView {
    /// The holdings with shares, in the source's order.
    pub(crate) fn held(&self) -> Vec<Position> {
        self.positions
            .iter()
            .filter(|position| position.total != 0)
            .cloned()
            .collect()
    }

    /// What the journal's trades say of a symbol.
    pub(crate) fn history(&self, symbol: Symbol) -> Option<&TradeFigures> {
        self.trades.get(symbol)
    }

    /// Our own average cost of a holding, to stand beside the broker's.
    pub(crate) fn own_cost(&self, position: &Position) -> OwnCost {
        let Some(figures) = self.history(position.symbol) else {
            return OwnCost::default();
        };
        let avg_cost = figures.avg_cost();
        let difference = avg_cost
            .filter(|_| figures.quantity == position.total)
            .and_then(|own| own.checked_sub(position.avg_cost));
        OwnCost { avg_cost, difference }
    }
}

/// Why there is no book.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BookError {
    /// The broker does not answer, or says no.
    #[error("the broker `{adapter}` does not give its book: {reason}")]
    Broker {
        /// The plugin's name.
        adapter: String,
        /// Its words.
        reason: String,
    },
    /// The backend has no such call.
    #[error(
        "the backend cannot be asked for positions: its contract takes them (POST /trader/positions/sync) and has no call \
         that gives them back; use --from broker for what is held now, or --from journal for what this host traded"
    )]
    Backend,
    /// A file cannot be used.
    #[error("the book {path} cannot be used: {reason}")]
    File {
        /// The file.
        path: String,
        /// What is wrong with it, and what to do.
        reason: String,
    },
    /// The plugin.
    #[error(transparent)]
    Plugin(#[from] PluginError),
    /// The running host.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The data folder.
    #[error(transparent)]
    Folder(#[from] SystemError),
    /// The data folder's lock.
    #[error(transparent)]
    Lease(#[from] LeaseError),
    /// The configured market tables.
    #[error("{0}")]
    Tables(String),
    /// Figures that cannot be worked out.
    #[error(transparent)]
    Portfolio(#[from] PortfolioError),
}

/// Gathers the book from where it is asked for.
///
/// # Errors
///
/// [`BookError`], whatever part is missing: what is shown is complete.
pub(crate) fn gather(config: &Config, from: &BookFrom, clock: Clock) -> Result<BookView, BookError> {
    match from {
        BookFrom::Broker => of_broker(config, clock),
        BookFrom::Backend => Err(BookError::Backend),
        BookFrom::Journal => of_journal(config, clock),
        BookFrom::File(path) => file::read(path),
    }
}

fn of_broker(config: &Config, clock: Clock) -> Result<BookView, BookError> {
    let data_dir = config.data_dir()?;
    let (adapter, book) = broker::ask(config, &data_dir, clock)?;
    let key = crate::desk::account_key(config, &adapter);
    let own = match own::read(config, &data_dir, Some(&key)) {
        // Nothing was traded with this data folder yet, or nothing is kept.
        Err(BookError::Journal(JournalError::Absent { .. })) => own::Own::default(),
        other => other?,
    };
    let mut notes = Vec::new();
    let today = match book.trades_today {
        Some(Ok(of_broker)) => {
            let (trades, strangers) = own.with_strangers(&of_broker, book.asked_at)?;
            if strangers > 0 {
                notes.push(format!(
                    "{strangers} of today's trades were not made by this host: they count in today's P&L, and are not part \
                     of its history"
                ));
            }
            Ok(portfolio::today(&book.positions, &trades)?)
        }
        Some(Err(reason)) => Err(format!("the broker does not give today's trades: {reason}")),
        None => Err("the broker was not asked for today's trades".to_owned()),
    };
    Ok(BookView {
        source: BookSource::Broker { adapter },
        as_of: book.asked_at,
        positions: book.positions,
        account: Some(book.account),
        trades: TradeBook::from_trades(own.trades)?,
        orders: own.orders,
        today,
        notes,
    })
}

/// Today's P&L by a broker's complete answer alone, transfers apart; `None` where not all of it can be told.
pub(crate) fn whole_day(book: &crate::broker::Book) -> Option<TodayPnl> {
    let trades = book.trades_today.as_ref()?.as_ref().ok()?;
    let (trades, _) = own::Own::default().with_strangers(trades, book.asked_at).ok()?;
    let today = portfolio::today(&book.positions, &trades).ok()?;
    today.unknown.is_empty().then_some(today)
}

fn of_journal(config: &Config, clock: Clock) -> Result<BookView, BookError> {
    let data_dir = config.data_dir()?;
    let own = own::read(config, &data_dir, None)?;
    let as_of = UtcMillis(clock.now_ms());
    let known_since = own.trades.iter().map(|trade| trade.at).min();
    let trades = TradeBook::from_trades(own.trades.iter().copied())?;
    let positions = own.positions(&trades, as_of);
    let note = match known_since {
        Some(since) => format!(
            "this is what the journal's trades since {} leave; what was held before, or traded elsewhere, is not in it, \
             and prices are not known",
            since.trading_date()
        ),
        None => "the journal holds no trade yet".to_owned(),
    };
    Ok(BookView {
        source: BookSource::Journal { known_since },
        as_of,
        positions,
        account: None,
        orders: own.orders,
        trades,
        today: Err("the journal knows no prices; ask the broker".to_owned()),
        notes: vec![note],
    })
}
