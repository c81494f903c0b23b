//! Unpacks packed files: gzip, zstd, zip and OpenPGP, one in the other.
//!
//! ```text
//! InputFile: a local file that is read more than once
//!    │  Decoder::check: every layer, to the end of every member; the bytes are thrown away
//!    ▼
//! Decoded: the members, in order ── open ──▶ the bytes of one, decoded as they are read
//! ```
//!
//! - `settings` is what a pipeline file says, `failure` what can be wrong,
//! - `packed` is the file, `bounds` stands between the layers, `stream` is gzip and zstd, `zip` and `pgp` are themselves.
//!
//! Guarantee: a file is decoded to its end before a row of it is passed on. A wrong key, a damaged archive, a missing
//! signature or a file that unpacks without end is one error, and nothing of the file was sent. A second reading checks
//! everything again, so a file that is changed in between ends in an error too.
//!
//! Nothing decoded is written to disk, but for a zip archive inside of another layer, which has to be read from its end:
//! it goes to a file without a name in the scratch folder, and is gone when the program ends, however it ends. Memory
//! does not grow with the file, and what comes out of each layer and of all together is bounded by the bytes that went
//! in.

mod bounds;
mod error;
mod gzip_zstd;
mod input;
#[cfg(feature = "pgp")]
mod pgp;
mod settings;
#[cfg(test)]
mod tests;
mod zip;

use std::io::{self, Read, Seek, Write};
use std::path::Path;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use self::bounds::{BoundedReader, ByteCount, CountingReader, MaxRatio};
use self::error::{CodecError, shown};
pub(crate) use self::input::InputFile;
pub use self::settings::{
    Codec, Compression, EncryptionPolicy, PgpKey, PgpSettings, SignaturePolicy, ZipSettings,
};
pub(crate) use self::settings::{Settings, codecs_of};
#[cfg(test)]
pub(crate) use self::{bounds::RATIO_FREE_BYTES, gzip_zstd::MAX_WINDOW_LOG};
use crate::error::{Error, Result, read_error};
use crate::secret::SecretFiles;

const BUFFER: usize = 256 << 10;

/// The layers' tools, with keys read and limits set.
#[derive(Debug, Clone)]
pub(crate) struct Decoder(Arc<Tools>);

#[derive(Debug)]
struct Tools {
    ratio: MaxRatio,
    zip: zip::MemberFilter,
    #[cfg(feature = "pgp")]
    pgp: Option<pgp::Pgp>,
    scratch: Arc<Path>,
}

impl Decoder {
    /// Reads keys and secrets; relative paths are relative to `base`. `scratch` is a folder for files without a name.
    ///
    /// # Errors
    /// A secret or a key cannot be read, a passphrase is wrong, or no key in `signed_by` may sign any more: found before
    /// any file is.
    pub(crate) fn new(
        settings: &Settings<'_>,
        base: &Path,
        secret_files: &SecretFiles,
        scratch: Arc<Path>,
    ) -> Result<Self> {
        let zip = settings.zip.cloned().unwrap_or_default();
        let pattern = zip
            .members
            .as_deref()
            .map(glob::Pattern::new)
            .transpose()
            .map_err(|error| Error::config("`zip.members` is not a valid pattern").with_source(error))?;
        let password = zip
            .password
            .as_ref()
            .map(|password| password.read(base, secret_files))
            .transpose()?;
        #[cfg(not(feature = "pgp"))]
        if settings.pgp.is_some() {
            return Err(Error::config(settings::NO_PGP).with_hint(settings::NO_PGP_HINT));
        }
        Ok(Self(Arc::new(Tools {
            ratio: settings.max_compression_ratio.into(),
            zip: zip::MemberFilter { pattern, password },
            #[cfg(feature = "pgp")]
            pgp: settings
                .pgp
                .map(|pgp| pgp::Pgp::new(pgp, base, secret_files))
                .transpose()?,
            scratch,
        })))
    }

    /// Decodes all of `packed` to its end and throws the bytes away: every member, every checksum, every signature.
    /// `layers` are outermost first; those behind a zip are for its members, which go by their own names if there are
    /// none. Blocks; `name` is for messages.
    ///
    /// # Errors
    /// Anything is wrong with the file or its keys, or the run was cancelled.
    pub(crate) fn check(
        &self,
        name: &str,
        packed: InputFile,
        layers: &[Codec],
        cancel: &CancellationToken,
    ) -> Result<Decoded> {
        Check {
            tools: &self.0,
            name,
            cancel,
        }
        .whole(packed, layers)
    }
}

/// What is in a packed file that was found to be right.
#[derive(Debug)]
pub(crate) struct Decoded {
    members: Vec<Member>,
    chains: Vec<Chain>,
}

/// One file out of a packed file.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    /// Its name in the zip archive, which is for matching and for [`shown_name`](Self::shown_name), never a path; without
    /// the endings that told how it is packed itself. `None` if no layer is a zip.
    pub(crate) name: Option<String>,
}

impl Member {
    /// The name without what is not to be shown.
    pub(crate) fn shown_name(&self) -> Option<String> {
        self.name.as_deref().map(shown)
    }
}

impl Decoded {
    /// The members in the order they are to be read in; at least one.
    pub(crate) fn members(&self) -> &[Member] {
        &self.members
    }

    /// A reader of a member's bytes, from the first on. May be called again and again. Its errors are for
    /// [`read_error`].
    ///
    /// # Errors
    /// The file cannot be read any more, or changed.
    pub(crate) fn open(&self, member: usize) -> io::Result<Box<dyn Read + Send>> {
        self.chains[member].open(None)
    }
}

/// The way from bytes in a file to those of a member.
#[derive(Debug, Clone)]
struct Chain {
    tools: Arc<Tools>,
    base: Base,
    layers: Vec<Codec>,
}

#[derive(Debug, Clone)]
enum Base {
    Whole(InputFile),
    Member(Arc<zip::Archive>, zip::Entry),
}

impl Chain {
    /// `told` is the name to warn of, if nobody was warned yet.
    fn open(&self, told: Option<&str>) -> io::Result<Box<dyn Read + Send>> {
        self.open_raw(told).map_err(error::public)
    }

    fn open_raw(&self, told: Option<&str>) -> io::Result<Box<dyn Read + Send>> {
        let packed = match &self.base {
            Base::Whole(_) => ByteCount::default(),
            Base::Member(_, entry) => ByteCount::of(entry.packed_size),
        };
        let inner = self.open_through(self.layers.len(), &packed, told)?;
        let inner = BoundedReader::new(inner, "whole", &packed, self.tools.ratio);
        Ok(Box::new(PublicErrors(inner)))
    }

    /// The bytes behind so many of the layers.
    #[cfg_attr(
        not(feature = "pgp"),
        allow(clippy::only_used_in_recursion, reason = "OpenPGP warns of signatures")
    )]
    fn open_through(
        &self,
        layers: usize,
        packed: &ByteCount,
        told: Option<&str>,
    ) -> io::Result<Box<dyn Read + Send>> {
        let Some(below) = layers.checked_sub(1) else {
            return Ok(match &self.base {
                Base::Whole(file) => Box::new(CountingReader::new(file.open(), packed)),
                Base::Member(archive, entry) => archive.read(entry)?,
            });
        };
        let open = || self.open_through(below, packed, told);
        let ratio = self.tools.ratio;
        match self.layers[below] {
            Codec::Gzip => Ok(gzip_zstd::gzip(open()?, ratio)),
            Codec::Zstd => gzip_zstd::zstd(open()?, ratio),
            Codec::Zip => Err(zip_in_zip()),
            #[cfg(feature = "pgp")]
            Codec::Pgp => match &self.tools.pgp {
                Some(pgp) => pgp.open(&open, ratio, told),
                None => Err(CodecError::refused(
                    "the file is packed with OpenPGP, and there are no keys",
                    settings::PGP_KEYS_HINT,
                )),
            },
            #[cfg(not(feature = "pgp"))]
            Codec::Pgp => Err(CodecError::refused(settings::NO_PGP, settings::NO_PGP_HINT)),
        }
    }
}

fn zip_in_zip() -> io::Error {
    CodecError::refused(
        "a zip archive inside of another is not read",
        "unpack the outer one in a step before the run, or pick other members with `zip: {members: …}`",
    )
}

/// One look through a whole file.
struct Check<'a> {
    tools: &'a Arc<Tools>,
    name: &'a str,
    cancel: &'a CancellationToken,
}

impl Check<'_> {
    fn whole(&self, packed: InputFile, layers: &[Codec]) -> Result<Decoded> {
        let length = packed.len();
        let Some(zip) = layers.iter().position(|&layer| layer == Codec::Zip) else {
            let chain = self.chain(Base::Whole(packed), layers);
            self.drain(&chain, None)?;
            return Ok(Decoded {
                members: vec![Member { name: None }],
                chains: vec![chain],
            });
        };
        let (outer, inner) = (&layers[..zip], &layers[zip + 1..]);
        let packed = if outer.is_empty() {
            packed
        } else {
            self.spool(&self.chain(Base::Whole(packed), outer))?
        };
        let (archive, entries) = zip::Archive::open(&packed, &self.tools.zip, self.tools.ratio)
            .map_err(|error| self.failed(error))?;
        let archive = Arc::new(archive);
        let (mut members, mut chains, mut total) = (Vec::new(), Vec::new(), 0_u64);
        for entry in entries {
            let (own, rest) = codecs_of(&entry.name);
            let (layers, name) = if inner.is_empty() {
                (&*own, rest.to_owned())
            } else {
                (inner, entry.name.clone())
            };
            if layers.contains(&Codec::Zip) {
                return Err(self.failed(zip_in_zip()));
            }
            let within = entry.name.clone();
            let chain = self.chain(Base::Member(Arc::clone(&archive), entry), layers);
            let size = self.drain(&chain, Some(&within))?;
            total = total.saturating_add(size);
            // A member's own size says nothing of several that share their bytes.
            self.tools
                .ratio
                .check("whole", length, total)
                .map_err(|error| self.failed(error))?;
            members.push(Member { name: Some(name) });
            chains.push(chain);
        }
        Ok(Decoded { members, chains })
    }

    fn chain(&self, base: Base, layers: &[Codec]) -> Chain {
        Chain {
            tools: Arc::clone(self.tools),
            base,
            layers: layers.to_vec(),
        }
    }

    /// Reads to the end and gives the length.
    fn drain(&self, chain: &Chain, member: Option<&str>) -> Result<u64> {
        let failed = |error| match member {
            // What is wrong in the zip itself names the member already.
            Some(member) if !chain.layers.is_empty() => {
                read_error(&format!("{}/{}", self.name, shown(member)), error, None)
            }
            _ => self.failed(error),
        };
        let mut reader = chain.open(Some(self.name)).map_err(failed)?;
        let mut buffer = vec![0; BUFFER];
        let mut length = 0;
        loop {
            match self.read(&mut reader, &mut buffer)?.map_err(failed)? {
                0 => return Ok(length),
                read => length += read as u64,
            }
        }
    }

    /// Writes what comes out to a file without a name.
    fn spool(&self, chain: &Chain) -> Result<InputFile> {
        let scratch = &self.tools.scratch;
        let unwritten = |error: io::Error| {
            Error::unexpected(format!(
                "cannot unpack `{}` to a temporary file in `{}`",
                self.name,
                scratch.display()
            ))
            .with_source(error)
            .with_hint("a zip archive inside of another layer is put there while it is read; make room")
        };
        let mut file = tempfile::tempfile_in(scratch).map_err(unwritten)?;
        let mut reader = chain.open(Some(self.name)).map_err(|error| self.failed(error))?;
        let mut buffer = vec![0; BUFFER];
        loop {
            match self
                .read(&mut reader, &mut buffer)?
                .map_err(|error| self.failed(error))?
            {
                0 => break,
                read => file.write_all(&buffer[..read]).map_err(unwritten)?,
            }
        }
        file.rewind().map_err(unwritten)?;
        InputFile::from_file(file).map_err(unwritten)
    }

    /// One read, or the end of the run.
    fn read(&self, reader: &mut dyn Read, buffer: &mut [u8]) -> Result<io::Result<usize>> {
        loop {
            if self.cancel.is_cancelled() {
                return Err(Error::interrupted());
            }
            match reader.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return Ok(result),
            }
        }
    }

    fn failed(&self, error: io::Error) -> Error {
        read_error(self.name, error::public(error), None)
    }
}

/// The outermost reader: its errors are for [`read_error`].
struct PublicErrors<R>(R);

impl<R: Read> Read for PublicErrors<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer).map_err(error::public)
    }
}
