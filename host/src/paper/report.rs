//! The figures of a run: what it earned, what it cost, and how near to the reference its trades were.

use std::collections::{BTreeMap, HashMap};

use qt_core::{ClientOrderId, Order, OrderState, Signal, SignalId, UtcMillis};
use qt_exchange::{Account, Event, Fact, Fees};
use qt_market::{Price, Shares, Side, Symbol};
use rust_decimal::Decimal;

use super::{Curve, Sample};

/// What became of one signal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OrderLine {
    /// The signal's name.
    pub(crate) signal: SignalId,
    /// When it was made.
    pub(crate) at: UtcMillis,
    /// What was to be traded.
    pub(crate) symbol: Symbol,
    /// Buy or sell.
    pub(crate) side: Side,
    /// Shares wished.
    pub(crate) size: Shares,
    /// Shares traded.
    pub(crate) filled: Shares,
    /// Yuan traded.
    pub(crate) amount: Decimal,
    /// What slippage is measured against: the signal's reference, else the last price when it came.
    pub(crate) reference: Option<Price>,
    /// Yuan that its trades were worse than the reference; below zero where they were better.
    pub(crate) slippage: Option<Decimal>,
    /// Fees in yuan.
    pub(crate) fees: Decimal,
    /// It was given to the exchange.
    pub(crate) sent: bool,
    /// Where it ended; `None` where it never came to the core.
    pub(crate) state: Option<OrderState>,
    /// The code of the gate that stopped it, or of the exchange.
    pub(crate) code: Option<String>,
    /// Why, in words.
    pub(crate) reason: Option<String>,
}

/// What was traded of one symbol, in yuan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SymbolLine {
    /// Of what.
    pub(crate) symbol: Symbol,
    /// Bought.
    pub(crate) bought: Decimal,
    /// Sold.
    pub(crate) sold: Decimal,
    /// Fees.
    pub(crate) fees: Decimal,
    /// Slippage.
    pub(crate) slippage: Decimal,
    /// Shares at the end.
    pub(crate) held: Shares,
    /// What they are worth at the last price.
    pub(crate) value: Decimal,
    /// What the run earned with it, fees taken off.
    pub(crate) pnl: Decimal,
}

/// The figures of a run; amounts in yuan, shares of something in percent.
#[derive(Debug, Clone)]
pub(crate) struct Report {
    /// The first moment of the quotes.
    pub(crate) from: UtcMillis,
    /// The last.
    pub(crate) to: UtcMillis,
    /// How many quotes were played.
    pub(crate) quotes: u64,
    /// Worth at the start.
    pub(crate) start: Decimal,
    /// Worth at the end.
    pub(crate) end: Decimal,
    /// What it earned.
    pub(crate) return_pct: Decimal,
    /// How far it fell from its highest.
    pub(crate) max_drawdown_pct: Decimal,
    /// When that was.
    pub(crate) max_drawdown_at: Option<UtcMillis>,
    /// Bought and sold together.
    pub(crate) turnover: Decimal,
    /// That as a share of what the account was worth on average.
    pub(crate) turnover_pct: Decimal,
    /// By kind.
    pub(crate) fees: Fees,
    /// Slippage against the reference.
    pub(crate) slippage: Decimal,
    /// That in hundredths of a percent of what was traded with a reference; `None` where nothing was.
    pub(crate) slippage_bps: Option<Decimal>,
    /// Shares filled of those given to the exchange; `None` where none were.
    pub(crate) fill_rate_pct: Option<Decimal>,
    /// Trades.
    pub(crate) fills: usize,
    /// Each signal.
    pub(crate) orders: Vec<OrderLine>,
    /// Each symbol that was traded.
    pub(crate) symbols: Vec<SymbolLine>,
    /// What it was worth as time passed.
    pub(crate) samples: Vec<Sample>,
}

/// How many signals came to which end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Ends {
    /// All of them.
    pub(crate) signals: usize,
    /// Filled to the last share.
    pub(crate) filled: usize,
    /// Filled in part.
    pub(crate) partly: usize,
    /// Sent, and nothing of it filled.
    pub(crate) unfilled: usize,
    /// Refused by the exchange.
    pub(crate) rejected: usize,
    /// Refused by a gate.
    pub(crate) denied: usize,
    /// Never sent and not refused: it waited to the end.
    pub(crate) waited: usize,
}

impl Report {
    /// How many signals came to which end.
    pub(crate) fn ends(&self) -> Ends {
        let mut ends = Ends {
            signals: self.orders.len(),
            ..Ends::default()
        };
        for line in &self.orders {
            let count = if line.filled == line.size {
                &mut ends.filled
            } else if line.filled > 0 {
                &mut ends.partly
            } else if line.state == Some(OrderState::Rejected) {
                &mut ends.rejected
            } else if line.state == Some(OrderState::Denied) {
                &mut ends.denied
            } else if line.sent {
                &mut ends.unfilled
            } else {
                &mut ends.waited
            };
            *count += 1;
        }
        ends
    }
}

/// What is counted while a run goes on.
#[derive(Debug, Default)]
pub(super) struct Tally {
    orders: BTreeMap<SignalId, OrderLine>,
    by_order: HashMap<ClientOrderId, SignalId>,
    symbols: BTreeMap<Symbol, SymbolLine>,
    fees: Fees,
    fills: usize,
}

impl Tally {
    pub(super) const fn fills(&self) -> usize {
        self.fills
    }

    /// All that is wished.
    pub(super) fn wished<'a>(&mut self, signals: impl Iterator<Item = &'a Signal>) {
        for signal in signals {
            let line = OrderLine {
                signal: signal.id.clone(),
                at: signal.created_at.unwrap_or_default(),
                symbol: signal.symbol,
                side: signal.side,
                size: signal.size,
                filled: 0,
                amount: Decimal::ZERO,
                reference: signal.reference_price,
                slippage: None,
                fees: Decimal::ZERO,
                sent: false,
                state: None,
                code: None,
                reason: None,
            };
            self.orders.insert(signal.id.clone(), line);
        }
    }

    /// A signal comes while the market is at `price`.
    pub(super) fn arrived(&mut self, signal: &Signal, price: Option<Price>) {
        if let Some(line) = self.orders.get_mut(&signal.id) {
            line.reference = line.reference.or(price);
        }
    }

    pub(super) fn sent(&mut self, order: ClientOrderId, signal: SignalId) {
        if let Some(line) = self.orders.get_mut(&signal) {
            line.sent = true;
        }
        self.by_order.insert(order, signal);
    }

    pub(super) fn became(&mut self, order: &Order) {
        if let Some(line) = self.orders.get_mut(&order.signal.id) {
            line.state = Some(order.state);
            line.code.clone_from(&order.code);
            line.reason.clone_from(&order.reason);
        }
    }

    /// Takes in what happened at the exchange.
    pub(super) fn book(&mut self, fact: &Fact) {
        if fact.event == Event::Dividend {
            let paid = fact
                .price
                .unwrap_or_default()
                .saturating_mul(Decimal::from(fact.quantity));
            self.of(fact.symbol).pnl += paid;
            return;
        }
        if fact.event != Event::Fill {
            return;
        }
        let (Some(price), Some(side)) = (fact.price, fact.side) else {
            return;
        };
        self.fills += 1;
        let amount = price.saturating_mul(Decimal::from(fact.quantity));
        let fees = fact.fees.unwrap_or_default();
        self.fees.commission += fees.commission;
        self.fees.stamp_tax += fees.stamp_tax;
        self.fees.transfer_fee += fees.transfer_fee;
        self.fees.exchange_fee += fees.exchange_fee;
        let mut slipped = Decimal::ZERO;
        let signal = fact
            .client_order_id
            .parse()
            .ok()
            .and_then(|id: ClientOrderId| self.by_order.get(&id));
        if let Some(line) = signal.and_then(|signal| self.orders.get_mut(signal)) {
            line.filled += fact.quantity;
            line.amount += amount;
            line.fees += fees.total();
            if let Some(reference) = line.reference {
                let worse = match side {
                    Side::Buy => price - reference,
                    Side::Sell => reference - price,
                };
                slipped = worse.saturating_mul(Decimal::from(fact.quantity));
                line.slippage = Some(line.slippage.unwrap_or_default() + slipped);
            }
        }
        let symbol = self.of(fact.symbol);
        symbol.fees += fees.total();
        symbol.slippage += slipped;
        match side {
            Side::Buy => symbol.bought += amount,
            Side::Sell => symbol.sold += amount,
        }
    }

    fn of(&mut self, symbol: Symbol) -> &mut SymbolLine {
        self.symbols.entry(symbol).or_insert_with(|| SymbolLine {
            symbol,
            bought: Decimal::ZERO,
            sold: Decimal::ZERO,
            fees: Decimal::ZERO,
            slippage: Decimal::ZERO,
            held: 0,
            value: Decimal::ZERO,
            pnl: Decimal::ZERO,
        })
    }

    /// The figures. `started` is what each holding was worth when it was first seen, by symbol.
    pub(super) fn report(
        mut self,
        curve: Curve,
        (start, end): (Decimal, Decimal),
        quotes: u64,
        (account, started): (&Account, &BTreeMap<Symbol, Decimal>),
        price: impl Fn(&Symbol) -> Option<Price>,
    ) -> Report {
        for symbol in started.keys() {
            self.of(*symbol);
        }
        for (symbol, held) in account.holdings() {
            let line = self.of(*symbol);
            line.held = held.total;
            line.value = price(symbol)
                .unwrap_or_default()
                .saturating_mul(Decimal::from(held.total));
        }
        for line in self.symbols.values_mut() {
            let before = started.get(&line.symbol).copied().unwrap_or_default();
            line.pnl += line.value + line.sold - line.bought - line.fees - before;
        }
        let samples = curve.samples();
        let turnover: Decimal = self.symbols.values().map(|line| line.bought + line.sold).sum();
        let average = samples
            .iter()
            .map(|sample| sample.total_asset)
            .sum::<Decimal>()
            .checked_div(Decimal::from(samples.len().max(1)))
            .unwrap_or_default();
        let with_reference = self.orders.values().filter(|line| line.slippage.is_some());
        let (slippage, measured) =
            with_reference.fold((Decimal::ZERO, Decimal::ZERO), |(slipped, amount), line| {
                let reference = line
                    .reference
                    .unwrap_or_default()
                    .saturating_mul(Decimal::from(line.filled));
                (slipped + line.slippage.unwrap_or_default(), amount + reference)
            });
        let sent = self
            .orders
            .values()
            .filter(|line| line.sent && line.state != Some(OrderState::Rejected));
        let (filled, wished) = sent.fold((0i64, 0i64), |(filled, wished), line| {
            (
                filled.saturating_add(line.filled),
                wished.saturating_add(line.size),
            )
        });
        Report {
            from: samples.first().map(|sample| sample.at).unwrap_or_default(),
            to: samples.last().map(|sample| sample.at).unwrap_or_default(),
            quotes,
            start,
            end,
            return_pct: share(end - start, start, 100).unwrap_or_default(),
            max_drawdown_pct: curve.worst().map_or(Decimal::ZERO, |worst| worst.drawdown_pct),
            max_drawdown_at: curve.worst().map(|worst| worst.at),
            turnover,
            turnover_pct: share(turnover, average, 100).unwrap_or_default(),
            fees: self.fees,
            slippage,
            slippage_bps: share(slippage, measured, 10_000),
            fill_rate_pct: share(Decimal::from(filled), Decimal::from(wished), 100),
            fills: self.fills,
            orders: {
                let mut orders: Vec<OrderLine> = self.orders.into_values().collect();
                orders.sort_by(|a, b| (a.at, &a.signal).cmp(&(b.at, &b.signal)));
                orders
            },
            symbols: self.symbols.into_values().collect(),
            samples,
        }
    }
}

/// `part` of `whole` in so many parts, to six places; `None` of nothing.
fn share(part: Decimal, whole: Decimal, parts: i64) -> Option<Decimal> {
    let share = part.saturating_mul(Decimal::from(parts)).checked_div(whole)?;
    Some(share.round_dp(6).normalize())
}
