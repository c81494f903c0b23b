//! `adp.yaml` against workers as ADP has them, behind a server that wants a client certificate.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use axum::extract::{Form, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::shared::{
    Graph, Row, about, assert_rows, env, graph, header, profile, rejects, resignation, sorted,
};
use crate::stand::{Examples, Mock};
use test_server::certificates::Authority;

/// What the stand-in answers with.
#[derive(Default)]
struct Company {
    graph: Arc<Graph>,
    /// The day: 0 is before worker 1 leaves, 1 after.
    day: AtomicUsize,
    /// Answers 429 so many times more.
    throttled: AtomicUsize,
    /// People who are there and stay there.
    staff: AtomicUsize,
    /// Whether nobody but the staff is there, with what everybody has and nothing else.
    bare: AtomicBool,
}

fn worker(id: usize, dates: &Value, assignments: &Value) -> Value {
    json!({
        "associateOID": format!("G{id}"), "workerID": {"idValue": format!("W{id}")}, "workerDates": dates,
        "person": {
            "legalName": {"givenName": "Emp", "familyName1": format!("No {id}")},
            "legalAddress": {
                "lineOne": format!("{id} Main St"), "cityName": "Boston", "postalCode": "02134", "countryCode": "US",
                "countrySubdivisionLevel1": {"codeValue": "MA", "subdivisionType": "State"},
            },
            "governmentIDs": [{"idValue": "***-**-0000"}],
        },
        "workAssignments": assignments,
    })
}

fn assignment(primary: bool, status: &str, ended: Option<&str>) -> Value {
    let mut all = json!({
        "primaryIndicator": primary, "itemID": "1", "jobTitle": "Engineer", "jobCode": {"codeValue": "E4"},
        "assignmentStatus": {"statusCode": {"codeValue": status}, "effectiveDate": "2020-01-01"},
        "workerTypeCode": {"codeValue": "F", "shortName": "Full-time"},
        // A long text is in longName alone.
        "homeOrganizationalUnits": [{"nameCode": {"codeValue": "100", "longName": "Research and development"}}],
    });
    if let Some(ended) = ended {
        all["terminationDate"] = json!(ended);
    }
    all
}

/// Somebody of whom ADP leaves out whatever may be left out.
fn bare(mut worker: Value) -> Value {
    worker.as_object_mut().unwrap().remove("workerDates");
    let address = worker["person"]["legalAddress"].as_object_mut().unwrap();
    address.retain(|name, _| name == "lineOne" || name == "postalCode");
    let assignment = worker["workAssignments"][0].as_object_mut().unwrap();
    assignment.retain(|name, _| name == "primaryIndicator" || name == "assignmentStatus");
    worker
}

fn workers(company: &Company) -> Vec<Value> {
    let day = company.day.load(Ordering::SeqCst);
    let active = || json!([assignment(true, "A", None)]);
    let staff = (0..company.staff.load(Ordering::SeqCst)).map(|n| worker(1000 + n, &json!({}), &active()));
    if company.bare.load(Ordering::SeqCst) {
        // None of the assignments of the first one is marked as the main one.
        let mut unmarked = worker(1, &json!({}), &active());
        let assignment = unmarked["workAssignments"][0].as_object_mut().unwrap();
        assignment.remove("primaryIndicator");
        return std::iter::once(unmarked).chain(staff).map(bare).collect();
    }
    // What others do not have.
    let mut three = worker(3, &json!({"terminationDate": "2019-01-31"}), &active());
    three["person"]["legalAddress"]["lineTwo"] = json!("Flat 3");
    let only = &mut three["workAssignments"][0];
    only["homeOrganizationalUnits"][0]["nameCode"]["shortName"] = json!("R&D");
    only["workerTypeCode"] = json!({"codeValue": "F", "longName": "Full-time"});
    // Will leave, and was promoted.
    let mut four = worker(4, &json!({"terminationDate": "2098-07-31"}), &active());
    if day > 0 {
        four["workAssignments"][0]["jobCode"]["codeValue"] = json!("E5");
    }
    let mut rows = vec![
        if day == 0 {
            // The second job is not the main one.
            worker(
                1,
                &json!({"originalHireDate": "2015-01-01"}),
                &json!([
                    assignment(false, "T", Some("2018-01-31")),
                    assignment(true, "A", None)
                ]),
            )
        } else {
            let mut gone = worker(
                1,
                &json!({"originalHireDate": "2015-01-01", "terminationDate": "2024-05-31"}),
                &json!([assignment(true, "T", Some("2024-05-31"))]),
            );
            // Blanked when the employment ended.
            gone["businessCommunication"] = json!({"emails": []});
            gone
        },
        // Only the assignment says so.
        worker(2, &json!({}), &json!([assignment(true, "T", Some("2024-03-31"))])),
        // Hired again.
        three,
        four,
        // Open-ended, which is no date.
        worker(
            5,
            &json!({"terminationDate": "9999-12-31"}),
            &json!([assignment(true, "L", None)]),
        ),
        // Never had an account.
        worker(
            6,
            &json!({"terminationDate": "2024-02-29"}),
            &json!([assignment(true, "T", None)]),
        ),
    ];
    rows.extend(staff);
    rows
}

async fn token(headers: HeaderMap, Form(form): Form<HashMap<String, String>>) -> Response {
    assert_eq!(form["grant_type"], "client_credentials");
    // app:adp-secret
    if header(&headers, "authorization") != "Basic YXBwOmFkcC1zZWNyZXQ=" {
        return (StatusCode::UNAUTHORIZED, Json(json!({"error": "invalid_client"}))).into_response();
    }
    Json(json!({"access_token": "adp-token", "token_type": "Bearer", "expires_in": 3600})).into_response()
}

async fn list(
    State(company): State<Arc<Company>>,
    Query(query): Query<HashMap<String, usize>>,
    headers: HeaderMap,
) -> Response {
    if header(&headers, "authorization") != "Bearer adp-token" {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let (top, skip) = (query["$top"], query.get("$skip").copied().unwrap_or(0));
    assert_eq!(top, 100);
    if skip > 0
        && company
            .throttled
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1))
            .is_ok()
    {
        return (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "1")]).into_response();
    }
    let page: Vec<Value> = workers(&company).into_iter().skip(skip).take(top).collect();
    if page.is_empty() {
        return StatusCode::NO_CONTENT.into_response();
    }
    Json(json!({"workers": page, "meta": null})).into_response()
}

/// Takes TLS connections of those with a certificate of `clients`, and passes what they say on to a plain server.
async fn tls(servers: &Authority, clients: &Authority, plain: String) -> String {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let (certificate, key) = servers.server("localhost");
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(clients.pem().as_bytes()).unwrap())
        .unwrap();
    let verifier =
        rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .build()
            .unwrap();
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()],
            PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
        )
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, plain) = (acceptor.clone(), plain.clone());
            tokio::spawn(async move {
                match acceptor.accept(stream).into_fallible().await {
                    Ok(mut stream) => {
                        let mut behind = TcpStream::connect(plain).await.unwrap();
                        let _ = tokio::io::copy_bidirectional(&mut stream, &mut behind).await;
                    }
                    Err((_, mut stream)) => {
                        // Closed at once, the connection would be reset, and the alert might be lost.
                        let _ = stream.shutdown().await;
                        let _ = stream.read_to_end(&mut Vec::new()).await;
                    }
                }
            });
        }
    });
    url
}

async fn start(staff: usize) -> (Arc<Company>, Mock, Examples) {
    let company: Arc<Company> = Arc::default();
    company.staff.store(staff, Ordering::SeqCst);
    for id in (1..=5).chain(1000..1000 + staff) {
        company
            .graph
            .add(&format!("W{id}"), &format!("emp.{id}@contoso.com"));
    }
    let routes = Router::new()
        .route("/auth/oauth/v2/token", post(token))
        .route("/hr/v2/workers", get(list))
        .with_state(company.clone())
        .merge(graph(company.graph.clone()));
    let mock = Mock::start(routes).await;
    let (servers, clients) = (Authority::new("servers"), Authority::new("clients"));
    let behind = mock.url.strip_prefix("http://").unwrap().to_owned();
    let url = tls(&servers, &clients, behind).await;
    let (certificate, key) = clients.client("hrsink");
    let mut examples = Examples::new(&[
        ("ADP_URL", &url),
        ("ADP_TOKEN_URL", &format!("{url}/auth/oauth/v2/token")),
        ("ADP_CLIENT_ID", "app"),
        ("ADP_CLIENT_SECRET", "adp-secret"),
        // One with its lines, one as secret stores like it.
        ("ADP_CERTIFICATE", &certificate),
        ("ADP_KEY", &key.replace('\n', "\\n")),
    ]);
    for (name, value) in env(&mock.url) {
        examples.set(name, &value);
    }
    examples.write("ca.pem", &servers.pem());
    // In place of the system's authorities.
    let ca = examples.path("ca.pem");
    examples.set("SSL_CERT_FILE", ca.to_str().unwrap());
    (company, mock, examples)
}

fn first_day(staff: usize) -> Vec<Row> {
    let left = |id: u32, day: &str| resignation(&format!("emp.{id}@contoso.com"), day, day);
    let mut rows = vec![
        left(2, "2024-03-31T00:00:00-04:00"),
        left(4, "2098-07-31T00:00:00-04:00"),
    ];
    rows.extend([1, 3, 4].into_iter().chain(1000..1000 + staff).map(|id| {
        let three = id == 3;
        profile(&[
            ("EmailAddress", &format!("emp.{id}@contoso.com")),
            ("EmployeeFirstName", "Emp"),
            ("EmployeeLastName", &format!("No {id}")),
            ("EmployeeAddressLine1", &format!("{id} Main St")),
            ("EmployeeAddressLine2", if three { "Flat 3" } else { "" }),
            ("EmployeeCity", "Boston"),
            ("EmployeeState", "MA"),
            ("EmployeeZipCode", "02134"),
            ("EmployeeCountry", "US"),
            (
                "EmployeeDepartment",
                if three { "R&D" } else { "Research and development" },
            ),
            ("EmployeeType", "Full-time"),
            ("EmployeeRole", "Engineer"),
        ])
    }));
    sorted(rows)
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_come_in_pages_of_a_hundred_until_there_are_no_more() {
    // 200 workers, so that a 204 is the end; then 230, where a page that is not full is.
    for (staff, requests) in [
        (
            194,
            &[
                "$skip=0&$top=100 200",
                "$skip=100&$top=100 200",
                "$skip=200&$top=100 204",
            ],
        ),
        (
            224,
            &[
                "$skip=0&$top=100 200",
                "$skip=100&$top=100 200",
                "$skip=200&$top=100 200",
            ],
        ),
    ] {
        let (company, mock, examples) = start(staff).await;
        company.throttled.store(1, Ordering::SeqCst);
        let ran = examples.run("adp.yaml").await;
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        assert_rows(&examples.accepted(), &first_day(staff));
        assert_eq!(
            rejects(&ran),
            &json!([{"field": "EmailAddress", "code": "missing", "rows": 1}])
        );
        let asked: Vec<String> = about(&mock, "/hr/v2/workers?")
            .into_iter()
            .filter(|line| !line.ends_with(" 429"))
            .map(|line| line.trim_start_matches("GET /hr/v2/workers?").to_owned())
            .collect();
        assert_eq!(asked, requests);
        assert_eq!(about(&mock, " 429").len(), 1);
        assert_eq!(about(&mock, "/auth/oauth/v2/token").len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_has_is_empty() {
    let (company, _mock, examples) = start(30).await;
    company.bare.store(true, Ordering::SeqCst);
    let ran = examples.run("adp.yaml").await;
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let expected = (1000..1030).map(|id| {
        profile(&[
            ("EmailAddress", &format!("emp.{id}@contoso.com")),
            ("EmployeeFirstName", "Emp"),
            ("EmployeeLastName", &format!("No {id}")),
            ("EmployeeAddressLine1", &format!("{id} Main St")),
            ("EmployeeZipCode", "02134"),
        ])
    });
    assert_rows(&examples.accepted(), &sorted(expected.collect()));
    assert_eq!(rejects(&ran), &json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leaver_without_an_account_is_remembered() {
    let (company, _mock, examples) = start(30).await;
    let ran = examples.run("adp.yaml").await;
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    company.day.store(1, Ordering::SeqCst);
    company.graph.remove("W1");
    let ran = examples.run("adp.yaml").await;
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let mut expected = first_day(30);
    expected.push(resignation(
        "emp.1@contoso.com",
        "2024-05-31T00:00:00-04:00",
        "2024-05-31T00:00:00-04:00",
    ));
    let (levels, others): (Vec<Row>, Vec<Row>) = examples
        .accepted()
        .into_iter()
        .partition(|(scenario, _)| scenario == "job_level_change");
    assert_rows(&others, &sorted(expected));
    // Who is new, and who has no account any more, has no old level.
    let [(_, level)] = &levels[..] else {
        panic!("{levels:#?}")
    };
    assert_eq!(
        (&*level["EmailAddress"], &*level["OldLevel"], &*level["NewLevel"]),
        ("emp.4@contoso.com", "E4", "E5")
    );
    let seen: jiff::Timestamp = level["EffectiveDate"].parse().unwrap();
    assert!(jiff::Timestamp::now().duration_since(seen) < jiff::SignedDuration::from_hours(1));

    // Once is enough.
    let ran = examples.run("adp.yaml").await;
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(examples.accepted().len(), others.len() + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_secret_or_certificate_ends_the_run_at_once() {
    let (_company, mock, mut examples) = start(30).await;
    examples.set("ADP_CLIENT_SECRET", "another");
    let ran = examples.run("adp.yaml").await;
    assert_eq!(ran.code, 5, "{}", ran.stderr);
    assert_eq!(about(&mock, "/auth/oauth/"), ["POST /auth/oauth/v2/token 401"]);

    // A certificate of somebody else: no request comes through.
    let (_company, mock, mut examples) = start(30).await;
    let (certificate, key) = Authority::new("others").client("hrsink");
    examples.set("ADP_CERTIFICATE", &certificate);
    examples.set("ADP_KEY", &key);
    let ran = examples.run("adp.yaml").await;
    assert_eq!(ran.code, 5, "{}", ran.stderr);
    assert!(ran.stderr.contains("client certificate"), "{}", ran.stderr);
    assert!(about(&mock, "/auth/oauth/").is_empty() && about(&mock, "/hr/").is_empty());
    assert_eq!(examples.accepted(), []);
}
