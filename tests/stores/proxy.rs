//! A proxy that counts what goes through it, and does something when a certain request comes.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::Response;
use futures::future::BoxFuture;

/// A request that went through.
#[derive(Debug, Clone)]
pub(crate) struct Passed {
    pub(crate) method: String,
    /// With the query.
    pub(crate) path: String,
    pub(crate) status: u16,
    /// Bytes of the answer's body.
    pub(crate) bytes: u64,
}

type Hook = Box<dyn Fn(&Request) -> Option<BoxFuture<'static, ()>> + Send + Sync>;

struct Inner {
    upstream: String,
    client: reqwest::Client,
    log: Mutex<Vec<Passed>>,
    hook: Hook,
}

/// See the module. Ends when dropped.
pub(crate) struct Proxy {
    pub(crate) url: String,
    inner: Arc<Inner>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Proxy {
    pub(crate) async fn start(upstream: &str) -> Self {
        Self::with_hook(upstream, Box::new(|_| None)).await
    }

    /// `hook` says what is waited for before a request goes on.
    pub(crate) async fn with_hook(upstream: &str, hook: Hook) -> Self {
        let inner = Arc::new(Inner {
            upstream: upstream.to_owned(),
            client: crate::servers::client(),
            log: Mutex::default(),
            hook,
        });
        let app = Router::new().fallback(pass).with_state(inner.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let task = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { url, inner, task }
    }

    pub(crate) fn log(&self) -> Vec<Passed> {
        self.inner.log.lock().unwrap().clone()
    }

    /// Bytes of the bodies of all answers to GET of this path.
    pub(crate) fn bytes_of(&self, path: &str) -> u64 {
        let log = self.log();
        log.iter()
            .filter(|passed| passed.method == "GET" && passed.path.split('?').next() == Some(path))
            .map(|passed| passed.bytes)
            .sum()
    }
}

async fn pass(State(inner): State<Arc<Inner>>, request: Request) -> Response<Body> {
    if let Some(work) = (inner.hook)(&request) {
        work.await;
    }
    let (parts, body) = request.into_parts();
    let path = parts.uri.path_and_query().unwrap().as_str().to_owned();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    let mut headers = parts.headers;
    headers.remove("host");
    let answer = inner
        .client
        .request(parts.method.clone(), format!("{}{path}", inner.upstream))
        .headers(headers)
        .body(body)
        .send()
        .await
        .unwrap();
    let (status, headers) = (answer.status(), answer.headers().clone());
    let body = answer.bytes().await.unwrap();
    inner.log.lock().unwrap().push(Passed {
        method: parts.method.to_string(),
        path,
        status: status.as_u16(),
        bytes: body.len() as u64,
    });
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response.headers_mut().remove("transfer-encoding");
    response.headers_mut().remove("connection");
    response
}
