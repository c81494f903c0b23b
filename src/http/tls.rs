//! The client certificate of mutual TLS.

use rustls::crypto::ring::sign::any_supported_type;
use rustls::sign::CertifiedKey;

use super::auth::pem;
use crate::error::{Error, Result};
use crate::secret::Secret;

/// A certificate with its chain, and the private key that belongs to it, in PEM form.
#[derive(Debug, Clone)]
pub(crate) struct Identity(Secret);

impl Identity {
    /// Reads certificate and key in PEM form. The certificates of the issuers may follow the certificate; both texts may
    /// be the same. Errors repeat nothing of either.
    pub(crate) fn from_pem(certificate: &Secret, key: &Secret) -> Result<Self> {
        let (certificate_lines, chain) = pem::certificates(certificate, "the client certificate")?;
        let (key_lines, key) = pem::private_key(key, "the client's key")?;
        let signer = any_supported_type(&key).map_err(|_| {
            Error::config("the client's key is damaged, or of a kind that is not supported")
                .with_hint("supported are RSA keys of 2048 to 8192 bits and EC keys on P-256 and P-384")
        })?;
        match CertifiedKey::new(chain, signer).keys_match() {
            Ok(()) => {}
            Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::KeyMismatch)) => {
                return Err(
                    Error::config("the client's key does not belong to the client certificate")
                        .with_hint("in a chain, the client's own certificate must come first"),
                );
            }
            // Unknown; the handshake shows it.
            Err(rustls::Error::InconsistentKeys(_)) => {}
            Err(_) => return Err(Error::config("the client certificate is damaged")),
        }
        let pem = format!("{}{}", certificate_lines.expose(), key_lines.expose());
        Ok(Self(Secret::new(pem)))
    }

    pub(super) fn for_client(&self) -> reqwest::Result<reqwest::Identity> {
        reqwest::Identity::from_pem(self.0.expose().as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use test_server::certificates::{Authority, pem};

    fn read(certificate: &str, key: &str) -> Result<Identity> {
        Identity::from_pem(&Secret::new(certificate), &Secret::new(key))
    }

    #[test]
    fn rejects_unusable_pairs_without_showing_the_key() {
        let authority = Authority::new("clients");
        let (cert, key) = authority.client("client");
        let other = authority.client("client").1;
        let misordered = format!("{}{cert}", authority.pem());
        let damaged_key = pem("PRIVATE KEY", b"marker");
        let damaged = pem("CERTIFICATE", b"marker");
        for (certificate, key, expected) in [
            (&cert, &other, "does not belong to"),
            (&misordered, &key, "does not belong to"),
            (
                &key,
                &key,
                "the client certificate has no certificate in PEM form (found: PRIVATE KEY)",
            ),
            (&cert, &damaged_key, "the client's key is damaged"),
            (&damaged, &key, "client certificate is damaged"),
        ] {
            let error = read(certificate, key).unwrap_err();
            let shown = format!("{} {error:?}", error.chain());
            assert!(shown.contains(expected), "{shown} / {expected}");
            let secret = key.lines().nth(1).unwrap_or_default();
            assert!(!shown.contains(secret) && !shown.contains("bWFya2Vy"), "{shown}");
        }
    }
}
