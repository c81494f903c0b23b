//! Against real sockets: how an exchange ends is decided by the client library's errors, which only it can make.

use std::io::{Read, Write};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::*;
use crate::http::scripted::{Reply, Scripted, Step};
use crate::secret::Secret;

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

/// Waits that end a test soon when it goes wrong the other way round.
fn client(timeout_ms: u64) -> reqwest::Client {
    let config = TransportConfig {
        request_timeout: Duration::from_millis(timeout_ms),
        proxy: Proxy::Direct,
        ..TransportConfig::default()
    };
    config.client().unwrap()
}

async fn post(client: &reqwest::Client, url: &str) -> Result<Answer, Failure> {
    let request = client.post(url).body(vec![b'x'; 1 << 20]).build().unwrap();
    exchange(client, request, 1000, Hidden::secrets(&[])).await
}

async fn play(step: Step, timeout_ms: u64) -> Result<Answer, Failure> {
    let server = Scripted::start([step]).await.unwrap();
    let result = post(&client(timeout_ms), &server.url()).await;
    server.finish().unwrap();
    result
}

const LONG: u64 = 20_000;

#[tokio::test]
async fn a_refused_connection_was_not_sent() {
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let failure = post(&client(LONG), &format!("http://{free}/?secret-marker"))
        .await
        .unwrap_err();
    assert!(
        matches!(
            failure,
            Failure::NotSent {
                stage: Stage::Connect,
                ..
            }
        ),
        "{failure:?}"
    );
    let text = failure.to_string();
    assert!(text.to_lowercase().contains("refused"), "{text}");
    assert!(
        !text.contains("secret-marker"),
        "the URL is not part of it: {text}"
    );
    assert_eq!(
        text.to_lowercase().matches("refused").count(),
        1,
        "each cause once: {text}"
    );
    assert!(!failure.is_unknown() && failure.is_passing());
}

#[tokio::test]
async fn a_name_that_does_not_resolve_was_not_sent() {
    // A label that is too long fails in the resolver, without a network.
    let failure = post(&client(LONG), &format!("http://{}.invalid/", "a".repeat(70)))
        .await
        .unwrap_err();
    assert!(
        matches!(
            failure,
            Failure::NotSent {
                stage: Stage::Dns,
                ..
            }
        ),
        "{failure:?}"
    );
}

#[tokio::test]
async fn what_ends_after_sending_began_is_unknown() {
    let whole = Reply::new(200).body("taken");
    for (step, timeout_ms) in [
        (Step::CloseBeforeBody, LONG),
        (Step::CloseAfterBody, LONG),
        (Step::Garbage(b"SSH-2.0-OpenSSH_9.6\r\n".to_vec()), LONG),
        (Step::Garbage(b"HTTP/1.1 200".to_vec()), LONG),
        (Step::Stall, 300),
        (Step::Trickle(whole, Duration::from_secs(5)), 300),
    ] {
        let shown = format!("{step:?}");
        let failure = play(step, timeout_ms).await.unwrap_err();
        let Failure::Unknown { timeout, .. } = failure else {
            panic!("{shown}: {failure:?}")
        };
        assert_eq!(timeout, timeout_ms != LONG, "{shown}");
        assert!(failure.is_unknown() && failure.is_passing());
    }
}

#[tokio::test]
async fn a_status_counts_even_if_its_body_breaks_off() {
    let answer = play(Step::CutOff(Reply::new(200).body("0123456789"), 4), LONG)
        .await
        .unwrap();
    assert_eq!(
        (answer.status.as_u16(), &answer.body[..], answer.complete),
        (200, &b"0123"[..], false)
    );
}

#[tokio::test]
async fn a_body_is_read_up_to_the_bound_only() {
    let answer = play(Reply::new(200).body(vec![b'y'; 1 << 20]).into(), LONG)
        .await
        .unwrap();
    assert_eq!((answer.body.len(), answer.complete), (1000, false));
    let answer = play(Reply::new(200).body(vec![b'y'; 1000]).into(), LONG)
        .await
        .unwrap();
    assert_eq!((answer.body.len(), answer.complete), (1000, true));
}

#[tokio::test]
async fn an_answer_keeps_its_own_reason_phrase() {
    let failure = play(Reply::new(403).reason("jobId and \u{1b}[1mno").into(), LONG).await;
    // A control character is not allowed there: then the answer is none.
    assert!(failure.unwrap_err().is_unknown());

    let failure = play(
        Reply::new(403)
            .reason("jobId and corresponding appId do not match")
            .into(),
        LONG,
    )
    .await;
    let failure = failure.unwrap_err();
    assert_eq!(
        failure.to_string(),
        "the answer was 403 jobId and corresponding appId do not match"
    );
    assert!(!failure.is_passing() && !failure.is_unknown());
    assert_eq!(
        play(Reply::new(404).into(), LONG).await.unwrap_err().to_string(),
        "the answer was 404 Not Found"
    );
}

#[tokio::test]
async fn a_secret_echoed_in_the_reason_phrase_is_hidden() {
    let server = Scripted::start([Reply::new(400).reason("bad tok3n-marker")])
        .await
        .unwrap();
    let client = client(LONG);
    let request = client.get(server.url()).build().unwrap();
    let failure = exchange(
        &client,
        request,
        10,
        Hidden::secrets(&[&Secret::new("tok3n-marker")]),
    )
    .await
    .unwrap_err();
    assert_eq!(failure.to_string(), "the answer was 400 bad [hidden]");
}

#[tokio::test]
async fn a_redirect_to_another_host_is_an_answer_and_not_followed() {
    let other = Scripted::start(Vec::<Step>::new()).await.unwrap();
    let elsewhere = format!("{}/login?state=secret-marker", other.other_url());
    for status in [301, 302, 303, 307, 308] {
        let failure = play(Reply::new(status).header("location", &elsewhere).into(), LONG)
            .await
            .unwrap_err();
        let answer = failure.answer().unwrap();
        assert_eq!(answer.status.as_u16(), status);
        assert_eq!(answer.redirect_host(), Some(other.other_url()), "host only");
    }
    assert!(other.finish().unwrap().is_empty());
}

#[tokio::test]
async fn a_gateway_that_passed_the_request_on_leaves_it_unknown() {
    for (status, unknown) in [(500, false), (502, true), (503, false), (504, true), (429, false)] {
        let failure = play(Reply::new(status).into(), LONG).await.unwrap_err();
        assert_eq!(
            (failure.is_unknown(), failure.is_passing()),
            (unknown, true),
            "{status}"
        );
    }
}

#[tokio::test]
async fn requests_name_the_program() {
    let server = Scripted::start([Reply::new(204)]).await.unwrap();
    post(&client(LONG), &server.url()).await.unwrap();
    let requests = server.finish().unwrap();
    assert_eq!(
        requests[0].header("user-agent"),
        Some(concat!("hrsink/", env!("CARGO_PKG_VERSION")))
    );
    assert_eq!(requests[0].header("content-length"), Some("1048576"));
}

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

async fn get_tls(port: u16, extra_ca: Option<PathBuf>) -> Result<Answer, Failure> {
    let config = TransportConfig {
        extra_ca,
        proxy: Proxy::Direct,
        ..TransportConfig::default()
    };
    let client = config.client().unwrap();
    let request = client.get(format!("https://localhost:{port}/")).build().unwrap();
    exchange(&client, request, 10, Hidden::secrets(&[])).await
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
async fn a_certificate_of_the_extra_ca_file_is_trusted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ca.pem");
    std::fs::write(&path, CERTIFICATE).unwrap();
    let (port, server) = tls_server();
    assert_eq!(get_tls(port, Some(path)).await.unwrap().status.as_u16(), 204);
    server.join().unwrap().unwrap();
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

#[tokio::test]
async fn a_proxy_that_will_not_connect_is_named() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = format!("http://{}", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut head = [0; 4096];
        let read = stream.read(&mut head).unwrap();
        assert!(head[..read].starts_with(b"CONNECT in.contoso.com:443"));
        let _ = stream.write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n");
    });
    let config = TransportConfig {
        proxy: Proxy::Url(proxy.parse().unwrap()),
        ..TransportConfig::default()
    };
    let client = config.client().unwrap();
    let request = client.get("https://in.contoso.com/").build().unwrap();
    let failure = exchange(&client, request, 10, Hidden::secrets(&[]))
        .await
        .unwrap_err();
    assert!(
        matches!(
            failure,
            Failure::NotSent {
                stage: Stage::Proxy,
                ..
            }
        ),
        "{failure:?}"
    );
    assert!(
        failure.to_string().contains("authorization required"),
        "{failure}"
    );
    server.join().unwrap();
}

#[test]
fn bad_settings_are_refused_by_name() {
    let error = TransportConfig {
        request_timeout: Duration::ZERO,
        ..Default::default()
    }
    .client()
    .unwrap_err();
    assert_eq!(error.to_string(), "`timeout` must be more than zero");

    let folder = tempfile::tempdir().unwrap();
    let extra = |name: &str| {
        let config = TransportConfig {
            extra_ca: Some(folder.path().join(name)),
            ..Default::default()
        };
        config.client().unwrap_err().to_string()
    };
    assert!(extra("missing.pem").contains("cannot read the CA file"));
    std::fs::write(folder.path().join("empty.pem"), "nothing").unwrap();
    assert!(extra("empty.pem").contains("holds no certificate"));
    std::fs::write(
        folder.path().join("bad.pem"),
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    )
    .unwrap();
    assert!(!extra("bad.pem").is_empty());
}

#[test]
fn an_answer_shows_neither_headers_nor_body() {
    let mut headers = HeaderMap::new();
    headers.insert("set-cookie", "c00kie-marker".parse().unwrap());
    let answer = Answer {
        status: StatusCode::OK,
        reason: None,
        headers,
        body: Bytes::from_static(b"tok3n-marker"),
        complete: true,
    };
    let shown = format!("{answer:?} {:?}", Failure::Answer(Box::new(answer.clone())));
    assert!(!shown.contains("marker"), "{shown}");
}

#[test]
fn a_proxys_credentials_do_not_show() {
    let proxy = Proxy::Url("http://user:hunter2-marker@proxy.contoso.com".parse().unwrap());
    let config = TransportConfig {
        proxy,
        ..TransportConfig::default()
    };
    assert!(
        !format!("{config:?} {:?}", config.client().unwrap()).contains("hunter2"),
        "{config:?}"
    );
}
