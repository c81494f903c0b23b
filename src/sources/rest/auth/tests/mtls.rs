//! A service that requires a client certificate, for tokens and for data.

use test_server::Tls;
use test_server::certificates::Authority;

use super::*;
use crate::http::redact::Redactor;
use crate::http::settings::TlsSettings;
use crate::http::transport::{Failure, exchange};
use crate::secret::SecretFiles;

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

async fn get(client: &reqwest::Client, auth: &Authenticator, server: &Server) -> Result<u16, Failure> {
    let mut request = client.get(format!("{}/workers", server.url())).build().unwrap();
    auth.authorize(&mut request).await.unwrap();
    let answer = exchange(client, request, 1000, Redactor::new(&[], &[])).await?;
    Ok(answer.status.as_u16())
}

#[tokio::test]
async fn sends_one_certificate_for_tokens_and_data() {
    let fixture = Fixture::new();
    let (authority, clients) = (Authority::new("servers"), Authority::new("clients"));
    std::fs::write(fixture.path().join("ca.pem"), authority.pem()).unwrap();
    for (name, from) in [("known", &clients), ("foreign", &Authority::new("others"))] {
        let (certificate, key) = from.client("client");
        fixture.secret(name, &format!("{key}{certificate}").replace('\n', "\\n"));
    }
    for (name, works) in [("known", true), ("foreign", false), ("", false)] {
        let tls = match name {
            "" => json!({"ca_file": "ca.pem"}),
            name => {
                json!({"ca_file": "ca.pem", "certificate_file": {"file": name}, "key_file": {"file": name}})
            }
        };
        let tls: TlsSettings = serde_json::from_value(tls).unwrap();
        let mut transport = TransportConfig {
            proxy: Proxy::Direct,
            ..TransportConfig::default()
        };
        let files = SecretFiles::of(&fixture.run);
        tls.apply(&fixture.run.base, &files, &mut transport).unwrap();
        let client = transport.client().unwrap();
        for only_tls12 in [true, false] {
            let server = serve(&authority, &clients, only_tls12);
            let auth = fixture.build_with(credentials(&server), &client).unwrap();
            if works {
                assert_eq!(get(&client, &auth, &server).await.unwrap(), 200);
                continue;
            }
            let error = authorization(&auth).await.unwrap_err();
            let text = shown(&error);
            assert_eq!(error.kind(), ErrorKind::Refused, "{text}");
            assert!(
                text.contains("requires a client certificate, or rejected this one"),
                "{text}"
            );
            assert!(
                text.contains("set `tls.certificate_file` and `tls.key_file`"),
                "{text}"
            );
            let none = fixture.build_with(json!({"type": "none"}), &client).unwrap();
            let failure = get(&client, &none, &server).await.unwrap_err();
            assert!(
                matches!(failure, Failure::Certificate { client: true, .. }) && !failure.is_transient(),
                "{failure:?}"
            );
        }
    }
}
