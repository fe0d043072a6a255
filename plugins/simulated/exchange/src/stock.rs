//! One symbol's trading: its rules of the day, its book, and what the market does to it.

use jiff::civil::Date;
use qt_market::{LotRule, Market, Phase, Shares, Side, Symbol, TimeOfDay, Window};

use crate::book::{Book, Hit, OrderId};
use crate::flow::{Bar, Happened, Liquidity, Quote, Tick};
use crate::price::{E4, from_e4, to_e4};
use crate::time::{Moment, date_of, day_number, moment, time_of_day};

/// After the last auction its result may come this much late, in ms.
const GRACE_MS: i64 = 300_000;

/// What holds for a symbol on a day.
#[derive(Debug, Clone)]
pub(crate) struct Day {
    pub(crate) number: i64,
    pub(crate) date: Date,
    pub(crate) windows: Vec<Window>,
    pub(crate) tick: E4,
    pub(crate) lot: LotRule,
    pub(crate) settlement_days: u8,
    /// Lowest and highest price, where there are limits and the close before is known.
    pub(crate) limits: Option<(E4, E4)>,
}

/// An auction that has not ended yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Pending {
    until: TimeOfDay,
    /// Price and shares that traded in it, as far as known.
    traded: Option<(E4, Shares)>,
}

/// An order that came to rest since the last quote.
#[derive(Debug, Clone, Copy)]
struct Arrival {
    at: Moment,
    order: OrderId,
    side: Side,
    price: E4,
}

#[derive(Debug, Clone)]
pub(crate) struct Stock {
    pub(crate) symbol: Symbol,
    pub(crate) listing: qt_market::Listing,
    pub(crate) book: Book,
    pub(crate) day: Day,
    pub(crate) last: Option<E4>,
    pub(crate) previous_close: Option<E4>,
    /// Something was traded or shown on this day.
    pub(crate) is_quoted: bool,
    /// What the market traded last, which the ladder is made of.
    recent: Shares,
    /// The ladder has to be made anew before anybody meets it.
    is_stale: bool,
    pending: Option<Pending>,
    /// When the last quote came.
    quoted_at: Option<Moment>,
    arrivals: Vec<Arrival>,
}

impl Stock {
    pub(crate) fn new(market: &Market, symbol: Symbol, listing: qt_market::Listing, at: Moment) -> Self {
        let mut stock = Self {
            symbol,
            listing,
            book: Book::default(),
            day: Day {
                number: i64::MIN,
                date: date_of(at),
                windows: Vec::new(),
                tick: 1,
                lot: market.lot_rule(&symbol, date_of(at)),
                settlement_days: 1,
                limits: None,
            },
            last: None,
            previous_close: None,
            is_quoted: false,
            recent: 0,
            is_stale: true,
            pending: None,
            quoted_at: None,
            arrivals: Vec::new(),
        };
        stock.roll(market, at);
        stock
    }

    /// Turns the page where a new day has come.
    pub(crate) fn roll(&mut self, market: &Market, at: Moment) {
        let number = day_number(at);
        if number == self.day.number {
            return;
        }
        let is_first = self.day.number == i64::MIN;
        let date = date_of(at);
        let symbol = &self.symbol;
        self.day = Day {
            number,
            date,
            windows: market.windows(symbol, date).to_vec(),
            tick: to_e4(market.tick(symbol, date)).unwrap_or(1).max(1),
            lot: market.lot_rule(symbol, date),
            settlement_days: market.settlement_days(symbol),
            limits: None,
        };
        if !is_first {
            self.previous_close = self.last.or(self.previous_close);
            if let Some(day) = self
                .listing
                .trading_day
                .as_mut()
                .filter(|_| !self.day.windows.is_empty())
            {
                *day = day.saturating_add(1);
            }
        }
        self.is_quoted = false;
        self.is_stale = true;
        self.recent = 0;
        self.pending = None;
        self.hide();
        self.find_limits(market);
    }

    /// The market shows nothing.
    pub(crate) fn hide(&mut self) {
        self.book.withdraw(Side::Buy, &[]);
        self.book.withdraw(Side::Sell, &[]);
    }

    fn find_limits(&mut self, market: &Market) {
        let limits = self
            .previous_close
            .and_then(|close| market.price_limits(&self.symbol, from_e4(close), self.listing, self.day.date));
        self.day.limits = limits.and_then(|limits| Some((to_e4(limits.lower)?, to_e4(limits.upper)?)));
    }

    pub(crate) fn set_previous_close(&mut self, market: &Market, close: E4) {
        if self.previous_close != Some(close) {
            self.previous_close = Some(close);
            self.find_limits(market);
        }
    }

    /// The window that an order comes in.
    pub(crate) fn window(&self, time: TimeOfDay) -> Option<Window> {
        let windows = self.day.windows.iter();
        windows
            .copied()
            .find(|window| window.from <= time && time < window.to)
    }

    /// The window whose trades a quote tells of: at the very end of one it is that one's.
    fn window_of_quote(&self, time: TimeOfDay) -> Option<Window> {
        let ended = self
            .day
            .windows
            .iter()
            .find(|window| window.from < time && time <= window.to);
        ended.copied().or_else(|| self.window(time))
    }

    /// From when on a symbol without a quote is taken to be suspended: the first bar of a minute comes at its end.
    pub(crate) fn quoted_by(&self) -> TimeOfDay {
        let mut windows = self.day.windows.iter();
        windows
            .find(|window| window.phase == Phase::Continuous)
            .map_or(0, |window| window.from + GRACE_MS)
    }

    /// From when on what is left of an order of `phase` cannot trade any more today.
    pub(crate) fn lapses_at(&self, after_hours: bool) -> TimeOfDay {
        let mut ends = self
            .day
            .windows
            .iter()
            .filter(|window| (window.phase == Phase::AfterHours) == after_hours);
        let last = ends.next_back().map_or(0, |window| window.to);
        // The last bar of a window bears its end, and tells what traded before.
        last + GRACE_MS
    }

    /// An order has come to rest during an auction, or an auction begins while some rest.
    pub(crate) fn expect_auction(&mut self, window: &Window) {
        if self.pending.is_some() {
            return;
        }
        // The opening auction's windows follow each other; it ends with the last of them.
        let end = self
            .day
            .windows
            .iter()
            .filter(|other| other.phase == window.phase)
            .map(|other| other.to)
            .max();
        self.pending = Some(Pending {
            until: end.unwrap_or(window.to),
            traded: None,
        });
    }

    /// True while orders gather and do not meet.
    pub(crate) const fn is_gathering(&self) -> bool {
        self.pending.is_some()
    }

    /// An order rests from now on, that came at `at`.
    pub(crate) fn rest(&mut self, at: Moment, order: OrderId, (side, price): (Side, E4), quantity: Shares) {
        self.book.rest(order, side, price, quantity);
        self.arrivals.push(Arrival {
            at,
            order,
            side,
            price,
        });
    }

    /// Takes out of the book what came after `begun`, in the order in which it came, with its shares.
    fn hold_back(&mut self, arrivals: Vec<Arrival>, begun: Moment) -> Vec<(Arrival, Shares)> {
        let late = arrivals.into_iter().filter(|arrival| arrival.at > begun);
        late.filter_map(|arrival| Some((arrival, self.book.remove(arrival.order)?)))
            .collect()
    }

    /// Takes in a quote; what it did to orders here is put into `hits`.
    pub(crate) fn quote(&mut self, market: &Market, flow: &Liquidity, quote: &Quote, hits: &mut Vec<Hit>) {
        self.roll(market, quote.at);
        if let Some(close) = quote.previous_close {
            self.set_previous_close(market, close);
        }
        let time = time_of_day(quote.at);
        let has_orders = !self.book.is_empty();
        let window = self.window_of_quote(time);
        let arrivals = std::mem::take(&mut self.arrivals);
        let quoted_before = self.quoted_at.replace(quote.at);
        let after_hours = window.is_some_and(|window| window.phase == Phase::AfterHours);
        // After hours everybody trades at the close, whatever a source shows.
        if !after_hours || self.last.is_none() {
            self.last = Some(quote.what.last());
        }
        self.is_quoted = true;
        if quote.what.volume() > 0 {
            self.recent = quote.what.volume();
        }
        self.is_stale = true;
        if !has_orders {
            self.pending = None;
            if let Happened::Tick(Tick { levels: Some(_), .. }) = quote.what {
                self.show(flow, &quote.what, hits);
            }
            return;
        }
        match window {
            Some(window) if is_auction(window.phase) => {
                self.expect_auction(&window);
                self.gather(flow, time, &quote.what, hits);
            }
            Some(_) if after_hours => {
                // Nobody sees an order book then: trades alone, at the one price.
                let had = self.end_auction(flow, &quote.what, hits);
                self.hide();
                self.print(
                    flow,
                    self.last.unwrap_or_default(),
                    quote.what.volume() - had,
                    hits,
                );
            }
            Some(window) => {
                // A bar begins at the quote before it, and no earlier than its window. What came later met none of its
                // trades but perhaps the last.
                let opened = moment(self.day.date, window.from);
                let begun = quoted_before.map_or(opened, |before| before.max(opened));
                let late = match quote.what {
                    Happened::Bar(_) => self.hold_back(arrivals, begun),
                    Happened::Tick(_) => Vec::new(),
                };
                let had = self.end_auction(flow, &quote.what, hits);
                if !matches!(quote.what, Happened::Tick(Tick { levels: Some(_), .. })) {
                    // Levels that were made up are no queue to wait in.
                    self.hide();
                }
                match &quote.what {
                    Happened::Bar(bar) => {
                        let rest = Bar {
                            volume: bar.volume - had,
                            ..*bar
                        };
                        let [earlier @ .., (close, volume)] = rest.path();
                        for (price, volume) in earlier {
                            self.print(flow, price, volume, hits);
                        }
                        for (came, quantity) in late {
                            self.book.rest(came.order, came.side, came.price, quantity);
                        }
                        self.print(flow, close, volume, hits);
                    }
                    Happened::Tick(tick) => self.print(flow, tick.last, tick.volume - had, hits),
                }
                self.show(flow, &quote.what, hits);
            }
            None => {
                self.end_auction(flow, &quote.what, hits);
            }
        }
    }

    fn gather(&mut self, flow: &Liquidity, time: TimeOfDay, what: &Happened, hits: &mut Vec<Hit>) {
        self.hide();
        let Some(pending) = &mut self.pending else { return };
        if what.volume() > 0 {
            let before = pending.traded.map_or(0, |(_, shares)| shares);
            pending.traded = Some((what.last(), before.saturating_add(what.volume())));
        }
        if time >= pending.until && pending.traded.is_some() {
            self.end_auction(flow, what, hits);
        }
    }

    /// The auction has ended: orders here trade at the market's price with their part of its shares, however many they are.
    /// Where `what` itself tells of the auction, the shares of it that they had a part of come back.
    fn end_auction(&mut self, flow: &Liquidity, what: &Happened, hits: &mut Vec<Hit>) -> Shares {
        let Some(pending) = self.pending else { return 0 };
        let Some((price, volume)) = pending
            .traded
            .or_else(|| Some((what.first(), what.volume())).filter(|(_, shares)| *shares > 0))
        else {
            return 0;
        };
        self.pending = None;
        self.hide();
        let before = hits.len();
        // The market takes either side of every order here. Its price is known, and none of them moves it.
        let share = flow.share(volume, self.day.lot.step);
        self.book.uncross(price, share, hits);
        if pending.traded.is_some() {
            return 0;
        }
        let had = hits[before..].iter().map(|hit| hit.quantity).sum();
        flow.behind(had).min(volume)
    }

    /// The market trades `volume` at `price`: orders here that are as good or better would have been part of it. They rest,
    /// so that each gets its own limit, as at an exchange, also where the market's price is better.
    fn print(&mut self, flow: &Liquidity, price: E4, volume: Shares, hits: &mut Vec<Hit>) {
        let share = flow.share(volume, self.day.lot.step);
        if share == 0 {
            return;
        }
        if self.book.best_own(Side::Buy).is_some_and(|bid| bid >= price) {
            self.book.take(Side::Sell, price, share, usize::MAX, hits);
        } else if self.book.best_own(Side::Sell).is_some_and(|ask| ask <= price) {
            self.book.take(Side::Buy, price, share, usize::MAX, hits);
        }
    }

    /// What the market shows rests from now on. What of it would meet an order here has met it.
    fn show(&mut self, flow: &Liquidity, what: &Happened, hits: &mut Vec<Hit>) {
        self.is_stale = false;
        let mut shown = match what {
            Happened::Tick(Tick {
                levels: Some((bids, asks)),
                ..
            }) => [bids.to_vec(), asks.to_vec()],
            _ => self.ladder(flow),
        };
        // Old levels go first: none of them may meet a new one.
        self.book.withdraw(Side::Buy, &shown[0]);
        self.book.withdraw(Side::Sell, &shown[1]);
        for (side, levels) in [(Side::Buy, 0), (Side::Sell, 1)] {
            for (price, quantity) in &mut shown[levels] {
                if *quantity > 0 {
                    *quantity = self.book.take(side, *price, *quantity, usize::MAX, hits);
                }
            }
            self.book.show(side, &shown[levels]);
        }
    }

    /// Levels around the last price, of the market's recent shares.
    fn ladder(&self, flow: &Liquidity) -> [Vec<(E4, Shares)>; 2] {
        let (Some(last), levels) = (self.last, i64::from(flow.levels.max(1))) else {
            return [Vec::new(), Vec::new()];
        };
        if self.recent == 0 {
            return [Vec::new(), Vec::new()];
        }
        let step = self.day.lot.step;
        let size = flow.share(self.recent / levels, step).max(self.day.lot.minimum);
        let (lower, upper) = self.day.limits.unwrap_or((self.day.tick, E4::MAX));
        let inside = |price: E4| (lower..=upper).contains(&price);
        let side = |sign: i64| {
            let prices = (1..=levels).map(|level| last + sign * level * self.day.tick);
            prices
                .filter(|price| inside(*price))
                .map(|price| (price, size))
                .collect::<Vec<_>>()
        };
        let mut shown = [side(-1), side(1)];
        // At a limit everybody queues on the one side.
        if last == upper {
            shown[0].insert(0, (last, size));
        } else if last == lower {
            shown[1].insert(0, (last, size));
        }
        // Orders here have had their part of the trades that these levels are made of; nobody made up meets them twice.
        if let Some(ask) = self.book.best_own(Side::Sell) {
            shown[0].retain(|(price, _)| *price < ask);
        }
        if let Some(bid) = self.book.best_own(Side::Buy) {
            shown[1].retain(|(price, _)| *price > bid);
        }
        shown
    }

    /// Makes what rests right before an order comes.
    pub(crate) fn freshen(&mut self, flow: &Liquidity, hits: &mut Vec<Hit>) {
        if !self.is_stale {
            return;
        }
        let Some(last) = self.last.filter(|_| self.is_quoted && self.pending.is_none()) else {
            return;
        };
        let what = Happened::Tick(Tick {
            last,
            volume: self.recent,
            levels: None,
        });
        self.show(flow, &what, hits);
    }
}

pub(crate) const fn is_auction(phase: Phase) -> bool {
    matches!(phase, Phase::OpeningAuction | Phase::ClosingAuction)
}
