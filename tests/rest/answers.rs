//! What becomes of answers that are no pages, or not at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::stand::{Answer, Reading, Stand, ok, people, raw, status, text};

const PEOPLE: &str = "GET /v1/people";

async fn with(settings: Value, answers: Vec<Answer>) -> crate::stand::Ran {
    let stand = Stand::script(answers.into_iter().map(|answer| (PEOPLE, answer))).await;
    let ran = Reading::new(&stand, settings).run().await;
    stand.done();
    ran
}

#[tokio::test(flavor = "multi_thread")]
async fn what_passes_is_tried_again() {
    for first in [
        status(503),
        status(500),
        status(408),
        status(429).header("retry-after", "0"),
        text(r#"[{"id":1},{"id":2},{"i"#),
        text(r#"[{"id":1},{"id":2},{"i"#).breaks(),
    ] {
        let ran = with(json!({}), vec![first, ok(people([1, 2, 3]))]).await;
        assert_eq!(ran.good(), ["1", "2", "3"], "no row is lost or there twice");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_pass_in_time_is_exit_75() {
    for answer in [
        status(503),
        text(r#"[{"id":1},{"i"#),
        text(r#"[{"id":1},"#).breaks(),
    ] {
        let ran = with(json!({}), vec![answer.clone(), answer.clone(), answer]).await;
        ran.failed(75, &["/v1/people"]);
        assert!(ran.rows.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_time_that_a_service_asks_for_is_waited_and_by_all() {
    let asked = Arc::new(AtomicUsize::new(0));
    let held = Arc::new(std::sync::Mutex::new(Vec::new()));
    let (count, times) = (asked.clone(), held.clone());
    let stand = Stand::by(move |_| {
        let number = count.fetch_add(1, Ordering::SeqCst);
        times.lock().unwrap().push(Instant::now());
        async move {
            match number {
                0 => status(429).header("retry-after", "1"),
                _ => ok(people([1])),
            }
        }
    })
    .await;
    let settings = json!({
        "request": {"path": "{c}"}, "for_each": {"values": {"c": ["a", "b", "c", "d"]}, "max_parallel": 1},
        "rate_limit": {"max_concurrent": 1},
    });
    let ran = Reading::new(&stand, settings).run().await;
    assert_eq!(ran.good().len(), 4);
    let times = held.lock().unwrap().clone();
    assert_eq!(times.len(), 5);
    assert!(times[1] - times[0] >= Duration::from_millis(950));
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_told_once_and_in_the_services_words() {
    for (code, told) in [
        (403, "check the rights"),
        (401, "check `auth`"),
        (404, "check `base_url`"),
        (400, "400"),
    ] {
        let answer = raw(
            code,
            "application/json",
            r#"{"error":{"message":"because of moon"}}"#,
        );
        with(json!({}), vec![answer])
            .await
            .failed(5, &["because of moon", told]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_renewed_once() {
    for (second_holds, code) in [(true, 0), (false, 5)] {
        let tokens = Arc::new(AtomicUsize::new(0));
        let given = tokens.clone();
        let stand = Stand::by(move |asked| {
            let given = given.clone();
            async move {
                if asked.line.starts_with("POST /token") {
                    let token = format!("token-{}", given.fetch_add(1, Ordering::SeqCst));
                    return ok(json!({"access_token": token, "token_type": "Bearer", "expires_in": 3600}));
                }
                match asked.header("authorization") {
                    "Bearer token-1" if second_holds => ok(people([1])),
                    token => raw(
                        401,
                        "application/json",
                        json!({"message": format!("no good: {token} or token-0")}).to_string(),
                    ),
                }
            }
        })
        .await;
        let auth = json!({
            "type": "oauth2_client_credentials", "token_url": format!("{}/token", stand.url),
            "client_id": "app", "client_secret": {"env": "HRSINK_TEST_SECRET"},
        });
        let ran = Reading::new(&stand, json!({"auth": auth}))
            .program(&[("HRSINK_TEST_SECRET", "marker-of-the-secret")])
            .await;
        assert_eq!(ran.code, code, "{}", ran.told);
        assert_eq!(tokens.load(Ordering::SeqCst), 2);
        assert_eq!(stand.lines().iter().filter(|line| *line == PEOPLE).count(), 2);
        assert!(
            !ran.told.contains("token-1") && !ran.told.contains("marker-of"),
            "{}",
            ran.told
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_decide_by_body_header_and_text() {
    let rule = |when: Value, then: &str| json!({"response_actions": [{"when": when, "action": then, "message": "see the manual"}], "records": {"path": "$.d"}});
    let good = || ok(json!({"d": people([1])}));
    let busy = json!({"body": {"path": "$.success", "equals": false}});
    let failed = || ok(json!({"success": false, "error": {"message": "quota is spent"}}));

    // The body has no records: the rule decides, not the path that leads nowhere.
    let ran = with(rule(busy.clone(), "fail"), vec![failed()]).await;
    ran.failed(5, &["quota is spent", "see the manual", "response_actions[0]"]);
    assert_eq!(
        with(rule(busy.clone(), "retry"), vec![failed(), good()])
            .await
            .good(),
        ["1"]
    );
    assert!(with(rule(busy, "empty"), vec![failed()]).await.good().is_empty());

    let when = json!({"header": {"name": "X-State", "equals": "busy"}});
    let answer = good().header("x-state", "busy");
    assert_eq!(
        with(rule(when, "rate_limited"), vec![answer, good()])
            .await
            .good(),
        ["1"]
    );

    let when = json!({"text": "(?i)maintenance"});
    let page = raw(200, "text/html", "<html><title>Maintenance</title></html>");
    assert_eq!(with(rule(when, "retry"), vec![page, good()]).await.good(), ["1"]);

    let when = json!({"status": [404], "text": "no rows"});
    let answer = raw(404, "text/plain", "no rows today");
    assert!(with(rule(when, "empty"), vec![answer]).await.good().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_in_a_good_answer_is_told_without_a_rule_too() {
    let settings = json!({"records": {"path": "$.d"}});
    let ran = with(
        settings,
        vec![ok(json!({"error": {"message": "the report is off"}}))],
    )
    .await;
    ran.failed(2, &["has no member `d`", "the report is off"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_json_is_told_for_what_it_is() {
    let ran = with(
        json!({}),
        vec![raw(200, "text/html", "<!DOCTYPE html><title>Sign in</title>")],
    )
    .await;
    ran.failed(2, &["Sign in", "login"]);
    let ran = with(
        json!({}),
        vec![raw(200, "application/xml", "<?xml version=\"1.0\"?><a/>")],
    )
    .await;
    ran.failed(2, &["XML", "application/json"]);
    with(json!({}), vec![text("")])
        .await
        .failed(2, &["the body is empty"]);
    let ran = with(
        json!({}),
        vec![raw(302, "text/plain", "").header("location", "https://login.contoso.com/?x=1")],
    )
    .await;
    ran.failed(2, &["redirects are not followed", "login.contoso.com"]);
    let ran = with(json!({}), vec![raw(200, "text/plain", "[{\"id\":1}]")]).await;
    assert_eq!(ran.good(), ["1"], "JSON is JSON whatever it is called");
}

#[tokio::test(flavor = "multi_thread")]
async fn compressed_answers_and_records_that_are_too_long() {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    std::io::Write::write_all(&mut packed, br#"[{"id":1}]"#).unwrap();
    let answer = raw(200, "application/json", packed.finish().unwrap()).header("content-encoding", "gzip");
    assert_eq!(with(json!({}), vec![answer]).await.good(), ["1"]);

    let long = json!([{"id": 1, "note": "n".repeat(3000)}]);
    let ran = with(json!({"connection": {"max_record": "1KiB"}}), vec![ok(long)]).await;
    ran.failed(2, &["larger than 1024 bytes"]);
    let body = json!({"d": [{"id": 1, "note": "n".repeat(3000)}]});
    let settings = json!({"connection": {"max_buffered_page": "1KiB"}, "records": {"path": "$..d"}});
    with(settings, vec![ok(body)])
        .await
        .failed(2, &["larger than 1024 bytes"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_cancelled_ends_while_an_answer_is_slow() {
    let stand = Stand::by(|_| async { ok(json!([])).late(Duration::from_secs(600)) }).await;
    let reading = Reading::new(&stand, json!({}));
    let cancel = reading.options.cancel.clone();
    let ran = tokio::join!(reading.run(), async {
        while stand.lines().is_empty() {
            tokio::task::yield_now().await;
        }
        cancel.cancel();
    });
    assert_eq!(ran.0.code, 130, "{}", ran.0.told);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_personal_is_told() {
    let stand = Stand::by(|asked| async move {
        if asked.line.starts_with("GET /v1/ids") {
            return ok(json!([{"id": "Marker-key-77"}]));
        }
        raw(
            400,
            "application/json",
            r#"{"message":"Marker-key-77 and Marker-header-1 and planted@contoso.com are bad"}"#,
        )
    })
    .await;
    let settings = json!({
        "request": {
            "path": "people/{x}", "query": {"q": "Marker-query"},
            "headers": {"X-Customer": {"env": "HRSINK_TEST_HEADER"}},
        },
        "auth": {"type": "api_key", "query": "api_key", "value": {"env": "HRSINK_TEST_KEY"}},
        "for_each": {"parent": {"request": {"path": "ids"}}, "key": {"x": "$.id"}},
    });
    let reading = Reading::new(&stand, settings);
    let env = [
        ("HRSINK_TEST_HEADER", "Marker-header-1"),
        ("HRSINK_TEST_KEY", "Marker-api-key"),
    ];
    let ran = reading.program(&env).await;
    ran.failed(5, &["are bad", "/v1/people/{x}"]);
    assert!(
        !ran.told.contains("Marker") && !ran.told.contains("planted"),
        "{}",
        ran.told
    );
    let last = stand.asked().pop().unwrap();
    assert_eq!(
        last.line,
        "GET /v1/people/Marker-key-77?q=Marker-query&api_key=Marker-api-key"
    );
    assert_eq!(last.header("x-customer"), "Marker-header-1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_that_is_too_long_is_told_with_the_setting() {
    let answer = status(429).header("retry-after", "90");
    let settings = json!({"retry": {"max_elapsed": "20s"}});
    with(settings, vec![answer])
        .await
        .failed(75, &["1m 30s", "`retry.max_elapsed` (20s)"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_tried_again_is_told_with_its_source_and_url() {
    let stand = Stand::script([(PEOPLE, status(503)), (PEOPLE, ok(people([1])))]).await;
    let ran = Reading::new(&stand, json!({})).program(&[]).await;
    stand.done();
    assert_eq!(ran.code, 0, "{}", ran.told);
    let told = ran.told.lines().find(|line| line.contains("trying again"));
    let told = told.unwrap_or_else(|| panic!("{}", ran.told));
    assert!(
        told.contains("GET http://") && told.contains("/v1/people") && told.contains("api"),
        "{told}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_token_is_renewed_whatever_the_number_of_attempts() {
    let token = |text: &str| ok(json!({"access_token": text, "expires_in": 3600}));
    let stand = Stand::by({
        let given = Arc::new(AtomicUsize::new(0));
        move |asked| {
            let number = if asked.line.starts_with("POST") {
                given.fetch_add(1, Ordering::SeqCst)
            } else {
                0
            };
            let answer = match (asked.line.starts_with("POST"), number) {
                (true, 0) => token("old"),
                (true, _) => token("new"),
                (false, _) if asked.header("authorization") == "Bearer new" => ok(people([1])),
                (false, _) => status(401),
            };
            async move { answer }
        }
    })
    .await;
    let mut reading = Reading::new(
        &stand,
        json!({
            "retry": {"max_attempts": 1},
            "auth": {
                "type": "oauth2_client_credentials", "token_url": format!("{}/token", stand.url),
                "client_id": "app", "client_secret": {"file": "secret"},
            },
        }),
    );
    std::fs::write(reading.path("secret"), "s3cret").unwrap();
    reading.options.secret_files = hrsink::secret::SecretFiles::any();
    assert_eq!(reading.run().await.good(), ["1"]);
    assert_eq!(stand.lines().len(), 4);
}
