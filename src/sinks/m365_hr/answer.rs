//! What a response means: an error that a person can act on.
//!
//! The error says what was tried (method, URL without secrets, attempts, time), its cause what came back, and its hints
//! the likely causes, most likely first. Statuses decide the [`ErrorKind`]; codes and texts of the service change
//! without notice and are good for hints only.

use reqwest::StatusCode;
use url::Url;
use uuid::Uuid;

use super::cloud::Endpoints;
use crate::error::{Error, ErrorKind};
use crate::http::auth::TokenError;
use crate::http::auth::response::{OAuthError, TokenCause};
use crate::http::redact::{Redactor, describe, html_title, is_html};
use crate::http::retry::{Reason, Spent, Tally};
use crate::http::transport::{Answer, Failure, Stage};

/// The application id of the Office 365 Import service in every tenant.
const IMPORT_SERVICE: &str = "570d0bec-d001-4c4e-985e-3ab17fdc3073";

const WRONG_CLOCK: &str = "check this machine's clock: a token is valid only between two points in time";

/// The settings that hints name. None of them is secret.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    pub(crate) endpoints: Endpoints,
    pub(crate) tenant_id: String,
    pub(crate) client_id: String,
    pub(crate) job_id: Uuid,
    pub(crate) token_url: Url,
    pub(crate) upload_url: Url,
}

impl Facts {
    fn authority(&self) -> &str {
        self.endpoints.authority.host_str().unwrap_or_default()
    }

    fn ingestion(&self) -> &str {
        self.endpoints.ingestion.host_str().unwrap_or_default()
    }
}

/// What came back, as the cause of an error.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct CameBack(String);

/// There is no token, so nothing was sent.
pub(crate) fn token_error(facts: &Facts, error: &TokenError, spent: Spent) -> Error {
    let kind = match error.cause {
        TokenCause::Transport(Failure::Invalid(_)) | TokenCause::Local(_) => ErrorKind::Unexpected,
        _ => kind(error.is_transient(), spent.reason),
    };
    let message = format!(
        "cannot get an access token with POST {} ({spent})",
        facts.token_url
    );
    build(kind, message, error.detail.clone(), token_hints(facts, error))
}

pub(crate) fn upload_error(
    facts: &Facts,
    file_name: &str,
    failure: &Failure,
    spent: Spent,
    redactor: Redactor<'_>,
) -> Error {
    let kind = match failure {
        Failure::Invalid(_) => ErrorKind::Unexpected,
        failure => kind(failure.is_transient(), spent.reason),
    };
    let message = format!(
        "cannot upload `{file_name}` with POST {} ({spent})",
        facts.upload_url
    );
    let mut hints = match failure {
        Failure::Answer(answer) => or_proxy(answer, facts.ingestion(), status_hints(facts, answer)),
        failure => transport_hints(failure, facts.ingestion(), true),
    };
    if spent.tally.unknown > 0 {
        hints.push(format!(
            "the log of the job `{}` in the Purview portal (`RecordsSaved`) shows whether the rows arrived; the next run \
             sends them again and reports it, unless `delivery.on_unknown` is `hold`",
            facts.job_id
        ));
    }
    build(kind, message, came_back(failure, redactor), hints)
}

/// A 2xx that the service did not send.
pub(crate) fn page_error(
    facts: &Facts,
    file_name: &str,
    answer: &Answer,
    tally: Tally,
    redactor: Redactor<'_>,
) -> Error {
    let spent = Spent {
        tally,
        reason: Reason::Permanent,
    };
    let message = format!(
        "the outcome of `{file_name}` is unknown: the response to POST {} ({spent}) was a web page",
        facts.upload_url
    );
    build(
        ErrorKind::Refused,
        message,
        describe(answer, redactor),
        page_hints(facts.ingestion()),
    )
}

/// The ingestion host does not respond as it does to a request without credentials.
pub(crate) fn endpoint_error(facts: &Facts, failure: &Failure) -> Error {
    let host = facts.ingestion();
    let hints = match failure {
        Failure::Answer(answer) => or_proxy(answer, host, outage_hints(answer.status, "the service")),
        failure => transport_hints(failure, host, false),
    };
    let kind = kind(failure.is_transient(), Reason::Permanent);
    let message = format!("cannot reach {}", facts.endpoints.ingestion);
    build(kind, message, came_back(failure, Redactor::secrets(&[])), hints)
}

fn build(kind: ErrorKind, message: String, came_back: String, hints: Vec<String>) -> Error {
    let error = Error::new(kind, message).with_source(CameBack(came_back));
    hints.into_iter().fold(error, Error::with_hint)
}

fn kind(transient: bool, reason: Reason) -> ErrorKind {
    match (reason, transient) {
        (Reason::Cancelled, _) => ErrorKind::Interrupted,
        (_, true) => ErrorKind::Transient,
        (_, false) => ErrorKind::Refused,
    }
}

fn came_back(failure: &Failure, redactor: Redactor<'_>) -> String {
    match failure {
        Failure::Answer(answer) => describe(answer, redactor),
        failure => failure.to_string(),
    }
}

fn token_hints(facts: &Facts, error: &TokenError) -> Vec<String> {
    let host = facts.authority();
    match &error.cause {
        TokenCause::Refused(error) => oauth_hints(facts, error),
        TokenCause::Transport(Failure::Answer(answer)) if answer.status == StatusCode::NOT_FOUND => vec![
            wrong_authority(facts),
            format!(
                "check that `tenant_id` (`{}`) is the tenant's id or one of its domain names",
                facts.tenant_id
            ),
        ],
        TokenCause::Transport(Failure::Answer(answer)) => {
            or_proxy(answer, host, outage_hints(answer.status, "Microsoft Entra ID"))
        }
        TokenCause::Transport(failure) => transport_hints(failure, host, false),
        TokenCause::Unusable { html: true, .. } => page_hints(host),
        TokenCause::Unusable { truncated: true, .. } => {
            vec!["run again later: the response was truncated".to_owned()]
        }
        TokenCause::Unusable { .. } => {
            vec![
                wrong_authority(facts),
                format!("check whether a proxy between here and `{host}` responds in its place"),
            ]
        }
        TokenCause::Local(error) => error.hints().map(str::to_owned).collect(),
    }
}

fn oauth_hints(facts: &Facts, error: &OAuthError) -> Vec<String> {
    if let Some(hints) = error.codes.iter().find_map(|code| aadsts_hints(facts, *code)) {
        return hints;
    }
    let mut hints = match error.status {
        408 | 429 | 500..=599 => vec!["run again later: the cause is transient".to_owned()],
        _ => vec![format!(
            "check that `tenant_id` (`{}`), `client_id` (`{}`) and the client secret belong together, and that `cloud` \
             is the tenant's",
            facts.tenant_id, facts.client_id
        )],
    };
    if let Some(code) = error.codes.first() {
        hints.push(format!(
            "look up the code at https://login.microsoftonline.com/error?code={code}"
        ));
    }
    hints
}

fn aadsts_hints(facts: &Facts, code: u64) -> Option<Vec<String>> {
    let Facts {
        tenant_id, client_id, ..
    } = facts;
    let resource = &facts.endpoints.resource;
    Some(match code {
        7_000_215 => vec![
            "the client secret is wrong: use the secret's value, not its ID (Microsoft Entra shows the value only once, \
             right after the secret is created)"
                .to_owned(),
            format!("check that the secret belongs to the application `{client_id}`"),
            "check whether the file or variable of the secret contains a line break, a blank or a quote".to_owned(),
        ],
        7_000_222 => vec![format!(
            "the client secret has expired: create a new one for the application `{client_id}` in Microsoft Entra (App \
             registrations, Certificates & secrets), and replace the old value"
        )],
        700_016 => vec![
            format!(
                "the application `{client_id}` is not in the tenant `{tenant_id}`: `client_id` must be the application \
                 (client) ID, not the object ID and not the secret's ID"
            ),
            "check that `tenant_id` is the tenant in which the application is registered".to_owned(),
            wrong_authority(facts),
        ],
        90_002 => vec![
            format!("the tenant `{tenant_id}` does not exist here: `tenant_id` must be the directory (tenant) ID"),
            wrong_authority(facts),
        ],
        900_023 => vec![format!(
            "`tenant_id` (`{tenant_id}`) must be the directory (tenant) ID, a GUID, or one of the tenant's domain names"
        )],
        500_011 => vec![
            format!(
                "the service `{resource}` is unknown in the tenant `{tenant_id}`: most often the consent step was skipped"
            ),
            consent(facts),
            wrong_authority(facts),
            older_resource(),
        ],
        53_003 => vec![
            format!(
                "Conditional Access blocks the application `{client_id}`: an administrator finds the policy in the sign-in \
                 logs of service principals in Microsoft Entra, by the correlation id"
            ),
            "a policy for workload identities often allows certain locations only: check that this machine's public \
             address is one of them"
                .to_owned(),
        ],
        700_027 => vec![
            format!(
                "the certificate or its signature was rejected: check that it is registered with the application \
                 `{client_id}` and has not expired"
            ),
            WRONG_CLOCK.to_owned(),
        ],
        _ => return None,
    })
}

fn status_hints(facts: &Facts, answer: &Answer) -> Vec<String> {
    let Facts {
        client_id,
        job_id,
        tenant_id,
        ..
    } = facts;
    let wrong_app = format!(
        "check in the Purview portal that the job `{job_id}` was created for the application `{client_id}`: a job accepts \
         uploads of its own application only"
    );
    let exists = format!("check that the job `{job_id}` still exists");
    match answer.status.as_u16() {
        400 => vec![
            "compare the column names with those mapped for the job in the portal: they are case-insensitive, spaces \
             count, and without a mandatory column nothing is imported"
                .to_owned(),
            "check that the job was created for this scenario, and that a job of several scenarios gets its scenario \
             column"
                .to_owned(),
            format!("check that `job_id` (`{job_id}`) is an HR connector job"),
        ],
        401 => vec![
            wrong_cloud(facts),
            format!("check that the job `{job_id}` is in the tenant `{tenant_id}`"),
            consent(facts),
            older_resource(),
            WRONG_CLOCK.to_owned(),
        ],
        403 if names_other_app(answer) => vec![wrong_app, wrong_cloud(facts)],
        403 => vec![wrong_app, consent(facts), wrong_cloud(facts), exists],
        404 => vec![exists + ": `job_id` is the ID that the portal shows", wrong_cloud(facts)],
        413 => vec!["the batch is too large: lower `batch.max_rows` or `batch.max_bytes`".to_owned()],
        408 => vec!["the upload took too long: lower `batch.max_rows` or `max_concurrent`, or raise `timeout`".to_owned()],
        429 => vec![
            "the service accepts no more requests for now: run again later to send the rest".to_owned(),
            "lower `max_concurrent`".to_owned(),
        ],
        500 => {
            let mut hints = outage_hints(answer.status, "the service");
            hints.push(
                "this status has also been seen for rows with more or fewer values than the header: if another program \
                 wrote the file, check the number of commas in each row"
                    .to_owned(),
            );
            hints
        }
        501..=599 => outage_hints(answer.status, "the service"),
        _ => vec![
            wrong_cloud(facts),
            "the service is not known to use this status: check whether a proxy responds in its place".to_owned(),
        ],
    }
}

fn names_other_app(answer: &Answer) -> bool {
    let says = |text: &str| text.to_ascii_lowercase().contains("appid do not match");
    answer.reason.as_deref().is_some_and(says) || says(&String::from_utf8_lossy(&answer.body))
}

/// `own` hints for a response of the service, with those for a proxy or firewall that may have responded instead.
fn or_proxy(answer: &Answer, host: &str, own: Vec<String>) -> Vec<String> {
    if answer.status == StatusCode::PROXY_AUTHENTICATION_REQUIRED {
        return vec![
            "the proxy requires credentials: put them in its URL (`proxy` or `HTTPS_PROXY`)".to_owned(),
        ];
    }
    if answer.status.is_redirection() {
        return vec![
            format!(
                "`{host}` redirects to another host, which hrsink does not follow with credentials: most often a proxy \
                 redirects to its login page"
            ),
            allow_page(host),
        ];
    }
    if !is_html(&answer.body) {
        return own;
    }
    // Web servers in front of the service write errors and outages as pages too, so both are given.
    let title = html_title(&answer.body).unwrap_or_default().to_ascii_lowercase();
    let blocked = ["denied", "blocked"].iter().any(|word| title.contains(word));
    if answer.status.is_server_error() && !blocked {
        [own, page_hints(host)].concat()
    } else {
        [page_hints(host), own].concat()
    }
}

/// Hints on a web page instead of a response of `host`.
pub(crate) fn page_hints(host: &str) -> Vec<String> {
    vec![
        format!(
            "the web page is probably not from the service: most often a proxy or firewall between here and `{host}` shows \
             its login or block page"
        ),
        allow_page(host),
    ]
}

fn allow_page(host: &str) -> String {
    format!(
        "allow HTTPS (port 443) from this machine to `{host}` without a login page and without a web filter"
    )
}

fn transport_hints(failure: &Failure, host: &str, upload: bool) -> Vec<String> {
    let local = matches!(host, "localhost" | "127.0.0.1" | "[::1]");
    let proxy = || {
        "if this network reaches the internet only through a proxy, set `proxy` or `HTTPS_PROXY` (and `NO_PROXY` for \
         exceptions)"
            .to_owned()
    };
    let allow = || format!("the firewall must allow HTTPS (port 443) from this machine to `{host}`");
    match failure {
        Failure::NotSent { .. } if local => {
            vec!["no server listens there: start the emulator with `hrsink emulator`".to_owned()]
        }
        Failure::NotSent { stage: Stage::Dns, .. } => vec![
            format!("check whether this machine can resolve `{host}` (for example with `nslookup {host}`)"),
            proxy(),
            allow(),
        ],
        Failure::NotSent { stage: Stage::Connect, .. } => vec![allow(), proxy()],
        Failure::NotSent { stage: Stage::Proxy, .. } => vec![
            format!("the proxy must allow connections to `{host}`"),
            "if the proxy requires credentials, put them in its URL (`proxy` or `HTTPS_PROXY`)".to_owned(),
        ],
        Failure::NotSent { stage: Stage::Tls, .. } => vec![
            format!("a device in between may break TLS: have `{host}` excluded from TLS inspection"),
            "TLS 1.2 or newer is required, end to end".to_owned(),
        ],
        Failure::Certificate(_) => vec![
            format!(
                "a proxy that inspects TLS presents its own certificate: have `{host}` excluded from inspection, or set \
                 `tls.ca_file` to the CA certificate of the proxy (a PEM file)"
            ),
            "check this machine's clock, and that its CA certificates are up to date".to_owned(),
        ],
        Failure::Unknown { timeout: true, .. } if upload => vec![
            "the service may have received the rows: lower `batch.max_rows`, or raise `timeout`, so that the response \
             arrives in time"
                .to_owned(),
            allow(),
        ],
        Failure::Unknown { .. } if upload => vec![
            "the connection ended after the upload began, so the service may have received the rows: proxies and \
             firewalls that limit long connections do that"
                .to_owned(),
            "lower `batch.max_rows`, so that uploads are shorter".to_owned(),
        ],
        Failure::Unknown { .. } => vec![allow(), proxy()],
        Failure::Invalid(_) => vec!["please report this: it should not happen".to_owned()],
        Failure::Answer(_) => Vec::new(),
    }
}

fn outage_hints(status: StatusCode, service: &str) -> Vec<String> {
    if !status.is_server_error() && !matches!(status.as_u16(), 408 | 429) {
        return Vec::new();
    }
    vec![
        format!("most often an outage of {service}: run again later; the next run sends what is missing"),
        "check the service health page of the Microsoft 365 admin center".to_owned(),
    ]
}

fn consent(facts: &Facts) -> String {
    // The page is known for these authorities; that of the US government clouds is not confirmed.
    if matches!(
        facts.authority(),
        "login.microsoftonline.com" | "login.windows.net"
    ) {
        format!(
            "an administrator must have consented to the Office 365 Import service, once, at https://login.microsoftonline.com\
             /common/oauth2/authorize?client_id={IMPORT_SERVICE}&response_type=code&redirect_uri=https://portal.azure.com/\
             &nonce=1234&prompt=admin_consent"
        )
    } else {
        format!(
            "an administrator must have consented to the Office 365 Import service (application `{IMPORT_SERVICE}`) of the \
             tenant's cloud, once; the Purview portal asks for it when the connector is set up"
        )
    }
}

fn wrong_authority(facts: &Facts) -> String {
    format!(
        "check that `cloud` is the tenant's: tokens are requested from `{}`; tenants of GCC High and DoD sign in at \
         `login.microsoftonline.us`, all others at `login.microsoftonline.com` or its alias `login.windows.net`",
        facts.authority()
    )
}

fn wrong_cloud(facts: &Facts) -> String {
    let host = facts.ingestion();
    match facts.endpoints.cloud_of_ingestion() {
        Some(cloud) => format!(
            "check that `cloud: {cloud}` is the tenant's: `{host}` knows jobs of that cloud only (worldwide, gcc, gcc_high \
             and dod each have a host of their own)"
        ),
        None => format!("check that `{host}` is the ingestion host of the tenant's cloud"),
    }
}

fn older_resource() -> String {
    "a connector set up with an older script may need that script's resource: compare the `$resource` of the script, and \
     set it as `cloud: {authority: …, resource: …, ingestion: …}`"
        .to_owned()
}

#[cfg(test)]
mod tests;
