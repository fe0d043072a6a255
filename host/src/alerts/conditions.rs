//! What stands, for how long, and whether it is time to tell. Time is passed in.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::Kind;

/// What got worse, or came again after its end was told, is told again no sooner than this.
const WORSE_AFTER: Duration = Duration::from_secs(60);

/// Something about an account, or about the host.
type Key = (Kind, Option<String>);

/// What is told now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct News {
    pub(super) kind: Kind,
    pub(super) account: Option<String>,
    /// False where it is over.
    pub(super) is_raised: bool,
    pub(super) text: String,
}

#[derive(Debug)]
struct Standing {
    /// Since when it is so without a break.
    since: Option<Instant>,
    /// The level that was told, where somebody was told and it still stands.
    told: Option<u64>,
    told_at: Option<Instant>,
    /// When it is told again because nobody heard of it.
    retry_at: Option<Instant>,
}

/// Everything that is looked at again and again.
#[derive(Debug)]
pub(super) struct Conditions {
    repeat_after: Duration,
    all: BTreeMap<Key, Standing>,
}

impl Conditions {
    /// Conditions that are told again after this time while they last.
    pub(super) const fn new(repeat_after: Duration) -> Self {
        Self {
            repeat_after,
            all: BTreeMap::new(),
        }
    }

    /// Nobody heard of it: it is told again after a minute, if it still stands then.
    pub(super) fn was_not_told(&mut self, kind: Kind, account: Option<&str>, now: Instant) {
        let key = (kind, account.map(str::to_owned));
        if let Some(one) = self.all.get_mut(&key).filter(|one| one.told.is_some()) {
            one.retry_at = Some(now + WORSE_AFTER.min(self.repeat_after));
        }
    }

    /// Looks at one: `level` is 0 where all is well, and grows as it gets worse. It is told once it has stood for `after`.
    pub(super) fn look(
        &mut self,
        kind: Kind,
        account: Option<&str>,
        level: u64,
        after: Duration,
        now: Instant,
        text: impl FnOnce(Duration) -> String,
    ) -> Option<News> {
        let key = (kind, account.map(str::to_owned));
        if level == 0 && !self.all.contains_key(&key) {
            return None;
        }
        let repeat_after = self.repeat_after;
        let one = self.all.entry(key).or_insert(Standing {
            since: None,
            told: None,
            told_at: None,
            retry_at: None,
        });
        let news = |is_raised, text| {
            Some(News {
                kind,
                account: account.map(str::to_owned),
                is_raised,
                text,
            })
        };
        if level == 0 {
            // Whoever heard nothing of it need not hear that it is over.
            if one.retry_at.take().is_some() {
                (one.told, one.told_at) = (None, None);
            }
            let was_told = one.told.take().is_some();
            let lasted = one.since.take().map(|since| now.saturating_duration_since(since));
            if !was_told {
                return None;
            }
            // Whoever heard that it is over would take silence for being well.
            one.told_at = Some(now);
            return news(false, text(lasted.unwrap_or_default()));
        }
        let since = *one.since.get_or_insert(now);
        let lasted = now.saturating_duration_since(since);
        let quiet = one.told_at.map(|at| now.saturating_duration_since(at));
        let soon = repeat_after.min(WORSE_AFTER);
        let is_due = match one.told {
            None => lasted >= after && quiet.is_none_or(|quiet| quiet >= soon),
            Some(told) => {
                let wait = if level > told { soon } else { repeat_after };
                quiet.is_none_or(|quiet| quiet >= wait)
            }
        };
        if !is_due && one.retry_at.is_none_or(|at| now < at) {
            return None;
        }
        one.retry_at = None;
        one.told = Some(level);
        one.told_at = Some(now);
        news(true, text(lasted))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPEAT: Duration = Duration::from_secs(1800);

    /// What is told at each second of a story of (second, level).
    fn told(after: u64, story: &[(u64, u64)]) -> Vec<(u64, bool)> {
        let start = Instant::now();
        let mut conditions = Conditions::new(REPEAT);
        let after = Duration::from_secs(after);
        let look = |(second, level): &(u64, u64)| {
            let now = start + Duration::from_secs(*second);
            let news = conditions.look(Kind::BrokerDown, Some("a"), *level, after, now, |_| String::new());
            news.map(|news| (*second, news.is_raised))
        };
        story.iter().filter_map(look).collect()
    }

    #[test]
    fn what_is_well_is_not_told() {
        assert_eq!(told(0, &[(0, 0), (1, 0)]), []);
    }

    #[test]
    fn it_is_told_once_it_has_lasted_and_when_it_is_over() {
        let story = [(0, 1), (29, 1), (30, 1), (31, 1), (100, 0), (101, 0)];
        assert_eq!(told(30, &story), [(30, true), (100, false)]);
    }

    #[test]
    fn what_passes_before_its_time_is_never_told() {
        assert_eq!(told(30, &[(0, 1), (20, 0), (40, 1), (60, 0)]), []);
    }

    #[test]
    fn what_lasts_is_told_again_after_the_time() {
        let story = [(0, 1), (1799, 1), (1800, 1), (3599, 1), (3600, 1)];
        assert_eq!(told(0, &story), [(0, true), (1800, true), (3600, true)]);
    }

    #[test]
    fn what_nobody_heard_is_told_again_after_a_minute_and_its_end_is_not() {
        let start = Instant::now();
        let mut conditions = Conditions::new(REPEAT);
        let mut look = |second: u64, level, is_lost: bool| {
            let now = start + Duration::from_secs(second);
            let news = conditions.look(Kind::Journal, None, level, Duration::ZERO, now, |_| String::new());
            if is_lost {
                conditions.was_not_told(Kind::Journal, None, now);
            }
            news.map(|news| news.is_raised)
        };
        assert_eq!(look(0, 1, true), Some(true));
        assert_eq!(look(59, 1, false), None);
        assert_eq!(look(60, 1, true), Some(true));
        assert_eq!(look(100, 0, false), None, "nobody knew of it");
        assert_eq!(look(101, 1, false), Some(true));
        assert_eq!(look(170, 1, false), None);
        assert_eq!(look(171, 0, false), Some(false));
    }

    #[test]
    fn what_comes_and_goes_is_told_once_in_a_minute() {
        let story = [
            (0, 1),
            (10, 0),
            (20, 1),
            (30, 0),
            (60, 1),
            (65, 0),
            (80, 1),
            (81, 0),
        ];
        assert_eq!(told(0, &story), [(0, true), (10, false), (80, true), (81, false)]);
    }

    /// Down at 9:31, told to be over at 9:32, and down again at 9:35: nobody heard of that before 10:01.
    #[test]
    fn a_second_incident_after_the_first_was_told_to_be_over_is_told() {
        let story = [(0, 1), (60, 0), (240, 1), (269, 1), (270, 1), (400, 0)];
        assert_eq!(
            told(
                30,
                &[(0, 1), (30, 1), (60, 0), (240, 1), (269, 1), (270, 1), (400, 0)]
            ),
            [(30, true), (60, false), (270, true), (400, false)]
        );
        assert_eq!(
            told(0, &story),
            [(0, true), (60, false), (240, true), (400, false)]
        );
    }

    #[test]
    fn what_gets_worse_is_told_again_and_not_more_often_than_once_a_minute() {
        let story = [
            (0, 1),
            (10, 2),
            (59, 3),
            (60, 3),
            (61, 4),
            (120, 4),
            (200, 4),
            (300, 2),
        ];
        assert_eq!(told(0, &story), [(0, true), (60, true), (120, true)]);
    }

    #[test]
    fn accounts_and_kinds_are_told_apart() {
        let now = Instant::now();
        let mut conditions = Conditions::new(REPEAT);
        let mut raise = |kind, account| {
            conditions
                .look(kind, account, 1, Duration::ZERO, now, |_| String::new())
                .is_some()
        };
        assert!(
            raise(Kind::Halt, Some("a")) && raise(Kind::Halt, Some("b")) && raise(Kind::Review, Some("a"))
        );
        assert!(raise(Kind::Halt, None) && !raise(Kind::Halt, Some("a")));
    }
}
