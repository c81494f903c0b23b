//! `hibob.yaml` against the search and the tables as the service gives them. The names of the tables' columns are a guess,
//! here as there.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};

use crate::stand::{Examples, Mock, about, header, row, take};

/// What the stand-in answers with.
#[derive(Default)]
struct Company {
    /// The day: 0 is before employee 7 leaves, 1 after.
    day: AtomicUsize,
    /// Answers 429 so many times more.
    limited: AtomicUsize,
    /// What is sent instead of a good answer, if not 0.
    status: AtomicUsize,
    /// 1: a service user that may see almost nobody; 2: one that may not see the section `internal`.
    narrow: AtomicUsize,
}

/// What is answered when the request is not to be served.
fn refused(company: &Company, headers: &HeaderMap) -> Option<Response> {
    // SERVICE-1:token-1
    if header(headers, "authorization") != "Basic U0VSVklDRS0xOnRva2VuLTE=" {
        return Some((StatusCode::UNAUTHORIZED, Json(json!({"error": "Unauthorized"}))).into_response());
    }
    match u16::try_from(company.status.load(Ordering::SeqCst)).unwrap() {
        0 => {}
        status => return Some(StatusCode::from_u16(status).unwrap().into_response()),
    }
    if take(&company.limited) {
        let reset = jiff::Timestamp::now().as_second() + 1;
        return Some(
            (
                StatusCode::TOO_MANY_REQUESTS,
                [
                    ("x-ratelimit-limit", "50".to_owned()),
                    ("x-ratelimit-remaining", "0".to_owned()),
                    ("x-ratelimit-reset", reset.to_string()),
                ],
            )
                .into_response(),
        );
    }
    None
}

async fn search(
    State(company): State<Arc<Company>>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Response {
    if let Some(refused) = refused(&company, &headers) {
        return refused;
    }
    assert_eq!(
        body,
        json!({
            "fields": [
                "root.id", "root.email", "root.firstName", "root.surname", "internal.status", "address.line1",
                "address.line2", "address.city", "address.postCode", "address.country",
            ],
            "showInactive": true,
            "humanReadable": "",
        })
    );
    let person = |id: u64, name: &str| {
        json!({
            "id": id.to_string(), "email": format!("emp.{id}@contoso.com"), "firstName": "Emp", "surname": name,
            "internal": {"status": "Active"},
            "address": {"line1": format!("{id} High St"), "city": "London", "postCode": "N1 9GU", "country": "GB"},
        })
    };
    let mut rows: Vec<Value> = (100..130).map(|id| person(id, "Staff")).collect();
    let narrow = company.narrow.load(Ordering::SeqCst);
    if narrow == 1 {
        rows.truncate(2);
        return Json(json!({"employees": rows})).into_response();
    }
    let mut seven = person(7, "Seven");
    if company.day.load(Ordering::SeqCst) > 0 {
        seven["internal"]["status"] = json!("Inactive");
        seven["email"] = json!("");
    }
    let mut eight = person(8, "Eight");
    eight["internal"]["status"] = json!("Inactive");
    let mut fourteen = person(14, "Fourteen");
    fourteen["internal"]["status"] = json!("Inactive");
    // Not to be seen: the whole section is not there.
    let mut nine = person(9, "Nine");
    nine.as_object_mut().unwrap().remove("address");
    rows.extend([seven, eight, nine, fourteen, person(10, "Ten")]);
    if narrow == 2 {
        for row in &mut rows {
            row.as_object_mut().unwrap().remove("internal");
        }
    }
    Json(json!({"employees": rows})).into_response()
}

/// More rows than a page has, of people who stay.
fn staff_rows() -> impl Iterator<Item = Value> {
    (100..130).flat_map(|id: u64| {
        (0..10).map(move |year| {
            json!({
                "employeeId": id.to_string(), "effectiveDate": format!("{}-01-01", 2015 + year),
                "status": "employed", "level": "12", "title": "251", "customColumns": {},
            })
        })
    })
}

async fn table(
    State(company): State<Arc<Company>>,
    Path(table): Path<String>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    if let Some(refused) = refused(&company, &headers) {
        return refused;
    }
    let limit: usize = query.get("limit").map_or(50, |limit| limit.parse().unwrap());
    if limit > 200 {
        return (StatusCode::BAD_REQUEST, Json(json!({"error": "limit"}))).into_response();
    }
    let mut rows: Vec<Value> = staff_rows().collect();
    match table.as_str() {
        "lifecycle" => {
            rows.extend([
                json!({"employeeId": "8", "status": "Terminated", "effectiveDate": "2026-04-01",
                    "lastDayOfWork": "2026-03-31", "noticeDate": "2026-02-27", "reason": "Resigned"}),
                json!({"employeeId": "8", "status": "garden leave", "effectiveDate": "2026-03-01"}),
                // Hired again.
                json!({"employeeId": "9", "status": "terminated", "effectiveDate": "2023-06-30"}),
                json!({"employeeId": "9", "status": "employed", "effectiveDate": "2025-01-01"}),
                // Neither a last day nor a day of notice, and a number where a text was.
                json!({"employeeId": 10, "status": "terminated", "effectiveDate": "2026-06-30",
                    "lastDayOfWork": null, "noticeDate": ""}),
                // A day as people write it.
                json!({"employeeId": "14", "status": "terminated", "effectiveDate": "30/06/2026"}),
                // Not to be seen in the search.
                json!({"employeeId": "11", "status": "terminated", "effectiveDate": "2026-05-31"}),
            ]);
            if company.day.load(Ordering::SeqCst) > 0 {
                rows.push(json!({"employeeId": "7", "status": "terminated", "effectiveDate": "2026-05-31"}));
            }
            // Without profiles, the two that are rejected would be too large a share.
            if company.narrow.load(Ordering::SeqCst) == 2 {
                rows.retain(|row| row["employeeId"] != "14" && row["employeeId"] != "11");
            }
        }
        "work" => rows.extend([
            json!({"employeeId": "7", "effectiveDate": "2026-01-01", "level": "14", "title": "252"}),
            json!({"employeeId": "7", "effectiveDate": "2025-01-01", "level": "13", "title": "252"}),
            json!({"employeeId": "7", "effectiveDate": "2024-01-01", "level": "13", "title": "251"}),
            json!({"employeeId": "9", "effectiveDate": "2025-01-01", "level": null, "title": "251"}),
        ]),
        _ => return StatusCode::NOT_FOUND.into_response(),
    }
    let from: usize = query
        .get("cursor")
        .map_or(0, |cursor| cursor[1..].parse().unwrap());
    let page: Vec<Value> = rows.iter().skip(from).take(limit).cloned().collect();
    let next = (from + limit < rows.len()).then(|| format!("c{}", from + limit));
    Json(json!({
        "results": page,
        "errors": [{"employeeId": "12", "error": "not visible"}],
        "response_metadata": {"next_cursor": next},
    }))
    .into_response()
}

async fn start() -> (Arc<Company>, Mock, Examples) {
    let company: Arc<Company> = Arc::default();
    let routes = Router::new()
        .route("/v1/people/search", post(search))
        .route("/v1/bulk/people/{table}", get(table))
        .with_state(company.clone());
    let mock = Mock::start(routes).await;
    let examples = Examples::new(&[
        ("HIBOB_URL", &mock.url),
        ("HIBOB_USER", "SERVICE-1"),
        ("HIBOB_TOKEN", "token-1"),
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
            ("ResignationDate", day),
            ("LastWorkingDate", last),
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
            ("EmployeeCity", "London"),
            ("EmployeeZipCode", "N1 9GU"),
            ("EmployeeCountry", "GB"),
        ],
    )
}

/// What the first day brings.
fn first_day() -> Vec<(String, BTreeMap<String, String>)> {
    let mut rows = vec![
        resignation(8, "2026-02-27T00:00:00+00:00", "2026-03-31T00:00:00+01:00"),
        resignation(10, "2026-06-30T00:00:00+01:00", "2026-06-30T00:00:00+01:00"),
        row(
            "job_level_change",
            &[
                ("HRScenario", "Job level change"),
                ("EmailAddress", "emp.7@contoso.com"),
                ("EffectiveDate", "2026-01-01T00:00:00+00:00"),
                ("OldLevel", "13"),
                ("NewLevel", "14"),
            ],
        ),
        profile(7, "Seven"),
        profile(10, "Ten"),
    ];
    rows.extend((100..130).map(|id| profile(id, "Staff")));
    rows.sort();
    rows
}

#[tokio::test(flavor = "multi_thread")]
async fn search_and_tables_make_leavers_levels_and_profiles() {
    let (company, mock, examples) = start().await;
    company.limited.store(1, Ordering::SeqCst);
    let ran = examples.run("hibob.yaml").await;
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(examples.accepted(), first_day());
    assert_eq!(
        ran.report["rejects"]["by_reason"],
        json!([
            {"field": "EmailAddress", "code": "missing", "rows": 1},
            {"field": "EmployeeAddressLine1", "code": "missing", "rows": 1},
            {"field": "ResignationDate", "code": "invalid_date", "rows": 1},
        ])
    );

    let requests = mock.requests();
    assert_eq!(
        requests.iter().filter(|line| line.ends_with(" 429")).count(),
        1,
        "{requests:?}"
    );
    let good = |path: &str| -> Vec<String> {
        let mut requests = about(&mock, path);
        requests.retain(|line| line.ends_with(" 200"));
        requests
    };
    assert_eq!(good("/people/search"), ["POST /v1/people/search 200"]);
    for table in ["lifecycle", "work"] {
        assert_eq!(
            good(&format!("/bulk/people/{table}")),
            [
                format!("GET /v1/bulk/people/{table}?limit=200 200"),
                format!("GET /v1/bulk/people/{table}?cursor=c200&limit=200 200"),
            ]
        );
    }
    assert_eq!(requests.len(), 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leaver_whose_address_is_blank_is_sent_under_the_remembered_one() {
    let (company, _mock, examples) = start().await;
    let ran = examples.run("hibob.yaml").await;
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    company.day.store(1, Ordering::SeqCst);
    let ran = examples.run("hibob.yaml").await;
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let mut expected = first_day();
    expected.push(resignation(
        7,
        "2026-05-31T00:00:00+01:00",
        "2026-05-31T00:00:00+01:00",
    ));
    expected.sort();
    assert_eq!(examples.accepted(), expected, "one row more, and nothing twice");

    // Rights taken away look like a company that shrank.
    company.narrow.store(1, Ordering::SeqCst);
    let ran = examples.run("hibob.yaml").await;
    assert_eq!(ran.code, 4, "{}", ran.stderr);
    assert!(ran.stderr.contains("max_shrink"), "{}", ran.stderr);
    assert_eq!(examples.accepted(), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_section_that_nobody_has_is_empty_and_the_next_runs_guard_tells() {
    let (company, _mock, examples) = start().await;
    company.narrow.store(2, Ordering::SeqCst);
    let ran = examples.run("hibob.yaml").await;
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let mut expected = first_day();
    expected.retain(|(scenario, _)| scenario != "employee_profile");
    assert_eq!(examples.accepted(), expected);

    // Taken away later.
    let (company, _mock, examples) = start().await;
    let ran = examples.run("hibob.yaml").await;
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    company.narrow.store(2, Ordering::SeqCst);
    let ran = examples.run("hibob.yaml").await;
    assert_eq!(ran.code, 4, "{}", ran.stderr);
    assert!(ran.stderr.contains("max_shrink"), "{}", ran.stderr);
    assert_eq!(examples.accepted(), first_day());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_never_tried_again() {
    let once = |mock: &Mock, status: &str| {
        let requests = mock.requests();
        assert!(requests.iter().all(|line| line.ends_with(status)), "{requests:?}");
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
    };
    let (_company, mock, mut examples) = start().await;
    examples.set("HIBOB_TOKEN", "token-2");
    let ran = examples.run("hibob.yaml").await;
    assert_eq!(ran.code, 5, "{}", ran.stderr);
    assert!(!ran.stderr.contains("token-2"));
    once(&mock, " 401");
    assert_eq!(examples.accepted(), []);

    let (company, mock, examples) = start().await;
    company.status.store(403, Ordering::SeqCst);
    let ran = examples.run("hibob.yaml").await;
    assert_eq!(ran.code, 5, "{}", ran.stderr);
    once(&mock, " 403");
}
