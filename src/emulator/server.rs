//! Serves the endpoints: routes, faults around them, connections and their end.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use axum::{Json, Router};
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::Status;
use super::config::{EmulatorConfig, Job};
use super::faults::{FaultKind, Faults};
use super::ingest;
use super::inject::{Decision, Endpoint, Injector};
use super::store::Store;
use super::token::{self, Tokens, Version};

/// The largest body of requests that are not uploads, in bytes.
const SMALL_BODY: u64 = 1024 * 1024;

/// What every request sees.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) config: EmulatorConfig,
    pub(super) url: String,
    pub(super) jobs: HashMap<Uuid, Arc<Job>>,
    pub(super) store: Store,
    injector: Mutex<Injector>,
    tokens: Mutex<Tokens>,
    uploads: Mutex<Uploads>,
    pub(super) stopping: CancellationToken,
}

#[derive(Debug, Default)]
struct Uploads {
    requests: u64,
    refused: BTreeMap<u16, u64>,
}

impl Shared {
    pub(super) fn new(mut config: EmulatorConfig, url: String, store: Store) -> Self {
        let jobs = std::mem::take(&mut config.jobs);
        Self {
            injector: Mutex::new(Injector::new(std::mem::take(&mut config.faults))),
            jobs: jobs.into_iter().map(|job| (job.job_id, Arc::new(job))).collect(),
            config,
            url,
            store,
            tokens: Mutex::default(),
            uploads: Mutex::default(),
            stopping: CancellationToken::new(),
        }
    }

    pub(super) fn tokens(&self) -> MutexGuard<'_, Tokens> {
        lock(&self.tokens)
    }

    pub(super) fn set_faults(&self, faults: Faults) {
        tracing::info!(%faults, "faults set");
        lock(&self.injector).set(faults);
    }

    fn decide(&self, endpoint: Endpoint) -> Decision {
        lock(&self.injector).decide(endpoint)
    }

    pub(super) fn status(&self) -> Status {
        let jobs = self.store.jobs();
        let injector = lock(&self.injector);
        let uploads = lock(&self.uploads);
        Status {
            version: env!("CARGO_PKG_VERSION"),
            url: self.url.clone(),
            any_app: self.config.apps.is_empty(),
            any_job: self.jobs.is_empty(),
            tokens_issued: self.tokens().issued(),
            uploads: uploads.requests,
            imports: jobs.values().map(|job| job.imports).sum(),
            rows_saved: jobs.values().map(|job| job.rows_saved).sum(),
            refused: uploads.refused.clone(),
            faults: injector.faults().to_string(),
            injected: injector.injected().clone(),
            jobs,
        }
    }

    /// Holds an answer back. A stop ends the wait, so that stopping does not take as long as the slowest answer.
    async fn hold(&self, latency: Duration) {
        if !latency.is_zero() {
            tokio::select! {
                () = tokio::time::sleep(latency) => {}
                () = self.stopping.cancelled() => {}
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn router(shared: Arc<Shared>) -> Router {
    // A browser that visits the ingestion URL is answered 401 or 403 by the real service too.
    let signals = || post(upload).fallback(|| async { StatusCode::UNAUTHORIZED });
    Router::new()
        .route("/", get(status))
        .route("/imports", get(imports))
        .route("/faults", get(faults).put(put_faults))
        .route("/api/signals", signals())
        .route("/api/signals/hr/termination/csv", signals())
        .route("/{tenant}/oauth2/token", post(token_v1))
        .route("/{tenant}/oauth2/v2.0/token", post(token_v2))
        .fallback(any(|| async { StatusCode::NOT_FOUND }))
        // Uploads are larger than axum's default; `read_body` bounds what is kept.
        .layer(DefaultBodyLimit::disable())
        .with_state(shared)
}

async fn status(State(shared): State<Arc<Shared>>) -> Json<Status> {
    Json(shared.status())
}

async fn imports(State(shared): State<Arc<Shared>>) -> Response {
    Json(shared.store.imports()).into_response()
}

async fn faults(State(shared): State<Arc<Shared>>) -> Response {
    let faults = lock(&shared.injector).faults().to_string();
    Json(json!({ "faults": faults })).into_response()
}

/// Takes the compact form as text, or a JSON text or map.
async fn put_faults(State(shared): State<Arc<Shared>>, body: Body) -> Response {
    let body = match ingest::read_body(body, SMALL_BODY).await {
        Ok(Some(body)) => body,
        Ok(None) => return StatusCode::PAYLOAD_TOO_LARGE.into_response(),
        Err(_) => return drop_connection(),
    };
    let text = String::from_utf8_lossy(&body);
    let parsed = if text.trim_start().starts_with(['{', '"']) {
        serde_json::from_str(&text).map_err(|e| e.to_string())
    } else {
        text.parse::<Faults>().map_err(|e| e.to_string())
    };
    match parsed {
        Ok(faults) => {
            let answer = Json(json!({ "faults": faults.to_string() }));
            shared.set_faults(faults);
            answer.into_response()
        }
        Err(error) => (StatusCode::BAD_REQUEST, Json(json!({ "error": error }))).into_response(),
    }
}

async fn token_v1(state: State<Arc<Shared>>, tenant: Path<String>, request: Request) -> Response {
    token(state, tenant, request, Version::V1).await
}

async fn token_v2(state: State<Arc<Shared>>, tenant: Path<String>, request: Request) -> Response {
    token(state, tenant, request, Version::V2).await
}

async fn token(
    State(shared): State<Arc<Shared>>,
    Path(tenant): Path<String>,
    request: Request,
    version: Version,
) -> Response {
    let (parts, body) = request.into_parts();
    faulty(&shared, Endpoint::Token, body, SMALL_BODY, async |body| {
        let is_form = parts
            .headers
            .get(header::CONTENT_TYPE)
            .is_some_and(|kind| kind.as_bytes().starts_with(b"application/x-www-form-urlencoded"));
        // What is no form has no parameters: the answer names the first that is missing.
        let form = body.filter(|_| is_form).map(|body| ingest::form(&body));
        match token::grant(&shared.config, version, &tenant, &form.unwrap_or_default()) {
            Ok(grant) => {
                let expiry = lock(&shared.injector).token_expiry();
                let lifetime = shared.config.token_lifetime;
                shared.tokens().issue(version, grant, lifetime, expiry)
            }
            Err(error) => {
                tracing::info!(aadsts = error.code, "token refused");
                error.into_response()
            }
        }
    })
    .await
}

async fn upload(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    lock(&shared.uploads).requests += 1;
    let (parts, body) = request.into_parts();
    let most = shared.config.max_body;
    let response = faulty(
        &shared,
        Endpoint::Upload,
        body,
        most,
        async |body| match ingest::take(&shared, parts.clone(), body).await {
            Ok(()) => StatusCode::OK.into_response(),
            Err(refusal) => refusal.into_response(),
        },
    )
    .await;
    if !response.status().is_success() {
        let status = response.status().as_u16();
        *lock(&shared.uploads).refused.entry(status).or_default() += 1;
    }
    response
}

/// Answers a request, unless a fault comes between.
async fn faulty<F>(
    shared: &Shared,
    endpoint: Endpoint,
    body: Body,
    most: u64,
    answer: impl FnOnce(Option<bytes::Bytes>) -> F,
) -> Response
where
    F: Future<Output = Response>,
{
    let decision = shared.decide(endpoint);
    if let Some(fault) = decision.fault {
        tracing::info!(?endpoint, ?fault, "fault injected");
    }
    if decision.fault == Some(FaultKind::DropBefore) {
        return drop_connection();
    }
    // A client that goes away half-way needs no answer.
    let Ok(body) = ingest::read_body(body, most).await else {
        tracing::debug!(?endpoint, "the client went away before its request was complete");
        return drop_connection();
    };
    let response = match decision.fault {
        Some(FaultKind::Status(status)) => injected(status, decision.retry_after),
        _ => answer(body).await,
    };
    // Held back after the effect: a client that gives up waiting meets the harder case, in which the rows are saved.
    shared.hold(decision.latency).await;
    match decision.fault {
        Some(FaultKind::DropAfter) => drop_connection(),
        _ => response,
    }
}

fn injected(status: u16, retry_after: Option<String>) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = status.into_response();
    let reason = HeaderValue::from_static("injected fault");
    response.headers_mut().insert(ingest::REASON_HEADER, reason);
    if let Some(value) = retry_after.and_then(|value| HeaderValue::from_str(&value).ok()) {
        response.headers_mut().insert(header::RETRY_AFTER, value);
    }
    response
}

/// Marks a response that must never be sent.
#[derive(Debug, Clone, Copy)]
struct DropConnection;

fn drop_connection() -> Response {
    let mut response = Response::new(Body::empty());
    response.extensions_mut().insert(DropConnection);
    response
}

/// Takes connections until the emulator stops, then waits for those that still work.
pub(super) async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let service = TowerToHyperService::new(router(shared.clone()));
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(stream, service.clone(), shared.stopping.clone()));
                }
                Err(error) => {
                    // Such as too many open files: passing, and a tight loop would not help.
                    tracing::warn!(%error, "cannot take a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            },
            Some(_) = connections.join_next() => {}
            () = shared.stopping.cancelled() => break,
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn connection(stream: TcpStream, router: TowerToHyperService<Router>, stopping: CancellationToken) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "cannot set TCP_NODELAY");
    }
    // An error of the service makes hyper close the connection without writing a byte.
    let service = service_fn(move |request| {
        let answer = router.call(request);
        async move {
            let response: Response = answer.await.unwrap_or_else(|never: Infallible| match never {});
            match response.extensions().get::<DropConnection>() {
                Some(_) => Err(std::io::Error::other("dropped on purpose")),
                None => Ok(response),
            }
        }
    });
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder.timer(TokioTimer::new());
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stopping.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended early");
    }
}
