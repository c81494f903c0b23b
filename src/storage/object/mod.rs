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

use super::location::RemoteLocation;
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
