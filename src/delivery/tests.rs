//! Single runs of the dispatcher.

mod fixture;
mod reruns;

use std::time::Duration;

use proptest::prelude::*;

use self::fixture::{
    Accepted, Feed, Fixture, HOUR, NotSent, Outcome, Refused, SECOND, Step, Unknown, after, id, limits, rows,
    splitting,
};
use super::{Limits, OnRefused, OnUnknown, Policy, Verdict};
use crate::component::BatchOutcome;
use crate::error::ErrorKind;

fn counts(outcome: &Outcome) -> [u64; 4] {
    let totals = outcome.totals;
    [totals.accepted, totals.refused, totals.unknown, totals.not_sent]
}

#[tokio::test(start_paused = true)]
async fn uses_the_allowed_concurrency() {
    for concurrency in [1, 3, 7] {
        let fixture = Fixture {
            concurrency,
            ..Fixture::scripted([after(1, Verdict::Accepted); 20])
        };
        let outcome = fixture.run(vec![rows(0, 40)]).await;
        assert_eq!((outcome.max_running, outcome.totals.accepted), (concurrency, 40));
    }
}

#[tokio::test(start_paused = true)]
async fn cuts_the_same_batches_whichever_upload_is_faster() {
    let feed = || vec![rows(0, 3), rows(1, 5), rows(0, 4), rows(1, 2), rows(0, 1)];
    let mut seen = Vec::new();
    for (concurrency, seconds) in [(1, [1; 8]), (4, [9, 1, 8, 2, 7, 3, 6, 4]), (8, [0; 8])] {
        let fixture = Fixture {
            concurrency,
            ..Fixture::scripted(seconds.map(|seconds| after(seconds, Verdict::Accepted)))
        };
        seen.push(fixture.run(feed()).await.seen);
    }
    assert_eq!(seen[0].len(), 8);
    assert_eq!(seen[0], seen[1]);
    assert_eq!(seen[0], seen[2]);
    assert_eq!(seen[0][&(1, 0)].rows, [id(0, 1, 0), id(0, 2, 0)]);
}

#[tokio::test(start_paused = true)]
async fn completes_a_checkpoint_after_every_batch_before_it() {
    let script = [10, 2, 30].map(|seconds| after(seconds, Verdict::Accepted));
    let fixture = Fixture {
        concurrency: 4,
        ..Fixture::scripted(script)
    };
    let feed = vec![
        Feed::Checkpoint(0),
        rows(0, 1),
        Feed::Checkpoint(0),
        rows(0, 1),
        rows(0, 2),
        Feed::Checkpoint(0),
        rows(0, 1),
    ];
    let outcome = fixture.run(feed).await;
    let when = outcome.checkpoints.iter().map(|(_, _, when)| when.as_secs());
    // The second waits for batch 1, the third for batches 1 and 2, of which 2 is accepted first.
    assert_eq!(when.collect::<Vec<_>>(), [0, 10, 10]);
    assert_eq!(outcome.delivered(), [true; 3]);
}

#[tokio::test(start_paused = true)]
async fn stops_after_a_refused_batch_and_finishes_uploads_in_progress() {
    let script = [
        after(1, Verdict::Accepted),
        after(2, Verdict::Refused),
        after(5, Verdict::Accepted),
        after(9, Verdict::Refused),
    ];
    let fixture = Fixture {
        concurrency: 3,
        ..Fixture::scripted(script)
    };
    let mut feed = vec![rows(0, 2), Feed::Checkpoint(0), rows(0, 2), Feed::Checkpoint(0)];
    feed.extend([rows(0, 9), rows(0, 8), Feed::Checkpoint(0)]);
    let outcome = fixture.run(feed).await;
    assert_eq!(outcome.error().to_string(), "batch 2 failed");
    assert_eq!(outcome.error().kind(), ErrorKind::Refused);
    assert!(outcome.cancelled, "the sources are stopped");
    let outcomes: Vec<_> = outcome.outcomes().into_values().take(4).collect();
    assert_eq!(outcomes, [Accepted, Refused, Accepted, Refused]);
    assert_eq!(outcome.seen.len(), 4, "nothing was sent after the failure");
    assert_eq!(counts(&outcome), [4, 4, 0, 13]);
    assert_eq!(outcome.delivered(), [true, false, false]);
}

#[tokio::test(start_paused = true)]
async fn never_mixes_partitions_or_schemas_in_a_batch() {
    let fixture = Fixture {
        limits: limits(10),
        ..Fixture::default()
    };
    let feed = vec![
        rows(0, 1),
        rows(1, 1),
        rows(0, 1),
        Feed::Wider(0, 1),
        Feed::Checkpoint(0),
        rows(0, 1),
    ];
    let outcome = fixture.run(feed).await;
    let batches: Vec<_> = outcome
        .seen
        .values()
        .map(|seen| (seen.label, seen.header.as_str(), seen.rows.len()))
        .collect();
    let expected = [
        ("first", "id", 2),
        ("first", "id,note", 1),
        ("first", "id", 1),
        ("second", "id", 1),
    ];
    assert_eq!(batches, expected);
    assert_eq!(outcome.delivered(), [true]);
}

#[tokio::test(start_paused = true)]
async fn gives_every_row_an_outcome_when_rows_cannot_be_encoded() {
    let fixture = Fixture {
        limits: limits(10),
        ..Fixture::default()
    };
    // The new schema cuts a batch of three, then the chunk fails.
    let outcome = fixture
        .run(vec![rows(0, 3), Feed::NotText(0, 2), Feed::Checkpoint(0)])
        .await;
    assert_eq!(outcome.error().kind(), ErrorKind::Unexpected);
    assert_eq!((outcome.totals.not_sent, outcome.outcomes()[&1]), (5, NotSent));
    assert_eq!(outcome.delivered(), [false]);
}

#[tokio::test(start_paused = true)]
async fn drops_checkpoints_after_rows_that_were_not_sent() {
    let fixture = Fixture {
        cancel_at: Some(SECOND),
        ..Fixture::default()
    };
    // Nothing is queued before the checkpoint when its rows are dropped.
    let feed = vec![Feed::Wait(2 * SECOND), rows(0, 2), Feed::Checkpoint(0)];
    let outcome = fixture.run(feed).await;
    assert_eq!(outcome.error().kind(), ErrorKind::Interrupted);
    assert_eq!((outcome.totals.not_sent, outcome.delivered()), (2, vec![false]));
}

#[tokio::test(start_paused = true)]
async fn aborts_uploads_after_the_grace_period() {
    let script = [20, 40, 3600].map(|seconds| after(seconds, Verdict::Accepted));
    let fixture = Fixture {
        concurrency: 3,
        cancel_at: Some(SECOND),
        ..Fixture::scripted(script)
    };
    let outcome = fixture.run(vec![rows(0, 6), rows(0, 5)]).await;
    let outcomes: Vec<_> = outcome.outcomes().into_values().take(3).collect();
    assert_eq!(outcomes, [Accepted, Unknown, Unknown]);
    assert_eq!(counts(&outcome), [2, 0, 4, 5]);
    let error = outcome.error();
    assert_eq!(error.kind(), ErrorKind::Interrupted);
    assert!(
        error.to_string().contains("30s after the run was stopped"),
        "{error}"
    );
    assert_eq!(outcome.elapsed, 31 * SECOND);
    let aborted = outcome.reports.iter().find(|report| report.number == 3).unwrap();
    assert_eq!((aborted.duration_ms, aborted.error.is_some()), (31_000, true));
}

#[tokio::test(start_paused = true)]
async fn ends_a_stopped_run_while_a_source_waits_for_its_checkpoint() {
    let fixture = Fixture {
        cancel_at: Some(SECOND),
        grace: 5 * SECOND,
        ..Fixture::scripted([Step::After(HOUR, Verdict::Accepted)])
    };
    // The input stays open until both checkpoints are resolved: of a batch in progress, and of one never sent.
    let feed = vec![
        rows(0, 2),
        Feed::Checkpoint(0),
        rows(0, 1),
        Feed::Checkpoint(0),
        Feed::AwaitCheckpoints,
    ];
    let outcome = fixture.run(feed).await;
    let resolved = outcome.checkpoints.iter();
    let resolved = resolved.map(|(_, delivered, when)| (*delivered, when.as_secs()));
    assert_eq!(resolved.collect::<Vec<_>>(), [(false, 6), (false, 1)]);
    assert_eq!(counts(&outcome), [0, 0, 2, 1]);
}

#[tokio::test(start_paused = true)]
async fn waits_for_uploads_with_an_unlimited_grace_period() {
    let fixture = Fixture {
        cancel_at: Some(SECOND),
        grace: Duration::MAX,
        ..Fixture::scripted([Step::After(HOUR, Verdict::Accepted)])
    };
    let outcome = fixture.run(vec![rows(0, 2)]).await;
    assert_eq!(
        (outcome.totals.accepted, outcome.error().kind()),
        (2, ErrorKind::Interrupted)
    );
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
    assert!(
        text.contains("batch 1 panicked") && !text.contains("contoso"),
        "{text}"
    );
}

#[tokio::test(start_paused = true)]
async fn holds_back_the_input_while_uploads_are_slow() {
    let fixture = Fixture {
        concurrency: 2,
        ..Fixture::scripted([Step::After(HOUR, Verdict::Accepted); 50])
    };
    let outcome = fixture.run(vec![rows(0, 2); 50]).await;
    // Two in progress, one ready, two in the channel.
    assert_eq!((outcome.taken_early, outcome.totals.accepted), (5, 100));
}

#[tokio::test(start_paused = true)]
async fn splits_batches_to_find_rejected_rows() {
    let feed = vec![rows(0, 8), Feed::Checkpoint(0)];
    let outcome = splitting(4, [2, 7]).run(feed).await;
    assert!(outcome.result.is_ok(), "{:?}", outcome.result);
    assert_eq!((outcome.totals.accepted, outcome.totals.rejected), (6, 2));
    assert_eq!(outcome.rejected, [id(0, 2, 0), id(0, 7, 0)].into());
    let reason = "refused: the service rejected this row on its own: status 400: row not valid";
    assert_eq!(outcome.reasons, [reason, reason]);
    assert_eq!(outcome.delivered(), [true], "a rejected row is final");
    let first = outcome.reports.iter().filter(|report| report.number == 1);
    let parts: Vec<_> = first
        .map(|report| (report.part, report.rows, report.outcome))
        .collect();
    use BatchOutcome::{Rejected, Split};
    let expected = [
        (0, 4, Split),
        (1, 2, Split),
        (2, 1, Accepted),
        (3, 1, Rejected),
        (4, 2, Accepted),
    ];
    assert_eq!(parts, expected);
}

#[tokio::test(start_paused = true)]
async fn limits_the_requests_spent_on_splitting() {
    let bad = (1..=2000).filter(|row| row % 4 == 0);
    let outcome = splitting(2000, bad).run(vec![rows(0, 2000)]).await;
    assert!(outcome.seen.len() <= 256, "{}", outcome.seen.len());
    assert_eq!(outcome.totals.finished(), 2000);
    let [accepted, refused, _, not_sent] = counts(&outcome);
    assert!(accepted > 0 && refused > 0 && not_sent > 0);
    assert!(outcome.has_hint("256 requests"), "{:?}", outcome.result);
}

#[tokio::test(start_paused = true)]
async fn halves_payloads_that_are_too_large_and_sends_smaller_ones_afterwards() {
    let fixture = Fixture {
        limits: limits(8),
        // The header and five rows.
        max_bytes: Some(4 + 5 * 6),
        ..Fixture::default()
    };
    let feed = vec![rows(0, 8), rows(0, 20), Feed::Checkpoint(0)];
    let outcome = fixture.run(feed).await;
    assert!(outcome.result.is_ok(), "{:?}", outcome.result);
    assert_eq!((outcome.totals.accepted, outcome.delivered()), (28, vec![true]));
    let reports = outcome.reports.iter();
    let splits = reports.filter(|report| report.outcome == BatchOutcome::Split);
    assert!(splits.count() <= 3, "only those cut before the first answer");
}

#[tokio::test(start_paused = true)]
async fn tries_the_next_batches_after_a_transient_failure() {
    use Verdict::{Accepted, NotSent, Unknown};
    let fixture = Fixture::scripted([Accepted, Unknown, Accepted, NotSent].map(|verdict| after(1, verdict)));
    let mut feed = Vec::new();
    for _ in 0..5 {
        feed.extend([rows(0, 2), Feed::Checkpoint(0)]);
    }
    let outcome = fixture.run(feed).await;
    assert_eq!(outcome.error().to_string(), "batch 2 failed", "the first failure");
    assert_eq!(outcome.error().kind(), ErrorKind::Transient);
    assert_eq!(counts(&outcome), [6, 0, 2, 2]);
    assert_eq!(outcome.delivered(), [true, false, false, false, false]);
}

#[tokio::test(start_paused = true)]
async fn stops_after_consecutive_failures_for_the_same_cause() {
    use Verdict::{Accepted, NotSent, Unknown};
    let failing = |verdicts: [Verdict; 6]| Fixture::scripted(verdicts.map(|verdict| after(1, verdict)));
    let outcome = failing([NotSent; 6]).run(vec![rows(0, 40)]).await;
    assert_eq!(outcome.seen.len(), 3);
    assert!(outcome.has_hint("3 consecutive batches"), "{:?}", outcome.result);
    // Another cause or a success resets the count.
    let outcome = failing([NotSent, NotSent, Unknown, NotSent, NotSent, Accepted])
        .run(vec![rows(0, 40)])
        .await;
    assert_eq!((outcome.seen.len(), outcome.totals.accepted), (20, 30));
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
        1 => Just(Verdict::Refused),
        1 => Just(Verdict::Unknown),
        1 => Just(Verdict::NotSent),
    ];
    let one = (0..80_u64, verdict).prop_map(|(ms, verdict)| Step::After(Duration::from_millis(ms), verdict));
    prop::collection::vec(one, 0..40)
}

pub(super) fn paused() -> tokio::runtime::Runtime {
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
            ..Fixture::default()
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
