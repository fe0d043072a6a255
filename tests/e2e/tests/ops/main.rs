//! Running it: figures, health, alerts, pushed signals, the service, and a soak.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod alerts;
mod metrics;
mod nats;
mod nats_kept;
mod nats_login;
mod robot;
mod scrape;
mod service;
mod soak;
mod stream;
mod tended;
