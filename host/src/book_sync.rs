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
use crate::backend::sync::{BookSync, CompleteBook};
use crate::backend::wire::{AccountRow, Heartbeat, PositionRow};
use crate::broker::{Book, BrokerSender};
use crate::cli::portfolio_line;
use crate::config::Config;
use crate::engine::Status;
use crate::engine::input::{Input, Sender};
use crate::equity::{EquityKeeper, Snapshot};
use crate::monitor::meters::Figures;
use crate::telemetry::TRADER_LOOP;

/// After a fill, how long to wait for its company before the book is asked for.
const AFTER_FILL: Duration = Duration::from_millis(100);
/// Time between two snapshots; the last of a day stays.
const SNAPSHOT_EVERY: Duration = Duration::from_secs(60);
/// Between two looks at the figures that gates count by.
const FOR_GATES: Duration = Duration::from_secs(10);
/// Between two questions to a broker, however much is wanted.
const SOONEST: Duration = Duration::from_secs(1);
/// The longest that a round of calls may take before the next one is due.
const PATIENCE: Duration = Duration::from_secs(30);

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
pub(crate) struct GateFigures {
    engine: Sender,
    every: Duration,
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
            with_trades: gates.max_day_loss.is_some(),
        })
    }
}

/// Syncs until it is aborted.
pub(crate) async fn run(config: Config, mut links: SyncLinks) {
    let sync = Arc::new(BookSync::new(
        Arc::clone(&links.client),
        config.securities_account_id.clone(),
    ));
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
    let beat_every = config.execution.heartbeat_interval;
    if !posts {
        info!(target: TRADER_LOOP, "Position sync: DISABLED");
    } else {
        info!(target: TRADER_LOOP, "Position sync: ENABLED (interval={}s)", post_every.as_secs());
    }
    let mut next_sync = Instant::now();
    let mut next_beat = Instant::now();
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
        let now = Instant::now();
        // Before the broker is open there is nothing to sync, and all the more a heartbeat that says so.
        let ready = links.status.borrow().ready;
        let every = if ready { every } else { Duration::ZERO };
        if !beat_every.is_zero() && now >= next_beat {
            next_beat = now + beat_every;
            let beat = heartbeat(&links);
            timeout(PATIENCE, sync.heartbeat(&beat)).await.ok();
        }
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
                        show(&sync, &book).await;
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
            // From when it was asked, so that a slow backend makes it no rarer; what is due to be posted is asked in time.
            next_sync = now + every;
            if posting && !failing {
                next_sync = next_sync.min(next_post);
            }
        }
        let far = Instant::now() + Duration::from_secs(3600);
        let sync_at = if every.is_zero() { far } else { next_sync };
        let beat_at = if beat_every.is_zero() { far } else { next_beat };
        let wish_at = if ready && Instant::now() < next_wish {
            next_wish
        } else {
            far
        };
        tokio::select! {
            () = sleep_until(sync_at.min(beat_at).min(wish_at)) => {}
            seen = fills_other_than(&mut links.status, fills), if !every.is_zero() => {
                if !seen {
                    return;
                }
                sleep(AFTER_FILL).await;
                next_sync = Instant::now();
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
                // What the last heartbeat said is no longer so.
                next_beat = Instant::now();
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

fn heartbeat(links: &SyncLinks) -> Heartbeat {
    let status = links.status.borrow();
    let word = match (status.halted.is_some(), status.connected) {
        (true, _) => "halted",
        (false, true) => "running",
        (false, false) => "broker_disconnected",
    };
    Heartbeat {
        status: word.to_owned(),
        broker: links.adapter.clone(),
        pending_execution_count: links.gauge.depth(),
        last_signal_poll_at: links.gauge.last_poll(),
        account_id: links.account_id.clone(),
    }
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

/// Shows one complete answer of the broker to the backend.
async fn show(sync: &BookSync, book: &Book) {
    // Brokers show what was sold out until the day is over; the backend is to forget it at once.
    let held: Vec<_> = book.positions.iter().filter(|p| p.total != 0).cloned().collect();
    let valuation = match portfolio::value(&held) {
        Ok(valuation) => valuation,
        Err(e) => {
            return warn!(target: TRADER_LOOP, "positions are not synced, their value cannot be worked out: {e}");
        }
    };
    let at: UtcMillis = book.asked_at;
    let complete = CompleteBook::vouch_complete(rows(&valuation), at);
    let account = &book.account;
    let row = AccountRow {
        account_id: account.account_id.clone(),
        total_asset: account.total_asset,
        cash: account.cash,
        available_cash: account.available_cash,
        frozen_cash: account.frozen_cash,
        market_value: account.market_value,
    };
    let calls = async {
        sync.book(&complete).await;
        sync.account(&row, at).await;
        let total_pnl = known_pnl(&valuation.totals);
        sync.snapshot(&complete, valuation.totals.value, total_pnl).await;
    };
    timeout(PATIENCE, calls).await.ok();
    info!(target: TRADER_LOOP, "{}", portfolio_line(&valuation.totals));
}

/// What the holdings earned, where at least one has a price; without any it is not known, and 0 would be a lie.
fn known_pnl(totals: &Totals) -> Option<Decimal> {
    (totals.positions == 0 || totals.unpriced < totals.positions).then_some(totals.pnl)
}

/// The rows as the backend is shown them. What has no price is shown at its cost, as everywhere, and has no P&L; nor
/// has it a value where its cost is none either.
fn rows(valuation: &Valuation<'_>) -> Vec<PositionRow> {
    valuation
        .positions
        .iter()
        .map(|figures| PositionRow {
            symbol: figures.position.symbol,
            quantity: figures.position.total,
            available_qty: figures.position.sellable,
            frozen_qty: figures.position.frozen,
            avg_cost: figures.position.avg_cost,
            // Brokers say 0 where they know none.
            current_price: figures.position.last_price.filter(|price| *price > Decimal::ZERO),
            market_value: Some(figures.value).filter(|value| !(figures.unpriced() && value.is_zero())),
            unrealized_pnl: (!figures.unpriced()).then_some(figures.pnl),
            unrealized_pnl_pct: figures.pnl_pct.filter(|_| !figures.unpriced()),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use qt_core::portfolio::Position;

    fn held(symbol: &str, cost: i64, last: Option<i64>) -> Position {
        Position {
            symbol: symbol.parse().unwrap(),
            name: None,
            total: 100,
            sellable: 100,
            frozen: 0,
            avg_cost: cost.into(),
            last_price: last.map(Decimal::from),
            previous_close: None,
        }
    }

    #[test]
    fn a_holding_without_a_price_is_not_shown_to_the_backend_as_one_that_earned_nothing() {
        let book = [
            held("000001.SZ", 10, None),
            held("000002.SZ", 0, Some(0)),
            held("000858.SZ", 42, Some(42)),
        ];
        let valuation = portfolio::value(&book).unwrap();
        let shown: Vec<_> = rows(&valuation)
            .iter()
            .map(|row| {
                (
                    row.current_price,
                    row.market_value,
                    row.unrealized_pnl,
                    row.unrealized_pnl_pct,
                )
            })
            .collect();
        let known = |figure: i64| Some(Decimal::from(figure));
        assert_eq!(
            shown,
            [
                (None, known(1000), None, None),
                (None, None, None, None),
                // It earned nothing, and that is known.
                (known(42), known(4200), known(0), known(0)),
            ]
        );
        assert_eq!(known_pnl(&valuation.totals), known(0));
        let dark = portfolio::value(&book[..2]).unwrap();
        assert_eq!(known_pnl(&dark.totals), None);
        let empty = portfolio::value(&[]).unwrap();
        assert_eq!(known_pnl(&empty.totals), known(0));
    }
}
