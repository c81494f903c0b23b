//! `hrsink check` of a connector job: token, clock and endpoint, without an upload.

use std::time::{Duration, SystemTime};

use super::client::Client;
use super::explain;
use crate::component::{CheckState, CheckStep};
use crate::http::redact::{Redactor, is_html};
use crate::http::retry::Spent;
use crate::http::transport::{Answer, Failure, MAX_BODY, exchange};

const CHECK_TIMEOUT: Duration = Duration::from_secs(30);

/// A clock that is off by more than this makes tokens invalid.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(5 * 60);

impl Client {
    /// Checks without an upload whether one could work: token, clock, endpoint, and what only an upload shows.
    pub(super) async fn check(&self) -> Vec<CheckStep> {
        let (token, token_date) = self.check_token().await;
        let (endpoint, endpoint_date) = self.check_endpoint().await;
        let clock = check_clock(token_date.or(endpoint_date), SystemTime::now());
        let mut job = step(
            "job",
            CheckState::Unsure,
            format!(
                "only an upload shows whether the job `{}` exists, belongs to the application `{}` and has these columns",
                self.job.job_id, self.job.client_id
            ),
        );
        job.hints = vec![
            "compare both with the connector's page in the Purview portal, and try with few rows first"
                .to_owned(),
        ];
        vec![token, clock, endpoint, job]
    }

    /// Requests a token once. With the time by the service's clock, as far as it responded.
    async fn check_token(&self) -> (CheckStep, Option<SystemTime>) {
        let date = match self.http.auth.provider() {
            Some(provider) => provider.request().await.map(|response| response.date),
            None => Ok(None),
        };
        match date {
            Ok(date) => {
                let (host, application) = (self.job.authority(), &self.job.client_id);
                let detail = format!("`{host}` returned a token for the application `{application}`");
                (step("token", CheckState::Works, detail), date)
            }
            Err(error) => {
                let spent = Spent {
                    attempts: 1,
                    ..Spent::default()
                };
                let explained = explain::token(&self.job, &error, spent);
                (CheckStep::failed("token", &explained), error.date)
            }
        }
    }

    /// Calls the ingestion host without credentials: any response of its own shows that it is reachable.
    async fn check_endpoint(&self) -> (CheckStep, Option<SystemTime>) {
        let url = self.job.endpoints.ingestion.clone();
        let request = self.http.http.get(url).timeout(CHECK_TIMEOUT).build();
        let result = match request {
            Ok(request) => exchange(&self.http.http, request, MAX_BODY, Redactor::new(&[], &[])).await,
            Err(error) => Err(Failure::of(error)),
        };
        match result {
            Ok(answer) => (reachable(self.job.ingestion(), &answer), answer.date()),
            Err(Failure::Answer(answer)) if matches!(answer.status.as_u16(), 400 | 401 | 403 | 404 | 405) => {
                (reachable(self.job.ingestion(), &answer), answer.date())
            }
            Err(failure) => (
                CheckStep::failed("endpoint", &explain::endpoint(&self.job, &failure)),
                failure.answer().and_then(Answer::date),
            ),
        }
    }
}

fn reachable(host: &str, answer: &Answer) -> CheckStep {
    let detail = format!(
        "`{host}` is reachable (it responded {} to a request without credentials)",
        answer.status_line()
    );
    let mut step = step("endpoint", CheckState::Works, detail);
    if is_html(&answer.body) {
        step.state = CheckState::Unsure;
        step.detail
            .push_str(", but with a web page, which may be from a proxy or firewall");
        step.hints = explain::page_hints(host);
    }
    step
}

fn check_clock(service: Option<SystemTime>, local: SystemTime) -> CheckStep {
    let Some(service) = service else {
        return step("clock", CheckState::Unsure, "no response has a `Date`".to_owned());
    };
    let (off, way) = match local.duration_since(service) {
        Ok(ahead) => (ahead, "ahead of"),
        Err(behind) => (behind.duration(), "behind"),
    };
    if off <= CLOCK_TOLERANCE {
        let detail = "this machine's clock agrees with the service's".to_owned();
        return step("clock", CheckState::Works, detail);
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

#[cfg(test)]
mod tests {
    use serde_json::json;
    use test_server::Reply;

    use super::super::client::tests::{Fixture, token};
    use super::*;

    /// The steps with their states, for these responses to the token request and to the ingestion host.
    async fn check(token: Reply, endpoint: Reply) -> (Vec<CheckStep>, [CheckState; 4]) {
        let fixture = Fixture::new(token, endpoint);
        let steps = fixture.client.check().await;
        let request = fixture.finish();
        let actual = (&*request.line(), request.header("authorization"));
        assert_eq!(actual, ("GET /", None));
        assert!(!format!("{steps:?}").contains("marker"), "{steps:?}");
        let names: Vec<_> = steps.iter().map(|step| &*step.name).collect();
        assert_eq!(names, ["token", "clock", "endpoint", "job"]);
        let states = std::array::from_fn(|at| steps[at].state);
        (steps, states)
    }

    #[tokio::test]
    async fn reports_what_works_and_what_does_not() {
        use CheckState::{Fails, Transient, Unsure, Works};
        let now = httpdate::fmt_http_date(SystemTime::now());
        for status in [401, 403, 404, 405] {
            let (_, states) = check(token().header("date", &now), Reply::new(status)).await;
            assert_eq!(states, [Works, Works, Works, Unsure]);
        }
        let refusal = json!({"error": "invalid_client", "error_description": "AADSTS7000222: expired", "error_codes": [7000222]});
        let old = "Sun, 06 Nov 1994 08:49:37 GMT";
        let refused = Reply::new(401).json(&refusal).header("date", old);
        let (steps, states) = check(refused, Reply::new(503)).await;
        assert_eq!(states, [Fails, Fails, Transient, Unsure]);
        assert!(steps[0].detail.contains("AADSTS7000222") && steps[0].hints[0].contains("has expired"));
        assert!(steps[1].detail.contains("ahead of"), "{steps:?}");

        let page = Reply::new(403).body("<html><title>Blocked</title></html>");
        let (steps, states) = check(Reply::new(503), page).await;
        assert_eq!(states, [Transient, Unsure, Unsure, Unsure]);
        assert!(steps[2].hints[0].contains("proxy or firewall"));
    }

    #[test]
    fn tolerates_five_minutes_of_clock_difference() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        for (service, local, state) in [
            (1000, 1300, CheckState::Works),
            (1300, 1000, CheckState::Works),
            (1301, 1000, CheckState::Fails),
            (1000, 1301, CheckState::Fails),
        ] {
            assert_eq!(check_clock(Some(at(service)), at(local)).state, state);
        }
        let behind = check_clock(Some(at(1301)), at(1000));
        let actual = behind.detail;
        assert_eq!(actual, "this machine's clock is 301 s behind the service's");
    }
}
