//! What the tests share: a file is packed by the crates themselves, checked and read as the source does.

#![expect(clippy::needless_pass_by_value, reason = "a test says its settings in place")]

#[cfg(all(unix, feature = "pgp"))]
mod gnupg;
#[cfg(unix)]
#[path = "../../../tests/common/outside.rs"]
mod outside;
#[cfg(feature = "pgp")]
mod pgp;
mod settings;
mod streams;
mod zips;

use std::io::{Read as _, Write as _};
use std::path::Path;

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::settings::{Codec, Compression, PgpSettings, Settings, ZipSettings, codecs_of};
use super::{Decoder, InputFile};
use crate::error::{Error, Result};
use crate::secret::SecretFiles;

/// Settings as in a pipeline file: `packing`, `zip`, `pgp`, `max_compression_ratio`.
pub(super) struct Given {
    pub(super) packing: Option<Compression>,
    pub(super) zip: Option<ZipSettings>,
    pub(super) pgp: Option<PgpSettings>,
    pub(super) ratio: u32,
}

impl Given {
    pub(super) fn new(settings: &Value) -> Self {
        let of = |key: &str| settings.get(key).cloned().unwrap_or(Value::Null);
        Self {
            packing: serde_json::from_value(of("packing")).unwrap(),
            zip: serde_json::from_value(of("zip")).unwrap(),
            pgp: serde_json::from_value(of("pgp")).unwrap(),
            ratio: settings
                .get("max_compression_ratio")
                .map_or(200, |n| n.as_u64().unwrap() as u32),
        }
    }

    pub(super) fn settings(&self) -> Settings<'_> {
        Settings {
            packing: self.packing.as_ref(),
            zip: self.zip.as_ref(),
            pgp: self.pgp.as_ref(),
            max_compression_ratio: self.ratio.try_into().unwrap(),
        }
    }
}

/// Name and bytes of each member.
pub(super) type Content = Vec<(Option<String>, Vec<u8>)>;

/// Unpacks `bytes` as a file called `name`; what the settings name lies in `folder`.
pub(super) fn unpack_in(folder: &Path, name: &str, bytes: &[u8], settings: Value) -> Result<Content> {
    let given = Given::new(&settings);
    let unpacker = unpacker_in(folder, &settings)?;
    let (by_name, _) = codecs_of(name);
    let layers = given.packing.as_ref().map_or(&*by_name, Compression::layers);
    unpack_with(&unpacker, name, bytes, layers)
}

pub(super) fn unpacker_in(folder: &Path, settings: &Value) -> Result<Decoder> {
    Decoder::new(
        &Given::new(settings).settings(),
        folder,
        &SecretFiles::default(),
        folder.into(),
    )
}

pub(super) fn unpack_with(unpacker: &Decoder, name: &str, bytes: &[u8], layers: &[Codec]) -> Result<Content> {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    let packed = InputFile::from_file(file).unwrap();
    let unpacked = unpacker.check(name, packed, layers, &CancellationToken::new())?;
    let mut content = Vec::new();
    for (index, member) in unpacked.members().iter().enumerate() {
        let mut bytes = Vec::new();
        unpacked.open(index).unwrap().read_to_end(&mut bytes).unwrap();
        // Once more, and from the beginning.
        let mut again = Vec::new();
        unpacked.open(index).unwrap().read_to_end(&mut again).unwrap();
        assert!(again == bytes, "the second reading gave something else");
        content.push((member.name.clone(), bytes));
    }
    Ok(content)
}

pub(super) fn unpack(name: &str, bytes: &[u8], settings: Value) -> Result<Content> {
    unpack_in(tempfile::tempdir().unwrap().path(), name, bytes, settings)
}

/// The one file in it, where no layer is a zip.
pub(super) fn one(content: Content) -> Vec<u8> {
    let [(None, bytes)] = <[_; 1]>::try_from(content).unwrap() else {
        panic!("there are members");
    };
    bytes
}

/// A message, its causes and its hints: all that a user sees.
pub(super) fn said(error: &Error) -> String {
    let hints: Vec<_> = error.hints().collect();
    format!("{}\n{}", error.chain(), hints.join("\n"))
}

pub(super) fn gzip(content: &[u8]) -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    packed.write_all(content).unwrap();
    packed.finish().unwrap()
}

pub(super) fn zstd(content: &[u8]) -> Vec<u8> {
    zstd::encode_all(content, 3).unwrap()
}

/// CSV of about so many bytes, which no packer makes much of.
pub(super) fn rows(bytes: usize) -> Vec<u8> {
    let mut rows = "upn,resigned\n".to_owned();
    let mut number = 1_u64;
    while rows.len() < bytes {
        number = number
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        rows.push_str(&format!("user{number:016x}@contoso.com,2026-03-02\n"));
    }
    rows.into_bytes()
}

/// So many MiB of one letter.
pub(super) fn regular(mib: usize) -> Vec<u8> {
    vec![b'x'; mib << 20]
}

pub(super) fn no_settings() -> Value {
    json!({})
}

/// A file for its owner alone.
pub(super) fn secret(folder: &Path, name: &str, text: &str) {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    #[cfg(unix)]
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
}
