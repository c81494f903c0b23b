//! Whole runs against a service that refuses, fails, drops connections and is slow: every row has an outcome that is
//! true, and every failure says what to do.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;
#[path = "common/endless.rs"]
mod endless;

use std::time::Duration;

use common::{
    CLIENT, JOB, Pipeline, SECRET, TENANT, arrived, email, emails, emulator, emulator_with, failure, sink,
    until,
};
use hrsink::component::{BatchOutcome, RejectCode, Totals};
use hrsink::error::ErrorKind;
use hrsink::http::scripted::{Reply, Scripted, Step};
use hrsink::pipeline::{Observer, RunOptions, RunReport};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

const OTHER_ID: &str = "11111111-2222-4333-8444-555555555555";

fn totals(read: u64, set: impl FnOnce(&mut Totals)) -> Totals {
    let mut totals = Totals {
        read,
        ..Totals::default()
    };
    set(&mut totals);
    totals
}

fn outcomes(report: &RunReport) -> Vec<(u64, BatchOutcome, u32)> {
    let mut found: Vec<_> = report
        .batches
        .iter()
        .map(|batch| (batch.number, batch.outcome, batch.attempts))
        .collect();
    found.sort_unstable_by_key(|(number, ..)| *number);
    found
}

use BatchOutcome::{Accepted, NotSent, Refused, Unknown};

/// Settings of an emulator that knows one app and one job.
fn strict() -> Value {
    json!({
        "apps": [{"tenant_id": TENANT, "client_id": CLIENT, "client_secret": SECRET}],
        "jobs": [{"job_id": JOB, "client_id": CLIENT, "scenarios": ["employee_resignation"]}],
    })
}

fn token() -> Step {
    let body = json!({"access_token": "a-token", "token_type": "Bearer", "expires_in": "3599"});
    Reply::new(200).json(&body).into()
}

// What goes well.

#[tokio::test]
async fn a_run_takes_one_token_and_one_request_a_batch() {
    let ok = || Reply::new(200).into();
    let server = Scripted::start([token(), ok(), ok(), ok()]).await.unwrap();
    let report = Pipeline::new(&server.url(), 5).run().await;
    assert_eq!(report.exit_code, 0);
    assert_eq!(report.rows, totals(5, |rows| rows.accepted = 5));
    assert_eq!(
        outcomes(&report),
        [(1, Accepted, 1), (2, Accepted, 1), (3, Accepted, 1)]
    );
    let requests = server.finish().unwrap();
    assert!(
        requests[0].path.starts_with(&format!("/{TENANT}/oauth2/token")),
        "{}",
        requests[0].path
    );
    for (request, rows) in requests[1..].iter().zip([2, 2, 1]) {
        assert_eq!(request.path, format!("/api/signals?jobid={JOB}"));
        assert_eq!(request.header("authorization"), Some("Bearer a-token"));
        assert_eq!(request.text().matches("@contoso.com").count(), rows);
    }
}

#[tokio::test]
async fn concurrent_uploads_share_one_token_and_every_row_arrives_once() {
    let emulator = emulator("latency=5ms").await;
    let mut pipeline = Pipeline::new(&emulator.url(), 41);
    pipeline.sink()["request"]["concurrency"] = json!(8);
    let report = pipeline.run().await;
    assert_eq!((report.exit_code, report.batches.len()), (0, 21));
    assert_eq!(arrived(&emulator), emails(41));
    let status = emulator.status();
    assert_eq!((status.tokens_issued, status.uploads), (1, 21));
}

#[tokio::test]
async fn a_dry_run_asks_nobody_for_anything() {
    let server = Scripted::start(Vec::<Step>::new()).await.unwrap();
    let options = RunOptions {
        dry_run: true,
        ..RunOptions::default()
    };
    let report = Pipeline::new(&server.url(), 3)
        .run_with(options, &Observer::default())
        .await;
    assert_eq!((report.exit_code, report.dry_run), (0, true));
    assert_eq!(report.rows, totals(3, |rows| rows.not_sent = 3));
    assert_eq!(outcomes(&report), [(1, NotSent, 0), (2, NotSent, 0)]);
    assert!(server.finish().unwrap().is_empty());
}

#[tokio::test]
async fn a_limit_takes_the_first_rows_of_each_source() {
    let emulator = emulator("").await;
    let mut pipeline = Pipeline::new(&emulator.url(), 9);
    pipeline.write(
        "more.csv",
        "upn,resigned,last_day\nz@contoso.com,2026-03-02T09:00:00Z,2026-03-02T09:00:00Z\n",
    );
    pipeline.file["sources"]["more"] = json!({"type": "file", "path": "more.csv"});
    pipeline.file["transforms"]["resignations"]["inputs"] = json!(["export", "more"]);
    let options = RunOptions {
        limit: Some(3),
        ..RunOptions::default()
    };
    let report = pipeline.run_with(options, &Observer::default()).await;
    assert_eq!(
        (report.exit_code, report.rows.read, report.rows.accepted),
        (0, 4, 4)
    );
    assert_eq!(
        arrived(&emulator),
        [emails(3), vec!["z@contoso.com".to_owned()]].concat()
    );
}

#[tokio::test]
async fn a_row_larger_than_an_upload_is_put_aside_and_the_others_go() {
    let emulator = emulator("").await;
    let mut pipeline = Pipeline::new(&emulator.url(), 0);
    let long = "ü".repeat(600);
    pipeline.write(
        "export.csv",
        &format!(
            "upn,first,last\n{},Ada,Byron\n{},Grace,{long}\n{},Emmy,Noether\n",
            email(1),
            email(2),
            email(3)
        ),
    );
    pipeline.file["transforms"]["resignations"] = json!({
        "type": "hr_schema",
        "inputs": ["export"],
        "scenario": "employee_profile",
        "fields": {"EmployeeAddressLine1": "'1 Main Street'", "EmployeeZipCode": "'00501'", "EmailAddress": "upn", "EmployeeFirstName": "first", "EmployeeLastName": "last"},
    });
    pipeline.sink()["batch"] = json!({"max_bytes": "1KiB"});
    pipeline.file["rejects"] = json!({"max_ratio": 0.5});
    let report = pipeline.run().await;
    assert_eq!(report.exit_code, 0);
    assert_eq!((report.rows.accepted, report.rows.rejected), (2, 1));
    assert_eq!(report.rejects.by_reason[0].code, RejectCode::TooLarge);
    assert_eq!(arrived(&emulator), [email(1), email(3)]);
    let rejects = std::fs::read_to_string(report.rejects.path.unwrap()).unwrap();
    assert!(
        rejects.contains("\"row\":2") && rejects.contains("1024 bytes"),
        "{rejects}"
    );
}

// What the service refuses.

#[tokio::test]
async fn a_wrong_secret_is_asked_about_once_and_nothing_is_sent() {
    // The fault would show in the counts if there were a second request for a token.
    for concurrency in [1, 4] {
        let mut settings = strict();
        settings["faults"] = json!("token_503=nth:2");
        let emulator = emulator_with(settings).await;
        let mut pipeline = Pipeline::new(&emulator.url(), 6);
        pipeline.sink()["request"]["concurrency"] = json!(concurrency);
        pipeline.write("secret", "the-id-of-the-secret");
        let report = pipeline.run().await;
        let error = failure(&report, 5);
        assert_eq!(
            (error.component.as_deref(), error.kind),
            (Some("purview"), ErrorKind::Refused)
        );
        assert!(error.message.contains("AADSTS7000215"), "{}", error.message);
        assert!(
            error.hints[0].contains("use the secret's value, not its ID"),
            "{:?}",
            error.hints
        );
        assert_eq!(report.rows, totals(6, |rows| rows.not_sent = 6));
        let status = emulator.status();
        assert_eq!((status.uploads, status.tokens_issued), (0, 0));
        assert!(status.injected.is_empty(), "{:?}", status.injected);
    }
}

#[tokio::test]
async fn every_refusal_of_credentials_says_what_to_change() {
    let expired =
        json!([{"tenant_id": TENANT, "client_id": CLIENT, "client_secret": SECRET, "secret_expired": true}]);
    let cases: [(&str, Value, &str, &str, &str); 4] = [
        (
            "/tenant_id",
            json!(OTHER_ID),
            "AADSTS90002:",
            "directory (tenant) ID",
            OTHER_ID,
        ),
        (
            "/auth/client_id",
            json!(OTHER_ID),
            "AADSTS700016:",
            "not the object ID",
            OTHER_ID,
        ),
        (
            "/cloud/resource",
            json!("https://other.example"),
            "AADSTS500011:",
            "consent",
            "https://other.example",
        ),
        ("", Value::Null, "AADSTS7000222:", "has expired", CLIENT),
    ];
    for (pointer, value, code, advice, named) in cases {
        let mut settings = strict();
        if pointer.is_empty() {
            settings["apps"] = expired.clone();
        }
        let emulator = emulator_with(settings).await;
        let mut pipeline = Pipeline::new(&emulator.url(), 2);
        if let Some(place) = pipeline
            .sink()
            .pointer_mut(pointer)
            .filter(|_| !pointer.is_empty())
        {
            *place = value;
        }
        let report = pipeline.run().await;
        let error = failure(&report, 5);
        assert!(error.message.contains(code), "{}", error.message);
        let hints = error.hints.join("\n");
        assert!(hints.contains(advice) && hints.contains(named), "{hints}");
        assert_eq!((report.rows.not_sent, emulator.status().uploads), (2, 0));
    }
}

#[tokio::test]
async fn a_refusal_of_the_job_is_not_tried_again_and_the_rest_is_not_sent() {
    let with = |key: &str, value: Value| {
        let mut settings = strict();
        settings[key] = value;
        settings
    };
    let foreign = json!([{"job_id": JOB, "client_id": OTHER_ID, "scenarios": ["employee_resignation"]}]);
    let two_apps = json!([
        {"tenant_id": TENANT, "client_id": CLIENT, "client_secret": SECRET},
        {"tenant_id": TENANT, "client_id": OTHER_ID, "client_secret": "x"},
    ]);
    let mut others_job = with("jobs", foreign);
    others_job["apps"] = two_apps;
    let unknown_job = json!([{"job_id": OTHER_ID, "scenarios": ["employee_resignation"]}]);
    let cases = [
        (
            404,
            with("jobs", unknown_job),
            "404 Not Found",
            "`job_id` is the ID that the portal shows",
        ),
        (
            403,
            others_job,
            "403 jobId and corresponding appId do not match",
            "was made for the application",
        ),
        (
            400,
            with("max_rows", json!(1)),
            "400 Bad Request",
            "compare the column names",
        ),
        (
            413,
            with("max_body", json!(64)),
            "413 Payload Too Large",
            "lower `batch.max_rows`",
        ),
    ];
    for (status, settings, text, advice) in cases {
        let emulator = emulator_with(settings).await;
        let report = Pipeline::new(&emulator.url(), 6).run().await;
        let error = failure(&report, 5);
        assert!(error.message.contains(text), "{}", error.message);
        assert!(error.hints[0].contains(advice), "{:?}", error.hints);
        assert_eq!(
            report.rows,
            totals(6, |rows| (rows.refused, rows.not_sent) = (2, 4))
        );
        assert_eq!(outcomes(&report)[0], (1, Refused, 1));
        assert_eq!(
            report
                .batches
                .iter()
                .find(|batch| batch.number == 1)
                .unwrap()
                .status,
            Some(status)
        );
        assert_eq!(emulator.status().uploads, 1, "no retry, and no other batch");
        assert!(arrived(&emulator).is_empty());
    }
}

// What passes.

#[tokio::test]
async fn throttling_is_waited_for_as_told() {
    for (faults, at_least) in [
        ("429=first:1,retry_after=1s", 1000),
        // An HTTP date has whole seconds only: two seconds ahead is more than one.
        ("503=nth:1,retry_after=date:2s", 900),
        ("429=nth:1,retry_after=0s", 0),
        ("token_503=nth:1,retry_after=1s", 1000),
    ] {
        let emulator = emulator(faults).await;
        let report = Pipeline::new(&emulator.url(), 3).run().await;
        assert_eq!(report.exit_code, 0, "{faults}");
        assert_eq!(outcomes(&report), [(1, Accepted, 2), (2, Accepted, 1)]);
        assert!(
            report.batches[0].duration_ms >= at_least,
            "{faults}: {}",
            report.batches[0].duration_ms
        );
        assert_eq!(report.batches[0].unknown_attempts, 0);
        assert_eq!(arrived(&emulator), emails(3));
    }
}

#[tokio::test]
async fn a_wait_longer_than_the_time_left_ends_the_run_at_once() {
    for faults in ["429=1,retry_after=3600s", "503=1,retry_after=date:3600s"] {
        let emulator = emulator(faults).await;
        let mut pipeline = Pipeline::new(&emulator.url(), 6);
        pipeline.sink()["retry"]["max_elapsed"] = json!("30m");
        let report = pipeline.run().await;
        let error = failure(&report, 75);
        assert!(
            error.message.contains("the service asked to wait 3"),
            "{}",
            error.message
        );
        assert!(error.hints[0].contains("run again later"), "{:?}", error.hints);
        assert_eq!(emulator.status().uploads, 1);
        assert_eq!(report.rows, totals(6, |rows| rows.not_sent = 6));
    }
}

#[tokio::test]
async fn an_outage_longer_than_the_attempts_is_exit_code_75_and_nothing_is_called_sent() {
    let emulator = emulator("503=1").await;
    let report = Pipeline::new(&emulator.url(), 4).run().await;
    let error = failure(&report, 75);
    assert!(
        error.message.contains("3 attempts") && error.message.contains("503"),
        "{}",
        error.message
    );
    assert_eq!(outcomes(&report), [(1, NotSent, 3), (2, NotSent, 0)]);
    assert_eq!((report.rows.not_sent, emulator.status().uploads), (4, 3));
}

#[tokio::test]
async fn trouble_at_the_token_endpoint_passes() {
    let emulator = emulator("token_503=nth:1,token_drop=nth:2").await;
    let report = Pipeline::new(&emulator.url(), 4).run().await;
    assert_eq!(report.exit_code, 0);
    assert_eq!(outcomes(&report), [(1, Accepted, 3), (2, Accepted, 1)]);
    assert_eq!(
        (emulator.status().tokens_issued, arrived(&emulator)),
        (1, emails(4))
    );
}

#[tokio::test]
async fn where_nothing_listens_nothing_was_sent() {
    let emulator = emulator("").await;
    let gone = common::emulator("").await;
    let mut pipeline = Pipeline::new(&emulator.url(), 4);
    pipeline.sink()["cloud"]["ingestion"] = json!(gone.url());
    gone.stop().await.unwrap();
    let report = pipeline.run().await;
    let error = failure(&report, 75);
    assert!(error.message.contains("cannot connect"), "{}", error.message);
    assert_eq!(outcomes(&report)[0], (1, NotSent, 3));
    assert_eq!(report.rows, totals(4, |rows| rows.not_sent = 4));
}

// What nobody can know.

#[tokio::test]
async fn a_connection_dropped_before_the_body_is_tried_again_and_the_rows_arrive_once() {
    let emulator = emulator("drop_before=first:1").await;
    let report = Pipeline::new(&emulator.url(), 4).run().await;
    assert_eq!(report.exit_code, 0);
    assert_eq!(outcomes(&report), [(1, Accepted, 2), (2, Accepted, 1)]);
    assert_eq!(arrived(&emulator), emails(4));
}

#[tokio::test]
async fn a_lost_answer_is_tried_again_and_the_report_says_that_rows_may_be_there_twice() {
    let emulator = emulator("drop_after=first:1").await;
    let report = Pipeline::new(&emulator.url(), 4).run().await;
    assert_eq!((report.exit_code, report.rows.accepted), (0, 4));
    let unknown: Vec<_> = report
        .batches
        .iter()
        .map(|batch| (batch.number, batch.unknown_attempts))
        .collect();
    assert_eq!(unknown, [(1, 1), (2, 0)]);
    let twice = [email(1), email(1), email(2), email(2), email(3), email(4)];
    assert_eq!(arrived(&emulator), twice, "the first batch was taken both times");
}

#[tokio::test]
async fn rows_without_an_answer_are_unknown_when_the_attempts_are_spent() {
    let emulator = emulator("drop_after=1").await;
    let report = Pipeline::new(&emulator.url(), 6).run().await;
    let error = failure(&report, 75);
    assert_eq!(
        report.rows,
        totals(6, |rows| (rows.unknown, rows.not_sent) = (2, 4))
    );
    assert_eq!(outcomes(&report)[0], (1, Unknown, 3));
    assert_eq!(
        report.batches[0].unknown_attempts, 2,
        "of the three, the last is the outcome itself"
    );
    let hints = error.hints.join("\n");
    assert!(hints.contains("`RecordsSaved`") && hints.contains(JOB), "{hints}");
    assert_eq!(arrived(&emulator).len(), 6, "two rows, three times");
}

#[tokio::test]
async fn rows_are_unknown_when_no_answer_comes_in_time() {
    let emulator = emulator("latency=10m").await;
    let mut pipeline = Pipeline::new(&emulator.url(), 2);
    pipeline.sink()["request"]["timeout"] = json!("200ms");
    pipeline.sink()["retry"]["max_attempts"] = json!(1);
    let report = pipeline.run().await;
    let error = failure(&report, 75);
    assert!(
        error.message.contains("no answer within the time allowed"),
        "{}",
        error.message
    );
    assert_eq!(report.rows, totals(2, |rows| rows.unknown = 2));
    assert_eq!(arrived(&emulator), emails(2));
}

#[tokio::test]
async fn an_unknown_attempt_stays_unknown_when_a_later_one_is_refused() {
    let steps = [token(), Step::CloseAfterBody, Reply::new(403).into()];
    let server = Scripted::start(steps).await.unwrap();
    let report = Pipeline::new(&server.url(), 2).run().await;
    assert_eq!(report.rows, totals(2, |rows| rows.unknown = 2));
    failure(&report, 5);
    server.finish().unwrap();
}

// Tokens that wear out.

#[tokio::test]
async fn a_token_that_wore_out_is_renewed_once_for_each_401() {
    let emulator = emulator("token_expires=uses:1").await;
    let report = Pipeline::new(&emulator.url(), 6).run().await;
    assert_eq!(report.exit_code, 0);
    assert_eq!(
        outcomes(&report),
        [(1, Accepted, 1), (2, Accepted, 2), (3, Accepted, 2)]
    );
    let status = emulator.status();
    assert_eq!(
        (status.tokens_issued, status.uploads, status.refused[&401]),
        (3, 5, 2)
    );
    assert_eq!(arrived(&emulator), emails(6));
}

#[tokio::test]
async fn concurrent_uploads_renew_a_token_together() {
    let emulator = emulator("token_expires=uses:4,latency=5ms").await;
    let mut pipeline = Pipeline::new(&emulator.url(), 16);
    pipeline.sink()["request"]["concurrency"] = json!(4);
    let report = pipeline.run().await;
    assert_eq!((report.exit_code, emulator.status().tokens_issued), (0, 2));
    assert_eq!(arrived(&emulator), emails(16));
}

#[tokio::test]
async fn a_401_with_a_new_token_too_is_a_refusal() {
    let emulator = emulator("401=1").await;
    let report = Pipeline::new(&emulator.url(), 4).run().await;
    let error = failure(&report, 5);
    assert!(error.message.contains("401 Unauthorized"), "{}", error.message);
    assert_eq!(outcomes(&report)[0], (1, Refused, 2));
    let status = emulator.status();
    assert_eq!((status.tokens_issued, status.uploads), (2, 2));
}

// Stopping.

/// Runs `pipeline` and cancels it once `when` holds.
async fn cancelled(
    pipeline: &Pipeline,
    grace: Duration,
    observer: &Observer,
    when: impl Fn() -> bool,
) -> RunReport {
    let cancel = CancellationToken::new();
    let options = RunOptions {
        grace,
        cancel: cancel.clone(),
        ..RunOptions::default()
    };
    let stop = async {
        until(when).await;
        cancel.cancel();
    };
    tokio::join!(pipeline.run_with(options, observer), stop).0
}

#[tokio::test]
async fn a_cancelled_run_finishes_the_upload_under_way_and_sends_no_more() {
    let emulator = emulator("latency=200ms").await;
    let pipeline = Pipeline::new(&emulator.url(), 60);
    let taken = || emulator.status().imports >= 1;
    let report = cancelled(&pipeline, Duration::from_secs(60), &Observer::default(), taken).await;
    let error = failure(&report, 130);
    assert_eq!(error.kind, ErrorKind::Interrupted);
    let delivered = arrived(&emulator).len();
    assert!((2..60).contains(&delivered), "{delivered}");
    let expected = totals(60, |rows| {
        (rows.accepted, rows.not_sent) = (delivered as u64, 60 - delivered as u64)
    });
    assert_eq!(report.rows, expected, "no answer was given up");
    assert!(
        outcomes(&report)
            .iter()
            .all(|(_, outcome, _)| matches!(outcome, Accepted | NotSent))
    );
}

#[tokio::test]
async fn an_upload_longer_than_the_grace_is_unknown() {
    let emulator = emulator("latency=10m").await;
    let pipeline = Pipeline::new(&emulator.url(), 6);
    let taken = || emulator.status().imports == 1;
    let report = cancelled(&pipeline, Duration::from_millis(20), &Observer::default(), taken).await;
    failure(&report, 130);
    assert_eq!(
        report.rows,
        totals(6, |rows| (rows.unknown, rows.not_sent) = (2, 4))
    );
    assert_eq!(
        outcomes(&report),
        [(1, Unknown, 1), (2, NotSent, 0), (3, NotSent, 0)]
    );
    assert_eq!(
        arrived(&emulator),
        emails(2),
        "they were taken, and nobody was told"
    );
}

#[tokio::test]
async fn a_cancelled_run_does_not_wait_for_the_next_attempt() {
    let emulator = emulator("429=1,retry_after=3600s").await;
    let mut pipeline = Pipeline::new(&emulator.url(), 4);
    pipeline.sink()["retry"]["max_elapsed"] = json!("2h");
    let refused = || emulator.status().refused.contains_key(&429);
    let report = cancelled(
        &pipeline,
        Duration::from_secs(3600),
        &Observer::default(),
        refused,
    )
    .await;
    failure(&report, 130);
    assert_eq!(
        report.rows,
        totals(4, |rows| rows.not_sent = 4),
        "a 429 was not taken"
    );
}

fn endless(url: &str) -> Pipeline {
    let mut pipeline = Pipeline::new(url, 0);
    pipeline.file["sources"]["export"] = json!({"type": "endless", "chunk_rows": 10});
    pipeline.sink()["batch"]["max_rows"] = json!(10);
    pipeline
}

/// More chunks than can be between an endless source and its sink.
fn most_on_their_way() -> u64 {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    (threads as u64 + 20) * 10
}

#[tokio::test]
async fn a_refusal_stops_a_source_that_would_never_end() {
    let emulator = emulator("403=1").await;
    let report = endless(&emulator.url()).run().await;
    failure(&report, 5);
    assert_eq!(
        (
            report.rows.refused,
            report.rows.accepted,
            emulator.status().uploads
        ),
        (10, 0, 1)
    );
    assert_eq!(report.rows.not_sent, report.rows.read - 10);
}

#[tokio::test]
async fn a_slow_service_slows_the_reading() {
    let emulator = emulator("latency=10m").await;
    let pipeline = endless(&emulator.url());
    let observer = Observer::default();
    let begun = std::time::Instant::now();
    // Long enough to read many times as much as may be on its way, if nothing held the source back.
    let waited = || emulator.status().imports == 1 && begun.elapsed() > Duration::from_millis(300);
    let report = cancelled(&pipeline, Duration::ZERO, &observer, waited).await;
    failure(&report, 130);
    assert_eq!(report.rows.unknown, 10);
    assert!(
        report.rows.read <= most_on_their_way(),
        "{} rows were read",
        report.rows.read
    );
}

#[tokio::test]
async fn a_run_that_fails_leaves_the_callers_token_alone() {
    let emulator = emulator("403=1").await;
    let options = RunOptions::default();
    let cancel = options.cancel.clone();
    let report = Pipeline::new(&emulator.url(), 4)
        .run_with(options, &Observer::default())
        .await;
    failure(&report, 5);
    assert!(!cancel.is_cancelled(), "it may stop other runs too");
}

#[tokio::test]
async fn an_interrupted_run_says_so_even_when_no_component_failed() {
    let mut pipeline = endless("http://127.0.0.1:1");
    // Every row is put aside, and the console takes what comes: nobody but the caller has a reason to stop.
    pipeline.file["transforms"]["resignations"]["fields"]["EmailAddress"] = json!("'no address'");
    pipeline.file["sinks"] = json!({"table": {"type": "console", "inputs": ["resignations"]}});
    let observer = Observer::default();
    let some = || observer.totals().rejected > 0;
    let report = cancelled(&pipeline, Duration::ZERO, &observer, some).await;
    assert_eq!(failure(&report, 130).kind, ErrorKind::Interrupted);
    assert_eq!(
        report.rejects.ratio, 1.0,
        "and not exit code 3, which says that the rest was delivered"
    );
}

#[tokio::test]
async fn too_many_rejects_are_exit_code_3_when_the_rest_was_delivered() {
    let emulator = emulator("").await;
    let mut pipeline = Pipeline::new(&emulator.url(), 3);
    let fields = &mut pipeline.file["transforms"]["resignations"]["fields"];
    fields["EmailAddress"] = json!("CASE WHEN upn = 'user0002@contoso.com' THEN 'no address' ELSE upn END");
    pipeline.file["rejects"] = json!({"max_ratio": 0.3});
    let report = pipeline.run().await;
    assert_eq!(
        (report.exit_code, report.rows.accepted, report.rows.rejected),
        (3, 2, 1)
    );
    pipeline.file["rejects"] = json!({"max_ratio": 0.34});
    assert_eq!(pipeline.run().await.exit_code, 0);
    assert_eq!(arrived(&emulator), [email(1), email(1), email(3), email(3)]);
}

// Several ways.

#[tokio::test]
async fn one_source_for_two_sinks_counts_copies() {
    let emulator = emulator("").await;
    let mut pipeline = Pipeline::new(&emulator.url(), 5);
    pipeline.file["transforms"]["levels"] = json!({
        "type": "hr_schema",
        "inputs": "export",
        "scenario": "performance_review",
        "dates": {"timezone": "UTC"},
        "where": "upn <> 'user0001@contoso.com'",
        "fields": {"EmailAddress": "upn", "EffectiveDate": "resigned"},
    });
    pipeline.file["sinks"]["file"] =
        json!({"type": "file", "inputs": ["resignations", "levels"], "path": "out/{scenario}.csv"});
    let report = pipeline.run().await;
    assert_eq!(report.exit_code, 0);
    // The source has two takers, and the resignations two more.
    assert_eq!(
        report.rows,
        totals(5, |rows| (rows.copied, rows.filtered, rows.accepted) =
            (10, 1, 14))
    );
    assert_eq!(arrived(&emulator), emails(5));
    for (name, lines) in [("employee_resignation", 6), ("performance_review", 5)] {
        let text = std::fs::read_to_string(pipeline.path(&format!("out/{name}.csv"))).unwrap();
        assert_eq!(text.lines().count(), lines, "{text}");
    }
}

#[tokio::test]
async fn a_sink_that_fails_stops_its_neighbours_and_is_the_one_that_is_named() {
    let emulator = emulator_with(json!({
        "jobs": [{"job_id": JOB, "scenarios": ["employee_resignation"]}],
        "faults": "latency=50ms",
    }))
    .await;
    let mut pipeline = endless(&emulator.url());
    pipeline.file["sinks"] = json!({
        "a": sink(&emulator.url(), JOB, "resignations"),
        "b": sink(&emulator.url(), OTHER_ID, "resignations"),
        "file": {"type": "file", "inputs": ["resignations"], "path": "out.csv"},
    });
    let report = pipeline.run().await;
    let error = failure(&report, 5);
    assert_eq!(error.component.as_deref(), Some("b"));
    assert!(error.message.contains("404"), "{}", error.message);
    let rows = report.rows;
    assert_eq!((rows.copied, rows.refused, rows.unknown), (2 * rows.read, 2, 0));
    assert_eq!(rows.accepted, arrived(&emulator).len() as u64);
    assert!(!pipeline.path("out.csv").exists(), "half a file is no file");
}

#[tokio::test]
async fn scenarios_of_one_job_share_a_sink_and_never_an_upload() {
    let emulator = emulator_with(json!({
        "jobs": [{
            "job_id": JOB,
            "scenarios": ["employee_resignation", "performance_review"],
            "scenario_column": "HRScenario",
        }],
    }))
    .await;
    let mut pipeline = Pipeline::new(&emulator.url(), 5);
    pipeline.file["transforms"]["reviews"] = json!({
        "type": "hr_schema",
        "inputs": ["export"],
        "scenario": "performance_review",
        "dates": {"timezone": "UTC"},
        "fields": {"EmailAddress": "upn", "EffectiveDate": "resigned"},
    });
    pipeline.sink()["inputs"] = json!(["resignations", "reviews"]);
    pipeline.sink()["scenario_column"] = json!("HRScenario");
    let report = pipeline.run().await;
    assert_eq!(
        (report.exit_code, report.rows.accepted, report.rows.copied),
        (0, 10, 5)
    );
    let mut imports: Vec<_> = emulator
        .imports()
        .iter()
        .map(|import| (import.file.clone(), import.rows))
        .collect();
    imports.sort();
    assert_eq!(imports.len(), 6);
    for (file, rows) in imports {
        assert!(rows <= 2);
        let of = emulator.accepted_rows().unwrap();
        let own: Vec<_> = of.iter().filter(|row| file.contains(row.scenario.id())).collect();
        assert_eq!(own.len(), 5, "{file}");
    }
}
