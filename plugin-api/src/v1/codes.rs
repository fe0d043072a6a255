//! What the numbers that cross the boundary mean. A number without a meaning here is an error, never a guess.

/// A side of an order or a trade.
pub mod side {
    /// Buy.
    pub const BUY: u8 = 1;
    /// Sell.
    pub const SELL: u8 = 2;
}

/// How an order's price is meant.
pub mod price {
    /// At the limit or better.
    pub const LIMIT: u8 = 1;
    /// At the market, in the way that the broker or the exchange has.
    pub const MARKET: u8 = 2;
    /// Against the best five levels; the rest is cancelled.
    pub const BEST_FIVE_THEN_CANCEL: u8 = 3;
    /// Against the best five levels; the rest becomes a limit order.
    pub const BEST_FIVE_THEN_LIMIT: u8 = 4;
    /// At the best price of the other side.
    pub const OPPOSITE_BEST: u8 = 5;
    /// At the best price of the own side.
    pub const OWN_BEST: u8 = 6;
    /// What fills at once; the rest is cancelled.
    pub const IMMEDIATE_OR_CANCEL: u8 = 7;
    /// All of it at once, or nothing.
    pub const FILL_OR_KILL: u8 = 8;
}

/// What kind of account it is.
pub mod account {
    /// Trades with its own money alone.
    pub const CASH: u8 = 1;
    /// May borrow money and shares.
    pub const CREDIT: u8 = 2;
    /// Anything else.
    pub const OTHER: u8 = 3;
}

/// What failed after it had been taken.
pub mod failed {
    /// An order.
    pub const ORDER: u8 = 1;
    /// The cancel of an order; the order itself stands.
    pub const CANCEL: u8 = 2;
}

/// A state of an order, as the broker shows it.
pub mod status {
    /// Taken, not at the exchange yet.
    pub const PENDING: u8 = 1;
    /// At the exchange, nothing filled.
    pub const WORKING: u8 = 2;
    /// At the exchange, a part filled.
    pub const PARTIALLY_FILLED: u8 = 3;
    /// Filled to the last share.
    pub const FILLED: u8 = 4;
    /// A cancel is on its way.
    pub const CANCEL_PENDING: u8 = 5;
    /// Ended by a cancel after a part was filled.
    pub const PARTIALLY_CANCELLED: u8 = 6;
    /// Ended by a cancel with nothing filled.
    pub const CANCELLED: u8 = 7;
    /// Refused by the broker or the exchange.
    pub const REJECTED: u8 = 8;
    /// The broker cannot tell.
    pub const UNKNOWN: u8 = 9;
}

/// How an answer to a place or a cancel is meant.
pub mod answer {
    /// Place: accepted, the text is the broker's order id. Cancel: sent on.
    pub const DONE: u8 = 1;
    /// Refused for certain; the text is the reason.
    pub const REJECTED: u8 = 2;
    /// Nobody knows whether it took effect; the text is the reason.
    pub const UNKNOWN: u8 = 3;
}

/// How a call that reads ended.
pub mod call {
    /// Complete.
    pub const OK: u8 = 1;
    /// Failed; what else lies in the answer means nothing.
    pub const FAILED: u8 = 2;
}

/// A state of the connection between plugin and broker.
pub mod connection {
    /// Orders can be placed.
    pub const CONNECTED: u8 = 1;
    /// Being made.
    pub const CONNECTING: u8 = 2;
    /// Lost or never made.
    pub const DISCONNECTED: u8 = 3;
}

/// Weight of a log line.
pub mod level {
    /// For whoever follows every step.
    pub const TRACE: u8 = 0;
    /// For whoever hunts a fault.
    pub const DEBUG: u8 = 1;
    /// What happens as it should.
    pub const INFO: u8 = 2;
    /// Odd, and survivable.
    pub const WARNING: u8 = 3;
    /// Something failed.
    pub const ERROR: u8 = 4;
}
