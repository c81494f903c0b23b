//! The ingestion endpoint.

use super::*;

#[tokio::test]
async fn the_right_path_keeps_every_row() {
    let bench = Bench::strict().await;
    let response = bench.upload(GOOD).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let rows = bench.rows();
    assert_eq!(rows.len(), 2);
    assert_eq!((rows[1].import, rows[1].row), (1, 2));
    assert_eq!(rows[1].get("EmailAddress"), Some("b@contoso.com"));
    assert_eq!(
        rows[0].columns(),
        ["EmailAddress", "ResignationDate", "LastWorkingDate"]
    );
    assert!(!format!("{rows:?}").contains("contoso"));
    let import = &bench.emulator.imports()[0];
    assert_eq!(
        (import.rows, import.records_saved, import.file.as_str()),
        (2, 2, "hr.csv")
    );
}

#[tokio::test]
async fn a_bearer_token_for_the_right_resource_is_needed() {
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
async fn a_token_ends_with_its_lifetime() {
    let config = EmulatorConfig {
        token_lifetime: Duration::ZERO,
        ..EmulatorConfig::default()
    };
    assert_eq!(Bench::start(config).await.upload_status(GOOD).await, 401);
}

#[tokio::test]
async fn another_app_than_the_jobs_is_told_in_the_reason_phrase_alone() {
    let bench = Bench::strict().await;
    let token = bench.token_of(OTHER_APP, RESOURCE).await;
    let response = bench.send(&token, JOB, file(GOOD)).await.unwrap();
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
    let phrase = response.extensions().get::<hyper::ext::ReasonPhrase>().unwrap();
    assert_eq!(phrase.as_bytes(), b"jobId and corresponding appId do not match");
    assert_eq!(response.text().await.unwrap(), "");
}

#[tokio::test]
async fn the_job_must_be_well_formed_and_known() {
    let bench = Bench::strict().await;
    let token = bench.token().await;
    for (job, status) in [
        ("nonsense", 400),
        ("", 400),
        ("b8be4a7de33843eba69ec513cd458eba", 400),
        ("11111111-1111-1111-1111-111111111111", 404),
    ] {
        let response = bench.send(&token, job, file(GOOD)).await.unwrap();
        assert_eq!(response.status().as_u16(), status, "{job}");
    }
}

#[tokio::test]
async fn the_body_must_be_one_file_part() {
    let bench = Bench::open().await;
    let token = bench.token().await;
    for (form, expected) in [
        (Form::new(), "broken"),
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
async fn limits_are_kept() {
    let config = EmulatorConfig {
        max_body: 1000,
        max_rows: 2,
        ..EmulatorConfig::default()
    };
    let bench = Bench::start(config).await;
    assert_eq!(bench.upload_status(GOOD).await, 200);
    assert_eq!(
        bench.upload_status(&format!("{GOOD}c@contoso.com,x,y\n")).await,
        400
    );
    // Far beyond what a socket buffers, so that an answer before the end would break the client's write.
    let large = "x".repeat(20 * 1024 * 1024);
    assert_eq!(bench.upload_status(&large).await, 413);
}

#[tokio::test]
async fn ragged_rows_are_a_500_with_nothing_in_it() {
    let bench = Bench::open().await;
    let response = bench
        .upload(&format!("{GOOD}c@contoso.com,2024-01-02T03:04:05Z\n"))
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(response.text().await.unwrap(), "");
    assert!(bench.rows().is_empty() && bench.emulator.imports().is_empty());
}

#[tokio::test]
async fn a_missing_mandatory_column_is_a_200_that_imports_nothing() {
    let bench = Bench::strict().await;
    assert_eq!(
        bench
            .upload_status(&GOOD.replace("LastWorkingDate", "Other"))
            .await,
        200
    );
    let import = &bench.emulator.imports()[0];
    assert_eq!((import.rows, import.records_saved), (2, 0));
    assert!(
        import.messages[0].contains("`LastWorkingDate`"),
        "{:?}",
        import.messages
    );
    assert!(bench.rows().is_empty());
}

#[tokio::test]
async fn portal_names_replace_the_documented_ones() {
    let bench = Bench::start(strict_config(", columns: {EmailAddress: Mail}")).await;
    assert_eq!(
        bench.upload_status(&GOOD.replace("EmailAddress", "mail")).await,
        200
    );
    assert_eq!(bench.upload_status(GOOD).await, 200);
    let saved: Vec<u64> = bench.emulator.imports().iter().map(|i| i.records_saved).collect();
    assert_eq!(saved, [2, 0]);
}

#[tokio::test]
async fn the_identifier_picks_the_scenario() {
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

    // A file of one scenario needs the columns of that one only.
    let one = format!("Kind,EmailAddress,EffectiveDate\njob level change,d@contoso.com,{date}\n");
    assert_eq!(bench.upload_status(&one).await, 200);
    assert_eq!(bench.rows().len(), 3);
    // One row of a scenario whose columns are missing spoils the file; so does a missing identifier column.
    assert_eq!(
        bench
            .upload_status(&format!("{one}Leaver,e@contoso.com,{date}\n"))
            .await,
        200
    );
    assert_eq!(bench.upload_status(GOOD).await, 200);
    assert_eq!(bench.rows().len(), 3);
    assert!(bench.emulator.imports()[3].messages[0].contains("`Kind`"));
}

#[tokio::test]
async fn the_open_mode_takes_any_ids_and_the_older_path() {
    let bench = Bench::open().await;
    let id = "0b8a3c1e-9d43-4a4e-8d0b-2f3c1f2e4d5a";
    let form = credentials(id, "anything", RESOURCE);
    let answer: Value = bench.ask(id, &form).await.unwrap().json().await.unwrap();
    let token = answer["access_token"].as_str().unwrap();
    assert_eq!(
        bench.send(token, id, file(GOOD)).await.unwrap().status(),
        StatusCode::OK
    );
    let older = bench
        .client
        .post(bench.url(&format!("/api/signals/hr/termination/csv?jobid={JOB}")))
        .bearer_auth(token)
        .multipart(file(GOOD));
    assert_eq!(older.send().await.unwrap().status(), StatusCode::OK);
    assert_eq!(bench.rows().len(), 4);
    assert_eq!(bench.emulator.status().jobs.len(), 2);
}

#[tokio::test]
async fn many_uploads_at_once_are_all_kept() {
    let bench = Bench::open().await;
    let token = bench.token().await;
    let row = "a@contoso.com,2024-01-02T03:04:05Z,2024-02-01T00:00:00Z\n";
    let csv = format!(
        "EmailAddress,ResignationDate,LastWorkingDate\n{}",
        row.repeat(200)
    );
    let sends = (0..40).map(|_| bench.send(&token, JOB, file(&csv)));
    let answers = futures::future::try_join_all(sends).await.unwrap();
    assert!(answers.iter().all(|answer| answer.status() == StatusCode::OK));
    assert_eq!(bench.rows().len(), 8000);
    let mut numbers: Vec<u64> = bench.emulator.imports().iter().map(|i| i.import).collect();
    numbers.dedup();
    assert_eq!(numbers, (1..=40).collect::<Vec<u64>>());
}
