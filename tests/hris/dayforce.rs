//! `dayforce.yaml` against Dayforce's list of reference codes and single employees, and users as Microsoft Graph gives
//! them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::extract::{Form, Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use jiff::ToSpan;
use jiff::civil::DateTime;
use serde_json::{Value, json};

use crate::stand::{Examples, Mock, Ran, about, header, rejected, row, take};

/// A cursor that is encoded twice, as it stands in the URL of the next page.
const CURSOR: &str = "cursor=a%252Fb%253D%253D";

/// What the stand-in answers with.
#[derive(Default)]
struct Company {
    /// 0 and 1: the state of things; 2: nobody was changed.
    day: AtomicUsize,
    /// Answers 429 for single employees so many times more.
    throttled: AtomicUsize,
    /// Where the stand-in is.
    url: std::sync::OnceLock<String>,
}

/// Reference codes of those who were changed.
fn changed(day: usize) -> Vec<String> {
    match day {
        0 => ["1", "2", "3", "secret"]
            .map(str::to_owned)
            .into_iter()
            .chain((0..30).map(|n| format!("N{n}")))
            .collect(),
        1 => vec!["1".to_owned()],
        _ => Vec::new(),
    }
}

fn assignment(start: &str, job: &str, primary: bool) -> Value {
    json!({"EffectiveStart": start, "IsPrimary": primary,
        "Position": {"XRefCode": "P1", "Job": {"XRefCode": job, "ShortName": format!("Job {job}")}}})
}

fn status(code: &str, start: &str) -> Value {
    json!({"EffectiveStart": start, "EmploymentStatus": {"XRefCode": code},
        "EmploymentStatusReason": {"ShortName": "Personal"}})
}

fn employee(code: &str, day: usize) -> Value {
    match code {
        "1" => {
            let mut one = json!({"XRefCode": "1", "EmployeeNumber": "E1", "TerminationDate": null,
                "WorkAssignments": {"Items": [
                    // Not in order; a second assignment beside the first; one that changes nothing.
                    assignment("2025-06-01T00:00:00", "L5", true),
                    assignment("2024-01-01T00:00:00", "L4", true),
                    assignment("2024-09-01T00:00:00", "L4", true),
                    assignment("2025-09-01T00:00:00", "L1", false),
                ]},
                "EmploymentStatuses": {"Items": [status("ACTIVE", "2024-01-01T00:00:00")]}});
            if day > 0 {
                one["TerminationDate"] = json!("2026-05-31T00:00:00.000Z");
                one["EmploymentStatuses"] = json!({"Items": [
                    status("NOTICE", "2026-04-15T00:00:00"), status("ACTIVE", "2024-01-01T00:00:00")]});
            }
            one
        }
        // No assignments any more, and no statuses that may be seen.
        "2" => json!({"XRefCode": "2", "EmployeeNumber": "E2", "TerminationDate": "2026-03-31T00:00:00",
            "WorkAssignments": {"Items": []}, "EmploymentStatuses": null}),
        // Nobody in Entra has the number.
        "3" => json!({"XRefCode": "3", "EmployeeNumber": "E3", "TerminationDate": "2026-03-31T00:00:00",
            "WorkAssignments": null}),
        // A date that may not be seen.
        "N0" => json!({"XRefCode": "N0", "EmployeeNumber": "EN0", "TerminationDate": "0001-01-01T00:00:00",
            "WorkAssignments": {"Items": [assignment("2024-01-01T00:00:00", "L4", true)]}}),
        "N1" => json!({}),
        other => json!({"XRefCode": other, "EmployeeNumber": format!("E{other}"),
            "WorkAssignments": {"Items": [assignment("2024-01-01T00:00:00", "L4", true)]},
            "EmploymentStatuses": {"Items": [status("ACTIVE", "2024-01-01T00:00:00")]}}),
    }
}

async fn token(Form(form): Form<HashMap<String, String>>) -> Response {
    assert_eq!(form["grant_type"], "password");
    assert_eq!(form["companyId"], "acme");
    assert_eq!(form["username"], "svc");
    if form["password"] != "pw-7" {
        return (StatusCode::BAD_REQUEST, Json(json!({"error": "invalid_grant"}))).into_response();
    }
    Json(json!({"access_token": "day-7", "expires_in": 3600, "token_type": "Bearer"})).into_response()
}

async fn list(
    State(company): State<Arc<Company>>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    if header(&headers, "authorization") != "Bearer day-7" {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let codes = changed(company.day.load(Ordering::SeqCst));
    let (first, rest) = codes.split_at(codes.len().min(3));
    let rows = |codes: &[String]| {
        codes
            .iter()
            .map(|code| json!({"XRefCode": code}))
            .collect::<Vec<_>>()
    };
    let answer = if query.contains_key("cursor") {
        let mut rows = rows(rest);
        rows.push(json!({}));
        json!({"Data": rows, "Paging": {"Next": ""}})
    } else if rest.is_empty() {
        json!({"Data": rows(first), "Paging": {"Next": ""}})
    } else {
        let next = format!("{}/api/acme/V1/Employees?{CURSOR}", company.url.get().unwrap());
        json!({"Data": rows(first), "Paging": {"Next": next}})
    };
    Json(answer).into_response()
}

async fn single(
    State(company): State<Arc<Company>>,
    Path(code): Path<String>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    if header(&headers, "authorization") != "Bearer day-7" || code == "secret" {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    if take(&company.throttled) {
        return StatusCode::TOO_MANY_REQUESTS.into_response();
    }
    assert_eq!(query["expand"], "WorkAssignments,EmploymentStatuses");
    Json(json!({"Data": employee(&code, company.day.load(Ordering::SeqCst))})).into_response()
}

async fn report(headers: HeaderMap) -> Response {
    if header(&headers, "authorization") != "Bearer day-7" {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let person = |number: &str| {
        json!({"EmployeeNumber": number, "FirstName": "Emp", "LastName": format!("No {number}"),
            "Address1": "1 Main St", "City": "Boston", "State": "MA", "PostalCode": "02134", "Country": "USA",
            "Department": "Research", "JobTitle": "Engineer", "HireDate": "2020-01-01T00:00:00"})
    };
    Json(json!({"Data": {"XRefCode": "ALL", "Rows": [person("E1"), person("E2")]}, "Paging": {"Next": ""}}))
        .into_response()
}

async fn entra(Path(tenant): Path<String>, Form(form): Form<HashMap<String, String>>) -> Response {
    assert_eq!(tenant, "contoso.com");
    assert_eq!(form["scope"], "https://graph.microsoft.com/.default");
    if form["client_secret"] != "graph-7" {
        return (StatusCode::UNAUTHORIZED, Json(json!({"error": "invalid_client"}))).into_response();
    }
    Json(json!({"access_token": "graph-token", "expires_in": 3599, "token_type": "Bearer"})).into_response()
}

async fn users(
    State(company): State<Arc<Company>>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    if header(&headers, "authorization") != "Bearer graph-token" {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    if query.contains_key("$skiptoken") {
        return Json(json!({"value": [
            {"employeeId": "E2", "userPrincipalName": "emp.2.old@contoso.com", "accountEnabled": false},
            {"employeeId": "E2", "userPrincipalName": "emp.2@contoso.com", "accountEnabled": true},
        ]}))
        .into_response();
    }
    assert_eq!(query["$select"], "employeeId,userPrincipalName,accountEnabled");
    let mut value =
        vec![json!({"employeeId": null, "userPrincipalName": "guest@contoso.com", "accountEnabled": true})];
    // The account goes before Dayforce says that its owner has gone.
    if company.day.load(Ordering::SeqCst) == 0 {
        value.push(
            json!({"employeeId": "E1", "userPrincipalName": "emp.1@contoso.com", "accountEnabled": true}),
        );
    }
    let next = format!("{}/v1.0/users?$skiptoken=x%2Fy", company.url.get().unwrap());
    Json(json!({"value": value, "@odata.nextLink": next})).into_response()
}

async fn start() -> (Arc<Company>, Mock, Examples) {
    let company = Arc::new(Company::default());
    let routes = Router::new()
        .route("/connect/token", post(token))
        .route("/api/acme/V1/Employees", get(list))
        .route("/api/acme/V1/Employees/{code}", get(single))
        .route("/api/acme/V1/Reports/ALL", get(report))
        .route("/{tenant}/oauth2/v2.0/token", post(entra))
        .route("/v1.0/users", get(users))
        .with_state(company.clone());
    let mock = Mock::start(routes).await;
    company.url.set(mock.url.clone()).unwrap();
    let token_url = format!("{}/connect/token", mock.url);
    let examples = Examples::new(&[
        ("DAYFORCE_URL", &mock.url),
        ("DAYFORCE_TOKEN_URL", &token_url),
        ("DAYFORCE_COMPANY", "acme"),
        ("DAYFORCE_USER", "svc"),
        ("DAYFORCE_PASSWORD", "pw-7"),
        ("DAYFORCE_REPORT", "ALL"),
        ("DAYFORCE_SINCE", "2026-01-01"),
        ("GRAPH_URL", &mock.url),
        ("ENTRA_URL", &mock.url),
        ("GRAPH_CLIENT_ID", "29ee526e-f9a7-4e98-a682-67f41bfd643e"),
        ("GRAPH_CLIENT_SECRET", "graph-7"),
        ("HRSINK_TENANT_ID", "contoso.com"),
        ("HRSINK_STATE_KEY", "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="),
    ]);
    (company, mock, examples)
}

fn went(ran: &Ran) {
    assert_eq!(ran.code, 0, "{}\n{:#}", ran.stderr, ran.report);
}

#[tokio::test(flavor = "multi_thread")]
async fn dayforce_leavers_and_steps() {
    let (company, mock, examples) = start().await;
    company.throttled.store(2, Ordering::SeqCst);
    let ran = examples.run("dayforce.yaml").await;
    went(&ran);
    let mut expected = vec![
        leaver(
            "emp.2@contoso.com",
            "2026-03-31T00:00:00-04:00",
            "2026-03-31T00:00:00-04:00",
        ),
        row(
            "job_level_change",
            &[
                ("HRScenario", "Job level change"),
                ("EmailAddress", "emp.1@contoso.com"),
                ("EffectiveDate", "2025-06-01T00:00:00-04:00"),
                ("Remarks", "Job L5"),
                ("OldLevel", "L4"),
                ("NewLevel", "L5"),
            ],
        ),
    ];
    expected.extend(["1", "2"].map(profile));
    expected.sort();
    assert_eq!(examples.accepted(), expected);
    assert_eq!(rejected(&ran), 1, "nobody in Entra is E3: {:#}", ran.report);
    let lists = lists(&mock);
    assert_eq!(lists.len(), 2, "{lists:?}");
    let (from, to) = span(&lists[0]);
    assert_eq!(from.to_string(), "2026-01-01T00:00:00");
    // As the answer gave it: the cursor encoded twice, nothing added.
    assert_eq!(lists[1], format!("GET /api/acme/V1/Employees?{CURSOR} 200"));
    // The one that may not be read is asked for again once, with a new token, and no more.
    let refused = about(&mock, "/Employees/secret");
    assert!((1..=2).contains(&refused.len()), "{refused:?}");
    assert!(about(&mock, "/connect/token").len() <= 2);
    assert_eq!(
        about(&mock, "/Employees/")
            .iter()
            .filter(|request| request.ends_with(" 429"))
            .count(),
        2
    );
    assert_eq!(
        about(&mock, "/Employees/")
            .iter()
            .filter(|request| request.ends_with(" 200"))
            .count(),
        33
    );

    // E1 leaves, the account already gone; the level change is delivered.
    company.day.store(1, Ordering::SeqCst);
    let ran = examples.run("dayforce.yaml").await;
    went(&ran);
    expected.push(leaver(
        "emp.1@contoso.com",
        "2026-04-15T00:00:00-04:00",
        "2026-05-31T00:00:00-04:00",
    ));
    expected.sort();
    assert_eq!(examples.accepted(), expected);
    assert_eq!(rejected(&ran), 0, "{:#}", ran.report);
    let second = span(&self::lists(&mock)[2]);
    assert!(second.0 + 1.day() <= to, "a gap: {to} {second:?}");
    assert!(second.0 + 1.day() >= to - 5.seconds(), "{to} {second:?}");

    // Nobody was changed.
    company.day.store(2, Ordering::SeqCst);
    let ran = examples.run("dayforce.yaml").await;
    went(&ran);
    assert_eq!(examples.accepted(), expected);
}

/// Requests for lists of employees.
fn lists(mock: &Mock) -> Vec<String> {
    let mut lists = about(mock, "/Employees");
    lists.retain(|request| request.contains("/Employees?"));
    lists
}

/// What a list asks for.
fn span(request: &str) -> (DateTime, DateTime) {
    let uri = request.split(' ').nth(1).unwrap();
    let url = url::Url::parse(&format!("http://x{uri}")).unwrap();
    let at = |name: &str| -> DateTime {
        let (_, value) = url.query_pairs().find(|(found, _)| found == name).unwrap();
        value.parse().unwrap()
    };
    (at("filterUpdatedStartDate"), at("filterUpdatedEndDate"))
}

fn profile(id: &str) -> (String, BTreeMap<String, String>) {
    row(
        "employee_profile",
        &[
            ("HRScenario", "Employee profile"),
            ("EmailAddress", &format!("emp.{id}@contoso.com")),
            ("EmployeeFirstName", "Emp"),
            ("EmployeeLastName", &format!("No E{id}")),
            ("EmployeeAddressLine1", "1 Main St"),
            ("EmployeeCity", "Boston"),
            ("EmployeeState", "MA"),
            ("EmployeeZipCode", "02134"),
            ("EmployeeCountry", "USA"),
            ("EmployeeDepartment", "Research"),
            ("EmployeeRole", "Engineer"),
        ],
    )
}

fn leaver(mail: &str, given: &str, last: &str) -> (String, BTreeMap<String, String>) {
    row(
        "employee_resignation",
        &[
            ("HRScenario", "Resignation"),
            ("EmailAddress", mail),
            ("ResignationDate", given),
            ("LastWorkingDate", last),
        ],
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn dayforce_wrong_credentials_end_the_run() {
    let (_, mock, mut examples) = start().await;
    for (name, wrong, right, path) in [
        ("DAYFORCE_PASSWORD", "pw-8", "pw-7", "/connect/token"),
        ("GRAPH_CLIENT_SECRET", "graph-8", "graph-7", "/contoso.com/"),
    ] {
        examples.set(name, wrong);
        let before = about(&mock, path).len();
        let ran = examples.run("dayforce.yaml").await;
        assert_eq!(ran.code, 5, "{}", ran.stderr);
        assert!(!ran.stderr.contains(wrong), "{}", ran.stderr);
        assert_eq!(about(&mock, path).len() - before, 1, "{:?}", mock.requests());
        assert_eq!(examples.accepted(), []);
        examples.set(name, right);
    }
}
