use super::*;
use crate::http::auth::oauth_error::OAuthError;
use crate::sinks::m365_hr::cloud::Cloud;
use crate::sinks::m365_hr::request::upload_url;
use bytes::Bytes;
use reqwest::StatusCode;
use reqwest::header::HeaderMap;
use std::time::Duration;

fn facts(cloud: &Cloud) -> Facts {
    let endpoints = cloud.endpoints();
    let job_id = "b8be4a7d-e338-43eb-a69e-c513cd458eba".parse().unwrap();
    Facts {
        token_url: endpoints.authority.join("contoso.com/oauth2/token").unwrap(),
        upload_url: upload_url(&endpoints, job_id),
        endpoints,
        tenant_id: "contoso.com".to_owned(),
        client_id: "app-id".to_owned(),
        job_id,
    }
}

fn spent(attempts: u32, unknown: u32, reason: Reason) -> Spent {
    let tally = Tally {
        attempts,
        unknown,
        last_unknown: false,
        elapsed: Duration::from_millis(12_340),
    };
    Spent { tally, reason }
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

fn refused(code: u64) -> Error {
    let error = OAuthError {
        status: 401,
        error: "invalid_client".to_owned(),
        description: None,
        codes: vec![code],
        trace_id: None,
        correlation_id: None,
        timestamp: None,
        retry_after: None,
    };
    let failure = TokenFailure::Refused(Box::new(error));
    token_error(
        &facts(&Cloud::GccHigh),
        &failure,
        spent(1, 0, Reason::Permanent),
        Redactor::secrets(&[]),
    )
}

fn upload(cloud: &Cloud, answer: Answer) -> Error {
    let failure = Failure::Answer(Box::new(answer));
    upload_error(
        &facts(cloud),
        "a.csv",
        &failure,
        spent(1, 0, Reason::Permanent),
        Redactor::secrets(&[]),
    )
}

fn hints(error: &Error) -> Vec<String> {
    error.hints().map(str::to_owned).collect()
}

#[test]
fn an_error_says_what_was_tried_and_what_came_back_each_once() {
    let mut answer = answer(403, Some("jobId and corresponding appId do not match"), " \r\n");
    answer.headers.insert("request-id", "r-1".parse().unwrap());
    answer
        .headers
        .insert("x-ms-diagnostics", "2000003;reason=\"x\"".parse().unwrap());
    let error = upload(&Cloud::Worldwide, answer);
    assert_eq!(error.kind(), ErrorKind::Refused);
    insta::assert_snapshot!(error.chain(), @r#"cannot upload `a.csv` with POST https://webhook.ingestion.office.com/api/signals?jobid=b8be4a7d-e338-43eb-a69e-c513cd458eba (1 attempt in 12.3 s): the answer was 403 jobId and corresponding appId do not match, with an empty body; x-ms-diagnostics: 2000003;reason="x"; request-id: r-1"#);
    assert!(hints(&error)[0].contains("was made for the application `app-id`"));
}

#[test]
fn attempts_time_and_the_reason_to_stop_are_told() {
    insta::assert_snapshot!(spent(1, 1, Reason::Permanent), @"1 attempt in 12.3 s");
    insta::assert_snapshot!(spent(8, 2, Reason::AttemptsSpent), @"8 attempts in 12.3 s, 2 of them with the outcome unknown, no attempt is left");
    let asked = Reason::AskedToWait {
        asked: Duration::from_secs(900),
        left: Duration::from_secs(30),
    };
    insta::assert_snapshot!(spent(2, 0, asked), @"2 attempts in 12.3 s, the service asked to wait 900 s, and only 30 s are left for retries");
}

#[test]
fn every_code_worth_explaining_is_explained() {
    let table: Vec<String> = [
        7_000_215, 7_000_222, 700_016, 90_002, 900_023, 500_011, 53_003, 700_027, 12_345,
    ]
    .into_iter()
    .map(|code| format!("{code}\n  {}", hints(&refused(code)).join("\n  ")))
    .collect();
    insta::assert_snapshot!(table.join("\n"), @r"
7000215
  the client secret is wrong: use the secret's value, not its ID (Microsoft Entra shows the value only once, right after the secret is made)
  see whether the secret belongs to the application `app-id`
  see whether a line break, a blank or a quote came with the secret into its file or variable
7000222
  the client secret has expired: make a new one for the application `app-id` in Microsoft Entra (App registrations, Certificates & secrets), and put its value in place of the old
700016
  the application `app-id` is not in the tenant `contoso.com`: `client_id` must be the application (client) ID, not the object ID and not the secret's ID
  see whether `tenant_id` is the tenant in which the application is registered
  see whether `cloud` is the tenant's: tokens are asked for at `login.microsoftonline.us`; tenants of GCC High and DoD sign in at `login.microsoftonline.us`, all others at `login.microsoftonline.com` or its alias `login.windows.net`
90002
  there is no tenant `contoso.com` here: see whether `tenant_id` is the directory (tenant) ID
  see whether `cloud` is the tenant's: tokens are asked for at `login.microsoftonline.us`; tenants of GCC High and DoD sign in at `login.microsoftonline.us`, all others at `login.microsoftonline.com` or its alias `login.windows.net`
900023
  `tenant_id` (now `contoso.com`) must be the directory (tenant) ID, a GUID, or one of the tenant's domain names
500011
  the service `https://microsoft.onmicrosoft.com/86dfdabb-5089-4a0c-880a-cfa5a790c5b1` is not known in the tenant `contoso.com`: most often the consent step was skipped
  an administrator must have consented to the Office 365 Import service (application `570d0bec-d001-4c4e-985e-3ab17fdc3073`) of the tenant's cloud, once; setting up the connector in the Purview portal asks for it
  see whether `cloud` is the tenant's: tokens are asked for at `login.microsoftonline.us`; tenants of GCC High and DoD sign in at `login.microsoftonline.us`, all others at `login.microsoftonline.com` or its alias `login.windows.net`
  a connector set up with an older script may need that script's resource: compare the `$resource` of the script, and give it as `cloud: {authority: …, resource: …, ingestion: …}`
53003
  Conditional Access blocks the application `app-id`: an administrator sees the policy in the sign-in logs of service principals in Microsoft Entra, by the correlation id
  a policy for workload identities often allows certain places only: see whether this machine's public address is among them
700027
  the certificate or its signature is not accepted: see whether it is registered with the application `app-id` and has not expired
  see whether this machine's clock is right
12345
  see whether `tenant_id` (`contoso.com`), `client_id` (`app-id`) and the client secret belong together, and whether `cloud` is the tenant's
  look up the code at https://login.microsoftonline.com/error?code=12345
");
}

#[test]
fn every_status_worth_explaining_is_explained() {
    let table: Vec<String> = [400, 401, 403, 404, 408, 413, 418, 429, 500, 503]
        .into_iter()
        .map(|status| {
            format!(
                "{status}\n  {}",
                hints(&upload(&Cloud::Gcc, answer(status, None, ""))).join("\n  ")
            )
        })
        .collect();
    insta::assert_snapshot!(table.join("\n"), @r"
400
  compare the column names with those mapped for the job in the portal: letter case does not matter, spaces do, and without a mandatory column nothing is imported
  see whether the scenario sent is one that the job was made for, and whether a job of several scenarios gets its scenario column
  see whether `job_id` (`b8be4a7d-e338-43eb-a69e-c513cd458eba`) is an HR connector job
401
  see whether `cloud: gcc` is the tenant's: `webhook-gcc.ingestion.office365.us` knows jobs of that cloud only (worldwide, gcc, gcc_high and dod each have a host of their own)
  see whether the job `b8be4a7d-e338-43eb-a69e-c513cd458eba` is in the tenant `contoso.com`
  an administrator must have consented to the Office 365 Import service, once, at https://login.microsoftonline.com/common/oauth2/authorize?client_id=570d0bec-d001-4c4e-985e-3ab17fdc3073&response_type=code&redirect_uri=https://portal.azure.com/&nonce=1234&prompt=admin_consent
  a connector set up with an older script may need that script's resource: compare the `$resource` of the script, and give it as `cloud: {authority: …, resource: …, ingestion: …}`
  see whether this machine's clock is right: a token counts only between two points in time
403
  see in the Purview portal whether the job `b8be4a7d-e338-43eb-a69e-c513cd458eba` was made for the application `app-id`: a job takes uploads of its own application only
  an administrator must have consented to the Office 365 Import service, once, at https://login.microsoftonline.com/common/oauth2/authorize?client_id=570d0bec-d001-4c4e-985e-3ab17fdc3073&response_type=code&redirect_uri=https://portal.azure.com/&nonce=1234&prompt=admin_consent
  see whether `cloud: gcc` is the tenant's: `webhook-gcc.ingestion.office365.us` knows jobs of that cloud only (worldwide, gcc, gcc_high and dod each have a host of their own)
  see whether the job `b8be4a7d-e338-43eb-a69e-c513cd458eba` still exists
404
  see in the Purview portal whether the job `b8be4a7d-e338-43eb-a69e-c513cd458eba` still exists: `job_id` is the ID that the portal shows
  see whether `cloud: gcc` is the tenant's: `webhook-gcc.ingestion.office365.us` knows jobs of that cloud only (worldwide, gcc, gcc_high and dod each have a host of their own)
408
  the upload took too long: lower `batch.max_rows` or `request.concurrency`, or raise `request.timeout`
413
  the batch is too large: lower `batch.max_rows` or `batch.max_bytes`
418
  see whether `cloud: gcc` is the tenant's: `webhook-gcc.ingestion.office365.us` knows jobs of that cloud only (worldwide, gcc, gcc_high and dod each have a host of their own)
  the service is not known to answer so: see whether something in between answers in its place
429
  the service takes no more for now: run again later, the rest is sent then
  lower `request.concurrency`
500
  most often an outage of the service: run again later; the next run sends what is missing
  see the service health page of the Microsoft 365 admin center
  this status has also been seen for rows with another number of commas than the header: if the file was not made by this program, see whether each row has as many values as the header
503
  most often an outage of the service: run again later; the next run sends what is missing
  see the service health page of the Microsoft 365 admin center
");
}

#[test]
fn the_consent_page_is_named_where_its_address_is_known() {
    let of = |cloud: Cloud| hints(&upload(&cloud, answer(403, None, ""))).join("\n");
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
fn a_page_of_a_proxy_is_told_from_an_answer_of_the_service() {
    let page = "<!doctype html><html><head><title>Access blocked</title>";
    for status in [200, 302, 403, 503] {
        let error = upload(&Cloud::Worldwide, answer(status, None, page));
        assert!(
            error
                .chain()
                .contains("the body is a web page with the title `Access blocked`"),
            "{}",
            error.chain()
        );
        assert!(hints(&error)[0].contains("proxy"), "{status} {:?}", hints(&error));
    }
    let both = hints(&upload(&Cloud::Worldwide, answer(403, None, page)));
    assert!(
        both.iter().any(|hint| hint.contains("app-id")),
        "a web server may write the service's own 403 as a page"
    );
    // The front door of a service that is down answers with pages as well.
    let error = upload(
        &Cloud::Worldwide,
        answer(503, None, "<html><title>Service unavailable</title>"),
    );
    assert!(hints(&error)[0].contains("outage"));
}

#[test]
fn statuses_decide_the_kind_and_texts_do_not() {
    for (status, expected) in [
        (400, ErrorKind::Refused),
        (401, ErrorKind::Refused),
        (403, ErrorKind::Refused),
        (404, ErrorKind::Refused),
        (413, ErrorKind::Refused),
        (302, ErrorKind::Refused),
        (408, ErrorKind::Transient),
        (429, ErrorKind::Transient),
        (500, ErrorKind::Transient),
        (599, ErrorKind::Transient),
    ] {
        let error = upload(
            &Cloud::Worldwide,
            answer(
                status,
                Some("jobId and corresponding appId do not match"),
                "AADSTS7000215",
            ),
        );
        assert_eq!(error.kind(), expected, "{status}");
        assert!(error.hints().next().is_some(), "{status}");
    }
}
