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

/// What a server does.
#[derive(Debug, Clone, Copy, Default)]
struct Ways {
    ranges: bool,
    etag: bool,
    /// Takes HEAD.
    head: bool,
    /// Says how long answers are.
    length: bool,
    /// Breaks off after so many bytes, in the first so many answers.
    breaks: Option<(usize, usize)>,
    /// From the second GET on the content is the second one.
    changes: bool,
    /// Answers 503 so many times first.
    busy: usize,
    /// Wants this header `authorization`.
    login: Option<&'static str>,
    /// Wants this query.
    query: Option<&'static str>,
    /// The type of what it sends.
    page: bool,
}

struct Shop {
    ways: Ways,
    content: [Bytes; 2],
    gets: AtomicUsize,
    requests: AtomicUsize,
    sent: AtomicU64,
    log: Mutex<Vec<String>>,
}

struct Served {
    url: String,
    shop: Arc<Shop>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Served {
    fn requests(&self) -> Vec<String> {
        self.shop.log.lock().unwrap().clone()
    }
}

async fn serve(ways: Ways, content: impl Into<Bytes>) -> Served {
    serve_both(ways, content.into(), Bytes::new()).await
}

async fn serve_both(ways: Ways, first: Bytes, second: Bytes) -> Served {
    let shop = Arc::new(Shop {
        ways,
        content: [first, second],
        gets: AtomicUsize::new(0),
        requests: AtomicUsize::new(0),
        sent: AtomicU64::new(0),
        log: Mutex::default(),
    });
    let app = Router::new().fallback(answer).with_state(shop.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let task = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    Served { url, shop, task }
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

async fn answer(State(shop): State<Arc<Shop>>, request: Request) -> Response<Body> {
    let ways = shop.ways;
    let header = |name: &str| {
        request
            .headers()
            .get(name)
            .map(|value| value.to_str().unwrap().to_owned())
    };
    shop.log.lock().unwrap().push(format!(
        "{} {} {}",
        request.method(),
        request.uri().path(),
        header("range").unwrap_or_default()
    ));
    let bare = |status: u16| Response::builder().status(status).body(Body::empty()).unwrap();
    if shop.requests.fetch_add(1, Ordering::SeqCst) < ways.busy {
        return bare(503);
    }
    if ways.login.is_some() && header("authorization").as_deref() != ways.login {
        return bare(401);
    }
    if ways.query.is_some() && request.uri().query() != ways.query {
        return bare(403);
    }
    if !request.uri().path().starts_with("/files/") {
        return bare(404);
    }
    let head = request.method() == Method::HEAD;
    if head && !ways.head {
        return bare(405);
    }
    let gets = if head {
        0
    } else {
        shop.gets.fetch_add(1, Ordering::SeqCst)
    };
    let number = usize::from(ways.changes && gets > 0);
    let all = &shop.content[number];
    let mut response = Response::builder();
    if ways.etag {
        response = response.header("etag", format!("\"v{number}\""));
    }
    if ways.page {
        response = response.header("content-type", "text/html; charset=utf-8");
    }
    let (status, part) = match range_of(request.headers(), all.len()).filter(|_| ways.ranges) {
        None => (StatusCode::OK, all.clone()),
        Some(Err(())) => {
            return response
                .status(416)
                .header("content-range", format!("bytes */{}", all.len()))
                .body(Body::empty())
                .unwrap();
        }
        Some(Ok((start, end))) => {
            response = response.header(
                "content-range",
                format!("bytes {start}-{}/{}", end - 1, all.len()),
            );
            (StatusCode::PARTIAL_CONTENT, all.slice(start..end))
        }
    };
    response = response.status(status);
    if ways.length {
        response = response.header("content-length", part.len());
    }
    if head {
        return response.body(Body::empty()).unwrap();
    }
    shop.sent.fetch_add(part.len() as u64, Ordering::SeqCst);
    let body = match ways.breaks {
        Some((after, times)) if gets < times && part.len() > after => {
            let begin: Result<Bytes, std::io::Error> = Ok(part.slice(..after));
            Body::from_stream(stream::iter([begin, Err(std::io::Error::other("gone"))]))
        }
        _ if ways.length => Body::from(part),
        // In pieces without a length.
        _ => Body::from_stream(stream::iter([Ok::<_, std::io::Error>(part)])),
    };
    response.body(body).unwrap()
}

const GOOD: Ways = Ways {
    ranges: true,
    etag: true,
    head: true,
    length: true,
    breaks: None,
    changes: false,
    busy: 0,
    login: None,
    query: None,
    page: false,
};

fn from(served: &Served, file: &str) -> serde_json::Value {
    json!({"path": format!("{}/files/{file}", served.url), "https": {"retry": {"max_attempts": 4, "initial_backoff": "10ms"}}})
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
            let ways = Ways {
                ranges,
                etag,
                head,
                length,
                ..GOOD
            };
            let served = serve(ways, content.clone()).await;
            delivers(&pipeline(from(&served, "a b.csv")), 1..=rows).await;
            let gets = served
                .requests()
                .iter()
                .filter(|line| line.starts_with("GET"))
                .count();
            assert_eq!(gets > 3, ranges, "{ways:?}: {:?}", served.requests());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn continues_truncated_ranges() {
    let (content, rows) = wide_csv(10 << 20);
    let served = serve(
        Ways {
            breaks: Some((1_000_000, 2)),
            ..GOOD
        },
        content.clone(),
    )
    .await;
    delivers(&pipeline(from(&served, "a.csv")), 1..=rows).await;
    let rest = served
        .requests()
        .iter()
        .any(|line| line.contains("bytes=1000000-"));
    assert!(rest, "{:?}", served.requests());

    // Again and again: the run fails, and another may do better.
    let served = serve(
        Ways {
            breaks: Some((1_000, usize::MAX)),
            ..GOOD
        },
        content.clone(),
    )
    .await;
    fails(
        &pipeline(from(&served, "a.csv")),
        75,
        &["a.csv", "the connection ended"],
        &[],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rejects_truncated_files_of_servers_without_ranges() {
    let (content, _) = wide_csv(4 << 20);
    for length in [true, false] {
        let ways = Ways {
            ranges: false,
            length,
            breaks: Some((1_000_000, 9)),
            ..GOOD
        };
        let served = serve(ways, content.clone()).await;
        fails(
            &pipeline(from(&served, "a.csv")),
            75,
            &["a.csv", "closed the connection after", "run again"],
            &[],
        )
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rejects_files_that_change_between_ranges() {
    let (first, _) = wide_csv(20 << 20);
    let second = first.replace("contoso", "cantoso");
    let ways = Ways {
        changes: true,
        ..GOOD
    };
    let served = serve_both(ways, first.clone().into(), second.clone().into()).await;
    fails(
        &pipeline(from(&served, "a.csv")),
        75,
        &["changed while it was read"],
        &[],
    )
    .await;
    // Without tags the size tells, where it is another.
    let ways = Ways {
        changes: true,
        etag: false,
        ..GOOD
    };
    let served = serve_both(ways, first.into(), format!("{second}x").into()).await;
    fails(
        &pipeline(from(&served, "a.csv")),
        75,
        &["changed while it was read"],
        &[],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requires_ranges_for_parquet() {
    let file = Bytes::from(parquet(60_000, 20_000, 12));
    let served = serve(GOOD, file.clone()).await;
    delivers(&pipeline(from(&served, "a.parquet")), 1..=60_000).await;
    let (sent, size) = (served.shop.sent.load(Ordering::SeqCst), file.len() as u64);
    assert!(sent * 10 < size, "{sent} of {size}");

    let served = serve(
        Ways {
            ranges: false,
            ..GOOD
        },
        file,
    )
    .await;
    fails(
        &pipeline(from(&served, "a.parquet")),
        2,
        &["does not support ranges", "another storage"],
        &[],
    )
    .await;
    let served = serve(GOOD, "no Parquet").await;
    fails(
        &pipeline(from(&served, "a.parquet")),
        2,
        &["cannot read", "as Parquet"],
        &[],
    )
    .await;
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
        let served = serve(
            Ways {
                login: Some(login),
                ..GOOD
            },
            content.clone(),
        )
        .await;
        let mut source = from(&served, "a.csv");
        source["https"] = https;
        delivers(&pipeline(source), 1..=2).await;
        let told = fails(
            &pipeline(from(&served, "a.csv")),
            5,
            &["401", "`https.auth`"],
            &["the-right-secret"],
        )
        .await;
        assert!(told.error.is_some());
    }
    let served = serve(
        Ways {
            query: Some("sig=abc%2Fdef&se=1"),
            ..GOOD
        },
        content.clone(),
    )
    .await;
    let mut source = from(&served, "a.csv");
    source["https"]["query"] = json!({"file": "query"});
    let signed = pipeline(source);
    signed.write("query", "?sig=abc%2Fdef&se=1");
    delivers(&signed, 1..=2).await;
    signed.write("query", "?sig=hunter2");
    std::fs::remove_file(signed.path("out.csv")).unwrap();
    fails(&signed, 5, &["403", "signed link"], &["hunter2"]).await;
    // As a part of the address it would be in a file, in logs and in errors.
    let mut source = from(&served, "a.csv?sig=abc%2Fdef&se=1");
    source["format"] = json!("csv");
    let error = format!("{:?}", pipeline(source).load().unwrap_err());
    assert!(error.contains("query") && !error.contains("abc%2Fdef"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn retries_transient_responses_and_rejects_pages() {
    let served = serve(Ways { busy: 2, ..GOOD }, csv(1..=2)).await;
    delivers(&pipeline(from(&served, "a.csv")), 1..=2).await;
    let served = serve(Ways { busy: 99, ..GOOD }, csv(1..=2)).await;
    fails(&pipeline(from(&served, "a.csv")), 75, &["503"], &[]).await;
    let served = serve(Ways { page: true, ..GOOD }, "<html>Log in</html>").await;
    fails(&pipeline(from(&served, "a.csv")), 2, &["web page", "login"], &[]).await;
    let mut gone = from(&served, "a.csv");
    gone["path"] = json!(format!("{}/elsewhere/a.csv", served.url));
    fails(
        &pipeline(gone),
        2,
        &["elsewhere/a.csv", "do not list their files"],
        &[],
    )
    .await;
}
