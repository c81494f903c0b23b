//! Signs assertions with a private key: RSA (PKCS #1 v1.5) or ECDSA on P-256, both with SHA-256.

use std::fmt;

use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, RSA_PKCS1_SHA256, RsaKeyPair};
use rustls_pki_types::PrivateKeyDer;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::http::auth::pem::{self, PemError};
use crate::secret::Secret;

/// A signature algorithm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum Algorithm {
    /// RSA with SHA-256.
    #[default]
    Rs256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
}

impl Algorithm {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
        }
    }
}

/// A private key for one [`Algorithm`].
pub(crate) struct SigningKey(Pair);

enum Pair {
    Rsa(Box<RsaKeyPair>),
    P256(Box<EcdsaKeyPair>),
}

/// Why a key is unusable. Contains nothing of the key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum KeyError {
    /// The text is not a key.
    #[error(transparent)]
    Pem(#[from] PemError),
    /// The format of EC keys of older tools.
    #[error("has an EC key in SEC 1 format, which is not supported")]
    Sec1,
    /// Another kind of key, or a damaged one.
    #[error("has a key that cannot sign with {algorithm}: {why}")]
    Rejected {
        algorithm: &'static str,
        /// The reason, such as `WrongAlgorithm` or `TooSmall`.
        why: String,
    },
}

impl KeyError {
    pub(crate) fn hint(&self) -> &'static str {
        match self {
            Self::Pem(error) => error.hint(),
            Self::Sec1 => "`openssl pkcs8 -topk8 -nocrypt -in KEY.pem` converts it to PKCS #8",
            Self::Rejected { algorithm, .. } if *algorithm == "RS256" => {
                "RS256 needs an RSA key of 2048 to 4096 bits, as `openssl genpkey -algorithm RSA -pkeyopt \
                 rsa_keygen_bits:2048` makes it"
            }
            Self::Rejected { .. } => {
                "ES256 needs an EC key on the curve P-256, as `openssl genpkey -algorithm EC -pkeyopt \
                 ec_paramgen_curve:P-256` makes it"
            }
        }
    }
}

impl SigningKey {
    /// Reads a key in PEM form: PKCS #8 (`PRIVATE KEY`), or PKCS #1 (`RSA PRIVATE KEY`) for RSA.
    pub(crate) fn from_pem(text: &Secret, algorithm: Algorithm) -> Result<Self, KeyError> {
        let rejected = |why: ring::error::KeyRejected| KeyError::Rejected {
            algorithm: algorithm.name(),
            why: why.to_string(),
        };
        let other = || KeyError::Rejected {
            algorithm: algorithm.name(),
            why: "WrongAlgorithm".to_owned(),
        };
        let pair = match (algorithm, pem::private_key(text)?) {
            (Algorithm::Rs256, PrivateKeyDer::Pkcs1(der)) => Pair::Rsa(Box::new(
                RsaKeyPair::from_der(der.secret_pkcs1_der()).map_err(rejected)?,
            )),
            (Algorithm::Rs256, PrivateKeyDer::Pkcs8(der)) => Pair::Rsa(Box::new(
                RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()).map_err(rejected)?,
            )),
            (Algorithm::Es256, PrivateKeyDer::Pkcs8(der)) => Pair::P256(Box::new(
                EcdsaKeyPair::from_pkcs8(
                    &ECDSA_P256_SHA256_FIXED_SIGNING,
                    der.secret_pkcs8_der(),
                    &SystemRandom::new(),
                )
                .map_err(rejected)?,
            )),
            (Algorithm::Es256, PrivateKeyDer::Sec1(_)) => return Err(KeyError::Sec1),
            _ => return Err(other()),
        };
        Ok(Self(pair))
    }

    pub(crate) fn algorithm(&self) -> Algorithm {
        match self.0 {
            Pair::Rsa(_) => Algorithm::Rs256,
            Pair::P256(_) => Algorithm::Es256,
        }
    }

    /// Signs.
    pub(crate) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        let random = SystemRandom::new();
        let failed = |_| Error::unexpected("cannot sign with the private key");
        match &self.0 {
            Pair::Rsa(key) => {
                let mut signature = vec![0; key.public().modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature)
                    .map_err(failed)?;
                Ok(signature)
            }
            Pair::P256(key) => {
                let signature = key.sign(&random, message).map_err(failed)?;
                Ok(signature.as_ref().to_vec())
            }
        }
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({}, hidden)", self.algorithm().name())
    }
}

#[cfg(test)]
mod tests {
    use ring::signature::{
        ECDSA_P256_SHA256_FIXED, KeyPair as _, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey,
    };

    use super::*;
    use test_server::certificates::{ec_pem, pem, rsa_pem, rsa_pkcs1};

    fn read(text: &str, algorithm: Algorithm) -> Result<SigningKey, KeyError> {
        SigningKey::from_pem(&Secret::new(text), algorithm)
    }

    fn public(key: &SigningKey) -> Vec<u8> {
        match &key.0 {
            Pair::Rsa(key) => key.public_key().as_ref().to_vec(),
            Pair::P256(key) => key.public_key().as_ref().to_vec(),
        }
    }

    #[test]
    fn signs_with_rsa_keys_of_every_notation() {
        let pkcs8 = rsa_pem();
        for text in [
            pem("RSA PRIVATE KEY", &rsa_pkcs1()),
            pkcs8.replace('\n', "\\n"),
            pkcs8.replace('\n', "\\r\\n"),
            pkcs8.replace('\n', " "),
            pkcs8.replace('\n', "\r\n"),
            format!("Bag Attributes: x\n{}", pkcs8.replace('\n', "")),
            pkcs8,
        ] {
            let key = read(&text, Algorithm::Rs256).unwrap();
            let signature = key.sign(b"message").unwrap();
            UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, public(&key))
                .verify(b"message", &signature)
                .unwrap();
        }
    }

    #[test]
    fn signs_with_ec_keys() {
        let key = read(&ec_pem(), Algorithm::Es256).unwrap();
        let signature = key.sign(b"message").unwrap();
        assert_eq!(signature.len(), 64);
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, public(&key))
            .verify(b"message", &signature)
            .unwrap();
    }

    #[test]
    fn rejects_unusable_keys_without_showing_them() {
        let (rsa, ec) = (rsa_pem(), ec_pem());
        let encrypted = format!(
            "-----BEGIN {0}-----\nProc-Type: 4,ENCRYPTED\n\nabcd\n-----END {0}-----",
            "RSA PRIVATE KEY"
        );
        let marker = "bWFya2VyLW1hcmtlcg";
        use Algorithm::{Es256, Rs256};
        for (text, algorithm, expected) in [
            (String::new(), Rs256, "has no private key in PEM form"),
            (marker.to_owned(), Rs256, "has no private key"),
            (pem("CERTIFICATE", b"x"), Rs256, "(found: CERTIFICATE)"),
            (pem("ENCRYPTED PRIVATE KEY", b"x"), Rs256, "encrypted"),
            (encrypted, Rs256, "encrypted with a password"),
            (pem("EC PRIVATE KEY", b"x"), Es256, "SEC 1"),
            (pem("PRIVATE KEY", b"marker-marker"), Rs256, "cannot sign"),
            (rsa.clone(), Es256, "cannot sign with ES256"),
            (ec, Rs256, "cannot sign with RS256"),
            (format!("{rsa}{rsa}"), Rs256, "more than one"),
            (rsa.replace("-----END", "*****"), Rs256, "damaged"),
            (rsa.replacen('M', "!", 1), Rs256, "damaged"),
        ] {
            let error = read(&text, algorithm).unwrap_err();
            let shown = format!("{error} {error:?} {}", error.hint());
            assert!(shown.contains(expected), "{shown} / {expected}");
            assert!(!shown.contains(marker) && !shown.contains("marker"), "{shown}");
        }
        let key = read(&rsa, Algorithm::Rs256).unwrap();
        assert_eq!(format!("{key:?}"), "SigningKey(RS256, hidden)");
    }
}
