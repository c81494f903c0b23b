//! What decrypts: secret keys and passwords.

use std::path::Path;

use std::{fmt, io};

use ::pgp::composed::{
    Any, Deserializable as _, Esk, PlainSessionKey, SignedSecretKey, decrypt_session_key_with_password,
};
use ::pgp::packet::PublicKeyEncryptedSessionKey;
use ::pgp::types::{DecryptionKey, EskType, KeyDetails as _, Password, PkeskVersion};

use super::super::error::CodecError;
use super::super::settings::{PgpKey, PgpSettings};
use crate::error::{Error, Result};
use crate::secret::{Secret, SecretFiles};

/// Recipients that a file may have. Each costs an operation with each key that may be meant.
const MOST_RECIPIENTS: usize = 1_000;

/// Passwords that a file may have. Each is made slow to try by intent.
const MOST_PASSWORDS: usize = 16;

/// Unlocked keys, and passwords.
pub(super) struct Keys {
    keys: Vec<SignedSecretKey>,
    passwords: Vec<Password>,
}

/// Shows no key.
impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys")
            .field("keys", &self.ids())
            .field("passwords", &self.passwords.len())
            .finish()
    }
}

/// What may decrypt a message.
pub(super) struct SessionKeys {
    /// None of them twice.
    pub(super) found: Vec<PlainSessionKey>,
    /// Whether they come of passwords, so that nothing says yet that they are right.
    pub(super) by_password: bool,
}

impl Keys {
    pub(super) fn read(options: &PgpSettings, base: &Path, secret_files: &SecretFiles) -> Result<Self> {
        let mut keys = Vec::new();
        for (index, key) in options.keys.iter().enumerate() {
            keys.extend(read_key(key, index, base, secret_files)?);
        }
        let passwords = options
            .passwords
            .iter()
            .map(|password| Ok(password_of(&password.read(base, secret_files)?)))
            .collect::<Result<_>>()?;
        Ok(Self { keys, passwords })
    }

    /// What decrypts a message with these recipients.
    ///
    /// # Errors
    /// None of the keys does; the error says whose it is.
    pub(super) fn session_keys(&self, recipients: &[Esk]) -> io::Result<SessionKeys> {
        let with_password = recipients
            .iter()
            .filter(|esk| matches!(esk, Esk::SymKeyEncryptedSessionKey(_)))
            .count();
        if recipients.len() > MOST_RECIPIENTS || with_password > MOST_PASSWORDS {
            return Err(CodecError::refused(
                format!(
                    "the OpenPGP file has {} recipients, {with_password} of them by password",
                    recipients.len()
                ),
                format!(
                    "at most {MOST_RECIPIENTS} are tried, {MOST_PASSWORDS} by password: such a file was made to do harm"
                ),
            ));
        }
        let mut found = Vec::new();
        let mut add = |key: PlainSessionKey| {
            if !found.contains(&key) {
                found.push(key);
            }
        };
        for esk in recipients {
            if let Esk::PublicKeyEncryptedSessionKey(esk) = esk {
                self.with_keys(esk).for_each(&mut add);
            }
        }
        if !found.is_empty() {
            return Ok(SessionKeys {
                found,
                by_password: false,
            });
        }
        let mut add = |key: PlainSessionKey| {
            if !found.contains(&key) {
                found.push(key);
            }
        };
        for esk in recipients {
            // Without an algorithm it is of a version that is not known.
            if let Esk::SymKeyEncryptedSessionKey(esk) = esk
                && esk.sym_algorithm().is_some()
            {
                self.passwords
                    .iter()
                    .filter_map(|password| decrypt_session_key_with_password(esk, password).ok())
                    .for_each(&mut add);
            }
        }
        if found.is_empty() {
            return Err(self.not_for_us(recipients, with_password));
        }
        Ok(SessionKeys {
            found,
            by_password: true,
        })
    }

    /// The session keys that our keys find in `esk`. A hidden recipient may be any of them.
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
            let subkeys = key
                .secret_subkeys
                .iter()
                .filter(|subkey| esk.match_identity(subkey.public_key()));
            let primary = primary.and_then(|key| decrypt(key));
            subkeys
                .filter_map(move |subkey| decrypt(&subkey.key))
                .chain(primary)
        })
    }

    fn ids(&self) -> Vec<String> {
        let mut ids = Vec::new();
        for key in &self.keys {
            ids.extend(
                key.secret_subkeys
                    .iter()
                    .map(|subkey| subkey.legacy_key_id().to_string()),
            );
            if can_decrypt(&key.primary_key) {
                ids.push(key.primary_key.legacy_key_id().to_string());
            }
        }
        ids
    }

    fn not_for_us(&self, recipients: &[Esk], with_password: usize) -> io::Error {
        let mut whose: Vec<String> = recipients
            .iter()
            .filter_map(|esk| match esk {
                Esk::PublicKeyEncryptedSessionKey(esk) => Some(recipient(esk)),
                Esk::SymKeyEncryptedSessionKey(_) => None,
            })
            .collect();
        whose.dedup();
        if whose.is_empty() && with_password == 0 {
            return CodecError::refused(
                "the OpenPGP file is encrypted in a way that is not known",
                "have it encrypted as GnuPG does by default",
            );
        }
        if whose.is_empty() {
            return match self.passwords.is_empty() {
                true => CodecError::refused(
                    "the OpenPGP file is encrypted with a password, and none was given",
                    "give it: `pgp: {passwords: [{env: …}]}`",
                ),
                false => CodecError::refused(
                    "none of the passwords opens the OpenPGP file",
                    "look at `pgp.passwords`",
                ),
            };
        }
        let ours = match self.ids() {
            ids if ids.is_empty() => "no key was given".to_owned(),
            ids => format!("the keys here are {}", listed(&ids)),
        };
        let or_password = match with_password {
            0 => "",
            _ => " or with a password",
        };
        CodecError::refused(
            format!(
                "the OpenPGP file is encrypted for {}{or_password}; {ours}",
                listed(&whose)
            ),
            "give the secret key of one of them in `pgp.keys`, or have the file encrypted for yours; \
             `gpg --list-keys --with-subkey-fingerprint` shows the ids of keys",
        )
    }
}

fn listed(ids: &[String]) -> String {
    const SHOWN: usize = 10;
    let mut text = ids.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    if ids.len() > SHOWN {
        text.push_str(&format!(" and {} more", ids.len() - SHOWN));
    }
    text
}

fn recipient(esk: &PublicKeyEncryptedSessionKey) -> String {
    if let Ok(id) = esk.id() {
        return match id.is_wildcard() {
            true => "a hidden recipient".to_owned(),
            false => id.to_string(),
        };
    }
    match esk.fingerprint() {
        Ok(Some(fingerprint)) => fingerprint.to_string(),
        _ => "a hidden recipient".to_owned(),
    }
}

fn password_of(secret: &Secret) -> Password {
    Password::from(secret.expose())
}

/// Every key in the text, unlocked as far as it decrypts.
fn read_key(
    key: &PgpKey,
    index: usize,
    base: &Path,
    secret_files: &SecretFiles,
) -> Result<Vec<SignedSecretKey>> {
    let which = format!("the OpenPGP key `pgp.keys[{index}]`");
    let text = key.key.read(base, secret_files)?;
    let passphrase = key
        .passphrase
        .as_ref()
        .map(|passphrase| passphrase.read(base, secret_files))
        .transpose()?;
    let no_key = || {
        Error::config(format!("{which} is no armored secret key")).with_hint(
            "export it with `gpg --armor --export-secret-keys ID`; its first line is \
             `-----BEGIN PGP PRIVATE KEY BLOCK-----`",
        )
    };
    let keys: Result<Vec<_>, _> =
        SignedSecretKey::from_armor_many(text.expose().as_bytes()).and_then(|(keys, _)| keys.collect());
    let mut keys = match keys {
        Ok(keys) if !keys.is_empty() => keys,
        _ if matches!(Any::from_string(text.expose()), Ok((Any::PublicKey(_), _))) => {
            return Err(Error::config(format!("{which} is a public key, which cannot decrypt")).with_hint(
                "export the secret key: `gpg --armor --export-secret-keys ID`; public keys belong into `pgp.signed_by`",
            ));
        }
        _ => return Err(no_key()),
    };
    let given = passphrase.is_some();
    let passphrase = passphrase.as_ref().map_or_else(Password::empty, password_of);
    let mut usable = false;
    for key in &mut keys {
        // Those for signing are of no use here, and may be stubs of a key that is kept elsewhere.
        key.secret_subkeys.retain(|subkey| can_decrypt(&subkey.key));
        key.secret_subkeys
            .retain_mut(|subkey| subkey.key.remove_password(&passphrase).is_ok());
        let primary = can_decrypt(&key.primary_key) && key.primary_key.remove_password(&passphrase).is_ok();
        usable |= primary || !key.secret_subkeys.is_empty();
    }
    if usable {
        return Ok(keys);
    }
    Err(match given {
        true => Error::config(format!("the passphrase does not open {which}"))
            .with_hint("try it: `gpg --import` asks for it")
            .with_hint(
                "a key that was exported without its secret part, or lies on a card, cannot be opened",
            ),
        false => Error::config(format!("{which} has a passphrase, or cannot decrypt"))
            .with_hint(format!(
                "give its passphrase: `pgp: {{keys: [{{key: …, passphrase: {{env: …}}}}]}}` (entry {index})"
            ))
            .with_hint("a key for signing alone, or one that lies on a card, cannot decrypt"),
    })
}

fn can_decrypt(key: &impl ::pgp::types::KeyDetails) -> bool {
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
