//! OpenPGP: decrypts, inflates and verifies while it is read.
//!
//! `keys` has what decrypts, `signers` those who may sign, `message` goes through the packets.
//!
//! Taken is what the tools of the field make: an encrypted message, in which a compressed one may lie, in which a signed
//! one may lie; each may be missing. Anything else is refused. Decrypted bytes come out before the file's integrity and
//! its signature are known, which are at its end: whoever reads has to come to the end without an error before the
//! bytes count.
//!
//! What the crate says of a failure is never passed on: its texts can hold what was decrypted.

mod keys;
mod message;
mod signers;

use std::io::{self, Read};
use std::path::Path;

use ::pgp::composed::{Message, PlainSessionKey};

use self::keys::Keys;
use self::message::{Opening, Source};
use self::signers::Signers;
use super::bounds::{BoundedReader, MaxRatio};
use super::error::CodecError;
use super::settings::{EncryptionPolicy, PgpSettings, SignaturePolicy};
use crate::error::Result;
use crate::secret::SecretFiles;

const BUFFER: usize = 256 << 10;

/// Keys that were read, and what is asked of a file.
#[derive(Debug)]
pub(super) struct Pgp {
    keys: Keys,
    signers: Signers,
    signature: SignaturePolicy,
    encryption: EncryptionPolicy,
}

impl Pgp {
    /// Reads all keys; relative paths are relative to `base`.
    ///
    /// # Errors
    /// A key cannot be read or opened, or none of `signed_by` may sign.
    pub(super) fn new(options: &PgpSettings, base: &Path, secret_files: &SecretFiles) -> Result<Self> {
        Ok(Self {
            keys: Keys::read(options, base, secret_files)?,
            signers: Signers::read(&options.signed_by, base)?,
            signature: options.signature(),
            encryption: options.encrypted,
        })
    }

    /// The content of the message. `packed` gives its bytes from the first on, as often as it is called. `told` is the
    /// name to warn of if it is not signed, and nobody was warned yet.
    ///
    /// # Errors
    /// It is no message, not for the keys, or not encrypted where it has to be. What is wrong behind its beginning shows
    /// when it is read: damage, and a signature that is missing or not right.
    pub(super) fn open(
        &self,
        packed: &dyn Fn() -> io::Result<Box<dyn Read + Send>>,
        ratio: MaxRatio,
        told: Option<&str>,
    ) -> io::Result<Box<dyn Read + Send>> {
        let source = Source::new(packed()?);
        let message = source.message()?;
        let Message::Encrypted { esk, .. } = &message else {
            if self.encryption == EncryptionPolicy::Required {
                return Err(CodecError::refused(
                    "the OpenPGP file is not encrypted",
                    "have it encrypted; if it is to be taken as it is: `pgp: {encrypted: optional}`",
                ));
            }
            return self.opening(&source, ratio, told).content(message);
        };
        let mut session_keys = self.keys.session_keys(esk)?;
        let by_password = session_keys.by_password;
        let explain = |error: io::Error| match by_password {
            true => wrong_password_or(error),
            false => error,
        };
        if session_keys.found.len() == 1
            && let Some(key) = session_keys.found.pop()
        {
            let content = self.opening(&source, ratio, told).decrypt(message, &key);
            return content
                .map(|content| -> Box<dyn Read + Send> { Box::new(Explained(content, by_password)) })
                .map_err(explain);
        }
        // A password that was not this file's gives a key too, only not the right one: that shows at the end at the
        // latest, so the one that comes to the end is taken.
        drop(message);
        let mut failure = None;
        for key in &session_keys.found {
            let tried = self
                .decrypted(packed, key, ratio, None)
                .and_then(|mut content| drain(&mut content));
            match tried {
                Ok(()) => return self.decrypted(packed, key, ratio, told),
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        Err(explain(failure.unwrap_or_else(|| CodecError::damaged(KIND))))
    }

    fn decrypted(
        &self,
        packed: &dyn Fn() -> io::Result<Box<dyn Read + Send>>,
        key: &PlainSessionKey,
        ratio: MaxRatio,
        told: Option<&str>,
    ) -> io::Result<Box<dyn Read + Send>> {
        let source = Source::new(packed()?);
        let message = source.message()?;
        self.opening(&source, ratio, told).decrypt(message, key)
    }

    fn opening<'a>(&'a self, source: &'a Source, ratio: MaxRatio, told: Option<&'a str>) -> Opening<'a> {
        Opening {
            pgp: self,
            source,
            ratio,
            told,
        }
    }
}

const KIND: &str = "OpenPGP";

/// To the end.
fn drain(content: &mut dyn Read) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        match content.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
    }
}

/// Says of damage that it can be the password, where there was one.
struct Explained(Box<dyn Read + Send>, bool);

impl Read for Explained {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer).map_err(|error| match self.1 {
            true => wrong_password_or(error),
            false => error,
        })
    }
}

fn wrong_password_or(error: io::Error) -> io::Error {
    let damaged = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<CodecError>())
        .is_some_and(|bad| matches!(bad, CodecError::Damaged { kind: KIND, .. }));
    if !damaged {
        return error;
    }
    CodecError::refused(
        "none of the passwords opens the OpenPGP file, or it is damaged",
        "look at `pgp.passwords`; then transfer the file again",
    )
}

/// Bounds what comes out of the message or of a compressed part of it.
fn bounded<R: Read>(inner: R, source: &Source, ratio: MaxRatio) -> BoundedReader<R> {
    BoundedReader::new(inner, KIND, &source.read, ratio)
}
