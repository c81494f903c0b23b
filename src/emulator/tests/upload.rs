//! The ingestion endpoint.

use super::*;
use crate::settings::BoundedSize;

#[tokio::test]
async fn requires_a_bearer_token_for_the_right_resource() {
    let bench = Bench::strict().await;
    let foreign = bench.token_of(APP, "https://graph.microsoft.com").await;
    for token in ["made-up", "", &foreign] {
        let response = bench.send(token, JOB, file(GOOD)).await.unwrap();
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{token}");
        assert_eq!(response.headers()["www-authenticate"], "Bearer");
    }
    let without = bench
        .client
        .post(bench.url("/api/signals?jobid=1"))
        .multipart(file(GOOD));
    assert_eq!(without.send().await.unwrap().status(), StatusCode::UNAUTHORIZED);
    let visit = bench.client.get(bench.url("/api/signals")).send().await.unwrap();
    assert_eq!(visit.status(), StatusCode::UNAUTHORIZED);
    assert!(bench.rows().is_empty());
}

#[tokio::test]
async fn reports_another_app_in_the_reason_phrase_only() {
    let bench = Bench::strict().await;
    let token = bench.token_of(OTHER_APP, RESOURCE).await;
    let response = bench.send(&token, JOB, file(GOOD)).await.unwrap();
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
    let phrase = response.extensions().get::<hyper::ext::ReasonPhrase>().unwrap();
    assert_eq!(phrase.as_bytes(), b"jobId and corresponding appId do not match");
    assert_eq!(response.text().await.unwrap(), "");
}

#[tokio::test]
async fn requires_exactly_one_file_part() {
    let bench = Bench::open().await;
    let token = bench.token().await;
    for (form, expected) in [
        (Form::new(), "malformed"),
        (Form::new().part("csv", part(GOOD)), "not named `file`"),
        (Form::new().part("file", Part::text(GOOD)), "no file name"),
        (file(GOOD).part("file", part(GOOD)), "more than one part"),
        (file("\u{feff}a\n"), "byte order mark"),
        (file(""), "no header row"),
    ] {
        let response = bench.send(&token, JOB, form).await.unwrap();
        assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{expected}");
        assert!(reason(&response).contains(expected), "{}", reason(&response));
        assert_eq!(response.text().await.unwrap(), "");
    }
    let url = bench.url(&format!("/api/signals?jobid={JOB}"));
    let bare = bench.client.post(url).bearer_auth(&token).body(GOOD);
    assert_eq!(bare.send().await.unwrap().status(), StatusCode::BAD_REQUEST);
    assert!(bench.emulator.imports().is_empty());
}

#[tokio::test]
async fn reads_a_too_large_body_to_its_end() {
    let config = EmulatorConfig {
        max_body: BoundedSize::new(1000),
        ..EmulatorConfig::default()
    };
    let bench = Bench::start(config).await;
    // Exceeds the socket buffers, so that an early response would break the client's write.
    let large = "x".repeat(20 * 1024 * 1024);
    assert_eq!(bench.upload_status(&large).await, 413);
}

#[tokio::test]
async fn selects_the_scenario_by_identifier() {
    let mut config =
        strict_config(", scenario_column: Kind, scenario_values: {employee_resignation: Leaver}");
    config.jobs[0].scenarios.push(crate::hr::Scenario::JobLevelChange);
    let bench = Bench::start(config).await;
    let date = "2024-01-02T03:04:05Z";
    let both = format!(
        "Kind,EmailAddress,ResignationDate,LastWorkingDate,EffectiveDate,NewLevel\n\
         Leaver,a@contoso.com,{date},{date},,\n\
         Job level change,b@contoso.com,,,{date},7\n\
         Resignation,c@contoso.com,{date},{date},,\n"
    );
    assert_eq!(bench.upload_status(&both).await, 200);
    let scenarios: Vec<_> = bench.rows().iter().map(|row| row.scenario).collect();
    use crate::hr::Scenario::{EmployeeResignation, JobLevelChange};
    assert_eq!(scenarios, [EmployeeResignation, JobLevelChange]);
    assert!(bench.emulator.imports()[0].messages[0].contains("row 3"));

    // A file of one scenario requires only the columns of that scenario.
    let one = format!("Kind,EmailAddress,EffectiveDate\njob level change,d@contoso.com,{date}\n");
    assert_eq!(bench.upload_status(&one).await, 200);
    assert_eq!(bench.rows().len(), 3);
    // One row of a scenario whose columns are missing prevents the import; so does a missing identifier column.
    let incomplete = format!("{one}Leaver,e@contoso.com,{date}\n");
    assert_eq!(bench.upload_status(&incomplete).await, 200);
    assert_eq!(bench.upload_status(GOOD).await, 200);
    assert_eq!(bench.rows().len(), 3);
    assert!(bench.emulator.imports()[3].messages[0].contains("`Kind`"));
}

#[tokio::test]
async fn accepts_the_older_path() {
    let bench = Bench::open().await;
    let older = bench
        .client
        .post(bench.url(&format!("/api/signals/hr/termination/csv?jobid={JOB}")))
        .bearer_auth(bench.token().await)
        .multipart(file(GOOD));
    assert_eq!(older.send().await.unwrap().status(), StatusCode::OK);
    assert_eq!(bench.rows().len(), 2);
}
