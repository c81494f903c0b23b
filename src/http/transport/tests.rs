//! Against real sockets: how an exchange ends is decided by the client library's errors, which only it can make.

mod tls;

use std::io::{Read, Write};

use super::*;
use crate::http::retry::AttemptError as _;
use crate::secret::Secret;
use test_server::{Reply, Server, Step};

/// Waits that end a test soon when it goes wrong the other way round.
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
    exchange(client, request, 1000, Redactor::secrets(&[])).await
}

async fn play(step: Step, timeout_ms: u64) -> Result<Answer, Failure> {
    let server = Server::script([step]);
    let result = post(&client(timeout_ms), &server.url()).await;
    server.finish();
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
    let answer = play(Reply::new(200).body("0123456789").truncate(4), LONG)
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

/// Answers one request with `head` and then `block` again and again, until the client has had enough. How many bytes
/// went out; it gives up at a gigabyte. Who waits for it needs a runtime of several threads, to close the connection
/// meanwhile.
fn endless(head: &'static [u8], block: Vec<u8>, pause: Duration) -> (String, std::thread::JoinHandle<usize>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let task = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_write_timeout(Some(Duration::from_secs(60))).unwrap();
        let mut asked = [0; 4096];
        while !asked.ends_with(b"\r\n\r\n") {
            let read = stream.read(&mut asked).unwrap();
            asked.rotate_left(read);
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

async fn get(url: &str, timeout_ms: u64) -> Result<Answer, Failure> {
    let client = client(timeout_ms);
    let request = client.get(url).build().unwrap();
    exchange(&client, request, MAX_BODY, Redactor::secrets(&[])).await
}

/// What may be under way between two sockets of one machine.
const IN_BUFFERS: usize = 64 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn a_body_without_an_end_is_left_at_the_bound() {
    let block = vec![b'y'; 64 << 10];
    let chunk = [b"10000\r\n", &block[..], b"\r\n"].concat();
    let no_length: &[u8] = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n";
    let chunked: &[u8] = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let long: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 18446744073709551000\r\n\r\n";
    for (head, block) in [(no_length, &block), (chunked, &chunk), (long, &block)] {
        let (url, server) = endless(head, block.clone(), Duration::ZERO);
        let answer = get(&url, LONG).await.unwrap();
        assert_eq!((answer.body.len(), answer.complete), (MAX_BODY, false));
        assert!(server.join().unwrap() < IN_BUFFERS, "the connection was closed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_trickles_without_an_end_is_left_when_the_time_is_up() {
    let head = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n";
    let (url, server) = endless(head, b"y".to_vec(), Duration::from_millis(20));
    let answer = get(&url, 500).await.unwrap();
    // The status is known, and counts.
    assert_eq!((answer.status.as_u16(), answer.complete), (200, false));
    assert!(server.join().unwrap() < MAX_BODY);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_without_an_end_is_no_answer() {
    let (url, server) = endless(
        b"HTTP/1.1 200 OK\r\n",
        [b"x: ", &[b'y'; 1000][..], b"\r\n"].concat(),
        Duration::ZERO,
    );
    let failure = get(&url, LONG).await.unwrap_err();
    assert!(
        matches!(failure, Failure::Unknown { timeout: false, .. }),
        "{failure:?}"
    );
    assert!(server.join().unwrap() < IN_BUFFERS);
}

#[tokio::test]
async fn a_packed_body_is_bounded_by_what_it_unpacks_to() {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    for _ in 0..4 {
        packed.write_all(&[b'y'; 1 << 20]).unwrap();
    }
    let packed = packed.finish().unwrap();
    assert!(packed.len() < 10_000);
    let reply = Reply::new(200).header("content-encoding", "gzip").body(packed);
    let answer = play(reply.into(), LONG).await.unwrap();
    assert_eq!((&answer.body[..], answer.complete), (&[b'y'; 1000][..], false));
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
    let server = Server::script([Reply::new(400).reason("bad tok3n-marker")]);
    let client = client(LONG);
    let request = client.get(server.url()).build().unwrap();
    let failure = exchange(
        &client,
        request,
        10,
        Redactor::secrets(&[&Secret::new("tok3n-marker")]),
    )
    .await
    .unwrap_err();
    assert_eq!(failure.to_string(), "the answer was 400 bad [hidden]");
}

#[tokio::test]
async fn a_redirect_to_another_host_is_an_answer_and_not_followed() {
    let other = Server::script(Vec::<Step>::new());
    let elsewhere = format!("{}/login?state=secret-marker", other.other_url());
    for status in [301, 302, 303, 307, 308] {
        let failure = play(Reply::new(status).header("location", &elsewhere).into(), LONG)
            .await
            .unwrap_err();
        let answer = failure.answer().unwrap();
        assert_eq!(answer.status.as_u16(), status);
        assert_eq!(answer.redirect_host(), Some(other.other_url()), "host only");
    }
    assert!(other.finish().is_empty());
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
    let server = Server::script([Reply::new(204)]);
    post(&client(LONG), &server.url()).await.unwrap();
    let requests = server.finish();
    assert_eq!(
        requests[0].header("user-agent"),
        Some(concat!("hrsink/", env!("CARGO_PKG_VERSION")))
    );
    assert_eq!(requests[0].header("content-length"), Some("1048576"));
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
    let failure = exchange(&client, request, 10, Redactor::secrets(&[]))
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
        timeout: Duration::ZERO,
        ..Default::default()
    }
    .client()
    .unwrap_err();
    assert_eq!(error.to_string(), "`timeout` must be more than zero");

    let folder = tempfile::tempdir().unwrap();
    let extra = |name: &str| {
        let config = TransportConfig {
            ca_file: Some(folder.path().join(name)),
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
