//! A simulated exchange for China's A-share market, pure: no IO, no clock, and randomness only from a seed that is passed
//! in. The same calls give the same outcomes, always.
//!
//! [`Venue`] is the exchange: an order book a symbol with price-time priority, auctions, lots, ticks, limits, the price
//! cage and the sessions of `qt-market`. What the market does comes as [`Quote`]s: a [`Walk`], or [`Feed`], which reads
//! ticks or minute bars. [`Account`] is what a broker keeps of one client: cash and shares, frozen and free, T+1, fees.
//! [`Exchange`] is both together, and tells everything that happened as [`Fact`]s.
//!
//! # How the market and the orders here meet
//! The market's levels rest in the same books as the orders here, so that an order that joins a level waits behind what
//! rested there before. A trade of the market takes from the book what is as good as its price or better, up to the part
//! of its shares that [`Liquidity::participation_pct`] allows. Where the source shows no levels, they are made around the
//! last price from the shares that traded last. Orders here never change the market's prices: an auction ends at the
//! market's price, and an order that was in the book before a trade gets its own limit. Of a bar, an order that came while
//! it lasted meets its close alone.

mod account;
mod book;
mod exchange;
mod fact;
mod feed;
mod flow;
mod plan;
mod price;
mod reject;
mod stock;
pub mod time;
mod venue;
mod walk;

pub use account::{Account, Dividend, Holding};
pub use book::{Book, FLOW, Hit, OrderId};
pub use exchange::{Exchange, Placed};
pub use fact::{Event, Fact, Fees};
pub use feed::{Feed, FeedError, Shape};
pub use flow::{Bar, Happened, Liquidity, Quote, SHOWN, Shown, Tick};
pub use price::{E4, YUAN, from_e4, parse_e4, to_e4};
pub use reject::{CODES, Rejection};
pub use time::Moment;
pub use venue::{End, Kind, Outcome, Resting, Ticket, Venue};
pub use walk::{Pace, Walk};
