//! The client certificate of mutual TLS.

use std::fmt;
use std::sync::Arc;

use rustls::crypto::ring::sign::any_supported_type;
use rustls::sign::CertifiedKey;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::auth::pem;
use crate::error::{Error, Result};
use crate::secret::Secret;

/// A certificate with its chain, and the private key that belongs to it. Cheap to clone. `Debug` shows nothing.
#[derive(Clone)]
pub(crate) struct Identity(Arc<Inner>);

struct Inner {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    /// What reqwest reads.
    pem: Secret,
}

impl Identity {
    /// Reads certificate and key in PEM form. The certificates of the issuers may follow the certificate; both texts may
    /// be the same.
    ///
    /// # Errors
    /// One of them is missing, damaged, encrypted or unsupported, or the key is not that of the certificate. Errors
    /// repeat nothing of either.
    pub(crate) fn from_pem(certificate: &Secret, key: &Secret) -> Result<Self> {
        let chain = pem::certificates(certificate).map_err(|error| {
            Error::config(format!("the client certificate {error}")).with_hint(error.hint())
        })?;
        let key = pem::private_key(key)
            .map_err(|error| Error::config(format!("the client's key {error}")).with_hint(error.hint()))?;
        let signer = any_supported_type(&key).map_err(|_| {
            Error::config("the client's key is damaged, or of a kind that is not supported")
                .with_hint("supported are RSA keys of 2048 to 8192 bits and EC keys on P-256 and P-384")
        })?;
        match CertifiedKey::new(chain.clone(), signer).keys_match() {
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
        let pem = as_pem(&chain, &key);
        Ok(Self(Arc::new(Inner { chain, key, pem })))
    }

    pub(super) fn for_client(&self) -> reqwest::Result<reqwest::Identity> {
        reqwest::Identity::from_pem(self.0.pem.expose().as_bytes())
    }
}

impl PartialEq for Identity {
    fn eq(&self, other: &Self) -> bool {
        self.0.chain == other.0.chain && self.0.key == other.0.key
    }
}

impl Eq for Identity {}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity(hidden)")
    }
}

fn as_pem(chain: &[CertificateDer<'_>], key: &PrivateKeyDer<'_>) -> Secret {
    use base64::Engine as _;
    let engine = base64::engine::general_purpose::STANDARD;
    let mut text = String::new();
    let mut block = |label: &str, der: &[u8]| {
        let body = engine.encode(der);
        text.push_str(&format!(
            "-----BEGIN {label}-----\n{body}\n-----END {label}-----\n"
        ));
    };
    for certificate in chain {
        block("CERTIFICATE", certificate);
    }
    let label = match key {
        PrivateKeyDer::Pkcs1(_) => "RSA PRIVATE KEY",
        PrivateKeyDer::Sec1(_) => "EC PRIVATE KEY",
        _ => "PRIVATE KEY",
    };
    block(label, key.secret_der());
    Secret::new(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::transport::TransportConfig;
    use test_server::certificates::{Authority, pem, rsa_certificate, rsa_pem, rsa_pkcs1};

    fn read(certificate: &str, key: &str) -> Result<Identity> {
        Identity::from_pem(&Secret::new(certificate), &Secret::new(key))
    }

    #[test]
    fn reads_certificate_and_key_in_every_notation() {
        let authority = Authority::new("clients");
        let (certificate, key) = authority.client("client");
        let chain = format!("{certificate}{}", authority.pem());
        let both = format!("{key}{chain}");
        let one = read(&certificate, &key).unwrap();
        assert_eq!(
            one,
            read(&certificate.replace('\n', "\\n"), &key.replace('\n', "\\n")).unwrap()
        );
        assert_eq!(one, read(&certificate, &both).unwrap());
        let with_chain = read(&both, &both).unwrap();
        assert_eq!(with_chain.0.chain.len(), 2);
        read(&rsa_certificate(), &rsa_pem()).unwrap();
        let rsa = read(&rsa_certificate(), &pem("RSA PRIVATE KEY", &rsa_pkcs1())).unwrap();
        for identity in [one, with_chain, rsa] {
            assert_eq!(format!("{identity:?}"), "Identity(hidden)");
            let config = TransportConfig {
                identity: Some(identity),
                tls: false,
                ..TransportConfig::default()
            };
            config.client().unwrap();
            assert!(format!("{config:?}").contains("Identity(hidden)"));
        }
    }

    #[test]
    fn rejects_unusable_pairs_without_showing_the_key() {
        let authority = Authority::new("clients");
        let (cert, key) = authority.client("client");
        let (other, rsa) = (authority.client("client").1, rsa_pem());
        let misordered = format!("{}{cert}", authority.pem());
        let encrypted = pem("ENCRYPTED PRIVATE KEY", b"x");
        let damaged_key = pem("PRIVATE KEY", b"marker");
        let damaged = pem("CERTIFICATE", b"marker");
        for (certificate, key, expected) in [
            (&cert, &other, "does not belong to"),
            (&misordered, &key, "does not belong to"),
            (&cert, &rsa, "does not belong to"),
            (&cert, &cert, "(found: CERTIFICATE)"),
            (&key, &key, "(found: PRIVATE KEY)"),
            (&cert, &encrypted, "encrypted with a password"),
            (&cert, &damaged_key, "the client's key is damaged"),
            (&damaged, &key, "client certificate is damaged"),
        ] {
            let error = read(certificate, key).unwrap_err();
            let shown = format!("{} {error:?}", error.chain());
            assert!(shown.contains(expected), "{shown} / {expected}");
            let secret: String = key.lines().nth(1).unwrap_or_default().to_owned();
            assert!(!shown.contains(&secret) && !shown.contains("bWFya2Vy"), "{shown}");
        }
    }
}
