//! Whatever happens: no yuan and no share comes from nowhere, nothing is bound that no order needs, no book stays crossed,
//! and the same seed gives the same ledger.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use proptest::prelude::*;
use qt_exchange::{Event, Exchange, Fact, Liquidity, Moment, Pace, Placed, Walk, from_e4};
use qt_market::{Market, Shares, Side};
use rust_decimal::Decimal;
use support::{MOUTAI, WULIANGYE, at, exchange_with, limit};

#[derive(Debug, Clone)]
enum Step {
    Order {
        moutai: bool,
        side: Side,
        lots: Shares,
        ticks: i64,
    },
    Cancel(usize),
    Wait(i64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let order =
        (any::<bool>(), any::<bool>(), 1i64..30, -150i64..150).prop_map(|(moutai, buy, lots, ticks)| {
            Step::Order {
                moutai,
                side: if buy { Side::Buy } else { Side::Sell },
                lots,
                ticks,
            }
        });
    let cancel = (0usize..60).prop_map(Step::Cancel);
    let wait = prop_oneof![8 => 1_000i64..120_000, 1 => 1_000_000i64..20_000_000].prop_map(Step::Wait);
    proptest::collection::vec(prop_oneof![3 => order, 1 => cancel, 3 => wait], 1..60)
}

struct Play {
    exchange: Exchange,
    walks: Vec<Walk>,
    now: Moment,
    facts: Vec<Fact>,
    names: usize,
}

impl Play {
    fn new(seed: u64) -> Self {
        let from = at("09:14:57");
        let walk = |symbol: &str, price: i64| {
            Walk::new(
                seed,
                symbol.parse().unwrap(),
                price * 10_000,
                from,
                Pace::default(),
            )
        };
        let mut exchange = exchange_with(Liquidity::default());
        for (symbol, price) in [(MOUTAI, 100), (WULIANGYE, 10)] {
            exchange
                .venue_mut()
                .set_previous_close(symbol.parse().unwrap(), price * 10_000, from);
        }
        Self {
            exchange,
            walks: vec![walk(MOUTAI, 100), walk(WULIANGYE, 10)],
            now: from,
            facts: Vec::new(),
            names: 0,
        }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Wait(ms) => self.wait(*ms),
            Step::Cancel(which) => {
                let _ = self.exchange.cancel(self.now, &format!("N{which}"));
            }
            Step::Order {
                moutai,
                side,
                lots,
                ticks,
            } => {
                let symbol = if *moutai { MOUTAI } else { WULIANGYE };
                let last = self
                    .exchange
                    .venue()
                    .last(&symbol.parse().unwrap())
                    .unwrap_or(100_000);
                let price = (last + ticks * 100).max(100);
                let ticket = limit(symbol, *side, lots * 100, &from_e4(price).to_string());
                let placed = self
                    .exchange
                    .submit(self.now, &format!("N{}", self.names), &ticket);
                self.names += usize::from(matches!(placed, Placed::Accepted(_)));
            }
        }
        self.facts.extend(self.exchange.take_facts());
    }

    fn wait(&mut self, ms: i64) {
        self.now += ms;
        let market = Market::builtin();
        for place in 0..self.walks.len() {
            let symbol = if place == 0 { MOUTAI } else { WULIANGYE }.parse().unwrap();
            loop {
                let limits = self.exchange.venue().limits(&symbol);
                let Some(quote) = self.walks[place].next(market, || limits, || 100, self.now) else {
                    break;
                };
                self.exchange.quote(&quote);
                assert!(!self.exchange.venue().is_crossed());
                if let Some((lower, upper)) = self.exchange.venue().limits(&symbol) {
                    assert!(
                        (lower..=upper).contains(&quote.what.last()),
                        "{quote:?} outside of {lower} to {upper}"
                    );
                }
            }
        }
        self.exchange.advance(self.now);
    }

    /// What the facts leave of cash and shares.
    fn count(&self) -> (Decimal, Vec<Shares>) {
        let mut cash = Decimal::from(1_000_000);
        let mut held = vec![1_000, 1_050];
        for fact in self.facts.iter().filter(|fact| fact.event == Event::Fill) {
            let amount = fact.price.unwrap() * Decimal::from(fact.quantity);
            let sign = if fact.side == Some(Side::Buy) { 1 } else { -1 };
            cash -= amount * Decimal::from(sign) + fact.fees.unwrap().total();
            held[usize::from(fact.symbol.to_string() != MOUTAI)] += sign * fact.quantity;
        }
        (cash, held)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn cash_and_shares_are_where_the_trades_put_them(steps in steps(), seed in any::<u64>()) {
        let mut play = Play::new(seed);
        for step in &steps {
            play.step(step);
            let (cash, held) = play.count();
            let account = play.exchange.account();
            prop_assert_eq!(account.cash(), cash);
            prop_assert!(account.frozen_cash() >= Decimal::ZERO && account.available_cash() >= Decimal::ZERO);
            let mut open_sales = [0, 0];
            for (_, side, rest) in play.exchange.venue().resting().filter(|(_, side, _)| *side == Side::Sell) {
                prop_assert!(rest > 0 && side == Side::Sell);
                open_sales[0] += rest;
            }
            let mut frozen = 0;
            for (place, symbol) in [MOUTAI, WULIANGYE].into_iter().enumerate() {
                let symbol = symbol.parse().unwrap();
                let holding = account.holdings().find(|(known, _)| **known == symbol).map(|(_, holding)| holding.clone()).unwrap_or_default();
                prop_assert_eq!(holding.total, held[place]);
                prop_assert!(holding.total >= 0 && holding.frozen >= 0 && holding.sellable() >= 0);
                prop_assert!(holding.sellable() + holding.frozen <= holding.total);
                frozen += holding.frozen;
            }
            prop_assert_eq!(frozen, open_sales[0]);
        }
        // At the day's end nothing rests and nothing is bound.
        play.wait(86_400_000);
        prop_assert_eq!(play.exchange.venue().open_orders(), 0);
        prop_assert_eq!(play.exchange.account().frozen_cash(), Decimal::ZERO);
    }

    #[test]
    fn the_same_seed_gives_the_same_ledger(steps in steps(), seed in any::<u64>()) {
        let ledger = || {
            let mut play = Play::new(seed);
            steps.iter().for_each(|step| play.step(step));
            play.facts.iter().map(Fact::line).collect::<Vec<_>>().join("\n")
        };
        prop_assert_eq!(ledger(), ledger());
    }
}

#[test]
fn another_seed_gives_other_prices_and_how_often_it_is_asked_does_not_matter() {
    let prices = |seed: u64, step: i64| {
        let mut walk = Walk::new(
            seed,
            MOUTAI.parse().unwrap(),
            1_000_000,
            at("09:14"),
            Pace::default(),
        );
        let (mut until, mut all) = (at("09:14"), Vec::new());
        while until < at("10:00") {
            until += step;
            while let Some(quote) = walk.next(Market::builtin(), || None, || 100, until.min(at("10:00"))) {
                all.push((quote.at, quote.what));
            }
        }
        all
    };
    assert_eq!(prices(7, 1_000), prices(7, 777_000));
    assert_ne!(prices(7, 1_000), prices(8, 1_000));
    let first = prices(7, 1_000);
    assert_eq!(
        first[0].0,
        at("09:25"),
        "the opening auction's result comes first"
    );
    assert_eq!(first[1].0, at("09:30:03"));
}
