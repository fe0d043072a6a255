//! What the backend is told of the account: a sign of life, and the latest book. Each waits for the backend by itself, so
//! that one that hangs keeps the broker's figures back from nobody.

use super::*;
use crate::backend::sync::{BookSync, CompleteBook};
use crate::backend::wire::{AccountRow, Heartbeat, PositionRow};

/// The longest that a round of calls may take before the next one is due.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a heartbeat tells of.
pub(super) struct BeatLinks {
    every: Duration,
    status: watch::Receiver<Status>,
    gauge: Gauge,
    adapter: String,
    account_id: Option<String>,
}

impl BeatLinks {
    pub(super) fn of(links: &SyncLinks, every: Duration) -> Self {
        Self {
            every,
            status: links.status.clone(),
            gauge: links.gauge.clone(),
            adapter: links.adapter.clone(),
            account_id: links.account_id.clone(),
        }
    }
}

/// Says every now and then that the host lives, until the engine is gone.
pub(super) async fn beat(sync: &BookSync, links: BeatLinks) {
    if links.every.is_zero() {
        return std::future::pending().await;
    }
    let mut opening = links.status.clone();
    loop {
        let next = Instant::now() + links.every;
        let ready = links.status.borrow().ready;
        timeout(PATIENCE, sync.heartbeat(&heartbeat(&links))).await.ok();
        tokio::select! {
            () = sleep_until(next) => {}
            // What the last one said is no longer so.
            seen = becomes_ready(&mut opening), if !ready => {
                if !seen {
                    return;
                }
            }
        }
    }
}

/// Shows every book that is put here; where several came meanwhile, the latest alone.
pub(super) async fn show_each(sync: &BookSync, mut books: watch::Receiver<Option<Book>>) {
    while books.changed().await.is_ok() {
        let book = books.borrow_and_update().clone();
        if let Some(book) = book {
            show(sync, &book).await;
        }
    }
}

fn heartbeat(links: &BeatLinks) -> Heartbeat {
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
pub(super) fn known_pnl(totals: &Totals) -> Option<Decimal> {
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
