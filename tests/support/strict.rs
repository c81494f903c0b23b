//! A service that refuses uploads with certain texts.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

#[derive(Default)]
struct Job {
    /// Texts that an upload must not contain.
    refused_texts: Vec<String>,
    accepted: Vec<String>,
    refused: usize,
}

/// Stops when dropped.
pub(crate) struct StrictServer {
    url: String,
    job: Arc<Mutex<Job>>,
    _server: JoinSet<()>,
}

impl StrictServer {
    /// Responds with 400 to every upload that contains one of `texts`.
    pub(crate) async fn start(texts: &[&str]) -> Self {
        let job = Arc::new(Mutex::new(Job::default()));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let token =
            json!({"access_token": "a-token", "token_type": "Bearer", "expires_in": 3599}).to_string();
        let router = Router::new()
            .route("/{tenant}/oauth2/token", post(async move || token))
            .route("/api/signals", post(upload))
            .with_state(job.clone());
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { axum::serve(listener, router).await.unwrap() });
        let server = Self {
            url,
            job,
            _server: tasks,
        };
        server.refuse(texts);
        server
    }

    /// Replaces the texts.
    pub(crate) fn refuse(&self, texts: &[&str]) {
        self.job.lock().unwrap().refused_texts = texts.iter().map(|&text| text.to_owned()).collect();
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// The accepted bodies and the number of refused ones since the last call.
    pub(crate) fn seen(&self) -> (Vec<String>, usize) {
        let mut job = self.job.lock().unwrap();
        (
            std::mem::take(&mut job.accepted),
            std::mem::take(&mut job.refused),
        )
    }
}

async fn upload(State(job): State<Arc<Mutex<Job>>>, body: String) -> (StatusCode, &'static str) {
    let mut job = job.lock().unwrap();
    if job.refused_texts.iter().any(|text| body.contains(text)) {
        job.refused += 1;
        return (StatusCode::BAD_REQUEST, "a row is not right");
    }
    job.accepted.push(body);
    (StatusCode::OK, "")
}
