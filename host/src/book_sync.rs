//! Keeps the backend's picture of the account fresh: holdings, balances, the day's snapshot, heartbeats.
//!
//! None of this ever stops trading, and nothing is sent that the broker did not answer completely.

use std::sync::Arc;
use std::time::Duration;

use qt_core::portfolio::{self, Totals, Valuation};
use qt_core::{BookFact, Event, Holding, Settings, TradingDate, UtcMillis};
use qt_market::Listing;
use rust_decimal::Decimal;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::{info, warn};

use crate::backend::client::Client;
use crate::backend::gauge::Gauge;
use crate::backend::sync::BookSync;
use crate::broker::{Book, BrokerSender};
use crate::cli::portfolio_line;
use crate::config::Config;
use crate::engine::Status;
use crate::engine::input::{Input, Sender};
use crate::equity::{EquityKeeper, Snapshot};
use crate::monitor::meters::Figures;
use crate::telemetry::TRADER_LOOP;

mod told;

use told::{BeatLinks, beat, known_pnl, show_each};

/// After a fill, how long to wait for its company before the book is asked for.
const AFTER_FILL: Duration = Duration::from_millis(100);
/// Time between two snapshots; the last of a day stays.
const SNAPSHOT_EVERY: Duration = Duration::from_secs(60);
/// Between two looks at the figures that gates count by.
const FOR_GATES: Duration = Duration::from_secs(10);
/// Between two questions to a broker, however much is wanted.
const SOONEST: Duration = Duration::from_secs(1);
/// What the sync is tied to.
pub(crate) struct SyncLinks {
    /// The backend.
    pub(crate) client: Arc<Client>,
    /// The broker.
    pub(crate) broker: BrokerSender,
    /// How far the engine is.
    pub(crate) status: watch::Receiver<Status>,
    /// How far the reports are.
    pub(crate) gauge: Gauge,
    /// The broker's name, for heartbeats.
    pub(crate) adapter: String,
    /// The broker's account number, where configured.
    pub(crate) account_id: Option<String>,
    /// Who counts shares and cash, where that is wanted.
    pub(crate) gates: Option<GateFigures>,
    /// Where the day's snapshot is kept.
    pub(crate) equity: EquityKeeper,
}

/// Who wants the broker's figures for gates.
#[derive(Clone)]
pub(crate) struct GateFigures {
    engine: Sender,
    every: Duration,
    /// How late the broker's figures may be.
    settle: Duration,
    /// What the day earned is wanted, which needs today's trades.
    with_trades: bool,
}

impl GateFigures {
    /// `None` where no gate goes by the broker's figures.
    pub(crate) fn of(settings: &Settings, engine: &Sender) -> Option<Self> {
        let gates = &settings.gates;
        let age = u64::try_from(gates.quote_max_age_ms).unwrap_or(u64::MAX);
        // A cage goes by prices that are no older than that.
        let every = match gates.cage {
            true => FOR_GATES.min(Duration::from_millis(age).max(SOONEST)),
            false => FOR_GATES,
        };
        gates.need_books().then(|| Self {
            engine: engine.clone(),
            every,
            settle: Duration::from_millis(u64::try_from(gates.book_settle_ms).unwrap_or(0)),
            with_trades: gates.max_day_loss.is_some(),
        })
    }
}

/// Syncs until it is aborted.
pub(crate) async fn run(config: Config, links: SyncLinks) {
    let sync = BookSync::new(Arc::clone(&links.client), config.securities_account_id.clone());
    let beats = BeatLinks::of(&links, config.execution.heartbeat_interval);
    let (latest, books) = watch::channel(None);
    // None of them waits for another: gates go by the broker's figures however long the backend takes.
    tokio::select! {
        () = beat(&sync, beats) => {}
        () = show_each(&sync, books) => {}
        () = ask(&config, links, &latest) => {}
    }
}

/// Asks the broker for its figures, for gates, and for the backend as `latest`.
async fn ask(config: &Config, mut links: SyncLinks, latest: &watch::Sender<Option<Book>>) {
    let every = config.execution.position_sync_interval;
    let posts = !every.is_zero();
    let post_every = every;
    // The gates need the broker's figures even where the backend is not to have them, and more often.
    let every = match &links.gates {
        Some(gates) if posts => every.min(gates.every),
        Some(gates) => gates.every,
        None => every,
    };
    let with_trades = links.gates.as_ref().is_some_and(|gates| gates.with_trades);
    let mut next_post = Instant::now();
    if !posts {
        info!(target: TRADER_LOOP, "Position sync: DISABLED");
    } else {
        info!(target: TRADER_LOOP, "Position sync: ENABLED (interval={}s)", post_every.as_secs());
    }
    let settle = links.gates.as_ref().map_or(Duration::ZERO, |gates| gates.settle);
    let mut next_sync = Instant::now();
    let mut settled_at: Option<Instant> = None;
    let mut fills = 0;
    let mut failing = false;
    let mut next_snapshot = Instant::now();
    let mut opening = links.status.clone();
    let mut lacking = links.status.clone();
    let mut next_wish = Instant::now();
    let mut wish_wait = SOONEST;
    let mut earned: Option<(TradingDate, Option<Decimal>)> = None;
    let mut next_trades = Instant::now();
    loop {
        crate::failpoint::die_at("book-sync");
        let now = Instant::now();
        // Before the broker is open there is nothing to sync.
        let ready = links.status.borrow().ready;
        let every = if ready { every } else { Duration::ZERO };
        if !every.is_zero() && now >= next_sync {
            let filled = links.status.borrow().fills;
            // What was just traded is shown at once.
            let posting = posts;
            let posts = posts && (now >= next_post || filled != fills);
            fills = filled;
            let deadline = config.execution.call_deadline;
            match links.broker.book(deadline, false).await {
                Ok(mut book) => {
                    failing = false;
                    wish_wait = SOONEST;
                    links.gauge.meters().set_figures(figures(&book));
                    let today = book.asked_at.trading_date();
                    let known = earned.filter(|(day, _)| *day == today);
                    // Of a day of which nothing was told yet, the first figures wait for the trades.
                    if with_trades && known.is_none() {
                        book = with_todays_trades(&links.broker, deadline, book).await;
                        earned = Some((today, earned_by(&book)));
                        next_trades = Instant::now() + FOR_GATES;
                    }
                    let day_pnl = earned.and_then(|(_, pnl)| pnl);
                    tell_gates(links.gates.as_ref(), &book, day_pnl).await;
                    if posts {
                        next_post = now + post_every;
                        latest.send_replace(Some(book.clone()));
                    }
                    // A broker that is slow to list its trades keeps the figures back from nobody.
                    if with_trades && Instant::now() >= next_trades {
                        let book = with_todays_trades(&links.broker, deadline, book.clone()).await;
                        next_trades = Instant::now() + FOR_GATES;
                        if let Some(pnl) = earned_by(&book) {
                            earned = Some((book.asked_at.trading_date(), Some(pnl)));
                            tell_gates(links.gates.as_ref(), &book, Some(pnl)).await;
                        }
                    }
                    if posts && Instant::now() >= next_snapshot {
                        next_snapshot = Instant::now() + SNAPSHOT_EVERY;
                        keep_snapshot(&mut links, config.execution.call_deadline, book).await;
                    }
                }
                Err(e) => {
                    if !failing {
                        warn!(target: TRADER_LOOP, "positions are not synced, the broker does not give them ({e}); the backend keeps what it has");
                    }
                    failing = true;
                    wish_wait = (wish_wait * 2).min(FOR_GATES);
                }
            }
            // From when it was asked, so that a slow broker makes it no rarer; what is due to be posted is asked in time.
            next_sync = now + every;
            if posting && !failing {
                next_sync = next_sync.min(next_post);
            }
            // What a fill came to is certain only then.
            settled_at = settled_at.filter(|at| *at > now);
            next_sync = settled_at.map_or(next_sync, |at| at.min(next_sync));
        }
        let far = Instant::now() + Duration::from_secs(3600);
        let sync_at = if every.is_zero() { far } else { next_sync };
        let wish_at = if ready && Instant::now() < next_wish {
            next_wish
        } else {
            far
        };
        tokio::select! {
            () = sleep_until(sync_at.min(wish_at)) => {}
            seen = fills_other_than(&mut links.status, fills), if !every.is_zero() => {
                if !seen {
                    return;
                }
                sleep(AFTER_FILL).await;
                next_sync = Instant::now();
                settled_at = (!settle.is_zero()).then(|| next_sync + settle);
            }
            seen = book_is_lacking(&mut lacking), if ready && Instant::now() >= next_wish => {
                if !seen {
                    return;
                }
                // The day is another one, or the broker was away: orders wait for this.
                next_wish = Instant::now() + wish_wait;
                next_sync = Instant::now();
            }
            seen = becomes_ready(&mut opening), if !ready => {
                if !seen {
                    return;
                }
            }
        }
    }
}

/// What is shown of the account. A P&L that is not known is left out, and so is what the broker does not price.
fn figures(book: &Book) -> Figures {
    let account = &book.account;
    let mut yuan = vec![
        ("total_asset", account.total_asset),
        ("cash", account.cash),
        ("available_cash", account.available_cash),
        ("frozen_cash", account.frozen_cash),
        ("market_value", account.market_value),
    ];
    let valuation = portfolio::value(&book.positions).ok();
    yuan.extend(
        valuation
            .as_ref()
            .and_then(|valuation| known_pnl(&valuation.totals))
            .map(|pnl| ("unrealized_pnl", pnl)),
    );
    let positions = valuation.iter().flat_map(|valuation| &valuation.positions);
    let held = positions.filter(|figures| figures.position.total != 0);
    Figures {
        yuan,
        positions: held
            .map(|figures| {
                let value = (!figures.unpriced()).then_some(figures.value);
                (figures.position.symbol.to_string(), figures.position.total, value)
            })
            .collect(),
    }
}

/// The book with today's trades, where the broker lists them in time.
async fn with_todays_trades(broker: &BrokerSender, deadline: Duration, book: Book) -> Book {
    broker.book(deadline, true).await.unwrap_or(book)
}

/// What today earned, where all of it can be told.
fn earned_by(book: &Book) -> Option<Decimal> {
    // Nothing less nothing may be below nothing, which no file keeps.
    crate::book::whole_day(book).map(|day| day.total.normalize())
}

/// Tells the core what the account holds.
async fn tell_gates(gates: Option<&GateFigures>, book: &Book, day_pnl: Option<Decimal>) {
    let Some(gates) = gates else { return };
    let holdings = book.positions.iter().map(|position| {
        // The exchanges mark such shares in their names.
        let listing = position.name.as_deref().map(Listing::of_name).unwrap_or_default();
        Holding {
            symbol: position.symbol,
            total: position.total,
            sellable: position.sellable,
            frozen: position.frozen,
            last_price: position.last_price,
            previous_close: position.previous_close,
            special_treatment: listing.special_treatment,
            trading_day: listing.trading_day,
        }
    });
    let fact = BookFact {
        asked_at: book.asked_at,
        total_asset: book.account.total_asset,
        available_cash: book.account.available_cash,
        day_pnl,
        holdings: holdings.collect(),
    };
    gates
        .engine
        .send(Input::Fact(Event::BookSeen(Box::new(fact))))
        .await
        .ok();
}

/// Waits for another number of fills; false when the engine is gone.
async fn fills_other_than(status: &mut watch::Receiver<Status>, fills: u64) -> bool {
    status.wait_for(|status| status.fills != fills).await.is_ok()
}

/// Waits until gates lack the broker's figures; false when the engine is gone.
async fn book_is_lacking(status: &mut watch::Receiver<Status>) -> bool {
    // Nothing is asked of a broker that is away.
    status
        .wait_for(|status| status.lacks_book && status.connected)
        .await
        .is_ok()
}

/// Waits until the broker's books were compared; false when the engine is gone.
async fn becomes_ready(status: &mut watch::Receiver<Status>) -> bool {
    status.wait_for(|status| status.ready).await.is_ok()
}

/// Keeps what the account is worth for the equity curve. Today's trades are asked for apart, so that the sync never
/// waits for a broker that is slow to list them; without them the day's P&L stays unknown.
async fn keep_snapshot(links: &mut SyncLinks, deadline: Duration, book: Book) {
    let book = links.broker.book(deadline, true).await.unwrap_or(book);
    let figures = match portfolio::value(&book.positions) {
        Ok(valuation) => valuation.totals,
        // The sync has said so already.
        Err(_) => return,
    };
    let held = book
        .positions
        .iter()
        .filter(|position| position.total != 0)
        .count();
    let day = crate::book::whole_day(&book);
    links
        .gauge
        .meters()
        .set_day_pnl(day.as_ref().map(|day| day.total));
    let snapshot = Snapshot {
        day: book.asked_at.trading_date(),
        at: book.asked_at,
        total_asset: book.account.total_asset,
        cash: book.account.cash,
        market_value: figures.value,
        unrealized_pnl: figures.pnl,
        positions: i64::try_from(held).unwrap_or(i64::MAX),
        day_pnl: day.as_ref().map(|day| day.total),
        opening_value: day.as_ref().map(|day| day.opening_value),
    };
    links.equity.keep(snapshot).await;
}
