//! The public keys of accepted signers, and whether a signature by one of them is valid.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;
use std::{fmt, io};

use ::pgp::composed::{Any, Deserializable as _, Message, SignedPublicKey};
use ::pgp::crypto::hash::HashAlgorithm;
use ::pgp::packet::{Signature, SignatureType, SignatureVersion, SubpacketData};
use ::pgp::types::{KeyDetails, KeyVersion, Tag, Timestamp, VerifyingKey};

use super::super::error::refused;
use crate::error::{Error, Result};

/// How far ahead a signer's clock may be.
const MAX_CLOCK_SKEW_SECONDS: u64 = 3_600;
const MAX_KEY_BYTES: u64 = 16 << 20;

#[derive(Clone)]
pub(super) struct Signers(Arc<[Signer]>);

impl fmt::Debug for Signers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(Signer::id)).finish()
    }
}

/// A primary key or subkey.
struct Signer {
    key: Box<dyn VerifyingKey + Send + Sync>,
    file: PathBuf,
    /// In seconds since 1970; `None` if it does not expire.
    expires: Option<u64>,
    /// Why it cannot be used.
    refused: Option<&'static str>,
}

impl Signer {
    fn id(&self) -> String {
        self.key.legacy_key_id().to_string()
    }

    fn unusable(&self, now: Timestamp) -> Option<String> {
        if let Some(refused) = self.refused {
            return Some(refused.to_owned());
        }
        self.expires
            .filter(|&expires| expires <= u64::from(now.as_secs()))
            .map(|expires| format!("expired on {}", day(expires)))
    }
}

impl Signers {
    /// Reads the keys in `files`; relative paths are relative to `base`.
    pub(super) fn read(files: &[PathBuf], base: &Path) -> Result<Self> {
        let mut keys = Vec::new();
        for file in files {
            for key in read_file(&base.join(file))? {
                keys.extend(signers(key, file));
            }
        }
        let signers = Self(keys.into());
        signers.check_usable(files)?;
        Ok(signers)
    }

    /// Whether signatures are checked.
    pub(super) fn is_set(&self) -> bool {
        !self.0.is_empty()
    }

    /// Warns about keys that cannot be used; an error if that is all of them.
    fn check_usable(&self, files: &[PathBuf]) -> Result<()> {
        let (now, mut refused) = (now(), Vec::new());
        for signer in self.0.iter() {
            refused.extend(signer.unusable(now).map(|why| (signer, why)));
        }
        if refused.len() < self.0.len() || files.is_empty() {
            // Most files also contain encryption keys.
            for (signer, why) in refused.iter().filter(|(_, why)| why != NOT_FOR_SIGNING) {
                let (key, file) = (signer.id(), signer.file.display());
                tracing::warn!(key, %file, "ignored a key in `pgp.signed_by`: it {why}");
            }
            return Ok(());
        }
        let error = match refused.first() {
            Some((signer, why)) => format!(
                "no key in `pgp.signed_by` is valid: key {} in `{}` {why}",
                signer.id(),
                signer.file.display()
            ),
            None => "no key in `pgp.signed_by` can sign".to_owned(),
        };
        Err(Error::config(error).with_hint(CURRENT_KEY))
    }

    /// Verifies the signatures of a message that was read to its end. An unsigned message passes: the policy was applied
    /// before.
    pub(super) fn verify(&self, message: &Message<'_>) -> io::Result<()> {
        let Message::Signed { reader, .. } = message else {
            return Ok(());
        };
        let mut good = false;
        let mut others = Vec::new();
        for index in 0..reader.num_signatures() {
            let Some(signature) = reader.signature(index) else {
                return Err(bad_signature(None));
            };
            let mut known = false;
            // A signature without an issuer is tried with every key.
            let named = names_issuer(signature);
            for signer in self.0.iter().filter(|signer| made_by(signature, &*signer.key)) {
                match message.verify_nested_explicit(index, &*signer.key) {
                    Err(_) if !named => continue,
                    Err(_) => return Err(bad_signature(Some(signer))),
                    Ok(_) => {}
                }
                known = true;
                check_signature(signature, signer)?;
                good = true;
            }
            if !known {
                others.extend(issuer(signature));
            }
        }
        if good {
            return Ok(());
        }
        let by = match others.is_empty() {
            true => "an unnamed key".to_owned(),
            false => others.join(", "),
        };
        let signs = |signer: &&Signer| signer.refused != Some(NOT_FOR_SIGNING);
        let ours: Vec<String> = self.0.iter().filter(signs).map(Signer::id).collect();
        let ours = ours.join(", ");
        Err(refused(
            format!("the OpenPGP file is signed by {by}, which is not in `pgp.signed_by` ({ours})"),
            "if it is a key of the sender, add its public key to `pgp.signed_by`; verify that over another channel than the \
             file's",
        ))
    }
}

/// Whether a signature that matches the content is acceptable.
fn check_signature(signature: &Signature, signer: &Signer) -> io::Result<()> {
    let now = now();
    if let Some(why) = signer.unusable(now) {
        let (key, file) = (signer.id(), signer.file.display());
        return Err(refused(
            format!("the OpenPGP file is signed by key {key} in `{file}`, which {why}"),
            CURRENT_KEY,
        ));
    }
    let seconds = u64::from(now.as_secs());
    let lasts = signature.signature_expiration_time();
    let lasts = lasts.map_or(0, |lasts| lasts.as_secs());
    let is_v6 = signer.key.version() == KeyVersion::V6;
    let why = match signature.created() {
        _ if !matches!(signature.typ(), Some(SignatureType::Binary | SignatureType::Text)) => {
            "it does not sign a file"
        }
        _ if is_v6 != (signature.version() == SignatureVersion::V6) => {
            "its version differs from that of the key"
        }
        _ if signature.hash_alg().is_none_or(is_weak) => "its hash can be forged (MD5, SHA-1, RIPEMD-160)",
        None => "it has no date",
        Some(created) if created < signer.key.created_at() => "it is older than the key",
        Some(created) if u64::from(created.as_secs()) > seconds + MAX_CLOCK_SKEW_SECONDS => {
            "its date is in the future"
        }
        Some(created) if lasts != 0 && u64::from(created.as_secs()) + u64::from(lasts) <= seconds => {
            "it has expired"
        }
        _ if requires_unknown(signature) => "it requires an unsupported feature",
        _ => return Ok(()),
    };
    let key = signer.id();
    Err(refused(
        format!("the signature of the OpenPGP file by key {key} is not accepted: {why}"),
        "ask the sender to sign the file again",
    ))
}

fn now() -> Timestamp {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let seconds = now.map_or(0, |now| now.as_secs());
    Timestamp::from_secs(u32::try_from(seconds).unwrap_or(u32::MAX))
}

const NOT_FOR_SIGNING: &str = "is not for signing";
const CURRENT_KEY: &str = "ask the sender for the current public key";

fn bad_signature(signer: Option<&Signer>) -> io::Error {
    let by = signer.map_or_else(String::new, |signer| format!(" by key {}", signer.id()));
    refused(
        format!("the signature of the OpenPGP file{by} is invalid: it was made for other content"),
        "transfer the file again; if the error persists, ask the sender",
    )
}

fn names_issuer(signature: &Signature) -> bool {
    !signature.issuer_key_id().is_empty() || !signature.issuer_fingerprint().is_empty()
}

/// Whether the signature names `key` as its issuer, or names none.
fn made_by(signature: &Signature, key: &dyn VerifyingKey) -> bool {
    if !names_issuer(signature) {
        return true;
    }
    let (id, fingerprint) = (key.legacy_key_id(), key.fingerprint());
    let mut ids = signature.issuer_key_id().into_iter();
    let mut fingerprints = signature.issuer_fingerprint().into_iter();
    ids.any(|issuer| *issuer == id) || fingerprints.any(|issuer| *issuer == fingerprint)
}

fn issuer(signature: &Signature) -> Option<String> {
    let id = signature.issuer_key_id().first().map(ToString::to_string);
    id.or_else(|| signature.issuer_fingerprint().first().map(ToString::to_string))
}

fn is_weak(hash: HashAlgorithm) -> bool {
    !matches!(
        hash,
        HashAlgorithm::Sha224
            | HashAlgorithm::Sha256
            | HashAlgorithm::Sha384
            | HashAlgorithm::Sha512
            | HashAlgorithm::Sha3_256
            | HashAlgorithm::Sha3_512
    )
}

/// Whether a part that is marked as critical is unknown here.
fn requires_unknown(signature: &Signature) -> bool {
    signature.config().is_none_or(|config| {
        config.hashed_subpackets().any(|subpacket| {
            subpacket.is_critical
                && matches!(
                    subpacket.data,
                    SubpacketData::Notation(_) | SubpacketData::Experimental(..) | SubpacketData::Other(..)
                )
        })
    })
}

fn read_file(path: &Path) -> Result<Vec<SignedPublicKey>> {
    let unreadable =
        |error| Error::config(format!("cannot read the public key `{}`", path.display())).with_source(error);
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    io::Read::read_to_end(&mut io::Read::take(file, MAX_KEY_BYTES), &mut bytes).map_err(unreadable)?;
    let keys = SignedPublicKey::from_reader_many(&bytes[..])
        .and_then(|(keys, _)| keys.collect::<Result<Vec<_>, _>>());
    let (what, hint) = match keys {
        Ok(keys) if !keys.is_empty() => return Ok(keys),
        _ if matches!(Any::from_armor(&bytes[..]), Ok((Any::SecretKey(_), _))) => (
            "a secret key; a public key is expected",
            "remove it, and export the public key: `gpg --armor --export ID`",
        ),
        _ => (
            "not an OpenPGP public key",
            "export it with `gpg --armor --export ID`",
        ),
    };
    let error = format!("`{}` in `pgp.signed_by` is {what}", path.display());
    Err(Error::config(error).with_hint(hint))
}

/// The keys of a certificate, each with what its self-signatures state.
fn signers(certificate: SignedPublicKey, file: &Path) -> Vec<Signer> {
    let primary = &certificate.primary_key;
    let mut revocations = certificate.details.revocation_signatures.iter();
    let revoked = revocations.any(|revocation| revocation.verify_key(primary).is_ok());
    let own = newest_self_signature(&certificate);
    let expires = own.and_then(|own| expiry(primary, own));
    let refused = match own {
        _ if revoked => Some("was revoked"),
        None => Some("has no valid self-signature"),
        Some(own) if !can_sign(own) || !primary.algorithm().can_sign() => Some(NOT_FOR_SIGNING),
        Some(_) => None,
    };
    let subkeys = certificate.public_subkeys.iter().map(|subkey| {
        let statements = |typ| {
            subkey.signatures.iter().filter(move |signature| {
                signature.typ() == Some(typ) && signature.verify_subkey_binding(primary, &subkey.key).is_ok()
            })
        };
        let bound = newest(statements(SignatureType::SubkeyBinding).filter(|binding| accepts_hash(binding)));
        // Without the subkey's own signature anyone's subkey could be claimed.
        let confirms = |bound: &Signature| {
            let back = bound.embedded_signature();
            back.is_some_and(|back| back.verify_primary_key_binding(&subkey.key, primary).is_ok())
        };
        let refused = match bound {
            _ if revoked || statements(SignatureType::SubkeyRevocation).next().is_some() => {
                Some("was revoked")
            }
            _ if own.is_none() => Some("has no valid self-signature"),
            Some(bound) if !bound.key_flags().sign() => Some(NOT_FOR_SIGNING),
            Some(bound) if confirms(bound) => None,
            _ => Some("is not bound to its primary key"),
        };
        let own_expiry = bound.and_then(|bound| expiry(&subkey.key, bound));
        Signer {
            key: Box::new(subkey.clone()),
            file: file.to_owned(),
            expires: expires.into_iter().chain(own_expiry).min(),
            refused,
        }
    });
    let subkeys: Vec<Signer> = subkeys.collect();
    let primary = Signer {
        key: Box::new(certificate),
        file: file.to_owned(),
        expires,
        refused,
    };
    std::iter::once(primary).chain(subkeys).collect()
}

/// The newest statement of the key about itself, or about a user id that it did not revoke.
fn newest_self_signature(certificate: &SignedPublicKey) -> Option<&Signature> {
    let primary = &certificate.primary_key;
    let direct = certificate.details.direct_signatures.iter();
    let direct = direct.filter(|signature| accepts_hash(signature) && signature.verify_key(primary).is_ok());
    let names = certificate.details.users.iter().filter_map(|user| {
        let newest = newest(user.signatures.iter().filter(|signature| {
            accepts_hash(signature)
                && signature
                    .verify_certification(primary, Tag::UserId, &user.id)
                    .is_ok()
        }))?;
        (newest.typ() != Some(SignatureType::CertRevocation)).then_some(newest)
    });
    newest(direct.chain(names))
}

fn newest<'a>(signatures: impl Iterator<Item = &'a Signature>) -> Option<&'a Signature> {
    signatures.max_by_key(|signature| signature.created().map(Timestamp::as_secs))
}

/// Self-signatures of old keys use SHA-1: no one else had a part in them, so it cannot be forged.
fn accepts_hash(signature: &Signature) -> bool {
    let hash = signature.hash_alg();
    hash.is_some_and(|hash| hash == HashAlgorithm::Sha1 || !is_weak(hash))
}

fn expiry(key: &impl KeyDetails, own: &Signature) -> Option<u64> {
    let lasts = own.key_expiration_time()?.as_secs();
    (lasts != 0).then(|| u64::from(key.created_at().as_secs()) + u64::from(lasts))
}

/// Keys from before 2000 do not state their purpose.
fn can_sign(own: &Signature) -> bool {
    let says = own.config().is_some_and(|config| {
        config
            .hashed_subpackets()
            .any(|subpacket| matches!(subpacket.data, SubpacketData::KeyFlags(_)))
    });
    !says || own.key_flags().sign()
}

fn day(seconds: u64) -> String {
    let time = i64::try_from(seconds).ok().map(jiff::Timestamp::from_second);
    match time {
        Some(Ok(time)) => time.strftime("%Y-%m-%d").to_string(),
        _ => "an unknown day".to_owned(),
    }
}
