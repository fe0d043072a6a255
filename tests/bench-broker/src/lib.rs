//! A broker that costs next to nothing, so that what is measured is the host: it fills at once what
//! is not too cheap, and notes the monotonic moment of each call in a file that outlives the host.
//! Without such a file it does nothing but answer, so that what is measured is the way to it.

mod instant;

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::sync::Mutex;

use qt_plugin_api::*;

/// Bytes of one order in the file: id, shares, limit in 1/10,000 yuan, moment in ns.
const RECORD: usize = 20 + 8 + 8 + 8;
/// Limits below this, in 1/10,000 yuan, are never filled.
const TOO_CHEAP_E4: u64 = 100_000;
/// The one symbol that is traded.
const SYMBOL: &str = "000858.SZ";

#[derive(serde::Deserialize)]
struct Options {
    /// The file of all orders.
    orders: Option<PathBuf>,
}

#[derive(Clone, Copy)]
struct Placed {
    id: [u8; 20],
    shares: u64,
    limit_e4: u64,
    at_ns: u64,
}

struct Books {
    file: File,
    all: Vec<Placed>,
    by_id: HashMap<[u8; 20], usize>,
}

struct Bench {
    sink: EventSink,
    clock: HostClock,
    /// Nothing where it only answers.
    books: Option<Mutex<Books>>,
}

fn now_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0)
}

impl Placed {
    fn write(&self) -> [u8; RECORD] {
        let mut bytes = [0; RECORD];
        bytes[..20].copy_from_slice(&self.id);
        for (place, number) in [self.shares, self.limit_e4, self.at_ns].into_iter().enumerate() {
            bytes[20 + place * 8..28 + place * 8].copy_from_slice(&number.to_le_bytes());
        }
        bytes
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let number = |place: usize| -> Option<u64> {
            Some(u64::from_le_bytes(
                bytes.get(20 + place * 8..28 + place * 8)?.try_into().ok()?,
            ))
        };
        Some(Self {
            id: bytes.get(..20)?.try_into().ok()?,
            shares: number(0)?,
            limit_e4: number(1)?,
            at_ns: number(2)?,
        })
    }

    fn is_filled(&self) -> bool {
        self.limit_e4 >= TOO_CHEAP_E4
    }

    fn limit(&self) -> Decimal {
        Decimal::new(i64::try_from(self.limit_e4).unwrap_or(i64::MAX), 4)
    }

    fn client_id(&self) -> String {
        String::from_utf8_lossy(&self.id).into_owned()
    }

    fn order(&self, number: usize, updated_ms: i64) -> OrderRow {
        let request = OrderRequest {
            client_order_id: self.client_id(),
            symbol: SYMBOL.into(),
            side: Side::Buy,
            quantity: self.shares,
            limit_price: Some(self.limit()),
            price_kind: qt_plugin_api::PriceKind::Limit,
            not_after_ms: None,
            strategy: String::new(),
            extras: String::new(),
        };
        let mut row = OrderRow::working(&request, &format!("N{number}"), updated_ms);
        if self.is_filled() {
            row.status = OrderStatus::Filled;
            row.filled_quantity = self.shares;
        }
        row
    }

    fn trade(&self, number: usize, traded_ms: i64) -> TradeRow {
        TradeRow {
            trade_id: format!("T{number}"),
            client_order_id: Some(self.client_id()),
            broker_order_id: format!("N{number}"),
            symbol: SYMBOL.into(),
            side: Side::Buy,
            quantity: self.shares,
            price: self.limit(),
            commission: None,
            stamp_tax: None,
            transfer_fee: None,
            traded_ms,
            extras: String::new(),
        }
    }
}

impl Bench {
    fn note(&self, order: &OrderRequest, at_ns: u64) -> Option<(usize, Placed, bool)> {
        let id: [u8; 20] = order.client_order_id.as_bytes().try_into().ok()?;
        let limit_e4 = (order.limit_price? * Decimal::from(10_000)).trunc().to_string();
        let placed = Placed {
            id,
            shares: order.quantity,
            limit_e4: limit_e4.parse().ok()?,
            at_ns,
        };
        let mut books = self.books.as_ref()?.lock().ok()?;
        if let Some(number) = books.by_id.get(&id) {
            return Some((*number, books.all[*number], false));
        }
        books.file.write_all(&placed.write()).ok()?;
        let number = books.all.len();
        books.all.push(placed);
        books.by_id.insert(id, number);
        Some((number, placed, true))
    }

    fn rows<T>(&self, row: impl Fn((usize, &Placed)) -> Option<T>) -> Result<Vec<T>, CallError> {
        let Some(books) = &self.books else {
            return Ok(Vec::new());
        };
        let books = books.lock().map_err(|_| CallError::new("lost its books"))?;
        Ok(books.all.iter().enumerate().filter_map(row).collect())
    }
}

impl Broker for Bench {
    fn open(cx: OpenContext) -> Result<Self, OpenError> {
        let options: Options = cx.config()?;
        let open = |path: &PathBuf| -> std::io::Result<Mutex<Books>> {
            let mut file = File::options().create(true).append(true).read(true).open(path)?;
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)?;
            let all: Vec<Placed> = bytes.chunks_exact(RECORD).filter_map(Placed::read).collect();
            let by_id = all
                .iter()
                .enumerate()
                .map(|(number, placed)| (placed.id, number))
                .collect();
            Ok(Mutex::new(Books { file, all, by_id }))
        };
        let books = options
            .orders
            .map(|path| open(&path).map_err(|e| OpenError::new(format!("{}: {e}", path.display()))))
            .transpose()?;
        Ok(Self {
            sink: cx.sink,
            clock: cx.clock,
            books,
        })
    }

    fn place_order(&self, order: &OrderRequest) -> PlaceResult {
        if self.books.is_none() {
            if order.strategy == instant::EVENTS {
                (0..order.quantity).for_each(|_| self.sink.trade(instant::trade(order)));
            }
            return instant::place(order);
        }
        let at_ns = now_ns();
        let Some((number, placed, is_new)) = self.note(order, at_ns) else {
            return PlaceResult::Rejected {
                reason: "only limit orders of ours".into(),
            };
        };
        if is_new && placed.is_filled() {
            let now = self.clock.now_ms();
            self.sink.trade(placed.trade(number, now));
            self.sink.order(placed.order(number, now));
        }
        PlaceResult::Accepted {
            broker_order_id: format!("N{number}"),
        }
    }

    fn cancel_order(&self, _: &CancelRequest) -> CancelResult {
        CancelResult::Rejected {
            reason: "nothing is cancelled here".into(),
        }
    }

    fn orders_today(&self) -> Result<Vec<OrderRow>, CallError> {
        let now = self.clock.now_ms();
        self.rows(|(number, placed)| Some(placed.order(number, now)))
    }

    fn trades_today(&self) -> Result<Vec<TradeRow>, CallError> {
        let now = self.clock.now_ms();
        self.rows(|(number, placed)| placed.is_filled().then(|| placed.trade(number, now)))
    }

    fn positions(&self) -> Result<Vec<PositionRow>, CallError> {
        Ok(Vec::new())
    }

    fn account(&self) -> Result<AccountRow, CallError> {
        Ok(AccountRow {
            cash: Decimal::from(1_000_000_000),
            ..Default::default()
        })
    }

    fn connection(&self) -> ConnectionState {
        ConnectionState::Connected
    }
}

export_broker! {
    type: Bench, name: "bench", version: env!("CARGO_PKG_VERSION"),
    description: "Fills at once, and notes when it was called", capabilities: ["place", "orders", "trades", "paper"], licence: "MIT",
}
