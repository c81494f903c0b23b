//! A service that wants a client certificate, for tokens and for data.
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::*;
use crate::http::redact::Redactor;
use crate::http::transport::{Failure, exchange};
use test_server::certificates::Authority;

/// Gives a token to a POST and a record to a GET, over TLS, to those with a certificate of `clients`.
async fn serve(
    authority: &Authority,
    clients: &Authority,
    version: &'static rustls::SupportedProtocolVersion,
) -> (u16, JoinSet<()>) {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let (certificate, key) = authority.server("localhost");
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(clients.pem().as_bytes()).unwrap())
        .unwrap();
    let verifier =
        rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .build()
            .unwrap();
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()],
            PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
        )
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let mut stream = match acceptor.accept(stream).into_fallible().await {
                Ok(stream) => stream,
                Err((_, mut stream)) => {
                    // Closed at once, the connection would be reset, and the alert might be lost.
                    let _ = stream.shutdown().await;
                    let _ = stream.read_to_end(&mut Vec::new()).await;
                    continue;
                }
            };
            let mut head = vec![0; 8192];
            let read = stream.read(&mut head).await.unwrap_or(0);
            let body = if head[..read].starts_with(b"POST") {
                json!({"access_token": TOKEN, "expires_in": 60})
            } else {
                json!({"workers": []})
            }
            .to_string();
            let answer = format!(
                "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            );
            let _ = stream.write_all(answer.as_bytes()).await;
            let _ = stream.shutdown().await;
        }
    });
    (port, tasks)
}

/// The client of the settings, and where the service is.
fn client_of(place: &InjectInto, authority: &Authority, tls: Value) -> reqwest::Client {
    std::fs::write(place.path().join("ca.pem"), authority.pem()).unwrap();
    let tls: crate::http::settings::TlsSettings =
        serde_json::from_value(with(tls, &json!({"ca_file": "ca.pem"}))).unwrap();
    let mut transport = TransportConfig {
        proxy: Proxy::Direct,
        ..TransportConfig::default()
    };
    tls.apply(&place.run.base, &place.run.secret_files, &mut transport)
        .unwrap();
    transport.client().unwrap()
}

fn auth_at(place: &InjectInto, port: u16, client: &reqwest::Client) -> Authenticator {
    let config = json!({
        "type": "oauth2_client_credentials", "token_url": format!("https://localhost:{port}/token"),
        "client_id": "app", "client_secret": {"file": "secret"},
    });
    place.build_with(config, client).unwrap()
}

async fn get(client: &reqwest::Client, auth: &Authenticator, port: u16) -> Result<u16, Failure> {
    let mut request = client
        .get(format!("https://localhost:{port}/workers"))
        .build()
        .unwrap();
    auth.authorize(&mut request).await.unwrap();
    exchange(client, request, 1000, Redactor::secrets(&[]))
        .await
        .map(|answer| answer.status.as_u16())
}

#[tokio::test]
async fn one_certificate_counts_for_tokens_and_for_data() {
    let place = InjectInto::new();
    let (authority, clients) = (Authority::new("servers"), Authority::new("clients"));
    let (certificate, key) = clients.client("client");
    place.secret("both", &format!("{key}{certificate}").replace('\n', "\\n"));
    let tls =
        json!({"certificate_file": {"file": "both"}, "key_file": {"file": "both"}, "min_version": "1.3"});
    let (port, _tasks) = serve(&authority, &clients, &rustls::version::TLS13).await;
    let client = client_of(&place, &authority, tls);
    let auth = auth_at(&place, port, &client);
    assert_eq!(get(&client, &auth, port).await.unwrap(), 200);
}

#[tokio::test]
async fn a_certificate_that_is_missing_or_foreign_is_said_and_not_tried_again() {
    let place = InjectInto::new();
    let (authority, clients) = (Authority::new("servers"), Authority::new("clients"));
    let (certificate, key) = Authority::new("others").client("client");
    place.secret("foreign", &format!("{key}{certificate}"));
    let foreign = json!({"certificate_file": {"file": "foreign"}, "key_file": {"file": "foreign"}});
    for tls in [json!({}), foreign] {
        for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
            let (port, _tasks) = serve(&authority, &clients, version).await;
            let client = client_of(&place, &authority, tls.clone());
            let auth = auth_at(&place, port, &client);
            let error = authorization(&auth).await.unwrap_err();
            let text = shown(&error);
            assert_eq!(error.kind(), crate::error::ErrorKind::Refused, "{text}");
            assert!(
                text.contains("requires a client certificate, or rejected this one")
                    && text.contains("set `tls.certificate_file` and `tls.key_file`"),
                "{text}"
            );
            let none = place.build_with(json!({"type": "none"}), &client).unwrap();
            let failure = get(&client, &none, port).await.unwrap_err();
            assert!(
                failure.is_client_certificate() && !failure.is_transient(),
                "{failure:?}"
            );
        }
    }
}

#[tokio::test]
async fn an_older_version_than_allowed_is_not_spoken() {
    let place = InjectInto::new();
    let (authority, clients) = (Authority::new("servers"), Authority::new("clients"));
    let (port, _tasks) = serve(&authority, &clients, &rustls::version::TLS12).await;
    let client = client_of(&place, &authority, json!({"min_version": "1.3"}));
    let none = place.build_with(json!({"type": "none"}), &client).unwrap();
    let failure = get(&client, &none, port).await.unwrap_err();
    assert!(
        failure.to_string().starts_with("the TLS handshake failed"),
        "{failure}"
    );
}
