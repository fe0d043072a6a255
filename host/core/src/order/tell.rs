//! What the backend must be told of an order: the difference between what is and what was told.

use qt_market::{Market, Side};
use rust_decimal::Decimal;

use super::{Order, OrderState};
use crate::report::{Chase, Execution, ExecutionStatus, Fees, Report, ReportBody};
use crate::time::UtcMillis;

impl Order {
    /// The reports that are due, in the order in which they must go out; marks them as told. Fees that nobody says go by
    /// `market`.
    pub(crate) fn tell(&mut self, now: UtcMillis, chase_bps: u32, market: &Market) -> Vec<Report> {
        let mut due = Vec::new();
        self.tell_submitted(&mut due);
        self.tell_fill_or_end(now, (chase_bps, market), &mut due);
        self.tell_never_sent(&mut due);
        due
    }

    fn report(&self, step: String, body: ReportBody) -> Report {
        Report {
            order: self.id,
            signal: self.signal.id.clone(),
            step,
            body,
        }
    }

    fn tell_submitted(&mut self, due: &mut Vec<Report>) {
        let Some(broker_order_id) = self.broker_order_id.clone() else {
            return;
        };
        let never = matches!(
            self.state,
            OrderState::Rejected | OrderState::Denied | OrderState::NotAccepted
        );
        // A row that the broker itself is not sure of names the order and proves nothing.
        let unsure = !self.state.is_ended() && !self.was_accepted();
        if self.told.submitted || never || unsure {
            return;
        }
        let Some(submitted_at) = self.accepted_at.or(self.sent_at).or(self.ended_at) else {
            return;
        };
        self.told.submitted = true;
        due.push(self.report(
            "submitted".into(),
            ReportBody::Submitted {
                broker_order_id,
                submitted_at,
            },
        ));
    }

    fn tell_fill_or_end(
        &mut self,
        now: UtcMillis,
        (chase_bps, market): (u32, &Market),
        due: &mut Vec<Report>,
    ) {
        let filled = self.filled();
        let end = self.state.is_ended().then_some(self.state);
        let status = match (self.state, filled) {
            (OrderState::Filled, _) => ExecutionStatus::Filled,
            (OrderState::Rejected, _) => ExecutionStatus::Rejected,
            (OrderState::PartiallyCancelled | OrderState::Cancelled | OrderState::Expired, 0) => {
                ExecutionStatus::Cancelled
            }
            (OrderState::PartiallyCancelled | OrderState::Cancelled | OrderState::Expired, _) => {
                ExecutionStatus::PartialCancelled
            }
            (OrderState::Denied | OrderState::NotAccepted, _) => return,
            (_, 0) => return,
            _ => ExecutionStatus::PartialFilled,
        };
        if filled <= self.told.filled && end == self.told.ended {
            return;
        }
        let step = format!("{}-{filled}", status.as_str());
        self.told.filled = filled;
        self.told.ended = end;
        let execution = self.execution(status, now, (chase_bps, market));
        due.push(self.report(step, ReportBody::Execution(Box::new(execution))));
        if end.is_none() {
            return;
        }
        if status == ExecutionStatus::Rejected {
            let last_error = self
                .reason
                .clone()
                .unwrap_or_else(|| "rejected by the broker".into());
            due.push(self.report("failed".into(), ReportBody::Failed { last_error }));
        } else if let Some(last) = self.fills.iter().map(|fill| fill.at).max() {
            let body = ReportBody::Concluded {
                filled,
                avg_price: self.avg_price(),
                executed_at: last,
            };
            due.push(self.report(format!("concluded-{filled}"), body));
        }
    }

    fn tell_never_sent(&mut self, due: &mut Vec<Report>) {
        let last_error = || self.reason.clone().unwrap_or_default();
        match self.state {
            OrderState::Denied if self.told.ended.is_none() => {
                due.push(self.report(
                    "failed".into(),
                    ReportBody::Failed {
                        last_error: last_error(),
                    },
                ));
                self.told.ended = Some(self.state);
            }
            OrderState::NotAccepted if self.told.ended.is_none() => {
                let retry_count = self.signal.retry_count.saturating_add(1);
                let body = ReportBody::RetryPending {
                    last_error: last_error(),
                    retry_count,
                };
                due.push(self.report(format!("retry-{retry_count}"), body));
                self.told.ended = Some(self.state);
            }
            OrderState::Deferred => {
                let code = self.code.as_deref().unwrap_or("other").to_owned();
                if self.told.deferred.contains(&code) {
                    return;
                }
                let retry_count = self.signal.retry_count;
                let step = format!("deferred-{code}");
                let body = ReportBody::RetryPending {
                    last_error: last_error(),
                    retry_count,
                };
                due.push(self.report(step, body));
                self.told.deferred.push(code);
            }
            _ => {}
        }
    }

    fn execution(
        &self,
        status: ExecutionStatus,
        now: UtcMillis,
        (chase_bps, market): (u32, &Market),
    ) -> Execution {
        let ended_early = matches!(
            status,
            ExecutionStatus::PartialCancelled | ExecutionStatus::Cancelled
        );
        Execution {
            symbol: self.signal.symbol,
            side: self.signal.side,
            size: self.signal.size,
            target_price: self.signal.price,
            filled_price: self.avg_price(),
            filled_size: self.filled(),
            fees: self.fees_by(market),
            status,
            broker_order_id: self.broker_order_id.clone(),
            broker: self.signal.broker.clone(),
            securities_account_id: self.signal.securities_account_id.clone(),
            account_id: self.signal.account_id.clone(),
            strategy: self.signal.strategy.clone(),
            strategy_name: self.signal.strategy_name.clone(),
            at: now,
            reason: self.reason.clone(),
            chase: ended_early.then(|| self.chase(chase_bps, market)),
        }
    }

    /// What a person may try next: the rest, at a limit that gives way by `chase_bps`.
    fn chase(&self, chase_bps: u32, market: &Market) -> Chase {
        let tick = market.tick(&self.signal.symbol, self.day().civil());
        let bps = Decimal::new(i64::from(chase_bps), 4);
        let next_limit_price = self.limit.map(|limit| match self.signal.side {
            Side::Buy => qt_market::round_to_tick(
                limit.saturating_mul(Decimal::ONE + bps),
                tick,
                qt_market::Toward::Down,
            ),
            Side::Sell => qt_market::round_to_tick(
                limit.saturating_mul(Decimal::ONE - bps),
                tick,
                qt_market::Toward::Up,
            ),
        });
        Chase {
            remaining_size: self.signal.size.saturating_sub(self.filled()).max(0),
            next_limit_price,
        }
    }

    /// Fees so far. What the broker does not say of a trade is estimated from the rates that come with the program.
    #[must_use]
    pub fn fees(&self) -> Fees {
        self.fees_by(Market::builtin())
    }

    /// As [`Self::fees`], estimated by these tables.
    #[must_use]
    pub fn fees_by(&self, market: &Market) -> Fees {
        let mut fees = Fees::default();
        let mut unsaid = false;
        for fill in &self.fills {
            unsaid |= fill.commission.is_none() || fill.stamp_tax.is_none() || fill.transfer_fee.is_none();
            for (sum, part) in [
                (&mut fees.commission, fill.commission),
                (&mut fees.stamp_tax, fill.stamp_tax),
                (&mut fees.transfer_fee, fill.transfer_fee),
            ] {
                // What a broker says is not checked: an absurd figure may not stop the host.
                *sum = sum.saturating_add(part.unwrap_or_default());
            }
        }
        if unsaid {
            self.estimate(&mut fees, market);
        }
        fees
    }

    /// Replaces by an estimate over the whole order each kind of fee that some trade leaves out:
    /// the smallest commission counts once an order, so single trades cannot be estimated apart.
    fn estimate(&self, fees: &mut Fees, market: &Market) {
        let (symbol, side) = (&self.signal.symbol, self.signal.side);
        // Only absurd figures have no estimate; then what the brokers did say stays.
        let Ok(guess) = market.fees_of_amount(symbol, side, self.amount(), self.day().civil()) else {
            return;
        };
        let said =
            |part: fn(&super::Fill) -> Option<Decimal>| self.fills.iter().all(|fill| part(fill).is_some());
        if !said(|fill| fill.commission) {
            fees.commission = guess.commission;
            fees.estimated = fees.estimated.saturating_add(guess.commission);
        }
        if !said(|fill| fill.stamp_tax) {
            fees.stamp_tax = guess.stamp_tax;
            fees.estimated = fees.estimated.saturating_add(guess.stamp_tax);
        }
        if !said(|fill| fill.transfer_fee) {
            fees.transfer_fee = guess.transfer_fee;
            fees.estimated = fees.estimated.saturating_add(guess.transfer_fee);
        }
    }
}
