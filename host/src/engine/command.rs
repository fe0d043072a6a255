//! What a person asks of a running host.

use std::borrow::Cow;

use qt_core::{BrokerOrderId, ClientOrderId, Event, Order, SignalId, Trader};
use serde::{Deserialize, Serialize};

use crate::journal::Batch;

/// One request. It travels as JSON, so its names are part of the control folder's format.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub(crate) enum Command {
    /// No new orders.
    Halt {
        /// Why.
        reason: String,
        /// Cancel what is open, too.
        cancel_open: bool,
        /// Sales still go.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        sales_only: bool,
    },
    /// New orders again.
    Resume,
    /// Cancel one order, by any of its names.
    Cancel {
        /// Ours, the broker's or the signal's name.
        order: String,
    },
    /// Cancel every open order.
    CancelAll,
    /// Decide an order under review.
    Resolve {
        /// Ours or the signal's name.
        order: String,
        /// The broker's id where it was accepted.
        accepted_as: Option<String>,
    },
    /// Post dead letters again.
    RetryReports {
        /// Outbox rows.
        ids: Vec<i64>,
        /// A body to post instead.
        body: Option<String>,
    },
    /// Exchange the plugin of a running host for another version of it. The engine has no part in it.
    SwapPlugin {
        /// The other version's file.
        file: std::path::PathBuf,
        /// What its SHA-256 must be, where that is known: lower-case hexadecimal digits.
        sha256: Option<String>,
    },
    /// Give dead letters up.
    DropReports {
        /// Outbox rows.
        ids: Vec<i64>,
    },
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Reply {
    /// True when it was done.
    pub(crate) done: bool,
    /// A sentence for the person.
    pub(crate) text: String,
}

impl Reply {
    pub(crate) fn done(text: String) -> Self {
        Self { done: true, text }
    }

    pub(crate) fn refused(text: impl Into<String>) -> Self {
        Self {
            done: false,
            text: text.into(),
        }
    }
}

/// The facts that a command amounts to, and the answer to give once they are durable.
pub(super) fn facts_of(
    trader: &Trader,
    command: &Command,
    batch: &mut Batch,
) -> Result<(Vec<Event>, Reply), Reply> {
    match command {
        Command::Halt {
            reason,
            cancel_open,
            sales_only,
        } => {
            let reason = reason.clone();
            let what = if *sales_only {
                "trading is reducing"
            } else {
                "trading is halted"
            };
            let limit = if *sales_only {
                "no purchases"
            } else {
                "no new orders"
            };
            let mut facts = vec![if *sales_only {
                Event::Reducing {
                    reason: reason.clone(),
                }
            } else {
                Event::Halted {
                    reason: reason.clone(),
                }
            }];
            let open = if *cancel_open {
                cancels(trader, "halt")
            } else {
                Vec::new()
            };
            let count = open.len();
            facts.extend(open);
            let tail = if *cancel_open {
                format!("; {count} open orders are being cancelled")
            } else {
                String::new()
            };
            Ok((
                facts,
                Reply::done(format!("{what} ({reason}): {limit} until `qt-host resume`{tail}")),
            ))
        }
        Command::Resume => match trader.halted().or_else(|| trader.reducing()) {
            None => Err(Reply::done("trading was not halted".into())),
            Some(reason) => {
                let was = if trader.halted().is_some() {
                    "halted"
                } else {
                    "reducing"
                };
                let text = format!("trading goes on; it was {was} ({reason})");
                Ok((vec![Event::HaltLifted], Reply::done(text)))
            }
        },
        Command::Cancel { order } => {
            let order = find(trader, order)?;
            if order.state.is_ended() {
                return Err(Reply::refused(format!(
                    "order {} is {} already",
                    order.id, order.state
                )));
            }
            let text = format!(
                "order {} ({}) is being cancelled; `qt-host orders` shows when the broker confirms",
                order.id, order.state
            );
            Ok((
                vec![Event::CancelWanted {
                    id: order.id,
                    by: "a person".into(),
                }],
                Reply::done(text),
            ))
        }
        Command::CancelAll => {
            let facts = cancels(trader, "a person");
            let text = format!("{} open orders are being cancelled", facts.len());
            Ok((facts, Reply::done(text)))
        }
        Command::Resolve { order, accepted_as } => resolve(trader, order, accepted_as.as_deref()),
        Command::SwapPlugin { .. } => Err(Reply::refused(
            "no qt-host runs on this data folder, so there is nothing to exchange; the next start takes what it finds",
        )),
        Command::RetryReports { ids, body } => {
            batch.retried.extend(ids.iter().map(|id| (*id, body.clone())));
            Ok((
                Vec::new(),
                Reply::done(format!("{} reports go out again", ids.len())),
            ))
        }
        Command::DropReports { ids } => {
            batch.dropped.extend(ids);
            Ok((
                Vec::new(),
                Reply::done(format!("{} reports are given up", ids.len())),
            ))
        }
    }
}

fn resolve(trader: &Trader, name: &str, accepted_as: Option<&str>) -> Result<(Vec<Event>, Reply), Reply> {
    let order = find(trader, name)?;
    if order.state != qt_core::OrderState::Review {
        let text = format!(
            "order {} is {}, not REVIEW: there is nothing for a person to decide",
            order.id, order.state
        );
        return Err(Reply::refused(text));
    }
    if let Some(other) = accepted_as.and_then(|id| trader.order_of_broker(&BrokerOrderId(id.to_owned())))
        && other.id != order.id
    {
        return Err(Reply::refused(format!(
            "the broker's order {} belongs to order {}",
            accepted_as.unwrap_or(""),
            other.id
        )));
    }
    let what = accepted_as.map_or_else(|| "never accepted".to_owned(), |id| format!("accepted as {id}"));
    let event = Event::Decided {
        id: order.id,
        accepted_as: accepted_as.map(|id| BrokerOrderId(id.to_owned())),
    };
    Ok((vec![event], Reply::done(format!("order {} is {what}", order.id))))
}

fn cancels(trader: &Trader, by: &str) -> Vec<Event> {
    trader
        .live_orders()
        .map(|order| Event::CancelWanted {
            id: order.id,
            by: by.to_owned(),
        })
        .collect()
}

/// The order of this name: ours, the signal's or the broker's.
pub(crate) fn find<'a>(trader: &'a Trader, name: &str) -> Result<Cow<'a, Order>, Reply> {
    name.parse::<ClientOrderId>()
        .ok()
        .and_then(|id| trader.order(id))
        .or_else(|| trader.order_of_signal(&SignalId(name.to_owned())))
        .or_else(|| trader.order_of_broker(&BrokerOrderId(name.to_owned())))
        .ok_or_else(|| {
            Reply::refused(format!(
                "no order `{name}` is open or of today; `qt-host orders` lists them"
            ))
        })
}
