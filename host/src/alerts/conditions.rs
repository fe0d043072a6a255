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
    /// It has got so bad, or was so bad when it was told last.
    pub(super) is_critical: bool,
    /// How bad it is; where it is over, how bad it was when it was told last.
    pub(super) level: u64,
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
    /// It is not told anew sooner than this after it was told.
    anew_after: Duration,
    /// A process before this one told it, and not that it is over.
    is_inherited: bool,
    /// How bad it was when this process or one before it told it last.
    level: u64,
    /// Since when all is well, where that is so.
    well_since: Option<Instant>,
}

/// What a process before this one told.
#[derive(Debug, Clone)]
pub(super) struct Told {
    pub(super) kind: Kind,
    pub(super) account: Option<String>,
    /// It was not told to be over.
    pub(super) stands: bool,
    /// How long ago.
    pub(super) ago: Duration,
    /// How many processes in a row have told it.
    pub(super) starts: u32,
    /// How bad it was.
    pub(super) level: u64,
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

    /// Takes over what a process before this one told. With each start that tells it again it is told more rarely: whatever
    /// keeps a host alive that dies at once would have it told at every start. That is over with a process in which it was told,
    /// or all was well for a minute.
    pub(super) fn inherit(&mut self, told: Told, now: Instant) {
        let doublings = told.starts.saturating_sub(1).min(16);
        let one = Standing {
            since: None,
            told: None,
            told_at: Some(crate::clock::longest_before(now, told.ago)),
            retry_at: None,
            anew_after: WORSE_AFTER.saturating_mul(1 << doublings).min(self.repeat_after),
            is_inherited: told.stands,
            level: told.level,
            well_since: None,
        };
        self.all.insert((told.kind, told.account), one);
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
            anew_after: repeat_after.min(WORSE_AFTER),
            is_inherited: false,
            level: 0,
            well_since: None,
        });
        let was_at = one
            .told
            .or_else(|| one.is_inherited.then_some(one.level))
            .unwrap_or(0);
        let told_level = if level == 0 { one.level } else { level };
        let soon = repeat_after.min(WORSE_AFTER);
        let news = |is_raised, text| {
            Some(News {
                kind,
                account: account.map(str::to_owned),
                is_raised,
                is_critical: kind.is_critical(level.max(was_at)),
                level: told_level,
                text,
            })
        };
        if level == 0 {
            let well_since = *one.well_since.get_or_insert(now);
            // A process that has just begun may be about to end as the one before it did.
            let is_well = now.saturating_duration_since(well_since) >= WORSE_AFTER;
            if is_well {
                one.anew_after = soon;
            }
            if one.is_inherited {
                if !is_well {
                    return None;
                }
                let lasted = one.told_at.map(|at| now.saturating_duration_since(at));
                one.is_inherited = false;
                one.told_at = Some(now);
                return news(false, text(lasted.unwrap_or_default()));
            }
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
        one.well_since = None;
        let since = *one.since.get_or_insert(now);
        let lasted = now.saturating_duration_since(since);
        let quiet = one.told_at.map(|at| now.saturating_duration_since(at));
        let is_due = match one.told {
            None => {
                let wait = if level > one.level { soon } else { one.anew_after };
                lasted >= after && quiet.is_none_or(|quiet| quiet >= wait)
            }
            Some(told) => {
                let wait = if level > told { soon } else { repeat_after };
                quiet.is_none_or(|quiet| quiet >= wait)
            }
        };
        if !is_due && one.retry_at.is_none_or(|at| now < at) {
            return None;
        }
        one.retry_at = None;
        one.is_inherited = false;
        one.anew_after = soon;
        one.level = level;
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

    /// A host that died after each start had its one critical alert told at every one of them.
    #[test]
    fn what_each_start_finds_anew_is_told_more_and_more_rarely() {
        let begun = Instant::now();
        let mut last: Option<Told> = None;
        let mut said = Vec::new();
        // Each process lives for ten seconds, and its engine dies after five.
        for second in (0..7200).step_by(10) {
            let at = |second: u64| begun + Duration::from_secs(second);
            let mut conditions = Conditions::new(REPEAT);
            if let Some(told) = &last {
                conditions.inherit(
                    Told {
                        ago: at(second).duration_since(begun) - told.ago,
                        ..told.clone()
                    },
                    at(second),
                );
            }
            for now in second..second + 10 {
                let level = u64::from(now >= second + 5);
                let news =
                    conditions.look(Kind::NotTraded, Some("a"), level, Duration::ZERO, at(now), |_| {
                        String::new()
                    });
                if let Some(news) = news {
                    said.push((now, news.is_raised));
                    last = Some(Told {
                        kind: Kind::NotTraded,
                        account: Some("a".to_owned()),
                        stands: news.is_raised,
                        // When, until the next process asks how long ago that is.
                        ago: Duration::from_secs(now),
                        starts: last.as_ref().map_or(1, |told| told.starts + 1),
                        level: news.level,
                    });
                }
            }
        }
        let raised: Vec<u64> = said.iter().map(|(at, _)| *at).collect();
        assert_eq!(raised, [5, 65, 185, 425, 905, 1865, 3665, 5465]);
        assert!(said.iter().all(|(_, is_raised)| *is_raised), "{said:?}");
    }

    #[test]
    fn what_a_process_before_told_is_told_to_be_over_once_all_was_well_for_a_minute() {
        let now = Instant::now();
        let mut conditions = Conditions::new(REPEAT);
        let told = Told {
            kind: Kind::Halt,
            account: None,
            stands: true,
            ago: Duration::from_secs(30),
            starts: 1,
            level: 1,
        };
        conditions.inherit(told, now);
        let mut look = |second, level| {
            let now = now + Duration::from_secs(second);
            let news = conditions.look(Kind::Halt, None, level, Duration::ZERO, now, |lasted| {
                lasted.as_secs().to_string()
            });
            news.map(|news| (news.is_raised, news.text))
        };
        assert_eq!(look(0, 0), None);
        assert_eq!(look(20, 1), None, "it was told less than a minute ago");
        assert_eq!(look(25, 0), None);
        assert_eq!(look(84, 0), None);
        assert_eq!(look(85, 0), Some((false, "115".to_owned())));
        assert_eq!(look(86, 0), None);
    }

    /// What is told at each second of a story of (second, level), by a process that begins with a back-off of half an hour.
    fn told_after_many_starts(stands: bool, story: &[(u64, u64)]) -> Vec<(u64, bool)> {
        let start = Instant::now();
        let mut conditions = Conditions::new(REPEAT);
        let told = Told {
            kind: Kind::Unknown,
            account: None,
            stands,
            ago: Duration::from_secs(10),
            starts: 9,
            level: 1,
        };
        conditions.inherit(told, start);
        let look = |(second, level): &(u64, u64)| {
            let now = start + Duration::from_secs(*second);
            let news = conditions.look(Kind::Unknown, None, *level, Duration::ZERO, now, |_| {
                String::new()
            });
            news.map(|news| (*second, news.is_raised))
        };
        story.iter().filter_map(look).collect()
    }

    /// After nine starts that failed a host that was well told each new trouble half an hour late, for as long as it lived.
    #[test]
    fn a_back_off_of_processes_before_ends_in_one_that_is_well_for_a_minute() {
        let story = [(0, 0), (59, 0), (60, 0), (90, 1), (120, 1)];
        assert_eq!(told_after_many_starts(true, &story), [(60, false), (120, true)]);
        assert_eq!(told_after_many_starts(false, &story), [(90, true)]);
        let not_well = [(0, 0), (30, 1), (40, 0), (95, 1), (1789, 1), (1790, 1)];
        assert_eq!(told_after_many_starts(true, &not_well), [(1790, true)]);
    }

    #[test]
    fn a_back_off_of_processes_before_ends_once_it_was_told() {
        let story = [(0, 1), (1790, 1), (1800, 0), (1820, 1), (1860, 1)];
        assert_eq!(
            told_after_many_starts(true, &story),
            [(1790, true), (1800, false), (1860, true)]
        );
    }

    #[test]
    fn what_is_worse_than_a_process_before_told_breaks_through_its_back_off() {
        let story = [(0, 2), (49, 2), (50, 2), (60, 2)];
        assert_eq!(told_after_many_starts(true, &story), [(50, true)]);
        assert_eq!(told_after_many_starts(true, &[(0, 1), (50, 1), (60, 1)]), []);
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
