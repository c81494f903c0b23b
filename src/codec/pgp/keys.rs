//! Secret keys and passwords that decrypt.

use std::path::Path;
use std::{fmt, io};

use ::pgp::composed::{
    Any, Deserializable as _, Esk, PlainSessionKey, SignedSecretKey, decrypt_session_key_with_password,
};
use ::pgp::packet::PublicKeyEncryptedSessionKey;
use ::pgp::types::{DecryptionKey, EskType, KeyDetails, Password, PkeskVersion};

use super::super::error::{listed, refused};
use super::super::settings::{PgpKey, PgpSettings};
use crate::error::{Error, Result};
use crate::secret::{Secret, SecretFiles};

/// Recipients of a file. Each costs an operation with each key that may match.
const MAX_RECIPIENTS: usize = 1_000;
/// Passwords of a file. Each is slow to try by design.
const MAX_PASSWORDS: usize = 16;

/// Unlocked keys, and passwords.
pub(super) struct Keys {
    keys: Vec<SignedSecretKey>,
    passwords: Vec<Password>,
}

/// Shows no secret.
impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys")
            .field("keys", &self.ids())
            .field("passwords", &self.passwords.len())
            .finish()
    }
}

/// Candidates to decrypt a message with, each once.
pub(super) struct SessionKeys {
    pub(super) found: Vec<PlainSessionKey>,
    /// Whether they come from passwords: then nothing proves yet that they are right.
    pub(super) by_password: bool,
}

impl SessionKeys {
    fn new(keys: impl Iterator<Item = PlainSessionKey>, by_password: bool) -> Self {
        let mut found = Vec::new();
        for key in keys {
            if !found.contains(&key) {
                found.push(key);
            }
        }
        Self { found, by_password }
    }
}

impl Keys {
    pub(super) fn read(settings: &PgpSettings, base: &Path, secret_files: &SecretFiles) -> Result<Self> {
        let mut keys = Vec::new();
        for (index, key) in settings.keys.iter().enumerate() {
            keys.extend(read_key(key, index, base, secret_files)?);
        }
        let passwords = settings.passwords.iter();
        let passwords = passwords.map(|password| Ok(password_of(&password.read(base, secret_files)?)));
        Ok(Self {
            keys,
            passwords: passwords.collect::<Result<_>>()?,
        })
    }

    pub(super) fn session_keys(&self, recipients: &[Esk]) -> io::Result<SessionKeys> {
        let public = || {
            recipients.iter().filter_map(|esk| match esk {
                Esk::PublicKeyEncryptedSessionKey(esk) => Some(esk),
                Esk::SymKeyEncryptedSessionKey(_) => None,
            })
        };
        let with_password = recipients.len() - public().count();
        if recipients.len() > MAX_RECIPIENTS || with_password > MAX_PASSWORDS {
            let count = recipients.len();
            return Err(refused(
                format!("the OpenPGP file has {count} recipients, {with_password} of them by password"),
                format!(
                    "supported are {MAX_RECIPIENTS}, {MAX_PASSWORDS} of them by password; the file may be malicious"
                ),
            ));
        }
        let keys = SessionKeys::new(public().flat_map(|esk| self.with_keys(esk)), false);
        if !keys.found.is_empty() {
            return Ok(keys);
        }
        let by_password = recipients.iter().flat_map(|esk| {
            // Without an algorithm it has an unknown version.
            let esk = match esk {
                Esk::SymKeyEncryptedSessionKey(esk) => esk.sym_algorithm().map(|_| esk),
                Esk::PublicKeyEncryptedSessionKey(_) => None,
            };
            let passwords = self.passwords.iter();
            passwords.filter_map(move |password| decrypt_session_key_with_password(esk?, password).ok())
        });
        let keys = SessionKeys::new(by_password, true);
        if !keys.found.is_empty() {
            return Ok(keys);
        }
        let mut ids: Vec<String> = public().map(recipient).collect();
        ids.dedup();
        Err(self.no_match(&ids, with_password > 0))
    }

    /// The session keys that our keys find in `esk`. A hidden recipient matches any key.
    fn with_keys<'a>(
        &'a self,
        esk: &'a PublicKeyEncryptedSessionKey,
    ) -> impl Iterator<Item = PlainSessionKey> + 'a {
        let typ = match esk.version() {
            PkeskVersion::V3 => Some(EskType::V3_4),
            PkeskVersion::V6 => Some(EskType::V6),
            PkeskVersion::Other(_) => None,
        };
        let decrypt = move |key: &dyn DecryptionKey| {
            let values = esk.values().ok()?;
            key.decrypt(&Password::empty(), values, typ?).ok()?.ok()
        };
        self.keys.iter().flat_map(move |key| {
            let primary = esk
                .match_identity(key.primary_key.public_key())
                .then_some(&key.primary_key);
            let subkeys = key.secret_subkeys.iter();
            subkeys
                .filter(|subkey| esk.match_identity(subkey.public_key()))
                .filter_map(move |subkey| decrypt(&subkey.key))
                .chain(primary.and_then(|key| decrypt(key)))
        })
    }

    fn ids(&self) -> Vec<String> {
        let mut ids = Vec::new();
        for key in &self.keys {
            let subkeys = key.secret_subkeys.iter();
            ids.extend(subkeys.map(|subkey| subkey.legacy_key_id().to_string()));
            if can_decrypt(&key.primary_key) {
                ids.push(key.primary_key.legacy_key_id().to_string());
            }
        }
        ids
    }

    /// `recipients`: the ids of their keys.
    fn no_match(&self, recipients: &[String], with_password: bool) -> io::Error {
        if recipients.is_empty() {
            return match (with_password, self.passwords.is_empty()) {
                (false, _) => refused(
                    "the OpenPGP file is encrypted in an unknown way",
                    "ask the sender to encrypt it with the defaults of GnuPG",
                ),
                (true, true) => refused(
                    "the OpenPGP file is encrypted with a password, and none was given",
                    "give it: `pgp: {passwords: [{env: …}]}`",
                ),
                (true, false) => refused(
                    "none of the passwords opens the OpenPGP file",
                    "check `pgp.passwords`",
                ),
            };
        }
        let ours = match &*self.ids() {
            [] => "no key was given".to_owned(),
            ids => format!("the keys in `pgp.keys` are {}", listed(ids)),
        };
        let or_password = if with_password { " or with a password" } else { "" };
        let recipients = listed(recipients);
        refused(
            format!("the OpenPGP file is encrypted for {recipients}{or_password}; {ours}"),
            "add the secret key of a recipient to `pgp.keys`, or ask the sender to encrypt for yours; `gpg --list-keys \
             --with-subkey-fingerprint` shows key ids",
        )
    }
}

fn recipient(esk: &PublicKeyEncryptedSessionKey) -> String {
    match (esk.id(), esk.fingerprint()) {
        (Ok(id), _) if !id.is_wildcard() => id.to_string(),
        (Err(_), Ok(Some(fingerprint))) => fingerprint.to_string(),
        _ => "a hidden recipient".to_owned(),
    }
}

fn password_of(secret: &Secret) -> Password {
    Password::from(secret.expose())
}

/// Every key in the text; those that decrypt are unlocked.
fn read_key(
    key: &PgpKey,
    index: usize,
    base: &Path,
    secret_files: &SecretFiles,
) -> Result<Vec<SignedSecretKey>> {
    let which = format!("the OpenPGP key `pgp.keys[{index}]`");
    let text = key.key.read(base, secret_files)?;
    let text = text.expose();
    let passphrase = match &key.passphrase {
        Some(passphrase) => password_of(&passphrase.read(base, secret_files)?),
        None => Password::empty(),
    };
    let keys = SignedSecretKey::from_armor_many(text.as_bytes());
    let mut keys = match keys.and_then(|(keys, _)| keys.collect::<Result<Vec<_>, _>>()) {
        Ok(keys) if !keys.is_empty() => keys,
        _ if matches!(Any::from_string(text), Ok((Any::PublicKey(_), _))) => {
            return Err(Error::config(format!("{which} is a public key, which cannot decrypt")).with_hint(
                "export the secret key: `gpg --armor --export-secret-keys ID`; public keys belong in `pgp.signed_by`",
            ));
        }
        _ => {
            return Err(Error::config(format!("{which} is not an armored secret key")).with_hint(
                "export it with `gpg --armor --export-secret-keys ID`; it starts with `-----BEGIN PGP PRIVATE KEY \
                 BLOCK-----`",
            ));
        }
    };
    let mut usable = false;
    for key in &mut keys {
        // Signing keys are of no use here, and may be stubs of keys kept elsewhere.
        key.secret_subkeys
            .retain_mut(|subkey| can_decrypt(&subkey.key) && subkey.key.remove_password(&passphrase).is_ok());
        let primary = can_decrypt(&key.primary_key) && key.primary_key.remove_password(&passphrase).is_ok();
        usable |= primary || !key.secret_subkeys.is_empty();
    }
    if usable {
        return Ok(keys);
    }
    Err(match key.passphrase {
        Some(_) => Error::config(format!("the passphrase does not open {which}"))
            .with_hint("test it: `gpg --import` asks for it")
            .with_hint("a key exported without its secret part, or on a smart card, cannot be opened"),
        None => Error::config(format!("{which} has a passphrase, or cannot decrypt"))
            .with_hint(format!(
                "give its passphrase: `pgp: {{keys: [{{key: …, passphrase: {{env: …}}}}]}}` (entry {index})"
            ))
            .with_hint("a signing key, or a key on a smart card, cannot decrypt"),
    })
}

fn can_decrypt(key: &impl KeyDetails) -> bool {
    use ::pgp::crypto::public_key::PublicKeyAlgorithm as Algorithm;
    matches!(
        key.algorithm(),
        Algorithm::RSA
            | Algorithm::RSAEncrypt
            | Algorithm::ECDH
            | Algorithm::X25519
            | Algorithm::X448
            | Algorithm::Elgamal
            | Algorithm::ElgamalEncrypt
    )
}
