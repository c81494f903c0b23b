//! Signs assertions with a private key: RSA (PKCS #1 v1.5) or ECDSA on P-256, both with SHA-256.

use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, RSA_PKCS1_SHA256, RsaKeyPair};
use rustls_pki_types::PrivateKeyDer;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::pem;
use crate::error::{Error, Result};
use crate::secret::Secret;

/// The signature algorithm of a JWT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum Algorithm {
    /// RSA with SHA-256.
    #[default]
    Rs256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
}

pub(crate) enum SigningKey {
    Rsa(Box<RsaKeyPair>),
    P256(Box<EcdsaKeyPair>),
}

impl SigningKey {
    /// Reads a key in PEM form: PKCS #8 (`PRIVATE KEY`), or PKCS #1 (`RSA PRIVATE KEY`) for RSA. Errors name it as
    /// `what` and repeat nothing of it.
    pub(crate) fn from_pem(text: &Secret, algorithm: Algorithm, what: &str) -> Result<Self> {
        use Algorithm::{Es256, Rs256};
        let pair = match (algorithm, pem::private_key(text, what)?.1) {
            (Rs256, PrivateKeyDer::Pkcs1(der)) => {
                RsaKeyPair::from_der(der.secret_pkcs1_der()).map(|key| Self::Rsa(Box::new(key)))
            }
            (Rs256, PrivateKeyDer::Pkcs8(der)) => {
                RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()).map(|key| Self::Rsa(Box::new(key)))
            }
            (Es256, PrivateKeyDer::Pkcs8(der)) => EcdsaKeyPair::from_pkcs8(
                &ECDSA_P256_SHA256_FIXED_SIGNING,
                der.secret_pkcs8_der(),
                &SystemRandom::new(),
            )
            .map(|key| Self::P256(Box::new(key))),
            (Es256, PrivateKeyDer::Sec1(_)) => {
                return Err(Error::config(format!(
                    "{what} has an EC key in SEC 1 format, which is not supported"
                ))
                .with_hint("`openssl pkcs8 -topk8 -nocrypt -in KEY.pem` converts it to PKCS #8"));
            }
            _ => return Err(rejected(algorithm, what, "WrongAlgorithm")),
        };
        pair.map_err(|why| rejected(algorithm, what, &why.to_string()))
    }

    pub(super) fn algorithm(&self) -> &'static str {
        match self {
            Self::Rsa(_) => "RS256",
            Self::P256(_) => "ES256",
        }
    }

    pub(super) fn sign(&self, message: &[u8]) -> Result<Vec<u8>> {
        let random = SystemRandom::new();
        let failed = |_| Error::unexpected("cannot sign with the private key");
        match self {
            Self::Rsa(key) => {
                let mut signature = vec![0; key.public().modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature)
                    .map_err(failed)?;
                Ok(signature)
            }
            Self::P256(key) => Ok(key.sign(&random, message).map_err(failed)?.as_ref().to_vec()),
        }
    }
}

fn rejected(algorithm: Algorithm, what: &str, why: &str) -> Error {
    let (name, hint) = match algorithm {
        Algorithm::Rs256 => (
            "RS256",
            "RS256 needs an RSA key of 2048 to 4096 bits, as `openssl genpkey -algorithm RSA -pkeyopt \
             rsa_keygen_bits:2048` makes it",
        ),
        Algorithm::Es256 => (
            "ES256",
            "ES256 needs an EC key on the curve P-256, as `openssl genpkey -algorithm EC -pkeyopt \
             ec_paramgen_curve:P-256` makes it",
        ),
    };
    Error::config(format!("{what} has a key that cannot sign with {name}: {why}")).with_hint(hint)
}

#[cfg(test)]
mod tests {
    use ring::signature::{ECDSA_P256_SHA256_FIXED, KeyPair, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};

    use super::*;
    use test_server::certificates::{ec_pem, pem, rsa_pem, rsa_pkcs1};

    #[test]
    fn signs_with_keys_of_every_notation() {
        let (pkcs8, pkcs1, ec) = (rsa_pem(), pem("RSA PRIVATE KEY", &rsa_pkcs1()), ec_pem());
        for (text, algorithm) in [
            (pkcs8.replace('\n', "\\n"), Algorithm::Rs256),
            (pkcs8.replace('\n', "\\r\\n"), Algorithm::Rs256),
            (pkcs8.replace('\n', " "), Algorithm::Rs256),
            (
                format!("Bag Attributes: x\n{}", pkcs8.replace('\n', "")),
                Algorithm::Rs256,
            ),
            (pkcs8, Algorithm::Rs256),
            (pkcs1, Algorithm::Rs256),
            (ec, Algorithm::Es256),
        ] {
            let key = SigningKey::from_pem(&Secret::new(text), algorithm, "").unwrap();
            let signature = key.sign(b"message").unwrap();
            let verified = match &key {
                SigningKey::Rsa(key) => {
                    UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key.public_key().as_ref())
                        .verify(b"message", &signature)
                }
                SigningKey::P256(key) => {
                    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key.public_key().as_ref())
                        .verify(b"message", &signature)
                }
            };
            verified.unwrap();
        }
    }

    #[test]
    fn rejects_unusable_keys_without_showing_them() {
        use Algorithm::{Es256, Rs256};
        let (rsa, ec) = (rsa_pem(), ec_pem());
        let encrypted = pem("RSA PRIVATE KEY", b"x").replacen('\n', "\nProc-Type: 4,ENCRYPTED\n\n", 1);
        let marker = "bWFya2VyLW1hcmtlcg";
        for (text, algorithm, expected) in [
            (String::new(), Rs256, "`key` has no private key in PEM form"),
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
            let error = SigningKey::from_pem(&Secret::new(text), algorithm, "`key`")
                .err()
                .unwrap();
            let shown = format!("{error:?}");
            assert!(
                shown.contains(expected) && error.hints().count() == 1,
                "{shown} / {expected}"
            );
            assert!(!shown.contains(marker) && !shown.contains("marker"), "{shown}");
        }
    }
}
