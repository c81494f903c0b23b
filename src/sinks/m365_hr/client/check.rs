//! What `hrsink check` finds out of a connector job without uploading a row: token, clock, endpoint, and what stays open.

use std::time::{Duration, SystemTime};

use super::Client;
use crate::component::{CheckState, CheckStep};
use crate::error::{Error, ErrorKind};
use crate::http::auth::oauth_error::TokenFailure;
use crate::http::auth::token_cache::Token;
use crate::http::redact::{Redactor, is_html};
use crate::http::retry::{Reason, Spent, Tally};
use crate::http::transport::{Answer, Failure, MAX_BODY, exchange};
use crate::sinks::m365_hr::response;

/// Longest time for the request of a check that asks whether the ingestion host can be reached.
const CHECK_TIMEOUT: Duration = Duration::from_secs(30);

/// A clock that is off by more than this makes tokens invalid.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(5 * 60);

impl Client {
    /// Finds out, without uploading a row, whether an upload could work: token, clock, endpoint, and what stays open.
    pub async fn check(&self) -> Vec<CheckStep> {
        let (token, date) = self.tokens.provider().request().await;
        let (endpoint, seen) = self.check_endpoint().await;
        vec![
            self.check_token(token),
            check_clock(date.or(seen), SystemTime::now()),
            endpoint,
            self.check_job(),
        ]
    }

    fn check_token(&self, token: Result<Token, TokenFailure>) -> CheckStep {
        let spent = Spent {
            tally: Tally {
                attempts: 1,
                ..Tally::default()
            },
            reason: Reason::Permanent,
        };
        match token {
            Ok(_) => step(
                "token",
                CheckState::Works,
                format!(
                    "`{}` gives the application `{}` a token",
                    self.facts.token_url.host_str().unwrap_or_default(),
                    self.facts.client_id
                ),
            ),
            Err(failure) => failed("token", &self.token_error(&failure, spent)),
        }
    }

    /// Asks the ingestion host without credentials: any answer of its own says that it can be reached.
    async fn check_endpoint(&self) -> (CheckStep, Option<SystemTime>) {
        let host = self.facts.endpoints.ingestion.host_str().unwrap_or_default();
        let request = self
            .http
            .get(self.facts.endpoints.ingestion.clone())
            .timeout(CHECK_TIMEOUT)
            .build();
        let result = match request {
            Ok(request) => exchange(&self.http, request, MAX_BODY, Redactor::secrets(&[])).await,
            Err(error) => Err(Failure::of(error)),
        };
        let failure = match result {
            Ok(answer) => return (reachable(host, &answer), answer.date()),
            Err(failure) => failure,
        };
        let date = failure.answer().and_then(Answer::date);
        let step = match &failure {
            Failure::Answer(answer) if matches!(answer.status.as_u16(), 400 | 401 | 403 | 404 | 405) => {
                reachable(host, answer)
            }
            failure => {
                let error = response::endpoint_error(&self.facts, failure);
                failed("endpoint", &error)
            }
        };
        (step, date)
    }

    fn check_job(&self) -> CheckStep {
        CheckStep {
            name: "job".to_owned(),
            state: CheckState::Unsure,
            detail: format!(
                "only an upload tells whether the job `{}` exists, belongs to the application `{}` and has these columns",
                self.facts.job_id, self.facts.client_id
            ),
            hints: vec![
                "compare both with the connector's page in the Purview portal, and try with few rows first"
                    .to_owned(),
            ],
        }
    }
}

fn reachable(host: &str, answer: &Answer) -> CheckStep {
    let mut step = step(
        "endpoint",
        CheckState::Works,
        format!(
            "`{host}` can be reached (it answered {} to a request without credentials)",
            answer.status_line()
        ),
    );
    if is_html(&answer.body) {
        step.state = CheckState::Unsure;
        step.detail
            .push_str(", but with a web page, which may be that of a proxy or firewall");
        step.hints = response::page_hints(host);
    }
    step
}

/// Compares this machine's clock with the other side's.
fn check_clock(theirs: Option<SystemTime>, ours: SystemTime) -> CheckStep {
    let Some(theirs) = theirs else {
        return step("clock", CheckState::Unsure, "no answer told the time".to_owned());
    };
    let (off, way) = match ours.duration_since(theirs) {
        Ok(ahead) => (ahead, "ahead of"),
        Err(behind) => (behind.duration(), "behind"),
    };
    if off <= CLOCK_TOLERANCE {
        return step(
            "clock",
            CheckState::Works,
            "this machine's clock agrees with the service's".to_owned(),
        );
    }
    let detail = format!("this machine's clock is {} s {way} the service's", off.as_secs());
    let mut step = step("clock", CheckState::Fails, detail);
    step.hints = vec!["set this machine's clock with a time service (NTP): tokens and certificates count between two points in time".to_owned()];
    step
}

fn step(name: &str, state: CheckState, detail: String) -> CheckStep {
    CheckStep {
        name: name.to_owned(),
        state,
        detail,
        hints: Vec::new(),
    }
}

fn failed(name: &str, error: &Error) -> CheckStep {
    CheckStep {
        name: name.to_owned(),
        state: if error.kind() == ErrorKind::Transient {
            CheckState::Transient
        } else {
            CheckState::Fails
        },
        detail: error.chain(),
        hints: error.hints().map(str::to_owned).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Stage, token};
    use super::*;
    use serde_json::json;
    use test_server::Reply;

    async fn check(token: Reply, endpoint: Reply) -> Vec<CheckStep> {
        let stage = Stage::new(1, [token], [endpoint]).await;
        let steps = stage.client.check().await;
        let (_, requests) = stage.finish();
        assert_eq!((&*requests[0].method, &*requests[0].path), ("GET", "/"));
        assert_eq!(requests[0].header("authorization"), None);
        let shown = format!("{steps:?}");
        assert!(!shown.contains("marker"), "{shown}");
        steps
    }

    fn states(steps: &[CheckStep]) -> Vec<(&str, CheckState)> {
        steps.iter().map(|step| (&*step.name, step.state)).collect()
    }

    fn now() -> String {
        httpdate::fmt_http_date(SystemTime::now())
    }

    #[tokio::test]
    async fn a_check_of_a_good_set_up_leaves_only_the_job_open() {
        for status in [401, 403, 404, 405] {
            let steps = check(token(1).header("date", &now()), Reply::new(status)).await;
            let expected = [
                ("token", CheckState::Works),
                ("clock", CheckState::Works),
                ("endpoint", CheckState::Works),
                ("job", CheckState::Unsure),
            ];
            assert_eq!(states(&steps), expected);
        }
    }

    #[tokio::test]
    async fn a_check_says_what_is_wrong() {
        let refusal = json!({"error": "invalid_client", "error_description": "AADSTS7000222: expired", "error_codes": [7000222]});
        let old = "Sun, 06 Nov 1994 08:49:37 GMT";
        let steps = check(
            Reply::new(401).json(&refusal).header("date", old),
            Reply::new(503),
        )
        .await;
        let expected = [
            ("token", CheckState::Fails),
            ("clock", CheckState::Fails),
            ("endpoint", CheckState::Transient),
            ("job", CheckState::Unsure),
        ];
        assert_eq!(states(&steps), expected);
        assert!(
            steps[0].detail.contains("AADSTS7000222") && steps[0].hints[0].contains("has expired"),
            "{steps:?}"
        );
        assert!(steps[1].detail.contains("ahead of"), "{steps:?}");

        let page = Reply::new(403).body("<html><title>Blocked</title></html>");
        let steps = check(Reply::new(503), page).await;
        assert_eq!(
            (steps[0].state, steps[1].state, steps[2].state),
            (CheckState::Transient, CheckState::Unsure, CheckState::Unsure)
        );
        assert!(steps[2].hints[0].contains("proxy or firewall"));
    }

    #[test]
    fn a_clock_may_be_five_minutes_off() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        assert_eq!(check_clock(Some(at(1000)), at(1300)).state, CheckState::Works);
        assert_eq!(check_clock(Some(at(1300)), at(1000)).state, CheckState::Works);
        let behind = check_clock(Some(at(1301)), at(1000));
        assert_eq!(
            (behind.state, &*behind.detail),
            (
                CheckState::Fails,
                "this machine's clock is 301 s behind the service's"
            )
        );
        assert_eq!(check_clock(None, at(0)).state, CheckState::Unsure);
    }
}
