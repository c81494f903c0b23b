//! `workday.yaml` against reports as Workday gives them and users as Microsoft Graph does.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::extract::{Form, Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};

use crate::stand::{Examples, Mock, Ran, about, header, row, take};

const REPORTS: &str = "/ccx/service/customreport2/acme/hrsink_isu";

/// What the stand-in answers with.
#[derive(Default)]
struct Tenant {
    /// The day: 0 is before employee 7 leaves, 1 after.
    day: AtomicUsize,
    /// Answers 503 so many times more.
    busy: AtomicUsize,
    /// Answers 429 so many times more.
    throttled: AtomicUsize,
    /// 0: as it should be; 1: rows without their list; 2: a sign-in page; 3: no workers.
    broken: AtomicUsize,
}

fn staff() -> std::ops::Range<u64> {
    100..130
}

fn workers(day: usize) -> Value {
    let mut rows: Vec<Value> = staff()
        .map(|id| {
            json!({
                "Employee_ID": id.to_string(), "Active": "1", "First_Name": "Emp", "Last_Name": format!("No {id}"),
                "Address_Line_1": "1 Main St", "Postal_Code": "02134",
                "Orgs_group": [{"Org": "R&D"}, {"Org": "Contoso Inc."}],
            })
        })
        .collect();
    let mut seven = json!({
        "Employee_ID": "7", "Active": "1", "First_Name": "Emp", "Last_Name": "Seven", "Address_Line_1": "7 High St",
        "Address_Line_2": "Flat 2", "City": "Boston", "State": "MA", "Postal_Code": "02110", "Country": "US",
        "Department": "R&D", "Worker_Type": "Regular", "Business_Title": "Engineer", "Resignation_Date": "",
    });
    if day > 0 {
        seven["Active"] = json!("0");
        seven["Resignation_Date"] = json!("2026-05-01");
        seven["Termination_Date"] = json!("2026-05-31");
        seven["Work_Email"] = Value::Null;
    }
    rows.extend([
        seven,
        // Without a resignation date, and with an offset.
        json!({"Employee_ID": "8", "Termination_Date": "2026-03-31-07:00",
            "Termination_Last_Day_of_Work": "2026-03-27"}),
        // Hired again.
        json!({"Employee_ID": "9", "Active": true, "Termination_Date": "2020-01-31", "First_Name": "Emp",
            "Last_Name": "Nine", "Address_Line_1": "9 High St", "Postal_Code": "02110"}),
        // Will leave, and nobody knows when the letter came.
        json!({"Employee_ID": "10", "Active": "1", "Termination_Date": "2099-06-30", "First_Name": "Emp",
            "Last_Name": "Ten", "Address_Line_1": "10 High St", "Postal_Code": "02110"}),
        // Never had an account.
        json!({"Employee_ID": "11", "Active": "0", "Termination_Date": "2026-02-28"}),
        // A text where a day belongs.
        json!({"Employee_ID": "12", "Active": "0", "Termination_Date": "end of May"}),
    ]);
    json!({"Report_Entry": rows})
}

async fn report(
    State(tenant): State<Arc<Tenant>>,
    Path(report): Path<String>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    // isu:pw-7
    if header(&headers, "authorization") != "Basic aXN1OnB3LTc=" {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    assert_eq!(query["format"], "json");
    if take(&tenant.busy) {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let day = tenant.day.load(Ordering::SeqCst);
    match (tenant.broken.load(Ordering::SeqCst), report.as_str()) {
        (1, _) => return Json(json!({"report_entry": []})).into_response(),
        (3, "hrsink_workers") => return Json(json!({"Report_Entry": []})).into_response(),
        (2, _) => return ([("content-type", "text/html")], "<html>Sign in</html>").into_response(),
        _ => {}
    }
    Json(match report.as_str() {
        "hrsink_workers" => workers(day),
        "hrsink_job_history" => {
            assert_eq!(query["Effective_From"], "2024-01-01-08:00");
            json!({"Report_Entry": [
                // Not in order; twice the same level; one without a level.
                {"Employee_ID": "7", "Effective_Date": "2026-04-01", "Management_Level": "Manager",
                    "Reason": "Promotion"},
                {"Employee_ID": "7", "Effective_Date": "2024-02-01", "Management_Level": "Professional"},
                {"Employee_ID": "7", "Effective_Date": "2025-02-01", "Management_Level": "Professional",
                    "Reason": "Transfer"},
                {"Employee_ID": "8", "Effective_Date": "2024-02-01-08:00", "Management_Level": "Director"},
                {"Employee_ID": "8", "Effective_Date": "2025-07-01-07:00", "Management_Level": "Manager",
                    "Reason": "Demotion"},
                {"Employee_ID": "9", "Effective_Date": "2025-07-01", "Management_Level": ""},
            ]})
        }
        "hrsink_reviews" => json!({"Report_Entry": [
            {"Employee_ID": "7", "Review_Date": "2026-01-15", "Rating": "Exceeds", "Comment": "x".repeat(300)},
            {"Employee_ID": "8", "Review_Date": "2026-01-15", "Rating": 2},
            {"Employee_ID": "9", "Review_Date": "2026-01-15", "Rating": ""},
        ]}),
        _ => return StatusCode::NOT_FOUND.into_response(),
    })
    .into_response()
}

async fn token(Path(entra_tenant): Path<String>, Form(form): Form<HashMap<String, String>>) -> Response {
    assert_eq!(entra_tenant, "contoso.com");
    assert_eq!(form["scope"], "https://graph.microsoft.com/.default");
    assert_eq!(form["grant_type"], "client_credentials");
    if form["client_secret"] != "graph-secret" {
        let told =
            json!({"error": "invalid_client", "error_description": "AADSTS7000215: Invalid client secret"});
        return (StatusCode::UNAUTHORIZED, Json(told)).into_response();
    }
    Json(json!({"token_type": "Bearer", "access_token": "graph-token", "expires_in": 3599})).into_response()
}

async fn users(
    State(tenant): State<Arc<Tenant>>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    if header(&headers, "authorization") != "Bearer graph-token" {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let user = |id: &str, upn: String, enabled: bool| json!({"id": format!("guid-{upn}"), "employeeId": id, "userPrincipalName": upn, "accountEnabled": enabled});
    if !query.contains_key("$skiptoken") {
        assert_eq!(query["$select"], "id,employeeId,userPrincipalName,accountEnabled");
        assert_eq!(query["$top"], "999");
        let next = format!(
            "http://{}/v1.0/users?$select=id,employeeId,userPrincipalName,accountEnabled&$skiptoken=RFN%2BdA",
            header(&headers, "host")
        );
        let rows: Vec<Value> = staff()
            .map(|id| user(&id.to_string(), format!("emp.{id}@contoso.com"), true))
            .collect();
        return Json(json!({"@odata.context": "…", "@odata.nextLink": next, "value": rows})).into_response();
    }
    assert_eq!(query["$skiptoken"], "RFN+dA");
    if take(&tenant.throttled) {
        return (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "1")]).into_response();
    }
    let mut rows = vec![
        user("8", "emp.8@contoso.com".to_owned(), false),
        // Two accounts: the enabled one counts.
        user("9", "a.emp.9.old@contoso.com".to_owned(), false),
        user("9", "emp.9@contoso.com".to_owned(), true),
        user("10", "emp.10@contoso.com".to_owned(), true),
        user("12", "emp.12@contoso.com".to_owned(), false),
        json!({"id": "guid-guest", "employeeId": null, "userPrincipalName": "guest#EXT#@contoso.com"}),
    ];
    if tenant.day.load(Ordering::SeqCst) == 0 {
        rows.push(user("7", "emp.7@contoso.com".to_owned(), true));
    }
    Json(json!({"value": rows})).into_response()
}

async fn start() -> (Arc<Tenant>, Mock, Examples) {
    let tenant: Arc<Tenant> = Arc::default();
    let routes = Router::new()
        .route(&format!("{REPORTS}/{{report}}"), get(report))
        .route("/{tenant}/oauth2/v2.0/token", post(token))
        .route("/v1.0/users", get(users))
        .with_state(tenant.clone());
    let mock = Mock::start(routes).await;
    let examples = Examples::new(&[
        ("WORKDAY_URL", &mock.url),
        ("GRAPH_URL", &mock.url),
        ("ENTRA_URL", &mock.url),
        ("WORKDAY_TENANT", "acme"),
        ("WORKDAY_USER", "isu"),
        ("WORKDAY_PASSWORD", "pw-7"),
        ("GRAPH_CLIENT_ID", "29ee526e-f9a7-4e98-a682-67f41bfd643e"),
        ("GRAPH_CLIENT_SECRET", "graph-secret"),
        ("HRSINK_TENANT_ID", "contoso.com"),
        ("HRSINK_STATE_KEY", "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="),
    ]);
    (tenant, mock, examples)
}

fn rejects(ran: &Ran) -> &Value {
    &ran.report["rejects"]["by_reason"]
}

/// A profile, empty but for what is given.
fn profile(values: &[(&str, &str)]) -> (String, BTreeMap<String, String>) {
    let (_, mut profile) = row(
        "employee_profile",
        &[
            ("HRScenario", "Employee profile"),
            ("EmployeeFirstName", "Emp"),
            ("EmployeeAddressLine2", ""),
            ("EmployeeCity", ""),
            ("EmployeeState", ""),
            ("EmployeeCountry", ""),
            ("EmployeeDepartment", ""),
            ("EmployeeType", ""),
            ("EmployeeRole", ""),
        ],
    );
    profile.extend(row("", values).1);
    ("employee_profile".to_owned(), profile)
}

fn resignation(upn: &str, resigned: &str, last: &str) -> (String, BTreeMap<String, String>) {
    row(
        "employee_resignation",
        &[
            ("HRScenario", "Resignation"),
            ("EmailAddress", upn),
            ("ResignationDate", resigned),
            ("LastWorkingDate", last),
        ],
    )
}

fn level(upn: &str, since: &str, old: &str, new: &str, remarks: &str) -> (String, BTreeMap<String, String>) {
    row(
        "job_level_change",
        &[
            ("HRScenario", "Job level change"),
            ("EmailAddress", upn),
            ("EffectiveDate", since),
            ("OldLevel", old),
            ("NewLevel", new),
            ("Remarks", remarks),
        ],
    )
}

fn review(upn: &str, rating: &str, remarks: &str) -> (String, BTreeMap<String, String>) {
    row(
        "performance_review",
        &[
            ("HRScenario", "Performance review"),
            ("EmailAddress", upn),
            ("EffectiveDate", "2026-01-15T00:00:00-05:00"),
            ("Rating", rating),
            ("Remarks", remarks),
        ],
    )
}

/// What the first day brings.
fn first_day() -> Vec<(String, BTreeMap<String, String>)> {
    let mut rows = vec![
        resignation(
            "emp.8@contoso.com",
            "2026-03-27T00:00:00-04:00",
            "2026-03-27T00:00:00-04:00",
        ),
        resignation(
            "emp.10@contoso.com",
            "2099-06-30T00:00:00-04:00",
            "2099-06-30T00:00:00-04:00",
        ),
        level(
            "emp.7@contoso.com",
            "2026-04-01T00:00:00-04:00",
            "Professional",
            "Manager",
            "Promotion",
        ),
        level(
            "emp.8@contoso.com",
            "2025-07-01T00:00:00-07:00",
            "Director",
            "Manager",
            "Demotion",
        ),
        review("emp.7@contoso.com", "Exceeds", &"x".repeat(200)),
        review("emp.8@contoso.com", "2", ""),
        profile(&[
            ("EmailAddress", "emp.7@contoso.com"),
            ("EmployeeLastName", "Seven"),
            ("EmployeeAddressLine1", "7 High St"),
            ("EmployeeAddressLine2", "Flat 2"),
            ("EmployeeCity", "Boston"),
            ("EmployeeState", "MA"),
            ("EmployeeZipCode", "02110"),
            ("EmployeeCountry", "US"),
            ("EmployeeDepartment", "R&D"),
            ("EmployeeType", "Regular"),
            ("EmployeeRole", "Engineer"),
        ]),
    ];
    for (id, name) in [(9, "Nine"), (10, "Ten")] {
        rows.push(profile(&[
            ("EmailAddress", &format!("emp.{id}@contoso.com")),
            ("EmployeeLastName", name),
            ("EmployeeAddressLine1", &format!("{id} High St")),
            ("EmployeeZipCode", "02110"),
        ]));
    }
    rows.extend(staff().map(|id| {
        profile(&[
            ("EmailAddress", &format!("emp.{id}@contoso.com")),
            ("EmployeeLastName", &format!("No {id}")),
            ("EmployeeAddressLine1", "1 Main St"),
            ("EmployeeZipCode", "02134"),
        ])
    }));
    rows.sort();
    rows
}

#[tokio::test(flavor = "multi_thread")]
async fn leavers_levels_reviews_and_profiles_arrive_under_their_principal_names() {
    let (tenant, mock, examples) = start().await;
    tenant.busy.store(1, Ordering::SeqCst);
    tenant.throttled.store(1, Ordering::SeqCst);
    let ran = examples.run("workday.yaml").await;
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(examples.accepted(), first_day());
    assert_eq!(
        rejects(&ran),
        &json!([
            {"field": "EmailAddress", "code": "missing", "rows": 1},
            {"field": "ResignationDate", "code": "invalid_date", "rows": 1},
        ])
    );

    let reports = about(&mock, "/customreport2/");
    assert_eq!(
        reports.iter().filter(|line| line.ends_with(" 503")).count(),
        1,
        "{reports:?}"
    );
    let mut good: Vec<&String> = reports.iter().filter(|line| line.ends_with(" 200")).collect();
    good.sort();
    assert_eq!(
        good,
        [
            &format!("GET {REPORTS}/hrsink_job_history?format=json&Effective_From=2024-01-01-08:00 200"),
            &format!("GET {REPORTS}/hrsink_reviews?format=json 200"),
            &format!("GET {REPORTS}/hrsink_workers?format=json 200"),
        ]
    );
    let select = "$select=id,employeeId,userPrincipalName,accountEnabled";
    let mut graph = about(&mock, "/oauth2/");
    graph.extend(about(&mock, "/v1.0/"));
    assert_eq!(
        graph,
        [
            "POST /contoso.com/oauth2/v2.0/token 200".to_owned(),
            format!("GET /v1.0/users?{select}&$top=999 200"),
            // The link is followed as it is, and again after a wait.
            format!("GET /v1.0/users?{select}&$skiptoken=RFN%2BdA 429"),
            format!("GET /v1.0/users?{select}&$skiptoken=RFN%2BdA 200"),
        ]
    );
    assert_eq!(mock.requests().len(), reports.len() + graph.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leaver_whose_account_is_gone_is_sent_under_the_remembered_name() {
    let (tenant, _mock, examples) = start().await;
    let ran = examples.run("workday.yaml").await;
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    tenant.day.store(1, Ordering::SeqCst);
    let ran = examples.run("workday.yaml").await;
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let mut expected = first_day();
    expected.push(resignation(
        "emp.7@contoso.com",
        "2026-05-01T00:00:00-04:00",
        "2026-05-31T00:00:00-04:00",
    ));
    expected.sort();
    assert_eq!(examples.accepted(), expected, "one row more, and nothing twice");

    // On another machine, where nothing is remembered, the same day puts the leaver aside.
    let (tenant, _mock, examples) = start().await;
    tenant.day.store(1, Ordering::SeqCst);
    let ran = examples.run("workday.yaml").await;
    assert_eq!(rejects(&ran)[0]["field"], "EmailAddress", "{}", ran.stderr);
    assert!(
        !examples
            .accepted()
            .iter()
            .any(|(_, values)| values["EmailAddress"].contains("emp.7@"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_that_lost_its_rows_is_an_error_and_one_that_shrank_is_stopped() {
    let (tenant, mock, examples) = start().await;
    for (broken, told) in [(1, "Report_Entry"), (2, "web page")] {
        tenant.broken.store(broken, Ordering::SeqCst);
        let ran = examples.run("workday.yaml").await;
        assert_eq!(ran.code, 2, "{}", ran.stderr);
        assert!(ran.stderr.contains(told), "{}", ran.stderr);
        assert_eq!(examples.accepted(), []);
    }
    assert!(
        about(&mock, "/hrsink_workers").len() <= 2,
        "a wrong answer is not asked for again"
    );

    // A group that is too narrow: nothing is wrong but the number of rows.
    tenant.broken.store(0, Ordering::SeqCst);
    let ran = examples.run("workday.yaml").await;
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    tenant.broken.store(3, Ordering::SeqCst);
    let ran = examples.run("workday.yaml").await;
    assert_eq!(ran.code, 4, "{}", ran.stderr);
    assert!(ran.stderr.contains("max_shrink"), "{}", ran.stderr);
    assert_eq!(examples.accepted(), first_day());
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_credentials_are_tried_once() {
    let (_tenant, mock, mut examples) = start().await;
    examples.set("WORKDAY_PASSWORD", "wrong");
    let ran = examples.run("workday.yaml").await;
    assert_eq!(ran.code, 5, "{}", ran.stderr);
    for report in ["hrsink_workers", "hrsink_job_history", "hrsink_reviews"] {
        assert!(about(&mock, report).len() <= 1, "{:?}", mock.requests());
    }
    assert!(about(&mock, REPORTS).iter().all(|line| line.ends_with(" 401")));
    assert!(!ran.stderr.contains("wrong") && !ran.report.to_string().contains("wrong"));

    let (_tenant, mock, mut examples) = start().await;
    examples.set("GRAPH_CLIENT_SECRET", "wrong");
    let ran = examples.run("workday.yaml").await;
    assert_eq!(ran.code, 5, "{}", ran.stderr);
    assert!(ran.stderr.contains("AADSTS7000215"), "{}", ran.stderr);
    assert_eq!(
        about(&mock, "/oauth2/"),
        ["POST /contoso.com/oauth2/v2.0/token 401"]
    );
    assert!(about(&mock, "/v1.0/").is_empty());
    assert_eq!(examples.accepted(), []);
}
