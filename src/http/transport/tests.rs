//! Against real sockets: only the client library makes the errors that decide how an exchange ended.

use std::io::{Read, Write};
use std::net::TcpListener;

use test_server::certificates::Authority;
use test_server::{Reply, Server, Step, Tls};

use super::*;
use crate::http::retry::AttemptError as _;

/// A timeout that a passing test never reaches.
const LONG: u64 = 20_000;

fn client(timeout_ms: u64) -> reqwest::Client {
    let config = TransportConfig {
        timeout: Duration::from_millis(timeout_ms),
        proxy: Proxy::Direct,
        ..TransportConfig::default()
    };
    config.client().unwrap()
}

async fn post(client: &reqwest::Client, url: &str) -> Result<Answer, Failure> {
    let request = client.post(url).body(vec![b'x'; 1 << 20]).build().unwrap();
    exchange(client, request, 1000, Redactor::new(&[], &[])).await
}

async fn play(step: impl Into<Step>) -> Result<Answer, Failure> {
    let server = Server::script([step]);
    let result = post(&client(LONG), &server.url()).await;
    server.finish();
    result
}

fn stage(failure: &Failure) -> Option<Stage> {
    match failure {
        Failure::NotSent { stage, .. } => Some(*stage),
        _ => None,
    }
}

#[tokio::test]
async fn a_refused_connection_sends_nothing() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("http://{free}/?secret-marker");
    let failure = post(&client(LONG), &url).await.unwrap_err();
    assert_eq!(stage(&failure), Some(Stage::Connect), "{failure:?}");
    let text = failure.to_string().to_lowercase();
    assert_eq!(text.matches("refused").count(), 1, "each cause once: {text}");
    assert!(!text.contains("secret-marker") && !failure.is_unknown() && failure.is_transient());
    // A label that is too long fails in the resolver, without a network.
    let unresolved = format!("http://{}.invalid/", "a".repeat(70));
    let failure = post(&client(LONG), &unresolved).await.unwrap_err();
    assert_eq!(stage(&failure), Some(Stage::Dns));
}

#[tokio::test]
async fn reads_bodies_up_to_the_bound() {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    gzip.write_all(&vec![b'y'; 4 << 20]).unwrap();
    let gzip = Reply::new(200)
        .header("content-encoding", "gzip")
        .body(gzip.finish().unwrap());
    for (step, length, complete) in [
        (Step::from(Reply::new(200).body(vec![b'y'; 1000])), 1000, true),
        (Reply::new(200).body(vec![b'y'; 1 << 20]).into(), 1000, false),
        (Reply::new(200).body("yyyyyyyyyy").truncate(4), 4, false),
        (gzip.into(), 1000, false),
    ] {
        let answer = play(step).await.unwrap();
        let actual = (answer.status.as_u16(), &answer.body[..], answer.complete);
        assert_eq!(actual, (200, &vec![b'y'; length][..], complete));
    }
}

/// A server on a thread: reads a request, and then does `reply` with the connection.
fn raw<T: Send + 'static>(
    reply: impl FnOnce(String, std::net::TcpStream) -> T + Send + 'static,
) -> (std::net::SocketAddr, std::thread::JoinHandle<T>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let task = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_write_timeout(Some(Duration::from_secs(60))).unwrap();
        let mut head = vec![0; 4096];
        let read = stream.read(&mut head).unwrap();
        reply(String::from_utf8_lossy(&head[..read]).into_owned(), stream)
    });
    (address, task)
}

#[tokio::test(flavor = "multi_thread")]
async fn stops_reading_infinite_responses() {
    let no_length = "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n";
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let block = "y".repeat(64 << 10);
    let chunk = format!("10000\r\n{block}\r\n");
    let header = format!("x: {}\r\n", &block[..1000]);
    // Head, block, pause, timeout; and the bound of the body that is read, none for no response.
    for (head, block, pause_ms, timeout_ms, bound) in [
        (no_length, block.clone(), 0, LONG, Some(MAX_BODY)),
        (chunked, chunk, 0, LONG, Some(MAX_BODY)),
        (no_length, "y".to_owned(), 20, 500, Some(1000)),
        ("HTTP/1.1 200 OK\r\n", header, 0, LONG, None),
    ] {
        let (address, server) = raw(move |_, mut stream| {
            let (mut sent, mut next) = (0, stream.write_all(head.as_bytes()));
            while next.is_ok() && sent < 1 << 30 {
                std::thread::sleep(Duration::from_millis(pause_ms));
                next = stream.write_all(block.as_bytes());
                sent += block.len();
            }
            sent
        });
        let client = client(timeout_ms);
        let request = client.get(format!("http://{address}")).build().unwrap();
        let result = exchange(&client, request, MAX_BODY, Redactor::new(&[], &[])).await;
        match (result, bound) {
            (Ok(answer), Some(bound)) => assert!(answer.body.len() <= bound && !answer.complete),
            (Err(Failure::Unknown { timeout: false, .. }), None) => {}
            (result, _) => panic!("{result:?}"),
        }
        // More than the buffers of two sockets hold.
        assert!(server.join().unwrap() < 64 << 20, "the connection was closed");
    }
}

#[tokio::test]
async fn shows_the_reason_of_the_service() {
    let failure = play(Reply::new(403).reason("jobId do not match")).await;
    let failure = failure.unwrap_err().to_string();
    assert_eq!(failure, "the response was 403 jobId do not match");
}

#[tokio::test]
async fn reports_a_proxy_that_does_not_connect() {
    let (address, server) = raw(|head, mut stream| {
        let _ = stream.write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n");
        assert!(head.starts_with("CONNECT in.contoso.com:443"), "{head}");
        let agent = concat!("hrsink/", env!("CARGO_PKG_VERSION"));
        assert!(head.to_lowercase().contains(agent), "{head}");
    });
    let config = TransportConfig {
        proxy: Proxy::Url(format!("http://{address}").parse().unwrap()),
        ..TransportConfig::default()
    };
    let client = config.client().unwrap();
    let failure = post(&client, "https://in.contoso.com/").await.unwrap_err();
    assert_eq!(stage(&failure), Some(Stage::Proxy), "{failure:?}");
    let holds = failure.to_string().contains("authorization required");
    assert!(holds, "{failure}");
    server.join().unwrap();
}

#[test]
fn rejects_unusable_ca_files() {
    let damaged = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for (content, expected) in [("nothing", "contains no certificate"), (damaged, "")] {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), content).unwrap();
        let config = TransportConfig {
            ca_file: Some(file.path().to_owned()),
            ..TransportConfig::default()
        };
        let error = config.client().unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn debug_shows_nothing_secret() {
    let answer = Answer {
        status: StatusCode::OK,
        reason: None,
        headers: HeaderMap::from_iter([(LOCATION, "c00kie-marker".parse().unwrap())]),
        body: Bytes::from_static(b"tok3n-marker"),
        complete: true,
    };
    let config = TransportConfig {
        proxy: Proxy::Url("http://user:hunter2-marker@proxy.contoso.com".parse().unwrap()),
        ..TransportConfig::default()
    };
    let failure = Failure::Answer(Box::new(answer.clone()));
    let shown = format!("{answer:?} {failure:?} {config:?} {:?}", config.client().unwrap());
    assert!(!shown.contains("marker"), "{shown}");
}

/// The stage at which a request for `url` fails.
async fn failed_stage(url: &str, ca_file: Option<PathBuf>, min_tls: TlsVersion) -> Option<Stage> {
    let config = TransportConfig {
        ca_file,
        min_tls,
        proxy: Proxy::Direct,
        ..TransportConfig::default()
    };
    let client = config.client().unwrap();
    stage(&post(&client, url).await.unwrap_err())
}

#[tokio::test]
async fn rejects_older_versions_and_servers_without_tls() {
    let authority = Authority::new("hrsink test");
    let (certificate, key) = authority.server("localhost");
    let tls = Tls {
        certificate,
        key,
        only_tls12: true,
        ..Tls::default()
    };
    let server = Server::builder().tls(tls).script(Vec::<Step>::new());
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), authority.pem()).unwrap();
    let ca = Some(file.path().to_owned());
    let actual = failed_stage(&server.url(), ca, TlsVersion::Tls13).await;
    assert_eq!(actual, Some(Stage::Tls));
    // A `ServerHello` of TLS 1.1 with a cipher suite of its time; and no TLS at all.
    let mut hello = vec![0x16, 3, 2, 0, 42, 2, 0, 0, 38, 3, 2];
    hello.extend([7; 32]);
    hello.extend([0, 0xc0, 0x13, 0]);
    for answer in [hello, b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()] {
        let (address, server) = raw(move |_, mut stream| {
            stream.write_all(&answer).unwrap();
            let _ = stream.read(&mut [0; 4096]);
        });
        let url = format!("https://localhost:{}/", address.port());
        let actual = failed_stage(&url, None, TlsVersion::Tls12).await;
        assert_eq!(actual, Some(Stage::Tls));
        server.join().unwrap();
    }
}
