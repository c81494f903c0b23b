//! `personio.yaml` against the first version of Personio's API.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use jiff::{Timestamp, ToSpan};
use serde_json::{Map, Value, json};

use crate::stand::{Examples, Mock, Ran, about, header, rejected, row, take};

/// What the stand-in answers with.
#[derive(Default)]
struct Company {
    /// 0, 1: the state of things.
    day: AtomicUsize,
    /// Answers 429 so many times more, tokens included.
    throttled: AtomicUsize,
    /// Whether the list is refused with status 200.
    refused: AtomicUsize,
}

/// An employee as the API writes one.
fn employee(attributes: &Value) -> Value {
    let attributes: Map<String, Value> = attributes
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, value)| {
            let attribute = json!({"label": name.to_uppercase(), "value": value, "type": "standard", "universal_id": name});
            (name.clone(), attribute)
        })
        .collect();
    json!({"type": "Employee", "attributes": attributes})
}

fn team(name: &str) -> Value {
    json!({"type": "Department", "attributes": {"id": 1, "name": name}})
}

fn staff(day: usize) -> Vec<Value> {
    // Enough for a third page; they have no profile, being hired for a later day.
    let mut all: Vec<Value> = (1000..1210)
        .map(|id| {
            employee(
                &json!({"id": id, "email": format!("emp.{id}@fabrikam.example"), "status": "onboarding",
                "position": "Trainee"}),
            )
        })
        .collect();
    let active = |id: u64, position: Value| {
        json!({"id": id, "email": format!("emp.{id}@fabrikam.example"), "first_name": "Emp", "last_name": id.to_string(),
            "status": "active", "position": position, "department": team("R&D"), "employment_type": "internal",
            "termination_date": null, "dynamic_100002": "Hauptstr. 1", "dynamic_100003": "01067",
            "dynamic_100004": "Dresden", "dynamic_100005": "DE"})
    };
    let mut seven = active(7, json!("Engineer"));
    let mut eight = active(8, json!("Engineer"));
    // Without a department, which then is null and no object, and without a level.
    let mut nine = active(9, Value::Null);
    nine["department"] = Value::Null;
    if day > 0 {
        seven["email"] = json!("");
        seven["status"] = json!("inactive");
        seven["termination_date"] = json!("2026-03-31T00:00:00+02:00");
        seven["last_working_day"] = json!("2026-03-20");
        seven["dynamic_100001"] = json!("2026-02-15T00:00:00+01:00");
        eight["position"] = json!("Senior Engineer");
        nine["position"] = json!("Engineer");
    }
    let twelve = active(12, json!("Clerk"));
    all.extend([&seven, &eight, &nine, &twelve].map(employee));
    all.extend([
        // Left before the first run, the address gone with it.
        employee(&json!({"id": 10, "email": null, "status": "inactive", "termination_date": "2025-12-31"})),
        // Leaves later, and gave notice.
        employee(
            &json!({"id": 11, "email": "emp.11@fabrikam.example", "status": "leave", "position": "Clerk",
            "termination_date": "2026-12-31"}),
        ),
        // The credentials may not read anything of this one.
        employee(&json!({})),
    ]);
    all
}

async fn token(State(company): State<Arc<Company>>, Json(asked): Json<Value>) -> Response {
    if take(&company.throttled) {
        return StatusCode::TOO_MANY_REQUESTS.into_response();
    }
    if asked["client_id"] != "id-7" || asked["client_secret"] != "secret-7" {
        let told = json!({"success": false, "error": {"code": 0, "message": "Wrong credentials"}});
        return (StatusCode::FORBIDDEN, Json(told)).into_response();
    }
    Json(json!({"success": true, "data": {"token": "papi-7"}})).into_response()
}

async fn employees(
    State(company): State<Arc<Company>>,
    Query(query): Query<HashMap<String, usize>>,
    headers: HeaderMap,
) -> Response {
    if header(&headers, "authorization") != "Bearer papi-7" {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    if take(&company.throttled) {
        return StatusCode::TOO_MANY_REQUESTS.into_response();
    }
    if take(&company.refused) {
        let told = json!({"success": false, "error": {"code": 0, "message": "the scope is missing"}});
        return Json(told).into_response();
    }
    let all = staff(company.day.load(Ordering::SeqCst));
    let (limit, offset) = (query["limit"], query["offset"]);
    assert_eq!(limit, 100);
    let pages = all.len().div_ceil(limit);
    assert!(offset / limit < pages, "beyond the last page");
    let page: Vec<&Value> = all.iter().skip(offset).take(limit).collect();
    // Numbers as texts here and there.
    Json(
        json!({"success": true, "offset": offset.to_string(), "limit": limit.to_string(), "data": page,
        "metadata": {"total_elements": all.len(), "current_page": offset / limit, "total_pages": pages}}),
    )
    .into_response()
}

async fn start() -> (Arc<Company>, Mock, Examples) {
    let company = Arc::new(Company::default());
    let routes = Router::new()
        .route("/v1/auth", post(token))
        .route("/v1/company/employees", get(employees))
        .with_state(company.clone());
    let mock = Mock::start(routes).await;
    let examples = Examples::new(&[
        ("PERSONIO_URL", &mock.url),
        ("PERSONIO_ID", "id-7"),
        ("PERSONIO_SECRET", "secret-7"),
        ("HRSINK_STATE_KEY", "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="),
    ]);
    (company, mock, examples)
}

fn went(ran: &Ran) {
    assert_eq!(ran.code, 0, "{}\n{:#}", ran.stderr, ran.report);
}

#[tokio::test(flavor = "multi_thread")]
async fn personio_leavers_changes_and_profiles() {
    let (company, mock, examples) = start().await;
    company.throttled.store(2, Ordering::SeqCst);
    let begin = Timestamp::now();
    let ran = examples.run("personio.yaml").await;
    went(&ran);
    let mut expected = vec![
        leaver(11, "2026-12-31T00:00:00+01:00", "2026-12-31T00:00:00+01:00"),
        profile(7, "R&D", "Engineer"),
        profile(8, "R&D", "Engineer"),
        profile(9, "", ""),
        profile(12, "R&D", "Clerk"),
    ];
    expected.sort();
    assert_eq!(examples.accepted(), expected);
    assert_eq!(rejected(&ran), 1, "10 has no address: {:#}", ran.report);
    let mut requests = mock.requests();
    requests.retain(|request| !request.ends_with(" 429"));
    assert_eq!(
        requests,
        [
            "POST /v1/auth 200",
            "GET /v1/company/employees?offset=0&limit=100 200",
            "GET /v1/company/employees?offset=100&limit=100 200",
            "GET /v1/company/employees?offset=200&limit=100 200",
        ]
    );
    assert_eq!(mock.requests().len(), requests.len() + 2, "throttled twice");

    // 7 has left, and the address is gone; two have other positions, one of them had none before.
    company.day.store(1, Ordering::SeqCst);
    let end = Timestamp::now();
    let ran = examples.run("personio.yaml").await;
    went(&ran);
    let (mut steps, others): (Vec<_>, Vec<_>) = examples
        .accepted()
        .into_iter()
        .partition(|(scenario, _)| scenario == "job_level_change");
    expected.extend([
        leaver(7, "2026-02-15T00:00:00+01:00", "2026-03-20T00:00:00+01:00"),
        profile(8, "R&D", "Senior Engineer"),
        profile(9, "", "Engineer"),
    ]);
    expected.sort();
    assert_eq!(others, expected);
    // When the old level was seen last: during the first run.
    assert_eq!(steps.len(), 1, "{steps:?}");
    let seen: Timestamp = steps[0].1.remove("EffectiveDate").unwrap().parse().unwrap();
    assert!(begin - 1.second() <= seen && seen <= end, "{begin} {seen} {end}");
    let step = [
        ("HRScenario", "Job level change"),
        ("EmailAddress", "emp.8@fabrikam.example"),
        ("OldLevel", "Engineer"),
        ("NewLevel", "Senior Engineer"),
    ];
    assert_eq!(steps, [row("job_level_change", &step)]);

    // Nothing has changed since.
    let before = examples.accepted();
    went(&examples.run("personio.yaml").await);
    assert_eq!(examples.accepted(), before);
}

fn leaver(id: u64, given: &str, last: &str) -> (String, BTreeMap<String, String>) {
    row(
        "employee_resignation",
        &[
            ("HRScenario", "Resignation"),
            ("EmailAddress", &format!("emp.{id}@fabrikam.example")),
            ("ResignationDate", given),
            ("LastWorkingDate", last),
        ],
    )
}

fn profile(id: u64, department: &str, role: &str) -> (String, BTreeMap<String, String>) {
    row(
        "employee_profile",
        &[
            ("HRScenario", "Employee profile"),
            ("EmailAddress", &format!("emp.{id}@fabrikam.example")),
            ("EmployeeFirstName", "Emp"),
            ("EmployeeLastName", &id.to_string()),
            ("EmployeeAddressLine1", "Hauptstr. 1"),
            ("EmployeeCity", "Dresden"),
            ("EmployeeZipCode", "01067"),
            ("EmployeeCountry", "DE"),
            ("EmployeeDepartment", department),
            ("EmployeeType", "internal"),
            ("EmployeeRole", role),
        ],
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn personio_wrong_credentials_and_no_with_status_200_end_the_run() {
    let (company, mock, mut examples) = start().await;
    company.refused.store(1, Ordering::SeqCst);
    let ran = examples.run("personio.yaml").await;
    assert_ne!(ran.code, 0);
    assert!(ran.stderr.contains("the scope is missing"), "{}", ran.stderr);
    assert_eq!(about(&mock, "/employees").len(), 1);

    examples.set("PERSONIO_SECRET", "secret-8");
    let before = mock.requests().len();
    let ran = examples.run("personio.yaml").await;
    assert_eq!(ran.code, 5, "{}", ran.stderr);
    assert!(!ran.stderr.contains("secret-8"), "{}", ran.stderr);
    assert_eq!(mock.requests()[before..], ["POST /v1/auth 403"]);
    assert_eq!(examples.accepted(), []);
}
