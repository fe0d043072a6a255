//! The exchange behind `fill: exchange`: its quotes, its clock, and what of its outcomes the books have to hear.

use std::collections::{HashMap, VecDeque};
use std::path::Path;
use std::sync::Arc;

use qt_exchange::{
    Feed, Kind, Liquidity, Moment, Outcome, Pace, Quote, Resting, Ticket, Venue, Walk, from_e4, time, to_e4,
};
use qt_market::{Listing, Market, Symbol};
use qt_plugin_api::{OrderRequest, PriceKind, Side};
use rust_decimal::Decimal;

use crate::book::{Order, day_of};
use crate::options::{Options, Quotes};

/// Where the quotes come from.
enum Source {
    /// Nobody recorded them.
    Walks(Vec<Walk>),
    /// A file; those that are still to come.
    Replay(VecDeque<Quote>),
}

/// The session's time: it may begin at another moment than the host's, and run faster.
#[derive(Debug, Clone, Copy)]
struct SessionClock {
    began_host: i64,
    began: Moment,
    speed: i64,
}

impl SessionClock {
    fn now(&self, host_ms: i64) -> Moment {
        let passed = host_ms.saturating_sub(self.began_host).max(0);
        self.began.saturating_add(passed.saturating_mul(self.speed))
    }
}

/// The exchange and what plays on it.
pub(crate) struct Floor {
    pub(crate) venue: Venue,
    source: Source,
    clock: SessionClock,
    /// True where the session's time is not the host's.
    own_time: bool,
    /// How often the thread looks, in ms of the host's time.
    pub(crate) pause_ms: u64,
    /// Paid on their days to who holds then.
    dividends: Vec<(Symbol, i64, Decimal)>,
}

/// When something happens: on the session's clock, and on the host's where that is another.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Now {
    pub(crate) ts: i64,
    pub(crate) host_ts: Option<i64>,
}

impl Now {
    pub(crate) const fn host(now_ms: i64) -> Self {
        Self {
            ts: now_ms,
            host_ts: None,
        }
    }
}

impl Floor {
    /// Opens the exchange. `last_ts` is the last moment of the ledger: a session never goes back behind it.
    ///
    /// # Errors
    /// A file that cannot be used, in words for the user.
    pub(crate) fn open(
        options: &Options,
        market: Arc<Market>,
        folder: &Path,
        host_ms: i64,
        last_ts: Option<i64>,
    ) -> Result<Self, String> {
        let own = &options.exchange;
        let mut source = match own.quotes() {
            Quotes::File(name) => Source::Replay(read(&folder.join(name), &market)?),
            Quotes::Walk | Quotes::Fixed => Source::Walks(Vec::new()),
        };
        let first = match &source {
            Source::Replay(quotes) => quotes.front().map(|quote| quote.at - 1),
            Source::Walks(_) => None,
        };
        let given = own.session_from()?.or(first);
        let began = given.unwrap_or(host_ms).max(last_ts.unwrap_or(i64::MIN));
        let mut venue = Venue::new(
            Arc::clone(&market),
            Liquidity {
                participation_pct: own.participation_pct,
                levels: own.levels,
            },
        );
        for symbol in &own.special_treatment {
            let listing = Listing {
                special_treatment: true,
                ..Listing::default()
            };
            venue.list(parsed(&market, symbol)?, listing);
        }
        let from = given.unwrap_or(host_ms);
        let prices = start_prices(options, &market)?;
        if let Source::Walks(walks) = &mut source {
            let ticks = if own.quotes() == Quotes::Fixed {
                0
            } else {
                own.ticks_per_step
            };
            let pace = Pace {
                step_ms: own.step_ms,
                ticks,
                volume: own.volume_per_step,
            };
            // From the day's first moment on, so that a restart finds the prices where they were.
            let day = time::moment(time::date_of(from), 0);
            walks.extend(
                prices
                    .iter()
                    .map(|start| Walk::new(own.seed, start.symbol, start.price, day, pace)),
            );
        }
        for start in &prices {
            venue.set_previous_close(start.symbol, start.previous_close, from);
        }
        let dividends = own.dividends.iter().map(|one| {
            Ok((
                parsed(&market, &one.symbol)?,
                day_of(time::moment(one.day()?, 0)),
                one.cash,
            ))
        });
        let speed = i64::from(own.speed);
        Ok(Self {
            venue,
            source,
            clock: SessionClock {
                began_host: host_ms,
                began,
                speed,
            },
            own_time: speed != 1 || began != host_ms,
            pause_ms: u64::try_from(own.step_ms / speed).unwrap_or(20).clamp(20, 1_000),
            dividends: dividends.collect::<Result<_, String>>()?,
        })
    }

    /// The session's first moment since the start.
    pub(crate) const fn began(&self) -> Moment {
        self.clock.began
    }

    pub(crate) fn now(&self, host_ms: i64) -> Now {
        Now {
            ts: self.clock.now(host_ms),
            host_ts: self.own_time.then_some(host_ms),
        }
    }

    /// Plays everything up to a moment, one quote after the other; each quote's outcomes go to `tell` with its time.
    pub(crate) fn catch_up(&mut self, until: Moment, mut tell: impl FnMut(Moment, Outcome)) {
        let mut outcomes = Vec::new();
        while let Some(quote) = self.next_quote(until) {
            self.venue.quote(&quote, &mut outcomes);
            outcomes.drain(..).for_each(|outcome| tell(quote.at, outcome));
        }
        self.venue.advance(until, &mut outcomes);
        outcomes.drain(..).for_each(|outcome| tell(until, outcome));
    }

    fn next_quote(&mut self, until: Moment) -> Option<Quote> {
        match &mut self.source {
            Source::Replay(quotes) => quotes
                .front()
                .is_some_and(|quote| quote.at <= until)
                .then(|| quotes.pop_front())
                .flatten(),
            Source::Walks(walks) => {
                let market = self.venue.market();
                // Time is one for all symbols: the earliest goes first.
                let each = walks.iter().enumerate();
                let (_, next) = each
                    .filter_map(|(place, walk)| Some((walk.next_at(market, until)?, place)))
                    .min()?;
                let walk = walks.get_mut(next)?;
                let symbol = walk.symbol();
                let limits = self.venue.limits(&symbol);
                let tick = || to_e4(market.tick(&symbol, time::date_of(until))).unwrap_or(1);
                walk.next(market, || limits, tick, until)
            }
        }
    }

    /// Dividends whose day has come: the symbol, and yuan a share.
    pub(crate) fn due_dividends(&mut self, until: Moment) -> Vec<(Symbol, Decimal)> {
        let today = day_of(until);
        let (due, later): (Vec<_>, Vec<_>) = std::mem::take(&mut self.dividends)
            .into_iter()
            .partition(|(_, day, _)| *day <= today);
        self.dividends = later;
        due.into_iter().map(|(symbol, _, cash)| (symbol, cash)).collect()
    }

    /// What was paid before a restart is not paid again.
    pub(crate) fn forget_dividends_until(&mut self, last_ts: i64) {
        self.dividends.retain(|(_, day, _)| *day > day_of(last_ts));
    }

    /// Last price and the close before, in yuan.
    pub(crate) fn prices(&self, symbol: &str) -> (Option<Decimal>, Option<Decimal>) {
        let Ok(symbol) = self.venue.market().symbol(symbol) else {
            return (None, None);
        };
        let last = self.venue.last(&symbol).map(from_e4);
        (last, self.venue.previous_close(&symbol).map(from_e4))
    }

    /// Whether an order that is taken now rests not at all, and where it rests if it has no limit.
    pub(crate) fn rests(&self, order: &OrderRequest) -> (bool, Option<Decimal>) {
        let Ok(ticket) = self.ticket(order) else {
            return (false, None);
        };
        match ticket.kind {
            Kind::Limit(_) | Kind::BestFiveThenLimit => (false, None),
            Kind::BestFiveThenCancel | Kind::ImmediateOrCancel(_) | Kind::FillOrKill(_) => (true, None),
            Kind::OppositeBest | Kind::OwnBest => (false, self.venue.rests_at(&ticket).map(from_e4)),
        }
    }

    /// How an order that was open before a restart rests; none where nothing of it may.
    pub(crate) fn resting(&self, order: &Order) -> Option<Resting> {
        let row = &order.row;
        // What was meant to rest at the last price it took has no other place.
        let price = row.limit_price.or(order.rests_at).or(order.last_price);
        let price = to_e4(price.filter(|_| !order.at_once)?)?;
        Some(Resting {
            symbol: self.venue.market().symbol(&row.symbol).ok()?,
            side: side_of(row.side),
            price,
            rest: i64::try_from(order.remaining()).ok()?,
            placed: order.placed,
        })
    }

    /// The order as the exchange understands it.
    ///
    /// # Errors
    /// It cannot be understood, in the words of a counter.
    pub(crate) fn ticket(&self, order: &OrderRequest) -> Result<Ticket, String> {
        let symbol = self
            .venue
            .market()
            .symbol(&order.symbol)
            .map_err(|error| format!("[SYMBOL] 证券代码错误 ({error})"))?;
        let price = |price: Decimal| {
            to_e4(price).ok_or_else(|| {
                format!("[PRICE_TICK] 委托价格错误 (the limit {price} has more than four decimals)")
            })
        };
        let limit = order.limit_price.map(price).transpose()?;
        let kind = match (order.price_kind, limit) {
            (PriceKind::Limit, Some(price)) => Kind::Limit(price),
            (PriceKind::Limit, None) => {
                return Err("[PRICE] 委托价格错误 (a limit order has no limit)".to_owned());
            }
            (PriceKind::FillOrKill, Some(price)) => Kind::FillOrKill(price),
            // The protecting price of an order at the market's.
            (
                PriceKind::Market | PriceKind::BestFiveThenCancel | PriceKind::ImmediateOrCancel,
                Some(price),
            ) => Kind::ImmediateOrCancel(price),
            (
                PriceKind::Market
                | PriceKind::BestFiveThenCancel
                | PriceKind::ImmediateOrCancel
                | PriceKind::FillOrKill,
                None,
            ) => Kind::BestFiveThenCancel,
            (PriceKind::BestFiveThenLimit, _) => Kind::BestFiveThenLimit,
            (PriceKind::OppositeBest, _) => Kind::OppositeBest,
            (PriceKind::OwnBest, _) => Kind::OwnBest,
        };
        Ok(Ticket {
            symbol,
            side: side_of(order.side),
            quantity: i64::try_from(order.quantity).unwrap_or(i64::MAX),
            kind,
        })
    }
}

const fn side_of(side: Side) -> qt_market::Side {
    match side {
        Side::Buy => qt_market::Side::Buy,
        Side::Sell => qt_market::Side::Sell,
    }
}

/// Where a symbol's prices begin.
struct Start {
    symbol: Symbol,
    price: i64,
    previous_close: i64,
}

fn start_prices(options: &Options, market: &Market) -> Result<Vec<Start>, String> {
    let closes: HashMap<&str, Decimal> = options
        .positions
        .iter()
        .filter_map(|position| Some((position.symbol.as_str(), position.previous_close?)))
        .collect();
    let held = options
        .positions
        .iter()
        .filter_map(|position| Some((position.symbol.as_str(), position.last_price?)));
    let more = options
        .prices
        .iter()
        .map(|(symbol, price)| (symbol.as_str(), *price));
    let mut starts = Vec::new();
    for (name, price) in held.chain(more) {
        let symbol = parsed(market, name)?;
        let exact = |price: Decimal| {
            to_e4(price).ok_or_else(|| format!("{name}: the price {price} has more than four decimals"))
        };
        let price = exact(price)?;
        let previous_close = closes.get(name).copied().map(exact).transpose()?.unwrap_or(price);
        starts.push(Start {
            symbol,
            price,
            previous_close,
        });
    }
    Ok(starts)
}

fn parsed(market: &Market, symbol: &str) -> Result<Symbol, String> {
    market.symbol(symbol).map_err(|error| error.to_string())
}

/// The market's rules that the configuration names.
///
/// # Errors
/// The file cannot be used, in words for the user.
pub(crate) fn tables(options: &Options, folder: &Path) -> Result<Arc<Market>, String> {
    let Some(path) = &options.exchange.market_tables else {
        return Ok(Arc::new(Market::builtin().clone()));
    };
    let path = folder.join(path);
    let text = std::fs::read_to_string(&path).map_err(|e| {
        format!(
            "`exchange.market_tables`: {} cannot be read: {e}; check the path",
            path.display()
        )
    })?;
    Market::with_overrides(&text)
        .map(Arc::new)
        .map_err(|e| format!("`exchange.market_tables`: {}: {e}", path.display()))
}

fn read(path: &Path, market: &Market) -> Result<VecDeque<Quote>, String> {
    let wrong = |why: String| format!("`exchange.quotes`: {}: {why}", path.display());
    let file = std::fs::File::open(path).map_err(|e| {
        wrong(format!(
            "it cannot be read: {e}; give a path relative to the data folder, `walk` or `fixed`"
        ))
    })?;
    let mut feed = Feed::new(file, market).map_err(|e| wrong(e.to_string()))?;
    let mut quotes = VecDeque::new();
    while let Some(quote) = feed.next_quote().map_err(|e| wrong(e.to_string()))? {
        quotes.push_back(quote);
    }
    if quotes.is_empty() {
        return Err(wrong("it has no quote".to_owned()));
    }
    Ok(quotes)
}
