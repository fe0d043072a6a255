//! A broker linked into the test, called over the same boundary as a loaded one.
#![cfg(feature = "host")]

use std::{
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use qt_plugin_api::{
    host::{Callbacks, Event, LoadedBroker, OpenArgs, open_linked},
    *,
};
use serde_json::json;

static DROPPED: AtomicUsize = AtomicUsize::new(0);

struct Odd {
    cx: OpenContext,
}

impl Drop for Odd {
    fn drop(&mut self) {
        DROPPED.fetch_add(1, Ordering::SeqCst);
        if self.cx.config["panic"] == "drop" {
            panic!("in drop");
        }
    }
}

impl Odd {
    fn fault(&self, here: &str) {
        if self.cx.config["panic"] == here {
            panic!("in {here}");
        }
    }
}

impl Broker for Odd {
    fn open(cx: OpenContext) -> Result<Self, OpenError> {
        if cx.config["panic"] == "open" {
            panic!("in open");
        }
        if cx.config["refuse"] == true {
            return Err(OpenError::new("not today"));
        }
        cx.log.warning(format!("opened at {}", cx.clock.now_ms()));
        Ok(Self { cx })
    }

    fn place_order(&self, order: &OrderRequest) -> PlaceResult {
        self.fault("place");
        let mut row = OrderRow::working(order, "B1", 5);
        row.extras = order.extras.clone();
        self.cx.sink.order(row);
        self.cx.sink.connection(ConnectionState::Connected);
        self.cx.sink.order_error(&order.client_order_id, "late");
        PlaceResult::Accepted {
            broker_order_id: format!("{}|{:?}|{:?}", order.strategy, order.limit_price, order.price_kind),
        }
    }

    fn cancel_order(&self, cancel: &CancelRequest) -> CancelResult {
        self.fault("cancel");
        CancelResult::Rejected {
            reason: format!("{:?}", cancel.broker_order_id),
        }
    }

    fn orders_today(&self) -> Result<Vec<OrderRow>, CallError> {
        self.fault("orders");
        Err(CallError::new("half of it is missing"))
    }

    fn trades_today(&self) -> Result<Vec<TradeRow>, CallError> {
        Ok(vec![trade()])
    }

    fn positions(&self) -> Result<Vec<PositionRow>, CallError> {
        Ok(vec![
            PositionRow {
                symbol: "000858.SZ".into(),
                quantity: 7,
                ..PositionRow::default()
            };
            3
        ])
    }

    fn account(&self) -> Result<AccountRow, CallError> {
        self.fault("account");
        Ok(AccountRow {
            cash: "0.10".parse().expect("decimal"),
            ..AccountRow::default()
        })
    }

    fn connection(&self) -> ConnectionState {
        self.fault("connection");
        ConnectionState::Connecting
    }

    fn close(&self) {
        self.fault("close");
    }
}

fn trade() -> TradeRow {
    TradeRow {
        trade_id: "T1".into(),
        client_order_id: None,
        broker_order_id: "B1".into(),
        symbol: "000858.SZ".into(),
        side: Side::Sell,
        quantity: 100,
        price: "151.20".parse().expect("decimal"),
        commission: Some("5".parse().expect("decimal")),
        stamp_tax: None,
        transfer_fee: None,
        traded_ms: 9,
        extras: "{}".into(),
    }
}

fn order() -> OrderRequest {
    let price = "150.50".parse().expect("decimal");
    OrderRequest {
        price_kind: PriceKind::FillOrKill,
        not_after_ms: Some(77),
        strategy: "动量".into(),
        extras: r#"{"a":1}"#.into(),
        ..OrderRequest::new("ABCDEFGHIJ0123456789", "000858.SZ", Side::Buy, 300, Some(price))
    }
}

type Seen = Arc<Mutex<Vec<(u64, Event)>>>;

fn open(config: serde_json::Value) -> (Result<LoadedBroker, OpenError>, Seen, Arc<Mutex<Vec<String>>>) {
    let (seen, log) = (Seen::default(), Arc::new(Mutex::new(vec![])));
    let (into, lines) = (Arc::clone(&seen), Arc::clone(&log));
    let callbacks = Callbacks::new(move |seq, event| into.lock().expect("seen").push((seq, event)))
        .with_log(move |line| {
            lines
                .lock()
                .expect("log")
                .push(format!("{:?} {}", line.level, line.message))
        })
        .with_clock(|| 42);
    let args = OpenArgs {
        config: &config,
        data_dir: Path::new("/"),
        account_id: Some("1"),
        callbacks,
    };
    (open_linked::<Odd>(args), seen, log)
}

#[test]
fn values_cross_whole_in_both_directions() {
    let (broker, seen, log) = open(json!({}));
    let broker = broker.expect("opens");
    let PlaceResult::Accepted { broker_order_id } = broker.place_order(&order()) else {
        panic!("accepted")
    };
    assert_eq!(broker_order_id, "动量|Some(150.50)|FillOrKill");
    assert_eq!(log.lock().expect("log").as_slice(), ["Warning opened at 42"]);
    let mut row = OrderRow::working(&order(), "B1", 5);
    row.extras = order().extras;
    let expected = vec![
        (1, Event::Order(row)),
        (2, Event::Connection(ConnectionState::Connected)),
        (
            3,
            Event::OrderError(OrderErrorRow {
                client_order_id: Some(order().client_order_id),
                reason: "late".into(),
                ..OrderErrorRow::default()
            }),
        ),
    ];
    assert_eq!(*seen.lock().expect("seen"), expected);
    let cancel = CancelRequest {
        client_order_id: "x".into(),
        broker_order_id: Some("B9".into()),
        extras: String::new(),
    };
    assert_eq!(
        broker.cancel_order(&cancel),
        CancelResult::Rejected {
            reason: "Some(\"B9\")".into()
        }
    );
    assert_eq!(broker.trades_today().expect("trades"), [trade()]);
    assert_eq!(broker.positions().expect("positions").len(), 3);
    assert_eq!(broker.account().expect("account").cash.to_string(), "0.10");
    assert_eq!(broker.connection(), ConnectionState::Connecting);
    assert_eq!(
        broker.orders_today(),
        Err(CallError::new("half of it is missing"))
    );
}

#[test]
fn a_panic_anywhere_becomes_an_error() {
    let cancel = CancelRequest {
        client_order_id: "x".into(),
        broker_order_id: None,
        extras: String::new(),
    };
    let with = |what: &str| open(json!({ "panic": what })).0.expect("opens");
    assert_eq!(
        with("place").place_order(&order()),
        PlaceResult::Unknown {
            reason: "panic: in place".into()
        }
    );
    assert_eq!(
        with("cancel").cancel_order(&cancel),
        CancelResult::Unknown {
            reason: "panic: in cancel".into()
        }
    );
    assert_eq!(
        with("orders").orders_today(),
        Err(CallError::new("panic: in orders"))
    );
    assert_eq!(
        with("account").account(),
        Err(CallError::new("panic: in account"))
    );
    let gone = ConnectionState::Disconnected {
        reason: "panic: in connection".into(),
    };
    assert_eq!(with("connection").connection(), gone);
    with("close").close();
    assert_eq!(
        open(json!({"panic": "open"})).0.err(),
        Some(OpenError::new("panic: in open"))
    );
    let before = DROPPED.load(Ordering::SeqCst);
    drop(with("drop"));
    assert!(DROPPED.load(Ordering::SeqCst) > before, "the broker was dropped");
}

#[test]
fn a_refusal_to_open_keeps_its_reason() {
    assert_eq!(
        open(json!({"refuse": true})).0.err(),
        Some(OpenError::new("not today"))
    );
}

#[test]
fn the_hosts_callbacks_are_freed_with_the_last_user() {
    let held = Arc::new(());
    let inside = Arc::clone(&held);
    let callbacks = Callbacks::new(move |_, _| drop(Arc::clone(&inside)));
    let config = json!({});
    let args = OpenArgs {
        config: &config,
        data_dir: Path::new("/"),
        account_id: None,
        callbacks,
    };
    let broker = open_linked::<Odd>(args).expect("opens");
    assert_eq!(Arc::strong_count(&held), 2);
    drop(broker);
    assert_eq!(Arc::strong_count(&held), 1);
}

#[test]
fn a_panic_of_the_hosts_own_callback_stays_on_its_side() {
    let config = json!({});
    let callbacks = Callbacks::new(|_, _| panic!("the host's fault"));
    let args = OpenArgs {
        config: &config,
        data_dir: Path::new("/"),
        account_id: None,
        callbacks,
    };
    let broker = open_linked::<Odd>(args).expect("opens");
    assert!(matches!(
        broker.place_order(&order()),
        PlaceResult::Accepted { .. }
    ));
}
