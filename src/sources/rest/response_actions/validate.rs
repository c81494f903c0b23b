//! What can be wrong with rules about answers.

use std::time::Duration;

use regex::bytes;
use reqwest::header::HeaderName;
use serde_json::Value;

use super::config::{BodyTest, ErrorMessageSettings, HeaderTest, ResponseAction, ResponseActionConfig, When};
use crate::config::Problems;

const LONGEST: Duration = Duration::from_secs(24 * 3600);

impl ResponseActionConfig {
    /// Notes what is wrong with a list of rules.
    pub(in crate::sources::rest) fn validate_all(rules: &[Self], problems: &mut Problems<'_>) {
        for (index, rule) in rules.iter().enumerate() {
            let mut here = problems.at_index(index);
            rule.validate(&mut here);
            let earlier = rules[..index].iter().position(|earlier| earlier.covers(rule));
            if let Some(earlier) = earlier {
                here.at("when").add_with_hint(
                    format!("never decides: rule {earlier} (the first is 0) holds for every answer that this one holds for"),
                    "the first rule that holds decides: put the narrower one first",
                );
            }
        }
    }

    /// Whether it decides wherever `later` holds, as far as that is plain to see.
    fn covers(&self, later: &Self) -> bool {
        // Rules that try again leave these alone, if they name no status.
        let retries = matches!(self.action, ResponseAction::Retry | ResponseAction::RateLimited);
        let left_alone = retries
            && self.when.status.is_empty()
            && [401, 403].into_iter().any(|status| {
                later.when.status.is_empty() || later.when.status.iter().any(|set| set.has(status))
            });
        !left_alone && self.when.covers(&later.when)
    }

    fn validate(&self, problems: &mut Problems<'_>) {
        self.when.validate(&mut problems.at("when"));
        self.check_then(&mut problems.at("action"));
        let retries = matches!(self.action, ResponseAction::Retry | ResponseAction::RateLimited);
        if let Some(wait) = self.wait {
            let mut here = problems.at("wait");
            if !retries {
                here.add("goes with `action: retry` and `action: rate_limited` only");
            } else if wait.0.is_zero() || wait.0 > LONGEST {
                here.add(format!("{wait} is not more than nothing and at most 24h"));
            }
        }
        if self
            .message
            .as_deref()
            .is_some_and(|message| message.trim().is_empty())
        {
            problems
                .at("message")
                .add("is empty; take it out if there is nothing to say");
        }
    }

    fn check_then(&self, problems: &mut Problems<'_>) {
        let names = |status: u16| self.when.status.iter().any(|set| set.has(status));
        let first = |statuses: &[u16]| statuses.iter().copied().find(|status| names(*status));
        match self.action {
            ResponseAction::Retry | ResponseAction::RateLimited => {
                if let Some(status) = first(&[401, 403]) {
                    problems.add_with_hint(
                        format!("an answer {status} is not tried again and again: accounts get locked and addresses blocked by that"),
                        match status {
                            401 => "`renew_token` tries once more, with a new token",
                            _ => "`fail` ends the run, `skip` leaves this request out",
                        },
                    );
                }
            }
            ResponseAction::Empty => {
                if let Some(status) = first(&[401, 403, 407, 429, 500, 502, 503, 504]) {
                    problems.add_with_hint(
                        format!("an answer {status} does not say that there are no rows"),
                        "`skip` leaves this request out and counts it",
                    );
                }
            }
            ResponseAction::Skip => {
                if let Some(status) = first(&[407, 429]) {
                    problems.add_with_hint(
                        format!("an answer {status} has a cause that passes or is the same for every request, and rows would be left out for it"),
                        "`rate_limited` waits and asks again",
                    );
                }
            }
            ResponseAction::Fail | ResponseAction::RenewToken => {}
        }
    }
}

impl When {
    fn validate(&self, problems: &mut Problems<'_>) {
        if self.status.is_empty() && self.header.is_none() && self.body.is_none() && self.text.is_none() {
            problems.add_with_hint(
                "is empty, and would hold for every answer",
                "give `status`, `header`, `body` or `text`",
            );
        }
        if let Some(header) = &self.header {
            header.validate(&mut problems.at("header"));
        }
        if let Some(body) = &self.body {
            body.validate(&mut problems.at("body"));
        }
        if let Some(text) = &self.text {
            check_regex(text, &mut problems.at("text"));
        }
    }

    /// Whether it holds wherever `other` does, as far as that is plain to see.
    fn covers(&self, other: &Self) -> bool {
        let status = self.status.is_empty()
            || (!other.status.is_empty()
                && other
                    .status
                    .iter()
                    .all(|other| self.status.iter().any(|set| set.has_all(*other))));
        let within = |mine: bool, same: bool| !mine || same;
        status
            && within(self.header.is_some(), self.header == other.header)
            && within(self.body.is_some(), self.body == other.body)
            && within(self.text.is_some(), self.text == other.text)
    }
}

impl HeaderTest {
    fn validate(&self, problems: &mut Problems<'_>) {
        check_header_name(&self.name, &mut problems.at("name"));
        check_test(
            self.equals.is_some(),
            self.matches.as_deref(),
            self.exists,
            self.not,
            problems,
        );
    }
}

impl BodyTest {
    fn validate(&self, problems: &mut Problems<'_>) {
        check_test(
            self.equals.is_some(),
            self.matches.as_deref(),
            self.exists,
            self.not,
            problems,
        );
        match &self.equals {
            Some(Value::Null) => problems.at("equals").add_with_hint(
                "is null, and a text, a number, true or false is wanted",
                "`exists: false` holds for null and for what is not there",
            ),
            Some(Value::Array(_) | Value::Object(_)) => problems.at("equals").add_with_hint(
                "is a list or an object, and a text, a number, true or false is wanted",
                "let `path` lead to a value within it",
            ),
            _ => {}
        }
    }
}

fn check_test(
    equals: bool,
    matches: Option<&str>,
    exists: Option<bool>,
    not: bool,
    problems: &mut Problems<'_>,
) {
    let given = usize::from(equals) + usize::from(matches.is_some()) + usize::from(exists.is_some());
    if given > 1 {
        problems.add("has more than one of `equals`, `matches` and `exists`; write a rule for each");
    }
    if not && exists.is_some() {
        problems.at("not").add_with_hint(
            "turns `exists` round, which can be said plainly",
            "give `exists: true` or `exists: false` alone",
        );
    }
    if let Some(matches) = matches {
        check_regex(matches, &mut problems.at("matches"));
    }
}

fn check_regex(text: &str, problems: &mut Problems<'_>) {
    if let Err(error) = bytes::Regex::new(text) {
        // Its own text draws the place with lines; the last of them says what is wrong.
        let error = error.to_string();
        let last = error.lines().last().unwrap_or_default();
        let why = last.strip_prefix("error: ").unwrap_or(last);
        problems.add(format!("`{text}` is not a regular expression: {why}"));
    } else if bytes::Regex::new(text).is_ok_and(|regex| regex.is_match(b"")) {
        problems.add_with_hint(
            format!("`{text}` is found in every text, even in an empty one"),
            "leave out what may be missing, such as `.*` at the begin and the end",
        );
    }
}

fn check_header_name(name: &str, problems: &mut Problems<'_>) {
    if HeaderName::from_bytes(name.as_bytes()).is_err() {
        problems.add(format!("`{name}` is not the name of a header"));
    }
}

impl ErrorMessageSettings {
    /// Notes what is wrong.
    pub(in crate::sources::rest) fn validate(&self, problems: &mut Problems<'_>) {
        for (index, name) in self.headers.iter().flatten().enumerate() {
            check_header_name(name, &mut problems.at("headers").at_index(index));
        }
    }
}

/// Whether any of the rules renews a token, which needs a token.
pub(in crate::sources::rest) fn renews(rules: &[ResponseActionConfig]) -> bool {
    rules.iter().any(|rule| rule.action == ResponseAction::RenewToken)
}

/// The rules that leave requests out, which needs several.
pub(in crate::sources::rest) fn skipping(rules: &[ResponseActionConfig]) -> impl Iterator<Item = usize> {
    let skips = |(index, rule): (usize, &ResponseActionConfig)| {
        (rule.action == ResponseAction::Skip).then_some(index)
    };
    rules.iter().enumerate().filter_map(skips)
}
