//! Those who may sign: their public keys, and whether those may still be used.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;
use std::{fmt, io};

use ::pgp::composed::{Any, Deserializable as _, Message, SignedPublicKey, SignedPublicSubKey};
use ::pgp::crypto::hash::HashAlgorithm;
use ::pgp::packet::{Signature, SignatureType, SignatureVersion, SubpacketData};
use ::pgp::types::{KeyDetails, KeyVersion, Tag, Timestamp, VerifyingKey};

use super::super::error::CodecError;
use crate::error::{Error, Result};

/// How far the clocks of those who sign may be ahead, in seconds.
const CLOCKS_DIFFER: u32 = 3_600;

/// Keys larger than that are none.
const MOST_KEY_BYTES: u64 = 16 << 20;

/// Public keys that were read. Cheap to clone.
#[derive(Clone)]
pub(super) struct Signers {
    keys: Arc<[Signer]>,
    /// The time that counts, if not that of the clock.
    now: Option<Timestamp>,
}

impl fmt::Debug for Signers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.keys.iter().map(Signer::id)).finish()
    }
}

/// A key that can sign, primary or not.
struct Signer {
    key: Key,
    /// The file it was read from.
    file: PathBuf,
    /// Until when, in seconds since 1970; `None` if without end.
    expires: Option<u64>,
    /// Why it may not sign at all.
    refused: Option<&'static str>,
}

enum Key {
    Primary(SignedPublicKey),
    Sub(SignedPublicSubKey),
}

impl Key {
    fn verifying(&self) -> &dyn VerifyingKey {
        match self {
            Self::Primary(key) => key,
            Self::Sub(key) => key,
        }
    }
}

impl Signer {
    fn id(&self) -> String {
        self.key.verifying().legacy_key_id().to_string()
    }

    /// Why the key may not be used at `now`.
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
    ///
    /// # Errors
    /// A file holds no public key, or no key of all of them may sign.
    pub(super) fn read(files: &[PathBuf], base: &Path) -> Result<Self> {
        let mut keys = Vec::new();
        for file in files {
            for key in read_file(&base.join(file))? {
                keys.extend(signers(key, file));
            }
        }
        let signers = Self {
            keys: keys.into(),
            now: None,
        };
        signers.usable(files)?;
        Ok(signers)
    }

    /// Tells of those that may not be used, which is an error if all may not.
    fn usable(&self, files: &[PathBuf]) -> Result<()> {
        if files.is_empty() {
            return Ok(());
        }
        let now = self.now();
        let refused: Vec<_> = self
            .keys
            .iter()
            .filter_map(|signer| signer.unusable(now).map(|why| (signer, why)))
            .collect();
        if refused.len() == self.keys.len() {
            let error = match refused.first() {
                Some((signer, why)) => format!(
                    "no key in `pgp.signed_by` may sign: key {} in `{}` {why}",
                    signer.id(),
                    signer.file.display()
                ),
                None => "no key in `pgp.signed_by` can sign".to_owned(),
            };
            return Err(Error::config(error).with_hint("ask the sender for the public key that is used now"));
        }
        for (signer, why) in refused {
            // Encryption keys are in every file; nobody asks them to sign.
            if why != NOT_FOR_SIGNING {
                tracing::warn!(key = signer.id(), file = %signer.file.display(), "a key in `pgp.signed_by` is not used: it {why}");
            }
        }
        Ok(())
    }

    fn now(&self) -> Timestamp {
        self.now.unwrap_or_else(|| {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
            let seconds = now.map_or(0, |now| now.as_secs());
            Timestamp::from_secs(u32::try_from(seconds).unwrap_or(u32::MAX))
        })
    }

    /// Looks at the signatures of a message that was read to its end. One that is not signed is none of its business:
    /// that was seen before.
    ///
    /// # Errors
    /// A signature by one of the keys is not right, or none is by one of them.
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
            for signer in self
                .keys
                .iter()
                .filter(|signer| made_by(signature, signer.key.verifying()))
            {
                // One without an issuer is tried with every key.
                let named = names_issuer(signature);
                match message.verify_nested_explicit(index, signer.key.verifying()) {
                    Err(_) if !named => continue,
                    Err(_) => return Err(bad_signature(Some(signer))),
                    Ok(_) => {}
                }
                known = true;
                self.acceptable(signature, signer)?;
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
            true => "a key that is not named".to_owned(),
            false => others.join(", "),
        };
        let ours: Vec<String> = self
            .keys
            .iter()
            .filter(|signer| signer.refused != Some(NOT_FOR_SIGNING))
            .map(Signer::id)
            .collect();
        Err(CodecError::refused(
            format!(
                "the OpenPGP file is signed by {by}, which is not in `pgp.signed_by` ({})",
                ours.join(", ")
            ),
            "if that is a key of the sender, add its public key to `pgp.signed_by`; ask on another way than the one the \
             file came",
        ))
    }

    /// Whether a signature that fits the content counts.
    fn acceptable(&self, signature: &Signature, signer: &Signer) -> io::Result<()> {
        let now = self.now();
        let refuse = |why: &str| {
            Err(CodecError::refused(
                format!(
                    "the signature of the OpenPGP file by key {} does not count: {why}",
                    signer.id()
                ),
                "ask the sender to sign the file anew",
            ))
        };
        if let Some(why) = signer.unusable(now) {
            return Err(CodecError::refused(
                format!(
                    "the OpenPGP file is signed by key {} in `{}`, which {why}",
                    signer.id(),
                    signer.file.display()
                ),
                "ask the sender for the public key that is used now",
            ));
        }
        if !matches!(signature.typ(), Some(SignatureType::Binary | SignatureType::Text)) {
            return refuse("it is not one of a file");
        }
        let v6 = signer.key.verifying().version() == KeyVersion::V6;
        if v6 != (signature.version() == SignatureVersion::V6) {
            return refuse("it is of another version than the key");
        }
        if signature.hash_alg().is_none_or(is_weak) {
            return refuse("it is made with a hash that can be forged (MD5, SHA-1, RIPEMD-160)");
        }
        let Some(created) = signature.created() else {
            return refuse("it does not say when it was made");
        };
        if created < signer.key.verifying().created_at() {
            return refuse("it is older than the key");
        }
        if created.as_secs() > now.as_secs().saturating_add(CLOCKS_DIFFER) {
            return refuse("it was made in the future");
        }
        if let Some(lasts) = signature.signature_expiration_time()
            && lasts.as_secs() != 0
            && u64::from(created.as_secs()) + u64::from(lasts.as_secs()) <= u64::from(now.as_secs())
        {
            return refuse("it has expired");
        }
        if demands_unknown(signature) {
            return refuse("it demands something that is not known here");
        }
        Ok(())
    }
}

const NOT_FOR_SIGNING: &str = "is not for signing";

fn bad_signature(signer: Option<&Signer>) -> io::Error {
    let by = signer.map_or_else(String::new, |signer| format!(" by key {}", signer.id()));
    CodecError::refused(
        format!(
            "the signature of the OpenPGP file{by} is not right: what was signed is not what is in the file"
        ),
        "transfer the file again; if it stays, ask the sender",
    )
}

fn names_issuer(signature: &Signature) -> bool {
    !signature.issuer_key_id().is_empty() || !signature.issuer_fingerprint().is_empty()
}

/// Whether the signature says that it is by `key`, or nothing of whose it is.
fn made_by(signature: &Signature, key: &dyn VerifyingKey) -> bool {
    if !names_issuer(signature) {
        return true;
    }
    let (id, fingerprint) = (key.legacy_key_id(), key.fingerprint());
    signature.issuer_key_id().into_iter().any(|issuer| *issuer == id)
        || signature
            .issuer_fingerprint()
            .into_iter()
            .any(|issuer| *issuer == fingerprint)
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

/// Whether there is something in the signature that whoever does not know it must refuse.
fn demands_unknown(signature: &Signature) -> bool {
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
    io::Read::read_to_end(&mut io::Read::take(file, MOST_KEY_BYTES), &mut bytes).map_err(unreadable)?;
    let keys = SignedPublicKey::from_reader_many(&bytes[..])
        .and_then(|(keys, _)| keys.collect::<Result<Vec<_>, _>>());
    match keys {
        Ok(keys) if !keys.is_empty() => Ok(keys),
        _ if matches!(Any::from_armor(&bytes[..]), Ok((Any::SecretKey(_), _))) => {
            Err(Error::config(format!(
                "`{}` in `pgp.signed_by` is a secret key, where a public key belongs",
                path.display()
            ))
            .with_hint("take it away from there, and export the public key: `gpg --armor --export ID`"))
        }
        _ => Err(Error::config(format!(
            "`{}` in `pgp.signed_by` is no OpenPGP public key",
            path.display()
        ))
        .with_hint("export it with `gpg --armor --export ID`")),
    }
}

/// The keys of a certificate, each with what its self-signatures say of it.
fn signers(certificate: SignedPublicKey, file: &Path) -> Vec<Signer> {
    let primary = &certificate.primary_key;
    let revoked = certificate
        .details
        .revocation_signatures
        .iter()
        .any(|revocation| revocation.verify_key(primary).is_ok());
    let own = newest_self_signature(&certificate);
    let expires = own.and_then(|own| expiry(primary, own));
    let refused = match own {
        _ if revoked => Some("was revoked"),
        None => Some("has no valid signature of its own"),
        Some(own) if !may_sign(own) || !primary.algorithm().can_sign() => Some(NOT_FOR_SIGNING),
        Some(_) => None,
    };
    let mut all = Vec::new();
    for subkey in &certificate.public_subkeys {
        let bound = newest(subkey.signatures.iter().filter(|signature| {
            signature.typ() == Some(SignatureType::SubkeyBinding)
                && hash_of_key_is_fine(signature)
                && signature.verify_subkey_binding(primary, &subkey.key).is_ok()
        }));
        let subkey_revoked = subkey.signatures.iter().any(|signature| {
            signature.typ() == Some(SignatureType::SubkeyRevocation)
                && signature.verify_subkey_binding(primary, &subkey.key).is_ok()
        });
        let subkey_refused = match bound {
            _ if revoked || subkey_revoked => Some("was revoked"),
            _ if own.is_none() => Some("has no valid signature of its own"),
            None => Some("is not bound to its primary key"),
            Some(bound) if !bound.key_flags().sign() => Some(NOT_FOR_SIGNING),
            // A subkey has to say that it belongs to the primary key, else anybody's could be claimed.
            Some(bound)
                if bound
                    .embedded_signature()
                    .is_none_or(|back| back.verify_primary_key_binding(&subkey.key, primary).is_err()) =>
            {
                Some("is not bound to its primary key")
            }
            Some(_) => None,
        };
        let own_expiry = bound.and_then(|bound| expiry(&subkey.key, bound));
        all.push(Signer {
            key: Key::Sub(subkey.clone()),
            file: file.to_owned(),
            expires: expires.into_iter().chain(own_expiry).min(),
            refused: subkey_refused,
        });
    }
    all.insert(
        0,
        Signer {
            key: Key::Primary(certificate),
            file: file.to_owned(),
            expires,
            refused,
        },
    );
    all
}

/// What the key says of itself last: on itself, or on one of its names that it did not take back.
fn newest_self_signature(certificate: &SignedPublicKey) -> Option<&Signature> {
    let primary = &certificate.primary_key;
    let direct = certificate
        .details
        .direct_signatures
        .iter()
        .filter(|signature| hash_of_key_is_fine(signature) && signature.verify_key(primary).is_ok());
    let names = certificate.details.users.iter().filter_map(|user| {
        let newest = newest(user.signatures.iter().filter(|signature| {
            hash_of_key_is_fine(signature)
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

/// Keys made long ago have signatures with SHA-1, which nobody else can have had a part in.
fn hash_of_key_is_fine(signature: &Signature) -> bool {
    signature
        .hash_alg()
        .is_some_and(|hash| hash == HashAlgorithm::Sha1 || !is_weak(hash))
}

fn expiry(key: &impl KeyDetails, own: &Signature) -> Option<u64> {
    let lasts = own.key_expiration_time()?.as_secs();
    (lasts != 0).then(|| u64::from(key.created_at().as_secs()) + u64::from(lasts))
}

/// Keys of before 2000 do not say what they are for.
fn may_sign(own: &Signature) -> bool {
    let says = own.config().is_some_and(|config| {
        config
            .hashed_subpackets()
            .any(|subpacket| matches!(subpacket.data, SubpacketData::KeyFlags(_)))
    });
    !says || own.key_flags().sign()
}

fn day(seconds: u64) -> String {
    i64::try_from(seconds)
        .ok()
        .and_then(|seconds| jiff::Timestamp::from_second(seconds).ok())
        .map_or_else(
            || "a day long ago".to_owned(),
            |time| time.strftime("%Y-%m-%d").to_string(),
        )
}
