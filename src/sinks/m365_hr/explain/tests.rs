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
    let tally = Tally {
        attempts: 3,
        unknown: 1,
        last_unknown: false,
        elapsed: Duration::from_millis(12_340),
    };
    Spent {
        tally,
        reason: Reason::AttemptsSpent,
    }
}

fn answer(status: u16, reason: Option<&str>, body: &str) -> Answer {
    Answer {
        status: StatusCode::from_u16(status).unwrap(),
        reason: reason.map(str::to_owned),
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

fn hints(error: &Error) -> Vec<String> {
    error.hints().map(str::to_owned).collect()
}

/// Asserts that the hints are as many as the texts, and contain them in order.
fn assert_hints(error: &Error, texts: &[&str], case: &str) {
    let hints = hints(error);
    assert_eq!(hints.len(), texts.len(), "{case}: {hints:#?}");
    for (hint, text) in hints.iter().zip(texts) {
        assert!(hint.contains(text), "{case}: {text}: {hint}");
    }
}

#[test]
fn reports_what_was_tried_and_what_came_back() {
    let mut answer = answer(403, Some("jobId and corresponding appId do not match"), " \r\n");
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
         b8be4a7d-e338-43eb-a69e-c513cd458eba (3 attempts in 12.3 s, 1 of them with the outcome unknown, no attempt is left): the response was 403 jobId and corresponding appId do not \
         match, with an empty body; x-ms-diagnostics: 2000003;reason=\"x\"; request-id: r-1"
    );
    assert_hints(
        &error,
        &[
            "created for the application `app-id`",
            "is the tenant's",
            "RecordsSaved",
        ],
        "403",
    );
}

/// The rows of a table whose cells are separated by `|`.
fn rows(table: &str) -> impl Iterator<Item = (u16, Vec<&str>)> {
    table.lines().skip(1).map(|row| {
        let mut cells = row.split('|').map(str::trim);
        (cells.next().unwrap().parse().unwrap(), cells.collect())
    })
}

#[test]
fn explains_the_codes_of_entra_id() {
    const CLOUD: &str =
        "check that `cloud` is the tenant's: tokens are requested from `login.microsoftonline.us`";
    for (code, expected) in [
        (
            7_000_215,
            "value, not its ID | belongs to the application `app-id` | line break",
        ),
        (7_000_222, "has expired"),
        (
            700_016,
            "`app-id` is not in the tenant `contoso.com` | application is registered | CLOUD",
        ),
        (90_002, "the tenant `contoso.com` does not exist here | CLOUD"),
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
        let error = OAuthError {
            status: 401,
            error: "invalid_client".to_owned(),
            codes: vec![code],
            retry_after: None,
        };
        let error = TokenError {
            cause: TokenCause::Refused(error),
            detail: "the response".to_owned(),
            date: None,
        };
        let error = token(&job(&Cloud::GccHigh), &error, spent());
        assert_eq!(error.kind(), ErrorKind::Refused);
        assert!(error.chain().ends_with("no attempt is left): the response"));
        let expected = expected.replace("CLOUD", CLOUD);
        assert_hints(
            &error,
            &expected.split(" | ").collect::<Vec<_>>(),
            &code.to_string(),
        );
    }
}

#[test]
fn statuses_decide_the_kind_and_texts_do_not() {
    const TABLE: &str = "
        302 | Refused   | redirects to another host | without a login page
        400 | Refused   | column names | scenario | HR connector job
        401 | Refused   | `cloud: gcc` | tenant `contoso.com` | consented | older script | clock
        403 | Refused   | the application `app-id` | consented | `cloud: gcc` | still exists
        404 | Refused   | still exists | `cloud: gcc`
        407 | Refused   | proxy requires credentials
        408 | Transient | raise `timeout`
        413 | Refused   | too large: lower `batch.max_rows`
        418 | Refused   | `cloud: gcc` | not known to use this status
        429 | Transient | run again later | lower `max_concurrent`
        500 | Transient | outage | service health | more or fewer values
        503 | Transient | outage | service health";
    for (status, mut expected) in rows(TABLE) {
        let error = refused(&Cloud::Gcc, answer(status, None, "AADSTS7000215"));
        assert_eq!(format!("{:?}", error.kind()), expected.remove(0), "{status}");
        expected.push("RecordsSaved");
        assert_hints(&error, &expected, &status.to_string());
    }
}

#[test]
fn links_the_consent_page_where_its_address_is_known() {
    let of = |cloud: Cloud| hints(&refused(&cloud, answer(403, None, ""))).join("\n");
    assert!(
        of(Cloud::Worldwide)
            .contains("https://login.microsoftonline.com/common/oauth2/authorize?client_id=570d0bec")
    );
    assert!(
        !of(Cloud::Dod).contains("authorize?")
            && of(Cloud::Dod).contains("570d0bec-d001-4c4e-985e-3ab17fdc3073")
    );
}

#[test]
fn distinguishes_the_page_of_a_proxy_from_a_response_of_the_service() {
    let page = "<!doctype html><html><head><title>Access blocked</title>";
    for status in [200, 302, 403, 503] {
        let error = refused(&Cloud::Worldwide, answer(status, None, page));
        assert!(
            error
                .chain()
                .contains("the body is a web page with the title `Access blocked`"),
            "{}",
            error.chain()
        );
        assert!(hints(&error)[0].contains("proxy"), "{status} {:?}", hints(&error));
    }
    let both = hints(&refused(&Cloud::Worldwide, answer(403, None, page)));
    assert!(
        both.iter().any(|hint| hint.contains("app-id")),
        "a web server may write the service's own 403 as a page"
    );
    let down = refused(
        &Cloud::Worldwide,
        answer(503, None, "<html><title>Service unavailable</title>"),
    );
    assert!(hints(&down)[0].contains("outage"));
}

#[test]
fn explains_uploads_without_a_response() {
    let cause = String::new;
    let not_sent = Failure::NotSent {
        stage: Stage::Connect,
        cause: cause(),
    };
    for (cloud, failure, expected) in [
        (Cloud::Emulator, &not_sent, vec!["hrsink emulator"]),
        (Cloud::Gcc, &not_sent, vec!["firewall", "`proxy`"]),
        (
            Cloud::Gcc,
            &Failure::Unknown {
                timeout: true,
                cause: cause(),
            },
            vec!["raise `timeout`", "is up", "`proxy`"],
        ),
        (
            Cloud::Gcc,
            &Failure::Unknown {
                timeout: false,
                cause: cause(),
            },
            vec!["uploads are shorter", "is up", "`proxy`", "client certificate"],
        ),
    ] {
        let expected = [expected, vec!["RecordsSaved"]].concat();
        assert_hints(&explain(&cloud, failure), &expected, &failure.to_string());
    }
}
