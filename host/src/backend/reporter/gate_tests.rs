//! When the gate closes and what opens it.

use super::*;

fn about(order: &str, probe: bool, everything: bool) -> Failure<'_> {
    Failure {
        order,
        probe,
        everything,
        asked: None,
        fixed: None,
    }
}

#[test]
fn one_order_that_always_fails_never_closes_it() {
    let now = Instant::now();
    let mut gate = Gate::new();
    for _ in 0..50 {
        assert!(!gate.failed(about("poison", false, false), now));
        assert!(!gate.failed(about("other", false, false), now));
        assert!(gate.is_open());
        assert!(!gate.succeeded());
    }
}

#[test]
fn three_orders_in_a_row_close_it() {
    let now = Instant::now();
    let mut gate = Gate::new();
    assert!(!gate.failed(about("a", false, false), now));
    assert!(!gate.failed(about("b", false, false), now));
    assert!(gate.failed(about("c", false, false), now));
    assert!(!gate.admits(now));
}

#[test]
fn a_dead_backend_gets_one_probe_at_a_time_and_waits_grow() {
    let mut now = Instant::now();
    let mut gate = Gate::new();
    assert!(gate.failed(about("a", false, true), now));
    // The others that were out make no difference.
    let first = gate.next_probe().unwrap();
    for order in ["b", "c", "d"] {
        assert!(!gate.failed(about(order, false, true), now));
    }
    assert_eq!(gate.next_probe(), Some(first));
    let mut longest = Duration::ZERO;
    for _ in 0..12 {
        now = gate.next_probe().unwrap();
        assert!(gate.admits(now));
        assert!(gate.starts());
        assert!(!gate.admits(now + LONGEST_WAIT), "a second probe");
        assert!(!gate.failed(about("a", true, true), now));
        longest = longest.max(gate.next_probe().unwrap() - now);
    }
    assert!(
        longest > LONGEST_WAIT / 2 && longest <= LONGEST_WAIT,
        "{longest:?}"
    );
    assert!(gate.succeeded());
    assert!(gate.is_open() && gate.admits(now) && !gate.starts());
}

#[test]
fn what_the_backend_asks_for_is_honoured() {
    let now = Instant::now();
    let mut gate = Gate::new();
    let asked = Some(Duration::from_secs(7));
    gate.failed(
        Failure {
            asked,
            ..about("a", false, true)
        },
        now,
    );
    assert_eq!(gate.next_probe(), Some(now + Duration::from_secs(7)));
    // One that was out at the same time asks for more.
    gate.failed(
        Failure {
            asked: Some(Duration::from_secs(9)),
            ..about("b", false, true)
        },
        now,
    );
    assert_eq!(gate.next_probe(), Some(now + Duration::from_secs(9)));
    gate.probe_now(now);
    assert!(gate.admits(now));
    let fixed = Some(Duration::from_secs(30));
    gate.starts();
    gate.failed(
        Failure {
            fixed,
            ..about("a", true, true)
        },
        now,
    );
    assert_eq!(gate.next_probe(), Some(now + Duration::from_secs(30)));
}

/// After some probes that failed by chance reports waited up to a minute, though the backend took everything else.
#[test]
fn a_long_wait_is_cut_short_where_the_backend_answers_others() {
    let mut now = Instant::now();
    let mut gate = Gate::new();
    gate.failed(about("a", false, true), now);
    for _ in 0..10 {
        now = gate.next_probe().unwrap();
        gate.starts();
        gate.failed(about("a", true, true), now);
    }
    assert!(gate.next_probe().unwrap() - now >= LONGEST_WAIT / 2);
    gate.others_are_answered();
    assert_eq!(gate.next_probe(), Some(now + WHERE_OTHERS_ARE_ANSWERED));
    // While the probe is out there is nothing to cut short, and what the backend asks for stays.
    now = gate.next_probe().unwrap();
    gate.starts();
    gate.others_are_answered();
    assert!(!gate.admits(now + LONGEST_WAIT));
    let asked = Some(Duration::from_secs(90));
    gate.failed(
        Failure {
            asked,
            ..about("a", true, true)
        },
        now,
    );
    gate.others_are_answered();
    assert_eq!(gate.next_probe(), Some(now + Duration::from_secs(90)));
}

/// A token that is refused for posts alone was tried anew every second, for the backend answered the questions for signals.
#[test]
fn a_fixed_wait_is_not_cut_short_where_the_backend_answers_others() {
    let now = Instant::now();
    let refused = |order, probe| Failure {
        fixed: Some(Duration::from_secs(30)),
        ..about(order, probe, true)
    };
    let mut gate = Gate::new();
    gate.failed(refused("a", false), now);
    gate.others_are_answered();
    assert_eq!(gate.next_probe(), Some(now + Duration::from_secs(30)));
    // One of the posts that were out as it closed for something else is what meets the refusal.
    let mut gate = Gate::new();
    gate.failed(about("a", false, true), now);
    gate.failed(refused("b", false), now);
    gate.others_are_answered();
    assert_eq!(gate.next_probe(), Some(now + Duration::from_secs(30)));
}
