//! What the tests of SuccessFactors, ADP and Oracle HCM have in common: Microsoft Graph's users, and rows.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use axum::extract::{Form, Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};

use crate::stand::{Mock, Ran, row};

pub(crate) type Row = (String, BTreeMap<String, String>);

/// The accounts of a tenant: number, address, enabled.
#[derive(Default)]
pub(crate) struct Graph(pub(crate) Mutex<Vec<(Option<String>, String, bool)>>);

impl Graph {
    pub(crate) fn add(&self, id: &str, upn: &str) {
        self.0
            .lock()
            .unwrap()
            .push((Some(id.to_owned()), upn.to_owned(), true));
    }

    pub(crate) fn remove(&self, id: &str) {
        self.0
            .lock()
            .unwrap()
            .retain(|(of, ..)| of.as_deref() != Some(id));
    }
}

/// Microsoft Graph and Entra's token endpoint: ten accounts a page.
pub(crate) fn graph(graph: Arc<Graph>) -> Router {
    Router::new()
        .route("/{tenant}/oauth2/v2.0/token", post(token))
        .route("/v1.0/users", get(users))
        .with_state(graph)
}

/// The environment that every example needs.
pub(crate) fn env(url: &str) -> Vec<(&'static str, String)> {
    [
        ("GRAPH_URL", url),
        ("ENTRA_URL", url),
        ("GRAPH_CLIENT_ID", "graph-app"),
        ("GRAPH_CLIENT_SECRET", "graph-secret"),
        ("HRSINK_TENANT_ID", "contoso.com"),
        ("HRSINK_STATE_KEY", "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="),
    ]
    .map(|(name, value)| (name, value.to_owned()))
    .to_vec()
}

pub(crate) fn header<'h>(headers: &'h HeaderMap, name: &str) -> &'h str {
    headers
        .get(name)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
}

async fn token(Path(tenant): Path<String>, Form(form): Form<HashMap<String, String>>) -> Response {
    assert_eq!(tenant, "contoso.com");
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
    State(graph): State<Arc<Graph>>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    if header(&headers, "authorization") != "Bearer graph-token" {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    assert_eq!(query["$select"], "id,employeeId,userPrincipalName,accountEnabled");
    let from: usize = match query.get("$skiptoken") {
        Some(token) => token.strip_prefix("RFN+").unwrap().parse().unwrap(),
        None => {
            assert_eq!(query["$top"], "999");
            0
        }
    };
    let accounts = graph.0.lock().unwrap();
    let page: Vec<Value> = accounts
        .iter()
        .skip(from)
        .take(10)
        .map(|(id, upn, enabled)| {
            json!({"id": format!("guid-{upn}"), "employeeId": id, "userPrincipalName": upn, "accountEnabled": enabled})
        })
        .collect();
    let mut answer =
        json!({"@odata.context": "https://graph.microsoft.com/v1.0/$metadata#users", "value": page});
    if from + 10 < accounts.len() {
        answer["@odata.nextLink"] = json!(format!(
            "http://{}/v1.0/users?$select=id,employeeId,userPrincipalName,accountEnabled&$skiptoken=RFN%2B{}",
            header(&headers, "host"),
            from + 10
        ));
    }
    Json(answer).into_response()
}

/// A profile, empty but for what is given.
pub(crate) fn profile(values: &[(&str, &str)]) -> Row {
    let mut all = row("employee_profile", &[("HRScenario", "Employee profile")]);
    for name in [
        "AddressLine1",
        "AddressLine2",
        "City",
        "State",
        "ZipCode",
        "Country",
        "Department",
        "Type",
        "Role",
    ] {
        all.1.insert(format!("Employee{name}"), String::new());
    }
    all.1.extend(row("", values).1);
    all
}

pub(crate) fn resignation(upn: &str, resigned: &str, last: &str) -> Row {
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

pub(crate) fn level(upn: &str, since: &str, old: &str, new: &str, remarks: &str) -> Row {
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

pub(crate) fn review(upn: &str, date: &str, rating: &str) -> Row {
    row(
        "performance_review",
        &[
            ("HRScenario", "Performance review"),
            ("EmailAddress", upn),
            ("EffectiveDate", date),
            ("Rating", rating),
        ],
    )
}

pub(crate) fn sorted(mut rows: Vec<Row>) -> Vec<Row> {
    rows.sort();
    rows
}

/// Compares what arrived, whole, and says which rows are too many or missing.
pub(crate) fn assert_rows(accepted: &[Row], expected: &[Row]) {
    let missing: Vec<_> = expected.iter().filter(|row| !accepted.contains(row)).collect();
    let extra: Vec<_> = accepted.iter().filter(|row| !expected.contains(row)).collect();
    assert!(
        missing.is_empty() && extra.is_empty(),
        "missing: {missing:#?}\ntoo many: {extra:#?}"
    );
    assert_eq!(accepted, expected);
}

/// What was rejected: field, code and how many, of all transforms.
pub(crate) fn rejects(ran: &Ran) -> &Value {
    &ran.report["rejects"]["by_reason"]
}

/// The requests whose line has this in it.
pub(crate) fn about(mock: &Mock, part: &str) -> Vec<String> {
    mock.requests()
        .into_iter()
        .filter(|line| line.contains(part))
        .collect()
}
