//! Against two scripted servers: one returns tokens, the other accepts uploads.

use std::time::Duration;

use serde_json::json;
use test_server::{Reply, Request, Server, Step};

use super::*;
use crate::error::ErrorKind;
use crate::http::retry::Backoff;

const JOB: &str = "b8be4a7d-e338-43eb-a69e-c513cd458eba";
const SECRET: &str = "s3cret-marker";
const CSV: &str = "EmailAddress,LastWorkingDate\nada-marker@contoso.com,2024-05-01T00:00:00Z\n";

/// A token with this number.
pub(super) fn token(number: u32) -> Reply {
    Reply::ok(
        json!({"token_type": "Bearer", "expires_in": "3599", "access_token": format!("tok3n-marker-{number}")}),
    )
}

/// Two servers, and a client that hardly waits between attempts.
pub(super) struct Fixture {
    tokens: Server,
    ingestion: Server,
    pub(super) client: Client,
}

impl Fixture {
    pub(super) fn new<T: Into<Step>, U: Into<Step>>(
        attempts: u32,
        tokens: impl IntoIterator<Item = T>,
        uploads: impl IntoIterator<Item = U>,
    ) -> Self {
        let (tokens, ingestion) = (Server::script(tokens), Server::script(uploads));
        let client = client(&tokens.url(), &ingestion.url(), attempts, Duration::from_secs(20));
        Self {
            tokens,
            ingestion,
            client,
        }
    }

    async fn upload(&self) -> Upload {
        upload(&self.client, &CancellationToken::new()).await
    }

    /// The requests for tokens and the uploads; fails the test on unexpected requests and unused steps.
    pub(super) fn finish(self) -> (Vec<Request>, Vec<Request>) {
        (self.tokens.finish(), self.ingestion.finish())
    }
}

fn client(authority: &str, ingestion: &str, attempts: u32, timeout: Duration) -> Client {
    let backoff = Backoff::new(Duration::from_millis(1), Duration::from_millis(2));
    Client::new(ClientConfig {
        endpoints: Endpoints::new(authority, "https://contoso.com/service", ingestion).unwrap(),
        tenant_id: "contoso.com".to_owned(),
        client_id: "29ee526e-f9a7-4e98-a682-67f41bfd643e".to_owned(),
        client_secret: Secret::new(SECRET),
        job_id: JOB.parse().unwrap(),
        transport: TransportConfig {
            timeout,
            ..TransportConfig::default()
        },
        retry: RetryPolicy::new(attempts, Duration::from_secs(60), backoff),
        retry_unknown: true,
    })
    .unwrap()
}

/// Uploads, and asserts that neither a secret nor a value of a row is visible anywhere.
async fn upload(client: &Client, cancel: &CancellationToken) -> Upload {
    let upload = client.upload(CSV.into(), "batch.csv", cancel).await;
    let hints: Vec<_> = upload.error.iter().flat_map(Error::hints).collect();
    let shown = format!(
        "{upload:?} {:?} {hints:?} {client:?}",
        upload.error.as_ref().map(Error::chain)
    );
    assert!(!shown.contains("marker"), "{shown}");
    upload
}

fn chain(upload: &Upload) -> String {
    upload.error.as_ref().map(Error::chain).unwrap_or_default()
}

fn kind(upload: &Upload) -> Option<ErrorKind> {
    upload.error.as_ref().map(Error::kind)
}

fn has_hint(upload: &Upload, text: &str) -> bool {
    upload
        .error
        .iter()
        .flat_map(Error::hints)
        .any(|hint| hint.contains(text))
}

pub(super) const NONE: [Step; 0] = [];

#[tokio::test]
async fn uploads_one_part_named_file() {
    let answer = Reply::new(202)
        .header("Request-Id", "r-1")
        .header("x-ms-request-id", "r-2")
        .body("{\r\n \"saved\": 1 }");
    let fixture = Fixture::new(1, [token(1)], [answer]);
    let upload = fixture.upload().await;
    assert_eq!(
        (upload.outcome, chain(&upload)),
        (BatchOutcome::Accepted, String::new())
    );
    assert_eq!(
        (upload.attempts, upload.unknown_attempts, upload.status),
        (1, 0, Some(202))
    );
    assert_eq!(upload.request_ids, ["request-id: r-1", "x-ms-request-id: r-2"]);
    assert_eq!(upload.body.as_deref(), Some("{ \"saved\": 1 }"));

    let (_, uploads) = fixture.finish();
    let request = &uploads[0];
    assert_eq!(
        (&*request.method, &*request.path),
        ("POST", &*format!("/api/signals?jobid={JOB}"))
    );
    assert_eq!(request.header("authorization"), Some("Bearer tok3n-marker-1"));
    let content_type = request.header("content-type").unwrap();
    let boundary = content_type
        .strip_prefix("multipart/form-data; boundary=")
        .unwrap();
    let expected = format!(
        "--{boundary}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"batch.csv\"\r\n\
         Content-Type: text/csv\r\n\r\n{CSV}\r\n--{boundary}--\r\n"
    );
    assert_eq!(request.text(), expected);
    assert_eq!(
        request.header("content-length"),
        Some(&*expected.len().to_string())
    );
}

#[tokio::test]
async fn retries_and_classifies_by_status() {
    for status in (400..432).chain(500..512) {
        let retried = RETRIED.contains(&status) || status == 401;
        let steps = std::iter::once(Reply::new(status)).chain(retried.then(|| Reply::new(200)));
        let fixture = Fixture::new(2, [token(1), token(2)], steps);
        let upload = fixture.upload().await;
        let expected = match status {
            _ if retried => (BatchOutcome::Accepted, 2, None),
            500.. => (BatchOutcome::NotSent, 1, Some(ErrorKind::Transient)),
            _ => (BatchOutcome::Refused, 1, Some(ErrorKind::Refused)),
        };
        assert_eq!(
            (upload.outcome, upload.attempts, kind(&upload)),
            expected,
            "{status}"
        );
        fixture.ingestion.finish();
    }
}

/// A step of the table below.
fn step(name: &str) -> Step {
    let audience = "Bearer error_description=\"The audience is invalid\"";
    match name {
        "token" => token(1).into(),
        "lost" => Step::CloseAfterBody,
        "early" => Step::CloseBeforeBody,
        "cut" => Reply::new(200).body("0123456789").truncate(3),
        "page" => Reply::new(200)
            .body("<!DOCTYPE html><html><title>Sign in</title></html>")
            .into(),
        "wait" => Reply::new(429).header("Retry-After", "3600").into(),
        "audience" => Reply::new(401).header("WWW-Authenticate", audience).into(),
        "secret" => {
            let text = format!("AADSTS7000215: Invalid client secret {SECRET}.");
            let body =
                json!({"error": "invalid_client", "error_description": text, "error_codes": [7000215]});
            Reply::new(401).json(&body).into()
        }
        status => Reply::new(status.parse().unwrap()).into(),
    }
}

#[tokio::test]
async fn reports_the_outcome_of_every_failure() {
    // Tokens, uploads, attempts allowed; outcome, attempts, those before with an unknown outcome, kind of the error; a
    // text of the error or its hints. A token request that fails is an attempt, and leaves no row unknown.
    const TABLE: &str = "
        token token      | audience audience | 8 | Refused 2 0 Refused    | The audience is invalid
        token            | lost early 200    | 8 | Accepted 3 2 -         |
        token            | lost lost         | 2 | Unknown 2 1 Transient  | RecordsSaved
        token            | lost 403          | 2 | Unknown 2 1 Refused    | RecordsSaved
        token            | lost 503          | 2 | Unknown 2 1 Transient  | RecordsSaved
        token            | 504 504           | 2 | Unknown 2 1 Transient  | RecordsSaved
        token            | wait              | 8 | NotSent 1 0 Transient  | asked to wait 3600 s, and only
        token            | page              | 3 | Unknown 1 0 Refused    | a web page with the title `Sign in`
        token            | cut               | 3 | Accepted 1 0 -         |
        secret           |                   | 8 | NotSent 1 0 Refused    | secret's value, not its ID
        503 lost token   | 503 503           | 4 | NotSent 4 0 Transient  | 4 attempts in";
    for case in TABLE.lines().skip(1) {
        let [tokens, uploads, allowed, expected, text] = case
            .split('|')
            .map(str::trim)
            .collect::<Vec<_>>()
            .try_into()
            .unwrap();
        let steps = |names: &str| names.split_whitespace().map(step).collect::<Vec<_>>();
        let fixture = Fixture::new(allowed.parse().unwrap(), steps(tokens), steps(uploads));
        let upload = fixture.upload().await;
        let kind = kind(&upload).map_or("-".to_owned(), |kind| format!("{kind:?}"));
        let found = format!(
            "{:?} {} {} {kind}",
            upload.outcome, upload.attempts, upload.unknown_attempts
        );
        assert_eq!(found, expected, "{case}: {}", chain(&upload));
        assert!(
            chain(&upload).contains(text) || has_hint(&upload, text),
            "{case}: {}",
            chain(&upload)
        );
        fixture.finish();
    }
}

#[tokio::test]
async fn concurrent_uploads_share_one_token_request() {
    let fixture = Fixture::new(1, [token(1)], vec![Reply::new(200); 10]);
    let uploads = futures::future::join_all((0..10).map(|_| fixture.upload())).await;
    assert!(
        uploads
            .iter()
            .all(|upload| upload.outcome == BatchOutcome::Accepted)
    );
    let (tokens, uploads) = fixture.finish();
    assert_eq!((tokens.len(), uploads.len()), (1, 10));
}

#[tokio::test]
async fn every_attempt_uses_a_valid_token() {
    let short = Reply::ok(json!({"access_token": "short", "expires_in": 0}));
    let fixture = Fixture::new(2, [short, token(2)], [Reply::new(503), Reply::new(200)]);
    assert_eq!(fixture.upload().await.outcome, BatchOutcome::Accepted);
    let (_, uploads) = fixture.finish();
    let bearers: Vec<_> = uploads
        .iter()
        .map(|request| request.header("authorization").unwrap())
        .collect();
    assert_eq!(bearers, ["Bearer short", "Bearer tok3n-marker-2"]);
}

#[tokio::test]
async fn a_timeout_after_sending_is_unknown() {
    let (tokens, ingestion) = (Server::script([token(1)]), Server::script([Step::Stall]));
    let client = client(&tokens.url(), &ingestion.url(), 1, Duration::from_millis(500));
    let upload = upload(&client, &CancellationToken::new()).await;
    assert_eq!(
        (upload.outcome, upload.unknown_attempts, kind(&upload)),
        (BatchOutcome::Unknown, 0, Some(ErrorKind::Transient))
    );
    assert!(
        chain(&upload).contains("no response within the timeout"),
        "{}",
        chain(&upload)
    );
}

#[tokio::test]
async fn a_refused_connection_sends_nothing() {
    let tokens = Server::script([token(1)]);
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let client = client(
        &tokens.url(),
        &format!("http://{free}"),
        3,
        Duration::from_secs(20),
    );
    let upload = upload(&client, &CancellationToken::new()).await;
    assert_eq!(
        (upload.outcome, upload.attempts, kind(&upload)),
        (BatchOutcome::NotSent, 3, Some(ErrorKind::Transient))
    );
    assert!(has_hint(&upload, "hrsink emulator"));
}

#[tokio::test]
async fn cancelling_prevents_attempts_and_aborts_none() {
    let cancel = CancellationToken::new();
    cancel.cancel();
    let fixture = Fixture::new(8, NONE, NONE);
    let early = upload(&fixture.client, &cancel).await;
    assert_eq!(
        (early.outcome, early.attempts, kind(&early)),
        (BatchOutcome::NotSent, 0, Some(ErrorKind::Interrupted))
    );
    fixture.finish();

    let slow = Reply::new(200).trickle(Duration::from_millis(2));
    let waits = Reply::new(503).header("Retry-After", "50").into();
    for (step, outcome, error) in [
        (waits, BatchOutcome::NotSent, Some(ErrorKind::Interrupted)),
        (slow, BatchOutcome::Accepted, None),
    ] {
        let fixture = Fixture::new(8, [token(1)], [step]);
        let (cancel, start) = (CancellationToken::new(), std::time::Instant::now());
        let stop = async {
            while fixture.ingestion.requests().is_empty() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            cancel.cancel();
        };
        let (upload, ()) = tokio::join!(upload(&fixture.client, &cancel), stop);
        assert_eq!(
            (upload.outcome, upload.attempts, kind(&upload)),
            (outcome, 1, error)
        );
        assert!(start.elapsed() < Duration::from_secs(40));
        fixture.finish();
    }
}

#[tokio::test]
async fn echoed_secrets_and_rows_are_never_visible() {
    let echo = format!("{SECRET} Bearer tok3n-marker-1 ada-marker@contoso.com");
    let page = format!("<html><title>{echo}</title>");
    for answer in [
        Reply::new(400)
            .reason(&echo)
            .header("x-ms-diagnostics", &echo)
            .header("request-id", &echo)
            .body(&*echo),
        Reply::new(200)
            .reason(&echo)
            .header("request-id", &echo)
            .body(&*echo),
        Reply::new(403).body(&*page),
        Reply::new(200).body(&*page),
        Reply::new(307).header(
            "location",
            &format!("https://{SECRET}.contoso.com/{echo}").replace(' ', "+"),
        ),
    ] {
        let fixture = Fixture::new(1, [token(1)], [answer]);
        fixture.upload().await;
        fixture.finish();
    }
}

#[tokio::test]
async fn does_not_follow_redirects() {
    let other = Server::script(NONE);
    for status in [302, 307, 308] {
        let away = Reply::new(status).header("location", &format!("{}/api/signals", other.other_url()));
        let fixture = Fixture::new(3, [token(1)], [away]);
        let upload = fixture.upload().await;
        assert_eq!((upload.outcome, upload.attempts), (BatchOutcome::Refused, 1));
        assert!(
            chain(&upload).contains(&format!("it redirects to {}", other.other_url())),
            "{}",
            chain(&upload)
        );
        fixture.finish();
    }
    assert!(other.finish().is_empty());
}

#[test]
fn makes_urls_and_file_names() {
    let job = JOB.parse().unwrap();
    let below = Endpoints::new(
        "http://localhost:1",
        "https://r.example",
        "http://localhost:1/base/",
    )
    .unwrap();
    assert_eq!(
        upload_url(&below, job).as_str(),
        format!("http://localhost:1/base/api/signals?jobid={JOB}")
    );
    let run = "0197b0a2-7c1e-7000-8000-0123456789ab";
    assert_eq!(
        file_name("employee_resignation", run, 7, 0),
        "hrsink-employee_resignation-456789ab-00007.csv"
    );
    assert_eq!(file_name("a/b\"\r\nx", "é", 1, 2), "hrsink-a_b___x-_-00001.2.csv");
}

#[test]
fn the_future_of_an_upload_is_send() {
    fn is_send<T: Send>(_: T) {}
    let client = client(
        "http://localhost:1",
        "http://localhost:1",
        1,
        Duration::from_secs(1),
    );
    is_send(client.upload(Bytes::new(), "", &CancellationToken::new()));
    is_send(client.check());
}
