//! What has happened and is not in the ledger yet, because its file cannot be written. It is not told, it is not in the
//! books, and it is not lost: it waits here, and goes on as soon as there is room again.

use super::*;

/// How often it is tried again while nobody asks.
pub(super) const PAUSE: Duration = Duration::from_secs(1);

/// Something that is done and cannot be taken back.
pub(super) enum Happened {
    Fill {
        at: usize,
        quantity: u64,
        price: Decimal,
    },
    End {
        at: usize,
        reason: String,
    },
    /// A dividend, whole.
    Paid(Box<Fact>),
}

/// In the order in which it happened.
#[derive(Default)]
pub(super) struct Unwritten {
    waiting: VecDeque<(Happened, Now)>,
    /// Why the first of them is not written; said once.
    why: Option<String>,
}

impl Unwritten {
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Why nothing new can be taken now.
    pub(super) fn objection(&self) -> Option<String> {
        (!self.is_empty()).then(|| {
            format!(
                "{} earlier events wait for the ledger, which must be written before anything new is taken: {}",
                self.waiting.len(),
                self.why.as_deref().unwrap_or("it is not written yet")
            )
        })
    }
}

impl Shared {
    pub(super) fn end(&self, state: &mut State, at: usize, reason: String, now: Now) {
        self.happened(state, Happened::End { at, reason }, now);
    }

    pub(super) fn fill(&self, state: &mut State, at: usize, quantity: u64, price: Decimal, now: Now) {
        self.happened(state, Happened::Fill { at, quantity, price }, now);
    }

    /// Enters what happened, behind what waits already.
    pub(super) fn happened(&self, state: &mut State, what: Happened, now: Now) {
        state.unwritten.waiting.push_back((what, now));
        self.write_what_happened(state);
    }

    /// Writes what waits, and puts it to what is told; true when nothing waits any more.
    pub(super) fn write_what_happened(&self, state: &mut State) -> bool {
        while let Some((what, now)) = state.unwritten.waiting.pop_front() {
            // What happened on a new day happened after the old day's orders had lapsed.
            state.book.roll(now.ts);
            let Some(fact) = self.fact_of(state, &what, now) else {
                continue;
            };
            match self.enter(state, &fact) {
                Ok(at) => {
                    if state.unwritten.why.take().is_some() {
                        self.log
                            .warning("the ledger can be written again; nothing of it was lost");
                    }
                    self.tell_what_happened(state, &what, at);
                }
                Err(AppendError::Contradicts(e)) => {
                    // It is in the ledger, so that it must not be written again.
                    self.log.error(format!(
                        "what happened to {} contradicts the books: {e}",
                        fact.broker_order_id
                    ));
                }
                Err(e @ (AppendError::NotWritten(_) | AppendError::Torn(_))) => {
                    state.unwritten.waiting.push_front((what, now));
                    if state.unwritten.why.is_none() {
                        self.log.error(format!(
                            "what happened to {} {} is kept and written later; make room, nothing new is taken \
                             until then: {e}",
                            fact.symbol, fact.broker_order_id
                        ));
                        state.unwritten.why = Some(e.to_string());
                    }
                    return false;
                }
            }
        }
        true
    }

    /// The line that tells of it; none where it no longer holds.
    fn fact_of(&self, state: &State, what: &Happened, now: Now) -> Option<Fact> {
        match what {
            Happened::Paid(fact) => Some(Fact::clone(fact)),
            Happened::End { at, reason } => {
                let order = state.book.is_open(*at).then(|| state.book.order(*at))?;
                let mut fact = next_fact(Kind::Cancelled, &order.row, order.remaining(), now);
                fact.reason = Some(reason.clone());
                Some(fact)
            }
            Happened::Fill { at, quantity, price } => {
                let fees = state.book.fees_for(*at, *quantity, *price, now.ts);
                let mut fact = next_fact(Kind::Fill, &state.book.order(*at).row, *quantity, now);
                fact.price = Some(*price);
                fact.fill_id = Some(state.book.next_fill_id());
                // A broker shows the exchange's fees as a part of its own.
                fact.commission = Some(fees.commission + fees.exchange_fee);
                if let Some(floor) = &state.floor {
                    (fact.stamp_tax, fact.transfer_fee) = (Some(fees.stamp_tax), Some(fees.transfer_fee));
                    let symbol = floor.venue.market().symbol(&fact.symbol);
                    fact.same_day = symbol.is_ok_and(|symbol| floor.venue.settlement_days(&symbol) == 0);
                }
                Some(fact)
            }
        }
    }

    fn tell_what_happened(&self, state: &mut State, what: &Happened, at: usize) {
        match what {
            Happened::Paid(_) => return,
            Happened::End { .. } => {}
            Happened::Fill { .. } => {
                failpoints::pass("sim-after-fill");
                if let (false, Some(trade)) = (state.book.order(at).silent, state.book.last_trade()) {
                    let trade = trade.clone();
                    state.told.push_back(Told::Trade(trade));
                }
            }
        }
        self.tell_order(state, at);
    }
}
