//! The token endpoint.

use super::*;

async fn refused(bench: &Bench, tenant: &str, form: &[(&str, &str)]) -> (u16, String, i64) {
    let response = bench.ask(tenant, form).await.unwrap();
    let status = response.status().as_u16();
    let body: Value = response.json().await.unwrap();
    let code = body["error_codes"][0].as_i64().unwrap();
    let description = body["error_description"].as_str().unwrap();
    assert!(
        description.starts_with(&format!("AADSTS{code}: ")),
        "{description}"
    );
    for key in ["timestamp", "trace_id", "correlation_id"] {
        assert!(body[key].is_string(), "{key}");
    }
    (status, body["error"].as_str().unwrap().to_owned(), code)
}

#[tokio::test]
async fn v1_writes_numbers_as_strings_and_v2_as_numbers() {
    let bench = Bench::open().await;
    let form = credentials(APP, SECRET, RESOURCE);
    let v1: Value = bench.ask(TENANT, &form).await.unwrap().json().await.unwrap();
    assert_eq!(
        (&v1["token_type"], &v1["expires_in"]),
        (&"Bearer".into(), &"3599".into())
    );
    assert_eq!(v1["resource"], RESOURCE);
    for key in ["ext_expires_in", "expires_on", "not_before"] {
        v1[key].as_str().unwrap().parse::<i64>().unwrap();
    }
    let scope = format!("{RESOURCE}/.default");
    let v2: Value = bench
        .client
        .post(bench.url(&format!("/{TENANT}/oauth2/v2.0/token")))
        .form(&[
            ("grant_type", "client_credentials"),
            ("client_id", APP),
            ("client_secret", SECRET),
            ("scope", &scope),
        ])
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(v2["expires_in"], 3599);
    let token = v2["access_token"].as_str().unwrap();
    let answer = bench.send(token, JOB, file(GOOD)).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
}

#[tokio::test]
async fn each_refusal_has_its_status_error_and_code() {
    let bench = Bench::strict().await;
    let unknown = "11111111-1111-1111-1111-111111111111";
    let good = credentials(APP, SECRET, RESOURCE);
    let cases = [
        (
            TENANT,
            credentials(APP, "wrong", RESOURCE),
            401,
            "invalid_client",
            7_000_215,
        ),
        ("contoso.com", good.clone(), 401, "invalid_client", 7_000_222),
        (
            TENANT,
            credentials(unknown, SECRET, RESOURCE),
            400,
            "unauthorized_client",
            700_016,
        ),
        (unknown, good.clone(), 400, "invalid_request", 90_002),
        ("nonsense", good.clone(), 400, "invalid_request", 900_023),
        (
            TENANT,
            credentials(APP, SECRET, "https://example.com"),
            400,
            "invalid_resource",
            500_011,
        ),
        (TENANT, good[..3].to_vec(), 400, "invalid_request", 900_144),
        (TENANT, good[1..].to_vec(), 400, "invalid_request", 900_144),
        (
            TENANT,
            [&good[..2], &good[3..]].concat(),
            401,
            "invalid_client",
            7_000_218,
        ),
    ];
    for (tenant, form, status, error, code) in cases {
        assert_eq!(
            refused(&bench, tenant, &form).await,
            (status, error.to_owned(), code)
        );
    }
    assert_eq!(bench.emulator.status().tokens_issued, 0);
}

#[tokio::test]
async fn a_client_assertion_is_said_not_to_be_offered() {
    let bench = Bench::open().await;
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", APP),
        ("resource", RESOURCE),
        ("client_assertion", "e30.e30.e30"),
    ];
    let text = bench.ask(TENANT, &form).await.unwrap().text().await.unwrap();
    assert!(
        text.contains("client secret") && text.contains("AADSTS700027"),
        "{text}"
    );
}

#[tokio::test]
async fn the_open_mode_still_wants_a_well_formed_request() {
    let bench = Bench::open().await;
    assert_eq!(refused(&bench, "nonsense", &[]).await.2, 900_023);
    assert_eq!(refused(&bench, TENANT, &[]).await.2, 900_144);
    let json = bench
        .client
        .post(bench.url(&format!("/{TENANT}/oauth2/token")))
        .json(&serde_json::json!({"grant_type": "client_credentials"}))
        .send()
        .await
        .unwrap();
    assert_eq!(json.status(), StatusCode::BAD_REQUEST);
}
