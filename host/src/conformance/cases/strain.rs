//! Many orders.

use qt_plugin_api::PlaceResult;

use super::super::Stop;
use super::super::bench::Bench;
use crate::system::Usage;

/// What a plugin may hold for each order of the day, its books included.
const BYTES_AN_ORDER: u64 = 16 << 10;
/// What it may hold besides, for its caches and pools.
const BYTES_BESIDES: u64 = 48 << 20;
/// Handles and threads that may come after the first orders.
const HANDLES: u64 = 16;
/// How often the process is looked at.
const EVERY: u32 = 25;
/// Readings of the lists during the orders.
const READ_EVERY: u32 = 500;

pub(crate) fn growth(bench: &mut Bench<'_>) -> Result<String, Stop> {
    let session = bench.open()?;
    let Some(first) = session.usage()? else {
        return Err(Stop::NotApplicable(
            "what its process holds cannot be read here".to_owned(),
        ));
    };
    let orders = bench.subject.orders;
    bench.say(format!("placed {orders} orders"));
    let (mut taken, mut now) = (0_u32, first);
    for count in 1..=orders {
        let order = bench.buy(bench.subject.price);
        match session.place(&order)? {
            PlaceResult::Accepted { .. } => taken += 1,
            // Cash runs out: a refusal must leave nothing behind either.
            PlaceResult::Rejected { .. } => {}
            PlaceResult::Unknown { reason } => {
                return Err(Stop::Inconclusive(format!(
                    "the outcome of order {count} is unknown ({reason})"
                )));
            }
        }
        if count.is_multiple_of(READ_EVERY) {
            session.orders()??;
        }
        if count.is_multiple_of(EVERY) || count == orders {
            now = session.usage()?.unwrap_or(now);
            within(first, now, count).map_err(Stop::Fail)?;
        }
    }
    let kib = now.memory.saturating_sub(first.memory) >> 10;
    Ok(format!(
        "{taken} of {orders} orders were accepted; memory grew by {kib} KiB, handles from {} to {}, threads from {} to {}",
        first.handles, now.handles, first.threads, now.threads
    ))
}

/// Whether what is held after `count` orders is within bounds.
fn within(first: Usage, now: Usage, count: u32) -> Result<(), String> {
    let grown = now.memory.saturating_sub(first.memory);
    let allowed = BYTES_BESIDES + u64::from(count) * BYTES_AN_ORDER;
    if grown > allowed {
        return Err(format!(
            "after {count} orders its process holds {} MiB more than before, and {} would be plenty",
            grown >> 20,
            allowed >> 20
        ));
    }
    for (what, before, now) in [
        ("handles", first.handles, now.handles),
        ("threads", first.threads, now.threads),
    ] {
        if now > before + HANDLES {
            return Err(format!(
                "after {count} orders its process has {now} {what}, and had {before} before"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_bounded_by_the_orders() {
        let first = Usage {
            memory: 10 << 20,
            handles: 10,
            threads: 5,
        };
        let held = |memory: u64, handles: u64, threads: u64| Usage {
            memory: memory << 20,
            handles,
            threads,
        };
        assert_eq!(within(first, held(50, 26, 21), 25), Ok(()));
        assert!(within(first, held(60, 10, 5), 25).is_err());
        assert_eq!(within(first, held(200, 10, 5), 10_000), Ok(()));
        assert!(
            within(first, held(10, 27, 5), 25)
                .unwrap_err()
                .contains("handles")
        );
        assert!(
            within(first, held(10, 10, 22), 25)
                .unwrap_err()
                .contains("threads")
        );
    }
}
