//! Against scripted servers: one gives tokens, the other takes uploads.

use super::*;
use crate::error::ErrorKind;
use crate::http::backoff::Backoff;
use serde_json::json;
use test_server::{Reply, Request, Server, Step};

const JOB: &str = "b8be4a7d-e338-43eb-a69e-c513cd458eba";
const SECRET: &str = "s3cret-marker";
const CSV: &str = "EmailAddress,LastWorkingDate\nada-marker@contoso.com,2024-05-01T00:00:00Z\n";

/// A token that says its number.
pub(super) fn token(number: u32) -> Reply {
    Reply::new(200).json(&json!({"token_type": "Bearer", "expires_in": "3599", "access_token": format!("tok3n-marker-{number}")}))
}

/// Servers and a client that waits next to nothing between attempts.
pub(super) struct Stage {
    tokens: Server,
    ingestion: Server,
    pub(super) client: Client,
}

impl Stage {
    pub(super) async fn new<T: Into<Step>, U: Into<Step>>(
        attempts: u32,
        tokens: impl IntoIterator<Item = T>,
        uploads: impl IntoIterator<Item = U>,
    ) -> Self {
        Self::with_timeout(attempts, Duration::from_secs(20), tokens, uploads).await
    }

    async fn with_timeout<T: Into<Step>, U: Into<Step>>(
        attempts: u32,
        request_timeout: Duration,
        tokens: impl IntoIterator<Item = T>,
        uploads: impl IntoIterator<Item = U>,
    ) -> Self {
        let tokens = Server::script(tokens);
        let ingestion = Server::script(uploads);
        let endpoints =
            Endpoints::new(&tokens.url(), "https://contoso.com/service", &ingestion.url()).unwrap();
        let client = client(endpoints, attempts, request_timeout);
        Self {
            tokens,
            ingestion,
            client,
        }
    }

    async fn upload(&self) -> Upload {
        let upload = self
            .client
            .upload(CSV.into(), "batch.csv", &CancellationToken::new())
            .await;
        shows_nothing_secret(&upload);
        upload
    }

    /// The requests for tokens and those for uploads; fails the test on any that was not scripted, and on any that
    /// did not come.
    pub(super) fn finish(self) -> (Vec<Request>, Vec<Request>) {
        (self.tokens.finish(), self.ingestion.finish())
    }
}

fn client(endpoints: Endpoints, attempts: u32, request_timeout: Duration) -> Client {
    let backoff = Backoff::new(Duration::from_millis(1), Duration::from_millis(2)).unwrap();
    Client::new(ClientConfig {
        endpoints,
        tenant_id: "contoso.com".to_owned(),
        client_id: "29ee526e-f9a7-4e98-a682-67f41bfd643e".to_owned(),
        client_secret: Secret::new(SECRET),
        job_id: JOB.parse().unwrap(),
        transport: TransportConfig {
            timeout: request_timeout,
            ..TransportConfig::default()
        },
        retry: RetryPolicy::new(attempts, Duration::from_secs(60), backoff).unwrap(),
        retry_unknown: true,
        token_version: TokenVersion::V1,
    })
    .unwrap()
}

/// Neither a secret nor a value of a row, wherever one may look.
fn shows_nothing_secret(upload: &Upload) {
    let error = upload.error.as_ref();
    let hints: Vec<_> = error.iter().flat_map(|error| error.hints()).collect();
    let shown = format!("{upload:?} {:?} {hints:?}", error.map(Error::chain));
    assert!(!shown.contains("marker"), "{shown}");
}

fn bearers(requests: &[Request]) -> Vec<&str> {
    requests
        .iter()
        .map(|request| request.header("authorization").unwrap())
        .collect()
}

fn chain(upload: &Upload) -> String {
    upload.error.as_ref().unwrap().chain()
}

fn kind(upload: &Upload) -> ErrorKind {
    upload.error.as_ref().unwrap().kind()
}

pub(super) const NONE: [Step; 0] = [];

#[tokio::test]
async fn an_upload_is_one_part_named_file() {
    let answer = Reply::new(202)
        .header("Request-Id", "r-1")
        .header("x-ms-request-id", "r-2")
        .body("{\r\n \"saved\": 1 }");
    let stage = Stage::new(1, [token(1)], [answer]).await;
    let upload = stage.upload().await;
    assert_eq!(upload.outcome, BatchOutcome::Accepted);
    assert_eq!(
        (upload.attempts, upload.unknown_attempts, upload.status),
        (1, 0, Some(202))
    );
    assert_eq!(upload.request_ids, ["request-id: r-1", "x-ms-request-id: r-2"]);
    assert_eq!(upload.body.as_deref(), Some("{ \"saved\": 1 }"));
    assert!(upload.error.is_none());

    let (_, uploads) = stage.finish();
    let request = &uploads[0];
    assert_eq!(
        (&*request.method, &*request.path),
        ("POST", &*format!("/api/signals?jobid={JOB}"))
    );
    assert_eq!(request.header("authorization"), Some("Bearer tok3n-marker-1"));
    let boundary = request
        .header("content-type")
        .unwrap()
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
async fn every_status_is_tried_again_or_not_as_documented() {
    let mut again = Vec::new();
    for status in 400..600 {
        let mut uploads = vec![Reply::new(status)];
        if RETRIED.contains(&status) || status == 401 {
            uploads.push(Reply::new(200));
        }
        let stage = Stage::new(2, [token(1), token(2)], uploads).await;
        let upload = stage.upload().await;
        if upload.outcome == BatchOutcome::Accepted {
            assert_eq!(upload.attempts, 2);
            again.push(status);
        } else {
            let passing = matches!(status, 408 | 429 | 500..);
            let expected = if passing {
                (BatchOutcome::NotSent, ErrorKind::Transient)
            } else {
                (BatchOutcome::Refused, ErrorKind::Refused)
            };
            assert_eq!((upload.outcome, kind(&upload)), expected, "{status}");
            assert_eq!((upload.attempts, upload.status), (1, Some(status)));
        }
        stage.ingestion.finish();
    }
    assert_eq!(again, [401, 408, 429, 500, 501, 502, 503, 504]);
}

#[tokio::test]
async fn uploads_at_the_same_time_share_one_token_request() {
    let stage = Stage::new(1, [token(1)], vec![Reply::new(200); 10]).await;
    let uploads = futures::future::join_all((0..10).map(|_| stage.upload())).await;
    assert!(
        uploads
            .iter()
            .all(|upload| upload.outcome == BatchOutcome::Accepted)
    );
    let (tokens, uploads) = stage.finish();
    assert_eq!((tokens.len(), uploads.len()), (1, 10));
}

#[tokio::test]
async fn each_attempt_asks_for_the_token_that_holds_then() {
    let short = Reply::new(200).json(&json!({"access_token": "short", "expires_in": 0}));
    let stage = Stage::new(2, [short, token(2)], [Reply::new(503), Reply::new(200)]).await;
    assert_eq!(stage.upload().await.outcome, BatchOutcome::Accepted);
    let (_, uploads) = stage.finish();
    assert_eq!(bearers(&uploads), ["Bearer short", "Bearer tok3n-marker-2"]);
}

#[tokio::test]
async fn a_401_renews_the_token_once() {
    let stage = Stage::new(8, [token(1), token(2)], [Reply::new(401), Reply::new(200)]).await;
    let upload = stage.upload().await;
    assert_eq!((upload.outcome, upload.attempts), (BatchOutcome::Accepted, 2));
    let (_, uploads) = stage.finish();
    assert_eq!(
        bearers(&uploads),
        ["Bearer tok3n-marker-1", "Bearer tok3n-marker-2"]
    );
}

#[tokio::test]
async fn a_second_401_is_final() {
    let why = Reply::new(401).header(
        "WWW-Authenticate",
        "Bearer error=\"invalid_token\", error_description=\"The audience is invalid\"",
    );
    let stage = Stage::new(8, [token(1), token(2)], [why.clone(), why]).await;
    let upload = stage.upload().await;
    assert_eq!(
        (upload.outcome, upload.attempts, kind(&upload)),
        (BatchOutcome::Refused, 2, ErrorKind::Refused)
    );
    assert!(
        chain(&upload).contains("The audience is invalid"),
        "{}",
        chain(&upload)
    );
    stage.finish();
}

#[tokio::test]
async fn an_attempt_without_answer_is_remembered_when_a_later_one_is_accepted() {
    let steps = [
        Step::CloseAfterBody,
        Step::CloseBeforeBody,
        Reply::new(200).into(),
    ];
    let stage = Stage::new(8, [token(1)], steps).await;
    let upload = stage.upload().await;
    assert_eq!(
        (upload.outcome, upload.attempts, upload.unknown_attempts),
        (BatchOutcome::Accepted, 3, 2)
    );
    stage.finish();
}

#[tokio::test]
async fn an_attempt_without_answer_makes_the_outcome_unknown_whatever_comes_after() {
    for last in [
        Step::CloseAfterBody,
        Reply::new(403).into(),
        Reply::new(503).into(),
    ] {
        let answered = matches!(last, Step::Reply(_));
        let stage = Stage::new(2, [token(1)], [Step::CloseAfterBody, last]).await;
        let upload = stage.upload().await;
        assert_eq!(upload.outcome, BatchOutcome::Unknown);
        assert_eq!((upload.attempts, upload.unknown_attempts), (2, 1));
        assert_eq!(upload.status.is_some(), answered);
        assert!(
            upload
                .error
                .as_ref()
                .unwrap()
                .hints()
                .any(|hint| hint.contains("RecordsSaved"))
        );
        stage.finish();
    }
}

#[tokio::test]
async fn a_timeout_after_sending_is_unknown_not_failed() {
    let stage = Stage::with_timeout(1, Duration::from_millis(500), [token(1)], [Step::Stall]).await;
    let upload = stage.upload().await;
    assert_eq!(
        (upload.outcome, upload.unknown_attempts),
        (BatchOutcome::Unknown, 0)
    );
    assert_eq!(kind(&upload), ErrorKind::Transient);
    assert!(
        chain(&upload).contains("no answer within the time allowed"),
        "{}",
        chain(&upload)
    );
    stage.finish();
}

#[tokio::test]
async fn a_gateways_timeout_is_unknown_too() {
    let stage = Stage::new(2, [token(1)], [Reply::new(504), Reply::new(504)]).await;
    let upload = stage.upload().await;
    assert_eq!(
        (upload.outcome, upload.unknown_attempts),
        (BatchOutcome::Unknown, 1)
    );
    stage.finish();
}

#[tokio::test]
async fn what_never_left_was_not_sent() {
    let tokens = Server::script([token(1)]);
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let endpoints =
        Endpoints::new(&tokens.url(), "https://contoso.com/x", &format!("http://{free}")).unwrap();
    let client = client(endpoints, 3, Duration::from_secs(20));
    let upload = client
        .upload(CSV.into(), "batch.csv", &CancellationToken::new())
        .await;
    assert_eq!(
        (upload.outcome, upload.attempts, kind(&upload)),
        (BatchOutcome::NotSent, 3, ErrorKind::Transient)
    );
    assert!(chain(&upload).contains("3 attempts in"), "{}", chain(&upload));
    assert!(
        upload
            .error
            .unwrap()
            .hints()
            .any(|hint| hint.contains("hrsink emulator"))
    );
}

#[tokio::test]
async fn a_refused_secret_is_not_tried_again_and_nothing_is_sent() {
    let refusal = Reply::new(401).json(&json!({
        "error": "invalid_client", "error_description": format!("AADSTS7000215: Invalid client secret {SECRET}."),
        "error_codes": [7000215], "trace_id": "t-1", "correlation_id": "c-1",
    }));
    let stage = Stage::new(8, [refusal], NONE).await;
    let upload = stage.upload().await;
    assert_eq!(
        (upload.outcome, upload.attempts, upload.status),
        (BatchOutcome::NotSent, 1, None)
    );
    assert_eq!(kind(&upload), ErrorKind::Refused);
    let text = chain(&upload);
    assert!(
        text.contains("AADSTS7000215") && text.contains("trace_id: t-1"),
        "{text}"
    );
    assert!(
        upload
            .error
            .unwrap()
            .hints()
            .next()
            .unwrap()
            .contains("secret's value, not its ID")
    );
    stage.finish();
}

#[tokio::test]
async fn a_token_endpoint_that_is_down_counts_towards_the_same_bound() {
    let down = || Step::from(Reply::new(503));
    let stage = Stage::new(
        4,
        [down(), Step::CloseAfterBody, token(1).into()],
        [Reply::new(503), Reply::new(503)],
    )
    .await;
    let upload = stage.upload().await;
    assert_eq!((upload.outcome, upload.attempts), (BatchOutcome::NotSent, 4));
    assert_eq!(
        upload.unknown_attempts, 0,
        "a token request that breaks off leaves no row unknown"
    );
    stage.finish();
}

#[tokio::test]
async fn a_wait_longer_than_the_time_left_ends_it_at_once() {
    let stage = Stage::new(8, [token(1)], [Reply::new(429).header("Retry-After", "3600")]).await;
    let upload = stage.upload().await;
    assert_eq!(
        (upload.outcome, upload.attempts, kind(&upload)),
        (BatchOutcome::NotSent, 1, ErrorKind::Transient)
    );
    assert!(
        chain(&upload).contains("asked to wait 3600 s, and only"),
        "{}",
        chain(&upload)
    );
    stage.finish();
}

#[tokio::test]
async fn cancelled_before_the_first_attempt_nothing_leaves() {
    let stage = Stage::new(8, NONE, NONE).await;
    let cancel = CancellationToken::new();
    cancel.cancel();
    let upload = stage.client.upload(CSV.into(), "batch.csv", &cancel).await;
    assert_eq!(
        (upload.outcome, upload.attempts, kind(&upload)),
        (BatchOutcome::NotSent, 0, ErrorKind::Interrupted)
    );
    stage.finish();
}

#[tokio::test]
async fn cancelled_while_waiting_it_ends_without_another_attempt() {
    let stage = Stage::new(8, [token(1)], [Reply::new(503).header("Retry-After", "50")]).await;
    let cancel = CancellationToken::new();
    let upload = stage.client.upload(CSV.into(), "batch.csv", &cancel);
    let stop = async {
        while stage.ingestion.requests().is_empty() {
            tokio::task::yield_now().await;
        }
        cancel.cancel();
    };
    let (upload, ()) = tokio::join!(upload, stop);
    assert_eq!(
        (upload.outcome, upload.attempts, kind(&upload)),
        (BatchOutcome::NotSent, 1, ErrorKind::Interrupted)
    );
    assert!(upload.elapsed < Duration::from_secs(40));
    stage.finish();
}

#[tokio::test]
async fn cancelling_leaves_an_attempt_under_way_to_finish() {
    let slow = Step::Trickle(Reply::new(200), Duration::from_millis(2));
    let stage = Stage::new(8, [token(1)], [slow]).await;
    let cancel = CancellationToken::new();
    let upload = stage.client.upload(CSV.into(), "batch.csv", &cancel);
    let stop = async {
        while stage.ingestion.requests().is_empty() {
            tokio::task::yield_now().await;
        }
        cancel.cancel();
    };
    let (upload, ()) = tokio::join!(upload, stop);
    assert_eq!(upload.outcome, BatchOutcome::Accepted);
    stage.finish();
}

#[tokio::test]
async fn what_the_other_side_echoes_never_shows() {
    let echo = format!("{SECRET} Bearer tok3n-marker-1 ada-marker@contoso.com");
    let page = format!("<html><title>{echo}</title>");
    let answers = [
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
    ];
    for answer in answers {
        let stage = Stage::new(1, [token(1)], [answer]).await;
        stage.upload().await;
        let shown = format!("{:?}", stage.client);
        assert!(!shown.contains("marker"), "{shown}");
        stage.finish();
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let other = Server::script(NONE);
    for status in [302, 307, 308] {
        let away = Reply::new(status).header("location", &format!("{}/api/signals", other.other_url()));
        let stage = Stage::new(3, [token(1)], [away]).await;
        let upload = stage.upload().await;
        assert_eq!((upload.outcome, upload.attempts), (BatchOutcome::Refused, 1));
        assert!(
            chain(&upload).contains(&format!("it leads to {}", other.other_url())),
            "{}",
            chain(&upload)
        );
        stage.finish();
    }
    assert!(other.finish().is_empty());
}

#[tokio::test]
async fn a_web_page_is_no_success_even_with_a_200() {
    let page = Reply::new(200)
        .header("content-type", "text/html")
        .body("<!DOCTYPE html><html><title>Sign in</title></html>");
    let stage = Stage::new(3, [token(1)], [page]).await;
    let upload = stage.upload().await;
    assert_eq!((upload.outcome, upload.attempts), (BatchOutcome::Unknown, 1));
    assert!(
        chain(&upload).contains("a web page with the title `Sign in`"),
        "{}",
        chain(&upload)
    );
    assert!(
        upload
            .error
            .unwrap()
            .hints()
            .next()
            .unwrap()
            .contains("proxy or firewall")
    );
    stage.finish();
}

#[tokio::test]
async fn a_success_whose_body_breaks_off_is_a_success() {
    let stage = Stage::new(3, [token(1)], [Reply::new(200).body("0123456789").truncate(3)]).await;
    assert_eq!(stage.upload().await.outcome, BatchOutcome::Accepted);
    stage.finish();
}

#[test]
fn bad_settings_are_refused() {
    let config = |tenant_id: &str| ClientConfig {
        endpoints: crate::sinks::m365_hr::cloud::Cloud::Emulator.endpoints(),
        tenant_id: tenant_id.to_owned(),
        client_id: "app".to_owned(),
        client_secret: Secret::new(SECRET),
        job_id: JOB.parse().unwrap(),
        transport: TransportConfig::default(),
        retry: RetryPolicy::default(),
        retry_unknown: true,
        token_version: TokenVersion::V1,
    };
    assert_eq!(
        Client::new(config(" ")).unwrap_err().to_string(),
        "`tenant_id` is empty"
    );
    assert!(!format!("{:?}", config("t")).contains(SECRET));
}

#[test]
fn an_upload_can_be_a_task_of_its_own() {
    fn sends<T: Send>(_: T) {}
    let endpoints = crate::sinks::m365_hr::cloud::Cloud::Emulator.endpoints();
    let client = client(endpoints, 1, Duration::from_secs(1));
    sends(client.upload(Bytes::new(), "", &CancellationToken::new()));
    sends(client.check());
}
