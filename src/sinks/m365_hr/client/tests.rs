//! Against two scripted servers: one returns tokens, the other accepts uploads.

use std::time::Duration;

use serde_json::json;
use test_server::{Reply, Request, Server, Step};

use super::*;
use crate::error::ErrorKind;
use crate::settings::{BoundedDuration, BoundedInt};
use crate::sinks::m365_hr::cloud::Endpoints;

const JOB: &str = "b8be4a7d-e338-43eb-a69e-c513cd458eba";
const SECRET: &str = "s3cret-marker";
const CSV: &str = "EmailAddress,LastWorkingDate\nada-marker@contoso.com,2024-05-01T00:00:00Z\n";

pub(in super::super) fn token(number: u32) -> Reply {
    Reply::ok(
        json!({"token_type": "Bearer", "expires_in": "3599", "access_token": format!("tok3n-marker-{number}")}),
    )
}

/// Two servers, and a client that hardly waits between attempts.
pub(in super::super) struct Fixture {
    tokens: Server,
    ingestion: Server,
    pub(in super::super) client: Client,
}

impl Fixture {
    pub(in super::super) fn new<T: Into<Step>, U: Into<Step>>(
        attempts: u64,
        tokens: impl IntoIterator<Item = T>,
        uploads: impl IntoIterator<Item = U>,
    ) -> Self {
        let (tokens, ingestion) = (Server::script(tokens), Server::script(uploads));
        let job = Job {
            endpoints: Endpoints::new(&tokens.url(), "https://contoso.com/service", &ingestion.url())
                .unwrap(),
            tenant_id: "contoso.com".to_owned(),
            client_id: "29ee526e-f9a7-4e98-a682-67f41bfd643e".to_owned(),
            job_id: JOB.parse().unwrap(),
        };
        let transport = TransportConfig {
            timeout: Duration::from_secs(20),
            ..TransportConfig::default()
        };
        let retry = RetrySettings {
            max_attempts: BoundedInt::checked(attempts).unwrap(),
            initial_backoff: BoundedDuration::new(1),
            max_backoff: BoundedDuration::new(2),
            ..RetrySettings::default()
        };
        Self {
            tokens,
            ingestion,
            client: Client::new(job, Secret::new(SECRET), transport, retry, true).unwrap(),
        }
    }

    /// Uploads, and asserts that neither a secret nor a value of a row is visible anywhere. With the error, its causes
    /// and hints.
    async fn upload(&self) -> (Answer, String) {
        let cancel = CancellationToken::new();
        let answer = self.client.upload(CSV.into(), "batch.csv", &cancel).await;
        let error = answer.error.as_ref().map_or_else(String::new, |error| {
            format!(
                "{}\n{}",
                error.chain(),
                error.hints().collect::<Vec<_>>().join("\n")
            )
        });
        let shown = format!("{answer:?} {error}");
        assert!(!shown.contains("marker"), "{shown}");
        (answer, error)
    }

    /// The requests for tokens and the uploads; fails the test on unexpected requests and unused steps.
    pub(in super::super) fn finish(self) -> (Vec<Request>, Vec<Request>) {
        (self.tokens.finish(), self.ingestion.finish())
    }
}

#[tokio::test]
async fn uploads_one_part_named_file() {
    let reply = Reply::new(202)
        .header("Request-Id", "r-1")
        .header("x-ms-request-id", "r-2")
        .body("{\r\n \"saved\": 1 }");
    let fixture = Fixture::new(1, [token(1)], [reply]);
    let (answer, error) = fixture.upload().await;
    assert_eq!((answer.verdict, &*error), (Verdict::Accepted, ""));
    assert_eq!(
        (answer.attempts, answer.unknown_attempts, answer.status),
        (1, 0, Some(202))
    );
    assert_eq!(answer.request_ids, ["request-id: r-1", "x-ms-request-id: r-2"]);
    assert_eq!(answer.body.as_deref(), Some("{ \"saved\": 1 }"));

    let (_, uploads) = fixture.finish();
    let request = &uploads[0];
    let path = format!("/api/signals?jobid={JOB}");
    assert_eq!((&*request.method, &*request.path), ("POST", &*path));
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
    let length = expected.len().to_string();
    assert_eq!(request.header("content-length"), Some(&*length));
}

#[tokio::test]
async fn retries_and_classifies_by_status() {
    for status in (400..432).chain(500..512) {
        let retried = RETRIED.contains(&status) || status == 401;
        let steps = std::iter::once(Reply::new(status)).chain(retried.then(|| Reply::new(200)));
        let fixture = Fixture::new(2, [token(1), token(2)], steps);
        let (answer, _) = fixture.upload().await;
        let kind = answer.error.as_ref().map(Error::kind);
        let expected = match status {
            _ if retried => (Verdict::Accepted, 2, None),
            500.. => (Verdict::Transient, 1, Some(ErrorKind::Transient)),
            _ => (refusal(Some(status)), 1, Some(ErrorKind::Refused)),
        };
        assert_eq!((answer.verdict, answer.attempts, kind), expected, "{status}");
        fixture.ingestion.finish();
    }
}

fn step(name: &str) -> Step {
    let audience = "Bearer error_description=\"The audience is invalid\"";
    match name {
        "token" => token(1).into(),
        "short" => Reply::ok(json!({"access_token": "short", "expires_in": 0})).into(),
        "lost" => Step::CloseAfterBody,
        "early" => Step::CloseBeforeBody,
        "cut" => Reply::new(200).body("0123456789").truncate(3),
        "page" => Reply::new(200)
            .body("<!DOCTYPE html><html><title>Sign in</title></html>")
            .into(),
        "wait" => Reply::new(429).header("Retry-After", "3600").into(),
        "redirect" => Reply::new(307)
            .header("location", "https://login.example/x?y")
            .into(),
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
    // Tokens, uploads, attempts allowed; verdict, attempts, those before with an unknown outcome, kind of the error; a
    // text of the error or its hints. A token request that fails is an attempt, and leaves no row unknown.
    const TABLE: &str = "
        token token      | audience audience | 8 | PermanentlyRefused 2 0 Refused | The audience is invalid
        token            | redirect          | 8 | PermanentlyRefused 1 0 Refused | it redirects to https://login.example
        token            | lost early 200    | 8 | Accepted 3 2 -         |
        token            | lost lost         | 2 | Unknown 2 1 Transient  | RecordsSaved
        token            | lost 403          | 2 | Unknown 2 1 Refused    | RecordsSaved
        token            | lost 503          | 2 | Unknown 2 1 Transient  | RecordsSaved
        token            | 504 504           | 2 | Unknown 2 1 Transient  | RecordsSaved
        token            | wait              | 8 | Transient 1 0 Transient | asked to wait 3600 s, and only
        token            | page              | 3 | Unknown 1 0 Refused    | a web page with the title `Sign in`
        token            | cut               | 3 | Accepted 1 0 -         |
        short token      | 503 200           | 2 | Accepted 2 0 -         |
        secret           |                   | 8 | PermanentlyRefused 1 0 Refused | secret's value, not its ID
        503 lost token   | 503 503           | 4 | Transient 4 0 Transient | 4 attempts in";
    for case in TABLE.lines().skip(1) {
        let [tokens, uploads, allowed, expected, text] = case
            .split('|')
            .map(str::trim)
            .collect::<Vec<_>>()
            .try_into()
            .unwrap();
        let steps = |names: &str| names.split_whitespace().map(step).collect::<Vec<_>>();
        let fixture = Fixture::new(allowed.parse().unwrap(), steps(tokens), steps(uploads));
        let (answer, error) = fixture.upload().await;
        let kind = answer
            .error
            .map_or("-".to_owned(), |error| format!("{:?}", error.kind()));
        let (attempts, unknown) = (answer.attempts, answer.unknown_attempts);
        let found = format!("{:?} {attempts} {unknown} {kind}", answer.verdict);
        assert_eq!(found, expected, "{case}: {error}");
        assert!(error.contains(text), "{case}: {error}");
        fixture.finish();
    }
}

#[test]
fn makes_file_names() {
    let run = "0197b0a2-7c1e-7000-8000-0123456789ab";
    assert_eq!(
        file_name("employee_resignation", run, 7, 0),
        "hrsink-employee_resignation-456789ab-00007.csv"
    );
    assert_eq!(file_name("a/b\"\r\nx", "é", 1, 2), "hrsink-a_b___x-_-00001.2.csv");
}
