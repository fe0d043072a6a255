//! What the commands that show the book have in common: where it comes from, how it looks, what is meant by a symbol.

use std::io::Write;

use clap::{Args, ValueEnum};
use qt_core::portfolio::{Account, PortfolioError, Position};
use qt_market::{Price, Symbol};
use rust_decimal::Decimal;

use super::render::cells::{Colour, Style};
use super::{Failure, Options};
use crate::book::{self, BookError, BookFrom, BookSource, BookView};
use crate::clock::Clock;
use crate::config::{Colors, Config, Purpose};
use crate::export::Look;

/// More suggestions than these help nobody.
const MOST_NEAR: usize = 3;

/// The options of every command that shows the book.
#[derive(Debug, Args)]
pub(super) struct BookArgs {
    /// Ask this: `broker` for a fresh answer, `journal` for what its trades leave, or a JSON or CSV file.
    #[arg(long, value_name = "SOURCE", default_value = "broker")]
    from: BookFrom,
    /// What red and green mean: `cn` (red is up), `western` (green is up) or `none`; the configuration's
    /// `display.colors` without it. Only a terminal gets colours, and none with NO_COLOR set.
    #[arg(long, value_enum, value_name = "COLORS")]
    colors: Option<ColorWord>,
    /// Symbols only, without the names that the broker gives.
    #[arg(long)]
    no_names: bool,
    /// As JSON, with every digit.
    #[arg(long)]
    pub(super) json: bool,
}

/// For commands whose answer is a table.
#[derive(Debug, Args)]
pub(super) struct CsvArg {
    /// As CSV, with every digit.
    #[arg(long, conflicts_with = "json")]
    pub(super) csv: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ColorWord {
    Cn,
    Western,
    None,
}

impl BookArgs {
    /// The configuration and the book of one account; what should be known about the book goes to standard error.
    pub(super) fn gather(&self, options: &Options) -> Result<(Config, BookView), Failure> {
        let config = if self.is_of_a_file() {
            options.load(Purpose::Look)?
        } else {
            options.load_one(Purpose::Look)?
        };
        let view = self.view(&config)?;
        Ok((config, view))
    }

    /// The configuration of every account that is meant.
    pub(super) fn load_each(&self, options: &Options) -> Result<Vec<Config>, Failure> {
        if self.is_of_a_file() {
            return Ok(vec![options.load(Purpose::Look)?]);
        }
        options.load_each(Purpose::Look)
    }

    /// A file is nobody's account.
    fn is_of_a_file(&self) -> bool {
        matches!(self.from, BookFrom::File(_))
    }

    /// The book of an account.
    pub(super) fn view(&self, config: &Config) -> Result<BookView, Failure> {
        let view = book::gather(config, &self.from, Clock::system())?;
        let whose = if config.is_one_of_several() {
            format!("account {}: ", config.account_label())
        } else {
            String::new()
        };
        for note in &view.notes {
            // Nobody may be reading it any more; the book is what was asked for.
            let _ = writeln!(std::io::stderr(), "note: {whose}{note}");
        }
        Ok(view)
    }

    /// How text looks here.
    pub(super) fn style(&self, config: &Config) -> Style {
        let colour = if crate::system::stdout_has_colours() {
            self.colour(config)
        } else {
            Colour::None
        };
        Style {
            colour,
            names: !self.no_names,
        }
    }

    /// How a picture looks: it has colours wherever it is made.
    pub(super) fn look(&self, config: &Config) -> Look {
        Look {
            colour: self.colour(config),
            names: !self.no_names,
        }
    }

    fn colour(&self, config: &Config) -> Colour {
        match (self.colors, config.display.colors) {
            (Some(ColorWord::None), _) => Colour::None,
            (Some(ColorWord::Cn), _) | (None, Colors::Cn) => Colour::RedUp,
            (Some(ColorWord::Western), _) | (None, Colors::Western) => Colour::GreenUp,
        }
    }
}

/// The holding that is meant by `text`, or the ones that may be.
pub(super) fn holding<'a>(positions: &'a [Position], text: &str) -> Result<&'a Position, Failure> {
    match text.trim().parse::<Symbol>() {
        Ok(symbol) => positions
            .iter()
            .find(|position| position.symbol == symbol)
            .ok_or_else(|| Failure::failed(format!("{symbol} is not held{}", near(positions, text)))),
        Err(e) => Err(Failure::usage(format!("{e}{}", near(positions, text)))),
    }
}

/// The symbol that is meant by `text`, held or not.
pub(super) fn symbol(positions: &[Position], text: &str) -> Result<Symbol, Failure> {
    text.trim()
        .parse::<Symbol>()
        .map_err(|e| Failure::usage(format!("{e}{}", near(positions, text))))
}

/// The tail of a sentence that names holdings like `text`: by its digits, by a slip of the finger, or by name.
fn near(positions: &[Position], text: &str) -> String {
    let wanted = text.trim().to_uppercase();
    let digits: String = wanted.chars().filter(char::is_ascii_digit).collect();
    let mut near: Vec<(usize, String)> = positions
        .iter()
        .filter_map(|position| {
            let symbol = position.symbol.to_string();
            let named =
                !wanted.is_empty() && position.name.as_ref().is_some_and(|name| name.contains(&wanted));
            let same_code = digits.len() >= 3 && position.symbol.code().contains(&digits);
            let distance = strsim::damerau_levenshtein(&symbol, &wanted);
            let rank = if named || same_code { 0 } else { distance };
            (rank <= 2).then_some((rank, symbol))
        })
        .collect();
    near.sort();
    near.truncate(MOST_NEAR);
    if near.is_empty() {
        return "; `qt-host positions` lists what is".to_owned();
    }
    let names: Vec<_> = near.into_iter().map(|(_, symbol)| symbol).collect();
    format!("; did you mean {}?", names.join(" or "))
}

/// The line under an empty table: why it is empty, since a failed question is never shown as one.
pub(super) fn no_positions(view: &BookView) -> String {
    let why = match &view.source {
        BookSource::Broker { adapter } => format!("the broker `{adapter}` answered, and nothing is held"),
        BookSource::Journal { known_since: None } => "the journal holds no trade yet".to_owned(),
        BookSource::Journal { .. } => "the trades in the journal leave nothing held".to_owned(),
        BookSource::File { path } => format!("{} lists none with shares", crate::system::shown(path)),
    };
    format!("no positions: {why}\n")
}

/// The balances, where the source has any.
pub(super) fn account(view: &BookView) -> Result<&Account, Failure> {
    view.account.as_ref().ok_or_else(|| {
        Failure::failed("this source knows no balances; use --from broker, or an export that holds them")
    })
}

/// An amount on the command line.
pub(super) fn decimal(text: &str) -> Result<Decimal, String> {
    crate::config::parse_decimal(text.trim()).ok_or_else(|| "expected a number such as 40.00".to_owned())
}

/// Refuses a price on the command line that is none, before anybody is asked for a book.
pub(super) fn above_zero(price: Option<Price>) -> Result<(), Failure> {
    match price {
        Some(price) if price <= Decimal::ZERO => Err(Failure::usage(format!(
            "price {price} is not above zero: give a price in yuan"
        ))),
        _ => Ok(()),
    }
}

/// A percentage on the command line, with the sign or without.
pub(super) fn percent(text: &str) -> Result<Decimal, String> {
    decimal(text.trim().trim_end_matches('%'))
}

impl From<BookError> for Failure {
    fn from(error: BookError) -> Self {
        match error {
            BookError::Backend | BookError::File { .. } | BookError::Folder(_) | BookError::Tables(_) => {
                Self::usage(error.to_string())
            }
            BookError::Plugin(plugin) => plugin.into(),
            BookError::Journal(journal) => journal.into(),
            BookError::Portfolio(portfolio) => portfolio.into(),
            BookError::Broker { .. } | BookError::Control(_) | BookError::Lease(_) => {
                Self::failed(error.to_string())
            }
        }
    }
}

impl From<PortfolioError> for Failure {
    fn from(error: PortfolioError) -> Self {
        match error {
            PortfolioError::Option { .. } | PortfolioError::Lot(_) => Self::usage(error.to_string()),
            PortfolioError::TooLarge { .. }
            | PortfolioError::Negative { .. }
            | PortfolioError::NothingHeld { .. }
            | PortfolioError::NoPrice { .. }
            | PortfolioError::Fees(_) => Self::failed(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(symbol: &str, name: &str) -> Position {
        Position {
            symbol: symbol.parse().unwrap(),
            name: Some(name.to_owned()),
            total: 100,
            sellable: 100,
            frozen: 0,
            avg_cost: Decimal::ONE,
            last_price: None,
            previous_close: None,
        }
    }

    #[test]
    fn what_is_not_held_names_what_may_be_meant() {
        let book = [held("000858.SZ", "五粮液"), held("600519.SH", "贵州茅台")];
        assert_eq!(holding(&book, "000858.sz").unwrap().total, 100);
        for (text, code, said) in [
            ("000859.SZ", 1, "did you mean 000858.SZ?"),
            ("000858.SH", 1, "did you mean 000858.SZ?"),
            ("858", 2, "did you mean 000858.SZ?"),
            ("茅台", 2, "did you mean 600519.SH?"),
            ("300750.SZ", 1, "300750.SZ is not held; `qt-host positions`"),
            ("", 2, "is not a symbol"),
        ] {
            let failure = holding(&book, text).unwrap_err();
            assert_eq!(failure.code, code, "{text}: {failure:?}");
            assert!(failure.message.contains(said), "{text}: {failure:?}");
        }
    }
}
