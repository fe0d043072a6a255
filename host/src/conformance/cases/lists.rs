//! The day's orders and trades: whole, with ids of their own, and never smaller than before.

use std::collections::{BTreeMap, BTreeSet};

use super::super::bench::{Bench, Placed};
use super::super::session::{LOOK, Session};
use super::super::{Stop, judge};
use qt_plugin_api::{OrderRow, TradesPage};

/// How often the lists are read for a fill that goes back.
const READINGS: usize = 20;

fn place_some(bench: &mut Bench<'_>, session: &Session) -> Result<Vec<Placed>, Stop> {
    let mut placed = Vec::new();
    if bench.may_place() {
        for _ in 0..3 {
            placed.push(bench.place_buy(session)?);
        }
    }
    Ok(placed)
}

pub(crate) fn whole(bench: &mut Bench<'_>) -> Result<String, Stop> {
    let session = bench.open()?;
    let placed = place_some(bench, &session)?;
    // Once alone where orders were placed: a list that changes from reading to reading is another case's.
    let before = if placed.is_empty() {
        session.orders()??
    } else {
        Vec::new()
    };
    let lists = bench.settled(&session, &placed)?;
    bench.say("read the day's orders and trades");
    for row in &lists.orders {
        judge::order_row(row).map_err(Stop::Fail)?;
    }
    let shown = |order: &Placed| lists.orders.iter().any(|row| order.is_in(row));
    if !placed.is_empty() && !placed.iter().any(shown) {
        return Err(Stop::Inconclusive(
            "no accepted order shows in the day's orders; see QT-C120".to_owned(),
        ));
    }
    if let Some(missing) = placed.iter().find(|order| !shown(order)) {
        return Err(Stop::Fail(format!(
            "three orders were accepted, and {} is missing among {} rows",
            missing.request.client_order_id,
            lists.orders.len()
        )));
    }
    // On a market that moves, a fill may come between two lists.
    let moved = |row: &&OrderRow| !row.status.is_final() && !placed.iter().any(|order| order.is_in(row));
    let mut moving: Vec<String> = lists
        .orders
        .iter()
        .filter(moved)
        .map(|row| row.broker_order_id.clone())
        .collect();
    if placed.is_empty() {
        let changed = lists.orders.iter().filter(|row| !before.contains(row));
        moving.extend(changed.map(|row| row.broker_order_id.clone()));
    }
    judge::lists(&lists.orders, Some(&lists.trades), &moving).map_err(Stop::Fail)?;
    Ok(format!(
        "{} orders and {} trades fit together",
        lists.orders.len(),
        lists.trades.len()
    ))
}

pub(crate) fn trade_ids(bench: &mut Bench<'_>) -> Result<String, Stop> {
    let session = bench.open()?;
    let placed = place_some(bench, &session)?;
    let lists = bench.lists_until(&session, |lists| {
        placed
            .iter()
            .filter(|order| lists.trades.iter().any(|trade| order.is_of(trade)))
            .count()
            == placed.len()
    })?;
    bench.say("read the day's trades");
    judge::trade_ids(&lists.trades).map_err(Stop::Fail)?;
    if lists.trades.len() < 2 {
        let why = format!(
            "there are {} trades today, and two are needed to tell their ids apart",
            lists.trades.len()
        );
        return Err(if placed.is_empty() {
            Stop::NotApplicable(why)
        } else {
            Stop::Inconclusive(why)
        });
    }
    Ok(format!(
        "{} trades, each with an id of its own",
        lists.trades.len()
    ))
}

pub(crate) fn monotone(bench: &mut Bench<'_>) -> Result<String, Stop> {
    let session = bench.open()?;
    let placed = bench.place_buy(&session)?;
    bench.say(format!("read the day's orders {READINGS} times"));
    let mut last: BTreeMap<String, OrderRow> = BTreeMap::new();
    let mut filled = 0;
    let readings = bench.lists_until(&session, |lists| {
        lists
            .orders
            .iter()
            .any(|row| placed.is_in(row) && row.filled_quantity > 0)
    })?;
    let mut rows = readings.orders;
    for _ in 0..READINGS {
        for row in rows {
            if placed.is_in(&row) {
                filled = row.filled_quantity.max(filled);
            }
            if let Some(before) = last.get(&row.broker_order_id) {
                backwards(before, &row).map_err(Stop::Fail)?;
            }
            last.insert(row.broker_order_id.clone(), row);
        }
        std::thread::sleep(LOOK);
        rows = session.orders()??;
    }
    if filled == 0 {
        return Err(Stop::Inconclusive(format!(
            "nothing was filled at {}; --price names a price that fills",
            bench.subject.price
        )));
    }
    Ok(format!("{filled} shares stay filled"))
}

/// What one row takes back of the row before.
pub(super) fn backwards(before: &OrderRow, now: &OrderRow) -> Result<(), String> {
    if now.filled_quantity < before.filled_quantity {
        return Err(format!(
            "order {} showed {} filled, and later {}",
            now.broker_order_id, before.filled_quantity, now.filled_quantity
        ));
    }
    if before.status.is_final() && now.status != before.status {
        return Err(format!(
            "order {} was {:?}, which is final, and later {:?}",
            now.broker_order_id, before.status, now.status
        ));
    }
    Ok(())
}

pub(crate) fn since(bench: &mut Bench<'_>) -> Result<String, Stop> {
    let session = bench.open()?;
    let Some(first) = session.trades_since(None)? else {
        return Err(Stop::NotApplicable("it offers no broker.trades/1".to_owned()));
    };
    let mut told: BTreeSet<String> = BTreeSet::new();
    let mut cursor = first.map(|page| take(&mut told, page))?;
    let placed = place_some(bench, &session)?;
    let mut pages = 1;
    bench.settled(&session, &placed)?;
    bench.say("read the day's trades, and page by page what came since");
    // What the list shows must be in the pages up to one that was asked for later.
    let listed: BTreeSet<String> = session
        .trades()??
        .into_iter()
        .map(|trade| trade.trade_id)
        .collect();
    let Some(page) = session.trades_since(Some(&cursor))? else {
        return Err(Stop::Fail(
            "it offered broker.trades/1 and does so no longer".to_owned(),
        ));
    };
    cursor = take(&mut told, page?);
    pages += 1;
    if let Some(missing) = listed.difference(&told).next() {
        return Err(Stop::Fail(format!(
            "trade {missing} is in the day's list, and in none of {pages} pages that follow each other"
        )));
    }
    // A cursor of another day means nothing: the whole day is told then.
    for foreign in ["", "no cursor of this broker", &cursor.repeat(40)] {
        let Some(page) = session.trades_since(Some(foreign))? else {
            return Err(Stop::Fail(
                "it offered broker.trades/1 and does so no longer".to_owned(),
            ));
        };
        let mut whole = BTreeSet::new();
        take(&mut whole, page?);
        if let Some(missing) = listed.difference(&whole).next() {
            return Err(Stop::Fail(format!(
                "after a cursor that is none of its own, trade {missing} of the day is left out"
            )));
        }
    }
    Ok(format!("{} trades of the day are all in the pages", listed.len()))
}

/// Takes a page, and gives the cursor behind it.
fn take(told: &mut BTreeSet<String>, page: TradesPage) -> String {
    told.extend(page.trades.into_iter().map(|trade| trade.trade_id));
    page.cursor
}
