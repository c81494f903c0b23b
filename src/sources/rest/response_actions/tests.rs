//! What happens to answers.

use std::time::Duration;

use reqwest::header::HeaderMap;
use serde_json::{Value, json};

use super::super::json_path::ValuePaths;
use super::super::rate_limit::RateLimitConfig;
use super::decide::NeedsOfSuccess;
use super::{Action, Decision, Facts, RequestFailure, ResponseActionConfig, ResponseActions};
use crate::component::Problems;
use crate::error::ErrorKind;

fn problems(rules: &Value, skips: bool, renews: bool) -> Vec<String> {
    let rules: Vec<ResponseActionConfig> = match serde_json::from_value(rules.clone()) {
        Ok(rules) => rules,
        Err(error) => return vec![error.to_string()],
    };
    let mut found = Vec::new();
    ResponseActionConfig::validate_all(&rules, skips, renews, &mut Problems::new(&mut found));
    found.iter().map(ToString::to_string).collect()
}

fn compiled(rules: &Value) -> (ResponseActions, ValuePaths) {
    assert_eq!(problems(rules, true, true), [] as [String; 0]);
    let rules: Vec<ResponseActionConfig> = serde_json::from_value(rules.clone()).unwrap();
    let mut paths = ValuePaths::default();
    let wait = RateLimitConfig::default().wait_rule();
    (ResponseActions::new(&rules, &mut paths, wait), paths)
}

fn decide(rules: &Value, status: u16, headers: &[(&'static str, &str)], body: &str) -> Decision {
    let (rules, paths) = compiled(rules);
    let headers: HeaderMap = headers
        .iter()
        .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
        .collect();
    let values = serde_json::from_str(body)
        .ok()
        .map(|document: Value| paths.find(&document));
    rules.decide(&Facts {
        status,
        headers: &headers,
        values: values.as_ref(),
        text: body.as_bytes(),
    })
}

#[test]
fn decides_by_status_without_rules() {
    for (status, action) in [
        (200, Action::Accept),
        (206, Action::Accept),
        (204, Action::Empty),
        (302, Action::Fail),
        (304, Action::Fail),
        (400, Action::Fail),
        (401, Action::RenewToken),
        (403, Action::Fail),
        (404, Action::Fail),
        (408, Action::Retry),
        (425, Action::Retry),
        (429, Action::RateLimited),
        (500, Action::Retry),
        (501, Action::Fail),
        (502, Action::Retry),
        (503, Action::RateLimited),
        (504, Action::Retry),
    ] {
        let decision = decide(&json!([]), status, &[("retry-after", "7")], "");
        assert_eq!((decision.action, decision.rule), (action, None), "{status}");
        let wait = action.retries().then_some(Duration::from_secs(7));
        assert_eq!(decision.wait, wait, "{status}");
    }
}

#[test]
fn decides_by_the_first_rule_that_matches() {
    let rules = json!([
        {"when": {"status": [404], "body": {"path": "$.code", "equals": "S21"}}, "action": "skip"},
        {"when": {"status": [404]}, "action": "empty"},
        {"when": {"status": ["5xx"], "header": {"name": "x-error", "matches": "maintenance"}}, "action": "fail",
            "message": "the service is being worked on"},
        {"when": {"body": {"path": "$.success", "equals": false}}, "action": "fail"},
        {"when": {"text": "(?i)token.*expired"}, "action": "renew_token"},
        {"when": {"status": [429]}, "action": "rate_limited", "wait": "300s"},
    ]);
    type Case = (
        u16,
        &'static [(&'static str, &'static str)],
        &'static str,
        Action,
        Option<usize>,
    );
    let cases: [Case; 10] = [
        (404, &[], r#"{"code":"S21"}"#, Action::Skip, Some(0)),
        (404, &[], r#"{"code":"S22"}"#, Action::Empty, Some(1)),
        (404, &[], "", Action::Empty, Some(1)),
        (503, &[("x-error", "in maintenance")], "", Action::Fail, Some(2)),
        (503, &[], "", Action::RateLimited, None),
        (200, &[], r#"{"success":false}"#, Action::Fail, Some(3)),
        (200, &[], r#"{"success":"false"}"#, Action::Fail, Some(3)),
        (200, &[], r#"{"success":true}"#, Action::Accept, None),
        (400, &[], "The token has expired", Action::RenewToken, Some(4)),
        (429, &[], "", Action::RateLimited, Some(5)),
    ];
    for (status, headers, body, action, rule) in cases {
        let decision = decide(&rules, status, headers, body);
        assert_eq!(
            (decision.action, decision.rule),
            (action, rule),
            "{status} {body}"
        );
    }
    let decision = decide(&rules, 503, &[("x-error", "maintenance")], "");
    assert_eq!(decision.hint.as_deref(), Some("the service is being worked on"));
    // The longer of the two waits counts.
    for (after, wait) in [("1", 300), ("400", 400), ("soon", 300)] {
        let decision = decide(&rules, 429, &[("retry-after", after)], "");
        assert_eq!(decision.wait, Some(Duration::from_secs(wait)));
    }
}

#[test]
fn never_retries_a_rejected_login_without_naming_its_status() {
    let rules = json!([{"when": {"text": "try again"}, "action": "retry"}]);
    for (status, action) in [
        (403, Action::Fail),
        (401, Action::RenewToken),
        (400, Action::Retry),
    ] {
        assert_eq!(decide(&rules, status, &[], "try again").action, action);
    }
}

#[test]
fn tests_values_of_the_body() {
    for (test, body, matches) in [
        (json!({"path": "$.e"}), r#"{"e":{}}"#, true),
        (json!({"path": "$.e"}), r#"{"e":null}"#, false),
        (json!({"path": "$.e"}), "no json", false),
        (json!({"path": "$.e", "equals": 5}), r#"{"e":"5"}"#, true),
        (json!({"path": "$.e", "equals": "5"}), r#"{"e":5}"#, true),
        (json!({"path": "$.e", "equals": 5}), r#"{"e":[5]}"#, false),
        (
            json!({"path": "$.e", "matches": "^A[0-9]+$"}),
            r#"{"e":"A17"}"#,
            true,
        ),
        (
            json!({"path": "$.e", "matches": "^A[0-9]+$"}),
            r#"{"e":"B17"}"#,
            false,
        ),
    ] {
        let rules = json!([{"when": {"body": test}, "action": "skip"}]);
        let decision = decide(&rules, 200, &[], body);
        assert_eq!(decision.rule.is_some(), matches, "{test} {body}");
    }
}

#[test]
fn reads_as_little_of_good_answers_as_the_rules_need() {
    let needs = |rules: Value| compiled(&rules).0.needs_body_of_success();
    let body = json!({"path": "$.error"});
    for (rules, values, text) in [
        (
            json!([{"when": {"status": [404], "body": body, "text": "x"}, "action": "skip"}]),
            false,
            false,
        ),
        (
            json!([{"when": {"status": ["2xx"], "body": body}, "action": "fail"}]),
            true,
            false,
        ),
        (json!([{"when": {"text": "x"}, "action": "fail"}]), false, true),
    ] {
        assert_eq!(needs(rules), NeedsOfSuccess { values, text });
    }
    let rules = json!([{"when": {"text": "needle"}, "action": "fail"}]);
    let far = format!("{}needle", " ".repeat(64 * 1024));
    assert_eq!(decide(&rules, 200, &[], &far).action, Action::Accept);
}

#[test]
fn rejects_invalid_rules_by_key() {
    for (rules, expected) in [
        (
            json!([{"when": {}, "action": "fail"}]),
            "[0].when: is empty and would match every answer",
        ),
        (
            json!([{"when": {"status": [401]}, "action": "retry"}]),
            "[0].action: status 401 must not be retried",
        ),
        (
            json!([{"when": {"status": ["4xx"]}, "action": "rate_limited"}]),
            "[0].action: status 401 must not be retried",
        ),
        (
            json!([{"when": {"status": [403]}, "action": "empty"}]),
            "[0].action: status 403 does not mean that there are no rows",
        ),
        (
            json!([{"when": {"status": [429]}, "action": "skip"}]),
            "[0].action: status 429 is transient or the same for every request",
        ),
        (
            json!([{"when": {"status": [404]}, "action": "skip", "wait": "5s"}]),
            "[0].wait: applies to `retry` and `rate_limited` only",
        ),
        (
            json!([{"when": {"body": {"path": "$.a", "equals": 1, "matches": "1"}}, "action": "fail"}]),
            "[0].when.body: give either `equals` or `matches`",
        ),
        (
            json!([{"when": {"status": ["4xx"]}, "action": "fail"}, {"when": {"status": [404], "text": "x"}, "action": "skip"}]),
            "[1].when: never applies: rule 0",
        ),
        (
            json!([{"when": {"status": [429]}, "action": "retry", "wait": "2d"}]),
            "duration out of range",
        ),
        (
            json!([{"when": {"text": "a("}, "action": "fail"}]),
            "is not a regular expression: unclosed group",
        ),
        (
            json!([{"when": {"text": ".*"}, "action": "fail"}]),
            "matches every text, even an empty one",
        ),
        (
            json!([{"when": {"header": {"name": "a b"}}, "action": "fail"}]),
            "`a b` is not a valid header name",
        ),
        (
            json!([{"when": {"body": {"path": "$.a", "equals": null}}, "action": "fail"}]),
            "expected a text, a number or a boolean",
        ),
        (
            json!([{"when": {"status": [99]}, "action": "fail"}]),
            "`99` is not a status",
        ),
        (
            json!([{"when": {"status": ["6xx"]}, "action": "fail"}]),
            "`6xx` is not a status",
        ),
        (
            json!([{"when": {"status": [404]}, "action": "ignore"}]),
            "unknown variant `ignore`",
        ),
        (
            json!([{"when": {"status": [404]}, "action": "accept"}]),
            "unknown variant `accept`",
        ),
    ] {
        let found = problems(&rules, true, true);
        assert!(
            found.len() == 1 && found[0].contains(expected),
            "{expected}: {found:?}"
        );
    }
    let narrow_first = json!([
        {"when": {"status": [404], "text": "x"}, "action": "skip"}, {"when": {"status": ["4xx"]}, "action": "renew_token"},
    ]);
    assert_eq!(problems(&narrow_first, true, true), [] as [String; 0]);
    assert_eq!(problems(&narrow_first, false, false).len(), 2);
}

#[test]
fn names_request_status_and_message_of_a_failure() {
    let failure = RequestFailure {
        method: "GET",
        url: "https://api.contoso.com/v1/people",
        status_line: "403 Forbidden",
        message: Some("the directory is off"),
        attempts: 1,
    };
    let error = failure.error(403, &decide(&json!([]), 403, &[], ""));
    assert_eq!(
        error.to_string(),
        "GET https://api.contoso.com/v1/people returned 403 Forbidden: the directory is off"
    );
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(error.hints().any(|hint| hint.contains("permissions")));

    let failure = RequestFailure {
        status_line: "503 Service Unavailable",
        message: None,
        attempts: 5,
        ..failure
    };
    let error = failure.error(503, &decide(&json!([]), 503, &[], ""));
    assert_eq!(error.kind(), ErrorKind::Transient);
    assert!(
        error.to_string().ends_with("503 Service Unavailable, 5 times"),
        "{error}"
    );
}

#[test]
fn shows_only_the_host_of_a_redirect() {
    for (location, expected) in [
        (
            "https://login.contoso.com/sign-in?token=planted",
            "leads to https://login.contoso.com:",
        ),
        ("/login?x=planted", "another path of the same host"),
        ("mailto:planted", "redirects are not followed"),
    ] {
        let hint = decide(&json!([]), 302, &[("location", location)], "")
            .hint
            .unwrap();
        assert!(hint.contains(expected) && !hint.contains("planted"), "{hint}");
    }
}
