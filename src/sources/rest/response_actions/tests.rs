//! What happens to answers.

use std::time::Duration;

use reqwest::header::HeaderMap;
use serde_json::{Value, json};

use super::super::json_path::{ExtractedValues, ValuePaths};
use super::super::rate_limit::RateLimitConfig;
use super::super::test_cases::cases;
use super::{Action, Decision, Facts, ResponseActionConfig, ResponseActions};
use crate::component::Problems;

fn problems(rules: &Value, skips: bool, renews: bool) -> Vec<String> {
    let rules: Vec<ResponseActionConfig> = match serde_json::from_value(rules.clone()) {
        Ok(rules) => rules,
        Err(error) => return vec![error.to_string()],
    };
    let mut found = Vec::new();
    ResponseActionConfig::validate_all(&rules, skips, renews, &mut Problems::new(&mut found));
    found.iter().map(ToString::to_string).collect()
}

fn decide(rules: &Value, status: u16, header: (&'static str, &str), body: &str) -> Decision {
    assert_eq!(problems(rules, true, true), [] as [String; 0]);
    let rules: Vec<ResponseActionConfig> = serde_json::from_value(rules.clone()).unwrap();
    let mut paths = ValuePaths::default();
    let rules = ResponseActions::new(&rules, &mut paths, RateLimitConfig::default().wait_rule());
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
        (503, maintenance, "", Action::Fail, Some(2)),
        (503, NO_HEADER, "", Action::RateLimited, None),
        (200, NO_HEADER, r#"{"success":"false"}"#, Action::Fail, Some(3)),
        (200, NO_HEADER, r#"{"success":true}"#, Action::Accept, None),
        (400, NO_HEADER, "token has expired", Action::RenewToken, Some(4)),
        // A rejected login is not retried without naming its status.
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
    for (test, body) in cases(
        r#"
        {path: $.e} | yes {"e":{}};
        {path: $.e} | no {"e":null};
        {path: $.e} | no json;
        {path: $.e, equals: 5} | yes {"e":"5"};
        {path: $.e, equals: "5"} | yes {"e":5};
        {path: $.e, equals: 5} | no {"e":[5]};
        {path: $.e, matches: "^A[0-9]+$"} | yes {"e":"A17"};
        {path: $.e, matches: "^A[0-9]+$"} | no {"e":"B17"};"#,
    ) {
        let (matches, body) = body.split_once(' ').unwrap();
        let rules = json!([{"when": {"body": test}, "action": "skip"}]);
        let decision = decide(&rules, 200, NO_HEADER, body);
        assert_eq!(decision.rule.is_some(), matches == "yes", "{test} {body}");
    }
}

#[test]
fn searches_the_beginning_of_a_body() {
    let rules = json!([{"when": {"text": "needle"}, "action": "fail"}]);
    let far = format!("{}needle", " ".repeat(64 * 1024));
    assert_eq!(decide(&rules, 200, NO_HEADER, &far).action, Action::Accept);
}

#[test]
fn rejects_invalid_rules_by_key() {
    for (rules, expected) in cases(
        "
        [{when: {}, action: fail}] | [0].when: is empty and would match every answer;
        [{when: {status: [401]}, action: retry}] | [0].action: status 401 must not be retried;
        [{when: {status: [4xx]}, action: rate_limited}] | [0].action: status 401 must not be retried;
        [{when: {status: [403]}, action: empty}]
            | [0].action: status 403 does not mean that there are no rows;
        [{when: {status: [429]}, action: skip}]
            | [0].action: status 429 is transient or the same for every request;
        [{when: {status: [404]}, action: skip, wait: 5s}]
            | [0].wait: applies to `retry` and `rate_limited` only;
        [{when: {body: {path: $.a, equals: 1, matches: '1'}}, action: fail}]
            | [0].when.body: give either `equals` or `matches`;
        [{when: {status: [4xx]}, action: fail}, {when: {status: [404], text: x}, action: skip}]
            | [1].when: never applies: rule 0;
        [{when: {status: [429]}, action: retry, wait: 2d}] | duration out of range;
        [{when: {text: a(}, action: fail}] | is not a regular expression: unclosed group;
        [{when: {text: .*}, action: fail}] | matches every text, even an empty one;
        [{when: {header: {name: a b}}, action: fail}] | `a b` is not a valid header name;
        [{when: {body: {path: $.a, equals: null}}, action: fail}] | expected a text, a number or a boolean;
        [{when: {status: [99]}, action: fail}] | `99` is not a status;
        [{when: {status: [6xx]}, action: fail}] | `6xx` is not a status;
        [{when: {status: [404]}, action: ignore}] | unknown variant `ignore`;
        [{when: {status: [404]}, action: accept}] | unknown variant `accept`;",
    ) {
        let found = problems(&rules, true, true);
        let is_expected = found.len() == 1 && found[0].contains(&expected);
        assert!(is_expected, "{expected}: {found:?}");
    }
    let narrow_first = json!([
        {"when": {"status": [404], "text": "x"}, "action": "skip"},
        {"when": {"status": ["4xx"]}, "action": "renew_token"},
    ]);
    assert_eq!(problems(&narrow_first, true, true), [] as [String; 0]);
    assert_eq!(problems(&narrow_first, false, false).len(), 2);
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
