//! Several runs over the same rows with one ledger.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use proptest::prelude::*;

use super::fixture::{Feed, Fixture, Outcome, Step, Unknown, after, id, limits, rows, splitting};
use super::paused;
use crate::component::BatchOutcome;
use crate::delivery::{Limits, Mode, OnRefused, Policy, Verdict};
use crate::ledger::{Ledger, NewRun};

const RUNS: [&str; 6] = ["run-1", "run-2", "run-3", "run-4", "run-5", "run-6"];

struct Store(tempfile::TempDir);

impl Store {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("state.db")
    }

    /// Opens the ledger for one run, as the pipeline does.
    async fn run(&self, name: &'static str, fixture: Fixture, feed: Vec<Feed>) -> Outcome {
        let ledger = Ledger::open(&self.path()).await.unwrap();
        if !fixture.dry_run {
            let run = NewRun {
                id: name.to_owned(),
                pipeline: "hr.yaml".to_owned(),
                started: jiff::Timestamp::now(),
                allowed: Vec::new(),
                partial: false,
            };
            ledger.begin_run(run).await.unwrap();
        }
        let fixture = Fixture {
            ledger: Some(ledger),
            run: name,
            ..fixture
        };
        fixture.run(feed).await
    }
}

fn policy(set: impl FnOnce(&mut Policy)) -> Fixture {
    let mut policy = Policy::new("job");
    set(&mut policy);
    Fixture {
        policy,
        ..Fixture::default()
    }
}

fn skipped_and_accepted(outcome: &Outcome) -> (u64, u64) {
    (outcome.totals.skipped, outcome.totals.accepted)
}

#[tokio::test(start_paused = true)]
async fn sends_only_rows_that_the_job_has_not_accepted() {
    let store = Store::new();
    let feed = || vec![rows(0, 5), Feed::Checkpoint(0), rows(1, 3)];
    let more = || [feed(), vec![rows(0, 1)]].concat();
    let to = |job: &str| policy(|policy| policy.job = job.to_owned());
    let all = || policy(|policy| policy.mode = Mode::All);
    for (run, fixture, feed, expected) in [
        (RUNS[0], to("job"), feed(), (0, 8)),
        (RUNS[1], to("job"), feed(), (8, 0)),
        (RUNS[2], to("job"), more(), (8, 1)),
        (RUNS[3], to("another"), feed(), (0, 8)),
        // With `all` every row is sent, and recorded all the same.
        (RUNS[4], all(), [more(), vec![rows(0, 1)]].concat(), (0, 10)),
        (RUNS[5], to("job"), [more(), vec![rows(0, 1)]].concat(), (10, 0)),
    ] {
        let outcome = store.run(run, fixture, feed).await;
        assert_eq!(skipped_and_accepted(&outcome), expected, "{run}");
        assert_eq!(outcome.delivered(), [true], "{run}: a skipped row is final");
        assert_eq!(outcome.seen.is_empty(), expected.1 == 0, "{run}");
    }
}

#[tokio::test(start_paused = true)]
async fn resends_rows_of_unknown_outcome_and_reports_it() {
    let store = Store::new();
    let script = [after(0, Verdict::Accepted), after(0, Verdict::Unknown)];
    let first = store
        .run(RUNS[0], Fixture::scripted(script), vec![rows(0, 5)])
        .await;
    assert_eq!((first.totals.accepted, first.totals.unknown), (3, 2));
    // One of the two rows of the batch is no longer in the input.
    let second = store.run(RUNS[1], Fixture::default(), vec![rows(0, 3)]).await;
    assert_eq!(skipped_and_accepted(&second), (2, 1));
    assert_eq!(second.reports[0].resent_rows, 1);
    let [earlier] = &second.earlier[..] else {
        panic!("{:?}", second.earlier)
    };
    assert_eq!((&*earlier.run, earlier.number), (RUNS[0], 2));
    assert_eq!((earlier.rows, earlier.resent_rows), (2, 1));
    let third = store.run(RUNS[2], Fixture::default(), vec![rows(0, 3)]).await;
    assert_eq!(skipped_and_accepted(&third), (3, 0));
    assert_eq!(third.earlier.len(), 0, "reported once");
    // The other row returns: the service may have it.
    let fourth = store.run(RUNS[3], Fixture::default(), vec![rows(0, 5)]).await;
    assert_eq!(skipped_and_accepted(&fourth), (4, 1));
    assert_eq!(fourth.earlier[0].resent_rows, 1);
}

#[tokio::test(start_paused = true)]
async fn rejects_a_bad_row_in_every_run() {
    let store = Store::new();
    for (run, expected) in [(RUNS[0], (0, 3)), (RUNS[1], (3, 0)), (RUNS[2], (3, 0))] {
        let outcome = store.run(run, splitting(2, [2]), vec![rows(0, 4)]).await;
        assert!(outcome.result.is_ok(), "{:?}", outcome.result);
        assert_eq!(
            (skipped_and_accepted(&outcome), outcome.totals.rejected),
            (expected, 1)
        );
    }
    // With other columns, the job may reject every payload.
    let wider = Fixture {
        bad_rows: ["0-1-,more".to_owned()].into(),
        ..splitting(2, [])
    };
    let outcome = store.run(RUNS[3], wider, vec![Feed::Wider(0, 1)]).await;
    assert_eq!((outcome.totals.rejected, outcome.totals.refused), (0, 1));
}

fn scripts() -> impl Strategy<Value = Vec<Step>> {
    let verdict = prop_oneof![
        6 => Just(Verdict::Accepted),
        1 => Just(Verdict::PermanentlyRefused),
        2 => Just(Verdict::Unknown),
        1 => Just(Verdict::Transient),
    ];
    let one = verdict.prop_map(|verdict| Step::After(Duration::ZERO, verdict));
    prop::collection::vec(one, 0..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// After any runs and a successful last one, the service has every row. A row that it has twice was in a batch that a
    /// report called unknown, and a later report said that it was resent.
    #[test]
    fn loses_no_row_and_reports_every_row_sent_twice(
        lens in prop::collection::vec((0..2_usize, 0..9_usize), 1..6),
        scripts in prop::collection::vec(scripts(), 0..4),
        max_rows in 1_usize..5,
        concurrency in 1_usize..4,
        (split, max_consecutive_failures) in (any::<bool>(), 1..4_u32),
        bad in prop::collection::vec(1..20_u64, 0..2),
        accepted_if_unknown in any::<bool>(),
    ) {
        let runtime = paused();
        let bad: BTreeSet<String> = (0..2).flat_map(|partition| bad.iter().map(move |row| id(partition, *row, 0))).collect();
        let bad = if split { bad } else { BTreeSet::new() };
        let feed = || -> Vec<Feed> {
            let chunks = lens.iter();
            chunks.flat_map(|(partition, len)| [rows(*partition, *len), Feed::Checkpoint(*partition)]).collect()
        };
        let store = Store::new();
        let (mut times, mut unknown) = (BTreeMap::<String, u32>::new(), BTreeSet::<String>::new());
        let mut accepted = BTreeSet::new();
        let last = scripts.len();
        for (index, script) in scripts.into_iter().chain([Vec::new()]).enumerate() {
            let limits = Limits { max_bytes: 1000, ..limits(max_rows) };
            let fixture = Fixture {
                limits,
                concurrency,
                bad_rows: bad.clone(),
                policy: Policy {
                    on_refused: if split { OnRefused::Split } else { OnRefused::Stop },
                    max_consecutive_failures: max_consecutive_failures.try_into().unwrap(),
                    ..Policy::new("job")
                },
                ..Fixture::scripted(script)
            };
            let mut outcome = runtime.block_on(store.run(RUNS[index], fixture, feed()));
            outcome.delivered_before.clone_from(&accepted);
            outcome.check(limits, concurrency)?;
            let report = |key: &(u64, u32)| {
                outcome.reports.iter().find(|report| (report.number, report.part) == *key).unwrap()
            };
            for (key, seen) in &outcome.seen {
                let report = report(key);
                let resent = seen.rows.iter().filter(|row| unknown.contains(*row)).count() as u64;
                prop_assert_eq!(report.resent_rows, resent);
                if seen.accepted || report.outcome == Unknown && accepted_if_unknown {
                    for row in &seen.rows {
                        let times = times.entry(row.clone()).or_default();
                        *times += 1;
                        prop_assert!(*times == 1 || unknown.contains(row), "{} twice, unreported", row);
                    }
                }
            }
            for (key, seen) in &outcome.seen {
                match report(key).outcome {
                    Unknown => unknown.extend(seen.rows.iter().cloned()),
                    BatchOutcome::Accepted => {
                        unknown.retain(|row| !seen.rows.contains(row));
                        accepted.extend(seen.rows.iter().cloned());
                    }
                    _ => {}
                }
            }
            // If only bad rows are left, the service may reject every payload.
            if index == last && bad.is_empty() {
                prop_assert!(outcome.result.is_ok(), "{:?}", outcome.result);
                prop_assert!(outcome.delivered().iter().all(|delivered| *delivered));
            }
            if index == last && outcome.result.is_ok() {
                let rejected = &outcome.rejected;
                let all = outcome.checkpoints.iter().flat_map(|(before, ..)| before);
                let lost: Vec<_> = all.filter(|row| !times.contains_key(*row) && !rejected.contains(*row)).collect();
                prop_assert!(lost.is_empty(), "lost: {:?}", lost);
                prop_assert!(unknown.iter().all(|row| rejected.contains(row)), "no row is left unknown");
            }
        }
    }
}
