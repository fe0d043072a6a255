//! Looks at the accounts once in a second and tells what stands.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use qt_core::{OrderState, UtcMillis};
use tokio::time::{MissedTickBehavior, interval};

use super::conditions::{Conditions, News};
use super::told::Ledger;
use super::{Alert, Alerts, Kind};
use crate::backend::client::{Client, TokenTrouble};
use crate::clock::Clock;
use crate::config;
use crate::monitor::{self, Monitor, Watched};
use crate::system;

const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A hang is told where more than one look in a row found it.
const HANGS_TWICE: Duration = Duration::from_secs(1);
/// Asking for the free space is a call to the disk.
const DISK_EVERY: u32 = 30;
/// From this level on no signals are taken for want of a token.
pub(super) const NO_TOKEN: u64 = 3;
const HOUR_MS: i64 = 3_600_000;
/// So long new logins may take to give a token that is not refused.
const REFUSED_YET: Duration = Duration::from_secs(120);
const MIB: u64 = 1 << 20;

/// Looks until it is broken off.
pub(crate) async fn run(
    settings: config::Alerts,
    monitor: Monitor,
    client: Arc<Client>,
    alerts: Alerts,
    has_started: Arc<AtomicBool>,
) {
    let mut conditions = Conditions::new(settings.repeat_after);
    let begun_ms = Clock::system().now_ms();
    let ledger = Ledger::open(monitor.data_dir(), begun_ms);
    for told in ledger.told(begun_ms) {
        conditions.inherit(told, Clock::system().monotonic());
    }
    alerts.keep(ledger);
    let mut looks = interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for round in 0_u32.. {
        looks.tick().await;
        let clock = Clock::system();
        let (now, at_ms) = (clock.monotonic(), clock.now_ms());
        for (kind, account) in alerts.take_unheard() {
            conditions.was_not_told(kind, account.as_deref(), now);
        }
        let mut news = Vec::new();
        let trouble = client.token_trouble(at_ms);
        news.extend(token(trouble, client.remedy(), &mut conditions, now));
        for account in monitor.watched() {
            let sample = Sample::of(&account, now, at_ms);
            news.extend(sample.look(&settings, &mut conditions, now));
        }
        for (label, reason) in monitor.down() {
            news.extend(
                conditions.look(Kind::NotTraded, Some(&label), 1, Duration::ZERO, now, |_| {
                    format!(
                        "this account is not traded, and what is open at its broker is not watched: {reason}"
                    )
                }),
            );
        }
        news.extend(started(has_started.load(Ordering::Relaxed), &mut conditions, now));
        if round % DISK_EVERY == 0 {
            news.extend(disk(&settings, &monitor, &mut conditions, now));
        }
        for one in news {
            alerts.put(Alert {
                kind: one.kind,
                is_raised: one.is_raised,
                is_critical: one.is_critical,
                level: one.level,
                account: one.account,
                text: one.text,
                at_ms,
            });
        }
    }
}

/// A start before this one may have failed, which was told: once an account has started it is over.
fn started(has_started: bool, conditions: &mut Conditions, now: Instant) -> Option<News> {
    if !has_started {
        return None;
    }
    conditions.look(Kind::NotTraded, None, 0, Duration::ZERO, now, |_| {
        "the host has started, after one that had not".to_owned()
    })
}

/// The token, which is the host's: told again while it lasts, and when it is over.
fn token(trouble: TokenTrouble, remedy: &str, conditions: &mut Conditions, now: Instant) -> Option<News> {
    let after = match trouble {
        TokenTrouble::RefusedYet => REFUSED_YET,
        _ => Duration::ZERO,
    };
    let (level, what) = match trouble {
        TokenTrouble::None => (0, String::new()),
        TokenTrouble::EndsIn(left_ms) if left_ms > HOUR_MS => {
            (1, format!("the token ends in {} h", left_ms / HOUR_MS))
        }
        TokenTrouble::EndsIn(left_ms) => (2, format!("the token ends in {} min", left_ms / 60_000)),
        TokenTrouble::Ended => (NO_TOKEN, "the token has ended: no signals are taken".to_owned()),
        TokenTrouble::Refused => (
            NO_TOKEN + 1,
            "the backend refuses the token: no signals are taken, and reports wait".to_owned(),
        ),
        TokenTrouble::RefusedYet => (
            NO_TOKEN + 1,
            "the backend gives tokens to the login that is kept and refuses them: no signals are taken, and reports wait. Has \
             its user the right to fetch signals?"
                .to_owned(),
        ),
    };
    conditions.look(Kind::Token, None, level, after, now, |_| match level {
        0 => "the token is good again".to_owned(),
        _ => format!("{what}; {remedy}"),
    })
}

fn disk(
    settings: &config::Alerts,
    monitor: &Monitor,
    conditions: &mut Conditions,
    now: Instant,
) -> Option<News> {
    let folder = monitor.data_dir();
    let free = system::disk_free(&folder)? / MIB;
    let least = u64::from(settings.disk_low_mb);
    let level = u64::from(free < least);
    conditions.look(Kind::DiskLow, None, level, Duration::ZERO, now, |_| {
        format!(
            "{free} MiB are free at {} (at least {least} are wanted): without space no order is sent; free some",
            system::shown(&folder)
        )
    })
}

/// One account at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Sample {
    label: String,
    is_alive: bool,
    /// For how long the engine has made no turn, where it hangs.
    hangs_for: Option<Duration>,
    halted: Option<String>,
    is_connected: bool,
    why_not: String,
    in_session: bool,
    is_journal_failing: bool,
    unknown: u64,
    unknown_for: Duration,
    review: u64,
    dead_letters: u64,
    barrier_for: Duration,
    report_for: Duration,
    backend_trouble: Option<String>,
}

impl Sample {
    fn of(account: &Watched, now: Instant, at_ms: i64) -> Self {
        let counts = account.meters.counts();
        let status = account.status.borrow().clone();
        let lasts = |since_ms: i64| {
            let ms = if since_ms == 0 {
                0
            } else {
                at_ms.saturating_sub(since_ms)
            };
            Duration::from_millis(u64::try_from(ms).unwrap_or(0))
        };
        Self {
            label: account.meters.label().to_owned(),
            is_alive: account.status.has_changed().is_ok(),
            hangs_for: monitor::hangs(account, now),
            halted: status.halted,
            is_connected: status.connected,
            why_not: monitor::why(&account.seen.borrow()),
            in_session: account.sessions.are_open(UtcMillis(at_ms)),
            is_journal_failing: status.journal_failing,
            unknown: counts.of(OrderState::Unknown),
            unknown_for: lasts(counts.unknown_since_ms),
            review: counts.of(OrderState::Review),
            dead_letters: account.meters.dead_letters(),
            barrier_for: lasts(counts.barrier_since_ms),
            report_for: account.gauge.report_waits(now),
            backend_trouble: account.gauge.trouble().or_else(|| monitor::overdue(account, now)),
        }
    }

    fn look(&self, settings: &config::Alerts, conditions: &mut Conditions, now: Instant) -> Vec<News> {
        let at_once = Duration::ZERO;
        let mut all = Vec::new();
        let mut look = |kind, level: u64, after: Duration, text: &dyn Fn(u64) -> String| {
            let said = |lasted: Duration| text(lasted.as_secs());
            all.extend(conditions.look(kind, Some(&self.label), level, after, now, said));
        };
        let is_traded = self.is_alive && self.hangs_for.is_none();
        // A machine that slept wakes up before its engines do.
        let after = if self.is_alive { HANGS_TWICE } else { at_once };
        look(Kind::NotTraded, u64::from(!is_traded), after, &|_| {
            match (self.is_alive, self.hangs_for) {
                (false, _) => "the engine has ended by a fault of its own: nothing is sent, cancelled or reported until qt-host \
                               is started again"
                    .to_owned(),
                (true, Some(hangs_for)) => format!(
                    "the engine hangs, it has made no turn for {} s: nothing is sent, cancelled or reported for this account; if \
                     it does not go on, stop and start qt-host, which finds every order in the journal",
                    hangs_for.as_secs()
                ),
                (true, None) => "the account is traded again".to_owned(),
            }
        });
        let halted = self.halted.as_deref();
        look(
            Kind::Halt,
            u64::from(halted.is_some()),
            at_once,
            &|seconds| match halted {
                Some(reason) => {
                    format!("trading is halted ({reason}); `qt-host resume` lets orders go again")
                }
                None => format!("trading was halted for {seconds} s and goes on"),
            },
        );
        let is_down = self.is_alive && !self.is_connected && self.in_session;
        look(
            Kind::BrokerDown,
            u64::from(is_down),
            settings.broker_down_after,
            &|seconds| {
                if is_down {
                    format!(
                        "the broker has not been connected for {seconds} s{}",
                        self.why_not
                    )
                } else {
                    format!(
                        "the broker is connected again, or its market is closed; it was down for {seconds} s"
                    )
                }
            },
        );
        look(
            Kind::Journal,
            u64::from(self.is_journal_failing),
            at_once,
            &|seconds| {
                if self.is_journal_failing {
                    "the journal cannot be written: no new orders are sent; free some space or make it writable".to_owned()
                } else {
                    format!("the journal can be written again, after {seconds} s")
                }
            },
        );
        let is_long_unknown = self.unknown > 0 && self.unknown_for >= settings.unknown_after;
        let unknown = if is_long_unknown { self.unknown } else { 0 };
        look(Kind::Unknown, unknown, at_once, &|_| {
            if unknown == 0 {
                return "it is known again of every order whether the broker has it, or a person decides"
                    .to_owned();
            }
            let seconds = self.unknown_for.as_secs();
            format!(
                "of {unknown} order(s), the oldest for {seconds} s, it is not known whether the broker has them; look at the \
                 terminal, and see `qt-host orders`"
            )
        });
        look(Kind::Review, self.review, at_once, &|_| match self.review {
            0 => "no order waits for a person any more".to_owned(),
            count => format!("{count} order(s) wait for a person: see `qt-host orders --review`"),
        });
        look(Kind::DeadLetter, self.dead_letters, at_once, &|_| {
            let count = self.dead_letters;
            format!("the backend has refused {count} report(s) since the start: see `qt-host reports list`")
        });
        let waits = self.barrier_for > Duration::ZERO && self.barrier_for >= settings.barrier_after;
        look(Kind::SellBarrier, u64::from(waits), at_once, &|_| {
            let seconds = self.barrier_for.as_secs();
            if waits {
                format!("a purchase has waited for its plan's sales for {seconds} s: see `qt-host orders`")
            } else {
                "no purchase waits long for its plan's sales any more".to_owned()
            }
        });
        let is_late = self.report_for >= settings.reports_late_after;
        look(Kind::ReportsLate, u64::from(is_late), at_once, &|_| {
            let seconds = self.report_for.as_secs();
            if is_late {
                format!(
                    "a report has waited for {seconds} s to be posted: the backend does not know how this account's orders stand; \
                     see the log and `qt-host reports list`"
                )
            } else {
                "no report waits long to be posted any more".to_owned()
            }
        });
        let trouble = self.backend_trouble.as_deref();
        let level = u64::from(trouble.is_some());
        look(
            Kind::BackendDown,
            level,
            settings.backend_down_after,
            &|seconds| match trouble {
                Some(trouble) => format!("no signals for {seconds} s: {trouble}"),
                None => format!("the backend answers again, after {seconds} s"),
            },
        );
        all
    }
}

#[cfg(test)]
mod tests {
    use super::super::conditions::Told;
    use super::*;

    fn settings() -> config::Alerts {
        let sources = config::Sources::default();
        config::load(&sources, config::Purpose::Look)
            .unwrap()
            .config
            .alerts
    }

    fn well() -> Sample {
        Sample {
            label: "SA-1/****0001".to_owned(),
            is_alive: true,
            is_connected: true,
            in_session: true,
            ..Sample::default()
        }
    }

    /// What is told of a sample that has stood for a day, by its word.
    fn told(sample: &Sample) -> Vec<&'static str> {
        let (settings, now) = (settings(), Instant::now());
        let mut conditions = Conditions::new(settings.repeat_after);
        let first = sample.look(&settings, &mut conditions, now);
        let later = sample.look(&settings, &mut conditions, now + Duration::from_secs(86_400));
        let mut kinds: Vec<_> = first.iter().chain(&later).map(|news| news.kind.name()).collect();
        kinds.dedup();
        kinds.sort_unstable();
        kinds.dedup();
        kinds
    }

    #[test]
    fn an_account_that_is_well_is_not_told_of() {
        assert!(told(&well()).is_empty());
    }

    #[test]
    fn each_trouble_is_told_by_its_own_word() {
        let minute = Duration::from_secs(60);
        let table: [(Sample, &[&str]); 14] = [
            (
                Sample {
                    halted: Some("by hand".into()),
                    ..well()
                },
                &["halt"],
            ),
            (
                Sample {
                    unknown: 1,
                    unknown_for: minute,
                    ..well()
                },
                &["unknown"],
            ),
            // One that is new may be known in a moment.
            (
                Sample {
                    unknown: 1,
                    unknown_for: minute / 2,
                    ..well()
                },
                &[],
            ),
            (Sample { review: 2, ..well() }, &["review"]),
            (
                Sample {
                    dead_letters: 1,
                    ..well()
                },
                &["dead_letter"],
            ),
            (
                Sample {
                    is_connected: false,
                    ..well()
                },
                &["broker_down"],
            ),
            (
                Sample {
                    is_connected: false,
                    in_session: false,
                    ..well()
                },
                &[],
            ),
            (
                Sample {
                    is_journal_failing: true,
                    ..well()
                },
                &["journal"],
            ),
            (
                Sample {
                    is_alive: false,
                    is_connected: false,
                    ..well()
                },
                &["not_traded"],
            ),
            (
                Sample {
                    hangs_for: Some(minute / 4),
                    ..well()
                },
                &["not_traded"],
            ),
            (
                Sample {
                    barrier_for: minute * 10,
                    ..well()
                },
                &["sell_barrier"],
            ),
            // However it came about: no token, a backend that is unwell, a row that cannot be read.
            (
                Sample {
                    report_for: minute * 5,
                    ..well()
                },
                &["reports_late"],
            ),
            (
                Sample {
                    report_for: minute * 4,
                    ..well()
                },
                &[],
            ),
            (
                Sample {
                    backend_trouble: Some("no answer".into()),
                    ..well()
                },
                &["backend_down"],
            ),
        ];
        for (sample, expected) in table {
            assert_eq!(told(&sample), expected, "{sample:?}");
        }
    }

    /// A hang made `readyz` fail alone, and with several accounts nothing else noticed it.
    #[test]
    fn an_engine_that_hangs_is_told_as_critical_with_its_account_and_once_it_goes_on() {
        let (settings, begun) = (settings(), Instant::now());
        let mut conditions = Conditions::new(settings.repeat_after);
        let mut look = |second: u64, hangs: Option<u64>| {
            let sample = Sample {
                hangs_for: hangs.map(Duration::from_secs),
                ..well()
            };
            let news = sample.look(&settings, &mut conditions, begun + Duration::from_secs(second));
            news.into_iter().next()
        };
        assert_eq!(look(0, Some(16)), None, "the machine may have slept");
        let told = look(1, Some(17)).unwrap();
        assert_eq!(
            (told.kind, told.is_raised, told.is_critical),
            (Kind::NotTraded, true, true)
        );
        assert_eq!(told.account.as_deref(), Some("SA-1/****0001"));
        assert!(told.text.contains("no turn for 17 s"), "{}", told.text);
        let over = look(90, None).unwrap();
        assert!(!over.is_raised);
        assert_eq!(over.text, "the account is traded again");
    }

    #[test]
    fn the_token_is_told_again_while_it_lasts_and_when_it_is_good_again() {
        let now = Instant::now();
        let mut conditions = Conditions::new(Duration::from_secs(1800));
        let mut look = |minute: u64, trouble| {
            let now = now + Duration::from_secs(60 * minute);
            token(trouble, "run `qt-host login`", &mut conditions, now)
                .map(|news| (news.is_raised, news.is_critical, news.text))
        };
        // Once no signals are taken no warning may hold it back.
        let raised = |text: &str| {
            let is_critical = text.contains("no signals are taken");
            Some((true, is_critical, format!("{text}; run `qt-host login`")))
        };
        assert_eq!(look(0, TokenTrouble::None), None);
        assert_eq!(
            look(1, TokenTrouble::EndsIn(5 * HOUR_MS)),
            raised("the token ends in 5 h")
        );
        assert_eq!(look(2, TokenTrouble::EndsIn(5 * HOUR_MS - 60_000)), None);
        assert_eq!(
            look(3, TokenTrouble::EndsIn(HOUR_MS)),
            raised("the token ends in 60 min")
        );
        let refused = "the backend refuses the token: no signals are taken, and reports wait";
        assert_eq!(look(9, TokenTrouble::Refused), raised(refused));
        assert_eq!(look(30, TokenTrouble::Refused), None);
        assert_eq!(look(40, TokenTrouble::Refused), raised(refused));
        let over = Some((false, true, "the token is good again".to_owned()));
        assert_eq!(look(41, TokenTrouble::None), over);
    }

    /// Nobody was told as long as the logins themselves went well.
    #[test]
    fn a_token_that_is_refused_whatever_logins_give_is_told_after_two_minutes() {
        let now = Instant::now();
        let mut conditions = Conditions::new(Duration::from_secs(1800));
        let mut look = |second: u64, trouble| {
            let now = now + Duration::from_secs(second);
            token(trouble, "run `qt-host login`", &mut conditions, now)
                .map(|news| (news.is_raised, news.is_critical, news.text))
        };
        // One that a login puts right is nobody's trouble.
        assert_eq!(look(0, TokenTrouble::RefusedYet), None);
        assert_eq!(look(5, TokenTrouble::None), None);
        for second in [200, 260, 319] {
            assert_eq!(look(second, TokenTrouble::RefusedYet), None);
        }
        let (is_raised, is_critical, text) = look(320, TokenTrouble::RefusedYet).unwrap();
        assert!(is_raised && is_critical, "{text}");
        assert!(
            text.contains("no signals are taken") && text.contains("run `qt-host login`"),
            "{text}"
        );
        assert_eq!(look(321, TokenTrouble::RefusedYet), None);
        let over = Some((false, true, "the token is good again".to_owned()));
        assert_eq!(look(400, TokenTrouble::None), over);
    }

    /// A host that waited for its first account to start told that it had started, after a minute.
    #[test]
    fn a_host_is_told_to_have_started_once_an_account_has() {
        let begun = Instant::now();
        let mut conditions = Conditions::new(Duration::from_secs(1800));
        let told = Told {
            kind: Kind::NotTraded,
            account: None,
            stands: true,
            ago: Duration::from_secs(5),
            starts: 1,
            level: 1,
        };
        conditions.inherit(told, begun);
        let mut look = |second, has_started| {
            started(has_started, &mut conditions, begun + Duration::from_secs(second))
                .map(|news| news.is_raised)
        };
        assert!((0..300).all(|second| look(second, false).is_none()));
        assert!((300..360).all(|second| look(second, true).is_none()));
        assert_eq!(look(360, true), Some(false));
        assert_eq!(look(361, true), None);
    }

    #[test]
    fn the_end_of_a_trouble_is_told_with_how_long_it_was() {
        let (settings, now) = (settings(), Instant::now());
        let mut conditions = Conditions::new(settings.repeat_after);
        let halted = Sample {
            halted: Some("by hand".into()),
            ..well()
        };
        let raised = halted.look(&settings, &mut conditions, now);
        assert_eq!(raised.len(), 1);
        assert!(
            raised[0].is_raised && raised[0].text.contains("by hand"),
            "{raised:?}"
        );
        let over = well().look(&settings, &mut conditions, now + Duration::from_secs(5));
        assert_eq!(over.len(), 1);
        assert!(!over[0].is_raised && over[0].text.contains("for 5 s"), "{over:?}");
    }
}
