//! Decompression and decryption: gzip, zstd, zip and OpenPGP, nested in any order.
//!
//! [`Decoder::check`] decodes a file to its end and discards the bytes; [`Member::open`] decodes it again to be read.
//! So a wrong key, damage, a missing signature or a decompression bomb is an error before the first row, and nothing
//! decoded is written to disk. Exception: a zip archive inside another codec is read from its end, so a
//! large one goes to an unnamed temporary file. This module knows files and bytes, not formats and rows.

mod bounds;
mod error;
mod gzip_zstd;
#[cfg(feature = "pgp")]
mod pgp;
mod settings;
#[cfg(test)]
mod tests;
mod zip;

use std::io::{self, Read, Write as _};
use std::path::Path;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use self::bounds::{BoundedReader, ByteCount, MaxRatio};
use self::error::{printable, refused};
pub(crate) use self::settings::{CODECS, Codec, Compression, PgpSettings, Settings, ZipSettings, codecs_of};
#[cfg(test)]
pub(crate) use self::{bounds::RATIO_FREE_BYTES, gzip_zstd::MAX_WINDOW_LOG};
use crate::disk::{ByteSpool, SpooledBytes};
use crate::error::{Error, Result, read_error};
use crate::secret::SecretFiles;

const BUFFER_BYTES: usize = 256 << 10;
/// Bytes of a spooled file that are kept in memory.
pub(crate) const MAX_SPOOL_MEMORY: usize = 1 << 20;

type Reader = Box<dyn Read + Send>;

/// Decodes files, with the keys and limits of a source.
#[derive(Debug, Clone)]
pub(crate) struct Decoder(Arc<Config>);

#[derive(Debug)]
struct Config {
    max_ratio: MaxRatio,
    zip: zip::MemberFilter,
    #[cfg(feature = "pgp")]
    pgp: Option<pgp::Pgp>,
    scratch: Arc<Path>,
}

impl Decoder {
    /// Reads keys and secrets; relative paths are relative to `base`. `scratch` is the folder of temporary files.
    pub(crate) fn new(
        settings: &Settings<'_>,
        base: &Path,
        secret_files: &SecretFiles,
        scratch: Arc<Path>,
    ) -> Result<Self> {
        let zip = settings.zip.cloned().unwrap_or_default();
        let pattern = zip.members.as_deref().map(glob::Pattern::new).transpose();
        let pattern = pattern.map_err(|error| Error::config("invalid `zip.members`").with_source(error))?;
        let password = zip.password.map(|password| password.read(base, secret_files));
        #[cfg(not(feature = "pgp"))]
        if settings.pgp.is_some() {
            return Err(Error::config(settings::NO_PGP.0).with_hint(settings::NO_PGP.1));
        }
        Ok(Self(Arc::new(Config {
            max_ratio: MaxRatio(settings.max_compression_ratio),
            zip: zip::MemberFilter {
                pattern,
                password: password.transpose()?,
            },
            #[cfg(feature = "pgp")]
            pgp: settings
                .pgp
                .map(|pgp| pgp::Pgp::new(pgp, base, secret_files))
                .transpose()?,
            scratch,
        })))
    }

    /// Decodes all of `input` and discards the bytes: every member, checksum and signature is checked. `codecs` are
    /// outermost first; those after a zip apply to its members, whose extensions decide if there are none. Blocks.
    /// `name` is for messages. Returns at least one member, in the order to read them.
    pub(crate) fn check(
        &self,
        name: &str,
        input: SpooledBytes,
        codecs: &[Codec],
        cancel: &CancellationToken,
    ) -> Result<Vec<Member>> {
        let config = &self.0;
        Check { config, name, cancel }.file(input, codecs)
    }
}

/// A file out of a decoded file: the codecs between its bytes and those of the file.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    /// Its name in the zip archive, without the extensions that its own codecs had: for matching, never a path. `None`
    /// without a zip.
    pub(crate) name: Option<String>,
    config: Arc<Config>,
    base: Base,
    codecs: Vec<Codec>,
}

#[derive(Debug, Clone)]
enum Base {
    File(SpooledBytes),
    Entry(Arc<zip::Archive>, zip::Entry),
}

impl Member {
    pub(crate) fn printable_name(&self) -> Option<String> {
        self.name.as_deref().map(printable)
    }

    /// A reader of the bytes from the start, each time. Its errors are for [`read_error`].
    pub(crate) fn open(&self) -> io::Result<Reader> {
        self.open_and_warn(None)
    }

    /// `warn_as`: the file name for a warning about a missing signature, on the first reading.
    fn open_and_warn(&self, warn_as: Option<&str>) -> io::Result<Reader> {
        let inner = self.open_codecs(&self.codecs, warn_as)?;
        let encoded = match &self.base {
            Base::File(file) => file.len(),
            Base::Entry(_, entry) => entry.encoded_size,
        };
        let encoded = ByteCount::new(encoded.into());
        let bounded = BoundedReader::new(inner, "nested", encoded, self.config.max_ratio);
        Ok(Box::new(bounded))
    }

    #[cfg_attr(
        not(feature = "pgp"),
        allow(clippy::only_used_in_recursion, reason = "OpenPGP warns about signatures")
    )]
    fn open_codecs(&self, codecs: &[Codec], warn_as: Option<&str>) -> io::Result<Reader> {
        let Some((codec, outer)) = codecs.split_last() else {
            return Ok(match &self.base {
                Base::File(file) => Box::new(file.reader()),
                Base::Entry(archive, entry) => archive.read(entry)?,
            });
        };
        let open = || self.open_codecs(outer, warn_as);
        let max_ratio = self.config.max_ratio;
        match codec {
            Codec::Gzip => gzip_zstd::gzip(open()?, max_ratio),
            Codec::Zstd => gzip_zstd::zstd(open()?, max_ratio),
            Codec::Zip => Err(zip_in_zip()),
            #[cfg(feature = "pgp")]
            Codec::Pgp => match &self.config.pgp {
                Some(pgp) => pgp.open(&open, max_ratio, warn_as),
                None => Err(refused(
                    "the file is encrypted with OpenPGP, and there are no keys",
                    settings::PGP_KEYS_HINT,
                )),
            },
            #[cfg(not(feature = "pgp"))]
            Codec::Pgp => Err(refused(settings::NO_PGP.0, settings::NO_PGP.1)),
        }
    }
}

fn zip_in_zip() -> io::Error {
    refused("the zip archive contains another one", settings::ZIP_IN_ZIP_HINT)
}

/// The first reading of a file.
struct Check<'a> {
    config: &'a Arc<Config>,
    name: &'a str,
    cancel: &'a CancellationToken,
}

impl Check<'_> {
    fn file(&self, input: SpooledBytes, codecs: &[Codec]) -> Result<Vec<Member>> {
        let length = input.len();
        let Some(zip) = codecs.iter().position(|&codec| codec == Codec::Zip) else {
            let file = self.member(None, Base::File(input), codecs);
            self.copy(&file, self.name, |_| Ok(()))?;
            return Ok(vec![file]);
        };
        let (outer, inner) = (&codecs[..zip], &codecs[zip + 1..]);
        let input = match outer {
            [] => input,
            _ => self.spool(&self.member(None, Base::File(input), outer))?,
        };
        let (archive, entries) = zip::Archive::open(&input, &self.config.zip, self.config.max_ratio)
            .map_err(|error| self.failed(error))?;
        let archive = Arc::new(archive);
        let (mut members, mut total) = (Vec::new(), 0_u64);
        for entry in entries {
            let (own, stem) = codecs_of(&entry.name);
            let (codecs, name) = match inner {
                [] => (&*own, stem.to_owned()),
                _ => (inner, entry.name.clone()),
            };
            if codecs.contains(&Codec::Zip) {
                return Err(self.failed(zip_in_zip()));
            }
            // Errors of the zip itself already name the member.
            let shown = match codecs {
                [] => self.name.to_owned(),
                _ => format!("{}/{}", self.name, printable(&entry.name)),
            };
            let member = self.member(Some(name), Base::Entry(Arc::clone(&archive), entry), codecs);
            self.copy(&member, &shown, |bytes| {
                total = total.saturating_add(bytes.len() as u64);
                Ok(())
            })?;
            // The encoded sizes of single members say nothing if several share their bytes.
            let checked = self.config.max_ratio.check("nested", length, total);
            checked.map_err(|error| self.failed(error))?;
            members.push(member);
        }
        Ok(members)
    }

    fn member(&self, name: Option<String>, base: Base, codecs: &[Codec]) -> Member {
        Member {
            name,
            config: Arc::clone(self.config),
            base,
            codecs: codecs.to_vec(),
        }
    }

    fn spool(&self, archive: &Member) -> Result<SpooledBytes> {
        let content = "a zip archive inside another codec";
        let mut spool = ByteSpool::new(&self.config.scratch, MAX_SPOOL_MEMORY, content);
        self.copy(archive, self.name, |bytes| {
            spool.write_all(bytes).map_err(|error| self.failed(error))
        })?;
        Ok(spool.finish())
    }

    fn copy(&self, member: &Member, name: &str, mut write: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let failed = |error| read_error(name, error, None);
        let mut reader = member.open_and_warn(Some(self.name)).map_err(failed)?;
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            if self.cancel.is_cancelled() {
                return Err(Error::interrupted());
            }
            match reader.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(length) => write(&buffer[..length])?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(failed(error)),
            }
        }
    }

    fn failed(&self, error: io::Error) -> Error {
        read_error(self.name, error, None)
    }
}
