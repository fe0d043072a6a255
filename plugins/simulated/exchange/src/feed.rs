//! Quotes from a CSV file: ticks or minute bars. The reader is handed in, so that nothing here opens a file.

use std::io::Read;

use csv::{ByteRecord, ReaderBuilder};
use jiff::civil::Date;
use qt_market::{Market, Shares, Symbol};

use crate::flow::{Bar, Happened, Quote, SHOWN, Shown, Tick};
use crate::price::{E4, parse_e4};
use crate::time::{Moment, moment, show};

/// What is wrong with a file of quotes.
#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    /// It cannot be read.
    #[error("it cannot be read: {0}")]
    Read(#[from] csv::Error),
    /// It has no line with names of columns, or one that is not known.
    #[error("line 1: {0}")]
    Header(String),
    /// A value.
    #[error("line {line}, column {column}: `{value}` is not {expected}")]
    Value {
        /// Counted from 1.
        line: u64,
        /// By its name.
        column: String,
        /// What stands there.
        value: String,
        /// What should, and what to do.
        expected: String,
    },
}

/// What the lines of a file are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// `time,symbol,open,high,low,close,volume`; the time is the bar's end.
    Bars,
    /// `time,symbol,last,volume`, with levels `bid1,bid1_volume` to `ask5,ask5_volume` where there are any.
    Ticks,
}

/// Reads quotes one after the other; a file is never in memory as a whole.
pub struct Feed<'m, R> {
    reader: csv::Reader<R>,
    market: &'m Market,
    names: Vec<String>,
    columns: Columns,
    shape: Shape,
    record: ByteRecord,
    last_at: Moment,
    day: Option<([u8; 10], Date)>,
    symbol: Option<(Vec<u8>, Symbol)>,
}

#[derive(Debug, Default)]
struct Columns {
    time: usize,
    symbol: usize,
    prices: [usize; 4],
    volume: usize,
    previous_close: Option<usize>,
    /// Price and shares of bids and asks.
    levels: Option<[[(usize, usize); SHOWN]; 2]>,
}

const HELP: &str = "expected time,symbol,open,high,low,close,volume for bars or time,symbol,last,volume for ticks, with \
                    previous_close and bid1,bid1_volume to ask5,ask5_volume where there are any";

impl<'m, R: Read> Feed<'m, R> {
    /// Begins to read; `market` knows which bare codes mean which symbol.
    ///
    /// # Errors
    /// The first line does not name the columns.
    pub fn new(source: R, market: &'m Market) -> Result<Self, FeedError> {
        let mut reader = ReaderBuilder::new().flexible(true).from_reader(source);
        let names: Vec<String> = reader
            .headers()?
            .iter()
            .map(|name| name.trim().trim_start_matches('\u{feff}').to_ascii_lowercase())
            .collect();
        let (columns, shape) = columns(&names)?;
        Ok(Self {
            reader,
            market,
            names,
            columns,
            shape,
            record: ByteRecord::new(),
            last_at: Moment::MIN,
            day: None,
            symbol: None,
        })
    }

    /// What the lines are.
    #[must_use]
    pub const fn shape(&self) -> Shape {
        self.shape
    }

    /// How many bytes were read.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.reader.position().byte()
    }

    /// The next quote; `None` at the end.
    ///
    /// # Errors
    /// The first value that is not what it should be: where it stands, what it is, and what is expected.
    pub fn next_quote(&mut self) -> Result<Option<Quote>, FeedError> {
        let mut record = std::mem::take(&mut self.record);
        let found = self.reader.read_byte_record(&mut record);
        let quote = match found {
            Ok(true) => self.read(&record).map(Some),
            Ok(false) => Ok(None),
            Err(error) => Err(FeedError::Read(error)),
        };
        self.record = record;
        quote
    }

    fn read(&mut self, record: &ByteRecord) -> Result<Quote, FeedError> {
        let at = self.time(record)?;
        if at < self.last_at {
            let after = show(self.last_at);
            let expected = format!("after {after}, the time of a line before; sort the file by time");
            return Err(self.wrong(record, self.columns.time, &expected));
        }
        self.last_at = at;
        let symbol = self.symbol(record)?;
        let volume = self.shares(record, self.columns.volume)?;
        let what = match self.shape {
            Shape::Bars => Happened::Bar(self.bar(record, volume)?),
            Shape::Ticks => Happened::Tick(self.tick(record, volume)?),
        };
        let previous_close = match self.columns.previous_close {
            Some(column) if record.get(column).is_some_and(|text| !text.is_empty()) => {
                Some(self.price(record, column)?)
            }
            _ => None,
        };
        Ok(Quote {
            at,
            symbol,
            what,
            previous_close,
        })
    }

    fn bar(&self, record: &ByteRecord, volume: Shares) -> Result<Bar, FeedError> {
        let [open, high, low, close] = self.columns.prices;
        let bar = Bar {
            open: self.price(record, open)?,
            high: self.price(record, high)?,
            low: self.price(record, low)?,
            close: self.price(record, close)?,
            volume,
        };
        if bar.high < bar.open.max(bar.close).max(bar.low) {
            return Err(self.wrong(record, high, "the highest of the line's prices"));
        }
        if bar.low > bar.open.min(bar.close) {
            return Err(self.wrong(record, low, "the lowest of the line's prices"));
        }
        Ok(bar)
    }

    fn tick(&self, record: &ByteRecord, volume: Shares) -> Result<Tick, FeedError> {
        let last = self.price(record, self.columns.prices[0])?;
        let Some([bids, asks]) = &self.columns.levels else {
            return Ok(Tick {
                last,
                volume,
                levels: None,
            });
        };
        let shown = |columns: &[(usize, usize); SHOWN]| {
            let mut shown: Shown = Shown::default();
            for (level, (price, shares)) in shown.iter_mut().zip(columns) {
                let is_empty = |column: usize| {
                    record.get(column).is_none_or(|text| {
                        text.trim_ascii().is_empty() || parse_e4(text.trim_ascii()) == Some(0)
                    })
                };
                // A limit with nobody behind it shows as an empty field or as a zero.
                if !is_empty(*price) {
                    *level = (self.price(record, *price)?, self.shares(record, *shares)?);
                }
            }
            Ok::<_, FeedError>(shown)
        };
        let (bids, asks) = (shown(bids)?, shown(asks)?);
        Ok(Tick {
            last,
            volume,
            levels: Some((bids, asks)),
        })
    }

    fn price(&self, record: &ByteRecord, column: usize) -> Result<E4, FeedError> {
        let text = record.get(column).unwrap_or_default().trim_ascii();
        parse_e4(text).filter(|price| *price > 0).ok_or_else(|| {
            self.wrong(
                record,
                column,
                "a price in yuan above 0 with four decimals at most, such as 10.52",
            )
        })
    }

    fn shares(&self, record: &ByteRecord, column: usize) -> Result<Shares, FeedError> {
        let text = record.get(column).unwrap_or_default().trim_ascii();
        // Some sources write 1200.0.
        let whole = parse_e4(text)
            .filter(|value| value % crate::price::YUAN == 0)
            .map(|value| value / crate::price::YUAN);
        whole.ok_or_else(|| {
            self.wrong(
                record,
                column,
                "a whole number of shares, 0 or more (shares, not lots)",
            )
        })
    }

    fn symbol(&mut self, record: &ByteRecord) -> Result<Symbol, FeedError> {
        let text = record.get(self.columns.symbol).unwrap_or_default().trim_ascii();
        if let Some((_, symbol)) = self.symbol.as_ref().filter(|(known, _)| known == text) {
            return Ok(*symbol);
        }
        let found = std::str::from_utf8(text)
            .ok()
            .map(|text| self.market.symbol(text));
        match found {
            Some(Ok(symbol)) => {
                self.symbol = Some((text.to_vec(), symbol));
                Ok(symbol)
            }
            Some(Err(error)) => Err(self.wrong(record, self.columns.symbol, &format!("a symbol ({error})"))),
            None => Err(self.wrong(record, self.columns.symbol, "a symbol such as 000858.SZ")),
        }
    }

    /// `2026-11-24 09:31`, with `T` between and with seconds and their thousandths where there are any, in Shanghai; or
    /// milliseconds since 1970.
    fn time(&mut self, record: &ByteRecord) -> Result<Moment, FeedError> {
        let text = record.get(self.columns.time).unwrap_or_default().trim_ascii();
        let expected = "a time in Shanghai such as 2026-11-24 09:31:00, or milliseconds since 1970";
        let found = if text.len() == 13 && text.iter().all(u8::is_ascii_digit) {
            std::str::from_utf8(text).ok().and_then(|text| text.parse().ok())
        } else {
            self.civil(text)
        };
        found.ok_or_else(|| self.wrong(record, self.columns.time, expected))
    }

    fn civil(&mut self, text: &[u8]) -> Option<Moment> {
        let (date, rest) = text.split_at_checked(10)?;
        let day = match &self.day {
            Some((known, day)) if known == date => *day,
            _ => {
                let day: Date = std::str::from_utf8(date).ok()?.parse().ok()?;
                self.day = Some((date.try_into().ok()?, day));
                day
            }
        };
        let (separator, clock) = rest.split_first()?;
        if !matches!(separator, b' ' | b'T') {
            return None;
        }
        let two = |at: usize, most: i64| {
            let pair = clock.get(at..at + 2)?;
            let digits = pair.iter().all(u8::is_ascii_digit);
            let value = i64::from(pair[0].wrapping_sub(b'0')) * 10 + i64::from(pair[1].wrapping_sub(b'0'));
            (digits && value <= most).then_some(value)
        };
        let (hours, minutes) = (two(0, 23)?, two(3, 59)?);
        let mut ms = (hours * 60 + minutes) * 60_000;
        match clock.len() {
            5 => {}
            8 => ms += two(6, 59)? * 1000,
            12 => {
                let thousandths = clock.get(9..12)?;
                ms += two(6, 59)? * 1000 + std::str::from_utf8(thousandths).ok()?.parse::<i64>().ok()?;
            }
            _ => return None,
        }
        (clock.get(2) == Some(&b':')).then(|| moment(day, ms))
    }

    fn wrong(&self, record: &ByteRecord, column: usize, expected: &str) -> FeedError {
        let value = String::from_utf8_lossy(record.get(column).unwrap_or_default());
        FeedError::Value {
            line: record.position().map_or(0, csv::Position::line),
            column: self.names.get(column).cloned().unwrap_or_default(),
            value: value
                .chars()
                .take(60)
                .map(|letter| if letter.is_control() { ' ' } else { letter })
                .collect(),
            expected: expected.to_owned(),
        }
    }
}

fn columns(names: &[String]) -> Result<(Columns, Shape), FeedError> {
    let find = |name: &str| names.iter().position(|known| known == name);
    let need = |name: &str| {
        let shown = names.iter().take(12).cloned().collect::<Vec<_>>().join(",");
        find(name)
            .ok_or_else(|| FeedError::Header(format!("there is no column `{name}` in `{shown}`; {HELP}")))
    };
    let mut columns = Columns {
        time: need("time")?,
        symbol: need("symbol")?,
        volume: need("volume")?,
        previous_close: find("previous_close"),
        ..Columns::default()
    };
    if find("close").is_some() || find("open").is_some() {
        columns.prices = [need("open")?, need("high")?, need("low")?, need("close")?];
        return Ok((columns, Shape::Bars));
    }
    columns.prices = [need("last")?; 4];
    if find("bid1").is_some() || find("ask1").is_some() {
        let mut levels = [[(usize::MAX, usize::MAX); SHOWN]; 2];
        for (side, word) in ["bid", "ask"].into_iter().enumerate() {
            for (place, level) in levels[side].iter_mut().enumerate() {
                let (price, shares) = (
                    format!("{word}{}", place + 1),
                    format!("{word}{}_volume", place + 1),
                );
                // Sources with one or three levels have no columns for the rest.
                if place == 0 || find(&price).is_some() {
                    *level = (need(&price)?, need(&shares)?);
                }
            }
        }
        columns.levels = Some(levels);
    }
    Ok((columns, Shape::Ticks))
}
