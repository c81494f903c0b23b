//! Single runs of the dispatcher.

mod fixture;

use std::time::Duration;

use proptest::prelude::*;

use self::fixture::{
    Accepted, CHECK, Feed, Fixture, NotSent, Outcome, SECOND, Step, Unknown, accepting, after, id, limits,
    rows, splitting,
};
use super::{Limits, OnRefused, OnUnknown, Policy, Verdict};
use crate::component::BatchOutcome;
use crate::error::ErrorKind;

fn counts(outcome: &Outcome) -> [u64; 4] {
    let totals = outcome.totals;
    [totals.accepted, totals.refused, totals.unknown, totals.not_sent]
}

#[tokio::test(start_paused = true)]
async fn cuts_the_same_batches_whichever_upload_is_faster() {
    let feed = || vec![rows(0, 3), rows(1, 5), rows(0, 4), rows(1, 2), rows(0, 1)];
    let mut seen = Vec::new();
    for (concurrency, seconds) in [(1, [1; 8]), (4, [9, 1, 8, 2, 7, 3, 6, 4]), (8, [0; 8])] {
        seen.push(accepting(concurrency, seconds).run(feed()).await.seen);
    }
    assert_eq!(seen[0].len(), 8);
    assert_eq!(seen[0], seen[1]);
    assert_eq!(seen[0], seen[2]);
    assert_eq!(seen[0][&(1, 0)].rows, [id(0, 1, 0), id(0, 2, 0)]);
}

#[tokio::test(start_paused = true)]
async fn completes_a_checkpoint_after_every_batch_before_it() {
    let feed = vec![CHECK, rows(0, 1), CHECK, rows(0, 1), rows(0, 2), CHECK];
    let outcome = accepting(4, [10, 2]).run(feed).await;
    let when = outcome.checkpoints.iter().map(|(_, _, when)| when.as_secs());
    // The second waits for batch 1, the third for batches 1 and 2, of which 2 is accepted first.
    assert_eq!(when.collect::<Vec<_>>(), [0, 10, 10]);
    assert_eq!(outcome.delivered(), [true; 3]);
}

#[tokio::test(start_paused = true)]
async fn finishes_uploads_in_progress_after_a_refused_batch() {
    let fixture = Fixture {
        concurrency: 2,
        ..Fixture::scripted([after(2, Verdict::PermanentlyRefused), after(5, Verdict::Accepted)])
    };
    let outcome = fixture.run(vec![rows(0, 2), CHECK, rows(0, 9)]).await;
    assert_eq!(counts(&outcome), [2, 2, 0, 7]);
    assert_eq!(outcome.delivered(), [false]);
}

#[tokio::test(start_paused = true)]
async fn gives_every_row_an_outcome_when_rows_cannot_be_encoded() {
    let fixture = Fixture {
        limits: limits(10),
        ..Fixture::default()
    };
    // The new schema cuts a batch of three, then the chunk fails.
    let feed = vec![rows(0, 3), Feed::NotText(0, 2), CHECK];
    let outcome = fixture.run(feed).await;
    assert_eq!(outcome.error().kind(), ErrorKind::Unexpected);
    assert_eq!((outcome.totals.not_sent, outcome.outcomes()[&1]), (5, NotSent));
    assert_eq!(outcome.delivered(), [false]);
}

#[tokio::test(start_paused = true)]
async fn aborts_uploads_after_the_grace_period() {
    let fixture = |grace| Fixture {
        cancel_at: Some(SECOND),
        grace,
        ..accepting(3, [20, 40, 3600])
    };
    let outcome = fixture(Duration::MAX).run(vec![rows(0, 6)]).await;
    assert_eq!(outcome.totals.accepted, 6, "unlimited");
    let outcome = fixture(30 * SECOND).run(vec![rows(0, 6), rows(0, 5)]).await;
    assert_eq!(counts(&outcome), [2, 0, 4, 5]);
    assert_eq!(outcome.error().kind(), ErrorKind::Interrupted);
    assert_eq!(outcome.elapsed, 31 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn ends_a_stopped_run_while_a_source_waits_for_its_checkpoint() {
    let fixture = Fixture {
        cancel_at: Some(SECOND),
        grace: 5 * SECOND,
        ..accepting(1, [3600])
    };
    // The input stays open until both checkpoints are resolved: of a batch in progress, and of one never sent.
    let feed = vec![rows(0, 2), CHECK, rows(0, 1), CHECK, Feed::AwaitCheckpoints];
    let outcome = fixture.run(feed).await;
    let resolved = outcome.checkpoints.iter();
    let resolved = resolved.map(|(_, delivered, when)| (*delivered, when.as_secs()));
    assert_eq!(resolved.collect::<Vec<_>>(), [(false, 6), (false, 1)]);
    assert_eq!(counts(&outcome), [0, 0, 2, 1]);
}

#[tokio::test(start_paused = true)]
async fn treats_a_panicked_upload_as_unknown_without_its_text() {
    let fixture = Fixture {
        concurrency: 2,
        ..Fixture::scripted([Step::Panic, after(1, Verdict::Accepted)])
    };
    let outcome = fixture.run(vec![rows(0, 4)]).await;
    assert_eq!(outcome.outcomes(), [(1, Unknown), (2, Accepted)].into());
    assert_eq!(outcome.error().kind(), ErrorKind::Unexpected);
    let text = format!("{:?} {:?}", outcome.result, outcome.reports);
    assert!(text.contains("batch 1 panicked"), "{text}");
    assert!(!text.contains("contoso"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn limits_the_requests_spent_on_splitting() {
    let bad = (1..=2000).filter(|row| row % 4 == 0);
    let outcome = splitting(2000, bad).run(vec![rows(0, 2000)]).await;
    assert!(outcome.seen.len() <= 256, "{}", outcome.seen.len());
    assert_eq!(outcome.totals.finished(), 2000);
    let [accepted, refused, _, not_sent] = counts(&outcome);
    assert!(accepted > 0 && refused > 0 && not_sent > 0);
    assert!(outcome.error().hints().any(|hint| hint.contains("256 requests")));
}

#[tokio::test(start_paused = true)]
async fn halves_payloads_that_are_too_large_and_sends_smaller_ones_afterwards() {
    let fixture = Fixture {
        limits: limits(8),
        // The header and five rows.
        max_bytes: Some(4 + 5 * 6),
        ..Fixture::default()
    };
    let feed = vec![rows(0, 8), rows(0, 20), CHECK];
    let outcome = fixture.run(feed).await;
    assert!(outcome.result.is_ok(), "{:?}", outcome.result);
    assert_eq!((outcome.totals.accepted, outcome.delivered()), (28, vec![true]));
    let reports = outcome.reports.iter();
    let splits = reports.filter(|report| report.outcome == BatchOutcome::Split);
    assert!(splits.count() <= 3, "only those cut before the first answer");
}

fn feeds() -> impl Strategy<Value = Vec<Feed>> {
    let one = prop_oneof![
        5 => (0..3_usize, prop::collection::vec(0..24_usize, 0..12)).prop_map(|(partition, rows)| Feed::Rows(partition, rows)),
        1 => (0..3_usize, 1..4_usize).prop_map(|(partition, rows)| Feed::Wider(partition, rows)),
        3 => (0..3_usize).prop_map(Feed::Checkpoint),
        1 => (0..60_u64).prop_map(|ms| Feed::Wait(Duration::from_millis(ms))),
    ];
    prop::collection::vec(one, 0..30)
}

fn scripts() -> impl Strategy<Value = Vec<Step>> {
    let verdict = prop_oneof![
        30 => Just(Verdict::Accepted),
        1 => Just(Verdict::PermanentlyRefused),
        1 => Just(Verdict::Unknown),
        1 => Just(Verdict::Transient),
    ];
    let one = (0..80_u64, verdict).prop_map(|(ms, verdict)| Step::After(Duration::from_millis(ms), verdict));
    prop::collection::vec(one, 0..40)
}

fn paused() -> tokio::runtime::Runtime {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_time().start_paused(true).build().unwrap()
}

proptest! {
    /// Every row has one outcome, and a checkpoint is done only when every row before it is final.
    #[test]
    fn conserves_rows_and_completes_checkpoints_in_order(
        feed in feeds(),
        script in scripts(),
        max_rows in 1_usize..6,
        max_bytes in 16_usize..80,
        concurrency in 1_usize..6,
        cancel_at in prop::option::weighted(0.3, 0..400_u64),
        grace in 0..60_u64,
        dry_run in prop::bool::weighted(0.1),
        bad_rows in prop::collection::vec(1..40_u64, 0..3),
        service_max_bytes in prop::option::weighted(0.3, 16..60_usize),
        (split, hold, max_consecutive_failures) in (any::<bool>(), any::<bool>(), 1..5_u32),
    ) {
        let limits = Limits { max_rows, max_bytes };
        let fixture = Fixture {
            script,
            limits,
            concurrency,
            dry_run,
            grace: Duration::from_millis(grace),
            cancel_at: cancel_at.map(Duration::from_millis),
            bad_rows: bad_rows.into_iter().map(|row| id(0, row, 0)).collect(),
            max_bytes: service_max_bytes,
            policy: Policy {
                on_refused: if split { OnRefused::Split } else { OnRefused::Stop },
                on_unknown: if hold { OnUnknown::Hold } else { OnUnknown::Resend },
                max_consecutive_failures: max_consecutive_failures.try_into().unwrap(),
                ..Policy::new("job")
            },
        };
        let checkpoints = feed.iter().filter(|feed| matches!(feed, Feed::Checkpoint(_))).count();
        let outcome = paused().block_on(fixture.run(feed));
        outcome.check(limits, concurrency)?;
        prop_assert_eq!(outcome.checkpoints.len(), checkpoints);
        if outcome.result.is_ok() && !dry_run {
            prop_assert_eq!(outcome.totals.accepted + outcome.totals.rejected, outcome.rows_in);
            prop_assert!(outcome.delivered().iter().all(|delivered| *delivered));
        }
        prop_assert!(!dry_run || outcome.seen.is_empty());
    }
}
