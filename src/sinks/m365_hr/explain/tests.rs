use std::time::Duration;

use bytes::Bytes;
use reqwest::header::HeaderMap;

use super::*;
use crate::http::transport::Stage;
use crate::sinks::m365_hr::cloud::Cloud;

fn job(cloud: &Cloud) -> Job {
    Job {
        endpoints: cloud.endpoints(),
        tenant_id: "contoso.com".to_owned(),
        client_id: "app-id".to_owned(),
        job_id: "b8be4a7d-e338-43eb-a69e-c513cd458eba".parse().unwrap(),
    }
}

fn spent() -> Spent {
    Spent {
        attempts: 3,
        unknown: 1,
        last_unknown: false,
        elapsed: Duration::from_millis(12_340),
        reason: Reason::AttemptsSpent,
    }
}

fn answer(status: u16, body: &str) -> Answer {
    Answer {
        status: StatusCode::from_u16(status).unwrap(),
        reason: None,
        headers: HeaderMap::new(),
        body: Bytes::copy_from_slice(body.as_bytes()),
        complete: true,
    }
}

fn explain(cloud: &Cloud, failure: &Failure) -> Error {
    upload(&job(cloud), "a.csv", failure, spent(), Redactor::new(&[], &[]))
}

fn refused(cloud: &Cloud, answer: Answer) -> Error {
    explain(cloud, &Failure::Answer(Box::new(answer)))
}

/// Asserts that the hints are as many as the texts, which are separated by `|`, and contain them in order.
fn assert_hints(error: &Error, texts: &str, case: &str) {
    let hints: Vec<&str> = error.hints().collect();
    let texts: Vec<&str> = texts.split('|').map(str::trim).collect();
    assert_eq!(hints.len(), texts.len(), "{case}: {hints:#?}");
    for (hint, text) in hints.iter().zip(texts) {
        assert!(hint.contains(text), "{case}: {text}: {hint}");
    }
}

#[test]
fn reports_what_was_tried_and_what_came_back() {
    let mut answer = answer(403, " \r\n");
    answer.reason = Some("jobId and corresponding appId do not match".to_owned());
    for (name, value) in [
        ("request-id", "r-1"),
        ("x-azure-ref", "bad value"),
        ("x-ms-diagnostics", "2000003;reason=\"x\""),
    ] {
        answer.headers.insert(name, value.parse().unwrap());
    }
    let error = refused(&Cloud::Worldwide, answer);
    assert_eq!(
        error.chain(),
        "cannot upload `a.csv` with POST https://webhook.ingestion.office.com/api/signals?jobid=\
         b8be4a7d-e338-43eb-a69e-c513cd458eba (3 attempts in 12.3 s, 1 of them with the outcome unknown, no attempt is \
         left): the response was 403 jobId and corresponding appId do not match, with an empty body; x-ms-diagnostics: \
         2000003;reason=\"x\"; request-id: r-1"
    );
    let expected = "created for the application `app-id` | is the tenant's | RecordsSaved";
    assert_hints(&error, expected, "403");
}

#[test]
fn explains_the_codes_of_entra_id() {
    const CLOUD: &str =
        "check that `cloud` is the tenant's: tokens are requested from `login.microsoftonline.us`";
    for (code, expected) in [
        (900_023, "`tenant_id` (`contoso.com`) must be"),
        (
            500_011,
            "consent step was skipped | 570d0bec-d001 | CLOUD | older script",
        ),
        (53_003, "Conditional Access | public address"),
        (700_027, "certificate or its signature | clock"),
        (
            12_345,
            "belong together | https://login.microsoftonline.com/error?code=12345",
        ),
    ] {
        let error = TokenError {
            cause: TokenCause::Refused(OAuthError {
                status: 401,
                error: "invalid_client".to_owned(),
                codes: vec![code],
                retry_after: None,
            }),
            detail: "the response".to_owned(),
            date: None,
        };
        let error = token(&job(&Cloud::GccHigh), &error, spent());
        assert_eq!(error.kind(), ErrorKind::Refused);
        assert!(error.chain().ends_with("no attempt is left): the response"));
        assert_hints(&error, &expected.replace("CLOUD", CLOUD), &code.to_string());
    }
}

#[test]
fn statuses_decide_the_kind_and_texts_do_not() {
    // After the status the title of a page: a web server may write the service's own 403 as one.
    const TABLE: &str = "
        200 blocked | Refused   | login or block page | without a login page | `cloud: gcc` | does not document
        403 blocked | Refused   | login or block page | without a login page | `app-id` | consented | `cloud: gcc` | exists
        503 blocked | Transient | login or block page | without a login page | outage | service health
        503 down    | Transient | outage | service health | login or block page | without a login page
        302 | Refused   | redirects to another host | without a login page
        400 | Refused   | column names | scenario | HR connector job
        401 | Refused   | `cloud: gcc` | tenant `contoso.com` | redirect_uri | older script | clock
        403 | Refused   | the application `app-id` | authorize?client_id=570d0bec | `cloud: gcc` | still exists
        404 | Refused   | still exists | `cloud: gcc`
        407 | Refused   | proxy requires credentials
        408 | Transient | raise `timeout`
        413 | Refused   | too large: lower `batch.max_rows`
        418 | Refused   | `cloud: gcc` | does not document this status
        429 | Transient | run again later | lower `max_concurrent`
        500 | Transient | outage | service health | more or fewer values
        503 | Transient | outage | service health";
    for row in TABLE.lines().skip(1) {
        let (response, expected) = row.trim().split_once('|').unwrap();
        let (kind, hints) = expected.split_once('|').unwrap();
        let (status, title) = response.trim().split_once(' ').unwrap_or((response.trim(), ""));
        let (body, shown) = match title.trim() {
            "" => ("AADSTS7000215".to_owned(), "body: AADSTS7000215".to_owned()),
            title => (
                format!("<!doctype html><html><head><title>{title}</title>"),
                format!("the body is a web page with the title `{title}`"),
            ),
        };
        let error = refused(&Cloud::Gcc, answer(status.parse().unwrap(), &body));
        assert!(error.chain().contains(&shown), "{}", error.chain());
        assert_eq!(format!("{:?}", error.kind()), kind.trim(), "{row}");
        assert_hints(&error, &format!("{hints} | RecordsSaved"), row);
    }
    let error = refused(&Cloud::Dod, answer(403, ""));
    let expected = "`app-id` | (application `570d0bec-d001 | `cloud: dod` | still exists | RecordsSaved";
    assert_hints(&error, expected, "the consent page of this cloud is not known");
}

#[test]
fn explains_uploads_without_a_response() {
    let not_sent = || Failure::NotSent {
        stage: Stage::Connect,
        cause: String::new(),
    };
    let unknown = |timeout| Failure::Unknown {
        timeout,
        cause: String::new(),
    };
    for (cloud, failure, expected) in [
        (Cloud::Emulator, not_sent(), "hrsink emulator"),
        (Cloud::Gcc, not_sent(), "firewall | `proxy`"),
        (Cloud::Gcc, unknown(true), "raise `timeout` | is up | `proxy`"),
        (
            Cloud::Gcc,
            unknown(false),
            "uploads are shorter | is up | `proxy` | client certificate",
        ),
    ] {
        let expected = format!("{expected} | RecordsSaved");
        assert_hints(&explain(&cloud, &failure), &expected, &failure.to_string());
    }
}
