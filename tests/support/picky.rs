//! A service that objects to some rows: what it answers depends on what is in an upload.

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
    /// Texts that no upload may hold.
    marks: Vec<String>,
    taken: Vec<String>,
    refused: usize,
}

/// The service. Stops when dropped.
pub(crate) struct Picky {
    url: String,
    job: Arc<Mutex<Job>>,
    _server: JoinSet<()>,
}

impl Picky {
    /// A service that answers 400 to every upload in which one of `marks` stands.
    pub(crate) async fn start(marks: &[&str]) -> Self {
        let job = Arc::new(Mutex::new(Job::default()));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let token =
            json!({"access_token": "a-token", "token_type": "Bearer", "expires_in": 3599}).to_string();
        let router = Router::new()
            .route("/{tenant}/oauth2/token", post(async move || token))
            .route("/api/signals", post(upload))
            .with_state(job.clone());
        let mut server = JoinSet::new();
        server.spawn(async move { axum::serve(listener, router).await.unwrap() });
        let picky = Self {
            url,
            job,
            _server: server,
        };
        picky.objects_to(marks);
        picky
    }

    pub(crate) fn objects_to(&self, marks: &[&str]) {
        self.job.lock().unwrap().marks = marks.iter().map(|mark| (*mark).to_owned()).collect();
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// The bodies that were taken and how many were not, since it was last asked.
    pub(crate) fn seen(&self) -> (Vec<String>, usize) {
        let mut job = self.job.lock().unwrap();
        (std::mem::take(&mut job.taken), std::mem::take(&mut job.refused))
    }
}

async fn upload(State(job): State<Arc<Mutex<Job>>>, body: String) -> (StatusCode, &'static str) {
    let mut job = job.lock().unwrap();
    if job.marks.iter().any(|mark| body.contains(mark)) {
        job.refused += 1;
        return (StatusCode::BAD_REQUEST, "a row is not right");
    }
    job.taken.push(body);
    (StatusCode::OK, "")
}
