//! Each fault, as a client meets it.

use super::*;

#[tokio::test]
async fn injected_statuses_save_nothing_and_carry_retry_after() {
    let bench = Bench::with_faults("429=nth:1,503=nth:2,500=nth:3,retry_after=2s").await;
    let token = bench.token().await;
    let mut seen = Vec::new();
    for _ in 0..4 {
        let response = bench.send(&token, JOB, file(GOOD)).await.unwrap();
        let wait = response
            .headers()
            .get("retry-after")
            .map(|v| v.to_str().unwrap().to_owned());
        seen.push((response.status().as_u16(), wait));
    }
    let two = Some("2".to_owned());
    assert_eq!(seen, [(429, two.clone()), (503, two), (500, None), (200, None)]);
    assert_eq!(bench.emulator.imports().len(), 1);
    assert_eq!(bench.emulator.status().injected.values().sum::<u64>(), 3);
}

#[tokio::test]
async fn retry_after_may_be_a_date() {
    let bench = Bench::with_faults("429=1,retry_after=date:30s").await;
    let response = bench.upload(GOOD).await.unwrap();
    httpdate::parse_http_date(response.headers()["retry-after"].to_str().unwrap()).unwrap();
}

/// What a client that knows nothing of HTTP libraries gets back.
async fn raw_answer(bench: &Bench, request: &str) -> Vec<u8> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(bench.emulator.address())
        .await
        .unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // The connection may be reset instead of closed: no answer either way.
    drop(stream.read_to_end(&mut answer).await);
    answer
}

#[tokio::test]
async fn a_drop_before_the_body_saves_nothing() {
    let bench = Bench::with_faults("drop_before=first:1").await;
    let error = bench.upload(GOOD).await.unwrap_err();
    assert!(error.is_request() && error.status().is_none(), "{error:?}");
    assert!(bench.rows().is_empty());
    assert_eq!(bench.upload_status(GOOD).await, 200);
}

#[tokio::test]
async fn a_drop_after_the_body_saves_the_rows() {
    let bench = Bench::with_faults("drop_after=first:1").await;
    let error = bench.upload(GOOD).await.unwrap_err();
    assert!(error.is_request() && error.status().is_none(), "{error:?}");
    assert_eq!(bench.rows().len(), 2);
}

#[tokio::test]
async fn a_dropped_connection_gets_not_one_byte() {
    for fault in ["drop_before=1", "drop_after=1"] {
        let bench = Bench::with_faults(fault).await;
        let request = "POST /api/signals HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\nabc";
        assert_eq!(raw_answer(&bench, request).await, b"", "{fault}");
    }
}

#[tokio::test(start_paused = true)]
async fn latency_holds_the_answer_back_but_not_the_rows() {
    let bench = Bench::with_faults("latency=50s,token_latency=7s").await;
    let start = tokio::time::Instant::now();
    let token = bench.token().await;
    assert!(start.elapsed() >= Duration::from_secs(7));
    let start = tokio::time::Instant::now();
    let mut send = std::pin::pin!(bench.send(&token, JOB, file(GOOD)));
    // A client that gives up waiting: its rows are there all the same.
    tokio::time::timeout(Duration::from_secs(40), send.as_mut())
        .await
        .unwrap_err();
    assert_eq!(bench.rows().len(), 2);
    assert_eq!(send.await.unwrap().status(), StatusCode::OK);
    assert!(start.elapsed() >= Duration::from_secs(50));
}

#[tokio::test]
async fn the_token_endpoint_has_faults_of_its_own() {
    let bench = Bench::with_faults("token_503=nth:1,token_drop=nth:2,retry_after=1s,token_400=nth:3").await;
    let form = credentials(APP, SECRET, RESOURCE);
    let busy = bench.ask(TENANT, &form).await.unwrap();
    assert_eq!(
        (busy.status().as_u16(), &busy.headers()["retry-after"]),
        (503, &"1".parse().unwrap())
    );
    assert!(bench.ask(TENANT, &form).await.unwrap_err().is_request());
    assert_eq!(
        bench.ask(TENANT, &form).await.unwrap().status(),
        StatusCode::BAD_REQUEST
    );
    assert_eq!(bench.upload_status(GOOD).await, 200);
    assert_eq!(bench.emulator.status().tokens_issued, 1);
}

#[tokio::test]
async fn a_token_can_wear_out() {
    let bench = Bench::with_faults("token_expires=uses:2").await;
    let token = bench.token().await;
    let mut statuses = Vec::new();
    for _ in 0..3 {
        statuses.push(
            bench
                .send(&token, JOB, file(GOOD))
                .await
                .unwrap()
                .status()
                .as_u16(),
        );
    }
    assert_eq!(statuses, [200, 200, 401]);
    assert_eq!(bench.upload_status(GOOD).await, 200);
}

#[tokio::test(start_paused = true)]
async fn a_token_can_end_before_its_stated_lifetime() {
    let bench = Bench::with_faults("token_expires=5s").await;
    let form = credentials(APP, SECRET, RESOURCE);
    let answer: Value = bench.ask(TENANT, &form).await.unwrap().json().await.unwrap();
    assert_eq!(answer["expires_in"], "3599");
    tokio::time::advance(Duration::from_secs(6)).await;
    let token = answer["access_token"].as_str().unwrap();
    assert_eq!(
        bench.send(token, JOB, file(GOOD)).await.unwrap().status(),
        StatusCode::UNAUTHORIZED
    );
}

#[tokio::test]
async fn faults_change_at_run_time() {
    let bench = Bench::open().await;
    let put = async |body: &'static str| {
        let response = bench
            .client
            .put(bench.url("/faults"))
            .body(body)
            .send()
            .await
            .unwrap();
        (
            response.status().as_u16(),
            response.json::<Value>().await.unwrap(),
        )
    };
    let (status, answer) = put("500=first:1").await;
    assert_eq!((status, &answer["faults"]), (200, &"500=first:1".into()));
    assert_eq!(bench.upload_status(GOOD).await, 500);
    assert_eq!(bench.upload_status(GOOD).await, 200);
    assert_eq!(put(r#"{"500": "first:1", "429": 0}"#).await.0, 200);
    assert_eq!(bench.upload_status(GOOD).await, 500);

    let (status, answer) = put("drop_aftr=first:1").await;
    assert_eq!(status, 400);
    assert!(
        answer["error"]
            .as_str()
            .unwrap()
            .contains("did you mean `drop_after`")
    );
    // What was in force stays in force.
    assert!(bench.emulator.status().faults.contains("500=first:1"));
    bench.emulator.set_faults(Faults::default());
    assert_eq!(bench.emulator.status().faults, "");
}
