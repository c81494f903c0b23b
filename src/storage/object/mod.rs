//! Object stores and web servers.
//!
//! ```text
//! s3, azure, gcs: clients ──▶ bucket ─┐                 ┌─▶ open: pieces ahead, in order ──▶ text formats
//!                                     ├─▶ fetch: ranges ┤
//! https, http ──────────────▶ web ────┘                 └─▶ read_ranges, close ones as one ─▶ Parquet
//! ```
//!
//! - `config` holds the settings; it is always there, the clients are behind their features,
//! - `clients` logs in: to each store in its own ways, with `connector` as the way to speak HTTP of all of them,
//! - `bucket` is a [`Storage`] over any of them, `web` over one file of a web server,
//! - `fetch` reads: several ranges at a time, in order, and never more than was allowed,
//! - `failure` says what went wrong, without what is secret in an address.
//!
//! A file is read as the version that was found: its entity tag goes with every request, and another one ends the read.

#[cfg(any(feature = "s3", feature = "azure", feature = "gcs"))]
mod bucket;
#[cfg(any(feature = "s3", feature = "azure", feature = "gcs"))]
mod clients;
#[cfg_attr(
    not(any(feature = "s3", feature = "azure", feature = "gcs", feature = "https")),
    allow(dead_code, reason = "only the clients use the rest")
)]
mod config;
#[cfg(any(feature = "s3", feature = "azure", feature = "gcs"))]
mod connector;
#[cfg(any(feature = "s3", feature = "azure", feature = "gcs", feature = "https"))]
mod failure;
#[cfg(any(feature = "s3", feature = "azure", feature = "gcs", feature = "https"))]
mod fetch;
#[cfg(feature = "https")]
mod web;

use std::sync::Arc;

pub(crate) use config::StoreSettings;
pub(crate) use config::{AzureConfig, GcsConfig, HttpsConfig, S3Config};

use super::Storage;
use super::location::{self, RemoteLocation};
use crate::component::SourceContext;
use crate::error::{Error, Result};

/// Makes the client of a store.
///
/// # Errors
/// A setting or a secret is missing, or this build does not have the store.
pub(crate) async fn connect(
    remote: &RemoteLocation,
    settings: StoreSettings<'_>,
    cx: &SourceContext,
) -> Result<Arc<dyn Storage>> {
    let _ = (settings, cx);
    match remote.scheme {
        #[cfg(feature = "s3")]
        location::Scheme::S3 => clients::s3(remote, settings.s3, &cx.run),
        #[cfg(feature = "azure")]
        location::Scheme::Azure => clients::azure(remote, settings.azure, &cx.run),
        #[cfg(feature = "gcs")]
        location::Scheme::Gcs => clients::gcs(remote, settings.gcs, &cx.run),
        #[cfg(feature = "https")]
        location::Scheme::Http => web::connect(remote, settings.https, &cx.run),
        _ => {
            let (message, hint) = location::missing(remote);
            Err(Error::config(message).with_hint(hint))
        }
    }
}
