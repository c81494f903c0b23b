//! Object stores: Amazon S3, Azure Blob Storage, Google Cloud Storage.
//!
//! Each backend has its settings and its login; [`Bucket`](bucket::Bucket) is the storage over any of them. An object is read
//! as the version that was listed: its entity tag goes with every request, and another one ends the read.

mod azure;
#[cfg(any(feature = "s3", feature = "azure", feature = "gcs"))]
mod bucket;
#[cfg(any(feature = "s3", feature = "azure", feature = "gcs"))]
mod connector;
#[cfg(any(feature = "s3", feature = "azure", feature = "gcs"))]
mod explain;
mod gcs;
mod s3;
pub(super) use azure::AzureConfig;
pub(super) use gcs::GcsConfig;
pub(super) use s3::S3Config;

use super::location::RemoteLocation;
use super::transport::endpoint_problem;
use crate::component::Problems;

/// Reports a bucket URL with more than a bucket and a key.
fn validate_bucket(location: &RemoteLocation, problems: &mut Problems<'_>) {
    if !location.user.is_empty() || location.port.is_some() {
        problems.at("path").add_with_hint(
            format!("expected only the bucket after `{}://`", location.scheme),
            "put a user or key into the settings of the store, and another host into its `endpoint`",
        );
    }
    validate_key(location, problems);
}

/// Reports a URL without a key.
fn validate_key(location: &RemoteLocation, problems: &mut Problems<'_>) {
    if location.path.trim_matches('/').is_empty() {
        problems.at("path").add_with_hint(
            "names no file",
            format!("name the files in the bucket: `{}/*.csv`", location.origin()),
        );
    }
}

fn validate_endpoint(key: &str, endpoint: Option<&String>, allow_http: bool, problems: &mut Problems<'_>) {
    if let Some((message, hint)) = endpoint.and_then(|endpoint| endpoint_problem(endpoint, allow_http)) {
        problems.at(key).add_with_hint(message, hint);
    }
}

#[cfg(any(feature = "s3", feature = "azure", feature = "gcs"))]
pub(in crate::storage) use connect::*;

#[cfg(any(feature = "s3", feature = "azure", feature = "gcs"))]
mod connect {
    use std::sync::Arc;
    use std::time::Duration;

    use object_store::list::PaginatedListStore;
    use object_store::{BackoffConfig, ObjectStore, RetryConfig};

    use super::bucket::Bucket;
    use super::connector::Connector;
    use super::explain::{Service, setup_text};
    use crate::error::{Error, Result};
    use crate::secret::{Secret, SecretRef};
    use crate::storage::fetch::ReadAhead;
    use crate::storage::service_error::Cause;
    use crate::storage::transport::{TransportSettings, endpoint_problem};
    use crate::storage::{Context, Storage};

    /// Requests are signed once, and signatures expire.
    const MAX_RETRY_TIME: Duration = Duration::from_secs(4 * 60);

    pub(in crate::storage) fn read(secret: &SecretRef, cx: &Context) -> Result<Secret> {
        secret.read(&cx.base, &cx.secret_files)
    }

    /// An endpoint from the environment must meet the rules for one in the settings.
    pub(in crate::storage) fn check_endpoint(
        variable: &str,
        endpoint: Option<&str>,
        allow_http: bool,
    ) -> Result<()> {
        match endpoint.and_then(|endpoint| endpoint_problem(endpoint, allow_http)) {
            Some((message, hint)) => {
                Err(Error::config(format!("the endpoint in `{variable}` {message}")).with_hint(hint))
            }
            None => Ok(()),
        }
    }

    impl TransportSettings {
        pub(in crate::storage) fn connector(&self, cx: &Context) -> Result<Connector> {
            Ok(Connector {
                transport: self.client_config(cx)?,
            })
        }

        pub(in crate::storage) fn retry_config(&self) -> RetryConfig {
            RetryConfig {
                backoff: BackoffConfig {
                    init_backoff: self.retry.initial_backoff.get(),
                    max_backoff: self.retry.max_backoff.get(),
                    ..BackoffConfig::default()
                },
                max_retries: self.retry.max_attempts.as_usize() - 1,
                retry_timeout: self.retry.max_elapsed.get().min(MAX_RETRY_TIME),
            }
        }
    }

    /// The storage over the client of a service. `name` is the bucket in messages.
    pub(in crate::storage) fn bucket<S: ObjectStore + PaginatedListStore>(
        built: object_store::Result<S>,
        service: Service,
        name: String,
        transport: &TransportSettings,
        copies_if_absent: bool,
    ) -> Result<Arc<dyn Storage>> {
        let store = Arc::new(built.map_err(|error| {
            Error::config(format!("cannot set up the client of {name}"))
                .with_source(Cause(setup_text(&error)))
        })?);
        Ok(Arc::new(Bucket {
            objects: store.clone(),
            pages: store,
            service,
            name: name.into(),
            read_ahead: ReadAhead::new(transport.read_ahead.get()),
            copies_if_absent,
        }))
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn rejects_unencrypted_endpoints_in_the_environment() {
            assert!(check_endpoint("X", Some("http://127.0.0.1:9000"), false).is_ok());
            assert!(check_endpoint("X", Some("http://minio.contoso.com"), true).is_ok());
            let error = check_endpoint("X", Some("http://minio.contoso.com"), false).unwrap_err();
            assert!(error.to_string().contains("http://"), "{error}");
        }
    }
}
