//! `hrsink check` of a connector job: token, clock and endpoint, without an upload.

use std::time::{Duration, SystemTime};

use super::Client;
use crate::component::{CheckState, CheckStep};
use crate::error::{Error, ErrorKind};
use crate::http::auth::TokenError;
use crate::http::auth::provider::TokenProvider;
use crate::http::redact::{Redactor, is_html};
use crate::http::retry::{Reason, Spent, Tally};
use crate::http::transport::{Answer, Failure, MAX_BODY, exchange};
use crate::sinks::m365_hr::answer;

/// The time-out of the request that checks whether the ingestion host can be reached.
const CHECK_TIMEOUT: Duration = Duration::from_secs(30);

/// A clock that is off by more than this makes tokens invalid.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(5 * 60);

impl Client {
    /// Checks without an upload whether one could work: token, clock, endpoint, and what only an upload shows.
    pub(crate) async fn check(&self) -> Vec<CheckStep> {
        let (token, date) = match self.client.auth.provider() {
            Some(provider) => {
                let result = provider.request().await;
                let date = TokenProvider::date(&result);
                (result.err(), date)
            }
            None => (None, None),
        };
        let (endpoint, seen) = self.check_endpoint().await;
        let clock = check_clock(date.or(seen), SystemTime::now());
        vec![
            self.check_token(token.as_ref()),
            clock,
            endpoint,
            self.check_job(),
        ]
    }

    fn check_token(&self, error: Option<&TokenError>) -> CheckStep {
        let tally = Tally {
            attempts: 1,
            ..Tally::default()
        };
        match error {
            None => step(
                "token",
                CheckState::Works,
                format!(
                    "`{}` returned a token for the application `{}`",
                    self.facts.token_url.host_str().unwrap_or_default(),
                    self.facts.client_id
                ),
            ),
            Some(error) => {
                let spent = Spent {
                    tally,
                    reason: Reason::Permanent,
                };
                failed("token", &answer::token_error(&self.facts, error, spent))
            }
        }
    }

    /// Calls the ingestion host without credentials: any response of its own shows that it is reachable.
    async fn check_endpoint(&self) -> (CheckStep, Option<SystemTime>) {
        let host = self.facts.endpoints.ingestion.host_str().unwrap_or_default();
        let request = self
            .client
            .http
            .get(self.facts.endpoints.ingestion.clone())
            .timeout(CHECK_TIMEOUT)
            .build();
        let result = match request {
            Ok(request) => exchange(&self.client.http, request, MAX_BODY, Redactor::secrets(&[])).await,
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
                let error = answer::endpoint_error(&self.facts, failure);
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
                "only an upload shows whether the job `{}` exists, belongs to the application `{}` and has these columns",
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
            "`{host}` is reachable (it responded {} to a request without credentials)",
            answer.status_line()
        ),
    );
    if is_html(&answer.body) {
        step.state = CheckState::Unsure;
        step.detail
            .push_str(", but with a web page, which may be from a proxy or firewall");
        step.hints = answer::page_hints(host);
    }
    step
}

/// Compares this machine's clock with the service's.
fn check_clock(service: Option<SystemTime>, local: SystemTime) -> CheckStep {
    let Some(service) = service else {
        return step("clock", CheckState::Unsure, "no response has a `Date`".to_owned());
    };
    let (off, way) = match local.duration_since(service) {
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
    step.hints = vec!["synchronize this machine's clock (NTP): tokens and certificates are valid only between two points in time".to_owned()];
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
    use super::super::tests::{Fixture, token};
    use super::*;
    use serde_json::json;
    use test_server::Reply;

    async fn check(token: Reply, endpoint: Reply) -> Vec<CheckStep> {
        let fixture = Fixture::new(1, [token], [endpoint]);
        let steps = fixture.client.check().await;
        let (_, requests) = fixture.finish();
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
    async fn passes_all_but_the_job() {
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
    async fn reports_what_is_wrong() {
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
    fn tolerates_five_minutes_of_clock_difference() {
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
