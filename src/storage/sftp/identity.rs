//! The credentials of a login: passwords and private keys.

use std::sync::Arc;

use russh::MethodKind;
use russh::keys::{self, PrivateKey};

use super::SftpAuth;
use crate::error::{Error, Result};
use crate::secret::{Secret, SecretRef};
use crate::storage::Context;

pub(super) enum Credential {
    Password(Secret),
    Key(Arc<PrivateKey>),
    KeyboardInteractive(Secret),
}

/// Shows the method, never the secret.
impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.key())
    }
}

impl Credential {
    pub(super) fn read(entry: &SftpAuth, cx: &Context) -> Result<Self> {
        let read = |secret: &Option<SecretRef>| secret.as_ref().map(|secret| cx.read(secret)).transpose();
        if let Some(password) = read(&entry.password)? {
            return Ok(Self::Password(password));
        }
        if let Some(password) = read(&entry.keyboard_interactive)? {
            return Ok(Self::KeyboardInteractive(password));
        }
        let Some(key) = read(&entry.private_key)? else {
            return Err(Error::config("an entry of `sftp.auth` has no login method"));
        };
        let passphrase = read(&entry.passphrase)?;
        private_key(&key, passphrase.as_ref()).map(|key| Self::Key(Arc::new(key)))
    }

    pub(super) fn method(&self) -> MethodKind {
        match self {
            Self::Password(_) => MethodKind::Password,
            Self::Key(_) => MethodKind::PublicKey,
            Self::KeyboardInteractive(_) => MethodKind::KeyboardInteractive,
        }
    }

    /// Its key in the settings.
    pub(super) fn key(&self) -> &'static str {
        match self {
            Self::Password(_) => "password",
            Self::Key(_) => "private_key",
            Self::KeyboardInteractive(_) => "keyboard_interactive",
        }
    }
}

/// Parses a private key. Errors contain no part of it.
fn private_key(text: &Secret, passphrase: Option<&Secret>) -> Result<PrivateKey> {
    let lines = restore_lines(text.expose());
    let error = match keys::decode_secret_key(lines.expose(), passphrase.map(Secret::expose)) {
        Ok(key) => return Ok(key),
        Err(error) => error,
    };
    let text = lines.expose();
    let is_encrypted = text.contains("ENCRYPTED")
        || text.contains("\nEncryption: aes")
        || passphrase.is_some() && text.contains("OPENSSH")
        || matches!(error, keys::Error::KeyIsEncrypted);
    let other = error.to_string();
    let (cause, hint) = if is_encrypted && passphrase.is_none() {
        (
            "it is encrypted with a passphrase",
            "set `passphrase: {env: …}` beside `private_key`",
        )
    } else if text.contains("DEK-Info:") && !text.contains("DEK-Info: AES-128-CBC,") {
        (
            "its old encryption is not supported",
            "convert it to the OpenSSH format: `ssh-keygen -p -f KEY`",
        )
    } else if text.contains("PUBLIC KEY") || text.starts_with("ssh-") || text.starts_with("ecdsa-") {
        (
            "it is a public key",
            "the private key is in the file beside it, without `.pub`",
        )
    } else if !text.contains("-----BEGIN ") && !text.starts_with("PuTTY-User-Key-File-") {
        (
            "it contains no line such as `-----BEGIN OPENSSH PRIVATE KEY-----`",
            "give the complete key, from the BEGIN line to the END line",
        )
    } else if is_encrypted {
        (&*other, "the passphrase is wrong, or the key is damaged")
    } else {
        (&*other, "it is damaged, or not an Ed25519, ECDSA or RSA key")
    };
    Err(Error::config("cannot read the `private_key` of `sftp.auth`")
        .with_source(cause)
        .with_hint(hint))
}

/// The text with its line breaks, which environment variables and secret stores turn into `\n` or spaces.
fn restore_lines(text: &str) -> Secret {
    let text = text.trim();
    let text = text.replace("\\r", "").replace("\\n", "\n").replace('\r', "");
    const DASHES: &str = "-----";
    let parts: Vec<&str> = text.split(DASHES).collect();
    if !text.starts_with(DASHES) || text.contains('\n') || parts.len() < 5 {
        return Secret::new(text);
    }
    // `-----BEGIN x-----`, the body, `-----END x-----`.
    let body: Vec<&str> = parts[2].split_whitespace().collect();
    let (begin, body, end) = (parts[1], body.join("\n"), parts[3]);
    Secret::new(format!(
        "{DASHES}{begin}{DASHES}\n{body}\n{DASHES}{end}{DASHES}\n"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generate() -> String {
        let key = PrivateKey::random(&mut keys::key::safe_rng(), keys::Algorithm::Ed25519).unwrap();
        key.to_openssh(keys::ssh_key::LineEnding::LF).unwrap().to_string()
    }

    #[test]
    fn restores_lost_line_breaks() {
        let text = generate();
        let expected = private_key(&Secret::new(&*text), None).unwrap();
        for damaged in [
            text.replace('\n', "\\n"),
            text.replace('\n', " "),
            text.replace('\n', "\r\n"),
            format!("\n  {text}\n"),
        ] {
            let found = private_key(&Secret::new(damaged), None).unwrap();
            assert_eq!(found.public_key(), expected.public_key());
        }
    }

    /// Generated by puttygen for this test; not used anywhere.
    const PUTTY: &str = include_str!("../../../tests/sftp/putty.ppk");

    #[test]
    fn reads_putty_keys_and_explains_invalid_keys_without_showing_them() {
        let public = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";
        let damaged = {
            let key = generate();
            format!("{}{}", &key[..120], &key[124..])
        };
        for (text, passphrase, expected) in [
            (PUTTY, None, "`passphrase: {env: …}`"),
            (PUTTY, Some("wrong-marker"), "passphrase is wrong"),
            (public, None, "without `.pub`"),
            ("hunter2-marker", None, "BEGIN"),
            (&*damaged, None, "damaged"),
        ] {
            let passphrase = passphrase.map(Secret::new);
            let error = private_key(&Secret::new(text), passphrase.as_ref()).unwrap_err();
            let shown = format!("{} {:?}", error.chain(), error.hints().collect::<Vec<_>>());
            assert!(shown.contains(expected), "{shown}");
            assert!(!shown.contains("marker") && !shown.contains("AAAA"), "{shown}");
        }
        let key = private_key(&Secret::new(PUTTY), Some(&Secret::new("test"))).unwrap();
        let public = key.public_key().to_openssh().unwrap();
        assert!(public.contains("AAAAIJ/RJ8+EN9qpvH7NYhPcZFirSO1y1J+PIVnspB89lOVa"));
    }
}
