//! Cancels: of an order that rests, and against a fill.

use qt_plugin_api::{CancelResult, OrderRequest, PlaceResult};

use super::super::bench::{Bench, Placed};
use super::super::session::Session;
use super::super::{Stop, judge};

/// Races against fills: many where they cost nothing.
const RACES_ON_PAPER: usize = 30;
const RACES: usize = 3;

pub(crate) fn resting(bench: &mut Bench<'_>) -> Result<String, Stop> {
    let session = bench.open()?;
    if bench.subject.is_paper() {
        // A simulation may learn the price by the first fill alone.
        let first = bench.place_buy(&session)?;
        bench.settled(&session, &[first])?;
    }
    let order = bench.buy(bench.subject.resting_price);
    let placed = bench.place(&session, &order)?;
    let lists = bench.lists_until(&session, |lists| lists.orders.iter().any(|row| placed.is_in(row)))?;
    let row = bench.row(&lists, &placed)?;
    if row.status.is_final() {
        return Err(Stop::NotApplicable(format!(
            "an order at {} does not rest but is {:?}; --resting-price names one that does",
            bench.subject.resting_price, row.status
        )));
    }
    bench.say("asked for its cancel");
    let answer = session.cancel(&Bench::cancel_request(&placed))?;
    let lists = bench.lists_until(&session, |lists| {
        lists
            .orders
            .iter()
            .any(|row| placed.is_in(row) && row.status.is_final())
    })?;
    let row = bench.row(&lists, &placed)?;
    judge::order_row(row).map_err(Stop::Fail)?;
    match (&answer, row.status.is_final()) {
        (CancelResult::Sent, false) => {
            return Err(Stop::Fail(format!(
                "the cancel was sent, and {} s later the order is {:?}",
                bench.subject.patience.as_secs_f32(),
                row.status
            )));
        }
        (CancelResult::Rejected { reason } | CancelResult::Unknown { reason }, false) => {
            return Err(Stop::Inconclusive(format!(
                "the broker does not cancel now ({reason})"
            )));
        }
        (CancelResult::Rejected { reason }, true) if row.filled_quantity < row.quantity => {
            return Err(Stop::Fail(format!(
                "the cancel was called refused ({reason}), and took effect"
            )));
        }
        _ => {}
    }
    let ended = row.clone();
    bench.say("asked for its cancel again, and for the cancel of an order that nobody knows");
    session.cancel(&Bench::cancel_request(&placed))?;
    let unknown = Placed {
        request: bench.buy(bench.subject.price),
        broker_order_id: String::new(),
    };
    session.cancel(&Bench::cancel_request(&unknown))?;
    let lists = bench.lists(&session)?;
    super::lists::backwards(&ended, bench.row(&lists, &placed)?).map_err(Stop::Fail)?;
    Ok(format!("the order ended as {:?}", ended.status))
}

pub(crate) fn race(bench: &mut Bench<'_>) -> Result<String, Stop> {
    let session = bench.open()?;
    let rounds = if bench.subject.is_paper() {
        RACES_ON_PAPER
    } else {
        RACES
    };
    bench.say(format!(
        "placed {rounds} orders and asked for the cancel of each at the same time"
    ));
    let mut placed = Vec::new();
    for round in 0..rounds {
        // Every other one would rest if its cancel did not come.
        let price = if round % 2 == 0 {
            bench.subject.price
        } else {
            bench.subject.resting_price
        };
        let order = bench.buy(price);
        if let Some(one) = together(&session, &order)? {
            placed.push(one);
        }
    }
    // Those whose cancel came before the order did.
    for order in &placed {
        session.cancel(&Bench::cancel_request(order))?;
    }
    // One whose cancel comes when it is filled already.
    let last = bench.place_buy(&session)?;
    session.cancel(&Bench::cancel_request(&last))?;
    placed.push(last);
    let lists = bench.settled(&session, &placed)?;
    let (mut filled, mut cancelled) = (0, 0);
    for order in &placed {
        let Some(row) = lists.orders.iter().find(|row| order.is_in(row)) else {
            continue;
        };
        judge::order_row(row).map_err(Stop::Fail)?;
        let sum = judge::traded(&lists.trades, &row.broker_order_id);
        // A trade that is missing from the list is another case's.
        if sum > row.filled_quantity {
            return Err(Stop::Fail(format!(
                "order {} is shown as {:?} with {} filled, and its trades add up to {sum}",
                row.broker_order_id, row.status, row.filled_quantity
            )));
        }
        filled += usize::from(row.filled_quantity > 0);
        cancelled += usize::from(row.filled_quantity < row.quantity && row.status.is_final());
    }
    if filled + cancelled == 0 {
        return Err(Stop::Inconclusive("no order came to an end".to_owned()));
    }
    Ok(format!(
        "{filled} were filled and {cancelled} cancelled, and their trades say the same"
    ))
}

/// Places an order and asks for its cancel at once, as two lanes of the host may.
fn together(session: &Session, order: &OrderRequest) -> Result<Option<Placed>, Stop> {
    let nameless = Placed {
        request: order.clone(),
        broker_order_id: String::new(),
    };
    let cancel = Bench::cancel_request(&nameless);
    let (answer, cancelled) = std::thread::scope(|scope| {
        let cancelling = scope.spawn(|| session.cancel(&cancel));
        let answer = session.place(order);
        (answer, cancelling.join())
    });
    if let Ok(cancelled) = cancelled {
        cancelled?;
    }
    Ok(match answer? {
        PlaceResult::Accepted { broker_order_id } => Some(Placed {
            request: order.clone(),
            broker_order_id,
        }),
        PlaceResult::Rejected { .. } | PlaceResult::Unknown { .. } => None,
    })
}
