//! What answers are taken for.

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::HeaderMap;
use serde_json::{Value, json};

use super::super::json_path::ValuePaths;
use super::judge::NeedsOfSuccess;
use super::{
    Action, Decision, ErrorMessageSettings, Facts, RequestFailure, ResponseActionConfig, ResponseActions,
};
use crate::config::Problems;
use crate::error::ErrorKind;
use crate::http::retry_after::parse_retry_after;

/// The problems of some rules.
fn problems(rules: &Value) -> Vec<String> {
    let rules: Vec<ResponseActionConfig> = serde_json::from_value(rules.clone()).unwrap();
    let mut found = Vec::new();
    ResponseActionConfig::validate_all(&rules, &mut Problems::new(&mut found).at("response_actions"));
    found.iter().map(ToString::to_string).collect()
}

fn compiled(rules: &Value) -> (ResponseActions, ValuePaths) {
    assert_eq!(problems(rules), [] as [String; 0]);
    let rules: Vec<ResponseActionConfig> = serde_json::from_value(rules.clone()).unwrap();
    let mut probes = ValuePaths::default();
    let wait = |headers: &HeaderMap| {
        parse_retry_after(
            headers.get("retry-after")?.to_str().ok()?,
            std::time::SystemTime::UNIX_EPOCH,
        )
    };
    let rules = ResponseActions::new(&rules, &mut probes, Arc::new(wait));
    (rules, probes)
}

fn judge(rules: &Value, status: u16, headers: &[(&'static str, &str)], body: &str) -> Decision {
    let (rules, probes) = compiled(rules);
    let headers: HeaderMap = headers
        .iter()
        .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
        .collect();
    let found = serde_json::from_str(body)
        .ok()
        .map(|document: Value| probes.find(&document));
    rules.judge(&Facts {
        status,
        headers: &headers,
        values: found.as_ref(),
        text: body.as_bytes(),
    })
}

#[test]
fn http_says_what_no_rule_says() {
    for (status, action) in [
        (200, Action::Take),
        (206, Action::Take),
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
        let judged = judge(&json!([]), status, &[("retry-after", "7")], "");
        assert_eq!(judged.action, action, "{status}");
        let waits = matches!(action, Action::Retry | Action::RateLimited);
        assert_eq!(judged.wait, waits.then_some(Duration::from_secs(7)), "{status}");
        assert_eq!(judged.rule, None);
    }
}

#[test]
fn the_first_rule_that_holds_decides() {
    let rules = json!([
        {"when": {"status": [404], "body": {"path": "$.code", "equals": "S21"}}, "action": "skip"},
        {"when": {"status": [404]}, "action": "empty"},
        {"when": {"status": ["5xx"], "header": {"name": "x-error", "matches": "maintenance"}}, "action": "fail", "message": "the service is being worked on"},
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
        (200, &[], r#"{"success":true}"#, Action::Take, None),
        (400, &[], "The token has expired", Action::RenewToken, Some(4)),
        (429, &[], "", Action::RateLimited, Some(5)),
    ];
    for (status, headers, body, action, rule) in cases {
        let judged = judge(&rules, status, headers, body);
        assert_eq!((judged.action, judged.rule), (action, rule), "{status} {body}");
    }
    let judged = judge(&rules, 503, &[("x-error", "maintenance")], "");
    assert_eq!(judged.hint.as_deref(), Some("the service is being worked on"));
}

#[test]
fn the_longer_wait_counts() {
    let rules = json!([{"when": {"status": [429]}, "action": "rate_limited", "wait": "300s"}]);
    let wait = |after: &str| judge(&rules, 429, &[("retry-after", after)], "").wait;
    assert_eq!(wait("1"), Some(Duration::from_secs(300)));
    assert_eq!(wait("400"), Some(Duration::from_secs(400)));
    assert_eq!(wait("soon"), Some(Duration::from_secs(300)));
}

#[test]
fn a_rule_without_a_status_never_repeats_a_refused_login() {
    let rules = json!([{"when": {"text": "try again"}, "action": "retry"}]);
    assert_eq!(judge(&rules, 403, &[], "try again").action, Action::Fail);
    assert_eq!(judge(&rules, 401, &[], "try again").action, Action::RenewToken);
    assert_eq!(judge(&rules, 400, &[], "try again").action, Action::Retry);
}

#[test]
fn tests_of_values() {
    for (test, body, holds) in [
        (json!({"path": "$.e"}), r#"{"e":{}}"#, true),
        (json!({"path": "$.e"}), r#"{"e":null}"#, false),
        (json!({"path": "$.e", "exists": false}), r#"{"e":null}"#, true),
        (json!({"path": "$.e", "exists": false}), "{}", true),
        (json!({"path": "$.e", "exists": false}), "no json", false),
        (json!({"path": "$.e", "equals": 5}), r#"{"e":"5"}"#, true),
        (json!({"path": "$.e", "equals": "5"}), r#"{"e":5}"#, true),
        (json!({"path": "$.e", "equals": 5}), r#"{"e":[5]}"#, false),
        (
            json!({"path": "$.e", "equals": "ok", "not": true}),
            r#"{"e":"no"}"#,
            true,
        ),
        (
            json!({"path": "$.e", "equals": "ok", "not": true}),
            r#"{"e":"ok"}"#,
            false,
        ),
        (json!({"path": "$.e", "equals": "ok", "not": true}), "{}", true),
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
        let judged = judge(&rules, 200, &[], body);
        assert_eq!(judged.rule.is_some(), holds, "{test} {body}");
    }
}

#[test]
fn only_text_at_the_begin_is_looked_at() {
    let rules = json!([{"when": {"text": "needle"}, "action": "fail"}]);
    let far = format!("{}needle", " ".repeat(64 * 1024));
    assert_eq!(judge(&rules, 200, &[], &far).action, Action::Take);
}

#[test]
fn good_answers_are_looked_into_only_where_a_rule_wants_it() {
    let needs = |rules: Value| compiled(&rules).0.needs_body_of_success();
    let body = json!({"path": "$.error"});
    assert_eq!(
        needs(json!([{"when": {"status": [404], "body": body, "text": "x"}, "action": "skip"}])),
        NeedsOfSuccess::default()
    );
    assert_eq!(
        needs(json!([{"when": {"status": ["2xx"], "body": body}, "action": "fail"}])),
        NeedsOfSuccess {
            values: true,
            text: false
        }
    );
    assert!(needs(json!([{"when": {"text": "x"}, "action": "fail"}])).text);
}

#[test]
fn rules_that_are_wrong_are_refused_by_name() {
    for (rules, wanted) in [
        (
            json!([{"when": {}, "action": "fail"}]),
            "response_actions[0].when: is empty, and would hold for every answer",
        ),
        (
            json!([{"when": {"status": [401]}, "action": "retry"}]),
            "response_actions[0].action: an answer 401 is not tried again and again: accounts get locked and addresses blocked by that",
        ),
        (
            json!([{"when": {"status": ["4xx"]}, "action": "rate_limited"}]),
            "response_actions[0].action: an answer 401 is not tried again and again: accounts get locked and addresses blocked by that",
        ),
        (
            json!([{"when": {"status": [403]}, "action": "empty"}]),
            "response_actions[0].action: an answer 403 does not say that there are no rows",
        ),
        (
            json!([{"when": {"status": [429]}, "action": "skip"}]),
            "response_actions[0].action: an answer 429 has a cause that passes or is the same for every request, and rows would be left out for it",
        ),
        (
            json!([{"when": {"status": [404]}, "action": "skip", "wait": "5s"}]),
            "response_actions[0].wait: goes with `action: retry` and `action: rate_limited` only",
        ),
        (
            json!([{"when": {"status": [429]}, "action": "retry", "wait": "2d"}]),
            "response_actions[0].wait: 2days is not more than nothing and at most 24h",
        ),
        (
            json!([{"when": {"text": "a("}, "action": "fail"}]),
            "response_actions[0].when.text: `a(` is not a regular expression: unclosed group",
        ),
        (
            json!([{"when": {"text": ".*"}, "action": "fail"}]),
            "response_actions[0].when.text: `.*` is found in every text, even in an empty one",
        ),
        (
            json!([{"when": {"header": {"name": "a b"}}, "action": "fail"}]),
            "response_actions[0].when.header.name: `a b` is not the name of a header",
        ),
        (
            json!([{"when": {"body": {"path": "$.a", "equals": null}}, "action": "fail"}]),
            "response_actions[0].when.body.equals: is null, and a text, a number, true or false is wanted",
        ),
        (
            json!([{"when": {"body": {"path": "$.a", "equals": 1, "matches": "1"}}, "action": "fail"}]),
            "response_actions[0].when.body: has more than one of `equals`, `matches` and `exists`; write a rule for each",
        ),
        (
            json!([{"when": {"status": ["4xx"]}, "action": "fail"}, {"when": {"status": [404], "text": "x"}, "action": "skip"}]),
            "response_actions[1].when: never decides: rule 0 (the first is 0) holds for every answer that this one holds for",
        ),
    ] {
        assert_eq!(problems(&rules), [wanted], "{rules}");
    }
    let narrow_first = json!([{"when": {"status": [404], "text": "x"}, "action": "skip"}, {"when": {"status": ["4xx"]}, "action": "fail"}]);
    assert_eq!(problems(&narrow_first), [] as [String; 0]);
    for (rules, wanted) in [
        (
            json!([{"when": {"status": [99]}, "action": "fail"}]),
            "99 is not a status",
        ),
        (
            json!([{"when": {"status": ["6xx"]}, "action": "fail"}]),
            "neither a status",
        ),
        (
            json!([{"when": {"status": [404]}, "action": "ignore"}]),
            "unknown variant `ignore`",
        ),
    ] {
        let error = serde_json::from_value::<Vec<ResponseActionConfig>>(rules)
            .unwrap_err()
            .to_string();
        assert!(error.contains(wanted), "{error}");
    }
}

#[test]
fn rejects_invalid_message_settings() {
    let mut found = Vec::new();
    let message: ErrorMessageSettings = serde_json::from_value(json!({"headers": [""]})).unwrap();
    message.validate(&mut Problems::new(&mut found).at("error_message"));
    let found: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert_eq!(
        found,
        ["error_message.headers[0]: `` is not the name of a header",]
    );
}

#[test]
fn a_failure_says_what_whom_and_what_came_back() {
    let failed = RequestFailure {
        method: "GET",
        url: "https://api.contoso.com/v1/people",
        status_line: "403 Forbidden",
        message: Some("the directory is off"),
        attempts: 1,
    };
    let judged = judge(&json!([]), 403, &[], "");
    let error = failed.error(403, &judged);
    assert_eq!(
        error.to_string(),
        "GET https://api.contoso.com/v1/people was answered with 403 Forbidden: the directory is off"
    );
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(error.hints().any(|hint| hint.contains("rights")));

    let failed = RequestFailure {
        status_line: "503 Service Unavailable",
        message: None,
        attempts: 5,
        ..failed
    };
    let error = failed.error(503, &judge(&json!([]), 503, &[], ""));
    assert_eq!(error.kind(), ErrorKind::Transient);
    assert!(
        error.to_string().ends_with("503 Service Unavailable, 5 times"),
        "{error}"
    );
}

#[test]
fn a_redirect_names_the_host_only() {
    let hint = |location: &str| {
        judge(&json!([]), 302, &[("location", location)], "")
            .hint
            .unwrap()
    };
    let hinted = hint("https://login.contoso.com/sign-in?token=planted");
    assert!(
        hinted.contains("https://login.contoso.com:") && !hinted.contains("planted"),
        "{hinted}"
    );
    assert!(hint("/login?x=planted").contains("another path of the same host"));
    assert!(!hint("mailto:planted").contains("planted"));
}
