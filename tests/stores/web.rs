//! Web servers, well behaved and not.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, Response, StatusCode};
use bytes::Bytes;
use futures::stream;
use serde_json::json;

use crate::data::{csv, delivers, fails, parquet, pipeline, wide_csv};

/// How a server behaves; by default it supports everything.
#[derive(Debug, Clone, Copy)]
struct Behavior {
    ranges: bool,
    etag: bool,
    head: bool,
    /// Reports the length of responses.
    length: bool,
    /// Aborts after so many bytes, in the first so many responses.
    aborts: Option<(usize, usize)>,
    /// From the second GET on, the content is the second one.
    changes: bool,
    /// Answers 503 so many times first.
    busy: usize,
    /// The required header `authorization`.
    login: Option<&'static str>,
    /// The required query.
    query: Option<&'static str>,
    /// Sends everything as a web page.
    page: bool,
}

struct Shared {
    behavior: Behavior,
    content: [Bytes; 2],
    gets: AtomicUsize,
    requests: AtomicUsize,
    sent: AtomicU64,
    log: Mutex<Vec<String>>,
}

struct Server {
    url: String,
    shared: Arc<Shared>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    async fn start(set: impl FnOnce(&mut Behavior), content: impl Into<Bytes>) -> Self {
        Self::with_change(set, content.into(), Bytes::new()).await
    }

    async fn with_change(set: impl FnOnce(&mut Behavior), first: Bytes, second: Bytes) -> Self {
        let mut behavior = Behavior {
            ranges: true,
            etag: true,
            head: true,
            length: true,
            aborts: None,
            changes: false,
            busy: 0,
            login: None,
            query: None,
            page: false,
        };
        set(&mut behavior);
        let shared = Arc::new(Shared {
            behavior,
            content: [first, second],
            gets: AtomicUsize::new(0),
            requests: AtomicUsize::new(0),
            sent: AtomicU64::new(0),
            log: Mutex::default(),
        });
        let app = Router::new().fallback(answer).with_state(shared.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let task = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { url, shared, task }
    }

    fn requests(&self) -> Vec<String> {
        self.shared.log.lock().unwrap().clone()
    }

    fn source(&self, file: &str) -> serde_json::Value {
        json!({
            "path": format!("{}/files/{file}", self.url),
            "https": {"retry": {"max_attempts": 4, "initial_backoff": "10ms"}},
        })
    }

    async fn delivers(&self, file: &str, rows: usize) {
        delivers(&pipeline(self.source(file)), 1..=rows).await;
    }

    async fn fails(&self, file: &str, exit_code: u8, said: &[&str]) {
        fails(
            &pipeline(self.source(file)),
            exit_code,
            said,
            &["the-right-secret"],
        )
        .await;
    }
}

fn range_of(headers: &HeaderMap, length: usize) -> Option<Result<(usize, usize), ()>> {
    let range = headers.get("range")?.to_str().ok()?.strip_prefix("bytes=")?;
    let (start, last) = range.split_once('-')?;
    let (start, last): (usize, usize) = (start.parse().ok()?, last.parse().ok()?);
    Some(if start < length {
        Ok((start, length.min(last + 1)))
    } else {
        Err(())
    })
}

async fn answer(State(shared): State<Arc<Shared>>, request: Request) -> Response<Body> {
    let behavior = shared.behavior;
    let headers = request.headers();
    let header = |name: &str| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    let (method, path) = (request.method(), request.uri().path());
    let range = header("range").unwrap_or_default();
    shared
        .log
        .lock()
        .unwrap()
        .push(format!("{method} {path} {range}"));
    let bare = |status: u16| Response::builder().status(status).body(Body::empty()).unwrap();
    if shared.requests.fetch_add(1, Ordering::SeqCst) < behavior.busy {
        return bare(503);
    }
    if behavior.login.is_some() && header("authorization").as_deref() != behavior.login {
        return bare(401);
    }
    if behavior.query.is_some() && request.uri().query() != behavior.query {
        return bare(403);
    }
    if !path.starts_with("/files/") {
        return bare(404);
    }
    let head = *method == Method::HEAD;
    if head && !behavior.head {
        return bare(405);
    }
    let gets = match head {
        true => 0,
        false => shared.gets.fetch_add(1, Ordering::SeqCst),
    };
    let number = usize::from(behavior.changes && gets > 0);
    let all = &shared.content[number];
    let mut response = Response::builder();
    if behavior.etag {
        response = response.header("etag", format!("\"v{number}\""));
    }
    if behavior.page {
        response = response.header("content-type", "text/html; charset=utf-8");
    }
    let (status, part) = match range_of(headers, all.len()).filter(|_| behavior.ranges) {
        None => (StatusCode::OK, all.clone()),
        Some(Err(())) => {
            let all = format!("bytes */{}", all.len());
            let response = response.status(416).header("content-range", all);
            return response.body(Body::empty()).unwrap();
        }
        Some(Ok((start, end))) => {
            let range = format!("bytes {start}-{}/{}", end - 1, all.len());
            response = response.header("content-range", range);
            (StatusCode::PARTIAL_CONTENT, all.slice(start..end))
        }
    };
    response = response.status(status);
    if behavior.length {
        response = response.header("content-length", part.len());
    }
    if head {
        return response.body(Body::empty()).unwrap();
    }
    shared.sent.fetch_add(part.len() as u64, Ordering::SeqCst);
    let body = match behavior.aborts {
        Some((after, times)) if gets < times && part.len() > after => {
            let begin: Result<Bytes, std::io::Error> = Ok(part.slice(..after));
            Body::from_stream(stream::iter([begin, Err(std::io::Error::other("gone"))]))
        }
        _ if behavior.length => Body::from(part),
        // In pieces without a length.
        _ => Body::from_stream(stream::iter([Ok::<_, std::io::Error>(part)])),
    };
    response.body(body).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_from_servers_with_and_without_ranges_tags_lengths_and_head() {
    let (content, rows) = wide_csv(20 << 20);
    let content = Bytes::from(content);
    for ranges in [true, false] {
        for (etag, head, length) in [
            (true, true, true),
            (false, true, true),
            (false, false, true),
            (false, false, false),
        ] {
            let set = |behavior: &mut Behavior| {
                (behavior.ranges, behavior.etag) = (ranges, etag);
                (behavior.head, behavior.length) = (head, length);
            };
            let server = Server::start(set, content.clone()).await;
            server.delivers("a b.csv", rows).await;
            let requests = server.requests();
            let gets = requests.iter().filter(|line| line.starts_with("GET")).count();
            assert_eq!(gets > 3, ranges, "{:?}: {requests:?}", server.shared.behavior);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn continues_truncated_ranges() {
    let (content, rows) = wide_csv(10 << 20);
    let server = Server::start(|to| to.aborts = Some((1_000_000, 2)), content.clone()).await;
    server.delivers("a.csv", rows).await;
    let requests = server.requests();
    let continued = requests.iter().any(|line| line.contains("bytes=1000000-"));
    assert!(continued, "{requests:?}");

    let server = Server::start(|to| to.aborts = Some((1_000, usize::MAX)), content).await;
    server
        .fails("a.csv", 75, &["a.csv", "the connection ended"])
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rejects_truncated_files_of_servers_without_ranges() {
    let (content, _) = wide_csv(4 << 20);
    for length in [true, false] {
        let set = |behavior: &mut Behavior| {
            (behavior.ranges, behavior.length) = (false, length);
            behavior.aborts = Some((1_000_000, 9));
        };
        let server = Server::start(set, content.clone()).await;
        let said = ["a.csv", "closed the connection after", "run again"];
        server.fails("a.csv", 75, &said).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rejects_files_that_change_between_ranges() {
    let (first, _) = wide_csv(20 << 20);
    let second = first.replace("contoso", "cantoso");
    // Without tags, another size shows the change.
    for (etag, second) in [(true, second.clone()), (false, format!("{second}x"))] {
        let set = |behavior: &mut Behavior| (behavior.changes, behavior.etag) = (true, etag);
        let server = Server::with_change(set, first.clone().into(), second.into()).await;
        server.fails("a.csv", 75, &["changed while it was read"]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requires_ranges_for_parquet() {
    let file = Bytes::from(parquet(60_000, 20_000, 12));
    let server = Server::start(|_| {}, file.clone()).await;
    server.delivers("a.parquet", 60_000).await;
    let (sent, size) = (server.shared.sent.load(Ordering::SeqCst), file.len() as u64);
    assert!(sent * 10 < size, "{sent} of {size}");

    let server = Server::start(|to| to.ranges = false, file).await;
    let said = ["does not support ranges", "another storage"];
    server.fails("a.parquet", 2, &said).await;
    let server = Server::start(|_| {}, "no Parquet").await;
    server.fails("a.parquet", 2, &["cannot read", "as Parquet"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn authenticates_and_signs_links() {
    let content = csv(1..=2);
    // `hr:the-right-secret`
    let basic = "Basic aHI6dGhlLXJpZ2h0LXNlY3JldA==";
    let secret = json!({"file": "secret"});
    for (login, https) in [
        (
            "Bearer the-right-secret",
            json!({"auth": {"type": "bearer", "token": secret}}),
        ),
        (
            basic,
            json!({"auth": {"type": "basic", "username": "hr", "password": secret}}),
        ),
        ("the-right-secret", json!({"headers": {"Authorization": secret}})),
    ] {
        let server = Server::start(|to| to.login = Some(login), content.clone()).await;
        let mut source = server.source("a.csv");
        source["https"] = https;
        delivers(&pipeline(source), 1..=2).await;
        server.fails("a.csv", 5, &["401", "`https.auth`"]).await;
    }
    let server = Server::start(|to| to.query = Some("sig=abc%2Fdef&se=1"), content).await;
    let mut source = server.source("a.csv");
    source["https"]["query"] = json!({"file": "query"});
    let signed = pipeline(source);
    signed.write("query", "?sig=abc%2Fdef&se=1");
    delivers(&signed, 1..=2).await;
    signed.write("query", "?sig=hunter2");
    std::fs::remove_file(signed.path("out.csv")).unwrap();
    fails(&signed, 5, &["403", "signed link"], &["hunter2"]).await;
    // In the path, it would be in a file, in logs and in errors.
    let mut source = server.source("a.csv?sig=abc%2Fdef&se=1");
    source["format"] = json!("csv");
    let error = format!("{:?}", pipeline(source).load().unwrap_err());
    assert!(error.contains("query") && !error.contains("abc%2Fdef"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn retries_transient_responses_and_rejects_pages() {
    let server = Server::start(|to| to.busy = 2, csv(1..=2)).await;
    server.delivers("a.csv", 2).await;
    let said = ["elsewhere/a.csv", "do not list their files"];
    server.fails("../elsewhere/a.csv", 2, &said).await;
    let server = Server::start(|to| to.busy = 99, csv(1..=2)).await;
    server.fails("a.csv", 75, &["503"]).await;
    let server = Server::start(|to| to.page = true, "<html>Log in</html>").await;
    server.fails("a.csv", 2, &["web page", "login"]).await;
}
