//! What went wrong with a store, in words that hold no address with a signature, and with what to do about it.
//!
//! The clients' own texts are not shown: they hold the address that was asked, whose query may be a login. What a service
//! answered travels through them as a [`Note`], what the transport met as a [`Failure`].

use std::error::Error as StdError;
use std::fmt;

use reqwest::StatusCode;
use reqwest::header::HeaderMap;
use serde::{Deserialize, Serialize};

#[cfg(any(feature = "s3", feature = "azure", feature = "gcs"))]
use crate::error::Error;
use crate::error::ErrorKind;
use crate::http::redact::{clean, clean_bytes};
use crate::http::transport::Failure;
#[cfg(any(feature = "s3", feature = "azure", feature = "gcs"))]
use crate::storage::blocks::changed;

/// Most characters of a service's own words that are shown.
const SHOWN: usize = 240;

/// What is told of an answer that is an error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Note {
    /// First, so that it can be found in a longer text.
    hrsink_note: u16,
    /// Who answered: the store, or whoever gives out logins.
    host: String,
    code: Option<String>,
    message: Option<String>,
    /// Where the bucket is.
    region: Option<String>,
    request: Option<String>,
}

#[cfg(any(feature = "s3", feature = "azure", feature = "gcs"))]
const MARK: &str = "{\"hrsink_note\":";

impl Note {
    pub(super) fn new(status: StatusCode, host: String, headers: &HeaderMap, body: &[u8]) -> Self {
        let header = |name: &str| {
            let value = headers.get(name)?;
            Some(clean_bytes(value.as_bytes(), 100)).filter(|value| !value.is_empty())
        };
        let (code, message) = told(body);
        Self {
            hrsink_note: status.as_u16(),
            host,
            code: code.or_else(|| header("x-ms-error-code")),
            message,
            region: header("x-amz-bucket-region"),
            request: header("x-amz-request-id")
                .or_else(|| header("x-ms-request-id"))
                .or_else(|| header("x-guploader-uploadid")),
        }
    }

    #[cfg(any(feature = "s3", feature = "azure", feature = "gcs"))]
    fn find(text: &str) -> Option<Self> {
        let json = &text[text.find(MARK)?..];
        serde_json::Deserializer::from_str(json).into_iter().next()?.ok()
    }

    pub(super) fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.hrsink_note).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    #[cfg(any(feature = "s3", feature = "azure", feature = "gcs"))]
    fn is_code(&self, codes: &[&str]) -> bool {
        self.code.as_deref().is_some_and(|code| codes.contains(&code))
    }

    /// In words.
    pub(super) fn said(&self) -> String {
        let mut text = format!("{} answered {}", self.host, self.status());
        match (&self.code, &self.message) {
            (Some(code), Some(message)) => text.push_str(&format!(": {code}: {message}")),
            (Some(one), None) | (None, Some(one)) => text.push_str(&format!(": {one}")),
            (None, None) => {}
        }
        if let Some(request) = &self.request {
            text.push_str(&format!(" (request {request})"));
        }
        text
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // It holds texts and a number.
        f.write_str(&serde_json::to_string(self).unwrap_or_default())
    }
}

/// The code and the message in an error's body: XML of stores, JSON of Google and of services that give out logins.
fn told(body: &[u8]) -> (Option<String>, Option<String>) {
    let text = String::from_utf8_lossy(body);
    let shown = |text: &str| {
        // Behind the first line are request numbers and what was to be signed.
        let line = text.trim().lines().next().unwrap_or_default();
        Some(clean(&without_queries(line), SHOWN)).filter(|text| !text.is_empty())
    };
    let element = |name: &str| {
        let (_, rest) = text.split_once(&format!("<{name}>"))?;
        let (inner, _) = rest.split_once(&format!("</{name}>"))?;
        shown(
            &inner
                .replace("&quot;", "\"")
                .replace("&apos;", "'")
                .replace("&lt;", "<")
                .replace("&gt;", ">")
                .replace("&amp;", "&"),
        )
    };
    if let Ok(json) = serde_json::from_slice::<serde_json::Value>(body) {
        let error = json.get("error").unwrap_or(&json);
        let text = |value: Option<&serde_json::Value>| shown(value?.as_str()?);
        let code =
            text(Some(error)).or_else(|| text(error.get("status")).or_else(|| text(error.get("code"))));
        let message = text(json.get("error_description"))
            .or_else(|| text(error.get("message")))
            .or_else(|| text(error.get("Message")));
        return (code, message);
    }
    (element("Code"), element("Message"))
}

/// The text with every address cut at its `?`.
fn without_queries(text: &str) -> String {
    text.split_inclusive(char::is_whitespace)
        .map(|word| match word.split_once('?') {
            Some((address, query)) if address.contains("://") => {
                let end = query.len() - query.trim_end().len();
                format!("{address}?…{}", &query[query.len() - end..])
            }
            _ => word.to_owned(),
        })
        .collect()
}

/// The machine has no service that gives it an identity.
#[derive(Debug)]
#[cfg(any(feature = "s3", feature = "azure", feature = "gcs"))]
pub(super) struct NoIdentity;

#[cfg(any(feature = "s3", feature = "azure", feature = "gcs"))]
impl fmt::Display for NoIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("there is no login in the settings or the environment, and this machine has no identity of its own")
    }
}

#[cfg(any(feature = "s3", feature = "azure", feature = "gcs"))]
impl StdError for NoIdentity {}

/// What somebody said.
#[derive(Debug)]
pub(super) struct Said(pub(super) String);

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl StdError for Said {}

/// Whether a status is one of a cause that passes.
pub(super) fn passes(status: StatusCode) -> bool {
    status.is_server_error() || matches!(status.as_u16(), 408 | 425 | 429)
}

/// Kind and advice of what the transport met.
pub(super) fn transport(failure: &Failure, block: &str) -> (ErrorKind, Option<String>) {
    match failure {
        Failure::Certificate(_) => (
            ErrorKind::Config,
            Some(format!(
                "if the address is right, name the authority of its certificate in `{block}.extra_ca`"
            )),
        ),
        Failure::Invalid(_) => (ErrorKind::Unexpected, None),
        _ => (ErrorKind::Transient, None),
    }
}

/// The kinds of stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg(any(feature = "s3", feature = "azure", feature = "gcs"))]
#[cfg_attr(
    not(all(feature = "s3", feature = "azure", feature = "gcs")),
    allow(dead_code, reason = "this build does not have all of them")
)]
pub(super) enum Kind {
    S3,
    Azure,
    Gcs,
}

/// What was tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg(any(feature = "s3", feature = "azure", feature = "gcs"))]
pub(super) enum Doing {
    List,
    Look,
    Read,
    Move,
    Remove,
}

#[cfg(any(feature = "s3", feature = "azure", feature = "gcs"))]
impl Kind {
    /// The key of the settings.
    fn block(self) -> &'static str {
        match self {
            Self::S3 => "s3",
            Self::Azure => "azure",
            Self::Gcs => "gcs",
        }
    }

    /// What gives the right to do something.
    fn permission(self, doing: Doing) -> &'static str {
        match (self, doing) {
            (Self::S3, Doing::List) => "the login needs `s3:ListBucket` on the bucket",
            (Self::S3, Doing::Look | Doing::Read) => {
                "the login needs `s3:GetObject` on the key, and `s3:ListBucket` on the bucket for S3 to say that a key is \
                 not there; one that is encrypted with a KMS key needs `kms:Decrypt` on that"
            }
            (Self::S3, Doing::Move) => {
                "to move a file the login needs `s3:GetObject`, `s3:PutObject` and `s3:DeleteObject`"
            }
            (Self::S3, Doing::Remove) => "the login needs `s3:DeleteObject` on the key",
            (Self::Azure, Doing::List | Doing::Look | Doing::Read) => {
                "the login needs the role Storage Blob Data Reader on the container, or a signature with the permissions \
                 `r` and `l`; a firewall of the account answers in the same way"
            }
            (Self::Azure, Doing::Move | Doing::Remove) => {
                "the login needs the role Storage Blob Data Contributor on the container, or a signature with the \
                 permissions `r`, `c`, `w` and `d`"
            }
            (Self::Gcs, Doing::List | Doing::Look | Doing::Read) => {
                "the login needs the role Storage Object Viewer (`roles/storage.objectViewer`) on the bucket"
            }
            (Self::Gcs, Doing::Move | Doing::Remove) => {
                "the login needs the role Storage Object User (`roles/storage.objectUser`) on the bucket"
            }
        }
    }

    fn login(self) -> &'static str {
        match self {
            Self::S3 => {
                "give `s3.access_key_id` and `s3.secret_access_key`, set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or \
                 `s3: {unsigned: true}` for a public bucket; profiles in ~/.aws are not read"
            }
            Self::Azure => {
                "give `azure.access_key`, `azure.sas_token` or an app, set AZURE_STORAGE_ACCOUNT_KEY or AZURE_CLIENT_ID, \
                 AZURE_TENANT_ID and AZURE_CLIENT_SECRET, or `azure: {unsigned: true}` for a public container"
            }
            Self::Gcs => {
                "give `gcs.service_account`, set GOOGLE_APPLICATION_CREDENTIALS, or `gcs: {unsigned: true}` for a public \
                 bucket"
            }
        }
    }
}

/// What a client's error comes down to.
#[cfg(any(feature = "s3", feature = "azure", feature = "gcs"))]
enum Found {
    Answer(Note),
    Transport(Failure),
    NoIdentity,
    Key(String),
    Other(String),
}

#[cfg(any(feature = "s3", feature = "azure", feature = "gcs"))]
impl Found {
    fn of(error: &object_store::Error) -> Self {
        let mut last = String::new();
        let mut next: Option<&(dyn StdError + 'static)> = Some(error);
        while let Some(error) = next {
            if let Some(failure) = error.downcast_ref::<Failure>() {
                return Self::Transport(failure.clone());
            }
            if error.is::<NoIdentity>() {
                return Self::NoIdentity;
            }
            if let Some(error) = error.downcast_ref::<object_store::path::Error>() {
                return Self::Key(clean(&error.to_string(), SHOWN));
            }
            last = error.to_string();
            next = error.source();
        }
        match Note::find(&last).or_else(|| Note::find(&error.to_string())) {
            Some(note) => Self::Answer(note),
            None => Self::Other(clean(&without_queries(&last), SHOWN)),
        }
    }
}

/// What a client that cannot be made says.
#[cfg(any(feature = "s3", feature = "azure", feature = "gcs"))]
pub(super) fn setup_text(error: &object_store::Error) -> String {
    let mut next: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(error) = next {
        if let Some(own) = error.downcast_ref::<Error>() {
            return own.chain();
        }
        next = error.source();
    }
    match Found::of(error) {
        Found::Other(said) | Found::Key(said) => said,
        Found::Answer(note) => note.said(),
        Found::Transport(failure) => failure.to_string(),
        Found::NoIdentity => NoIdentity.to_string(),
    }
}

/// Our error for what failed with `what`, a key or the begin of keys, of `store`.
#[cfg(any(feature = "s3", feature = "azure", feature = "gcs"))]
pub(super) fn explain(
    error: &object_store::Error,
    kind: Kind,
    store: &str,
    doing: Doing,
    what: &str,
) -> Error {
    let (error_kind, said, hints) = match Found::of(error) {
        Found::Answer(note) => {
            if doing == Doing::Read && matches!(note.hrsink_note, 412 | 416) {
                return changed();
            }
            let (error_kind, hints) = judge(&note, kind, doing);
            (error_kind, note.said(), hints)
        }
        Found::Transport(failure) => {
            let (error_kind, hint) = transport(&failure, kind.block());
            (error_kind, failure.to_string(), hint.into_iter().collect())
        }
        Found::NoIdentity => (ErrorKind::Config, NoIdentity.to_string(), vec![kind.login().to_owned()]),
        Found::Key(said) => (
            ErrorKind::Input,
            said,
            vec!["keys with an empty part (`a//b`), with `.` or `..` as a part, or with control characters cannot be \
                  read: rename them, or give `path` a folder without them"
                .to_owned()],
        ),
        Found::Other(said) => (ErrorKind::Unexpected, said, Vec::new()),
    };
    let error = match doing {
        // Whoever reads says what is read.
        Doing::Read => Error::new(error_kind, said),
        _ => {
            let doing = match doing {
                Doing::List => "list",
                Doing::Move => "move",
                Doing::Remove => "remove",
                Doing::Look | Doing::Read => "look at",
            };
            Error::new(error_kind, format!("cannot {doing} `{store}/{what}`")).with_source(Said(said))
        }
    };
    hints.into_iter().fold(error, Error::with_hint)
}

/// Kind and advice of an answer.
#[cfg(any(feature = "s3", feature = "azure", feature = "gcs"))]
fn judge(note: &Note, kind: Kind, doing: Doing) -> (ErrorKind, Vec<String>) {
    let status = note.status();
    let one = |hint: &str| vec![hint.to_owned()];
    if note.is_code(&["NoSuchBucket", "ContainerNotFound"]) {
        return (
            ErrorKind::Input,
            one(match kind {
                Kind::S3 | Kind::Gcs => "check the bucket's name in `path`, and the endpoint if there is one",
                Kind::Azure => "check the container's name in `path`, and the account",
            }),
        );
    }
    if status.is_redirection()
        || note.is_code(&[
            "AuthorizationHeaderMalformed",
            "PermanentRedirect",
            "IllegalLocationConstraintException",
        ])
    {
        let hint = match &note.region {
            Some(region) => format!("the bucket is in another region: set `s3: {{region: {region}}}`"),
            None => format!(
                "set the bucket's region, or the address of its service, in `{}`",
                kind.block()
            ),
        };
        return (ErrorKind::Config, vec![hint]);
    }
    let clock = note.is_code(&["RequestTimeTooSkewed"]);
    let expired = note.is_code(&["ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired"]);
    let key = note.is_code(&[
        "InvalidAccessKeyId",
        "SignatureDoesNotMatch",
        "InvalidToken",
        "AuthenticationFailed",
        "InvalidAuthenticationInfo",
        "invalid_client",
        "invalid_grant",
    ]);
    if clock {
        (
            ErrorKind::Refused,
            one("set this machine's clock: signatures are valid for some minutes"),
        )
    } else if expired {
        (ErrorKind::Refused, one("the session is over: get a new one"))
    } else if key || status == StatusCode::UNAUTHORIZED {
        (
            ErrorKind::Refused,
            vec![
                "the key, signature or secret is not the one that the service knows, or is no longer valid"
                    .to_owned(),
                "check this machine's clock: signatures are valid for some minutes".to_owned(),
            ],
        )
    } else if status == StatusCode::FORBIDDEN {
        (ErrorKind::Refused, one(kind.permission(doing)))
    } else if status == StatusCode::NOT_FOUND {
        (
            ErrorKind::Input,
            one("the file was there when it was looked for: it was moved or removed since"),
        )
    } else if passes(status) {
        (ErrorKind::Transient, Vec::new())
    } else {
        (ErrorKind::Refused, Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_body_only_code_and_first_line_are_told() {
        let xml = br#"<?xml version="1.0"?><Error><Code>AuthenticationFailed</Code><Message>Server failed to authenticate &quot;it&quot;.
RequestId:1
Time:2026</Message><AuthenticationErrorDetail>Signature did not match 'c2VjcmV0'</AuthenticationErrorDetail></Error>"#;
        assert_eq!(
            told(xml),
            (
                Some("AuthenticationFailed".into()),
                Some("Server failed to authenticate \"it\".".into())
            )
        );
        let json = br#"{"error":"invalid_client","error_description":"AADSTS7000215: Invalid client secret provided.\r\nTrace ID: 1"}"#;
        assert_eq!(
            told(json),
            (
                Some("invalid_client".into()),
                Some("AADSTS7000215: Invalid client secret provided.".into())
            )
        );
        let google = br#"{"error":{"code":403,"message":"No access to https://x/y?sig=abc now","status":"PERMISSION_DENIED"}}"#;
        assert_eq!(
            told(google),
            (
                Some("PERMISSION_DENIED".into()),
                Some("No access to https://x/y?… now".into())
            )
        );
        assert_eq!(told(b"<html>"), (None, None));
    }

    #[cfg(any(feature = "s3", feature = "azure", feature = "gcs"))]
    #[test]
    fn a_note_is_found_in_whatever_text_it_travels() {
        let headers: HeaderMap = [
            ("x-amz-bucket-region", "eu-central-1"),
            ("x-amz-request-id", "R1"),
        ]
        .into_iter()
        .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
        .collect();
        let note = Note::new(
            StatusCode::MOVED_PERMANENTLY,
            "s3.amazonaws.com".into(),
            &headers,
            b"<Code>PermanentRedirect</Code>",
        );
        let text = format!(
            "Error performing GET https://x?sig=abc - Server returned non-2xx status code: 400: {note} and more"
        );
        let found = Note::find(&text).unwrap();
        assert_eq!(found, note);
        assert_eq!(
            found.said(),
            "s3.amazonaws.com answered 301 Moved Permanently: PermanentRedirect (request R1)"
        );
        let (kind, hints) = judge(&found, Kind::S3, Doing::List);
        assert_eq!(kind, ErrorKind::Config);
        assert!(hints[0].contains("eu-central-1"), "{hints:?}");
    }
}
