//! OpenPGP: decrypts, decompresses and verifies while reading.
//!
//! Accepted is what common tools write: an encrypted message that may contain a compressed one that may contain a signed
//! one; each may be missing. Decrypted bytes come out before integrity and signature are known, which are at the end: a
//! caller must not use them before it has read to the end without an error. Error texts of the `pgp` crate may hold
//! decrypted bytes and are never passed on.

mod keys;
mod message;
mod signers;

use std::io::{self, Read};
use std::path::Path;

use ::pgp::composed::Message;

use self::keys::Keys;
use self::message::{Opening, damaged, unsupported_order};
use self::signers::Signers;
use super::Reader;
use super::bounds::{ByteCount, FirstError, MaxRatio};
use super::error::refused;
use super::settings::{EncryptionPolicy, PgpSettings, SignaturePolicy};
use crate::error::Result;
use crate::secret::SecretFiles;

const KIND: &str = "OpenPGP";

#[derive(Debug)]
pub(super) struct Pgp {
    keys: Keys,
    signers: Signers,
    signature: SignaturePolicy,
    encryption: EncryptionPolicy,
}

impl Pgp {
    /// Reads all keys; relative paths are relative to `base`.
    pub(super) fn new(settings: &PgpSettings, base: &Path, secret_files: &SecretFiles) -> Result<Self> {
        Ok(Self {
            keys: Keys::read(settings, base, secret_files)?,
            signers: Signers::read(&settings.signed_by, base)?,
            signature: settings.signature.unwrap_or_default(),
            encryption: settings.encrypted,
        })
    }

    /// The content of the message whose bytes `encoded` opens, as often as it is called. `warn_as` is the file name for
    /// a warning about a missing signature.
    pub(super) fn open(
        &self,
        encoded: &dyn Fn() -> io::Result<Reader>,
        max_ratio: MaxRatio,
        warn_as: Option<&str>,
    ) -> io::Result<Reader> {
        let opening = |warn_as| Opening {
            pgp: self,
            max_ratio,
            warn_as,
            count: ByteCount::default(),
            first_error: FirstError::default(),
        };
        let first = opening(warn_as);
        let message = first.message(encoded()?)?;
        let Message::Encrypted { esk, .. } = &message else {
            if self.encryption == EncryptionPolicy::Required {
                return Err(refused(
                    "the OpenPGP file is not encrypted",
                    "ask the sender to encrypt it, or set `pgp: {encrypted: optional}` to accept it",
                ));
            }
            return first.content(message);
        };
        let keys = self.keys.session_keys(esk)?;
        let explained = |error| {
            if keys.by_password {
                wrong_password(error)
            } else {
                error
            }
        };
        if let [key] = &*keys.found {
            let content = first.decrypt(message, key).map_err(explained)?;
            return Ok(if keys.by_password {
                Box::new(PasswordReader(content))
            } else {
                content
            });
        }
        // A wrong password also yields a key, only not the right one. This shows at the end of the content at the latest,
        // so the first key that reaches the end is the right one.
        drop(message);
        let decrypted = |key, warn_as| {
            let opening = opening(warn_as);
            opening.decrypt(opening.message(encoded()?)?, key)
        };
        let mut first_error = None;
        for key in &keys.found {
            match decrypted(key, None).and_then(|mut content| io::copy(&mut content, &mut io::sink())) {
                Ok(_) => return decrypted(key, warn_as),
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
        Err(explained(first_error.unwrap_or_else(damaged)))
    }
}

/// Adds to damage that the password may be wrong.
struct PasswordReader(Reader);

impl Read for PasswordReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer).map_err(wrong_password)
    }
}

fn wrong_password(error: io::Error) -> io::Error {
    // Not of another codec, whose error passes through. What a wrong key makes of a message may look like packets.
    let text = error.to_string();
    if text != damaged().to_string() && text != unsupported_order().to_string() {
        return error;
    }
    refused(
        "none of the passwords opens the OpenPGP file, or the file is damaged or of an unsupported structure",
        "check `pgp.passwords`; then transfer the file again, or ask the sender to encrypt it with the defaults of GnuPG",
    )
}
