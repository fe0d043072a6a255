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
    host::{Callbacks, Event, LoadedBroker, MetricRegistry, OpenArgs, open_exported, open_linked},
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
        if cx.config["away"] == true {
            return Err(OpenError::temporary("the terminal is not running"));
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
            broker_order_id: format!(
                "{}|{:?}|{:?}",
                order.strategy, order.limit_price, order.price_kind
            ),
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

impl Quotes for Odd {
    fn quotes(&self, symbols: &[String]) -> Result<Vec<Quote>, CallError> {
        self.fault("quotes");
        let known = symbols.iter().filter(|s| s.ends_with(".SZ"));
        Ok(known
            .map(|symbol| Quote {
                symbol: symbol.clone(),
                last_price: Some("150.50".parse().expect("decimal")),
                previous_close: None,
                at_ms: Some(7),
                extras: String::new(),
            })
            .collect())
    }
}

impl TradesSince for Odd {
    fn trades_since(&self, cursor: Option<&str>) -> Result<TradesPage, CallError> {
        self.fault("trades");
        if self.cx.config["half"] == true {
            return Err(CallError::new("half of it is missing"));
        }
        let trades = if cursor == Some("1") {
            vec![]
        } else {
            vec![trade()]
        };
        Ok(TradesPage {
            trades,
            cursor: "1".into(),
        })
    }
}

/// As the macro writes it for `interfaces: [quotes, trades]`.
struct WithInterfaces;

impl __private::Export for WithInterfaces {
    type Broker = Odd;
    const STATEMENT: &'static str = "";

    fn interface(name: &str) -> Option<__private::Interface> {
        match name {
            interfaces::quotes::NAME => Some(interfaces::quotes::interface::<Odd>()),
            interfaces::trades::NAME => Some(interfaces::trades::interface::<Odd>()),
            _ => None,
        }
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
fn an_order_shows_nothing_of_the_one_before_it() {
    let broker = open(json!({})).0.expect("opens");
    let placed = |order: &OrderRequest| match broker.place_order(order) {
        PlaceResult::Accepted { broker_order_id } => broker_order_id,
        other => panic!("{other:?}"),
    };
    assert_eq!(placed(&order()), "动量|Some(150.50)|FillOrKill");
    let bare = OrderRequest::new("A", "600519.SH", Side::Sell, 1, None);
    assert_eq!(placed(&bare), "|None|Market");
    // A refused order, a huge one and one from another thread leave nothing either.
    let huge = OrderRequest {
        strategy: "x".repeat(100_000),
        ..bare.clone()
    };
    assert_eq!(placed(&huge).len(), 100_000 + "|None|Market".len());
    std::thread::scope(|scope| scope.spawn(|| placed(&order())).join().expect("placed"));
    assert_eq!(placed(&bare), "|None|Market");
}

#[test]
fn a_failure_that_may_pass_is_told_from_one_that_stays() {
    let failed = |config| open(config).0.err().expect("does not open");
    let stays = failed(json!({"refuse": true}));
    assert_eq!((stays.reason.as_str(), stays.is_temporary), ("not today", false));
    let passes = failed(json!({"away": true}));
    assert_eq!(passes, OpenError::temporary("the terminal is not running"));
    assert!(!failed(json!({"panic": "open"})).is_temporary);
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

fn plain_args(config: &serde_json::Value) -> OpenArgs<'_> {
    OpenArgs {
        config,
        data_dir: Path::new("/"),
        account_id: None,
        callbacks: Callbacks::new(|_, _| {}),
    }
}

#[test]
fn named_interfaces_answer_where_they_are_offered_and_are_absent_elsewhere() {
    let config = json!({});
    let without = open_linked::<Odd>(plain_args(&config)).expect("opens");
    assert!(without.quotes().is_none() && without.trades().is_none());
    assert!(!without.offers("broker.quotes/1"));

    let with = open_exported::<WithInterfaces>(plain_args(&config)).expect("opens");
    assert!(with.offers("broker.quotes/1") && !with.offers("broker.quotes/2") && !with.offers(""));
    let quotes = with.quotes().expect("offered");
    let rows = quotes.quotes(&["000858.SZ", "600519.SH"]).expect("answers");
    assert_eq!(rows.len(), 1);
    assert_eq!(
        rows[0].last_price.map(|p| p.to_string()).as_deref(),
        Some("150.50")
    );
    assert_eq!((rows[0].previous_close, rows[0].at_ms), (None, Some(7)));
    assert_eq!(quotes.quotes::<&str>(&[]).expect("answers"), []);
    let trades = with.trades().expect("offered");
    let first = trades.trades_since(None).expect("a page");
    assert_eq!(
        (first.trades.as_slice(), first.cursor.as_str()),
        (&[trade()][..], "1")
    );
    assert_eq!(trades.trades_since(Some("1")).expect("a page").trades, []);
}

#[test]
fn a_page_of_trades_is_complete_or_an_error() {
    let config = json!({"half": true});
    let broker = open_exported::<WithInterfaces>(plain_args(&config)).expect("opens");
    let answer = broker.trades().expect("offered").trades_since(None);
    assert_eq!(answer, Err(CallError::new("half of it is missing")));
    assert!(!broker.is_poisoned(), "an error is no panic");
}

#[test]
fn a_panic_in_any_call_poisons_its_broker_and_no_other() {
    type Call = fn(&LoadedBroker);
    let cancel = |b: &LoadedBroker| {
        drop(b.cancel_order(&CancelRequest {
            client_order_id: "x".into(),
            broker_order_id: None,
            extras: String::new(),
        }));
    };
    let calls: [(&str, Call); 8] = [
        ("place", |b| drop(b.place_order(&order()))),
        ("cancel", cancel),
        ("orders", |b| drop(b.orders_today())),
        ("account", |b| drop(b.account())),
        ("connection", |b| drop(b.connection())),
        ("close", LoadedBroker::close),
        ("quotes", |b| {
            drop(b.quotes().expect("offered").quotes(&["000858.SZ"]))
        }),
        ("trades", |b| {
            drop(b.trades().expect("offered").trades_since(None))
        }),
    ];
    for (what, call) in calls {
        let (bad, good) = (json!({ "panic": what }), json!({}));
        let bad = open_exported::<WithInterfaces>(plain_args(&bad)).expect("opens");
        let good = open_exported::<WithInterfaces>(plain_args(&good)).expect("opens");
        assert!(!bad.is_poisoned(), "{what}: before the call");
        call(&bad);
        call(&good);
        assert!(bad.is_poisoned(), "{what}: after the call");
        assert!(!good.is_poisoned(), "{what}: another broker of the same plugin");
        assert!(
            bad.trades_today().is_ok() && bad.is_poisoned(),
            "{what}: a good call takes nothing back"
        );
    }
}

#[test]
fn an_unknown_of_the_authors_own_is_no_poison() {
    let (broker, _, _) = open(json!({}));
    let broker = broker.expect("opens");
    let _ = broker.place_order(&OrderRequest {
        quantity: u64::MAX,
        ..order()
    });
    assert_eq!(
        broker.orders_today(),
        Err(CallError::new("half of it is missing"))
    );
    assert!(!broker.is_poisoned());
}

/// Uses every service of the host's.
struct Curious(OpenContext);

impl Broker for Curious {
    fn open(cx: OpenContext) -> Result<Self, OpenError> {
        Ok(Self(cx))
    }

    fn place_order(&self, _: &OrderRequest) -> PlaceResult {
        self.0.metrics.count("orders_total", 2);
        self.0.metrics.gauge("queue", -3);
        self.0.metrics.observe("answer_ms", Decimal::new(15, 1));
        let labels = [("kind", "limit \"x\"")];
        self.0
            .metrics
            .record(MetricKind::Counter, "orders_total", &labels, Decimal::ONE);
        let mut fields = serde_json::Map::new();
        fields.insert("n".into(), 7.into());
        self.0
            .log
            .log_with(LogLevel::Trace, "curious::place", "looked", &fields);
        match self.0.live_config.read_as::<u64>() {
            Ok(value) => PlaceResult::Accepted {
                broker_order_id: value.to_string(),
            },
            Err(e) => PlaceResult::Rejected { reason: e.reason },
        }
    }

    fn cancel_order(&self, _: &CancelRequest) -> CancelResult {
        let enabled = [LogLevel::Trace, LogLevel::Debug, LogLevel::Error].map(|l| self.0.log.enabled(l));
        CancelResult::Rejected {
            reason: format!("{enabled:?}"),
        }
    }

    fn orders_today(&self) -> Result<Vec<OrderRow>, CallError> {
        Ok(vec![])
    }

    fn trades_today(&self) -> Result<Vec<TradeRow>, CallError> {
        Ok(vec![])
    }

    fn positions(&self) -> Result<Vec<PositionRow>, CallError> {
        Ok(vec![])
    }

    fn account(&self) -> Result<AccountRow, CallError> {
        Ok(AccountRow::default())
    }

    fn connection(&self) -> ConnectionState {
        ConnectionState::Connected
    }
}

#[test]
fn the_hosts_services_reach_the_author() {
    let (metrics, lines) = (Arc::new(MetricRegistry::default()), Arc::new(Mutex::new(vec![])));
    let (kept, written, now) = (
        Arc::clone(&metrics),
        Arc::clone(&lines),
        Arc::new(AtomicUsize::new(1)),
    );
    let config = json!(0);
    let reread = Arc::clone(&now);
    let callbacks = Callbacks::new(|_, _| {})
        .with_metrics(move |value| kept.record(value))
        .with_config(move || match reread.load(Ordering::SeqCst) {
            0 => Err("the file is gone".to_owned()),
            n => Ok(json!(n)),
        })
        .with_log_filter(|level| level >= LogLevel::Debug)
        .with_log(move |line| {
            let text = format!(
                "{:?} {} {} {}",
                line.level, line.target, line.message, line.fields
            );
            written.lock().expect("lines").push(text);
        });
    let broker = open_linked::<Curious>(OpenArgs {
        callbacks,
        ..plain_args(&config)
    })
    .expect("opens");
    assert_eq!(
        broker.place_order(&order()),
        PlaceResult::Accepted {
            broker_order_id: "1".into()
        }
    );
    now.store(5, Ordering::SeqCst);
    assert_eq!(
        broker.place_order(&order()),
        PlaceResult::Accepted {
            broker_order_id: "5".into()
        }
    );
    now.store(0, Ordering::SeqCst);
    assert_eq!(
        broker.place_order(&order()),
        PlaceResult::Rejected {
            reason: "the file is gone".into()
        }
    );
    assert_eq!(
        lines.lock().expect("lines")[0],
        r#"Trace curious::place looked {"n":7}"#
    );
    let figures: Vec<String> = metrics
        .snapshot()
        .into_iter()
        .map(|s| {
            format!(
                "{:?} {}{} sum {} last {} of {}",
                s.kind, s.name, s.labels, s.summary.sum, s.summary.last, s.summary.count
            )
        })
        .collect();
    assert_eq!(
        figures,
        [
            "Histogram answer_ms sum 4.5 last 1.5 of 3",
            "Counter orders_total sum 6 last 2 of 3",
            r#"Counter orders_total{"kind":"limit \"x\""} sum 3 last 1 of 3"#,
            "Gauge queue sum -9 last -3 of 3",
        ]
    );
    let cancel = CancelRequest {
        client_order_id: "x".into(),
        broker_order_id: None,
        extras: String::new(),
    };
    assert_eq!(
        broker.cancel_order(&cancel),
        CancelResult::Rejected {
            reason: "[false, true, true]".into()
        }
    );
}

#[test]
fn without_a_way_to_read_again_the_block_of_open_is_given() {
    let config = json!(12);
    let broker = open_linked::<Curious>(plain_args(&config)).expect("opens");
    assert_eq!(
        broker.place_order(&order()),
        PlaceResult::Accepted {
            broker_order_id: "12".into()
        }
    );
}
