//! The token endpoint.

use super::*;

async fn refused(bench: &Bench, tenant: &str, form: &[(&str, &str)]) -> (u16, String, i64) {
    let response = bench.request_token(tenant, form).await.unwrap();
    let status = response.status().as_u16();
    let body: Value = response.json().await.unwrap();
    let code = body["error_codes"][0].as_i64().unwrap();
    let description = body["error_description"].as_str().unwrap();
    let holds = description.starts_with(&format!("AADSTS{code}: "));
    assert!(holds, "{description}");
    for key in ["timestamp", "trace_id", "correlation_id"] {
        assert!(body[key].is_string(), "{key}");
    }
    (status, body["error"].as_str().unwrap().to_owned(), code)
}

#[tokio::test]
async fn writes_numbers_as_strings_in_v1_and_as_numbers_in_v2() {
    let bench = Bench::open().await;
    let v1 = bench.token_json(&credentials(APP, SECRET, RESOURCE)).await;
    assert_eq!(v1["token_type"], "Bearer");
    assert_eq!(v1["expires_in"], "3599");
    assert_eq!(v1["resource"], RESOURCE);
    for key in ["ext_expires_in", "expires_on", "not_before"] {
        v1[key].as_str().unwrap().parse::<i64>().unwrap();
    }
    let scope = format!("{RESOURCE}/.default");
    let mut form = credentials(APP, SECRET, RESOURCE);
    form[3] = ("scope", &scope);
    let url = bench.url(&format!("/{TENANT}/oauth2/v2.0/token"));
    let response = bench.client.post(url).form(&form).send().await.unwrap();
    let v2: Value = response.json().await.unwrap();
    assert_eq!(v2["expires_in"], 3599);
    let token = v2["access_token"].as_str().unwrap();
    assert_eq!(bench.status(token, JOB, file(GOOD)).await, 200);
}

/// Besides those that tests of the client cover.
#[tokio::test]
async fn refuses_each_mistake_with_its_status_error_and_code() {
    let bench = Bench::strict().await;
    let good = credentials(APP, SECRET, RESOURCE);
    let no_secret = [&good[..2], &good[3..]].concat();
    let mut assertion = good.clone();
    assertion[2] = ("client_assertion", "e30.e30.e30");
    for (tenant, form, status, error, code) in [
        ("nonsense", &good[..], 400, "invalid_request", 900_023),
        (TENANT, &good[..3], 400, "invalid_request", 900_144),
        (TENANT, &good[1..], 400, "invalid_request", 900_144),
        (TENANT, &[], 400, "invalid_request", 900_144),
        (TENANT, &no_secret, 401, "invalid_client", 7_000_218),
        (TENANT, &assertion, 401, "invalid_client", 700_027),
    ] {
        let expected = (status, error.to_owned(), code);
        assert_eq!(refused(&bench, tenant, form).await, expected);
    }
    let url = bench.url(&format!("/{TENANT}/oauth2/token"));
    let json = serde_json::json!({"grant_type": "client_credentials"});
    let response = bench.client.post(url).json(&json).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    assert_eq!(bench.emulator.status().tokens_issued, 0);
}
