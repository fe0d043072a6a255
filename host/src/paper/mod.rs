//! Trading on paper: real signals through the real core with its gates, against a simulated exchange, at the time of
//! recorded quotes. No wall clock takes part, so that two runs give the same ledger, byte for byte.

mod curve;
mod report;
mod signals;
mod stage;

use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::sync::Arc;

use qt_core::{Settings, Signal};
use qt_exchange::{Account, Dividend, Feed, FeedError, Liquidity};
use qt_market::Market;

pub(crate) use curve::{Curve, Sample};
pub(crate) use report::{OrderLine, Report, SymbolLine};
pub(crate) use signals::{of_answer, of_text};
use stage::Stage;

/// Quotes are read so many at a time before somebody may be told how far it is.
const PIECE: u64 = 4_096;

/// What a run is made of.
pub(crate) struct Play {
    /// Limits, times and gates.
    pub(crate) settings: Settings,
    /// The market's rules.
    pub(crate) market: Arc<Market>,
    /// How much of the market's flow is there for us.
    pub(crate) flow: Liquidity,
    /// Cash and shares at the start.
    pub(crate) account: Account,
    /// None, unless some are given.
    pub(crate) dividends: Vec<Dividend>,
    /// By the time at which they were made.
    pub(crate) signals: Vec<Signal>,
}

/// How far a run is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Progress {
    /// The data's time, in milliseconds since 1970 UTC.
    pub(crate) at: i64,
    /// Bytes of the quotes that were read.
    pub(crate) bytes: u64,
    /// Quotes that were played.
    pub(crate) quotes: u64,
    /// Trades so far.
    pub(crate) fills: usize,
}

/// Why a run ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PaperError {
    /// The file of quotes cannot be opened.
    #[error("the quotes {path} cannot be read: {source}; give the path of a CSV file")]
    Open {
        /// The file.
        path: String,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// Something in it is wrong.
    #[error("the quotes {path}: {source}")]
    Quotes {
        /// The file.
        path: String,
        /// What, and where.
        #[source]
        source: FeedError,
    },
    /// It has nothing to trade against.
    #[error("the quotes {path} have no line below their first; a run needs some")]
    NoQuotes {
        /// The file.
        path: String,
    },
    /// The core does not take what happened.
    #[error("at {at}: {source}")]
    Core {
        /// The data's time.
        at: String,
        /// What it says.
        #[source]
        source: qt_core::HandleError,
    },
}

/// What a run leaves.
pub(crate) struct Played {
    /// The figures.
    pub(crate) report: Report,
    /// The exchange's and the gates' facts, a JSON object a line.
    pub(crate) ledger: String,
}

/// Plays the signals against the quotes of a file.
///
/// # Errors
/// [`PaperError`]; nothing was written anywhere.
pub(crate) fn play(
    play: Play,
    quotes: &Path,
    mut progress: impl FnMut(Progress),
) -> Result<Played, PaperError> {
    let shown = crate::system::shown(quotes);
    let file = File::open(quotes).map_err(|source| PaperError::Open {
        path: shown.clone(),
        source,
    })?;
    let market = Arc::clone(&play.market);
    let wrong = |source| PaperError::Quotes {
        path: shown.clone(),
        source,
    };
    let mut feed = Feed::new(BufReader::with_capacity(1 << 16, file), &market).map_err(wrong)?;
    let Some(mut quote) = feed.next_quote().map_err(wrong)? else {
        return Err(PaperError::NoQuotes { path: shown });
    };
    let mut stage = Stage::new(play, quote.at)?;
    let mut count: u64 = 0;
    loop {
        stage.quote(&quote)?;
        count += 1;
        if count.is_multiple_of(PIECE) {
            progress(Progress {
                at: quote.at,
                bytes: feed.position(),
                quotes: count,
                fills: stage.fills(),
            });
        }
        match feed.next_quote().map_err(wrong)? {
            Some(next) => quote = next,
            None => break,
        }
    }
    stage.end(count)
}
