//! The book as it stands, gathered for the commands that show or export it: what the broker holds,
//! and beside it what the journal knows of how it came about. Works nothing out that `qt-core` can.

use std::path::PathBuf;
use std::str::FromStr;

use qt_core::portfolio::{Account, Position, TodayPnl, TradeBook};
use qt_core::{Order, UtcMillis};

/// Where a book is asked for: `--from broker|backend|journal|FILE`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum From {
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

impl FromStr for From {
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
    /// Every holding, in the source's order.
    pub(crate) positions: Vec<Position>,
    /// The balances; only a broker, or an export that holds them, has any.
    pub(crate) account: Option<Account>,
    /// Every order that the journal holds with its fills, oldest first; none beside a file.
    pub(crate) orders: Vec<Order>,
    /// What the journal's fills say of each symbol, fees included; none beside a file.
    pub(crate) trades: TradeBook,
    /// Today's P&L from prices and trades; `None` where the source knows nothing of today.
    pub(crate) today: Option<TodayPnl>,
    /// What a person should know about these figures, a sentence each.
    pub(crate) notes: Vec<String>,
}
