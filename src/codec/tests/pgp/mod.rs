//! OpenPGP files, made by the crate itself.

mod damage;
mod keys;
mod reading;
mod signatures;

use std::path::Path;
use std::sync::LazyLock;

use ::pgp::composed::{
    ArmorOptions, EncryptionCaps, KeyType, MessageBuilder, SecretKeyParamsBuilder, SignedPublicKey,
    SignedSecretKey, SubkeyParamsBuilder, SubpacketConfig,
};
use ::pgp::crypto::aead::{AeadAlgorithm, ChunkSize};
use ::pgp::crypto::ecc_curve::ECCCurve;
use ::pgp::crypto::hash::HashAlgorithm;
use ::pgp::crypto::sym::SymmetricKeyAlgorithm;
use ::pgp::packet::{SignatureConfig, SignatureType, Subpacket, SubpacketData};
use ::pgp::ser::Serialize as _;
use ::pgp::types::{
    CompressionAlgorithm, Duration, KeyDetails as _, Password, S2kParams, SigningKey, StringToKey, Timestamp,
};
use proptest::prelude::*;
use rand_08::rngs::OsRng;
use serde_json::{Value, json};

use super::super::settings::Codec;
use super::{Content, gzip, one, regular, rows, said, secret, unpack_in, zips};
use crate::error::{ErrorKind, Result};

/// A year and a half before any test runs.
const LONG_AGO: u32 = 1_700_000_000;

/// Made quick to try.
fn weak_lock() -> S2kParams {
    S2kParams::Cfb {
        sym_alg: SymmetricKeyAlgorithm::AES256,
        s2k: weak_s2k(),
        iv: vec![7; 16].into(),
    }
}

fn generate(name: &str, passphrase: Option<&str>) -> SignedSecretKey {
    let subkey = |typ: KeyType, sign: bool| {
        SubkeyParamsBuilder::default()
            .key_type(typ)
            .can_sign(sign)
            .can_encrypt(if sign {
                EncryptionCaps::None
            } else {
                EncryptionCaps::All
            })
            .created_at(Timestamp::from_secs(LONG_AGO))
            .passphrase(passphrase.map(str::to_owned))
            .s2k(Some(weak_lock()))
            .build()
            .unwrap()
    };
    SecretKeyParamsBuilder::default()
        .key_type(KeyType::Ed25519Legacy)
        .can_certify(true)
        .can_sign(true)
        .created_at(Timestamp::from_secs(LONG_AGO))
        .primary_user_id(name.to_owned())
        .passphrase(passphrase.map(str::to_owned))
        .s2k(Some(weak_lock()))
        .subkeys(vec![
            subkey(KeyType::ECDH(ECCCurve::Curve25519Legacy), false),
            subkey(KeyType::Ed25519Legacy, true),
        ])
        .build()
        .unwrap()
        .generate(OsRng)
        .unwrap()
}

pub(super) static OURS: LazyLock<SignedSecretKey> = LazyLock::new(|| generate("hr-import@contoso.com", None));
pub(super) static SENDER: LazyLock<SignedSecretKey> =
    LazyLock::new(|| generate("payroll@fabrikam.example", None));
static OTHER: LazyLock<SignedSecretKey> = LazyLock::new(|| generate("somebody@fabrikam.example", None));

pub(super) fn armored(key: &SignedSecretKey) -> String {
    key.to_armored_string(ArmorOptions::default()).unwrap()
}

pub(super) fn armored_public(key: &SignedPublicKey) -> String {
    key.to_armored_string(ArmorOptions::default()).unwrap()
}

/// How a message is made.
#[derive(Clone, Default)]
pub(super) struct Make<'a> {
    /// Not encrypted if there is neither a key nor a password.
    pub(super) to: Vec<&'a SignedSecretKey>,
    pub(super) hidden: bool,
    pub(super) passwords: Vec<&'a str>,
    pub(super) signed: Vec<(&'a dyn SigningKey, SubpacketConfigOf)>,
    pub(super) compression: Option<CompressionAlgorithm>,
    pub(super) v2: bool,
    pub(super) armor: bool,
    pub(super) text: bool,
}

pub(super) type SubpacketConfigOf = Option<Vec<SubpacketData>>;

fn weak_s2k() -> StringToKey {
    StringToKey::new_iterated(OsRng, HashAlgorithm::Sha256, 0)
}

impl<'a> Make<'a> {
    pub(super) fn to_us() -> Self {
        Self {
            to: vec![&OURS],
            ..Self::default()
        }
    }

    pub(super) fn signed_by(mut self, key: &'a dyn SigningKey) -> Self {
        self.signed.push((key, None));
        self
    }

    pub(super) fn of(&self, content: &[u8]) -> Vec<u8> {
        let mut builder = MessageBuilder::from_bytes("x.csv", content.to_vec());
        if self.text {
            builder.sign_text();
        }
        if let Some(compression) = self.compression {
            builder.compression(compression);
        }
        let hash = HashAlgorithm::Sha256;
        for (key, subpackets) in &self.signed {
            match subpackets {
                None => builder.sign(*key, Password::empty(), hash),
                Some(hashed) => builder.sign_with_subpackets(
                    *key,
                    Password::empty(),
                    hash,
                    SubpacketConfig::UserDefined {
                        hashed: hashed
                            .iter()
                            .map(|data| Subpacket::regular(data.clone()).unwrap())
                            .collect(),
                        unhashed: Vec::new(),
                    },
                ),
            };
        }
        macro_rules! write {
            ($builder:expr) => {{
                let builder = $builder;
                match self.armor {
                    true => builder
                        .to_armored_string(OsRng, ArmorOptions::default())
                        .unwrap()
                        .into_bytes(),
                    false => builder.to_vec(OsRng).unwrap(),
                }
            }};
        }
        macro_rules! to_keys {
            ($builder:expr) => {
                for key in &self.to {
                    let subkey = &key.secret_subkeys[0].signed_public_key();
                    match self.hidden {
                        true => $builder.encrypt_to_key_anonymous(OsRng, subkey).unwrap(),
                        false => $builder.encrypt_to_key(OsRng, subkey).unwrap(),
                    };
                }
            };
        }
        if self.to.is_empty() && self.passwords.is_empty() {
            return write!(builder);
        }
        if self.v2 {
            let mut builder = builder.seipd_v2(
                OsRng,
                SymmetricKeyAlgorithm::AES256,
                AeadAlgorithm::Ocb,
                ChunkSize::C4KiB,
            );
            to_keys!(builder);
            for password in &self.passwords {
                builder
                    .encrypt_with_password(OsRng, weak_s2k(), &Password::from(*password))
                    .unwrap();
            }
            return write!(builder);
        }
        let mut builder = builder.seipd_v1(OsRng, SymmetricKeyAlgorithm::AES256);
        to_keys!(builder);
        for password in &self.passwords {
            builder
                .encrypt_with_password(weak_s2k(), &Password::from(*password))
                .unwrap();
        }
        write!(builder)
    }
}

/// Reads many files with the same keys.
struct Reader(super::Decoder);

impl Reader {
    fn read(&self, packed: &[u8]) -> Result<Content> {
        super::unpack_with(&self.0, "x.csv.pgp", packed, &[Codec::Pgp])
    }
}

/// A folder with our key, the sender's and others, and what is set.
struct Stand {
    folder: tempfile::TempDir,
    pgp: Value,
}

impl Stand {
    fn new() -> Self {
        let stand = Self {
            folder: tempfile::tempdir().unwrap(),
            pgp: json!({"keys": [{"key": {"file": "ours"}}]}),
        };
        secret(stand.path(), "ours", &armored(&OURS));
        stand.public("sender.asc", &SENDER.to_public_key());
        stand
    }

    /// One that asks for a signature by the sender.
    fn strict() -> Self {
        let mut stand = Self::new();
        stand.pgp["signed_by"] = json!(["sender.asc"]);
        stand
    }

    fn set(mut self, key: &str, value: Value) -> Self {
        self.pgp[key] = value;
        self
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn public(&self, name: &str, key: &SignedPublicKey) {
        std::fs::write(self.path().join(name), armored_public(key)).unwrap();
    }

    fn read(&self, name: &str, packed: &[u8]) -> Result<Content> {
        unpack_in(self.path(), name, packed, json!({"pgp": self.pgp}))
    }

    fn reader(&self) -> Reader {
        Reader(super::unpacker_in(self.path(), &json!({"pgp": self.pgp})).unwrap())
    }

    fn content(&self, packed: &[u8]) -> Vec<u8> {
        one(self
            .read("x.csv.pgp", packed)
            .unwrap_or_else(|error| panic!("{}", said(&error))))
    }

    /// All that a user sees, after the error was found to be one of the input.
    fn refused(&self, packed: &[u8]) -> String {
        let error = self.read("x.csv.pgp", packed).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Input);
        assert!(error.to_string().contains("`x.csv.pgp`"), "{error}");
        assert_eq!(error.hints().count(), 1, "{}", said(&error));
        said(&error)
    }
}

fn id(key: &impl ::pgp::types::KeyDetails) -> String {
    key.legacy_key_id().to_string()
}
/// Other settings in the same folder.
struct Like<'a>(&'a Stand, Value);

fn stand_like(stand: &Stand, pgp: Value) -> Like<'_> {
    Like(stand, pgp)
}

impl Like<'_> {
    fn read(&self, packed: &[u8]) -> Result<Content> {
        unpack_in(self.0.path(), "x.csv.pgp", packed, json!({"pgp": self.1}))
    }
}
