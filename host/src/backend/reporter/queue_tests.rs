//! The order in which rows go.

use qt_core::ClientOrderId;
use qt_core::report::ReportBody;

use super::*;

pub(super) fn row(id: i64, key: &str) -> OutboxRow {
    let body = ReportBody::Failed {
        last_error: "x".into(),
    };
    let report = Report {
        order: ClientOrderId::derive("A", &key.into(), 0),
        signal: key.into(),
        step: format!("s{id}"),
        body,
    };
    OutboxRow {
        id,
        order_key: key.to_owned(),
        report,
        override_body: None,
        attempts: 0,
    }
}

fn ids(queue: &mut Queue) -> Vec<i64> {
    std::iter::from_fn(|| queue.next().map(|row| row.id)).collect()
}

#[test]
fn an_order_goes_in_sequence_and_others_beside_it() {
    let mut queue = Queue::default();
    for (id, key) in [(1, "a"), (2, "a"), (3, "b"), (4, "a")] {
        queue.insert(row(id, key));
    }
    assert_eq!(ids(&mut queue), [1, 3]);
    queue.delivered(1, "a");
    assert_eq!(ids(&mut queue), [2]);
    queue.refused(2, "a");
    queue.delivered(3, "b");
    assert_eq!(ids(&mut queue), [4]);
    queue.delivered(4, "a");
    assert_eq!(
        (queue.len(), queue.orders.len(), queue.has_ready()),
        (0, 0, false)
    );
}

#[test]
fn a_row_that_fails_holds_back_its_order_alone() {
    let now = Instant::now();
    let mut queue = Queue::default();
    for (id, key) in [(1, "a"), (2, "a"), (3, "b")] {
        queue.insert(row(id, key));
    }
    let first = queue.next().unwrap();
    let (wait, tries) = queue.later(first, None, now);
    assert_eq!((tries, ids(&mut queue)), (1, vec![3]));
    assert_eq!(queue.next_due(), Some(now + wait));
    queue.wake(now + wait - Duration::from_millis(1));
    assert!(!queue.has_ready());
    queue.wake(now + wait);
    let first = queue.next().unwrap();
    assert_eq!(first.id, 1);
    // The wait grows, and at least as long as asked.
    assert_eq!(
        queue.later(first, Some(Duration::from_secs(99)), now),
        (Duration::from_secs(99), 2)
    );
    queue.wake_all();
    assert_eq!(ids(&mut queue), [1]);
}

#[test]
fn again_goes_behind_the_other_orders_and_before_its_own() {
    let mut queue = Queue::default();
    for (id, key) in [(1, "a"), (2, "a"), (3, "b")] {
        queue.insert(row(id, key));
    }
    let first = queue.next().unwrap();
    queue.again(first);
    assert_eq!(ids(&mut queue), [3, 1]);
}

#[test]
fn rows_that_come_again_are_taken_once_and_old_ones_go_first() {
    let mut queue = Queue::default();
    queue.insert(row(7, "a"));
    queue.insert(row(7, "a"));
    assert_eq!(queue.len(), 1);
    queue.insert(row(9, "a"));
    // A dead letter set free while 7 waits.
    queue.insert(row(5, "a"));
    assert_eq!(ids(&mut queue), [5]);
    queue.delivered(5, "a");
    assert_eq!(ids(&mut queue), [7]);
    // Read again while it is being posted, and after it was.
    queue.insert(row(7, "a"));
    queue.delivered(7, "a");
    queue.insert(row(7, "a"));
    assert_eq!(queue.len(), 1);
    // A refused one may come again.
    assert_eq!(ids(&mut queue), [9]);
    queue.refused(9, "a");
    queue.insert(row(9, "a"));
    assert_eq!(ids(&mut queue), [9]);
}

#[test]
fn a_dead_letter_set_free_while_its_order_is_posting_waits_its_turn() {
    let mut queue = Queue::default();
    queue.insert(row(7, "a"));
    let posting = queue.next().unwrap();
    queue.insert(row(5, "a"));
    assert!(queue.next().is_none(), "two posts of one order at once");
    queue.again(posting);
    assert_eq!(ids(&mut queue), [5]);
}

#[test]
fn delivered_ids_are_ranges() {
    let mut set = Ids::default();
    for id in [1, 2, 5, 3, 7, 6, 10, 4, i64::MAX, i64::MAX - 1, 1] {
        set.insert(id);
    }
    assert_eq!(
        set.0.into_iter().collect::<Vec<_>>(),
        [(1, 7), (10, 10), (i64::MAX - 1, i64::MAX)]
    );
}

proptest::proptest! {
    #[test]
    fn ids_hold_what_was_put_in(ids in proptest::collection::vec(0_i64..40, 0..60)) {
        let mut set = Ids::default();
        ids.iter().for_each(|id| set.insert(*id));
        for id in -1..42 {
            proptest::prop_assert_eq!(set.contains(id), ids.contains(&id));
        }
        let ranges: Vec<_> = set.0.iter().collect();
        proptest::prop_assert!(ranges.windows(2).all(|pair| *pair[0].1 + 1 < *pair[1].0), "{:?}", ranges);
    }
}
