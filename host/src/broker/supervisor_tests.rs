use std::sync::atomic::{AtomicU32, Ordering};

use qt_plugin_api::{PlaceResult, PriceKind, Quote, Side};

use super::*;

/// A broker whose calls say which one of them it is.
struct Numbered {
    number: u32,
    fault: Mutex<Option<String>>,
    ended: Mutex<bool>,
    closed: Mutex<bool>,
    /// The name of the thread on which its link was freed.
    freed_on: Mutex<Option<String>>,
    /// Held by a test for as long as a call of it does not come back.
    calls: Mutex<()>,
    called: Sender<()>,
    keeper: Keeper,
}

/// What the supervisor holds of it.
struct Link(Arc<Numbered>);

impl Drop for Link {
    fn drop(&mut self) {
        let thread = std::thread::current().name().map(str::to_owned);
        *self.0.freed_on.lock().unwrap() = thread;
    }
}

impl Numbered {
    fn spoil(&self, reason: &str) {
        *self.fault.lock().unwrap() = Some(reason.to_owned());
        self.keeper.wake();
    }
}

impl BrokerLink for Link {
    fn place(&self, _: &OrderRequest) -> Placed {
        self.0.called.send(()).ok();
        let _may = self.0.calls.lock().unwrap();
        Placed::Answer(PlaceResult::Accepted {
            broker_order_id: self.0.number.to_string(),
        })
    }

    fn cancel(&self, _: &CancelRequest) -> CancelResult {
        CancelResult::Sent
    }

    fn orders_today(&self) -> Result<Vec<OrderRow>, CallError> {
        Ok(Vec::new())
    }

    fn trades_today(&self) -> Result<Vec<TradeRow>, CallError> {
        Ok(Vec::new())
    }

    fn positions(&self) -> Result<Vec<PositionRow>, CallError> {
        Ok(Vec::new())
    }

    fn account(&self) -> Result<AccountRow, CallError> {
        Ok(AccountRow::default())
    }

    fn quotes(&self, _: &[String]) -> Option<Result<Vec<Quote>, CallError>> {
        None
    }

    fn connection(&self) -> ConnectionState {
        ConnectionState::Connected
    }

    fn close(&self) {
        *self.0.closed.lock().unwrap() = true;
    }

    fn fault(&self) -> Option<String> {
        self.0.fault.lock().unwrap().clone()
    }

    fn end(&self) {
        *self.0.ended.lock().unwrap() = true;
    }
}

/// Opens them, except where it is told to fail.
#[derive(Default)]
struct Opens {
    count: AtomicU32,
    failures: AtomicU32,
    /// Whether its failures may pass.
    away: bool,
    all: Mutex<Vec<Arc<Numbered>>>,
    /// Hears of each order as it is handed over.
    calls: Mutex<Option<Sender<()>>>,
    /// Held by a test for as long as nothing may be opened.
    gate: Mutex<()>,
}

impl Opener for Arc<Opens> {
    fn open(&self, keeper: Keeper) -> Result<Arc<dyn BrokerLink>, OpenFailure> {
        let _may = self.gate.lock().unwrap();
        if self
            .failures
            .try_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1))
            .is_ok()
        {
            return Err(OpenFailure {
                temporary: self.away,
                ..OpenFailure::from("the terminal is away".to_owned())
            });
        }
        let link = Arc::new(Numbered {
            number: self.count.fetch_add(1, Ordering::SeqCst) + 1,
            fault: Mutex::default(),
            ended: Mutex::default(),
            closed: Mutex::default(),
            freed_on: Mutex::default(),
            calls: Mutex::default(),
            called: self
                .calls
                .lock()
                .unwrap()
                .clone()
                .unwrap_or_else(|| std::sync::mpsc::channel().0),
            keeper,
        });
        self.all.lock().unwrap().push(Arc::clone(&link));
        Ok(Arc::new(Link(link)))
    }

    fn describe(&self) -> String {
        "numbered".into()
    }
}

const WAITS: Waits = Waits {
    least: Duration::from_millis(1),
    most: Duration::from_millis(4),
};

fn order() -> OrderRequest {
    OrderRequest {
        client_order_id: "A".into(),
        symbol: "000858.SZ".into(),
        side: Side::Buy,
        quantity: 100,
        limit_price: None,
        price_kind: PriceKind::Market,
        not_after_ms: None,
        strategy: String::new(),
        extras: String::new(),
    }
}

fn accepted_by(placed: Placed) -> String {
    match placed {
        Placed::Answer(PlaceResult::Accepted { broker_order_id }) => broker_order_id,
        other => panic!("{other:?}"),
    }
}

fn wait_for(seen: &mut watch::Receiver<Seen>, what: impl FnMut(&Seen) -> bool) -> Seen {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    runtime.block_on(async {
        let found = tokio::time::timeout(Duration::from_secs(20), seen.wait_for(what)).await;
        found.unwrap().unwrap().clone()
    })
}

#[test]
fn a_spoilt_broker_is_ended_and_another_one_takes_its_place() {
    let opens = Arc::new(Opens::default());
    let keeper = Supervisor::open(Arc::new(Arc::clone(&opens)), WAITS, First::MustOpen, || ()).unwrap();
    let mut seen = keeper.seen();
    keeper.look();
    assert_eq!(accepted_by(keeper.place(&order())), "1");
    assert_eq!(seen.borrow().number, 1);
    assert_eq!(seen.borrow().state, ConnectionState::Connected);

    let first = Arc::clone(&opens.all.lock().unwrap()[0]);
    let shut = opens.gate.lock().unwrap();
    first.spoil("killed by signal 9");
    let lost = wait_for(&mut seen, |seen| seen.number == 2);
    assert!(matches!(&lost.state, ConnectionState::Disconnected { reason } if reason.contains("signal 9")));
    // Nothing is sent into the gap, and no list of it is empty.
    let Placed::NotSent(reason) = keeper.place(&order()) else {
        panic!("an order went to a broker that is gone")
    };
    assert!(reason.contains("signal 9"), "{reason}");
    assert!(keeper.orders_today().is_err() && keeper.positions().is_err());
    // A look that comes back late says nothing about the next broker.
    keeper.look();
    assert_eq!(seen.borrow().number, 2);
    drop(shut);

    let opened = wait_for(&mut seen, |seen| seen.number == 3);
    assert_eq!(opened.lost, "killed by signal 9");
    assert_eq!(accepted_by(keeper.place(&order())), "2");
    assert!(*first.ended.lock().unwrap());
    keeper.close();
    assert!(*opens.all.lock().unwrap()[1].closed.lock().unwrap());
    assert!(matches!(keeper.place(&order()), Placed::NotSent(_)));
}

#[test]
fn opening_is_tried_again_and_its_failures_are_told() {
    let opens = Arc::new(Opens::default());
    let keeper = Supervisor::open(Arc::new(Arc::clone(&opens)), WAITS, First::MustOpen, || ()).unwrap();
    let mut seen = keeper.seen();
    opens.failures.store(3, Ordering::SeqCst);
    opens.all.lock().unwrap()[0].spoil("lost");
    let failing = wait_for(
        &mut seen,
        |seen| matches!(&seen.state, ConnectionState::Disconnected { reason } if reason.contains("terminal is away")),
    );
    assert_eq!(failing.number, 2);
    wait_for(&mut seen, |seen| seen.number == 3);
    assert_eq!(accepted_by(keeper.place(&order())), "2");
    keeper.close();
}

#[test]
fn a_first_failure_is_tried_on_where_others_trade_meanwhile() {
    let opens = Arc::new(Opens::default());
    opens.failures.store(2, Ordering::SeqCst);
    let keeper = Supervisor::open(Arc::new(Arc::clone(&opens)), WAITS, First::MayFail, || ()).unwrap();
    let mut seen = keeper.seen();
    wait_for(&mut seen, |seen| seen.number == 1);
    keeper.look();
    assert_eq!(accepted_by(keeper.place(&order())), "1");
    keeper.close();
}

#[test]
fn a_first_failure_is_the_callers() {
    let opens = Arc::new(Opens::default());
    opens.failures.store(1, Ordering::SeqCst);
    let failed = Supervisor::open(Arc::new(opens), WAITS, First::MustOpen, || ()).err();
    assert_eq!(failed.unwrap().reason, "the terminal is away");
}

#[test]
fn a_first_failure_that_may_pass_is_told_and_tried_again() {
    let opens = Arc::new(Opens {
        failures: AtomicU32::new(3),
        away: true,
        ..Opens::default()
    });
    let keeper = Supervisor::open(Arc::new(Arc::clone(&opens)), WAITS, First::MayWait, || ()).unwrap();
    wait_for(&mut keeper.seen(), |seen| seen.number == 1);
    assert_eq!(accepted_by(keeper.place(&order())), "1");
    keeper.close();

    // One round, or a plugin that fails for good, is not waited for.
    for (away, first) in [(true, First::MustOpen), (false, First::MayWait)] {
        let opens = Arc::new(Opens {
            failures: AtomicU32::new(1),
            away,
            ..Opens::default()
        });
        let failed = Supervisor::open(Arc::new(opens), WAITS, first, || ()).err();
        assert_eq!(failed.unwrap().reason, "the terminal is away", "{away} {first:?}");
    }
}

#[test]
fn an_exchange_closes_the_old_broker_before_it_opens_the_new_one() {
    let (old, new) = (Arc::new(Opens::default()), Arc::new(Opens::default()));
    let keeper = Supervisor::open(Arc::new(Arc::clone(&old)), WAITS, First::MustOpen, || ()).unwrap();
    new.count.store(10, Ordering::SeqCst);
    let shut = new.gate.lock().unwrap();
    let first = Arc::clone(&old.all.lock().unwrap()[0]);
    std::thread::scope(|scope| {
        let exchanged = scope.spawn(|| keeper.exchange(Arc::new(Arc::clone(&new)), Fallback::Before));
        let mut seen = keeper.seen();
        wait_for(&mut seen, |seen| seen.number == 2);
        assert!(matches!(keeper.place(&order()), Placed::NotSent(why) if why.contains("being exchanged")));
        drop(shut);
        assert_eq!(exchanged.join().unwrap(), Ok(()));
    });
    assert!(*first.closed.lock().unwrap() && *first.ended.lock().unwrap());
    assert_eq!(accepted_by(keeper.place(&order())), "11");
    // What is opened after a loss is the new one, too.
    new.all.lock().unwrap()[0].spoil("lost");
    wait_for(&mut keeper.seen(), |seen| seen.number == 5);
    assert_eq!(accepted_by(keeper.place(&order())), "12");
    keeper.close();
}

#[test]
fn an_exchange_that_fails_brings_the_old_broker_back() {
    let (old, new) = (Arc::new(Opens::default()), Arc::new(Opens::default()));
    let keeper = Supervisor::open(Arc::new(Arc::clone(&old)), WAITS, First::MustOpen, || ()).unwrap();
    new.failures.store(1, Ordering::SeqCst);
    let failed = keeper
        .exchange(Arc::new(Arc::clone(&new)), Fallback::Before)
        .unwrap_err();
    assert_eq!(failed, "the terminal is away; numbered is back");
    assert_eq!(accepted_by(keeper.place(&order())), "2");
    new.failures.store(1, Ordering::SeqCst);
    old.failures.store(1, Ordering::SeqCst);
    let failed = keeper.exchange(Arc::new(new), Fallback::Before).unwrap_err();
    assert!(failed.contains("could not be opened again either"), "{failed}");
    wait_for(&mut keeper.seen(), |seen| seen.number == 5);
    assert_eq!(accepted_by(keeper.place(&order())), "3");
    keeper.close();
}

/// Where even the way back fails, it is the old broker that is tried until it opens: what the host says that it runs.
#[test]
fn a_way_back_that_fails_is_gone_on_until_the_old_broker_is_open() {
    let (old, new) = (Arc::new(Opens::default()), Arc::new(Opens::default()));
    new.count.store(10, Ordering::SeqCst);
    let keeper = Supervisor::open(Arc::new(Arc::clone(&old)), WAITS, First::MustOpen, || ()).unwrap();
    let before = keeper.opener();
    assert_eq!(
        keeper.exchange(Arc::new(Arc::clone(&new)), Fallback::Before),
        Ok(())
    );
    assert_eq!(accepted_by(keeper.place(&order())), "11");
    old.failures.store(2, Ordering::SeqCst);
    let failed = keeper.exchange(before, Fallback::None).unwrap_err();
    assert!(
        failed.contains("could not be opened again (the terminal is away), which is tried on"),
        "{failed}"
    );
    wait_for(&mut keeper.seen(), |seen| seen.number == 5);
    assert_eq!(accepted_by(keeper.place(&order())), "2");
    assert_eq!(
        new.all.lock().unwrap().len(),
        1,
        "the new one was not opened again"
    );
    keeper.close();
}

/// An order that is under way when its broker is lost: what the plugin does when it is freed happens on no lane's thread,
/// and no other broker is opened before that.
#[test]
fn a_lost_broker_is_freed_on_no_lanes_thread_and_before_the_next_opens() {
    let opens = Arc::new(Opens::default());
    let (called, calls) = std::sync::mpsc::channel();
    *opens.calls.lock().unwrap() = Some(called);
    let keeper = Supervisor::open(Arc::new(Arc::clone(&opens)), WAITS, First::MustOpen, || ()).unwrap();
    let first = Arc::clone(&opens.all.lock().unwrap()[0]);
    std::thread::scope(|scope| {
        let shut = first.calls.lock().unwrap();
        let placed = scope.spawn(|| keeper.place(&order()));
        calls.recv().unwrap();
        first.spoil("lost");
        wait_for(&mut keeper.seen(), |seen| seen.number == 2);
        wait_until(|| *first.ended.lock().unwrap());
        assert_eq!(opens.count.load(Ordering::SeqCst), 1, "another one beside a call");
        assert_eq!(*first.freed_on.lock().unwrap(), None);
        drop(shut);
        assert_eq!(accepted_by(placed.join().unwrap()), "1");
    });
    wait_for(&mut keeper.seen(), |seen| seen.number == 3);
    assert_eq!(first.freed_on.lock().unwrap().as_deref(), Some("broker-closing"));
    keeper.close();
}

/// A call that never comes back keeps the old broker, and no other one is opened in its place: two sessions at one account
/// could place an order twice.
#[test]
fn nothing_is_opened_beside_a_broker_that_does_not_let_go() {
    let (old, new) = (Arc::new(Opens::default()), Arc::new(Opens::default()));
    let (called, calls) = std::sync::mpsc::channel();
    *old.calls.lock().unwrap() = Some(called);
    let keeper = Supervisor::open(Arc::new(Arc::clone(&old)), WAITS, First::MustOpen, || ()).unwrap();
    let first = Arc::clone(&old.all.lock().unwrap()[0]);
    std::thread::scope(|scope| {
        let shut = first.calls.lock().unwrap();
        let placed = scope.spawn(|| keeper.place(&order()));
        calls.recv().unwrap();
        let failed = keeper
            .exchange(Arc::new(Arc::clone(&new)), Fallback::Before)
            .unwrap_err();
        assert!(
            failed.contains("has not closed within 5 s, and nothing is opened beside it"),
            "{failed}"
        );
        assert_eq!(new.count.load(Ordering::SeqCst), 0);
        drop(shut);
        placed.join().unwrap();
    });
    keeper.close();
}

/// A plugin tells that its connection is gone, and back before anybody asks: fills may have been missed, and so it counts.
#[test]
fn a_loss_that_the_plugin_tells_counts_at_once_and_however_soon_it_is_over() {
    let opens = Arc::new(Opens::default());
    let (asks, asked) = std::sync::mpsc::channel();
    let tell = move || asks.send(()).unwrap_or_default();
    let keeper = Supervisor::open(Arc::new(Arc::clone(&opens)), WAITS, First::MustOpen, tell).unwrap();
    asked.recv().unwrap();
    keeper.look();
    let before = keeper.seen().borrow().clone();
    assert_eq!(before.state, ConnectionState::Connected);
    let link = Arc::clone(&opens.all.lock().unwrap()[0]);
    link.keeper.is_away("the terminal is gone");
    let away = keeper.seen().borrow().clone();
    let reason = "the terminal is gone".to_owned();
    assert_eq!(away.state, ConnectionState::Disconnected { reason });
    assert_eq!(
        (away.number, away.lost.as_str()),
        (before.number + 1, "the terminal is gone")
    );
    asked.recv().unwrap();
    keeper.look();
    let after = keeper.seen().borrow().clone();
    assert_eq!(
        (after.number, after.state),
        (away.number, ConnectionState::Connected)
    );
    // The next session is not what the last word of the one before is about.
    link.spoil("lost");
    wait_for(&mut keeper.seen(), |seen| seen.number == away.number + 2);
    link.keeper.is_away("the last word");
    assert_eq!(keeper.seen().borrow().number, away.number + 2);
    keeper.close();
    opens.all.lock().unwrap()[1].keeper.is_away("once it is closed");
    assert_eq!(keeper.seen().borrow().number, away.number + 2);
}

/// An account whose start fails after its broker was opened drops its keeper: the session must not hold the account until
/// the process ends.
#[test]
fn a_keeper_that_is_dropped_closes_and_ends_its_broker() {
    let opens = Arc::new(Opens::default());
    let keeper = Supervisor::open(Arc::new(Arc::clone(&opens)), WAITS, First::MustOpen, || ()).unwrap();
    let link = Arc::clone(&opens.all.lock().unwrap()[0]);
    drop(keeper);
    wait_until(|| link.freed_on.lock().unwrap().is_some());
    assert!(*link.closed.lock().unwrap() && *link.ended.lock().unwrap());
    assert_eq!(link.freed_on.lock().unwrap().as_deref(), Some("broker-closing"));
    assert_eq!(opens.count.load(Ordering::SeqCst), 1, "another one was opened");
}

/// A long list that begins between two calls of the drain would hold up the end of the broker that is to be exchanged.
#[test]
fn no_list_begins_while_an_exchange_waits_for_the_last_calls() {
    let opens = Arc::new(Opens::default());
    let keeper = Supervisor::open(Arc::new(opens), WAITS, First::MustOpen, || ()).unwrap();
    assert_eq!(keeper.orders_today(), Ok(Vec::new()));
    keeper.hold_reads(true);
    let refused = CallError::new("the plugin is being exchanged");
    assert_eq!(keeper.orders_today(), Err(refused.clone()));
    assert_eq!(keeper.trades_today(), Err(refused));
    assert_eq!(accepted_by(keeper.place(&order())), "1");
    keeper.hold_reads(false);
    assert_eq!(keeper.positions(), Ok(Vec::new()));
    keeper.close();
}

fn wait_until(mut what: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(20);
    while !what() {
        assert!(Instant::now() < until, "it does not come");
        std::thread::sleep(Duration::from_millis(2));
    }
}
