//! `successfactors.yaml` against an OData 2 service as SuccessFactors has it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use axum::extract::{Form, Path, Query, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::shared::{
    Graph, Row, about, assert_rows, env, graph, header, level, profile, rejects, resignation, review, sorted,
};
use crate::stand::{Examples, Mock};
use test_server::certificates as keys;

/// What the stand-in answers with.
#[derive(Default)]
struct Tenant {
    graph: Arc<Graph>,
    /// The day: 0 is before u1 leaves, 1 after.
    day: AtomicUsize,
    /// Answers 429 so many times more.
    throttled: AtomicUsize,
    /// Whether the staff are all there is, with what everybody has and nothing else.
    bare: AtomicBool,
}

/// The rows of the staff, without what may be left out.
fn bare(mut rows: Vec<Value>) -> Vec<Value> {
    let staff: Vec<String> = staff()
        .flat_map(|id| [format!("u{id}"), format!("P{id}")])
        .collect();
    rows.retain(|row| {
        let id = row.get("userId").or_else(|| row.get("personIdExternal"));
        id.is_some_and(|id| staff.iter().any(|one| id == one))
    });
    for row in &mut rows {
        let row = row.as_object_mut().unwrap();
        for name in [
            "lastDateWorked",
            "payGrade",
            "department",
            "jobTitle",
            "employeeClass",
        ] {
            row.remove(name);
        }
    }
    rows
}

/// A civil day as OData 2 writes it.
fn day(year: i64, month: i64, day: i64) -> String {
    let years = if month <= 2 { year - 1 } else { year };
    let era = years.div_euclid(400);
    let of_era = years.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    format!("/Date({})/", days * 86_400_000)
}

fn staff() -> std::ops::Range<u32> {
    100..130
}

fn slice(user: &str, number: &str, from: &str, grade: Option<&str>, status: &str, reason: &str) -> Value {
    json!({
        "__metadata": {"uri": format!("EmpJob(seqNumber={number}L,userId='{user}')"), "type": "SFOData.EmpJob"},
        "userId": user, "seqNumber": number, "startDate": from, "payGrade": grade, "emplStatus": status,
        "event": "5", "eventReason": reason, "department": "R&D", "jobTitle": "Engineer", "employeeClass": null,
        "userNav": {"__deferred": {"uri": "https://api.contoso.com:443/odata/v2/EmpJob('x')/userNav"}},
    })
}

fn jobs(today: usize) -> Vec<Value> {
    let mut rows = vec![
        // Two changes on one day: the second counts. In no order.
        slice("u1", "2", &day(2023, 3, 1), Some("G6"), "A", "PROMO"),
        slice("u1", "1", &day(1969, 6, 1), Some("G5"), "A", "HIRE"),
        slice("u1", "1", &day(2023, 3, 1), Some("G5"), "A", "DATACHG"),
        slice("u1", "1", &day(2023, 9, 1), Some("G6"), "A", "TRANSFER"),
        slice("u2", "1", &day(2019, 1, 1), Some("G3"), "A", "HIRE"),
        slice("u2", "1", &day(2024, 1, 1), Some("G3"), "T", "RESIGN"),
        // Left, and is back.
        slice("u3", "1", &day(2015, 1, 1), Some("G2"), "A", "HIRE"),
        slice("u3", "1", &day(2020, 5, 1), Some("G2"), "T", "RESIGN"),
        slice("u3", "1", &day(2021, 1, 1), Some("G4"), "A", "REHIRE"),
        slice("u4", "1", &day(2022, 1, 1), None, "A", "HIRE"),
        slice("u4", "1", &day(2099, 1, 1), None, "T", "RESIGN"),
        slice("u5", "1", &day(2022, 1, 1), Some("G1"), "A", "HIRE"),
        slice("u5", "1", &day(2024, 3, 1), Some("G1"), "T", "RESIGN"),
        // Has left, and will be hired again. Two slices of the time between: the first one counts.
        slice("u6", "1", &day(2018, 1, 1), Some("G1"), "A", "HIRE"),
        slice("u6", "1", &day(2024, 2, 1), Some("G1"), "T", "RESIGN"),
        slice("u6", "1", &day(2024, 8, 1), Some("G1"), "T", "DATACHG"),
        slice("u6", "1", &day(2099, 2, 1), Some("G1"), "A", "REHIRE"),
    ];
    if today > 0 {
        rows.push(slice("u1", "1", &day(2024, 2, 15), Some("G6"), "T", "RESIGN"));
    }
    rows.extend(staff().map(|id| slice(&format!("u{id}"), "1", &day(2020, 1, 1), Some("G1"), "A", "HIRE")));
    rows
}

fn employments() -> Vec<Value> {
    let row = |id: &str, hired: String, last: Value| {
        json!({
            "__metadata": {}, "userId": format!("u{id}"), "personIdExternal": format!("P{id}"), "startDate": hired,
            "lastDateWorked": last,
        })
    };
    let mut rows = vec![
        row("1", day(1969, 6, 1), Value::Null),
        row("2", day(2019, 1, 1), json!(day(2023, 11, 30))),
        row("3", day(2021, 1, 1), json!(day(2020, 4, 30))),
        // Open-ended.
        row("4", day(2022, 1, 1), json!("/Date(253402214400000)/")),
        row("5", day(2022, 1, 1), Value::Null),
        // Of an employment before this one.
        row("6", day(2018, 1, 1), json!(day(2010, 4, 30))),
    ];
    rows[0].as_object_mut().unwrap().remove("lastDateWorked");
    rows.extend(staff().map(|id| row(&id.to_string(), day(2020, 1, 1), Value::Null)));
    rows
}

fn people() -> Vec<Value> {
    let deferred = json!({"__deferred": {"uri": "https://api.contoso.com:443/odata/v2/PerPerson('3')/x"}});
    let person = |id: &str, last: &str, home: Value| {
        json!({
            "__metadata": {}, "personIdExternal": format!("P{id}"),
            "personalInfoNav": {"results": [{"__metadata": {}, "firstName": "Emp", "lastName": last}]},
            "homeAddressNavDEFLT": home, "emailNav": deferred,
        })
    };
    let at = |line: &str| json!({"results": [{"__metadata": {}, "address1": line, "zipCode": "02134"}]});
    let mut rows = vec![
        person(
            "1",
            "One",
            json!({"results": [{
                "address1": "1 High St", "address2": "Flat 2", "city": "Boston", "state": "MA", "zipCode": "02110",
                "country": "USA",
            }]}),
        ),
        // Not expanded: rights are missing.
        person("3", "Three", deferred.clone()),
        person("4", "Four", at("4 High St")),
        person("6", "Six", json!({"results": []})),
    ];
    rows.extend(staff().map(|id| person(&id.to_string(), &format!("No {id}"), at("1 Main St"))));
    rows
}

fn forms() -> Vec<Value> {
    let form = |user: &str, rating: Value| {
        json!({
            "__metadata": {}, "formDataId": "1", "formSubjectId": user, "formTemplateType": "Review",
            "formReviewEndDate": day(2024, 1, 31), "rating": rating,
        })
    };
    vec![
        form("u1", json!("4.0")),
        form("u2", json!("-1.0")),
        form("u3", json!("Exceeds expectations by far and more")),
        form("u4", Value::Null),
    ]
}

async fn token(
    State(_): State<Arc<Tenant>>,
    headers: HeaderMap,
    Form(form): Form<HashMap<String, String>>,
) -> Response {
    let xml = String::from_utf8(STANDARD.decode(&form["assertion"]).unwrap()).unwrap();
    let here = format!("http://{}/oauth/token", header(&headers, "host"));
    let good = form["grant_type"] == "urn:ietf:params:oauth:grant-type:saml2-bearer"
        && form["company_id"] == "contosoT1"
        && form["client_id"] == "api-key"
        && !form.contains_key("client_secret")
        && xml.contains("<saml2:Issuer>api-key</saml2:Issuer>")
        && xml.contains("<saml2:Audience>www.successfactors.com</saml2:Audience>")
        && xml.contains(">hrsink-api</saml2:NameID>")
        && xml.contains(&format!("Recipient=\"{here}\""))
        && xml.contains("NotOnOrAfter=")
        && xml.contains("<ds:SignatureValue>");
    if !good {
        let told =
            json!({"errorCode": "401", "errorMessage": "Unable to authenticate the client (Login failed)"});
        return (StatusCode::UNAUTHORIZED, Json(told)).into_response();
    }
    Json(json!({"access_token": "sf-token", "token_type": "Bearer", "expires_in": 86399})).into_response()
}

async fn entity(
    State(tenant): State<Arc<Tenant>>,
    Path(entity): Path<String>,
    Query(query): Query<HashMap<String, String>>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    if header(&headers, "authorization") != "Bearer sf-token" {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let mut rows = match entity.as_str() {
        "EmpJob" => {
            if query.contains_key("fromDate") && query["toDate"] == "9999-12-31" {
                assert_eq!(query["fromDate"], "1900-01-01");
                jobs(tenant.day.load(Ordering::SeqCst))
            } else {
                // Only what holds today.
                Vec::new()
            }
        }
        "EmpEmployment" => employments(),
        "PerPerson" => people(),
        "FormHeader" => {
            assert_eq!(
                query["$filter"],
                "formTemplateType eq 'Review' and formDataStatus eq '3'"
            );
            forms()
        }
        _ => return StatusCode::NOT_FOUND.into_response(),
    };
    if tenant.bare.load(Ordering::SeqCst) {
        rows = bare(rows);
    }
    assert_eq!((&*query["$format"], &*query["paging"]), ("json", "snapshot"));
    assert_eq!(query["customPageSize"], "1000");
    let first = match query.get("$skiptoken") {
        None => 0,
        Some(token) => {
            let at: usize = token.strip_prefix("eyJ+/").unwrap().parse().unwrap();
            // The link as it was given, to the letter.
            let given = next(&entity, &uri, at);
            assert_eq!(uri.path_and_query().unwrap().as_str(), given);
            at
        }
    };
    if first > 0
        && tenant
            .throttled
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1))
            .is_ok()
    {
        return StatusCode::TOO_MANY_REQUESTS.into_response();
    }
    let page: Vec<&Value> = rows.iter().skip(first).take(20).collect();
    let mut answer = json!({"d": {"results": page}});
    if first + 20 < rows.len() {
        // With the port, whether or not it is the usual one.
        let link = format!(
            "http://{}{}",
            header(&headers, "host"),
            next(&entity, &uri, first + 20)
        );
        answer["d"]["__next"] = json!(link);
    }
    Json(answer).into_response()
}

/// The way to the page that begins at this row; `/` and `=` in the token are not escaped, `+` is.
fn next(entity: &str, uri: &Uri, at: usize) -> String {
    let query = uri.query().unwrap();
    let own = query.split("&$skiptoken=").next().unwrap();
    format!("/odata/v2/{entity}?{own}&$skiptoken=eyJ%2B/{at}")
}

async fn start() -> (Arc<Tenant>, Mock, Examples) {
    let tenant: Arc<Tenant> = Arc::default();
    for id in [1, 2, 3, 4, 6].into_iter().chain(staff()) {
        tenant
            .graph
            .add(&format!("P{id}"), &format!("emp.{id}@contoso.com"));
    }
    tenant
        .graph
        .0
        .lock()
        .unwrap()
        .push((None, "guest#EXT#@contoso.com".to_owned(), true));
    let routes = Router::new()
        .route("/oauth/token", post(token))
        .route("/odata/v2/{entity}", get(entity))
        .with_state(tenant.clone())
        .merge(graph(tenant.graph.clone()));
    let mock = Mock::start(routes).await;
    let mut examples = Examples::new(&[
        ("SF_URL", &mock.url),
        ("SF_API_KEY", "api-key"),
        ("SF_COMPANY", "contosoT1"),
        ("SF_USER", "hrsink-api"),
        ("SF_PRIVATE_KEY", &keys::rsa_pem().replace('\n', "\\n")),
        ("SF_WAIT", "1s"),
        ("SF_GRADES_SINCE", "2023-01-01"),
    ]);
    for (name, value) in env(&mock.url) {
        examples.set(name, &value);
    }
    (tenant, mock, examples)
}

fn first_day() -> Vec<Row> {
    let left = |id: u32, day: &str| resignation(&format!("emp.{id}@contoso.com"), day, day);
    let mut rows = vec![
        // lastDateWorked, which is before the end.
        left(2, "2023-11-30T00:00:00-05:00"),
        // The day before the slice begins: lastDateWorked is open-ended, or of another employment.
        left(4, "2098-12-31T00:00:00-05:00"),
        left(6, "2024-01-31T00:00:00-05:00"),
        level(
            "emp.1@contoso.com",
            "2023-03-01T00:00:00-05:00",
            "G5",
            "G6",
            "PROMO",
        ),
        review("emp.1@contoso.com", "2024-01-31T00:00:00-05:00", "4.0"),
        // Cut at 25 characters.
        review(
            "emp.3@contoso.com",
            "2024-01-31T00:00:00-05:00",
            "Exceeds expectations by f",
        ),
        profile(&[
            ("EmailAddress", "emp.1@contoso.com"),
            ("EmployeeFirstName", "Emp"),
            ("EmployeeLastName", "One"),
            ("EmployeeAddressLine1", "1 High St"),
            ("EmployeeAddressLine2", "Flat 2"),
            ("EmployeeCity", "Boston"),
            ("EmployeeState", "MA"),
            ("EmployeeZipCode", "02110"),
            ("EmployeeCountry", "USA"),
            ("EmployeeDepartment", "R&D"),
            ("EmployeeRole", "Engineer"),
        ]),
    ];
    let plain = |id: u32, name: &str, line: &str| {
        profile(&[
            ("EmailAddress", &format!("emp.{id}@contoso.com")),
            ("EmployeeFirstName", "Emp"),
            ("EmployeeLastName", name),
            ("EmployeeAddressLine1", line),
            ("EmployeeZipCode", "02134"),
            ("EmployeeDepartment", "R&D"),
            ("EmployeeRole", "Engineer"),
        ])
    };
    rows.push(plain(4, "Four", "4 High St"));
    rows.extend(staff().map(|id| plain(id, &format!("No {id}"), "1 Main St")));
    sorted(rows)
}

#[tokio::test(flavor = "multi_thread")]
async fn slices_become_leavers_and_levels_and_throttling_is_survived() {
    let (tenant, mock, examples) = start().await;
    tenant.throttled.store(1, Ordering::SeqCst);
    let ran = examples.run("successfactors.yaml").await;
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_rows(&examples.accepted(), &first_day());
    assert_eq!(
        rejects(&ran),
        // u5 has no account; u3's home address may not be seen.
        &json!([
            {"field": "EmailAddress", "code": "missing", "rows": 1},
            {"field": "EmployeeAddressLine1", "code": "missing", "rows": 1},
        ])
    );

    let select =
        "userId,seqNumber,startDate,payGrade,eventReason,emplStatus,department,jobTitle,employeeClass";
    let first = format!(
        "/odata/v2/EmpJob?$format=json&$select={select}&fromDate=1900-01-01&toDate=9999-12-31&paging=snapshot\
         &customPageSize=1000"
    );
    let jobs: Vec<String> = about(&mock, "/EmpJob?")
        .into_iter()
        .filter(|line| line.ends_with(" 200"))
        .collect();
    assert_eq!(
        jobs,
        [
            format!("GET {first} 200"),
            format!("GET {first}&$skiptoken=eyJ%2B/20 200"),
            format!("GET {first}&$skiptoken=eyJ%2B/40 200"),
        ]
    );
    assert_eq!(about(&mock, " 429").len(), 1);
    // The wait that the file names, since the answer named none.
    assert!(ran.stderr.contains("wait_ms=1000"), "{}", ran.stderr);
    let (bad, good): (Vec<String>, Vec<String>) = mock
        .requests()
        .into_iter()
        .partition(|line| !line.ends_with(" 200"));
    assert_eq!(bad.len(), 1, "{bad:?}");
    for (part, times) in [
        ("/EmpJob?", 3),
        ("/EmpEmployment?", 2),
        ("/PerPerson?", 2),
        ("/FormHeader?", 1),
        ("/v1.0/users?", 4),
    ] {
        let asked = good.iter().filter(|line| line.contains(part)).count();
        assert_eq!(asked, times, "{part} in {good:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_has_is_empty() {
    let (tenant, _mock, examples) = start().await;
    tenant.bare.store(true, Ordering::SeqCst);
    let ran = examples.run("successfactors.yaml").await;
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let expected = staff().map(|id| {
        profile(&[
            ("EmailAddress", &format!("emp.{id}@contoso.com")),
            ("EmployeeFirstName", "Emp"),
            ("EmployeeLastName", &format!("No {id}")),
            ("EmployeeAddressLine1", "1 Main St"),
            ("EmployeeZipCode", "02134"),
        ])
    });
    assert_rows(&examples.accepted(), &sorted(expected.collect()));
    assert_eq!(rejects(&ran), &json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leaver_without_an_account_is_remembered() {
    let (tenant, _mock, examples) = start().await;
    let ran = examples.run("successfactors.yaml").await;
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    tenant.day.store(1, Ordering::SeqCst);
    tenant.graph.remove("P1");
    let ran = examples.run("successfactors.yaml").await;
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let mut expected = first_day();
    // The slice begins on 15 February.
    expected.push(resignation(
        "emp.1@contoso.com",
        "2024-02-14T00:00:00-05:00",
        "2024-02-14T00:00:00-05:00",
    ));
    assert_rows(&examples.accepted(), &sorted(expected));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_key_ends_the_run_at_once() {
    let (_tenant, mock, mut examples) = start().await;
    examples.set("SF_API_KEY", "another-key");
    let ran = examples.run("successfactors.yaml").await;
    assert_eq!(ran.code, 5, "{}", ran.stderr);
    assert!(ran.stderr.contains("/oauth/token"), "{}", ran.stderr);
    assert_eq!(examples.accepted(), []);
    assert!(about(&mock, "/odata/").is_empty());
    // Each of the four sources signs in for itself, and is refused once.
    let asked = about(&mock, "/oauth/token").len();
    assert!((1..=4).contains(&asked), "{asked}");

    // The other service's secret.
    let (_tenant, mock, mut examples) = start().await;
    examples.set("GRAPH_CLIENT_SECRET", "another");
    let ran = examples.run("successfactors.yaml").await;
    assert_eq!(ran.code, 5, "{}", ran.stderr);
    assert_eq!(examples.accepted(), []);
    assert_eq!(
        about(&mock, "/oauth2/"),
        ["POST /contoso.com/oauth2/v2.0/token 401"]
    );
}
