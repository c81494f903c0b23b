//! Signs assertions with an RSA key (PKCS #1 v1.5 with SHA-256).

use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use rustls_pki_types::PrivateKeyDer;

use super::pem;
use crate::error::{Error, Result};
use crate::secret::Secret;

/// A private key of 2048 to 4096 bits.
pub(crate) struct SigningKey(RsaKeyPair);

impl SigningKey {
    /// Reads a key in PEM form: PKCS #8 (`PRIVATE KEY`) or PKCS #1 (`RSA PRIVATE KEY`). Errors name it as `what` and
    /// repeat nothing of it.
    pub(crate) fn from_pem(text: &Secret, what: &str) -> Result<Self> {
        let key = match pem::private_key(text, what)?.1 {
            PrivateKeyDer::Pkcs8(der) => RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()),
            other => RsaKeyPair::from_der(other.secret_der()),
        };
        key.map(Self).map_err(|why| {
            Error::config(format!("{what} has a key that cannot sign with RS256: {why}")).with_hint(
                "RS256 needs an RSA key of 2048 to 4096 bits, as `openssl genpkey -algorithm RSA -pkeyopt \
                 rsa_keygen_bits:2048` makes it",
            )
        })
    }

    pub(super) fn sign(&self, message: &[u8]) -> Result<Vec<u8>> {
        let mut signature = vec![0; self.0.public().modulus_len()];
        let random = SystemRandom::new();
        let signed = self.0.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature);
        signed.map_err(|_| Error::unexpected("cannot sign with the private key"))?;
        Ok(signature)
    }
}

#[cfg(test)]
mod tests {
    use ring::signature::{KeyPair, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
    use test_server::certificates::{Authority, pem, rsa_pem, rsa_pkcs1};

    use super::*;

    #[test]
    fn signs_with_keys_of_every_notation() {
        let pkcs8 = rsa_pem();
        for text in [
            pkcs8.replace('\n', "\\n"),
            pkcs8.replace('\n', "\\r\\n"),
            pkcs8.replace('\n', " "),
            format!("Bag Attributes: x\n{}", pkcs8.replace('\n', "")),
            pkcs8,
            pem("RSA PRIVATE KEY", &rsa_pkcs1()),
        ] {
            let key = SigningKey::from_pem(&Secret::new(text), "").unwrap();
            let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key.0.public_key().as_ref());
            public.verify(b"message", &key.sign(b"message").unwrap()).unwrap();
        }
    }

    #[test]
    fn rejects_unusable_keys_without_showing_them() {
        let rsa = rsa_pem();
        let encrypted = pem("RSA PRIVATE KEY", b"x").replacen('\n', "\nProc-Type: 4,ENCRYPTED\n\n", 1);
        let marker = "bWFya2VyLW1hcmtlcg";
        for (text, expected) in [
            (String::new(), "`key` has no private key in PEM form"),
            (marker.to_owned(), "has no private key"),
            (pem("CERTIFICATE", b"x"), "(found: CERTIFICATE)"),
            (pem("ENCRYPTED PRIVATE KEY", b"x"), "encrypted"),
            (encrypted, "encrypted with a password"),
            (pem("PRIVATE KEY", b"marker-marker"), "cannot sign"),
            (Authority::new("x").client("ec").1, "cannot sign with RS256"),
            (format!("{rsa}{rsa}"), "more than one"),
            (rsa.replace("-----END", "*****"), "damaged"),
            (rsa.replacen('M', "!", 1), "damaged"),
        ] {
            let error = SigningKey::from_pem(&Secret::new(text), "`key`").err().unwrap();
            let shown = format!("{error:?}");
            let holds = shown.contains(expected) && error.hints().count() == 1;
            assert!(holds, "{shown} / {expected}");
            assert!(!shown.contains(marker) && !shown.contains("marker"), "{shown}");
        }
    }
}
