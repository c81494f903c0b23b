//! Against real sockets: only the client library makes the errors that decide how an exchange ended.

mod tls;

use std::io::{Read, Write};

use test_server::{Reply, Server, Step};

use super::*;
use crate::http::retry::AttemptError as _;
use crate::secret::Secret;

/// A timeout that a passing test never reaches.
const LONG: u64 = 20_000;

fn client(timeout_ms: u64) -> reqwest::Client {
    let timeout = Duration::from_millis(timeout_ms);
    TransportConfig {
        timeout,
        proxy: Proxy::Direct,
        ..TransportConfig::default()
    }
    .client()
    .unwrap()
}

async fn post(client: &reqwest::Client, url: &str) -> Result<Answer, Failure> {
    let request = client.post(url).body(vec![b'x'; 1 << 20]).build().unwrap();
    exchange(client, request, 1000, Redactor::new(&[], &[])).await
}

async fn play(step: impl Into<Step>, timeout_ms: u64) -> Result<Answer, Failure> {
    let server = Server::script([step]);
    let result = post(&client(timeout_ms), &server.url()).await;
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
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let failure = post(&client(LONG), &format!("http://{free}/?secret-marker"))
        .await
        .unwrap_err();
    assert_eq!(stage(&failure), Some(Stage::Connect), "{failure:?}");
    let text = failure.to_string().to_lowercase();
    assert_eq!(text.matches("refused").count(), 1, "each cause once: {text}");
    assert!(!text.contains("secret-marker") && !failure.is_unknown() && failure.is_transient());
    // A label that is too long fails in the resolver, without a network.
    let unresolved = format!("http://{}.invalid/", "a".repeat(70));
    assert_eq!(
        stage(&post(&client(LONG), &unresolved).await.unwrap_err()),
        Some(Stage::Dns)
    );
}

#[tokio::test]
async fn a_failure_after_sending_began_is_unknown() {
    for (step, timeout_ms) in [
        (Step::CloseBeforeBody, LONG),
        (Step::CloseAfterBody, LONG),
        (Step::Garbage(b"SSH-2.0-OpenSSH_9.6\r\n".to_vec()), LONG),
        (Step::Garbage(b"HTTP/1.1 200".to_vec()), LONG),
        (Step::Stall, 300),
        (Reply::new(200).body("taken").trickle(Duration::from_secs(5)), 300),
    ] {
        let shown = format!("{step:?}");
        let failure = play(step, timeout_ms).await.unwrap_err();
        let Failure::Unknown { timeout, .. } = failure else {
            panic!("{shown}: {failure:?}")
        };
        assert_eq!(timeout, timeout_ms != LONG, "{shown}");
        assert!(failure.is_unknown() && failure.is_transient());
    }
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
        let answer = play(step, LONG).await.unwrap();
        assert_eq!(
            (answer.status.as_u16(), &answer.body[..], answer.complete),
            (200, &vec![b'y'; length][..], complete)
        );
    }
}

/// Sends `head` and then `block` until the client closes the connection, up to a gigabyte. Returns the bytes sent. The
/// caller needs a runtime of several threads.
fn infinite(
    head: &'static [u8],
    block: Vec<u8>,
    pause: Duration,
) -> (String, std::thread::JoinHandle<usize>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let task = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_write_timeout(Some(Duration::from_secs(60))).unwrap();
        let mut request = [0; 4096];
        while !request.ends_with(b"\r\n\r\n") {
            let read = stream.read(&mut request).unwrap();
            request.rotate_left(read);
        }
        let mut sent = 0;
        let mut next = stream.write_all(head);
        while next.is_ok() && sent < 1 << 30 {
            std::thread::sleep(pause);
            next = stream.write_all(&block);
            sent += block.len();
        }
        sent
    });
    (url, task)
}

/// More than the buffers of two sockets hold.
const IN_BUFFERS: usize = 64 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn stops_reading_infinite_responses() {
    let block = vec![b'y'; 64 << 10];
    let chunk = [b"10000\r\n", &block[..], b"\r\n"].concat();
    let header = [b"x: ", &[b'y'; 1000][..], b"\r\n"].concat();
    let (no_length, slow) = (
        b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n",
        Duration::from_millis(20),
    );
    // Head, block, pause, timeout; and the bound of the body that is read, none for no response.
    type Case<'a> = (&'a [u8], Vec<u8>, Duration, u64, Option<usize>);
    let cases: [Case<'_>; 5] = [
        (no_length, block.clone(), Duration::ZERO, LONG, Some(MAX_BODY)),
        (
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
            chunk,
            Duration::ZERO,
            LONG,
            Some(MAX_BODY),
        ),
        (
            b"HTTP/1.1 200 OK\r\ncontent-length: 18446744073709551000\r\n\r\n",
            block,
            Duration::ZERO,
            LONG,
            Some(MAX_BODY),
        ),
        (no_length, b"y".to_vec(), slow, 500, Some(1000)),
        (b"HTTP/1.1 200 OK\r\n", header, Duration::ZERO, LONG, None),
    ];
    for (head, block, pause, timeout_ms, bound) in cases {
        let (url, server) = infinite(head, block, pause);
        let client = client(timeout_ms);
        let request = client.get(url).build().unwrap();
        match (
            exchange(&client, request, MAX_BODY, Redactor::new(&[], &[])).await,
            bound,
        ) {
            (Ok(answer), Some(bound)) => assert!(answer.body.len() <= bound && !answer.complete),
            (Err(Failure::Unknown { timeout: false, .. }), None) => {}
            (result, _) => panic!("{result:?}"),
        }
        assert!(server.join().unwrap() < IN_BUFFERS, "the connection was closed");
    }
}

#[tokio::test]
async fn classifies_statuses() {
    for (status, unknown, transient) in [
        (403, false, false),
        (408, false, true),
        (429, false, true),
        (500, false, true),
        (502, true, true),
        (503, false, true),
        (504, true, true),
    ] {
        let failure = play(Reply::new(status), LONG).await.unwrap_err();
        assert_eq!(
            (failure.is_unknown(), failure.is_transient()),
            (unknown, transient),
            "{status}"
        );
    }
    for (reply, expected) in [
        (Reply::new(404), "the response was 404 Not Found"),
        (
            Reply::new(403).reason("jobId do not match"),
            "the response was 403 jobId do not match",
        ),
    ] {
        assert_eq!(play(reply, LONG).await.unwrap_err().to_string(), expected);
    }
    // A control character is not allowed there: this is not a response.
    assert!(
        play(Reply::new(403).reason("jobId and \u{1b}[1mno"), LONG)
            .await
            .unwrap_err()
            .is_unknown()
    );
}

#[tokio::test]
async fn hides_secrets_in_the_reason_phrase() {
    let server = Server::script([Reply::new(400).reason("bad tok3n-marker")]);
    let client = client(LONG);
    let request = client.get(server.url()).build().unwrap();
    let failure = exchange(
        &client,
        request,
        10,
        Redactor::new(&[Secret::new("tok3n-marker")], &[]),
    )
    .await;
    assert_eq!(
        failure.unwrap_err().to_string(),
        "the response was 400 bad [hidden]"
    );
}

#[tokio::test]
async fn does_not_follow_redirects() {
    let other = Server::script(Vec::<Step>::new());
    let elsewhere = format!("{}/login?state=secret-marker", other.other_url());
    for status in [301, 302, 303, 307, 308] {
        let failure = play(Reply::new(status).header("location", &elsewhere), LONG)
            .await
            .unwrap_err();
        let answer = failure.answer().unwrap();
        assert_eq!(
            (answer.status.as_u16(), answer.redirect_host()),
            (status, Some(other.other_url()))
        );
    }
    assert!(other.finish().is_empty());
}

#[tokio::test]
async fn requests_name_the_program() {
    let server = Server::script([Reply::new(204)]);
    post(&client(LONG), &server.url()).await.unwrap();
    let request = server.finish().remove(0);
    assert_eq!(
        request.header("user-agent"),
        Some(concat!("hrsink/", env!("CARGO_PKG_VERSION")))
    );
    assert_eq!(request.header("content-length"), Some("1048576"));
}

#[tokio::test]
async fn reports_a_proxy_that_does_not_connect() {
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
    let failure = exchange(&client, request, 10, Redactor::new(&[], &[]))
        .await
        .unwrap_err();
    assert_eq!(stage(&failure), Some(Stage::Proxy), "{failure:?}");
    assert!(
        failure.to_string().contains("authorization required"),
        "{failure}"
    );
    server.join().unwrap();
}

#[test]
fn rejects_unusable_settings() {
    let error = TransportConfig {
        timeout: Duration::ZERO,
        ..Default::default()
    }
    .client()
    .unwrap_err();
    assert_eq!(error.to_string(), "`timeout` must be more than zero");
    let folder = tempfile::tempdir().unwrap();
    let damaged = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for (name, content, expected) in [
        ("missing.pem", None, "cannot read the CA file"),
        ("empty.pem", Some("nothing"), "contains no certificate"),
        ("damaged.pem", Some(damaged), ""),
    ] {
        let path = folder.path().join(name);
        if let Some(content) = content {
            std::fs::write(&path, content).unwrap();
        }
        let config = TransportConfig {
            ca_file: Some(path),
            ..Default::default()
        };
        assert!(
            config.client().unwrap_err().to_string().contains(expected),
            "{name}"
        );
    }
}

#[test]
fn debug_shows_nothing_secret() {
    let mut headers = HeaderMap::new();
    headers.insert("set-cookie", "c00kie-marker".parse().unwrap());
    let body = Bytes::from_static(b"tok3n-marker");
    let answer = Answer {
        status: StatusCode::OK,
        reason: None,
        headers,
        body,
        complete: true,
    };
    let proxy = Proxy::Url("http://user:hunter2-marker@proxy.contoso.com".parse().unwrap());
    let config = TransportConfig {
        proxy,
        ..TransportConfig::default()
    };
    let shown = format!(
        "{answer:?} {:?} {config:?} {:?}",
        Failure::Answer(Box::new(answer.clone())),
        config.client().unwrap()
    );
    assert!(!shown.contains("marker"), "{shown}");
}
