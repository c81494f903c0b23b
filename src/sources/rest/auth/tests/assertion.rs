//! Tokens that are asked for with a signed assertion.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

use super::*;
use test_server::certificates::{rsa_certificate, rsa_pem};

#[tokio::test]
async fn a_jwt_is_made_for_each_request() {
    let place = InjectInto::new();
    place.secret("key", &rsa_pem().replace('\n', "\\n"));
    let server = server([Reply::new(500).into(), gives(TOKEN)]).await;
    let url = format!("{}/token", server.url());
    let auth = place
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
async fn a_saml_assertion_is_made_with_its_company_and_certificate() {
    let place = InjectInto::new();
    place.secret("key", &rsa_pem());
    place.secret("certificate", &rsa_certificate());
    let server = server([gives(TOKEN)]).await;
    let auth = place
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
async fn a_refused_assertion_is_not_shown_and_points_to_its_parts() {
    let place = InjectInto::new();
    place.secret("key", &rsa_pem());
    for kind in ["jwt_bearer", "saml2_bearer"] {
        let server = server([Reply::new(400).json(&json!({"error": "invalid_grant"})).into()]).await;
        let auth = place
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
fn a_wrong_key_is_named_by_its_setting() {
    let place = InjectInto::new();
    let error = place
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
