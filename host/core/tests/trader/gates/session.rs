//! Orders go in sessions, rest in sessions, and end with their day.

use qt_core::{Effect, Event, Gates, OrderState, TradingSessions};

use super::{d, desk, see, verdict, with};
use crate::support::{Desk, MORNING, SECOND, buy, sell, submitted};

#[test]
fn a_session_is_waited_for_or_insisted_on() {
    for (gates, expected) in [
        (
            Gates {
                sessions: TradingSessions::CnA,
                ..Gates::default()
            },
            "DEFERRED OUTSIDE_SESSION",
        ),
        (
            Gates {
                sessions: TradingSessions::CnA,
                reject_outside_session: true,
                ..Gates::default()
            },
            "DENIED OUTSIDE_SESSION",
        ),
    ] {
        let mut desk = desk(gates);
        assert_eq!(verdict(&mut desk, buy("S1", 100)), "sent");
        // 11:30, and lunch until 13:00.
        desk.now = MORNING.plus_ms(90 * 60 * SECOND);
        assert_eq!(verdict(&mut desk, buy("S2", 100)), expected);
        desk.pass(89 * 60 * SECOND);
        assert_eq!(desk.state("S2").to_string(), expected.split(' ').next().unwrap());
        desk.pass(60 * SECOND);
        let after = if expected.starts_with("DENIED") {
            OrderState::Denied
        } else {
            OrderState::Submitting
        };
        assert_eq!(desk.state("S2"), after);
        // 15:10 is for orders at the closing price alone.
        desk.now = MORNING.plus_ms(310 * 60 * SECOND);
        assert_eq!(verdict(&mut desk, buy("S3", 100)), expected);
        if expected.starts_with("DEFERRED") {
            assert_eq!(
                desk.order("S3").reason.as_deref(),
                Some("waits for the session of 000858.SZ that begins at 2026-11-25 09:15")
            );
        }
    }
    let ten = 10 * 3_600_000;
    let windows = TradingSessions::Windows(vec![(ten, ten + 60_000)]);
    let mut desk = desk(Gates {
        sessions: windows,
        ..Gates::default()
    });
    assert_eq!(verdict(&mut desk, buy("S1", 100)), "sent");
    desk.now = MORNING.plus_ms(60 * SECOND);
    assert_eq!(verdict(&mut desk, buy("S2", 100)), "DEFERRED OUTSIDE_SESSION");
    // 2026-11-21 is a Saturday.
    desk.now = MORNING;
    let mut weekend = Desk::open();
    weekend.settings.gates = desk.settings.gates.clone();
    weekend.now = MORNING.plus_ms(4 * 86_400_000);
    weekend.restart();
    weekend.take(Event::Connection {
        up: true,
        reason: String::new(),
    });
    weekend.reconcile();
    assert_eq!(verdict(&mut weekend, buy("S3", 100)), "DEFERRED OUTSIDE_SESSION");
    assert!(
        weekend
            .order("S3")
            .reason
            .as_deref()
            .unwrap()
            .contains("2026-11-30 10:00")
    );
}

/// A terminal that is restarted at night once looked like an emergency in the log.
#[test]
fn a_broker_that_leaves_is_an_alarm_in_a_session_alone() {
    let leaves = |desk: &mut Desk| {
        desk.take(Event::Connection {
            up: false,
            reason: "the terminal is restarted".into(),
        })
    };
    for (at, is_open) in [
        (MORNING, true),
        (MORNING.plus_ms(100 * 60 * SECOND), false),
        (MORNING.plus_ms(10 * 3_600 * SECOND), false),
        (MORNING.plus_ms(4 * DAY), false),
    ] {
        let mut desk = desk(cn_a());
        desk.now = at;
        let told = leaves(&mut desk);
        let [told] = &*told else { panic!("{told:?}") };
        match told {
            Effect::Alarm(alarm) => assert_eq!((alarm.code, is_open), ("BROKER_DOWN", true)),
            Effect::Note(note) => assert_eq!((note.code, is_open), ("BROKER_DOWN", false)),
            other => panic!("{other:?}"),
        }
    }
    // Where every hour is one of trading, so is the night.
    let mut always = desk(Gates::default());
    always.now = MORNING.plus_ms(10 * 3_600 * SECOND);
    leaves(&mut always);
    assert_eq!(always.alarms, ["BROKER_DOWN"]);
}

/// It left at night, which was a note, and the log had nothing more of it when the day's trading began without it.
#[test]
fn a_broker_that_left_at_night_and_is_away_at_the_open_is_an_alarm_once() {
    let connection = |desk: &mut Desk, up| {
        let reason = if up { "" } else { "the terminal is restarted" };
        desk.take(Event::Connection {
            up,
            reason: reason.into(),
        })
    };
    let mut desk = desk(cn_a());
    desk.now = MORNING.plus_ms(10 * 3_600 * SECOND);
    connection(&mut desk, false);
    let mut restored = qt_core::Trader::restore(desk.trader.frame());
    assert!(desk.alarms.is_empty());
    // 9:15 is not there yet.
    let open = early().plus_ms(15 * 60 * SECOND);
    desk.now = open.plus_ms(-1);
    for told in [
        desk.take(Event::Tick),
        restored.handle(desk.now, &Event::Tick).unwrap(),
    ] {
        assert_eq!(told, []);
    }
    assert!(!desk.trader.is_due(desk.now) && desk.trader.is_due(open));
    desk.pass(1);
    assert_eq!(desk.alarms, ["BROKER_DOWN"]);
    let told = restored.handle(open, &Event::Tick).unwrap();
    let [Effect::Alarm(alarm)] = &told[..] else {
        panic!("{told:?}");
    };
    assert_eq!(
        alarm.text,
        "the broker is not connected: the terminal is restarted"
    );
    // Not again in the afternoon, nor on the next day, while it never was there.
    for hours in [1, 4, 24, 28] {
        desk.now = open.plus_ms(hours * 3_600 * SECOND);
        desk.take(Event::Tick);
        assert!(!desk.trader.is_due(desk.now));
    }
    assert_eq!(desk.alarms, ["BROKER_DOWN"]);
    // Another absence over another night.
    desk.now = open.plus_ms(34 * 3_600 * SECOND);
    connection(&mut desk, true);
    connection(&mut desk, false);
    desk.now = open.plus_ms(48 * 3_600 * SECOND);
    assert!(desk.trader.is_due(desk.now));
    desk.signals(Vec::new());
    assert_eq!(desk.alarms, ["BROKER_DOWN"; 2], "whatever event comes first");
    // One that is back before the open is nobody's alarm.
    connection(&mut desk, true);
    desk.now = open.plus_ms(58 * 3_600 * SECOND);
    connection(&mut desk, false);
    connection(&mut desk, true);
    desk.now = open.plus_ms(120 * 3_600 * SECOND);
    desk.take(Event::Tick);
    assert_eq!(desk.alarms.len(), 2);
    // Over lunch it is away until orders go again.
    desk.now = MORNING.plus_ms(100 * 60 * SECOND + 7 * DAY);
    connection(&mut desk, false);
    desk.take(Event::Tick);
    assert_eq!(desk.alarms.len(), 2);
    desk.pass(80 * 60 * SECOND);
    assert_eq!(desk.alarms.len(), 3);
}

/// A broker that never came was no alarm at all after a start.
#[test]
fn a_broker_that_is_not_there_a_minute_after_a_start_is_an_alarm_in_a_session() {
    let mut desk = desk(cn_a());
    desk.restart();
    desk.pass(60 * SECOND - 1);
    assert!(desk.alarms.is_empty());
    // It is known to be away, which is no new absence, and why.
    desk.take(Event::Connection {
        up: false,
        reason: "no terminal runs".into(),
    });
    assert!(desk.alarms.is_empty());
    desk.now = desk.now.plus_ms(1);
    let told = desk.take(Event::Tick);
    let [Effect::Alarm(alarm)] = &told[..] else {
        panic!("{told:?}");
    };
    assert_eq!(alarm.text, "the broker is not connected: no terminal runs");
    // At night it waits for the morning.
    desk.now = early();
    desk.restart();
    desk.now = early().plus_ms(15 * 60 * SECOND - 1);
    desk.take(Event::Tick);
    assert_eq!(desk.alarms.len(), 1);
    desk.pass(1);
    assert_eq!(desk.alarms.len(), 2);
    // A clock that was a day ahead at the start leaves nothing to wait for.
    let now = desk.now;
    desk.now = now.plus_ms(3_600 * SECOND);
    desk.restart();
    desk.now = now;
    desk.take(Event::ClockJumped);
    desk.pass(60 * SECOND);
    assert_eq!(
        desk.alarms.iter().filter(|code| **code == "BROKER_DOWN").count(),
        3
    );
}

/// 9:00, an hour before the desk's morning, of the next day.
fn early() -> qt_core::UtcMillis {
    MORNING.plus_ms(DAY - 3_600 * SECOND)
}

const DAY: i64 = 86_400_000;

fn cn_a() -> Gates {
    Gates {
        sessions: TradingSessions::CnA,
        ..Gates::default()
    }
}

/// A sale may rest for 90 seconds by default. In the call auction of the opening nothing trades for ten minutes.
#[test]
fn a_sale_that_went_into_the_auction_is_not_cancelled_before_it_could_trade() {
    let mut desk = desk(cn_a());
    desk.now = early();
    assert_eq!(verdict(&mut desk, sell("S1", 100)), "DEFERRED OUTSIDE_SESSION");
    assert_eq!(desk.pass(15 * 60 * SECOND), 0, "9:15");
    desk.accept("S1", "B1");
    assert_eq!(desk.pass(15 * 60 * SECOND), 0, "9:30");
    assert_eq!(desk.pass(90 * SECOND - 1), 0, "just before 9:31:30");
    assert_eq!(desk.pass(1), 1, "9:31:30");
}

#[test]
fn what_rests_rests_while_there_is_trading() {
    let at = |h: i64, m: i64, s: i64| MORNING.plus_ms(((h - 10) * 3_600 + m * 60 + s) * SECOND);
    for (what, sent, expires) in [
        ("in the morning", at(10, 0, 0), at(10, 1, 30)),
        ("before lunch", at(11, 29, 30), at(13, 1, 0)),
        ("to the last moment of the morning", at(11, 28, 30), at(11, 30, 0)),
        (
            "in the break, where orders go already",
            at(12, 59, 0),
            at(13, 1, 30),
        ),
        ("before the closing auction", at(14, 56, 30), at(15, 5, 0)),
        ("in the closing auction", at(14, 58, 0), at(15, 5, 0)),
        ("after the close", at(15, 0, 1), at(15, 1, 31)),
    ] {
        let mut desk = desk(Gates::default());
        desk.now = sent;
        assert_eq!(verdict(&mut desk, sell("S1", 100)), "sent");
        desk.accept("S1", "B1");
        desk.settings.gates.sessions = TradingSessions::CnA;
        desk.restart();
        let order = desk.order("S1").into_owned();
        assert_eq!(desk.trader.expires_at(&order), expires, "{what}");
        desk.settings.gates.sessions = TradingSessions::Windows(vec![(0, DAY)]);
        desk.restart();
        assert_eq!(
            desk.trader.expires_at(&order),
            sent.plus_ms(90 * SECOND),
            "{what}"
        );
    }
}

/// A purchase that waited for cash was wished for at the prices of its day.
#[test]
fn what_waited_through_its_day_is_not_sent_on_another() {
    for (gates, received, lasts_until) in [
        // In the session: until midnight.
        (cn_a(), MORNING, MORNING.plus_ms(14 * 3_600 * SECOND)),
        (Gates::default(), MORNING, MORNING.plus_ms(14 * 3_600 * SECOND)),
        // In the evening it is meant for the next day.
        (
            cn_a(),
            MORNING.plus_ms(8 * 3_600 * SECOND),
            MORNING.plus_ms((14 + 24) * 3_600 * SECOND),
        ),
        // On Saturday for Monday.
        (
            cn_a(),
            MORNING.plus_ms(4 * DAY),
            MORNING.plus_ms(14 * 3_600 * SECOND + 6 * DAY),
        ),
    ] {
        let mut desk = desk(Gates { books: true, ..gates });
        desk.now = received;
        desk.take(Event::Tick);
        see(&mut desk);
        let dear = with(buy("S1", 3_000), |s| s.price = Some(d("10")));
        let kept = with(buy("S2", 3_000), |s| {
            s.valid_until = Some(received.plus_ms(30 * DAY))
        });
        let later = with(buy("S3", 3_000), |s| {
            s.activate_after = Some(received.plus_ms(9 * DAY))
        });
        desk.signals(vec![dear, kept, later]);
        desk.now = lasts_until.plus_ms(-1);
        desk.take(Event::Tick);
        assert_eq!(desk.state("S1"), OrderState::Deferred, "{received:?}");
        desk.pass(1);
        let over = desk.order("S1");
        assert_eq!(
            (over.state, over.code.as_deref()),
            (OrderState::Denied, Some("DAY_OVER")),
            "{received:?}"
        );
        let told = desk.reports.iter().filter(|report| report.step == "failed");
        assert_eq!(
            told.map(|report| report.signal.0.as_str()).collect::<Vec<_>>(),
            ["S1"]
        );
        assert_eq!(desk.state("S2"), OrderState::Deferred);
        assert_eq!(desk.state("S3"), OrderState::Deferred);
    }
}

/// Trading was halted over night with an order that was decided and not sent.
#[test]
fn what_a_halt_held_over_night_is_not_sent_on_the_next_day() {
    let mut desk = Desk::open();
    desk.take(Event::Connection {
        up: false,
        reason: String::new(),
    });
    assert_eq!(verdict(&mut desk, buy("S1", 100)), "DEFERRED NOT_CONNECTED");
    desk.take(Event::Connection {
        up: true,
        reason: String::new(),
    });
    assert_eq!(
        desk.state("S1"),
        OrderState::Intended,
        "the books are not compared"
    );
    desk.take(Event::Halted {
        reason: "enough for today".into(),
    });
    assert!(desk.reconcile().is_empty());
    desk.now = desk.now.plus_ms(DAY);
    assert!(submitted(&desk.take(Event::HaltLifted)).is_empty());
    assert_eq!(desk.order("S1").code.as_deref(), Some("DAY_OVER"));
}

/// The tables that hold from a start on decide when a rest ends, and an order that rests already wakes by them.
#[test]
fn a_start_with_other_tables_wakes_orders_by_them() {
    let own = "[[sessions]]\nsince = \"2026-01-01\"\nsource = \"a test\"\nphases = [{ phase = \"continuous\", from = \"09:30\", to = \"10:00:30\" }, { phase = \"continuous\", from = \"11:00\", to = \"15:00\" }]";
    let tables = qt_market::Market::with_overrides(own).unwrap().text().to_owned();
    let mut desk = desk(cn_a());
    assert_eq!(verdict(&mut desk, sell("S1", 100)), "sent");
    desk.accept("S1", "B1");
    desk.broker_has("S1", "B1");
    desk.settings.gates.tables = Some(tables);
    desk.restart();
    desk.take(Event::Connection {
        up: true,
        reason: String::new(),
    });
    desk.reconcile();
    assert_eq!(desk.pass(90 * SECOND), 0, "30 seconds of trading have passed");
    assert_eq!(desk.pass(58 * 60 * SECOND + 29 * SECOND), 0);
    assert_eq!(desk.pass(61 * SECOND), 1, "11:01");
}
