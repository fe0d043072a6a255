use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::backend::tests::client_at;
use crate::backend::tests::reporter::{Outbox, failed};

fn reporter() -> (Reporter, Arc<AtomicUsize>) {
    let depth = Arc::new(AtomicUsize::new(1));
    let reporter = Reporter::new(
        ReportSettings::default(),
        // Nothing is asked of it: answers are made here.
        client_at("http://127.0.0.1:1/api"),
        Gauge::new(Arc::clone(&depth)),
        Box::new(Outbox::default()),
    );
    (reporter, depth)
}

/// The next row comes back with this status.
fn answered(reporter: &mut Reporter, status: u16, now: Instant) {
    let row = reporter.queue.next().expect("it may go");
    let text = "not now".to_owned();
    let answer = match status {
        403 => Answer::Refused { status, text },
        _ => Answer::NotKnown {
            why: text,
            cause: Cause::Status(status),
            retry_after: Some(Duration::ZERO),
        },
    };
    let probe = !reporter.gate.is_open();
    reporter.settle(Flight { row, answer, probe }, now);
}

/// Ten refusals took a minute and a half, and less where short outages of the backend came between: a right that was lost for
/// ten minutes left nothing but dead letters.
#[tokio::test]
async fn a_report_is_forbidden_for_a_day_before_it_is_a_dead_letter_however_often_it_is_tried() {
    let (mut reporter, depth) = reporter();
    let begun = Instant::now();
    reporter.queue.insert(failed(1, "S1"));
    let mut now = begun;
    answered(&mut reporter, 403, now);
    while now < begun + DAY - Duration::from_secs(61) {
        // No wait of one order is longer.
        now += Duration::from_secs(60);
        reporter.queue.wake(now);
        // The backend is away for a moment and back: all that waits goes at once.
        answered(&mut reporter, 503, now);
        answered(&mut reporter, 403, now);
        reporter.queue.wake_all();
        answered(&mut reporter, 403, now);
        assert!(
            reporter.words.is_empty(),
            "{:?} after {:?}",
            reporter.words,
            now - begun
        );
    }
    assert_eq!(depth.load(Ordering::SeqCst), 1);
    now = begun + DAY;
    reporter.queue.wake(now);
    answered(&mut reporter, 403, now);
    let words: Vec<_> = reporter.words.iter().collect();
    let [Input::DeadLetter { id: 1, error }] = &words[..] else {
        panic!("{words:?}");
    };
    assert_eq!(error, "403 for 24 h, and signals are given: not now");
    assert!(reporter.forbidden.is_empty());
    assert_eq!(depth.load(Ordering::SeqCst), 0);
    // Set free by a person, it has its time anew.
    reporter.queue.insert(failed(1, "S1"));
    answered(&mut reporter, 403, now);
    assert_eq!(reporter.words.len(), 1);
}
