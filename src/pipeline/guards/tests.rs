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

fn judge(guards: Value, last: Option<LastRun>) -> Judge {
    Judge {
        sinks: vec![Guarded {
            sink: "purview".into(),
            guards: serde_json::from_value(guards).unwrap(),
            last,
        }],
        allowed: BTreeSet::new(),
        partial: false,
        nothing_new: Box::new(|| false),
        totals: Box::new(Totals::default),
    }
}

fn came(rows: u64) -> Figures {
    Figures {
        rows,
        ..Figures::default()
    }
}

/// The outcome of the only guard for so many rows.
fn outcome(judge: &Judge, rows: u64) -> GuardOutcome {
    let judged = judge.judge(&[came(rows)]);
    assert_eq!(judged.len(), 1);
    judged[0].outcome
}

use GuardOutcome::{Allowed, NotJudged, Passed, Tripped};

#[test]
fn a_figure_at_its_limit_passes_and_one_beyond_trips() {
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
        let judge = judge(guards.clone(), last);
        assert_eq!(outcome(&judge, good), Passed, "{guards}");
        assert_eq!(outcome(&judge, bad), Tripped, "{guards}");
    }
    assert_eq!(
        outcome(&judge(json!({"max_shrink": 1}), Some(last(100))), 0),
        Passed
    );
    assert_eq!(
        outcome(&judge(json!({"max_shrink": 0}), Some(last(0))), 0),
        Passed
    );
}

#[test]
fn more_rows_than_can_pass_are_known_before_the_end() {
    let guards = json!({"max_rows": 120, "max_growth": 0.5, "min_rows": 1});
    let mut judge = judge(guards, Some(last(100)));
    assert_eq!(judge.most_rows(0), 120);
    judge.allowed.insert(Guard::MaxRows);
    assert_eq!(judge.most_rows(0), 150);
    judge.allowed.insert(Guard::MaxGrowth);
    assert_eq!(judge.most_rows(0), u64::MAX);
    judge.allowed.clear();
    judge.sinks[0].last = None;
    assert_eq!(judge.most_rows(0), 120);
}

#[test]
fn rejects_are_judged_as_a_share_of_the_rows_to_send() {
    let mut judge = judge(json!({"max_reject_ratio": 0.05}), None);
    let mut with = |rejected| {
        judge.totals = Box::new(move || Totals {
            read: 300,
            copied: 200,
            filtered: 100,
            rejected,
            ..Totals::default()
        });
        judge.judge(&[came(0)]).remove(0)
    };
    let (good, bad) = (with(20), with(21));
    assert_eq!((good.outcome, good.figure), (Passed, Some(Figure::Share(0.05))));
    assert_eq!(bad.outcome, Tripped);
    assert_eq!(bad.why, "21 of 400 rows put aside, at most 20 allowed");
    judge.totals = Box::new(Totals::default);
    assert_eq!(outcome(&judge, 0), Passed);
}

#[test]
fn rows_of_a_person_are_judged_and_counted_and_the_person_is_not_named() {
    let judge = judge(json!({"max_rows_per_person": 2}), None);
    let figures = |most_per_person, persons_over| Figures {
        rows: 50,
        most_per_person,
        persons_over,
    };
    assert_eq!(judge.judge(&[figures(2, 0)])[0].outcome, Passed);
    let judged = judge.judge(&[figures(7, 3)]).remove(0);
    assert_eq!(judged.outcome, Tripped);
    assert_eq!(
        judged.why,
        "up to 7 rows of one person, at most 2 allowed; 3 persons have more"
    );
}

#[test]
fn what_cannot_be_judged_is_said() {
    let all = json!({"min_rows": 5, "max_rows": 9, "max_shrink": 0.1, "max_growth": 0.1});
    let outcomes = |judge: &Judge| -> Vec<_> {
        let judged = judge.judge(&[came(1)]);
        judged
            .into_iter()
            .map(|judged| (judged.guard, judged.outcome))
            .collect()
    };
    let first = judge(all.clone(), None);
    assert_eq!(
        outcomes(&first),
        [
            (Guard::MinRows, Tripped),
            (Guard::MaxRows, Passed),
            (Guard::MaxShrink, NotJudged),
            (Guard::MaxGrowth, NotJudged)
        ]
    );
    assert!(first.judge(&[came(1)])[2].why.contains("no complete run"));
    let mut partial = judge(all, Some(last(100)));
    partial.partial = true;
    assert_eq!(
        outcomes(&partial),
        [
            (Guard::MinRows, NotJudged),
            (Guard::MaxRows, Passed),
            (Guard::MaxShrink, NotJudged),
            (Guard::MaxGrowth, Passed)
        ]
    );
    assert!(partial.judge(&[came(1)])[0].why.contains("in part"));
}

#[test]
fn an_allowed_guard_lets_the_run_through_and_the_others_still_count() {
    let mut judge = judge(json!({"max_rows": 5, "max_growth": 0.5}), Some(last(2)));
    judge.allowed.insert(Guard::MaxRows);
    let judged = judge.judge(&[came(6)]);
    assert_eq!((judged[0].outcome, judged[1].outcome), (Allowed, Tripped));
    let error = tripped("purview", &judged).unwrap();
    assert!(!error.to_string().contains("max_rows"), "{error}");
    judge.allowed.insert(Guard::MaxGrowth);
    assert!(tripped("purview", &judge.judge(&[came(6)])).is_none());
}

#[test]
fn the_error_says_figures_limits_and_the_last_run_and_how_to_let_it_through() {
    let judge = judge(json!({"max_rows": 500, "max_growth": 0.5}), Some(last(200)));
    let judged = judge.judge(&[came(901)]);
    let error = tripped("purview", &judged).unwrap();
    assert_eq!(error.kind(), ErrorKind::Guard);
    assert_eq!(
        error.chain(),
        "guards of the sink `purview` stopped the run, nothing was sent: \
         `max_rows`: 901 rows, at most 500 allowed; \
         `max_growth`: 901 rows after 200 in the last complete run (ended 2026-01-05T06:00:00Z): \
         701 more, at most 100 more allowed"
    );
    let hints: Vec<_> = error.hints().collect();
    assert_eq!(
        hints.len(),
        3,
        "the cause that two guards share stands once: {hints:?}"
    );
    assert!(
        hints[2].contains("`--allow max_rows --allow max_growth`"),
        "{hints:?}"
    );
    assert!(tripped("other", &judged).is_none());
}

#[test]
fn the_report_has_numbers_of_rows_as_whole_numbers() {
    let judge = judge(json!({"max_rows": 500, "max_growth": 0.5}), Some(last(200)));
    let report = GuardsReport {
        staged: true,
        judged: judge.judge(&[came(300)]),
    };
    assert_eq!(
        serde_json::to_value(report).unwrap(),
        json!({"staged": true, "judged": [
            {
                "sink": "purview", "guard": "max_rows", "outcome": "passed", "figure": 300, "limit": 500,
                "why": "300 rows, at most 500 allowed",
            },
            {
                "sink": "purview", "guard": "max_growth", "outcome": "passed", "figure": 0.5, "limit": 0.5,
                "last": {"run": "0198", "ended": "2026-01-05T06:00:00.123Z", "rows": 200},
                "why": "300 rows after 200 in the last complete run (ended 2026-01-05T06:00:00Z): 100 more, at most 100 more allowed",
            },
        ]})
    );
}

proptest! {
    /// A limit written with decimals means what it says: `k` of `whole` rows is no more than `k/whole`, written out.
    #[test]
    fn a_share_written_out_is_a_limit_met(part in 0u64..=1000) {
        let limit: f64 = format!("{}.{:03}", part / 1000, part % 1000).parse().unwrap();
        for thousands in [1, 7, 1_000_000] {
            prop_assert!(!is_over(part * thousands, 1000 * thousands, limit));
            prop_assert!(is_over(part * thousands + 1, 1000 * thousands, limit));
        }
    }

    #[test]
    fn the_number_allowed_is_the_last_that_does_not_trip(limit in 0.0f64..20.0, whole in 1u64..1_000_000_000_000) {
        let most = within(limit, whole);
        prop_assert!(!is_over(most, whole, limit));
        prop_assert!(is_over(most + 1, whole, limit));
    }
}
