//! Events: once, in order, and all of them.

use std::collections::{BTreeMap, BTreeSet};

use qt_plugin_api::host::Event;
use qt_plugin_api::{OrderRow, TradeRow};

use super::super::Stop;
use super::super::bench::{Bench, Lists, Placed};

struct Scene {
    placed: Vec<Placed>,
    lists: Lists,
    events: Vec<(u64, Event)>,
}

/// Three orders, until they are finished and nothing more is told.
fn scene(bench: &mut Bench<'_>) -> Result<Scene, Stop> {
    let session = bench.open()?;
    let mut placed = Vec::new();
    for _ in 0..3 {
        placed.push(bench.place_buy(&session)?);
    }
    let lists = bench.settled(&session, &placed)?;
    bench.quiet(&session);
    let events = std::mem::take(&mut session.heard().events);
    bench.say(format!("heard {} events", events.len()));
    Ok(Scene {
        placed,
        lists,
        events,
    })
}

impl Scene {
    fn trades(&self) -> impl Iterator<Item = &TradeRow> {
        self.events.iter().filter_map(|(_, event)| match event {
            Event::Trade(row) => Some(row),
            _ => None,
        })
    }

    fn orders(&self) -> impl Iterator<Item = &OrderRow> {
        self.events.iter().filter_map(|(_, event)| match event {
            Event::Order(row) => Some(row),
            _ => None,
        })
    }

    fn heard_something(&self) -> Result<(), Stop> {
        if self.trades().next().is_some() {
            return Ok(());
        }
        Err(Stop::Inconclusive(
            "no event told of a trade; see QT-C170".to_owned(),
        ))
    }
}

pub(crate) fn once(bench: &mut Bench<'_>) -> Result<String, Stop> {
    let scene = scene(bench)?;
    scene.heard_something()?;
    let mut told = BTreeSet::new();
    for row in scene.trades() {
        if !told.insert(&row.trade_id) {
            return Err(Stop::Fail(format!("trade {} was told twice", row.trade_id)));
        }
    }
    Ok(format!("{} trades were told, each once", told.len()))
}

pub(crate) fn in_order(bench: &mut Bench<'_>) -> Result<String, Stop> {
    let scene = scene(bench)?;
    for (at, (number, event)) in (1..).zip(&scene.events) {
        if at != *number {
            return Err(Stop::Fail(format!("event {at} bears the number {number}")));
        }
        if let Event::Unreadable { reason } = event {
            return Err(Stop::Fail(format!("event {at} cannot be read: {reason}")));
        }
    }
    let mut last: BTreeMap<&str, &OrderRow> = BTreeMap::new();
    for row in scene.orders() {
        if let Some(before) = last.insert(&row.broker_order_id, row) {
            super::lists::backwards(before, row).map_err(Stop::Fail)?;
        }
    }
    if scene.events.is_empty() {
        return Err(Stop::Inconclusive("no event was told; see QT-C170".to_owned()));
    }
    Ok(format!("{} events in their order", scene.events.len()))
}

pub(crate) fn all(bench: &mut Bench<'_>) -> Result<String, Stop> {
    let scene = scene(bench)?;
    let own = |trade: &&TradeRow| scene.placed.iter().any(|order| order.is_of(trade));
    let mut count = 0;
    for trade in scene.lists.trades.iter().filter(own) {
        let told = scene.trades().find(|row| row.trade_id == trade.trade_id);
        let Some(told) = told else {
            return Err(Stop::Fail(format!("no event told of trade {}", trade.trade_id)));
        };
        if (told.quantity, told.price) != (trade.quantity, trade.price) {
            return Err(Stop::Fail(format!(
                "trade {} was told as {} at {} and is listed as {} at {}",
                trade.trade_id, told.quantity, told.price, trade.quantity, trade.price
            )));
        }
        count += 1;
    }
    if count == 0 {
        return Err(Stop::Inconclusive(
            "no order was filled; --price names a price that fills".to_owned(),
        ));
    }
    Ok(format!("events told of all {count} trades"))
}
