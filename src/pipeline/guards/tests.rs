use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn last(rows: u64) -> LastRun {
    LastRun {
        run: "0198".to_owned(),
        ended: "2026-01-05T06:00:00.123Z".parse().unwrap(),
        rows,
    }
}

fn evaluator(guards: Value, last: Option<LastRun>) -> Evaluator {
    Evaluator {
        sinks: vec![Guarded {
            sink: "purview".into(),
            guards: serde_json::from_value(guards).unwrap(),
            last,
        }],
        allowed: BTreeSet::new(),
        partial: false,
        sources: Vec::new(),
        all: Vec::new(),
    }
}

fn received(rows: u64) -> Figures {
    Figures {
        rows,
        ..Figures::default()
    }
}

/// The outcome of the only guard for so many rows.
fn outcome(evaluator: &Evaluator, rows: u64) -> GuardOutcome {
    let evaluated = evaluator.evaluate(&[received(rows)]);
    assert_eq!(evaluated.len(), 1);
    evaluated[0].outcome
}

use GuardOutcome::{NotEvaluated, Passed, Tripped};

#[test]
fn passes_at_the_limit_and_trips_beyond() {
    let cases = [
        (json!({"min_rows": 10}), None, 10, 9),
        (json!({"max_rows": 10}), None, 10, 11),
        (json!({"max_shrink": 0.29}), Some(last(100)), 71, 70),
        (json!({"max_shrink": 0}), Some(last(100)), 100, 99),
        (json!({"max_growth": 0.5}), Some(last(100)), 150, 151),
        (json!({"max_growth": 0}), Some(last(100)), 100, 101),
        (json!({"max_growth": 3}), Some(last(0)), 0, 1),
    ];
    for (guards, last, good, bad) in cases {
        let evaluator = evaluator(guards.clone(), last);
        assert_eq!(outcome(&evaluator, good), Passed, "{guards}");
        assert_eq!(outcome(&evaluator, bad), Tripped, "{guards}");
    }
    for (max_shrink, rows) in [(1, 100), (0, 0)] {
        let evaluator = evaluator(json!({"max_shrink": max_shrink}), Some(last(rows)));
        assert_eq!(outcome(&evaluator, 0), Passed);
    }
}

#[test]
fn knows_the_most_rows_that_can_pass() {
    let guards = json!({"max_rows": 120, "max_growth": 0.5, "min_rows": 1});
    let mut evaluator = evaluator(guards, Some(last(100)));
    assert_eq!(evaluator.max_rows(0), 120);
    evaluator.allowed.insert(Guard::MaxRows);
    assert_eq!(evaluator.max_rows(0), 150);
    evaluator.allowed.insert(Guard::MaxGrowth);
    assert_eq!(evaluator.max_rows(0), u64::MAX);
    evaluator.allowed.clear();
    evaluator.sinks[0].last = None;
    assert_eq!(evaluator.max_rows(0), 120);
}

#[test]
fn compares_rejects_with_the_rows_to_send() {
    let mut evaluator = evaluator(json!({"max_reject_ratio": 0.05}), None);
    let counts = Counts::default();
    counts.read(300);
    counts.copied(200);
    counts.filtered(100);
    counts.rejected(20);
    evaluator.all = vec![counts.clone()];
    let good = evaluator.evaluate(&[received(0)]).remove(0);
    counts.rejected(1);
    let bad = evaluator.evaluate(&[received(0)]).remove(0);
    assert_eq!((good.outcome, good.figure), (Passed, Some(Figure::Ratio(0.05))));
    assert_eq!(bad.outcome, Tripped);
    assert_eq!(bad.why, "21 of 400 rows rejected, at most 20 allowed");
    evaluator.all.clear();
    assert_eq!(outcome(&evaluator, 0), Passed);
}

#[test]
fn counts_rows_of_a_person_without_naming_the_person() {
    let evaluator = evaluator(json!({"max_rows_per_person": 2}), None);
    for (max_rows, over, rows_over, outcome, more) in [
        (2, 0, 0, Passed, ""),
        (7, 1, 7, Tripped, "; 1 person has more, 7 rows in all"),
        (7, 3, 15, Tripped, "; 3 people have more, 15 rows in all"),
    ] {
        let why = format!("up to {max_rows} rows of one person, at most 2 allowed{more}");
        let people = PeopleFigures {
            max_rows,
            over,
            rows_over,
        };
        let evaluated = evaluator.evaluate(&[Figures { rows: 50, people }]).remove(0);
        assert_eq!((evaluated.outcome, evaluated.why), (outcome, why));
    }
}

#[test]
fn lists_guards_that_cannot_be_evaluated() {
    let all = json!({"min_rows": 5, "max_rows": 9, "max_shrink": 0.1, "max_growth": 0.1});
    let (first, part) = (
        [Tripped, Passed, NotEvaluated, NotEvaluated],
        [NotEvaluated, Passed, NotEvaluated, Passed],
    );
    for (partial, last, outcomes, at, why) in [
        (false, None, first, 2, "no earlier complete run"),
        (true, Some(last(100)), part, 0, "only part of"),
    ] {
        let mut evaluator = evaluator(all.clone(), last);
        evaluator.partial = partial;
        let evaluated = evaluator.evaluate(&[received(1)]);
        assert!(evaluated.iter().map(|evaluated| evaluated.outcome).eq(outcomes));
        assert!(evaluated[at].why.contains(why), "{}", evaluated[at].why);
    }
}

#[test]
fn serializes_row_counts_as_integers() {
    let evaluator = evaluator(json!({"max_rows": 500, "max_growth": 0.5}), Some(last(200)));
    let report = serde_json::to_value(evaluator.evaluate(&[received(300)])).unwrap();
    assert_eq!(
        report[1],
        json!({
            "sink": "purview", "guard": "max_growth", "outcome": "passed", "figure": 0.5, "limit": 0.5,
            "last": {"run": "0198", "ended": "2026-01-05T06:00:00.123Z", "rows": 200},
            "why": "300 rows after 200 in the last complete run (ended 2026-01-05T06:00:00Z): 100 more, at most 100 more allowed",
        })
    );
    let actual = (&report[0]["figure"], &report[0]["limit"]);
    assert_eq!(actual, (&json!(300), &json!(500)));
}

proptest! {
    /// A limit written with decimals means what it says: `k` of `whole` rows is no more than `k/whole`, written out.
    #[test]
    fn accepts_a_ratio_equal_to_the_written_limit(part in 0u64..=1000) {
        let limit: f64 = format!("{}.{:03}", part / 1000, part % 1000).parse().unwrap();
        for thousands in [1, 7, 1_000_000] {
            prop_assert!(!is_over(part * thousands, 1000 * thousands, limit));
            prop_assert!(is_over(part * thousands + 1, 1000 * thousands, limit));
        }
    }

    #[test]
    fn allows_the_most_rows_that_do_not_trip(limit in 0.0f64..20.0, whole in 1u64..1_000_000_000_000) {
        let most = within(limit, whole);
        prop_assert!(!is_over(most, whole, limit));
        prop_assert!(is_over(most + 1, whole, limit));
    }
}
