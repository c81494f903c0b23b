//! S3, as moto speaks it.

use serde_json::{Value, json};

use crate::data::{csv, delivers, fails, parquet, pipeline, wide_csv};
use crate::external::enabled;
use crate::proxy::Proxy;
use crate::servers::{Server, moto, put};

fn source(url: &str, path: &str) -> Value {
    json!({
        "path": path,
        "s3": {
            "endpoint": url,
            "region": "eu-central-1",
            "access_key_id": {"file": "secret"},
            "secret_access_key": {"file": "secret"},
            "retry": {"max_attempts": 2, "initial_backoff": "10ms"},
        },
    })
}

fn server() -> Option<Server> {
    enabled("S3 with moto's server").then(|| moto(&[]))
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_csv_by_key_and_pattern_with_unusual_names() {
    let Some(server) = server() else { return };
    let store = server.bucket("hr-data").await;
    put(&*store, "exports/a.csv", csv(1..=3)).await;
    put(&*store, "exports/2026/Übergabe März 100%.csv", csv(4..=5)).await;
    put(&*store, "exports/2026/a+b %41&c=d [1].csv", csv(6..=6)).await;
    put(&*store, "exports/other.txt", "no").await;
    // What a console makes for a folder.
    put(&*store, "elsewhere/sub", "").await;

    let run = |path: &'static str, rows: std::ops::RangeInclusive<usize>| {
        let pipeline = pipeline(source(&server.url, path));
        async move { delivers(&pipeline, rows).await }
    };
    run("s3://hr-data/exports/a.csv", 1..=3).await;
    run("s3://hr-data/exports/*.csv", 1..=3).await;
    run("s3://hr-data/exports/2026/Übergabe März 100%.csv", 4..=5).await;
    run("s3://hr-data/exports/2026/a+b %41&c=d [[]1].csv", 6..=6).await;
    run("s3://hr-data/exports/2026/a+b %41&c=d [1].csv", 6..=6).await;
    run("s3a://hr-data/exports/2026/Ü*.csv", 4..=5).await;
    // In the order of keys: `+` is before `Ü`, a digit before a letter.
    let pipeline = pipeline(source(&server.url, "s3://hr-data/exports/**/*.csv"));
    delivers(&pipeline, [6, 4, 5, 1, 2, 3]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_large_objects_in_ranges() {
    let Some(server) = server() else { return };
    let store = server.bucket("hr-data").await;
    let (content, rows) = wide_csv(60 << 20);
    let hash = blake3::hash(content.as_bytes()).to_hex().to_string();
    let size = content.len() as u64;
    put(&*store, "large.csv", content).await;
    let proxy = Proxy::start(&server.url).await;
    let pipeline = pipeline(source(&proxy.url, "s3://hr-data/large.csv"));
    delivers(&pipeline, 1..=rows).await;
    assert_eq!(proxy.bytes_of("/hr-data/large.csv"), size);
    let log = proxy.log();
    let gets = log.iter().filter(|passed| passed.status == 206).count();
    assert!(gets >= 10, "{gets} requests");
    // The hash of what was read is kept in the ledger.
    let connection = rusqlite::Connection::open(pipeline.path(".hrsink/state.db")).unwrap();
    let query = "SELECT group_concat(position) FROM position";
    let positions: String = connection.query_row(query, [], |row| row.get(0)).unwrap();
    assert!(positions.contains(&hash), "{positions}");
}

#[tokio::test(flavor = "multi_thread")]
async fn fetches_only_used_parquet_columns() {
    let Some(server) = server() else { return };
    let store = server.bucket("hr-data").await;
    let file = parquet(60_000, 20_000, 12);
    let size = file.len() as u64;
    put(&*store, "lake/leavers.parquet", file).await;
    let proxy = Proxy::start(&server.url).await;
    let pipeline = pipeline(source(&proxy.url, "s3://hr-data/lake/*.parquet"));
    delivers(&pipeline, 1..=60_000).await;
    let fetched = proxy.bytes_of("/hr-data/lake/leavers.parquet");
    assert!(fetched * 10 < size, "{fetched} of {size}");
}

#[tokio::test(flavor = "multi_thread")]
async fn distinguishes_missing_buckets_and_files() {
    let Some(server) = server() else { return };
    let store = server.bucket("hr-data").await;
    put(&*store, "exports/terminations.csv", csv(1..=1)).await;
    let missing_bucket = &["NoSuchBucket", "check the bucket"];
    let missing_file = &["exports/leavers", "contains 1 file"];
    for (path, said) in [
        ("s3://nowhere/a.csv", missing_bucket),
        ("s3://nowhere/*.csv", missing_bucket),
        ("s3://hr-data/exports/leavers.csv", missing_file),
        ("s3://hr-data/exports/leavers-*.csv", missing_file),
    ] {
        fails(&pipeline(source(&server.url, path)), 2, said, &[]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_invalid_keys_without_showing_them() {
    if !enabled("S3 with moto's server") {
        return;
    }
    // The bucket is made without a login, everything after it needs one.
    let server = moto(&[("INITIAL_NO_AUTH_ACTION_COUNT", "1")]);
    server.bucket("hr-data").await;
    let pipeline = pipeline(source(&server.url, "s3://hr-data/*.csv"));
    let said = ["s3://hr-data", "403", "InvalidAccessKeyId"];
    fails(&pipeline, 5, &said, &["the-right-secret"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rejects_objects_overwritten_after_listing() {
    let Some(server) = server() else { return };
    let store = server.bucket("hr-data").await;
    put(&*store, "a.csv", csv(1..=3)).await;
    let direct = store.clone();
    let proxy = Proxy::with_hook(
        &server.url,
        Box::new(move |request| {
            let store = direct.clone();
            let reads = request.method() == "GET" && request.uri().path() == "/hr-data/a.csv";
            // As long as before.
            reads.then(|| Box::pin(async move { put(&*store, "a.csv", csv(4..=6)).await }) as _)
        }),
    )
    .await;
    let pipeline = pipeline(source(&proxy.url, "s3://hr-data/*.csv"));
    fails(&pipeline, 75, &["a.csv", "changed while it was read"], &[]).await;
}
