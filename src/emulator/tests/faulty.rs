//! Each fault, from the client's side.

use super::*;

#[tokio::test]
async fn injects_statuses_with_retry_after_and_saves_nothing() {
    let bench = Bench::with_faults("429=nth:1,503=nth:2,500=nth:3,retry_after=2s").await;
    for (status, wait) in [(429, Some("2")), (503, Some("2")), (500, None), (200, None)] {
        let response = bench.upload(GOOD).await.unwrap();
        assert_eq!(response.status().as_u16(), status);
        let header = response.headers().get("retry-after");
        assert_eq!(header.map(|value| value.to_str().unwrap()), wait);
    }
    assert_eq!(bench.emulator.imports().len(), 1);
    assert_eq!(bench.emulator.status().injected.values().sum::<u64>(), 3);
    let bench = Bench::with_faults("429=1,retry_after=date:60s").await;
    let response = bench.upload(GOOD).await.unwrap();
    let date = response.headers()["retry-after"].to_str().unwrap();
    let soon = std::time::SystemTime::now() + Duration::from_secs(50);
    assert!(httpdate::parse_http_date(date).unwrap() > soon);
}

#[tokio::test]
async fn sends_no_byte_on_a_dropped_connection() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    for fault in ["drop_before=1", "drop_after=1"] {
        let bench = Bench::with_faults(fault).await;
        let mut stream = tokio::net::TcpStream::connect(bench.emulator.address())
            .await
            .unwrap();
        let request = b"POST /api/signals HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\nabc";
        stream.write_all(request).await.unwrap();
        let mut response = Vec::new();
        // The connection is either closed or reset.
        drop(stream.read_to_end(&mut response).await);
        assert_eq!(response, b"", "{fault}");
    }
}

#[tokio::test(start_paused = true)]
async fn expires_tokens_before_their_stated_lifetime() {
    let bench = Bench::with_faults("token_expires=5s").await;
    let response = bench.token_json(&credentials(APP, SECRET, RESOURCE)).await;
    assert_eq!(response["expires_in"], "3599");
    tokio::time::advance(Duration::from_secs(6)).await;
    let token = response["access_token"].as_str().unwrap();
    assert_eq!(bench.status(token, JOB, file(GOOD)).await, 401);
}

#[tokio::test]
async fn replaces_faults_at_run_time() {
    let bench = Bench::open().await;
    let put = async |body: &'static str| {
        let request = bench.client.put(bench.url("/faults")).body(body);
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        (status, response.text().await.unwrap())
    };
    assert_eq!(put(r#"{"500": "first:1", "429": 0}"#).await.0, 200);
    assert_eq!(bench.upload_status(GOOD).await, 500);

    let (status, body) = put("drop_aftr=first:1").await;
    assert_eq!(status, 400);
    assert!(body.contains("did you mean `drop_after`"), "{body}");
    // The previous faults remain.
    assert!(bench.emulator.status().faults.contains("500=first:1"));
}
