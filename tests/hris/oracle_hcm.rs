//! `oracle-hcm.yaml` against REST resources as Oracle HCM Cloud has them.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

use crate::shared::{
    Graph, Row, about, assert_rows, env, graph, header, level, profile, rejects, resignation, review, sorted,
};
use crate::stand::{Examples, Mock};

const BASE: &str = "/hcmRestApi/resources/11.13.18.05";

/// What the stand-in answers with.
#[derive(Default)]
struct Pod {
    graph: Arc<Graph>,
    /// The day: 0 is before worker 1 leaves and 2 has a new grade, 1 after.
    day: AtomicUsize,
    /// Answers 503 so many times more.
    busy: AtomicUsize,
    asked: AtomicUsize,
    /// Whether some of the staff are all there is, with what everybody has and nothing else.
    bare: AtomicBool,
}

/// More than one page of 500.
fn staff() -> std::ops::Range<u64> {
    10_000..10_700
}

fn children(items: &Value) -> Value {
    json!({"items": items, "count": 1, "hasMore": false, "limit": 25, "offset": 0})
}

fn relationship(
    dates: (Option<&str>, Option<&str>, Option<&str>),
    number: &str,
    grade: Option<&str>,
    since: &str,
) -> Value {
    json!({
        "PeriodOfServiceId": 300_100_000_000_001_u64, "WorkerType": "E", "PrimaryFlag": true,
        "NotificationDate": dates.0, "LastWorkingDate": dates.1, "TerminationDate": dates.2,
        "assignments": children(&json!([{
            "AssignmentNumber": number, "GradeCode": grade, "JobCode": "ENG", "DepartmentName": "R&D",
            "EffectiveStartDate": since, "ActionCode": "PROMOTION",
        }])),
    })
}

fn worker(id: u64, relationships: &Value) -> Value {
    json!({
        "PersonNumber": id.to_string(), "DateOfBirth": null,
        "names": children(&json!([{"FirstName": "Emp", "LastName": format!("No {id}")}])),
        "addresses": children(&json!([{
            "AddressLine1": format!("{id} Main St"), "TownOrCity": "Boston", "Region2": "MA", "PostalCode": "02134",
            "Country": "US",
        }])),
        "workRelationships": children(relationships),
    })
}

fn workers(day: usize) -> Vec<Value> {
    let stays = (None, None, None);
    let one = if day == 0 {
        relationship(stays, "E1", Some("G5"), "2020-01-01")
    } else {
        relationship(
            (Some("2024-04-30"), Some("2024-05-24"), Some("2024-05-31")),
            "E1",
            Some("G5"),
            "2020-01-01",
        )
    };
    let two = if day == 0 {
        relationship(stays, "E2", Some("G6"), "2020-01-01")
    } else {
        relationship(stays, "E2", Some("G7"), "2024-06-01")
    };
    let mut rows = vec![
        worker(1, &json!([one])),
        worker(2, &json!([two])),
        // Nobody wrote down when the letter came, nor the last day.
        worker(
            3,
            &json!([relationship(
                (None, None, Some("2024-03-31")),
                "E3",
                Some("G1"),
                "2020-01-01"
            )]),
        ),
        // Went to another legal employer.
        worker(
            4,
            &json!([
                relationship(stays, "E4-2", None, "2023-01-01"),
                relationship((None, None, Some("2022-12-31")), "E4", Some("G1"), "2020-01-01"),
            ]),
        ),
        // Open-ended.
        worker(
            5,
            &json!([relationship(
                (None, Some("4712-12-31"), Some("2098-07-31")),
                "E5",
                Some("G1"),
                "2020-01-01"
            )]),
        ),
        // Without an account.
        worker(
            6,
            &json!([relationship(
                (None, None, Some("2024-02-29")),
                "E6",
                Some("G1"),
                "2020-01-01"
            )]),
        ),
    ];
    // A role that may not see relationships: the child is absent.
    rows.push(json!({"PersonNumber": "7", "names": children(&json!([]))}));
    // Neither name nor address.
    let mut eight = worker(8, &json!([relationship(stays, "E8", Some("G1"), "2020-01-01")]));
    eight["addresses"] = children(&json!([]));
    rows.push(eight);
    rows.extend(staff().map(|id| {
        worker(
            id,
            &json!([relationship(stays, &format!("E{id}"), Some("G1"), "2020-01-01")]),
        )
    }));
    rows
}

/// Thirty people without whatever may be left out.
fn bare() -> Vec<Value> {
    staff()
        .take(30)
        .map(|id| {
            let mut assignment = json!({"AssignmentNumber": format!("E{id}")});
            assignment["EffectiveStartDate"] = json!("2020-01-01");
            let mut worker = worker(id, &json!([{"assignments": children(&json!([assignment]))}]));
            let home = json!([{"AddressLine1": format!("{id} Main St"), "PostalCode": "02134"}]);
            worker["addresses"] = children(&home);
            worker
        })
        .collect()
}

fn evaluations() -> Vec<Value> {
    let one = |id: &str, rating: Value| {
        json!({
            "EvaluationId": 1, "PersonNumber": id, "EndDate": "2024-01-31T00:00:00+00:00", "OverallRating": rating,
        })
    };
    vec![
        one("1", json!("Exceeds")),
        one("2", Value::Null),
        one("3", json!("4")),
    ]
}

/// Whether the request is one that gets an answer.
fn refused(pod: &Pod, headers: &HeaderMap) -> Option<Response> {
    // hrsink:oracle-pw
    if header(headers, "authorization") != "Basic aHJzaW5rOm9yYWNsZS1wdw==" {
        return Some(StatusCode::UNAUTHORIZED.into_response());
    }
    assert_eq!(header(headers, "rest-framework-version"), "4");
    if pod.asked.fetch_add(1, Ordering::SeqCst) > 0
        && pod
            .busy
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1))
            .is_ok()
    {
        return Some(StatusCode::SERVICE_UNAVAILABLE.into_response());
    }
    None
}

fn page(rows: Vec<Value>, query: &HashMap<String, String>) -> Response {
    let number = |name: &str, default: usize| query.get(name).map_or(default, |text| text.parse().unwrap());
    let (limit, offset) = (number("limit", 25).min(500), number("offset", 0));
    let has_more = offset + limit < rows.len();
    let mut items: Vec<Value> = rows.into_iter().skip(offset).take(limit).collect();
    if has_more {
        // A row that may not be seen counts for the page and is not on it.
        items.pop();
    }
    Json(json!({
        "items": items, "count": items.len(), "hasMore": has_more, "limit": limit, "offset": offset,
        "links": [{"rel": "self", "href": "https://abcd.fa.em2.oraclecloud.com/"}],
    }))
    .into_response()
}

async fn list_workers(
    State(pod): State<Arc<Pod>>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    if let Some(answer) = refused(&pod, &headers) {
        return answer;
    }
    assert_eq!(
        (&*query["onlyData"], &*query["orderBy"]),
        ("true", "PersonNumber")
    );
    let mut rows = if pod.bare.load(Ordering::SeqCst) {
        bare()
    } else {
        workers(pod.day.load(Ordering::SeqCst))
    };
    if !query["expand"].contains("names") {
        for row in &mut rows {
            row.as_object_mut()
                .unwrap()
                .retain(|key, _| key != "names" && key != "addresses");
        }
    }
    page(rows, &query)
}

async fn list_evaluations(
    State(pod): State<Arc<Pod>>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    match refused(&pod, &headers) {
        Some(answer) => answer,
        None if pod.bare.load(Ordering::SeqCst) => page(Vec::new(), &query),
        None => page(evaluations(), &query),
    }
}

async fn start() -> (Arc<Pod>, Mock, Examples) {
    let pod: Arc<Pod> = Arc::default();
    for id in [1, 2, 3, 4, 5, 8].into_iter().chain(staff()) {
        pod.graph.add(&id.to_string(), &format!("emp.{id}@contoso.com"));
    }
    let routes = Router::new()
        .route(&format!("{BASE}/workers"), get(list_workers))
        .route(&format!("{BASE}/performanceEvaluations"), get(list_evaluations))
        .with_state(pod.clone())
        .merge(graph(pod.graph.clone()));
    let mock = Mock::start(routes).await;
    let mut examples = Examples::new(&[
        ("ORACLE_URL", &mock.url),
        ("ORACLE_USER", "hrsink"),
        ("ORACLE_PASSWORD", "oracle-pw"),
    ]);
    for (name, value) in env(&mock.url) {
        examples.set(name, &value);
    }
    (pod, mock, examples)
}

fn first_day() -> Vec<Row> {
    let left = |id: u32, day: &str| resignation(&format!("emp.{id}@contoso.com"), day, day);
    let mut rows = vec![
        left(3, "2024-03-31T00:00:00-04:00"),
        left(5, "2098-07-31T00:00:00-04:00"),
        review("emp.1@contoso.com", "2024-01-31T00:00:00+00:00", "Exceeds"),
        review("emp.3@contoso.com", "2024-01-31T00:00:00+00:00", "4"),
    ];
    // The page has 500 places, and the row in the last of the first page is not to be seen: 8 are before the staff.
    let unseen = staff().start + 500 - 8 - 1;
    rows.extend(
        [1, 2, 4]
            .into_iter()
            .chain(staff())
            .filter(|id| *id != unseen)
            .map(|id| {
                let mut row = profile(&[
                    ("EmailAddress", &format!("emp.{id}@contoso.com")),
                    ("EmployeeFirstName", "Emp"),
                    ("EmployeeLastName", &format!("No {id}")),
                    ("EmployeeAddressLine1", &format!("{id} Main St")),
                    ("EmployeeCity", "Boston"),
                    ("EmployeeState", "MA"),
                    ("EmployeeZipCode", "02134"),
                    ("EmployeeCountry", "US"),
                    ("EmployeeDepartment", "R&D"),
                    ("EmployeeType", "E"),
                    ("EmployeeRole", "ENG"),
                ]);
                row.1.remove("EmployeeAddressLine2");
                row
            }),
    );
    sorted(rows)
}

#[tokio::test(flavor = "multi_thread")]
async fn leavers_and_profiles_arrive_and_has_more_decides_when_it_is_over() {
    let (pod, mock, examples) = start().await;
    pod.busy.store(1, Ordering::SeqCst);
    let ran = examples.run("oracle-hcm.yaml").await;
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_rows(&examples.accepted(), &first_day());
    assert_eq!(
        rejects(&ran),
        &json!([
            {"field": "EmailAddress", "code": "missing", "rows": 1},
            {"field": "EmployeeAddressLine1", "code": "missing", "rows": 1},
        ])
    );
    assert_eq!(about(&mock, " 503").len(), 1);
    let expand = "expand=names,addresses,workRelationships.assignments&orderBy=PersonNumber";
    let mut asked = about(&mock, "expand=names");
    asked.retain(|line| line.ends_with(" 200"));
    assert_eq!(
        asked,
        [
            format!("GET {BASE}/workers?onlyData=true&{expand}&offset=0&limit=500 200"),
            format!("GET {BASE}/workers?onlyData=true&{expand}&offset=500&limit=500 200"),
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changed_since_the_run_before_is_a_level_change_and_a_leaver_is_remembered() {
    let (pod, _mock, examples) = start().await;
    let ran = examples.run("oracle-hcm.yaml").await;
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    pod.day.store(1, Ordering::SeqCst);
    pod.graph.remove("1");
    let ran = examples.run("oracle-hcm.yaml").await;
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let mut expected = first_day();
    expected.push(resignation(
        "emp.1@contoso.com",
        "2024-04-30T00:00:00-04:00",
        "2024-05-24T00:00:00-04:00",
    ));
    expected.push(level(
        "emp.2@contoso.com",
        "2024-06-01T00:00:00-04:00",
        "G6",
        "G7",
        "PROMOTION",
    ));
    assert_rows(&examples.accepted(), &sorted(expected));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_has_is_empty() {
    let (pod, _mock, examples) = start().await;
    pod.bare.store(true, Ordering::SeqCst);
    // The second run compares grades that are not there.
    for _ in 0..2 {
        let ran = examples.run("oracle-hcm.yaml").await;
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        assert_eq!(rejects(&ran), &json!([]));
    }
    let expected = staff().take(30).map(|id| {
        let mut row = profile(&[
            ("EmailAddress", &format!("emp.{id}@contoso.com")),
            ("EmployeeFirstName", "Emp"),
            ("EmployeeLastName", &format!("No {id}")),
            ("EmployeeAddressLine1", &format!("{id} Main St")),
            ("EmployeeZipCode", "02134"),
        ]);
        row.1.remove("EmployeeAddressLine2");
        row
    });
    assert_rows(&examples.accepted(), &sorted(expected.collect()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_ends_the_run_at_once() {
    let (_pod, mock, mut examples) = start().await;
    examples.set("ORACLE_PASSWORD", "another");
    let ran = examples.run("oracle-hcm.yaml").await;
    assert_eq!(ran.code, 5, "{}", ran.stderr);
    assert_eq!(examples.accepted(), []);
    // Each of the three sources asks once: a second try would bring an account nearer to its lock.
    let asked = about(&mock, BASE).len();
    assert!((1..=3).contains(&asked), "{asked}");
}
