//! Several runs over the same rows, with one ledger between them.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::stand::{Accepted, Answer, Feed, Found, NotSent, Refused, Stand, Unknown, id};
use super::{after, rows};
use crate::component::BatchOutcome;
use crate::delivery::driver::*;
use crate::delivery::{Limits, Mode, OnRefused};
use crate::error::ErrorKind;
use crate::ledger::Ledger;

const RUNS: [&str; 6] = ["run-1", "run-2", "run-3", "run-4", "run-5", "run-6"];

/// A ledger in a folder of its own.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    /// Drives one run, as the pipeline does: the ledger is opened for it and closed after it.
    async fn run(&self, name: &'static str, stand: Stand, feed: Vec<Feed>) -> Found {
        let ledger = Ledger::open(&self.folder.path().join("state.db")).await.unwrap();
        if !stand.dry_run {
            let run = crate::ledger::NewRun {
                id: name.to_owned(),
                pipeline: "hr.yaml".to_owned(),
                started: jiff::Timestamp::now(),
                allowed: Vec::new(),
                partial: false,
            };
            ledger.begin_run(run).await.unwrap();
        }
        let stand = Stand {
            ledger: Some(ledger),
            run: name,
            ..stand
        };
        stand.drive(feed).await
    }
}

fn numbers(found: &Found) -> (u64, u64) {
    (found.totals.skipped, found.totals.accepted)
}

#[tokio::test(start_paused = true)]
async fn rows_that_the_job_has_are_not_sent_again() {
    let place = Place::new();
    let feed = || vec![rows(0, 5), Feed::Checkpoint(0), rows(1, 3)];
    let first = place.run(RUNS[0], Stand::default(), feed()).await;
    assert_eq!(numbers(&first), (0, 8));
    let second = place.run(RUNS[1], Stand::default(), feed()).await;
    assert_eq!(numbers(&second), (8, 0));
    assert!(second.seen.is_empty() && second.result.is_ok());
    assert_eq!(
        second.delivered(),
        [true],
        "a row that was delivered before is final"
    );
    let more = vec![rows(0, 5), Feed::Checkpoint(0), rows(1, 3), rows(0, 1)];
    let third = place.run(RUNS[2], Stand::default(), more).await;
    assert_eq!(numbers(&third), (8, 1));
}

#[tokio::test(start_paused = true)]
async fn all_rows_are_sent_again_if_that_is_asked_for_and_remembered_all_the_same() {
    let place = Place::new();
    let all = || Stand {
        policy: Policy {
            mode: Mode::All,
            ..Policy::new("job")
        },
        ..Stand::default()
    };
    for run in [RUNS[0], RUNS[1]] {
        assert_eq!(numbers(&place.run(run, all(), vec![rows(0, 5)]).await), (0, 5));
    }
    let changes = place.run(RUNS[2], Stand::default(), vec![rows(0, 5)]).await;
    assert_eq!(numbers(&changes), (5, 0));
}

#[tokio::test(start_paused = true)]
async fn another_job_has_not_what_one_has() {
    let place = Place::new();
    let to = |job: &str| Stand {
        policy: Policy::new(job),
        ..Stand::default()
    };
    place.run(RUNS[0], to("one"), vec![rows(0, 5)]).await;
    assert_eq!(
        numbers(&place.run(RUNS[1], to("other"), vec![rows(0, 5)]).await),
        (0, 5)
    );
    assert_eq!(
        numbers(&place.run(RUNS[2], to("one"), vec![rows(0, 5)]).await),
        (5, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn a_row_that_is_twice_in_the_input_is_sent_once() {
    let place = Place::new();
    // Two chunks of one lane, and a chunk of another scenario, with the same row: the padding is the row's text.
    let feed = vec![
        Feed::Same(0, 3),
        Feed::Checkpoint(0),
        Feed::Same(0, 2),
        Feed::Same(1, 1),
        Feed::Checkpoint(0),
    ];
    let found = place.run(RUNS[0], Stand::default(), feed).await;
    assert_eq!(numbers(&found), (4, 2));
    assert_eq!(found.delivered(), [true, true]);
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_tells_what_would_be_sent_and_changes_nothing() {
    let place = Place::new();
    let dry = || Stand {
        dry_run: true,
        ..Stand::default()
    };
    place.run(RUNS[0], Stand::default(), vec![rows(0, 3)]).await;
    for run in [RUNS[1], RUNS[2]] {
        let found = place.run(run, dry(), vec![rows(0, 5), Feed::Checkpoint(0)]).await;
        assert_eq!((found.totals.skipped, found.totals.not_sent), (3, 2));
        assert_eq!(found.delivered(), [false]);
    }
}

#[tokio::test(start_paused = true)]
async fn rows_of_unknown_outcome_are_sent_again_and_the_report_says_so() {
    let place = Place::new();
    let first = place
        .run(
            RUNS[0],
            Stand::scripted([after(0, Accepted), after(0, Unknown)]),
            vec![rows(0, 5)],
        )
        .await;
    assert_eq!((first.totals.accepted, first.totals.unknown), (3, 2));
    // Of the two rows of the batch one is no longer there.
    let second = place.run(RUNS[1], Stand::default(), vec![rows(0, 3)]).await;
    assert_eq!(numbers(&second), (2, 1));
    assert_eq!(second.reports[0].resent_rows, 1);
    let [earlier] = &second.earlier[..] else {
        panic!("{:?}", second.earlier)
    };
    let told = (
        earlier.run.as_str(),
        earlier.number,
        earlier.rows,
        earlier.resent_rows,
    );
    assert_eq!(told, (RUNS[0], 2, 2, 1));
    let third = place.run(RUNS[2], Stand::default(), vec![rows(0, 3)]).await;
    assert_eq!(
        (numbers(&third), third.earlier.len()),
        ((3, 0), 0),
        "it was told once"
    );
    // The other row is back: that the service may have it is not forgotten.
    let fourth = place.run(RUNS[3], Stand::default(), vec![rows(0, 5)]).await;
    assert_eq!((numbers(&fourth), fourth.earlier[0].resent_rows), ((4, 1), 1));
}

#[tokio::test(start_paused = true)]
async fn rows_of_unknown_outcome_hold_the_next_run_if_that_is_asked_for() {
    let place = Place::new();
    place
        .run(RUNS[0], Stand::scripted([after(0, Unknown)]), vec![rows(0, 2)])
        .await;
    let hold = Stand {
        policy: Policy {
            on_unknown: OnUnknown::Hold,
            ..Policy::new("job")
        },
        ..Stand::default()
    };
    let found = place
        .run(RUNS[1], hold, vec![rows(0, 4), Feed::Checkpoint(0)])
        .await;
    assert_eq!(found.error().kind(), ErrorKind::Guard);
    let told = found.error().to_string();
    assert!(told.contains("batch 1 of run run-1 (2 rows"), "{told}");
    assert_eq!((found.seen.len(), found.totals.not_sent), (0, 4));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_sent_while_another_run_sends_the_same_to_the_same_job() {
    let place = Place::new();
    let other = Ledger::open(&place.folder.path().join("state.db")).await.unwrap();
    let lock = other.lock_job("job", "second", "other-run").unwrap();
    let found = place.run(RUNS[0], Stand::default(), vec![rows(0, 2)]).await;
    assert_eq!(
        (found.error().kind(), found.seen.len()),
        (ErrorKind::Transient, 0)
    );
    drop(lock);
    let found = place.run(RUNS[1], Stand::default(), vec![rows(0, 2)]).await;
    assert_eq!(numbers(&found), (0, 2));
}

#[tokio::test(start_paused = true)]
async fn a_bad_row_that_is_left_alone_is_put_aside_each_time() {
    let place = Place::new();
    let split = || Stand {
        bad_rows: [id(0, 2, 0)].into(),
        policy: Policy {
            on_refused: OnRefused::Split,
            ..Policy::new("job")
        },
        ..Stand::default()
    };
    for (run, sent) in [(RUNS[0], (0, 3)), (RUNS[1], (3, 0)), (RUNS[2], (3, 0))] {
        let found = place.run(run, split(), vec![rows(0, 4)]).await;
        assert!(found.result.is_ok(), "{:?}", found.result);
        assert_eq!((numbers(&found), found.totals.rejected), (sent, 1));
    }
    // With other columns nothing says that the job takes such payloads at all.
    let wider = place
        .run(
            RUNS[3],
            Stand {
                bad_rows: ["0-1-,more".to_owned()].into(),
                ..split()
            },
            vec![Feed::Wider(0, 1)],
        )
        .await;
    assert_eq!((wider.totals.rejected, wider.totals.refused), (0, 1));
}

fn scripts() -> impl Strategy<Value = Vec<Answer>> {
    let outcome =
        prop_oneof![6 => Just(Accepted), 1 => Just(Refused), 2 => Just(Unknown), 1 => Just(NotSent)];
    let one = outcome.prop_map(|outcome| Answer::After(Duration::ZERO, outcome));
    prop::collection::vec(one, 0..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// For any outcomes in any number of runs, the last of which goes well: the service has every row, and one that it
    /// has twice was in a batch that a report called unknown, and was called sent again by a later one.
    #[test]
    fn no_row_is_lost_and_none_is_sent_twice_unsaid(
        lens in prop::collection::vec((0..2_usize, 0..9_usize), 1..6),
        scripts in prop::collection::vec(scripts(), 0..4),
        max_rows in 1_usize..5,
        concurrency in 1_usize..4,
        (split, max_consecutive_failures) in (any::<bool>(), 1..4_u32),
        bad in prop::collection::vec(1..20_u64, 0..2),
        taken_if_unknown in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let bad: BTreeSet<String> = (0..2).flat_map(|lane| bad.iter().map(move |row| id(lane, *row, 0))).collect();
        let bad = if split { bad } else { BTreeSet::new() };
        let feed = || -> Vec<Feed> { lens.iter().flat_map(|(lane, len)| [rows(*lane, *len), Feed::Checkpoint(*lane)]).collect() };
        let place = Place::new();
        let (mut has, mut unknown, mut said) = (BTreeMap::<String, u32>::new(), BTreeSet::<String>::new(), 0);
        let mut rejected = BTreeSet::new();
        let mut known = BTreeSet::new();
        let last = scripts.len();
        for (index, script) in scripts.into_iter().chain([Vec::new()]).enumerate() {
            let limits = Limits { max_rows, max_bytes: 1000 };
            let stand = Stand {
                limits,
                concurrency,
                bad_rows: bad.clone(),
                policy: Policy {
                    on_refused: if split { OnRefused::Split } else { OnRefused::Stop },
                    max_consecutive_failures: max_consecutive_failures.try_into().unwrap(),
                    ..Policy::new("job")
                },
                ..Stand::scripted(script)
            };
            let mut found = runtime.block_on(place.run(RUNS[index], stand, feed()));
            found.known.clone_from(&known);
            found.is_sound(limits, concurrency)?;
            let all: BTreeSet<String> = found.checkpoints.iter().flat_map(|(before, ..)| before.iter().cloned()).collect();
            for ((number, part), seen) in &found.seen {
                let report = found.reports.iter().find(|report| (report.number, report.part) == (*number, *part)).unwrap();
                let taken = seen.accepted || report.outcome == Unknown && taken_if_unknown;
                let before = seen.rows.iter().filter(|row| unknown.contains(*row)).count() as u64;
                prop_assert_eq!(report.resent_rows, before);
                for row in &seen.rows {
                    if taken {
                        let times = has.entry(row.clone()).or_default();
                        *times += 1;
                        prop_assert!(*times == 1 || unknown.contains(row), "{} twice, and nobody said so", row);
                    }
                }
            }
            said += found.earlier.iter().map(|batch| batch.resent_rows).sum::<u64>();
            for ((number, part), seen) in &found.seen {
                let report = found.reports.iter().find(|report| (report.number, report.part) == (*number, *part)).unwrap();
                match report.outcome {
                    Unknown => unknown.extend(seen.rows.iter().cloned()),
                    BatchOutcome::Accepted => {
                        unknown.retain(|row| !seen.rows.contains(row));
                        known.extend(seen.rows.iter().cloned());
                    }
                    _ => {}
                }
            }
            rejected.clone_from(&found.rejected);
            // With bad rows alone in a shape, the service's objection may be to all there is.
            if index == last && bad.is_empty() {
                prop_assert!(found.result.is_ok(), "{:?}", found.result);
                prop_assert!(found.delivered().iter().all(|delivered| *delivered));
            }
            if index == last && found.result.is_ok() {
                let lost: Vec<_> = all.iter().filter(|row| !has.contains_key(*row) && !rejected.contains(*row)).collect();
                prop_assert!(lost.is_empty(), "lost: {lost:?}");
                prop_assert!(unknown.iter().all(|row| rejected.contains(row)), "no row is left unknown");
            }
        }
        let _ = said;
    }
}
