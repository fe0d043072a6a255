//! What a person decides.

use qt_core::{Event, OrderState};

use crate::support::{Desk, SECOND, buy};

#[test]
fn a_person_decides_only_what_is_under_review() {
    let mut desk = Desk::open();
    let id = desk.signals(vec![buy("S1", 100)])[0];
    let before = desk.trader.digest();
    let refused = desk.trader.handle(
        desk.now,
        &Event::Decided {
            id,
            accepted_as: None,
        },
    );
    assert!(refused.is_err());
    assert_eq!(before, desk.trader.digest());
}

#[test]
fn a_cancel_wanted_under_review_leaves_once_a_person_finds_the_order() {
    let mut desk = Desk::open();
    let id = desk.signals(vec![buy("S1", 100)])[0];
    desk.lose_answer(id);
    desk.pass(SECOND);
    desk.stranger("S1", "B7");
    desk.reconcile();
    desk.take(Event::CancelWanted {
        id,
        by: "a person".into(),
    });
    desk.take(Event::Decided {
        id,
        accepted_as: Some("B7".into()),
    });
    assert_eq!(desk.pass(SECOND), 1);
}

#[test]
fn a_person_cannot_undo_what_the_broker_showed() {
    let mut desk = Desk::open();
    desk.signals(vec![buy("S1", 300)]);
    desk.fill("S1", "B1", "T1", 100, "10");
    desk.pass(24 * 3600 * SECOND);
    assert_eq!(desk.state("S1"), OrderState::Review);
    let id = desk.order("S1").id;
    for accepted_as in [None, Some("B2".into())] {
        let before = desk.trader.digest();
        let said = Event::Decided { id, accepted_as };
        assert!(desk.trader.handle(desk.now, &said).is_err());
        assert_eq!(before, desk.trader.digest());
    }
    desk.take(Event::Rejected {
        id,
        reason: "late".into(),
    });
    assert_eq!(desk.state("S1"), OrderState::Review);
    desk.take(Event::Decided {
        id,
        accepted_as: Some("B1".into()),
    });
    assert_eq!(desk.state("S1"), OrderState::PartiallyCancelled);
}
