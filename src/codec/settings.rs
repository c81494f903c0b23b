//! What a pipeline file says of packed files.

use std::fmt;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::{self, Deserializer, SeqAccess, Visitor};

use crate::config::{Problems, suggestion};
use crate::secret::SecretRef;

/// A way of packing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Codec {
    /// gzip, of one or several members.
    Gzip,
    /// Zstandard.
    Zstd,
    /// A zip archive, of one or several files.
    Zip,
    /// OpenPGP: encrypted, signed, compressed, as the file is; binary or armored.
    Pgp,
}

const NAMES: [&str; 5] = ["none", "gzip", "zstd", "zip", "pgp"];

impl Codec {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "gzip" => Self::Gzip,
            "zstd" => Self::Zstd,
            "zip" => Self::Zip,
            "pgp" => Self::Pgp,
            _ => return None,
        })
    }

    fn of_ending(ending: &str) -> Option<Self> {
        Some(match ending.to_ascii_lowercase().as_str() {
            "gz" => Self::Gzip,
            "zst" => Self::Zstd,
            "zip" => Self::Zip,
            "pgp" | "gpg" | "asc" => Self::Pgp,
            _ => return None,
        })
    }
}

/// What the endings of a name tell: the layers, outermost first, and the name without those endings. Endings left of
/// `.zip` tell nothing, because what lies in a zip archive has names of its own.
pub(crate) fn codecs_of(name: &str) -> (Vec<Codec>, &str) {
    let (mut layers, mut rest) = (Vec::new(), name);
    while let Some((stem, ending)) = rest.rsplit_once('.')
        && !stem.is_empty()
        && !stem.ends_with(['/', '\\'])
        && let Some(layer) = Codec::of_ending(ending)
    {
        layers.push(layer);
        rest = stem;
        if layer == Codec::Zip {
            break;
        }
    }
    (layers, rest)
}

/// How a file is packed: a name or a list of names, outermost first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compression(Vec<Codec>);

impl Compression {
    /// The layers, outermost first; none if the file is not packed.
    pub fn layers(&self) -> &[Codec] {
        &self.0
    }
}

/// The two forms of `packing`, for the JSON Schema.
#[derive(JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "only its schema is used")]
enum NameOrList {
    Name(Name),
    List(Vec<Codec>),
}

#[derive(JsonSchema)]
#[serde(rename_all = "lowercase")]
#[expect(dead_code, reason = "only its schema is used")]
enum Name {
    None,
    Gzip,
    Zstd,
    Zip,
    Pgp,
}

impl JsonSchema for Compression {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Compression".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        NameOrList::json_schema(generator)
    }
}

impl<'de> Deserialize<'de> for Compression {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Names;

        fn unknown<E: de::Error>(name: &str) -> E {
            let hint = suggestion(name, NAMES).unwrap_or_default();
            E::custom(format!("`{name}` is no way of packing; {hint}"))
        }

        impl<'de> Visitor<'de> for Names {
            type Value = Compression;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "one of {NAMES:?}, or a list of them, outermost first")
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<Compression, E> {
                if name == "none" {
                    return Ok(Compression(Vec::new()));
                }
                let layer = Codec::named(name).ok_or_else(|| unknown(name))?;
                Ok(Compression(vec![layer]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut names: A) -> Result<Compression, A::Error> {
                let mut layers = Vec::new();
                while let Some(name) = names.next_element::<String>()? {
                    if name == "none" {
                        return Err(de::Error::custom(
                            "`none` stands alone: write `packing: none`, not a list with it",
                        ));
                    }
                    layers.push(Codec::named(&name).ok_or_else(|| unknown(&name))?);
                }
                if layers.is_empty() {
                    return Err(de::Error::custom("the list is empty: write `packing: none`"));
                }
                Ok(Compression(layers))
            }
        }

        deserializer.deserialize_any(Names)
    }
}

/// Which members of a zip archive are read, and their password.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ZipSettings {
    /// A pattern for the names of the members to read, such as `*.csv`. Without a `/` it is for the last part of a name,
    /// with one for the whole. Left out, every file is read. Names that begin with a dot and those in `__MACOSX` are
    /// always left out. No match is an error. Several members are read in the order of their names, each as a file with
    /// the format of its own ending.
    pub members: Option<String>,

    /// The password of encrypted members: AES, or the old ZipCrypto, which protects little.
    pub password: Option<SecretRef>,
}

/// Keys for files encrypted or signed with OpenPGP (PGP, GnuPG).
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PgpSettings {
    /// The secret keys to decrypt with, armored; one of them must be among those the file was encrypted for.
    pub keys: Vec<PgpKey>,

    /// Passwords of files that were encrypted with one (`gpg --symmetric`); they are tried in turn.
    pub passwords: Vec<SecretRef>,

    /// Files with the public keys of those who may sign, armored or binary. Relative paths are relative to the folder of
    /// the pipeline file. Whoever can write to such a file decides whose rows are sent.
    pub signed_by: Vec<PathBuf>,

    /// Whether a file must be signed. Left out: `required` if `signed_by` is given, else `ignored`.
    pub signature: Option<SignaturePolicy>,

    /// Whether a file must be encrypted. A file that is only signed, or only compressed, was read by whoever carried it.
    pub encrypted: EncryptionPolicy,
}

/// A secret key.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PgpKey {
    /// The key, armored: what `gpg --armor --export-secret-keys` writes.
    pub key: SecretRef,

    /// Its passphrase, if it has one.
    #[serde(default)]
    pub passphrase: Option<SecretRef>,
}

/// Whether an OpenPGP file must be signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SignaturePolicy {
    /// A file without a signature by one of the keys in `signed_by` is refused.
    Required,
    /// A file without a signature is taken with a warning; a signature that is there must be right, and by one of the
    /// keys in `signed_by`.
    Optional,
    /// Signatures are not looked at.
    Ignored,
}

/// Whether an OpenPGP file must be encrypted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum EncryptionPolicy {
    /// One that is not is refused.
    #[default]
    Required,
    /// One that is not is taken.
    Optional,
}

/// The settings of a source that are about packing, together.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings<'a> {
    /// As given; the names of the files tell it if left out.
    pub(crate) packing: Option<&'a Compression>,
    pub(crate) zip: Option<&'a ZipSettings>,
    pub(crate) pgp: Option<&'a PgpSettings>,
    pub(crate) max_compression_ratio: std::num::NonZeroU32,
}

impl Settings<'_> {
    /// Notes what is wrong with them, without a look at any file.
    pub(crate) fn validate(&self, problems: &mut Problems<'_>) {
        let layers = self.packing.map(Compression::layers);
        if let Some(layers) = layers {
            self.validate_layers(layers, &mut problems.at("packing"));
        }
        let unused = |layer| layers.is_some_and(|layers| !layers.contains(&layer));
        if let Some(zip) = self.zip {
            let mut problems = problems.at("zip");
            if unused(Codec::Zip) {
                problems.add_with_hint(
                    "is of no use: `packing` has no `zip` in it",
                    "add it, or leave `zip` out",
                );
            }
            zip.validate(&mut problems);
        }
        if let Some(pgp) = self.pgp {
            let mut problems = problems.at("pgp");
            if unused(Codec::Pgp) {
                problems.add_with_hint(
                    "is of no use: `packing` has no `pgp` in it",
                    "add it, or leave `pgp` out",
                );
            } else if !cfg!(feature = "pgp") {
                problems.add_with_hint(NO_PGP, NO_PGP_HINT);
            }
            pgp.validate(&mut problems);
        }
    }

    fn validate_layers(&self, layers: &[Codec], problems: &mut Problems<'_>) {
        const MOST: usize = 4;
        if layers.len() > MOST {
            problems.add(format!(
                "has {} layers; at most {MOST} are unpacked",
                layers.len()
            ));
        }
        if layers.iter().filter(|&&layer| layer == Codec::Zip).count() > 1 {
            problems.add_with_hint(
                "has `zip` twice",
                "a zip archive inside of another is not read: unpack it before",
            );
        }
        if layers.contains(&Codec::Pgp) {
            if !cfg!(feature = "pgp") {
                problems.add_with_hint(NO_PGP, NO_PGP_HINT);
            } else if self.pgp.is_none() {
                problems.add_with_hint("has `pgp` in it, but there are no keys", PGP_KEYS_HINT);
            }
        }
    }
}

pub(super) const NO_PGP: &str = "this build of hrsink cannot read OpenPGP: the feature `pgp` was left out";
pub(super) const NO_PGP_HINT: &str = "use a build with the feature `pgp`, which is on by default";
pub(super) const PGP_KEYS_HINT: &str =
    "give the secret key: `pgp: {keys: [{key: {file: …}, passphrase: {env: …}}]}`";

impl ZipSettings {
    fn validate(&self, problems: &mut Problems<'_>) {
        if let Some(Err(error)) = self.members.as_deref().map(glob::Pattern::new) {
            problems.at("members").add_with_hint(
                format!(
                    "is not a valid pattern: {} (at character {})",
                    error.msg,
                    error.pos + 1
                ),
                "`[` begins a set of characters; a `[` itself is written `[[]`",
            );
        }
    }
}

impl PgpSettings {
    /// The policy that holds.
    #[cfg(feature = "pgp")]
    pub(super) fn signature(&self) -> SignaturePolicy {
        self.signature.unwrap_or(if self.signed_by.is_empty() {
            SignaturePolicy::Ignored
        } else {
            SignaturePolicy::Required
        })
    }

    fn validate(&self, problems: &mut Problems<'_>) {
        if self.keys.is_empty() && self.passwords.is_empty() && self.encrypted == EncryptionPolicy::Required {
            problems.at("keys").add_with_hint(
                "is empty, and so is `passwords`: nothing can be decrypted",
                "give a secret key, or `encrypted: optional` if the files are only signed",
            );
        }
        match self.signature {
            Some(SignaturePolicy::Ignored) if !self.signed_by.is_empty() => {
                problems.at("signature").add_with_hint(
                    "is `ignored`, so `signed_by` is of no use",
                    "leave one of them out",
                );
            }
            Some(SignaturePolicy::Required | SignaturePolicy::Optional) if self.signed_by.is_empty() => {
                problems.at("signature").add_with_hint(
                    "needs `signed_by`: without a public key no signature can be checked",
                    "give the sender's public key: `signed_by: [sender.asc]`",
                );
            }
            _ => {}
        }
        for (index, path) in self.signed_by.iter().enumerate() {
            if path.as_os_str().is_empty() {
                problems
                    .at("signed_by")
                    .at_index(index)
                    .add("is empty; give the path of a public key");
            }
        }
    }
}
