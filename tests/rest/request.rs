//! What is sent, and how fast.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::json;
use test_server::{Reply, Server};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::fixture::{Pipeline, people};

#[tokio::test(flavor = "multi_thread")]
async fn sends_encoded_values_headers_and_bodies() {
    let basic = json!({"type": "basic", "username": "u", "password": {"file": "password"}});
    let parts = json!({"values": {"q": ["1&2"], "part": ["a/../?b"]}});
    for (settings, line, header, expected) in [
        (
            json!({"request": {"path": "{part}/x", "query": {"q": "{q}", "n": 2}}, "for_each": parts}),
            "GET /v1/a%2F..%2F%3Fb/x?q=1%262&n=2",
            "accept",
            "*/*",
        ),
        (
            json!({"request": {"path": "/people", "query": {"f": ["a", "b"], "on": true}}, "auth": basic}),
            "GET /v1/people?f=a&f=b&on=true",
            "authorization",
            "Basic dTp4",
        ),
        (
            json!({"request": {"path": "people", "headers": {"Accept": "application/json;v=2"}}}),
            "GET /v1/people",
            "accept",
            "application/json;v=2",
        ),
        (
            json!({"request": {"path": "people", "form": {"a": "x y&z", "b": [1, 2]}}}),
            "POST /v1/people a=x+y%26z&b=1&b=2",
            "content-type",
            "application/x-www-form-urlencoded",
        ),
    ] {
        let server = Server::expect([(line, Reply::ok(people([1])))]);
        let pipeline = Pipeline::new(&server, settings);
        pipeline.write_secret("password", "x");
        assert_eq!(pipeline.run().await.good(), ["1"]);
        assert_eq!(server.finish()[0].header(header), Some(expected));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn never_exceeds_the_rate_limit() {
    let times: Arc<Mutex<Vec<Instant>>> = Arc::default();
    let requests = times.clone();
    let server = Server::handler(move |_| {
        requests.lock().unwrap().push(Instant::now());
        async { Reply::ok(people([1])) }
    });
    let values: Vec<u64> = (0..18).collect();
    let settings = json!({
        "request": {"path": "{c}"}, "for_each": {"values": {"c": values}, "max_concurrent": 8},
        "rate_limit": {"limits": ["5/300ms"]},
    });
    assert_eq!(Pipeline::new(&server, settings).run().await.good().len(), 18);
    for window in times.lock().unwrap().windows(6) {
        // A later request may arrive faster.
        assert!(window[5] - window[0] >= Duration::from_millis(200));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sends_requests_to_the_proxy() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = format!("http://{}", listener.local_addr().unwrap());
    let accept = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        let reply = b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\nconnection: close\r\n\r\n[{\"id\":1}]";
        stream.write_all(reply).await.unwrap();
        String::from_utf8(head).unwrap()
    };
    let server = Server::script(Vec::<Reply>::new());
    let pipeline = Pipeline::new(&server, json!({"proxy": proxy}));
    let (ran, head) = tokio::join!(pipeline.run(), accept);
    assert_eq!(ran.good(), ["1"]);
    assert!(
        head.starts_with(&format!("GET {}/v1/people HTTP/1.1", server.url())),
        "{head}"
    );
}
