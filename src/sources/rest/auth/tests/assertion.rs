//! Signed assertions.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

use super::*;
use test_server::certificates::{rsa_certificate, rsa_pem};

#[tokio::test]
async fn signs_a_jwt_for_each_request() {
    let fixture = Fixture::new();
    fixture.secret("key", &rsa_pem().replace('\n', "\\n"));
    let server = server([Reply::new(500).into(), gives(TOKEN)]).await;
    let url = format!("{}/token", server.url());
    let auth = fixture
        .build(json!({
            "type": "jwt_bearer", "token_url": url, "issuer": "app", "subject": "integration",
            "private_key": {"file": "key"}, "key_id": "k1", "claims": {"tenant": 7}, "scope": "hr", "client_id": "app",
        }))
        .unwrap();
    assert_eq!(
        authorization(&auth).await.unwrap_err().kind(),
        crate::error::ErrorKind::Transient
    );
    assert_eq!(authorization(&auth).await.unwrap(), format!("Bearer {TOKEN}"));
    let requests = server.finish();
    let forms: Vec<Value> = requests.iter().map(form).collect();
    assert_ne!(forms[0]["assertion"], forms[1]["assertion"]);
    let assertion = forms[1]["assertion"].as_str().unwrap();
    let claims = URL_SAFE_NO_PAD
        .decode(assertion.split('.').nth(1).unwrap())
        .unwrap();
    let claims: Value = serde_json::from_slice(&claims).unwrap();
    assert_eq!((&claims["aud"], &claims["tenant"]), (&json!(url), &json!(7)));
    let mut rest = forms[1].clone();
    rest["assertion"].take();
    assert_eq!(
        rest,
        json!({
            "grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": null, "scope": "hr",
            "client_id": "app",
        })
    );
}

#[tokio::test]
async fn signs_a_saml_assertion_with_company_and_certificate() {
    let fixture = Fixture::new();
    fixture.secret("key", &rsa_pem());
    fixture.secret("certificate", &rsa_certificate());
    let server = server([gives(TOKEN)]).await;
    let auth = fixture
        .build(json!({
            "type": "saml2_bearer", "token_url": format!("{}/oauth/token", server.url()), "client_id": "api-key",
            "company_id": "contosoT1", "subject": "integration", "audience": "www.successfactors.com",
            "private_key": {"file": "key"}, "certificate": {"file": "certificate"},
            "attributes": {"use_email": "false"},
        }))
        .unwrap();
    authorization(&auth).await.unwrap();
    let url = format!("{}/oauth/token", server.url());
    let mut form = form(&server.finish()[0]);
    let assertion = form["assertion"].take();
    assert_eq!(
        form,
        json!({
            "grant_type": "urn:ietf:params:oauth:grant-type:saml2-bearer", "client_id": "api-key",
            "company_id": "contosoT1", "assertion": null,
        })
    );
    let xml = String::from_utf8(STANDARD.decode(assertion.as_str().unwrap()).unwrap()).unwrap();
    for part in [
        "<saml2:Issuer>api-key</saml2:Issuer>",
        ">integration</saml2:NameID>",
        &format!("Recipient=\"{url}\""),
        "<ds:X509Certificate>",
        "Name=\"use_email\"",
    ] {
        assert!(xml.contains(part), "{part} in {xml}");
    }
}

#[tokio::test]
async fn explains_a_rejected_assertion_without_showing_it() {
    let fixture = Fixture::new();
    fixture.secret("key", &rsa_pem());
    for kind in ["jwt_bearer", "saml2_bearer"] {
        let server = server([Reply::new(400).json(&json!({"error": "invalid_grant"})).into()]).await;
        let auth = fixture
            .build(json!({
                "type": kind, "token_url": server.url(), "client_id": "app", "issuer": "app", "subject": "s",
                "audience": "a", "private_key": {"file": "key"},
            }))
            .unwrap();
        let text = shown(&authorization(&auth).await.unwrap_err());
        assert!(
            text.contains("check `issuer`, `subject` and `audience`") && text.contains("clock"),
            "{text}"
        );
        server.finish();
    }
}

#[test]
fn names_the_setting_of_an_invalid_key() {
    let fixture = Fixture::new();
    let error = fixture
        .build(json!({
            "type": "jwt_bearer", "token_url": "https://contoso.com", "issuer": "a", "subject": "s",
            "private_key": {"file": "secret"},
        }))
        .unwrap_err();
    let text = shown(&error);
    assert!(
        text.contains("`private_key` has no private key in PEM form"),
        "{text}"
    );
}
