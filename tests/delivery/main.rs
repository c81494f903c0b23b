//! Whole runs against a service that refuses, fails, drops connections and is slow: every row has a true outcome, and
//! every failure a hint.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

/// Asserts the row counts of a report.
macro_rules! assert_rows {
    ($report:expr, $read:expr $(, $count:ident: $rows:expr)* $(; $($message:tt)+)?) => {
        assert_eq!(
            $report.rows,
            crate::totals($read, |_rows| { $(_rows.$count = $rows;)* })
            $(, $($message)+)?
        );
    };
}

mod changes;
mod faults;
mod guarded;
#[path = "../support/infinite.rs"]
mod infinite_source;
mod positions;
mod refused;
mod resolving;
mod several;
mod split;
mod stopping;
mod success;
#[path = "../support/mod.rs"]
mod support;
mod unknown;

use hrsink::pipeline::{ErrorReport, RunReport};
use hrsink::plugin::{BatchOutcome, Totals};
use serde_json::{Value, json};
use support::{CLIENT, JOB, Pipeline, SECRET, TENANT, failure};
use test_server::{Reply, Step};

const OTHER_ID: &str = "11111111-2222-4333-8444-555555555555";

fn totals(read: u64, set: impl FnOnce(&mut Totals)) -> Totals {
    let mut totals = Totals {
        read,
        ..Totals::default()
    };
    set(&mut totals);
    totals
}

/// The error of a failed run, with these texts in its message or hints.
fn fails<'r>(report: &'r RunReport, code: u8, texts: &[&str]) -> &'r ErrorReport {
    let error = failure(report, code);
    let shown = format!("{}\n{}", error.message, error.hints.join("\n"));
    for text in texts {
        assert!(shown.contains(text), "{text}: {shown}");
    }
    error
}

fn outcomes(report: &RunReport) -> Vec<(u64, BatchOutcome, u32)> {
    let batches = report.batches.iter();
    let mut found: Vec<_> = batches
        .map(|batch| (batch.number, batch.outcome, batch.attempts))
        .collect();
    found.sort_unstable_by_key(|(number, ..)| *number);
    found
}

/// Settings of an emulator with one app and one job.
fn strict() -> Value {
    json!({
        "apps": [{"tenant_id": TENANT, "client_id": CLIENT, "client_secret": SECRET}],
        "jobs": [{"job_id": JOB, "client_id": CLIENT, "scenarios": ["employee_resignation"]}],
    })
}

fn token() -> Step {
    Reply::ok(json!({"access_token": "a-token", "token_type": "Bearer", "expires_in": "3599"})).into()
}

fn ok() -> Step {
    Reply::new(200).into()
}

/// Has the transform reject these rows.
fn reject_row(pipeline: &mut Pipeline, row: usize) {
    let case = format!(
        "CASE WHEN upn = '{}' THEN 'no address' ELSE upn END",
        support::email(row)
    );
    pipeline.file["transforms"]["resignations"]["fields"]["EmailAddress"] = json!(case);
}

/// A pipeline with an infinite source: each chunk of ten rows is an upload.
fn infinite(url: &str) -> Pipeline {
    let mut pipeline = Pipeline::new(url, 0);
    pipeline.file["sources"]["export"] = json!({"type": "infinite", "chunk_rows": 10});
    pipeline.sink()["batch"]["max_rows"] = json!(10);
    pipeline
}
