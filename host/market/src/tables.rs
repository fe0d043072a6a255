//! The data file: how its tables are read, merged with a user's, and checked.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use jiff::civil::Date;
use rust_decimal::Decimal;
use serde::Deserialize;

use crate::board::Board;
use crate::calendar::Calendar;
use crate::dated::Since;
use crate::fees::FeeSchedule;
use crate::limits::{Listed, Rates};
use crate::lot::LotRule;
use crate::session::{Phase, Sessions, parse_time};
use crate::symbol::{Exchange, Symbol};

const BUILTIN: &str = include_str!("../data/cn_a.toml");

/// Why a file of market tables cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// It is not TOML, or has another shape.
    #[error("the market tables cannot be read: {0}")]
    Shape(String),
    /// A value in it cannot be right.
    #[error("the market tables: {place}: `{value}` is not {expected}")]
    Value {
        /// Which table and row.
        place: String,
        /// What stands there.
        value: String,
        /// What should.
        expected: &'static str,
    },
}

/// The market's rules by date.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Market {
    pub(crate) boards: BTreeMap<Board, BoardRules>,
    /// By exchange, longest first.
    prefixes: Vec<(Exchange, String, Board)>,
    bare: Vec<(String, Exchange)>,
    ambiguous: Vec<String>,
    pub(crate) sessions: Sessions,
    pub(crate) fees: FeeSchedule,
    pub(crate) calendar: Calendar,
    high_frequency: HighFrequency,
    /// What no code tells, of symbols that a user names.
    pub(crate) listings: BTreeMap<Symbol, Listed>,
    text: Arc<str>,
}

/// From how many orders and cancels on an account trades at high frequency.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HighFrequency {
    /// The first day on which it holds.
    pub since: Date,
    /// In one second.
    pub per_second: u32,
    /// In one day.
    pub per_day: u32,
}

/// What holds on one board.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct BoardRules {
    pub(crate) settlement_days: u8,
    pub(crate) same_day: Vec<(Exchange, String)>,
    pub(crate) ticks: Vec<(Option<Exchange>, Since<Decimal>)>,
    pub(crate) lots: Vec<Since<LotRule>>,
    pub(crate) limits: Vec<Since<Rates>>,
    pub(crate) limits_st: Vec<Since<Rates>>,
    pub(crate) first_day: Vec<Since<Rates>>,
    pub(crate) free_days: Vec<Since<u32>>,
    pub(crate) cages: Vec<Since<CageRule>>,
}

/// How far from its base a price may be in continuous trading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CageRule {
    pub(crate) up: Decimal,
    pub(crate) down: Decimal,
    /// And at least so many ticks; zero where the share alone counts.
    pub(crate) ticks: u32,
}

impl Market {
    /// The tables that come with the program.
    #[must_use]
    pub fn builtin() -> &'static Self {
        static TABLES: OnceLock<Market> = OnceLock::new();
        TABLES.get_or_init(|| match Self::read(BUILTIN) {
            Ok(market) => market,
            // A test reads the file, so that no build with a bad one is ever released.
            Err(error) => unreachable!("{error}"),
        })
    }

    /// The tables that come with the program, those that `text` names replaced.
    ///
    /// # Errors
    /// [`TableError`], which names the place and what was expected there.
    pub fn with_overrides(text: &str) -> Result<Self, TableError> {
        let shape = |error: toml::de::Error| TableError::Shape(one_line(&error));
        let mut tables: toml::Table = toml::from_str(BUILTIN).map_err(shape)?;
        let given: toml::Table = toml::from_str(text).map_err(shape)?;
        merge(&mut tables, given);
        let merged = toml::to_string(&tables).map_err(|error| TableError::Shape(error.to_string()))?;
        Self::read(&merged)
    }

    /// Reads a complete set of tables, such as [`Self::text`] gives.
    ///
    /// # Errors
    /// [`TableError`], which names the place and what was expected there.
    pub fn read(text: &str) -> Result<Self, TableError> {
        let raw: RawTables = toml::from_str(text).map_err(|error| TableError::Shape(one_line(&error)))?;
        raw.check(text)
    }

    /// The complete set as a file's text, so that what was decided by can be kept beside the decisions.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// From how many orders on an account counts as trading at high frequency, by law.
    #[must_use]
    pub const fn high_frequency(&self) -> HighFrequency {
        self.high_frequency
    }

    /// What is charged, by date.
    #[must_use]
    pub const fn fees(&self) -> &FeeSchedule {
        &self.fees
    }

    /// The days on which the exchanges trade.
    #[must_use]
    pub const fn calendar(&self) -> &Calendar {
        &self.calendar
    }

    pub(crate) fn board_of(&self, exchange: Exchange, code: &str) -> Board {
        self.prefixes
            .iter()
            .find(|(on, prefix, _)| *on == exchange && code.starts_with(prefix.as_str()))
            .map_or(Board::Unknown, |(_, _, board)| *board)
    }

    /// The one exchange that a bare code can mean.
    pub(crate) fn exchange_of_bare(&self, code: &str) -> Result<Exchange, bool> {
        if self
            .ambiguous
            .iter()
            .any(|prefix| code.starts_with(prefix.as_str()))
        {
            return Err(true);
        }
        let mut found = self
            .bare
            .iter()
            .filter(|(prefix, _)| code.starts_with(prefix.as_str()));
        match (found.next(), found.next()) {
            (Some((_, exchange)), None) => Ok(*exchange),
            (Some(_), Some(_)) => Err(true),
            (None, _) => Err(false),
        }
    }

    pub(crate) fn rules(&self, board: Board) -> Option<&BoardRules> {
        self.boards.get(&board)
    }
}

fn one_line(error: &toml::de::Error) -> String {
    error
        .to_string()
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect::<Vec<_>>()
        .join(", ")
}

/// Tables are merged key by key; a list takes the place of the list before.
fn merge(into: &mut toml::Table, from: toml::Table) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(toml::Value::Table(old)), toml::Value::Table(new)) => merge(old, new),
            (_, value) => {
                into.insert(key, value);
            }
        }
    }
}

// What follows is the file's shape; `source` is read so that it is known, and kept nowhere.

type Codes = BTreeMap<Exchange, Vec<String>>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTables {
    boards: BTreeMap<Board, RawBoard>,
    bare: RawBare,
    sessions: Vec<RawSessions>,
    fees: RawFees,
    high_frequency: RawHighFrequency,
    calendar: BTreeMap<String, RawYear>,
    #[serde(default)]
    listings: BTreeMap<String, RawListed>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawListed {
    listed: Option<String>,
    #[serde(default)]
    special_treatment: bool,
    #[serde(rename = "source")]
    _source: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawBoard {
    #[serde(rename = "source")]
    _source: Option<String>,
    codes: Codes,
    settlement_days: u8,
    #[serde(default)]
    same_day: Codes,
    ticks: Vec<RawValue<Decimal>>,
    lots: Vec<RawLot>,
    #[serde(default)]
    limits: Vec<RawRates>,
    #[serde(default)]
    limits_st: Vec<RawRates>,
    #[serde(default)]
    first_day: Vec<RawRates>,
    #[serde(default)]
    free_days: Vec<RawValue<u32>>,
    #[serde(default)]
    cages: Vec<RawRates>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawValue<T> {
    since: String,
    value: T,
    exchange: Option<Exchange>,
    #[serde(rename = "source")]
    _source: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLot {
    since: String,
    minimum: i64,
    step: i64,
    largest_limit: i64,
    largest_market: i64,
    #[serde(rename = "source")]
    _source: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRates {
    since: String,
    up: Option<Decimal>,
    down: Option<Decimal>,
    #[serde(default)]
    ticks: u32,
    #[serde(rename = "source")]
    _source: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawBare {
    codes: Codes,
    ambiguous: Vec<String>,
    #[serde(rename = "source")]
    _source: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSessions {
    since: String,
    #[serde(default)]
    boards: Vec<Board>,
    #[serde(default)]
    exchanges: Vec<Exchange>,
    phases: Vec<RawPhase>,
    #[serde(rename = "source")]
    _source: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPhase {
    phase: Phase,
    from: String,
    to: String,
    #[serde(default = "yes")]
    cancels: bool,
}

const fn yes() -> bool {
    true
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFees {
    commission_rate: Decimal,
    commission_min: Decimal,
    exchange_fees_included: bool,
    stamp_duty: Vec<RawValue<Decimal>>,
    transfer_fee: Vec<RawValue<Decimal>>,
    exchange_fee: Vec<RawValue<Decimal>>,
    regulatory_fee: Vec<RawValue<Decimal>>,
    #[serde(rename = "source")]
    _source: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawHighFrequency {
    since: String,
    per_second: u32,
    per_day: u32,
    #[serde(rename = "source")]
    _source: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawYear {
    #[serde(default)]
    provisional: bool,
    closed: Vec<String>,
    #[serde(rename = "source")]
    _source: Option<String>,
}

fn wrong(place: &str, value: impl ToString, expected: &'static str) -> TableError {
    TableError::Value {
        place: place.to_owned(),
        value: value.to_string(),
        expected,
    }
}

fn date(place: &str, text: &str) -> Result<Date, TableError> {
    text.parse()
        .map_err(|_| wrong(place, text, "a day such as 2026-07-06"))
}

fn rate(place: &str, value: Decimal) -> Result<Decimal, TableError> {
    if value < Decimal::ZERO || value >= Decimal::TEN {
        return Err(wrong(
            place,
            value,
            "a fraction from 0 to below 10, such as 0.1 for 10 %",
        ));
    }
    Ok(value)
}

fn codes(place: &str, codes: &Codes) -> Result<Vec<(Exchange, String)>, TableError> {
    let all = codes
        .iter()
        .flat_map(|(exchange, list)| list.iter().map(|code| (*exchange, code)));
    all.map(|(exchange, code)| Ok((exchange, digits(place, code)?)))
        .collect()
}

fn digits(place: &str, code: &str) -> Result<String, TableError> {
    if code.is_empty() || code.len() > 6 || !code.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong(place, code, "the first digits of a code, one to six"));
    }
    Ok(code.to_owned())
}

fn dated<T: Copy>(place: &str, rows: &[RawValue<T>]) -> Result<Vec<Since<T>>, TableError> {
    let row = |row: &RawValue<T>| {
        Ok(Since {
            since: date(place, &row.since)?,
            value: row.value,
        })
    };
    rows.iter().map(row).collect()
}

fn dated_rates(place: &str, rows: &[RawValue<Decimal>]) -> Result<Vec<Since<Decimal>>, TableError> {
    rows.iter()
        .try_for_each(|row| rate(place, row.value).map(|_| ()))?;
    dated(place, rows)
}

fn rates(place: &str, rows: &[RawRates]) -> Result<Vec<Since<Rates>>, TableError> {
    let one = |row: &RawRates| {
        let value = match (row.up, row.down) {
            (Some(up), Some(down)) => Some((rate(place, up)?, rate(place, down)?)),
            (None, None) => None,
            _ => {
                return Err(wrong(
                    place,
                    &row.since,
                    "a row with both `up` and `down`, or neither",
                ));
            }
        };
        Ok(Since {
            since: date(place, &row.since)?,
            value,
        })
    };
    rows.iter().map(one).collect()
}

fn cages(place: &str, rows: &[RawRates]) -> Result<Vec<Since<CageRule>>, TableError> {
    let one = |row: &RawRates| match (row.up, row.down) {
        (Some(up), Some(down)) => Ok(Since {
            since: date(place, &row.since)?,
            value: CageRule {
                up: rate(place, up)?,
                down: rate(place, down)?,
                ticks: row.ticks,
            },
        }),
        _ => Err(wrong(place, &row.since, "a row with both `up` and `down`")),
    };
    rows.iter().map(one).collect()
}

fn lots(place: &str, rows: &[RawLot]) -> Result<Vec<Since<LotRule>>, TableError> {
    let one = |row: &RawLot| {
        let whole = [row.minimum, row.step, row.largest_limit, row.largest_market];
        if whole.iter().any(|number| *number <= 0) || row.minimum > row.largest_market.min(row.largest_limit)
        {
            return Err(wrong(
                place,
                row.minimum,
                "a lot of numbers above zero, the minimum below the largest",
            ));
        }
        Ok(Since {
            since: date(place, &row.since)?,
            value: LotRule {
                minimum: row.minimum,
                step: row.step,
                largest_limit: row.largest_limit,
                largest_market: row.largest_market,
            },
        })
    };
    rows.iter().map(one).collect()
}

impl RawBoard {
    fn check(&self, board: Board) -> Result<BoardRules, TableError> {
        let place = |table: &str| format!("boards.{board:?}.{table}");
        let tick = |row: &RawValue<Decimal>| {
            let place = place("ticks");
            if row.value <= Decimal::ZERO {
                return Err(wrong(&place, row.value, "a tick above zero"));
            }
            let since = Since {
                since: date(&place, &row.since)?,
                value: row.value,
            };
            Ok((row.exchange, since))
        };
        Ok(BoardRules {
            settlement_days: self.settlement_days,
            same_day: codes(&place("same_day"), &self.same_day)?,
            ticks: self.ticks.iter().map(tick).collect::<Result<_, _>>()?,
            lots: lots(&place("lots"), &self.lots)?,
            limits: rates(&place("limits"), &self.limits)?,
            limits_st: rates(&place("limits_st"), &self.limits_st)?,
            first_day: rates(&place("first_day"), &self.first_day)?,
            free_days: dated(&place("free_days"), &self.free_days)?,
            cages: cages(&place("cages"), &self.cages)?,
        })
    }
}

impl RawTables {
    fn check(self, text: &str) -> Result<Market, TableError> {
        let mut boards = BTreeMap::new();
        let mut prefixes = Vec::new();
        for (board, raw) in &self.boards {
            for (exchange, code) in codes(&format!("boards.{board:?}.codes"), &raw.codes)? {
                prefixes.push((exchange, code, *board));
            }
            boards.insert(*board, raw.check(*board)?);
        }
        // The longer beginning names the board where two fit.
        prefixes.sort_by_key(|(exchange, code, _)| (*exchange, std::cmp::Reverse(code.len()), code.clone()));
        let bare = codes("bare.codes", &self.bare.codes)?;
        let ambiguous = self
            .bare
            .ambiguous
            .iter()
            .map(|code| digits("bare.ambiguous", code));
        Ok(Market {
            boards,
            prefixes,
            bare: bare
                .into_iter()
                .map(|(exchange, code)| (code, exchange))
                .collect(),
            ambiguous: ambiguous.collect::<Result<_, _>>()?,
            sessions: sessions(&self.sessions)?,
            fees: self.fees.check()?,
            calendar: calendar(&self.calendar)?,
            high_frequency: HighFrequency {
                since: date("high_frequency", &self.high_frequency.since)?,
                per_second: self.high_frequency.per_second,
                per_day: self.high_frequency.per_day,
            },
            listings: listings(&self.listings)?,
            text: text.into(),
        })
    }
}

impl RawFees {
    fn check(&self) -> Result<FeeSchedule, TableError> {
        if self.commission_min < Decimal::ZERO {
            return Err(wrong(
                "fees.commission_min",
                self.commission_min,
                "an amount of zero or more",
            ));
        }
        Ok(FeeSchedule {
            commission_rate: rate("fees.commission_rate", self.commission_rate)?,
            commission_min: self.commission_min,
            stamp_duty: dated_rates("fees.stamp_duty", &self.stamp_duty)?,
            transfer_fee: dated_rates("fees.transfer_fee", &self.transfer_fee)?,
            exchange_fee: dated_rates("fees.exchange_fee", &self.exchange_fee)?,
            regulatory_fee: dated_rates("fees.regulatory_fee", &self.regulatory_fee)?,
            exchange_fees_included: self.exchange_fees_included,
        })
    }
}

fn sessions(rows: &[RawSessions]) -> Result<Sessions, TableError> {
    let mut sessions = Sessions::default();
    for row in rows {
        let since = date("sessions", &row.since)?;
        let mut windows = Vec::new();
        for phase in &row.phases {
            let place = format!("sessions since {since}");
            let time = |text: &str| {
                parse_time(text).ok_or_else(|| wrong(&place, text, "a time of day such as 09:30"))
            };
            let (from, to) = (time(&phase.from)?, time(&phase.to)?);
            if from >= to || windows.last().is_some_and(|(_, _, end, _)| *end > from) {
                return Err(wrong(
                    &place,
                    &phase.from,
                    "a window after the one before it that ends after it begins",
                ));
            }
            windows.push((phase.phase, from, to, phase.cancels));
        }
        sessions.add(since, row.boards.clone(), row.exchanges.clone(), windows);
    }
    Ok(sessions)
}

fn calendar(years: &BTreeMap<String, RawYear>) -> Result<Calendar, TableError> {
    let mut calendar = Calendar::default();
    for (year, raw) in years {
        let number: i16 = year
            .parse()
            .map_err(|_| wrong("calendar", year, "a year such as 2027"))?;
        let day = |text: &String| date("calendar", &format!("{year}-{text}"));
        let closed = raw.closed.iter().map(day).collect::<Result<Vec<_>, _>>()?;
        calendar.add(number, raw.provisional, closed);
    }
    Ok(calendar)
}

fn listings(rows: &BTreeMap<String, RawListed>) -> Result<BTreeMap<Symbol, Listed>, TableError> {
    let one = |(name, row): (&String, &RawListed)| {
        let symbol = name
            .parse()
            .map_err(|_| wrong("listings", name, "a symbol such as 301999.SZ"))?;
        let day = |text: &String| date(&format!("listings.{name}"), text);
        let listed = Listed {
            first_day: row.listed.as_ref().map(day).transpose()?,
            special_treatment: row.special_treatment,
        };
        Ok((symbol, listed))
    };
    rows.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_that_comes_with_the_program_can_be_read_and_reads_the_same_again() {
        let market = Market::read(BUILTIN).unwrap();
        assert_eq!(market.boards.len(), 7);
        assert_eq!(Market::read(market.text()).unwrap(), market);
        assert_eq!(
            (
                market.high_frequency().per_second,
                market.high_frequency().per_day
            ),
            (300, 20_000)
        );
        // With nothing overridden only the text differs, which is written anew.
        let again = Market::with_overrides("").unwrap();
        assert_eq!(again.boards, market.boards);
        assert_eq!(again.sessions, market.sessions);
        assert_eq!(Market::read(again.text()).unwrap(), again);
    }

    #[test]
    fn a_users_table_replaces_that_table_alone() {
        let market = Market::with_overrides(
            "[boards.main]\nlots = [{ since = \"2026-01-01\", minimum = 1, step = 1, largest_limit = 500, largest_market = 400 }]\n\
             [calendar.2028]\nclosed = [\"01-03\"]\n[fees]\ncommission_min = \"0\"",
        )
        .unwrap();
        let builtin = Market::builtin();
        assert_eq!(market.boards[&Board::Main].lots[0].value.largest_market, 400);
        assert_eq!(
            market.boards[&Board::Main].limits,
            builtin.boards[&Board::Main].limits
        );
        assert_eq!(market.boards[&Board::Star], builtin.boards[&Board::Star]);
        assert_eq!(market.fees.commission_min, Decimal::ZERO);
        assert_eq!(market.fees.stamp_duty, builtin.fees.stamp_duty);
        assert!(!market.calendar().is_trading_day(jiff::civil::date(2028, 1, 3)));
    }

    #[test]
    fn a_bad_file_names_the_place_and_what_was_expected() {
        for (text, expected) in [
            ("[boards.main]\ntick = 1", "unknown field"),
            ("[boards.moon]\n", "moon"),
            (
                "[fees]\ncommission_rate = \"12\"",
                "fees.commission_rate: `12` is not a fraction",
            ),
            (
                "[calendar.2028]\nclosed = [\"02-30\"]",
                "`2028-02-30` is not a day",
            ),
            ("[calendar.next]\nclosed = []", "`next` is not a year"),
            ("[bare]\nambiguous = [\"x\"]", "bare.ambiguous: `x`"),
            (
                "[boards.star]\nlots = [{ since = \"2019-07-22\", minimum = 0, step = 1, largest_limit = 1, largest_market = 1 }]",
                "boards.Star.lots: `0`",
            ),
            (
                "[boards.star]\nlimits = [{ since = \"2019-07-22\", up = \"0.2\" }]",
                "both `up` and `down`",
            ),
            (
                "[[sessions]]\nsince = \"2019-07-22\"\nphases = [{ phase = \"continuous\", from = \"10:00\", to = \"09:00\" }]",
                "`10:00` is not a window",
            ),
            ("= 1", "cannot be read"),
        ] {
            let error = Market::with_overrides(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
