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
use crate::http::auth::provider::entra_token_url;
use crate::http::auth::response::{OAuthError, TokenCause};
use crate::http::redact::{Redactor, describe, html_title, is_html};
use crate::http::retry::{Reason, Spent};
use crate::http::transport::{Answer, Failure};

/// A connector job, and as whom hrsink uploads. None of it is secret.
#[derive(Debug, Clone)]
pub(super) struct Job {
    pub(super) endpoints: Endpoints,
    pub(super) tenant_id: String,
    pub(super) client_id: String,
    pub(super) job_id: Uuid,
}

impl Job {
    pub(super) fn token_url(&self) -> Url {
        entra_token_url(&self.endpoints.authority, &self.tenant_id)
    }

    pub(super) fn upload_url(&self) -> Url {
        let mut url = self.endpoints.ingestion.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().push("api").push("signals");
        }
        url.set_query(Some(&format!("jobid={}", self.job_id)));
        url
    }

    pub(super) fn authority(&self) -> &str {
        self.endpoints.authority.host_str().unwrap_or_default()
    }

    pub(super) fn ingestion(&self) -> &str {
        self.endpoints.ingestion.host_str().unwrap_or_default()
    }
}

pub(super) fn token(job: &Job, error: &TokenError, spent: Spent) -> Error {
    let kind = match error.cause {
        TokenCause::Transport(Failure::Invalid(_)) | TokenCause::Local(_) => ErrorKind::Unexpected,
        _ => kind(error.is_transient(), spent.reason),
    };
    let message = format!(
        "cannot get an access token with POST {} ({spent})",
        job.token_url()
    );
    build(kind, message, error.detail.clone(), token_hints(job, error))
}

pub(super) fn upload(
    job: &Job,
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
        job.upload_url()
    );
    let mut hints = match failure {
        Failure::Answer(answer) => or_proxy(answer, job.ingestion(), status_hints(job, answer)),
        failure => upload_hints(job, failure),
    };
    if spent.unknown > 0 {
        hints.push(format!(
            "the log of the job `{}` in the Purview portal (`RecordsSaved`) shows whether the rows arrived; the next run \
             sends them again and reports it, unless `delivery.on_unknown` is `hold`",
            job.job_id
        ));
    }
    build(kind, message, came_back(failure, redactor), hints)
}

/// A 2xx that the service did not send.
pub(super) fn page(
    job: &Job,
    file_name: &str,
    answer: &Answer,
    spent: Spent,
    redactor: Redactor<'_>,
) -> Error {
    let message = format!(
        "the outcome of `{file_name}` is unknown: the response to POST {} ({spent}) was a web page",
        job.upload_url()
    );
    let hints = page_hints(job.ingestion());
    build(ErrorKind::Refused, message, describe(answer, redactor), hints)
}

/// The ingestion host does not respond as it does to a request without credentials.
pub(super) fn endpoint(job: &Job, failure: &Failure) -> Error {
    let host = job.ingestion();
    let hints = match failure {
        Failure::Answer(answer) => or_proxy(answer, host, outage_hints(answer.status, "the service")),
        failure => transport_hints(job, host, failure),
    };
    let kind = kind(failure.is_transient(), Reason::Permanent);
    let message = format!("cannot reach {}", job.endpoints.ingestion);
    build(kind, message, came_back(failure, Redactor::new(&[], &[])), hints)
}

fn build(kind: ErrorKind, message: String, came_back: String, hints: Vec<String>) -> Error {
    let error = Error::new(kind, message).with_source(came_back);
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

// Hints. `{…}` are the settings of the job, see `fill`.

const CONSENT: &str = "an administrator must have consented to the Office 365 Import service (application \
     `570d0bec-d001-4c4e-985e-3ab17fdc3073`) of the tenant's cloud, once; the Purview portal asks for it when the connector \
     is set up";
/// Known for the authorities of the commercial cloud; that of the US government clouds is not confirmed.
const CONSENT_PAGE: &str = "an administrator must have consented to the Office 365 Import service, once, at \
     https://login.microsoftonline.com/common/oauth2/authorize?client_id=570d0bec-d001-4c4e-985e-3ab17fdc3073\
     &response_type=code&redirect_uri=https://portal.azure.com/&nonce=1234&prompt=admin_consent";
const WRONG_CLOUD: &str = "check that `cloud: {cloud}` is the tenant's: `{ingestion}` knows jobs of that cloud only \
     (worldwide, gcc, gcc_high and dod each have a host of their own)";
const WRONG_HOST: &str = "check that `{ingestion}` is the ingestion host of the tenant's cloud";
const WRONG_AUTHORITY: &str = "check that `cloud` is the tenant's: tokens are requested from `{authority}`; tenants of GCC \
     High and DoD sign in at `login.microsoftonline.us`, all others at `login.microsoftonline.com` or its alias \
     `login.windows.net`";
const WRONG_APPLICATION: &str = "check in the Purview portal that the job `{job_id}` was created for the application \
     `{client_id}`: a job accepts uploads of its own application only";
const WRONG_CLOCK: &str = "check this machine's clock: a token is valid only between two points in time";
const OLDER_RESOURCE: &str = "a connector set up with an older script may need that script's resource: compare the \
     `$resource` of the script, and set it as `cloud: {authority: …, resource: …, ingestion: …}`";

fn code_hints(code: u64) -> Option<&'static [&'static str]> {
    Some(match code {
        7_000_215 => &[
            "the client secret is wrong: use the secret's value, not its ID (Microsoft Entra shows the value only once, \
             right after the secret is created)",
            "check that the secret belongs to the application `{client_id}`",
            "check whether the file or variable of the secret contains a line break, a blank or a quote",
        ],
        7_000_222 => &[
            "the client secret has expired: create a new one for the application `{client_id}` in Microsoft Entra (App \
           registrations, Certificates & secrets), and replace the old value",
        ],
        700_016 => &[
            "the application `{client_id}` is not in the tenant `{tenant_id}`: `client_id` must be the application \
             (client) ID, not the object ID and not the secret's ID",
            "check that `tenant_id` is the tenant in which the application is registered",
            WRONG_AUTHORITY,
        ],
        90_002 => &[
            "the tenant `{tenant_id}` does not exist here: `tenant_id` must be the directory (tenant) ID",
            WRONG_AUTHORITY,
        ],
        900_023 => &[
            "`tenant_id` (`{tenant_id}`) must be the directory (tenant) ID, a GUID, or one of the tenant's domain names",
        ],
        500_011 => &[
            "the service `{resource}` is unknown in the tenant `{tenant_id}`: most often the consent step was skipped",
            CONSENT,
            WRONG_AUTHORITY,
            OLDER_RESOURCE,
        ],
        53_003 => &[
            "Conditional Access blocks the application `{client_id}`: an administrator finds the policy in the sign-in \
             logs of service principals in Microsoft Entra, by the correlation id",
            "a policy for workload identities often allows certain locations only: check that this machine's public \
             address is one of them",
        ],
        700_027 => &[
            "the certificate or its signature was rejected: check that it is registered with the application \
             `{client_id}` and has not expired",
            WRONG_CLOCK,
        ],
        _ => return None,
    })
}

fn fill(job: &Job, hints: &[&str]) -> Vec<String> {
    let cloud = job.endpoints.cloud_of_ingestion();
    let known_page = matches!(job.authority(), "login.microsoftonline.com" | "login.windows.net");
    let values = [
        ("{cloud}", cloud.unwrap_or_default()),
        ("{authority}", job.authority()),
        ("{ingestion}", job.ingestion()),
        ("{resource}", &job.endpoints.resource),
        ("{tenant_id}", &job.tenant_id),
        ("{client_id}", &job.client_id),
        ("{job_id}", &job.job_id.to_string()),
    ];
    let fill = |hint: &&str| {
        let hint = match *hint {
            CONSENT if known_page => CONSENT_PAGE,
            WRONG_CLOUD if cloud.is_none() => WRONG_HOST,
            hint => hint,
        };
        values
            .iter()
            .fold(hint.to_owned(), |hint, (name, value)| hint.replace(name, value))
    };
    hints.iter().map(fill).collect()
}

fn token_hints(job: &Job, error: &TokenError) -> Vec<String> {
    let host = job.authority();
    match &error.cause {
        TokenCause::Refused(error) => oauth_hints(job, error),
        TokenCause::Transport(Failure::Answer(answer)) if answer.status == StatusCode::NOT_FOUND => {
            let tenant =
                "check that `tenant_id` (`{tenant_id}`) is the tenant's id or one of its domain names";
            fill(job, &[WRONG_AUTHORITY, tenant])
        }
        TokenCause::Transport(Failure::Answer(answer)) => {
            or_proxy(answer, host, outage_hints(answer.status, "Microsoft Entra ID"))
        }
        TokenCause::Transport(failure) => transport_hints(job, host, failure),
        TokenCause::Unusable { html: true, .. } => page_hints(host),
        TokenCause::Unusable { truncated: true, .. } => {
            vec!["run again later: the response was truncated".to_owned()]
        }
        TokenCause::Unusable { .. } => {
            let proxy = "check whether a proxy between here and `{authority}` responds in its place";
            fill(job, &[WRONG_AUTHORITY, proxy])
        }
        TokenCause::Local(error) => error.hints().map(str::to_owned).collect(),
    }
}

fn oauth_hints(job: &Job, error: &OAuthError) -> Vec<String> {
    if let Some(hints) = error.codes.iter().copied().find_map(code_hints) {
        return fill(job, hints);
    }
    let mut hints = match error.status {
        408 | 429 | 500..=599 => vec!["run again later: the cause is transient".to_owned()],
        _ => fill(
            job,
            &[
                "check that `tenant_id` (`{tenant_id}`), `client_id` (`{client_id}`) and the client secret belong together, \
               and that `cloud` is the tenant's",
            ],
        ),
    };
    if let Some(code) = error.codes.first() {
        hints.push(format!(
            "look up the code at https://login.microsoftonline.com/error?code={code}"
        ));
    }
    hints
}

fn status_hints(job: &Job, answer: &Answer) -> Vec<String> {
    let hints: &[&str] = match answer.status.as_u16() {
        400 => &[
            "compare the column names with those mapped for the job in the portal: they are case-insensitive, spaces \
             count, and without a mandatory column nothing is imported",
            "check that the job was created for this scenario, and that a job of several scenarios gets its scenario \
             column",
            "check that `job_id` (`{job_id}`) is an HR connector job",
        ],
        401 => &[
            WRONG_CLOUD,
            "check that the job `{job_id}` is in the tenant `{tenant_id}`",
            CONSENT,
            OLDER_RESOURCE,
            WRONG_CLOCK,
        ],
        403 if names_other_app(answer) => &[WRONG_APPLICATION, WRONG_CLOUD],
        403 => &[
            WRONG_APPLICATION,
            CONSENT,
            WRONG_CLOUD,
            "check that the job `{job_id}` still exists",
        ],
        404 => &[
            "check that the job `{job_id}` still exists: `job_id` is the ID that the portal shows",
            WRONG_CLOUD,
        ],
        413 => &["the batch is too large: lower `batch.max_rows` or `batch.max_bytes`"],
        408 => &["the upload took too long: lower `batch.max_rows` or `max_concurrent`, or raise `timeout`"],
        429 => &[
            "the service accepts no more requests for now: run again later to send the rest",
            "lower `max_concurrent`",
        ],
        500 => &[
            "this status has also been seen for rows with more or fewer values than the header: if another program \
             wrote the file, check the number of commas in each row",
        ],
        501..=599 => &[],
        _ => &[
            WRONG_CLOUD,
            "the service does not document this status: check whether a proxy responds in its place",
        ],
    };
    let outage = match answer.status.is_server_error() {
        true => outage_hints(answer.status, "the service"),
        false => Vec::new(),
    };
    [outage, fill(job, hints)].concat()
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

pub(super) fn page_hints(host: &str) -> Vec<String> {
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

fn transport_hints(job: &Job, host: &str, failure: &Failure) -> Vec<String> {
    match failure {
        Failure::NotSent { .. } if job.endpoints.is_local() => {
            vec!["no server listens there: start the emulator with `hrsink emulator`".to_owned()]
        }
        failure => failure.hints(host, ""),
    }
}

fn upload_hints(job: &Job, failure: &Failure) -> Vec<String> {
    let own: &[&str] = match failure {
        Failure::Unknown { timeout: true, .. } => &[
            "the service may have received the rows: lower `batch.max_rows`, or raise `timeout`, so that the response \
             arrives in time",
        ],
        Failure::Unknown { .. } => &[
            "the connection ended after the upload began, so the service may have received the rows: lower \
             `batch.max_rows`, so that uploads are shorter (proxies and firewalls may limit long connections)",
        ],
        _ => &[],
    };
    [fill(job, own), transport_hints(job, job.ingestion(), failure)].concat()
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

#[cfg(test)]
mod tests;
