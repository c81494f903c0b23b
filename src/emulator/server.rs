//! The HTTP server: routes, fault injection, connections and shutdown.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use axum::{Json, Router};
use bytes::Bytes;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::faults::{FaultKind, Faults};
use super::ingest;
use super::inject::Endpoint;
use super::refusal::REASON_HEADER;
use super::state::Shared;
use super::token::{self, Version};

/// The largest body of a request other than an upload, in bytes.
const MAX_SMALL_BODY: u64 = 1024 * 1024;

type SharedState = State<Arc<Shared>>;

fn router(shared: Arc<Shared>) -> Router {
    // The real service, too, responds with 401 or 403 to a browser that opens the ingestion URL.
    let signals = || post(upload).fallback(|| async { StatusCode::UNAUTHORIZED });
    let token = |version| {
        post(
            move |State(shared): SharedState, Path(tenant): Path<String>, request: Request| async move {
                token(&shared, &tenant, request, version).await
            },
        )
    };
    let faults = async |State(shared): SharedState| {
        Json(json!({ "faults": shared.state().injector.faults.to_string() }))
    };
    Router::new()
        .route("/", get(async |State(shared): SharedState| Json(shared.status())))
        .route(
            "/imports",
            get(async |State(shared): SharedState| Json(shared.store.imports())),
        )
        .route("/faults", get(faults).put(put_faults))
        .route("/api/signals", signals())
        .route("/api/signals/hr/termination/csv", signals())
        .route("/{tenant}/oauth2/token", token(Version::V1))
        .route("/{tenant}/oauth2/v2.0/token", token(Version::V2))
        .fallback(any(|| async { StatusCode::NOT_FOUND }))
        // Uploads exceed axum's default; `read_body` limits what stays in memory.
        .layer(DefaultBodyLimit::disable())
        .with_state(shared)
}

/// Accepts the compact form as plain text, or a JSON string or map.
async fn put_faults(State(shared): SharedState, body: Body) -> Response {
    let body = match ingest::read_body(body, MAX_SMALL_BODY).await {
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
            let response = Json(json!({ "faults": faults.to_string() }));
            shared.set_faults(faults);
            response.into_response()
        }
        Err(error) => (StatusCode::BAD_REQUEST, Json(json!({ "error": error }))).into_response(),
    }
}

async fn token(shared: &Shared, tenant: &str, request: Request, version: Version) -> Response {
    let (parts, body) = request.into_parts();
    with_faults(shared, Endpoint::Token, body, MAX_SMALL_BODY, async |body| {
        let is_form = parts
            .headers
            .get(header::CONTENT_TYPE)
            .is_some_and(|kind| kind.as_bytes().starts_with(b"application/x-www-form-urlencoded"));
        // Any other body has no parameters: the response names the first missing one.
        let form = body.filter(|_| is_form).map(|body| ingest::form(&body));
        match token::validate(&shared.config, version, tenant, &form.unwrap_or_default()) {
            Ok(subject) => {
                let mut state = shared.state();
                let expiry = state.injector.faults.token_expiry;
                let lifetime = shared.config.token_lifetime.0;
                state.tokens.issue(version, subject, lifetime, expiry)
            }
            Err(error) => {
                tracing::info!(aadsts = error.code, "token request refused");
                error.into_response()
            }
        }
    })
    .await
}

async fn upload(State(shared): SharedState, request: Request) -> Response {
    shared.state().uploads += 1;
    let (parts, body) = request.into_parts();
    let max_body = shared.config.max_body.get();
    let import = async |body: Option<Bytes>| match ingest::import(&shared, parts.clone(), body).await {
        Ok(()) => StatusCode::OK.into_response(),
        Err(refusal) => refusal.into_response(),
    };
    let response = with_faults(&shared, Endpoint::Upload, body, max_body, import).await;
    if !response.status().is_success() {
        let status = response.status().as_u16();
        *shared.state().refused.entry(status).or_default() += 1;
    }
    response
}

/// Responds to a request, with the next fault of the endpoint, if any.
async fn with_faults<F: Future<Output = Response>>(
    shared: &Shared,
    endpoint: Endpoint,
    body: Body,
    max_body: u64,
    respond: impl FnOnce(Option<Bytes>) -> F,
) -> Response {
    let decision = shared.state().injector.decide(endpoint);
    if let Some(fault) = decision.fault {
        tracing::info!(?endpoint, ?fault, "fault injected");
    }
    if decision.fault == Some(FaultKind::DropBefore) {
        return drop_connection();
    }
    let Ok(body) = ingest::read_body(body, max_body).await else {
        tracing::debug!(
            ?endpoint,
            "the client disconnected before its request was complete"
        );
        return drop_connection();
    };
    let response = match decision.fault {
        Some(FaultKind::Status(status)) => injected(status, decision.retry_after),
        _ => respond(body).await,
    };
    // The delay follows the effect: if the client times out, the rows are saved, which is the harder case.
    shared.delay(decision.latency).await;
    match decision.fault {
        Some(FaultKind::DropAfter) => drop_connection(),
        _ => response,
    }
}

fn injected(status: u16, retry_after: Option<String>) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = status.into_response();
    let reason = HeaderValue::from_static("injected fault");
    response.headers_mut().insert(REASON_HEADER, reason);
    if let Some(value) = retry_after.and_then(|value| HeaderValue::from_str(&value).ok()) {
        response.headers_mut().insert(header::RETRY_AFTER, value);
    }
    response
}

/// Marks a response that the server must not send.
#[derive(Debug, Clone, Copy)]
struct DropConnection;

fn drop_connection() -> Response {
    let mut response = Response::new(Body::empty());
    response.extensions_mut().insert(DropConnection);
    response
}

/// Accepts connections until the emulator stops, then waits for requests in flight.
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
                    // Transient, such as too many open files; do not spin.
                    tracing::warn!(%error, "cannot accept a connection");
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
    // On an error of the service, hyper closes the connection without writing a byte.
    let service = service_fn(move |request| {
        let response = router.call(request);
        async move {
            let response: Response = response.await.unwrap_or_else(|never: Infallible| match never {});
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
