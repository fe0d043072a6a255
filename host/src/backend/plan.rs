//! When a person is warned of a token's end, and when a new login is made. Time is passed in.

use std::time::Duration;

use crate::backoff::Backoff;
use crate::secrets::Claims;

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;
/// A new token is asked for so long before the end of the old one, or a fifth of its life before, whichever is less.
const LEAD_MS: i64 = HOUR_MS;
/// Two logins are never nearer.
const LEAST_BETWEEN_MS: i64 = 2_000;
/// A call waits so long for a new token before it is told that there is none.
const WORTH_WAITING_MS: i64 = 3_000;
/// Where new tokens are refused as the old ones were, logins become as rare as this.
const STORM: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(600));
/// Where a login before the end gives a token that ends no later than the old one, as a backend does that keeps its tokens.
const SAME: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(600));
/// Where the backend does not answer a login.
const AGAIN: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(300));
/// A new token that was good for so long is none that is refused as the old one was.
const STOOD_MS: i64 = 20_000;
/// After so long without a login for a refusal, the next refusal is an affair of its own.
const FORGET_MS: i64 = 900_000;

/// What is to be done now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing.
    Wait,
    /// The token ends in so many milliseconds, or has ended: a person is to be told.
    Warn(i64),
    /// A new login.
    LogIn(Why),
}

/// Why a login is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// The token comes to its end.
    Ending,
    /// The backend refused it.
    Refused,
}

/// How near the end is, as far as a person is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Near {
    Far,
    Day,
    Hour,
    Ended,
}

/// What is known of the token in force, and of the logins made so far.
#[derive(Debug)]
pub(super) struct Plan {
    ends_at_ms: Option<i64>,
    lead_ms: i64,
    /// A password is kept.
    can_log_in: bool,
    /// The backend refused it.
    is_barred: bool,
    said: Near,
    not_before_ms: i64,
    last_for_refusal_ms: Option<i64>,
    /// The token in force was seen to be refused.
    is_refusal_seen: bool,
    /// And before that it was seen to be good.
    is_acceptance_seen: bool,
    /// The next login waits because the last one changed nothing about the end: a refusal does not wait for that.
    waits_for_end: bool,
    storm: Backoff,
    same: Backoff,
    again: Backoff,
}

impl Plan {
    /// For a token that somebody put there; `now_ms` is by the backend's clock where that is known.
    pub(super) fn new(claims: Option<&Claims>, can_log_in: bool, now_ms: i64) -> Self {
        let mut plan = Self {
            ends_at_ms: None,
            lead_ms: 0,
            can_log_in,
            is_barred: false,
            said: Near::Far,
            not_before_ms: i64::MIN,
            last_for_refusal_ms: None,
            is_refusal_seen: false,
            is_acceptance_seen: false,
            waits_for_end: false,
            storm: Backoff::new(STORM.0, STORM.1),
            same: Backoff::new(SAME.0, SAME.1),
            again: Backoff::new(AGAIN.0, AGAIN.1),
        };
        plan.measure(claims, now_ms);
        plan
    }

    /// Another token, or another password, was put there.
    pub(super) fn replaced(&mut self, claims: Option<&Claims>, can_log_in: bool, now_ms: i64) {
        self.can_log_in = can_log_in;
        self.is_barred = false;
        self.is_refusal_seen = false;
        self.is_acceptance_seen = false;
        self.said = Near::Far;
        self.not_before_ms = i64::MIN;
        self.waits_for_end = false;
        self.same.reset();
        self.again.reset();
        self.measure(claims, now_ms);
    }

    fn measure(&mut self, claims: Option<&Claims>, now_ms: i64) {
        self.ends_at_ms = claims
            .and_then(|claims| claims.ends_at_s)
            .map(|seconds| seconds * 1000);
        let begun_ms = claims
            .and_then(|claims| claims.begun_at_s)
            .map_or(now_ms, |seconds| seconds * 1000);
        let life_ms = self.ends_at_ms.map_or(0, |ends| ends.saturating_sub(begun_ms));
        self.lead_ms = (life_ms / 5).clamp(0, LEAD_MS);
    }

    /// Whether a refused token may be followed by another one without a person.
    pub(super) const fn is_renewal_possible(&self) -> bool {
        self.can_log_in && !self.is_barred
    }

    /// Whether a refused token is followed by another one so soon that it is worth waiting for.
    pub(super) const fn is_renewal_near(&self, now_ms: i64) -> bool {
        self.is_renewal_possible()
            && self.again.failures() == 0
            && self.not_before_ms.saturating_sub(now_ms) <= WORTH_WAITING_MS
    }

    /// Whether the last logins gave nothing.
    pub(super) const fn is_failing(&self) -> bool {
        self.again.failures() > 0
    }

    /// When the token ends: milliseconds since 1970 by the backend's clock.
    pub(super) const fn ends_at_ms(&self) -> Option<i64> {
        self.ends_at_ms
    }

    /// The token in force was good for what it is refused for now.
    pub(super) const fn accepted(&mut self) {
        self.is_acceptance_seen = true;
    }

    /// What is to be done at `now_ms` by our clock, where the backend's is ahead by `ahead_ms`, if that is known;
    /// `is_refused` says that it refused the token in force.
    pub(super) fn step(&mut self, now_ms: i64, ahead_ms: Option<i64>, is_refused: bool) -> Step {
        if is_refused && !std::mem::replace(&mut self.is_refusal_seen, true) {
            self.first_refusal(now_ms);
        }
        let left_ms = match (self.ends_at_ms, ahead_ms) {
            (Some(ends), Some(ahead)) => Some(ends.saturating_sub(now_ms).saturating_sub(ahead)),
            _ => None,
        };
        if self.is_renewal_possible() {
            let why = if is_refused {
                Some(Why::Refused)
            } else {
                left_ms.filter(|left| *left <= self.lead_ms).map(|_| Why::Ending)
            };
            if let Some(why) = why.filter(|_| now_ms >= self.not_before_ms) {
                return Step::LogIn(why);
            }
            // While logins fail nobody knows whether one will give another token in time: a person is told as if none did.
            if !self.is_failing() {
                return Step::Wait;
            }
        }
        let near = left_ms.map_or(Near::Far, |left| match left {
            ..=0 => Near::Ended,
            1..=HOUR_MS => Near::Hour,
            left if left <= DAY_MS => Near::Day,
            _ => Near::Far,
        });
        if near <= self.said {
            return Step::Wait;
        }
        self.said = near;
        left_ms.map_or(Step::Wait, Step::Warn)
    }

    /// The token in force is refused for the first time. One that stood until now, and was good, was revoked, which is nobody's
    /// storm: the next login comes at once. One that was never good has only been found out late.
    fn first_refusal(&mut self, now_ms: i64) {
        let stood = self.last_for_refusal_ms.map(|last| now_ms.saturating_sub(last));
        let was_good = self.is_acceptance_seen && stood.is_some_and(|stood| stood >= STOOD_MS);
        if was_good && !self.is_failing() {
            self.storm.reset();
            self.not_before_ms = now_ms;
        }
        if std::mem::take(&mut self.waits_for_end) {
            self.not_before_ms = self.not_before_ms.min(now_ms.saturating_add(LEAST_BETWEEN_MS));
        }
    }

    /// A login gave a token.
    pub(super) fn logged_in(&mut self, why: Why, claims: Option<&Claims>, now_ms: i64, ahead_ms: i64) {
        self.again.reset();
        self.is_refusal_seen = false;
        self.is_acceptance_seen = false;
        self.said = Near::Far;
        let backend_ms = now_ms.saturating_add(ahead_ms);
        let before_ms = self.ends_at_ms;
        self.measure(claims, backend_ms);
        let left_ms = self.ends_at_ms.map_or(0, |ends| ends.saturating_sub(backend_ms));
        let is_no_later = before_ms
            .zip(self.ends_at_ms)
            .is_some_and(|(before, ends)| ends <= before);
        if !is_no_later {
            self.same.reset();
        }
        self.waits_for_end = is_no_later && why == Why::Ending;
        // A new token that has ended already says that some clock is wrong: logging in again would change nothing.
        self.ends_at_ms = self.ends_at_ms.filter(|ends| *ends > backend_ms);
        let mut pause_ms = LEAST_BETWEEN_MS;
        if why == Why::Refused {
            let last = self.last_for_refusal_ms.replace(now_ms);
            if last.is_none_or(|last| now_ms.saturating_sub(last) > FORGET_MS) {
                self.storm.reset();
            }
            pause_ms = pause_ms.max(millis(self.storm.next(None)));
        }
        if self.waits_for_end {
            // At the end itself it may give another one.
            pause_ms = pause_ms.max(millis(self.same.next(None)).min(left_ms));
        }
        self.not_before_ms = now_ms.saturating_add(pause_ms);
    }

    /// How many logins in a row gave a token that ends no later than the one before.
    pub(super) const fn logins_for_nothing(&self) -> u32 {
        self.same.failures()
    }

    /// It is not known what became of a login; how long until the next.
    pub(super) fn not_known(&mut self, now_ms: i64, asked: Option<Duration>) -> Duration {
        let wait = self.again.next(asked);
        self.not_before_ms = now_ms.saturating_add(millis(wait).max(LEAST_BETWEEN_MS));
        wait
    }

    /// The backend refuses the name or the password: another try with them might lock the account.
    pub(super) const fn bar(&mut self) {
        self.is_barred = true;
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_790_000_000_000;

    fn claims(begun_ms: i64, ends_ms: i64) -> Claims {
        Claims {
            begun_at_s: Some(begun_ms / 1000),
            ends_at_s: Some(ends_ms / 1000),
            subject: None,
        }
    }

    #[test]
    fn a_person_is_told_a_day_and_an_hour_before_and_at_the_end_once_each() {
        let token = claims(NOW, NOW + 7 * DAY_MS);
        let mut plan = Plan::new(Some(&token), false, NOW);
        let end = NOW + 7 * DAY_MS;
        let mut said = Vec::new();
        let mut now = NOW;
        while now < end + DAY_MS {
            match plan.step(now, Some(0), false) {
                Step::Wait => {}
                step => said.push((end - now, step)),
            }
            now += 60_000;
        }
        assert_eq!(
            said,
            [
                (DAY_MS, Step::Warn(DAY_MS)),
                (HOUR_MS, Step::Warn(HOUR_MS)),
                (0, Step::Warn(0))
            ]
        );
    }

    #[test]
    fn a_token_that_is_near_its_end_from_the_start_is_told_of_once() {
        let mut plan = Plan::new(Some(&claims(NOW, NOW + 600_000)), false, NOW);
        assert_eq!(plan.step(NOW, Some(0), false), Step::Warn(600_000));
        assert_eq!(plan.step(NOW + 1000, Some(0), false), Step::Wait);
    }

    #[test]
    fn a_person_is_told_before_the_end_where_a_password_is_kept_and_logins_fail() {
        let end = NOW + DAY_MS;
        let mut plan = Plan::new(Some(&claims(NOW, end)), true, NOW);
        let (mut said, mut tries) = (Vec::new(), 0);
        for second in 0..DAY_MS / 1000 + 600 {
            let now = NOW + second * 1000;
            match plan.step(now, Some(0), false) {
                Step::LogIn(_) => {
                    tries += 1;
                    plan.not_known(now, None);
                }
                Step::Warn(left_ms) => said.push((left_ms / 60_000, tries)),
                Step::Wait => {}
            }
        }
        // An hour before, as soon as the first one failed, and at the end.
        assert_eq!(said.len(), 2, "{said:?}");
        assert_eq!(said[0], (59, 1));
        assert_eq!(said[1].0, 0);
        assert!(tries < 40, "{tries}");
        plan.logged_in(Why::Ending, Some(&claims(end, end + DAY_MS)), end, 0);
        assert_eq!(plan.step(end + 5000, Some(0), false), Step::Wait);
    }

    #[test]
    fn the_backends_clock_decides_and_nothing_is_judged_before_it_is_known() {
        let mut plan = Plan::new(Some(&claims(NOW, NOW + 2 * DAY_MS)), false, NOW);
        assert_eq!(plan.step(NOW + 3 * DAY_MS, None, false), Step::Wait);
        assert_eq!(plan.step(NOW + 3 * DAY_MS, Some(-3 * DAY_MS), false), Step::Wait);
        assert_eq!(plan.step(NOW, Some(DAY_MS), false), Step::Warn(DAY_MS));
    }

    #[test]
    fn a_new_login_comes_before_the_end() {
        for (life_ms, lead_ms) in [(7 * DAY_MS, HOUR_MS), (HOUR_MS, HOUR_MS / 5), (10_000, 2_000)] {
            let mut plan = Plan::new(Some(&claims(NOW, NOW + life_ms)), true, NOW);
            let due = NOW + life_ms - lead_ms;
            assert_eq!(plan.step(due - 1000, Some(0), false), Step::Wait, "{life_ms}");
            assert_eq!(
                plan.step(due, Some(0), false),
                Step::LogIn(Why::Ending),
                "{life_ms}"
            );
        }
    }

    #[test]
    fn a_refusal_means_one_login_and_refusals_of_every_new_token_no_storm() {
        let mut plan = Plan::new(None, true, NOW);
        let mut logins = Vec::new();
        // Two hours of a backend that refuses whatever it gave, asked ten times a second.
        for tenth in 0..72_000 {
            let now = NOW + tenth * 100;
            if plan.step(now, Some(0), true) == Step::LogIn(Why::Refused) {
                logins.push(tenth / 10);
                plan.logged_in(Why::Refused, None, now, 0);
            }
        }
        assert_eq!(logins[0], 0);
        // Doubling waits of at least half of 5, 10, 20 ... 600 s.
        assert!((10..=32).contains(&logins.len()), "{logins:?}");
        assert!(logins.windows(2).all(|pair| pair[1] - pair[0] >= 2), "{logins:?}");
    }

    /// With the fourth revocation within a quarter of an hour the login came up to 40 s late, and reports waited for it.
    #[test]
    fn tokens_that_stood_and_are_revoked_again_and_again_lead_to_a_login_at_once_each() {
        let mut plan = Plan::new(None, true, NOW);
        let (mut logins, mut revoked_at) = (Vec::new(), None);
        for second in 0..1800 {
            let now = NOW + second * 1000;
            if second % 25 == 24 {
                revoked_at = Some(second);
            }
            if plan.step(now, Some(0), revoked_at.is_some()) == Step::LogIn(Why::Refused) {
                logins.push(second - revoked_at.take().unwrap());
                plan.logged_in(Why::Refused, None, now, 0);
                plan.accepted();
            }
        }
        assert_eq!(logins, vec![0; 1800 / 25]);
    }

    /// A token that was never good and is found out only half a minute after the login stood as one that was revoked: a login
    /// each half minute for ever.
    #[test]
    fn tokens_that_are_never_good_lead_to_no_storm_however_late_that_is_found_out() {
        let mut plan = Plan::new(None, true, NOW);
        let (mut logins, mut last) = (0, 0);
        for second in 0..DAY_MS / 1000 {
            let now = NOW + second * 1000;
            let is_refused = logins == 0 || second >= last + 30;
            if plan.step(now, Some(0), is_refused) == Step::LogIn(Why::Refused) {
                (logins, last) = (logins + 1, second);
                plan.logged_in(Why::Refused, None, now, 0);
            }
        }
        // Half of 600 s apart at least, but for the first ones.
        assert!((100..=310).contains(&logins), "{logins}");
    }

    #[test]
    fn short_tokens_are_renewed_for_ever_and_one_that_is_born_dead_is_not() {
        let mut plan = Plan::new(Some(&claims(NOW, NOW + 10_000)), true, NOW);
        let mut logins = 0;
        for second in 0..600 {
            let now = NOW + second * 1000;
            if let Step::LogIn(why) = plan.step(now, Some(0), false) {
                logins += 1;
                plan.logged_in(why, Some(&claims(now, now + 10_000)), now, 0);
            }
        }
        assert_eq!(logins, 600 / 8 - 1, "each lives 8 s of its 10");

        let mut plan = Plan::new(None, true, NOW);
        plan.logged_in(Why::Refused, Some(&claims(NOW - 20_000, NOW - 10_000)), NOW, 0);
        assert_eq!(plan.step(NOW + DAY_MS, Some(0), false), Step::Wait);
    }

    /// Each of them led to the next after two seconds: some 1,700 logins in the last hour.
    #[test]
    fn a_backend_that_gives_the_same_token_until_its_end_is_asked_ever_more_rarely_and_at_the_end() {
        let end = NOW + DAY_MS;
        let old = claims(NOW, end);
        let mut plan = Plan::new(Some(&old), true, NOW);
        let (mut before, mut after) = (Vec::new(), Vec::new());
        for second in 0..DAY_MS / 1000 + 7200 {
            let now = NOW + second * 1000;
            if let Step::LogIn(why) = plan.step(now, Some(0), false) {
                assert_eq!(why, Why::Ending);
                if now < end {
                    before.push(now - end);
                    plan.logged_in(why, Some(&old), now, 0);
                    assert_eq!(plan.logins_for_nothing() as usize, before.len());
                } else {
                    after.push(now - end);
                    plan.logged_in(why, Some(&claims(now, now + DAY_MS)), now, 0);
                    assert_eq!(plan.logins_for_nothing(), 0);
                }
            }
        }
        assert_eq!(before[0], -HOUR_MS);
        assert!((10..=25).contains(&before.len()), "{before:?}");
        assert!(after.len() == 1 && after[0] <= 2000, "{after:?}");
    }

    #[test]
    fn a_token_that_is_revoked_while_the_end_is_waited_for_is_followed_by_a_login_at_once() {
        let old = claims(NOW - DAY_MS, NOW + HOUR_MS);
        let mut plan = Plan::new(Some(&old), true, NOW);
        let mut now = NOW;
        while plan.logins_for_nothing() < 8 {
            now += 1000;
            if let Step::LogIn(why) = plan.step(now, Some(0), false) {
                plan.logged_in(why, Some(&old), now, 0);
            }
        }
        // The next one is minutes away.
        now += 10_000;
        assert_eq!(plan.step(now, Some(0), false), Step::Wait);
        assert_eq!(plan.step(now, Some(0), true), Step::Wait);
        assert!(plan.is_renewal_near(now));
        now += LEAST_BETWEEN_MS;
        assert_eq!(plan.step(now, Some(0), true), Step::LogIn(Why::Refused));
        plan.logged_in(Why::Refused, Some(&old), now, 0);
        // And where that gives the same one, which is refused, there is no storm.
        assert_eq!(plan.step(now + LEAST_BETWEEN_MS, Some(0), true), Step::Wait);
    }

    #[test]
    fn a_refused_password_is_not_tried_again_until_another_is_kept() {
        let ended = claims(NOW - HOUR_MS, NOW - 1000);
        let mut plan = Plan::new(Some(&ended), true, NOW);
        assert_eq!(plan.step(NOW, Some(0), false), Step::LogIn(Why::Ending));
        plan.bar();
        assert!(!plan.is_renewal_possible());
        assert_eq!(plan.step(NOW, Some(0), true), Step::Warn(-1000));
        for second in 0..10_000 {
            assert_eq!(plan.step(NOW + second * 1000, Some(0), true), Step::Wait);
        }
        plan.replaced(Some(&ended), true, NOW);
        assert_eq!(plan.step(NOW, Some(0), true), Step::LogIn(Why::Refused));
    }

    #[test]
    fn a_new_token_is_worth_waiting_for_where_it_comes_at_once_and_the_last_login_went_well() {
        let mut plan = Plan::new(None, true, NOW);
        assert!(plan.is_renewal_near(NOW));
        plan.logged_in(Why::Ending, None, NOW, 0);
        assert!(plan.is_renewal_near(NOW), "in two seconds");
        plan.not_known(NOW + 5000, None);
        assert!(!plan.is_renewal_near(NOW + 5000), "nobody knows when");
        let mut plan = Plan::new(None, true, NOW);
        plan.logged_in(Why::Refused, None, NOW, 0);
        plan.logged_in(Why::Refused, None, NOW, 0);
        assert!(!plan.is_renewal_near(NOW), "in five seconds or more");
        assert!(!Plan::new(None, false, NOW).is_renewal_near(NOW));
    }

    #[test]
    fn a_backend_that_does_not_answer_is_asked_ever_more_rarely() {
        let mut plan = Plan::new(None, true, NOW);
        let mut tries = 0;
        for second in 0..3600 {
            let now = NOW + second * 1000;
            if let Step::LogIn(_) = plan.step(now, Some(0), true) {
                tries += 1;
                plan.not_known(now, None);
            }
        }
        assert!((10..=32).contains(&tries), "{tries}");
        let wait = plan.not_known(NOW, Some(Duration::from_secs(400)));
        assert_eq!(wait, Duration::from_secs(400));
    }
}
