//! Every misbehaviour that the hostile plugin knows, in both lanes, each with what comes of it: a table that a new one cannot
//! be left out of. What the broker truly did is in its own ledger.

use qt_test_support::{Backend, Desk, Host, judge, wait_until};
use serde_json::{Value, json};

use super::{assert_true_to_the_ledger, hostile, settle, signals};

/// Where the misbehaviours are named.
const SOURCE: &str = include_str!("../../../hostile-plugin/src/misbehaviour.rs");
const CONFORMANCE: &str = include_str!("../conformance.rs");
/// Where a fault has a test of its own.
const TESTS: [&str; 7] = [
    include_str!("../lanes.rs"),
    include_str!("../accounts/main.rs"),
    include_str!("../upgrade/main.rs"),
    include_str!("../upgrade/installed.rs"),
    CONFORMANCE,
    include_str!("services.rs"),
    include_str!("../gates_figures.rs"),
];
/// Signals of a round.
const SIGNALS: usize = 6;

/// What comes of a misbehaviour.
#[derive(Clone, Copy, Debug)]
enum Verdict {
    /// The kit puts the plugin to cases of its own and names what it does wrong: a part of its matrix has it.
    Kit,
    /// Every order is executed once and reported as the ledger has it, by the same host.
    Through,
    /// The process ends with it; the next host comes through.
    Dies,
    /// Nothing is sent any more, which is told; the next host comes through.
    Stops,
    /// A lie that the host sees through and tells of by this code; nothing is reported that did not happen.
    Told(&'static str),
    /// A lie of which nothing tells the host: this is what the ledger then holds against it.
    CannotKnow(&'static str),
    /// A test of its own judges it.
    By(&'static str),
    /// It is not tried, and why.
    Not(&'static str),
}

use Verdict::{By, CannotKnow, Dies, Kit, Not, Stops, Through, Told};

/// A misbehaviour, and what comes of it in a worker and in the host's process.
const TABLE: &[(&str, Verdict, Verdict)] = &[
    (
        "panic-in-place",
        By("worker_panics"),
        By("panics_and_babble_in_process"),
    ),
    (
        "panic-after-accepting",
        By("worker_panics"),
        By("panics_and_babble_in_process"),
    ),
    (
        "panic-in-control",
        By("worker_panics"),
        By("panics_and_babble_in_process"),
    ),
    (
        "panic-in-open",
        By("a_plugin_that_cannot_open_ends_the_start_and_not_the_machine"),
        By("an_upgrade_that_fails_brings_the_old_version_back"),
    ),
    (
        "panic-in-connection",
        By("worker_panics"),
        By("panics_and_babble_in_process"),
    ),
    (
        "panic-in-drop",
        Not("a worker is ended without its plugin being freed"),
        By("a_version_that_panics_as_it_is_freed_makes_room"),
    ),
    ("segfault-in-place", By("worker_crashes"), Dies),
    (
        "segfault-in-open",
        By("a_plugin_that_cannot_open_ends_the_start_and_not_the_machine"),
        Dies,
    ),
    ("abort-in-place", By("worker_crashes"), Dies),
    ("exit-in-place", By("worker_crashes"), Dies),
    ("stack-overflow-in-place", By("worker_crashes"), Dies),
    ("die-after-accepting", By("worker_crashes"), Dies),
    ("die-in-control", By("worker_crashes"), Dies),
    ("die-from-a-thread", Through, Dies),
    (
        "hang-in-place",
        By("worker_hangs"),
        By("a_hang_in_process_stops_trading_and_says_so"),
    ),
    (
        "hang-after-accepting",
        By("worker_hangs"),
        By("a_hang_in_process_stops_trading_and_says_so"),
    ),
    ("hang-in-control", By("worker_hangs"), Stops),
    (
        "fails-in-control",
        By("an_upgrade_that_never_compares_the_books_goes_back"),
        By("an_upgrade_that_never_compares_the_books_goes_back"),
    ),
    (
        "hang-in-open",
        By("a_broker_that_is_away_at_the_start_is_waited_for"),
        By("a_plugin_that_hangs_as_it_opens_in_this_process_ends_the_start"),
    ),
    (
        "slow-open",
        By("an_account_that_is_still_opening_when_the_host_stops_ends_like_the_others"),
        By("an_account_that_is_still_opening_when_the_host_stops_ends_like_the_others"),
    ),
    (
        "away-in-open",
        By("a_broker_that_is_away_at_the_start_is_waited_for"),
        By("a_broker_that_is_away_at_the_start_is_waited_for"),
    ),
    (
        "away-in-connection",
        By("an_upgrade_while_the_broker_is_away_stays"),
        By("an_upgrade_while_the_broker_is_away_stays"),
    ),
    (
        "hides-holdings",
        By("orders_wait_while_the_broker_gives_no_figures"),
        By("orders_wait_while_the_broker_gives_no_figures"),
    ),
    ("hang-in-close", By("worker_hangs"), Through),
    (
        "hang-in-exit",
        By("the_worker_of_a_killed_host_goes_and_the_next_host_trades_on"),
        Through,
    ),
    (
        "leaves-a-helper",
        By("what_a_killed_hosts_worker_started_does_not_outlive_it"),
        Not("what a plugin starts in the host's own process is for its author to end"),
    ),
    ("spin-in-place", By("worker_hangs"), Stops),
    ("slow", By("worker_hangs"), By("panics_and_babble_in_process")),
    (
        "talks",
        By("a_plugin_is_offered_the_same_in_either_lane"),
        By("a_plugin_is_offered_the_same_in_either_lane"),
    ),
    (
        "leak",
        By("a_leak_ends_at_the_workers_limit"),
        Not("in this process there is no limit but the machine's"),
    ),
    (
        "garbage-on-stdout",
        By("worker_babble_and_events"),
        By("panics_and_babble_in_process"),
    ),
    ("reject-accepted", Through, Through),
    ("reject-unknown", Through, Through),
    ("accept-nothing", Told("ORDER_MISSING"), Told("ORDER_MISSING")),
    ("nameless-acceptance", By("worker_babble_and_events"), Through),
    (
        "places-twice",
        CannotKnow("filled in the ledger and 0 reported"),
        CannotKnow("filled in the ledger and 0 reported"),
    ),
    (
        "drops-events",
        By("worker_babble_and_events"),
        By("panics_and_babble_in_process"),
    ),
    (
        "duplicate-events",
        By("worker_babble_and_events"),
        By("panics_and_babble_in_process"),
    ),
    (
        "late-events",
        By("worker_babble_and_events"),
        By("panics_and_babble_in_process"),
    ),
    ("duplicate-trade-ids", Through, Through),
    ("half-snapshots", Through, Through),
    ("shrinking-fills", Through, Through),
    ("wrong-client-order-id", Through, Through),
    ("cut-client-order-id", Through, Through),
    ("answers-after-close", Kit, Kit),
    ("ignores-mistakes", Kit, Kit),
    ("overstates-cash", Kit, Kit),
    ("overstates-holdings", Kit, Kit),
    ("sells-today", Kit, Kit),
    ("float-money", Kit, Kit),
    ("silent-rejection", Kit, Kit),
    ("repeats-orders", Kit, Kit),
    ("cancels-nothing", Kit, Kit),
    ("hides-raced-fills", Through, Through),
    ("ignores-not-after", Kit, Kit),
    ("writes-elsewhere", Kit, Kit),
    ("tells-account", Kit, Kit),
    ("leaks-handles", Kit, Kit),
    (
        "unpriced-holdings",
        By("prices_that_holdings_lack_come_from_quotes"),
        By("prices_that_holdings_lack_come_from_quotes"),
    ),
    ("zero-quotes", Kit, Kit),
    ("skips-trades", Kit, Kit),
    (
        "panic-in-quotes",
        By("prices_that_holdings_lack_come_from_quotes"),
        By("prices_that_holdings_lack_come_from_quotes"),
    ),
];

/// The names in the plugin's source.
fn known() -> Vec<&'static str> {
    let table = SOURCE
        .split("kinds! {")
        .nth(1)
        .unwrap()
        .split("\n}")
        .next()
        .unwrap();
    table.lines().filter_map(|line| line.split('"').nth(1)).collect()
}

#[test]
fn every_misbehaviour_has_its_verdict_in_either_lane() {
    let mut judged: Vec<&str> = TABLE.iter().map(|(kind, ..)| *kind).collect();
    let mut known = known();
    assert!(known.len() > 50, "{known:?}");
    judged.sort_unstable();
    known.sort_unstable();
    assert_eq!(judged, known);
    for (kind, worker, in_process) in TABLE {
        for verdict in [worker, in_process] {
            match verdict {
                By(test) => {
                    let body = body_of(test).unwrap_or_else(|| panic!("{kind}: there is no test {test}"));
                    assert!(body.contains(&format!("\"{kind}\"")), "{kind} is not in {test}");
                }
                Kit => {
                    let parts = CONFORMANCE.split("fn matrix_").skip(1);
                    let mut bodies = parts.filter_map(|part| part.split_once("\n}\n"));
                    let named = format!("\"{kind}\"");
                    assert!(
                        bodies.any(|(body, _)| body.contains(&named)),
                        "{kind} is in no part of the kit's matrix"
                    );
                }
                Not(why) => println!("{kind} is not tried in one lane: {why}"),
                Through | Dies | Stops | Told(_) | CannotKnow(_) => {}
            }
        }
    }
}

/// What a test of its own does.
fn body_of(test: &str) -> Option<&'static str> {
    let begin = format!("fn {test}(");
    let rest = TESTS.iter().find_map(|text| text.split_once(&begin))?.1;
    rest.split_once("\n}\n").map(|(body, _)| body)
}

/// How the plugin misbehaves so that the verdict can be seen: what ends something does so once or twice, a lie goes on.
fn how(kind: &str, verdict: Verdict) -> Value {
    match verdict {
        Dies | Stops => json!({ "misbehaviour": kind, "ms": 400, "at_most": 1 }),
        Through if kind.starts_with("die-") || kind.starts_with("hang-") => {
            json!({ "misbehaviour": kind, "ms": 400, "at_most": 2 })
        }
        _ => json!({ "misbehaviour": kind }),
    }
}

fn comes_to(verdict: Verdict, kind: &str, lane: &str) {
    if matches!(verdict, By(_) | Kit | Not(_)) {
        return;
    }
    let case = format!("{kind} in the lane {lane}");
    let backend = Backend::start();
    let desk = Desk::new(&backend, &json!({}));
    desk.configure(&backend, &hostile(&desk, lane, &how(kind, verdict)));
    backend.add(&signals(0, SIGNALS));
    let mut host = desk.host("");
    let ends = |host: Host| assert_eq!(host.stop(), Some(0), "{case}: {}", desk.log());
    match verdict {
        Through => {
            settle(&backend, &desk, &mut host, SIGNALS, &case);
            ends(host);
        }
        Dies => {
            wait_until(&format!("{case} ends the process"), || host.has_ended());
            host = desk.host("");
            settle(&backend, &desk, &mut host, SIGNALS, &case);
            ends(host);
        }
        Stops => {
            wait_until(&format!("{case} is told; log: {}", desk.log()), || {
                desk.log()
                    .contains("the broker is not connected: the plugin does not answer")
            });
            host.kill();
            host = desk.host("");
            settle(&backend, &desk, &mut host, SIGNALS, &case);
            ends(host);
        }
        Told(code) => {
            wait_until(&format!("{case} is told; log: {}", desk.log()), || {
                assert!(!host.has_ended(), "{case}: {}", desk.log());
                desk.log().contains(code)
            });
            ends(host);
        }
        CannotKnow(fault) => {
            settle(&backend, &desk, &mut host, SIGNALS, &case);
            ends(host);
            let faults = judge(&desk.ledger(), &backend.state()).faults;
            assert!(!faults.is_empty(), "{case}: it came to nothing");
            assert!(
                faults.iter().all(|found| found.contains(fault)),
                "{case}: {faults:#?}"
            );
            println!("{lane:<10} {kind:<24} the host cannot know it: {}", faults[0]);
            return;
        }
        By(_) | Kit | Not(_) => unreachable!("it is tried elsewhere"),
    }
    assert_true_to_the_ledger(&backend, &desk, &case);
    println!("{lane:<10} {kind:<24} {verdict:?}");
}

/// Each, whatever became of those before it.
fn all_come_to(lane: &str, those: impl Iterator<Item = (&'static str, Verdict)>) {
    let failed: Vec<&str> = those
        .filter(|(kind, verdict)| std::panic::catch_unwind(|| comes_to(*verdict, kind, lane)).is_err())
        .map(|(kind, _)| kind)
        .collect();
    assert!(failed.is_empty(), "in the lane {lane}: {failed:?}");
}

#[test]
fn misbehaviours_in_a_worker_come_to_their_verdicts() {
    all_come_to("worker", TABLE.iter().map(|(kind, verdict, _)| (*kind, *verdict)));
}

#[test]
fn misbehaviours_in_process_come_to_their_verdicts() {
    let those = TABLE
        .iter()
        .filter(|(_, _, verdict)| !matches!(verdict, Dies | Stops));
    all_come_to("in-process", those.map(|(kind, _, verdict)| (*kind, *verdict)));
}

#[test]
fn misbehaviours_that_end_a_host_in_process_are_made_good_by_the_next_one() {
    // Under Wine 8 the process goes on.
    let is_tried = |kind: &str| !(cfg!(windows) && kind == "stack-overflow-in-place");
    let those = TABLE
        .iter()
        .filter(|(kind, _, verdict)| matches!(verdict, Dies | Stops) && is_tried(kind));
    all_come_to("in-process", those.map(|(kind, _, verdict)| (*kind, *verdict)));
}
