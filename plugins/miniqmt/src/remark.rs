//! Whether the terminal gives an order's remark back whole: orders are found again by it and by nothing else.
//!
//! It is calibrated with the first order of the day: until a row of that order has come back, the next one waits a
//! moment.

use crate::hours;

/// What is known of the remark today.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Remark {
    /// No order was sent today.
    #[default]
    Untried,
    /// The first order was sent, and no row of it has come back yet.
    Awaited(First),
    /// It came back whole.
    Whole,
    /// It came back changed: a sentence.
    Changed(String),
}

/// The first order of the day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct First {
    /// Its id.
    pub(crate) id: String,
    /// When it was sent.
    pub(crate) sent_ms: i64,
    /// Whether the terminal's number of it is known. Where it is not, its row can be found by the remark alone.
    pub(crate) is_numbered: bool,
}

/// Keeps that for the day.
#[derive(Debug, Default)]
pub(crate) struct Calibration {
    day: i64,
    remark: Remark,
}

impl Calibration {
    /// What is known at this time.
    pub(crate) fn now(&mut self, now_ms: i64) -> &Remark {
        let today = hours::day(now_ms);
        if self.day != today {
            self.day = today;
            self.remark = Remark::Untried;
        }
        &self.remark
    }

    /// Whether an order may be sent as far as this goes; the first one is noted as such before it leaves.
    pub(crate) fn begin(&mut self, id: &str, now_ms: i64) -> bool {
        match self.now(now_ms) {
            Remark::Untried => {
                self.remark = Remark::Awaited(First {
                    id: id.to_owned(),
                    sent_ms: now_ms,
                    is_numbered: false,
                });
                true
            }
            Remark::Awaited(first) => first.id == id,
            Remark::Whole => true,
            Remark::Changed(_) => false,
        }
    }

    /// Notes that an order was not sent, or counts as never taken: another one is the first.
    pub(crate) fn forget(&mut self, id: &str) {
        if matches!(&self.remark, Remark::Awaited(first) if first.id == id && !first.is_numbered) {
            self.remark = Remark::Untried;
        }
    }

    /// Notes that the terminal's number of an order is known.
    pub(crate) fn numbered(&mut self, id: &str) {
        if let Remark::Awaited(first) = &mut self.remark
            && first.id == id
        {
            first.is_numbered = true;
        }
    }

    /// Holds a row against what was sent: what the bridge's record says of its number, or the day's first order, whose number
    /// may not be known. Only the terminal's list proves a change: a push may come before the remark is in it. True when this
    /// is news of a change.
    pub(crate) fn see(&mut self, record: Option<&str>, remark: &str, is_listed: bool, now_ms: i64) -> bool {
        let first = match self.now(now_ms) {
            Remark::Whole => return false,
            Remark::Awaited(first) if first.id == remark => Some(remark),
            _ => None,
        };
        let Some(sent) = record.or(first) else {
            return false;
        };
        if remark == sent {
            // A change that was proven stays: half of the orders would be found, and half not.
            if !matches!(self.remark, Remark::Changed(_)) {
                self.remark = Remark::Whole;
            }
            return false;
        }
        if !is_listed || matches!(self.remark, Remark::Changed(_)) {
            return false;
        }
        let how = if sent.starts_with(remark) {
            format!("cut to {} characters", remark.len())
        } else {
            "rewritten".to_owned()
        };
        self.remark = Remark::Changed(format!(
            "the terminal gave the remark of an order back {how}: `{sent}` was sent and `{remark}` came back, so that an \
             order whose answer is lost could not be found again"
        ));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SENT: &str = "ABCDEFGHIJKLMNOPQRST";
    const DAY: i64 = 86_400_000;

    #[test]
    fn only_a_list_proves_a_change_and_only_for_a_day() {
        let mut calibration = Calibration::default();
        assert!(calibration.begin(SENT, DAY));
        assert!(matches!(calibration.now(DAY), Remark::Awaited(_)));
        assert!(!calibration.see(Some(SENT), "", false, DAY));
        assert!(!calibration.see(None, "of another", true, DAY));
        assert!(matches!(calibration.now(DAY), Remark::Awaited(_)));
        assert!(calibration.see(Some(SENT), &SENT[..16], true, DAY));
        assert!(!calibration.see(Some(SENT), SENT, true, DAY));
        let Remark::Changed(how) = calibration.now(DAY).clone() else {
            panic!("not changed")
        };
        assert!(how.contains("cut to 16"), "{how}");
        assert_eq!(*calibration.now(2 * DAY), Remark::Untried);
    }

    #[test]
    fn a_whole_remark_settles_it() {
        let mut calibration = Calibration::default();
        assert!(calibration.begin(SENT, 0));
        assert!(!calibration.see(Some(SENT), SENT, false, 0));
        assert!(!calibration.see(Some(SENT), "other", true, 0));
        assert_eq!(*calibration.now(0), Remark::Whole);
        let mut other = Calibration::default();
        assert!(other.see(Some(SENT), "*ABCDEFG", true, 0));
        let Remark::Changed(how) = other.now(0) else {
            panic!("not changed")
        };
        assert!(how.contains("rewritten"));
    }

    /// It was noted once the answer had come: an order whose answer was lost was no first one, and the next went out untried.
    #[test]
    fn the_first_order_holds_the_others_though_its_answer_is_lost() {
        let mut calibration = Calibration::default();
        assert!(calibration.begin(SENT, 0) && calibration.begin(SENT, 1));
        assert!(!calibration.begin("ANOTHER", 1));
        // Its row is found by the remark alone, and another's says nothing.
        assert!(!calibration.see(None, "of another", true, 1));
        assert!(!calibration.begin("ANOTHER", 1));
        calibration.see(None, SENT, true, 1);
        assert!(calibration.begin("ANOTHER", 1));
        let mut other = Calibration::default();
        assert!(other.begin(SENT, 0));
        other.numbered(SENT);
        other.forget(SENT);
        assert!(!other.begin("ANOTHER", 1), "one that was taken is not forgotten");
        let mut never_sent = Calibration::default();
        assert!(never_sent.begin(SENT, 0));
        never_sent.forget(SENT);
        assert!(never_sent.begin("ANOTHER", 1));
    }
}
