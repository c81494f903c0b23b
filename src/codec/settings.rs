//! The settings of compression and encryption, and the codecs that a file name implies.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::component::Problems;
use crate::secret::SecretRef;
use crate::suggest::suggestion;

/// One step of encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Codec {
    /// gzip, with one or several members.
    Gzip,
    /// Zstandard.
    Zstd,
    /// A zip archive of one or several files.
    Zip,
    /// OpenPGP: encrypted, signed, compressed; binary or armored.
    Pgp,
}

/// Each codec with its name in a pipeline file, a summary, and its extensions.
pub(crate) const CODECS: [(Codec, &str, &str, &[&str]); 4] = [
    (Codec::Gzip, "gzip", "compression", &["gz"]),
    (Codec::Zstd, "zstd", "compression", &["zst"]),
    (Codec::Zip, "zip", "archives of one or several files", &["zip"]),
    (
        Codec::Pgp,
        "pgp",
        "OpenPGP encryption and signatures",
        &["pgp", "gpg", "asc"],
    ),
];

impl Codec {
    pub(crate) fn is_built_in(self) -> bool {
        self != Self::Pgp || cfg!(feature = "pgp")
    }
}

const NONE: &str = "none";

/// The codecs that the extensions of `name` imply, outermost first, and the name without these extensions. Extensions
/// before `.zip` imply nothing: the members of an archive have their own names.
pub(crate) fn codecs_of(name: &str) -> (Vec<Codec>, &str) {
    let (mut codecs, mut rest) = (Vec::new(), name);
    while let Some((stem, extension)) = rest.rsplit_once('.')
        && !stem.is_empty()
        && !stem.ends_with(['/', '\\'])
        && let extension = extension.to_ascii_lowercase()
        && let Some((codec, ..)) = CODECS.iter().find(|(.., known)| known.contains(&&*extension))
    {
        codecs.push(*codec);
        rest = stem;
        if *codec == Codec::Zip {
            break;
        }
    }
    (codecs, rest)
}

/// How a file is compressed and encrypted: a name, or a list of names, outermost first.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(try_from = "NameOrList")]
pub(crate) struct Compression(Vec<Codec>);

impl Compression {
    /// Outermost first; empty with `none`.
    pub(crate) fn codecs(&self) -> &[Codec] {
        &self.0
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(
    untagged,
    expecting = "expected `none`, `gzip`, `zstd`, `zip`, `pgp`, or a list of them, outermost first"
)]
enum NameOrList {
    Name(#[schemars(extend("enum" = ["none", "gzip", "zstd", "zip", "pgp"]))] String),
    List(#[schemars(with = "Vec<Codec>")] Vec<String>),
}

impl TryFrom<NameOrList> for Compression {
    type Error = String;

    fn try_from(value: NameOrList) -> Result<Self, String> {
        let names = match value {
            NameOrList::Name(name) if name == NONE => return Ok(Self(Vec::new())),
            NameOrList::Name(name) => vec![name],
            NameOrList::List(names) if names.is_empty() => {
                return Err("the list is empty: write `compression: none`".to_owned());
            }
            NameOrList::List(names) => names,
        };
        let codec = |name: String| {
            if name == NONE {
                return Err("`none` cannot be in a list: write `compression: none`".to_owned());
            }
            let known = CODECS.iter().map(|(_, known, ..)| *known);
            let codec = CODECS.iter().find(|(_, known, ..)| *known == name);
            codec.map(|(codec, ..)| *codec).ok_or_else(|| {
                let hint = suggestion(&name, known.chain([NONE])).unwrap_or_default();
                format!("unknown compression `{name}`; {hint}")
            })
        };
        names.into_iter().map(codec).collect::<Result<_, _>>().map(Self)
    }
}

/// Members of a zip archive to read, and their password.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ZipSettings {
    /// Glob pattern of the member names to read. A pattern without a `/` applies to the last part of a name. Default:
    /// every file. Hidden files and `__MACOSX` are always skipped; no match is an error. Members are read in the
    /// order of their names, each in the format of its own extension.
    #[schemars(example = &"*.csv")]
    pub(crate) members: Option<String>,
    /// Password of encrypted members: AES, or the weak ZipCrypto.
    #[schemars(example = &serde_json::json!({"env": "ZIP_PASSWORD"}))]
    pub(crate) password: Option<SecretRef>,
}

/// Keys for files encrypted or signed with OpenPGP (PGP, GnuPG).
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct PgpSettings {
    /// Secret keys to decrypt with. The file must be encrypted for one of them.
    pub(crate) keys: Vec<PgpKey>,
    /// Passwords of files encrypted with a password (`gpg --symmetric`), tried in order.
    #[schemars(example = &serde_json::json!([{"env": "PGP_PASSWORD"}]))]
    pub(crate) passwords: Vec<SecretRef>,
    /// Files with the public keys of accepted signers, armored or binary. Anyone who can write to such a file controls
    /// which rows are sent.
    pub(crate) signed_by: Vec<PathBuf>,
    /// Whether a file must be signed. Default `required` with `signed_by`; without, signatures are not checked.
    #[schemars(example = &"optional")]
    pub(crate) signature: Option<SignaturePolicy>,
    /// Whether a file must be encrypted.
    #[schemars(example = &"optional")]
    pub(crate) encrypted: EncryptionPolicy,
}

/// A secret key.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PgpKey {
    /// Armored key, as written by `gpg --armor --export-secret-keys`.
    pub(crate) key: SecretRef,
    /// Passphrase of the key, if it has one.
    #[serde(default)]
    pub(crate) passphrase: Option<SecretRef>,
}

/// Whether an OpenPGP file must be signed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum SignaturePolicy {
    /// Rejects a file without a valid signature by one of the keys in `signed_by`.
    #[default]
    Required,
    /// Accepts an unsigned file with a warning. A signature must be valid and by one of the keys in `signed_by`.
    Optional,
}

/// Whether an OpenPGP file must be encrypted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum EncryptionPolicy {
    /// Rejects a file that is only signed or compressed.
    #[default]
    Required,
    /// Accepts it: anyone on its way could read it.
    Optional,
}

/// All settings of a source that concern codecs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings<'a> {
    /// Left out: detected from each file name.
    pub(crate) compression: Option<&'a Compression>,
    pub(crate) zip: Option<&'a ZipSettings>,
    pub(crate) pgp: Option<&'a PgpSettings>,
    pub(crate) max_compression_ratio: u64,
}

/// A message and a hint.
pub(super) const NO_PGP: (&str, &str) = (
    "this build of hrsink cannot read OpenPGP: it was compiled without the feature `pgp`",
    "use a build with the feature `pgp`, which is on by default",
);
pub(super) const PGP_KEYS_HINT: &str =
    "give the secret key: `pgp: {keys: [{key: {file: …}, passphrase: {env: …}}]}`";
pub(super) const ZIP_IN_ZIP_HINT: &str = "a zip archive inside another is not supported: extract the outer one first, or exclude it with `zip: {members: …}`";

impl Settings<'_> {
    pub(crate) fn validate(&self, problems: &mut Problems<'_>) {
        let codecs = self.compression.map(Compression::codecs);
        if let Some(codecs) = codecs {
            self.validate_codecs(codecs, &mut problems.at("compression"));
        }
        for (codec, key, is_set) in [
            (Codec::Zip, "zip", self.zip.is_some()),
            (Codec::Pgp, "pgp", self.pgp.is_some()),
        ] {
            if is_set && codecs.is_some_and(|codecs| !codecs.contains(&codec)) {
                problems.at(key).add_with_hint(
                    format!("has no effect: `compression` does not include `{key}`"),
                    format!("add it, or remove `{key}`"),
                );
            }
        }
        let members = self.zip.and_then(|zip| zip.members.as_deref());
        if let Some(Err(error)) = members.map(glob::Pattern::new) {
            problems.at("zip").at("members").add_with_hint(
                format!("invalid pattern: {} (at character {})", error.msg, error.pos + 1),
                "`[` starts a set of characters; write a literal `[` as `[[]`",
            );
        }
        if let Some(pgp) = self.pgp {
            let mut problems = problems.at("pgp");
            if !cfg!(feature = "pgp") {
                problems.add_with_hint(NO_PGP.0, NO_PGP.1);
            }
            pgp.validate(&mut problems);
        }
    }

    fn validate_codecs(&self, codecs: &[Codec], problems: &mut Problems<'_>) {
        const MAX_CODECS: usize = 4;
        let count = codecs.len();
        if count > MAX_CODECS {
            problems.add(format!("has {count} entries; at most {MAX_CODECS} are supported"));
        }
        if codecs.iter().filter(|&&codec| codec == Codec::Zip).count() > 1 {
            problems.add_with_hint("has `zip` twice", ZIP_IN_ZIP_HINT);
        }
        if codecs.contains(&Codec::Pgp) {
            if !cfg!(feature = "pgp") {
                problems.add_with_hint(NO_PGP.0, NO_PGP.1);
            } else if self.pgp.is_none() {
                problems.add_with_hint("includes `pgp`, but there are no keys", PGP_KEYS_HINT);
            }
        }
    }
}

impl PgpSettings {
    fn validate(&self, problems: &mut Problems<'_>) {
        if self.keys.is_empty() && self.passwords.is_empty() && self.encrypted == EncryptionPolicy::Required {
            problems.at("keys").add_with_hint(
                "empty, and so is `passwords`: nothing can be decrypted",
                "give a secret key, or `encrypted: optional` if the files are only signed",
            );
        }
        if self.signature.is_some() && self.signed_by.is_empty() {
            problems.at("signature").add_with_hint(
                "requires `signed_by`: a signature is checked with a public key",
                "give the sender's public key: `signed_by: [sender.asc]`",
            );
        }
        let mut problems = problems.at("signed_by");
        for (index, path) in self.signed_by.iter().enumerate() {
            if path.as_os_str().is_empty() {
                problems
                    .at_index(index)
                    .add("empty; give the path of a public key");
            }
        }
    }
}
