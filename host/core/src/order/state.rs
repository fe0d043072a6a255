//! The states of an order and the one table of its transitions.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Where one attempt at a signal stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum OrderState {
    /// Waits for something that may pass; never sent.
    Deferred,
    /// Refused by one of our own checks; never sent.
    Denied,
    /// Decided, not yet given to the broker.
    Intended,
    /// On its way to the broker: from here on it may exist there.
    Submitting,
    /// It cannot be told whether the broker has it.
    Unknown,
    /// Proved never to have been accepted.
    NotAccepted,
    /// Only a person can decide.
    Review,
    /// Refused by the broker.
    Rejected,
    /// At the broker, nothing filled.
    Working,
    /// At the broker, some filled.
    PartiallyFilled,
    /// Was at the broker, and a complete snapshot lacked it.
    Missing,
    /// All filled.
    Filled,
    /// Ended with nothing filled.
    Cancelled,
    /// Ended with some filled.
    PartiallyCancelled,
    /// The day ended with nothing filled.
    Expired,
}

impl OrderState {
    /// Every state.
    pub const ALL: [Self; 15] = [
        Self::Deferred,
        Self::Denied,
        Self::Intended,
        Self::Submitting,
        Self::Unknown,
        Self::NotAccepted,
        Self::Review,
        Self::Rejected,
        Self::Working,
        Self::PartiallyFilled,
        Self::Missing,
        Self::Filled,
        Self::Cancelled,
        Self::PartiallyCancelled,
        Self::Expired,
    ];

    /// True when nothing more is expected to happen to it.
    #[must_use]
    pub const fn is_ended(self) -> bool {
        matches!(
            self,
            Self::Denied
                | Self::NotAccepted
                | Self::Rejected
                | Self::Filled
                | Self::Cancelled
                | Self::PartiallyCancelled
                | Self::Expired
        )
    }

    /// True when it is, or may be, live at the broker: its cash or shares stay reserved.
    #[must_use]
    pub const fn may_be_live(self) -> bool {
        matches!(
            self,
            Self::Submitting
                | Self::Unknown
                | Self::Review
                | Self::Working
                | Self::PartiallyFilled
                | Self::Missing
        )
    }

    /// True when it was shown to be at the broker and has not ended.
    #[must_use]
    pub const fn is_working(self) -> bool {
        matches!(self, Self::Working | Self::PartiallyFilled | Self::Missing)
    }

    /// True when a later attempt at the same signal cannot make two live orders of it.
    #[must_use]
    pub const fn allows_next_attempt(self) -> bool {
        matches!(self, Self::Denied | Self::NotAccepted | Self::Rejected)
    }

    /// The word in lists and files.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Deferred => "DEFERRED",
            Self::Denied => "DENIED",
            Self::Intended => "INTENDED",
            Self::Submitting => "SUBMITTING",
            Self::Unknown => "UNKNOWN",
            Self::NotAccepted => "NOT_ACCEPTED",
            Self::Review => "REVIEW",
            Self::Rejected => "REJECTED",
            Self::Working => "WORKING",
            Self::PartiallyFilled => "PARTIALLY_FILLED",
            Self::Missing => "MISSING",
            Self::Filled => "FILLED",
            Self::Cancelled => "CANCELLED",
            Self::PartiallyCancelled => "PARTIALLY_CANCELLED",
            Self::Expired => "EXPIRED",
        }
    }
}

impl fmt::Display for OrderState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What moves an order from one state to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Step {
    /// A check says: wait.
    Defer,
    /// A check says: never.
    Deny,
    /// All checks passed.
    Intend,
    /// It is handed to the broker.
    Send,
    /// The broker's answer: accepted.
    Accept,
    /// The broker's answer: refused.
    Refuse,
    /// The answer is lost or late.
    LoseAnswer,
    /// Proved that the broker never had it.
    ProveAbsent,
    /// Evidence cannot decide.
    NeedPerson,
    /// The broker shows it open, nothing filled.
    Show,
    /// The broker shows it open, some filled.
    ShowPart,
    /// A trade, and some is still to come.
    FillSome,
    /// A trade, and all is filled.
    FillAll,
    /// The broker shows it ended with nothing filled.
    End,
    /// The broker shows it ended with some filled.
    EndPart,
    /// A complete snapshot lacks it.
    Miss,
    /// Its day is over.
    Expire,
}

impl Step {
    /// Every step.
    pub const ALL: [Self; 17] = [
        Self::Defer,
        Self::Deny,
        Self::Intend,
        Self::Send,
        Self::Accept,
        Self::Refuse,
        Self::LoseAnswer,
        Self::ProveAbsent,
        Self::NeedPerson,
        Self::Show,
        Self::ShowPart,
        Self::FillSome,
        Self::FillAll,
        Self::End,
        Self::EndPart,
        Self::Miss,
        Self::Expire,
    ];
}

/// A step that a state does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an order that is {from} cannot take the step {step:?}")]
pub struct IllegalTransition {
    /// Where the order stands.
    pub from: OrderState,
    /// What was to happen.
    pub step: Step,
}

/// All transitions. What is not here is illegal.
///
/// A trade is always believed, whatever was thought before: money moved. That is why even ended
/// states have fill steps; each of those raises an alarm.
pub const TRANSITIONS: &[(OrderState, Step, OrderState)] = {
    use OrderState as O;
    use Step as S;
    &[
        (O::Deferred, S::Defer, O::Deferred),
        (O::Deferred, S::Deny, O::Denied),
        (O::Deferred, S::Intend, O::Intended),
        (O::Intended, S::Defer, O::Deferred),
        (O::Intended, S::Deny, O::Denied),
        (O::Intended, S::Send, O::Submitting),
        // The broker has it although this journal never sent it: one before this journal did. It
        // is taken over, for sending it would make two of it.
        (O::Deferred, S::Accept, O::Working),
        (O::Deferred, S::Refuse, O::Rejected),
        (O::Deferred, S::Show, O::Working),
        (O::Deferred, S::ShowPart, O::PartiallyFilled),
        (O::Deferred, S::FillSome, O::PartiallyFilled),
        (O::Deferred, S::FillAll, O::Filled),
        (O::Deferred, S::End, O::Cancelled),
        (O::Deferred, S::EndPart, O::PartiallyCancelled),
        (O::Intended, S::Accept, O::Working),
        (O::Intended, S::Refuse, O::Rejected),
        (O::Intended, S::Show, O::Working),
        (O::Intended, S::ShowPart, O::PartiallyFilled),
        (O::Intended, S::FillSome, O::PartiallyFilled),
        (O::Intended, S::FillAll, O::Filled),
        (O::Intended, S::End, O::Cancelled),
        (O::Intended, S::EndPart, O::PartiallyCancelled),
        // From here on the order may exist at the broker, and there is no way back.
        (O::Submitting, S::Accept, O::Working),
        (O::Submitting, S::Refuse, O::Rejected),
        (O::Submitting, S::LoseAnswer, O::Unknown),
        (O::Submitting, S::ProveAbsent, O::NotAccepted),
        (O::Submitting, S::Show, O::Working),
        (O::Submitting, S::ShowPart, O::PartiallyFilled),
        (O::Submitting, S::FillSome, O::PartiallyFilled),
        (O::Submitting, S::FillAll, O::Filled),
        (O::Submitting, S::End, O::Cancelled),
        (O::Submitting, S::EndPart, O::PartiallyCancelled),
        (O::Unknown, S::Accept, O::Working),
        (O::Unknown, S::Refuse, O::Rejected),
        (O::Unknown, S::LoseAnswer, O::Unknown),
        (O::Unknown, S::ProveAbsent, O::NotAccepted),
        (O::Unknown, S::NeedPerson, O::Review),
        (O::Unknown, S::Show, O::Working),
        (O::Unknown, S::ShowPart, O::PartiallyFilled),
        (O::Unknown, S::FillSome, O::PartiallyFilled),
        (O::Unknown, S::FillAll, O::Filled),
        (O::Unknown, S::End, O::Cancelled),
        (O::Unknown, S::EndPart, O::PartiallyCancelled),
        (O::Review, S::Accept, O::Working),
        (O::Review, S::Refuse, O::Rejected),
        (O::Review, S::ProveAbsent, O::NotAccepted),
        (O::Review, S::Show, O::Working),
        (O::Review, S::ShowPart, O::PartiallyFilled),
        (O::Review, S::FillSome, O::PartiallyFilled),
        (O::Review, S::FillAll, O::Filled),
        (O::Review, S::End, O::Cancelled),
        (O::Review, S::EndPart, O::PartiallyCancelled),
        (O::Review, S::Expire, O::Expired),
        (O::Working, S::Accept, O::Working),
        (O::Working, S::Refuse, O::Rejected),
        (O::Working, S::NeedPerson, O::Review),
        (O::Working, S::Show, O::Working),
        (O::Working, S::FillSome, O::PartiallyFilled),
        (O::Working, S::FillAll, O::Filled),
        (O::Working, S::End, O::Cancelled),
        (O::Working, S::Miss, O::Missing),
        (O::Working, S::Expire, O::Expired),
        (O::PartiallyFilled, S::Accept, O::PartiallyFilled),
        (O::PartiallyFilled, S::NeedPerson, O::Review),
        (O::PartiallyFilled, S::ShowPart, O::PartiallyFilled),
        (O::PartiallyFilled, S::FillSome, O::PartiallyFilled),
        (O::PartiallyFilled, S::FillAll, O::Filled),
        (O::PartiallyFilled, S::EndPart, O::PartiallyCancelled),
        (O::PartiallyFilled, S::Miss, O::Missing),
        (O::Missing, S::Accept, O::Working),
        (O::Missing, S::Refuse, O::Rejected),
        (O::Missing, S::NeedPerson, O::Review),
        (O::Missing, S::Show, O::Working),
        (O::Missing, S::ShowPart, O::PartiallyFilled),
        (O::Missing, S::FillSome, O::PartiallyFilled),
        (O::Missing, S::FillAll, O::Filled),
        (O::Missing, S::End, O::Cancelled),
        (O::Missing, S::EndPart, O::PartiallyCancelled),
        (O::Missing, S::Miss, O::Missing),
        (O::Missing, S::Expire, O::Expired),
        // The proof was wrong, and the broker has it after all.
        (O::NotAccepted, S::Accept, O::Working),
        (O::NotAccepted, S::Show, O::Working),
        (O::NotAccepted, S::ShowPart, O::PartiallyFilled),
        (O::NotAccepted, S::FillSome, O::PartiallyFilled),
        (O::NotAccepted, S::FillAll, O::Filled),
        (O::NotAccepted, S::End, O::Cancelled),
        (O::NotAccepted, S::EndPart, O::PartiallyCancelled),
        // Trades that come after an end.
        (O::Denied, S::FillSome, O::PartiallyFilled),
        (O::Denied, S::FillAll, O::Filled),
        (O::Rejected, S::FillSome, O::PartiallyFilled),
        (O::Rejected, S::FillAll, O::Filled),
        (O::Cancelled, S::FillSome, O::PartiallyCancelled),
        (O::Cancelled, S::FillAll, O::Filled),
        (O::PartiallyCancelled, S::FillSome, O::PartiallyCancelled),
        (O::PartiallyCancelled, S::FillAll, O::Filled),
        (O::Expired, S::FillSome, O::PartiallyCancelled),
        (O::Expired, S::FillAll, O::Filled),
        (O::Filled, S::FillAll, O::Filled),
    ]
};

impl OrderState {
    /// The state after `step`.
    ///
    /// # Errors
    ///
    /// [`IllegalTransition`] when the table has no such step.
    pub fn after(self, step: Step) -> Result<Self, IllegalTransition> {
        TRANSITIONS
            .iter()
            .find(|(from, by, _)| *from == self && *by == step)
            .map(|(_, _, to)| *to)
            .ok_or(IllegalTransition { from: self, step })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_no_pair_twice_and_reaches_every_state() {
        for (i, (from, step, _)) in TRANSITIONS.iter().enumerate() {
            let same = TRANSITIONS
                .iter()
                .filter(|(f, s, _)| f == from && s == step)
                .count();
            assert_eq!(same, 1, "row {i}: {from} {step:?} stands twice");
        }
        for state in OrderState::ALL {
            let first = matches!(
                state,
                OrderState::Deferred | OrderState::Intended | OrderState::Denied
            );
            assert!(
                first || TRANSITIONS.iter().any(|(_, _, to)| *to == state),
                "{state} cannot be reached"
            );
        }
    }

    #[test]
    fn nothing_that_may_be_at_the_broker_goes_back_to_before_it() {
        for (from, step, to) in TRANSITIONS {
            if from.may_be_live() || from.is_ended() {
                assert!(
                    !matches!(
                        to,
                        OrderState::Deferred | OrderState::Intended | OrderState::Submitting
                    ),
                    "{from} {step:?} {to}"
                );
            }
        }
    }

    #[test]
    fn an_end_is_left_only_by_a_trade_or_by_proof_that_the_proof_was_wrong() {
        for (from, step, to) in TRANSITIONS.iter().filter(|(from, _, _)| from.is_ended()) {
            let trade = matches!(step, Step::FillSome | Step::FillAll);
            assert!(trade || *from == OrderState::NotAccepted, "{from} {step:?} {to}");
        }
    }

    #[test]
    fn an_illegal_step_names_state_and_step() {
        let error = OrderState::Denied.after(Step::Send).unwrap_err();
        assert_eq!(
            error.to_string(),
            "an order that is DENIED cannot take the step Send"
        );
    }
}
