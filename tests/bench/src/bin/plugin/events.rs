//! An event from the plugin into a channel of the host's, beside the same row put into it directly.

use std::sync::{Arc, Mutex};

use qt_plugin_api::host::{Callbacks, Event};
use tokio::sync::mpsc;

use crate::calls::{self, instant};
use crate::process;
use crate::table::{Cell, Table, median};

const ROUNDS: usize = 401;
/// Events a round; the channel takes them all, so that nobody waits.
const EVENTS: u64 = 1_000;

fn ns_an_event(receiver: &Mutex<mpsc::Receiver<Event>>, work: impl FnOnce()) -> f64 {
    let began = process::thread_ns();
    work();
    let took = (process::thread_ns() - began) as f64 / EVENTS as f64;
    let mut receiver = receiver.lock().unwrap();
    let mut count = 0;
    while receiver.try_recv().is_ok() {
        count += 1;
    }
    assert_eq!(count, EVENTS, "every event arrives");
    took
}

/// Rounds in turns.
pub fn measure() -> Vec<Table> {
    let (sender, receiver) = mpsc::channel(usize::try_from(EVENTS).unwrap());
    let receiver = Arc::new(Mutex::new(receiver));
    let direct = sender.clone();
    let broker = calls::open(Callbacks::new(move |_, event| {
        sender.blocking_send(event).unwrap()
    }));
    let mut order = calls::order(instant::EVENTS);
    order.quantity = EVENTS;
    let mut rounds: Vec<[f64; 2]> = Vec::new();
    for _ in 0..ROUNDS {
        rounds.push([
            ns_an_event(&receiver, || {
                for _ in 0..EVENTS {
                    let event = Event::Trade(instant::trade(&order));
                    direct.blocking_send(event).unwrap();
                }
            }),
            ns_an_event(&receiver, || drop(broker.place_order(&order))),
        ]);
    }
    let of = |which: usize| median(rounds.iter().map(|round| round[which]));
    let mut table = Table::new(
        "A trade, into a channel, processor time",
        &["way", "ns", "added ns", "ratio"],
    );
    for (which, way) in ["directly", "from the plugin through the ABI"]
        .into_iter()
        .enumerate()
    {
        let added = median(rounds.iter().map(|round| round[which] - round[0]));
        table.row(vec![
            way.into(),
            Cell::Figure(of(which), 1),
            Cell::Figure(added, 1),
            Cell::Figure(of(which) / of(0), 2),
        ]);
    }
    vec![table]
}
