//! What is trusted, and which versions are spoken.

use std::io::{Read, Write};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::*;
use crate::http::retry::AttemptError as _;

/// For `localhost` and 127.0.0.1, until 2120. Trusted by nobody.
const CERTIFICATE: &str = "\
-----BEGIN CERTIFICATE-----\n\
MIIBaTCCAQ6gAwIBAgIBATAKBggqhkjOPQQDAjAWMRQwEgYDVQQDDAtocnNpbmsg\n\
dGVzdDAgFw0yMDAxMDEwMDAwMDBaGA8yMTIwMDEwMTAwMDAwMFowFjEUMBIGA1UE\n\
AwwLaHJzaW5rIHRlc3QwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAATRbCr3XFMf\n\
sc1KkXo90DjvDK1C5kNqu52otDnafoWqfi85CNhN0P9X8MGw37KaP/lQAfTv/clS\n\
d9zHz9TlBmoSo0swSTAaBgNVHREEEzARgglsb2NhbGhvc3SHBH8AAAEwDAYDVR0T\n\
AQH/BAIwADAdBgNVHQ4EFgQUClU3ci+dlnhfLQk5dKnzqqbzktswCgYIKoZIzj0E\n\
AwIDSQAwRgIhAOWh2YXG+rYM4AACIEEc22FSp+PLQ/Z+xLv7fMOqhcmKAiEA4yRG\n\
yKMOowih+rJXHqe80a2mTl13kegjZ1HDLQIoXUI=\n\
-----END CERTIFICATE-----\n\
";

/// The key of [`CERTIFICATE`], without the lines that would make it look like a key that matters.
const KEY: &str = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg5r1ilogeWic4OGZ4BDJjhN4hMS/PLs/6lDNmEtLCFhShRANCAATRbCr3XFMfsc1KkXo90DjvDK1C5kNqu52otDnafoWqfi85CNhN0P9X8MGw37KaP/lQAfTv/clSd9zHz9TlBmoS";

/// Answers one request with 204 over TLS, or fails in the handshake.
fn tls_server() -> (u16, std::thread::JoinHandle<std::io::Result<()>>) {
    install_crypto_provider();
    let certificate = CertificateDer::from_pem_slice(CERTIFICATE.as_bytes()).unwrap();
    let pem = format!("-----BEGIN {0}-----\n{KEY}\n-----END {0}-----", "PRIVATE KEY");
    let key = PrivateKeyDer::from_pem_slice(pem.as_bytes()).unwrap();
    let config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let task = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept()?;
        let mut tls = rustls::ServerConnection::new(Arc::new(config)).unwrap();
        let mut tls = rustls::Stream::new(&mut tls, &mut stream);
        let mut head = [0; 4096];
        let read = tls.read(&mut head)?;
        assert!(head[..read].starts_with(b"GET "));
        tls.write_all(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n")?;
        tls.flush()
    });
    (port, task)
}

async fn get_tls(port: u16, ca_file: Option<PathBuf>) -> Result<Answer, Failure> {
    let config = TransportConfig {
        ca_file,
        proxy: Proxy::Direct,
        ..TransportConfig::default()
    };
    let client = config.client().unwrap();
    let request = client.get(format!("https://localhost:{port}/")).build().unwrap();
    exchange(&client, request, 10, Redactor::secrets(&[])).await
}

#[tokio::test]
async fn an_untrusted_certificate_is_a_failure_of_its_own() {
    let (port, server) = tls_server();
    let failure = get_tls(port, None).await.unwrap_err();
    assert!(matches!(failure, Failure::Certificate(_)), "{failure:?}");
    assert!(!failure.is_passing() && !failure.is_unknown());
    assert!(server.join().unwrap().is_err());
}

#[tokio::test]
async fn a_certificate_of_the_ca_file_file_is_trusted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ca.pem");
    std::fs::write(&path, CERTIFICATE).unwrap();
    let (port, server) = tls_server();
    assert_eq!(get_tls(port, Some(path)).await.unwrap().status.as_u16(), 204);
    server.join().unwrap().unwrap();
}

/// The versions in a `ClientHello`, as it stands in the first TLS record.
fn offered_versions(hello: &[u8]) -> Vec<u16> {
    const SUPPORTED_VERSIONS: u16 = 43;
    let number = |at: usize| u16::from_be_bytes([hello[at], hello[at + 1]]);
    // The record's head, the message's head, an old version and a random number; then three lists.
    let mut at = 5 + 4 + 2 + 32;
    at += 1 + usize::from(hello[at]);
    at += 2 + usize::from(number(at));
    at += 1 + usize::from(hello[at]);
    let end = at + 2 + usize::from(number(at));
    at += 2;
    while at < end {
        let (kind, length) = (number(at), usize::from(number(at + 2)));
        if kind == SUPPORTED_VERSIONS {
            return (at + 5..at + 4 + length).step_by(2).map(number).collect();
        }
        at += 4 + length;
    }
    panic!("no versions in {hello:?}");
}

#[tokio::test]
async fn tls_before_1_2_is_neither_offered_nor_taken() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut hello = vec![0; 5];
        stream.read_exact(&mut hello).unwrap();
        hello.resize(5 + usize::from(u16::from_be_bytes([hello[3], hello[4]])), 0);
        stream.read_exact(&mut hello[5..]).unwrap();
        // A `ServerHello` of TLS 1.1 with a cipher suite of its time.
        let mut answer = vec![0x16, 3, 2, 0, 42, 2, 0, 0, 38, 3, 2];
        answer.extend([7; 32]);
        answer.extend([0, 0xc0, 0x13, 0]);
        stream.write_all(&answer).unwrap();
        let _ = stream.read(&mut [0; 4096]);
        hello
    });
    let failure = get_tls(port, None).await.unwrap_err();
    let Failure::NotSent {
        stage: Stage::Tls, ..
    } = failure
    else {
        panic!("{failure:?}")
    };
    assert_eq!(offered_versions(&server.join().unwrap()), [0x0304, 0x0303]);
}

#[tokio::test]
async fn a_server_that_speaks_no_tls_is_a_failed_handshake() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        let _ = stream.read(&mut [0; 4096]);
    });
    let failure = get_tls(port, None).await.unwrap_err();
    assert!(
        matches!(
            failure,
            Failure::NotSent {
                stage: Stage::Tls,
                ..
            }
        ),
        "{failure:?}"
    );
    server.join().unwrap();
}
