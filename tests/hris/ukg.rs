//! `ukg.yaml` against the personnel services as UKG Pro gives them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use jiff::civil::Date;
use jiff::{Timestamp, ToSpan, Zoned, tz::TimeZone};
use serde_json::{Value, json};

use crate::stand::{Examples, Mock, Ran, about, header, rejected, row, take};

/// What the stand-in answers with.
#[derive(Default)]
struct Tenant {
    /// 0 is before E1 leaves, 1 after.
    day: AtomicUsize,
    /// Answers 429 so many times more.
    throttled: AtomicUsize,
}

fn today() -> Date {
    Zoned::new(Timestamp::now(), TimeZone::get("America/New_York").unwrap()).date()
}

fn days_ago(days: i64) -> Date {
    today() - days.days()
}

/// Employments, each with the day of its last change.
fn employments(day: usize) -> Vec<(Date, Value)> {
    // Enough for a second page; nobody of them has begun yet.
    let mut all: Vec<_> = (0..120)
        .map(|n| {
            (
                days_ago(1000),
                json!({"employeeID": format!("N{n}"), "companyID": "C1", "employeeStatusCode": "P"}),
            )
        })
        .collect();
    let mut one = json!({"employeeID": "E1", "companyID": "C1", "employeeStatusCode": "A", "jobTitle": "Engineer",
        "orgLevel1Code": "RND", "employeeTypeCode": "REG", "dateInJob": "2026-02-01T00:00:00Z",
        "dateOfTermination": null});
    let mut changed = days_ago(50);
    if day > 0 {
        one["employeeStatusCode"] = json!("T");
        one["dateLastWorked"] = json!("2026-06-12T00:00:00Z");
        one["dateOfTermination"] = json!("2026-06-30T00:00:00Z");
        one["termReason"] = json!("203");
        changed = days_ago(1);
    }
    all.extend([
        (changed, one),
        // Left one company and works for another.
        (
            days_ago(40),
            json!({"employeeID": "E3", "companyID": "C1", "employeeStatusCode": "T",
            "dateOfTermination": "2026-01-31T00:00:00Z"}),
        ),
        (
            days_ago(40),
            json!({"employeeID": "E3", "companyID": "C2", "employeeStatusCode": "A",
            "jobDescription": "Analyst", "dateInJob": "2026-02-01T00:00:00Z"}),
        ),
        // Left, and the address is not known.
        (
            days_ago(5),
            json!({"employeeID": "E4", "companyID": "C1", "employeeStatusCode": "T",
            "dateOfTermination": "2026-01-31T00:00:00Z"}),
        ),
        // No last day of work, no zone; the other spelling of the key.
        (
            days_ago(65),
            json!({"employeeId": "E5", "companyID": "C1", "employeeStatusCode": "T",
            "dateOfTermination": "2026-05-31T00:00:00", "dateLastWorked": ""}),
        ),
        (
            days_ago(900),
            json!({"employeeID": "E2", "companyID": "C1", "employeeStatusCode": "L", "jobTitle": "Lead"}),
        ),
        (
            days_ago(900),
            json!({"employeeID": "E7", "companyID": "C1", "employeeStatusCode": "A", "jobTitle": "Clerk"}),
        ),
        // Left before what is asked for.
        (
            days_ago(900),
            json!({"employeeID": "E6", "companyID": "C1", "employeeStatusCode": "T",
            "dateOfTermination": "2023-01-31T00:00:00Z"}),
        ),
        // Empty records occur.
        (days_ago(3), json!({})),
    ]);
    all
}

fn history() -> Vec<(Date, Value)> {
    let step = |id: &str, day: &str, grade: Value, promotion: Value, reason: &str| {
        let step = json!({"employeeId": id, "jobEffectiveDate": day, "salaryGrade": grade, "isPromotion": promotion,
            "reasonCode": reason, "dateTimeCreated": day});
        (days_ago(0), step)
    };
    vec![
        // Not in order; a move within a grade; a row without a grade.
        step("E2", "2026-02-01T00:00:00Z", json!("G7"), json!(true), "PROMO"),
        step("E2", "2024-01-01T00:00:00Z", json!("G5"), json!(false), "HIRE"),
        step("E2", "2025-01-01T00:00:00Z", json!("G5"), json!(false), "MOVE"),
        step("E2", "2025-06-01T00:00:00Z", Value::Null, json!(false), "MOVE"),
        step("E1", "2024-01-01T00:00:00Z", json!("G6"), json!("false"), "HIRE"),
        step("E1", "2025-07-01T00:00:00", json!("G4"), json!("false"), "DEMO"),
        (days_ago(0), json!({})),
    ]
}

fn people(day: usize) -> Vec<(Date, Value)> {
    let person = |id: &str, mail: Value| {
        let person = json!({"employeeId": id, "emailAddress": mail, "firstName": "Emp", "lastName": id,
            "addressLine1": "1 Main St", "addressCity": "Boston", "addressState": "MA", "addressZipCode": "02134",
            "addressCountry": "USA"});
        (days_ago(0), person)
    };
    let one = if day == 0 {
        json!("emp.1@contoso.com")
    } else {
        json!("")
    };
    vec![
        person("E1", one),
        person("E2", json!("emp.2@contoso.com")),
        person("E3", json!("emp.3@contoso.com")),
        person("E4", Value::Null),
        person("E5", json!("emp.5@contoso.com")),
        person("E7", json!("emp.7@contoso.com")),
        (days_ago(0), json!({})),
    ]
}

async fn read(
    State(tenant): State<Arc<Tenant>>,
    Path(what): Path<String>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    // svc:pw-7
    if header(&headers, "authorization") != "Basic c3ZjOnB3LTc="
        || header(&headers, "us-customer-api-key") != "KEY7"
    {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    if take(&tenant.throttled) {
        return StatusCode::TOO_MANY_REQUESTS.into_response();
    }
    let day = tenant.day.load(Ordering::SeqCst);
    let mut rows = match what.as_str() {
        "employment-details" => employments(day),
        "employee-job-history-details" => history(),
        "person-details" => people(day),
        _ => return StatusCode::NOT_FOUND.into_response(),
    };
    if let Some(between) = query.get("dateTimeChanged") {
        let (from, to) = between_days(between);
        rows.retain(|(changed, _)| from <= *changed && *changed < to);
    }
    let size: usize = query["per_page"].parse().unwrap();
    let page: usize = query["page"].parse().unwrap();
    let rows: Vec<Value> = rows
        .into_iter()
        .map(|(_, row)| row)
        .skip((page - 1) * size)
        .take(size)
        .collect();
    Json(rows).into_response()
}

/// `{07-01-2026,07-31-2026}`
fn between_days(text: &str) -> (Date, Date) {
    let inside = text.strip_prefix('{').unwrap().strip_suffix('}').unwrap();
    let (from, to) = inside.split_once(',').unwrap();
    let read = |day: &str| Date::strptime("%m-%d-%Y", day).unwrap();
    (read(from), read(to))
}

/// The spans of changes that were asked for, without the further pages.
fn spans(mock: &Mock) -> Vec<(Date, Date)> {
    about(mock, "employment-details")
        .iter()
        .filter(|request| {
            request.contains("dateTimeChanged") && request.contains("&page=1&") && request.ends_with(" 200")
        })
        .map(|request| {
            let uri = request.split(' ').nth(1).unwrap();
            let url = url::Url::parse(&format!("http://x{uri}")).unwrap();
            let between = url
                .query_pairs()
                .find(|(name, _)| name == "dateTimeChanged")
                .unwrap();
            between_days(&between.1)
        })
        .collect()
}

async fn start() -> (Arc<Tenant>, Mock, Examples) {
    let tenant = Arc::new(Tenant::default());
    let routes = Router::new()
        .route("/personnel/v1/{what}", get(read))
        .with_state(tenant.clone());
    let mock = Mock::start(routes).await;
    let examples = Examples::new(&[
        ("UKG_URL", &mock.url),
        ("UKG_USER", "svc"),
        ("UKG_PASSWORD", "pw-7"),
        ("UKG_API_KEY", "KEY7"),
        ("UKG_SINCE", &days_ago(100).to_string()),
        ("HRSINK_STATE_KEY", "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="),
    ]);
    (tenant, mock, examples)
}

fn went(ran: &Ran) {
    assert_eq!(ran.code, 0, "{}\n{:#}", ran.stderr, ran.report);
}

#[tokio::test(flavor = "multi_thread")]
async fn ukg_leavers_steps_and_profiles() {
    let (tenant, mock, examples) = start().await;
    let today = today();
    tenant.throttled.store(2, Ordering::SeqCst);
    let ran = examples.run("ukg.yaml").await;
    went(&ran);
    let mut expected = vec![
        leaver("emp.5@contoso.com", "2026-05-31T00:00:00-04:00"),
        step(
            "emp.1@contoso.com",
            "2025-07-01T00:00:00-04:00",
            ["G6", "G4"],
            "DEMO",
        ),
        step(
            "emp.2@contoso.com",
            "2026-02-01T00:00:00-05:00",
            ["G5", "G7"],
            "promotion, PROMO",
        ),
        profile("E1", ["RND", "REG", "Engineer"]),
        profile("E2", ["", "", "Lead"]),
        profile("E3", ["", "", "Analyst"]),
        profile("E7", ["", "", "Clerk"]),
    ];
    expected.sort();
    assert_eq!(examples.accepted(), expected);
    assert_eq!(rejected(&ran), 1, "E4: {:#}", ran.report);
    // Nothing is left out between one span and the next.
    let first = spans(&mock);
    assert_eq!(first[0].0, days_ago(100));
    assert!(
        first.len() >= 4 && first.windows(2).all(|two| two[0].1 == two[1].0),
        "{first:?}"
    );
    assert!(first.last().unwrap().1 > today, "{first:?}");
    for path in [
        "employment-details",
        "employee-job-history-details",
        "person-details",
    ] {
        let last = about(&mock, path).pop().unwrap();
        assert!(last.contains("per_page=100") && last.ends_with(" 200"), "{last}");
    }
    let throttled = mock
        .requests()
        .iter()
        .filter(|request| request.ends_with(" 429"))
        .count();
    assert_eq!(throttled, 2);

    // E1 leaves, and the address goes.
    tenant.day.store(1, Ordering::SeqCst);
    let ran = examples.run("ukg.yaml").await;
    went(&ran);
    expected.push(leaver("emp.1@contoso.com", "2026-06-12T00:00:00-04:00"));
    expected.sort();
    assert_eq!(examples.accepted(), expected);
    assert_eq!(rejected(&ran), 0, "E4 is not asked for again: {:#}", ran.report);
    let second = &spans(&mock)[first.len()..];
    assert_eq!(second.len(), 1, "{second:?}");
    assert!(
        second[0].0 <= today - 3.days() && second[0].0 >= today - 4.days(),
        "{second:?}"
    );
    assert!(second[0].1 > today, "{second:?}");
}

fn leaver(mail: &str, day: &str) -> (String, BTreeMap<String, String>) {
    row(
        "employee_resignation",
        &[
            ("HRScenario", "Resignation"),
            ("EmailAddress", mail),
            ("ResignationDate", day),
            ("LastWorkingDate", day),
        ],
    )
}

fn step(mail: &str, day: &str, levels: [&str; 2], remarks: &str) -> (String, BTreeMap<String, String>) {
    row(
        "job_level_change",
        &[
            ("HRScenario", "Job level change"),
            ("EmailAddress", mail),
            ("EffectiveDate", day),
            ("Remarks", remarks),
            ("OldLevel", levels[0]),
            ("NewLevel", levels[1]),
        ],
    )
}

fn profile(id: &str, job: [&str; 3]) -> (String, BTreeMap<String, String>) {
    let mail = format!("emp.{}@contoso.com", &id[1..]);
    row(
        "employee_profile",
        &[
            ("HRScenario", "Employee profile"),
            ("EmailAddress", &mail),
            ("EmployeeFirstName", "Emp"),
            ("EmployeeLastName", id),
            ("EmployeeAddressLine1", "1 Main St"),
            ("EmployeeAddressLine2", ""),
            ("EmployeeCity", "Boston"),
            ("EmployeeState", "MA"),
            ("EmployeeZipCode", "02134"),
            ("EmployeeCountry", "USA"),
            ("EmployeeDepartment", job[0]),
            ("EmployeeType", job[1]),
            ("EmployeeRole", job[2]),
        ],
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn ukg_refuses_a_wrong_key_or_password_once() {
    let (_, mock, mut examples) = start().await;
    for (name, wrong, right) in [("UKG_API_KEY", "KEY8", "KEY7"), ("UKG_PASSWORD", "pw-8", "pw-7")] {
        examples.set(name, wrong);
        let before = mock.requests().len();
        let ran = examples.run("ukg.yaml").await;
        assert_eq!(ran.code, 5, "{}", ran.stderr);
        assert!(ran.stderr.contains("401"), "{}", ran.stderr);
        assert!(!ran.stderr.contains(wrong), "{}", ran.stderr);
        // Each source at most once.
        let asked = mock.requests().len() - before;
        assert!((1..=4).contains(&asked), "{:?}", mock.requests());
        assert_eq!(examples.accepted(), []);
        examples.set(name, right);
    }
}
