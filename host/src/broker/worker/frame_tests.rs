use proptest::prelude::*;
use qt_plugin_api::host::Summary;
use qt_plugin_api::{Decimal, MetricKind, OrderErrorRow, OrderStatus, PriceKind, Side};

use super::*;

fn order() -> OrderRequest {
    OrderRequest {
        client_order_id: "ABCDEFGHIJKLMNOPQRST".into(),
        symbol: "000858.SZ".into(),
        side: Side::Sell,
        quantity: 300,
        limit_price: Some(Decimal::new(43_20, 2)),
        price_kind: PriceKind::Limit,
        not_after_ms: Some(-1),
        strategy: "策略".into(),
        extras: String::new(),
    }
}

fn order_row() -> OrderRow {
    OrderRow {
        status: OrderStatus::PartiallyCancelled,
        filled_quantity: 100,
        ..OrderRow::working(&order(), "7", 5)
    }
}

fn trade() -> TradeRow {
    TradeRow {
        trade_id: "T1".into(),
        client_order_id: None,
        broker_order_id: "7".into(),
        symbol: "000858.SZ".into(),
        side: Side::Buy,
        quantity: 100,
        price: Decimal::new(1, 28),
        commission: Some(Decimal::new(-5, 0)),
        stamp_tax: None,
        transfer_fee: Some(Decimal::ZERO),
        traded_ms: i64::MAX,
        extras: "{}".into(),
    }
}

fn position() -> PositionRow {
    PositionRow {
        symbol: "000858.SZ".into(),
        name: Some("五粮液".into()),
        quantity: 9,
        available_qty: 8,
        frozen_qty: 1,
        on_road_qty: Some(2),
        yesterday_qty: None,
        avg_cost: Decimal::ONE / Decimal::from(3),
        last_price: None,
        previous_close: Some(Decimal::ONE),
        market_value: None,
        extras: String::new(),
    }
}

fn account() -> AccountRow {
    AccountRow {
        account_id: "1".into(),
        total_asset: Decimal::MAX,
        cash: Decimal::MIN,
        ..AccountRow::default()
    }
}

fn frame_of<T: Serialize>(value: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    Writer::new(&mut bytes).write(value).unwrap();
    bytes
}

fn back<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(value: &T) -> String {
    let bytes = frame_of(value);
    let read: T = Reader::new(&bytes[..]).read().unwrap();
    assert_eq!(&read, value);
    data_encoding::HEXLOWER.encode(&bytes)
}

fn asks() -> Vec<Ask> {
    let cancel = CancelRequest {
        client_order_id: "A".into(),
        broker_order_id: Some("7".into()),
        extras: String::new(),
    };
    vec![
        Ask::Cancel(cancel),
        Ask::Orders,
        Ask::Trades,
        Ask::Positions,
        Ask::Account,
        Ask::Connection,
        Ask::Quotes(vec!["600519.SH".to_owned()]),
        Ask::TradesSince(None),
        Ask::TradesSince(Some("7".to_owned())),
        Ask::Close,
    ]
}

fn answers() -> Vec<Told> {
    let reason = || "no".to_owned();
    vec![
        Told::Cancel(CancelResult::Sent),
        Told::Cancel(CancelResult::Rejected { reason: reason() }),
        Told::Cancel(CancelResult::Unknown { reason: reason() }),
        Told::Orders(Ok(vec![order_row()])),
        Told::Trades(Ok(vec![trade()])),
        Told::Positions(Ok(vec![position()])),
        Told::Positions(Err(CallError::new("no"))),
        Told::Account(Ok(account())),
        Told::Connection(ConnectionState::Connected),
        Told::Connection(ConnectionState::Connecting),
        Told::Connection(ConnectionState::Disconnected { reason: reason() }),
        Told::Quotes(None),
        Told::Quotes(Some(Ok(vec![Quote {
            symbol: "600519.SH".to_owned(),
            last_price: Some(Decimal::ONE),
            ..Quote::default()
        }]))),
        Told::Quotes(Some(Err(CallError::new("no")))),
        Told::TradesSince(Some(Ok(TradesPage {
            trades: vec![trade()],
            cursor: "1".to_owned(),
        }))),
        Told::Closed,
    ]
}

fn news() -> Vec<News> {
    let reason = || "no".to_owned();
    let log = |level| News::Log {
        level,
        target: "t".into(),
        message: "m".into(),
        fields: "{}".into(),
    };
    vec![
        News::Event(1, Event::Order(order_row())),
        News::Event(2, Event::Trade(trade())),
        News::Event(3, Event::Connection(ConnectionState::Connected)),
        News::Event(4, Event::Account(account())),
        News::Event(5, Event::Position(position())),
        News::Event(
            6,
            Event::OrderError(OrderErrorRow {
                client_order_id: Some("A".into()),
                reason: reason(),
                error_code: Some(-61),
                ..OrderErrorRow::default()
            }),
        ),
        News::Event(u64::MAX, Event::Unreadable { reason: reason() }),
        log(LogLevel::Debug),
        log(LogLevel::Info),
        log(LogLevel::Warning),
        log(LogLevel::Error),
        News::Metrics {
            series: vec![Series {
                kind: MetricKind::Histogram,
                name: "n".into(),
                labels: "{}".into(),
                summary: Summary {
                    count: u64::MAX,
                    sum: Decimal::MAX,
                    last: Decimal::MIN,
                    min: Decimal::MIN,
                    max: Decimal::MAX,
                },
            }],
            dropped: 7,
        },
    ]
}

fn placed() -> Vec<PlaceResult> {
    let reason = || "no".to_owned();
    vec![
        PlaceResult::Accepted {
            broker_order_id: "7".into(),
        },
        PlaceResult::Rejected { reason: reason() },
        PlaceResult::Unknown { reason: reason() },
    ]
}

/// Every frame's bytes. Where this fails, the encoding has changed: raise `PROTOCOL`, then take the new bytes.
#[test]
fn the_encoding_is_that_of_its_protocol_version() {
    let numbered = |what| Numbered { number: 300, what };
    let mut lines = vec![format!("protocol {PROTOCOL}")];
    let mut greeting = Vec::new();
    let hello = Hello {
        role: Role::Events,
        secret: "s".into(),
    };
    Writer::new(&mut greeting).greet(&hello).unwrap();
    assert_eq!(Reader::new(&greeting[..]).greeting().unwrap(), hello);
    lines.push(data_encoding::HEXLOWER.encode(&greeting));
    lines.push(back(&Opened(Ok(()))));
    lines.push(back(&Opened(Err("no".to_owned().into()))));
    lines.push(back(&numbered(Order::Place(order()))));
    lines.extend(placed().into_iter().map(|what| {
        back(&Answer {
            number: u64::MAX,
            is_poisoned: what.reason().is_some(),
            what,
        })
    }));
    lines.extend(asks().into_iter().map(|what| back(&Numbered { number: 1, what })));
    lines.extend(answers().into_iter().map(|what| {
        back(&Answer {
            number: 1,
            is_poisoned: what.reason().is_some(),
            what,
        })
    }));
    lines.extend(news().iter().map(back));
    let found = lines.join("\n") + "\n";
    let golden = include_str!("frames.golden");
    assert_eq!(found, golden, "found:\n{found}");
}

/// What the fuzzer of the frames starts from: the first byte says whose stream it is, as in tests/fuzz. Each file holds
/// every frame of one stream; `QT_WRITE_CORPUS=1` writes them anew after a change of the protocol.
#[test]
fn the_fuzzers_corpus_holds_every_frame() {
    let numbered = |what| frame_of(&Numbered { number: 1, what });
    let placed = placed().into_iter().map(|what| {
        frame_of(&Answer {
            number: 1,
            is_poisoned: false,
            what,
        })
    });
    let told = answers().into_iter().map(|what| {
        frame_of(&Answer {
            number: 1,
            is_poisoned: true,
            what,
        })
    });
    let mut greeting = Vec::new();
    let hello = Hello {
        role: Role::Events,
        secret: "s".into(),
    };
    Writer::new(&mut greeting).greet(&hello).unwrap();
    let orders = frame_of(&Numbered {
        number: 1,
        what: Order::Place(order()),
    });
    let streams: [(&str, Vec<u8>); 7] = [
        ("orders", orders),
        ("asks", asks().into_iter().flat_map(numbered).collect()),
        ("placed", placed.flatten().collect()),
        ("told", told.flatten().collect()),
        ("news", news().iter().flat_map(frame_of).collect()),
        ("opened", frame_of(&Opened(Err("no".to_owned().into())))),
        ("greeting", greeting),
    ];
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/corpus/frames");
    for (whose, (name, frames)) in (0_u8..).zip(streams) {
        let bytes = [vec![whose], frames].concat();
        let path = folder.join(name);
        if std::env::var_os("QT_WRITE_CORPUS").is_some() {
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(&path, &bytes).unwrap();
        }
        assert_eq!(std::fs::read(&path).ok(), Some(bytes), "{}", path.display());
    }
}

#[test]
fn what_cannot_be_a_frame_is_refused() {
    let read = |bytes: &[u8]| Reader::new(bytes).read::<Numbered<Ask>>().unwrap_err();
    assert!(matches!(read(b""), FrameError::Ended));
    assert!(matches!(read(b"\x05\0\0"), FrameError::Ended));
    assert!(matches!(read(b"\x05\0\0\0abc"), FrameError::Ended));
    assert!(
        matches!(read(b"\xff\xff\xff\xff"), FrameError::Malformed(why) if why.contains("4294967295 bytes"))
    );
    let mut longer = frame_of(&Numbered {
        number: 1,
        what: Ask::Orders,
    });
    longer[0] += 1;
    longer.push(0);
    assert!(matches!(read(&longer), FrameError::Malformed(why) if why.contains("1 bytes behind")));
}

/// Gives at most so many bytes a call.
struct Slow<'a>(&'a [u8], usize);

impl Read for Slow<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(self.1);
        self.0.read(&mut buffer[..most])
    }
}

#[test]
fn frames_are_read_whole_however_the_bytes_arrive() {
    // One frame is larger than a reader's buffer is at first.
    let sizes = [0, 1, 5_000, 0, 70_000, 3];
    let said: Vec<News> = sizes
        .into_iter()
        .map(|size| News::Log {
            level: LogLevel::Info,
            target: String::new(),
            message: "x".repeat(size),
            fields: String::new(),
        })
        .collect();
    let bytes: Vec<u8> = said.iter().flat_map(frame_of).collect();
    for at_once in [1, 3, 4_096, 5_003, usize::MAX] {
        let mut reader = Reader::new(Slow(&bytes, at_once));
        for expected in &said {
            assert_eq!(
                &reader.read::<News>().unwrap(),
                expected,
                "{at_once} bytes at once"
            );
        }
        assert!(matches!(reader.read::<News>(), Err(FrameError::Ended)));
    }
}

#[test]
fn a_greeting_leaves_what_comes_behind_it_to_the_next_reader() {
    let hello = Hello {
        role: Role::Control,
        secret: "s".into(),
    };
    let mut bytes = Vec::new();
    Writer::new(&mut bytes).greet(&hello).unwrap();
    bytes.extend(frame_of(&Opened(Ok(()))));
    let mut stream = &bytes[..];
    assert_eq!(Reader::new(&mut stream).greeting().unwrap(), hello);
    assert_eq!(Reader::new(stream).read::<Opened>().unwrap(), Opened(Ok(())));
}

#[test]
fn a_greeting_of_another_version_is_told_from_none() {
    let greeting = |bytes: &[u8]| {
        let mut frame = u32::try_from(bytes.len()).unwrap().to_le_bytes().to_vec();
        frame.extend(bytes);
        Reader::new(&frame[..]).greeting().unwrap_err()
    };
    assert!(matches!(
        greeting(b"QTWK\x63\0\0\0whatever comes"),
        FrameError::OtherProtocol { found: 99 }
    ));
    assert!(matches!(greeting(b"QTWK"), FrameError::Malformed(_)));
    assert!(matches!(greeting(b"GET / HTTP/1.1"), FrameError::Malformed(_)));
}

fn all_frames() -> Vec<Vec<u8>> {
    let mut frames = vec![frame_of(&Numbered {
        number: 1,
        what: Order::Place(order()),
    })];
    frames.extend(answers().into_iter().map(|what| {
        frame_of(&Answer {
            number: 1,
            is_poisoned: false,
            what,
        })
    }));
    frames.extend(news().iter().map(frame_of));
    frames
}

proptest! {
    #[test]
    fn no_bytes_make_the_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let mut frame = u32::try_from(bytes.len()).unwrap().to_le_bytes().to_vec();
        frame.extend(&bytes);
        for stream in [&bytes[..], &frame[..]] {
            let _ = Reader::new(stream).read::<Numbered<Order>>();
            let _ = Reader::new(stream).read::<Answer<PlaceResult>>();
            let _ = Reader::new(stream).read::<Numbered<Ask>>();
            let _ = Reader::new(stream).read::<Answer<Told>>();
            let _ = Reader::new(stream).read::<News>();
            let _ = Reader::new(stream).read::<Opened>();
            let _ = Reader::new(stream).greeting();
        }
    }

    #[test]
    fn no_damage_to_a_frame_makes_the_decoder_panic(which in 0_usize..24, at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<prop::sample::Index>()) {
        let frames = all_frames();
        let mut frame = frames[which % frames.len()].clone();
        let at = at.index(frame.len());
        frame[at] = byte;
        let _ = Reader::new(&frame[..]).read::<Answer<Told>>();
        let _ = Reader::new(&frame[..]).read::<News>();
        frame.truncate(cut.index(frame.len()));
        prop_assert!(Reader::new(&frame[..]).read::<Answer<Told>>().is_err());
    }
}
