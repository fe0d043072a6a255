//! Whether the terminal gives an order's remark back whole: orders are found again by it and by nothing else.
//!
//! It is calibrated with the first order of the day: until a row of that order has come back, the next one waits a
//! moment.

use crate::hours;

/// What is known of the remark today.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Remark {
    /// No order was placed today.
    #[default]
    Untried,
    /// An order was placed, and no row of it has come back yet.
    Awaited,
    /// It came back whole.
    Whole,
    /// It came back changed: a sentence.
    Changed(String),
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

    /// Notes that an order was accepted.
    pub(crate) fn placed(&mut self, now_ms: i64) {
        if *self.now(now_ms) == Remark::Untried {
            self.remark = Remark::Awaited;
        }
    }

    /// Holds a row against what the bridge's record says of its number. Only the terminal's list proves a change: a
    /// push may come before the remark is in it. True when this is news of a change.
    pub(crate) fn see(&mut self, record: Option<&str>, remark: &str, is_listed: bool, now_ms: i64) -> bool {
        let Some(sent) = record else { return false };
        if *self.now(now_ms) == Remark::Whole {
            return false;
        }
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
        calibration.placed(DAY);
        assert_eq!(*calibration.now(DAY), Remark::Awaited);
        assert!(!calibration.see(Some(SENT), "", false, DAY));
        assert!(!calibration.see(None, "of another", true, DAY));
        assert_eq!(*calibration.now(DAY), Remark::Awaited);
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
        calibration.placed(0);
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
}
