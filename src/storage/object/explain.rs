//! Errors of object stores, with hints, and without URLs that contain a signature.
//!
//! The clients' own messages are not shown: they contain the URL, whose query may be a credential. A service's response
//! travels through them as a [`ServiceError`], a failure of the transport as a [`Failure`].

use std::error::Error as StdError;

use object_store::Error as StoreError;
use reqwest::StatusCode;

use crate::error::{Error, ErrorKind};
use crate::http::redact::clean;
use crate::http::transport::Failure;
use crate::storage::blocks::changed;
use crate::storage::service_error::{Cause, ServiceError, is_transient, transport_error, without_queries};

/// Upper bound of a message in characters.
const MAX_MESSAGE: usize = 240;

/// The machine has no identity service.
#[derive(Debug, thiserror::Error)]
#[error("there are no credentials in the settings or the environment, and this machine has no identity")]
pub(super) struct NoIdentity;

/// The services.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(
    not(all(feature = "s3", feature = "azure", feature = "gcs")),
    allow(dead_code, reason = "this build does not have all of them")
)]
pub(in crate::storage) enum Service {
    S3,
    Azure,
    Gcs,
}

/// What was requested.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    List,
    Stat,
    Read,
    Move,
    Delete,
}

impl Service {
    /// The key of its settings.
    fn key(self) -> &'static str {
        match self {
            Self::S3 => "s3",
            Self::Azure => "azure",
            Self::Gcs => "gcs",
        }
    }

    /// The permission that an action requires.
    fn permission(self, action: Action) -> &'static str {
        match (self, action) {
            (Self::S3, Action::List) => "the account requires `s3:ListBucket` on the bucket",
            (Self::S3, Action::Stat | Action::Read) => {
                "the account requires `s3:GetObject` on the key, and `s3:ListBucket` on the bucket for S3 to report a \
                 missing key; a key that is encrypted with KMS requires `kms:Decrypt`"
            }
            (Self::S3, Action::Move) => {
                "to move a file, the account requires `s3:GetObject`, `s3:PutObject` and `s3:DeleteObject`"
            }
            (Self::S3, Action::Delete) => "the account requires `s3:DeleteObject` on the key",
            (Self::Azure, Action::List | Action::Stat | Action::Read) => {
                "the account requires the role Storage Blob Data Reader on the container, or a signature with the \
                 permissions `r` and `l`; a firewall of the storage account gives the same response"
            }
            (Self::Azure, Action::Move | Action::Delete) => {
                "the account requires the role Storage Blob Data Contributor on the container, or a signature with the \
                 permissions `r`, `c`, `w` and `d`"
            }
            (Self::Gcs, Action::List | Action::Stat | Action::Read) => {
                "the account requires the role Storage Object Viewer (`roles/storage.objectViewer`) on the bucket"
            }
            (Self::Gcs, Action::Move | Action::Delete) => {
                "the account requires the role Storage Object User (`roles/storage.objectUser`) on the bucket"
            }
        }
    }

    fn login_hint(self) -> &'static str {
        match self {
            Self::S3 => {
                "set `s3.access_key_id` and `s3.secret_access_key`, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or \
                 `s3: {unsigned: true}` for a public bucket; profiles in ~/.aws are not read"
            }
            Self::Azure => {
                "set `azure.access_key`, `azure.sas_token` or an app, or AZURE_STORAGE_ACCOUNT_KEY or AZURE_CLIENT_ID, \
                 AZURE_TENANT_ID and AZURE_CLIENT_SECRET, or `azure: {unsigned: true}` for a public container"
            }
            Self::Gcs => {
                "set `gcs.service_account` or GOOGLE_APPLICATION_CREDENTIALS, or `gcs: {unsigned: true}` for a public \
                 bucket"
            }
        }
    }
}

/// The cause of a client's error.
enum RootCause {
    Response(ServiceError),
    Transport(Failure),
    NoIdentity,
    InvalidKey(String),
    Other(String),
}

impl RootCause {
    fn of(error: &StoreError) -> Self {
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
                return Self::InvalidKey(clean(&error.to_string(), MAX_MESSAGE));
            }
            last = error.to_string();
            next = error.source();
        }
        match ServiceError::find(&last).or_else(|| ServiceError::find(&error.to_string())) {
            Some(response) => Self::Response(response),
            None => Self::Other(clean(&without_queries(&last), MAX_MESSAGE)),
        }
    }
}

/// The message of a client that cannot be set up.
pub(super) fn setup_text(error: &StoreError) -> String {
    let mut next: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(error) = next {
        if let Some(own) = error.downcast_ref::<Error>() {
            return own.chain();
        }
        next = error.source();
    }
    match RootCause::of(error) {
        RootCause::Other(message) | RootCause::InvalidKey(message) => message,
        RootCause::Response(response) => response.text(),
        RootCause::Transport(failure) => failure.to_string(),
        RootCause::NoIdentity => NoIdentity.to_string(),
    }
}

/// The error for an action on `key` (or a prefix of keys) of `store`.
pub(super) fn explain(error: &StoreError, service: Service, store: &str, action: Action, key: &str) -> Error {
    let (kind, message, hints) = match RootCause::of(error) {
        RootCause::Response(response) => {
            if action == Action::Read && matches!(response.status().as_u16(), 412 | 416) {
                return changed();
            }
            let (kind, hints) = classify(&response, service, action);
            (kind, response.text(), hints)
        }
        RootCause::Transport(failure) => {
            let (kind, hints) = transport_error(&failure, store, service.key());
            (kind, failure.to_string(), hints)
        }
        RootCause::NoIdentity => (
            ErrorKind::Config,
            NoIdentity.to_string(),
            vec![service.login_hint().to_owned()],
        ),
        RootCause::InvalidKey(message) => (
            ErrorKind::Input,
            message,
            vec![
                "keys with an empty part (`a//b`), with `.` or `..` as a part, or with control characters are not \
                 supported: rename them, or use a `path` without them"
                    .to_owned(),
            ],
        ),
        RootCause::Other(message) => (ErrorKind::Unexpected, message, Vec::new()),
    };
    let verb = match action {
        Action::List => "list",
        Action::Stat => "access",
        Action::Move => "move",
        Action::Delete => "delete",
        // The caller names the file.
        Action::Read => {
            return hints
                .into_iter()
                .fold(Error::new(kind, message), Error::with_hint);
        }
    };
    let error = Error::new(kind, format!("cannot {verb} `{store}/{key}`")).with_source(Cause(message));
    hints.into_iter().fold(error, Error::with_hint)
}

/// Error kind and hints of a response.
fn classify(response: &ServiceError, service: Service, action: Action) -> (ErrorKind, Vec<String>) {
    let status = response.status();
    let one = |kind: ErrorKind, hint: &str| (kind, vec![hint.to_owned()]);
    if response.has_code(&["NoSuchBucket", "ContainerNotFound"]) {
        let hint = match service {
            Service::S3 | Service::Gcs => "check the bucket in `path`, and the endpoint if there is one",
            Service::Azure => "check the container in `path`, and the account",
        };
        return one(ErrorKind::Input, hint);
    }
    let other_region = [
        "AuthorizationHeaderMalformed",
        "PermanentRedirect",
        "IllegalLocationConstraintException",
    ];
    if status.is_redirection() || response.has_code(&other_region) {
        let hint = match response.region() {
            Some(region) => format!("the bucket is in another region: set `s3: {{region: {region}}}`"),
            None => format!(
                "set the region of the bucket, or the endpoint of its service, in `{}`",
                service.key()
            ),
        };
        return (ErrorKind::Config, vec![hint]);
    }
    let invalid_credentials = [
        "InvalidAccessKeyId",
        "SignatureDoesNotMatch",
        "InvalidToken",
        "AuthenticationFailed",
        "InvalidAuthenticationInfo",
        "invalid_client",
        "invalid_grant",
    ];
    if response.has_code(&["RequestTimeTooSkewed"]) {
        one(
            ErrorKind::Refused,
            "set the clock of this machine: signatures are valid for some minutes",
        )
    } else if response.has_code(&["ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired"]) {
        one(
            ErrorKind::Refused,
            "the session has expired: get a new session token",
        )
    } else if response.has_code(&invalid_credentials) || status == StatusCode::UNAUTHORIZED {
        let hints = [
            "the key, signature or secret is wrong or no longer valid",
            "check the clock of this machine: signatures are valid for some minutes",
        ];
        (ErrorKind::Refused, hints.map(str::to_owned).to_vec())
    } else if status == StatusCode::FORBIDDEN {
        one(ErrorKind::Refused, service.permission(action))
    } else if status == StatusCode::NOT_FOUND {
        one(
            ErrorKind::Input,
            "the file existed when it was listed: it was moved or deleted since",
        )
    } else if is_transient(status) {
        (ErrorKind::Transient, Vec::new())
    } else {
        (ErrorKind::Refused, Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderMap;

    use super::*;

    #[test]
    fn names_the_region_of_a_redirect() {
        let headers = HeaderMap::from_iter(
            [("x-amz-bucket-region", "eu-central-1")]
                .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())),
        );
        let host = "s3.amazonaws.com".to_owned();
        let response = ServiceError::new(
            StatusCode::MOVED_PERMANENTLY,
            host,
            &headers,
            b"<Code>PermanentRedirect</Code>",
        );
        let (kind, hints) = classify(&response, Service::S3, Action::List);
        assert_eq!(kind, ErrorKind::Config);
        assert!(hints[0].contains("eu-central-1"), "{hints:?}");
    }
}
