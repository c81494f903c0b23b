//! What is sent, and how fast.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::stand::{Reading, Stand, ok, people};

#[tokio::test(flavor = "multi_thread")]
async fn a_value_stays_one_segment_and_one_parameter() {
    let stand = Stand::script([
        ("GET /v1/a%2F..%2F%3Fb/x?q=1%262&n=2", ok(people([1]))),
        ("GET /v1/%C3%A9%20%23%25/x?q=1%262&n=2", ok(people([2]))),
    ])
    .await;
    let settings = json!({
        "request": {"path": "{part}/x", "query": {"q": "{q}", "n": 2}},
        "for_each": {"values": {"q": ["1&2"], "part": ["a/../?b", "é #%"]}, "max_parallel": 1},
    });
    let ran = Reading::new(&stand, settings).run().await;
    stand.done();
    assert_eq!(ran.good(), ["1", "2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_forms_bodies_and_headers() {
    let stand = Stand::script([("GET /v1/people?f=a&f=b&on=true", ok(people([1])))]).await;
    let request = json!({
        "path": "/people", "query": {"f": ["a", "b"], "on": true},
        "headers": {"Accept": "application/json;v=2", "X-Tenant": "contoso"},
    });
    let auth = json!({"type": "basic", "username": "u", "placeholder_password": "x"});
    let ran = Reading::new(&stand, json!({"request": request, "auth": auth}))
        .run()
        .await;
    stand.done();
    assert_eq!(ran.good(), ["1"]);
    let asked = stand.asked().pop().unwrap();
    assert_eq!(
        [
            asked.header("accept"),
            asked.header("x-tenant"),
            asked.header("authorization")
        ],
        ["application/json;v=2", "contoso", "Basic dTp4"]
    );

    for (request, line, kind) in [
        (
            json!({"path": "people", "form": {"a": "x y&z", "b": [1, 2]}}),
            "POST /v1/people a=x+y%26z&b=1&b=2",
            "application/x-www-form-urlencoded",
        ),
        (
            json!({"path": "people", "json": {"all": true, "n": [1, null]}}),
            r#"POST /v1/people {"all":true,"n":[1,null]}"#,
            "application/json",
        ),
    ] {
        let stand = Stand::script([(line, ok(people([1])))]).await;
        let ran = Reading::new(&stand, json!({"request": request})).run().await;
        stand.done();
        assert_eq!(ran.good(), ["1"]);
        assert_eq!(stand.asked()[0].header("content-type"), kind);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pace_is_never_exceeded() {
    let times: Arc<Mutex<Vec<Instant>>> = Arc::default();
    let noted = times.clone();
    let stand = Stand::by(move |_| {
        noted.lock().unwrap().push(Instant::now());
        async { ok(people([1])) }
    })
    .await;
    let values: Vec<u64> = (0..18).collect();
    let settings = json!({
        "request": {"path": "{c}"}, "for_each": {"values": {"c": values}, "max_parallel": 8},
        "rate_limit": {"limits": ["5/300ms"]},
    });
    assert_eq!(Reading::new(&stand, settings).run().await.good().len(), 18);
    let times = times.lock().unwrap().clone();
    for pair in times.windows(6) {
        // The way there may be shorter for the later one.
        assert!(
            pair[5] - pair[0] >= Duration::from_millis(200),
            "six requests within the time of five"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn max_concurrent_holds_for_the_host() {
    let under_way = Arc::new(Mutex::new((0_u32, 0_u32)));
    let noted = under_way.clone();
    let stand = Stand::by(move |_| {
        let noted = noted.clone();
        async move {
            {
                let mut seen = noted.lock().unwrap();
                seen.0 += 1;
                seen.1 = seen.1.max(seen.0);
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
            noted.lock().unwrap().0 -= 1;
            ok(people([1]))
        }
    })
    .await;
    let values: Vec<u64> = (0..16).collect();
    let settings = json!({
        "request": {"path": "{c}"}, "for_each": {"values": {"c": values}, "max_parallel": 8},
        "rate_limit": {"max_concurrent": 2},
    });
    assert_eq!(Reading::new(&stand, settings).run().await.good().len(), 16);
    assert_eq!(under_way.lock().unwrap().1, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_is_asked_in_place_of_the_service() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = format!("http://{}", listener.local_addr().unwrap());
    let line = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\nconnection: close\r\n\r\n[{\"id\":1}]";
        stream.write_all(answer).await.unwrap();
        String::from_utf8(head)
            .unwrap()
            .lines()
            .next()
            .unwrap()
            .to_owned()
    });
    let stand = Stand::script(Vec::<(&str, _)>::new()).await;
    let ran = Reading::new(&stand, json!({"connection": {"proxy": proxy}}))
        .run()
        .await;
    stand.done();
    assert_eq!(ran.good(), ["1"]);
    assert_eq!(
        line.await.unwrap(),
        format!("GET {}/v1/people HTTP/1.1", stand.url)
    );
}
