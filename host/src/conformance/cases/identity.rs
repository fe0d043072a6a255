//! One order for one name, and three outcomes that mean what they say.

use qt_plugin_api::host::Event;
use qt_plugin_api::{OrderRequest, OrderRow, OrderStatus, PlaceResult, Side};

use super::super::Stop;
use super::super::bench::{Bench, Lists};
use super::super::probe::{Ask, Call};
use super::super::session::{LOOK, Session};
use crate::clock::Clock;

/// Well-known shares; one that the account does not hold is offered for sale, which every broker refuses.
const SHARES: [&str; 4] = ["000001.SZ", "600000.SH", "000002.SZ", "601318.SH"];
/// How often the lists are read for an order that was refused.
const READINGS: usize = 8;
const MINUTE_MS: i64 = 60_000;

/// A sale of what the account does not hold.
fn impossible(bench: &mut Bench<'_>, session: &Session) -> Result<OrderRequest, Stop> {
    let held = if bench.subject.can("positions") {
        session.positions()??
    } else if bench.subject.is_paper() {
        Vec::new()
    } else {
        // What is held is not known: it could be sold.
        return Err(Stop::NotApplicable(
            "it offers something for sale that is not held, and the plugin does not name the capability `positions`"
                .to_owned(),
        ));
    };
    let is_free =
        |symbol: &&&str| held.iter().all(|row| row.symbol != **symbol) && bench.subject.symbol != **symbol;
    let symbol = SHARES.iter().find(is_free).copied();
    let symbol = symbol
        .ok_or_else(|| Stop::Inconclusive("the account holds everything that could be refused".to_owned()))?;
    let mut order = bench.buy(bench.subject.price);
    order.symbol = symbol.to_owned();
    order.side = Side::Sell;
    bench.say(format!(
        "placed {}: sell {} {symbol}, of which none is held",
        order.client_order_id, order.quantity
    ));
    Ok(order)
}

pub(crate) fn refusal_in_words(bench: &mut Bench<'_>) -> Result<String, Stop> {
    let session = bench.open()?;
    let order = impossible(bench, &session)?;
    match session.place(&order)? {
        PlaceResult::Rejected { reason } if reason.trim().is_empty() => {
            Err(Stop::Fail("the order was refused without a word".to_owned()))
        }
        PlaceResult::Rejected { reason } => Ok(format!("refused: {reason}")),
        PlaceResult::Accepted { .. } => Err(Stop::NotApplicable(
            "it takes even an order that every market refuses, and refuses none".to_owned(),
        )),
        PlaceResult::Unknown { reason } => {
            Err(Stop::Inconclusive(format!("the outcome is unknown ({reason})")))
        }
    }
}

pub(crate) fn comes_back_whole(bench: &mut Bench<'_>) -> Result<String, Stop> {
    let session = bench.open()?;
    let placed = bench.place_buy(&session)?;
    let lists = bench.settled(&session, std::slice::from_ref(&placed))?;
    let sent = placed.request.client_order_id.clone();
    let same = |place: &str, found: Option<&String>| match found {
        Some(found) if *found == sent => Ok(()),
        Some(found) => Err(Stop::Fail(format!(
            "`{sent}` was sent, and {place} has `{found}`"
        ))),
        None => Err(Stop::Fail(format!("`{sent}` was sent, and {place} has none"))),
    };
    same(
        "the order's row",
        bench.row(&lists, &placed)?.client_order_id.as_ref(),
    )?;
    let own = |id: &str| !placed.broker_order_id.is_empty() && id == placed.broker_order_id;
    for trade in lists.trades.iter().filter(|trade| own(&trade.broker_order_id)) {
        same("a trade's row", trade.client_order_id.as_ref())?;
    }
    bench.quiet(&session);
    let mut events = 0;
    for (_, event) in &session.heard().events {
        let found = match event {
            Event::Order(row) if own(&row.broker_order_id) => row.client_order_id.as_ref(),
            Event::Trade(row) if own(&row.broker_order_id) => row.client_order_id.as_ref(),
            _ => continue,
        };
        same("an event", found)?;
        events += 1;
    }
    Ok(format!("`{sent}` came back in the lists and in {events} events"))
}

pub(crate) fn refused_is_not_there(bench: &mut Bench<'_>) -> Result<String, Stop> {
    let session = bench.open()?;
    let before = bench.lists(&session)?;
    let mut orders = Vec::new();
    for _ in 0..2 {
        let order = bench.buy(bench.subject.price);
        bench.say(format!("placed {}", order.client_order_id));
        orders.push(order);
    }
    match impossible(bench, &session) {
        Ok(order) => orders.push(order),
        Err(Stop::NotApplicable(_)) => {}
        Err(other) => return Err(other),
    }
    let count = orders.len();
    let mut refused = Vec::new();
    for order in orders {
        if let PlaceResult::Rejected { reason } = session.place(&order)? {
            refused.push((order, reason));
        }
    }
    bench.say(format!(
        "{} of {count} were refused; read the lists {READINGS} times",
        refused.len()
    ));
    for _ in 0..READINGS {
        let lists = bench.lists(&session)?;
        for (order, reason) in &refused {
            if let Some(found) = trace(&before, &lists, order) {
                return Err(Stop::Fail(format!(
                    "{} was refused ({reason}), and {found}",
                    order.client_order_id
                )));
            }
        }
        std::thread::sleep(LOOK);
    }
    Ok(format!("none of the {} refused orders exists", refused.len()))
}

/// What the lists show of an order that should not be.
fn trace(before: &Lists, now: &Lists, order: &OrderRequest) -> Option<String> {
    let named = |id: &Option<String>| id.as_deref() == Some(order.client_order_id.as_str());
    let row = now
        .orders
        .iter()
        .find(|row| named(&row.client_order_id) && row.status != OrderStatus::Rejected);
    if let Some(row) = row {
        return Some(format!("the day's orders show it as {:?}", row.status));
    }
    let trade = now.trades.iter().find(|trade| named(&trade.client_order_id));
    if let Some(trade) = trade.filter(|trade| !before.trades.contains(trade)) {
        return Some(format!("{} shares of it were traded", trade.quantity));
    }
    None
}

pub(crate) fn accepted_is_there(bench: &mut Bench<'_>) -> Result<String, Stop> {
    let session = bench.open()?;
    let placed = bench.place_buy(&session)?;
    if placed.broker_order_id.is_empty() {
        return Err(Stop::Fail(
            "the order was accepted without the broker's id of it".to_owned(),
        ));
    }
    let lists = bench.lists_until(&session, |lists| lists.orders.iter().any(|row| placed.is_in(row)))?;
    let Some(row) = lists.orders.iter().find(|row| placed.is_in(row)) else {
        return Err(Stop::Fail(format!(
            "{} was accepted as {}, and {} s later the day's orders do not show it",
            placed.request.client_order_id,
            placed.broker_order_id,
            bench.subject.patience.as_secs_f32()
        )));
    };
    if row.broker_order_id != placed.broker_order_id {
        return Err(Stop::Fail(format!(
            "the order was accepted as {} and is listed as {}",
            placed.broker_order_id, row.broker_order_id
        )));
    }
    Ok(format!("listed as {} ({:?})", row.broker_order_id, row.status))
}

pub(crate) fn idempotent(bench: &mut Bench<'_>) -> Result<String, Stop> {
    let session = bench.open()?;
    let before: Vec<String> = session
        .orders()??
        .into_iter()
        .map(|row| row.broker_order_id)
        .collect();
    let order = bench.buy(bench.subject.price);
    let placed = bench.place(&session, &order)?;
    bench.settled(&session, std::slice::from_ref(&placed))?;
    bench.say("placed the same again");
    again(&session, &order, &placed.broker_order_id)?;
    one_order(bench, &session, &before, &order)?;
    session.call(&Ask::Call(Call::Close))?;
    drop(session);
    let session = bench.reopen()?;
    bench.say("placed the same again");
    let answer = session.place(&order)?;
    if let PlaceResult::Rejected { reason } = &answer
        && session
            .orders()??
            .iter()
            .any(|row| placed.is_in(row) && row.status != OrderStatus::Rejected)
    {
        return Err(Stop::Fail(format!(
            "after a restart the order that exists is called refused ({reason})"
        )));
    }
    one_order(bench, &session, &before, &order)?;
    Ok("placed three times, over a restart: one order".to_owned())
}

fn again(session: &Session, order: &OrderRequest, first: &str) -> Result<(), Stop> {
    match session.place(order)? {
        PlaceResult::Accepted { broker_order_id } if broker_order_id == first => Ok(()),
        PlaceResult::Accepted { broker_order_id } => Err(Stop::Fail(format!(
            "the order was accepted as {first}, and when it came again as {broker_order_id}"
        ))),
        PlaceResult::Rejected { reason } => Err(Stop::Fail(format!(
            "when it came again, the order that exists was called refused ({reason}); answer with the order that exists"
        ))),
        PlaceResult::Unknown { .. } => Ok(()),
    }
}

fn one_order(
    bench: &Bench<'_>,
    session: &Session,
    before: &[String],
    order: &OrderRequest,
) -> Result<(), Stop> {
    let is_new = |row: &&OrderRow| {
        row.symbol == order.symbol
            && row.side == order.side
            && row.quantity == order.quantity
            && !before.contains(&row.broker_order_id)
    };
    let lists = bench.lists_until(session, |lists| lists.orders.iter().any(|row| is_new(&row)))?;
    match lists.orders.iter().filter(is_new).count() {
        0 => Err(Stop::Inconclusive(
            "the accepted order does not show; see QT-C120".to_owned(),
        )),
        1 => Ok(()),
        count => Err(Stop::Fail(format!(
            "one decision under the id {} became {count} orders",
            order.client_order_id
        ))),
    }
}

pub(crate) fn too_late(bench: &mut Bench<'_>) -> Result<String, Stop> {
    let session = bench.open()?;
    let mut order = bench.buy(bench.subject.price);
    order.not_after_ms = Some(Clock::system().now_ms() - MINUTE_MS);
    bench.say(format!(
        "placed {}, which was good until a minute ago",
        order.client_order_id
    ));
    match session.place(&order)? {
        PlaceResult::Rejected { .. } => Ok("it was refused".to_owned()),
        PlaceResult::Accepted { broker_order_id } => Err(Stop::Fail(format!(
            "it was accepted as {broker_order_id}, although `not_after_ms` had passed"
        ))),
        PlaceResult::Unknown { reason } => Err(Stop::Fail(format!(
            "its outcome is called unknown ({reason}), although it must not have left"
        ))),
    }
}
