//! What an order may do when it comes: its price, its kind, the limits and the cage.

use qt_market::{Market, Phase, Quotes, Shares, Side};

use crate::price::{E4, from_e4, to_e4};
use crate::reject::{self, Rejection, reject};
use crate::stock::Stock;
use crate::venue::{Kind, Ticket};

/// What becomes of what does not fill at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    Rest,
    RestAtLast,
    End,
}

/// An order as the book understands it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) worst: E4,
    pub(crate) levels: usize,
    pub(crate) then: Then,
    /// Zero where nothing is to be taken.
    pub(crate) quantity: Shares,
}

/// Levels that an order at the market's price may take from.
const FIVE: usize = 5;

pub(crate) fn plan(stock: &Stock, ticket: &Ticket) -> Result<Plan, Rejection> {
    let (own, other) = match ticket.side {
        Side::Buy => (Side::Buy, Side::Sell),
        Side::Sell => (Side::Sell, Side::Buy),
    };
    let anything = match ticket.side {
        Side::Buy => E4::MAX,
        Side::Sell => 1,
    };
    let nobody = |of: &str| {
        let english = format!(
            "{}: nobody {of} now, so that there is no price to trade at",
            stock.symbol
        );
        reject("NO_COUNTERPARTY", english)
    };
    let (other_word, own_word) = match ticket.side {
        Side::Buy => ("sells", "buys"),
        Side::Sell => ("buys", "sells"),
    };
    let best = |side: Side, word: &str| stock.book.best(side).ok_or_else(|| nobody(word));
    let mut plan = Plan {
        worst: anything,
        levels: usize::MAX,
        then: Then::End,
        quantity: ticket.quantity,
    };
    match ticket.kind {
        Kind::Limit(price) => (plan.worst, plan.then) = (price, Then::Rest),
        Kind::ImmediateOrCancel(price) => plan.worst = price,
        Kind::FillOrKill(price) => {
            plan.worst = price;
            if stock.book.takeable(ticket.side, price, usize::MAX) < ticket.quantity {
                plan.quantity = 0;
            }
        }
        Kind::BestFiveThenCancel | Kind::BestFiveThenLimit => {
            best(other, other_word)?;
            plan.levels = FIVE;
            if ticket.kind == Kind::BestFiveThenLimit {
                plan.then = Then::RestAtLast;
            }
        }
        Kind::OppositeBest => (plan.worst, plan.then) = (best(other, other_word)?, Then::Rest),
        Kind::OwnBest => (plan.worst, plan.then) = (best(own, own_word)?, Then::Rest),
    }
    Ok(plan)
}

pub(crate) fn check_price(
    market: &Market,
    stock: &Stock,
    ticket: &Ticket,
    price: E4,
    phase: Phase,
) -> Result<(), Rejection> {
    let symbol = ticket.symbol;
    let shown = from_e4(price);
    if price <= 0 {
        return Err(reject(
            "PRICE",
            format!("{symbol}: the limit {shown} is not above zero"),
        ));
    }
    if price % stock.day.tick != 0 {
        let tick = from_e4(stock.day.tick);
        return Err(reject(
            "PRICE_TICK",
            format!("{symbol}: the limit {shown} is not a multiple of {tick}"),
        ));
    }
    if let Some((lower, upper)) = stock
        .day
        .limits
        .filter(|(lower, upper)| price < *lower || price > *upper)
    {
        return Err(reject::price_limit(
            &symbol,
            shown,
            from_e4(lower),
            from_e4(upper),
        ));
    }
    let meets_own = match ticket.side {
        Side::Buy => stock.book.best_own(Side::Sell).is_some_and(|ask| price >= ask),
        Side::Sell => stock.book.best_own(Side::Buy).is_some_and(|bid| price <= bid),
    };
    if meets_own {
        return Err(reject(
            "SELF_TRADE",
            format!("{symbol}: the limit {shown} would meet an open order of the same account"),
        ));
    }
    match phase {
        Phase::Continuous => check_cage(market, stock, ticket, price),
        Phase::AfterHours => {
            let close = stock.last.unwrap_or(price);
            let is_worse = match ticket.side {
                Side::Buy => price < close,
                Side::Sell => price > close,
            };
            if is_worse {
                let english = format!(
                    "{symbol}: the limit {shown} is worse than the close {}",
                    from_e4(close)
                );
                return Err(reject("AFTER_HOURS_PRICE", english));
            }
            Ok(())
        }
        Phase::OpeningAuction | Phase::ClosingAuction => Ok(()),
    }
}

fn check_cage(market: &Market, stock: &Stock, ticket: &Ticket, price: E4) -> Result<(), Rejection> {
    let quotes = Quotes {
        best_bid: stock.book.best(Side::Buy).map(from_e4),
        best_ask: stock.book.best(Side::Sell).map(from_e4),
        last: stock.last.map(from_e4),
        previous_close: stock.previous_close.map(from_e4),
    };
    let base = quotes.base(ticket.side);
    let bound = base.and_then(|base| market.cage(&ticket.symbol, ticket.side, base, stock.day.date));
    let (Some(base), Some(bound)) = (base, bound.and_then(to_e4)) else {
        return Ok(());
    };
    let outside = match ticket.side {
        Side::Buy => price > bound,
        Side::Sell => price < bound,
    };
    if !outside {
        return Ok(());
    }
    let word = if ticket.side == Side::Buy {
        "above"
    } else {
        "below"
    };
    let english = format!(
        "{}: the limit {} is {word} {}, the bound of the price cage around {base}",
        ticket.symbol,
        from_e4(price),
        from_e4(bound)
    );
    Err(reject("PRICE_CAGE", english))
}
