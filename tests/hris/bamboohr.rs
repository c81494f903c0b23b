//! `bamboohr.yaml` against tables and lists as BambooHR gives them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

use crate::stand::{Examples, Mock, about, header, row, take};

const FIELDS: &str = "workEmail,firstName,lastName,address1,address2,city,state,zipcode,country,department,jobTitle,terminationDate";

/// What the stand-in answers with.
#[derive(Default)]
struct Company {
    /// The day: 0 is before employee 7 leaves, 1 after, 2 a day without changes.
    day: AtomicUsize,
    /// Answers 503 with Retry-After so many times more.
    limited_as_before: AtomicUsize,
    /// Answers 429 with Retry-After so many times more.
    limited: AtomicUsize,
    /// 1: the key's owner may not see tables; 2: the list's cursor goes bad.
    broken: AtomicUsize,
}

/// Whether the answer is to be in JSON and to this key; else what is answered.
fn refused(headers: &HeaderMap) -> Option<Response> {
    // key-1:x
    if header(headers, "authorization") != "Basic a2V5LTE6eA==" {
        return Some(StatusCode::UNAUTHORIZED.into_response());
    }
    if header(headers, "accept") != "application/json" {
        return Some(([("content-type", "text/xml")], "<employees/>").into_response());
    }
    None
}

async fn changed(
    State(company): State<Arc<Company>>,
    Path(table): Path<String>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    if let Some(refused) = refused(&headers) {
        return refused;
    }
    if company.broken.load(Ordering::SeqCst) == 1 {
        let told = [(
            "x-bamboohr-error-message",
            "Insufficient permissions to view this table",
        )];
        return (StatusCode::FORBIDDEN, told).into_response();
    }
    if table == "jobInfo" && take(&company.limited_as_before) {
        return (StatusCode::SERVICE_UNAVAILABLE, [("retry-after", "1")]).into_response();
    }
    let first = query["since"] == "2020-01-01T00:00:00Z";
    let day = company.day.load(Ordering::SeqCst);
    let employees = match (table.as_str(), first, day) {
        ("employmentStatus", true, 0) => json!({
            "7": {"lastChanged": "2026-01-05T10:00:00+00:00", "rows": [
                {"date": "2024-01-08", "employmentStatus": "Full-Time", "comment": null},
            ]},
            // Not in order, and with dates that are none.
            "8": {"lastChanged": "2026-03-01T10:00:00+00:00", "rows": [
                {"date": "2026-03-31", "employmentStatus": "Terminated", "terminationReasonId": "3"},
                {"date": "", "employmentStatus": "Contractor"},
                {"date": "2022-05-01", "employmentStatus": "Full-Time"},
                {"date": "0000-00-00", "employmentStatus": "Part-Time"},
            ]},
            // Hired again.
            "9": {"lastChanged": "2026-02-01T10:00:00+00:00", "rows": [
                {"date": "2023-06-30", "employmentStatus": "Terminated"},
                {"date": "2025-02-01", "employmentStatus": "Full-Time"},
            ]},
            // In the list of employees the day is restricted.
            "10": {"lastChanged": "2026-02-01T10:00:00+00:00", "rows": [
                {"date": "2026-06-30", "employmentStatus": "Terminated"},
            ]},
            "11": {"lastChanged": "2026-02-01T10:00:00+00:00", "rows": [
                {"date": "0000-00-00", "employmentStatus": "Terminated"},
            ]},
            "12": {"lastChanged": "2026-02-01T10:00:00+00:00", "rows": []},
        }),
        ("employmentStatus", false, 1) => json!({
            "7": {"lastChanged": "2026-05-02T10:00:00+00:00", "rows": [
                {"date": "2024-01-08", "employmentStatus": "Full-Time"},
                {"date": "2026-05-29", "employmentStatus": "Terminated"},
            ]},
            "13": {"lastChanged": "2026-05-02T10:00:00+00:00", "rows": [
                {"date": "2026-05-15", "employmentStatus": "Terminated"},
            ]},
        }),
        ("jobInfo", true, 0) => json!({
            "7": {"lastChanged": "2026-01-05T10:00:00+00:00", "rows": [
                {"date": "2026-01-01", "jobTitle": "Lead", "department": "R&D", "location": "Boston"},
                {"date": "2024-01-08", "jobTitle": "Engineer", "department": "R&D"},
                {"date": "2025-01-01", "jobTitle": "Engineer", "department": "Labs"},
            ]},
            "9": {"lastChanged": "2026-01-05T10:00:00+00:00", "rows": [
                {"date": "2025-02-01", "jobTitle": "Clerk"},
                {"date": "0000-00-00", "jobTitle": "Temp"},
                {"date": "2025-08-01", "jobTitle": ""},
            ]},
        }),
        // One more row for somebody whose other rows came before: all of them come again.
        ("jobInfo", false, 1) => json!({
            "9": {"lastChanged": "2026-05-02T10:00:00+00:00", "rows": [
                {"date": "2026-05-01", "jobTitle": "Analyst"},
                {"date": "2025-02-01", "jobTitle": "Clerk"},
            ]},
        }),
        // An empty map, as PHP writes it.
        ("employmentStatus" | "jobInfo", false, _) => json!([]),
        _ => return StatusCode::NOT_FOUND.into_response(),
    };
    Json(json!({"table": table, "employees": employees})).into_response()
}

fn list(day: usize) -> Vec<Value> {
    let person = |id: u64, name: &str| {
        json!({
            "employeeId": id.to_string(), "status": "active", "workEmail": format!("emp.{id}@contoso.com"),
            "firstName": "Emp", "lastName": name, "address1": format!("{id} High St"), "address2": null,
            "city": "Boston", "state": "MA", "zipcode": "02110", "country": "United States",
            "department": "R&D", "jobTitle": "Engineer", "terminationDate": "0000-00-00",
            "_restrictedFields": [],
        })
    };
    let mut rows: Vec<Value> = (100..120).map(|id| person(id, "Staff")).collect();
    let mut seven = person(7, "Seven");
    if day > 0 {
        seven["status"] = json!("inactive");
        seven["workEmail"] = Value::Null;
        seven["terminationDate"] = json!("2026-05-31");
    }
    let mut eight = person(8, "Eight");
    eight["status"] = json!("inactive");
    eight["terminationDate"] = json!("2026-04-02");
    let mut ten = person(10, "Ten");
    ten["terminationDate"] = Value::Null;
    ten["_restrictedFields"] = json!(["terminationDate"]);
    let mut eleven = person(11, "Eleven");
    eleven["status"] = json!("inactive");
    // What may not be seen is null, and a profile needs it.
    let mut twelve = person(12, "Twelve");
    twelve["zipcode"] = Value::Null;
    twelve["_restrictedFields"] = json!(["zipcode"]);
    if day == 0 {
        rows.push(person(13, "Thirteen"));
    }
    rows.extend([seven, eight, person(9, "Nine"), ten, eleven, twelve]);
    rows
}

async fn employees(
    State(company): State<Arc<Company>>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    if let Some(refused) = refused(&headers) {
        return refused;
    }
    assert_eq!(query["fields"], FIELDS);
    assert_eq!(query["onlyCurrent"], "false");
    assert_eq!(query["page[limit]"], "2500");
    let rows = list(company.day.load(Ordering::SeqCst));
    let total = rows.len();
    let (page, next) = match query.get("page[after]").map(String::as_str) {
        None => (&rows[..15], Some("MTU=")),
        Some("MTU=") if take(&company.limited) => {
            return (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "1")]).into_response();
        }
        Some("MTU=") if company.broken.load(Ordering::SeqCst) != 2 => (&rows[15..], None),
        Some(_) => return (StatusCode::BAD_REQUEST, Json(json!({"type": "BadPage"}))).into_response(),
    };
    let link = next.map(|cursor| {
        format!(
            "http://{}/api/v1/employees?fields={FIELDS}&onlyCurrent=false&page%5Blimit%5D=2500&page%5Bafter%5D={}",
            header(&headers, "host"),
            cursor.replace('=', "%3D"),
        )
    });
    Json(json!({
        "data": page,
        "meta": {"total": total, "page": {"nextCursor": next}},
        "_links": {"self": {}, "next": link},
    }))
    .into_response()
}

async fn start() -> (Arc<Company>, Mock, Examples) {
    let company: Arc<Company> = Arc::default();
    let routes = Router::new()
        .route("/api/v1/employees/changed/tables/{table}", get(changed))
        .route("/api/v1/employees", get(employees))
        .with_state(company.clone());
    let mock = Mock::start(routes).await;
    let examples = Examples::new(&[
        ("BAMBOOHR_URL", &mock.url),
        ("BAMBOOHR_KEY", "key-1"),
        ("HRSINK_STATE_KEY", "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="),
    ]);
    (company, mock, examples)
}

fn resignation(id: u64, day: &str, last: &str) -> (String, BTreeMap<String, String>) {
    row(
        "employee_resignation",
        &[
            ("HRScenario", "Resignation"),
            ("EmailAddress", &format!("emp.{id}@contoso.com")),
            ("ResignationDate", &format!("{day}T00:00:00-04:00")),
            ("LastWorkingDate", &format!("{last}T00:00:00-04:00")),
        ],
    )
}

fn level(id: u64, since: &str, old: &str, new: &str) -> (String, BTreeMap<String, String>) {
    row(
        "job_level_change",
        &[
            ("HRScenario", "Job level change"),
            ("EmailAddress", &format!("emp.{id}@contoso.com")),
            ("EffectiveDate", since),
            ("OldLevel", old),
            ("NewLevel", new),
        ],
    )
}

fn profile(id: u64, name: &str) -> (String, BTreeMap<String, String>) {
    row(
        "employee_profile",
        &[
            ("HRScenario", "Employee profile"),
            ("EmailAddress", &format!("emp.{id}@contoso.com")),
            ("EmployeeFirstName", "Emp"),
            ("EmployeeLastName", name),
            ("EmployeeAddressLine1", &format!("{id} High St")),
            ("EmployeeAddressLine2", ""),
            ("EmployeeCity", "Boston"),
            ("EmployeeState", "MA"),
            ("EmployeeZipCode", "02110"),
            ("EmployeeCountry", "United States"),
            ("EmployeeDepartment", "R&D"),
            ("EmployeeRole", "Engineer"),
        ],
    )
}

/// What the first run brings.
fn first_run() -> Vec<(String, BTreeMap<String, String>)> {
    let mut rows = vec![
        resignation(8, "2026-03-31", "2026-04-02"),
        resignation(10, "2026-06-30", "2026-06-30"),
        level(7, "2026-01-01T00:00:00-05:00", "Engineer", "Lead"),
        profile(7, "Seven"),
        profile(9, "Nine"),
        profile(10, "Ten"),
        profile(13, "Thirteen"),
    ];
    rows.extend((100..120).map(|id| profile(id, "Staff")));
    rows.sort();
    rows
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_and_list_make_leavers_levels_and_profiles() {
    let (company, mock, examples) = start().await;
    company.limited.store(1, Ordering::SeqCst);
    company.limited_as_before.store(1, Ordering::SeqCst);
    let ran = examples.run("bamboohr.yaml").await;
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(examples.accepted(), first_run());
    assert_eq!(
        ran.report["rejects"]["by_reason"],
        json!([
            {"field": "EmployeeZipCode", "code": "missing", "rows": 1},
            {"field": "ResignationDate", "code": "missing", "rows": 1},
        ])
    );
    let since = "since=2020-01-01T00:00:00Z";
    assert_eq!(
        about(&mock, "/tables/employmentStatus"),
        [format!(
            "GET /api/v1/employees/changed/tables/employmentStatus?{since} 200"
        )]
    );
    assert_eq!(
        about(&mock, "/tables/jobInfo"),
        [
            format!("GET /api/v1/employees/changed/tables/jobInfo?{since} 503"),
            format!("GET /api/v1/employees/changed/tables/jobInfo?{since} 200"),
        ]
    );
    let list: Vec<String> = mock
        .requests()
        .into_iter()
        .filter(|line| line.starts_with("GET /api/v1/employees?"))
        .collect();
    assert_eq!(
        list,
        [
            format!("GET /api/v1/employees?fields={FIELDS}&onlyCurrent=false&page%5Blimit%5D=2500 200"),
            format!(
                "GET /api/v1/employees?fields={FIELDS}&onlyCurrent=false&page%5Blimit%5D=2500&page%5Bafter%5D=MTU%3D 429"
            ),
            format!(
                "GET /api/v1/employees?fields={FIELDS}&onlyCurrent=false&page%5Blimit%5D=2500&page%5Bafter%5D=MTU%3D 200"
            ),
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn later_runs_ask_for_what_changed_and_know_who_has_left() {
    let (company, mock, examples) = start().await;
    let begun = jiff::Timestamp::now();
    let ran = examples.run("bamboohr.yaml").await;
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let mut expected = first_run();

    company.day.store(1, Ordering::SeqCst);
    let before = mock.requests().len();
    let ran = examples.run("bamboohr.yaml").await;
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    expected.extend([
        // Whose address is blank by now.
        resignation(7, "2026-05-29", "2026-05-31"),
        // Who is no longer in the list.
        resignation(13, "2026-05-15", "2026-05-15"),
        level(9, "2026-05-01T00:00:00-04:00", "Clerk", "Analyst"),
    ]);
    expected.sort();
    assert_eq!(examples.accepted(), expected);
    let requests = mock.requests()[before..].to_vec();
    let asked: Vec<&str> = requests
        .iter()
        .filter_map(|request| request.split_once("since="))
        .map(|(_, since)| since)
        .collect();
    assert_eq!(asked.len(), 2, "{requests:?}");
    for since in asked {
        let since: jiff::Timestamp = since.split(' ').next().unwrap().parse().unwrap();
        let back = begun.duration_since(since);
        let day = jiff::SignedDuration::from_hours(24);
        assert!(
            back > day - jiff::SignedDuration::from_mins(10)
                && back < day + jiff::SignedDuration::from_mins(1),
            "a day before the first run: {since}"
        );
    }

    // Nothing changed: an empty list where a map was, and nothing is sent.
    company.day.store(2, Ordering::SeqCst);
    let ran = examples.run("bamboohr.yaml").await;
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(examples.accepted(), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_key_is_tried_once() {
    let (_company, mock, mut examples) = start().await;
    examples.set("BAMBOOHR_KEY", "key-2");
    let ran = examples.run("bamboohr.yaml").await;
    assert_eq!(ran.code, 5, "{}", ran.stderr);
    let requests = mock.requests();
    assert!(requests.iter().all(|line| line.ends_with(" 401")), "{requests:?}");
    let mut paths: Vec<&str> = requests
        .iter()
        .map(|line| line.split('?').next().unwrap())
        .collect();
    paths.sort_unstable();
    paths.dedup();
    assert_eq!(
        paths.len(),
        requests.len(),
        "once for each source at most: {requests:?}"
    );
    assert_eq!(examples.accepted(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_service_says_is_told() {
    let (company, mock, examples) = start().await;
    company.broken.store(1, Ordering::SeqCst);
    let ran = examples.run("bamboohr.yaml").await;
    assert_eq!(ran.code, 5, "{}", ran.stderr);
    assert!(
        ran.stderr.contains("Insufficient permissions"),
        "the header says it, the body is empty: {}",
        ran.stderr
    );
    assert!(about(&mock, "/tables/").len() <= 2, "{:?}", mock.requests());

    company.broken.store(2, Ordering::SeqCst);
    let ran = examples.run("bamboohr.yaml").await;
    assert_eq!(ran.code, 75, "{}", ran.stderr);
    assert!(
        ran.stderr
            .contains("the list of employees changed while it was read; run again"),
        "{}",
        ran.stderr
    );
    assert_eq!(examples.accepted(), [], "nothing is sent of half a list");

    // What was not delivered is asked for again from the beginning.
    company.broken.store(0, Ordering::SeqCst);
    let ran = examples.run("bamboohr.yaml").await;
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(examples.accepted(), first_run());
}
