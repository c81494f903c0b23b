//! A service that requires a client certificate, for tokens and for data.

use super::*;
use crate::http::redact::Redactor;
use crate::http::transport::{Failure, exchange};
use crate::secret::SecretFiles;
use test_server::Tls;
use test_server::certificates::Authority;

/// Answers a POST with a token and a GET with a record.
fn serve(authority: &Authority, clients: &Authority, only_tls12: bool) -> Server {
    let (certificate, key) = authority.server("localhost");
    let tls = Tls {
        certificate,
        key,
        client_ca: Some(clients.pem()),
        only_tls12,
    };
    Server::builder()
        .tls(tls)
        .handler(async |request: Request| match &*request.method {
            "POST" => Reply::ok(json!({"access_token": TOKEN, "expires_in": 60})),
            _ => Reply::ok(json!({"workers": []})),
        })
}

/// The client of these settings.
fn client_of(fixture: &Fixture, authority: &Authority, tls: Value) -> reqwest::Client {
    std::fs::write(fixture.path().join("ca.pem"), authority.pem()).unwrap();
    let tls: crate::http::settings::TlsSettings =
        serde_json::from_value(with(tls, &json!({"ca_file": "ca.pem"}))).unwrap();
    let mut transport = TransportConfig {
        proxy: Proxy::Direct,
        ..TransportConfig::default()
    };
    tls.apply(&fixture.run.base, &SecretFiles::of(&fixture.run), &mut transport)
        .unwrap();
    transport.client().unwrap()
}

fn auth_at(fixture: &Fixture, server: &Server, client: &reqwest::Client) -> Authenticator {
    let config = json!({
        "type": "oauth2_client_credentials", "token_url": format!("{}/token", server.url()),
        "client_id": "app", "client_secret": {"file": "secret"},
    });
    fixture.build_with(config, client).unwrap()
}

async fn get(client: &reqwest::Client, auth: &Authenticator, server: &Server) -> Result<u16, Failure> {
    let mut request = client.get(format!("{}/workers", server.url())).build().unwrap();
    auth.authorize(&mut request).await.unwrap();
    exchange(client, request, 1000, Redactor::secrets(&[]))
        .await
        .map(|answer| answer.status.as_u16())
}

#[tokio::test]
async fn sends_one_certificate_for_tokens_and_data() {
    let fixture = Fixture::new();
    let (authority, clients) = (Authority::new("servers"), Authority::new("clients"));
    let (certificate, key) = clients.client("client");
    fixture.secret("both", &format!("{key}{certificate}").replace('\n', "\\n"));
    let tls =
        json!({"certificate_file": {"file": "both"}, "key_file": {"file": "both"}, "min_version": "1.3"});
    let server = serve(&authority, &clients, false);
    let client = client_of(&fixture, &authority, tls);
    let auth = auth_at(&fixture, &server, &client);
    assert_eq!(get(&client, &auth, &server).await.unwrap(), 200);
}

#[tokio::test]
async fn explains_a_missing_or_foreign_certificate() {
    let fixture = Fixture::new();
    let (authority, clients) = (Authority::new("servers"), Authority::new("clients"));
    let (certificate, key) = Authority::new("others").client("client");
    fixture.secret("foreign", &format!("{key}{certificate}"));
    let foreign = json!({"certificate_file": {"file": "foreign"}, "key_file": {"file": "foreign"}});
    for tls in [json!({}), foreign] {
        for only_tls12 in [true, false] {
            let server = serve(&authority, &clients, only_tls12);
            let client = client_of(&fixture, &authority, tls.clone());
            let auth = auth_at(&fixture, &server, &client);
            let error = authorization(&auth).await.unwrap_err();
            let text = shown(&error);
            assert_eq!(error.kind(), crate::error::ErrorKind::Refused, "{text}");
            assert!(
                text.contains("requires a client certificate, or rejected this one")
                    && text.contains("set `tls.certificate_file` and `tls.key_file`"),
                "{text}"
            );
            let none = fixture.build_with(json!({"type": "none"}), &client).unwrap();
            let failure = get(&client, &none, &server).await.unwrap_err();
            assert!(
                failure.is_client_certificate() && !failure.is_transient(),
                "{failure:?}"
            );
        }
    }
}

#[tokio::test]
async fn rejects_tls_versions_below_the_minimum() {
    let fixture = Fixture::new();
    let (authority, clients) = (Authority::new("servers"), Authority::new("clients"));
    let server = serve(&authority, &clients, true);
    let client = client_of(&fixture, &authority, json!({"min_version": "1.3"}));
    let none = fixture.build_with(json!({"type": "none"}), &client).unwrap();
    let failure = get(&client, &none, &server).await.unwrap_err();
    assert!(
        failure.to_string().starts_with("the TLS handshake failed"),
        "{failure}"
    );
}
