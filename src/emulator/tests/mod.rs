//! Drives the emulator over HTTP, as a client would.

mod data;
mod faulty;
mod token;
mod upload;

use std::path::Path;
use std::sync::Once;

use reqwest::multipart::{Form, Part};
use reqwest::{Client, Response, StatusCode};
use serde_json::Value;

use super::*;

const TENANT: &str = "d5723623-11cf-4e2e-b5a5-01d1506273f9";
const APP: &str = "29ee526e-f9a7-4e98-a682-67f41bfd643e";
const OTHER_APP: &str = "5f2b1d0a-6a0e-4b7a-9a57-0c9d1f4f1f10";
const JOB: &str = "b8be4a7d-e338-43eb-a69e-c513cd458eba";
const SECRET: &str = "fake-secret";
const GOOD: &str = "EmailAddress,ResignationDate,LastWorkingDate\n\
                    a@contoso.com,2024-01-02T03:04:05Z,2024-02-01T00:00:00Z\n\
                    b@contoso.com,2024-01-03T03:04:05Z,2024-02-01T00:00:00Z\n";

struct Bench {
    emulator: Emulator,
    client: Client,
}

impl Bench {
    async fn start(config: EmulatorConfig) -> Self {
        Self {
            emulator: Emulator::start(config).await.unwrap(),
            client: client(),
        }
    }

    /// Accepts everything, no faults.
    async fn open() -> Self {
        Self::start(EmulatorConfig::default()).await
    }

    async fn with_faults(faults: &str) -> Self {
        Self::start(EmulatorConfig {
            faults: faults.parse().unwrap(),
            ..EmulatorConfig::default()
        })
        .await
    }

    /// Two apps, one of them with a job.
    async fn strict() -> Self {
        Self::start(strict_config("")).await
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.emulator.url())
    }

    /// A token request on the v1 endpoint.
    async fn request_token(&self, tenant: &str, form: &[(&str, &str)]) -> reqwest::Result<Response> {
        self.client
            .post(self.url(&format!("/{tenant}/oauth2/token?api-version=1.0")))
            .form(form)
            .send()
            .await
    }

    async fn token_of(&self, client_id: &str, resource: &str) -> String {
        let form = credentials(client_id, SECRET, resource);
        self.token_json(&form).await["access_token"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    async fn token_json(&self, form: &[(&str, &str)]) -> Value {
        let response = self.request_token(TENANT, form).await.unwrap();
        response.json().await.unwrap()
    }

    async fn token(&self) -> String {
        self.token_of(APP, RESOURCE).await
    }

    async fn send(&self, token: &str, job: &str, form: Form) -> reqwest::Result<Response> {
        self.client
            .post(self.url(&format!("/api/signals?jobid={job}")))
            .bearer_auth(token)
            .multipart(form)
            .send()
            .await
    }

    /// Uploads a file with a fresh token to the job.
    async fn upload(&self, csv: &str) -> reqwest::Result<Response> {
        self.send(&self.token().await, JOB, file(csv)).await
    }

    async fn status(&self, token: &str, job: &str, form: Form) -> u16 {
        let response = self.send(token, job, form).await.unwrap();
        response.status().as_u16()
    }

    async fn upload_status(&self, csv: &str) -> u16 {
        self.status(&self.token().await, JOB, file(csv)).await
    }

    fn rows(&self) -> Vec<AcceptedRow> {
        self.emulator.accepted_rows().unwrap()
    }
}

fn client() -> Client {
    static PROVIDER: Once = Once::new();
    // reqwest requires a TLS provider even for plain HTTP. Another test may have installed it first.
    PROVIDER.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
    Client::builder().no_proxy().build().unwrap()
}

fn strict_config(job_settings: &str) -> EmulatorConfig {
    serde_saphyr::from_str(&format!(
        "apps:\n\
         - {{tenant_id: {TENANT}, client_id: {APP}, client_secret: {SECRET}}}\n\
         - {{tenant_id: {TENANT}, client_id: {OTHER_APP}, client_secret: {SECRET}}}\n\
         - {{tenant_id: contoso.com, client_id: {APP}, client_secret: {SECRET}, secret_expired: true}}\n\
         jobs:\n\
         - {{job_id: {JOB}, client_id: {APP}, scenarios: [employee_resignation]{job_settings}}}\n"
    ))
    .unwrap()
}

fn credentials<'a>(client_id: &'a str, secret: &'a str, resource: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![
        ("grant_type", "client_credentials"),
        ("client_id", client_id),
        ("client_secret", secret),
        ("resource", resource),
        ("tenant_id", TENANT),
    ]
}

fn part(csv: &str) -> Part {
    Part::text(csv.to_owned()).file_name("hr.csv")
}

fn file(csv: &str) -> Form {
    Form::new().part("file", part(csv))
}

fn reason(response: &Response) -> String {
    let header = response.headers().get(refusal::REASON_HEADER);
    header.map_or_else(String::new, |reason| reason.to_str().unwrap().to_owned())
}

#[tokio::test]
async fn stop_waits_for_requests_in_flight() {
    let bench = Bench::with_faults("latency=1h").await;
    let token = bench.token().await;
    let (url, upload) = (bench.url(""), bench.url(&format!("/api/signals?jobid={JOB}")));
    let send = client()
        .post(upload)
        .bearer_auth(token)
        .multipart(file(GOOD))
        .send();
    let stop = async move {
        while bench.emulator.imports().is_empty() {
            tokio::task::yield_now().await;
        }
        bench.emulator.stop().await
    };
    let (response, stopped) = tokio::join!(send, stop);
    assert_eq!(response.unwrap().status(), StatusCode::OK);
    stopped.unwrap();
    assert!(client().get(url).send().await.unwrap_err().is_connect());
}

#[tokio::test]
async fn stop_ignores_idle_connections() {
    let bench = Bench::open().await;
    // The client keeps this connection open; another one never sends a byte.
    bench.token().await;
    let silent = tokio::net::TcpStream::connect(bench.emulator.address())
        .await
        .unwrap();
    bench.token().await;
    bench.emulator.stop().await.unwrap();
    drop(silent);
}

#[tokio::test]
async fn reports_an_address_in_use() {
    let bench = Bench::open().await;
    let config = EmulatorConfig {
        address: Some(bench.emulator.address()),
        ..EmulatorConfig::default()
    };
    let error = Emulator::start(config).await.unwrap_err();
    assert!(error.to_string().contains(&bench.emulator.address().to_string()));
    assert!(error.hints().count() > 0);
}

#[tokio::test(start_paused = true)]
async fn stop_aborts_requests_after_the_timeout() {
    use tokio::io::AsyncWriteExt;
    let bench = Bench::open().await;
    let mut stream = tokio::net::TcpStream::connect(bench.emulator.address())
        .await
        .unwrap();
    let half = b"POST /api/signals HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nabc";
    stream.write_all(half).await.unwrap();
    while bench.emulator.status().uploads == 0 {
        tokio::task::yield_now().await;
    }
    let error = bench.emulator.stop().await.unwrap_err();
    assert!(error.to_string().contains("aborted"), "{error}");
}
