//! OpenPGP files made by the crate itself.

mod damage;
mod keys;
mod reading;
mod signatures;

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
    CompressionAlgorithm, Duration, KeyDetails, Password, S2kParams, SigningKey, StringToKey, Timestamp,
};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use proptest::prelude::*;
use rand_08::rngs::OsRng;

use super::*;

/// 2023, long before any test runs.
const CREATED: u32 = 1_700_000_000;

fn generate(name: &str, passphrase: Option<&str>) -> SignedSecretKey {
    let (created, passphrase) = (Timestamp::from_secs(CREATED), passphrase.map(str::to_owned));
    let lock = S2kParams::Cfb {
        sym_alg: SymmetricKeyAlgorithm::AES256,
        s2k: weak_s2k(),
        iv: vec![7; 16].into(),
    };
    let subkey = |typ: KeyType, sign: bool, encrypt: EncryptionCaps| {
        let mut key = SubkeyParamsBuilder::default();
        key.key_type(typ).can_sign(sign).can_encrypt(encrypt);
        key.created_at(created)
            .passphrase(passphrase.clone())
            .s2k(Some(lock.clone()));
        key.build().unwrap()
    };
    let ecdh = KeyType::ECDH(ECCCurve::Curve25519Legacy);
    let subkeys = vec![
        subkey(ecdh, false, EncryptionCaps::All),
        subkey(KeyType::Ed25519Legacy, true, EncryptionCaps::None),
    ];
    let mut key = SecretKeyParamsBuilder::default();
    key.key_type(KeyType::Ed25519Legacy)
        .can_certify(true)
        .can_sign(true);
    key.created_at(created)
        .passphrase(passphrase.clone())
        .s2k(Some(lock.clone()));
    key.primary_user_id(name.to_owned()).subkeys(subkeys);
    key.build().unwrap().generate(OsRng).unwrap()
}

static OURS: LazyLock<SignedSecretKey> = LazyLock::new(|| generate("hr-import@contoso.com", None));
static SENDER: LazyLock<SignedSecretKey> = LazyLock::new(|| generate("payroll@fabrikam.example", None));
static OTHER: LazyLock<SignedSecretKey> = LazyLock::new(|| generate("somebody@fabrikam.example", None));

fn armored(key: &SignedSecretKey) -> String {
    key.to_armored_string(ArmorOptions::default()).unwrap()
}

fn armored_public(key: &SignedPublicKey) -> String {
    key.to_armored_string(ArmorOptions::default()).unwrap()
}

/// How a message is made.
#[derive(Clone, Default)]
struct Make<'a> {
    /// Without keys and passwords it is not encrypted.
    to: Vec<&'a SignedSecretKey>,
    passwords: Vec<&'a str>,
    signed: Vec<(&'a dyn SigningKey, Option<Vec<SubpacketData>>)>,
    compression: Option<CompressionAlgorithm>,
    v2: bool,
}

fn regular_subpackets(data: Vec<SubpacketData>) -> Vec<Subpacket> {
    let subpackets = data.into_iter().map(Subpacket::regular);
    subpackets.collect::<std::result::Result<_, _>>().unwrap()
}

/// Quick to try.
fn weak_s2k() -> StringToKey {
    StringToKey::new_iterated(OsRng, HashAlgorithm::Sha256, 0)
}

impl<'a> Make<'a> {
    fn to_us() -> Self {
        Self {
            to: vec![&OURS],
            ..Self::default()
        }
    }

    fn signed_by(mut self, key: &'a dyn SigningKey) -> Self {
        self.signed.push((key, None));
        self
    }

    fn of(&self, content: &[u8]) -> Vec<u8> {
        let mut builder = MessageBuilder::from_bytes("x.csv", content.to_vec());
        if let Some(compression) = self.compression {
            builder.compression(compression);
        }
        let hash = HashAlgorithm::Sha256;
        for (key, subpackets) in &self.signed {
            let config = match subpackets {
                None => SubpacketConfig::Default,
                Some(hashed) => SubpacketConfig::UserDefined {
                    hashed: regular_subpackets(hashed.clone()),
                    unhashed: Vec::new(),
                },
            };
            builder.sign_with_subpackets(*key, Password::empty(), hash, config);
        }
        macro_rules! encrypt_and_write {
            ($builder:expr, $($rng:ident)?) => {{
                let mut builder = $builder;
                for key in &self.to {
                    let subkey = key.secret_subkeys[0].signed_public_key();
                    builder.encrypt_to_key(OsRng, &subkey).unwrap();
                }
                for password in &self.passwords {
                    builder.encrypt_with_password($($rng,)? weak_s2k(), &Password::from(*password)).unwrap();
                }
                builder.to_vec(OsRng)
            }};
        }
        let cipher = SymmetricKeyAlgorithm::AES256;
        let encoded = if self.to.is_empty() && self.passwords.is_empty() {
            builder.to_vec(OsRng)
        } else if self.v2 {
            let aead = AeadAlgorithm::Ocb;
            encrypt_and_write!(builder.seipd_v2(OsRng, cipher, aead, ChunkSize::C4KiB), OsRng)
        } else {
            encrypt_and_write!(builder.seipd_v1(OsRng, cipher),)
        };
        encoded.unwrap()
    }
}

fn armor(message: &[u8]) -> Vec<u8> {
    let lines = message.chunks(48).map(|line| BASE64_STANDARD.encode(line) + "\n");
    let text = lines.collect::<String>();
    format!("-----BEGIN PGP MESSAGE-----\n\n{text}-----END PGP MESSAGE-----\n").into()
}

/// A folder with our key and the sender's, and the settings `pgp`.
#[derive(Clone)]
struct Fixture {
    folder: std::sync::Arc<tempfile::TempDir>,
    pgp: Value,
}

impl Fixture {
    fn new() -> Self {
        let fixture = Self {
            folder: tempfile::tempdir().unwrap().into(),
            pgp: json!({"keys": [{"key": {"file": "ours"}}]}),
        };
        fixture.secret("ours", &armored(&OURS));
        fixture.public("sender.asc", &SENDER.to_public_key());
        fixture
    }

    /// Requires a signature by the sender.
    fn strict() -> Self {
        Self::new().set("signed_by", json!(["sender.asc"]))
    }

    fn set(mut self, key: &str, value: Value) -> Self {
        self.pgp[key] = value;
        self
    }

    /// Other settings in the same folder.
    fn with(&self, pgp: Value) -> Self {
        Self { pgp, ..self.clone() }
    }

    fn secret(&self, name: &str, text: &str) {
        secret(self.folder.path(), name, text);
    }

    fn public(&self, name: &str, key: &SignedPublicKey) {
        std::fs::write(self.folder.path().join(name), armored_public(key)).unwrap();
    }

    fn read(&self, name: &str, encoded: &[u8]) -> Result<Content> {
        decode_in(self.folder.path(), name, encoded, json!({"pgp": self.pgp}))
    }

    /// Reads many files with the same keys.
    fn decoder(&self) -> Decoder {
        decoder_in(self.folder.path(), json!({"pgp": self.pgp})).unwrap()
    }

    fn content(&self, encoded: &[u8]) -> Vec<u8> {
        let content = self.read("x.csv.pgp", encoded);
        one(content.unwrap_or_else(|error| panic!("{}: {}", self.pgp, shown(&error))))
    }

    /// The error of the input shows this.
    #[track_caller]
    fn refuses(&self, encoded: &[u8], expected: &[&str]) {
        let error = self.read("x.csv.pgp", encoded).unwrap_err();
        let found = (error.kind(), error.hints().count());
        assert_eq!(found, (ErrorKind::Input, 1), "{error:?}");
        assert_shows(&shown(&error), &["`x.csv.pgp`"]);
        assert_shows(&shown(&error), expected);
    }

    /// The error of the settings shows this.
    #[track_caller]
    fn is_invalid(&self, expected: &[&str]) {
        let error = self.read("x.csv.pgp", b"").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{}", shown(&error));
        assert_shows(&shown(&error), expected);
    }
}

fn read(decoder: &Decoder, encoded: &[u8]) -> Result<Content> {
    decode_with(decoder, "x.csv.pgp", encoded, &[Codec::Pgp])
}

fn id(key: &impl KeyDetails) -> String {
    key.legacy_key_id().to_string()
}
