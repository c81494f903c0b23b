//! The settings of TLS: a client certificate, an authority to trust, the oldest version.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

use super::value::read;
use crate::component::RunInfo;
use crate::config::Problems;
use crate::error::Result;
use crate::http::identity::Identity;
use crate::http::transport::{TlsVersion, TransportConfig};
use crate::secret::SecretRef;

/// How to speak TLS. Counts for data and for tokens alike.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TlsConfig {
    /// Where the client certificate is kept, in PEM form; certificates of its issuers may follow. Line breaks may be
    /// written as `\n`. Default: none.
    pub client_certificate: Option<SecretRef>,
    /// Where its private key is kept, in PEM form and without a password. May be the place of the certificate, when
    /// both are there.
    pub client_key: Option<SecretRef>,
    /// A file of certificate authorities (PEM) to trust besides the system's. Relative to the pipeline file.
    pub extra_ca: Option<PathBuf>,
    /// The oldest version of TLS that is spoken: `"1.2"` or `"1.3"`. Default `"1.2"`.
    pub min_version: MinVersion,
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
pub enum MinVersion {
    /// TLS 1.2.
    #[default]
    #[serde(rename = "1.2")]
    Tls12,
    /// TLS 1.3.
    #[serde(rename = "1.3")]
    Tls13,
}

impl TlsConfig {
    /// Notes what is wrong.
    pub(crate) fn validate(&self, problems: &mut Problems<'_>) {
        let (given, missing) = match (&self.client_certificate, &self.client_key) {
            (Some(_), None) => ("client_certificate", "client_key"),
            (None, Some(_)) => ("client_key", "client_certificate"),
            _ => return,
        };
        problems.at(missing).add_with_hint(
            format!("`{given}` is given and `{missing}` is not"),
            "a client certificate is of use with its private key only; one PEM text may hold both, and is given twice",
        );
    }

    /// Reads the secrets and puts everything into `transport`.
    ///
    /// # Errors
    /// A secret cannot be read, or is not what it is given as.
    pub(crate) fn apply(&self, run: &RunInfo, transport: &mut TransportConfig) -> Result<()> {
        if let (Some(certificate), Some(key)) = (&self.client_certificate, &self.client_key) {
            transport.identity = Some(Identity::from_pem(&read(certificate, run)?, &read(key, run)?)?);
        }
        if let Some(path) = &self.extra_ca {
            transport.extra_ca = Some(run.base.join(path));
        }
        transport.min_tls = match self.min_version {
            MinVersion::Tls12 => TlsVersion::Tls12,
            MinVersion::Tls13 => TlsVersion::Tls13,
        };
        Ok(())
    }
}
