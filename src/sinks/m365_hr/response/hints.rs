//! The likely causes of a failure, most likely first, each with what to do.

use reqwest::StatusCode;

use super::Facts;
use crate::http::auth::oauth_error::{OAuthError, TokenFailure};
use crate::http::redact::{html_title, is_html};
use crate::http::transport::{Answer, Failure, Stage};

/// The application that the Office 365 Import service is in every tenant.
const IMPORT_SERVICE: &str = "570d0bec-d001-4c4e-985e-3ab17fdc3073";

/// Advice on a token that could not be had.
pub(super) fn for_token(facts: &Facts, failure: &TokenFailure) -> Vec<String> {
    match failure {
        TokenFailure::Refused(error) => oauth(facts, error),
        TokenFailure::Transport(Failure::Answer(answer)) => match answer.status.as_u16() {
            404 => vec![
                wrong_authority(facts),
                format!(
                    "see whether `tenant_id` (now `{}`) is the tenant's id or one of its domain names",
                    facts.tenant_id
                ),
            ],
            _ => or_from_outside(
                answer,
                facts.authority_host(),
                outage(answer.status, "Microsoft Entra ID"),
            ),
        },
        TokenFailure::Transport(failure) => transport(failure, facts.authority_host(), false),
        TokenFailure::Unusable { html: true, .. } => for_page(facts.authority_host()),
        TokenFailure::Unusable { broken_off: true, .. } => {
            vec!["run again later: the answer broke off".to_owned()]
        }
        TokenFailure::Unusable { .. } => vec![
            wrong_authority(facts),
            format!(
                "see whether a proxy between here and `{}` answers in its place",
                facts.authority_host()
            ),
        ],
    }
}

fn oauth(facts: &Facts, error: &OAuthError) -> Vec<String> {
    let mut hints: Vec<String> = error
        .codes
        .iter()
        .filter_map(|code| aadsts(facts, *code))
        .next()
        .unwrap_or_default();
    if hints.is_empty() {
        hints = match error.status {
            408 | 429 | 500..=599 => vec!["run again later: the cause is passing".to_owned()],
            _ => vec![format!(
                "see whether `tenant_id` (`{}`), `client_id` (`{}`) and the client secret belong together, and \
                 whether `cloud` is the tenant's",
                facts.tenant_id, facts.client_id
            )],
        };
        if let Some(code) = error.codes.first() {
            hints.push(format!(
                "look up the code at https://login.microsoftonline.com/error?code={code}"
            ));
        }
    }
    hints
}

/// Advice on one of Microsoft Entra ID's codes.
fn aadsts(facts: &Facts, code: u64) -> Option<Vec<String>> {
    let Facts {
        tenant_id, client_id, ..
    } = facts;
    let resource = &facts.endpoints.resource;
    Some(match code {
        7_000_215 => vec![
            "the client secret is wrong: use the secret's value, not its ID (Microsoft Entra shows the value only once, \
             right after the secret is made)"
                .to_owned(),
            format!("see whether the secret belongs to the application `{client_id}`"),
            "see whether a line break, a blank or a quote came with the secret into its file or variable".to_owned(),
        ],
        7_000_222 => vec![format!(
            "the client secret has expired: make a new one for the application `{client_id}` in Microsoft Entra (App \
             registrations, Certificates & secrets), and put its value in place of the old"
        )],
        700_016 => vec![
            format!(
                "the application `{client_id}` is not in the tenant `{tenant_id}`: `client_id` must be the application \
                 (client) ID, not the object ID and not the secret's ID"
            ),
            "see whether `tenant_id` is the tenant in which the application is registered".to_owned(),
            wrong_authority(facts),
        ],
        90_002 => vec![
            format!("there is no tenant `{tenant_id}` here: see whether `tenant_id` is the directory (tenant) ID"),
            wrong_authority(facts),
        ],
        900_023 => vec![format!(
            "`tenant_id` (now `{tenant_id}`) must be the directory (tenant) ID, a GUID, or one of the tenant's domain names"
        )],
        500_011 => {
            let mut hints = vec![
                format!(
                    "the service `{resource}` is not known in the tenant `{tenant_id}`: most often the consent step was \
                     skipped"
                ),
                consent(facts),
                wrong_authority(facts),
            ];
            hints.push(older_resource());
            hints
        }
        53_003 => vec![
            format!(
                "Conditional Access blocks the application `{client_id}`: an administrator sees the policy in the sign-in \
                 logs of service principals in Microsoft Entra, by the correlation id"
            ),
            "a policy for workload identities often allows certain places only: see whether this machine's public \
             address is among them"
                .to_owned(),
        ],
        700_027 => vec![
            format!("the certificate or its signature is not accepted: see whether it is registered with the application `{client_id}` and has not expired"),
            "see whether this machine's clock is right".to_owned(),
        ],
        _ => return None,
    })
}

/// Advice on an upload that failed. `maybe_taken`: an attempt ended with its outcome unknown.
pub(super) fn for_upload(facts: &Facts, failure: &Failure, maybe_taken: bool) -> Vec<String> {
    let mut hints = match failure {
        Failure::Answer(answer) => or_from_outside(answer, facts.ingestion_host(), status(facts, answer)),
        failure => transport(failure, facts.ingestion_host(), true),
    };
    if maybe_taken {
        hints.push(format!(
            "the log of the job `{}` in the Purview portal (`RecordsSaved`) shows whether they were taken; the next run \
             sends them again and says so, unless `delivery.on_unknown` is `hold`",
            facts.job_id
        ));
    }
    hints
}

/// Advice on an ingestion host that a check could not reach.
pub(super) fn for_endpoint(facts: &Facts, failure: &Failure) -> Vec<String> {
    let host = facts.ingestion_host();
    match failure {
        Failure::Answer(answer) => or_from_outside(answer, host, outage(answer.status, "the service")),
        failure => transport(failure, host, false),
    }
}

fn status(facts: &Facts, answer: &Answer) -> Vec<String> {
    let Facts {
        client_id,
        job_id,
        tenant_id,
        ..
    } = facts;
    let wrong_app = format!(
        "see in the Purview portal whether the job `{job_id}` was made for the application `{client_id}`: a job takes \
         uploads of its own application only"
    );
    match answer.status.as_u16() {
        400 => vec![
            "compare the column names with those mapped for the job in the portal: letter case does not matter, spaces \
             do, and without a mandatory column nothing is imported"
                .to_owned(),
            "see whether the scenario sent is one that the job was made for, and whether a job of several scenarios gets \
             its scenario column"
                .to_owned(),
            format!("see whether `job_id` (`{job_id}`) is an HR connector job"),
        ],
        401 => vec![
            wrong_cloud(facts),
            format!("see whether the job `{job_id}` is in the tenant `{tenant_id}`"),
            consent(facts),
            older_resource(),
            "see whether this machine's clock is right: a token counts only between two points in time".to_owned(),
        ],
        403 if says_other_app(answer) => vec![wrong_app, wrong_cloud(facts)],
        403 => vec![
            wrong_app,
            consent(facts),
            wrong_cloud(facts),
            format!("see whether the job `{job_id}` still exists"),
        ],
        404 => vec![
            format!("see in the Purview portal whether the job `{job_id}` still exists: `job_id` is the ID that the portal shows"),
            wrong_cloud(facts),
        ],
        413 => vec!["the batch is too large: lower `batch.max_rows` or `batch.max_bytes`".to_owned()],
        408 => vec![
            "the upload took too long: lower `batch.max_rows` or `request.concurrency`, or raise `request.timeout`".to_owned(),
        ],
        429 => vec![
            "the service takes no more for now: run again later, the rest is sent then".to_owned(),
            "lower `request.concurrency`".to_owned(),
        ],
        500 => {
            let mut hints = outage(answer.status, "the service");
            hints.push(
                "this status has also been seen for rows with another number of commas than the header: if the file was \
                 not made by this program, see whether each row has as many values as the header"
                    .to_owned(),
            );
            hints
        }
        501..=599 => outage(answer.status, "the service"),
        _ => vec![
            wrong_cloud(facts),
            "the service is not known to answer so: see whether something in between answers in its place".to_owned(),
        ],
    }
}

fn says_other_app(answer: &Answer) -> bool {
    let says = |text: &str| text.to_ascii_lowercase().contains("appid do not match");
    answer.reason.as_deref().is_some_and(says) || says(&String::from_utf8_lossy(&answer.body))
}

/// Puts advice on what is not the service's own (a web page, a redirect, a proxy's demand) beside `own`, the advice for
/// the case that the service itself said so.
fn or_from_outside(answer: &Answer, host: &str, own: Vec<String>) -> Vec<String> {
    if answer.status == StatusCode::PROXY_AUTHENTICATION_REQUIRED {
        return vec!["the proxy wants credentials: give them in the proxy's URL (`HTTPS_PROXY`)".to_owned()];
    }
    if answer.status.is_redirection() {
        return vec![
            format!(
                "`{host}` redirects elsewhere, which is not followed, so that no credential goes to another host: most \
                 often a proxy sends to its login page"
            ),
            allow_page(host),
        ];
    }
    if !is_html(&answer.body) {
        return own;
    }
    // A web server in front of the service writes errors and outages as pages too, so both are given.
    let page = html_title(&answer.body).unwrap_or_default().to_ascii_lowercase();
    let blocked = ["denied", "blocked"].iter().any(|word| page.contains(word));
    if answer.status.is_server_error() && !blocked {
        [own, for_page(host)].concat()
    } else {
        [for_page(host), own].concat()
    }
}

/// Advice on a web page where the service's answer should be.
pub(super) fn for_page(host: &str) -> Vec<String> {
    vec![
        format!(
            "a web page is hardly the service's own answer: most often a proxy or firewall between here and `{host}` shows \
             its login or block page"
        ),
        allow_page(host),
    ]
}

fn allow_page(host: &str) -> String {
    format!("have `{host}` allowed for this machine without a login page and without TLS inspection")
}

fn transport(failure: &Failure, host: &str, upload: bool) -> Vec<String> {
    let local = host == "localhost" || host == "127.0.0.1" || host == "[::1]";
    let proxy = || {
        "if this network reaches the internet through a proxy only, set `HTTPS_PROXY` for this process (and `NO_PROXY` for \
         what goes without)"
            .to_owned()
    };
    let allow = || format!("the firewall must allow HTTPS (port 443) from this machine to `{host}`");
    match failure {
        Failure::NotSent { .. } if local => {
            vec!["nothing listens there: start the emulator with `hrsink emulator`".to_owned()]
        }
        Failure::NotSent { stage: Stage::Dns, .. } => vec![
            format!("see whether this machine can resolve `{host}` (for example with `nslookup {host}`)"),
            proxy(),
            allow(),
        ],
        Failure::NotSent { stage: Stage::Connect, .. } => vec![allow(), proxy()],
        Failure::NotSent { stage: Stage::Proxy, .. } => vec![
            format!("the proxy must allow connections to `{host}`"),
            "if the proxy wants credentials, give them in its URL (`HTTPS_PROXY`)".to_owned(),
        ],
        Failure::NotSent { stage: Stage::Tls, .. } => vec![
            format!("something between here and `{host}` may break TLS: have the host excluded from TLS inspection"),
            "TLS 1.2 or newer is needed, end to end".to_owned(),
        ],
        Failure::Certificate(_) => vec![
            format!(
                "a proxy that inspects TLS shows a certificate of its own: have `{host}` excluded from inspection, or name \
                 the proxy's CA certificate (a PEM file) as `request.ca_file`"
            ),
            "see whether this machine's clock is right, and whether its CA certificates are up to date".to_owned(),
        ],
        Failure::Unknown { timeout: true, .. } if upload => vec![
            "the service may have taken the rows: lower `batch.max_rows`, or raise `request.timeout`, so that an answer \
             comes in time"
                .to_owned(),
            allow(),
        ],
        Failure::Unknown { .. } if upload => vec![
            "the connection ended after sending began, so the service may have taken the rows: a proxy or firewall that \
             cuts long connections does that"
                .to_owned(),
            "lower `batch.max_rows`, so that uploads are shorter".to_owned(),
        ],
        Failure::Unknown { .. } => vec![allow(), proxy()],
        Failure::Invalid(_) => vec!["please report this: it should not happen".to_owned()],
        Failure::Answer(_) => Vec::new(),
    }
}

fn outage(status: StatusCode, who: &str) -> Vec<String> {
    if !status.is_server_error() && !matches!(status.as_u16(), 408 | 429) {
        return Vec::new();
    }
    vec![
        format!("most often an outage of {who}: run again later; the next run sends what is missing"),
        "see the service health page of the Microsoft 365 admin center".to_owned(),
    ]
}

fn consent(facts: &Facts) -> String {
    let authority = facts.authority_host();
    // The form of the page is known for this authority; that of the US government clouds is not confirmed.
    if matches!(authority, "login.microsoftonline.com" | "login.windows.net") {
        format!(
            "an administrator must have consented to the Office 365 Import service, once, at https://login.microsoftonline.com\
             /common/oauth2/authorize?client_id={IMPORT_SERVICE}&response_type=code&redirect_uri=https://portal.azure.com/\
             &nonce=1234&prompt=admin_consent"
        )
    } else {
        format!(
            "an administrator must have consented to the Office 365 Import service (application `{IMPORT_SERVICE}`) \
             of the tenant's cloud, once; setting up the connector in the Purview portal asks for it"
        )
    }
}

/// The tenant is looked for in the wrong place.
fn wrong_authority(facts: &Facts) -> String {
    format!(
        "see whether `cloud` is the tenant's: tokens are asked for at `{}`; tenants of GCC High and DoD sign in at \
         `login.microsoftonline.us`, all others at `login.microsoftonline.com` or its alias `login.windows.net`",
        facts.authority_host()
    )
}

/// The job is looked for in the wrong place.
fn wrong_cloud(facts: &Facts) -> String {
    let host = facts.ingestion_host();
    match facts.endpoints.cloud_of_ingestion() {
        Some(cloud) => format!(
            "see whether `cloud: {cloud}` is the tenant's: `{host}` knows jobs of that cloud only (worldwide, gcc, gcc_high \
             and dod each have a host of their own)"
        ),
        None => format!("see whether `{host}` is the ingestion host of the tenant's cloud"),
    }
}

fn older_resource() -> String {
    "a connector set up with an older script may need that script's resource: compare the `$resource` of the script, and \
     give it as `cloud: {authority: …, resource: …, ingestion: …}`"
        .to_owned()
}
