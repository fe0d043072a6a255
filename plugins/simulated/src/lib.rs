//! A simulated broker: it takes orders, fills them at the last price, and keeps books that outlive the host.
//!
//! # Options
//! All of them lie in the configuration's block `simulated`; money is a JSON number or a string.
//!
//! | key | default | meaning |
//! |---|---|---|
//! | `cash` | 1000000 | yuan at the start of the ledger |
//! | `positions` | none | list of `symbol`, `quantity`, `avg_cost`, and optionally `last_price` (none: suspended), `available_qty`, `name`, `previous_close` |
//! | `prices` | none | last prices of symbols that are not held, `{"000858.SZ": 150.5}` |
//! | `ledger` | `simulated-ledger.jsonl` | path of the ledger, relative to the data folder |
//! | `read_only` | false | look at the ledger beside the process that trades: no lock, no change, every order is rejected |
//! | `fill` | `immediate` | `immediate`, `partial` (half in lots of 100, the rest stays open), `never`, `reject`, `exchange` |
//! | `exchange` | see below | what `fill` as `exchange` goes by |
//! | `latency_ms` | 0 | time an order takes to the broker |
//! | `fill_after_ms` | 0 | fills come that much later, from a thread of their own |
//!
//! # Faults
//! Each fault is off, or `true` (always), or a number (only the first so many times after the start), or
//! `{"every": n}` (each n-th time).
//!
//! | key | what happens |
//! |---|---|
//! | `fault_accept_silently` | the order stands in the ledger, no event tells of it, and after `answer_after_ms` (0) the answer is "unknown" |
//! | `fault_answer_late_ms` | a number: every acceptance is answered that much later than it is in the ledger |
//! | `fault_never_answer` | the order is accepted, and the call blocks until `close` |
//! | `snapshot_lag_ms` | a number: orders and trades younger than that are missing from the day's lists |
//! | `fault_snapshot_fails` | the day's lists, positions and account answer with an error |
//! | `fault_duplicate_events` | an event comes twice |
//! | `fault_reorder_events` | the events of one step come in the reverse order |
//! | `fault_no_events` | an event is not sent; only the lists show it |
//! | `fault_refuse_cancels` | a cancel is refused |
//! | `fault_fill_during_cancel` | the order fills while its cancel is on the way |
//!
//! # The exchange
//! With `fill` as `exchange` an order meets what an exchange would have for it: an order book a symbol, auctions, the day's
//! limits, the price cage, lots, ticks, T+1, sessions and every fee, by the market's rules of the day. A refusal reads as a
//! counter's, with a code that stays: `[PRICE_LIMIT] 委托价格超过涨跌幅限制 (...)`. The keys of the block `exchange`:
//!
//! | key | default | meaning |
//! |---|---|---|
//! | `quotes` | `walk` | `walk`: a random walk from the prices above, within the limits; `fixed`: prices that stand still; else a CSV file, relative to the data folder: `time,symbol,open,high,low,close,volume` or `time,symbol,last,volume`, with `previous_close` and `bid1,bid1_volume` to `ask5,ask5_volume` where there are any |
//! | `seed` | 1 | of the walk: the same seed gives the same prices |
//! | `participation_pct` | 25 | the part of the market's trades that orders here may have |
//! | `levels` | 5 | how many levels rest on each side where the file shows none |
//! | `step_ms`, `ticks_per_step`, `volume_per_step` | 3000, 2, 20000 | how often the walk trades, how far, and how much |
//! | `speed` | 1 | how much faster than the host's the session's clock runs, 1 to 10000 |
//! | `session_from` | now, or the file's first quote | when the session begins, in Shanghai: `2026-11-24T09:15:00` |
//! | `special_treatment` | none | symbols with the limits of ST |
//! | `market_tables` | the program's | a file of rules, as `gates.market_tables` of the host has it |
//! | `dividends` | none | list of `symbol`, `date` (ex-date), `cash` (yuan a share) |
//!
//! The session's time stands in the ledger as `ts`, the host's beside it as `host_ts` where the two differ; what the host is
//! told has the host's time. After a restart the session goes on where the ledger ended: the exchange did not wait, and what
//! was open rests where it did.
//!
//! # The ledger
//! One JSON object a line, with `event` (`accepted`, `rejected`, `fill`, `cancelled`), `ts` (milliseconds since 1970
//! UTC), `client_order_id`, `broker_order_id`, `symbol`, `side` (`buy`, `sell`), `quantity`, `price` (null for a market
//! order), and where they apply `fill_id`, `commission`, `reason`; of an order without a limit `rests_at`, and `at_once` of
//! one that never rests. A line is handed to the operating system before the
//! answer or event that rests on it leaves, so the death of the process loses none. It is not synced to the disk: this
//! broker plays one for tests, and a power cut ends both sides of the play. The ledger is replayed at the start over
//! `cash` and `positions`; an incomplete last line is dropped, and any other damage is an error. A lock keeps a second
//! process off. Where a line cannot be written, on a full disk for example, what happened is kept and told later, nothing
//! new is taken and the exchange stands still until then.

mod book;
mod broker;
mod failpoints;
mod fault;
mod fees;
mod floor;
mod ledger;
mod options;

pub use broker::Simulated;

qt_plugin_api::export_broker! {
    type: Simulated,
    name: "simulated",
    version: env!("CARGO_PKG_VERSION"),
    description: "A simulated broker with a ledger of its own",
    capabilities: ["place", "cancel", "orders", "trades", "positions", "account", "events", "read_only", "paper"],
    licence: "MIT OR Apache-2.0",
    config_schema: include_str!("../config-schema.json"),
}
