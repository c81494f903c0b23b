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

use ::pgp::composed::{Message, PlainSessionKey};

use self::keys::Keys;
use self::message::{Opening, Source};
use self::signers::Signers;
use super::bounds::MaxRatio;
use super::error::CodecError;
use super::settings::{EncryptionPolicy, PgpSettings, SignaturePolicy};
use super::{BUFFER_BYTES, Reader};
use crate::error::Result;
use crate::secret::SecretFiles;

const KIND: &str = "OpenPGP";

/// The keys and policies of a source.
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
            signature: settings.signature(),
            encryption: settings.encrypted,
        })
    }

    /// The content of the message whose bytes `encoded` opens, as often as it is called. `warn_as` is the file name for
    /// a warning about a missing signature.
    ///
    /// # Errors
    /// It is not a message, not for these keys, or not encrypted although required. Damage, and a missing or invalid
    /// signature, show while reading.
    pub(super) fn open(
        &self,
        encoded: &dyn Fn() -> io::Result<Reader>,
        max_ratio: MaxRatio,
        warn_as: Option<&str>,
    ) -> io::Result<Reader> {
        let source = Source::new(encoded()?);
        let message = source.message()?;
        let Message::Encrypted { esk, .. } = &message else {
            if self.encryption == EncryptionPolicy::Required {
                return Err(CodecError::refused(
                    "the OpenPGP file is not encrypted",
                    "ask the sender to encrypt it, or set `pgp: {encrypted: optional}` to accept it",
                ));
            }
            return self.opening(&source, max_ratio, warn_as).content(message);
        };
        let mut session_keys = self.keys.session_keys(esk)?;
        let by_password = session_keys.by_password;
        if session_keys.found.len() == 1
            && let Some(key) = session_keys.found.pop()
        {
            let content = self.opening(&source, max_ratio, warn_as).decrypt(message, &key);
            return Ok(match by_password {
                true => Box::new(PasswordReader(content.map_err(wrong_password)?)),
                false => content?,
            });
        }
        // A wrong password also yields a key, only not the right one. This shows at the end of the content at the latest,
        // so the first key that reaches the end is the right one.
        drop(message);
        let mut first = None;
        for key in &session_keys.found {
            let checked = self.decrypted(encoded, key, max_ratio, None).and_then(discard);
            match checked {
                Ok(()) => return self.decrypted(encoded, key, max_ratio, warn_as),
                Err(error) => first = first.or(Some(error)),
            }
        }
        let error = first.unwrap_or_else(|| CodecError::damaged(KIND, None));
        Err(if by_password { wrong_password(error) } else { error })
    }

    fn decrypted(
        &self,
        encoded: &dyn Fn() -> io::Result<Reader>,
        key: &PlainSessionKey,
        max_ratio: MaxRatio,
        warn_as: Option<&str>,
    ) -> io::Result<Reader> {
        let source = Source::new(encoded()?);
        let message = source.message()?;
        self.opening(&source, max_ratio, warn_as).decrypt(message, key)
    }

    fn opening<'a>(
        &'a self,
        source: &'a Source,
        max_ratio: MaxRatio,
        warn_as: Option<&'a str>,
    ) -> Opening<'a> {
        Opening {
            pgp: self,
            source,
            max_ratio,
            warn_as,
        }
    }
}

fn discard(mut content: Reader) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        match content.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
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
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    match inner {
        Some(CodecError::Damaged { kind: KIND, .. }) => CodecError::refused(
            "none of the passwords opens the OpenPGP file, or the file is damaged",
            "check `pgp.passwords`; then transfer the file again",
        ),
        _ => error,
    }
}
