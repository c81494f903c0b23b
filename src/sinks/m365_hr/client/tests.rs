//! Against two scripted servers: one returns tokens, the other accepts uploads.

use async_trait::async_trait;
use serde_json::json;
use test_server::{Reply, Request, Server, Step};

use super::*;
use crate::delivery::{SinkService, Upload, contract};
use crate::settings::BoundedInt;
use crate::sinks::m365_hr::cloud::Endpoints;

const JOB: &str = "b8be4a7d-e338-43eb-a69e-c513cd458eba";
const SECRET: &str = "s3cret-marker";
const CSV: &str = "EmailAddress,LastWorkingDate\nada-marker@contoso.com,2024-05-01T00:00:00Z\n";

pub(in super::super) fn token() -> Reply {
    Reply::ok(json!({"token_type": "Bearer", "expires_in": "3599", "access_token": "tok3n-marker"}))
}

/// Two servers that answer once, and a client.
pub(in super::super) struct Fixture {
    tokens: Server,
    ingestion: Server,
    pub(in super::super) client: Client,
}

impl Fixture {
    pub(in super::super) fn new(token: Reply, answer: impl Into<Step>) -> Self {
        let (tokens, ingestion) = (Server::script([token]), Server::script([answer]));
        let job = Job {
            endpoints: Endpoints::new(&tokens.url(), "https://contoso.com/service", &ingestion.url())
                .unwrap(),
            tenant_id: "contoso.com".to_owned(),
            client_id: "29ee526e-f9a7-4e98-a682-67f41bfd643e".to_owned(),
            job_id: JOB.parse().unwrap(),
        };
        let transport = TransportConfig::default();
        let retry = RetrySettings {
            max_attempts: BoundedInt::new(1),
            ..RetrySettings::default()
        };
        Self {
            tokens,
            ingestion,
            client: Client::new(job, Secret::new(SECRET), transport, retry, true).unwrap(),
        }
    }

    /// The request to the ingestion host.
    pub(in super::super) fn finish(self) -> Request {
        self.tokens.finish();
        self.ingestion.finish().remove(0)
    }
}

#[tokio::test]
async fn uploads_one_part_named_file() {
    let reply = Reply::new(202)
        .header("Request-Id", "r-1")
        .header("x-ms-request-id", "r-2")
        .body("{\r\n \"saved\": 1 }");
    let fixture = Fixture::new(token(), reply);
    let cancel = CancellationToken::new();
    let answer = fixture.client.upload(CSV.into(), "batch.csv", &cancel).await;
    assert_eq!((answer.verdict, answer.status), (Verdict::Accepted, Some(202)));
    assert_eq!(answer.request_ids, ["request-id: r-1", "x-ms-request-id: r-2"]);
    assert_eq!(answer.body.as_deref(), Some("{ \"saved\": 1 }"));

    let request = fixture.finish();
    let path = format!("/api/signals?jobid={JOB}");
    assert_eq!((&*request.method, &*request.path), ("POST", &*path));
    assert_eq!(request.header("authorization"), Some("Bearer tok3n-marker"));
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

#[test]
fn makes_file_names() {
    let run = "0197b0a2-7c1e-7000-8000-0123456789ab";
    let actual = file_name("employee_resignation", run, 7, 0);
    assert_eq!(actual, "hrsink-employee_resignation-456789ab-00007.csv");
    assert_eq!(file_name("a/b\"\r\nx", "é", 1, 2), "hrsink-a_b___x-_-00001.2.csv");
}

#[async_trait]
impl SinkService for Fixture {
    async fn upload(&self, upload: Upload) -> Answer {
        let cancel = CancellationToken::new();
        self.client.upload(upload.payload, "batch.csv", &cancel).await
    }
}

#[tokio::test]
async fn keeps_the_contract_of_services() {
    let reply = |status| Reply::new(status).body("ada-marker@contoso.com").into();
    contract::check(|verdict| {
        let step = match verdict {
            Verdict::Accepted => reply(200),
            Verdict::TooLarge => reply(413),
            Verdict::ContentRejected => reply(400),
            Verdict::Transient => reply(429),
            Verdict::PermanentlyRefused => reply(403),
            Verdict::Unknown => Step::CloseAfterBody,
        };
        Fixture::new(token(), step)
    })
    .await;
}
