mod runs;
mod stand;

use proptest::prelude::*;
use stand::{Accepted, Answer, Feed, HOUR, NotSent, Refused, SECOND, Stand, Unknown, id};

use super::*;
use crate::delivery::OnRefused;

fn rows(lane: usize, rows: usize) -> Feed {
    Feed::Rows(lane, vec![0; rows])
}

fn after(seconds: u64, outcome: BatchOutcome) -> Answer {
    Answer::After(Duration::from_secs(seconds), outcome)
}

#[tokio::test(start_paused = true)]
async fn as_many_uploads_run_as_allowed_and_no_more() {
    for concurrency in [1, 3, 7] {
        let stand = Stand {
            concurrency,
            ..Stand::scripted([after(1, Accepted); 20])
        };
        let found = stand.drive(vec![rows(0, 40)]).await;
        assert_eq!((found.most, found.totals.accepted), (concurrency, 40));
    }
}

#[tokio::test(start_paused = true)]
async fn batches_are_the_same_whichever_upload_is_faster() {
    let feed = || vec![rows(0, 3), rows(1, 5), rows(0, 4), rows(1, 2), rows(0, 1)];
    let mut seen = Vec::new();
    for (concurrency, seconds) in [(1, [1; 8]), (4, [9, 1, 8, 2, 7, 3, 6, 4]), (8, [0; 8])] {
        let stand = Stand {
            concurrency,
            ..Stand::scripted(seconds.map(|seconds| after(seconds, Accepted)))
        };
        seen.push(stand.drive(feed()).await.seen);
    }
    assert_eq!(seen[0].len(), 8);
    assert_eq!(seen[0], seen[1]);
    assert_eq!(seen[0], seen[2]);
    assert_eq!(seen[0][&(1, 0)].rows, [id(0, 1, 0), id(0, 2, 0)]);
}

#[tokio::test(start_paused = true)]
async fn a_checkpoint_waits_for_every_batch_before_it_and_for_none_behind_it() {
    let stand = Stand {
        concurrency: 4,
        ..Stand::scripted([after(10, Accepted), after(2, Accepted), after(30, Accepted)])
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
    let found = stand.drive(feed).await;
    let when: Vec<u64> = found
        .checkpoints
        .iter()
        .map(|(_, _, when)| when.as_secs())
        .collect();
    // The second one's row is in batch 1, the third one's in batches 1 and 2, of which 2 is accepted first.
    assert_eq!(when, [0, 10, 10]);
    assert_eq!(found.delivered(), [true; 3]);
    assert_eq!(found.totals.accepted, 5);
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_fails_ends_the_run_and_those_under_way_are_finished() {
    let script = [
        after(1, Accepted),
        after(2, Refused),
        after(5, Accepted),
        after(9, Refused),
    ];
    let stand = Stand {
        concurrency: 3,
        ..Stand::scripted(script)
    };
    let mut feed = vec![rows(0, 2), Feed::Checkpoint(0), rows(0, 2), Feed::Checkpoint(0)];
    feed.extend([rows(0, 9), rows(0, 8), Feed::Checkpoint(0)]);
    let found = stand.drive(feed).await;
    let outcomes = found.outcomes();
    assert_eq!(found.error().to_string(), "batch 2 came back");
    assert_eq!(found.error().kind(), ErrorKind::Refused);
    assert!(found.cancelled, "the sources are told");
    assert_eq!(
        (outcomes[&1], outcomes[&2], outcomes[&3], outcomes[&4]),
        (Accepted, Refused, Accepted, Refused)
    );
    assert_eq!(found.seen.len(), 4, "nothing was begun after the failure");
    assert_eq!(
        (found.totals.accepted, found.totals.refused, found.totals.not_sent),
        (4, 4, 13)
    );
    assert_eq!(found.delivered(), [true, false, false]);
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_sends_nothing_and_reports_the_batches() {
    let stand = Stand {
        dry_run: true,
        ..Stand::default()
    };
    let found = stand.drive(vec![rows(0, 3), Feed::Checkpoint(0)]).await;
    assert!(found.result.is_ok() && found.seen.is_empty());
    assert_eq!(
        found.outcomes(),
        [(1, NotSent), (2, NotSent)].into_iter().collect()
    );
    assert_eq!(
        (found.totals.not_sent, found.delivered()),
        (3, vec![false]),
        "nothing was delivered"
    );
}

#[tokio::test(start_paused = true)]
async fn lanes_and_schemas_never_share_a_batch() {
    let stand = Stand {
        limits: Limits {
            max_rows: 10,
            max_bytes: 1000,
        },
        ..Stand::default()
    };
    let feed = vec![
        rows(0, 1),
        rows(1, 1),
        rows(0, 1),
        Feed::Wider(0, 1),
        Feed::Checkpoint(0),
        rows(0, 1),
    ];
    let found = stand.drive(feed).await;
    let batches: Vec<_> = found
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
    assert_eq!(found.delivered(), [true]);
}

#[tokio::test(start_paused = true)]
async fn rows_that_cannot_be_encoded_do_not_take_those_before_them_along() {
    let stand = Stand {
        limits: Limits {
            max_rows: 10,
            max_bytes: 1000,
        },
        ..Stand::default()
    };
    // The change of the schema cuts a batch of three, and then the chunk fails.
    let found = stand
        .drive(vec![rows(0, 3), Feed::NotText(0, 2), Feed::Checkpoint(0)])
        .await;
    assert_eq!(found.error().kind(), ErrorKind::Unexpected);
    assert_eq!((found.totals.not_sent, found.outcomes()[&1]), (5, NotSent));
    assert_eq!(found.delivered(), [false]);
}

#[tokio::test(start_paused = true)]
async fn a_checkpoint_behind_rows_that_were_not_sent_is_not_delivered() {
    let stand = Stand {
        cancel_at: Some(SECOND),
        ..Stand::default()
    };
    // Nothing is pending in the lane when the rows are dropped: the checkpoint has nothing in line before it.
    let feed = vec![Feed::Wait(2 * SECOND), rows(0, 2), Feed::Checkpoint(0)];
    let found = stand.drive(feed).await;
    assert_eq!(found.error().kind(), ErrorKind::Interrupted);
    assert_eq!((found.totals.not_sent, found.delivered()), (2, vec![false]));
}

#[tokio::test(start_paused = true)]
async fn what_is_under_way_when_the_run_is_cancelled_has_its_grace() {
    let script = [
        after(20, Accepted),
        after(40, Accepted),
        Answer::After(HOUR, Accepted),
    ];
    let stand = Stand {
        concurrency: 3,
        cancel_at: Some(SECOND),
        ..Stand::scripted(script)
    };
    let found = stand.drive(vec![rows(0, 6), rows(0, 5)]).await;
    let outcomes = found.outcomes();
    assert_eq!(
        (outcomes[&1], outcomes[&2], outcomes[&3]),
        (Accepted, Unknown, Unknown)
    );
    assert_eq!(
        (found.totals.accepted, found.totals.unknown, found.totals.not_sent),
        (2, 4, 5)
    );
    assert_eq!(found.error().kind(), ErrorKind::Interrupted);
    assert!(
        found
            .error()
            .to_string()
            .contains("30s after the run was stopped"),
        "{}",
        found.error()
    );
    assert_eq!(found.elapsed, 31 * SECOND);
    let given_up = found.reports.iter().find(|report| report.number == 3).unwrap();
    assert_eq!(given_up.duration_ms, 31_000);
    assert!(given_up.error.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_source_that_waits_for_its_checkpoint_does_not_keep_a_stopped_run_from_ending() {
    let stand = Stand {
        cancel_at: Some(SECOND),
        grace: 5 * SECOND,
        ..Stand::scripted([Answer::After(HOUR, Accepted)])
    };
    // The input stays open until the first checkpoint (of a batch under way) and the second (of one never sent) are
    // settled.
    let feed = vec![
        rows(0, 2),
        Feed::Checkpoint(0),
        rows(0, 1),
        Feed::Checkpoint(0),
        Feed::Settled,
    ];
    let found = stand.drive(feed).await;
    let told: Vec<_> = found
        .checkpoints
        .iter()
        .map(|(_, delivered, when)| (*delivered, when.as_secs()))
        .collect();
    assert_eq!(told, [(false, 6), (false, 1)]);
    assert_eq!((found.totals.unknown, found.totals.not_sent), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn a_grace_without_end_waits_for_what_is_under_way() {
    let stand = Stand {
        cancel_at: Some(SECOND),
        grace: Duration::MAX,
        ..Stand::scripted([Answer::After(HOUR, Accepted)])
    };
    let found = stand.drive(vec![rows(0, 2)]).await;
    assert_eq!(
        (found.totals.accepted, found.error().kind()),
        (2, ErrorKind::Interrupted)
    );
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_panics_is_unknown_and_its_text_is_not_repeated() {
    let stand = Stand {
        concurrency: 2,
        ..Stand::scripted([Answer::Panic, after(1, Accepted)])
    };
    let found = stand.drive(vec![rows(0, 4)]).await;
    assert_eq!((found.outcomes()[&1], found.outcomes()[&2]), (Unknown, Accepted));
    assert_eq!(found.error().kind(), ErrorKind::Unexpected);
    let told = format!("{:?} {:?}", found.result, found.reports);
    assert!(
        told.contains("batch 1 panicked") && !told.contains("contoso"),
        "{told}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_row_too_large_for_any_batch_is_put_aside() {
    let stand = Stand {
        limits: Limits {
            max_rows: 2,
            max_bytes: 20,
        },
        ..Stand::default()
    };
    let feed = vec![
        Feed::Rows(0, vec![0, 99, 0]),
        Feed::Checkpoint(0),
        Feed::Rows(0, vec![99]),
        Feed::Checkpoint(0),
    ];
    let found = stand.drive(feed).await;
    assert_eq!((found.totals.accepted, found.totals.rejected), (2, 2));
    assert_eq!(found.rejected, [id(0, 2, 99), id(0, 4, 99)].into_iter().collect());
    assert_eq!(found.delivered(), [true, true], "a row put aside is final");
}

#[tokio::test(start_paused = true)]
async fn a_slow_upload_holds_back_the_input() {
    let stand = Stand {
        concurrency: 2,
        ..Stand::scripted([Answer::After(HOUR, Accepted); 50])
    };
    let found = stand.drive(vec![rows(0, 2); 50]).await;
    // Two under way, one cut, two in the channel, and one that the source is holding is not counted.
    assert_eq!((found.taken_early, found.totals.accepted), (5, 100));
}

/// One lane of batches of 4 rows, with the rows `bad` refused for what is in them.
fn splitting(bad: &[u64]) -> Stand {
    Stand {
        limits: Limits {
            max_rows: 4,
            max_bytes: 1000,
        },
        bad_rows: bad.iter().map(|row| id(0, *row, 0)).collect(),
        policy: Policy {
            on_refused: OnRefused::Split,
            ..Policy::new("job")
        },
        ..Stand::default()
    }
}

#[tokio::test(start_paused = true)]
async fn rows_that_the_service_objects_to_are_found_and_the_others_delivered() {
    let found = splitting(&[2, 7])
        .drive(vec![rows(0, 8), Feed::Checkpoint(0)])
        .await;
    assert!(found.result.is_ok(), "{:?}", found.result);
    assert_eq!((found.totals.accepted, found.totals.rejected), (6, 2));
    assert_eq!(found.rejected, [id(0, 2, 0), id(0, 7, 0)].into_iter().collect());
    let reason = "refused: the service refused this row on its own: status 400: row not valid";
    assert_eq!(found.reasons, [reason, reason]);
    assert_eq!(found.delivered(), [true], "a row put aside is final");
    let outcomes: Vec<_> = found
        .reports
        .iter()
        .filter(|report| report.number == 1)
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
    assert_eq!(outcomes, expected);
}

#[tokio::test(start_paused = true)]
async fn an_objection_to_all_rows_is_no_reason_to_put_any_aside() {
    let found = splitting(&[1, 2, 3, 4])
        .drive(vec![rows(0, 4), Feed::Checkpoint(0)])
        .await;
    assert_eq!((found.totals.rejected, found.totals.refused), (0, 4));
    assert_eq!(found.error().kind(), ErrorKind::Refused);
    let hints: Vec<_> = found.error().hints().collect();
    assert!(
        hints.iter().any(|hint| hint.contains("every part was refused")),
        "{hints:?}"
    );
    assert_eq!(found.delivered(), [false]);
}

#[tokio::test(start_paused = true)]
async fn splitting_is_bounded_in_requests() {
    let bad: Vec<u64> = (1..=2000).filter(|row| row % 4 == 0).collect();
    let stand = Stand {
        limits: Limits {
            max_rows: 2000,
            max_bytes: 1 << 20,
        },
        ..splitting(&bad)
    };
    let found = stand.drive(vec![rows(0, 2000)]).await;
    assert!(found.seen.len() <= 256, "{}", found.seen.len());
    assert_eq!(found.totals.finished(), 2000);
    assert!(found.totals.refused > 0 && found.totals.not_sent > 0 && found.totals.accepted > 0);
    let hints: Vec<_> = found.error().hints().collect();
    assert!(
        hints.iter().any(|hint| hint.contains("256 requests")),
        "{hints:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_payload_too_large_for_the_service_is_halved_and_later_ones_are_smaller() {
    let stand = Stand {
        limits: Limits {
            max_rows: 8,
            max_bytes: 1000,
        },
        // The header and five rows.
        takes_bytes: Some(4 + 5 * 6),
        ..Stand::default()
    };
    let found = stand
        .drive(vec![rows(0, 8), rows(0, 20), Feed::Checkpoint(0)])
        .await;
    assert!(found.result.is_ok(), "{:?}", found.result);
    assert_eq!((found.totals.accepted, found.delivered()), (28, vec![true]));
    let splits = found
        .reports
        .iter()
        .filter(|report| report.outcome == BatchOutcome::Split);
    assert!(
        splits.count() <= 3,
        "only those that were cut before the first answer"
    );
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_fails_for_a_passing_cause_does_not_keep_the_others_from_being_sent() {
    let stand = Stand::scripted([
        after(1, Accepted),
        after(1, Unknown),
        after(1, Accepted),
        after(1, NotSent),
    ]);
    let mut feed = Vec::new();
    for _ in 0..5 {
        feed.extend([rows(0, 2), Feed::Checkpoint(0)]);
    }
    let found = stand.drive(feed).await;
    assert_eq!(
        found.error().to_string(),
        "batch 2 came back",
        "the first failure"
    );
    assert_eq!(found.error().kind(), ErrorKind::Transient);
    assert_eq!(
        (found.totals.accepted, found.totals.unknown, found.totals.not_sent),
        (6, 2, 2)
    );
    assert_eq!(found.delivered(), [true, false, false, false, false]);
}

#[tokio::test(start_paused = true)]
async fn failures_in_a_row_for_one_cause_end_the_run() {
    let failing = |outcomes: [BatchOutcome; 6]| Stand::scripted(outcomes.map(|outcome| after(1, outcome)));
    let feed = || vec![rows(0, 40)];
    let found = failing([NotSent; 6]).drive(feed()).await;
    assert_eq!(found.seen.len(), 3);
    let hints: Vec<_> = found.error().hints().collect();
    assert!(
        hints.iter().any(|hint| hint.contains("3 batches in a row")),
        "{hints:?}"
    );
    // Another cause, or a success, begins anew.
    let found = failing([NotSent, NotSent, Unknown, NotSent, NotSent, Accepted])
        .drive(feed())
        .await;
    assert_eq!((found.seen.len(), found.totals.accepted), (20, 30));
}

#[tokio::test(start_paused = true)]
async fn a_batch_of_unknown_outcome_that_is_to_be_held_ends_the_run() {
    let stand = Stand {
        policy: Policy {
            on_unknown: OnUnknown::Hold,
            ..Policy::new("job")
        },
        ..Stand::scripted([after(1, Unknown)])
    };
    let found = stand.drive(vec![rows(0, 8)]).await;
    assert_eq!(
        (found.seen.len(), found.totals.unknown, found.totals.not_sent),
        (1, 2, 6)
    );
    assert_eq!(found.error().kind(), ErrorKind::Guard);
}

fn feeds() -> impl Strategy<Value = Vec<Feed>> {
    let one = prop_oneof![
        5 => (0..3_usize, prop::collection::vec(0..24_usize, 0..12)).prop_map(|(lane, rows)| Feed::Rows(lane, rows)),
        1 => (0..3_usize, 1..4_usize).prop_map(|(lane, rows)| Feed::Wider(lane, rows)),
        3 => (0..3_usize).prop_map(Feed::Checkpoint),
        1 => (0..60_u64).prop_map(|ms| Feed::Wait(Duration::from_millis(ms))),
    ];
    prop::collection::vec(one, 0..30)
}

fn scripts() -> impl Strategy<Value = Vec<Answer>> {
    let outcome =
        prop_oneof![30 => Just(Accepted), 1 => Just(Refused), 1 => Just(Unknown), 1 => Just(NotSent)];
    let one =
        (0..80_u64, outcome).prop_map(|(ms, outcome)| Answer::After(Duration::from_millis(ms), outcome));
    prop::collection::vec(one, 0..40)
}

proptest! {
    /// For any rows in any lanes, limits, concurrency, times and outcomes of uploads, and a cancel at any time: every
    /// row has one outcome, and a checkpoint is done only when every row before it is.
    #[test]
    fn rows_are_conserved_and_checkpoints_tell_the_truth(
        feed in feeds(),
        script in scripts(),
        max_rows in 1_usize..6,
        max_bytes in 16_usize..80,
        concurrency in 1_usize..6,
        cancel_at in prop::option::weighted(0.3, 0..400_u64),
        grace in 0..60_u64,
        dry_run in prop::bool::weighted(0.1),
        bad_rows in prop::collection::vec(1..40_u64, 0..3),
        takes_bytes in prop::option::weighted(0.3, 16..60_usize),
        (split, hold, max_consecutive_failures) in (any::<bool>(), any::<bool>(), 1..5_u32),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let limits = Limits { max_rows, max_bytes };
        let stand = Stand {
            script,
            limits,
            concurrency,
            dry_run,
            grace: Duration::from_millis(grace),
            cancel_at: cancel_at.map(Duration::from_millis),
            bad_rows: bad_rows.into_iter().map(|row| id(0, row, 0)).collect(),
            takes_bytes,
            policy: Policy {
                on_refused: if split { OnRefused::Split } else { OnRefused::Stop },
                on_unknown: if hold { OnUnknown::Hold } else { OnUnknown::Resend },
                max_consecutive_failures: max_consecutive_failures.try_into().unwrap(),
                ..Policy::new("job")
            },
            ..Stand::default()
        };
        let checkpoints = feed.iter().filter(|feed| matches!(feed, Feed::Checkpoint(_))).count();
        let found = runtime.block_on(stand.drive(feed));
        found.is_sound(limits, concurrency)?;
        prop_assert_eq!(found.checkpoints.len(), checkpoints);
        if found.result.is_ok() && !dry_run {
            prop_assert_eq!(found.totals.accepted + found.totals.rejected, found.rows_in);
            prop_assert!(found.delivered().iter().all(|delivered| *delivered));
        }
        if dry_run {
            prop_assert!(found.seen.is_empty());
        }
    }
}
