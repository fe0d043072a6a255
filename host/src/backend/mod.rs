//! The backend's side of the host: what is fetched from it and what is posted to it.
//!
//! [`wire`] alone knows the JSON shapes; [`client`] speaks HTTP and says what an answer means;
//! [`poller`] brings signals in, [`reporter`] takes reports out, [`sync`] shows the book, and
//! [`keeper`] alone sees to it that their token is a good one. Nothing here
//! knows a broker or the rules of the order machine.

pub(crate) mod client;
pub(crate) mod gauge;
pub(crate) mod keeper;
pub(crate) mod nats;
mod plan;
pub(crate) mod poller;
pub(crate) mod reporter;
mod routes;
mod sales;
mod stream;
pub(crate) mod sync;
pub(crate) mod wire;

#[cfg(test)]
mod tests;

/// The log target that the lines of trading carry; people and scripts look for it.
const TRADING: &str = "quant_trader.trader_loop";
