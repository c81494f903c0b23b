//! Errors of object stores, with hints, and without URLs that contain a signature.
//!
//! The clients' own messages are not shown: they contain the URL, whose query may be a credential. A service's response
//! travels through them as a [`ServiceError`], a failure of the transport as an [`Error`].

use std::error::Error as StdError;

use object_store::Error as StoreError;
use reqwest::StatusCode;

use crate::error::{Error, ErrorKind};
use crate::http::redact::clean;
use crate::storage::blocks::changed;
use crate::storage::service_error::{ServiceError, is_transient, without_queries};

const MAX_MESSAGE: usize = 240;

/// The machine has no identity service.
#[derive(Debug, thiserror::Error)]
#[error("there are no credentials in the settings or the environment, and this machine has no identity")]
pub(super) struct NoIdentity;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(dead_code, reason = "a build may lack some of them")]
pub(in crate::storage) enum Service {
    S3,
    Azure,
    Gcs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    List,
    Stat,
    Read,
    Move,
    Delete,
}

impl Service {
    pub(super) fn key(self) -> &'static str {
        match self {
            Self::S3 => "s3",
            Self::Azure => "azure",
            Self::Gcs => "gcs",
        }
    }

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

/// The cause of a client's error, as an error of its own.
pub(super) fn cause(error: &StoreError, service: Service, action: Action) -> Error {
    let mut last = String::new();
    let mut next: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(error) = next {
        if error.is::<NoIdentity>() {
            return Error::config(NoIdentity.to_string()).with_hint(service.login_hint());
        }
        if error.is::<object_store::path::Error>() {
            return Error::input(clean(&error.to_string(), MAX_MESSAGE)).with_hint(
                "keys with an empty part (`a//b`), with `.` or `..` as a part, or with control characters are not \
                 supported: rename them, or use a `path` without them",
            );
        }
        if let Some(own) = error.downcast_ref::<Error>() {
            return own.copy();
        }
        last = error.to_string();
        next = error.source();
    }
    match ServiceError::find(&last).or_else(|| ServiceError::find(&error.to_string())) {
        Some(response) => response_error(&response, service, action),
        None => Error::unexpected(clean(&without_queries(&last), MAX_MESSAGE)),
    }
}

/// The error for an action on `key` (or a prefix of keys) of `store`.
pub(super) fn explain(error: &StoreError, service: Service, store: &str, action: Action, key: &str) -> Error {
    let cause = cause(error, service, action);
    let verb = match action {
        Action::List => "list",
        Action::Stat => "access",
        Action::Move => "move",
        Action::Delete => "delete",
        // The caller names the file.
        Action::Read => return cause,
    };
    cause.wrapped(format!("cannot {verb} `{store}/{key}`"))
}

fn response_error(response: &ServiceError, service: Service, action: Action) -> Error {
    let status = response.status();
    let refused = || Error::new(ErrorKind::Refused, response.text());
    if action == Action::Read && matches!(status.as_u16(), 412 | 416) {
        changed()
    } else if response.has_code(&["NoSuchBucket", "ContainerNotFound"]) {
        Error::input(response.text()).with_hint(match service {
            Service::S3 | Service::Gcs => "check the bucket in `path`, and the endpoint if there is one",
            Service::Azure => "check the container in `path`, and the account",
        })
    } else if status.is_redirection() || response.has_code(&OTHER_REGION) {
        Error::config(response.text()).with_hint(match &response.region {
            Some(region) => format!("the bucket is in another region: set `s3: {{region: {region}}}`"),
            None => format!(
                "set the region of the bucket, or the endpoint of its service, in `{}`",
                service.key()
            ),
        })
    } else if response.has_code(&["RequestTimeTooSkewed"]) {
        refused().with_hint("set the clock of this machine: signatures are valid for some minutes")
    } else if response.has_code(&["ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired"]) {
        refused().with_hint("the session has expired: get a new session token")
    } else if response.has_code(&INVALID_CREDENTIALS) || status == StatusCode::UNAUTHORIZED {
        refused()
            .with_hint("the key, signature or secret is wrong or no longer valid")
            .with_hint("check the clock of this machine: signatures are valid for some minutes")
    } else if status == StatusCode::FORBIDDEN {
        refused().with_hint(service.permission(action))
    } else if status == StatusCode::NOT_FOUND {
        Error::input(response.text())
            .with_hint("the file existed when it was listed: it was moved or deleted since")
    } else if is_transient(status) {
        Error::new(ErrorKind::Transient, response.text())
    } else {
        refused()
    }
}

const OTHER_REGION: [&str; 3] = [
    "AuthorizationHeaderMalformed",
    "PermanentRedirect",
    "IllegalLocationConstraintException",
];
const INVALID_CREDENTIALS: [&str; 7] = [
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "InvalidToken",
    "AuthenticationFailed",
    "InvalidAuthenticationInfo",
    "invalid_client",
    "invalid_grant",
];

#[cfg(test)]
mod tests {
    use reqwest::header::{HeaderMap, HeaderValue};

    use super::ErrorKind::{Config, Input, Refused, Transient};
    use super::Service::{Azure, Gcs, S3};
    use super::*;

    #[test]
    fn names_what_to_set_or_check() {
        let region = HeaderValue::from_static("eu-central-1");
        let headers = HeaderMap::from_iter([("x-amz-bucket-region".parse().unwrap(), region)]);
        for (service, status, code, kind, hint) in [
            (S3, 301, "PermanentRedirect", Config, "eu-central-1"),
            (S3, 403, "ExpiredToken", Refused, "session"),
            (S3, 403, "RequestTimeTooSkewed", Refused, "clock"),
            (S3, 403, "AccessDenied", Refused, "s3:GetObject"),
            (Azure, 401, "", Refused, "no longer valid"),
            (Gcs, 403, "", Refused, "Object Viewer"),
            (Gcs, 404, "", Input, "moved or deleted"),
            (Gcs, 412, "", Transient, "run again"),
            (Gcs, 503, "", Transient, ""),
            (Gcs, 418, "", Refused, ""),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            let body = format!("<Code>{code}</Code>");
            let response = ServiceError::new(status, "store".to_owned(), &headers, body.as_bytes());
            let error = response_error(&response, service, Action::Read);
            assert_eq!(error.kind(), kind, "{status} {code}");
            let hints = error.hints().collect::<Vec<_>>().join("\n");
            assert_eq!(hint.is_empty(), hints.is_empty(), "{hints}");
            assert!(hints.contains(hint), "{hints}");
        }
    }
}
