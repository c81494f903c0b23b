//! Decompression and decryption: gzip, zstd, zip and OpenPGP, nested in any order.
//!
//! [`Decoder::check`] decodes a file to its end and discards the bytes; [`Decoded::open`] decodes it again to be read.
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
use self::error::{CodecError, printable};
pub(crate) use self::settings::{CODECS, Codec, Compression, PgpSettings, Settings, ZipSettings, codecs_of};
#[cfg(test)]
pub(crate) use self::{bounds::RATIO_FREE_BYTES, gzip_zstd::MAX_WINDOW_LOG};
use crate::disk::{ByteSpool, SpooledBytes};
use crate::error::{Error, Result, read_error};
use crate::secret::SecretFiles;

const BUFFER_BYTES: usize = 256 << 10;

/// Bytes of a spooled file that are kept in memory.
pub(crate) const MAX_SPOOL_MEMORY: usize = 1 << 20;

/// Bytes in order.
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
    ///
    /// # Errors
    /// A secret or key cannot be read, a passphrase is wrong, or no key in `signed_by` is valid.
    pub(crate) fn new(
        settings: &Settings<'_>,
        base: &Path,
        secret_files: &SecretFiles,
        scratch: Arc<Path>,
    ) -> Result<Self> {
        let zip = settings.zip.cloned().unwrap_or_default();
        let pattern = zip.members.as_deref().map(glob::Pattern::new).transpose();
        let pattern = pattern.map_err(|error| Error::config("invalid `zip.members`").with_source(error))?;
        let password = zip.password.as_ref();
        let password = password
            .map(|password| password.read(base, secret_files))
            .transpose()?;
        #[cfg(not(feature = "pgp"))]
        if settings.pgp.is_some() {
            return Err(Error::config(settings::NO_PGP.0).with_hint(settings::NO_PGP.1));
        }
        Ok(Self(Arc::new(Config {
            max_ratio: MaxRatio(settings.max_compression_ratio),
            zip: zip::MemberFilter { pattern, password },
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
    /// `name` is for messages.
    pub(crate) fn check(
        &self,
        name: &str,
        input: SpooledBytes,
        codecs: &[Codec],
        cancel: &CancellationToken,
    ) -> Result<Decoded> {
        Check {
            config: &self.0,
            name,
            cancel,
        }
        .file(input, codecs)
    }
}

/// A file that can be decoded.
#[derive(Debug)]
pub(crate) struct Decoded {
    members: Vec<Member>,
    chains: Vec<Chain>,
}

/// A file out of a decoded file.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    /// Its name in the zip archive, without the extensions that its own codecs had: for matching, never a path. `None`
    /// without a zip.
    pub(crate) name: Option<String>,
}

impl Member {
    /// The name for messages.
    pub(crate) fn printable_name(&self) -> Option<String> {
        self.name.as_deref().map(printable)
    }
}

impl Decoded {
    /// At least one, in the order to read them.
    pub(crate) fn members(&self) -> &[Member] {
        &self.members
    }

    /// A reader of a member's bytes from the start, each time. Its errors are for [`read_error`].
    pub(crate) fn open(&self, member: usize) -> io::Result<Reader> {
        self.chains[member].open(None)
    }
}

/// The codecs between the bytes of a file and those of a member.
#[derive(Debug, Clone)]
struct Chain {
    config: Arc<Config>,
    base: Base,
    codecs: Vec<Codec>,
}

#[derive(Debug, Clone)]
enum Base {
    File(SpooledBytes),
    Member(Arc<zip::Archive>, zip::Entry),
}

impl Chain {
    /// `warn_as`: the file name for a warning about a missing signature, on the first reading.
    fn open(&self, warn_as: Option<&str>) -> io::Result<Reader> {
        let inner = self
            .open_codecs(self.codecs.len(), warn_as)
            .map_err(error::public)?;
        let encoded = match &self.base {
            Base::File(file) => file.len(),
            Base::Member(_, entry) => entry.encoded_size,
        };
        let encoded = ByteCount::of(encoded);
        let bounded = BoundedReader::new(inner, "nested", &encoded, self.config.max_ratio);
        Ok(Box::new(PublicErrors(bounded)))
    }

    /// The output of the first `count` codecs.
    #[cfg_attr(
        not(feature = "pgp"),
        allow(clippy::only_used_in_recursion, reason = "OpenPGP warns about signatures")
    )]
    fn open_codecs(&self, count: usize, warn_as: Option<&str>) -> io::Result<Reader> {
        let Some(below) = count.checked_sub(1) else {
            return Ok(match &self.base {
                Base::File(file) => Box::new(file.reader()),
                Base::Member(archive, entry) => archive.read(entry)?,
            });
        };
        let open = || self.open_codecs(below, warn_as);
        let max_ratio = self.config.max_ratio;
        match self.codecs[below] {
            Codec::Gzip => Ok(gzip_zstd::gzip(open()?, max_ratio)),
            Codec::Zstd => gzip_zstd::zstd(open()?, max_ratio),
            Codec::Zip => Err(zip_in_zip()),
            #[cfg(feature = "pgp")]
            Codec::Pgp => match &self.config.pgp {
                Some(pgp) => pgp.open(&open, max_ratio, warn_as),
                None => Err(CodecError::refused(
                    "the file is encrypted with OpenPGP, and there are no keys",
                    settings::PGP_KEYS_HINT,
                )),
            },
            #[cfg(not(feature = "pgp"))]
            Codec::Pgp => Err(CodecError::refused(settings::NO_PGP.0, settings::NO_PGP.1)),
        }
    }
}

fn zip_in_zip() -> io::Error {
    CodecError::refused("the zip archive contains another one", settings::ZIP_IN_ZIP_HINT)
}

/// The outermost reader: its errors are for [`read_error`].
struct PublicErrors<R>(R);

impl<R: Read> Read for PublicErrors<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer).map_err(error::public)
    }
}

/// The first reading of a file.
struct Check<'a> {
    config: &'a Arc<Config>,
    name: &'a str,
    cancel: &'a CancellationToken,
}

impl Check<'_> {
    fn file(&self, input: SpooledBytes, codecs: &[Codec]) -> Result<Decoded> {
        let length = input.len();
        let Some(zip) = codecs.iter().position(|&codec| codec == Codec::Zip) else {
            let chain = self.chain(Base::File(input), codecs);
            self.discard(&chain, None)?;
            return Ok(Decoded {
                members: vec![Member { name: None }],
                chains: vec![chain],
            });
        };
        let (outer, inner) = (&codecs[..zip], &codecs[zip + 1..]);
        let input = match outer {
            [] => input,
            _ => self.spool(&self.chain(Base::File(input), outer))?,
        };
        let (archive, entries) = zip::Archive::open(&input, &self.config.zip, self.config.max_ratio)
            .map_err(|error| self.failed(error))?;
        let archive = Arc::new(archive);
        let (mut members, mut chains, mut total) = (Vec::new(), Vec::new(), 0_u64);
        for entry in entries {
            let (own, stem) = codecs_of(&entry.name);
            let (codecs, name) = match inner {
                [] => (&*own, stem.to_owned()),
                _ => (inner, entry.name.clone()),
            };
            if codecs.contains(&Codec::Zip) {
                return Err(self.failed(zip_in_zip()));
            }
            let full_name = entry.name.clone();
            let chain = self.chain(Base::Member(Arc::clone(&archive), entry), codecs);
            total = total.saturating_add(self.discard(&chain, Some(&full_name))?);
            // The encoded sizes of single members say nothing if several share their bytes.
            self.config
                .max_ratio
                .check("nested", length, total)
                .map_err(|error| self.failed(error))?;
            members.push(Member { name: Some(name) });
            chains.push(chain);
        }
        Ok(Decoded { members, chains })
    }

    fn chain(&self, base: Base, codecs: &[Codec]) -> Chain {
        Chain {
            config: Arc::clone(self.config),
            base,
            codecs: codecs.to_vec(),
        }
    }

    /// Reads to the end; returns the length.
    fn discard(&self, chain: &Chain, member: Option<&str>) -> Result<u64> {
        // Errors of the zip itself already name the member.
        let name = match member {
            Some(member) if !chain.codecs.is_empty() => format!("{}/{}", self.name, printable(member)),
            _ => self.name.to_owned(),
        };
        let mut length = 0;
        self.copy(chain, &name, |bytes| {
            length += bytes.len() as u64;
            Ok(())
        })?;
        Ok(length)
    }

    /// Stores the output.
    fn spool(&self, chain: &Chain) -> Result<SpooledBytes> {
        let content = "a zip archive inside another codec";
        let mut spool = ByteSpool::new(&self.config.scratch, MAX_SPOOL_MEMORY, content);
        self.copy(chain, self.name, |bytes| {
            spool.write_all(bytes).map_err(|error| self.failed(error))
        })?;
        Ok(spool.finish())
    }

    fn copy(&self, chain: &Chain, name: &str, mut write: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let failed = |error| read_error(name, error, None);
        let mut reader = chain.open(Some(self.name)).map_err(failed)?;
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
        read_error(self.name, error::public(error), None)
    }
}
