//! Signed assertions.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use test_server::certificates::{rsa_certificate, rsa_pem};

use super::*;

fn config(server: &Server, kind: &str, more: &Value) -> Value {
    let config = json!({
        "type": kind, "token_url": server.url(), "client_id": "app", "issuer": "app", "subject": "integration",
        "private_key": {"file": "key"},
    });
    with(config, more)
}

/// The fields of a request, and its assertion apart.
fn parts(request: &Request) -> (Value, String) {
    let mut form = form(request);
    let assertion = form.as_object_mut().unwrap().shift_remove("assertion").unwrap();
    (form, assertion.as_str().unwrap().to_owned())
}

#[tokio::test]
async fn signs_a_jwt_for_each_request() {
    let fixture = Fixture::new();
    fixture.secret("key", &rsa_pem().replace('\n', "\\n"));
    let server = Server::script([Reply::new(500).into(), gives(TOKEN)]);
    let more = json!({"key_id": "k1", "claims": {"tenant": 7}, "scope": "hr"});
    let auth = fixture.build(config(&server, "jwt_bearer", &more)).unwrap();
    let error = authorization(&auth).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Transient);
    assert_eq!(authorization(&auth).await.unwrap(), format!("Bearer {TOKEN}"));
    let url = server.url();
    let requests = server.finish();
    let (form, assertion) = parts(&requests[1]);
    assert_ne!(parts(&requests[0]).1, assertion);
    let claims = URL_SAFE_NO_PAD.decode(assertion.split('.').nth(1).unwrap());
    let claims: Value = serde_json::from_slice(&claims.unwrap()).unwrap();
    assert_eq!((&claims["aud"], &claims["tenant"]), (&json!(url), &json!(7)));
    let grant = "urn:ietf:params:oauth:grant-type:jwt-bearer";
    assert_eq!(
        form,
        json!({"grant_type": grant, "client_id": "app", "scope": "hr"})
    );
}

#[tokio::test]
async fn adds_certificate_and_attributes_to_a_saml_assertion() {
    let fixture = Fixture::new();
    fixture.secret("key", &rsa_pem());
    fixture.secret("certificate", &rsa_certificate());
    let server = Server::script([gives(TOKEN)]);
    let more =
        json!({"audience": "a", "certificate": {"file": "certificate"}, "attributes": {"use_email": "no"}});
    let auth = fixture.build(config(&server, "saml2_bearer", &more)).unwrap();
    authorization(&auth).await.unwrap();
    let (_, assertion) = parts(&server.finish()[0]);
    let xml = String::from_utf8(STANDARD.decode(assertion).unwrap()).unwrap();
    for part in ["<ds:X509Certificate>", "Name=\"use_email\""] {
        assert!(xml.contains(part), "{part} in {xml}");
    }
}

#[tokio::test]
async fn explains_a_rejected_assertion() {
    let fixture = Fixture::new();
    fixture.secret("key", &rsa_pem());
    for kind in ["jwt_bearer", "saml2_bearer"] {
        let server = Server::script([Reply::new(400).json(&json!({"error": "invalid_grant"}))]);
        let (_, text) = fixture
            .failure(config(&server, kind, &json!({"audience": "a"})))
            .await;
        let hint = "check `issuer`, `subject` and `audience`";
        assert!(text.contains(hint) && text.contains("clock"), "{text}");
        server.finish();
    }
}
