//! What happens to answers.

use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};

use super::super::json_path::{ExtractedValues, ValuePaths};
use super::super::rate_limit::RateLimitConfig;
use super::{Action, Decision, Facts, ResponseActionConfig, ResponseActions};
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

fn decide(rules: &Value, status: u16, header: (&'static str, &str), body: &str) -> Decision {
    let (rules, paths) = compiled(rules);
    let mut headers = HeaderMap::new();
    if !header.0.is_empty() {
        headers.insert(header.0, header.1.parse().unwrap());
    }
    let values = serde_json::from_str(body)
        .map_or_else(|_| ExtractedValues::default(), |body: Value| paths.find(&body));
    rules.decide(&Facts {
        status,
        headers: &headers,
        values: &values,
        text: body.as_bytes(),
    })
}

const NO_HEADER: (&str, &str) = ("", "");

#[test]
fn decides_by_status_without_rules() {
    for (statuses, action) in [
        (&[200, 206][..], Action::Accept),
        (&[204], Action::Empty),
        (&[302, 304, 400, 403, 404, 501], Action::Fail),
        (&[401], Action::RenewToken),
        (&[408, 425, 500, 502, 504], Action::Retry),
        (&[429, 503], Action::RateLimited),
    ] {
        for status in statuses {
            let decision = decide(&json!([]), *status, ("retry-after", "7"), "");
            let wait = action.retries().then_some(Duration::from_secs(7));
            let found = (decision.action, decision.rule, decision.wait);
            assert_eq!(found, (action, None, wait), "{status}");
        }
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
        {"when": {"text": "try again"}, "action": "retry"},
    ]);
    let maintenance = ("x-error", "in maintenance");
    for (status, header, body, action, rule) in [
        (404, NO_HEADER, r#"{"code":"S21"}"#, Action::Skip, Some(0)),
        (404, NO_HEADER, r#"{"code":"S22"}"#, Action::Empty, Some(1)),
        (404, NO_HEADER, "", Action::Empty, Some(1)),
        (503, maintenance, "", Action::Fail, Some(2)),
        (503, NO_HEADER, "", Action::RateLimited, None),
        (200, NO_HEADER, r#"{"success":false}"#, Action::Fail, Some(3)),
        (200, NO_HEADER, r#"{"success":"false"}"#, Action::Fail, Some(3)),
        (200, NO_HEADER, r#"{"success":true}"#, Action::Accept, None),
        (
            400,
            NO_HEADER,
            "The token has expired",
            Action::RenewToken,
            Some(4),
        ),
        (429, NO_HEADER, "", Action::RateLimited, Some(5)),
        // A rejected login is not retried without naming its status.
        (400, NO_HEADER, "try again", Action::Retry, Some(6)),
        (401, NO_HEADER, "try again", Action::RenewToken, None),
        (403, NO_HEADER, "try again", Action::Fail, None),
    ] {
        let decision = decide(&rules, status, header, body);
        let found = (decision.action, decision.rule);
        assert_eq!(found, (action, rule), "{status} {body}");
    }
    let decision = decide(&rules, 503, maintenance, "");
    assert_eq!(decision.hint.as_deref(), Some("the service is being worked on"));
    // The longer of the two waits counts.
    for (after, wait) in [("1", 300), ("400", 400), ("soon", 300)] {
        let decision = decide(&rules, 429, ("retry-after", after), "");
        assert_eq!(decision.wait, Some(Duration::from_secs(wait)));
    }
}

#[test]
fn tests_values_of_the_body() {
    let pattern = json!({"path": "$.e", "matches": "^A[0-9]+$"});
    for (test, body, matches) in [
        (json!({"path": "$.e"}), r#"{"e":{}}"#, true),
        (json!({"path": "$.e"}), r#"{"e":null}"#, false),
        (json!({"path": "$.e"}), "no json", false),
        (json!({"path": "$.e", "equals": 5}), r#"{"e":"5"}"#, true),
        (json!({"path": "$.e", "equals": "5"}), r#"{"e":5}"#, true),
        (json!({"path": "$.e", "equals": 5}), r#"{"e":[5]}"#, false),
        (pattern.clone(), r#"{"e":"A17"}"#, true),
        (pattern, r#"{"e":"B17"}"#, false),
    ] {
        let rules = json!([{"when": {"body": test}, "action": "skip"}]);
        let decision = decide(&rules, 200, NO_HEADER, body);
        assert_eq!(decision.rule.is_some(), matches, "{test} {body}");
    }
}

#[test]
fn reads_as_little_of_good_answers_as_the_rules_need() {
    let body = json!({"path": "$.error"});
    for (when, needs) in [
        (json!({"status": [404], "body": body, "text": "x"}), false),
        (json!({"status": ["2xx"], "body": body}), true),
        (json!({"text": "x"}), true),
    ] {
        let (actions, _) = compiled(&json!([{"when": when, "action": "fail"}]));
        assert_eq!(actions.needs_body_of_success(), needs);
    }
    let rules = json!([{"when": {"text": "needle"}, "action": "fail"}]);
    let far = format!("{}needle", " ".repeat(64 * 1024));
    assert_eq!(decide(&rules, 200, NO_HEADER, &far).action, Action::Accept);
}

#[test]
fn rejects_invalid_rules_by_key() {
    let rule = |when: Value, action: &str| json!([{"when": when, "action": action}]);
    let mut wait = rule(json!({"status": [404]}), "skip");
    wait[0]["wait"] = json!("5s");
    let mut long_wait = rule(json!({"status": [429]}), "retry");
    long_wait[0]["wait"] = json!("2d");
    let mut narrow_last = rule(json!({"status": ["4xx"]}), "fail");
    let narrow = json!({"when": {"status": [404], "text": "x"}, "action": "skip"});
    narrow_last.as_array_mut().unwrap().push(narrow.clone());
    let both = json!({"body": {"path": "$.a", "equals": 1, "matches": "1"}});
    for (rules, expected) in [
        (
            rule(json!({}), "fail"),
            "[0].when: is empty and would match every answer",
        ),
        (
            rule(json!({"status": [401]}), "retry"),
            "[0].action: status 401 must not be retried",
        ),
        (
            rule(json!({"status": ["4xx"]}), "rate_limited"),
            "[0].action: status 401 must not be retried",
        ),
        (
            rule(json!({"status": [403]}), "empty"),
            "[0].action: status 403 does not mean that there are no rows",
        ),
        (
            rule(json!({"status": [429]}), "skip"),
            "[0].action: status 429 is transient or the same for every request",
        ),
        (wait, "[0].wait: applies to `retry` and `rate_limited` only"),
        (
            rule(both, "fail"),
            "[0].when.body: give either `equals` or `matches`",
        ),
        (narrow_last, "[1].when: never applies: rule 0"),
        (long_wait, "duration out of range"),
        (
            rule(json!({"text": "a("}), "fail"),
            "is not a regular expression: unclosed group",
        ),
        (
            rule(json!({"text": ".*"}), "fail"),
            "matches every text, even an empty one",
        ),
        (
            rule(json!({"header": {"name": "a b"}}), "fail"),
            "`a b` is not a valid header name",
        ),
        (
            rule(json!({"body": {"path": "$.a", "equals": null}}), "fail"),
            "expected a text, a number or a boolean",
        ),
        (rule(json!({"status": [99]}), "fail"), "`99` is not a status"),
        (rule(json!({"status": ["6xx"]}), "fail"), "`6xx` is not a status"),
        (
            rule(json!({"status": [404]}), "ignore"),
            "unknown variant `ignore`",
        ),
        (
            rule(json!({"status": [404]}), "accept"),
            "unknown variant `accept`",
        ),
    ] {
        let found = problems(&rules, true, true);
        assert!(
            found.len() == 1 && found[0].contains(expected),
            "{expected}: {found:?}"
        );
    }
    let narrow_first = json!([narrow, {"when": {"status": ["4xx"]}, "action": "renew_token"}]);
    assert_eq!(problems(&narrow_first, true, true), [] as [String; 0]);
    assert_eq!(problems(&narrow_first, false, false).len(), 2);
}

#[test]
fn names_request_status_and_message_of_a_failure() {
    let request = "GET https://api.contoso.com/v1/people";
    for (status, message, attempts, kind, expected) in [
        (
            StatusCode::FORBIDDEN,
            Some("the directory is off"),
            1,
            ErrorKind::Refused,
            "403 Forbidden: the directory is off",
        ),
        (
            StatusCode::SERVICE_UNAVAILABLE,
            None,
            5,
            ErrorKind::Transient,
            "503 Service Unavailable, 5 times",
        ),
    ] {
        let decision = decide(&json!([]), status.as_u16(), NO_HEADER, "");
        let error = decision.error(request, status, message, attempts);
        assert_eq!(error.to_string(), format!("{request} returned {expected}"));
        assert_eq!(error.kind(), kind);
        assert_eq!(
            error.hints().any(|hint| hint.contains("permissions")),
            status == 403
        );
    }
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
        let hint = decide(&json!([]), 302, ("location", location), "").hint.unwrap();
        assert!(hint.contains(expected) && !hint.contains("planted"), "{hint}");
    }
}
