//! `paper`: signals on paper, against a simulated exchange at the time of recorded quotes.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use qt_core::Signal;
use qt_exchange::{Account, Dividend, Liquidity};
use qt_market::Market;
use rust_decimal::Decimal;
use serde_json::{Value, json};

use super::cells::{Colour, decimal_number, grouped, money, percent, signed_money};
use super::table::{Align, Table};
use super::{Failure, Options, print, shanghai};
use crate::backend::client::{Answer, Client, ClientSettings, SetupError, Token};
use crate::backend::wire::{self, MAX_SIGNALS, View};
use crate::clock::Clock;
use crate::config::{Colors, Config, Purpose};
use crate::export::{self, Look};
use crate::paper::{self, PaperError, Play, Played, Progress, Report};
use crate::secrets;

/// Nothing is said of a run that is over sooner.
const QUIET: Duration = Duration::from_secs(2);
/// On a terminal a line is written anew so often; elsewhere each is a line of its own.
const OFTEN: Duration = Duration::from_millis(500);
const SELDOM: Duration = Duration::from_secs(10);

/// Play signals against recorded quotes: through the real checks and gates, on a simulated exchange, with no money.
#[derive(Debug, Args)]
#[command(after_help = "\
Nothing is traded, nothing is reported to the backend, and the clock on the wall plays no part: the same signals and quotes \
give the same ledger, byte for byte. Gates are as for a broker that moves money, by the configuration where one is given.

QUOTES is a CSV file, sorted by time, with one of these first lines:
  time,symbol,open,high,low,close,volume            bars; the time is a bar's end, in Shanghai
  time,symbol,last,volume                           ticks; with bid1,bid1_volume ... ask5,ask5_volume where there are any
and previous_close where it is known, without which a day's first limits are not. Volumes are shares.

SIGNALS is JSON as the backend answers, a list of its signals, or one signal a line; each needs order_id, symbol, action, size \
and created_at.

Examples:
  qt-host paper --signals signals.jsonl --quotes 2026-11.csv
  qt-host paper --signals backend --quotes today.csv --config config.json
  qt-host paper --signals s.json --quotes q.csv --ledger run.jsonl --picture run.svg
  qt-host paper --signals s.json --quotes q.csv --cash 300000 --from saved.json --json")]
pub(super) struct PaperArgs {
    /// Signals: a file, or `backend` for those that wait there.
    #[arg(long, value_name = "FILE|backend")]
    signals: String,
    /// Quotes: a CSV file of ticks or bars.
    #[arg(long, value_name = "FILE")]
    quotes: PathBuf,
    /// Cash at the start, in yuan.
    #[arg(long, value_name = "YUAN", default_value = "1000000", value_parser = super::book::decimal, allow_negative_numbers = true)]
    cash: Decimal,
    /// Shares at the start: a JSON or CSV file with positions, as `positions --from` takes it.
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// The part of the market's trades that our orders may have, in percent.
    #[arg(long, value_name = "PERCENT", default_value_t = 25, value_parser = clap::value_parser!(u8).range(1..=100))]
    participation: u8,
    /// Levels that rest on each side where the quotes show none.
    #[arg(long, value_name = "COUNT", default_value_t = 5, value_parser = clap::value_parser!(u8).range(1..=10))]
    levels: u8,
    /// A dividend, as SYMBOL:EX-DATE:YUAN-A-SHARE; may be given again. Without one none is paid.
    #[arg(long = "dividend", value_name = "DIVIDEND", value_parser = dividend)]
    dividends: Vec<Dividend>,
    /// Write what happened, a JSON object a line.
    #[arg(long, value_name = "FILE")]
    ledger: Option<PathBuf>,
    /// Write a picture, an .svg file.
    #[arg(long, value_name = "FILE")]
    picture: Option<PathBuf>,
    /// Replace files that are there.
    #[arg(long)]
    force: bool,
    /// The report as JSON, with every signal.
    #[arg(long)]
    json: bool,
}

fn dividend(text: &str) -> Result<Dividend, String> {
    let expected = || "expected SYMBOL:EX-DATE:YUAN-A-SHARE, such as 600519.SH:2026-06-26:27.624".to_owned();
    let mut parts = text.split(':');
    let (Some(symbol), Some(date), Some(cash), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(expected());
    };
    Ok(Dividend {
        symbol: Market::builtin()
            .symbol(symbol)
            .map_err(|error| error.to_string())?,
        date: date.parse().map_err(|_| expected())?,
        cash: super::book::decimal(cash).map_err(|_| expected())?,
        shares: Decimal::ZERO,
    })
}

pub(super) fn run(args: &PaperArgs, options: &Options) -> Result<(), Failure> {
    if args.cash.is_sign_negative() {
        return Err(Failure::usage(format!(
            "--cash is {}: give an amount of 0 or more",
            args.cash
        )));
    }
    // What cannot be written in the end should not cost a run.
    for file in [&args.ledger, &args.picture].into_iter().flatten() {
        export::check_file(file, args.force)?;
    }
    if let Some(picture) = args
        .picture
        .as_ref()
        .filter(|file| file.extension().is_none_or(|ending| ending != "svg"))
    {
        let shown = crate::system::shown(picture);
        return Err(Failure::usage(format!(
            "--picture {shown}: a picture is an .svg file; give a name that ends so"
        )));
    }
    let from_backend = args.signals == "backend";
    let config = options.load(if from_backend {
        Purpose::Trade
    } else {
        Purpose::Look
    })?;
    let (signals, skipped, wrong) = if from_backend {
        of_backend(&config)?
    } else {
        let (signals, skipped) = of_file(Path::new(&args.signals))?;
        (signals, skipped, Vec::new())
    };
    wrong.iter().for_each(|reason| super::warn(reason));
    let played = play(args, &config, signals)?;
    if let Some(file) = &args.ledger {
        export::write_file(file, args.force, played.ledger.as_bytes())?;
    }
    if let Some(file) = &args.picture {
        let look = Look {
            colour: match config.display.colors {
                Colors::Cn => Colour::RedUp,
                Colors::Western => Colour::GreenUp,
            },
            names: false,
        };
        let picture = export::paper_picture(&played.report, look)
            .map_err(|error| Failure::failed(format!("the picture cannot be drawn: {error}")))?;
        export::write_file(file, args.force, picture.as_bytes())?;
    }
    let left_out = skipped + wrong.len();
    print(&if args.json {
        format!("{}\n", as_json(&played.report, left_out))
    } else {
        as_text(&played.report, left_out)
    })
}

fn play(args: &PaperArgs, config: &Config, signals: Vec<Signal>) -> Result<Played, Failure> {
    let settings = crate::gating::of_execution(config, "paper".to_owned());
    let mut settings = crate::gating::set(settings, config, false).map_err(Failure::usage)?;
    // The exchange here shows an order as soon as it has it.
    settings.gates.book_settle_ms = 0;
    let tables = settings.gates.tables.as_deref();
    let market = match tables.map(Market::read) {
        None => Market::builtin().clone(),
        Some(Ok(market)) => market,
        Some(Err(error)) => return Err(Failure::usage(error.to_string())),
    };
    let positions = match &args.from {
        None => Vec::new(),
        Some(file) => {
            crate::book::gather(
                config,
                &crate::book::BookFrom::File(file.clone()),
                Clock::system(),
            )?
            .positions
        }
    };
    let held = positions
        .iter()
        .map(|held| (held.symbol, held.total, held.avg_cost));
    let play = Play {
        settings,
        market: Arc::new(market),
        flow: Liquidity {
            participation_pct: args.participation,
            levels: args.levels,
        },
        account: Account::new(args.cash, held),
        dividends: args.dividends.clone(),
        signals,
    };
    let bytes = std::fs::metadata(&args.quotes).map_or(0, |found| found.len());
    let mut teller = Teller::new(bytes);
    let played = paper::play(play, &args.quotes, |progress| teller.tell(progress));
    teller.end();
    played.map_err(|error| match error {
        PaperError::Core { .. } => Failure::failed(error.to_string()),
        _ => Failure::usage(error.to_string()),
    })
}

/// Says on standard error how far a long run is.
struct Teller {
    began: Instant,
    last: Option<Instant>,
    bytes: u64,
    terminal: bool,
}

impl Teller {
    fn new(bytes: u64) -> Self {
        Self {
            began: Clock::system().monotonic(),
            last: None,
            bytes,
            terminal: std::io::stderr().is_terminal(),
        }
    }

    fn tell(&mut self, progress: Progress) {
        let now = Clock::system().monotonic();
        let pause = if self.terminal { OFTEN } else { SELDOM };
        let is_early = now.duration_since(self.began) < QUIET;
        if is_early || self.last.is_some_and(|last| now.duration_since(last) < pause) {
            return;
        }
        self.last = Some(now);
        let share = progress
            .bytes
            .saturating_mul(100)
            .checked_div(self.bytes)
            .unwrap_or(0)
            .min(100);
        let day = qt_exchange::time::date_of(progress.at);
        let text = format!(
            "paper: {share:>3} %, at {day}, {} quotes, {} fills",
            progress.quotes, progress.fills
        );
        let (before, after) = if self.terminal { ("\r", "  ") } else { ("", "\n") };
        // Nobody may be looking; the run goes on.
        let _ = write!(std::io::stderr(), "{before}{text}{after}");
    }

    fn end(&self) {
        if self.terminal && self.last.is_some() {
            let _ = writeln!(std::io::stderr());
        }
    }
}

fn of_file(file: &Path) -> Result<(Vec<Signal>, usize), Failure> {
    let shown = crate::system::shown(file);
    let text = std::fs::read_to_string(file).map_err(|error| {
        Failure::usage(format!(
            "the signals {shown} cannot be read: {error}; give the path of a JSON file, or `backend`"
        ))
    })?;
    paper::of_text(&text).map_err(|error| Failure::usage(format!("the signals {shown}: {error}")))
}

/// The signals that wait at the backend. They are looked at, and stay there as they are.
fn of_backend(config: &Config) -> Result<(Vec<Signal>, usize, Vec<String>), Failure> {
    let failed = |why: String| Failure::failed(format!("the backend's signals cannot be fetched: {why}"));
    let (url, token) = config.backend()?;
    let (_, found) = secrets::open(config, url.as_str(), token)?;
    let wrong = |error: SetupError| Failure::usage(error.to_string());
    let settings = ClientSettings {
        token: Some(Token::new(found.token.expose()).map_err(wrong)?),
        ..ClientSettings::of(config, url.as_str()).map_err(wrong)?
    };
    let client = Client::new(&settings).map_err(wrong)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| failed(error.to_string()))?;
    let answer = match runtime.block_on(client.signals(MAX_SIGNALS, View::Pending)) {
        Answer::Done(answer) => answer,
        Answer::NotKnown { why, .. } => return Err(failed(why)),
        Answer::TokenRefused { status } => {
            return Err(failed(format!(
                "it refuses the token with {status}; ask for a new one"
            )));
        }
        Answer::Refused { status, text } => return Err(failed(format!("it answers {status}: {text}"))),
    };
    let found = wire::signals(&answer, View::Pending).map_err(|error| failed(error.to_string()))?;
    Ok(paper::of_answer(found))
}

/// More lines than these are in the JSON and the ledger alone.
const MOST_LINES: usize = 40;

fn as_text(report: &Report, left_out: usize) -> String {
    let ends = report.ends();
    let optional = |figure: Option<Decimal>, unit: &str| {
        figure.map_or("none".to_owned(), |figure| {
            format!("{}{unit}", grouped(figure.round_dp(2)))
        })
    };
    let worst = report
        .max_drawdown_at
        .map(|at| format!(" on {}", at.trading_date()))
        .unwrap_or_default();
    let mut text = format!(
        "\nOn paper from {} to {}, {} quotes\n\n",
        shanghai(report.from).replace('T', " "),
        shanghai(report.to).replace('T', " "),
        grouped(Decimal::from(report.quotes))
    );
    let fees = &report.fees;
    for (name, figure) in [
        (
            "Worth",
            format!(
                "{} at the start, {} at the end",
                money(report.start),
                money(report.end)
            ),
        ),
        (
            "Return",
            format!(
                "{} ({})",
                signed_money(report.end - report.start),
                percent(Some(report.return_pct), true)
            ),
        ),
        (
            "Largest drawdown",
            format!("{}{worst}", percent(Some(report.max_drawdown_pct), false)),
        ),
        (
            "Turnover",
            format!(
                "{}, {} of the average worth",
                money(report.turnover),
                percent(Some(report.turnover_pct), false)
            ),
        ),
        (
            "Fees",
            format!(
                "{}: commission {}, stamp duty {}, transfer {}, exchange {}",
                money(fees.total()),
                money(fees.commission),
                money(fees.stamp_tax),
                money(fees.transfer_fee),
                money(fees.exchange_fee)
            ),
        ),
        (
            "Slippage",
            format!(
                "{}, {} of the reference",
                money(report.slippage),
                optional(report.slippage_bps, " bp")
            ),
        ),
        (
            "Fill rate",
            format!(
                "{} of the shares sent, in {} fills",
                optional(report.fill_rate_pct, " %"),
                report.fills
            ),
        ),
        (
            "Signals",
            format!(
                "{}: {} filled, {} partly, {} unfilled, {} rejected, {} denied by a gate, {} waited to the end",
                ends.signals,
                ends.filled,
                ends.partly,
                ends.unfilled,
                ends.rejected,
                ends.denied,
                ends.waited
            ),
        ),
    ] {
        text.push_str(&format!("  {name:<17} {figure}\n"));
    }
    if left_out > 0 {
        text.push_str(&format!(
            "  {:<17} {left_out} that are not to be carried out or cannot be understood\n",
            "Left out"
        ));
    }
    text.push('\n');
    text.push_str(&symbol_table(report));
    text.push('\n');
    text.push_str(&order_table(report));
    text
}

fn symbol_table(report: &Report) -> String {
    let mut table = Table::new(&[
        ("Symbol", Align::Left),
        ("Bought", Align::Right),
        ("Sold", Align::Right),
        ("Fees", Align::Right),
        ("Slippage", Align::Right),
        ("Held", Align::Right),
        ("Worth", Align::Right),
        ("P&L", Align::Right),
    ]);
    for line in report.symbols.iter().take(MOST_LINES) {
        table.row([
            line.symbol.to_string(),
            money(line.bought),
            money(line.sold),
            money(line.fees),
            money(line.slippage),
            line.held.to_string(),
            money(line.value),
            signed_money(line.pnl),
        ]);
    }
    table.render("nothing was traded")
}

fn order_table(report: &Report) -> String {
    let mut table = Table::new(&[
        ("Signal", Align::Left),
        ("Made", Align::Left),
        ("Symbol", Align::Left),
        ("Side", Align::Left),
        ("Size", Align::Right),
        ("Filled", Align::Right),
        ("Average", Align::Right),
        ("Reference", Align::Right),
        ("State", Align::Left),
        ("Why", Align::Left),
    ]);
    for line in report.orders.iter().take(MOST_LINES) {
        let average = average(line).map_or("-".to_owned(), |price| price.round_dp(4).normalize().to_string());
        let why: String = line
            .reason
            .clone()
            .or_else(|| line.code.clone())
            .unwrap_or_default();
        table.row([
            line.signal.0.clone(),
            shanghai(line.at).replace('T', " "),
            line.symbol.to_string(),
            line.side.to_string(),
            line.size.to_string(),
            line.filled.to_string(),
            average,
            line.reference
                .map_or("-".to_owned(), |price| price.normalize().to_string()),
            state(line),
            why.chars().take(72).collect(),
        ]);
    }
    let mut text = table.render("no signals");
    if report.orders.len() > MOST_LINES {
        text.push_str(&format!(
            "and {} more; --json and --ledger have all\n",
            report.orders.len() - MOST_LINES
        ));
    }
    text
}

fn average(line: &paper::OrderLine) -> Option<Decimal> {
    line.amount.checked_div(Decimal::from(line.filled))
}

fn state(line: &paper::OrderLine) -> String {
    line.state
        .map_or("never taken".to_owned(), |state| state.as_str().to_owned())
}

fn as_json(report: &Report, left_out: usize) -> Value {
    let ends = report.ends();
    let number = decimal_number;
    let optional = |figure: Option<Decimal>| figure.map_or(Value::Null, number);
    let orders: Vec<Value> = report
        .orders
        .iter()
        .map(|line| {
            json!({
                "signal": line.signal.0, "created_at": shanghai(line.at), "symbol": line.symbol.to_string(), "side": line.side.as_str(),
                "size": line.size, "filled": line.filled, "average_price": optional(average(line).map(|price| price.round_dp(8).normalize())),
                "reference_price": optional(line.reference), "slippage": optional(line.slippage), "fees": number(line.fees),
                "sent": line.sent, "state": state(line), "code": line.code, "reason": line.reason,
            })
        })
        .collect();
    let symbols: Vec<Value> = report
        .symbols
        .iter()
        .map(|line| {
            json!({
                "symbol": line.symbol.to_string(), "bought": number(line.bought), "sold": number(line.sold), "fees": number(line.fees),
                "slippage": number(line.slippage), "held": line.held, "value": number(line.value), "pnl": number(line.pnl),
            })
        })
        .collect();
    let curve: Vec<Value> = report
        .samples
        .iter()
        .map(|sample| {
            json!({ "at": shanghai(sample.at), "total_asset": number(sample.total_asset), "drawdown_pct": number(sample.drawdown_pct) })
        })
        .collect();
    json!({
        "from": shanghai(report.from), "to": shanghai(report.to), "quotes": report.quotes,
        "start": number(report.start), "end": number(report.end), "return_pct": number(report.return_pct),
        "max_drawdown_pct": number(report.max_drawdown_pct), "max_drawdown_at": report.max_drawdown_at.map(shanghai),
        "turnover": number(report.turnover), "turnover_pct": number(report.turnover_pct),
        "fees": {
            "total": number(report.fees.total()), "commission": number(report.fees.commission), "stamp_tax": number(report.fees.stamp_tax),
            "transfer_fee": number(report.fees.transfer_fee), "exchange_fee": number(report.fees.exchange_fee),
        },
        "slippage": number(report.slippage), "slippage_bps": optional(report.slippage_bps), "fill_rate_pct": optional(report.fill_rate_pct),
        "fills": report.fills,
        "signals": {
            "total": ends.signals, "filled": ends.filled, "partly_filled": ends.partly, "unfilled": ends.unfilled, "rejected": ends.rejected,
            "denied": ends.denied, "waited": ends.waited, "left_out": left_out,
        },
        "symbols": symbols, "orders": orders, "curve": curve,
    })
}
