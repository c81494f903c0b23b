//! Files encoded by the crates themselves, checked and read as the source does.

#[cfg(all(unix, feature = "pgp"))]
mod gnupg;
#[cfg(feature = "pgp")]
mod pgp;
mod settings;
mod streams;
mod zips;

use std::io::{Read as _, Write as _};
use std::path::Path;

use serde::Deserialize;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::settings::{Codec, Compression, PgpSettings, Settings, ZipSettings, codecs_of};
use super::{Decoder, SpooledBytes};
use crate::error::{Error, ErrorKind, Result};
use crate::secret::SecretFiles;

/// Settings as in a pipeline file.
#[derive(Deserialize)]
struct Given {
    compression: Option<Compression>,
    zip: Option<ZipSettings>,
    pgp: Option<PgpSettings>,
    #[serde(default = "default_ratio")]
    max_compression_ratio: u64,
}

fn default_ratio() -> u64 {
    200
}

impl Given {
    fn settings(&self) -> Settings<'_> {
        Settings {
            compression: self.compression.as_ref(),
            zip: self.zip.as_ref(),
            pgp: self.pgp.as_ref(),
            max_compression_ratio: self.max_compression_ratio,
        }
    }
}

/// Name and bytes of each member.
type Content = Vec<(Option<String>, Vec<u8>)>;

/// Decodes `bytes` as a file called `name`; the files that the settings name are in `folder`.
fn decode_in(folder: &Path, name: &str, bytes: &[u8], settings: Value) -> Result<Content> {
    let given: Given = serde_json::from_value(settings.clone()).unwrap();
    let (detected, _) = codecs_of(name);
    let codecs = given.compression.as_ref().map_or(&*detected, Compression::codecs);
    decode_with(&decoder_in(folder, settings)?, name, bytes, codecs)
}

fn decoder_in(folder: &Path, settings: Value) -> Result<Decoder> {
    let given: Given = serde_json::from_value(settings).unwrap();
    Decoder::new(&given.settings(), folder, &SecretFiles::default(), folder.into())
}

fn decode_with(decoder: &Decoder, name: &str, bytes: &[u8], codecs: &[Codec]) -> Result<Content> {
    let input = SpooledBytes::Memory(bytes.to_vec().into());
    let mut content = Vec::new();
    for member in decoder.check(name, input, codecs, &CancellationToken::new())? {
        let read = || {
            let mut bytes = Vec::new();
            member.open().unwrap().read_to_end(&mut bytes).unwrap();
            bytes
        };
        let bytes = read();
        assert!(bytes == read(), "the second reading differs");
        content.push((member.name.clone(), bytes));
    }
    Ok(content)
}

fn decode(name: &str, bytes: &[u8], settings: Value) -> Result<Content> {
    decode_in(tempfile::tempdir().unwrap().path(), name, bytes, settings)
}

/// The only file, where no codec is a zip.
fn one(content: Content) -> Vec<u8> {
    let [(None, bytes)] = <[_; 1]>::try_from(content).unwrap() else {
        panic!("there are members");
    };
    bytes
}

/// Message, causes and hints: all that a user sees.
fn shown(error: &Error) -> String {
    let hints: Vec<_> = error.hints().collect();
    format!("{}\n{}", error.chain(), hints.join("\n"))
}

/// What a user sees of the error that decoding ends with.
fn refused(name: &str, bytes: &[u8], settings: Value) -> String {
    shown(&decode(name, bytes, settings).unwrap_err())
}

#[track_caller]
fn assert_shows(shown: &str, expected: &[&str]) {
    for expected in expected {
        assert!(shown.contains(expected), "{expected}: {shown}");
    }
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

fn zstd(content: &[u8]) -> Vec<u8> {
    zstd::encode_all(content, 3).unwrap()
}

/// About this many bytes of CSV that hardly compress.
fn rows(bytes: usize) -> Vec<u8> {
    let (mut rows, mut number) = ("upn,resigned\n".to_owned(), 1_u64);
    while rows.len() < bytes {
        number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        rows.push_str(&format!("user{number:016x}@contoso.com,2026-03-02\n"));
    }
    rows.into_bytes()
}

/// This many MiB of one letter.
fn regular(mib: usize) -> Vec<u8> {
    vec![b'x'; mib << 20]
}

/// A file that only its owner can read.
fn secret(folder: &Path, name: &str, text: &str) {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    #[cfg(unix)]
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
}
