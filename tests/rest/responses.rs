//! Responses that are not a page, or not at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use test_server::{Reply, Server, Step};

use crate::fixture::{PEOPLE, Pipeline, Ran, people};

async fn run<S: Into<Step>>(settings: Value, steps: impl IntoIterator<Item = S>) -> Ran {
    let server = Server::expect(steps.into_iter().map(|step| (PEOPLE, step)));
    let ran = Pipeline::new(&server, settings).run().await;
    server.finish();
    ran
}

fn good() -> Step {
    Reply::ok(people([1, 2, 3])).into()
}

fn error(status: u16, message: &str) -> Step {
    Reply::new(status)
        .json(&json!({"error": {"message": message}}))
        .into()
}

const CUT: &str = r#"[{"id":1},{"id":2},{"i"#;

#[tokio::test(flavor = "multi_thread")]
async fn retries_transient_failures_without_losing_or_repeating_rows() {
    let steps: Vec<Step> = vec![
        Reply::new(503).into(),
        Reply::new(500).into(),
        Reply::new(408).into(),
        Reply::new(429).header("retry-after", "0").into(),
        Reply::text(CUT).into(),
        Reply::text(CUT).break_after_body(),
        Step::CloseAfterBody,
    ];
    for first in steps {
        let ran = run(json!({}), [first, good()]).await;
        assert_eq!(ran.good(), ["1", "2", "3"]);
    }
    for step in [
        Reply::new(503).into(),
        Reply::text(CUT).into(),
        Reply::text(CUT).break_after_body(),
    ] {
        let step: Step = step;
        let ran = run(json!({}), [step.clone(), step.clone(), step]).await;
        ran.failed(75, &["/v1/people"]);
        assert!(ran.rows.is_empty());
    }
}

/// Larger than what a page keeps in memory.
#[tokio::test(flavor = "multi_thread")]
async fn retries_large_pages_that_are_aborted() {
    let padding = "x".repeat(1 << 10);
    let record = |id: u64| json!({"id": id, "padding": padding});
    let text = Value::from((0..12_000).map(record).collect::<Vec<_>>()).to_string();
    for columns in [json!({"id": "integer"}), Value::Null] {
        let settings = match columns {
            Value::Null => json!({}),
            columns => json!({"columns": columns}),
        };
        let half = Reply::text(&text).truncate(text.len() - 100);
        let ran = run(settings, [half, Reply::text(&text).into()]).await;
        let ids: Vec<String> = (0..12_000).map(|id| id.to_string()).collect();
        assert_eq!(ran.good(), ids);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn waits_as_long_as_the_service_requests() {
    let requests = Arc::new(std::sync::Mutex::new(Vec::new()));
    let times = requests.clone();
    let server = Server::handler(move |_| {
        let mut times = times.lock().unwrap();
        times.push(Instant::now());
        let first = times.len() == 1;
        async move {
            match first {
                true => Reply::new(429).header("retry-after", "1"),
                false => Reply::ok(people([1])),
            }
        }
    });
    let settings = json!({
        "request": {"path": "{c}"}, "for_each": {"values": {"c": ["a", "b", "c", "d"]}, "max_concurrent": 1},
        "rate_limit": {"max_concurrent": 1},
    });
    let ran = Pipeline::new(&server, settings).run().await;
    assert_eq!(ran.good().len(), 4);
    let times = requests.lock().unwrap().clone();
    assert_eq!(times.len(), 5);
    assert!(times[1] - times[0] >= Duration::from_millis(950));

    let settings = json!({"retry": {"max_elapsed": "20s"}});
    let ran = run(settings, [Reply::new(429).header("retry-after", "90")]).await;
    ran.failed(75, &["1m 30s", "`retry.max_elapsed` (20s)"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_refusals_in_the_words_of_the_service() {
    for status in [403, 401, 404, 400] {
        let ran = run(json!({}), [error(status, "because of moon")]).await;
        ran.failed(5, &["because of moon", &status.to_string()]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn renews_a_rejected_token_once() {
    for (accepted, max_attempts, code) in [("Bearer token-1", 1, 0), ("Bearer token-1", 3, 0), ("none", 3, 5)]
    {
        let tokens = Arc::new(AtomicUsize::new(0));
        let issued = tokens.clone();
        let server = Server::handler(move |request| {
            let token = request.header("authorization").unwrap_or_default().to_owned();
            let reply = if request.path == "/token" {
                let token = format!("token-{}", issued.fetch_add(1, Ordering::SeqCst));
                Reply::ok(json!({"access_token": token, "token_type": "Bearer", "expires_in": 3600}))
            } else if token == accepted {
                Reply::ok(people([1]))
            } else {
                Reply::new(401).json(&json!({"message": format!("no good: {token} or token-0")}))
            };
            async move { reply }
        });
        let settings = json!({
            "retry": {"max_attempts": max_attempts},
            "auth": {
                "type": "oauth2_client_credentials", "token_url": format!("{}/token", server.url()),
                "client_id": "app", "client_secret": {"env": "HRSINK_TEST_SECRET"},
            },
        });
        let env = [("HRSINK_TEST_SECRET", "marker-of-the-secret")];
        let ran = Pipeline::new(&server, settings).program(&env).await;
        assert_eq!(ran.code, code, "{}", ran.text);
        assert_eq!(tokens.load(Ordering::SeqCst), 2);
        assert_eq!(server.lines().iter().filter(|line| *line == PEOPLE).count(), 2);
        assert!(
            !ran.text.contains("token-1") && !ran.text.contains("marker-of"),
            "{}",
            ran.text
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn applies_response_actions_by_body_header_and_text() {
    let settings = |when: Value, action: &str| {
        let actions = json!([{"when": when, "action": action, "message": "see the manual"}]);
        json!({"response_actions": actions, "records": {"path": "$.d"}})
    };
    let page = || Reply::ok(json!({"d": people([1])}));
    let busy = json!({"body": {"path": "$.success", "equals": false}});
    let failed = || Reply::ok(json!({"success": false, "error": {"message": "quota is spent"}}));

    // The body has no records: the action decides, not the missing path.
    let ran = run(settings(busy.clone(), "fail"), [failed()]).await;
    ran.failed(5, &["quota is spent", "see the manual", "response_actions[0]"]);
    let state = json!({"header": {"name": "X-State", "equals": "busy"}});
    let text = json!({"text": "(?i)maintenance"});
    let maintenance = Reply::new(200).body("<html><title>Maintenance</title></html>");
    for (when, action, first, expected) in [
        (busy.clone(), "retry", failed(), vec!["1"]),
        (state, "rate_limited", page().header("x-state", "busy"), vec!["1"]),
        (text, "retry", maintenance, vec!["1"]),
        (busy, "empty", failed(), vec![]),
        (
            json!({"status": [404], "text": "no rows"}),
            "empty",
            Reply::new(404).body("no rows today"),
            vec![],
        ),
    ] {
        let steps = match expected.is_empty() {
            true => vec![first],
            false => vec![first, page()],
        };
        assert_eq!(run(settings(when, action), steps).await.good(), expected);
    }
    let ran = run(
        json!({"records": {"path": "$.d"}}),
        [error(200, "the report is off")],
    )
    .await;
    ran.failed(2, &["has no member `d`", "the report is off"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn describes_bodies_that_are_not_json() {
    let kind = |kind: &str, body: &str| Reply::new(200).header("content-type", kind).body(body);
    let redirect = Reply::new(302).header("location", "https://login.contoso.com/?x=1");
    for (reply, expected) in [
        (
            kind("text/html", "<!DOCTYPE html><title>Sign in</title>"),
            ["Sign in", "login"],
        ),
        (
            kind("application/xml", "<?xml version=\"1.0\"?><a/>"),
            ["XML", "application/json"],
        ),
        (Reply::text(""), ["body is empty", "/v1/people"]),
        (redirect, ["redirects are not followed", "login.contoso.com"]),
    ] {
        run(json!({}), [reply]).await.failed(2, &expected);
    }
    let ran = run(json!({}), [kind("text/plain", "[{\"id\":1}]")]).await;
    assert_eq!(ran.good(), ["1"], "the content type does not matter");
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    std::io::Write::write_all(&mut gzip, br#"[{"id":1}]"#).unwrap();
    let compressed = Reply::new(200)
        .header("content-encoding", "gzip")
        .body(gzip.finish().unwrap());
    assert_eq!(run(json!({}), [compressed]).await.good(), ["1"]);
    let long = format!(r#"[{{"id":1,"note":"{}"}}]"#, "n".repeat(17 << 20));
    run(json!({}), [Reply::text(&long)])
        .await
        .failed(2, &["larger than 16777216 bytes"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_run_ends_while_a_response_is_slow() {
    let body = Reply::text(r#"[{"id":1}]"#);
    for step in [Step::Stall, Step::Trickle(body, Duration::from_secs(60))] {
        let server = Server::script([step]);
        let pipeline = Pipeline::new(&server, json!({}));
        let cancel = pipeline.options.cancel.clone();
        let ran = tokio::join!(pipeline.run(), async {
            while server.lines().is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            cancel.cancel();
        });
        assert_eq!(ran.0.code, 130, "{}", ran.0.text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn shows_neither_secrets_nor_personal_data() {
    let server = Server::handler(|request| async move {
        match request.path.starts_with("/v1/ids") {
            true => Reply::ok(json!([{"id": "Marker-key-77"}])),
            false => Reply::new(400).json(&json!({
                "message": "Marker-key-77 and Marker-header-1 and planted@contoso.com are bad",
            })),
        }
    });
    let settings = json!({
        "request": {
            "path": "people/{x}", "query": {"q": "Marker-query"},
            "headers": {"X-Customer": {"env": "HRSINK_TEST_HEADER"}},
        },
        "auth": {"type": "api_key", "query": "api_key", "value": {"env": "HRSINK_TEST_KEY"}},
        "for_each": {"parent": {"request": {"path": "ids"}}, "key": {"x": "$.id"}},
    });
    let env = [
        ("HRSINK_TEST_HEADER", "Marker-header-1"),
        ("HRSINK_TEST_KEY", "Marker-api-key"),
    ];
    let ran = Pipeline::new(&server, settings).program(&env).await;
    ran.failed(5, &["400", "/v1/people/{x}"]);
    assert!(
        !ran.text.contains("Marker") && !ran.text.contains("planted"),
        "{}",
        ran.text
    );
    let last = server.requests().pop().unwrap();
    assert_eq!(
        last.path,
        "/v1/people/Marker-key-77?q=Marker-query&api_key=Marker-api-key"
    );
    assert_eq!(last.header("x-customer"), Some("Marker-header-1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_retries_with_source_and_url() {
    let server = Server::expect([(PEOPLE, Reply::new(503)), (PEOPLE, Reply::ok(people([1])))]);
    let ran = Pipeline::new(&server, json!({})).program(&[]).await;
    server.finish();
    ran.good();
    let line = ran.text.lines().find(|line| line.contains("503"));
    let line = line.unwrap_or_else(|| panic!("{}", ran.text));
    assert!(
        line.contains("GET http://") && line.contains("/v1/people") && line.contains("api"),
        "{line}"
    );
}
