//! Which certificates are trusted, and which versions are spoken.

use test_server::certificates::Authority;
use test_server::{Builder, Tls};

use super::*;

/// A TLS server that replies with 204, and the authority of its certificate.
fn server(tls: impl FnOnce(Tls) -> Tls) -> (Builder, Authority) {
    let authority = Authority::new("hrsink test");
    let (certificate, key) = authority.server("localhost");
    let tls = tls(Tls {
        certificate,
        key,
        ..Tls::default()
    });
    (Server::builder().tls(tls), authority)
}

async fn get(url: &str, ca_file: Option<PathBuf>, min_tls: TlsVersion) -> Result<Answer, Failure> {
    let config = TransportConfig {
        ca_file,
        min_tls,
        proxy: Proxy::Direct,
        ..TransportConfig::default()
    };
    let client = config.client().unwrap();
    let request = client.get(url).build().unwrap();
    exchange(&client, request, 10, Redactor::new(&[], &[])).await
}

#[tokio::test]
async fn trusts_the_ca_file_only_when_set() {
    let (builder, authority) = server(|tls| tls);
    let server = builder.script([Reply::new(204)]);
    let failure = get(&server.url(), None, TlsVersion::Tls12).await.unwrap_err();
    assert!(
        matches!(failure, Failure::Certificate { client: false, .. }),
        "{failure:?}"
    );
    assert!(!failure.is_transient() && !failure.is_unknown());

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ca.pem");
    std::fs::write(&path, authority.pem()).unwrap();
    assert_eq!(
        get(&server.url(), Some(path), TlsVersion::Tls12)
            .await
            .unwrap()
            .status
            .as_u16(),
        204
    );
    server.finish();
}

#[tokio::test]
async fn rejects_older_versions_and_servers_without_tls() {
    let (builder, authority) = server(|tls| Tls {
        only_tls12: true,
        ..tls
    });
    let server = builder.script(Vec::<Step>::new());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ca.pem");
    std::fs::write(&path, authority.pem()).unwrap();
    let failure = get(&server.url(), Some(path), TlsVersion::Tls13)
        .await
        .unwrap_err();
    assert_eq!(stage(&failure), Some(Stage::Tls), "{failure:?}");
    // A `ServerHello` of TLS 1.1 with a cipher suite of its time; and no TLS at all.
    let mut hello = vec![0x16, 3, 2, 0, 42, 2, 0, 0, 38, 3, 2];
    hello.extend([7; 32]);
    hello.extend([0, 0xc0, 0x13, 0]);
    for answer in [hello, b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()] {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut head = [0; 4096];
            let _ = stream.read(&mut head).unwrap();
            stream.write_all(&answer).unwrap();
            let _ = stream.read(&mut head);
        });
        let failure = get(&format!("https://localhost:{port}/"), None, TlsVersion::Tls12)
            .await
            .unwrap_err();
        assert_eq!(stage(&failure), Some(Stage::Tls), "{failure:?}");
        server.join().unwrap();
    }
}
